"""Environments for kernels, made from the package index when they are wanted, kept in pytest's cache."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import pytest

import fastshell

ROOT = Path(__file__).parents[2]

#: What pip says where there is no index, as far as pip knows.
_NO_INDEX = ("No matching distribution", "Could not fetch", "Max retries", "Connection", "Temporary failure")


class Environment(NamedTuple):
    """A Python of its own, in which the fastshell under test can be imported."""

    python: str
    env: dict[str, str]
    folder: Path


def environment(
    config: pytest.Config, name: str, requirements: Sequence[str], beneath: Environment | None = None
) -> Environment:
    """Make a virtual environment, or use the one that an earlier run has made. Skips without an index.

    beneath: one whose packages can be imported too.
    """
    wanted = "\n".join([sys.version, *requirements, str(beneath and beneath.folder)])
    cache = config.cache
    assert cache is not None
    folder = cache.mkdir("environments") / f"{name}-{sha256(wanted.encode()).hexdigest()[:12]}"
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    done = folder / "complete"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True, timeout=120)
        packages = _packages_of(python)
        if beneath is not None:
            (packages / "beneath.pth").write_text(f"{_packages_of(Path(beneath.python))}\n", "utf-8")
        _link_fastshell(packages)
        install(python, requirements)
        done.touch()
    return Environment(str(python), {"PYTHONNOUSERSITE": "1"}, folder)


def install(python: str | Path, requirements: Sequence[str], *options: str) -> None:
    """pip install. Skips where the index cannot be reached."""
    command = [str(python), "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check"]
    done = subprocess.run([*command, *options, *requirements], capture_output=True, text=True, timeout=550)
    if done.returncode and any(sign in done.stderr for sign in _NO_INDEX):
        pytest.skip(f"the package index cannot be reached: {done.stderr.strip()[-200:]}")
    assert done.returncode == 0, done.stderr


def dependencies() -> list[str]:
    """What fastshell itself needs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return list(project["dependencies"])


def _packages_of(python: Path) -> Path:
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return Path(done.stdout.strip())


def _link_fastshell(packages: Path) -> None:
    """A link, so that it is always the one under test; where links are a privilege, its folder's path."""
    source = Path(fastshell.__file__).parent
    try:
        (packages / "fastshell").symlink_to(source, target_is_directory=True)
    except OSError:
        (packages / "fastshell.pth").write_text(f"{source.parent}\n", "utf-8")

"""Other projects' own tests, from their sdists, fetched from the package index when they are wanted."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tarfile
from pathlib import Path


class Unavailable(Exception):
    """What a test needs of the package index cannot be had here; says why."""


def fetch(project: str, folder: Path, version: str | None = None) -> Path:
    """Download and unpack a sdist into folder; return the folder that it unpacks to. Raises Unavailable.

    version: by default that which is installed beside the caller. What is in folder already is used again.
    """
    version = version or importlib.metadata.version(project)
    unpacked = _unpacked(project, version, folder)
    if unpacked is not None:
        return unpacked
    folder.mkdir(parents=True, exist_ok=True)
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    download += ["--no-binary", project, "--no-deps", "--dest", str(folder), f"{project}=={version}"]
    # pip asks for metadata, which the build backend of the sdist makes: fetched too, or the one that is here.
    for more in ((), ("--no-build-isolation",)):
        done = subprocess.run([*download, *more], capture_output=True, text=True, timeout=300)
        if done.returncode == 0:
            break
    else:
        raise Unavailable(f"{project} {version} cannot be downloaded: {done.stderr.strip()[-300:]}")
    archive_path = _only(folder, f"{_pattern(project)}-{version}.tar.gz")
    if archive_path is None:
        raise Unavailable(f"the sdist of {project} {version} is no tar.gz")
    with tarfile.open(archive_path) as archive:
        archive.extractall(folder, filter="data")
    unpacked = _unpacked(project, version, folder)
    if unpacked is None:
        raise Unavailable(f"the sdist of {project} {version} does not unpack to a folder of its name")
    return unpacked


def _unpacked(project: str, version: str, folder: Path) -> Path | None:
    found = _only(folder, f"{_pattern(project)}-{version}")
    return found if found is not None and found.is_dir() else None


def _pattern(project: str) -> str:
    """Sdists are named by either of - and _."""
    return project.replace("-", "_").replace("_", "[-_]")


def _only(folder: Path, pattern: str) -> Path | None:
    return next(iter(folder.glob(pattern)), None)

"""Install and remove the kernelspec: the folder by which Jupyter finds and starts this kernel.

The wheel places one by itself (setup.py); this is for other names, other places, other environments.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

KERNEL_NAME = "fastshell"

#: kernel.json as the wheel installs it, and the logos.
RESOURCES = Path(__file__).parent / "resources"

_NAME = re.compile(r"[a-z0-9._-]+")


class KernelSpecError(Exception):
    """A kernelspec cannot be installed or removed; one line says which and why."""


def spec(
    display_name: str | None = None, program: str | None = None, language: str | None = None
) -> dict[str, Any]:
    """The content of kernel.json that starts this very interpreter.

    program: another language's kernel, which was written for ipykernel; language: its name.
    """
    content: dict[str, Any] = json.loads((RESOURCES / "kernel.json").read_text("utf-8"))
    # Only for "python" does jupyter_client put in its own interpreter, which may be another one.
    content["argv"][0] = sys.executable
    if display_name is not None:
        content["display_name"] = display_name
    if program is not None:
        at = content["argv"].index("fastshell") + 1
        content["argv"][at:at] = ["run", program]
        content["language"] = language or program
    return content


def install(
    user: bool = False,
    prefix: str | os.PathLike[str] | None = None,
    name: str = KERNEL_NAME,
    display_name: str | None = None,
    program: str | None = None,
    language: str | None = None,
) -> Path:
    """Install a kernelspec that starts this interpreter; one of the same name is replaced.

    user: in the user's Jupyter folder. prefix: below PREFIX/share/jupyter. Neither: system-wide.
    display_name: what front ends show; by default that of the wheel, or `name` if that is another.
    program, language: see `spec`. Returns the folder. Raises KernelSpecError.
    """
    name = _checked_name(name)
    if display_name is None and name != KERNEL_NAME:
        display_name = name
    folder = _kernels_folder(user, prefix)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _place(folder / name, spec(display_name, program, language))
    except OSError as error:
        raise KernelSpecError(_refusal(f"cannot install {name!r} in {folder}", error, user, prefix)) from None
    return folder / name


def uninstall(
    name: str = KERNEL_NAME, user: bool = False, prefix: str | os.PathLike[str] | None = None
) -> Path:
    """Remove a kernelspec of ours, by default the first that Jupyter finds under that name.

    Returns the folder that was removed. Raises KernelSpecError, also if it starts another kernel.
    """
    name = _checked_name(name)
    if user or prefix is not None:
        folders = [_kernels_folder(user, prefix)]
    else:
        from jupyter_core.paths import jupyter_path

        folders = [Path(folder) for folder in jupyter_path("kernels")]
    found = next((folder / name for folder in folders if (folder / name / "kernel.json").is_file()), None)
    if found is None:
        raise KernelSpecError(f"no kernelspec {name!r} in {os.pathsep.join(map(str, folders))}")
    try:
        if not _is_ours(found):
            raise KernelSpecError(f"{found} starts another kernel; it was not removed")
        if found.is_symlink():
            found.unlink()
        else:
            shutil.rmtree(found)
    except OSError as error:
        raise KernelSpecError(_refusal(f"cannot remove {found}", error, user, prefix)) from None
    return found


def install_main(argv: Sequence[str]) -> int:
    """`python -m fastshell install`. Returns the exit status."""
    parser = _parser("install", "Install a kernelspec that starts this Python interpreter.")
    parser.add_argument("--name", default=KERNEL_NAME, help="name of the kernelspec (%(default)s)")
    parser.add_argument("--display-name", metavar="TEXT", help="name that front ends show")
    parser.add_argument("--run", metavar="PROGRAM", help="start that kernel, see python -m fastshell run")
    parser.add_argument("--language", help="what PROGRAM's language is called (PROGRAM)")
    options = parser.parse_args(argv)
    if options.run is not None and options.name == KERNEL_NAME:
        parser.error("--run: give it a --name of its own")
    try:
        path = install(
            options.user, options.prefix, options.name, options.display_name, options.run, options.language
        )
    except KernelSpecError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    print(f"Installed kernelspec {path.name} in {path}")
    return 0


def uninstall_main(argv: Sequence[str]) -> int:
    """`python -m fastshell uninstall`. Returns the exit status."""
    parser = _parser("uninstall", "Remove a kernelspec of fastshell, by default the one that Jupyter finds.")
    parser.add_argument("--name", default=KERNEL_NAME, help="name of the kernelspec (%(default)s)")
    options = parser.parse_args(argv)
    try:
        path = uninstall(options.name, options.user, options.prefix)
    except KernelSpecError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    print(f"Removed kernelspec {path.name} from {path.parent}")
    return 0


def _parser(command: str, description: str) -> argparse.ArgumentParser:
    """The options that both commands have: where. argparse itself exits with 2 on misuse."""
    parser = argparse.ArgumentParser(prog=f"python -m fastshell {command}", description=description)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--user", action="store_true", help="in the user's Jupyter folder")
    where.add_argument(
        "--sys-prefix",
        action="store_const",
        const=sys.prefix,
        dest="prefix",
        help="in this Python environment, the same as --prefix=%(const)s",
    )
    where.add_argument("--prefix", help="below PREFIX/share/jupyter/kernels")
    return parser


def _checked_name(name: str) -> str:
    """Names are lower case on disk, as jupyter_client writes and looks for them."""
    name = name.lower()
    # jupyter_client's pattern lets "." and ".." through, which are no folder for a kernel.
    if not _NAME.fullmatch(name) or name in (".", ".."):
        raise KernelSpecError(f"kernel name {name!r}: expected letters, digits, '.', '_' and '-' only")
    return name


def _kernels_folder(user: bool, prefix: str | os.PathLike[str] | None) -> Path:
    from jupyter_core.paths import SYSTEM_JUPYTER_PATH, jupyter_data_dir

    if user and prefix is not None:
        raise KernelSpecError("user and prefix exclude each other")
    if user:
        return Path(jupyter_data_dir(), "kernels")
    if prefix is not None:
        return Path(prefix).absolute() / "share" / "jupyter" / "kernels"
    return Path(SYSTEM_JUPYTER_PATH[0], "kernels")


def _place(destination: Path, content: dict[str, Any]) -> None:
    """Fill a folder beside the destination, then swap: nobody finds a kernelspec half written."""
    # Front ends list folders with a kernel.json; the two below stay one level deeper.
    with tempfile.TemporaryDirectory(prefix=f".{destination.name}-", dir=destination.parent) as scratch:
        fresh, old = Path(scratch, "fresh"), Path(scratch, "old")
        shutil.copytree(RESOURCES, fresh, copy_function=shutil.copyfile)
        (fresh / "kernel.json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")
        fresh.chmod(0o755)  # copytree took over the mode of an installation that may be read-only
        if os.path.lexists(destination):
            destination.rename(old)
        try:
            fresh.rename(destination)
        except OSError:
            if os.path.lexists(old):
                old.rename(destination)
            raise


def _is_ours(folder: Path) -> bool:
    try:
        argv = json.loads((folder / "kernel.json").read_text("utf-8"))["argv"]
        return bool(argv[argv.index("-m") + 1] == "fastshell")
    except (ValueError, LookupError, TypeError, AttributeError):
        return False


def _refusal(what: str, error: OSError, user: bool, prefix: str | os.PathLike[str] | None) -> str:
    is_hint_due = isinstance(error, PermissionError) and not user and prefix is None
    hint = " (try --user or --sys-prefix)" if is_hint_due else ""
    return f"{what}: {error.strerror or error}{hint}"

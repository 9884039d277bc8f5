"""ipykernel.connect: how others can connect to this kernel."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

from fastshell.compat import _finder

__all__ = ["connect_qtconsole", "get_connection_file", "get_connection_info"]


def get_connection_file(app: Any = None) -> str:
    """The path of this kernel's connection file, or of an app's. Raises RuntimeError outside a kernel."""
    if app is not None:
        folder = Path(app.connection_dir)
        path = Path(app.connection_file)
        return str(path if path.exists() else folder / path)
    if _finder.Running.connection_file is None:
        raise RuntimeError("app not specified, and not in a running Kernel")
    return str(Path(_finder.Running.connection_file).absolute())


def get_connection_info(connection_file: str | None = None, unpack: bool = False) -> str | dict[str, Any]:
    """The text of a connection file, this kernel's by default; unpack: a dict, its key as bytes."""
    text = Path(_path_of(connection_file)).read_text("utf-8")
    if not unpack:
        return text
    info: dict[str, Any] = json.loads(text)
    info["key"] = info.get("key", "").encode()
    return info


def connect_qtconsole(connection_file: str | None = None, argv: list[str] | None = None) -> Popen[Any]:
    """Start a Qt console, in a session of its own, so that an interrupt of the kernel is none of it."""
    return Popen(
        [
            sys.executable,
            "-c",
            "from qtconsole import qtconsoleapp; qtconsoleapp.main()",
            "--existing",
            _path_of(connection_file),
            *(argv or ()),
        ],
        stdout=PIPE,
        stderr=PIPE,
        close_fds=sys.platform != "win32",
        start_new_session=True,
    )


def _path_of(connection_file: str | None) -> str:
    """A path, or a name or part of one in Jupyter's runtime folder, the newest that fits."""
    if connection_file is None:
        return get_connection_file()
    if Path(connection_file).is_file():
        return str(Path(connection_file).absolute())
    from jupyter_core.paths import jupyter_runtime_dir

    folder = Path(jupyter_runtime_dir())
    found: list[Path] = []
    for pattern in (connection_file, f"kernel-{connection_file}.json", f"*{connection_file}*"):
        found = found or [path for path in folder.glob(pattern) if path.is_file()]
    if not found:
        raise OSError(f"Could not find {connection_file!r} in {folder}")
    return str(max(found, key=lambda path: path.stat().st_atime))


__getattr__ = _finder.fall_through("connect")

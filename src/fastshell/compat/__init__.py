"""ipykernel's names, for libraries that recognise a Jupyter kernel by them.

The files of this folder are executed under ipykernel's names: `_finder` makes this folder the package
`ipykernel` of the kernel's process, in front of an installed ipykernel, whose files stay untouched.
A submodule that is missing here is loaded from there, an attribute that a file here lacks is looked up
there (`_finder.fall_through`). So this file is ipykernel/__init__.py, and `comm.py` is ipykernel.comm.

Files import each other relatively, so that `ipykernel.comm` is one module, and `_finder` by its full
name, since it alone keeps state. Thread: any; importing them is cheap and starts nothing.
"""

from __future__ import annotations

from typing import Any

from fastshell.compat import _finder

from ._version import (
    __version__,
    kernel_protocol_version,
    kernel_protocol_version_info,
    version_info,
)

__all__ = [
    "__version__",
    "connect_qtconsole",
    "get_connection_file",
    "get_connection_info",
    "kernel_protocol_version",
    "kernel_protocol_version_info",
    "version_info",
    "write_connection_file",
]

_OF_CONNECT = frozenset(
    {"connect_qtconsole", "get_connection_file", "get_connection_info", "write_connection_file"}
)
_missing = _finder.fall_through("")


def __getattr__(name: str) -> Any:
    if name in _OF_CONNECT:
        from . import connect

        return getattr(connect, name)
    return _missing(name)

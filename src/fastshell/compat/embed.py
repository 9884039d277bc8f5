"""ipykernel.embed: a kernel in a program of one's own."""

from __future__ import annotations

from typing import Any

from fastshell.compat import _finder

_missing = _finder.fall_through("embed")


def __getattr__(name: str) -> Any:
    if name == "embed_kernel":  # itself, since it looks for its caller's names
        from fastshell import embed_kernel

        return embed_kernel
    return _missing(name)

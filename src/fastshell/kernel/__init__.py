"""Requests to replies, for any language: `Kernel` is what a language subclasses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastshell.kernel.wrapper import Kernel

__all__ = ["Kernel"]


def __getattr__(name: str) -> Any:
    """Kernel is loaded when it is asked for, and traitlets with it: the Python kernel starts without."""
    if name == "Kernel":
        from fastshell.kernel.wrapper import Kernel

        return Kernel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

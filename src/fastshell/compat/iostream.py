"""ipykernel.iostream: the class of sys.stdout and sys.stderr."""

from __future__ import annotations

from fastshell.compat import _finder
from fastshell.interpreter.streams import OutStream

__all__ = ["OutStream"]

__getattr__ = _finder.fall_through("iostream")

"""ipykernel.ipkernel: the Python kernel's class."""

from __future__ import annotations

from fastshell.compat import _finder
from fastshell.interpreter.kernel import IPythonKernel

__all__ = ["IPythonKernel"]

__getattr__ = _finder.fall_through("ipkernel")

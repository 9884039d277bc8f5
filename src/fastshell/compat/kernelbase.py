"""ipykernel.kernelbase: the class that kernels for other languages subclass."""

from __future__ import annotations

from fastshell.compat import _finder
from fastshell.kernel import Kernel

__all__ = ["Kernel"]

__getattr__ = _finder.fall_through("kernelbase")

"""ipykernel.comm."""

from __future__ import annotations

from fastshell.compat import _finder

from .comm import Comm
from .manager import CommManager

__all__ = ["Comm", "CommManager"]

__getattr__ = _finder.fall_through("comm")

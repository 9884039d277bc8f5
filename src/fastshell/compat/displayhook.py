"""ipykernel.displayhook: what shows the results of cells."""

from __future__ import annotations

from fastshell.compat import _finder
from fastshell.interpreter.display import ResultHook as ZMQShellDisplayHook

__all__ = ["ZMQShellDisplayHook"]

__getattr__ = _finder.fall_through("displayhook")

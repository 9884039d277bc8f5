"""ipykernel.zmqshell: by the name of its class, and by its presence, libraries tell a notebook."""

from __future__ import annotations

from fastshell.compat import _finder
from fastshell.interpreter.display import Publisher as ZMQDisplayPublisher
from fastshell.interpreter.magics import KernelMagics
from fastshell.interpreter.shell import ZMQInteractiveShell

__all__ = ["KernelMagics", "ZMQDisplayPublisher", "ZMQInteractiveShell"]

__getattr__ = _finder.fall_through("zmqshell")

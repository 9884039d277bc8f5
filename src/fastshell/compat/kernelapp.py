"""ipykernel.kernelapp: the application of this kernel, for those who ask for it.

The kernel is run by `fastshell.app`. Where it is Python's, the application has read its configuration;
for another language's it is made here, and tells of the kernel only.
"""

from __future__ import annotations

from fastshell.compat import _finder
from fastshell.interpreter.configuration import IPKernelApp

__all__ = ["IPKernelApp"]

if _finder.Running.kernel is not None and not IPKernelApp.initialized():
    IPKernelApp.instance(kernel=_finder.Running.kernel, connection_file=_finder.Running.connection_file or "")

__getattr__ = _finder.fall_through("kernelapp")

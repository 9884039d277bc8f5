"""ipykernel.kernelapp: the application of this kernel, for those who ask for it.

The kernel is run by `fastshell.app`, and this object is made when somebody asks for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from traitlets.config import Application, Config

from fastshell.compat import _finder

__all__ = ["IPKernelApp"]


class IPKernelApp(Application):
    """What ipykernel's application tells of a running kernel."""

    name = "ipython-kernel"

    @classmethod
    def initialized(cls) -> bool:
        """Whether a kernel runs in this process."""
        return _finder.Running.kernel is not None or super().initialized()

    @property
    def kernel(self) -> Any:
        return _finder.Running.kernel

    @property
    def shell(self) -> Any:
        return getattr(self.kernel, "shell", None)

    @property
    def session(self) -> Any:
        return getattr(self.kernel, "session", None)

    @property
    def iopub_socket(self) -> Any:
        return getattr(self.kernel, "iopub_socket", None)

    @property
    def connection_file(self) -> str:
        return _finder.Running.connection_file or ""

    @property
    def abs_connection_file(self) -> str:
        return str(Path(self.connection_file).absolute())

    @property
    def connection_dir(self) -> str:
        return str(Path(self.connection_file).absolute().parent)

    def _config_default(self) -> Config:
        shell = self.shell
        return Config() if shell is None else shell.config


__getattr__ = _finder.fall_through("kernelapp")

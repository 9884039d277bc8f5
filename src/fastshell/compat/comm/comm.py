"""ipykernel.comm.comm: the class by which libraries made comms before there was the package `comm`."""

from __future__ import annotations

import uuid
import warnings
from typing import Any

from traitlets import Any as AnyTrait
from traitlets import Bool, Bytes, Unicode, default
from traitlets.config import LoggingConfigurable

from fastshell.compat import _finder
from fastshell.kernel.comms import Comm as BaseComm

__all__ = ["BaseComm", "Comm"]


class Comm(BaseComm, LoggingConfigurable):
    """One end of a comm, with traits."""

    kernel = AnyTrait(allow_none=True)
    comm_id = Unicode()
    primary = Bool(True, help="Am I the primary or secondary Comm?")
    target_name = Unicode("comm")
    target_module = Unicode(None, allow_none=True, help="requirejs module from which to load comm target.")
    topic = Bytes()

    def __init__(
        self,
        target_name: str = "",
        data: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        buffers: list[Any] | None = None,
        show_warning: bool = True,
        **options: Any,
    ) -> None:
        """Open it at the front end, unless it was opened there (primary=False)."""
        if show_warning:
            warnings.warn(
                "The `ipykernel.comm.Comm` class has been deprecated. Please use the `comm` module instead."
                "For creating comms, use the function `from comm import create_comm`.",
                DeprecationWarning,
                stacklevel=2,
            )
        own = {name: options.pop(name) for name in ("kernel", "parent", "config", "log") if name in options}
        if target_name:
            options["target_name"] = target_name
        LoggingConfigurable.__init__(self, **own)
        BaseComm.__init__(self, data=data, metadata=metadata, buffers=buffers, **options)

    @default("kernel")
    def _kernel_default(self) -> Any:
        return _finder.Running.kernel

    @default("comm_id")
    def _comm_id_default(self) -> str:
        return uuid.uuid4().hex


__getattr__ = _finder.fall_through("comm.comm")

"""ipykernel.comm.manager."""

from __future__ import annotations

from typing import Any

import comm.base_comm
from traitlets import Any as AnyTrait
from traitlets import Dict
from traitlets.config import LoggingConfigurable

from fastshell.compat import _finder

__all__ = ["CommManager"]


class CommManager(comm.base_comm.CommManager, LoggingConfigurable):
    """A manager of one's own, such as wrapper kernels make; it is no other than the package's."""

    kernel = AnyTrait(allow_none=True)
    comms: Any = Dict()
    targets: Any = Dict()

    def __init__(self, **options: Any) -> None:
        LoggingConfigurable.__init__(self, **options)
        comm.base_comm.CommManager.__init__(self)


__getattr__ = _finder.fall_through("comm.manager")

"""Which router serves: the compiled one, or its plain twin.

Thread: main, at start.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastshell._router import Channel, Outbox, Router

    __all__ = ["ROUTERS", "Channel", "Outbox", "Router", "choose_router"]  # the types, for annotations

#: Values of the option and of the environment variable FASTSHELL_ROUTER.
ROUTERS = ("auto", "compiled", "plain")


def choose_router(wanted: str | None = None, *, signature_scheme: str = "hmac-sha256") -> ModuleType:
    """Return the module with Router, Channel and Outbox.

    wanted: one of ROUTERS; None reads FASTSHELL_ROUTER, whose default is auto. auto is the compiled
    router where it can share libzmq with pyzmq and signs with `signature_scheme`, else the plain one.
    Raises ValueError for another word, ImportError if compiled is demanded and cannot be had.
    """
    if wanted is None:
        wanted = os.environ.get("FASTSHELL_ROUTER", "auto")
    if wanted not in ROUTERS:
        raise ValueError(f"router {wanted!r}: expected one of {', '.join(ROUTERS)}")
    if wanted == "plain" or (wanted == "auto" and signature_scheme != "hmac-sha256"):
        return importlib.import_module("fastshell._pyrouter")
    try:
        return importlib.import_module("fastshell._router")
    except ImportError:
        if wanted == "compiled":
            raise
        return importlib.import_module("fastshell._pyrouter")

"""ipykernel.eventloops: integrations of GUI toolkits, and how a further one is registered."""

from __future__ import annotations

from fastshell.compat import _finder
from fastshell.interpreter.eventloops import (
    enable_gui,
    get_shell_stream,
    loop_asyncio,
    loop_cocoa,
    loop_gtk,
    loop_gtk3,
    loop_map,
    loop_qt,
    loop_qt5,
    loop_tk,
    loop_wx,
    make_qt_app_for_kernel,
    register_integration,
    set_qt_api_env_from_gui,
)

__all__ = [
    "enable_gui",
    "get_shell_stream",
    "loop_asyncio",
    "loop_cocoa",
    "loop_gtk",
    "loop_gtk3",
    "loop_map",
    "loop_qt",
    "loop_qt5",
    "loop_tk",
    "loop_wx",
    "make_qt_app_for_kernel",
    "register_integration",
    "set_qt_api_env_from_gui",
]

__getattr__ = _finder.fall_through("eventloops")

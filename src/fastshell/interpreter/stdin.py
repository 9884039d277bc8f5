"""input() and getpass.getpass() ask the front end. Installed once for the kernel's life.

Thread: any.
"""

from __future__ import annotations

import builtins
import getpass as getpass_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastshell.kernel.base import Kernel


def install(kernel: Kernel) -> None:
    """Replace builtins.input and getpass.getpass by the kernel's."""

    def raw_input(prompt: object = "", /) -> str:
        """Forward raw_input to frontends"""
        return kernel.raw_input(str(prompt))

    def getpass(prompt: str = "Password: ", stream: Any = None, **options: Any) -> str:
        """Forward getpass to frontends"""
        return kernel.getpass(prompt)

    builtins.input = raw_input
    getpass_module.getpass = getpass

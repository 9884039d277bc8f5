"""input() and getpass.getpass() ask the front end. Installed once for the kernel's life.

Thread: any.
"""

from __future__ import annotations

import builtins
import getpass as getpass_module
import warnings
from typing import TYPE_CHECKING, Any

from IPython.core.error import StdinNotImplementedError

if TYPE_CHECKING:
    from fastshell.kernel.base import Kernel


def install(kernel: Kernel) -> None:
    """Replace builtins.input and getpass.getpass by the kernel's, and let them fail as IPython's do."""
    kernel.questions.refusal = StdinNotImplementedError

    def raw_input(prompt: object = "") -> str:
        """Ask the front end for a line of text."""
        return kernel.raw_input(str(prompt))

    def getpass(prompt: str = "", stream: Any = None) -> str:
        """Ask the front end for a text that it does not show."""
        if stream is not None:
            warnings.warn(
                "The `stream` parameter of `getpass.getpass` has no effect in a kernel",
                UserWarning,
                stacklevel=2,
            )
        return kernel.getpass(prompt)

    builtins.input = raw_input
    getpass_module.getpass = getpass

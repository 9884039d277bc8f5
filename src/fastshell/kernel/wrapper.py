"""`fastshell.kernel.Kernel`: what a kernel for another language subclasses, as it would ipykernel's.

A kernel that was written for ipykernel changes one import. So this is configurable by traitlets, as
ipykernel's Kernel is, and its __init__ takes the same arguments; they are not needed, since
`fastshell.launch` provides all that a kernel uses. Thread: see base.py; what is a shell's own, such as
the execution count, is that of the shell for which the calling code runs.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import Any

from traitlets import default
from traitlets.config import Config, SingletonConfigurable
from traitlets.config.loader import KVArgParseConfigLoader

from fastshell.kernel import current
from fastshell.kernel.names import KernelNames

#: Arguments of ipykernel's Kernel beside its traits: kept as attributes, where a kernel may look.
_ARGUMENTS = (
    "session",
    "profile_dir",
    "shell_stream",
    "control_stream",
    "control_thread",
    "debug_shell_socket",
    "debugpy_stream",
    "shell_channel_thread",
    "iopub_socket",
    "iopub_thread",
    "stdin_socket",
    "user_ns",
)

_log = logging.getLogger("fastshell.kernel")


class Kernel(KernelNames, SingletonConfigurable):
    """Base of kernels for other languages: override do_execute, and what else the language can do."""

    def __init__(self, **arguments: Any) -> None:
        """arguments: values of traits, `parent`, and what ipykernel's Kernel takes."""
        for name in _ARGUMENTS:
            if name in arguments:
                setattr(self, name, arguments.pop(name))
        self._state: dict[str, Any] = {}  # of a kernel without a shell
        super().__init__(**arguments)

    @classmethod
    def make_kernel(cls, parent: Any, flags: Sequence[str]) -> Kernel:
        """The kernel of this process."""
        if parent is not None:
            return cls.instance(parent=parent)
        config = _config(flags)
        return cls.instance(config=config) if config else cls.instance()

    @default("log")
    def _log_default(self) -> Any:
        """None without a front end, by which kernels that can also run alone tell that they do."""
        return _log if self.session else None

    # --- what is a shell's own ---

    @property
    def execution_count(self) -> int:
        """The number of the shell's last cell that was not silent."""
        count: int = self._here().get("execution_count", 0)
        return count

    @execution_count.setter
    def execution_count(self, count: int) -> None:
        self._here()["execution_count"] = count

    @property
    def _allow_stdin(self) -> bool:
        """Whether the front end whose cell runs takes questions."""
        request = current.current_request()
        return request is not None and request.allow_stdin

    @_allow_stdin.setter
    def _allow_stdin(self, value: bool) -> None:
        request = current.current_request()
        if request is not None:
            request.allow_stdin = bool(value)

    def _here(self) -> dict[str, Any]:
        shell = current.current_shell()
        return self._state if shell is None else shell.language_state

    # --- what ipykernel's Kernel offers ---

    def getpass(self, prompt: str = "", stream: object = None, *, echo_char: str | None = None) -> str:
        """Ask the front end for a secret. stream, echo_char: as getpass.getpass has them, without effect."""
        for name, value in (("stream", stream), ("echo_char", echo_char)):
            if value is not None:
                warnings.warn(f"getpass: {name} has no effect in a kernel", UserWarning, stacklevel=2)
        return super().getpass(prompt)

    @property
    def _supports_kernel_subshells(self) -> bool:
        return True


def _config(flags: Sequence[str]) -> Config:
    """--Class.trait=value of a command line."""
    own = [flag for flag in flags if flag.startswith("--") and "." in flag and "=" in flag]
    return KVArgParseConfigLoader(own).load_config() if own else Config()

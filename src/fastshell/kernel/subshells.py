"""The table of subshells: create, delete, list (JEP 91).

Thread: control, for everything but a subshell's own run.
"""

from __future__ import annotations

import sys
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastshell.kernel.dispatch import Shell
from fastshell.kernel.request import Request, error_content
from fastshell.protocol.content import DeleteSubshellRequest

if TYPE_CHECKING:
    from fastshell.kernel.base import Kernel
    from fastshell.kernel.channel import Channel, Router

#: Python's default switch interval, and the one while subshells exist, in seconds. Without a kick
#: (before 3.13) a subshell waits so long for a busy main thread; 1 ms costs 1.4 % of throughput.
DEFAULT_INTERVAL = 0.005
SUBSHELL_INTERVAL = 0.001


@dataclass(frozen=True)
class Subshell:
    """One entry of the table."""

    shell: Shell
    thread: threading.Thread


@dataclass(frozen=True)
class Listed:
    """What is told of a subshell."""

    subshell_id: str
    thread_id: int | None
    state: str  # idle, or the msg_type of the request that it works on


class Subshells:
    """Every subshell of the kernel, by id."""

    def __init__(self, router: Router, kernel: Kernel, make_shell: Callable[[Channel], Shell]) -> None:
        self._router = router
        self._kernel = kernel
        self._make_shell = make_shell
        self._table: dict[str, Subshell] = {}
        self._has_kick = sys.version_info >= (3, 13) and router.__class__.__module__.endswith("._router")

    def create_subshell_request(self, request: Request) -> dict[str, Any]:
        subshell_id = str(uuid.uuid4())
        channel = self._router.open_channel(subshell_id)
        shell = self._make_shell(channel)
        thread = threading.Thread(
            target=self._run, args=(shell,), name=f"subshell-{subshell_id}", daemon=True
        )
        self._table[subshell_id] = Subshell(shell, thread)
        if len(self._table) == 1:
            self._set_interval(DEFAULT_INTERVAL, SUBSHELL_INTERVAL)
        thread.start()
        return {"status": "ok", "subshell_id": subshell_id}

    def delete_subshell_request(self, request: Request) -> dict[str, Any]:
        subshell_id = request.content(DeleteSubshellRequest).subshell_id
        entry = self._table.pop(subshell_id, None)
        if entry is None:
            return error_content("UnknownSubshellError", f"Unknown subshell_id {subshell_id!r}")
        self._end(entry)
        if not self._table:
            self._set_interval(SUBSHELL_INTERVAL, DEFAULT_INTERVAL)
        return {"status": "ok"}

    def list_subshell_request(self, request: Request) -> dict[str, Any]:
        return {"status": "ok", "subshell_id": list(self._table)}

    def listed(self) -> list[Listed]:
        """All of them as they are now, the oldest first. Thread: any."""
        return [
            Listed(subshell_id, entry.thread.ident, entry.shell.state)
            for subshell_id, entry in list(self._table.items())
        ]

    def stop(self) -> None:
        """End all of them; nobody waits for those that will not end."""
        for entry in self._table.values():
            self._end(entry)
        self._table.clear()

    def interrupt(self) -> None:
        """Interrupt what awaits in any of them."""
        for entry in list(self._table.values()):
            entry.shell.interrupt()

    def _end(self, entry: Subshell) -> None:
        """Take it out of the router's table; its thread answers what is queued, and ends."""
        entry.shell.abandon()
        self._router.close_channel(entry.shell.channel.name)

    def _run(self, shell: Shell) -> None:
        """The subshell's thread."""
        self._kernel.shell_opened()
        try:
            shell.run()
        finally:
            self._kernel.shell_closed()

    def _set_interval(self, left: float, wanted: float) -> None:
        """Change the switch interval, unless the user has set another or a kick makes it needless."""
        if not self._has_kick and abs(sys.getswitchinterval() - left) < 1e-6:
            sys.setswitchinterval(wanted)

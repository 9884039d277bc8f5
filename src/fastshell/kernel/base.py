"""`Kernel`: what a language brings. Everything else of a kernel is done for it.

A kernel for another language subclasses it, as it would ipykernel's: attributes that describe the
language, and `do_*` methods, sync or async, which return a reply's content. Thread: each `do_*`
runs on the thread of the shell that was asked; `do_shutdown` on the control thread.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, ClassVar

from fastshell._contract import Destination
from fastshell.kernel import current
from fastshell.protocol.content import encode

if TYPE_CHECKING:
    from fastshell.kernel.channel import Outbox
    from fastshell.kernel.comms import CommTargets
    from fastshell.kernel.questions import Questions

Reply = dict[str, Any]

PROTOCOL_VERSION = "5.5"


class Kernel:
    """Base of all kernels: answers every request with the nothing that it knows."""

    implementation = "fastshell"
    implementation_version = ""
    banner = ""
    language_info: ClassVar[dict[str, Any]] = {"name": "", "mimetype": "text/plain", "file_extension": ".txt"}
    help_links: ClassVar[list[dict[str, str]]] = []

    #: Set by the application before the first request: the doors to the front ends.
    outbox: Outbox
    questions: Questions
    comms: CommTargets

    def __init__(self) -> None:
        self.execution_count = 0

    @classmethod
    def kernel_info(cls) -> Reply:
        """Content of kernel_info_reply. Asked before the kernel is built, answered by the router."""
        return {
            "status": "ok",
            "protocol_version": PROTOCOL_VERSION,
            "implementation": cls.implementation,
            "implementation_version": cls.implementation_version,
            "language_info": cls.language_info,
            "banner": cls.banner,
            "help_links": cls.help_links,
            "debugger": False,
            "supported_features": ["kernel subshells"],
        }

    # --- what a language implements ---

    def do_execute(
        self,
        code: str,
        silent: bool,
        store_history: bool = True,
        user_expressions: dict[str, str] | None = None,
        allow_stdin: bool = False,
        *,
        cell_meta: dict[str, Any] | None = None,
        cell_id: str | None = None,
    ) -> Reply | Awaitable[Reply]:
        """Run code; return the content of execute_reply."""
        raise NotImplementedError(f"{type(self).__name__} does not execute: it lacks do_execute")

    def do_complete(self, code: str, cursor_pos: int) -> Reply | Awaitable[Reply]:
        """cursor_pos: in characters."""
        return {
            "status": "ok",
            "matches": [],
            "cursor_start": cursor_pos,
            "cursor_end": cursor_pos,
            "metadata": {},
        }

    def do_inspect(
        self, code: str, cursor_pos: int, detail_level: int = 0, omit_sections: tuple[str, ...] = ()
    ) -> Reply | Awaitable[Reply]:
        """cursor_pos: in characters."""
        return {"status": "ok", "found": False, "data": {}, "metadata": {}}

    def do_is_complete(self, code: str) -> Reply | Awaitable[Reply]:
        return {"status": "unknown"}

    def do_history(
        self,
        hist_access_type: str,
        output: bool,
        raw: bool,
        session: int = 0,
        start: int = 0,
        stop: int | None = None,
        n: int | None = None,
        pattern: str | None = None,
        unique: bool = False,
    ) -> Reply | Awaitable[Reply]:
        return {"status": "ok", "history": []}

    def do_shutdown(self, restart: bool) -> Reply | Awaitable[Reply]:
        """The kernel ends when this has been answered."""
        return {"status": "ok", "restart": restart}

    def shell_opened(self) -> None:
        """Called on each subshell's thread before its first request."""

    def shell_closed(self) -> None:
        """Called on each subshell's thread after its last request."""

    def close(self) -> None:
        """Called on the main thread after its last request."""

    # --- what a language uses ---

    def next_execution_count(self) -> int:
        """The number that the cell about to run will have. Called once for each that is not silent."""
        self.execution_count += 1
        return self.execution_count

    def publish(self, msg_type: str, content: Reply) -> None:
        """Send a message on iopub under the current request. Thread: any."""
        self.outbox.send(Destination.IOPUB, msg_type, current.parent_header(), encode(content))

    def write(self, name: str, text: str) -> None:
        """Add text to stdout or stderr under the current request. Thread: any."""
        self.outbox.write(name, current.parent_header(), text.encode("utf-8", "backslashreplace"))

    def raw_input(self, prompt: str = "") -> str:
        """Ask the front end for a line. Thread: any."""
        return self.questions.ask(str(prompt))

    def getpass(self, prompt: str = "") -> str:
        """Ask the front end for a secret. Thread: any."""
        return self.questions.ask(str(prompt), password=True)

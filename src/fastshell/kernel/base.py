"""What a language brings to a kernel. Everything else is done for it.

Attributes that describe the language, and `do_*` methods, sync or async, which return a reply's
content. Thread: each `do_*` runs on the thread of the shell that was asked; `do_shutdown` on the
thread of the channel by which it was asked for, mostly control.

A kernel for another language subclasses `fastshell.kernel.Kernel` (wrapper.py), which is this one and
configurable by traitlets; the Python kernel does without, so that it answers before traitlets is there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from fastshell._contract import Destination
from fastshell.kernel import current
from fastshell.kernel.session import IOPUB, Session
from fastshell.protocol.content import PROTOCOL_VERSION, encode

if TYPE_CHECKING:
    from fastshell.kernel.channel import Outbox
    from fastshell.kernel.comms import CommTargets
    from fastshell.kernel.dispatch import Shell
    from fastshell.kernel.questions import Questions
    from fastshell.kernel.subshells import Subshells

Reply = dict[str, Any]


class Kernel:
    """Base of all kernels: answers every request with the nothing that it knows."""

    implementation = "fastshell"
    implementation_version = ""
    banner = ""
    language_info: ClassVar[dict[str, Any]] = {"name": "", "mimetype": "text/plain", "file_extension": ".txt"}
    help_links: ClassVar[list[dict[str, str]]] = []

    execution_count = 0

    #: The doors to the front ends: set on the class before the kernel is built, so that they are there
    #: in __init__. A kernel that is built by somebody else has none, and sends nothing.
    outbox: Outbox
    questions: Questions
    comms: CommTargets
    session: Session | None = None
    iopub_socket = IOPUB
    #: And what magics tell of it.
    subshells: Subshells
    connection_file = ""

    #: After a cell that failed, execute requests that arrive within this time are aborted too, in seconds.
    stop_on_error_timeout = 0.0

    @property
    def kernel_info(self) -> Reply:
        """Content of kernel_info_reply, but for its status. The router answers with it."""
        return description(self)

    @classmethod
    def early_info(cls) -> Reply | None:
        """The same, if the class knows it: answered then before the kernel is built. Else None."""
        return None

    @classmethod
    def make_kernel(cls, parent: Any, flags: Sequence[str]) -> Kernel:
        """Make the kernel of this process. parent: a Configurable or None; flags: of the command line."""
        return cls()

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

    def enter_shells(self, main: Shell, control: Shell) -> None:
        """Called on the main thread before the first request, with the threads that will answer."""

    def shells_ended(self) -> None:
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
        """Ask the front end for a line. Thread: any.

        Raises StdinNotImplementedError if it takes no questions.
        """
        return self.questions.ask(str(prompt))

    def getpass(self, prompt: str = "") -> str:
        """Ask the front end for a secret. Thread: any."""
        return self.questions.ask(str(prompt), password=True)


def description(kernel: Kernel | type[Kernel]) -> Reply:
    """What kernel_info_reply tells of a kernel, or of a class whose attributes are all constant."""
    return {
        "protocol_version": PROTOCOL_VERSION,
        "implementation": kernel.implementation,
        "implementation_version": kernel.implementation_version,
        "language_info": kernel.language_info,
        "banner": kernel.banner,
        "help_links": kernel.help_links,
        "debugger": False,
        "supported_features": ["kernel subshells"],
    }

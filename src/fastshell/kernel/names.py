"""What ipykernel's kernel object has, and notebooks and libraries use: `get_ipython().kernel` and its names.

A base of kernels: none of it is needed to answer a request, all of it does real work. Thread: any, but
where a method says otherwise.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import uuid
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from fastshell.kernel import current
from fastshell.kernel.base import Kernel, Reply
from fastshell.kernel.handlers import Handlers, Hook, message_of, request_of
from fastshell.kernel.ioloop import IOLoop, io_loop
from fastshell.kernel.request import Request
from fastshell.kernel.session import CONTROL, IOPUB, SHELL, STDIN, Message, Stream

if TYPE_CHECKING:
    from fastshell.kernel.dispatch import Shell

log = logging.getLogger("fastshell")


def _request_method(msg_type: str) -> Callable[..., Any]:
    """kernel.execute_request(stream, ident, message) and the like: answer it as the kernel does."""

    async def method(self: KernelNames, stream: Stream, ident: list[bytes], parent: Message) -> None:
        handlers = self.control_handlers if stream is CONTROL else self.shell_handlers
        await handlers.run_native(msg_type, ident, parent)

    method.__name__ = msg_type
    return method


class KernelNames(Kernel):
    """A kernel with ipykernel's names."""

    iopub_socket = IOPUB
    shell_stream = SHELL
    control_stream = CONTROL
    stdin_socket = STDIN
    int_id = -1
    _aborting = False  # what is aborted is found by dispatch

    msg_types: ClassVar[list[str]] = [
        "execute_request",
        "complete_request",
        "inspect_request",
        "history_request",
        "comm_info_request",
        "connect_request",
        "shutdown_request",
        "is_complete_request",
        "interrupt_request",
    ]
    execute_request = _request_method("execute_request")
    complete_request = _request_method("complete_request")
    inspect_request = _request_method("inspect_request")
    history_request = _request_method("history_request")
    comm_info_request = _request_method("comm_info_request")
    connect_request = _request_method("connect_request")
    shutdown_request = _request_method("shutdown_request")
    is_complete_request = _request_method("is_complete_request")
    interrupt_request = _request_method("interrupt_request")

    # --- messages ---

    @functools.cached_property
    def ident(self) -> str:
        return str(uuid.uuid4())

    @functools.cached_property
    def comm_manager(self) -> Any:
        return self.comms.manager

    def send_response(
        self,
        stream: Stream,
        msg_or_type: str | Message,
        content: Reply | None = None,
        ident: bytes | Sequence[bytes] | None = None,
        buffers: Sequence[Any] | None = None,
        track: bool = False,
        header: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        channel: str | None = None,
    ) -> Message | None:
        """Send a message on behalf of the current request. stream: `iopub_socket` as a rule.

        None without a front end, as where a kernel's class is used alone.
        """
        if self.session is None:
            return None
        parent = self.get_parent(channel)
        return self.session.send(
            stream, msg_or_type, content, parent, ident, buffers, track, header, metadata
        )

    def _send(self, *arguments: Any, **options: Any) -> None:
        if self.session is not None:
            self.session.send(*arguments, **options)

    def _topic(self, topic: str) -> bytes:
        return f"kernel.{self.ident}.{topic}".encode()

    def _publish_status(self, status: str, channel: str = "shell", parent: Message | None = None) -> None:
        content = {"execution_state": status}
        self._send(IOPUB, "status", content, parent or self.get_parent(channel), ident=self._topic("status"))

    def _publish_execute_input(self, code: str, parent: Message, execution_count: int) -> None:
        content = {"code": code, "execution_count": execution_count}
        self._send(IOPUB, "execute_input", content, parent, ident=self._topic("execute_input"))

    def _send_abort_reply(self, stream: Stream, message: Message, ident: list[bytes]) -> None:
        reply_type = message["header"]["msg_type"].removesuffix("_request") + "_reply"
        status = {"status": "aborted", "engine": self.ident}
        self._send(stream, reply_type, status, message, ident, metadata=status)

    # --- the current request ---

    def get_parent(self, channel: str | None = None) -> Message:
        """The request that the calling code belongs to, {} before the first one.

        channel: "control" for what the control thread handles, whoever asks.
        """
        request = self._current(channel)
        return {} if request is None else message_of(request)

    def set_parent(
        self, ident: Sequence[bytes] | Mapping[str, Any] | None, parent: Message, channel: str = "shell"
    ) -> None:
        """What the calling context prints and displays from now on belongs to that request.

        ident: its routing identities, or `_parent_ident`.
        """
        if not parent:
            return
        identities = ident.get(channel) if isinstance(ident, Mapping) else ident
        current.enter_request(request_of(list(identities or ()), parent))

    @property
    def _parent_header(self) -> Message:
        warnings.warn(
            "Kernel._parent_header is deprecated in ipykernel 6. Use .get_parent()",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.get_parent()

    @property
    def _parent_ident(self) -> dict[str, list[bytes]]:
        """Routing identities of the current request, by channel."""
        found = {}
        for channel in ("shell", "control"):
            request = self._current(channel)
            found[channel] = [] if request is None else list(request.message.identities)
        return found

    @property
    def _allow_stdin(self) -> bool:
        request = current.current_request()
        return request is not None and request.allow_stdin

    def _current(self, channel: str | None) -> Request | None:
        if channel == "control":
            return self.control_shell.running
        return current.current_request()

    # --- handlers ---

    @functools.cached_property
    def shell_handlers(self) -> Handlers:
        """Handlers of all shells by msg_type; what is put there takes the place of the kernel's own."""
        return Handlers(SHELL, self)

    @functools.cached_property
    def control_handlers(self) -> Handlers:
        return Handlers(CONTROL, self)

    def enter_shells(self, main: Shell, control: Shell) -> None:
        """Use the request methods, handlers and hooks that a subclass has brought."""
        self.main_shell, self.control_shell = main, control
        self.shell_handlers.bind(main.handlers)
        self.control_handlers.bind(control.handlers)
        own = type(self)
        for msg_type in self.msg_types:
            if getattr(own, msg_type) is not KernelNames.__dict__[msg_type]:
                for handlers in (self.shell_handlers, self.control_handlers):
                    if msg_type in handlers:
                        handlers.override(msg_type, getattr(self, msg_type))
        if (own.pre_handler_hook, own.post_handler_hook) != (
            KernelNames.pre_handler_hook,
            KernelNames.post_handler_hook,
        ):
            self._set_hooks()

    def pre_handler_hook(self) -> None:
        """Called before each request of a shell; put your own here."""

    def post_handler_hook(self) -> None:
        """Called after each request of a shell; put your own here."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in ("pre_handler_hook", "post_handler_hook"):
            self._set_hooks()

    def _set_hooks(self) -> None:
        self.shell_handlers.set_hooks(self._hook("pre_handler_hook"), self._hook("post_handler_hook"))

    def _hook(self, name: str) -> Hook:
        """Calls what has that name by then; a failure costs nothing but a line in the log."""

        def hook() -> None:
            try:
                getattr(self, name)()
            except Exception:
                log.debug("Unable to signal in %s:", name, exc_info=True)

        return hook

    # --- loops ---

    @property
    def io_loop(self) -> Any:
        """The main shell's loop, as tornado's IOLoop."""
        return io_loop(self.main_shell.loop, self._io_loop)

    @functools.cached_property
    def _io_loop(self) -> IOLoop:
        return IOLoop(self.main_shell.loop)

    def do_one_iteration(self) -> Iteration:
        """Let a message of the calling shell through while its cell runs; may be awaited.

        That is a comm message: other requests wait for the end of the cell, in order. Thread: that of the
        shell, or one that its cell waits for.
        """
        shell = current.current_shell()
        if shell is not None:
            shell.iterate()
        return Iteration()


class Iteration:
    """What `do_one_iteration` gives: awaiting it gives the loop a turn."""

    def __await__(self) -> Generator[Any, None, None]:
        return asyncio.sleep(0).__await__()

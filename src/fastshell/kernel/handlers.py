"""`kernel.shell_handlers` and `kernel.control_handlers`: requests handled by functions of the user's.

Such a function has ipykernel's form, handler(stream, ident, message), sync or async, and sends its reply
itself by `kernel.session.send`. The table that dispatch looks into stays the plain dict that it is: what
is registered here is put there in dispatch's form, so that nobody else pays for it.

Thread: any; a handler runs on the thread of the shell that was asked.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, cast

import msgspec

from fastshell._contract import Kind, Received
from fastshell.kernel import current
from fastshell.kernel.dispatch import Handler
from fastshell.kernel.request import Request
from fastshell.kernel.session import Message, Stream, header_of
from fastshell.protocol.content import encode

#: ipykernel's form of a handler.
StreamHandler = Callable[[Stream, list[bytes], Message], Any]
Hook = Callable[[], object]


class Handlers(MutableMapping[str, StreamHandler]):
    """Handlers by msg_type; those of the kernel's own appear in ipykernel's form too."""

    def __init__(self, stream: Stream, methods_of: object) -> None:
        """methods_of: a method named as a msg_type stands for its handler."""
        self._table: dict[str, Handler] = {}
        self._stream = stream
        self._kernel = methods_of
        self._native: dict[str, Handler] = {}
        self._is_bound = False
        self._forms: dict[str, StreamHandler] = {}  # of native ones that are no method of the kernel
        self._users: dict[str, StreamHandler] = {}
        self._hooks: tuple[Hook, Hook] | None = None

    def bind(self, table: dict[str, Handler]) -> None:
        """Work on the table that dispatch uses. Thread: main, before the first request."""
        self._table = table
        self._native = dict(table)
        self._is_bound = True
        for msg_type in self._users if self._hooks is None else {**table, **self._users}:
            self._enter(msg_type)

    def __getitem__(self, msg_type: str) -> StreamHandler:
        if msg_type in self._users:
            return self._users[msg_type]
        if msg_type not in self._table and (self._is_bound or not hasattr(self._kernel, msg_type)):
            raise KeyError(msg_type)
        return self._native_form(msg_type)

    def __setitem__(self, msg_type: str, handler: StreamHandler) -> None:
        self._users.pop(msg_type, None)
        if msg_type not in self._native or handler != self._native_form(msg_type):
            self._users[msg_type] = handler
        self._enter(msg_type)

    def override(self, msg_type: str, handler: StreamHandler) -> None:
        """Use a method that a subclass of the kernel brings; its super() answers as the kernel does."""
        self._users[msg_type] = handler
        self._enter(msg_type)

    def __delitem__(self, msg_type: str) -> None:
        known = self._users.pop(msg_type, None) or self._table.get(msg_type)
        self._table.pop(msg_type, None)
        if known is None:
            raise KeyError(msg_type)

    def __iter__(self) -> Iterator[str]:
        return iter({**self._table, **self._users})

    def __len__(self) -> int:
        return len({**self._table, **self._users})

    def set_hooks(self, before: Hook, after: Hook) -> None:
        """Call these around each request."""
        self._hooks = before, after
        for msg_type in self._table:
            self._enter(msg_type)

    async def run_native(self, msg_type: str, ident: list[bytes], message: Message) -> None:
        """Answer a request as the kernel does by itself: the one that is being handled, or a kept one."""
        request = request_of(ident, message)
        current.enter_request(request)
        outcome = self._native[msg_type](request)
        reply = outcome if outcome is None or isinstance(outcome, dict) else await outcome
        if request.aborts_queue:
            request.aborts_queue = False
            request.shell.abort_queued_executes()
        if reply is not None:
            request.reply(reply)

    def _enter(self, msg_type: str) -> None:
        """Put what is to be done for that msg_type into dispatch's table."""
        if not self._is_bound:
            return
        user = self._users.get(msg_type)
        handler = self._native[msg_type] if user is None else self._of_user(user)
        self._table[msg_type] = handler if self._hooks is None else _hooked(handler, *self._hooks)

    def _native_form(self, msg_type: str) -> StreamHandler:
        method = getattr(self._kernel, msg_type, None)
        if method is not None:
            return cast(StreamHandler, method)
        if msg_type not in self._forms:

            async def handler(stream: Stream, ident: list[bytes], message: Message) -> None:
                await self.run_native(msg_type, ident, message)

            self._forms[msg_type] = handler
        return self._forms[msg_type]

    def _of_user(self, handler: StreamHandler) -> Handler:
        def handle(request: Request) -> Awaitable[None] | None:
            outcome = handler(self._stream, list(request.message.identities), message_of(request))
            if inspect.isawaitable(outcome):
                return _finish(request, outcome)
            request.replied = True  # now or later: that is the handler's business
            return None

        return handle


async def _finish(request: Request, outcome: Awaitable[Any]) -> None:
    await outcome
    request.replied = True


def _hooked(handler: Handler, before: Hook, after: Hook) -> Handler:
    def handle(request: Request) -> Any:
        before()
        outcome = None
        try:
            outcome = handler(request)
        finally:
            if outcome is None or isinstance(outcome, dict):
                after()
        if outcome is None or isinstance(outcome, dict):
            return outcome
        return _hooked_later(outcome, after)

    return handle


async def _hooked_later(outcome: Awaitable[Any], after: Hook) -> Any:
    try:
        return await outcome
    finally:
        after()


# --- requests as messages, and back ---


def message_of(request: Request) -> Message:
    """A request as ipykernel's handlers and get_parent have it; the same dict each time."""
    kept = request.__dict__
    if "as_message" not in kept:
        message = request.message
        kept["as_message"] = {
            "header": request.header_fields,
            "msg_id": request.header_fields.get("msg_id"),
            "msg_type": request.msg_type,
            "parent_header": msgspec.json.decode(message.parent_header),
            "metadata": request.metadata,
            "content": msgspec.json.decode(message.content),
            "buffers": list(message.buffers),
        }
    found: Message = kept["as_message"]
    return found


def request_of(ident: list[bytes] | None, message: Message) -> Request:
    """The request that a message is: the one in hand if it is that, else one made of it."""
    header = header_of(message)
    shell = current.current_shell()
    assert shell is not None, "there is no kernel in this process"
    for known in (current.current_request(), shell.running, shell.last_execute):
        if known is not None and known.header_fields.get("msg_id") == header.get("msg_id"):
            return known
    return Request(
        Received(
            Kind.REQUEST,
            str(header.get("msg_type", "")),
            tuple(ident or ()),
            encode(header),
            encode(message.get("parent_header") or {}),
            encode(message.get("metadata") or {}),
            encode(message.get("content") or {}),
            tuple(memoryview(buffer) for buffer in message.get("buffers") or ()),
        ),
        shell,
    )

"""`kernel.session`, and what stands for sockets: notebooks and libraries send messages of their own by them.

Thread: any. There is no socket behind the names: what is sent leaves through the outbox, which makes the
headers and signs. The functions are those of jupyter_client's Session that make sense without a socket.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from fastshell._contract import Destination
from fastshell.kernel import current
from fastshell.protocol.content import PROTOCOL_VERSION, encode

if TYPE_CHECKING:
    from fastshell.kernel.channel import Outbox

Message = dict[str, Any]


class Stream:
    """Stands for one of the kernel's sockets in calls of `Session.send`."""

    def __init__(self, destination: Destination, name: str) -> None:
        self.destination = destination
        self._name = name

    def flush(self, *_: object) -> None:
        """Nothing waits here: what was sent is on its way."""

    def __repr__(self) -> str:
        return f"<kernel.{self._name}>"


IOPUB = Stream(Destination.IOPUB, "iopub_socket")
SHELL = Stream(Destination.SHELL, "shell_stream")
CONTROL = Stream(Destination.CONTROL, "control_stream")
STDIN = Stream(Destination.STDIN, "stdin_socket")


class Session:
    """Builds and sends messages."""

    def __init__(self, outbox: Outbox, session_id: str, username: str) -> None:
        """session_id, username: as in the headers of all that the kernel sends."""
        self._outbox = outbox
        self.session = session_id
        self.bsession = session_id.encode()
        self.username = username
        self.metadata: dict[str, Any] = {}
        self._count = itertools.count()

    def send(
        self,
        stream: Stream | None,
        msg_or_type: str | Message,
        content: dict[str, Any] | None = None,
        parent: Message | None = None,
        ident: bytes | Sequence[bytes] | None = None,
        buffers: Sequence[Any] | None = None,
        track: bool = False,
        header: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> Message:
        """Send a message and return it. The header that leaves has an id and a date of its own.

        stream: the kernel's iopub_socket, or the stream that a handler was given; None sends nothing.
        parent: a message or a header. ident: for iopub the topic, else the asking front end's identities.
        Raises ValueError for another stream, TypeError for a buffer that is none.
        """
        if isinstance(msg_or_type, str):
            message = self.msg(msg_or_type, content, parent, header, metadata)
        else:
            message = msg_or_type
            buffers = buffers or message.get("buffers")
        if stream is not None and not isinstance(stream, Stream):
            raise ValueError(f"cannot send on {stream!r}: expected kernel.iopub_socket or a handler's stream")
        if stream is not None:
            self._send(stream, message, _identities(ident), buffers or ())
        return message

    def _send(
        self, stream: Stream, message: Message, identities: Sequence[bytes], buffers: Sequence[Any]
    ) -> None:
        msg_type: str = message.get("msg_type") or message["header"]["msg_type"]
        parent = _header_bytes(message.get("parent_header"))
        is_result = stream.destination is Destination.SHELL and msg_type == "execute_reply"
        self._outbox.send(
            stream.destination,
            msg_type,
            parent,
            encode(message.get("content") or {}),
            identities=identities,
            metadata=encode(message.get("metadata") or {}),
            buffers=[memoryview(buffer) for buffer in buffers],
            after_capture=is_result,
        )
        request = current.current_request()
        if stream.destination is not Destination.IOPUB and request is not None and parent == request.header:
            request.replied = True

    def msg(
        self,
        msg_type: str,
        content: dict[str, Any] | None = None,
        parent: Message | None = None,
        header: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> Message:
        """A message as a nested dict."""
        header = self.msg_header(msg_type) if header is None else header
        return {
            "header": header,
            "msg_id": header["msg_id"],
            "msg_type": header["msg_type"],
            "parent_header": header_of(parent),
            "content": {} if content is None else content,
            "metadata": {**self.metadata, **(metadata or {})},
        }

    def msg_header(self, msg_type: str) -> dict[str, Any]:
        """A header as of now."""
        return {
            "msg_id": self.msg_id,
            "msg_type": msg_type,
            "username": self.username,
            "session": self.session,
            "date": datetime.now(UTC),
            "version": PROTOCOL_VERSION,
        }

    @property
    def msg_id(self) -> str:
        """A new one each time."""
        return f"{self.session}_{os.getpid()}_of_session_{next(self._count)}"

    def pack(self, value: Any) -> bytes:
        """JSON, as it leaves."""
        return encode(value)

    def unpack(self, text: bytes | str) -> Any:
        """What `pack` was given."""
        return msgspec.json.decode(text)


def header_of(parent: Message | None) -> dict[str, Any]:
    """The header of a message, or the header that it is. Raises KeyError for what is neither."""
    if not parent:
        return {}
    header: dict[str, Any] = parent.get("header", parent)
    if header and "msg_id" not in header:
        raise KeyError("msg_id")
    return header


def _header_bytes(header: dict[str, Any] | None) -> bytes:
    """The header as it came, where it is the current request's; else encoded anew."""
    if not header:
        return b"{}"
    request = current.current_request()
    if request is not None and request.header_fields == header:
        return request.header
    return encode(header)


def _identities(ident: bytes | Sequence[bytes] | None) -> Sequence[bytes]:
    if ident is None:
        return ()
    return (ident,) if isinstance(ident, bytes) else tuple(ident)

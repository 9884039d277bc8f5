"""`kernel.session` and `kernel.iopub_socket`, by which kernels and libraries send messages of their own.

Thread: any. There are no sockets behind the names: what is sent leaves through the outbox.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastshell._contract import Destination
from fastshell.kernel import current
from fastshell.protocol.content import encode

if TYPE_CHECKING:
    from fastshell.kernel.channel import Outbox


class Stream:
    """Stands for a socket in calls of `Session.send`."""

    def __init__(self, destination: Destination) -> None:
        self.destination = destination

    def __repr__(self) -> str:
        return f"<the kernel's {self.destination.name.lower()} socket>"

    def flush(self, *arguments: object) -> None:
        """What was sent has left already."""


IOPUB = Stream(Destination.IOPUB)
SHELL = Stream(Destination.SHELL)
CONTROL = Stream(Destination.CONTROL)


class Session:
    """Sends as jupyter_client's Session does on a socket."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def send(
        self,
        stream: object,
        msg_or_type: str | dict[str, Any],
        content: dict[str, Any] | None = None,
        parent: dict[str, Any] | None = None,
        ident: bytes | Sequence[bytes] | None = None,
        buffers: Sequence[Any] | None = None,
        track: bool = False,
        header: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Send a message, and return what was sent of it.

        stream: the kernel's iopub_socket, or the stream that a handler was given.
        parent: a header or a message, default the current request's.
        ident: routing identities; on iopub the topic.
        track, header: taken, and of no effect: the router makes the header.
        Raises ValueError for another stream.
        """
        if not isinstance(stream, Stream):
            raise ValueError(f"cannot send on {stream!r}: expected kernel.iopub_socket")
        if isinstance(msg_or_type, str):
            msg_type = msg_or_type
        else:
            msg_type, content = msg_or_type["msg_type"], msg_or_type["content"]
            parent = parent or msg_or_type.get("parent_header")
            metadata = metadata or msg_or_type.get("metadata")
            buffers = buffers or msg_or_type.get("buffers")
        parent_header = None if parent is None else parent.get("header", parent)
        self._outbox.send(
            stream.destination,
            msg_type,
            current.parent_header() if parent_header is None else encode(parent_header),
            encode(content or {}),
            identities=(ident,) if isinstance(ident, bytes) else tuple(ident or ()),
            metadata=encode(metadata or {}),
            buffers=buffers or (),
        )
        return {
            "msg_type": msg_type,
            "parent_header": parent_header or {},
            "content": content or {},
            "metadata": metadata or {},
            "buffers": list(buffers or ()),
        }

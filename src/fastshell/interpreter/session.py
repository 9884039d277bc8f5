"""`kernel.session` and `kernel.iopub_socket`, by which notebooks and libraries send messages of their own.

Thread: any. There is no socket behind the name: what is sent leaves through the outbox.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastshell._contract import Destination
from fastshell.kernel import current
from fastshell.protocol.content import encode

if TYPE_CHECKING:
    from fastshell.kernel.channel import Outbox


class Session:
    """Sends on iopub, as jupyter_client's Session does on a socket."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def send(
        self,
        stream: object,
        msg_or_type: str | dict[str, Any],
        content: dict[str, Any] | None = None,
        parent: dict[str, Any] | None = None,
        ident: bytes | None = None,
        buffers: Sequence[Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Publish a message. stream: the kernel's iopub_socket, the only one that there is.

        parent: a header or a message, default the current request's. Raises ValueError for another stream.
        """
        if stream is not IOPUB:
            raise ValueError(f"cannot send on {stream!r}: expected kernel.iopub_socket")
        if isinstance(msg_or_type, str):
            msg_type = msg_or_type
        else:
            msg_type, content = msg_or_type["msg_type"], msg_or_type["content"]
            parent = parent or msg_or_type.get("parent_header")
            metadata = metadata or msg_or_type.get("metadata")
        header = None if parent is None else parent.get("header", parent)
        self._outbox.send(
            Destination.IOPUB,
            msg_type,
            current.parent_header() if header is None else encode(header),
            encode(content or {}),
            identities=() if ident is None else (ident,),
            metadata=encode(metadata or {}),
            buffers=buffers or (),
        )


class _Iopub:
    """Stands for the iopub socket in calls of `Session.send`."""

    def __repr__(self) -> str:
        return "<kernel.iopub_socket>"


IOPUB = _Iopub()

"""Comms, through the `comm` package: ipywidgets and its kin find this as their manager.

Thread: that of the shell whose message it is; a Comm may send from any.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import comm
import msgspec
from comm.base_comm import BaseComm, CommManager

from fastshell._contract import Destination
from fastshell.kernel import current
from fastshell.kernel.request import Request, decode_header
from fastshell.protocol.content import (
    CommInfoRequest,
    CommMessage,
    CommOpen,
    Content,
    ContentError,
    encode,
)

if TYPE_CHECKING:
    from fastshell.kernel.channel import Outbox

#: The manager's methods take the zmq stream of the message, and do nothing with it.
_STREAM: Any = None


class Comm(BaseComm):
    """One end of a comm; what it sends leaves under the current request."""

    _outbox: Outbox  # set by CommTargets for the process's kernel

    def publish_msg(
        self,
        msg_type: str,
        data: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        buffers: Sequence[Any] | None = None,
        **keys: Any,
    ) -> None:
        """Send comm_open, comm_msg or comm_close. Thread: any."""
        self._outbox.send(
            Destination.IOPUB,
            msg_type,
            current.parent_header(),
            encode({"data": data or {}, "comm_id": self.comm_id, **keys}),
            identities=(f"comm-{self.comm_id}".encode(),),
            metadata=encode(metadata) if metadata else b"{}",
            buffers=buffers or (),
        )


class CommTargets:
    """The requests about comms, on behalf of the `comm` package's manager."""

    def __init__(self, outbox: Outbox) -> None:
        self.manager = CommManager()
        Comm._outbox = outbox
        comm.create_comm = Comm
        comm.get_comm_manager = lambda: self.manager

    def comm_open(self, request: Request) -> None:
        self.manager.comm_open(_STREAM, "", _message(request, CommOpen))

    def comm_msg(self, request: Request) -> None:
        self.manager.comm_msg(_STREAM, "", _message(request, CommMessage))

    def comm_close(self, request: Request) -> None:
        self.manager.comm_close(_STREAM, "", _message(request, CommMessage))

    def comm_info_request(self, request: Request) -> dict[str, Any]:
        target_name = request.content(CommInfoRequest).target_name
        return {
            "status": "ok",
            "comms": {
                comm_id: {"target_name": one.target_name}
                for comm_id, one in list(self.manager.comms.items())
                if target_name is None or one.target_name == target_name
            },
        }


def _message(request: Request, content_type: type[Content]) -> dict[str, Any]:
    """A comm message as the `comm` package and its callbacks take it."""
    try:
        content = msgspec.json.decode(request.message.content)
        msgspec.convert(content, content_type)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ContentError(f"content of {request.msg_type}: {error}") from None
    content.setdefault("data", {})
    header = request.header_fields
    return {
        "header": header,
        "msg_id": header.get("msg_id"),
        "msg_type": request.msg_type,
        "parent_header": decode_header(request.message.parent_header),
        "metadata": request.metadata,
        "content": content,
        "buffers": list(request.message.buffers),
    }

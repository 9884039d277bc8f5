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
    from fastshell.kernel.dispatch import Shell

QUESTIONS = 256  # questions of a comm that are remembered at most; most are never answered by their id

#: The manager's methods take the zmq stream of the message, and do nothing with it.
_STREAM: Any = None


class Comm(BaseComm):
    """One end of a comm; what it sends leaves under the current request."""

    _outbox: Outbox  # set by CommTargets for the process's kernel

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._asked: dict[str, Shell] = {}  # who sent a question, by the id in it
        super().__init__(*args, **kwargs)

    def publish_msg(
        self,
        msg_type: str,
        data: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        buffers: Sequence[Any] | None = None,
        **keys: Any,
    ) -> None:
        """Send comm_open, comm_msg or comm_close. Thread: any."""
        question = _question(data)
        if question is not None:
            shell = current.current_shell()
            if shell is not None:
                while len(self._asked) >= QUESTIONS:
                    self._asked.pop(next(iter(self._asked)), None)
                self._asked[question] = shell
        self._outbox.send(
            Destination.IOPUB,
            msg_type,
            current.parent_header(),
            encode({"data": data or {}, "comm_id": self.comm_id, **keys}),
            identities=(f"comm-{self.comm_id}".encode(),),
            metadata=encode(metadata) if metadata else b"{}",
            buffers=buffers or (),
        )

    def asker(self, data: Any) -> Shell | None:
        """The shell that sent the question which `data` answers; asked again, it is forgotten."""
        question = _question(data)
        return None if question is None else self._asked.pop(question, None)


def _question(data: Any) -> str | None:
    """The id in a custom message of a widget, by which its answer is known."""
    content = data.get("content") if isinstance(data, dict) else None
    question = content.get("id") if isinstance(content, dict) else None
    return question if isinstance(question, str) else None


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
        """By the shell that the message is sent to, or if it answers a question, by the one that asked."""
        message = _message(request, CommMessage)
        content = message["content"]
        one = self.manager.comms.get(content["comm_id"])
        asker = one.asker(content["data"]) if isinstance(one, Comm) else None
        if asker is None or asker is request.shell or not asker.adopt(request):
            self.manager.comm_msg(_STREAM, "", message)

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

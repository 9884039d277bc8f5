"""One request on its way through a shell: what came, and its one reply.

Thread: the shell's own, but for the attributes, which are constant.
"""

from __future__ import annotations

import functools
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from fastshell._contract import Destination, Received
from fastshell.protocol.content import C, decode, encode

if TYPE_CHECKING:
    from fastshell.kernel.dispatch import Shell


class Request:
    """A message of shell or control, and the shell that answers it."""

    __slots__ = (
        "__dict__",
        "__weakref__",
        "allow_stdin",
        "aborts_queue",
        "is_elsewhere",
        "message",
        "replied",
        "reply_metadata",
        "shell",
    )

    def __init__(self, message: Received, shell: Shell) -> None:
        self.message = message
        self.shell = shell
        self.replied = False
        self.allow_stdin = False
        self.aborts_queue = False  # once it is answered, execute requests behind it are aborted
        self.is_elsewhere = False  # another shell has taken it over, and ends it
        self.reply_metadata = b"{}"

    @property
    def msg_type(self) -> str:
        return self.message.msg_type

    @property
    def header(self) -> bytes:
        """The header's JSON as it came: the parent_header of all that answers it."""
        return self.message.header

    @functools.cached_property
    def header_fields(self) -> dict[str, Any]:
        """The header decoded, for those who look into it."""
        return decode_header(self.message.header)

    @functools.cached_property
    def metadata(self) -> dict[str, Any]:
        """The metadata decoded; {} where it is no object."""
        try:
            metadata = msgspec.json.decode(self.message.metadata)
        except msgspec.MsgspecError:
            return {}
        return metadata if isinstance(metadata, dict) else {}

    def content(self, content_type: type[C]) -> C:
        """The typed content. Raises ContentError, naming the field."""
        return decode(self.message.content, content_type)

    @property
    def wants_reply(self) -> bool:
        return self.msg_type.endswith("_request")

    def reply(self, content: dict[str, Any]) -> None:
        """Send the one reply; nothing for a message that has none, or has had it."""
        if self.replied or not self.wants_reply:
            return
        self.replied = True
        self.shell.outbox.send(
            self.shell.destination,
            self.msg_type.removesuffix("_request") + "_reply",
            self.message.header,
            encode(content),
            identities=self.message.identities,
            metadata=self.reply_metadata,
            after_capture=self.shell.is_main and self.msg_type == "execute_request",
        )

    def publish(self, msg_type: str, content: dict[str, Any]) -> None:
        """Send a message on iopub on behalf of this request."""
        self.shell.outbox.send(Destination.IOPUB, msg_type, self.message.header, encode(content))

    def busy(self) -> None:
        self.shell.outbox.status("busy", self.message.header)

    def idle(self) -> None:
        self.shell.outbox.status("idle", self.message.header)


def decode_header(header: bytes) -> dict[str, Any]:
    """The fields of a header, with its date as a datetime: so user code has it from other kernels."""
    fields: dict[str, Any] = msgspec.json.decode(header)
    with suppress(KeyError, TypeError, ValueError):
        date = datetime.fromisoformat(fields["date"])
        fields["date"] = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
    return fields


def error_content(ename: str, evalue: str, traceback: list[str] | None = None) -> dict[str, Any]:
    """Content of a reply that reports a failure."""
    return {"status": "error", "ename": ename, "evalue": evalue, "traceback": traceback or []}

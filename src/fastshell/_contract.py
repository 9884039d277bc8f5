"""What the two routers have in common: channel names, message kinds, records, errors.

Imports nothing of fastshell, so that both `_router` and `_pyrouter` may use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, IntEnum
from typing import NamedTuple

#: The wire's channels, by the names that connection files use (`<channel>_port`).
CHANNELS = ("shell", "control", "stdin", "iopub", "hb")

#: Why a message can be dropped; each is a key of `Statistics.dropped`.
DROP_REASONS = (
    "delimiter",  # no <IDS|MSG> frame
    "parts",  # fewer than signature and four JSON parts behind the delimiter
    "signature",  # wrong or missing signature
    "replay",  # a signature that was seen before
    "header",  # the header is not a JSON object, or its msg_type is not a string
    "input_reply",  # an answer that nobody waits for
    "unsendable",  # the peer has gone, or libzmq refused the message
)

#: What the router answers by itself; each is a key of `Statistics.answered`.
ANSWERS = ("heartbeat", "kernel_info", "iopub_welcome", "unknown_subshell")


class Destination(IntEnum):
    """Where a thread's message leaves the kernel."""

    SHELL = 0
    CONTROL = 1
    STDIN = 2
    IOPUB = 3


class Kind(IntEnum):
    """What a channel's message is."""

    REQUEST = 0  # from shell or control, or a comm message
    INPUT_REPLY = 1  # from stdin
    STOP = 2  # the last message of a channel: the subshell was deleted or the router stops
    TERMINATE = 3  # to control only: SIGTERM arrived or the parent process died


class Received(NamedTuple):
    """One message as `Channel.recv_nowait` returns it.

    All JSON parts are the wire's bytes, verbatim and verified. For STOP and TERMINATE every
    field but `kind` is empty; TERMINATE's content is b"SIGTERM" or b"parent".
    """

    kind: Kind
    msg_type: str
    identities: tuple[bytes, ...]
    header: bytes
    parent_header: bytes
    metadata: bytes
    content: bytes | memoryview
    buffers: tuple[memoryview, ...]


class Statistics(NamedTuple):
    """Counters of a router since its start. The mappings are read-only."""

    received: Mapping[str, int]  # messages that arrived, by channel
    relayed: Mapping[str, int]  # messages handed to a thread, by channel
    answered: Mapping[str, int]  # messages that the router answered itself, see ANSWERS
    sent: Mapping[str, int]  # messages written to the wire, by channel
    dropped: Mapping[str, int]  # messages dropped, by reason, see DROP_REASONS
    queued_bytes: Mapping[str, int]  # bytes handed over, not yet picked up, by channel name
    frames_open: int  # frames that the router or a channel still holds
    captured_bytes: int  # bytes read from the captured file descriptors
    kicks: int  # times that a busy main thread was made to yield


#: Between routing identities and the signed parts of a message on the wire.
DELIMITER = b"<IDS|MSG>"


class WireError(Exception):
    """The peer's bytes are no Jupyter message.

    reason: the one of `_contract.DROP_REASONS` that it counts as.
    """

    def __init__(self, reason: str, explanation: str) -> None:
        super().__init__(explanation)
        self.reason = reason


class RouterError(Exception):
    """The router cannot start; the message names the channel and the endpoint."""


class Unusable(Enum):
    """The type of UNUSABLE alone, so that checkers follow `is UNUSABLE`."""

    UNUSABLE = "unusable"


#: A header member that is there, but neither null nor a string that the router can use: another type,
#: half a surrogate pair, or spelled with escapes and longer than 255 bytes (of UTF-8) without them.
UNUSABLE = Unusable.UNUSABLE


class HeaderFields(NamedTuple):
    """What routing needs of a message header. None: absent or null."""

    subshell_id: str | Unusable | None
    msg_type: str | Unusable | None
    msg_id: str | Unusable | None

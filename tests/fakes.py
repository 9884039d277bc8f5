"""A channel and an outbox without sockets, so that a shell can be driven in one thread."""

from __future__ import annotations

import contextlib
import json
import os
from collections import deque
from typing import Any

from fastshell._contract import Kind, Received


class FakeChannel:
    """Messages that a test puts in; readable like a real one: told once, then silent until drained."""

    def __init__(self, name: str = "main") -> None:
        self.name = name
        self.fd, self._wake = os.pipe()
        self._messages: deque[Received] = deque()
        self.is_closed = False

    def put(self, message: Received) -> None:
        self._messages.append(message)
        os.write(self._wake, b".")

    def recv_nowait(self) -> Received | None:
        if self._messages:
            return self._messages.popleft()
        os.set_blocking(self.fd, False)
        with contextlib.suppress(BlockingIOError):
            os.read(self.fd, 65536)
        return None

    def close(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            os.close(self._wake)


class FakeOutbox:
    """What left, as (what, parent's msg_id, content) in order."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, Any]] = []

    def status(self, execution_state: str, parent: bytes) -> None:
        self.sent.append((execution_state, json.loads(parent)["msg_id"], None))

    def send(self, destination: int, msg_type: str, parent: bytes, content: bytes, **options: Any) -> None:
        self.sent.append((msg_type, json.loads(parent)["msg_id"], json.loads(content)))

    def of(self, msg_id: str) -> list[str]:
        return [what for what, parent, _ in self.sent if parent == msg_id]


def request(msg_type: str, msg_id: str, content: Any = None) -> Received:
    raw = content if isinstance(content, bytes) else json.dumps(content or {}).encode()
    header = json.dumps({"msg_id": msg_id, "msg_type": msg_type}).encode()
    return Received(Kind.REQUEST, msg_type, (b"peer",), header, b"{}", b"{}", raw, ())


STOP = Received(Kind.STOP, "", (), b"", b"", b"", b"", ())

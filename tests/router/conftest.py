"""Routers of both kinds, started for one test, and a small raw client."""

from __future__ import annotations

import gc
import hashlib
import hmac
import importlib
import itertools
import json
import os
import selectors
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pytest
import zmq

from fastshell._contract import CHANNELS, Destination, Kind, Received

DELIMITER = b"<IDS|MSG>"
KEY = b"a key of the tests"
KERNEL_INFO = b'{"status":"ok","implementation":"fastshell"}'
TIMEOUT_S = 20.0  # of each wait; only a failing test takes that long
MODULES = {"c": "fastshell._router", "plain": "fastshell._pyrouter"}


@pytest.fixture(params=["c", "plain"])
def router_module(request: pytest.FixtureRequest) -> Any:
    """Each implementation in turn. Where the C router should be there, its absence is a failure."""
    if request.param == "c" and os.name == "nt":
        pytest.skip("pyzmq's Windows wheel exports no libzmq (D4)")
    return importlib.import_module(MODULES[request.param])


class Message(NamedTuple):
    """One message as a client got it; JSON parts decoded."""

    identities: list[bytes]
    header: dict[str, Any]
    parent_header: dict[str, Any]
    metadata: dict[str, Any]
    content: dict[str, Any]
    buffers: list[bytes]
    parts: list[bytes]  # the four JSON parts as they came

    @property
    def msg_type(self) -> str:
        return str(self.header["msg_type"])


class Client:
    """A front end: DEALERs, a SUB and a REQ, connected when first used."""

    _names = itertools.count()

    def __init__(
        self, endpoints: dict[str, str], key: bytes, context: zmq.Context, scheme: str = "hmac-sha256"
    ) -> None:
        self.session = f"client{next(self._names)}"
        self._endpoints = endpoints
        self._key = key
        self._digest = getattr(hashlib, scheme.removeprefix("hmac-"))
        self._context = context
        self._sockets: dict[str, zmq.Socket] = {}
        self._count = itertools.count()
        #: Applied to each socket before it connects.
        self.configure: Callable[[zmq.Socket], None] = lambda socket: None

    def socket(self, channel: str) -> zmq.Socket:
        if channel not in self._sockets:
            kinds = {"iopub": zmq.SUB, "hb": zmq.REQ}
            socket = self._sockets[channel] = self._context.socket(kinds.get(channel, zmq.DEALER))
            socket.set_hwm(0)
            socket.set(zmq.LINGER, 0)
            if channel in ("shell", "control", "stdin"):
                # One identity for all channels, as Jupyter's clients have it: stdin needs it.
                socket.set(zmq.IDENTITY, self.session.encode())
            if "[" in self._endpoints[channel]:
                socket.set(zmq.IPV6, 1)
            self.configure(socket)
            socket.connect(self._endpoints[channel])
        return self._sockets[channel]

    def sign(self, parts: Sequence[bytes]) -> bytes:
        if not self._key:
            return b""
        return hmac.new(self._key, b"".join(parts), self._digest).hexdigest().encode()

    def header(self, msg_type: str, **members: Any) -> dict[str, Any]:
        msg_id = f"{self.session}_{next(self._count)}"
        header = {"msg_id": msg_id, "msg_type": msg_type, "username": "someone", "session": self.session}
        return header | {"date": "2026-01-31T12:00:00.000000Z", "version": "5.4"} | members

    def frames(
        self,
        header: dict[str, Any] | bytes,
        content: dict[str, Any] | bytes = b"{}",
        *,
        parent: dict[str, Any] | bytes = b"{}",
        metadata: dict[str, Any] | bytes = b"{}",
        buffers: Sequence[bytes] = (),
    ) -> list[bytes]:
        """A whole, signed message."""
        parts = [
            part if isinstance(part, bytes) else json.dumps(part).encode()
            for part in (header, parent, metadata, content)
        ]
        return [DELIMITER, self.sign(parts), *parts, *buffers]

    def send(
        self,
        msg_type: str,
        content: dict[str, Any] | bytes = b"{}",
        *,
        channel: str = "shell",
        parent: dict[str, Any] | bytes = b"{}",
        buffers: Sequence[bytes] = (),
        **members: Any,
    ) -> dict[str, Any]:
        """Send a message whose header has these members too; return its header."""
        header = self.header(msg_type, **members)
        frames = self.frames(header, content, parent=parent, buffers=buffers)
        self.socket(channel).send_multipart(frames, copy=False)
        return header

    def recv(self, channel: str = "shell") -> Message:
        assert self.has(channel, TIMEOUT_S), f"nothing came on {channel} within {TIMEOUT_S} s"
        return self.parse(self.socket(channel).recv_multipart())

    def has(self, channel: str, timeout_s: float = 0) -> bool:
        return bool(self.socket(channel).poll(timeout_s * 1000))

    def parse(self, frames: list[bytes]) -> Message:
        """Check the signature of a message and decode it."""
        at = frames.index(DELIMITER)
        parts = frames[at + 2 : at + 6]
        assert frames[at + 1] == self.sign(parts)
        return Message(frames[:at], *map(json.loads, parts), frames[at + 6 :], parts)

    def subscribe(self, topic: bytes = b"") -> Message:
        """Subscribe to iopub; return the welcome, after which nothing is missed."""
        self.socket("iopub").subscribe(topic)
        while (message := self.recv("iopub")).msg_type != "iopub_welcome":
            pass
        return message

    def iopub_until_idle(self, of: dict[str, Any]) -> list[Message]:
        """All messages with that parent, the idle the last."""
        messages = []
        while True:
            message = self.recv("iopub")
            if message.parent_header.get("msg_id") == of["msg_id"]:
                messages.append(message)
                if message.content.get("execution_state") == "idle":
                    return messages

    def stream_text(self, size: int, name: str = "stdout", msg_id: str | None = None) -> str:
        """The text of stream messages, until there is so much of it."""
        text = ""
        while len(text) < size:
            message = self.recv("iopub")
            if message.msg_type == "stream" and message.content["name"] == name:
                assert msg_id is None or message.parent_header.get("msg_id") == msg_id
                text += message.content["text"]
        return text

    def heartbeat(self, data: bytes = b"ping") -> None:
        socket = self.socket("hb")
        socket.send(data)
        assert socket.poll(TIMEOUT_S * 1000), "the heart does not beat"
        assert socket.recv() == data

    def close(self) -> None:
        for socket in self._sockets.values():
            socket.close()
        self._sockets.clear()


class Running:
    """A router that was started, with what a test needs around it."""

    def __init__(self, module: Any, endpoints: dict[str, str], context: zmq.Context, **options: Any) -> None:
        arguments = {"key": KEY, "session": "kernel", "username": "user", "kernel_info": KERNEL_INFO}
        self.key = options.get("key", KEY)
        self.scheme = options.get("signature_scheme", "hmac-sha256")
        self.router = module.Router(endpoints, **(arguments | options))
        self.outbox = self.router.outbox
        self.endpoints: dict[str, str] = self.router.start()
        self.channels: list[Any] = []
        self.clients: list[Client] = []
        self._context = context
        self._is_stopped = False

    def open(self, name: str) -> Any:
        channel = self.router.open_channel(name)
        self.channels.append(channel)
        return channel

    def client(self) -> Client:
        client = Client(self.endpoints, self.key, self._context, self.scheme)
        self.clients.append(client)
        return client

    def reply(self, request: Received, content: bytes = b"{}", **options: Any) -> None:
        """Answer a request as a shell would."""
        msg_type = request.msg_type.removesuffix("request") + "reply"
        options.setdefault("identities", request.identities)
        self.outbox.send(Destination.SHELL, msg_type, request.header, content, **options)

    def dropped(self) -> dict[str, int]:
        """The counters of dropped messages that are not 0."""
        return {reason: count for reason, count in self.router.statistics().dropped.items() if count}

    def wait_dropped(self, **expected: int) -> None:
        wait_until(lambda: self.dropped() == expected, lambda: f"{self.dropped()}, not {expected}")

    def stop(self) -> None:
        if not self._is_stopped:
            self._is_stopped = True
            self.router.stop()

    def close(self) -> None:
        """Stop, and check that nothing is left."""
        for client in self.clients:
            client.close()
        for channel in self.channels:
            channel.close()
        self.stop()
        gc.collect()
        assert self.router.statistics().frames_open == 0


def wait_readable(fd: int, timeout_s: float) -> None:
    """As select does, but for any fd: a thousand channels have more than 1,023."""
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        selector.select(timeout_s)


def recv(channel: Any, timeout_s: float = TIMEOUT_S) -> Received:
    """Wait for a channel's next message, as its fd has to be used."""
    deadline = time.monotonic() + timeout_s
    while (received := channel.recv_nowait()) is None:
        left = deadline - time.monotonic()
        assert left > 0, f"nothing came on channel {channel.name} within {timeout_s} s"
        wait_readable(channel.fd, left)
    return received


def recv_until_stop(channel: Any) -> list[Received]:
    messages = []
    while (received := recv(channel)).kind != Kind.STOP:
        messages.append(received)
    return messages


def wait_until(is_true: Callable[[], bool], otherwise: Callable[[], str] = lambda: "never true") -> None:
    """Poll something that has no event to wait for, such as a counter."""
    deadline = time.monotonic() + TIMEOUT_S
    pause = threading.Event()
    while not is_true():
        assert time.monotonic() < deadline, otherwise()
        pause.wait(0.002)


@pytest.fixture
def context() -> Iterator[zmq.Context]:
    """The clients' context."""
    context = zmq.Context()
    yield context
    context.destroy(linger=0)


@pytest.fixture
def ipc_endpoints(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], dict[str, str]]:
    """New endpoints at each call: ipc where that exists, else tcp."""
    count = itertools.count()

    def make() -> dict[str, str]:
        if not zmq.has("ipc"):
            return dict.fromkeys(CHANNELS, "tcp://127.0.0.1:*")
        folder = tmp_path_factory.mktemp("k", numbered=True)
        number = next(count)
        return {channel: f"ipc://{folder}/{number}-{channel}" for channel in CHANNELS}

    return make


@pytest.fixture
def tcp_endpoints() -> dict[str, str]:
    return dict.fromkeys(CHANNELS, "tcp://127.0.0.1:*")


@pytest.fixture
def start(
    router_module: Any, context: zmq.Context, ipc_endpoints: Callable[[], dict[str, str]]
) -> Iterator[Callable[..., Running]]:
    """Make started routers; at the end they stop and must hold no frame."""
    made: list[Running] = []

    def make(endpoints: dict[str, str] | None = None, **options: Any) -> Running:
        made.append(Running(router_module, endpoints or ipc_endpoints(), context, **options))
        return made[-1]

    yield make
    for running in made:
        running.close()


@pytest.fixture
def running(start: Callable[..., Running]) -> Running:
    """A started router with a key and the channels of main and control."""
    running = start()
    running.main = running.open("main")
    running.control = running.open("control")
    return running


@pytest.fixture
def client(running: Running) -> Client:
    """A client that has been welcomed on iopub."""
    client = running.client()
    client.subscribe()
    return client

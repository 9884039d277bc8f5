"""The plain twin of `_router`: the same interface and behaviour, on pyzmq.

It serves where libzmq cannot be shared with C (pyzmq's Windows wheel links it statically), signs
the HMAC schemes that the C router does not, and is what the C router is tested against.

    senders ── Outbox ──► _Door ──► _Loop ──► _Wire ──► peers
    peers ──► _Wire ──► _Gate ──► _Answers, or _Shells ──► _Mailbox ──► Channel

Messages cross between threads as Python objects in two kinds of deque, `_Door` and `_Mailbox`; the
inproc sockets beside them carry empty frames that wake the reader. Frames with the messages in them
would be nearer to C, but pyzmq drops the GIL for each frame, and a contended take costs 5 ms.

What differs from C, since all of this needs the GIL: no kick; answers and `exit_after` wait until
running Python code gives way. Sending, and reading an empty channel, drop the GIL once.
On Windows, pipes cannot be polled: a thread reads each captured pipe, `after_capture` sends what it
has read so far, and neither signal_fd nor parent_fd is watched.
"""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import itertools
import json
import os
import signal
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from types import MappingProxyType
from typing import NamedTuple, cast

import zmq

from fastshell._contract import (
    ANSWERS,
    CHANNELS,
    DELIMITER,
    DROP_REASONS,
    Destination,
    HeaderFields,
    Kind,
    Received,
    RouterError,
    Statistics,
    WireError,
)
from fastshell.protocol import wire

_BURST = 64  # messages taken from one socket before the others get their turn
_SHARED_BYTES = 64 * 1024  # from this size on, buffers and content are shared rather than copied
_GATHER_BYTES = 64 * 1024  # gathered text leaves at this size...
_GATHER_S = 0.05  # ...or after this time
_READ_BYTES = 64 * 1024  # read from a pipe at once: Linux' default pipe capacity
_DRAIN_BYTES = 1 << 20  # at most what a pipe holds (Linux' pipe-max-size): a writer may never pause
_PARENT_CHECK_S = 0.5
_TERMINATE_S = 0.9  # W4: gone within 1 s
_LINGER_MS = 300
_REPLAY_KEPT = 65_536  # jupyter_client's digest_history_size
_MAX_SOCKETS = 65_536
_CAN_POLL_PIPES = os.name != "nt"
_IDENTITIES_MAX = 64  # as in C: a front end has one, a proxy adds one
_MSG_TYPE_MAX = 255  # bytes, as in C
_PRIVATE_NAMES = ("main", "control")  # channels that no subshell_id may name

_WIRE_CHANNEL = {
    Destination.SHELL: "shell",
    Destination.CONTROL: "control",
    Destination.STDIN: "stdin",
    Destination.IOPUB: "iopub",
}

_Socket = zmq.Socket[bytes]


def libzmq() -> tuple[str, str]:
    """Return (version, file) of the libzmq in use. Thread: any."""
    backends = ("zmq.backend.cython._zmq", "zmq.backend.cython.socket", "zmq.backend.cffi._cffi")
    files = (getattr(sys.modules.get(name), "__file__", None) for name in backends)
    return zmq.zmq_version(), next(filter(None, files), zmq.__file__)


class _Message(NamedTuple):
    """One message on its way to the wire, where it is signed."""

    channel: str
    identities: tuple[bytes, ...]
    header: bytes
    parent: bytes
    content: bytes
    metadata: bytes = b"{}"
    buffers: tuple[bytes | memoryview, ...] = ()


class _Request(NamedTuple):
    """A message that was verified, and what its header says."""

    received: Received
    fields: HeaderFields


class _Headers:
    """Makes the headers of all messages that leave. Thread: any."""

    def __init__(self, session: str, username: str) -> None:
        self.id_prefix = f"{session}_{os.getpid()}_"
        self._constant = {"username": username, "session": session, "version": "5.5"}
        self._count = itertools.count(1)

    def make(self, msg_type: str) -> tuple[str, bytes]:
        """Return a new (msg_id, header)."""
        msg_id = f"{self.id_prefix}{next(self._count)}"
        date = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        header = {"msg_id": msg_id, "msg_type": msg_type, "date": date, **self._constant}
        return msg_id, _json(header)


class _Counters:
    """What the router has done so far. Thread: the router's, but for `snapshot`."""

    def __init__(self, log_fd: int) -> None:
        self.received = dict.fromkeys(CHANNELS, 0)
        self.relayed = dict.fromkeys(CHANNELS, 0)
        self.sent = dict.fromkeys(CHANNELS, 0)
        self.answered = dict.fromkeys(ANSWERS, 0)
        self.captured_bytes = 0
        self._dropped = dict.fromkeys(DROP_REASONS, 0)
        self._frames: weakref.WeakSet[zmq.Frame] = weakref.WeakSet()
        self._log_fd = log_fd

    def drop(self, reason: str) -> None:
        """Count a dropped message; the first of each kind is logged."""
        self._dropped[reason] += 1
        if self._dropped[reason] == 1 and self._log_fd >= 0:
            with contextlib.suppress(OSError):
                os.write(self._log_fd, f"fastshell: message dropped: {reason}\n".encode())

    def share(self, frame: zmq.Frame) -> memoryview:
        """Return a view on a frame, which is open as long as somebody holds the view."""
        self._frames.add(frame)
        return memoryview(cast(bytes, frame))  # frame.buffer would be cached in the frame itself

    def snapshot(self, queued_bytes: Mapping[str, int]) -> Statistics:
        return Statistics(
            received=MappingProxyType(dict(self.received)),
            relayed=MappingProxyType(dict(self.relayed)),
            answered=MappingProxyType(dict(self.answered)),
            sent=MappingProxyType(dict(self.sent)),
            dropped=MappingProxyType(dict(self._dropped)),
            queued_bytes=MappingProxyType(dict(queued_bytes)),
            frames_open=len(self._frames),
            captured_bytes=self.captured_bytes,
            kicks=0,
        )


class _Inproc:
    """The context of the sockets between threads; it ends with the last of them.

    Not the wire's context: that one has to end, and so to linger, while shells still hold their
    channels, and ending a context waits for all of its sockets. Thread: any.
    """

    def __init__(self) -> None:
        self._context = zmq.Context(io_threads=0)
        limit = self._context.get(zmq.SOCKET_LIMIT)  # select() allows fewer
        self._context.set(zmq.MAX_SOCKETS, min(_MAX_SOCKETS, limit))
        self._lock = threading.Lock()
        self._open = 0
        self._names = itertools.count()

    def pair(self, receiving: int, sending: int) -> tuple[_Socket, _Socket]:
        """Make two connected sockets of these types, without a high-water mark.

        Raises RouterError if no more can be made.
        """
        made: list[_Socket] = []
        try:
            for kind in (receiving, sending):
                made.append(self._context.socket(kind))
                made[-1].set_hwm(0)
                made[-1].set(zmq.LINGER, 0)
            endpoint = f"inproc://{next(self._names)}"
            made[0].bind(endpoint)
            made[1].connect(endpoint)
        except zmq.ZMQError as error:
            for socket in made:
                socket.close()
            raise RouterError(f"no socket can be made between threads: {error}") from error
        with self._lock:
            self._open += 2
        return made[0], made[1]

    def close(self, socket: _Socket) -> None:
        socket.close()
        with self._lock:
            self._open -= 1
            if self._open:
                return
        self._context.term()


class _Door:
    """The way to the router's thread: calls in order, and text gathered between them.

    Thread: any, but for those marked as the router's. The lock is re-entrant, since a signal
    handler or a finalizer may print while its own thread is in here. What runs under it does so in
    an order in which an exception (KeyboardInterrupt) costs at most a wake-up too few or too many.
    """

    def __init__(self, inproc: _Inproc) -> None:
        self.pull, self._push = inproc.pair(zmq.PULL, zmq.PUSH)
        self.text_deadline: float | None = None
        self._inproc = inproc
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._is_open = True
        self._is_awake = False  # a wake-up is on its way
        self._calls: deque[tuple[Callable[..., None], tuple[object, ...]]] = deque()
        self._text: list[tuple[str, bytes, bytes]] = []  # name, parent, text
        self._text_bytes = 0
        self._publish_text: Callable[..., None] = _nothing

    @property
    def is_open(self) -> bool:
        """False after stop, and in a forked child."""
        return self._is_open and os.getpid() == self._pid

    @property
    def waiting(self) -> int:
        """The number of calls to be run."""
        return len(self._calls)

    def on_text(self, publish: Callable[..., None]) -> None:
        """Name the function of the router's thread that takes gathered text."""
        self._publish_text = publish

    def put(self, function: Callable[..., None], *args: object) -> None:
        """Have the router's thread call this; text that was written goes first."""
        if not self.is_open:
            return
        with self._lock:
            self._flush_text()
            self._calls.append((function, args))
            self._wake()

    def write(self, name: str, parent: bytes, text: bytes) -> None:
        if not text or not self.is_open:
            return
        with self._lock:
            self._text.append((name, parent, text))
            self._text_bytes += len(text)
            if self._text_bytes >= _GATHER_BYTES:
                self._flush_text()
                self._wake()
            elif self.text_deadline is None:
                self.text_deadline = time.monotonic() + _GATHER_S
                self._wake()  # the router has to know of the deadline

    def flush(self) -> None:
        if not self.is_open:
            return
        with self._lock:
            self._flush_text()
            self._wake()

    def _flush_text(self) -> None:
        if self._text:
            text, self._text = self._text, []
            self._text_bytes, self.text_deadline = 0, None
            self._calls.append((self._publish_text, (text,)))

    def _wake(self) -> None:
        if not self._is_awake and self._is_open:
            self._push.send(b"", zmq.NOBLOCK)
            self._is_awake = True

    def collect(self, *, flush: bool = False) -> int:
        """Take the wake-ups, and text that is due; return the number of calls. Thread: the router's."""
        _take_wakeups(self.pull)
        with self._lock:
            self._is_awake = False
            if flush or (self.text_deadline is not None and time.monotonic() >= self.text_deadline):
                self._flush_text()
            return len(self._calls)

    def run(self, count: int) -> None:
        """Make the next calls. Thread: the router's."""
        for _ in range(count):
            function, args = self._calls.popleft()
            function(*args)

    def close(self) -> None:
        """Ignore all calls from now on. Thread: the router's, or that of a failed start."""
        with self._lock:
            if not self._is_open:
                return
            self._is_open = False
            self._calls.clear()
            self._text.clear()
            self._inproc.close(self._push)
            self._inproc.close(self.pull)


class _Mailbox:
    """Messages on their way to one channel.

    The router puts, the channel's thread takes. Each put is followed by a wake-up, and `take`
    looks again after it has taken all wake-ups: so if it says None, a wake-up follows.
    """

    def __init__(self, wake: _Socket, inproc: _Inproc) -> None:
        self.is_read = True  # False after Channel.close
        self._is_open = True
        self._wake = wake
        self._inproc = inproc
        self._messages: deque[tuple[Received, int]] = deque()
        self._put_bytes = 0  # written by the router's thread
        self._taken_bytes = 0  # written by the channel's thread

    @property
    def queued_bytes(self) -> int:
        return self._put_bytes - self._taken_bytes

    def put(self, received: Received) -> None:
        size = _size_bytes(received)
        self._put_bytes += size
        self._messages.append((received, size))
        with contextlib.suppress(zmq.ZMQError):  # Channel.close was faster
            self._wake.send(b"", zmq.NOBLOCK)

    def close(self) -> None:
        """Put the last message. May be called twice. Thread: the router's, or stop() when that has ended."""
        if self._is_open:
            self._is_open = False
            self.put(Received(Kind.STOP, "", (), b"", b"", b"", b"", ()))
            self._inproc.close(self._wake)

    def take(self, wakeups: _Socket) -> Received | None:
        if not self._messages:
            _take_wakeups(wakeups)
        if not self._messages:
            return None
        received, size = self._messages.popleft()
        self._taken_bytes += size
        return received

    def forget(self) -> None:
        """Nobody takes any more."""
        self.is_read = False
        self._messages.clear()
        self._taken_bytes = self._put_bytes


class Channel:
    """Receiving end of one shell's messages. Thread: one, the shell's own, but for close."""

    def __init__(self, name: str, wakeups: _Socket, mailbox: _Mailbox, inproc: _Inproc) -> None:
        self._name = name
        self._wakeups = wakeups
        self._mailbox = mailbox
        self._inproc = inproc
        self._fd = cast(int, wakeups.get(zmq.FD))
        self._pid = os.getpid()
        self._is_open = True

    @property
    def name(self) -> str:
        return self._name

    @property
    def fd(self) -> int:
        """Readable after a message arrived. Edge-triggered: read until recv_nowait returns None."""
        return self._fd

    def recv_nowait(self) -> Received | None:
        """Return the next message, or None if there is none.

        Content of 64 KiB and more, and buffers, are memoryviews on the frames as they arrived.
        """
        if not self._is_open or os.getpid() != self._pid:
            return None  # a forked child would take the wake-ups of its parent
        return self._mailbox.take(self._wakeups)

    def close(self) -> None:
        """Free the socket. Unread messages are lost. May be called twice."""
        if self._is_open and os.getpid() == self._pid:
            self._is_open = False
            self._mailbox.forget()
            self._inproc.close(self._wakeups)


class Outbox:
    """The one door into the router. Thread: any; no call blocks.

    Messages leave in the order of the calls, over all threads; text that was written leaves
    before what is sent later. In a forked child every call does nothing.
    """

    def __init__(self, door: _Door, headers: _Headers, loop: _Loop) -> None:
        self._door = door
        self._headers = headers
        self._loop = loop

    def send(
        self,
        destination: Destination,
        msg_type: str,
        parent: bytes,
        content: bytes,
        *,
        identities: Sequence[bytes] = (),
        metadata: bytes = b"{}",
        buffers: Sequence[object] = (),
        after_capture: bool = False,
    ) -> None:
        """Send one message; the header (new msg_id, date) and the signature are made here.

        parent: header bytes of the request that caused it, or b"{}".
        identities: routing identities; for IOPUB the topic (default: msg_type).
        buffers: contiguous bytes-likes; those of 64 KiB and more are lent, not copied, and kept
        alive until they have left.
        after_capture: first publish what waits in the captured file descriptors.
        """
        if not self._door.is_open:
            return
        if destination == Destination.IOPUB and not identities:
            identities = (msg_type.encode(),)
        _check_bytes(*identities, parent, content, metadata)
        lent = tuple(map(_lend, buffers))
        header = self._headers.make(msg_type)[1]
        channel = _WIRE_CHANNEL[destination]
        message = _Message(channel, tuple(identities), header, parent, content, metadata, lent)
        self._door.put(self._loop.send_after_capture if after_capture else self._loop.send, message)

    def status(self, execution_state: str, parent: bytes) -> None:
        """Publish busy, idle or starting."""
        self.send(Destination.IOPUB, "status", parent, _json({"execution_state": execution_state}))

    def ask(self, channel: str, parent: bytes, content: bytes, identities: Sequence[bytes]) -> bytes:
        """Send an input_request; return its msg_id. The answer comes to `channel` as INPUT_REPLY.

        An input_reply goes to the request that its parent_header names, else to the only one
        that waits on the channel of its header's subshell_id (null: main), else to the only one that waits.
        """
        if not self._door.is_open:
            return b""
        _check_bytes(*identities, parent, content)
        msg_id, header = self._headers.make("input_request")
        message = _Message("stdin", tuple(identities), header, parent, content)
        self._door.put(self._loop.ask, msg_id, channel, message)
        return msg_id.encode()

    def forget(self, msg_id: bytes) -> None:
        """No longer wait for the answer to that input_request; a late one is dropped and counted."""
        self._door.put(self._loop.forget, msg_id.decode())

    def write(self, name: str, parent: bytes, text: bytes) -> None:
        """Add UTF-8 text to the stream `name` (stdout, stderr) under `parent`.

        Text is gathered and leaves as one `stream` message after 50 ms, at 64 KiB, or before
        anything that is sent, whichever is first.
        """
        _check_bytes(parent, text)
        self._door.write(name, parent, text)

    def flush(self) -> None:
        """Let the text that was written leave now."""
        self._door.flush()

    def capture_parent(self, parent: bytes) -> None:
        """Header bytes under which captured text is published from now on."""
        _check_bytes(parent)
        self._door.put(self._loop.capture_parent, parent)

    def kernel_info(self, content: bytes) -> None:
        """JSON content of the kernel_info_reply with which the router answers from now on."""
        _check_bytes(content)
        self._door.put(self._loop.kernel_info, content)


class _Wire:
    """The five wire sockets: binds them, reads whole messages, signs what leaves.

    Thread: the router's, but for the constructor.
    """

    def __init__(
        self,
        endpoints: Mapping[str, str],
        sign: Callable[[Sequence[bytes]], bytes],
        curve: tuple[bytes, bytes] | None,
        iopub_hwm: int,
        headers: _Headers,
        counters: _Counters,
    ) -> None:
        self.sockets: dict[str, _Socket] = {}
        self._endpoints = {channel: endpoints[channel] for channel in CHANNELS}
        self._sign = sign
        self._curve = curve
        self._iopub_hwm = iopub_hwm
        self._headers = headers
        self._counters = counters
        self._context: zmq.Context[_Socket] | None = None

    def bind(self) -> dict[str, str]:
        """Make and bind all sockets; return the endpoints as bound. Raises RouterError."""
        self._context = zmq.Context()
        bound = {}
        for channel, endpoint in self._endpoints.items():
            try:
                bound[channel] = self._bind(self._context, channel, endpoint)
            except zmq.ZMQError as error:
                raise RouterError(f"cannot bind the {channel} channel to {endpoint}: {error}") from error
        return bound

    def _bind(self, context: zmq.Context[_Socket], channel: str, endpoint: str) -> str:
        socket = self.sockets[channel] = context.socket(zmq.XPUB if channel == "iopub" else zmq.ROUTER)
        socket.set(zmq.LINGER, _LINGER_MS)
        if channel == "iopub":
            socket.set(zmq.XPUB_VERBOSE, 1)
            socket.set(zmq.SNDHWM, self._iopub_hwm)
        else:
            socket.set_hwm(0)
        if channel in ("shell", "control", "stdin"):
            socket.set(zmq.ROUTER_HANDOVER, 1)
        transport, _, address = endpoint.partition("://")
        if transport == "tcp" and ":" in address.rpartition(":")[0]:
            socket.set(zmq.IPV6, 1)
        if self._curve is not None:
            socket.set(zmq.CURVE_SERVER, 1)
            socket.set(zmq.CURVE_PUBLICKEY, self._curve[0])
            socket.set(zmq.CURVE_SECRETKEY, self._curve[1])
        socket.bind(endpoint)
        return cast(bytes, socket.get(zmq.LAST_ENDPOINT)).rstrip(b"\0").decode()

    def burst(self, channel: str) -> Iterator[list[zmq.Frame]]:
        """Read some of the messages that wait on one socket."""
        socket = self.sockets[channel]
        for _ in range(_BURST):
            try:
                frames = socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            self._counters.received[channel] += 1
            yield frames

    def send(self, message: _Message) -> None:
        channel, identities, header, parent, content, metadata, buffers = message
        signed = (header, parent, metadata, content)
        frames = [*identities, DELIMITER, self._sign(signed), *signed, *buffers]
        self.send_frames(channel, frames, copy=not any(map(_is_large, buffers)))

    def send_frames(
        self, channel: str, frames: Sequence[zmq.Frame | bytes | memoryview], *, copy: bool = True
    ) -> None:
        try:
            self.sockets[channel].send_multipart(frames, zmq.NOBLOCK, copy=copy)
        except zmq.ZMQError:
            self._counters.drop("unsendable")
        else:
            self._counters.sent[channel] += 1

    def publish(self, msg_type: str, parent: bytes, content: object, topic: bytes | None = None) -> None:
        """Send a message of the router's own to iopub."""
        topic = msg_type.encode() if topic is None else topic
        self.send(_Message("iopub", (topic,), self._headers.make(msg_type)[1], parent, _json(content)))

    def publish_stream(self, name: str, parent: bytes, text: str) -> None:
        self.publish("stream", parent, {"name": name, "text": text}, b"stream." + name.encode())

    def publish_text(self, text: Iterable[tuple[str, bytes, bytes]]) -> None:
        """Publish written text: one message for what follows one another in one stream of one parent."""
        for (name, parent), pieces in itertools.groupby(text, key=lambda piece: piece[:2]):
            joined = b"".join(piece[2] for piece in pieces)
            self.publish_stream(name, parent, joined.decode("utf-8", "replace"))

    def close(self) -> None:
        """Close all sockets; peers have the linger time to take the last messages."""
        for socket in self.sockets.values():
            socket.close()
        if self._context is not None:
            self._context.term()


class _Gate:
    """Lets messages in that are whole, rightly signed, new, and have a header. Thread: the router's."""

    def __init__(self, key: bytes, scheme: str, counters: _Counters) -> None:
        self._key = key
        self._scheme = scheme
        self._counters = counters
        self._seen: set[bytes] = set()
        self._seen_in_order: deque[bytes] = deque()

    def admit(self, frames: Sequence[zmq.Frame], kind: Kind) -> _Request | None:
        """Return the message, or None after counting why it is dropped."""
        contents = [frame.bytes if not _is_large(frame) else self._counters.share(frame) for frame in frames]
        try:
            # To `wire`, which is typed for bytes, the views on large frames do as well.
            identities, signature, parts = wire.split(cast(list[bytes], contents))
        except WireError as error:
            self._counters.drop(error.reason)
            return None
        if len(identities) > _IDENTITIES_MAX:
            self._counters.drop("delimiter")
            return None
        if reason := self._refusal(bytes(signature), parts):
            self._counters.drop(reason)
            return None
        header, parent_header, metadata = map(bytes, parts[:3])
        fields = wire.scan_header(header)
        msg_type = fields.msg_type if fields is not None else None
        if fields is None or not isinstance(msg_type, str) or len(msg_type.encode()) > _MSG_TYPE_MAX:
            self._counters.drop("header")
            return None
        received = Received(
            kind,
            msg_type,
            tuple(map(bytes, identities)),
            header,
            parent_header,
            metadata,
            parts[3],
            tuple(map(memoryview, parts[4:])),
        )
        return _Request(received, fields)

    def _refusal(self, signature: bytes, parts: Sequence[bytes]) -> str | None:
        """The reason for dropping it, if the key says so. An empty key says nothing."""
        if not self._key:
            return None
        if not wire.verify(self._key, signature, parts, self._scheme):
            return "signature"
        if signature in self._seen:
            return "replay"
        self._seen.add(signature)
        self._seen_in_order.append(signature)
        if len(self._seen) > _REPLAY_KEPT:
            self._seen.discard(self._seen_in_order.popleft())
        return None


class _Answers:
    """What the router answers by itself; counted first, so that no counter is behind what peers have seen.

    Thread: the router's.
    """

    def __init__(self, kernel_info: bytes, headers: _Headers, wire_: _Wire, counters: _Counters) -> None:
        self.content = kernel_info  # of kernel_info_reply; empty until the language is known
        self._headers = headers
        self._wire = wire_
        self._counters = counters

    def heartbeat(self, frames: Sequence[zmq.Frame]) -> None:
        self._counters.answered["heartbeat"] += 1
        self._wire.send_frames("hb", frames, copy=False)

    def iopub_welcome(self, subscription: bytes) -> None:
        """Greet a subscriber (JEP 65). subscription: 0 or 1, then the topic."""
        if subscription[:1] != b"\x01":
            return
        topic = subscription[1:]
        content = {"subscription": topic.decode("utf-8", "replace")}
        self._counters.answered["iopub_welcome"] += 1
        self._wire.publish("iopub_welcome", b"{}", content, topic)

    def kernel_info(self, channel: str, request: Received) -> None:
        self._counters.answered["kernel_info"] += 1
        self._reply(channel, request, self.content)

    def unknown_subshell(self, channel: str, request: Received, subshell_id: str | None) -> None:
        """Refuse a request for a subshell that is not there. subshell_id: None if it is no string."""
        named = "that is no string" if subshell_id is None else repr(subshell_id)
        error: dict[str, object] = {
            "status": "error",
            "ename": "UnknownSubshellError",
            "evalue": f"Unknown subshell_id {named}",
            "traceback": [],
        }
        if request.msg_type == "execute_request":
            error["execution_count"] = 0
        self._counters.answered["unknown_subshell"] += 1
        self._reply(channel, request, _json(error))

    def _reply(self, channel: str, request: Received, content: bytes) -> None:
        """Busy, a reply if it is a request (comm messages have none), idle."""
        parent = request.header
        self._wire.publish("status", parent, {"execution_state": "busy"})
        if request.msg_type.endswith("_request"):
            header = self._headers.make(request.msg_type.removesuffix("request") + "reply")[1]
            self._wire.send(_Message(channel, request.identities, header, parent, content))
        self._wire.publish("status", parent, {"execution_state": "idle"})


class _Shells:
    """The open channels by name, and who of them waits for input. Thread: the router's."""

    def __init__(self, headers: _Headers, counters: _Counters) -> None:
        self._headers = headers
        self._counters = counters
        self._mailboxes: dict[str, _Mailbox] = {}
        self._early: dict[str, list[tuple[str | None, Received]]] = {name: [] for name in _PRIVATE_NAMES}
        self._waiting: dict[str, str] = {}  # msg_id of an input_request: name of its channel

    def open(self, name: str, mailbox: _Mailbox) -> None:
        self._mailboxes[name] = mailbox
        if name in self._early:
            early, self._early[name] = self._early[name], []
            for channel, received in early:
                self.relay(channel, name, received)

    def close(self, name: str) -> None:
        self._mailboxes.pop(name).close()
        self._waiting = {msg_id: asker for msg_id, asker in self._waiting.items() if asker != name}

    def close_all(self) -> None:
        for name in list(self._mailboxes):
            self.close(name)
        self._early.clear()

    def has_subshell(self, name: str) -> bool:
        return name in self._mailboxes and name not in _PRIVATE_NAMES

    def relay(self, channel: str | None, name: str, received: Received) -> None:
        """Hand a message from a wire channel (or from the router: None) to a thread.

        What comes for "main" and "control" before they are open waits for them.
        """
        mailbox = self._mailboxes.get(name)
        if mailbox is None:
            self._early[name].append((channel, received))
        elif not mailbox.is_read:
            self._counters.drop("unsendable")
        else:
            if channel is not None:
                self._counters.relayed[channel] += 1
            mailbox.put(received)

    def terminate(self, why: bytes) -> None:
        self.relay(None, "control", Received(Kind.TERMINATE, "", (), b"", b"", b"", why, ()))

    def ask(self, msg_id: str, name: str) -> None:
        self._waiting[msg_id] = name

    def forget(self, msg_id: str) -> None:
        self._waiting.pop(msg_id, None)

    def input_reply(self, request: _Request) -> None:
        """Hand an answer to who asked, see Outbox.ask."""
        msg_id = self._asked(request) if request.received.msg_type == "input_reply" else None
        name = self._waiting.pop(msg_id, None) if msg_id is not None else None
        if name is None or name not in self._mailboxes:
            self._counters.drop("input_reply")
        else:
            self.relay("stdin", name, request.received)

    def _asked(self, request: _Request) -> str | None:
        """The msg_id of the input_request that this answers, as far as one can tell."""
        parent = wire.scan_header(request.received.parent_header)
        named = parent.msg_id if parent is not None else None
        if isinstance(named, str) and (named in self._waiting or named.startswith(self._headers.id_prefix)):
            return named  # if it is ours, but waits no longer, the answer is nobody else's
        subshell_id = request.fields.subshell_id
        asker = "main" if subshell_id is None else subshell_id
        on_channel = [msg_id for msg_id, name in self._waiting.items() if name == asker]
        for candidates in (on_channel, list(self._waiting)):
            if len(candidates) == 1:
                return candidates[0]
        return None

    def queued_bytes(self) -> dict[str, int]:
        """Thread: any."""
        return {name: mailbox.queued_bytes for name, mailbox in self._mailboxes.copy().items()}


class _Capture:
    """The pipes that stand for fd 1 and fd 2. Thread: the router's. The caller owns the pipes."""

    def __init__(self, fds: tuple[int, int], counters: _Counters) -> None:
        self.parent = b"{}"
        self._is_polled = _CAN_POLL_PIPES
        self._counters = counters
        self._names = {fd: name for fd, name in zip(fds, ("stdout", "stderr"), strict=True) if fd >= 0}
        decoder = codecs.getincrementaldecoder("utf-8")
        self._decoders = {name: decoder("replace") for name in self._names.values()}
        self._texts: list[tuple[str, str]] = []  # name, text; read and not yet published

    def open(self, on_read: Callable[[str, bytes], None]) -> list[int]:
        """Return the fds to poll; those that cannot be polled get threads, which call on_read."""
        if self._is_polled:
            for fd in self._names:
                os.set_blocking(fd, False)
            return list(self._names)
        for fd, name in self._names.items():
            _start_thread(f"fastshell-{name}", _read_pipe, fd, name, on_read)
        return []

    def is_captured(self, fd: int) -> bool:
        return fd in self._names

    def read(self, fd: int, limit: int = _READ_BYTES) -> bool:
        """Read what waits in one pipe; return whether more may come later."""
        while limit > 0:
            raw = _read_nowait(fd)
            if raw is None:
                return True
            self.decode(self._names[fd], raw)
            if not raw:
                return False
            limit -= len(raw)
        return True

    def drain(self) -> None:
        """Read all that waits in the pipes."""
        if self._is_polled:
            for fd in self._names:
                self.read(fd, _DRAIN_BYTES)

    def decode(self, name: str, raw: bytes) -> None:
        """Add what was read, b"" at the end; a character that is not complete yet waits for its rest."""
        self._counters.captured_bytes += len(raw)
        self._texts.append((name, self._decoders[name].decode(raw, final=not raw)))

    def finish(self) -> None:
        """Read what is left; nothing comes after that."""
        self.drain()
        for name in self._decoders:
            self.decode(name, b"")

    def take(self) -> list[tuple[str, str]]:
        """Return (name, text) of what was read."""
        texts, self._texts = self._texts, []
        return [(name, text) for name, text in texts if text]


class _Watch:
    """The ends of the process: SIGTERM, the parent's death, the deadline. Thread: the router's."""

    def __init__(self, signal_fd: int, parent_fd: int, parent_pid: int, files: Sequence[str]) -> None:
        self._signal_fd = signal_fd if _CAN_POLL_PIPES else -1
        self._parent_fd = parent_fd if _CAN_POLL_PIPES else -1
        self._parent_pid = parent_pid if parent_fd < 0 else 0
        self._next_check = time.monotonic()
        self._files = tuple(files)
        self._exit: tuple[float, int] | None = None  # when, status

    def open(self) -> list[int]:
        """Return the fds to poll."""
        if self._signal_fd >= 0:
            os.set_blocking(self._signal_fd, False)
        return [fd for fd in (self._signal_fd, self._parent_fd) if fd >= 0]

    def deadlines(self) -> list[float]:
        """The times at which `check` has something to do."""
        watched = [self._next_check] if self._parent_pid else []
        return [*watched, self._exit[0]] if self._exit else watched

    def check_fd(self, fd: int) -> tuple[bytes, bool]:
        """Return (why the process has to end, or b"", whether to go on polling that fd)."""
        if fd == self._parent_fd:
            return b"parent", False
        numbers = _read_nowait(fd)
        return b"SIGTERM" if numbers and signal.SIGTERM in numbers else b"", numbers != b""

    def check(self) -> bytes:
        """Return why the process has to end, or b""; does not return once the deadline is over."""
        now = time.monotonic()
        if self._exit and now >= self._exit[0]:
            self._end()
        if self._parent_pid and now >= self._next_check:
            self._next_check = now + _PARENT_CHECK_S
            if os.getppid() != self._parent_pid:
                self._parent_pid = 0
                return b"parent"
        return b""

    def exit_after(self, seconds: float, status: int) -> None:
        when = time.monotonic() + seconds
        if self._exit is None or when < self._exit[0]:
            self._exit = when, status

    def close(self) -> None:
        """Keep the promise of exit_after without the router."""
        if self._exit:
            with contextlib.suppress(RuntimeError):  # at the interpreter's own end
                _start_thread("fastshell-exit", self._wait_and_end)

    def _wait_and_end(self) -> None:
        assert self._exit
        time.sleep(max(0.0, self._exit[0] - time.monotonic()))
        self._end()

    def _end(self) -> None:
        assert self._exit
        for file in self._files:
            with contextlib.suppress(OSError):
                os.unlink(file)
        os._exit(self._exit[1])


class _Loop:
    """The router's thread: polls, and gives each message to the part that knows it.

    The second half is what `_Door` calls for other threads.
    """

    def __init__(
        self,
        door: _Door,
        wire_: _Wire,
        gate: _Gate,
        answers: _Answers,
        shells: _Shells,
        capture: _Capture,
        watch: _Watch,
        subscriber_wait_s: float,
    ) -> None:
        self._door = door
        self._wire = wire_
        self._gate = gate
        self._answers = answers
        self._shells = shells
        self._capture = capture
        self._watch = watch
        self._subscriber_wait_s = subscriber_wait_s
        self._held_until: float | None = None  # the shell socket is not polled before; None: it is
        self._poller = zmq.Poller()
        self._is_stopping = False

    def run(self, ready: Future[dict[str, str]]) -> None:
        """Live; the body of the thread."""
        _leave_signals_to_others()
        try:
            try:
                ready.set_result(self._open())
            except BaseException as error:  # handed to start(), whoever's fault it is
                ready.set_exception(error)
                return
            while not self._is_stopping:
                self._round()
            self._capture.finish()
            self._publish_captured()
        finally:
            self._close()

    def _open(self) -> dict[str, str]:
        bound = self._wire.bind()
        fds = [*self._capture.open(self._put_captured), *self._watch.open()]
        for source in (self._door.pull, *self._wire.sockets.values(), *fds):
            self._poller.register(source, zmq.POLLIN)
        if self._subscriber_wait_s > 0:
            self._held_until = time.monotonic() + self._subscriber_wait_s
            self._poller.unregister(self._wire.sockets["shell"])
        return bound

    def _close(self) -> None:
        self._door.close()
        self._shells.close_all()
        self._watch.close()
        self._wire.close()

    def _round(self) -> None:
        ready = {source for source, _ in self._poller.poll(self._timeout_ms())}
        channels = {channel for channel, socket in self._wire.sockets.items() if socket in ready}
        if "hb" in channels:
            for frames in self._wire.burst("hb"):
                self._answers.heartbeat(frames)
        if "control" in channels:
            self._receive("control", self._control)
        self._door.run(min(self._door.collect(), _BURST))
        if "stdin" in channels:
            self._receive("stdin", self._shells.input_reply)
        if "shell" in channels:
            self._receive("shell", self._shell)
        if "iopub" in channels:
            for frames in self._wire.burst("iopub"):
                self._answers.iopub_welcome(frames[0].bytes)
                if frames[0].bytes[:1] == b"\x01":
                    self._release_shell()
        for fd in ready:
            if isinstance(fd, int):
                self._fd_ready(fd)
        self._end_if(self._watch.check())
        if self._held_until is not None and time.monotonic() >= self._held_until:
            self._release_shell()

    def _release_shell(self) -> None:
        if self._held_until is not None:
            self._held_until = None
            self._poller.register(self._wire.sockets["shell"], zmq.POLLIN)

    def _timeout_ms(self) -> int | None:
        if self._door.waiting:
            return 0
        deadlines = self._watch.deadlines()
        text_deadline = self._door.text_deadline
        if text_deadline is not None:
            deadlines.append(text_deadline)
        if self._held_until is not None:
            deadlines.append(self._held_until)
        if not deadlines:
            return None
        return max(0, int((min(deadlines) - time.monotonic()) * 1000) + 1)

    def _receive(self, channel: str, handle: Callable[[_Request], None]) -> None:
        kind = Kind.INPUT_REPLY if channel == "stdin" else Kind.REQUEST
        for frames in self._wire.burst(channel):
            request = self._gate.admit(frames, kind)
            if request is not None:
                handle(request)

    def _control(self, request: _Request) -> None:
        if self._answers.content and request.fields.msg_type == "kernel_info_request":
            self._answers.kernel_info("control", request.received)
        else:
            self._shells.relay("control", "control", request.received)

    def _shell(self, request: _Request) -> None:
        received, subshell_id = request.received, request.fields.subshell_id
        if subshell_id is not None and not self._is_subshell(subshell_id):
            named = subshell_id if isinstance(subshell_id, str) else None
            self._answers.unknown_subshell("shell", received, named)
        elif self._answers.content and received.msg_type == "kernel_info_request":
            self._answers.kernel_info("shell", received)
        else:
            self._shells.relay("shell", "main" if subshell_id is None else str(subshell_id), received)

    def _is_subshell(self, subshell_id: object) -> bool:
        if not isinstance(subshell_id, str):
            return False
        if not self._shells.has_subshell(subshell_id):
            self._door.run(self._door.waiting)  # it may have been opened just before this message was sent
        return self._shells.has_subshell(subshell_id)

    def _fd_ready(self, fd: int) -> None:
        if self._capture.is_captured(fd):
            goes_on = self._capture.read(fd)
            self._door.run(self._door.collect(flush=True))  # text that is older goes first
            self._publish_captured()
        else:
            why, goes_on = self._watch.check_fd(fd)
            self._end_if(why)
        if not goes_on:
            self._poller.unregister(fd)

    def _publish_captured(self) -> None:
        for name, text in self._capture.take():
            self._wire.publish_stream(name, self._capture.parent, text)

    def _end_if(self, why: bytes) -> None:
        if why:
            self._shells.terminate(why)
            self._watch.exit_after(_TERMINATE_S, 0)

    def _put_captured(self, name: str, raw: bytes) -> None:
        """Thread: that of the pipe."""
        self._door.put(self.captured, name, raw)

    def captured(self, name: str, raw: bytes) -> None:
        self._capture.decode(name, raw)
        self._publish_captured()

    def send(self, message: _Message) -> None:
        self._wire.send(message)

    def send_after_capture(self, message: _Message) -> None:
        self._capture.drain()
        self._publish_captured()
        self._wire.send(message)

    def ask(self, msg_id: str, name: str, message: _Message) -> None:
        self._shells.ask(msg_id, name)
        self._wire.send(message)

    def forget(self, msg_id: str) -> None:
        self._shells.forget(msg_id)

    def capture_parent(self, parent: bytes) -> None:
        self._capture.parent = parent

    def kernel_info(self, content: bytes) -> None:
        self._answers.content = content

    def open_channel(self, name: str, mailbox: _Mailbox) -> None:
        self._shells.open(name, mailbox)

    def close_channel(self, name: str) -> None:
        self._shells.close(name)

    def exit_after(self, seconds: float, status: int) -> None:
        self._watch.exit_after(seconds, status)

    def stop(self) -> None:
        self._is_stopping = True


class Router:
    """The one owner of the wire sockets: poll, check, classify, relay.

    endpoints: ZeroMQ endpoint to bind for each of CHANNELS. A tcp port `*` means any free one.
    key: the connection file's key; b"" means messages are neither signed nor checked.
    session, username: stand in the header of all messages that leave.
    kernel_info: JSON content of kernel_info_reply; b"": the shells get these until Outbox.kernel_info.
    curve: (public, secret) Z85 keys; every wire socket is then a CURVE server.
    capture: read ends of the pipes that stand for fd 1 and fd 2, -1 for none.
    signal_fd: read end of the fd given to signal.set_wakeup_fd, -1 for none.
    parent_fd: a pidfd of the parent process, -1 for none.
    parent_pid: watched by getppid every 500 ms if parent_fd is -1; 0 for no watch.
    files: paths that the router unlinks when exit_after's time is over.
    log_fd: where one line for each kind of dropped message is written; -1 for nowhere.
    iopub_hwm: messages queued for one iopub subscriber before its further ones are dropped; 0 unlimited.
    subscriber_wait_s: for so long after the start, requests on shell wait for the first iopub subscriber.
    Raises ValueError for a missing channel or a scheme that this router does not sign.
    The file descriptors stay the caller's to close, after stop.
    """

    def __init__(
        self,
        endpoints: Mapping[str, str],
        *,
        key: bytes,
        signature_scheme: str = "hmac-sha256",
        session: str,
        username: str,
        kernel_info: bytes,
        curve: tuple[bytes, bytes] | None = None,
        capture: tuple[int, int] = (-1, -1),
        signal_fd: int = -1,
        parent_fd: int = -1,
        parent_pid: int = 0,
        files: Sequence[str] = (),
        log_fd: int = -1,
        iopub_hwm: int = 100_000,
        subscriber_wait_s: float = 0.0,
    ) -> None:
        missing = [channel for channel in CHANNELS if channel not in endpoints]
        if missing:
            raise ValueError(f"no endpoint for {', '.join(missing)}")
        _check_scheme(signature_scheme)

        def sign(parts: Sequence[bytes]) -> bytes:
            return wire.sign(key, parts, signature_scheme)

        headers = _Headers(session, username)
        self._counters = _Counters(log_fd)
        self._inproc = _Inproc()
        self._door = _Door(self._inproc)
        wire_ = _Wire(endpoints, sign, curve, iopub_hwm, headers, self._counters)
        self._door.on_text(wire_.publish_text)
        self._shells = _Shells(headers, self._counters)
        self._loop = _Loop(
            self._door,
            wire_,
            _Gate(key, signature_scheme, self._counters),
            _Answers(kernel_info, headers, wire_, self._counters),
            self._shells,
            _Capture(capture, self._counters),
            _Watch(signal_fd, parent_fd, parent_pid, files),
            subscriber_wait_s,
        )
        self._outbox = Outbox(self._door, headers, self._loop)
        self._mailboxes: dict[str, _Mailbox] = {}  # of the open channels, by name
        self._mailboxes_lock = threading.Lock()
        self._is_stopped = False
        self._thread: threading.Thread | None = None

    def start(self) -> dict[str, str]:
        """Bind all sockets on a thread of the router's own; return the endpoints as bound.

        Returns once the router is ready. Raises RouterError, naming channel and endpoint; nothing
        is left open then. May be called once.
        """
        if self._thread is not None or not self._door.is_open:
            raise RouterError("a router starts once")
        ready: Future[dict[str, str]] = Future()
        self._thread = _start_thread("fastshell-router", self._loop.run, ready)
        try:
            return ready.result()
        except RouterError:
            self._thread.join()
            self._close_mailboxes()
            raise

    def stop(self) -> None:
        """End every channel with Kind.STOP, send what the outbox holds, close, join.

        Lingers up to 300 ms for peers to take the last messages. May be called once; any thread.
        """
        if not self._door.is_open:
            return
        with self._mailboxes_lock:
            self._is_stopped = True
        self._door.put(self._loop.stop)
        if self._thread is not None:
            self._thread.join()
        self._door.close()
        self._close_mailboxes()

    def _close_mailboxes(self) -> None:
        """Close those that the router's thread has not seen, since it did not live."""
        with self._mailboxes_lock:
            self._is_stopped = True
            for mailbox in self._mailboxes.values():
                mailbox.close()

    def open_channel(self, name: str) -> Channel:
        """Make a thread's receiving end. Thread: any; the caller may hand it to the reading thread.

        name: "main", "control", or a subshell id. Messages for `name` are queued from the moment
        at which this returns; requests that were sent to the outbox later are seen by the router
        later. Raises ValueError if the name is in use, RouterError if no more sockets can be made.
        """
        with self._mailboxes_lock:
            if self._is_stopped or not self._door.is_open:
                raise RouterError("the router has stopped")
            if name in self._mailboxes:
                raise ValueError(f"channel {name!r} is open")
            wakeups, wake = self._inproc.pair(zmq.PAIR, zmq.PAIR)
            mailbox = self._mailboxes[name] = _Mailbox(wake, self._inproc)
            self._door.put(self._loop.open_channel, name, mailbox)
            return Channel(name, wakeups, mailbox, self._inproc)

    def close_channel(self, name: str) -> bool:
        """Take a channel out of the table: its reader gets what is queued, then Kind.STOP.

        Returns False for a name that is not open. Thread: any.
        """
        with self._mailboxes_lock:
            if self._is_stopped or self._mailboxes.pop(name, None) is None:
                return False
            self._door.put(self._loop.close_channel, name)
            return True

    def exit_after(self, seconds: float, status: int) -> None:
        """End the process with _exit(status) in that many seconds, whatever Python does; unlink `files`.

        Thread: any. A shorter time replaces a longer one.
        """
        self._door.put(self._loop.exit_after, seconds, status)

    @property
    def outbox(self) -> Outbox:
        return self._outbox

    def statistics(self) -> Statistics:
        """Thread: any."""
        return self._counters.snapshot(self._shells.queued_bytes())


def _nothing(*_: object) -> None:
    pass


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _is_large(part: bytes | memoryview | zmq.Frame) -> bool:
    return len(part) >= _SHARED_BYTES


def _size_bytes(received: Received) -> int:
    _, _, identities, *parts, buffers = received
    return sum(map(len, identities)) + sum(map(len, parts)) + sum(map(len, buffers))


def _take_wakeups(socket: _Socket) -> None:
    """Read until there is none: only then does the next one make the socket's fd readable."""
    with contextlib.suppress(zmq.Again):
        while True:
            socket.recv(zmq.NOBLOCK)


def _check_bytes(*parts: object) -> None:
    """Find a caller's mistake in the caller's thread rather than in the router's."""
    for part in parts:
        if not isinstance(part, bytes):
            raise TypeError(f"bytes expected, not {type(part).__name__}")


def _lend(buffer: object) -> bytes | memoryview:
    """Return a buffer's bytes; large ones are not copied. Raises TypeError or BufferError."""
    view = memoryview(cast(bytes, buffer))
    if not view.c_contiguous:
        raise BufferError("buffers must be contiguous")
    return view.cast("B") if view.nbytes >= _SHARED_BYTES else view.tobytes()


def _check_scheme(scheme: str) -> None:
    name = scheme.removeprefix("hmac-")
    if name == scheme or name not in hashlib.algorithms_available:
        raise ValueError(f"messages cannot be signed with {scheme!r}")


def _start_thread(name: str, function: Callable[..., None], *args: object) -> threading.Thread:
    """Start a service thread, which debuggers neither trace nor wait for."""
    thread = threading.Thread(target=function, args=args, name=name, daemon=True)
    thread.pydev_do_not_trace = True  # type: ignore[attr-defined]
    thread.is_pydev_daemon_thread = True  # type: ignore[attr-defined]
    thread.start()
    return thread


def _leave_signals_to_others() -> None:
    """Block all signals for this thread but those that an instruction of its own raises."""
    if hasattr(signal, "pthread_sigmask"):
        names = ("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP")
        own = {getattr(signal, name) for name in names}
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - own)


def _read_nowait(fd: int) -> bytes | None:
    """Return what can be read at once: b"" at the end, None if there is nothing now."""
    try:
        return os.read(fd, _READ_BYTES)
    except BlockingIOError:
        return None
    except OSError:  # the caller closed it, or the other end of a pseudo-terminal has gone
        return b""


def _read_pipe(fd: int, name: str, on_read: Callable[[str, bytes], None]) -> None:
    """Body of a thread for a pipe that cannot be polled."""
    with contextlib.suppress(OSError):
        while raw := os.read(fd, _READ_BYTES):
            on_read(name, raw)
        on_read(name, b"")

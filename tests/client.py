"""A front end for tests: raw sockets, every message kept, by the request that it belongs to.

Thread: the test's. Nothing here sleeps; all waiting is for a message, TIMEOUT_S at most.

    done = client.execute("print(1); 2")            # one reply, all of iopub until idle
    done.ok(); done.text(); done.result             # asserts status ok; "1\\n"; "2"
    msg_id = client.start("input()")                # do not wait ...
    client.answer(msg_id, "yes")                    # ... for the question: answer it
    client.finish(msg_id)                           # the same Done as `execute` gives
    client.request("complete_request", {...})       # any request, also on channel="control"
    sub = client.create_subshell(); client.execute("1", subshell_id=sub)
    client.wait_text(msg_id, "started")             # until a running cell has printed that
    client.check()                                  # invariant 1 for all that was sent
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import zmq
from jupyter_client.session import Session

TIMEOUT_S = 20.0  # of each wait; only a failing test takes that long
ABSENT: Any = type("Absent", (), {"__repr__": lambda self: "ABSENT"})()  # no subshell_id in the header at all


class Message(NamedTuple):
    """One message as it came. For iopub, identities is the topic."""

    channel: str
    msg_type: str
    header: dict[str, Any]
    parent_header: dict[str, Any]
    metadata: dict[str, Any]
    content: dict[str, Any]
    buffers: list[Any]
    identities: list[bytes]

    @property
    def parent_id(self) -> str | None:
        return self.parent_header.get("msg_id")

    def __repr__(self) -> str:
        content = repr(self.content)
        return f"{self.channel}:{self.msg_type}({content if len(content) < 300 else content[:300] + ' ...'})"


class Done(NamedTuple):
    """What came for one request: its reply (None unless it is a *_request), and iopub from busy to idle."""

    reply: Message | None
    iopub: list[Message]

    @property
    def content(self) -> dict[str, Any]:
        """The reply's content."""
        assert self.reply is not None
        return self.reply.content

    @property
    def status(self) -> str:
        return str(self.content["status"])

    def ok(self) -> Done:
        """Assert that the reply says ok; return self."""
        assert self.status == "ok", "\n".join(self.content.get("traceback", [])) or self.content
        return self

    def of(self, *msg_types: str) -> list[Message]:
        """The iopub messages of these types."""
        return [message for message in self.iopub if message.msg_type in msg_types]

    def text(self, name: str = "stdout") -> str:
        """The text of all stream messages of that name."""
        return "".join(m.content["text"] for m in self.of("stream") if m.content["name"] == name)

    @property
    def result(self) -> str | None:
        """text/plain of the execute_result, None without one."""
        results = self.of("execute_result")
        assert len(results) <= 1
        return results[0].content["data"]["text/plain"] if results else None

    @property
    def error(self) -> dict[str, Any] | None:
        """Content of the error message, None without one."""
        errors = self.of("error")
        assert len(errors) <= 1
        return errors[0].content if errors else None


class Client:
    """One front end of a kernel: its own session, sockets and zmq context."""

    def __init__(self, manager: Any, *, expects_welcome: bool = True) -> None:
        """manager: jupyter_client's KernelManager of a started kernel. Connects at once."""
        self.session = Session(
            key=manager.session.key, signature_scheme=manager.session.signature_scheme, check_pid=False
        )
        self._manager = manager
        self._context = zmq.Context()
        self._expects_welcome = expects_welcome
        self._poller = zmq.Poller()
        self.sockets: dict[str, zmq.Socket] = {}
        #: All that came, in the order in which it was read; between two channels that order means nothing.
        self.received: list[Message] = []
        self.sent: dict[str, tuple[str, str]] = {}  # msg_id: (channel, msg_type)
        self.unchecked: set[str] = set()  # msg_ids that `check` leaves out
        self._by_parent: dict[str | None, list[Message]] = {}
        self._answered: list[str] = []  # msg_ids of requests, once for each question answered
        for channel in ("iopub", "shell", "control", "stdin"):
            self._connect(channel)

    # --- start and end ---

    def _connect(self, channel: str) -> None:
        socket = self._context.socket(zmq.SUB if channel == "iopub" else zmq.DEALER)
        socket.set_hwm(0)
        socket.linger = 0
        if channel != "iopub":
            socket.identity = self.session.bsession  # one for all channels: stdin needs it
        for option in ("curve_publickey", "curve_secretkey"):
            self._set_curve(socket, option)
        if channel == "iopub":
            socket.subscribe(b"")
        if channel == "stdin":
            self._stdin_monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        socket.connect(self._manager._make_url(channel))
        self.sockets[channel] = socket
        self._poller.register(socket, zmq.POLLIN)

    def _set_curve(self, socket: zmq.Socket, option: str) -> None:
        """Where the connection has CURVE keys, the kernel's are the server's and the client's too."""
        key = getattr(self._manager, option, None)
        if key:
            setattr(socket, option, key)
            if option == "curve_publickey":
                socket.curve_serverkey = key

    def wait_ready(self, timeout_s: float = TIMEOUT_S) -> Message:
        """Until the kernel answers, and iopub arrives here. Returns the kernel_info_reply.

        And until stdin is connected: a ROUTER drops an input_request for a peer that is not there yet.
        """
        if self._stdin_monitor is not None:
            assert self._stdin_monitor.poll(timeout_s * 1000), "stdin is not connected"
            self.sockets["stdin"].disable_monitor()
            self._stdin_monitor.close(linger=0)
            self._stdin_monitor = None
        if self._expects_welcome:
            self.wait(lambda: self.of_parent(None, "iopub_welcome"), "iopub_welcome", timeout_s)
            return self._kernel_info(timeout_s)
        deadline = time.monotonic() + timeout_s
        while True:  # as jupyter_server's nudge does it
            reply = self._kernel_info(timeout_s, is_checked=False)
            self.poll(lambda: any(m.channel == "iopub" for m in self.received), 0.2)
            if self.of_parent(reply.parent_id, "status"):
                return reply
            assert time.monotonic() < deadline, "nothing comes on iopub"

    def _kernel_info(self, timeout_s: float, is_checked: bool = True) -> Message:
        msg_id = self.send("kernel_info_request")
        if not is_checked:
            self.unchecked.add(msg_id)
        return self.reply(msg_id, timeout_s)

    def close(self) -> None:
        self._context.destroy(linger=0)

    # --- send ---

    def send(
        self,
        msg_type: str,
        content: dict[str, Any] | bytes | None = None,
        *,
        channel: str = "shell",
        subshell_id: str | None = ABSENT,
        parent: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        buffers: Sequence[bytes] = (),
        **header: Any,
    ) -> str:
        """Send a message and return its msg_id. content as bytes is sent as it is, signed.

        subshell_id is put into the header unless ABSENT, as are further keyword arguments.
        """
        message = self.session.msg(msg_type, content={}, parent=parent, metadata=metadata)
        message["content"] = {} if content is None else content
        if subshell_id is not ABSENT:
            header["subshell_id"] = subshell_id
        message["header"].update(header)
        msg_id = str(message["header"]["msg_id"])
        if channel in ("shell", "control"):
            self.sent[msg_id] = (channel, msg_type)
        self.session.send(self.sockets[channel], message, buffers=list(buffers))
        return msg_id

    def start(
        self, code: str, *, subshell_id: str | None = ABSENT, channel: str = "shell", **content: Any
    ) -> str:
        """Send an execute_request, return its msg_id. content: further fields, such as silent=True."""
        fields = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": True,
            "stop_on_error": True,
        }
        return self.send("execute_request", fields | content, channel=channel, subshell_id=subshell_id)

    # --- wait ---

    def pump(self, timeout_s: float = 0.0) -> bool:
        """Read what has come, waiting for a first message; False if there was none."""
        ready = self._poller.poll(timeout_s * 1000)
        for channel, socket in self.sockets.items():
            if any(socket is one for one, _ in ready):
                for _ in range(1000):
                    try:
                        frames = socket.recv_multipart(zmq.NOBLOCK)
                    except zmq.Again:
                        break
                    self._file(channel, frames)
        return bool(ready)

    def _file(self, channel: str, frames: list[bytes]) -> None:
        identities, parts = self.session.feed_identities(frames)
        fields = self.session.deserialize(parts)  # raises if the signature is wrong
        message = Message(
            channel,
            fields["msg_type"],
            fields["header"],
            fields["parent_header"],
            fields["metadata"],
            fields["content"],
            fields["buffers"],
            identities,
        )
        self.received.append(message)
        self._by_parent.setdefault(message.parent_id, []).append(message)

    def poll(self, is_true: Callable[[], Any], timeout_s: float) -> Any:
        """Read until is_true() is, and return its value; what it gave at last when time is over."""
        deadline = time.monotonic() + timeout_s
        while not (value := is_true()):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self.pump(left)
        return value

    def wait(self, is_true: Callable[[], Any], what: str, timeout_s: float = TIMEOUT_S) -> Any:
        """The same, but a failed assertion when time is over; `what` is for its message."""
        value = self.poll(is_true, timeout_s)
        if not value:
            last = "\n  ".join(map(repr, self.received[-12:]))
            raise AssertionError(f"no {what} within {timeout_s} s; the last messages:\n  {last}")
        return value

    def of_parent(self, msg_id: str | None, *msg_types: str, channel: str | None = None) -> list[Message]:
        """What has been read so far under that parent; all types if none is given."""
        return [
            message
            for message in self._by_parent.get(msg_id, ())
            if (not msg_types or message.msg_type in msg_types) and channel in (None, message.channel)
        ]

    def reply(self, msg_id: str, timeout_s: float = TIMEOUT_S) -> Message:
        """Wait for the reply to a request."""
        channel, msg_type = self.sent[msg_id]

        def find() -> list[Message]:
            return self.of_parent(msg_id, channel=channel)

        first: Message = self.wait(find, f"reply to {msg_type}", timeout_s)[0]
        return first

    def iopub(self, msg_id: str, timeout_s: float = TIMEOUT_S) -> list[Message]:
        """Wait for the idle of a request; all iopub messages with that parent so far."""
        self.wait(lambda: self._statuses(msg_id, "idle"), f"idle of {self.sent[msg_id][1]}", timeout_s)
        return self.of_parent(msg_id, channel="iopub")

    def _statuses(self, msg_id: str, state: str) -> list[Message]:
        return [m for m in self.of_parent(msg_id, "status") if m.content["execution_state"] == state]

    def wait_iopub(self, msg_id: str, *msg_types: str, timeout_s: float = TIMEOUT_S) -> Message:
        """Wait for a message of one of these types under that request, idle or not; the first there is."""

        def find() -> list[Message]:
            return self.of_parent(msg_id, *msg_types, channel="iopub")

        first: Message = self.wait(find, " or ".join(msg_types), timeout_s)[0]
        return first

    def text(self, msg_id: str, name: str = "stdout") -> str:
        """What has been read so far of a stream under that request."""
        streams = self.of_parent(msg_id, "stream")
        return "".join(m.content["text"] for m in streams if m.content["name"] == name)

    def wait_text(self, msg_id: str, text: str, name: str = "stdout", timeout_s: float = TIMEOUT_S) -> None:
        """Until that text has been written under that request, idle or not."""
        self.wait(lambda: text in self.text(msg_id, name), f"{text!r} on {name}", timeout_s)

    def finish(self, msg_id: str, timeout_s: float = TIMEOUT_S) -> Done:
        """Wait for reply and idle of a request; assert that busy is first, and idle there once.

        After the idle there can only be output of a thread or task that the cell left behind.
        """
        has_reply = self.sent[msg_id][1].endswith("_request")
        reply = self.reply(msg_id, timeout_s) if has_reply else None
        iopub = self.iopub(msg_id, timeout_s)
        states = [m.content["execution_state"] for m in iopub if m.msg_type == "status"]
        assert states == ["busy", "idle"], states
        assert iopub[0].msg_type == "status", iopub
        return Done(reply, iopub)

    # --- requests ---

    def request(
        self,
        msg_type: str,
        content: dict[str, Any] | bytes | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        **options: Any,
    ) -> Done:
        """`send` and `finish`."""
        return self.finish(self.send(msg_type, content, **options), timeout_s)

    def execute(self, code: str, *, timeout_s: float = TIMEOUT_S, **options: Any) -> Done:
        """`start` and `finish`."""
        return self.finish(self.start(code, **options), timeout_s)

    def wait_question(self, msg_id: str, timeout_s: float = TIMEOUT_S) -> Message:
        """Wait for a request's next input_request that was not answered by `answer` yet."""
        answered = self._answered.count(msg_id)

        def asked() -> list[Message]:
            return self.of_parent(msg_id, "input_request")[answered:]

        question: Message = self.wait(asked, "input_request", timeout_s)[0]
        return question

    def answer(self, msg_id: str, value: str, *, timeout_s: float = TIMEOUT_S) -> Message:
        """`wait_question`, then send the input_reply; return the question."""
        question = self.wait_question(msg_id, timeout_s)
        self._answered.append(msg_id)
        self.send("input_reply", {"value": value}, channel="stdin", parent=question.header)
        return question

    def create_subshell(self) -> str:
        return str(self.request("create_subshell_request", channel="control").ok().content["subshell_id"])

    def delete_subshell(self, subshell_id: str) -> Done:
        """The Done, not checked for ok."""
        content = {"subshell_id": subshell_id}
        return self.request("delete_subshell_request", content, channel="control")

    def list_subshells(self) -> list[str]:
        return list(self.request("list_subshell_request", channel="control").ok().content["subshell_id"])

    def interrupt(self, **content: Any) -> Done:
        """interrupt_request on control."""
        return self.request("interrupt_request", content, channel="control").ok()

    # --- invariants ---

    def check(self, msg_ids: Iterable[str] | None = None, timeout_s: float = TIMEOUT_S) -> None:
        """Assert invariant 1 for these requests, all that were sent by default.

        Exactly one reply (none unless it is a *_request) on the request's own channel, of its own type;
        one busy, one idle, in that order; nothing that answers what was not sent. Waits for what is due.
        The fixture `client` ends with it; with a RunningKernel of your own, call it yourself.
        """
        for msg_id in list(self.sent if msg_ids is None else msg_ids):
            if msg_id not in self.unchecked:
                self.finish(msg_id, timeout_s)
        while self.pump():  # what has come beyond what was due
            pass
        for msg_id in list(self.sent if msg_ids is None else msg_ids):
            if msg_id in self.unchecked:
                continue
            channel, msg_type = self.sent[msg_id]
            self.finish(msg_id)
            replies = [m.msg_type for m in self.of_parent(msg_id) if m.channel in ("shell", "control")]
            name = msg_type.removesuffix("_request")
            expected = [f"{name}_reply"] if name != msg_type else []
            assert replies == expected, (msg_type, replies)
            assert all(m.channel in (channel, "iopub", "stdin") for m in self.of_parent(msg_id)), msg_type
        strays = [
            message
            for message in self.received
            if message.channel != "iopub" and message.parent_id not in self.sent
        ]
        assert strays == []

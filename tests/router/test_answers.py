"""What the router answers by itself: heartbeat, welcome, kernel_info, unknown subshells."""

from __future__ import annotations

import json

import pytest
import zmq

from fastshell._contract import Kind
from router.conftest import KERNEL_INFO, TIMEOUT_S, recv, wait_until


def test_heartbeat(running, context):
    running.client().heartbeat()
    running.client().heartbeat(b"")
    socket = context.socket(zmq.DEALER)  # more frames than one, and no envelope
    socket.connect(running.endpoints["hb"])
    socket.send_multipart([b"a", b"", b"b" * 100_000])
    assert socket.poll(TIMEOUT_S * 1000)
    assert socket.recv_multipart() == [b"a", b"", b"b" * 100_000]
    assert running.router.statistics().answered["heartbeat"] == 3


@pytest.mark.parametrize("topic", [b"", b"stream", "ü".encode(), b'"\\\n'])
def test_welcome(running, topic):
    welcome = running.client().subscribe(topic)
    assert welcome.msg_type == "iopub_welcome"
    assert welcome.content == {"subscription": topic.decode()}
    assert (welcome.parent_header, welcome.metadata, welcome.buffers) == ({}, {}, [])
    assert welcome.identities == [topic]


def test_l4_each_subscriber_is_welcomed(running):
    """Only the first subscriber got a welcome; the others waited for ever."""
    clients = [running.client() for _ in range(5)]
    for client in clients:
        assert client.subscribe().content == {"subscription": ""}
    for client in clients:  # again, though it is subscribed already
        assert client.subscribe().content == {"subscription": ""}
    wait_until(lambda: running.router.statistics().answered["iopub_welcome"] == 10)


def test_unsubscribing_is_not_welcomed(running):
    client = running.client()
    client.subscribe(b"a")
    client.socket("iopub").unsubscribe(b"a")
    client.subscribe(b"b")
    assert running.router.statistics().answered["iopub_welcome"] == 2
    assert not client.has("iopub")


def test_a_subscriber_may_send_anything(running, context):
    """An XSUB can send messages upstream that are no subscriptions."""
    socket = context.socket(zmq.XSUB)
    socket.connect(running.endpoints["iopub"])
    for frames in ([b"\x02hello"], [b"\x05", b"\x01a"], [b""]):
        socket.send_multipart(frames)
    socket.send(b"\x01")
    assert socket.poll(TIMEOUT_S * 1000)
    assert b"iopub_welcome" in b"".join(socket.recv_multipart())
    running.client().subscribe()


@pytest.mark.parametrize("channel", ["shell", "control"])
def test_kernel_info_while_nobody_reads(running, client, channel):
    """D13: also while all shells are busy, which is: nobody reads the channels."""
    running.open("sub")
    client.send("execute_request")
    client.send("execute_request", channel="control")
    for members in ({}, {"subshell_id": None}, {"subshell_id": "sub"}):
        request = client.send("kernel_info_request", channel=channel, **members)
        reply = client.recv(channel)
        assert reply.msg_type == "kernel_info_reply"
        assert reply.parts[3] == KERNEL_INFO
        assert reply.parent_header == request
        states = client.iopub_until_idle(request)
        assert [message.content["execution_state"] for message in states] == ["busy", "idle"]
        assert all(message.parts[1] == reply.parts[1] for message in states)
    assert running.router.statistics().answered["kernel_info"] == 3


@pytest.mark.parametrize("channel", ["shell", "control"])
def test_kernel_info_before_any_channel_is_open(start, channel):
    client = start().client()
    client.subscribe()
    request = client.send("kernel_info_request", channel=channel)
    assert client.recv(channel).parent_header == request
    client.iopub_until_idle(request)


@pytest.mark.parametrize("channel", ["shell", "control"])
def test_kernel_info_that_is_known_later(start, channel):
    """A language that describes itself once it is built: until then these requests go to its threads."""
    running = start(kernel_info=b"")
    reader = running.open("main" if channel == "shell" else "control")
    client = running.client()
    client.subscribe()
    request = client.send("kernel_info_request", channel=channel)
    received = recv(reader)
    assert (received.msg_type, json.loads(received.header)) == ("kernel_info_request", request)
    for content in (KERNEL_INFO, b'{"longer":"than the first %s"}' % KERNEL_INFO.hex().encode()):
        running.outbox.kernel_info(content)
        running.outbox.status("starting", b"{}")  # once this has left, that is known too
        while client.recv("iopub").content != {"execution_state": "starting"}:
            pass
        request = client.send("kernel_info_request", channel=channel)
        reply = client.recv(channel)
        assert (reply.parts[3], reply.parent_header) == (content, request)
        client.iopub_until_idle(request)
    assert running.router.statistics().answered["kernel_info"] == 2


def test_the_parent_is_the_header_verbatim(running, client):
    """Spaces, order, unknown and repeated members: all come back as they were."""
    header = (
        b' { "unknown" : [1, {"x": "\\u00fc"}],"msg_id":"1" ,"msg_id":"2", "msg_type":"kernel_info_request"} '
    )
    client.socket("shell").send_multipart(client.frames(header))
    assert client.recv().parts[1] == header
    for state in ("busy", "idle"):
        message = client.recv("iopub")
        assert message.content == {"execution_state": state}
        assert message.parts[1] == header


@pytest.mark.parametrize(
    "msg_type",
    [
        "execute_request",
        "complete_request",
        "inspect_request",
        "history_request",
        "is_complete_request",
        "comm_info_request",
        "kernel_info_request",
        "some_other_request",
    ],
)
def test_l2_unknown_subshell(running, client, msg_type):
    """A message for an unknown subshell was dropped, or ran in the main shell."""
    request = client.send(msg_type, subshell_id="no such one")
    reply = client.recv()
    assert reply.msg_type == msg_type.replace("_request", "_reply")
    assert reply.parent_header == request
    assert reply.content["status"] == "error"
    assert reply.content["ename"] == "UnknownSubshellError"
    assert "no such one" in reply.content["evalue"]
    assert reply.content["traceback"] == []
    assert reply.content.get("execution_count") == (0 if msg_type == "execute_request" else None)
    states = client.iopub_until_idle(request)
    assert [message.content["execution_state"] for message in states] == ["busy", "idle"]
    assert running.main.recv_nowait() is None


@pytest.mark.parametrize("msg_type", ["comm_open", "comm_msg", "comm_close", "something"])
def test_l2_unknown_subshell_of_what_has_no_reply(running, client, msg_type):
    """Front ends count pending comm messages by their idle."""
    request = client.send(msg_type, subshell_id="no such one")
    states = client.iopub_until_idle(request)
    assert [message.content["execution_state"] for message in states] == ["busy", "idle"]
    assert not client.has("shell")
    assert running.main.recv_nowait() is None


@pytest.mark.parametrize("subshell_id", [0, 1.5, True, [], {}, ["x"], "", "main", "control", "x" * 5_000])
def test_subshell_ids_that_name_none(running, client, subshell_id):
    """Neither other types, nor the names of the two channels that are no subshells."""
    request = client.send("execute_request", subshell_id=subshell_id)
    reply = client.recv()
    assert reply.content["ename"] == "UnknownSubshellError"
    assert reply.parent_header == request
    assert running.main.recv_nowait() is None
    assert running.control.recv_nowait() is None


def test_an_id_that_must_be_escaped(running, client):
    client.send("execute_request", subshell_id='"\\\n\x00ü')
    assert client.recv().content["ename"] == "UnknownSubshellError"


def test_a_subshell_is_known_from_open_to_close(running, client):
    client.send("execute_request", subshell_id="sub")
    assert client.recv().content["ename"] == "UnknownSubshellError"
    subshell = running.open("sub")
    request = client.send("execute_request", subshell_id="sub")
    assert json.loads(recv(subshell).header) == request
    running.router.close_channel("sub")
    assert recv(subshell).kind == Kind.STOP
    client.send("execute_request", subshell_id="sub")
    assert client.recv().content["ename"] == "UnknownSubshellError"


def test_shell_waits_for_the_first_subscriber(start):
    """A client's shell socket was 0.1 s quicker than its iopub socket: the first output went to nobody."""
    client = start(subscriber_wait_s=3600.0).client()
    request = client.send("kernel_info_request")
    on_control = client.send("kernel_info_request", channel="control")
    assert client.recv("control").parent_header == on_control
    client.heartbeat()
    assert not client.has("shell", 0.1)
    client.subscribe()
    assert client.recv("shell").parent_header == request
    assert client.iopub_until_idle(request)


def test_shell_does_not_wait_longer_for_a_subscriber(start):
    client = start(subscriber_wait_s=0.05).client()
    for _ in range(2):
        request = client.send("kernel_info_request")
        assert client.recv("shell").parent_header == request

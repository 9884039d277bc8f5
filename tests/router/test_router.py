"""Dispatch, replies, identities, buffers, order."""

from __future__ import annotations

import array
import ast
import inspect
import json
import re
import threading
from pathlib import Path

import pytest
import zmq

import fastshell._contract
from fastshell._contract import ANSWERS, CHANNELS, DROP_REASONS, Destination, Kind
from router.conftest import DELIMITER, TIMEOUT_S, recv, wait_until


@pytest.fixture(params=["ipc", "tcp", "tcp6"])
def endpoints(request, ipc_endpoints):
    if request.param == "ipc":
        return ipc_endpoints()
    address = "127.0.0.1" if request.param == "tcp" else "[::1]"
    return dict.fromkeys(CHANNELS, f"tcp://{address}:*")


def test_a_request_and_its_reply(start, endpoints):
    running = start(endpoints)
    main = running.open("main")
    client = running.client()
    request = client.send("execute_request", {"code": "1"}, metadata={})
    received = recv(main)
    assert received.kind == Kind.REQUEST
    assert received.msg_type == "execute_request"
    assert json.loads(received.header) == request
    assert json.loads(received.content) == {"code": "1"}
    assert (received.parent_header, received.metadata, received.buffers) == (b"{}", b"{}", ())
    assert received.identities == (client.session.encode(),)
    running.reply(received, b'{"status":"ok"}', metadata=b'{"a":1}')
    reply = client.recv()
    assert reply.msg_type == "execute_reply"
    assert reply.identities == []
    assert reply.parts[1] == received.header
    assert (reply.metadata, reply.content) == ({"a": 1}, {"status": "ok"})


def test_start_returns_the_endpoints_as_bound(start, tcp_endpoints):
    bound = start(tcp_endpoints).endpoints
    assert set(bound) == set(CHANNELS)
    assert all(re.fullmatch(r"tcp://127\.0\.0\.1:\d+", endpoint) for endpoint in bound.values())


def test_a_missing_endpoint(router_module, tcp_endpoints):
    del tcp_endpoints["stdin"]
    with pytest.raises(ValueError, match="stdin"):
        router_module.Router(tcp_endpoints, key=b"", session="s", username="u", kernel_info=b"{}")


def test_libzmq_is_that_of_pyzmq(router_module):
    version, file = router_module.libzmq()
    assert version == zmq.zmq_version()
    assert "zmq" in file


def test_the_header_of_what_leaves(running, client):
    for _ in range(2):
        running.outbox.send(Destination.IOPUB, "display_data", b'{"msg_id":"p"}', b"{}")
    first, second = client.recv("iopub"), client.recv("iopub")
    assert first.identities == [b"display_data"]
    assert first.parent_header == {"msg_id": "p"}
    header = first.header
    assert set(header) == {"msg_id", "msg_type", "username", "session", "date", "version"}
    assert (header["session"], header["username"], header["version"]) == ("kernel", "user", "5.5")
    assert re.fullmatch(r"kernel_\d+_\d+", header["msg_id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", header["date"])
    assert header["msg_id"] != second.header["msg_id"]


def test_a_name_that_json_must_escape(start):
    running = start(username='"ü\\\n')
    client = running.client()
    client.subscribe()
    running.outbox.status("idle", b"{}")
    assert client.recv("iopub").header["username"] == '"ü\\\n'


def test_the_topic_of_iopub(running, client):
    running.outbox.send(Destination.IOPUB, "comm_msg", b"{}", b"{}", identities=[b"comm", b"x"])
    assert client.recv("iopub").identities == [b"comm", b"x"]


def test_status(running, client):
    for state in ("starting", "busy", "idle"):
        running.outbox.status(state, b'{"msg_id":"p"}')
        message = client.recv("iopub")
        assert message.msg_type == "status"
        assert message.content == {"execution_state": state}
        assert message.parent_header == {"msg_id": "p"}


def test_control_requests_go_to_control_whatever_their_subshell_id(running, client):
    for subshell_id in (None, "unknown", 17):
        request = client.send("shutdown_request", channel="control", subshell_id=subshell_id)
        received = recv(running.control)
        assert json.loads(received.header) == request
        running.outbox.send(
            Destination.CONTROL, "shutdown_reply", received.header, b"{}", identities=received.identities
        )
        assert client.recv("control").parent_header == request


def test_subshell_id_selects_the_channel(running, client):
    subshells = {name: running.open(name) for name in ("one", "two", "ü", "x" * 200)}
    for name, channel in subshells.items():
        request = client.send("execute_request", subshell_id=name)
        assert json.loads(recv(channel).header) == request
    for members in ({}, {"subshell_id": None}):
        request = client.send("execute_request", **members)
        assert json.loads(recv(running.main).header) == request
    wait_until(lambda: running.router.statistics().relayed["shell"] == len(subshells) + 2)


def test_messages_before_main_and_control_are_open_wait_for_them(start):
    running = start()
    client = running.client()
    requests = [client.send("execute_request", n=n) for n in range(5)]
    control = client.send("interrupt_request", channel="control")
    # What the router answers itself shows that it has read all that was sent before.
    client.send("kernel_info_request")
    client.send("kernel_info_request", channel="control")
    assert client.recv("shell").msg_type == client.recv("control").msg_type == "kernel_info_reply"
    main = running.open("main")
    requests.append(client.send("execute_request", n=5))
    assert [json.loads(recv(main).header) for _ in requests] == requests
    assert json.loads(recv(running.open("control")).header) == control


def test_identities_none(running):
    """A message without routing identity goes to nobody, and harms nobody."""
    running.outbox.send(Destination.SHELL, "execute_reply", b"{}", b"{}")
    client = running.client()
    client.send("execute_request")
    running.reply(recv(running.main))
    assert client.recv().msg_type == "execute_reply"


@pytest.mark.parametrize("depth", [1, 20])
def test_identities_many(running, context, depth, tmp_path):
    """Through proxies, each of which adds the identity of the peer before it."""
    client = running.client()
    fronts, backs = [], []
    endpoint = running.endpoints["shell"]
    for level in range(depth):
        back, front = context.socket(zmq.DEALER), context.socket(zmq.ROUTER)
        back.connect(endpoint)
        endpoint = f"inproc://{level}"
        front.bind(endpoint)
        backs.append(back)
        fronts.append(front)
    client._endpoints = running.endpoints | {"shell": endpoint}
    request = client.send("execute_request", buffers=[b"b"])
    for front, back in reversed(list(zip(fronts, backs, strict=True))):
        assert front.poll(TIMEOUT_S * 1000)
        back.send_multipart(front.recv_multipart())
    received = recv(running.main)
    assert len(received.identities) == depth + 1
    assert received.identities[-1] == client.session.encode()
    running.reply(received, buffers=[b"c"])
    for front, back in zip(fronts, backs, strict=True):
        assert back.poll(TIMEOUT_S * 1000)
        front.send_multipart(back.recv_multipart())
    reply = client.recv()
    assert reply.parent_header == request
    assert reply.buffers == [b"c"]


@pytest.mark.parametrize(
    "buffers",
    [
        [b""],
        [b"a", b"", b"b" * 70_000, b"c"],
        [b"%d" % n for n in range(10_000)],
        [bytes(range(256)) * (1 << 17)],  # 32 MiB
    ],
    ids=["empty", "some", "10,000", "32 MiB"],
)
def test_buffers_there_and_back(running, client, buffers):
    client.send("comm_msg", buffers=buffers)
    received = recv(running.main)
    assert all(isinstance(buffer, memoryview) for buffer in received.buffers)
    assert list(received.buffers) == buffers
    running.outbox.send(Destination.IOPUB, "comm_msg", received.header, b"{}", buffers=received.buffers)
    message = client.recv("iopub")
    assert message.buffers == buffers
    assert message.parts[1] == received.header


@pytest.mark.parametrize("size", [65_535, 65_536, 32 << 20])
def test_large_content(running, client, size):
    content = b'{"x":"%s"}' % (b"y" * (size - 8))
    assert len(content) == size
    client.send("execute_request", content)
    received = recv(running.main)
    assert isinstance(received.content, memoryview if size >= 65_536 else bytes)
    assert received.content == content
    running.reply(received, content)
    assert client.recv().parts[3] == content


def test_a_lent_buffer_is_given_back(running, client):
    """While a bytearray is lent it cannot be resized; once it has left it can."""
    large, small = bytearray(200_000), bytearray(b"small")
    running.outbox.send(Destination.IOPUB, "comm_msg", b"{}", b"{}", buffers=[large, small])
    small[:] = b"other, since it was copied"
    message = client.recv("iopub")
    assert message.buffers == [bytes(200_000), b"small"]

    def is_back():
        running.outbox.status("idle", b"{}")  # a call that lets a router free what has left
        try:
            large.append(0)
        except BufferError:
            return False
        return True

    wait_until(is_back, lambda: "the buffer is still held")


def test_buffers_of_other_types(running, client):
    numbers = array.array("d", range(20_000))
    view = memoryview(numbers)[10:20]
    running.outbox.send(Destination.IOPUB, "comm_msg", b"{}", b"{}", buffers=[numbers, view])
    assert client.recv("iopub").buffers == [numbers.tobytes(), view.tobytes()]


def test_misuse_is_told_to_the_caller(running, client):
    send, iopub = running.outbox.send, Destination.IOPUB
    with pytest.raises((ValueError, BufferError)):
        send(iopub, "comm_msg", b"{}", b"{}", buffers=[memoryview(bytes(400_000))[::2]])
    with pytest.raises(TypeError):
        send(iopub, "comm_msg", b"{}", b"{}", buffers=["text"])
    with pytest.raises(TypeError):
        send(iopub, "comm_msg", b"{}", "text")
    with pytest.raises(TypeError):
        send(iopub, "comm_msg", b"{}", b"{}", identities=["text"])
    running.outbox.status("idle", b"{}")
    assert client.recv("iopub").msg_type == "status"  # nothing of these has left, nor is half of one stuck


def test_requests_arrive_in_order(running, client):
    sent = [client.send("execute_request", n=n)["n"] for n in range(2_000)]
    assert [json.loads(recv(running.main).header)["n"] for _ in sent] == sent


def test_what_one_thread_sends_leaves_in_order(running, client):
    """Four threads; shell, iopub and status of each in the order of its calls."""
    client.send("execute_request")
    request = recv(running.main)

    def talk(thread):
        for n in range(300):
            content = json.dumps([thread, n]).encode()
            running.outbox.send(Destination.IOPUB, "display_data", request.header, content)
            running.reply(request, content)

    threads = [threading.Thread(target=talk, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for channel in ("iopub", "shell"):
        counts = dict.fromkeys(range(4), 0)
        for _ in range(4 * 300):
            thread, n = client.recv(channel).content
            assert counts[thread] == n
            counts[thread] += 1
    for thread in threads:
        thread.join()


def test_a_message_is_handed_over_whole_or_not_at_all(running, context):
    """Broken messages with many frames between right ones: no frame strays."""
    client = running.client()
    socket = client.socket("shell")
    extra = [b"extra"] * 50
    requests = []
    for n in range(20):
        frames = client.frames(client.header("execute_request"), buffers=extra)
        socket.send_multipart([*frames[1:]])  # no delimiter
        socket.send_multipart([DELIMITER, b"wrong", *frames[2:]])
        socket.send_multipart(frames[:4])
        requests.append(client.send("execute_request", buffers=[b"%d" % n, *extra]))
    for n, request in enumerate(requests):
        received = recv(running.main)
        assert json.loads(received.header) == request
        assert list(received.buffers) == [b"%d" % n, *extra]
    running.wait_dropped(delimiter=20, signature=20, parts=20)


def test_statistics(running, client):
    client.send("execute_request", {"code": "x" * 1000})
    client.send("execute_request", subshell_id="unknown")
    client.recv()
    statistics = running.router.statistics()
    assert set(statistics.received) == set(statistics.relayed) == set(statistics.sent) == set(CHANNELS)
    assert set(statistics.dropped) == set(DROP_REASONS)
    assert set(statistics.answered) == set(ANSWERS)
    assert statistics.received["shell"] == 2
    assert statistics.relayed["shell"] == 1
    assert statistics.answered["unknown_subshell"] == 1
    assert statistics.queued_bytes["main"] > 1000
    assert statistics.queued_bytes["control"] == 0
    with pytest.raises(TypeError):
        statistics.received["shell"] = 0
    recv(running.main)
    assert running.router.statistics().queued_bytes["main"] == 0


def test_one_client_can_take_the_identity_of_another(running):
    """ROUTER_HANDOVER: a front end that reconnects with its identity gets the replies."""
    old, new = running.client(), running.client()
    new.session = old.session
    old.send("execute_request")
    request = recv(running.main)
    new.send("execute_request", subshell_id=None)  # else it would be the same message, a replay
    recv(running.main)
    running.reply(request)
    assert new.recv().msg_type == "execute_reply"
    assert not old.has("shell")


def test_the_stub_is_right(router_module):
    """What `_router.pyi` declares is there; in the plain router with parameters of the same names."""
    stub = ast.parse(Path(fastshell._contract.__file__).with_name("_router.pyi").read_text())
    is_plain = router_module.__name__ == "fastshell._pyrouter"
    for node in stub.body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        if is_plain and "Compiled router only" in (ast.get_docstring(node) or ""):
            continue
        offered = getattr(router_module, node.name)
        for member in (item for item in node.body if isinstance(item, ast.FunctionDef)):
            value = getattr(offered, member.name)
            if is_plain and inspect.isfunction(value):
                names = [argument.arg for argument in [*member.args.args, *member.args.kwonlyargs]]
                assert list(inspect.signature(value).parameters) == names

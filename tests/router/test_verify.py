"""What is dropped, and why: invariant 6, a message that fails has no effect but on a counter and the log."""

from __future__ import annotations

import hashlib
import json
import os

import pytest

from router.conftest import DELIMITER, recv, wait_until


@pytest.fixture(params=["shell", "control", "stdin"])
def channel(request):
    return request.param


def reader(running, channel):
    return running.control if channel == "control" else running.main


def ask(running):
    """Have main wait for input, so that an input_reply arrives."""
    running.outbox.ask("main", b"{}", b"{}", [b"nobody"])


def right(client, channel):
    msg_type = "input_reply" if channel == "stdin" else "execute_request"
    return client.frames(client.header(msg_type))


def broken(client, channel):
    """Messages of each kind that is dropped, by the reason."""
    frames = right(client, channel)
    header = frames[2]
    parts = frames[2:]
    return {
        "delimiter": [frames[1:], [b""], [b"<IDS|MSG"], [b"x"] * 100],
        "parts": [frames[:n] for n in range(1, 6)],
        "signature": [
            [DELIMITER, signature, *parts]
            for signature in (
                b"",
                b"0" * 64,
                frames[1][:-1],
                frames[1] + b"0",
                frames[1].upper(),
                hashlib.sha256(b"".join(parts)).hexdigest().encode(),
                b"x" * 70_000,
            )
        ]
        + [
            [*frames[:2], header + b" ", *frames[3:]],
            [*frames[:5], b'{"a":1}'],
        ],
        "header": [
            client.frames(bad)
            for bad in (
                b"",
                b"[]",
                b"null",
                b"{}",
                b"\xff",
                header[:-1],
                header + b"x",
                b'{"msg_type":null}',
                b'{"msg_type":1}',
                b'{"msg_type":["execute_request"]}',
                b'{"msg_type":"a","msg_type":2}',
            )
        ],
    }


@pytest.mark.parametrize("reason", ["delimiter", "parts", "signature", "header"])
def test_a_broken_message_is_counted_and_has_no_effect(running, client, channel, reason):
    messages = broken(client, channel)[reason]
    if channel == "stdin":
        ask(running)
    for frames in messages:
        client.socket(channel).send_multipart(frames)
    good = right(client, channel)
    client.socket(channel).send_multipart(good)
    assert recv(reader(running, channel)).header == good[2]
    running.wait_dropped(**{reason: len(messages)})
    assert not client.has("shell")
    assert not client.has("iopub")


def test_a_replay_is_dropped(running, client, channel):
    good = right(client, channel)
    if channel == "stdin":
        ask(running)
    client.socket(channel).send_multipart(good)
    assert recv(reader(running, channel)).header == good[2]
    if channel == "stdin":
        ask(running)
    for _ in range(2):
        client.socket(channel).send_multipart(good)
    running.wait_dropped(replay=2)
    assert reader(running, channel).recv_nowait() is None


def test_a_replay_to_another_channel_is_dropped(running, client):
    good = right(client, "shell")
    client.socket("shell").send_multipart(good)
    recv(running.main)
    client.socket("control").send_multipart(good)
    running.wait_dropped(replay=1)
    assert running.control.recv_nowait() is None


def test_a_replay_with_other_buffers_is_dropped(running, client):
    """Buffers are not signed."""
    good = right(client, "shell")
    client.socket("shell").send_multipart(good)
    recv(running.main)
    client.socket("shell").send_multipart([*good, b"buffer"])
    running.wait_dropped(replay=1)


def test_a_wrong_signature_is_not_remembered(running, client):
    """Else anyone could have a message refused by sending its signature first."""
    good = right(client, "shell")
    client.socket("shell").send_multipart([*good[:5], b'{"forged":1}'])
    client.socket("shell").send_multipart(good)
    assert recv(running.main).header == good[2]
    running.wait_dropped(signature=1)


@pytest.mark.slow
def test_replays_are_known_for_65536_messages(running, client):
    socket = client.socket("shell")
    first, *later = [client.frames(b'{"msg_type":"x","n":%d}' % n) for n in range(65_537)]
    socket.send_multipart(first)
    for frames in later[:-1]:
        socket.send_multipart(frames)
    socket.send_multipart(first)
    running.wait_dropped(replay=1)
    for _ in range(65_536):
        recv(running.main)
    # One more, and the first is forgotten.
    socket.send_multipart(later[-1])
    socket.send_multipart(first)
    assert recv(running.main).header == later[-1][2]
    assert recv(running.main).header == first[2]


def test_an_empty_key_neither_signs_nor_checks(start):
    running = start(key=b"")
    main = running.open("main")
    client = running.client()
    client.subscribe()
    header = json.dumps(client.header("execute_request")).encode()
    for signature in (b"", b"", b"whatever"):
        client.socket("shell").send_multipart([DELIMITER, signature, header, b"{}", b"{}", b"{}"])
        assert recv(main).header == header
    running.outbox.status("idle", header)
    assert client.recv("iopub").msg_type == "status"  # recv asserts that the signature is empty
    assert running.dropped() == {}
    client.socket("shell").send_multipart([DELIMITER, b"", b"{}", b"{}", b"{}", b"{}"])
    running.wait_dropped(header=1)


def test_one_line_is_logged_for_each_kind(start):
    read, write = os.pipe()
    try:
        running = start(log_fd=write)
        running.open("main")
        running.open("control")
        client = running.client()
        messages = broken(client, "shell")
        good = right(client, "shell")
        messages["replay"] = [good] * 3
        messages["input_reply"] = []
        for frames in (frames for kind in messages.values() for frames in kind):
            client.socket("shell").send_multipart(frames)
        for _ in range(2):
            client.send("input_reply", channel="stdin")
        expected = {reason: len(kind) for reason, kind in messages.items()} | {"replay": 2, "input_reply": 2}
        running.wait_dropped(**expected)
        running.stop()
        lines = os.read(read, 65_536).decode().splitlines()
        assert len(lines) == len(expected)
        assert len(set(lines)) == len(expected)
    finally:
        os.close(read)
        os.close(write)


@pytest.mark.parametrize("scheme", ["hmac-sha512", "hmac-md5", "hmac-sha3_256"])
def test_other_schemes(router_module, start, scheme):
    if router_module.__name__ == "fastshell._router":
        with pytest.raises(ValueError, match=scheme):
            start(signature_scheme=scheme)
        return
    running = start(signature_scheme=scheme)
    main = running.open("main")
    client = running.client()
    client.send("execute_request")
    running.reply(recv(main))
    assert client.recv().msg_type == "execute_reply"
    client.socket("shell").send_multipart([DELIMITER, b"wrong", *client.frames(b"{}")[2:]])
    running.wait_dropped(signature=1)


@pytest.mark.parametrize("scheme", ["hmac-nonsense", "sha256", ""])
def test_unknown_schemes(start, scheme):
    with pytest.raises(ValueError):
        start(signature_scheme=scheme)


def test_jupyter_client_agrees(running, client, context):
    """The reference: jupyter_client's Session, with a key, signs and checks the same way."""
    import zmq
    from jupyter_client.session import Session

    session = Session(key=running.key, signature_scheme="hmac-sha256")
    socket = context.socket(zmq.DEALER)
    socket.connect(running.endpoints["shell"])
    session.send(socket, "execute_request", {"code": "ü"}, buffers=[b"1"])
    request = recv(running.main)
    running.reply(request, b'{"status":"ok"}', buffers=[b"2"])
    assert socket.poll(20_000)
    _, reply = session.recv(socket, copy=True)
    assert reply["parent_header"]["msg_type"] == "execute_request"
    assert reply["content"] == {"status": "ok"}
    assert reply["buffers"] == [b"2"]
    assert reply["header"]["date"].tzinfo is not None
    wait_until(lambda: running.router.statistics().sent["shell"] == 1)

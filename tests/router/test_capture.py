"""What is written to fd 1 and 2 is published by the router (D14)."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from fastshell._contract import Destination
from router.conftest import wait_until

PARENT = b'{"msg_id":"cell"}'
STREAMS = ("stdout", "stderr")


class Pipes:
    """Write ends of the two captured pipes, and the read ends."""

    def __init__(self):
        pairs = [os.pipe(), os.pipe()]
        self.reads = tuple(read for read, _ in pairs)
        self.writes = dict(zip(STREAMS, (write for _, write in pairs), strict=True))

    def write(self, data, name="stdout"):
        assert os.write(self.writes[name], data) == len(data)

    def close(self, name):
        os.close(self.writes.pop(name))


@pytest.fixture
def pipes():
    pipes = Pipes()
    yield pipes
    for fd in (*pipes.reads, *pipes.writes.values()):
        os.close(fd)


@pytest.fixture
def capturing(start, pipes):
    running = start(capture=pipes.reads)
    running.outbox.capture_parent(PARENT)
    return running


@pytest.fixture
def client(capturing):
    client = capturing.client()
    client.subscribe()
    return client


@pytest.mark.parametrize("name", STREAMS)
def test_text_in_a_pipe_is_published(capturing, client, pipes, name):
    pipes.write('one\n"zwei"\\\t\x1b[0m ü \U0001f600\n'.encode(), name)
    message = client.recv("iopub")
    assert message.msg_type == "stream"
    assert message.identities == [b"stream." + name.encode()]
    assert message.parent_header == {"msg_id": "cell"}
    assert message.content == {"name": name, "text": 'one\n"zwei"\\\t\x1b[0m ü \U0001f600\n'}
    wait_until(
        lambda: (
            capturing.router.statistics().captured_bytes
            == len('one\n"zwei"\\\t\x1b[0m ü \U0001f600\n'.encode())
        )
    )


def test_only_one_of_two_pipes(start, pipes):
    running = start(capture=(-1, pipes.reads[1]))
    client = running.client()
    client.subscribe()
    pipes.write(b"not captured")
    pipes.write(b"captured", "stderr")
    message = client.recv("iopub")
    assert message.content == {"name": "stderr", "text": "captured"}
    assert message.parent_header == {}  # none was given yet


def test_the_parent_can_change(capturing, client, pipes):
    for n in range(3):
        capturing.outbox.capture_parent(b'{"msg_id":"%d"}' % n)
        capturing.outbox.status("busy", b"{}")
        assert client.recv("iopub").msg_type == "status"
        pipes.write(b"x")
        assert client.recv("iopub").parent_header == {"msg_id": str(n)}


def test_written_text_that_is_older_goes_first(capturing, client, pipes):
    for n in range(50):
        capturing.outbox.write("stdout", PARENT, b"w%03d" % n)
        pipes.write(b"c%03d" % n)
        expected = f"w{n:03}c{n:03}"
        assert client.stream_text(len(expected)) == expected


def test_what_was_sent_before_goes_first(capturing, client, pipes):
    capturing.outbox.write("stdout", PARENT, b"a")
    for _ in range(500):
        capturing.outbox.send(Destination.IOPUB, "display_data", PARENT, b"{}")
    pipes.write(b"b")
    types = [client.recv("iopub").msg_type for _ in range(502)]
    assert types == ["stream", *["display_data"] * 500, "stream"]


def test_after_capture(capturing, client, pipes):
    """All that a cell wrote to the fds is there before its idle."""
    for n in range(100):
        pipes.write(b"out%03d" % n)
        pipes.write(b"err%03d" % n, "stderr")
        capturing.outbox.send(Destination.IOPUB, "status", PARENT, b'{"n":%d}' % n, after_capture=True)
        texts = dict.fromkeys(STREAMS, "")
        while (message := client.recv("iopub")).msg_type == "stream":
            texts[message.content["name"]] += message.content["text"]
        assert message.content == {"n": n}
        assert texts == {"stdout": f"out{n:03}", "stderr": f"err{n:03}"}


def test_after_capture_of_full_pipes(capturing, client, pipes):
    for name in STREAMS:
        pipes.write(b"x" * 60_000, name)
    capturing.outbox.send(Destination.IOPUB, "status", PARENT, b"{}", after_capture=True)
    sizes = dict.fromkeys(STREAMS, 0)
    while (message := client.recv("iopub")).msg_type == "stream":
        sizes[message.content["name"]] += len(message.content["text"])
    assert sizes == {"stdout": 60_000, "stderr": 60_000}


def test_after_capture_without_capture(start):
    running = start()
    client = running.client()
    client.subscribe()
    running.outbox.send(Destination.IOPUB, "status", b"{}", b"{}", after_capture=True)
    assert client.recv("iopub").msg_type == "status"


def test_split_utf8(capturing, client, pipes):
    """Characters arrive byte by byte; a reader in between must see none of them broken."""
    text = "aü€\U0001f600"
    for byte in text.encode():
        pipes.write(bytes([byte]))
        # An acknowledgement that the byte was read; it publishes what is complete.
        capturing.outbox.send(Destination.IOPUB, "ack", b"{}", b"{}", after_capture=True)
        found = ""
        while (message := client.recv("iopub")).msg_type != "ack":
            found += message.content["text"]
        assert text.startswith(found)
        text = text.removeprefix(found)
    assert text == ""


@pytest.mark.parametrize(
    "raw",
    [b"a\xffb", b"\xc3(", b"\xe2\x82z", b"\xed\xa0\x80", b"\xf0\x9f\x98\xff", b"\x80\x80\x80", b"\x00\x07"],
)
def test_invalid_bytes(capturing, client, pipes, raw):
    """As Python's own decoder replaces them."""
    expected = raw.decode("utf-8", "replace")
    pipes.write(raw)
    assert client.stream_text(len(expected)) == expected


def test_an_incomplete_end(capturing, client, pipes):
    pipes.write("ü".encode()[:1])
    pipes.close("stdout")
    assert client.stream_text(1) == "\ufffd"


def test_after_the_end_of_one_pipe_the_rest_lives(capturing, client, pipes):
    pipes.write(b"last words")
    pipes.close("stdout")
    assert client.stream_text(10) == "last words"
    pipes.write(b"alive", "stderr")
    assert client.stream_text(5, "stderr") == "alive"
    client.heartbeat()


def test_a_child_process(capturing, client, pipes):
    code = "import os; os.write(1, b'from the child'); os.write(2, b'its error')"
    subprocess.run(
        [sys.executable, "-c", code], stdout=pipes.writes["stdout"], stderr=pipes.writes["stderr"], check=True
    )
    texts = dict.fromkeys(STREAMS, "")
    while not all(texts.values()):
        message = client.recv("iopub")
        texts[message.content["name"]] += message.content["text"]
    assert texts == {"stdout": "from the child", "stderr": "its error"}


def test_w9_a_verbose_child_does_not_fill_the_pipe(capturing, client, pipes):
    """A verbose library filled the pipe, and hung in write."""
    code = "import os\nfor _ in range(512): os.write(1, b'x' * 8192); os.write(2, b'y' * 8192)"
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdout=pipes.writes["stdout"], stderr=pipes.writes["stderr"]
    )
    sizes = dict.fromkeys(STREAMS, 0)
    while sum(sizes.values()) < 2 * 512 * 8192:
        message = client.recv("iopub")
        sizes[message.content["name"]] += len(message.content["text"])
    assert child.wait(20) == 0
    assert sizes == {"stdout": 512 * 8192, "stderr": 512 * 8192}
    wait_until(lambda: capturing.router.statistics().captured_bytes == 2 * 512 * 8192)


def test_an_endless_writer_stops_nothing(capturing, client, pipes):
    """after_capture takes what waits, not what is still to come; control and heartbeat go on."""
    child = subprocess.Popen(
        [sys.executable, "-c", "import os\nwhile True: os.write(1, b'y' * 8192)"],
        stdout=pipes.writes["stdout"],
        stderr=subprocess.DEVNULL,
    )
    try:
        client.stream_text(1)
        capturing.outbox.send(Destination.IOPUB, "ack", b"{}", b"{}", after_capture=True)
        while client.recv("iopub").msg_type != "ack":
            pass
        client.heartbeat()
        client.send("kernel_info_request", channel="control")
        assert client.recv("control").msg_type == "kernel_info_reply"
    finally:
        child.kill()
        child.wait()


def test_stop_publishes_what_is_left(capturing, client, pipes):
    capturing.outbox.write("stdout", PARENT, b"written")
    pipes.write(b"captured")
    capturing.stop()
    assert client.stream_text(len("writtencaptured")) == "writtencaptured"


def test_pipes_that_cannot_be_polled(router_module, start, pipes, monkeypatch):
    """Windows: the plain router reads them on threads."""
    if router_module.__name__ == "fastshell._router":
        return  # only the plain router serves there
    monkeypatch.setattr(router_module, "_CAN_POLL_PIPES", False)
    running = start(capture=pipes.reads)
    running.outbox.capture_parent(PARENT)
    client = running.client()
    client.subscribe()
    pipes.write("ü".encode()[:1])
    pipes.write("ü".encode()[1:])
    pipes.write(b"error", "stderr")
    texts = dict.fromkeys(STREAMS, "")
    while sum(map(len, texts.values())) < 6:
        message = client.recv("iopub")
        texts[message.content["name"]] += message.content["text"]
    assert texts == {"stdout": "ü", "stderr": "error"}
    running.outbox.send(Destination.IOPUB, "ack", b"{}", b"{}", after_capture=True)
    assert client.recv("iopub").msg_type == "ack"
    for name in STREAMS:
        pipes.close(name)
    names = {f"fastshell-{name}" for name in STREAMS}
    wait_until(lambda: names.isdisjoint(thread.name for thread in threading.enumerate()))

"""Text that Python code writes: gathered, in order, under its own request."""

from __future__ import annotations

import threading

import pytest

from fastshell._contract import Destination
from router.conftest import recv

PARENT = b'{"msg_id":"cell"}'
OTHER = b'{"msg_id":"other"}'


def test_small_pieces_leave_as_one_message(running, client):
    for n in range(100):
        running.outbox.write("stdout", PARENT, b"%d," % n)
    running.outbox.flush()
    message = client.recv("iopub")
    assert message.msg_type == "stream"
    assert message.identities == [b"stream.stdout"]
    assert message.parent_header == {"msg_id": "cell"}
    text = message.content["text"]
    while not text.endswith("99,"):  # if the 50 ms were over in between
        text += client.recv("iopub").content["text"]
    assert text == "".join(f"{n}," for n in range(100))


def test_text_leaves_by_itself(running, client):
    """After 50 ms, whatever else happens or does not."""
    for _ in range(5):
        running.outbox.write("stderr", PARENT, b"x")
        message = client.recv("iopub")
        assert message.content == {"name": "stderr", "text": "x"}


def test_text_leaves_at_64_kib(running, client):
    size, pieces = 1_000, 1_000
    for _ in range(pieces):
        running.outbox.write("stdout", PARENT, b"x" * size)
    running.outbox.flush()
    sizes = []
    while sum(sizes) < size * pieces:
        sizes.append(len(client.recv("iopub").content["text"]))
    assert sum(sizes) == size * pieces
    assert max(sizes) <= 65_536 + size
    assert len(sizes) < pieces / 10


def test_a_large_text(running, client):
    text = "ü" * (1 << 20)
    running.outbox.write("stdout", PARENT, text.encode())
    assert client.stream_text(len(text)) == text


def test_text_precedes_what_is_sent_later(running, client):
    for n in range(200):
        running.outbox.write("stdout", PARENT, b"%d" % n)
        running.outbox.send(Destination.IOPUB, "display_data", PARENT, b'{"n":%d}' % n)
        text = ""
        while (message := client.recv("iopub")).msg_type == "stream":
            text += message.content["text"]
        assert text == str(n)
        assert message.content == {"n": n}


def test_text_precedes_a_reply_on_shell(running, client):
    """The text is on its way when the reply is: one thread sends both."""
    client.send("execute_request")
    request = recv(running.main)
    running.outbox.write("stdout", request.header, b"text")
    running.reply(request)
    client.recv()
    assert client.stream_text(4) == "text"
    before = running.router.statistics().sent
    assert before["iopub"] >= 2  # the welcome and the stream


def test_two_parents(running, client):
    """Each gets its own text, in order, though they were written in turns."""
    for n in range(100):
        running.outbox.write("stdout", PARENT, b"a%02d" % n)
        running.outbox.write("stdout", OTHER, b"b%02d" % n)
    running.outbox.flush()
    texts = {"cell": "", "other": ""}
    while sum(map(len, texts.values())) < 600:
        message = client.recv("iopub")
        texts[message.parent_header["msg_id"]] += message.content["text"]
    assert texts["cell"] == "".join(f"a{n:02}" for n in range(100))
    assert texts["other"] == "".join(f"b{n:02}" for n in range(100))


def test_two_streams_keep_their_order(running, client):
    for n in range(20):
        running.outbox.write("stdout", PARENT, b"o%02d" % n)
        running.outbox.write("stderr", PARENT, b"e%02d" % n)
    running.outbox.flush()
    found = ""
    while len(found) < 120:
        content = client.recv("iopub").content
        assert set(content["text"][::3]) == {content["name"][3]}  # stdout: o, stderr: e
        found += content["text"]
    assert found == "".join(f"o{n:02}e{n:02}" for n in range(20))


def test_nothing_is_not_published(running, client):
    running.outbox.write("stdout", PARENT, b"")
    running.outbox.flush()
    running.outbox.status("idle", b"{}")
    assert client.recv("iopub").msg_type == "status"


@pytest.mark.parametrize("raw", [b"\xff", b"a\xc3", b"\xed\xa0\x80"])
def test_invalid_text(running, client, raw):
    expected = raw.decode("utf-8", "replace")
    running.outbox.write("stdout", PARENT, raw)
    running.outbox.flush()
    assert client.stream_text(len(expected)) == expected


def test_a_character_in_two_pieces(running, client):
    """TextIOWrapper may hand over half a character only at its own end; gathered text joins them."""
    running.outbox.write("stdout", PARENT, "ü".encode()[:1])
    running.outbox.write("stdout", PARENT, "ü".encode()[1:])
    running.outbox.status("idle", b"{}")
    text = ""
    while (message := client.recv("iopub")).msg_type == "stream":
        text += message.content["text"]
    assert text == "ü"


def test_many_threads(running, client):
    """All that each thread writes arrives, in its order, under its parent."""

    def write(number):
        for n in range(500):
            running.outbox.write("stdout", b'{"msg_id":"%d"}' % number, b"%03d" % n)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    texts = {str(number): "" for number in range(8)}
    while sum(map(len, texts.values())) < 8 * 1_500:
        message = client.recv("iopub")
        texts[message.parent_header["msg_id"]] += message.content["text"]
    for thread in threads:
        thread.join()
    expected = "".join(f"{n:03}" for n in range(500))
    assert texts == {str(number): expected for number in range(8)}


def test_stop_sends_what_was_written(running, client):
    running.outbox.write("stdout", PARENT, b"last words")
    running.stop()
    assert client.stream_text(10) == "last words"


def test_a_finalizer_that_prints(running, client):
    """The garbage collector may run a __del__ that prints while its thread is in a call of the outbox."""
    import gc

    class Loud:
        def __init__(self):
            self.me = self  # only the collector frees it

        def __del__(self):
            running.outbox.write("stdout", PARENT, b".")

    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(200):
            Loud()
            running.outbox.status("busy", b"{}")
    finally:
        gc.set_threshold(*threshold)
    gc.collect()
    assert client.stream_text(200) == "." * 200

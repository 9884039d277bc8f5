"""Readers that do not read, peers that vanish: the router serves everyone else."""

from __future__ import annotations

import json
import time

import pytest
import zmq

from fastshell._contract import Destination
from router.conftest import TIMEOUT_S, recv, wait_until


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_burst_towards_a_shell_that_does_not_read(running, client):
    """ipykernel 7.4 deadlocks at 4,000 requests. None is lost, and all others are answered meanwhile."""
    count = 100_000
    sub = running.open("sub")
    socket = client.socket("shell")
    for n in range(count):
        socket.send_multipart(client.frames(b'{"msg_type":"execute_request","n":%d}' % n))
        if n % 10_000 == 0:
            client.send("kernel_info_request", channel="control")
            assert client.recv("control").msg_type == "kernel_info_reply"
            client.heartbeat()
    other = running.client()
    request = other.send("execute_request", subshell_id="sub")
    assert json.loads(recv(sub).header) == request
    client.send("kernel_info_request")  # it has gone the way of the burst
    assert client.recv().msg_type == "kernel_info_reply"
    assert running.router.statistics().queued_bytes["main"] > count * 30
    for n in range(count):
        assert json.loads(recv(running.main).header)["n"] == n
    assert running.main.recv_nowait() is None
    assert running.router.statistics().queued_bytes["main"] == 0
    assert running.dropped() == {}


def test_requests_and_replies_both_in_great_number(running, client):
    """ipykernel's deadlock needed two full queues in opposite directions."""
    count = 5_000
    for n in range(count):
        client.send("execute_request", n=n)
    for _ in range(count):
        request = recv(running.main)
        running.outbox.status("busy", request.header)
        running.reply(request)
        running.outbox.status("idle", request.header)
    assert [client.recv().parent_header["n"] for _ in range(count)] == list(range(count))
    states = [client.recv("iopub").content["execution_state"] for _ in range(2 * count)]
    assert states == ["busy", "idle"] * count


def test_w1_clients_that_vanish_before_their_reply(running):
    """A reply sent on the shell ROUTER ate the read edge; a request that arrived then was never read.

    Clients connect, ask and are gone before their reply is sent, while others ask and wait.
    """
    lasting = running.client()
    for n in range(200):
        vanishing = running.client()
        vanishing.send("execute_request", who="vanishing")
        vanishing.send("kernel_info_request")
        vanishing.send("kernel_info_request", channel="control")
        gone = recv(running.main)
        assert json.loads(gone.header)["who"] == "vanishing"
        vanishing.close()
        request = lasting.send("execute_request", who="lasting")
        running.reply(gone)  # at the moment at which the other request arrives
        received = recv(running.main)
        assert json.loads(received.header) == request, n
        running.reply(received)
        assert lasting.recv().parent_header == request
    lasting.heartbeat()


def test_w5_a_nudge(running):
    """jupyter_server: transient sockets, kernel_info on both, closed as soon as one has answered."""
    for _ in range(50):
        client = running.client()
        client.socket("iopub").subscribe(b"")
        client.send("kernel_info_request")
        client.send("kernel_info_request", channel="control")
        assert client.recv("iopub").msg_type in ("iopub_welcome", "status")
        assert client.recv("control").msg_type == "kernel_info_reply"
        client.close()


def test_a_subscriber_that_stands_still_does_not_hold_up_the_others(start, context):
    running = start(iopub_hwm=100)
    with context.socket(zmq.SUB) as still:
        still.set(zmq.LINGER, 0)
        still.set(zmq.RCVHWM, 1)
        still.set(zmq.RCVBUF, 4096)
        still.subscribe(b"")
        still.connect(running.endpoints["iopub"])
        wait_until(lambda: running.router.statistics().answered["iopub_welcome"] == 1)
        client = running.client()
        client.subscribe()
        for n in range(500):
            running.outbox.send(
                Destination.IOPUB, "display_data", b"{}", b'{"n":%d}' % n, buffers=[bytes(50_000)]
            )
            message = client.recv("iopub")
            assert message.content == {"n": n}
        client.heartbeat()


def test_l3_a_slow_subscriber_gets_all(running, client):
    """ipykernel delivered 998 of 6,000 outputs to a slow subscriber."""
    for n in range(20_000):
        running.outbox.send(Destination.IOPUB, "display_data", b"{}", b'{"n":%d}' % n)
    # Only now does it begin to read.
    assert [client.recv("iopub").content["n"] for _ in range(20_000)] == list(range(20_000))


def test_a_flood_on_shell_does_not_starve_the_others(running, client, context):
    """Bounded bursts: heartbeat, control and iopub get their turns in a flood of broken messages."""
    flood = context.socket(zmq.DEALER)
    flood.set_hwm(0)
    flood.connect(running.endpoints["shell"])
    for _ in range(50_000):
        flood.send_multipart([b"no", b"message"])
    began = time.monotonic()
    client.heartbeat()
    client.send("kernel_info_request", channel="control")
    client.recv("control")
    running.outbox.status("idle", b"{}")
    assert client.recv("iopub").content == {"execution_state": "busy"}  # of kernel_info
    assert time.monotonic() - began < 10
    running.wait_dropped(delimiter=50_000)


@pytest.fixture
def keys():
    return zmq.curve_keypair()


@pytest.fixture(params=["ipc", "tcp"])
def encrypted(request, start, keys, ipc_endpoints, tcp_endpoints):
    """A router with CURVE on all five sockets."""
    running = start(ipc_endpoints() if request.param == "ipc" else tcp_endpoints, curve=keys)
    running.open("main")
    return running


def with_keys(client, server_key):
    public, secret = zmq.curve_keypair()

    def configure(socket):
        socket.set(zmq.CURVE_SERVERKEY, server_key)
        socket.set(zmq.CURVE_PUBLICKEY, public)
        socket.set(zmq.CURVE_SECRETKEY, secret)

    client.configure = configure
    return client


def ask_everything(client):
    """Use all five channels but stdin, whose requests have no reply."""
    client.subscribe()
    client.heartbeat()
    for channel in ("shell", "control"):
        client.send("kernel_info_request", channel=channel)
        assert client.recv(channel).msg_type == "kernel_info_reply"
    client.send("input_reply", channel="stdin")


def test_curve_with_the_right_key(encrypted, keys):
    ask_everything(with_keys(encrypted.client(), keys[0]))
    encrypted.wait_dropped(input_reply=1)


@pytest.mark.parametrize("which", ["wrong", "missing"])
def test_curve_with_another_key_or_none(encrypted, keys, context, which):
    """Nothing gets through on any channel, and those with the right key are served on."""
    stranger = encrypted.client()
    if which == "wrong":
        with_keys(stranger, zmq.curve_keypair()[0])
    monitors = watch_handshakes(stranger)
    try:
        stranger.socket("iopub").subscribe(b"")
        for channel in ("shell", "control", "stdin"):
            stranger.send("kernel_info_request", channel=channel)
        stranger.socket("hb").send(b"ping")
        assert len(monitors) == 5
        for monitor in monitors.values():
            assert monitor.poll(TIMEOUT_S * 1000), "the handshake did not fail"
    finally:
        for socket in monitors:
            socket.disable_monitor()
    ask_everything(with_keys(encrypted.client(), keys[0]))
    for channel in ("shell", "control", "iopub", "hb"):
        assert not stranger.has(channel)
    encrypted.wait_dropped(input_reply=1)  # and nothing else was even received
    assert encrypted.router.statistics().received["shell"] == 1


def watch_handshakes(client):
    """Monitor all sockets of a client from before they connect; a failed handshake may not be tried again."""
    monitors = {}
    configure = client.configure

    def watch(socket):
        configure(socket)
        monitors[socket] = socket.get_monitor_socket(HANDSHAKE_FAILED)

    client.configure = watch
    return monitors


HANDSHAKE_FAILED = (
    zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)

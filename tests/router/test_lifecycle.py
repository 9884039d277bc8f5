"""Start, stop, channels that come and go, and the ways in which the process ends."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import psutil
import pytest
import zmq

from fastshell._contract import CHANNELS, Destination, Kind, RouterError
from router.conftest import KEY, TIMEOUT_S, Client, recv, recv_until_stop, wait_until

posix = pytest.mark.skipif(os.name == "nt", reason="signals, fork and pidfds are POSIX's")


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "fastshell-router"]


def make(router_module, endpoints, **options):
    arguments = {"key": KEY, "session": "s", "username": "u", "kernel_info": b"{}"}
    return router_module.Router(endpoints, **(arguments | options))


# --- start


def test_the_thread_has_a_name_and_is_no_business_of_debuggers(running):
    (thread,) = threads()
    assert thread.daemon
    assert thread.pydev_do_not_trace
    assert thread.is_pydev_daemon_thread


@pytest.mark.parametrize("channel", CHANNELS)
def test_an_endpoint_in_use(router_module, context, ipc_endpoints, channel):
    with context.socket(zmq.ROUTER) as taken:
        port = taken.bind_to_random_port("tcp://127.0.0.1")
        endpoints = dict.fromkeys(CHANNELS, "tcp://127.0.0.1:*")
        endpoints[channel] = f"tcp://127.0.0.1:{port}"
        files = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
        router = make(router_module, endpoints)
        with pytest.raises(RouterError) as error:
            router.start()
        assert channel in str(error.value)
        assert endpoints[channel] in str(error.value)
        assert threads() == []
        del router, error
        gc.collect()
        if files:
            wait_until(lambda: len(os.listdir("/proc/self/fd")) <= files)


@pytest.mark.parametrize("endpoint", ["", "nonsense", "tcp://", "tcp://127.0.0.1:port", "xyz://a"])
def test_an_endpoint_that_is_none(router_module, tcp_endpoints, endpoint):
    router = make(router_module, tcp_endpoints | {"stdin": endpoint})
    with pytest.raises(RouterError, match="stdin"):
        router.start()
    assert threads() == []


def test_all_endpoints_are_free_after_a_failed_start(router_module, start, tcp_endpoints):
    bound = start(tcp_endpoints).endpoints
    first = make(router_module, tcp_endpoints)
    free = first.start()
    first.stop()
    with pytest.raises(RouterError):
        make(router_module, free | {"hb": bound["hb"]}).start()
    again = make(router_module, free)
    assert again.start() == free
    again.stop()


# --- stop


def test_stop_ends_each_channel(running, client):
    sub = running.open("sub")
    running.open("unread")
    for n in range(3):
        client.send("execute_request", subshell_id="sub", n=n)
    client.send("kernel_info_request")
    client.recv()
    running.stop()
    assert [json.loads(received.header)["n"] for received in recv_until_stop(sub)] == [0, 1, 2]
    for channel in (running.main, running.control):
        assert recv_until_stop(channel) == []
        assert channel.recv_nowait() is None
    assert threads() == []


def test_the_stop_message_is_empty(running):
    running.stop()
    stop = recv(running.main)
    assert stop.kind == Kind.STOP
    assert (stop.msg_type, bytes(stop.content), tuple(stop.identities), tuple(stop.buffers)) == (
        "",
        b"",
        (),
        (),
    )
    assert (stop.header, stop.parent_header, stop.metadata) == (b"", b"", b"")


def test_stop_sends_what_the_outbox_holds(running, client):
    for n in range(1_000):
        running.outbox.send(Destination.IOPUB, "display_data", b"{}", b'{"n":%d}' % n)
    running.stop()
    assert [client.recv("iopub").content["n"] for n in range(1_000)] == list(range(1_000))


def test_stop_lingers_for_a_bounded_time(running, context):
    """A peer that is stuck cannot keep the router."""
    with context.socket(zmq.DEALER) as stuck:
        stuck.set(zmq.LINGER, 0)
        stuck.set(zmq.RCVHWM, 1)
        stuck.set(zmq.RCVBUF, 4096)
        stuck.set(zmq.IDENTITY, b"stuck")
        stuck.connect(running.endpoints["shell"])
        client = running.client()
        stuck.send_multipart(client.frames(client.header("execute_request")))
        request = recv(running.main)
        for _ in range(50):
            running.reply(request, buffers=[bytes(1 << 20)])
        for channel in running.channels:
            channel.close()
        began = time.monotonic()
        running.stop()
        assert time.monotonic() - began < 5


def test_calls_after_stop_do_nothing(running):
    running.stop()
    outbox = running.outbox
    outbox.send(Destination.IOPUB, "x", b"{}", b"{}", buffers=[bytes(100_000)])
    outbox.status("idle", b"{}")
    outbox.write("stdout", b"{}", b"x")
    outbox.flush()
    outbox.capture_parent(b"{}")
    outbox.forget(b"x")
    assert outbox.ask("main", b"{}", b"{}", [b"x"]) is not None
    assert not running.router.close_channel("unknown")
    with pytest.raises(RouterError):
        running.router.open_channel("new")


def test_stop_from_another_thread(running):
    thread = threading.Thread(target=running.stop)
    thread.start()
    assert recv(running.main).kind == Kind.STOP
    running.main.close()
    running.control.close()
    thread.join(TIMEOUT_S)
    assert not thread.is_alive()


def test_an_exit_without_stop(router_module):
    """The interpreter ends while the router lives: no crash, no hang (D5)."""
    for _ in range(5):
        result = run(router_module, "start(); r.open_channel('main'); r.outbox.status('idle', b'{}')")
        assert (result.returncode, result.stderr) == (0, "")


# --- channels


def test_open_channel_twice(running):
    running.open("sub")
    for name in ("main", "control", "sub"):
        with pytest.raises(ValueError, match=name):
            running.router.open_channel(name)
    assert running.router.close_channel("sub")
    assert running.open("sub").name == "sub"


def test_close_channel(running, client):
    sub = running.open("sub")
    requests = [client.send("execute_request", subshell_id="sub", n=n) for n in range(10)]
    client.send("kernel_info_request")
    client.recv()
    assert running.router.close_channel("sub") is True
    assert running.router.close_channel("sub") is False
    assert running.router.close_channel("never opened") is False
    assert [json.loads(received.header) for received in recv_until_stop(sub)] == requests
    assert sub.recv_nowait() is None


def test_close_twice(running):
    sub = running.open("sub")
    sub.close()
    sub.close()
    assert running.router.close_channel("sub")
    sub.close()


def test_a_channel_that_was_closed_by_its_reader_harms_nobody(running, client):
    """Its messages are lost; all others are served."""
    running.open("sub").close()
    for _ in range(10):
        client.send("execute_request", subshell_id="sub", buffers=[bytes(100_000)])
    request = client.send("execute_request")
    assert json.loads(recv(running.main).header) == request


def test_unread_messages_are_freed_with_their_channel(running, client):
    """conftest asserts that no frame is open at the end."""
    sub = running.open("sub")
    for _ in range(10):
        client.send("comm_msg", b'"%s"' % (b"x" * 100_000), subshell_id="sub", buffers=[bytes(100_000)] * 3)
    client.send("kernel_info_request")
    client.recv()
    recv(sub)
    sub.close()


def test_subshell_churn(running, client):
    """Subshells come and go while requests for them arrive: each is relayed or refused, none is lost."""
    stopped = []

    def live(n):
        channel = running.router.open_channel(f"sub{n % 10}")
        running.router.close_channel(channel.name)
        stopped.append(recv_until_stop(channel))
        channel.close()

    def churn():
        for n in range(300):
            live(n)

    thread = threading.Thread(target=churn)
    thread.start()
    sent = [client.send("execute_request", subshell_id=f"sub{n % 10}")["msg_id"] for n in range(600)]
    thread.join()
    client.send("kernel_info_request")
    refused = []
    while (reply := client.recv()).msg_type != "kernel_info_reply":
        refused.append(reply.parent_header["msg_id"])
    relayed = [json.loads(received.header)["msg_id"] for messages in stopped for received in messages]
    assert sorted(refused + relayed) == sorted(sent)
    assert set(running.router.statistics().queued_bytes) == {"main", "control"}


def test_many_channels_at_once(running, client):
    """S10: a thousand subshells; each still gets its own."""
    channels = [running.open(f"sub{n}") for n in range(1_000)]
    for n in (0, 499, 999):
        request = client.send("execute_request", subshell_id=f"sub{n}")
        assert json.loads(recv(channels[n]).header) == request


def test_a_channel_can_be_read_by_asyncio(running, client):
    """D12: the fd is the reader of a loop; drain in the callback."""
    import asyncio

    async def read(count):
        found, done = [], asyncio.Event()

        def drain():
            while (received := running.main.recv_nowait()) is not None:
                found.append(json.loads(received.header)["n"])
            if len(found) == count:
                done.set()

        loop = asyncio.get_running_loop()
        loop.add_reader(running.main.fd, drain)
        drain()
        await asyncio.wait_for(done.wait(), TIMEOUT_S)
        loop.remove_reader(running.main.fd)
        return found

    def send():
        for n in range(2_000):
            client.send("execute_request", n=n)

    client.socket("shell")
    thread = threading.Thread(target=send)
    thread.start()
    assert asyncio.run(read(2_000)) == list(range(2_000))
    thread.join()


# --- the process ends

PRELUDE = """
import importlib, json, os, select, signal, sys, threading, time
m = importlib.import_module(sys.argv[1])
from fastshell._contract import Kind, Destination
CHANNELS = ("shell", "control", "stdin", "iopub", "hb")
def start(**options):
    global r, endpoints
    options = dict(key=b"a key of the tests", session="s", username="u", kernel_info=b"{}") | options
    r = m.Router(dict.fromkeys(CHANNELS, "tcp://127.0.0.1:*"), **options)
    endpoints = r.start()
def recv(channel):
    while (received := channel.recv_nowait()) is None:
        select.select([channel.fd], [], [], 20)
    return received
def tell(*what):
    print(*what, flush=True)
def wait_for_ever():
    tell("waiting")
    while True:
        signal.pause()
"""


def command(router_module, code):
    code = PRELUDE + textwrap.dedent(code)
    return [
        sys.executable,
        "-W",
        "ignore:This process:DeprecationWarning",
        "-c",
        code,
        router_module.__name__,
    ]


def environment():
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def run(router_module, code):
    return subprocess.run(
        command(router_module, code), capture_output=True, text=True, timeout=TIMEOUT_S, env=environment()
    )


@contextlib.contextmanager
def process(router_module, code):
    child = subprocess.Popen(
        command(router_module, code),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def test_exit_after(router_module, tmp_path):
    files = [tmp_path / "a", tmp_path / "b", tmp_path / "never there"]
    for file in files[:2]:
        file.touch()
    result = run(
        router_module,
        f"""
        start(files={[str(file) for file in files]})
        r.exit_after(0.1, 7)
        while True: pass
        """,
    )
    assert (result.returncode, result.stderr) == (7, "")
    assert not any(file.exists() for file in files)


def test_a_shorter_time_replaces_a_longer_one(router_module):
    result = run(
        router_module,
        """
        start()
        r.exit_after(600, 1)
        r.exit_after(0.1, 7)
        r.exit_after(300, 2)
        while True: pass
        """,
    )
    assert result.returncode == 7


def test_exit_after_is_kept_after_stop(router_module):
    """The app stops the router, and then a thread of the user keeps the interpreter from ending (W4)."""
    result = run(
        router_module,
        """
        start()
        threading.Thread(target=threading.Event().wait).start()
        r.exit_after(0.2, 7)
        r.stop()
        """,
    )
    assert result.returncode == 7


SIGTERM_CODE = """
    read, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write)
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.signal(signal.SIGINT, lambda *_: None)
    start(signal_fd=read)
    control = r.open_channel("control")
    main = r.open_channel("main")
    def report():
        received = recv(control)
        tell(received.kind.name, bytes(received.content), received.msg_type == "")
    threading.Thread(target=report, daemon=True).start()
    wait_for_ever()
"""


@posix
def test_w4_sigterm(router_module):
    """Control is told, and the process is gone within a second, whatever main does."""
    with process(router_module, SIGTERM_CODE) as child:
        assert child.stdout.readline() == "waiting\n"
        child.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert child.stdout.readline() == "TERMINATE b'SIGTERM' True\n"
        assert child.wait(TIMEOUT_S) == 0
        assert time.monotonic() - began < 5


@posix
def test_other_signals_end_nothing(router_module):
    with process(router_module, SIGTERM_CODE) as child:
        assert child.stdout.readline() == "waiting\n"
        child.send_signal(signal.SIGINT)
        child.send_signal(signal.SIGTERM)
        assert child.stdout.readline() == "TERMINATE b'SIGTERM' True\n"
        assert child.wait(TIMEOUT_S) == 0


PARENT_CODE = """
    child = os.fork()
    if child:  # the parent of the router's process ends when it is told to
        sys.stdin.readline()
        os._exit(0)
    {0}
    control = r.open_channel("control")
    tell("ready", os.getpid())
    received = recv(control)
    tell(received.kind.name, bytes(received.content))
    wait_for_ever()
"""


@posix
@pytest.mark.parametrize("how", ["parent_pid=os.getppid()", "parent_fd=os.pidfd_open(os.getppid())"])
def test_w4_the_parent_dies(router_module, how):
    if "pidfd" in how and not hasattr(os, "pidfd_open"):
        pytest.skip("pidfds are Linux's")
    code = PARENT_CODE.format(f"start({how})")
    parent = subprocess.Popen(
        command(router_module, code),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    with parent:
        ready, pid = parent.stdout.readline().split()
        assert ready == "ready"
        orphan = psutil.Process(int(pid))
        try:
            parent.stdin.write("\n")
            parent.stdin.flush()
            assert parent.stdout.readline() == "TERMINATE b'parent'\n"
            assert parent.stdout.readline() == "waiting\n"
            # Nobody but the router ends it.
            gone, alive = psutil.wait_procs([orphan], timeout=TIMEOUT_S)
            assert (gone, alive) == ([orphan], [])
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                orphan.kill()


@posix
def test_a_forked_child_does_nothing(router_module):
    """It has no router thread, and its sockets are its parent's."""
    result = run(
        router_module,
        """
        import zmq
        start()
        main = r.open_channel("main")
        o = r.outbox
        o.write("stdout", b"{}", b"parent's")
        sys.stdout.flush()
        child = os.fork()
        if not child:
            o.send(Destination.IOPUB, "child", b"{}", b"{}", buffers=[bytes(100_000)], after_capture=True)
            o.status("idle", b"{}")
            o.write("stdout", b"{}", b"child's" * 100_000)
            o.flush()
            o.forget(b"x")
            o.capture_parent(b"{}")
            o.ask("main", b"{}", b"{}", [b"x"])
            os._exit(5)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
        sub = zmq.Context.instance().socket(zmq.SUB)
        sub.subscribe(b"")
        sub.connect(endpoints["iopub"])
        assert sub.poll(20_000)
        sub.recv_multipart()  # welcome
        o.send(Destination.IOPUB, "parent", b"{}", b"{}")
        assert sub.poll(20_000)
        while b"parent" != (frames := sub.recv_multipart())[0]:
            tell(frames[0])
        main.close()
        r.stop()
        statistics = r.statistics()
        assert statistics.frames_open == 0, statistics
        sub.close()
        tell("done")
        """,
    )
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[-1] == "done"
    assert "child" not in result.stdout
    assert result.returncode == 0


@posix
def test_a_forked_child_ends_in_order(router_module):
    """With atexit, garbage collection and all, as children of multiprocessing do."""
    result = run(
        router_module,
        """
        start()
        main = r.open_channel("main")
        child = os.fork()
        if not child:
            del main, r
            import gc
            gc.collect()
            sys.exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
        o = r.outbox
        o.status("idle", b"{}")
        main.close()
        r.stop()
        tell("done")
        """,
    )
    assert (result.stdout, result.stderr, result.returncode) == ("done\n", "", 0)


@posix
def test_signals_are_left_to_main(router_module):
    """A signal interrupts main's system call at once: no thread of the router takes it (D15)."""
    result = run(
        router_module,
        """
        start()
        def handler(*_):
            raise KeyboardInterrupt
        signal.signal(signal.SIGINT, handler)
        for _ in range(20):
            timer = threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT))
            try:
                timer.start()
                time.sleep(20)
            except KeyboardInterrupt:
                pass
            timer.join()
        r.stop()
        tell("done")
        """,
    )
    assert (result.stdout, result.stderr, result.returncode) == ("done\n", "", 0)


# --- soak


def usage():
    """(thread count, file descriptors, resident bytes) of this process."""
    gc.collect()
    this = psutil.Process()
    files = this.num_fds() if hasattr(this, "num_fds") else 0
    return this.num_threads(), files, this.memory_info().rss


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_thousand_starts_and_stops(router_module, ipc_endpoints, context):
    """Nothing is left of a router: no thread, no file descriptor, no memory."""
    endpoints = ipc_endpoints()

    def live():
        router = make(router_module, endpoints)
        bound = router.start()
        channels = [router.open_channel(name) for name in ("main", "control", "sub")]
        client = Client(bound, KEY, context)
        client.send("execute_request", subshell_id="sub", buffers=[bytes(100_000)])
        received = recv(channels[2])
        router.outbox.send(
            Destination.SHELL, "execute_reply", received.header, b"{}", identities=received.identities
        )
        client.recv()
        client.close()
        del received
        router.close_channel("sub")
        assert recv(channels[2]).kind == Kind.STOP
        for channel in channels:
            channel.close()
        router.stop()

    for _ in range(100):
        live()
    threads_before, files_before, memory_before = usage()
    for _ in range(900):
        live()
    wait_until(lambda: usage()[0] <= threads_before and usage()[1] <= files_before, lambda: str(usage()))
    grown = usage()[2] - memory_before
    assert grown < 8 << 20, f"{grown / 900:.0f} bytes for each router"


@pytest.mark.slow
def test_many_subshells_one_after_another_leave_nothing(running):
    def live():
        channel = running.router.open_channel("sub")
        running.router.close_channel("sub")
        recv_until_stop(channel)
        channel.close()

    for _ in range(500):
        live()
    grown = []
    for _ in range(3):  # a leak grows each time; what libzmq's reaper is late with, only once
        before = usage()
        for _ in range(3_000):
            live()
        # A socket is freed by libzmq's reaper thread, a moment after it was closed.
        wait_until(lambda: usage()[1] <= before[1] + 10, lambda: f"{usage()}, not {before}")  # noqa: B023
        grown.append(usage()[2] - before[2])
        if grown[-1] < 8 << 20:
            return
    pytest.fail(f"resident bytes grew by {grown} in rounds of 3,000 subshells")

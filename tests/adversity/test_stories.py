"""What went wrong for users of other kernels, each rebuilt from its precondition, on both routers.

W: the kernel stops answering. L: messages are lost or misplaced. S: what shells promise.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import psutil
import pytest
import zmq

from client import TIMEOUT_S, Client
from conftest import RunningKernel

Start = Callable[..., RunningKernel]

GONE_S = 1.0  # what the kernel promises, from shutdown_reply or SIGTERM to the end of the process
MARGIN_S = 1.0  # what a loaded machine may add to it


def test_w1_clients_that_vanish_before_their_reply(shared_kernel: RunningKernel, client: Client) -> None:
    """A reply to a peer that has gone consumed the read edge of the shell socket: the next request was
    never read. So: many clients ask and vanish, and each time somebody else asks right after."""
    for _ in range(50):
        vanishing = Client(shared_kernel.manager)
        for _ in range(3):
            vanishing.start("1")
        vanishing.sockets["shell"].close(linger=50)  # the requests leave, the replies find nobody
        vanishing.close()
        client.execute("1").ok()


def test_w1_clients_that_reconnect_between_requests(shared_kernel: RunningKernel, client: Client) -> None:
    """The same with peers that come back under their old identity."""
    for count in range(20):
        again = Client(shared_kernel.manager)
        again.session.session = "the-same-client"
        again.start(str(count))
        again.close()
        client.execute(str(count)).ok()


BUSY = {
    "python": "while True: pass",
    "sleep": "import time; time.sleep(600)",
    "await": "import asyncio; await asyncio.sleep(600)",
    "input": "input()",
    "stubborn": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
}


@pytest.mark.parametrize("what", BUSY)
def test_w4_shutdown_while_every_shell_is_busy(kernel: Start, what: str) -> None:
    """After shutdown_reply the process lived on for 40 s, because a subshell was busy."""
    running = kernel()
    client = running.client
    code = f"print('on')\n{BUSY[what]}"
    cells = [client.start(code), client.start(code, subshell_id=client.create_subshell())]
    for cell in cells:
        if what == "input":
            client.wait(lambda cell=cell: client.of_parent(cell, "input_request"), "input_request")
        else:
            client.wait_text(cell, "on")
    client.reply(client.send("shutdown_request", {"restart": False}, channel="control"))
    answered = time.monotonic()
    running.wait_gone(GONE_S + MARGIN_S)
    assert time.monotonic() - answered < GONE_S + MARGIN_S


@pytest.mark.parametrize("what", ["idle", "python", "stubborn", "gil"])
def test_w4_sigterm(kernel: Start, what: str, router: str) -> None:
    """SIGTERM ends the process even while main cannot run a Python signal handler."""
    if what == "gil" and router == "plain":
        pytest.skip("the plain router is Python: while C code holds the GIL, nothing of it can run")
    running = kernel(transport="ipc")
    client = running.client
    if what != "idle":
        code = "sum(range(10**13))" if what == "gil" else BUSY[what]
        cell = client.start(f"import sys; print('on'); sys.stdout.flush()\n{code}")
        client.wait_text(cell, "on")
    sockets = [path for path in running.folder.iterdir() if "kernel-test.json-ipc" in path.name]
    os.kill(running.pid, signal.SIGTERM)
    assert running.wait_gone(GONE_S + MARGIN_S) == 0
    assert not [path for path in sockets if path.exists()]


def test_w4_sigterm_from_a_cell(kernel: Start, reference_kernel: Start) -> None:
    """The answer of a cell that kills its kernel would be success to a client; what it printed arrives."""
    for start in (kernel, reference_kernel):
        running = start()
        client = running.client
        code = "import os, sys; print('last'); sys.stdout.flush(); os.kill(os.getpid(), 15)"
        cell = client.start(code)
        running.wait_gone()
        while client.pump(0.2):
            pass
        assert not client.of_parent(cell, "execute_reply")
        if start is kernel:  # ipykernel may die before its thread has sent it
            assert client.text(cell) == "last\n"


def test_w4_death_of_the_parent(router: str, tmp_path: os.PathLike[str]) -> None:
    """A server that was killed leaves no kernel behind, busy or not."""
    connection_file = os.path.join(tmp_path, "kernel-orphan.json")
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, subprocess, sys, time\n"
            "os.environ['JPY_PARENT_PID'] = str(os.getpid())\n"
            f"kernel = subprocess.Popen([sys.executable, '-m', 'fastshell', '-f', {connection_file!r}],\n"
            "                          stdout=subprocess.DEVNULL)\n"
            "print(kernel.pid, flush=True)\n"
            "kernel.wait()\n",
        ],
        stdout=subprocess.PIPE,
        env=os.environ | {"FASTSHELL_ROUTER": router, "IPYTHONDIR": str(tmp_path)},
    )
    assert parent.stdout is not None
    kernel_pid = int(parent.stdout.readline())
    parent_is_watched = time.monotonic() + TIMEOUT_S
    while not os.path.exists(connection_file):  # written once the router serves
        assert time.monotonic() < parent_is_watched
        os.sched_yield()
    parent.kill()
    parent.wait()
    gone = time.monotonic() + GONE_S + MARGIN_S
    while _is_alive(kernel_pid):
        assert time.monotonic() < gone, "the kernel outlives its parent"
        os.sched_yield()
    assert not os.path.exists(connection_file)


def _is_alive(pid: int) -> bool:
    """A zombie is gone, too: nobody may be there to reap it."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_w5_nudge(shared_kernel: RunningKernel) -> None:
    """jupyter_server's nudge: new shell, control and iopub sockets, kernel_info on both, closed as soon as
    one has been answered and any iopub message was seen. "Connecting to kernel" for ever otherwise."""
    shared_kernel.client.execute("1").ok()
    for _ in range(200):
        nudge = Client(shared_kernel.manager)
        shell = nudge.send("kernel_info_request")
        control = nudge.send("kernel_info_request", channel="control")
        nudge.wait(
            lambda nudge=nudge, ids=(shell, control): any(
                nudge.of_parent(i, "kernel_info_reply") for i in ids
            ),
            "kernel_info_reply",
        )
        nudge.wait(lambda nudge=nudge: [m for m in nudge.received if m.channel == "iopub"], "iopub message")
        nudge.close()
    shared_kernel.client.execute("1").ok()


@pytest.mark.parametrize("count", [5, pytest.param(200, marks=pytest.mark.long)])
@pytest.mark.timeout(600)
def test_w5_starts_in_a_row(kernel: Start, count: int) -> None:
    """Every start gets through, and every kernel that is told to end is gone."""
    for _ in range(count):
        running = kernel()
        running.client.execute("1").ok()
        running.shutdown()


def test_w6_burst_at_birth(kernel: Start) -> None:
    """The Nth message of a start-up burst was never picked up. 20 requests, sent while IPython is still
    being imported, are answered in their order."""
    running = kernel()  # the router answers kernel_info before the interpreter is there
    client = running.client
    requests = [client.start(f"{count}") for count in range(20)]
    assert [client.finish(request).ok().result for request in requests] == [str(count) for count in range(20)]
    replies = [m.parent_id for m in client.received if m.msg_type == "execute_reply"]
    assert replies == requests


@pytest.mark.parametrize(
    ("msg_type", "content"),
    [
        ("execute_request", {"code": "ran = True"}),
        ("complete_request", {"code": "a", "cursor_pos": 1}),
        ("inspect_request", {"code": "a", "cursor_pos": 1}),
        ("is_complete_request", {"code": "a"}),
        ("history_request", {"hist_access_type": "tail", "n": 1}),
        ("comm_info_request", {}),
        ("kernel_info_request", {}),
        ("strange_request", {}),
        ("comm_msg", {"comm_id": "1", "data": {}}),
    ],
)
def test_l2_unknown_subshell(client: Client, msg_type: str, content: dict[str, object]) -> None:
    """A message for an unknown subshell was dropped, or ran in the main shell."""
    done = client.request(msg_type, content, subshell_id="not-there")
    if msg_type.endswith("_request"):
        assert done.content["status"] == "error"
        assert done.content["ename"] == "UnknownSubshellError"
        assert "not-there" in done.content["evalue"]
    assert client.execute("'ran' in globals()").result == "False"


def test_l4_every_subscriber_is_welcomed(shared_kernel: RunningKernel) -> None:
    """Only the first subscriber got iopub_welcome."""
    context = zmq.Context()
    try:
        for topic in (b"", b"", b"stream", "tëst".encode()):
            subscriber = context.socket(zmq.SUB)
            subscriber.linger = 0
            subscriber.connect(shared_kernel.manager._make_url("iopub"))
            subscriber.subscribe(topic)
            assert subscriber.poll(TIMEOUT_S * 1000)
            frames = subscriber.recv_multipart()
            assert frames[0] == topic
            session = shared_kernel.client.session
            message = session.deserialize(session.feed_identities(frames)[1])
            assert message["msg_type"] == "iopub_welcome"
            assert message["content"] == {"subscription": topic.decode()}
            assert message["parent_header"] == {}
    finally:
        context.destroy(linger=0)


FOREIGN_THREADS = {
    "Thread": "import threading; t = threading.Thread(target=work); t.start(); t.join()",
    "raw": (
        "import _thread; lock = _thread.allocate_lock(); lock.acquire()\n"
        "def run():\n    work(); lock.release()\n"
        "_thread.start_new_thread(run, ()); lock.acquire()"
    ),
    "pool": "import concurrent.futures as f\nwith f.ThreadPoolExecutor(3) as p: p.submit(work).result()",
    "to_thread": "import asyncio; await asyncio.to_thread(work)",
    "C": (
        "import ctypes\n"
        "run = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(lambda _: work())\n"
        "libc = ctypes.CDLL(None); thread = ctypes.c_ulong()\n"
        "libc.pthread_create(ctypes.byref(thread), None, run, None); libc.pthread_join(thread, None)"
    ),
}


@pytest.mark.parametrize("kind", FOREIGN_THREADS)
@pytest.mark.parametrize("where", ["main", "subshell"])
def test_l8_foreign_threads_write_and_display(client: Client, kind: str, where: str) -> None:
    """print and display from threads that are not ours raised LookupError."""
    if kind == "C" and sys.platform != "linux":
        pytest.skip("the cell calls pthread_create as Linux has it")
    subshell = client.create_subshell() if where == "subshell" else None
    work = (
        "failures = []\n"
        "def work():\n"
        "    try:\n"
        "        print('written'); display('shown'); print('err', file=__import__('sys').stderr)\n"
        "    except BaseException as error: failures.append(error)\n"
    )
    done = client.execute(work + FOREIGN_THREADS[kind] + "\nfailures", subshell_id=subshell).ok()
    assert done.result == "[]"
    if kind in ("raw", "C") and where == "subshell":
        return  # nothing tells which shell started it: it goes to the main shell's last cell
    assert done.text() == "written\n"
    assert done.text("stderr") == "err\n"
    assert done.of("display_data")


def test_l9_idle_has_its_own_parent_under_concurrent_comms(client: Client) -> None:
    """Status messages of one request carried the parent of another."""
    client.execute(
        "import comm\n"
        "def opened(one, _):\n"
        "    one.on_msg(lambda message: one.send(message['content']['data']))\n"
        "comm.get_comm_manager().register_target('echo', opened)"
    ).ok()
    subshells = [None, client.create_subshell(), client.create_subshell()]
    for number, subshell in enumerate(subshells):
        client.request("comm_open", {"comm_id": f"c{number}", "target_name": "echo"}, subshell_id=subshell)
    sent = [
        (
            count,
            number,
            client.send(
                "comm_msg", {"comm_id": f"c{number}", "data": {"count": count}}, subshell_id=subshell
            ),
        )
        for count in range(100)
        for number, subshell in enumerate(subshells)
    ]
    for count, number, msg_id in sent:
        (echo,) = client.finish(msg_id).of("comm_msg")
        assert (echo.content["comm_id"], echo.content["data"]) == (f"c{number}", {"count": count})


@pytest.mark.parametrize("where", ["main", "subshell"])
def test_s12_tasks_run_on_between_cells(client: Client, where: str) -> None:
    """asyncio.create_task in a cell, and then the task stood still until the next cell."""
    subshell = client.create_subshell() if where == "subshell" else None
    cell = client.start(
        "import asyncio\n"
        "async def later():\n"
        "    for count in range(3):\n"
        "        await asyncio.sleep(0.01); print('tick', count)\n"
        "task = asyncio.create_task(later())",
        subshell_id=subshell,
    )
    client.finish(cell)
    client.wait_text(cell, "tick 2")

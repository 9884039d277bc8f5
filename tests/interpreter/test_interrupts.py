"""Interrupts, by message and by signal: what runs on main ends, and nothing else does."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest

from client import Client

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT can be sent to a process there")

SETUP = """
import asyncio, queue, subprocess, threading, time, os, signal
from concurrent.futures import ThreadPoolExecutor
import numpy
matrix = numpy.ones((50, 50))
async def numbers():
    while True:
        await asyncio.sleep(0.001)
        yield 1
async def stubborn():
    while True:
        try: await asyncio.sleep(60)
        except asyncio.CancelledError: pass
%timeit -n1 -r1 -q pass
"""

#: Cells that ipykernel stops too.
ALIKE = [
    "while True: pass",
    "time.sleep(60)",
    "!echo started; exec sleep 60",
    "subprocess.run(['sleep', '60'])",
    "while True: matrix @ matrix",
    "while True:\n    try:\n        while True: pass\n    except Exception: pass",
    "threading.Event().wait()",
    "queue.Queue().get()",
    "lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "t = threading.Thread(target=time.sleep, args=[2], daemon=True); t.start(); t.join()",
    "%timeit -n1 -r1 time.sleep(60)",
]

#: Cells at whose `await` ipykernel 7.4 goes on waiting, or is told of a cancellation.
AWAITS = [
    "await asyncio.sleep(60)",
    "async for _ in numbers(): pass",
    "await asyncio.gather(asyncio.sleep(60), asyncio.sleep(60))",
    "async with asyncio.TaskGroup() as group: group.create_task(asyncio.sleep(60))",
    "async with asyncio.timeout(60): await asyncio.sleep(60)",
    "await asyncio.Event().wait()",
    "await asyncio.create_task(asyncio.sleep(60))",
    "while True: await asyncio.sleep(0)",
    "await stubborn()",
    "await asyncio.create_task(stubborn())",
    "await asyncio.gather(stubborn(), stubborn())",
    "await asyncio.to_thread(time.sleep, 1)",
    "p = await asyncio.create_subprocess_exec('sleep', '60'); await p.wait(); await asyncio.sleep(60)",
]


@pytest.fixture(scope="module")
def _prepared(shared_kernel: Any) -> None:
    shared_kernel.client.execute(SETUP).ok()


def started(client: Client, code: str) -> str:
    """Run it until it has said that it started; a command says so itself, when IPython waits for it."""
    msg_id = client.start(code if code.startswith("!") else f"print('started', flush=True)\n{code}")
    client.wait_text(msg_id, "started")
    return msg_id


def interrupted(client: Client, code: str, interrupt: Callable[[], Any] | None = None) -> Any:
    """Run it until it has said that it started; what came after the interrupt."""
    msg_id = started(client, code)
    (interrupt or client.interrupt)()
    return client.finish(msg_id)


def interrupted_at_last(client: Client, code: str) -> Any:
    """The same where one interrupt can be lost: in system(3), and by ipykernel before a fork or a sleep."""
    msg_id = started(client, code)
    for _ in range(20):
        client.interrupt()
        if client.poll(lambda: client.of_parent(msg_id, "execute_reply"), 1):
            break
    return client.finish(msg_id)


@pytest.mark.usefixtures("_prepared")
@pytest.mark.parametrize("code", ALIKE)
def test_cell(client: Client, reference: Client, code: str) -> None:
    reference.execute(SETUP).ok()
    ours, theirs = interrupted(client, code), interrupted_at_last(reference, code)
    for key in ("status", "ename", "evalue"):
        assert ours.content.get(key) == theirs.content.get(key)
    assert ours.text() == theirs.text()
    assert client.execute("6*7").ok().result == "42"


@pytest.mark.usefixtures("_prepared")
def test_system(client: Client) -> None:
    """system(3) ignores SIGINT while its child runs, which does not: only what comes before is raised."""
    done = interrupted_at_last(client, "status = os.system('sleep 60')")
    assert done.status == "ok" or done.content["ename"] == "KeyboardInterrupt"
    assert client.execute("6*7").ok().result == "42"


@pytest.mark.usefixtures("_prepared")
@pytest.mark.parametrize("code", AWAITS)
def test_await(client: Client, code: str) -> None:
    """Once is enough, whatever is awaited, and nothing is said of what was cancelled."""
    done = interrupted(client, code)
    assert done.content["ename"] == "KeyboardInterrupt"
    assert done.text("stderr") == ""
    assert client.execute("6*7").ok().result == "42"


@pytest.mark.usefixtures("_prepared")
@pytest.mark.parametrize("code", ["while True: pass", "time.sleep(60)", "await asyncio.sleep(60)"])
def test_signal(client: Client, shared_kernel: Any, code: str) -> None:
    """SIGINT from outside does what an interrupt_request does; it may have to come again."""
    msg_id = client.start(f"print('started', flush=True)\n{code}")
    client.wait_text(msg_id, "started")
    for _ in range(20):
        os.kill(shared_kernel.pid, signal.SIGINT)
        if client.poll(lambda: client.of_parent(msg_id, "execute_reply"), 1):
            break
    assert client.finish(msg_id).content["ename"] == "KeyboardInterrupt"


@pytest.mark.usefixtures("_prepared")
def test_child_ends_with_the_cell(client: Client, reference: Client) -> None:
    """The kernel leads a process group: a child that the cell waits for is interrupted as well."""
    reference.execute(SETUP).ok()
    for one in (client, reference):
        one.execute("child = subprocess.Popen(['sleep', '60'])").ok()
        end = interrupted if one is client else interrupted_at_last
        assert end(one, "child.wait()").content["ename"] == "KeyboardInterrupt"
        # 0 where the interrupt came between waitpid and the note of what it gave: Python's own race.
        assert one.execute("child.wait()", timeout_s=10).ok().result in ("-2", "0")


@pytest.mark.usefixtures("_prepared")
def test_background_task_that_loops(client: Client) -> None:
    """A task that does not give way kept the kernel from ever answering again."""
    code = """
async def loop():
    await asyncio.sleep(0)
    print('looping', flush=True)
    while True: pass
task = asyncio.create_task(loop()); await asyncio.sleep(60)
"""
    msg_id = client.start(code)
    client.wait_text(msg_id, "looping")
    client.interrupt()
    assert client.finish(msg_id).content["ename"] == "KeyboardInterrupt"
    assert client.execute("6*7").ok().result == "42"


@pytest.mark.usefixtures("_prepared")
def test_children_of_an_interrupted_await_clean_up(client: Client) -> None:
    code = """
async def careful():
    try: await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0.01)
        print('cleaned up')
await asyncio.gather(careful(), careful())
"""
    assert interrupted(client, code).text().count("cleaned up") == 2


@pytest.mark.usefixtures("_prepared")
def test_comm_callback(client: Client) -> None:
    """What a front end's message started can be stopped, too."""
    client.execute(
        "import comm\ndef opened(comm, message):\n    print('started', flush=True)\n    while True: pass\n"
        "comm.get_comm_manager().register_target('loop', opened)"
    ).ok()
    msg_id = client.send("comm_open", {"comm_id": "loop-1", "target_name": "loop", "data": {}})
    client.wait_text(msg_id, "started")
    client.interrupt()
    client.finish(msg_id)
    assert client.execute("6*7").ok().result == "42"


@pytest.mark.usefixtures("_prepared")
def test_handler_of_a_cell_ends_with_it(client: Client, reference: Client) -> None:
    """A cell's own SIGINT handler is not that of the next, and no debugger stays in the way."""
    for one in (client, reference):
        one.execute("import signal; signal.signal(signal.SIGINT, lambda *_: print('mine'))").ok()
        end = interrupted if one is client else interrupted_at_last
        assert end(one, "import time; time.sleep(60)").content["ename"] == "KeyboardInterrupt"
        msg_id = one.start("import pdb; x = 1\npdb.set_trace()\ny = 2")
        one.answer(msg_id, "c")
        one.finish(msg_id).ok()
        assert end(one, "time.sleep(60)").content["ename"] == "KeyboardInterrupt"


def test_a_hundred_interrupts(kernel: Callable[..., Any]) -> None:
    """At random moments of a row of short cells: each has one reply and one idle, and the kernel lives."""
    running = kernel()
    client = running.client
    client.execute("import asyncio, time").ok()
    cells = [
        "1 + 1",
        "print('text')",
        "sum(range(20_000))",
        "await asyncio.sleep(0)",
        "await asyncio.sleep(0.001)",
        "time.sleep(0.001)",
        "display(1)",
        "1/0",
    ]
    chance = random.Random(7)
    sent = []
    for _ in range(100):
        for _ in range(chance.randrange(1, 4)):
            sent.append(client.start(chance.choice(cells), stop_on_error=False))
        client.pump(chance.random() * 0.01)
        if chance.random() < 0.5:
            os.kill(running.pid, signal.SIGINT)
        else:
            client.send("interrupt_request", channel="control")
    for msg_id in sent:
        assert client.finish(msg_id).status in ("ok", "error")
    client.check()
    client.wait(lambda: client.execute("6*7").result == "42", "a kernel that is left in peace")
    assert client.execute("await asyncio.sleep(0, 'awaits')").ok().result == "'awaits'"

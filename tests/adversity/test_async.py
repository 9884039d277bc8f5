"""Stories of loops, comms, threads and pipes: S4, S5, W8, W9, each rebuilt from its precondition."""

from __future__ import annotations

import sys

import psutil
import pytest

from client import Client
from conftest import RunningKernel

COMM = """
import asyncio, comm, threading
def target(name, function):
    def opened(comm, message): function(message['content']['data']['value'])
    comm.get_comm_manager().register_target(name, opened)
"""


@pytest.mark.parametrize("how", ["future", "event", "queue"])
def test_s4_comm_on_a_subshell_completes_what_main_awaits(client: Client, how: str) -> None:
    """Main woke only at its next cell. The callback does not know whose future it is."""
    make, finish, wait = {
        "future": ("future = loop.create_future()", "future.set_result(data)", "await future"),
        "event": ("event = asyncio.Event()", "event.set()", "await event.wait() and 'given'"),
        "queue": ("queue = asyncio.Queue()", "queue.put_nowait(data)", "await queue.get()"),
    }[how]
    subshell = client.create_subshell()
    client.execute(COMM).ok()
    client.execute(f"loop = asyncio.get_running_loop(); {make}").ok()
    client.execute(f"def finish(data): {finish}\ntarget('finish-{how}', finish)").ok()
    msg_id = client.start(f"print('started', flush=True)\n{wait}")
    client.wait_text(msg_id, "started")
    opening = {"comm_id": f"s4-{how}", "target_name": f"finish-{how}", "data": {"value": "given"}}
    client.request("comm_open", opening, subshell_id=subshell)
    assert client.finish(msg_id).ok().result == "'given'"
    client.delete_subshell(subshell).ok()


def test_s4_while_main_is_idle(client: Client) -> None:
    """A background task of main that waits between cells goes on as well."""
    subshell = client.create_subshell()
    client.execute(COMM).ok()
    msg_id = client.start(
        "future = asyncio.get_running_loop().create_future()\n"
        "async def wait(): print(await future)\n"
        "task = asyncio.create_task(wait())"
    )
    client.finish(msg_id).ok()
    client.execute("future.set_result('woken')", subshell_id=subshell).ok()
    client.wait_text(msg_id, "woken")


def test_s5_cell_awaits_an_answer_over_a_comm(client: Client) -> None:
    """It asks the front end and waits: the answer was queued behind the cell, for ever."""
    client.execute(COMM).ok()
    msg_id = client.start(
        "answered = asyncio.get_running_loop().create_future()\n"
        "one = comm.create_comm(target_name='front-end', data={'question': 1})\n"
        "one.on_msg(lambda message: answered.set_result(message['content']['data']))\n"
        "await answered"
    )
    opened = client.wait_iopub(msg_id, "comm_open")
    answer = {"comm_id": opened.content["comm_id"], "data": {"answer": 42}}
    sent = client.send("comm_msg", answer)
    assert client.finish(msg_id).ok().result == "{'answer': 42}"
    client.finish(sent)


def test_s5_many_comm_messages_while_a_cell_awaits(client: Client) -> None:
    """Each is handled at once, in order, with its own busy and idle; an execute request waits its turn."""
    client.execute(COMM).ok()
    client.execute(
        "seen = []; full = asyncio.Event()\n"
        "def note(data):\n"
        "    seen.append(data)\n"
        "    if len(seen) == 100: full.set()\n"
        "target('note', note)"
    ).ok()
    msg_id = client.start("print('started', flush=True)\nawait full.wait()\nseen == list(range(100))")
    client.wait_text(msg_id, "started")
    later = client.start("len(seen)")
    for number in range(100):
        client.send(
            "comm_open", {"comm_id": f"note-{number}", "target_name": "note", "data": {"value": number}}
        )
    assert client.finish(msg_id).ok().result == "True"
    assert client.finish(later).ok().result == "100"


def test_w8_many_short_threads(client: Client, shared_kernel: RunningKernel) -> None:
    """A map keyed by thread ident looped for ever, since idents are used again; others only grow."""
    code = """
import threading
def work():
    sum(range(10))
def run(count):
    for _ in range(count // 20):
        threads = [threading.Thread(target=work) for _ in range(20)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
"""
    client.execute(code).ok()
    process = psutil.Process(shared_kernel.pid)
    client.execute("run(5_000)", timeout_s=60).ok()
    before, threads = process.memory_info().rss, process.num_threads()
    client.execute("run(20_000)", timeout_s=60).ok()
    assert process.memory_info().rss - before < 4 * 2**20  # 200 bytes a thread would be seen
    assert process.num_threads() <= threads


@pytest.mark.long
@pytest.mark.timeout(600)
def test_w8_a_hundred_thousand_threads(client: Client, shared_kernel: RunningKernel) -> None:
    """The same with printing ones, as many as the story has."""
    client.execute(
        "import threading\n"
        "def run(count):\n"
        "    for number in range(count):\n"
        "        t = threading.Thread(target=print, args=['x'], kwargs={'end': ''}); t.start(); t.join()"
    ).ok()
    process = psutil.Process(shared_kernel.pid)
    assert len(client.execute("run(5_000)", timeout_s=200).ok().text()) == 5_000
    before = process.memory_info().rss
    assert len(client.execute("run(100_000)", timeout_s=500).ok().text()) == 100_000
    assert process.memory_info().rss - before < 8 * 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="the cell calls libc")
def test_w9_verbose_c_code_that_holds_the_gil(client: Client, router: str) -> None:
    """It filled the pipe and hung: ten times what a pipe holds, written without the GIL being let go."""
    if router == "plain":
        pytest.skip("the plain router is Python: while C code holds the GIL, nobody reads the pipe")
    code = """
import ctypes
libc = ctypes.PyDLL(None)  # keeps the GIL
line = b'x' * 1023 + b'\\n'
for _ in range(640): written = libc.write(1, line, 1024)
"""
    assert client.execute(code).ok().text() == ("x" * 1023 + "\n") * 640


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes are captured there")
@pytest.mark.parametrize("fd", [1, 2])
def test_w9_verbose_subprocess(client: Client, fd: int) -> None:
    """While it writes, and main waits for it, the kernel answers others."""
    subshell = client.create_subshell()
    msg_id = client.start(f"import subprocess; subprocess.run('seq 1 200000 >&{fd}', shell=True).returncode")
    assert client.execute("6*7", subshell_id=subshell).ok().result == "42"
    done = client.finish(msg_id).ok()
    assert done.result == "0"
    assert done.text("stdout" if fd == 1 else "stderr") == "".join(f"{i}\n" for i in range(1, 200_001))


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes are captured there")
def test_w9_verbose_c_code_of_a_thread(client: Client) -> None:
    """Its text and that of the cell are all there, whoever comes first."""
    code = """
import os, threading
def write():
    for _ in range(200): os.write(1, b'y' * 1023 + b'\\n')
thread = threading.Thread(target=write); thread.start()
for _ in range(200): print('x' * 1023)
thread.join()
"""
    text = client.execute(code).ok().text()
    assert (text.count("x"), text.count("y")) == (200 * 1023, 200 * 1023)

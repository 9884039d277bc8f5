"""Lost and misplaced messages (stories L), each rebuilt from its precondition, on both routers.

L2, L4, L8 and L9 are in test_stories.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from both import Both
from client import Client

COMM = """
import asyncio, threading, comm
seen = []
def opened(one, message):
    one.on_msg(lambda message: (seen.append(message["content"]["data"]), one.send({"echo": len(seen)})))
comm.get_comm_manager().register_target("echoes", opened)
"""


def open_comm(client: Client, comm_id: str, **options: Any) -> None:
    client.request("comm_open", {"comm_id": comm_id, "target_name": "echoes", "data": {}}, **options)


# --- L5: a comm message handled while an async cell awaits got no busy and idle ---


@pytest.mark.parametrize("where", ["main", "subshell"])
def test_l5_busy_and_idle_while_a_cell_awaits(client: Client, where: str) -> None:
    """ipywidgets counts its pending messages by their idle, and stopped sending."""
    options = {"subshell_id": client.create_subshell()} if where == "subshell" else {}
    client.execute(COMM).ok()
    open_comm(client, "l5", **options)
    cell = client.start(
        "go_on = asyncio.Event(); print('awaits'); await go_on.wait(); print('ends')", **options
    )
    client.wait_text(cell, "awaits")
    for number in range(10):
        done = client.request("comm_msg", {"comm_id": "l5", "data": {"n": number}}, **options)
        (echo,) = done.of("comm_msg")  # with the parent of its own message, and before its idle
        assert echo.content["data"]["echo"] == number + 1
    assert [m.content["execution_state"] for m in client.of_parent(cell, "status")] == ["busy"]
    _release(client, where)
    assert client.finish(cell).ok().text() == "awaits\nends\n"


def _release(client: Client, where: str) -> None:
    """Let the awaiting cell go on: by another shell's cell."""
    other = None if where == "subshell" else client.create_subshell()
    loop = "go_on._loop.call_soon_threadsafe(go_on.set)"
    client.execute(loop, **({"subshell_id": other} if other else {})).ok()


def test_l5_beside_ipykernel(both: Both) -> None:
    """For a comm message on an idle shell, status by status the same."""
    both.setup(COMM)
    both.request("comm_open", {"comm_id": "l5b", "target_name": "echoes", "data": {}})
    both.request("comm_msg", {"comm_id": "l5b", "data": {}})
    both.request("comm_close", {"comm_id": "l5b", "data": {}})
    for client in (both.ours, both.reference):
        for msg_type in ("comm_open", "comm_msg", "comm_close"):
            content = {"comm_id": "l5c", "target_name": "echoes", "data": {}}
            client.request(msg_type, content)  # asserts busy, then idle, once


# --- L6: a widget message in a subshell took a running cell's thread its output ---

THREAD = """
go, written = threading.Semaphore(0), threading.Semaphore(0)
def work():
    for number in range(3):
        go.acquire(timeout=20); print("line", number); display(number); written.release()
worker = threading.Thread(target=work); worker.start()
print("started"); worker.join()
"""


@pytest.mark.parametrize(
    "msg_type", ["comm_msg", "complete_request", "kernel_info_request", "execute_request"]
)
@pytest.mark.parametrize("where", ["main", "subshell"])
def test_l6_output_of_a_running_cells_thread(client: Client, msg_type: str, where: str) -> None:
    """Whatever reaches another shell meanwhile, the thread goes on writing under its own cell."""
    subshell, other = client.create_subshell(), client.create_subshell()
    runs = {"subshell_id": subshell} if where == "subshell" else {}
    elsewhere = {"subshell_id": other}
    client.execute(COMM).ok()
    open_comm(client, "l6", **elsewhere)
    cell = client.start(THREAD, **runs)
    client.wait_text(cell, "started")
    content = {
        "comm_msg": {"comm_id": "l6", "data": {}},
        "complete_request": {"code": "go", "cursor_pos": 2},
        "kernel_info_request": {},
        "execute_request": {"code": "print('own')", "silent": False},
    }[msg_type]
    for _ in range(3):
        client.request(msg_type, content, **elsewhere)
        done = client.execute("go.release(); ok = written.acquire(timeout=20)", **elsewhere).ok()
        assert (done.text(), done.of("display_data")) == ("", [])
    done = client.finish(cell).ok()
    assert done.text() == "started\nline 0\nline 1\nline 2\n"
    assert [m.content["data"]["text/plain"] for m in done.of("display_data")] == ["0", "1", "2"]


def test_l6_comm_message_of_the_same_shell(client: Client) -> None:
    """The callback's own output is its message's; the cell that awaits meanwhile keeps what it writes."""
    client.execute(
        "import asyncio, comm\n"
        "def opened(one, message): print('of the message'); go_on.set()\n"
        "comm.get_comm_manager().register_target('prints', opened)"
    ).ok()
    cell = client.start("go_on = asyncio.Event(); print('before'); await go_on.wait(); print('after')")
    client.wait_text(cell, "before")
    done = client.request("comm_open", {"comm_id": "l6s", "target_name": "prints", "data": {}})
    assert done.text() == "of the message\n"
    assert client.finish(cell).ok().text() == "before\nafter\n"


# --- L7: a thread started in a subshell's cell printed into main's ---


@pytest.mark.parametrize("kind", ["Thread", "Timer", "pool", "to_thread", "thread of a thread"])
def test_l7_threads_of_a_subshells_cell(client: Client, kind: str) -> None:
    """Main runs a cell of its own all the while, and gets nothing of it."""
    client.execute("import threading; release = threading.Event()").ok()
    subshell = client.create_subshell()
    main = client.start("print('main'); ok = release.wait(20)")
    client.wait_text(main, "main")
    work = "import threading\ndef work(): print('of the subshell'); display('shown')\n"
    start = {
        "Thread": "t = threading.Thread(target=work); t.start(); t.join()",
        "Timer": "t = threading.Timer(0.001, work); t.start(); t.join()",
        "pool": "import concurrent.futures as f\nwith f.ThreadPoolExecutor(2) as p: p.submit(work).result()",
        "to_thread": "import asyncio; await asyncio.to_thread(work)",
        "thread of a thread": (
            "def outer():\n    t = threading.Thread(target=work); t.start(); t.join()\n"
            "t = threading.Thread(target=outer); t.start(); t.join()"
        ),
    }[kind]
    done = client.execute(work + start, subshell_id=subshell).ok()
    assert done.text() == "of the subshell\n"
    assert len(done.of("display_data")) == 1
    client.execute("release.set()", subshell_id=subshell).ok()
    mine = client.finish(main).ok()
    assert (mine.text(), mine.of("display_data")) == ("main\n", [])


# --- L8: writing and displaying from any thread never raises ---


def test_l8_beside_ipykernel(both: Both) -> None:
    """All doors at once, from a thread; where ipykernel 7.4 does not raise either."""
    both.setup("import threading, sys, logging, warnings")
    code = """
failures = []
def work():
    for act in (
        lambda: print("text"),
        lambda: display("shown"),
        lambda: get_ipython().display_pub.clear_output(),
        lambda: sys.stdout.flush(),
        lambda: sys.displayhook("a result"),
        lambda: get_ipython().showtraceback((ValueError, ValueError("shown"), None)),
        lambda: get_ipython().kernel.get_parent(),
        lambda: __import__("comm").create_comm("front").close(),
    ):
        try:
            act()
        except Exception as error:
            failures.append(error)
t = threading.Thread(target=work); t.start(); t.join()
failures
"""
    for client in (both.ours, both.reference):
        results = client.execute(code).ok().of("execute_result")
        assert [m.content["data"]["text/plain"] for m in results] == ["'a result'", "[]"]


# --- L10: set_next_input of main arrived in a subshell's reply ---


def test_l10_payloads_belong_to_their_cell(client: Client) -> None:
    """Main's cell has put its payload and is still running, while a subshell's cell is answered."""
    client.execute("import threading; release = threading.Event()").ok()
    subshell = client.create_subshell()
    main = client.start("get_ipython().set_next_input('of main'); print('set'); ok = release.wait(20)")
    client.wait_text(main, "set")
    other = client.execute("1", subshell_id=subshell).ok()
    own = client.execute("get_ipython().set_next_input('of the subshell')", subshell_id=subshell).ok()
    client.execute("release.set()", subshell_id=subshell).ok()
    assert other.content["payload"] == []
    assert [one["text"] for one in own.content["payload"]] == ["of the subshell"]
    assert [one["text"] for one in client.finish(main).ok().content["payload"]] == ["of main"]


@pytest.mark.parametrize(
    "code",
    [
        "get_ipython().set_next_input('next')",
        "get_ipython().set_next_input('replaced', replace=True)",
        "get_ipython().set_next_input('one'); get_ipython().set_next_input('two')",
        "get_ipython().set_next_input('first'); len?",
        "get_ipython().set_next_input('of a failed cell'); 1 / 0",
        "from IPython.core import page; page.page('paged')",
    ],
)
def test_l10_payloads_beside_ipykernel(both: Both, code: str) -> None:
    """Each cell's payload, and none of it in the next reply."""
    both.execute(code)
    assert both.execute("1").content["payload"] == []

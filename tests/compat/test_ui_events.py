"""Story S11: a cell lets widget messages through by kernel.do_one_iteration, as jupyter-ui-poll does.

ipykernel 7 has it no more, so there is nothing to compare with.
"""

from __future__ import annotations

import pytest

from client import Client

TARGET = """
import asyncio, time
from comm import get_comm_manager
from jupyter_ui_poll import run_ui_poll_loop, ui_events, with_ui_events

kernel = get_ipython().kernel
got = []

def opened(comm, message):
    comm.on_msg(lambda message: got.append(message["content"]["data"]["number"]))

get_comm_manager().register_target("numbers", opened)
"""

#: Cells that end when three numbers have come, or fail.
WAITING = {
    "sync call": "while len(got) < 3:\n    kernel.do_one_iteration()",
    "awaited": "while len(got) < 3:\n    await kernel.do_one_iteration()",
    "ui_events": "with ui_events() as poll:\n    while len(got) < 3:\n        poll(10)",
    "async ui_events": "async with ui_events() as poll:\n    while len(got) < 3:\n        await poll(10)",
    "run_ui_poll_loop": "run_ui_poll_loop(lambda: got if len(got) == 3 else None)",
    "with_ui_events": "for _ in with_ui_events(iter(lambda: len(got) == 3, True)):\n    time.sleep(0.001)",
}


@pytest.mark.parametrize("waiting", WAITING.values(), ids=WAITING)
@pytest.mark.parametrize("where", ["main", "subshell"])
def test_comm_messages_reach_a_cell_that_waits(client: Client, waiting: str, where: str) -> None:
    client.execute(TARGET).ok()
    subshell_id = client.create_subshell() if where == "subshell" else None
    client.send("comm_open", {"comm_id": "n", "target_name": "numbers", "data": {}}, subshell_id=subshell_id)
    cell = client.start(
        f"print('started', flush=True)\n{waiting}\nprint('got', got)", subshell_id=subshell_id
    )
    client.wait_text(cell, "started")
    behind = client.start("print('behind', got); got.clear()", subshell_id=subshell_id)
    completion = client.send("complete_request", {"code": "ge", "cursor_pos": 2}, subshell_id=subshell_id)
    for number in range(3):
        client.send("comm_msg", {"comm_id": "n", "data": {"number": number}}, subshell_id=subshell_id)
    done = client.finish(cell).ok()
    assert done.text() == "started\ngot [0, 1, 2]\n"
    assert client.finish(behind).ok().text() == "behind [0, 1, 2]\n"  # not in the middle of the first
    assert "get_ipython" in client.finish(completion).content["matches"]
    client.send("comm_close", {"comm_id": "n", "data": {}}, subshell_id=subshell_id)
    if subshell_id is not None:
        client.check()
        client.delete_subshell(subshell_id).ok()


def test_no_iteration_without_a_message(client: Client) -> None:
    done = client.execute("kernel = get_ipython().kernel\nfor _ in range(1000): kernel.do_one_iteration()\n1")
    assert done.ok().result == "1"


def test_shell_reads_on_after_a_cell_that_polled(client: Client) -> None:
    """The poll has read the channel, so that its descriptor does not tell of what it left."""
    cell = client.start(
        "import time\nkernel = get_ipython().kernel\nprint('started', flush=True)\n"
        "end = time.monotonic() + 0.2\nwhile time.monotonic() < end: kernel.do_one_iteration()"
    )
    client.wait_text(cell, "started")
    behind = [client.start(f"{number}") for number in range(40)]
    client.finish(cell).ok()
    assert [client.finish(one).result for one in behind] == [str(number) for number in range(40)]

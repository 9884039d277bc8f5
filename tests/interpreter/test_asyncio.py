"""Cells that await, and what libraries expect of the loop that runs in a kernel. Story S8."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from both import Both
from client import Client

posix = pytest.mark.skipif(sys.platform == "win32", reason="no such signals there")

SETUP = """
import asyncio, contextlib
async def numbers():
    for i in range(3): yield i
@contextlib.asynccontextmanager
async def manager():
    yield 'managed'
    print('left')
async def five(): return 5
async def bad(): raise ValueError('in a task')
"""

ALIKE = [
    "await five()",
    "[await five() for _ in range(2)]",
    "async for i in numbers(): print(i)",
    "[i async for i in numbers()]",
    "async with manager() as m: print(m)",
    "await asyncio.gather(five(), asyncio.sleep(0.001, 6))",
    "async with asyncio.TaskGroup() as g: task = g.create_task(five())\ntask.result()",
    "async with asyncio.timeout(0.01): await asyncio.sleep(60)",
    "await asyncio.wait_for(asyncio.sleep(60), 0.01)",
    "await asyncio.shield(five())",
    "await asyncio.gather(five(), bad(), return_exceptions=True)",
    "async with asyncio.TaskGroup() as g: g.create_task(bad())",
    "await asyncio.get_running_loop().run_in_executor(None, lambda: 'in a thread')",
    "await asyncio.to_thread(lambda: print('in a thread'))",
    "coroutine = five()\ntry: asyncio.run(coroutine)\nfinally: coroutine.close()",
    "asyncio.get_event_loop().run_until_complete(asyncio.Future())",
    "asyncio.get_event_loop().is_running(), asyncio.get_running_loop() is asyncio.get_event_loop()",
    "future = asyncio.Future(); t = asyncio.get_running_loop().call_later(0.01, future.set_result, 9)\n"
    "await future",
    "queue = asyncio.Queue(); queue.put_nowait(1); await queue.get()",
    "async def producer():\n    for i in range(3): await queue.put(i)\n"
    "task = asyncio.create_task(producer())\n[await queue.get() for _ in range(3)]",
    "mine = asyncio.create_task(asyncio.sleep(0), name='mine')\n"
    "'mine' in {task.get_name() for task in asyncio.all_tasks()}",
    "await mine, 'mine' in {task.get_name() for task in asyncio.all_tasks()}",
    "await bad()",
    "await 3",
    "await asyncio.sleep(0); 1/0",
    "raise asyncio.CancelledError('raised')",
    "await asyncio.sleep(0)\nreturn 3",
    "x = await five(); x",
    "%time await five()",
    "%timeit -n1 -r1 await five()",
    "%%capture captured\nprint(await five())",
    "captured.stdout",
    "%autoawait",
]


@pytest.fixture
def cells(both: Both) -> Both:
    both.setup(SETUP)
    return both


@pytest.mark.parametrize("code", ALIKE)
def test_cell(cells: Both, code: str) -> None:
    cells.execute(code)


@pytest.mark.parametrize("code", ["def f(): return await five()", "return 3", "async def f(): return\nyield"])
def test_syntax_error(cells: Both, code: str) -> None:
    assert [one.execute(code).content["ename"] for one in (cells.ours, cells.reference)] == [
        "SyntaxError"
    ] * 2


def test_autoawait_off(cells: Both) -> None:
    cells.setup("%autoawait off")
    for client in (cells.ours, cells.reference):
        assert client.execute("await five()").content["ename"] == "SyntaxError"
    cells.setup("%autoawait on")
    assert cells.execute("await five()").result == "5"


def test_exception_of_a_background_task(cells: Both) -> None:
    """It is shown, once the task is forgotten."""
    code = "task = asyncio.create_task(bad()); await asyncio.sleep(0); await asyncio.sleep(0); del task"
    for client in (cells.ours, cells.reference):
        text = client.execute(code).ok().text("stderr")
        assert "Task exception was never retrieved" in text
        assert "ValueError: in a task" in text


def test_exception_of_a_callback(client: Client) -> None:
    """It is shown, and costs the loop nothing."""
    code = "import asyncio; asyncio.get_running_loop().call_soon(lambda: 1/0); await asyncio.sleep(0)"
    assert "ZeroDivisionError" in client.execute(code).ok().text("stderr")


def test_task_of_an_earlier_cell(cells: Both) -> None:
    """It goes on between cells, and a later one can await it."""
    cells.setup("ready = asyncio.Event(); go = asyncio.Event()")
    cells.setup(
        "async def work(): ready.set(); await go.wait(); return 'done'\ntask = asyncio.create_task(work())"
    )
    cells.execute("await ready.wait()")
    cells.execute("task.done()")
    cells.setup("go.set()")
    assert cells.execute("await task").result == "'done'"


# --- context variables ---


def test_context_variables(cells: Both) -> None:
    """S8: those set in one cell are there in the next."""
    cells.setup("import contextvars; var = contextvars.ContextVar('var', default='none')")
    assert cells.execute("var.get()").result == "'none'"
    cells.setup("token = var.set('of a cell')")
    assert cells.execute("var.get()").result == "'of a cell'"
    assert cells.execute("contextvars.copy_context()[var]").result == "'of a cell'"
    assert cells.execute("await asyncio.sleep(0); var.get()").result == "'of a cell'"
    assert cells.execute("await asyncio.to_thread(var.get)").result == "'of a cell'"
    cells.setup("async def read(): return var.get()")
    assert cells.execute("await asyncio.create_task(read())").result == "'of a cell'"
    cells.setup("var.reset(token)")
    assert cells.execute("var.get()").result == "'none'"


def test_context_variables_of_async_cells(client: Client) -> None:
    """Those too are there in the next, in which ipykernel 7.4 forgets them; a task's own are not."""
    client.execute("import asyncio, contextvars; var = contextvars.ContextVar('var', default='none')").ok()
    client.execute("await asyncio.sleep(0); token = var.set('of an async cell')").ok()
    assert client.execute("var.get()").result == "'of an async cell'"
    client.execute("async def change(): var.set('of a task')\nawait asyncio.create_task(change())").ok()
    assert client.execute("var.get()").result == "'of an async cell'"
    assert client.execute("await asyncio.sleep(0); var.reset(token); var.get()").result == "'none'"


# --- subprocesses, signals ---


@posix
@pytest.mark.parametrize(
    "code",
    [
        "p = await asyncio.create_subprocess_exec('echo', 'text', stdout=asyncio.subprocess.PIPE)\n"
        "await p.communicate(), p.returncode",
        "p = await asyncio.create_subprocess_exec('sleep', '60'); p.kill(); await p.wait()",
        "p = await asyncio.create_subprocess_exec('cat', stdin=-1, stdout=-1)\n"
        "(await p.communicate(b'x' * 200_000))[0].count(b'x')",
    ],
)
def test_subprocess(cells: Both, code: str) -> None:
    """The watcher of children is there, and what a child writes to its inherited stdout is shown."""
    cells.execute(code)


@posix
def test_subprocess_in_a_subshell(client: Client) -> None:
    subshell = client.create_subshell()
    code = "import asyncio\np = await asyncio.create_subprocess_exec('true'); await p.wait()"
    assert client.execute(code, subshell_id=subshell).ok().result == "0"


@posix
def test_signal_handlers(cells: Both) -> None:
    cells.setup("import os, signal, time")
    cells.execute("signal.getsignal(signal.SIGINT) is signal.default_int_handler")
    cells.setup("got = []; signal.signal(signal.SIGUSR1, lambda *_: got.append('SIGUSR1'))")
    assert cells.execute("os.kill(os.getpid(), signal.SIGUSR1); got").result == "['SIGUSR1']"
    cells.setup("signal.signal(signal.SIGALRM, lambda *_: got.append('SIGALRM')); signal.alarm(1)")
    assert cells.execute("time.sleep(1.2); got").result == "['SIGUSR1', 'SIGALRM']"
    cells.setup("event = asyncio.Event(); loop = asyncio.get_running_loop()")
    cells.setup("loop.add_signal_handler(signal.SIGUSR2, event.set)")
    assert cells.execute("os.kill(os.getpid(), signal.SIGUSR2); await event.wait()").result == "True"
    assert cells.execute("loop.remove_signal_handler(signal.SIGUSR2)").result == "True"


@posix
def test_sigterm_after_a_signal_handler_of_asyncio(kernel: Callable[..., Any]) -> None:
    """asyncio puts its own wakeup descriptor in place of the kernel's, and none when it is done."""
    for code in (
        "loop.add_signal_handler(signal.SIGUSR2, print)",
        "loop.add_signal_handler(signal.SIGUSR2, print); loop.remove_signal_handler(signal.SIGUSR2)",
    ):
        running = kernel()
        running.client.execute(f"import asyncio, signal; loop = asyncio.get_running_loop(); {code}").ok()
        os.kill(running.pid, signal.SIGTERM)
        assert running.wait_gone() == 0


# --- what patches or replaces asyncio ---


@pytest.fixture
def fresh(kernel: Callable[..., Any], reference_kernel: Callable[..., Any]) -> Iterator[Both]:
    """Two kernels for one test: what it does to asyncio stays."""
    ours = kernel().client
    yield Both(ours, reference_kernel().client)
    ours.check()


def test_nest_asyncio(fresh: Both) -> None:
    pytest.importorskip("nest_asyncio")
    fresh.setup("import asyncio, nest_asyncio; nest_asyncio.apply()")
    fresh.setup("async def nested(): return asyncio.run(asyncio.sleep(0.001, 'nested'))")
    assert fresh.execute("asyncio.run(asyncio.sleep(0.001, 'run'))").result == "'run'"
    assert fresh.execute("await asyncio.sleep(0.001, 'awaited')").result == "'awaited'"
    assert fresh.execute("await nested()").result == "'nested'"
    fresh.execute(
        "asyncio.get_event_loop().run_until_complete(asyncio.gather(asyncio.sleep(0, 1), nested()))"
    )
    for client in (fresh.ours, fresh.reference):
        msg_id = client.start("print('started', flush=True)\nasyncio.run(asyncio.sleep(60))")
        client.wait_text(msg_id, "started")
        client.interrupt()
        assert client.finish(msg_id).content["ename"] == "KeyboardInterrupt"
        assert client.execute("asyncio.run(asyncio.sleep(0, 'after'))").ok().result == "'after'"


def test_interrupt_after_nest_asyncio(kernel: Callable[..., Any]) -> None:
    """Its tasks are Python code: a task that was interrupted in that never went on."""
    pytest.importorskip("nest_asyncio")
    client = kernel().client
    client.execute("import asyncio, nest_asyncio; nest_asyncio.apply()").ok()
    for _ in range(10):
        msg_id = client.start("print('started', flush=True)\nawait asyncio.sleep(60)")
        client.wait_text(msg_id, "started")
        client.interrupt()
        assert client.finish(msg_id).content["ename"] == "KeyboardInterrupt"
    client.check()


def test_trio(fresh: Both) -> None:
    """Cells run by trio; it finds the SIGINT handler that it looks for, and complains about nothing."""
    pytest.importorskip("trio")
    fresh.setup("import asyncio, trio; x = 1")
    fresh.execute("%autoawait trio")
    fresh.execute("await trio.sleep(0.001)\n'slept'")
    fresh.execute("async with trio.open_nursery() as nursery: nursery.start_soon(trio.sleep, 0.001)")
    fresh.execute("await trio.to_thread.run_sync(lambda: print('in a thread'))")
    fresh.execute("y = x + 1; y")
    fresh.execute("await asyncio.sleep(0)")
    interrupt_both(fresh, "await trio.sleep(60)")
    assert fresh.execute("await trio.sleep(0); y").result == "2"
    fresh.setup("%autoawait asyncio")
    fresh.execute("await asyncio.sleep(0, 'asyncio again')")
    fresh.execute("trio.run(trio.sleep, 0.001)")
    interrupt_both(fresh, "trio.run(trio.sleep, 60)")


@pytest.mark.parametrize("prefix", ["", "await asyncio.sleep(0); "])
def test_messages_during_a_nested_loop(kernel: Callable[..., Any], prefix: str) -> None:
    """They are read while nest_asyncio runs the loop within a cell: the context of the reader was in use, and
    each turn of the loop showed the failure. A subshell lets the cell end, once they have arrived."""
    pytest.importorskip("nest_asyncio")
    client = kernel().client
    subshell = client.create_subshell()
    client.execute("import asyncio, nest_asyncio; nest_asyncio.apply()").ok()
    client.execute("event = asyncio.Event(); loop = asyncio.get_running_loop()").ok()
    msg_id = client.start(f"print('started', flush=True); {prefix}asyncio.run(event.wait())")
    client.wait_text(msg_id, "started")
    later = client.start("'later'")
    asked = client.send("complete_request", {"code": "zi", "cursor_pos": 2})
    client.execute("loop.call_soon_threadsafe(event.set)", subshell_id=subshell).ok()
    done = client.finish(msg_id).ok()
    assert (done.result, done.text("stderr")) == ("True", "")
    assert client.finish(later).ok().result == "'later'"
    assert client.finish(asked).ok().content["matches"] == ["zip"]
    client.check()


def interrupt_both(both: Both, code: str) -> None:
    """Each ends with the same failure, KeyboardInterrupt."""
    for client in (both.ours, both.reference):
        msg_id = client.start(f"print('started', flush=True)\n{code}")
        client.wait_text(msg_id, "started")
        client.interrupt()
        done = client.finish(msg_id)
        assert (done.content["ename"], done.text("stderr")) == ("KeyboardInterrupt", "")


@posix
def test_sigterm_while_trio_runs(kernel: Callable[..., Any]) -> None:
    pytest.importorskip("trio")
    running = kernel()
    msg_id = running.client.start("import trio; print('started', flush=True); trio.run(trio.sleep, 60)")
    running.client.wait_text(msg_id, "started")
    os.kill(running.pid, signal.SIGTERM)
    assert running.wait_gone() == 0

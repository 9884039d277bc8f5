"""execute_request: counts, errors, awaiting, interrupts, what is stored and what is not.

Stories S1, S3, S8, L10; invariants 1, 3 and 4.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from client import Client

posix = pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT can be sent to a process there")


@pytest.fixture
def subshell(client: Client) -> Iterator[str]:
    """The id of a subshell."""
    subshell_id = client.create_subshell()
    yield subshell_id
    client.delete_subshell(subshell_id).ok()


# --- counts ---


def test_count(client: Client) -> None:
    counts = [client.execute("pass").content["execution_count"] for _ in range(3)]
    assert counts == list(range(counts[0], counts[0] + 3))


def test_first_count(kernel: Callable[..., Any]) -> None:
    client = kernel().client
    done = client.execute("1")
    assert done.content["execution_count"] == 1
    assert done.of("execute_input")[0].content == {"code": "1", "execution_count": 1}
    client.check()


def test_count_goes_on_after_errors(client: Client) -> None:
    first = client.execute("1/0").content["execution_count"]
    second = client.execute("x = )").content["execution_count"]
    assert (second, client.execute("1").content["execution_count"]) == (first + 1, first + 2)


def test_count_of_a_subshell_is_its_own(client: Client, subshell: str) -> None:
    """S1: a new subshell begins at 1; its cells do not count for main."""
    before = client.execute("1").content["execution_count"]
    for count in (1, 2):
        done = client.execute("'of the subshell'", subshell_id=subshell)
        assert done.content["execution_count"] == count
        assert done.of("execute_input")[0].content["execution_count"] == count
        assert done.of("execute_result")[0].content["execution_count"] == count
    assert client.execute("1").content["execution_count"] == before + 1


def test_one_namespace(client: Client, subshell: str) -> None:
    client.execute("shared = [1]").ok()
    client.execute("shared.append(2); made_there = 3", subshell_id=subshell).ok()
    assert client.execute("shared, made_there").result == "([1, 2], 3)"


def test_last_result_of_main_is_left_alone(client: Client, subshell: str) -> None:
    client.execute("'of main'").ok()
    client.execute("'of the subshell'", subshell_id=subshell).ok()
    assert client.execute("_").result == "'of main'"


# --- silent, store_history, user_expressions, payload ---


def test_silent(client: Client) -> None:
    before = client.execute("'before'").content["execution_count"]
    done = client.execute("print('text'); 'no result'", silent=True)
    assert [m.msg_type for m in done.iopub] == ["status", "stream", "status"]
    assert done.ok().content["execution_count"] == before
    assert client.execute("_").result == "'before'"


def test_silent_error_aborts_nothing(client: Client) -> None:
    ids = [client.start("1/0", silent=True), client.start("'next'")]
    assert client.finish(ids[0]).status == "error"
    assert client.finish(ids[1]).ok().result == "'next'"


def test_without_history(client: Client) -> None:
    before = client.execute("'stored'").content["execution_count"]
    done = client.execute("'not stored'", store_history=False).ok()
    assert done.result == "'not stored'"
    assert client.execute("'stored again'").content["execution_count"] == before + 1
    history = client.request(
        "history_request", {"hist_access_type": "tail", "n": 2, "raw": True, "output": False}
    )
    assert [entry[2] for entry in history.content["history"]] == ["'stored'", "'stored again'"]


def test_user_expressions(client: Client) -> None:
    expressions = {"good": "6*7", "rich": "Rich()", "bad": "1/0", "wrong": "x ="}
    code = "class Rich:\n    def _repr_html_(self): return '<b>'\n    def __repr__(self): return 'plain'"
    values = client.execute(code, user_expressions=expressions).ok().content["user_expressions"]
    assert values["good"] == {"status": "ok", "data": {"text/plain": "42"}, "metadata": {}}
    assert values["rich"]["data"] == {"text/plain": "plain", "text/html": "<b>"}
    assert (values["bad"]["status"], values["bad"]["ename"]) == ("error", "ZeroDivisionError")
    assert (values["wrong"]["status"], values["wrong"]["ename"]) == ("error", "SyntaxError")


def test_user_expressions_after_an_error(client: Client) -> None:
    assert client.execute("1/0", user_expressions={"a": "1"}).content["user_expressions"] == {}


def test_page(client: Client) -> None:
    (page,) = client.execute("zip?").ok().content["payload"]
    assert page["source"] == "page"
    assert "zip" in page["data"]["text/plain"]
    assert page["start"] == 0
    assert client.execute("1").content["payload"] == []


def test_set_next_input(client: Client, tmp_path: Path) -> None:
    (tmp_path / "loaded.py").write_text("x = 1")
    (payload,) = client.execute(f"%load {tmp_path}/loaded.py").ok().content["payload"]
    assert (payload["source"], payload["replace"]) == ("set_next_input", True)
    assert payload["text"].endswith("x = 1")


def test_payload_of_its_own_shell(client: Client, subshell: str) -> None:
    """L10: main's set_next_input arrived in a subshell's reply."""
    client.execute("import threading; written, go_on = threading.Event(), threading.Event()").ok()
    code = "get_ipython().set_next_input('of main'); written.set(); ok = go_on.wait(10)"
    msg_id = client.start(code)
    assert client.execute("ok = written.wait(10)", subshell_id=subshell).ok().content["payload"] == []
    client.execute("go_on.set()", subshell_id=subshell).ok()
    (payload,) = client.finish(msg_id).ok().content["payload"]
    assert payload["text"] == "of main"


# --- errors ---


def test_error(client: Client) -> None:
    """The error message and the reply agree."""
    done = client.execute("def f():\n    raise ValueError('why')\nf()")
    assert done.status == "error"
    assert done.error is not None
    for content in (done.content, done.error):
        assert (content["ename"], content["evalue"]) == ("ValueError", "why")
        text = "\n".join(content["traceback"])
        assert "raise" in text
        assert "Traceback (most recent call last)" in text
    assert done.content["traceback"] == done.error["traceback"]


@pytest.mark.parametrize(
    ("code", "ename"),
    [
        ("x = )", "SyntaxError"),
        ("if True:\npass", "IndentationError"),
        ("return", "SyntaxError"),
        ("'\\ud800'.encode()", "UnicodeEncodeError"),
        ("nowhere", "NameError"),
        ("import nowhere", "ModuleNotFoundError"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise SystemExit(3)", "SystemExit"),
        ("import sys; sys.exit()", "SystemExit"),
        ("raise BaseException", "BaseException"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("raise ExceptionGroup('many', [ValueError(1), TypeError(2)])", "ExceptionGroup"),
        ("import asyncio; raise asyncio.CancelledError", "CancelledError"),
        ("raise StopIteration", "StopIteration"),
        ("def f(): f()\nf()", "RecursionError"),
        ("class E(Exception):\n    def __repr__(self): 1/0\nraise E('x')", "E"),
        ("await nowhere", "NameError"),
        ("import asyncio\nawait asyncio.sleep(0)\nraise SystemExit", "SystemExit"),
        ("import asyncio\nawait asyncio.sleep(0)\nraise KeyboardInterrupt", "KeyboardInterrupt"),
        ("import asyncio\nawait asyncio.sleep(0)\nraise StopIteration", "StopIteration"),
        ("import asyncio\nawait asyncio.sleep(0)\nraise asyncio.CancelledError", "CancelledError"),
        ("%no_such_magic", None),
        ("%%no_such_magic\nx", None),
        ("\x00", None),
    ],
)
def test_errors(client: Client, code: str, ename: str | None) -> None:
    """Each is answered, once; and the next cell runs."""
    done = client.execute(code)
    if ename is not None:
        assert (done.status, done.content["ename"]) == ("error", ename)
    assert client.execute("6*7").ok().result == "42"


def test_error_whose_str_fails(client: Client) -> None:
    done = client.execute("class E(Exception):\n    def __str__(self): 1/0\nraise E('x')")
    assert done.status == "error"
    assert done.content["ename"] in ("E", "ZeroDivisionError")
    assert client.execute("6*7").ok().result == "42"


def test_error_with_everything_wrong(client: Client) -> None:
    """Neither its name, its text nor its traceback can be had without another error."""
    code = """
class Meta(type):
    def __repr__(cls): 1/0
class E(Exception, metaclass=Meta):
    def __str__(self): raise E
    __repr__ = __str__
    @property
    def __traceback__(self): raise E
raise E
"""
    assert client.execute(code).status == "error"
    assert client.execute("6*7").ok().result == "42"


def test_error_text_with_a_surrogate(client: Client) -> None:
    assert client.execute(r"raise ValueError('\ud800')").content["ename"] == "ValueError"


def test_custom_handler(client: Client) -> None:
    client.execute("get_ipython().set_custom_exc((KeyError,), lambda *a, **k: print('handled'))").ok()
    try:
        assert client.execute("{}['x']").text() == "handled\n"
    finally:
        client.execute("get_ipython().set_custom_exc((), None)")


def test_error_in_a_subshell(client: Client, subshell: str) -> None:
    done = client.execute("1/0", subshell_id=subshell)
    assert done.error is not None
    assert done.error["ename"] == done.content["ename"] == "ZeroDivisionError"
    assert "In[1]" in "".join(done.error["traceback"])


def test_hooks_that_fail(client: Client) -> None:
    """What a user registered for each cell fails: the cells are answered all the same."""
    register = "get_ipython().events.register('{0}', {1})"
    client.execute("def bad(*a): 1/0").ok()
    for event in ("pre_execute", "post_execute", "pre_run_cell", "post_run_cell"):
        client.execute(register.format(event, "bad"))
    assert client.execute("6*7").result == "42"
    assert client.execute("import asyncio; await asyncio.sleep(0); 6*7").result == "42"
    for event in ("pre_execute", "post_execute", "pre_run_cell", "post_run_cell"):
        client.execute(register.format(event, "bad").replace("register", "unregister"))


def test_transformer_that_fails(client: Client) -> None:
    code = """
def bad(lines):
    if lines[0].startswith("boom"): raise ValueError("bad transformer")
    return lines
get_ipython().input_transformers_post.append(bad)
"""
    client.execute(code).ok()
    for cell in ("boom", "boom; await x"):
        done = client.execute(cell)
        assert (done.status, done.content["ename"]) == ("error", "ValueError")
    client.execute("get_ipython().input_transformers_post.remove(bad)").ok()


# --- the queue ---


#: A comm of the target "release" lets a cell end that awaits the event: all that was sent before is there.
RELEASE = """
import asyncio
from comm import get_comm_manager
get_comm_manager().register_target("release", lambda comm, message: event.set())
"""


def test_error_aborts_what_waits(client: Client) -> None:
    """The three behind it have arrived when the cell fails: the comm message behind them let it."""
    client.execute(RELEASE).ok()
    first = client.start("event = asyncio.Event(); await event.wait(); 1/0")
    waiting = [client.start(f"'cell {number}'") for number in range(3)]
    asked = client.send("complete_request", {"code": "zi", "cursor_pos": 2})
    client.request("comm_open", {"comm_id": "r-1", "target_name": "release", "data": {}})
    assert client.finish(first).status == "error"
    for msg_id in waiting:
        done = client.finish(msg_id)
        assert done.status == "aborted"
        assert [m.msg_type for m in done.iopub] == ["status", "status"]
    assert client.finish(asked).ok().content["matches"] == ["zip"]
    assert client.execute("'after'").ok().result == "'after'"


def test_what_is_sent_after_the_error_reply_is_not_aborted(client: Client) -> None:
    """The abort came after the reply, and took with it what the client sent in answer to that."""
    for _ in range(50):
        assert client.reply(client.start("1/0")).content["status"] == "error"
        assert client.reply(client.start("1")).content["status"] == "ok"


def test_error_that_does_not_stop(client: Client) -> None:
    ids = [client.start("1/0", stop_on_error=False)] + [client.start(f"{n}") for n in range(3)]
    assert [client.finish(msg_id).status for msg_id in ids] == ["error", "ok", "ok", "ok"]


def test_error_in_a_subshell_aborts_nothing_of_main(client: Client, subshell: str) -> None:
    client.execute("import threading; failed = threading.Event()").ok()
    ids = [client.start("ok = failed.wait(10)"), client.start("'of main'")]
    assert client.execute("failed.set(); 1/0", subshell_id=subshell).status == "error"
    assert client.finish(ids[0]).ok()
    assert client.finish(ids[1]).ok().result == "'of main'"


def test_order(client: Client) -> None:
    client.execute("order = []").ok()
    ids = [client.start(f"order.append({n}); {n}") for n in range(200)]
    assert [client.finish(msg_id).ok().result for msg_id in ids] == [str(n) for n in range(200)]
    assert client.execute("order == list(range(200))").result == "True"


def test_order_of_async_cells(client: Client) -> None:
    """A cell that awaits keeps those behind it waiting."""
    client.execute("import asyncio; order = []").ok()
    for n in range(10):
        client.start(f"await asyncio.sleep({0.01 if n % 2 else 0}); order.append({n})")
        client.start(f"order.append({n} + 0.5)")
    assert client.execute("order == sorted(order) and len(order) == 20").result == "True"


# --- await ---


@pytest.mark.parametrize(
    ("code", "result"),
    [
        ("import asyncio; await asyncio.sleep(0, 'slept')", "'slept'"),
        ("async def numbers():\n    for i in range(3): yield i\n[i async for i in numbers()]", "[0, 1, 2]"),
        ("seen = []\nasync for i in numbers(): seen.append(i)\nseen", "[0, 1, 2]"),
        (
            """
import contextlib
@contextlib.asynccontextmanager
async def manager(): yield 'managed'
async with manager() as m: pass
m
""",
            "'managed'",
        ),
        ("await asyncio.gather(asyncio.sleep(0.01, 1), asyncio.sleep(0.001, 2))", "[1, 2]"),
        ("async def f(): return 5\nawait f()", "5"),
        ("async with asyncio.timeout(10): x = await f()\nx", "5"),
        ("(await f()) + (await f())", "10"),
        ("import asyncio\nasyncio.get_running_loop() is asyncio.get_event_loop()", "True"),
        ("%autoawait", None),
        ("x = [await f() for _ in range(2)]; x", "[5, 5]"),
        ("asyncio.current_task() is None", "True"),
    ],
)
@pytest.mark.parametrize("where", ["main", "subshell"])
def test_await(client: Client, subshell: str, where: str, code: str, result: str | None) -> None:
    options = {"subshell_id": subshell} if where == "subshell" else {}
    client.execute("import asyncio\nasync def numbers():\n    for i in range(3): yield i", **options).ok()
    client.execute("async def f(): return 5", **options).ok()
    assert client.execute(code, **options).ok().result == result


def test_time_out(client: Client) -> None:
    code = "import asyncio\nasync with asyncio.timeout(0.01): await asyncio.sleep(60)"
    assert client.execute(code).content["ename"] == "TimeoutError"


def test_context_variables_persist(client: Client, subshell: str) -> None:
    """S8; and each shell has its own."""
    client.execute("from contextvars import ContextVar; var = ContextVar('var', default='none')").ok()
    client.execute("t = var.set('of main')").ok()
    client.execute("t = var.set('of the subshell')", subshell_id=subshell).ok()
    assert client.execute("var.get()").result == "'of main'"
    assert client.execute("var.get()", subshell_id=subshell).result == "'of the subshell'"
    assert client.execute("import asyncio; await asyncio.sleep(0); var.get()").result == "'of main'"
    client.execute("await asyncio.sleep(0); t = var.set('async')").ok()
    assert client.execute("var.get()").result == "'async'"


def test_cell_that_stops_the_loop(client: Client) -> None:
    client.execute("import asyncio; asyncio.get_event_loop().stop()")
    assert client.execute("6*7").ok().result == "42"


def test_cancelled_cell(client: Client) -> None:
    """A task of the user's cancels the cell that awaits: it is answered, and the next one runs."""
    code = """
import asyncio
me = asyncio.current_task()
asyncio.get_running_loop().call_soon(me.cancel)
await asyncio.sleep(60)
"""
    client.execute("import asyncio\nasync def current(): return asyncio.current_task()").ok()
    done = client.execute(code.replace("asyncio.current_task()", "await current()"))
    assert done.content["ename"] == "CancelledError"
    assert client.execute("6*7").ok().result == "42"


def test_asyncio_run_in_a_thread(client: Client) -> None:
    code = """
import asyncio, threading
out = []
t = threading.Thread(target=lambda: out.append(asyncio.run(asyncio.sleep(0.01, 'ran'))))
t.start(); t.join(); out
"""
    assert client.execute(code).ok().result == "['ran']"


# --- interrupt ---

INTERRUPTED = [
    "print('started')\nwhile True: pass",
    "import time; print('started'); time.sleep(60)",
    "import asyncio; print('started'); await asyncio.sleep(60)",
    "import asyncio; print('started')\nwhile True: await asyncio.sleep(0)",
    "import threading; print('started'); threading.Event().wait()",
    "import threading; print('started'); l = threading.Lock(); l.acquire(); l.acquire()",
    "import subprocess; print('started'); subprocess.run(['sleep', '60'])",
    "print('started')\nfor i in iter(int, 1): print(end='')",
]


@posix
@pytest.mark.parametrize("code", INTERRUPTED)
def test_interrupt(client: Client, code: str) -> None:
    msg_id = client.start(code)
    client.wait_text(msg_id, "started\n")
    client.interrupt()
    done = client.finish(msg_id)
    assert (done.status, done.content["ename"]) == ("error", "KeyboardInterrupt")
    assert done.error is not None
    assert client.execute("6*7").ok().result == "42"


@posix
def test_interrupt_traceback_is_of_user_code(client: Client) -> None:
    """It ends in the cell, and does not show how the kernel interrupts."""
    msg_id = client.start("print('started')\nwhile True: pass")
    client.wait_text(msg_id, "started\n")
    client.interrupt()
    assert "fastshell" not in "".join(client.finish(msg_id).content["traceback"])


@posix
def test_interrupt_by_signal(client: Client, shared_kernel: Any) -> None:
    msg_id = client.start("print('started')\nwhile True: pass")
    client.wait_text(msg_id, "started\n")
    os.kill(shared_kernel.pid, signal.SIGINT)
    assert client.finish(msg_id).content["ename"] == "KeyboardInterrupt"


def test_interrupt_that_is_caught(client: Client) -> None:
    code = "try:\n    print('started')\n    while True: pass\nexcept KeyboardInterrupt: print('caught')"
    msg_id = client.start(code)
    client.wait_text(msg_id, "started\n")
    client.interrupt()
    assert "caught" in client.finish(msg_id).ok().text()


def test_interrupt_that_is_caught_in_an_await(client: Client) -> None:
    code = """
import asyncio
try:
    print('started')
    await asyncio.sleep(60)
except KeyboardInterrupt: print('caught')
await asyncio.sleep(0)
'went on'
"""
    msg_id = client.start(code)
    client.wait_text(msg_id, "started\n")
    client.interrupt()
    done = client.finish(msg_id).ok()
    assert ("caught" in done.text(), done.result) == (True, "'went on'")


def test_interrupt_of_nothing(client: Client) -> None:
    """It does not wait for the next cell."""
    for _ in range(20):
        client.interrupt()
        assert client.execute("6*7").ok().result == "42"


def test_interrupt_of_an_await_in_a_subshell(client: Client, subshell: str) -> None:
    msg_id = client.start("import asyncio; print('started'); await asyncio.sleep(60)", subshell_id=subshell)
    client.wait_text(msg_id, "started\n")
    client.interrupt()
    assert client.finish(msg_id).content["ename"] == "KeyboardInterrupt"
    assert client.execute("6*7", subshell_id=subshell).ok().result == "42"


@pytest.mark.xfail(strict=True, reason="only what awaits is interrupted on a subshell yet")
def test_interrupt_of_a_loop_in_a_subshell(client: Client, subshell: str) -> None:
    """S3. The cell can be told to end by other means, so that a failing test leaves nothing running."""
    client.execute("ended = False").ok()
    msg_id = client.start("print('started')\nwhile not ended: pass", subshell_id=subshell)
    client.wait_text(msg_id, "started\n")
    client.interrupt()
    interrupted = client.poll(lambda: client.of_parent(msg_id, "error"), 5)
    client.execute("ended = True")
    assert client.finish(msg_id).content.get("ename") == "KeyboardInterrupt"
    assert interrupted


def test_interrupt_reaches_background_task_of_nobody(client: Client) -> None:
    """A task that the user left running is not the cell: it runs on."""
    client.execute("import asyncio; done = asyncio.Event(); task = asyncio.create_task(done.wait())").ok()
    client.interrupt()
    assert client.execute("done.set(); await task").ok().result == "True"


# --- leaving ---


@pytest.mark.parametrize("code", ["exit()", "quit", "exit"])
def test_exit(kernel: Callable[..., Any], code: str) -> None:
    """The cell is answered, with a payload that tells the front end, and the process ends."""
    running = kernel()
    done = running.client.execute(code).ok()
    assert done.content["payload"] == [{"source": "ask_exit", "keepkernel": False}]
    assert running.wait_gone() == 0


def test_exit_that_keeps_the_kernel(client: Client) -> None:
    done = client.execute("exit(keep_kernel=True)").ok()
    assert done.content["payload"] == [{"source": "ask_exit", "keepkernel": True}]
    assert client.execute("6*7").ok().result == "42"


def test_exit_while_others_wait(kernel: Callable[..., Any]) -> None:
    """All are answered that have arrived: the comm message behind them is what lets the first cell end."""
    running = kernel()
    client = running.client
    client.execute(RELEASE).ok()
    ids = [client.start(code) for code in ("event = asyncio.Event(); await event.wait()", "exit()", "1", "2")]
    client.send("comm_open", {"comm_id": "r-1", "target_name": "release", "data": {}})
    assert [client.reply(msg_id).content["status"] for msg_id in ids] == ["ok", "ok", "aborted", "aborted"]
    running.wait_gone()


def test_shutdown_while_it_starts(kernel: Callable[..., Any]) -> None:
    """kernel_info is answered before IPython is loaded; a shutdown that comes then ended in an error."""
    for _ in range(3):
        running = kernel()
        running.shutdown()
        assert running.process.returncode == 0


# --- magics ---


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("%env PATH_OF_TEST=1", "env: PATH_OF_TEST=1"),
        ("%%timeit -n1 -r1\npass", "per loop"),
        ("%time 1 + 1", "Wall time"),
        ("%who_ls", None),
        ("%%python\nprint('in a child')", "in a child"),
        ("%cd /", "/"),
        ("%precision 3", None),
        ("%matplotlib inline", None),
        ("%config InlineBackend.figure_format", None),
        ("%connect_info", "signature_scheme"),
        ("x = !echo one", None),
    ],
)
def test_magic(client: Client, code: str, text: str | None) -> None:
    done = client.execute(code).ok()
    assert text is None or text in done.text()


def test_writefile(client: Client, tmp_path: Path) -> None:
    client.execute(f"%%writefile {tmp_path}/written.py\nx = 'é'").ok()
    assert (tmp_path / "written.py").read_text("utf-8") == "x = 'é'\n"
    assert client.execute(f"%run {tmp_path}/written.py\nx").ok().result == "'é'"


def test_reset(client: Client) -> None:
    client.execute("forgotten = 1").ok()
    client.execute("%reset -f").ok()
    assert client.execute("forgotten").content["ename"] == "NameError"

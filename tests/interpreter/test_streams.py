"""What user code writes: all of it, in order, under the request of the code that wrote it.

Stories L7, L8, S12, W9; invariants 2 and 5.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from client import Client

posix = pytest.mark.skipif(sys.platform == "win32", reason="file descriptors 1 and 2 are not captured there")
has_fork = pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")


@pytest.fixture
def subshell(client: Client) -> Iterator[str]:
    """The id of a subshell."""
    subshell_id = client.create_subshell()
    yield subshell_id
    client.delete_subshell(subshell_id).ok()


# --- from the cell itself ---


def test_stdout_and_stderr(client: Client) -> None:
    done = client.execute("import sys; print('out'); print('err', file=sys.stderr)").ok()
    assert (done.text(), done.text("stderr")) == ("out\n", "err\n")


def test_order_between_stdout_and_stderr(client: Client) -> None:
    code = "import sys\nfor i in range(50): print(i, file=(sys.stdout, sys.stderr)[i % 2])"
    done = client.execute(code).ok()
    assert "".join(m.content["text"] for m in done.of("stream")) == "".join(f"{i}\n" for i in range(50))


def test_order_between_text_and_displays(client: Client) -> None:
    done = client.execute("for i in range(20): print(i); display(i)").ok()
    shown = [m.content.get("text") or m.content["data"]["text/plain"] for m in done.iopub[2:-1]]
    assert [text.strip() for text in shown] == [str(i) for i in range(20) for _ in (0, 1)]


def test_output_precedes_reply_and_idle(client: Client) -> None:
    """Text is not written after the idle of its cell, however little of it there is."""
    for number in range(30):
        done = client.execute(f"print({number}, end='')").ok()
        assert done.text() == str(number)


def test_200_000_lines(client: Client) -> None:
    done = client.execute("for i in range(200_000): print(i)", timeout_s=50).ok()
    assert done.text() == "".join(f"{i}\n" for i in range(200_000))


def test_huge_text(client: Client) -> None:
    done = client.execute(
        "print('é' * 10_000_000); import sys; n = sys.stderr.write('x' * 5_000_000); n"
    ).ok()
    assert done.text() == "é" * 10_000_000 + "\n"
    assert done.text("stderr") == "x" * 5_000_000
    assert done.result == "5000000"


def test_text_appears_while_the_cell_runs(client: Client) -> None:
    msg_id = client.start("print('before'); answer = input()")
    client.wait_text(msg_id, "before")
    client.answer(msg_id, "")
    client.finish(msg_id)


def test_flush(client: Client) -> None:
    """What is flushed has left, even if the GIL is held from then on; so at least it is all there."""
    done = client.execute(
        "import sys; print('a', end='', flush=True); sys.stdout.flush(); print('b', end='')"
    )
    assert done.ok().text() == "ab"


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (r"'\ud800'", "\\ud800"),  # a lone surrogate is no UTF-8
        (r"'\x00\x1b[31m\r\u2028'", "\x00\x1b[31m\r\u2028"),
        (r"'\"\\'", '"\\'),
        ("'😀' * 3", "😀😀😀"),
        ("b'\\xff'", "b'\\xff'"),
    ],
)
def test_any_text(client: Client, expression: str, text: str) -> None:
    assert client.execute(f"print({expression}, end='')").ok().text() == text


def test_write_takes_only_text(client: Client) -> None:
    done = client.execute("import sys; sys.stdout.write(b'x')")
    assert done.content["ename"] == "TypeError"
    assert client.execute("sys.stdout.writelines(['a', 'b']); sys.stdout.write('c')").ok().text() == "abc"


def test_stream_attributes(client: Client) -> None:
    code = (
        "import sys; s = sys.stdout; [s.isatty(), s.writable(), s.readable(), s.encoding.lower(), s.closed]"
    )
    assert client.execute(code).result == "[False, True, False, 'utf-8', False]"


def test_closing_stdout_silences_nothing(client: Client) -> None:
    client.execute("import sys; sys.stdout.close()").ok()
    assert client.execute("print('still here')").ok().text() == "still here\n"


def test_redirect(client: Client) -> None:
    code = """
import io, contextlib
with contextlib.redirect_stdout(io.StringIO()) as f: print('kept')
f.getvalue()
"""
    done = client.execute(code).ok()
    assert (done.text(), done.result) == ("", r"'kept\n'")


def test_capture_magic(client: Client) -> None:
    client.execute(
        "%%capture kept\nprint('kept'); display(1); import sys; print('err', file=sys.stderr)"
    ).ok()
    done = client.execute("kept.stdout, kept.stderr, len(kept.outputs)").ok()
    assert done.result == r"('kept\n', 'err\n', 1)"


def test_logging_and_warnings(client: Client) -> None:
    done = client.execute("import logging, warnings; logging.warning('logged'); warnings.warn('warned')").ok()
    assert "WARNING:root:logged" in done.text("stderr")
    assert "UserWarning: warned" in done.text("stderr")


# --- from subshells, threads, tasks ---


def test_subshell(client: Client, subshell: str) -> None:
    done = client.execute("print('from a subshell')", subshell_id=subshell).ok()
    assert done.text() == "from a subshell\n"


def test_two_shells_at_once(client: Client, subshell: str) -> None:
    """Each waits for the other to have written, so that their cells do overlap."""
    client.execute("import threading; here, there = threading.Barrier(2), threading.Barrier(2)").ok()
    code = "here.wait(10); print({0!r}); there.wait(10); print({0!r})"
    ids = {
        "main": client.start(code.format("main")),
        "sub": client.start(code.format("sub"), subshell_id=subshell),
    }
    for name, msg_id in ids.items():
        assert client.finish(msg_id).ok().text() == f"{name}\n{name}\n"


@pytest.mark.parametrize("where", ["main", "subshell"])
def test_joined_thread(client: Client, subshell: str, where: str) -> None:
    options = {"subshell_id": subshell} if where == "subshell" else {}
    code = "import threading; t = threading.Thread(target=print, args=['thread']); t.start(); t.join()"
    assert client.execute(code, **options).ok().text() == "thread\n"


@pytest.mark.parametrize("where", ["main", "subshell"])
def test_thread_that_outlives_its_cell(client: Client, subshell: str, where: str) -> None:
    """It writes while another cell runs, and after: always under the cell that started it."""
    options = {"subshell_id": subshell} if where == "subshell" else {}
    first = client.start(
        """
import threading
go, written, go_on = threading.Event(), threading.Event(), threading.Event()
def work():
    go.wait(10); print("during"); written.set()
    go_on.wait(10); print("after")
worker = threading.Thread(target=work)
worker.start()
""",
        **options,
    )
    client.finish(first).ok()
    for other in ({}, {"subshell_id": subshell}):
        done = client.execute("go.set(); written.wait(10); print('own')", **other).ok()
        assert done.text() == "own\n"
    client.wait_text(first, "during\n")
    done = client.execute("go_on.set(); worker.join()", **options).ok()
    assert done.text() == ""
    client.wait_text(first, "during\nafter\n")


def test_thread_of_a_thread(client: Client, subshell: str) -> None:
    code = """
import threading
def inner(): print("inner")
def outer():
    t = threading.Thread(target=inner); t.start(); t.join()
t = threading.Thread(target=outer); t.start(); t.join()
"""
    assert client.execute(code, subshell_id=subshell).ok().text() == "inner\n"


def test_pool(client: Client, subshell: str) -> None:
    code = """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(4) as pool: list(pool.map(lambda i: print(f"{i} ", end=""), range(100)))
"""
    done = client.execute(code, subshell_id=subshell).ok()
    assert sorted(map(int, done.text().split())) == list(range(100))


def test_timer(client: Client) -> None:
    code = "import threading; t = threading.Timer(0.01, print, ['timer']); t.start(); t.join()"
    assert client.execute(code).ok().text() == "timer\n"


def test_raw_thread(client: Client) -> None:
    """A thread that Python's threading module does not know: nothing raises, nothing is lost (L8)."""
    code = """
import _thread, sys
failures, lock = [], _thread.allocate_lock()
lock.acquire()
def work():
    try: print("raw"); display("shown")
    except BaseException as error: failures.append(error)
    finally: lock.release()
_thread.start_new_thread(work, ())
got = lock.acquire(timeout=10)
failures
"""
    done = client.execute(code).ok()
    assert done.result == "[]"
    assert done.text() == "raw\n"


def test_thread_that_fails(client: Client, subshell: str) -> None:
    code = "import threading; t = threading.Thread(target=lambda: 1/0); t.start(); t.join()"
    for options in ({}, {"subshell_id": subshell}):
        assert "ZeroDivisionError" in client.execute(code, **options).ok().text("stderr")


def test_to_thread(client: Client, subshell: str) -> None:
    code = "import asyncio; await asyncio.to_thread(print, 'elsewhere')"
    for options in ({}, {"subshell_id": subshell}):
        assert client.execute(code, **options).ok().text() == "elsewhere\n"


@pytest.mark.parametrize("where", ["main", "subshell"])
@pytest.mark.parametrize("is_async_cell", [False, True])
def test_task_runs_on_between_cells(client: Client, subshell: str, where: str, is_async_cell: bool) -> None:
    """S12: no further request is needed for the task to go on, and its text is its cell's."""
    options = {"subshell_id": subshell} if where == "subshell" else {}
    code = """
import asyncio
async def tick():
    for i in range(100): await asyncio.sleep(0.001)
    print("task ends")
task = asyncio.create_task(tick())
"""
    msg_id = client.start(code + ("await asyncio.sleep(0)" if is_async_cell else ""), **options)
    client.finish(msg_id).ok()
    client.wait_text(msg_id, "task ends\n")
    assert client.execute("task.done()", **options).result == "True"


def test_task_that_writes_during_a_later_cell(client: Client) -> None:
    first = client.start(
        """
import asyncio
event = asyncio.Event()
async def wait(): await event.wait(); print("of the first"); event.clear()
task = asyncio.create_task(wait())
"""
    )
    client.finish(first).ok()
    done = client.execute("print('own'); event.set(); await task; print('own')").ok()
    assert done.text() == "own\nown\n"
    client.wait_text(first, "of the first\n")


def test_callback_of_the_loop(client: Client) -> None:
    msg_id = client.start("import asyncio; h = asyncio.get_running_loop().call_later(0.01, print, 'called')")
    client.finish(msg_id).ok()
    client.wait_text(msg_id, "called\n")


# --- past Python's streams ---


@posix
@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("import os; status = os.system('echo text')", "stdout"),
        ("import os; status = os.system('echo text >&2')", "stderr"),
        ("import subprocess; done = subprocess.run(['echo', 'text'])", "stdout"),
        ("import subprocess, sys; done = subprocess.run(['echo', 'text'], stdout=sys.stdout)", "stdout"),
        (
            "import subprocess, sys; done = subprocess.run([sys.executable, '-c', 'print(\"text\")'])",
            "stdout",
        ),
        ("!echo text", "stdout"),
        ("%%sh\necho text", "stdout"),
        ("import os; n = os.write(1, b'text\\n')", "stdout"),
        ("import os; n = os.write(2, b'text\\n')", "stderr"),
        ("import ctypes; libc = ctypes.CDLL(None); n = libc.puts(b'text'), libc.fflush(None)", "stdout"),
        ("import sys; n = sys.__stderr__.write('text\\n'); sys.__stderr__.flush()", "stderr"),
    ],
)
def test_captured(client: Client, code: str, name: str) -> None:
    """It comes before the reply of its cell, and once."""
    done = client.execute(code).ok()
    assert done.text(name).replace("\r\n", "\n") == "text\n"


@posix
def test_much_from_a_child(client: Client) -> None:
    """W9: more than fits into a pipe, and all of it before the idle."""
    done = client.execute("import os; status = os.system('seq 1 200000')").ok()
    assert done.text() == "".join(f"{i}\n" for i in range(1, 200_001))


@posix
def test_both_pipes_of_a_child(client: Client) -> None:
    code = "import os; status = os.system('seq 1 100000 >&2 & seq 1 100000; wait')"
    done = client.execute(code).ok()
    expected = "".join(f"{i}\n" for i in range(1, 100_001))
    assert done.text() == expected
    assert done.text("stderr") == expected


@posix
def test_utf8_across_reads(client: Client) -> None:
    """A character that the pipe cuts in two is one character, and a wrong byte loses nothing else."""
    done = client.execute("import os\nn = [os.write(1, bytes([b])) for b in 'a€😀\\n'.encode()]").ok()
    assert done.text() == "a€😀\n"
    done = client.execute("n = os.write(1, b'<\\xff>\\n')").ok()
    assert done.text().startswith("<")
    assert done.text().endswith(">\n")


@posix
def test_child_shows_its_text_while_it_runs(client: Client, subshell: str) -> None:
    """The child goes on when told by a subshell, which happens only once its first text was seen."""
    script = "read line; echo first; read line; echo second $line"
    client.execute(
        f"import subprocess; child = subprocess.Popen(['sh', '-c', {script!r}], stdin=subprocess.PIPE)"
    ).ok()
    msg_id = client.start("child.stdin.write(b'go\\n'); child.stdin.flush(); status = child.wait()")
    client.wait_text(msg_id, "first\n")
    client.execute("child.stdin.write(b'line\\n'); child.stdin.flush()", subshell_id=subshell).ok()
    assert client.finish(msg_id).ok().text() == "first\nsecond line\n"


@posix
def test_c_code_of_a_subshell_is_seen(client: Client, subshell: str) -> None:
    """Whose it is cannot be told: it goes under the last cell of main."""
    msg_id = client.start("'of main'")
    client.finish(msg_id).ok()
    client.execute("import os; n = os.write(1, b'from C')", subshell_id=subshell).ok()
    client.wait_text(msg_id, "from C")


@has_fork
def test_forked_child(client: Client) -> None:
    code = """
import os
pid = os.fork()
if pid == 0:
    print("child")
    os._exit(0)
status = os.waitpid(pid, 0)[1]
print("parent", status)
"""
    done = client.execute(code).ok()
    assert sorted(done.text().splitlines()) == ["child", "parent 0"]
    assert client.execute("1+1").result == "2"


@has_fork
def test_forked_child_that_leaves_its_cell(client: Client) -> None:
    """It must not answer in its parent's place, nor go on as a second kernel."""
    code = """
import os, sys
pid = os.fork()
if pid:
    status = os.waitpid(pid, 0)[1]
    print("parent", status)
"""
    for ending in ("", "else:\n    sys.exit(0)\n", "else:\n    1 / 0\n"):
        done = client.execute(code + ending).ok()
        assert "parent" in done.text()
        assert done.error is None


@has_fork
def test_forked_process(client: Client) -> None:
    code = """
import multiprocessing
process = multiprocessing.get_context("fork").Process(target=print, args=["child"])
process.start(); process.join(); process.exitcode
"""
    done = client.execute(code).ok()
    assert (done.text(), done.result) == ("child\n", "0")


@has_fork
def test_pools_of_forked_processes(client: Client) -> None:
    """A pool ends its workers by SIGTERM, also one that was forked just now.

    The signal reached the worker while that still had the kernel's handler, and so ended the kernel.
    """
    code = """
import multiprocessing
for _ in range(40):
    with multiprocessing.get_context("fork").Pool(2) as pool: squares = pool.map(abs, range(-5, 0))
squares
"""
    assert client.execute(code, timeout_s=40).ok().result == "[5, 4, 3, 2, 1]"

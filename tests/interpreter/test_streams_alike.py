"""sys.stdout and sys.stderr as code written for ipykernel finds them, beside ipykernel itself."""

from __future__ import annotations

import sys
from datetime import datetime

import pytest

from both import Both
from client import Client

posix = pytest.mark.skipif(sys.platform == "win32", reason="file descriptors 1 and 2 are not captured there")

# --- the same in both kernels ---

ATTRIBUTES = [
    "sys.stdout.name, sys.stderr.name",
    "sys.stdout.encoding, sys.stderr.encoding, sys.stdout.newlines, sys.stdout.closed",
    "sys.stdout.isatty(), sys.stderr.isatty()",
    "sys.stdout.writable(), sys.stdout.readable(), sys.stdout.seekable()",
    "isinstance(sys.stdout, io.TextIOBase), isinstance(sys.stdout, io.TextIOWrapper)",
    "[hasattr(sys.stdout, name) for name in ('mode', 'reconfigure', 'line_buffering', 'write_through')]",
    "sys.stdout.echo, sys.stdout.topic, sys.stderr.topic",
    "sys.stdout is sys.__stdout__, sys.__stdout__.fileno(), sys.__stderr__.fileno(), sys.__stdout__.closed",
    "type(sys.stdout.fileno()).__name__, type(sys.stderr.fileno()).__name__",
    "sys.stdout._flush()",
    "sys.stdout.flush()",
    "type(sys.stdout).__name__",
    "sys.stdout.flush_interval <= 0.2",
    "{key: type(value).__name__ for key, value in sorted(sys.stdout.parent_header.items())}",
    "sys.stdout.parent_header['msg_type']",
    "sys.stdout.parent_header == sys.stderr.parent_header == get_ipython().display_pub.parent_header",
    "get_ipython().kernel.get_parent()['header']['msg_id'] == sys.stdout.parent_header['msg_id']",
    "get_ipython().display_pub.topic",
]

CALLS = [
    "sys.stdout.write('abc')",
    "sys.stdout.write('')",
    "sys.stdout.writelines(['a', 'b'])",
    "sys.stdout.writelines([1])",
    "sys.stdout.write(b'x')",
    "sys.stdout.write(None)",
    "sys.stdout.read()",
    "sys.stdout.readline()",
    "list(sys.stdout)",
    "sys.stdout.seek(0)",
    "sys.stdout.tell()",
    "sys.stdout.truncate()",
    "sys.stdout.detach()",
]

CELLS = [
    "print('a'); print('b', file=sys.stderr); print('c')",
    "print(1, flush=True); print('b', file=sys.stderr, flush=True); print('c', end='')",
    "print('out'); display('shown'); print('err', file=sys.stderr); display('again'); 'result'",
    r"for i in range(5): print(f'\r{i}/5', end='', flush=True)",
    r"print('\x1b[31mred\x1b[0m \x00 \u2028 é 😀')",
    "print('before'); 1 / 0",
    "help(len)",
    "import logging; logging.getLogger('x').warning('logged'); logging.error('more')",
    "import warnings; warnings.warn('warned')",
    "import contextlib\nwith contextlib.redirect_stdout(sys.stderr): print('redirected')",
    "import threading; t = threading.Thread(target=print, args=['thread']); t.start(); t.join()",
    "import asyncio; await asyncio.to_thread(print, 'to_thread')",
    "import concurrent.futures as f\nwith f.ThreadPoolExecutor() as p: p.submit(print, 'pool').result()",
    "import subprocess; print(subprocess.run(['echo', 'x'], capture_output=True, text=True).stdout)",
    "import traceback\ntry: 1 / 0\nexcept Exception: print(traceback.format_exc(limit=0), file=sys.stderr)",
    "import pprint; pprint.pprint({'a': [1] * 3})",
    "import io; old = sys.stdout; sys.stdout = io.StringIO(); print('kept'); sys.stdout = old; print('back')",
    "import codecs; codecs.getwriter('utf-8')",
    "input = 3; print(input); del input",
]


@pytest.mark.parametrize("code", ATTRIBUTES + CALLS + CELLS)
def test_cell(both: Both, code: str) -> None:
    both.setup("import sys, io")
    both.execute(code)


@posix
@pytest.mark.parametrize(
    "code",
    [
        "import ctypes; libc = ctypes.CDLL(None); n = libc.puts(b'out'), libc.fflush(None)",
        "import ctypes; c = ctypes.CDLL(None); c.write(2, b'err\\n', 4); n = c.write(1, b'out\\n', 4)",
        "import os; n = os.write(1, b'out\\n')",
        "import sys; print('out', file=sys.__stdout__, flush=True)",
        "import sys; print('err', file=sys.__stderr__, flush=True); print('out')",
        "import subprocess; n = subprocess.run('echo out; echo err >&2', shell=True)",
        "import os\npid = os.fork()\nif pid == 0:\n    print('out', flush=True)\n    os._exit(0)\n"
        "n = os.waitpid(pid, 0)",
        "import multiprocessing as m; p = m.get_context('fork').Process(target=print, args=['out'])\n"
        "p.start(); p.join()",
    ],
)
def test_past_the_streams(both: Both, code: str) -> None:
    """From C code and from children. When it comes, ipykernel does not promise: so the text alone."""
    expected = {"stdout": "out\n"} | ({"stderr": "err\n"} if "err" in code else {})
    texts = []
    for client in (both.ours, both.reference):
        cell = client.start(code)
        client.finish(cell).ok()
        for name, text in expected.items():
            client.wait_text(cell, text, name)
        texts.append({name: client.text(cell, name) for name in ("stdout", "stderr")})
    assert texts[0] == texts[1]


# --- who may choose the parent ---

PARENTS = """
import threading, sys
first = get_ipython().kernel.get_parent()
def write(): print("text"); display("shown")
"""
UNDER_FIRST = {
    "streams and publisher": """
def chosen():
    for one in (sys.stdout, get_ipython().display_pub): one.set_parent(first)
    write()
""",
    "a header": """
def chosen():
    sys.stdout.parent_header = first["header"]; get_ipython().display_pub.parent_header = first["header"]
    write()
""",
    "this thread": """
def chosen():
    for one in (sys.stdout, get_ipython().display_pub): one.set_thread_parent(first)
    write()
""",
}


@pytest.mark.parametrize("how", UNDER_FIRST)
def test_thread_that_chooses_its_parent(both: Both, how: str) -> None:
    """Libraries that serve many cells from one thread say for which one they write."""
    for client in (both.ours, both.reference):
        first = client.start(PARENTS)
        client.finish(first).ok()
        done = client.execute(
            UNDER_FIRST[how] + "t = threading.Thread(target=chosen); t.start(); t.join(); print('own')"
        ).ok()
        client.wait_text(first, "text\n")
        client.wait_iopub(first, "display_data")
        assert (done.text(), done.of("display_data")) == ("own\n", [])


def test_parent_that_is_taken_back(both: Both) -> None:
    for client in (both.ours, both.reference):
        first = client.start(PARENTS)
        client.finish(first).ok()
        done = client.execute(
            "token = sys.stdout.set_thread_parent(first); print('chosen')\n"
            "sys.stdout.reset_thread_parent(token); print('own')"
        ).ok()
        client.wait_text(first, "chosen\n")
        assert done.text() == "own\n"


def test_parent_is_chosen_for_one_cell(both: Both) -> None:
    """The next cell's output is its own again, though it runs on the same thread."""
    for client in (both.ours, both.reference):
        first = client.start(PARENTS)
        client.finish(first).ok()
        assert client.execute("sys.stdout.set_parent(first); print('chosen')").ok().text() == ""
        client.wait_text(first, "chosen\n")
        assert client.execute("print('own')").ok().text() == "own\n"


# --- where we do more ---


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (r"n = sys.stdout.buffer.write('é😀\n'.encode()); sys.stdout.buffer.flush()", "é😀\n"),
        (r"for b in 'é😀\n'.encode(): n = sys.stdout.buffer.write(bytes([b]))", "é😀\n"),
        (r"n = sys.stdout.buffer.write(b'<\xff>')", "<\ufffd>"),
        (r"n = sys.stdout.buffer.write(bytearray(b'x')), sys.stdout.buffer.write(memoryview(b'y'))", "xy"),
        ("print('a', end=''); n = sys.stdout.buffer.write(b'b'); print('c', end='')", "abc"),
        ("import io\nw = io.TextIOWrapper(sys.stdout.buffer, 'utf-8'); w.write('é'); del w", "é"),
        ("import shutil, io; shutil.copyfileobj(io.BytesIO(b'copied'), sys.stdout.buffer)", "copied"),
        ("import json, base64; base64.encode(io.BytesIO(b'abc'), sys.stdout.buffer)", "YWJj\n"),
    ],
)
def test_bytes(client: Client, code: str, text: str) -> None:
    """sys.stdout.buffer, which ipykernel has not: programs for a terminal write there."""
    client.execute("import sys, io").ok()
    assert client.execute(code).text() == text
    assert client.execute("print('goes on')").ok().text() == "goes on\n"


def test_bytes_takes_no_text(client: Client) -> None:
    assert client.execute("import sys; sys.stdout.buffer.write('x')").content["ename"] == "TypeError"


def test_bytes_are_of_the_thread_that_writes_them(client: Client) -> None:
    """Half a character of one thread is not joined with half of another's."""
    code = r"""
import sys, threading
half = "é".encode()
sys.stdout.buffer.write(half[:1])
t = threading.Thread(target=sys.stdout.buffer.write, args=[b"t"]); t.start(); t.join()
n = sys.stdout.buffer.write(half[1:])
"""
    assert client.execute(code).ok().text() == "té"


@posix
def test_stream_as_the_output_of_a_child(client: Client) -> None:
    """It has a descriptor that a child can write to."""
    code = "import subprocess, sys; n = subprocess.run('echo out; echo err >&2', shell=True, %s)"
    done = client.execute(code % "stdout=sys.stdout, stderr=sys.stderr").ok()
    assert (done.text(), done.text("stderr")) == ("out\n", "err\n")
    done = client.execute(code % "stdout=sys.stderr, stderr=sys.stdout").ok()
    assert (done.text(), done.text("stderr")) == ("err\n", "out\n")


@posix
def test_faulthandler(client: Client) -> None:
    """Its C code writes to the descriptor of sys.stderr."""
    done = client.execute("import faulthandler, sys; faulthandler.dump_traceback()").ok()
    assert "most recent call first" in done.text("stderr")
    code = "faulthandler.dump_traceback_later(0.01, exit=False); import time\ntime.sleep(0.2)"
    assert "Timeout" in client.execute(code).ok().text("stderr")
    client.execute("faulthandler.enable(); faulthandler.disable()").ok()


@pytest.mark.parametrize("write", ["print('x', end='')", "print('x')", "sys.stdout.buffer.write(b'x')"])
def test_text_is_visible_while_its_thread_blocks(client: Client, write: str) -> None:
    """Within 100 ms of being written, without a flush. The best of ten tries: the rest is the machine's."""
    client.execute("import sys, time, threading; seen = threading.Event()").ok()
    subshell = client.create_subshell()
    delays = []
    for _ in range(10):
        cell = client.start(f"seen.clear(); print(time.time(), end=' '); {write}; ok = seen.wait(20)")
        client.wait_text(cell, "x")
        client.execute("seen.set()", subshell_id=subshell).ok()
        client.finish(cell).ok()
        message = client.wait_iopub(cell, "stream")
        left = message.header["date"]
        assert isinstance(left, datetime)
        delays.append(left.timestamp() - float(message.content["text"].split()[0]))
    client.delete_subshell(subshell).ok()
    assert min(delays) < 0.1


def test_close_is_ignored(client: Client) -> None:
    """With ipykernel, `with sys.stdout:` is the end of all output."""
    client.execute(
        "import sys\nwith sys.stdout as f: pass\nsys.stderr.close(); sys.stdout.buffer.close()"
    ).ok()
    done = client.execute("print('on'); print('on', file=sys.stderr); sys.stdout.closed").ok()
    assert (done.text(), done.text("stderr"), done.result) == ("on\n", "on\n", "False")


@posix
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_workers(client: Client, method: str, tmp_path: object) -> None:
    """What the workers of a pool print comes under the cell that waits for them."""
    code = f"""
import multiprocessing, sys, pathlib
pathlib.Path({str(tmp_path)!r}, "worker_of_a_pool.py").write_text(
    "import sys\\ndef work(i): print(f' out{{i}} ', flush=True); print(f' err{{i}} ', file=sys.stderr)"
)
sys.path.insert(0, {str(tmp_path)!r})
import worker_of_a_pool
with multiprocessing.get_context({method!r}).Pool(2) as pool: pool.map(worker_of_a_pool.work, range(5))
sys.path.pop(0); del sys.modules["worker_of_a_pool"]
"""
    done = client.execute(code, timeout_s=40).ok()
    assert sorted(done.text().split()) == [f"out{i}" for i in range(5)]
    assert sorted(done.text("stderr").split()) == [f"err{i}" for i in range(5)]

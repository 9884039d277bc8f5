"""Children of a kernel: forked, spawned, pooled, run by a shell; what they print, and what they leave."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from both import Both
from client import Client

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no fork there")

#: Cells whose result, and all that is printed before it, is ipykernel's.
ALIKE = [
    "with multiprocessing.get_context('fork').Pool(2) as pool: squares = pool.map(abs, [-1, -2])\nsquares",
    "with multiprocessing.get_context('spawn').Pool(1) as pool: squares = pool.map(abs, [-1, -2])\nsquares",
    "with multiprocessing.get_context('forkserver').Pool(1) as p: squares = p.map(abs, [-1])\nsquares",
    "with futures.ProcessPoolExecutor(2) as pool: done = list(pool.map(abs, [-1, -2]))\ndone",
    "with futures.ThreadPoolExecutor(2) as pool: done = list(pool.map(abs, [-1, -2]))\ndone",
    "with futures.ProcessPoolExecutor(1) as pool: pool.submit(divmod, 1, 0).result()",
    "q = fork.Queue(); p = fork.Process(target=q.put, args=['sent']); p.start()\nq.get(), p.join()",
    "a, b = fork.Pipe(); p = fork.Process(target=b.send, args=['sent']); p.start()\na.recv(), p.join()",
    "subprocess.run(['sh', '-c', 'exit 3']).returncode",
    "subprocess.check_output(['echo', 'text'])",
    "subprocess.run(['sh', '-c', 'exit 3'], check=True)",
    "subprocess.run([sys.executable, '-c', 'import sys; sys.exit(4)']).returncode",
    "os.system('exit 3') >> 8",
    "files = !echo one; echo two\nfiles",
    "!exit 5\n_exit_code",
    "pid = os.fork()\nif pid == 0: os._exit(9)\nos.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])",
]


@pytest.fixture
def cells(both: Both) -> Both:
    both.setup(
        "import concurrent.futures as futures, multiprocessing, os, subprocess, sys, warnings\n"
        "warnings.filterwarnings('ignore', 'This process')  # is multi-threaded, says 3.12\n"
        "fork = multiprocessing.get_context('fork')"
    )
    return both


@pytest.mark.parametrize("code", ALIKE)
def test_cell(cells: Both, code: str) -> None:
    cells.execute(code)


@pytest.mark.parametrize(
    "code",
    [
        "subprocess.run(['echo', 'text'])",
        "os.system('echo text')",
        "fork.Process(target=os.system, args=['echo text']).run()",
        "p = fork.Process(target=print, args=['text']); p.start(); p.join()",
    ],
)
def test_inherited_output(cells: Both, code: str) -> None:
    """It is shown; ipykernel does not keep its order, so only the text is compared."""
    for client in (cells.ours, cells.reference):
        msg_id = client.start(code)
        client.wait_text(msg_id, "text\n")
        client.finish(msg_id).ok()


def test_pip(client: Client) -> None:
    """It is the pip of the kernel's own environment."""
    text = client.execute("%pip --version", timeout_s=40).ok().text()
    assert text.startswith("pip ")
    assert sys.prefix in text


def test_child_that_outlives_its_cell(client: Client) -> None:
    """Its text goes on under that cell until another one runs."""
    code = "import subprocess\nchild = subprocess.Popen(['sh', '-c', 'read line; echo $line'], stdin=-1)"
    client.execute(code).ok()
    msg_id = client.start("child.stdin.write(b'late\\n'); child.stdin.close()")
    client.finish(msg_id).ok()
    client.wait_text(msg_id, "late\n")
    assert client.execute("child.wait()").ok().result == "0"


def test_fifty_children_that_print(client: Client) -> None:
    code = """
import os
pids = []
for number in range(50):
    pid = os.fork()
    if pid == 0:
        print(f'child {number}')
        os._exit(0)
    pids.append(pid)
[os.waitpid(pid, 0)[1] for pid in pids] == [0] * 50
"""
    done = client.execute(code).ok()
    assert done.result == "True"
    # A line and its end are two writes: those of two children may mix.
    assert sorted(re.findall(r"child \d+", done.text())) == sorted(f"child {number}" for number in range(50))


def test_nothing_is_left(kernel: Callable[..., Any]) -> None:
    """No zombie after all that, and no child that answers in the kernel's place."""
    running = kernel()
    client = running.client
    client.execute("import multiprocessing, os, subprocess; fork = multiprocessing.get_context('fork')").ok()
    client.execute("with fork.Pool(3) as pool: pool.map(abs, range(10))\npool.join()").ok()
    client.execute("p = fork.Process(target=os._exit, args=[3]); p.start(); p.join()").ok()
    client.execute("subprocess.run(['true']); os.system('true')").ok()
    client.execute("!true").ok()
    client.execute("import asyncio; p = await asyncio.create_subprocess_exec('true'); await p.wait()").ok()
    assert psutil.Process(running.pid).children() == []
    assert client.execute("6*7").ok().result == "42"
    client.check()


def test_names_of_the_notebook_in_a_forked_worker(cells: Both) -> None:
    """A function of a cell works in forked workers."""
    cells.setup("def double(x): return 2 * x")
    cells.execute("with fork.Pool(2) as pool: doubled = pool.map(double, [1, 2])\ndoubled")

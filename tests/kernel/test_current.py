"""kernel/current.py: whose code runs here."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import threading, asyncio, concurrent.futures
from types import SimpleNamespace
from fastshell.kernel import current

main = SimpleNamespace(is_main=True, last_execute=None)
current.enter_shell(main)
current.note_threads(); current.note_threads()
first = SimpleNamespace(shell=main, header=b"1"); second = SimpleNamespace(shell=main, header=b"2")

def in_thread(work):
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start(); thread.join()
    return found[0]

assert current.current_request() is None and current.parent_header() == b"{}"
main.last_execute = first
started = threading.Event(); moved = threading.Event(); seen = []
def worker():
    started.set(); moved.wait(); seen.append(current.current_request())
    seen.append(in_thread(current.current_request))  # a thread's thread
thread = threading.Thread(target=worker)

import contextvars
cell = contextvars.copy_context()
cell.run(current.enter_request, first)
cell.run(thread.start)
main.last_execute = second      # the next cell
moved.set(); thread.join()
assert seen == [first, first], seen
assert current.current_request() is second           # outside of any cell
assert in_thread(current.current_request) is second
assert in_thread(current.current_shell) is main

async def task():
    return current.current_request(), await asyncio.to_thread(current.current_request)
assert cell.run(asyncio.run, task()) == (first, first)

before = len(threading.enumerate())
for _ in range(2000):
    in_thread(current.current_request)
assert len(threading.enumerate()) == before
assert threading.Thread.start.__module__ == "threading"
print("fine")
"""


def test_requests_of_threads_and_tasks() -> None:
    """In a process of its own: the hook on starting threads stays for a process's life."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "fine", done.stderr

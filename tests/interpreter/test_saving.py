"""History is saved behind the cells' backs, and by nobody when there is nothing to save."""

from __future__ import annotations

import sqlite3
import textwrap

# Wait in the kernel, by its own means: until no thread saves any more.
UNTIL_SAVED = textwrap.dedent("""
    import psutil, threading, time
    def savers():
        named = sum("History" in thread.name for thread in threading.enumerate())
        return named or max(0, psutil.Process().num_threads() - threads)
    def until_saved():
        deadline = time.monotonic() + 15
        while savers() and time.monotonic() < deadline:
            time.sleep(0.01)
        return savers()
    threads = psutil.Process().num_threads()
""")


def saved(kernel):
    """The cells of the database in the order of their numbers, read by a stranger."""
    (path,) = (kernel.folder / "ipython").glob("profile_default/history.sqlite")
    with sqlite3.connect(path) as db:
        return [source for (source,) in db.execute("SELECT source FROM history ORDER BY session, line")]


def test_cells_are_saved_and_the_thread_ends(kernel):
    running = kernel()
    client = running.client
    client.execute(UNTIL_SAVED, store_history=False).ok()
    assert client.execute("savers()", store_history=False).result == "0"
    client.execute("first = 1").ok()
    client.execute("second = 2").ok()
    assert client.execute("until_saved()", store_history=False).result == "0"
    assert saved(running) == ["first = 1", "second = 2"]
    client.execute("third = 3").ok()  # with a new thread
    assert client.execute("until_saved()", store_history=False).result == "0"
    assert saved(running) == ["first = 1", "second = 2", "third = 3"]


def test_what_was_stored_last_is_saved_at_the_end(kernel):
    running = kernel()
    running.client.execute("last = 1").ok()
    running.shutdown()
    assert saved(running) == ["last = 1"]


def test_outputs_are_saved_if_asked_for(kernel):
    running = kernel("--HistoryManager.db_log_output=True")
    running.client.execute("6 * 7").ok()
    running.shutdown()
    (path,) = (running.folder / "ipython").glob("profile_default/history.sqlite")
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT output FROM output_history").fetchall() == [("42",)]


def test_history_is_kept_while_the_database_is_locked(kernel):
    options = {"timeout": 0.05, "check_same_thread": False}
    running = kernel(f"--HistoryManager.connection_options={options}")
    client = running.client
    client.execute(UNTIL_SAVED, store_history=False).ok()
    (path,) = (running.folder / "ipython").glob("profile_default/history.sqlite")
    locker = sqlite3.connect(path, isolation_level=None)
    locker.execute("BEGIN EXCLUSIVE")
    try:
        for number in range(3):
            client.execute(f"cell = {number}").ok()
            assert client.execute("until_saved()", store_history=False).result == "0"
    finally:
        locker.execute("ROLLBACK")
        locker.close()
    assert running.stderr().count("history is not saved") == 1
    client.execute("after = 1").ok()
    assert client.execute("until_saved()", store_history=False).result == "0"
    assert saved(running) == ["cell = 0", "cell = 1", "cell = 2", "after = 1"]


def test_a_fork_does_not_end_the_saving(kernel):
    running = kernel()
    client = running.client
    client.execute(UNTIL_SAVED, store_history=False).ok()
    client.execute("before = 1").ok()
    client.execute("import os\npid = os.fork()\nif pid == 0: os._exit(0)\nos.waitpid(pid, 0)[1]").ok()
    client.execute("after = 1").ok()
    assert client.execute("until_saved()", store_history=False).result == "0"
    assert [line.split("\n")[0] for line in saved(running)] == ["before = 1", "import os", "after = 1"]


def test_a_count_that_was_set_back_begins_a_new_session(kernel):
    running = kernel()
    client = running.client
    client.execute(UNTIL_SAVED, store_history=False).ok()
    client.execute("one = 1").ok()
    client.execute("get_ipython().execution_count = 1", store_history=False).ok()
    client.execute("again = 1").ok()
    assert client.execute("until_saved()", store_history=False).result == "0"
    assert saved(running) == ["one = 1", "again = 1"]

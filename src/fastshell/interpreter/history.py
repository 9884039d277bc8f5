"""History that is saved behind the cells' backs, by a thread that is there only while it is needed.

IPython's manager keeps a thread for the kernel's life, and holds the lock of its cache while SQLite
commits: the next cell waits for the disk, 1 to 3 ms. Here the cache is taken out under the lock and
written after it, and the thread ends once nothing was stored for a while.

Thread: main stores; the saving thread writes, and so does whoever reads what is in the database.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
from typing import Any

from IPython.core.history import HistoryManager, HistorySavingThread, only_when_enabled

LINGER_S = 1.0  # the saving thread ends after so long without a cell

_INSERT_INPUT = "INSERT INTO history VALUES (?, ?, ?, ?)"
_INSERT_OUTPUT = "INSERT INTO output_history VALUES (?, ?, ?)"

log = logging.getLogger("fastshell")


class MainHistory(HistoryManager):
    """The main shell's history: a session in the database of IPython's profile."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._has_failed = False
        self.make_locks()
        if self.save_thread is not None:  # IPython's own, just started
            self.save_thread.stop()
            self.save_thread = None

    def make_locks(self) -> None:
        """Anew in a forked child: the thread that held one is not there."""
        self._write_lock = threading.Lock()  # one writer at a time
        self._thread_lock = threading.Lock()  # of the decision that a thread is or is not needed
        self.db_input_cache_lock = threading.Lock()
        self.db_output_cache_lock = threading.Lock()

    def _stop_save_thread(self) -> None:
        """IPython calls this before a fork. The thread ends by itself: to wait for it is to wait for the
        disk, and an interrupt that comes meanwhile would be lost: nothing is raised out of a fork's hooks.
        """
        saver, self.save_thread = self.save_thread, None
        if saver is not None:
            saver._stop_now = True
            saver.save_flag.set()

    def _restart_thread_if_stopped(self) -> None:
        """Something was stored. IPython calls this to be sure of its thread; a fork stops that as well."""
        with self._thread_lock:
            if self.save_thread is None:
                self.save_thread = _Saver(self)
                self.save_thread.save_flag.set()
                self.save_thread.start()
            else:
                self.save_thread.save_flag.set()

    def release(self, saver: _Saver) -> bool:
        """Whether `saver` may end: nothing was stored since it last looked."""
        with self._thread_lock:
            if saver.save_flag.is_set():
                return False
            self._forget(saver)
            return True

    def failed(self, saver: _Saver, error: sqlite3.Error) -> None:
        """Say so once; what could not be written is kept, and the next cell tries again."""
        if not self._has_failed:
            log.error("history is not saved: %s: %s", self.hist_file, error)
        with self._thread_lock:
            self._has_failed = True
            self._forget(saver)

    def _forget(self, saver: _Saver) -> None:
        if self.save_thread is saver:
            self.save_thread = None

    @only_when_enabled
    def writeout_cache(self, conn: sqlite3.Connection | None = None) -> None:
        """Write to the database what is not there yet. conn: the calling thread's own, default main's."""
        conn = self.db if conn is None else conn
        with self._write_lock:
            with self.db_input_cache_lock:
                inputs, self.db_input_cache = self.db_input_cache, []
            with self.db_output_cache_lock:
                outputs, self.db_output_cache = self.db_output_cache, []
            try:
                self._write(conn, inputs, outputs)
            except sqlite3.Error:
                with self.db_input_cache_lock:
                    self.db_input_cache = inputs + self.db_input_cache
                with self.db_output_cache_lock:
                    self.db_output_cache = outputs + self.db_output_cache
                raise

    def _write(
        self, conn: sqlite3.Connection, inputs: list[tuple[int, str, str]], outputs: list[tuple[int, str]]
    ) -> None:
        with conn:
            for line in inputs:
                try:
                    conn.execute(_INSERT_INPUT, (self.session_number, *line))
                except sqlite3.IntegrityError:  # such a line is there: execution_count was set back
                    self.new_session(conn)
                    conn.execute(_INSERT_INPUT, (self.session_number, *line))
            for output in outputs:
                with contextlib.suppress(sqlite3.IntegrityError):
                    conn.execute(_INSERT_OUTPUT, (self.session_number, *output))


MainHistory.__name__ = "HistoryManager"  # by which %config and configuration files know it


class _Saver(HistorySavingThread):
    """Writes whenever something was stored, and ends after LINGER_S without."""

    def run(self) -> None:
        manager = self.history_manager()
        if not isinstance(manager, MainHistory):
            return
        try:
            with contextlib.closing(
                sqlite3.connect(str(manager.hist_file), **manager.connection_options)
            ) as db:
                while not self._stop_now:
                    if self.save_flag.wait(LINGER_S):
                        self.save_flag.clear()
                        manager.writeout_cache(db)
                    elif manager.release(self):
                        return
        except sqlite3.Error as error:
            manager.failed(self, error)
        finally:
            self._stopped = True  # or __del__, which this thread may be the one to call, would join it


def _renew_locks() -> None:
    for manager in list(HistoryManager._instances):
        if isinstance(manager, MainHistory):
            manager.make_locks()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)

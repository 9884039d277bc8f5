"""`kernel.io_loop`: the main shell's asyncio loop with the methods of tornado's IOLoop.

tornado is no dependency; where a notebook has imported it, and asks on main, it gets tornado's own
IOLoop, which wraps the same loop. Thread: any, but where a method says otherwise.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import sys
import time
from collections.abc import Callable
from concurrent import futures
from datetime import timedelta
from typing import Any

log = logging.getLogger("fastshell")


class IOLoop:
    """Callbacks on an asyncio loop. A callback that is a coroutine function is run as a task."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.asyncio_loop = loop

    def add_callback(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Call it on the loop's thread, soon."""
        context = contextvars.copy_context()
        self.asyncio_loop.call_soon_threadsafe(self._run, callback, args, kwargs, context=context)

    add_callback_from_signal = add_callback
    spawn_callback = add_callback

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Timeout:
        """Call it after `delay` seconds. Returns what remove_timeout takes."""
        timeout = Timeout()
        self.add_callback(self._set, timeout, delay, callback, args, kwargs)
        return timeout

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Timeout:
        """The same at a time of `time()`."""
        return self.call_later(when - self.time(), callback, *args, **kwargs)

    def add_timeout(
        self, deadline: float | timedelta, callback: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Timeout:
        """deadline: a time of `time()`, or from now."""
        if isinstance(deadline, timedelta):
            return self.call_later(deadline.total_seconds(), callback, *args, **kwargs)
        return self.call_at(deadline, callback, *args, **kwargs)

    def remove_timeout(self, timeout: Timeout) -> None:
        """Do not call it any more."""
        timeout.is_removed = True
        if timeout.handle is not None:
            self.asyncio_loop.call_soon_threadsafe(timeout.handle.cancel)

    def add_future(
        self, future: asyncio.Future[Any] | futures.Future[Any], callback: Callable[[Any], Any]
    ) -> None:
        """Call it with the future once that is done."""
        future.add_done_callback(lambda done: self.add_callback(callback, done))

    def run_in_executor(
        self, executor: futures.Executor | None, function: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Thread: the loop's."""
        return self.asyncio_loop.run_in_executor(executor, function, *args)

    def add_handler(self, fd: Any, handler: Callable[[Any, int], Any], events: int) -> None:
        """Call handler(fd, event) when it can be read (1) or written (4). Thread: the loop's."""
        if events & 1:
            self.asyncio_loop.add_reader(fd, handler, fd, 1)
        if events & 4:
            self.asyncio_loop.add_writer(fd, handler, fd, 4)

    def remove_handler(self, fd: Any) -> None:
        """Thread: the loop's."""
        self.asyncio_loop.remove_reader(fd)
        self.asyncio_loop.remove_writer(fd)

    def time(self) -> float:
        return time.time()

    def _set(
        self,
        timeout: Timeout,
        delay: float,
        callback: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        if not timeout.is_removed:
            timeout.handle = self.asyncio_loop.call_later(max(0.0, delay), self._run, callback, args, kwargs)

    def _run(self, callback: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            outcome = callback(*args, **kwargs)
        except Exception:
            log.exception("callback %r on io_loop failed", callback)
            return
        if inspect.isawaitable(outcome):
            asyncio.ensure_future(outcome, loop=self.asyncio_loop).add_done_callback(_report)


class Timeout:
    """A call that is due later."""

    handle: asyncio.TimerHandle | None = None
    is_removed = False


def _report(task: asyncio.Future[Any]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("a coroutine on io_loop failed", exc_info=task.exception())


def io_loop(loop: asyncio.AbstractEventLoop, ours: IOLoop) -> Any:
    """tornado's IOLoop of `loop` where tornado was imported and runs here, else ours."""
    tornado = sys.modules.get("tornado.ioloop")
    if tornado is None or asyncio._get_running_loop() is not loop:
        return ours
    return tornado.IOLoop.current()

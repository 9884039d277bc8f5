"""The control channel: interrupt, shutdown, connect.

Thread: control, one request at a time; it runs no user code.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the C half of signal has no stub
import asyncio
import inspect
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Mapping
from types import FrameType
from typing import Any

from fastshell.kernel import dispatch
from fastshell.kernel.base import Kernel, Reply
from fastshell.kernel.dispatch import Shell
from fastshell.kernel.request import Request, error_content
from fastshell.protocol.content import ShutdownRequest

log = logging.getLogger("fastshell")

_SIGINT = int(signal.SIGINT)  # for _signal: its signal() is a third of the time of signal's

#: Functions of the dispatch whose callees are a handler, and so the user's code.
_CALLS_USER_CODE = frozenset({dispatch._begin.__code__, dispatch._Interruptible.__await__.__code__})
_CALLBACK = asyncio.Handle._run.__code__

#: When the main thread is nudged after an interrupt, in seconds; each time costs one system call of its.
NUDGES_S = (0.002, 0.02, 0.2)


class Interrupts:
    """SIGINT reaches what runs on the main thread, and nothing else.

    While a handler runs, Python's own SIGINT handler is in place, as libraries expect it: trio and pdb
    look for it, and replace it. At all other times ours is: what awaits is woken, a callback of the
    user's is stopped, our own code is not.
    """

    def __init__(self, main: Shell) -> None:
        self._main = main
        main.interrupts = self

    def install(self) -> None:
        """Thread: main."""
        self.hold()
        if sys.platform != "win32":
            signal.signal(signal.SIGURG, _nothing)

    def deliver(self) -> None:
        """User code runs from now on. Thread: main."""
        _signal.signal(_SIGINT, signal.default_int_handler)

    def hold(self) -> None:
        """Our own code runs from now on. Thread: main."""
        _signal.signal(_SIGINT, self._on_sigint)

    def _on_sigint(self, number: int, frame: FrameType | None) -> None:
        """Raise in user code; wake a cell that awaits; do nothing between requests."""
        is_users = False
        while frame is not None:
            if is_users and (frame.f_code in _CALLS_USER_CODE or frame.f_code is _CALLBACK):
                raise KeyboardInterrupt
            if frame.f_globals is dispatch.__dict__:
                break
            if not str(frame.f_globals.get("__name__")).startswith("asyncio."):
                is_users = True  # a task that is interrupted in asyncio's own code would never go on
            frame = frame.f_back
        self._main.interrupt()


#: Code of the frame in which KeyboardInterrupt is raised: no part of the user's traceback.
SIGINT_CODE = Interrupts._on_sigint.__code__


def _nothing(number: int, frame: FrameType | None) -> None:
    """Handler of a signal that only ends a system call."""


def _position_of_main() -> tuple[FrameType | None, int]:
    """Where the main thread is: the same again if it has not run since."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    return frame, -1 if frame is None else frame.f_lasti


def nudge_main(position: tuple[FrameType | None, int]) -> None:
    """End the system call that the main thread still sleeps in, so that it sees a signal that came before.

    It hands the GIL to the thread that sends SIGINT just before it goes to sleep; the signal then comes in
    between, and nothing tells the sleeper of it: seen in some of ten interrupts of an idle loop.
    """
    ident = threading.main_thread().ident
    if sys.platform != "win32" and ident is not None and _position_of_main() == position:
        signal.pthread_kill(ident, signal.SIGURG)


def interrupt_main() -> None:
    """Send SIGINT to the main thread, and to its children where the kernel leads a process group."""
    if sys.platform == "win32":
        signal.raise_signal(signal.SIGINT)
        return
    if os.getpgid(0) == os.getpid():
        os.killpg(os.getpid(), signal.SIGINT)
    else:
        ident = threading.main_thread().ident
        if ident is not None:
            signal.pthread_kill(ident, signal.SIGINT)


class Control:
    """Requests that concern the kernel as a whole."""

    def __init__(
        self,
        kernel: Kernel,
        *,
        interrupt: Callable[[], None],
        shutdown: Callable[[], None],
        connection: Mapping[str, Any],
    ) -> None:
        """shutdown is called on the control thread after the reply has been sent."""
        self._kernel = kernel
        self._interrupt = interrupt
        self._shutdown = shutdown
        self._connection = connection

    def interrupt_request(self, request: Request) -> Reply:
        self._interrupt()
        position = _position_of_main()
        for delay in NUDGES_S:
            request.shell.loop.call_later(delay, nudge_main, position)
        return {"status": "ok"}

    def shutdown_request(self, request: Request) -> Reply | Awaitable[Reply]:
        """The kernel ends also if do_shutdown fails, or returns nothing."""
        restart = request.content(ShutdownRequest).restart
        try:
            outcome = self._kernel.do_shutdown(restart)
        except Exception as error:
            return self._leave(request, _failed(error))
        if inspect.isawaitable(outcome):
            return self._leave_later(request, outcome)
        return self._leave(request, outcome or {"status": "ok", "restart": restart})

    def connect_request(self, request: Request) -> Reply:
        return {"status": "ok", **self._connection}

    async def _leave_later(self, request: Request, outcome: Awaitable[Reply]) -> Reply:
        try:
            reply = await outcome or {"status": "ok", "restart": request.content(ShutdownRequest).restart}
        except Exception as error:
            reply = _failed(error)
        return self._leave(request, reply)

    def _leave(self, request: Request, reply: Reply) -> Reply:
        request.publish("shutdown_reply", reply)
        request.shell.loop.call_soon(self._shutdown)
        return reply


def _failed(error: Exception) -> Reply:
    log.error("do_shutdown failed", exc_info=error)
    return error_content(type(error).__name__, str(error), traceback.format_exception(error))

"""Whose code runs here: the request and the shell that the calling thread works for.

Thread: any. User code writes to stdout, displays and sends comm messages from wherever it is, so
these are looked up; everything of ours is given its request.

The request of a thread is, in this order:
1. of the running task or cell: a context variable, which tasks and asyncio.to_thread inherit;
2. of the thread that started this one: it is noted on the new Thread object as that is started (Thread
   is not patched, and nothing is keyed by an ident, which the system uses again);
3. the last execute request of the thread's shell, and for strangers that of the main shell.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastshell.kernel.dispatch import Shell
    from fastshell.kernel.request import Request

_request: ContextVar[Request] = ContextVar("fastshell_request")
_NOTE = "_fastshell_request"  # attribute of a Thread that user code started


class _Here(threading.local):
    shell: Shell | None = None
    request: Request | None = None  # of a thread that user code started


_here = _Here()
_main: list[Shell] = []
_hooked: list[bool] = []


def enter_shell(shell: Shell) -> None:
    """The calling thread is this shell's from now on."""
    _here.shell = shell
    if shell.is_main:
        _main[:] = [shell]


def enter_request(request: Request) -> None:
    """The calling context works for this request from now on."""
    _request.set(request)


def current_request() -> Request | None:
    """The request that the calling code belongs to, or None before the first one."""
    request = _request.get(None)
    if request is not None:
        return request
    if _here.shell is not None:
        return _here.shell.last_execute
    request = _here.request
    if request is None:
        request = getattr(threading.current_thread(), _NOTE, None)
        _here.request = request
    if request is None and _main:
        request = _main[0].last_execute
    return request


def current_shell() -> Shell | None:
    """The shell that the calling code belongs to; the main shell for strangers."""
    if _here.shell is not None:
        return _here.shell
    request = current_request()
    if request is not None:
        return request.shell
    return _main[0] if _main else None


def is_shell_thread(shell: Shell) -> bool:
    """Whether the calling thread is the one that answers for `shell`."""
    return _here.shell is shell


def parent_header() -> bytes:
    """Header bytes of the current request, for what is published on its behalf."""
    request = current_request()
    return b"{}" if request is None else request.header


def note_threads() -> None:
    """From now on, remember for each new Thread the request of the code that started it.

    By an audit hook, which cannot be taken back; installed once for the process. Python 3.11 does not
    raise that event: there the function by which Thread.start makes a thread is wrapped.
    """
    if _hooked:
        return
    _hooked.append(True)
    if sys.version_info >= (3, 12):
        sys.addaudithook(_note_event)
        return
    module: Any = threading
    original = module._start_new_thread

    def start_new_thread(function: Callable[..., object], *arguments: Any, **options: Any) -> Any:
        _note_thread(function)
        return original(function, *arguments, **options)

    module._start_new_thread = start_new_thread


def _note_event(event: str, arguments: tuple[object, ...]) -> None:
    if event == "_thread.start_new_thread" or event == "_thread.start_joinable_thread":
        _note_thread(arguments[0])


def _note_thread(function: object) -> None:
    """Note the current request on the Thread whose bootstrap method is about to be started."""
    thread = getattr(function, "__self__", None)
    if isinstance(thread, threading.Thread) and _main:
        request = current_request()
        if request is not None:
            setattr(thread, _NOTE, request)

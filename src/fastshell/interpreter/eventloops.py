"""`%gui`: a toolkit's loop runs on main where the main shell's asyncio loop would wait.

While an integration is on, it stands in for `select` of the main loop's selector: asyncio says how long it
has nothing to do, the toolkit runs for that long, and ends its turn as soon as a descriptor of the selector
is readable, be it the channel's or the one by which other threads wake the loop. So requests, tasks and
timers go on as without a window, and while no integration is on nothing of this is there. The alternative,
a callback that runs the toolkit for some milliseconds and schedules itself again, either delays each
message by that or spins.

The wait itself is done by IPython's input hooks, which its terminal uses for the same purpose; a turn is
the context that they ask. Tk's has a loop of its own here: IPython's needs a root window.

Thread: main. `Turns.use` may be called by any.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import importlib
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastshell.kernel.dispatch import Shell

#: The longest turn, in seconds. What a window's callback gives to asyncio (a task, a timer) and a signal
#: wait at most this long for the loop, which the toolkit does not wake for them.
LONGEST_TURN_S = 0.02
#: While messages keep coming, the toolkit gets one round this often, in seconds.
ROUND_EVERY_S = 0.01
#: How long an integration that did not wait by itself (there is no window yet) is left alone, in seconds.
REST_S = 0.005
#: A callback that has run longer than its turn by so much is taken to hang, in seconds.
HANGS_S = 0.1
#: Events that Tk handles at the start of its turn, without looking at messages.
TK_BURST = 32

HOOKS = "IPython.terminal.pt_inputhooks"

Integration = Callable[[Any], object]  # called with the kernel; runs the toolkit until there is a message

#: Integrations by the names that `%gui` takes; None for those which need none.
loop_map: dict[str | None, Any] = {
    "inline": None,
    "nbagg": None,
    "webagg": None,
    "notebook": None,
    "ipympl": None,
    "widget": None,
    None: None,
}


def register_integration(*toolkitnames: str) -> Callable[[Any], Any]:
    """Decorate a function of the kernel, to make it the integration of these names of `%gui`.

    It runs the toolkit's loop, and returns when the main shell has a message, or after
    `kernel._poll_interval` seconds: it is called again. `@function.exit` decorates what is called with the
    kernel at the end of its life.
    """

    def decorator(function: Any) -> Any:
        for name in toolkitnames:
            loop_map[name] = function

        def exit_decorator(exit_function: Any) -> Any:
            function.exit_hook = exit_function
            return exit_function

        function.exit_hook = lambda kernel: None
        function.exit = exit_decorator
        return function

    return decorator


def enable_gui(gui: str | None, kernel: Any = None) -> None:
    """Let the toolkit of that name run while no cell does; None ends that.

    Raises ValueError for a name that is not known, ImportError if the toolkit is not installed, RuntimeError
    if another one runs, or if the caller is not on the main thread.
    """
    if gui not in loop_map:
        raise ValueError(f"Invalid GUI request {gui!r}, valid ones are:{loop_map.keys()}")
    if kernel is None:
        kernel = _kernel_of_this_process()
    integration = loop_map[gui]
    if gui is None:
        vars(kernel).pop("app", None)
    if integration is not None:
        _check_thread(gui)
        if kernel.eventloop is not None and kernel.eventloop is not integration:
            raise RuntimeError("Cannot activate multiple GUI eventloops")
        getattr(integration, "prepare", _prepare_nothing)(gui, kernel)
    kernel.eventloop = integration


def _kernel_of_this_process() -> Any:
    from IPython.core.getipython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None:
        raise RuntimeError(
            "You didn't specify a kernel, and no IPython Application with a kernel appears to be running."
        )
    return kernel


def _check_thread(gui: str | None) -> None:
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(f"the event loop of {gui!r} runs on the main thread: ask for it in the main shell")


def _prepare_nothing(gui: str | None, kernel: Any) -> None:
    """What an integration of somebody else's needs, it makes itself."""


# --- turns ---


class Turns:
    """The turns of one kernel's toolkit; each is the `context` of IPython's input hooks."""

    def __init__(self, kernel: Any, main: Shell) -> None:
        self._kernel = kernel
        self._main = main
        self._selector = main.selector
        self._wait = main.selector.select  # the selector's own, which `select` covers
        self._alarm = _Alarm()
        self.integration: Integration | None = None
        self._deadline = 0.0  # of this turn, by time.monotonic
        self._next_round = 0.0  # before that, messages that wait come first
        self._is_first_question = True
        self._is_running = False
        self._count = 0  # of turns
        atexit.register(self._end)  # before IPython's own, which clears the user's names

    def _end(self) -> None:
        """Call what the integration has registered with `exit`."""
        exit_hook = getattr(self.integration, "exit_hook", None)
        if exit_hook is not None:
            with contextlib.suppress(Exception):  # a toolkit that cannot end does not keep the kernel
                exit_hook(self._kernel)

    def use(self, integration: Integration | None) -> None:
        """From now on, take turns with this one; None for none. Thread: any."""
        self.integration = None if integration is loop_asyncio else integration
        if threading.current_thread() is threading.main_thread():
            self._install()
        else:
            self._main.loop.call_soon_threadsafe(self._install)

    def _install(self) -> None:
        """An attribute of the selector covers its method: without one, waiting costs what it always does."""
        if self.integration is None:
            vars(self._selector).pop("select", None)
            self._alarm.leave(self._main.loop)
        else:
            vars(self._selector)["select"] = self.select
            self._alarm.join(self._main.loop)

    def select(self, timeout: float | None = None) -> Any:
        """As the selector's own; the toolkit runs meanwhile."""
        events = self._wait(0)
        is_busy = bool(events) or (timeout is not None and timeout <= 0)
        now = time.monotonic()
        if is_busy and now < self._next_round:
            return events
        if self._is_running:  # a callback of a window runs the loop itself, as nest_asyncio lets it
            return events or self._wait(timeout)
        length_s = 0.0 if is_busy else min(LONGEST_TURN_S, LONGEST_TURN_S if timeout is None else timeout)
        self._deadline = now + length_s
        self._alarm.set(length_s)
        self._take_turn()
        now = time.monotonic()
        self._next_round = now + ROUND_EVERY_S
        return self._wait(0 if is_busy else max(0.0, min(REST_S, self._deadline - now)))

    def _take_turn(self) -> None:
        self._is_first_question = self._is_running = True
        self._count += 1
        before = signal.getsignal(signal.SIGINT)
        try:
            signal.signal(signal.SIGINT, self._on_sigint)
            if self.integration is not None:
                self.integration(self._kernel)
        except KeyboardInterrupt:
            pass  # it ended what the window's callback did
        except Exception:
            print("The event loop of the GUI failed and is off:", file=sys.stderr)
            traceback.print_exc()
            self._kernel.eventloop = None
        finally:
            self._is_running = False
            signal.signal(signal.SIGINT, before)

    def _on_sigint(self, number: int, frame: FrameType | None) -> None:
        """Wake a cell that awaits; raise in a callback of the window if it hangs.

        Not in others: an interrupt that hits one by chance would end what it does for good.
        """
        self._main.interrupt()
        module = "" if frame is None else str(frame.f_globals.get("__name__", ""))
        if module == __name__ or module.startswith(HOOKS):
            return
        if time.monotonic() > self._deadline + HANGS_S:
            raise KeyboardInterrupt
        again = threading.Timer(2 * HANGS_S, self._interrupt_again, [self._count])
        again.daemon = True
        again.start()

    def _interrupt_again(self, turn: int) -> None:
        """It could not be told whether the callback hangs. Thread: one for this."""
        if self._is_running and self._count == turn:
            _thread.interrupt_main()

    # --- what a hook asks ---

    def fileno(self) -> int:
        """Readable when the turn is over. Raises AttributeError where selectors have none: Windows."""
        descriptor: int = self._selector.fileno()
        return descriptor

    def input_is_ready(self) -> bool:
        """Whether the turn is over: for hooks that poll, or look before they wait.

        Not at the first look: so a window goes on while messages never cease.
        """
        if self._is_first_question:
            self._is_first_question = False
            return False
        return time.monotonic() >= self._deadline or bool(self._wait(0))


class _Alarm:
    """A descriptor that becomes readable at a given time, so that every toolkit ends its turn then.

    Toolkits have timers, but each its own; a descriptor is what their hooks wait for anyway. A timerfd
    (by ctypes before Python 3.13) or a kqueue; on Windows there is none, and hooks poll.
    """

    def __init__(self) -> None:
        self._fd = -1
        self._is_joined = False
        if sys.platform == "linux":
            self._fd = _timerfd_create()
        elif sys.platform != "win32":
            self._kqueue = select.kqueue()
            self._fd = self._kqueue.fileno()

    def join(self, loop: Any) -> None:
        """Let the loop's selector wait for it."""
        if self._fd >= 0 and not self._is_joined:
            loop.add_reader(self._fd, self._drain)
            self._is_joined = True

    def leave(self, loop: Any) -> None:
        if self._is_joined:
            loop.remove_reader(self._fd)
            self._is_joined = False

    def set(self, delay_s: float) -> None:
        if sys.platform == "linux":
            _timerfd_settime(self._fd, max(delay_s, 1e-9))
        elif sys.platform != "win32":
            flags = select.KQ_EV_ADD | select.KQ_EV_ONESHOT
            timer = select.kevent(1, select.KQ_FILTER_TIMER, flags, 0, max(1, round(delay_s * 1000)))
            self._kqueue.control([timer], 0)

    def _drain(self) -> None:
        if sys.platform == "linux":
            with contextlib.suppress(BlockingIOError):  # it was set again meanwhile
                os.read(self._fd, 8)
        elif sys.platform != "win32":
            self._kqueue.control([], 1, 0)


if sys.platform == "linux" and sys.version_info >= (3, 13):

    def _timerfd_create() -> int:
        return os.timerfd_create(time.CLOCK_MONOTONIC, flags=os.TFD_NONBLOCK | os.TFD_CLOEXEC)

    def _timerfd_settime(fd: int, delay_s: float) -> None:
        os.timerfd_settime(fd, initial=delay_s)

elif sys.platform == "linux":
    import ctypes

    class _Timerspec(ctypes.Structure):
        """struct itimerspec: the interval, then the first time."""

        _fields_ = [(name, ctypes.c_long) for name in ("interval_s", "interval_ns", "first_s", "first_ns")]

    _libc = ctypes.CDLL(None, use_errno=True)

    def _timerfd_create() -> int:
        fd: int = _libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        return fd

    def _timerfd_settime(fd: int, delay_s: float) -> None:
        seconds, rest = divmod(delay_s, 1)
        spec = _Timerspec(first_s=int(seconds), first_ns=max(1, int(rest * 1e9)))
        _libc.timerfd_settime(fd, 0, ctypes.byref(spec), None)


class _ShellStream:
    """What integrations written for ipykernel watch to know that the main shell has a message."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    def getsockopt(self, option: int) -> int:
        """The one option that they ask for is zmq.FD."""
        return self._turns.fileno()

    def flush(self, flag: int = 3, limit: int | None = None) -> int:
        """Whether it has: the loop handles it once the integration has returned."""
        return int(self._turns.input_is_ready())


def get_shell_stream(kernel: Any) -> _ShellStream:
    """For integrations: `getsockopt(zmq.FD)` and `flush(limit=1)`."""
    return _ShellStream(kernel.turns)


# --- the toolkits ---


def _prepares(integration: Any) -> Callable[[Any], Any]:
    """Decorate what is called with the name and the kernel before the integration is used, on main."""

    def decorator(prepare: Any) -> Any:
        integration.prepare = prepare
        return prepare

    return decorator


def _hook(name: str) -> Any:
    """IPython's input hook of that name, which imports the toolkit. Raises ImportError."""
    try:
        return importlib.import_module(f"{HOOKS}.{name}").inputhook
    except (ImportError, AttributeError, OSError, ValueError) as error:
        raise ImportError(f"the toolkit for %gui {name} is not installed: {error}") from error


@register_integration("qt", "qt5", "qt6")
def loop_qt(kernel: Any) -> None:
    """Qt, by the binding that QT_API names or that is imported or found first."""
    _hook("qt")(kernel.turns)


@_prepares(loop_qt)
def make_qt_app_for_kernel(gui: str, kernel: Any) -> None:
    """Import Qt and make the QApplication, `kernel.app`."""
    if hasattr(kernel, "app"):
        return
    set_qt_api_env_from_gui(gui)
    from IPython.external.qt_for_kernel import QtCore
    from IPython.lib.guisupport import get_app_qt4

    if QtCore.QCoreApplication.instance() is None:
        _check_display()
    kernel.app = get_app_qt4([" "])
    _kept["qt"] = kernel.app  # `%gui` without a name forgets kernel.app; windows need it still


def set_qt_api_env_from_gui(gui: str) -> None:
    """Choose the binding by setting QT_API, for "qt5" and "qt6". Raises ImportError if there is none."""
    from IPython.terminal.pt_inputhooks import set_qt_api

    set_qt_api(gui)


def _check_display() -> None:
    """Qt ends the process if it finds no display."""
    names = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")
    if sys.platform == "linux" and not any(os.environ.get(name) for name in names):
        raise RuntimeError(f"Qt finds no display: none of {', '.join(names)} is set")


#: Objects of toolkits that live as long as the process.
_kept: dict[str, Any] = {}


@register_integration("wx")
def loop_wx(kernel: Any) -> None:
    """wxPython. Its hook looks for messages every 0.1 s."""
    _hook("wx")(kernel.turns)


@_prepares(loop_wx)
def _prepare_wx(gui: str, kernel: Any) -> None:
    _hook("wx")
    wx = importlib.import_module("wx")
    kernel.app = _kept["wx"] = wx.GetApp() or wx.App(redirect=False)


@register_integration("tk")
def loop_tk(kernel: Any) -> None:
    """Tk, with whatever roots there are: an interpreter without a window serves the thread's events."""
    from _tkinter import ALL_EVENTS, DONT_WAIT, READABLE

    tcl, turn = _kept["tk"], kernel.turns
    for _ in range(TK_BURST):
        if not tcl.dooneevent(ALL_EVENTS | DONT_WAIT):
            break
    if not hasattr(tcl, "createfilehandler"):  # Windows
        while not turn.input_is_ready():
            if not tcl.dooneevent(ALL_EVENTS | DONT_WAIT):
                time.sleep(REST_S)
        return
    over: list[int] = []
    tcl.createfilehandler(turn.fileno(), READABLE, lambda _, mask: over.append(mask))
    try:
        while not over:
            tcl.dooneevent(ALL_EVENTS)
    finally:
        tcl.deletefilehandler(turn.fileno())


@_prepares(loop_tk)
def _prepare_tk(gui: str, kernel: Any) -> None:
    try:
        import tkinter
    except ImportError as error:
        raise ImportError(f"the toolkit for %gui tk is not installed: {error}") from error
    if "tk" not in _kept:
        _kept["tk"] = tkinter.Tcl().tk


def _register_hook(module: str, *names: str) -> Any:
    """An integration that is IPython's hook and nothing else."""

    @register_integration(*names)
    def loop(kernel: Any) -> None:
        _hook(module)(kernel.turns)

    loop.prepare = lambda gui, kernel: _hook(module)
    return loop


loop_gtk = _register_hook("gtk", "gtk")
loop_gtk3 = _register_hook("gtk3", "gtk3")
loop_cocoa = _register_hook("osx", "osx", "macosx")


@register_integration("asyncio")
def loop_asyncio(kernel: Any) -> None:
    """The kernel runs on asyncio: there is nothing left to do."""


loop_qt5 = loop_qt

"""One thread's requests, in order of arrival: busy, handle, reply, idle.

Thread: the shell's own, but where a method says otherwise. A shell is an asyncio loop whose reader
is its channel: each message is read and handled right in the reader's callback; a task is made only
for a handler that awaits. Meanwhile further requests queue, and comm messages are handled at once,
so that a cell can await an answer that comes over a comm.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import logging
import os
import selectors
import threading
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, TypeVarTuple, Unpack

from fastshell._contract import Destination, Kind, Received
from fastshell.kernel import current
from fastshell.kernel.request import Request, error_content
from fastshell.protocol.content import ContentError

if TYPE_CHECKING:
    from fastshell.kernel.channel import Channel, Outbox
    from fastshell.kernel.control import Interrupts

#: Handles one request: returns the reply's content, None where there is no reply, or an awaitable of it.
Handler = Callable[[Request], "dict[str, Any] | None | Awaitable[dict[str, Any] | None]"]

Ts = TypeVarTuple("Ts")

COMM_MESSAGES = frozenset({"comm_open", "comm_msg", "comm_close"})
BURST = 32  # messages handled before the loop's other callbacks get their turn

INTERRUPT = "interrupted by the user"  # message of the cancellation of what an interrupted cell awaits
#: How long an interrupted cell waits for what it awaits to end, in seconds: a task may clean up, and one
#: that swallows its cancellation must not hold the cell.
INTERRUPT_GRACE_S = 0.2

log = logging.getLogger("fastshell")


class ShellLoop(asyncio.SelectorEventLoop):
    """A shell's loop. It also wakes for a future that another thread completes.

    asyncio asks such a thread to use call_soon_threadsafe, but a comm callback that runs on a subshell
    cannot know that the future which it completes is awaited by a cell of the main shell.
    """

    def __init__(self, selector: selectors.BaseSelector) -> None:
        super().__init__(selector)
        self._own_thread = threading.get_ident()

    def call_soon(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        handle = super().call_soon(callback, *args, context=context)
        if threading.get_ident() != self._own_thread:
            self._write_to_self()
        return handle

    def run_forever(self) -> None:
        self._own_thread = threading.get_ident()
        super().run_forever()

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Call it whenever fd is readable, also while a cell that it has called runs the loop again.

        add_reader would enter one context for each call, which fails inside of the other: nest_asyncio.
        """
        handle: Any = self._add_reader(fd, callback)
        handle._context = _CallersContext

    if TYPE_CHECKING:  # of asyncio's

        def _write_to_self(self) -> None:
            """End the loop's wait. Thread: any."""

        def _add_reader(self, fd: int, callback: Callable[[], None]) -> asyncio.Handle:
            """add_reader, but it returns the handle."""


class _CallersContext:
    """Stands for a Context that is the caller's, whatever that is."""

    @staticmethod
    def run(callback: Callable[..., Any], *args: Any) -> Any:
        return callback(*args)


class Shell:
    """A thread that answers requests: main, control, or a subshell."""

    def __init__(
        self,
        channel: Channel,
        outbox: Outbox,
        handlers: dict[str, Handler],
        *,
        destination: Destination = Destination.SHELL,
    ) -> None:
        """channel is read by the thread that calls `run`; handlers are found by msg_type."""
        self.channel = channel
        self.outbox = outbox
        self.handlers = handlers
        self.destination = destination
        self.is_main = channel.name == "main"
        self.subshell_id = channel.name if channel.name not in ("main", "control") else None
        self.last_execute: Request | None = None
        self.running: Request | None = None  # being handled, or awaiting
        self.task: asyncio.Task[Any] | None = None  # of the running request, if it awaits
        self._awaiting: _Interruptible | None = None  # what that task awaits
        self._is_task_new = False
        self.context = contextvars.copy_context()  # what cells set in it stays for the next
        self.language_state: dict[str, Any] = {}  # what the language keeps for this shell
        self.interrupts: Interrupts | None = None  # main only: what SIGINT does
        self.on_terminate: Callable[[str], None] | None = None  # control only
        self._queue: deque[tuple[Received, bool]] = deque()  # with: is it to be aborted?
        self._postponed: deque[Received] = deque()  # arrived while a cell read the channel itself
        self.stop_on_error_timeout_s = 0.0  # so long after an error, what arrives is aborted too
        self.aborts_until = 0.0  # time of the loop; execute requests that arrive before it are aborted
        self._stopping = False
        self._abandoned = False
        self._pid = os.getpid()
        self.selector = selectors.DefaultSelector()
        self.loop = ShellLoop(self.selector)

    @property
    def state(self) -> str:
        """The msg_type of the request that it works on, or idle. Thread: any."""
        running = self.running
        return "idle" if running is None else running.msg_type

    # --- life ---

    def run(self) -> None:
        """Answer until STOP comes or `stop` is called; then close the channel."""
        current.enter_shell(self)
        self.context.run(current.enter_shell, self)
        asyncio.set_event_loop(self.loop)
        self.loop.watch(self.channel.fd, self._readable)
        self.loop.call_soon(self._readable)  # the descriptor tells only of what comes after a first look
        try:
            while not self._stopping:
                try:
                    self.loop.run_forever()
                except KeyboardInterrupt:  # out of a background task, which the cell may wait for
                    self._hold_interrupts()
                    self.interrupt()
        finally:
            self._close()

    def stop(self) -> None:
        """End `run` after what runs now. Thread: any."""
        self._stopping = True
        with contextlib.suppress(RuntimeError):  # the loop is closed: it has ended already
            self.loop.call_soon_threadsafe(self.loop.stop)

    def abandon(self) -> None:
        """From now on, what is queued is answered `aborted`; what awaits is interrupted. Thread: any."""
        self._abandoned = True
        self.interrupt()

    def _close(self) -> None:
        self.loop.remove_reader(self.channel.fd)
        if self.task is not None:  # a cell that still awaits: it ends with a reply
            self.task.cancel()
            self._run_until_complete(asyncio.wait([self.task], timeout=0.2))
        self._abort_all()
        self.channel.close()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self._run_until_complete(asyncio.sleep(0))
        self.loop.close()

    def _run_until_complete(self, last: Coroutine[Any, Any, Any]) -> None:
        """As the loop's own, but a `stop` that is still queued does not end it with a RuntimeError."""
        task = self.loop.create_task(last)
        task.add_done_callback(lambda _: self.loop.stop())
        while not task.done():
            self.loop.run_forever()

    def interrupt(self) -> None:
        """Let the handler that awaits get KeyboardInterrupt, if there is one. Thread: any."""
        if self.task is not None:
            self.loop.call_soon_threadsafe(self._interrupt, self.task)

    def _interrupt(self, task: asyncio.Task[Any]) -> None:
        if task is self.task and self._awaiting is not None:
            self._awaiting.interrupt()

    def _hold_interrupts(self) -> None:
        if self.interrupts is not None and current.is_shell_thread(self):
            self.interrupts.hold()

    # --- arrival ---

    def _readable(self) -> None:
        for _ in range(BURST):
            message = self.channel.recv_nowait()
            if message is None:
                return
            self.arrived(message)
        self.loop.call_soon(self._readable)

    def arrived(self, message: Received) -> None:
        """Handle a message, or queue it behind what runs; those that were postponed first."""
        if self._postponed:
            self._take_postponed()
        self._take(message)

    def _take(self, message: Received) -> None:
        if message.kind is Kind.REQUEST:
            if self.running is not None and message.msg_type in COMM_MESSAGES:
                if self._is_task_new:
                    self.loop.call_soon(self._handle_beside, message)
                else:
                    self._handle_beside(message)
            else:
                self._queue.append((message, bool(self.aborts_until) and self._is_too_soon(message)))
                self._advance()
        elif message.kind is Kind.STOP:
            self._stopping = True
            self.loop.stop()
        elif message.kind is Kind.TERMINATE and self.on_terminate is not None:
            self.on_terminate(bytes(message.content).decode())
        # an INPUT_REPLY that comes here is late: nobody asks any more

    def postpone(self, message: Received) -> None:
        """Keep a message that arrived while a cell reads the channel itself, in input()."""
        if message.kind is Kind.STOP:
            self._stopping = True
            self.loop.stop()
        else:
            self._postponed.append(message)
            self.loop.call_soon(self._take_postponed)

    def _take_postponed(self) -> None:
        """A comm message among them may be what the cell awaits, now that it has its answer."""
        while self._postponed:
            self._take(self._postponed.popleft())

    def iterate(self) -> None:
        """Handle the next comm message although a cell blocks this shell; what else comes waits for its end.

        Thread: the shell's, or one that the blocked cell waits for, so that the shell's own reads nothing.
        """
        is_blocked = self.task is None or asyncio.current_task(self.loop) is self.task
        message = self.channel.recv_nowait() if self.running is not None and is_blocked else None
        while message is not None:
            self.loop.call_soon_threadsafe(self._readable)  # the descriptor may stay silent
            if message.kind is Kind.REQUEST and message.msg_type in COMM_MESSAGES:
                self._handle_beside(message)
                break
            self.postpone(message)
            message = self.channel.recv_nowait()

    def read_on(self) -> None:
        """Read the channel soon: a cell has read it in input(), so that its descriptor may stay silent."""
        self.loop.call_soon(self._readable)

    def _advance(self) -> None:
        while self.running is None and self._queue and not self._stopping:
            message, is_aborted = self._queue.popleft()
            if is_aborted or self._abandoned:
                self._abort(message)
            else:
                self._handle(message)

    # --- one request ---

    def _handle(self, message: Received) -> None:
        request = Request(message, self)
        self.running = request
        request.busy()
        outcome = self._call(request, self.context)
        if outcome is None or isinstance(outcome, dict):
            self._finish(request, outcome)
            return
        self._awaiting = _Interruptible(outcome)
        self.task = self.loop.create_task(_of(self._awaiting), context=self.context)
        self._is_task_new = True  # until it took its first step: comm messages behind it come after
        self.loop.call_soon(self._task_began)
        self.task.add_done_callback(lambda task: self._awaited(request, task))

    def _task_began(self) -> None:
        self._is_task_new = False

    def _handle_beside(self, message: Received) -> None:
        """A comm message while a cell awaits: in a context of its own, since the cell's is in use."""
        request = Request(message, self)
        request.busy()
        outcome = self._call(request, self.context.copy())
        if outcome is not None and not isinstance(outcome, dict):
            task = self.loop.create_task(_of(_Interruptible(outcome)))
            task.add_done_callback(lambda task: self._conclude(request, _result(task)))
        else:
            self._conclude(request, outcome)

    def _call(
        self, request: Request, context: contextvars.Context
    ) -> dict[str, Any] | None | Awaitable[dict[str, Any] | None]:
        """Run the handler up to its first await; a failure becomes an error reply's content."""
        handler = self.handlers.get(request.msg_type)
        if handler is None:
            return error_content(
                "UnknownMessageTypeError", f"{self.channel.name} has no handler for {request.msg_type}"
            )
        interrupts = self.interrupts
        try:
            if interrupts is None or not current.is_shell_thread(self):  # a cell may iterate on a thread
                return context.run(_begin, handler, request)
            try:
                interrupts.deliver()
                return context.run(_begin, handler, request)
            finally:
                interrupts.hold()
        except BaseException as error:  # the request's reply is owed whatever happened
            self._hold_interrupts()  # one may have come just before the other call
            return _failure(request, error)

    def _awaited(self, request: Request, task: asyncio.Task[Any]) -> None:
        self.task = self._awaiting = None
        self._hold_interrupts()  # a debugger may have left a handler of its own
        self._finish(request, _result(task))
        self._advance()

    def _finish(self, request: Request, content: dict[str, Any] | None) -> None:
        if os.getpid() != self._pid:
            os._exit(0)  # a forked child came out of its cell: the kernel is its parent's
        self._conclude(request, content)
        self.running = None

    def adopt(self, request: Request) -> bool:
        """Take over a comm message of another shell, as soon as this one awaits or has nothing to do.

        Returns False if this shell has ended. Thread: that of the other shell, in its handler.
        """
        request.is_elsewhere = True
        try:
            self.loop.call_soon_threadsafe(self._adopted, request)
        except RuntimeError:  # the loop is closed
            request.is_elsewhere = False
        return request.is_elsewhere

    def _adopted(self, request: Request) -> None:
        request.is_elsewhere = False
        outcome = self._call(request, self.context if self.running is None else self.context.copy())
        self._conclude(request, outcome if isinstance(outcome, dict) else None)

    def _conclude(self, request: Request, content: dict[str, Any] | None) -> None:
        if request.is_elsewhere:
            return
        if request.aborts_queue:
            self.abort_queued_executes()  # before the reply: what a client sends once it has that may run
        try:
            if content is not None:
                request.reply(content)
            elif request.wants_reply and not request.replied:
                request.reply(
                    error_content("NoReplyError", f"the handler of {request.msg_type} gave no reply")
                )
        except Exception as error:
            log.exception("the reply to %s cannot be written", request.msg_type)
            request.replied = False
            request.reply(error_content(type(error).__name__, str(error)))
        finally:
            request.idle()

    # --- aborting ---

    def _is_too_soon(self, message: Received) -> bool:
        """Whether it is an execute request that came within stop_on_error_timeout after an error."""
        if self.loop.time() >= self.aborts_until:
            self.aborts_until = 0.0
            return False
        return message.msg_type == "execute_request"

    def abort_queued_executes(self) -> None:
        """Execute requests that have arrived so far are answered `aborted`, in their turn."""
        if self.stop_on_error_timeout_s > 0:
            self.aborts_until = self.loop.time() + self.stop_on_error_timeout_s
        message = self.channel.recv_nowait()
        while message is not None:
            self.postpone(message)
            message = self.channel.recv_nowait()
        while self._postponed:
            self._queue.append((self._postponed.popleft(), False))
        self._queue = deque(
            (queued, is_aborted or queued.msg_type == "execute_request") for queued, is_aborted in self._queue
        )

    def _abort_all(self) -> None:
        """What still waits when the shell ends is answered."""
        while self._postponed:
            self._queue.append((self._postponed.popleft(), True))
        message = self.channel.recv_nowait()
        while message is not None:
            if message.kind is Kind.REQUEST:
                self._queue.append((message, True))
            message = self.channel.recv_nowait()
        while self._queue:
            self._abort(self._queue.popleft()[0])

    def _abort(self, message: Received) -> None:
        if message.kind is not Kind.REQUEST:
            return
        request = Request(message, self)
        request.busy()
        content: dict[str, Any] = {"status": "aborted"}
        if message.msg_type == "execute_request":
            content["execution_count"] = 0
        self._conclude(request, content)


def _begin(handler: Handler, request: Request) -> dict[str, Any] | None | Awaitable[dict[str, Any] | None]:
    current.enter_request(request)
    return handler(request)


async def _of(awaitable: _Interruptible) -> Any:
    return await awaitable


class _Interruptible:
    """Awaits what a handler gave. An interrupt cancels what that awaits, and becomes KeyboardInterrupt.

    So that the user's `await` raises what an interrupted call raises. The task of the request does not
    wait for the awaited future but for one of ours, the door: it can be opened before the other is done.
    """

    def __init__(self, awaitable: Awaitable[Any]) -> None:
        self._inner = awaitable.__await__()
        self._awaited: asyncio.Future[Any] | None = None
        self._door: asyncio.Future[None] | None = None
        self._is_interrupted = False

    def interrupt(self) -> None:
        """Thread: the shell's, while nothing of the task runs."""
        self._is_interrupted = True
        if self._awaited is not None and self._door is not None:
            self._awaited.add_done_callback(_retrieve)
            self._awaited.cancel(INTERRUPT)
            self._door.get_loop().call_later(INTERRUPT_GRACE_S, _open, self._door)

    def __await__(self) -> Generator[Any, Any, Any]:
        inner = self._inner
        error: BaseException | None = None
        while True:
            try:
                awaited = next(inner) if error is None else inner.throw(error)
            except StopIteration as stop:
                return stop.value
            error = None
            try:
                if _is_awaitable_here(awaited):
                    yield from self._wait(awaited)
                else:
                    yield awaited
            except BaseException as thrown:
                error = thrown
            if self._is_interrupted:
                self._is_interrupted = False
                error = KeyboardInterrupt()

    def _wait(self, awaited: asyncio.Future[Any]) -> Generator[Any, Any, None]:
        """Until it is done, or the door was opened; a cancellation of the task is handed on, as tasks do."""
        awaited._asyncio_future_blocking = False  # its awaiter is us
        self._awaited = awaited
        try:
            while True:
                door = self._door = awaited.get_loop().create_future()
                awaited.add_done_callback(functools.partial(_open, door))
                try:
                    yield from door
                    return
                except asyncio.CancelledError as cancelled:
                    if not awaited.cancel(*cancelled.args):
                        raise
        finally:
            self._awaited = self._door = None


def _is_awaitable_here(awaited: Any) -> bool:
    """Whether it is a future that the running task may wait for; of all else the task itself takes care."""
    return (
        getattr(awaited, "_asyncio_future_blocking", None) is True
        and awaited.get_loop() is asyncio.get_running_loop()
        and awaited is not asyncio.current_task()
    )


def _open(door: asyncio.Future[None], _: object = None) -> None:
    if not door.done():
        door.set_result(None)


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Look at its exception, or asyncio complains that nobody did."""
    if not future.cancelled():
        future.exception()


def _result(task: asyncio.Task[Any]) -> dict[str, Any] | None:
    """What a finished handler's task gave, failures as an error reply's content."""
    if task.cancelled():
        return error_content("KeyboardInterrupt", "")
    error = task.exception()
    if error is not None:
        return _failure(None, error)
    result: dict[str, Any] | None = task.result()
    return result


def _failure(request: Request | None, error: BaseException) -> dict[str, Any]:
    """Content for an exception that a handler let through: bad content, an interrupt, or our mistake."""
    if isinstance(error, ContentError):
        return error_content("ContentError", str(error))
    if not isinstance(error, KeyboardInterrupt):
        log.error("handling %s failed", request.msg_type if request else "a request", exc_info=error)
    return error_content(type(error).__name__, str(error), traceback.format_exception(error))

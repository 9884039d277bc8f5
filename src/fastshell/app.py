"""Builds every object of a kernel, starts every thread, ends them. The one file that knows all.

Thread: main, but where a method says otherwise.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import getpass
import logging
import os
import signal
import sys
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fastshell._contract import CHANNELS, Destination, RouterError
from fastshell.kernel import current, windows
from fastshell.kernel.base import Kernel, Reply
from fastshell.kernel.channel import choose_router
from fastshell.kernel.comms import CommTargets
from fastshell.kernel.control import Control, Interrupts, interrupt_main
from fastshell.kernel.dispatch import Handler, Shell
from fastshell.kernel.execution import Execution
from fastshell.kernel.introspection import Introspection
from fastshell.kernel.questions import Questions
from fastshell.kernel.request import Request
from fastshell.kernel.session import Session
from fastshell.kernel.subshells import Subshells
from fastshell.kernel.usage import Usage
from fastshell.options import USAGE, Options, UsageError, parse
from fastshell.protocol import connection
from fastshell.protocol.content import encode

if TYPE_CHECKING:
    from fastshell.kernel.channel import Channel

#: From the decision to end until the process is gone, whatever user code does, in seconds.
GRACE_S = 0.9

#: How long a kernel waits for the receipt of its ports, then it ends.
REGISTRATION_S = 10.0

#: A client that started the kernel connects each socket by itself, again every 0.1 to 0.2 s until the kernel
#: has bound it. The first output would be lost if its shell socket were much quicker than its iopub socket.
SUBSCRIBER_WAIT_S = 0.25

log = logging.getLogger("fastshell")


def launch(
    kernel_class: type[Kernel] | None = None, argv: Sequence[str] | None = None, *, parent: Any = None
) -> int:
    """Run a kernel until it is told to end; return the exit status. See `fastshell.launch`.

    parent: a traitlets Configurable, whose configuration is that of the kernel.
    """
    try:
        app = App(sys.argv[1:] if argv is None else argv, kernel_class, parent)
        app.start()
    except UsageError as error:
        print(f"fastshell: {error}", file=sys.stderr)
        return 2
    try:
        app.run()
    finally:
        app.close()
    return 0


def run_program(argv: Sequence[str]) -> None:
    """`python -m fastshell run PROGRAM ...`: run a program that was written for ipykernel, on this kernel.

    argv: the name of a module, or the path of a .py file; and what follows it on its command line.
    """
    import runpy

    from fastshell.compat import _finder

    _finder.install()
    sys.argv[:] = argv
    is_file = argv[0].endswith(".py")
    folder = str(Path(argv[0]).parent.absolute()) if is_file else os.getcwd()
    if not sys.flags.safe_path and sys.path[0] != folder:
        sys.path.insert(0, folder)  # as `python PROGRAM` or `python -m PROGRAM` would have it
    if is_file:
        runpy.run_path(argv[0], run_name="__main__")
    else:
        runpy.run_module(argv[0], run_name="__main__", alter_sys=True)


@dataclass(frozen=True)
class Embedding:
    """The place in a program where a kernel was asked for, and with which traits."""

    module: ModuleType
    namespace: dict[str, Any]
    traits: dict[str, Any]

    @property
    def argv(self) -> list[str]:
        """What of the traits has to be known before the sockets are bound, as a command line."""
        names = (
            "connection_file",
            "ip",
            "transport",
            "capture_fd_output",
            *(f"{one}_port" for one in CHANNELS),
        )
        return [f"--IPKernelApp.{name}={self.traits[name]}" for name in names if name in self.traits]


def embed(module: ModuleType, namespace: dict[str, Any], traits: dict[str, Any]) -> None:
    """Run a kernel until it is told to end, and leave the process as it was: `fastshell.embed_kernel`."""
    app = App((), embedding=Embedding(module, namespace, traits))
    before = (sys.stdout, sys.stderr, sys.displayhook, sys.excepthook)
    asking = (builtins.input, getpass.getpass)
    handlers = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        app.start()
        try:
            app.run()
        finally:
            app.close()
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in handlers:
            signal.signal(number, handler)
        builtins.input, getpass.getpass = asking
        app.release()
        sys.stdout, sys.stderr, sys.displayhook, sys.excepthook = before


class Capture:
    """File descriptors 1 and 2 become pipes that the router reads.

    So that what C code and child processes write appears in the front end. The originals are kept,
    that of 2 for the kernel's own log.
    """

    def __init__(self, *, wanted: bool) -> None:
        self.read_ends = (-1, -1)
        self.write_ends = (-1, -1)
        self.out_fd, self.log_fd = 1, 2
        if not wanted or sys.platform == "win32":  # a pipe cannot be polled beside sockets there
            return
        try:
            self.out_fd, self.log_fd = os.dup(1), os.dup(2)
            pairs = [os.pipe(), os.pipe()]
            for fd, (_, write_end) in zip((1, 2), pairs, strict=True):
                os.dup2(write_end, fd, inheritable=True)
                os.close(write_end)
        except OSError:
            return  # the process has no fd 1 or 2: then there is nothing to capture
        self.read_ends = (pairs[0][0], pairs[1][0])
        self.write_ends = (1, 2)

    def release(self) -> None:
        """Let file descriptors 1 and 2 be what they were."""
        if self.write_ends != (-1, -1):
            os.dup2(self.out_fd, 1)
            os.dup2(self.log_fd, 2)
            self.write_ends = (-1, -1)


class App:
    """One kernel in one process."""

    def __init__(
        self,
        argv: Sequence[str],
        kernel_class: type[Kernel] | None = None,
        parent: Any = None,
        embedding: Embedding | None = None,
    ) -> None:
        """Read options and connection file. Raises UsageError."""
        _answer_and_exit(argv)
        self.options: Options = parse(argv if embedding is None else embedding.argv)
        self._embedding = embedding
        self._kernel_class = kernel_class or _default_kernel()
        self._parent = parent
        self._owns_file = False
        self._path = self._connection_path()
        self._info = self._read_connection()
        self._session_id = self.options.session or str(uuid.uuid4())
        self._username = self.options.username or _username()

    # --- start ---

    def start(self) -> None:
        """Bind, answer kernel_info and control; then load the language. Raises UsageError."""
        self._capture = Capture(wanted=self.options.capture)
        self._set_up_log()
        self._router = self._make_router()
        main_channel = self._router.open_channel("main")
        control_channel = self._router.open_channel("control")
        try:
            bound = self._router.start()
        except RouterError as error:
            self._uncapture()
            raise UsageError(f"{self._path}: {error}") from None
        self._info = connection.with_bound(self._info, bound)
        if self._owns_file:
            connection.write(self._path, self._info)
        if self._info.registration is not None:
            self._register(self._info.registration)
        self.kernel = self._make_kernel()
        self._main = Shell(main_channel, self._router.outbox, self._shell_handlers())
        self._subshells = Subshells(self._router, self.kernel, self._make_subshell)
        self.kernel.subshells, self.kernel.connection_file = self._subshells, str(self._path)
        self._interrupts = Interrupts(self._main)
        self._interrupts.install()
        _sigterm.on_main = self._end_unanswered
        current.note_threads()
        self._control = Shell(
            control_channel,
            self._router.outbox,
            self._control_handlers(),
            destination=Destination.CONTROL,
        )
        self.kernel.enter_shells(self._main, self._control)
        self._control.on_terminate = self._terminated
        self._control_thread = threading.Thread(target=self._control.run, name="control", daemon=True)
        self._control_thread.start()
        windows.start(self.interrupt, lambda: self._terminated("parent"))
        self._router.outbox.status("starting", b"{}")
        try:
            self._load_language()
        except SystemExit:  # it has been said why
            self.close()
            raise

    def _connection_path(self) -> Path:
        if self.options.connection_file is None:
            return connection.default_path()
        return Path(self.options.connection_file)

    def _read_connection(self) -> connection.ConnectionInfo:
        try:
            if self.options.connection_file is not None and self._path.exists():
                info = connection.read(self._path)
                if info.registration is not None:  # the file is not ours, and does not say where we listen
                    self._owns_file = True
                    self._path = connection.default_path(info.registration.kernel_id)
            else:
                self._owns_file = True
                info = connection.new(self.options.transport, self.options.ip)
                if not self.options.is_signed:
                    info = replace(info, key=b"")
            return connection.with_ports(info, self.options.ports)
        except connection.ConnectionFileError as error:
            raise UsageError(str(error)) from None

    def _register(self, registration: connection.Registration) -> None:
        """Tell whoever started this kernel where it listens. Raises UsageError."""
        from fastshell.kernel.registration import RegistrationError, register

        try:
            register(registration, self._info, self._session_id, REGISTRATION_S)
        except RegistrationError as error:
            self._router.stop()
            self._uncapture()
            self._remove_files()
            raise UsageError(f"{self.options.connection_file}: {error}") from None

    def _make_router(self) -> Any:
        info = self._info
        try:
            module = choose_router(self.options.router, signature_scheme=info.signature_scheme)
        except (ValueError, ImportError) as error:
            raise UsageError(str(error)) from None
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)
        _forward_signals(write_end)
        parent_fd, parent_pid = _parent_watch()
        if self.options.kick_signal and hasattr(module, "kick_by_signal"):
            signal.signal(self.options.kick_signal, lambda number, frame: module.kick_yield())
            module.kick_by_signal(self.options.kick_signal)
        files = [str(path) for path in connection.ipc_paths(info)]
        if self._owns_file:
            files.append(str(self._path))
        self._files = files
        return module.Router(
            connection.endpoints(info),
            key=info.key,
            signature_scheme=info.signature_scheme,
            session=self._session_id,
            username=self._username,
            kernel_info=_kernel_info(self._kernel_class.early_info()),
            curve=info.curve,
            capture=self._capture.read_ends,
            signal_fd=read_end,
            parent_fd=parent_fd,
            parent_pid=parent_pid,
            files=files,
            log_fd=self._capture.log_fd,
            iopub_hwm=self.options.iopub_hwm,
            subscriber_wait_s=SUBSCRIBER_WAIT_S,
        )

    def _make_kernel(self) -> Kernel:
        outbox = self._router.outbox
        of = self._kernel_class
        of.outbox, of.session = outbox, Session(outbox, self._session_id, self._username)
        of.questions = Questions(self._router)
        of.comms = self._comms = CommTargets(outbox)
        if not issubclass(of, _default_kernel()):  # that one loads IPython first
            self._install_streams()
        try:
            kernel = of.make_kernel(self._parent, self.options.arguments)
            if self._parent is not None:
                self._parent.kernel = kernel
            if of.early_info() is None:
                outbox.kernel_info(_kernel_info(kernel.kernel_info))
        except BaseException:
            self._router.stop()
            self._uncapture()
            raise
        self._execution = Execution(kernel)
        self._introspection = Introspection(kernel)
        return kernel

    def _load_language(self) -> None:
        """Import IPython, read its configuration, run start-up files. Raises SystemExit."""
        from fastshell.compat import _finder
        from fastshell.interpreter.kernel import IPythonKernel

        _finder.serve(self.kernel, str(self._path))
        if isinstance(self.kernel, IPythonKernel):
            from fastshell.interpreter import configuration

            place = self._embedding
            application = configuration.read(
                self.options.arguments,
                self._connection_traits(),
                self.log_file,
                {} if place is None else place.traits,
            )
            self.kernel.exit_after_cell = self.end
            if not application.capture_fd_output:  # as a file says: the command line was heeded before
                self._capture.release()
            stdout_fd, stderr_fd = self._capture.write_ends
            self.kernel.start(
                application,
                stdout_fd=stdout_fd,
                stderr_fd=stderr_fd,
                user_module=None if place is None else place.module,
                user_ns=None if place is None else place.namespace,
            )
            _finder.note_notebook(self.kernel.shell)
            self.kernel.prepare()

    def _connection_traits(self) -> dict[str, Any]:
        info = self._info
        ports = {f"{channel}_port": info.port(channel) for channel in CHANNELS}
        return {"connection_file": str(self._path), "transport": info.transport, "ip": info.ip, **ports}

    def _shell_handlers(self) -> dict[str, Handler]:
        comms = self._comms
        return {
            "kernel_info_request": self._kernel_info_request,
            "execute_request": self._execution.execute_request,
            "complete_request": self._introspection.complete_request,
            "inspect_request": self._introspection.inspect_request,
            "is_complete_request": self._introspection.is_complete_request,
            "history_request": self._introspection.history_request,
            "comm_info_request": comms.comm_info_request,
            "comm_open": comms.comm_open,
            "comm_msg": comms.comm_msg,
            "comm_close": comms.comm_close,
            "connect_request": self._control_requests().connect_request,
            "shutdown_request": self._control_requests().shutdown_request,
            "interrupt_request": self._control_requests().interrupt_request,
        }

    def _control_requests(self) -> Control:
        return Control(
            self.kernel,
            interrupt=self.interrupt,
            shutdown=self.end,
            connection={
                "shell_port": self._info.shell_port,
                "control_port": self._info.control_port,
                "stdin_port": self._info.stdin_port,
                "iopub_port": self._info.iopub_port,
                "hb_port": self._info.hb_port,
            },
        )

    def _control_handlers(self) -> dict[str, Handler]:
        control = self._control_requests()
        return {
            "kernel_info_request": self._kernel_info_request,
            "interrupt_request": control.interrupt_request,
            "shutdown_request": control.shutdown_request,
            "connect_request": control.connect_request,
            "usage_request": Usage().usage_request,
            "comm_info_request": self._comms.comm_info_request,
            "create_subshell_request": self._subshells.create_subshell_request,
            "delete_subshell_request": self._subshells.delete_subshell_request,
            "list_subshell_request": self._subshells.list_subshell_request,
        }

    def _kernel_info_request(self, request: Request) -> Reply:
        """One that came before the kernel had described itself."""
        return {"status": "ok", **self.kernel.kernel_info}

    def _make_subshell(self, channel: Channel) -> Shell:
        return Shell(channel, self._router.outbox, self._main.handlers)

    # --- run and end ---

    def run(self) -> None:
        """Answer the main shell's requests until the kernel is told to end."""
        self._main.run()

    def interrupt(self) -> None:
        """Interrupt what runs, in every shell. Thread: control."""
        self._subshells.interrupt()
        interrupt_main()

    def end(self, *, is_process_to_end: bool = False) -> None:
        """Let the process be gone within GRACE_S, whatever user code does. Thread: any.

        That of an embedded kernel goes on, unless it was told to end itself.
        """
        if self._embedding is None or is_process_to_end:
            self._router.exit_after(GRACE_S, 0)
        self._subshells.stop()
        self._main.stop()
        if self._main.running is not None and threading.current_thread() is not threading.main_thread():
            interrupt_main()

    def _terminated(self, why: str) -> None:
        """SIGTERM, or the parent has died. Thread: control."""
        log.info("ending: %s", why)
        self.end(is_process_to_end=True)

    def _end_unanswered(self) -> None:
        """SIGTERM amid a request of main: the process goes and the request is not answered, as by default.

        A client takes an answer for success: nbclient would find nothing wrong with a cell that killed the
        kernel. Thread: main.
        """
        if self._main.running is None:
            return
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # `end` interrupts this request, too
        self._router.exit_after(GRACE_S, 0)
        atexit._run_exitfuncs()
        self.close()
        os._exit(0)

    def close(self) -> None:
        """After `run`: end what is left, send what waits, remove files."""
        self.kernel.shells_ended()
        self._subshells.stop()
        self._control.stop()
        deadline = time.monotonic() + 0.1
        self._control_thread.join(max(0.0, deadline - time.monotonic()))
        self._router.stop()
        self._remove_files()

    def release(self) -> None:
        """After `close`, in a process that goes on: give its file descriptors back."""
        self._capture.release()

    def _remove_files(self) -> None:
        for file in self._files:
            Path(file).unlink(missing_ok=True)

    # --- small parts of the start ---

    def _set_up_log(self) -> None:
        self.log_file = os.fdopen(os.dup(self._capture.log_fd), "w", buffering=1)
        handler = logging.StreamHandler(self.log_file)
        handler.setFormatter(logging.Formatter("fastshell: %(message)s"))
        log.addHandler(handler)
        log.propagate = False

    def _install_streams(self) -> None:
        from fastshell.interpreter.streams import OutStream

        stdout_fd, stderr_fd = self._capture.write_ends
        sys.stdout = OutStream(self._router.outbox, "stdout", stdout_fd)
        sys.stderr = OutStream(self._router.outbox, "stderr", stderr_fd)

    def _uncapture(self) -> None:
        """Give stdout and stderr back, so that an error at start is seen."""
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        self._capture.release()


def _default_kernel() -> type[Kernel]:
    from fastshell.interpreter.kernel import IPythonKernel

    return IPythonKernel


def _kernel_info(info: Reply | None) -> bytes:
    """Content of kernel_info_reply; b"" while it is not known."""
    return b"" if info is None else encode({"status": "ok", **info})


def _answer_and_exit(argv: Sequence[str]) -> None:
    """Print what was asked for instead of a kernel: help, version, configuration. Raises SystemExit."""
    words = argv[: argv.index("--")] if "--" in argv else argv
    if "--help" in words or "-h" in words or "--help-all" in words:
        print(USAGE, end="")
        if "--help-all" in words:
            from fastshell.interpreter import configuration

            configuration.print_help()
        sys.exit(0)
    if "--version" in words:
        from fastshell import __version__

        print(__version__)
        sys.exit(0)
    if "--show-config" in words or "--show-config-json" in words:
        from fastshell.interpreter import configuration

        configuration.read(parse(argv).arguments, {}, None).start()
        sys.exit(0)


def _forward_signals(write_end: int) -> None:
    """SIGTERM is written to the router's pipe by the C handler, so that it works while main is busy.

    A forked child gets the default behaviour back: its signals are not the kernel's.
    """
    _sigterm.wakeup_fd = write_end
    signal.signal(signal.SIGTERM, _sigterm)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    warnings.filterwarnings("ignore", "It looks like Trio's signal handling code might have collided")
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_hold_sigterm, after_in_parent=_release_sigterm, after_in_child=_signals_of_child
        )


class _Sigterm:
    """Handler of SIGTERM. The byte in the wakeup descriptor is what counts, unless it comes amid a cell."""

    wakeup_fd = -1
    on_main: Callable[[], None] | None = None

    def __call__(self, number: int, frame: object) -> None:
        """Thread: main."""
        while True:
            with contextlib.suppress(KeyboardInterrupt):  # control may be quicker, and interrupt main
                return self._note(number)

    def _note(self, number: int) -> None:
        """asyncio and trio may have put their descriptor in the place of ours."""
        if signal.set_wakeup_fd(self.wakeup_fd, warn_on_full_buffer=False) != self.wakeup_fd:
            os.write(self.wakeup_fd, bytes([number]))
        if self.on_main is not None:
            self.on_main()


_sigterm = _Sigterm()


_masks = threading.local()


def _hold_sigterm() -> None:
    """One that comes to a child as soon as it is forked must wait, or it is written to the router's pipe.

    A pool of processes sends that: the kernel ended in its child's place.
    """
    _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _release_sigterm() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _masks.before)


def _signals_of_child() -> None:
    if threading.current_thread() is threading.main_thread():
        signal.set_wakeup_fd(-1)
        if signal.getsignal(signal.SIGTERM) is _sigterm:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _release_sigterm()


def _parent_watch() -> tuple[int, int]:
    """(pidfd, pid) of the process whose death ends the kernel: (-1, 0) if there is none to watch.

    JPY_PARENT_PID names it; where there is no pidfd, getppid is asked for instead.
    """
    text = os.environ.get("JPY_PARENT_PID", "")
    if not text.isdecimal() or int(text) <= 1 or sys.platform == "win32":
        return -1, 0
    if hasattr(os, "pidfd_open"):
        try:
            return os.pidfd_open(int(text)), 0
        except OSError:
            pass  # not a process that can be seen from here
    return -1, os.getppid()


def _username() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "username"

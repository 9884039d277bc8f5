"""Configuration as ipykernel reads it: command line, the profile's files, what runs at the start.

Thread: main, once, before the first request is handled. The router answers meanwhile. Reading is
IPython's own (`BaseIPythonApplication`, `InteractiveShellApp`), so that the places, their order and
the precedence are those of every IPython program. What the command line says of sockets has been
read by `options` before; the traits of that kind here only tell it.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from copy import deepcopy
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, TextIO

from IPython.core.application import BaseIPythonApplication, base_aliases, base_flags
from IPython.core.profiledir import ProfileDir
from IPython.core.shellapp import InteractiveShellApp, shell_aliases, shell_flags
from traitlets import Any as AnyTrait
from traitlets import Bool, Dict, Float, Integer, List, Unicode
from traitlets.config import Config, Configurable
from traitlets.config.application import catch_config_error

if TYPE_CHECKING:
    from fastshell.interpreter.shell import ZMQInteractiveShell

_ALIASES: dict[Any, Any] = {
    **base_aliases,
    "ip": "IPKernelApp.ip",
    "hb": "IPKernelApp.hb_port",
    "shell": "IPKernelApp.shell_port",
    "iopub": "IPKernelApp.iopub_port",
    "stdin": "IPKernelApp.stdin_port",
    "control": "IPKernelApp.control_port",
    "f": "IPKernelApp.connection_file",
    "transport": "IPKernelApp.transport",
    **shell_aliases,
    "ident": "Session.session",
    "user": "Session.username",
    "keyfile": "Session.keyfile",
}

_FLAGS: dict[Any, Any] = {
    **base_flags,
    "no-stdout": ({"IPKernelApp": {"no_stdout": True}}, "redirect stdout to the null device"),
    "no-stderr": ({"IPKernelApp": {"no_stderr": True}}, "redirect stderr to the null device"),
    "trio-loop": ({"InteractiveShell": {"trio_loop": False}}, "Accepted, as by ipykernel; see %autoawait."),
    **shell_flags,
    "secure": ({"Session": {"keyfile": ""}}, "Sign messages with a new key (the default)."),
    "no-secure": ({"Session": {"key": b"", "keyfile": ""}}, "Do not sign messages."),
}

#: How a shell shows a traceback.
Show = Callable[[type[BaseException], BaseException, list[str]], None]

_ONLY_FILE = "--IPKernelApp.connection_file="


class Kernel(Configurable):
    """The section `Kernel`: what concerns kernels of any language."""

    stop_on_error_timeout = Float(
        0.0, help="time (in seconds) to wait for messages to arrive when aborting queued requests"
    ).tag(config=True)


class IPythonKernel(Kernel):
    """The section `IPythonKernel`."""

    use_experimental_completions = Bool(
        True, help="Whether IPython's newer completion interface, with types, is used."
    ).tag(config=True)


class IPKernelApp(BaseIPythonApplication, InteractiveShellApp):
    """The section `IPKernelApp`, and the reader of all others.

    `IPKernelApp.instance()` is the one of this process, as in ipykernel.
    """

    name = "ipython-kernel"
    description = "A Jupyter kernel for Python."
    aliases = Dict(_ALIASES)
    flags = Dict(_FLAGS)
    classes = List([IPythonKernel, ProfileDir])  # type: ignore[assignment]  # IPython's stubs name one only

    connection_file = Unicode("", help="JSON file in which to store connection info").tag(config=True)
    ip = Unicode("", help="address to bind, or for ipc the path prefix").tag(config=True)
    transport = Unicode("tcp", help="tcp or ipc").tag(config=True)
    shell_port = Integer(0, help="set the shell (ROUTER) port").tag(config=True)
    iopub_port = Integer(0, help="set the iopub (PUB) port").tag(config=True)
    stdin_port = Integer(0, help="set the stdin (ROUTER) port").tag(config=True)
    control_port = Integer(0, help="set the control (ROUTER) port").tag(config=True)
    hb_port = Integer(0, help="set the heartbeat port").tag(config=True)
    no_stdout = Bool(False, help="redirect stdout to the null device").tag(config=True)
    no_stderr = Bool(False, help="redirect stderr to the null device").tag(config=True)
    capture_fd_output = Bool(
        True, help="Whether what C code and child processes write is forwarded to the front end."
    ).tag(config=True)

    #: Made by `make_shell`.
    shell: ZMQInteractiveShell
    #: The kernel that this configures; set by whoever starts it.
    kernel = AnyTrait()
    #: Where warnings and start-up errors are written: file descriptor 2 leads to the front end.
    log_stream = AnyTrait(None)

    #: The class of the kernel that the program of another language's kernel wants to run; None: Python's.
    kernel_class = AnyTrait(None)
    #: What runs it, given the command line. Set by `compat/`, which is above this layer.
    program: ClassVar[Callable[[IPKernelApp, Sequence[str]], None]]

    @classmethod
    def launch_instance(cls, argv: Sequence[str] | None = None, **arguments: Any) -> None:
        """Run a kernel, as its program does: launch_instance(kernel_class=...). argv: or sys.argv[1:]."""
        cls.program(cls.instance(**arguments), sys.argv[1:] if argv is None else argv)

    @property
    def abs_connection_file(self) -> str:
        return str(Path(self.connection_file).absolute())

    @property
    def connection_dir(self) -> str:
        return str(Path(self.connection_file).absolute().parent)

    @property
    def session(self) -> Any:
        return getattr(self.kernel, "session", None)

    @property
    def iopub_socket(self) -> Any:
        return getattr(self.kernel, "iopub_socket", None)

    # --- reading ---

    def get_default_logging_config(self) -> dict[str, Any]:
        logging_config: dict[str, Any] = super().get_default_logging_config()
        if self.log_stream is not None:
            logging_config["handlers"]["console"]["stream"] = self.log_stream
        return logging_config

    def init_crash_handler(self) -> None:
        """An error that nobody caught, such as one in a window's callback, is shown and logged."""
        sys.excepthook = self.excepthook

    def excepthook(self, etype: type[BaseException], evalue: BaseException, tb: TracebackType | None) -> None:
        for stream in dict.fromkeys((sys.stderr, self.log_stream or sys.__stderr__)):
            traceback.print_exception(etype, evalue, tb, file=stream)

    @catch_config_error
    def initialize(self, argv: Sequence[str] | None = None) -> None:
        """Read command line and files. Exits with 1 for a value that cannot be, 2 for an unknown flag."""
        super().initialize(list(argv or ()))

    def parse_command_line(self, argv: Sequence[str] | None = None) -> None:
        """The command line that front ends use, a connection file and no more, needs no argparse."""
        words = list(argv or ())
        if len(words) == 1 and words[0].startswith(_ONLY_FILE):
            self.argv, self.extra_args = words, []
            self.cli_config = Config({"IPKernelApp": {"connection_file": words[0].removeprefix(_ONLY_FILE)}})
            self.update_config(deepcopy(self.cli_config))
        else:
            from fastshell.interpreter.shell import ZMQInteractiveShell

            self.classes = [
                *self.classes,
                ZMQInteractiveShell,
            ]  # aliases are meant for the classes named here
            super().parse_command_line(words)

    # --- the shell ---

    @catch_config_error
    def make_shell(self, shell_class: type[ZMQInteractiveShell], **arguments: Any) -> ZMQInteractiveShell:
        """The shell with its configuration. Exits with 1 for a value that cannot be."""
        self.shell = shell_class.instance(parent=self, profile_dir=self.profile_dir, **arguments)
        self.shell.configurables.append(self)  # type: ignore[arg-type]  # it is a list of configurables
        return self.shell

    def init_shell(self) -> None:
        """Made by `make_shell`."""

    def prepare(self) -> None:
        """Run what is to run before the first cell. Errors are shown; none is raised."""
        with self._showing(self._and_log(self.shell._showtraceback)):
            self.init_path()
            self.init_gui_pylab()
            self.init_extensions()
            self.init_code()

    @contextmanager
    def _showing(self, show: Show) -> Iterator[None]:
        """Tracebacks are shown by that function meanwhile."""
        self.shell.__dict__["_showtraceback"], before = show, self.shell.__dict__.get("_showtraceback")
        try:
            yield
        finally:
            del self.shell.__dict__["_showtraceback"]
            if before is not None:
                self.shell.__dict__["_showtraceback"] = before

    def _and_log(self, show: Show) -> Show:
        """Show a traceback in the log too: most front ends do not listen yet, or show it nowhere."""

        def show_and_log(etype: type[BaseException], evalue: BaseException, stb: list[str]) -> None:
            show(etype, evalue, stb)
            print("\n".join(stb), file=self.log_stream or sys.__stderr__)

        return show_and_log

    def init_gui_pylab(self) -> None:
        """Errors of matplotlib or a GUI are text on stderr: no cell is there that they could belong to."""
        if not os.environ.get("MPLBACKEND"):
            os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"

        def as_text(etype: type[BaseException], evalue: BaseException, stb: list[str]) -> None:
            text = self.shell.InteractiveTB.stb2text(stb)
            for stream in (sys.stderr, self.log_stream or sys.__stderr__):
                print(f"GUI event loop or pylab initialization failed\n{text}", file=stream)

        with self._showing(as_text):
            super().init_gui_pylab()


def read(
    arguments: Sequence[str],
    connection: Mapping[str, Any],
    log: TextIO | None,
    traits: Mapping[str, Any] | None = None,
) -> IPKernelApp:
    """The configuration of this process's kernel.

    arguments: the command line. connection: values of the traits that tell of it, as they are.
    log: for warnings and errors. traits: of the application, before anything is read.
    Raises SystemExit where the kernel cannot start; it has been said why.
    """
    application = IPKernelApp.instance(log_stream=log, **(traits or {}))
    with redirect_stderr(log or sys.stderr):
        application.initialize(arguments)
    for name, value in connection.items():
        setattr(application, name, value)
    application.config.IPKernelApp.connection_file = application.connection_file
    return application


def print_help() -> None:
    """All options of IPython's that a kernel takes."""
    from IPython.core.history import HistoryManager
    from matplotlib_inline.config import InlineBackend

    from fastshell.interpreter.shell import ZMQInteractiveShell

    application = IPKernelApp()
    classes = [ZMQInteractiveShell, HistoryManager, InlineBackend]
    application.classes = [*application.classes, *classes]  # type: ignore[list-item]
    application.print_help(classes=True)

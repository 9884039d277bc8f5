"""One InteractiveShell for all shells of the kernel, with what each shell has of its own behind it.

The user's namespace, extensions, magics, formatters, transformers and configuration are one: an
extension that is loaded in one shell works in every other, and `get_ipython()` is the same object
everywhere. What a cell leaves behind is the shell's own: execution count, history session, display
hook, publisher, payload, compiler, completer, last result and traceback. Those are descriptors that
look up the calling shell, so that IPython's code, and magics that hold `self.shell`, need not know.
The alternative, an InteractiveShell for each shell, costs milliseconds for each and leaves an
extension or a magic registered in one unknown to the others.

Thread: any that runs user code. Nothing process-wide is swapped around a cell: the traps for
builtins and for sys.displayhook are entered once, for the kernel's life.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Literal, Self

from IPython.core.autocall import ZMQExitAutocall
from IPython.core.builtin_trap import BuiltinTrap
from IPython.core.display_trap import DisplayTrap
from IPython.core.error import UsageError
from IPython.core.history import HistoryManager
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.payload import PayloadManager
from traitlets import CBool, Instance, Type, default, observe

from fastshell.interpreter import display
from fastshell.interpreter.compiler import XCachingCompiler
from fastshell.interpreter.display import Publisher, ResultHook
from fastshell.interpreter.history import MainHistory
from fastshell.kernel import current
from fastshell.kernel.control import SIGINT_CODE

State = dict[str, Any]


class _OwnOfEachShell:
    """An attribute that has a value for each shell; `make` gives a subshell's first one."""

    def __init__(self, make: Callable[[ZMQInteractiveShell], Any]) -> None:
        self._make = make

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, shell: ZMQInteractiveShell | None, owner: type) -> Any:
        if shell is None:
            return self
        state = shell.state_of_caller()
        try:
            return state[self._name]
        except KeyError:
            if state is shell.main_state:
                raise AttributeError(self._name) from None
        value = state[self._name] = self._make(shell)
        return value

    def __set__(self, shell: ZMQInteractiveShell, value: Any) -> None:
        shell.state_of_caller()[self._name] = value


class _BuiltinsForLife(BuiltinTrap):
    """get_ipython and display stay in builtins; entering and leaving a cell does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> Literal[False]:
        return False


class _DisplayhookForLife(DisplayTrap):
    """sys.displayhook was set once, see `display.install_displayhook`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> Literal[False]:
        return False


class SubshellHistory(HistoryManager):
    """A subshell's In and Out, kept in memory: not in the database, not in the shared namespace."""

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell=shell, parent=shell, enabled=False)
        self.outputs = defaultdict(list)

    def store_inputs(self, line_num: int, source: str, source_raw: str | None = None) -> None:
        self.input_hist_parsed.append(source.rstrip("\n"))
        self.input_hist_raw.append((source if source_raw is None else source_raw).rstrip("\n"))


class SubshellResultHook(ResultHook):
    """A subshell's results do not become `_` of the namespace that all shells share."""

    is_main = False

    def __init__(self, shell: InteractiveShell) -> None:
        kept = {name: shell.user_ns[name] for name in ("_", "__", "___") if name in shell.user_ns}
        super().__init__(shell=shell, parent=shell, cache_size=shell.cache_size)
        shell.user_ns.update(kept)


def _subshell_completer(shell: ZMQInteractiveShell) -> Any:
    from IPython.core.completer import IPCompleter

    completer = IPCompleter(
        shell=shell, namespace=shell.user_ns, global_namespace=shell.user_global_ns, parent=shell
    )
    completer.custom_completers = shell.strdispatchers["complete_command"]
    return completer


class ZMQInteractiveShell(InteractiveShell):
    """IPython for front ends over ZeroMQ, on any number of threads."""

    #: The name by which libraries recognise a notebook; `compat/` serves the module.
    __module__ = "ipykernel.zmqshell"

    displayhook_class = Type(ResultHook)
    display_pub_class = Type(Publisher)
    compiler_class = Type(XCachingCompiler)
    exiter = Instance(ZMQExitAutocall)
    #: Of a terminal; a front end does that by itself.
    readline_use = CBool(False)
    autoindent = CBool(False)

    execution_count = _OwnOfEachShell(lambda shell: 1)
    history_manager = _OwnOfEachShell(SubshellHistory)
    displayhook = _OwnOfEachShell(SubshellResultHook)
    display_pub = _OwnOfEachShell(lambda shell: shell.publisher)
    payload_manager = _OwnOfEachShell(lambda shell: PayloadManager(parent=shell))
    compile = _OwnOfEachShell(lambda shell: shell.compiler_class())
    Completer = _OwnOfEachShell(_subshell_completer)
    last_execution_succeeded = _OwnOfEachShell(lambda shell: True)
    last_execution_result = _OwnOfEachShell(lambda shell: None)
    _last_traceback = _OwnOfEachShell(lambda shell: None)
    _traceback_of_display = _OwnOfEachShell(lambda shell: False)

    #: Set by the kernel that owns it.
    kernel: Any = None
    publisher: Publisher
    #: What the last `quit(keep_kernel=...)` said.
    keepkernel_on_exit: bool | None = None

    def __init__(self, **kwargs: Any) -> None:
        self.main_state: State = {
            "execution_count": 1,
            "last_execution_succeeded": True,
            "last_execution_result": None,
            "_last_traceback": None,
            "_traceback_of_display": False,
        }
        self._chosen_parent: ContextVar[tuple[Any, dict[str, Any]]] = ContextVar("fastshell_shell_parent")
        super().__init__(**kwargs)
        self.publisher = self.display_pub
        _make_pdb_interruptible()

    @default("exiter")
    def _make_exiter(self) -> ZMQExitAutocall:
        return ZMQExitAutocall(self)

    def state_of_caller(self) -> State:
        """What the shell of the calling thread has of its own."""
        shell = current.current_shell()
        if shell is None or shell.subshell_id is None:
            return self.main_state
        state: State = shell.language_state
        return state

    # --- start ---

    def init_environment(self) -> None:
        """No pager and no cursor movement, but colours, in what child processes print."""
        os.environ.update(
            TERM="xterm-color",
            CLICOLOR="1",
            FORCE_COLOR="1",
            CLICOLOR_FORCE="1",
            PAGER="cat",
            GIT_PAGER="cat",
        )

    def init_builtins(self) -> None:
        super().init_builtins()
        self.builtin_trap.activate()
        self.builtin_trap = _BuiltinsForLife(shell=self)

    def init_displayhook(self) -> None:
        super().init_displayhook()
        self.display_trap = _DisplayhookForLife(hook=self.displayhook)
        display.install_displayhook(lambda: self.displayhook)

    def init_history(self) -> None:
        self.history_manager = MainHistory(shell=self, parent=self)
        self.configurables.append(self.history_manager)

    def init_virtualenv(self) -> None:
        """A kernel runs in the environment that it is installed in."""

    def init_magics(self) -> None:
        from fastshell.interpreter.magics import KernelMagics

        super().init_magics()
        self.register_magics(KernelMagics)
        self.magics_manager.register_alias("ed", "edit")

    def init_hooks(self) -> None:
        from IPython.core import page

        super().init_hooks()
        self.set_hook("show_in_pager", page.as_hook(self.page), 99)

    # --- whose output ---

    def get_parent(self) -> dict[str, Any]:
        """The request that the calling code belongs to: what `set_parent` and `set_thread_parent` take."""
        parent = self._chosen_parent.get(None)
        if parent is not None and parent[0] is current.current_request():
            return parent[1]
        request: dict[str, Any] = self.kernel.get_parent()
        return request

    @property
    def parent_header(self) -> dict[str, Any]:
        """As ipykernel, whose name for the whole message it is."""
        return self.get_parent()

    @parent_header.setter
    def parent_header(self, parent: dict[str, Any]) -> None:
        self._chosen_parent.set((current.current_request(), parent))

    def set_parent(self, parent: dict[str, Any]) -> None:
        """Let what the calling context prints and shows belong to that request, until its shell's next."""
        self.set_thread_parent(parent)

    def set_thread_parent(self, parent: dict[str, Any]) -> tuple[Any, ...]:
        """The same; gives what `reset_thread_parent` takes."""
        undo: list[Any] = [
            (self._chosen_parent.reset, self._chosen_parent.set((current.current_request(), parent)))
        ]
        streams: tuple[Any, ...] = (self.displayhook, self.display_pub, sys.stdout, sys.stderr)
        for stream in streams:
            set_parent = getattr(stream, "set_thread_parent", None)
            if set_parent is not None:
                undo.append((stream.reset_thread_parent, set_parent(parent)))
        return tuple(undo)

    def reset_thread_parent(self, tokens: tuple[Any, ...]) -> None:
        """Undo the `set_thread_parent` that gave the tokens."""
        for reset, token in reversed(tokens):
            reset(token)

    # --- cells ---

    def system_piped(self, cmd: str) -> None:
        """Run a command on a terminal of its own; what it prints goes to sys.stdout while it runs.

        So it belongs to the calling shell's cell, and %%capture has it. The exit status is in `_exit_code`.
        """
        import IPython.utils.process as process

        system: Any = process.system  # type: ignore[attr-defined]
        if cmd.rstrip().endswith("&"):
            raise OSError("Background processes not supported.")
        if sys.platform == "win32":
            from IPython.utils._process_win32 import AvoidUNCPath

            cmd = self.var_expand(cmd, depth=1)
            with AvoidUNCPath() as path:
                status = system(cmd if path is None else f"pushd {path} &&{cmd}")
        else:
            status = system(self.var_expand(cmd, depth=1))
        self.user_ns["_exit_code"] = status
        if self.system_raise_on_error and status != 0:
            raise subprocess.CalledProcessError(status, cmd)

    system = system_piped

    def run_cell(self, *args: Any, **kwargs: Any) -> Any:
        self.forget_traceback()
        return super().run_cell(*args, **kwargs)

    def should_run_async(self, raw_cell: str, **kwargs: Any) -> bool:
        """Whether the cell awaits at top level. Without either word it cannot: IPython compiles it to see."""
        cell = kwargs.get("transformed_cell") or raw_cell
        if "await" not in cell and "async" not in cell:
            return False
        return bool(super().should_run_async(raw_cell, **kwargs))

    def forget_traceback(self) -> None:
        """A new cell has not failed yet."""
        self._last_traceback = None
        self._traceback_of_display = False

    def _get_exc_info(self, exc_tuple: Any = None) -> Any:
        """The failure without the frame of the signal handler that raised it."""
        etype, error, tb = super()._get_exc_info(exc_tuple)
        while tb is not None and tb.tb_next is not None:
            if tb.tb_next.tb_frame.f_code is SIGINT_CODE:
                tb.tb_next = None
            tb = tb.tb_next
        return etype, error, error.__traceback__ if error is not None else None

    def _showtraceback(self, etype: type[BaseException], evalue: BaseException, stb: list[str]) -> None:
        if self.displayhook.is_active:
            self._traceback_of_display = True  # showing a result failed, and so did the cell
        self._last_traceback = stb
        content = {"ename": etype.__name__, "evalue": message_of(evalue), "traceback": stb}
        self.displayhook.send_unhooked("error", content)

    def page(self, text: str | dict[str, Any], start: int = 0, *_: Any, **__: Any) -> None:
        """Show text, or a mime bundle, in the front end's pager."""
        data = text if isinstance(text, dict) else {"text/plain": text}
        self.payload_manager.write_payload({"source": "page", "data": data, "start": max(0, start)})

    def set_next_input(self, s: str, replace: bool = False) -> None:
        """Put text into the front end's next input cell, or with `replace` into this one."""
        self.payload_manager.write_payload({"source": "set_next_input", "text": s, "replace": replace})

    def ask_exit(self) -> None:
        """Let the front end leave, and the kernel end once the cell has been answered, unless it is kept."""
        self.exit_now = not self.keepkernel_on_exit
        self.payload_manager.write_payload({"source": "ask_exit", "keepkernel": self.keepkernel_on_exit})

    @observe("exit_now")
    def _leave(self, change: Any) -> None:
        if change["new"]:
            self.kernel.exit_after_cell()

    def enable_gui(self, gui: str | None = None) -> None:
        """Let a toolkit's windows live while no cell runs; None ends that. Raises UsageError."""
        from fastshell.interpreter.eventloops import enable_gui

        try:
            enable_gui(gui, self.kernel)
        except ValueError as error:
            raise UsageError(str(error)) from error
        self.active_eventloop = gui


def message_of(error: BaseException | None) -> str:
    """str(error), or a stand-in where that fails itself."""
    try:
        return str(error)
    except Exception:
        return f"<unprintable {type(error).__name__} object>"


def _make_pdb_interruptible() -> None:
    """An interrupt leaves the debugger: the standard one would ask on, and the kernel never come back."""
    import pdb

    from IPython.core import debugger

    modules: tuple[Any, ...] = (debugger, pdb)
    for module in modules:
        module.Pdb = debugger.InterruptiblePdb
    pdb.set_trace = debugger.set_trace

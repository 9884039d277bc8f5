"""The Python kernel: `do_*` by IPython.

Thread: that of the shell that was asked; `start` and `close` on main.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar

from fastshell.interpreter import info
from fastshell.interpreter.streams import OutStream
from fastshell.kernel.base import Reply, description
from fastshell.kernel.names import KernelNames

if TYPE_CHECKING:
    from traitlets.config import Config

    from fastshell.interpreter.configuration import IPKernelApp
    from fastshell.interpreter.eventloops import Integration, Turns
    from fastshell.interpreter.shell import ZMQInteractiveShell


class IPythonKernel(KernelNames):
    """Executes Python with IPython 9, on as many shells as there are."""

    #: As ipykernel states them, which clients compare.
    implementation = "ipython"
    implementation_version = info.ipython_version()
    language_info = info.language_info()
    banner = info.banner()
    help_links = info.HELP_LINKS

    log = logging.getLogger("fastshell")
    shell: ZMQInteractiveShell
    _instance: ClassVar[IPythonKernel | None] = None
    #: The application that read the configuration, and all that it has read.
    parent: IPKernelApp
    config: Config
    #: From the sections `Kernel` and `IPythonKernel`.
    stop_on_error_timeout = 0.0
    use_experimental_completions = True
    #: Called when a cell said quit(): ends the kernel after its reply.
    exit_after_cell: Callable[[], None]
    _turns: Turns | None = None
    _eventloop: Integration | None = None
    _poll_interval = 0.01  # for integrations that are not ours: the longest that they may run, in seconds

    def __init__(self) -> None:
        super().__init__()
        IPythonKernel._instance = self
        self._ready = threading.Event()  # a subshell may be asked for while IPython is being imported

    @classmethod
    def instance(cls) -> IPythonKernel:
        """The kernel of this process. Raises RuntimeError where none runs."""
        if cls._instance is None:
            raise RuntimeError("no kernel runs in this process")
        return cls._instance

    @classmethod
    def initialized(cls) -> bool:
        """Whether a kernel runs in this process."""
        return cls._instance is not None

    def shell_opened(self) -> None:
        self._ready.wait()

    @classmethod
    def early_info(cls) -> Reply:
        return description(cls)

    def start(
        self,
        application: IPKernelApp,
        *,
        stdout_fd: int,
        stderr_fd: int,
        user_module: Any = None,
        user_ns: dict[str, Any] | None = None,
    ) -> None:
        """Import IPython and install it in this process. No code of the user's runs before `prepare`.

        user_module, user_ns: where the user's code runs, by default a new `__main__`.
        Raises SystemExit for a configuration that cannot be.
        """
        from fastshell.interpreter import stdin
        from fastshell.interpreter.display import Publisher, ResultHook
        from fastshell.interpreter.shell import ZMQInteractiveShell

        sys.stdout = OutStream(self.outbox, "stdout", stdout_fd)
        sys.stderr = OutStream(self.outbox, "stderr", stderr_fd)
        Publisher.outbox = ResultHook.outbox = self.outbox
        assert self.session is not None  # set by the app, before it starts a kernel
        Publisher.session = ResultHook.session = self.session
        stdin.install(self)
        self.shell = application.make_shell(ZMQInteractiveShell, user_module=user_module, user_ns=user_ns)
        self.shell.kernel = self
        self._configure(application)
        session_name = os.environ.get("JPY_SESSION_NAME")
        if session_name:
            self.shell.user_ns["__session__"] = session_name
        self._transforms = self._transform_count()

    def _configure(self, application: IPKernelApp) -> None:
        from fastshell.interpreter import configuration

        application.kernel = self
        self.parent = application
        self.config = application.config
        settings = configuration.IPythonKernel(parent=application)
        self.stop_on_error_timeout = settings.stop_on_error_timeout
        self.use_experimental_completions = settings.use_experimental_completions

    def prepare(self) -> None:
        """Run start-up files, extensions and the like; from then on subshells may execute."""
        try:
            self.parent.prepare()
        finally:
            self._ready.set()

    def shells_ended(self) -> None:
        self.outbox.flush()

    # --- windows ---

    @property
    def eventloop(self) -> Integration | None:
        """The integration of a GUI toolkit that is on; see `eventloops`. Setting it: any thread."""
        return self._eventloop

    @eventloop.setter
    def eventloop(self, integration: Integration | None) -> None:
        if integration is not self._eventloop:
            self._eventloop = integration
            self.turns.use(integration)

    @property
    def turns(self) -> Turns:
        """What an integration asks for messages. Thread: main, at first."""
        if self._turns is None:
            from fastshell.interpreter.eventloops import Turns

            self._turns = Turns(self, self.main_shell)
        return self._turns

    def next_execution_count(self) -> int:
        count: int = self.shell.execution_count
        return count

    @property
    def user_ns(self) -> dict[str, Any]:
        """The namespace of cells."""
        namespace: dict[str, Any] = self.shell.user_ns
        return namespace

    @user_ns.setter
    def user_ns(self, namespace: dict[str, Any]) -> None:
        self.shell.user_ns = namespace
        self.shell.init_user_ns()

    @property
    def user_module(self) -> Any:
        return self.shell.user_module

    @user_module.setter
    def user_module(self, module: Any) -> None:
        self.shell.user_module = module

    @property
    def execution_count(self) -> int:
        """That of the calling shell."""
        return self.next_execution_count() if hasattr(self, "shell") else 0

    @execution_count.setter
    def execution_count(self, count: int) -> None:
        if hasattr(self, "shell"):
            self.shell.execution_count = count

    # --- execute ---

    def do_execute(
        self,
        code: str,
        silent: bool,
        store_history: bool = True,
        user_expressions: dict[str, str] | None = None,
        allow_stdin: bool = False,
        *,
        cell_meta: dict[str, Any] | None = None,
        cell_id: str | None = None,
    ) -> Reply | Awaitable[Reply]:
        if self._may_await(code):
            transformed, failure = self._transform(code)
            if self._runs_on_our_loop() and self.shell.should_run_async(
                code, transformed_cell=transformed, preprocessing_exc_tuple=failure
            ):
                return self._execute_async(
                    code, transformed, silent, store_history, user_expressions, cell_meta, cell_id
                )
        result = self.shell.run_cell(
            code, store_history=store_history, silent=silent, cell_id=cell_id, cell_meta=cell_meta
        )
        return self._reply(result, user_expressions)

    async def _execute_async(
        self,
        code: str,
        transformed: str,
        silent: bool,
        store_history: bool,
        user_expressions: dict[str, str] | None,
        cell_meta: dict[str, Any] | None,
        cell_id: str | None,
    ) -> Reply:
        shell = self.shell
        shell.forget_traceback()
        result = None
        try:
            result = await shell.run_cell_async(
                code,
                store_history=store_history,
                silent=silent,
                transformed_cell=transformed,
                cell_id=cell_id,
                cell_meta=cell_meta,
            )
        finally:
            shell.events.trigger("post_execute")
            if not silent:
                shell.events.trigger("post_run_cell", result)
        return self._reply(result, user_expressions)

    def _may_await(self, code: str) -> bool:
        """Whether it is worth asking IPython; a keyword that is not there needs a transformer to appear."""
        return "await" in code or "async" in code or self._transform_count() != self._transforms

    def _transform_count(self) -> int:
        manager = self.shell.input_transformer_manager
        return (
            len(self.shell.input_transformers_post)
            + len(manager.cleanup_transforms)
            + len(manager.line_transforms)
            + len(manager.token_transformers)
        )

    def _transform(self, code: str) -> tuple[str, Any]:
        """The cell as Python, and why it could not be made that."""
        try:
            return self.shell.transform_cell(code), None
        except Exception:
            return code, sys.exc_info()

    def _runs_on_our_loop(self) -> bool:
        """Whether `await` in a cell means asyncio, on the loop of this shell: `%autoawait` can change it."""
        from IPython.core.async_helpers import _asyncio_runner

        return self.shell.loop_runner is _asyncio_runner and asyncio._get_running_loop() is not None

    def _reply(self, result: Any, user_expressions: dict[str, str] | None) -> Reply:
        from fastshell.interpreter.shell import message_of

        shell = self.shell
        reply: Reply = {"status": "ok", "execution_count": shell.execution_count - 1}
        if result.success and not shell._traceback_of_display:
            reply["user_expressions"] = shell.user_expressions(user_expressions or {})
        else:
            error = result.error_before_exec if result.error_before_exec is not None else result.error_in_exec
            reply.update(
                status="error",
                ename=type(error).__name__,
                evalue=message_of(error),
                traceback=shell._last_traceback or [],
                user_expressions={},
            )
        reply["payload"] = shell.payload_manager.read_payload()
        shell.payload_manager.clear_payload()
        return reply

    # --- questions about code ---

    def do_complete(self, code: str, cursor_pos: int) -> Reply:
        from IPython.core.completer import provisionalcompleter, rectify_completions

        if not self.use_experimental_completions:
            return self._complete_of_old(code, cursor_pos)
        with provisionalcompleter():
            found = list(rectify_completions(code, self.shell.Completer.completions(code, cursor_pos)))
        return {
            "status": "ok",
            "matches": [one.text for one in found],
            "cursor_start": found[0].start if found else cursor_pos,
            "cursor_end": found[0].end if found else cursor_pos,
            "metadata": {
                "_jupyter_types_experimental": [
                    {
                        "start": one.start,
                        "end": one.end,
                        "text": one.text,
                        "type": one.type,
                        "signature": one.signature,
                    }
                    for one in found
                ]
            },
        }

    def _complete_of_old(self, code: str, cursor_pos: int) -> Reply:
        """Without types, and of one line: IPythonKernel.use_experimental_completions=False."""
        from IPython.utils.tokenutil import line_at_cursor

        line, start = line_at_cursor(code, cursor_pos)
        text, matches = self.shell.complete("", line, cursor_pos - start)
        return {
            "status": "ok",
            "matches": matches,
            "cursor_start": cursor_pos - len(text),
            "cursor_end": cursor_pos,
            "metadata": {},
        }

    def do_inspect(
        self, code: str, cursor_pos: int, detail_level: int = 0, omit_sections: tuple[str, ...] = ()
    ) -> Reply:
        from IPython.utils.tokenutil import token_at_cursor

        reply: Reply = {"status": "ok", "found": False, "data": {}, "metadata": {}}
        try:
            data = self.shell.object_inspect_mime(
                token_at_cursor(code, cursor_pos), detail_level=detail_level, omit_sections=omit_sections
            )
        except KeyError:
            return reply
        if not self.shell.enable_html_pager:
            data.pop("text/html", None)
        reply.update(found=True, data=data)
        return reply

    def do_is_complete(self, code: str) -> Reply:
        status, indent_spaces = self.shell.input_transformer_manager.check_complete(code)
        if status == "incomplete":
            return {"status": status, "indent": " " * (indent_spaces or 0)}
        return {"status": status}

    def do_history(
        self,
        hist_access_type: str,
        output: bool,
        raw: bool,
        session: int = 0,
        start: int = 0,
        stop: int | None = None,
        n: int | None = None,
        pattern: str | None = None,
        unique: bool = False,
    ) -> Reply:
        """What the database and this session have; a subshell's own cells are found by `range` only."""
        main = self.shell.main_state["history_manager"]
        if hist_access_type == "tail":
            found = main.get_tail(10 if n is None else n, raw=raw, output=output, include_latest=True)
        elif hist_access_type == "range":
            own = self.shell.history_manager if session == 0 else main
            found = own.get_range(session, start, stop, raw=raw, output=output)
            if session > 0:  # IPython calls the running session 0, also when asked for it by its number
                found = ((number or session, line, cell) for number, line, cell in found)
        elif hist_access_type == "search":
            found = main.search(pattern, raw=raw, output=output, n=n, unique=unique)
        else:
            found = []
        return {"status": "ok", "history": list(found)}

"""Magics that a kernel has, or has otherwise than a terminal: the output goes to a front end elsewhere.

Thread: any that runs user code.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

from IPython.core import page
from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class
from IPython.core.magics.code import CodeMagics, MacroToEdit

from fastshell.kernel import current


@magics_class
class KernelMagics(Magics):
    """Those of ipykernel, by the same names."""

    @line_magic
    def edit(self, parameter_s: str = "", last_call: list[str] | None = None) -> None:
        """Let the front end open an editor.

        Usage:
          %edit [-n LINE] [-p] [-r] [ARGUMENT]

        ARGUMENT is a file, numbers of lines of the history such as `1 4:8 9`, a string variable, or a
        function or class, whose file is opened where it is defined; without one, an empty file.

        -n LINE   open the file at that line
        -p        edit what was edited last
        -r        take lines of the history as they were typed

        The front end does not tell when the editor is closed, so nothing is executed after it.
        """
        options, arguments = self.parse_options(parameter_s, "prn:")
        try:
            filename, line_number, _ = CodeMagics._find_edit_target(
                self.shell, arguments, options, last_call or ["", ""]
            )
        except MacroToEdit:
            print("Macro editing not yet implemented in 2-process model.")
            return
        self._payload(
            {
                "source": "edit_magic",
                "filename": str(Path(filename).resolve()),
                "line_number": line_number,
            }
        )

    @line_magic
    def clear(self, arg_s: str) -> None:
        """Clear the terminal."""
        self._shell.system("clear" if os.name == "posix" else "cls")

    if os.name == "nt":

        @line_magic
        def cls(self, arg_s: str) -> None:
            """Clear the terminal."""
            self._shell.system("cls")

    @line_magic
    def less(self, arg_s: str) -> None:
        """Show a file in the pager, a .py file in colours."""
        self._show_file(arg_s)

    @line_magic
    def more(self, arg_s: str) -> None:
        """Show a file in the pager, a .py file in colours."""
        self._show_file(arg_s)

    if os.name == "posix":

        @line_magic
        def man(self, arg_s: str) -> None:
            """Show a manual page in the pager."""
            page.page(self._shell.getoutput(f"man {arg_s} | col -b", split=False))

    @line_magic
    def connect_info(self, arg_s: str) -> None:
        """Show the connection file, and how other front ends connect to this kernel."""
        from jupyter_core.paths import jupyter_runtime_dir

        path = self._shell.kernel.connection_file
        try:
            info = json.dumps(json.loads(Path(path).read_text()), indent=2)
        except (OSError, ValueError) as error:
            warnings.warn(f"Could not get connection info: {error!r}", stacklevel=2)
            return
        name = Path(path).name if jupyter_runtime_dir() == str(Path(path).parent) else path
        print(f"{info}\n")
        print(
            "Paste the above JSON into a file, and connect with:\n"
            "    $> jupyter <app> --existing <file>\n"
            "or, if you are local, you can connect with just:\n"
            f"    $> jupyter <app> --existing {name}\n"
            "or even just:\n"
            "    $> jupyter <app> --existing\n"
            "if this is the most recent Jupyter kernel you have started."
        )

    @line_magic
    def qtconsole(self, arg_s: str) -> None:
        """Open a qtconsole that is connected to this kernel; further words are its arguments."""
        from IPython.utils._process_common import arg_split

        command = "from qtconsole import qtconsoleapp; qtconsoleapp.main()"
        path = str(Path(self._shell.kernel.connection_file).absolute())
        try:
            subprocess.Popen(
                [sys.executable, "-c", command, "--existing", path, *arg_split(arg_s, os.name == "posix")],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                close_fds=sys.platform != "win32",
                start_new_session=True,
            )
        except OSError as error:
            warnings.warn(f"Could not start qtconsole: {error!r}", stacklevel=2)

    @line_magic
    def autosave(self, arg_s: str) -> None:
        """Set the autosave interval of the classic notebook in seconds; 0 disables autosave."""
        from IPython.display import Javascript, display

        try:
            interval_s = int(arg_s)
        except ValueError as error:
            raise UsageError(f"%autosave requires an integer, got {arg_s!r}") from error
        script = f"IPython.notebook.set_autosave_interval({1000 * interval_s})"
        display(Javascript(script), include=["application/javascript"])
        print(f"Autosaving every {interval_s} seconds" if interval_s else "Autosave disabled")

    @line_magic
    def subshell(self, arg_s: str) -> None:
        """List this shell, and all subshells: their ids, threads and states."""
        here = current.current_shell()
        subshells = self._shell.kernel.subshells.listed()
        print(f"subshell id: {here.subshell_id if here is not None else None}")
        print(f"thread id: {threading.get_ident()}")
        print(f"main thread id: {threading.main_thread().ident}")
        print(f"pid: {os.getpid()}")
        print(f"thread count: {threading.active_count()}")
        print(f"subshell list: {[one.subshell_id for one in subshells]}")
        for one in subshells:
            print(f"    {one.subshell_id}  thread {one.thread_id}  {one.state}")

    # --- parts ---

    @property
    def _shell(self) -> Any:
        return self.shell

    def _show_file(self, arg_s: str) -> None:
        if not arg_s:
            raise UsageError("Missing filename.")
        if arg_s.endswith(".py"):
            from IPython.utils.openpy import read_py_file

            page.page(self._shell.pycolorize(read_py_file(arg_s, skip_encoding_cookie=False)))
        else:
            with open(arg_s) as file:
                page.page(file.read())

    def _payload(self, payload: dict[str, Any]) -> None:
        self._shell.payload_manager.write_payload(payload)

"""The command line of a kernel, read once into one record.

Thread: main, at start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

USAGE = """\
usage: python -m fastshell [-f FILE] [options]
       python -m fastshell install [--user | --sys-prefix | --prefix P] [--name N] [--display-name D]
       python -m fastshell uninstall [--name N]

Run a Jupyter kernel for Python.

  -f FILE, --f=FILE, --ConnectionFile=FILE
                        the connection file: ports, key, transport. A file that does not exist is
                        written with free ports; without -f, one in the Jupyter runtime folder.
  --transport=T         tcp (default) or ipc, for a connection file that is written here
  --ip=IP               address to bind, or the path prefix for ipc, likewise
  --router=R            auto (default), compiled, or plain; also by FASTSHELL_ROUTER
  --iopub-hwm=N         messages kept for one slow subscriber of iopub; 0: no limit (default 100000)
  --no-capture          leave file descriptors 1 and 2 alone
  --kick-signal=N       before Python 3.13: let this signal make a busy main thread yield at once
  --version, --help

Flags of the form --Class.trait=value configure IPython, as with ipykernel.
"""


class UsageError(Exception):
    """The kernel cannot start; one line says what is wrong and what was expected."""


@dataclass(frozen=True)
class Options:
    """What the command line said."""

    connection_file: str | None = None
    transport: str = "tcp"
    ip: str | None = None
    router: str | None = None
    iopub_hwm: int = 100_000
    capture: bool = True
    kick_signal: int = 0
    traits: tuple[str, ...] = field(default=())  # left to traitlets


def parse(argv: Sequence[str]) -> Options:
    """Read a command line. Raises UsageError for a value that cannot be."""
    connection_file: str | None = None
    values: dict[str, str] = {}
    traits: list[str] = []
    capture = True
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if name in ("-f", "--f", "--ConnectionFile", "--IPKernelApp.connection_file"):
            if not equals:
                if not rest:
                    raise UsageError(f"{name}: expected the path of a connection file")
                value = rest.pop(0)
            connection_file = value
        elif name in ("--transport", "--ip", "--router", "--iopub-hwm", "--kick-signal"):
            if not equals:
                if not rest:
                    raise UsageError(f"{name}: expected a value")
                value = rest.pop(0)
            values[name] = value
        elif word == "--no-capture":
            capture = False
        else:
            traits.append(word)
    if values.get("--transport", "tcp") not in ("tcp", "ipc"):
        raise UsageError(f"--transport={values['--transport']}: expected tcp or ipc")
    if values.get("--router", "auto") not in ("auto", "compiled", "plain"):
        raise UsageError(f"--router={values['--router']}: expected auto, compiled or plain")
    return Options(
        connection_file=connection_file,
        transport=values.get("--transport", "tcp"),
        ip=values.get("--ip"),
        router=values.get("--router"),
        iopub_hwm=_number(values, "--iopub-hwm", 100_000),
        capture=capture,
        kick_signal=_number(values, "--kick-signal", 0),
        traits=tuple(traits),
    )


def _number(values: dict[str, str], name: str, default: int) -> int:
    text = values.get(name)
    if text is None:
        return default
    if not text.isdecimal():
        raise UsageError(f"{name}={text}: expected a whole number, 0 or more")
    return int(text)

"""The command line of a kernel, read once into one record.

Thread: main, at start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

USAGE = """\
usage: python -m fastshell [-f FILE] [options]
       python -m fastshell run PROGRAM [-f FILE] [options]
       python -m fastshell install [--user | --sys-prefix | --prefix P] [--name N] [--display-name D]
                                   [--run PROGRAM] [--language L]
       python -m fastshell uninstall [--name N]

Run a Jupyter kernel for Python; or PROGRAM, a module or .py file of a kernel that was written for ipykernel.

  -f FILE, --f=FILE, --ConnectionFile=FILE
                        the connection file: ports, key, transport; or a registration file. A file that
                        does not exist is written with free ports; without -f, one in the Jupyter
                        runtime folder.
  --transport=T         tcp (default) or ipc, for a connection file that is written here
  --ip=IP               address to bind, or the path prefix for ipc, likewise
  --no-secure           do not sign messages, likewise
  --shell=N, --iopub=N, --stdin=N, --control=N, --hb=N
                        ports, instead of those of the connection file
  --user=NAME, --ident=ID
                        the user and the session that the headers of messages name
  --router=R            auto (default), compiled, or plain; also by FASTSHELL_ROUTER
  --iopub-hwm=N         messages kept for one slow subscriber of iopub; 0: no limit (default 100000)
  --no-capture          leave file descriptors 1 and 2 alone
  --kick-signal=N       before Python 3.13: let this signal make a busy main thread yield at once
  --help-all            all options, also those of IPython
  --version, --help

All other options configure IPython, as with ipykernel: --matplotlib, --profile=NAME, --log-level=N,
--InteractiveShellApp.exec_lines=CODE, --Class.trait=value ...
"""


class UsageError(Exception):
    """The kernel cannot start; one line says what is wrong and what was expected."""


@dataclass(frozen=True)
class Options:
    """What the command line said."""

    connection_file: str | None = None
    transport: str = "tcp"
    ip: str | None = None
    is_signed: bool = True  # whether a connection that is made here has a key
    ports: Mapping[str, int] = field(default_factory=dict)  # by channel, those that were given
    username: str | None = None
    session: str | None = None
    router: str | None = None
    iopub_hwm: int = 100_000
    capture: bool = True
    kick_signal: int = 0
    #: For `interpreter.configuration`: all but the options that it does not know.
    arguments: tuple[str, ...] = ()


#: Options with a value, by their first spelling, which stands for the option.
_VALUES = {
    "connection_file": ("-f", "--f", "--ConnectionFile", "--IPKernelApp.connection_file"),
    "transport": ("--transport", "--IPKernelApp.transport"),
    "ip": ("--ip", "--IPKernelApp.ip"),
    "shell": ("--shell", "--IPKernelApp.shell_port"),
    "iopub": ("--iopub", "--IPKernelApp.iopub_port"),
    "stdin": ("--stdin", "--IPKernelApp.stdin_port"),
    "control": ("--control", "--IPKernelApp.control_port"),
    "hb": ("--hb", "--IPKernelApp.hb_port"),
    "username": ("--user", "--Session.username"),
    "session": ("--ident", "--Session.session"),
    "capture": ("--IPKernelApp.capture_fd_output",),
    "router": ("--router",),
    "iopub_hwm": ("--iopub-hwm",),
    "kick_signal": ("--kick-signal",),
}
_NAMES = {spelling: name for name, spellings in _VALUES.items() for spelling in spellings}

#: Ours alone: unknown to `interpreter.configuration`.
_OWN = {"router", "iopub_hwm", "kick_signal"}

_PORTS = ("shell", "iopub", "stdin", "control", "hb")


def parse(argv: Sequence[str]) -> Options:
    """Read a command line. Raises UsageError for a value that cannot be."""
    values: dict[str, tuple[str, str]] = {}  # spelling and value, by name
    arguments: list[str] = []
    is_signed = capture = True
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--":
            arguments += [word, *rest]
            break
        spelling, equals, value = word.partition("=")
        name = _NAMES.get(spelling)
        if name is not None:
            if not equals:
                if not rest:
                    raise UsageError(f"{spelling}: expected {_EXPECTED.get(name, 'a value')}")
                value = rest.pop(0)
            values[name] = (spelling, value)
            if name == "connection_file":
                arguments.append(f"--IPKernelApp.connection_file={value}")
            elif name not in _OWN:
                arguments.append(f"{spelling}={value}")
        elif word == "--no-capture":
            capture = False
        else:
            is_signed = is_signed and word != "--no-secure"
            arguments.append(word)
    _check(values, "transport", ("tcp", "ipc"))
    _check(values, "router", ("auto", "compiled", "plain"))
    _check(values, "capture", ("True", "False", "true", "false", "1", "0"))
    ports = {channel: _number(values, channel, 0) for channel in _PORTS if channel in values}
    return Options(
        connection_file=_text(values, "connection_file"),
        transport=_text(values, "transport") or "tcp",
        ip=_text(values, "ip"),
        is_signed=is_signed,
        ports={channel: port for channel, port in ports.items() if port},
        username=_text(values, "username"),
        session=_text(values, "session"),
        router=_text(values, "router"),
        iopub_hwm=_number(values, "iopub_hwm", 100_000),
        capture=capture and _text(values, "capture") not in ("False", "false", "0"),
        kick_signal=_number(values, "kick_signal", 0),
        arguments=tuple(arguments),
    )


_EXPECTED = {"connection_file": "the path of a connection file"}


def _text(values: dict[str, tuple[str, str]], name: str) -> str | None:
    return values[name][1] if name in values else None


def _check(values: dict[str, tuple[str, str]], name: str, allowed: tuple[str, ...]) -> None:
    if name in values and values[name][1] not in allowed:
        spelling, value = values[name]
        raise UsageError(f"{spelling}={value}: expected {', '.join(allowed[:-1])} or {allowed[-1]}")


def _number(values: dict[str, tuple[str, str]], name: str, default: int) -> int:
    if name not in values:
        return default
    spelling, text = values[name]
    if not text.isdecimal():
        raise UsageError(f"{spelling}={text}: expected a whole number, 0 or more")
    return int(text)

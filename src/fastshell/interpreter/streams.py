"""sys.stdout and sys.stderr: text goes to the outbox under the request of the code that wrote it.

Thread: any. Installed once for the kernel's life. In a forked child text goes to the captured file
descriptor instead, which leads to the parent's router.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

from fastshell.kernel.current import parent_header

if TYPE_CHECKING:
    from fastshell.kernel.channel import Outbox


class OutStream(io.TextIOBase):
    """A text stream of the front end. Writing never raises for what is written, and never blocks."""

    encoding = "UTF-8"
    errors = "backslashreplace"

    def __init__(self, outbox: Outbox, name: str, fd: int) -> None:
        """name: stdout or stderr. fd: the descriptor of that number, for fileno and for children."""
        self._outbox = outbox
        self._fd = fd
        self._pid = os.getpid()
        self.stream_name = name

    @property
    def name(self) -> str:
        return f"<{self.stream_name}>"

    def write(self, text: str) -> int:
        """Raises TypeError for anything but str, ValueError once closed."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text)}")
        encoded = text.encode("utf-8", "backslashreplace")
        if os.getpid() != self._pid:
            _write_all(self._fd, encoded)
        else:
            self._outbox.write(self.stream_name, parent_header(), encoded)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Let what was written leave now."""
        if os.getpid() == self._pid:
            self._outbox.flush()

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        """The captured descriptor: what is written there appears in the front end too."""
        if self._fd < 0:
            raise io.UnsupportedOperation("fileno")
        return self._fd

    def close(self) -> None:
        """Does nothing: code that closes sys.stdout must not silence the next cell."""

    def __del__(self) -> None:
        """Not TextIOBase's, which would close."""


def _write_all(fd: int, data: bytes) -> None:
    while data and fd >= 0:
        try:
            data = data[os.write(fd, data) :]
        except OSError:
            return

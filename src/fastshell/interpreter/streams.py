"""sys.stdout and sys.stderr: text goes to the outbox under the request of the code that wrote it.

Thread: any. Installed once for the kernel's life. In a forked child text goes to the captured file
descriptor instead, which leads to the parent's router.
"""

from __future__ import annotations

import codecs
import io
import os
import threading
from typing import TYPE_CHECKING, Any

from fastshell.interpreter.parents import HasParent

if TYPE_CHECKING:
    from fastshell.kernel.channel import Outbox


class OutStream(HasParent, io.TextIOBase):
    """A text stream of the front end. Writing never raises for what is written, and never blocks."""

    encoding = "UTF-8"
    errors = "backslashreplace"
    #: Where what is written is repeated; a kernel that is shown in a front end repeats it nowhere.
    echo: Any = None
    flush_interval = 0.05  # seconds that text is kept at most, see Outbox.write

    def __init__(self, outbox: Outbox, name: str, fd: int) -> None:
        """name: stdout or stderr. fd: the descriptor of that number, for fileno and for children."""
        super().__init__()
        self._outbox = outbox
        self._fd = fd
        self._pid = os.getpid()
        self.name = name
        self.topic = f"stream.{name}".encode()
        self.buffer = _Bytes(self)

    def write(self, text: str) -> int:
        """Raises TypeError for anything but str."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text)}")
        encoded = text.encode("utf-8", "backslashreplace")
        if os.getpid() != self._pid:
            _write_all(self._fd, encoded)
        else:
            self._outbox.write(self.name, self.parent_bytes(), encoded)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Let what was written leave now."""
        if os.getpid() == self._pid:
            self._outbox.flush()

    def _flush(self) -> None:
        """`flush`, by the name that code written for ipykernel knows."""
        self.flush()

    def _is_master_process(self) -> bool:
        """Whether this is the kernel's process, and no child of it."""
        return os.getpid() == self._pid

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


class _Decoder(threading.local):
    """Half a character of one thread is not joined with another's."""

    def __init__(self) -> None:
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")


class _Bytes(io.BufferedIOBase):
    """sys.stdout.buffer: bytes are read as UTF-8, and what is none becomes U+FFFD."""

    mode = "wb"

    def __init__(self, stream: OutStream) -> None:
        self._stream = stream
        self._of_thread = _Decoder()

    @property
    def name(self) -> str:
        return self._stream.name

    def write(self, data: Any) -> int:
        """Raises TypeError for what is not like bytes. Half a character waits for its other half."""
        if isinstance(data, str):
            raise TypeError("a bytes-like object is required, not 'str'")
        raw = memoryview(data).tobytes()
        text = self._of_thread.decoder.decode(raw)
        if text:
            self._stream.write(text)
        return len(raw)

    def flush(self) -> None:
        self._stream.flush()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def close(self) -> None:
        """Does nothing, as the stream's: a TextIOWrapper around this closes it at its end."""

    def __del__(self) -> None:
        """Not BufferedIOBase's, which would close."""


def _write_all(fd: int, data: bytes) -> None:
    while data and fd >= 0:
        try:
            data = data[os.write(fd, data) :]
        except OSError:
            return

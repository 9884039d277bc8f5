"""What Windows has instead of signals: events by which the parent interrupts, or is known to have died.

Thread: one of its own, daemon, that waits. JPY_INTERRUPT_EVENT and JPY_PARENT_PID name handles there,
which the process inherits; the first resets itself when it has been seen.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence

#: Blocks until one of these handles is signalled; its index. Raises OSError.
Wait = Callable[[Sequence[int]], int]


def handles_of(environ: Mapping[str, str]) -> tuple[int, int]:
    """(interrupt, parent) as the variables name them, 0 for none."""
    interrupt, parent = (environ.get(name, "") for name in ("JPY_INTERRUPT_EVENT", "JPY_PARENT_PID"))
    return int(interrupt) if interrupt.isdecimal() else 0, int(parent) if parent.isdecimal() else 0


def watch(
    interrupt: int, parent: int, on_interrupt: Callable[[], None], on_parent: Callable[[], None], wait: Wait
) -> None:
    """Call on_interrupt whenever that event is set; on_parent once, at the end. Blocks."""
    handles = [handle for handle in (interrupt, parent) if handle]
    while handles:
        try:
            handle = handles[wait(handles)]
        except OSError:
            return  # not handles of this process's: then nothing can be known
        if handle == parent:
            on_parent()
            return
        on_interrupt()


def start(on_interrupt: Callable[[], None], on_parent: Callable[[], None]) -> None:
    """Watch on a thread of its own, if this is Windows and there is something to watch."""
    if sys.platform == "win32":
        import _winapi

        def wait(handles: Sequence[int]) -> int:
            return _winapi.WaitForMultipleObjects(handles, False, _winapi.INFINITE) - _winapi.WAIT_OBJECT_0

        interrupt, parent = handles_of(os.environ)
        if interrupt or parent:
            threading.Thread(
                target=watch,
                args=(interrupt, parent, on_interrupt, on_parent, wait),
                name="parent",
                daemon=True,
            ).start()

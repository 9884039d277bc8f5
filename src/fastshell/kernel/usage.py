"""What the kernel and its child processes use: the answer to usage_request.

Thread: control. psutil is imported by the first request.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

from fastshell.kernel.base import Reply
from fastshell.kernel.request import Request

if TYPE_CHECKING:
    import psutil


class Usage:
    """Remembers processes: how much of a CPU one uses is counted from question to question."""

    def __init__(self) -> None:
        self._processes: dict[int, psutil.Process] = {}

    def usage_request(self, request: Request) -> Reply:
        """Memory in bytes, CPU in percent of one; those of the kernel with all that it has started."""
        reply: Reply = {"hostname": socket.gethostname(), "pid": os.getpid()}
        try:
            import psutil
        except ImportError:
            return reply | {"cpu_count": os.cpu_count()}
        reply["kernel_cpu"] = reply["kernel_memory"] = 0
        for process in self._current(psutil):
            try:
                reply["kernel_cpu"] += process.cpu_percent()
                reply["kernel_memory"] += _memory_bytes(process)
            except psutil.Error:
                pass  # it has gone meanwhile, or is another user's
        host_cpu_percent = psutil.cpu_percent()
        if host_cpu_percent:  # the first answer is a 0.0 without a meaning
            reply["host_cpu_percent"] = host_cpu_percent
        reply["cpu_count"] = psutil.cpu_count(logical=True)
        reply["host_virtual_memory"] = psutil.virtual_memory()._asdict()
        return reply

    def _current(self, psutil: Any) -> list[psutil.Process]:
        """The kernel's process and its descendants; those that were known are the same objects again."""
        kernel = psutil.Process()
        found = [kernel, *kernel.children(recursive=True)]
        self._processes = {process.pid: self._known(process) for process in found}
        return list(self._processes.values())

    def _known(self, process: psutil.Process) -> psutil.Process:
        known = self._processes.get(process.pid)
        return known if known == process else process


def _memory_bytes(process: psutil.Process) -> int:
    """What shared pages leave for each of those that share them, where the system tells; else all pages."""
    info = process.memory_full_info()
    return int(getattr(info, "pss", info.rss))

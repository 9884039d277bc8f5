"""execute_request: announce the code, run it, say how it went.

Thread: that of the shell that was asked.
"""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any

from fastshell.kernel.base import Kernel, Reply
from fastshell.kernel.request import Request
from fastshell.protocol.content import ExecuteRequest, encode


class Execution:
    """Runs code by the kernel's do_execute."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def execute_request(self, request: Request) -> Reply | Awaitable[Reply]:
        content = request.content(ExecuteRequest)
        started = datetime.now(UTC)
        shell = request.shell
        request.allow_stdin = content.allow_stdin
        shell.last_execute = request
        if shell.is_main:
            shell.outbox.capture_parent(request.header)
        silent = content.silent
        if not silent:
            request.publish(
                "execute_input",
                {"code": content.code, "execution_count": self._kernel.next_execution_count()},
            )
        metadata = request.metadata
        cell_id = metadata.get("cellId")
        outcome = self._kernel.do_execute(
            content.code,
            silent,
            not silent if content.store_history is None else content.store_history,
            content.user_expressions or {},
            content.allow_stdin,
            cell_meta=metadata,
            cell_id=cell_id if isinstance(cell_id, str) else None,
        )
        if isinstance(outcome, dict):
            return _finish(request, content, started, outcome)
        return _finish_later(request, content, started, outcome)


async def _finish_later(
    request: Request, content: ExecuteRequest, started: datetime, outcome: Awaitable[Reply]
) -> Reply:
    return _finish(request, content, started, await outcome)


def _finish(request: Request, content: ExecuteRequest, started: datetime, reply: dict[str, Any]) -> Reply:
    request.reply_metadata = encode(
        {"started": started, "dependencies_met": True, "status": reply.get("status", "ok")}
    )
    request.aborts_queue = reply.get("status") == "error" and content.stop_on_error and not content.silent
    return reply

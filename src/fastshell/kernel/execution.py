"""execute_request: announce the code, run it, say how it went.

Thread: that of the shell that was asked.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import traceback
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any

from fastshell.kernel.base import Kernel, Reply
from fastshell.kernel.request import Request
from fastshell.protocol.content import ExecuteRequest, encode

log = logging.getLogger("fastshell")


class Execution:
    """Runs code by the kernel's do_execute."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._takes_meta = _takes(kernel.do_execute, "cell_meta")  # kernels of old know neither
        self._takes_id = _takes(kernel.do_execute, "cell_id")

    def execute_request(self, request: Request) -> Reply | Awaitable[Reply]:
        content = request.content(ExecuteRequest)
        started = datetime.now(UTC)
        shell = request.shell
        request.allow_stdin = content.allow_stdin
        shell.last_execute = request
        shell.stop_on_error_timeout_s = self._kernel.stop_on_error_timeout
        if shell.is_main:
            shell.outbox.capture_parent(request.header)
        silent = content.silent
        if not silent:
            request.publish(
                "execute_input",
                {"code": content.code, "execution_count": self._kernel.next_execution_count()},
            )
        options: dict[str, Any] = {}
        if self._takes_meta:
            options["cell_meta"] = request.metadata
        if self._takes_id:
            cell_id = request.metadata.get("cellId")
            options["cell_id"] = cell_id if isinstance(cell_id, str) else None
        try:
            outcome = self._kernel.do_execute(
                code=content.code,
                silent=silent,
                store_history=not silent if content.store_history is None else content.store_history,
                user_expressions=content.user_expressions or {},
                allow_stdin=content.allow_stdin,
                **options,
            )
        except BaseException as error:
            return _finish(request, content, started, _failed(request, content, error))
        if inspect.isawaitable(outcome):
            return _finish_later(request, content, started, outcome)
        return _finish(request, content, started, outcome)


async def _finish_later(
    request: Request, content: ExecuteRequest, started: datetime, outcome: Awaitable[Reply]
) -> Reply:
    try:
        reply = await outcome
    except (GeneratorExit, asyncio.CancelledError):
        raise  # the shell ends
    except BaseException as error:
        reply = _failed(request, content, error)
    return _finish(request, content, started, reply)


def _takes(method: Any, name: str) -> bool:
    """Whether a method has a parameter of that name, or takes any."""
    parameters = inspect.signature(method).parameters
    return name in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def _failed(request: Request, content: ExecuteRequest, error: BaseException) -> Reply:
    """What do_execute let through is shown under the cell: the front end looks at no reply for that."""
    if not isinstance(error, KeyboardInterrupt):
        log.error("do_execute failed", exc_info=error)
    failure = {
        "ename": type(error).__name__,
        "evalue": str(error),
        "traceback": traceback.format_exception(error),
    }
    if not content.silent:
        request.publish("error", failure)
    return {"status": "error", **failure}


def _finish(request: Request, content: ExecuteRequest, started: datetime, outcome: Any) -> Reply:
    if isinstance(outcome, dict):
        reply: Reply = outcome
    else:  # a do_execute of others
        what = type(outcome).__name__
        reply = _failed(request, content, TypeError(f"do_execute returned {what}: expected a dict"))
    request.reply_metadata = encode(
        {"started": started, "dependencies_met": True, "status": reply.get("status", "ok")}
    )
    request.aborts_queue = reply.get("status") == "error" and content.stop_on_error and not content.silent
    return reply

"""complete, inspect, is_complete, history: questions about code and what it made.

Thread: that of the shell that was asked.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from typing import Any

from fastshell.kernel.base import Kernel, Reply
from fastshell.kernel.request import Request
from fastshell.protocol.content import CompleteRequest, HistoryRequest, InspectRequest, IsCompleteRequest


class Introspection:
    """Asks the kernel's do_complete, do_inspect, do_is_complete, do_history."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def complete_request(self, request: Request) -> Reply | Awaitable[Reply]:
        content = request.content(CompleteRequest)
        return self._ask("do_complete", content.code, _position(content.code, content.cursor_pos))

    def inspect_request(self, request: Request) -> Reply | Awaitable[Reply]:
        content = request.content(InspectRequest)
        return self._ask(
            "do_inspect",
            content.code,
            _position(content.code, content.cursor_pos),
            content.detail_level,
            tuple(content.omit_sections),
        )

    def is_complete_request(self, request: Request) -> Reply | Awaitable[Reply]:
        return self._ask("do_is_complete", request.content(IsCompleteRequest).code)

    def history_request(self, request: Request) -> Reply | Awaitable[Reply]:
        content = request.content(HistoryRequest)
        return self._ask(
            "do_history",
            content.hist_access_type,
            content.output,
            content.raw,
            content.session,
            content.start,
            content.stop,
            content.n,
            content.pattern,
            content.unique,
        )

    def _ask(self, name: str, *arguments: Any) -> Reply | Awaitable[Reply]:
        """The kernel's answer; where it is None, that of a kernel which knows nothing."""
        outcome = getattr(self._kernel, name)(*arguments)
        if inspect.isawaitable(outcome):
            return self._ask_later(outcome, name, *arguments)
        return self._known(outcome, name, *arguments)

    async def _ask_later(self, outcome: Awaitable[Reply | None], name: str, *arguments: Any) -> Reply:
        return self._known(await outcome, name, *arguments)

    def _known(self, outcome: Reply | None, name: str, *arguments: Any) -> Reply:
        if outcome is None:
            nothing: Reply = getattr(Kernel, name)(self._kernel, *arguments)
            return nothing
        return outcome


def _position(code: str, cursor_pos: int | None) -> int:
    """The cursor within the code; absent means its end."""
    return len(code) if cursor_pos is None else max(0, min(cursor_pos, len(code)))

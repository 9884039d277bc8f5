"""Streams and publishers whose parent user code may choose: `sys.stdout.set_parent(parent)` and the like.

Thread: any. A choice holds in the context that made it, and there for one request: the shell's next
request is sent under itself again. Without a choice it is the request of the calling code.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import Any

from fastshell.kernel import current
from fastshell.kernel.request import Request, decode_header
from fastshell.protocol.content import encode

#: The request during which the choice was made, and header bytes.
_Choice = tuple[Request | None, bytes]


class HasParent:
    """What all of them have in common. Each has a choice of its own, as in ipykernel."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._chosen: ContextVar[_Choice] = ContextVar("fastshell_parent")
        super().__init__(*args, **kwargs)

    def parent_bytes(self) -> bytes:
        """Header bytes of the parent of what is sent now."""
        choice = self._chosen.get(None)
        request = current.current_request()
        if choice is not None and choice[0] is request:
            return choice[1]
        return b"{}" if request is None else request.header

    @property
    def parent_header(self) -> dict[str, Any]:
        """The header of the message that what is sent now answers."""
        return decode_header(self.parent_bytes())

    @parent_header.setter
    def parent_header(self, header: dict[str, Any]) -> None:
        self.set_parent(header)

    def set_parent(self, parent: dict[str, Any]) -> None:
        """From now on, send under this message or header, in the calling context."""
        self.set_thread_parent(parent)

    def set_thread_parent(self, parent: dict[str, Any]) -> Token[_Choice]:
        """The same; the token is for `reset_thread_parent`."""
        header = parent.get("header", parent) if parent else {}
        return self._chosen.set((current.current_request(), encode(header)))

    def reset_thread_parent(self, token: Token[_Choice]) -> None:
        """Undo the `set_thread_parent` that gave the token."""
        self._chosen.reset(token)

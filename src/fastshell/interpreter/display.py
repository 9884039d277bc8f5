"""What cells show: results, displays, errors.

Thread: any that runs user code. The display hook and the publisher of a shell's own keep no state
of the cell that runs: what is published goes under the request of the calling code.
"""

from __future__ import annotations

import base64
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher

from fastshell._contract import Destination
from fastshell.kernel.current import current_request, parent_header
from fastshell.protocol.content import encode

if TYPE_CHECKING:
    from fastshell.kernel.channel import Outbox

#: A hook gets a message and returns it, changed or not, or None to keep it from being sent.
Hook = Callable[[dict[str, Any]], dict[str, Any] | None]

_BINARY_IMAGES = ("image/png", "image/jpeg", "image/gif", "application/pdf")


def publish(outbox: Outbox, msg_type: str, content: dict[str, Any], hooks: list[Hook] | None = None) -> None:
    """Send a message on iopub under the current request, unless one of the hooks keeps it."""
    if hooks:
        request = current_request()
        message: dict[str, Any] | None = {
            "msg_type": msg_type,
            "header": {"msg_type": msg_type},
            "parent_header": request.header_fields if request is not None else {},
            "metadata": {},
            "content": content,
        }
        for hook in list(hooks):
            if message is not None:
                message = hook(message)
        if message is None:
            return
        content = message["content"]
    outbox.send(Destination.IOPUB, msg_type, parent_header(), encode(content))


def encode_images(data: dict[str, Any]) -> dict[str, Any]:
    """Images as bytes become base64 text, as the specification asks; the rest is left."""
    return {
        mime: base64.b64encode(value).decode()
        if mime in _BINARY_IMAGES and isinstance(value, bytes)
        else value
        for mime, value in data.items()
    }


class _Hooks(threading.local):
    """Transform hooks, for each thread its own: ipywidgets' Output registers there."""

    def __init__(self) -> None:
        self.hooks: list[Hook] = []


class Publisher(DisplayPublisher):
    """display(), update_display(), clear_output()."""

    outbox: Outbox

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._local = _Hooks()

    def publish(  # type: ignore[override]
        self,
        data: dict[str, Any],
        metadata: dict[str, Any] | None = None,
        *,
        transient: dict[str, Any] | None = None,
        update: bool = False,
        **kwargs: Any,
    ) -> None:
        """Send display_data, or with `update` update_display_data. transient: {"display_id": ...}."""
        self._validate_data(data, metadata)
        content = {"data": encode_images(data), "metadata": metadata or {}, "transient": transient or {}}
        msg_type = "update_display_data" if update else "display_data"
        publish(self.outbox, msg_type, content, self._local.hooks)

    def clear_output(self, wait: bool = False) -> None:
        """wait: clear only when the next output comes."""
        publish(self.outbox, "clear_output", {"wait": wait}, self._local.hooks)

    def register_hook(self, hook: Hook) -> None:
        """Let the calling thread's messages pass through `hook`."""
        self._local.hooks.append(hook)

    def unregister_hook(self, hook: Hook) -> bool:
        """Whether the hook was registered on the calling thread; it is no more."""
        try:
            self._local.hooks.remove(hook)
        except ValueError:
            return False
        return True


class ResultHook(DisplayHook):
    """sys.displayhook for one shell: sends execute_result."""

    outbox: Outbox
    #: Whether results become `_`, `__`, `_N` of the namespace, which all shells share.
    is_main = True

    def __call__(self, result: Any = None) -> None:
        self.check_for_underscore()
        if result is None or self.quiet():
            return
        self._is_active = True
        try:
            data, metadata = self.compute_format_data(result)
            self.update_user_ns(result)
            self.fill_exec_result(result)
            if data:
                content = {
                    "data": encode_images(data),
                    "metadata": metadata or {},
                    "execution_count": self.prompt_count,
                }
                publish(self.outbox, "execute_result", content)
                self.log_output(data)
        finally:
            self._is_active = False

    def check_for_underscore(self) -> None:
        if self.is_main:
            super().check_for_underscore()

    def update_user_ns(self, result: Any) -> None:
        if self.is_main:
            super().update_user_ns(result)


def install_displayhook(hook_of_caller: Callable[[], Callable[[Any], None]]) -> None:
    """Set sys.displayhook for the kernel's life; it asks for the calling shell's each time."""

    def displayhook(result: Any) -> None:
        hook_of_caller()(result)

    sys.displayhook = displayhook

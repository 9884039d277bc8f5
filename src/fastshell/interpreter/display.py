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
from traitlets import Bool

from fastshell._contract import Destination
from fastshell.interpreter.parents import HasParent
from fastshell.kernel.request import decode_header
from fastshell.kernel.session import IOPUB, Session
from fastshell.protocol.content import encode

if TYPE_CHECKING:
    from fastshell.kernel.channel import Outbox

#: A hook gets a message and returns it, changed or not, or None to keep it from being sent.
Hook = Callable[[dict[str, Any]], dict[str, Any] | None]

_BINARY_IMAGES = ("image/png", "image/jpeg", "image/gif", "application/pdf")


class _Hooks(threading.local):
    """Transform hooks, for each thread its own: libraries that capture what a cell shows register there."""

    def __init__(self) -> None:
        self.hooks: list[Hook] = []


class HasHooks(HasParent):
    """Sends on iopub what passes the hooks of the calling thread, under the current request."""

    outbox: Outbox
    #: By which libraries send messages of their own beside a display.
    session: Session
    pub_socket = IOPUB

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._local = _Hooks()

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

    def send(self, msg_type: str, content: dict[str, Any]) -> None:
        """Publish a message, unless one of the hooks keeps it."""
        if not self._local.hooks:
            self.send_unhooked(msg_type, content)
            return
        message = self.session.msg(msg_type, content, parent=decode_header(self.parent_bytes()))
        for hook in list(self._local.hooks):
            kept = hook(message)
            if kept is None:
                return
            message = kept
        self.outbox.send(
            Destination.IOPUB,
            message["header"]["msg_type"],
            encode(message["parent_header"]),
            encode(message["content"]),
            metadata=encode(message["metadata"]),
            buffers=message.get("buffers") or (),
        )

    def send_unhooked(self, msg_type: str, content: dict[str, Any]) -> None:
        """Publish a message that no hook sees."""
        self.outbox.send(Destination.IOPUB, msg_type, self.parent_bytes(), encode(content))


def encode_images(data: dict[str, Any]) -> dict[str, Any]:
    """Images as bytes become base64 text, as the specification asks; the rest is left."""
    return {
        mime: base64.b64encode(value).decode()
        if mime in _BINARY_IMAGES and isinstance(value, bytes)
        else value
        for mime, value in data.items()
    }


class Publisher(HasHooks, DisplayPublisher):
    """display(), update_display(), clear_output()."""

    topic = b"display_data"

    store_display_history = Bool(
        False,
        help="If set to True, store display outputs in the history manager. Default is False.",
    ).tag(config=True)

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
        if self.store_display_history:
            self._store(data)
        content = {"data": encode_images(data), "metadata": metadata or {}, "transient": transient or {}}
        self.send("update_display_data" if update else "display_data", content)

    def _store(self, data: dict[str, Any]) -> None:
        """Keep what was shown in the history manager, with the cell that showed it."""
        from IPython.core.history import HistoryOutput

        count = self.shell.execution_count - getattr(self, "_in_post_execute", False)
        output = HistoryOutput(output_type="display_data", bundle=data)
        self.shell.history_manager.outputs.setdefault(count, []).append(output)

    def clear_output(self, wait: bool = False) -> None:
        """wait: clear only when the next output comes."""
        self.send("clear_output", {"wait": wait})


Publisher.__name__ = "ZMQDisplayPublisher"  # by which %config and configuration files know it


class ResultHook(HasHooks, DisplayHook):
    """sys.displayhook for one shell: sends execute_result."""

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
                self.send("execute_result", content)
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

"""The contents of the requests that a kernel gets, typed, and JSON for those that it sends.

Thread: any; pure functions, no shared state.
Source: Jupyter messaging 5.5, JEP 91 for the subshell messages.

Fields that the specification gives a default may be absent; unknown fields are ignored.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

#: Of the messaging protocol that is spoken.
PROTOCOL_VERSION = "5.5"


class ContentError(Exception):
    """A request's content is not what its msg_type demands; the message names the field."""


class Content(msgspec.Struct, frozen=True):
    """What all contents have in common: nothing."""


class ExecuteRequest(Content, frozen=True):
    code: str
    silent: bool = False
    store_history: bool | None = None  # absent: the opposite of silent
    user_expressions: dict[str, str] | None = None
    allow_stdin: bool = False
    stop_on_error: bool = True


class InspectRequest(Content, frozen=True):
    code: str
    cursor_pos: int | None = None
    detail_level: int = 0
    omit_sections: list[str] = []


class CompleteRequest(Content, frozen=True):
    code: str
    cursor_pos: int | None = None


class HistoryRequest(Content, frozen=True):
    hist_access_type: str
    output: bool = False
    raw: bool = True
    session: int = 0
    start: int = 0
    stop: int | None = None
    n: int | None = None
    pattern: str | None = None
    unique: bool = False


class IsCompleteRequest(Content, frozen=True):
    code: str


class CommInfoRequest(Content, frozen=True):
    target_name: str | None = None


class CommOpen(Content, frozen=True):
    comm_id: str
    target_name: str
    data: dict[str, Any] = {}
    target_module: str | None = None


class CommMessage(Content, frozen=True):
    """comm_msg and comm_close."""

    comm_id: str
    data: dict[str, Any] = {}


class ShutdownRequest(Content, frozen=True):
    restart: bool = False


class DeleteSubshellRequest(Content, frozen=True):
    subshell_id: str


class InputReply(Content, frozen=True):
    value: str


C = TypeVar("C", bound=Content)


def decode(raw: bytes | memoryview, content_type: type[C]) -> C:
    """Read a content. Raises ContentError, naming the field and what was expected."""
    try:
        return msgspec.json.decode(raw, type=content_type)
    except msgspec.MsgspecError as error:
        raise ContentError(f"content of {content_type.__name__}: {error}") from None
    except UnicodeDecodeError as error:
        raise ContentError(f"content of {content_type.__name__}: not UTF-8 ({error.reason})") from None


def encode(content: Any) -> bytes:
    """Write JSON; what JSON cannot hold becomes the nearest that it can.

    bytes become base64, NaN and infinities null, tuples and sets arrays, a lone surrogate its
    backslash escape, another container an array or an object, any other object its repr.
    """
    try:
        return msgspec.json.encode(content, enc_hook=_replacement)
    except (TypeError, ValueError, UnicodeEncodeError, RecursionError, msgspec.MsgspecError):
        return msgspec.json.encode(_plain(content))


def _replacement(value: Any) -> Any:
    """What stands for an object that msgspec does not know.

    The value of a string or number of a class of its own, such as the safe strings of templates; the
    items of a container; or the repr.
    """
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    tolist = getattr(value, "tolist", None)  # numpy's scalars and arrays
    if callable(tolist):
        return tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Iterable) and not isinstance(value, Iterator):
        return list(value)
    return _repr(value)


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # a repr of the user's that fails must not cost the message
        return f"<{type(value).__module__}.{type(value).__name__} object>"


def _plain(value: Any, depth: int = 0) -> Any:
    """The same content in types and strings that any JSON encoder takes."""
    if depth > 200:
        return "..."
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value).encode("utf-8", "backslashreplace").decode()
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**64 else _repr(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {str(_plain(str(key))): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, depth + 1) for item in value]
    return _plain(_replacement(value), depth + 1)

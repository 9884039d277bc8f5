"""Split, verify and sign Jupyter wire messages, and read what routing needs of their headers.

Thread: any; pure functions, no shared state.
Source: Jupyter messaging 5.x, "The Wire Protocol".

The compiled `fastshell._wire` offers the same names for hmac-sha256, with the same results on every
input; `tests/protocol/test_wire.py` runs one table of cases against both.
"""

from __future__ import annotations

import codecs
import hmac
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from fastshell._contract import DELIMITER as DELIMITER
from fastshell._contract import UNUSABLE, HeaderFields, Unusable
from fastshell._contract import WireError as WireError

#: Objects and arrays in one another, the header included. One limit for all Python versions,
#: whose json gives up between 1,000 levels (3.11) and some ten thousand.
MAX_NESTING = 1024

#: Bytes of UTF-8 of a string that is spelled with escapes; the C scan decodes it into a fixed buffer.
MAX_DECODED = 255

#: Levels that json.loads is given at once: few enough for the default recursion limit of 1,000.
_SAFE_NESTING = 256

# A string that never ends matches too, so that this takes linear time; json.loads refuses it later.
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)
_SPACE = re.compile(r"[ \t\n\r]*")


def split(frames: list[bytes]) -> tuple[list[bytes], bytes, list[bytes]]:
    """Separate routing identities from the signed parts of one message.

    frames: six or more: identities, delimiter, signature, four JSON parts, buffers.
    Returns (identities, signature, parts); parts[:4] is header, parent_header, metadata, content.
    Raises WireError if the delimiter is absent or parts are missing; frames is left as it was.
    """
    try:
        at = frames.index(DELIMITER)
    except ValueError:
        raise WireError("delimiter", f"no delimiter in {len(frames)} frames") from None
    if len(frames) - at < 6:
        raise WireError("parts", f"{len(frames) - at - 1} frames behind the delimiter, need 5")
    return frames[:at], frames[at + 1], frames[at + 2 :]


def sign(key: bytes, parts: Sequence[bytes], scheme: str = "hmac-sha256") -> bytes:
    """Return the lower-case hex digest of the first four parts; buffers are never signed.

    b"" for an empty key. scheme: "hmac-" and a hash that hashlib knows; else ValueError.
    """
    prefix, _, digestmod = scheme.partition("-")
    if prefix != "hmac" or not digestmod:
        raise ValueError(f"signature scheme {scheme!r} is not hmac-<hash>")
    if not key:
        return b""
    return hmac.new(key, b"".join(parts[:4]), digestmod).hexdigest().encode()


def verify(key: bytes, signature: bytes, parts: Sequence[bytes], scheme: str = "hmac-sha256") -> bool:
    """Tell whether `signature` is what `sign` makes, in constant time. An empty key accepts all."""
    return not key or hmac.compare_digest(sign(key, parts, scheme), signature)


def scan_header(header: bytes) -> HeaderFields | None:
    """Read the members that routing needs; None if the header is not a JSON object.

    Accepts what json.loads(header.decode()) accepts, to a nesting of MAX_NESTING.
    """
    try:
        text = _without_deep_values(header.decode())
        members = json.loads(text)
    except ValueError:  # JSONDecodeError, UnicodeDecodeError, or an integer of over 4300 digits
        return None
    if not isinstance(members, dict):
        return None
    return HeaderFields(*(_field(text, members, name) for name in HeaderFields._fields))


def _field(text: str, members: dict[str, Any], name: str) -> str | Unusable | None:
    value = members.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        return UNUSABLE
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return UNUSABLE
    if size > MAX_DECODED and "\\" in text and _is_spelled_with_escapes(text, name):
        return UNUSABLE
    return value


def _without_deep_values(text: str) -> str:
    """Check the values that lie too deep for one call of json.loads, and put [] in their places.

    Raises ValueError if they are invalid or the nesting is over MAX_NESTING.
    """
    if text.count("[") + text.count("{") <= _SAFE_NESTING:
        return text
    depth, start = 0, 0
    pieces: list[list[str]] = [[]]  # of the text of each value that is open, outermost first
    for token in _STRING_OR_BRACKET.finditer(text):
        if token[0] in "[{":
            depth += 1
            if depth > MAX_NESTING:
                raise ValueError("nested too deeply")
            if depth % _SAFE_NESTING == 0:
                pieces[-1].append(text[start : token.start()])
                pieces.append([])
                start = token.start()
        elif token[0] in "]}":
            if depth == 0:
                raise ValueError("closed more often than opened")
            if depth % _SAFE_NESTING == 0:
                pieces[-1].append(text[start : token.end()])
                json.loads("".join(pieces.pop()))
                pieces[-1].append("[]")  # not valid as a name either
                start = token.end()
            depth -= 1
    if depth:
        raise ValueError("opened more often than closed")
    return "".join([*pieces[0], text[start:]])


def _is_spelled_with_escapes(text: str, name: str) -> bool:
    """Tell whether the value of that member, a string in valid JSON, has a backslash in `text`."""
    return [("\\" in spelling) for member, spelling in _members(text) if member == name][-1]


def _members(text: str) -> Iterator[tuple[str, str]]:
    """The name and the JSON text of each member of a valid, not empty JSON object."""
    decoder = json.JSONDecoder()
    at = text.index("{")
    while text[at] != "}":
        name, at = decoder.raw_decode(text, _skip_space(text, at + 1))
        start = _skip_space(text, _skip_space(text, at) + 1)
        _, end = decoder.raw_decode(text, start)
        yield name, text[start:end]
        at = _skip_space(text, end)


def _skip_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def json_text(raw: bytes, final: bool = True) -> tuple[bytes, int]:
    """Return the inside of a JSON string that holds `raw`, and how many bytes of it were used.

    Bytes that are not UTF-8 become U+FFFD. If not `final`, up to three bytes at the end that may be
    the start of a character are left over: give them again in front of what follows.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(raw, final)
    left_over = decoder.getstate()[0]
    if b"\xed\xa0" <= left_over <= b"\xed\xbf":
        # Half a surrogate, which the decoder keeps for the sake of "surrogatepass": two wrong bytes to us.
        text += decoder.decode(b"", True)
        left_over = b""
    return json.dumps(text, ensure_ascii=False)[1:-1].encode(), len(raw) - len(left_over)

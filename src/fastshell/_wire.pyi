"""Types of the compiled wire functions. `protocol.wire` says what those of the same name do."""

from collections.abc import Sequence

from fastshell._contract import HeaderFields

def split(frames: list[bytes]) -> tuple[list[bytes], bytes, list[bytes]]: ...
def sign(key: bytes, parts: Sequence[bytes]) -> bytes: ...
def verify(key: bytes, signature: bytes, parts: Sequence[bytes]) -> bool: ...
def scan_header(header: bytes) -> HeaderFields | None: ...
def json_text(raw: bytes, final: bool = True) -> tuple[bytes, int]: ...
def sha256(data: bytes) -> bytes:
    """Return the 32 bytes of the digest."""

def sha256_accelerated() -> bool:
    """Tell whether the processor's SHA instructions are used."""

def _sha256_portable(data: bytes) -> bytes:
    """The digest without them; for tests."""

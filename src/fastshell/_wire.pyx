# cython: language_level=3, freethreading_compatible=True
"""The headers of `_c/`, callable with bytes: the router's pure parts, to be tested without a socket.

Thread: any; pure functions, no shared state. `fastshell.protocol.wire` is the plain twin.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc

from fastshell._c cimport (
    FS_ABSENT,
    FS_NULL,
    FS_STRING,
    fs_equal,
    fs_field,
    fs_header,
    fs_hex32,
    fs_hmac,
    fs_hmac_final,
    fs_hmac_init,
    fs_hmac_key,
    fs_hmac_key_init,
    fs_hmac_update,
    fs_json_text,
    fs_json_text_bound,
    fs_scan_header,
    fs_sha256,
    fs_sha256_accelerated,
    fs_sha256_final,
    fs_sha256_init,
    fs_sha256_portable,
    fs_sha256_update,
    fs_unhex32,
)

from fastshell._contract import DELIMITER, UNUSABLE, HeaderFields, WireError


def split(list frames not None):
    cdef Py_ssize_t at
    for at in range(len(frames)):
        if frames[at] == DELIMITER:
            break
    else:
        raise WireError("delimiter", f"no delimiter in {len(frames)} frames")
    if len(frames) - at < 6:
        raise WireError("parts", f"{len(frames) - at - 1} frames behind the delimiter, need 5")
    return frames[:at], frames[at + 1], frames[at + 2:]


cdef int digest_parts(bytes key, object parts, uint8_t *digest) except -1:
    cdef fs_hmac_key hmac_key
    cdef fs_hmac hmac
    cdef bytes part
    fs_hmac_key_init(&hmac_key, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
    fs_hmac_init(&hmac, &hmac_key)
    for part in parts[:4]:
        if part is None:
            raise TypeError("parts must be bytes")
        fs_hmac_update(&hmac, PyBytes_AS_STRING(part), PyBytes_GET_SIZE(part))
    fs_hmac_final(&hmac, digest)
    return 0


def sign(bytes key not None, parts):
    cdef uint8_t digest[32]
    cdef char hex[64]
    if not key:
        return b""
    digest_parts(key, parts, digest)
    fs_hex32(digest, hex)
    return hex[:64]


def verify(bytes key not None, bytes signature not None, parts):
    cdef uint8_t digest[32]
    cdef uint8_t given[32]
    if not key:
        return True
    if fs_unhex32(PyBytes_AS_STRING(signature), PyBytes_GET_SIZE(signature), given):
        return False
    digest_parts(key, parts, digest)
    return bool(fs_equal(digest, given, 32))


cdef object field_value(const fs_field *field):
    if field.kind == FS_STRING:
        return field.text[:field.size].decode("utf-8")
    return None if field.kind in (FS_ABSENT, FS_NULL) else UNUSABLE


def scan_header(bytes header not None):
    cdef fs_header found
    if fs_scan_header(<const uint8_t *>PyBytes_AS_STRING(header), PyBytes_GET_SIZE(header), &found):
        return None
    return HeaderFields(
        field_value(&found.subshell_id), field_value(&found.msg_type), field_value(&found.msg_id)
    )


def json_text(bytes raw not None, bint final=True):
    cdef size_t size = PyBytes_GET_SIZE(raw), written, consumed
    cdef uint8_t *out = <uint8_t *>malloc(fs_json_text_bound(size) or 1)  # malloc(0) may be NULL
    if out is NULL:
        raise MemoryError()
    try:
        written = fs_json_text(<const uint8_t *>PyBytes_AS_STRING(raw), size, out, &consumed, final)
        return (<char *>out)[:written], consumed
    finally:
        free(out)


def sha256(bytes data not None):
    cdef fs_sha256 hash
    cdef uint8_t digest[32]
    fs_sha256_init(&hash)
    fs_sha256_update(&hash, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
    fs_sha256_final(&hash, digest)
    return (<char *>digest)[:32]


def sha256_accelerated():
    return bool(fs_sha256_accelerated())


def _sha256_portable(bytes data not None):
    cdef uint8_t digest[32]
    fs_sha256_portable(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), digest)
    return (<char *>digest)[:32]

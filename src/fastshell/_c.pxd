# The only declarations of the headers in `_c/`: SHA-256, the header scan, JSON text.
#
# They are compiled into each extension that cimports them and know neither Python nor ZeroMQ.
# Thread: any; no function shares state, but for the once-made choice of the SHA-256 instructions.

from libc.stdint cimport uint8_t


cdef extern from "_c/sha256.h" nogil:
    ctypedef struct fs_sha256:
        pass

    void fs_sha256_init(fs_sha256 *hash) noexcept
    void fs_sha256_update(fs_sha256 *hash, const void *data, size_t size) noexcept
    void fs_sha256_final(fs_sha256 *hash, uint8_t *digest) noexcept  # 32 bytes; init before the next use
    bint fs_sha256_accelerated() noexcept
    void fs_sha256_portable(const void *data, size_t size, uint8_t *digest) noexcept  # for tests

    ctypedef struct fs_hmac_key:
        pass

    void fs_hmac_key_init(fs_hmac_key *key, const void *secret, size_t size) noexcept

    ctypedef struct fs_hmac:
        pass

    void fs_hmac_init(fs_hmac *hmac, const fs_hmac_key *key) noexcept  # key must outlive hmac
    void fs_hmac_update(fs_hmac *hmac, const void *data, size_t size) noexcept
    void fs_hmac_final(fs_hmac *hmac, uint8_t *digest) noexcept

    void fs_hex32(const uint8_t *digest, char *hex) noexcept  # 64 characters, no NUL
    int fs_unhex32(const char *hex, size_t size, uint8_t *digest) noexcept  # 0, or -1: not 64 of 0-9a-f
    bint fs_equal(const void *a, const void *b, size_t size) noexcept


cdef extern from "_c/text.h" nogil:
    size_t fs_json_text_bound(size_t size) noexcept
    # Returns the bytes written to `out`, which has room for fs_json_text_bound(size).
    size_t fs_json_text(const uint8_t *raw, size_t size, uint8_t *out, size_t *consumed, int final) noexcept


cdef extern from "_c/scan.h" nogil:
    enum:
        FS_ABSENT
        FS_NULL
        FS_STRING
        FS_OTHER
        FS_LONG

    ctypedef struct fs_field:
        int kind
        const uint8_t *text  # into the header, or into `decoded`: do not copy the struct
        size_t size
        uint8_t decoded[256]

    ctypedef struct fs_header:
        fs_field subshell_id
        fs_field msg_type
        fs_field msg_id

    int fs_scan_header(const uint8_t *header, size_t size, fs_header *out) noexcept  # 0, or -1: invalid

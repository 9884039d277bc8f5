/* The text of JSON strings: runs without anything special, UTF-8 sequences, and raw bytes to text.
 *
 * Thread: any; pure functions, no allocation.
 * Source: RFC 8259 section 7; Unicode 15, table 3-7 and "U+FFFD substitution of maximal subparts",
 * which is what Python's bytes.decode("utf-8", "replace") does.
 */
#ifndef FS_TEXT_H
#define FS_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Bytes that stand for themselves in a JSON string: ASCII but for controls, quote and backslash. */
static inline int fs_is_plain(uint8_t c) {
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

/* Eight bytes, the first one lowest. */
static inline uint64_t fs_load64(const uint8_t *p) {
    uint64_t word;
    memcpy(&word, p, 8);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

/* How many of eight bytes are plain before the first that is not: 0 to 8.
   Borrows can mark a byte wrongly only above one that is marked rightly, and we take the lowest. */
static inline unsigned fs_plain_bytes(uint64_t word) {
    const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
    uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\';
    uint64_t special = ((quote - ones) | (backslash - ones) | (word - ones * 0x20) | word) & high;
    /* The byte tests need no "& ~x": a byte with its high bit set is special anyway. */
    return special ? (unsigned)__builtin_ctzll(special) >> 3 : 8;
}

/* The first byte from p on that is not plain, or end. */
static inline const uint8_t *fs_skip_plain(const uint8_t *p, const uint8_t *end) {
    while (end - p >= 8) {
        unsigned plain = fs_plain_bytes(fs_load64(p));
        p += plain;
        if (plain < 8) return p;
    }
    while (p < end && fs_is_plain(*p)) p++;
    return p;
}

/* Look at the non-ASCII sequence at p (p < end, *p >= 0x80). Returns its length, 2 to 4;
   0 if it is right so far and the input ends; or minus the number of bytes, 1 to 3, that
   one U+FFFD stands for. No surrogates, no overlong forms, nothing above U+10FFFF. */
static inline int fs_utf8(const uint8_t *p, const uint8_t *end) {
    uint8_t lead = *p, low = 0x80, high = 0xbf;
    int length;
    if (lead >= 0xc2 && lead < 0xe0) {
        length = 2;
    } else if ((lead & 0xf0) == 0xe0) {
        length = 3;
        if (lead == 0xe0) low = 0xa0;
        if (lead == 0xed) high = 0x9f;
    } else if (lead >= 0xf0 && lead < 0xf5) {
        length = 4;
        if (lead == 0xf0) low = 0x90;
        if (lead == 0xf4) high = 0x8f;
    } else {
        return -1;
    }
    for (int i = 1; i < length; i++) {
        if (p + i == end) return 0;
        if (p[i] < low || p[i] > high) return -i;
        low = 0x80;
        high = 0xbf;
    }
    return length;
}

/* The most that fs_json_text writes for n bytes: each could become \u00XX. */
static inline size_t fs_json_text_bound(size_t n) {
    return 6 * n;
}

/* Write one byte's escape, e.g. \n or \u001b; returns the end of what was written. */
static inline uint8_t *fs_json_escape(uint8_t c, uint8_t *out) {
    static const char digits[] = "0123456789abcdef";
    uint8_t letter = 0;
    switch (c) {
    case '"':
    case '\\': letter = c; break;
    case '\b': letter = 'b'; break;
    case '\f': letter = 'f'; break;
    case '\n': letter = 'n'; break;
    case '\r': letter = 'r'; break;
    case '\t': letter = 't'; break;
    }
    *out++ = '\\';
    if (letter) {
        *out++ = letter;
        return out;
    }
    memcpy(out, "u00", 3);
    out[3] = (uint8_t)digits[c >> 4];
    out[4] = (uint8_t)digits[c & 15];
    return out + 5;
}

/* Write the inside of a JSON string that holds the n raw bytes, read as UTF-8; returns the size.
 *
 * out has room for fs_json_text_bound(n) bytes. Wrong bytes become U+FFFD, written as UTF-8.
 * *consumed is n, or up to 3 less if the input ends inside a sequence and is not final: give
 * those bytes again in front of what follows them.
 */
static inline size_t
fs_json_text(const uint8_t *p, size_t n, uint8_t *out, size_t *consumed, int final) {
    const uint8_t *const start = p, *const end = n ? p + n : p;
    uint8_t *const out_start = out;
    while (p < end) {
        /* Whole words are stored even if fewer bytes count: for 8 bytes left there is room for 48. */
        while (end - p >= 8) {
            uint64_t word = fs_load64(p);
            unsigned plain = fs_plain_bytes(word);
            memcpy(out, p, 8);
            p += plain;
            out += plain;
            if (plain < 8) break;
        }
        if (p == end) break;
        if (fs_is_plain(*p)) {
            *out++ = *p++;
            continue;
        }
        if (*p < 0x80) {
            out = fs_json_escape(*p++, out);
            continue;
        }
        int length = fs_utf8(p, end);
        if (length > 0) {
            memcpy(out, p, (size_t)length);
            out += length;
            p += length;
            continue;
        }
        if (length == 0 && !final) break;
        memcpy(out, "\xef\xbf\xbd", 3);
        out += 3;
        p = length ? p - length : end;
    }
    *consumed = (size_t)(p - start);
    return (size_t)(out - out_start);
}

#endif

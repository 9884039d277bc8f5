/* Find the three members of a message header that routing needs, in one pass over its bytes.
 *
 * Thread: any; no allocation, no recursion, nothing shared.
 * Source: RFC 8259 as json.loads(header.decode("utf-8")) reads it: NaN and Infinity are numbers,
 * the last of equal members wins, escapes in names count, integers end at 4300 digits.
 * The whole grammar is checked, so that no thread is handed a header that it cannot parse.
 */
#ifndef FS_SCAN_H
#define FS_SCAN_H

#include "text.h"

enum {
    FS_ABSENT = 0,
    FS_NULL = 1,
    FS_STRING = 2,
    FS_OTHER = 3, /* not a string, or one with half a surrogate pair, which no UTF-8 can hold */
    FS_LONG = 4,  /* a string with escapes, of more than 255 bytes without them; size is 0 */
};

enum {
    FS_DECODED = 255,     /* bytes of UTF-8 */
    FS_NESTING = 1024,    /* containers in one another, the header included */
    FS_INT_DIGITS = 4300, /* CPython's default sys.get_int_max_str_digits() */
};

typedef struct {
    int kind;
    const uint8_t *text; /* in the header as given; in `decoded` if it had escapes there */
    size_t size;
    uint8_t decoded[FS_DECODED + 1]; /* left as it was unless `text` points here */
} fs_field;

typedef struct {
    fs_field subshell_id, msg_type, msg_id;
} fs_header;

/* One bit for each open container: 1 for an object, 0 for an array. */
typedef struct {
    unsigned depth;
    uint64_t is_object[FS_NESTING / 64];
} fs_nesting;

/* The functions below take the place to read from and the end of the input, and return
   the place behind what they read, or NULL if it is not valid. */

static inline const uint8_t *fs_skip_space(const uint8_t *p, const uint8_t *end) {
    while (p < end && *p <= ' ' && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r')) p++;
    return p;
}

static inline int fs_hex_digit(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* From behind a backslash to behind its escape. */
static inline const uint8_t *fs_skip_escape(const uint8_t *p, const uint8_t *end) {
    if (p == end) return NULL;
    switch (*p++) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't': return p;
    case 'u':
        if (end - p < 4) return NULL;
        for (int i = 0; i < 4; i++) {
            if (fs_hex_digit(p[i]) < 0) return NULL;
        }
        return p + 4;
    default: return NULL;
    }
}

/* From behind the opening quote to the closing one (not behind it). */
static inline const uint8_t *fs_string_end(const uint8_t *p, const uint8_t *end, int *has_escapes) {
    *has_escapes = 0;
    for (;;) {
        p = fs_skip_plain(p, end);
        if (p == end || *p < 0x20) return NULL;
        if (*p == '"') return p;
        if (*p == '\\') {
            *has_escapes = 1;
            p = fs_skip_escape(p + 1, end);
            if (!p) return NULL;
        } else {
            int length = fs_utf8(p, end);
            if (length <= 0) return NULL;
            p += length;
        }
    }
}

static inline const uint8_t *fs_skip_digits(const uint8_t *p, const uint8_t *end) {
    while (p < end && *p >= '0' && *p <= '9') p++;
    return p;
}

static inline const uint8_t *
fs_skip_word(const uint8_t *p, const uint8_t *end, const char *word, size_t size) {
    return (size_t)(end - p) >= size && !memcmp(p, word, size) ? p + size : NULL;
}

static inline const uint8_t *fs_skip_number(const uint8_t *p, const uint8_t *end) {
    if (p < end && *p == '-') {
        p++;
        if (p < end && *p == 'I') return fs_skip_word(p, end, "Infinity", 8);
    }
    const uint8_t *digits = p;
    p = fs_skip_digits(p, end);
    if (p == digits || (*digits == '0' && p - digits > 1)) return NULL;
    int is_int = 1;
    ptrdiff_t int_digits = p - digits;
    if (p < end && *p == '.') {
        is_int = 0;
        digits = ++p;
        p = fs_skip_digits(p, end);
        if (p == digits) return NULL;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        is_int = 0;
        p++;
        if (p < end && (*p == '+' || *p == '-')) p++;
        digits = p;
        p = fs_skip_digits(p, end);
        if (p == digits) return NULL;
    }
    return is_int && int_digits > FS_INT_DIGITS ? NULL : p;
}

/* Any value that is neither string, object nor array. */
static inline const uint8_t *fs_skip_scalar(const uint8_t *p, const uint8_t *end) {
    switch (*p) {
    case 't': return fs_skip_word(p, end, "true", 4);
    case 'f': return fs_skip_word(p, end, "false", 5);
    case 'n': return fs_skip_word(p, end, "null", 4);
    case 'N': return fs_skip_word(p, end, "NaN", 3);
    case 'I': return fs_skip_word(p, end, "Infinity", 8);
    default: return fs_skip_number(p, end);
    }
}

static inline uint32_t fs_hex4(const uint8_t *p) {
    return (uint32_t)(fs_hex_digit(p[0]) << 12 | fs_hex_digit(p[1]) << 8 | fs_hex_digit(p[2]) << 4 |
                      fs_hex_digit(p[3]));
}

/* Read the \uXXXX behind whose "\u" *p stands, and the one after it if both are a surrogate pair. */
static inline uint32_t fs_read_escaped_rune(const uint8_t **p, const uint8_t *end) {
    uint32_t rune = fs_hex4(*p);
    *p += 4;
    if (rune >= 0xd800 && rune < 0xdc00 && end - *p >= 6 && (*p)[0] == '\\' && (*p)[1] == 'u') {
        uint32_t low = fs_hex4(*p + 2);
        if (low >= 0xdc00 && low < 0xe000) {
            *p += 6;
            rune = 0x10000 + ((rune - 0xd800) << 10) + (low - 0xdc00);
        }
    }
    return rune;
}

static inline size_t fs_write_utf8(uint32_t rune, uint8_t out[4]) {
    if (rune < 0x80) {
        out[0] = (uint8_t)rune;
        return 1;
    }
    size_t size = rune < 0x800 ? 2 : rune < 0x10000 ? 3 : 4;
    for (size_t i = size - 1; i > 0; i--) {
        out[i] = (uint8_t)(0x80 | (rune & 0x3f));
        rune >>= 6;
    }
    out[0] = (uint8_t)((0xf00u >> size & 0xf0u) | rune); /* size 2: 0xc0, 3: 0xe0, 4: 0xf0 */
    return size;
}

/* Decode the inside of a string that fs_string_end has accepted. Returns FS_STRING and the size,
   FS_LONG if it needs more than `room` bytes, or FS_OTHER for half a surrogate pair. */
static inline int
fs_unescape(const uint8_t *p, const uint8_t *end, uint8_t *out, size_t room, size_t *size) {
    size_t used = 0;
    *size = 0;
    while (p < end) {
        uint8_t utf8[4] = {*p++};
        size_t length = 1;
        if (utf8[0] == '\\') {
            utf8[0] = *p++;
            switch (utf8[0]) {
            case 'b': utf8[0] = '\b'; break;
            case 'f': utf8[0] = '\f'; break;
            case 'n': utf8[0] = '\n'; break;
            case 'r': utf8[0] = '\r'; break;
            case 't': utf8[0] = '\t'; break;
            case 'u': {
                uint32_t rune = fs_read_escaped_rune(&p, end);
                if (rune >= 0xd800 && rune < 0xe000) return FS_OTHER;
                length = fs_write_utf8(rune, utf8);
            }
            }
        }
        if (length > room - used) return FS_LONG;
        memcpy(out + used, utf8, length);
        used += length;
    }
    *size = used;
    return FS_STRING;
}

/* The field that a member of the header goes to; NULL for all but three names. */
static inline fs_field *fs_field_named(fs_header *out, const uint8_t *name, size_t size) {
    switch (size) {
    case 6: return memcmp(name, "msg_id", 6) ? NULL : &out->msg_id;
    case 8: return memcmp(name, "msg_type", 8) ? NULL : &out->msg_type;
    case 11: return memcmp(name, "subshell_id", 11) ? NULL : &out->subshell_id;
    default: return NULL;
    }
}

static inline fs_field *
fs_field_for(fs_header *out, const uint8_t *name, const uint8_t *end, int has_escapes) {
    uint8_t decoded[11]; /* the longest name we know */
    size_t size = (size_t)(end - name);
    if (has_escapes) {
        if (fs_unescape(name, end, decoded, sizeof decoded, &size) != FS_STRING) return NULL;
        name = decoded;
    }
    return fs_field_named(out, name, size);
}

static inline void fs_set_field(fs_field *field, int kind) {
    field->kind = kind;
    field->text = NULL;
    field->size = 0;
}

static inline void
fs_set_string(fs_field *field, const uint8_t *text, const uint8_t *end, int has_escapes) {
    field->kind = FS_STRING;
    field->text = text;
    field->size = (size_t)(end - text);
    if (has_escapes) {
        field->kind = fs_unescape(text, end, field->decoded, FS_DECODED, &field->size);
        field->text = field->kind == FS_STRING ? field->decoded : NULL;
    }
}

static inline int fs_is_in_object(const fs_nesting *nesting) {
    unsigned top = nesting->depth - 1;
    return nesting->is_object[top / 64] >> top % 64 & 1;
}

static inline int fs_enter(fs_nesting *nesting, int is_object) {
    unsigned top = nesting->depth;
    if (top == FS_NESTING) return -1;
    uint64_t bit = (uint64_t)1 << top % 64;
    uint64_t others = top % 64 ? nesting->is_object[top / 64] & ~bit : 0;
    nesting->is_object[top / 64] = others | (is_object ? bit : 0);
    nesting->depth = top + 1;
    return 0;
}

/* Read one header. Returns 0, or -1 if the n bytes are not one valid JSON object: then do not use out. */
static inline int fs_scan_header(const uint8_t *p, size_t n, fs_header *out) {
    const uint8_t *const end = n ? p + n : p;
    fs_nesting nesting;
    fs_field *field; /* where the value that comes next belongs; NULL for nowhere */
    int has_escapes;

    fs_set_field(&out->subshell_id, FS_ABSENT);
    fs_set_field(&out->msg_type, FS_ABSENT);
    fs_set_field(&out->msg_id, FS_ABSENT);
    nesting.depth = 0;
    field = NULL;
    p = fs_skip_space(p, end);
    if (p == end || *p != '{') return -1;

value:
    p = fs_skip_space(p, end);
    if (p == end) return -1;
    if (*p == '"') {
        const uint8_t *text = p + 1;
        p = fs_string_end(text, end, &has_escapes);
        if (!p) return -1;
        if (field) fs_set_string(field, text, p, has_escapes);
        p++;
        goto behind_value;
    }
    if (*p == '{' || *p == '[') {
        int is_object = *p == '{';
        if (field) fs_set_field(field, FS_OTHER);
        if (fs_enter(&nesting, is_object)) return -1;
        p = fs_skip_space(p + 1, end);
        if (p == end) return -1;
        if (*p == (is_object ? '}' : ']')) goto close;
        if (is_object) goto member;
        field = NULL;
        goto value;
    }
    if (field) fs_set_field(field, *p == 'n' ? FS_NULL : FS_OTHER);
    p = fs_skip_scalar(p, end);
    if (!p) return -1;
    goto behind_value;

member:
    p = fs_skip_space(p, end);
    if (p == end || *p != '"') return -1;
    {
        const uint8_t *name = p + 1;
        p = fs_string_end(name, end, &has_escapes);
        if (!p) return -1;
        field = nesting.depth == 1 ? fs_field_for(out, name, p, has_escapes) : NULL;
    }
    p = fs_skip_space(p + 1, end);
    if (p == end || *p != ':') return -1;
    p++;
    goto value;

close:
    p++;
    if (--nesting.depth == 0) return fs_skip_space(p, end) == end ? 0 : -1;

behind_value:
    p = fs_skip_space(p, end);
    if (p == end) return -1;
    if (*p == ',') {
        p++;
        if (fs_is_in_object(&nesting)) goto member;
        goto value; /* an array's first value has set field to NULL */
    }
    if (*p == (fs_is_in_object(&nesting) ? '}' : ']')) goto close;
    return -1;
}

#endif

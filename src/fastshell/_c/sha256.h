/* SHA-256 and HMAC-SHA256 for messages of some hundred bytes, signed and checked one by one.
 *
 * Thread: any; each object belongs to one thread at a time, a made fs_hmac_key may be shared.
 * Source: FIPS 180-4 (hash), RFC 2104 (HMAC).
 * Keys are hashed once into a fs_hmac_key, which saves two of about twelve blocks for each message.
 */
#ifndef FS_SHA256_H
#define FS_SHA256_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>
#include <immintrin.h>
#define FS_SHA256_X86 1
#endif

enum { FS_SHA256_BLOCK = 64, FS_SHA256_DIGEST = 32 };

typedef struct {
    uint32_t state[8];
    uint64_t size;                  /* bytes given so far */
    uint8_t block[FS_SHA256_BLOCK]; /* the first size % 64 bytes wait for the rest of their block */
} fs_sha256;

/* Takes whole blocks into the state. */
typedef void fs_sha256_blocks_fn(uint32_t state[8], const uint8_t *data, size_t blocks);

static const uint32_t fs_sha256_k[64] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static inline uint32_t fs_load32be(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void fs_store32be(uint8_t *p, uint32_t v) {
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

static inline uint32_t fs_rotr32(uint32_t v, int bits) {
    return v >> bits | v << (32 - bits);
}

static inline void fs_sha256_blocks_portable(uint32_t state[8], const uint8_t *data, size_t blocks) {
    for (; blocks; blocks--, data += FS_SHA256_BLOCK) {
        uint32_t w[16];
        uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
        uint32_t e = state[4], f = state[5], g = state[6], h = state[7];

        for (int i = 0; i < 16; i++) w[i] = fs_load32be(data + 4 * i);

/* One round; the caller renames the variables instead of moving them. */
#define FS_ROUND(a, b, c, d, e, f, g, h, i)                                                         \
    do {                                                                                            \
        h += (fs_rotr32(e, 6) ^ fs_rotr32(e, 11) ^ fs_rotr32(e, 25)) + (g ^ (e & (f ^ g))) +        \
             fs_sha256_k[round + (i)] + w[i];                                                       \
        d += h;                                                                                     \
        h += (fs_rotr32(a, 2) ^ fs_rotr32(a, 13) ^ fs_rotr32(a, 22)) + ((a & b) | (c & (a | b)));   \
    } while (0)
#define FS_EXTEND(i)                                                                                \
    do {                                                                                            \
        uint32_t near = w[((i) + 14) & 15], far = w[((i) + 1) & 15];                                \
        w[i] += (fs_rotr32(near, 17) ^ fs_rotr32(near, 19) ^ near >> 10) + w[((i) + 9) & 15] +      \
                (fs_rotr32(far, 7) ^ fs_rotr32(far, 18) ^ far >> 3);                                \
    } while (0)
#define FS_EIGHT_ROUNDS(i)                         \
    do {                                           \
        FS_ROUND(a, b, c, d, e, f, g, h, (i) + 0); \
        FS_ROUND(h, a, b, c, d, e, f, g, (i) + 1); \
        FS_ROUND(g, h, a, b, c, d, e, f, (i) + 2); \
        FS_ROUND(f, g, h, a, b, c, d, e, (i) + 3); \
        FS_ROUND(e, f, g, h, a, b, c, d, (i) + 4); \
        FS_ROUND(d, e, f, g, h, a, b, c, (i) + 5); \
        FS_ROUND(c, d, e, f, g, h, a, b, (i) + 6); \
        FS_ROUND(b, c, d, e, f, g, h, a, (i) + 7); \
    } while (0)

        for (int round = 0; round < 64; round += 16) {
            if (round) {
                for (int i = 0; i < 16; i++) FS_EXTEND(i);
            }
            FS_EIGHT_ROUNDS(0);
            FS_EIGHT_ROUNDS(8);
        }
#undef FS_ROUND
#undef FS_EXTEND
#undef FS_EIGHT_ROUNDS

        state[0] += a;
        state[1] += b;
        state[2] += c;
        state[3] += d;
        state[4] += e;
        state[5] += f;
        state[6] += g;
        state[7] += h;
    }
}

#ifdef FS_SHA256_X86

/* The SHA extensions hold the state as (a b e f) and (c d g h) and do two rounds in one instruction. */
__attribute__((target("sha,sse4.1"))) static inline void
fs_sha256_blocks_x86(uint32_t state[8], const uint8_t *data, size_t blocks) {
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    const __m128i *k = (const __m128i *)fs_sha256_k;
    __m128i abcd = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xb1);
    __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1b);
    __m128i abef = _mm_alignr_epi8(abcd, efgh, 8);
    __m128i cdgh = _mm_blend_epi16(efgh, abcd, 0xf0);

    for (; blocks; blocks--, data += FS_SHA256_BLOCK) {
        const __m128i *in = (const __m128i *)data;
        __m128i abef_before = abef, cdgh_before = cdgh, wk;
        __m128i w0 = _mm_shuffle_epi8(_mm_loadu_si128(in + 0), swap);
        __m128i w1 = _mm_shuffle_epi8(_mm_loadu_si128(in + 1), swap);
        __m128i w2 = _mm_shuffle_epi8(_mm_loadu_si128(in + 2), swap);
        __m128i w3 = _mm_shuffle_epi8(_mm_loadu_si128(in + 3), swap);

#define FS_FOUR_ROUNDS(w, quad)                            \
    do {                                                   \
        wk = _mm_add_epi32(w, _mm_load_si128(k + (quad))); \
        cdgh = _mm_sha256rnds2_epu32(cdgh, abef, wk);      \
        wk = _mm_shuffle_epi32(wk, 0x0e);                  \
        abef = _mm_sha256rnds2_epu32(abef, cdgh, wk);      \
    } while (0)
/* The next four words of the schedule take the place of the oldest four. */
#define FS_EXTEND(old, next, third, last)                                                               \
    old = _mm_sha256msg2_epu32(                                                                         \
        _mm_add_epi32(_mm_sha256msg1_epu32(old, next), _mm_alignr_epi8(last, third, 4)), last)

        FS_FOUR_ROUNDS(w0, 0);
        FS_FOUR_ROUNDS(w1, 1);
        FS_FOUR_ROUNDS(w2, 2);
        FS_FOUR_ROUNDS(w3, 3);
        for (int quad = 4; quad < 16; quad += 4) {
            FS_EXTEND(w0, w1, w2, w3);
            FS_FOUR_ROUNDS(w0, quad);
            FS_EXTEND(w1, w2, w3, w0);
            FS_FOUR_ROUNDS(w1, quad + 1);
            FS_EXTEND(w2, w3, w0, w1);
            FS_FOUR_ROUNDS(w2, quad + 2);
            FS_EXTEND(w3, w0, w1, w2);
            FS_FOUR_ROUNDS(w3, quad + 3);
        }
#undef FS_FOUR_ROUNDS
#undef FS_EXTEND

        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }

    __m128i feba = _mm_shuffle_epi32(abef, 0x1b);
    __m128i dchg = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

static inline int fs_cpu_has_sha(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSSE3) || !(c & bit_SSE4_1)) return 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & 1u << 29);
}

#endif /* FS_SHA256_X86 */

/* 1 if the processor's SHA instructions are used. Asked once: CPUID traps in virtual machines,
   where it costs microseconds. Threads that race here find the same answer. */
static inline int fs_sha256_accelerated(void) {
#ifdef FS_SHA256_X86
    static int answer = -1;
    int known = __atomic_load_n(&answer, __ATOMIC_RELAXED);
    if (__builtin_expect(known < 0, 0)) {
        known = fs_cpu_has_sha();
        __atomic_store_n(&answer, known, __ATOMIC_RELAXED);
    }
    return known;
#else
    return 0;
#endif
}

static inline void fs_sha256_blocks(uint32_t state[8], const uint8_t *data, size_t blocks) {
#ifdef FS_SHA256_X86
    if (fs_sha256_accelerated()) {
        fs_sha256_blocks_x86(state, data, blocks);
        return;
    }
#endif
    fs_sha256_blocks_portable(state, data, blocks);
}

static inline void
fs_sha256_absorb(fs_sha256 *hash, const uint8_t *data, size_t size, fs_sha256_blocks_fn *blocks) {
    size_t waiting = hash->size % FS_SHA256_BLOCK;
    hash->size += size;
    if (waiting) {
        size_t room = FS_SHA256_BLOCK - waiting;
        if (size < room) {
            if (size) memcpy(hash->block + waiting, data, size);
            return;
        }
        memcpy(hash->block + waiting, data, room);
        blocks(hash->state, hash->block, 1);
        data += room;
        size -= room;
    }
    if (size >= FS_SHA256_BLOCK) {
        blocks(hash->state, data, size / FS_SHA256_BLOCK);
        data += size - size % FS_SHA256_BLOCK;
        size %= FS_SHA256_BLOCK;
    }
    if (size) memcpy(hash->block, data, size);
}

static inline void fs_sha256_finish(fs_sha256 *hash, uint8_t out[32], fs_sha256_blocks_fn *blocks) {
    size_t waiting = hash->size % FS_SHA256_BLOCK;
    uint64_t bits = hash->size * 8;
    hash->block[waiting++] = 0x80;
    if (waiting > FS_SHA256_BLOCK - 8) {
        memset(hash->block + waiting, 0, FS_SHA256_BLOCK - waiting);
        blocks(hash->state, hash->block, 1);
        waiting = 0;
    }
    memset(hash->block + waiting, 0, FS_SHA256_BLOCK - 8 - waiting);
    fs_store32be(hash->block + 56, (uint32_t)(bits >> 32));
    fs_store32be(hash->block + 60, (uint32_t)bits);
    blocks(hash->state, hash->block, 1);
    for (int i = 0; i < 8; i++) fs_store32be(out + 4 * i, hash->state[i]);
}

static inline void fs_sha256_init(fs_sha256 *hash) {
    static const uint32_t start[8] = {
        0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
    };
    memcpy(hash->state, start, sizeof start);
    hash->size = 0;
}

static inline void fs_sha256_update(fs_sha256 *hash, const void *data, size_t size) {
    fs_sha256_absorb(hash, (const uint8_t *)data, size, fs_sha256_blocks);
}

/* The hash is spent afterwards: init it before its next use. */
static inline void fs_sha256_final(fs_sha256 *hash, uint8_t out[32]) {
    fs_sha256_finish(hash, out, fs_sha256_blocks);
}

/* The whole hash by the portable block function, so that tests reach it on every machine. */
static inline void fs_sha256_portable(const void *data, size_t size, uint8_t out[32]) {
    fs_sha256 hash;
    fs_sha256_init(&hash);
    fs_sha256_absorb(&hash, (const uint8_t *)data, size, fs_sha256_blocks_portable);
    fs_sha256_finish(&hash, out, fs_sha256_blocks_portable);
}

/* Both hashes after their first block, the padded key. */
typedef struct {
    fs_sha256 inner, outer;
} fs_hmac_key;

typedef struct {
    fs_sha256 inner;
    const fs_hmac_key *key; /* must outlive this */
} fs_hmac;

static inline void fs_hmac_key_init(fs_hmac_key *key, const void *secret, size_t size) {
    uint8_t block[FS_SHA256_BLOCK] = {0};
    if (size > FS_SHA256_BLOCK) {
        fs_sha256_init(&key->inner);
        fs_sha256_update(&key->inner, secret, size);
        fs_sha256_final(&key->inner, block);
    } else if (size) {
        memcpy(block, secret, size);
    }
    for (int i = 0; i < FS_SHA256_BLOCK; i++) block[i] ^= 0x36;
    fs_sha256_init(&key->inner);
    fs_sha256_update(&key->inner, block, sizeof block);
    for (int i = 0; i < FS_SHA256_BLOCK; i++) block[i] ^= 0x36 ^ 0x5c;
    fs_sha256_init(&key->outer);
    fs_sha256_update(&key->outer, block, sizeof block);
}

/* Copies the state only: nothing waits in a key's blocks. */
static inline void fs_sha256_resume(fs_sha256 *hash, const fs_sha256 *from) {
    memcpy(hash->state, from->state, sizeof hash->state);
    hash->size = from->size;
}

static inline void fs_hmac_init(fs_hmac *hmac, const fs_hmac_key *key) {
    fs_sha256_resume(&hmac->inner, &key->inner);
    hmac->key = key;
}

static inline void fs_hmac_update(fs_hmac *hmac, const void *data, size_t size) {
    fs_sha256_update(&hmac->inner, data, size);
}

static inline void fs_hmac_final(fs_hmac *hmac, uint8_t out[32]) {
    fs_sha256_final(&hmac->inner, out);
    fs_sha256_resume(&hmac->inner, &hmac->key->outer);
    fs_sha256_update(&hmac->inner, out, FS_SHA256_DIGEST);
    fs_sha256_final(&hmac->inner, out);
}

/* Writes 64 lower-case digits and no NUL. */
static inline void fs_hex32(const uint8_t digest[32], char out[64]) {
    for (int i = 0; i < FS_SHA256_DIGEST; i++) {
        uint8_t high = digest[i] >> 4, low = digest[i] & 15;
        out[2 * i] = (char)(high + (high < 10 ? '0' : 'a' - 10));
        out[2 * i + 1] = (char)(low + (low < 10 ? '0' : 'a' - 10));
    }
}

/* Reads what fs_hex32 writes; -1 for anything else. Upper case is refused as hmac.compare_digest
   does in other kernels, so a signature has one spelling (the replay check relies on it). */
static inline int fs_unhex32(const char *hex, size_t n, uint8_t out[32]) {
    char spelled[2 * FS_SHA256_DIGEST];
    if (n != sizeof spelled) return -1;
    for (int i = 0; i < FS_SHA256_DIGEST; i++) {
        uint8_t high = (uint8_t)hex[2 * i], low = (uint8_t)hex[2 * i + 1];
        /* Right for digits and letters, nonsense for the rest: those are spelled otherwise. */
        out[i] = (uint8_t)((high + 9 * (high >> 6)) << 4 | ((low + 9 * (low >> 6)) & 15));
    }
    fs_hex32(out, spelled);
    return memcmp(spelled, hex, sizeof spelled) ? -1 : 0;
}

/* 1 if equal; the time does not tell where two digests differ. */
static inline int fs_equal(const void *a, const void *b, size_t n) {
    const uint8_t *x = (const uint8_t *)a, *y = (const uint8_t *)b;
    uint64_t difference = 0;
    for (; n >= 8; n -= 8, x += 8, y += 8) {
        uint64_t left, right;
        memcpy(&left, x, 8);
        memcpy(&right, y, 8);
        difference |= left ^ right;
        __asm__("" : "+r"(difference)); /* the compiler must not know when it could stop */
    }
    for (; n; n--) {
        difference |= (uint64_t)(*x++ ^ *y++);
        __asm__("" : "+r"(difference));
    }
    return difference == 0;
}

#endif

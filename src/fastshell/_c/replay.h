/* The signatures of the last FS_REPLAY_KEPT messages, so that none is accepted twice.
 *
 * Kept are the first 8 bytes of each digest: an HMAC's output cannot be chosen without the key, and
 * two of 65,536 messages collide by accident with a probability of 1e-10 in all.
 * The table starts small and grows, so that an idle kernel does not pay for a busy one's memory.
 */
#ifndef FS_REPLAY_H
#define FS_REPLAY_H
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { FS_REPLAY_KEPT = 65536 }; /* jupyter_client's digest_history_size */

typedef struct {
    uint64_t *ring;   /* the kept prefixes in order of arrival; 0 is no prefix */
    uint64_t *table;  /* open addressing, linear probing; 0 is empty */
    uint32_t mask;    /* slots of the table - 1 */
    uint32_t capacity, used, next;
} fs_replay;

static inline uint32_t fs_replay_slot(const fs_replay *self, uint64_t prefix) {
    uint32_t slot = (uint32_t)(prefix >> 32) & self->mask;
    while (self->table[slot] && self->table[slot] != prefix) slot = (slot + 1) & self->mask;
    return slot;
}

static inline void fs_replay_remove(fs_replay *self, uint64_t prefix) {
    uint32_t hole = fs_replay_slot(self, prefix), probe = hole;
    for (;;) { /* close the gap, so that no tombstones are needed */
        probe = (probe + 1) & self->mask;
        if (!self->table[probe]) break;
        uint32_t home = (uint32_t)(self->table[probe] >> 32) & self->mask;
        if (((probe - home) & self->mask) >= ((probe - hole) & self->mask)) {
            self->table[hole] = self->table[probe];
            hole = probe;
        }
    }
    self->table[hole] = 0;
}

/* Room for four times as many; 0, or -1 without memory, and then nothing has changed. */
static inline int fs_replay_grow(fs_replay *self) {
    uint32_t capacity = self->capacity ? self->capacity * 4 : 1024;
    uint64_t *table = calloc((size_t)capacity * 2, sizeof *table);
    uint64_t *ring = table ? realloc(self->ring, capacity * sizeof *ring) : NULL;
    if (!ring) {
        free(table);
        return -1;
    }
    free(self->table);
    self->ring = ring;
    self->table = table;
    self->mask = capacity * 2 - 1;
    self->capacity = capacity;
    for (uint32_t i = 0; i < self->used; i++) self->table[fs_replay_slot(self, ring[i])] = ring[i];
    return 0;
}

/* Remember a digest: 1 if it is new, 0 if it was seen. Without memory the oldest are forgotten earlier. */
static inline int fs_replay_is_new(fs_replay *self, const uint8_t digest[32]) {
    uint64_t prefix;
    memcpy(&prefix, digest, sizeof prefix);
    prefix |= !prefix; /* 0 stands for empty */
    if (self->used == self->capacity && self->capacity < FS_REPLAY_KEPT && fs_replay_grow(self) < 0 &&
        !self->capacity)
        return 1;
    uint32_t slot = fs_replay_slot(self, prefix);
    if (self->table[slot]) return 0;
    if (self->used == self->capacity) {
        fs_replay_remove(self, self->ring[self->next]);
        slot = fs_replay_slot(self, prefix);
    } else {
        self->next = self->used++;
    }
    self->table[slot] = prefix;
    self->ring[self->next] = prefix;
    self->next = (self->next + 1) % self->capacity;
    return 1;
}

static inline void fs_replay_free(fs_replay *self) {
    free(self->ring);
    free(self->table);
    memset(self, 0, sizeof *self);
}
#endif

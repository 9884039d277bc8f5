/* Make a main thread that is busy in Python hand over the GIL now, not after sys.getswitchinterval().
 *
 * The router (no GIL) announces that it wakes a shell's thread, the thread (GIL held) that it picked
 * the message up. If an announced thread waits for long, the router kicks: a pending call runs in the
 * main thread between two bytecodes, drops the GIL, and waits until nobody waits or 0.5 ms have passed.
 * A thread that is busy with an earlier message does not wait for the GIL and is never announced.
 *
 * Py_AddPendingCall is public and callable without the GIL. Before 3.13 only the main thread itself
 * can make the interpreter look at it, so there the kick must be a signal to main, which is opt-in.
 */
#ifndef FS_KICK_H
#define FS_KICK_H
#include <Python.h>
#include "platform.h"

/* After 100 instead of 300 us: a comm echo beside a busy main took 0.61 instead of 0.84 ms, interleaved on a
 * loaded machine, 0.79 instead of 0.96 ms in two runs on a quiet one (bench/busy_main.py, Python 3.13). */
enum { FS_KICK_AFTER_US = 100, FS_KICK_YIELD_US = 500 };

typedef struct {
    int wanted;  /* threads that are announced and have not picked up */
    int waiting; /* main is inside fs_kick_yield */
    int queued;  /* a pending call was made that has not run */
    int signal;  /* signal number of the opt-in kick, 0 for none */
    uint64_t kicks;
    pthread_t main;
    pthread_mutex_t mutex;
    pthread_cond_t picked_up;
} fs_kick_state;

static fs_kick_state fs_kick = {.mutex = PTHREAD_MUTEX_INITIALIZER, .picked_up = PTHREAD_COND_INITIALIZER};

/* One for each thread that reads a channel. */
typedef struct {
    int busy;      /* it picked up a message, and has not yet found its channel empty */
    int announced; /* it is counted in fs_kick.wanted */
} fs_wake;

static inline void fs_wake_withdraw(fs_wake *self) {
    if (!__atomic_exchange_n(&self->announced, 0, __ATOMIC_SEQ_CST)) return;
    __atomic_fetch_sub(&fs_kick.wanted, 1, __ATOMIC_SEQ_CST);
    if (!fs_flag(&fs_kick.waiting)) return;
    pthread_mutex_lock(&fs_kick.mutex);
    pthread_cond_broadcast(&fs_kick.picked_up);
    pthread_mutex_unlock(&fs_kick.mutex);
}

/* Router thread: a message is about to be handed to this thread. */
static inline void fs_wake_announce(fs_wake *self) {
    if (fs_flag(&self->busy) || __atomic_exchange_n(&self->announced, 1, __ATOMIC_SEQ_CST)) return;
    __atomic_fetch_add(&fs_kick.wanted, 1, __ATOMIC_SEQ_CST);
    if (fs_flag(&self->busy)) fs_wake_withdraw(self); /* it became busy meanwhile */
}

/* The thread itself: it has a message (busy), or found none. */
static inline void fs_wake_picked_up(fs_wake *self, int busy) {
    fs_set_flag(&self->busy, busy);
    fs_wake_withdraw(self);
}

/* Runs in main with the GIL held. */
static int fs_kick_yield(void *unused) {
    (void)unused;
    fs_set_flag(&fs_kick.queued, 0);
    if (!fs_flag(&fs_kick.wanted)) return 0;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += FS_KICK_YIELD_US * 1000L;
    if (until.tv_nsec >= 1000000000L) until.tv_sec++, until.tv_nsec -= 1000000000L;
    PyThreadState *state = PyEval_SaveThread();
    pthread_mutex_lock(&fs_kick.mutex);
    fs_set_flag(&fs_kick.waiting, 1);
    while (fs_flag(&fs_kick.wanted) &&
           pthread_cond_timedwait(&fs_kick.picked_up, &fs_kick.mutex, &until) == 0) {}
    fs_set_flag(&fs_kick.waiting, 0);
    pthread_mutex_unlock(&fs_kick.mutex);
    PyEval_RestoreThread(state);
    return 0;
}

static inline int fs_kick_works(void) {
#if PY_VERSION_HEX >= 0x030D0000
    return 1;
#else
    return fs_kick.signal != 0;
#endif
}

/* Router thread, without the GIL. */
static inline void fs_kick_main(void) {
    int idle = 0;
    if (!__atomic_compare_exchange_n(&fs_kick.queued, &idle, 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) return;
    fs_add(&fs_kick.kicks, 1);
    int failed = fs_kick.signal ? pthread_kill(fs_kick.main, fs_kick.signal)
                                : Py_AddPendingCall(fs_kick_yield, NULL);
    if (failed) fs_set_flag(&fs_kick.queued, 0);
}

/* Called by main: kick by this signal, whose Python handler calls fs_kick_yield. */
static inline void fs_kick_by_signal(int number) {
    fs_kick.main = pthread_self();
    fs_kick.signal = number;
}
#endif

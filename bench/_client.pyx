# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=True
"""Both ends of a benchmark of the router, in C: a client that never waits for Python, and a shell.

Whatever the client costs is taken from the router, where cores are few; hence no JSON, no copy
of a request's bytes, and the GIL is given up for a whole round. Requests are signed before the clock
runs, each with its own msg_id, since the router rejects what it has seen before.

Thread: a Client is used by one thread at a time; `serve_echo` is the whole life of a shell's thread.
"""

import array
import json
import os
import sys
from typing import NamedTuple

from cpython cimport array
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.errno cimport EINTR
from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from fastshell._c cimport (
    fs_hex32,
    fs_hmac,
    fs_hmac_final,
    fs_hmac_init,
    fs_hmac_key,
    fs_hmac_key_init,
    fs_hmac_update,
)
from fastshell._libzmq cimport *
from fastshell._router cimport (
    IDENTITIES_MAX,
    KIND_STOP,
    OP_SEND,
    SHELL,
    Channel,
    Outbox,
    fs_add,
    fs_lock,
    fs_unlock,
    mailbox,
    note_head,
    op_head,
    router_state,
)

cdef enum:  # of libzmq, and not used by the router
    ZMQ_DEALER = 5
    ZMQ_ROUTING_ID = 5
    ZMQ_RCVTIMEO = 27
    ZMQ_IO_THREADS = 1  # of a context

cdef enum:
    DIGITS = 8  # of the number in a msg_id
    ANSWER_FRAMES = 6  # delimiter, signature, header, parent_header, metadata, content
    LATENCY_NONE = -1  # a request without its answer

cdef const char *DELIMITER = b"<IDS|MSG>"


def _bind_libzmq():
    """As `fastshell._router` does: libzmq is bound once for each extension."""
    cdef char why[512]
    for name in ("zmq.backend.cython._zmq", "zmq.backend.cython.socket", "zmq.backend.cffi._cffi"):
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None and fs_libzmq_bind(os.fsencode(file), why, sizeof(why)) == 0:
            return
    raise ImportError("cannot share libzmq with pyzmq")


_bind_libzmq()


cdef inline int64_t now_ns() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <int64_t>t.tv_sec * 1_000_000_000 + t.tv_nsec


def thread_cpu_ns():
    """CPU time of every thread of this process: {(tid, name): ns}, name as the kernel has it. Linux only."""
    found = {}
    for tid in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{tid}/comm") as comm, open(f"/proc/self/task/{tid}/schedstat") as used:
            found[int(tid), comm.read().strip()] = int(used.read().split()[0])
    return found


class Round(NamedTuple):
    """What one round of requests came to."""

    elapsed_ns: int
    latencies_ns: array.array  # "q", in the order of the requests; -1: no answer
    wrong: int  # answers that are malformed, belong to no request of the round, or came twice
    lost: int  # requests without an answer within the time


# ------------------------------------------------------------------ requests

cdef class Requests:
    """A stock of signed execute_requests, told apart by the last 8 digits of their msg_id.

    count: up to 100,000,000. key: b"" leaves them unsigned. subshell_id: None for the main shell.
    session: must differ between stocks that go to one router.
    """

    cdef readonly int count
    cdef readonly bytes session
    cdef uint8_t *headers  # count of header_size
    cdef uint8_t *signatures  # count of 64, or none
    cdef size_t header_size
    cdef size_t digits_at  # of the number in a header
    cdef bytes content
    cdef const uint8_t *text  # of content
    cdef size_t text_size
    cdef fs_hmac_key key
    cdef int signs

    def __cinit__(self, int count, bytes key, str session, subshell_id=None, bytes content=None):
        self.count = count
        self.session = session.encode()
        self.content = content or json.dumps(
            {"code": "pass", "silent": False, "store_history": True, "user_expressions": {},
             "allow_stdin": True, "stop_on_error": True}
        ).encode()
        self.text = <const uint8_t *>PyBytes_AS_STRING(self.content)
        self.text_size = PyBytes_GET_SIZE(self.content)
        fields = {
            "msg_id": f"{session}_{os.getpid()}_{'0' * DIGITS}",
            "msg_type": "execute_request",
            "username": "bench",
            "session": session,
            "date": "2026-01-31T12:00:00.123456Z",
            "version": "5.5",
        }
        if subshell_id is not None:
            fields["subshell_id"] = subshell_id
        cdef bytes header = json.dumps(fields).encode()
        self.header_size = len(header)
        self.digits_at = header.index(b"_" + b"0" * DIGITS + b'"') + 1
        self.signs = len(key) > 0
        self.headers = <uint8_t *>malloc(count * self.header_size + 1)
        self.signatures = <uint8_t *>malloc(count * 64 + 1)
        if self.headers == NULL or self.signatures == NULL:
            raise MemoryError
        fs_hmac_key_init(&self.key, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
        for i in range(count):
            self.make(i, <const uint8_t *>PyBytes_AS_STRING(header))

    def __dealloc__(self):
        free(self.headers)
        free(self.signatures)

    cdef void make(self, int i, const uint8_t *template) noexcept nogil:
        cdef uint8_t *header = self.headers + i * self.header_size
        cdef int digit, rest = i
        cdef fs_hmac hmac
        cdef uint8_t digest[32]
        memcpy(header, template, self.header_size)
        for digit in range(DIGITS):
            header[self.digits_at + DIGITS - 1 - digit] = c"0" + rest % 10
            rest //= 10
        if self.signs:
            fs_hmac_init(&hmac, &self.key)
            fs_hmac_update(&hmac, header, self.header_size)
            fs_hmac_update(&hmac, b"{}{}", 4)  # parent_header and metadata
            fs_hmac_update(&hmac, self.text, self.text_size)
            fs_hmac_final(&hmac, digest)
            fs_hex32(digest, <char *>self.signatures + i * 64)

    cdef int index_of(self, const uint8_t *header, size_t size) noexcept nogil:
        """Which request has this header; -1 for none."""
        cdef int i = 0, digit
        if size != self.header_size:
            return -1
        for digit in range(DIGITS):
            i = i * 10 + header[self.digits_at + digit] - c"0"
        if not 0 <= i < self.count or memcmp(header, self.headers + i * size, size) != 0:
            return -1
        return i


# ------------------------------------------------------------------ the client

cdef class Client:
    """A DEALER in a context of its own, connected to one endpoint of the router."""

    cdef void *context
    cdef void *socket
    cdef list sent  # Requests whose bytes libzmq may still read

    def __cinit__(self, str endpoint, str identity, int io_threads=1):
        cdef int zero = 0
        cdef bytes routing_id = identity.encode()
        self.sent = []
        self.context = fs_zmq.ctx_new()
        fs_zmq.ctx_set(self.context, ZMQ_IO_THREADS, io_threads)
        self.socket = fs_zmq.socket(self.context, ZMQ_DEALER)
        for option in (ZMQ_LINGER, ZMQ_SNDHWM, ZMQ_RCVHWM):
            fs_zmq.setsockopt(self.socket, option, &zero, sizeof(zero))
        fs_zmq.setsockopt(self.socket, ZMQ_ROUTING_ID, <char *>routing_id, len(routing_id))
        if fs_zmq.connect(self.socket, os.fsencode(endpoint)) < 0:
            raise OSError(f"cannot connect to {endpoint}")

    def close(self):
        """Close the socket and end the context. May be called twice."""
        if self.socket != NULL:
            fs_zmq.close(self.socket)
            self.socket = NULL
            with nogil:
                fs_zmq.ctx_term(self.context)

    def __dealloc__(self):
        self.close()

    def run(self, Requests requests not None, int first, int count, int window, *, int timeout_ms=5000,
            bint check_signatures=False):
        """Send requests[first : first + count], never more than `window` unanswered; return a Round.

        timeout_ms: without any answer for so long, the rest counts as lost.
        check_signatures: of the answers too; costs the client about as much as the router.
        """
        cdef array.array times = self.begin(requests, first, count, timeout_ms)
        cdef int64_t *time = <int64_t *>times.data.as_voidptr
        cdef int64_t start, elapsed
        cdef int wrong = 0, sent = 0, answered = 0, flags, rc
        with nogil:
            start = now_ns()
            while answered < count:
                while sent < count and sent - answered < window:
                    time[sent] = -now_ns()
                    send_request(self.socket, requests, first + sent)
                    sent += 1
                flags = 0  # wait for the first answer, and take with it what else is there
                while answered < sent:
                    rc = take_answer(self.socket, flags, requests, first, sent, time, check_signatures)
                    if rc < 0:
                        break
                    wrong += rc == 0
                    answered += rc
                    flags = ZMQ_DONTWAIT
                if flags == 0:  # none at all
                    break
            elapsed = now_ns() - start
        return finished(elapsed, times, count, wrong, count - answered)

    def send(self, Requests requests not None, int first, int count):
        """Send them all without waiting for answers; return the ns it took. `take` has the answers."""
        cdef int64_t start
        cdef int i
        self.sent.append(requests)
        with nogil:
            start = now_ns()
            for i in range(count):
                send_request(self.socket, requests, first + i)
            start = now_ns() - start
        return start

    def take(self, Requests requests not None, int first, int count, *, int timeout_ms=5000,
             bint check_signatures=False):
        """Take the answers to what `send` sent. The Round's latencies say when they came."""
        cdef array.array times = self.begin(requests, first, count, timeout_ms)
        cdef int64_t *time = <int64_t *>times.data.as_voidptr
        cdef int64_t start
        cdef int wrong = 0, answered = 0, rc, i
        with nogil:
            start = now_ns()
            for i in range(count):
                time[i] = -start
            while answered < count:
                rc = take_answer(self.socket, 0, requests, first, count, time, check_signatures)
                if rc < 0:
                    break
                wrong += rc == 0
                answered += rc
            start = now_ns() - start
        return finished(start, times, count, wrong, count - answered)

    def ping(self, int count, *, int timeout_ms=5000):
        """Send a frame to a heartbeat and wait for its return, `count` times; return a Round."""
        cdef array.array times = self.begin(None, 0, count, timeout_ms)
        cdef int64_t *time = <int64_t *>times.data.as_voidptr
        cdef int64_t start, sent
        cdef int wrong = 0, answered = 0, i
        cdef fs_frame frame
        with nogil:
            start = now_ns()
            for i in range(count):
                sent = now_ns()
                fs_zmq.msg_init_size(&frame, sizeof(sent))
                memcpy(fs_zmq.msg_data(&frame), &sent, sizeof(sent))
                send_frame(&frame, self.socket, False)
                if receive_frame(&frame, self.socket, 0) < 0:
                    break
                answered += 1
                time[i] = now_ns() - sent
                if fs_zmq.msg_size(&frame) != sizeof(sent) \
                        or memcmp(fs_zmq.msg_data(&frame), &sent, sizeof(sent)) != 0:
                    wrong += 1
                fs_zmq.msg_close(&frame)
            start = now_ns() - start
        return finished(start, times, count, wrong, count - answered)

    cdef array.array begin(self, Requests requests, int first, int count, int timeout_ms):
        """Set the timeout, keep the requests' bytes alive, return one int64 for each request."""
        if requests is not None:
            if first < 0 or first + count > requests.count:
                raise ValueError(f"requests {first} to {first + count} of {requests.count}")
            if requests not in self.sent:
                self.sent.append(requests)
        fs_zmq.setsockopt(self.socket, ZMQ_RCVTIMEO, &timeout_ms, sizeof(timeout_ms))
        return array.array("q", bytes(8 * count))


cdef finished(int64_t elapsed, array.array times, int count, int wrong, int lost):
    cdef int64_t *time = <int64_t *>times.data.as_voidptr
    for i in range(count):
        if time[i] <= 0:
            time[i] = LATENCY_NONE
    return Round(elapsed, times, wrong, lost)


cdef inline int receive_frame(fs_frame *frame, void *socket, int flags) noexcept nogil:
    """0, or -1: none there (in time), or the context ends."""
    fs_zmq.msg_init(frame)
    while fs_zmq.msg_recv(frame, socket, flags) < 0:
        if fs_zmq.error() != EINTR:
            return -1
    return 0


cdef inline void send_frame(fs_frame *frame, void *socket, bint more) noexcept nogil:
    """Send or close. Without a high-water mark only the context's end can refuse it."""
    while fs_zmq.msg_send(frame, socket, ZMQ_SNDMORE if more else 0) < 0:
        if fs_zmq.error() != EINTR:
            fs_zmq.msg_close(frame)
            return


cdef inline void send_bytes(const void *bytes_, size_t size, void *socket, bint more) noexcept nogil:
    """Send bytes that stay where they are until the context has ended: neither copied nor counted."""
    cdef fs_frame frame
    fs_zmq.msg_init_data(&frame, <void *>bytes_, size, NULL, NULL)
    send_frame(&frame, socket, more)


cdef void send_request(void *socket, Requests requests, int i) noexcept nogil:
    send_bytes(DELIMITER, 9, socket, True)
    send_bytes(requests.signatures + i * 64, 64 if requests.signs else 0, socket, True)
    send_bytes(requests.headers + i * requests.header_size, requests.header_size, socket, True)
    send_bytes(b"{}", 2, socket, True)
    send_bytes(b"{}", 2, socket, True)
    send_bytes(requests.text, requests.text_size, socket, False)


cdef int take_answer(void *socket, int flags, Requests requests, int first, int count, int64_t *time,
                     bint check_signatures) noexcept nogil:
    """Read one message. 1: it answers one of requests[first : first + count], 0: it is wrong, -1: none."""
    cdef fs_frame frames[ANSWER_FRAMES]
    cdef fs_frame surplus
    cdef int n = 0, i, answers
    cdef bint more = True
    while more and n < ANSWER_FRAMES:
        if receive_frame(&frames[n], socket, flags) < 0:
            return -1
        more = fs_zmq.msg_more(&frames[n])
        n += 1
    answers = 0 if more else is_answer(requests, frames, n, first, count, time, check_signatures)
    for i in range(n):
        fs_zmq.msg_close(&frames[i])
    while more and receive_frame(&surplus, socket, 0) == 0:
        more = fs_zmq.msg_more(&surplus)
        fs_zmq.msg_close(&surplus)
    return answers


cdef bint is_answer(Requests requests, fs_frame *frames, int n, int first, int count, int64_t *time,
                    bint check_signatures) noexcept nogil:
    """The reply's parent is a request of ours that was not answered before, and its content came back."""
    cdef int i
    if n != ANSWER_FRAMES or fs_zmq.msg_size(&frames[0]) != 9:
        return False
    i = requests.index_of(<uint8_t *>fs_zmq.msg_data(&frames[3]), fs_zmq.msg_size(&frames[3])) - first
    if not 0 <= i < count or time[i] >= 0:
        return False
    if fs_zmq.msg_size(&frames[5]) != requests.text_size \
            or memcmp(fs_zmq.msg_data(&frames[5]), requests.text, requests.text_size) != 0:
        return False
    if check_signatures and not is_signed(requests, frames):
        return False
    time[i] += now_ns()
    return True


cdef bint is_signed(Requests requests, fs_frame *frames) noexcept nogil:
    cdef fs_hmac hmac
    cdef uint8_t digest[32]
    cdef char hex[64]
    if not requests.signs:
        return fs_zmq.msg_size(&frames[1]) == 0
    fs_hmac_init(&hmac, &requests.key)
    for i in range(2, ANSWER_FRAMES):
        fs_hmac_update(&hmac, fs_zmq.msg_data(&frames[i]), fs_zmq.msg_size(&frames[i]))
    fs_hmac_final(&hmac, digest)
    fs_hex32(digest, hex)
    return fs_zmq.msg_size(&frames[1]) == 64 and memcmp(fs_zmq.msg_data(&frames[1]), hex, 64) == 0


# ------------------------------------------------------------------ the shell

def serve_echo(Channel channel not None, Outbox outbox not None):
    """Answer every request with an execute_reply of the same content, without Python, until Kind.STOP.

    Reads the channel's PAIR by waiting in libzmq, so the channel's fd must not be polled as well. It
    is never busy in the sense of the kick, which is about the GIL. Returns the number of answers.
    """
    cdef router_state *R = &outbox.core.state
    cdef void *socket = channel.socket
    cdef mailbox *box = channel.box
    cdef int64_t answers = 0
    with nogil:
        while echo_one(R, socket, box):
            answers += 1
    return answers


cdef bint echo_one(router_state *R, void *socket, mailbox *box) noexcept nogil:
    """Wait for one request and answer it; False at the end."""
    cdef fs_frame frames[IDENTITIES_MAX + 5]  # note, identities, four parts
    cdef fs_frame *parts
    cdef fs_frame buffer
    cdef note_head note
    cdef op_head op
    cdef bint more
    cdef int n
    cdef size_t size = 0
    if receive_frame(&frames[0], socket, 0) < 0:
        return False
    memcpy(&note, fs_zmq.msg_data(&frames[0]), sizeof(note))
    fs_zmq.msg_close(&frames[0])
    if note.kind == KIND_STOP:
        return False
    n = 1 + note.identities + 4
    for i in range(1, n):
        receive_frame(&frames[i], socket, 0)
        size += fs_zmq.msg_size(&frames[i])
    parts = &frames[n - 4]
    more = fs_zmq.msg_more(&parts[3])
    fs_zmq.msg_close(&parts[1])  # the request's own parent_header
    memset(&op, 0, sizeof(op))
    op.op = OP_SEND
    op.destination = SHELL
    op.identities = note.identities
    fs_zmq.msg_init_size(&frames[0], sizeof(op) + 13)
    memcpy(fs_zmq.msg_data(&frames[0]), &op, sizeof(op))
    memcpy(<uint8_t *>fs_zmq.msg_data(&frames[0]) + sizeof(op), b"execute_reply", 13)
    fs_lock(&R.lock)
    for i in range(n - 3):  # the head, the identities, and the header, which becomes the parent
        send_frame(&frames[i], R.push, True)
    send_frame(&parts[2], R.push, True)
    send_frame(&parts[3], R.push, more)
    while more:
        receive_frame(&buffer, socket, 0)
        more = fs_zmq.msg_more(&buffer)
        size += fs_zmq.msg_size(&buffer)
        send_frame(&buffer, R.push, more)
    fs_unlock(&R.lock)
    fs_add(&box.taken_bytes, size)
    return True

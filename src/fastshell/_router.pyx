"""The compiled router: the one owner of the wire sockets.

Theory of operation. One thread runs `serve`, which never takes the GIL: it waits for the wire sockets,
the outbox and a few descriptors, and handles a bounded burst from each that is ready.
A request comes in as: identities, <IDS|MSG>, signature, header, parent_header, metadata, content,
buffers. It is verified, its header scanned for msg_type and subshell_id, and its frames move into
the PAIR of the shell that it names. What threads send comes in over one PUSH/PULL, the outbox: the
PUSH is shared by all threads under `state.lock`, so that messages leave in the order of the calls
over all threads. The header, the signature and the status messages are made here.

Sections: frames, what leaves, mailboxes, what arrives, the outbox, captured text, deadlines, the
loop; then the Python face, which is thin. In the nogil part functions return 0, or -1 with nothing
left open; whoever opens a frame sends or closes it.

The plain twin is `_pyrouter`; `_router.pyi` says what both promise.
"""

import json
import os
import sys
import threading
import weakref
from importlib.machinery import EXTENSION_SUFFIXES, PathFinder
from types import MappingProxyType

from cpython.buffer cimport PyBUF_CONTIG_RO, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.errno cimport EAGAIN, EINTR, errno
from libc.signal cimport SIGTERM
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memmove, memset, strlen

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
    fs_hmac_key_init,
    fs_hmac_update,
    fs_json_text,
    fs_json_text_bound,
    fs_scan_header,
    fs_unhex32,
)
from fastshell._libzmq cimport *

from fastshell._contract import ANSWERS, CHANNELS, DROP_REASONS, Kind, Received, RouterError, Statistics

cdef extern from "poll.h" nogil:
    enum:
        POLLIN
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *, unsigned long, int timeout_ms)

cdef extern from "unistd.h" nogil:
    int getpid()
    int getppid()
    int unlink(const char *)
    int close(int)
    int usleep(unsigned int)

cdef enum:
    FLUSH_US = 50_000  # text is gathered for so long; ipykernel's is 200 ms
    TEXT_MAX = 65_536  # ... or until there is so much of it
    CAPTURE_BYTES = 65_536  # what one read of a captured pipe takes: its usual capacity
    LARGE = 65_536  # from this size on, bytes are lent instead of copied
    LINGER_MS = 300  # how long peers may take over the last messages
    PARENT_CHECK_US = 500_000
    GRACE_US = 900_000  # from SIGTERM or the parent's death to _exit
    START_MAX = 264  # frame 0 of an inproc message: its head and a msg_type of up to 255 bytes
    WELCOME_MAX = 4096  # longest subscription that is welcomed with its text

cdef const char *DELIMITER = b"<IDS|MSG>"
cdef const char *BUSY = b'{"execution_state":"busy"}'
cdef const char *IDLE = b'{"execution_state":"idle"}'
cdef const char *STARTING = b'{"execution_state":"starting"}'
cdef const char *STATES[3]
STATES[0] = BUSY
STATES[1] = IDLE
STATES[2] = STARTING
cdef const char *LOG_LINES[DROP_COUNT]
LOG_LINES[DROP_DELIMITER] = b"fastshell: dropped a message without <IDS|MSG> frame; more like it are only counted\n"
LOG_LINES[DROP_PARTS] = b"fastshell: dropped a message with fewer than four JSON parts; more like it are only counted\n"
LOG_LINES[DROP_SIGNATURE] = b"fastshell: dropped a message with a wrong signature; more like it are only counted\n"
LOG_LINES[DROP_REPLAY] = b"fastshell: dropped a message whose signature was seen before; more like it are only counted\n"
LOG_LINES[DROP_HEADER] = b"fastshell: dropped a message whose header is no JSON object with a msg_type; more like it are only counted\n"
LOG_LINES[DROP_INPUT_REPLY] = b"fastshell: dropped an input_reply that nobody waits for; more like it are only counted\n"
LOG_LINES[DROP_UNSENDABLE] = b"fastshell: could not send a message; more like it are only counted\n"


# ------------------------------------------------------------------ frames

cdef inline int recv_frame(router_state *R, fs_frame *frame, void *socket) noexcept nogil:
    """1: a frame, 0: none there, -1: the context ends."""
    fs_zmq.msg_init(frame)
    while fs_zmq.msg_recv(frame, socket, ZMQ_DONTWAIT) < 0:
        if fs_zmq.error() == EINTR:
            continue
        fs_zmq.msg_close(frame)
        return 0 if fs_zmq.error() == EAGAIN else -1
    fs_add(&R.frames_open, 1)
    return 1


cdef inline void close_frame(router_state *R, fs_frame *frame) noexcept nogil:
    fs_zmq.msg_close(frame)
    fs_subtract(&R.frames_open, 1)


cdef inline void close_frames(router_state *R, fs_frame *frames, int count) noexcept nogil:
    for i in range(count):
        close_frame(R, &frames[i])


cdef inline int make_frame(router_state *R, fs_frame *frame, const void *data, size_t size) noexcept nogil:
    if fs_zmq.msg_init_size(frame, size) < 0:
        return -1
    memcpy(fs_zmq.msg_data(frame), data, size)
    fs_add(&R.frames_open, 1)
    return 0


cdef inline int send_frame(router_state *R, fs_frame *frame, void *socket, bint more) noexcept nogil:
    """Send or close; -1 if it could not be sent."""
    cdef int flags = ZMQ_DONTWAIT | (ZMQ_SNDMORE if more else 0)
    while fs_zmq.msg_send(frame, socket, flags) < 0:
        if fs_zmq.error() == EINTR:
            continue
        close_frame(R, frame)
        return -1
    fs_subtract(&R.frames_open, 1)
    return 0


cdef int send_frames(router_state *R, fs_frame *frames, int count, void *socket, bint more) noexcept nogil:
    """Send all or close all: once one fails the rest is closed."""
    cdef int i
    for i in range(count):
        if send_frame(R, &frames[i], socket, more or i + 1 < count) < 0:
            close_frames(R, &frames[i + 1], count - i - 1)
            return -1
    return 0


cdef int pump(router_state *R, void *source, void *target, uint64_t *size) noexcept nogil:
    """Move the remaining frames of one message; target NULL closes them. -1 if some were not sent."""
    cdef fs_frame frame
    cdef bint more = True
    cdef int result = 0
    while more:
        if recv_frame(R, &frame, source) <= 0:  # a multipart arrives whole: only the context's end
            return -1
        more = fs_zmq.msg_more(&frame)
        size[0] += fs_zmq.msg_size(&frame)
        if target == NULL:
            close_frame(R, &frame)
        elif send_frame(R, &frame, target, more) < 0:
            target = NULL  # go on draining, or the next message would begin in this one
            result = -1
    return result


cdef inline const uint8_t *data_of(fs_frame *frame) noexcept nogil:
    return <const uint8_t *>fs_zmq.msg_data(frame)


# ------------------------------------------------------------------ what leaves

cdef void drop(router_state *R, int reason) noexcept nogil:
    R.dropped[reason] += 1
    if R.log_fd >= 0 and not R.logged & (1 << reason):
        R.logged |= 1 << reason
        fs_write_line(R.log_fd, LOG_LINES[reason])


cdef int make_header(router_state *R, fs_frame *frame, const void *msg_type, size_t size,
                     const char *msg_id, size_t msg_id_size) noexcept nogil:
    """A header frame; msg_id NULL makes a new one. msg_type is JSON text already."""
    cdef char date[64]
    cdef char number[24]
    cdef size_t start = strlen(R.header_start), end = strlen(R.header_end), n
    cdef uint8_t *p
    fs_utc_now(date)
    cdef size_t date_size = strlen(date)
    cdef int digits = 0
    if msg_id == NULL:
        digits = fs_decimal(number, fs_next(&R.messages))
    else:
        start = msg_id_size + 11  # {"msg_id":"
    n = start + digits + 14 + size + 1 + end + date_size + 18
    if fs_zmq.msg_init_size(frame, n) < 0:
        return -1
    fs_add(&R.frames_open, 1)
    p = <uint8_t *>fs_zmq.msg_data(frame)
    if msg_id == NULL:
        memcpy(p, R.header_start, start)
    else:
        memcpy(p, R.header_start, 11)
        memcpy(p + 11, msg_id, msg_id_size)
    p += start
    memcpy(p, number, digits)
    p += digits
    memcpy(p, b'","msg_type":"', 14)
    p += 14
    memcpy(p, msg_type, size)
    p += size
    p[0] = c'"'
    memcpy(p + 1, R.header_end, end)
    p += 1 + end
    memcpy(p, date, date_size)
    p += date_size
    memcpy(p, b'","version":"5.5"}', 18)
    return 0


cdef void sign(router_state *R, const fs_hmac_key *key, fs_frame *parts, char *signature) noexcept nogil:
    """The 64 hex digits over header, parent_header, metadata and content."""
    cdef fs_hmac hmac
    cdef uint8_t digest[32]
    fs_hmac_init(&hmac, key)
    for i in range(4):
        fs_hmac_update(&hmac, fs_zmq.msg_data(&parts[i]), fs_zmq.msg_size(&parts[i]))
    fs_hmac_final(&hmac, digest)
    fs_hex32(digest, signature)


cdef int emit(router_state *R, int channel, fs_frame *identities, int identity_count, fs_frame *parts,
              bint more) noexcept nogil:
    """Sign and send one message but for its buffers; takes all frames, in every case."""
    cdef fs_frame edge[2]  # delimiter, signature
    cdef char signature[64]
    cdef void *socket = R.items[channel].socket
    cdef size_t signature_size = 64 if R.signs else 0
    R.unread |= 1 << channel  # sending can swallow the news of what has arrived, see `wait_ready`
    if R.signs:
        sign(R, &R.key, parts, signature)
    if make_frame(R, &edge[0], DELIMITER, 9) < 0:
        pass
    elif make_frame(R, &edge[1], signature, signature_size) < 0:
        close_frame(R, &edge[0])
    elif send_frames(R, identities, identity_count, socket, True) < 0:
        close_frames(R, edge, 2)
        close_frames(R, parts, 4)
        return -1
    elif send_frames(R, edge, 2, socket, True) < 0:
        close_frames(R, parts, 4)
        return -1
    else:
        if send_frames(R, parts, 4, socket, more) < 0:
            return -1
        R.sent[channel] += 1
        return 0
    close_frames(R, identities, identity_count)
    close_frames(R, parts, 4)
    return -1


cdef int compose(router_state *R, fs_frame *parts, const void *msg_type, size_t type_size,
                 const void *parent, size_t parent_size, const void *content, size_t size) noexcept nogil:
    """The four JSON parts of a message of the router's own."""
    if make_header(R, &parts[0], msg_type, type_size, NULL, 0) < 0:
        return -1
    if make_frame(R, &parts[1], parent, parent_size) < 0:
        close_frames(R, parts, 1)
        return -1
    if make_frame(R, &parts[2], b"{}", 2) < 0:
        close_frames(R, parts, 2)
        return -1
    if make_frame(R, &parts[3], content, size) < 0:
        close_frames(R, parts, 3)
        return -1
    return 0


cdef void publish(router_state *R, const void *topic, size_t topic_size, const void *msg_type, size_t type_size,
                  const void *parent, size_t parent_size, const void *content, size_t size) noexcept nogil:
    """A message of the router's own on iopub."""
    cdef fs_frame topic_frame
    cdef fs_frame parts[4]
    if make_frame(R, &topic_frame, topic, topic_size) < 0:
        drop(R, DROP_UNSENDABLE)
    elif compose(R, parts, msg_type, type_size, parent, parent_size, content, size) < 0:
        close_frame(R, &topic_frame)
        drop(R, DROP_UNSENDABLE)
    elif emit(R, IOPUB, &topic_frame, 1, parts, False) < 0:
        drop(R, DROP_UNSENDABLE)


cdef void publish_status(router_state *R, int state, fs_frame *parent) noexcept nogil:
    publish(R, b"status", 6, b"status", 6, data_of(parent), fs_zmq.msg_size(parent), STATES[state],
            strlen(STATES[state]))


cdef void answer(router_state *R, int channel, fs_frame *identities, int identity_count, fs_frame *header,
                 const void *msg_type, size_t type_size, const void *content, size_t size) noexcept nogil:
    """A reply of the router's own; takes the identities. msg_type NULL: busy and idle without a reply."""
    cdef fs_frame parts[4]
    publish_status(R, 0, header)
    if msg_type == NULL:
        close_frames(R, identities, identity_count)
    elif compose(R, parts, msg_type, type_size, data_of(header), fs_zmq.msg_size(header), content, size) < 0:
        close_frames(R, identities, identity_count)
        drop(R, DROP_UNSENDABLE)
    elif emit(R, channel, identities, identity_count, parts, False) < 0:
        drop(R, DROP_UNSENDABLE)
    publish_status(R, 1, header)


cdef void publish_text(router_state *R, int stream, const void *parent, size_t parent_size, const uint8_t *text,
                       size_t size, size_t *consumed, bint final) noexcept nogil:
    """Publish raw bytes as a stream message; consumed: how many of them were whole characters."""
    cdef const char *start = b'{"name":"stdout","text":"' if stream == 0 else b'{"name":"stderr","text":"'
    cdef const char *topic = b"stream.stdout" if stream == 0 else b"stream.stderr"
    cdef size_t n
    consumed[0] = 0
    if reserve(&R.scratch, fs_json_text_bound(size) + 32) < 0:
        consumed[0] = size
        drop(R, DROP_UNSENDABLE)
        return
    memcpy(R.scratch.data, start, 25)
    n = 25 + fs_json_text(text, size, R.scratch.data + 25, consumed, final)
    if consumed[0] or n > 25:
        memcpy(R.scratch.data + n, b'"}', 2)
        publish(R, topic, 13, b"stream", 6, parent, parent_size, R.scratch.data, n + 2)
    if R.scratch.capacity > 16 * TEXT_MAX:  # one huge print shall not stay resident
        free(R.scratch.data)
        memset(&R.scratch, 0, sizeof(R.scratch))


cdef int reserve(bytes_t *bytes_, size_t capacity) noexcept nogil:
    cdef uint8_t *grown
    if capacity > bytes_.capacity:
        grown = <uint8_t *>realloc(bytes_.data, capacity)
        if grown == NULL:
            return -1
        bytes_.data = grown
        bytes_.capacity = capacity
    return 0


cdef void remember(bytes_t *bytes_, fs_frame *frame) noexcept nogil:
    """Copy a frame's bytes; without memory the old ones stay."""
    cdef size_t size = fs_zmq.msg_size(frame)
    if reserve(bytes_, size) == 0:
        memcpy(bytes_.data, fs_zmq.msg_data(frame), size)
        bytes_.size = size


# ------------------------------------------------------------------ mailboxes

cdef inline uint32_t name_hash(const uint8_t *name, size_t size) noexcept nogil:
    cdef uint64_t h = 0xCBF29CE484222325ULL  # FNV-1a
    for i in range(size):
        h = (h ^ name[i]) * 0x100000001B3ULL
    return <uint32_t>(h ^ (h >> 32))


cdef uint32_t box_slot(router_state *R, const uint8_t *name, size_t size) noexcept nogil:
    """Where `name` stands, or the empty slot where it would."""
    cdef uint32_t slot = name_hash(name, size) & R.box_mask
    cdef mailbox *box = R.boxes[slot]
    while box != NULL and not (box.name_size == size and memcmp(box.name, name, size) == 0):
        slot = (slot + 1) & R.box_mask
        box = R.boxes[slot]
    return slot


cdef mailbox *box_named(router_state *R, const uint8_t *name, size_t size) noexcept nogil:
    return R.boxes[box_slot(R, name, size)]


cdef int boxes_rebuild(router_state *R, uint32_t capacity) noexcept nogil:
    """Insert every mailbox anew into a table of `capacity` slots, a power of two."""
    cdef mailbox **old = R.boxes
    cdef uint32_t old_capacity = R.box_mask + 1, i
    cdef mailbox **grown = <mailbox **>calloc(capacity, sizeof(mailbox *))
    if grown == NULL:
        return -1
    R.boxes = grown
    R.box_mask = capacity - 1
    for i in range(old_capacity):
        if old[i] != NULL:
            R.boxes[box_slot(R, <uint8_t *>old[i].name, old[i].name_size)] = old[i]
    free(old)
    return 0


cdef void box_release(mailbox *box) noexcept nogil:
    if fs_released(&box.owners):
        free(box.name)
        free(box)

cdef void box_close(router_state *R, mailbox *box) noexcept nogil:
    """Send the last message and let go of the router's end; what is queued can still be read."""
    hand_over_note(R, box, KIND_STOP, NULL, 0)
    forget_waiters(R, box)
    fs_zmq.close(box.inlet)
    box.inlet = NULL
    if R.main == box:
        R.main = NULL
    if R.control == box:
        R.control = NULL
    box_release(box)


cdef bint open_box(router_state *R) noexcept nogil:
    """Take the oldest mailbox that open_channel made into the table; False if there is none.

    One for each OP_OPEN, so that closing and opening the same name keep their order.
    """
    cdef mailbox *box
    fs_lock(&R.lock)
    box = R.opening
    if box != NULL:
        R.opening = box.next
    fs_unlock(&R.lock)
    if box == NULL:
        return False
    if (R.box_count + 1) * 2 > R.box_mask and boxes_rebuild(R, (R.box_mask + 1) * 2) < 0 \
            and R.box_count + 2 > R.box_mask:
        box_close(R, box)  # no memory, and the table is full
        return True
    R.boxes[box_slot(R, <uint8_t *>box.name, box.name_size)] = box
    R.box_count += 1
    if box.name_size == 4 and memcmp(box.name, b"main", 4) == 0:
        R.main = box
    elif box.name_size == 7 and memcmp(box.name, b"control", 7) == 0:
        R.control = box
    return True


cdef mailbox *box_opening(router_state *R, const uint8_t *name, size_t size) noexcept nogil:
    """A mailbox whose OP_OPEN is still in the outbox: a request can overtake it within a round."""
    cdef mailbox *box
    fs_lock(&R.lock)
    box = R.opening
    while box != NULL and not (box.name_size == size and memcmp(box.name, name, size) == 0):
        box = box.next
    fs_unlock(&R.lock)
    return box


cdef void close_box(router_state *R, const uint8_t *name, size_t size) noexcept nogil:
    cdef uint32_t slot = box_slot(R, name, size), probe
    cdef mailbox *box = R.boxes[slot]
    if box == NULL:
        return
    R.boxes[slot] = NULL
    R.box_count -= 1
    probe = (slot + 1) & R.box_mask
    while R.boxes[probe] != NULL:  # close the gap: whatever follows may belong further to the front
        moved = R.boxes[probe]
        R.boxes[probe] = NULL
        R.boxes[box_slot(R, <uint8_t *>moved.name, moved.name_size)] = moved
        probe = (probe + 1) & R.box_mask
    box_close(R, box)


cdef int hand_over_note(router_state *R, mailbox *box, int kind, const void *content, size_t size) noexcept nogil:
    """STOP or TERMINATE: a note and, with TERMINATE, what happened."""
    cdef note_head head
    cdef fs_frame frames[2]
    head.kind = kind
    head.identities = 0
    if make_frame(R, &frames[0], &head, sizeof(head)) < 0:
        return -1
    if content == NULL:
        return send_frames(R, frames, 1, box.inlet, False)
    if make_frame(R, &frames[1], content, size) < 0:
        close_frame(R, &frames[0])
        return -1
    return send_frames(R, frames, 2, box.inlet, False)


cdef void hand_over(router_state *R, mailbox *box, int kind, int channel, fs_header *fields,
                    fs_frame *identities, int identity_count, fs_frame *parts, bint more) noexcept nogil:
    """Move one message to a shell; takes the frames and, with `more`, the rest from the wire socket."""
    cdef uint8_t start[START_MAX]
    cdef note_head *head = <note_head *>start
    cdef fs_frame note
    cdef void *target = box.inlet
    cdef uint64_t size = 0
    cdef int i
    head.kind = kind
    head.identities = <uint16_t>identity_count
    memcpy(start + sizeof(note_head), fields.msg_type.text, fields.msg_type.size)
    for i in range(identity_count):
        size += fs_zmq.msg_size(&identities[i])
    for i in range(4):
        size += fs_zmq.msg_size(&parts[i])
    fs_wake_announce(&box.wake)
    fs_add(&box.handed_bytes, size)
    if make_frame(R, &note, start, sizeof(note_head) + fields.msg_type.size) < 0 \
            or send_frame(R, &note, target, True) < 0:
        close_frames(R, identities, identity_count)
        close_frames(R, parts, 4)
        target = NULL
    elif send_frames(R, identities, identity_count, target, True) < 0:
        close_frames(R, parts, 4)
        target = NULL
    elif send_frames(R, parts, 4, target, more) < 0:
        target = NULL
    size = 0
    if more and pump(R, R.items[channel].socket, target, &size) < 0:
        target = NULL
    if target == NULL:
        drop(R, DROP_UNSENDABLE)
        return
    fs_add(&box.handed_bytes, size)
    R.relayed[channel] += 1
    if box != R.main and not R.timer_armed and R.main != NULL and fs_flag(&R.main.wake.busy) \
            and R.items[ITEM_TIMER].fd >= 0:
        R.timer_armed = 1
        fs_timer_arm(R.items[ITEM_TIMER].fd, FS_KICK_AFTER_US)


# ------------------------------------------------------------------ what arrives

cdef int check(router_state *R, fs_frame *signature, fs_frame *parts) noexcept nogil:
    """DROP_COUNT if the message is signed and new, else why it is not accepted."""
    cdef fs_hmac hmac
    cdef uint8_t digest[32]
    cdef uint8_t claimed[32]
    if not R.signs:
        return DROP_COUNT
    if fs_unhex32(<const char *>fs_zmq.msg_data(signature), fs_zmq.msg_size(signature), claimed) < 0:
        return DROP_SIGNATURE
    fs_hmac_init(&hmac, &R.key)
    for i in range(4):
        fs_hmac_update(&hmac, fs_zmq.msg_data(&parts[i]), fs_zmq.msg_size(&parts[i]))
    fs_hmac_final(&hmac, digest)
    if not fs_equal(digest, claimed, 32):
        return DROP_SIGNATURE
    if not fs_replay_is_new(&R.replay, digest):
        return DROP_REPLAY
    return DROP_COUNT


cdef int take_message(router_state *R, int channel) noexcept nogil:
    """Read, verify and dispatch one message of shell, control or stdin. 0 if there is none, -1: the end."""
    cdef fs_frame head[IDENTITIES_MAX + 6]  # identities, delimiter, signature, four parts
    cdef fs_header fields
    cdef void *socket = R.items[channel].socket
    cdef int n = 0, delimiter = -1, rc
    cdef bint more = True
    cdef int reason = DROP_COUNT
    cdef uint64_t rest = 0
    while more and not (delimiter >= 0 and n == delimiter + 6):
        rc = recv_frame(R, &head[n], socket)
        if rc <= 0:
            close_frames(R, head, n)
            return rc if n == 0 else -1
        more = fs_zmq.msg_more(&head[n])
        if delimiter < 0 and fs_zmq.msg_size(&head[n]) == 9 and memcmp(data_of(&head[n]), DELIMITER, 9) == 0:
            delimiter = n
        n += 1
        if delimiter < 0 and n > IDENTITIES_MAX:
            break
    R.received[channel] += 1
    if delimiter < 0:
        reason = DROP_DELIMITER
    elif n < delimiter + 6:
        reason = DROP_PARTS
    else:
        reason = check(R, &head[delimiter + 1], &head[delimiter + 2])
        if reason == DROP_COUNT and (
            fs_scan_header(data_of(&head[delimiter + 2]), fs_zmq.msg_size(&head[delimiter + 2]), &fields) < 0
            or fields.msg_type.kind != FS_STRING or fields.msg_type.size > 255
        ):
            reason = DROP_HEADER
    if reason != DROP_COUNT:
        close_frames(R, head, n)
        if more:
            pump(R, socket, NULL, &rest)
        drop(R, reason)
        return 1
    close_frames(R, &head[delimiter], 2)
    if channel == STDIN:
        deliver_input(R, &fields, head, delimiter, &head[delimiter + 2], more)
    else:
        deliver_request(R, channel, &fields, head, delimiter, &head[delimiter + 2], more)
    return 1


cdef inline bint is_type(fs_field *field, const char *name, size_t size) noexcept nogil:
    return field.size == size and memcmp(field.text, name, size) == 0


cdef void deliver_request(router_state *R, int channel, fs_header *fields, fs_frame *identities, int identity_count,
                          fs_frame *parts, bint more) noexcept nogil:
    """Answer a request or hand it to its shell; takes the frames."""
    cdef mailbox *box = R.control
    cdef uint64_t rest = 0
    if channel == SHELL:
        if fields.subshell_id.kind == FS_ABSENT or fields.subshell_id.kind == FS_NULL:
            box = R.main
        elif fields.subshell_id.kind == FS_STRING:
            box = box_named(R, fields.subshell_id.text, fields.subshell_id.size)
            if box == NULL:
                box = box_opening(R, fields.subshell_id.text, fields.subshell_id.size)
            if box == R.control or box == R.main:  # names of ours, not ids
                box = NULL
        else:
            box = NULL
    if box == NULL:
        answer_unknown(R, channel, fields, identities, identity_count, &parts[0])
    elif R.kernel_info.size > 0 and is_type(&fields.msg_type, b"kernel_info_request", 19):
        R.answered[ANSWER_KERNEL_INFO] += 1
        answer(R, channel, identities, identity_count, &parts[0], b"kernel_info_reply", 17,
               R.kernel_info.data, R.kernel_info.size)
    else:
        hand_over(R, box, KIND_REQUEST, channel, fields, identities, identity_count, parts, more)
        return
    close_frames(R, parts, 4)
    if more:
        pump(R, R.items[channel].socket, NULL, &rest)


cdef void answer_unknown(router_state *R, int channel, fs_header *fields, fs_frame *identities, int identity_count,
                         fs_frame *header) noexcept nogil:
    """Busy, an error reply of the request's own type, idle; a comm message has no reply."""
    cdef fs_field *msg_type = &fields.msg_type
    cdef fs_field *id_ = &fields.subshell_id
    cdef uint8_t reply_type[6 * 255 + 8]
    cdef uint8_t content[6 * 255 + 256]
    cdef size_t n = 0, used, type_size, id_size = id_.size if id_.size < 255 else 255
    cdef const char *start = (
        b'{"status":"error","execution_count":0,"traceback":[],"ename":"UnknownSubshellError","evalue":"Unknown subshell_id '
        if is_type(msg_type, b"execute_request", 15)
        else b'{"status":"error","traceback":[],"ename":"UnknownSubshellError","evalue":"Unknown subshell_id '
    )
    R.answered[ANSWER_UNKNOWN_SUBSHELL] += 1
    if msg_type.size < 8 or memcmp(msg_type.text + msg_type.size - 8, b"_request", 8) != 0:
        answer(R, channel, identities, identity_count, header, NULL, 0, NULL, 0)
        return
    type_size = fs_json_text(msg_type.text, msg_type.size - 8, reply_type, &used, True)
    memcpy(reply_type + type_size, b"_reply", 6)
    n = strlen(start)
    memcpy(content, start, n)
    if id_.kind == FS_STRING:
        content[n] = b"'"
        n += 1 + fs_json_text(id_.text, id_size, content + n + 1, &used, True)
        memcpy(content + n, b"'\"}", 3)
        n += 3
    else:
        memcpy(content + n, b'that is no string"}', 19)
        n += 19
    answer(R, channel, identities, identity_count, header, reply_type, type_size + 6, content, n)


cdef void deliver_input(router_state *R, fs_header *fields, fs_frame *identities, int identity_count,
                        fs_frame *parts, bint more) noexcept nogil:
    """An input_reply goes to the one who asked; takes the frames."""
    cdef waiter *w = NULL
    cdef uint64_t rest = 0
    cdef mailbox *box
    if is_type(&fields.msg_type, b"input_reply", 11):
        w = find_waiter(R, fields, &parts[1])
    if w != NULL:
        box = w.box
        remove_waiter(R, w)
        hand_over(R, box, KIND_INPUT_REPLY, STDIN, fields, identities, identity_count, parts, more)
        return
    close_frames(R, identities, identity_count)
    close_frames(R, parts, 4)
    if more:
        pump(R, R.items[STDIN].socket, NULL, &rest)
    drop(R, DROP_INPUT_REPLY)


cdef waiter *find_waiter(router_state *R, fs_header *fields, fs_frame *parent) noexcept nogil:
    """By parent_header.msg_id; if that is no question of ours, by the header's subshell_id; else the only one."""
    cdef fs_header asked
    cdef waiter *w = R.waiters
    cdef waiter *found = NULL
    cdef mailbox *box = NULL
    cdef int count = 0
    cdef size_t prefix = strlen(R.header_start) - 11  # of our msg_ids, behind {"msg_id":"
    if fs_scan_header(data_of(parent), fs_zmq.msg_size(parent), &asked) == 0 and asked.msg_id.kind == FS_STRING:
        while w != NULL:
            if w.msg_id_size == asked.msg_id.size and memcmp(w.msg_id, asked.msg_id.text, w.msg_id_size) == 0:
                return w
            w = w.next
        if asked.msg_id.size > prefix and memcmp(asked.msg_id.text, R.header_start + 11, prefix) == 0:
            return NULL  # it answers a question that no longer waits
    if fields.subshell_id.kind == FS_STRING:
        box = box_named(R, fields.subshell_id.text, fields.subshell_id.size)
    elif fields.subshell_id.kind == FS_NULL or fields.subshell_id.kind == FS_ABSENT:
        box = R.main
    w = R.waiters
    while w != NULL:
        if box == NULL or w.box == box:
            found = w
            count += 1
        w = w.next
    if count == 0 and R.waiters != NULL and R.waiters.next == NULL:
        return R.waiters
    return found if count == 1 else NULL


cdef void remove_waiter(router_state *R, waiter *gone) noexcept nogil:
    cdef waiter **link = &R.waiters
    while link[0] != NULL:
        if link[0] == gone:
            link[0] = gone.next
            free(gone)
            return
        link = &link[0].next


cdef void forget_waiters(router_state *R, mailbox *box) noexcept nogil:
    cdef waiter *w = R.waiters
    cdef waiter *following
    while w != NULL:
        following = w.next
        if w.box == box:
            remove_waiter(R, w)
        w = following


cdef int take_subscription(router_state *R) noexcept nogil:
    """Welcome one subscriber. JEP 65: the topic is the subscription, the content names it."""
    cdef fs_frame frame
    cdef uint8_t content[32 + 6 * WELCOME_MAX]
    cdef const uint8_t *data
    cdef size_t size, n, used
    cdef uint64_t rest = 0
    cdef int rc = recv_frame(R, &frame, R.items[IOPUB].socket)
    if rc <= 0:
        return rc
    data = data_of(&frame)
    size = fs_zmq.msg_size(&frame)
    if size and data[0] == 1:
        R.held_until_us = 0
    if size and data[0] == 1 and size - 1 <= WELCOME_MAX:
        memcpy(content, b'{"subscription":"', 17)
        n = 17 + fs_json_text(data + 1, size - 1, content + 17, &used, True)
        memcpy(content + n, b'"}', 2)
        publish(R, data + 1, size - 1, b"iopub_welcome", 13, b"{}", 2, content, n + 2)
        R.answered[ANSWER_WELCOME] += 1
    rest = fs_zmq.msg_more(&frame)
    close_frame(R, &frame)
    if rest:
        pump(R, R.items[IOPUB].socket, NULL, &rest)
    return 1


cdef int take_heartbeat(router_state *R) noexcept nogil:
    cdef fs_frame frame
    cdef void *socket = R.items[HEARTBEAT].socket
    cdef bint more
    cdef uint64_t size = 0
    cdef int rc = recv_frame(R, &frame, socket)
    if rc <= 0:
        return rc
    R.received[HEARTBEAT] += 1
    more = fs_zmq.msg_more(&frame)
    rc = send_frame(R, &frame, socket, more)
    if more and pump(R, socket, socket if rc == 0 else NULL, &size) < 0:
        rc = -1
    if rc < 0:
        drop(R, DROP_UNSENDABLE)
    else:
        R.answered[ANSWER_HEARTBEAT] += 1
        R.sent[HEARTBEAT] += 1
    return 1


# ------------------------------------------------------------------ the outbox

cdef void push_text(router_state *R) noexcept nogil:
    """Put the gathered text on its way. Caller holds the lock; any thread, also the router's."""
    cdef op_head head
    cdef fs_frame frames[3]
    cdef gathered *text = &R.text
    if text.size == 0 or R.push == NULL:
        return
    memset(&head, 0, sizeof(head))
    head.op = OP_TEXT
    head.destination = <uint8_t>text.stream
    if make_frame(R, &frames[0], &head, sizeof(head)) < 0:
        return
    if make_frame(R, &frames[1], text.parent, text.parent_size) < 0:
        close_frame(R, &frames[0])
        return
    if make_frame(R, &frames[2], text.text, text.size) < 0:
        close_frames(R, frames, 2)
        return
    if send_frames(R, frames, 3, R.push, False) == 0:
        text.size = 0
        if text.capacity > 16 * TEXT_MAX:
            free(text.text)
            text.text = NULL
            text.capacity = 0


cdef void push_op(router_state *R, int op, const void *argument, size_t size) noexcept nogil:
    """A command of one frame, or of two. Caller holds the lock."""
    cdef op_head head
    cdef fs_frame frames[2]
    if R.push == NULL:
        return
    memset(&head, 0, sizeof(head))
    head.op = op
    if make_frame(R, &frames[0], &head, sizeof(head)) < 0:
        return
    if argument == NULL:
        send_frames(R, frames, 1, R.push, False)
    elif make_frame(R, &frames[1], argument, size) < 0:
        close_frame(R, &frames[0])
    else:
        send_frames(R, frames, 2, R.push, False)


cdef int take_frames(router_state *R, fs_frame *frames, int count) noexcept nogil:
    """Read `count` more frames of an outbox message; -1 (nothing left open) at the context's end."""
    for i in range(count):
        if recv_frame(R, &frames[i], R.items[ITEM_OUTBOX].socket) <= 0:
            close_frames(R, frames, i)
            return -1
    return 0


cdef int take_outgoing(router_state *R) noexcept nogil:
    """Do what one message of the outbox says. 0: none there, 1: done, 2: OP_STOP, -1: the end."""
    cdef fs_frame first
    cdef op_head *head
    cdef int op, result = 1
    cdef int rc = recv_frame(R, &first, R.items[ITEM_OUTBOX].socket)
    if rc <= 0:
        return rc
    head = <op_head *>fs_zmq.msg_data(&first)
    op = head.op
    if op == OP_SEND:
        relay_outgoing(R, &first, head)
    elif op == OP_STATUS:
        relay_status(R, head)
    elif op == OP_TEXT:
        relay_text(R, head)
    elif op == OP_ASK:
        relay_question(R, &first, head)
    elif op == OP_FORGET or op == OP_PARENT or op == OP_KERNEL_INFO or op == OP_CLOSE:
        obey(R, op)
    elif op == OP_OPEN:
        open_box(R)
    elif op == OP_GATHER:
        R.flush_us = fs_now_us() + FLUSH_US
    elif op == OP_STOP:
        result = 2
    close_frame(R, &first)
    return result


cdef void relay_outgoing(router_state *R, fs_frame *first, op_head *head) noexcept nogil:
    """OP_SEND: identities, parent_header, metadata, content, buffers."""
    cdef fs_frame frames[IDENTITIES_MAX + 4]
    cdef fs_frame topic
    cdef void *outbox = R.items[ITEM_OUTBOX].socket
    cdef const uint8_t *msg_type = data_of(first) + sizeof(op_head)
    cdef size_t type_size = fs_zmq.msg_size(first) - sizeof(op_head)
    cdef int n = head.identities, channel = head.destination
    cdef bint more
    cdef uint64_t size = 0
    cdef fs_frame *parts = &frames[n]
    if head.after_capture:
        publish_captured(R, 0)
        publish_captured(R, 1)
    if take_frames(R, frames, n) < 0:
        return
    if take_frames(R, &parts[1], 3) < 0:
        close_frames(R, frames, n)
        return
    more = fs_zmq.msg_more(&parts[3])
    if make_header(R, &parts[0], msg_type, type_size, NULL, 0) < 0:
        close_frames(R, frames, n)
        close_frames(R, &parts[1], 3)
    elif n or channel != IOPUB:
        if emit(R, channel, frames, n, parts, more) == 0:
            if not more or pump(R, outbox, R.items[channel].socket, &size) == 0:
                return
            more = False
    elif make_frame(R, &topic, msg_type, type_size) < 0:
        close_frames(R, parts, 4)
    elif emit(R, channel, &topic, 1, parts, more) == 0:
        if not more or pump(R, outbox, R.items[channel].socket, &size) == 0:
            return
        more = False
    if more:
        pump(R, outbox, NULL, &size)
    drop(R, DROP_UNSENDABLE)


cdef void relay_status(router_state *R, op_head *head) noexcept nogil:
    cdef fs_frame parent
    if take_frames(R, &parent, 1) == 0:
        publish_status(R, head.destination, &parent)
        close_frame(R, &parent)


cdef void relay_text(router_state *R, op_head *head) noexcept nogil:
    cdef fs_frame frames[2]
    cdef size_t consumed
    if take_frames(R, frames, 2) == 0:
        publish_text(R, head.destination, data_of(&frames[0]), fs_zmq.msg_size(&frames[0]),
                     data_of(&frames[1]), fs_zmq.msg_size(&frames[1]), &consumed, True)
        close_frames(R, frames, 2)


cdef void relay_question(router_state *R, fs_frame *first, op_head *head) noexcept nogil:
    """OP_ASK: msg_id, channel, identities, parent_header, metadata, content."""
    cdef fs_frame frames[IDENTITIES_MAX + 6]
    cdef int n = head.identities
    cdef fs_frame *parts = &frames[2 + n]
    cdef size_t size
    cdef mailbox *box
    cdef waiter *w
    if take_frames(R, frames, 2 + n) < 0:
        return
    if take_frames(R, &parts[1], 3) < 0:
        close_frames(R, frames, 2 + n)
        return
    box = box_named(R, data_of(&frames[1]), fs_zmq.msg_size(&frames[1]))
    size = fs_zmq.msg_size(&frames[0])
    w = <waiter *>malloc(sizeof(waiter) + size) if box != NULL else NULL
    if w == NULL or make_header(R, &parts[0], b"input_request", 13, <const char *>data_of(&frames[0]), size) < 0:
        free(w)
        close_frames(R, frames, 2 + n)
        close_frames(R, &parts[1], 3)
        drop(R, DROP_UNSENDABLE)
        return
    w.box = box
    w.msg_id_size = size
    memcpy(w.msg_id, data_of(&frames[0]), size)
    w.next = R.waiters
    R.waiters = w
    close_frames(R, frames, 2)
    if emit(R, STDIN, &frames[2], n, parts, False) < 0:
        drop(R, DROP_UNSENDABLE)


cdef void obey(router_state *R, int op) noexcept nogil:
    """OP_FORGET, OP_PARENT, OP_KERNEL_INFO, OP_CLOSE: one argument."""
    cdef fs_frame argument
    cdef waiter *w
    cdef size_t size
    if take_frames(R, &argument, 1) < 0:
        return
    size = fs_zmq.msg_size(&argument)
    if op == OP_PARENT:
        remember(&R.parent, &argument)
    elif op == OP_KERNEL_INFO:
        remember(&R.kernel_info, &argument)
    elif op == OP_CLOSE:
        close_box(R, data_of(&argument), size)
    else:
        w = R.waiters
        while w != NULL and not (w.msg_id_size == size and memcmp(w.msg_id, data_of(&argument), size) == 0):
            w = w.next
        if w != NULL:
            remove_waiter(R, w)
    close_frame(R, &argument)


# ------------------------------------------------------------------ captured text

cdef void publish_captured(router_state *R, int stream) noexcept nogil:
    """Publish what is in the pipe of fd 1 or 2, at most BURST reads of it."""
    cdef int item = ITEM_STDOUT + stream, fd = R.items[item].fd
    cdef uint8_t *buffer
    cdef ssize_t n
    cdef size_t size, consumed
    if fd < 0:
        return
    buffer = R.capture_buffer + stream * (CAPTURE_BYTES + 4)
    for _ in range(BURST):
        n = fs_read_fd(fd, buffer + R.carried[stream], CAPTURE_BYTES)
        if n <= 0:
            if n == 0:  # every write end is closed: nothing can come any more
                R.items[item].fd = -1
                if R.carried[stream]:
                    publish_text(R, stream, R.parent.data, R.parent.size, buffer, R.carried[stream], &consumed, True)
                    R.carried[stream] = 0
            return
        R.captured_bytes += n
        size = n + R.carried[stream]
        publish_text(R, stream, R.parent.data, R.parent.size, buffer, size, &consumed, False)
        R.carried[stream] = size - consumed
        memmove(buffer, buffer + consumed, size - consumed)  # at most 3 bytes of a character to come
        if n < CAPTURE_BYTES:
            return


# ------------------------------------------------------------------ deadlines

cdef void terminate(router_state *R, const char *why) noexcept nogil:
    """Tell control, and see to it that the process ends even if Python cannot run."""
    fs_exit_after(GRACE_US, 0, R.files, R.file_count)
    if R.control != NULL:
        fs_wake_announce(&R.control.wake)
        hand_over_note(R, R.control, KIND_TERMINATE, why, strlen(why))


cdef void take_signals(router_state *R) noexcept nogil:
    """What signal.set_wakeup_fd wrote: one byte a signal."""
    cdef uint8_t numbers[64]
    cdef ssize_t n = fs_read_fd(R.items[ITEM_SIGNAL].fd, numbers, sizeof(numbers))
    if n == 0:
        R.items[ITEM_SIGNAL].fd = -1
    for i in range(n):
        if numbers[i] == SIGTERM:
            terminate(R, b"SIGTERM")
            return


cdef void check_deadlines(router_state *R) noexcept nogil:
    cdef int64_t now = fs_now_us()
    if R.flush_us and now >= R.flush_us:
        R.flush_us = 0
        fs_lock(&R.lock)
        R.text.announced = 0
        push_text(R)
        fs_unlock(&R.lock)
    if R.held_until_us and now >= R.held_until_us:
        R.held_until_us = 0
    if R.parent_check_us and now >= R.parent_check_us:
        R.parent_check_us = now + PARENT_CHECK_US
        if getppid() != R.parent_pid:
            R.parent_check_us = 0
            terminate(R, b"parent")


cdef long poll_timeout_ms(router_state *R) noexcept nogil:
    """Until the next deadline, rounded up; -1 without one."""
    cdef int64_t first = 0, wait
    if R.flush_us:
        first = R.flush_us
    if R.parent_check_us and (first == 0 or R.parent_check_us < first):
        first = R.parent_check_us
    if R.held_until_us and (first == 0 or R.held_until_us < first):
        first = R.held_until_us
    if first == 0:
        return -1
    wait = first - fs_now_us()
    return (wait + 999) // 1000 if wait > 0 else 0


# ------------------------------------------------------------------ the loop

cdef int wait_ready(router_state *R) noexcept nogil:
    """Wait until an item has something; its revents say so, for sockets R.unread. -1 with errno.

    Instead of zmq_poll, which asks every socket before and after each wait, with two system calls each:
    39 to 43 instead of 52 us of this thread a message at window 1. The price is that a socket's fd tells
    only of news. All of it is taken in by a recv that returned EAGAIN, and any other call on the socket
    may swallow some. So a socket is marked unread when its fd fires and when it was sent on, and until a
    recv found it empty; only without such a mark may we sleep.
    """
    cdef pollfd waits[ITEM_COUNT]
    cdef int i, held = 1 << SHELL if R.held_until_us else 0
    for i in range(ITEM_COUNT):
        waits[i].fd = R.items[i].fd
        waits[i].events = POLLIN
    if held:
        waits[SHELL].fd = -1
    if poll(waits, ITEM_COUNT, 0 if R.unread & ~held else <int>poll_timeout_ms(R)) < 0:
        return -1
    for i in range(ITEM_COUNT):
        R.items[i].revents = waits[i].revents
        if waits[i].revents and R.items[i].socket != NULL:
            R.unread |= 1 << i
    return 0


cdef int drain(router_state *R, int item) noexcept nogil:
    """A bounded burst of what one socket has. 2: OP_STOP was met, -1: the context ends, 0: it is empty."""
    cdef int rc = 1
    for _ in range(BURST):
        if item == ITEM_OUTBOX:
            rc = take_outgoing(R)
        elif item == HEARTBEAT:
            rc = take_heartbeat(R)
        elif item == IOPUB:
            rc = take_subscription(R)
        else:
            rc = take_message(R, item)
        if rc != 1:
            if rc == 0:
                R.unread &= ~(1 << item)
            return rc
    return 1


cdef void serve(router_state *R) noexcept nogil:
    """Poll and handle until OP_STOP. The order within a round: what is short first."""
    cdef int order[6]
    cdef int rc = 0, item, i
    cdef uint8_t ignored[8]
    order[0] = HEARTBEAT
    order[1] = CONTROL
    order[2] = ITEM_OUTBOX
    order[3] = IOPUB
    order[4] = STDIN
    order[5] = SHELL
    while rc != 2:
        if wait_ready(R) < 0:
            if errno == EINTR:
                continue
            return
        check_deadlines(R)
        if R.items[ITEM_TIMER].revents:
            fs_read_fd(R.items[ITEM_TIMER].fd, ignored, sizeof(ignored))
            R.timer_armed = 0
            if fs_flag(&fs_kick.wanted):
                fs_kick_main()
        if R.items[ITEM_SIGNAL].revents:
            take_signals(R)
        if R.items[ITEM_PARENT].revents:
            R.items[ITEM_PARENT].fd = -1
            terminate(R, b"parent")
        if R.items[ITEM_STDOUT].revents or R.items[ITEM_STDERR].revents:
            rc = take_captured(R)
            if rc < 0:
                return
            if rc == 2:
                break
        for i in range(6):
            item = order[i]
            if R.unread & (1 << item) and not (item == SHELL and R.held_until_us):
                rc = drain(R, item)
                if rc < 0:
                    return
                if rc == 2:
                    break


cdef int take_captured(router_state *R) noexcept nogil:
    """Publish the pipes, but first what was written and sent before. 2 and -1 as `drain`."""
    cdef int rc
    fs_lock(&R.lock)
    push_text(R)
    fs_unlock(&R.lock)
    rc = drain(R, ITEM_OUTBOX)
    if rc == 0:  # else the rest of the outbox comes first, in the next round
        publish_captured(R, 0)
        publish_captured(R, 1)
    return rc


cdef void finish(router_state *R) noexcept nogil:
    """After OP_STOP: last captured text, STOP to every shell, close, and wait for peers to take the rest."""
    cdef uint32_t i
    publish_captured(R, 0)
    publish_captured(R, 1)
    R.items[ITEM_STDOUT].fd = R.items[ITEM_STDERR].fd = -1
    while open_box(R):
        pass
    for i in range(R.box_mask + 1):
        if R.boxes[i] != NULL:
            box_close(R, R.boxes[i])
            R.boxes[i] = NULL
    R.box_count = 0
    close_sockets(R)
    if fs_flag(&R.channels_open):
        # The context cannot end before the last channel is closed, and a shell that sits in C does
        # not close its own. So wait as long as the sockets linger; the last owner ends the context.
        usleep(LINGER_MS * 1000)
    else:
        end_context(R)


cdef void close_sockets(router_state *R) noexcept nogil:
    for i in range(ITEM_OUTBOX + 1):
        if R.items[i].socket != NULL:
            fs_zmq.close(R.items[i].socket)
            R.items[i].socket = NULL


cdef void end_context(router_state *R) noexcept nogil:
    """Blocks until every socket is closed, those of the channels too, and lingering is over."""
    if R.context != NULL:
        while fs_zmq.ctx_term(R.context) < 0 and fs_zmq.error() == EINTR:
            pass
        R.context = NULL


# ------------------------------------------------------------------ the Python face

cdef _bind_libzmq():
    """Find libzmq by pyzmq's extension. pyzmq itself is not imported where that can be helped: 10 ms."""
    cdef char why[512]
    reasons = []
    for file in _zmq_extensions():
        if fs_libzmq_bind(os.fsencode(file), why, sizeof(why)) == 0:
            return
        reasons.append(why.decode(errors="replace"))
    raise ImportError(
        "the compiled router cannot share libzmq with pyzmq ("
        + ("; ".join(reasons) or "no compiled backend of pyzmq is found")
        + "); set FASTSHELL_ROUTER=plain to use the router in Python"
    )


def _zmq_extensions():
    """Files of pyzmq's backend: the one that is there to be imported, else those that its import loads."""
    spec = None if "zmq" in sys.modules else PathFinder.find_spec("zmq")
    for folder in spec.submodule_search_locations or () if spec is not None else ():
        for suffix in EXTENSION_SUFFIXES:
            file = os.path.join(folder, "backend", "cython", "_zmq" + suffix)
            if os.path.exists(file):
                yield file
    import zmq.backend  # its extension loads libzmq

    for name in ("zmq.backend.cython._zmq", "zmq.backend.cython.socket", "zmq.backend.cffi._cffi"):
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None and not file.endswith(".py"):
            yield file


_bind_libzmq()


def libzmq():
    cdef int major = 0, minor = 0, patch = 0
    fs_zmq.version(&major, &minor, &patch)
    return f"{major}.{minor}.{patch}", os.fsdecode(fs_libzmq_file())


def kick_by_signal(int number):
    """Kick by this signal on Python before 3.13. Thread: main. Its handler must call `kick_yield`."""
    fs_kick_by_signal(number)


def kick_yield():
    """Drop the GIL until no thread waits for it, 0.5 ms at most. Thread: main."""
    fs_kick_yield(NULL)


cdef void give_back(void *data, void *hint) noexcept nogil:
    """libzmq needs the buffer no more. Thread: any, without the GIL; a lock-free push."""
    cdef lent *item = <lent *>hint
    cdef router_state *R = <router_state *>item.state
    fs_stack_push(&R.returned, item)




cdef void release_returned(router_state *R):
    """Release the lent buffers that have left. Needs the GIL."""
    cdef lent *item = <lent *>fs_stack_take(&R.returned)
    cdef lent *following
    while item != NULL:
        following = item.next
        PyBuffer_Release(&item.view)
        free(item)
        item = following


cdef int frame_of(router_state *R, fs_frame *frame, object data) except -1:
    """A frame of a contiguous bytes-like: copied, or lent from LARGE bytes on."""
    cdef Py_buffer view
    cdef lent *item
    PyObject_GetBuffer(data, &view, PyBUF_CONTIG_RO)
    if view.len < LARGE:
        rc = make_frame(R, frame, view.buf, view.len)
        PyBuffer_Release(&view)
        if rc < 0:
            raise MemoryError
        return 0
    item = <lent *>malloc(sizeof(lent))
    if item == NULL:
        PyBuffer_Release(&view)
        raise MemoryError
    item.state = R
    item.view = view
    if fs_zmq.msg_init_data(frame, view.buf, view.len, give_back, item) < 0:
        PyBuffer_Release(&view)
        free(item)
        raise MemoryError
    fs_add(&R.frames_open, 1)
    return 0


cdef bytes zmq_reason():
    return fs_zmq.strerror(fs_zmq.error())


cdef void *new_socket(void *context, int kind) except NULL:
    """A socket without high-water mark and linger."""
    cdef int zero = 0
    cdef void *socket = fs_zmq.socket(context, kind)
    if socket == NULL:
        raise RouterError(f"no further socket can be made: {zmq_reason().decode()}")
    for option in (ZMQ_LINGER, ZMQ_SNDHWM, ZMQ_RCVHWM):
        fs_zmq.setsockopt(socket, option, &zero, sizeof(zero))
    return socket


cdef char *keep(bytes text) except NULL:
    """A NUL-terminated copy that Python does not own."""
    cdef size_t size = PyBytes_GET_SIZE(text)
    cdef char *copy = <char *>malloc(size + 1)
    if copy == NULL:
        raise MemoryError
    memcpy(copy, PyBytes_AS_STRING(text), size + 1)
    return copy


cdef class _Core:
    """Owns the state; Router, Outbox, Channels and Frames keep it alive."""

    def __cinit__(self):
        cdef router_state *R = &self.state
        memset(R, 0, sizeof(router_state))
        fs_mutex_init(&R.lock)
        for i in range(ITEM_COUNT):
            R.items[i].fd = -1
        R.box_mask = 15
        R.boxes = <mailbox **>calloc(R.box_mask + 1, sizeof(mailbox *))
        R.capture_buffer = <uint8_t *>malloc(2 * (CAPTURE_BYTES + 4))
        R.context = fs_zmq.ctx_new()
        if R.boxes == NULL or R.capture_buffer == NULL or R.context == NULL:
            raise MemoryError
        fs_zmq.ctx_set(R.context, ZMQ_MAX_SOCKETS, 65_535)
        R.pid = getpid()
        self.names = {}
        self.ready = threading.Event()

    def __dealloc__(self):
        cdef router_state *R = &self.state
        cdef waiter *w
        if R.pid != getpid():
            return  # a forked child: everything here is the parent's
        with nogil:
            if R.push != NULL:
                fs_zmq.close(R.push)
            finish(R)
            end_context(R)
            fs_replay_free(&R.replay)
        release_returned(R)
        for i in range(R.file_count):
            free(R.files[i])
        free(R.files)
        free(R.boxes)
        free(R.capture_buffer)
        free(R.header_start)
        free(R.header_end)
        free(R.kernel_info.data)
        free(R.parent.data)
        free(R.scratch.data)
        free(R.text.text)
        free(R.text.parent)
        if R.items[ITEM_TIMER].fd >= 0:
            close(R.items[ITEM_TIMER].fd)
        fs_mutex_free(&R.lock)

    def run(self, dict endpoints, curve, int iopub_hwm):
        """The router's thread."""
        fs_block_signals()
        try:
            for index, channel in enumerate(CHANNELS):
                endpoints[channel] = self.bind(index, channel, endpoints[channel], curve, iopub_hwm)
        except RouterError as failure:
            close_sockets(&self.state)
            self.failure = failure
            self.ready.set()
            return
        self.ready.set()
        del endpoints, curve
        with nogil:
            serve(&self.state)
            finish(&self.state)

    cdef bind(self, int index, str channel, str endpoint, curve, int iopub_hwm):
        """Make and bind one wire socket; return the endpoint as bound."""
        cdef int one = 1, linger_ms = LINGER_MS, hwm = iopub_hwm
        cdef char bound[512]
        cdef size_t size = sizeof(bound)
        cdef void *socket = new_socket(self.state.context, ZMQ_XPUB if index == IOPUB else ZMQ_ROUTER)
        self.state.items[index].socket = socket
        fs_zmq.setsockopt(socket, ZMQ_LINGER, &linger_ms, sizeof(int))
        if index == IOPUB:
            fs_zmq.setsockopt(socket, ZMQ_SNDHWM, &hwm, sizeof(int))
            fs_zmq.setsockopt(socket, ZMQ_XPUB_VERBOSE, &one, sizeof(int))
        else:
            fs_zmq.setsockopt(socket, ZMQ_ROUTER_HANDOVER, &one, sizeof(int))
        if endpoint.startswith("tcp://["):
            fs_zmq.setsockopt(socket, ZMQ_IPV6, &one, sizeof(int))
        if curve is not None:
            public, secret = curve
            if (
                fs_zmq.setsockopt(socket, ZMQ_CURVE_SERVER, &one, sizeof(int)) < 0
                or fs_zmq.setsockopt(socket, ZMQ_CURVE_PUBLICKEY, <char *><bytes>public, len(public)) < 0
                or fs_zmq.setsockopt(socket, ZMQ_CURVE_SECRETKEY, <char *><bytes>secret, len(secret)) < 0
            ):
                raise RouterError(f"{channel}: the CURVE keys are refused: {zmq_reason().decode()}")
        if fs_zmq.bind(socket, os.fsencode(endpoint)) < 0:
            raise RouterError(f"{channel}: cannot bind {endpoint}: {zmq_reason().decode()}")
        self.watch(index)
        fs_zmq.getsockopt(socket, ZMQ_LAST_ENDPOINT, bound, &size)
        return os.fsdecode(bound[: size - 1])

    cdef watch(self, int item):
        """Wait for this socket from now on."""
        cdef size_t size = sizeof(int)
        fs_zmq.getsockopt(self.state.items[item].socket, ZMQ_FD, &self.state.items[item].fd, &size)
        self.state.unread |= 1 << item


cdef class Router:
    def __init__(self, endpoints, *, bytes key, str signature_scheme="hmac-sha256", str session, str username,
                 bytes kernel_info, curve=None, capture=(-1, -1), int signal_fd=-1, int parent_fd=-1,
                 int parent_pid=0, files=(), int log_fd=-1, int iopub_hwm=100_000,
                 double subscriber_wait_s=0.0):
        cdef _Core core = _Core()
        cdef router_state *R = &core.state
        missing = [channel for channel in CHANNELS if channel not in endpoints]
        if missing:
            raise ValueError(f"no endpoint for channel {missing[0]}")
        if signature_scheme != "hmac-sha256" and key:
            raise ValueError(f"the compiled router signs with hmac-sha256, not {signature_scheme}")
        fs_hmac_key_init(&R.key, PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
        R.signs = len(key) > 0
        quoted = json.dumps(session)
        R.header_start = keep(f'{{"msg_id":"{quoted[1 : len(quoted) - 1]}_{os.getpid()}_'.encode())
        R.header_end = keep(f',"username":{json.dumps(username)},"session":{quoted},"date":"'.encode())
        R.kernel_info.data = <uint8_t *>keep(kernel_info)
        R.kernel_info.size = R.kernel_info.capacity = len(kernel_info)
        R.parent.data = <uint8_t *>keep(b"{}")
        R.parent.size = R.parent.capacity = 2
        for item, fd in ((ITEM_STDOUT, capture[0]), (ITEM_STDERR, capture[1]), (ITEM_SIGNAL, signal_fd)):
            R.items[item].fd = fd
            if fd >= 0:
                fs_nonblocking(fd)
        R.items[ITEM_PARENT].fd = parent_fd
        if fs_kick_works():
            R.items[ITEM_TIMER].fd = fs_timer_open()
        R.log_fd = log_fd
        if parent_pid and parent_fd < 0:
            R.parent_pid = parent_pid
            R.parent_check_us = fs_now_us()
        R.files = <char **>calloc(len(files) + 1, sizeof(char *))
        for file in files:
            R.files[R.file_count] = keep(os.fsencode(file))
            R.file_count += 1
        R.items[ITEM_OUTBOX].socket = new_socket(R.context, ZMQ_PULL)
        R.push = new_socket(R.context, ZMQ_PUSH)
        if fs_zmq.bind(R.items[ITEM_OUTBOX].socket, b"inproc://outbox") < 0 \
                or fs_zmq.connect(R.push, b"inproc://outbox") < 0:
            raise RouterError(f"outbox: {zmq_reason().decode()}")
        core.watch(ITEM_OUTBOX)
        self.core = core
        self.outbox = Outbox(core)
        # There from the first message on, whenever their threads come for them.
        self.waiting = {name: self.make_channel(name) for name in ("main", "control")}
        self.arguments = dict(endpoints), curve, iopub_hwm
        self.subscriber_wait_s = subscriber_wait_s

    def start(self):
        core, (endpoints, curve, iopub_hwm) = self.core, self.arguments
        self.arguments = None
        if self.subscriber_wait_s > 0:
            self.core.state.held_until_us = fs_now_us() + <int64_t>(self.subscriber_wait_s * 1e6)
        self.thread = threading.Thread(
            target=core.run, args=(endpoints, curve, iopub_hwm), name="fastshell-router", daemon=True
        )
        self.thread.pydev_do_not_trace = self.thread.is_pydev_daemon_thread = True
        self.thread.start()
        core.ready.wait()
        if core.failure is not None:
            self.thread.join()
            raise core.failure
        return endpoints

    def stop(self):
        cdef router_state *R = &self.core.state
        fs_lock(&R.lock)
        if R.push != NULL:
            push_text(R)
            push_op(R, OP_STOP, NULL, 0)
            fs_zmq.close(R.push)
            R.push = NULL
        fs_unlock(&R.lock)
        if self.thread is not None:
            self.thread.join()
        release_returned(R)

    def open_channel(self, str name):
        if name in self.waiting:
            return self.waiting.pop(name)
        return self.make_channel(name)

    cdef Channel make_channel(self, str name):
        cdef _Core core = self.core
        cdef router_state *R = &core.state
        cdef bytes encoded = name.encode()
        cdef mailbox *box
        cdef mailbox **link
        if name in core.names:
            raise ValueError(f"channel {name!r} is open already")
        if R.push == NULL:
            raise RouterError("the router has stopped")
        core.sequence += 1
        endpoint = b"inproc://shell-%d" % core.sequence
        cdef Channel channel = Channel.__new__(Channel)
        cdef void *inlet = new_socket(R.context, ZMQ_PAIR)
        try:
            channel.socket = new_socket(R.context, ZMQ_PAIR)
            if fs_zmq.bind(inlet, <char *><bytes>endpoint) < 0 \
                    or fs_zmq.connect(channel.socket, <char *><bytes>endpoint) < 0:
                raise RouterError(f"channel {name}: {zmq_reason().decode()}")
            box = <mailbox *>calloc(1, sizeof(mailbox))
            if box == NULL:
                raise MemoryError
        except BaseException:
            fs_zmq.close(inlet)
            raise
        box.name = keep(encoded)
        box.name_size = len(encoded)
        box.inlet = inlet
        box.owners = 2
        channel.core = core
        channel.name = name
        channel.box = box
        fs_count(&R.channels_open, 1)
        core.names[name] = weakref.ref(channel)
        fs_lock(&R.lock)
        link = &R.opening
        while link[0] != NULL:
            link = &link[0].next
        link[0] = box
        push_op(R, OP_OPEN, NULL, 0)
        fs_unlock(&R.lock)
        return channel

    def close_channel(self, str name):
        cdef router_state *R = &self.core.state
        cdef bytes encoded = name.encode()
        if name not in self.core.names:
            return False
        del self.core.names[name]
        fs_lock(&R.lock)
        push_op(R, OP_CLOSE, <char *>encoded, len(encoded))
        fs_unlock(&R.lock)
        return True

    def exit_after(self, double seconds, int status):
        cdef router_state *R = &self.core.state
        if fs_exit_after(<int64_t>(seconds * 1e6), status, R.files, R.file_count) < 0:
            raise RouterError("no further thread can be made")

    def statistics(self):
        cdef _Core core = self.core
        cdef router_state *R = &core.state
        cdef Channel channel
        release_returned(R)
        queued = {}
        for name, reference in list(core.names.items()):
            channel = reference()
            if channel is not None and channel.box != NULL:
                queued[name] = fs_read(&channel.box.handed_bytes) - fs_read(&channel.box.taken_bytes)
        return Statistics(
            received=by_name(CHANNELS, R.received, CHANNEL_COUNT),
            relayed=by_name(CHANNELS, R.relayed, CHANNEL_COUNT),
            answered=by_name(ANSWERS, R.answered, ANSWER_COUNT),
            sent=by_name(CHANNELS, R.sent, CHANNEL_COUNT),
            dropped=by_name(DROP_REASONS, R.dropped, DROP_COUNT),
            queued_bytes=MappingProxyType(queued),
            frames_open=fs_read(&R.frames_open),
            captured_bytes=fs_read(&R.captured_bytes),
            kicks=fs_read(&fs_kick.kicks),
        )


cdef by_name(tuple names, uint64_t *counters, int count):
    return MappingProxyType({names[i]: fs_read(&counters[i]) for i in range(count)})


cdef class Frame:
    """One received frame, as a read-only buffer without a copy."""

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, fs_zmq.msg_data(&self.frame), fs_zmq.msg_size(&self.frame), 1, flags)

    def __dealloc__(self):
        if self.core is not None:
            close_frame(&self.core.state, &self.frame)


cdef enum:
    TAKEN_MAX = IDENTITIES_MAX + 5  # frames besides buffers: note, identities, four parts

cdef tuple KINDS = tuple(Kind)
cdef tuple NOTHING = (b"", b"", b"")


cdef class Channel:
    def __init__(self):
        raise TypeError("channels are made by Router.open_channel")

    def __dealloc__(self):
        self.close()

    @property
    def fd(self):
        cdef int fd = -1
        cdef size_t size = sizeof(fd)
        if self.socket != NULL:
            fs_zmq.getsockopt(self.socket, ZMQ_FD, &fd, &size)
        return fd

    cpdef close(self):
        cdef mailbox *box = self.box
        if self.core is not None and self.core.state.pid != getpid():
            return  # a forked child
        if self.socket != NULL:
            fs_zmq.close(self.socket)
            self.socket = NULL
            fs_count(&self.core.state.channels_open, -1)
        if box != NULL:
            fs_wake_picked_up(&box.wake, 1)  # never again announced
            self.box = NULL
            box_release(box)

    def recv_nowait(self):
        cdef router_state *R
        cdef fs_frame frames[TAKEN_MAX]
        cdef int n = 0, rc, wanted = 1
        cdef note_head *head
        cdef uint64_t size = 0
        if self.socket == NULL:
            return None
        R = &self.core.state
        rc = recv_frame(R, &frames[0], self.socket)
        if rc == 0:
            fs_wake_picked_up(&self.box.wake, 0)
            return None
        fs_wake_picked_up(&self.box.wake, 1)
        if rc < 0:  # the context ends: as good as the router's STOP
            return self.stop()
        head = <note_head *>fs_zmq.msg_data(&frames[0])
        if head.kind == KIND_STOP:
            close_frame(R, &frames[0])
            return self.stop()
        wanted = 2 if head.kind == KIND_TERMINATE else 1 + head.identities + 4
        for n in range(1, wanted):
            if recv_frame(R, &frames[n], self.socket) <= 0:
                close_frames(R, frames, n)
                return self.stop()
        if head.kind == KIND_TERMINATE:
            try:
                return received(KIND_TERMINATE, "", (), NOTHING, bytes_of(&frames[1]), ())
            finally:
                close_frames(R, frames, 2)
        try:
            for n in range(1, wanted):
                size += fs_zmq.msg_size(&frames[n])
            return self.take(frames, wanted, head, &size)
        finally:
            close_frames(R, frames, wanted)
            fs_add(&self.box.taken_bytes, size)

    cdef stop(self):
        if self.stopped:
            return None
        self.stopped = True
        return received(KIND_STOP, "", (), NOTHING, b"", ())

    cdef take(self, fs_frame *frames, int count, note_head *head, uint64_t *size):
        """The message as Python sees it; frames are left to the caller, but for a large content."""
        cdef fs_frame *parts = &frames[1 + head.identities]
        cdef bint more = fs_zmq.msg_more(&parts[3])
        cdef list buffers = []
        cdef Frame frame
        cdef str msg_type
        while more:  # first of all, so that an error below cannot leave half a message in the socket
            frame = self.next_frame()
            if frame is None:
                break
            more = fs_zmq.msg_more(&frame.frame)
            size[0] += fs_zmq.msg_size(&frame.frame)
            buffers.append(memoryview(frame))
        msg_type = PyUnicode_DecodeUTF8(
            <char *>data_of(&frames[0]) + sizeof(note_head), fs_zmq.msg_size(&frames[0]) - sizeof(note_head), "replace"
        )
        if fs_zmq.msg_size(&parts[3]) < LARGE:
            content = bytes_of(&parts[3])
        else:
            content = memoryview(self.keep_frame(&parts[3]))
        return received(
            head.kind,
            msg_type,
            tuple([bytes_of(&frames[1 + i]) for i in range(head.identities)]),
            (bytes_of(&parts[0]), bytes_of(&parts[1]), bytes_of(&parts[2])),
            content,
            tuple(buffers),
        )

    cdef Frame next_frame(self):
        cdef Frame frame = Frame.__new__(Frame)
        if recv_frame(&self.core.state, &frame.frame, self.socket) <= 0:
            return None
        frame.core = self.core
        return frame

    cdef Frame keep_frame(self, fs_frame *source):
        """Move a frame into an object of Python's; an empty one stays behind."""
        cdef Frame frame = Frame.__new__(Frame)
        frame.frame = source[0]
        frame.core = self.core
        fs_zmq.msg_init(source)
        fs_add(&self.core.state.frames_open, 1)
        return frame


cdef inline bytes bytes_of(fs_frame *frame):
    return PyBytes_FromStringAndSize(<char *>fs_zmq.msg_data(frame), fs_zmq.msg_size(frame))


cdef received(int kind, str msg_type, tuple identities, tuple head, content, tuple buffers):
    return tuple.__new__(
        Received, (KINDS[kind], msg_type, identities, head[0], head[1], head[2], content, buffers)
    )


cdef class Outbox:
    def __cinit__(self, _Core core):
        self.core = core

    cdef router_state *open_state(self) except? NULL:
        """The state, or NULL in a forked child; lent buffers that have left are released on the way."""
        cdef router_state *R = &self.core.state
        if R.pid != getpid():
            return NULL
        if R.returned != NULL:
            release_returned(R)
        return R

    def send(self, int destination, str msg_type, parent, content, *, identities=(), metadata=b"{}", buffers=(),
             bint after_capture=False):
        cdef router_state *R = self.open_state()
        cdef op_head head
        if R == NULL:
            return
        if not 0 <= destination <= IOPUB:
            raise ValueError(f"no destination {destination}: expected one of Destination")
        head.op = OP_SEND
        head.destination = <uint8_t>destination
        head.after_capture = after_capture
        head.identities = identity_count(identities)
        self.push(R, &head, plain(msg_type), (*identities, parent, metadata, content, *buffers))

    def ask(self, str channel, parent, content, identities):
        cdef router_state *R = self.open_state()
        cdef op_head head
        if R == NULL:
            return b""
        memset(&head, 0, sizeof(head))
        head.op = OP_ASK
        head.identities = identity_count(identities)
        msg_id = b"%s%d" % (R.header_start[11:strlen(R.header_start)], fs_next(&R.messages))
        self.push(R, &head, b"", (msg_id, channel.encode(), *identities, parent, b"{}", content))
        return msg_id

    cdef int push(self, router_state *R, op_head *head, bytes msg_type, tuple rest) except -1:
        """Make all frames, then send them under the lock: no Python runs between its ends."""
        cdef fs_frame few[24]
        cdef fs_frame *frames = few
        cdef uint8_t start[START_MAX]
        cdef int count = 1 + len(rest), made = 0
        cdef size_t type_size = PyBytes_GET_SIZE(msg_type)
        if count > 24:
            frames = <fs_frame *>malloc(count * sizeof(fs_frame))
            if frames == NULL:
                raise MemoryError
        try:
            memcpy(start, head, sizeof(op_head))
            memcpy(start + sizeof(op_head), PyBytes_AS_STRING(msg_type), type_size)
            if make_frame(R, &frames[0], start, sizeof(op_head) + type_size) < 0:
                raise MemoryError
            made = 1
            for part in rest:
                frame_of(R, &frames[made], part)
                made += 1
            fs_lock(&R.lock)
            made = 0
            if R.push != NULL:
                push_text(R)
                send_frames(R, frames, count, R.push, False)
            else:
                close_frames(R, frames, count)
            fs_unlock(&R.lock)
        finally:
            close_frames(R, frames, made)
            if frames != few:
                free(frames)
        return 0

    def status(self, str execution_state, bytes parent):
        cdef router_state *R = self.open_state()
        cdef op_head head
        cdef fs_frame frames[2]
        cdef int state
        if R == NULL:
            return
        if execution_state == "busy":
            state = 0
        elif execution_state == "idle":
            state = 1
        elif execution_state == "starting":
            state = 2
        else:
            raise ValueError(f"no execution_state {execution_state!r}: expected busy, idle or starting")
        memset(&head, 0, sizeof(head))
        head.op = OP_STATUS
        head.destination = <uint8_t>state
        if make_frame(R, &frames[0], &head, sizeof(head)) < 0:
            raise MemoryError
        if make_frame(R, &frames[1], PyBytes_AS_STRING(parent), PyBytes_GET_SIZE(parent)) < 0:
            close_frame(R, &frames[0])
            raise MemoryError
        fs_lock(&R.lock)
        if R.push != NULL:
            push_text(R)
            send_frames(R, frames, 2, R.push, False)
        else:
            close_frames(R, frames, 2)
        fs_unlock(&R.lock)

    def write(self, str name, bytes parent, bytes text):
        cdef router_state *R = self.open_state()
        cdef int stream = 0
        cdef int rc
        if R == NULL:
            return
        if name == "stderr":
            stream = 1
        elif name != "stdout":
            raise ValueError(f"no stream {name!r}: expected stdout or stderr")
        fs_lock(&R.lock)
        rc = gather(R, stream, parent, text)
        fs_unlock(&R.lock)
        if rc < 0:
            raise MemoryError

    def flush(self):
        cdef router_state *R = self.open_state()
        if R != NULL:
            fs_lock(&R.lock)
            push_text(R)
            fs_unlock(&R.lock)

    def capture_parent(self, bytes parent):
        self.command(OP_PARENT, parent)

    def kernel_info(self, bytes content):
        self.command(OP_KERNEL_INFO, content)

    def forget(self, bytes msg_id):
        self.command(OP_FORGET, msg_id)

    cdef command(self, int op, bytes argument):
        cdef router_state *R = self.open_state()
        if R != NULL:
            fs_lock(&R.lock)
            push_op(R, op, PyBytes_AS_STRING(argument), PyBytes_GET_SIZE(argument))
            fs_unlock(&R.lock)


cdef int identity_count(identities) except -1:
    cdef int count = len(identities)
    if count > IDENTITIES_MAX:
        raise ValueError(f"{count} identities: expected {IDENTITIES_MAX} at most")
    return count


cdef dict PLAIN = {}


cdef bytes plain(str msg_type):
    """msg_type goes into JSON as it is, so it may not need an escape."""
    known = PLAIN.get(msg_type)
    if known is not None:
        return known
    if not (msg_type.isascii() and msg_type.isprintable() and len(msg_type) < 256) or set(msg_type) & {'"', "\\"}:
        raise ValueError(f"msg_type {msg_type!r}: expected up to 255 printable ASCII characters without quote and backslash")
    encoded = msg_type.encode()
    if len(PLAIN) < 256:
        PLAIN[msg_type] = encoded
    return encoded


cdef int gather(router_state *R, int stream, bytes parent, bytes written) noexcept:
    """Add text; what was written for another stream or parent leaves first. Caller holds the lock."""
    cdef gathered *text = &R.text
    cdef size_t parent_size = PyBytes_GET_SIZE(parent), size = PyBytes_GET_SIZE(written)
    if R.push == NULL or size == 0:
        return 0
    if text.stream != stream or text.parent_size != parent_size \
            or memcmp(text.parent, PyBytes_AS_STRING(parent), parent_size) != 0:
        push_text(R)
        if grow(&text.parent, &text.parent_capacity, parent_size) < 0:
            return -1
        memcpy(text.parent, PyBytes_AS_STRING(parent), parent_size)
        text.parent_size = parent_size
        text.stream = stream
    if grow(&text.text, &text.capacity, text.size + size) < 0:
        return -1
    memcpy(text.text + text.size, PyBytes_AS_STRING(written), size)
    text.size += size
    if text.size >= TEXT_MAX:
        push_text(R)
    elif not text.announced:
        text.announced = 1
        push_op(R, OP_GATHER, NULL, 0)
    return 0


cdef int grow(uint8_t **data, size_t *capacity, size_t wanted) noexcept nogil:
    """Room for `wanted` bytes, at least doubled."""
    cdef uint8_t *grown
    if wanted <= capacity[0]:
        return 0
    if wanted < 2 * capacity[0]:
        wanted = 2 * capacity[0]
    grown = <uint8_t *>realloc(data[0], wanted)
    if grown == NULL:
        return -1
    data[0] = grown
    capacity[0] = wanted
    return 0

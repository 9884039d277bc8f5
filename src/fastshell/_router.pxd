"""The router's C state, one comment a field."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastshell._c cimport fs_field, fs_header, fs_hmac_key
from fastshell._libzmq cimport fs_frame


cdef extern from "_c/platform.h" nogil:
    ctypedef struct fs_mutex:
        pass

    void fs_mutex_init(fs_mutex *) noexcept
    void fs_lock(fs_mutex *) noexcept
    void fs_unlock(fs_mutex *) noexcept
    void fs_mutex_free(fs_mutex *) noexcept
    void fs_add(uint64_t *counter, uint64_t n) noexcept
    void fs_subtract(uint64_t *counter, uint64_t n) noexcept
    uint64_t fs_next(uint64_t *counter) noexcept
    uint64_t fs_read(uint64_t *counter) noexcept
    void fs_set_flag(int *flag, int value) noexcept
    int fs_flag(int *flag) noexcept
    void fs_count(int *n, int by) noexcept
    bint fs_released(int *owners) noexcept
    void fs_stack_push(void **head, void *item) noexcept
    void *fs_stack_take(void **head) noexcept
    int64_t fs_now_us() noexcept
    int fs_decimal(char *out, uint64_t value) noexcept
    void fs_utc_now(char *out) noexcept
    void fs_block_signals() noexcept
    int fs_exit_after(int64_t microseconds, int status, char **files, int count) noexcept
    int fs_timer_open() noexcept
    void fs_timer_arm(int fd, int microseconds) noexcept
    ssize_t fs_read_fd(int fd, void *out, size_t size) noexcept
    void fs_nonblocking(int fd) noexcept
    void fs_write_line(int fd, const char *line) noexcept


cdef extern from "_c/kick.h" nogil:
    enum:
        FS_KICK_AFTER_US
    ctypedef struct fs_wake:
        int busy
        int announced

    ctypedef struct fs_kick_state:
        int wanted
        uint64_t kicks

    fs_kick_state fs_kick
    void fs_wake_announce(fs_wake *) noexcept
    void fs_wake_withdraw(fs_wake *) noexcept
    void fs_wake_picked_up(fs_wake *, int busy) noexcept
    int fs_kick_works() noexcept
    void fs_kick_main() noexcept
    void fs_kick_by_signal(int number) noexcept

cdef extern from "_c/kick.h":
    int fs_kick_yield(void *) except? -1  # needs the GIL


cdef extern from "_c/replay.h" nogil:
    ctypedef struct fs_replay:
        pass

    bint fs_replay_is_new(fs_replay *, const uint8_t *digest) noexcept
    void fs_replay_free(fs_replay *) noexcept


cdef enum:
    IDENTITIES_MAX = 64  # routing identities of one message; a front end has one, a proxy adds one
    BURST = 64  # messages taken from one socket before the others get their turn

cdef enum:  # indices of the wire sockets, and of their counters
    SHELL
    CONTROL
    STDIN
    IOPUB
    HEARTBEAT
    CHANNEL_COUNT

cdef enum:  # indices of the poll set: the wire sockets above, then these
    ITEM_OUTBOX = CHANNEL_COUNT
    ITEM_STDOUT
    ITEM_STDERR
    ITEM_SIGNAL
    ITEM_PARENT
    ITEM_TIMER
    ITEM_COUNT

cdef enum:  # indices of DROP_REASONS
    DROP_DELIMITER
    DROP_PARTS
    DROP_SIGNATURE
    DROP_REPLAY
    DROP_HEADER
    DROP_INPUT_REPLY
    DROP_UNSENDABLE
    DROP_COUNT

cdef enum:  # indices of ANSWERS
    ANSWER_HEARTBEAT
    ANSWER_KERNEL_INFO
    ANSWER_WELCOME
    ANSWER_UNKNOWN_SUBSHELL
    ANSWER_COUNT

cdef enum:  # the values of Kind
    KIND_REQUEST
    KIND_INPUT_REPLY
    KIND_STOP
    KIND_TERMINATE

cdef enum:  # first byte of a message in the outbox; the frames that follow
    OP_SEND  # identities, parent_header, metadata, content, buffers
    OP_STATUS  # parent_header
    OP_TEXT  # parent_header, raw text
    OP_ASK  # msg_id, name of the channel, identities, parent_header, metadata, content
    OP_FORGET  # msg_id
    OP_PARENT  # parent_header
    OP_KERNEL_INFO  # content of kernel_info_reply
    OP_OPEN  # none: state.opening has the mailbox
    OP_CLOSE  # name of the channel
    OP_GATHER  # none: text has been written, flush it in FLUSH_US
    OP_STOP  # none, and nothing follows

ctypedef packed struct op_head:  # frame 0 of the outbox, msg_type behind it
    uint8_t op
    uint8_t destination  # a channel; for text: 0 stdout, 1 stderr; for status: index of STATES
    uint8_t after_capture
    uint16_t identities

ctypedef packed struct note_head:  # frame 0 towards a shell, msg_type behind it
    uint8_t kind
    uint16_t identities

cdef struct mailbox:  # one shell's messages on their way to it
    void *inlet  # the router's end of the PAIR; the router thread's, once opened
    mailbox *next  # while in state.opening
    char *name
    size_t name_size
    uint64_t handed_bytes  # written by the router
    uint64_t taken_bytes  # written by the shell
    fs_wake wake
    int owners  # the router's table and the Channel: freed by the last

cdef struct waiter:  # an input_request without its answer
    waiter *next
    mailbox *box
    size_t msg_id_size
    char msg_id[1]  # allocated with its size

cdef struct gathered:  # text written and not yet on its way; under state.lock
    uint8_t *text
    size_t size, capacity
    uint8_t *parent
    size_t parent_size, parent_capacity
    int stream  # 0 stdout, 1 stderr
    int announced  # an OP_GATHER is on its way, or the flush timer runs

cdef struct bytes_t:
    uint8_t *data
    size_t size
    size_t capacity

cdef struct watched:  # what the loop waits for
    void *socket  # NULL: a descriptor alone
    int fd  # of a socket its ZMQ_FD; -1: do not wait
    short revents


cdef struct router_state:
    # whole life, constant after the start
    void *context
    int pid  # the process that owns it; a forked child must not touch it
    fs_hmac_key key
    int signs  # the key is not empty
    char *header_start  # '{"msg_id":"<session>_<pid>_'
    char *header_end  # ',"username":...,"session":...,"date":"'
    bytes_t kernel_info  # empty until the language is known; the router's own after the start
    int log_fd
    int parent_pid
    char **files  # unlinked by exit_after
    int file_count
    # any thread, under lock
    fs_mutex lock
    void *push  # NULL before the constructor ends and after stop
    gathered text
    mailbox *opening
    # any thread, atomic
    uint64_t messages  # counter of msg_ids
    uint64_t frames_open
    int channels_open
    void *returned  # lent buffers that have left, to be released by a thread with the GIL
    # router thread
    watched items[ITEM_COUNT]  # items[0:CHANNEL_COUNT].socket are the wire sockets
    int unread  # bits of the sockets that may have a message although their fd is silent
    mailbox **boxes  # open addressing by name; NULL is empty
    uint32_t box_mask, box_count
    mailbox *main
    mailbox *control
    waiter *waiters
    fs_replay replay
    bytes_t parent  # header under which captured text is published
    bytes_t scratch  # escaped text
    uint8_t *capture_buffer  # CAPTURE_BYTES and a carried tail, for each of stdout and stderr
    size_t carried[2]
    int64_t flush_us  # when gathered text leaves; 0 for never
    int64_t parent_check_us
    int64_t held_until_us  # the shell socket is not read before, unless someone subscribes; 0: it is read
    int timer_armed
    int logged  # bits of DROP_* of which a line was logged
    uint64_t received[CHANNEL_COUNT]
    uint64_t relayed[CHANNEL_COUNT]
    uint64_t sent[CHANNEL_COUNT]
    uint64_t answered[ANSWER_COUNT]
    uint64_t dropped[DROP_COUNT]
    uint64_t captured_bytes


cdef struct lent:  # a buffer of Python's that libzmq reads
    lent *next  # in state.returned
    void *state
    Py_buffer view


cdef class _Core:  # owns the state; Router, Outbox, Channels and Frames keep it alive
    cdef router_state state
    cdef dict names  # open channels, weakly, by name; any thread, GIL held
    cdef object failure  # of the start
    cdef object ready  # Event: bound, or failed
    cdef int sequence  # of inproc endpoints
    cdef watch(self, int item)
    cdef bind(self, int index, str channel, str endpoint, curve, int iopub_hwm)

cdef class Outbox:
    cdef _Core core
    cdef router_state *open_state(self) except? NULL
    cdef int push(self, router_state *R, op_head *head, bytes msg_type, tuple rest) except -1
    cdef command(self, int op, bytes argument)

cdef class Channel

cdef class Router:
    cdef _Core core
    cdef readonly Outbox outbox
    cdef object arguments  # of _Core.run, until the start
    cdef double subscriber_wait_s
    cdef object thread
    cdef dict waiting  # channels that nobody has come for yet
    cdef Channel make_channel(self, str name)

cdef class Frame:
    cdef _Core core
    cdef fs_frame frame

cdef class Channel:
    cdef _Core core
    cdef readonly str name
    cdef void *socket  # the shell's end of the PAIR; NULL once closed
    cdef mailbox *box
    cdef bint stopped  # STOP was returned
    cdef object __weakref__
    cpdef close(self)
    cdef stop(self)
    cdef take(self, fs_frame *frames, int count, note_head *head, uint64_t *size)
    cdef Frame next_frame(self)
    cdef Frame keep_frame(self, fs_frame *source)

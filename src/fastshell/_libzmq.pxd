"""The only `extern` block for libzmq, limited to what the router calls."""

cdef extern from "_c/libzmq.h" nogil:
    ctypedef union fs_frame:  # zmq_msg_t
        pass
    ctypedef void (*fs_release)(void *bytes, void *hint) noexcept nogil
    ctypedef struct fs_libzmq:
        void (*version)(int *major, int *minor, int *patch) noexcept nogil
        int (*error)() noexcept nogil
        const char *(*strerror)(int) noexcept nogil
        int (*msg_init)(fs_frame *) noexcept nogil
        int (*msg_init_size)(fs_frame *, size_t) noexcept nogil
        int (*msg_init_data)(fs_frame *, void *, size_t, fs_release, void *hint) noexcept nogil
        int (*msg_send)(fs_frame *, void *socket, int flags) noexcept nogil
        int (*msg_recv)(fs_frame *, void *socket, int flags) noexcept nogil
        int (*msg_close)(fs_frame *) noexcept nogil
        void *(*msg_data)(fs_frame *) noexcept nogil
        size_t (*msg_size)(const fs_frame *) noexcept nogil
        int (*msg_more)(const fs_frame *) noexcept nogil
        void *(*ctx_new)() noexcept nogil
        int (*ctx_set)(void *, int option, int value) noexcept nogil
        int (*ctx_term)(void *) noexcept nogil
        void *(*socket)(void *context, int type) noexcept nogil
        int (*close)(void *socket) noexcept nogil
        int (*setsockopt)(void *, int option, const void *value, size_t size) noexcept nogil
        int (*getsockopt)(void *, int option, void *value, size_t *size) noexcept nogil
        int (*bind)(void *, const char *endpoint) noexcept nogil
        int (*connect)(void *, const char *endpoint) noexcept nogil
    fs_libzmq fs_zmq
    int fs_libzmq_bind(const char *extension, char *why, size_t why_size)
    const char *fs_libzmq_file()

cdef enum:
    # socket types
    ZMQ_PAIR = 0
    ZMQ_ROUTER = 6
    ZMQ_PULL = 7
    ZMQ_PUSH = 8
    ZMQ_XPUB = 9
    # socket options
    ZMQ_FD = 14
    ZMQ_LINGER = 17
    ZMQ_SNDHWM = 23
    ZMQ_RCVHWM = 24
    ZMQ_LAST_ENDPOINT = 32
    ZMQ_XPUB_VERBOSE = 40
    ZMQ_IPV6 = 42
    ZMQ_CURVE_SERVER = 47
    ZMQ_CURVE_PUBLICKEY = 48
    ZMQ_CURVE_SECRETKEY = 49
    ZMQ_ROUTER_HANDOVER = 56
    # context options
    ZMQ_MAX_SOCKETS = 2
    # flags and events
    ZMQ_DONTWAIT = 1
    ZMQ_SNDMORE = 2
    ZMQ_ETERM = 156384765  # ZMQ_HAUSNUMERO + 53

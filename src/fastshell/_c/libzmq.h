/* libzmq, bound late from the copy that pyzmq has loaded: no zmq.h, no link, no second copy.
 *
 * Only functions whose ABI is frozen since libzmq 4.1. zmq_msg_t is a 64-byte, pointer-aligned
 * union there, so it needs no header either.
 */
#ifndef FS_LIBZMQ_H
#define FS_LIBZMQ_H
#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>

typedef union { unsigned char bytes[64]; void *align; } fs_frame;
typedef void (*fs_release)(void *bytes, void *hint);

/* result, field, symbol, arguments; called as fs_zmq.field(...) */
#define FS_LIBZMQ_FUNCTIONS(F) \
    F(void,         version,       "zmq_version",       (int *, int *, int *)) \
    F(int,          error,         "zmq_errno",         (void)) \
    F(const char *, strerror,      "zmq_strerror",      (int)) \
    F(int,          msg_init,      "zmq_msg_init",      (fs_frame *)) \
    F(int,          msg_init_size, "zmq_msg_init_size", (fs_frame *, size_t)) \
    F(int,          msg_init_data, "zmq_msg_init_data", (fs_frame *, void *, size_t, fs_release, void *)) \
    F(int,          msg_send,      "zmq_msg_send",      (fs_frame *, void *, int)) \
    F(int,          msg_recv,      "zmq_msg_recv",      (fs_frame *, void *, int)) \
    F(int,          msg_close,     "zmq_msg_close",     (fs_frame *)) \
    F(void *,       msg_data,      "zmq_msg_data",      (fs_frame *)) \
    F(size_t,       msg_size,      "zmq_msg_size",      (const fs_frame *)) \
    F(int,          msg_more,      "zmq_msg_more",      (const fs_frame *)) \
    F(void *,       ctx_new,       "zmq_ctx_new",       (void)) \
    F(int,          ctx_set,       "zmq_ctx_set",       (void *, int, int)) \
    F(int,          ctx_term,      "zmq_ctx_term",      (void *)) \
    F(void *,       socket,        "zmq_socket",        (void *, int)) \
    F(int,          close,         "zmq_close",         (void *)) \
    F(int,          setsockopt,    "zmq_setsockopt",    (void *, int, const void *, size_t)) \
    F(int,          getsockopt,    "zmq_getsockopt",    (void *, int, void *, size_t *)) \
    F(int,          bind,          "zmq_bind",          (void *, const char *)) \
    F(int,          connect,       "zmq_connect",       (void *, const char *))

typedef struct {
#define FS_FIELD(result, field, symbol, arguments) result (*field) arguments;
    FS_LIBZMQ_FUNCTIONS(FS_FIELD)
#undef FS_FIELD
} fs_libzmq;

static fs_libzmq fs_zmq;

/* Find every function from the library that `extension` (the file of pyzmq's backend) depends on.
 * A file is mapped once, so this is the copy that pyzmq has, or will have when it is imported; dlsym
 * on a handle searches the handle's own dependency tree, so libzmq is found whatever its mangled
 * name. The handle is kept: it pins the library. Returns 0, or -1 with the reason in `why`. */
static int fs_libzmq_bind(const char *extension, char *why, size_t why_size) {
    void *handle = dlopen(extension, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        snprintf(why, why_size, "%s", dlerror());
        return -1;
    }
#define FS_RESOLVE(result, field, symbol, arguments) \
    *(void **)&fs_zmq.field = dlsym(handle, symbol); \
    if (!fs_zmq.field) { \
        snprintf(why, why_size, "%s offers no %s", extension, symbol); \
        return -1; \
    }
    FS_LIBZMQ_FUNCTIONS(FS_RESOLVE)
#undef FS_RESOLVE
    return 0;
}

/* File that the bound libzmq was loaded from, or "" where the loader cannot tell. */
static const char *fs_libzmq_file(void) {
    Dl_info info;
    void *address = *(void **)&fs_zmq.version;
    return dladdr(address, &info) && info.dli_fname ? info.dli_fname : "";
}
#endif

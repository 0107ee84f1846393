/* LD_PRELOAD library that tells of every allocation while it is armed. SIGUSR2 arms it, and the
   next one disarms it and prints `noalloc: N calls`; SIGUSR1 makes one malloc, to prove that it
   would be seen. Calls inside libc (stdio's buffers, say) come through here too, raw system
   calls do not: the test compares /proc/PID/maps for those. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <malloc.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PUBLIC __attribute__((visibility("default")))
#define FRAMES_MAX 16
#define REPORTS_MAX 20

/* glibc's own names for what is replaced here. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *at, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);
void __libc_free(void *at);

static volatile sig_atomic_t armed, reporting;
static volatile unsigned calls;

static void say(const char *text) {
    if (write(STDERR_FILENO, text, strlen(text)) < 0) {
        errno = 0;
    }
}

static void note(const char *name) {
    void *frames[FRAMES_MAX];
    if (!armed || reporting) {
        return;
    }
    int error = errno;
    reporting = 1;
    if (calls++ < REPORTS_MAX) {
        say("noalloc: ");
        say(name);
        say(" from\n");
        backtrace_symbols_fd(frames, backtrace(frames, FRAMES_MAX), STDERR_FILENO);
    }
    reporting = 0;
    errno = error;
}

static void on_toggle(int number) {
    char text[64];
    (void)number;
    if (!armed) {
        calls = 0;
        armed = 1;
        say("noalloc: armed\n");
        return;
    }
    armed = 0;
    snprintf(text, sizeof text, "noalloc: %u calls\n", calls);
    say(text);
}

static void on_prove(int number) {
    (void)number;
    void *volatile at = __builtin_malloc(1);
    __builtin_free(at);
}

__attribute__((constructor)) static void begin(void) {
    void *frames[FRAMES_MAX];
    struct sigaction action = {.sa_flags = SA_RESTART};
    backtrace(frames, FRAMES_MAX); /* its first call loads a library */
    action.sa_handler = on_toggle;
    sigaction(SIGUSR2, &action, NULL);
    action.sa_handler = on_prove;
    sigaction(SIGUSR1, &action, NULL);
}

PUBLIC void *malloc(size_t bytes) {
    note("malloc");
    return __libc_malloc(bytes);
}

PUBLIC void *calloc(size_t count, size_t bytes) {
    note("calloc");
    return __libc_calloc(count, bytes);
}

PUBLIC void *realloc(void *at, size_t bytes) {
    note("realloc");
    return __libc_realloc(at, bytes);
}

PUBLIC void *memalign(size_t alignment, size_t bytes) {
    note("memalign");
    return __libc_memalign(alignment, bytes);
}

PUBLIC void *aligned_alloc(size_t alignment, size_t bytes) {
    note("aligned_alloc");
    return __libc_memalign(alignment, bytes);
}

PUBLIC int posix_memalign(void **at, size_t alignment, size_t bytes) {
    note("posix_memalign");
    *at = __libc_memalign(alignment, bytes);
    return *at ? 0 : ENOMEM;
}

PUBLIC void free(void *at) {
    note("free");
    __libc_free(at);
}

/* The real one, for what glibc gives no second name to. */
static void *real(const char *name) {
    int was = reporting;
    reporting = 1;
    void *function = dlsym(RTLD_NEXT, name);
    reporting = was;
    return function;
}

typedef void *(*mmap_call)(void *, size_t, int, int, int, off_t);
typedef int (*munmap_call)(void *, size_t);
typedef int (*brk_call)(void *);
typedef void *(*sbrk_call)(intptr_t);

/* ISO C has no cast from an object pointer to a function's; POSIX promises that it works. */
#define CALL(type, name)        \
    union {                     \
        void *object;           \
        type call;              \
    } name = {real(#name + 5)}; \
    note(#name + 5)

PUBLIC void *mmap(void *at, size_t bytes, int protection, int flags, int file, off_t offset) {
    CALL(mmap_call, real_mmap);
    return real_mmap.call(at, bytes, protection, flags, file, offset);
}

PUBLIC void *mmap64(void *at, size_t bytes, int protection, int flags, int file, off_t offset) {
    CALL(mmap_call, real_mmap64);
    return real_mmap64.call(at, bytes, protection, flags, file, offset);
}

PUBLIC int munmap(void *at, size_t bytes) {
    CALL(munmap_call, real_munmap);
    return real_munmap.call(at, bytes);
}

PUBLIC int brk(void *end) {
    CALL(brk_call, real_brk);
    return real_brk.call(end);
}

PUBLIC void *sbrk(intptr_t bytes) {
    CALL(sbrk_call, real_sbrk);
    return real_sbrk.call(bytes);
}

/* system_posix.c: memory, files and standard error for the dedicated server; see system.h.
   SPDX: MIT-0 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "system.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define CRASH_STACK_BYTES 65536

void *system_memory(size_t bytes) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

void system_memory_free(void *memory, size_t bytes) {
    munmap(memory, bytes);
}

/* In place of strerror, which may allocate. */
static const char *file_problem(int code) {
    switch (code) {
    case ENOENT:
    case ENOTDIR:
        return "there is no such file";
    case EACCES:
        return "this user may not read it";
    case EISDIR:
        return "it is a directory";
    default:
        return "it cannot be read";
    }
}

/* O_NONBLOCK: opening a pipe without a writer must not hold the server up. */
const char *system_file_read(const char *name, char *bytes, size_t capacity, size_t *count,
                             int *code) {
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t got = 1;
    *count = 0;
    while (fd >= 0 && got > 0 && *count < capacity) {
        got = read(fd, bytes + *count, capacity - *count);
        *count += got > 0 ? (size_t)got : 0;
    }
    *code = errno; /* kept before close, which may set it */
    if (fd >= 0) {
        close(fd);
    }
    return fd < 0 || got < 0 ? file_problem(*code) : NULL;
}

/* A file that may grow no more (ulimit -f) is an error to be told, not the end. */
intptr_t system_file_make(const char *name, int *code) {
    signal(SIGXFSZ, SIG_IGN);
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    *code = fd < 0 && errno != EEXIST ? errno : 0;
    return fd;
}

bool system_file_write(intptr_t file, const void *bytes, size_t count) {
    const char *at = bytes;
    while (count > 0) {
        ssize_t written = write((int)file, at, count);
        if (written < 0 && errno != EINTR) {
            return false;
        }
        at += written > 0 ? written : 0;
        count -= written > 0 ? (size_t)written : 0;
    }
    return true;
}

void system_file_close(intptr_t file) {
    close((int)file);
}

void system_file_remove(const char *name) {
    unlink(name);
}

const void *system_file_map(const char *name, size_t *bytes) {
    struct stat about;
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    void *at = MAP_FAILED;
    if (fd >= 0 && fstat(fd, &about) == 0 && about.st_size > 0) {
        *bytes = (size_t)about.st_size;
        at = mmap(NULL, *bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    }
    if (fd >= 0) {
        close(fd);
    }
    return at == MAP_FAILED ? NULL : at;
}

static void (*crash_last)(void);

/* The signal is back to what it does by itself: coming back from here meets it again. */
static void crash_take(int signal_number) {
    crash_last();
    raise(signal_number);
}

/* On a stack of its own: the other one may be what overflowed. */
void system_on_crash(void (*last)(void)) {
    static char stack[CRASH_STACK_BYTES];
    static const int deadly[] = {SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV};
    stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_handler = crash_take,
                               .sa_flags = (int)(SA_RESETHAND | SA_ONSTACK)};
    crash_last = last;
    sigaltstack(&other, NULL);
    for (size_t i = 0; i < sizeof deadly / sizeof deadly[0]; i++) {
        sigaction(deadly[i], &action, NULL);
    }
}

const char *system_variable(const char *name) {
    return getenv(name);
}

/* The soft limit alone, up to the hard one. */
bool system_files_want(uint32_t count) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= count) {
        return true;
    }
    limit.rlim_cur = limit.rlim_max < count ? limit.rlim_max : count;
    setrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur >= count;
}

void system_print(const char *text, size_t bytes) {
    ssize_t written = write(STDOUT_FILENO, text, bytes);
    (void)written; /* nobody has to listen */
}

/* Setting O_NONBLOCK instead would reach everybody who shares the terminal or pipe. */
bool system_log_ready(void) {
    struct pollfd fd = {.fd = STDERR_FILENO, .events = POLLOUT};
    return poll(&fd, 1, 0) == 1 && fd.revents & POLLOUT;
}

void system_log(const char *line, size_t bytes) {
    ssize_t written = write(STDERR_FILENO, line, bytes);
    (void)written; /* nowhere to complain */
}

/* A descriptor below 3 that is closed would be given to a socket, and the log written into it.
   First of all: later the numbers may be taken. */
static void descriptors_fill(void) {
    int fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO) {
        fd = open("/dev/null", O_RDWR);
    }
    if (fd > STDERR_FILENO) {
        close(fd);
    }
}

int main(int argc, char **argv) {
    descriptors_fill();
    return mpserver_main(argc, argv);
}

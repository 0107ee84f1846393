/* posix.c: sockets, clock, entropy and signals for mpserver; see port.h.  SPDX: MIT-0

   The round and the connections are in socket_loop.h, which win32.c shares; what is of POSIX
   alone is here and in

       posix_system.h      errors, the clock, calls on one socket
       posix_datagrams.h   messages, many in one call
       posix_events.h      waiting: epoll, kqueue or poll */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "port.h"
#include "posix_system.h"

#include "posix_datagrams.h"
#include "posix_events.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* == clock, entropy == */

uint64_t mps_port_now_us(void) {
    return clock_ns() / 1000;
}

int64_t mps_port_unix_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

bool mps_port_entropy(uint8_t out[32]) {
    return getentropy(out, 32) == 0;
}

/* == signals ==
   A handler may do next to nothing, so it writes what the signal asks for into a pipe that the
   round reads. Handlers belong to the process, not to a server, so what they need is static: the
   only static variables of this file. */

static volatile sig_atomic_t signal_fd = -1;

#define SIGNALS 4
static struct sigaction signals_before[SIGNALS];
static const int signal_numbers[SIGNALS] = {SIGTERM, SIGINT, SIGHUP, SIGPIPE};

static void signal_arrived(int number) {
    int code = errno;
    unsigned char asked = number == SIGHUP ? ASKED_RELOAD : ASKED_END;
    ssize_t written = write(signal_fd, &asked, 1); /* a full pipe holds enough of them already */
    (void)written;
    errno = code;
}

bool mps_port_signals(struct mps_port *p) {
    if (pipe2(p->signals, O_NONBLOCK | O_CLOEXEC) != 0 ||
        !backend_add(p, p->signals[0], ID_SIGNALS, WANT_READ)) {
        snprintf(p->error, sizeof p->error, "cannot watch for signals: %s", strerror(errno));
        return false;
    }
    signal_fd = p->signals[1];
    for (int i = 0; i < SIGNALS; i++) {
        struct sigaction action = {.sa_flags = SA_RESTART};
        action.sa_handler = signal_numbers[i] == SIGPIPE ? SIG_IGN : signal_arrived;
        sigemptyset(&action.sa_mask);
        sigaction(signal_numbers[i], &action, &signals_before[i]);
    }
    p->signals_set = true;
    return true;
}

static size_t signals_take(struct mps_port *p, unsigned char *asked, size_t count) {
    ssize_t got = read(p->signals[0], asked, count);
    return got > 0 ? (size_t)got : 0;
}

static void signals_restore(struct mps_port *p) {
    for (int i = 0; p->signals_set && i < SIGNALS; i++) {
        sigaction(signal_numbers[i], &signals_before[i], NULL);
        signal_fd = -1;
    }
    p->signals_set = false;
}

/* == life == */

#include "socket_loop.h"

mps_port_state mps_port_run(struct mps_port *p, mps_server *server) {
    return rounds_run(p, server);
}

/* posix_system.h: sockets, errors and the clock of POSIX, as the socket_*.h want them; part of
   posix.c.  SPDX: MIT-0

   win32_system.h has the same functions. Those that fail leave a code that system_error gives. */
#ifndef MPSERVER_POSIX_SYSTEM_H
#define MPSERVER_POSIX_SYSTEM_H

#include "port.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define SOCKET_NONE (-1)
#define SPANS_MAX 64 /* in one gather-write */

/* == errors == */

static int system_error(void) {
    return errno;
}

static void system_error_set(int code) {
    errno = code;
}

static void error_text(int code, char *text, size_t capacity) {
    snprintf(text, capacity, "%s", strerror(code));
}

static bool error_is_full(int code) {
    return code == EAGAIN || code == EWOULDBLOCK;
}

static bool error_is_interruption(int code) {
    return code == EINTR;
}

/* True for errors of the one connection that was about to be accepted (accept(2), "Error
   handling"; EPERM is a firewall's word): the next one may be fine. */
static bool error_is_of_peer(int code) {
    return code == EINTR || code == ECONNABORTED || code == EPROTO || code == EPERM ||
           code == ENETDOWN || code == ENETUNREACH || code == EHOSTUNREACH;
}

/* What a device or a kernel says that cannot cut one send into datagrams. */
static bool error_is_no_segments(int code) {
    return code == EIO || code == EINVAL || code == EMSGSIZE;
}

static bool error_is_no_in6(int code) {
    return code == EAFNOSUPPORT || code == EADDRNOTAVAIL;
}

/* Why a port cannot be had, in plain words, and what to do; NULL: see error_text. */
static const char *bind_problem(int code, const char **advice) {
    switch (code) {
    case EADDRINUSE:
        *advice = "; stop that program or choose another port";
        return "another program has it";
    case EACCES:
        *advice =
            "; a port below 1024 needs a privilege (CAP_NET_BIND_SERVICE), choose a higher one";
        return NULL;
    case EADDRNOTAVAIL:
        *advice = "; this host does not have that address, see `ip address`";
        return NULL;
    default:
        return NULL;
    }
}

/* == clock == */

static uint64_t clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* == sockets == */

static bool sockets_begin(void) {
    return true;
}

static void sockets_end(void) {
}

static void socket_close(mps_port_socket fd) {
    close(fd);
}

static void option_set(mps_port_socket fd, int level, int option, int value) {
    setsockopt(fd, level, option, &value, sizeof value);
}

/* Neither waits nor is inherited by programs that this one starts. */
static mps_port_socket socket_make(int family, int type) {
    return socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static void listener_options_set(mps_port_socket fd) {
    option_set(fd, SOL_SOCKET, SO_REUSEADDR, 1); /* or restarts wait for old connections */
    option_set(fd, IPPROTO_TCP, TCP_NODELAY, 1); /* accepted sockets inherit it */
}

/* Beside the packet infos and the size of buffers, which are everywhere. */
static void datagram_options_set(mps_port_socket fd, int buffer_bytes) {
#ifdef SO_RXQ_OVFL
    option_set(fd, SOL_SOCKET, SO_RXQ_OVFL, 1);
#endif
#ifdef SO_RCVBUFFORCE
    option_set(fd, SOL_SOCKET, SO_RCVBUFFORCE, buffer_bytes); /* with CAP_NET_ADMIN */
#endif
    (void)fd, (void)buffer_bytes;
}

static uint32_t interface_index(const char *name) {
    return if_nametoindex(name);
}

static mps_port_socket socket_accept(mps_port_socket listener, struct sockaddr *name,
                                     socklen_t *bytes) {
    return accept4(listener, name, bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/* How many bytes came, 0 for the peer's FIN, -1 for an error. */
static ptrdiff_t socket_read(mps_port_socket fd, unsigned char *bytes, size_t capacity) {
    return recv(fd, bytes, capacity, 0);
}

/* One gather-write; gives how many bytes the kernel has copied, or -1. */
static ptrdiff_t socket_write(mps_port_socket fd, const mps_span *spans, size_t count) {
    struct iovec vectors[SPANS_MAX];
    if (count == 1) { /* the usual case, and the cheaper call */
        return send(fd, spans[0].bytes, spans[0].count, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    for (size_t i = 0; i < count; i++) {
        vectors[i] = (struct iovec){(void *)(uintptr_t)spans[i].bytes, spans[i].count};
    }
    struct msghdr header = {.msg_iov = vectors, .msg_iovlen = count};
    return sendmsg(fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void socket_shut_writing(mps_port_socket fd) {
    shutdown(fd, SHUT_WR);
}

/* Closing shall reset the connection. */
static void socket_reset_at_close(mps_port_socket fd) {
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

#endif

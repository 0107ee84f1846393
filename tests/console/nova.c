/* nova.c: Nova's network library, over the sockets of the machine that runs the tests.  SPDX: MIT-0

   Deliberately awkward when NOVA_SEED is in the environment: it says "would block" when it would
   not, reads and writes a few bytes of what it could, and tells of datagrams that never were. What
   a port must not do (a socket used after it was closed, or left open behind the listener) ends the
   program, so that no test can miss it. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "nova.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SOCKETS_MAX 65536
#define UDP_BUFFER_BYTES (1 << 20)
#define WRITE_MAX 1460 /* bytes, when awkward */
#define READ_MAX 700
#define EXIT_LEFT_OPEN 70

union name {
    struct sockaddr any;
    struct sockaddr_in in4;
    struct sockaddr_in6 in6;
};

static struct nova_socket {
    int fd; /* 0: not open */
    bool listens, in4;
} sockets[SOCKETS_MAX];

static uint64_t seed;
static bool started, listened;

/* == awkwardness =============================================================================== */

/* After mps_port_close nothing may be open; a program that ends before it has listened may. */
static void check_at_exit(void) {
    int open = 0;
    for (int i = 0; i < SOCKETS_MAX; i++) {
        if (sockets[i].fd && sockets[i].listens) {
            return;
        }
        open += sockets[i].fd != 0;
    }
    if (listened && open) {
        fprintf(stderr, "nova: runtime error: %d sockets were never closed\n", open);
        _exit(EXIT_LEFT_OPEN);
    }
}

static void start(void) {
    if (!started) {
        const char *text = getenv("NOVA_SEED");
        seed = text ? strtoull(text, NULL, 10) * 0x9e3779b97f4a7c15u | 1 : 0;
        started = true;
        atexit(check_at_exit);
    }
}

/* 0 to below - 1 (xorshift64*). */
static uint32_t chance(uint32_t below) {
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    return (uint32_t)(seed * 0x2545f4914f6cdd1du >> 32) % below;
}

/* True one time in `one_in`, never when Nova is not awkward. */
static bool whim(uint32_t one_in) {
    return seed && chance(one_in) == 0;
}

static uint32_t some_of(uint32_t count, uint32_t most) {
    if (!seed || count < 2) {
        return count;
    }
    return 1 + chance(count < most ? count : most);
}

/* == sockets =================================================================================== */

static NovaResult error_of(int code) {
    switch (code) {
    case EAGAIN:
    case EINTR:
        return NOVA_ERROR_WOULD_BLOCK;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        return NOVA_ERROR_NO_MORE_SOCKETS;
    case EADDRINUSE:
        return NOVA_ERROR_ADDRESS_IN_USE;
    case ECONNABORTED:
        return NOVA_ERROR_CONNECTION_ABORTED;
    case ECONNRESET:
    case EPIPE:
        return NOVA_ERROR_CONNECTION_RESET;
    default:
        return NOVA_ERROR_OTHER;
    }
}

static NovaResult result_of(ssize_t count) {
    return count >= 0 ? (NovaResult)count : error_of(errno);
}

static struct nova_socket *socket_at(NovaId id) {
    if (id < 0 || id >= SOCKETS_MAX || !sockets[id].fd) {
        fprintf(stderr, "nova: runtime error: socket %d is not open\n", (int)id);
        abort();
    }
    return &sockets[id];
}

/* The lowest number that is free, as consoles do. */
static NovaResult id_give(int fd, bool listens, bool in4, NovaId *out) {
    for (NovaId id = 0; id < SOCKETS_MAX; id++) {
        if (!sockets[id].fd) {
            sockets[id] = (struct nova_socket){fd, listens, in4};
            *out = id;
            return NOVA_OK;
        }
    }
    close(fd);
    return NOVA_ERROR_NO_MORE_SOCKETS;
}

static socklen_t name_of(const NovaAddress *address, bool in4, union name *name) {
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    memset(name, 0, sizeof *name);
    if (in4) {
        name->in4.sin_family = AF_INET;
        memcpy(&name->in4.sin_port, address->port, 2);
        memcpy(&name->in4.sin_addr, address->ip, 4);
        return sizeof name->in4;
    }
    name->in6.sin6_family = AF_INET6;
    memcpy(&name->in6.sin6_port, address->port, 2);
    name->in6.sin6_scope_id = address->zone;
    if (address->family == 4) {
        memcpy(&name->in6.sin6_addr, mapped, 12);
        memcpy((uint8_t *)&name->in6.sin6_addr + 12, address->ip, 4);
    } else {
        memcpy(&name->in6.sin6_addr, address->ip, 16);
    }
    return sizeof name->in6;
}

static NovaAddress address_of(const union name *name) {
    NovaAddress out = {.family = 4};
    if (name->any.sa_family == AF_INET) {
        memcpy(out.port, &name->in4.sin_port, 2);
        memcpy(out.ip, &name->in4.sin_addr, 4);
        return out;
    }
    memcpy(out.port, &name->in6.sin6_port, 2);
    out.zone = name->in6.sin6_scope_id;
    bool mapped = IN6_IS_ADDR_V4MAPPED(&name->in6.sin6_addr);
    out.family = mapped ? 4 : 6;
    memcpy(out.ip, (const uint8_t *)&name->in6.sin6_addr + (mapped ? 12 : 0), mapped ? 4 : 16);
    return out;
}

bool novaAddressRead(const char *text, NovaAddress *out) {
    *out = (NovaAddress){.family = 6};
    if (!text || inet_pton(AF_INET6, text, out->ip) == 1) {
        return true;
    }
    out->family = 4;
    return inet_pton(AF_INET, text, out->ip) == 1;
}

static NovaResult bound(int type, const NovaAddress *where, NovaId *out) {
    bool in4 = where->family == 4;
    union name name;
    socklen_t bytes = name_of(where, in4, &name);
    int on = 1, off = 0, buffer = UDP_BUFFER_BYTES;
    start();
    int fd = socket(in4 ? AF_INET : AF_INET6, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return error_of(errno);
    }
    if (!in4) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
        setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on);
    }
    if (type == SOCK_STREAM) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    } else {
        setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    }
    if (bind(fd, &name.any, bytes) != 0 || (type == SOCK_STREAM && listen(fd, SOMAXCONN) != 0)) {
        NovaResult code = error_of(errno);
        close(fd);
        return code;
    }
    return id_give(fd, type == SOCK_STREAM, in4, out);
}

NovaResult novaTcpListen(const NovaAddress *where, NovaId *out) {
    NovaResult code = bound(SOCK_STREAM, where, out);
    listened |= code == NOVA_OK;
    return code;
}

NovaResult novaUdpOpen(const NovaAddress *where, NovaId *out) {
    return bound(SOCK_DGRAM, where, out);
}

NovaResult novaTcpAccept(NovaId listener, NovaId *out, NovaAddress *peer) {
    union name name;
    socklen_t bytes = sizeof name;
    int from = socket_at(listener)->fd;
    if (whim(4)) {
        return whim(4) ? NOVA_ERROR_CONNECTION_ABORTED : NOVA_ERROR_WOULD_BLOCK;
    }
    int fd = accept4(from, &name.any, &bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        return error_of(errno);
    }
    *peer = address_of(&name);
    return id_give(fd, false, peer->family == 4, out);
}

NovaResult novaTcpSetNoDelay(NovaId id) {
    int on = 1;
    return setsockopt(socket_at(id)->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

NovaResult novaTcpReceive(NovaId id, void *bytes, uint32_t capacity) {
    int fd = socket_at(id)->fd;
    if (whim(4)) {
        return NOVA_ERROR_WOULD_BLOCK;
    }
    return result_of(recv(fd, bytes, some_of(capacity, READ_MAX), 0));
}

NovaResult novaTcpSend(NovaId id, const void *bytes, uint32_t count) {
    int fd = socket_at(id)->fd;
    if (whim(4)) {
        return NOVA_ERROR_WOULD_BLOCK;
    }
    return result_of(send(fd, bytes, some_of(count, WRITE_MAX), MSG_NOSIGNAL));
}

NovaResult novaTcpEndSending(NovaId id) {
    return result_of(shutdown(socket_at(id)->fd, SHUT_WR));
}

NovaResult novaSocketAddress(NovaId id, NovaAddress *local) {
    union name name = {.in6 = {.sin6_family = AF_INET6}};
    socklen_t bytes = sizeof name;
    NovaResult code = result_of(getsockname(socket_at(id)->fd, &name.any, &bytes));
    *local = address_of(&name);
    return code;
}

NovaResult novaSocketClose(NovaId id) {
    struct nova_socket *s = socket_at(id);
    NovaResult code = result_of(close(s->fd));
    *s = (struct nova_socket){0};
    return code;
}

NovaResult novaSocketAbort(NovaId id) {
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    setsockopt(socket_at(id)->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    return novaSocketClose(id);
}

/* == datagrams ================================================================================= */

static void reached(struct msghdr *header, NovaAddress *to) {
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            *to = (NovaAddress){.family = 4};
            memcpy(to->ip, &info.ipi_spec_dst, 4);
            return;
        }
        if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            *to = (NovaAddress){.family = 6};
            memcpy(to->ip, &info.ipi6_addr, 16);
        }
    }
}

NovaResult novaUdpReceive(NovaId id, void *bytes, uint32_t capacity, NovaAddress *from,
                          NovaAddress *to) {
    struct nova_socket *s = socket_at(id);
    union name name;
    _Alignas(struct cmsghdr) char control[128];
    struct iovec vector = {bytes, capacity};
    struct msghdr header = {.msg_name = &name,
                            .msg_namelen = sizeof name,
                            .msg_iov = &vector,
                            .msg_iovlen = 1,
                            .msg_control = control,
                            .msg_controllen = sizeof control};
    if (whim(8)) {
        return whim(2) ? NOVA_ERROR_CONNECTION_RESET : NOVA_ERROR_WOULD_BLOCK;
    }
    ssize_t count = recvmsg(s->fd, &header, 0);
    if (count >= 0) {
        *from = address_of(&name);
        reached(&header, to);
    }
    return result_of(count);
}

static void send_from(struct msghdr *header, const NovaAddress *from, bool in4) {
    struct cmsghdr *c = header->msg_control;
    struct in_pktinfo info4 = {0};
    struct in6_pktinfo info6 = {.ipi6_ifindex = from->zone};
    union name name;
    name_of(from, false, &name);
    info6.ipi6_addr = name.in6.sin6_addr;
    memcpy(&info4.ipi_spec_dst, from->ip, 4);
    c->cmsg_level = in4 ? IPPROTO_IP : IPPROTO_IPV6;
    c->cmsg_type = in4 ? IP_PKTINFO : IPV6_PKTINFO;
    c->cmsg_len = in4 ? CMSG_LEN(sizeof info4) : CMSG_LEN(sizeof info6);
    header->msg_controllen = in4 ? CMSG_SPACE(sizeof info4) : CMSG_SPACE(sizeof info6);
    memcpy(CMSG_DATA(c), in4 ? (void *)&info4 : (void *)&info6, in4 ? sizeof info4 : sizeof info6);
}

NovaResult novaUdpSend(NovaId id, const void *bytes, uint32_t count, const NovaAddress *to,
                       const NovaAddress *from) {
    struct nova_socket *s = socket_at(id);
    union name name;
    _Alignas(struct cmsghdr) char control[128] = {0};
    struct iovec vector = {(void *)(uintptr_t)bytes, count};
    struct msghdr header = {.msg_name = &name,
                            .msg_namelen = name_of(to, s->in4, &name),
                            .msg_iov = &vector,
                            .msg_iovlen = 1,
                            .msg_control = control};
    send_from(&header, from, from->family == 4);
    return whim(8) ? NOVA_ERROR_WOULD_BLOCK : result_of(sendmsg(s->fd, &header, MSG_NOSIGNAL));
}

/* == time, chance ============================================================================== */

uint64_t novaTicks(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 10000000 + (uint64_t)t.tv_nsec / 100;
}

bool novaDate(uint64_t *seconds, uint32_t *nanoseconds) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    *seconds = (uint64_t)t.tv_sec;
    *nanoseconds = (uint32_t)t.tv_nsec;
    return true;
}

NovaResult novaRandom(void *bytes, uint32_t count) {
    return getentropy(bytes, count) == 0 ? NOVA_OK : NOVA_ERROR_OTHER;
}

/* kestrel.c: Kestrel's network library, over the sockets of the machine that runs the tests.
   SPDX: MIT-0 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "kestrel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MS_BEFORE_WRAP 3000 /* the clock starts so long before it wraps */
#define UDP_BUFFER_BYTES (1 << 20)

struct KsSocket {
    int fd;
    uint16_t port;
    bool serves;
    KsOnConnection *callback;
    void *context;
    pthread_t thread;
};

static KsHandle handle_make(int fd) {
    KsHandle h = calloc(1, sizeof *h);
    if (h) {
        h->fd = fd;
    } else {
        close(fd);
    }
    return h;
}

static KsStatus bound(int type, uint32_t ip, uint16_t port, KsHandle *out) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t bytes = sizeof name;
    int on = 1, buffer = UDP_BUFFER_BYTES, fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    name.sin_addr.s_addr = htonl(ip);
    setsockopt(fd, SOL_SOCKET, type == SOCK_STREAM ? SO_REUSEADDR : SO_RCVBUF,
               type == SOCK_STREAM ? &on : &buffer, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&name, sizeof name) != 0 ||
        (type == SOCK_STREAM && listen(fd, SOMAXCONN) != 0)) {
        close(fd);
        return KS_BUSY_PORT;
    }
    getsockname(fd, (struct sockaddr *)&name, &bytes);
    *out = handle_make(fd);
    if (*out) {
        (*out)->port = ntohs(name.sin_port);
    }
    return *out ? KS_OK : KS_LIMIT;
}

static void *serve(void *argument) {
    KsHandle h = argument;
    for (;;) {
        struct sockaddr_in name;
        socklen_t bytes = sizeof name;
        int fd = accept4(h->fd, (struct sockaddr *)&name, &bytes, SOCK_CLOEXEC);
        if (fd < 0 && errno == EINVAL) { /* ksDispose */
            return NULL;
        }
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        KsHandle made = fd >= 0 ? handle_make(fd) : NULL;
        if (made) {
            h->callback(h->context, made, ntohl(name.sin_addr.s_addr), ntohs(name.sin_port));
        } else {
            poll(NULL, 0, 50);
        }
    }
}

KsStatus ksServe(uint32_t ip, uint16_t port, KsOnConnection *callback, void *context,
                 KsHandle *out) {
    KsStatus status = bound(SOCK_STREAM, ip, port, out);
    if (status != KS_OK) {
        return status;
    }
    (*out)->serves = true;
    (*out)->callback = callback;
    (*out)->context = context;
    return pthread_create(&(*out)->thread, NULL, serve, *out) == 0 ? KS_OK : KS_LIMIT;
}

KsStatus ksDatagrams(uint32_t ip, uint16_t port, KsHandle *out) {
    return bound(SOCK_DGRAM, ip, port, out);
}

/* Waits as asked. */
static bool ready(KsHandle h, short events, uint32_t timeout_ms) {
    struct pollfd p = {.fd = h->fd, .events = events};
    return poll(&p, 1, (int)timeout_ms) == 1;
}

KsStatus ksReceive(KsHandle h, void *bytes, uint32_t capacity, uint32_t timeout_ms,
                   uint32_t *received) {
    if (!ready(h, POLLIN, timeout_ms)) {
        return KS_TIMEOUT;
    }
    ssize_t count = recv(h->fd, bytes, capacity, MSG_DONTWAIT);
    *received = count > 0 ? (uint32_t)count : 0;
    return count > 0 ? KS_OK : count == 0 ? KS_CLOSED : KS_BROKEN;
}

/* All or nothing: what lies unsent in the kernel must leave room for it. */
KsStatus ksSendAll(KsHandle h, const void *bytes, uint32_t count, uint32_t timeout_ms) {
    int unsent = 0;
    ioctl(h->fd, SIOCOUTQ, &unsent);
    if (count > KS_SEND_MAX || unsent > 16 * KS_SEND_MAX || !ready(h, POLLOUT, timeout_ms)) {
        return KS_TIMEOUT;
    }
    ssize_t sent = send(h->fd, bytes, count, MSG_NOSIGNAL);
    return sent == (ssize_t)count ? KS_OK : KS_BROKEN;
}

KsStatus ksReceiveFrom(KsHandle h, void *bytes, uint32_t capacity, uint32_t timeout_ms,
                       uint32_t *received, uint32_t *ip, uint16_t *port) {
    struct sockaddr_in name = {.sin_family = AF_INET};
    socklen_t name_bytes = sizeof name;
    if (!ready(h, POLLIN, timeout_ms)) {
        return KS_TIMEOUT;
    }
    ssize_t count =
        recvfrom(h->fd, bytes, capacity, MSG_DONTWAIT, (struct sockaddr *)&name, &name_bytes);
    *received = count > 0 ? (uint32_t)count : 0;
    *ip = ntohl(name.sin_addr.s_addr);
    *port = ntohs(name.sin_port);
    return count >= 0 ? KS_OK : KS_BROKEN;
}

KsStatus ksSendTo(KsHandle h, const void *bytes, uint32_t count, uint32_t ip, uint16_t port) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port)};
    name.sin_addr.s_addr = htonl(ip);
    ssize_t sent = sendto(h->fd, bytes, count, MSG_DONTWAIT, (struct sockaddr *)&name, sizeof name);
    return sent >= 0 ? KS_OK : errno == EAGAIN ? KS_TIMEOUT : KS_BROKEN;
}

uint16_t ksPort(KsHandle h) {
    return h->port;
}

void ksDispose(KsHandle h) {
    if (h->serves) {
        shutdown(h->fd, SHUT_RD); /* wakes accept */
        pthread_join(h->thread, NULL);
    }
    close(h->fd);
    free(h);
}

uint32_t ksMilliseconds(void) {
    static uint64_t start_ms;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    uint64_t ms = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
    start_ms = start_ms ? start_ms : ms;
    return (uint32_t)(ms - start_ms) - MS_BEFORE_WRAP;
}

KsStatus ksRandom16(uint8_t out[16]) {
    return getentropy(out, 16) == 0 ? KS_OK : KS_BROKEN;
}

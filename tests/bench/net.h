/* What the programs of the benchmark share: how the baselines listen, and the way out. */
#ifndef MPSERVER_BENCH_NET_H
#define MPSERVER_BENCH_NET_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define EVENTS_MAX 256 /* as many a round as platform/posix_events.h takes */

static inline _Noreturn void fail(const char *what) {
    perror(what);
    exit(1);
}

/* Listens on a port of the system's choice and prints it. */
static inline int listener_open(void) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t bytes = sizeof address;
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) ||
        listen(listener, SOMAXCONN) || getsockname(listener, (struct sockaddr *)&address, &bytes)) {
        fail("listen");
    }
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

/* A datagram socket at a port of the system's choice, which it prints. */
static inline int datagrams_open(void) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t bytes = sizeof address;
    int buffer = 4 << 20, file = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(file, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer);
    setsockopt(file, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    if (bind(file, (struct sockaddr *)&address, sizeof address) ||
        getsockname(file, (struct sockaddr *)&address, &bytes)) {
        fail("bind");
    }
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return file;
}

/* The next connection, watched for input under its own number, or -1. */
static inline int connection_accept(int poll, int listener, int files_max) {
    int one = 1, file = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (file >= files_max) {
        fprintf(stderr, "more than %d files\n", files_max);
        exit(1);
    }
    if (file >= 0) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = file};
        setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        epoll_ctl(poll, EPOLL_CTL_ADD, file, &event);
    }
    return file;
}

#endif

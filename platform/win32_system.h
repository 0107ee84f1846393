/* win32_system.h: sockets, errors and the clock of Windows, as the socket_*.h want them; part of
   win32.c.  SPDX: MIT-0

   posix_system.h has the same functions. Those that fail leave a code that system_error gives. */
#ifndef MPSERVER_WIN32_SYSTEM_H
#define MPSERVER_WIN32_SYSTEM_H

#include "port.h"

#include <winsock2.h>

#include <mswsock.h>
#include <stdio.h>
#include <string.h>
#include <windows.h>
#include <ws2tcpip.h>

#define SOCKET_NONE INVALID_SOCKET
#define SPANS_MAX 64                  /* in one gather-write */
#define IPV6_RECVPKTINFO IPV6_PKTINFO /* one option asks for what both do on POSIX */
#define READ_BYTES_MAX (1 << 20)      /* lengths are int here */
#define ERROR_WIDE_MAX 256            /* characters of the system's sentence */

_Static_assert(sizeof(mps_port_socket) == sizeof(SOCKET), "mps_port_socket holds a SOCKET");

/* == errors == */

static int system_error(void) {
    return WSAGetLastError();
}

static void system_error_set(int code) {
    WSASetLastError(code);
}

/* The system's own sentence, which comes in the language of the host, beside its number. */
static void error_text(int code, char *text, size_t capacity) {
    WCHAR wide[ERROR_WIDE_MAX] = {0};
    char said[ERROR_WIDE_MAX * 3] = {0};
    DWORD flags = FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS;
    FormatMessageW(flags, NULL, (DWORD)code, 0, wide, ERROR_WIDE_MAX, NULL);
    WideCharToMultiByte(CP_UTF8, 0, wide, -1, said, sizeof said - 1, NULL, NULL);
    said[strcspn(said, "\r\n")] = 0;
    snprintf(text, capacity, "%s%sWindows error %d", said, *said ? " " : "", code);
}

static bool error_is_full(int code) {
    return code == WSAEWOULDBLOCK;
}

static bool error_is_interruption(int code) {
    return code == WSAEINTR;
}

/* True for errors of the one connection that was about to be accepted: the next one may be fine.
   One that was reset before may be told as a connection that is none. */
static bool error_is_of_peer(int code) {
    return code == WSAECONNRESET || code == WSAECONNABORTED || code == WSAENOTCONN ||
           code == WSAEINTR;
}

/* Nothing is sent in segments here. */
static bool error_is_no_segments(int code) {
    (void)code;
    return false;
}

static bool error_is_no_in6(int code) {
    return code == WSAEAFNOSUPPORT || code == WSAEADDRNOTAVAIL;
}

/* Why a port cannot be had, in plain words, and what to do; NULL: see error_text. */
static const char *bind_problem(int code, const char **advice) {
    switch (code) {
    case WSAEADDRINUSE:
        *advice = "; stop that program or choose another port";
        return "another program has it";
    case WSAEACCES:
        *advice = "; choose another port (`netsh interface ipv4 show excludedportrange tcp` lists "
                  "those that Windows keeps)";
        return "another program or Windows has it for itself";
    case WSAEADDRNOTAVAIL:
        *advice = "; see `ipconfig`";
        return "this host does not have that address";
    default:
        return NULL;
    }
}

/* == clock ==
   Whole seconds and the rest are scaled apart: exact, and nothing overflows. */

static uint64_t clock_ns(void) {
    LARGE_INTEGER count, rate;
    QueryPerformanceCounter(&count);
    QueryPerformanceFrequency(&rate);
    uint64_t ticks = (uint64_t)count.QuadPart, hz = (uint64_t)rate.QuadPart;
    return ticks / hz * 1000000000u + ticks % hz * 1000000000u / hz;
}

/* == sockets == */

static bool sockets_begin(void) {
    WSADATA data;
    int code = WSAStartup(MAKEWORD(2, 2), &data);
    system_error_set(code);
    return code == 0;
}

static void sockets_end(void) {
    WSACleanup();
}

static void socket_close(mps_port_socket fd) {
    closesocket(fd);
}

static void option_set(mps_port_socket fd, int level, int option, int value) {
    setsockopt(fd, level, option, (const char *)&value, sizeof value);
}

static void socket_unblock(mps_port_socket fd) {
    u_long on = 1;
    ioctlsocket(fd, (long)FIONBIO, &on);
}

/* Neither waits nor is inherited by programs that this one starts. */
static mps_port_socket socket_make(int family, int type) {
    DWORD flags = WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT;
    mps_port_socket fd = WSASocketW(family, type, 0, NULL, 0, flags);
    if (fd != SOCKET_NONE) {
        socket_unblock(fd);
    }
    return fd;
}

/* SO_REUSEADDR would let two programs have one port here, and either gets what is meant for the
   other; old connections hold nobody up. */
static void listener_options_set(mps_port_socket fd) {
    option_set(fd, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, 1);
}

/* A datagram to a port that is closed shall not make reading fail: what comes back (ICMP) would be
   told as a reset of a connection that never was. */
static void datagram_options_set(mps_port_socket fd, int buffer_bytes) {
    const DWORD codes[] = {_WSAIOW(IOC_VENDOR, 12) /* SIO_UDP_CONNRESET */,
                           _WSAIOW(IOC_VENDOR, 15) /* SIO_UDP_NETRESET */};
    (void)buffer_bytes;
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        BOOL off = FALSE;
        DWORD got;
        WSAIoctl(fd, codes[i], &off, sizeof off, NULL, 0, &got, NULL, NULL);
    }
    option_set(fd, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, 1);
}

/* Interfaces go by number here: fe80::1%12. */
static uint32_t interface_index(const char *name) {
    uint64_t index = 0;
    for (const char *c = name; *c; c++) {
        if (*c < '0' || *c > '9' || index > UINT32_MAX / 10 - 1) {
            return 0;
        }
        index = index * 10 + (uint64_t)(*c - '0');
    }
    return (uint32_t)index;
}

/* What a socket inherits from the listener differs from version to version. */
static mps_port_socket socket_accept(mps_port_socket listener, struct sockaddr *name,
                                     socklen_t *bytes) {
    mps_port_socket fd = accept(listener, name, bytes);
    if (fd != SOCKET_NONE) {
        socket_unblock(fd);
        SetHandleInformation((HANDLE)fd, HANDLE_FLAG_INHERIT, 0);
        option_set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    }
    return fd;
}

/* How many bytes came, 0 for the peer's FIN, -1 for an error. */
static ptrdiff_t socket_read(mps_port_socket fd, unsigned char *bytes, size_t capacity) {
    return recv(fd, (char *)bytes, capacity < READ_BYTES_MAX ? (int)capacity : READ_BYTES_MAX, 0);
}

/* One gather-write; gives how many bytes the system has copied, or -1. */
static ptrdiff_t socket_write(mps_port_socket fd, const mps_span *spans, size_t count) {
    WSABUF vectors[SPANS_MAX];
    DWORD sent = 0;
    for (size_t i = 0; i < count; i++) {
        vectors[i].buf = (CHAR *)(uintptr_t)spans[i].bytes;
        vectors[i].len = (ULONG)spans[i].count;
    }
    return WSASend(fd, vectors, (DWORD)count, &sent, 0, NULL, NULL) == 0 ? (ptrdiff_t)sent : -1;
}

static void socket_shut_writing(mps_port_socket fd) {
    shutdown(fd, SD_SEND);
}

/* Closing shall reset the connection. */
static void socket_reset_at_close(mps_port_socket fd) {
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, (const char *)&now, sizeof now);
}

#endif

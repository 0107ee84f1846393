/* win32_datagrams.h: messages with control data, one a call; part of win32.c.  SPDX: MIT-0

   posix_datagrams.h has the same functions; socket_datagrams.h calls them. */
#ifndef MPSERVER_WIN32_DATAGRAMS_H
#define MPSERVER_WIN32_DATAGRAMS_H

#include "port.h"
#include "win32_system.h"

#include "sockets.h"

typedef struct socket_message {
    WSAMSG header;
    DWORD bytes;
} socket_message;

typedef WSABUF socket_vector;
typedef WSACMSGHDR socket_control;

static socket_vector vector_of(const void *bytes, size_t count) {
    return (socket_vector){(ULONG)count, (CHAR *)(uintptr_t)bytes};
}

/* A message to or from `name`, its control data still empty. */
static void message_set(socket_message *m, union name *name, socklen_t name_bytes,
                        socket_vector *vectors, size_t count, char *control) {
    memset(m, 0, sizeof *m);
    m->header.name = &name->any;
    m->header.namelen = name_bytes;
    m->header.lpBuffers = vectors;
    m->header.dwBufferCount = (DWORD)count;
    m->header.Control.buf = control;
}

/* Sets anew the parts of a message that receiving changes. */
static void message_reset(socket_message *m, size_t control_bytes) {
    m->header.namelen = sizeof(union name);
    m->header.Control.len = (ULONG)control_bytes;
    m->header.dwFlags = 0;
}

static size_t message_bytes(const socket_message *m) {
    return m->bytes;
}

/* Sent to many: its address is none to answer from. */
static bool message_is_to_many(const socket_message *m) {
    return m->header.dwFlags & (MSG_BCAST | MSG_MCAST);
}

/* Items and what is in them begin aligned as a pointer. The same as WSA_CMSG_ALIGN and its like,
   which mix signed with unsigned. */
static size_t control_aligned(size_t bytes) {
    return (bytes + sizeof(void *) - 1) & ~(sizeof(void *) - 1);
}

#define CONTROL_HEAD_BYTES control_aligned(sizeof(socket_control))

static socket_control *control_at(socket_message *m, size_t at) {
    bool whole = m->header.Control.buf && m->header.Control.len >= at + CONTROL_HEAD_BYTES;
    return whole ? (socket_control *)(void *)(m->header.Control.buf + at) : NULL;
}

static socket_control *control_first(socket_message *m) {
    return control_at(m, 0);
}

static socket_control *control_next(socket_message *m, socket_control *c) {
    size_t at = (size_t)((char *)c - m->header.Control.buf);
    return control_at(m, at + control_aligned(c->cmsg_len));
}

static void *control_data(socket_control *c) {
    return (char *)c + CONTROL_HEAD_BYTES;
}

/* Appends an item of `bytes`, for the caller to fill. */
static void *control_add(socket_message *m, int level, int type, size_t bytes) {
    WSABUF *control = &m->header.Control;
    socket_control *c = (socket_control *)(void *)(control->buf + control->len);
    c->cmsg_level = level;
    c->cmsg_type = type;
    c->cmsg_len = CONTROL_HEAD_BYTES + bytes;
    control->len += (ULONG)control_aligned(c->cmsg_len);
    return control_data(c);
}

/* An empty list is none. */
static void control_end(socket_message *m) {
    if (m->header.Control.len == 0) {
        m->header.Control.buf = NULL;
    }
}

/* The address that was sent to; message_is_to_many sorts out those that nobody can answer from. */
static struct in_addr *info4_address(struct in_pktinfo *info) {
    return &info->ipi_addr;
}

/* This system does not tell how many it has dropped. */
static void message_note_drops(struct mps_port *p, socket_message *m) {
    (void)p, (void)m;
}

/* WSARecvMsg is not in the library: every provider of sockets has its own. */
static bool messages_begin(struct mps_port *p) {
    GUID name = WSAID_WSARECVMSG;
    LPFN_WSARECVMSG receive = NULL;
    DWORD got;
    int failed = WSAIoctl(p->datagrams, SIO_GET_EXTENSION_FUNCTION_POINTER, &name, sizeof name,
                          &receive, sizeof receive, &got, NULL, NULL);
    p->receive = (void (*)(void))receive;
    return failed == 0;
}

/* News of earlier datagrams, which came back (ICMP). */
static bool error_is_news(int code) {
    return code == WSAECONNRESET || code == WSAENETRESET || code == WSAEINTR;
}

/* How many came. One that is longer than its buffer is handed on cut, as POSIX does. */
static int messages_receive(struct mps_port *p, socket_message *messages, unsigned count) {
    LPFN_WSARECVMSG receive = (LPFN_WSARECVMSG)p->receive;
    unsigned got = 0;
    for (unsigned i = 0; i < count; i++) {
        socket_message *m = &messages[got];
        int failed = receive(p->datagrams, &m->header, &m->bytes, NULL, NULL);
        int code = failed ? system_error() : 0;
        if (code == WSAEMSGSIZE) {
            m->bytes = m->header.lpBuffers[0].len;
        }
        if (!failed || code == WSAEMSGSIZE) {
            got++;
        } else if (!error_is_news(code)) {
            break;
        }
    }
    return (int)got;
}

/* How many of the messages the system took; -1 with system_error when not even the first. */
static int messages_send(struct mps_port *p, socket_message *messages, unsigned count) {
    unsigned sent = 0;
    DWORD bytes;
    while (sent < count &&
           WSASendMsg(p->datagrams, &messages[sent].header, 0, &bytes, NULL, NULL) == 0) {
        sent++;
    }
    return sent ? (int)sent : -1;
}

#endif

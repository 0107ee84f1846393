/* posix_datagrams.h: messages with control data, many in one system call where there is one; part
   of posix.c.  SPDX: MIT-0

   win32_datagrams.h has the same functions; socket_datagrams.h calls them. */
#ifndef MPSERVER_POSIX_DATAGRAMS_H
#define MPSERVER_POSIX_DATAGRAMS_H

#include "port.h"
#include "posix_system.h"
#include "sockets.h"

/* MPS_POSIX_PLAIN_DATAGRAMS leaves them out where they are, so that a test can have it so. */
#if defined(__linux__) && !defined(MPS_POSIX_PLAIN_DATAGRAMS)
#include <netinet/udp.h>
#define HAS_MMSG 1
typedef struct mmsghdr socket_message;
#else
#define HAS_MMSG 0
typedef struct socket_message {
    struct msghdr msg_hdr;
    unsigned int msg_len;
} socket_message;
#endif

typedef struct iovec socket_vector;
typedef struct cmsghdr socket_control;

static socket_vector vector_of(const void *bytes, size_t count) {
    return (socket_vector){(void *)(uintptr_t)bytes, count};
}

/* A message to or from `name`, its control data still empty. */
static void message_set(socket_message *m, union name *name, socklen_t name_bytes,
                        socket_vector *vectors, size_t count, char *control) {
    memset(m, 0, sizeof *m);
    m->msg_hdr.msg_name = name;
    m->msg_hdr.msg_namelen = name_bytes;
    m->msg_hdr.msg_iov = vectors;
    m->msg_hdr.msg_iovlen = count;
    m->msg_hdr.msg_control = control;
}

/* Sets anew the parts of a message that receiving changes. */
static void message_reset(socket_message *m, size_t control_bytes) {
    m->msg_hdr.msg_namelen = sizeof(union name);
    m->msg_hdr.msg_controllen = control_bytes;
    m->msg_hdr.msg_flags = 0;
}

static size_t message_bytes(const socket_message *m) {
    return m->msg_len;
}

/* Sent to many: its address is none to answer from. The infos of POSIX see to it. */
static bool message_is_to_many(const socket_message *m) {
    (void)m;
    return false;
}

static socket_control *control_first(socket_message *m) {
    return CMSG_FIRSTHDR(&m->msg_hdr);
}

static socket_control *control_next(socket_message *m, socket_control *c) {
    return CMSG_NXTHDR(&m->msg_hdr, c);
}

static void *control_data(socket_control *c) {
    return CMSG_DATA(c);
}

/* Appends an item of `bytes`, for the caller to fill. */
static void *control_add(socket_message *m, int level, int type, size_t bytes) {
    struct msghdr *header = &m->msg_hdr;
    struct cmsghdr *c =
        (struct cmsghdr *)(void *)((char *)header->msg_control + header->msg_controllen);
    c->cmsg_level = level;
    c->cmsg_type = type;
    c->cmsg_len = CMSG_LEN(bytes);
    header->msg_controllen += CMSG_SPACE(bytes);
    return CMSG_DATA(c);
}

/* Some systems refuse an empty list. */
static void control_end(socket_message *m) {
    if (m->msg_hdr.msg_controllen == 0) {
        m->msg_hdr.msg_control = NULL;
    }
}

#ifdef IP_PKTINFO
/* The address to answer from, also when a broadcast was received. */
static struct in_addr *info4_address(struct in_pktinfo *info) {
    return &info->ipi_spec_dst;
}
#endif

/* How many datagrams the kernel has dropped before this one, as it counts. */
static void message_note_drops(struct mps_port *p, socket_message *m) {
#ifdef SO_RXQ_OVFL
    for (socket_control *c = control_first(m); c; c = control_next(m, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL) {
            uint32_t dropped;
            memcpy(&dropped, CMSG_DATA(c), sizeof dropped);
            mps_note_udp_drops(p->server, dropped - p->datagrams_dropped);
            p->datagrams_dropped = dropped;
        }
    }
#else
    (void)p, (void)m;
#endif
}

static bool messages_begin(struct mps_port *p) {
    (void)p;
    return true;
}

/* How many came; 0 and less: none. */
static int messages_receive(struct mps_port *p, socket_message *messages, unsigned count) {
#if HAS_MMSG
    return recvmmsg(p->datagrams, messages, count, MSG_DONTWAIT, NULL);
#else
    unsigned got = 0;
    for (; got < count; got++) {
        ssize_t bytes = recvmsg(p->datagrams, &messages[got].msg_hdr, MSG_DONTWAIT);
        if (bytes < 0) {
            break;
        }
        messages[got].msg_len = (unsigned)bytes;
    }
    return (int)got;
#endif
}

/* How many of the messages the system took; -1 with system_error when not even the first. */
static int messages_send(struct mps_port *p, socket_message *messages, unsigned count) {
#if HAS_MMSG
    return sendmmsg(p->datagrams, messages, count, MSG_DONTWAIT);
#else
    unsigned sent = 0;
    while (sent < count && sendmsg(p->datagrams, &messages[sent].msg_hdr, MSG_DONTWAIT) >= 0) {
        sent++;
    }
    return sent ? (int)sent : -1;
#endif
}

#endif

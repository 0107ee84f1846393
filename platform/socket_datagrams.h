/* socket_datagrams.h: datagrams in batches; part of posix.c and win32.c.  SPDX: MIT-0

   Many are read and sent with one system call where the system has such a call (recvmmsg,
   sendmmsg), and several of one size to one address are handed over as a single buffer that the
   kernel cuts (UDP_SEGMENT): each saves a walk through the network stack. posix_datagrams.h or
   win32_datagrams.h, included before, knows how.

   Both addresses of a datagram matter: a host with several must answer from the one it was asked
   at. */
#ifndef MPSERVER_SOCKET_DATAGRAMS_H
#define MPSERVER_SOCKET_DATAGRAMS_H

#include "port.h"
#include "socket_clock.h"
#include "sockets.h"

#include <string.h>

#define RECEIVES_MAX 256   /* a round; the rest is reported again */
#define RECEIVE_BYTES 1472 /* the most that fits an Ethernet frame; longer ones arrive cut */
#define SENDS_MAX 128
#define BATCHES_MAX 16       /* a round, or a storm of ticks would keep others waiting */
#define SEGMENTS_MAX 32      /* datagrams in one send */
#define SEGMENTS_BYTES 60000 /* below what an IP datagram can hold */
#define CONTROL_BYTES 128    /* room for the infos of both families, a drop count, a segment size */

/* What the system calls fill and take; the bytes received go to the port's shared buffer. */
struct port_datagrams {
    socket_message received[RECEIVES_MAX];
    socket_vector vectors[RECEIVES_MAX];
    union name names[RECEIVES_MAX];
    _Alignas(socket_control) char control[RECEIVES_MAX][CONTROL_BYTES];
    mps_datagram out[SENDS_MAX];
    unsigned out_count, out_sent; /* of the core's; those the system has taken */
    socket_message sends[SENDS_MAX];
    unsigned datagrams_in[SENDS_MAX]; /* of `out` in each of `sends` */
    socket_vector out_vectors[SENDS_MAX * MPS_DATAGRAM_SPANS];
    union name out_names[SENDS_MAX];
    _Alignas(socket_control) char out_control[SENDS_MAX][CONTROL_BYTES];
};

static void receives_reset(struct port_datagrams *d, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        message_reset(&d->received[i], CONTROL_BYTES);
    }
}

static bool datagrams_init(struct mps_port *p) {
    struct port_datagrams *d = p->messages;
    memset(d, 0, sizeof *d);
    for (size_t i = 0; i < RECEIVES_MAX; i++) {
        d->vectors[i] = vector_of(p->buffer + i * RECEIVE_BYTES, RECEIVE_BYTES);
        message_set(&d->received[i], &d->names[i], 0, &d->vectors[i], 1, d->control[i]);
    }
    receives_reset(d, RECEIVES_MAX);
    return messages_begin(p);
}

/* The address that a datagram reached. The IPv4 info knows which one to answer from, also for a
   broadcast. */
static mps_address datagram_to(struct mps_port *p, socket_message *m) {
    mps_address to = p->udp;
    if (message_is_to_many(m)) {
        return to;
    }
    for (socket_control *c = control_first(m); c; c = control_next(m, c)) {
        if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            memcpy(&info, control_data(c), sizeof info);
            memcpy(to.ip, &info.ipi6_addr, 16);
            bool link_local = to.ip[0] == 0xfe && (to.ip[1] & 0xc0) == 0x80;
            to.scope = link_local ? (uint32_t)info.ipi6_ifindex : 0;
            if (to.ip[0] == 0xff) { /* nobody can answer from a multicast address */
                to = p->udp;
            }
        }
#ifdef IP_PKTINFO
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, control_data(c), sizeof info);
            address_from_in4(&to, info4_address(&info));
            return to;
        }
#endif
    }
    return to;
}

/* Errors here are news of earlier datagrams (ICMP), or none are left after all: the next round
   tries again. The last of a batch knows about all drops before it. */
static void datagrams_read(struct mps_port *p) {
    struct port_datagrams *d = p->messages;
    int count = messages_receive(p, d->received, RECEIVES_MAX);
    for (int i = 0; i < count; i++) {
        socket_message *message = &d->received[i];
        unsigned char *bytes = p->buffer + i * RECEIVE_BYTES;
        mps_address from = address_from(&d->names[i]);
        mps_address to = datagram_to(p, message);
        uint64_t begin = timed_begin(p);
        mps_udp_input(p->server, p->now, &from, &to, bytes, message_bytes(message));
        timed_end(p, begin);
    }
    if (count > 0) {
        message_note_drops(p, &d->received[count - 1]);
        receives_reset(d, (unsigned)count);
    }
}

/* From the address that the peer knows; bound to one address there is no choice. */
static void control_add_from(struct mps_port *p, socket_message *m, const mps_address *from) {
    if (!address_is_any(&p->udp) || address_is_any(from)) {
        return;
    }
#ifdef IP_PKTINFO
    if (address_is_in4(from)) {
        struct in_pktinfo info = {0};
        memcpy(info4_address(&info), from->ip + sizeof mapped_prefix, 4);
        memcpy(control_add(m, IPPROTO_IP, IP_PKTINFO, sizeof info), &info, sizeof info);
        return;
    }
#endif
    struct in6_pktinfo info = {.ipi6_ifindex = from->scope};
    memcpy(&info.ipi6_addr, from->ip, 16);
    memcpy(control_add(m, IPPROTO_IPV6, IPV6_PKTINFO, sizeof info), &info, sizeof info);
}

/* How many of `out` from `at` on can go in one send: to one address, of one size, the last one may
   be shorter. */
#ifdef UDP_SEGMENT
static bool same_address(const mps_address *a, const mps_address *b) {
    return a->port == b->port && a->scope == b->scope && memcmp(a->ip, b->ip, sizeof a->ip) == 0;
}

static unsigned segments_at(const struct mps_port *p, const struct port_datagrams *d, unsigned at) {
    const mps_datagram *first = &d->out[at];
    size_t bytes = first->bytes;
    unsigned count = 1;
    while (!p->no_segments && at + count < d->out_count && count < SEGMENTS_MAX) {
        const mps_datagram *next = &d->out[at + count];
        if (next->bytes > first->bytes || bytes + next->bytes > SEGMENTS_BYTES ||
            !same_address(&next->to, &first->to) || !same_address(&next->from, &first->from)) {
            break;
        }
        bytes += next->bytes;
        count++;
        if (next->bytes < first->bytes) {
            break;
        }
    }
    return count;
}
#else
static unsigned segments_at(const struct mps_port *p, const struct port_datagrams *d, unsigned at) {
    (void)p, (void)d, (void)at;
    return 1;
}
#endif

/* One message of `count` datagrams from `at` on; gives how many vectors it took. */
static size_t send_prepare(struct mps_port *p, struct port_datagrams *d, unsigned send, unsigned at,
                           unsigned count, socket_vector *vectors) {
    socket_message *m = &d->sends[send];
    const mps_datagram *first = &d->out[at];
    size_t used = 0;
    for (unsigned i = at; i < at + count; i++) {
        for (size_t k = 0; k < d->out[i].spans_count; k++) {
            vectors[used++] = vector_of(d->out[i].spans[k].bytes, d->out[i].spans[k].count);
        }
    }
    socklen_t name = address_to(&first->to, address_is_in4(&p->udp), &d->out_names[send]);
    message_set(m, &d->out_names[send], name, vectors, used, d->out_control[send]);
    control_add_from(p, m, &first->from);
#ifdef UDP_SEGMENT
    if (count > 1) {
        uint16_t bytes = (uint16_t)first->bytes;
        memcpy(control_add(m, IPPROTO_UDP, UDP_SEGMENT, sizeof bytes), &bytes, sizeof bytes);
    }
#endif
    control_end(m);
    d->datagrams_in[send] = count;
    return used;
}

/* The first message was refused. A full socket is waited for; without segmentation the datagrams go
   out one by one; anything else is about this one alone (no route, a firewall), and the network
   might have lost it as well. */
static void send_refused(struct mps_port *p, struct port_datagrams *d, int code) {
    if (error_is_full(code)) {
        p->datagrams_full = true;
    } else if (error_is_interruption(code)) {
        return;
    } else if (d->datagrams_in[0] > 1 && error_is_no_segments(code)) {
        p->no_segments = true;
    } else {
        mps_note_port_error(p->server, "sending a datagram failed", code);
        d->out_sent += d->datagrams_in[0];
    }
}

/* Sends what is left of the batch. */
static void batch_send(struct mps_port *p, struct port_datagrams *d) {
    unsigned messages = 0;
    size_t vectors = 0;
    for (unsigned at = d->out_sent; at < d->out_count; messages++) {
        unsigned count = segments_at(p, d, at);
        vectors += send_prepare(p, d, messages, at, count, d->out_vectors + vectors);
        at += count;
    }
    int sent = messages_send(p, d->sends, messages);
    if (sent < 0) {
        send_refused(p, d, system_error());
        return;
    }
    for (int i = 0; i < sent; i++) {
        d->out_sent += d->datagrams_in[i];
    }
}

/* Until the core has no more, the socket is full, or others have to have their turn. What is left
   of a batch waits for the socket. */
static void datagrams_send(struct mps_port *p) {
    struct port_datagrams *d = p->messages;
    for (int i = 0; i < BATCHES_MAX && !p->datagrams_full; i++) {
        if (d->out_sent == d->out_count) {
            d->out_sent = 0;
            d->out_count = (unsigned)mps_udp_output(p->server, p->now, d->out, SENDS_MAX);
        }
        p->datagrams_left = d->out_count > 0;
        if (!p->datagrams_left) {
            return;
        }
        batch_send(p, d);
    }
}

#endif

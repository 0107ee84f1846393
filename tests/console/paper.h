/* paper.h: a console whose network is made of memory, and who fills it in.  SPDX: MIT-0

   Time is a number, the far ends of connections are structs that a test writes into, and any call
   fails when the dice say so. It holds the port to the contract of template.h: each socket is used
   only while it may be, and closed exactly once. Includes template.c itself, so that what it tells
   the core about connections is counted, too. */
#ifndef PAPER_H
#define PAPER_H

#include "../../mpserver.h"
#include "../check.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define PAPER_SOCKETS 4096 /* numbers are not used again: a late use of one shows */
#define PAPER_PEERS 24
#define PAPER_BYTES 8192   /* that a peer has sent, waiting to be read */
#define PAPER_HEARD 131072 /* that it has heard; the rest is not kept */
#define PAPER_CONNS 64

/* The core's own count: which handles are open. */
static struct {
    uint64_t open[PAPER_CONNS]; /* by index */
    unsigned opened, closed;
} told;

static mps_conn told_open(mps_server *server, uint64_t now, const mps_address *peer,
                          const mps_address *local) {
    mps_conn conn = mps_tcp_open(server, now, peer, local);
    if (conn.id) {
        uint32_t index = (uint32_t)conn.id - 1;
        CHECK(index < PAPER_CONNS && told.open[index] == 0);
        told.open[index % PAPER_CONNS] = conn.id;
        told.opened++;
    }
    return conn;
}

static void told_closed(mps_server *server, mps_conn conn, uint64_t now) {
    uint32_t index = (uint32_t)conn.id - 1;
    CHECK(index < PAPER_CONNS && told.open[index % PAPER_CONNS] == conn.id);
    told.open[index % PAPER_CONNS] = 0;
    told.closed++;
    mps_tcp_closed(server, conn, now);
}

#define mps_tcp_open told_open
#define mps_tcp_closed told_closed
#include "../../platform/template.c"
#undef mps_tcp_open
#undef mps_tcp_closed

enum paper_kind { PAPER_NEVER, PAPER_LISTENER, PAPER_UDP, PAPER_TCP };

struct paper_socket {
    enum paper_kind kind;
    bool open, ended, shut; /* the port was told of FIN; it sent FIN */
    bool failed;            /* nothing but closing is left */
    struct paper_peer *peer;
};

/* The far end of a connection. */
struct paper_peer {
    enum { PEER_AWAY, PEER_CALLING, PEER_ON } state;
    console_socket socket;
    uint16_t port;
    uint8_t out[PAPER_BYTES]; /* it has sent these, the server has not read them */
    size_t out_count;
    bool fin, reset;                        /* it has sent these */
    bool heard_fin, heard_close, was_reset; /* and heard these */
    bool socket_is_ws;
    size_t window; /* the server may write so much */
    char in[PAPER_HEARD];
    size_t in_count; /* cut at what fits */
};

struct paper_datagram {
    uint8_t bytes[64];
    size_t count;
    mps_address from, to;
};

/* `user` of every call. */
struct paper {
    struct paper_socket sockets[PAPER_SOCKETS];
    uint32_t given, closed;
    struct paper_peer peers[PAPER_PEERS];
    struct paper_datagram in[64];
    uint32_t in_count;
    struct paper_datagram sent; /* the last one, its first bytes */
    uint32_t sent_count;
    uint64_t now, look_us; /* each look at the clock takes so long */
    uint64_t seed;
    uint32_t fault_one_in;    /* 0: nothing fails */
    uint32_t accepts, writes; /* asked for */
    uint16_t port;            /* the next that is picked */
    bool udp_full, sockets_full, down, no_tcp, no_udp, no_entropy, zero_entropy;
};

/* 0 to below - 1 (xorshift64*). */
static uint32_t paper_chance(struct paper *w, uint32_t below) {
    w->seed ^= w->seed >> 12;
    w->seed ^= w->seed << 25;
    w->seed ^= w->seed >> 27;
    return (uint32_t)(w->seed * 0x2545f4914f6cdd1du >> 32) % below;
}

/* A result for a call that fails now, CONSOLE_DONE for one that does not. */
static console_result paper_fault(struct paper *w) {
    static const console_result faults[] = {CONSOLE_AGAIN, CONSOLE_AGAIN,  CONSOLE_AGAIN,
                                            CONSOLE_ENDED, CONSOLE_FAILED, CONSOLE_FAILED,
                                            CONSOLE_FULL,  CONSOLE_LOST};
    if (w->fault_one_in == 0 || paper_chance(w, w->fault_one_in) != 0) {
        return CONSOLE_DONE;
    }
    return faults[paper_chance(w, sizeof faults / sizeof *faults)];
}

static struct paper_socket *paper_use(struct paper *w, console_socket socket,
                                      enum paper_kind kind) {
    CHECK(socket >= 0 && (uint32_t)socket < w->given);
    struct paper_socket *s = &w->sockets[(uint32_t)socket % PAPER_SOCKETS];
    CHECK(s->kind == kind && s->open && !s->failed);
    return s;
}

static console_socket paper_give(struct paper *w, enum paper_kind kind, struct paper_peer *peer) {
    CHECK(w->given < PAPER_SOCKETS);
    uint32_t id = w->given++ % PAPER_SOCKETS;
    w->sockets[id] = (struct paper_socket){.kind = kind, .open = true, .peer = peer};
    return (console_socket)id;
}

uint64_t console_now_us(void *user) {
    struct paper *w = user;
    return w->now += w->look_us;
}

bool console_unix_ms(void *user, int64_t *unix_ms) {
    struct paper *w = user;
    *unix_ms = 1795000000000 + (int64_t)(w->now / 1000);
    return paper_fault(w) == CONSOLE_DONE;
}

bool console_entropy(void *user, uint8_t out[32]) {
    const struct paper *w = user;
    memset(out, w->zero_entropy ? 0 : 0x5a, 32);
    return !w->no_entropy;
}

int32_t console_error(void *user) {
    (void)user;
    return -77;
}

static console_result paper_open(struct paper *w, enum paper_kind kind, bool refused, uint16_t port,
                                 console_socket *out, mps_address *bound) {
    console_result fault = w->down || refused ? CONSOLE_FAILED : paper_fault(w);
    if (fault == CONSOLE_DONE) {
        *out = paper_give(w, kind, NULL);
        *bound = (mps_address){.port = port ? port : w->port++};
    }
    return fault;
}

console_result console_listen(void *user, uint16_t port, console_socket *out, mps_address *bound) {
    struct paper *w = user;
    return paper_open(w, PAPER_LISTENER, w->no_tcp, port, out, bound);
}

console_result console_udp_open(void *user, uint16_t port, console_socket *out,
                                mps_address *bound) {
    struct paper *w = user;
    return paper_open(w, PAPER_UDP, w->no_udp, port, out, bound);
}

console_result console_accept(void *user, console_socket listener, console_socket *out,
                              mps_address *peer, mps_address *local) {
    static const uint8_t loopback[4] = {127, 0, 0, 1};
    struct paper *w = user;
    struct paper_socket *s = paper_use(w, listener, PAPER_LISTENER);
    console_result fault = w->down ? CONSOLE_LOST : paper_fault(w);
    w->accepts++;
    fault = w->sockets_full ? CONSOLE_FULL : fault;
    s->failed = fault == CONSOLE_LOST || fault == CONSOLE_ENDED; /* no answer of this call */
    for (int i = 0; fault == CONSOLE_DONE && i < PAPER_PEERS; i++) {
        struct paper_peer *p = &w->peers[i];
        if (p->state == PEER_CALLING) {
            p->state = PEER_ON;
            *out = p->socket = paper_give(w, PAPER_TCP, p);
            *peer = mps_console_in4(loopback, p->port);
            *local = mps_console_in4(loopback, local->port);
            return CONSOLE_DONE;
        }
    }
    return fault == CONSOLE_DONE ? CONSOLE_AGAIN : fault;
}

/* What a call on a connection says before it has done anything. */
static console_result paper_tcp_fault(struct paper *w, struct paper_socket *s) {
    console_result fault = w->down || s->peer->reset ? CONSOLE_FAILED : paper_fault(w);
    s->failed = fault != CONSOLE_DONE && fault != CONSOLE_AGAIN && fault != CONSOLE_ENDED;
    return fault;
}

/* What a wrong cast makes of an error code. */
static void paper_lie(struct paper *w, struct paper_socket *s, size_t most, size_t *count) {
    if (w->fault_one_in && paper_chance(w, 50 * w->fault_one_in) == 0) {
        s->failed = true;
        *count = most + 1;
    }
}

console_result console_read(void *user, console_socket socket, void *bytes, size_t capacity,
                            size_t *count) {
    struct paper *w = user;
    struct paper_socket *s = paper_use(w, socket, PAPER_TCP);
    struct paper_peer *p = s->peer;
    console_result fault = paper_tcp_fault(w, s);
    CHECK(capacity > 0 && !s->ended);
    s->ended = fault == CONSOLE_ENDED || (fault == CONSOLE_DONE && !p->out_count && p->fin);
    if (fault != CONSOLE_DONE || s->ended || !p->out_count) {
        return s->ended ? CONSOLE_ENDED : fault != CONSOLE_DONE ? fault : CONSOLE_AGAIN;
    }
    *count = p->out_count < capacity ? p->out_count : capacity;
    *count = w->fault_one_in ? 1 + paper_chance(w, (uint32_t)*count) : *count;
    memcpy(bytes, p->out, *count);
    p->out_count -= *count;
    memmove(p->out, p->out + *count, p->out_count);
    paper_lie(w, s, capacity, count);
    return CONSOLE_DONE;
}

console_result console_write(void *user, console_socket socket, const void *bytes,
                             size_t bytes_count, size_t *count) {
    struct paper *w = user;
    struct paper_socket *s = paper_use(w, socket, PAPER_TCP);
    struct paper_peer *p = s->peer;
    console_result fault = paper_tcp_fault(w, s);
    CHECK(bytes_count > 0 && bytes_count <= MPS_CONSOLE_BUFFER_BYTES && !s->shut);
    w->writes++;
    s->failed |= fault == CONSOLE_ENDED; /* no answer of this call */
    if (fault != CONSOLE_DONE || !p->window) {
        return fault != CONSOLE_DONE ? fault : CONSOLE_AGAIN;
    }
    *count = p->window < bytes_count ? p->window : bytes_count;
    *count = w->fault_one_in ? 1 + paper_chance(w, (uint32_t)*count) : *count;
    p->window -= *count;
    size_t kept = PAPER_HEARD - p->in_count < *count ? PAPER_HEARD - p->in_count : *count;
    memcpy(p->in + p->in_count, bytes, kept);
    p->in_count += kept;
    paper_lie(w, s, bytes_count, count);
    return CONSOLE_DONE;
}

void console_shutdown(void *user, console_socket socket) {
    struct paper_socket *s = paper_use(user, socket, PAPER_TCP);
    CHECK(!s->shut);
    s->shut = true;
    s->peer->heard_fin = true;
}

void console_close(void *user, console_socket socket, bool reset) {
    struct paper *w = user;
    CHECK(socket >= 0 && (uint32_t)socket < w->given);
    struct paper_socket *s = &w->sockets[(uint32_t)socket % PAPER_SOCKETS];
    CHECK(s->open);
    s->open = false;
    w->closed++;
    if (s->peer) {
        s->peer->heard_close = true;
        s->peer->was_reset = reset;
    }
}

console_result console_udp_read(void *user, console_socket socket, void *bytes, size_t capacity,
                                size_t *count, mps_address *from, mps_address *to) {
    struct paper *w = user;
    struct paper_socket *s = paper_use(w, socket, PAPER_UDP);
    console_result fault = w->down ? CONSOLE_LOST : paper_fault(w);
    s->failed = fault == CONSOLE_LOST || fault == CONSOLE_FULL || fault == CONSOLE_ENDED;
    if (fault != CONSOLE_DONE || w->in_count == 0) {
        return fault != CONSOLE_DONE ? fault : CONSOLE_AGAIN;
    }
    const struct paper_datagram *d = &w->in[--w->in_count];
    CHECK(capacity >= 1500);
    *count = d->count;
    memcpy(bytes, d->bytes, d->count);
    *from = d->from;
    *to = d->to;
    return CONSOLE_DONE;
}

console_result console_udp_write(void *user, console_socket socket, const void *bytes,
                                 size_t bytes_count, const mps_address *to,
                                 const mps_address *from) {
    struct paper *w = user;
    struct paper_socket *s = paper_use(w, socket, PAPER_UDP);
    console_result fault = w->down ? CONSOLE_LOST : paper_fault(w);
    s->failed = fault == CONSOLE_LOST;
    if (fault != CONSOLE_DONE || w->udp_full) {
        return fault != CONSOLE_DONE ? fault : CONSOLE_AGAIN;
    }
    CHECK(bytes_count > 0 && bytes_count <= 1472);
    w->sent = (struct paper_datagram){.count = bytes_count, .from = *from, .to = *to};
    memcpy(w->sent.bytes, bytes, bytes_count < 64 ? bytes_count : 64);
    w->sent_count++;
    return CONSOLE_DONE;
}

#endif

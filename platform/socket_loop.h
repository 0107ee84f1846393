/* socket_loop.h: opening, connections and the round of a port with sockets; part of posix.c and
   win32.c.  SPDX: MIT-0

   A round is: wait, take the time, read what is readable, mps_advance, then drain the output with
   one gather-write per connection, however many answers were made. Every wait is level-triggered,
   so whatever a round leaves behind is reported again and no socket needs a second read to see
   that there is no more. Nothing here allocates.

   An accepted socket lives in the slot whose index is the one in the core's handle, and events
   carry the whole handle. An event for a connection that was closed earlier in the same round
   therefore meets a slot with another handle, or none, and is dropped.

   Whoever includes this has included posix_system.h or win32_system.h, the datagrams and the back
   end of its system, and has three functions that are called here:

       signals_take(port, asked, n)   what was asked for since, at most n of enum asked
       signals_restore(port)          undoes mps_port_signals, if it was called
       mps_port_unix_ms               the date

     1 opening     2 connections     3 the round, life */
#ifndef MPSERVER_SOCKET_LOOP_H
#define MPSERVER_SOCKET_LOOP_H

#include "port.h"
#include "port_life.h"
#include "socket_clock.h"
#include "socket_datagrams.h"
#include "socket_events.h"
#include "sockets.h"

#include <stdio.h>
#include <string.h>

#define ACCEPTS_MAX 64                              /* a round; the rest is reported again */
#define ACCEPT_PAUSE_MS 100                         /* after running out of descriptors */
#define BUFFER_BYTES (RECEIVES_MAX * RECEIVE_BYTES) /* datagrams and streams share it */
#define WAIT_MS_MAX 3600000                         /* keeps the arithmetic in range */
#define WALL_EVERY_US 1000000
#define ERROR_TEXT_BYTES 160
#define END_SOON_MS 1500 /* for a drain when the system gives but a few seconds */

enum slot_state {
    SLOT_FREE,
    SLOT_OPEN,
    SLOT_SHUT /* all is sent and writing is shut down; reads on until the peer's FIN */
};

/* Small, because every connection that could be open has one. */
struct port_slot {
    uint64_t conn;
    mps_port_socket fd;
    uint8_t state;
    uint8_t want;  /* what the back end is told to watch for */
    bool eof;      /* the peer's FIN was read */
    uint8_t round; /* of the last send, cut to a byte: a false match only delays by a round */
};

/* == 1 opening ===================================================================================
   Binds before the server exists, and says in plain words why a port cannot be had. */

void mps_port_address_text(const mps_address *address, char *text) {
    address_text(address, text, MPS_PORT_ADDRESS_BYTES);
}

static bool opening_failed(struct mps_port *p, const char *kind, unsigned port, int code) {
    const char *where = p->options.bind ? p->options.bind : "all addresses";
    const char *advice = "";
    const char *why = bind_problem(code, &advice);
    char text[ERROR_TEXT_BYTES];
    error_text(code, text, sizeof text);
    snprintf(p->error, sizeof p->error, "cannot listen on %s port %u of %s: %s%s", kind, port,
             where, why ? why : text, advice);
    return false;
}

static bool failed(struct mps_port *p, const char *what) {
    char text[ERROR_TEXT_BYTES];
    error_text(system_error(), text, sizeof text);
    snprintf(p->error, sizeof p->error, "%s: %s", what, text);
    return false;
}

static void close_at(mps_port_socket *fd) {
    if (*fd != SOCKET_NONE) {
        socket_close(*fd);
    }
    *fd = SOCKET_NONE;
}

/* The datagram socket gets the same family as the listener. */
static bool sockets_open(struct mps_port *p, union name *name) {
    const struct mps_port_options *o = &p->options;
    p->listener = socket_bound(SOCK_STREAM, name, o->http_port);
    if (p->listener == SOCKET_NONE && !o->bind && error_is_no_in6(system_error())) {
        /* no IPv6 on this host */
        memset(name, 0, sizeof *name);
        name->in4.sin_family = AF_INET;
        p->listener = socket_bound(SOCK_STREAM, name, o->http_port);
    }
    if (p->listener == SOCKET_NONE) {
        return opening_failed(p, "TCP", o->http_port, system_error());
    }
    p->datagrams = socket_bound(SOCK_DGRAM, name, o->udp_port);
    return p->datagrams != SOCKET_NONE || opening_failed(p, "UDP", o->udp_port, system_error());
}

bool mps_port_open(struct mps_port *p, const struct mps_port_options *options) {
    union name name;
    *p = (struct mps_port){.options = *options};
    p->listener = p->datagrams = p->signals[0] = p->signals[1] = SOCKET_NONE;
    p->backend = -1;
    if (!sockets_begin()) {
        return failed(p, "the system has no network");
    }
    if (!address_parse(options->bind, &name)) {
        p->bind_invalid = true;
        snprintf(p->error, sizeof p->error,
                 "cannot bind to `%s`: give a numeric address, such as 192.168.1.5 or ::1",
                 options->bind);
    }
    if (p->bind_invalid || !sockets_open(p, &name)) {
        close_at(&p->listener);
        sockets_end();
        return false;
    }
    p->http = address_local(p->listener);
    p->udp = address_local(p->datagrams);
    p->listener_any = address_is_any(&p->http);
    return true;
}

/* One function sizes the block and carves it, so the two cannot disagree. */
struct layout {
    size_t slots, datagrams, events, buffer, bytes;
};

static size_t layout_add(struct layout *l, size_t bytes) {
    size_t at = l->bytes;
    l->bytes += (bytes + 15) & ~(size_t)15;
    return at;
}

static struct layout layout_of(uint32_t connections) {
    struct layout l = {0};
    l.slots = layout_add(&l, connections * sizeof(struct port_slot));
    l.datagrams = layout_add(&l, sizeof(struct port_datagrams));
    l.events = layout_add(&l, backend_bytes(connections));
    l.buffer = layout_add(&l, BUFFER_BYTES);
    return l;
}

size_t mps_port_memory_needed(uint32_t connections) {
    return layout_of(connections).bytes;
}

bool mps_port_attach(struct mps_port *p, void *memory, size_t bytes, uint32_t connections) {
    struct layout l = layout_of(connections);
    unsigned char *block = memory;
    if (bytes < l.bytes || (uintptr_t)memory % 16) {
        snprintf(p->error, sizeof p->error, "the port needs %llu bytes, 16-byte aligned",
                 (unsigned long long)l.bytes);
        return false;
    }
    p->slots_count = connections;
    p->slots = (void *)(block + l.slots);
    p->messages = (void *)(block + l.datagrams);
    p->backend_memory = block + l.events;
    p->buffer = block + l.buffer;
    memset(p->slots, 0, connections * sizeof *p->slots);
    return (datagrams_init(p) && backend_open(p) &&
            backend_add(p, p->listener, ID_LISTENER, WANT_READ) &&
            backend_add(p, p->datagrams, ID_DATAGRAMS, WANT_READ)) ||
           failed(p, "cannot wait for events");
}

/* == 2 connections ===============================================================================
   One slot per accepted socket. Only this section closes one, and whoever closes tells the core in
   the same breath, so the handle and the descriptor go together. */

static struct port_slot *slot_at(struct mps_port *p, uint64_t conn) {
    uint32_t index = (uint32_t)conn - 1; /* 0, none, becomes out of range */
    return index < p->slots_count ? &p->slots[index] : NULL;
}

static struct port_slot *slot_find(struct mps_port *p, uint64_t conn) {
    struct port_slot *slot = slot_at(p, conn);
    return slot && slot->state != SLOT_FREE && slot->conn == conn ? slot : NULL;
}

/* The slot is cleared before the core hears of it: the core may give the index away again. */
static void slot_close(struct mps_port *p, struct port_slot *slot) {
    mps_conn conn = {slot->conn};
    backend_forget(p, slot->fd, slot->conn);
    socket_close(slot->fd);
    *slot = (struct port_slot){.state = SLOT_FREE};
    mps_tcp_closed(p->server, conn, p->now);
}

static bool slot_unsent(struct mps_port *p, const struct port_slot *slot) {
    mps_span span;
    return mps_tcp_output(p->server, (mps_conn){slot->conn}, &span, 1) > 0;
}

/* Closes now. A socket that did not take all of what there was is reset: a cut answer must not look
   like a whole one. The core has dropped the rest already, so it cannot be asked. */
static void slot_abort(struct mps_port *p, struct port_slot *slot) {
    if (slot->want & WANT_WRITE) {
        socket_reset_at_close(slot->fd);
    }
    slot_close(p, slot);
}

/* True when the slot is still there. The system is called only when something changes. */
static bool slot_want(struct mps_port *p, struct port_slot *slot, uint8_t want) {
    if (want == slot->want) {
        return true;
    }
    slot->want = want;
    if (backend_want(p, slot->fd, slot->conn, want)) {
        return true;
    }
    mps_note_port_error(p->server, "watching a connection failed", system_error());
    slot_close(p, slot);
    return false;
}

static bool is_again(int code) {
    return error_is_full(code) || error_is_interruption(code);
}

/* Writing is shut down before closing, and the peer's bytes are read to their end: closing with
   bytes unread resets the connection and destroys the answer on its way (RFC 9112, 9.6). */
static void slot_finish(struct mps_port *p, struct port_slot *slot) {
    if (slot->eof) {
        slot_close(p, slot);
    } else if (slot->state == SLOT_OPEN) {
        slot->state = SLOT_SHUT;
        socket_shut_writing(slot->fd);
    }
}

static void slot_eof(struct mps_port *p, struct port_slot *slot) {
    slot->eof = true;
    mps_tcp_eof(p->server, (mps_conn){slot->conn}, p->now);
    if (slot->state == SLOT_SHUT) {
        slot_close(p, slot);
    } else {
        slot_want(p, slot, slot->want & (uint8_t)~WANT_READ);
    }
}

/* One read of at most what the core takes. With no room the bytes stay in the kernel, and the
   back end must not report them again: mps_next_output says when there is room. `broken` is
   reported without end, so whatever cannot be read off by then is closed. */
static void slot_read(struct mps_port *p, struct port_slot *slot, bool broken) {
    mps_conn conn = {slot->conn};
    size_t room = slot->eof ? 0 : mps_tcp_room(p->server, conn);
    if (room == 0) {
        if (broken) {
            slot_close(p, slot);
        } else {
            slot_want(p, slot, slot->want & (uint8_t)~WANT_READ);
        }
        return;
    }
    ptrdiff_t count = socket_read(slot->fd, p->buffer, room < BUFFER_BYTES ? room : BUFFER_BYTES);
    if (count > 0) {
        uint64_t begin = timed_begin(p);
        mps_tcp_input(p->server, conn, p->now, p->buffer, (size_t)count);
        timed_end(p, begin);
    } else if (count == 0) {
        slot_eof(p, slot);
    } else if (broken || !is_again(system_error())) {
        slot_close(p, slot);
    }
}

enum sending { SENT_ALL, SENT_SOME, SENT_BROKEN };

/* One gather-write of what is to be sent. The kernel copies, so the bytes are taken and no longer
   needed in one breath. With all spans in use there may be more behind them. */
static enum sending slot_send(struct mps_port *p, struct port_slot *slot) {
    mps_conn conn = {slot->conn};
    mps_span spans[SPANS_MAX];
    size_t count = mps_tcp_output(p->server, conn, spans, SPANS_MAX);
    size_t total = 0;
    if (count == 0) {
        return SENT_ALL;
    }
    slot->round = p->round;
    for (size_t i = 0; i < count; i++) {
        total += spans[i].count;
    }
    ptrdiff_t sent = socket_write(slot->fd, spans, count);
    if (sent < 0) {
        return is_again(system_error()) ? SENT_SOME : SENT_BROKEN;
    }
    mps_tcp_taken(p->server, conn, (size_t)sent);
    mps_tcp_sent(p->server, conn, p->now, (size_t)sent);
    return (size_t)sent == total && count < SPANS_MAX ? SENT_ALL : SENT_SOME;
}

/* Sends, resumes reading, and does what the fate asks. A socket that is being watched for
   writing is full: only `writable` sends on it. */
static void slot_flush(struct mps_port *p, struct port_slot *slot, bool writable) {
    mps_conn conn = {slot->conn};
    if (mps_tcp_fate(p->server, conn) == MPS_FATE_ABORT) {
        slot_abort(p, slot);
        return;
    }
    bool full = slot->want & WANT_WRITE;
    enum sending sending = full && !writable ? SENT_SOME : slot_send(p, slot);
    if (sending == SENT_BROKEN) {
        slot_close(p, slot);
        return;
    }
    uint8_t want = slot->want & WANT_READ;
    if (!want && !slot->eof && mps_tcp_room(p->server, conn) > 0) {
        want = WANT_READ;
    }
    want |= sending == SENT_SOME ? WANT_WRITE : 0;
    if (slot_want(p, slot, want) && sending == SENT_ALL &&
        mps_tcp_fate(p->server, conn) == MPS_FATE_FINISH && !slot_unsent(p, slot)) {
        slot_finish(p, slot);
    }
}

/* Writing comes first: it may make the room that reading needs. It may also close the slot. */
static void slot_event(struct mps_port *p, struct event e) {
    struct port_slot *slot = slot_find(p, e.id);
    if (slot && e.what & WANT_WRITE) {
        slot_flush(p, slot, true);
        slot = slot_find(p, e.id);
    }
    if (slot && e.what & (WANT_READ | IS_BROKEN)) {
        slot_read(p, slot, e.what & IS_BROKEN);
    }
}

/* The slot's index is the core's, which has just given it: it is free here too. */
static void slot_open(struct mps_port *p, mps_port_socket fd, const union name *name) {
    mps_address peer = address_from(name);
    mps_address local = p->listener_any ? address_local(fd) : p->http;
    mps_conn conn = mps_tcp_open(p->server, p->now, &peer, &local);
    struct port_slot *slot = slot_at(p, conn.id);
    if (!slot) { /* refused; or attached with fewer connections than the server has */
        socket_close(fd);
        if (conn.id) {
            mps_tcp_closed(p->server, conn, p->now);
        }
        return;
    }
    *slot = (struct port_slot){conn.id, fd, SLOT_OPEN, WANT_READ, false, 0};
    if (!backend_add(p, fd, conn.id, WANT_READ)) {
        mps_note_port_error(p->server, "watching a connection failed", system_error());
        slot_close(p, slot);
    }
}

/* Out of descriptors or memory: the connection stays in the backlog and would be reported for
   ever, so the listener sleeps a while. Told once for each run of failures. */
static void accept_pause(struct mps_port *p, int code) {
    if (!p->accept_failing) {
        mps_note_port_error(p->server, "accepting failed; raise the limit of open files", code);
    }
    p->accept_failing = true;
    p->accept_due = p->now + ACCEPT_PAUSE_MS * 1000;
    backend_want(p, p->listener, ID_LISTENER, 0);
}

static void accept_resume(struct mps_port *p) {
    if (p->accept_due && p->now >= p->accept_due) {
        p->accept_due = 0;
        backend_want(p, p->listener, ID_LISTENER, WANT_READ);
    }
}

static void accept_burst(struct mps_port *p) {
    for (int i = 0; i < ACCEPTS_MAX; i++) {
        union name name;
        socklen_t bytes = sizeof name;
        mps_port_socket fd = socket_accept(p->listener, &name.any, &bytes);
        int code = fd == SOCKET_NONE ? system_error() : 0;
        if (fd != SOCKET_NONE) {
            p->accept_failing = false;
            slot_open(p, fd, &name);
            if (budget_over(p, BUDGET_READING)) {
                return;
            }
        } else if (error_is_full(code)) {
            return;
        } else if (!error_is_of_peer(code)) {
            accept_pause(p, code);
            return;
        }
    }
}

/* == 3 the round, life ===========================================================================
   Everything that is ready goes in, then everything that has output is written once. */

/* Until the server is due, accepting resumes, or `limit_ms` is over. */
static int wait_ms(const struct mps_port *p, int limit_ms) {
    bool left = p->output_left || (p->datagrams_left && !p->datagrams_full);
    uint64_t due = left ? 0 : mps_deadline(p->server);
    if (p->accept_due && p->accept_due < due) {
        due = p->accept_due;
    }
    uint64_t us = due > p->now ? due - p->now : 0;
    uint64_t ms = us / 1000 + (us % 1000 != 0); /* up, or the last millisecond would spin */
    if (due == UINT64_MAX || ms > WAIT_MS_MAX) {
        ms = WAIT_MS_MAX;
    }
    return limit_ms >= 0 && (uint64_t)limit_ms < ms ? limit_ms : (int)ms;
}

/* Everything that the core has for the datagram socket. A full one is watched until it takes more;
   meanwhile the core keeps no queue, it makes newer datagrams later. */
static void datagrams_flush(struct mps_port *p) {
    if (!p->datagrams_full) {
        datagrams_send(p);
    }
    if (p->datagrams_full != p->datagrams_watched) {
        p->datagrams_watched = p->datagrams_full;
        backend_want(p, p->datagrams, ID_DATAGRAMS,
                     WANT_READ | (p->datagrams_full ? WANT_WRITE : 0));
    }
}

/* True when the slot was sent on in this round, could be again, and has more. */
static bool slot_had_turn(struct mps_port *p, const struct port_slot *slot) {
    return slot->round == p->round && !(slot->want & WANT_WRITE) && slot_unsent(p, slot);
}

/* One send for each connection. The core names a connection again when it makes more of a long
   answer: by then the others have had their turn, and the round ends, or a fast reader could keep
   it going. The one that was named waits for the next round. */
static void outputs_flush(struct mps_port *p) {
    mps_conn conn = {p->postponed};
    bool named = conn.id != 0;
    p->round++;
    p->output_left = true;
    p->postponed = 0;
    for (uint32_t i = 0; i < p->slots_count; i++) {
        if (!named && !mps_next_output(p->server, &conn)) {
            p->output_left = false;
            return;
        }
        named = false;
        struct port_slot *slot = slot_find(p, conn.id);
        if (slot && slot_had_turn(p, slot)) {
            p->postponed = conn.id;
            return;
        }
        if (slot) {
            slot_flush(p, slot, false);
            if (budget_over(p, BUDGET_WRITING)) {
                return;
            }
        }
    }
}

/* The monotonic clock is read twice a round (both reads stay in user space); the date about once a
   second, because the core carries it forward itself. */
static void clock_take(struct mps_port *p) {
    p->now = mps_port_now_us();
    if (p->now >= p->wall_due) {
        mps_wall_clock(p->server, p->now, mps_port_unix_ms());
        p->wall_due = p->now + WALL_EVERY_US;
    }
}

/* The first request to end is polite, the second one means it; less time makes a drain shorter. */
static void signal_handle(struct mps_port *p, enum asked asked) {
    if (asked == ASKED_RELOAD) {
        p->reload_soon = true;
    } else if (asked == ASKED_END && p->draining) {
        p->state = MPS_PORT_STOPPED;
    } else {
        p->draining = true;
        mps_drain(p->server, p->now, asked == ASKED_END_SOON ? END_SOON_MS : 0);
    }
}

static void signals_read(struct mps_port *p) {
    unsigned char asked[16];
    size_t count = signals_take(p, asked, sizeof asked);
    for (size_t i = 0; i < count; i++) {
        signal_handle(p, (enum asked)asked[i]);
    }
}

static void event_handle(struct mps_port *p, struct event e) {
    switch (e.id) {
    case ID_LISTENER:
        accept_burst(p);
        break;
    case ID_DATAGRAMS:
        p->datagrams_full &= !(e.what & WANT_WRITE);
        if (e.what & WANT_READ) {
            datagrams_read(p);
        }
        break;
    case ID_SIGNALS:
        signals_read(p);
        break;
    default:
        slot_event(p, e);
    }
}

/* What a budget has left of the last wait comes first, without another one: those at its head would
   be reported again and have their turn before the rest had any. An event that meanwhile says too
   much does no harm: reading finds nothing. */
static bool events_handle(struct mps_port *p, int timeout_ms) {
    if (p->handled == p->events) {
        int count = backend_wait(p, wait_ms(p, timeout_ms));
        p->handled = 0;
        p->events = count < 0 ? 0 : count;
        if (count < 0) {
            failed(p, "waiting for events failed");
            return false;
        }
    }
    clock_take(p);
    accept_resume(p);
    while (p->handled < p->events) {
        event_handle(p, backend_event(p, p->handled++));
        if (budget_over(p, BUDGET_READING)) {
            break;
        }
    }
    return true;
}

static mps_port_state round_make(struct mps_port *p, mps_server *server, int timeout_ms,
                                 uint32_t budget_us) {
    p->server = server;
    p->budget_us = budget_us;
    p->work = 0;
    clock_take(p);
    p->began_us = p->now;
    if (!events_handle(p, timeout_ms)) {
        return p->state = MPS_PORT_FAILED;
    }
    if (p->reload_soon) {
        p->reload_soon = false;
        if (p->options.on_reload) {
            p->options.on_reload(p->options.user);
        }
    }
    uint64_t begin = timed_begin(p);
    mps_advance(server, p->now);
    timed_end(p, begin);
    p->now = mps_port_now_us(); /* how long the answers took is told by when they leave */
    outputs_flush(p);
    datagrams_flush(p);
    if (p->state == MPS_PORT_RUNNING && mps_drained(server)) {
        p->state = MPS_PORT_DRAINED;
    }
    return p->state;
}

mps_port_state mps_port_step(struct mps_port *p, mps_server *server, int timeout_ms) {
    return round_make(p, server, timeout_ms, 0);
}

mps_port_state mps_port_frame(struct mps_port *p, mps_server *server, uint32_t budget_us) {
    return round_make(p, server, 0, budget_us);
}

/* The core is not told: this port does not call it again. */
void mps_port_close(struct mps_port *p) {
    bool open = p->listener != SOCKET_NONE;
    for (uint32_t i = 0; i < p->slots_count; i++) {
        if (p->slots[i].state != SLOT_FREE) {
            socket_close(p->slots[i].fd);
        }
    }
    p->slots_count = 0;
    signals_restore(p);
    close_at(&p->listener);
    close_at(&p->datagrams);
    close_at(&p->signals[0]);
    close_at(&p->signals[1]);
    backend_close(p);
    if (open) {
        sockets_end();
    }
}

#endif

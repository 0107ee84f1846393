/* template.c: mpserver on a console or an RTOS, over sockets of its own; template.h.  SPDX: MIT-0

   Complete as it is: what differs from system to system are the functions that template.h asks for
   under FILL THESE IN. Consoles know no signals, no errno and no waiting for many sockets at once,
   but they have a frame: so every socket is looked at in every step. With the few connections of a
   console that costs less than asking which are ready.

   A step is: take the time, read datagrams, read connections, accept, mps_advance, write what the
   core has to say to connections, then datagrams. The first half may take half of the budget, and
   each loop does one piece of work before it looks at the clock: whatever a frame has time for,
   there is input, output and progress in each.

     1 time, notes        3 connections     5 the step
     2 the two sockets    4 datagrams       6 life */
#include "template.h"

#include <string.h>

#define ACCEPTS_MAX 16  /* a step; the rest waits in the backlog */
#define RECEIVES_MAX 64 /* datagrams a step; the rest waits in the socket */
#define BATCHES_MAX 16  /* of datagrams sent in a step */
#define WRITES_MAX 16   /* on one connection, until the next one has its turn */
#define SPANS_MAX 16    /* gathered into one write */
#define ACCEPT_PAUSE_US 100000
#define REOPEN_EVERY_US 1000000
#define WALL_EVERY_US 1000000
#define CORE_ALIGN 16 /* of the block, and of the slots behind the core's part of it */

/* Whether we may still read, and whether we may still write. With neither it is closed, so there is
   no state for that. */
enum slot_state {
    SLOT_FREE,
    SLOT_OPEN,
    SLOT_HEARD, /* the peer's FIN was read; what it asked before is being answered */
    SLOT_SHUT   /* all is sent and FIN, too; reads on until the peer's FIN */
};

/* == 1 time, notes ============================================================================= */

static void clock_take(struct mps_console *p) {
    int64_t unix_ms;
    p->now = console_now_us(p->options.user);
    if (p->now >= p->wall_due) {
        p->wall_due = p->now + WALL_EVERY_US;
        if (console_unix_ms(p->options.user, &unix_ms)) {
            mps_wall_clock(p->server, p->now, unix_ms);
        }
    }
}

/* False: the budget is spent, and there is work left. */
static bool time_left(struct mps_console *p) {
    bool left = p->until == UINT64_MAX || console_now_us(p->options.user) < p->until;
    p->busy |= !left;
    return left;
}

static void note(struct mps_console *p, const char *what) {
    mps_note_port_error(p->server, what, console_error(p->options.user));
}

/* == 2 the two sockets ===========================================================================
   Both are opened before the server exists, because lobbies tell the port that was really given.
   When the system says that one is lost it is closed, and tried again once a second. */

static void socket_close(struct mps_console *p, console_socket *socket) {
    if (*socket != CONSOLE_NONE) {
        console_close(p->options.user, *socket, false);
    }
    *socket = CONSOLE_NONE;
}

/* console_listen and console_udp_open. */
typedef console_result opener(void *user, uint16_t port, console_socket *out, mps_address *bound);

/* What was there stays when it fails: lobbies go on telling the old port. */
static bool socket_open(struct mps_console *p, opener *open, uint16_t port, console_socket *out,
                        mps_address *bound) {
    mps_address address = {.port = 0};
    console_socket socket;
    if (open(p->options.user, port, &socket, &address) != CONSOLE_DONE) {
        return false;
    }
    *out = socket;
    *bound = address;
    return true;
}

/* On the port of the lost one, which clients know. That it was lost has been told. */
static void sockets_reopen(struct mps_console *p) {
    bool tcp = p->listener == CONSOLE_NONE, udp = p->datagrams == CONSOLE_NONE;
    if ((tcp || udp) && p->now >= p->reopen_due) {
        p->reopen_due = p->now + REOPEN_EVERY_US;
        if (tcp) {
            socket_open(p, console_listen, p->http.port, &p->listener, &p->http);
        }
        if (udp) {
            socket_open(p, console_udp_open, p->udp.port, &p->datagrams, &p->udp);
        }
    }
}

/* == 3 connections ===============================================================================
   One slot per accepted socket. Only slot_close closes one, and tells the core in the same breath,
   so the handle and the socket go together, and each goes once. */

/* The slot of a connection that is open, or NULL. A handle's low half is an index + 1. */
static struct mps_console_slot *slot_find(struct mps_console *p, mps_conn conn) {
    uint32_t index = (uint32_t)conn.id - 1;
    struct mps_console_slot *slot = index < p->slots_count ? &p->slots[index] : NULL;
    return slot && slot->state != SLOT_FREE && slot->conn == conn.id ? slot : NULL;
}

/* The slot is cleared before the core hears of it: the core may give the index away again. */
static void slot_close(struct mps_console *p, struct mps_console_slot *slot, bool reset) {
    mps_conn conn = {slot->conn};
    console_close(p->options.user, slot->socket, reset);
    *slot = (struct mps_console_slot){.state = SLOT_FREE};
    p->open_count--;
    mps_tcp_closed(p->server, conn, p->now);
}

static bool slot_has_output(struct mps_console *p, const struct mps_console_slot *slot) {
    mps_span span;
    return mps_tcp_output(p->server, (mps_conn){slot->conn}, &span, 1) > 0;
}

/* FIN. What was asked before is still answered. */
static void slot_heard(struct mps_console *p, struct mps_console_slot *slot) {
    mps_tcp_eof(p->server, (mps_conn){slot->conn}, p->now);
    if (slot->state == SLOT_SHUT) {
        slot_close(p, slot, false);
    } else {
        slot->state = SLOT_HEARD;
    }
}

/* One read of at most what the core takes. With no room the bytes stay in the system: so the peer
   is slowed down. After our FIN the core takes bytes and drops them, because a socket that is
   closed with bytes unread is reset, and the answer on its way destroyed (RFC 9112, 9.6). */
static void slot_read(struct mps_console *p, struct mps_console_slot *slot) {
    mps_conn conn = {slot->conn};
    size_t room = mps_tcp_room(p->server, conn), count = 0;
    size_t capacity = room < sizeof p->buffer ? room : sizeof p->buffer;
    if (slot->state == SLOT_HEARD || capacity == 0) {
        return;
    }
    switch (console_read(p->options.user, slot->socket, p->buffer, capacity, &count)) {
    case CONSOLE_DONE:
        if (count > capacity) {
            note(p, "console_read says it has read more than it was given room for");
            slot_close(p, slot, true);
        } else {
            mps_tcp_input(p->server, conn, p->now, p->buffer, count);
        }
        break;
    case CONSOLE_AGAIN:
        break;
    case CONSOLE_ENDED:
        slot_heard(p, slot);
        break;
    default:
        slot_close(p, slot, false);
    }
}

/* Is read in the next step: by then those who left before it came are gone. Fewer slots than the
   core has connections are a mistake that costs connections, not memory. */
static void slot_open(struct mps_console *p, console_socket socket, const mps_address *peer,
                      const mps_address *local) {
    mps_conn conn = mps_tcp_open(p->server, p->now, peer, local);
    uint32_t index = (uint32_t)conn.id - 1;
    if (index >= p->slots_count) { /* also 0 - 1: the core has refused it */
        console_close(p->options.user, socket, false);
        if (conn.id) {
            mps_tcp_closed(p->server, conn, p->now);
        }
        return;
    }
    p->slots[index] =
        (struct mps_console_slot){.conn = conn.id, .socket = socket, .state = SLOT_OPEN};
    p->open_count++;
    p->busy = true;
}

static void accept_some(struct mps_console *p) {
    if (p->listener == CONSOLE_NONE || p->now < p->accept_due) {
        return;
    }
    for (int i = 0; i < ACCEPTS_MAX && (i == 0 || time_left(p)); i++) {
        mps_address peer = {.port = 0}, local = p->http;
        console_socket socket;
        switch (console_accept(p->options.user, p->listener, &socket, &peer, &local)) {
        case CONSOLE_DONE:
            p->accept_due = 0;
            slot_open(p, socket, &peer, &local);
            break;
        case CONSOLE_FAILED:
            break;
        case CONSOLE_AGAIN:
            return;
        case CONSOLE_FULL: /* the connection waits; asking in every frame would not help it */
            if (!p->accept_due) {
                note(p, "accepting failed; lower `connections` to what the system has sockets for");
            }
            p->accept_due = p->now + ACCEPT_PAUSE_US;
            return;
        default:
            note(p, "the listening socket is lost; it is opened again as soon as that works");
            socket_close(p, &p->listener);
            return;
        }
    }
}

/* Spans into the buffer, one behind the other: one write is one packet, and few systems have a
   write for many pieces. Gives the bytes. */
static size_t gather(struct mps_console *p, const mps_span *spans, size_t spans_count) {
    size_t used = 0;
    for (size_t i = 0; i < spans_count; i++) {
        size_t room = sizeof p->buffer - used;
        size_t count = spans[i].count < room ? spans[i].count : room;
        memcpy(p->buffer + used, spans[i].bytes, count);
        used += count;
    }
    return used;
}

/* The system copies, so what it took is taken and no longer needed in one breath; the rest, if any,
   is gathered anew. */
static console_result slot_write(struct mps_console *p, struct mps_console_slot *slot) {
    mps_conn conn = {slot->conn};
    mps_span spans[SPANS_MAX];
    size_t bytes = gather(p, spans, mps_tcp_output(p->server, conn, spans, SPANS_MAX));
    size_t count = 0;
    console_result result = console_write(p->options.user, slot->socket, p->buffer, bytes, &count);
    if (result == CONSOLE_DONE && count <= bytes) {
        mps_tcp_taken(p->server, conn, count);
        mps_tcp_sent(p->server, conn, p->now, count);
    }
    return count > bytes ? CONSOLE_FAILED : result;
}

/* Writes until there is nothing left or the socket is full: what a member of a room says goes to
   all others, so more leaves than comes. False: the slot is gone. */
static bool slot_send(struct mps_console *p, struct mps_console_slot *slot) {
    console_result result = CONSOLE_DONE;
    slot->unsent = slot_has_output(p, slot);
    for (int i = 0; i < WRITES_MAX && slot->unsent && result == CONSOLE_DONE; i++) {
        result = slot_write(p, slot);
        slot->unsent = slot_has_output(p, slot);
    }
    p->busy |= slot->unsent && result == CONSOLE_DONE;
    if (result != CONSOLE_DONE && result != CONSOLE_AGAIN) {
        slot_close(p, slot, true);
        return false;
    }
    return true;
}

/* Does what the connection's fate asks. */
static void slot_flush(struct mps_console *p, struct mps_console_slot *slot) {
    mps_conn conn = {slot->conn};
    if (mps_tcp_fate(p->server, conn) == MPS_FATE_ABORT) {
        slot_close(p, slot, slot->unsent); /* the core has dropped what was left */
    } else if (slot_send(p, slot) && !slot->unsent &&
               mps_tcp_fate(p->server, conn) == MPS_FATE_FINISH) {
        if (slot->state == SLOT_HEARD) {
            slot_close(p, slot, false);
        } else if (slot->state == SLOT_OPEN) {
            slot->state = SLOT_SHUT;
            console_shutdown(p->options.user, slot->socket);
        }
    }
}

/* Every connection once, from where the last step ended. Writing comes first: it may make the room
   that reading needs. */
static void slots_poll(struct mps_console *p) {
    for (uint32_t i = 0; i < p->slots_count; i++) {
        struct mps_console_slot *slot = &p->slots[p->next_slot];
        p->next_slot = (p->next_slot + 1) % p->slots_count;
        if (slot->state == SLOT_FREE) {
            continue;
        }
        if (slot->unsent) {
            slot_flush(p, slot);
        }
        if (slot->state != SLOT_FREE) {
            slot_read(p, slot);
        }
        if (!time_left(p)) {
            return;
        }
    }
}

/* The connections that the core has something new for, the longest waiting first. It may name one
   again that was served; by then all had a turn, and the rest is for the next step. */
static void outputs_flush(struct mps_console *p) {
    uint32_t turns = p->open_count;
    mps_conn conn;
    for (uint32_t i = 0; i < turns; i++) {
        if (!mps_next_output(p->server, &conn)) {
            return;
        }
        struct mps_console_slot *slot = slot_find(p, conn);
        if (slot) {
            slot_flush(p, slot);
        }
        if (!time_left(p)) {
            return;
        }
    }
    p->busy |= turns > 0;
}

/* == 4 datagrams =============================================================================== */

static void datagrams_lost(struct mps_console *p) {
    note(p, "the datagram socket is lost; it is opened again as soon as that works");
    socket_close(p, &p->datagrams);
    p->out_sent = p->out_count;
}

static void datagrams_read(struct mps_console *p) {
    for (int i = 0; p->datagrams != CONSOLE_NONE && i < RECEIVES_MAX && (i == 0 || time_left(p));
         i++) {
        mps_address from = {.port = 0}, to = p->udp;
        size_t count = 0;
        switch (console_udp_read(p->options.user, p->datagrams, p->buffer, sizeof p->buffer, &count,
                                 &from, &to)) {
        case CONSOLE_DONE:
            if (count <= sizeof p->buffer) {
                mps_udp_input(p->server, p->now, &from, &to, p->buffer, count);
            }
            break;
        case CONSOLE_FAILED:
            break;
        case CONSOLE_AGAIN:
            return;
        default:
            datagrams_lost(p);
        }
    }
    p->busy = true;
}

/* Offers the rest of the batch. False: the socket takes no more now. */
static bool batch_send(struct mps_console *p) {
    while (p->out_sent < p->out_count) {
        const mps_datagram *d = &p->out[p->out_sent];
        size_t bytes = gather(p, d->spans, d->spans_count);
        console_result result =
            console_udp_write(p->options.user, p->datagrams, p->buffer, bytes, &d->to, &d->from);
        if (result == CONSOLE_LOST) {
            datagrams_lost(p);
        }
        if (result == CONSOLE_LOST || result == CONSOLE_AGAIN) {
            return false;
        }
        if (result != CONSOLE_DONE) { /* no route, a firewall: it might have been lost as well */
            note(p, "sending a datagram failed");
        }
        p->out_sent++;
    }
    return true;
}

/* What a full socket did not take is kept; the core keeps no queue behind it, it makes newer
   positions later. Without a socket it is not asked at all. */
static void datagrams_flush(struct mps_console *p) {
    if (p->datagrams == CONSOLE_NONE) {
        return;
    }
    for (int i = 0; i < BATCHES_MAX && (i == 0 || time_left(p)); i++) {
        if (p->out_sent == p->out_count) {
            p->out_sent = 0;
            p->out_count =
                (uint32_t)mps_udp_output(p->server, p->now, p->out, MPS_CONSOLE_DATAGRAMS);
        }
        if (p->out_count == 0 || !batch_send(p)) {
            return;
        }
    }
    p->busy = true;
}

/* == 5 the step ================================================================================ */

void mps_console_step(struct mps_console *p, uint32_t budget_us) {
    clock_take(p);
    uint64_t begin = p->now;
    p->busy = false;
    p->until = budget_us ? begin + budget_us / 2 : UINT64_MAX;
    sockets_reopen(p);
    datagrams_read(p);
    slots_poll(p);
    accept_some(p);
    mps_advance(p->server, p->now);
    clock_take(p); /* how long the answers took is told by when they leave */
    p->until = budget_us ? begin + budget_us : UINT64_MAX;
    outputs_flush(p);
    datagrams_flush(p);
}

uint64_t mps_console_deadline(const struct mps_console *p) {
    uint64_t due = p->busy ? 0 : mps_deadline(p->server);
    bool lost = p->listener == CONSOLE_NONE || p->datagrams == CONSOLE_NONE;
    due = lost && p->reopen_due < due ? p->reopen_due : due;
    return p->accept_due > p->now && p->accept_due < due ? p->accept_due : due;
}

/* == 6 life ==================================================================================== */

mps_address mps_console_in4(const uint8_t ip[4], uint16_t port) {
    mps_address address = {.ip = {[10] = 0xff, [11] = 0xff}, .port = port};
    memcpy(address.ip + 12, ip, 4);
    return address;
}

bool mps_console_get_in4(const mps_address *address, uint8_t ip[4]) {
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    memcpy(ip, address->ip + 12, 4);
    return memcmp(address->ip, mapped, sizeof mapped) == 0;
}

void mps_console_close(struct mps_console *p) {
    for (uint32_t i = 0; i < p->slots_count; i++) {
        if (p->slots[i].state != SLOT_FREE) {
            slot_close(p, &p->slots[i], false);
        }
    }
    socket_close(p, &p->listener);
    socket_close(p, &p->datagrams);
    p->out_sent = p->out_count;
    p->reopen_due = p->accept_due = 0;
}

bool mps_console_open(struct mps_console *p, const struct mps_console_options *options) {
    memset(p, 0, sizeof *p);
    p->options = *options;
    p->listener = p->datagrams = CONSOLE_NONE;
    if (!socket_open(p, console_listen, options->http_port, &p->listener, &p->http)) {
        p->error = "cannot listen on the TCP port: is the network up, and the port free?";
    } else if (!socket_open(p, console_udp_open, options->udp_port, &p->datagrams, &p->udp)) {
        p->error = "cannot open the UDP port: is the network up, and the port free?";
    }
    if (p->error) {
        p->error_code = console_error(options->user);
        mps_console_close(p);
    }
    return !p->error;
}

void mps_console_attach(struct mps_console *p, mps_server *server, struct mps_console_slot *slots,
                        uint32_t slots_count) {
    memset(slots, 0, slots_count * sizeof *slots);
    p->server = server;
    p->slots = slots;
    p->slots_count = slots_count;
}

/* Where the slots begin: behind the core. */
static size_t slots_at(const mps_config *config) {
    return (mps_memory_needed(config) + CORE_ALIGN - 1) / CORE_ALIGN * CORE_ALIGN;
}

size_t mps_console_memory_needed(const mps_config *config) {
    uint32_t slots = mps_connections_max(config);
    return slots ? slots_at(config) + slots * sizeof(struct mps_console_slot) : 0;
}

/* A generator that says it worked and left zeros has not. */
static bool entropy_take(struct mps_console *p, uint8_t entropy[32]) {
    static const uint8_t zeros[32];
    memset(entropy, 0, sizeof zeros);
    bool given = console_entropy(p->options.user, entropy);
    return given && memcmp(entropy, zeros, sizeof zeros) != 0;
}

/* NULL, or what is wrong. */
static const char *server_make(struct mps_console *p, const mps_config *config,
                               unsigned char *memory, size_t bytes) {
    uint8_t entropy[32];
    mps_server *server;
    if (mps_console_memory_needed(config) == 0) {
        return "the configuration is not valid: mps_config_check says which key, and why";
    }
    if (bytes < mps_console_memory_needed(config)) {
        return "the block is too small: hand over mps_console_memory_needed(&config) bytes";
    }
    if (!entropy_take(p, entropy)) {
        return "console_entropy gave no random bytes: fill it in with the system's cryptographic "
               "generator, never with a clock or a counter";
    }
    mps_error error = mps_create(&server, config, memory, bytes, entropy);
    if (error != MPS_OK) {
        return mps_error_text(error);
    }
    mps_console_attach(p, server, (void *)(memory + slots_at(config)), mps_connections_max(config));
    return NULL;
}

bool mps_console_start(struct mps_console *p, const struct mps_console_options *options,
                       const mps_config *config, void *memory, size_t bytes) {
    mps_config real = *config;
    if (!mps_console_open(p, options)) {
        return false;
    }
    real.http_port = p->http.port;
    real.udp_port = p->udp.port;
    p->error = server_make(p, &real, memory, bytes);
    if (p->error) {
        mps_console_close(p);
    }
    return !p->error;
}

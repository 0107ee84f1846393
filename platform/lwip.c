/* lwip.c: mpserver on lwIP's raw API; see lwip.h.  SPDX: MIT-0

   lwIP calls back from inside its input and its timers. A callback hands bytes to the core and
   notes which connection has something to do; mps_lwip_step does it, outside of lwIP, where a
   connection may be closed or aborted without anybody below still holding it. The one exception
   is a connection that is over on both sides: it is let go at once, because lwIP frees those that
   wait for stray segments (TIME_WAIT) without a word.

   An accepted connection lives in the slot whose index is the one in the core's handle.

     1 entropy, clock     4 TCP: opening
     2 addresses          5 datagrams
     3 TCP: connections   6 life */
#include "lwip.h"

#include "lwip/ip.h"
#include "lwip/netif.h"
#include "lwip/pbuf.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/tcp.h"
#include "lwip/udp.h"

#include <string.h>

#ifndef MPSERVER_LWIP_OPTS_H
#error "include lwip_opts.h from your lwipopts.h: sequence numbers would be guessable"
#endif
#if TCP_QUEUE_OOSEQ
#error "leave TCP_QUEUE_OOSEQ at 0: lwip_opts.h says what a peer could do with it"
#endif
#if TCP_SND_QUEUELEN < 8
#error "set TCP_SND_QUEUELEN to 8 or more: one segment takes up to four pbufs"
#endif
#if TCP_WND > 0xffff
#error "set TCP_WND to 65535 or less: a chain of pbufs counts its bytes in 16 bits"
#endif

#define SPANS_MAX 16            /* of one look at a connection's output */
#define WRITE_PBUFS 4           /* the most that one write adds to lwIP's queue */
#define DATAGRAMS_MAX 16        /* of one look at the core's */
#define DATAGRAM_BYTES 1472     /* the most that fits an Ethernet frame; longer ones arrive cut */
#define DATAGRAMS_A_STEP 256    /* the rest at once, behind what came in meanwhile */
#define DATAGRAM_RETRY_US 10000 /* after lwIP had no memory for one */
#define WALL_EVERY_US 1000000
#define HALF_OPEN_TICKS 2   /* half seconds that a handshake has, when others find no record */
#define CROWDED_US 5000000  /* after the last one that found none */
#define POLL_HALF_SECONDS 1 /* a connection that ran short of memory is tried again by then */

enum slot_state {
    SLOT_FREE,
    SLOT_OPEN,
    SLOT_SHUT /* our FIN is queued; reads on until the peer's */
};

struct lwip_slot {
    uint64_t conn;
    struct mps_lwip *port;
    struct tcp_pcb *pcb;
    struct pbuf *waiting; /* received, and the core has no room for it yet */
    uint32_t in_flight;   /* bytes of the core's memory that lwIP refers to */
    uint32_t due_next;    /* index + 1 */
    uint8_t state;
    bool due; /* stands in the queue, also while free */
    bool fin; /* the peer's FIN came, perhaps behind `waiting` */
    bool eof; /* and was told to the core */
};

struct lwip_datagrams {
    mps_datagram out[DATAGRAMS_MAX];
    size_t out_count, out_sent;
    unsigned char whole[DATAGRAM_BYTES]; /* of one that came in pieces */
};

/* == 1 entropy, clock ============================================================================
   lwIP's hooks have no argument for a port, as there is one stack in a program: hence the only
   static variable of this file. */

#define KEY_BYTES 16

static struct {
    uint8_t isn_key[KEY_BYTES], random_key[KEY_BYTES];
    uint64_t drawn; /* random numbers */
    struct mps_lwip_board board;
} stack;

static void clock_take(struct mps_lwip *p) {
    const struct mps_lwip_board *board = &p->board;
    p->now = board->now_us(board->user);
    if (board->unix_ms && p->now >= p->wall_due) {
        int64_t unix_ms = board->unix_ms(board->user);
        p->wall_due = p->now + WALL_EVERY_US;
        if (unix_ms) {
            mps_wall_clock(p->server, p->now, unix_ms);
        }
    }
}

uint32_t mps_lwip_random(void) {
    uint64_t number = stack.drawn++;
    return (uint32_t)mps_keyed_hash(stack.random_key, &number, sizeof number);
}

/* Memory that was never written reads as one byte throughout. */
static bool entropy_is_blank(const uint8_t *bytes, size_t count) {
    return memcmp(bytes, bytes + 1, count - 1) == 0;
}

/* A part as long as a key. */
static bool entropy_has_blank(const uint8_t *bytes, size_t count) {
    for (size_t at = 0; at + KEY_BYTES <= count; at++) {
        if (entropy_is_blank(bytes + at, KEY_BYTES)) {
            return true;
        }
    }
    return false;
}

bool mps_lwip_start(struct mps_lwip *p, const struct mps_lwip_board *board) {
    uint8_t bytes[MPS_LWIP_ENTROPY_BYTES] = {0};
    *p = (struct mps_lwip){.board = *board};
    if (!board->entropy || !board->entropy(board->user, bytes, sizeof bytes) ||
        entropy_has_blank(bytes, sizeof bytes)) {
        p->error = "the board has no entropy: every token could be guessed; give its hardware "
                   "generator or a fresh seed of 64 bytes";
        return false;
    }
    memcpy(p->entropy, bytes, sizeof p->entropy);
    memcpy(stack.isn_key, bytes + sizeof p->entropy, KEY_BYTES);
    memcpy(stack.random_key, bytes + sizeof p->entropy + KEY_BYTES, KEY_BYTES);
    stack.board = *board;
    return true;
}

bool mps_lwip_entropy(struct mps_lwip *p, uint8_t out[32]) {
    bool given = entropy_is_blank(p->entropy, sizeof p->entropy);
    memcpy(out, p->entropy, sizeof p->entropy);
    memset(p->entropy, 0, sizeof p->entropy);
    return !given;
}

/* == 2 addresses =============================================================================== */

static mps_address address_from(const void *ip, uint16_t port) {
    const ip_addr_t *from = ip;
    mps_address out = {.port = port};
#if LWIP_IPV6
    if (IP_IS_V6(from)) {
        memcpy(out.ip, ip_2_ip6(from)->addr, sizeof out.ip);
        out.scope = ip6_addr_zone(ip_2_ip6(from));
        return out;
    }
#endif
    out.ip[10] = out.ip[11] = 0xff;
    memcpy(out.ip + 12, &ip_2_ip4(from)->addr, 4);
    return out;
}

static bool address_is_any(const mps_address *address) {
    static const uint8_t any4[16] = {[10] = 0xff, [11] = 0xff}, any6[16];
    return memcmp(address->ip, any4, sizeof any4) == 0 ||
           memcmp(address->ip, any6, sizeof any6) == 0;
}

static ip_addr_t address_to(const mps_address *address) {
    ip_addr_t out;
    memset(&out, 0, sizeof out);
#if LWIP_IPV6
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (memcmp(address->ip, mapped, sizeof mapped) != 0) {
        IP_SET_TYPE_VAL(out, IPADDR_TYPE_V6);
        memcpy(ip_2_ip6(&out)->addr, address->ip, sizeof address->ip);
        ip6_addr_set_zone(ip_2_ip6(&out), (uint8_t)address->scope);
        return out;
    }
    IP_SET_TYPE_VAL(out, IPADDR_TYPE_V4);
#endif
    memcpy(&ip_2_ip4(&out)->addr, address->ip + 12, 4);
    return out;
}

/* M + F(addresses, ports, key): a clock of 4 us, and a start for each pair of ends that only the
   key tells (RFC 6528, 3). */
uint32_t mps_lwip_isn(const void *local_ip, uint16_t local_port, const void *remote_ip,
                      uint16_t remote_port) {
    mps_address local = address_from(local_ip, 0), remote = address_from(remote_ip, 0);
    uint8_t ends[36];
    memcpy(ends, local.ip, 16);
    memcpy(ends + 16, remote.ip, 16);
    memcpy(ends + 32, &local_port, 2);
    memcpy(ends + 34, &remote_port, 2);
    uint64_t now = stack.board.now_us ? stack.board.now_us(stack.board.user) : 0;
    return (uint32_t)(now / 4) + (uint32_t)mps_keyed_hash(stack.isn_key, ends, sizeof ends);
}

/* == 3 TCP: connections ==========================================================================
   The core's bytes are written without a copy. They must stay until they are acknowledged, so the
   core hears that a connection is gone only when nothing of it is in flight or lwIP has dropped
   it. */

static struct lwip_slot *slot_find(struct mps_lwip *p, uint64_t conn) {
    uint32_t index = (uint32_t)conn - 1; /* 0, none, becomes out of range */
    struct lwip_slot *slot = index < p->slots_count ? &p->slots[index] : NULL;
    return slot && slot->state != SLOT_FREE && slot->conn == conn ? slot : NULL;
}

/* Into the queue of those that mps_lwip_step looks after. */
static void slot_due(struct lwip_slot *slot) {
    struct mps_lwip *p = slot->port;
    uint32_t at = (uint32_t)(slot - p->slots) + 1;
    if (slot->due) {
        return;
    }
    slot->due = true;
    slot->due_next = 0;
    if (p->due_last) {
        p->slots[p->due_last - 1].due_next = at;
    } else {
        p->due_first = at;
    }
    p->due_last = at;
}

static struct lwip_slot *slot_due_take(struct mps_lwip *p) {
    struct lwip_slot *slot = p->due_first ? &p->slots[p->due_first - 1] : NULL;
    if (slot) {
        p->due_first = slot->due_next;
        p->due_last = p->due_first ? p->due_last : 0;
        slot->due = false;
    }
    return slot;
}

/* lwIP has let go of the connection, or is about to. Its place in the queue stays. */
static void slot_gone(struct lwip_slot *slot) {
    struct mps_lwip *p = slot->port;
    mps_conn conn = {slot->conn};
    if (slot->waiting) {
        pbuf_free(slot->waiting);
    }
    *slot = (struct lwip_slot){.port = p, .due = slot->due, .due_next = slot->due_next};
    mps_tcp_closed(p->server, conn, p->now);
}

/* lwIP calls back no more; what it does with the connection from here on is its own. */
static struct tcp_pcb *slot_detach(struct lwip_slot *slot) {
    struct tcp_pcb *pcb = slot->pcb;
    slot->pcb = NULL;
    tcp_arg(pcb, NULL);
    tcp_recv(pcb, NULL);
    tcp_sent(pcb, NULL);
    tcp_err(pcb, NULL);
    tcp_poll(pcb, NULL, 0);
    return pcb;
}

/* Never from a callback. lwIP drops the segments with the connection, then the core may have its
   memory back. */
static void slot_abort(struct lwip_slot *slot) {
    tcp_abort(slot_detach(slot));
    slot_gone(slot);
}

/* Both FINs are on their way and nothing is in flight; what may still wait for the core would only
   be thrown away. From callbacks, too: it frees nothing that lwIP is looking at. */
static bool slot_release(struct lwip_slot *slot) {
    if (slot->state != SLOT_SHUT || !slot->fin || slot->in_flight) {
        return false;
    }
    tcp_close(slot_detach(slot));
    slot_gone(slot);
    return true;
}

/* One of lwIP's pools or its heap ran out. Told once for each run of failures; time heals it. */
static void memory_short(struct mps_lwip *p, const char *what, err_t code) {
    if (!p->short_told) {
        mps_note_port_error(p->server, what, code);
    }
    p->short_told = true;
}

/* lwIP cuts what came before off the front, which may leave pbufs with nothing in them. */
static struct pbuf *chain_begin(struct pbuf *chain) {
    while (chain && chain->len == 0) {
        struct pbuf *empty = chain;
        chain = chain->next;
        empty->next = NULL;
        pbuf_free(empty);
    }
    return chain;
}

/* Behind the bytes of a pbuf of the pool that nobody else holds. */
static uint16_t tail_room(const struct pbuf *tail) {
    const uint8_t *start = (const uint8_t *)tail + LWIP_MEM_ALIGN_SIZE(sizeof *tail);
    const uint8_t *end = start + LWIP_MEM_ALIGN_SIZE(PBUF_POOL_BUFSIZE);
    bool ours = pbuf_match_type(tail, PBUF_POOL) && tail->ref == 1;
    return ours ? (uint16_t)(end - ((const uint8_t *)tail->payload + tail->len)) : 0;
}

/* What must wait fills the last pbuf before it takes another one: a peer that sends byte by byte
   would soon pin the whole pool, and nobody could be heard any more. */
static struct pbuf *chain_add(struct pbuf *waiting, struct pbuf *more) {
    struct pbuf *tail = waiting;
    while (tail->next) {
        tail = tail->next;
    }
    uint16_t room = tail_room(tail);
    uint16_t count = more->tot_len < room ? more->tot_len : room;
    pbuf_copy_partial(more, (uint8_t *)tail->payload + tail->len, count, 0);
    tail->len = (uint16_t)(tail->len + count);
    for (struct pbuf *p = waiting; p; p = p->next) {
        p->tot_len = (uint16_t)(p->tot_len + count);
    }
    more = pbuf_free_header(more, count);
    if (more) {
        pbuf_cat(waiting, more);
    }
    return waiting;
}

/* What waits goes to the core as far as there is room, each pbuf where it lies; the peer's window
   opens by as much as the core took. */
static void slot_feed(struct lwip_slot *slot) {
    struct mps_lwip *p = slot->port;
    mps_conn conn = {slot->conn};
    while ((slot->waiting = chain_begin(slot->waiting)) != NULL) {
        size_t room = mps_tcp_room(p->server, conn);
        uint16_t count = slot->waiting->len;
        if (room == 0) {
            return;
        }
        count = room < count ? (uint16_t)room : count;
        mps_tcp_input(p->server, conn, p->now, slot->waiting->payload, count);
        slot->waiting = pbuf_free_header(slot->waiting, count);
        tcp_recved(slot->pcb, count);
    }
    if (slot->fin && !slot->eof) {
        slot->eof = true;
        mps_tcp_eof(p->server, conn, p->now);
    }
}

/* Queues as much of a span as the window and lwIP's queue take, a segment at a time; true when that
   is all of it. A segment takes two pbufs, and may begin inside the one before. */
static bool slot_write(struct lwip_slot *slot, mps_span span) {
    struct tcp_pcb *pcb = slot->pcb;
    const char *bytes = span.bytes;
    while (span.count) {
        size_t room = LWIP_MIN(tcp_sndbuf(pcb), tcp_mss(pcb));
        uint16_t count = (uint16_t)LWIP_MIN(room, span.count);
        if (count == 0 || tcp_sndqueuelen(pcb) + WRITE_PBUFS > TCP_SND_QUEUELEN) {
            return false;
        }
        err_t code = tcp_write(pcb, bytes, count, 0);
        if (code != ERR_OK) {
            memory_short(slot->port,
                         "lwIP had no memory to send; raise MEM_SIZE, MEMP_NUM_PBUF "
                         "or MEMP_NUM_TCP_SEG",
                         code);
            return false;
        }
        slot->in_flight += count;
        mps_tcp_taken(slot->port->server, (mps_conn){slot->conn}, count);
        bytes += count;
        span.count -= count;
    }
    return true;
}

/* True when all there is has been queued. What is left goes out when something is acknowledged, or
   at the next poll. Every look takes what the last one gave, so the window bounds the looks. */
static bool slot_send(struct lwip_slot *slot) {
    mps_conn conn = {slot->conn};
    mps_span spans[SPANS_MAX];
    uint32_t before = slot->in_flight;
    bool taken = true;
    size_t count = SPANS_MAX;
    while (taken && count == SPANS_MAX) {
        count = mps_tcp_output(slot->port->server, conn, spans, SPANS_MAX);
        for (size_t i = 0; i < count && taken; i++) {
            taken = slot_write(slot, spans[i]);
        }
    }
    if (slot->in_flight != before) {
        slot->port->short_told = false;
        tcp_output(slot->pcb);
    }
    return taken;
}

/* Sends, reads on, and does what the fate asks. The slot may be gone afterwards. */
static void slot_flush(struct lwip_slot *slot) {
    mps_server *server = slot->port->server;
    mps_conn conn = {slot->conn};
    if (mps_tcp_fate(server, conn) != MPS_FATE_ABORT) {
        slot_feed(slot);
    }
    mps_fate fate = mps_tcp_fate(server, conn);
    if (fate == MPS_FATE_ABORT) {
        slot_abort(slot);
        return;
    }
    if (slot_send(slot) && fate == MPS_FATE_FINISH && slot->state == SLOT_OPEN) {
        slot->state = SLOT_SHUT;
        tcp_shutdown(slot->pcb, 0, 1); /* without memory for a FIN lwIP sends it later */
    }
    slot_release(slot);
}

/* == 4 TCP: opening ==============================================================================
   What lwIP calls back. `arg` is the slot; none of these closes or aborts but for slot_release. */

static err_t on_received(void *arg, struct tcp_pcb *pcb, struct pbuf *chain, err_t code) {
    struct lwip_slot *slot = arg;
    (void)pcb, (void)code; /* lwIP gives no other than ERR_OK */
    clock_take(slot->port);
    if (!chain) {
        slot->fin = true;
    } else {
        slot->waiting = slot->waiting ? chain_add(slot->waiting, chain) : chain;
    }
    slot_feed(slot);
    if (!slot_release(slot)) {
        slot_due(slot);
    }
    return ERR_OK;
}

static err_t on_sent(void *arg, struct tcp_pcb *pcb, uint16_t count) {
    struct lwip_slot *slot = arg;
    (void)pcb;
    clock_take(slot->port);
    /* Our own FIN counts as a byte in some versions. */
    count = count < slot->in_flight ? count : (uint16_t)slot->in_flight;
    slot->in_flight -= count;
    mps_tcp_sent(slot->port->server, (mps_conn){slot->conn}, slot->port->now, count);
    if (!slot_release(slot)) {
        slot_due(slot);
    }
    return ERR_OK;
}

/* For those that wait for memory: nothing of theirs may be under way to bring an answer. */
static err_t on_poll(void *arg, struct tcp_pcb *pcb) {
    mps_span span;
    struct lwip_slot *slot = arg;
    (void)pcb;
    if (mps_tcp_output(slot->port->server, (mps_conn){slot->conn}, &span, 1)) {
        slot_due(slot);
    }
    return ERR_OK;
}

/* Reset by the peer, given up after retransmissions, or dropped for another one. lwIP has freed
   everything of it. */
static void on_error(void *arg, err_t code) {
    struct lwip_slot *slot = arg;
    (void)code;
    clock_take(slot->port);
    slot->pcb = NULL;
    slot_gone(slot);
}

/* For a while after lwIP had no record for a newcomer, connections that have been half open for
   longer than a handshake takes make way, without a word to whoever asked for them: lwIP keeps each
   for 20 s, and a few forged SYNs in that time would keep everybody out. Not from lwIP's callbacks,
   which look at the same list. */
static void half_open_drop(const struct mps_lwip *p) {
    struct tcp_pcb *next;
    for (struct tcp_pcb *pcb = p->now < p->crowded_until ? tcp_active_pcbs : NULL; pcb;
         pcb = next) {
        next = pcb->next;
        if (pcb->state == SYN_RCVD && tcp_ticks - pcb->tmr >= HALF_OPEN_TICKS) {
            tcp_abandon(pcb, 0);
        }
    }
}

/* The slot's index is the core's, which has just given it: it is free here too. Refused, lwIP
   resets the connection by itself. */
static err_t on_accept(void *arg, struct tcp_pcb *pcb, err_t code) {
    struct mps_lwip *p = arg;
    clock_take(p);
    if (code != ERR_OK || !pcb) {
        p->crowded_until = p->now + CROWDED_US;
        memory_short(p, "lwIP had no record for a connection; raise MEMP_NUM_TCP_PCB", code);
        return ERR_VAL;
    }
    mps_address peer = address_from(&pcb->remote_ip, pcb->remote_port);
    mps_address local = address_from(&pcb->local_ip, pcb->local_port);
    mps_conn conn = mps_tcp_open(p->server, p->now, &peer, &local);
    uint32_t index = (uint32_t)conn.id - 1;
    if (index >= p->slots_count) { /* refused; or attached with too few connections */
        if (conn.id) {
            mps_tcp_closed(p->server, conn, p->now);
        }
        return ERR_MEM;
    }
    struct lwip_slot *slot = &p->slots[index];
    slot->conn = conn.id;
    slot->port = p;
    slot->pcb = pcb;
    slot->state = SLOT_OPEN;
    tcp_nagle_disable(pcb);
    tcp_arg(pcb, slot);
    tcp_recv(pcb, on_received);
    tcp_sent(pcb, on_sent);
    tcp_err(pcb, on_error);
    tcp_poll(pcb, on_poll, POLL_HALF_SECONDS);
    slot_due(slot); /* one that is only told 503 has its answer already */
    return ERR_OK;
}

/* == 5 datagrams =============================================================================== */

/* The address that it reached. Nobody can answer from a broadcast or multicast address, but from
   that of the network that it came in by. */
static mps_address datagram_to(const struct mps_lwip *p) {
    const ip_addr_t *to = ip_current_dest_addr();
    const struct netif *netif = ip_current_netif();
    if (ip_addr_isbroadcast(to, netif) || ip_addr_ismulticast(to)) {
#if LWIP_IPV4
        return address_from(&netif->ip_addr, p->udp.port);
#else
        return p->udp;
#endif
    }
    return address_from(to, p->udp.port);
}

static void on_datagram(void *arg, struct udp_pcb *pcb, struct pbuf *chain, const ip_addr_t *ip,
                        uint16_t port) {
    struct mps_lwip *p = arg;
    mps_address from = address_from(ip, port), to = datagram_to(p);
    void *bytes = chain->payload;
    uint16_t count = chain->tot_len;
    (void)pcb;
    clock_take(p);
    if (chain->next) {
        bytes = p->messages->whole;
        count = pbuf_copy_partial(chain, bytes, DATAGRAM_BYTES, 0);
    }
    mps_udp_input(p->server, p->now, &from, &to, bytes, count);
    pbuf_free(chain);
}

/* Its spans as a chain that refers to them: the driver reads them before the call returns. */
static struct pbuf *datagram_chain(const mps_datagram *datagram) {
    struct pbuf *chain = NULL;
    for (size_t i = 0; i < datagram->spans_count; i++) {
        mps_span span = datagram->spans[i];
        struct pbuf *next =
            pbuf_alloc_reference((void *)(uintptr_t)span.bytes, (uint16_t)span.count, PBUF_REF);
        if (!next) {
            if (chain) {
                pbuf_free(chain);
            }
            return NULL;
        }
        if (chain) {
            pbuf_cat(chain, next);
        } else {
            chain = next;
        }
    }
    return chain;
}

/* From the address that the peer knows, by the netif that leads to it. */
static err_t datagram_send(struct mps_lwip *p, const mps_datagram *datagram) {
    ip_addr_t to = address_to(&datagram->to), from = address_to(&datagram->from);
    struct pbuf *chain = datagram_chain(datagram);
    err_t code = chain ? ERR_OK : ERR_MEM;
    if (chain && address_is_any(&datagram->from)) {
        code = udp_sendto(p->datagrams, chain, &to, datagram->to.port);
    } else if (chain) {
        struct netif *netif = ip_route(&from, &to);
        code = netif ? udp_sendto_if_src(p->datagrams, chain, &to, datagram->to.port, netif, &from)
                     : ERR_RTE;
    }
    if (chain) {
        pbuf_free(chain);
    }
    return code;
}

/* True when the datagram is dealt with. Without memory it waits for a while, once: one that cannot
   go must not hold up the others. Any other error is about this one alone, and the network might
   have lost it as well. */
static bool datagram_done(struct mps_lwip *p, err_t code) {
    bool is_short = code == ERR_MEM || code == ERR_BUF;
    if (is_short && !p->retry_due) {
        memory_short(p, "lwIP had no memory for a datagram; raise MEM_SIZE or MEMP_NUM_PBUF", code);
        p->retry_due = p->now + DATAGRAM_RETRY_US;
        return false;
    }
    if (code != ERR_OK && !is_short) {
        mps_note_port_error(p->server, "sending a datagram failed", code);
    }
    p->retry_due = 0;
    return true;
}

/* True when there may be more. While it waits for memory the core keeps no queue, it makes newer
   ones later. */
static bool datagrams_send(struct mps_lwip *p) {
    struct lwip_datagrams *d = p->messages;
    for (int i = 0; i < DATAGRAMS_A_STEP && p->retry_due <= p->now; i++) {
        if (d->out_sent == d->out_count) {
            d->out_sent = 0;
            d->out_count = mps_udp_output(p->server, p->now, d->out, DATAGRAMS_MAX);
        }
        if (d->out_count == 0) {
            return false;
        }
        if (!datagram_done(p, datagram_send(p, &d->out[d->out_sent]))) {
            return false;
        }
        d->out_sent++;
    }
    return p->retry_due <= p->now;
}

/* == 6 life ==================================================================================== */

static bool open_failed(struct mps_lwip *p, const char *why) {
    p->error = why;
    mps_lwip_close(p);
    return false;
}

/* A game's clients may come by IPv4 and IPv6 alike. */
bool mps_lwip_open(struct mps_lwip *p, uint16_t http_port, uint16_t udp_port) {
    if (entropy_is_blank(p->entropy, sizeof p->entropy)) {
        return open_failed(p, "there is no entropy; call mps_lwip_start before lwip_init");
    }
    p->listener = tcp_new_ip_type(IPADDR_TYPE_ANY);
    p->datagrams = udp_new_ip_type(IPADDR_TYPE_ANY);
    if (!p->listener || !p->datagrams) {
        return open_failed(p, "lwIP has no records left; raise MEMP_NUM_TCP_PCB, MEMP_NUM_UDP_PCB");
    }
    if (tcp_bind(p->listener, IP_ANY_TYPE, http_port) != ERR_OK) {
        return open_failed(p, "the TCP port is taken; choose another http_port");
    }
    if (udp_bind(p->datagrams, IP_ANY_TYPE, udp_port) != ERR_OK) {
        return open_failed(p, "the UDP port is taken; choose another udp_port");
    }
    struct tcp_pcb *listener = tcp_listen(p->listener); /* frees the old one unless it fails */
    if (!listener) {
        return open_failed(p, "lwIP has no record to listen with; raise MEMP_NUM_TCP_PCB_LISTEN");
    }
    p->listener = listener;
    if (netif_default) {
        p->http = address_from(netif_ip_addr4(netif_default), 0);
    }
    p->udp = p->http;
    p->http.port = p->listener->local_port;
    p->udp.port = p->datagrams->local_port;
    return true;
}

/* One function sizes the block and carves it, so the two cannot disagree. */
struct layout {
    size_t slots, datagrams, bytes;
};

static struct layout layout_of(uint32_t connections) {
    struct layout l = {0};
    l.datagrams = connections * sizeof(struct lwip_slot);
    l.datagrams = (l.datagrams + 15) & ~(size_t)15;
    l.bytes = l.datagrams + sizeof(struct lwip_datagrams);
    return l;
}

size_t mps_lwip_memory_needed(uint32_t connections) {
    return layout_of(connections).bytes;
}

/* Callbacks find the server only from here on; before, connections are reset. */
bool mps_lwip_attach(struct mps_lwip *p, mps_server *server, void *memory, size_t bytes,
                     uint32_t connections) {
    struct layout l = layout_of(connections);
    unsigned char *block = memory;
    if (bytes < l.bytes || (uintptr_t)memory % 16) {
        p->error = "the port needs mps_lwip_memory_needed bytes, 16-byte aligned";
        return false;
    }
    memset(block, 0, l.bytes);
    p->server = server;
    p->slots = (void *)(block + l.slots);
    p->slots_count = connections;
    p->messages = (void *)(block + l.datagrams);
    tcp_arg(p->listener, p);
    tcp_accept(p->listener, on_accept);
    udp_recv(p->datagrams, on_datagram, p);
    return true;
}

/* Those that were due when the step began; what becomes due again meanwhile waits for the next. */
static void slots_due_flush(struct mps_lwip *p) {
    uint32_t last = p->due_last;
    for (uint32_t at = 0; last && at != last;) {
        struct lwip_slot *slot = slot_due_take(p);
        at = (uint32_t)(slot - p->slots) + 1;
        if (slot->state != SLOT_FREE) {
            slot_flush(slot);
        }
    }
}

/* Those that the core names, at most as many as there are, so that a fast reader cannot keep the
   others waiting. True when some may be left. */
static bool outputs_flush(struct mps_lwip *p) {
    mps_conn conn;
    for (uint32_t i = 0; i < p->slots_count; i++) {
        if (!mps_next_output(p->server, &conn)) {
            return false;
        }
        struct lwip_slot *slot = slot_find(p, conn.id);
        if (slot) {
            slot_flush(slot);
        }
    }
    return true;
}

uint64_t mps_lwip_step(struct mps_lwip *p) {
    clock_take(p);
    half_open_drop(p);
    mps_advance(p->server, p->now);
    slots_due_flush(p);
    bool left = outputs_flush(p);
    left |= datagrams_send(p);
    uint64_t due = left || p->due_first ? 0 : mps_deadline(p->server);
    return p->retry_due && p->retry_due < due ? p->retry_due : due;
}

/* The core is not told: this port does not call it again. */
void mps_lwip_close(struct mps_lwip *p) {
    for (uint32_t i = 0; i < p->slots_count; i++) {
        struct lwip_slot *slot = &p->slots[i];
        if (slot->state != SLOT_FREE) {
            tcp_abort(slot_detach(slot));
            if (slot->waiting) {
                pbuf_free(slot->waiting);
            }
        }
    }
    p->slots_count = 0;
    if (p->listener) {
        tcp_close(p->listener);
    }
    if (p->datagrams) {
        udp_remove(p->datagrams);
    }
    p->listener = NULL;
    p->datagrams = NULL;
}

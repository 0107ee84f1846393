/* The time of every single call into the core, without sockets: thread CPU time around each mps_*
   call of a driver that behaves as platform/posix.c does. Each scenario is played REPLAYS times on
   a fresh server with the same entropy and the same bytes; each call counts with its least time, so
   that what other programs did to the machine is left out. What is printed includes the cost of
   reading the clock, which is printed, too.

   Calls that change something are judged; calls that only ask (room, fate, spans, deadline) are
   counted on a line of their own, or their number would hide the others.
   Usage: calls [NAME]           plays the scenarios whose names contain NAME
          calls --journal FILE   makes the calls of a recording (platform/journal.h) instead, with
                                 what the recorded server was made of */
#define _POSIX_C_SOURCE 200809L
#include "../../mpserver.c"

#include "../../platform/replay.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define REPLAYS 5
#define PEERS_MAX 14000
#define ACCEPTS_MAX 64 /* a round, as in platform/posix.c */
#define ROUND_US 50
#define ROUNDS_MAX 4000000
#define SPANS_MAX 64
#define BUFFER_BYTES 94208 /* of one read, as in platform/posix.c */
#define MESSAGE_MAX 32768
#define HEARD_BYTES 16384
#define ASKS_TIMED 16 /* one in so many */
#define BAR_P9999_NS 100000
#define BAR_WORST_NS 1000000
#define BAR_CALLS 1000000
#define SLOWEST 5

/* Those before CALL_ASKS change something. */
enum kind {
    CALL_OPEN,
    CALL_INPUT,
    CALL_EOF,
    CALL_CLOSED,
    CALL_ADVANCE,
    CALL_DATAGRAM,
    CALL_DATAGRAMS_OUT,
    CALL_SENT,
    CALL_OTHER, /* of a recording: the date, draining, what only a game calls */
    CALL_ASKS,
    CALL_TAKEN = CALL_ASKS,
    CALL_NEXT,
    CALL_OUTPUT,
    CALL_ROOM,
    CALL_FATE,
    CALL_DEADLINE,
    CALL_NOTE
};

static const char *const kind_names[] = {
    "open",  "input", "eof",  "closed", "advance", "datagram", "datagrams out", "sent",
    "other", "taken", "next", "output", "room",    "fate",     "deadline",      "note"};

/* One call: its least time, and what it did. */
struct call {
    u32 ns;                                           /* least, once all replays are done */
    u32 work, frames, closed, bytes, all_ns[REPLAYS]; /* closed: slow readers */
    const char *what;
    u8 kind;
};

struct tape {
    struct call *calls;
    size_t count, capacity, at;
    u32 replay; /* the first records, the others are compared with it */
};

/* One client. */
struct peer {
    mps_conn conn;
    char *pending; /* what it wants to send and was not taken yet */
    size_t pending_bytes;
    u32 number; /* of user and address */
    u8 round;
    bool http;   /* stays with HTTP; else it upgrades at once */
    bool shakes; /* shakes hands when it is upgraded */
    bool stalls; /* stops reading when that was answered */
    bool stalled, asked, upgraded, acting, shut;
    const char *what;
};

struct bench {
    mps_server *s;
    char *raw, *block;
    size_t bytes;
    u64 now, postponed;
    u8 round;
    bool left; /* output that waits for the next round */
    struct peer *peers;
    u32 *by_slot; /* peer + 1 */
    u32 *actors, actors_count, *acted;
    char (*tokens)[512];
    const char *what;
    struct peer *heard_of; /* what it is sent is kept in `heard` */
    char heard[HEARD_BYTES];
    size_t heard_bytes;
    struct tape tape;
    u64 frames, closed, asks;
};

static int failures;

static const u8 entropy[32] = {3, 1, 4, 1, 5, 9, 2, 6};
static const char secret[] = "a secret of the call bench, 32 bytes and more";
static char frame_buffer[BUFFER_BYTES], input_buffer[BUFFER_BYTES];
static size_t frame_bytes;

/* A bench of something else than it says is worse than none. */
static void expect(const char *what, u64 got, u64 want) {
    if (got != want) {
        printf("FAIL %s: %llu, not %llu\n", what, (unsigned long long)got,
               (unsigned long long)want);
        failures++;
    }
}

static void give_up(const char *why) {
    printf("FAIL %s\n", why);
    exit(1);
}

static void *memory(size_t count, size_t bytes) {
    void *at = calloc(count, bytes);
    if (!at) {
        give_up("out of memory");
    }
    return at;
}

/* -- the clock and the tape -- */

static u64 cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (u64)t.tv_sec * 1000000000u + (u64)t.tv_nsec;
}

/* 0: this one is not timed. */
static u64 ask_begin(struct bench *b) {
    return b->asks++ % ASKS_TIMED ? 0 : cpu_ns();
}

static u64 frames_out(const mps_server *s) {
    u64 sum = 0;
    for (u32 i = 0; i < EVENT_COUNT; i++) {
        sum += s->kit.metrics.messages_out[i];
    }
    return sum;
}

/* First seen: what it did. Each time: how long it took. */
static void tape_note(struct bench *b, enum kind kind, size_t bytes, u64 ns) {
    struct tape *t = &b->tape;
    if (t->replay) {
        if (t->at >= t->count || t->calls[t->at].kind != kind || t->calls[t->at].bytes != bytes) {
            give_up("a replay made other calls");
        }
        t->calls[t->at++].all_ns[t->replay] = (u32)ns;
        return;
    }
    if (t->count == t->capacity) {
        t->capacity = t->capacity ? 2 * t->capacity : 1 << 20;
        t->calls = realloc(t->calls, t->capacity * sizeof *t->calls);
        if (!t->calls) {
            give_up("out of memory");
        }
    }
    u64 frames = kind < CALL_ASKS ? frames_out(b->s) : b->frames;
    u64 closed = b->s->kit.metrics.counters[COUNTER_CLOSED_SLOW];
    t->calls[t->count++] = (struct call){.all_ns = {(u32)ns},
                                         .work = kind < CALL_SENT ? b->s->kit.work : 0,
                                         .frames = (u32)(frames - b->frames),
                                         .closed = (u32)(closed - b->closed),
                                         .bytes = (u32)bytes,
                                         .what = b->what,
                                         .kind = (u8)kind};
    b->frames = frames;
    b->closed = closed;
}

/* From one reading to the next, which is what each number has in it. The mean, since single
   readings may stand still. */
static double clock_cost_us(void) {
    u64 begin = cpu_ns();
    for (u32 i = 0; i < 100000; i++) {
        cpu_ns();
    }
    return (double)(cpu_ns() - begin) / 100000 / 1e3;
}

static void ask_end(struct bench *b, enum kind kind, size_t bytes, u64 begin) {
    if (begin) {
        tape_note(b, kind, bytes, cpu_ns() - begin);
    }
}

/* -- calls -- */

static mps_conn call_open(struct bench *b, const mps_address *from, const mps_address *to) {
    u64 begin = cpu_ns();
    mps_conn conn = mps_tcp_open(b->s, b->now, from, to);
    tape_note(b, CALL_OPEN, 0, cpu_ns() - begin);
    return conn;
}

static void call_input(struct bench *b, const struct peer *p, char *bytes, size_t count) {
    u64 begin = cpu_ns();
    mps_error error = mps_tcp_input(b->s, p->conn, b->now, bytes, count);
    u64 ns = cpu_ns() - begin;
    const char *what = b->what;
    b->what = p->what ? p->what : what;
    tape_note(b, CALL_INPUT, count, ns);
    b->what = what;
    if (error) {
        give_up("input was refused");
    }
}

static void call_eof(struct bench *b, const struct peer *p) {
    u64 begin = cpu_ns();
    mps_tcp_eof(b->s, p->conn, b->now);
    tape_note(b, CALL_EOF, 0, cpu_ns() - begin);
}

static void call_closed(struct bench *b, const struct peer *p) {
    u64 begin = cpu_ns();
    mps_tcp_closed(b->s, p->conn, b->now);
    tape_note(b, CALL_CLOSED, 0, cpu_ns() - begin);
}

static void call_advance(struct bench *b) {
    u64 begin = cpu_ns();
    mps_advance(b->s, b->now);
    tape_note(b, CALL_ADVANCE, 0, cpu_ns() - begin);
}

static bool call_next(struct bench *b, mps_conn *conn) {
    u64 begin = ask_begin(b);
    bool found = mps_next_output(b->s, conn);
    ask_end(b, CALL_NEXT, 0, begin);
    return found;
}

static size_t call_output(struct bench *b, const struct peer *p, mps_span *spans, size_t max) {
    u64 begin = ask_begin(b);
    size_t count = mps_tcp_output(b->s, p->conn, spans, max);
    ask_end(b, CALL_OUTPUT, count, begin);
    return count;
}

static void call_sent(struct bench *b, const struct peer *p, size_t count) {
    u64 begin = ask_begin(b);
    mps_tcp_taken(b->s, p->conn, count);
    ask_end(b, CALL_TAKEN, count, begin);
    begin = cpu_ns();
    mps_tcp_sent(b->s, p->conn, b->now, count);
    tape_note(b, CALL_SENT, count, cpu_ns() - begin);
}

static size_t call_room(struct bench *b, const struct peer *p) {
    u64 begin = ask_begin(b);
    size_t room = mps_tcp_room(b->s, p->conn);
    ask_end(b, CALL_ROOM, room, begin);
    return room;
}

static mps_fate call_fate(struct bench *b, const struct peer *p) {
    u64 begin = ask_begin(b);
    mps_fate fate = mps_tcp_fate(b->s, p->conn);
    ask_end(b, CALL_FATE, 0, begin);
    return fate;
}

static u64 call_deadline(struct bench *b) {
    u64 begin = ask_begin(b);
    u64 due = mps_deadline(b->s);
    ask_end(b, CALL_DEADLINE, 0, begin);
    return due;
}

/* -- peers -- */

/* It has something to do in the next round. */
static void peer_acts(struct bench *b, struct peer *p) {
    if (!p->acting) {
        p->acting = true;
        b->actors[b->actors_count++] = (u32)(p - b->peers);
    }
}

static void peer_forget(struct bench *b, struct peer *p) {
    b->by_slot[(u32)p->conn.id] = 0;
    free(p->pending);
    p->pending = NULL;
    p->pending_bytes = 0;
    p->conn.id = 0;
}

static void peer_close(struct bench *b, struct peer *p) {
    if (p->conn.id) {
        call_closed(b, p);
        peer_forget(b, p);
    }
}

/* As one read does: at most what the core takes. The rest waits. */
static void peer_read(struct bench *b, struct peer *p) {
    size_t room = p->conn.id && p->pending ? call_room(b, p) : 0;
    size_t count = size_min(size_min(room, p->pending_bytes), BUFFER_BYTES);
    if (!count) {
        return;
    }
    memcpy(input_buffer, p->pending, count);
    p->pending_bytes -= count;
    memmove(p->pending, p->pending + count, p->pending_bytes);
    if (p->pending_bytes) {
        peer_acts(b, p);
    } else {
        free(p->pending);
        p->pending = NULL;
    }
    call_input(b, p, input_buffer, count);
}

static void peer_send(struct bench *b, struct peer *p, const char *what, const char *bytes,
                      size_t count) {
    p->pending = realloc(p->pending, p->pending_bytes + count);
    if (!p->pending) {
        give_up("out of memory");
    }
    memcpy(p->pending + p->pending_bytes, bytes, count);
    p->pending_bytes += count;
    p->what = what;
    peer_acts(b, p);
}

/* A masked text frame (RFC 6455, 5.2) behind those that wait in frame_buffer. */
__attribute__((format(printf, 1, 2))) static void frame(const char *format, ...) {
    static const u8 mask[4] = {0x37, 0xFA, 0x21, 0x3D};
    char text[MESSAGE_MAX];
    va_list list;
    va_start(list, format);
    size_t bytes = (size_t)vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (bytes >= sizeof text || frame_bytes + bytes + 8 > sizeof frame_buffer) {
        give_up("a message is too long");
    }
    u8 *at = (u8 *)frame_buffer + frame_bytes;
    *at++ = 0x81;
    if (bytes < 126) {
        *at++ = (u8)(0x80 | bytes);
    } else {
        *at++ = 0xFE;
        *at++ = (u8)(bytes >> 8);
        *at++ = (u8)bytes;
    }
    memcpy(at, mask, 4);
    at += 4;
    for (size_t i = 0; i < bytes; i++) {
        *at++ = (u8)text[i] ^ mask[i % 4];
    }
    frame_bytes = (size_t)((char *)at - frame_buffer);
}

/* All frames that were made, in one read. */
static void frames_send(struct bench *b, struct peer *p, const char *what) {
    peer_send(b, p, what, frame_buffer, frame_bytes);
    frame_bytes = 0;
}

static void peer_ask(struct bench *b, struct peer *p, const char *what, const char *method,
                     const char *target, const char *body) {
    char text[MESSAGE_MAX];
    int bytes = snprintf(text, sizeof text,
                         "%s %s HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\n"
                         "Content-Length: %zu\r\n\r\n%s",
                         method, target, b->tokens[p->number], strlen(body), body);
    peer_send(b, p, what, text, (size_t)bytes);
}

static void peer_upgrade(struct bench *b, struct peer *p) {
    char text[1024];
    int bytes = snprintf(text, sizeof text,
                         "GET /ws?token=%s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                         "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                         b->tokens[p->number]);
    p->asked = true;
    peer_send(b, p, "upgrade", text, (size_t)bytes);
}

static void peer_shake(struct bench *b, struct peer *p) {
    p->shakes = false;
    frame("{\"type\":\"handshake\",\"data\":{\"version\":\"1\",\"name\":\"player %u\"}}",
          p->number);
    frames_send(b, p, "handshake");
}

/* Opens peer `i`, from an address of its own. */
static struct peer *peer_open(struct bench *b, u32 i, bool http) {
    struct peer *p = &b->peers[i];
    mps_address from = {{0}, 0, 0}, to = {{0}, 0, 0};
    u32 number = p->number;
    bool acting = p->acting;
    *p = (struct peer){.number = number, .http = http, .acting = acting};
    from.ip[10] = from.ip[11] = to.ip[10] = to.ip[11] = 0xFF; /* IPv4, mapped */
    from.ip[12] = 10;
    from.ip[13] = (u8)(i >> 16);
    from.ip[14] = (u8)(i >> 8);
    from.ip[15] = (u8)i;
    to.ip[12] = 192;
    p->conn = call_open(b, &from, &to);
    if (p->conn.id) {
        b->by_slot[(u32)p->conn.id] = i + 1;
    }
    return p;
}

/* What came for it: all that matters here is how an answer begins. */
static void peer_look(struct bench *b, struct peer *p, const char *bytes, size_t count) {
    if (p == b->heard_of) {
        size_t part = size_min(count, HEARD_BYTES - 1 - b->heard_bytes);
        memcpy(b->heard + b->heard_bytes, bytes, part);
        b->heard_bytes += part;
        b->heard[b->heard_bytes] = 0;
    }
    if (!p->upgraded && count > 12 && memcmp(bytes, "HTTP/1.1 ", 9) == 0) {
        p->upgraded = memcmp(bytes + 9, "101", 3) == 0;
        if (p->upgraded && p->shakes) {
            peer_acts(b, p);
        }
    } else if (p->upgraded && p->stalls) {
        p->stalled = true; /* it has heard that its handshake was accepted */
    }
}

/* One gather-write: true when all is sent. */
static bool peer_write(struct bench *b, struct peer *p) {
    mps_span spans[SPANS_MAX];
    size_t total = 0, count = p->stalled ? 0 : call_output(b, p, spans, SPANS_MAX);
    if (!count) {
        return !p->stalled;
    }
    p->round = b->round;
    for (size_t i = 0; i < count; i++) {
        peer_look(b, p, spans[i].bytes, spans[i].count);
        total += spans[i].count;
    }
    call_sent(b, p, total);
    return count < SPANS_MAX;
}

static void peer_flush(struct bench *b, struct peer *p) {
    if (call_fate(b, p) == MPS_FATE_ABORT) {
        peer_close(b, p);
        return;
    }
    bool all = peer_write(b, p);
    mps_span span;
    if (p->pending && !p->acting && call_room(b, p)) {
        peer_acts(b, p);
    }
    if (all && call_fate(b, p) == MPS_FATE_FINISH && !call_output(b, p, &span, 1)) {
        p->shut = true; /* the peer sees FIN and closes */
        peer_acts(b, p);
    }
}

static void peer_act(struct bench *b, struct peer *p) {
    p->acting = false;
    if (p->conn.id && p->shut) {
        call_eof(b, p);
        peer_close(b, p);
    } else if (p->conn.id && !p->http && !p->asked) {
        peer_upgrade(b, p);
        peer_read(b, p);
    } else {
        if (p->conn.id && p->upgraded && p->shakes) {
            peer_shake(b, p);
        }
        peer_read(b, p);
    }
}

/* -- rounds -- */

/* As outputs_flush of platform/posix.c: one write for each connection in a round. */
static void bench_flush(struct bench *b) {
    mps_conn conn = {b->postponed};
    bool named = conn.id != 0;
    mps_span span;
    b->round++;
    b->left = true;
    b->postponed = 0;
    for (u32 i = 0; i < PEERS_MAX; i++) {
        if (!named && !call_next(b, &conn)) {
            b->left = false;
            return;
        }
        named = false;
        u32 at = b->by_slot[(u32)conn.id];
        struct peer *p = at ? &b->peers[at - 1] : NULL;
        if (!p || p->conn.id != conn.id) {
            continue;
        }
        if (p->round == b->round && !p->stalled && call_output(b, p, &span, 1)) {
            b->postponed = conn.id;
            return;
        }
        peer_flush(b, p);
    }
}

static void bench_round(struct bench *b) {
    u32 *acted = b->actors, count = b->actors_count;
    b->actors = b->acted;
    b->acted = acted;
    b->actors_count = 0;
    for (u32 i = 0; i < count; i++) {
        peer_act(b, &b->peers[acted[i]]);
    }
    call_advance(b);
    b->now += ROUND_US;
    bench_flush(b);
}

/* Until nobody has anything to do at once. */
static void bench_quiet(struct bench *b) {
    for (u32 i = 0; i < ROUNDS_MAX; i++) {
        if (call_deadline(b) > b->now && !b->actors_count && !b->left) {
            return;
        }
        bench_round(b);
    }
    give_up("busy for ever");
}

static void bench_sleep(struct bench *b, u64 us) {
    u64 end = b->now + us;
    for (u32 i = 0; i < ROUNDS_MAX; i++) {
        u64 due = call_deadline(b);
        bool busy = b->actors_count || b->left;
        if (due > end && !busy) {
            b->now = end;
            return;
        }
        b->now = due > b->now && !busy ? due : b->now;
        bench_round(b);
    }
    give_up("busy for ever");
}

/* Opens sockets, as many a round as the port accepts. Every `stalls`th stops reading when it has
   shaken hands; 0: none. */
static void bench_login(struct bench *b, u32 from, u32 count, bool shakes, u32 stalls) {
    for (u32 i = 0; i < count; i++) {
        struct peer *p = peer_open(b, from + i, false);
        p->shakes = shakes;
        p->stalls = stalls && i % stalls == 0;
        peer_acts(b, p);
        if (i % ACCEPTS_MAX == ACCEPTS_MAX - 1) {
            bench_round(b);
        }
    }
    bench_quiet(b);
}

/* Sends what was framed for it, and goes on when as many have spoken as one wait reports. */
static void bench_say(struct bench *b, u32 i, const char *what) {
    frames_send(b, &b->peers[i], what);
    if (b->actors_count >= 256) {
        bench_round(b);
    }
}

/* What is copied to each member counts more than how many there are: about as long as
   fanout_bytes_max lets it be. */
static void say_long(struct bench *b, u32 i, const char *what) {
    char text[3000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    frame("{\"type\":\"rpc_call\",\"data\":{\"method\":\"x\",\"args\":\"%s\"}}", text);
    bench_say(b, i, what);
}

static void bench_hear(struct bench *b, u32 i) {
    b->heard_of = &b->peers[i];
    b->heard_bytes = 0;
    b->heard[0] = 0;
}

/* -- scenario: storms -- */

static u64 bench_count(const struct bench *b, enum counter counter) {
    return b->s->kit.metrics.counters[counter];
}

#define STORM 10000

static void storm_all_read(struct bench *b) {
    b->what = "login storm";
    bench_login(b, 0, STORM, true, 0);
    expect("sockets", b->s->presence.listeners.count, STORM);
    expect("slow", bench_count(b, COUNTER_CLOSED_SLOW), 0);
    expect("accepted", b->s->kit.metrics.messages_out[EVENT_HANDSHAKE_ACCEPTED], STORM);
}

static void storm_stalled(struct bench *b) {
    b->what = "login storm, every tenth stalls";
    bench_login(b, 0, STORM, true, 10);
    expect("opened", bench_count(b, COUNTER_SOCKETS_OPENED), STORM);
    b->what = "exodus of half";
    for (u32 i = 0; i < STORM; i += 2) {
        peer_close(b, &b->peers[i]);
    }
    bench_quiet(b);
    b->what = "exodus of the rest";
    for (u32 i = 0; i < STORM; i++) {
        peer_close(b, &b->peers[i]);
    }
    bench_quiet(b);
    expect("closed", bench_count(b, COUNTER_SOCKETS_CLOSED), STORM);
    expect("users", b->s->presence.users.used, 0);
    expect("chunks", b->s->conns.chunks_used, 0);
}

/* -- scenario: rooms -- */

#define ROOMS 1000
#define ROOM_MEMBERS 10
#define BIG_MEMBERS 1001
#define BIG (ROOMS * ROOM_MEMBERS) /* the first member of the big room */
#define LAST (BIG + BIG_MEMBERS)   /* speaks HTTP */
#define STATE                                                                                   \
    "{\"type\":\"player_state\",\"data\":{\"position\":[12.5,0.25,%u],\"rotation\":[0,1,0,%u]," \
    "\"velocity\":[0.5,0,-1.25]}}"
#define RPC \
    "{\"type\":\"rpc_call\",\"data\":{\"targetPeer\":%u,\"method\":\"fire\",\"args\":[%u,\"x\"]}}"
#define CHAT \
    "{\"type\":\"chat\",\"data\":{\"text\":\"hello number %u, how is it going over there?\"}}"

static void rooms_small(struct bench *b) {
    b->what = "rooms of 10";
    for (u32 i = 0; i < BIG; i++) {
        frame("{\"type\":\"quick_join\",\"data\":{\"gamemode\":\"mode %u\",\"maxPlayers\":10,"
              "\"version\":\"1\",\"name\":\"player %u\"}}",
              i / ROOM_MEMBERS, i);
        bench_say(b, i, "quick_join, 1,000 rooms of 10");
    }
    bench_quiet(b);
    expect("rooms", b->s->rooms.pool.used, ROOMS);
    expect("seats", b->s->rooms.seats.used, BIG);
    for (u32 i = 0; i < 5 * BIG; i++) {
        if (i / BIG % 4 == 0) {
            frame(CHAT, i);
        } else if (i / BIG % 4 == 1) {
            frame(RPC, 0, i);
        } else {
            frame(STATE, i, i);
        }
        bench_say(b, i % BIG, "relay in rooms of 10");
    }
    bench_quiet(b);
    for (u32 i = 0; i < BIG; i += 3) {
        frame("{\"type\":\"leave_room\"}");
        frame("{\"type\":\"quick_join\",\"data\":{\"gamemode\":\"mode %u\",\"version\":\"1\","
              "\"name\":\"player %u\"}}",
              i / ROOM_MEMBERS, i);
        bench_say(b, i, "leave and quick_join, rooms of 10");
    }
    bench_quiet(b);
    expect("seats", b->s->rooms.seats.used, BIG);
}

static void big_join(struct bench *b, u32 i, const char *id) {
    frame("{\"type\":\"join_room\",\"data\":{\"roomId\":\"%s\",\"version\":\"1\",\"name\":"
          "\"player %u\"}}",
          id, i);
    bench_say(b, i, "join_room, big room");
}

/* The host makes it, the others join. */
static void big_make(struct bench *b, char *id, u32 members) {
    b->what = "big room fills";
    peer_open(b, LAST, true);
    b->peers[LAST].number = BIG; /* the host's token */
    peer_ask(b, &b->peers[LAST], "POST /api/rooms", "POST", "/api/rooms",
             "{\"gamemode\":\"big\",\"maxPlayers\":1024}");
    bench_quiet(b);
    bench_hear(b, BIG);
    frame("{\"type\":\"create_room\"}");
    bench_say(b, BIG, "create_room");
    bench_quiet(b);
    const char *at = strstr(b->heard, "\"roomId\":\"");
    if (!at) {
        give_up("no big room");
    }
    copy_z(id, ROOM_ID_BYTES + 1, span_of(at + 10, ROOM_ID_BYTES));
    b->heard_of = NULL;
    for (u32 i = 1; i < members; i++) {
        big_join(b, BIG + i, id);
        if (i % ACCEPTS_MAX == 0) {
            bench_round(b);
        }
    }
    bench_quiet(b);
    expect("big room", room_find(&b->s->rooms, span_z(id))->seats.count, members);
}

static void big_relay(struct bench *b) {
    b->what = "big room relays";
    for (u32 i = 0; i < 300; i++) {
        frame(CHAT, i);
        bench_say(b, BIG + i, "chat, big room");
        frame(STATE, i, i);
        bench_say(b, BIG + 300 + i, "player_state, big room");
        frame(RPC, 0, i);
        bench_say(b, BIG + 600 + i, "rpc_call to all, big room");
        frame(RPC, BIG_MEMBERS, i);
        bench_say(b, BIG + i, "rpc_call to the last, big room");
        if (i % 8 == 7) {
            bench_round(b);
        }
    }
    bench_quiet(b);
    for (u32 i = 0; i < 4; i++) {
        say_long(b, BIG + i, "rpc_call of 3 KB to all, big room");
        bench_quiet(b);
    }
    for (u32 i = 0; i < 20; i++) {
        for (u32 k = 0; k < 400; k++) {
            frame(RPC, BIG_MEMBERS, k);
        }
        bench_say(b, BIG + i, "400 rpc_call to the last, big room");
        for (u32 k = 0; k < 40; k++) {
            frame(CHAT, k);
        }
        bench_say(b, BIG + 50 + i, "40 chats at once, big room");
        for (u32 k = 0; k < 400; k++) {
            frame(RPC, 9999, k);
        }
        bench_say(b, BIG + 100 + i, "400 rpc_call to nobody, big room");
        for (u32 k = 0; k < 400; k++) {
            frame("{\"type\":\"kick\",\"data\":{\"peerId\":9999}}");
        }
        bench_say(b, BIG, "400 kicks of nobody, big room");
        bench_quiet(b);
    }
}

/* Members that read nothing fall behind with states, then read all. */
static void big_stalls(struct bench *b) {
    b->what = "a third of the big room stalls";
    for (u32 i = 0; i < BIG_MEMBERS; i += 3) {
        b->peers[BIG + i].stalled = true;
    }
    for (u32 i = 0; i < 600; i++) {
        frame(STATE, i, i);
        bench_say(b, BIG + i, "player_state, big room, a third stalls");
        if (i % 8 == 7) {
            bench_round(b);
        }
    }
    bench_quiet(b);
    b->what = "the stalled third of the big room reads again";
    for (u32 i = 0; i < BIG_MEMBERS; i += 3) {
        b->peers[BIG + i].stalled = false;
        if (b->peers[BIG + i].conn.id) {
            peer_flush(b, &b->peers[BIG + i]);
        }
    }
    bench_quiet(b);
    expect("behind", bench_count(b, COUNTER_STATES_HELD) > 0, true);
    expect("slow", bench_count(b, COUNTER_CLOSED_SLOW), 0);
}

static void big_drop(struct bench *b, const char *id) {
    b->what = "half of the big room leaves and joins";
    for (u32 i = 0; i < 200; i++) {
        frame("{\"type\":\"leave_room\"}");
        bench_say(b, BIG + 2 * i, "leave_room, big room");
        big_join(b, BIG + 2 * i, id);
        if (i % 8 == 7) {
            bench_round(b);
        }
    }
    bench_quiet(b);
    b->what = "500 of the big room drop at once";
    for (u32 i = 0; i < 500; i++) {
        peer_close(b, &b->peers[BIG + 2 * i + 1]);
    }
    bench_quiet(b);
    b->what = "500 of the big room time out together";
    bench_sleep(b, 31 * S_US);
    expect("rest", room_find(&b->s->rooms, span_z(id))->seats.count, BIG_MEMBERS - 500);
    b->what = "the rest of the big room drops at once";
    for (u32 i = 0; i < BIG_MEMBERS; i++) {
        peer_close(b, &b->peers[BIG + i]);
    }
    bench_quiet(b);
    b->what = "the rest of the big room times out together";
    bench_sleep(b, 31 * S_US);
    expect("big room", room_find(&b->s->rooms, span_z(id)) == NULL, true);
}

static void rooms_run(struct bench *b) {
    char id[ROOM_ID_BYTES + 1], target[64];
    b->what = "login without handshake";
    bench_login(b, 0, BIG + BIG_MEMBERS, false, 0);
    b->what = "handshakes";
    for (u32 i = 0; i < BIG + BIG_MEMBERS; i++) {
        peer_shake(b, &b->peers[i]);
        if (i % 64 == 63) {
            bench_round(b);
        }
    }
    bench_quiet(b);
    rooms_small(b);
    big_make(b, id, BIG_MEMBERS);
    big_relay(b);
    big_stalls(b);
    b->what = "big room is deleted";
    snprintf(target, sizeof target, "/api/rooms/%s", id);
    peer_ask(b, &b->peers[LAST], "DELETE /api/rooms/{id}, big room", "DELETE", target, "");
    bench_quiet(b);
    expect("big room", room_find(&b->s->rooms, span_z(id)) == NULL, true);
    peer_close(b, &b->peers[LAST]);
    big_make(b, id, BIG_MEMBERS);
    big_drop(b, id);
}

/* -- scenario: every table full -- */

#define FULL_SOCKETS 9800
#define FULL_USERS 9700
#define FULL_ROOMS 4096
#define FULL_SEATS 9000
#define FULL_CROWD 1024 /* members of room 0 */
#define FULL_HTTP 9850  /* from here on peers speak HTTP */

static void full_rooms(struct bench *b) {
    b->what = "rooms and seats fill";
    for (u32 i = 0; i < FULL_SEATS; i++) {
        u32 over = i - FULL_ROOMS, mode = i < FULL_ROOMS          ? i
                                          : over < FULL_CROWD - 1 ? 0
                                                                  : over % (FULL_ROOMS - 1) + 1;
        frame("{\"type\":\"quick_join\",\"data\":{\"gamemode\":\"mode %u\",\"maxPlayers\":%u,"
              "\"version\":\"1\",\"name\":\"player %u\"}}",
              mode, mode ? 8 : 1024, i);
        bench_say(b, i, mode ? "quick_join, 4,096 rooms" : "quick_join, room of 1,024");
    }
    bench_quiet(b);
    expect("rooms", b->s->rooms.pool.used, FULL_ROOMS);
    expect("seats", b->s->rooms.seats.used, FULL_SEATS);
    b->what = "no seat and no room is left";
    for (u32 i = FULL_SEATS; i < FULL_USERS; i++) {
        for (u32 k = 0; k < 60; k++) {
            frame("{\"type\":\"quick_join\",\"data\":{\"gamemode\":\"%s %u\",\"version\":\"1\","
                  "\"name\":\"player %u\"}}",
                  k % 2 ? "mode" : "no mode", k, i);
        }
        bench_say(b, i, "60 quick_join at once, rooms and seats full");
    }
    bench_quiet(b);
    expect("full", bench_count(b, COUNTER_FULL_ROOMS), 30 * (FULL_USERS - FULL_SEATS));
    expect("no seat", bench_count(b, COUNTER_FULL_SEATS), 30 * (FULL_USERS - FULL_SEATS));
}

static void full_bans(struct bench *b) {
    const char *id = room_at(&b->s->rooms, 0)->id;
    u32 bans = b->s->config.bans;
    b->what = "bans fill";
    for (u32 i = 0; i < bans + 640; i++) {
        frame("{\"type\":\"ban\",\"data\":{\"ip\":\"172.16.%u.%u\"}}", i >> 8, i & 255);
        if (i % 64 == 63) {
            bench_say(b, 0, "64 bans of addresses at once, room of 1,024");
            bench_quiet(b);
        }
    }
    expect("bans", b->s->rooms.bans.used, bans);
    expect("bans full", bench_count(b, COUNTER_FULL_BANS), 640);
    b->what = "8,192 bans are asked";
    for (u32 i = 0; i < 300; i++) {
        for (u32 k = 0; k < (i < 30 ? 100 : 1); k++) {
            frame("{\"type\":\"join_room\",\"data\":{\"roomId\":\"%s\",\"name\":\"player %u\"}}",
                  id, i);
        }
        bench_say(b, FULL_SEATS + i,
                  i < 30 ? "100 join_room at once, 8,192 bans" : "join_room, 8,192 bans");
    }
    bench_quiet(b);
}

/* Pipelined requests of one connection, in one read. */
static void full_ask(struct bench *b, u32 i, const char *what, u32 count, const char *method,
                     const char *target, const char *body) {
    char text[256];
    for (u32 k = 0; k < count; k++) {
        snprintf(text, sizeof text, "%s", target);
        peer_ask(b, &b->peers[i], what, method, text, body);
    }
    bench_quiet(b);
}

/* As deep as clients pipeline; and, a few times, as deep as one call may go. */
static void full_http(struct bench *b, u32 peer) {
    static const char *const lists[] = {"/api/rooms?limit=100",    "/lobbies?limit=100",
                                        "/api/presence?limit=100", "/api/rooms?gamemode=none",
                                        "/api/rooms/none",         "/api/status"};
    static const char *const names[] = {
        "GET /api/rooms",           "GET /lobbies",        "GET /api/presence",
        "GET /api/rooms?gamemode=", "GET /api/rooms/{id}", "GET /api/status"};
    b->what = "HTTP lists";
    for (u32 i = 0; i < 60; i++) {
        for (u32 k = 0; k < COUNT_OF(lists); k++) {
            full_ask(b, peer, names[k], i < 2 ? 64 : 16, "GET", lists[k], "");
        }
        full_ask(b, peer, "GET /metrics", 1, "GET", "/metrics", "");
        full_ask(b, peer, "POST /api/rooms", i < 2 ? 64 : 16, "POST", "/api/rooms",
                 "{\"gamemode\":\"x\"}");
    }
}

static void full_lobbies(struct bench *b) {
    char target[64], body[64];
    b->what = "lobbies fill";
    for (u32 i = 0; i < b->s->config.lobbies + 100; i++) {
        snprintf(body, sizeof body, "{\"code\":\"L%u\",\"max_players\":4}", i);
        peer_ask(b, &b->peers[FULL_HTTP], "POST /lobbies", "POST", "/lobbies", body);
        if (i % 16 == 15) {
            bench_quiet(b);
        }
    }
    bench_quiet(b);
    for (u32 i = 0; i < b->s->config.players + 100; i++) {
        snprintf(target, sizeof target, "/lobbies/L%u/join", i / 4);
        peer_ask(b, &b->peers[FULL_HTTP], "POST /lobbies/{code}/join", "POST", target,
                 "{\"player_name\":\"somebody\"}");
        if (i % 16 == 15) {
            bench_quiet(b);
        }
    }
    bench_quiet(b);
    expect("lobbies", b->s->lobbies.pool.used, b->s->config.lobbies);
    expect("players", b->s->lobbies.players.used, b->s->config.players);
}

/* Every chunk is held by somebody who does not read: first as many as one may hold, each; then one
   by one. */
static void full_chunks(struct bench *b) {
    char filler[1024];
    memset(filler, 'x', sizeof filler);
    b->what = "stalled readers take the chunks, 20 each";
    for (u32 i = 0; i < 3 * 600; i++) {
        b->peers[5500 + i % 600].stalled = true;
        for (u32 k = 0; k < 250; k++) { /* short enough for the input that each owns */
            frame("{\"type\":\"rpc_call\",\"data\":{\"targetPeer\":2,\"method\":\"x\",\"args\":"
                  "\"%.100s\"}}",
                  filler);
        }
        bench_say(b, 5500 + i % 600, "250 rpc_call to oneself, stalled");
    }
    bench_quiet(b);
    expect("chunks ran out", bench_count(b, COUNTER_FULL_CHUNKS) > 0, true);
    for (u32 i = 5500; i < 6100; i++) {
        peer_close(b, &b->peers[i]);
    }
    bench_quiet(b);
    b->what = "stalled readers take the chunks, one each";
    for (u32 i = 0; i < FULL_USERS && b->s->conns.chunks_used < b->s->conns.chunks_count; i++) {
        if (!b->peers[i].conn.id || i == 0 || (i >= FULL_ROOMS && i < FULL_ROOMS + FULL_CROWD)) {
            continue; /* gone, or of the crowd */
        }
        b->peers[i].stalled = true;
        for (u32 k = 0; k < 20; k++) {
            frame("{\"type\":\"ping\"}");
        }
        bench_say(b, i, "20 pings, stalled");
    }
    bench_quiet(b);
    expect("chunks", b->s->conns.chunks_used + 1000 > b->s->conns.chunks_count, true);
    b->what = "a crowd of 1,024 wants chunks that others hold";
    say_long(b, FULL_ROOMS, "rpc_call of 3 KB in a room of 1,024, chunks full");
    bench_quiet(b);
    for (u32 i = 0; i < 40; i++) {
        frame("{\"type\":\"chat\",\"data\":{\"text\":\"%.480s\"}}", filler);
        bench_say(b, FULL_ROOMS + i, "chat of 480 B in a room of 1,024, chunks full");
        bench_round(b);
    }
    bench_quiet(b);
}

/* Large inputs are taken, others wait for one, and whoever reads frees memory again and again. */
static void full_inputs(struct bench *b) {
    char part[6000];
    b->what = "large inputs are waited for";
    int head = snprintf(part, sizeof part,
                        "POST /lobbies HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n");
    memset(part + head, ' ', sizeof part - (size_t)head);
    for (u32 i = FULL_USERS; i < FULL_SOCKETS; i++) { /* those were refused as users */
        peer_send(b, &b->peers[i], "6 KB of a request", part, sizeof part);
    }
    bench_round(b);
    bench_round(b);
    for (u32 i = 0; i < 200; i++) {
        frame(CHAT, i);
        bench_say(b, FULL_ROOMS + 100 + i, "chat, room of 1,024, inputs starve");
        bench_round(b);
    }
}

static void full_opens(struct bench *b) {
    b->what = "connections are full";
    for (u32 i = FULL_HTTP + 1; i < 13000; i++) {
        peer_open(b, i, true);
        if (i % ACCEPTS_MAX == 0) {
            bench_round(b);
        }
    }
    expect("connections", b->s->conns.live, b->s->conns.live_max);
    expect("silent", bench_count(b, COUNTER_REFUSED_SILENT) > 0, true);
}

static void full_run(struct bench *b) {
    b->what = "login without handshake";
    bench_login(b, 0, FULL_SOCKETS, false, 0);
    expect("users", b->s->presence.users.used, FULL_USERS);
    for (u32 i = 0; i < FULL_USERS; i += 2) {
        peer_shake(b, &b->peers[i]);
        if (i % 128 == 126) {
            bench_round(b);
        }
    }
    bench_quiet(b);
    peer_open(b, FULL_HTTP, true);
    full_rooms(b);
    full_lobbies(b);
    full_bans(b);
    full_http(b, FULL_HTTP);
    full_opens(b);
    full_chunks(b);
    full_http(b, FULL_HTTP + 1);
    full_inputs(b);
    b->what = "draining with every table full";
    mps_drain(b->s, b->now, 100);
    bench_sleep(b, 40 * S_US);
    for (u32 i = 0; i < PEERS_MAX; i++) {
        peer_close(b, &b->peers[i]);
    }
    bench_quiet(b);
    expect("drained", mps_drained(b->s), true);
}

/* -- scenario: deadlines -- */

/* Kept connections put their deadlines off with each request; every tenth does not, and its
   deadline comes up among those of the others. */
static void idle_run(struct bench *b) {
    b->what = "kept connections open";
    for (u32 i = 0; i < STORM; i++) {
        peer_open(b, i, true);
    }
    b->what = "kept connections ask";
    for (u32 round = 0; round < 12; round++) {
        for (u32 i = 0; i < STORM; i++) {
            if (i % 10) {
                peer_ask(b, &b->peers[i], "GET /healthz", "GET", "/healthz", "");
            }
            if (i % 256 == 255) {
                bench_round(b);
            }
        }
        b->what = "deadlines come up that were put off";
        bench_sleep(b, 4 * S_US);
    }
    bench_sleep(b, 90 * S_US);
    expect("all are closed", b->s->conns.live, 0);
}

/* -- scenario: positions -- */

#define WALKERS 16384    /* every player there can be */
#define WALKERS_FULL 192 /* lobbies of the largest kind; the others have four */
#define WALK_PORT 1024

struct walker {
    u32 id;
    u8 token[UDP_TOKEN_BYTES];
    u8 kind; /* 0 JSON, 1 batch, 2 binary */
    char code[LOBBY_CODE_MAX + 1];
};

static void walker_says(struct bench *b, u32 i, void *bytes, size_t count) {
    mps_address from = {.port = (u16)(WALK_PORT + i)}, to = {.port = 8081};
    memcpy(from.ip, address_v4_prefix, sizeof address_v4_prefix);
    from.ip[12] = 10;
    u64 begin = cpu_ns();
    mps_udp_input(b->s, b->now, &from, &to, bytes, count);
    tape_note(b, CALL_DATAGRAM, count, cpu_ns() - begin);
}

/* Seats are taken without HTTP, which other scenarios measure. */
static void walkers_sit(struct bench *b, struct walker *walkers) {
    mps_address from = {.port = 1};
    u64 lobby = 0;
    memcpy(from.ip, address_v4_prefix, sizeof address_v4_prefix);
    from.ip[12] = 10;
    for (u32 i = 0, left = 0, lobbies = 0; i < WALKERS; i++, left--) {
        struct walker *w = &walkers[i];
        if (!call_begin(b->s, b->now)) {
            give_up("no call");
        }
        if (!left) {
            char code[16];
            left = lobbies < WALKERS_FULL ? 64 : 4;
            snprintf(code, sizeof code, "W%u", lobbies++);
            struct lobby_wish wish = {span_z(code), SPAN("world"), left, true, false};
            lobby = lobby_open(&b->s->kit, &b->s->lobbies, &wish, &from);
        }
        const struct player *p =
            lobby_join(&b->s->kit, &b->s->lobbies, lobby, SPAN("a player of some length"), &from);
        *w = (struct walker){.id = p->id, .kind = (u8)(lobbies % 3)};
        memcpy(w->token, p->token, sizeof w->token);
        memcpy(w->code, lobby_get(&b->s->lobbies, lobby)->code, sizeof w->code);
        call_end(b->s);
    }
}

static void walker_joins(struct bench *b, u32 i, const struct walker *w) {
    char bytes[256], hex[UDP_TOKEN_TEXT + 1] = {0};
    struct text t = text_on(hex, UDP_TOKEN_TEXT);
    if (w->kind == 2) {
        t = text_on(bytes, sizeof bytes);
        text_le(&t, 0x01B1, 4);
        text_le(&t, w->id, 4);
        text_add(&t, span_of((const char *)w->token, BINARY_TOKEN_BYTES));
        text_le(&t, strlen(w->code), 1);
        text_z(&t, w->code);
        walker_says(b, i, bytes, t.bytes);
        return;
    }
    text_hex(&t, w->token, sizeof w->token);
    int count = snprintf(bytes, sizeof bytes,
                         "{\"type\":\"join\",\"lobby_code\":\"%s\",\"player_id\":%u,"
                         "\"udp_token\":\"%s\",\"batch\":%s}",
                         w->code, w->id, hex, w->kind == 1 ? "true" : "false");
    walker_says(b, i, bytes, (size_t)count);
}

/* Numbers of as many digits as there are. */
static void walker_moves(struct bench *b, u32 i, const struct walker *w, double step) {
    char bytes[512];
    double x = i * 0.1234567890123 + step;
    if (w->kind == 2) {
        struct stance at = {.position = {(float)x, 1, (float)-x}, .rotation = {(float)step, 1, 2}};
        struct text t = text_on(bytes, sizeof bytes);
        text_le(&t, 0x02B1 | (u64)(u32)(step * 100) << 16, 4);
        text_le(&t, w->id, 4);
        text_add(&t, span_of((const char *)w->token, BINARY_TOKEN_BYTES));
        binary_put_entry(&t, 0, &at, 0);
        walker_says(b, i, bytes, t.bytes - 2);
        return;
    }
    int count = snprintf(bytes, sizeof bytes,
                         "{\"type\":\"position_update\",\"player_id\":%u,\"position\":{\"x\":%.17g,"
                         "\"y\":%.17g,\"z\":%.17g},\"rotation\":{\"x\":%.17g,\"y\":%.17g,\"z\":"
                         "%.17g}}",
                         w->id, x, x / 3, -x, x / 7, x / 11, -x / 13);
    walker_says(b, i, bytes, (size_t)count);
}

static void walkers_hear(struct bench *b) {
    mps_datagram out[64];
    for (size_t count = 1; count;) {
        u64 begin = cpu_ns();
        count = mps_udp_output(b->s, b->now, out, 64);
        tape_note(b, CALL_DATAGRAMS_OUT, count, cpu_ns() - begin);
    }
}

/* Every player record in use, everybody moves at once, with syncs and without; then all are
   silent until they are dropped. */
static void positions_run(struct bench *b) {
    struct walker *walkers = memory(WALKERS, sizeof *walkers);
    walkers_sit(b, walkers);
    expect("players", b->s->lobbies.players.used, WALKERS);
    b->what = "players join by UDP";
    for (u32 i = 0; i < WALKERS; i++) {
        walker_joins(b, i, &walkers[i]);
        if (i % 128 == 127) {
            walkers_hear(b);
        }
    }
    expect("addresses", b->s->lobbies.by_address.used, WALKERS);
    for (u32 round = 0; round < 24; round++) {
        b->what = "all move";
        b->now += 60 * MS_US;
        for (u32 i = 0; i < WALKERS; i++) {
            walker_moves(b, i, &walkers[i], 0.05 * round);
        }
        while (mps_deadline(b->s) <= b->now) {
            call_advance(b);
        }
        walkers_hear(b);
    }
    b->what = "all are dropped";
    for (u32 i = 0; i < 400; i++) {
        b->now += 50 * MS_US;
        while (mps_deadline(b->s) <= b->now) {
            call_advance(b);
        }
        walkers_hear(b);
    }
    expect("players", b->s->lobbies.players.used, 0);
    free(walkers);
}

/* -- playing -- */

struct scenario {
    const char *name;
    void (*run)(struct bench *b);
    mps_config config; /* over the preset and the rates */
};

static const struct scenario scenarios[] = {
    {"storm", storm_all_read, {.dev = false}},
    {"stalls", storm_stalled, {.dev = false}},
    {"rooms", rooms_run, {.connections = 12000, .users = 12000}},
    {"full", full_run, {.users = FULL_USERS, .seats = FULL_SEATS, .room_bans_max = 8192}},
    {"idle", idle_run, {.dev = false}},
    {"positions", positions_run, {.lobby_players = 64}},
};

/* Rates would only keep calls from coming; a driver of one thread cannot be that many players. */
static mps_config scenario_config(const struct scenario *scenario) {
    mps_config c = scenario->config;
    c.preset = MPS_PRESET_LARGE;
    c.log_level = MPS_LOG_WARN; /* as an operator with that many players would */
    c.jwt_secret = secret;
    c.connections_per_address = c.connections_per_s = c.requests_per_s = 1000000;
    c.states_per_s = c.chats_per_s = c.messages_per_s = 1000000;
    c.datagrams_per_s = c.player_datagrams_per_s = 1000000;
    return c;
}

static void bench_tokens(struct bench *b) {
    for (u32 i = 0; i < PEERS_MAX; i++) {
        mps_identity who = {.role = MPS_ROLE_PLAYER};
        mps_token_claims claims = {&who, NULL, NULL, 1771070400, 86400};
        snprintf(who.id, sizeof who.id, "user-%u", i);
        snprintf(who.name, sizeof who.name, "player %u", i);
        if (!mps_token_mint(&claims, secret, sizeof secret - 1, b->tokens[i], sizeof *b->tokens)) {
            give_up("no token");
        }
    }
}

static void bench_make(struct bench *b) {
    memset(b, 0, sizeof *b);
    b->peers = memory(PEERS_MAX, sizeof *b->peers);
    b->by_slot = memory(PEERS_MAX + 1, sizeof *b->by_slot);
    b->actors = memory(PEERS_MAX, sizeof *b->actors);
    b->acted = memory(PEERS_MAX, sizeof *b->acted);
    b->tokens = memory(PEERS_MAX, sizeof *b->tokens);
    bench_tokens(b);
}

/* A fresh server in the same block, and clients that know nothing. */
static void bench_reset(struct bench *b, const mps_config *config) {
    for (u32 i = 0; i < PEERS_MAX; i++) {
        free(b->peers[i].pending);
        b->peers[i] = (struct peer){.number = i};
    }
    memset(b->by_slot, 0, (PEERS_MAX + 1) * sizeof *b->by_slot);
    b->actors_count = 0;
    b->postponed = 0;
    b->left = false;
    b->heard_of = NULL;
    b->frames = b->closed = b->asks = 0;
    b->round = 0;
    frame_bytes = 0;
    b->now = 1000000;
    if (mps_create(&b->s, config, b->block, b->bytes, entropy)) {
        give_up("mps_create");
    }
    mps_wall_clock(b->s, b->now, 1771070400000);
}

static void bench_play(struct bench *b, const struct scenario *scenario) {
    mps_config config = scenario_config(scenario);
    b->bytes = mps_memory_needed(&config);
    b->raw = memory(1, b->bytes + SERVER_ALIGN);
    b->block = b->raw + (SERVER_ALIGN - (uintptr_t)b->raw % SERVER_ALIGN) % SERVER_ALIGN;
    b->tape.count = 0;
    for (u32 i = 0; i < REPLAYS; i++) {
        b->tape.replay = i;
        b->tape.at = 0;
        bench_reset(b, &config);
        scenario->run(b);
        if (i && b->tape.at != b->tape.count) {
            give_up("a replay made fewer calls");
        }
        expect("the server's own check", mps_check(b->s), true);
    }
    free(b->raw);
}

/* -- a recording -- */

struct recording {
    unsigned char *bytes, *scratch;
    size_t count;
};

static const u8 kind_of[] = {
    [MPS_CALL_WALL_CLOCK] = CALL_OTHER,    [MPS_CALL_ADVANCE] = CALL_ADVANCE,
    [MPS_CALL_DRAIN] = CALL_OTHER,         [MPS_CALL_RECONFIGURE] = CALL_OTHER,
    [MPS_CALL_NOTE_CALL_NS] = CALL_NOTE,   [MPS_CALL_NOTE_PORT_ERROR] = CALL_NOTE,
    [MPS_CALL_NOTE_UDP_DROPS] = CALL_NOTE, [MPS_CALL_TCP_OPEN] = CALL_OPEN,
    [MPS_CALL_TCP_INPUT] = CALL_INPUT,     [MPS_CALL_TCP_EOF] = CALL_EOF,
    [MPS_CALL_TCP_CLOSED] = CALL_CLOSED,   [MPS_CALL_NEXT_OUTPUT] = CALL_NEXT,
    [MPS_CALL_TCP_TAKEN] = CALL_TAKEN,     [MPS_CALL_TCP_SENT] = CALL_SENT,
    [MPS_CALL_UDP_INPUT] = CALL_DATAGRAM,  [MPS_CALL_UDP_OUTPUT] = CALL_DATAGRAMS_OUT,
    [MPS_CALL_AUTH_FINISH] = CALL_OTHER,   [MPS_CALL_LOBBY_KICK] = CALL_OTHER,
    [MPS_CALL_ROOM_KICK] = CALL_OTHER,     [MPS_CALL_ROOM_SEND] = CALL_OTHER,
    [MPS_CALL_USER_SEND] = CALL_OTHER,
};

/* What a socket says is masked: all that can be told apart is who speaks HTTP. */
static const char *call_name(const mps_call *call) {
    enum kind kind = kind_of[call->kind];
    const char *bytes = call->bytes;
    if (kind != CALL_INPUT) {
        return kind == CALL_OTHER ? "as the recording has it" : kind_names[kind];
    }
    return call->count && bytes[0] >= 'A' && bytes[0] <= 'Z' ? "requests" : "frames";
}

static struct recording recording_read(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) || ftell(file) < 0) {
        give_up("there is no such recording, or it cannot be read");
    }
    struct recording recording = {.count = (size_t)ftell(file)};
    rewind(file);
    recording.bytes = memory(1, recording.count + 1);
    recording.scratch = memory(1, MPS_REPLAY_SCRATCH_BYTES);
    if (fread(recording.bytes, 1, recording.count, file) != recording.count) {
        give_up("the recording cannot be read");
    }
    fclose(file);
    return recording;
}

/* For the core to see that there are such hooks. */
static void hook_ignored(void *user) {
    (void)user;
}

static void recording_begin(struct bench *b, struct mps_replay *r, const struct recording *from) {
    if (!mps_replay_open(r, from->bytes, from->count, from->scratch, MPS_REPLAY_SCRATCH_BYTES)) {
        give_up(r->problem);
    }
    mps_hooks hooks = {.reload = r->hooks_reload ? hook_ignored : NULL,
                       .record = r->hooks_record ? hook_ignored : NULL};
    b->raw = b->raw ? b->raw : memory(1, r->memory_bytes + SERVER_ALIGN);
    b->block = b->raw + (SERVER_ALIGN - (uintptr_t)b->raw % SERVER_ALIGN) % SERVER_ALIGN;
    b->frames = b->closed = 0;
    if (!mps_replay_start(r, &b->s, &hooks, b->block)) {
        give_up(r->problem);
    }
}

/* What is sent is compared with the recording between two calls, which is not timed. */
static void recording_play(struct bench *b, const char *path) {
    static struct mps_replay r;
    struct recording recording = recording_read(path);
    b->tape.count = 0;
    for (u32 i = 0; i < REPLAYS; i++) {
        b->tape.replay = i;
        b->tape.at = 0;
        recording_begin(b, &r, &recording);
        mps_replay_state state = mps_replay_next(&r, b->s);
        for (; state == MPS_REPLAY_CALL; state = mps_replay_next(&r, b->s)) {
            b->what = call_name(&r.call);
            u64 begin = cpu_ns();
            mps_replay_make(&r, b->s);
            u64 ns = cpu_ns() - begin;
            tape_note(b, kind_of[r.call.kind], r.call.count, ns);
        }
        expect(r.problem ? r.problem : "the end of the recording", state, MPS_REPLAY_END);
        expect("the server's own check", mps_check(b->s), true);
    }
    free(b->raw);
    free(recording.bytes);
    free(recording.scratch);
}

/* -- telling -- */

static int by_number(const void *a, const void *b) {
    u32 x = *(const u32 *)a, y = *(const u32 *)b;
    return (x > y) - (x < y);
}

static int by_time(const void *a, const void *b) {
    u32 x = ((const struct call *)a)->ns, y = ((const struct call *)b)->ns;
    return (x > y) - (x < y);
}

static double quantile_us(const struct call *calls, size_t count, double part) {
    size_t at = (size_t)(part * (double)count);
    return count ? calls[at < count ? at : count - 1].ns / 1e3 : 0;
}

static void print_line(const char *name, const struct call *calls, size_t count) {
    printf("%-22s %9zu %8.2f %8.2f %8.2f %8.2f %9.2f\n", name, count,
           quantile_us(calls, count, 0.5), quantile_us(calls, count, 0.99),
           quantile_us(calls, count, 0.999), quantile_us(calls, count, 0.9999),
           quantile_us(calls, count, 1));
}

/* Also the slowest of each sort that is slow at all: five of one kind would hide the others. */
static void print_slowest(const struct call *calls, size_t count) {
    const char *seen[SLOWEST] = {NULL};
    u32 told = 0;
    for (size_t i = count; i-- > 0 && told < SLOWEST;) {
        const struct call *c = &calls[i];
        bool known = false;
        for (u32 k = 0; k < told; k++) {
            known |= seen[k] == c->what;
        }
        if (!known) {
            seen[told++] = c->what;
            printf("    %9.2f us (median %.2f) %s, %s: work %u, frames %u, closed %u, bytes %u\n",
                   c->ns / 1e3, c->all_ns[REPLAYS / 2] / 1e3, kind_names[c->kind], c->what, c->work,
                   c->frames, c->closed, c->bytes);
        }
    }
}

/* `calls` are sorted by time. */
static void print_kinds(const struct call *calls, size_t count) {
    struct call *some = memory(count ? count : 1, sizeof *some);
    for (u32 kind = 0; kind < COUNT_OF(kind_names); kind++) {
        size_t found = 0;
        for (size_t i = 0; i < count; i++) {
            if (calls[i].kind == kind) {
                some[found++] = calls[i];
            }
        }
        if (found) {
            print_line(kind_names[kind], some, found);
        }
    }
    free(some);
}

/* Calls that change something first, sorted; gives how many those are. */
static size_t tape_sort(struct call *calls, size_t count) {
    size_t changes = 0;
    for (size_t i = 0; i < count; i++) {
        qsort(calls[i].all_ns, REPLAYS, sizeof(u32), by_number);
        calls[i].ns = calls[i].all_ns[0];
        if (calls[i].kind < CALL_ASKS) {
            struct call swap = calls[i];
            calls[i] = calls[changes];
            calls[changes++] = swap;
        }
    }
    qsort(calls, changes, sizeof *calls, by_time);
    qsort(calls + changes, count - changes, sizeof *calls, by_time);
    return changes;
}

struct total {
    struct call *calls;
    size_t count;
};

static void total_add(struct total *t, const struct call *calls, size_t count) {
    t->calls = realloc(t->calls, (t->count + count) * sizeof *calls);
    if (!t->calls) {
        give_up("out of memory");
    }
    memcpy(t->calls + t->count, calls, count * sizeof *calls);
    t->count += count;
}

static void judge(const char *what, double got, double bar, bool met) {
    printf("%s: %.2f, bar %.2f: %s\n", what, got, bar, met ? "met" : "MISSED");
}

/* Those that change something, and those that only ask. */
static struct total changes, asks;

/* Of the tape, which is sorted by it. */
static void tell(struct bench *b, const char *name) {
    size_t count = tape_sort(b->tape.calls, b->tape.count);
    print_line(name, b->tape.calls, count);
    print_slowest(b->tape.calls, count);
    total_add(&changes, b->tape.calls, count);
    total_add(&asks, b->tape.calls + count, b->tape.count - count);
}

static void tell_all(void) {
    qsort(changes.calls, changes.count, sizeof *changes.calls, by_time);
    qsort(asks.calls, asks.count, sizeof *asks.calls, by_time);
    print_kinds(changes.calls, changes.count);
    print_kinds(asks.calls, asks.count);
    print_line("all that change", changes.calls, changes.count);
    print_line("all that only ask", asks.calls, asks.count);
    double p9999 = quantile_us(changes.calls, changes.count, 0.9999);
    double worst = quantile_us(changes.calls, changes.count, 1);
    judge("calls", (double)changes.count, BAR_CALLS, changes.count >= BAR_CALLS);
    judge("p99.99 us", p9999, BAR_P9999_NS / 1e3, p9999 <= BAR_P9999_NS / 1e3);
    judge("worst us", worst, BAR_WORST_NS / 1e3, worst <= BAR_WORST_NS / 1e3);
}

int main(int argc, char **argv) {
    static struct bench b;
    bool journal = argc > 1 && strcmp(argv[1], "--journal") == 0;
    const char *filter = argc > 1 ? argv[1] : "";
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (journal && argc != 3) {
        give_up("usage: calls [NAME] or calls --journal FILE");
    }
    printf("reading the clock costs %.2f us, which is in every number\n", clock_cost_us());
    printf("%-22s %9s %8s %8s %8s %8s %9s us\n", "scenario", "calls", "p50", "p99", "p99.9",
           "p99.99", "max");
    if (journal) {
        recording_play(&b, argv[2]);
        tell(&b, "recording");
    } else {
        bench_make(&b);
    }
    for (size_t i = 0; !journal && i < COUNT_OF(scenarios); i++) {
        if (strstr(scenarios[i].name, filter)) {
            bench_play(&b, &scenarios[i]);
            tell(&b, scenarios[i].name);
        }
    }
    tell_all();
    return failures != 0;
}

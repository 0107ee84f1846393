/* The load of the WebSocket benchmark: some clients in one thread over epoll, in rooms of `group`,
   that send rpc_call messages of exactly `bytes` bytes of JSON and check every byte, the order and
   the number of what is delivered for them. Prints one line of JSON.

   Usage: load ws|raw|sizes key=value...
     ws      signs in, joins rooms and speaks the protocol's JSON in masked frames
     raw     the same number of bytes both ways, for the baselines of bare.c
     sizes   prints how many bytes on the wire a message takes to the server and from it
   Keys:  port; pid, of the server, for its CPU; clients; group, members of a room (1: each client
   calls itself); senders, in each room (0: all); bytes; ms, measured; tokens, a file with one a
   line; and outstanding, messages of a client that wait for delivery to all others (closed loop),
   or rate, messages per second and sender (open loop), or neither: idle connections, whose memory
   is measured.

   The text that tells messages apart is eight letters from A to P, four for the sender's index and
   four for its sequence number: a delivery costs the load the same in both modes. */
#define _GNU_SOURCE
#include "frames.h"
#include "measure.h"
#include "net.h"
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define INPUT_BYTES (1 << 18)
#define FRAME_BYTES_MAX 1024
#define CARRY_BYTES_MAX (1 << 17) /* a room_joined of a large room, cut */
#define OUTSTANDING_MAX 64
#define CLIENTS_MAX 65535
#define STARTING_MAX 32 /* clients that are on their way into a room at once */
#define ID_LETTERS 8
#define SETUP_NS (60 * SECOND_NS)
#define SETTLE_NS (SECOND_NS / 5)
#define WARM_NS (SECOND_NS / 2)
#define DRAIN_NS (2 * SECOND_NS)
#define QUIET_NS (SECOND_NS / 2) /* without a delivery: what is missing does not come */

enum state { UPGRADE, SHAKE, JOIN, READY };

struct client {
    int file;
    enum state state;
    uint32_t index, room, member;
    uint16_t sequence;    /* of its next message */
    uint32_t due;         /* messages to send at the end of the round */
    bool dirty, waits;    /* in the list of those with something due; for its socket */
    uint16_t *expected;   /* the next sequence number by sending member of the room */
    uint64_t *sent_ns;    /* by slot, which is the sequence number's low bits */
    uint32_t *missing;    /* deliveries that a slot's message still lacks */
    unsigned char *carry; /* of an incomplete frame */
    size_t carry_bytes;
    unsigned char *pending; /* what the socket did not take */
    size_t pending_bytes;
    uint64_t phase_ns; /* within the period of an open loop */
    unsigned char mask[4];
    unsigned char frame[FRAME_BYTES_MAX];     /* as sent, but for the sequence number */
    unsigned char delivered[FRAME_BYTES_MAX]; /* as others get it, but for that */
};

static struct {
    uint32_t port, pid, clients, group, senders, bytes, ms, outstanding, rate;
    const char *tokens;
    bool raw;
} option = {.clients = 1, .group = 1, .bytes = 128, .ms = 1000};

/* Where things stand in a message, the same for all. */
static struct {
    size_t in_bytes, in_header, in_id;    /* to the server */
    size_t out_bytes, out_id, out_common; /* from it; the start that all have in common */
    unsigned char common[FRAME_BYTES_MAX];
} shape;

static int poll;
static struct client *clients;
static char *tokens, *token_next;
static uint32_t ready_count;
static uint32_t slots = 1; /* a power of two */
static uint32_t *dirty, dirty_count;
static uint32_t *turns; /* senders in order of their phase */
static uint32_t turn_count, turn;
static uint64_t cycle_ns; /* when the current period of the open loop began; 0: not sending */
static bool sending, measuring;
static uint64_t sent_count, delivery_count, undelivered, other_count;

/* == what is measured ========================================================================= */

static uint64_t server_resident_bytes(void) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%u/statm", option.pid);
    return file_number(path, 1) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* == messages ================================================================================= */

static void letters_put(unsigned char *at, uint32_t value, int count) {
    for (int i = 0; i < count; i++) {
        at[i] = (unsigned char)('A' + (value >> 4 * (count - 1 - i) & 15));
    }
}

static uint32_t letters_get(const unsigned char *at) {
    uint32_t value = 0;
    for (int i = 0; i < ID_LETTERS; i++) {
        value = value << 4 | ((uint32_t)(at[i] - 'A') & 15);
    }
    return value;
}

/* An rpc_call that names `peer` as `member`, filled up to `bytes`. Where the id stands in it. */
static size_t call_put(unsigned char *text, size_t bytes, const char *member, uint32_t peer,
                       uint32_t sender) {
    int head = snprintf((char *)text, FRAME_BYTES_MAX,
                        "{\"type\":\"rpc_call\",\"data\":{\"%s\":%u,\"method\":\"m\",\"args\":\"",
                        member, peer);
    size_t at = (size_t)head + ID_LETTERS;
    if (at + 3 > bytes) {
        stop("a message takes %zu bytes at least", at + 3);
    }
    letters_put(text + head, sender << 16, ID_LETTERS);
    while (at < bytes - 3) {
        text[at] = (unsigned char)('a' + (bytes - at) % 26); /* the same before the same end */
        at++;
    }
    memcpy(text + at, "\"}}", 3);
    return (size_t)head;
}

/* Peer ids of senders have one digit, see client_ready: the lengths are the same for all. */
static void shape_set(void) {
    unsigned char text[FRAME_BYTES_MAX];
    size_t in = option.bytes, out = in - strlen("targetPeer") + strlen("fromPeer");
    if (in > FRAME_BYTES_MAX - 16) {
        stop("bytes: at most %d", FRAME_BYTES_MAX - 16);
    }
    shape.in_header = header_bytes(in) + 4;
    shape.in_bytes = shape.in_header + in;
    shape.in_id = option.raw ? 0 : shape.in_header + call_put(text, in, "targetPeer", 1, 0);
    shape.out_bytes = header_bytes(out) + out;
    shape.out_id = option.raw ? 0 : header_bytes(out) + call_put(text, out, "fromPeer", 1, 0);
    if (!option.raw) {
        size_t header = header_put(shape.common, 1, out, false);
        call_put(shape.common + header, out, "fromPeer", 1, 0);
        shape.out_common = header + strlen("{\"type\":\"rpc_call\"");
    }
}

/* The client's message as it goes out and as it is to come in. */
static void call_make(struct client *c, uint32_t peer) {
    size_t in = option.bytes, out = in - strlen("targetPeer") + strlen("fromPeer");
    if (option.raw) {
        for (size_t i = 0; i < shape.in_bytes; i++) {
            c->frame[i] = (unsigned char)('a' + (i + c->index) % 26);
        }
        letters_put(c->frame, c->index << 16, ID_LETTERS);
        memcpy(c->delivered, c->frame, shape.out_bytes);
        return;
    }
    unsigned char *text = c->frame + header_put(c->frame, 1, in, true);
    memcpy(text, c->mask, 4);
    call_put(text + 4, in, "targetPeer", option.group == 1 ? peer : 0, c->index);
    for (size_t i = 0; i < in; i++) {
        text[4 + i] ^= c->mask[i & 3];
    }
    size_t header = header_put(c->delivered, 1, out, false);
    call_put(c->delivered + header, out, "fromPeer", peer, c->index);
}

/* == sending ================================================================================== */

static void client_watch(struct client *c, bool output) {
    struct epoll_event event = {.events = output ? EPOLLIN | EPOLLOUT : EPOLLIN};
    event.data.u32 = c->index;
    c->waits = output;
    epoll_ctl(poll, EPOLL_CTL_MOD, c->file, &event);
}

static void client_mark(struct client *c, uint32_t messages) {
    c->due += messages;
    if (!c->dirty) {
        c->dirty = true;
        dirty[dirty_count++] = c->index;
    }
}

static void client_send(struct client *c, const unsigned char *bytes, size_t count) {
    ssize_t took = send(c->file, bytes, count, MSG_NOSIGNAL);
    if (took < 0 && errno != EAGAIN) {
        stop("client %u cannot send: %s", c->index, strerror(errno));
    }
    size_t done = took < 0 ? 0 : (size_t)took;
    if (done < count) {
        unsigned char *rest = zeroed(1, count - done);
        memcpy(rest, bytes + done, count - done);
        free(c->pending);
        c->pending = rest;
        c->pending_bytes = count - done;
    }
    if (c->waits != (done < count)) {
        client_watch(c, done < count);
    }
}

static void client_writable(struct client *c) {
    unsigned char *pending = c->pending;
    c->pending = NULL;
    if (pending) {
        client_send(c, pending, c->pending_bytes);
        free(pending);
    }
    if (!c->pending && c->due) {
        client_mark(c, 0);
    }
}

/* All messages that are due, in one send. */
static void client_flush(struct client *c) {
    static unsigned char output[OUTSTANDING_MAX * FRAME_BYTES_MAX];
    uint32_t receivers = option.group == 1 ? 1 : option.group - 1;
    size_t bytes = 0, text = shape.in_id + 4;
    uint64_t now = now_ns();
    while (c->due && bytes < (size_t)OUTSTANDING_MAX * shape.in_bytes && !c->pending) {
        uint32_t slot = c->sequence & (slots - 1);
        unsigned char letters[4];
        if (c->missing[slot]) {
            stop("client %u: no slot is free", c->index);
        }
        c->sent_ns[slot] = now;
        c->missing[slot] = receivers;
        letters_put(letters, c->sequence++, 4);
        memcpy(output + bytes, c->frame, shape.in_bytes);
        for (size_t i = 0; i < 4; i++) {
            output[bytes + text + i] =
                option.raw ? letters[i] : letters[i] ^ c->mask[(text - shape.in_header + i) & 3];
        }
        bytes += shape.in_bytes;
        c->due--;
        sent_count++;
        undelivered += receivers;
    }
    if (bytes) {
        client_send(c, output, bytes);
    }
}

static void flush_all(void) {
    uint32_t count = dirty_count;
    for (uint32_t i = 0; i < count; i++) {
        struct client *c = &clients[dirty[i]];
        c->dirty = false;
        client_flush(c);
    }
    dirty_count = 0;
}

/* A frame on the way into the room; such are few and small, the socket takes them whole. */
static void frame_send(struct client *c, unsigned char opcode, const char *text, size_t count) {
    unsigned char frame[FRAME_BYTES_MAX + 8];
    if (count > FRAME_BYTES_MAX) {
        stop("client %u: a message of %zu bytes", c->index, count);
    }
    size_t at = header_put(frame, opcode, count, true);
    memcpy(frame + at, c->mask, 4);
    for (size_t i = 0; i < count; i++) {
        frame[at + 4 + i] = (unsigned char)text[i] ^ c->mask[i & 3];
    }
    if (send(c->file, frame, at + 4 + count, MSG_NOSIGNAL) != (ssize_t)(at + 4 + count)) {
        stop("client %u cannot send: %s", c->index, strerror(errno));
    }
}

/* == the way into a room ====================================================================== */

static const char *token_take(void) {
    char *line = token_next;
    if (!line || !*line) {
        stop("too few tokens");
    }
    char *end = line + strcspn(line, "\n");
    token_next = *end ? end + 1 : end;
    *end = 0;
    return line;
}

static void client_shake(struct client *c) {
    char text[FRAME_BYTES_MAX];
    int count = tokens ? snprintf(text, sizeof text,
                                  "{\"type\":\"handshake\",\"data\":{\"version\":\"1\","
                                  "\"name\":\"c%u\",\"token\":\"%s\"}}",
                                  c->index, token_take())
                       : snprintf(text, sizeof text,
                                  "{\"type\":\"handshake\",\"data\":{\"version\":\"1\","
                                  "\"name\":\"c%u\"}}",
                                  c->index);
    c->state = SHAKE;
    frame_send(c, 1, text, (size_t)count);
}

/* A gamemode of its own for each room: its members find it and nobody else does. */
static void client_join(struct client *c) {
    char text[FRAME_BYTES_MAX];
    c->state = JOIN;
    if (option.raw) {
        if (send(c->file, &c->room, 4, MSG_NOSIGNAL) != 4) {
            stop("client %u cannot send", c->index);
        }
        return;
    }
    int count = snprintf(text, sizeof text,
                         "{\"type\":\"quick_join\",\"data\":{\"gamemode\":\"bench%u\","
                         "\"maxPlayers\":%u,\"version\":\"1\",\"name\":\"c%u\"}}",
                         c->room, option.group, c->index);
    frame_send(c, 1, text, (size_t)count);
}

static void client_ready(struct client *c, uint32_t peer) {
    uint32_t sending_members = option.senders ? option.senders : option.group;
    bool sender = c->member < sending_members;
    c->state = READY;
    ready_count++;
    if (!option.outstanding && !option.rate) {
        return;
    }
    if (sender && (peer < 1 || peer > 9)) {
        stop("the peer id of sender %u is %u: of more than one digit", c->index, peer);
    }
    c->expected = zeroed(sending_members, sizeof *c->expected);
    if (sender) {
        c->sent_ns = zeroed(slots, sizeof *c->sent_ns);
        c->missing = zeroed(slots, sizeof *c->missing);
        call_make(c, peer);
    }
}

/* The answer to the key of RFC 6455's own example is known. */
static size_t upgrade_take(struct client *c, unsigned char *bytes, size_t count) {
    const char *end = memmem(bytes, count, "\r\n\r\n", 4);
    if (!end) {
        return 0;
    }
    size_t head = (size_t)(end + 4 - (const char *)bytes);
    if (memcmp(bytes, "HTTP/1.1 101 ", 13) != 0 ||
        !memmem(bytes, head, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", 28)) {
        stop("client %u is not upgraded: %.*s", c->index, (int)count, (char *)bytes);
    }
    client_shake(c);
    return head;
}

static void client_start(uint32_t index) {
    static const char request[] = "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                                  "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)option.port)};
    struct client *c = &clients[index];
    struct epoll_event event = {.events = EPOLLIN};
    int one = 1;
    uint32_t mask = random_next();
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    memcpy(c->mask, &mask, 4);
    c->index = event.data.u32 = index;
    c->room = index / option.group;
    c->member = index % option.group;
    c->file = socket(AF_INET, SOCK_STREAM, 0);
    if (c->file < 0 || connect(c->file, (struct sockaddr *)&address, sizeof address)) {
        stop("client %u cannot connect: %s", index, strerror(errno));
    }
    setsockopt(c->file, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    epoll_ctl(poll, EPOLL_CTL_ADD, c->file, &event);
    if (option.raw) {
        client_join(c);
    } else if (send(c->file, request, sizeof request - 1, MSG_NOSIGNAL) != sizeof request - 1) {
        stop("client %u cannot send", index);
    }
}

/* == receiving ================================================================================ */

/* A message that somebody sent through the server: each once, in order, as it was sent. */
static void delivery(struct client *to, const unsigned char *frame, uint64_t now) {
    uint32_t id = letters_get(frame + shape.out_id), index = id >> 16;
    size_t text = shape.out_id + 4, rest = text + 4;
    if (index >= option.clients || clients[index].room != to->room || !clients[index].missing) {
        stop("client %u hears of a sender %u", to->index, index);
    }
    struct client *from = &clients[index];
    uint32_t slot = id & (slots - 1);
    if ((uint16_t)id != to->expected[from->member]) {
        stop("client %u hears message %u of %u, not %u", to->index, id & 65535, index,
             to->expected[from->member]);
    }
    if (memcmp(frame, from->delivered, text) != 0 ||
        memcmp(frame + rest, from->delivered + rest, shape.out_bytes - rest) != 0 ||
        !from->missing[slot] || (from == to) != (option.group == 1)) {
        stop("client %u hears of %u what was not sent: %.*s", to->index, index,
             (int)shape.out_bytes, (const char *)frame);
    }
    to->expected[from->member]++;
    delivery_count++;
    undelivered--;
    if (measuring) {
        histogram[histogram_index(now - from->sent_ns[slot])]++;
    }
    if (--from->missing[slot] == 0 && option.outstanding && sending) {
        client_mark(from, 1);
    }
}

static bool is_type(const char *text, size_t count, const char *type) {
    char start[64];
    int bytes = snprintf(start, sizeof start, "{\"type\":\"%s\"", type);
    return count >= (size_t)bytes && memcmp(text, start, (size_t)bytes) == 0;
}

static void text_take(struct client *c, const char *text, size_t count) {
    if (c->state == SHAKE && is_type(text, count, "handshake_accepted")) {
        if (option.outstanding || option.rate) {
            client_join(c);
        } else {
            client_ready(c, 0);
        }
    } else if (c->state == JOIN && is_type(text, count, "room_joined")) {
        const char *peer = memmem(text, count, "\"peerId\":", 9);
        client_ready(c, peer ? (uint32_t)strtoul(peer + 9, NULL, 10) : 0);
    } else if (is_type(text, count, "error") || is_type(text, count, "rpc_call")) {
        stop("client %u is told: %.*s", c->index, (int)count, text);
    } else {
        other_count++;
    }
}

/* Any frame but an expected delivery. Its length, or 0 while it is incomplete. */
static size_t frame_take(struct client *c, const unsigned char *p, size_t count) {
    if (count < 2) {
        return 0;
    }
    if (p[1] > 127 || (p[0] & 0xf0) != 0x80) {
        stop("client %u gets a frame that starts %02x %02x", c->index, p[0], p[1]);
    }
    size_t payload = 0, header = header_take(p, count, &payload);
    if (!header) {
        return 0;
    }
    if (payload > CARRY_BYTES_MAX - header) {
        stop("client %u gets a frame of %zu bytes", c->index, payload);
    }
    if (count < header + payload) {
        return 0;
    }
    if (p[0] == 0x81) {
        text_take(c, (const char *)p + header, payload);
    } else if (p[0] == 0x89) {
        frame_send(c, 10, (const char *)p + header, payload);
    } else {
        unsigned code = payload >= 2 ? (unsigned)p[header] << 8 | p[header + 1] : 0;
        stop("client %u gets a frame %02x, code %u", c->index, p[0], code);
    }
    return header + payload;
}

static size_t input_take(struct client *c, unsigned char *p, size_t count, uint64_t now) {
    if (c->state == READY && count >= shape.out_bytes &&
        memcmp(p, shape.common, shape.out_common) == 0) {
        delivery(c, p, now);
        return shape.out_bytes;
    }
    if (!option.raw) {
        return c->state == UPGRADE ? upgrade_take(c, p, count) : frame_take(c, p, count);
    }
    if (c->state == JOIN && count >= 4) {
        client_ready(c, 1);
        return 4;
    }
    return 0;
}

static void client_read(struct client *c) {
    static unsigned char input[CARRY_BYTES_MAX + INPUT_BYTES];
    size_t count = c->carry_bytes, at = 0;
    if (count) {
        memcpy(input, c->carry, count);
    }
    ssize_t got = recv(c->file, input + count, INPUT_BYTES, MSG_DONTWAIT);
    if (got <= 0) {
        if (got < 0 && errno == EAGAIN) {
            return;
        }
        stop("client %u is cut off: %s", c->index, got ? strerror(errno) : "end of stream");
    }
    uint64_t now = now_ns();
    count += (size_t)got;
    while (at < count) {
        size_t took = input_take(c, input + at, count - at, now);
        if (!took) {
            break;
        }
        at += took;
    }
    c->carry_bytes = count - at;
    if (c->carry_bytes > CARRY_BYTES_MAX) {
        stop("client %u gets a frame that does not end", c->index);
    }
    if (c->carry_bytes) {
        free(c->carry);
        c->carry = zeroed(1, c->carry_bytes);
        memcpy(c->carry, input + at, c->carry_bytes);
    }
}

/* == the run ================================================================================== */

static void round_until(uint64_t deadline_ns) {
    struct epoll_event events[EVENTS_MAX];
    uint64_t now = now_ns(), left = deadline_ns > now ? deadline_ns - now : 0;
    struct timespec timeout = {(time_t)(left / SECOND_NS), (long)(left % SECOND_NS)};
    int count = epoll_pwait2(poll, events, EVENTS_MAX, &timeout, NULL);
    for (int i = 0; i < count; i++) {
        struct client *c = &clients[events[i].data.u32];
        if (events[i].events & EPOLLOUT) {
            client_writable(c);
        }
        if (events[i].events & ~(uint32_t)EPOLLOUT) {
            client_read(c);
        }
    }
    flush_all();
}

/* Sends what is due by now; when the next message is. */
static uint64_t turns_take(uint64_t now) {
    while (sending && option.rate) {
        struct client *c = &clients[turns[turn]];
        uint64_t due = cycle_ns + c->phase_ns;
        if (due > now) {
            return due;
        }
        client_mark(c, 1);
        if (++turn == turn_count) {
            turn = 0;
            cycle_ns += SECOND_NS / option.rate;
        }
    }
    return UINT64_MAX;
}

/* Until then, or, once nothing is sent any more, until all is delivered. */
static void run_until(uint64_t deadline_ns, bool drain) {
    for (uint64_t now = now_ns(); now < deadline_ns && !(drain && !undelivered); now = now_ns()) {
        uint64_t next = turns_take(now);
        flush_all();
        round_until(next < deadline_ns ? next : deadline_ns);
    }
}

static void setup(void) {
    uint64_t deadline = now_ns() + SETUP_NS;
    uint32_t started = 0;
    while (ready_count < option.clients) {
        /* The first goes alone: in a large room it is to have the first peer id. */
        uint32_t most = ready_count ? ready_count + STARTING_MAX : 1;
        while (started < option.clients && started < most) {
            client_start(started++);
        }
        if (now_ns() > deadline) {
            stop("only %u of %u clients are ready", ready_count, option.clients);
        }
        round_until(deadline);
    }
}

static int phase_compare(const void *a, const void *b) {
    uint64_t x = clients[*(const uint32_t *)a].phase_ns, y = clients[*(const uint32_t *)b].phase_ns;
    return (x > y) - (x < y);
}

/* Open loop: each sender at a moment of its own within the period. Closed loop: all at once. */
static void sending_start(void) {
    uint32_t sending_members = option.senders ? option.senders : option.group;
    sending = true;
    for (uint32_t i = 0; i < option.clients; i++) {
        if (clients[i].member < sending_members) {
            turns[turn_count++] = i;
            if (option.rate) {
                clients[i].phase_ns = random_next() % (SECOND_NS / option.rate);
            }
            client_mark(&clients[i], option.outstanding);
        }
    }
    qsort(turns, turn_count, sizeof *turns, phase_compare);
    cycle_ns = now_ns();
}

/* Waits for what is on the way. A server that still delivers at the end of the time is saturated;
   one that has stopped has lost messages. */
static void drain(void) {
    uint64_t end = now_ns() + DRAIN_NS;
    while (undelivered && now_ns() < end) {
        uint64_t before = delivery_count;
        run_until(now_ns() + QUIET_NS, true);
        if (undelivered && delivery_count == before) {
            stop("%llu deliveries are missing", (unsigned long long)undelivered);
        }
    }
}

static void measure(void) {
    sending_start();
    run_until(now_ns() + WARM_NS, false);
    struct usage server = usage_of(option.pid), own = usage_take("self");
    uint64_t sent = sent_count, deliveries = delivery_count, begin = now_ns();
    measuring = true;
    run_until(begin + option.ms * (SECOND_NS / 1000), false);
    measuring = sending = false;
    uint64_t elapsed = now_ns() - begin;
    struct usage server_after = usage_of(option.pid), own_after = usage_take("self");
    sent = sent_count - sent, deliveries = delivery_count - deliveries;
    drain();
    uint32_t receivers = option.group == 1 ? 1 : option.group - 1;
    bool behind = option.rate && (double)deliveries < 0.97 * (double)(sent * receivers);
    if (!deliveries) {
        stop("nothing is delivered");
    }
    printf("{");
    print_usage("server", server, server_after);
    print_usage("load", own, own_after);
    printf("\"ns\":%llu,\"deliveries\":%llu,\"sent\":%llu,\"others\":%llu,"
           "\"undelivered\":%llu,\"saturated\":%s,\"p50_us\":%.2f,\"p99_us\":%.2f}\n",
           (unsigned long long)elapsed, (unsigned long long)deliveries, (unsigned long long)sent,
           (unsigned long long)other_count, (unsigned long long)undelivered,
           behind || undelivered ? "true" : "false", percentile_us(0.5), percentile_us(0.99));
}

/* == the command line ========================================================================= */

static void tokens_read(void) {
    FILE *file = fopen(option.tokens, "r");
    if (!file || fseek(file, 0, SEEK_END) || ftell(file) < 0) {
        stop("cannot read %s", option.tokens);
    }
    size_t bytes = (size_t)ftell(file);
    tokens = token_next = zeroed(1, bytes + 1);
    rewind(file);
    if (fread(tokens, 1, bytes, file) != bytes) {
        stop("cannot read %s", option.tokens);
    }
    fclose(file);
}

static void options_read(int argc, char **argv, bool run) {
    const struct {
        const char *name;
        uint32_t *value;
    } keys[] = {{"port", &option.port},       {"pid", &option.pid},
                {"clients", &option.clients}, {"group", &option.group},
                {"senders", &option.senders}, {"bytes", &option.bytes},
                {"ms", &option.ms},           {"outstanding", &option.outstanding},
                {"rate", &option.rate}};
    for (int i = 2; i < argc; i++) {
        bool known = strncmp(argv[i], "tokens=", 7) == 0;
        if (known) {
            option.tokens = argv[i] + 7;
        }
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
            size_t length = strlen(keys[k].name);
            if (strncmp(argv[i], keys[k].name, length) == 0 && argv[i][length] == '=') {
                *keys[k].value = (uint32_t)strtoul(argv[i] + length + 1, NULL, 10);
                known = true;
            }
        }
        if (!known) {
            stop("what is %s?", argv[i]);
        }
    }
    if ((run && (!option.port || !option.pid)) || !option.clients || option.clients > CLIENTS_MAX ||
        !option.group || !option.ms || option.clients % option.group ||
        option.senders > option.group || option.outstanding > OUTSTANDING_MAX ||
        (option.outstanding && option.rate) ||
        (option.group > 9 && !option.senders && (option.outstanding || option.rate))) {
        stop("these numbers do not fit together; see the head of load.c");
    }
}

/* Slots for all messages on the way; in an open loop for all there will ever be. */
static void tables_make(void) {
    uint64_t run_ms = option.ms + 2 * WARM_NS / (SECOND_NS / 1000);
    uint64_t most = option.outstanding ? option.outstanding : run_ms * option.rate / 1000 + 2;
    if (most > 65536) {
        stop("more messages than sequence numbers");
    }
    while (slots < most) {
        slots *= 2;
    }
    clients = zeroed(option.clients, sizeof *clients);
    dirty = zeroed(option.clients, sizeof *dirty);
    turns = zeroed(option.clients, sizeof *turns);
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "";
    if (strcmp(mode, "ws") != 0 && strcmp(mode, "raw") != 0 && strcmp(mode, "sizes") != 0) {
        stop("usage: load ws|raw|sizes key=value...; see the head of load.c");
    }
    options_read(argc, argv, strcmp(mode, "sizes") != 0);
    option.raw = strcmp(mode, "raw") == 0;
    shape_set();
    if (strcmp(mode, "sizes") == 0) {
        printf("%zu %zu\n", shape.in_bytes, shape.out_bytes);
        return 0;
    }
    files_raise(option.clients);
    prctl(PR_SET_TIMERSLACK, 1UL);
    if (option.tokens) {
        tokens_read();
    }
    tables_make();
    poll = epoll_create1(0);
    uint64_t resident = server_resident_bytes();
    setup();
    run_until(now_ns() + SETTLE_NS, false);
    if (option.outstanding || option.rate) {
        measure();
    } else {
        printf("{\"clients\":%u,\"resident_before\":%llu,\"resident_after\":%llu}\n",
               option.clients, (unsigned long long)resident,
               (unsigned long long)server_resident_bytes());
    }
    return 0;
}

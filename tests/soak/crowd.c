/* The clients of the soak: thousands of real connections in one thread over epoll, each from an
   address of its own in 127.0.0.0/8, so that the limits by address bite none but the floods.

   Usage: crowd PORT UDP_PORT CLIENTS SEED TOKENS, a file with one token a line
   Commands come on standard input, one a line; each is answered with a line of JSON that counts
   everything from the beginning:
     play MS    everybody does something now and then, for so long
     calm       until everybody is back, has a seat and all that was asked is answered
     lap        each member says something to its room, then all are heard out
     leave      everybody goes in good order
     drain MS   as play, but nobody comes back; until all are gone or MS are over

   Of twenty clients thirteen are members of a room, three ask over HTTP, one is a player of a
   lobby, two are sockets that listen, one sends garbage. What they do is drawn from SEED; when, and
   what comes back, is the machine's. */
#define _GNU_SOURCE
#include "../bench/frames.h"
#include "../bench/measure.h"
#include "../bench/net.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

#define INPUT_BYTES (1 << 18)
#define ANSWER_BYTES_MAX (4 << 20)
#define PENDING_BYTES_MAX (1 << 20) /* of one that sends more than is read */
#define MESSAGE_BYTES_MAX 60000
#define BLOCK 20    /* clients whose roles repeat, and whose members share a room */
#define HOSTS_MAX 8 /* blocks of every 64 that share one large room */
#define SHAKEN 1000 /* of the first so many, those that listen: each hears of everybody */
#define FLOOD 300   /* connections from one address */
#define FLOOD_DATAGRAMS 500
#define STALLED_MAX 8
#define STALL_NS (8 * SECOND_NS)
#define TICK_NS (SECOND_NS / 10)
#define CONNECTS_MAX 500 /* a tick; the backlog is not endless */
#define RETRY_NS (SECOND_NS / 2)
#define CALM_NS (90 * SECOND_NS)
#define STATUSES 600
#define CODES 5000
#define TYPES_MAX 48
#define TYPE_BYTES 24

enum role { MEMBER, ASKER, PLAYER, LISTENER, GARBAGE, FLOODER };
enum state { OFF, CONNECTING, UPGRADING, READY, CLOSING };

struct tally {
    char name[TYPE_BYTES];
    uint64_t count;
};

struct client {
    int file, datagrams; /* -1: none */
    uint32_t index;
    enum role role;
    enum state state;
    bool stalled, waits, joining, socket, halves; /* halves: what it sends goes in two parts */
    uint32_t awaited, peer, player;               /* answers; ids of its seat and of its lobby */
    uint64_t due_ns;                              /* when it may try again, or reads again */
    char room[40], resume[64], token[40];
    unsigned char *carry, *pending;
    size_t carry_bytes, pending_bytes;
};

static struct {
    uint64_t opened, failed, reset, cut, lost, silent, requests, pings, pongs;
    uint64_t datagrams_out, datagrams_in, statuses[STATUSES], codes[CODES];
    struct tally sent[TYPES_MAX], received[TYPES_MAX];
} count;

static int poll;
static struct sockaddr_in server, server_datagrams;
static uint32_t clients_count, all_count, stalled_count;
static struct client *clients;
static char **tokens;
static bool playing, leaving;

static uint32_t chance(uint32_t of) {
    return random_next() % of;
}

static void tally_add(struct tally *list, const char *name, size_t bytes) {
    for (uint32_t i = 0; i < TYPES_MAX && bytes < TYPE_BYTES; i++) {
        if (!list[i].name[0]) {
            memcpy(list[i].name, name, bytes);
        }
        if (strncmp(list[i].name, name, bytes) == 0 && !list[i].name[bytes]) {
            list[i].count++;
            return;
        }
    }
    stop("an unknown type: %.*s", (int)bytes, name);
}

/* == connections ============================================================================== */

static void client_watch(struct client *c) {
    struct epoll_event event = {.data.u32 = c->index};
    event.events = (c->stalled ? 0 : EPOLLIN) | (c->waits ? EPOLLOUT : 0);
    epoll_ctl(poll, EPOLL_CTL_MOD, c->file, &event);
}

static void client_forget(struct client *c) {
    free(c->carry);
    free(c->pending);
    c->carry = c->pending = NULL;
    c->carry_bytes = c->pending_bytes = 0;
    stalled_count -= c->stalled;
    c->stalled = c->waits = c->joining = c->socket = false;
    c->peer = 0;
    c->awaited = 0;
}

/* `reset`: whatever is on its way is lost, in both directions. */
static void client_close(struct client *c, bool reset) {
    struct linger hard = {1, 0};
    if (c->file < 0) {
        return;
    }
    if (reset) {
        setsockopt(c->file, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    }
    close(c->file);
    client_forget(c);
    c->file = -1;
    c->state = OFF;
    c->due_ns = now_ns() + RETRY_NS;
}

static void client_send(struct client *c, const void *bytes, size_t bytes_count) {
    ssize_t took = 0;
    if (!c->pending_bytes && c->state != CONNECTING) {
        took = send(c->file, bytes, c->halves ? bytes_count / 2 : bytes_count, MSG_NOSIGNAL);
        took = took < 0 ? 0 : took; /* what is wrong shows when it is read */
    }
    size_t rest = bytes_count - (size_t)took;
    if (rest > 0 && c->pending_bytes + rest <= PENDING_BYTES_MAX) {
        c->pending = realloc(c->pending, c->pending_bytes + rest);
        if (!c->pending) {
            stop("no memory");
        }
        memcpy(c->pending + c->pending_bytes, (const char *)bytes + took, rest);
        c->pending_bytes += rest;
    }
    if (c->waits != (c->pending_bytes > 0)) {
        c->waits = !c->waits;
        client_watch(c);
    }
}

static void client_writable(struct client *c) {
    int error = 0;
    socklen_t bytes = sizeof error;
    if (c->state == CONNECTING) {
        getsockopt(c->file, SOL_SOCKET, SO_ERROR, &error, &bytes);
        if (error) {
            count.failed++;
            client_close(c, false);
            return;
        }
        count.opened++;
        c->state = c->socket ? UPGRADING : READY;
        c->state = c->role == FLOODER ? CLOSING : c->state;
    }
    ssize_t took = c->pending_bytes ? send(c->file, c->pending, c->pending_bytes, MSG_NOSIGNAL) : 0;
    if (took > 0) {
        c->pending_bytes -= (size_t)took;
        memmove(c->pending, c->pending + took, c->pending_bytes);
    }
    if (!c->pending_bytes || (took < 0 && errno != EAGAIN)) {
        free(c->pending);
        c->pending = NULL;
        c->pending_bytes = 0;
        c->waits = false;
        client_watch(c);
        if (c->role == FLOODER || (c->role == GARBAGE && c->state == CLOSING)) {
            shutdown(c->file, SHUT_WR);
        }
    }
}

static struct sockaddr_in address_of(const struct client *c) {
    struct sockaddr_in own = {.sin_family = AF_INET};
    own.sin_addr.s_addr = htonl(c->role == FLOODER ? UINT32_C(127) << 24 | 251 << 16 | 1
                                                   : UINT32_C(127) << 24 | (c->index + 256));
    return own;
}

__attribute__((format(printf, 2, 3))) static void ask(struct client *c, const char *format, ...) {
    char text[4096];
    va_list list;
    va_start(list, format);
    int bytes = vsnprintf(text, sizeof text, format, list);
    va_end(list);
    c->awaited++;
    count.requests++;
    client_send(c, text, (size_t)bytes);
}

static void client_open(struct client *c) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.u32 = c->index};
    struct sockaddr_in own = address_of(c);
    int one = 1;
    c->file = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->file < 0) {
        stop("client %u has no socket: %s", c->index, strerror(errno));
    }
    setsockopt(c->file, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(c->file, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (bind(c->file, (struct sockaddr *)&own, sizeof own) ||
        (connect(c->file, (struct sockaddr *)&server, sizeof server) && errno != EINPROGRESS)) {
        count.failed++;
        client_close(c, false);
        return;
    }
    c->state = CONNECTING;
    c->waits = true;
    epoll_ctl(poll, EPOLL_CTL_ADD, c->file, &event);
    if (c->role == MEMBER || c->role == LISTENER) {
        c->socket = true;
        ask(c,
            "GET /ws?token=%s HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            tokens[c->index]);
    } else {
        ask(c, "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n");
    }
}

/* == messages ================================================================================= */

/* A masked frame. The opcode has the bits of its first byte that are not FIN. */
static void frame_send(struct client *c, unsigned char opcode, const void *bytes, size_t payload) {
    static unsigned char frame[MESSAGE_BYTES_MAX + 16];
    size_t header = header_put(frame, opcode, payload, true);
    uint32_t mask = random_next();
    memcpy(frame + header, &mask, 4);
    for (size_t i = 0; i < payload; i++) {
        frame[header + 4 + i] = ((const unsigned char *)bytes)[i] ^ frame[header + (i & 3)];
    }
    client_send(c, frame, header + 4 + payload);
}

static void close_send(struct client *c, unsigned code) {
    unsigned char bytes[2] = {(unsigned char)(code >> 8), (unsigned char)code};
    frame_send(c, 8, bytes, 2);
}

__attribute__((format(printf, 3, 4))) static void say(struct client *c, const char *type,
                                                      const char *format, ...) {
    static char text[MESSAGE_BYTES_MAX];
    int head = snprintf(text, sizeof text, "{\"type\":\"%s\",\"data\":", type);
    va_list list;
    va_start(list, format);
    int data = vsnprintf(text + head, sizeof text - (size_t)head - 1, format, list);
    va_end(list);
    size_t bytes = (size_t)head + (size_t)data;
    if (bytes >= sizeof text - 1) {
        stop("a message of %zu bytes", bytes);
    }
    text[bytes++] = '}';
    tally_add(count.sent, type, strlen(type));
    frame_send(c, 1, text, bytes);
}

/* Some letters; borrowed until the next call. */
static const char *filling(uint32_t bytes) {
    static char text[MESSAGE_BYTES_MAX];
    memset(text, 'a' + (int)chance(26), bytes);
    text[bytes] = 0;
    return text;
}

/* A room that all members of its block share, or of eight blocks. */
static void room_enter(struct client *c) {
    uint32_t block = c->index / BLOCK, large = block % 64 < HOSTS_MAX;
    c->joining = true;
    if (c->resume[0]) {
        say(c, "join_room",
            "{\"roomId\":\"%s\",\"version\":\"1\",\"name\":\"c%u\",\"resumeToken\":\"%s\"}",
            c->room, c->index, c->resume);
        c->resume[0] = 0;
        return;
    }
    say(c, "quick_join",
        "{\"gamemode\":\"%s%u\",\"maxPlayers\":%u,\"version\":\"1\",\"name\":\"c%u\"}",
        large ? "large" : "g", large ? block / 64 : block, large ? 128 : 16, c->index);
}

/* == what comes back ========================================================================== */

/* The text behind `key`, to the next quote. */
static void text_find(const char *text, const char *key, char *into, size_t bytes) {
    const char *at = strstr(text, key);
    size_t length = at ? strcspn(at + strlen(key), "\"") : bytes;
    if (length < bytes) {
        memcpy(into, at + strlen(key), length);
        into[length] = 0;
    }
}

static uint32_t number_find(const char *text, const char *key) {
    const char *at = strstr(text, key);
    return at ? (uint32_t)strtoul(at + strlen(key), NULL, 10) : 0;
}

/* `text` is terminated. */
static void message_take(struct client *c, const char *text) {
    size_t type = strncmp(text, "{\"type\":\"", 9) == 0 ? strcspn(text + 9, "\"") : TYPE_BYTES;
    tally_add(count.received, text + 9, type);
    if (strncmp(text + 9, "room_joined\"", 12) == 0) {
        c->joining = false;
        c->peer = number_find(text, "\"peerId\":");
        text_find(text, "\"roomId\":\"", c->room, sizeof c->room);
        text_find(text, "\"resumeToken\":\"", c->resume, sizeof c->resume);
    } else if (strncmp(text + 9, "kicked\"", 7) == 0) {
        c->peer = 0;
        c->resume[0] = 0;
    } else if (strncmp(text + 9, "error\"", 6) == 0) {
        c->joining = false;
        if (!strstr(text, "not_") && !strstr(text, "rate_limited") && !strstr(text, "invalid_t")) {
            c->due_ns = now_ns() + RETRY_NS;
        }
    }
}

static void close_take(struct client *c, const unsigned char *p, size_t payload) {
    unsigned code = payload >= 2 ? (unsigned)p[0] << 8 | p[1] : 1005;
    count.codes[code < CODES ? code : 0]++;
    if (c->state != CLOSING) {
        frame_send(c, 8, p, payload < 2 ? 0 : 2);
        c->state = CLOSING;
    }
    if (code == 4001 || code == 1008) {
        c->resume[0] = 0;
    }
}

static size_t frame_take(struct client *c, unsigned char *p, size_t bytes) {
    size_t payload = 0, header = header_take(p, bytes, &payload);
    if (!header || bytes - header < payload) {
        return 0;
    }
    unsigned char *text = p + header, behind = text[payload];
    if (p[0] == 0x81) {
        text[payload] = 0;
        message_take(c, (const char *)text);
        text[payload] = behind;
    } else if (p[0] == 0x88) {
        close_take(c, text, payload);
    } else if (p[0] == 0x89) {
        frame_send(c, 10, text, payload);
    } else if (p[0] == 0x8A) {
        count.pongs++;
    } else {
        stop("client %u gets a frame that starts %02x", c->index, p[0]);
    }
    return header + payload;
}

/* Where a chunked body ends, or 0. */
static size_t chunks_end(const char *text, size_t at, size_t bytes) {
    for (size_t chunk = 1; chunk;) {
        const char *line = memmem(text + at, bytes - at, "\r\n", 2);
        if (!line) {
            return 0;
        }
        chunk = strtoul(text + at, NULL, 16);
        at = (size_t)(line - text) + 2 + chunk + 2;
        if (at > bytes) {
            return 0;
        }
    }
    return at;
}

/* The length of an answer, or 0 while it is incomplete. */
static size_t answer_end(const char *text, size_t bytes, uint32_t status) {
    const char *head = memmem(text, bytes, "\r\n\r\n", 4);
    if (!head) {
        return 0;
    }
    size_t at = (size_t)(head - text) + 4;
    const char *length = memmem(text, at, "Content-Length: ", 16);
    if (status < 200 || status == 204 || status == 304) {
        return at;
    }
    if (memmem(text, at, "Transfer-Encoding: chunked", 26)) {
        return chunks_end(text, at, bytes);
    }
    at += length ? strtoul(length + 16, NULL, 10) : 0;
    return at > bytes ? 0 : at;
}

static size_t answer_take(struct client *c, const char *text, size_t bytes) {
    uint32_t status = bytes > 12 ? (uint32_t)strtoul(text + 9, NULL, 10) : 0;
    size_t end = bytes > 12 ? answer_end(text, bytes, status) : 0;
    if (!end) {
        return 0;
    }
    if (memcmp(text, "HTTP/1.1 ", 9) != 0 || status < 100 || status >= STATUSES) {
        stop("client %u gets no answer: %.80s", c->index, text);
    }
    count.statuses[status]++;
    c->awaited -= c->awaited > 0;
    if (status == 101) {
        c->state = READY;
        if (c->role == LISTENER && c->index < SHAKEN) {
            say(c, "handshake", "{\"version\":\"1\",\"name\":\"c%u\"}", c->index);
        }
    } else if (c->role == PLAYER && memmem(text, end, "\"udp_token\":\"", 13)) {
        const char *body = strstr(text, "\r\n\r\n");
        c->player = number_find(body, "\"player_id\":");
        text_find(body, "\"udp_token\":\"", c->token, sizeof c->token);
    }
    return end;
}

static void client_take(struct client *c, unsigned char *bytes, size_t total) {
    size_t at = 0;
    while (at < total) {
        bool upgraded = c->socket && c->state != UPGRADING;
        size_t took = upgraded ? frame_take(c, bytes + at, total - at)
                               : answer_take(c, (const char *)bytes + at, total - at);
        if (!took) {
            break;
        }
        at += took;
    }
    free(c->carry);
    c->carry = NULL;
    c->carry_bytes = total - at;
    if (c->carry_bytes) {
        c->carry = zeroed(1, c->carry_bytes);
        memcpy(c->carry, bytes + at, c->carry_bytes);
    }
}

static void client_ended(struct client *c, bool reset) {
    count.reset += reset;
    count.cut += !reset && c->carry_bytes > 0;
    count.lost += c->awaited;
    if (c->state == READY && c->role != GARBAGE && !reset) {
        count.silent++; /* an end without a word why */
    }
    client_close(c, false);
}

static void client_read(struct client *c) {
    static unsigned char input[ANSWER_BYTES_MAX + INPUT_BYTES + 1];
    size_t had = c->carry_bytes;
    if (had > ANSWER_BYTES_MAX) {
        stop("client %u gets an answer that does not end", c->index);
    }
    if (had) {
        memcpy(input, c->carry, had);
    }
    ssize_t got = recv(c->file, input + had, INPUT_BYTES, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) {
        return;
    }
    if (got <= 0) {
        client_ended(c, got < 0);
        return;
    }
    input[had + (size_t)got] = 0;
    client_take(c, input, had + (size_t)got);
}

/* == what clients do ========================================================================== */

static void member_says(struct client *c) {
    uint32_t what = chance(100);
    if (what < 55) {
        say(c, "player_state", "{\"position\":[%u,1,2],\"rotation\":[0,%u,0],\"velocity\":\"%s\"}",
            chance(1000), chance(1000), filling(chance(300)));
    } else if (what < 70) {
        say(c, "player_snapshot", "{\"payload\":\"%s\"}", filling(chance(400)));
    } else if (what < 88) {
        say(c, "rpc_call", "{\"targetPeer\":0,\"method\":\"m\",\"args\":\"%s\"}",
            filling(chance(600)));
    } else if (what < 92) {
        say(c, "rpc_call", "{\"targetPeer\":%u,\"method\":\"m\",\"args\":{}}", 1 + chance(12));
    } else if (what < 94) {
        say(c, "rpc_call", "{\"method\":\"long\",\"args\":\"%s\"}", filling(4000));
    } else if (what < 97) {
        say(c, "chat", "{\"text\":\"%s\"}", filling(chance(80)));
    } else {
        say(c, "ping", "{}");
    }
}

/* A frame that no client may send. */
static void garbage_frame(struct client *c) {
    static const unsigned char heads[][4] = {
        {0x81, 0x05, 'h', 'e'},   /* not masked */
        {0xC1, 0x80, 0, 0},       /* a reserved bit */
        {0x83, 0x80, 0, 0},       /* a reserved opcode */
        {0x89, 0xFE, 1, 0},       /* a long ping */
        {0x82, 0x80, 0, 0},       /* binary */
        {0x80, 0x80, 0, 0},       /* goes on with nothing */
        {0x81, 0xFF, 0xFF, 0xFF}, /* endless */
    };
    unsigned char bytes[64];
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (unsigned char)random_next();
    }
    memcpy(bytes, heads[chance(sizeof heads / sizeof *heads)], 4);
    client_send(c, bytes, sizeof bytes);
    c->state = CLOSING;
}

static void member_stalls(struct client *c) {
    if (stalled_count < STALLED_MAX && c->peer) {
        c->stalled = true;
        stalled_count++;
        c->due_ns = now_ns() + STALL_NS;
        client_watch(c);
    }
}

/* What seldom happens: it goes, is thrown out, comes again, floods, talks nonsense, stops
   reading. */
static void member_acts(struct client *c) {
    switch (chance(9)) {
    case 0:
        say(c, "leave_room", "{}");
        c->peer = 0;
        c->resume[0] = 0;
        break;
    case 1:
    case 2:
        client_close(c, true); /* and comes back with its resume token */
        break;
    case 3:
        close_send(c, 1000);
        c->state = CLOSING;
        break;
    case 4:
        say(c, "kick", "{\"peerId\":%u}", 1 + chance(16));
        say(c, "ban", "{\"ip\":\"203.0.113.%u\"}", chance(256));
        break;
    case 5:
        for (uint32_t i = 0; i < 120; i++) {
            say(c, "ping", "{}");
        }
        break;
    case 6:
        garbage_frame(c);
        break;
    case 7:
        frame_send(c, 9, "are you there", 13);
        count.pings++;
        break;
    default:
        member_stalls(c);
    }
}

static void asker_acts(struct client *c) {
    static const char *const targets[] = {"/healthz",    "/readyz",          "/lobbies",
                                          "/api/rooms",  "/lobbies?limit=9", "/nowhere",
                                          "/api/status", "/lobbies/L0",      "/%zz"};
    uint32_t what = chance(40);
    const char *token = tokens[c->index];
    if (what < 30) {
        ask(c, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n",
            targets[chance(sizeof targets / sizeof *targets)]);
    } else if (what < 32) {
        ask(c, "POST /lobbies HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}");
    } else if (what < 34) {
        ask(c, "POST /lobbies HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n{\"code\":}");
    } else if (what < 36) {
        ask(c,
            "POST /api/rooms HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\n"
            "Content-Length: 18\r\n\r\n{\"gamemode\":\"made\"}",
            token);
    } else if (what < 37 && chance(20) == 0) {
        ask(c, "GET /api/presence HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\n\r\n", token);
    } else if (what < 38) {
        for (uint32_t i = 0; i < (chance(10) ? 10 : 200); i++) {
            ask(c, "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n");
        }
    } else {
        shutdown(c->file, SHUT_WR);
        c->state = CLOSING;
    }
}

/* A request in which some bytes are others; or nothing but others. */
static void garbage_acts(struct client *c) {
    char text[600];
    int bytes = snprintf(text, sizeof text,
                         "POST /lobbies/L%u/join HTTP/1.1\r\nHost: h\r\nContent-Length: 25\r\n"
                         "X-Some: %s\r\n\r\n{\"player_name\":\"garbage\"}\n",
                         chance(50), filling(chance(300)));
    uint32_t changes = chance(4) ? 1 + chance(4) : (uint32_t)bytes;
    for (uint32_t i = 0; i < changes; i++) {
        text[chance((uint32_t)bytes)] = (char)random_next();
    }
    client_send(c, text, (size_t)bytes);
    if (!c->pending_bytes) {
        shutdown(c->file, SHUT_WR);
    }
    c->state = CLOSING;
}

/* == players by UDP =========================================================================== */

static void datagram_send(struct client *c, const void *bytes, size_t bytes_count) {
    if (sendto(c->datagrams, bytes, bytes_count, MSG_DONTWAIT, (struct sockaddr *)&server_datagrams,
               sizeof server_datagrams) >= 0) {
        count.datagrams_out++;
    }
}

static void player_binds(struct client *c) {
    char text[256];
    struct sockaddr_in own = address_of(c);
    if (c->datagrams >= 0) {
        close(c->datagrams);
    }
    c->datagrams = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (c->datagrams < 0 || bind(c->datagrams, (struct sockaddr *)&own, sizeof own)) {
        stop("player %u has no socket: %s", c->index, strerror(errno));
    }
    int bytes = snprintf(text, sizeof text,
                         "{\"type\":\"join\",\"lobby_code\":\"L%u\",\"player_id\":%u,"
                         "\"udp_token\":\"%s\",\"batch\":%s}",
                         c->index / BLOCK / 32, c->player, c->token, chance(2) ? "true" : "false");
    datagram_send(c, text, (size_t)bytes);
}

static void player_acts(struct client *c) {
    uint32_t lobby = c->index / BLOCK / 32;
    char body[128];
    if (!c->player) {
        int bytes = snprintf(body, sizeof body, "{\"code\":\"L%u\",\"max_players\":64}", lobby);
        ask(c, "POST /lobbies HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", bytes, body);
        bytes = snprintf(body, sizeof body, "{\"player_name\":\"p%u\"}", c->index);
        ask(c, "POST /lobbies/L%u/join HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", lobby,
            bytes, body);
    } else if (c->datagrams < 0 || chance(20) == 0) {
        player_binds(c);
    } else if (chance(10) == 0) {
        int bytes = snprintf(body, sizeof body, "{\"player_id\":%u,\"udp_token\":\"%s\"}",
                             c->player, c->token);
        ask(c, "POST /lobbies/L%u/leave HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", lobby,
            bytes, body);
        c->player = 0;
    }
}

static void player_moves(struct client *c) {
    char text[256], heard[2048];
    double x = c->index % 50 + (double)chance(1000) / 500;
    int bytes = snprintf(text, sizeof text,
                         "{\"type\":\"position_update\",\"player_id\":%u,\"position\":{\"x\":%.6f,"
                         "\"y\":1,\"z\":%.6f},\"rotation\":{\"x\":0,\"y\":%.4f,\"z\":0}}",
                         c->player, x, -x, x / 60);
    datagram_send(c, text, (size_t)bytes);
    for (uint32_t i = 0; i < 64 && recv(c->datagrams, heard, sizeof heard, MSG_DONTWAIT) > 0; i++) {
        count.datagrams_in++;
    }
}

/* == floods =================================================================================== */

/* From one address: more datagrams than it may send, none of which is any good. */
static void flood_datagrams(uint32_t datagrams) {
    struct client flooder = {.role = FLOODER, .datagrams = socket(AF_INET, SOCK_DGRAM, 0)};
    struct sockaddr_in own = address_of(&flooder);
    unsigned char bytes[128];
    if (flooder.datagrams < 0 || bind(flooder.datagrams, (struct sockaddr *)&own, sizeof own)) {
        stop("no socket for a flood: %s", strerror(errno));
    }
    for (uint32_t i = 0; i < datagrams; i++) {
        for (size_t k = 0; k < sizeof bytes; k++) {
            bytes[k] = (unsigned char)random_next();
        }
        bytes[0] = (unsigned char[]){'{', 0xB1, 0, 0xFF}[chance(4)];
        datagram_send(&flooder, bytes, 1 + chance(sizeof bytes));
    }
    close(flooder.datagrams);
}

/* Also from one: more connections than it may open. */
static void flood(void) {
    flood_datagrams(FLOOD_DATAGRAMS);
    for (uint32_t i = clients_count; i < all_count; i++) {
        if (clients[i].state == OFF) {
            client_open(&clients[i]);
        }
    }
}

/* Long messages for one that does not read, from those that share its room. */
static void stalled_feed(const struct client *to) {
    uint32_t first = to->index / BLOCK * BLOCK;
    for (uint32_t i = first; i < first + BLOCK && i < clients_count; i++) {
        struct client *c = &clients[i];
        if (c->role == MEMBER && c->state == READY && !c->stalled && c->peer &&
            c->pending_bytes == 0 && strcmp(c->room, to->room) == 0 && chance(3) == 0) {
            say(c, "rpc_call", "{\"targetPeer\":%u,\"method\":\"m\",\"args\":\"%s\"}", to->peer,
                filling(30000));
        }
    }
}

/* == the run ================================================================================== */

static bool is_idle(const struct client *c) {
    return c->state == READY && !c->awaited && !c->pending_bytes && !c->stalled &&
           (c->role != MEMBER || c->peer);
}

static void client_acts(struct client *c) {
    if (c->state != READY || c->stalled || c->pending_bytes) {
        return;
    }
    if (c->role == MEMBER && c->peer) {
        if (chance(40)) {
            member_says(c);
        } else {
            member_acts(c);
        }
    } else if (c->role == ASKER) {
        asker_acts(c);
    } else if (c->role == PLAYER && !c->awaited) {
        player_acts(c);
    } else if (c->role == GARBAGE && !c->awaited) {
        garbage_acts(c);
    }
}

/* What a client must do to be whole again. */
static void client_tend(struct client *c, uint64_t now) {
    if (c->stalled && (now > c->due_ns || !playing)) {
        c->stalled = false;
        stalled_count--;
        client_watch(c);
    } else if (c->stalled) {
        stalled_feed(c);
    } else if (c->role == MEMBER && c->state == READY && !c->peer && !c->joining &&
               now > c->due_ns && !leaving) {
        c->due_ns = now + RETRY_NS;
        room_enter(c);
    } else if (c->role == PLAYER && c->player && c->datagrams >= 0 && playing && chance(2)) {
        player_moves(c);
    }
}

static void clients_tend(uint64_t now) {
    uint32_t connects = 0;
    for (uint32_t i = 0; i < clients_count; i++) {
        struct client *c = &clients[i];
        if (c->state != OFF) {
            client_tend(c, now);
        } else if (!leaving && now > c->due_ns && connects++ < CONNECTS_MAX) {
            client_open(c);
        }
    }
}

static void round_make(void) {
    struct epoll_event events[EVENTS_MAX];
    int ready = epoll_wait(poll, events, EVENTS_MAX, 1);
    for (int i = 0; i < ready; i++) {
        struct client *c = &clients[events[i].data.u32];
        if (c->file >= 0 && events[i].events & EPOLLOUT) {
            client_writable(c);
        }
        if (c->file >= 0 && events[i].events & ~(uint32_t)EPOLLOUT && c->state != CONNECTING) {
            client_read(c);
        }
    }
}

/* Half of the clients act in each second. */
static void run(uint64_t duration_ns, bool (*over)(void)) {
    uint64_t begin = now_ns(), tick = 0, acted = 0, flooded = 0;
    for (uint64_t now = begin; now - begin < duration_ns && !(over && over()); now = now_ns()) {
        uint64_t due = playing ? (now - begin) / 1000 * (clients_count / 2) / 1000000 : 0;
        for (; acted < due; acted++) {
            client_acts(&clients[chance(clients_count)]);
        }
        if (now - begin >= tick) {
            clients_tend(now);
            tick = now - begin + TICK_NS;
        }
        if (playing && (now - begin) / SECOND_NS > flooded) {
            flooded++;
            flood();
        }
        round_make();
    }
}

static uint32_t clients_in(enum state state) {
    uint32_t found = 0;
    for (uint32_t i = 0; i < all_count; i++) {
        found += clients[i].state == state;
    }
    return found;
}

static bool all_idle(void) {
    static uint64_t next; /* not at each round */
    if (now_ns() < next) {
        return false;
    }
    next = now_ns() + TICK_NS;
    for (uint32_t i = 0; i < all_count; i++) {
        if (i < clients_count ? !is_idle(&clients[i]) : clients[i].state != OFF) {
            return false;
        }
    }
    return true;
}

static bool all_off(void) {
    return clients_in(OFF) == all_count;
}

/* == the report =============================================================================== */

static void print_tally(const char *name, const struct tally *list) {
    printf(",\"%s\":{", name);
    for (uint32_t i = 0; i < TYPES_MAX && list[i].name[0]; i++) {
        printf("%s\"%s\":%llu", i ? "," : "", list[i].name, (unsigned long long)list[i].count);
    }
    printf("}");
}

static void print_numbers(const char *name, const uint64_t *list, uint32_t entries) {
    const char *comma = "";
    printf(",\"%s\":{", name);
    for (uint32_t i = 0; i < entries; i++) {
        if (list[i]) {
            printf("%s\"%u\":%llu", comma, i, (unsigned long long)list[i]);
            comma = ",";
        }
    }
    printf("}");
}

/* How many hear of it when each member says one thing to its room. */
static uint64_t listeners_count(void) {
    uint64_t pairs = 0;
    for (uint32_t i = 0; i < clients_count; i++) {
        for (uint32_t k = 0; clients[i].peer && k < clients_count; k++) {
            pairs += k != i && clients[k].peer && strcmp(clients[i].room, clients[k].room) == 0;
        }
    }
    return pairs;
}

static void print_report(void) {
    uint64_t members = 0, sockets = 0;
    for (uint32_t i = 0; i < clients_count; i++) {
        members += clients[i].peer > 0;
        sockets += clients[i].socket && clients[i].state == READY;
    }
    printf("{\"held\":%u,\"members\":%llu,\"sockets\":%llu,\"listeners\":%llu", clients_in(READY),
           (unsigned long long)members, (unsigned long long)sockets,
           (unsigned long long)listeners_count());
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {{"opened", count.opened},
                {"failed", count.failed},
                {"reset", count.reset},
                {"cut", count.cut},
                {"lost", count.lost},
                {"silent", count.silent},
                {"requests", count.requests},
                {"pings", count.pings},
                {"pongs", count.pongs},
                {"datagrams_out", count.datagrams_out},
                {"datagrams_in", count.datagrams_in}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        printf(",\"%s\":%llu", rows[i].name, (unsigned long long)rows[i].value);
    }
    print_numbers("statuses", count.statuses, STATUSES);
    print_numbers("codes", count.codes, CODES);
    print_tally("sent", count.sent);
    print_tally("received", count.received);
    printf("}\n");
    fflush(stdout);
}

/* == commands ================================================================================= */

static bool all_ponged(void) {
    return count.pongs >= count.pings;
}

/* Each socket is asked whether it is there: what it was sent before comes before the answer. */
static void hear_out(void) {
    count.pings = count.pongs = 0;
    for (uint32_t i = 0; i < clients_count; i++) {
        if (clients[i].socket && clients[i].state == READY) {
            frame_send(&clients[i], 9, "lap", 3);
            count.pings++;
        }
    }
    run(CALM_NS, all_ponged);
}

static void lap(void) {
    for (uint32_t i = 0; i < clients_count; i++) {
        if (clients[i].peer && clients[i].state == READY) {
            say(&clients[i], "rpc_call", "{\"targetPeer\":0,\"method\":\"lap\",\"args\":{}}");
        }
    }
    hear_out(); /* all is in */
    hear_out(); /* all is out */
}

static void leave(void) {
    leaving = true;
    for (uint32_t i = 0; i < clients_count; i++) {
        struct client *c = &clients[i];
        if (c->state != READY) {
            continue;
        }
        if (c->socket) {
            close_send(c, 1000);
        } else {
            shutdown(c->file, SHUT_WR);
        }
        c->state = CLOSING;
        c->resume[0] = 0;
        c->player = 0;
    }
    run(CALM_NS, all_off);
    flood_datagrams(1); /* with it the server learns what the system dropped before */
    leaving = false;
}

static void command_do(const char *line) {
    uint64_t ms = 0;
    char name[16] = "";
    if (sscanf(line, "%15s %lu", name, &ms) < 1) {
        stop("what is %s?", line);
    }
    playing = strcmp(name, "play") == 0 || strcmp(name, "drain") == 0;
    leaving = strcmp(name, "drain") == 0;
    if (playing) {
        run(ms * (SECOND_NS / 1000), leaving ? all_off : NULL);
    } else if (strcmp(name, "calm") == 0) {
        run(CALM_NS, all_idle);
    } else if (strcmp(name, "lap") == 0) {
        lap();
    } else if (strcmp(name, "leave") == 0) {
        leave();
    } else {
        stop("what is %s?", line);
    }
    print_report();
}

static void tokens_read(const char *path) {
    FILE *file = fopen(path, "r");
    char line[1024];
    tokens = zeroed(all_count, sizeof *tokens);
    for (uint32_t i = 0; i < clients_count; i++) {
        if (!file || !fgets(line, sizeof line, file)) {
            stop("%s has no token for client %u", path, i);
        }
        line[strcspn(line, "\n")] = 0;
        tokens[i] = strdup(line);
    }
    fclose(file);
}

static void clients_make(void) {
    static const enum role roles[BLOCK] = {
        MEMBER, MEMBER, MEMBER, MEMBER, MEMBER, MEMBER, MEMBER,   MEMBER,   MEMBER, MEMBER,
        MEMBER, MEMBER, MEMBER, ASKER,  ASKER,  ASKER,  LISTENER, LISTENER, PLAYER, GARBAGE};
    clients = zeroed(all_count, sizeof *clients);
    for (uint32_t i = 0; i < all_count; i++) {
        clients[i].index = i;
        clients[i].file = clients[i].datagrams = -1;
        clients[i].role = i < clients_count ? roles[i % BLOCK] : FLOODER;
        clients[i].halves = i % 7 == 0;
    }
}

int main(int argc, char **argv) {
    char line[64];
    if (argc != 6) {
        stop("usage: crowd PORT UDP_PORT CLIENTS SEED TOKENS");
    }
    clients_count = (uint32_t)strtoul(argv[3], NULL, 10);
    all_count = clients_count + FLOOD;
    random_state = (uint32_t)strtoul(argv[4], NULL, 10) * 2654435761u | 1;
    server.sin_family = server_datagrams.sin_family = AF_INET;
    server.sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10));
    server_datagrams.sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10));
    server.sin_addr.s_addr = server_datagrams.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    files_raise(all_count + clients_count / BLOCK + 16);
    tokens_read(argv[5]);
    clients_make();
    poll = epoll_create1(0);
    while (fgets(line, sizeof line, stdin)) {
        command_do(line);
    }
    return 0;
}

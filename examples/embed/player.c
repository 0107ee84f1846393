/* player.c: the local player, a client without a socket.  SPDX: MIT-0

   It plays by the same rules as everybody: HTTP for its seat in the lobby, a WebSocket for the
   room, datagrams for where it is. Only the way differs: what a socket would carry are arguments of
   mps_* calls, made in the game's own thread between two steps of the server. The port does not
   know its connection and leaves it alone; its datagrams come out of the port's on_datagram.

     1 bytes out     3 datagrams
     2 bytes in      4 life                                                                    */
#include "player.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JOIN_EVERY_US 250000 /* until the welcome comes */
#define STATE_EVERY_US 50000
#define SPANS_MAX 8
#define WALK_SPEED 2.5f /* units a second */
#define TURN_SPEED 0.5f /* radians a second */
#define DATAGRAM_BYTES_MAX 1200

/* An address that no socket has: datagrams to it must not be somebody else's. Loopback, because
   whoever plays here is as local as can be, and a port that is given to no program. */
static const mps_address own_address = {.ip = {[10] = 0xff, 0xff, 127, 0, 0, 1}, .port = 1};

/* == 1 bytes out =================================================================================
   Everything is put into the outbox, and goes as the server has room, like on any connection. */

static void outbox_add(struct player *p, const void *bytes, size_t count) {
    if (count > OUTBOX_BYTES - p->outbox_bytes) {
        p->state = PLAYER_LOST;
        return;
    }
    memcpy(p->outbox + p->outbox_bytes, bytes, count);
    p->outbox_bytes += count;
}

static void outbox_send(struct player *p, uint64_t now) {
    size_t room = mps_tcp_room(p->server, p->conn);
    size_t count = p->outbox_bytes < room ? p->outbox_bytes : room;
    if (count && mps_tcp_input(p->server, p->conn, now, p->outbox, count) == MPS_OK) {
        p->outbox_bytes -= count;
        memmove(p->outbox, p->outbox + count, p->outbox_bytes);
    }
}

static void ask(struct player *p, const char *path, const char *body) {
    char text[512];
    int bytes = snprintf(text, sizeof text,
                         "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%s",
                         path, strlen(body), body);
    outbox_add(p, text, (size_t)bytes);
}

/* Masks are against caches between two hosts (RFC 6455, 10.3). Here is nothing in between, and the
   mask of zeros is as good as any. */
static void frame_add(struct player *p, uint8_t opcode, const char *payload, size_t bytes) {
    uint8_t head[8] = {0x80 | opcode, (uint8_t)(0x80 | (bytes < 126 ? bytes : 126))};
    size_t used = 2;
    if (bytes >= 126) {
        head[used++] = (uint8_t)(bytes >> 8);
        head[used++] = (uint8_t)bytes;
    }
    outbox_add(p, head, used + 4);
    outbox_add(p, payload, bytes);
}

static void tell(struct player *p, const char *json) {
    frame_add(p, 1, json, strlen(json));
}

/* == 2 bytes in ==================================================================================
   Answers and frames are looked at when they are whole. The server writes compact JSON. */

/* The value behind "name": in the text. */
static const char *member(const char *json, const char *name) {
    char key[64];
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *at = strstr(json, key);
    return at ? at + strlen(key) : NULL;
}

static void seated(struct player *p, const char *body) {
    const char *id = member(body, "player_id"), *token = member(body, "udp_token");
    if (!id || !token) {
        p->state = PLAYER_LOST;
        return;
    }
    p->id = (uint32_t)strtoul(id, NULL, 10);
    for (size_t i = 0; i < sizeof p->token; i++) {
        char pair[3] = {token[1 + 2 * i], token[2 + 2 * i], 0}; /* behind its quote */
        p->token[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    static const char upgrade[] = "GET /ws HTTP/1.1\r\nHost: localhost\r\n"
                                  "Authorization: Bearer host\r\n"
                                  "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                                  "Sec-WebSocket-Version: 13\r\n"
                                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    outbox_add(p, upgrade, sizeof upgrade - 1);
    p->state = PLAYER_UPGRADING;
}

static void answered(struct player *p, unsigned status, const char *body) {
    if (p->state == PLAYER_MAKING && status == 200) {
        ask(p, "/lobbies/" LOBBY_CODE "/join", "{\"player_name\":\"" HOST_NAME "\"}");
        p->state = PLAYER_JOINING;
    } else if (p->state == PLAYER_JOINING && status == 200) {
        seated(p, body);
    } else if (p->state == PLAYER_UPGRADING && status == 101) {
        tell(p, "{\"type\":\"handshake\",\"data\":{\"version\":\"1\",\"name\":\"" HOST_NAME "\"}}");
        p->state = PLAYER_SHAKING;
    } else {
        p->state = PLAYER_LOST;
    }
}

/* Gives the bytes of the answer that the inbox begins with; 0: it is not whole yet. */
static size_t answer_take(struct player *p) {
    const char *end = strstr(p->inbox, "\r\n\r\n");
    const char *length = strstr(p->inbox, "Content-Length: ");
    if (!end) {
        return 0;
    }
    size_t head = (size_t)(end + 4 - p->inbox);
    size_t body = length && length < end ? strtoul(length + 16, NULL, 10) : 0;
    if (p->inbox_bytes < head + body) {
        return 0;
    }
    answered(p, (unsigned)strtoul(p->inbox + sizeof "HTTP/1.1", NULL, 10), p->inbox + head);
    return head + body;
}

static bool is_type(const char *message, const char *type) {
    const char *at = member(message, "type");
    return at && strncmp(at + 1, type, strlen(type)) == 0 && at[1 + strlen(type)] == '"';
}

static uint32_t members_count(const char *message) {
    uint32_t count = 0;
    for (const char *at = member(message, "isHost"); at; at = member(at, "isHost")) {
        count++;
    }
    return count;
}

static void message_hear(struct player *p, const char *message) {
    if (p->state == PLAYER_SHAKING && is_type(message, "handshake_accepted")) {
        char text[256];
        snprintf(text, sizeof text,
                 "{\"type\":\"quick_join\",\"data\":{\"gamemode\":\"" SCENE
                 "\",\"maxPlayers\":%d,\"version\":\"1\",\"name\":\"" HOST_NAME "\"}}",
                 PLAYERS_MAX);
        tell(p, text);
        p->state = PLAYER_SITTING;
    } else if (p->state == PLAYER_SITTING && is_type(message, "room_joined")) {
        p->peers = members_count(message) - 1;
        p->state = PLAYER_IN;
    } else if (is_type(message, "peer_joined")) {
        p->peers++;
    } else if (is_type(message, "peer_left")) {
        p->peers--;
    }
}

/* The same for a frame. What the server sends is not masked and not in parts. */
static size_t frame_take(struct player *p) {
    const uint8_t *at = (const uint8_t *)p->inbox;
    size_t head = p->inbox_bytes < 2 || at[1] < 126 ? 2 : at[1] == 126 ? 4 : 10, bytes = 0;
    if (p->inbox_bytes < head) {
        return 0;
    }
    for (size_t i = 2; i < head; i++) {
        bytes = bytes << 8 | at[i];
    }
    bytes = head == 2 ? at[1] : bytes;
    if (p->inbox_bytes < head + bytes) {
        return 0;
    }
    char *payload = p->inbox + head, behind = payload[bytes];
    payload[bytes] = 0;
    switch (at[0] & 15) {
    case 1:
        message_hear(p, payload);
        break;
    case 8:
        p->state = PLAYER_LOST;
        break;
    case 9:
        frame_add(p, 10, payload, bytes);
        break;
    }
    payload[bytes] = behind;
    return head + bytes;
}

/* What fits into the inbox; the rest stays with the server, and that is back-pressure. */
static void inbox_fill(struct player *p, uint64_t now) {
    mps_span spans[SPANS_MAX];
    size_t count = mps_tcp_output(p->server, p->conn, spans, SPANS_MAX), taken = 0;
    for (size_t i = 0; i < count; i++) {
        size_t space = INBOX_BYTES - p->inbox_bytes;
        size_t bytes = spans[i].count < space ? spans[i].count : space;
        memcpy(p->inbox + p->inbox_bytes, spans[i].bytes, bytes);
        p->inbox_bytes += bytes;
        taken += bytes;
    }
    p->inbox[p->inbox_bytes] = 0;
    mps_tcp_taken(p->server, p->conn, taken);
    mps_tcp_sent(p->server, p->conn, now, taken);
}

static void inbox_read(struct player *p) {
    size_t used = 1;
    while (used && p->inbox_bytes && p->state != PLAYER_LOST) {
        used = p->state < PLAYER_SHAKING ? answer_take(p) : frame_take(p);
        p->inbox_bytes -= used;
        memmove(p->inbox, p->inbox + used, p->inbox_bytes + 1);
    }
    if (p->inbox_bytes == INBOX_BYTES) {
        p->state = PLAYER_LOST; /* a message that never fits */
    }
}

/* == 3 datagrams =================================================================================
   Binary v1, as examples/udp_client.c speaks it over a socket. */

enum { JOIN = 1, STATE, LEAVE, WELCOME = 129, SNAPSHOT, JOINED, LEFT, CORRECTION };

#define HEAD_BYTES 16 /* of what we send; 8 of what we get */
#define ENTRY_BYTES 26

static void put(uint8_t *at, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++, value >>= 8) {
        at[i] = (uint8_t)value;
    }
}

static uint32_t take(const uint8_t *at, int bytes) {
    uint32_t value = 0;
    while (bytes > 0) {
        value = value << 8 | at[--bytes];
    }
    return value;
}

static void put_float(uint8_t *at, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put(at, bits, 4);
}

static float take_float(const uint8_t *at) {
    uint32_t bits = take(at, 4);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void datagram_say(struct player *p, uint64_t now, uint8_t type, const uint8_t *body,
                         size_t bytes) {
    uint8_t datagram[HEAD_BYTES + 64] = {0xB1, type};
    put(datagram + 2, p->seq++, 2);
    put(datagram + 4, p->id, 4);
    memcpy(datagram + 8, p->token, sizeof p->token);
    memcpy(datagram + HEAD_BYTES, body, bytes);
    mps_udp_input(p->server, now, &p->address, &p->udp, datagram, HEAD_BYTES + bytes);
}

static void join_say(struct player *p, uint64_t now) {
    uint8_t body[sizeof LOBBY_CODE] = {sizeof LOBBY_CODE - 1};
    memcpy(body + 1, LOBBY_CODE, sizeof LOBBY_CODE - 1);
    datagram_say(p, now, JOIN, body, sizeof body);
}

static void state_say(struct player *p, uint64_t now) {
    uint8_t body[24] = {0};
    put(body, now / 1000, 4);
    put_float(body + 4, p->x);
    put_float(body + 8, p->y);
    put_float(body + 12, p->z);
    datagram_say(p, now, STATE, body, sizeof body);
}

/* The one with this id; 0: a free place, NULL when there is none. */
static struct other *other_find(struct player *p, uint32_t id) {
    for (size_t i = 0; i < PLAYERS_MAX; i++) {
        if (p->others[i].id == id) {
            return &p->others[i];
        }
    }
    return NULL;
}

/* A name and a place may come in any order, or only one of them. */
static struct other *other_meet(struct player *p, uint32_t id) {
    struct other *other = other_find(p, id);
    if (!other && (other = other_find(p, 0))) {
        *other = (struct other){.id = id};
        p->others_count++;
    }
    return other;
}

static void other_forget(struct player *p, uint32_t id) {
    struct other *other = other_find(p, id);
    if (other) {
        other->id = 0;
        p->others_count--;
    }
}

static void entries_hear(struct player *p, const uint8_t *at, size_t bytes) {
    for (size_t i = 0; i < at[0] && 1 + (i + 1) * ENTRY_BYTES <= bytes; i++) {
        const uint8_t *e = at + 1 + i * ENTRY_BYTES;
        struct other *other = other_meet(p, take(e, 4));
        if (other) {
            other->x = take_float(e + 4);
            other->y = take_float(e + 8);
            other->z = take_float(e + 12);
        }
    }
}

static void datagram_hear(struct player *p, const uint8_t *at, size_t bytes) {
    const uint8_t *body = at + 8;
    if (bytes < 12 || at[0] != 0xB1) {
        return;
    }
    switch (at[1]) {
    case WELCOME:
        p->welcomed = true;
        break;
    case SNAPSHOT:
        entries_hear(p, body, bytes - 8);
        break;
    case JOINED:
        other_meet(p, take(body, 4));
        break;
    case LEFT:
        other_forget(p, take(body, 4));
        break;
    case CORRECTION:
        if (bytes == 8 + ENTRY_BYTES) {
            p->x = take_float(body + 4);
            p->y = take_float(body + 8);
            p->z = take_float(body + 12);
        }
        break;
    }
}

bool player_datagram(struct player *p, const mps_datagram *datagram) {
    uint8_t bytes[DATAGRAM_BYTES_MAX];
    size_t used = 0;
    if (datagram->to.port != p->address.port ||
        memcmp(datagram->to.ip, p->address.ip, sizeof p->address.ip) != 0) {
        return false;
    }
    for (size_t i = 0; i < datagram->spans_count; i++) {
        memcpy(bytes + used, datagram->spans[i].bytes, datagram->spans[i].count);
        used += datagram->spans[i].count;
    }
    datagram_hear(p, bytes, used);
    return true;
}

/* == 4 life ================================================================================== */

void player_open(struct player *p, mps_server *server, const struct mps_port *port) {
    *p = (struct player){.server = server, .address = own_address};
    p->http = p->udp = own_address;
    p->http.port = port->http.port;
    p->udp.port = port->udp.port;
}

static void lobby_make(struct player *p, uint64_t now) {
    char body[128];
    p->conn = mps_tcp_open(p->server, now, &p->address, &p->http);
    snprintf(body, sizeof body,
             "{\"code\":\"" LOBBY_CODE "\",\"scene\":\"" SCENE "\",\"max_players\":%d}",
             PLAYERS_MAX);
    ask(p, "/lobbies", body);
    p->state = p->conn.id ? PLAYER_MAKING : PLAYER_LOST;
}

/* A walk around where it is stands in for whoever holds the controller. */
void player_step(struct player *p, float seconds) {
    p->angle += TURN_SPEED * seconds;
    p->x += WALK_SPEED * cosf(p->angle) * seconds;
    p->z += WALK_SPEED * sinf(p->angle) * seconds;
}

void player_say(struct player *p, uint64_t now) {
    if (p->state == PLAYER_OUT) {
        lobby_make(p, now);
    }
    outbox_send(p, now);
    if (p->id && !p->welcomed && now >= p->join_due) {
        p->join_due = now + JOIN_EVERY_US;
        join_say(p, now);
    } else if (p->welcomed && now >= p->state_due) {
        p->state_due = now + STATE_EVERY_US;
        state_say(p, now);
    }
}

/* The connection is over when the server says so and everything has been taken. */
void player_hear(struct player *p, uint64_t now) {
    if (!p->conn.id) {
        return;
    }
    inbox_fill(p, now);
    inbox_read(p);
    if (p->state == PLAYER_LOST || mps_tcp_fate(p->server, p->conn) != MPS_FATE_OPEN) {
        mps_tcp_closed(p->server, p->conn, now);
        p->conn.id = 0;
        p->state = PLAYER_LOST;
    }
}

void player_leave(struct player *p, uint64_t now) {
    if (p->welcomed) {
        datagram_say(p, now, LEAVE, p->token, 0);
        p->welcomed = false;
        p->id = 0;
    }
    if (p->conn.id) {
        mps_tcp_closed(p->server, p->conn, now);
        p->conn.id = 0;
    }
    p->state = PLAYER_LOST;
}

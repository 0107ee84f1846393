/* core: the bytes are a script of calls into a live server, as a port, its peers and a game could
   make them. After each the server checks itself; at the end everybody leaves, the clock runs, and
   nobody and nothing is left. seeds.mjs writes such scripts; OPS below says what an operation
   takes. */

#define LINKS_MAX 24
#define SAID_MAX 8
#define SAID_BYTES_MAX 512
#define CORE_INPUT_MAX 8192 /* of one operation, substituted */

/* A connection as its peer and its port see it. */
struct tcp {
    mps_conn conn; /* id 0: none */
    bool ended, stalled;
    bool pending; /* it was named, and is not drained */
    bool blocked; /* it had no room, and was not named since */
    size_t taken; /* not yet sent */
};

/* What the server said and clients say again: its bytes 1 to 8 in texts stand for these. */
enum said {
    SAID_UDP_TOKEN,
    SAID_ROOM,
    SAID_RESUME,
    SAID_TOKEN,
    SAID_CODE,
    SAID_COOKIE,
    SAID_PLAYER,
    SAID_CURSOR
};

static const char *const said_after[SAID_MAX] = {
    "\"udp_token\":\"", "\"id\":\"",     "\"resumeToken\":\"", "\"token\":\"",
    "\"code\":\"",      "\"cookie\":\"", "\"player_id\":",     "X-Next-Cursor: "};

struct core {
    const u8 *at, *end; /* of the script */
    mps_config config;
    mps_server *s;
    char *block;
    size_t bytes;
    u64 now;
    bool moves; /* the block goes elsewhere before each operation */
    u8 hook_mode;
    u8 piece;   /* bytes of input that come at once; 0: all that there is room for */
    u64 ticket; /* that the game thinks about */
    struct tcp links[LINKS_MAX];
    char said[SAID_MAX][SAID_BYTES_MAX];
    char input[CORE_INPUT_MAX];
};

/* -- the script -- */

static u8 next_byte(struct core *c) {
    return c->at < c->end ? *c->at++ : 0;
}

static u32 next_u16(struct core *c) {
    u32 low = next_byte(c);
    return low | (u32)next_byte(c) << 8;
}

static struct span next_bytes(struct core *c, size_t count) {
    size_t left = (size_t)(c->end - c->at);
    struct span s = span_of((const char *)c->at, size_min(count, left));
    c->at += s.bytes;
    return s;
}

/* Text of the script, with what the server said in the places that ask for it. */
static void put_said(struct core *c, struct text *t, struct span raw) {
    for (size_t i = 0; i < raw.bytes; i++) {
        u8 byte = (u8)raw.at[i];
        if (byte > 0 && byte <= SAID_MAX) {
            text_z(t, c->said[byte - 1]);
        } else {
            text_char(t, (char)byte);
        }
    }
}

static struct text input_text(struct core *c) {
    return text_on(c->input, sizeof c->input);
}

/* -- who is there -- */

static mps_address core_address(u8 number) {
    static const char *const hosts[] = {"127.0.0.1",   "203.0.113.1",  "203.0.113.2", "::1",
                                        "2001:db8::1", "2001:db8::1f", "10.0.0.1",    "fe80::2%3"};
    mps_address a = {{0}, 0, 0};
    FUZZ_CHECK(address_parse(span_z(hosts[number & 7]), &a));
    a.port = (u16)(1000 + (number >> 3));
    return a;
}

#define CORE_TOKENS 4

/* Of two players, an admin and a server; good for a day. */
static const char *core_token(u8 number) {
    static char tokens[CORE_TOKENS][512];
    u32 at = number % CORE_TOKENS;
    if (!tokens[at][0]) {
        mps_identity who = {.role = at < 2    ? MPS_ROLE_PLAYER
                                    : at == 2 ? MPS_ROLE_ADMIN
                                              : MPS_ROLE_SERVER};
        mps_token_claims claims = {&who, NULL, NULL, JWT_NOW_S, 86400};
        who.id[0] = (char)('1' + at);
        who.name[0] = (char)('A' + at);
        who.id_is_number = at == 1;
        FUZZ_CHECK(mps_token_mint(&claims, jwt_secret, sizeof jwt_secret - 1, tokens[at],
                                  sizeof tokens[at]));
    }
    return tokens[at];
}

static struct tcp *next_link(struct core *c) {
    return &c->links[next_byte(c) % LINKS_MAX];
}

static struct tcp *link_of(struct core *c, mps_conn conn) {
    for (u32 i = 0; i < LINKS_MAX; i++) {
        if (c->links[i].conn.id == conn.id) {
            return &c->links[i];
        }
    }
    return NULL;
}

/* -- what the server sends -- */

/* Notes what stands behind the words that announce it, up to a quote, a comma or a line end. */
static void remember(struct core *c, struct span heard) {
    const char *end = heard.at + heard.bytes;
    for (const char *at = heard.at; at < end; at++) {
        for (u32 i = 0; i < SAID_MAX; i++) {
            struct span after = span_z(said_after[i]);
            if ((size_t)(end - at) <= after.bytes || memcmp(at, after.at, after.bytes) != 0) {
                continue;
            }
            const char *from = at + after.bytes, *to = from;
            while (to < end && *to != '"' && *to != ',' && *to != '\r' && *to != '}') {
                to++;
            }
            copy_z(c->said[i], SAID_BYTES_MAX, http_between(from, to));
        }
    }
}

static void link_gone(struct core *c, struct tcp *l) {
    mps_tcp_closed(c->s, l->conn, c->now);
    FUZZ_CHECK(mps_tcp_fate(c->s, l->conn) == MPS_FATE_ABORT && !mps_tcp_room(c->s, l->conn));
    *l = (struct tcp){.conn = {0}};
}

/* Sends up to `most` bytes of what there is, in up to `max` spans; false: nothing was there. */
static bool link_take(struct core *c, struct tcp *l, size_t max, size_t most) {
    mps_span spans[4];
    size_t count = mps_tcp_output(c->s, l->conn, spans, max), taken = 0;
    for (size_t i = 0; i < count; i++) {
        struct span heard = span_of(spans[i].bytes, size_min(spans[i].count, most - taken));
        FUZZ_CHECK(spans[i].bytes && spans[i].count);
        remember(c, heard);
        taken += heard.bytes;
    }
    mps_tcp_taken(c->s, l->conn, taken);
    l->taken += taken;
    return taken > 0;
}

static void link_sent(struct core *c, struct tcp *l, size_t bytes) {
    mps_tcp_sent(c->s, l->conn, c->now, bytes);
    l->taken -= bytes;
}

/* As a port whose socket takes all. */
static void link_flush(struct core *c, struct tcp *l) {
    for (u32 i = 0; link_take(c, l, 4, SIZE_MAX); i++) {
        FUZZ_CHECK(i < 10000);
        link_sent(c, l, l->taken);
    }
    link_sent(c, l, l->taken);
    l->pending = false;
    mps_fate fate = mps_tcp_fate(c->s, l->conn);
    if (fate == MPS_FATE_ABORT || (fate == MPS_FATE_FINISH && l->ended)) {
        link_gone(c, l);
    }
}

/* One round of a port: who is named is drained, but for those whose peers do not read. */
static void core_drain(struct core *c) {
    mps_conn conn;
    for (u32 i = 0; mps_next_output(c->s, &conn); i++) {
        struct tcp *l = link_of(c, conn);
        FUZZ_CHECK(l && i < 10000);
        l->pending = true;
        l->blocked = false;
        if (!l->stalled || mps_tcp_fate(c->s, conn) == MPS_FATE_ABORT) {
            link_flush(c, l);
        }
    }
}

/* Nobody has anything to send, or room again, whom the server did not name. */
static void check_named(const struct core *c) {
    mps_span span;
    for (u32 i = 0; i < LINKS_MAX; i++) {
        const struct tcp *l = &c->links[i];
        FUZZ_CHECK(!l->conn.id || l->pending || mps_tcp_output(c->s, l->conn, &span, 1) == 0);
        FUZZ_CHECK(!l->conn.id || !l->blocked || mps_tcp_room(c->s, l->conn) == 0);
    }
}

/* Output and left-over work, until nothing is due at once. */
static void core_pump(struct core *c) {
    core_drain(c);
    for (u32 i = 0; mps_deadline(c->s) <= c->now; i++) {
        FUZZ_CHECK(i < 20000);
        mps_advance(c->s, c->now);
        core_drain(c);
    }
    check_named(c);
}

static void check_datagram(struct core *c, const mps_datagram *d) {
    char bytes[DATAGRAM_BYTES_MAX];
    struct text t = text_on(bytes, sizeof bytes);
    struct json_fault fault;
    FUZZ_CHECK(d->spans_count <= MPS_DATAGRAM_SPANS && d->to.port);
    for (size_t i = 0; i < d->spans_count; i++) {
        text_add(&t, span_of(d->spans[i].bytes, d->spans[i].count));
    }
    FUZZ_CHECK(!t.cut && t.bytes == d->bytes && t.bytes > 0);
    FUZZ_CHECK((u8)bytes[0] == BINARY_MAGIC || stun_looks_like((u8 *)bytes, t.bytes) ||
               json_check(bytes, t.bytes, &fault));
    remember(c, text_span(&t));
}

static void core_datagrams(struct core *c, size_t max) {
    mps_datagram out[16];
    size_t count = mps_udp_output(c->s, c->now, out, max);
    FUZZ_CHECK(count <= max);
    for (size_t i = 0; i < count; i++) {
        check_datagram(c, &out[i]);
    }
}

/* -- the game -- */

enum {
    MODE_AUTH = 3, /* an mps_verdict */
    MODE_NO_LOBBY = 4,
    MODE_NO_JOIN = 8,
    MODE_NO_POSITION = 16,
    MODE_NO_ROOM = 32,
    MODE_NO_MESSAGE = 64,
    MODE_ACTS = 128 /* hooks close, kick and send */
};

static mps_verdict hook_authenticate(void *user, const char *token, size_t bytes, u64 ticket,
                                     mps_identity *who) {
    struct core *c = user;
    mps_verdict verdict = (mps_verdict)((c->hook_mode & MODE_AUTH) % 3);
    c->ticket = verdict == MPS_LATER ? ticket : c->ticket;
    if (verdict == MPS_YES) { /* as games do it that check nothing */
        copy_z(who->id, sizeof who->id, span_of(token, size_min(bytes, MPS_ID_BYTES_MAX)));
        copy_z(who->name, sizeof who->name, span_of(token, size_min(bytes, 5)));
    }
    return verdict;
}

static bool hook_lobby_check(void *user, const char *code, const char *scene, u32 max_players) {
    struct core *c = user;
    FUZZ_CHECK(code && scene && max_players);
    return !(c->hook_mode & MODE_NO_LOBBY);
}

static bool hook_join_check(void *user, mps_lobby lobby, const char *name) {
    struct core *c = user;
    mps_lobby_info info;
    FUZZ_CHECK(mps_lobby_get(c->s, lobby, &info) == MPS_OK && name[0]);
    return !(c->hook_mode & MODE_NO_JOIN);
}

static void hook_lobby(void *user, mps_lobby lobby, const char *code) {
    struct core *c = user;
    FUZZ_CHECK(lobby.id && code[0]);
    if (c->hook_mode & MODE_ACTS) {
        mps_lobby_kick(c->s, c->now, lobby, 1);
    }
}

static void hook_player_joined(void *user, mps_lobby lobby, u32 player_id, const char *name) {
    struct core *c = user;
    FUZZ_CHECK(name[0] && player_id);
    if (c->hook_mode & MODE_ACTS) {
        mps_lobby_kick(c->s, c->now, lobby, player_id);
    }
}

static void hook_player_left(void *user, mps_lobby lobby, u32 player_id) {
    struct core *c = user;
    FUZZ_CHECK(lobby.id && player_id);
    FUZZ_CHECK(mps_tcp_open(c->s, c->now, &(mps_address){{0}, 0, 0}, NULL).id == 0); /* nested */
}

static bool hook_position(void *user, mps_lobby lobby, u32 player_id, const double position[3],
                          const double rotation[3]) {
    struct core *c = user;
    FUZZ_CHECK(lobby.id && player_id && isfinite(position[0]) && isfinite(rotation[2]));
    return !(c->hook_mode & MODE_NO_POSITION);
}

static bool hook_room_check(void *user, const char *user_id, const char *gamemode, const char *map,
                            u32 max_players) {
    struct core *c = user;
    FUZZ_CHECK(user_id[0] && gamemode[0] && map && max_players);
    return !(c->hook_mode & MODE_NO_ROOM);
}

static bool hook_peer_check(void *user, mps_room room, const char *user_id, const char *name) {
    struct core *c = user;
    mps_room_info info;
    FUZZ_CHECK(mps_room_get(c->s, room, &info) == MPS_OK && user_id[0] && name[0]);
    return !(c->hook_mode & MODE_NO_ROOM);
}

static void hook_room_opened(void *user, mps_room room, const char *id, const char *gamemode) {
    FUZZ_CHECK(user && room.id && strlen(id) == 36 && gamemode[0]);
}

static void hook_room_closed(void *user, mps_room room, const char *id) {
    FUZZ_CHECK(user && room.id && strlen(id) == 36);
}

static void hook_peer(void *user, mps_room room, u32 peer_id) {
    struct core *c = user;
    FUZZ_CHECK(peer_id);
    if (c->hook_mode & MODE_ACTS) {
        mps_room_send(c->s, c->now, room, 0, "hello", "{}", 2);
        mps_room_kick(c->s, c->now, room, peer_id);
    }
}

static bool hook_message(void *user, mps_room room, u32 peer_id, const char *type, const char *data,
                         size_t bytes) {
    struct core *c = user;
    struct json_fault fault;
    FUZZ_CHECK(peer_id && type[0] && json_check(data, bytes, &fault));
    if (c->hook_mode & MODE_ACTS) {
        mps_room_send(c->s, c->now, room, 0, type, data, bytes);
        mps_room_kick(c->s, c->now, room, peer_id + 1);
    }
    return !(c->hook_mode & MODE_NO_MESSAGE);
}

static void hook_log(void *user, const mps_log_record *record) {
    char line[1024];
    struct json_fault fault;
    FUZZ_CHECK(user);
    size_t bytes = mps_log_text(record, line, sizeof line);
    for (size_t i = 0; i < bytes; i++) {
        FUZZ_CHECK((u8)line[i] >= ' ' && line[i] != 0x7f);
    }
    bytes = mps_log_json(record, line, sizeof line);
    FUZZ_CHECK(bytes == sizeof line || json_check(line, bytes, &fault));
}

static void hook_plain(void *user) {
    FUZZ_CHECK(user);
}

static mps_hooks core_hooks(struct core *c) {
    return (mps_hooks){.user = c,
                       .authenticate = hook_authenticate,
                       .lobby_check = hook_lobby_check,
                       .join_check = hook_join_check,
                       .lobby_opened = hook_lobby,
                       .lobby_closed = hook_lobby,
                       .player_joined = hook_player_joined,
                       .player_left = hook_player_left,
                       .position_check = hook_position,
                       .room_check = hook_room_check,
                       .peer_check = hook_peer_check,
                       .room_opened = hook_room_opened,
                       .room_closed = hook_room_closed,
                       .peer_joined = hook_peer,
                       .peer_left = hook_peer,
                       .room_message = hook_message,
                       .log = hook_log,
                       .reload = hook_plain,
                       .record = hook_plain};
}

/* -- operations -- */

static void op_open(struct core *c) {
    struct tcp *l = link_of(c, (mps_conn){0});
    mps_address peer = core_address(next_byte(c)), local = core_address(1);
    if (l) {
        *l = (struct tcp){.conn = mps_tcp_open(c->s, c->now, &peer, &local)};
    }
}

/* Hands bytes over as a port does that asks for room first. What finds none is lost with the
   connection's stream: the peer might have said something else. */
static void link_send(struct core *c, struct tcp *l, struct span s) {
    while (l->conn.id && !l->ended && s.bytes) {
        size_t most = c->piece ? size_min(c->piece, s.bytes) : s.bytes;
        size_t part = size_min(mps_tcp_room(c->s, l->conn), most);
        if (!part) {
            l->blocked = true;
            return;
        }
        char *copy = exact_copy(s.at, part);
        FUZZ_CHECK(mps_tcp_input(c->s, l->conn, c->now, copy, part) == MPS_OK);
        free(copy);
        s = span_of(s.at + part, s.bytes - part);
        core_drain(c);
    }
}

/* SEND: link, 2 of length, bytes as they are. */
static void op_send(struct core *c) {
    struct tcp *l = next_link(c);
    link_send(c, l, next_bytes(c, next_u16(c)));
}

static void put_auth(struct core *c, struct text *t, u8 flags) {
    const char *token = flags & 4 ? c->said[SAID_TOKEN] : core_token(flags);
    if (flags & 8) {
        TEXT_LITERAL(t, "Authorization: Bearer ");
        text_z(t, token);
        TEXT_LITERAL(t, "\r\n");
    }
}

enum { ASK_CHUNKED = 16, ASK_OLD = 32, ASK_CLOSE = 64, ASK_PROXIED = 128 };

static void put_body(struct text *t, u8 flags, struct span body) {
    u8 size[2] = {(u8)(body.bytes >> 8), (u8)body.bytes};
    if (flags & ASK_CHUNKED) {
        TEXT_LITERAL(t, "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n");
        text_hex(t, size, body.bytes ? 2 : 0);
        text_z(t, body.bytes ? "\r\n" : "");
        text_add(t, body);
        text_z(t, body.bytes ? "\r\n0\r\n\r\n" : "0\r\n\r\n");
    } else {
        TEXT_LITERAL(t, "Content-Length: ");
        text_u64(t, body.bytes);
        TEXT_LITERAL(t, "\r\n\r\n");
        text_add(t, body);
    }
}

/* ASK: link, flags, method, 1 of length and target, 2 of length and body. */
static void op_ask(struct core *c) {
    struct tcp *l = next_link(c);
    u8 flags = next_byte(c), method = next_byte(c);
    char body[2048];
    struct text t = input_text(c), b = text_on(body, sizeof body);
    text_z(&t, http_method_names[method % (HTTP_METHODS + 1)]);
    text_char(&t, ' ');
    put_said(c, &t, next_bytes(c, next_byte(c)));
    text_z(&t, flags & ASK_OLD ? " HTTP/1.0\r\n" : " HTTP/1.1\r\nHost: game\r\n");
    text_z(&t, flags & ASK_CLOSE ? "Connection: close\r\n" : "Connection: keep-alive\r\n");
    text_z(&t, flags & ASK_PROXIED ? "X-Forwarded-For: 8.8.8.8, 198.51.100.7\r\n" : "");
    put_auth(c, &t, flags);
    put_said(c, &b, next_bytes(c, next_u16(c)));
    put_body(&t, flags, text_span(&b));
    link_send(c, l, text_span(&t));
}

/* UPGRADE: link, flags as of ASK. */
static void op_upgrade(struct core *c) {
    struct tcp *l = next_link(c);
    struct text t = input_text(c);
    TEXT_LITERAL(&t, "GET /ws HTTP/1.1\r\nHost: game\r\nUpgrade: websocket\r\n"
                     "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                     "Sec-WebSocket-Protocol: mpserver.v1\r\n");
    put_auth(c, &t, next_byte(c));
    TEXT_LITERAL(&t, "\r\n");
    link_send(c, l, text_span(&t));
}

static void link_frame(struct core *c, struct tcp *l, u8 first, struct span raw) {
    char payload[4096];
    struct text p = text_on(payload, sizeof payload), t = input_text(c);
    put_said(c, &p, raw);
    ws_put_masked(&t, WS_TEXT, true, text_span(&p), 0x01020304);
    t.at[0] = (char)first;
    link_send(c, l, text_span(&t));
}

/* TEXT: link, 2 of length, a message. */
static void op_text(struct core *c) {
    struct tcp *l = next_link(c);
    link_frame(c, l, WS_FIN | WS_TEXT, next_bytes(c, next_u16(c)));
}

/* FRAME: link, first byte, 1 of length, payload. */
static void op_frame(struct core *c) {
    struct tcp *l = next_link(c);
    u8 first = next_byte(c);
    link_frame(c, l, first, next_bytes(c, next_byte(c)));
}

/* EOF, CLOSED, STALL: link. */
static void op_eof(struct core *c) {
    struct tcp *l = next_link(c);
    if (l->conn.id && !l->ended) {
        l->ended = true;
        mps_tcp_eof(c->s, l->conn, c->now);
        mps_tcp_eof(c->s, l->conn, c->now);
    }
}

static void op_closed(struct core *c) {
    struct tcp *l = next_link(c);
    if (l->conn.id) {
        link_gone(c, l);
    }
}

static void op_stall(struct core *c) {
    struct tcp *l = next_link(c);
    l->stalled = !l->stalled;
    if (l->conn.id && l->pending && !l->stalled) {
        link_flush(c, l);
    }
}

/* TAKE: link, spans, 2 of bytes; with the top bit of spans the port counts wrongly.
   SENT: link, 2 of bytes. For peers that read slowly. */
static void op_take(struct core *c) {
    struct tcp *l = next_link(c);
    u8 spans = next_byte(c);
    size_t most = next_u16(c);
    if (l->conn.id) {
        l->pending = l->stalled = true;
        link_take(c, l, 1 + spans % 4, most);
    }
    if (l->conn.id && spans & 128) {
        mps_tcp_taken(c->s, l->conn, SIZE_MAX);
        l->taken = ((const struct conn *)pool_get(&c->s->conns.pool, l->conn.id))->out_taken;
    }
}

static void op_sent(struct core *c) {
    struct tcp *l = next_link(c);
    size_t bytes = next_u16(c);
    if (l->conn.id) {
        link_sent(c, l, size_min(bytes, l->taken));
    }
}

/* ADVANCE: the logarithm of microseconds. To the next deadline: 0. */
static void op_advance(struct core *c) {
    u8 power = next_byte(c) % 40;
    u64 due = mps_deadline(c->s);
    c->now = power ? c->now + ((u64)1 << power) : due != NEVER && due > c->now ? due : c->now;
    mps_advance(c->s, c->now);
}

static void core_udp(struct core *c, u8 number, struct span s) {
    mps_address from = core_address(number), to = core_address(1);
    char *copy = exact_copy(s.at, s.bytes);
    mps_udp_input(c->s, c->now, &from, &to, copy, s.bytes);
    free(copy);
    core_datagrams(c, 1 + number % 16);
}

/* DATAGRAM: from, 2 of length, a text. */
static void op_datagram(struct core *c) {
    u8 from = next_byte(c);
    struct text t = input_text(c);
    put_said(c, &t, next_bytes(c, next_u16(c)));
    core_udp(c, from, text_span(&t));
}

/* BINARY: from, type, seq, then the body; id and token are those last heard of. */
static void op_binary(struct core *c) {
    u8 from = next_byte(c), type = next_byte(c), seq = next_byte(c);
    u8 token[UDP_TOKEN_BYTES] = {0};
    struct text t = input_text(c);
    hex_read(span_z(c->said[SAID_UDP_TOKEN]), token, sizeof token);
    text_le(&t, BINARY_MAGIC, 1);
    text_le(&t, type, 1);
    text_le(&t, seq, 2);
    text_le(&t, strtoul(c->said[SAID_PLAYER], NULL, 10), 4);
    text_add(&t, span_of((char *)token, BINARY_TOKEN_BYTES));
    put_said(c, &t, next_bytes(c, next_byte(c)));
    core_udp(c, from, text_span(&t));
}

/* STUN: from, 1 of length, attributes. */
static void op_stun(struct core *c) {
    u8 from = next_byte(c);
    struct span attributes = next_bytes(c, next_byte(c));
    struct text t = input_text(c);
    stun_put_be(&t, STUN_BINDING_REQUEST, 2);
    stun_put_be(&t, (u32)attributes.bytes, 2);
    stun_put_be(&t, STUN_COOKIE, 4);
    TEXT_LITERAL(&t, "transaction!");
    text_add(&t, attributes);
    core_udp(c, from, text_span(&t));
}

/* CLOCK: 2 of seconds since the tokens were minted. */
static void op_clock(struct core *c) {
    mps_wall_clock(c->s, c->now, (JWT_NOW_S + next_u16(c)) * 1000);
}

/* CONFIG: 1 of length, a configuration file. */
static void op_config(struct core *c) {
    struct span raw = next_bytes(c, next_byte(c));
    mps_config wanted = c->config;
    char *text = exact_copy(raw.at, raw.bytes);
    if (mps_config_read(&wanted, text, raw.bytes, NULL) == MPS_OK) {
        wanted.hooks = c->config.hooks;
        FUZZ_CHECK(mps_reconfigure(c->s, &wanted) >= 0 || mps_config_check(&wanted, NULL));
    }
    free(text);
}

/* HOOKS: how the game's hooks answer from here on. */
static void op_hooks(struct core *c) {
    c->hook_mode = next_byte(c);
}

/* DRAIN: tenths of a second of grace. */
static void op_drain(struct core *c) {
    mps_drain(c->s, c->now, 100u * next_byte(c));
}

/* FINISH: whether and how the game answers for the token that it thinks about. */
static void op_finish(struct core *c) {
    mps_identity who = {.id = "1", .name = "A"};
    u8 how = next_byte(c);
    who.id[0] = (char)(how & 4 ? 0 : '0' + how % 4);
    mps_auth_finish(c->s, c->now, how & 8 ? c->ticket + how : c->ticket, how & 16 ? NULL : &who);
}

static mps_room nth_room(struct core *c, u8 number) {
    mps_room room = {0};
    for (u32 i = 0; i <= number % 4u; i++) {
        room = mps_room_next(c->s, room);
    }
    return room;
}

/* GAME: what, whom, a peer, 1 of length, JSON. */
static void op_game(struct core *c) {
    u8 what = next_byte(c), whom = next_byte(c), peer = next_byte(c);
    struct span data = next_bytes(c, next_byte(c));
    char what_failed[256] = "";
    mps_identity who = {.id = {(char)('1' + whom % CORE_TOKENS)}, .id_is_number = whom % 4 == 1};
    mps_room room = what & 8 ? mps_room_find(c->s, c->said[SAID_ROOM]) : nth_room(c, whom);
    mps_lobby lobby =
        what & 8 ? mps_lobby_find(c->s, c->said[SAID_CODE]) : mps_lobby_next(c->s, (mps_lobby){0});
    switch (what % 8) {
    case 0: /* who was removed is not there */
        FUZZ_CHECK(mps_lobby_kick(c->s, c->now, lobby, peer) ||
                   mps_lobby_kick(c->s, c->now, lobby, peer));
        break;
    case 1:
        FUZZ_CHECK(mps_room_kick(c->s, c->now, room, peer) ||
                   mps_room_kick(c->s, c->now, room, peer));
        break;
    case 2:
        mps_room_send(c->s, c->now, room, peer, whom & 64 ? "Bad!" : "game_event", data.at,
                      data.bytes);
        break;
    case 3:
        mps_user_send(c->s, c->now, &who, "game_event", data.at, data.bytes);
        break;
    case 4:
        mps_note_udp_drops(c->s, peer);
        break;
    case 5:
        copy_z(what_failed, sizeof what_failed, data);
        mps_note_port_error(c->s, utf8_valid(data) ? what_failed : "accept", peer);
        break;
    case 6:
        mps_note_call_ns(c->s, (u64)1 << peer % 64);
        break;
    default:
        core_datagrams(c, peer % 17);
    }
}

/* PIECE: how many bytes of input come at once from here on. */
static void op_piece(struct core *c) {
    c->piece = next_byte(c);
}

/* PUMP: nothing; every operation without the top bit ends in it. */
static void op_pump(struct core *c) {
    core_drain(c);
}

/* By the low five bits of an operation's first byte. seeds.mjs has the same list. */
static void (*const core_ops[])(struct core *c) = {
    op_open,   op_send,  op_ask,   op_upgrade, op_text,     op_frame,  op_eof,   op_closed,
    op_stall,  op_take,  op_sent,  op_advance, op_datagram, op_binary, op_stun,  op_clock,
    op_config, op_hooks, op_drain, op_finish,  op_game,     op_pump,   op_piece,
};

/* -- life -- */

enum {
    CORE_DEV = 1,
    CORE_HOOKS = 2,
    CORE_NO_SECRET = 4,
    CORE_SLOW = 8, /* rates as they are by default */
    CORE_PROXY = 16,
    CORE_NO_CLOCK = 32,
    CORE_MOVES = 64,
    CORE_SMALL = 128 /* tables that are soon full */
};

static mps_config core_config(struct core *c, u8 flags) {
    mps_config config = {
        .preset = MPS_PRESET_TINY, .dev = flags & CORE_DEV, .log_level = MPS_LOG_DEBUG};
    if (!(flags & CORE_NO_SECRET)) {
        config.jwt_secret = jwt_secret;
        config.guest_login = MPS_ON;
    }
    if (!(flags & CORE_SLOW)) {
        config.connections_per_s = config.requests_per_s = config.datagrams_per_s = 1000000;
        config.connections_per_address = 1000000;
        config.player_datagrams_per_s = config.messages_per_s = config.chats_per_s = 1000000;
        config.states_per_s = config.stun_per_s = 1000000;
    }
    if (flags & CORE_PROXY) {
        config.trusted_proxies[0] = "10.0.0.0/8";
        config.metrics_allow[0] = "203.0.113.0/24";
    }
    if (flags & CORE_SMALL) {
        config.connections = 4;
        config.refusals = 2;
        config.users = config.seats = config.players = config.lobby_players = 3;
        config.rooms = config.lobbies = config.bans = config.room_bans_max = 2;
        config.buckets = 8;
    }
    if (flags & CORE_HOOKS) {
        config.hooks = core_hooks(c);
    }
    return config;
}

static void core_start(struct core *c, u8 flags) {
    u8 entropy[32] = {flags, 1, 2, 3};
    c->config = core_config(c, flags);
    c->moves = flags & CORE_MOVES;
    c->hook_mode = MPS_YES;
    c->now = 1000000;
    c->bytes = mps_memory_needed(&c->config);
    c->block = malloc(c->bytes);
    FUZZ_CHECK(mps_create(&c->s, &c->config, c->block, c->bytes, entropy) == MPS_OK);
    if (!(flags & CORE_NO_CLOCK)) {
        mps_wall_clock(c->s, c->now, JWT_NOW_S * 1000);
    }
}

/* A server may be saved, moved and resumed between any two calls. */
static void core_move(struct core *c) {
    char *block = exact_copy(c->block, c->bytes);
    free(c->block);
    c->block = block;
    c->s = (mps_server *)(void *)block;
}

static void core_step(struct core *c) {
    u8 op = next_byte(c);
    if (c->moves) {
        core_move(c);
    }
    core_ops[(op & 31) % COUNT_OF(core_ops)](c);
    if (!(op & 128)) {
        core_pump(c);
        core_datagrams(c, 16);
    }
    FUZZ_CHECK(mps_check(c->s));
}

/* Time goes on until nothing is due; the longest time-out is a day. */
static void core_settle(struct core *c) {
    for (u32 i = 0; mps_deadline(c->s) != NEVER; i++) {
        u64 due = mps_deadline(c->s);
        FUZZ_CHECK(i < 100000);
        c->now = due > c->now + 20 * S_US ? due : c->now + 20 * S_US;
        mps_advance(c->s, c->now);
        core_pump(c);
        core_datagrams(c, 16);
    }
}

/* Everybody leaves: what was theirs goes with them or with time. */
static void core_finish(struct core *c) {
    const struct mps_server *s;
    c->hook_mode = MPS_NO;
    for (u32 i = 0; i < LINKS_MAX; i++) {
        if (c->links[i].conn.id) {
            link_gone(c, &c->links[i]);
        }
    }
    core_settle(c);
    s = c->s;
    FUZZ_CHECK(s->conns.pool.used == 0 && s->conns.live == 0);
    FUZZ_CHECK(s->conns.chunks_used == 0 && s->conns.large_used == 0);
    FUZZ_CHECK(s->presence.users.used == 0 && s->presence.sockets == 0);
    FUZZ_CHECK(s->rooms.pool.used == 0 && s->rooms.seats.used == 0 && s->rooms.bans.used == 0);
    FUZZ_CHECK(s->lobbies.players.used == 0);
    FUZZ_CHECK(s->lobbies.pool.used == (c->config.dev ? 1 : 0));
    FUZZ_CHECK(s->kit.outcomes.count == 0 && mps_check(s));
    mps_drain(c->s, c->now, 1);
    core_settle(c);
    FUZZ_CHECK(mps_drained(c->s));
}

static void fuzz_core(const struct input *in) {
    struct core *c = calloc(1, sizeof *c);
    FUZZ_CHECK(c);
    c->at = in->at;
    c->end = in->at + size_min(in->bytes, 1 << 16);
    core_start(c, next_byte(c));
    while (c->at < c->end) {
        core_step(c);
    }
    core_finish(c);
    free(c->block);
    free(c);
}

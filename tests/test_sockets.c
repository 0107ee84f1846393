/* Sections 50, 60 and 82 through the public calls: sockets from the upgrade to their end, who hears
   of whom, rates, large messages, slow readers. A peer is a link that speaks frames; a hall is a
   server with its peers. What peers say and hear is written with ' for ". */

#define HALL_MAX 1100
#define PEER_TEXT_MAX 140000

static const char hall_secret[] = "a secret of at least thirty-two bytes";
static const i64 hall_unix_s = 1771070400;

struct peer {
    struct link_test l;
    size_t at;    /* what stands before it in the link's output was heard */
    bool over;    /* a close frame came: nothing may follow */
    bool spilled; /* not a whole number of frames came before the end */
};

struct hall {
    struct drive d;
    struct peer p[HALL_MAX];
    u32 count; /* of peers that were ever opened */
    char text[PEER_TEXT_MAX];
};

static struct hall hall;
static bool hall_moves; /* the block goes elsewhere between any two calls */

static mps_config hall_config(void) {
    mps_config c = server_test_config();
    c.jwt_secret = hall_secret;
    c.states_per_s = c.chats_per_s = c.messages_per_s = 1000000;
    c.connections = 40;
    c.users = 40;
    return c;
}

static void hall_start(struct hall *h, const mps_config *config) {
    drive_start(&h->d, config);
    h->d.move = hall_moves;
    h->count = 0;
    mps_wall_clock(drive_server(&h->d), h->d.now, hall_unix_s * 1000);
}

/* Lets time pass; peers that are not stalled read. */
static void hall_run(struct hall *h, u64 us) {
    u64 end = h->d.now + us;
    for (u32 i = 0; i < 1000000; i++) {
        mps_conn conn;
        while (mps_next_output(drive_server(&h->d), &conn)) {
            for (u32 k = 0; k < h->count; k++) {
                struct link_test *l = &h->p[k].l;
                if (l->conn.id == conn.id && !l->stalled && !l->closed) {
                    link_read(l);
                }
            }
        }
        u64 due = mps_deadline(drive_server(&h->d));
        if (due > end) {
            h->d.now = end;
            return;
        }
        h->d.now = due > h->d.now ? due : h->d.now;
        mps_advance(drive_server(&h->d), h->d.now);
    }
    CHECK(false); /* busy for ever */
}

static struct peer *hall_connect(struct hall *h, const char *from) {
    struct peer *p = &h->p[h->count];
    CHECK(h->count < HALL_MAX);
    memset(p, 0, sizeof *p);
    link_open(&h->d, &p->l, from);
    h->count++;
    return p;
}

/* Reads on if it was stalled. */
static void peer_unstall(struct hall *h, struct peer *p) {
    p->l.stalled = false;
    link_read(&p->l);
    hall_run(h, 0);
}

/* Its socket is gone, without a word. */
static void peer_drop(struct hall *h, struct peer *p) {
    if (!p->l.closed) {
        mps_tcp_closed(drive_server(&h->d), p->l.conn, h->d.now);
        p->l.closed = true;
    }
    hall_run(h, 0);
}

static void hall_stop(struct hall *h) {
    for (u32 i = 0; i < h->count; i++) {
        link_close(&h->p[i].l);
    }
    drive_stop(&h->d);
}

/* Everything is as before the first peer came, and nothing is left to do. */
static void hall_check_empty(struct hall *h) {
    for (u32 i = 0; i < h->count; i++) {
        peer_drop(h, &h->p[i]);
    }
    hall_run(h, 200 * S_US);
    const struct mps_server *s = h->d.s;
    CHECK(mps_deadline(s) == NEVER);
    CHECK_INT(s->conns.pool.used, 0);
    CHECK_INT(s->conns.chunks_used, 0);
    CHECK_INT(s->conns.large_used, 0);
    CHECK_INT(s->conns.dirty.count + s->conns.work.count + s->conns.starving.count, 0);
    CHECK_INT(s->conns.ended.count, 0);
    CHECK_INT(s->presence.users.used, 0);
    CHECK_INT(s->presence.sockets, 0);
    CHECK_INT(s->presence.listeners.count, 0);
    CHECK_INT(s->rooms.pool.used, 0);
    CHECK_INT(s->rooms.seats.used, 0);
    CHECK_INT(s->rooms.bans.used, 0);
    CHECK_INT(s->kit.outcomes.count, 0);
    CHECK_INT(drive_count(&h->d, COUNTER_SOCKETS_OPENED),
              drive_count(&h->d, COUNTER_SOCKETS_CLOSED));
    CHECK_INT(drive_count(&h->d, COUNTER_PEERS_JOINED), drive_count(&h->d, COUNTER_PEERS_LEFT));
}

/* -- frames out -- */

/* A frame as a client sends it; `first` is its first byte. Gives its bytes. */
static size_t peer_frame(char *out, u32 first, const char *payload, size_t bytes) {
    static const u8 mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    size_t at = 0;
    out[at++] = (char)first;
    out[at++] = (char)(0x80 | (bytes < 126 ? bytes : bytes < 65536 ? 126 : 127));
    for (u32 shift = bytes < 126 ? 0 : bytes < 65536 ? 16 : 64; shift; shift -= 8) {
        out[at++] = (char)((u64)bytes >> (shift - 8));
    }
    memcpy(out + at, mask, 4);
    at += 4;
    for (size_t i = 0; i < bytes; i++) {
        out[at + i] = (char)(payload[i] ^ mask[i % 4]);
    }
    return at + bytes;
}

/* ' for ", so that JSON is readable here. */
static size_t peer_quotes(char *out, size_t capacity, const char *text) {
    size_t bytes = strlen(text);
    CHECK(bytes < capacity);
    for (size_t i = 0; i <= bytes; i++) {
        out[i] = (char)(text[i] == '\'' ? '"' : text[i]);
    }
    return bytes;
}

/* Gives how many bytes were not taken. */
static size_t peer_send(struct hall *h, struct peer *p, u32 first, const char *payload,
                        size_t bytes) {
    char *frame = malloc(bytes + 14);
    size_t left = link_send_bytes(&p->l, frame, peer_frame(frame, first, payload, bytes));
    free(frame);
    hall_run(h, 0);
    return left;
}

static size_t peer_say(struct hall *h, struct peer *p, const char *text) {
    char json[16384];
    size_t bytes = peer_quotes(json, sizeof json, text);
    return peer_send(h, p, 0x81, json, bytes);
}

/* -- frames in -- */

/* How many bytes the frame at `at` has, 0 when it is not complete. Judges its head: FIN, no
   reserved bits, no mask, the shortest length, an opcode that servers use. */
static size_t peer_frame_whole(const struct peer *p, const u8 **payload, size_t *bytes) {
    size_t rest = p->l.out_bytes - p->at, head = 2;
    *payload = NULL;
    *bytes = 0;
    if (rest < 2 || !p->l.out) { /* a peer that dropped has forgotten what it heard */
        return 0;
    }
    const u8 *at = (const u8 *)p->l.out + p->at;
    u64 length = at[1];
    CHECK(at[0] == 0x81 || at[0] == 0x88 || at[0] == 0x89 || at[0] == 0x8a);
    CHECK(length < 0x80);
    CHECK(at[0] == 0x81 || length < 126);
    if (length >= 126) {
        u32 more = length == 126 ? 2 : 8;
        u64 least = length == 126 ? 126 : 65536;
        if (rest < 2 + more) {
            return 0;
        }
        length = 0;
        for (u32 i = 0; i < more; i++) {
            length = length << 8 | at[2 + i];
        }
        CHECK(length >= least);
        head += more;
    }
    *payload = at + head;
    *bytes = (size_t)length;
    return rest - head < length ? 0 : head + (size_t)length;
}

/* The next thing that came: a message's text, "ping", "pong PAYLOAD", "close CODE REASON", or ""
   when there is none. Every frame is judged by the RFC. */
static const char *peer_hear(struct hall *h, struct peer *p) {
    const u8 *payload;
    size_t bytes, whole = peer_frame_whole(p, &payload, &bytes);
    if (!whole) {
        p->spilled = p->at < p->l.out_bytes;
        return "";
    }
    CHECK(!p->over);
    CHECK(bytes < sizeof h->text - 16);
    u8 opcode = (u8)p->l.out[p->at] & 15;
    CHECK(opcode != WS_TEXT || utf8_valid(span_of((const char *)payload, bytes)));
    const char *prefix = opcode == 9 ? "ping" : opcode == 10 ? "pong " : "";
    int at = snprintf(h->text, sizeof h->text, "%s", prefix);
    if (opcode == 8) {
        u32 code = 1005;
        CHECK_INT(ws_close_code(span_of((const char *)payload, bytes), &code), MPS_OK);
        p->over = true;
        at = snprintf(h->text, sizeof h->text, "close %u%s", code, bytes > 2 ? " " : "");
        payload += bytes ? 2 : 0;
        bytes -= bytes ? 2 : 0;
    }
    memcpy(h->text + at, payload, bytes);
    h->text[(size_t)at + bytes] = 0;
    p->at += whole;
    if (p->at == p->l.out_bytes) {
        p->at = 0;
        link_forget(&p->l);
    }
    return h->text;
}

#define CHECK_HEARS(p, want) check_hears(&hall, (p), (want), __FILE__, __LINE__)

static void check_hears(struct hall *h, struct peer *p, const char *want, const char *file,
                        int line) {
    static char text[PEER_TEXT_MAX];
    peer_quotes(text, sizeof text, want);
    const char *got = peer_hear(h, p);
    check_text(got, strlen(got), text, "heard", file, line);
}

/* Takes everything off; gives how many messages of this type were among it. */
static u32 peer_count(struct hall *h, struct peer *p, const char *type) {
    char start[64];
    u32 count = 0;
    snprintf(start, sizeof start, "{\"type\":\"%s\"", type);
    for (const char *got = peer_hear(h, p); *got; got = peer_hear(h, p)) {
        count += strncmp(got, start, strlen(start)) == 0;
    }
    return count;
}

static void peer_skip(struct hall *h, struct peer *p) {
    peer_count(h, p, "");
}

static void hall_skip(struct hall *h) {
    for (u32 i = 0; i < h->count; i++) {
        if (!h->p[i].l.closed) {
            peer_skip(h, &h->p[i]);
        }
    }
}

/* -- coming in -- */

#define UPGRADE                                                                \
    "\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n" \
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

/* A token as the operator's own sign-in would mint it. An id of digits is a number. */
static const char *hall_token(const char *id, const char *name) {
    static char token[1024];
    mps_identity who = {.role = MPS_ROLE_PLAYER, .id_is_number = ascii_digit((u8)id[0])};
    snprintf(who.id, sizeof who.id, "%s", id);
    snprintf(who.name, sizeof who.name, "%s", name);
    mps_token_claims claims = {&who, NULL, NULL, hall_unix_s, 3600};
    CHECK(mps_token_mint(&claims, hall_secret, strlen(hall_secret), token, sizeof token) > 0);
    return token;
}

/* The head of the answer is taken off. */
static int peer_upgrade(struct hall *h, struct peer *p, const char *request) {
    link_send(&p->l, request);
    hall_run(h, 0);
    int status = p->l.out_bytes > 12 ? atoi(p->l.out + 9) : 0;
    const char *end = strstr(p->l.out, "\r\n\r\n");
    if (status == 101 && end) {
        p->at = (size_t)(end + 4 - p->l.out);
        if (p->at == p->l.out_bytes) {
            p->at = 0;
            link_forget(&p->l);
        }
    }
    return status;
}

/* An open socket that has not shaken hands; `id` NULL: anonymous. */
static struct peer *hall_open(struct hall *h, const char *from, const char *id, const char *name) {
    char request[1536];
    struct peer *p = hall_connect(h, from);
    snprintf(request, sizeof request, "GET /ws%s%s HTTP/1.1" UPGRADE, id ? "?token=" : "",
             id ? hall_token(id, name) : "");
    CHECK_INT(peer_upgrade(h, p, request), 101);
    return p;
}

/* The same with its handshake, whose answer is taken off. */
static struct peer *hall_enter(struct hall *h, const char *id, const char *name) {
    char say[256];
    struct peer *p = hall_open(h, "198.51.100.1", id, name);
    snprintf(say, sizeof say, "{'type':'handshake','data':{'version':'1','name':'%s'}}", name);
    peer_say(h, p, say);
    CHECK_INT(peer_count(h, p, "handshake_accepted"), 1);
    return p;
}

static int hall_status(struct hall *h, const char *request) {
    struct link_test l;
    link_open(&h->d, &l, "198.51.100.9");
    int status = link_ask(&l, request);
    h->text[0] = 0;
    snprintf(h->text, sizeof h->text, "%s", l.out);
    link_close(&l);
    hall_run(h, 0);
    return status;
}

/* A request with a token; what came back stands in h->text. */
static int hall_http(struct hall *h, const char *method, const char *target, const char *id,
                     const char *body) {
    char request[4096], json[1024];
    size_t bytes = peer_quotes(json, sizeof json, body);
    snprintf(request, sizeof request,
             "%s %s HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\nContent-Length: %zu\r\n\r\n"
             "%s",
             method, target, hall_token(id, id), bytes, json);
    return hall_status(h, request);
}

/* -- the upgrade -- */

#define WS_FIELDS(version, key)                                                       \
    "\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Request-Id: q\r\n" \
    "Sec-WebSocket-Version: " version "\r\nSec-WebSocket-Key: " key "\r\n"
#define WS_KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define WS_101                                                                          \
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"

static void sockets_upgrade(void) {
    static const struct {
        const char *request;
        int status;
        const char *has;
    } rows[] = {
        {"GET /ws HTTP/1.1" WS_FIELDS("13", WS_KEY) "\r\n", 101, WS_101 "X-Request-Id: q\r\n\r\n"},
        {"GET / HTTP/1.1" WS_FIELDS("13", WS_KEY) "\r\n", 101, WS_101 "X-Request-Id: q\r\n\r\n"},
        {"GET /ws HTTP/1.1" WS_FIELDS("13", WS_KEY) "Sec-WebSocket-Protocol: a, mpserver.v1\r\n"
                                                    "Sec-WebSocket-Extensions: x\r\n\r\n",
         101, WS_101 "Sec-WebSocket-Protocol: mpserver.v1\r\nX-Request-Id: q\r\n\r\n"},
        {"GET /ws HTTP/1.1" WS_FIELDS("13", WS_KEY) "Sec-WebSocket-Protocol: a, b\r\n\r\n", 101,
         WS_101 "X-Request-Id: q\r\n\r\n"},
        {"GET /ws HTTP/1.1" WS_FIELDS("12", WS_KEY) "\r\n", 426, "Sec-WebSocket-Version: 13\r\n"},
        {"GET /ws HTTP/1.1" WS_FIELDS("12", WS_KEY) "\r\n", 426, "websocket_version"},
        {"GET /ws HTTP/1.1" WS_FIELDS("", WS_KEY) "\r\n", 426, "websocket_version"},
        {"GET /ws HTTP/1.1" END, 426, "upgrade_required"},
        {"GET /ws HTTP/1.1" END, 426, "Upgrade: websocket\r\n"},
        {"GET / HTTP/1.1" END, 404, "not_found"},
        {"GET /ws HTTP/1.1" WS_FIELDS("13", "dGhlIHNhbXBsZSBub25jZ") "\r\n", 400, "bad_upgrade"},
        {"GET /ws HTTP/1.1" WS_FIELDS("13", "") "\r\n", 400, "bad_upgrade"},
        {"GET /ws HTTP/1.1" WS_FIELDS("13", WS_KEY) "Content-Length: 2\r\n\r\n{}", 400,
         "bad_upgrade"},
        {"GET /ws HTTP/1.0" WS_FIELDS("13", WS_KEY) "\r\n", 400, "bad_upgrade"},
        {"HEAD /ws HTTP/1.1" WS_FIELDS("13", WS_KEY) "\r\n", 400, "HTTP/1.1 400 "},
        {"POST /ws HTTP/1.1" WS_FIELDS("13", WS_KEY) "\r\n", 405, "method_not_allowed"},
        {"GET /ws?token=x HTTP/1.1" WS_FIELDS("13", WS_KEY) "\r\n", 401, "invalid_token"},
        {"GET /ws HTTP/1.1" WS_FIELDS("13", WS_KEY) "Authorization: Bearer x\r\n\r\n", 401,
         "invalid_token"},
    };
    mps_config c = hall_config();
    hall_start(&hall, &c);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct link_test l;
        link_open(&hall.d, &l, "198.51.100.1");
        CHECK_INT(link_ask(&l, rows[i].request), rows[i].status);
        if (rows[i].status == 101) {
            CHECK_TEXT(l.out, l.out_bytes, rows[i].has);
            CHECK_INT(l.fate, MPS_FATE_OPEN);
        } else {
            CHECK_HAS(&l, rows[i].has);
            CHECK(!strstr(l.out, "101"));
        }
        link_close(&l);
    }
    CHECK_INT(hall.d.s->presence.sockets, 0);
    mps_drain(hall.d.s, hall.d.now, 0);
    CHECK_INT(hall_status(&hall, "GET /ws HTTP/1.1" UPGRADE), 503);
    CHECK(strstr(hall.text, "\"error\":\"draining\""));
    hall_stop(&hall);
}

/* -- the table of RFC 6455 against the whole server -- */

/* One connection that is upgraded and given the stream in pieces of `first`, then `step` bytes. */
static size_t table_play(struct hall *h, struct ws_bytes stream, size_t first, size_t step,
                         char *out) {
    struct link_test l;
    link_open(&h->d, &l, "198.51.100.1");
    CHECK_INT(link_ask(&l, "GET /ws HTTP/1.1" UPGRADE), 101);
    link_forget(&l);
    for (size_t at = 0, piece = first; at < stream.bytes; at += piece, piece = step) {
        piece = size_min(piece ? piece : step, stream.bytes - at);
        link_send_bytes(&l, stream.at + at, piece);
    }
    size_t bytes = l.out_bytes;
    memcpy(out, l.out, bytes);
    out[bytes] = 0;
    link_close(&l);
    return bytes;
}

/* What the server says to each event of the row, and in the end: text is no JSON here, pings come
   back, an error closes with its code. */
static void table_judge(struct hall *h, const struct ws_row *row, const char *out, size_t bytes) {
    struct ws_bytes events = ws_text_read(row->events, true);
    struct peer p = {.l = {.out = malloc(bytes + 1), .out_bytes = bytes}};
    u32 code =
        row->ending < 0 ? error_close_code(error_row((mps_error)row->ending)) : (u32)row->ending;
    char want[256];
    memcpy(p.l.out, out, bytes + 1);
    for (size_t at = 0; at < events.bytes;) {
        const char *payload = events.at + at + 5;
        u32 payload_bytes = load_be32((const u8 *)events.at + at + 1);
        if (events.at[at] == WS_TEXT) {
            const char *got = peer_hear(h, &p);
            CHECK(strncmp(got, "{\"type\":\"error\",\"data\":{\"reason\":\"", 34) == 0);
        } else if (events.at[at] == WS_PING) {
            CHECK(strncmp(peer_hear(h, &p), "pong ", 5) == 0);
            CHECK(memcmp(h->text + 5, payload, payload_bytes) == 0);
            CHECK_INT(h->text[5 + payload_bytes], 0);
        }
        at += 5 + payload_bytes;
    }
    if (row->ending == MPS_E_MESSAGE_TOO_LARGE) {
        CHECK(strstr(peer_hear(h, &p), "\"reason\":\"message_too_large\""));
    }
    if (row->ending != WS_ENDS_WHOLE && row->ending != WS_ENDS_HALF) {
        int n = snprintf(want, sizeof want, "close %u", code);
        CHECK(strncmp(peer_hear(h, &p), want, (size_t)n) == 0);
    }
    CHECK_INT(peer_hear(h, &p)[0], 0);
    CHECK(p.at == p.l.out_bytes);
    free(p.l.out);
    free(events.at);
}

static void table_run(struct hall *h, const struct ws_row *row) {
    struct ws_bytes stream = ws_text_read(row->stream, false);
    static char whole[LINK_OUT_MAX], other[LINK_OUT_MAX];
    int failed = checks_failed;
    size_t bytes = table_play(h, stream, stream.bytes, 1, whole);
    table_judge(h, row, whole, bytes);
    for (size_t cut = 1; cut < stream.bytes; cut++) {
        size_t n = table_play(h, stream, cut, stream.bytes, other);
        CHECK(n == bytes && memcmp(whole, other, n) == 0);
        cut = stream.bytes > 4096 && cut == 24 ? stream.bytes - 9 : cut;
    }
    if (stream.bytes < 4096) {
        size_t n = table_play(h, stream, 1, 1, other);
        CHECK(n == bytes && memcmp(whole, other, n) == 0);
    }
    if (checks_failed > failed) {
        printf("row %s: %s\n", row->about.where, row->stream);
    }
    free(stream.at);
}

/* Rows whose limit no configuration allows are left to the table's own test. */
static void sockets_table(void) {
    static const u32 limits[] = {4096, 65535, 65536};
    u32 rows = 0;
    for (size_t k = 0; k < COUNT_OF(limits); k++) {
        mps_config c = hall_config();
        c.preset = MPS_PRESET_SMALL;
        c.message_bytes_max = limits[k];
        hall_start(&hall, &c);
        for (size_t i = 0; i < COUNT_OF(ws_rows); i++) {
            if ((ws_rows[i].max ? ws_rows[i].max : 65536) == limits[k]) {
                table_run(&hall, &ws_rows[i]);
                rows++;
            }
        }
        hall_check_empty(&hall);
        hall_stop(&hall);
    }
    CHECK(rows > 150);
}

/* The upgrade and frames behind it in one go, cut at every byte. */
static void sockets_cut(void) {
    char text[1024], whole[4096];
    mps_config c = hall_config();
    size_t whole_bytes = 0;
    hall_start(&hall, &c);
    size_t bytes = (size_t)snprintf(text, sizeof text, "%s",
                                    "GET /ws HTTP/1.1" WS_FIELDS("13", WS_KEY) "\r\n");
    const char *said[] = {"{\"type\":\"ping\"}", "nothing", "{\"type\":\"chat\",\"data\":{}}"};
    for (size_t i = 0; i < COUNT_OF(said); i++) {
        bytes += peer_frame(text + bytes, 0x81, said[i], strlen(said[i]));
    }
    bytes += peer_frame(text + bytes, 0x88, "\x03\xe8ok", 4);
    for (size_t cut = 0; cut < bytes; cut++) {
        struct link_test l;
        link_open(&hall.d, &l, "198.51.100.1");
        link_send_bytes(&l, text, cut);
        link_send_bytes(&l, text + cut, bytes - cut);
        CHECK_INT(l.fate, MPS_FATE_FINISH);
        if (!cut) {
            memcpy(whole, l.out, whole_bytes = l.out_bytes);
            CHECK(memcmp(l.out + l.out_bytes - 4, "\x88\x02\x03\xe8", 4) == 0);
            CHECK_HAS(&l, "{\"type\":\"pong\",\"data\":{\"ts\":1771070400000}}");
            CHECK_HAS(&l, "\"reason\":\"bad_json\"");
        }
        CHECK(l.out_bytes == whole_bytes && memcmp(l.out, whole, whole_bytes) == 0);
        link_close(&l);
    }
    hall_stop(&hall);
}

/* -- messages and handshakes -- */

#define CHECK_FAULT(p, error, more) check_fault(&hall, (p), (error), (more), __LINE__)

/* The next message is this error, with `more` behind its sentence. */
static void check_fault(struct hall *h, struct peer *p, mps_error error, const char *more,
                        int line) {
    char want[512], quoted[128];
    peer_quotes(quoted, sizeof quoted, more);
    snprintf(want, sizeof want,
             "{\"type\":\"error\",\"data\":{\"reason\":\"%s\",\"message\":\"%s\"%s}}",
             mps_error_code(error), mps_error_text(error), quoted);
    const char *got = peer_hear(h, p);
    check_text(got, strlen(got), want, "refusal", __FILE__, line);
}

static void sockets_messages(void) {
    static const struct {
        const char *say;
        mps_error error;
        const char *more;
    } rows[] = {
        {"", MPS_E_BAD_JSON, ",'position':0"},
        {"{", MPS_E_BAD_JSON, ",'position':1"},
        {"[]", MPS_E_BAD_JSON, ",'position':0"},
        {"{'type':'ping'}x", MPS_E_BAD_JSON, ",'position':15"},
        {"{'type':'ping','data':[]}", MPS_E_BAD_JSON, ",'position':22"},
        {"{'type':'ping','data':'x'}", MPS_E_BAD_JSON, ",'position':22"},
        {"{}", MPS_E_UNKNOWN_TYPE, ""},
        {"{'type':1}", MPS_E_UNKNOWN_TYPE, ""},
        {"{'type':null}", MPS_E_UNKNOWN_TYPE, ""},
        {"{'type':'pin'}", MPS_E_UNKNOWN_TYPE, ""},
        {"{'type':'Ping'}", MPS_E_UNKNOWN_TYPE, ""},
        {"{'type':'create_room'}", MPS_E_AUTH_REQUIRED, ""},
        {"{'type':'join_room'}", MPS_E_AUTH_REQUIRED, ""},
        {"{'type':'quick_join'}", MPS_E_AUTH_REQUIRED, ""},
        {"{'type':'leave_room'}", MPS_E_AUTH_REQUIRED, ""},
        {"{'type':'chat'}", MPS_E_AUTH_REQUIRED, ""},
        {"{'type':'player_state'}", MPS_E_AUTH_REQUIRED, ""},
        {"{'type':'player_snapshot'}", MPS_E_AUTH_REQUIRED, ""},
        {"{'type':'rpc_call'}", MPS_E_AUTH_REQUIRED, ""},
        {"{'type':'kick'}", MPS_E_AUTH_REQUIRED, ""},
        {"{'type':'ban'}", MPS_E_AUTH_REQUIRED, ""},
        {"{'type':'handshake'}", MPS_E_INVALID_HANDSHAKE, ",'field':'version'"},
        {"{'type':'handshake','data':{'version':1,'name':'n'}}", MPS_E_INVALID_HANDSHAKE,
         ",'field':'version'"},
        {"{'type':'handshake','data':{'version':'','name':'n'}}", MPS_E_INVALID_HANDSHAKE,
         ",'field':'version'"},
        {"{'type':'handshake','data':{'version':'1'}}", MPS_E_INVALID_HANDSHAKE, ",'field':'name'"},
        {"{'type':'handshake','data':{'version':'1','name':''}}", MPS_E_INVALID_HANDSHAKE,
         ",'field':'name'"},
        {"{'type':'handshake','data':{'version':'1','name':'123456789012345678901234567890123'}}",
         MPS_E_INVALID_HANDSHAKE, ",'field':'name'"},
        {"{'type':'handshake','data':{'version':'1','name':'n','token':7}}",
         MPS_E_INVALID_HANDSHAKE, ",'field':'token'"},
        {"{'type':'handshake','data':{'version':'1','name':'n','token':'x.y.z'}}",
         MPS_E_TOKEN_INVALID, ""},
    };
    mps_config c = hall_config();
    hall_start(&hall, &c);
    struct peer *p = hall_open(&hall, "198.51.100.1", NULL, NULL);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        peer_say(&hall, p, rows[i].say);
        CHECK_FAULT(p, rows[i].error, rows[i].more);
        CHECK_HEARS(p, "");
    }
    peer_say(&hall, p, " {'data':null, 'type' : 'ping' } ");
    CHECK_HEARS(p, "{'type':'pong','data':{'ts':1771070400000}}");
    hall_run(&hall, 1500 * 1000);
    peer_say(&hall, p, "{'type':'chat','type':'p\\u0069ng','data':{'x':1}}");
    CHECK_HEARS(p, "{'type':'pong','data':{'ts':1771070401500}}");
    CHECK_INT(hall.d.s->presence.listeners.count, 0);
    hall_stop(&hall);
}

#define SHAKE(name, token) \
    "{'type':'handshake','data':{'version':'1','name':'" name "','token':'" token "'}}"

static void peer_shake(struct hall *h, struct peer *p, const char *name, const char *token) {
    char say[1536];
    snprintf(say, sizeof say,
             "{'type':'handshake','data':{'version':'1.0','name':'%s','token':'%s'}}", name, token);
    peer_say(h, p, say);
}

static void sockets_handshake(void) {
    mps_config c = hall_config();
    hall_start(&hall, &c);
    struct peer *p = hall_open(&hall, "198.51.100.1", NULL, NULL);
    peer_shake(&hall, p, "Zo\\u00eb", "");
    CHECK_HEARS(p, "{'type':'handshake_accepted','data':{'peer_id':0,'user_id':null,"
                   "'username':'Zoë'}}");
    peer_shake(&hall, p, "again", "");
    CHECK_HEARS(p, "{'type':'handshake_accepted','data':{'peer_id':0,'user_id':null,"
                   "'username':'again'}}");
    /* Signs in at last; that is nothing it should hear of itself. */
    peer_shake(&hall, p, "ignored", hall_token("7", "Seven"));
    CHECK_HEARS(p, "{'type':'handshake_accepted','data':{'peer_id':0,'user_id':7,"
                   "'username':'Seven'}}");
    CHECK_HEARS(p, "");
    CHECK_INT(hall.d.s->presence.users.used, 1);
    peer_shake(&hall, p, "n", "");
    CHECK_HEARS(p, "{'type':'handshake_accepted','data':{'peer_id':0,'user_id':7,"
                   "'username':'Seven'}}");
    peer_shake(&hall, p, "n", hall_token("7", "Siete"));
    CHECK_HEARS(p, "{'type':'handshake_accepted','data':{'peer_id':0,'user_id':7,"
                   "'username':'Siete'}}");
    peer_shake(&hall, p, "n", hall_token("u8", "Eight"));
    CHECK_FAULT(p, MPS_E_INVALID_HANDSHAKE, "");
    CHECK_INT(hall.d.s->presence.users.used, 1);
    /* The token of the upgrade, in the query or the field; the string "7" is another user. */
    struct peer *q = hall_open(&hall, "198.51.100.1", "u8", "Eight");
    peer_shake(&hall, q, "n", hall_token("7", "Seven"));
    CHECK_FAULT(q, MPS_E_INVALID_HANDSHAKE, "");
    peer_shake(&hall, q, "n", "");
    CHECK_HEARS(q, "{'type':'handshake_accepted','data':{'peer_id':0,'user_id':'u8',"
                   "'username':'Eight'}}");
    CHECK_HEARS(q, "");
    char request[1536];
    struct peer *r = hall_connect(&hall, "198.51.100.1");
    snprintf(request, sizeof request, "GET /ws HTTP/1.1\r\nAuthorization: Bearer %s" UPGRADE,
             hall_token("u9", ""));
    CHECK_INT(peer_upgrade(&hall, r, request), 101);
    peer_shake(&hall, r, "n", "");
    CHECK_HEARS(r, "{'type':'handshake_accepted','data':{'peer_id':0,'user_id':'u9',"
                   "'username':'u9'}}");
    /* A token that has expired leaves the socket as it was. */
    mps_wall_clock(drive_server(&hall.d), hall.d.now, (hall_unix_s + 3700) * 1000);
    p = hall_open(&hall, "198.51.100.1", NULL, NULL);
    peer_shake(&hall, p, "n", hall_token("u8", "Eight"));
    CHECK_FAULT(p, MPS_E_TOKEN_EXPIRED, "");
    peer_shake(&hall, p, "n", "");
    CHECK_HEARS(p, "{'type':'handshake_accepted','data':{'peer_id':0,'user_id':null,"
                   "'username':'n'}}");
    hall_check_empty(&hall);
    hall_stop(&hall);
}

/* A user table that is full refuses, and nothing stays behind of who was refused. */
static void sockets_users_full(void) {
    mps_config c = hall_config();
    c.users = 2;
    hall_start(&hall, &c);
    hall_open(&hall, "198.51.100.1", "a", "A");
    hall_open(&hall, "198.51.100.1", "b", "B");
    hall_open(&hall, "198.51.100.1", "b", "B");
    char request[1536];
    snprintf(request, sizeof request, "GET /ws?token=%s HTTP/1.1" UPGRADE, hall_token("c", "C"));
    CHECK_INT(hall_status(&hall, request), 503);
    CHECK(strstr(hall.text, "users_full"));
    struct peer *p = hall_open(&hall, "198.51.100.1", NULL, NULL);
    peer_shake(&hall, p, "n", hall_token("c", "C"));
    CHECK_FAULT(p, MPS_E_USERS_FULL, "");
    CHECK_INT(hall_http(&hall, "POST", "/api/rooms", "c", "{'gamemode':'g'}"), 503);
    CHECK_INT(drive_count(&hall.d, COUNTER_FULL_USERS), 3);
    peer_drop(&hall, &hall.p[0]);
    peer_shake(&hall, p, "n", hall_token("c", "C"));
    CHECK_INT(peer_count(&hall, p, "handshake_accepted"), 1);
    hall_check_empty(&hall);
    hall_stop(&hall);
}

/* -- the game's answer -- */

struct judge {
    mps_verdict verdict;
    u64 ticket;
    u32 asked;
};

static mps_verdict judge_authenticate(void *user, const char *token, size_t bytes, u64 ticket,
                                      mps_identity *who) {
    struct judge *j = user;
    j->ticket = ticket;
    j->asked++;
    if (j->verdict == MPS_YES) {
        snprintf(who->id, sizeof who->id, "%.*s", (int)bytes, token);
        snprintf(who->name, sizeof who->name, "Game");
    }
    return j->verdict;
}

static mps_error judge_finish(struct hall *h, const struct judge *j, bool yes) {
    mps_identity who = {.id = "gamer", .name = "Gamer"};
    mps_error error = mps_auth_finish(drive_server(&h->d), h->d.now, j->ticket, yes ? &who : NULL);
    hall_run(h, 0);
    return error;
}

#define GAME_ACCEPTED \
    "{'type':'handshake_accepted','data':{'peer_id':0,'user_id':'gamer','username':'Gamer'}}"
#define PING "{'type':'ping'}"

static void sockets_hook(void) {
    mps_config c = hall_config();
    struct judge j = {MPS_NO, 0, 0};
    c.hooks = (mps_hooks){.user = &j, .authenticate = judge_authenticate};
    hall_start(&hall, &c);
    struct peer *p = hall_open(&hall, "198.51.100.1", NULL, NULL);
    peer_shake(&hall, p, "n", "ticket");
    CHECK_FAULT(p, MPS_E_TOKEN_INVALID, "");
    /* What comes while the game thinks waits, and is answered behind. */
    j.verdict = MPS_LATER;
    peer_shake(&hall, p, "n", "ticket");
    CHECK_HEARS(p, "");
    CHECK_INT(mps_tcp_room(hall.d.s, p->l.conn), 0);
    CHECK_INT(judge_finish(&hall, &j, false), MPS_OK);
    CHECK_FAULT(p, MPS_E_TOKEN_INVALID, "");
    CHECK_INT(judge_finish(&hall, &j, true), MPS_E_HANDLE);
    char text[512], shake[128], ping[64];
    size_t bytes =
        peer_frame(text, 0x81, shake, peer_quotes(shake, sizeof shake, SHAKE("n", "ticket")));
    bytes += peer_frame(text + bytes, 0x81, ping, peer_quotes(ping, sizeof ping, PING));
    bytes += peer_frame(text + bytes, 0x89, "x", 1) - 3; /* half of a ping */
    CHECK_INT(link_send_bytes(&p->l, text, bytes), 0);
    hall_run(&hall, 5 * S_US);
    CHECK_HEARS(p, "");
    CHECK_INT(judge_finish(&hall, &j, true), MPS_OK);
    CHECK_HEARS(p, GAME_ACCEPTED);
    CHECK_INT(peer_count(&hall, p, "pong"), 1);
    CHECK_INT(link_send_bytes(&p->l, text + bytes, 3), 0);
    CHECK_HEARS(p, "pong x");
    CHECK_HEARS(p, "");
    /* Yes at once is the same; and for another user it is no. */
    j.verdict = MPS_YES;
    peer_shake(&hall, p, "n", "gamer");
    CHECK_HEARS(p, "{'type':'handshake_accepted','data':{'peer_id':0,'user_id':'gamer',"
                   "'username':'Game'}}");
    peer_shake(&hall, p, "n", "other");
    CHECK_FAULT(p, MPS_E_INVALID_HANDSHAKE, "");
    CHECK_INT(j.asked, 5);
    hall_check_empty(&hall);
    hall_stop(&hall);
}

static void sockets_hook_too_late(void) {
    mps_config c = hall_config();
    struct judge j = {MPS_LATER, 0, 0};
    c.hooks = (mps_hooks){.user = &j, .authenticate = judge_authenticate};
    hall_start(&hall, &c);
    struct peer *p = hall_open(&hall, "198.51.100.1", NULL, NULL);
    char text[512], shake[128], ping[64];
    size_t bytes =
        peer_frame(text, 0x81, shake, peer_quotes(shake, sizeof shake, SHAKE("n", "ticket")));
    bytes += peer_frame(text + bytes, 0x81, ping, peer_quotes(ping, sizeof ping, PING));
    link_send_bytes(&p->l, text, bytes);
    hall_run(&hall, 10 * S_US - 1);
    CHECK_HEARS(p, "");
    hall_run(&hall, 1);
    CHECK_FAULT(p, MPS_E_AUTH_TIMEOUT, "");
    CHECK_HEARS(p, "{'type':'pong','data':{'ts':1771070410000}}");
    CHECK_INT(judge_finish(&hall, &j, true), MPS_E_HANDLE);
    CHECK_INT(hall.d.s->presence.users.used, 0);
    /* It dropped meanwhile. */
    peer_shake(&hall, p, "n", "ticket");
    peer_drop(&hall, p);
    CHECK_INT(judge_finish(&hall, &j, true), MPS_E_HANDLE);
    /* FIN does not take the question back; nor does it keep a socket that has its answer. */
    for (u32 i = 0; i < 3; i++) {
        p = hall_open(&hall, "198.51.100.1", NULL, NULL);
        peer_shake(&hall, p, "n", "ticket");
        mps_tcp_eof(drive_server(&hall.d), p->l.conn, hall.d.now);
        hall_run(&hall, 0);
        CHECK_INT(mps_tcp_fate(hall.d.s, p->l.conn), MPS_FATE_OPEN);
        if (i < 2) {
            CHECK_INT(judge_finish(&hall, &j, i == 0), MPS_OK);
        } else {
            hall_run(&hall, 10 * S_US);
        }
        link_read(&p->l);
        hall_run(&hall, 0);
        CHECK_INT(peer_count(&hall, p, "handshake_accepted"), i == 0);
        CHECK(p->l.closed);
    }
    hall_check_empty(&hall);
    hall_stop(&hall);
}

/* -- time -- */

static void sockets_silence(void) {
    mps_config c = hall_config();
    hall_start(&hall, &c);
    struct peer *p = hall_open(&hall, "198.51.100.1", NULL, NULL);
    hall_run(&hall, 20 * S_US);
    peer_send(&hall, p, 0x8a, "", 0); /* a pong nobody asked for is a sign of life */
    hall_run(&hall, 30 * S_US - 1);
    CHECK_HEARS(p, "");
    hall_run(&hall, 1);
    CHECK_HEARS(p, "ping");
    hall_run(&hall, 40 * S_US);
    peer_send(&hall, p, 0x8a, "", 0);
    hall_run(&hall, 30 * S_US - 1);
    CHECK_HEARS(p, "");
    hall_run(&hall, 1);
    CHECK_HEARS(p, "ping");
    hall_run(&hall, 45 * S_US - 1);
    CHECK_HEARS(p, "");
    CHECK_INT(mps_tcp_fate(hall.d.s, p->l.conn), MPS_FATE_OPEN);
    hall_run(&hall, 1);
    CHECK_HEARS(p, "close 1001 silent");
    CHECK_INT(mps_tcp_fate(hall.d.s, p->l.conn), MPS_FATE_FINISH);
    CHECK_INT(drive_count(&hall.d, COUNTER_CLOSED_IDLE), 1);
    peer_say(&hall, p, PING); /* discarded */
    CHECK_HEARS(p, "");
    hall_run(&hall, 2 * S_US - 1);
    CHECK(!p->l.closed);
    hall_run(&hall, 1);
    link_read(&p->l);
    CHECK(p->l.closed);
    hall_check_empty(&hall);
    hall_stop(&hall);
}

/* Bytes that trickle in do not extend the patience for a message; other messages begin anew. */
static void sockets_message_timeout(void) {
    char frame[128];
    mps_config c = hall_config();
    hall_start(&hall, &c);
    struct peer *p = hall_open(&hall, "198.51.100.1", NULL, NULL);
    size_t bytes = peer_frame(frame, 0x81, "0123456789012345678901234567890123456789", 40);
    for (size_t i = 0; i < 30; i++) {
        link_send_bytes(&p->l, frame + i, 1);
        hall_run(&hall, S_US);
        if (i == 15) {
            CHECK_HEARS(p, "");
        }
    }
    CHECK_FAULT(p, MPS_E_MESSAGE_TIMEOUT, "");
    CHECK_HEARS(p, "close 1008 message_timeout");
    CHECK_INT(drive_count(&hall.d, COUNTER_CLOSED_TIMEOUT), 1);
    /* Whole messages, each with the first byte of the next behind it. */
    p = hall_open(&hall, "198.51.100.1", NULL, NULL);
    link_send_bytes(&p->l, frame, 1);
    for (u32 i = 0; i < 4; i++) {
        hall_run(&hall, 29 * S_US);
        link_send_bytes(&p->l, frame + 1, bytes - 1);
        CHECK_FAULT(p, MPS_E_BAD_JSON, ",'position':0");
        link_send_bytes(&p->l, frame, 1);
    }
    hall_run(&hall, 30 * S_US - 1);
    CHECK_HEARS(p, "");
    hall_run(&hall, 1);
    CHECK_FAULT(p, MPS_E_MESSAGE_TIMEOUT, "");
    /* The same with pings: none of them is late. */
    p = hall_open(&hall, "198.51.100.1", NULL, NULL);
    bytes = peer_frame(frame, 0x89, "x", 1);
    frame[bytes] = frame[0];
    link_send_bytes(&p->l, frame, 1);
    for (u32 i = 0; i < 4; i++) {
        hall_run(&hall, 20 * S_US);
        link_send_bytes(&p->l, frame + 1, bytes);
        CHECK_HEARS(p, "pong x");
    }
    CHECK_HEARS(p, "");
    /* Between fragments it is one message. */
    p = hall_open(&hall, "198.51.100.1", NULL, NULL);
    peer_send(&hall, p, 0x01, "", 0);
    hall_run(&hall, 20 * S_US);
    peer_send(&hall, p, 0x89, "p", 1);
    CHECK_HEARS(p, "pong p");
    peer_send(&hall, p, 0x00, "{", 1);
    hall_run(&hall, 10 * S_US - 1);
    CHECK_HEARS(p, "");
    hall_run(&hall, 1);
    CHECK_FAULT(p, MPS_E_MESSAGE_TIMEOUT, "");
    hall_check_empty(&hall);
    hall_stop(&hall);
}

/* One who writes and does not read is held back, not timed out: what it said is whole. */
static void sockets_held_back(void) {
    char frames[8192];
    mps_config c = hall_config();
    hall_start(&hall, &c);
    struct peer *p = hall_open(&hall, "198.51.100.1", NULL, NULL);
    p->l.stalled = true;
    size_t bytes = 0, said = 0;
    for (; bytes + 150 < mps_tcp_room(hall.d.s, p->l.conn); said++) {
        memset(frames + bytes, 'x', 125);
        char ping[125];
        memset(ping, 'p', sizeof ping);
        bytes += peer_frame(frames + bytes, 0x89, ping, sizeof ping);
    }
    CHECK(said > 20);
    CHECK_INT(mps_tcp_input(hall.d.s, p->l.conn, hall.d.now, frames, bytes), MPS_OK);
    hall_run(&hall, 0);
    CHECK(conn_at(&hall.d.s->conns, (u32)p->l.conn.id - 1)->ready);
    hall_run(&hall, 70 * S_US);
    CHECK_INT(mps_tcp_fate(hall.d.s, p->l.conn), MPS_FATE_OPEN);
    peer_unstall(&hall, p);
    u32 pongs = 0;
    for (const char *got = peer_hear(&hall, p); *got; got = peer_hear(&hall, p)) {
        pongs += strncmp(got, "pong p", 6) == 0;
    }
    CHECK_INT(pongs, said);
    hall_check_empty(&hall);
    hall_stop(&hall);
}

/* Held back by what others took of this round's memory, or by the work of one call, while its own
   unread output is between low and high water: it goes on in the next round. */
static void sockets_goes_on(void) {
    char frames[2048];
    mps_config c = hall_config();
    c.settle_max = 16;
    hall_start(&hall, &c);
    struct peer *p = hall_open(&hall, "198.51.100.1", NULL, NULL);
    const struct conn *conn = conn_at(&hall.d.s->conns, (u32)p->l.conn.id - 1);
    p->l.stalled = true;
    while (conn->out_bytes <= hall.d.s->conns.output_low) {
        peer_send(&hall, p, 0x89, "0123456789012345678901234567890123456789", 40);
    }
    u32 before = conn->out_bytes;
    size_t bytes = 0;
    for (u32 i = 0; i < 100; i++) { /* more than one call does, and little output */
        bytes += peer_frame(frames + bytes, 0x8a, "", 0);
    }
    bytes += peer_frame(frames + bytes, 0x89, "", 0);
    CHECK(bytes <= mps_tcp_room(hall.d.s, p->l.conn));
    CHECK_INT(mps_tcp_input(hall.d.s, p->l.conn, hall.d.now, frames, bytes), MPS_OK);
    CHECK(conn->ready);
    hall_run(&hall, 0);
    CHECK(!conn->ready);
    CHECK_INT(conn->out_bytes, before + 2);
    hall_check_empty(&hall);
    hall_stop(&hall);
}

static void sockets_drain(void) {
    mps_config c = hall_config();
    hall_start(&hall, &c);
    struct peer *a = hall_enter(&hall, "a", "A"), *b = hall_open(&hall, "198.51.100.1", "b", "B");
    struct peer *slow = hall_enter(&hall, NULL, "anonymous");
    hall_skip(&hall);
    mps_drain(drive_server(&hall.d), hall.d.now, 3000);
    hall_run(&hall, 0);
    CHECK_HEARS(a, "{'type':'notification','data':{'text':'The server is shutting down.'}}");
    CHECK_HEARS(slow, "{'type':'notification','data':{'text':'The server is shutting down.'}}");
    CHECK_HEARS(b, "");
    peer_say(&hall, b, "{'type':'create_room'}");
    CHECK_FAULT(b, MPS_E_DRAINING, "");
    peer_say(&hall, b, "{'type':'quick_join'}");
    CHECK_FAULT(b, MPS_E_DRAINING, "");
    peer_say(&hall, b, PING);
    CHECK_INT(peer_count(&hall, b, "pong"), 1);
    slow->l.stalled = true;
    peer_say(&hall, slow, PING);
    hall_run(&hall, 3 * S_US - 1);
    CHECK_HEARS(a, "");
    hall_run(&hall, 1);
    CHECK_HEARS(a, "close 1001 draining");
    CHECK_HEARS(b, "close 1001 draining");
    peer_unstall(&hall, slow);
    CHECK_INT(strncmp(peer_hear(&hall, slow), "{\"type\":\"pong\"", 14), 0);
    CHECK_HEARS(slow, "close 1001 draining");
    hall_run(&hall, 2 * S_US);
    for (u32 i = 0; i < 3; i++) {
        peer_drop(&hall, &hall.p[i]);
    }
    hall_run(&hall, 0);
    CHECK(mps_drained(hall.d.s));
    hall_check_empty(&hall);
    hall_stop(&hall);
}

/* -- presence -- */

#define ONLINE(id, name) "{'type':'user_online','data':{'user_id':" id ",'username':'" name "'}}"
#define OFFLINE(id, name) "{'type':'user_offline','data':{'user_id':" id ",'username':'" name "'}}"

static void sockets_presence(void) {
    mps_config c = hall_config();
    hall_start(&hall, &c);
    struct peer *a = hall_enter(&hall, "a", "A"), *nobody = hall_enter(&hall, NULL, "anonymous");
    CHECK_HEARS(a, "");
    struct peer *b = hall_open(&hall, "198.51.100.1", "5", "B"); /* online from the upgrade on */
    CHECK_HEARS(a, ONLINE("5", "B"));
    struct peer *b2 = hall_enter(&hall, "5", "B");
    CHECK_HEARS(a, "");
    peer_shake(&hall, b, "n", "");
    CHECK_INT(peer_count(&hall, b, "handshake_accepted"), 1);
    peer_drop(&hall, b);
    CHECK_HEARS(a, "");
    CHECK_INT(hall_http(&hall, "GET", "/api/presence", "x", ""), 200);
    CHECK(strstr(hall.text, "\r\n\r\n{\"users\":[{\"user_id\":\"a\",\"username\":\"A\"},"
                            "{\"user_id\":5,\"username\":\"B\"}],\"count\":2}"));
    peer_drop(&hall, b2);
    CHECK_HEARS(a, OFFLINE("5", "B"));
    CHECK_HEARS(a, "");
    /* Whoever has not shaken hands hears nothing, then nothing of what was before. */
    struct peer *mute = hall_open(&hall, "198.51.100.1", "m", "M");
    CHECK_HEARS(a, ONLINE("'m'", "M"));
    peer_drop(&hall, hall_enter(&hall, "c", "C"));
    CHECK_HEARS(a, ONLINE("'c'", "C"));
    CHECK_HEARS(a, OFFLINE("'c'", "C"));
    CHECK_HEARS(mute, "");
    peer_shake(&hall, mute, "n", "");
    CHECK_INT(peer_count(&hall, mute, "handshake_accepted"), 1);
    CHECK_HEARS(mute, "");
    CHECK_HEARS(nobody, "");
    hall_check_empty(&hall);
    hall_stop(&hall);
}

static void sockets_presence_public(void) {
    mps_config c = hall_config();
    c.presence_public = true;
    hall_start(&hall, &c);
    struct peer *nobody = hall_enter(&hall, NULL, "anonymous");
    struct peer *mute = hall_open(&hall, "198.51.100.1", NULL, NULL);
    peer_drop(&hall, hall_enter(&hall, "c", "C"));
    CHECK_HEARS(nobody, ONLINE("'c'", "C"));
    CHECK_HEARS(nobody, OFFLINE("'c'", "C"));
    CHECK_HEARS(nobody, "");
    CHECK_HEARS(mute, "");
    hall_check_empty(&hall);
    hall_stop(&hall);
}

/* As an operator would. */
static void hall_announce(struct hall *h, const char *text) {
    char token[1024], request[1536];
    mps_identity who = {.id = "op", .role = MPS_ROLE_ADMIN};
    mps_token_claims claims = {&who, NULL, NULL, hall_unix_s, 3600};
    CHECK(mps_token_mint(&claims, hall_secret, strlen(hall_secret), token, sizeof token) > 0);
    snprintf(request, sizeof request,
             "POST /admin/announce HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\n"
             "Content-Length: %zu\r\n\r\n{\"text\":\"%s\"}",
             token, strlen(text) + 11, text);
    CHECK_INT(hall_status(h, request), 202);
}

static void late_announce(struct hall *h, u32 from, u32 to) {
    char text[128];
    for (u32 i = from; i < to; i++) {
        snprintf(text, sizeof text, "%0100u", i);
        hall_announce(h, text);
    }
}

/* Announcements `from` to `to`, one after the other. */
static void late_hears(struct peer *p, u32 from, u32 to) {
    char want[256];
    for (u32 i = from; i < to; i++) {
        snprintf(want, sizeof want, "{'type':'notification','data':{'text':'%0100u'}}", i);
        CHECK_HEARS(p, want);
    }
}

static void sockets_late(void) {
    mps_config c = hall_config();
    c.requests_per_s = c.connections_per_s = 1000000;
    hall_start(&hall, &c);
    struct peer *good = hall_enter(&hall, NULL, "good"), *slow = hall_enter(&hall, NULL, "slow");
    slow->l.stalled = true;
    late_announce(&hall, 0, 45); /* 45 frames of 146 bytes: within the ring, above high water */
    late_hears(good, 0, 45);
    CHECK_HEARS(good, "");
    const struct conn *conn = conn_at(&hall.d.s->conns, (u32)slow->l.conn.id - 1);
    CHECK(conn->socket.late && conn->out_bytes <= hall.d.s->conns.output_high + 160);
    peer_unstall(&hall, slow);
    late_hears(slow, 0, 45);
    CHECK_HEARS(slow, "");
    /* Stalled again, until the ring has come round: it gets what it was given, and a reason. */
    slow->l.stalled = true;
    late_announce(&hall, 45, 120);
    late_hears(good, 45, 120);
    CHECK_INT(drive_count(&hall.d, COUNTER_CLOSED_SLOW), 1);
    peer_unstall(&hall, slow);
    u32 given = hall.d.s->conns.output_high / 146 + 1; /* frames of 146 bytes */
    late_hears(slow, 45, 45 + given);
    CHECK_HEARS(slow, "close 1013 slow_reader");
    CHECK_INT(slow->l.fate, MPS_FATE_FINISH);
    peer_say(&hall, good, PING);
    CHECK_INT(peer_count(&hall, good, "pong"), 1);
    hall_check_empty(&hall);
    hall_stop(&hall);
}

/* -- ten thousand sockets -- */

#define SWEEP_SOCKETS 10000

static u32 sweep_read(struct drive *d, u32 *heard) {
    mps_conn conn;
    u32 visited = 0;
    while (mps_next_output(d->s, &conn)) {
        mps_span spans[4];
        size_t count = mps_tcp_output(d->s, conn, spans, 4), bytes = 0;
        for (size_t i = 0; i < count; i++) {
            bytes += spans[i].count;
        }
        visited += bytes > 0;
        heard[(u32)conn.id - 1] += (u32)bytes;
        mps_tcp_taken(d->s, conn, bytes);
        mps_tcp_sent(d->s, conn, d->now, bytes);
    }
    return visited;
}

static void sockets_sweep(void) {
    static u32 heard[SWEEP_SOCKETS + 64], *most;
    mps_config c = hall_config();
    mps_address from = drive_address("198.51.100.1");
    char shake[128], frame[256], text[1024];
    u32 visits = 0, calls = 0, before;
    most = heard;
    c.connections = SWEEP_SOCKETS;
    c.settle_max = 64;
    hall_start(&hall, &c);
    size_t bytes = peer_quotes(shake, sizeof shake, SHAKE("n", ""));
    bytes = peer_frame(frame, 0x81, shake, bytes);
    for (u32 i = 0; i < SWEEP_SOCKETS; i++) {
        mps_conn conn = mps_tcp_open(hall.d.s, hall.d.now, &from, &from);
        int n = snprintf(text, sizeof text, "GET /ws HTTP/1.1" UPGRADE);
        memcpy(text + n, frame, bytes);
        size_t room = mps_tcp_room(hall.d.s, conn);
        CHECK(room >= (size_t)n + bytes);
        CHECK_INT(mps_tcp_input(hall.d.s, conn, hall.d.now, text, (size_t)n + bytes), MPS_OK);
        sweep_read(&hall.d, heard);
    }
    CHECK_INT(hall.d.s->presence.listeners.count, SWEEP_SOCKETS);
    before = heard[0];
    mps_drain(hall.d.s, hall.d.now, 1000);
    for (; mps_deadline(hall.d.s) <= hall.d.now && calls < 1000; calls++) {
        mps_advance(hall.d.s, hall.d.now);
        u32 visited = sweep_read(&hall.d, heard);
        CHECK(visited <= c.settle_max);
        visits += visited;
    }
    CHECK_INT(visits, SWEEP_SOCKETS);
    CHECK(calls < 2 * SWEEP_SOCKETS / c.settle_max * 2 + 10);
    for (u32 i = 0; i < SWEEP_SOCKETS; i++) {
        CHECK_INT(heard[i] - before, 2 + strlen("{'type':'notification','data':{'text':"
                                                "'The server is shutting down.'}}"));
    }
    CHECK(most == heard);
    /* So is the end. */
    hall.d.now += S_US;
    for (visits = calls = 0; mps_deadline(hall.d.s) <= hall.d.now && calls < 1000; calls++) {
        mps_advance(hall.d.s, hall.d.now);
        u32 visited = sweep_read(&hall.d, heard);
        CHECK(visited <= c.settle_max);
        visits += visited;
    }
    CHECK_INT(visits, SWEEP_SOCKETS);
    CHECK_INT(hall.d.s->presence.listeners.count, 0);
    hall_stop(&hall);
}

/* -- rates -- */

/* Says it `times` times; how often it was refused by rate. Everything heard is taken off. */
static u32 rates_say(struct peer *p, const char *say, u32 times) {
    u32 refused = 0;
    for (u32 i = 0; i < times; i++) {
        peer_say(&hall, p, say);
        const char *got = peer_hear(&hall, p);
        refused += strstr(got, "\"reason\":\"rate_limited\"") != NULL;
        CHECK(*got);
    }
    return refused;
}

#define CHAT "{'type':'chat','data':{'text':'x'}}"
#define STATE "{'type':'player_state','data':{'position':{'x':1}}}"

/* What is refused for another reason costs the same, so nobody need be in a room here. */
static void sockets_rates(void) {
    mps_config c = hall_config();
    c.states_per_s = 60;
    c.chats_per_s = 2;
    c.messages_per_s = 20;
    hall_start(&hall, &c);
    struct peer *a = hall_open(&hall, "198.51.100.1", "a", "A");
    struct peer *a2 = hall_open(&hall, "198.51.100.2", "a", "A");
    struct peer *b = hall_open(&hall, "198.51.100.1", "b", "B");
    struct peer *x = hall_open(&hall, "198.51.100.1", NULL, NULL);
    struct peer *y = hall_open(&hall, "198.51.100.1", NULL, NULL);
    CHECK_INT(rates_say(a, STATE, 100), 0); /* user's: shared by its sockets */
    CHECK_INT(rates_say(a2, "{'type':'player_snapshot'}", 25), 5);
    CHECK_INT(rates_say(a, CHAT, 3), 0);
    CHECK_INT(rates_say(a2, CHAT, 3), 2);
    CHECK_INT(rates_say(a, PING, 20), 0);
    CHECK_INT(rates_say(a2, "{'type':'rpc_call'}", 15), 0);
    CHECK_INT(rates_say(a2, "{'type':'nothing'}", 5), 0);
    CHECK_INT(rates_say(a, "not JSON", 1), 1);
    CHECK_INT(rates_say(b, CHAT, 6), 2); /* another user's are its own */
    CHECK_INT(rates_say(x, PING, 45), 5);
    CHECK_INT(rates_say(y, PING, 45), 5);
    hall_run(&hall, 500 * 1000 - 1);
    CHECK_INT(rates_say(a, CHAT, 1), 1);
    hall_run(&hall, 1);
    CHECK_INT(rates_say(a2, CHAT, 2), 1);
    hall_run(&hall, 20 * S_US); /* never more than the burst */
    CHECK_INT(rates_say(a, CHAT, 6), 2);
    hall_check_empty(&hall);
    hall_stop(&hall);
}

static void sockets_rates_close(void) {
    mps_config c = hall_config();
    c.messages_per_s = 1;
    c.refusals_max = 20;
    hall_start(&hall, &c);
    struct peer *p = hall_open(&hall, "198.51.100.1", NULL, NULL);
    CHECK_INT(rates_say(p, PING, 2), 0);
    CHECK_INT(rates_say(p, PING, 20), 20);
    CHECK_INT(p->l.fate, MPS_FATE_OPEN);
    peer_say(&hall, p, PING);
    CHECK_FAULT(p, MPS_E_RATE_LIMITED, "");
    CHECK_HEARS(p, "close 1008 rate_limited");
    CHECK_INT(drive_count(&hall.d, COUNTER_RATE_LIMITED), 21);
    /* More than a second between two of them, and the count begins anew. */
    p = hall_open(&hall, "198.51.100.1", NULL, NULL);
    CHECK_INT(rates_say(p, PING, 2), 0);
    CHECK_INT(rates_say(p, PING, 20), 20);
    hall_run(&hall, S_US + 1);
    CHECK_INT(rates_say(p, PING, 1), 0);
    CHECK_INT(rates_say(p, PING, 20), 20);
    hall_run(&hall, S_US);
    CHECK_INT(rates_say(p, PING, 1), 0);
    peer_say(&hall, p, PING);
    CHECK_FAULT(p, MPS_E_RATE_LIMITED, "");
    CHECK_HEARS(p, "close 1008 rate_limited");
    hall_check_empty(&hall);
    hall_stop(&hall);
}

static void sockets_rates_dev(void) {
    mps_config c = hall_config();
    c.messages_per_s = 1;
    c.dev = true;
    hall_start(&hall, &c);
    CHECK_INT(rates_say(hall_open(&hall, "127.0.0.1", NULL, NULL), PING, 100), 0);
    CHECK_INT(rates_say(hall_open(&hall, "::1", NULL, NULL), PING, 100), 0);
    CHECK_INT(rates_say(hall_open(&hall, "198.51.100.1", NULL, NULL), PING, 10), 8);
    hall_check_empty(&hall);
    hall_stop(&hall);
}

/* -- large messages -- */

/* All but the last byte of a message of `bytes`; gives how many of them were not taken. */
static size_t large_begin(struct hall *h, struct peer *p, size_t bytes) {
    char payload[8192], frame[8300];
    memset(payload, ' ', bytes);
    memcpy(payload, "{\"type\":\"ping\"}", 15);
    size_t n = peer_frame(frame, 0x81, payload, bytes);
    size_t left = link_send_bytes(&p->l, frame, n - 1);
    hall_run(h, 0);
    return left;
}

static void large_end(struct hall *h, struct peer *p, size_t bytes) {
    char last = (char)(' ' ^ ((const char[]){0x37, (char)0xfa, 0x21, 0x3d})[(bytes - 1) % 4]);
    CHECK_INT(link_send_bytes(&p->l, &last, 1), 0);
    hall_run(h, 0);
}

static u32 large_tier(struct hall *h, const struct peer *p) {
    return conn_at(&h->d.s->conns, (u32)p->l.conn.id - 1)->tier;
}

static void sockets_large(void) {
    static const struct {
        size_t bytes;
        enum input_tier tier;
    } rows[] = {{16, INPUT_OWN},     {100, INPUT_OWN},    {192, INPUT_OWN},    {193, INPUT_CHUNK},
                {1000, INPUT_CHUNK}, {1024, INPUT_CHUNK}, {1025, INPUT_LARGE}, {4096, INPUT_LARGE}};
    mps_config c = hall_config();
    hall_start(&hall, &c);
    struct peer *p = hall_open(&hall, "198.51.100.1", NULL, NULL);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        CHECK_INT(large_begin(&hall, p, rows[i].bytes), 0);
        CHECK_INT(large_tier(&hall, p), rows[i].tier);
        CHECK_HEARS(p, "");
        large_end(&hall, p, rows[i].bytes);
        CHECK_HEARS(p, "{'type':'pong','data':{'ts':1771070400000}}");
        CHECK_INT(large_tier(&hall, p), INPUT_NONE);
        CHECK_INT(hall.d.s->conns.large_used + hall.d.s->conns.chunks_used, 0);
    }
    large_begin(&hall, p, 4097);
    CHECK_FAULT(p, MPS_E_MESSAGE_TOO_LARGE, "");
    CHECK_HEARS(p, "close 1009 message_too_large");
    hall_check_empty(&hall);
    hall_stop(&hall);
}

/* The port takes `bytes` of what is to be sent; its peer has them, but it says so later. */
static void peer_take(struct hall *h, struct peer *p, size_t bytes) {
    mps_span spans[4];
    size_t count = mps_tcp_output(h->d.s, p->l.conn, spans, COUNT_OF(spans)), left = bytes;
    for (size_t i = 0; i < count && left; i++) {
        size_t part = size_min(left, spans[i].count);
        memcpy(p->l.out + p->l.out_bytes, spans[i].bytes, part);
        p->l.out_bytes += part;
        left -= part;
    }
    CHECK_INT(left, 0);
    mps_tcp_taken(h->d.s, p->l.conn, bytes);
}

/* What the port has in its hands reaches beyond a chunk that ends with a frame: who is closed to
   save memory loses nothing of that, and the next frame is not cut either. */
static void sockets_cut_at_chunk_end(void) {
    static const char text[125];
    mps_config c = hall_config();
    hall_start(&hall, &c);
    struct peer *p = hall_open(&hall, "198.51.100.1", NULL, NULL);
    struct conn *conn = conn_at(&hall.d.s->conns, (u32)p->l.conn.id - 1);
    p->l.stalled = true;
    for (u32 i = 0; i < 7; i++) {
        peer_send(&hall, p, 0x89, text, i == 3 ? 1 : 125);
        if (i == 3) {
            CHECK_INT(conn->out_bytes, hall.d.s->conns.output_bytes);
            peer_take(&hall, p, conn->out_bytes);
        }
    }
    CHECK_INT(conn->out_bytes, 384 + 3 * 127);
    peer_take(&hall, p, 200);
    socket_evict(&hall.d.s->kit, &hall.d.s->conns, conn);
    CHECK(mps_check(hall.d.s));
    CHECK_INT(conn->out_bytes, 384 + 2 * 127 + 2 + 2 + strlen("slow_reader"));
    mps_tcp_sent(hall.d.s, p->l.conn, hall.d.now, 584);
    peer_unstall(&hall, p);
    u32 pongs = 0;
    const char *got = peer_hear(&hall, p);
    for (; strncmp(got, "pong", 4) == 0; got = peer_hear(&hall, p)) {
        pongs++;
    }
    CHECK_INT(pongs, 6);
    CHECK_TEXT(got, strlen(got), "close 1013 slow_reader");
    hall_check_empty(&hall);
    hall_stop(&hall);
}

/* Both buffers are taken; two who wait are given one in turn, another one waits in vain. */
static void sockets_large_full(void) {
    mps_config c = hall_config();
    c.input_hold_ms = 60000;
    hall_start(&hall, &c);
    struct peer *p[4];
    for (u32 i = 0; i < 4; i++) {
        p[i] = hall_open(&hall, i < 2 ? "198.51.100.1" : "198.51.100.2", NULL, NULL);
    }
    CHECK_INT(large_begin(&hall, p[0], 3000), 0);
    CHECK_INT(large_begin(&hall, p[1], 3000), 0);
    size_t left = large_begin(&hall, p[2], 3000);
    CHECK(left > 1000 && large_begin(&hall, p[3], 3000) == left);
    CHECK_INT(mps_tcp_room(hall.d.s, p[3]->l.conn), 0);
    CHECK_INT(drive_count(&hall.d, COUNTER_FULL_LARGE_INPUTS), 2);
    hall_run(&hall, 4 * S_US);
    large_end(&hall, p[0], 3000);
    CHECK_INT(peer_count(&hall, p[0], "pong"), 1);
    char rest[3000];
    for (size_t i = 0; i < left; i++) {
        u8 mask[] = {0x37, 0xfa, 0x21, 0x3d};
        rest[i] = (char)(' ' ^ mask[(2999 - left + i) % 4]);
    }
    CHECK(mps_tcp_room(hall.d.s, p[2]->l.conn) > 0);
    CHECK_INT(link_send_bytes(&p[2]->l, rest, left), 0);
    large_end(&hall, p[2], 3000);
    CHECK_INT(peer_count(&hall, p[2], "pong"), 1);
    /* What comes free is for who waits, and not for who comes then. */
    CHECK_INT(large_begin(&hall, p[0], 3000), left);
    CHECK(mps_tcp_room(hall.d.s, p[3]->l.conn) > 0);
    hall_run(&hall, 5 * S_US - 1);
    CHECK_HEARS(p[0], "");
    hall_run(&hall, 1);
    CHECK_FAULT(p[0], MPS_E_INPUTS_FULL, "");
    CHECK_HEARS(p[0], "close 1013 large_inputs_full");
    CHECK_INT(drive_count(&hall.d, COUNTER_CLOSED_NO_ROOM), 1);
    CHECK_HEARS(p[1], "");
    CHECK_HEARS(p[3], "");
    hall_check_empty(&hall);
    hall_stop(&hall);
}

/* The ping is on time of a socket whose upgrade had to wait for memory. */
static void sockets_large_upgrade(void) {
    mps_config c = hall_config();
    c.input_hold_ms = 60000;
    c.ping_after_ms = 1000;
    c.silence_timeout_ms = 20000;
    hall_start(&hall, &c);
    struct peer *p[3];
    for (u32 i = 0; i < 2; i++) {
        p[i] = hall_open(&hall, "198.51.100.1", NULL, NULL);
        CHECK_INT(large_begin(&hall, p[i], 3000), 0);
    }
    char request[2048];
    int bytes = snprintf(request, sizeof request, "GET /ws HTTP/1.1\r\nX-Long: %01200d" UPGRADE, 0);
    p[2] = hall_connect(&hall, "198.51.100.2");
    size_t left = link_send_bytes(&p[2]->l, request, (size_t)bytes);
    CHECK(left > 100 && mps_tcp_room(hall.d.s, p[2]->l.conn) == 0);
    hall_run(&hall, S_US / 2);
    large_end(&hall, p[0], 3000);
    CHECK_INT(peer_upgrade(&hall, p[2], request + bytes - left), 101);
    hall_run(&hall, S_US - 1);
    CHECK_HEARS(p[2], "");
    hall_run(&hall, 1);
    CHECK_HEARS(p[2], "ping");
    hall_stop(&hall);
}

/* -- shares of addresses -- */

/* An upgrade that a proxy passes on for `client`; its status. */
static int upgrade_for(struct hall *h, const char *client) {
    char request[512];
    snprintf(request, sizeof request, "GET /ws HTTP/1.1\r\nX-Forwarded-For: %s" UPGRADE, client);
    return peer_upgrade(h, hall_connect(h, "192.0.2.1"), request);
}

/* Sockets that came through a proxy are their client's, not the proxy's. */
static void sockets_share(void) {
    mps_config c = hall_config();
    c.connections_per_address = 2;
    c.trusted_proxies[0] = "192.0.2.1";
    hall_start(&hall, &c);
    for (u32 i = 0; i < 2; i++) {
        CHECK_INT(upgrade_for(&hall, "203.0.113.1"), 101);
        CHECK_INT(upgrade_for(&hall, "203.0.113.2"), 101);
    }
    CHECK_INT(upgrade_for(&hall, "203.0.113.1"), 429);
    CHECK_HAS(&hall.p[4].l, "\"error\":\"address_connections_full\"");
    hall_open(&hall, "203.0.113.3", NULL, NULL);
    CHECK_INT(upgrade_for(&hall, "203.0.113.3"), 101);
    CHECK_INT(upgrade_for(&hall, "203.0.113.3"), 429);
    peer_drop(&hall, &hall.p[0]);
    CHECK_INT(upgrade_for(&hall, "203.0.113.1"), 101);
    hall_check_empty(&hall);
    hall_stop(&hall);
}

/* -- ends -- */

enum socket_end { END_IDLE, END_HALF, END_UNREAD, END_READY, END_ALL, END_LINGER, ENDS };

static struct peer *end_bring(struct hall *h, enum socket_end end) {
    char frames[2048];
    size_t bytes = 0;
    struct peer *p = hall_open(h, "198.51.100.1", "a", "A");
    p->l.stalled = end == END_UNREAD || end == END_READY || end == END_ALL;
    while (end == END_READY && bytes < 1000) { /* more than settle_max of them */
        bytes += peer_frame(frames + bytes, 0x89, "", 0);
    }
    if (end == END_HALF) {
        bytes = peer_frame(frames, 0x81, "{}", 2) - 1;
    } else if (end == END_UNREAD) {
        bytes = peer_frame(frames, 0x89, "x", 1);
    } else if (end == END_ALL || end == END_LINGER) {
        bytes = peer_frame(frames, 0x88, "", 0);
    }
    while (end == END_READY && bytes > mps_tcp_room(h->d.s, p->l.conn)) {
        bytes -= 6;
    }
    if (bytes) {
        CHECK_INT(mps_tcp_input(drive_server(&h->d), p->l.conn, h->d.now, frames, bytes), MPS_OK);
    }
    if (!p->l.stalled) {
        link_read(&p->l);
    }
    return p;
}

static void sockets_ends(void) {
    static const enum conn_state states[ENDS] = {CONN_SOCKET, CONN_SOCKET, CONN_SOCKET,
                                                 CONN_SOCKET, CONN_FINISH, CONN_LINGER};
    mps_config c = hall_config();
    c.settle_max = 16;
    hall_start(&hall, &c);
    for (u32 end = 0; end < ENDS; end++) {
        struct peer *p = end_bring(&hall, (enum socket_end)end);
        const struct conn *conn = conn_at(&hall.d.s->conns, (u32)p->l.conn.id - 1);
        CHECK_INT(conn->state, states[end]);
        CHECK_INT(conn->ready, end == END_READY);
        mps_conn handle = p->l.conn;
        peer_drop(&hall, p);
        CHECK_INT(mps_tcp_room(hall.d.s, handle), 0);
        CHECK_INT(hall.d.s->presence.sockets + hall.d.s->presence.users.used, 0);
        CHECK_INT(hall.d.s->conns.pool.used, 0);
        CHECK(mps_check(hall.d.s));
    }
    /* FIN instead: what was said whole is answered, then it is over. */
    for (u32 end = 0; end < ENDS; end++) {
        struct peer *p = end_bring(&hall, (enum socket_end)end);
        mps_tcp_eof(drive_server(&hall.d), p->l.conn, hall.d.now);
        mps_tcp_eof(drive_server(&hall.d), p->l.conn, hall.d.now);
        hall_run(&hall, 0);
        peer_unstall(&hall, p);
        hall_run(&hall, 0);
        CHECK(p->l.closed);
        u32 pongs = 0;
        for (const char *got = peer_hear(&hall, p); *got; got = peer_hear(&hall, p)) {
            pongs += strncmp(got, "pong ", 5) == 0;
        }
        CHECK(end == END_READY ? pongs > 60 : pongs == (end == END_UNREAD));
        CHECK_INT(p->over, end >= END_ALL);
        CHECK(!p->spilled);
        hall_run(&hall, 0);
        CHECK_INT(hall.d.s->presence.sockets + hall.d.s->presence.users.used, 0);
    }
    hall_check_empty(&hall);
    hall_stop(&hall);
}

/* What a client says last, and what comes back. */
static void sockets_closes(void) {
    mps_config c = hall_config();
    hall_start(&hall, &c);
    struct peer *p = hall_open(&hall, "198.51.100.1", NULL, NULL);
    peer_send(&hall, p, 0x88, "\x0f\xa0 bye", 6);
    CHECK_HEARS(p, "close 4000");
    peer_say(&hall, p, PING);
    CHECK_HEARS(p, "");
    CHECK_INT(p->l.fate, MPS_FATE_FINISH);
    mps_tcp_eof(drive_server(&hall.d), p->l.conn, hall.d.now);
    link_read(&p->l);
    CHECK(p->l.closed);
    p = hall_open(&hall, "198.51.100.1", NULL, NULL);
    peer_send(&hall, p, 0x88, "", 0);
    CHECK_HEARS(p, "close 1005");
    /* A peer that does not read has time to, from the close on, and no longer. */
    for (u32 late = 0; late < 2; late++) {
        p = hall_open(&hall, "198.51.100.1", NULL, NULL);
        p->l.stalled = true;
        peer_say(&hall, p, PING);
        hall_run(&hall, 75 * S_US);
        CHECK_INT(mps_tcp_fate(hall.d.s, p->l.conn), MPS_FATE_FINISH);
        hall_run(&hall, 30 * S_US - 1);
        CHECK_INT(mps_tcp_fate(hall.d.s, p->l.conn), MPS_FATE_FINISH);
        hall_run(&hall, late);
        peer_unstall(&hall, p);
        CHECK_INT(peer_count(&hall, p, "pong"), !late);
        CHECK_INT(p->over, !late);
        CHECK_INT(p->l.closed, late);
    }
    hall_check_empty(&hall);
    hall_stop(&hall);
}

static void sockets_again_moved(void) {
    hall_moves = true;
    sockets_handshake();
    sockets_hook();
    sockets_hook_too_late();
    sockets_silence();
    sockets_drain();
    sockets_presence();
    sockets_late();
    sockets_large_full();
    sockets_ends();
    sockets_closes();
    hall_moves = false;
}

static const struct check_test sockets_tests[] = {
    {"upgrade", sockets_upgrade},
    {"table", sockets_table},
    {"cut", sockets_cut},
    {"messages", sockets_messages},
    {"handshake", sockets_handshake},
    {"users_full", sockets_users_full},
    {"hook", sockets_hook},
    {"hook_too_late", sockets_hook_too_late},
    {"silence", sockets_silence},
    {"message_timeout", sockets_message_timeout},
    {"held_back", sockets_held_back},
    {"goes_on", sockets_goes_on},
    {"drain", sockets_drain},
    {"presence", sockets_presence},
    {"presence_public", sockets_presence_public},
    {"late", sockets_late},
    {"sweep", sockets_sweep},
    {"rates", sockets_rates},
    {"rates_close", sockets_rates_close},
    {"rates_dev", sockets_rates_dev},
    {"large", sockets_large},
    {"cut_at_chunk_end", sockets_cut_at_chunk_end},
    {"large_full", sockets_large_full},
    {"large_upgrade", sockets_large_upgrade},
    {"share", sockets_share},
    {"ends", sockets_ends},
    {"closes", sockets_closes},
    {"again_moved", sockets_again_moved},
};

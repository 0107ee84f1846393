/* Sections 65 and 86: players by UDP against the whole server, over a virtual network that may lose
   any datagram. Model clients know only what a real one is told. */

#define RT_CLIENTS_MAX 72
#define RT_IDS 96 /* ids of one lobby, from 1 */
#define RT_BYTES_MAX 1500

/* What a client believes of another player. */
struct rt_belief {
    bool there, placed;
    char name[64];
    double x;
    char weapon[WEAPON_BYTES_MAX + 1];
};

struct rt_client {
    enum player_speech speech;
    u32 id;
    u8 token[UDP_TOKEN_BYTES];
    mps_address address;
    u16 seq, seq_in;
    u8 cookie[COOKIE_BYTES];
    bool here, welcomed;
    u32 updates, corrections, syncs, errors, pongs, lefts, bytes_in;
    u32 ticked_ms, soon; /* of the latest snapshot; how many came too soon after one */
    double corrected_x;
    struct rt_belief about[RT_IDS];
    u32 sync, parts, parts_seen; /* the state_sync that is coming in */
    struct rt_belief listed[RT_IDS];
};

struct rt {
    struct drive d;
    u64 lobby;
    mps_address to;
    struct rt_client clients[RT_CLIENTS_MAX];
    u32 count;
    u32 sent, lose; /* datagrams of the server; which of them is lost, from 1 */
    size_t batch;   /* datagrams asked for at once */
    u8 *log;        /* all bytes sent, when wanted */
    size_t log_bytes;
};

#define RT_LOG_MAX (1u << 20)

static void rt_start_filled(struct rt *rt, const mps_config *config, int fill) {
    struct lobby_wish wish = {SPAN("RT"), SPAN("world"), 0, true, false};
    memset(rt, 0, sizeof *rt);
    drive_start_filled(&rt->d, config, fill);
    mps_server *s = rt->d.s;
    rt->to = drive_address("192.0.2.1");
    rt->to.port = 8081;
    rt->batch = 16;
    CHECK(call_begin(s, rt->d.now));
    wish.max_players = s->config.lobby_players;
    rt->lobby = lobby_open(&s->kit, &s->lobbies, &wish, &rt->to);
    call_end(s);
}

static void rt_start(struct rt *rt, const mps_config *config) {
    rt_start_filled(rt, config, 0xAA);
}

static struct rt_client *rt_at(struct rt *rt, const mps_address *address) {
    for (u32 i = 0; i < rt->count; i++) {
        if (address_equal(&rt->clients[i].address, address)) {
            return &rt->clients[i];
        }
    }
    return NULL;
}

/* -- what a client makes of a datagram -- */

static struct rt_belief *rt_about(struct rt_client *c, u32 id) {
    CHECK(id >= 1 && id < RT_IDS && id != c->id); /* nobody is told of himself */
    return &c->about[id < RT_IDS ? id : 0];
}

static u32 rt_u32(struct json_value v) {
    i64 n = 0;
    CHECK(json_i64(v, 0, UINT32_MAX, &n));
    return (u32)n;
}

static void rt_name(struct json_value v, char *out, size_t capacity) {
    struct span name;
    CHECK(json_string(&v, &name));
    copy_z(out, capacity, name);
}

static void rt_raw(struct json_value v, char *out, size_t capacity) {
    copy_z(out, capacity, v.type == JSON_NULL ? SPAN("") : span_of(v.at, v.bytes));
}

static double rt_x(struct json_value v) {
    double at[3] = {0};
    struct span text;
    CHECK(packet_read_vector(v, at, &text));
    return at[0];
}

/* Absence counts once all parts are in. */
static void rt_sync(struct rt_client *c, struct json_value *v) {
    static const char *const keys[] = {"id", "name", "position", "weapon_id"};
    struct json_value element, m[4];
    struct json_fault fault;
    struct json_walk walk = json_walk_into(v[0]);
    u32 sync = rt_u32(v[1]), part = rt_u32(v[2]), parts = rt_u32(v[3]);
    CHECK(part >= 1 && part <= parts);
    if (sync != c->sync || !c->parts) {
        c->sync = sync;
        c->parts = parts;
        c->parts_seen = 0;
        memset(c->listed, 0, sizeof c->listed);
    }
    CHECK_INT(parts, c->parts);
    while (json_walk_element(&walk, &element)) {
        CHECK(json_object(element.at, element.bytes, keys, 4, m, &fault));
        u32 id = rt_u32(m[0]);
        rt_about(c, id);
        struct rt_belief *b = &c->listed[id];
        b->there = b->placed = true;
        rt_name(m[1], b->name, sizeof b->name);
        b->x = rt_x(m[2]);
        rt_raw(m[3], b->weapon, sizeof b->weapon);
    }
    if (++c->parts_seen == c->parts) {
        memcpy(c->about, c->listed, sizeof c->about);
        c->parts = 0;
        c->syncs++;
    }
}

static void rt_take_json(struct rt_client *c, char *at, size_t bytes) {
    static const char *const keys[] = {"players", "sync",      "part",      "parts",    "type",
                                       "player",  "player_id", "weapon_id", "position", "cookie"};
    struct json_value v[10];
    struct json_fault fault;
    CHECK(json_object(at, bytes, keys, 10, v, &fault));
    if (json_is(&v[4], "welcome")) {
        struct span hex;
        c->welcomed = json_string(&v[9], &hex) && hex_read(hex, c->cookie, COOKIE_BYTES);
    } else if (json_is(&v[4], "state_sync")) {
        rt_sync(c, v);
    } else if (json_is(&v[4], "player_joined")) {
        static const char *const inner[] = {"id", "name"};
        struct json_value m[2];
        CHECK(json_object(v[5].at, v[5].bytes, inner, 2, m, &fault));
        struct rt_belief *b = rt_about(c, rt_u32(m[0]));
        b->there = true;
        rt_name(m[1], b->name, sizeof b->name);
    } else if (json_is(&v[4], "player_left")) {
        c->lefts++;
        memset(rt_about(c, rt_u32(v[6])), 0, sizeof(struct rt_belief));
    } else if (json_is(&v[4], "position_update")) {
        struct rt_belief *b = rt_about(c, rt_u32(v[6]));
        b->x = rt_x(v[8]);
        b->placed = true;
        c->updates++;
    } else if (json_is(&v[4], "position_correction")) {
        CHECK_INT(rt_u32(v[6]), c->id);
        c->corrected_x = rt_x(v[8]);
        c->corrections++;
    } else if (json_is(&v[4], "weapon_switched")) {
        struct rt_belief *b = rt_about(c, rt_u32(v[6]));
        rt_raw(v[7], b->weapon, sizeof b->weapon);
    } else if (json_is(&v[4], "error")) {
        c->errors++;
    } else if (json_is(&v[4], "pong")) {
        c->pongs++;
    } else {
        CHECK(json_is(&v[4], "here") || json_is(&v[4], "server_dummy_update"));
    }
}

static double rt_float(const u8 *at) {
    double v = 0;
    CHECK(packet_read_float(at, &v));
    return v;
}

static void rt_take_binary(struct rt_client *c, const u8 *at, size_t bytes) {
    const u8 *body = at + 8;
    CHECK(bytes >= 8);
    u16 seq = (u16)load_le(at + 2, 2);
    CHECK(!c->here || seq_newer(seq, c->seq_in) ||
          at[1] == BINARY_ERROR); /* nothing is reordered */
    c->seq_in = seq;
    switch (at[1]) {
    case BINARY_WELCOME:
        CHECK_INT(load_le(body, 4), c->id);
        memcpy(c->cookie, body + 5, COOKIE_BYTES);
        c->welcomed = true;
        break;
    case BINARY_SNAPSHOT:
        CHECK_INT(bytes, BINARY_SNAPSHOT_HEAD + (size_t)body[0] * BINARY_ENTRY_BYTES);
        for (u32 i = 0; i < body[0]; i++) {
            const u8 *entry = body + 1 + (size_t)i * BINARY_ENTRY_BYTES;
            struct rt_belief *b = rt_about(c, (u32)load_le(entry, 4));
            b->there = b->placed = true;
            b->x = rt_float(entry + 4);
        }
        c->updates += body[0];
        u32 server_ms = (u32)load_le(at + 4, 4);
        c->soon += c->ticked_ms && server_ms != c->ticked_ms && server_ms < c->ticked_ms + 40;
        c->ticked_ms = server_ms;
        break;
    case BINARY_JOINED: {
        struct rt_belief *b = rt_about(c, (u32)load_le(body, 4));
        b->there = true;
        copy_z(b->name, sizeof b->name, span_of((const char *)body + 5, body[4]));
        break;
    }
    case BINARY_LEFT:
        c->lefts++;
        memset(rt_about(c, (u32)load_le(body, 4)), 0, sizeof(struct rt_belief));
        break;
    case BINARY_CORRECTION:
        CHECK_INT(load_le(body, 4), c->id);
        c->corrected_x = rt_float(body + 4);
        c->corrections++;
        break;
    case BINARY_PONG:
        c->pongs++;
        break;
    default:
        CHECK_INT(at[1], BINARY_ERROR);
        c->errors++;
    }
}

/* -- the network -- */

static void rt_deliver(struct rt *rt, const mps_datagram *m) {
    char bytes[RT_BYTES_MAX];
    struct text t = text_on(bytes, sizeof bytes);
    for (size_t i = 0; i < m->spans_count; i++) {
        CHECK(m->spans[i].count > 0);
        text_add(&t, span_of(m->spans[i].bytes, m->spans[i].count));
    }
    CHECK_INT(t.bytes, m->bytes);
    CHECK(t.bytes > 0 && t.bytes <= DATAGRAM_BYTES_MAX);
    CHECK(address_equal(&m->from, &rt->to));
    if (rt->log && rt->log_bytes + t.bytes < RT_LOG_MAX) {
        memcpy(rt->log + rt->log_bytes, bytes, t.bytes);
        rt->log_bytes += t.bytes;
    }
    struct rt_client *c = rt_at(rt, &m->to);
    if (c) {
        c->bytes_in += (u32)t.bytes;
    }
    if (++rt->sent == rt->lose || !c) {
        return;
    }
    if ((u8)bytes[0] == BINARY_MAGIC) {
        rt_take_binary(c, (const u8 *)bytes, t.bytes);
    } else if (bytes[0] == '{') {
        rt_take_json(c, bytes, t.bytes);
    }
}

static void rt_output(struct rt *rt) {
    mps_datagram out[64];
    size_t count;
    for (u32 i = 0; i < 100000; i++) {
        count = mps_udp_output(drive_server(&rt->d), rt->d.now, out, rt->batch);
        CHECK(count <= rt->batch);
        for (size_t k = 0; k < count; k++) {
            rt_deliver(rt, &out[k]);
        }
        if (!count) {
            return;
        }
    }
    CHECK(false);
}

static void rt_pump(struct rt *rt) {
    for (u32 i = 0; i < 1000 && mps_deadline(drive_server(&rt->d)) <= rt->d.now; i++) {
        mps_advance(drive_server(&rt->d), rt->d.now);
    }
    rt_output(rt);
}

/* In steps as a port would wake up. */
static void rt_run(struct rt *rt, u64 us) {
    u64 end = rt->d.now + us;
    rt_pump(rt);
    while (rt->d.now < end) {
        u64 due = mps_deadline(drive_server(&rt->d));
        rt->d.now = due > rt->d.now && due < end ? due : end;
        rt_pump(rt);
    }
}

static void rt_send_from(struct rt *rt, const mps_address *from, const void *bytes, size_t count) {
    u8 *copy = malloc(count + 1); /* of its exact size, changed by nobody else */
    memcpy(copy, bytes, count);
    mps_udp_input(drive_server(&rt->d), rt->d.now, from, &rt->to, copy, count);
    free(copy);
}

/* -- what clients say -- */

static void rt_binary(struct rt *rt, struct rt_client *c, u8 type, struct span body) {
    char bytes[256];
    struct text t = text_on(bytes, sizeof bytes);
    text_le(&t, BINARY_MAGIC, 1);
    text_le(&t, type, 1);
    text_le(&t, c->seq++, 2);
    text_le(&t, c->id, 4);
    text_add(&t, span_of((const char *)c->token, BINARY_TOKEN_BYTES));
    text_add(&t, body);
    rt_send_from(rt, &c->address, bytes, t.bytes);
}

static void rt_json(struct rt *rt, struct rt_client *c, const char *type, const char *more) {
    char text[512];
    int bytes =
        snprintf(text, sizeof text, "{\"type\":\"%s\",\"lobby_code\":\"rt\",\"player_id\":%u%s}",
                 type, (unsigned)c->id, more);
    rt_send_from(rt, &c->address, text, (size_t)bytes);
}

static void rt_join_as(struct rt *rt, struct rt_client *c, enum player_speech speech) {
    char hex[UDP_TOKEN_TEXT + 1] = {0}, more[128];
    struct text t = text_on(hex, UDP_TOKEN_TEXT);
    c->speech = speech;
    if (speech == SPEECH_BINARY) {
        rt_binary(rt, c, 1, SPAN("\x02RT"));
        return;
    }
    text_hex(&t, c->token, sizeof c->token);
    snprintf(more, sizeof more, ",\"udp_token\":\"%s\"%s", hex,
             speech == SPEECH_BATCH ? ",\"batch\":true" : "");
    rt_json(rt, c, "join", more);
}

/* A seat, as over HTTP, and where its owner is. */
static struct rt_client *rt_seat(struct rt *rt, const char *ip) {
    mps_server *s = drive_server(&rt->d);
    struct rt_client *c = &rt->clients[rt->count++];
    char name[32];
    mps_address from = drive_address(ip);
    memset(c, 0, sizeof *c);
    snprintf(name, sizeof name, "p\"%u", (unsigned)rt->count);
    CHECK(call_begin(s, rt->d.now));
    const struct player *p = lobby_join(&s->kit, &s->lobbies, rt->lobby, span_z(name), &from);
    c->id = p->id;
    memcpy(c->token, p->token, sizeof c->token);
    call_end(s);
    c->address = from;
    c->address.port = (u16)(20000 + rt->count);
    return c;
}

static struct rt_client *rt_enter(struct rt *rt, enum player_speech speech) {
    struct rt_client *c = rt_seat(rt, "198.51.100.9");
    rt_join_as(rt, c, speech);
    c->here = true;
    return c;
}

static void rt_move_to(struct rt *rt, struct rt_client *c, const double to[3]) {
    char more[192];
    if (c->speech == SPEECH_BINARY) {
        struct text t = text_on(more, sizeof more);
        struct stance at = {.position = {(float)to[0], (float)to[1], (float)to[2]}};
        binary_put_entry(&t, 0, &at, 0); /* id and client_ms are both four bytes */
        rt_binary(rt, c, 2, span_of(more, t.bytes - 2));
        return;
    }
    snprintf(more, sizeof more,
             ",\"position\":{\"x\":%.17g,\"y\":%.17g,\"z\":%.17g},"
             "\"rotation\":{\"x\":0,\"y\":0,\"z\":0}",
             to[0], to[1], to[2]);
    rt_json(rt, c, "position_update", more);
}

static void rt_move(struct rt *rt, struct rt_client *c, double x) {
    rt_move_to(rt, c, (double[]){x, 0, 0});
}

static void rt_leave(struct rt *rt, struct rt_client *c) {
    if (c->speech == SPEECH_BINARY) {
        rt_binary(rt, c, 3, SPAN(""));
    } else {
        rt_json(rt, c, "leave", "");
    }
    c->here = false;
}

/* Does every client know who is there, under which name, where, and with what in hand? */
static u32 rt_wrong(struct rt *rt) {
    const struct lobbies *l = &drive_server(&rt->d)->lobbies;
    const struct lobby *lobby = lobby_get(l, rt->lobby);
    u32 wrong = 0;
    for (u32 i = 0; i < rt->count; i++) {
        const struct rt_client *c = &rt->clients[i];
        u32 expected = 0, believed = 0;
        for (u32 id = 1; c->here && id < RT_IDS; id++) {
            const struct rt_belief *b = &c->about[id];
            u32 at = id == c->id ? 0 : player_find(l, lobby, id);
            believed += b->there;
            if (!at) {
                continue;
            }
            const struct player *p = player_at(l, at - 1);
            bool binary = c->speech == SPEECH_BINARY;
            float x = p->stance.position[0];
            bool placed = !p->posed || (b->placed && (float)b->x == x);
            bool armed = binary || (strlen(b->weapon) == p->weapon_bytes &&
                                    memcmp(b->weapon, p->weapon, p->weapon_bytes) == 0);
            expected++;
            wrong += !b->there || strcmp(b->name, p->name) != 0 || !placed || !armed;
        }
        wrong += c->here && believed != expected;
    }
    return wrong;
}

static mps_config rt_config(void) {
    /* a small block, as hundreds are made */
    return (mps_config){.preset = MPS_PRESET_TINY,
                        .lobby_players = 64,
                        .players = 80,
                        .output_bytes_max = 32768,
                        .chunks = 80,
                        .datagram_batch = 64,
                        .datagram_reply_bytes = 16384,
                        .log_level = MPS_LOG_OFF};
}

/* -- loss -- */

/* Half a minute of a game in 1.3 s: all kinds of clients, weapons, leavers, a late comer. Then
   time for what was lost to be told again. */
static void rt_play(struct rt *rt, u32 players) {
    static const enum player_speech kinds[] = {SPEECH_JSON, SPEECH_BINARY, SPEECH_BATCH};
    struct rt_client *last;
    for (u32 i = 0; i < players; i++) {
        rt_enter(rt, kinds[i % 3]);
        if (players < 10 || i % 8 == 7) {
            rt_run(rt, 30 * MS_US);
        }
    }
    for (u32 round = 0; round < 8; round++) {
        for (u32 i = 0; i < players; i++) {
            if (rt->clients[i].here && (players < 10 || (i + round) % 4 == 0)) {
                rt_move(rt, &rt->clients[i], 10.0 * i + 0.25 * round);
            }
        }
        if (round == 2) {
            rt_json(rt, &rt->clients[0], "weapon_switch", ",\"weapon_id\":\"b\\\"w\"");
        } else if (round == 5 && players > 2) {
            rt_leave(rt, &rt->clients[players - 1]);
        }
        rt_run(rt, 50 * MS_US);
    }
    last = rt_enter(rt, SPEECH_BINARY);
    rt_move(rt, last, 5);
    rt_run(rt, 300 * MS_US);
    rt_leave(rt, &rt->clients[1]);
    last = rt_enter(rt, SPEECH_JSON);
    rt_run(rt, 60 * MS_US);
    /* By the next state_sync of whatever was lost, which may have been one. */
    rt_run(rt, 2 * SYNC_US + 60 * MS_US);
}

/* Any one datagram of the server's may be lost: in small lobbies each in turn, in a full one those
   of every kind that a walk through all of them meets. */
static void rt_lose(u32 players, u32 step) {
    u32 total = 0;
    for (u32 lose = 0; lose <= total; lose += lose && step > 1 ? step : 1) {
        mps_config config = rt_config();
        struct rt rt;
        rt_start(&rt, &config);
        rt.lose = lose;
        rt_play(&rt, players);
        total = lose ? total : rt.sent;
        u32 wrong = rt_wrong(&rt);
        if (wrong) {
            printf("%u players, datagram %u of %u lost: %u beliefs are wrong\n", (unsigned)players,
                   (unsigned)lose, (unsigned)rt.sent, (unsigned)wrong);
        }
        CHECK_INT(wrong, 0);
        drive_stop(&rt.d);
        if (wrong) {
            break;
        }
    }
    CHECK(total > players * 10);
}

static void realtime_loss_few(void) {
    rt_lose(3, 1);
}

static void realtime_loss_many(void) {
    rt_lose(64 - 2, 131); /* two more come later */
}

/* A client that waits for its welcome before it goes anywhere gets it with the next sync; one that
   moves has no need of it, unless its address is to be proved. */
static void realtime_welcome_lost(void) {
    for (u32 i = 0; i < 8; i++) {
        bool binary = i & 1, moves = i & 2, elsewhere = i & 4;
        mps_config config = rt_config();
        struct rt rt;
        rt_start(&rt, &config);
        struct rt_client *c = rt_seat(&rt, "198.51.100.9");
        c->address.ip[15] = (u8)(c->address.ip[15] + elsewhere);
        rt_join_as(&rt, c, binary ? SPEECH_BINARY : SPEECH_JSON);
        rt_join_as(&rt, c, binary ? SPEECH_BINARY : SPEECH_JSON);
        rt_pump(&rt);
        CHECK(c->welcomed);
        c->welcomed = false; /* as if none had come */
        for (u32 k = 0; k < 30; k++) {
            rt_binary(&rt, c, 4, SPAN("0123\0\0\0\0\0\0\0\0")); /* some credit, no cookie */
        }
        if (moves) {
            rt_move(&rt, c, 1);
        }
        rt_run(&rt, SYNC_US + 1);
        CHECK(c->welcomed == (!moves || elsewhere));
        drive_stop(&rt.d);
    }
}

/* -- ticks -- */

/* Newest only, at most one a tick, twenty ticks a second, nothing when nothing moves. */
static void realtime_rate(void) {
    mps_config config = rt_config();
    config.player_datagrams_per_s = 1000;
    struct rt rt;
    rt_start(&rt, &config);
    struct rt_client *a = rt_enter(&rt, SPEECH_JSON), *b = rt_enter(&rt, SPEECH_JSON);
    struct rt_client *c = rt_enter(&rt, SPEECH_BINARY);
    rt_run(&rt, 100 * MS_US);
    for (u32 i = 0; i < 500; i++) { /* 250 a second */
        rt_move(&rt, a, i * 0.001);
        rt_run(&rt, 4 * MS_US);
    }
    CHECK(b->updates >= 39 && b->updates <= 41);
    CHECK(c->updates >= 39 && c->updates <= 44); /* and syncs */
    CHECK_INT(a->updates, 0);
    rt_move(&rt, b, 0);
    rt_move(&rt, c, 0);
    rt_run(&rt, 3 * SYNC_US);
    CHECK(b->about[a->id].x == 499 * 0.001);
    u32 before = rt.sent;
    rt_run(&rt, 10 * SYNC_US);
    /* A sync a second to each of three; to the binary one a name in turn, or its own turn. */
    CHECK(rt.sent - before > 10 * 3 && rt.sent - before <= 10 * 4);
    drive_stop(&rt.d);
}

/* As often as configured, whatever the number, and never twice within a period. */
static void realtime_hertz(void) {
    static const u32 rates[] = {1, 7, 20, 24, 30, 60, 64, 128, 144, 1000};
    for (size_t i = 0; i < COUNT_OF(rates); i++) {
        mps_config config = rt_config();
        config.tick_hz = rates[i];
        config.player_datagrams_per_s = 10000;
        struct rt rt;
        rt_start(&rt, &config);
        struct rt_client *a = rt_enter(&rt, SPEECH_JSON), *b = rt_enter(&rt, SPEECH_JSON);
        struct rt_client *c = rt_enter(&rt, SPEECH_BINARY);
        rt_run(&rt, 3 * SYNC_US);
        b->updates = c->soon = 0;
        for (u32 step = 0; step < 40000; step++) { /* 10 s */
            rt_move(&rt, a, step * 0.0001);
            rt.d.now += 250;
            rt_pump(&rt);
        }
        CHECK(b->updates >= rates[i] * 10 * 99 / 100 && b->updates <= rates[i] * 10 + 1);
        if (b->updates < rates[i] * 10 * 99 / 100 || b->updates > rates[i] * 10 + 1) {
            printf("%u Hz: %u updates in 10 s\n", (unsigned)rates[i], (unsigned)b->updates);
        }
        CHECK(rates[i] > 20 || c->soon == 0);
        drive_stop(&rt.d);
    }
}

/* All but two leave in the same tick: everybody who stays hears of each. */
static void realtime_leavers(void) {
    for (u32 lose = 0; lose < 2; lose++) {
        mps_config config = rt_config();
        struct rt rt;
        rt_start(&rt, &config);
        struct rt_client *a = rt_enter(&rt, SPEECH_BINARY), *b = rt_enter(&rt, SPEECH_JSON);
        for (u32 i = 0; i < 62; i++) {
            rt_enter(&rt, SPEECH_JSON);
        }
        rt_move(&rt, a, 1);
        rt_move(&rt, b, 1);
        rt_run(&rt, 3 * SYNC_US);
        for (u32 i = 2; i < 64; i++) {
            rt_leave(&rt, &rt.clients[i]);
        }
        rt.lose = lose ? rt.sent + 5 : 0;
        rt_run(&rt, 60 * MS_US);
        CHECK_INT(a->lefts + b->lefts, 2 * 62 - lose);
        rt_run(&rt, SYNC_US);
        CHECK_INT(rt_wrong(&rt), 0);
        rt_run(&rt, 5 * SYNC_US);
        CHECK_INT(a->lefts, 3 * 62 - lose); /* told again twice, and then no more */
        CHECK_INT(b->lefts, 62);
        drive_stop(&rt.d);
    }
}

/* The first one to move after a rest is told at once, not a period later. */
static void realtime_at_once(void) {
    mps_config config = rt_config();
    struct rt rt;
    rt_start(&rt, &config);
    struct rt_client *a = rt_enter(&rt, SPEECH_JSON), *b = rt_enter(&rt, SPEECH_BINARY);
    rt_run(&rt, 500 * MS_US);
    rt_move(&rt, a, 1);
    rt_pump(&rt);
    CHECK_INT(b->updates, 1);
    rt_move(&rt, a, 2);
    rt_pump(&rt);
    CHECK_INT(b->updates, 1);
    rt_run(&rt, 50 * MS_US);
    CHECK_INT(b->updates, 2);
    drive_stop(&rt.d);
}

/* Snapshots of a full lobby: as few datagrams as fit, and its own entry left out wherever it
   stands. */
static void realtime_packing(void) {
    for (u32 players = 44; players <= 48; players++) {
        mps_config config = rt_config();
        struct rt rt;
        rt_start(&rt, &config);
        for (u32 i = 0; i < players; i++) {
            rt_enter(&rt, SPEECH_BINARY);
        }
        rt_run(&rt, 3 * SYNC_US + 100 * MS_US); /* names are told, a sync is not near */
        for (u32 i = 0; i < players; i++) {
            rt_move(&rt, &rt.clients[i], i);
        }
        u32 before = rt.sent;
        rt_pump(&rt);
        CHECK_INT(rt.sent - before, players * (players - 1 <= BINARY_ENTRIES_MAX ? 1 : 2));
        for (u32 i = 0; i < players; i++) {
            CHECK_INT(rt.clients[i].updates, players - 1);
        }
        drive_stop(&rt.d);
    }
}

/* The port asks for one datagram at a time and things happen in between; the block wanders. */
static void realtime_cut(void) {
    for (u32 gone = 0; gone < 60; gone++) {
        mps_config config = rt_config();
        struct rt rt;
        mps_datagram out;
        rt_start(&rt, &config);
        for (u32 i = 0; i < 9; i++) {
            rt_enter(&rt, i % 3 == 0 ? SPEECH_JSON : i % 3 == 1 ? SPEECH_BINARY : SPEECH_BATCH);
        }
        rt_run(&rt, 100 * MS_US);
        rt.d.move = true;
        rt.batch = 1;
        for (u32 i = 0; i < 9; i++) {
            rt_move(&rt, &rt.clients[i], i);
        }
        mps_advance(drive_server(&rt.d), rt.d.now);
        for (u32 i = 0; i < gone; i++) {
            if (mps_udp_output(drive_server(&rt.d), rt.d.now, &out, 1)) {
                rt_deliver(&rt, &out);
            }
        }
        rt_leave(&rt, &rt.clients[gone % 9]);
        rt_move(&rt, &rt.clients[(gone + 1) % 9], 3);
        rt_join_as(&rt, &rt.clients[(gone + 2) % 9], SPEECH_JSON);
        if (gone == 59) { /* the lobby goes in the middle of its tick */
            mps_server *s = drive_server(&rt.d);
            CHECK(call_begin(s, rt.d.now));
            lobby_close(&s->kit, &s->lobbies, rt.lobby);
            call_end(s);
            rt_run(&rt, SYNC_US);
        } else {
            rt_run(&rt, 3 * SYNC_US);
            CHECK_INT(rt_wrong(&rt), 0);
        }
        drive_stop(&rt.d);
    }
}

/* The same calls give the same bytes, whatever was in the block before. */
static void realtime_same(void) {
    struct rt rt[2];
    for (u32 i = 0; i < 2; i++) {
        mps_config config = rt_config();
        rt_start_filled(&rt[i], &config, i ? 0x00 : 0xAA);
        rt[i].log = malloc(RT_LOG_MAX);
        rt[i].d.move = i;
        rt_play(&rt[i], 7);
    }
    CHECK_INT(rt[0].log_bytes, rt[1].log_bytes);
    CHECK(memcmp(rt[0].log, rt[1].log, rt[0].log_bytes) == 0);
    for (u32 i = 0; i < 2; i++) {
        free(rt[i].log);
        drive_stop(&rt[i].d);
    }
}

/* The largest lobby there can be, of clients of each kind with the longest texts, in the least
   memory: ticks keep to the arena, and everybody gets everything. */
static void realtime_largest(void) {
    mps_config config = rt_config();
    config.lobby_players = 64;
    config.players = 64;
    struct rt rt;
    rt_start(&rt, &config);
    for (u32 i = 0; i < 64; i++) {
        struct rt_client *c = rt_enter(&rt, i % 2 ? SPEECH_JSON : SPEECH_BATCH);
        rt_move(&rt, c, -1.2345678901234567e-300);
        rt_json(
            &rt, c, "weapon_switch",
            ",\"weapon_id\":\"1234567890123456789012345678901234567890123456789012345678901234\"");
    }
    rt_run(&rt, 3 * SYNC_US);
    CHECK_INT(rt_wrong(&rt), 0);
    drive_stop(&rt.d);
}

/* -- who may -- */

static void realtime_speed(void) {
    mps_config config = rt_config();
    struct rt rt;
    rt_start(&rt, &config);
    struct rt_client *a = rt_enter(&rt, SPEECH_BINARY), *b = rt_enter(&rt, SPEECH_BINARY);
    rt_move(&rt, a, 1e6); /* the first is taken as it is */
    rt_run(&rt, 500 * MS_US);
    rt_move(&rt, a, 1e6 + 50); /* 100 a second */
    rt_run(&rt, 100 * MS_US);
    CHECK_INT(a->corrections, 0);
    CHECK(b->about[a->id].x == 1e6 + 50);
    rt_move(&rt, a, 1e6 + 75); /* 10 for the time, 10 for the slack */
    rt_run(&rt, 100 * MS_US);
    CHECK_INT(a->corrections, 1);
    CHECK(a->corrected_x == 1e6 + 50);
    CHECK(b->about[a->id].x == 1e6 + 50);
    rt_move(&rt, a, 1e6 + 75); /* by now it can be there */
    rt_run(&rt, 100 * MS_US);
    CHECK_INT(a->corrections, 1);
    /* Many steps are no faster than one: what 2 s allow, and the slack once. */
    double x = 1e6 + 75, gained = 0;
    for (u32 i = 0; i < 200; i++) {
        rt_move(&rt, a, x + 3);
        if (drive_server(&rt.d)->lobbies.players.used &&
            player_at(&rt.d.s->lobbies, 0)->stance.position[0] == (float)(x + 3)) {
            x += 3;
            gained += 3;
        }
        rt_run(&rt, 10 * MS_US);
    }
    CHECK(gained <= 100 * 2 + 10 + 3 && gained >= 150);
    drive_stop(&rt.d);
}

/* As fast in any direction: 10 for a tenth of a second and 10 of slack. */
static void realtime_speed_ways(void) {
    static const struct {
        double to[3];
        u32 corrections;
    } rows[] = {{{19, 0, 0}, 0},   {{0, 19, 0}, 0},    {{0, 0, 19}, 0}, {{11, 11, 11}, 0},
                {{21, 0, 0}, 1},   {{0, 21, 0}, 1},    {{0, 0, 21}, 1}, {{-21, 0, 0}, 1},
                {{12, 12, 12}, 1}, {{0, -15, -15}, 1}, {{15, 0, 15}, 1}};
    for (u32 i = 0; i < 2 * COUNT_OF(rows); i++) {
        mps_config config = rt_config();
        struct rt rt;
        rt_start(&rt, &config);
        struct rt_client *a = rt_enter(&rt, i % 2 ? SPEECH_BINARY : SPEECH_JSON);
        rt_move(&rt, a, 0);
        rt_run(&rt, 100 * MS_US);
        rt_move_to(&rt, a, rows[i / 2].to);
        rt_run(&rt, 100 * MS_US);
        CHECK_INT(a->corrections, rows[i / 2].corrections);
        drive_stop(&rt.d);
    }
}

/* A join that comes late, or twice, takes nobody back; one that counts anew does. */
static void realtime_late_join(void) {
    static const struct {
        u16 states, join;
        u32 later_ms;
        bool moves;
    } rows[] = {
        {5, 1, 0, false},    {5, 5, 0, false},     {5, 7, 0, false},     {5, 261, 0, false},
        {300, 44, 0, false}, {300, 43, 0, true},   {5, 262, 0, true},    {5, 1, 999, false},
        {5, 1, 1000, true},  {2, 65535, 0, false}, {65534, 3, 0, false},
    };
    mps_config c = rt_config();
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct rt rt;
        rt_start(&rt, &c);
        struct rt_client *one = rt_enter(&rt, SPEECH_BINARY);
        one->seq = rows[i].states;
        rt_move(&rt, one, 1);
        rt_run(&rt, rows[i].later_ms * MS_US);
        one->seq = rows[i].join;
        rt_join_as(&rt, one, SPEECH_BINARY);
        one->seq = (u16)(rows[i].states - 1);
        rt_move(&rt, one, 2);
        const struct player *p = player_at(&drive_server(&rt.d)->lobbies, 0);
        CHECK_INT((int)p->stance.position[0], rows[i].moves ? 2 : 1);
        drive_stop(&rt.d);
    }
}

static u32 realtime_hook_calls;

static bool realtime_hook(void *user, mps_lobby lobby, uint32_t id, const double position[3],
                          const double rotation[3]) {
    CHECK(user == &realtime_hook_calls && lobby.id && id == 1 && rotation[0] == 0);
    realtime_hook_calls++;
    return position[0] < 5;
}

static void realtime_hooked(void) {
    mps_config config = rt_config();
    struct rt rt;
    config.hooks.user = &realtime_hook_calls;
    config.hooks.position_check = realtime_hook;
    rt_start(&rt, &config);
    struct rt_client *a = rt_enter(&rt, SPEECH_JSON);
    realtime_hook_calls = 0;
    rt_move(&rt, a, 9); /* the game does not want it there, and it is nowhere yet */
    rt_run(&rt, 200 * MS_US);
    CHECK_INT(a->corrections, 0);
    rt_move(&rt, a, 4.5);
    rt_run(&rt, 200 * MS_US);
    rt_move(&rt, a, 5.5);
    rt_run(&rt, 200 * MS_US);
    CHECK_INT(a->corrections, 1);
    CHECK(a->corrected_x == 4.5);
    CHECK_INT(realtime_hook_calls, 3);
    drive_stop(&rt.d);
}

#define RT_PAD                                                                                     \
    "01234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901" \
    "23"                                                                                           \
    "0123456789"

/* An address that is not proved gets no more bytes than came from it, whatever happens. */
static void realtime_unproved(void) {
    for (u64 seed = 1; seed <= 150; seed++) {
        mps_config config = rt_config();
        struct rt rt;
        struct random_state r;
        u8 entropy[32] = {(u8)seed, (u8)(seed >> 8), 7};
        random_seed(&r, entropy);
        config.datagrams_per_s = config.player_datagrams_per_s = 100000;
        rt_start(&rt, &config);
        struct rt_client *mover = rt_enter(&rt, SPEECH_JSON);
        struct rt_client *attacker = rt_seat(&rt, "203.0.113.5");
        /* Its seat does not matter; discovery answers the local network only. */
        struct rt_client *victim = rt_seat(&rt, seed % 2 ? "198.51.100.77" : "10.1.2.3");
        attacker->address = victim->address;
        victim->address.port++;
        u32 spent = 0;
        for (u32 i = 0; i < 200; i++) {
            u64 before = drive_server(&rt.d)->kit.metrics.counters[COUNTER_DATAGRAM_BYTES];
            switch (random_below(&r, 8)) {
            case 0:
                rt_join_as(&rt, attacker, SPEECH_JSON);
                break;
            case 1:
                rt_join_as(&rt, attacker, SPEECH_BINARY);
                break;
            case 2:
                rt_join_as(&rt, attacker, SPEECH_BATCH);
                break;
            case 3:
                attacker->token[0] ^= 1;
                rt_join_as(&rt, attacker, random_below(&r, 2) ? SPEECH_JSON : SPEECH_BINARY);
                attacker->token[0] ^= 1;
                break;
            case 4:
                rt_move(&rt, attacker, random_below(&r, 1000));
                break;
            case 5:
                rt_json(&rt, attacker, "ping", ",\"t\":1,\"cookie\":\"0011223344556677\"");
                break;
            case 6:
                rt_json(&rt, attacker, "discover", ",\"nonce\":1,\"pad\":\"" RT_PAD "\"");
                break;
            default:
                rt_binary(&rt, attacker, 4, SPAN("0123456789ab"));
                break;
            }
            u64 after = drive_server(&rt.d)->kit.metrics.counters[COUNTER_DATAGRAM_BYTES];
            spent += (u32)(after - before);
            rt_move(&rt, mover, i * 0.01);
            rt_run(&rt, random_below(&r, 2) ? 60 * MS_US : 0);
            CHECK(attacker->bytes_in <= spent);
        }
        CHECK(attacker->bytes_in > 0);
        CHECK(drive_count(&rt.d, COUNTER_WITHHELD) > 0);
        drive_stop(&rt.d);
    }
}

/* The cookie proves an address; then everything comes. */
static void realtime_cookie(void) {
    for (u32 binary = 0; binary < 2; binary++) {
        mps_config config = rt_config();
        struct rt rt;
        rt_start(&rt, &config);
        struct rt_client *a = rt_enter(&rt, SPEECH_JSON);
        rt_move(&rt, a, 1);
        struct rt_client *c = rt_seat(&rt, "203.0.113.5");
        c->address.ip[15] = 6; /* not where the seat was taken from */
        rt_join_as(&rt, c, binary ? SPEECH_BINARY : SPEECH_JSON);
        rt_run(&rt, SYNC_US + 60 * MS_US);
        CHECK(c->welcomed != binary && !c->about[a->id].there); /* 19 bytes are less than 21 */
        rt_join_as(&rt, c, binary ? SPEECH_BINARY : SPEECH_JSON);
        rt_run(&rt, SYNC_US);
        CHECK(c->welcomed && !c->about[a->id].placed);
        u8 wrong[COOKIE_BYTES] = {0};
        for (u32 good = 0; good < 2; good++) {
            const u8 *cookie = good ? c->cookie : wrong;
            char bytes[64] = "1234";
            if (binary) {
                memcpy(bytes + 4, cookie, COOKIE_BYTES);
                rt_binary(&rt, c, 4, span_of(bytes, 12));
            } else {
                struct text t = text_on(bytes, sizeof bytes - 1);
                TEXT_LITERAL(&t, ",\"t\":1,\"cookie\":\"");
                text_hex(&t, cookie, COOKIE_BYTES);
                text_char(&t, '"');
                bytes[t.bytes] = 0;
                rt_json(&rt, c, "ping", bytes);
            }
            rt_run(&rt, SYNC_US);
            CHECK(c->about[a->id].placed == (good != 0));
        }
        drive_stop(&rt.d);
    }
}

/* An address that somebody has cannot be taken by spoofing it. */
static void realtime_taken(void) {
    mps_config config = rt_config();
    struct rt rt;
    rt_start(&rt, &config);
    struct rt_client *a = rt_enter(&rt, SPEECH_JSON), *b = rt_enter(&rt, SPEECH_JSON);
    struct rt_client *thief = rt_seat(&rt, "203.0.113.5");
    mps_address own = thief->address;
    thief->address = a->address;
    rt_join_as(&rt, thief, SPEECH_JSON);
    rt_run(&rt, 100 * MS_US);
    CHECK_INT(a->errors, 1); /* it is told to who is there: no more bytes than came */
    rt_move(&rt, a, 3);
    rt_run(&rt, 100 * MS_US);
    CHECK(b->about[a->id].x == 3);
    thief->address = own;
    rt_join_as(&rt, thief, SPEECH_JSON);
    rt_run(&rt, 100 * MS_US);
    CHECK(thief->welcomed);
    drive_stop(&rt.d);
}

/* Sixty a second, twice that at once; the rest is dropped and counted. */
static void realtime_paced(void) {
    mps_config config = rt_config();
    struct rt rt;
    rt_start(&rt, &config);
    struct rt_client *a = rt_enter(&rt, SPEECH_JSON);
    for (u32 i = 0; i < 300; i++) {
        rt_json(&rt, a, "ping", ",\"t\":1");
        rt_output(&rt);
    }
    CHECK_INT(a->pongs, 120);
    CHECK_INT(drive_count(&rt.d, COUNTER_DROPS_RATE), 180);
    rt_run(&rt, SYNC_US);
    for (u32 i = 0; i < 100; i++) {
        rt_json(&rt, a, "ping", ",\"t\":1");
        rt_output(&rt);
    }
    CHECK_INT(a->pongs, 180);
    mps_address stranger = drive_address("203.0.113.1");
    rt_send_from(&rt, &stranger, "{\"type\":\"ping\",\"t\":1}", 21); /* from port 0 */
    CHECK_INT(drive_count(&rt.d, COUNTER_DROPS_MALFORMED), 1);
    stranger.port = 1;
    for (u32 i = 0; i < 150; i++) {
        rt_send_from(&rt, &stranger, "{\"type\":\"ping\",\"t\":1}", 21);
    }
    CHECK_INT(drive_count(&rt.d, COUNTER_DROPS_STRANGER), 100);
    drive_stop(&rt.d);
}

/* Ten STUN answers a second, and no more at once. */
static void realtime_stun(void) {
    mps_config config = rt_config();
    struct rt rt;
    u8 request[STUN_HEAD_BYTES] = {0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3};
    rt_start(&rt, &config);
    mps_address peer = drive_address("2001:db8::7");
    peer.port = 1;
    for (u32 second = 0; second < 3; second++) {
        for (u32 i = 0; i < 25; i++) {
            rt_send_from(&rt, &peer, request, sizeof request);
        }
        CHECK_INT(drive_count(&rt.d, COUNTER_STUN_ANSWERS), 10 * (second + 1));
        rt_run(&rt, SYNC_US);
    }
    CHECK_INT(rt.sent, 30);
    drive_stop(&rt.d);
}

/* Without room for an answer it is dropped and counted, and there is room again when it is sent. */
static void realtime_replies_full(void) {
    mps_config config = rt_config();
    config.datagram_reply_bytes = 1024;
    config.player_datagrams_per_s = 10000;
    struct rt rt;
    rt_start(&rt, &config);
    struct rt_client *a = rt_enter(&rt, SPEECH_JSON);
    rt_output(&rt);
    for (u32 round = 1; round <= 3; round++) {
        for (u32 i = 0; i < 50; i++) {
            rt_json(&rt, a, "ping", ",\"t\":1");
        }
        rt_output(&rt);
        CHECK(a->pongs >= 8 * round && a->pongs <= 12 * round);
        CHECK_INT(drive_count(&rt.d, COUNTER_FULL_REPLIES), 50 * round - a->pongs);
    }
    drive_stop(&rt.d);
}

/* Every player record with an address, in every lobby, then all gone at once. */
static void realtime_tables_full(void) {
    mps_config config = {.preset = MPS_PRESET_TINY};
    struct rt rt;
    rt_start(&rt, &config);
    for (u32 i = 0; i < 8; i++) {
        rt_enter(&rt, i % 3 == 0 ? SPEECH_JSON : i % 3 == 1 ? SPEECH_BINARY : SPEECH_BATCH);
        rt_move(&rt, &rt.clients[i], i);
    }
    CHECK_INT(
        lobby_join_check(&rt.d.s->kit, &rt.d.s->lobbies, lobby_get(&rt.d.s->lobbies, rt.lobby)),
        MPS_E_LOBBY_FULL);
    rt_run(&rt, 3 * SYNC_US);
    CHECK_INT(rt_wrong(&rt), 0);
    CHECK_INT(rt.d.s->lobbies.by_address.used, 8);
    rt_run(&rt, 15 * S_US);
    CHECK_INT(rt.d.s->lobbies.players.used, 0);
    CHECK_INT(rt.d.s->lobbies.by_address.used, 0);
    u32 sent = rt.sent;
    rt_run(&rt, 61 * S_US);
    CHECK_INT(rt.d.s->lobbies.pool.used, 0);
    CHECK_INT(rt.sent, sent);
    drive_stop(&rt.d);
}

/* Bytes of every kind: changed, cut, put together anew. The server stands, and so do its tables. */
static void realtime_garbage(void) {
    static const char *const seeds[] = {
        "{\"type\":\"join\",\"lobby_code\":\"RT\",\"player_id\":1,\"udp_token\":\"0011\"}",
        "{\"type\":\"position_update\",\"player_id\":1,\"position\":{\"x\":1,\"y\":2,\"z\":3},"
        "\"rotation\":{\"x\":1,\"y\":2,\"z\":3}}",
        "{\"type\":\"weapon_switch\",\"lobby_code\":\"RT\",\"player_id\":1,\"weapon_id\":"
        "\"\\u00e9\"}",
        "{\"type\":\"ping\",\"t\":1e5,\"cookie\":\"0011223344556677\"}",
        "{\"type\":\"discover\",\"nonce\":\"n\",\"pad\":\"\"}",
    };
    struct random_state r;
    static const u8 entropy[32] = {42};
    random_seed(&r, entropy);
    mps_config config = {.preset = MPS_PRESET_TINY, .log_level = MPS_LOG_OFF};
    config.datagrams_per_s = config.player_datagrams_per_s = 1000000;
    struct rt rt;
    rt_start(&rt, &config);
    struct rt_client *a = rt_enter(&rt, SPEECH_JSON), *b = rt_enter(&rt, SPEECH_BINARY);
    for (u32 i = 0; i < 60000; i++) {
        u8 bytes[RT_BYTES_MAX] = {0};
        const char *seed = seeds[random_below(&r, COUNT_OF(seeds))];
        size_t count = random_below(&r, 1300);
        u32 kind = random_below(&r, 3);
        random_bytes(&r, bytes, count);
        if (kind == 0) {
            count = strlen(seed);
            memcpy(bytes, seed, count);
        } else if (kind == 1 && count > 16) {
            count = random_below(&r, 2) ? 40 : 28;
            bytes[0] = BINARY_MAGIC;
            bytes[1] = (u8)random_below(&r, 6);
            memcpy(bytes + 4, &b->id, 4);
            memcpy(bytes + 8, b->token, BINARY_TOKEN_BYTES);
        }
        for (u32 k = random_below(&r, 4); k && count; k--) {
            bytes[random_below(&r, (u32)count)] = (u8)random_below(&r, 256);
        }
        count -= count && random_below(&r, 4) == 0 ? random_below(&r, (u32)count) : 0;
        rt_send_from(&rt, random_below(&r, 2) ? &a->address : &b->address, bytes, count);
        if (i % 16 == 0) {
            mps_datagram out[8];
            rt.d.now += 1000;
            mps_advance(rt.d.s, rt.d.now);
            while (mps_udp_output(rt.d.s, rt.d.now, out, 8)) {
            }
        }
        if (i % 1000 == 0) {
            CHECK(mps_check(rt.d.s));
        }
    }
    drive_stop(&rt.d);
}

static const struct check_test realtime_tests[] = {
    {"loss_few", realtime_loss_few},
    {"loss_many", realtime_loss_many},
    {"welcome_lost", realtime_welcome_lost},
    {"rate", realtime_rate},
    {"hertz", realtime_hertz},
    {"leavers", realtime_leavers},
    {"at_once", realtime_at_once},
    {"packing", realtime_packing},
    {"cut", realtime_cut},
    {"same", realtime_same},
    {"largest", realtime_largest},
    {"speed", realtime_speed},
    {"speed_ways", realtime_speed_ways},
    {"late_join", realtime_late_join},
    {"hooked", realtime_hooked},
    {"unproved", realtime_unproved},
    {"cookie", realtime_cookie},
    {"taken", realtime_taken},
    {"paced", realtime_paced},
    {"stun", realtime_stun},
    {"replies_full", realtime_replies_full},
    {"tables_full", realtime_tables_full},
    {"garbage", realtime_garbage},
};

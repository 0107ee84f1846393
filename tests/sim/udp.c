/* == udp =========================================================================================
   Lobby players: they join over HTTP, then speak datagrams of all kinds across a network that
   loses, doubles, delays and forges them. Where a player is says who it is and how often it has
   moved, so that a position which reaches somebody tells whether it may. */

#define BATCH 64

/* A player, from the answer to its HTTP join until the game hears that it left. */
struct lodger {
    u32 client, id, moves, delivered; /* moves: sent so far; delivered: the newest that arrived */
    u64 lobby;
    char code[8], token[40], cookie[24];
    u8 token_bytes[8], cookie_bytes[8];
    mps_address address, home; /* home: of the HTTP join */
    bool binary, batch, welcomed, gone, leaves, roamed, quiet;
    u64 sure_at, heard_at; /* sure_at: it was alive then, without doubt */
    u16 seq, seq_heard;
    bool seq_known;
    u32 sync, parts, parts_heard, in_sync; /* of the latest state_sync */
};

/* A datagram on its way to the server. */
struct flight {
    u64 due;
    mps_address from;
    u32 lodger; /* index + 1 of who sent it, 0: nobody that counts */
    u32 moves;
    bool alive; /* it shows that its sender is there */
    size_t count;
    u8 bytes[420];
};

/* What went to an address and came from it: whoever has not proved it gets no more than it sent. */
struct port_model {
    mps_address address;
    u64 in, out, stun_out, stuns;
    bool proved;
    u64 since;
    u32 lodger; /* index + 1 of whose it is */
};

static struct lodger *lodger_at(u32 index) {
    return (struct lodger *)w.lodgers.items + index;
}

static bool same_address(const mps_address *a, const mps_address *b) {
    return a->port == b->port && !memcmp(a->ip, b->ip, sizeof a->ip);
}

static struct port_model *port_model(const mps_address *a) {
    struct port_model *ports = w.ports.items;
    for (u32 i = 0; i < w.ports.count; i++) {
        if (same_address(&ports[i].address, a)) {
            return &ports[i];
        }
    }
    ports = list_add(&w.ports, sizeof *ports);
    *ports = (struct port_model){.address = *a, .since = w.now};
    return ports;
}

/* No two players are ever at the same one, so an address tells whose it is or was. */
static u16 udp_port(void) {
    return (u16)(1024 + w.ports_used++);
}

/* -- who is there -- */

static void udp_joined(const struct line *l, const struct ask *a, const char *body) {
    i64 id;
    struct client *c = &clients[l->owner];
    struct lodger g = {.client = l->owner};
    HOLDS(wire_number(body, "player_id", &id) && wire_text(body, "udp_token", g.token, 40) &&
              strlen(g.token) == 32,
          "a join without player or token: %s", body);
    snprintf(g.code, sizeof g.code, "L%u", a->lobby);
    if (c->kind != CLIENT_LOBBY) {
        return;
    }
    for (u32 i = w.inns.count; i > 0 && !g.lobby; i--) {
        const struct hall *h = hall_at(&w.inns, i - 1);
        for (u32 k = 0; h->open && !strcmp(h->id, g.code) && k < h->count; k++) {
            g.lobby = h->members[k] == id ? h->handle : g.lobby;
        }
    }
    for (u32 i = 0; i < 8; i++) {
        sscanf(g.token + 2 * i, "%2hhx", &g.token_bytes[i]);
    }
    g.id = (u32)id;
    g.home = g.address = l->from;
    g.address.port = udp_port();
    g.binary = dice_hits(&w.act, 400);
    g.batch = dice_hits(&w.act, 200);
    g.sure_at = l->slow ? 0 : w.now;
    g.heard_at = w.now;
    if (g.lobby) {
        *(struct lodger *)list_add(&w.lodgers, sizeof g) = g;
        c->lodger = w.lodgers.count;
    }
}

/* Nobody is dropped before its time, unless it asked for it, or the game did. */
static void udp_left(u64 lobby, u32 player) {
    for (u32 i = 0; i < w.lodgers.count; i++) {
        struct lodger *g = lodger_at(i);
        if (g->lobby != lobby || g->id != player || g->gone) {
            continue;
        }
        g->gone = true;
        HOLDS(g->leaves || w.kicked_at == w.now || w.lobbies_deleted || !g->sure_at ||
                  w.now >= g->sure_at + w.config.player_timeout_ms * 1000ull,
              "player %u was dropped after %llu us", player,
              (unsigned long long)(w.now - g->sure_at));
        return;
    }
}

/* -- datagrams of clients -- */

static void flight_add(const struct flight *f) {
    u32 copies = fault(w.faults.doubled) ? 2 : fault(w.faults.loss) ? 0 : 1;
    for (u32 i = 0; i < copies; i++) {
        struct flight *added = list_add(&w.flights, sizeof *added);
        *added = *f;
        added->due = w.now + (fault(w.faults.reorder) ? dice_below(&w.net, 300000) : 0);
    }
}

static void put_le(struct flight *f, u64 value, u32 bytes) {
    for (u32 i = 0; i < bytes; i++) {
        f->bytes[f->count++] = (u8)(value >> 8 * i);
    }
}

static void put_float(struct flight *f, float value) {
    u32 bits;
    memcpy(&bits, &value, sizeof bits);
    put_le(f, bits, 4);
}

static void put_head(struct flight *f, struct lodger *g, u32 type) {
    f->count = 0;
    put_le(f, 0xB1, 1);
    put_le(f, type, 1);
    put_le(f, ++g->seq, 2);
    put_le(f, g->id, 4);
    memcpy(f->bytes + f->count, g->token_bytes, 8);
    f->count += 8;
}

static void put_text(struct flight *f, const char *format, ...) {
    va_list list;
    va_start(list, format);
    f->count = (size_t)vsnprintf((char *)f->bytes, sizeof f->bytes, format, list);
    va_end(list);
}

static void fly_join(struct lodger *g, struct flight *f) {
    if (g->binary) {
        put_head(f, g, 1);
        put_le(f, strlen(g->code), 1);
        memcpy(f->bytes + f->count, g->code, strlen(g->code));
        f->count += strlen(g->code);
    } else {
        put_text(
            f, "{\"type\":\"join\",\"lobby_code\":\"%s\",\"player_id\":%u,\"udp_token\":\"%s\"%s}",
            g->code, g->id, g->token, g->batch ? ",\"batch\":true" : "");
    }
}

static void fly_state(struct lodger *g, struct flight *f) {
    float x = (float)(1 + g - lodger_at(0)), y = (float)++g->moves;
    if (g->binary) {
        put_head(f, g, 2);
        put_le(f, w.now / 1000, 4);
        put_float(f, x);
        put_float(f, y);
        put_float(f, 0);
        put_le(f, 0, 8);
    } else {
        put_text(
            f,
            "{\"type\":\"position_update\",\"player_id\":%u,\"position\":{\"x\":%.0f,\"y\":%.0f,"
            "\"z\":0},\"rotation\":{\"x\":0,\"y\":0,\"z\":0}}",
            g->id, (double)x, (double)y);
    }
    f->moves = g->moves;
}

static void fly_ping(struct lodger *g, struct flight *f) {
    if (g->binary) {
        put_head(f, g, 4);
        put_le(f, w.now / 1000, 4);
        memcpy(f->bytes + f->count, g->cookie_bytes, 8);
        f->count += 8;
    } else {
        put_text(f, "{\"type\":\"ping\",\"t\":%u,\"cookie\":\"%s\"}", w.tick, g->cookie);
    }
}

static void fly_leave(struct lodger *g, struct flight *f) {
    g->leaves = true;
    if (g->binary) {
        put_head(f, g, 3);
    } else {
        put_text(f, "{\"type\":\"leave\",\"lobby_code\":\"%s\",\"player_id\":%u}", g->code, g->id);
    }
}

/* A stranger in the player's name, from an address of its own or of the player's. */
static void fly_forged(const struct lodger *g) {
    struct flight f = {.from = world_address(8, (u16)dice_from(&w.net, 1, 60000))};
    struct lodger forged = *g;
    forged.token[3] ^= 1;
    forged.token_bytes[1] ^= 0x10;
    switch (dice_below(&w.net, 4)) {
    case 0:
        fly_join(&forged, &f);
        break;
    case 1:
        fly_leave(&forged, &f);
        break;
    case 2:
        put_text(&f,
                 "{\"type\":\"position_update\",\"player_id\":%u,\"position\":{\"x\":1e9,\"y\":1,"
                 "\"z\":0},\"rotation\":{\"x\":0,\"y\":0,\"z\":0}}",
                 g->id);
        break;
    default:
        f.count = dice_from(&w.net, 1, 60);
        for (size_t i = 0; i < f.count; i++) {
            f.bytes[i] = (u8)dice_next(&w.net);
        }
    }
    flight_add(&f);
}

/* A Binding request (RFC 8489, 5) without attributes. */
static void fly_stun(const mps_address *from) {
    struct flight f = {.from = *from};
    static const u8 head[] = {0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42};
    memcpy(f.bytes, head, sizeof head);
    memcpy(f.bytes + 8, "sim-sim-sim-", 12);
    f.count = 20;
    flight_add(&f);
}

static void lodger_act(struct client *c, struct lodger *g) {
    u32 what = dice_below(&w.act, 100);
    struct flight f = {.lodger = c->lodger, .alive = true};
    if (!w.calm && g->welcomed && dice_hits(&w.act, 10)) {
        g->address.port = udp_port(); /* it roams, perhaps to another network */
        g->address.ip[15] = (u8)(dice_hits(&w.act, 300) ? 7 : g->address.ip[15]);
        g->roamed = true;
        g->welcomed = false;
    }
    f.from = g->address;
    port_model(&g->address)->lodger = c->lodger;
    if (g->quiet && !w.calm) {
        return;
    }
    if (!g->welcomed || (what < 2 && !w.calm)) {
        f.alive = false; /* with it another address may become its own */
        fly_join(g, &f);
    } else if (what < 10) {
        fly_ping(g, &f);
        port_model(&g->address)->proved = true;
    } else if (what < 11 && !w.calm) {
        fly_leave(g, &f);
    } else if (what < 13 && !w.calm) {
        fly_stun(&g->address);
        return;
    } else if (what < 16 && !g->binary) {
        put_text(&f,
                 "{\"type\":\"weapon_switch\",\"lobby_code\":\"%s\",\"player_id\":%u,"
                 "\"weapon_id\":%u}",
                 g->code, g->id, what);
    } else {
        fly_state(g, &f);
    }
    flight_add(&f);
    g->quiet = !w.calm && dice_hits(&w.act, 4);
    if (fault(w.faults.spoof)) {
        fly_forged(g);
    }
}

static void lobby_act(struct client *c) {
    struct lodger *g = c->lodger ? lodger_at(c->lodger - 1) : NULL;
    char target[40], body[80];
    if (g && !g->gone) {
        lodger_act(c, g);
        return;
    }
    struct line *l = client_line(c);
    l = l || w.calm ? l : client_connect(c);
    if (!l || w.calm || l->over || l->refused || l->wants_eof || l->asks_count) {
        return;
    }
    u32 lobby = w.cuttable ? 0 : dice_below(&w.act, 3); /* the ticks of several come in any order */
    snprintf(body, sizeof body, "{\"code\":\"L%u\",\"max_players\":%u}", lobby,
             dice_from(&w.act, 1, w.config.lobby_players));
    ask(l, ASK_LOBBY_MAKE, "POST", "/lobbies", body, USERS_MAX);
    snprintf(target, sizeof target, "/lobbies/L%u/join", lobby);
    snprintf(body, sizeof body, "{\"player_name\":\"p%u\"}", c->number);
    ask(l, ASK_LOBBY_JOIN, "POST", target, body, USERS_MAX);
    l->asks[(l->asks_first + l->asks_count - 1) % ASKS_MAX].lobby = lobby;
}

static void udp_deliver(void) {
    mps_address local = world_address(9, 8081);
    u32 kept = 0;
    struct flight *all = w.flights.items;
    for (u32 i = 0; i < w.flights.count; i++) {
        struct flight *f = &all[i];
        w.now += w.cuttable; /* as in port_deliver */
        if (f->due > w.now && !w.calm) {
            all[kept++] = *f;
            continue;
        }
        struct lodger *g = f->lodger ? lodger_at(f->lodger - 1) : NULL;
        bool bound = g && g->welcomed && same_address(&g->address, &f->from);
        if (g) {
            g->heard_at = w.now;
            g->delivered = f->moves > g->delivered ? f->moves : g->delivered;
            g->sure_at = bound && f->alive && w.config.player_datagrams_per_s >= 500 && !g->roamed
                             ? w.now
                             : g->sure_at;
        }
        port_model(&f->from)->in += f->count;
        u8 *copy = malloc(f->count);
        memcpy(copy, f->bytes, f->count);
        mps_udp_input(w.server, w.now, &f->from, &local, copy, f->count);
        free(copy);
    }
    w.flights.count = kept;
}

/* -- datagrams of the server -- */

/* Position of `id` as told to `g`: x says whose it is, y how often that one had moved. */
static void hear_position(const struct lodger *g, u32 id, double x, double y) {
    if (id == 999 && !strcmp(g->code, "TEST")) {
        return;
    }
    u32 whose = (u32)x - 1;
    HOLDS(x >= 1 && whose < w.lodgers.count && x == (double)(whose + 1),
          "player %u is at %g: of nobody", id, x);
    const struct lodger *of = lodger_at(whose);
    HOLDS(of->lobby == g->lobby && of->id == id, "player %u is told where %u of lobby %s is", g->id,
          of->id, of->code);
    HOLDS(y >= 1 && (u32)y <= of->delivered, "player %u has moved %g times, and %u arrived", id, y,
          of->delivered);
}

static double object_number(const char *text, const char *object, const char *key) {
    const char *at = wire_find(text, object);
    const char *value = at ? wire_find(at, key) : NULL;
    HOLDS(value, "no %s of %s: %s", key, object, text);
    return strtod(value, NULL);
}

/* What is told of everybody is the newest that came, where nothing may have kept that from being
   taken over: neither a limit nor an older datagram behind it. */
static void hear_sync_position(const struct lodger *g, u32 id, const char *entry) {
    const char *position = wire_find(entry, "position");
    if (!position || *position != '{') {
        return;
    }
    double x = object_number(entry, "position", "x"), y = object_number(entry, "position", "y");
    if (y == 0) {
        return; /* it has not said where it is */
    }
    hear_position(g, id, x, y);
    const struct lodger *of = lodger_at((u32)x - 1);
    bool sure = w.config.player_speed_max == MPS_UNLIMITED &&
                w.config.player_datagrams_per_s >= 500 && !of->roamed && !w.faults.spoof &&
                (of->binary || (!w.faults.reorder && !w.faults.doubled));
    HOLDS(!sure || (u32)y == of->delivered, "player %u has moved %u times, and %g are told", id,
          of->delivered, y);
}

static void hear_sync(struct lodger *g, const char *text) {
    i64 sync = 0, part = 0, parts = 0, id = 0;
    HOLDS(wire_number(text, "sync", &sync) && wire_number(text, "part", &part) &&
              wire_number(text, "parts", &parts) && part >= 1 && part <= parts,
          "a state_sync without its numbers: %s", text);
    if (g->sync != (u32)sync) {
        g->sync = (u32)sync;
        g->parts_heard = g->in_sync = 0;
    }
    g->parts = (u32)parts;
    g->parts_heard++;
    for (const char *at = strstr(text, "{\"id\":"); at; at = strstr(at + 1, "{\"id\":")) {
        HOLDS(wire_number(at, "id", &id) && id != g->id, "it is told of itself: %s", text);
        hear_sync_position(g, (u32)id, at);
        g->in_sync++;
    }
    const struct hall *h = hall_find(&w.inns, g->lobby);
    HOLDS(g->parts_heard < g->parts || !h || g->in_sync == h->count - 1,
          "a state_sync has %u others, the lobby %u", g->in_sync, h ? h->count - 1 : 0);
}

static void hear_json(struct lodger *g, const char *text) {
    char type[32];
    i64 id = 0;
    HOLDS(wire_json_valid(text, strlen(text)) && wire_text(text, "type", type, sizeof type),
          "a datagram that is no message: %s", text);
    bool named = wire_number(text, "player_id", &id);
    if (!strcmp(type, "error") || !strcmp(type, "pong") || !strcmp(type, "here")) {
        return;
    }
    if (g && g->gone && !strcmp(type, "welcome")) {
        return; /* it has left since */
    }
    HOLDS(g && !g->gone, "%s to nobody", type);
    HOLDS(!g->binary, "JSON to who speaks binary: %s", text);
    if (!strcmp(type, "welcome")) {
        HOLDS(id == g->id && wire_text(text, "cookie", g->cookie, sizeof g->cookie),
              "a welcome for another: %s", text);
        g->welcomed = true;
    } else if (!strcmp(type, "position_update")) {
        HOLDS(id != g->id, "its own position");
        hear_position(g, (u32)id, object_number(text, "position", "x"),
                      object_number(text, "position", "y"));
    } else if (!strcmp(type, "position_correction")) {
        HOLDS(id == g->id, "a correction of another");
    } else if (!strcmp(type, "state_sync")) {
        hear_sync(g, text);
    } else if (!strcmp(type, "player_joined")) {
        HOLDS(wire_number(text, "id", &id) && id != g->id, "it hears of its own coming");
    } else {
        HOLDS(!strcmp(type, "player_left") || !strcmp(type, "weapon_switched") ||
                  !strcmp(type, "server_dummy_update"),
              "an unknown datagram: %s", text);
        HOLDS(!named || id != g->id, "it hears of itself: %s", text);
    }
}

static u64 get_le(const u8 *at, u32 bytes) {
    u64 value = 0;
    for (u32 i = bytes; i > 0; i--) {
        value = value << 8 | at[i - 1];
    }
    return value;
}

static float get_float(const u8 *at) {
    u32 bits = (u32)get_le(at, 4);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void hear_binary(struct lodger *g, const u8 *at, size_t count) {
    u32 type = at[1];
    static const size_t least[] = {21, 9, 13, 12, 34, 16};
    u16 seq = (u16)get_le(at + 2, 2);
    HOLDS(count >= 9 && (type == 255 || (type >= 129 && type <= 134)), "binary type %u", type);
    HOLDS(type == 255 || count >= least[type - 129], "type %u of %zu bytes", type, count);
    if (type == 255 || type == 134 || (type == 129 && g && g->gone)) {
        return; /* also to who is not a member any more */
    }
    HOLDS(g && !g->gone && g->binary, "binary %u to nobody", type);
    HOLDS(!g->seq_known || (u16)(seq - g->seq_heard) < 0x8000, "number %u after %u", seq,
          g->seq_heard);
    g->seq_heard = seq;
    g->seq_known = true;
    if (type == 129) {
        HOLDS(get_le(at + 8, 4) == g->id, "a welcome for another");
        memcpy(g->cookie_bytes, at + 13, 8);
        g->welcomed = true;
    } else if (type == 130) {
        HOLDS(count == 9 + 26 * (size_t)at[8], "a snapshot of %u in %zu bytes", at[8], count);
        for (u32 i = 0; i < at[8]; i++) {
            const u8 *entry = at + 9 + 26 * i;
            HOLDS(get_le(entry, 4) != g->id, "its own position");
            hear_position(g, (u32)get_le(entry, 4), (double)get_float(entry + 4),
                          (double)get_float(entry + 8));
        }
    } else if (type == 131 || type == 132) {
        HOLDS(get_le(at + 8, 4) != g->id, "it hears of itself: %u", type);
    } else {
        HOLDS(get_le(at + 8, 4) == g->id, "a correction of another");
    }
}

/* RFC 8489, 14.2: the address of who asked, masked. */
static void hear_stun(struct port_model *p, const u8 *at, size_t count) {
    const mps_address *a = &p->address;
    HOLDS(at[0] == 1 && at[1] == 1 && count <= 52, "a STUN answer %02x%02x of %zu bytes", at[0],
          at[1], count);
    HOLDS(!memcmp(at + 8, "sim-sim-sim-", 12), "the answer to another STUN request");
    HOLDS(at[20] == 0 && at[21] == 0x20 && at[25] == 1, "no XOR-MAPPED-ADDRESS of IPv4");
    HOLDS(((at[26] << 8 | at[27]) ^ 0x2112) == a->port, "another port");
    HOLDS((at[28] ^ 0x21) == a->ip[12] && (at[31] ^ 0x42) == a->ip[15], "another address");
    p->stun_out += count;
    p->stuns++;
    u64 most = w.config.stun_per_s * ((w.now - p->since) / 1000000 + 2);
    HOLDS(p->stuns <= most || (w.config.dev && a->ip[12] == 127), "%llu STUN answers in %llu us",
          (unsigned long long)p->stuns, (unsigned long long)(w.now - p->since));
}

static void udp_hear(const mps_datagram *d) {
    char text[1300];
    size_t count = 0;
    struct port_model *p = port_model(&d->to);
    struct lodger *g = p->lodger ? lodger_at(p->lodger - 1) : NULL;
    HOLDS(d->bytes <= 1200, "a datagram of %zu bytes", d->bytes);
    for (size_t i = 0; i < d->spans_count; i++) {
        memcpy(text + count, d->spans[i].bytes, d->spans[i].count);
        count += d->spans[i].count;
    }
    HOLDS(count == d->bytes, "a datagram of %zu bytes has %zu", d->bytes, count);
    text[count] = 0;
    world_hash(text, count);
    world_show("datagram to port", d->to.port, text, count);
    p->proved |= g && !memcmp(g->home.ip, d->to.ip, sizeof d->to.ip);
    p->out += count;
    if ((u8)text[0] < 0x40) {
        hear_stun(p, (const u8 *)text, count);
    } else if (text[0] == '{') {
        hear_json(g, text);
    } else {
        HOLDS((u8)text[0] == 0xB1, "a datagram that begins with %02x", (u8)text[0]);
        hear_binary(g, (const u8 *)text, count);
    }
    HOLDS(p->proved || p->out <= p->in + p->stun_out, "%llu bytes to who sent %llu",
          (unsigned long long)p->out, (unsigned long long)p->in);
}

static void udp_drain(void) {
    mps_datagram out[BATCH];
    size_t most = dice_from(&w.net, 1, BATCH), count;
    while ((count = mps_udp_output(w.server, w.now, out, most)) > 0) {
        for (size_t i = 0; i < count; i++) {
            udp_hear(&out[i]);
        }
    }
}

/* Who is not heard of goes, in time. */
static void check_lodgers(void) {
    for (u32 i = 0; i < w.lodgers.count; i++) {
        const struct lodger *g = lodger_at(i);
        HOLDS(g->gone || w.now <= g->heard_at + w.config.player_timeout_ms * 1000ull,
              "player %u is kept %llu us after its last datagram", g->id,
              (unsigned long long)(w.now - g->heard_at));
    }
}

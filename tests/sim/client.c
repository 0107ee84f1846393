/* == client ======================================================================================
   The clients: what they ask over HTTP and say on their sockets, as real bytes. What they do is
   drawn anew each time; that it makes sense is not asked for. */

enum client_kind { CLIENT_SOCKET, CLIENT_HTTP, CLIENT_LOBBY };

struct client {
    enum client_kind kind;
    u32 user, number;
    mps_address address;
    struct line *line;
    u64 line_id; /* a line may have become another's */
    u64 act_at;
    u32 lodger; /* index + 1 of the lobby player that it is */
    bool mute;  /* does not answer pings */
};

static struct client clients[CLIENTS_MAX];
static u32 clients_count;

/* The client's own connection, while there is one. */
static struct line *client_line(struct client *c) {
    bool own = c->line && c->line->open && c->line->conn.id == c->line_id;
    c->line = own ? c->line : NULL;
    return c->line;
}

static struct line *client_connect(struct client *c) {
    c->address.port = (u16)(1024 + w.serial++ % 60000);
    c->line = line_open(c->number, &c->address);
    c->line_id = c->line ? c->line->conn.id : 0;
    return c->line;
}

/* -- requests -- */

/* Writes one request and notes what its response has to be like. `body` NULL: none. `as`: the user,
   USERS_MAX: nobody. */
static void ask(struct line *l, enum ask_kind kind, const char *method, const char *target,
                const char *body, u32 as) {
    char text[4096], length[48] = "", bearer[600] = "";
    size_t bytes = body ? strlen(body) : 0;
    bool chunked = body && dice_hits(&w.act, 250);
    if (l->asks_count == ASKS_MAX) {
        return;
    }
    if (body && !chunked) {
        snprintf(length, sizeof length, "Content-Length: %zu\r\n", bytes);
    } else if (chunked) {
        snprintf(length, sizeof length, "transfer-encoding: chunked\r\n");
    }
    if (as < USERS_MAX) {
        snprintf(bearer, sizeof bearer, "Authorization: Bearer %s\r\n", w.users[as].token);
    } else if (kind == ASK_ANNOUNCE) {
        snprintf(bearer, sizeof bearer, "Authorization: Bearer %s\r\n", w.admin);
    }
    int head =
        snprintf(text, sizeof text, "%s %s HTTP/1.1\r\nHost: sim\r\n%s%sX-Request-Id: q%u\r\n\r\n",
                 method, target, bearer, length, ++w.serial);
    HOLDS(head > 0 && (size_t)head < sizeof text, "a request is too long");
    line_write(l, text, (size_t)head);
    for (size_t at = 0; chunked && at < bytes;) {
        size_t part = dice_from(&w.act, 1, 60);
        part = part < bytes - at ? part : bytes - at;
        int size = snprintf(text, sizeof text, "%zx\r\n", part);
        line_write(l, text, (size_t)size);
        line_write(l, body + at, part);
        line_write(l, "\r\n", 2);
        at += part;
    }
    if (chunked) {
        line_write(l, "0\r\n\r\n", 5);
    } else if (body) {
        line_write(l, body, bytes);
    }
    struct ask *a = &l->asks[(l->asks_first + l->asks_count++) % ASKS_MAX];
    *a = (struct ask){.serial = w.serial,
                      .kind = (u8)kind,
                      .head_only = !strcmp(method, "HEAD"),
                      .upgrade = kind == ASK_UPGRADE,
                      .user = as,
                      .end = l->written};
}

/* Bytes that are no request of any kind: the answer is the last. */
static void ask_bad(struct line *l) {
    static const char *const bad[] = {
        "GET /healthz HTTP/1.1\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        "GET  /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        "BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /healthz HTTP/3.0\r\nHost: a\r\n\r\n",
        "\x16\x03\x01\x02",
        "GET /healthz HTTP/1.1\nHost: a\n\n",
        "POST /lobbies HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
    };
    const char *text = bad[dice_below(&w.act, sizeof bad / sizeof *bad)];
    l->stray = true;
    line_write(l, text, strlen(text));
}

static void ask_lobby(struct line *l, u32 as) {
    char target[64], body[160];
    u32 lobby = dice_below(&w.act, 4);
    switch (dice_below(&w.act, 6)) {
    case 0:
        ask(l, ASK_LOBBIES, dice_hits(&w.act, 200) ? "HEAD" : "GET", "/lobbies?limit=3", NULL, as);
        break;
    case 1:
        snprintf(body, sizeof body, "{\"code\":\"L%u\",\"max_players\":%u,\"is_public\":%s}", lobby,
                 dice_from(&w.act, 1, w.config.lobby_players ? w.config.lobby_players : 8),
                 dice_hits(&w.act, 800) ? "true" : "false");
        ask(l, ASK_LOBBY_MAKE, "POST", "/lobbies", body, as);
        break;
    case 2:
        snprintf(target, sizeof target, "/lobbies/l%u", lobby);
        ask(l, ASK_LOBBY_GET, "GET", target, NULL, as);
        break;
    case 3:
        snprintf(target, sizeof target, "/lobbies/L%u/join", lobby);
        snprintf(body, sizeof body, "{\"player_name\":\"http%u\"}", l->owner);
        ask(l, ASK_LOBBY_JOIN, "POST", target, body, as);
        break;
    case 4:
        snprintf(target, sizeof target, "/lobbies/L%u/leave", lobby);
        ask(l, ASK_LOBBY_LEAVE, "POST", target,
            "{\"player_id\":1,\"udp_token\":\"00000000000000000000000000000000\"}", as);
        break;
    default:
        snprintf(target, sizeof target, "/lobbies/L%u", lobby);
        w.lobbies_deleted++;
        ask(l, ASK_LOBBY_DELETE, "DELETE", target, NULL, USERS_MAX);
    }
}

static void ask_room(struct line *l, u32 as) {
    char target[80], body[160];
    const char *id = w.rooms.count ? room_model_at(dice_below(&w.act, w.rooms.count))->id
                                   : "00000000-0000-0000-0000-000000000000";
    snprintf(target, sizeof target, "/api/rooms/%s", id);
    switch (dice_below(&w.act, 5)) {
    case 0:
    case 1:
        snprintf(body, sizeof body, "{\"gamemode\":\"m%u\",\"maxPlayers\":%u,\"isPublic\":%s}",
                 dice_below(&w.act, 2), dice_from(&w.act, 1, w.config.room_players_max),
                 dice_hits(&w.act, 800) ? "true" : "false");
        ask(l, ASK_ROOM_MAKE, "POST", "/api/rooms", body, as);
        break;
    case 2:
        ask(l, ASK_ROOMS, "GET", "/api/rooms?limit=5", NULL, as);
        break;
    case 3:
        ask(l, ASK_ROOM_GET, "GET", target, NULL, as);
        break;
    default:
        w.rooms_deleted++;
        ask(l, ASK_ROOM_DELETE, "DELETE", target, NULL, as);
    }
}

static void ask_anything(struct line *l, u32 as) {
    static char long_body[20000];
    switch (dice_below(&w.act, 12)) {
    case 0:
        ask(l, ASK_HEALTH, "HEAD", "/healthz", NULL, as);
        break;
    case 1:
        ask(l, ASK_READY, "GET", "/readyz", NULL, as);
        break;
    case 2:
        if (w.cuttable) {
            break; /* it shows how much memory was ever in use, which cuts do change */
        }
        ask(l, ASK_STATUS, "GET", "/api/status", NULL, as);
        break;
    case 3:
        ask(l, ASK_GUEST, "POST", "/auth/guest", "{\"username\":\"guest\"}", as);
        break;
    case 4:
        ask(l, ASK_PRESENCE, "GET", "/api/presence", NULL, as);
        break;
    case 5:
        ask(l, ASK_OPTIONS, "OPTIONS", "/lobbies", NULL, as);
        break;
    case 6:
        ask(l, ASK_NOWHERE, "GET", "/nowhere", NULL, as);
        break;
    case 7:
        ask(l, ASK_WRONG_METHOD, "PUT", "/lobbies", "{}", as);
        break;
    case 8:
        if (dice_hits(&w.act, 200)) {
            memset(long_body, ' ', sizeof long_body - 1);
            l->stray = true;
            ask(l, ASK_TOO_LONG, "POST", "/lobbies", long_body, as);
        }
        break;
    default:
        ask_lobby(l, as);
    }
}

/* Long enough that a few of them fill the ring of announcements. */
static void ask_announce(struct line *l) {
    char body[700], letters[600];
    u32 count = dice_below(&w.act, 480);
    memset(letters, 'y', count);
    letters[count] = 0;
    snprintf(body, sizeof body, "{\"text\":\"%u%s\"}", ++w.announced, letters);
    ask(l, ASK_ANNOUNCE, "POST", "/admin/announce", body, USERS_MAX);
}

static void http_act(struct client *c) {
    struct line *l = client_line(c);
    u32 count = fault(w.faults.burst) ? 12 : dice_from(&w.act, 1, 3);
    l = l ? l : client_connect(c);
    if (!l || l->wants_eof || l->stray || l->over || l->out_count > 4096) {
        return;
    }
    for (u32 i = 0; i < count && !l->stray; i++) {
        if (fault(w.faults.garbage)) {
            ask_bad(l);
        } else if (dice_hits(&w.act, 60)) {
            ask_announce(l);
        } else if (dice_hits(&w.act, 400)) {
            ask_room(l, c->user);
        } else {
            ask_anything(l, c->user);
        }
    }
}

/* -- messages -- */

/* Writes one text message, whole or in fragments, and the ping that tells how it fared. */
static struct said *say(struct line *l, enum said_kind kind, const char *text) {
    u8 frame[8192];
    size_t bytes = strlen(text), at = 0;
    u32 number = w.said.count, parts = dice_hits(&w.act, 100) ? dice_from(&w.act, 2, 3) : 1;
    HOLDS(l->ring_count < RING_MAX && bytes < sizeof frame - 16, "too much is said");
    for (u32 i = 0; i < parts; i++) {
        size_t part = i + 1 == parts ? bytes - at : dice_below(&w.act, (u32)(bytes - at) + 1);
        size_t count = frame_write(frame, i ? 0 : FRAME_TEXT, i + 1 == parts, text + at, part,
                                   (u32)dice_next(&w.act));
        line_write(l, frame, count);
        at += part;
        if (i + 1 < parts && dice_hits(&w.act, 300)) {
            line_write(l, frame, frame_write(frame, FRAME_PONG, true, "", 0, 1));
        }
    }
    line_write(l, frame,
               frame_write(frame, FRAME_PING, true, (const char *)&number, 4, number * 7919));
    struct said *m = list_add(&w.said, sizeof *m);
    *m = (struct said){
        .kind = (u8)kind, .line = (u32)(l - lines), .user = l->user, .room = NO_ROOM, .at = w.now};
    world_show("says", (u32)(l - lines), text, bytes);
    l->ring[(l->ring_first + l->ring_count++) % RING_MAX] = number;
    return m;
}

/* {"type":"...","data":{...}} */
static struct said *say_of(struct line *l, enum said_kind kind, const char *type,
                           const char *format, ...) {
    char data[6000], text[6100];
    va_list list;
    va_start(list, format);
    vsnprintf(data, sizeof data, format, list);
    va_end(list);
    snprintf(text, sizeof text, "{\"type\":\"%s\",\"data\":{%s}}", type, data);
    return say(l, kind, text);
}

static void say_handshake(struct line *l, u32 user, bool token) {
    struct said *m =
        say_of(l, SAID_HANDSHAKE, "handshake", "\"version\":\"1\",\"name\":\"p%u\"%s%s%s", l->owner,
               token ? ",\"token\":\"" : "", token ? w.users[user].token : "", token ? "\"" : "");
    m->token = token;
}

/* With a token of the user's own, mostly the newest; or without, or with another's. */
static void say_join(struct line *l, const struct client *c) {
    u32 recent = w.rooms.count < 6 ? w.rooms.count : 6, token = 0;
    if (!recent) {
        return;
    }
    u32 room = w.rooms.count - 1 - dice_below(&w.act, recent);
    for (u32 i = w.tokens.count; i > 0 && dice_hits(&w.act, 950); i--) {
        const struct token_model *t = token_model_at(i - 1);
        if (t->user == l->user || dice_hits(&w.act, 10)) {
            token = i;
            if (dice_hits(&w.act, 800)) {
                break;
            }
        }
    }
    token = dice_hits(&w.act, 500) ? token : 0;
    room = token ? token_model_at(token - 1)->room : room;
    struct said *m = say_of(l, SAID_JOIN, "join_room",
                            "\"roomId\":\"%s\",\"version\":\"1\",\"name\":\"p%u\"%s%s%s",
                            room_model_at(room)->id, c->number, token ? ",\"resumeToken\":\"" : "",
                            token ? token_model_at(token - 1)->text : "", token ? "\"" : "");
    m->room = room;
    m->token = token;
}

/* A peer of the room, the sender's own now and then, or one that there is not. */
static u32 say_target(const struct line *l) {
    return l->view.count && dice_hits(&w.act, 900)
               ? l->view.peers[dice_below(&w.act, l->view.count)]
               : 1000;
}

static void say_removal(struct line *l) {
    u32 target = say_target(l);
    bool ban = dice_hits(&w.act, 300);
    struct said *m =
        say_of(l, ban ? SAID_BAN : SAID_KICK, ban ? "ban" : "kick", "\"peerId\":%u", target);
    m->target = target;
}

static void say_long(struct line *l, const char *type, enum said_kind kind) {
    char letters[1500] = "";
    u32 number = w.said.count;
    u32 most = w.crowded && kind == SAID_STATE     ? w.config.slot_bytes
               : dice_hits(&w.act, w.long_of_1000) ? 900
               : dice_hits(&w.act, 200)            ? 200
                                                   : 12;
    u32 count = dice_below(&w.act, most);
    memset(letters, 'x', count);
    if (kind == SAID_CHAT) {
        struct said *m = say_of(l, kind, type, "\"text\":\"%u%s\"", number, letters);
        char digits[12];
        m->longs = count + (u32)snprintf(digits, sizeof digits, "%u", number);
    } else if (kind == SAID_STATE) {
        say_of(l, kind, type, "\"position\":%u,\"rotation\":\"%s\"", number, letters);
    } else if (kind == SAID_SNAPSHOT) {
        say_of(l, kind, type, "\"payload\":%u, \"more\":1", number);
    } else {
        u32 target = dice_hits(&w.act, 600) ? 0 : say_target(l);
        struct said *m = say_of(l, kind, type, "\"targetPeer\":%u,\"method\":\"m%s\",\"args\":%u",
                                target, count < 60 ? letters : "", number);
        m->target = target;
    }
}

static void say_bad(struct line *l) {
    static const char *const bad[] = {"{\"type\":\"chat\",",
                                      "[]",
                                      "{\"type\":\"ping\",\"data\":3}",
                                      "{\"type\":\"handshake\",\"data\":{}}",
                                      "{}",
                                      "{\"type\":\"quick_join\",\"data\":{\"gamemode\":7}}"};
    say(l, SAID_BAD, bad[dice_below(&w.act, sizeof bad / sizeof *bad)]);
}

/* What is no frame of a client's; the line is as good as closed. */
static void say_garbage(struct line *l) {
    static const struct {
        const char *bytes;
        size_t count;
    } bad[] = {{"\x81\x01x", 3},                       /* not masked */
               {"\xC1\x80\0\0\0\0", 6},                /* a reserved bit */
               {"\x83\x80\0\0\0\0", 6},                /* a reserved opcode */
               {"\x82\x80\0\0\0\0", 6},                /* binary */
               {"\x81\x82\0\0\0\0\xC3\x28", 8},        /* no UTF-8 */
               {"\x80\x80\0\0\0\0", 6},                /* the rest of nothing */
               {"\x81\xFF\0\0\0\0\0\x7F\xFF\xFF", 10}, /* too long */
               {"\x09\x80\0\0\0\0", 6}};               /* half a ping */
    u32 which = dice_below(&w.act, sizeof bad / sizeof *bad);
    l->stray = true;
    line_write(l, bad[which].bytes, bad[which].count);
}

static void say_something(struct line *l, const struct client *c) {
    bool in = l->room != NO_ROOM;
    u32 what = w.crowded && dice_hits(&w.act, 950) ? (!in       ? 99
                                                      : w.poses ? dice_from(&w.act, 35, 82)
                                                                : dice_from(&w.act, 16, 99))
                                                   : dice_below(&w.act, 100);
    if (fault(w.faults.garbage)) {
        say_garbage(l);
    } else if (what < 3) {
        say_of(l, SAID_PING, "ping", "");
    } else if (what < 5 && !w.cuttable) { /* announcements are told when a call ends */
        say_handshake(l, l->user, dice_hits(&w.act, 700));
    } else if (what < 7) {
        say_bad(l);
    } else if (what < 9) {
        say_of(l, SAID_GAME, "boast", "\"n\":1");
    } else if (what < 10) {
        say_of(l, SAID_LEAVE, "leave_room", "");
    } else if (!in && what < 30) {
        say_of(l, SAID_CREATE, "create_room", "");
    } else if (!in && what < 70) {
        say_join(l, c);
    } else if (!in || what < 12) {
        say_of(l, SAID_QUICK, "quick_join",
               "\"gamemode\":\"m%u\",\"maxPlayers\":%u,\"version\":\"1\",\"name\":\"p%u\"",
               w.crowded ? 0 : dice_below(&w.act, 2),
               w.crowded ? 8 : dice_from(&w.act, 1, w.config.room_players_max), c->number);
    } else if (what < 16) {
        say_removal(l);
    } else if (what < 40) {
        say_long(l, "chat", SAID_CHAT);
    } else if (what < 65) {
        say_long(l, "player_state", SAID_STATE);
    } else if (what < 80) {
        say_long(l, "player_snapshot", SAID_SNAPSHOT);
    } else {
        say_long(l, "rpc_call", SAID_RPC);
    }
}

/* -- sockets -- */

static void socket_upgrade(struct client *c, struct line *l) {
    char text[1024];
    bool anonymous = !w.cuttable && dice_hits(&w.act, 200), query = dice_hits(&w.act, 500);
    const char *token = w.users[c->user].token;
    int bytes =
        snprintf(text, sizeof text,
                 "GET /ws%s%s HTTP/1.1\r\nHost: sim\r\nUpgrade: websocket\r\nConnection: "
                 "Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
                 "dGhlIHNhbXBsZSBub25jZQ==\r\n%s%s%sX-Request-Id: q%u\r\n\r\n",
                 !anonymous && query ? "?token=" : "", !anonymous && query ? token : "",
                 !anonymous && !query ? "Authorization: Bearer " : "",
                 !anonymous && !query ? token : "", !anonymous && !query ? "\r\n" : "", ++w.serial);
    line_write(l, text, (size_t)bytes);
    l->asks[0] = (struct ask){.serial = w.serial,
                              .kind = ASK_UPGRADE,
                              .upgrade = true,
                              .user = c->user + (anonymous ? USERS_MAX : 0),
                              .end = l->written};
    l->asks_count = 1;
}

/* The server's pings are answered, or it would be silence. */
static void socket_answer(struct line *l, const struct client *c) {
    u8 frame[16];
    for (; l->pings_owed && !(c->mute && !w.calm); l->pings_owed--) {
        line_write(l, frame, frame_write(frame, FRAME_PONG, true, "", 0, 5));
    }
}

static void socket_end(struct line *l) {
    u8 frame[16];
    if (dice_hits(&w.act, 500)) {
        l->wants_reset = true;
        return;
    }
    l->said_close = true;
    line_write(l, frame, frame_write(frame, FRAME_CLOSE, true, "\x03\xE8", 2, 77));
}

static void socket_act(struct client *c) {
    struct line *l = client_line(c);
    if (!l) {
        l = client_connect(c);
        if (l && !l->refused) {
            socket_upgrade(c, l);
        }
        c->mute = !w.cuttable && dice_hits(&w.act, 100);
        return;
    }
    if (l->refused && !l->over) {
        return; /* told to go away */
    }
    if (!l->upgraded || l->over || l->stray || l->wants_eof || l->said_close || l->close_code ||
        l->out_count > 4096) {
        return;
    }
    socket_answer(l, c);
    if (!w.cuttable && !l->shook && dice_hits(&w.act, 700) && l->ring_count < RING_MAX / 2) {
        say_handshake(l, l->user, dice_hits(&w.act, 800));
        return;
    }
    u32 count = fault(w.faults.burst) ? 20 : dice_from(&w.act, 0, 2);
    for (u32 i = 0; i < count && l->ring_count < RING_MAX / 2 && !l->stray; i++) {
        say_something(l, c);
    }
    if (dice_hits(&w.act, 8)) {
        socket_end(l);
    }
}

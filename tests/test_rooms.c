/* Section 62 and its messages through the public calls: who sits where, who is host, who hears what
   and in which order, what is owed to members that do not read. On the halls of test_sockets.c. */

/* A room that the user made over HTTP; its id stays good until the next call. */
static const char *rooms_make(struct hall *h, const char *user, const char *body) {
    static char id[ROOM_ID_BYTES + 1];
    CHECK_INT(hall_http(h, "POST", "/api/rooms", user, body), 201);
    const char *at = strstr(h->text, "\"room\":{\"id\":\"");
    snprintf(id, sizeof id, "%.36s", at ? at + 14 : "");
    hall_skip(h);
    return id;
}

static void rooms_say_join(struct hall *h, struct peer *p, const char *room, const char *more) {
    char say[512];
    snprintf(say, sizeof say, "{'type':'join_room','data':{'roomId':'%s',%s}}", room, more);
    peer_say(h, p, say);
}

#define CHECK_JOINED(p, room, peer, members, token) \
    check_joined(&hall, (p), (room), (peer), (members), (token), __LINE__)

/* The next message is room_joined, with these members; its token is copied. */
static void check_joined(struct hall *h, struct peer *p, const char *room, u32 peer,
                         const char *members, char token[33], int line) {
    char want[2048], quoted[1536], kept[33] = "";
    const char *got = peer_hear(h, p), *at = strstr(got, "\"resumeToken\":\"");
    snprintf(kept, sizeof kept, "%.32s", at ? at + 15 : "");
    CHECK(strspn(kept, "0123456789abcdef") == 32);
    peer_quotes(quoted, sizeof quoted, members);
    snprintf(want, sizeof want,
             "{\"type\":\"room_joined\",\"data\":{\"roomId\":\"%s\",\"peerId\":%u,\"members\":[%s],"
             "\"gamemode\":\"g\",\"mapName\":\"m\",\"resumeToken\":\"%s\"}}",
             room, peer, quoted, kept);
    check_text(got, strlen(got), want, "joined", __FILE__, line);
    memcpy(token, kept, 33);
}

#define MEMBER(peer, name) "{'peerId':" peer ",'name':'" name "','isHost':false}"
#define HOST(peer, name) "{'peerId':" peer ",'name':'" name "','isHost':true}"
#define LEFT(peer) "{'type':'peer_left','data':{'peerId':" peer "}}"
#define NEW_HOST(peer, name) \
    "{'type':'host_changed','data':{'newHostPeerId':" peer ",'newHostName':'" name "'}}"
#define KICKED(reason) "{'type':'kicked','data':{'reason':'" reason "'}}"
#define ROOM_BODY "{'gamemode':'g','mapName':'m'}"
#define LEAVE "{'type':'leave_room'}"

/* Joins, and everybody forgets what they heard of it. */
static u32 rooms_join(struct hall *h, struct peer *p, const char *room, const char *name) {
    char more[128];
    snprintf(more, sizeof more, "'version':'','name':'%s'", name);
    rooms_say_join(h, p, room, more);
    u32 peer = 0;
    for (const char *got = peer_hear(h, p); *got; got = peer_hear(h, p)) {
        const char *at =
            strncmp(got, "{\"type\":\"room_joined\"", 21) ? NULL : strstr(got, "\"peerId\":");
        peer = at ? (u32)atoi(at + 9) : peer;
    }
    hall_skip(h);
    return peer;
}

/* What is heard of the list is not what most tests are about. */
static void rooms_quiet(struct hall *h) {
    h->d.s->rooms.quiet_until = NEVER;
}

/* -- life -- */

static void rooms_life(void) {
    char token[33], again[33], want[256];
    mps_config c = hall_config();
    hall_start(&hall, &c);
    struct peer *a = hall_enter(&hall, "a", "Ann"), *b = hall_enter(&hall, "b", "Bob");
    rooms_quiet(&hall);
    peer_say(&hall, a, "{'type':'create_room'}");
    hall_skip(&hall);
    peer_say(&hall, a, "{'type':'create_room'}");
    CHECK_FAULT(a, MPS_E_NO_ROOM_FOUND, "");
    const char *room = rooms_make(&hall, "a", ROOM_BODY);
    CHECK_INT(hall_http(&hall, "POST", "/api/rooms", "a", ROOM_BODY), 400);
    CHECK(strstr(hall.text, "\"error\":\"room_exists\"") && strstr(hall.text, room));
    rooms_say_join(&hall, b, room, "'name':'B'");
    CHECK_FAULT(b, MPS_E_ROOM_UNCONFIRMED, "");
    peer_say(&hall, b, "{'type':'create_room'}");
    CHECK_FAULT(b, MPS_E_NO_ROOM_FOUND, "");
    peer_say(&hall, a, "{'type':'create_room','data':{}}");
    snprintf(want, sizeof want,
             "{'type':'room_created','data':{'roomId':'%s','peerId':1,'gamemode':'g','mapName':"
             "'m'}}",
             room);
    CHECK_HEARS(a, want);
    CHECK_HEARS(a, "");
    peer_say(&hall, a, "{'type':'create_room'}");
    CHECK_FAULT(a, MPS_E_ALREADY_IN_ROOM, "");
    rooms_say_join(&hall, a, room, "'name':'A'");
    CHECK_FAULT(a, MPS_E_ALREADY_IN_ROOM, "");
    rooms_say_join(&hall, b, room, "'version':'','name':'B'");
    /* The maker's name is its user's: hall_http signs in under the id. */
    CHECK_JOINED(b, room, 2, HOST("1", "a") "," MEMBER("2", "B"), token);
    CHECK_HEARS(a, "{'type':'peer_joined','data':{'peerId':2,'name':'B'}}");
    peer_say(&hall, b, LEAVE);
    CHECK_HEARS(b, "");
    CHECK_HEARS(a, LEFT("2"));
    peer_say(&hall, b, LEAVE);
    CHECK_FAULT(b, MPS_E_NOT_IN_ROOM, "");
    rooms_say_join(&hall, b, room, "'version':null,'name':'B2','resumeToken':''");
    CHECK_JOINED(b, room, 3, HOST("1", "a") "," MEMBER("3", "B2"), again);
    CHECK(strcmp(token, again) != 0);
    CHECK_HEARS(a, "{'type':'peer_joined','data':{'peerId':3,'name':'B2'}}");
    /* The room goes with its last seat; then its maker may make another, and enter it by joining. */
    peer_say(&hall, a, LEAVE);
    CHECK_HEARS(b, LEFT("1"));
    CHECK_HEARS(b, NEW_HOST("3", "B2"));
    peer_say(&hall, b, LEAVE);
    CHECK_INT(hall.d.s->rooms.pool.used, 0);
    room = rooms_make(&hall, "a", ROOM_BODY);
    rooms_say_join(&hall, a, room, "'name':'A'");
    CHECK_JOINED(a, room, 1, HOST("1", "A"), token);
    CHECK_HEARS(a, "");
    CHECK_HEARS(b, "");
    hall_check_empty(&hall);
    hall_stop(&hall);
}

/* Nobody comes: gone after 60 s, not before; the maker's record goes with it. */
static void rooms_expire(void) {
    char target[64];
    mps_config c = hall_config();
    hall_start(&hall, &c);
    const char *room = rooms_make(&hall, "a", ROOM_BODY);
    snprintf(target, sizeof target, "/api/rooms/%s", room);
    CHECK_INT(hall.d.s->presence.users.used, 1);
    hall_run(&hall, 60 * S_US - 1);
    CHECK_INT(hall_http(&hall, "GET", target, "x", ""), 200);
    CHECK(strstr(hall.text, "\"current_players\":0"));
    hall_run(&hall, 1);
    CHECK_INT(hall_http(&hall, "GET", target, "x", ""), 404);
    CHECK_INT(hall.d.s->presence.users.used, 0);
    /* Once confirmed it stays, and so it does while its only member is away, for 30 s. */
    struct peer *a = hall_enter(&hall, "a", "A");
    room = rooms_make(&hall, "a", ROOM_BODY);
    hall_run(&hall, 59 * S_US);
    peer_say(&hall, a, "{'type':'create_room'}");
    hall_run(&hall, 10 * S_US);
    CHECK_INT(hall.d.s->rooms.pool.used, 1);
    peer_drop(&hall, a);
    CHECK_INT(hall.d.s->presence.users.used, 1);
    hall_run(&hall, 30 * S_US - 1);
    CHECK_INT(hall.d.s->rooms.pool.used, 1);
    hall_run(&hall, 1);
    CHECK_INT(hall.d.s->rooms.pool.used, 0);
    CHECK_INT(hall.d.s->presence.users.used, 0);
    hall_check_empty(&hall);
    hall_stop(&hall);
}

/* Each row fails one check more than the next: what is told is the first in the order. */
static void rooms_join_checks(void) {
    char room[ROOM_ID_BYTES + 1];
    mps_config c = hall_config();
    hall_start(&hall, &c);
    struct peer *host = hall_enter(&hall, "h", "H"), *a = hall_enter(&hall, "a", "A");
    struct peer *other = hall_enter(&hall, "a", "A"), *b = hall_enter(&hall, "b", "B");
    rooms_quiet(&hall);
    snprintf(room, sizeof room, "%s",
             rooms_make(&hall, "h", "{'gamemode':'g','mapName':'m','maxPlayers':2,'version':'1'}"));
    CHECK_INT(rooms_join(&hall, host, room, "H"), 1);
    CHECK_INT(rooms_join(&hall, other, room, "A"), 2);
    static const struct {
        const char *room, *more;
        mps_error error;
        const char *field;
    } rows[] = {
        {"x", "'version':7,'name':'','resumeToken':7", MPS_E_INVALID_JOIN_ROOM,
         ",'field':'version'"},
        {"x", "'version':'2','name':'','resumeToken':7", MPS_E_INVALID_JOIN_ROOM,
         ",'field':'name'"},
        {"x", "'version':'2','name':'n','resumeToken':7", MPS_E_INVALID_JOIN_ROOM,
         ",'field':'resumeToken'"},
        {"", "'version':'2','name':'n'", MPS_E_INVALID_JOIN_ROOM, ",'field':'roomId'"},
        {"x", "'version':'2','name':'n'", MPS_E_ROOM_NOT_FOUND, ""},
        {NULL, "'version':'2','name':'n','resumeToken':'x'", MPS_E_VERSION_MISMATCH, ""},
        {NULL, "'version':'1','name':'n','resumeToken':'x'", MPS_E_RESUME_INVALID, ""},
        {NULL, "'version':'1','name':'n'", MPS_E_ALREADY_IN_ROOM, ""},
        {NULL, "'name':'n'", MPS_E_ALREADY_IN_ROOM, ""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        rooms_say_join(&hall, a, rows[i].room ? rows[i].room : room, rows[i].more);
        CHECK_FAULT(a, rows[i].error, rows[i].field);
    }
    rooms_say_join(&hall, b, room, "'version':'1','name':'n'");
    CHECK_FAULT(b, MPS_E_ROOM_FULL, "");
    peer_say(&hall, b, "{'type':'join_room','data':{'name':'n'}}");
    CHECK_FAULT(b, MPS_E_INVALID_JOIN_ROOM, ",'field':'roomId'");
    peer_say(&hall, host, "{'type':'ban','data':{'peerId':2}}");
    CHECK_HEARS(other, KICKED("host_ban"));
    CHECK_HEARS(host, LEFT("2"));
    rooms_say_join(&hall, a, room, "'version':'2','name':'n','resumeToken':'x'");
    CHECK_FAULT(a, MPS_E_BANNED, "");
    CHECK_INT(rooms_join(&hall, b, room, "B"), 3);
    hall_check_empty(&hall);
    hall_stop(&hall);
}

/* -- quick_join -- */

static void rooms_quick(struct hall *h, struct peer *p, const char *more) {
    char say[256];
    snprintf(say, sizeof say, "{'type':'quick_join','data':{'gamemode':'g','name':'n'%s}}", more);
    peer_say(h, p, say);
}

/* The room it came to, by the number of its slot; -1: none. Leaves again. */
static int quick_to(struct peer *p, const char *more) {
    rooms_quick(&hall, p, more);
    u32 seat = conn_at(&hall.d.s->conns, (u32)p->l.conn.id - 1)->socket.seat;
    int room = seat ? (int)seat_at(&hall.d.s->rooms, seat - 1)->room : -1;
    peer_say(&hall, p, LEAVE);
    hall_skip(&hall);
    return room;
}

static void rooms_quick_join(void) {
    /* by slot: body, members */
    static const struct {
        const char *body;
        u32 members;
    } rooms[] = {
        {"{'gamemode':'g','mapName':'m1'}", 1},
        {"{'gamemode':'g','mapName':'m2','version':'2'}", 2},
        {"{'gamemode':'g','mapName':'m1','maxPlayers':3}", 3},
        {"{'gamemode':'g','isPublic':false}", 3},
        {"{'gamemode':'g','mapName':'m2'}", 2},
        {"{'gamemode':'other'}", 4},
        {"{'gamemode':'g'}", 0},
    };
    mps_config c = hall_config();
    c.rooms = 8;
    c.seats = 30;
    hall_start(&hall, &c);
    struct peer *p = hall_enter(&hall, "p", "P"), *twin = hall_enter(&hall, "p", "P");
    rooms_quiet(&hall);
    for (u32 i = 0; i < COUNT_OF(rooms); i++) {
        char user[24], room[ROOM_ID_BYTES + 1];
        snprintf(user, sizeof user, "h%u", i);
        snprintf(room, sizeof room, "%s", rooms_make(&hall, user, rooms[i].body));
        for (u32 k = 0; k < rooms[i].members; k++) {
            CHECK_INT(rooms_join(&hall, hall_enter(&hall, user, "n"), room, "n"), k + 1);
            snprintf(user, sizeof user, "m%u%u", i, k);
        }
    }
    hall_skip(&hall);
    CHECK_INT(quick_to(p, ""), 1);
    CHECK_INT(quick_to(p, ",'mapName':null,'version':''"), 1);
    CHECK_INT(quick_to(p, ",'version':'2'"), 1);
    CHECK_INT(quick_to(p, ",'version':'1'"), 4);
    CHECK_INT(quick_to(p, ",'mapName':'m1'"), 0);
    CHECK_INT(quick_to(p, ",'mapName':'m2'"), 1);
    CHECK_INT(rooms_join(&hall, twin, room_at(&hall.d.s->rooms, 4)->id, "twin"), 4);
    CHECK_INT(quick_to(p, ""), 1); /* most members, but one's own seat is there */
    CHECK_INT(quick_to(p, ",'version':'1'"), 0);
    struct peer *b = hall_enter(&hall, "b", "B");
    CHECK_INT(quick_to(b, ""), 4);
    CHECK_INT(rooms_join(&hall, b, room_at(&hall.d.s->rooms, 4)->id, "b"), 6);
    for (u32 i = 0; i < hall.count; i++) { /* the host of 4 bars it */
        u32 seat = conn_at(&hall.d.s->conns, (u32)hall.p[i].l.conn.id - 1)->socket.seat;
        if (seat && room_at(&hall.d.s->rooms, 4)->host == seat) {
            peer_say(&hall, &hall.p[i], "{'type':'ban','data':{'peerId':6}}");
        }
    }
    CHECK_HEARS(b, KICKED("host_ban"));
    CHECK_INT(quick_to(b, ""), 1);
    /* None fits: a new room, in the slot that is left, with what was wished; it is gone again when
       one leaves. */
    rooms_quick(&hall, p, ",'mapName':'m9','maxPlayers':2,'version':'3'");
    const char *got = peer_hear(&hall, p);
    CHECK(strstr(got, "\"peerId\":1,\"members\":[{\"peerId\":1,\"name\":\"n\",\"isHost\":true}],"
                      "\"gamemode\":\"g\",\"mapName\":\"m9\",\"resumeToken\":\""));
    CHECK_INT(hall.d.s->rooms.pool.used, 8);
    CHECK_INT(room_at(&hall.d.s->rooms, 7)->max_players, 2);
    CHECK(room_at(&hall.d.s->rooms, 7)->is_public);
    CHECK_INT(hall_http(&hall, "POST", "/api/rooms", "p", ROOM_BODY), 400);
    CHECK(strstr(hall.text, "room_exists"));
    CHECK_INT(hall_http(&hall, "POST", "/api/rooms", "q", ROOM_BODY), 409);
    rooms_quick(&hall, b, ",'mapName':'m8'");
    CHECK_FAULT(b, MPS_E_ROOMS_FULL, "");
    CHECK_INT(drive_count(&hall.d, COUNTER_FULL_ROOMS), 2);
    peer_say(&hall, p, LEAVE);
    CHECK_INT(hall.d.s->rooms.pool.used, 7);
    hall_check_empty(&hall);
    hall_stop(&hall);
}

static void rooms_quick_fields(void) {
    static const char *const rows[][2] = {
        {"{'gamemode':'','name':'n'}", ",'field':'gamemode'"},
        {"{'name':'n'}", ",'field':'gamemode'"},
        {"{'gamemode':7,'name':'n'}", ",'field':'gamemode'"},
        {"{'gamemode':'12345678901234567890123456789012345678901234567890123456789012345'}",
         ",'field':'gamemode'"},
        {"{'gamemode':'g','mapName':1,'name':'n'}", ",'field':'mapName'"},
        {"{'gamemode':'g','maxPlayers':0,'name':'n'}", ",'field':'maxPlayers'"},
        {"{'gamemode':'g','maxPlayers':9,'name':'n'}", ",'field':'maxPlayers'"},
        {"{'gamemode':'g','maxPlayers':'8','name':'n'}", ",'field':'maxPlayers'"},
        {"{'gamemode':'g','maxPlayers':null,'version':1,'name':'n'}", ",'field':'version'"},
        {"{'gamemode':'g'}", ",'field':'name'"},
    };
    mps_config c = hall_config();
    hall_start(&hall, &c);
    struct peer *p = hall_enter(&hall, "p", "P");
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char say[256];
        snprintf(say, sizeof say, "{'type':'quick_join','data':%s}", rows[i][0]);
        peer_say(&hall, p, say);
        CHECK_FAULT(p, MPS_E_INVALID_JOIN_ROOM, rows[i][1]);
    }
    CHECK_INT(hall.d.s->rooms.pool.used, 0);
    hall_check_empty(&hall);
    hall_stop(&hall);
}

/* -- the host -- */

enum parting { PART_LEAVE, PART_KICK, PART_DROP, PART_DROP_LATER, PARTINGS };

/* What should be: members in the order of joining, and how each went away. */
struct parting_model {
    struct peer *p[4];
    bool here[4], open[4];
    u64 due[4];
    u32 host;
};

static void parting_gone(struct parting_model *m, u32 i) {
    m->here[i] = false;
    bool was_host = m->host == i;
    for (u32 k = 4; was_host && k-- > 0;) {
        m->host = m->here[k] ? k : m->host;
    }
    for (u32 k = 4; was_host && k-- > 0;) {
        m->host = m->here[k] && m->open[k] ? k : m->host;
    }
    for (u32 k = 0; k < 4; k++) {
        char want[128];
        if (m->here[k] && m->open[k]) {
            snprintf(want, sizeof want, LEFT("%u"), i + 1);
            CHECK_HEARS(m->p[k], want);
            snprintf(want, sizeof want, NEW_HOST("%u", "n%u"), m->host + 1, m->host + 1);
            CHECK_HEARS(m->p[k], was_host ? want : "");
        }
    }
}

/* Seats whose time has come, in the order of their dropping. */
static void parting_time(struct parting_model *m, u64 us) {
    u64 end = hall.d.now + us;
    for (;;) {
        u32 first = 4;
        for (u32 k = 0; k < 4; k++) {
            bool waits = m->here[k] && !m->open[k] && m->due[k] <= end;
            first = waits && (first == 4 || m->due[k] < m->due[first]) ? k : first;
        }
        if (first == 4) {
            hall_run(&hall, end - hall.d.now);
            return;
        }
        hall_run(&hall, m->due[first] - hall.d.now - 1);
        for (u32 k = 0; k < 4; k++) {
            CHECK(!m->open[k] || !*peer_hear(&hall, m->p[k]));
        }
        hall_run(&hall, 1);
        parting_gone(m, first);
    }
}

static void parting_step(struct parting_model *m, u32 who, enum parting how) {
    char say[64];
    if (how == PART_KICK && m->host != who && m->open[m->host]) {
        snprintf(say, sizeof say, "{'type':'kick','data':{'peerId':%u}}", who + 1);
        peer_say(&hall, m->p[m->host], say);
        CHECK_HEARS(m->p[who], KICKED("host_kick"));
        m->open[who] = false;
        parting_gone(m, who);
    } else if (how >= PART_DROP) {
        peer_drop(&hall, m->p[who]);
        m->open[who] = false;
        m->due[who] = hall.d.now + 30 * S_US;
    } else {
        peer_say(&hall, m->p[who], LEAVE);
        CHECK_HEARS(m->p[who], "");
        m->open[who] = false;
        parting_gone(m, who);
    }
    parting_time(m, how == PART_DROP ? 30 * S_US : 1000);
}

static struct peer *parting_peers[4];

static void parting_run(u32 order, u32 ways) {
    struct parting_model m = {.host = 0};
    u32 left[4] = {0, 1, 2, 3};
    char room[ROOM_ID_BYTES + 1], name[8];
    for (u32 i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "n%u", i + 1);
        if (!parting_peers[i] || parting_peers[i]->l.closed) {
            hall.count = parting_peers[i] ? (u32)(parting_peers[i] - hall.p) : i;
            free(parting_peers[i] ? parting_peers[i]->l.out : NULL);
            parting_peers[i] = hall_open(&hall, "198.51.100.1", name, name);
            hall.count = 4;
        }
        m.p[i] = parting_peers[i];
        m.here[i] = m.open[i] = true;
    }
    snprintf(room, sizeof room, "%s", rooms_make(&hall, "n1", ROOM_BODY));
    for (u32 i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "n%u", i + 1);
        CHECK_INT(rooms_join(&hall, m.p[i], room, name), i + 1);
    }
    for (u32 i = 4; i > 0; i--, ways /= PARTINGS, order /= i + 1) {
        u32 at = order % i;
        parting_step(&m, left[at], (enum parting)(ways % PARTINGS));
        left[at] = left[i - 1];
    }
    parting_time(&m, 30 * S_US);
    CHECK_INT(hall.d.s->rooms.pool.used + hall.d.s->rooms.seats.used, 0);
}

/* Every order of leaving, each member in every way. Nobody listens: handshakes would only add what
   is announced. */
static void rooms_hosts(void) {
    mps_config c = hall_config();
    c.ping_after_ms = 3600000;
    c.silence_timeout_ms = 86400000;
    hall_start(&hall, &c);
    memset(parting_peers, 0, sizeof parting_peers);
    for (u32 order = 0; order < 24; order++) {
        for (u32 ways = 0; ways < 256; ways++) {
            int failed = checks_failed;
            mps_wall_clock(drive_server(&hall.d), hall.d.now, hall_unix_s * 1000);
            parting_run(order, ways);
            if (checks_failed > failed) {
                printf("order %u, ways %u\n", order, ways);
                break;
            }
        }
        CHECK(mps_check(hall.d.s));
    }
    hall_check_empty(&hall);
    hall_stop(&hall);
}

static const struct check_test rooms_tests[] = {
    {"life", rooms_life},
    {"expire", rooms_expire},
    {"join_checks", rooms_join_checks},
    {"quick_join", rooms_quick_join},
    {"quick_fields", rooms_quick_fields},
    {"hosts", rooms_hosts},
};

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
    /* The room goes with its last seat; then its maker may make another, entered by joining. */
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

/* -- coming back -- */

static void rooms_resume(void) {
    char room[ROOM_ID_BYTES + 1], first[33], second[33], third[33], more[128];
    const char *members = HOST("1", "A") "," MEMBER("2", "B");
    mps_config c = hall_config();
    c.ping_after_ms = 3600000;
    c.silence_timeout_ms = 86400000;
    hall_start(&hall, &c);
    struct peer *a = hall_open(&hall, "198.51.100.1", "a", "A"),
                *b = hall_open(&hall, "198.51.100.1", "b", "B");
    struct peer *x = hall_open(&hall, "198.51.100.1", "x", "X");
    rooms_quiet(&hall);
    snprintf(room, sizeof room, "%s", rooms_make(&hall, "a", ROOM_BODY));
    rooms_say_join(&hall, a, room, "'name':'A'");
    CHECK_JOINED(a, room, 1, HOST("1", "A"), first);
    CHECK_INT(rooms_join(&hall, b, room, "B"), 2);
    /* Still open: the old socket is told, nobody else; the new one is the host. */
    struct peer *a2 = hall_open(&hall, "198.51.100.1", "a", "A");
    snprintf(more, sizeof more, "'name':'ignored','resumeToken':'%s'", first);
    rooms_say_join(&hall, x, room, more);
    CHECK_FAULT(x, MPS_E_RESUME_INVALID, "");
    rooms_say_join(&hall, a2, room, more);
    CHECK_JOINED(a2, room, 1, members, second);
    CHECK(strcmp(first, second) != 0);
    CHECK_HEARS(a, "close 4001 resumed_elsewhere");
    CHECK_HEARS(b, "");
    peer_say(&hall, a2, "{'type':'kick','data':{'peerId':1}}");
    CHECK_FAULT(a2, MPS_E_INVALID_TARGET, "");
    /* A token is good once; what is no token is none. */
    struct peer *a3 = hall_open(&hall, "198.51.100.1", "a", "A");
    rooms_say_join(&hall, a3, room, more);
    CHECK_FAULT(a3, MPS_E_RESUME_INVALID, "");
    rooms_say_join(&hall, a3, room, "'name':'A','resumeToken':'00'");
    CHECK_FAULT(a3, MPS_E_RESUME_INVALID, "");
    rooms_say_join(&hall, a3, room, "'name':'A'");
    CHECK_FAULT(a3, MPS_E_ALREADY_IN_ROOM, "");
    /* Dropped: back by the token, or as the same user without one, with the same peer id. */
    peer_drop(&hall, a2);
    hall_run(&hall, 20 * S_US);
    snprintf(more, sizeof more, "'name':'A','resumeToken':'%s'", second);
    rooms_say_join(&hall, a3, room, more);
    CHECK_JOINED(a3, room, 1, members, third);
    peer_drop(&hall, a3);
    hall_run(&hall, 30 * S_US - 1);
    CHECK_HEARS(b, "");
    a = hall_open(&hall, "198.51.100.1", "a", "A");
    hall_skip(&hall);
    rooms_say_join(&hall, a, room, "'name':'new'");
    CHECK_JOINED(a, room, 1, members, first);
    CHECK_HEARS(b, "");
    peer_say(&hall, b, "{'type':'chat','data':{'text':'hi'}}");
    CHECK_HEARS(a, "{'type':'chat','data':{'from':2,'fromName':'B','text':'hi'}}");
    /* Too late: another peer, and the host is another. */
    peer_drop(&hall, a);
    a = hall_open(&hall, "198.51.100.1", "a", "A");
    hall_skip(&hall);
    hall_run(&hall, 30 * S_US);
    CHECK_HEARS(b, LEFT("1"));
    CHECK_HEARS(b, NEW_HOST("2", "B"));
    snprintf(more, sizeof more, "'name':'A','resumeToken':'%s'", first);
    rooms_say_join(&hall, a, room, more);
    CHECK_FAULT(a, MPS_E_RESUME_INVALID, "");
    hall_skip(&hall);
    rooms_say_join(&hall, a, room, "'name':'A'");
    CHECK_JOINED(a, room, 3, HOST("2", "B") "," MEMBER("3", "A"), first);
    /* Draining lets nobody new in, but this is nobody new. */
    a2 = hall_open(&hall, "198.51.100.1", "a", "A");
    peer_drop(&hall, a);
    mps_drain(drive_server(&hall.d), hall.d.now, 5000);
    rooms_say_join(&hall, x, room, "'name':'X'");
    CHECK_FAULT(x, MPS_E_DRAINING, "");
    snprintf(more, sizeof more, "'name':'A','resumeToken':'%s'", first);
    rooms_say_join(&hall, a2, room, more);
    CHECK_JOINED(a2, room, 3, HOST("2", "B") "," MEMBER("3", "A"), first);
    hall_check_empty(&hall);
    hall_stop(&hall);
}

/* -- bans -- */

static void rooms_bans(void) {
    char room[ROOM_ID_BYTES + 1];
    mps_config c = hall_config();
    c.bans = 3;
    hall_start(&hall, &c);
    static const char *const from[] = {"198.51.100.1", "198.51.100.1",  "198.51.100.2",
                                       "2001:db8::1",  "2001:db8::9:9", "2001:db8:0:1::1"};
    struct peer *p[6];
    for (u32 i = 0; i < 6; i++) {
        const char *ids[] = {"u0", "u1", "u2", "u3", "u4", "u5"};
        p[i] = hall_open(&hall, from[i], ids[i], ids[i]);
    }
    snprintf(room, sizeof room, "%s", rooms_make(&hall, "u0", ROOM_BODY));
    for (u32 i = 0; i < 6; i++) {
        CHECK_INT(rooms_join(&hall, p[i], room, "n"), i + 1);
    }
    static const struct {
        const char *data;
        mps_error error;
        const char *field;
    } rows[] = {
        {"{}", MPS_E_INVALID_FIELD, ",'field':'peerId'"},
        {"{'peerId':'2'}", MPS_E_INVALID_FIELD, ",'field':'peerId'"},
        {"{'peerId':1}", MPS_E_INVALID_TARGET, ""},
        {"{'peerId':7}", MPS_E_INVALID_TARGET, ""},
        {"{'peerId':4294967298}", MPS_E_INVALID_FIELD, ",'field':'peerId'"},
        {"{'ip':'198.51.100'}", MPS_E_INVALID_FIELD, ",'field':'ip'"},
        {"{'ip':7}", MPS_E_INVALID_FIELD, ",'field':'ip'"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char say[128];
        snprintf(say, sizeof say, "{'type':'ban','data':%s}", rows[i].data);
        peer_say(&hall, p[0], say);
        CHECK_FAULT(p[0], rows[i].error, rows[i].field);
        peer_say(&hall, p[1], say);
        CHECK_FAULT(p[1], MPS_E_NOT_HOST, "");
    }
    CHECK_INT(hall.d.s->rooms.bans.used, 0);
    /* The host's own address: everybody there but the host. */
    peer_say(&hall, p[0], "{'type':'ban','data':{'ip':'198.51.100.1'}}");
    CHECK_HEARS(p[1], KICKED("host_ban"));
    CHECK_HEARS(p[1], "");
    CHECK_HEARS(p[0], LEFT("2"));
    CHECK_HEARS(p[0], "");
    CHECK_HEARS(p[2], LEFT("2"));
    peer_say(&hall, p[0], "{'type':'ban','data':{'ip':'2001:db8::ffff'}}");
    CHECK_HEARS(p[3], LEFT("2"));
    CHECK_HEARS(p[3], KICKED("host_ban"));
    CHECK_HEARS(p[4], LEFT("2"));
    CHECK_HEARS(p[4], LEFT("4"));
    CHECK_HEARS(p[4], KICKED("host_ban"));
    CHECK_HEARS(p[5], LEFT("2"));
    CHECK_HEARS(p[5], LEFT("4"));
    CHECK_HEARS(p[5], LEFT("5"));
    CHECK_HEARS(p[5], "");
    peer_say(&hall, p[0], "{'type':'ban','data':{'peerId':6,'ip':'::1'}}");
    CHECK_HEARS(p[5], KICKED("host_ban"));
    /* The table is full: nobody is removed either. */
    hall_skip(&hall);
    peer_say(&hall, p[0], "{'type':'ban','data':{'peerId':3}}");
    CHECK_FAULT(p[0], MPS_E_BANS_FULL, "");
    peer_say(&hall, p[0], "{'type':'ban','data':{'ip':'198.51.100.2'}}");
    CHECK_FAULT(p[0], MPS_E_BANS_FULL, "");
    CHECK_HEARS(p[2], "");
    CHECK_INT(drive_count(&hall.d, COUNTER_FULL_BANS), 2);
    /* Who may come: the user is barred from everywhere, the address for everybody. */
    static const struct {
        const char *from, *id;
        bool barred;
    } comers[] = {{"203.0.113.1", "u5", true},
                  {"2001:db8::5", "n1", true},
                  {"198.51.100.1", "n2", true},
                  {"203.0.113.1", "u1", false},
                  {"2001:db8:0:1::1", "n3", false}};
    for (size_t i = 0; i < COUNT_OF(comers); i++) {
        struct peer *n = hall_open(&hall, comers[i].from, comers[i].id, "n");
        rooms_say_join(&hall, n, room, "'name':'n'");
        if (comers[i].barred) {
            CHECK_FAULT(n, MPS_E_BANNED, "");
        } else {
            CHECK_INT(peer_count(&hall, n, "room_joined"), 1);
        }
    }
    /* Who was kicked may come back. */
    hall_skip(&hall);
    peer_say(&hall, p[0], "{'type':'kick','data':{'peerId':3}}");
    CHECK_HEARS(p[2], KICKED("host_kick"));
    CHECK_INT(rooms_join(&hall, p[2], room, "n"), 9);
    hall_check_empty(&hall); /* bans go with their room */
    hall_stop(&hall);
}

/* -- closing from outside -- */

static void rooms_delete(void) {
    char room[ROOM_ID_BYTES + 1], target[64];
    mps_config c = hall_config();
    hall_start(&hall, &c);
    struct peer *a = hall_open(&hall, "198.51.100.1", "a", "A");
    struct peer *b = hall_open(&hall, "198.51.100.1", "b", "B");
    for (u32 away = 0; away < 2; away++) { /* the host is here, or away */
        snprintf(room, sizeof room, "%s", rooms_make(&hall, "a", ROOM_BODY));
        snprintf(target, sizeof target, "/api/rooms/%s", room);
        CHECK_INT(rooms_join(&hall, a, room, "A"), 1);
        CHECK_INT(rooms_join(&hall, b, room, "B"), 2);
        if (away) {
            peer_drop(&hall, a);
        }
        CHECK_INT(hall_http(&hall, "DELETE", target, "b", ""), 403);
        CHECK(strstr(hall.text, "not_host"));
        CHECK_INT(hall_http(&hall, "DELETE", target, "a", ""), 200);
        CHECK(strstr(hall.text, "\r\n\r\n{\"success\":true}"));
        if (!away) {
            CHECK_HEARS(a, KICKED("room_closed"));
            CHECK_HEARS(a, "");
        }
        CHECK_HEARS(b, KICKED("room_closed"));
        CHECK_HEARS(b, "");
        peer_say(&hall, b, PING);
        CHECK_INT(peer_count(&hall, b, "pong"), 1);
        peer_say(&hall, b, LEAVE);
        CHECK_FAULT(b, MPS_E_NOT_IN_ROOM, "");
        CHECK_INT(hall_http(&hall, "DELETE", target, "a", ""), 404);
        CHECK_INT(hall.d.s->rooms.pool.used + hall.d.s->rooms.seats.used, 0);
    }
    hall_check_empty(&hall);
    hall_stop(&hall);
}

/* A room that closes is out of the count at once, also for what came in the same read. */
static void rooms_delete_counts(void) {
    char request[2048];
    mps_config c = hall_config();
    hall_start(&hall, &c);
    const char *room = rooms_make(&hall, "a", ROOM_BODY);
    snprintf(request, sizeof request,
             "DELETE /api/rooms/%s HTTP/1.1\r\nAuthorization: Bearer %s" END
             "GET /api/rooms HTTP/1.1" END,
             room, hall_token("a", "a"));
    CHECK_INT(hall_status(&hall, request), 200);
    CHECK(strstr(hall.text, "\"count\":0,\"server_capacity\":{\"current_rooms\":0,"));
    hall_check_empty(&hall);
    hall_stop(&hall);
}

/* -- rooms_changed -- */

#define CHANGED "{'type':'rooms_changed','data':{}}"
#define MS ((u64)1000)

/* Nothing is heard for `ms`, less a microsecond, and one rooms_changed at its end. */
static void changed_after(struct peer *p, u64 ms) {
    hall_run(&hall, ms * MS - 1);
    CHECK_HEARS(p, "");
    hall_run(&hall, 1);
    CHECK_HEARS(p, CHANGED);
    CHECK_HEARS(p, "");
}

static void rooms_changed(void) {
    mps_config c = hall_config();
    hall_start(&hall, &c);
    struct peer *p = hall_enter(&hall, NULL, "n"), *a = hall_open(&hall, "198.51.100.1", "a", "A");
    struct peer *b = hall_open(&hall, "198.51.100.1", "b", "B");
    char room[ROOM_ID_BYTES + 1];
    hall_run(&hall, S_US);
    CHECK_INT(hall_http(&hall, "POST", "/api/rooms", "a", ROOM_BODY), 201);
    const char *at = strstr(hall.text, "\"room\":{\"id\":\"");
    snprintf(room, sizeof room, "%.36s", at ? at + 14 : "");
    CHECK_HEARS(p, CHANGED); /* at once */
    hall_run(&hall, 10 * MS);
    rooms_say_join(&hall, a, room, "'name':'A'");
    hall_run(&hall, 10 * MS);
    rooms_say_join(&hall, b, room, "'name':'B'");
    changed_after(p, 80);
    peer_say(&hall, b, LEAVE);
    changed_after(p, 100);
    hall_run(&hall, 100 * MS); /* quiet, and so it may be told at once */
    CHECK_HEARS(p, "");
    rooms_say_join(&hall, b, room, "'name':'B'");
    CHECK_HEARS(p, CHANGED);
    hall_run(&hall, 99 * MS);
    peer_drop(&hall, b); /* changes nothing that a list shows */
    hall_run(&hall, 10 * S_US);
    struct peer *b2 = hall_open(&hall, "198.51.100.1", "b", "B");
    rooms_say_join(&hall, b2, room, "'name':'B'");
    hall_run(&hall, S_US);
    CHECK_HEARS(p, "");
    peer_drop(&hall, b2);
    hall_run(&hall, 20 * S_US);
    peer_send(&hall, p, 0x8a, "", 0);
    peer_send(&hall, a, 0x8a, "", 0);
    hall_skip(&hall);
    changed_after(p, 10000); /* the seat ends */
    /* Rooms that are not public are nobody's business. */
    hall_run(&hall, S_US);
    CHECK_INT(hall_http(&hall, "POST", "/api/rooms", "q", "{'gamemode':'g','isPublic':false}"),
              201);
    hall_run(&hall, S_US);
    CHECK_HEARS(p, "");
    /* Many changes for a second. */
    u32 heard = 0;
    for (u32 i = 0; i < 500; i++) {
        rooms_quick(&hall, b = i ? b : hall_open(&hall, "198.51.100.1", "b", "B"), "");
        peer_say(&hall, b, LEAVE);
        hall_run(&hall, 2 * MS);
        heard += peer_count(&hall, p, "rooms_changed");
        peer_skip(&hall, b);
        peer_skip(&hall, a);
    }
    CHECK_INT(heard, 11); /* at 0, 100, ... 1000 ms; the last change was at 998 */
    hall_run(&hall, S_US);
    CHECK_HEARS(p, "");
    hall_check_empty(&hall);
    hall_stop(&hall);
}

/* -- full tables -- */

static void rooms_full_seats(void) {
    char room[ROOM_ID_BYTES + 1];
    mps_config c = hall_config();
    c.seats = 4;
    c.rooms = 2;
    hall_start(&hall, &c);
    struct peer *p[7];
    for (u32 i = 0; i < 7; i++) {
        const char *ids[] = {"u0", "u1", "u2", "u3", "u4", "u5", "u6"};
        p[i] = hall_open(&hall, "198.51.100.1", ids[i], "n");
    }
    snprintf(room, sizeof room, "%s", rooms_make(&hall, "u0", ROOM_BODY));
    for (u32 i = 0; i < 4; i++) {
        CHECK_INT(rooms_join(&hall, p[i], room, "n"), i + 1);
    }
    rooms_say_join(&hall, p[4], room, "'name':'n'");
    CHECK_FAULT(p[4], MPS_E_SEATS_FULL, "");
    rooms_quick(&hall, p[4], "");
    CHECK_FAULT(p[4], MPS_E_SEATS_FULL, "");
    snprintf(room, sizeof room, "%s", rooms_make(&hall, "u5", ROOM_BODY));
    peer_say(&hall, p[5], "{'type':'create_room'}");
    CHECK_FAULT(p[5], MPS_E_SEATS_FULL, "");
    CHECK_INT(drive_count(&hall.d, COUNTER_FULL_SEATS), 3);
    CHECK_INT(hall_http(&hall, "POST", "/api/rooms", "u6", ROOM_BODY), 409);
    CHECK(strstr(hall.text, "room_capacity_reached"));
    CHECK_INT(drive_count(&hall.d, COUNTER_FULL_ROOMS), 1);
    peer_say(&hall, p[0], LEAVE);
    CHECK_INT(rooms_join(&hall, p[5], room, "n"), 1);
    hall_check_empty(&hall);
    hall_stop(&hall);
}

/* -- what is relayed -- */

static void rooms_relay(void) {
    char room[ROOM_ID_BYTES + 1], say[4096], want[4096];
    mps_config c = hall_config();
    hall_start(&hall, &c);
    struct peer *a = hall_open(&hall, "198.51.100.1", "a", "A");
    struct peer *b = hall_open(&hall, "198.51.100.1", "b", "B");
    struct peer *d = hall_open(&hall, "198.51.100.1", "d", "D");
    snprintf(room, sizeof room, "%s", rooms_make(&hall, "a", ROOM_BODY));
    CHECK_INT(rooms_join(&hall, a, room, "A\\u0022"), 1);
    CHECK_INT(rooms_join(&hall, b, room, "B"), 2);
    CHECK_INT(rooms_join(&hall, d, room, "D"), 3);
    /* Said by `a`, heard by `b` and `d`; "" in `own`: not by itself. */
    static const struct {
        const char *say, *b, *d, *own;
    } rows[] = {
        {"{'type':'chat','data':{'text':'\\u00e9 \\n é'}}",
         "{'type':'chat','data':{'from':1,'fromName':'A\\'','text':'\\u00e9 \\n é'}}", NULL, ""},
        {"{'data':{'text':'old'},'type':'chat','data':{'x':{'text':1},'t\\u0065xt':'new'}}",
         "{'type':'chat','data':{'from':1,'fromName':'A\\'','text':'new'}}", NULL, ""},
        {"{'type':'chat','data':{'1':1,'2':2,'3':3,'4':4,'5':5,'6':6,'7':7,'8':8,'text':'9'}}",
         "{'type':'chat','data':{'from':1,'fromName':'A\\'','text':'9'}}", NULL, ""},
        {"{'type':'player_state','data':{'rotation':{ 'y' : 1e3 },'position':[ 1, 2 ]}}",
         "{'type':'player_state','data':{'peerId':1,'position':[ 1, 2 ],'rotation':{ 'y' : 1e3 },"
         "'velocity':null}}",
         NULL, ""},
        {"{'type':'player_state'}",
         "{'type':'player_state','data':{'peerId':1,'position':null,'rotation':null,"
         "'velocity':null}}",
         NULL, ""},
        {"{'type':'player_snapshot','data':{'payload':'\\/'}}",
         "{'type':'player_snapshot','data':{'from':1,'payload':'\\/'}}", NULL, ""},
        {"{'type':'player_snapshot','data':null}",
         "{'type':'player_snapshot','data':{'from':1,'payload':null}}", NULL, ""},
        {"{'type':'rpc_call','data':{'method':'m','args':[ 1 ]}}",
         "{'type':'rpc_call','data':{'fromPeer':1,'method':'m','args':[ 1 ]}}", NULL, ""},
        {"{'type':'rpc_call','data':{'targetPeer':0,'method':'m\\u0041'}}",
         "{'type':'rpc_call','data':{'fromPeer':1,'method':'m\\u0041','args':null}}", NULL, ""},
        {"{'type':'rpc_call','data':{'targetPeer':3,'method':'m','args':true}}", "",
         "{'type':'rpc_call','data':{'fromPeer':1,'method':'m','args':true}}", ""},
        {"{'type':'rpc_call','data':{'targetPeer':1,'method':'m','args':{}}}", "", "",
         "{'type':'rpc_call','data':{'fromPeer':1,'method':'m','args':{}}}"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        peer_say(&hall, a, rows[i].say);
        CHECK_HEARS(b, rows[i].b);
        CHECK_HEARS(d, rows[i].d ? rows[i].d : rows[i].b);
        CHECK_HEARS(a, rows[i].own);
        CHECK_HEARS(b, "");
        CHECK_HEARS(d, "");
    }
    static const struct {
        const char *say;
        mps_error error;
        const char *field;
    } bad[] = {
        {"{'type':'chat'}", MPS_E_INVALID_FIELD, ",'field':'text'"},
        {"{'type':'chat','data':{'text':7}}", MPS_E_INVALID_FIELD, ",'field':'text'"},
        {"{'type':'rpc_call'}", MPS_E_INVALID_FIELD, ",'field':'method'"},
        {"{'type':'rpc_call','data':{'method':''}}", MPS_E_INVALID_FIELD, ",'field':'method'"},
        {"{'type':'rpc_call','data':{'targetPeer':-1,'method':'m'}}", MPS_E_INVALID_FIELD,
         ",'field':'targetPeer'"},
        {"{'type':'rpc_call','data':{'targetPeer':'1','method':'m'}}", MPS_E_INVALID_FIELD,
         ",'field':'targetPeer'"},
        {"{'type':'rpc_call','data':{'targetPeer':4,'method':'m'}}", MPS_E_INVALID_TARGET, ""},
        {"{'type':'kick','data':{'peerId':1}}", MPS_E_INVALID_TARGET, ""},
        {"{'type':'kick','data':{'peerId':0}}", MPS_E_INVALID_TARGET, ""},
        {"{'type':'kick','data':{}}", MPS_E_INVALID_FIELD, ",'field':'peerId'"},
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        peer_say(&hall, a, bad[i].say);
        CHECK_FAULT(a, bad[i].error, bad[i].field);
        CHECK_HEARS(b, "");
    }
    peer_say(&hall, b, "{'type':'kick','data':{'peerId':1}}");
    CHECK_FAULT(b, MPS_E_NOT_HOST, "");
    /* 500 code points go out as they came, one more is cut off; a method is 64 bytes, decoded. */
    for (u32 more = 0; more < 2; more++) {
        size_t at = (size_t)snprintf(say, sizeof say, "{'type':'chat','data':{'text':'");
        for (u32 i = 0; i < 500; i++) {
            at += (size_t)snprintf(say + at, sizeof say - at, more ? "é" : "\\u00e9");
        }
        snprintf(say + at, sizeof say - at, "%s'}}", more ? "x" : "");
        at = (size_t)snprintf(want, sizeof want,
                              "{'type':'chat','data':{'from':1,'fromName':'A\\'','text':'");
        for (u32 i = 0; i < 500; i++) {
            at += (size_t)snprintf(want + at, sizeof want - at, more ? "é" : "\\u00e9");
        }
        snprintf(want + at, sizeof want - at, "'}}");
        peer_say(&hall, a, say);
        CHECK_HEARS(b, want);
        CHECK_HEARS(d, want);
        snprintf(say, sizeof say, "{'type':'rpc_call','data':{'method':'\\u0041%0*u'}}",
                 63 + (int)more, 0u);
        peer_say(&hall, a, say);
        if (more) {
            CHECK_FAULT(a, MPS_E_INVALID_FIELD, ",'field':'method'");
        } else {
            CHECK_INT(peer_count(&hall, b, "rpc_call"), 1);
            CHECK_INT(peer_count(&hall, d, "rpc_call"), 1);
        }
    }
    /* One who dropped is a member that hears nothing. */
    peer_drop(&hall, d);
    peer_say(&hall, a, "{'type':'rpc_call','data':{'targetPeer':3,'method':'m'}}");
    CHECK_HEARS(a, "");
    peer_say(&hall, a, "{'type':'kick','data':{'peerId':3}}");
    CHECK_HEARS(a, LEFT("3"));
    CHECK_HEARS(b, LEFT("3"));
    hall_check_empty(&hall);
    hall_stop(&hall);
}

/* -- members that do not read -- */

static const struct conn *rooms_conn(const struct hall *h, const struct peer *p) {
    return conn_at(&h->d.s->conns, (u32)p->l.conn.id - 1);
}

/* Takes up to `most` of what is to be sent, wherever that ends. */
static void peer_sip(struct hall *h, struct peer *p, size_t most) {
    mps_span span;
    while (most && !p->l.closed && mps_tcp_output(drive_server(&h->d), p->l.conn, &span, 1)) {
        size_t bytes = size_min(most, span.count);
        memcpy(p->l.out + p->l.out_bytes, span.bytes, bytes);
        p->l.out_bytes += bytes;
        p->l.out[p->l.out_bytes] = 0;
        mps_tcp_taken(drive_server(&h->d), p->l.conn, bytes);
        mps_tcp_sent(drive_server(&h->d), p->l.conn, h->d.now, bytes);
        most -= bytes;
    }
    hall_run(h, 0);
}

/* `count` users in one room, the first of them its host; peers of the hall from `at` on. */
static void rooms_fill(struct hall *h, u32 count, const char *body) {
    char id[16], room[ROOM_ID_BYTES + 1];
    u32 at = h->count;
    snprintf(room, sizeof room, "%s", rooms_make(h, "p0", body));
    for (u32 i = 0; i < count; i++) {
        snprintf(id, sizeof id, "p%u", i);
        struct peer *p = hall_open(h, "198.51.100.1", id, id);
        CHECK_INT(rooms_join(h, p, room, id), i + 1);
    }
    CHECK_INT(h->count, at + count);
}

static void state_say(struct hall *h, struct peer *p, u32 kind, u32 number, u32 pad) {
    char say[1024];
    snprintf(say, sizeof say,
             kind ? "{'type':'player_snapshot','data':{'payload':%u,'pad':0}}"
                  : "{'type':'player_state','data':{'position':%u}}",
             number);
    if (pad) { /* too long for a slot */
        snprintf(say, sizeof say,
                 kind ? "{'type':'player_snapshot','data':{'payload':%0u.%0*u}}"
                      : "{'type':'player_state','data':{'position':%0u.%0*u}}",
                 number, (int)pad, 0u);
    }
    peer_say(h, p, say);
}

/* What one member heard: by sender and kind the newest state, and the newest chat. */
struct hearing {
    u32 newest[8][2], count[8][2], chats[8];
    bool closed;
};

/* Takes everything off. States never get older, chats come one after the other. */
static void hearing_take(struct hall *h, struct peer *p, struct hearing *t) {
    for (const char *got = peer_hear(h, p); *got; got = peer_hear(h, p)) {
        u32 from = 0, number = 0;
        if (sscanf(got, "{\"type\":\"player_state\",\"data\":{\"peerId\":%u,\"position\":%u", &from,
                   &number) == 2) {
            CHECK(number >= t->newest[from - 1][0]);
            t->newest[from - 1][0] = number;
            t->count[from - 1][0]++;
        } else if (sscanf(got, "{\"type\":\"player_snapshot\",\"data\":{\"from\":%u,\"payload\":%u",
                          &from, &number) == 2) {
            CHECK(number >= t->newest[from - 1][1]);
            t->newest[from - 1][1] = number;
            t->count[from - 1][1]++;
        } else if (sscanf(got,
                          "{\"type\":\"chat\",\"data\":{\"from\":%u,\"fromName\":\"p%*u\","
                          "\"text\":\"%u",
                          &from, &number) == 2) {
            CHECK_INT(number, t->chats[from - 1] + 1);
            t->chats[from - 1] = number;
        } else {
            CHECK_INT(strncmp(got, "close 1013 slow_reader", 22), 0);
            t->closed = true;
        }
    }
}

static void chat_say(struct hall *h, struct peer *p, u32 number, u32 pad) {
    char say[1024];
    snprintf(say, sizeof say, "{'type':'chat','data':{'text':'%u %0*u'}}", number, (int)pad, 0u);
    peer_say(h, p, say);
}

/* Two senders, one who reads, one who does not and then does. */
static void rooms_behind(void) {
    mps_config c = hall_config();
    hall_start(&hall, &c);
    rooms_fill(&hall, 4, ROOM_BODY);
    struct peer *good = &hall.p[2], *slow = &hall.p[3];
    struct hearing g = {0}, s = {0};
    slow->l.stalled = true;
    for (u32 i = 1; i <= 200; i++) {
        for (u32 k = 0; k < 4; k++) {
            state_say(&hall, &hall.p[k / 2], k % 2, i, 0);
        }
        if (i % 20 == 0) {
            chat_say(&hall, &hall.p[0], i / 20, 100);
        }
        CHECK(rooms_conn(&hall, slow)->out_bytes <= 8192);
        hearing_take(&hall, good, &g);
        peer_skip(&hall, &hall.p[0]);
        peer_skip(&hall, &hall.p[1]);
    }
    CHECK(rooms_conn(&hall, slow)->socket.behind);
    CHECK(drive_count(&hall.d, COUNTER_STATES_HELD) > 700);
    u32 direct = (800 - (u32)drive_count(&hall.d, COUNTER_STATES_HELD));
    peer_unstall(&hall, slow);
    hearing_take(&hall, slow, &s);
    for (u32 k = 0; k < 4; k++) {
        CHECK_INT(g.count[k / 2][k % 2], 200);
        CHECK_INT(s.newest[k / 2][k % 2], 200);
        direct += 1; /* each caught up once */
    }
    CHECK_INT(s.count[0][0] + s.count[0][1] + s.count[1][0] + s.count[1][1], direct);
    CHECK_INT(g.chats[0], 10);
    CHECK_INT(s.chats[0], 10);
    /* Behind no longer: the next comes at once, in a frame of its own. */
    CHECK(!rooms_conn(&hall, slow)->socket.behind);
    CHECK_INT(room_at(&hall.d.s->rooms, 0)->behind, 0);
    state_say(&hall, &hall.p[0], 0, 201, 0);
    hearing_take(&hall, slow, &s);
    CHECK_INT(s.newest[0][0], 201);
    hall_check_empty(&hall);
    hall_stop(&hall);
}

/* A state too long for a slot is an event, and no older one comes behind it; nor does one of a
   member that left. */
static void rooms_behind_long(void) {
    mps_config c = hall_config();
    hall_start(&hall, &c);
    rooms_fill(&hall, 4, ROOM_BODY);
    struct peer *slow = &hall.p[3];
    struct hearing s = {0};
    slow->l.stalled = true;
    for (u32 i = 1; i <= 100; i++) {
        state_say(&hall, &hall.p[0], 0, i, 0);
        state_say(&hall, &hall.p[1], 0, i, 0);
        state_say(&hall, &hall.p[2], 1, i, 0);
    }
    state_say(&hall, &hall.p[0], 0, 101, 400);
    peer_say(&hall, &hall.p[1], LEAVE);
    peer_unstall(&hall, slow);
    const char *got;
    u32 left = 0, state[3] = {0}, number;
    for (got = peer_hear(&hall, slow); *got; got = peer_hear(&hall, slow)) {
        if (sscanf(got, "{\"type\":\"player_state\",\"data\":{\"peerId\":1,\"position\":%u",
                   &number) == 1) {
            CHECK(number > state[0]);
            state[0] = number;
        } else if (strncmp(got, "{\"type\":\"peer_left\"", 19) == 0) {
            left++;
        } else if (sscanf(got, "{\"type\":\"player_snapshot\",\"data\":{\"from\":3,\"payload\":%u",
                          &number) == 1) {
            state[2] = number;
        } else {
            CHECK(!left); /* nothing of the second member behind its peer_left */
        }
    }
    CHECK_INT(state[0], 101);
    CHECK_INT(state[2], 100);
    CHECK_INT(left, 1);
    CHECK(!s.closed);
    hall_check_empty(&hall);
    hall_stop(&hall);
}

/* At random: some read now and then, a little at a time. Nobody is closed while the events fit, and
   in the end everybody has the newest of everybody. */
static void behind_run(u64 seed) {
    mps_config c = hall_config();
    struct hearing t[5];
    u32 said[5][2] = {{0}}, chats[5] = {0};
    memset(t, 0, sizeof t);
    test_random_seed(seed);
    hall_start(&hall, &c);
    rooms_fill(&hall, 5, ROOM_BODY);
    hall.p[0].l.stalled = hall.p[1].l.stalled = hall.p[2].l.stalled = true;
    for (u32 step = 0; step < 600; step++) {
        u32 who = test_random(5), what = test_random(40);
        if (what < 30) {
            bool is_long = what == 0 && rooms_conn(&hall, &hall.p[(who + 1) % 5])->out_bytes < 2000;
            said[who][what % 2]++;
            if (!mps_tcp_room(hall.d.s, hall.p[who].l.conn)) {
                said[who][what % 2]--; /* held back by its own output */
                continue;
            }
            state_say(&hall, &hall.p[who], what % 2, said[who][what % 2], is_long ? 300 : 0);
        } else if (what == 30 && mps_tcp_room(hall.d.s, hall.p[who].l.conn)) {
            chat_say(&hall, &hall.p[who], ++chats[who], 20);
        } else if (who < 3) {
            peer_sip(&hall, &hall.p[who], test_random(test_random(4) ? 400 : 3000));
        }
        for (u32 i = 0; i < 5; i++) {
            CHECK(rooms_conn(&hall, &hall.p[i])->out_bytes <= 8192);
            hearing_take(&hall, &hall.p[i], &t[i]);
        }
    }
    for (u32 i = 0; i < 5; i++) {
        peer_unstall(&hall, &hall.p[i]);
    }
    for (u32 i = 0; i < 5; i++) {
        hearing_take(&hall, &hall.p[i], &t[i]);
        for (u32 k = 0; k < 5; k++) {
            CHECK(i == k || t[i].closed || t[i].newest[k][0] == said[k][0]);
            CHECK(i == k || t[i].closed || t[i].newest[k][1] == said[k][1]);
            CHECK(i == k || t[i].closed || t[i].chats[k] == chats[k]);
        }
        CHECK(!t[i].closed);
    }
    CHECK_INT(room_at(&hall.d.s->rooms, 0)->behind, 0);
    CHECK(drive_count(&hall.d, COUNTER_STATES_HELD) > 100);
    hall_check_empty(&hall);
    hall_stop(&hall);
}

static void rooms_behind_random(void) {
    for (u64 seed = 1; seed <= 20; seed++) {
        int failed = checks_failed;
        behind_run(seed);
        if (checks_failed > failed) {
            printf("seed %u\n", (u32)seed);
            break;
        }
    }
}

/* Events that do not fit close the one who does not read; the others lose nothing. */
static void rooms_overflow(void) {
    mps_config c = hall_config();
    hall_start(&hall, &c);
    rooms_fill(&hall, 3, ROOM_BODY);
    struct peer *slow = &hall.p[2];
    struct hearing g = {0}, s = {0};
    slow->l.stalled = true;
    u32 said = 0;
    while (mps_tcp_fate(hall.d.s, slow->l.conn) == MPS_FATE_OPEN && said < 200) {
        chat_say(&hall, &hall.p[0], ++said, 200);
        hearing_take(&hall, &hall.p[1], &g);
        CHECK(rooms_conn(&hall, slow)->out_bytes <= 8192 + WS_CLOSE_BYTES_MAX);
    }
    CHECK(said > 25 && said < 40);
    CHECK_INT(g.chats[0], said);
    CHECK_INT(drive_count(&hall.d, COUNTER_CLOSED_SLOW), 1);
    CHECK_INT(room_at(&hall.d.s->rooms, 0)->seats.count, 3); /* its seat is kept */
    peer_unstall(&hall, slow);
    hearing_take(&hall, slow, &s);
    CHECK_INT(s.chats[0], said - 1);
    CHECK(s.closed && !slow->spilled);
    hall_run(&hall, 30 * S_US);
    CHECK_INT(room_at(&hall.d.s->rooms, 0)->seats.count, 2);
    hall_check_empty(&hall);
    hall_stop(&hall);
}

/* Chunks run short while many do not read: who holds most is closed, its output cut behind the
   frame that is being sent, never the one that asks. Everything ever received decodes. */
static void short_run(u64 seed, u32 *ended, u32 *cut) {
    mps_config c = hall_config();
    struct hearing t[8];
    u32 said = 0, closed = 0, aborted = 0;
    memset(t, 0, sizeof t);
    test_random_seed(seed);
    c.chunks = 12;
    hall_start(&hall, &c);
    rooms_fill(&hall, 8, ROOM_BODY);
    for (u32 i = 1; i < 7; i++) {
        hall.p[i].l.stalled = true;
    }
    for (u32 step = 0; step < 60; step++) {
        chat_say(&hall, &hall.p[0], ++said, test_random(4) ? 150 : 700);
        CHECK_INT(mps_tcp_fate(hall.d.s, hall.p[0].l.conn), MPS_FATE_OPEN);
        peer_sip(&hall, &hall.p[1 + test_random(6)], test_random(600));
        hearing_take(&hall, &hall.p[7], &t[7]);
        CHECK_INT(t[7].chats[0], said);
        CHECK(mps_check(hall.d.s));
    }
    for (u32 i = 1; i < 7; i++) {
        bool abort = mps_tcp_fate(hall.d.s, hall.p[i].l.conn) == MPS_FATE_ABORT;
        peer_unstall(&hall, &hall.p[i]);
        hearing_take(&hall, &hall.p[i], &t[i]);
        CHECK(abort || t[i].closed || t[i].chats[0] == said);
        CHECK(abort || !hall.p[i].spilled);
        closed += t[i].closed;
        aborted += abort;
    }
    CHECK(drive_count(&hall.d, COUNTER_FULL_CHUNKS) > 0);
    *ended += closed;
    *cut += aborted;
    hall_check_empty(&hall);
    hall_stop(&hall);
}

static void rooms_short_of_chunks(void) {
    u32 ended = 0, cut = 0;
    for (u64 seed = 1; seed <= 40; seed++) {
        int failed = checks_failed;
        short_run(seed, &ended, &cut);
        if (checks_failed > failed) {
            printf("seed %u\n", (u32)seed);
            break;
        }
    }
    CHECK(ended > 5 * cut); /* cut off is who is in a frame too long for its own bytes */
}

/* Whatever part of a frame is sent when the rest is cut off, it comes to its end. */
static void rooms_cut(void) {
    for (u32 sent = 0; sent < 480; sent++) {
        mps_config c = hall_config();
        struct hearing t = {0}, good = {0};
        u32 said = 0;
        c.chunks = 12;
        hall_start(&hall, &c);
        rooms_fill(&hall, 3, ROOM_BODY);
        struct peer *slow = &hall.p[1];
        slow->l.stalled = true;
        while (rooms_conn(&hall, slow)->held < 3) {
            chat_say(&hall, &hall.p[0], ++said, 100);
        }
        peer_sip(&hall, slow, sent);
        while (chunks_free(&hall.d.s->conns)) {
            struct peer *f = hall_connect(&hall, "198.51.100.1");
            f->l.stalled = true;
            link_send(&f->l, "GET /healthz HTTP/1.1" END "GET /healthz HTTP/1.1" END);
        }
        chat_say(&hall, &hall.p[0], ++said, 700);
        CHECK_INT(mps_tcp_fate(hall.d.s, slow->l.conn), MPS_FATE_FINISH);
        peer_unstall(&hall, slow);
        hearing_take(&hall, slow, &t);
        CHECK(t.closed && !slow->spilled);
        hearing_take(&hall, &hall.p[2], &good);
        CHECK_INT(good.chats[0], said);
        hall_check_empty(&hall);
        hall_stop(&hall);
    }
}

/* A member leaves whose states are the next to be given to one who catches up: those behind it are
   given all the same. */
static void rooms_catch_up_left(void) {
    char say[512];
    mps_config c = hall_config();
    u32 heard[8] = {0}, from;
    hall_start(&hall, &c);
    rooms_fill(&hall, 8, ROOM_BODY);
    struct peer *slow = &hall.p[0];
    struct rooms *r = &hall.d.s->rooms;
    slow->l.stalled = true;
    for (u32 round = 0; round < 12; round++) {
        for (u32 i = 1; i < 8; i++) {
            snprintf(say, sizeof say, "{'type':'player_state','data':{'position':%u.%0140u}}",
                     round, 1u);
            peer_say(&hall, &hall.p[i], say);
            snprintf(say, sizeof say, "{'type':'player_snapshot','data':{'payload':%u.%0140u}}",
                     round, 1u);
            peer_say(&hall, &hall.p[i], say);
        }
    }
    const struct seat *seat = seat_at(r, rooms_conn(&hall, slow)->socket.seat - 1);
    while (!seat->owed_walks && rooms_conn(&hall, slow)->out_bytes) {
        peer_sip(&hall, slow, 50);
    }
    CHECK(seat->owed_walks && seat->owed_next);
    u32 left = seat_at(r, seat->owed_next - 1)->peer;
    CHECK(left > 2 && left < 8);
    peer_say(&hall, &hall.p[left - 1], LEAVE);
    peer_unstall(&hall, slow);
    for (const char *got = peer_hear(&hall, slow); *got; got = peer_hear(&hall, slow)) {
        u32 round;
        if (sscanf(got, "{\"type\":\"player_state\",\"data\":{\"peerId\":%u,\"position\":%u.",
                   &from, &round) == 2) {
            heard[from - 1] += round == 11;
        }
    }
    for (u32 i = 1; i < 8; i++) {
        CHECK_INT(heard[i], i + 1 != left);
    }
    CHECK(!rooms_conn(&hall, slow)->socket.behind);
    hall_check_empty(&hall);
    hall_stop(&hall);
}

/* All members are full to the brim when their room is closed from outside. */
static void rooms_brim(void) {
    char target[64], id[16], room[ROOM_ID_BYTES + 1];
    mps_config c = hall_config();
    c.settle_max = 16;
    c.connections = c.users = c.seats = 90;
    c.room_players_max = 80;
    c.output_bytes_max = 32768;
    c.fanout_bytes_max = 65536;
    c.chunks = 90 * 33;
    hall_start(&hall, &c);
    snprintf(room, sizeof room, "%s",
             rooms_make(&hall, "p0", "{'gamemode':'g','mapName':'m','maxPlayers':80}"));
    for (u32 i = 0; i < 80; i++) {
        snprintf(id, sizeof id, "p%u", i);
        struct peer *p = hall_open(&hall, "198.51.100.1", id, id);
        CHECK_INT(rooms_join(&hall, p, room, id), i + 1);
    }
    for (u32 i = 1; i < 80; i++) {
        hall.p[i].l.stalled = true;
    }
    u32 free = 40000, cost = 0;
    for (u32 said = 101; free > 2 * cost; said++) { /* numbers of three digits cost the same */
        chat_say(&hall, &hall.p[0], said, 400);
        cost = free - conn_output_free(&hall.d.s->conns, rooms_conn(&hall, &hall.p[1]));
        free -= cost;
    }
    chat_say(&hall, &hall.p[0], 999, 400 + free - cost - 20);
    CHECK_INT(conn_output_free(&hall.d.s->conns, rooms_conn(&hall, &hall.p[1])), 20);
    CHECK_INT(drive_count(&hall.d, COUNTER_CLOSED_SLOW), 0);
    snprintf(target, sizeof target, "/api/rooms/%s", room);
    CHECK_INT(hall_http(&hall, "DELETE", target, "p0", ""), 200);
    CHECK_HEARS(&hall.p[0], KICKED("room_closed"));
    CHECK_INT(drive_count(&hall.d, COUNTER_CLOSED_SLOW), 79);
    for (u32 i = 1; i < 80; i++) {
        peer_unstall(&hall, &hall.p[i]);
        peer_skip(&hall, &hall.p[i]);
        CHECK(hall.p[i].over);
    }
    hall_check_empty(&hall);
    hall_stop(&hall);
}

/* Closing a room takes memory from the very connection that asked for it. */
static void rooms_delete_evicted(void) {
    char request[1536];
    mps_config c = hall_config();
    c.chunks = 12;
    c.cors_origin = "https://a-long-origin.example.org:12345/of/sixty-four-characters";
    hall_start(&hall, &c);
    rooms_fill(&hall, 8, ROOM_BODY);
    snprintf(request, sizeof request,
             "DELETE /api/rooms/%s HTTP/1.1\r\nHost: h\r\n"
             "Authorization: Bearer %s\r\n\r\n",
             room_at(&hall.d.s->rooms, 0)->id, hall_token("p0", "p0"));
    u32 room = c.chunk_bytes ? c.chunk_bytes : 1024, cost = 0;
    for (u32 i = 1; i < 8; i++) {
        hall.p[i].l.stalled = true;
    }
    for (u32 i = 1; i <= 4; i++) {
        chat_say(&hall, &hall.p[0], i, 100);
        cost = rooms_conn(&hall, &hall.p[1])->out_bytes / i;
    }
    chat_say(&hall, &hall.p[0], 5, 100 + room - 20 - 5 * cost);
    CHECK_INT(rooms_conn(&hall, &hall.p[1])->out_bytes, room - 20);
    struct peer *y = hall_connect(&hall, "198.51.100.1");
    y->l.stalled = true;
    while (rooms_conn(&hall, y)->held < 2) {
        link_send(&y->l, "GET /healthz HTTP/1.1" END);
    }
    for (u32 i = 0; i < 3; i++) {
        struct peer *f = hall_connect(&hall, "198.51.100.1");
        f->l.stalled = true;
        link_send(&f->l, "GET /healthz HTTP/1.1" END "GET /healthz HTTP/1.1" END);
    }
    CHECK_INT(chunks_free(&hall.d.s->conns), 0);
    link_send(&y->l, request);
    CHECK_INT(mps_tcp_fate(hall.d.s, y->l.conn), MPS_FATE_ABORT);
    CHECK_INT(hall.d.s->rooms.pool.used, 0);
    CHECK_INT(rooms_conn(&hall, y)->held, 0);
    CHECK_INT(rooms_conn(&hall, y)->out_bytes, 0);
    hall_check_empty(&hall);
    hall_stop(&hall);
}

/* What one message may cost over all members; to one of them it may be as long as any. */
static void rooms_fanout(void) {
    char say[2048], text[1401];
    mps_config c = hall_config();
    c.fanout_bytes_max = 4096;
    hall_start(&hall, &c);
    rooms_fill(&hall, 3, ROOM_BODY);
    memset(text, 'x', 1400);
    text[1400] = 0;
    snprintf(say, sizeof say, "{'type':'chat','data':{'text':'%.400s'}}", text);
    peer_say(&hall, &hall.p[0], say);
    CHECK_INT(peer_count(&hall, &hall.p[1], "chat"), 1);
    CHECK_INT(peer_count(&hall, &hall.p[2], "chat"), 1);
    const char *const longs[] = {
        "'rpc_call','data':{'method':'m','args':", "'player_state','data':{'position':",
        "'player_snapshot','data':{'payload':"};
    for (u32 i = 0; i < COUNT_OF(longs); i++) {
        snprintf(say, sizeof say, "{'type':%s'%s'}}", longs[i], text);
        peer_say(&hall, &hall.p[0], say);
        CHECK_FAULT(&hall.p[0], MPS_E_FANOUT_TOO_LARGE, "");
        CHECK_HEARS(&hall.p[1], "");
    }
    snprintf(say, sizeof say,
             "{'type':'rpc_call','data':{'targetPeer':2,'method':'m','args':'%s'}}", text);
    peer_say(&hall, &hall.p[0], say);
    CHECK_INT(peer_count(&hall, &hall.p[1], "rpc_call"), 1);
    hall_stop(&hall);
}

/* A thousand members and one. */
static void rooms_thousand(void) {
    char room[ROOM_ID_BYTES + 1], id[16];
    mps_config c = hall_config();
    u32 count = 1001;
    c.preset = MPS_PRESET_LARGE;
    c.connections = c.users = 1050;
    c.large_inputs = 2;
    c.rooms = c.lobbies = c.players = c.buckets = 16;
    c.seats = 1050;
    hall_start(&hall, &c);
    snprintf(room, sizeof room, "%s",
             rooms_make(&hall, "p0", "{'gamemode':'g','mapName':'m','maxPlayers':1001}"));
    for (u32 i = 0; i < count; i++) {
        snprintf(id, sizeof id, "p%u", i);
        struct peer *p = hall_open(&hall, "198.51.100.1", id, id);
        snprintf(id, sizeof id, "'name':'p%u'", i);
        rooms_say_join(&hall, p, room, id);
    }
    struct peer *late = hall_open(&hall, "198.51.100.1", "late", "late");
    rooms_say_join(&hall, late, room, "'name':'late'");
    CHECK_FAULT(late, MPS_E_ROOM_FULL, "");
    /* The last one's answer names all of them, in order. */
    const char *at = peer_hear(&hall, &hall.p[count - 1]);
    for (u32 i = 0; i < count && at; i++) {
        char want[80];
        snprintf(want, sizeof want, "{\"peerId\":%u,\"name\":\"p%u\",\"isHost\":%s}", i + 1, i,
                 i ? "false" : "true");
        at = strstr(at, want);
        at = at ? at + strlen(want) : at;
    }
    CHECK(at && strncmp(at, "],\"gamemode\":\"g\"", 16) == 0);
    for (u32 i = 0; i + 1 < count; i++) { /* each heard of all who came later, in order */
        CHECK(strncmp(peer_hear(&hall, &hall.p[i]), "{\"type\":\"room_joined\"", 21) == 0);
        for (u32 k = i + 1; k < count; k += i % 100 ? count : 1) {
            char want[80];
            snprintf(want, sizeof want, "{'type':'peer_joined','data':{'peerId':%u,'name':'p%u'}}",
                     k + 1, k);
            CHECK_HEARS(&hall.p[i], want);
        }
    }
    hall_skip(&hall);
    hall.p[7].l.stalled = true;
    peer_say(&hall, &hall.p[500], "{'type':'chat','data':{'text':'hello'}}");
    for (u32 i = 0; i < count; i++) {
        CHECK_HEARS(&hall.p[i],
                    i == 500 || i == 7
                        ? ""
                        : "{'type':'chat','data':{'from':501,'fromName':'p500','text':'hello'}}");
    }
    peer_unstall(&hall, &hall.p[7]);
    CHECK_INT(peer_count(&hall, &hall.p[7], "chat"), 1);
    peer_say(&hall, &hall.p[0], LEAVE);
    CHECK_HEARS(&hall.p[1000], LEFT("1"));
    CHECK_HEARS(&hall.p[1000], NEW_HOST("2", "p1"));
    CHECK_HEARS(&hall.p[0], "");
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
    {"resume", rooms_resume},
    {"bans", rooms_bans},
    {"delete", rooms_delete},
    {"delete_counts", rooms_delete_counts},
    {"changed", rooms_changed},
    {"full_seats", rooms_full_seats},
    {"relay", rooms_relay},
    {"behind", rooms_behind},
    {"behind_long", rooms_behind_long},
    {"behind_random", rooms_behind_random},
    {"overflow", rooms_overflow},
    {"short_of_chunks", rooms_short_of_chunks},
    {"cut", rooms_cut},
    {"catch_up_left", rooms_catch_up_left},
    {"brim", rooms_brim},
    {"delete_evicted", rooms_delete_evicted},
    {"fanout", rooms_fanout},
    {"thousand", rooms_thousand},
};

/* Rooms at random, against a model. Peers come, sit down, talk, stall, drop and come back, and time
   passes; the model, which knows nothing of how the server does it, says who sits where, who is
   host and what each peer has to hear: events in order, without gap or duplicate, up to the close
   of a socket; of states never an older one, and the newest when all has drained. */

enum { CROWD_PEERS = 14, CROWD_USERS = 8, CROWD_ROOMS = 4, CROWD_SEATS = 8, CROWD_IDS = 512 };

static const char *const crowd_addresses[] = {"198.51.100.1", "203.0.113.7", "2001:db8::1"};

struct crowd_seat {
    u32 user, id; /* id: as a peer of its room */
    int peer;     /* of the crowd; -1: dropped */
    u64 due;
    u32 address;             /* of its socket, also when that has dropped */
    char name[8], token[33]; /* "": not heard yet */
};

struct crowd_room {
    char id[37], gamemode[4]; /* id "": none */
    bool confirmed, is_public;
    u32 slot, maker, host, next, members, max; /* maker: user + 1; host: peer id */
    u64 due;
    u32 users_barred, addresses_barred, bans;
    struct crowd_seat seats[CROWD_SEATS]; /* in the order of joining */
};

struct crowd_peer {
    int user, room; /* -1: anonymous; in none */
    u32 address;
    bool open, stalled_once; /* as far as the model knows; whether it may be found slow */
    char *wants[2048];       /* what it has yet to hear, from `heard` on */
    u32 wants_count, heard;
    char token[33];
    u32 since;                                    /* states from this one on are for it */
    u32 said[CROWD_IDS][2], newest[CROWD_IDS][2]; /* to it; by it */
    bool gone[CROWD_IDS];
};

struct crowd {
    struct crowd_room rooms[CROWD_ROOMS];
    struct crowd_peer p[CROWD_PEERS];
    int own[CROWD_USERS]; /* the room that counts as the user's; -1: none */
    u32 seats, bans, number, slow, heard, resumed, held, full;
    bool scarce; /* of chunks: anybody may be closed as slow */
};

static struct crowd crowd;

/* -- what is to be heard -- */

static void crowd_want_raw(u32 peer, const char *text) {
    struct crowd_peer *p = &crowd.p[peer];
    CHECK(p->wants_count < COUNT_OF(p->wants));
    p->wants[p->wants_count] = malloc(strlen(text) + 1);
    memcpy(p->wants[p->wants_count++], text, strlen(text) + 1);
}

static void crowd_want(u32 peer, const char *text) {
    char quoted[2048];
    peer_quotes(quoted, sizeof quoted, text);
    crowd_want_raw(peer, quoted);
}

static void crowd_want_fault(u32 peer, mps_error error) {
    char text[512];
    snprintf(text, sizeof text,
             "{\"type\":\"error\",\"data\":{\"reason\":\"%s\",\"message\":\"%s\"}}",
             mps_error_code(error), mps_error_text(error));
    crowd_want_raw(peer, text);
}

static void crowd_forget(struct crowd_peer *p) {
    for (u32 i = 0; i < p->wants_count; i++) {
        free(p->wants[i]);
    }
    p->wants_count = p->heard = 0;
}

/* To all of a room but one, as far as they are here. */
static void crowd_tell(const struct crowd_room *r, int except, const char *text) {
    for (u32 i = 0; i < r->members; i++) {
        if (r->seats[i].peer >= 0 && r->seats[i].peer != except) {
            crowd_want((u32)r->seats[i].peer, text);
        }
    }
}

/* A state heard: said to it, by one who is there, and not older than the last. The same may come
   twice to one that is being given what it missed while the sender goes on. */
static void crowd_heard_state(struct crowd_peer *p, u32 id, u32 kind, u32 number) {
    CHECK(id < CROWD_IDS && number >= p->since && number <= crowd.number);
    CHECK(number >= p->newest[id][kind]);
    CHECK(!p->gone[id]);
    p->newest[id][kind] = number;
}

/* One message, not a state: what is due next. `got` of announcements is passed over. */
static void crowd_heard(u32 peer, const char *got) {
    struct crowd_peer *p = &crowd.p[peer];
    u32 id;
    if (strncmp(got, "{\"type\":\"user_o", 15) == 0 || strcmp(got, "ping") == 0 ||
        strcmp(got, "{\"type\":\"rooms_changed\",\"data\":{}}") == 0) {
        return;
    }
    CHECK(p->heard < p->wants_count);
    const char *want = p->heard < p->wants_count ? p->wants[p->heard++] : "nothing";
    crowd.heard++;
    check_text(got, strlen(got), want, "crowd", __FILE__, __LINE__);
    if (sscanf(got, "{\"type\":\"peer_left\",\"data\":{\"peerId\":%u", &id) == 1) {
        p->gone[id] = true;
    }
}

/* room_joined or room_created: what was heard of the room before is of no interest. Marks stand in
   front of the text: how many states had been said. */
static bool crowd_heard_joined(u32 peer, const char *got) {
    struct crowd_peer *p = &crowd.p[peer];
    if (strncmp(got, "{\"type\":\"room_", 14) != 0 || p->heard == p->wants_count) {
        return false;
    }
    char *want = p->wants[p->heard++], *text = strchr(want, '{');
    const char *token = strstr(got, "\"resumeToken\":\"");
    CHECK(text != NULL);
    size_t bytes = text ? strlen(text) : 0;
    CHECK(text && strncmp(got, text, bytes) == 0);
    if (text && strncmp(got, text, bytes) != 0) {
        printf("heard %s\nnot   %s\n", got, text);
    }
    p->since = (u32)atoi(want);
    memset(p->newest, 0, sizeof p->newest);
    memset(p->gone, 0, sizeof p->gone);
    if (token) {
        snprintf(p->token, sizeof p->token, "%.32s", token + 15);
    }
    return true;
}

static void crowd_listen(u32 peer) {
    struct crowd_peer *p = &crowd.p[peer];
    const char *got;
    u32 id, number;
    while (*(got = peer_hear(&hall, &hall.p[peer]))) {
        if (sscanf(got, "{\"type\":\"player_state\",\"data\":{\"peerId\":%u,\"position\":%u", &id,
                   &number) == 2) {
            crowd_heard_state(p, id, 0, number);
        } else if (sscanf(got, "{\"type\":\"player_snapshot\",\"data\":{\"from\":%u,\"payload\":%u",
                          &id, &number) == 2) {
            crowd_heard_state(p, id, 1, number);
        } else if (strcmp(got, "close 1013 slow_reader") == 0) {
            CHECK(crowd.scarce || p->stalled_once);
            p->heard = p->wants_count;
            crowd.slow++;
        } else if (!crowd_heard_joined(peer, got)) {
            crowd_heard(peer, got);
        }
    }
}

/* -- seats -- */

static struct crowd_seat *crowd_seat_of(struct crowd_room *r, u32 user) {
    for (u32 i = 0; i < r->members; i++) {
        if (r->seats[i].user == user) {
            return &r->seats[i];
        }
    }
    return NULL;
}

static struct crowd_seat *crowd_seat_at(struct crowd_room *r, u32 id) {
    for (u32 i = 0; i < r->members; i++) {
        if (r->seats[i].id == id) {
            return &r->seats[i];
        }
    }
    return NULL;
}

static struct crowd_room *crowd_room_of(u32 peer) {
    return crowd.p[peer].room < 0 ? NULL : &crowd.rooms[crowd.p[peer].room];
}

static u32 crowd_id(u32 peer) {
    struct crowd_room *r = crowd_room_of(peer);
    return crowd_seat_of(r, (u32)crowd.p[peer].user)->id;
}

static void crowd_close_room(struct crowd_room *r) {
    for (u32 i = 0; i < r->members; i++) {
        if (r->seats[i].peer >= 0) {
            crowd.p[r->seats[i].peer].room = -1;
        }
    }
    if (r->maker) {
        crowd.own[r->maker - 1] = -1;
    }
    crowd.seats -= r->members;
    crowd.bans -= r->bans;
    memset(r, 0, sizeof *r);
}

/* A seat ends; the others hear of it. */
static void crowd_part(struct crowd_room *r, u32 id) {
    char text[128];
    struct crowd_seat *seat = crowd_seat_at(r, id);
    if (seat->peer >= 0) {
        crowd.p[seat->peer].room = -1;
    }
    if (r->maker == seat->user + 1) {
        crowd.own[seat->user] = -1;
        r->maker = 0;
    }
    u32 at = (u32)(seat - r->seats);
    memmove(seat, seat + 1, (--r->members - at) * sizeof *seat);
    crowd.seats--;
    if (!r->members) {
        crowd_close_room(r);
        return;
    }
    snprintf(text, sizeof text, LEFT("%u"), id);
    crowd_tell(r, -1, text);
    if (r->host == id) {
        const struct crowd_seat *next = &r->seats[0];
        for (u32 i = r->members; i-- > 0;) {
            next = r->seats[i].peer >= 0 ? &r->seats[i] : next;
        }
        r->host = next->id;
        snprintf(text, sizeof text, NEW_HOST("%u", "%s"), next->id, next->name);
        crowd_tell(r, -1, text);
    }
}

static void crowd_attach(struct crowd_room *r, struct crowd_seat *seat, u32 peer, bool created) {
    char text[2048];
    struct crowd_peer *p = &crowd.p[peer];
    seat->peer = (int)peer;
    seat->address = crowd.p[peer].address;
    seat->token[0] = 0;
    p->room = (int)(r - crowd.rooms);
    p->token[0] = 0;
    memset(p->said, 0, sizeof p->said);
    int at = snprintf(text, sizeof text, "%u {'type':'room_%s','data':{'roomId':'%s','peerId':%u,",
                      crowd.number + 1, created ? "created" : "joined", r->id, seat->id);
    if (created) {
        snprintf(text + at, sizeof text - (size_t)at, "'gamemode':'%s','mapName':''}}",
                 r->gamemode);
        crowd_want(peer, text);
        return;
    }
    for (u32 i = 0; i < r->members; i++) {
        at +=
            snprintf(text + at, sizeof text - (size_t)at, "%s{'peerId':%u,'name':'%s','isHost':%s}",
                     i ? "," : "'members':[", r->seats[i].id, r->seats[i].name,
                     r->host == r->seats[i].id ? "true" : "false");
    }
    snprintf(text + at, sizeof text - (size_t)at, "],'gamemode':'%s','mapName':'','resumeToken':'",
             r->gamemode);
    crowd_want(peer, text);
}

static void crowd_sit(struct crowd_room *r, u32 peer, const char *name, bool created) {
    char text[128];
    struct crowd_seat *seat = &r->seats[r->members++];
    CHECK(r->members <= CROWD_SEATS && r->next + 1 < CROWD_IDS);
    *seat = (struct crowd_seat){.user = (u32)crowd.p[peer].user, .id = ++r->next, .peer = -1};
    snprintf(seat->name, sizeof seat->name, "%s", name);
    r->host = r->confirmed ? r->host : seat->id;
    r->confirmed = true;
    crowd.seats++;
    crowd_attach(r, seat, peer, created);
    snprintf(text, sizeof text, "{'type':'peer_joined','data':{'peerId':%u,'name':'%s'}}", seat->id,
             name);
    crowd_tell(r, (int)peer, text);
}

static void crowd_resume(struct crowd_room *r, struct crowd_seat *seat, u32 peer) {
    if (seat->peer >= 0) {
        struct crowd_peer *old = &crowd.p[seat->peer];
        crowd_want((u32)seat->peer, "close 4001 resumed_elsewhere");
        old->room = -1;
        old->open = false;
    }
    crowd.resumed++;
    crowd_attach(r, seat, peer, false);
}

/* Its socket is over: the seat is kept. */
static void crowd_dropped(u32 peer) {
    struct crowd_room *r = crowd_room_of(peer);
    crowd.p[peer].open = false;
    if (r) {
        struct crowd_seat *seat = crowd_seat_of(r, (u32)crowd.p[peer].user);
        seat->peer = -1;
        seat->due = hall.d.now + 30 * S_US;
        crowd.p[peer].room = -1;
    }
}

/* A room that the server has and the model has not: it was just made. */
static struct crowd_room *crowd_find_new(u32 maker) {
    const struct rooms *rooms = &hall.d.s->rooms;
    for (u32 i = 0; i < rooms->pool.capacity; i++) {
        const struct room *room = room_at(rooms, i);
        struct crowd_room *free = NULL;
        bool known = !pool_alive(&rooms->pool, i);
        for (u32 k = 0; k < CROWD_ROOMS; k++) {
            known |= strcmp(crowd.rooms[k].id, room->id) == 0;
            free = crowd.rooms[k].id[0] ? free : &crowd.rooms[k];
        }
        if (!known && free) {
            snprintf(free->id, sizeof free->id, "%s", room->id);
            free->slot = i;
            free->is_public = true;
            free->due = hall.d.now + 60 * S_US;
            free->max = CROWD_SEATS;
            if (crowd.own[maker] < 0) {
                free->maker = maker + 1;
                crowd.own[maker] = (int)(free - crowd.rooms);
            }
            return free;
        }
    }
    return NULL;
}

/* -- ties: what the server did in one moment has an order that only those who heard it know -- */

/* Where in what a peer has yet to hear this stands; SIZE_MAX: nowhere. */
static size_t crowd_peek(u32 peer, const char *text) {
    static char all[40000];
    char quoted[128];
    const struct link_test *l = &hall.p[peer].l;
    mps_span spans[64];
    size_t bytes = l->out_bytes - hall.p[peer].at;
    peer_quotes(quoted, sizeof quoted, text);
    memcpy(all, l->out + hall.p[peer].at, bytes);
    size_t count = l->closed ? 0 : mps_tcp_output(hall.d.s, l->conn, spans, 64);
    for (size_t i = 0; i < count; i++) {
        memcpy(all + bytes, spans[i].bytes, spans[i].count);
        bytes += spans[i].count;
    }
    for (size_t i = 0; i + strlen(quoted) <= bytes; i++) {
        if (memcmp(all + i, quoted, strlen(quoted)) == 0) {
            return i;
        }
    }
    return SIZE_MAX;
}

/* Of the seats in `ids`, the index of the one that went first, by one who heard of them. */
static u32 crowd_first(const struct crowd_room *r, const u32 *ids, u32 count) {
    char text[64];
    u32 first = 0;
    for (u32 k = 0; k < r->members; k++) {
        size_t best = SIZE_MAX;
        bool among = false;
        for (u32 i = 0; i < count; i++) {
            among |= r->seats[k].id == ids[i];
        }
        for (u32 i = 0; i < count && !among && r->seats[k].peer >= 0; i++) {
            snprintf(text, sizeof text, LEFT("%u"), ids[i]);
            size_t at = crowd_peek((u32)r->seats[k].peer, text);
            first = at < best ? i : first;
            best = size_min(at, best);
        }
        if (best != SIZE_MAX) {
            break;
        }
    }
    return first;
}

/* These end, in whatever order; `kicked`: and are told so. */
static void crowd_part_all(struct crowd_room *r, u32 *ids, u32 count, const char *kicked) {
    while (count) {
        u32 i = crowd_first(r, ids, count), id = ids[i];
        const struct crowd_seat *seat = crowd_seat_at(r, id);
        if (kicked && seat->peer >= 0) {
            crowd_want((u32)seat->peer, kicked);
        }
        ids[i] = ids[--count];
        crowd_part(r, id);
    }
}

/* -- time -- */

/* Who was closed by the server is dropped from here on. */
static void crowd_look(void) {
    for (u32 i = 0; i < CROWD_PEERS; i++) {
        if (crowd.p[i].open && mps_tcp_fate(hall.d.s, hall.p[i].l.conn) != MPS_FATE_OPEN) {
            CHECK(crowd.scarce || crowd.p[i].stalled_once);
            crowd_dropped(i);
        }
    }
}

static void crowd_due(u64 now) {
    for (u32 k = 0; k < CROWD_ROOMS; k++) {
        struct crowd_room *r = &crowd.rooms[k];
        u32 ids[CROWD_SEATS], count = 0;
        if (r->id[0] && !r->confirmed && r->due == now) {
            crowd_close_room(r);
        }
        for (u32 i = 0; i < r->members; i++) {
            if (r->seats[i].peer < 0 && r->seats[i].due == now) {
                ids[count++] = r->seats[i].id;
            }
        }
        crowd_part_all(r, ids, count, NULL);
    }
}

static u64 crowd_next_due(void) {
    u64 next = NEVER;
    for (u32 k = 0; k < CROWD_ROOMS; k++) {
        const struct crowd_room *r = &crowd.rooms[k];
        next = r->id[0] && !r->confirmed && r->due < next ? r->due : next;
        for (u32 i = 0; i < r->members; i++) {
            next = r->seats[i].peer < 0 && r->seats[i].due < next ? r->seats[i].due : next;
        }
    }
    return next;
}

/* From one deadline of the server to the next: a socket may be closed at any of them, and its seat
   is kept from then on. */
static void crowd_time(u64 us) {
    u64 end = hall.d.now + us;
    while (hall.d.now < end) {
        u64 due = crowd_next_due(), deadline = mps_deadline(hall.d.s);
        u64 next = deadline > hall.d.now && deadline < end ? deadline : end;
        next = due < next ? due : next;
        hall_run(&hall, next - hall.d.now - 1);
        crowd_look();
        hall_run(&hall, 1);
        if (next == due) {
            crowd_due(due);
        }
        crowd_look();
    }
}

/* -- what peers do -- */

static void crowd_connect(u32 peer) {
    struct crowd_peer *p = &crowd.p[peer];
    char request[1536], id[8];
    crowd_forget(p);
    memset(p, 0, sizeof *p);
    link_close(&hall.p[peer].l);
    memset(&hall.p[peer], 0, sizeof hall.p[peer]);
    p->user = (int)test_random(CROWD_USERS + 1) - 1;
    p->room = -1;
    p->address = test_random((u32)COUNT_OF(crowd_addresses));
    link_open(&hall.d, &hall.p[peer].l, crowd_addresses[p->address]);
    if (hall.p[peer].l.closed) {
        return;
    }
    snprintf(id, sizeof id, "u%d", p->user);
    snprintf(request, sizeof request, "GET /ws%s%s HTTP/1.1" UPGRADE,
             p->user < 0 ? "" : "?token=", p->user < 0 ? "" : hall_token(id, id));
    int status = peer_upgrade(&hall, &hall.p[peer], request);
    p->open = status == 101 && mps_tcp_fate(hall.d.s, hall.p[peer].l.conn) == MPS_FATE_OPEN;
    CHECK(p->open || crowd.scarce);
    if (!p->open) {
        peer_drop(&hall, &hall.p[peer]);
    }
}

/* Says it if its output lets it; what the model makes of it is the caller's. */
static bool crowd_say(u32 peer, const char *text) {
    if (mps_tcp_room(hall.d.s, hall.p[peer].l.conn) < strlen(text) + 8) {
        return false;
    }
    CHECK_INT(peer_say(&hall, &hall.p[peer], text), 0);
    return true;
}

static void crowd_do_create(u32 peer) {
    struct crowd_peer *p = &crowd.p[peer];
    char name[16];
    if (!crowd_say(peer, "{'type':'create_room'}")) {
        return;
    }
    if (p->user < 0) {
        crowd_want_fault(peer, MPS_E_AUTH_REQUIRED);
    } else if (p->room >= 0) {
        crowd_want_fault(peer, MPS_E_ALREADY_IN_ROOM);
    } else if (crowd.own[p->user] < 0 || crowd.rooms[crowd.own[p->user]].confirmed) {
        crowd_want_fault(peer, MPS_E_NO_ROOM_FOUND);
    } else if (crowd.seats == hall.d.s->config.seats) {
        crowd_want_fault(peer, MPS_E_SEATS_FULL);
    } else {
        snprintf(name, sizeof name, "u%d", p->user);
        crowd_sit(&crowd.rooms[crowd.own[p->user]], peer, name, true);
    }
}

static bool crowd_barred(const struct crowd_room *r, const struct crowd_peer *p) {
    return (r->users_barred >> p->user & 1) || (r->addresses_barred >> p->address & 1);
}

static void crowd_joins(u32 peer, struct crowd_room *r, const char *token, const char *name) {
    struct crowd_peer *p = &crowd.p[peer];
    if (p->user < 0) {
        crowd_want_fault(peer, MPS_E_AUTH_REQUIRED);
        return;
    }
    struct crowd_seat *mine = crowd_seat_of(r, (u32)p->user);
    if (p->room >= 0) {
        crowd_want_fault(peer, MPS_E_ALREADY_IN_ROOM);
    } else if (!r->id[0]) {
        crowd_want_fault(peer, MPS_E_ROOM_NOT_FOUND);
    } else if (!r->confirmed && r->maker != (u32)p->user + 1) {
        crowd_want_fault(peer, MPS_E_ROOM_UNCONFIRMED);
    } else if (crowd_barred(r, p) && !(mine && mine->id == r->host)) {
        crowd_want_fault(peer, MPS_E_BANNED);
    } else if (*token && mine && strcmp(mine->token, token) == 0) {
        crowd_resume(r, mine, peer);
    } else if (*token) {
        crowd_want_fault(peer, MPS_E_RESUME_INVALID);
    } else if (mine && mine->peer >= 0) {
        crowd_want_fault(peer, MPS_E_ALREADY_IN_ROOM);
    } else if (mine) {
        crowd_resume(r, mine, peer);
    } else if (r->members == r->max) {
        crowd_want_fault(peer, MPS_E_ROOM_FULL);
    } else if (crowd.seats == hall.d.s->config.seats) {
        crowd_want_fault(peer, MPS_E_SEATS_FULL);
    } else {
        crowd_sit(r, peer, name, false);
    }
}

/* Tokens are known to the seat's own peer once it has heard them, and to those who come after. */
static void crowd_learn_tokens(void) {
    for (u32 i = 0; i < CROWD_PEERS; i++) {
        struct crowd_room *r = crowd.p[i].open ? crowd_room_of(i) : NULL;
        if (r && crowd.p[i].token[0] && crowd.p[i].heard == crowd.p[i].wants_count) {
            memcpy(crowd_seat_of(r, (u32)crowd.p[i].user)->token, crowd.p[i].token, 33);
        }
    }
}

static void crowd_do_join(u32 peer) {
    struct crowd_room *r = &crowd.rooms[test_random(CROWD_ROOMS)];
    char say[256], name[8], token[33] = "";
    r = r->id[0] ? r : &crowd.rooms[test_random(CROWD_ROOMS)];
    if (test_random(3) == 0 && r->members) { /* somebody's, perhaps its own */
        memcpy(token, r->seats[test_random(r->members)].token, 33);
    }
    snprintf(name, sizeof name, "n%u", test_random(1000));
    snprintf(say, sizeof say,
             "{'type':'join_room','data':{'roomId':'%s','name':'%s','resumeToken':'%s'}}",
             r->id[0] ? r->id : "x", name, token);
    if (crowd_say(peer, say)) {
        crowd_joins(peer, r, token, name);
    }
}

static void crowd_do_quick(u32 peer) {
    struct crowd_peer *p = &crowd.p[peer];
    struct crowd_room *best = NULL;
    if (!crowd_say(peer, "{'type':'quick_join','data':{'gamemode':'g','name':'q'}}")) {
        return;
    }
    u32 rooms = 0;
    for (u32 k = 0; k < CROWD_ROOMS; k++) {
        struct crowd_room *r = &crowd.rooms[k];
        rooms += r->id[0] != 0;
        if (!r->confirmed || !r->is_public || strcmp(r->gamemode, "g") != 0 ||
            r->members == r->max || p->user < 0 || crowd_barred(r, p) ||
            crowd_seat_of(r, (u32)p->user)) {
            continue;
        }
        bool better = !best || r->members > best->members ||
                      (r->members == best->members && r->slot < best->slot);
        best = better ? r : best;
    }
    if (p->user < 0) {
        crowd_want_fault(peer, MPS_E_AUTH_REQUIRED);
    } else if (p->room >= 0) {
        crowd_want_fault(peer, MPS_E_ALREADY_IN_ROOM);
    } else if (!best && rooms == CROWD_ROOMS) {
        crowd_want_fault(peer, MPS_E_ROOMS_FULL);
    } else if (crowd.seats == hall.d.s->config.seats) {
        crowd_want_fault(peer, MPS_E_SEATS_FULL);
    } else {
        best = best ? best : crowd_find_new((u32)p->user);
        CHECK(best != NULL);
        snprintf(best->gamemode, sizeof best->gamemode, "g");
        crowd_sit(best, peer, "q", false);
    }
}

/* Needs a seat; the fault if it has none. */
static bool crowd_seated(u32 peer) {
    if (crowd.p[peer].user < 0) {
        crowd_want_fault(peer, MPS_E_AUTH_REQUIRED);
    } else if (crowd.p[peer].room < 0) {
        crowd_want_fault(peer, MPS_E_NOT_IN_ROOM);
    }
    return crowd.p[peer].room >= 0;
}

static void crowd_do_leave(u32 peer) {
    if (crowd_say(peer, LEAVE) && crowd_seated(peer)) {
        crowd_part(crowd_room_of(peer), crowd_id(peer));
    }
}

static void crowd_do_chat(u32 peer) {
    char say[512], text[512];
    int pad = test_random(4) ? 1 : 130;
    u32 number = test_random(1000000);
    snprintf(say, sizeof say, "{'type':'chat','data':{'text':'%0*u'}}", pad, number);
    if (crowd_say(peer, say) && crowd_seated(peer)) {
        struct crowd_room *r = crowd_room_of(peer);
        snprintf(text, sizeof text,
                 "{'type':'chat','data':{'from':%u,'fromName':'%s','text':'%0*u'}}", crowd_id(peer),
                 crowd_seat_of(r, (u32)crowd.p[peer].user)->name, pad, number);
        crowd_tell(r, (int)peer, text);
    }
}

static void crowd_do_rpc(u32 peer) {
    char say[256], text[256];
    struct crowd_room *r = crowd_room_of(peer);
    u32 target = test_random(3) && r ? test_random(r->next + 2) : 0, number = test_random(1000000);
    snprintf(say, sizeof say, "{'type':'rpc_call','data':{'targetPeer':%u,'method':'m','args':%u}}",
             target, number);
    if (!crowd_say(peer, say) || !crowd_seated(peer)) {
        return;
    }
    const struct crowd_seat *seat = target ? crowd_seat_at(r, target) : NULL;
    snprintf(text, sizeof text, "{'type':'rpc_call','data':{'fromPeer':%u,'method':'m','args':%u}}",
             crowd_id(peer), number);
    if (!target) {
        crowd_tell(r, (int)peer, text);
    } else if (!seat) {
        crowd_want_fault(peer, MPS_E_INVALID_TARGET);
    } else if (seat->peer >= 0) {
        crowd_want((u32)seat->peer, text);
    }
}

static void crowd_do_state(u32 peer) {
    char say[512];
    u32 kind = test_random(2), pad = test_random(30) ? 1 : 150;
    snprintf(say, sizeof say,
             kind ? "{'type':'player_snapshot','data':{'payload':%u.%0*u}}"
                  : "{'type':'player_state','data':{'position':%u.%0*u}}",
             crowd.number + 1, (int)pad, 1u);
    if (!crowd_say(peer, say)) {
        return;
    }
    crowd.number++;
    struct crowd_room *r = crowd_seated(peer) ? crowd_room_of(peer) : NULL;
    for (u32 i = 0; r && i < r->members; i++) {
        if (r->seats[i].peer >= 0 && r->seats[i].peer != (int)peer) {
            crowd.p[r->seats[i].peer].said[crowd_id(peer)][kind] = crowd.number;
        }
    }
}

static void crowd_do_remove(u32 peer, bool ban) {
    char say[128];
    struct crowd_room *r = crowd_room_of(peer);
    u32 target = r ? test_random(r->next + 2) : 1;
    snprintf(say, sizeof say, "{'type':'%s','data':{'peerId':%u}}", ban ? "ban" : "kick", target);
    if (!crowd_say(peer, say) || !crowd_seated(peer)) {
        return;
    }
    struct crowd_seat *seat = crowd_seat_at(r, target);
    if (r->host != crowd_id(peer)) {
        crowd_want_fault(peer, MPS_E_NOT_HOST);
    } else if (!seat || seat->id == r->host) {
        crowd_want_fault(peer, MPS_E_INVALID_TARGET);
    } else if (ban && crowd.bans == hall.d.s->config.bans) {
        crowd_want_fault(peer, MPS_E_BANS_FULL);
    } else {
        if (ban) {
            r->users_barred |= 1u << seat->user;
            r->bans++;
            crowd.bans++;
        }
        crowd_part_all(r, &target, 1, ban ? KICKED("host_ban") : KICKED("host_kick"));
    }
}

static void crowd_do_ban_address(u32 peer) {
    char say[128];
    struct crowd_room *r = crowd_room_of(peer);
    u32 address = test_random((u32)COUNT_OF(crowd_addresses)), ids[CROWD_SEATS], count = 0;
    snprintf(say, sizeof say, "{'type':'ban','data':{'ip':'%s'}}", crowd_addresses[address]);
    if (!crowd_say(peer, say) || !crowd_seated(peer)) {
        return;
    }
    if (r->host != crowd_id(peer)) {
        crowd_want_fault(peer, MPS_E_NOT_HOST);
        return;
    }
    if (crowd.bans == hall.d.s->config.bans) {
        crowd_want_fault(peer, MPS_E_BANS_FULL);
        return;
    }
    r->addresses_barred |= 1u << address;
    r->bans++;
    crowd.bans++;
    for (u32 i = 0; i < r->members; i++) {
        if (r->seats[i].peer != (int)peer && r->seats[i].address == address) {
            ids[count++] = r->seats[i].id;
        }
    }
    crowd_part_all(r, ids, count, KICKED("host_ban"));
}

static void crowd_do_http(void) {
    u32 user = test_random(CROWD_USERS);
    char id[8], target[64];
    struct crowd_room *r = &crowd.rooms[test_random(CROWD_ROOMS)];
    snprintf(id, sizeof id, "u%u", user);
    if (test_random(4)) {
        bool other = test_random(3) == 0;
        u32 rooms = 0;
        for (u32 k = 0; k < CROWD_ROOMS; k++) {
            rooms += crowd.rooms[k].id[0] != 0;
        }
        int status = hall_http(&hall, "POST", "/api/rooms", id,
                               other ? "{'gamemode':'o','isPublic':false}" : "{'gamemode':'g'}");
        int want = crowd.own[user] >= 0 ? 400 : rooms == CROWD_ROOMS ? 409 : 201;
        CHECK(status == want || crowd.scarce);
        r = want == 201 ? crowd_find_new(user) : NULL;
        CHECK(want != 201 || r || crowd.scarce);
        if (r) {
            snprintf(r->gamemode, sizeof r->gamemode, other ? "o" : "g");
            r->is_public = !other;
        }
        return;
    }
    snprintf(target, sizeof target, "/api/rooms/%s", r->id[0] ? r->id : "x");
    const struct crowd_seat *host = crowd_seat_at(r, r->host);
    bool may = r->id[0] && (host ? host->user == user : r->maker == user + 1);
    int status = hall_http(&hall, "DELETE", target, id, "");
    CHECK(crowd.scarce || status == (may ? 200 : r->id[0] ? 403 : 404));
    bool gone = r->id[0] && !room_find(&hall.d.s->rooms, span_z(r->id));
    CHECK(gone == may || crowd.scarce);
    if (gone) {
        crowd_tell(r, -1, KICKED("room_closed"));
        crowd_close_room(r);
    }
}

static void crowd_do_drop(u32 peer) {
    crowd_dropped(peer);
    if (test_random(2)) {
        peer_drop(&hall, &hall.p[peer]);
    } else {
        mps_tcp_eof(drive_server(&hall.d), hall.p[peer].l.conn, hall.d.now);
        hall_run(&hall, 0);
    }
}

static void crowd_shake(u32 peer) {
    char text[160];
    if (crowd_say(peer, "{'type':'handshake','data':{'version':'1','name':'x'}}")) {
        snprintf(text, sizeof text,
                 crowd.p[peer].user < 0 ? "{'type':'handshake_accepted','data':{'peer_id':0,"
                                          "'user_id':null,'username':'x'}}"
                                        : "{'type':'handshake_accepted','data':{'peer_id':0,"
                                          "'user_id':'u%d','username':'u%d'}}",
                 crowd.p[peer].user, crowd.p[peer].user);
        crowd_want(peer, text);
    }
}

static void crowd_talk(u32 peer, u32 what) {
    if (what < 6) {
        crowd_do_join(peer);
    } else if (what < 8) {
        crowd_do_quick(peer);
    } else if (what < 10) {
        crowd_do_create(peer);
    } else if (what < 11) {
        test_random(3) ? crowd_do_chat(peer) : crowd_do_leave(peer);
    } else if (what < 12 && test_random(2)) {
        test_random(4) ? crowd_do_remove(peer, test_random(2)) : crowd_do_ban_address(peer);
    } else if (what < 13) {
        crowd_shake(peer);
    } else if (what < 30) {
        crowd_do_state(peer);
    } else if (what < 38) {
        for (u32 i = test_random(5) ? 1 : test_random(50); i && crowd.p[peer].open; i--) {
            crowd_do_chat(peer);
            crowd_look();
        }
    } else {
        crowd_do_rpc(peer);
    }
}

/* All read, and have heard what they had to; the newest states too. */
static void crowd_settle(void) {
    for (u32 i = 0; i < CROWD_PEERS; i++) {
        if (hall.p[i].l.conn.id && !hall.p[i].l.closed) {
            peer_unstall(&hall, &hall.p[i]);
        }
    }
    crowd_look();
    for (u32 i = 0; i < CROWD_PEERS; i++) {
        struct crowd_peer *p = &crowd.p[i];
        const struct crowd_room *r = p->open ? crowd_room_of(i) : NULL;
        crowd_listen(i);
        CHECK(!p->open || p->heard == p->wants_count);
        CHECK(!p->open || !hall.p[i].spilled);
        for (u32 k = 0; r && k < r->members; k++) {
            u32 id = r->seats[k].id;
            CHECK_INT(p->newest[id][0], p->said[id][0]);
            CHECK_INT(p->newest[id][1], p->said[id][1]);
        }
        p->stalled_once = false;
    }
}

static void crowd_step(void) {
    u32 peer = test_random(CROWD_PEERS), what = test_random(60);
    struct link_test *l = &hall.p[peer].l;
    hall.d.now++; /* no two steps in one moment */
    if (!crowd.p[peer].open) {
        if (l->conn.id && !l->closed && test_random(3)) {
            peer_unstall(&hall, &hall.p[peer]); /* hears why */
        } else {
            crowd_connect(peer);
        }
    } else if (what < 44) {
        crowd_talk(peer, what);
    } else if (what < 46) {
        crowd_do_http();
    } else if (what < 48) {
        crowd_do_drop(peer);
    } else if (what < 51) {
        l->stalled = crowd.p[peer].stalled_once = true;
    } else if (what < 52) {
        peer_unstall(&hall, &hall.p[peer]);
    } else if (what < 56 && l->stalled) {
        peer_sip(&hall, &hall.p[peer], test_random(test_random(3) ? 300 : 3000));
    } else if (what < 57) {
        crowd_time(test_random(12) ? test_random(1000000) : 20 * S_US);
    }
    crowd_look();
}

/* The server's tables, as far as the model knows them. */
static bool crowd_agrees(void) {
    u32 rooms = 0;
    for (u32 k = 0; k < CROWD_ROOMS; k++) {
        const struct crowd_room *r = &crowd.rooms[k];
        const struct room *room = r->id[0] ? room_find(&hall.d.s->rooms, span_z(r->id)) : NULL;
        rooms += r->id[0] != 0;
        if (r->id[0] &&
            (!room || room->seats.count != r->members ||
             (room->host ? seat_at(&hall.d.s->rooms, room->host - 1)->peer : 0) != r->host)) {
            return false;
        }
    }
    return rooms == hall.d.s->rooms.pool.used && crowd.seats == hall.d.s->rooms.seats.used &&
           crowd.bans == hall.d.s->rooms.bans.used;
}

static void crowd_run(u64 seed, u32 steps, u32 chunks, bool move) {
    mps_config c = hall_config();
    int failed = checks_failed;
    memset(&crowd, 0, sizeof crowd);
    memset(crowd.own, 0xFF, sizeof crowd.own);
    crowd.scarce = chunks != 0;
    c.chunks = chunks;
    c.seats = 14;
    c.bans = 6;
    c.ping_after_ms = 3600000;
    c.silence_timeout_ms = 86400000;
    c.token_ttl_s = 86400;
    hall_moves = move;
    test_random_seed(seed);
    hall_start(&hall, &c);
    hall_moves = false;
    memset(hall.p, 0, CROWD_PEERS * sizeof hall.p[0]);
    hall.count = CROWD_PEERS;
    for (u32 i = 0; i < CROWD_PEERS; i++) {
        hall.p[i].l.closed = true;
        crowd.p[i].room = crowd.p[i].user = -1;
    }
    for (u32 step = 0; step < steps && checks_failed == failed; step++) {
        crowd_step();
        for (u32 i = 0; i < CROWD_PEERS; i++) {
            crowd_listen(i);
        }
        crowd_learn_tokens();
        if (step % 500 == 499) {
            crowd_settle();
            mps_wall_clock(drive_server(&hall.d), hall.d.now, hall_unix_s * 1000);
        }
        CHECK(crowd_agrees());
        CHECK(mps_check(hall.d.s));
        if (checks_failed > failed) {
            printf("seed %u, step %u, chunks %u\n", (u32)seed, step, chunks);
        }
    }
    crowd.held = (u32)drive_count(&hall.d, COUNTER_STATES_HELD);
    crowd.full = (u32)drive_count(&hall.d, COUNTER_FULL_CHUNKS);
    CHECK(crowd.heard > steps / 4);
    hall_check_empty(&hall);
    for (u32 i = 0; i < CROWD_PEERS; i++) {
        crowd_forget(&crowd.p[i]);
    }
    hall_stop(&hall);
}

static void crowd_plenty(void) {
    u32 slow = 0, held = 0, resumed = 0;
    for (u64 seed = 1; seed <= 8; seed++) {
        crowd_run(seed, 5000, 0, false);
        slow += crowd.slow;
        held += crowd.held;
        resumed += crowd.resumed;
    }
    CHECK(slow > 3 && held > 500 && resumed > 100);
}

static void crowd_scarce(void) {
    u32 slow = 0, full = 0;
    for (u64 seed = 101; seed <= 108; seed++) {
        crowd_run(seed, 4000, 12 + (u32)(seed % 4), false);
        slow += crowd.slow;
        full += crowd.full;
    }
    CHECK(slow > 10 && full > 20);
}

static void crowd_moved(void) {
    crowd_run(201, 600, 0, true);
    crowd_run(202, 600, 12, true);
}

static const struct check_test crowd_tests[] = {
    {"plenty", crowd_plenty},
    {"scarce", crowd_scarce},
    {"moved", crowd_moved},
};

/* == model =======================================================================================
   The oracle of relay rooms, from section 5 of the contract alone. It knows what each socket said
   and hears what each socket is sent, and from these it says what must be so. It is never told what
   the server decided.

   Behind each message a client sends a WebSocket ping with the message's number in it. The server
   answers in order, so what a socket hears between two pongs tells how the message between the two
   pings fared; and as everything about a room reaches a member in the order in which it came to be,
   the same place says who was in the room then. From these follows who must have heard the message:
   each of them exactly once, in order, until it left, or its stream was cut off. */

#define VIEW_MAX 16
#define NO_ROOM UINT32_MAX

enum said_kind {
    SAID_HANDSHAKE,
    SAID_PING,
    SAID_CREATE,
    SAID_JOIN,
    SAID_QUICK,
    SAID_LEAVE,
    SAID_CHAT,
    SAID_STATE,
    SAID_SNAPSHOT,
    SAID_RPC,
    SAID_KICK,
    SAID_BAN,
    SAID_GAME,
    SAID_BAD,
    SAID_KINDS
};

static const char *const said_names[SAID_KINDS] = {
    "handshake", "ping",     "create_room", "join_room", "quick_join", "leave_room", "chat",
    "state",     "snapshot", "rpc_call",    "kick",      "ban",        "game type",  "bad message"};

/* Who is there, as one member knows it. */
struct view {
    u32 peers[VIEW_MAX];
    u32 count;
};

enum fared { FARED_UNKNOWN, FARED_WELL, FARED_REFUSED };

/* One message of a client, numbered over the whole run. */
struct said {
    u8 kind, fared;
    u32 line, user, target;        /* of rpc_call, kick, ban: a peer */
    u32 room;                      /* join: which; else where it was said, NO_ROOM: not known */
    u32 token;                     /* of a join: index + 1 of the token it brought */
    u32 peer;                      /* who said it */
    u32 longs;                     /* letters of a chat */
    u64 at, over_at;               /* over_at: when its line ended before it was answered */
    struct view certain, possible; /* others who were there surely, perhaps */
};

struct room_model {
    char id[40];
    u32 peer_high;
    u64 banned_at[USERS_MAX]; /* 0: not */
    u64 kicked_at;            /* when somebody last asked for somebody's removal */
    bool game_kicks;          /* the game has, once */
};

/* A socket's time as one member. A seat that is taken back has several, one after the other. */
struct stay {
    u32 room, peer, line, user;
    bool fresh, clean, over;      /* clean: it left, or heard that it was removed */
    u64 asked_at, began, lost_at; /* lost_at: the socket ended, 0: it has not */
    struct list heard;            /* struct heard: events, in order */
    struct list states; /* struct heard: the newest state of each kind of each other member */
};

struct heard {
    u32 from, number, kind;
};

struct token_model {
    char text[40];
    u32 room, peer, user;
    bool used;
};

/* -- lines: the connections of the clients -- */

#define ASKS_MAX 32
#define RING_MAX 64

/* A request that waits for its response. */
struct ask {
    u32 serial;
    u8 kind;
    bool head_only, upgrade;
    u32 lobby, user;
    u64 end; /* its last byte stands before this one of the line */
};

struct line {
    bool open, upgraded, refused;
    bool stray; /* it has sent what is no HTTP or no frame: the server may say so and close */
    mps_conn conn;
    mps_address from;
    u32 owner;
    u64 opened_at, heard_at, read_at;
    /* towards the server */
    char *out;
    size_t out_count, out_capacity, arrived; /* arrived: of out_count, at the server, unread */
    u64 written, delivered;
    bool wants_eof, said_eof, wants_reset, said_close;
    u64 slow_until;
    /* from the server */
    char *in;
    size_t in_count, in_capacity, unsent;
    size_t take_most, sent_most; /* left of this round's */
    u64 stalled_until, finished_at, ended_at, closes_at;
    bool trickles; /* what it sends has come in parts, at several times */
    bool slow;     /* it has not always read all there was, at once */
    bool pressed;  /* or there was so much at once that states may have been held back for it */
    bool over;     /* the last byte has been heard */
    u32 close_code, responses;
    struct ask asks[ASKS_MAX];
    u32 asks_first, asks_count;
    u64 pinged_at;
    u32 pings_owed; /* of the server's, to be answered */
    /* as a socket */
    u32 ring[RING_MAX], ring_first,
        ring_count; /* numbers of what was said and waits for its pong */
    bool signed_in, shook;
    u32 user;
    u32 room, peer, host, stay; /* room NO_ROOM: in none. host 0: just gone. stay: index */
    u32 max_told;
    struct view view;
    /* since the last pong */
    bool was_in, was_out, was_host, was_not_host, was_guest, errored;
    bool resumed_away;
    char reason[32], last_reason[32]; /* of errors: since the last pong, at all */
    u32 got;                          /* a bit for each kind of answer */
    u32 from_room, from_peer;
    struct view certain, possible;
};

enum { GOT_JOINED = 1, GOT_CREATED = 2, GOT_PONG = 4, GOT_SHOOK = 8 };

static struct line lines[LINES_MAX];

static struct said *said_at(u32 number) {
    return (struct said *)w.said.items + number;
}

static struct stay *stay_at(u32 index) {
    return (struct stay *)w.stays.items + index;
}

static struct room_model *room_model_at(u32 index) {
    return (struct room_model *)w.rooms.items + index;
}

static struct token_model *token_model_at(u32 index) {
    return (struct token_model *)w.tokens.items + index;
}

/* -- views -- */

static bool view_has(const struct view *v, u32 peer) {
    for (u32 i = 0; i < v->count; i++) {
        if (v->peers[i] == peer) {
            return true;
        }
    }
    return false;
}

static void view_add(struct view *v, u32 peer) {
    if (!view_has(v, peer) && v->count < VIEW_MAX) {
        v->peers[v->count++] = peer;
    }
}

static void view_drop(struct view *v, u32 peer) {
    for (u32 i = 0; i < v->count; i++) {
        if (v->peers[i] == peer) {
            memmove(&v->peers[i], &v->peers[i + 1], (--v->count - i) * sizeof v->peers[0]);
            return;
        }
    }
}

/* -- rooms -- */

/* By id; an unknown one is made known. */
static u32 model_room(const char *id) {
    for (u32 i = 0; i < w.rooms.count; i++) {
        if (!strcmp(room_model_at(i)->id, id)) {
            return i;
        }
    }
    HOLDS(strlen(id) == 36, "a room's id is no UUID: %s", id);
    struct room_model *room = list_add(&w.rooms, sizeof *room);
    snprintf(room->id, sizeof room->id, "%s", id);
    return w.rooms.count - 1;
}

/* The latest stay of a member: one whose socket is open, or the one that ended last, as what a slow
   socket hears may be older than what another has heard before. NULL: nobody has heard of any. */
static struct stay *model_stay(u32 room, u32 peer) {
    struct stay *latest = NULL;
    for (u32 i = w.stays.count; i > 0; i--) {
        struct stay *s = stay_at(i - 1);
        bool newer = !latest || !s->lost_at || s->lost_at > latest->lost_at;
        if (s->room == room && s->peer == peer && newer) {
            latest = s;
            if (!s->lost_at) {
                break;
            }
        }
    }
    return latest;
}

/* Has this user asked to be let in by a line that was there after then, and nobody knows the
   answer? When it asked says little: what it says may be long on its way. */
static bool model_may_be_back(u32 room, u32 user, u64 since, u32 except) {
    for (u32 i = w.said.count; i > 0; i--) {
        const struct said *m = said_at(i - 1);
        if (m->kind == SAID_JOIN && m->room == room && m->user == user && i - 1 != except &&
            m->fared == FARED_UNKNOWN && (!m->over_at || m->over_at >= since)) {
            return true;
        }
    }
    return false;
}

/* Was this user perhaps let in somewhere, and the line has not heard of it, or never will? Then its
   first stay that is known need not be the first. */
static bool model_may_have_been(u32 user, u32 except) {
    for (u32 i = w.said.count; i > 0; i--) {
        const struct said *m = said_at(i - 1);
        if ((m->kind == SAID_JOIN || m->kind == SAID_QUICK) && m->user == user && i - 1 != except &&
            m->fared == FARED_UNKNOWN) {
            return true;
        }
    }
    return false;
}

/* May somebody be asking for a removal from this room just now? */
static bool model_may_kick(u32 room) {
    if (room_model_at(room)->kicked_at == w.now) {
        return true;
    }
    for (u32 i = w.said.count; i > 0; i--) {
        const struct said *m = said_at(i - 1);
        if ((m->kind == SAID_KICK || m->kind == SAID_BAN) && m->fared == FARED_UNKNOWN &&
            (!m->over_at || m->over_at == w.now)) {
            return true;
        }
    }
    return false;
}

/* From here on a new message can be judged. */
static void model_mark(struct line *l) {
    l->was_in = l->room != NO_ROOM;
    l->was_out = !l->was_in;
    l->was_host = l->was_in && l->host == l->peer;
    l->was_not_host = !l->was_host;
    l->was_guest = !l->signed_in;
    l->errored = false;
    l->got = 0;
    l->from_room = l->room;
    l->from_peer = l->peer;
    l->certain = l->possible = l->view;
    view_drop(&l->certain, l->peer);
    view_drop(&l->possible, l->peer);
}

/* After each change of what the line knows of its room. */
static void model_note(struct line *l) {
    l->was_in |= l->room != NO_ROOM;
    l->was_out |= l->room == NO_ROOM;
    l->was_host |= l->room != NO_ROOM && l->host == l->peer;
    l->was_not_host |= l->room == NO_ROOM || l->host != l->peer;
}

static void model_stay_over(struct line *l, bool clean) {
    struct stay *s = l->room != NO_ROOM ? stay_at(l->stay) : NULL;
    if (s && !s->over) {
        s->over = true;
        s->clean = clean;
        s->lost_at = s->lost_at ? s->lost_at : w.now;
    }
    l->room = NO_ROOM;
    l->view.count = 0;
    l->host = l->peer = 0;
    model_note(l);
}

/* It is a member from here on: by room_joined or room_created. */
static void model_enter(struct line *l, u32 room, u32 peer, bool fresh) {
    u32 asked = l->ring[l->ring_first];
    struct stay *before = model_stay(room, peer);
    struct room_model *r = room_model_at(room);
    HOLDS(l->room == NO_ROOM, "let into a room while in one");
    HOLDS(!fresh || !before, "peer %u was given to a second member", peer);
    HOLDS(fresh || before || model_may_have_been(l->user, asked),
          "a seat was taken back that nobody had");
    if (before && !before->over && before->line < LINES_MAX) {
        lines[before->line].resumed_away = true;
    }
    HOLDS(!r->banned_at[l->user] || said_at(asked)->at <= r->banned_at[l->user],
          "user %u is back in a room that it was banned from", l->user);
    r->peer_high = peer > r->peer_high ? peer : r->peer_high;
    l->stay = w.stays.count;
    struct stay *s = list_add(&w.stays, sizeof *s);
    *s = (struct stay){.room = room,
                       .peer = peer,
                       .line = (u32)(l - lines),
                       .user = l->user,
                       .fresh = fresh,
                       .lost_at = l->finished_at,
                       .asked_at = said_at(asked)->at,
                       .began = w.now};
    l->room = room;
    l->peer = peer;
    l->resumed_away = false;
}

/* -- what a socket hears of its room -- */

static struct said *model_head(struct line *l, const char *why) {
    HOLDS(l->ring_count, "%s without a message that asks for it", why);
    return said_at(l->ring[l->ring_first]);
}

static void model_room_created(struct line *l, const char *text) {
    char id[40];
    i64 peer = 0;
    const struct said *m = model_head(l, "room_created");
    HOLDS(m->kind == SAID_CREATE, "room_created as an answer to %s", said_names[m->kind]);
    HOLDS(wire_text(text, "roomId", id, sizeof id) && wire_number(text, "peerId", &peer),
          "room_created without room or peer");
    HOLDS(peer == 1, "the maker is peer %lld", (long long)peer);
    u32 room = model_room(id);
    bool late = l->slow && model_stay(room, 1); /* another line has taken the seat over since */
    model_enter(l, room, 1, !late);
    view_add(&l->view, 1);
    l->host = 1;
    l->got |= GOT_CREATED;
    model_note(l);
}

/* The members, in the order in which they came, one host among them. */
static void model_members(struct line *l, const char *text) {
    const char *at = wire_find(text, "members");
    i64 peer;
    u32 hosts = 0, last = 0;
    HOLDS(at, "room_joined without members");
    l->view.count = 0;
    l->host = 0;
    for (const char *end = strchr(at, ']'); (at = strstr(at, "{\"peerId\":")) && at < end; at++) {
        HOLDS(wire_number(at, "peerId", &peer), "a member without peer id");
        HOLDS((u32)peer > last, "members out of order");
        const char *host = wire_find(at, "isHost");
        if (host && host < end && !strncmp(host, "true", 4)) {
            hosts++;
            l->host = (u32)peer;
        }
        last = (u32)peer;
        view_add(&l->view, last);
    }
    HOLDS(hosts == 1, "a room has %u hosts", hosts);
    HOLDS(l->view.count <= w.config.room_players_max, "a room has %u members", l->view.count);
}

static void model_token(struct line *l, const char *text, const struct said *m) {
    char token[40];
    HOLDS(wire_text(text, "resumeToken", token, sizeof token) && strlen(token) == 32,
          "room_joined without a token");
    for (u32 i = 0; i < w.tokens.count; i++) {
        HOLDS(strcmp(token_model_at(i)->text, token) != 0, "a resume token is given a second time");
    }
    if (m->token) {
        struct token_model *t = token_model_at(m->token - 1);
        HOLDS(!t->used, "a resume token was accepted a second time");
        HOLDS(t->user == l->user, "another user's resume token was accepted");
        HOLDS(t->room == l->room && t->peer == l->peer, "a resume token gave another seat");
        t->used = true;
    }
    struct token_model *t = list_add(&w.tokens, sizeof *t);
    *t = (struct token_model){.room = l->room, .peer = l->peer, .user = l->user};
    snprintf(t->text, sizeof t->text, "%s", token);
}

static void model_room_joined(struct line *l, const char *text) {
    char id[40];
    i64 peer = 0;
    const struct said *m = model_head(l, "room_joined");
    HOLDS(m->kind == SAID_JOIN || m->kind == SAID_QUICK, "room_joined as an answer to %s",
          said_names[m->kind]);
    HOLDS(wire_text(text, "roomId", id, sizeof id) && wire_number(text, "peerId", &peer),
          "room_joined without room or peer");
    u32 room = model_room(id);
    HOLDS(m->kind == SAID_QUICK || m->room == room, "joined another room than was asked for");
    const struct stay *before = model_stay(room, (u32)peer);
    HOLDS(!before || m->kind == SAID_JOIN || l->slow, "quick_join gave an old seat");
    HOLDS(!before || before->user == l->user, "a seat of user %u was given to user %u",
          before ? before->user : 0, l->user);
    if (before && before->lost_at && !l->slow &&
        !model_may_be_back(room, l->user, before->asked_at, l->ring[l->ring_first])) {
        HOLDS(w.settled_at < before->lost_at + w.config.seat_timeout_ms * 1000ull,
              "a seat was taken back that was over");
    }
    u32 asked = l->ring[l->ring_first];
    model_enter(l, room, (u32)peer, !before && !model_may_have_been(l->user, asked));
    model_members(l, text);
    HOLDS(view_has(&l->view, l->peer), "a new member is not among the members");
    model_token(l, text, m);
    l->got |= GOT_JOINED;
    model_note(l);
}

/* Every event of a room but the change of host: who is told of the room has to be in it, and a host
   that went has been replaced before anything else is said. */
static void model_in_room(const struct line *l, const char *what) {
    HOLDS(l->room != NO_ROOM, "%s of a room that it is not in", what);
    HOLDS(l->host, "%s while the room has no host", what);
}

static void model_peer_joined(struct line *l, u32 peer) {
    model_in_room(l, "peer_joined");
    HOLDS(!view_has(&l->view, peer), "peer %u has joined twice", peer);
    HOLDS(!l->view.count || peer > l->view.peers[l->view.count - 1], "peer %u came out of order",
          peer);
    view_add(&l->view, peer);
    HOLDS(l->view.count <= w.config.room_players_max, "a room has %u members", l->view.count);
    view_add(&l->possible, peer);
}

static void model_peer_left(struct line *l, u32 peer) {
    model_in_room(l, "peer_left");
    HOLDS(view_has(&l->view, peer), "peer %u has left and was not there", peer);
    HOLDS(peer != l->peer, "it is told that it has left");
    view_drop(&l->view, peer);
    view_drop(&l->certain, peer);
    l->host = l->host == peer ? 0 : l->host;
}

/* The longest-present member; one whose socket has dropped may be passed over. */
static void model_host_changed(struct line *l, u32 peer) {
    HOLDS(l->room != NO_ROOM, "host_changed of a room that it is not in");
    HOLDS(!l->host, "peer %u is a second host", peer);
    HOLDS(view_has(&l->view, peer), "the new host %u is no member", peer);
    for (u32 i = 0; i < l->view.count && l->view.peers[i] != peer; i++) {
        const struct stay *s = model_stay(l->room, l->view.peers[i]);
        const struct line *other = s ? &lines[s->line] : NULL;
        HOLDS(!s || !s->fresh || s->lost_at || s->over || stay_at(other->stay) != s ||
                  mps_tcp_fate(w.server, other->conn) != MPS_FATE_OPEN,
              "peer %u was there longer than the new host %u", l->view.peers[i], peer);
    }
    const struct stay *chosen = model_stay(l->room, peer);
    bool dropped = chosen && chosen->lost_at && chosen->lost_at < w.settled_at &&
                   !model_may_be_back(l->room, chosen->user, chosen->asked_at, UINT32_MAX);
    HOLDS(!dropped || l->slow || stay_at(l->stay)->lost_at,
          "peer %u is host now, whose socket has dropped, and peer %u is there", peer, l->peer);
    l->host = peer;
    model_note(l);
}

static void model_heard(struct line *l, u32 from, u32 number) {
    model_in_room(l, "a message");
    HOLDS(number < w.said.count, "a message that nobody sent: %u", number);
    const struct said *m = said_at(number);
    HOLDS(m->kind != SAID_RPC || !m->target || m->target == l->peer, "a call for another peer");
    HOLDS(from != l->peer || (m->kind == SAID_RPC && m->target), "its own message");
    HOLDS(view_has(&l->view, from), "a message of peer %u, who is not there", from);
    HOLDS(m->fared != FARED_REFUSED, "a message that was refused: %u", number);
    struct heard *h = list_add(&stay_at(l->stay)->heard, sizeof *h);
    *h = (struct heard){from, number, m->kind};
}

/* A state: the newest counts, older ones may be left out, and none comes after a newer one. Who was
   behind may get the newest once more. */
static void model_state(struct line *l, u32 from, u32 kind, u32 number) {
    model_in_room(l, "a state");
    HOLDS(from != l->peer && view_has(&l->view, from), "a state of peer %u", from);
    HOLDS(number < w.said.count && said_at(number)->kind == kind, "a state that nobody sent: %u",
          number);
    HOLDS(said_at(number)->fared != FARED_REFUSED, "a state that was refused: %u", number);
    struct list *states = &stay_at(l->stay)->states;
    struct heard *known = states->items;
    for (u32 i = 0; i < states->count; i++) {
        if (known[i].from == from && known[i].kind == kind) {
            HOLDS(number > known[i].number ||
                      ((l->slow || l->pressed) && number == known[i].number),
                  "state %u of peer %u after %u", number, from, known[i].number);
            known[i].number = number;
            return;
        }
    }
    known = list_add(states, sizeof *known);
    *known = (struct heard){from, number, kind};
}

/* Has somebody asked for the removal of this peer, in so many words? */
static bool model_asked_for(enum said_kind kind, u32 peer) {
    for (u32 i = 0; i < w.said.count; i++) {
        const struct said *m = said_at(i);
        if (m->kind == kind && m->target == peer && m->fared != FARED_REFUSED) {
            return true;
        }
    }
    return false;
}

static void model_kicked(struct line *l, const char *text) {
    char reason[16];
    HOLDS(l->room != NO_ROOM, "kicked out of a room that it is not in");
    HOLDS(wire_text(text, "reason", reason, sizeof reason), "kicked without a reason");
    struct room_model *room = room_model_at(l->room);
    bool ban = !strcmp(reason, "host_ban"), kick = !strcmp(reason, "host_kick");
    bool asked = ban    ? model_asked_for(SAID_BAN, l->peer)
                 : kick ? room->game_kicks || model_asked_for(SAID_KICK, l->peer)
                        : w.rooms_deleted && !strcmp(reason, "room_closed");
    HOLDS(asked, "kicked by %s, which nobody asked for", reason);
    room->kicked_at = w.now;
    model_stay_over(l, true);
}

/* -- how a message fared -- */

static bool reason_is(const struct line *l, const char *reason) {
    return !strcmp(l->reason, reason);
}

/* What may be refused in so many words, by kind. Separated and enclosed by blanks. */
static const char *const said_refusals[SAID_KINDS] = {
    [SAID_HANDSHAKE] = " invalid_handshake users_full ",
    [SAID_PING] = " ",
    [SAID_CREATE] = " no_room_found room_full refused_by_game already_in_room draining ",
    [SAID_JOIN] = " room_not_found banned invalid_token already_in_room room_full refused_by_game "
                  "draining ",
    [SAID_QUICK] = " room_capacity_reached room_full already_in_room refused_by_game draining ",
    [SAID_LEAVE] = " not_in_room ",
    [SAID_CHAT] = " not_in_room fanout_too_large ",
    [SAID_STATE] = " not_in_room fanout_too_large ",
    [SAID_SNAPSHOT] = " not_in_room fanout_too_large ",
    [SAID_RPC] = " not_in_room fanout_too_large invalid_target ",
    [SAID_KICK] = " not_in_room not_host invalid_target ",
    [SAID_BAN] = " not_in_room not_host invalid_target bans_full ",
    [SAID_GAME] = " unknown_type ",
    [SAID_BAD] = " bad_json invalid_field invalid_join_room invalid_handshake unknown_type "
                 "already_in_room not_in_room ",
};

static void model_judge_refusal(const struct line *l, const struct said *m) {
    char word[40];
    snprintf(word, sizeof word, " %s ", l->reason);
    if (reason_is(l, "rate_limited") || (m->kind == SAID_BAD && reason_is(l, "draining"))) {
        return;
    }
    if (reason_is(l, "authentication_required")) {
        HOLDS(l->was_guest && m->kind != SAID_PING && m->kind != SAID_HANDSHAKE,
              "%s: sign in, says the server to who has", said_names[m->kind]);
        return;
    }
    HOLDS(strstr(said_refusals[m->kind], word), "%s was refused: %s", said_names[m->kind],
          l->reason);
    HOLDS(!reason_is(l, "not_in_room") || l->was_out, "%s: a member is told not_in_room",
          said_names[m->kind]);
    HOLDS(!reason_is(l, "already_in_room") || l->was_in || m->kind == SAID_JOIN,
          "%s: already in a room, it is told, but is in none", said_names[m->kind]);
    HOLDS(!reason_is(l, "not_host") || l->was_not_host, "the host is told not_host");
    HOLDS(!reason_is(l, "draining") || w.draining, "draining, without anybody asking for it");
    HOLDS(!reason_is(l, "refused_by_game") || w.vetoes, "refused by a game that never refuses");
}

static void model_judge_success(struct line *l, struct said *m) {
    bool speaks = m->kind >= SAID_LEAVE && m->kind <= SAID_BAN;
    bool guest_may = m->kind <= SAID_PING || m->kind >= SAID_GAME;
    HOLDS(guest_may || l->signed_in, "%s by somebody unknown", said_names[m->kind]);
    HOLDS(!speaks || l->was_in, "%s by who is in no room", said_names[m->kind]);
    HOLDS((m->kind != SAID_KICK && m->kind != SAID_BAN) || l->was_host, "%s by who is not host",
          said_names[m->kind]);
    HOLDS(m->kind != SAID_CREATE || l->got & GOT_CREATED, "create_room had no answer");
    HOLDS((m->kind != SAID_JOIN && m->kind != SAID_QUICK) || l->got & GOT_JOINED,
          "%s had no answer", said_names[m->kind]);
    HOLDS(m->kind != SAID_PING || l->got & GOT_PONG, "a ping had no pong");
    HOLDS(m->kind != SAID_HANDSHAKE || l->got & GOT_SHOOK, "a handshake had no answer");
    HOLDS(m->kind != SAID_BAD, "a bad message had no answer");
}

static u32 said_rate(u32 kind) {
    return kind == SAID_STATE || kind == SAID_SNAPSHOT ? RATE_STATE
           : kind == SAID_CHAT                         ? RATE_CHAT
                                                       : RATE_OTHER;
}

/* The buckets of a user who was not there may have been forgotten. */
static void model_signed_in(const struct line *l) {
    struct user_model *u = &w.users[l->user];
    for (u32 i = 0; i < LINES_MAX; i++) {
        const struct line *other = &lines[i];
        if (other != l && other->open && other->upgraded && other->signed_in &&
            other->user == l->user && mps_tcp_fate(w.server, other->conn) == MPS_FATE_OPEN) {
            return;
        }
    }
    for (u32 k = 0; k < RATE_KINDS; k++) {
        u->tokens[k] = 1e9;
    }
    u->unsure_until = l->signed_in ? w.now + 2500000 : u->unsure_until;
}

/* Has another socket of the same user said what it does not know the fate of? */
static bool model_user_waits(const struct line *l) {
    for (u32 i = 0; i < LINES_MAX; i++) {
        if (&lines[i] != l && lines[i].open && lines[i].user == l->user && lines[i].ring_count) {
            return true;
        }
    }
    return false;
}

/* Rate buckets within bounds: never more than two seconds' worth at once, never refused while there
   is some left. What was heard late cannot be dated, so it is not judged. */
static void model_judge_rate(const struct line *l, const struct said *m) {
    bool limited = l->errored && reason_is(l, "rate_limited");
    bool exempt = w.config.dev && l->from.ip[12] == 127;
    if (!l->signed_in || l->was_guest || exempt) {
        HOLDS(!exempt || !limited, "loopback is limited, with dev");
        return;
    }
    struct user_model *u = &w.users[l->user];
    u32 kind = said_rate(m->kind);
    user_refill(u);
    if (l->slow) {
        u->unsure_until = w.now + 2500000;
    }
    bool sure = !l->slow && w.now >= u->unsure_until;
    HOLDS(!limited || !sure || model_user_waits(l) || u->least[kind] < 2,
          "%s was refused with %.1f left to spend", said_names[m->kind], u->least[kind]);
    for (u32 k = 0; k < RATE_KINDS; k++) {
        u->least[k] = sure && !model_user_waits(l) ? u->least[k] : 0;
    }
    u->least[kind] -= limited || u->least[kind] < 1 ? 0 : 1;
    u->tokens[kind] -= limited ? 0 : 1;
    HOLDS(!sure || u->tokens[kind] > -2, "%s was let through with %.1f overspent",
          said_names[m->kind], -u->tokens[kind]);
    if (!sure && u->tokens[kind] < 0) {
        u->tokens[kind] = 0;
    }
}

static void model_keep(const struct line *l, struct said *m) {
    m->room = l->from_room;
    m->peer = l->from_peer;
    m->certain = l->certain;
    m->possible = l->possible;
}

/* The pong behind a message: what was heard since the one before it is how that fared. */
static void model_pong(struct line *l, u32 number) {
    HOLDS(l->ring_count, "a pong that was not asked for");
    struct said *m = said_at(l->ring[l->ring_first]);
    HOLDS(l->ring[l->ring_first] == number, "pong %u, and %u was next", number,
          l->ring[l->ring_first]);
    m->fared = l->errored ? FARED_REFUSED : FARED_WELL;
    if (l->errored) {
        model_judge_refusal(l, m);
    } else {
        model_judge_success(l, m);
    }
    model_judge_rate(l, m);
    if (m->kind >= SAID_LEAVE) {
        model_keep(l, m);
    }
    if (m->kind == SAID_BAN && !l->errored && l->from_room != NO_ROOM) {
        const struct stay *victim = model_stay(l->from_room, m->target);
        if (victim) {
            room_model_at(l->from_room)->banned_at[victim->user] = w.now;
        }
    }
    if (m->kind == SAID_LEAVE && !l->errored) {
        model_stay_over(l, true);
    }
    l->ring_first = (l->ring_first + 1) % RING_MAX;
    l->ring_count--;
    model_mark(l);
}

/* A direct answer: to the message at the head of the ring. */
static void model_error(struct line *l, const char *text) {
    char reason[32];
    HOLDS(wire_text(text, "reason", reason, sizeof reason), "an error without reason");
    snprintf(l->last_reason, sizeof l->last_reason, "%s", reason);
    if (!strcmp(reason, "message_too_large") || !strcmp(reason, "message_timeout") ||
        !strcmp(reason, "large_inputs_full")) {
        return; /* the socket is about to be closed, and that is told then */
    }
    model_head(l, reason);
    HOLDS(!l->errored, "two errors for one message: %s, %s", l->reason, reason);
    snprintf(l->reason, sizeof l->reason, "%s", reason);
    l->errored = true;
}

/* -- the end of a stream -- */

/* Nobody will ever know how what it still waited for has fared. */
static void model_line_over(struct line *l) {
    for (u32 i = 0; i < l->ring_count; i++) {
        struct said *m = said_at(l->ring[(l->ring_first + i) % RING_MAX]);
        m->over_at = w.now;
        if (m->kind != SAID_JOIN) {
            m->room = NO_ROOM;
        }
    }
    if (l->ring_count && l->upgraded) {
        w.users[l->user].unsure_until = w.now + 3000000;
    }
    l->ring_count = 0;
    model_stay_over(l, false);
    l->over = true;
}

/* == game ========================================================================================
   The game that embeds the server: hooks that watch, and hooks that make trouble. What they are
   told makes up a second model, of who is where; it has to agree with what the server says when
   asked, at every moment at which nothing is left to be told. */

#define HALL_MAX 16

/* A relay room or a lobby, as the game knows it. */
struct hall {
    u64 handle;
    char id[40];
    u32 members[HALL_MAX], count;
    bool open, entered, closing; /* closing: the game has asked for its end */
    u64 since;                   /* opened, or the last member left */
};

static struct hall *hall_at(struct list *list, u32 index) {
    return (struct hall *)list->items + index;
}

/* The open one with this handle. */
static struct hall *hall_find(struct list *list, u64 handle) {
    for (u32 i = list->count; i > 0; i--) {
        if (hall_at(list, i - 1)->handle == handle) {
            return hall_at(list, i - 1)->open ? hall_at(list, i - 1) : NULL;
        }
    }
    return NULL;
}

static void hall_opened(struct list *list, u64 handle, const char *id) {
    for (u32 i = 0; i < list->count; i++) {
        const struct hall *h = hall_at(list, i);
        HOLDS(h->handle != handle, "a handle is used again");
        HOLDS(!h->open || strcmp(h->id, id) != 0, "%s is opened twice", id);
    }
    struct hall *h = list_add(list, sizeof *h);
    *h = (struct hall){.handle = handle, .open = true, .since = w.now};
    snprintf(h->id, sizeof h->id, "%s", id);
}

/* A timer must not be early. Somebody may have asked for the end, which is no timer. */
static void hall_closed(struct list *list, u64 handle, u64 patience_us, bool asked) {
    struct hall *h = hall_find(list, handle);
    HOLDS(h, "something is closed that is not open");
    bool timed = list == &w.inns ? !h->count : !h->entered;
    HOLDS(!timed || asked || h->closing || w.now >= h->since + patience_us,
          "closed after %llu us, too early", (unsigned long long)(w.now - h->since));
    h->open = false;
}

static void hall_joined(struct list *list, u64 handle, u32 member, u32 most) {
    struct hall *h = hall_find(list, handle);
    HOLDS(h, "somebody joined what is not open");
    for (u32 i = 0; i < h->count; i++) {
        HOLDS(h->members[i] != member, "member %u has joined twice", member);
    }
    HOLDS(h->count < most && h->count < HALL_MAX, "member %u is one too many", member);
    h->members[h->count++] = member;
    h->entered = true;
}

static void hall_left(struct list *list, u64 handle, u32 member) {
    struct hall *h = hall_find(list, handle);
    HOLDS(h, "somebody left what is not open");
    u32 at = 0;
    while (at < h->count && h->members[at] != member) {
        at++;
    }
    HOLDS(at < h->count, "member %u has left and was not there", member);
    memmove(&h->members[at], &h->members[at + 1], (--h->count - at) * sizeof h->members[0]);
    h->since = w.now;
}

/* -- hooks -- */

static bool game_strikes(u32 rate) {
    return !w.calm && !w.cuttable && rate && dice_hits(&w.game, rate);
}

static bool game_veto(void) {
    bool veto = !w.calm && w.faults.veto && dice_hits(&w.game, w.faults.veto);
    w.vetoes += veto;
    return veto;
}

static bool game_lobby_wanted(void *user, const char *code, const char *scene, u32 most) {
    (void)user, (void)code, (void)scene, (void)most;
    return !game_veto();
}

static bool game_join_wanted(void *user, mps_lobby lobby, const char *name) {
    (void)user, (void)lobby, (void)name;
    return !game_veto();
}

static bool game_room_wanted(void *user, const char *id, const char *mode, const char *map,
                             u32 most) {
    (void)user, (void)id, (void)mode, (void)map, (void)most;
    return !game_veto();
}

static bool game_peer_wanted(void *user, mps_room room, const char *id, const char *name) {
    (void)user, (void)room, (void)id, (void)name;
    return !game_veto();
}

static void game_lobby_opened(void *user, mps_lobby lobby, const char *code) {
    (void)user;
    hall_opened(&w.inns, lobby.id, code);
}

static void game_lobby_closed(void *user, mps_lobby lobby, const char *code) {
    (void)user, (void)code;
    hall_closed(&w.inns, lobby.id, w.config.lobby_timeout_ms * 1000ull, w.lobbies_deleted);
}

static void udp_left(u64 lobby, u32 player);

static void game_player_joined(void *user, mps_lobby lobby, u32 player, const char *name) {
    (void)user, (void)name;
    hall_joined(&w.inns, lobby.id, player, w.config.lobby_players);
    if (game_strikes(w.faults.hook_kick)) {
        mps_lobby_kick(w.server, w.now, lobby, player);
        w.kicked_at = w.now;
    }
}

static void game_player_left(void *user, mps_lobby lobby, u32 player) {
    (void)user;
    hall_left(&w.inns, lobby.id, player);
    udp_left(lobby.id, player);
}

static void game_room_opened(void *user, mps_room room, const char *id, const char *mode) {
    (void)user, (void)mode;
    hall_opened(&w.halls, room.id, id);
    model_room(id);
}

static void game_room_closed(void *user, mps_room room, const char *id) {
    (void)user, (void)id;
    hall_closed(&w.halls, room.id, w.config.room_timeout_ms * 1000ull, w.rooms_deleted);
}

static void game_kicks(const struct hall *h) {
    struct room_model *room = room_model_at(model_room(h->id));
    room->kicked_at = w.now;
    room->game_kicks = true;
}

/* Kicks one, or all: then the room closes under the hook that asked for it. */
static void game_peer_joined(void *user, mps_room room, u32 peer) {
    (void)user;
    char note[32];
    hall_joined(&w.halls, room.id, peer, w.config.room_players_max);
    struct hall *h = hall_find(&w.halls, room.id);
    bool all = game_strikes(w.faults.hook_close);
    if (all || game_strikes(w.faults.hook_kick)) {
        game_kicks(h);
        struct hall before = *h;
        for (u32 i = 0; i < before.count; i++) {
            if (all || before.members[i] == peer) {
                mps_room_kick(w.server, w.now, room, before.members[i]);
            }
        }
    }
    snprintf(note, sizeof note, "{\"n\":%u}", ++w.told);
    if (w.cuttable) {
        return;
    }
    mps_room_send(w.server, w.now, room, 0, "told", note, strlen(note));
}

/* The seat of a dropped socket ends when its time is over, and not before. */
static void game_peer_left(void *user, mps_room room, u32 peer) {
    (void)user;
    const struct hall *h = hall_find(&w.halls, room.id);
    hall_left(&w.halls, room.id, peer);
    u32 known = model_room(h->id);
    const struct stay *s = model_stay(known, peer);
    if (s && s->lost_at && !s->clean && !model_may_kick(known)) {
        HOLDS(w.now + LINES_MAX >= s->lost_at + w.config.seat_timeout_ms * 1000ull ||
                  model_may_be_back(known, s->user, s->asked_at, UINT32_MAX),
              "the seat of peer %u ended %llu us after its socket", peer,
              (unsigned long long)(w.now - s->lost_at));
    }
}

static bool game_room_message(void *user, mps_room room, u32 peer, const char *type,
                              const char *data, size_t bytes) {
    (void)user, (void)peer, (void)type;
    HOLDS(bytes && wire_json_valid(data, bytes), "the game is handed what is no JSON");
    if (game_strikes(w.faults.hook_close)) {
        const struct hall *h = hall_find(&w.halls, room.id);
        if (h) {
            game_kicks(h);
        }
        mps_room_kick(w.server, w.now, room, peer);
        return true;
    }
    return dice_hits(&w.game, 500);
}

static void game_log(void *user, const mps_log_record *record) {
    char line[512];
    (void)user;
    size_t bytes = mps_log_json(record, line, sizeof line);
    HOLDS(bytes == sizeof line || wire_json_valid(line, bytes), "a log line that is no JSON: %.*s",
          (int)bytes, line);
}

static mps_hooks game_hooks(void) {
    return (mps_hooks){
        .lobby_check = game_lobby_wanted,
        .join_check = game_join_wanted,
        .lobby_opened = game_lobby_opened,
        .lobby_closed = game_lobby_closed,
        .player_joined = game_player_joined,
        .player_left = game_player_left,
        .room_check = game_room_wanted,
        .peer_check = game_peer_wanted,
        .room_opened = game_room_opened,
        .room_closed = game_room_closed,
        .peer_joined = game_peer_joined,
        .peer_left = game_peer_left,
        .room_message = game_room_message,
        .log = w.variant == NO_LOG ? NULL : game_log,
    };
}

/* -- what must be so when nothing is left to be told -- */

static void check_hall_room(const struct hall *h) {
    mps_room_info info;
    mps_error error = mps_room_get(w.server, (mps_room){h->handle}, &info);
    HOLDS(!error == h->open, "room %s: %s, and the game thinks otherwise", h->id,
          mps_error_code(error));
    if (error) {
        return;
    }
    bool hosted = !h->count && !info.host_peer_id;
    for (u32 i = 0; i < h->count; i++) {
        hosted |= h->members[i] == info.host_peer_id;
    }
    HOLDS(info.member_count == h->count && info.member_count <= info.max_players,
          "room %s has %u members of %u, the game knows %u", h->id, info.member_count,
          info.max_players, h->count);
    HOLDS(hosted, "peer %u is host of room %s and no member", info.host_peer_id, h->id);
    HOLDS(h->entered || w.now < h->since + w.config.room_timeout_ms * 1000ull,
          "room %s waits for its maker too long", h->id);
    HOLDS(!h->entered || h->count, "room %s is empty and open", h->id);
}

/* Is a seat kept whose socket is gone for too long? */
static void check_hall_seats(const struct hall *h) {
    u32 known = model_room(h->id);
    for (u32 i = 0; h->open && i < h->count; i++) {
        const struct stay *s = model_stay(known, h->members[i]);
        HOLDS(!s || !s->lost_at || w.now < s->lost_at + w.config.seat_timeout_ms * 1000ull ||
                  model_may_be_back(known, s->user, s->asked_at, UINT32_MAX),
              "the seat of peer %u is kept %llu us after its socket", h->members[i],
              (unsigned long long)(w.now - s->lost_at));
    }
}

static void check_hall_lobby(const struct hall *h) {
    mps_lobby_info info;
    mps_error error = mps_lobby_get(w.server, (mps_lobby){h->handle}, &info);
    HOLDS(!error == h->open, "lobby %s: %s, and the game thinks otherwise", h->id,
          mps_error_code(error));
    if (error) {
        return;
    }
    HOLDS(info.player_count == h->count && info.player_count <= info.max_players,
          "lobby %s has %u players of %u, the game knows %u", h->id, info.player_count,
          info.max_players, h->count);
    HOLDS(h->count || !strcmp(h->id, "TEST") ||
              w.now < h->since + w.config.lobby_timeout_ms * 1000ull,
          "lobby %s is empty too long", h->id);
}

static void check_halls(void) {
    u32 rooms = 0, lobbies = 0;
    for (u32 i = 0; i < w.halls.count; i++) {
        check_hall_room(hall_at(&w.halls, i));
        check_hall_seats(hall_at(&w.halls, i));
        rooms += hall_at(&w.halls, i)->open;
    }
    for (u32 i = 0; i < w.inns.count; i++) {
        check_hall_lobby(hall_at(&w.inns, i));
        lobbies += hall_at(&w.inns, i)->open;
    }
    for (mps_room r = mps_room_next(w.server, (mps_room){0}); r.id;
         r = mps_room_next(w.server, r)) {
        rooms--;
    }
    for (mps_lobby l = mps_lobby_next(w.server, (mps_lobby){0}); l.id;
         l = mps_lobby_next(w.server, l)) {
        lobbies--;
    }
    HOLDS(!rooms && !lobbies, "the server lists other rooms or lobbies than the game knows");
}

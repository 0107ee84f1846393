/* The game's side of rooms: hooks that veto and hear, messages of the game's own types both ways,
   the calls that walk rooms. On the halls of test_sockets.c. */

#include <stdarg.h>

struct game_rooms {
    char heard[2048]; /* what the hooks were told, a word each */
    const char *refuse_gamemode, *refuse_name;
    bool answers; /* room_message speaks back, to all and to the sender's user */
    bool kicks;   /* room_message removes the sender */
};

static struct game_rooms game_rooms;

static void game_rooms_note(const char *format, ...) {
    size_t at = strlen(game_rooms.heard);
    va_list list;
    va_start(list, format);
    vsnprintf(game_rooms.heard + at, sizeof game_rooms.heard - at, format, list);
    va_end(list);
}

static void check_noted(const char *want, int line) {
    check_text(game_rooms.heard, strlen(game_rooms.heard), want, "noted", __FILE__, line);
    game_rooms.heard[0] = 0;
}
#define CHECK_NOTED(want) check_noted((want), __LINE__)

static bool game_rooms_check(void *user, const char *id, const char *gamemode, const char *map,
                             u32 max_players) {
    struct game_rooms *g = user;
    game_rooms_note("check(%s,%s,%s,%u)", id, gamemode, map, max_players);
    return !g->refuse_gamemode || strcmp(g->refuse_gamemode, gamemode) != 0;
}

static bool game_rooms_peer_check(void *user, mps_room room, const char *id, const char *name) {
    struct game_rooms *g = user;
    mps_room_info info;
    CHECK_INT(mps_room_get(hall.d.s, room, &info), MPS_OK);
    game_rooms_note("peer?(%s,%s)", id, name);
    return !g->refuse_name || strcmp(g->refuse_name, name) != 0;
}

static void game_rooms_opened(void *user, mps_room room, const char *id, const char *gamemode) {
    CHECK(user == &game_rooms && mps_room_find(hall.d.s, id).id == room.id);
    game_rooms_note("opened(%s)", gamemode);
}

static void game_rooms_closed(void *user, mps_room room, const char *id) {
    mps_room_info info;
    CHECK(user == &game_rooms && strlen(id) == ROOM_ID_BYTES);
    CHECK_INT(mps_room_get(hall.d.s, room, &info), MPS_E_HANDLE);
    CHECK(mps_room_find(hall.d.s, id).id == 0);
    game_rooms_note("closed");
}

static void game_rooms_joined(void *user, mps_room room, u32 peer) {
    mps_room_info info;
    CHECK(user == &game_rooms && mps_room_get(hall.d.s, room, &info) == MPS_OK);
    game_rooms_note("joined(%u)", peer);
}

static void game_rooms_left(void *user, mps_room room, u32 peer) {
    CHECK(user == &game_rooms && room.id);
    game_rooms_note("left(%u)", peer);
}

static bool game_rooms_message(void *user, mps_room room, u32 peer, const char *type,
                               const char *data, size_t bytes) {
    const struct game_rooms *g = user;
    mps_identity ann = {.id = "a"};
    game_rooms_note("%s(%u,%.*s)", type, peer, (int)bytes, data);
    if (strcmp(type, "unwanted") == 0) {
        return false;
    }
    if (g->answers) {
        CHECK_INT(mps_room_send(hall.d.s, hall.d.now, room, 0, "scored", "{\"by\":2}", 8), MPS_OK);
        CHECK_INT(mps_room_send(hall.d.s, hall.d.now, room, peer, "you", data, bytes), MPS_OK);
        CHECK_INT(mps_user_send(hall.d.s, hall.d.now, &ann, "mail", "1", 1), MPS_OK);
    }
    if (g->kicks) {
        CHECK_INT(mps_room_kick(hall.d.s, hall.d.now, room, peer), MPS_OK);
    }
    return true;
}

static mps_config game_rooms_config(void) {
    mps_config c = hall_config();
    memset(&game_rooms, 0, sizeof game_rooms);
    c.hooks.user = &game_rooms;
    c.hooks.room_check = game_rooms_check;
    c.hooks.peer_check = game_rooms_peer_check;
    c.hooks.room_opened = game_rooms_opened;
    c.hooks.room_closed = game_rooms_closed;
    c.hooks.peer_joined = game_rooms_joined;
    c.hooks.peer_left = game_rooms_left;
    c.hooks.room_message = game_rooms_message;
    return c;
}

/* In what order the game is asked and told; what it refuses leaves no trace. */
static void game_hears_rooms(void) {
    mps_config c = game_rooms_config();
    hall_start(&hall, &c);
    struct peer *a = hall_enter(&hall, "a", "Ann"), *b = hall_enter(&hall, "b", "Bob");
    rooms_quiet(&hall);
    game_rooms.refuse_gamemode = "x";
    CHECK_INT(hall_http(&hall, "POST", "/api/rooms", "a", "{'gamemode':'x'}"), 403);
    CHECK_NOTED("check(a,x,,8)");
    CHECK_INT(hall.d.s->rooms.pool.used, 0);
    char room[ROOM_ID_BYTES + 1];
    snprintf(room, sizeof room, "%s", rooms_make(&hall, "a", ROOM_BODY));
    CHECK_NOTED("check(a,g,m,8)opened(g)");
    peer_say(&hall, a, "{'type':'create_room'}");
    CHECK_NOTED("peer?(a,a)joined(1)"); /* as its latest token names it */
    game_rooms.refuse_name = "Bad";
    rooms_say_join(&hall, b, room, "'version':'','name':'Bad'");
    CHECK(strstr(peer_hear(&hall, b), "\"reason\":\"refused_by_game\"") != NULL);
    CHECK_NOTED("peer?(b,Bad)");
    CHECK_INT(rooms_join(&hall, b, room, "B"), 2);
    CHECK_NOTED("peer?(b,B)joined(2)");
    peer_say(&hall, b, LEAVE);
    CHECK_NOTED("left(2)");
    peer_say(&hall, b, "{'type':'quick_join','data':{'gamemode':'x','version':'','name':'B'}}");
    CHECK_NOTED("check(b,x,,8)");
    peer_say(&hall, b, "{'type':'quick_join','data':{'gamemode':'q','version':'','name':'B'}}");
    CHECK_NOTED("check(b,q,,8)opened(q)joined(1)");
    peer_say(&hall, b, LEAVE);
    CHECK_NOTED("left(1)closed");
    peer_drop(&hall, a);
    CHECK_NOTED("");
    hall_run(&hall, 30 * S_US);
    CHECK_NOTED("left(1)closed");
    hall_skip(&hall);
    hall_stop(&hall);
}

/* Types of the game's own reach it from members only, and come back as frames like any other. */
static void game_speaks(void) {
    mps_config c = game_rooms_config();
    hall_start(&hall, &c);
    struct peer *a = hall_enter(&hall, "a", "Ann"), *b = hall_enter(&hall, "b", "Bob");
    char room[ROOM_ID_BYTES + 1];
    rooms_quiet(&hall);
    snprintf(room, sizeof room, "%s", rooms_make(&hall, "a", ROOM_BODY));
    peer_say(&hall, a, "{'type':'create_room'}");
    rooms_join(&hall, b, room, "B");
    hall_skip(&hall);
    game_rooms.heard[0] = 0;
    game_rooms.answers = true;
    peer_say(&hall, b, "{'type':'score','data':{'n': [1, 2]}}");
    CHECK_NOTED("score(2,{\"n\": [1, 2]})");
    CHECK_HEARS(b, "{'type':'scored','data':{'by':2}}");
    CHECK_HEARS(b, "{'type':'you','data':{'n': [1, 2]}}");
    CHECK_HEARS(a, "{'type':'scored','data':{'by':2}}");
    CHECK_HEARS(a, "{'type':'mail','data':1}");
    game_rooms.answers = false;
    peer_say(&hall, b, "{'type':'unwanted'}");
    CHECK_NOTED("unwanted(2,null)");
    CHECK(strstr(peer_hear(&hall, b), "\"unknown_type\"") != NULL);
    peer_say(&hall, b, "{'type':'Not a name','data':{}}");
    CHECK_NOTED("");
    peer_skip(&hall, b);
    game_rooms.kicks = true;
    peer_say(&hall, b, "{'type':'bye','data':'x'}");
    CHECK_NOTED("bye(2,\"x\")left(2)");
    CHECK_HEARS(b, KICKED("host_kick"));
    CHECK_HEARS(a, LEFT("2"));
    peer_say(&hall, b, "{'type':'score'}");
    CHECK_NOTED("");
    peer_skip(&hall, b);
    hall_stop(&hall);
}

/* From outside of hooks, and what is refused. */
static void game_calls(void) {
    mps_config c = hall_config();
    hall_start(&hall, &c);
    struct peer *a = hall_enter(&hall, "a", "Ann");
    mps_identity who = {.id = "a"}, nobody = {.id = "a", .id_is_number = true};
    mps_room_info info;
    mps_server *s = hall.d.s;
    u64 now = hall.d.now;
    rooms_quiet(&hall);
    const char *id = rooms_make(&hall, "a", ROOM_BODY);
    mps_room room = mps_room_next(s, (mps_room){0});
    CHECK(room.id && mps_room_find(s, id).id == room.id && !mps_room_next(s, room).id);
    CHECK(mps_room_find(s, "x").id == 0);
    CHECK_INT(mps_room_get(s, room, &info), MPS_OK);
    CHECK(strcmp(info.gamemode, "g") == 0 && strcmp(info.map, "m") == 0 && info.is_public);
    CHECK_INT(info.member_count + info.host_peer_id, 0);
    CHECK_INT(mps_room_send(s, now, room, 1, "t", "1", 1), MPS_E_INVALID_TARGET);
    peer_say(&hall, a, "{'type':'create_room'}");
    peer_skip(&hall, a);
    CHECK_INT(mps_room_get(s, room, &info), MPS_OK);
    CHECK_INT(info.member_count, 1);
    CHECK_INT(info.host_peer_id, 1);
    CHECK_INT(mps_room_send(s, now, room, 1, "t", "{\"a\":1}", 7), MPS_OK);
    hall_run(&hall, 0);
    CHECK_HEARS(a, "{'type':'t','data':{'a':1}}");
    CHECK_INT(mps_room_send(s, now, room, 0, "t", "{", 1), MPS_E_BAD_JSON);
    CHECK_INT(mps_room_send(s, now, room, 0, "T", "1", 1), MPS_E_ARGUMENT);
    CHECK_INT(mps_room_send(s, now, room, 0, "", "1", 1), MPS_E_ARGUMENT);
    CHECK_INT(mps_room_send(s, now, room, 0, "t", "1", 100000), MPS_E_MESSAGE_TOO_LARGE);
    CHECK_INT(mps_room_send(s, now, (mps_room){7}, 0, "t", "1", 1), MPS_E_HANDLE);
    CHECK_INT(mps_user_send(s, now, &who, "t", "2", 1), MPS_OK);
    hall_run(&hall, 0);
    CHECK_HEARS(a, "{'type':'t','data':2}");
    CHECK_INT(mps_user_send(s, now, &nobody, "t", "2", 1), MPS_E_INVALID_TARGET);
    CHECK_INT(mps_room_kick(s, now, room, 2), MPS_E_INVALID_TARGET);
    CHECK_INT(mps_room_kick(s, now, room, 1), MPS_OK);
    hall_run(&hall, 0);
    CHECK_HEARS(a, KICKED("host_kick"));
    CHECK_INT(mps_room_get(s, room, &info), MPS_E_HANDLE);
    CHECK_INT(mps_room_kick(s, now, room, 1), MPS_E_HANDLE);
    hall_stop(&hall);
}

static const struct check_test game_tests[] = {
    {"hears_rooms", game_hears_rooms},
    {"speaks", game_speaks},
    {"calls", game_calls},
};

/* game.c: what the game lets happen, hears and answers: every hook of mpserver.  SPDX: MIT-0

   Hooks run inside calls into the core and cost their frame what they take, so each only decides,
   or notes something for the next frame. None of them allocates or waits.

     1 who is calling     3 what happened     5 orders
     2 what may be        4 messages, log */
#include "game.h"

#include <stdio.h>
#include <string.h>

const char *const game_hook_names[GAME_HOOK_COUNT] = {
#define GAME_HOOK_NAME(name) #name,
    GAME_HOOKS(GAME_HOOK_NAME)
#undef GAME_HOOK_NAME
};

static struct game *called(void *user, enum game_hook hook) {
    struct game *game = user;
    game->calls[hook]++;
    return game;
}

/* == 1 who is calling ============================================================================
   A pass is what a console or a shop gives its users in place of a password; its service says who
   they are. Here stands in for one: `now:NAME` is known at once, `later:NAME` has to be asked for
   and is answered in the next frame. No other is good. */

static bool starts(const char *text, size_t bytes, const char *with) {
    return bytes >= strlen(with) && memcmp(text, with, strlen(with)) == 0;
}

/* Without a name there is nobody. The core checks that it is UTF-8. */
static bool identity_fill(mps_identity *who, const char *name, size_t bytes) {
    memset(who, 0, sizeof *who);
    if (bytes == 0 || bytes > MPS_NAME_BYTES_MAX - sizeof "pass-") {
        return false;
    }
    snprintf(who->id, sizeof who->id, "pass-%.*s", (int)bytes, name);
    memcpy(who->name, name, bytes);
    return true;
}

/* The local player needs no pass: the game itself makes its calls. */
static mps_verdict on_authenticate(void *user, const char *token, size_t bytes, uint64_t ticket,
                                   mps_identity *who) {
    struct game *game = called(user, GAME_HOOK_authenticate);
    if (game->host_asks) {
        *who = (mps_identity){.id = "host", .name = HOST_NAME};
        return MPS_YES;
    }
    if (starts(token, bytes, "now:")) {
        return identity_fill(who, token + 4, bytes - 4) ? MPS_YES : MPS_NO;
    }
    if (!starts(token, bytes, "later:") || game->pending_count == PENDING_MAX) {
        return MPS_NO;
    }
    struct pending *p = &game->pending[game->pending_count++];
    p->ticket = ticket;
    identity_fill(&p->who, token + 6, bytes - 6);
    return MPS_LATER;
}

/* Not from a hook: mps_auth_finish goes on with the request. Who gave up meanwhile has a ticket
   that is stale, and that is no error of ours. */
static void pending_finish(struct game *game) {
    uint32_t count = game->pending_count;
    game->pending_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct pending p = game->pending[i];
        mps_auth_finish(game->server, game->now, p.ticket, p.who.id[0] ? &p.who : NULL);
    }
}

/* == 2 what may be ===============================================================================
   Pure: each only decides. A no is answered with 403 refused_by_game, a position is put back. */

static bool on_lobby_check(void *user, const char *code, const char *scene, uint32_t max_players) {
    (void)code;
    called(user, GAME_HOOK_lobby_check);
    return strcmp(scene, SCENE) == 0 && max_players <= PLAYERS_MAX;
}

/* Hooks run inside the call that asks, so the game knows its own player by that. */
static bool name_is_free(const struct game *game, const char *name) {
    return game->host_asks || strcmp(name, HOST_NAME) != 0;
}

static bool on_join_check(void *user, mps_lobby lobby, const char *name) {
    (void)lobby;
    return name_is_free(called(user, GAME_HOOK_join_check), name);
}

static bool on_position_check(void *user, mps_lobby lobby, uint32_t player_id,
                              const double position[3], const double rotation[3]) {
    (void)lobby, (void)player_id, (void)rotation;
    called(user, GAME_HOOK_position_check);
    return position[0] <= WALL_X;
}

static bool on_room_check(void *user, const char *user_id, const char *gamemode, const char *map,
                          uint32_t max_players) {
    (void)user_id, (void)map, (void)max_players;
    called(user, GAME_HOOK_room_check);
    return strcmp(gamemode, SCENE) == 0;
}

static bool on_peer_check(void *user, mps_room room, const char *user_id, const char *name) {
    (void)room, (void)user_id;
    return name_is_free(called(user, GAME_HOOK_peer_check), name);
}

/* == 3 what happened =============================================================================
   The game keeps an avatar for each player of a lobby, until it leaves or the lobby is closed. */

static void on_lobby_opened(void *user, mps_lobby lobby, const char *code) {
    (void)lobby, (void)code;
    called(user, GAME_HOOK_lobby_opened);
}

static void on_lobby_closed(void *user, mps_lobby lobby, const char *code) {
    (void)lobby, (void)code;
    called(user, GAME_HOOK_lobby_closed);
}

/* The one of this player; {0, 0}: a free one. NULL: there is none. */
static struct avatar *avatar_find(struct game *game, mps_lobby lobby, uint32_t id) {
    for (uint32_t i = 0; i < AVATARS_MAX; i++) {
        if (game->avatars[i].lobby == lobby.id && game->avatars[i].id == id) {
            return &game->avatars[i];
        }
    }
    return NULL;
}

static void on_player_joined(void *user, mps_lobby lobby, uint32_t player_id, const char *name) {
    struct game *game = called(user, GAME_HOOK_player_joined);
    struct avatar *avatar = avatar_find(game, (mps_lobby){0}, 0);
    if (avatar) {
        *avatar = (struct avatar){.lobby = lobby.id, .id = player_id};
        snprintf(avatar->name, sizeof avatar->name, "%s", name);
        game->avatars_count++;
    }
}

static void on_player_left(void *user, mps_lobby lobby, uint32_t player_id) {
    struct game *game = called(user, GAME_HOOK_player_left);
    struct avatar *avatar = avatar_find(game, lobby, player_id);
    if (avatar) {
        *avatar = (struct avatar){.lobby = 0};
        game->avatars_count--;
    }
}

static void on_room_opened(void *user, mps_room room, const char *id, const char *gamemode) {
    struct game *game = called(user, GAME_HOOK_room_opened);
    (void)id, (void)gamemode;
    if (game->host_asks) {
        game->room = room;
        game->peers = 0;
    }
}

static void on_room_closed(void *user, mps_room room, const char *id) {
    struct game *game = called(user, GAME_HOOK_room_closed);
    (void)id;
    if (room.id == game->room.id) {
        game->room.id = 0;
        game->peers = 0;
    }
}

static void on_peer_joined(void *user, mps_room room, uint32_t peer_id) {
    struct game *game = called(user, GAME_HOOK_peer_joined);
    (void)peer_id;
    game->peers += room.id == game->room.id;
}

static void on_peer_left(void *user, mps_room room, uint32_t peer_id) {
    struct game *game = called(user, GAME_HOOK_peer_left);
    (void)peer_id;
    game->peers -= room.id == game->room.id;
}

/* == 4 messages, log =============================================================================
   A type of the game's own: `echo` comes back as `echoed`, to its sender alone. */

static bool on_room_message(void *user, mps_room room, uint32_t peer_id, const char *type,
                            const char *data, size_t bytes) {
    struct game *game = called(user, GAME_HOOK_room_message);
    if (strcmp(type, "echo") != 0) {
        return false;
    }
    mps_room_send(game->server, game->now, room, peer_id, "echoed", data, bytes);
    return true;
}

/* To the console, which is written out when the frame's work is done. A line that finds no place in
   it is left out, as nobody reads so many in a frame. */
static void on_log(void *user, const mps_log_record *record) {
    struct game *game = called(user, GAME_HOOK_log);
    char line[512];
    size_t bytes = mps_log_text(record, line, sizeof line - 1);
    line[bytes++] = '\n';
    if (bytes <= CONSOLE_BYTES - game->console_bytes) {
        memcpy(game->console + game->console_bytes, line, bytes);
        game->console_bytes += bytes;
    }
}

/* == 5 orders ====================================================================================
   An admin's, over HTTP. What they do is told to the room of the local player. */

static void room_tell(struct game *game, const char *type, const char *data) {
    if (game->room.id) {
        mps_room_send(game->server, game->now, game->room, 0, type, data, strlen(data));
    }
}

/* Reading rules anew may take its time and may reconfigure the server, which a hook must not: the
   port does it behind the call. */
static void on_reload(void *user) {
    struct game *game = called(user, GAME_HOOK_reload);
    mps_port_reload_soon(game->port);
}

void game_reload(struct game *game) {
    char data[64];
    snprintf(data, sizeof data, "{\"rules\":%u}", (unsigned)++game->rules);
    room_tell(game, "rules_changed", data);
}

static void on_record(void *user) {
    struct game *game = called(user, GAME_HOOK_record);
    char data[64];
    game->recording = !game->recording;
    snprintf(data, sizeof data, "{\"on\":%s,\"calls\":%u}", game->recording ? "true" : "false",
             (unsigned)game->recorded);
    game->recorded = 0;
    room_tell(game, "recording", data);
}

/* Here a game that wants to replay what happened would call mps_journal_add of
   platform/journal.h. */
static void on_call(void *user, const mps_call *call) {
    struct game *game = called(user, GAME_HOOK_call);
    game->recorded += game->recording && call->kind != MPS_CALL_ADVANCE;
}

void game_frame(struct game *game, uint64_t now) {
    game->now = now;
    pending_finish(game);
}

void game_hooks(struct game *game, mps_config *config) {
    config->hooks.user = game;
#define GAME_HOOK_SET(name) config->hooks.name = on_##name;
    GAME_HOOKS(GAME_HOOK_SET)
#undef GAME_HOOK_SET
}

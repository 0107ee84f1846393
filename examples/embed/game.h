/* game.h: the game's side of the server, every hook of it.  SPDX: MIT-0 */
#ifndef EMBED_GAME_H
#define EMBED_GAME_H

#include "../../platform/port.h"

#define HOST_NAME "Host" /* of the player at this machine; nobody else may be called so */
#define LOBBY_CODE "ARENA"
#define SCENE "arena" /* and gamemode: this game has no other */
#define PLAYERS_MAX 128
#define WALL_X 50.0 /* the world ends there */

/* Every hook that there is, to count that each is called. */
#define GAME_HOOKS(X) \
    X(authenticate)   \
    X(lobby_check)    \
    X(join_check)     \
    X(lobby_opened)   \
    X(lobby_closed)   \
    X(player_joined)  \
    X(player_left)    \
    X(position_check) \
    X(room_check)     \
    X(peer_check)     \
    X(room_opened)    \
    X(room_closed)    \
    X(peer_joined)    \
    X(peer_left)      \
    X(room_message)   \
    X(log)            \
    X(reload)         \
    X(record)         \
    X(call)

enum game_hook {
#define GAME_HOOK_ENUM(name) GAME_HOOK_##name,
    GAME_HOOKS(GAME_HOOK_ENUM)
#undef GAME_HOOK_ENUM
        GAME_HOOK_COUNT
};

extern const char *const game_hook_names[GAME_HOOK_COUNT];

/* A player of the lobby as the game has it: somebody to draw. */
struct avatar {
    uint64_t lobby; /* 0: free */
    uint32_t id;
    char name[MPS_NAME_BYTES_MAX + 1];
};

/* A pass that the platform's service still thinks about. */
struct pending {
    uint64_t ticket;
    mps_identity who; /* without id: refused */
};

#define AVATARS_MAX (2 * PLAYERS_MAX)
#define PENDING_MAX 64
#define CONSOLE_BYTES 4096 /* what a pipe takes whole */

struct game {
    struct mps_port *port;
    mps_server *server;
    uint64_t now;
    bool host_asks; /* the call under way is one of the local player's */
    mps_room room;  /* the one that the local player made */
    struct avatar avatars[AVATARS_MAX];
    uint32_t avatars_count, peers;
    struct pending pending[PENDING_MAX];
    uint32_t pending_count;
    uint32_t rules; /* how often they were read */
    bool recording;
    uint32_t recorded;           /* calls, in this recording */
    char console[CONSOLE_BYTES]; /* log lines of this frame */
    size_t console_bytes;
    uint64_t calls[GAME_HOOK_COUNT];
};

/* Fills config->hooks. */
void game_hooks(struct game *game, mps_config *config);

/* Once a frame, before the server's step. */
void game_frame(struct game *game, uint64_t now);

/* The on_reload of the port. */
void game_reload(struct game *game);

#endif

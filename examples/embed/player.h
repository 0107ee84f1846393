/* player.h: the local player, a client without a socket.  SPDX: MIT-0 */
#ifndef EMBED_PLAYER_H
#define EMBED_PLAYER_H

#include "game.h"

#define OUTBOX_BYTES 1024
#define INBOX_BYTES 32768

enum player_state {
    PLAYER_OUT,
    PLAYER_MAKING,    /* the lobby */
    PLAYER_JOINING,   /* it */
    PLAYER_UPGRADING, /* the connection to a WebSocket */
    PLAYER_SHAKING,   /* hands */
    PLAYER_SITTING,   /* down in a room */
    PLAYER_IN,
    PLAYER_LOST /* the server ended the connection, or said what was not expected */
};

/* Another player of the lobby, as told by datagrams. */
struct other {
    uint32_t id; /* 0: free */
    float x, y, z;
};

struct player {
    mps_server *server;
    mps_address address, http, udp; /* its own, and where it finds the server */
    mps_conn conn;
    enum player_state state;
    char outbox[OUTBOX_BYTES], inbox[INBOX_BYTES + 1]; /* of the connection; ends with a zero */
    size_t outbox_bytes, inbox_bytes;
    uint32_t peers; /* others in the room */

    uint32_t id;
    uint8_t token[8]; /* the first half of udp_token */
    uint16_t seq;
    bool welcomed;
    uint64_t join_due, state_due;
    float x, y, z, angle;
    struct other others[PLAYERS_MAX];
    uint32_t others_count;
};

void player_open(struct player *player, mps_server *server, const struct mps_port *port);

/* One step of the game. */
void player_step(struct player *player, float seconds);

/* Says what is to be said, before the server's step; takes what it answered, behind it. */
void player_say(struct player *player, uint64_t now);
void player_hear(struct player *player, uint64_t now);

/* The on_datagram of the port: true when it was for this player. */
bool player_datagram(struct player *player, const mps_datagram *datagram);

/* Leaves the lobby; the room sees the connection end. */
void player_leave(struct player *player, uint64_t now);

#endif

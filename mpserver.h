/* mpserver.h: a whole multiplayer back end in one C11 translation unit.      SPDX: MIT-0

   QUICK START
     Compile mpserver.c beside your game, pick a file from platform/, and run the loop:

         mps_config config = {.preset = MPS_PRESET_SMALL, .dev = true};
         size_t bytes = mps_memory_needed(&config);
         mps_server *server = NULL;
         if (mps_create(&server, &config, malloc(bytes), bytes, entropy) != MPS_OK) ...

     platform/port.h does the sockets; a port of your own makes the same few calls:

         conn = mps_tcp_open(server, now, &peer, &local)       a socket was accepted
         mps_tcp_input(server, conn, now, bytes, count)        bytes were read
         mps_tcp_eof / mps_tcp_closed(server, conn, now)       FIN came / the socket is gone
         deadline = mps_advance(server, now)                   once a round, then drain:
         while (mps_next_output(server, &conn)) ...            write, taken, sent, look at the fate
         mps_udp_input(server, now, &from, &to, bytes, count)  a datagram came in
         while (mps_udp_output(server, now, out, max)) ...     once a round, send them

   THE CORE DOES NO I/O. mpserver.c never touches a socket, a clock, a file or the heap. Bytes and
   time come in as arguments, output is pulled. It needs six functions of <string.h>, nothing else.

   CLOCK. `now` is in microseconds, monotonic, and starts anywhere; a `now` that runs backwards is
   taken as the latest one seen. The date is a separate matter: mps_wall_clock tells it, when the
   port knows it, as often as it likes, and it may step. Until then dates count from 1970, tokens
   minted here work, and foreign tokens are answered with 503 clock_unset.

   MEMORY. mps_memory_needed says how much, exactly; mps_create takes one block of it, 16-byte
   aligned, and nothing is allocated ever after. The block holds no pointer into itself: save it,
   move it, resume it. What is full answers with an error that names the limit to raise, is counted
   in /metrics, and never crashes or stalls. The strings of mps_config are copied.

   CONNECTIONS. A connection's fate is OPEN, FINISH (send the rest, shut down writing, go on
   reading until FIN) or ABORT (close the socket now). The port closes a socket on ABORT, or when
   FIN came and everything is sent, and then calls mps_tcp_closed; until that call the handle stays
   valid. FINISH is said when all output is made: once mps_tcp_output has no span, all is sent. Read
   only as much as mps_tcp_room says: 0 means leave the bytes in the kernel, and that is how
   back-pressure reaches the peer.

   OUTPUT. Calls never send. They mark connections, and the port drains them once a round with
   mps_next_output: however many answers were made, one gather-write per connection. `taken` says
   the port has queued bytes, `sent` that their memory is no longer needed; a port that copies (as
   writev does) says both at once.

   WEBSOCKETS arrive on the same connections: an HTTP upgrade turns one into a socket (RFC 6455),
   and the port need not know. What one member of a room says is framed once and queued for all
   others; a member that does not read is given the newest states when it does, and is closed with
   1013 before an event would be lost. Announcements to everybody are picked up by a few sockets a
   call, so the deadline is 0 while some have not heard.

   DATAGRAMS. Lobby players send positions, as JSON or binary v1; each lobby has a tick that tells
   everybody the newest state of the others. Datagrams are made when the port asks for them, as
   lists of spans that many of them share, and are its own until it asks again. A port that cannot
   send asks later and gets newer states. Loss is healed once a second.

   HOOKS. Everything in mps_hooks is optional. Hooks run inside input and advance calls, are never
   nested, and may call any mps_* function except mps_tcp_*, mps_udp_*, mps_advance,
   mps_next_output, mps_auth_finish and mps_create.

   RECORDING. The `call` hook is told of every call that changes the server; the same calls on a
   server made alike give the same bytes. platform/journal.h writes them to a file or keeps the last
   seconds, platform/replay.h makes them again; mps_state_hash and mps_resume serve these.

   THREADS. One server is used by one thread at a time. Two servers share nothing, except that
   mps_create uses one static arena pointer while it runs: do not create from two threads at once.

   ASSERTIONS stay on in release builds and mark programmer errors only, never wire data. Define
   MPS_ASSERT(x) before including mpserver.c to handle them your way.

   SWITCHES, defined for mpserver.c alone, leave out what a build does not need. What is declared
   here stays and links, and mps_config is the same in every build; a configuration file that sets
   a key of what is left out is told so.
     MPS_NO_ROOMS        no WebSocket, presence, relay rooms: their routes are 404, mps_room_* and
                         mps_user_send find nobody, announcements reach nobody
     MPS_NO_UDP          no positions, LAN discovery, STUN: datagrams are counted and dropped,
                         mps_udp_output gives 0. Lobby players are not heard: they stay until they
                         leave, are kicked, or player_timeout_ms (an hour, then) is over
     MPS_NO_DOCS         mps_doc_row has no rows, /metrics no help
     MPS_NO_ERROR_TEXTS  mps_error_text and `message` of an answer repeat the code

   LIMITS. Zero in any number of mps_config means the preset's default. `mpserver --help-config`
   prints every key with its defaults, range and unit; it is the same table the core reads. */
#ifndef MPSERVER_H
#define MPSERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MPS_VERSION "0.5.0"

/* == errors ======================================================================================
   One table: name, value, wire code, HTTP status, WebSocket close code (0: stays open), and a
   sentence that says what to change. Groups: -1xx try again, -2xx the peer broke the protocol,
   -3xx the caller's mistake, -4xx a limit, -5xx the game said no. */
#define MPS_ERRORS(X)                                                                              \
    X(DRAINING, -100, "draining", 503, 1001, "The server is shutting down; use another one.")      \
    X(CLOCK_UNSET, -101, "clock_unset", 503, 1013,                                                 \
      "The server does not know the date yet; try again, or sign in as a guest.")                  \
    X(AUTH_TIMEOUT, -102, "auth_timeout", 503, 1013,                                               \
      "The game did not answer for this token in time; try again.")                                \
    X(BAD_REQUEST, -200, "bad_request", 400, 0,                                                    \
      "The request is not well-formed HTTP; see RFC 9112.")                                        \
    X(BAD_FRAMING, -201, "bad_framing", 400, 0,                                                    \
      "Send one Content-Length or one chunked Transfer-Encoding, never both.")                     \
    X(BAD_HOST, -202, "bad_host", 400, 0, "Send exactly one valid Host header.")                   \
    X(BAD_CHUNK, -203, "bad_chunk", 400, 0, "The chunked body is malformed; see RFC 9112, 7.1.")   \
    X(BAD_QUERY, -204, "bad_query", 400, 0,                                                        \
      "A query parameter is malformed or out of range; see `field`.")                              \
    X(BAD_JSON, -205, "bad_json", 400, 0, "Send one JSON object; the fault is at `position`.")     \
    X(INVALID_FIELD, -206, "invalid_field", 400, 0,                                                \
      "A member is missing, of the wrong type or out of range; see `field`.")                      \
    X(HTTP_VERSION, -207, "http_version_unsupported", 505, 0, "Speak HTTP/1.1 or HTTP/1.0.")       \
    X(TRANSFER_CODING, -208, "transfer_coding_unsupported", 501, 0,                                \
      "The only Transfer-Encoding served is chunked.")                                             \
    X(CONTENT_CODING, -209, "content_encoding_unsupported", 415, 0,                                \
      "Send the body without Content-Encoding.")                                                   \
    X(METHOD_UNKNOWN, -210, "method_unknown", 501, 0,                                              \
      "Use GET, HEAD, POST, PUT, DELETE or OPTIONS.")                                              \
    X(METHOD_NOT_ALLOWED, -211, "method_not_allowed", 405, 0,                                      \
      "This path does not take that method; see the Allow header.")                                \
    X(EXPECTATION, -212, "expectation_failed", 417, 0,                                             \
      "The only expectation met is 100-continue.")                                                 \
    X(REQUEST_TIMEOUT, -213, "request_timeout", 408, 0,                                            \
      "The request did not arrive in time; send it in one go.")                                    \
    X(LENGTH_REQUIRED, -214, "length_required", 411, 0,                                            \
      "Send Content-Length with the body, or speak HTTP/1.1.")                                     \
    X(WS_PROTOCOL, -215, "protocol_error", 400, 1002,                                              \
      "The bytes are no WebSocket frames of a client; see RFC 6455.")                              \
    X(WS_BINARY, -216, "binary_unsupported", 400, 1003, "Send messages as text frames.")           \
    X(WS_UTF8, -217, "invalid_utf8", 400, 1007, "Text messages and close reasons are UTF-8.")      \
    X(BAD_UPGRADE, -220, "bad_upgrade", 400, 0,                                                    \
      "Upgrade with HTTP/1.1, no body, and a Sec-WebSocket-Key of 16 bytes in base64.")            \
    X(UPGRADE_REQUIRED, -221, "upgrade_required", 426, 0,                                          \
      "This path is a WebSocket; send Upgrade: websocket and Connection: Upgrade.")                \
    X(WS_VERSION, -222, "websocket_version", 426, 0, "Speak WebSocket version 13 (RFC 6455).")     \
    X(INVALID_HANDSHAKE, -223, "invalid_handshake", 400, 0,                                        \
      "A handshake takes a version, a name of 1 to 32 characters and a token of its own user.")    \
    X(INVALID_JOIN_ROOM, -224, "invalid_join_room", 400, 0,                                        \
      "A member is missing, of the wrong type or out of range; see `field`.")                      \
    X(UNKNOWN_TYPE, -225, "unknown_type", 400, 0,                                                  \
      "No message has this `type`; --help-routes lists them.")                                     \
    X(MESSAGE_TIMEOUT, -226, "message_timeout", 408, 1008,                                         \
      "The message did not arrive in time; send it in one go.")                                    \
    X(ARGUMENT, -300, "argument", 500, 1011, "An argument of the call is not valid.")              \
    X(HANDLE, -301, "stale_handle", 500, 1011, "The handle is stale or of another server.")        \
    X(MEMORY_SIZE, -302, "memory_too_small", 500, 1011,                                            \
      "Hand over at least mps_memory_needed(&config) bytes.")                                      \
    X(MEMORY_ALIGN, -303, "memory_misaligned", 500, 1011,                                          \
      "The memory block must be aligned to 16 bytes.")                                             \
    X(CONFIG, -304, "config_invalid", 500, 1011, "A configuration value is not valid.")            \
    X(NESTED, -305, "nested_call", 500, 1011, "This function cannot be called from a hook.")       \
    X(LOAD_FULL, -306, "load_full", 500, 1011,                                                     \
      "Loading ran out of scratch memory; raise `chunks`.")                                        \
    X(TARGET_TOO_LONG, -400, "target_too_long", 414, 0, "Shorten the request target.")             \
    X(HEAD_TOO_LARGE, -401, "head_too_large", 431, 0, "Send fewer or shorter header fields.")      \
    X(BODY_TOO_LARGE, -402, "body_too_large", 413, 1009, "Send a smaller body; see `limit`.")      \
    X(RATE_LIMITED, -403, "rate_limited", 429, 1008, "Slow down; over HTTP see Retry-After.")      \
    X(CONNECTIONS_FULL, -404, "connections_full", 503, 1013,                                       \
      "Every connection is in use; try again (operator: raise `connections`).")                    \
    X(INPUTS_FULL, -405, "large_inputs_full", 503, 1013,                                           \
      "No memory for a text this long was free; try again (operator: `chunks`, `large_inputs`).")  \
    X(OUTPUT_FULL, -406, "output_full", 503, 1013,                                                 \
      "No memory for the answer was free; try again (operator: raise `chunks`).")                  \
    X(LOBBIES_FULL, -407, "lobbies_full", 503, 0,                                                  \
      "Every lobby is in use; try again (operator: raise `lobbies`).")                             \
    X(PLAYERS_FULL, -408, "players_full", 503, 0,                                                  \
      "Every player record is in use; try again (operator: raise `players`).")                     \
    X(LOBBY_FULL, -409, "lobby_full", 409, 0, "The lobby is full; join another one.")              \
    X(MESSAGE_TOO_LARGE, -410, "message_too_large", 413, 1009,                                     \
      "Send shorter messages (operator: raise `message_bytes_max`).")                              \
    X(USERS_FULL, -411, "users_full", 503, 0,                                                      \
      "Every user record is in use; try again (operator: raise `users`).")                         \
    X(ROOMS_FULL, -412, "room_capacity_reached", 409, 0,                                           \
      "Every room is in use; join one, or try again (operator: raise `rooms`).")                   \
    X(ROOM_FULL, -413, "room_full", 409, 0, "The room is full; join another one.")                 \
    X(FANOUT_TOO_LARGE, -416, "fanout_too_large", 413, 0,                                          \
      "Too long for so many members; send it in parts (operator: raise `fanout_bytes_max`).")      \
    X(SEATS_FULL, -415, "room_full", 409, 0,                                                       \
      "Every seat of the server is taken; try again (operator: raise `seats`).")                   \
    X(BANS_FULL, -414, "bans_full", 503, 0,                                                        \
      "Every ban is in use; kick instead (operator: raise `bans` or `room_bans_max`).")            \
    X(CONNECTIONS_SHARE, -417, "address_connections_full", 429, 1008,                              \
      "Your address has its share; close some (operator: raise `connections_per_address`).")       \
    X(NOT_FOUND, -500, "not_found", 404, 0,                                                        \
      "Nothing is served at this path; --help-routes lists what is.")                              \
    X(AUTH_REQUIRED, -501, "authentication_required", 401, 0,                                      \
      "Sign in: Authorization: Bearer or a handshake with a token, e.g. of POST /auth/guest.")     \
    X(TOKEN_INVALID, -502, "invalid_token", 401, 0, "The token is not valid here; sign in again.") \
    X(TOKEN_EXPIRED, -503, "token_expired", 401, 0, "The token has expired; sign in again.")       \
    X(TOKEN_EARLY, -504, "token_not_yet_valid", 401, 0,                                            \
      "The token is not valid yet; check the clock of whoever issued it.")                         \
    X(FORBIDDEN, -505, "forbidden", 403, 0, "This needs another role than the token has.")         \
    X(GUEST_DISABLED, -506, "guest_login_disabled", 403, 0,                                        \
      "Guest login is off; sign in with your account (operator: set `guest_login`).")              \
    X(NOT_REFRESHABLE, -507, "not_refreshable", 403, 0,                                            \
      "Only a player's token issued here can be refreshed; sign in again.")                        \
    X(REFRESH_EXPIRED, -508, "refresh_expired", 401, 0,                                            \
      "The first sign-in is too long ago to refresh; sign in again.")                              \
    X(LOBBY_NOT_FOUND, -509, "lobby_not_found", 404, 0,                                            \
      "No lobby has this code; list them with GET /lobbies.")                                      \
    X(LOBBY_EXISTS, -510, "lobby_exists", 409, 0,                                                  \
      "A lobby with this code exists; join it or choose another code.")                            \
    X(LOBBY_NOT_EMPTY, -511, "lobby_not_empty", 409, 0,                                            \
      "Players are still in the lobby; they must leave first.")                                    \
    X(LOBBY_NOT_YOURS, -512, "not_lobby_owner", 403, 0,                                            \
      "Only its creator, a member with `udp_token`, or an admin may delete a lobby.")              \
    X(LOBBY_PERMANENT, -513, "lobby_permanent", 403, 0, "This lobby cannot be deleted.")           \
    X(PLAYER_NOT_FOUND, -514, "player_not_found", 404, 0,                                          \
      "No player with this `player_id` is in the lobby.")                                          \
    X(UDP_TOKEN_WRONG, -515, "invalid_udp_token", 403, 0,                                          \
      "`udp_token` is not the one that the join of this player gave out.")                         \
    X(REFUSED, -516, "refused_by_game", 403, 0, "The game's rules refused this.")                  \
    X(METRICS_FORBIDDEN, -517, "metrics_forbidden", 403, 0,                                        \
      "Ask from loopback, from a `metrics_allow` address, or with an admin token.")                \
    X(RELOAD_UNAVAILABLE, -518, "reload_unavailable", 501, 0,                                      \
      "This server has nothing to reload: its host set no `reload` hook.")                         \
    X(RECORD_UNAVAILABLE, -519, "record_unavailable", 501, 0,                                      \
      "This server has no recorder (operator: --flight or --record; a game: the `record` hook).")  \
    X(ROOM_NOT_FOUND, -520, "room_not_found", 404, 0,                                              \
      "No room has this id; list them with GET /api/rooms.")                                       \
    X(ROOM_UNCONFIRMED, -521, "room_not_found", 404, 0,                                            \
      "The room's maker has not entered it yet; try again.")                                       \
    X(NO_ROOM_FOUND, -522, "no_room_found", 404, 0,                                                \
      "You have no room that waits for you; make one with POST /api/rooms.")                       \
    X(ROOM_EXISTS, -523, "room_exists", 400, 0,                                                    \
      "You have a room already, `existing_room_id`; use it or leave it first.")                    \
    X(ALREADY_IN_ROOM, -524, "already_in_room", 409, 0,                                            \
      "You are in a room already; send leave_room first, or resume with resumeToken.")             \
    X(BANNED, -525, "banned", 403, 0, "You are banned from this room; join another one.")          \
    X(VERSION_MISMATCH, -526, "version_mismatch", 409, 0,                                          \
      "The room runs another version of the game; update, or join another room.")                  \
    X(RESUME_INVALID, -527, "invalid_token", 401, 0,                                               \
      "This resumeToken is used, expired or another user's; join without it.")                     \
    X(NOT_IN_ROOM, -528, "not_in_room", 409, 0, "Join a room first.")                              \
    X(NOT_HOST, -529, "not_host", 403, 0, "Only the host of the room may do this.")                \
    X(INVALID_TARGET, -530, "invalid_target", 422, 0,                                              \
      "No other member has this peer id; see the members of room_joined.")                         \
    X(ADDRESS_TAKEN, -531, "address_taken", 409, 0,                                                \
      "Another player is at this address; leave first, or send from another port.")

typedef enum mps_error {
    MPS_OK = 0,
#define MPS_ERROR_ENUM(name, value, code, http, ws, text) MPS_E_##name = value,
    MPS_ERRORS(MPS_ERROR_ENUM)
#undef MPS_ERROR_ENUM
} mps_error;

/* The wire code ("lobby_full") and the sentence of an error; "ok" for MPS_OK. Static strings. */
const char *mps_error_code(mps_error error);
const char *mps_error_text(mps_error error);

/* == shapes ==================================================================================== */

typedef struct mps_server mps_server; /* lives at the start of the block that mps_create got */

/* Handles. id 0 is none. A handle of something gone never comes to mean something else.
   The low 32 bits of mps_conn.id are an index + 1, and the index is below mps_connections_max: a
   port may keep its sockets in a plain array. Promised for connections only. */
typedef struct mps_conn {
    uint64_t id;
} mps_conn;
typedef struct mps_lobby {
    uint64_t id;
} mps_lobby;
typedef struct mps_player {
    uint64_t id;
} mps_player;
typedef struct mps_room {
    uint64_t id;
} mps_room;

/* An address: IPv6 in network order, or IPv4 mapped into it (::ffff:a.b.c.d, RFC 4291, 2.5.5.2).
   `port` is a plain number, `scope` the interface of a link-local address or 0. */
typedef struct mps_address {
    uint8_t ip[16];
    uint16_t port;
    uint32_t scope;
} mps_address;

/* A run of bytes to send: borrowed from the server, once taken until mps_tcp_sent says they are
   gone. */
typedef struct mps_span {
    const void *bytes;
    size_t count;
} mps_span;

typedef enum mps_fate { MPS_FATE_OPEN, MPS_FATE_FINISH, MPS_FATE_ABORT } mps_fate;

typedef enum mps_level {
    MPS_LOG_DEFAULT, /* info */
    MPS_LOG_DEBUG,   /* every request */
    MPS_LOG_INFO,
    MPS_LOG_WARN,
    MPS_LOG_ERROR,
    MPS_LOG_OFF
} mps_level;

/* Where a text broke a rule. `line` and `column` count from 1, `position` is a byte offset. `key`
   names the configuration key and `text` says what is wrong and what would be right. */
typedef struct mps_fault {
    mps_error error;
    uint32_t line, column;
    size_t position;
    char key[64];
    char text[192];
} mps_fault;

/* A datagram to send: its spans one after the other, `bytes` in all. Borrowed from the server until
   the next mps_udp_output. `from` is the local address that the peer knows, for hosts that have
   several. */
#define MPS_DATAGRAM_SPANS 4
typedef struct mps_datagram {
    mps_address to, from;
    mps_span spans[MPS_DATAGRAM_SPANS];
    size_t spans_count, bytes;
} mps_datagram;

/* == log ======================================================================================= */

typedef struct mps_log_field {
    const char *name;
    const char *text; /* NULL: `number` counts */
    size_t text_bytes;
    int64_t number;
} mps_log_field;

#define MPS_LOG_FIELDS_MAX 10

/* One log record, borrowed until the hook returns. */
typedef struct mps_log_record {
    mps_level level;
    const char *item; /* stable name, e.g. "lobby_opened" */
    const char *text; /* what happened, and which limit to raise if one was met */
    int64_t unix_ms;  /* 0: the date is not known */
    uint64_t uptime_us;
    uint32_t fields_count;
    mps_log_field fields[MPS_LOG_FIELDS_MAX];
} mps_log_record;

/* Writes a record as one line without line end, for people or as one JSON object; both give the
   bytes written, cut to `capacity`. Control characters are escaped: a log line stays one line. */
size_t mps_log_text(const mps_log_record *record, char *line, size_t capacity);
size_t mps_log_json(const mps_log_record *record, char *line, size_t capacity);

/* == hooks ===================================================================================== */

typedef enum mps_verdict { MPS_NO, MPS_YES, MPS_LATER } mps_verdict;

#define MPS_ID_BYTES_MAX 128   /* of a user id */
#define MPS_NAME_BYTES_MAX 128 /* 32 code points */

typedef enum mps_role { MPS_ROLE_PLAYER, MPS_ROLE_SERVER, MPS_ROLE_ADMIN } mps_role;

/* Who a token speaks for. `id` is text, or the decimal digits of a number when `id_is_number`:
   number 7 and string "7" are different users. Both texts are zero-terminated. */
typedef struct mps_identity {
    char id[MPS_ID_BYTES_MAX + 1];
    char name[MPS_NAME_BYTES_MAX + 1];
    bool id_is_number;
    mps_role role;
} mps_identity;

/* A call into the core that changes it, told to a recorder. Made again in the same order, on a
   server of the same configuration, entropy and hooks, the calls give the same bytes and the same
   mps_state_hash. Members that a call does not have are 0; all is borrowed until the hook returns.
   platform/journal.h writes these down and makes them again. */
typedef enum mps_call_kind {
    MPS_CALL_WALL_CLOCK,      /* number: unix_ms */
    MPS_CALL_ADVANCE,         /* now alone */
    MPS_CALL_DRAIN,           /* number: grace_ms */
    MPS_CALL_RECONFIGURE,     /* config; no `now` */
    MPS_CALL_NOTE_CALL_NS,    /* number; no `now` */
    MPS_CALL_NOTE_PORT_ERROR, /* text, number: code; no `now` */
    MPS_CALL_NOTE_UDP_DROPS,  /* number; no `now` */
    MPS_CALL_TCP_OPEN,        /* from: peer, to: local */
    MPS_CALL_TCP_INPUT,       /* id, bytes */
    MPS_CALL_TCP_EOF,         /* id */
    MPS_CALL_TCP_CLOSED,      /* id */
    MPS_CALL_NEXT_OUTPUT,     /* one that gives a connection; no `now` */
    MPS_CALL_TCP_TAKEN,       /* id, number: count; no `now` */
    MPS_CALL_TCP_SENT,        /* id, number: count */
    MPS_CALL_UDP_INPUT,       /* from, to, bytes */
    MPS_CALL_UDP_OUTPUT,      /* number: max; told behind it, with datagrams and their count */
    MPS_CALL_AUTH_FINISH,     /* id: ticket, who */
    MPS_CALL_LOBBY_KICK,      /* id, number: player_id */
    MPS_CALL_ROOM_KICK,       /* id, number: peer_id */
    MPS_CALL_ROOM_SEND,       /* id, number: peer_id, text: type, bytes: data */
    MPS_CALL_USER_SEND,       /* who, text: type, bytes: data */
    MPS_CALL_KINDS
} mps_call_kind;

typedef struct mps_call {
    mps_call_kind kind;
    uint64_t now, id;
    int64_t number;
    size_t count; /* of bytes or datagrams */
    const void *bytes;
    const mps_address *from, *to;
    const char *text;
    union { /* the one that the kind has: so often is a call told that it is kept short */
        const mps_identity *who;
        const struct mps_config *config;
        const mps_datagram *datagrams;
    };
} mps_call;

/* The game's side; every member may be NULL. `user` comes first in each call. */
typedef struct mps_hooks {
    void *user;
    /* A token that is not a JWT of ours (a console ticket, say), borrowed. YES fills `who`; LATER
       promises mps_auth_finish(server, ticket, ...) within auth_timeout_ms. */
    mps_verdict (*authenticate)(void *user, const char *token, size_t bytes, uint64_t ticket,
                                mps_identity *who);
    /* May a lobby with this code and scene be made; may this name join it? Pure: decide only. */
    bool (*lobby_check)(void *user, const char *code, const char *scene, uint32_t max_players);
    bool (*join_check)(void *user, mps_lobby lobby, const char *name);
    void (*lobby_opened)(void *user, mps_lobby lobby, const char *code);
    void (*lobby_closed)(void *user, mps_lobby lobby, const char *code);
    void (*player_joined)(void *user, mps_lobby lobby, uint32_t player_id, const char *name);
    void (*player_left)(void *user, mps_lobby lobby, uint32_t player_id);
    /* May the player go there? x, y, z and radians, all finite. Pure. False: it is put back, as one
       that is faster than player_speed_max. */
    bool (*position_check)(void *user, mps_lobby lobby, uint32_t player_id,
                           const double position[3], const double rotation[3]);
    /* May this user make such a room, or sit down in one? Pure: decide only. `user_id` as in
       mps_identity; texts are borrowed. */
    bool (*room_check)(void *user, const char *user_id, const char *gamemode, const char *map,
                       uint32_t max_players);
    bool (*peer_check)(void *user, mps_room room, const char *user_id, const char *name);
    void (*room_opened)(void *user, mps_room room, const char *id, const char *gamemode);
    void (*room_closed)(void *user, mps_room room, const char *id);
    void (*peer_joined)(void *user, mps_room room, uint32_t peer_id);
    void (*peer_left)(void *user, mps_room room, uint32_t peer_id); /* not when the room closes */
    /* A member sent a message of a type of the game's own. `data` is checked JSON, not terminated,
       borrowed. False: the sender is told unknown_type. */
    bool (*room_message)(void *user, mps_room room, uint32_t peer_id, const char *type,
                         const char *data, size_t bytes);
    void (*log)(void *user, const mps_log_record *record);
    void (*reload)(void *user); /* POST /admin/reload asks for what SIGHUP does */
    void (*record)(void *user); /* POST /admin/record */
    /* The next call is about to be made; not told of those that hooks make. It must not change the
       server, which is as it was between the calls: its block may be copied here. */
    void (*call)(void *user, const mps_call *call);
} mps_hooks;

/* == configuration ============================================================================= */

typedef enum mps_preset { MPS_PRESET_SMALL, MPS_PRESET_TINY, MPS_PRESET_LARGE } mps_preset;
typedef enum mps_switch { MPS_AUTO, MPS_ON, MPS_OFF } mps_switch;

#define MPS_UNLIMITED UINT32_MAX /* for those limits that say so */
#define MPS_RANGES_MAX 16        /* entries of trusted_proxies and of metrics_allow */

/* Every limit. Zero means the preset's default; --help-config prints them all with their ranges. */
typedef struct mps_config {
    mps_preset preset;
    bool dev;             /* guest login, TEST lobby, no rate limit on loopback, open metrics */
    bool presence_public; /* user_online and user_offline go to anonymous sockets, too */

    /* tables */
    uint32_t connections;
    uint32_t connections_per_address; /* IPv6: per /64; not of trusted proxies */
    uint32_t refusals;                /* further connections that are only told 503 or 429 */
    uint32_t users;                   /* with a socket, a seat or a room of their own */
    uint32_t rooms;                   /* relay rooms */
    uint32_t room_players_max;        /* the most that a room's maxPlayers may say */
    uint32_t seats;                   /* members over all rooms */
    uint32_t bans;                    /* over all rooms */
    uint32_t room_bans_max;           /* of these in one room */
    uint32_t lobbies;
    uint32_t lobby_players;        /* the most that a lobby's max_players may say */
    uint32_t players;              /* over all lobbies */
    uint32_t buckets;              /* rate-limit buckets */
    uint32_t datagram_batch;       /* handed out by one mps_udp_output */
    uint32_t datagram_reply_bytes; /* answers to datagrams that wait to be sent */
    uint32_t log_entries;          /* kept for GET /admin/log */

    /* bytes */
    uint32_t input_bytes;  /* unfinished input that each connection owns */
    uint32_t output_bytes; /* output that each connection owns */
    uint32_t chunks;       /* lent to connections that need more of either */
    uint32_t chunk_bytes;
    uint32_t output_bytes_max; /* unsent output of one connection */
    uint32_t large_inputs;     /* buffers for one whole request (head and body) or message each */
    uint32_t large_inputs_per_address;
    uint32_t head_bytes_max, target_bytes_max, body_bytes_max, message_bytes_max;
    uint32_t fanout_bytes_max; /* of one relayed message over all members that it goes to */
    uint32_t slot_bytes;       /* of a member's newest state, two each */
    uint32_t announce_bytes;   /* announcements kept for sockets that have not heard them */

    /* work per call */
    uint32_t requests_per_call; /* of one connection */
    uint32_t settle_max;        /* outcomes, timers and waiting connections per call */

    /* time-outs, milliseconds */
    uint32_t head_timeout_ms, body_timeout_ms, idle_timeout_ms, send_timeout_ms, linger_ms;
    uint32_t buffer_wait_ms, input_hold_ms, auth_timeout_ms;
    uint32_t ping_after_ms, silence_timeout_ms, message_timeout_ms; /* of sockets */
    uint32_t seat_timeout_ms, room_timeout_ms;
    uint32_t player_timeout_ms, lobby_timeout_ms, drain_grace_ms;

    /* positions by UDP */
    uint32_t tick_hz;            /* updates of each lobby a second */
    uint32_t player_speed_max;   /* units a second; MPS_UNLIMITED (0 in a file): any */
    mps_switch udp_same_ip_join; /* first join without token, by IP; AUTO: on with dev */
    mps_switch lan_discovery;    /* AUTO: on */

    /* rates per second and address (IPv6: per /64); bursts are twice that, of STUN the same */
    uint32_t connections_per_s, requests_per_s, datagrams_per_s, stun_per_s;
    /* the same per player */
    uint32_t player_datagrams_per_s, states_per_s, chats_per_s, messages_per_s;
    uint32_t refusals_max; /* messages refused by rate in a row, then a socket is closed */

    /* who is calling */
    mps_switch guest_login;   /* AUTO: on with dev, or when there is no jwt_secret */
    const char *jwt_secret;   /* NULL: one is made from the entropy */
    size_t jwt_secret_bytes;  /* 0: strlen */
    const char *jwt_issuer;   /* `iss` of minted tokens, and required then; NULL: "mpserver", any */
    const char *jwt_audience; /* NULL: not checked */
    uint32_t token_ttl_s, refresh_ttl_s;

    /* addresses */
    const char *name;        /* of this server, in /api/status; default "mpserver" */
    const char *public_host; /* `server_ip` of lobbies; NULL: the address the caller reached */
    uint16_t http_port, udp_port;
    const char *cors_origin;                                                     /* default "*" */
    const char *trusted_proxies[MPS_RANGES_MAX], *metrics_allow[MPS_RANGES_MAX]; /* CIDRs */

    mps_level log_level;
    mps_hooks hooks;
} mps_config;

/* Reads a JSON object of configuration keys over `config` (keys that are absent stay). The text is
   changed in place and must outlive mps_create: string members point into it. Unknown and repeated
   keys, wrong types and values out of range give MPS_E_CONFIG and fill `fault`. */
mps_error mps_config_read(mps_config *config, char *json, size_t bytes, mps_fault *fault);

/* Checks the values and how they fit together, as mps_create does; fills `fault`. */
mps_error mps_config_check(const mps_config *config, mps_fault *fault);

/* Writes the effective configuration, defaults filled in, secrets left out, as JSON that
   mps_config_read takes back; gives the bytes that it takes, which may exceed `capacity` (then the
   text is cut). 8 KiB always suffice. */
size_t mps_config_print(const mps_config *config, char *json, size_t capacity);

/* The tables that the server runs on, as text for --help-*: writes row `row` (from 0) as one line
   and gives its bytes, 0 behind the last row. */
typedef enum mps_doc {
    MPS_DOC_CONFIG,
    MPS_DOC_ROUTES,
    MPS_DOC_ERRORS,
    MPS_DOC_METRICS,
    MPS_DOC_MESSAGES,
    MPS_DOC_DATAGRAMS
} mps_doc;
size_t mps_doc_row(mps_doc table, uint32_t row, char *line, size_t capacity);

/* == life ====================================================================================== */

/* How many connections can be open at once, those that are only refused included (`connections` +
   `refusals`, defaults filled in); 0 when the configuration is not valid. */
uint32_t mps_connections_max(const mps_config *config);

/* The exact size of the block for this configuration; 0 when it is not valid. */
size_t mps_memory_needed(const mps_config *config);

/* How that size comes about: row by row (from 0), false behind the last. Sums up to the need. */
typedef struct mps_memory_row {
    const char *table;
    size_t items, item_bytes, bytes;
} mps_memory_row;
bool mps_memory_report(const mps_config *config, uint32_t row, mps_memory_row *out);

/* Makes a server in `memory` (16-byte aligned, borrowed for the server's life). `entropy` is 32
   bytes from the system's generator: tokens and codes are as secret as it is. Errors:
   MPS_E_CONFIG, MPS_E_MEMORY_SIZE, MPS_E_MEMORY_ALIGN, MPS_E_ARGUMENT. */
mps_error mps_create(mps_server **server, const mps_config *config, void *memory, size_t bytes,
                     const uint8_t entropy[32]);

/* Takes a block into use that was saved or moved: a copy of all its bytes, made between two calls
   (or in the `call` hook), by a build with the same layout. The hooks are those of this process.
   Errors: MPS_E_ARGUMENT (no server), MPS_E_MEMORY_SIZE (cut, or another build's),
   MPS_E_MEMORY_ALIGN. */
mps_error mps_resume(mps_server **server, void *memory, size_t bytes, const mps_hooks *hooks);

/* Takes over those values of `config` that may change while running (the `live` keys: rates,
   time-outs, guest login, log level). Gives the number of other keys that differ and therefore
   wait for a restart, each named in the log, or an mps_error. A time-out that is running keeps its
   old length. */
int mps_reconfigure(mps_server *server, const mps_config *config);

/* The date: `unix_ms` is what the clock says at `now`. May step, either way. */
void mps_wall_clock(mps_server *server, uint64_t now, int64_t unix_ms);

/* Runs due timers and left-over work, a bounded amount; gives mps_deadline. */
uint64_t mps_advance(mps_server *server, uint64_t now);

/* When mps_advance wants to be called next (microseconds on the scale of `now`): 0 at once,
   UINT64_MAX when nothing is due. Ask after draining output, before sleeping. */
uint64_t mps_deadline(const mps_server *server);

/* Begins to shut down: new work is refused with 503, idle connections close, the rest after
   `grace_ms` (0: drain_grace_ms), at once when nobody is connected. mps_drained: it is over. */
void mps_drain(mps_server *server, uint64_t now, uint32_t grace_ms);
bool mps_drained(const mps_server *server);

/* Tells how long a core call took; /metrics shows the histogram. The core has no clock to ask. */
void mps_note_call_ns(mps_server *server, uint64_t ns);

/* The port met an error that costs service (accept or send failing, descriptors running out). */
void mps_note_port_error(mps_server *server, const char *what, int code);

/* SipHash-2-4 (Aumasson, Bernstein, 2012) of `count` bytes, for what a port must make unguessable,
   such as initial sequence numbers (RFC 6528). */
uint64_t mps_keyed_hash(const uint8_t key[16], const void *bytes, size_t count);

/* == TCP ======================================================================================= */

/* A connection was accepted. id 0: refused, close the socket. */
mps_conn mps_tcp_open(mps_server *server, uint64_t now, const mps_address *peer,
                      const mps_address *local);

/* How many bytes the core takes now. 0: stop reading this socket until mps_next_output names it
   again. Ask right before each read. */
size_t mps_tcp_room(const mps_server *server, mps_conn conn);

/* Bytes came in: count <= mps_tcp_room. They are parsed in place and may be changed during the
   call; what is unfinished is copied. MPS_E_HANDLE, MPS_E_ARGUMENT (too many), MPS_E_NESTED. */
mps_error mps_tcp_input(mps_server *server, mps_conn conn, uint64_t now, void *bytes, size_t count);

/* The peer sent FIN: no more input. What was asked before is still answered, then FINISH. */
void mps_tcp_eof(mps_server *server, mps_conn conn, uint64_t now);

/* The socket is gone, whoever closed it; the handle is stale from here on. */
void mps_tcp_closed(mps_server *server, mps_conn conn, uint64_t now);

/* The next connection with something to do: bytes to send, room that came back, fate changed.
   False when there is none. Each is named once until something new happens to it, and the one that
   has waited longest comes first: when one is named twice in a round, all others had a turn. */
bool mps_next_output(mps_server *server, mps_conn *conn);

mps_fate mps_tcp_fate(const mps_server *server, mps_conn conn);

/* Up to `max` spans of bytes that are not taken yet; gives how many. Take what is to be sent before
   any other call: bytes that are not taken may move. */
size_t mps_tcp_output(const mps_server *server, mps_conn conn, mps_span *spans, size_t max);

/* The port has queued the next `count` bytes / the oldest `count` bytes need no memory any more. */
void mps_tcp_taken(mps_server *server, mps_conn conn, size_t count);
void mps_tcp_sent(mps_server *server, mps_conn conn, uint64_t now, size_t count);

/* == UDP ======================================================================================= */

/* A datagram came in: JSON, binary v1 or STUN (RFC 8489). It is parsed in place and may be changed
   during the call. `to` is the local address that it reached. */
void mps_udp_input(mps_server *server, uint64_t now, const mps_address *from, const mps_address *to,
                   void *bytes, size_t count);

/* Fills `out` with up to `max` datagrams (and up to datagram_batch) and gives how many; the bytes
   of those it gave before are free from here on. Call it until it gives 0, once a round behind
   mps_advance; while the system takes no more, keep what is left and call it later: positions are
   put together when they are asked for, so nothing piles up. Datagrams to one address stand one
   behind the other. */
size_t mps_udp_output(mps_server *server, uint64_t now, mps_datagram *out, size_t max);

/* The system dropped `count` more datagrams, because they came faster than they were read. */
void mps_note_udp_drops(mps_server *server, uint64_t count);

/* == the game's calls ========================================================================== */

/* Answers an authenticate hook that said LATER. `who` NULL: refused. MPS_E_HANDLE: too late. */
mps_error mps_auth_finish(mps_server *server, uint64_t now, uint64_t ticket,
                          const mps_identity *who);

/* Mints an HS256 token (RFC 7519) for `who`, valid `ttl_s` seconds from `unix_s`, into `token`;
   gives its bytes without the terminating zero, 0 when `capacity` is too small, the role is none,
   or the id is empty, no UTF-8 or holds control characters. A name that is not 1 to 32 code points
   of UTF-8 becomes the id, as after an authenticate hook. */
typedef struct mps_token_claims {
    const mps_identity *who;
    const char *issuer, *audience; /* NULL: "mpserver", none */
    int64_t unix_s;
    uint32_t ttl_s;
} mps_token_claims;
size_t mps_token_mint(const mps_token_claims *claims, const void *secret, size_t secret_bytes,
                      char *token, size_t capacity);

/* Lobbies as the HTTP API sees them. `created_at` is Unix ms. Strings are borrowed until the next
   call that changes the server. mps_lobby_next walks them in a fixed order, from id 0 to id 0. */
typedef struct mps_lobby_info {
    const char *code, *scene;
    uint32_t player_count, max_players;
    bool is_public;
    int64_t created_at;
} mps_lobby_info;
mps_lobby mps_lobby_next(const mps_server *server, mps_lobby after);
mps_lobby mps_lobby_find(const mps_server *server, const char *code);
mps_error mps_lobby_get(const mps_server *server, mps_lobby lobby, mps_lobby_info *info);
mps_error mps_lobby_kick(mps_server *server, uint64_t now, mps_lobby lobby, uint32_t player_id);

/* Relay rooms as the HTTP API sees them; see mps_lobby_info. `host_peer_id` is 0 while nobody has
   entered. mps_room_next walks them in a fixed order, from id 0 to id 0. */
typedef struct mps_room_info {
    const char *id, *gamemode, *map;
    uint32_t member_count, max_players, host_peer_id;
    bool is_public;
    int64_t created_at;
} mps_room_info;
mps_room mps_room_next(const mps_server *server, mps_room after);
mps_room mps_room_find(const mps_server *server, const char *id);
mps_error mps_room_get(const mps_server *server, mps_room room, mps_room_info *info);

/* Sends {"type":type,"data":data} as an event: to all members (peer_id 0) or one, or to every
   socket of a user that shook hands. `type` is 1 to 64 of a-z 0-9 and _, `data` is JSON of
   `bytes` bytes, copied. MPS_E_HANDLE: no such room; MPS_E_INVALID_TARGET: no such member, or
   the user is offline; MPS_E_ARGUMENT, MPS_E_BAD_JSON, MPS_E_MESSAGE_TOO_LARGE,
   MPS_E_FANOUT_TOO_LARGE. A receiver that cannot take it is closed with 1013. */
mps_error mps_room_send(mps_server *server, uint64_t now, mps_room room, uint32_t peer_id,
                        const char *type, const char *data, size_t bytes);
mps_error mps_user_send(mps_server *server, uint64_t now, const mps_identity *to, const char *type,
                        const char *data, size_t bytes);

/* Removes a member as its host would. MPS_E_HANDLE, MPS_E_INVALID_TARGET, MPS_E_OUTPUT_FULL. */
mps_error mps_room_kick(mps_server *server, uint64_t now, mps_room room, uint32_t peer_id);

/* Checks the server's own invariants, every table; false means memory was damaged. For tests,
   fuzzers and the paranoid: work proportional to all there is. */
bool mps_check(const mps_server *server);

/* A hash of the state: the same for two servers of the same build that were made with the same
   configuration and entropy and have seen the same calls, wherever their blocks are and whatever
   was in them before. Bytes that wait to be sent or completed are not in it: they show in what is
   sent. Work proportional to all there is. */
uint64_t mps_state_hash(const mps_server *server);

#ifdef __cplusplus
}
#endif
#endif

/* A peer of the benchmark: the rooms that load.c uses, as one writes them with libwebsockets. Each
   session has a ring of messages, which are counted rather than copied; when its socket can be
   written, it writes them until the socket has enough. JSON is read with the library's simple
   finder. It keeps no accounts. Prints its port and runs until SIGTERM. */
#define _GNU_SOURCE
#include <libwebsockets.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RING_MESSAGES 512 /* for each session; one that is further behind is closed */
#define MESSAGE_BYTES_MAX 65536
#define INPUT_BYTES 512 /* of a message that comes in pieces */
#define NAME_BYTES 64
#define ROOMS_MAX 4096

struct message {
    uint32_t readers; /* sessions that still have it in their ring */
    size_t bytes;
    unsigned char text[]; /* LWS_PRE of room for the header before it */
};

struct room {
    char gamemode[NAME_BYTES];
    uint32_t seats, count, peer_next;
    struct session **members;
};

struct session {
    struct lws *wsi;
    struct lws_ring *ring;
    struct room *room;
    uint32_t peer;
    char name[NAME_BYTES];
    char input[INPUT_BYTES];
    size_t input_bytes;
};

static struct room rooms[ROOMS_MAX];
static char scratch[MESSAGE_BYTES_MAX];

static void message_release(void *element) {
    struct message *m = *(struct message **)element;
    if (--m->readers == 0) {
        free(m);
    }
}

/* What stands in `scratch`, to be queued for as many sessions as it will be. */
static struct message *message_make(size_t bytes) {
    struct message *m = malloc(sizeof *m + LWS_PRE + bytes);
    if (!m) {
        abort();
    }
    m->readers = 1; /* whoever makes it, until it is queued everywhere */
    m->bytes = bytes;
    memcpy(m->text + LWS_PRE, scratch, bytes);
    return m;
}

static void message_queue(struct session *s, struct message *m) {
    if (lws_ring_insert(s->ring, &m, 1) != 1) {
        lws_set_timeout(s->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
        return;
    }
    m->readers++;
    lws_callback_on_writable(s->wsi);
}

static void message_send(struct session *s, int bytes) {
    struct message *m = message_make((size_t)bytes);
    message_queue(s, m);
    message_release(&m);
}

static void message_broadcast(struct session *from, int bytes) {
    struct message *m = message_make((size_t)bytes);
    for (uint32_t i = 0; i < from->room->count; i++) {
        if (from->room->members[i] != from) {
            message_queue(from->room->members[i], m);
        }
    }
    message_release(&m);
}

static void error_send(struct session *s, const char *reason) {
    message_send(s, snprintf(scratch, sizeof scratch,
                             "{\"type\":\"error\",\"data\":{\"reason\":\"%s\",\"message\":\"%s\"}}",
                             reason, reason));
}

/* The value of a member as text, cut to fit; empty when there is none. */
static void member_get(const char *json, size_t bytes, const char *name, char *value) {
    size_t length = 0;
    const char *found = lws_json_simple_find(json, bytes, name, &length);
    length = !found ? 0 : length < NAME_BYTES ? length : NAME_BYTES - 1;
    if (length) {
        memcpy(value, found, length);
    }
    value[length] = 0;
}

/* The room of this gamemode that has a seat left, else a new one. */
static struct room *room_find(const char *gamemode, uint32_t seats) {
    struct room *empty = NULL;
    for (int i = 0; i < ROOMS_MAX; i++) {
        struct room *r = &rooms[i];
        if (r->count && r->count < r->seats && strcmp(r->gamemode, gamemode) == 0) {
            return r;
        }
        empty = !empty && !r->count ? r : empty;
    }
    if (empty) {
        free(empty->members);
        *empty = (struct room){.seats = seats, .peer_next = 1};
        snprintf(empty->gamemode, sizeof empty->gamemode, "%s", gamemode);
        empty->members = calloc(seats, sizeof *empty->members);
    }
    return empty && empty->members ? empty : NULL;
}

static void handshake(struct session *s, const char *json, size_t bytes) {
    member_get(json, bytes, "\"name\":", s->name);
    message_send(s, snprintf(scratch, sizeof scratch,
                             "{\"type\":\"handshake_accepted\",\"data\":{\"peer_id\":0,"
                             "\"user_id\":null,\"username\":\"%s\"}}",
                             s->name));
}

static void quick_join(struct session *s, const char *json, size_t bytes) {
    char gamemode[NAME_BYTES], seats[NAME_BYTES];
    member_get(json, bytes, "\"gamemode\":", gamemode);
    member_get(json, bytes, "\"maxPlayers\":", seats);
    member_get(json, bytes, "\"name\":", s->name);
    uint32_t most = seats[0] ? (uint32_t)strtoul(seats, NULL, 10) : 8;
    if (s->room || most < 1 || most > 1024 || !(s->room = room_find(gamemode, most))) {
        error_send(s, "invalid_join_room");
        return;
    }
    struct room *r = s->room;
    s->peer = r->peer_next++;
    r->members[r->count++] = s;
    int at = snprintf(scratch, sizeof scratch,
                      "{\"type\":\"room_joined\",\"data\":{\"roomId\":\"%d\",\"peerId\":%u,"
                      "\"members\":[",
                      (int)(r - rooms), s->peer);
    for (uint32_t i = 0; i < r->count && at < MESSAGE_BYTES_MAX - 256; i++) {
        at += snprintf(scratch + at, sizeof scratch - (size_t)at,
                       "%s{\"peerId\":%u,\"name\":\"%s\",\"isHost\":%s}", i ? "," : "",
                       r->members[i]->peer, r->members[i]->name, i ? "false" : "true");
    }
    at += snprintf(scratch + at, sizeof scratch - (size_t)at,
                   "],\"gamemode\":\"%s\",\"mapName\":\"\"}}", gamemode);
    message_send(s, at);
    message_broadcast(s, snprintf(scratch, sizeof scratch,
                                  "{\"type\":\"peer_joined\",\"data\":{\"peerId\":%u,"
                                  "\"name\":\"%s\"}}",
                                  s->peer, s->name));
}

static void rpc_call(struct session *s, const char *json, size_t bytes) {
    char target[NAME_BYTES], method[NAME_BYTES];
    size_t length = 0;
    const char *args = lws_json_simple_find(json, bytes, "\"args\":", &length);
    if (!s->room || !args) {
        error_send(s, "not_in_room");
        return;
    }
    member_get(json, bytes, "\"targetPeer\":", target);
    member_get(json, bytes, "\"method\":", method);
    int count = snprintf(scratch, sizeof scratch,
                         "{\"type\":\"rpc_call\",\"data\":{\"fromPeer\":%u,\"method\":\"%s\","
                         "\"args\":\"%.*s\"}}",
                         s->peer, method, (int)length, args);
    uint32_t peer = (uint32_t)strtoul(target, NULL, 10);
    if (!peer) {
        message_broadcast(s, count);
        return;
    }
    for (uint32_t i = 0; i < s->room->count; i++) {
        if (s->room->members[i]->peer == peer) {
            message_send(s->room->members[i], count);
            return;
        }
    }
    error_send(s, "invalid_target");
}

static void dispatch(struct session *s, const char *json, size_t bytes) {
    char type[NAME_BYTES];
    member_get(json, bytes, "\"type\":", type);
    if (strcmp(type, "rpc_call") == 0) {
        rpc_call(s, json, bytes);
    } else if (strcmp(type, "handshake") == 0) {
        handshake(s, json, bytes);
    } else if (strcmp(type, "quick_join") == 0) {
        quick_join(s, json, bytes);
    } else {
        error_send(s, "unknown_type");
    }
}

/* A message comes whole, or in pieces where the library's reads cut it. */
static bool received(struct session *s, const char *piece, size_t bytes) {
    bool last = lws_is_final_fragment(s->wsi);
    if (last && !s->input_bytes) {
        dispatch(s, piece, bytes);
        return true;
    }
    if (bytes > sizeof s->input - s->input_bytes) {
        return false;
    }
    memcpy(s->input + s->input_bytes, piece, bytes);
    s->input_bytes += bytes;
    if (last) {
        dispatch(s, s->input, s->input_bytes);
        s->input_bytes = 0;
    }
    return true;
}

static void left(struct session *s) {
    for (uint32_t i = 0; s->room && i < s->room->count; i++) {
        if (s->room->members[i] == s) {
            size_t rest = s->room->count-- - i - 1;
            memmove(&s->room->members[i], &s->room->members[i + 1],
                    rest * sizeof *s->room->members);
        }
    }
    lws_ring_destroy(s->ring);
    s->ring = NULL;
}

/* As many messages as the socket takes; false when the connection is over. */
static bool write_all(struct session *s) {
    struct message *const *next = lws_ring_get_element(s->ring, NULL);
    while (next) {
        struct message *m = *next;
        if (lws_write(s->wsi, m->text + LWS_PRE, m->bytes, LWS_WRITE_TEXT) < (int)m->bytes) {
            return false;
        }
        lws_ring_consume(s->ring, NULL, NULL, 1);
        next = lws_ring_get_element(s->ring, NULL);
        if (next && lws_send_pipe_choked(s->wsi)) {
            lws_callback_on_writable(s->wsi);
            return true;
        }
    }
    return true;
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t bytes) {
    struct session *s = user;
    switch (reason) {
    case LWS_CALLBACK_ESTABLISHED:
        memset(s, 0, sizeof *s);
        s->wsi = wsi;
        s->ring = lws_ring_create(sizeof(struct message *), RING_MESSAGES, message_release);
        return s->ring ? 0 : -1;
    case LWS_CALLBACK_RECEIVE:
        return received(s, in, bytes) ? 0 : -1;
    case LWS_CALLBACK_SERVER_WRITEABLE:
        return write_all(s) ? 0 : -1;
    case LWS_CALLBACK_CLOSED:
        left(s);
        return 0;
    default:
        return lws_callback_http_dummy(wsi, reason, user, in, bytes);
    }
}

int main(void) {
    static const struct lws_protocols protocols[] = {
        {.name = "mpserver.v1",
         .callback = on_event,
         .per_session_data_size = sizeof(struct session),
         .rx_buffer_size = 4096},
        {.name = NULL}};
    struct lws_context_creation_info info = {.port = 0, .iface = "lo", .protocols = protocols};
    info.options = LWS_SERVER_OPTION_DISABLE_IPV6;
    lws_set_log_level(LLL_ERR, NULL);
    struct lws_context *context = lws_create_context(&info);
    if (!context) {
        return 1;
    }
    printf("%d\n", lws_get_vhost_listen_port(lws_get_vhost_by_name(context, "default")));
    fflush(stdout);
    while (lws_service(context, 0) >= 0) {
    }
    return 1;
}

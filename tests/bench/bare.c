/* The limit that the WebSocket server is measured against: the same bytes moved between the same
   sockets with no protocol at all. Whatever IN_BYTES come in, their first OUT_BYTES go out, to
     echo   the connection itself, at once;
     imm    every other member of the room, at once;
     batch  every other member of the room, appended to what it is owed; each round of epoll ends
            with one send for each member that is owed something.
   A connection first names its room with four bytes and gets them back. One epoll_wait a round,
   one recv for each readable socket, no second one to see that there is nothing more.
   Usage: bare echo|imm|batch IN_BYTES OUT_BYTES   prints its port and runs until SIGTERM. */
#define _GNU_SOURCE
#include "net.h"
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#define INPUT_BYTES 65536
#define CARRY_BYTES 1024 /* of a message cut in two */
#define OWED_BYTES_MAX ((size_t)16 << 20)
#define ROOM_BYTES 4
#define FILES_MAX 16384

enum mode { ECHO, IMMEDIATE, BATCH };

struct connection {
    bool in_room, dirty, waits; /* to be sent to this round; for its socket to have room */
    uint32_t room;
    size_t carry_bytes;
    unsigned char *owed;
    size_t owed_bytes, owed_capacity;
    unsigned char carry[CARRY_BYTES];
};

struct room {
    int *members;
    size_t count, capacity;
};

static enum mode mode;
static size_t in_bytes, out_bytes;
static int poll;
static struct connection *connections[FILES_MAX]; /* by descriptor */
static struct room rooms[FILES_MAX];
static int dirty[FILES_MAX];
static size_t dirty_count;

static void *grown(void *memory, size_t bytes) {
    void *more = realloc(memory, bytes);
    if (!more) {
        fail("memory");
    }
    return more;
}

static void owe(struct connection *c, const unsigned char *bytes, size_t count) {
    while (c->owed_bytes + count > c->owed_capacity) {
        c->owed_capacity = c->owed_capacity ? 2 * c->owed_capacity : 4096;
        if (c->owed_capacity > OWED_BYTES_MAX) {
            fprintf(stderr, "a reader is %zu bytes behind\n", c->owed_bytes);
            exit(1);
        }
        c->owed = grown(c->owed, c->owed_capacity);
    }
    memcpy(c->owed + c->owed_bytes, bytes, count);
    c->owed_bytes += count;
}

static void watch(int file, bool output) {
    struct epoll_event event = {.events = output ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.fd = file};
    connections[file]->waits = output;
    epoll_ctl(poll, EPOLL_CTL_MOD, file, &event);
}

/* How much of it the socket took; a peer that is gone is told by its next event. */
static size_t sent(int file, const unsigned char *bytes, size_t count) {
    ssize_t took = send(file, bytes, count, MSG_NOSIGNAL);
    return took >= 0 ? (size_t)took : errno == EAGAIN ? 0 : count;
}

static void flush(int file) {
    struct connection *c = connections[file];
    if (c->owed_bytes) {
        size_t took = sent(file, c->owed, c->owed_bytes);
        c->owed_bytes -= took;
        memmove(c->owed, c->owed + took, c->owed_bytes);
    }
    if (c->waits != (c->owed_bytes > 0)) {
        watch(file, c->owed_bytes > 0);
    }
}

static void send_now(int file, const unsigned char *bytes, size_t count) {
    struct connection *c = connections[file];
    size_t took = c->owed_bytes ? 0 : sent(file, bytes, count);
    if (took < count) {
        owe(c, bytes + took, count - took);
        flush(file);
    }
}

static void message(int from, const unsigned char *bytes) {
    if (mode == ECHO) {
        send_now(from, bytes, out_bytes);
        return;
    }
    const struct room *room = &rooms[connections[from]->room];
    for (size_t i = 0; i < room->count; i++) {
        int to = room->members[i];
        if (to == from) {
            continue;
        }
        if (mode == IMMEDIATE) {
            send_now(to, bytes, out_bytes);
            continue;
        }
        struct connection *c = connections[to];
        owe(c, bytes, out_bytes);
        if (!c->dirty) {
            c->dirty = true;
            dirty[dirty_count++] = to;
        }
    }
}

static bool room_enter(int file, const unsigned char *bytes) {
    struct connection *c = connections[file];
    memcpy(&c->room, bytes, ROOM_BYTES);
    if (c->room >= FILES_MAX) {
        return false;
    }
    struct room *room = &rooms[c->room];
    if (room->count == room->capacity) {
        room->capacity = room->capacity ? 2 * room->capacity : 4;
        room->members = grown(room->members, room->capacity * sizeof *room->members);
    }
    room->members[room->count++] = file;
    c->in_room = true;
    send_now(file, bytes, ROOM_BYTES);
    return true;
}

static bool serve(int file) {
    static unsigned char input[CARRY_BYTES + INPUT_BYTES];
    struct connection *c = connections[file];
    memcpy(input, c->carry, c->carry_bytes);
    ssize_t got = recv(file, input + c->carry_bytes, INPUT_BYTES, 0);
    if (got <= 0) {
        return got < 0 && errno == EAGAIN;
    }
    size_t count = c->carry_bytes + (size_t)got, at = 0;
    if (!c->in_room && count >= ROOM_BYTES) {
        if (!room_enter(file, input)) {
            return false;
        }
        at = ROOM_BYTES;
    }
    while (c->in_room && count - at >= in_bytes) {
        message(file, input + at);
        at += in_bytes;
    }
    c->carry_bytes = count - at;
    memcpy(c->carry, input + at, c->carry_bytes);
    return true;
}

static void connection_end(int file) {
    struct connection *c = connections[file];
    struct room *room = &rooms[c->room];
    for (size_t i = 0; c->in_room && i < room->count; i++) {
        if (room->members[i] == file) {
            room->members[i] = room->members[--room->count];
        }
    }
    for (size_t i = 0; i < dirty_count; i++) {
        if (dirty[i] == file) {
            dirty[i] = dirty[--dirty_count];
        }
    }
    free(c->owed);
    free(c);
    connections[file] = NULL;
    close(file);
}

static void accept_all(int listener) {
    for (int i = 0; i < EVENTS_MAX; i++) {
        int file = connection_accept(poll, listener, FILES_MAX);
        if (file < 0) {
            return;
        }
        connections[file] = grown(NULL, sizeof(struct connection));
        memset(connections[file], 0, sizeof(struct connection));
    }
}

static void round_of_events(int listener) {
    struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(poll, events, EVENTS_MAX, -1);
    for (int i = 0; i < count; i++) {
        int file = events[i].data.fd;
        if (file == listener) {
            accept_all(listener);
            continue;
        }
        if (events[i].events & EPOLLOUT) {
            flush(file);
        }
        if ((events[i].events & ~(uint32_t)EPOLLOUT) && !serve(file)) {
            connection_end(file);
        }
    }
    for (size_t i = 0; i < dirty_count; i++) {
        connections[dirty[i]]->dirty = false;
        flush(dirty[i]);
    }
    dirty_count = 0;
}

int main(int argc, char **argv) {
    static const char *const modes[] = {"echo", "imm", "batch"};
    bool known = false;
    for (int i = 0; argc == 4 && i < 3; i++) {
        if (strcmp(argv[1], modes[i]) == 0) {
            mode = (enum mode)i;
            known = true;
        }
    }
    in_bytes = known ? strtoul(argv[2], NULL, 10) : 0;
    out_bytes = known ? strtoul(argv[3], NULL, 10) : 0;
    if (in_bytes < ROOM_BYTES || in_bytes > CARRY_BYTES || out_bytes < 1 || out_bytes > in_bytes) {
        fprintf(stderr, "usage: bare echo|imm|batch IN_BYTES OUT_BYTES (4..%d, not more out)\n",
                CARRY_BYTES);
        return 2;
    }
    poll = epoll_create1(0);
    int listener = listener_open();
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        round_of_events(listener);
    }
}

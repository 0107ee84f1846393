/* journal.c and replay.c in one process: every kind of call is recorded by a small driver of the
   core and made again; then the journal is cut at every byte, and damaged at every byte. The
   server's hooks answer, kick and speak, so that calls which hooks make are seen to be theirs.
   Ends with `N passed, N failed`. */
#include "../../platform/journal.h"
#include "../../platform/replay.h"
#include "../check.h"

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define FILE_BYTES 4194304
#define CALLS_BYTES 200000 /* of a flight recorder's half */
#define SCRATCH_BYTES 1048576

static const uint8_t entropy[32] = {2, 7, 1, 8, 2, 8};
static const mps_address here = {.ip = {[10] = 0xff, [11] = 0xff, [12] = 192, 0, 2, 1}, .port = 80};
static const mps_address there = {.ip = {[10] = 0xff, [11] = 0xff, [12] = 192, 0, 2, 9},
                                  .port = 4242};

/* A file in memory, that may be full. */
struct file {
    unsigned char bytes[FILE_BYTES];
    size_t count, capacity;
};

/* What is recorded, and the two that listen. */
struct scene {
    mps_server *server;
    struct mps_journal journal;
    struct mps_flight flight;
    bool flies;
    uint64_t now;
    mps_conn conn;
    uint64_t ticket;
    char heard[65536]; /* by the connection */
    size_t heard_bytes;
    uint32_t told[MPS_CALL_KINDS];
};

static struct file file, flight_file;
static struct scene scene;
static uint64_t told, made; /* the calls in their order, as one number */

static uint64_t told_on(uint64_t hash, const mps_call *call) {
    bool settings = call->kind == MPS_CALL_RECONFIGURE; /* a replay has them as text */
    const uint64_t parts[] = {call->kind, call->kind == MPS_CALL_TCP_SENT ? call->now : 0, call->id,
                              settings ? 0 : (uint64_t)call->number, settings ? 0 : call->count};
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        hash = (hash ^ parts[i]) * 0x100000001b3u;
    }
    return hash;
}

static bool file_write(void *user, const void *bytes, size_t count) {
    struct file *f = user;
    if (count > f->capacity - f->count) {
        return false;
    }
    memcpy(f->bytes + f->count, bytes, count);
    f->count += count;
    return true;
}

/* -- hooks: the same when recording and when replaying, but for `call` -- */

/* "later" is a token that takes its time. */
static mps_verdict on_authenticate(void *user, const char *token, size_t bytes, uint64_t ticket,
                                   mps_identity *who) {
    struct scene *s = user;
    if (bytes == 5 && memcmp(token, "later", 5) == 0) {
        s->ticket = ticket;
        return MPS_LATER;
    }
    *who = (mps_identity){.id = "ann", .name = "Ann"};
    return bytes == 3 && memcmp(token, "ann", 3) == 0 ? MPS_YES : MPS_NO;
}

/* Speaks from within a call: nothing of that may be in the journal. */
static bool on_room_message(void *user, mps_room room, uint32_t peer_id, const char *type,
                            const char *data, size_t bytes) {
    struct scene *s = user;
    return mps_room_send(s->server, s->now, room, peer_id, type, data, bytes) == MPS_OK;
}

static void on_call(void *user, const mps_call *call) {
    struct scene *s = user;
    s->told[call->kind]++;
    told = told_on(told, call);
    if (call->kind == MPS_CALL_TCP_SENT && s->told[call->kind] % 4 == 0) {
        mps_journal_flush(&s->journal);
    }
    mps_journal_add(&s->journal, call);
    if (s->flies) {
        mps_flight_add(&s->flight, call);
    }
}

static mps_hooks hooks_of(struct scene *s) {
    return (mps_hooks){.user = s, .authenticate = on_authenticate, .room_message = on_room_message};
}

static mps_config config_of(struct scene *s) {
    mps_config config = {.preset = MPS_PRESET_TINY,
                         .dev = true,
                         .udp_same_ip_join = MPS_ON,
                         .jwt_secret = "a secret\0with a zero in it, and long enough",
                         .jwt_secret_bytes = 43,
                         .requests_per_s = 1000,
                         .log_level = MPS_LOG_DEBUG,
                         .hooks = hooks_of(s)};
    config.hooks.call = on_call;
    return config;
}

/* -- the driver -- */

static void *memory(size_t bytes) {
    void *at = aligned_alloc(16, (bytes + 15) & ~(size_t)15);
    CHECK(at != NULL);
    memset(at, 0xAA, bytes);
    return at;
}

/* What was taken is sent at once, or a little later, or in two parts. */
static void sent(struct scene *s, mps_conn conn, size_t count) {
    size_t first = count % 3 ? count : count / 2;
    s->now += count % 2;
    mps_tcp_sent(s->server, conn, s->now, first);
    if (first < count) {
        mps_tcp_sent(s->server, conn, s->now, count - first);
    }
}

/* Everything that is to be sent, as a port takes it: some at once, some in two steps. */
static void drain(struct scene *s) {
    mps_conn conn;
    mps_span span;
    mps_datagram out[4];
    mps_advance(s->server, s->now);
    for (int i = 0; i < 1000 && mps_next_output(s->server, &conn); i++) {
        while (mps_tcp_output(s->server, conn, &span, 1) == 1) {
            size_t part = span.count > 100 ? span.count - 50 : span.count;
            memcpy(s->heard + s->heard_bytes, span.bytes, part);
            s->heard_bytes += part;
            mps_tcp_taken(s->server, conn, part);
            sent(s, conn, part);
        }
    }
    s->heard[s->heard_bytes] = 0;
    while (mps_udp_output(s->server, s->now, out, COUNT_OF(out)) > 0) {
        s->now += 10;
    }
}

static void say_bytes(struct scene *s, const void *bytes, size_t count) {
    unsigned char copy[4096];
    s->heard_bytes = 0;
    s->now += 1000;
    memcpy(copy, bytes, count);
    CHECK_INT(mps_tcp_input(s->server, s->conn, s->now, copy, count), MPS_OK);
    drain(s);
}

static void say(struct scene *s, const char *text) {
    say_bytes(s, text, strlen(text));
}

/* Frames have zeros in their heads. */
static bool heard(const struct scene *s, const char *text) {
    size_t bytes = strlen(text);
    for (size_t i = 0; i + bytes <= s->heard_bytes; i++) {
        if (memcmp(s->heard + i, text, bytes) == 0) {
            return true;
        }
    }
    return false;
}

/* A text frame of a client, masked with zeros (RFC 6455, 5.3). */
static void say_frame(struct scene *s, const char *text) {
    unsigned char frame[256] = {0x81, (unsigned char)(0x80 | strlen(text))};
    CHECK(strlen(text) < 126);
    memcpy(frame + 6, text, strlen(text));
    say_bytes(s, frame, 6 + strlen(text));
}

static void say_datagram(struct scene *s, const char *text) {
    char copy[512];
    memcpy(copy, text, strlen(text));
    s->now += 1000;
    mps_udp_input(s->server, s->now, &there, &here, copy, strlen(text));
    drain(s);
}

static void enter(struct scene *s, const char *token) {
    char request[512];
    s->now += 1000;
    s->conn = mps_tcp_open(s->server, s->now, &there, &here);
    CHECK(s->conn.id != 0);
    snprintf(request, sizeof request,
             "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
             "Authorization: Bearer %s\r\n\r\n",
             token);
    say(s, request);
}

static void leave(struct scene *s) {
    mps_tcp_eof(s->server, s->conn, s->now);
    drain(s);
    mps_tcp_closed(s->server, s->conn, s->now);
}

/* Relay rooms, and the game speaking in them. */
static void play_rooms(struct scene *s) {
    mps_identity ann = {.id = "ann", .name = "Ann"};
    enter(s, "ann");
    CHECK(heard(s, "101 Switching"));
    say_frame(s, "{\"type\":\"handshake\",\"data\":{\"version\":\"1\",\"name\":\"Ann\"}}");
    say_frame(s, "{\"type\":\"quick_join\",\"data\":{\"gamemode\":\"g\",\"version\":\"1\","
                 "\"name\":\"Ann\"}}");
    mps_room room = mps_room_next(s->server, (mps_room){0});
    CHECK(room.id != 0);
    CHECK_INT(mps_room_send(s->server, s->now, room, 0, "news", "{\"n\":1}", 7), MPS_OK);
    CHECK_INT(mps_room_send(s->server, s->now, room, 0, "news", "{", 1), MPS_E_BAD_JSON);
    CHECK_INT(mps_user_send(s->server, s->now, &ann, "mail", "[2]", 3), MPS_OK);
    drain(s);
    CHECK(heard(s, "{\"type\":\"mail\",\"data\":[2]}"));
    say_frame(s, "{\"type\":\"mine\",\"data\":[7]}");
    CHECK(heard(s, "{\"type\":\"mine\",\"data\":[7]}"));
    CHECK_INT(mps_room_kick(s->server, s->now, room, 1), MPS_OK);
    leave(s);
}

/* A lobby with a player who is heard by UDP, and thrown out. */
static void play_lobby(struct scene *s) {
    s->conn = mps_tcp_open(s->server, s->now, &there, &here);
    say(s, "POST /lobbies/TEST/join HTTP/1.1\r\nHost: x\r\n"
           "Authorization: Bearer ann\r\nContent-Length: 21\r\n\r\n"
           "{\"player_name\":\"Ann\"}");
    CHECK(heard(s, "player_id"));
    say_datagram(s, "{\"type\":\"join\",\"lobby_code\":\"TEST\",\"player_id\":1}");
    say_datagram(s, "{\"type\":\"position_update\",\"player_id\":1,\"position\":{\"x\":1,\"y\":2,"
                    "\"z\":3},\"rotation\":{\"x\":1,\"y\":2,\"z\":3}}");
    s->now += 200000;
    drain(s);
    s->heard_bytes = 0;
    mps_lobby lobby = mps_lobby_find(s->server, "TEST");
    CHECK_INT(mps_lobby_kick(s->server, s->now, lobby, 1), MPS_OK);
    leave(s);
}

/* What the port and the operator tell. */
static void play_rest(struct scene *s) {
    mps_identity bob = {.id = "7", .name = "Bob", .id_is_number = true};
    mps_config config = config_of(s);
    enter(s, "later");
    CHECK_INT(mps_auth_finish(s->server, s->now, s->ticket, &bob), MPS_OK);
    drain(s);
    leave(s);
    enter(s, "later");
    CHECK_INT(mps_auth_finish(s->server, s->now, s->ticket, NULL), MPS_OK);
    drain(s);
    leave(s);
    config.requests_per_s = 77;
    CHECK_INT(mps_reconfigure(s->server, &config), 0);
    mps_note_call_ns(s->server, 12345);
    mps_note_port_error(s->server, "nothing works", 5);
    mps_note_udp_drops(s->server, 3);
    mps_wall_clock(s->server, s->now, 1795000000000);
    mps_drain(s->server, s->now, 100);
    s->now += 10000000;
    drain(s);
    CHECK(mps_drained(s->server));
}

/* Plays everything; the journal is in `file`, of a flight recorder in `flight_file`. */
static void play(struct scene *s, size_t capacity, bool flies) {
    static unsigned char buffer[MPS_JOURNAL_BUFFER_BYTES];
    mps_config config = config_of(s);
    size_t bytes = mps_memory_needed(&config);
    void *block = memory(bytes), *flight = NULL;
    memset(s, 0, sizeof *s);
    s->now = 5000000;
    told = 0;
    file.count = 0;
    file.capacity = capacity;
    s->journal = (struct mps_journal){
        .write = file_write, .user = &file, .buffer = buffer, .capacity = 4096};
    mps_journal_begin(&s->journal, &config, entropy);
    CHECK_INT(mps_create(&s->server, &config, block, bytes, entropy), MPS_OK);
    s->journal.server = s->flight.journal.server = s->server;
    if (flies) {
        flight = memory(mps_flight_memory_needed(bytes, CALLS_BYTES));
        mps_flight_begin(&s->flight, &config.hooks, flight, bytes, CALLS_BYTES, 4);
        s->flight.journal.server = s->server;
        s->flies = true;
    }
    mps_wall_clock(s->server, s->now, 1790000000000);
    play_rooms(s);
    play_lobby(s);
    play_rest(s);
    mps_journal_end(&s->journal);
    flight_file.count = 0;
    flight_file.capacity = FILE_BYTES;
    if (flies) {
        CHECK(mps_flight_write(&s->flight, file_write, &flight_file));
    }
    free(flight);
    free(block);
}

/* -- replays -- */

static struct mps_replay replay;

/* How it ended; MPS_REPLAY_BROKEN also when it could not begin. */
static mps_replay_state again(const unsigned char *bytes, size_t count) {
    static _Alignas(16) unsigned char scratch[SCRATCH_BYTES];
    struct scene s = {.server = NULL};
    mps_hooks hooks = hooks_of(&s);
    void *copy = malloc(count + 1); /* so that a step over the end is seen */
    mps_replay_state state = MPS_REPLAY_BROKEN;
    memcpy(copy, bytes, count);
    if (mps_replay_open(&replay, copy, count, scratch, sizeof scratch)) {
        void *block = memory(replay.memory_bytes);
        if (mps_replay_start(&replay, &s.server, &hooks, block)) {
            made = 0;
            while ((state = mps_replay_next(&replay, s.server)) == MPS_REPLAY_CALL) {
                made = told_on(made, &replay.call);
                s.now = replay.call.now;
                mps_replay_make(&replay, s.server);
            }
            CHECK(state == MPS_REPLAY_BROKEN || mps_check(s.server));
        }
        free(block);
    }
    free(copy);
    return state;
}

static void same_bytes_and_state(void) {
    play(&scene, FILE_BYTES, false);
    CHECK(!scene.journal.failed && file.count == scene.journal.bytes);
    CHECK_INT(again(file.bytes, file.count), MPS_REPLAY_END);
    uint32_t calls = 0;
    for (int kind = 0; kind < MPS_CALL_KINDS; kind++) {
        CHECK(scene.told[kind] > 0);
        calls += scene.told[kind];
    }
    CHECK_INT(replay.calls, calls);
    CHECK(made == told);
    CHECK(replay.bytes_out > 1000);
    CHECK_INT(scene.told[MPS_CALL_ROOM_SEND], 1); /* not the hook's, not the one refused */
    CHECK_INT(replay.began, 5000000);
    CHECK_INT(replay.made, replay.time);
    file.bytes[file.count] = 0; /* behind the end belongs nothing */
    CHECK_INT(again(file.bytes, file.count + 1), MPS_REPLAY_BROKEN);
    CHECK(strcmp(replay.version, MPS_VERSION) == 0);
}

/* A journal may end anywhere, where its process was killed: what is whole is replayed. */
static void cut_anywhere(void) {
    uint32_t cut = 0, header = 0;
    play(&scene, FILE_BYTES, false);
    for (size_t count = 0; count < file.count; count++) {
        mps_replay_state state = again(file.bytes, count);
        header += state == MPS_REPLAY_BROKEN;
        cut += state == MPS_REPLAY_CUT;
    }
    CHECK_INT(header + cut, file.count);
    CHECK(header > 100 && header < 4000); /* the configuration */
}

/* Whatever a byte is changed to, it is found or does no harm. */
static void damaged_anywhere(void) {
    uint32_t states[MPS_REPLAY_BROKEN + 1] = {0};
    play(&scene, FILE_BYTES, false);
    for (size_t at = 0; at < file.count; at++) {
        unsigned char byte = file.bytes[at];
        file.bytes[at] ^= (unsigned char)(1 << at % 8);
        states[again(file.bytes, file.count)]++;
        file.bytes[at] = byte;
    }
    CHECK(states[MPS_REPLAY_DIFFERS] > states[MPS_REPLAY_END]);
    CHECK(states[MPS_REPLAY_BROKEN] > 0);
}

/* The state is not what it was at the start of the flight recorder's first half. */
static void flight(void) {
    play(&scene, FILE_BYTES, true);
    CHECK(flight_file.count < file.count + scene.flight.block_bytes);
    CHECK_INT(again(flight_file.bytes, flight_file.count), MPS_REPLAY_CUT);
    CHECK(replay.began > 5000000 && replay.calls > 3 && replay.calls < 100);
    CHECK_INT(replay.time, scene.now);
    flight_file.bytes[flight_file.count - 1] ^= 1; /* of the hash of no datagrams */
    CHECK_INT(again(flight_file.bytes, flight_file.count), MPS_REPLAY_DIFFERS);
}

/* Longer than a half: what came before leads nowhere, and it begins anew. */
static void flight_overrun(void) {
    struct mps_flight f;
    mps_hooks hooks = {.user = NULL};
    unsigned char block[64] = {0};
    void *at = memory(mps_flight_memory_needed(sizeof block, 70000));
    mps_call small = {.kind = MPS_CALL_ADVANCE, .now = 1000};
    mps_call input = {.kind = MPS_CALL_TCP_INPUT, .now = 2000, .bytes = file.bytes, .count = 69990};
    mps_flight_begin(&f, &hooks, at, sizeof block, 70000, 1000);
    f.journal.server = (const mps_server *)(const void *)block;
    CHECK(!mps_flight_write(&f, file_write, &flight_file));
    mps_flight_add(&f, &small);
    flight_file.count = 0;
    CHECK(mps_flight_write(&f, file_write, &flight_file));
    mps_flight_add(&f, &input);
    CHECK(!mps_flight_write(&f, file_write, &flight_file));
    mps_flight_add(&f, &small);
    CHECK(mps_flight_write(&f, file_write, &flight_file));
    free(at);
}

/* A disk that is full ends the recording, not the server. */
static void full_disk(void) {
    play(&scene, 4500, false);
    CHECK(scene.journal.failed && file.count <= 4500);
    mps_replay_state state = again(file.bytes, file.count);
    CHECK(state == MPS_REPLAY_CUT);
    play(&scene, 0, false);
    CHECK(scene.journal.failed);
    CHECK_INT(again(file.bytes, 0), MPS_REPLAY_BROKEN);
}

static const struct check_test tests[] = {
    {"same_bytes_and_state", same_bytes_and_state},
    {"cut_anywhere", cut_anywhere},
    {"damaged_anywhere", damaged_anywhere},
    {"flight", flight},
    {"flight_overrun", flight_overrun},
    {"full_disk", full_disk},
};

int main(void) {
    int passed = 0;
    for (size_t i = 0; i < COUNT_OF(tests); i++) {
        checks_failed = 0;
        tests[i].run();
        passed += checks_failed == 0;
        if (checks_failed) {
            printf("FAIL %s\n", tests[i].name);
        }
    }
    printf("%d passed, %d failed\n", passed, (int)COUNT_OF(tests) - passed);
    return passed != (int)COUNT_OF(tests);
}

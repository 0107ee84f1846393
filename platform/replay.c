/* replay.c: makes written calls again; see replay.h.  SPDX: MIT-0

     1 reading     2 replay */
#include "replay.h"
#include "journal_records.h"

/* == 1 reading ===================================================================================
   From bytes to a record. The bytes may be anything: a file that was cut, or damaged. */

/* What is left to read. `cut`: something would lie behind the end. `broken`: it is none of ours. */
struct reader {
    const unsigned char *at, *end;
    bool cut, broken;
};

static const unsigned char *bytes_take(struct reader *r, uint64_t count) {
    const unsigned char *at = r->at;
    if (r->cut || r->broken || count > (size_t)(r->end - r->at)) {
        r->cut = true;
        return NULL;
    }
    r->at += count;
    return at;
}

static uint64_t number_take(struct reader *r) {
    uint64_t number = 0;
    for (int i = 0; i < NUMBER_BYTES_MAX; i++) {
        const unsigned char *byte = bytes_take(r, 1);
        if (!byte) {
            return 0;
        }
        number |= (uint64_t)(*byte & 0x7f) << 7 * i;
        if (*byte < 0x80) {
            return number;
        }
    }
    r->broken = true;
    return 0;
}

static uint64_t signed_take(struct reader *r) {
    uint64_t number = number_take(r);
    return number >> 1 ^ (number & 1 ? UINT64_MAX : 0);
}

static uint64_t little_take(struct reader *r, int bytes) {
    const unsigned char *at = bytes_take(r, (uint64_t)bytes);
    uint64_t number = 0;
    for (int i = 0; at && i < bytes; i++) {
        number |= (uint64_t)at[i] << 8 * i;
    }
    return number;
}

static void address_take(struct reader *r, mps_address *address) {
    const unsigned char *ip = bytes_take(r, sizeof address->ip);
    memset(address, 0, sizeof *address);
    if (ip) {
        memcpy(address->ip, ip, sizeof address->ip);
    }
    address->port = (uint16_t)little_take(r, 2);
    address->scope = (uint32_t)little_take(r, 4);
}

/* Into a text of `capacity` bytes with its terminating zero. */
static void text_take(struct reader *r, uint64_t count, char *text, size_t capacity) {
    const unsigned char *bytes = count < capacity ? bytes_take(r, count) : NULL;
    r->broken |= count >= capacity;
    if (bytes) {
        memcpy(text, bytes, count);
        text[count] = 0;
    }
}

static bool who_take(struct reader *r, mps_identity *who) {
    memset(who, 0, sizeof *who);
    if (little_take(r, 1) == 0) {
        return false;
    }
    text_take(r, number_take(r), who->id, sizeof who->id);
    text_take(r, number_take(r), who->name, sizeof who->name);
    who->role = (mps_role)little_take(r, 1);
    r->broken |= who->role > MPS_ROLE_ADMIN;
    who->id_is_number = little_take(r, 1) != 0;
    return true;
}

/* As it was written; `text` need not be terminated. */
struct record {
    unsigned kind;
    uint64_t time, id, number, count, hash;
    const void *text, *bytes;
    size_t text_bytes, bytes_count;
    const mps_identity *who;
};

/* Reads on in `replay` when the record is whole; else it stays where it is. Addresses and `who` are
   kept in the replay, the rest is borrowed of the file. */
static bool record_take(struct mps_replay *replay, struct record *record) {
    struct reader r = {.at = replay->at, .end = replay->end};
    const unsigned char *kind = bytes_take(&r, 1);
    unsigned parts = kind && *kind < KINDS ? parts_of[*kind] : 0;
    *record = (struct record){.kind = kind ? *kind : 0, .time = replay->time};
    r.broken = kind && !parts;
    if (parts & PART_TIME) {
        record->time += signed_take(&r);
    }
    if (parts & PART_ID) {
        record->id = number_take(&r);
        record->id |= number_take(&r) << 32;
    }
    record->number = parts & PART_NUMBER ? signed_take(&r) : 0;
    record->count = parts & PART_COUNT ? number_take(&r) : 0;
    if (parts & PART_ADDRESSES) {
        address_take(&r, &replay->from);
        address_take(&r, &replay->to);
    }
    record->who = parts & PART_WHO && who_take(&r, &replay->who) ? &replay->who : NULL;
    record->hash = parts & PART_HASH ? little_take(&r, HASH_BYTES) : 0;
    if (parts & PART_TEXT) {
        uint64_t count = number_take(&r);
        record->text_bytes = count ? count - 1 : 0;
        record->text = count ? bytes_take(&r, count - 1) : NULL;
    }
    if (parts & PART_BYTES) {
        record->bytes_count = number_take(&r);
        record->bytes = bytes_take(&r, record->bytes_count);
    }
    if (r.broken || r.cut) {
        replay->problem = r.broken ? "no record of a journal stands here" : NULL;
        return false;
    }
    replay->at = r.at;
    return true;
}

/* == 2 replay ====================================================================================
   The calls are made with copies: the core parses in place, and the file stays as it is. */

static bool broken(struct mps_replay *r, const char *problem) {
    r->problem = problem;
    return false;
}

/* 16-byte aligned; NULL: there is not as much. */
static void *scratch_take(struct mps_replay *r, size_t bytes) {
    if (bytes > r->scratch_bytes - r->scratch_used) {
        r->problem = "a record is longer than the scratch memory";
        return NULL;
    }
    void *at = r->scratch + r->scratch_used;
    size_t used = r->scratch_used + aligned(bytes);
    r->scratch_used = used < r->scratch_bytes ? used : r->scratch_bytes;
    return at;
}

/* With a terminating zero behind it. */
static void *scratch_copy(struct mps_replay *r, const void *bytes, size_t count) {
    char *copy = scratch_take(r, count + 1);
    if (copy && bytes) {
        memcpy(copy, bytes, count);
    }
    if (copy) {
        copy[count] = 0;
    }
    return copy;
}

static void flags_take(struct mps_replay *r, uint64_t flags) {
    r->hooks_reload = flags & FLAG_RELOAD;
    r->hooks_record = flags & FLAG_RECORD;
}

/* Its texts point into the scratch. */
static bool config_take(struct mps_replay *r, const struct record *record) {
    char *json = scratch_copy(r, record->bytes, record->bytes_count);
    char *secret = record->text ? scratch_copy(r, record->text, record->text_bytes) : NULL;
    if (!json || (record->text && !secret)) {
        return false;
    }
    r->config = (mps_config){.preset = MPS_PRESET_SMALL};
    if (mps_config_read(&r->config, json, record->bytes_count, NULL) != MPS_OK) {
        return broken(r, "this build does not take the configuration of the recording");
    }
    r->config.jwt_secret = secret;
    r->config.jwt_secret_bytes = record->text_bytes;
    if (!(record->number & FLAG_ISSUER)) {
        r->config.jwt_issuer = NULL;
    }
    return true;
}

static bool header_take(struct mps_replay *r, struct record *record) {
    return record_take(r, record) ||
           broken(r, r->problem ? r->problem : "the file is cut within its header");
}

static bool version_take(struct mps_replay *r) {
    struct record record;
    if (!header_take(r, &record)) {
        return false;
    }
    if (record.kind != KIND_VERSION || !record.text || record.text_bytes >= sizeof r->version) {
        return broken(r, "the version of the server that was recorded is missing");
    }
    memcpy(r->version, record.text, record.text_bytes);
    return true;
}

bool mps_replay_open(struct mps_replay *r, const void *bytes, size_t count, void *scratch,
                     size_t scratch_bytes) {
    struct record record;
    *r = (struct mps_replay){.at = bytes, .scratch = scratch, .scratch_bytes = scratch_bytes};
    r->end = r->at + count;
    if (count < MAGIC_BYTES || memcmp(bytes, magic, MAGIC_BYTES) != 0) {
        return broken(r, "this is no journal of mpserver");
    }
    r->at += MAGIC_BYTES;
    if (!version_take(r) || !header_take(r, &record)) {
        return false;
    }
    if (record.kind == KIND_BLOCK) {
        if (hash_on(0, record.bytes, record.bytes_count) != record.hash) {
            return broken(r, "the block of the recording is damaged");
        }
        r->block = record.bytes;
        r->memory_bytes = record.bytes_count;
        r->began = r->time = r->made = record.time;
        r->started = true;
    } else if (record.kind == KIND_ENTROPY && record.bytes_count == sizeof r->entropy) {
        memcpy(r->entropy, record.bytes, sizeof r->entropy);
        if (!header_take(r, &record)) {
            return false;
        }
    }
    if (record.kind != KIND_BLOCK && record.kind != KIND_CONFIG) {
        return broken(r, "the journal does not begin with a configuration or a block");
    }
    flags_take(r, record.number);
    if (record.kind == KIND_CONFIG) {
        if (!config_take(r, &record)) {
            return false;
        }
        r->memory_bytes = mps_memory_needed(&r->config);
    }
    return r->memory_bytes > 0 || broken(r, "this build does not take the configuration");
}

/* The texts of the configuration are in the scratch until the first call is read. */
bool mps_replay_start(struct mps_replay *r, mps_server **server, const mps_hooks *hooks,
                      void *memory) {
    if (r->block) {
        memcpy(memory, r->block, r->memory_bytes);
        return mps_resume(server, memory, r->memory_bytes, hooks) == MPS_OK ||
               broken(r, "the block is of another build: use the one that was recorded");
    }
    r->config.hooks = *hooks;
    return mps_create(server, &r->config, memory, r->memory_bytes, r->entropy) == MPS_OK ||
           broken(r, "the server cannot be made");
}

/* What there is to compare only once the call was made. */
static bool datagrams_as_recorded(struct mps_replay *r) {
    bool same = !r->hash_due || (r->datagrams_count == r->datagrams_wanted &&
                                 hash_datagrams(r->datagrams, r->datagrams_count) == r->hash);
    r->hash_due = false;
    return same;
}

/* Copies of what the record borrows. */
static bool call_take(struct mps_replay *r, const struct record *record) {
    r->call = (mps_call){.kind = (mps_call_kind)record->kind,
                         .now = record->time,
                         .id = record->id,
                         .number = (int64_t)record->number,
                         .count = record->bytes ? record->bytes_count : (size_t)record->count,
                         .from = &r->from,
                         .to = &r->to,
                         .who = record->who};
    if (record->kind == MPS_CALL_RECONFIGURE) {
        r->call.config = &r->config;
        return config_take(r, record);
    }
    if ((parts_of[record->kind] & PART_TEXT && !record->text) ||
        (record->kind == MPS_CALL_USER_SEND && !record->who)) {
        return broken(r, "a call lacks what it needs");
    }
    if (record->bytes) {
        r->call.bytes = scratch_copy(r, record->bytes, record->bytes_count);
    }
    if (record->text) {
        r->call.text = scratch_copy(r, record->text, record->text_bytes);
    }
    if (record->kind == MPS_CALL_UDP_OUTPUT) {
        bool fits = record->number <= r->scratch_bytes / sizeof *r->datagrams;
        r->datagrams = scratch_take(r, fits ? record->number * sizeof *r->datagrams : SIZE_MAX);
        r->datagrams_wanted = (size_t)record->count;
        r->hash = record->hash;
        return r->datagrams != NULL;
    }
    return (r->call.bytes || !record->bytes) && (r->call.text || !record->text);
}

/* The second call of KIND_TAKEN_SENT: all that it has, the first one had. */
static bool sent_take(struct mps_replay *r) {
    bool due = r->sent_due;
    r->sent_due = false;
    r->call.kind = due ? MPS_CALL_TCP_SENT : r->call.kind;
    return due;
}

mps_replay_state mps_replay_next(struct mps_replay *r, mps_server *server) {
    struct record record;
    if (sent_take(r)) {
        return MPS_REPLAY_CALL;
    }
    r->problem = NULL;
    r->scratch_used = 0;
    if (!datagrams_as_recorded(r)) {
        r->problem = "other datagrams than recorded";
        return MPS_REPLAY_DIFFERS;
    }
    if (!record_take(r, &record)) {
        return r->problem ? MPS_REPLAY_BROKEN : MPS_REPLAY_CUT;
    }
    if (record.kind == KIND_STATE) {
        if (r->at != r->end) {
            r->problem = "something stands behind the end";
            return MPS_REPLAY_BROKEN;
        }
        bool same = mps_state_hash(server) == record.hash;
        r->problem = same ? NULL : "another state at the end than recorded";
        return same ? MPS_REPLAY_END : MPS_REPLAY_DIFFERS;
    }
    if (record.kind == KIND_TAKEN_SENT) {
        r->sent_due = true;
        record.kind = MPS_CALL_TCP_TAKEN;
    }
    if (record.kind >= MPS_CALL_KINDS) {
        r->problem = "a header stands among the calls";
        return MPS_REPLAY_BROKEN;
    }
    r->time = record.time;
    if (!r->started && parts_of[record.kind] & PART_TIME) {
        r->started = true;
        r->began = r->made = record.time;
    }
    if (!call_take(r, &record)) {
        return MPS_REPLAY_BROKEN;
    }
    if (record.kind == MPS_CALL_TCP_TAKEN &&
        hash_stream(server, (mps_conn){record.id}, (size_t)r->call.number) != record.hash) {
        r->problem = "other bytes to a connection than recorded";
        return MPS_REPLAY_DIFFERS;
    }
    return MPS_REPLAY_CALL;
}

static void datagrams_make(struct mps_replay *r, mps_server *server) {
    const mps_call *c = &r->call;
    r->datagrams_count = mps_udp_output(server, c->now, r->datagrams, (size_t)c->number);
    r->hash_due = true;
    for (size_t i = 0; i < r->datagrams_count; i++) {
        r->bytes_out += r->datagrams[i].bytes;
    }
}

/* Of the calls for what the port does. The bytes are the scratch's: the core may change them. */
static void port_call_make(struct mps_replay *r, mps_server *server) {
    const mps_call *c = &r->call;
    void *bytes = (void *)(uintptr_t)c->bytes;
    mps_conn conn = {c->id};
    switch ((int)c->kind) {
    case MPS_CALL_TCP_OPEN:
        mps_tcp_open(server, c->now, c->from, c->to);
        break;
    case MPS_CALL_TCP_INPUT:
        r->bytes_in += c->count;
        mps_tcp_input(server, conn, c->now, bytes, c->count);
        break;
    case MPS_CALL_TCP_EOF:
        mps_tcp_eof(server, conn, c->now);
        break;
    case MPS_CALL_TCP_CLOSED:
        mps_tcp_closed(server, conn, c->now);
        break;
    case MPS_CALL_NEXT_OUTPUT:
        mps_next_output(server, &conn);
        break;
    case MPS_CALL_TCP_TAKEN:
        r->bytes_out += (uint64_t)c->number;
        mps_tcp_taken(server, conn, (size_t)c->number);
        break;
    case MPS_CALL_TCP_SENT:
        mps_tcp_sent(server, conn, c->now, (size_t)c->number);
        break;
    case MPS_CALL_UDP_INPUT:
        r->bytes_in += c->count;
        mps_udp_input(server, c->now, c->from, c->to, bytes, c->count);
        break;
    case MPS_CALL_UDP_OUTPUT:
        datagrams_make(r, server);
        break;
    }
}

void mps_replay_make(struct mps_replay *r, mps_server *server) {
    const mps_call *c = &r->call;
    uint32_t number = (uint32_t)c->number;
    r->calls++;
    r->made = r->time;
    switch ((int)c->kind) {
    case MPS_CALL_WALL_CLOCK:
        mps_wall_clock(server, c->now, c->number);
        break;
    case MPS_CALL_ADVANCE:
        mps_advance(server, c->now);
        break;
    case MPS_CALL_DRAIN:
        mps_drain(server, c->now, number);
        break;
    case MPS_CALL_RECONFIGURE:
        mps_reconfigure(server, c->config);
        break;
    case MPS_CALL_NOTE_CALL_NS:
        mps_note_call_ns(server, (uint64_t)c->number);
        break;
    case MPS_CALL_NOTE_PORT_ERROR:
        mps_note_port_error(server, c->text, (int)c->number);
        break;
    case MPS_CALL_NOTE_UDP_DROPS:
        mps_note_udp_drops(server, (uint64_t)c->number);
        break;
    case MPS_CALL_AUTH_FINISH:
        mps_auth_finish(server, c->now, c->id, c->who);
        break;
    case MPS_CALL_LOBBY_KICK:
        mps_lobby_kick(server, c->now, (mps_lobby){c->id}, number);
        break;
    case MPS_CALL_ROOM_KICK:
        mps_room_kick(server, c->now, (mps_room){c->id}, number);
        break;
    case MPS_CALL_ROOM_SEND:
        mps_room_send(server, c->now, (mps_room){c->id}, number, c->text, c->bytes, c->count);
        break;
    case MPS_CALL_USER_SEND:
        mps_user_send(server, c->now, c->who, c->text, c->bytes, c->count);
        break;
    default:
        port_call_make(r, server);
    }
}

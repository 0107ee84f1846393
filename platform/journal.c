/* journal.c: writes calls down; see journal.h.  SPDX: MIT-0

     1 writing     2 flight recorder */
#include "journal.h"
#include "journal_records.h"

#include <assert.h>

/* == 1 writing ===================================================================================
   Into the buffer, and from there on when it is full. */

void mps_journal_flush(struct mps_journal *j) {
    if (j->used > 0 && !j->failed) {
        j->failed = !j->write(j->user, j->buffer, j->used);
    }
    j->used = 0;
    j->taken = 0;
}

/* What the buffer could never hold does not pass it. NULL is nothing. */
static void put(struct mps_journal *j, const void *bytes, size_t count) {
    j->bytes += count;
    if (count > j->capacity - j->used) {
        mps_journal_flush(j);
    }
    if (count > j->capacity) {
        j->failed = j->failed || !j->write(j->user, bytes, count);
    } else if (bytes) {
        memcpy(j->buffer + j->used, bytes, count);
        j->used += count;
    }
}

/* What of a record has few bytes is written where it stays: at room_for, as many as it was for at
   most, up to where room_used says. */
static unsigned char *room_for(struct mps_journal *j, size_t most) {
    if (most > j->capacity - j->used) {
        mps_journal_flush(j);
    }
    return j->buffer + j->used;
}

static void room_used(struct mps_journal *j, const unsigned char *end) {
    size_t count = (size_t)(end - (j->buffer + j->used));
    j->bytes += count;
    j->used += count;
}

static unsigned char *number_put(unsigned char *at, uint64_t number) {
    for (; number >= 0x80; number >>= 7) {
        *at++ = (unsigned char)(number | 0x80);
    }
    *at++ = (unsigned char)number;
    return at;
}

/* Small numbers of either sign are short. */
static unsigned char *signed_put(unsigned char *at, uint64_t number) {
    return number_put(at, number << 1 ^ (number >> 63 ? UINT64_MAX : 0));
}

static unsigned char *bytes_put(unsigned char *at, const void *bytes, size_t count) {
    memcpy(at, bytes, count);
    return at + count;
}

static unsigned char *little_put(unsigned char *at, uint64_t number, int bytes) {
    for (int i = 0; i < bytes; i++) {
        *at++ = (unsigned char)(number >> 8 * i);
    }
    return at;
}

static unsigned char *address_put(unsigned char *at, const mps_address *address) {
    at = bytes_put(at, address->ip, sizeof address->ip);
    return little_put(little_put(at, address->port, 2), address->scope, 4);
}

static unsigned char *who_put(unsigned char *at, const mps_identity *who) {
    *at++ = who != NULL;
    if (who) {
        size_t id = strlen(who->id), name = strlen(who->name);
        at = bytes_put(number_put(at, id), who->id, id);
        at = bytes_put(number_put(at, name), who->name, name);
        *at++ = (unsigned char)who->role;
        *at++ = who->id_is_number;
    }
    return at;
}

/* `call` has the parts of the kind, whether it is one of a call or of another record; its text has
   `text_bytes`, as it may be a secret with zeros. */
static void record_put(struct mps_journal *j, unsigned kind, const mps_call *call,
                       size_t text_bytes, uint64_t hash) {
    unsigned char *at = room_for(j, RECORD_BYTES_MAX);
    unsigned parts = parts_of[kind];
    *at++ = (unsigned char)kind;
    if (parts & PART_TIME) {
        at = signed_put(at, call->now - j->time);
        j->time = call->now;
    }
    if (parts & PART_ID) {
        at = number_put(number_put(at, call->id & UINT32_MAX), call->id >> 32);
    }
    if (parts & PART_NUMBER) {
        at = signed_put(at, (uint64_t)call->number);
    }
    if (parts & PART_COUNT) {
        at = number_put(at, call->count);
    }
    if (parts & PART_ADDRESSES) {
        at = address_put(address_put(at, call->from), call->to);
    }
    if (parts & PART_WHO) {
        at = who_put(at, call->who);
    }
    if (parts & PART_HASH) {
        at = little_put(at, hash, HASH_BYTES);
    }
    if (parts & PART_TEXT) {
        room_used(j, number_put(at, call->text ? text_bytes + 1 : 0));
        put(j, call->text, call->text ? text_bytes : 0);
        at = room_for(j, NUMBER_BYTES_MAX);
    }
    if (parts & PART_BYTES) {
        room_used(j, number_put(at, call->count));
        put(j, call->bytes, call->count);
    } else {
        room_used(j, at);
    }
}

static size_t secret_bytes(const mps_config *config) {
    size_t bytes = config->jwt_secret_bytes;
    return config->jwt_secret && bytes == 0 ? strlen(config->jwt_secret) : bytes;
}

/* What the server answers depends on whether there are such hooks. */
static unsigned hooks_flags(const mps_hooks *hooks) {
    return (hooks->reload ? FLAG_RELOAD : 0) | (hooks->record ? FLAG_RECORD : 0);
}

/* As text, so that another build can read it: what it says is complete, the defaults are filled
   in. Only whether an issuer was asked for does not show in it. */
static void config_put(struct mps_journal *j, unsigned kind, const mps_config *config) {
    char json[CONFIG_BYTES_MAX];
    mps_call call = {.number = (config->jwt_issuer ? FLAG_ISSUER : 0) | hooks_flags(&config->hooks),
                     .text = config->jwt_secret,
                     .bytes = json,
                     .count = mps_config_print(config, json, sizeof json)};
    record_put(j, kind, &call, secret_bytes(config), 0);
}

static void version_put(struct mps_journal *j) {
    put(j, magic, MAGIC_BYTES);
    record_put(j, KIND_VERSION, &(mps_call){.text = MPS_VERSION}, strlen(MPS_VERSION), 0);
}

_Static_assert(RECORD_BYTES_MAX <= MPS_JOURNAL_BUFFER_BYTES_MIN, "no room for a record");

void mps_journal_begin(struct mps_journal *j, const mps_config *config, const uint8_t entropy[32]) {
    assert(j->capacity >= MPS_JOURNAL_BUFFER_BYTES_MIN);
    version_put(j);
    record_put(j, KIND_ENTROPY, &(mps_call){.bytes = entropy, .count = 32}, 0, 0);
    config_put(j, KIND_CONFIG, config);
    mps_journal_flush(j);
}

/* What is sent at once, as mostly it is, makes the record of what was taken one of both calls. */
static bool sent_put(struct mps_journal *j, const mps_call *call) {
    bool both = j->taken && call->kind == MPS_CALL_TCP_SENT && call->id == j->taken_id &&
                call->number == j->taken_count && call->now == j->time;
    if (both) {
        j->buffer[j->taken - 1] = KIND_TAKEN_SENT;
    }
    j->taken = 0;
    return both;
}

/* The bytes that it takes stand in the connection's output before the call. */
static void taken_put(struct mps_journal *j, const mps_call *call) {
    uint64_t hash = hash_stream(j->server, (mps_conn){call->id}, (size_t)call->number);
    size_t at = (size_t)(room_for(j, RECORD_BYTES_MAX) - j->buffer);
    record_put(j, MPS_CALL_TCP_TAKEN, call, 0, hash);
    j->taken = at + 1;
    j->taken_id = call->id;
    j->taken_count = call->number;
}

static void call_put(struct mps_journal *j, const mps_call *call) {
    if (sent_put(j, call)) {
        return;
    }
    switch ((int)call->kind) {
    case MPS_CALL_RECONFIGURE:
        config_put(j, MPS_CALL_RECONFIGURE, call->config);
        break;
    case MPS_CALL_TCP_TAKEN:
        taken_put(j, call);
        break;
    case MPS_CALL_UDP_OUTPUT: /* told behind it, so the datagrams are there */
        record_put(j, MPS_CALL_UDP_OUTPUT, call, 0, hash_datagrams(call->datagrams, call->count));
        break;
    default:
        record_put(j, call->kind, call, call->text ? strlen(call->text) : 0, 0);
    }
}

void mps_journal_add(struct mps_journal *j, const mps_call *call) {
    assert(j->server); /* mps_journal.server is the recorder's to set */
    if (j->failed) {
        return;
    }
    if (call->now > j->written_at && call->now - j->written_at > WRITE_US) {
        j->written_at = call->now;
        mps_journal_flush(j);
    }
    call_put(j, call);
}

void mps_journal_end(struct mps_journal *j) {
    if (!j->failed) {
        record_put(j, KIND_STATE, &(mps_call){0}, 0, mps_state_hash(j->server));
        mps_journal_flush(j);
    }
}

/* == 2 flight recorder ===========================================================================
   Two segments, so that the older one is there while the newer one is not long enough. The state
   is copied between two calls, which is when the hook is called, but for MPS_CALL_UDP_OUTPUT. */

#define LAST_PART 8 /* of a segment is kept free for those calls that none can begin with */

size_t mps_flight_memory_needed(size_t block_bytes, size_t calls_bytes) {
    return 2 * (aligned(block_bytes) + aligned(calls_bytes));
}

/* Never called: what does not fit is refused before. */
static bool write_nothing(void *user, const void *bytes, size_t count) {
    (void)user, (void)bytes, (void)count;
    return false;
}

void mps_flight_begin(struct mps_flight *f, const mps_hooks *hooks, void *memory,
                      size_t block_bytes, size_t calls_bytes, uint32_t keep_ms) {
    unsigned char *at = memory;
    /* Touched now, so that the first copies take no longer than those to come. */
    memset(memory, 0, mps_flight_memory_needed(block_bytes, calls_bytes));
    *f = (struct mps_flight){.journal = {.write = write_nothing},
                             .flags = hooks_flags(hooks),
                             .block_bytes = block_bytes,
                             .calls_bytes = calls_bytes,
                             .keep_us = (uint64_t)keep_ms * 1000};
    for (int i = 0; i < 2; i++) {
        f->segments[i].block = at;
        f->segments[i].calls = at + aligned(block_bytes);
        at += aligned(block_bytes) + aligned(calls_bytes);
    }
}

/* The older segment becomes the newer one, and begins with the state as it is now. */
static void segment_begin(struct mps_flight *f) {
    struct mps_journal *j = &f->journal;
    f->segments[f->newer].calls_bytes = j->used;
    f->newer = !f->newer;
    struct mps_flight_segment *segment = &f->segments[f->newer];
    memcpy(segment->block, j->server, f->block_bytes);
    segment->time = j->time;
    segment->valid = true;
    j->buffer = segment->calls;
    j->capacity = f->calls_bytes;
    j->used = j->taken = 0;
}

static size_t call_bytes_max(const mps_call *call) {
    bool configures = call->kind == MPS_CALL_RECONFIGURE;
    return RECORD_BYTES_MAX + (call->bytes ? call->count : 0) +
           (call->text ? strlen(call->text) : 0) +
           (configures ? CONFIG_BYTES_MAX + secret_bytes(call->config) : 0);
}

void mps_flight_add(struct mps_flight *f, const mps_call *call) {
    struct mps_journal *j = &f->journal;
    assert(j->server);
    struct mps_flight_segment *segment = &f->segments[f->newer];
    size_t bytes = call_bytes_max(call);
    bool between = call->kind != MPS_CALL_UDP_OUTPUT;
    if (!segment->valid) {
        j->time = call->now;
    }
    if (between && (!segment->valid || bytes + j->capacity / LAST_PART > j->capacity - j->used ||
                    j->time - segment->time > f->keep_us)) {
        segment_begin(f);
    }
    if (bytes > j->capacity - j->used) {
        /* Longer than a segment: nothing that came before leads to what comes behind. */
        f->segments[0].valid = f->segments[1].valid = false;
    } else if (f->segments[f->newer].valid) {
        call_put(j, call);
    }
}

/* Bytes of its own on the stack: memory cannot be asked for when the process is about to die. */
bool mps_flight_write(const struct mps_flight *f, mps_journal_write write, void *user) {
    unsigned char buffer[4096];
    const struct mps_flight_segment *older = &f->segments[!f->newer];
    const struct mps_flight_segment *newer = &f->segments[f->newer];
    const struct mps_flight_segment *first = older->valid ? older : newer;
    struct mps_journal j = {
        .write = write, .user = user, .buffer = buffer, .capacity = sizeof buffer};
    if (!first->valid) {
        return false;
    }
    version_put(&j);
    record_put(
        &j, KIND_BLOCK,
        &(mps_call){
            .now = first->time, .number = f->flags, .bytes = first->block, .count = f->block_bytes},
        0, hash_on(0, first->block, f->block_bytes));
    if (first == older) {
        put(&j, older->calls, older->calls_bytes);
    }
    put(&j, newer->calls, f->journal.used);
    mps_journal_flush(&j);
    return !j.failed;
}

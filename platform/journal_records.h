/* journal_records.h: what there is of each kind of call, for journal.c and replay.c: one table, for
   writing and for reading. The format is told in journal.h.  SPDX: MIT-0 */
#ifndef MPSERVER_JOURNAL_RECORDS_H
#define MPSERVER_JOURNAL_RECORDS_H

#include "../mpserver.h"

#include <string.h>

static const char magic[] = "mpserver journal 1\n";
#define MAGIC_BYTES (sizeof magic - 1)

#define NUMBER_BYTES_MAX 10
#define ADDRESS_BYTES 22
#define HASH_BYTES 8
/* Of a record without its text and bytes: time, id (2), number, count, addresses, the counts of
   text and bytes, who, hash. */
#define RECORD_BYTES_MAX                                                                    \
    (1 + 8 * NUMBER_BYTES_MAX + 2 * ADDRESS_BYTES + MPS_ID_BYTES_MAX + MPS_NAME_BYTES_MAX + \
     HASH_BYTES)
#define CONFIG_BYTES_MAX 8192 /* see mps_config_print */
#define SPANS_MAX 64          /* of output that is hashed; no port takes more at once */
#define WRITE_US 1000000      /* the oldest call that waits to be written */

/* Behind the calls. A recorder's file begins with VERSION, ENTROPY, CONFIG; a flight recorder's
   with VERSION, BLOCK. */
enum kind {
    KIND_VERSION = 64, /* text */
    KIND_ENTROPY,      /* bytes */
    KIND_CONFIG,       /* number: flags; text: the secret; bytes: JSON */
    KIND_BLOCK,        /* time: of the last call before; number: flags; hash, bytes: the block */
    KIND_STATE,        /* hash: of the state; the end */
    KIND_TAKEN_SENT    /* MPS_CALL_TCP_TAKEN and, of the same bytes at once, MPS_CALL_TCP_SENT */
};

enum flag { FLAG_ISSUER = 1, FLAG_RELOAD = 2, FLAG_RECORD = 4 };

enum part {
    PART_TIME = 1,
    PART_ID = 2,
    PART_NUMBER = 4,
    PART_COUNT = 8,
    PART_ADDRESSES = 16,
    PART_TEXT = 32,
    PART_BYTES = 64,
    PART_WHO = 128,
    PART_HASH = 256
};

#define KINDS (KIND_TAKEN_SENT + 1)
#define IS_KIND 512 /* none has no parts and yet is one */

static const uint16_t parts_of[KINDS] = {
    [MPS_CALL_WALL_CLOCK] = PART_TIME | PART_NUMBER,
    [MPS_CALL_ADVANCE] = PART_TIME,
    [MPS_CALL_DRAIN] = PART_TIME | PART_NUMBER,
    [MPS_CALL_RECONFIGURE] = PART_NUMBER | PART_TEXT | PART_BYTES,
    [MPS_CALL_NOTE_CALL_NS] = PART_NUMBER,
    [MPS_CALL_NOTE_PORT_ERROR] = PART_NUMBER | PART_TEXT,
    [MPS_CALL_NOTE_UDP_DROPS] = PART_NUMBER,
    [MPS_CALL_TCP_OPEN] = PART_TIME | PART_ADDRESSES,
    [MPS_CALL_TCP_INPUT] = PART_TIME | PART_ID | PART_BYTES,
    [MPS_CALL_TCP_EOF] = PART_TIME | PART_ID,
    [MPS_CALL_TCP_CLOSED] = PART_TIME | PART_ID,
    [MPS_CALL_NEXT_OUTPUT] = IS_KIND,
    [MPS_CALL_TCP_TAKEN] = PART_ID | PART_NUMBER | PART_HASH,
    [MPS_CALL_TCP_SENT] = PART_TIME | PART_ID | PART_NUMBER,
    [MPS_CALL_UDP_INPUT] = PART_TIME | PART_ADDRESSES | PART_BYTES,
    [MPS_CALL_UDP_OUTPUT] = PART_TIME | PART_NUMBER | PART_COUNT | PART_HASH,
    [MPS_CALL_AUTH_FINISH] = PART_TIME | PART_ID | PART_WHO,
    [MPS_CALL_LOBBY_KICK] = PART_TIME | PART_ID | PART_NUMBER,
    [MPS_CALL_ROOM_KICK] = PART_TIME | PART_ID | PART_NUMBER,
    [MPS_CALL_ROOM_SEND] = PART_TIME | PART_ID | PART_NUMBER | PART_TEXT | PART_BYTES,
    [MPS_CALL_USER_SEND] = PART_TIME | PART_WHO | PART_TEXT | PART_BYTES,
    [KIND_VERSION] = PART_TEXT,
    [KIND_ENTROPY] = PART_BYTES,
    [KIND_CONFIG] = PART_NUMBER | PART_TEXT | PART_BYTES,
    [KIND_BLOCK] = PART_TIME | PART_NUMBER | PART_HASH | PART_BYTES,
    [KIND_STATE] = PART_HASH,
    [KIND_TAKEN_SENT] = PART_ID | PART_NUMBER | PART_HASH,
};

static inline size_t aligned(size_t bytes) {
    return (bytes + 15) & ~(size_t)15;
}

static inline uint64_t hash_word(uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 29;
}

static inline uint64_t word_at(const unsigned char *at) {
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

/* Tells bytes that differ, not forgers. Fast: four words at a time, none of which waits for the
   others. */
static inline uint64_t hash_on(uint64_t hash, const void *bytes, size_t count) {
    const unsigned char *at = bytes;
    if (count >= 32) {
        uint64_t second = 0, third = 0, fourth = 0;
        for (; count >= 32; count -= 32, at += 32) {
            hash = hash_word(hash, word_at(at));
            second = hash_word(second, word_at(at + 8));
            third = hash_word(third, word_at(at + 16));
            fourth = hash_word(fourth, word_at(at + 24));
        }
        hash = hash_word(hash_word(hash_word(hash, second), third), fourth);
    }
    for (; count >= 8; count -= 8, at += 8) {
        hash = hash_word(hash, word_at(at));
    }
    uint64_t rest = count;
    for (; count > 0; count--) {
        rest = rest << 8 | *at++;
    }
    return hash_word(hash, rest);
}

/* The next `count` bytes that a connection is to send. */
static inline uint64_t hash_stream(const mps_server *server, mps_conn conn, size_t count) {
    mps_span spans[SPANS_MAX];
    size_t spans_count = mps_tcp_output(server, conn, spans, SPANS_MAX);
    uint64_t hash = 0;
    for (size_t i = 0; i < spans_count && count > 0; i++) {
        size_t part = spans[i].count < count ? spans[i].count : count;
        hash = hash_on(hash, spans[i].bytes, part);
        count -= part;
    }
    return hash;
}

static inline uint64_t hash_address(uint64_t hash, const mps_address *address) {
    hash = hash_on(hash, address->ip, sizeof address->ip);
    return hash_on(hash ^ address->port, &address->scope, sizeof address->scope);
}

static inline uint64_t hash_datagrams(const mps_datagram *datagrams, size_t count) {
    uint64_t hash = 0;
    for (size_t i = 0; i < count; i++) {
        hash = hash_address(hash_address(hash, &datagrams[i].to), &datagrams[i].from);
        for (size_t span = 0; span < datagrams[i].spans_count; span++) {
            hash = hash_on(hash, datagrams[i].spans[span].bytes, datagrams[i].spans[span].count);
        }
    }
    return hash;
}

#endif

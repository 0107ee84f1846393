/* journal.h: writes down every call into the core; replay.h makes them again.  SPDX: MIT-0

   What a server does follows from its configuration, its entropy and the calls that were made, so a
   file of these is the whole story: made again, the calls give the same bytes to the same clients,
   as fast as the processor can, and end in the same crash.

   RECORDING. Give mps_config a `call` hook that hands each call to mps_journal_add:

       mps_journal_begin(&journal, &config, entropy)             then mps_create, and
       journal.server = server
       mps_journal_add(&journal, call)                           from the hook
       mps_journal_end(&journal)                                 the server is not called any more

   FLIGHT RECORDER. mps_flight keeps the last seconds alone, in memory: two segments, each a copy of
   the block and the calls from there on; when the newer one is full or old enough, the older one is
   begun anew. mps_flight_add from the hook, mps_flight_write when something happened. A copy takes
   as long as memcpy of the block does.

   SECRETS. A journal has the entropy, the secret of tokens, and all that clients sent. Whoever has
   the file can sign in as anybody: keep it as you keep the secret.

   FORMAT. "mpserver journal 1\n", then records: a byte of kind, then those parts that its kind has,
   in this order. Numbers are LEB128, those with a sign zigzag.

       time     microseconds since the one before; signed
       id       low 32 bits, high 32 bits
       number   signed
       count
       from, to 16 bytes of IPv6, port (2, little endian), scope (4)
       who      1 when there is one: text id, text name, role, 1 when the id is a number
       hash     8 bytes, little endian: of the bytes that left, of the block, or of the state
       text     count + 1, bytes; a 0 alone is no text
       bytes    count, bytes

   Kinds below 64 are mps_call_kind; the others are in journal_records.h. */
#ifndef MPSERVER_JOURNAL_H
#define MPSERVER_JOURNAL_H

#include "../mpserver.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MPS_JOURNAL_BUFFER_BYTES_MIN 512 /* a record but for its text and bytes, and some */
#define MPS_JOURNAL_BUFFER_BYTES 262144  /* a good size: many calls, or a part of a long one */

/* Where the bytes go. False: they could not be written, which ends the recording, nothing else. */
typedef bool (*mps_journal_write)(void *user, const void *bytes, size_t count);

struct mps_journal {
    const mps_server *server; /* the recorder's to set, behind mps_create */
    mps_journal_write write;
    void *user;
    unsigned char *buffer; /* borrowed */
    size_t capacity, used;
    uint64_t time, written_at; /* of the last call; of the last write */
    uint64_t bytes;            /* in all */
    bool failed;               /* something could not be written: what follows is left out */
    /* When the last record is of MPS_CALL_TCP_TAKEN: where it stands, + 1, and what it has. */
    size_t taken;
    uint64_t taken_id;
    int64_t taken_count;
};

/* `write`, `user`, `buffer` and `capacity` are set before, MPS_JOURNAL_BUFFER_BYTES_MIN at least;
   the buffer is borrowed as long as calls are added. The header is written at once. */
void mps_journal_begin(struct mps_journal *journal, const mps_config *config,
                       const uint8_t entropy[32]);

/* Writes when the buffer is full or its oldest call is a second old. */
void mps_journal_add(struct mps_journal *journal, const mps_call *call);

/* Writes what is in the buffer: before others look at the file, or when the process is about to
   die; safe in a signal handler when `write` is. */
void mps_journal_flush(struct mps_journal *journal);

/* The last record: the hash of the state, for a replay to compare. */
void mps_journal_end(struct mps_journal *journal);

/* -- flight recorder -- */

#define MPS_FLIGHT_CALLS_MIN 65536 /* bytes: less would copy the block every other call */

struct mps_flight_segment {
    unsigned char *block, *calls; /* the copy, and what came behind it */
    size_t calls_bytes;
    uint64_t time; /* of the last call before it */
    bool valid;
};

struct mps_flight {
    struct mps_journal journal; /* writes into the newer segment; `server` is yours to set */
    struct mps_flight_segment segments[2];
    unsigned flags;
    size_t block_bytes, calls_bytes; /* of each segment */
    uint64_t keep_us;
    int newer;
};

/* The bytes that it wants for a block of `block_bytes` and `calls_bytes` of calls each time. */
size_t mps_flight_memory_needed(size_t block_bytes, size_t calls_bytes);

/* `memory` is borrowed, 16-byte aligned. Keeps between `keep_ms` and twice that, and less when
   `calls_bytes` do not last so long: at least MPS_FLIGHT_CALLS_MIN, better some MiB. */
void mps_flight_begin(struct mps_flight *flight, const mps_hooks *hooks, void *memory,
                      size_t block_bytes, size_t calls_bytes, uint32_t keep_ms);
void mps_flight_add(struct mps_flight *flight, const mps_call *call);

/* Writes a file for mps_replay_open. False: it could not be written, or nothing happened yet. Safe
   in a signal handler when `write` is, even when the signal came from within the core. */
bool mps_flight_write(const struct mps_flight *flight, mps_journal_write write, void *user);

#ifdef __cplusplus
}
#endif
#endif

/* replay.h: makes the calls of a journal again.  SPDX: MIT-0

   A recorder's file and a flight recorder's are replayed in the same way:

       mps_replay_open(&replay, bytes, count, scratch, ...)      the whole file
       mps_replay_start(&replay, &server, &hooks, memory, ...)   replay.memory_bytes of it
       while (mps_replay_next(&replay, server) == MPS_REPLAY_CALL) mps_replay_make(&replay, server)

   The hooks of a replay are the game's own and must decide as they did: what they decide is not in
   the file. Calls that hooks make are theirs, too. */
#ifndef MPSERVER_REPLAY_H
#define MPSERVER_REPLAY_H

#include "../mpserver.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum mps_replay_state {
    MPS_REPLAY_CALL,    /* there is one to be made */
    MPS_REPLAY_END,     /* the recording ended here, in the same state if it says which */
    MPS_REPLAY_CUT,     /* the file ends here: its process died, or it is a flight recorder's */
    MPS_REPLAY_DIFFERS, /* other bytes, or another state, than recorded: see `problem` */
    MPS_REPLAY_BROKEN   /* no journal, or damaged: see `problem` */
} mps_replay_state;

struct mps_replay {
    const char *problem;
    char version[32];     /* of the server that was recorded: another one may answer otherwise */
    size_t memory_bytes;  /* what the server wants */
    uint64_t began, time; /* of the first call and of this one, microseconds */
    uint64_t made;        /* of the last one that was made */
    uint64_t calls, bytes_in, bytes_out;
    bool hooks_reload, hooks_record; /* the server had such hooks */
    mps_call call;                   /* the one to be made; its bytes are a copy in `scratch` */

    const unsigned char *at, *end;
    unsigned char *scratch;
    size_t scratch_bytes, scratch_used;
    mps_config config;
    uint8_t entropy[32];
    const unsigned char *block; /* of a flight recorder */
    mps_address from, to;
    mps_identity who;
    mps_datagram *datagrams; /* of the last MPS_CALL_UDP_OUTPUT */
    size_t datagrams_count, datagrams_wanted;
    uint64_t hash;
    bool hash_due, sent_due, started;
};

#define MPS_REPLAY_SCRATCH_BYTES 4194304 /* a good size: the longest input, the most datagrams */

/* The file and the scratch (16-byte aligned) are borrowed. False: see `problem`. */
bool mps_replay_open(struct mps_replay *replay, const void *bytes, size_t count, void *scratch,
                     size_t scratch_bytes);

/* Makes the server in `memory` (16-byte aligned, replay->memory_bytes). False: see `problem`. */
bool mps_replay_start(struct mps_replay *replay, mps_server **server, const mps_hooks *hooks,
                      void *memory);

/* Reads the next call and compares what the one before sent, then makes it. Between the two
   `replay->call` may be looked at, and the clock. */
mps_replay_state mps_replay_next(struct mps_replay *replay, mps_server *server);
void mps_replay_make(struct mps_replay *replay, mps_server *server);

#ifdef __cplusplus
}
#endif
#endif

/* recording.h: --record, --flight and --replay of the dedicated server.  SPDX: MIT-0 */
#ifndef MPSERVER_RECORDING_H
#define MPSERVER_RECORDING_H

#include "../../platform/journal.h"
#include "options.h"

#define RECORDING_NAME_BYTES 1024 /* of a file's name, with a number behind it */
#define RECORDING_WHY_BYTES 256

/* Nothing, everything into a file, or the last seconds in memory. */
enum recording_way { RECORDING_OFF, RECORDING_FILE, RECORDING_FLIGHT };

/* What there is to tell the operator. */
enum recording_news {
    RECORDING_QUIET,
    RECORDING_WRITTEN,
    RECORDING_FAILED,
    RECORDING_NAMES_TAKEN /* of a flight recorder's files */
};

struct recording {
    enum recording_way way;
    enum recording_news news;
    const char *file; /* as asked for */
    struct mps_journal journal;
    struct mps_flight flight;
    intptr_t handle; /* of the file that is being written */
    bool asked;      /* POST /admin/record */
    char name[RECORDING_NAME_BYTES];
};

/* The bytes that it wants for a server in a block of `block_bytes`. */
size_t recording_memory_needed(const struct options *options, size_t block_bytes);

/* Before mps_create, in `memory` of as many, 16-byte aligned. The hooks of `config` are set
   already: `call` passes on to recording_call, `record` to recording_ask. False: `why` says in one
   sentence (RECORDING_WHY_BYTES) what is wrong. */
bool recording_begin(struct recording *recording, const struct options *options,
                     const mps_config *config, const uint8_t entropy[32], void *memory,
                     size_t block_bytes, char *why);

/* Behind mps_create, before the first call. */
void recording_attach(struct recording *recording, const mps_server *server);

/* True: there are news. */
bool recording_call(struct recording *recording, const mps_call *call);
void recording_ask(struct recording *recording);

/* Once; then it is quiet again. `recording->name` is the file that it is about. */
enum recording_news recording_news(struct recording *recording);

/* When the server is not called any more. */
void recording_end(struct recording *recording);

/* Makes the calls of options->replay again; gives the exit status. The log goes to `log`. */
int recording_replay(const struct options *options, const mps_hooks *hooks);

#endif

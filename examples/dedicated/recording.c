/* recording.c: see recording.h.  SPDX: MIT-0

   A recorder's file is there from the start and grows. It is cut where the process was killed, but
   complete to the last call when it crashed. A flight recorder's files are made when somebody asks
   for one, or when the process crashes. No file is ever overwritten. */
#include "recording.h"
#include "../../platform/port.h"
#include "../../platform/replay.h"
#include "system.h"

#include <stdio.h>
#include <string.h>

#define FLIGHT_CALLS_BYTES 8388608 /* in each half: what is busy keeps less than its seconds */
#define FLIGHT_SECONDS 30
#define FILES_MAX 100 /* FILE, FILE.1, ... */
#define US_PER_S 1000000.0

/* == recording == */

static bool file_write(void *user, const void *bytes, size_t count) {
    const struct recording *r = user;
    return system_file_write(r->handle, bytes, count);
}

size_t recording_memory_needed(const struct options *options, size_t block_bytes) {
    return options->record   ? MPS_JOURNAL_BUFFER_BYTES
           : options->flight ? mps_flight_memory_needed(block_bytes, FLIGHT_CALLS_BYTES)
                             : 0;
}

/* FILE, FILE.1 and so on. By hand, as it may be needed when the process is about to die. */
static void name_make(struct recording *r, unsigned number) {
    size_t at = strlen(r->file);
    memcpy(r->name, r->file, at);
    if (number > 0) {
        r->name[at++] = '.';
        if (number >= 10) {
            r->name[at++] = (char)('0' + number / 10);
        }
        r->name[at++] = (char)('0' + number % 10);
    }
    r->name[at] = 0;
}

static void flight_write(struct recording *r) {
    int code = 0;
    r->asked = false;
    r->handle = -1;
    for (unsigned i = 0; i < FILES_MAX && r->handle < 0 && code == 0; i++) {
        name_make(r, i);
        r->handle = system_file_make(r->name, &code);
    }
    if (r->handle < 0) {
        r->news = code ? RECORDING_FAILED : RECORDING_NAMES_TAKEN;
        return;
    }
    bool written = mps_flight_write(&r->flight, file_write, r);
    system_file_close(r->handle);
    r->news = written ? RECORDING_WRITTEN : RECORDING_FAILED;
    if (!written) {
        system_file_remove(r->name); /* a part of it is of no use */
    }
}

static void crash_say(const char *text) {
    system_log(text, strlen(text));
}

static struct recording *crashing;

static void file_flush(struct recording *r) {
    mps_journal_flush(&r->journal);
    r->news = r->journal.failed ? RECORDING_FAILED : RECORDING_WRITTEN;
}

/* What was written down before the crash is whole, whatever became of the rest: the call that it
   happened in is the last one. */
static void crash_write(void) {
    if (crashing->way == RECORDING_FILE) {
        file_flush(crashing);
    } else {
        flight_write(crashing);
    }
    crash_say("mpserver: crashed; ");
    crash_say(crashing->news == RECORDING_WRITTEN  ? "--replay shows how: "
              : crashing->news == RECORDING_FAILED ? "the recording could not be written: "
                                                   : "every name is taken, up to ");
    crash_say(crashing->name);
    crash_say("\n");
}

static bool file_begin(struct recording *r, const mps_config *config, const uint8_t entropy[32],
                       void *memory, char *why) {
    int code;
    r->handle = system_file_make(r->file, &code);
    if (r->handle < 0) {
        snprintf(why, RECORDING_WHY_BYTES,
                 code ? "--record %.128s: the file cannot be made (error %d)"
                      : "--record %.128s: there is such a file already; take another name",
                 r->file, code);
        return false;
    }
    r->journal = (struct mps_journal){
        .write = file_write, .user = r, .buffer = memory, .capacity = MPS_JOURNAL_BUFFER_BYTES};
    mps_journal_begin(&r->journal, config, entropy);
    if (r->journal.failed) {
        snprintf(why, RECORDING_WHY_BYTES, "--record %.128s: the file cannot be written", r->file);
        system_file_close(r->handle);
        system_file_remove(r->file);
    }
    return !r->journal.failed;
}

/* Tries whether there can be such a file; it is made only when there is something to write. */
static bool flight_begin(struct recording *r, const struct options *options,
                         const mps_config *config, void *memory, size_t block_bytes, char *why) {
    int64_t seconds =
        options->flight_seconds == NOT_GIVEN ? FLIGHT_SECONDS : options->flight_seconds;
    int code;
    intptr_t trial = system_file_make(r->file, &code);
    if (trial < 0 && code) {
        snprintf(why, RECORDING_WHY_BYTES, "--flight %.128s: such a file cannot be made (error %d)",
                 r->file, code);
        return false;
    }
    if (trial >= 0) {
        system_file_close(trial);
        system_file_remove(r->file);
    }
    mps_flight_begin(&r->flight, &config->hooks, memory, block_bytes, FLIGHT_CALLS_BYTES,
                     (uint32_t)seconds * 1000);
    return true;
}

bool recording_begin(struct recording *r, const struct options *options, const mps_config *config,
                     const uint8_t entropy[32], void *memory, size_t block_bytes, char *why) {
    r->file = options->record ? options->record : options->flight;
    r->way = options->record ? RECORDING_FILE : options->flight ? RECORDING_FLIGHT : RECORDING_OFF;
    if (r->way == RECORDING_OFF) {
        return true;
    }
    if (strlen(r->file) + sizeof ".99" > sizeof r->name) {
        snprintf(why, RECORDING_WHY_BYTES, "the name of the recording is too long");
        return false;
    }
    name_make(r, 0);
    if (r->way == RECORDING_FILE ? !file_begin(r, config, entropy, memory, why)
                                 : !flight_begin(r, options, config, memory, block_bytes, why)) {
        return false;
    }
    crashing = r;
    system_on_crash(crash_write);
    return true;
}

void recording_attach(struct recording *r, const mps_server *server) {
    r->journal.server = r->flight.journal.server = server;
}

/* What was asked for in the call before is written between the two. */
static void flight_call(struct recording *r, const mps_call *call) {
    if (r->asked) {
        flight_write(r);
    }
    mps_flight_add(&r->flight, call);
}

static void file_call(struct recording *r, const mps_call *call) {
    bool failed = r->journal.failed;
    mps_journal_add(&r->journal, call);
    if (r->asked) {
        r->asked = false;
        file_flush(r);
    } else if (r->journal.failed && !failed) {
        r->news = RECORDING_FAILED;
    }
}

bool recording_call(struct recording *r, const mps_call *call) {
    if (r->way == RECORDING_FLIGHT) {
        flight_call(r, call);
    } else {
        file_call(r, call);
    }
    return r->news != RECORDING_QUIET;
}

void recording_ask(struct recording *r) {
    r->asked = true;
}

enum recording_news recording_news(struct recording *r) {
    enum recording_news news = r->news;
    r->news = RECORDING_QUIET;
    return news;
}

void recording_end(struct recording *r) {
    if (r->way == RECORDING_FILE) {
        bool failed = r->journal.failed;
        mps_journal_end(&r->journal);
        r->news = r->journal.failed && !failed ? RECORDING_FAILED : r->news;
        system_file_close(r->handle);
    }
}

/* == replay == */

static int complain(const struct options *options, const char *why) {
    fprintf(stderr, "mpserver: --replay %s: %s\n", options->replay, why);
    return 2;
}

/* `state` is why it ended; MPS_REPLAY_CALL means that --until is reached. */
static int report(const struct options *options, const struct mps_replay *r, mps_replay_state state,
                  uint64_t hash, uint64_t took_us) {
    bool wrong = state == MPS_REPLAY_DIFFERS || state == MPS_REPLAY_BROKEN;
    double seconds = (double)((wrong ? r->time : r->made) - r->began) / US_PER_S;
    static const char *const ends[] = {[MPS_REPLAY_CALL] = "stopped at --until",
                                       [MPS_REPLAY_END] = "as recorded",
                                       [MPS_REPLAY_CUT] =
                                           "the recording ends without one to compare"};
    if (wrong) {
        fprintf(stderr, "mpserver: --replay %s: call %llu, at %.6f s: %s\n", options->replay,
                (unsigned long long)r->calls, seconds, r->problem);
        return state == MPS_REPLAY_DIFFERS ? 1 : 2;
    }
    printf("replayed %llu calls of %.6f s in %.3f s: %llu bytes in, %llu bytes out, all the same\n"
           "state %016llx: %s\n",
           (unsigned long long)r->calls, seconds, (double)took_us / US_PER_S,
           (unsigned long long)r->bytes_in, (unsigned long long)r->bytes_out,
           (unsigned long long)hash, ends[state]);
    return fflush(stdout) == 0 ? 0 : 1;
}

static bool is_over(const struct options *options, const struct mps_replay *r) {
    return options->until_us != NOT_GIVEN && r->started &&
           r->time - r->began > (uint64_t)options->until_us;
}

static int replay_run(const struct options *options, const mps_hooks *hooks, struct mps_replay *r,
                      void *memory) {
    mps_server *server;
    uint64_t began = mps_port_now_us();
    if (!mps_replay_start(r, &server, hooks, memory)) {
        return complain(options, r->problem);
    }
    mps_replay_state state = mps_replay_next(r, server);
    while (state == MPS_REPLAY_CALL && !is_over(options, r)) {
        mps_replay_make(r, server);
        state = mps_replay_next(r, server);
    }
    return report(options, r, state, mps_state_hash(server), mps_port_now_us() - began);
}

/* For the core to see that there are such hooks: what they did is not to be done again. */
static void ignored(void *user) {
    (void)user;
}

int recording_replay(const struct options *options, const mps_hooks *hooks) {
    static struct mps_replay r;
    mps_hooks own = *hooks;
    size_t bytes;
    const void *file = system_file_map(options->replay, &bytes);
    void *scratch = system_memory(MPS_REPLAY_SCRATCH_BYTES);
    if (!file) {
        return complain(options, "there is no such file, it is empty, or it cannot be read");
    }
    if (!scratch) {
        return complain(options, "there is not enough memory");
    }
    if (!mps_replay_open(&r, file, bytes, scratch, MPS_REPLAY_SCRATCH_BYTES)) {
        return complain(options, r.problem);
    }
    if (strcmp(r.version, MPS_VERSION) != 0) {
        fprintf(stderr, "mpserver: recorded by version %s, this is %s: it may answer otherwise\n",
                r.version, MPS_VERSION);
    }
    own.reload = r.hooks_reload ? ignored : NULL;
    own.record = r.hooks_record ? ignored : NULL;
    void *memory = system_memory(r.memory_bytes);
    return memory ? replay_run(options, &own, &r, memory)
                  : complain(options, "there is not enough memory");
}

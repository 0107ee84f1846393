/* The fuzzers: one program that includes the core once, so that statics are in reach, then a file
   per target. A target takes any bytes and checks properties; what breaks one ends the process.

   The entry points are libFuzzer's, which AFL++ has as well; the README has its command.
   FUZZ_TARGET=name chooses the target, else the program's own name does, from its last dash on.
   Built with FUZZ_REPLAY it has a main of its own, for every compiler: fuzz-replay TARGET
   FILE-OR-DIRECTORY... runs the target over files; without arguments it names the targets. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>

_Noreturn static void fuzz_failed(const char *what, const char *file, int line) {
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
    abort();
}

#define FUZZ_CHECK(x) ((x) ? (void)0 : fuzz_failed(#x, __FILE__, __LINE__))
#define MPS_ASSERT(x) FUZZ_CHECK(x)
#include "../../mpserver.c"

#include <arpa/inet.h>
#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <unistd.h>

#include "input.h"

#include "json.c"
#include "http.c"
#include "websocket.c"
#include "datagrams.c"
#include "jwt.c"
#include "config.c"
#include "core.c"

static const struct fuzz_target {
    const char *name;
    void (*run)(const struct input *in);
} targets[] = {
    {"json", fuzz_json}, {"http", fuzz_http},     {"websocket", fuzz_websocket},
    {"jwt", fuzz_jwt},   {"config", fuzz_config}, {"datagrams", fuzz_datagrams},
    {"core", fuzz_core},
};

static const struct fuzz_target *target;

static const struct fuzz_target *target_named(const char *name) {
    for (size_t i = 0; i < COUNT_OF(targets); i++) {
        if (strcmp(targets[i].name, name) == 0) {
            return &targets[i];
        }
    }
    fprintf(stderr, "there is no target '%s'\n", name);
    exit(2);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv) {
    const char *name = getenv("FUZZ_TARGET"), *dash = strrchr((*argv)[0], '-');
    (void)argc;
    target = target_named(name ? name : dash ? dash + 1 : (*argv)[0]);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    struct input in = input_of(bytes, count);
    target->run(&in);
    return 0;
}

#ifdef FUZZ_REPLAY
static const char *fuzz_file; /* being replayed */
static u32 replayed;

static void replay_died(int number) {
    static const char before[] = "while replaying ";
    bool told = write(2, before, sizeof before - 1) > 0 &&
                write(2, fuzz_file, strlen(fuzz_file)) > 0 && write(2, "\n", 1) > 0;
    signal(number, SIG_DFL);
    raise(told ? number : SIGABRT);
}

static void replay_file(const char *path) {
    static u8 bytes[1 << 20];
    FILE *file = fopen(path, "rb");
    if (!file) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(2);
    }
    fuzz_file = path;
    size_t count = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    LLVMFuzzerTestOneInput(bytes, count);
    replayed++;
}

static void replay(const char *path) {
    DIR *directory = opendir(path);
    struct dirent *entry;
    if (!directory) {
        replay_file(path);
        return;
    }
    while ((entry = readdir(directory)) != NULL) {
        char name[4096];
        if (entry->d_name[0] != '.') {
            snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
            replay_file(name);
        }
    }
    closedir(directory);
}

int main(int argc, char **argv) {
    const int fatal[] = {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
    for (size_t i = 0; i < COUNT_OF(targets) && argc < 2; i++) {
        puts(targets[i].name);
    }
    for (size_t i = 0; i < COUNT_OF(fatal); i++) {
        signal(fatal[i], replay_died);
    }
    target = argc > 1 ? target_named(argv[1]) : NULL;
    for (int i = 2; i < argc; i++) {
        replay(argv[i]);
    }
    if (target) {
        printf("%s: %u inputs hold\n", target->name, replayed);
    }
    return 0;
}
#endif

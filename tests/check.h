/* check.h: what every unit test uses. A check that fails prints both values and where; the run goes
   on and ends non-zero. Tests are rows of the tables below, filtered by `make test T=name`. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct check_test {
    const char *name;
    void (*run)(void);
};

static int checks_failed; /* in the running test */

#define CHECK(x)                                                  \
    do {                                                          \
        if (!(x)) {                                               \
            checks_failed++;                                      \
            printf("%s:%d: CHECK(%s)\n", __FILE__, __LINE__, #x); \
        }                                                         \
    } while (0)

#define CHECK_INT(got, want) \
    check_int((long long)(got), (long long)(want), #got, __FILE__, __LINE__)
#define CHECK_TEXT(got, bytes, want) check_text((got), (bytes), (want), #got, __FILE__, __LINE__)

static inline void check_int(long long got, long long want, const char *what, const char *file,
                             int line) {
    if (got != want) {
        checks_failed++;
        printf("%s:%d: %s is %lld, not %lld\n", file, line, what, got, want);
    }
}

/* `want` is zero-terminated; `got` is `bytes` long. */
static inline void check_text(const char *got, size_t bytes, const char *want, const char *what,
                              const char *file, int line) {
    if (bytes != strlen(want) || memcmp(got, want, bytes) != 0) {
        checks_failed++;
        printf("%s:%d: %s is\n  \"%.*s\", not\n  \"%s\"\n", file, line, what, (int)bytes, got,
               want);
    }
}

#endif

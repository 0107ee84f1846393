/* conformance.h: tables of cases of a standard, and the one loop over all of them.

   Each row begins with where the standard says it and what it says; where it leaves a choice (MAY,
   SHOULD), the row says which reading is taken. The tables stand here, a header per standard; what
   feeds a row to the core stands in tests/test_<section>.c, which includes it. */
#ifndef CONFORMANCE_H
#define CONFORMANCE_H

#include "../check.h"

struct conformance {
    const char *where, *what; /* "RFC 9112, 3.2", "more than one Host: 400" */
};

/* `rows` are structs of `bytes` bytes whose first member is struct conformance. */
static inline void conformance_check(const char *table, const void *rows, size_t count,
                                     size_t bytes, void (*check)(const void *row)) {
    size_t wrong = 0;
    for (size_t i = 0; i < count; i++) {
        const char *row = (const char *)rows + i * bytes;
        const struct conformance *about = (const void *)row;
        int failed = checks_failed;
        check(row);
        if (checks_failed > failed) {
            wrong++;
            printf("  row %zu of %s: %s: %s\n", i, table, about->where, about->what);
        }
    }
    printf("%s: %zu rows, %zu of them wrong\n", table, count, wrong);
}

#define CONFORMANCE(table, rows, check) \
    conformance_check((table), (rows), COUNT_OF(rows), sizeof *(rows), (check))

#endif

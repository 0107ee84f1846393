#!/bin/bash
# What the core's object may ask for, give out and keep: seven functions of libc, names that start
# with mps_, no writable data but the loader's arena. Then builds without a C library, and C++.
set -u
cd "$(dirname "$0")/.."
# shellcheck source=tests/tally.sh
. tests/tally.sh
mkdir -p build/symbols
wanted='^(memcpy|memmove|memset|memcmp|strlen|strcmp|bcmp)$'
writable='^load_arena(\.[0-9]+)?$'

none_of() { # TITLE SYMBOLS: passes when the list is empty
    tally "$1" test -z "$2"
    [ -z "$2" ] || sed 's/^/      /' <<<"$2"
}

for cc in gcc clang; do
    for level in -O2 -Os; do
        object=build/symbols/$cc$level.o
        tally "$cc $level compiles the core alone" \
            $cc -std=c11 $level -ffp-contract=off -fno-pic -c mpserver.c -o $object
        none_of "$cc $level: nothing undefined but seven functions of libc" \
            "$(nm -u $object | awk '{ print $2 }' | grep -vE "$wanted")"
        none_of "$cc $level: every global symbol starts with mps_" \
            "$(nm -g --defined-only $object | awk '{ print $3 }' | grep -v '^mps_')"
        none_of "$cc $level: no writable data but the loader's" \
            "$(nm $object | awk '$2 ~ /^[bBcCdD]$/ { print $3 }' |
                grep -vE "$writable")"
    done
    object=build/symbols/$cc-freestanding.o
    tally "$cc -ffreestanding compiles with no C library in sight" \
        tests/freestanding.sh $object $cc -O2 -Wall -Wextra -Werror
    none_of "$cc -ffreestanding: nothing undefined but seven functions" \
        "$(nm -u $object 2>/dev/null | awk '{ print $2 }' | grep -vE "$wanted")"
done

# No compiler for another system sees another core: what the preprocessor gives is the same.
preprocessed() { # FLAG...
    gcc -E -P -std=c11 -ffreestanding -nostdinc -isystem "$(gcc -print-file-name=include)" \
        -isystem tests/freestanding -isystem build/freestanding "$@" mpserver.c
}
tally 'the core is the same for Windows' \
    cmp <(preprocessed) <(preprocessed -U__linux__ -U__unix__ -D_WIN32)
for cc in gcc clang; do
    tally "$cc -std=c11 -pedantic: the core, the port, the examples" \
        $cc -std=c11 -pedantic -Wall -Wextra -Werror -fsyntax-only mpserver.c platform/posix.c \
        examples/*.c examples/dedicated/*.c
done

# The check itself: a stray call and a stray global must show.
printf '#include <stdlib.h>\nvoid *stray(void);\nvoid *stray(void) { return malloc(1); }\n' |
    gcc -x c -c - -o build/symbols/planted.o
tally 'a planted malloc shows' \
    test "$(nm -u build/symbols/planted.o | awk '{ print $2 }' | grep -vE "$wanted")" = malloc
tally 'a planted global shows' \
    test "$(nm -g --defined-only build/symbols/planted.o | awk '{ print $3 }')" = stray

for cxx in g++ clang++; do
    command -v $cxx >/dev/null || continue
    tally "mpserver.h compiles with $cxx" \
        $cxx -std=c++11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -x c++ mpserver.h
done
finish

#!/bin/bash
# Programs that read the product's C: clang-tidy (.clang-tidy says what it looks for), cppcheck
# (tests/cppcheck.txt says what it is wrong about), gcc -fanalyzer. Each finding is a failure.
# Of the core, clang's analyzer walks some paths of every function. gcc's walks more, of fewer: with
# too many states it gives up before it has seen them all.
set -u
cd "$(dirname "$0")/.."
# shellcheck source=tests/tally.sh
. tests/tally.sh
mkdir -p build/static
tests/stb.sh build/win32

tidy() { # FILE [FLAG...]
    local file=$1
    shift
    clang-tidy --quiet ${CHECKS:+"--checks=$CHECKS"} "$file" -- -std=c11 "$@" 2>/dev/null |
        grep -E ' (warning|error): '
    return "${PIPESTATUS[0]}"
}

# One configuration, that of a whole build: what it leaves out is #else of nothing.
cpp_check() { # FILE...
    cppcheck --quiet --std=c11 --platform=unix64 --enable=warning,performance,portability \
        --suppressions-list=tests/cppcheck.txt --error-exitcode=1 -D__GNUC__ -D__linux__ \
        -UMPS_NO_ROOMS -UMPS_NO_UDP -UMPS_NO_DOCS -UMPS_NO_ERROR_TEXTS "$@"
}

analyze() { # FILE
    gcc -std=c11 -O0 -fanalyzer -Werror -c "$1" -o build/static/analyzed.o
}

# Tests read numbers from text that they know, compare structs that were zeroed before, cut texts to
# pieces, and are included in one program.
tests_may=-cert-err34-c,-cert-exp42-c,-cert-flp37-c,-bugprone-suspicious-memory-comparison
tests_may+=,-bugprone-not-null-terminated-result,-bugprone-branch-clone,-bugprone-suspicious-include

# All of it but what needs the headers of another system, see below, or of a board.
posix=$(ls platform/*.c examples/*.c examples/dedicated/*.c examples/embed/*.c |
    grep -vE '/(lwip|win32|system_win32)\.c$')

# A tenth of the states that it may make of a function: a tenth of the time, and what is planted in
# a leaf of the core still shows.
tally 'clang-tidy, mpserver.c' tidy mpserver.c -Xclang -analyzer-config -Xclang max-nodes=20000
CHECKS=-clang-analyzer-*,$tests_may tally 'clang-tidy, the unit tests' tidy tests/main.c
for file in $posix; do
    tally "clang-tidy, $file" tidy "$file"
done
for backend in POLL KQUEUE; do
    tally "clang-tidy, platform/posix.c, $backend" \
        tidy platform/posix.c -DMPS_POSIX_$backend -Itests/kqueue
done
for file in platform/win32.c examples/dedicated/system_win32.c; do
    tally "clang-tidy, $file" tidy $file --target=x86_64-w64-mingw32 -Ibuild/win32
done
tally 'clang-tidy, platform/lwip.c' \
    tidy platform/lwip.c -Itests/lwip -isystem build/lwip/src/include
# shellcheck disable=SC2086  # the list is words
tally 'cppcheck, the product' cpp_check mpserver.c $posix
tally 'gcc -fanalyzer, the core' analyze mpserver.c

# The checks themselves: what is planted must show.
shows() { # CHECK COMMAND...: the command fails and names the check
    local check=$1 text
    shift
    ! text=$("$@" 2>&1) && grep -qF "$check" <<<"$text"
}
planted=build/static/planted.c
cat >$planted <<'END'
#include <stdlib.h>
int last(char *text, int *list);
int last(char *text, int *list) {
    int local[4] = {0};
    if (local[1]) {
        text++;
    } else {
        text++;
    }
    local[4] = 1;
    free(list);
    return list[0] + local[0] + *text;
}
END
CHECKS=-clang-analyzer-* tally 'clang-tidy sees branches that do the same' \
    shows bugprone-branch-clone tidy $planted
tally "clang's analyzer sees memory used after it was freed" \
    shows clang-analyzer-unix.Malloc tidy $planted
tally 'cppcheck sees an index that is too large' \
    shows arrayIndexOutOfBounds cpp_check $planted
tally 'gcc sees memory used after it was freed' \
    shows analyzer-use-after-free analyze $planted
finish

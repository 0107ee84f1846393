#!/bin/bash
# Plants each bug of tests/mutants/*.patch in a copy of the core, builds the simulator with it, and
# runs seeds until one finds it. A mutant that survives, does not apply, or changes no line of
# mpserver.c is a failure. The first line of a patch says what it plants.
# Usage: tests/mutants.sh [NAME...]     SEEDS=n: at most so many seeds each (default 1000)
set -u
cd "$(dirname "$0")/.."
export SEEDS=${SEEDS:-1000} CC=${CC:-cc} CPPFLAGS=${CPPFLAGS:-}

# Prints one line, which begins with `found` or `FAIL`.
mutant() { # NAME
    local dir=build/mutants/$1 patch=tests/mutants/$1.patch text
    rm -rf "$dir"
    mkdir -p "$dir/tests"
    cp mpserver.h mpserver.c "$dir"
    cp -r tests/sim "$dir/tests"
    if ! patch -s -F 3 --no-backup-if-mismatch -d "$dir" -p0 <"$patch" >/dev/null 2>&1; then
        echo "FAIL $1: the patch does not apply"
    elif cmp -s mpserver.c "$dir/mpserver.c"; then
        echo "FAIL $1: the patch changes nothing"
    # shellcheck disable=SC2086  # flags are words
    elif ! text=$($CC -std=c11 -ffp-contract=off -O0 -w $CPPFLAGS -o "$dir/sim" \
        "$dir/tests/sim/sim.c" 2>&1); then
        echo "FAIL $1: it does not compile: $(head -n 1 <<<"$text")"
    else
        text=$(timeout 300 "$dir/sim" 1 "$SEEDS" 1 once 2>&1 | sed -n 's/^FAIL //p' | head -n 1)
        if [ -n "$text" ]; then
            echo "found $1: ${text:0:150}"
        else
            echo "FAIL $1 survives $SEEDS seeds: $(head -n 1 "$patch")"
        fi
    fi
    rm -rf "$dir"
}
export -f mutant

[ $# != 0 ] || set -- $(basename -s .patch -a tests/mutants/*.patch)
lines=$(printf '%s\n' "$@" | xargs -P 2 -I{} bash -c 'mutant {}')
sort <<<"$lines"
passed=$(grep -c '^found ' <<<"$lines")
failed=$(($# - passed))
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]

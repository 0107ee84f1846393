#!/bin/bash
# The soak: the crowd of real connections, every single call that its recording has, calls with
# every table full, a million messages accounted for. Ends with `N passed, N failed`.
# Environment: COUNT, TRAFFIC and SEED of the crowd, see tests/soak/crowd.mjs.
set -u
cd "$(dirname "$0")/.." || exit 1
work=$(mktemp -d build/soak.XXXXXX) # the journal may take some hundred MB
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

part() { # TITLE COMMAND...: one that does not say how many passed counts by its status
    printf '\n== %s\n' "$1"
    shift
    "$@" 2>&1 | tee "$work/log"
    local code=${PIPESTATUS[0]}
    grep -E '^[0-9]+ passed, [0-9]+ failed$' "$work/log" >>"$work/tallies" ||
        echo "$((code == 0)) passed, $((code != 0)) failed" >>"$work/tallies"
}

JOURNAL=$work/journal part 'the crowd' node tests/soak/crowd.mjs
part 'each call of it, five times' build/calls --journal "$work/journal"
rm -f "$work/journal"
part 'calls with every table full' build/calls
COUNT='' part 'a million messages' node tests/soak/soak.mjs
printf '\n'
awk '{ passed += $1; failed += $3 } END {
    printf "%d passed, %d failed\n", passed, failed; exit failed > 0 }' "$work/tallies"

#!/bin/bash
# Runs every part of the tests and adds up; each part ends with `N passed, N failed[, N skipped]`.
# With T=name only unit and wire tests whose names contain it.
set -u
cd "$(dirname "$0")/.."
passed=0 failed=0 skipped=0
broken=()
log=$(mktemp build/part.XXXXXX)
trap 'rm -f "$log"' EXIT

part() { # TITLE COMMAND...
    local title=$1 code totals p f s
    shift
    printf '\n== %s\n' "$title"
    "$@" 2>&1 | tee "$log"
    code=${PIPESTATUS[0]}
    totals=$(grep -E '^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$' "$log" | tail -n 1)
    read -r p f s <<<"$(tr -dc '0-9 ' <<<"$totals" | tr -s ' ')"
    # A part that died without saying so, or says so without a count, is one failure. A filter that
    # matches nothing in one part is no failure; matching nothing anywhere is, see below.
    if [ -z "$totals" ] || { [ "$code" != 0 ] && [ "$f" = 0 ] && [ -z "${T:-}" ]; }; then
        f=$((${f:-0} + 1))
    fi
    passed=$((passed + ${p:-0})) failed=$((failed + f)) skipped=$((skipped + ${s:-0}))
    [ "$f" = 0 ] || broken+=("$title")
}

part 'unit tests' build/unit ${T:+"$T"}
part 'unit tests, sanitized' build/unit-sanitized ${T:+"$T"}
if [ -z "${T:-}" ]; then
    part 'lint' node tests/lint.mjs
    part 'lint finds what is planted' node tests/node.mjs tests/lint.test.mjs
    part 'symbols, freestanding, C++' tests/symbols.sh
    part 'tarball' tests/dist_test.sh
    part 'what builds leave out' tests/switches.sh
    part 'sizes in the README' node tests/size.mjs --check
fi
part 'wire tests' node tests/node.mjs tests/wire/*.test.mjs
MPSERVER=build/mpserver-sanitized part 'wire tests, sanitized' \
    node tests/node.mjs tests/wire/*.test.mjs
if [ -z "${T:-}" ]; then
    for port in poll kqueue; do
        MPSERVER=build/mpserver-$port part "wire tests, $port" \
            node tests/node.mjs tests/wire/*.test.mjs
    done
    MPSERVER=build/mpserver-plain part 'UDP, one call a datagram' \
        node tests/node.mjs tests/wire/udp.test.mjs tests/wire/flood.test.mjs
    part 'no allocation' node tests/node.mjs tests/noalloc/noalloc.test.mjs
    part 'soak' node tests/soak/soak.mjs
    COUNT=100000 MPSERVER=build/mpserver-sanitized part 'soak, sanitized' node tests/soak/soak.mjs
fi

echo
[ ${#broken[@]} = 0 ] || printf 'failed in: %s\n' "${broken[@]}"
[ $((passed + failed)) != 0 ] || { echo "nothing is named like '${T:-}'"; failed=1; }
if [ "$skipped" = 0 ]; then
    echo "$passed passed, $failed failed"
else
    echo "$passed passed, $failed failed, $skipped skipped"
fi
[ "$failed" = 0 ] && { [ "$skipped" = 0 ] || [ "${CI:-}" != true ]; }

#!/bin/bash
# Runs every part of the tests and adds up; each part ends with `N passed, N failed[, N skipped]`.
# With T=name only unit and wire tests whose names contain it.
set -u
cd "$(dirname "$0")/.."
work=$(mktemp -d build/parts.XXXXXX)
lanes=()
trap 'for pid in "${lanes[@]}"; do kill -- "-$pid" 2>/dev/null; done; wait; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

part() { # TITLE COMMAND...
    local title=$1 began=$SECONDS log code totals p f s
    shift
    log=$(mktemp "$work/log.XXXXXX")
    printf '\n== %s\n' "$title"
    "$@" 2>&1 | tee "$log"
    code=${PIPESTATUS[0]}
    echo "$((SECONDS - began)) s"
    totals=$(grep -E '^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$' "$log" | tail -n 1)
    read -r p f s <<<"$(tr -dc '0-9 ' <<<"$totals" | tr -s ' ')"
    # A part that died without saying so, or says so without a count, is one failure. A filter that
    # matches nothing in one part is no failure; matching nothing anywhere is, see below.
    if [ -z "$totals" ] || { [ "$code" != 0 ] && [ "$f" = 0 ] && [ -z "${T:-}" ]; }; then
        f=$((${f:-0} + 1))
    fi
    echo "${p:-0} $f ${s:-0} $title" >>"$work/tallies"
}

# What only computes yields to what talks over sockets, beside which it runs: there seconds count.
batch() { # TITLE COMMAND...
    local title=$1
    shift
    part "$title" nice -n 19 "$@"
}

# Three lanes beside each other, since most of them wait more than they work. What a lane in the
# background says is shown when it is done.
lane() { # FUNCTION
    set -m # a process group of its own, to be ended as one
    "$1" >"$work/$1" 2>&1 &
    lanes+=("$!")
    set +m
}

compute() {
    batch 'static checks' tests/static.sh
    batch 'what builds leave out' tests/switches.sh
    batch 'lint' node tests/lint.mjs
    batch 'lint finds what is planted' node tests/node.mjs tests/lint.test.mjs
    batch 'symbols, freestanding, C++' tests/symbols.sh
    batch 'tarball' tests/dist_test.sh
    batch 'what ports leave out' node tests/node.mjs tests/left_out.test.mjs
    batch 'sizes in the README' node tests/size.mjs --check
    batch 'fuzzers' tests/fuzz/run.sh
    batch 'coverage' node tests/coverage.mjs
    batch 'simulator, sanitized' build/sim-sanitized 1 100 2
    batch 'planted bugs' tests/mutants.sh
    batch 'console port, attacked in memory' build/console_test
    batch 'journals, cut and damaged' build/journal_test
    batch 'lwIP on a bad network, virtual time' tests/lwip/virtual.sh
}

elsewhere() {
    part 'firmware in QEMU' tests/firmware.sh
    part 'wire tests, Windows' tests/wine/all.sh
    MPSERVER=build/mpserver-lwip WITHOUT=tests/lwip/left_out.mjs part 'wire tests, lwIP over TAP' \
        tests/lwip/netns.sh node tests/node.mjs ${wire/tests\/wire\/crowd.test.mjs/}
    WITHOUT=tests/console/left_out.mjs MPSERVER=tests/console/awkward.sh \
        part 'console port, awkward system, sanitized' node tests/node.mjs \
        tests/wire/{http,upgrade,frames,lobbies,presence,relay,resume,udp,operations}.test.mjs
}

# Floods measure what one processor drains: nothing else may run meanwhile.
wire=$(ls tests/wire/*.test.mjs | grep -v flood)

part 'unit tests' build/unit ${T:+"$T"}
part 'unit tests, sanitized' build/unit-sanitized ${T:+"$T"}
if [ -z "${T:-}" ]; then
    lane elsewhere
    lane compute
fi
part 'wire tests' node tests/node.mjs $wire
MPSERVER=build/mpserver-sanitized part 'wire tests, sanitized' node tests/node.mjs $wire
part 'conformance on the wire' node tests/node.mjs tests/conformance/*.test.mjs
MPSERVER=build/mpserver-sanitized part 'conformance on the wire, sanitized' \
    node tests/node.mjs tests/conformance/*.test.mjs
part 'listen server' node tests/node.mjs tests/embed/*.test.mjs
EMBED=build/embed-sanitized part 'listen server, sanitized' \
    node tests/node.mjs tests/embed/*.test.mjs
if [ -z "${T:-}" ]; then
    for port in poll kqueue; do
        MPSERVER=build/mpserver-$port part "wire tests, $port" node tests/node.mjs $wire
    done
    WITHOUT=tests/console/left_out.mjs MPSERVER=build/mpserver-console \
        part 'wire tests, console port' node tests/node.mjs $wire
    WITHOUT=tests/console/left_out_kestrel.mjs MPSERVER=build/mpserver-kestrel \
        part 'console port, another system' \
        node tests/node.mjs tests/wire/{upgrade,lobbies,udp}.test.mjs
    MPSERVER=build/mpserver-plain part 'UDP, one call a datagram' \
        node tests/node.mjs tests/wire/udp.test.mjs
    RECORD=yes part 'wire tests, replayed' node tests/node.mjs \
        tests/wire/{relay,rooms,resume,seats,presence,lobbies,udp}.test.mjs
    wait "${lanes[@]}"
    lanes=()
    cat "$work/elsewhere" "$work/compute"
    part 'no allocation' node tests/node.mjs tests/noalloc/noalloc.test.mjs
    part 'soak' node tests/soak/soak.mjs
    COUNT=2000 TRAFFIC=8 part 'soak, a crowd' node tests/soak/crowd.mjs
    COUNT=100000 MPSERVER=build/mpserver-sanitized part 'soak, sanitized' node tests/soak/soak.mjs
fi
part 'floods' node tests/node.mjs tests/wire/flood.test.mjs
if [ -z "${T:-}" ]; then
    for port in sanitized poll kqueue plain; do
        MPSERVER=build/mpserver-$port part "floods, $port" \
            node tests/node.mjs tests/wire/flood.test.mjs
    done
    WITHOUT=tests/console/left_out.mjs MPSERVER=build/mpserver-console \
        part 'floods, console port' node tests/node.mjs tests/wire/flood.test.mjs
fi

awk '$2 > 0 { $1 = $2 = $3 = ""; print "failed in:" $0 }' "$work/tallies"
read -r passed failed skipped \
    <<<"$(awk '{ p += $1; f += $2; s += $3 } END { print p, f, s }' "$work/tallies")"

[ $((passed + failed)) != 0 ] || { echo "nothing is named like '${T:-}'"; failed=1; }
if [ "$skipped" = 0 ]; then
    echo "$passed passed, $failed failed"
else
    echo "$passed passed, $failed failed, $skipped skipped"
fi
[ "$failed" = 0 ] && { [ "$skipped" = 0 ] || [ "${CI:-}" != true ]; }

#!/bin/bash
# Each target of build/fuzz-replay: its corpus holds, replayed without sanitizers, and S seconds of
# fuzzing (5) from there find nothing. Usage: [S=60] [JOBS=2] tests/fuzz/run.sh [TARGET...]
# What is new goes to build/fuzz/TARGET/; an input that breaks a property is kept in the corpus, as
# crash-*. To keep what reaches further, and little more:
#   FUZZ_TARGET=http build/fuzzer -set_cover_merge=1 -use_counters=0 -max_len=3000 \
#       tests/corpus/http build/fuzz/http
set -u
cd "$(dirname "$0")/../.."
# shellcheck source=tests/tally.sh
. tests/tally.sh
export UBSAN_OPTIONS=print_stacktrace=1
all=$(cd tests/corpus && printf '%s ' */ | tr -d /) # by their corpora
for target; do
    [[ " $all" == *" $target "* ]] || { echo "T=$target: the targets are $all"; exit 2; }
done
[[ ${S:-5} =~ ^[1-9][0-9]{0,5}$ ]] || { echo "S=$S: seconds, from 1 to 999999"; exit 2; }
make --no-print-directory -j2 build/fuzzer build/fuzz-replay || exit
read -ra targets <<<"${*:-$all}"

fuzz() { # TARGET: says what it did; false when something does not hold
    local at=build/fuzz/$1 log=build/fuzz/$1.log
    mkdir -p "$at"
    if ! build/fuzz-replay "$1" "tests/corpus/$1" 2>&1; then
        echo "replay it: build/fuzz-replay $1 tests/corpus/$1/NAME, which is named last above"
        return 1
    fi
    touch "$at.start"
    FUZZ_TARGET=$1 build/fuzzer -max_total_time="${S:-5}" -timeout=20 -rss_limit_mb=2048 \
        -dict="tests/corpus/$1.dict" -artifact_prefix="$at/" -print_final_stats=1 \
        "$at" "tests/corpus/$1" >"$log" 2>&1
    local code=$?
    grep -E 'number_of_executed_units|does not hold' "$log"
    [ "$code" != 0 ] || return 0
    grep -vE '^#|NEW_FUNC|^INFO' "$log" | head -n 60
    find "$at" -newer "$at.start" -name '*-*' | while read -r broken; do
        local kept=tests/corpus/$1/${broken##*/}
        cp "$broken" "$kept"
        echo "kept for every run to come: $kept"
        echo "replay it: FUZZ_TARGET=$1 build/fuzzer $kept"
    done
    return 1
}

mkdir -p build/fuzz
for target in "${targets[@]}"; do
    while (($(jobs -rp | wc -l) >= ${JOBS:-2})); do
        wait -n
    done
    rm -f "build/fuzz/$target.held"
    (fuzz "$target" >"build/fuzz/$target.out" && touch "build/fuzz/$target.held") &
done
wait
for target in "${targets[@]}"; do
    sed "s/^/$target: /" "build/fuzz/$target.out"
    tally "fuzz $target" test -e "build/fuzz/$target.held"
done
finish

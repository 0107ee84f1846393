#!/bin/bash
# Every combination of the switches that leave subsystems out: compiles without a warning with gcc,
# clang and for a Cortex-M3, asks for nothing new, and serves what is left. What a server of each
# combination does is tests/switches/switches.test.mjs; with rooms and UDP left out, the wire tests
# that concern neither pass as well. JOBS=n builds as many at a time.
set -u
cd "$(dirname "$0")/.."
# shellcheck source=tests/tally.sh
. tests/tally.sh
SWITCHES=(ROOMS UDP DOCS ERROR_TEXTS)
WARNINGS=(-Wall -Wextra -Wconversion -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Wvla
    -Werror)
wanted='^(memcpy|memmove|memset|memcmp|strlen|strcmp|bcmp)$'
wanted_arm='^(memcpy|memmove|memset|memcmp|strlen|strcmp|__aeabi_[a-z0-9]+|__ctzdi2)$'
mkdir -p build/switches

# What a combination leaves out, as one word: its number's bits stand for SWITCHES.
left_out() { # NUMBER
    local i words=()
    for i in "${!SWITCHES[@]}"; do
        (($1 >> i & 1)) && words+=("${SWITCHES[$i]}")
    done
    local IFS=+
    echo "${words[*]:-nothing}"
}

flags() { # WORD
    [ "$1" = nothing ] || sed 's/\(^\|+\)/ -DMPS_NO_/g' <<<"$1"
}

undefined() { # NM OBJECT PATTERN: fails and prints what is not in the pattern
    ! "$1" -u "$2" | awk '{ print $2 }' | grep -vE "$3"
}

combination() { # WORD: all builds of one, tallied into a file of its own
    local word=$1 at=build/switches/$1
    local defines
    read -ra defines <<<"$(flags "$word")"
    tally "without $word: gcc builds a server" \
        gcc -std=c11 -O0 -ffp-contract=off "${WARNINGS[@]}" ${defines[@]+"${defines[@]}"} \
        -o "$at" mpserver.c build/switches/server/*.o
    tally "without $word: clang -ffreestanding" \
        tests/freestanding.sh "$at-clang.o" clang -O0 "${WARNINGS[@]}" \
        ${defines[@]+"${defines[@]}"}
    tally "without $word: clang asks for seven functions" undefined nm "$at-clang.o" "$wanted"
    tally "without $word: Cortex-M3 -ffreestanding" \
        tests/freestanding.sh "$at-arm.o" arm-none-eabi-gcc -Os -mcpu=cortex-m3 -mthumb \
        "${WARNINGS[@]}" ${defines[@]+"${defines[@]}"}
    tally "without $word: Cortex-M3 asks for seven functions and helpers" \
        undefined arm-none-eabi-nm "$at-arm.o" "$wanted_arm"
    echo "$passed $failed" >"$at.tally"
}

mkdir -p build/switches/server
for file in platform/{posix,journal,replay}.c \
    examples/dedicated/{main,options,recording,system_posix}.c; do
    gcc -std=c11 -O1 -c $file -o build/switches/server/"$(basename ${file%.c})".o || exit 1
done
words=()
for ((i = 0; i < 1 << ${#SWITCHES[@]}; i++)); do
    words+=("$(left_out $i)")
done
rm -f build/switches/*.tally
for word in "${words[@]}"; do
    while (($(jobs -rp | wc -l) >= ${JOBS:-2})); do
        wait -n
    done
    (combination "$word") &
done
wait
for word in "${words[@]}"; do
    read -r p f <"build/switches/$word.tally" || f=1
    passed=$((passed + p)) failed=$((failed + f))
done

# The sum of a run of node tests joins the tally.
wire() { # TITLE COMMAND...
    local title=$1 text p f
    shift
    text=$("$@" 2>&1)
    read -r p f <<<"$(tail -n 1 <<<"$text" | tr -dc '0-9 ' | tr -s ' ')"
    if [ -z "${f:-}" ] || [ "$f" != 0 ]; then
        printf 'FAIL %s\n' "$title"
        sed 's/^/      /' <<<"$text"
    fi
    passed=$((passed + ${p:-0})) failed=$((failed + ${f:-1}))
}

for word in "${words[@]}"; do
    MPSERVER=build/switches/$word LEFT_OUT=$word wire "served without $word" \
        node tests/node.mjs tests/switches/switches.test.mjs
done
for name in http lobbies auth limits operations cut abuse cli; do
    MPSERVER=build/switches/ROOMS+UDP wire "$name without rooms and UDP" \
        node tests/node.mjs tests/wire/$name.test.mjs
done
finish

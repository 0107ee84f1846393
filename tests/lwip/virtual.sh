#!/bin/bash
# Some seeds of build/lwip-virtual, each a part of the sum. Usage: tests/lwip/virtual.sh [SEED...]
set -u
cd "$(dirname "$0")/../.."
passed=0 failed=0
for seed in "${@:-1 2 3}"; do
    for one in $seed; do
        text=$(timeout 120 build/lwip-virtual "$one" 2>&1)
        printf 'seed %s: %s\n' "$one" "$text"
        read -r p _ f _ <<<"$(tail -n 1 <<<"$text" | grep -E '^[0-9]+ passed, [0-9]+ failed$')"
        passed=$((passed + ${p:-0})) failed=$((failed + ${f:-1}))
    done
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]

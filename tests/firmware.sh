#!/bin/bash
# The firmware's tests, both sizes at once: each of them waits more than it works.
set -u
cd "$(dirname "$0")/.." || exit 1
logs=$(mktemp -d)
running=()
# unshare takes no other signal; everything inside ends with it.
trap 'kill -KILL "${running[@]}" 2>/dev/null; wait; rm -rf "$logs"' EXIT
trap 'exit 1' INT TERM
mkdir "$logs/tmp"
for size in tiny small; do
    TMPDIR=$logs/tmp tests/firmware/netns.sh node tests/node.mjs "tests/firmware/$size.test.mjs" \
        >"$logs/$size" 2>&1 &
    running+=($!)
done
wait "${running[@]}"
running=()
cat "$logs/tiny" "$logs/small"
awk '/^[0-9]+ passed, [0-9]+ failed/ { passed += $1; failed += $3; ended++ }
    END { failed += 2 - ended; printf "%d passed, %d failed\n", passed, failed; exit failed > 0 }' \
    "$logs/tiny" "$logs/small"

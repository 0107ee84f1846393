#!/bin/bash
# Runs a command in a network namespace of its own, in which a firmware in QEMU on the TAP device
# `board` is 10.0.2.15 and the command's clients are 10.0.2.2 and 10.0.2.100 to 10.0.2.179 (the
# server limits what one address may do). Usage: tests/firmware/netns.sh COMMAND [ARG...]
set -eu
[ "${NETNS_INSIDE:-}" = 1 ] || NETNS_INSIDE=1 exec "$(dirname "$0")/../netns.sh" "$0" "$@"
ip link set lo up
ip tuntap add dev board mode tap
ip addr add 10.0.2.2/24 dev board
for last in $(seq 100 179); do
    ip addr add "10.0.2.$last/24" dev board
done
ip link set board up
"$@"

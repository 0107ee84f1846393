#!/bin/bash
# Runs a command in a network namespace of its own, in which a firmware in QEMU on the TAP device
# `board` is 10.0.2.15 and the command's clients are 10.0.2.2 and 10.0.2.100 to 10.0.2.179 (the
# server limits what one address may do). Namespaces and processes end with the command, also when
# it is killed. Usage: tests/firmware/netns.sh COMMAND [ARG...]
set -eu
if [ "${FIRMWARE_INSIDE:-}" != 1 ]; then
    if [ ! -w /dev/net/tun ]; then
        echo 'the firmware is tested over a TAP device: let this user write to /dev/net/tun' >&2
        exit 1
    fi
    root=()
    [ "$(id -u)" = 0 ] || root=(--map-root-user)
    FIRMWARE_INSIDE=1 exec unshare "${root[@]}" --net --pid --fork --kill-child --mount-proc \
        "$0" "$@"
fi
ip link set lo up
ip tuntap add dev board mode tap
ip addr add 10.0.2.2/24 dev board
for last in $(seq 100 179); do
    ip addr add "10.0.2.$last/24" dev board
done
ip link set board up
"$@"

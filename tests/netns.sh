#!/bin/bash
# Runs a command in a network namespace of its own, with the rights of root there, and a TAP device
# to be had. Namespaces and processes end with the command, also when it is killed.
# Usage: tests/netns.sh COMMAND [ARG...]
set -eu
if [ ! -e /dev/net/tun ] && [ "$(id -u)" = 0 ]; then
    mkdir -p /dev/net
    mknod /dev/net/tun c 10 200
fi
if [ ! -w /dev/net/tun ]; then
    echo 'this is tested over a TAP device: let this user write to /dev/net/tun' >&2
    exit 1
fi
root=()
[ "$(id -u)" = 0 ] || root=(--map-root-user)
exec unshare "${root[@]}" --net --pid --fork --kill-child --mount-proc "$@"

#!/bin/bash
# Runs a command in a network namespace of its own, where the ports of a server made with
# port_tap.c lead to its TAP device: rules come before the table of local addresses.
# Usage: tests/lwip/netns.sh COMMAND [ARG...]
set -eu
[ "${NETNS_INSIDE:-}" = 1 ] || NETNS_INSIDE=1 exec "$(dirname "$0")/../netns.sh" "$0" "$@"
ip link set lo up
ip rule add pref 100 lookup local
ip rule del pref 0
for conf in all default; do
    for key in route_localnet=1 accept_local=1 rp_filter=0; do
        echo "${key#*=}" >"/proc/sys/net/ipv4/conf/$conf/${key%=*}"
    done
done
"$@"

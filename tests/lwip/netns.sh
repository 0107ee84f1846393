#!/bin/bash
# Runs a command in a network namespace of its own, where the ports of a server made with
# port_tap.c lead to its TAP device: rules come before the table of local addresses. The namespace
# goes with the command. Usage: tests/lwip/netns.sh COMMAND [ARG...]
set -eu
name=mps-$$
ip netns add "$name"
trap 'ip netns del "$name"' EXIT
ip -n "$name" link set lo up
ip -n "$name" rule add pref 100 lookup local
ip -n "$name" rule del pref 0
for conf in all default; do
    for key in route_localnet=1 accept_local=1 rp_filter=0; do
        ip netns exec "$name" sysctl -qw "net.ipv4.conf.$conf.$key" 2>/dev/null ||
            ip netns exec "$name" sh -c "echo ${key#*=} >/proc/sys/net/ipv4/conf/$conf/${key%=*}"
    done
done
ip netns exec "$name" "$@"

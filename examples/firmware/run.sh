#!/bin/bash
# Starts the firmware in QEMU and says how to reach it: the board's ports are forwarded from
# loopback. Environment: PRESET (tiny, small), HTTP_PORT (18080), UDP_PORT (18081).
set -eu
cd "$(dirname "$0")/../.."
case ${PRESET:-tiny} in
tiny) image=build/firmware/mpserver.elf ;;
small) image=build/firmware/mpserver-small.elf ;;
*) echo "PRESET is tiny or small, not $PRESET" >&2; exit 2 ;;
esac
http=${HTTP_PORT:-18080} udp=${UDP_PORT:-18081}
head -c 64 /dev/urandom >build/firmware/seed.bin # of one start: the board's entropy
trap 'rm -f build/firmware/seed.bin' EXIT
echo "try: curl http://127.0.0.1:$http/healthz   UDP: 127.0.0.1:$udp   Enter: lwIP's memory" \
    '  Ctrl-C ends it'
qemu-system-arm -M mps2-an385 -kernel "$image" -no-reboot -display none -monitor none \
    -serial stdio -device loader,file=build/firmware/seed.bin,addr=0x21ffff00,force-raw=on \
    -nic "user,model=lan9118,hostfwd=tcp:127.0.0.1:$http-:8080,hostfwd=udp:127.0.0.1:$udp-:8081"

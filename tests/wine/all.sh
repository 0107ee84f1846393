#!/bin/bash
# The wire tests with build/mpserver.exe under wine, in a prefix of its own that the first start
# makes. wine leaves a server behind; it ends here.
set -u
cd "$(dirname "$0")/../.."
export WINEDEBUG=-all WINEPREFIX=$PWD/build/wine
PATH=$PATH:/usr/lib/wine
trap 'wineserver -k' EXIT
ulimit -n "$(ulimit -Hn)" # its server holds the sockets of all
mkdir -p "$WINEPREFIX"
wineserver -p             # from here on, so that it is not started anew for each test
timeout 120 wine64 wineboot -i >/dev/null 2>&1
# A program that is left over would hold node up for ever.
WITHOUT=tests/wine/left_out.mjs MPSERVER=tests/wine/mpserver timeout 480 \
    node tests/node.mjs tests/wire/*.test.mjs tests/wine/*.test.mjs

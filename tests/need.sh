#!/bin/sh
# Installs what `make run`, `make test`, ... lacks, by Debian package name.
# It looks for the commands and headers themselves: when all is there, it fetches nothing.
# Usage: tests/need.sh run|win32|test|lint|fuzz|mutants|bench|soak|size|firmware
set -eu
missing=

need() { # PACKAGE COMMAND...: the package is missing when the command fails
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

has() {
    command -v "$1"
}

wine_runs() { # Debian keeps it out of the way of another wine
    PATH=$PATH:/usr/lib/wine command -v wine64
}

header() {
    echo "#include <$1>" | "${CC:-cc}" -E -x c -
}

node_is_current() {
    node -e 'process.exit(process.versions.node.split(".")[0] < 18 ? 1 : 0)'
}

node_has_ws() {
    node -e 'require("module").createRequire("/usr/share/nodejs/")("./ws")'
}

sanitizers() {
    echo 'int main(void) { return 0; }' |
        clang -fsanitize=address,undefined -x c -o /dev/null -
}

firmware() {
    need gcc-arm-none-eabi has arm-none-eabi-gcc
    need libnewlib-arm-none-eabi test -e /usr/lib/arm-none-eabi/newlib/libc.a
    need qemu-system-arm has qemu-system-arm
    need dpkg-dev has dpkg-source
}

# What tests/lint.mjs and tests/static.sh run, and what they read.
lint() {
    need gcc has gcc
    need clang has clang
    need clang-format has clang-format
    need clang-tidy has clang-tidy
    need cppcheck has cppcheck
    need nodejs node_is_current
    need gcc-mingw-w64-x86-64 has x86_64-w64-mingw32-gcc
    need dpkg-dev has dpkg-source
}

# A compiler's headers can only be looked for once there is a compiler, hence the rounds.
install_missing() {
    [ -n "$missing" ] || return 0
    echo "installing what is missing:$missing"
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    export DEBIAN_FRONTEND=noninteractive
    $sudo apt-get -q update
    # shellcheck disable=SC2086  # the list is words
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $missing
    missing=
}

command -v "${CC:-cc}" >/dev/null || need gcc has gcc
case $1 in
test)
    lint
    need curl has curl
    need node-ws node_has_ws
    need coturn has turnutils_stunclient
    need iproute2 has ip
    need patch has patch
    firmware
    need wine64 wine_runs
    need gcc-arm-none-eabi has arm-none-eabi-gcc
    ;;
lint)
    lint
    ;;
mutants)
    need patch has patch
    ;;
firmware)
    firmware
    ;;
fuzz)
    need gcc has gcc
    need clang has clang
    need nodejs node_is_current
    ;;
win32)
    need gcc-mingw-w64-x86-64 has x86_64-w64-mingw32-gcc
    ;;
soak)
    need gcc has gcc
    need nodejs node_is_current
    ;;
size)
    need gcc-arm-none-eabi has arm-none-eabi-gcc
    need nodejs node_is_current
    ;;
bench)
    need wrk has wrk
    need nodejs node_is_current
    need util-linux has taskset
    need node-ws test -e /usr/share/nodejs/ws
    ;;
esac
install_missing

need libc6-dev header stdio.h
need libstb-dev header stb/stb_ds.h
if [ "$1" = bench ]; then
    need libwebsockets-dev header libwebsockets.h
    need libenet-dev header enet/enet.h
fi
install_missing

if [ "$1" = test ] || [ "$1" = fuzz ]; then
    version=$(clang --version | sed -n '1s/.*version \([0-9]*\).*/\1/p')
    need "libclang-rt-$version-dev" sanitizers
    install_missing
fi

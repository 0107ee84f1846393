#!/bin/sh
# Installs what `make run`, `make test`, `make bench` or `make size` lacks, by Debian package name.
# It looks for the commands and headers themselves: when all is there, it fetches nothing.
# Usage: tests/need.sh run|test|bench|size
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
    need gcc has gcc
    need clang has clang
    need clang-format has clang-format
    need curl has curl
    need nodejs node_is_current
    need node-ws node_has_ws
    need coturn has turnutils_stunclient
    need gcc-arm-none-eabi has arm-none-eabi-gcc
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

if [ "$1" = test ]; then
    version=$(clang --version | sed -n '1s/.*version \([0-9]*\).*/\1/p')
    need "libclang-rt-$version-dev" sanitizers
    install_missing
fi

#!/bin/bash
# Brings the sources of lwIP to build/lwip, as Debian ships and patches them (`apt-get source`), and
# keeps what was downloaded in the user's cache, so that `make clean` and other clones need no
# network. The package lists are read into build/ with the system's own sources turned to deb-src:
# nothing of the system is changed.
set -eu
cd "$(dirname "$0")/.."
[ ! -e build/lwip/src/include/lwip/init.h ] || exit 0
cache=${XDG_CACHE_HOME:-$HOME/.cache}/mpserver/lwip
mkdir -p "$cache" build

download() {
    local apt options
    apt=$(mktemp -d)
    trap 'rm -rf "$apt"' RETURN
    mkdir -p "$apt/parts" "$apt/lists/partial" "$apt/archives/partial"
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ ! -e "$file" ] || sed -n 's/^deb /deb-src /p' "$file" |
            grep debian >"$apt/parts/$(basename "$file" .list).list" || true
    done
    for file in /etc/apt/sources.list.d/debian*.sources; do
        [ ! -e "$file" ] ||
            sed 's/^Types:.*/Types: deb-src/' "$file" >"$apt/parts/$(basename "$file")"
    done
    options=(-q -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$apt/parts"
        -o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt" -o APT::Sandbox::User=root)
    apt-get "${options[@]}" update
    (cd "$cache" && apt-get "${options[@]}" source --download-only lwip)
}

ls "$cache"/lwip_*.dsc >/dev/null 2>&1 || {
    echo 'fetching the sources of lwIP (apt-get source lwip)'
    download
}
rm -rf build/lwip
dpkg-source --no-check -x "$cache"/lwip_*.dsc build/lwip >/dev/null
test -e build/lwip/src/include/lwip/init.h

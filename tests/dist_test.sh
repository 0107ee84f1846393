#!/bin/bash
# The tarball is reproducible and complete: unpacked elsewhere, a small game builds from it alone.
set -u
cd "$(dirname "$0")/.."
# shellcheck source=tests/tally.sh
. tests/tally.sh
version=$(sed -n 's/^.define MPS_VERSION "\(.*\)"/\1/p' mpserver.h)
name=mpserver-$version
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

tally 'make dist' make --no-print-directory dist
cp "build/$name.tar.gz" "$dir/first.tar.gz"
touch mpserver.h # a later date of a file must not show
tally 'make dist, again' make --no-print-directory dist
tally 'both have the same bytes' cmp "$dir/first.tar.gz" "build/$name.tar.gz"
tally 'it unpacks' tar -xzf "build/$name.tar.gz" -C "$dir"
for file in mpserver.h mpserver.c platform/posix.c platform/win32.c stb/stb_ds.h stb/LICENSE \
    LICENSE README.md; do
    tally "it has $file" test -s "$dir/$name/$file"
done
cp tests/dist_embed.c "$dir/"
awk '/^## / { here = /Put it into your game/ } /^```/ { on = $0 == "```c"; next } here && on' \
    README.md >"$dir/readme.c"
for cc in gcc clang; do
    tally "a game builds from it with $cc" env -C "$dir" $cc -std=c11 -Wall -Wextra -Werror -O2 \
        -ffp-contract=off -I"$name" -o "embed-$cc" dist_embed.c "$name/mpserver.c"
    tally "the $cc build runs" "$dir/embed-$cc"
    tally "what the README adds to a game compiles with $cc" env -C "$dir" $cc -std=c11 -Wall \
        -Wextra -Werror -I"$name" -fsyntax-only readme.c
done
tally 'the port for Windows builds from it' env -C "$dir" x86_64-w64-mingw32-gcc -std=c11 -Wall \
    -Wextra -Werror -O2 -c -o win32.o "$name/platform/win32.c"
finish

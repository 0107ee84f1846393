#!/bin/bash
# Packs the sources for dropping into a game: the core, the platform files, stb_ds.h as installed.
# The same tree gives the same bytes: sorted names, one date, no owner. Usage: tests/dist.sh TARBALL
set -eu
cd "$(dirname "$0")/.."
tarball=$1
name=$(basename "$tarball" .tar.gz)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree/$name/stb"
cp -r mpserver.h mpserver.c platform LICENSE README.md "$tree/$name/"
stb=$(tests/stb.sh)
cp "$stb" "$tree/$name/stb/"
# stb_ds.h ends with its licence, in a comment.
awk '/^This software is available under 2 licenses/ { on = 1 } /^\*\// { on = 0 } on' "$stb" \
    >"$tree/$name/stb/LICENSE"
grep -q 'Sean Barrett' "$tree/$name/stb/LICENSE"
chmod -R u=rwX,go=rX "$tree/$name"
tar --sort=name --mtime='2026-01-01 00:00:00Z' --owner=0 --group=0 --numeric-owner \
    --format=ustar -C "$tree" -cf - "$name" | gzip -9n >"$tarball"
echo "$tarball"

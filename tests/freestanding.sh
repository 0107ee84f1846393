#!/bin/bash
# Compiles the core, or what SOURCE names, without any C library: the compiler's own headers,
# stb_ds.h and the two shims of tests/freestanding are all it sees.
# Usage: [SOURCE=FILE] tests/freestanding.sh OBJECT COMPILER [FLAG...]
set -eu
cd "$(dirname "$0")/.."
object=$1 compiler=$2
shift 2
tests/stb.sh build/freestanding
own=$("$compiler" -print-file-name=include) # gcc; clang prints only the word
[ -d "$own" ] || own=$("$compiler" -print-resource-dir)/include
"$compiler" -std=c11 -ffp-contract=off -ffreestanding -nostdlib -nostdinc "$@" \
    -isystem "$own" -isystem tests/freestanding -isystem build/freestanding \
    -c "${SOURCE:-mpserver.c}" -o "$object"

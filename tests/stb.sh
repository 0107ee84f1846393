#!/bin/sh
# Prints where the installed stb/stb_ds.h is. With FOLDER it puts a copy there, as stb/stb_ds.h, for
# compilers that must not see the other headers it stands among. A copy that is there already stays
# as it is, and a new one comes by a rename: a compiler that reads it meanwhile reads a whole file.
# Usage: tests/stb.sh [FOLDER]
set -eu
stb=$(echo '#include <stb/stb_ds.h>' | "${CC:-cc}" -E -M -x c - | tr -s ' \\' '\n\n' |
    grep -m 1 'stb/stb_ds\.h$')
if [ $# = 0 ]; then
    echo "$stb"
elif ! cmp -s "$stb" "$1/stb/stb_ds.h"; then
    mkdir -p "$1/stb"
    cp "$stb" "$1/stb/stb_ds.h.$$"
    mv "$1/stb/stb_ds.h.$$" "$1/stb/stb_ds.h"
fi

#!/bin/sh
# Prints where the installed stb/stb_ds.h is.
echo '#include <stb/stb_ds.h>' | "${CC:-cc}" -E -M -x c - | tr -s ' \\' '\n\n' |
    grep -m 1 'stb/stb_ds\.h$'

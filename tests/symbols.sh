#!/bin/bash
# What the core's object may ask for, give out and keep: seven functions of libc, names that start
# with mps_, no writable data but the loader's arena. Then builds without a C library, and C++.
set -u
cd "$(dirname "$0")/.."
# shellcheck source=tests/tally.sh
. tests/tally.sh
mkdir -p build/symbols
wanted='^(memcpy|memmove|memset|memcmp|strlen|strcmp|bcmp)$'
dedicated=$(echo examples/dedicated/{main,options,recording}.c platform/{journal,replay}.c)
writable='^load_arena(\.[0-9]+)?$'

none_of() { # TITLE SYMBOLS: passes when the list is empty
    tally "$1" test -z "$2"
    [ -z "$2" ] || sed 's/^/      /' <<<"$2"
}

for cc in gcc clang; do
    for level in -O2 -Os; do
        object=build/symbols/$cc$level.o
        tally "$cc $level compiles the core alone" \
            $cc -std=c11 $level -ffp-contract=off -fno-pic -c mpserver.c -o $object
        none_of "$cc $level: nothing undefined but seven functions of libc" \
            "$(nm -u $object | awk '{ print $2 }' | grep -vE "$wanted")"
        none_of "$cc $level: every global symbol starts with mps_" \
            "$(nm -g --defined-only $object | awk '{ print $3 }' | grep -v '^mps_')"
        none_of "$cc $level: no writable data but the loader's" \
            "$(nm $object | awk '$2 ~ /^[bBcCdD]$/ { print $3 }' |
                grep -vE "$writable")"
    done
    object=build/symbols/$cc-freestanding.o
    tally "$cc -ffreestanding compiles with no C library in sight" \
        tests/freestanding.sh $object $cc -O2 -Wall -Wextra -Werror
    none_of "$cc -ffreestanding: nothing undefined but seven functions" \
        "$(nm -u $object 2>/dev/null | awk '{ print $2 }' | grep -vE "$wanted")"
done

# The port for consoles: the core, what its reader fills in, six functions; nothing kept. Consoles
# have compilers of their own, so the check is done with one for a bare Cortex-M3, too.
fill_ins=$(sed -n 's/^[a-z].*\b\(console_[a-z0-9_]*\)(.*/\1/p' platform/template.h | sort)
tally 'template.h declares thirteen functions to fill in' test "$(wc -w <<<"$fill_ins")" = 13
for cc in gcc clang 'arm-none-eabi-gcc -mcpu=cortex-m3 -mthumb'; do
    object=build/symbols/template-${cc%% *}.o
    # shellcheck disable=SC2086  # a compiler with its flags
    tally "$cc compiles platform/template.c with no C library in sight" \
        env SOURCE=platform/template.c tests/freestanding.sh $object $cc -Os -fno-pic -Wall \
        -Wextra -Wconversion -Wshadow -pedantic -Werror
    none_of "$cc, template.c: nothing undefined but mps_, fill-ins and six functions" \
        "$(nm -u $object | awk '{ print $2 }' | grep -vE "$wanted|^mps_" |
            grep -vxF "$fill_ins")"
    tally "$cc, template.c calls every function to fill in" \
        diff <(nm -u $object | awk '$2 ~ /^console_/ { print $2 }' | sort) <(echo "$fill_ins")
    none_of "$cc, template.c: every global symbol starts with mps_console_" \
        "$(nm -g --defined-only $object | awk '{ print $3 }' | grep -v '^mps_console_')"
    none_of "$cc, template.c: no writable data" \
        "$(nm $object | awk '$2 ~ /^[bBcCdD]$/ { print $3 }' | grep -v '^\$')"
done

awk '/^```/ { if (text ~ /mps_console_start/) print text; text = ""; on = $0 == "```c"; next }
    on { text = text $0 "\n" }' README.md >build/symbols/readme_console.c
for cc in gcc clang 'arm-none-eabi-gcc -mcpu=cortex-m3 -mthumb'; do
    # shellcheck disable=SC2086  # a compiler with its flags
    tally "$cc compiles the game's side of the README's chapter" \
        env SOURCE=build/symbols/readme_console.c tests/freestanding.sh \
        build/symbols/readme_console.o $cc -I. -Os -Wall -Wextra -Werror
    tally "$cc: it starts a server" test "$(nm -u build/symbols/readme_console.o |
        awk '{ print $2 }' | grep -xc mps_console_start)" = 1
done

# No compiler for another system sees another core: what the preprocessor gives is the same.
preprocessed() { # FLAG...
    gcc -E -P -std=c11 -ffreestanding -nostdinc -isystem "$(gcc -print-file-name=include)" \
        -isystem tests/freestanding -isystem build/freestanding "$@" mpserver.c
}
tally 'the core is the same for Windows' \
    cmp <(preprocessed) <(preprocessed -U__linux__ -U__unix__ -D_WIN32)
for cc in gcc clang; do
    tally "$cc -std=c11 -pedantic: the core, the port, the examples" \
        $cc -std=c11 -pedantic -Wall -Wextra -Werror -fsyntax-only mpserver.c platform/posix.c \
        examples/*.c $dedicated examples/dedicated/system_posix.c examples/embed/*.c
done
# stb is all that the freestanding build has put there.
for cc in x86_64-w64-mingw32-gcc 'clang --target=x86_64-w64-mingw32'; do
    # shellcheck disable=SC2086  # words
    tally "$cc -std=c11 -pedantic: the core, the port, the server for Windows" \
        $cc -std=c11 -pedantic -Wall -Wextra -Werror -fsyntax-only -Ibuild/freestanding \
        mpserver.c platform/win32.c $dedicated examples/dedicated/system_win32.c
done

# The check itself: a stray call and a stray global must show.
printf '#include <stdlib.h>\nvoid *stray(void);\nvoid *stray(void) { return malloc(1); }\n' |
    gcc -x c -c - -o build/symbols/planted.o
tally 'a planted malloc shows' \
    test "$(nm -u build/symbols/planted.o | awk '{ print $2 }' | grep -vE "$wanted")" = malloc
tally 'a planted global shows' \
    test "$(nm -g --defined-only build/symbols/planted.o | awk '{ print $3 }')" = stray

for cxx in g++ clang++ x86_64-w64-mingw32-g++; do
    command -v $cxx >/dev/null || continue
    for header in mpserver.h platform/port.h platform/template.h platform/lwip.h; do
        tally "$header compiles with $cxx" \
            $cxx -std=c++11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -x c++ $header
    done
done
finish

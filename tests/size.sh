#!/bin/bash
# Text, data and bss of the core at -Os, on this machine and, with its compiler there, a Cortex-M4.
set -eu
cd "$(dirname "$0")/.."
mkdir -p build
tests/freestanding.sh build/size-host.o gcc -Os
size build/size-host.o
if command -v arm-none-eabi-gcc >/dev/null; then
    tests/freestanding.sh build/size-cortex-m4.o arm-none-eabi-gcc -Os -mcpu=cortex-m4 -mthumb
    arm-none-eabi-size build/size-cortex-m4.o
fi

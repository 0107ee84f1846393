# mpserver. `make` builds the server, `make run` tries it out, `make test` proves it.
# Building needs a C11 compiler and stb_ds.h; run and test install what else they lack.

VERSION := $(shell sed -n 's/^.define MPS_VERSION "\(.*\)"/\1/p' mpserver.h)
DEDICATED := mpserver.c examples/dedicated/main.c examples/dedicated/options.c \
    examples/dedicated/recording.c platform/journal.c platform/replay.c
SERVER := $(DEDICATED) examples/dedicated/system_posix.c platform/posix.c
SERVER_WIN32 := $(DEDICATED) examples/dedicated/system_win32.c platform/win32.c
HEADERS := mpserver.h $(wildcard platform/*.h examples/dedicated/*.h)
EMBED := mpserver.c platform/posix.c $(wildcard examples/embed/*.c)
EMBED_HEADERS := mpserver.h $(wildcard platform/*.h examples/embed/*.h)
TESTS := $(wildcard tests/*.c tests/*.h tests/conformance/*.h)
FORMATTED = $(shell find mpserver.[ch] platform examples tests -name '*.[ch]' 2>/dev/null)

CC ?= cc
CC_WIN32 ?= x86_64-w64-mingw32-gcc
CFLAGS ?= -O2 -g
WARNINGS := -Wall -Wextra -Wconversion -Wshadow \
    -Wmissing-prototypes -Wstrict-prototypes -Wvla -Werror
C11 := -std=c11 -ffp-contract=off $(WARNINGS)
LWIP := build/lwip/src
LWIP_CORE := init def inet_chksum ip mem memp netif pbuf stats sys tcp tcp_in tcp_out timeouts udp \
    ipv4/etharp ipv4/icmp ipv4/ip4 ipv4/ip4_addr ipv4/ip4_frag
LWIP_SOURCES := $(LWIP_CORE:%=$(LWIP)/core/%.c) $(LWIP)/netif/ethernet.c
SANITIZE := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
export T

.PHONY: all run win32 test quick examples embed lint format size bench fuzz seeds coverage sim \
    mutants soak dist clean help stb lwip firmware run-firmware FORCE

all: build/mpserver

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## */\1\t/p' $(MAKEFILE_LIST) | sort

all: ## build/mpserver, the dedicated server (default)

run: ## install what is missing, build, run a development server; ARGS="--http-port 9000" adds flags
	@tests/need.sh run
	@$(MAKE) --no-print-directory build/mpserver
	@echo 'Development server: guest login and the TEST lobby are on, loopback only.'
	@echo 'It prints its ports below. Try: curl http://127.0.0.1:8080/healthz   Stop: Ctrl-C.'
	@exec build/mpserver --dev $(ARGS)

win32: ## build/mpserver.exe, the dedicated server for Windows
	@tests/need.sh win32
	@$(MAKE) --no-print-directory build/mpserver.exe

test: ## every test; T=name: only unit and wire tests whose names contain it
	@tests/need.sh test
	@$(MAKE) --no-print-directory -j2 build/unit build/unit-sanitized build/mpserver \
	    build/mpserver-sanitized build/mpserver-plain build/mpserver-poll \
	    build/mpserver-kqueue build/mpserver-lwip build/lwip-virtual build/mpserver.exe \
	    build/console.exe build/noalloc.so build/udp_client build/flood build/embed \
	    build/embed-sanitized build/mpserver-console build/mpserver-console-sanitized \
	    build/mpserver-kestrel build/console_test build/journal_test build/fuzzer \
	    build/fuzz-replay build/coverage/fuzz build/coverage/unit build/sim-sanitized build/crowd
	@$(MAKE) --no-print-directory firmware
	@tests/all.sh

quick: build/unit ## unit tests only, in seconds; T=name filters
	@build/unit $(T)

examples: build/udp_client build/embed ## the small C samples

embed: build/embed ## build/embed, a listen server in a game loop

firmware: ## bare-metal images for QEMU's mps2-an385: build/firmware/mpserver.elf, -small.elf
	@tests/need.sh firmware
	@tests/lwip.sh
	@$(MAKE) --no-print-directory -f examples/firmware/Makefile

run-firmware: firmware ## the firmware in QEMU; PRESET=small: the larger one
	@examples/firmware/run.sh

lint: ## the rules of style that a program can check; then clang-tidy, cppcheck, gcc -fanalyzer
	@tests/need.sh lint
	@tests/lwip.sh
	@node tests/lint.mjs
	@tests/static.sh

format: ## clang-format over every C file
	clang-format -i $(FORMATTED)

size: ## text, data and bss of the core at -Os, by section and by switches; blocks of the presets
	@tests/need.sh size
	@$(MAKE) --no-print-directory build/mpserver
	@node tests/size.mjs

bench: ## HTTP, rooms, UDP, a game's frames, single calls; WORKLOADS=W1,W3: only these rooms
	@tests/need.sh bench
	@$(MAKE) --no-print-directory build/mpserver build/bare-http build/bare build/load \
	    build/peer-lws build/udp-bare build/udp-load build/udp-enet build/calls build/embed
	@node tests/bench/http.mjs
	@node tests/bench/rooms.mjs
	@node tests/bench/udp.mjs
	@node tests/bench/embed.mjs
	@node tests/bench/record.mjs
	@build/calls

sim: build/sim ## the simulator: seeds 1..100; N=1000: seeds 1..1000; SEED=n: that one
	@build/sim $(if $(SEED),$(SEED),1 $(or $(N),100) 2)

mutants: | build stb ## bugs planted in the core, each of which the simulator has to find
	@tests/need.sh mutants
	@tests/mutants.sh

soak: ## 10,000 connections, their calls one by one, a million messages; COUNT=n TRAFFIC=s SEED=n
	@tests/need.sh soak
	@$(MAKE) --no-print-directory build/mpserver build/crowd build/calls
	@tests/soak.sh

fuzz: ## fuzzes from tests/corpus/ for S=5 seconds each target; T=http: only this one
	@tests/need.sh fuzz
	@tests/fuzz/run.sh $(T)

seeds: ## tests/corpus/ anew: seeds and dictionaries of the fuzzers
	@node tests/fuzz/seeds.mjs

coverage: ## lines of the core that fuzz corpora and unit tests reach, by section; ARGS=--missed
	@tests/need.sh fuzz
	@$(MAKE) --no-print-directory -j2 build/coverage/fuzz build/coverage/unit
	@node tests/coverage.mjs $(ARGS)

dist: build/mpserver-$(VERSION).tar.gz ## the source as one reproducible tarball

clean: ## remove build/
	rm -rf build

build:
	@mkdir -p build

lwip:
	@tests/lwip.sh

# A missing header is told by its package, not by a compiler's error.
stb:
	@echo '#include <stb/stb_ds.h>' | $(CC) $(CPPFLAGS) -E -x c - >/dev/null 2>&1 || \
	    { echo 'stb/stb_ds.h is missing: apt-get install libstb-dev (or: make run)' >&2; exit 1; }

build/mpserver: $(SERVER) $(HEADERS) Makefile | build stb
	$(CC) $(C11) $(CFLAGS) $(CPPFLAGS) -o $@ $(SERVER) $(LDFLAGS)

# Cross compilers do not look into /usr/include, and must not: stb alone is put where they look.
build/win32/stb/stb_ds.h: | build stb
	tests/stb.sh build/win32

build/mpserver.exe: $(SERVER_WIN32) $(HEADERS) build/win32/stb/stb_ds.h Makefile
	$(CC_WIN32) $(C11) $(CFLAGS) -Ibuild/win32 -municode -static -Wl,--no-insert-timestamp -o $@ \
	    $(SERVER_WIN32) -lws2_32 -lbcrypt

build/mpserver-plain: $(SERVER) $(HEADERS) Makefile | build stb
	$(CC) $(C11) $(CFLAGS) -DMPS_POSIX_PLAIN_DATAGRAMS $(CPPFLAGS) -o $@ $(SERVER) $(LDFLAGS)

build/mpserver-poll: $(SERVER) $(HEADERS) Makefile | build stb
	$(CC) $(C11) $(CFLAGS) -DMPS_POSIX_POLL $(CPPFLAGS) -o $@ $(SERVER) $(LDFLAGS)

# kqueue where there is none: the back end, over a kqueue of the tests that uses epoll.
build/mpserver-kqueue: $(SERVER) $(HEADERS) $(wildcard tests/kqueue/*.c tests/kqueue/*/*.h) \
    Makefile | build stb
	$(CC) $(C11) $(CFLAGS) -DMPS_POSIX_KQUEUE -Itests/kqueue $(CPPFLAGS) -o $@ \
	    $(SERVER) tests/kqueue/kqueue.c $(LDFLAGS)

# The dedicated server over lwIP and a TAP device. lwIP's own headers are not held to our warnings.
LWIP_HOST := $(DEDICATED) examples/dedicated/system_posix.c tests/lwip/port_tap.c platform/lwip.c
build/mpserver-lwip: $(LWIP_HOST) $(HEADERS) $(wildcard tests/lwip/*.h tests/lwip/*/*.h) \
    build/lwip-host.a Makefile | build stb
	$(CC) $(C11) $(CFLAGS) -Itests/lwip -isystem $(LWIP)/include $(CPPFLAGS) -o $@ \
	    $(LWIP_HOST) build/lwip-host.a $(LDFLAGS)

build/lwip-host.a: $(wildcard tests/lwip/*.h tests/lwip/*/*.h) platform/lwip_opts.h Makefile | \
    build lwip
	@rm -rf build/lwip-host && mkdir -p build/lwip-host
	cd build/lwip-host && $(CC) -std=c11 -O2 -g -I../../tests/lwip -I../lwip/src/include \
	    -c $(LWIP_SOURCES:%=../../%)
	@rm -f $@ && ar rcs $@ build/lwip-host/*.o

# lwIP with pools as small as a board's, the port, the core and clients of it in one process.
build/lwip-virtual: tests/lwip/virtual.c platform/lwip.c mpserver.c mpserver.h \
    $(wildcard platform/lwip*.h tests/lwip/*.h tests/lwip/*/*.h) Makefile | build stb lwip
	clang -std=c11 -ffp-contract=off $(SANITIZE) -DLWIP_TIGHT -Itests/lwip \
	    -isystem $(LWIP)/include $(CPPFLAGS) -o $@ $(LWIP_SOURCES) tests/lwip/virtual.c \
	    platform/lwip.c mpserver.c

# A dedicated server for a console that does not exist: platform/template.c over Nova, a network
# library of the tests. `user` of the fill-in functions is --bind.
CONSOLE := $(DEDICATED) examples/dedicated/system_posix.c platform/template.c \
    tests/console/port_console.c
KESTREL := $(CONSOLE) tests/console/kestrel_fill.c tests/console/kestrel.c
NOVA := $(CONSOLE) tests/console/nova_fill.c tests/console/nova.c

build/mpserver-console: $(NOVA) $(HEADERS) $(wildcard tests/console/*.h) Makefile | build stb
	$(CC) $(C11) $(CFLAGS) $(CPPFLAGS) -o $@ $(NOVA) $(LDFLAGS)

build/mpserver-console-sanitized: $(NOVA) $(HEADERS) $(wildcard tests/console/*.h) \
    Makefile | build stb
	clang $(C11) $(SANITIZE) $(CPPFLAGS) -o $@ $(NOVA) $(LDFLAGS)

build/mpserver-kestrel: $(KESTREL) $(HEADERS) $(wildcard tests/console/*.h) Makefile | build stb
	$(CC) $(C11) $(CFLAGS) $(CPPFLAGS) -pthread -o $@ $(KESTREL) $(LDFLAGS)

build/console_test: tests/console/console_test.c tests/console/paper.h platform/template.c \
    mpserver.c $(HEADERS) tests/check.h Makefile | build stb
	clang $(C11) $(SANITIZE) $(CPPFLAGS) -o $@ tests/console/console_test.c mpserver.c

JOURNAL_TEST := tests/journal/journal_test.c platform/journal.c platform/replay.c mpserver.c
build/journal_test: $(JOURNAL_TEST) $(HEADERS) tests/check.h Makefile | build stb
	clang $(C11) $(SANITIZE) $(CPPFLAGS) -o $@ $(JOURNAL_TEST)

build/mpserver-sanitized: $(SERVER) $(HEADERS) Makefile | build stb
	clang $(C11) $(SANITIZE) $(CPPFLAGS) -o $@ $(SERVER) $(LDFLAGS)

build/unit: $(TESTS) mpserver.c mpserver.h Makefile | build stb
	$(CC) $(C11) $(CFLAGS) $(CPPFLAGS) -o $@ tests/main.c

build/unit-sanitized: $(TESTS) mpserver.c mpserver.h Makefile | build stb
	clang $(C11) $(SANITIZE) $(CPPFLAGS) -o $@ tests/main.c

# All targets in one program, so that the core is compiled once; FUZZ_TARGET chooses.
FUZZ := tests/fuzz/main.c
FUZZ_PARTS := $(FUZZ) $(wildcard tests/fuzz/*.[ch]) mpserver.c mpserver.h

build/fuzzer: $(FUZZ_PARTS) Makefile | build stb
	clang $(C11) $(SANITIZE) -fsanitize=fuzzer $(CPPFLAGS) -o $@ $(FUZZ)

build/fuzz-replay: $(FUZZ_PARTS) Makefile | build stb
	$(CC) $(C11) $(CFLAGS) -DFUZZ_REPLAY $(CPPFLAGS) -o $@ $(FUZZ) $(LDFLAGS) -lm

# Without optimisation every line is there to be counted.
COVERAGE := gcc -std=c11 -ffp-contract=off -O0 --coverage
build/coverage/fuzz: $(FUZZ_PARTS) Makefile | build stb
	@mkdir -p build/coverage
	$(COVERAGE) -DFUZZ_REPLAY $(CPPFLAGS) -o $@ $(FUZZ) -lm

build/coverage/unit: $(TESTS) mpserver.c mpserver.h Makefile | build stb
	@mkdir -p build/coverage
	$(COVERAGE) $(CPPFLAGS) -o $@ tests/main.c

build/sim: $(wildcard tests/sim/*.c) mpserver.c mpserver.h Makefile | build stb
	$(CC) $(C11) $(CFLAGS) $(CPPFLAGS) -o $@ tests/sim/sim.c

build/sim-sanitized: $(wildcard tests/sim/*.c) mpserver.c mpserver.h Makefile | build stb
	clang $(C11) $(SANITIZE) $(CPPFLAGS) -o $@ tests/sim/sim.c

build/udp_client: examples/udp_client.c Makefile | build
	$(CC) $(C11) $(CFLAGS) $(CPPFLAGS) -o $@ $< $(LDFLAGS) -lm

build/console.exe: tests/wine/console.c Makefile | build
	$(CC_WIN32) $(C11) -O2 -g -municode -static -o $@ $<

build/embed: $(EMBED) $(EMBED_HEADERS) Makefile | build stb
	$(CC) $(C11) $(CFLAGS) $(CPPFLAGS) -o $@ $(EMBED) $(LDFLAGS) -lm

build/embed-sanitized: $(EMBED) $(EMBED_HEADERS) Makefile | build stb
	clang $(C11) $(SANITIZE) $(CPPFLAGS) -o $@ $(EMBED) $(LDFLAGS) -lm

build/flood: tests/wire/flood.c Makefile | build
	$(CC) $(C11) -O2 -g -o $@ $<

build/noalloc.so: tests/noalloc/noalloc.c Makefile | build
	$(CC) $(C11) -O2 -g -shared -fPIC -o $@ $<

BENCH_HEADERS := $(wildcard tests/bench/*.h)
build/bare-http build/bare build/load build/udp-bare: build/%: tests/bench/%.c \
    $(BENCH_HEADERS) Makefile | build
	$(CC) $(C11) -O2 -g -o $@ $<

build/udp-load build/udp-enet: build/%: tests/bench/%.c $(BENCH_HEADERS) Makefile | build
	$(CC) $(C11) -O2 -g -o $@ $< -lenet

build/crowd: tests/soak/crowd.c $(BENCH_HEADERS) Makefile | build
	$(CC) $(C11) -O2 -g -o $@ $<

build/calls: tests/bench/calls.c platform/replay.c mpserver.c $(HEADERS) Makefile | build stb
	$(CC) $(C11) $(CFLAGS) $(CPPFLAGS) -o $@ $< platform/replay.c

build/peer-lws: tests/bench/peer-lws.c Makefile | build
	$(CC) $(C11) -O2 -g -o $@ $< -lwebsockets

build/mpserver-$(VERSION).tar.gz: FORCE | build stb
	@tests/dist.sh $@

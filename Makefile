# mpserver. `make` builds the server, `make run` tries it out, `make test` proves it.
# Building needs a C11 compiler and stb_ds.h; run and test install what else they lack.

VERSION := $(shell sed -n 's/^.define MPS_VERSION "\(.*\)"/\1/p' mpserver.h)
SERVER := mpserver.c platform/posix.c $(wildcard examples/dedicated/*.c)
HEADERS := mpserver.h $(wildcard platform/*.h examples/dedicated/*.h)
TESTS := $(wildcard tests/*.c tests/*.h)
FORMATTED = $(shell find mpserver.[ch] platform examples tests -name '*.[ch]' 2>/dev/null)

CC ?= cc
CFLAGS ?= -O2 -g
WARNINGS := -Wall -Wextra -Wconversion -Wshadow \
    -Wmissing-prototypes -Wstrict-prototypes -Wvla -Werror
C11 := -std=c11 -ffp-contract=off $(WARNINGS)
SANITIZE := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
export T

.PHONY: all run test quick examples lint format size bench soak dist clean help stb FORCE

all: build/mpserver

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## */\1\t/p' $(MAKEFILE_LIST) | sort

all: ## build/mpserver, the dedicated server (default)

run: ## install what is missing, build, run a development server; ARGS="--http-port 9000" adds flags
	@tests/need.sh run
	@$(MAKE) --no-print-directory build/mpserver
	@echo 'Development server: guest login and the TEST lobby are on, loopback only.'
	@echo 'It prints its ports below. Try: curl http://127.0.0.1:8080/healthz   Stop: Ctrl-C.'
	@exec build/mpserver --dev $(ARGS)

test: ## every test; T=name: only unit and wire tests whose names contain it
	@tests/need.sh test
	@$(MAKE) --no-print-directory -j2 build/unit build/unit-sanitized build/mpserver \
	    build/mpserver-sanitized build/mpserver-plain build/mpserver-poll \
	    build/mpserver-kqueue build/noalloc.so build/udp_client build/flood
	@tests/all.sh

quick: build/unit ## unit tests only, in seconds; T=name filters
	@build/unit $(T)

examples: build/udp_client ## the small C samples

lint: ## the rules of style that a program can check
	@node tests/lint.mjs

format: ## clang-format over every C file
	clang-format -i $(FORMATTED)

size: ## text, data and bss of the core at -Os, by section and by switches; blocks of the presets
	@tests/need.sh size
	@$(MAKE) --no-print-directory build/mpserver
	@node tests/size.mjs

bench: ## HTTP, rooms and single calls beside baselines and peers; WORKLOADS=W1,W3: only these rooms
	@tests/need.sh bench
	@$(MAKE) --no-print-directory build/mpserver build/bare-http build/bare build/load \
	    build/peer-lws build/udp-bare build/udp-load build/udp-enet build/calls
	@node tests/bench/http.mjs
	@node tests/bench/rooms.mjs
	@node tests/bench/udp.mjs
	@build/calls

soak: build/mpserver ## a million requests and messages, every one accounted for; COUNT=n
	@node tests/soak/soak.mjs

dist: build/mpserver-$(VERSION).tar.gz ## the source as one reproducible tarball

clean: ## remove build/
	rm -rf build

build:
	@mkdir -p build

# A missing header is told by its package, not by a compiler's error.
stb:
	@echo '#include <stb/stb_ds.h>' | $(CC) $(CPPFLAGS) -E -x c - >/dev/null 2>&1 || \
	    { echo 'stb/stb_ds.h is missing: apt-get install libstb-dev (or: make run)' >&2; exit 1; }

build/mpserver: $(SERVER) $(HEADERS) Makefile | build stb
	$(CC) $(C11) $(CFLAGS) $(CPPFLAGS) -o $@ $(SERVER) $(LDFLAGS)

build/mpserver-plain: $(SERVER) $(HEADERS) Makefile | build stb
	$(CC) $(C11) $(CFLAGS) -DMPS_POSIX_PLAIN_DATAGRAMS $(CPPFLAGS) -o $@ $(SERVER) $(LDFLAGS)

build/mpserver-poll: $(SERVER) $(HEADERS) Makefile | build stb
	$(CC) $(C11) $(CFLAGS) -DMPS_POSIX_POLL $(CPPFLAGS) -o $@ $(SERVER) $(LDFLAGS)

# kqueue where there is none: the back end, over a kqueue of the tests that uses epoll.
build/mpserver-kqueue: $(SERVER) $(HEADERS) $(wildcard tests/kqueue/*.c tests/kqueue/*/*.h) \
    Makefile | build stb
	$(CC) $(C11) $(CFLAGS) -DMPS_POSIX_KQUEUE -Itests/kqueue $(CPPFLAGS) -o $@ \
	    $(SERVER) tests/kqueue/kqueue.c $(LDFLAGS)

build/mpserver-sanitized: $(SERVER) $(HEADERS) Makefile | build stb
	clang $(C11) $(SANITIZE) $(CPPFLAGS) -o $@ $(SERVER) $(LDFLAGS)

build/unit: $(TESTS) mpserver.c mpserver.h Makefile | build stb
	$(CC) $(C11) $(CFLAGS) $(CPPFLAGS) -o $@ tests/main.c

build/unit-sanitized: $(TESTS) mpserver.c mpserver.h Makefile | build stb
	clang $(C11) $(SANITIZE) $(CPPFLAGS) -o $@ tests/main.c

build/udp_client: examples/udp_client.c Makefile | build
	$(CC) $(C11) $(CFLAGS) $(CPPFLAGS) -o $@ $< $(LDFLAGS) -lm

build/flood: tests/wire/flood.c Makefile | build
	$(CC) $(C11) -O2 -g -o $@ $<

build/noalloc.so: tests/noalloc/noalloc.c Makefile | build
	$(CC) $(C11) -O2 -g -shared -fPIC -o $@ $<

build/bare-http build/bare build/load build/udp-bare: build/%: tests/bench/%.c \
    tests/bench/net.h tests/bench/measure.h Makefile | build
	$(CC) $(C11) -O2 -g -o $@ $<

build/udp-load build/udp-enet: build/%: tests/bench/%.c tests/bench/net.h \
    tests/bench/measure.h Makefile | build
	$(CC) $(C11) -O2 -g -o $@ $< -lenet

build/calls: tests/bench/calls.c mpserver.c mpserver.h Makefile | build stb
	$(CC) $(C11) $(CFLAGS) $(CPPFLAGS) -o $@ $<

build/peer-lws: tests/bench/peer-lws.c Makefile | build
	$(CC) $(C11) -O2 -g -o $@ $< -lwebsockets

build/mpserver-$(VERSION).tar.gz: FORCE | build stb
	@tests/dist.sh $@

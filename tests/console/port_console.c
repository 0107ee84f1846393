/* port_console.c: port.h over platform/template.c, for tests alone.  SPDX: MIT-0

   With it examples/dedicated/main.c becomes a dedicated server for a console, and the wire tests
   can be run against template.c and whatever fills it in. What a console does not have and the
   dedicated server wants (signals, --bind, sleeping) is here. `user` of the fill-in functions is
   the text of --bind, or NULL. MPS_CONSOLE_BUDGET_US in the environment gives each step a budget.
   */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "../../platform/port.h"
#include "../../platform/port_life.h"
#include "../../platform/template.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FRAME_US 1000 /* sockets are looked at so often, at least */

static struct mps_console net;
static uint32_t budget_us;
static volatile sig_atomic_t ends_asked, reloads_asked; /* by signals */
static sig_atomic_t ends_seen, ends_done;

static void *user_of(const struct mps_port_options *options) {
    return (void *)(uintptr_t)options->bind;
}

static bool bind_valid(const char *text) {
    unsigned char ip[16];
    return !text || inet_pton(AF_INET, text, ip) == 1 || inet_pton(AF_INET6, text, ip) == 1;
}

bool mps_port_open(struct mps_port *p, const struct mps_port_options *options) {
    struct mps_console_options o = {
        .user = user_of(options), .http_port = options->http_port, .udp_port = options->udp_port};
    const char *budget = getenv("MPS_CONSOLE_BUDGET_US");
    budget_us = budget ? (uint32_t)strtoul(budget, NULL, 10) : 0;
    *p = (struct mps_port){.options = *options};
    p->bind_invalid = !bind_valid(options->bind);
    if (p->bind_invalid) {
        snprintf(p->error, sizeof p->error, "cannot bind to `%s`: give a numeric address",
                 options->bind);
        return false;
    }
    if (!mps_console_open(&net, &o)) {
        snprintf(p->error, sizeof p->error, "%s (TCP %u, UDP %u, the system says %d)", net.error,
                 options->http_port, options->udp_port, (int)net.error_code);
        return false;
    }
    p->http = net.http;
    p->udp = net.udp;
    return true;
}

size_t mps_port_memory_needed(uint32_t connections) {
    return connections * sizeof(struct mps_console_slot);
}

/* The server is made after this; the first step attaches it. */
bool mps_port_attach(struct mps_port *p, void *memory, size_t bytes, uint32_t connections) {
    p->slots = memory;
    p->slots_count = connections;
    return bytes >= mps_port_memory_needed(connections);
}

static void signal_arrived(int number) {
    if (number == SIGHUP) {
        reloads_asked++;
    } else {
        ends_asked++;
    }
}

bool mps_port_signals(struct mps_port *p) {
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    (void)p;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction action = {.sa_handler = signal_arrived, .sa_flags = SA_RESTART};
        sigaction(numbers[i], &action, NULL);
    }
    return signal(SIGPIPE, SIG_IGN) != SIG_ERR;
}

static void frame_wait(int timeout_ms) {
    uint64_t due = mps_console_deadline(&net);
    uint64_t us = due > net.now ? due - net.now : 0;
    us = us < FRAME_US ? us : FRAME_US;
    us = timeout_ms >= 0 && us > (uint64_t)timeout_ms * 1000 ? (uint64_t)timeout_ms * 1000 : us;
    if (us > 0) {
        nanosleep(&(struct timespec){.tv_nsec = (long)us * 1000}, NULL);
    }
}

/* What was sent before the signal is read before the signal counts: a connection is accepted in one
   step and read in the next. */
static void ends_take(struct mps_port *p) {
    for (; ends_done < ends_seen; ends_done++) {
        if (p->draining) {
            p->state = MPS_PORT_STOPPED;
        } else {
            p->draining = true;
            mps_drain(net.server, net.now, 0);
        }
    }
}

mps_port_state mps_port_step(struct mps_port *p, mps_server *server, int timeout_ms) {
    if (!net.server) {
        mps_console_attach(&net, server, (void *)p->slots, p->slots_count);
    }
    frame_wait(timeout_ms);
    ends_take(p);
    ends_seen = ends_asked;
    if (reloads_asked || p->reload_soon) {
        reloads_asked = 0;
        p->reload_soon = false;
        p->options.on_reload(p->options.user);
    }
    mps_console_step(&net, budget_us);
    if (p->state == MPS_PORT_RUNNING && mps_drained(server)) {
        p->state = MPS_PORT_DRAINED;
    }
    return p->state;
}

mps_port_state mps_port_run(struct mps_port *p, mps_server *server) {
    return rounds_run(p, server);
}

void mps_port_close(struct mps_port *p) {
    (void)p;
    mps_console_close(&net);
}

uint64_t mps_port_now_us(void) {
    return console_now_us(net.options.user);
}

int64_t mps_port_unix_ms(void) {
    int64_t unix_ms = 0;
    console_unix_ms(net.options.user, &unix_ms);
    return unix_ms;
}

bool mps_port_entropy(uint8_t out[32]) {
    return console_entropy(net.options.user, out);
}

void mps_port_address_text(const mps_address *address, char *text) {
    char ip[INET6_ADDRSTRLEN] = "?";
    uint8_t in4[4];
    if (mps_console_get_in4(address, in4)) {
        inet_ntop(AF_INET, in4, ip, sizeof ip);
        snprintf(text, MPS_PORT_ADDRESS_BYTES, "%s:%u", ip, address->port);
    } else {
        inet_ntop(AF_INET6, address->ip, ip, sizeof ip);
        snprintf(text, MPS_PORT_ADDRESS_BYTES, "[%s]:%u", ip, address->port);
    }
}

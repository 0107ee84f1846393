/* The simulator: one server, a virtual network, a virtual clock, and clients that speak real HTTP,
   WebSocket and UDP bytes, all of it drawn from one seed. While faults strike, and afterwards when
   they have stopped, what the server says and keeps is held against models that know nothing of how
   it works. The same seed gives the same bytes.

   Usage: sim FIRST [LAST [WORKERS [once]]]
     Runs the seeds FIRST to LAST, each twice: the second time in a way that must not show in what
     the server sends. With `once` a worker ends with the first seed that fails. */
#define _GNU_SOURCE /* memmem */
static void sim_assert_failed(const char *what, int line);
#define MPS_ASSERT(x) ((x) ? (void)0 : sim_assert_failed(#x, __LINE__))
#include "../../mpserver.c"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "world.c"
#include "wire.c"
#include "model.c"
#include "verdict.c"
#include "hear.c"
#include "port.c"
#include "game.c"
#include "client.c"
#include "udp.c"

#define SEED_MAX 1000000000000
#define WORKERS_MAX 64
#define TURNS_MAX 20000 /* of advancing and draining in one instant: more is no end */

/* -- a run -- */

static void run_create(void) {
    u8 entropy[32];
    for (u32 i = 0; i < sizeof entropy; i++) {
        entropy[i] = (u8)dice_next(&w.plan);
    }
    w.config.hooks = game_hooks();
    w.config.log_level = w.variant == NO_LOG ? MPS_LOG_OFF : w.config.log_level;
    w.block_bytes = mps_memory_needed(&w.config);
    w.place = w.variant == OTHER_PLACE ? 16 * (1 + w.seed % 200) : 0;
    w.raw = malloc(w.place + w.block_bytes);
    HOLDS(w.raw, "the simulator is out of memory");
    memset(w.raw, w.variant == OTHER_FILL ? 0xAA : 0, w.place + w.block_bytes);
    HOLDS(mps_create(&w.server, &w.config, w.raw + w.place, w.block_bytes - 1, entropy) ==
              MPS_E_MEMORY_SIZE,
          "a block that is too small was taken");
    mps_error error = mps_create(&w.server, &w.config, w.raw + w.place, w.block_bytes, entropy);
    HOLDS(error == MPS_OK, "no server: %s", mps_error_code(error));
    mps_wall_clock(w.server, w.now, 1750000000000);
    mps_advance(w.server, w.now);
    for (u32 i = 0; i < TABLE_ROWS; i++) {
        w.baseline[i] = server_u32(w.server, tables[i].at[TABLE_USED]);
    }
}

static void run_clients(void) {
    clients_count = dice_from(&w.plan, w.crowded ? 8 : 3, CLIENTS_MAX);
    u32 addresses = dice_from(&w.plan, 1, ADDRESSES);
    for (u32 i = 0; i < clients_count; i++) {
        u32 kind = dice_below(&w.plan, w.crowded ? 7 : 10);
        clients[i] = (struct client){.kind = kind < 6   ? CLIENT_SOCKET
                                             : kind < 8 ? CLIENT_HTTP
                                                        : CLIENT_LOBBY,
                                     .user = i % w.users_count,
                                     .number = i,
                                     .address = world_address(dice_below(&w.plan, addresses), 0),
                                     .act_at = w.now + dice_below(&w.plan, 500000)};
    }
}

static void run_begin(u64 seed, enum variant variant) {
    w = (struct world){.seed = seed, .variant = variant, .hash = 0xCBF29CE484222325u};
    memset(line_of_slot, 0, sizeof line_of_slot);
    memset(line_named, 0, sizeof line_named);
    w.plan.state = seed * 5 + 1;
    w.act.state = seed * 5 + 2;
    w.net.state = seed * 5 + 3;
    w.game.state = seed * 5 + 4;
    w.cuts.state = seed * 5 + (variant == OTHER_CUTS ? 0x10000000u : 5);
    w.start = w.now = dice_hits(&w.plan, 100) ? UINT64_MAX / 2 : dice_next(&w.plan) >> 20;
    w.shows = getenv("SHOW") != NULL;
    w.pace_ms = dice_from(&w.plan, 5, 150);
    w.long_of_1000 = dice_hits(&w.plan, 300) ? 700 : 100;
    plan_faults();
    plan_config();
    world_users();
    run_clients();
    run_create();
}

static void run_end(void) {
    for (u32 i = 0; i < LINES_MAX; i++) {
        line_free(&lines[i]);
    }
    for (u32 i = 0; i < w.stays.count; i++) {
        list_free(&stay_at(i)->heard);
        list_free(&stay_at(i)->states);
    }
    list_free(&w.said);
    list_free(&w.rooms);
    list_free(&w.stays);
    list_free(&w.tokens);
    list_free(&w.halls);
    list_free(&w.inns);
    list_free(&w.lodgers);
    list_free(&w.flights);
    list_free(&w.ports);
    free(w.raw);
}

/* -- a round: what a port does, at one instant -- */

/* Sleeps until something is due, or is woken late; and now and then time has jumped. */
static void round_wait(void) {
    u64 next = w.deadline;
    for (u32 i = 0; i < clients_count; i++) {
        next = clients[i].act_at < next ? clients[i].act_at : next;
    }
    for (u32 i = 0; i < LINES_MAX; i++) {
        bool waits = lines[i].open && (lines[i].out_count || line_named[i]);
        next = waits && w.now + 5000 < next ? w.now + 5000 : next;
    }
    next = next > w.now + 1000000 ? w.now + 1000000 : next;
    if (w.cuttable) {
        next = w.now + 5000; /* timers may ring in vain, and how often depends on the cuts */
    }
    next += fault(w.faults.late_wake) ? dice_below(&w.net, 30000) : 0;
    next += fault(w.faults.jump) ? dice_below(&w.net, 20000000) : 0;
    w.now = next > w.now ? next : w.now;
    if (fault(w.faults.wall_step)) {
        mps_wall_clock(w.server, w.now, 1750000000000 + (i64)dice_below(&w.net, 100000000));
    }
}

static void round_clients(void) {
    for (u32 i = 0; i < clients_count; i++) {
        struct client *c = &clients[i];
        if (w.now < c->act_at) {
            continue;
        }
        struct line *l = client_line(c);
        c->act_at = w.now + (u64)dice_from(&w.act, 1, w.calm ? 100 : w.pace_ms) * 1000;
        if (w.calm) {
            if (l && l->upgraded && !l->over && !l->close_code && !l->said_eof) {
                socket_answer(l, c);
            }
            if (c->kind == CLIENT_LOBBY && !w.winding_up) {
                lobby_act(c);
            }
        } else if (c->kind == CLIENT_SOCKET) {
            socket_act(c);
        } else if (c->kind == CLIENT_LOBBY) {
            lobby_act(c);
        } else {
            http_act(c);
        }
    }
}

/* Until nothing is due at this instant; that has to come. */
static void round_settle(void) {
    for (u32 turn = 0;; turn++) {
        HOLDS(turn < TURNS_MAX, "it does not come to rest");
        mps_advance(w.server, w.now);
        port_drain();
        udp_drain();
        bool more = port_read_on();
        w.deadline = mps_deadline(w.server);
        if (!more && w.deadline > w.now) {
            break;
        }
    }
    w.settled_at = w.now;
}

static void round_check(void) {
    HOLDS(mps_check(w.server), "mps_check");
    check_tables();
    check_lines();
    check_states();
    check_halls();
    check_lodgers();
}

static void round_run(void) {
    w.tick++;
    progress->tick = w.tick;
    progress->ticks++;
    round_wait();
    round_clients();
    port_deliver();
    udp_deliver();
    round_settle();
    round_check();
}

/* -- liveness: the faults are over, and everything that was begun has to come to its end -- */

static bool line_waits(const struct line *l) {
    return l->open && !l->over && !l->said_eof && !l->stray && !l->said_close &&
           (l->ring_count || l->asks_count || l->out_count || l->unsent);
}

static bool run_waits(void) {
    for (u32 i = 0; i < LINES_MAX; i++) {
        if (line_waits(&lines[i])) {
            return true;
        }
    }
    return false;
}

static void run_calm_down(void) {
    w.calm = true;
    for (u32 i = 0; i < LINES_MAX; i++) {
        lines[i].slow_until = lines[i].stalled_until = 0;
        lines[i].wants_reset = false;
    }
    u64 patience = w.now + 40000000;
    do {
        round_run();
        HOLDS(w.now < patience, "something never comes to its end");
    } while (run_waits());
    u64 settled = w.now + 300000; /* what is told at most ten times a second is told by then */
    while (w.now < settled) {
        round_run();
    }
    verdict_messages();
    verdict_views();
}

/* Everybody goes; when all times are over nothing is left. */
static void run_wind_up(void) {
    const mps_config *c = &w.config;
    w.winding_up = true;
    for (u32 i = 0; i < LINES_MAX; i++) {
        lines[i].wants_reset = lines[i].open && dice_hits(&w.act, 500);
        lines[i].wants_eof = lines[i].open;
    }
    u64 until = w.now + 1000ull * (c->seat_timeout_ms + c->room_timeout_ms + c->player_timeout_ms +
                                   c->lobby_timeout_ms + 3 * c->linger_ms + c->send_timeout_ms +
                                   c->auth_timeout_ms);
    while (w.now < until) {
        round_run();
    }
    for (u32 i = 0; i < LINES_MAX; i++) {
        HOLDS(!lines[i].open, "a connection is still open");
    }
    for (u32 i = 0; i < TABLE_ROWS; i++) {
        HOLDS(!strcmp(tables[i].name, "buckets") ||
                  server_u32(w.server, tables[i].at[TABLE_USED]) == w.baseline[i],
              "table %s: %u are left, %u were there at first", tables[i].name,
              server_u32(w.server, tables[i].at[TABLE_USED]), w.baseline[i]);
    }
    HOLDS(!w.draining || mps_drained(w.server), "the drain has no end");
}

static u64 run(u64 seed, enum variant variant) {
    run_begin(seed, variant);
    u32 ticks = dice_from(&w.plan, 200, 1000);
    u32 drain_at = dice_hits(&w.plan, w.faults.drain) ? dice_below(&w.plan, ticks) : UINT32_MAX;
    while (w.tick < ticks) {
        if (w.tick == drain_at) {
            w.draining = true;
            mps_drain(w.server, w.now, 0);
        }
        round_run();
    }
    run_calm_down();
    run_wind_up();
    u64 hash = w.hash;
    progress->bytes += w.bytes_out;
    progress->state = mps_state_hash(w.server);
    run_end();
    return hash;
}

/* -- seeds -- */

static void seed_run(u64 seed) {
    u64 hash = run(seed, AS_IS);
    enum variant other = 1 + (enum variant)(seed % (OTHER_CUTS - 1));
    u64 state = progress->state;
    progress->hash = hash;
    other = w.cuttable ? OTHER_CUTS : other;
    if (run(seed, other) != hash) {
        broken("the output is another");
    }
    if ((other == OTHER_FILL || other == OTHER_PLACE) && progress->state != state) {
        broken("the state is another");
    }
}

/* A process for many seeds, as a failure may be a crash: then another goes on behind it. */
static void seeds_run(u64 first, u64 last, u64 step, bool once) {
    for (u64 seed = first; seed <= last;) {
        progress->told = false;
        pid_t child = fork();
        if (!child) {
            for (; seed <= last; seed += step) {
                progress->seed = seed;
                seed_run(seed);
                progress->passed++;
                if (first == last) {
                    printf("seed %llu: hash %016llx, %llu bytes\n", (unsigned long long)seed,
                           (unsigned long long)progress->hash, (unsigned long long)progress->bytes);
                    fflush(stdout);
                }
            }
            _exit(0);
        }
        int status = 0;
        waitpid(child, &status, 0);
        if (WIFEXITED(status) && !WEXITSTATUS(status)) {
            return;
        }
        progress->failed++;
        if (!progress->told) {
            printf("FAIL seed %llu, tick %llu: it died, status %d\n     make sim SEED=%llu\n",
                   (unsigned long long)progress->seed, (unsigned long long)progress->tick, status,
                   (unsigned long long)progress->seed);
            fflush(stdout);
        }
        seed = once ? last + 1 : progress->seed + step;
    }
}

/* From 1 on; what is none ends the program with a sentence. */
static u64 number_of(const char *text, u64 most) {
    u64 number = strspn(text, "0123456789") == strlen(text) ? strtoull(text, NULL, 10) : 0;
    if (number < 1 || number > most) {
        printf("`%s` is no number from 1 to %llu: sim FIRST [LAST [WORKERS [once]]]\n", text,
               (unsigned long long)most);
        exit(2);
    }
    return number;
}

int main(int argc, char **argv) {
    u64 first = argc > 1 ? number_of(argv[1], SEED_MAX) : 1;
    u64 last = argc > 2 ? number_of(argv[2], SEED_MAX) : first;
    u64 workers = argc > 3 ? number_of(argv[3], WORKERS_MAX) : 1, passed = 0, failed = 0, ticks = 0;
    struct progress *all = mmap(NULL, (workers + 1) * sizeof *all, PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) {
        return 2;
    }
    for (u64 i = 0; i < workers; i++) {
        progress = &all[i];
        if (!fork()) {
            seeds_run(first + i, last, workers, argc > 4);
            _exit(0);
        }
    }
    while (wait(NULL) > 0) {
    }
    for (u64 i = 0; i < workers; i++) {
        passed += all[i].passed;
        failed += all[i].failed;
        ticks += all[i].ticks;
    }
    printf("%llu ticks\n%llu passed, %llu failed\n", (unsigned long long)ticks,
           (unsigned long long)passed, (unsigned long long)failed);
    return failed || !passed;
}

/* main.c: a listen server in a game loop.  SPDX: MIT-0

   The shape of a game that hosts: a fixed step, frames that must not stutter, and a server that
   gets some of each frame. The game owns all memory, one block taken and touched before the ready
   line; the server is stepped once a frame with a budget; whoever sits at this machine plays by the
   same calls as everybody (player.c), and the game has its say in every hook (game.c).

       build/embed [--bind ADDR] [--http-port N] [--udp-port N] [--seconds N] [--hz N]
                   [--budget-us N] [--quiet]

   Standard output has the ready line, a line of frame times each second, and the totals at the end;
   the log goes to standard error.

     1 frame times     3 memory, server
     2 options         4 the loop                                                              */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include "game.h"
#include "player.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define STEPS_OWED_MAX 5 /* a game that was held up skips steps rather than run after them */
#define QUIT_GRACE_MS 250
#define QUIT_US_MAX 5000000
#define PAGE_BYTES 4096

/* == 1 frame times ===============================================================================
   Of the server's step and of the whole frame, without the sleep at its end, in CPU time of this
   thread: what else the machine does is not the server's fault. Buckets of a microsecond, because a
   mean hides what players feel. */

#define TIMES_US_MAX 4096 /* longer ones share the last bucket */

struct times {
    uint32_t count, buckets[TIMES_US_MAX];
    uint64_t sum_ns, worst_ns;
};

static uint64_t thread_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void times_add(struct times *t, uint64_t ns) {
    uint64_t us = ns / 1000;
    t->count++;
    t->sum_ns += ns;
    t->worst_ns = ns > t->worst_ns ? ns : t->worst_ns;
    t->buckets[us < TIMES_US_MAX ? us : TIMES_US_MAX - 1]++;
}

/* The time that `percent` of all frames stay within, in microseconds. */
static uint32_t times_within(const struct times *t, uint32_t percent) {
    uint64_t wanted = ((uint64_t)t->count * percent + 99) / 100, seen = 0;
    for (uint32_t us = 0; us < TIMES_US_MAX; us++) {
        seen += t->buckets[us];
        if (seen >= wanted) {
            return us;
        }
    }
    return TIMES_US_MAX;
}

static int times_text(const struct times *t, const char *name, char *text, size_t capacity) {
    double mean = t->count ? (double)t->sum_ns / t->count / 1e3 : 0;
    return snprintf(text, capacity, ", %s us: mean %.1f p50 %u p99 %u worst %.1f", name, mean,
                    times_within(t, 50), times_within(t, 99), (double)t->worst_ns / 1e3);
}

/* == 2 options ================================================================================ */

struct options {
    const char *bind;
    uint32_t http_port, udp_port, seconds, hz, budget_us;
    bool quiet;
};

static const char help[] =
    "embed: a listen server in a game loop, an example of mpserver.\n"
    "  --bind ADDR     numeric address to listen on (all)\n"
    "  --http-port N   HTTP and WebSocket (8080; 0: any)\n"
    "  --udp-port N    positions (8081; 0: any)\n"
    "  --seconds N     ends after so many (0: runs until SIGTERM or Ctrl-C)\n"
    "  --hz N          frames a second, 1 to 1000 (60)\n"
    "  --budget-us N   of each frame for the server, in microseconds (700; 0: no limit)\n"
    "  --quiet         no log\n"
    "  --help          this text\n"
    "MPSERVER_JWT_SECRET is the key of its tokens. Passes of a platform are made up here: "
    "`now:NAME`\n"
    "is known at once, `later:NAME` in the next frame, and no other token is.\n";

/* The place of a number, or NULL when there is no such option. */
static uint32_t *option_number(struct options *o, const char *name, uint32_t *most) {
    const struct {
        const char *name;
        uint32_t *at, most;
    } rows[] = {{"--http-port", &o->http_port, 65535},
                {"--udp-port", &o->udp_port, 65535},
                {"--seconds", &o->seconds, 86400},
                {"--hz", &o->hz, 1000},
                {"--budget-us", &o->budget_us, 100000}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(name, rows[i].name) == 0) {
            *most = rows[i].most;
            return rows[i].at;
        }
    }
    return NULL;
}

static bool number_parse(const char *text, uint32_t most, uint32_t *out) {
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || value > most) {
        return false;
    }
    *out = (uint32_t)value;
    return true;
}

/* False: the name of the option that is wrong is in `wrong`. */
static bool options_parse(struct options *o, int argc, char **argv, const char **wrong) {
    *o = (struct options){.http_port = 8080, .udp_port = 8081, .hz = 60, .budget_us = 700};
    for (int i = 1; i < argc; i++) {
        uint32_t most = 0, *number = option_number(o, argv[i], &most);
        *wrong = argv[i];
        if (strcmp(argv[i], "--quiet") == 0) {
            o->quiet = true;
        } else if (i + 1 < argc && strcmp(argv[i], "--bind") == 0) {
            o->bind = argv[++i];
        } else if (!number || i + 1 == argc || !number_parse(argv[++i], most, number)) {
            return false;
        }
    }
    *wrong = "--hz";
    return o->hz > 0;
}

/* == 3 memory, server ========================================================================= */

/* All there is of the program but the block. */
struct embed {
    struct options options;
    struct mps_port port;
    mps_server *server;
    struct game game;
    struct player player;
    struct times step, frame, step_second, frame_second;
    uint64_t began_us, quit_us; /* when; 0: not asked to */
    uint32_t skipped, work_most;
};

static volatile sig_atomic_t asked_to_quit;

static void on_quit(int number) {
    (void)number;
    asked_to_quit = 1;
}

static int complain(int status, const char *why) {
    fprintf(stderr, "embed: %s\n", why);
    return status;
}

static void on_reload(void *user) {
    struct embed *e = user;
    game_reload(&e->game);
}

static bool on_datagram(void *user, const mps_datagram *datagram) {
    struct embed *e = user;
    return player_datagram(&e->player, datagram);
}

/* A frame waits for nobody: what a reader does not take at once is lost. At most CONSOLE_BYTES,
   which a pipe that is ready takes whole. */
static void print(int fd, const char *text, size_t bytes) {
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    if (bytes && poll(&ready, 1, 0) == 1 && ready.revents & POLLOUT) {
        ssize_t written = write(fd, text, bytes);
        (void)written;
    }
}

/* A game for a hundred friends. What one call into the core may cost is bounded by the last two. */
static mps_config config_make(struct embed *e) {
    mps_config config = {.preset = MPS_PRESET_SMALL,
                         .connections = 2 * PLAYERS_MAX,
                         .users = 2 * PLAYERS_MAX,
                         .lobbies = 8,
                         .lobby_players = PLAYERS_MAX,
                         .players = 2 * PLAYERS_MAX,
                         .rooms = 8,
                         .room_players_max = PLAYERS_MAX,
                         .seats = 2 * PLAYERS_MAX,
                         .message_bytes_max = 4096,
                         .guest_login = MPS_ON,
                         .jwt_secret = getenv("MPSERVER_JWT_SECRET"),
                         .log_level = e->options.quiet ? MPS_LOG_OFF : MPS_LOG_INFO,
                         .http_port = e->port.http.port,
                         .udp_port = e->port.udp.port,
                         .requests_per_call = 4,
                         .settle_max = 32};
    game_hooks(&e->game, &config);
    return config;
}

/* The first touch of a page costs more than what is done with it, and would be paid in the frame of
   the first player who comes. */
static void touch(void *memory, size_t bytes) {
    volatile unsigned char *at = memory;
    for (size_t i = 0; i < bytes; i += PAGE_BYTES) {
        at[i] |= 0;
    }
    at[bytes - 1] |= 0; /* the block begins anywhere in a page */
}

static int server_make(struct embed *e) {
    struct mps_port_options options = {.bind = e->options.bind,
                                       .http_port = (uint16_t)e->options.http_port,
                                       .udp_port = (uint16_t)e->options.udp_port,
                                       .user = e,
                                       .on_reload = on_reload,
                                       .on_datagram = on_datagram};
    uint8_t entropy[32];
    if (!mps_port_open(&e->port, &options)) {
        return complain(1, e->port.error);
    }
    if (!mps_port_entropy(entropy)) {
        return complain(1, "the system gives no random bytes");
    }
    mps_config config = config_make(e);
    uint32_t connections = mps_connections_max(&config);
    size_t core = (mps_memory_needed(&config) + 15) & ~(size_t)15;
    size_t bytes = core + mps_port_memory_needed(connections);
    unsigned char *block = calloc(1, bytes);
    if (!block) {
        return complain(1, "there is not enough memory");
    }
    touch(block, bytes);
    touch(e, sizeof *e);
    if (!mps_port_attach(&e->port, block + core, bytes - core, connections)) {
        return complain(1, e->port.error);
    }
    mps_error error = mps_create(&e->server, &config, block, core, entropy);
    if (error != MPS_OK) {
        return complain(1, mps_error_text(error));
    }
    /* The local player makes its lobby before the port's first step, which would tell the date. */
    mps_wall_clock(e->server, mps_port_now_us(), mps_port_unix_ms());
    return 0;
}

/* Whoever started the game may wait for this line; the dedicated server says the same. */
static void ready_say(const struct embed *e) {
    char http[MPS_PORT_ADDRESS_BYTES], udp[MPS_PORT_ADDRESS_BYTES], line[256];
    mps_port_address_text(&e->port.http, http);
    mps_port_address_text(&e->port.udp, udp);
    int bytes =
        snprintf(line, sizeof line, "mpserver %s ready http=%s udp=%s\n", MPS_VERSION, http, udp);
    print(STDOUT_FILENO, line, (size_t)bytes);
}

/* == 4 the loop ===============================================================================
   Time is owed in steps of one length, so that the game runs the same on every machine. */

/* The game's own calls come first, so that the step answers them in the same frame. */
static mps_port_state frame_run(struct embed *e) {
    uint64_t now = mps_port_now_us();
    game_frame(&e->game, now);
    if (!e->quit_us) {
        e->game.host_asks = true;
        player_say(&e->player, now);
        e->game.host_asks = false;
    }
    uint64_t begin = thread_ns();
    mps_port_state state = mps_port_frame(&e->port, e->server, e->options.budget_us);
    uint64_t ns = thread_ns() - begin;
    times_add(&e->step, ns);
    times_add(&e->step_second, ns);
    e->work_most = e->port.work > e->work_most ? e->port.work : e->work_most;
    player_hear(&e->player, mps_port_now_us());
    print(STDERR_FILENO, e->game.console, e->game.console_bytes);
    e->game.console_bytes = 0;
    return state;
}

/* To leave is to drain: sockets hear 1001, and the last connections have a moment to go. */
static void quit_begin(struct embed *e, uint64_t now) {
    e->quit_us = now;
    player_leave(&e->player, now);
    mps_drain(e->server, now, QUIT_GRACE_MS);
}

/* False: the game is over. */
static bool quit_check(struct embed *e, uint64_t now, mps_port_state state) {
    uint64_t seconds = e->options.seconds;
    bool over = asked_to_quit || (seconds && now - e->began_us >= seconds * 1000000);
    if (over && !e->quit_us) {
        quit_begin(e, now);
    }
    return state == MPS_PORT_RUNNING && (!e->quit_us || now - e->quit_us < QUIT_US_MAX);
}

static void second_say(struct embed *e, uint64_t second) {
    char line[512];
    int used = snprintf(line, sizeof line, "second %llu: %u frames", (unsigned long long)second,
                        e->frame_second.count);
    used += times_text(&e->step_second, "server", line + used, sizeof line - (size_t)used);
    used += times_text(&e->frame_second, "frame", line + used, sizeof line - (size_t)used);
    used += snprintf(line + used, sizeof line - (size_t)used,
                     ", avatars %u, others %u, peers %u of %u\n", e->game.avatars_count,
                     e->player.others_count, e->player.peers, e->game.peers);
    print(STDOUT_FILENO, line, (size_t)used);
    memset(&e->step_second, 0, sizeof e->step_second);
    memset(&e->frame_second, 0, sizeof e->frame_second);
}

static void totals_say(const struct embed *e) {
    char text[1024];
    int used = snprintf(text, sizeof text, "total: %u frames, %u steps skipped, work %u",
                        e->frame.count, e->skipped, e->work_most);
    used += times_text(&e->step, "server", text + used, sizeof text - (size_t)used);
    used += times_text(&e->frame, "frame", text + used, sizeof text - (size_t)used);
    used += snprintf(text + used, sizeof text - (size_t)used, "\nhooks:");
    for (int i = 0; i < GAME_HOOK_COUNT; i++) {
        used += snprintf(text + used, sizeof text - (size_t)used, " %s %llu", game_hook_names[i],
                         (unsigned long long)e->game.calls[i]);
    }
    text[used++] = '\n';
    print(STDOUT_FILENO, text, (size_t)used);
}

static void sleep_us(uint64_t us) {
    struct timespec t = {(time_t)(us / 1000000), (long)(us % 1000000 * 1000)};
    nanosleep(&t, NULL); /* a signal may end it early, and the next frame is early then */
}

static mps_port_state loop(struct embed *e) {
    uint64_t step_us = 1000000 / e->options.hz, last = e->began_us, owed = 0, second = 0;
    mps_port_state state = MPS_PORT_RUNNING;
    for (uint64_t now = last; quit_check(e, now, state); now = mps_port_now_us()) {
        uint64_t begin = thread_ns();
        if ((now - e->began_us) / 1000000 > second) {
            second_say(e, ++second); /* printing is a part of the frame, too */
        }
        owed += now - last;
        last = now;
        for (; owed > STEPS_OWED_MAX * step_us; owed -= step_us) {
            e->skipped++;
        }
        for (; owed >= step_us; owed -= step_us) {
            player_step(&e->player, 1.0f / (float)e->options.hz);
        }
        state = frame_run(e);
        uint64_t ns = thread_ns() - begin, spent = mps_port_now_us() - now;
        times_add(&e->frame, ns);
        times_add(&e->frame_second, ns);
        if (owed + spent < step_us) {
            sleep_us(step_us - owed - spent);
        }
    }
    return state;
}

/* Signals are the game's own matter; the port is a guest here. */
static void signals_set(void) {
    struct sigaction action = {.sa_handler = on_quit};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
}

int main(int argc, char **argv) {
    static struct embed e;
    const char *wrong;
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(help, stdout);
        return 0;
    }
    if (!options_parse(&e.options, argc, argv, &wrong)) {
        fprintf(stderr,
                "embed: `%s` is no option, or its value is missing or out of range; see "
                "--help\n",
                wrong);
        return 2;
    }
    e.game.port = &e.port;
    int status = server_make(&e);
    if (status != 0) {
        return status;
    }
    e.game.server = e.server;
    player_open(&e.player, e.server, &e.port);
    signals_set();
    ready_say(&e);
    e.began_us = mps_port_now_us();
    mps_port_state state = loop(&e);
    totals_say(&e);
    mps_port_close(&e.port);
    return state == MPS_PORT_FAILED ? complain(1, e.port.error) : 0;
}

/* == world =======================================================================================
   What every part of the simulator shares: the dice, the clock, the one server, how a run fails,
   and what each seed makes of the configuration. Everything that a seed decides comes from its
   dice, each subject from dice of its own: what one part asks for does not change what another one
   gets. Only `cuts` may differ between two runs that must give the same bytes. */

#define USERS_MAX 8
#define CLIENTS_MAX 20
#define LINES_MAX 32
#define ADDRESSES 6

struct dice {
    u64 state;
};

/* Splitmix64 (Steele, Lea, Flood, 2014). */
static u64 dice_next(struct dice *d) {
    u64 z = d->state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static u32 dice_below(struct dice *d, u32 bound) {
    return (u32)(dice_next(d) % bound);
}

/* Both ends are possible. */
static u32 dice_from(struct dice *d, u32 least, u32 most) {
    return least + dice_below(d, most - least + 1);
}

static bool dice_hits(struct dice *d, u32 of_1000) {
    return dice_below(d, 1000) < of_1000;
}

/* How a second run of a seed differs from the first; its output must not. */
enum variant { AS_IS, OTHER_FILL, OTHER_PLACE, NO_LOG, OTHER_CUTS, VARIANTS };
static const char *const variant_names[] = {"as is", "block filled otherwise", "another address",
                                            "no log", "input cut otherwise"};

/* How often each fault strikes, of 1000 chances; 0: this seed has none of it. */
struct faults {
    u32 cut, reset, half_close, stall, crumbs, late_sent, burst, garbage, slow_sender;
    u32 jump, wall_step, veto, hook_kick, hook_close, drain, late_wake, duplicate_user;
    u32 loss, doubled, reorder, spoof;
};

/* Grows by doubling; items are copied in. */
struct list {
    void *items;
    u32 count, capacity;
};

/* A user of the game. Tokens of the simulator's own making speak for it. The buckets are the
   simulator's idea of what the server must have left for it. */
enum { RATE_STATE, RATE_CHAT, RATE_OTHER, RATE_KINDS };
struct user_model {
    char name[16], token[512];
    double tokens[RATE_KINDS], least[RATE_KINDS]; /* at most, at least so many are left */
    u64 counted_at, unsure_until;
};

struct world {
    u64 seed;
    enum variant variant;
    struct dice plan, act, net, cuts, game;
    struct faults faults;
    mps_config config;
    mps_server *server;
    char *raw;
    size_t block_bytes, place;
    u64 now, start, deadline;
    u64 settled_at; /* then nothing was due any more */
    u64 hash, bytes_out, checks;
    u32 tick, serial;
    bool roomy;    /* nothing is ever short: output must not depend on how input is cut */
    bool cuttable; /* and the game sends nothing, as its hooks run when a call ends */
    bool winding_up, shows;
    bool crowded;     /* all are in one room, and talk */
    bool poses;       /* mostly states */
    bool calm;        /* the liveness phase: faults are over */
    bool draining;    /* somebody has asked the server to drain */
    u32 long_of_1000; /* messages that are long */
    u32 announced;
    char admin[512];
    u32 pace_ms; /* the most that a client rests between two acts */
    u32 vetoes, told, ports_used;
    u32 rooms_deleted, lobbies_deleted; /* asked for */
    u64 kicked_at;                      /* when the game last kicked a lobby player */
    struct user_model users[USERS_MAX];
    u32 users_count;
    u32 baseline[TABLE_ROWS];
    struct list said, rooms, stays, tokens, halls, inns, lodgers, flights, ports;
};

static struct world w;

/* Where the run is, for whoever finds it dead. Shared with the process that started this one. */
struct progress {
    u64 seed, tick, passed, failed, ticks, bytes;
    bool told;
    u64 hash, state;
};
static struct progress *progress;

#if defined(__GNUC__)
__attribute__((format(printf, 1, 2), noreturn))
#endif
static void
broken(const char *format, ...) {
    va_list list;
    va_start(list, format);
    printf("FAIL seed %llu, tick %u, %.6f s (%s): ", (unsigned long long)w.seed, w.tick,
           (double)(w.now - w.start) / 1e6, variant_names[w.variant]);
    vprintf(format, list);
    printf("\n     make sim SEED=%llu\n", (unsigned long long)w.seed);
    va_end(list);
    fflush(stdout);
    progress->told = true;
    _exit(1);
}

static void sim_assert_failed(const char *what, int line) {
    broken("mpserver.c:%d: assertion failed: %s", line, what);
}

/* What must hold; counted, so that a simulator which looks at nothing would be noticed. */
#define HOLDS(condition, ...)    \
    do {                         \
        w.checks++;              \
        if (!(condition)) {      \
            broken(__VA_ARGS__); \
        }                        \
    } while (0)

static void *list_add(struct list *l, size_t item_bytes) {
    if (l->count == l->capacity) {
        l->capacity = l->capacity ? 2 * l->capacity : 64;
        l->items = realloc(l->items, l->capacity * item_bytes);
        HOLDS(l->items, "the simulator is out of memory");
    }
    char *item = (char *)l->items + l->count++ * item_bytes;
    memset(item, 0, item_bytes);
    return item;
}

static void list_free(struct list *l) {
    free(l->items);
    *l = (struct list){0};
}

/* FNV-1a, over every byte that the server sends. */
static void world_hash(const void *bytes, size_t count) {
    const u8 *at = bytes;
    for (size_t i = 0; i < count; i++) {
        w.hash = (w.hash ^ at[i]) * 0x100000001B3u;
    }
    w.bytes_out += count;
}

/* With SHOW set all that passes is printed, to find out what led to a failure. */
static void world_show(const char *what, u32 which, const void *bytes, size_t count) {
    const u8 *at = bytes;
    if (!w.shows) {
        return;
    }
    printf("%s, tick %u, %.6f s: %s %u ", variant_names[w.variant], w.tick,
           (double)(w.now - w.start) / 1e6, what, which);
    for (size_t i = 0; i < count; i++) {
        printf(at[i] >= ' ' && at[i] < 127 ? "%c" : "<%02x>", at[i]);
    }
    printf("\n");
}

/* Addresses of clients: IPv4, mapped. The first one is loopback. */
static mps_address world_address(u32 which, u16 port) {
    mps_address a = {.port = port};
    a.ip[10] = a.ip[11] = 0xFF;
    a.ip[12] = which ? 10 : 127;
    a.ip[15] = (u8)(which ? which : 1);
    return a;
}

static const char world_secret[] = "a secret of the simulator, of 32 bytes and more";

/* -- what a seed is like -- */

static u32 plan_rate(u32 of_1000) {
    return dice_hits(&w.plan, 450) ? dice_from(&w.plan, 1, of_1000) : 0;
}

static void plan_faults(void) {
    struct faults *f = &w.faults;
    *f = (struct faults){
        .cut = plan_rate(900),
        .reset = plan_rate(30),
        .half_close = plan_rate(20),
        .stall = plan_rate(60),
        .crumbs = plan_rate(300),
        .late_sent = plan_rate(500),
        .burst = plan_rate(20),
        .garbage = plan_rate(30),
        .slow_sender = plan_rate(20),
        .jump = plan_rate(10),
        .wall_step = plan_rate(10),
        .veto = plan_rate(200),
        .hook_kick = plan_rate(100),
        .hook_close = plan_rate(60),
        .drain = plan_rate(400),
        .late_wake = plan_rate(300),
        .duplicate_user = plan_rate(500),
        .loss = plan_rate(300),
        .doubled = plan_rate(100),
        .reorder = plan_rate(200),
        .spoof = plan_rate(100),
    };
    if (dice_hits(&w.plan, 100)) {
        *f = (struct faults){.cut = 500}; /* some runs have nothing but load */
    }
}

/* Tables so small that they are full most of the time. */
static void plan_tiny(mps_config *c) {
    struct dice *d = &w.plan;
    c->preset = MPS_PRESET_TINY;
    c->connections = dice_from(d, 3, 20);
    c->refusals = dice_from(d, 1, 4);
    c->users = dice_from(d, 2, 12);
    c->rooms = dice_from(d, 1, 4);
    c->room_players_max = dice_from(d, 2, 8);
    c->seats = dice_from(d, 2, 12);
    c->bans = dice_from(d, 1, 6);
    c->room_bans_max = dice_from(d, 1, 3);
    c->lobbies = dice_from(d, 1, 4);
    c->lobby_players = dice_from(d, 1, 6);
    c->players = dice_from(d, 1, 8);
    c->buckets = dice_from(d, 8, 64);
    c->datagram_batch = dice_from(d, 1, 8);
    c->input_bytes = dice_from(d, 64, 192);
    c->chunk_bytes = dice_from(d, 512, 1024);
    c->message_bytes_max = dice_from(d, 1024, 2048);
    c->output_bytes_max = dice_from(d, 4096, 9000);
    c->chunks = dice_from(d, 8, 24);
    c->large_inputs = dice_from(d, 1, 2);
    c->large_inputs_per_address = dice_from(d, 1, 2);
    c->slot_bytes = dice_from(d, 128, 256);
    c->settle_max = dice_from(d, 16, 48);
    c->requests_per_call = dice_from(d, 1, 16);
    c->fanout_bytes_max = dice_hits(d, 300) ? 4096 : 0;
}

/* One full room, and readers that do not keep up with it. */
static void plan_crowd(mps_config *c) {
    c->users = 16;
    c->seats = 16;
    c->room_players_max = 8;
    c->connections = 16;
    c->fanout_bytes_max = 0;
    w.faults.stall = dice_from(&w.plan, 10, 60);
    w.poses = dice_hits(&w.plan, 500);
    w.faults.crumbs = dice_from(&w.plan, 0, 600);
    w.faults.reset = w.faults.half_close = w.faults.hook_close = w.faults.hook_kick = 0;
}

/* Short enough that a run sees all of them. */
static void plan_times(mps_config *c) {
    struct dice *d = &w.plan;
    c->ping_after_ms = dice_from(d, 300, 3000);
    c->silence_timeout_ms = c->ping_after_ms + dice_from(d, 200, 3000);
    c->message_timeout_ms = dice_from(d, 300, 3000);
    c->seat_timeout_ms = dice_from(d, 200, 4000);
    c->room_timeout_ms = dice_from(d, 200, 4000);
    c->player_timeout_ms = dice_from(d, 500, 4000);
    c->lobby_timeout_ms = dice_from(d, 500, 4000);
    c->head_timeout_ms = dice_from(d, 300, 3000);
    c->body_timeout_ms = dice_from(d, 300, 3000);
    c->idle_timeout_ms = dice_from(d, 1000, 8000);
    c->send_timeout_ms = dice_from(d, 500, 4000);
    c->linger_ms = dice_from(d, 100, 2000);
    c->buffer_wait_ms = dice_from(d, 200, 3000);
    c->input_hold_ms = dice_from(d, 200, 2000);
    c->auth_timeout_ms = dice_from(d, 200, 3000);
    c->drain_grace_ms = dice_from(d, 200, 3000);
}

static void plan_rates(mps_config *c) {
    struct dice *d = &w.plan;
    c->connections_per_s = dice_hits(d, 200) ? dice_from(d, 2, 10) : 1000;
    c->connections_per_address = c->connections_per_s < 1000 ? 4 : 1000;
    c->requests_per_s = dice_hits(d, 200) ? dice_from(d, 5, 30) : 1000;
    c->messages_per_s = dice_hits(d, 300) ? dice_from(d, 2, 20) : 200;
    c->chats_per_s = dice_hits(d, 300) ? dice_from(d, 1, 5) : 100;
    c->states_per_s = dice_hits(d, 200) ? dice_from(d, 5, 20) : 300;
    c->refusals_max = dice_from(d, 3, 20);
    c->datagrams_per_s = dice_hits(d, 200) ? dice_from(d, 5, 20) : 500;
    c->player_datagrams_per_s = dice_hits(d, 200) ? dice_from(d, 5, 20) : 500;
    c->stun_per_s = dice_from(d, 2, 10);
    c->tick_hz = dice_from(d, 5, 60);
    c->player_speed_max = dice_hits(d, 500) ? MPS_UNLIMITED : 0;
}

/* Draws until the server agrees: tiny values do not all fit together. */
static void plan_config(void) {
    mps_config *c = &w.config;
    w.roomy = dice_hits(&w.plan, 300);
    w.crowded = !w.roomy && dice_hits(&w.plan, 300);
    w.cuttable = w.roomy && dice_hits(&w.plan, 500);
    w.faults.jump = w.cuttable ? 0 : w.faults.jump; /* what is late may come in any order */
    do {
        *c = (mps_config){.preset = MPS_PRESET_SMALL};
        if (!w.roomy) {
            plan_tiny(c);
            if (w.crowded) {
                plan_crowd(c);
            }
        } else {
            c->connections = c->users = c->rooms = c->seats = c->bans = 64;
            c->room_players_max = 8;
            c->lobbies = c->players = 64;
            c->lobby_players = 8;
            c->buckets = 256;
            c->settle_max = 4096;
            c->requests_per_call = 1000;
            c->chunks = 512;
            c->chunk_bytes = 1024;
            c->message_bytes_max = 4096;
            c->body_bytes_max = 8192;
            c->output_bytes_max = 65536;
            c->announce_bytes = 16384;
            c->log_entries = 16;
        }
        plan_times(c);
        plan_rates(c);
        c->dev = dice_hits(&w.plan, 300);
        c->presence_public = dice_hits(&w.plan, 300);
        c->jwt_secret = world_secret;
        c->udp_port = 8081;
        c->log_level = dice_hits(&w.plan, 300) ? MPS_LOG_DEBUG : MPS_LOG_INFO;
    } while (mps_config_check(c, NULL) != MPS_OK);
}

/* -- users -- */

static void world_users(void) {
    w.users_count = dice_from(&w.plan, w.crowded ? USERS_MAX : 2, USERS_MAX);
    for (u32 i = 0; i < w.users_count; i++) {
        struct user_model *u = &w.users[i];
        mps_identity who = {.id_is_number = i & 1};
        snprintf(u->name, sizeof u->name, "user%u", i);
        snprintf(who.id, sizeof who.id, "%u", 1 + i / 2); /* number and string, the same digits */
        snprintf(who.name, sizeof who.name, "%s", u->name);
        mps_token_claims claims = {.who = &who, .unix_s = 1700000000, .ttl_s = 4000000000u};
        HOLDS(
            mps_token_mint(&claims, world_secret, strlen(world_secret), u->token, sizeof u->token),
            "no token for %s", u->name);
        for (u32 k = 0; k < RATE_KINDS; k++) {
            u->tokens[k] = 1e9;
        }
        u->counted_at = w.now;
    }
    mps_identity admin = {.id = "admin", .name = "admin", .role = MPS_ROLE_ADMIN};
    mps_token_claims claims = {.who = &admin, .unix_s = 1700000000, .ttl_s = 4000000000u};
    HOLDS(mps_token_mint(&claims, world_secret, strlen(world_secret), w.admin, sizeof w.admin),
          "no token for the admin");
}

static double world_rate(u32 kind) {
    const mps_config *c = &w.config;
    return kind == RATE_STATE  ? c->states_per_s
           : kind == RATE_CHAT ? c->chats_per_s
                               : c->messages_per_s;
}

/* Up to two seconds' worth is saved. */
static void user_refill(struct user_model *u) {
    double seconds = (double)(w.now - u->counted_at) / 1e6;
    for (u32 k = 0; k < RATE_KINDS; k++) {
        double full = 2 * world_rate(k), left = u->tokens[k] + seconds * world_rate(k);
        u->tokens[k] = left < full ? left : full;
        left = u->least[k] + seconds * world_rate(k);
        u->least[k] = left < full ? left : full;
    }
    u->counted_at = w.now;
}

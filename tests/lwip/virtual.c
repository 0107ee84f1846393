/* virtual.c: platform/lwip.c under loss, on virtual time.  SPDX: MIT-0

   Ten minutes of HTTP, WebSocket and UDP with lwIP's pools as small as a board's: a bad network
   with cables that are cut, every connection record taken by a flood of half-open connections, the
   heap taken away, then a good network. At the end nothing may be in use that was not at the
   beginning.
   Usage: virtual [SEED...]; prints `N passed, N failed`. */
#include "../../platform/lwip.h"
#include "clients.h"

#define START_MS 1767225600000 /* 2026-01-01 */
#define SECOND ((uint64_t)1000000)
#define READERS 12
#define TALKERS 6
#define WALKERS 4
#define PORT_MEMORY 65536
#define FLOOD_SYNS 100
#define FLOOD_EVERY_US 33000
#define HOG_BLOCKS 512

static struct {
    struct mps_lwip port;
    mps_server *server;
    uint64_t due;
    struct client clients[CLIENTS_MAX];
    unsigned clients_count, flooding; /* 0, or the number of the next forged SYN */
    uint64_t flood_due;
    unsigned long port_errors, checks, failed;
    _Alignas(16) unsigned char port_memory[PORT_MEMORY];
} test;

static void check(bool good, const char *what) {
    test.checks++;
    test.failed += !good;
    if (!good) {
        printf("FAIL %s\n", what);
    }
}

/* == the board ================================================================================= */

static uint64_t board_now_us(void *user) {
    (void)user;
    return net.now;
}

static int64_t board_unix_ms(void *user) {
    (void)user;
    return START_MS + (int64_t)(net.now / 1000);
}

static bool board_entropy(void *user, uint8_t *out, size_t bytes) {
    (void)user;
    for (size_t i = 0; i < bytes; i++) {
        out[i] = (uint8_t)random_next();
    }
    return true;
}

static void log_hook(void *user, const mps_log_record *record) {
    (void)user;
    test.port_errors += strcmp(record->item, "port_error") == 0;
}

static void server_begin(void) {
    static const struct mps_lwip_board board = {
        .entropy = board_entropy, .now_us = board_now_us, .unix_ms = board_unix_ms};
    mps_config config = {.preset = MPS_PRESET_TINY,
                         .dev = true,
                         .connections = 48, /* those that were pulled are kept a while */
                         .lobbies = LOBBIES + 2,
                         .lobby_timeout_ms = 86400000,
                         .chunks = 64,
                         .users = 64, /* seats and users of those who dropped are kept a while */
                         .seats = 64,
                         .large_inputs = 8,
                         .large_inputs_per_address = 8,
                         .jwt_secret = SECRET,
                         .hooks = {.log = log_hook}};
    uint8_t entropy[32];
    check(mps_lwip_start(&test.port, &board), "there is entropy");
    lwip_init();
    network_begin(net.random);
    check(mps_lwip_open(&test.port, HTTP_PORT, UDP_PORT), "both ports are bound");
    config.http_port = test.port.http.port;
    config.udp_port = test.port.udp.port;
    check(mps_lwip_entropy(&test.port, entropy), "entropy is handed out once");
    size_t bytes = mps_memory_needed(&config);
    uint32_t connections = mps_connections_max(&config);
    check(mps_create(&test.server, &config, aligned_alloc(16, (bytes + 15) / 16 * 16), bytes,
                     entropy) == MPS_OK,
          "the server is created");
    check(!mps_lwip_entropy(&test.port, entropy), "and not twice");
    check(mps_lwip_attach(&test.port, test.server, test.port_memory, PORT_MEMORY, connections),
          "the port is attached");
}

/* A SYN from a host that is not there (RFC 9293, 3.1), which lwIP keeps a record for. */
static void flood_syn(unsigned number) {
    struct pbuf *p = pbuf_alloc(PBUF_RAW, 40, PBUF_POOL);
    struct ip_hdr ip = {0};
    struct tcp_hdr tcp = {0};
    ip4_addr_t from, to = *netif_ip4_addr(&net.netif);
    if (!p) {
        return;
    }
    IP4_ADDR(&from, 10, 9, number >> 8, number & 0xff);
    IPH_VHL_SET(&ip, 4, 5);
    IPH_LEN_SET(&ip, lwip_htons(40));
    IPH_TTL_SET(&ip, 64);
    IPH_PROTO_SET(&ip, IP_PROTO_TCP);
    memcpy(&ip.src, &from, 4);
    memcpy(&ip.dest, &to, 4);
    IPH_CHKSUM_SET(&ip, inet_chksum(&ip, sizeof ip));
    tcp.src = lwip_htons((u16_t)(20000 + number));
    tcp.dest = lwip_htons(HTTP_PORT);
    tcp.seqno = lwip_htonl(number);
    TCPH_HDRLEN_FLAGS_SET(&tcp, 5, TCP_SYN);
    tcp.wnd = lwip_htons(1000);
    pbuf_take_at(p, &tcp, sizeof tcp, sizeof ip);
    pbuf_remove_header(p, sizeof ip);
    tcp.chksum = inet_chksum_pseudo(p, IP_PROTO_TCP, p->tot_len, &from, &to);
    pbuf_take_at(p, &tcp, sizeof tcp, 0);
    pbuf_add_header_force(p, sizeof ip);
    pbuf_take(p, &ip, sizeof ip);
    if (net.netif.input(p, &net.netif) != ERR_OK) {
        pbuf_free(p);
    }
}

static void flood_go_on(void) {
    if (test.flooding && net.now >= test.flood_due) {
        flood_syn(test.flooding++);
        test.flood_due = net.now + FLOOD_EVERY_US;
    }
}

static void run_until(uint64_t time) {
    while (net.now < time) {
        flood_go_on();
        network_step(test.due < time ? test.due : time);
        for (unsigned i = 0; i < test.clients_count; i++) {
            client_act(&test.clients[i]);
        }
        test.due = mps_lwip_step(&test.port);
    }
}

/* == set-up ==================================================================================== */

static void add_clients(enum kind kind, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        struct client *c = &test.clients[test.clients_count++];
        c->kind = kind;
        c->index = i;
        c->due = net.now + random_below(1000000);
    }
}

/* Waits for the answer of one request of its own; its body, zero-terminated, in `out`. */
static void ask_once(const char *method, const char *target, const char *body, const char *status,
                     char *out, size_t capacity) {
    struct client *c = &test.clients[CLIENTS_MAX - 1]; /* not in the list of those that act */
    size_t bytes;
    memset(c, 0, sizeof *c);
    for (uint64_t end = net.now + 60 * SECOND; !c->ready && net.now < end;) {
        if (!c->pcb && net.now >= c->due) {
            client_connect(c); /* again: it needs a record of the same stack itself */
        }
        run_until(net.now + 1000);
    }
    c->left = 2;
    client_ask(c, method, target, body);
    char *answer = NULL;
    for (uint64_t end = net.now + 60 * SECOND; !answer && net.now < end;) {
        run_until(net.now + 1000);
        answer = client_answer(c, status, &bytes);
    }
    check(answer != NULL, target);
    snprintf(out, capacity, "%.*s", answer ? (int)(c->in + bytes - answer) : 0,
             answer ? answer : "");
    client_close(c);
}

/* What a lobby looks like is known but for the millisecond in which it was made. */
static void lobbies_begin(void) {
    size_t used = 0;
    for (unsigned i = 0; i < LOBBIES; i++) {
        char body[128], want[256], date[32] = "";
        snprintf(body, sizeof body, "{\"code\":\"L%02u\",\"scene\":\"cave\",\"max_players\":%u}", i,
                 2 + i % 7);
        ask_once("POST", "/lobbies", body, "200", all.bodies[i], sizeof all.bodies[i]);
        const char *at = strstr(all.bodies[i], "\"created_at\":\"2026-01-01T00:00:");
        snprintf(date, sizeof date, "%.24s", at ? at + 14 : "");
        snprintf(want, sizeof want,
                 "{\"code\":\"L%02u\",\"player_count\":0,\"max_players\":%u,\"players\":[],"
                 "\"server_ip\":\"127.0.0.1\",\"udp_port\":8081,\"scene\":\"cave\","
                 "\"created_at\":\"%s\"}",
                 i, 2 + i % 7, date);
        check(strcmp(all.bodies[i], want) == 0, "the body of a new lobby");
        used += (size_t)snprintf(all.list + used, sizeof all.list - used, "%c%s", i ? ',' : '[',
                                 all.bodies[i]);
    }
    snprintf(all.list + used, sizeof all.list - used, "]");
    char ignored[512];
    ask_once("POST", "/lobbies", "{\"code\":\"WALK\",\"scene\":\"walk\",\"max_players\":8}", "200",
             ignored, sizeof ignored);
}

/* == faults ==================================================================================== */

/* Every record for a connection is taken, several times over, and thirty more are asked for each
   second, while the clients go on; who comes new is served all the same, long before lwIP gives the
   first of the half-open ones up (20 s). */
static void flood(void) {
    unsigned long errors = test.port_errors;
    char body[512];
    for (unsigned i = 0; i < FLOOD_SYNS; i++) {
        flood_syn(i);
    }
    check(lwip_stats.memp[MEMP_TCP_PCB]->used == MEMP_NUM_TCP_PCB, "the flood takes every record");
    test.flooding = FLOOD_SYNS;
    run_until(net.now + 2 * SECOND);
    check(test.port_errors > errors, "running out of records is counted");
    for (int i = 0; i < 3; i++) {
        uint64_t began = net.now;
        ask_once("GET", "/lobbies/L00", "", "200", body, sizeof body);
        check(strcmp(body, all.bodies[0]) == 0, "somebody new is served");
        check(net.now < began + 5 * SECOND, "and need not wait");
    }
    test.flooding = 0;
}

/* All that is left of lwIP's heap is taken away for a while. */
static void hog(void) {
    static void *blocks[HOG_BLOCKS];
    unsigned count = 0;
    unsigned long errors = test.port_errors;
    for (mem_size_t bytes = 4096; bytes >= 32; bytes /= 2) {
        while (count < HOG_BLOCKS && (blocks[count] = mem_malloc(bytes)) != NULL) {
            count++;
        }
    }
    for (uint64_t end = net.now + 10 * SECOND; net.now < end && count < HOG_BLOCKS;) {
        void *more = mem_malloc(32); /* what is given back meanwhile, too */
        if (more) {
            blocks[count++] = more;
        }
        run_until(net.now + 20000);
    }
    check(test.port_errors > errors, "running out of heap is counted");
    while (count) {
        mem_free(blocks[--count]);
    }
    unsigned long answers[READERS];
    for (unsigned i = 0; i < READERS; i++) {
        answers[i] = test.clients[i].answers;
    }
    run_until(net.now + 20 * SECOND); /* SYNs that found no heap are sent again; no time-outs */
    for (unsigned i = 0; i < READERS; i++) {
        check(test.clients[i].answers > answers[i], "with the heap back everybody is answered");
    }
}

/* == the ten minutes =========================================================================== */

struct use {
    size_t heap, pools[MEMP_MAX];
};

static struct use use_now(void) {
    struct use use = {.heap = lwip_stats.mem.used};
    for (int i = 0; i < MEMP_MAX; i++) {
        use.pools[i] = lwip_stats.memp[i]->used;
    }
    return use;
}

static void bad_network(uint64_t until) {
    net.loss = 20;
    net.twice = 5;
    net.jitter_us = 30000;
    while (net.now < until) {
        run_until(net.now + 20 * SECOND);
        client_pull(&test.clients[random_below(READERS + TALKERS)]);
    }
    check(net.lost > net.sent / 6, "a sixth and more was lost");
    check(net.doubled > net.sent / 40 && net.swapped > net.sent / 10, "much came twice, or late");
}

static void good_network(uint64_t until) {
    unsigned long before = all.requests, broken, resets;
    run_until(net.now + 60 * SECOND); /* what is broken breaks off */
    broken = all.resets + all.timeouts + all.oom;
    resets = net.resets;
    run_until(until);
    check(all.requests > before + 10000, "all is fast again");
    check(all.resets + all.timeouts + all.oom == broken, "and nothing breaks off");
    check(net.resets == resets, "and nobody is reset");
}

/* All walkers stand still and know where the others do. */
static void walkers_agree(void) {
    struct client *walkers = &test.clients[READERS + TALKERS];
    for (unsigned i = 0; i < WALKERS; i++) {
        check(walkers[i].joined && walkers[i].where[0], "a walker walks");
        for (unsigned k = 0; k < WALKERS; k++) {
            const char *believed = NULL;
            for (unsigned n = 0; n < NAMES_MAX && i != k; n++) {
                if (walkers[i].ids[n] == walkers[k].player_id) {
                    believed = walkers[i].believed[n];
                }
            }
            check(i == k || (believed && strcmp(believed, walkers[k].where) == 0),
                  "a walker knows where another one is");
        }
    }
}

static void all_leave(const struct use *before) {
    all.stopping = true;
    run_until(net.now + 5 * SECOND);
    walkers_agree();
    for (unsigned i = 0; i < WALKERS; i++) {
        udp_remove(test.clients[READERS + TALKERS + i].udp);
        test.clients[READERS + TALKERS + i].udp = NULL;
    }
    run_until(net.now + 60 * SECOND);
    struct use after = use_now();
    check(after.heap == before->heap, "lwIP's heap is as it was");
    for (int i = 0; i < MEMP_MAX; i++) {
        check(after.pools[i] == before->pools[i], "a pool of lwIP is as it was");
    }
    check(mps_check(test.server), "the server's invariants hold");
}

int main(int argc, char **argv) {
    net.random = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    server_begin();
    run_until(net.now + SECOND);
    struct use before = use_now();
    lobbies_begin();
    add_clients(READER, READERS);
    add_clients(TALKER, TALKERS);
    add_clients(WALKER, WALKERS);
    bad_network(300 * SECOND);
    net.loss = net.twice = net.jitter_us = 0;
    flood();
    run_until(net.now + 45 * SECOND);
    hog();
    good_network(535 * SECOND);
    all_leave(&before);
    check(all.failures == 0, "every byte is right");
    check(all.requests >= 20000, "20,000 requests");
    check(all.heard > all.messages / 4 && all.updates > 10000, "rooms and positions live");
    printf(
        "%.0f virtual seconds: %lu requests, %lu messages heard of %lu said, %lu positions; "
        "%lu resets, %lu time-outs, %lu short of memory, %lu port errors; %lu packets, %lu lost, "
        "%lu doubled, %lu late, %lu not received\n",
        (double)net.now / 1e6, all.requests, all.heard, all.messages, all.updates, all.resets,
        all.timeouts, all.oom, test.port_errors, (unsigned long)net.sent, (unsigned long)net.lost,
        (unsigned long)net.doubled, (unsigned long)net.swapped, (unsigned long)net.starved);
    printf("%lu passed, %lu failed\n", test.checks - test.failed, test.failed);
    return test.failed != 0;
}

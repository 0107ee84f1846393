/* console_test.c: platform/template.c, attacked.  SPDX: MIT-0

   Everything happens in memory and by a seed, see paper.h: clients that cut their requests, reset,
   close halfway, do not read, or come in greater numbers than there is room for; floods of garbage
   datagrams; an hour's sleep; a network that goes; and every call of the system failing with each
   result it has. Usage: console_test [SEEDS] */
#include "paper.h"

#include <stdio.h>
#include <stdlib.h>

#define SEEDS_USUAL 400
#define STEPS 600
#define FRAME_US 16667
#define BLOCK_BYTES (1 << 18)

static struct paper w;
static struct mps_console net;
static _Alignas(16) unsigned char block[BLOCK_BYTES];

#define UPGRADE                                                                    \
    "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

static const char *const requests[] = {
    "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /lobbies HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "POST /auth/guest HTTP/1.1\r\nHost: a\r\nContent-Length: 18\r\n\r\n{\"username\":\"Ada\"}",
    "POST /lobbies HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
    "POST /lobbies HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    UPGRADE,
    "\x81\xbb\0\0\0\0{\"type\":\"handshake\",\"data\":{\"version\":\"1.0\",\"name\":\"Ada\"}}",
    "nonsense\r\n\r\n",
};

/* == the world ================================================================================= */

static mps_config config_tiny(void) {
    return (mps_config){.preset = MPS_PRESET_TINY, .dev = true, .connections = 8, .refusals = 4};
}

static bool world_start(void) {
    struct mps_console_options options = {.user = &w, .http_port = 8080};
    mps_config config = config_tiny();
    CHECK(mps_console_memory_needed(&config) <= sizeof block);
    return mps_console_start(&net, &options, &config, block, sizeof block);
}

static void world_clear(uint64_t seed) {
    memset(&told, 0, sizeof told);
    memset(&w, 0, sizeof w);
    w.seed = seed * 0x9e3779b97f4a7c15u | 1;
    w.now = paper_chance(&w, 2) ? paper_chance(&w, 1000000) : (uint64_t)1 << 60;
    w.port = 40000;
}

static void world_frame(void) {
    w.now += FRAME_US;
    mps_console_step(&net, 0);
}

static void world_frames(int count) {
    for (int i = 0; i < count; i++) {
        world_frame();
    }
}

/* All is given back, once, and the core knows. */
static void world_end(void) {
    mps_console_close(&net);
    CHECK_INT(w.closed, w.given);
    CHECK_INT(told.closed, told.opened);
    CHECK_INT(net.open_count, 0);
    CHECK(mps_check(net.server));
}

/* The server may still have the socket of one that has reset. */
static bool peer_is_free(const struct paper_peer *p) {
    return p->state == PEER_AWAY || (p->state == PEER_ON && p->heard_close);
}

static struct paper_peer *peer_call(int at) {
    struct paper_peer *p = &w.peers[at];
    CHECK(peer_is_free(p));
    *p = (struct paper_peer){
        .state = PEER_CALLING, .port = (uint16_t)(1000 + at), .window = SIZE_MAX};
    return p;
}

static void peer_say(struct paper_peer *p, const char *text, size_t bytes) {
    size_t room = PAPER_BYTES - p->out_count;
    bytes = bytes < room ? bytes : room;
    memcpy(p->out + p->out_count, text, bytes);
    p->out_count += p->fin ? 0 : bytes;
}

static void peer_ask(struct paper_peer *p, int request) {
    const char *text = requests[request];
    peer_say(p, text, request == 7 ? 6 + 59 : strlen(text));
}

static int answers(const struct paper_peer *p, const char *text) {
    int count = 0;
    size_t bytes = strlen(text);
    for (size_t i = 0; i + bytes <= p->in_count; i++) {
        count += memcmp(p->in + i, text, bytes) == 0;
    }
    return count;
}

/* == what it does when all is well ============================================================= */

static void test_answers(void) {
    world_clear(1);
    CHECK(world_start());
    CHECK_INT(net.http.port, 8080);
    CHECK_INT(net.udp.port, 40000);
    struct paper_peer *p = peer_call(0);
    for (int i = 0; i < 6; i++) {
        peer_ask(p, 0);
    }
    world_frames(2);
    CHECK_INT(answers(p, "HTTP/1.1 200 OK\r\n"), 6);
    CHECK_INT(w.writes, 1); /* of several pieces */
    CHECK(!p->heard_fin && !p->heard_close);
    p->fin = true;
    world_frames(2);
    CHECK(p->heard_close && !p->was_reset);
    world_end();
}

/* RFC 9112, 9.6: FIN behind the answer, then reading on; closed when the peer closes. */
static void test_finish(void) {
    world_clear(2);
    CHECK(world_start());
    struct paper_peer *p = peer_call(0);
    peer_ask(p, 2);
    world_frames(2);
    CHECK_INT(answers(p, "HTTP/1.1 200 OK\r\n"), 1);
    CHECK(p->heard_fin && !p->heard_close);
    peer_say(p, "more than was asked for", 23);
    world_frames(2);
    CHECK_INT(p->out_count, 0);
    CHECK(!p->heard_close);
    p->fin = true;
    world_frame();
    CHECK(p->heard_close && !p->was_reset);
    world_end();
}

/* The peer never closes: `linger_ms`, 2 s, and no longer. */
static void test_linger(void) {
    world_clear(3);
    CHECK(world_start());
    struct paper_peer *p = peer_call(0);
    peer_ask(p, 2);
    world_frames(2 + 1900000 / FRAME_US);
    CHECK(p->heard_fin && !p->heard_close);
    world_frames(200000 / FRAME_US);
    CHECK(p->heard_close);
    world_end();
}

/* A cut answer must not look like a whole one. */
static void test_abort_resets(void) {
    world_clear(4);
    CHECK(world_start());
    struct paper_peer *p = peer_call(0);
    p->window = 100;
    peer_ask(p, 1);
    world_frames(40000000 / FRAME_US);
    CHECK_INT(p->in_count, 100);
    CHECK(p->heard_close && p->was_reset);
    world_end();
}

#define ASKED 220 /* more than input and output hold, less than the peer's */

/* A reader that stalls stops being read from; what it asked is answered once it reads again. */
static void test_back_pressure(void) {
    world_clear(5);
    CHECK(world_start());
    struct paper_peer *p = peer_call(0);
    p->window = 0;
    for (int i = 0; i < ASKED; i++) {
        peer_ask(p, 0);
    }
    size_t asked = p->out_count;
    world_frames(30);
    CHECK(p->out_count > 0 && p->out_count < asked);
    p->window = SIZE_MAX;
    world_frames(120);
    CHECK_INT(p->out_count, 0);
    CHECK_INT(answers(p, "HTTP/1.1 200 OK\r\n"), ASKED);
    world_end();
}

/* == failing to start ========================================================================== */

static void refused(const mps_config *config, size_t bytes, const char *why) {
    struct mps_console_options options = {.user = &w};
    CHECK(!mps_console_start(&net, &options, config, block, bytes));
    CHECK(net.error && strstr(net.error, why) == net.error);
    CHECK_INT(w.closed, w.given);
    CHECK(net.server == NULL);
}

static void test_start_refusals(void) {
    mps_config config = config_tiny(), wrong = config_tiny();
    size_t needed = mps_console_memory_needed(&config);
    wrong.connections = UINT32_MAX;
    world_clear(6);
    refused(&wrong, sizeof block, "the configuration is not valid");
    CHECK_INT(net.error_code, 0);
    refused(&config, needed - 1, "the block is too small");
    w.no_entropy = true;
    refused(&config, needed, "console_entropy gave no random bytes");
    w.no_entropy = false;
    w.zero_entropy = true;
    refused(&config, needed, "console_entropy gave no random bytes");
    w.zero_entropy = false;
    w.no_tcp = true;
    refused(&config, needed, "cannot listen on the TCP port");
    CHECK_INT(net.error_code, -77);
    w.no_tcp = false;
    w.no_udp = true;
    refused(&config, needed, "cannot open the UDP port");
    CHECK_INT(net.error_code, -77);
    w.no_udp = false;
    struct mps_console_options options = {.user = &w};
    CHECK(mps_console_start(&net, &options, &config, block, needed));
    CHECK(net.error == NULL);
    world_end();
}

/* == what goes wrong =========================================================================== */

/* More than there is room for: told 503, none left waiting, and room comes back. */
static void test_crowd(void) {
    world_clear(7);
    CHECK(world_start());
    int served = 0, told_full = 0;
    for (int i = 0; i < PAPER_PEERS; i++) {
        peer_ask(peer_call(i), 0);
    }
    world_frames(10);
    for (int i = 0; i < PAPER_PEERS; i++) {
        served += answers(&w.peers[i], "HTTP/1.1 200 OK\r\n");
        told_full += answers(&w.peers[i], "connections_full");
    }
    CHECK_INT(served, 8);
    CHECK_INT(told_full, 4);
    for (int i = 0; i < PAPER_PEERS; i++) {
        w.peers[i].fin = true;
    }
    world_frames(3);
    struct paper_peer *p = peer_call(0);
    peer_ask(p, 0);
    world_frames(2);
    CHECK_INT(answers(p, "HTTP/1.1 200 OK\r\n"), 1);
    world_end();
}

/* A system without sockets is asked ten times a second, not in every frame. */
static void test_sockets_full(void) {
    world_clear(8);
    CHECK(world_start());
    world_frame();
    w.sockets_full = true;
    uint32_t before = w.accepts;
    struct paper_peer *p = peer_call(0);
    peer_ask(p, 0);
    world_frames(60);
    CHECK(w.accepts - before >= 8 && w.accepts - before <= 10);
    w.sockets_full = false;
    world_frames(9);
    CHECK_INT(answers(p, "HTTP/1.1 200 OK\r\n"), 1);
    world_end();
}

/* The network goes and comes back: on the same ports, though the system had picked one of them. */
static void test_network_lost(void) {
    world_clear(9);
    CHECK(world_start());
    struct paper_peer *p = peer_call(0);
    peer_ask(p, 0);
    world_frames(2);
    w.down = true;
    world_frame();
    CHECK(p->heard_close);
    CHECK_INT(net.open_count, 0);
    CHECK(net.listener == CONSOLE_NONE && net.datagrams == CONSOLE_NONE);
    uint32_t given = w.given;
    world_frames(300);
    CHECK(mps_console_deadline(&net) <= net.now + REOPEN_EVERY_US);
    w.down = false;
    world_frames(61);
    CHECK_INT(w.given, given + 2);
    CHECK_INT(net.http.port, 8080);
    CHECK_INT(net.udp.port, 40000);
    p = peer_call(0);
    peer_ask(p, 0);
    world_frames(2);
    CHECK_INT(answers(p, "HTTP/1.1 200 OK\r\n"), 1);
    world_end();
}

static struct paper_datagram datagram(uint16_t from_port, const void *bytes, size_t count) {
    static const uint8_t there[4] = {127, 0, 0, 1}, here[4] = {10, 0, 0, 7};
    struct paper_datagram d = {.count = count};
    memcpy(d.bytes, bytes, count);
    d.from = mps_console_in4(there, from_port);
    d.to = mps_console_in4(here, net.udp.port);
    return d;
}

static const uint8_t stun[20] = {0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42};

/* Suspended: all is closed first, the clock jumps, and the first step serves again. What a full
   socket had not taken an hour ago is not sent any more. */
static void test_suspend(void) {
    world_clear(10);
    CHECK(world_start());
    struct paper_peer *p = peer_call(0);
    peer_ask(p, 0);
    w.udp_full = true;
    w.in[w.in_count++] = datagram(2000, stun, sizeof stun);
    world_frames(2);
    mps_console_close(&net);
    CHECK(p->heard_close);
    w.udp_full = false;
    CHECK_INT(w.closed, w.given);
    w.now += 3600000000u;
    p = peer_call(1);
    peer_ask(p, 0);
    world_frames(2);
    CHECK_INT(answers(p, "HTTP/1.1 200 OK\r\n"), 1);
    CHECK_INT(w.sent_count, 0);
    world_end();
}

/* == datagrams ================================================================================= */

/* A full socket loses nothing and repeats nothing; an answer leaves from where it was asked. */
static void test_udp_full(void) {
    world_clear(11);
    CHECK(world_start());
    for (uint16_t i = 0; i < 5; i++) {
        w.in[w.in_count++] = datagram((uint16_t)(2000 + i), stun, sizeof stun);
    }
    w.udp_full = true;
    world_frames(3);
    CHECK_INT(w.in_count, 0);
    CHECK_INT(w.sent_count, 0);
    w.udp_full = false;
    world_frames(3);
    CHECK_INT(w.sent_count, 5);
    CHECK_INT(w.sent.to.port, 2000); /* the last that came in leaves the pile last */
    CHECK_INT(w.sent.from.ip[12], 10);
    CHECK_INT(w.sent.from.ip[15], 7);
    CHECK_INT(w.sent.bytes[0], 1); /* Binding success response: 0x0101 */
    world_end();
}

/* == the budget ================================================================================ */

/* Each look at the clock takes more than the budget, so a step does one piece of each work: all are
   served in turn all the same, the last as often as the first. */
static void test_budget(void) {
    world_clear(12);
    CHECK(world_start());
    w.look_us = 500;
    struct paper_peer *peers[8];
    for (int i = 0; i < 8; i++) {
        peers[i] = peer_call(i);
    }
    for (int i = 0; i < 800; i++) {
        for (int k = 0; k < 8; k++) {
            if (peers[k]->out_count == 0) {
                peer_ask(peers[k], 0);
            }
        }
        uint32_t writes = w.writes;
        mps_console_step(&net, 100);
        CHECK(w.writes - writes <= 1);
    }
    int least = 1 << 30, most = 0;
    for (int i = 0; i < 8; i++) {
        int count = answers(peers[i], "HTTP/1.1 200 OK\r\n");
        least = count < least ? count : least;
        most = count > most ? count : most;
    }
    CHECK(least >= 15);
    CHECK(most - least <= 3);
    CHECK_INT(mps_console_deadline(&net), 0);
    for (int i = 0; i < 100; i++) {
        mps_console_step(&net, 100);
    }
    mps_drain(net.server, net.now, 0); /* ends all of them, who have nothing to say, at once */
    for (int i = 0; i < 3; i++) {
        int ended = 0;
        mps_console_step(&net, 100);
        for (int k = 0; k < 8; k++) {
            ended += peers[k]->heard_fin;
        }
        CHECK(ended <= i + 1);
    }
    world_end();
}

/* == attack ==================================================================================== */

static void peer_attacks(struct paper_peer *p, int at) {
    switch (paper_chance(&w, 16)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
        peer_ask(p, (int)paper_chance(&w, sizeof requests / sizeof *requests));
        break;
    case 5: /* cut */
        peer_say(p, requests[paper_chance(&w, 7)], 1 + paper_chance(&w, 20));
        break;
    case 6: {
        char noise[64];
        for (size_t i = 0; i < sizeof noise; i++) {
            noise[i] = (char)paper_chance(&w, 256);
        }
        peer_say(p, noise, sizeof noise);
        break;
    }
    case 7:
        p->fin = true;
        break;
    case 8:
        p->reset |= paper_chance(&w, 3) == 0;
        break;
    case 9:
        p->window = 0;
        break;
    case 10:
        p->window = 1 + paper_chance(&w, 50);
        break;
    case 11:
        p->window = SIZE_MAX;
        break;
    default:
        p->fin |= p->heard_fin && paper_chance(&w, 2) == 0;
    }
    if (peer_is_free(p) && paper_chance(&w, 4) == 0) {
        peer_call(at);
    }
}

static void world_attacks(void) {
    for (int i = 0; i < PAPER_PEERS; i++) {
        if (peer_is_free(&w.peers[i])) {
            if (paper_chance(&w, 4) == 0) {
                peer_call(i);
            }
        } else {
            peer_attacks(&w.peers[i], i);
        }
    }
    for (uint32_t i = paper_chance(&w, 64); i > 0 && w.in_count < 64; i--) {
        uint8_t noise[64];
        for (size_t k = 0; k < sizeof noise; k++) {
            noise[k] = (uint8_t)paper_chance(&w, 256);
        }
        noise[0] = paper_chance(&w, 2) ? 0xb1 : noise[0]; /* binary v1 */
        w.in[w.in_count++] =
            datagram((uint16_t)(1 + paper_chance(&w, 9)), noise, paper_chance(&w, sizeof noise));
    }
    w.udp_full = paper_chance(&w, 4) == 0;
    switch (paper_chance(&w, 200)) {
    case 0:
        w.now += 3600000000u;
        break;
    case 1:
        w.down = !w.down;
        break;
    case 2:
        mps_console_close(&net);
        break;
    default:
        w.down &= paper_chance(&w, 10) != 0;
    }
}

/* When the attack is over the server is as good as new. */
static void world_recovers(void) {
    w.fault_one_in = 0;
    w.look_us = 0;
    w.down = w.udp_full = false;
    for (int i = 0; i < PAPER_PEERS; i++) {
        w.peers[i].reset = w.peers[i].state == PEER_ON;
        w.peers[i].state = w.peers[i].state == PEER_CALLING ? PEER_AWAY : w.peers[i].state;
    }
    world_frames(70);     /* a lost socket is opened again within a second */
    w.now += 3600000000u; /* who is not read from, for want of room, times out */
    world_frames(10);
    for (int i = 0; i < PAPER_PEERS; i++) {
        CHECK(peer_is_free(&w.peers[i]));
    }
    CHECK_INT(net.open_count, 0);
    struct paper_peer *p = peer_call(0);
    peer_ask(p, 0);
    world_frames(2);
    CHECK_INT(answers(p, "HTTP/1.1 200 OK\r\n"), 1);
}

static void attack(uint64_t seed) {
    static const uint32_t rates[] = {0, 2000, 200, 20, 6};
    world_clear(seed);
    CHECK(world_start());
    w.fault_one_in = rates[seed % 5];
    w.look_us = paper_chance(&w, 3) * 40;
    for (int i = 0; i < STEPS; i++) {
        world_attacks();
        w.now += paper_chance(&w, 2) ? FRAME_US : 10;
        mps_console_step(&net, paper_chance(&w, 2) ? 500 : 0);
        CHECK(mps_check(net.server));
        mps_console_deadline(&net);
    }
    world_recovers();
    world_end();
}

static const struct check_test tests[] = {
    {"answers", test_answers},
    {"finish: FIN, reading on, closing", test_finish},
    {"a peer that never closes", test_linger},
    {"an answer that is cut is reset", test_abort_resets},
    {"back-pressure", test_back_pressure},
    {"start refusals", test_start_refusals},
    {"more than there is room for", test_crowd},
    {"no sockets left", test_sockets_full},
    {"the network is lost", test_network_lost},
    {"suspend for an hour", test_suspend},
    {"a full datagram socket", test_udp_full},
    {"a budget starves nobody", test_budget},
};

/* Of one run: prints its name if it failed. */
static void tally(const char *name, int number, int *failed) {
    if (checks_failed) {
        printf("FAIL %s", name);
        if (number) {
            printf(" %d", number);
        }
        puts("");
        (*failed)++;
    }
    checks_failed = 0;
}

int main(int argc, char **argv) {
    int count = sizeof tests / sizeof *tests, failed = 0;
    int seeds = argc > 1 ? atoi(argv[1]) : SEEDS_USUAL;
    for (int i = 0; i < count; i++) {
        tests[i].run();
        tally(tests[i].name, 0, &failed);
    }
    for (int seed = 1; seed <= seeds; seed++) {
        attack((uint64_t)seed);
        tally("attack of seed", seed, &failed);
    }
    printf("%d passed, %d failed\n", count + seeds - failed, failed);
    return failed != 0;
}

/* The load of the UDP benchmark: clients in groups of four that send numbered updates, each from a
   socket of its own, and note what they hear of the others. Prints one line of JSON.

   Usage: udp-load raw|binary|enet key=value...
     raw      32 bytes each way, for udp-bare.c; a datagram may carry several
     binary   binary v1: STATE out, SNAPSHOT in; the number is x
     enet     ENet packets of 32 bytes, for udp-enet.c
   Keys: port; pid, of the server, for its CPU; clients; ms, measured; seats, a file with a line
   `code id token` for each client (binary); and rate, updates a second and client (open loop), or
   outstanding, updates of a client that the others do not know yet (closed loop).

   A server may send the newest update of a tick only. An update is known when it or a newer one has
   come; `superseded` counts those in whose place a newer one came. `lost` counts what is missing in
   the numbers of the server's datagrams (binary), or of updates (others, who send every one). */
#define _GNU_SOURCE
#include "measure.h"
#include "net.h"
#include <enet/enet.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define GROUP 4
#define UPDATE_BYTES 32
#define ENTRY_BYTES 26
#define SLOTS 1024 /* of sending times, a power of two */
#define WARM_NS (SECOND_NS / 2)
#define SETUP_NS (20 * SECOND_NS)

enum mode { RAW, BINARY, ENET };

struct client {
    int file;
    uint32_t index, id;
    unsigned char token[8];
    char code[33];
    uint16_t seq, heard_seq; /* of datagrams, binary */
    bool ready, heard;
    uint32_t sent;         /* number of the latest update, from 1 */
    uint32_t known[GROUP]; /* the latest of each member that has come */
    uint64_t sent_ns[SLOTS];
    uint64_t phase_ns;
    ENetHost *host;
    ENetPeer *peer;
};

static struct {
    uint32_t port, pid, clients, ms, rate, outstanding;
    const char *seats;
} option = {.clients = 400, .ms = 1000};

static enum mode mode;
static struct client *clients;
static int poll;
static uint64_t sent_count, delivered, superseded, lost;
static bool measuring;

/* == bytes ==================================================================================== */

static void put(unsigned char *at, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++, value >>= 8) {
        at[i] = (unsigned char)value;
    }
}

static uint64_t take(const unsigned char *at, int bytes) {
    uint64_t value = 0;
    while (bytes > 0) {
        value = value << 8 | at[--bytes];
    }
    return value;
}

static size_t binary_put(struct client *c, unsigned char *at, unsigned char type,
                         const unsigned char *body, size_t bytes) {
    at[0] = 0xB1;
    at[1] = type;
    put(at + 2, c->seq++, 2);
    put(at + 4, c->id, 4);
    memcpy(at + 8, c->token, 8);
    memcpy(at + 16, body, bytes);
    return 16 + bytes;
}

/* == sending ================================================================================== */

static void client_send(struct client *c) {
    unsigned char bytes[64] = {0}, body[24] = {0};
    uint32_t number = ++c->sent;
    c->sent_ns[number % SLOTS] = now_ns();
    sent_count++;
    if (mode == BINARY) {
        float x = (float)number, y = (float)c->index;
        memcpy(body + 4, &x, 4);
        memcpy(body + 8, &y, 4);
        size_t count = binary_put(c, bytes, 2, body, sizeof body);
        send(c->file, bytes, count, 0);
        return;
    }
    put(bytes, c->index, 4);
    put(bytes + 4, number, 4);
    if (mode == RAW) {
        send(c->file, bytes, UPDATE_BYTES, 0);
        return;
    }
    enet_peer_send(c->peer, 0, enet_packet_create(bytes, UPDATE_BYTES, 0));
    enet_host_flush(c->host);
}

/* In a closed loop: as many as may be unknown to the others. */
static void client_fill(struct client *c) {
    uint32_t first = c->index / GROUP * GROUP, oldest = c->sent;
    for (uint32_t i = first; i < first + GROUP; i++) {
        uint32_t known = clients[i].known[c->index % GROUP];
        oldest = i != c->index && known < oldest ? known : oldest;
    }
    while (c->sent - oldest < option.outstanding) {
        client_send(c);
    }
}

/* == hearing ================================================================================== */

static void heard(struct client *c, uint32_t from, uint32_t number) {
    if (from / GROUP != c->index / GROUP || from == c->index || number > clients[from].sent) {
        stop("client %u heard update %u of %u, which is none", c->index, number, from);
    }
    uint32_t *known = &c->known[from % GROUP];
    if (number <= *known) {
        return; /* told again */
    }
    uint32_t gap = number - *known - 1;
    *known = number;
    if (measuring) {
        delivered++;
        superseded += mode == BINARY ? gap : 0;
        lost += mode == BINARY ? 0 : gap;
        histogram[histogram_index(now_ns() - clients[from].sent_ns[number % SLOTS])]++;
    }
    if (option.outstanding) {
        client_fill(&clients[from]);
    }
}

static void heard_binary(struct client *c, const unsigned char *at, size_t bytes) {
    uint16_t seq = (uint16_t)take(at + 2, 2);
    if (bytes < 9 || at[0] != 0xB1) {
        stop("client %u heard no binary v1", c->index);
    }
    if (measuring && c->heard) {
        lost += (uint16_t)(seq - c->heard_seq - 1);
    }
    c->heard = true;
    c->heard_seq = seq;
    c->ready |= at[1] == 129;
    for (size_t i = 0; at[1] == 130 && i < at[8]; i++) {
        const unsigned char *entry = at + 9 + i * ENTRY_BYTES;
        float x, y;
        memcpy(&x, entry + 4, 4);
        memcpy(&y, entry + 8, 4);
        heard(c, (uint32_t)y, (uint32_t)x);
    }
}

static void heard_updates(struct client *c, const unsigned char *at, size_t bytes) {
    for (size_t i = 0; i + UPDATE_BYTES <= bytes; i += UPDATE_BYTES) {
        heard(c, (uint32_t)take(at + i, 4), (uint32_t)take(at + i + 4, 4));
    }
}

static void client_service(struct client *c) {
    ENetEvent event;
    while (enet_host_service(c->host, &event, 0) > 0) {
        c->ready |= event.type == ENET_EVENT_TYPE_CONNECT;
        if (event.type == ENET_EVENT_TYPE_RECEIVE) {
            heard_updates(c, event.packet->data, event.packet->dataLength);
            enet_packet_destroy(event.packet);
        } else if (event.type == ENET_EVENT_TYPE_DISCONNECT) {
            stop("client %u is disconnected", c->index);
        }
    }
}

static void client_readable(struct client *c) {
    unsigned char bytes[2048];
    if (mode == ENET) {
        client_service(c);
        return;
    }
    ssize_t count = recv(c->file, bytes, sizeof bytes, MSG_DONTWAIT);
    if (count > 0 && mode == BINARY) {
        heard_binary(c, bytes, (size_t)count);
    } else if (count > 0) {
        heard_updates(c, bytes, (size_t)count);
    }
}

/* == the run ================================================================================== */

/* What is due of an open loop: each client in its phase of the period. */
static void send_due(uint64_t now, uint64_t began) {
    static uint32_t turn;
    uint64_t period = SECOND_NS / option.rate;
    for (uint32_t i = 0; i < option.clients; i++) {
        struct client *c = &clients[turn];
        if (began + c->phase_ns + c->sent * period > now) {
            return;
        }
        client_send(c);
        turn = (turn + 1) % option.clients;
    }
}

static void run_until(uint64_t end, uint64_t began) {
    struct epoll_event events[EVENTS_MAX];
    uint64_t service = 0;
    for (uint64_t now = now_ns(); now < end; now = now_ns()) {
        struct timespec wait = {0, 200000};
        if (began && option.rate) {
            send_due(now, began);
        }
        int count = epoll_pwait2(poll, events, EVENTS_MAX, &wait, NULL);
        for (int i = 0; i < count; i++) {
            client_readable(&clients[events[i].data.u32]);
        }
        for (uint32_t i = 0; mode == ENET && now > service && i < option.clients; i++) {
            client_service(&clients[i]); /* its timers: acknowledgements, pings */
        }
        service = now > service ? now + SECOND_NS / 10 : service;
    }
}

static void seats_read(void) {
    FILE *file = fopen(option.seats ? option.seats : "", "r");
    for (uint32_t i = 0; i < option.clients; i++) {
        char token[33];
        struct client *c = &clients[i];
        if (!file || fscanf(file, "%32s %u %32s", c->code, &c->id, token) != 3) {
            stop("no seat for client %u", i);
        }
        for (size_t k = 0; k < sizeof c->token; k++) {
            char pair[3] = {token[2 * k], token[2 * k + 1], 0};
            c->token[k] = (unsigned char)strtoul(pair, NULL, 16);
        }
    }
    fclose(file);
}

static void client_open(struct client *c) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)option.port)};
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = c->index};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (mode == ENET) {
        ENetAddress address = {.port = (enet_uint16)option.port};
        enet_address_set_host_ip(&address, "127.0.0.1");
        c->host = enet_host_create(NULL, 1, 1, 0, 0);
        c->peer = c->host ? enet_host_connect(c->host, &address, 1, c->index) : NULL;
        if (!c->peer) {
            stop("ENet makes no client %u", c->index);
        }
        c->file = c->host->socket;
        enet_host_flush(c->host);
    } else {
        c->file = socket(AF_INET, SOCK_DGRAM, 0);
        if (c->file < 0 || connect(c->file, (struct sockaddr *)&to, sizeof to) != 0) {
            fail("connect");
        }
        c->ready = mode == RAW;
    }
    epoll_ctl(poll, EPOLL_CTL_ADD, c->file, &event);
}

/* Joined or connected, all of them; joins are said again until they are answered. */
static void setup(void) {
    uint64_t end = now_ns() + SETUP_NS;
    for (uint32_t ready = 0; ready < option.clients;) {
        for (uint32_t i = 0; mode == BINARY && i < option.clients; i++) {
            struct client *c = &clients[i];
            unsigned char bytes[64], body[34];
            body[0] = (unsigned char)strlen(c->code);
            memcpy(body + 1, c->code, body[0]);
            if (!c->ready) {
                send(c->file, bytes, binary_put(c, bytes, 1, body, 1u + body[0]), 0);
            }
        }
        run_until(now_ns() + SECOND_NS / 5, 0);
        ready = 0;
        for (uint32_t i = 0; i < option.clients; i++) {
            ready += clients[i].ready;
        }
        if (now_ns() > end) {
            stop("only %u of %u clients are in", ready, option.clients);
        }
    }
}

static void measure(void) {
    uint64_t began = now_ns();
    for (uint32_t i = 0; option.outstanding && i < option.clients; i++) {
        client_fill(&clients[i]);
    }
    run_until(began + WARM_NS, began);
    struct usage server = usage_of(option.pid), own = usage_take("self");
    uint64_t sent = sent_count, begin = now_ns();
    measuring = true;
    run_until(begin + option.ms * (SECOND_NS / 1000), began);
    measuring = false;
    uint64_t elapsed = now_ns() - begin;
    struct usage server_after = usage_of(option.pid), own_after = usage_take("self");
    printf("{");
    print_usage("server", server, server_after);
    print_usage("load", own, own_after);
    printf("\"ns\":%llu,\"sent\":%llu,\"deliveries\":%llu,\"superseded\":%llu,\"lost\":%llu,"
           "\"p50_us\":%.2f,\"p99_us\":%.2f}\n",
           (unsigned long long)elapsed, (unsigned long long)(sent_count - sent),
           (unsigned long long)delivered, (unsigned long long)superseded, (unsigned long long)lost,
           percentile_us(0.5), percentile_us(0.99));
}

/* Phases at random, in order: who is due next is the next one. */
static int phase_compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void phases_set(void) {
    uint64_t *phases = zeroed(option.clients, sizeof *phases);
    for (uint32_t i = 0; i < option.clients; i++) {
        phases[i] = random_next() % (SECOND_NS / (option.rate ? option.rate : 1));
    }
    qsort(phases, option.clients, sizeof *phases, phase_compare);
    for (uint32_t i = 0; i < option.clients; i++) {
        clients[i].phase_ns = phases[i];
    }
    free(phases);
}

int main(int argc, char **argv) {
    const struct {
        const char *name;
        uint32_t *value;
    } keys[] = {{"port=", &option.port},       {"pid=", &option.pid},
                {"clients=", &option.clients}, {"ms=", &option.ms},
                {"rate=", &option.rate},       {"outstanding=", &option.outstanding}};
    const char *name = argc > 1 ? argv[1] : "";
    mode = strcmp(name, "binary") == 0 ? BINARY : strcmp(name, "enet") == 0 ? ENET : RAW;
    for (int i = 2; i < argc; i++) {
        option.seats = strncmp(argv[i], "seats=", 6) == 0 ? argv[i] + 6 : option.seats;
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
            if (strncmp(argv[i], keys[k].name, strlen(keys[k].name)) == 0) {
                *keys[k].value = (uint32_t)strtoul(argv[i] + strlen(keys[k].name), NULL, 10);
            }
        }
    }
    if (!option.port || !option.pid || !option.clients || option.clients % GROUP ||
        !option.rate == !option.outstanding) {
        stop("these numbers do not fit together; see the head of udp-load.c");
    }
    prctl(PR_SET_TIMERSLACK, 1UL);
    clients = zeroed(option.clients, sizeof *clients);
    poll = epoll_create1(0);
    if (mode == BINARY) {
        seats_read();
    }
    if (mode == ENET) {
        enet_initialize();
    }
    phases_set();
    for (uint32_t i = 0; i < option.clients; i++) {
        clients[i].index = i;
        client_open(&clients[i]);
    }
    setup();
    measure();
    return 0;
}

/* udp_client.c: joins a lobby, walks in a circle, prints what the others do.  SPDX: MIT-0

   The whole of a client in binary v1: a seat over HTTP, JOIN until a WELCOME comes, the cookie back
   so that the server may send to this address, twenty STATEs a second, and what comes in return.
   Plain POSIX, nothing of mpserver: the bytes are the contract.

       build/udp_client HOST HTTP_PORT LOBBY NAME [SECONDS]                                   */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <math.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { JOIN = 1, STATE, LEAVE, PING, WELCOME = 129, SNAPSHOT, JOINED, LEFT, CORRECTION, PONG };

#define HEAD_BYTES 16 /* of what we send; 8 of what we get */
#define ENTRY_BYTES 26
#define DATAGRAM_BYTES_MAX 1200
#define MS_PER_STATE 50

struct client {
    const char *host, *lobby;
    int fd;
    uint32_t id;
    uint8_t token[8]; /* the first half of udp_token */
    uint16_t seq;
    bool welcomed;
    uint8_t cookie[8];
    float x, y, z; /* where we are */
};

static volatile sig_atomic_t stopping;

static void on_signal(int number) {
    (void)number;
    stopping = 1;
}

static int fail(const char *what) {
    fprintf(stderr, "udp_client: %s\n", what);
    return 1;
}

static uint64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* -- little-endian bytes -- */

static void put(uint8_t *at, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++, value >>= 8) {
        at[i] = (uint8_t)value;
    }
}

static uint64_t take(const uint8_t *at, int bytes) {
    uint64_t value = 0;
    while (bytes > 0) {
        value = value << 8 | at[--bytes];
    }
    return value;
}

static void put_float(uint8_t *at, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put(at, bits, 4);
}

static float take_float(const uint8_t *at) {
    uint32_t bits = (uint32_t)take(at, 4);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* -- a seat over HTTP -- */

/* A connected socket, or -1. */
static int connected(const char *host, const char *port, int type) {
    struct addrinfo hints = {.ai_socktype = type}, *found = NULL;
    int fd = -1;
    if (getaddrinfo(host, port, &hints, &found) != 0) {
        return -1;
    }
    for (struct addrinfo *a = found; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype, a->ai_protocol);
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(found);
    return fd;
}

/* One request; the whole answer, head and body, as text. */
static bool ask(const struct client *c, const char *port, const char *name, char *answer,
                size_t capacity) {
    char body[256], request[1024];
    int fd = connected(c->host, port, SOCK_STREAM);
    size_t used = 0;
    ssize_t count = 1;
    if (fd < 0) {
        return false;
    }
    int body_bytes = snprintf(body, sizeof body, "{\"player_name\":\"%s\"}", name);
    int bytes = snprintf(request, sizeof request,
                         "POST /lobbies/%s/join HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n"
                         "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
                         c->lobby, c->host, body_bytes, body);
    bool sent = bytes > 0 && write(fd, request, (size_t)bytes) == bytes;
    while (sent && count > 0 && used + 1 < capacity) {
        count = read(fd, answer + used, capacity - 1 - used);
        used += count > 0 ? (size_t)count : 0;
    }
    answer[used] = 0;
    close(fd);
    return used > 0;
}

/* The value behind "name": in the answer. The server writes compact JSON. */
static const char *member(const char *json, const char *name) {
    char key[64];
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *at = strstr(json, key);
    return at ? at + strlen(key) : NULL;
}

static int seat(struct client *c, const char *http_port, const char *name, char *udp_port) {
    char answer[16384];
    if (!ask(c, http_port, name, answer, sizeof answer)) {
        return fail("cannot reach the server; is it running there?");
    }
    const char *body = strstr(answer, "\r\n\r\n");
    const char *id = body ? member(body, "player_id") : NULL;
    const char *token = body ? member(body, "udp_token") : NULL;
    const char *port = body ? member(body, "udp_port") : NULL;
    if (!id || !token || !port) {
        return fail(body ? body + 4 : "no answer"); /* it says what to change */
    }
    c->id = (uint32_t)strtoul(id, NULL, 10);
    snprintf(udp_port, 8, "%lu", strtoul(port, NULL, 10));
    for (size_t i = 0; i < sizeof c->token; i++) {
        char pair[3] = {token[1 + 2 * i], token[2 + 2 * i], 0}; /* behind its quote */
        c->token[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return 0;
}

/* -- what we send -- */

static void say(struct client *c, uint8_t type, const uint8_t *body, size_t bytes) {
    uint8_t datagram[HEAD_BYTES + 64] = {0xB1, type};
    put(datagram + 2, c->seq++, 2);
    put(datagram + 4, c->id, 4);
    memcpy(datagram + 8, c->token, sizeof c->token);
    if (bytes) {
        memcpy(datagram + HEAD_BYTES, body, bytes);
    }
    if (send(c->fd, datagram, HEAD_BYTES + bytes, 0) < 0) {
        perror("udp_client: send"); /* lost, as datagrams may be */
    }
}

static void say_join(struct client *c) {
    uint8_t body[33];
    size_t bytes = strlen(c->lobby);
    bytes = bytes < sizeof body ? bytes : sizeof body - 1;
    body[0] = (uint8_t)bytes;
    memcpy(body + 1, c->lobby, bytes);
    say(c, JOIN, body, 1 + bytes);
}

static void say_state(struct client *c, uint64_t ms) {
    uint8_t body[24] = {0};
    float angle = (float)(ms % 12566) / 1000.0f * 0.5f;
    c->x = 5 * cosf(angle);
    c->z = 5 * sinf(angle);
    put(body, ms, 4);
    put_float(body + 4, c->x);
    put_float(body + 8, c->y);
    put_float(body + 12, c->z);
    say(c, STATE, body, sizeof body);
}

static void say_ping(struct client *c, uint64_t ms) {
    uint8_t body[12];
    put(body, ms, 4);
    memcpy(body + 4, c->cookie, sizeof c->cookie);
    say(c, PING, body, sizeof body);
}

/* -- what we hear -- */

static void hear_entries(const uint8_t *at, size_t bytes) {
    for (size_t i = 0; i < at[0] && 1 + (i + 1) * ENTRY_BYTES <= bytes; i++) {
        const uint8_t *e = at + 1 + i * ENTRY_BYTES;
        printf("player %u at %.2f %.2f %.2f, %u ms ago\n", (unsigned)take(e, 4), take_float(e + 4),
               take_float(e + 8), take_float(e + 12), (unsigned)take(e + 24, 2));
    }
}

static void hear(struct client *c, const uint8_t *at, size_t bytes) {
    const uint8_t *body = at + 8;
    if (bytes < 9 || at[0] != 0xB1) {
        return;
    }
    switch (at[1]) {
    case WELCOME:
        if (bytes == 21 && !c->welcomed) {
            c->welcomed = true;
            memcpy(c->cookie, body + 5, sizeof c->cookie);
            printf("welcome, player %u, %u ticks a second\n", (unsigned)take(body, 4), body[4]);
        }
        break;
    case SNAPSHOT:
        hear_entries(body, bytes - 8);
        break;
    case JOINED:
        if (bytes >= 13 && bytes == 13u + body[4]) {
            printf("player %u is called %.*s\n", (unsigned)take(body, 4), body[4], body + 5);
        }
        break;
    case LEFT:
        if (bytes == 12) {
            printf("player %u left\n", (unsigned)take(body, 4));
        }
        break;
    case CORRECTION:
        if (bytes == 8 + ENTRY_BYTES) {
            c->x = take_float(body + 4);
            c->y = take_float(body + 8);
            c->z = take_float(body + 12);
            printf("put back to %.2f %.2f %.2f\n", c->x, c->y, c->z);
        }
        break;
    case PONG:
        if (bytes == 16) {
            printf("round trip %u ms\n", (unsigned)((uint32_t)now_ms() - (uint32_t)take(body, 4)));
        }
        break;
    default:
        printf("refused, code %u\n", body[0]);
        stopping = 1;
    }
}

/* Until the time is over, Ctrl-C, or a refusal. */
static int play(struct client *c, uint64_t until) {
    uint64_t next_state = 0, next_join = 0, next_ping = 0;
    while (!stopping && now_ms() < until) {
        uint64_t now = now_ms();
        uint8_t datagram[DATAGRAM_BYTES_MAX];
        struct pollfd ready = {.fd = c->fd, .events = POLLIN};
        if (!c->welcomed && now >= next_join) {
            next_join = now + 250;
            say_join(c);
        } else if (c->welcomed && now >= next_ping) {
            next_ping = now + 1000;
            say_ping(c, now);
        }
        if (c->welcomed && now >= next_state) {
            next_state = now + MS_PER_STATE;
            say_state(c, now);
        }
        if (poll(&ready, 1, 10) > 0) {
            ssize_t bytes = recv(c->fd, datagram, sizeof datagram, 0);
            hear(c, datagram, bytes > 0 ? (size_t)bytes : 0);
            fflush(stdout);
        }
    }
    say(c, LEAVE, NULL, 0);
    return c->welcomed ? 0 : fail("no welcome came; is the UDP port open?");
}

int main(int argc, char **argv) {
    struct client c = {.fd = -1};
    char udp_port[8];
    if (argc < 5) {
        return fail("usage: udp_client HOST HTTP_PORT LOBBY NAME [SECONDS]");
    }
    c.host = argv[1];
    c.lobby = argv[3];
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    if (seat(&c, argv[2], argv[4], udp_port) != 0) {
        return 1;
    }
    c.fd = connected(c.host, udp_port, SOCK_DGRAM);
    if (c.fd < 0) {
        return fail("cannot make a UDP socket");
    }
    int status = play(&c, argc > 5 ? now_ms() + strtoul(argv[5], NULL, 10) * 1000 : UINT64_MAX);
    close(c.fd);
    return status;
}

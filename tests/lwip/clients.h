/* clients.h: clients of all three kinds on lwIP's raw API; part of virtual.c.  SPDX: MIT-0

   They check every byte that they are told. A connection may break off at any time, as the network
   is bad on purpose; they come again, and what must not happen is a wrong byte, or a gap or a
   repetition between joining a room and leaving it.

     1 connections   2 readers (HTTP)   3 talkers (WebSocket)   4 walkers (UDP) */
#ifndef MPSERVER_TESTS_CLIENTS_H
#define MPSERVER_TESTS_CLIENTS_H

#include "network.h"

#include "../../mpserver.h"

#define HTTP_PORT 8080
#define UDP_PORT 8081
#define LOBBIES 24
#define BODY_BYTES 8192
#define IN_BYTES 16384
#define CLIENTS_MAX 24
#define NAMES_MAX 8 /* of talkers and walkers */
#define PATIENCE_US 60000000
#define SECRET "a secret of the virtual network, 32 bytes"

enum kind { READER, TALKER, WALKER };

struct client {
    enum kind kind;
    unsigned index; /* among its kind */
    struct tcp_pcb *pcb;
    bool ready, over;    /* connected; its connection ended */
    uint64_t due, quiet; /* to act again; when it heard or said something last */
    char in[IN_BYTES + 1];
    size_t in_bytes;
    const char *expected; /* body of the answer */
    unsigned left;        /* requests on this connection */
    unsigned long answers;
    bool upgraded, joined;
    unsigned life, said; /* talkers: incarnation, messages in it */
    unsigned heard_life[NAMES_MAX], heard[NAMES_MAX];
    struct udp_pcb *udp; /* walkers */
    unsigned player_id;
    char token[33], where[64], believed[NAMES_MAX][64];
    unsigned ids[NAMES_MAX];
};

static struct {
    unsigned long requests, messages, heard, updates, resets, failures, timeouts, oom;
    bool stopping; /* no new connections, messages or moves */
    char bodies[LOBBIES][512], list[BODY_BYTES];
} all;

/* The first few are told; all of them fail the test. */
static void wrong(const struct client *c, const char *what, const char *got) {
    if (all.failures++ < 5) {
        printf("client %d.%u at %.3f s: %s: %.300s\n", (int)c->kind, c->index,
               (double)net.now / 1e6, what, got);
    }
}

/* == 1 connections ============================================================================= */

static void client_forget(struct client *c) {
    c->pcb = NULL;
    c->ready = c->over = c->upgraded = c->joined = false;
    c->in_bytes = 0;
    c->due = net.now + 50000 + random_below(500000);
}

static struct tcp_pcb *client_detach(struct client *c) {
    struct tcp_pcb *pcb = c->pcb;
    tcp_arg(pcb, NULL);
    tcp_recv(pcb, NULL);
    tcp_err(pcb, NULL);
    client_forget(c);
    return pcb;
}

static void client_close(struct client *c) {
    tcp_close(client_detach(c));
}

/* Its cable is cut: neither side hears of the other again. */
static void client_pull(struct client *c) {
    if (c->pcb) {
        net.pulled[c->pcb->local_port] = true;
        tcp_abort(client_detach(c));
    }
}

static err_t client_received(void *arg, struct tcp_pcb *pcb, struct pbuf *p, err_t code) {
    struct client *c = arg;
    (void)code;
    c->quiet = net.now;
    if (!p) {
        c->over = true;
        return ERR_OK;
    }
    if (c->in_bytes + p->tot_len > IN_BYTES) {
        wrong(c, "more than was asked for", "");
        c->in_bytes = 0;
    }
    c->in_bytes += pbuf_copy_partial(p, c->in + c->in_bytes, p->tot_len, 0);
    c->in[c->in_bytes] = 0;
    tcp_recved(pcb, p->tot_len);
    pbuf_free(p);
    return ERR_OK;
}

static void client_error(void *arg, err_t code) {
    (void)code;
    all.resets++;
    client_forget(arg);
}

static err_t client_connected(void *arg, struct tcp_pcb *pcb, err_t code) {
    struct client *c = arg;
    (void)pcb, (void)code;
    c->ready = true;
    c->due = c->quiet = net.now;
    return ERR_OK;
}

static void client_connect(struct client *c) {
    ip_addr_t server = *netif_ip_addr4(netif_default);
    struct tcp_pcb *pcb = tcp_new();
    c->due = net.now + 500000;
    if (!pcb) {
        all.oom++;
        return;
    }
    tcp_arg(pcb, c);
    tcp_recv(pcb, client_received);
    tcp_err(pcb, client_error);
    c->pcb = pcb;
    c->quiet = net.now;
    c->left = 1 + random_below(20);
    if (tcp_connect(pcb, &server, HTTP_PORT, client_connected) != ERR_OK) {
        all.oom++;
        tcp_abort(client_detach(c));
    } else if (net.pulled[pcb->local_port]) {
        net.pulled[pcb->local_port] = false; /* the one who had it is gone for long */
    }
}

/* Without memory it breaks off: half a request must not be left standing. */
static void client_say(struct client *c, const void *bytes, size_t count) {
    c->quiet = net.now;
    if (tcp_write(c->pcb, bytes, (u16_t)count, TCP_WRITE_FLAG_COPY) != ERR_OK) {
        all.oom++;
        tcp_abort(client_detach(c));
        return;
    }
    tcp_output(c->pcb);
}

/* The body of a whole answer with this status, zero-terminated; NULL: not all of it is here. The
   answer is dropped from the input by the next call of client_taken. */
static char *client_answer(struct client *c, const char *status, size_t *bytes) {
    char *end = strstr(c->in, "\r\n\r\n"), *length = strstr(c->in, "Content-Length: ");
    if (c->in_bytes == 0 || !end) {
        return NULL;
    }
    if (strncmp(c->in, "HTTP/1.1 ", 9) != 0 || strncmp(c->in + 9, status, 3) != 0) {
        wrong(c, status, c->in);
    }
    size_t head = (size_t)(end + 4 - c->in);
    size_t body = length && length < end ? strtoul(length + 16, NULL, 10) : 0;
    if (c->in_bytes < head + body) {
        return NULL;
    }
    *bytes = head + body;
    all.requests++;
    return c->in + head;
}

static void client_taken(struct client *c, size_t bytes) {
    memmove(c->in, c->in + bytes, c->in_bytes - bytes + 1);
    c->in_bytes -= bytes;
}

static void client_ask(struct client *c, const char *method, const char *target, const char *body) {
    char request[512];
    int bytes =
        snprintf(request, sizeof request,
                 "%s %s HTTP/1.1\r\nHost: virtual\r\nContent-Length: %zu\r\n%s\r\n%s", method,
                 target, strlen(body), c->left == 1 ? "Connection: close\r\n" : "", body);
    client_say(c, request, (size_t)bytes);
}

/* == 2 readers: lobbies over HTTP, every body known ============================================ */

static void reader_ask(struct client *c) {
    char target[64] = "/lobbies?scene=cave&limit=100";
    unsigned which = random_below(LOBBIES + 4);
    c->expected = which < LOBBIES ? all.bodies[which] : all.list;
    if (which < LOBBIES) {
        snprintf(target, sizeof target, "/lobbies/L%02u", which);
    }
    client_ask(c, "GET", target, "");
    if (c->pcb && c->left == 1 && random_below(2)) {
        tcp_shutdown(c->pcb, 0, 1); /* half closed: the answer comes all the same */
    }
}

static void reader_act(struct client *c) {
    size_t bytes;
    char *body = c->expected ? client_answer(c, "200", &bytes) : NULL;
    if (body) {
        size_t body_bytes = (size_t)(c->in + bytes - body);
        if (body_bytes != strlen(c->expected) || memcmp(body, c->expected, body_bytes) != 0) {
            wrong(c, "another body than the lobby has", body);
        }
        client_taken(c, bytes);
        c->expected = NULL;
        c->answers++;
        c->left--;
    }
    if (c->over || (c->left == 0 && random_below(2))) {
        c->expected = NULL;
        client_close(c);
    } else if (!c->expected && c->left && !all.stopping) {
        reader_ask(c);
    }
    if (all.stopping && c->pcb && !c->expected) {
        client_close(c);
    }
}

/* == 3 talkers: a room over WebSocket, numbered messages ======================================= */

/* A text frame with a mask of zeroes (RFC 6455, 5.2). */
static void talker_say(struct client *c, const char *text) {
    uint8_t frame[1024] = {0x81};
    size_t bytes = strlen(text), head = bytes < 126 ? 2 : 4;
    if (bytes < 126) {
        frame[1] = (uint8_t)(0x80 | bytes);
    } else {
        frame[1] = 0x80 | 126;
        frame[2] = (uint8_t)(bytes >> 8);
        frame[3] = (uint8_t)bytes;
    }
    memcpy(frame + head + 4, text, bytes);
    client_say(c, frame, head + 4 + bytes);
}

static void talker_upgrade(struct client *c) {
    static const char request[] = "GET /ws HTTP/1.1\r\nHost: virtual\r\nConnection: Upgrade\r\n"
                                  "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    c->life++;
    c->said = 0;
    memset(c->heard_life, 0, sizeof c->heard_life);
    memset(c->heard, 0, sizeof c->heard);
    c->expected = "";
    client_say(c, request, sizeof request - 1);
}

static void talker_enter(struct client *c) {
    char token[512], text[768];
    mps_identity who = {.role = MPS_ROLE_PLAYER};
    snprintf(who.id, sizeof who.id, "u%u-%u", c->index, c->life); /* nobody's seat is kept */
    snprintf(who.name, sizeof who.name, "t%u", c->index);
    mps_token_claims claims = {.who = &who, .unix_s = 1767225600, .ttl_s = 86400};
    mps_token_mint(&claims, SECRET, strlen(SECRET), token, sizeof token);
    snprintf(text, sizeof text,
             "{\"type\":\"handshake\",\"data\":{\"version\":\"1.0\",\"name\":\"t%u\",\"token\":"
             "\"%s\"}}",
             c->index, token);
    talker_say(c, text);
    snprintf(text, sizeof text,
             "{\"type\":\"quick_join\",\"data\":{\"gamemode\":\"g%u\",\"version\":\"1.0\",\"name\":"
             "\"t%u\",\"maxPlayers\":8}}",
             c->index % 2, c->index);
    if (c->pcb) {
        talker_say(c, text);
    }
}

/* {"type":"rpc_call","data":{"fromPeer":N,"method":"INDEX-LIFE-NUMBER","args":"xxx"}} */
static void talker_heard_call(struct client *c, const char *text) {
    unsigned index, life, number;
    const char *method = strstr(text, "\"method\":\"");
    if (!method || sscanf(method + 10, "%u-%u-%u\"", &index, &life, &number) != 3 ||
        index >= NAMES_MAX) {
        wrong(c, "not a call of ours", text);
        return;
    }
    unsigned next = c->heard_life[index] == life ? c->heard[index] + 1 : number;
    if (life < c->heard_life[index] || number != next) {
        wrong(c, "a gap or a repetition", text);
    }
    char args[300], want[320];
    memset(args, 'a' + (int)(number % 26), 200);
    args[200] = 0;
    snprintf(want, sizeof want, "\"args\":\"%s\"}}", args);
    if (!strstr(text, want)) {
        wrong(c, "other arguments than were sent", text);
    }
    c->heard_life[index] = life;
    c->heard[index] = number;
    all.heard++;
}

static void talker_heard(struct client *c, const char *text) {
    if (strncmp(text, "{\"type\":\"room_joined\"", 21) == 0) {
        c->joined = true;
    } else if (strncmp(text, "{\"type\":\"rpc_call\"", 18) == 0) {
        talker_heard_call(c, text);
    } else if (strncmp(text, "{\"type\":\"error\"", 15) == 0) {
        wrong(c, "refused", text);
    }
}

/* Frames of a server are not masked. True when there was one. */
static bool talker_frame(struct client *c) {
    const uint8_t *at = (const uint8_t *)c->in;
    size_t head = c->in_bytes >= 2 && at[1] == 126 ? 4 : 2;
    size_t bytes = c->in_bytes < head ? 0 : head == 4 ? (size_t)port_at(at, 2) : at[1];
    char text[4096];
    if (c->in_bytes < head || c->in_bytes < head + bytes) {
        return false;
    }
    if (bytes >= sizeof text || (at[0] != 0x81 && at[0] != 0x89 && at[0] != 0x88)) {
        wrong(c, "not a frame for a client", "");
    } else if (at[0] == 0x81) {
        memcpy(text, c->in + head, bytes);
        text[bytes] = 0;
        talker_heard(c, text);
    }
    client_taken(c, head + bytes);
    return true;
}

static void talker_call(struct client *c) {
    char text[512], args[300];
    memset(args, 'a' + (int)(c->said % 26), 200);
    args[200] = 0;
    snprintf(text, sizeof text,
             "{\"type\":\"rpc_call\",\"data\":{\"targetPeer\":0,\"method\":\"%u-%u-%u\",\"args\":"
             "\"%s\"}}",
             c->index, c->life, c->said++, args);
    talker_say(c, text);
    all.messages++;
    c->due = net.now + 200000 + random_below(200000);
}

static void talker_act(struct client *c) {
    size_t bytes;
    if (!c->expected) {
        talker_upgrade(c);
        return;
    }
    if (!c->upgraded) {
        if (client_answer(c, "101", &bytes)) {
            client_taken(c, bytes);
            c->upgraded = true;
            talker_enter(c);
        }
    } else {
        while (c->pcb && talker_frame(c)) {
        }
    }
    if (c->pcb && (c->over || all.stopping)) {
        client_close(c);
    } else if (c->pcb && c->joined && net.now >= c->due) {
        talker_call(c);
    }
}

/* == 4 walkers: positions over UDP ============================================================= */

/* Takes the text of a position behind `key` up to `end`, when it has that shape. */
static void walker_believe(struct client *c, unsigned id, const char *at) {
    const char *end = strstr(at, ",\"rotation\"");
    for (unsigned i = 0; i < NAMES_MAX && end && (size_t)(end - at) < sizeof c->where; i++) {
        if (c->ids[i] == id || !c->ids[i]) {
            c->ids[i] = id;
            snprintf(c->believed[i], sizeof c->believed[i], "%.*s", (int)(end - at), at);
            return;
        }
    }
    wrong(c, "no position", at);
}

static void walker_received(void *arg, struct udp_pcb *pcb, struct pbuf *p, const ip_addr_t *ip,
                            u16_t port) {
    struct client *c = arg;
    char text[2048];
    unsigned id;
    (void)pcb, (void)ip, (void)port;
    text[pbuf_copy_partial(p, text, sizeof text - 1, 0)] = 0;
    pbuf_free(p);
    if (sscanf(text, "{\"type\":\"position_update\",\"player_id\":%u", &id) == 1) {
        const char *at = strstr(text, "\"position\":");
        all.updates++;
        walker_believe(c, id, at ? at + 11 : text);
    } else if (strncmp(text, "{\"type\":\"welcome\"", 17) == 0) {
        c->joined = true;
    } else if (strncmp(text, "{\"type\":\"state_sync\"", 20) == 0) {
        for (const char *at = text; (at = strstr(at, "{\"id\":")); at++) {
            const char *position = strstr(at, "\"position\":");
            walker_believe(c, (unsigned)strtoul(at + 6, NULL, 10), position ? position + 11 : at);
        }
    } else if (strstr(text, "\"error\"") || strstr(text, "correction")) {
        wrong(c, "refused", text);
    }
}

static void walker_send(struct client *c, const char *text) {
    ip_addr_t server = *netif_ip_addr4(netif_default);
    struct pbuf *p = pbuf_alloc(PBUF_TRANSPORT, (u16_t)strlen(text), PBUF_RAM);
    if (p) {
        pbuf_take(p, text, (u16_t)strlen(text));
        udp_sendto(c->udp, p, &server, UDP_PORT);
        pbuf_free(p);
    }
}

/* Over HTTP: a seat in the walkers' lobby. */
static void walker_sit(struct client *c) {
    size_t bytes;
    if (!c->expected) {
        char body[64];
        snprintf(body, sizeof body, "{\"player_name\":\"w%u\"}", c->index);
        c->expected = "";
        c->left = 1;
        client_ask(c, "POST", "/lobbies/WALK/join", body);
    } else if (client_answer(c, "200", &bytes)) {
        const char *id = strstr(c->in, "\"player_id\":"),
                   *token = strstr(c->in, "\"udp_token\":\"");
        if (id && token) {
            c->player_id = (unsigned)strtoul(id + 12, NULL, 10);
            memcpy(c->token, token + 13, 32);
            c->udp = udp_new();
            udp_recv(c->udp, walker_received, c);
        }
        client_close(c);
        c->joined = false;
    }
}

static void walker_act(struct client *c) {
    char text[256];
    if (net.now < c->due) {
        return;
    }
    c->due = net.now + 100000;
    if (!c->joined) {
        snprintf(
            text, sizeof text,
            "{\"type\":\"join\",\"lobby_code\":\"WALK\",\"player_id\":%u,\"udp_token\":\"%s\"}",
            c->player_id, c->token);
        walker_send(c, text);
        return;
    }
    if (!all.stopping) {
        snprintf(c->where, sizeof c->where, "{\"x\":%u.%02u,\"y\":1,\"z\":%u.5}", c->index,
                 random_below(100), 1 + random_below(3));
    }
    snprintf(text, sizeof text,
             "{\"type\":\"position_update\",\"player_id\":%u,\"position\":%s,\"rotation\":"
             "{\"x\":0,\"y\":0,\"z\":0}}",
             c->player_id, c->where);
    walker_send(c, text);
}

/* == all of them =============================================================================== */

static void client_act(struct client *c) {
    if (c->kind == WALKER && c->udp) {
        walker_act(c);
    } else if (!c->pcb) {
        c->expected = NULL;
        if (net.now >= c->due && !all.stopping) {
            client_connect(c);
        }
    } else if (net.now > c->quiet + PATIENCE_US) {
        all.timeouts++;
        tcp_abort(client_detach(c));
    } else if (c->ready) {
        (c->kind == READER ? reader_act : c->kind == TALKER ? talker_act : walker_sit)(c);
    }
}

#endif

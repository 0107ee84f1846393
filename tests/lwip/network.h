/* network.h: an IP network in this process, on a clock that only the test moves; part of virtual.c.
   SPDX: MIT-0

   Whatever lwIP sends by its only netif is kept for a while and handed back to it: late, in another
   order, twice, or never, as a seed decides. Server and clients share one stack and one address. A
   port can be pulled: nothing comes from it or reaches it any more, as if its cable were cut. */
#ifndef MPSERVER_TESTS_NETWORK_H
#define MPSERVER_TESTS_NETWORK_H

#include "lwip/inet_chksum.h"
#include "lwip/init.h"
#include "lwip/ip.h"
#include "lwip/memp.h"
#include "lwip/netif.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/stats.h"
#include "lwip/sys.h"
#include "lwip/tcp.h"
#include "lwip/timeouts.h"
#include "lwip/udp.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PACKETS_MAX 4096
#define PACKET_BYTES 1500
#define LATENCY_US 3000

struct packet {
    uint64_t due; /* 0: free */
    uint16_t bytes;
    uint8_t data[PACKET_BYTES];
};

static struct {
    uint64_t now;                                  /* microseconds */
    uint64_t random;                               /* state */
    unsigned loss, twice, jitter_us;               /* per cent, per cent */
    bool pulled[65536];                            /* by port */
    uint64_t sent, lost, doubled, swapped, resets; /* packets */
    uint64_t last_due, starved;                    /* no pbuf was free to receive with */
    struct packet packets[PACKETS_MAX];
    struct netif netif;
} net;

/* splitmix64 (Vigna, 2015) */
static uint64_t random_next(void) {
    uint64_t z = net.random += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static unsigned random_below(unsigned limit) {
    return (unsigned)(random_next() % limit);
}

u32_t sys_now(void) {
    return (u32_t)(net.now / 1000);
}

static struct packet *packet_free(void) {
    for (size_t i = 0; i < PACKETS_MAX; i++) {
        if (!net.packets[i].due) {
            return &net.packets[i];
        }
    }
    fprintf(stderr, "the network holds more than PACKETS_MAX packets\n");
    abort();
}

static void packet_keep(struct pbuf *p) {
    struct packet *packet = packet_free();
    unsigned jitter = net.jitter_us ? random_below(net.jitter_us) : 0;
    packet->bytes = pbuf_copy_partial(p, packet->data, PACKET_BYTES, 0);
    packet->due = net.now + LATENCY_US + jitter;
    net.swapped += packet->due < net.last_due;
    net.last_due = packet->due;
}

static unsigned port_at(const uint8_t *packet, size_t offset) {
    return (unsigned)packet[offset] << 8 | packet[offset + 1];
}

/* TCP and UDP have their ports in the same place, and nobody here sends options of IP. */
static bool packet_is_pulled(const struct pbuf *p) {
    uint8_t head[40] = {0};
    pbuf_copy_partial(p, head, sizeof head, 0);
    net.resets += head[9] == IP_PROTO_TCP && (head[33] & TCP_RST);
    return net.pulled[port_at(head, 20)] || net.pulled[port_at(head, 22)];
}

static err_t netif_send_ip(struct netif *netif, struct pbuf *p, const ip4_addr_t *to) {
    net.sent++;
    if (!ip4_addr_cmp(to, netif_ip4_addr(netif)) || packet_is_pulled(p)) {
        return ERR_OK; /* to nobody */
    }
    if (random_below(100) < net.loss) {
        net.lost++;
        return ERR_OK;
    }
    packet_keep(p);
    if (random_below(100) < net.twice) {
        net.doubled++;
        packet_keep(p);
    }
    return ERR_OK;
}

static err_t netif_begin(struct netif *netif) {
    netif->name[0] = 'v';
    netif->name[1] = 'n';
    netif->output = netif_send_ip;
    netif->mtu = 1500;
    netif->flags = NETIF_FLAG_LINK_UP;
    return ERR_OK;
}

static void packet_deliver(struct packet *packet) {
    struct pbuf *p = pbuf_alloc(PBUF_RAW, packet->bytes, PBUF_POOL);
    packet->due = 0;
    if (!p) {
        net.starved++;
        return;
    }
    pbuf_take(p, packet->data, packet->bytes);
    if (net.netif.input(p, &net.netif) != ERR_OK) {
        pbuf_free(p);
    }
}

static struct packet *packet_first(void) {
    struct packet *first = NULL;
    for (size_t i = 0; i < PACKETS_MAX; i++) {
        struct packet *packet = &net.packets[i];
        if (packet->due && (!first || packet->due < first->due)) {
            first = packet;
        }
    }
    return first;
}

/* To the next packet, lwIP's next timer or `due`, whichever comes first. */
static void network_step(uint64_t due) {
    struct packet *packet = packet_first();
    uint64_t timers = net.now / 1000 * 1000 + (uint64_t)sys_timeouts_sleeptime() * 1000;
    uint64_t next = due < timers ? due : timers;
    next = packet && packet->due < next ? packet->due : next;
    net.now = next > net.now ? next : net.now;
    if (packet && packet->due <= net.now) {
        packet_deliver(packet);
    }
    sys_check_timeouts();
}

static void network_begin(uint64_t seed) {
    ip4_addr_t ip, mask, none = {0};
    IP4_ADDR(&ip, 127, 0, 0, 1);
    IP4_ADDR(&mask, 255, 0, 0, 0);
    net.random = seed;
    netif_add(&net.netif, &ip, &mask, &none, NULL, netif_begin, ip_input);
    netif_set_default(&net.netif);
    netif_set_up(&net.netif);
}

#endif

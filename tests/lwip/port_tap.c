/* port_tap.c: the API of ports with sockets over platform/lwip.c and a TAP device.  SPDX: MIT-0

   So that the dedicated server, and with it the wire tests, runs on lwIP. tests/lwip/netns.sh makes
   a network namespace in which the ports of such a server lead to its TAP, though the clients say
   127.0.0.1; lwIP has that address here as well. There is one server in a process. */
#define _GNU_SOURCE
#include "../../platform/lwip.h"
#include "../../platform/port.h"
#include "../../platform/port_life.h"

#include "lwip/init.h"
#include "lwip/netif.h"
#include "lwip/pbuf.h"
#include "lwip/stats.h"
#include "lwip/sys.h"
#include "lwip/tcp.h"
#include "lwip/timeouts.h"
#include "lwip/udp.h"
#include "netif/etharp.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FRAME_BYTES 1536
#define FRAMES_A_ROUND 256
#define LOOPBACK "127.0.0.1"
#define ANY_PORT 20000
#define ANY_PORTS 12000

static struct {
    struct mps_lwip port;
    struct netif netif;
    struct ifreq interface; /* the host's end */
    struct eth_addr host;   /* its address */
    int tap, signals;
    void *memory;
    size_t bytes;
    uint32_t connections;
} tap = {.tap = -1, .signals = -1};

/* == clock, entropy ============================================================================ */

uint64_t mps_port_now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

int64_t mps_port_unix_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

bool mps_port_entropy(uint8_t out[32]) {
    return mps_lwip_entropy(&tap.port, out);
}

u32_t sys_now(void) {
    return (u32_t)(mps_port_now_us() / 1000);
}

static uint64_t board_now_us(void *user) {
    (void)user;
    return mps_port_now_us();
}

static int64_t board_unix_ms(void *user) {
    (void)user;
    return mps_port_unix_ms();
}

static bool board_entropy(void *user, uint8_t *out, size_t bytes) {
    (void)user;
    return getentropy(out, bytes) == 0;
}

/* == the netif ================================================================================= */

static err_t netif_send(struct netif *netif, struct pbuf *p) {
    char frame[FRAME_BYTES];
    (void)netif;
    uint16_t count = pbuf_copy_partial(p, frame, sizeof frame, 0);
    return write(tap.tap, frame, count) == count ? ERR_OK : ERR_BUF; /* full: lost */
}

/* Without ARP: every address is the host's. */
static err_t netif_send_ip(struct netif *netif, struct pbuf *p, const ip4_addr_t *to) {
    (void)to;
    return ethernet_output(netif, p, (struct eth_addr *)netif->hwaddr, &tap.host, ETHTYPE_IP);
}

static err_t netif_begin(struct netif *netif) {
    static const uint8_t address[6] = {2, 0, 0, 0, 0, 1};
    netif->name[0] = 't';
    netif->name[1] = 'p';
    netif->output = netif_send_ip;
    netif->linkoutput = netif_send;
    netif->mtu = 1500;
    netif->hwaddr_len = sizeof address;
    memcpy(netif->hwaddr, address, sizeof address);
    netif->flags = NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_LINK_UP;
    return ERR_OK;
}

static bool tap_read(void) {
    char frame[FRAME_BYTES];
    ssize_t count = read(tap.tap, frame, sizeof frame);
    struct pbuf *p = count > 0 ? pbuf_alloc(PBUF_RAW, (uint16_t)count, PBUF_POOL) : NULL;
    if (p) {
        pbuf_take(p, frame, (uint16_t)count);
        if (tap.netif.input(p, &tap.netif) != ERR_OK) {
            pbuf_free(p);
        }
    }
    return count > 0;
}

/* == life ====================================================================================== */

static bool failed(struct mps_port *p, const char *why) {
    snprintf(p->error, sizeof p->error, "%s", why);
    return false;
}

static bool tap_open(struct mps_port *p) {
    int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    tap.tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    tap.interface = (struct ifreq){.ifr_name = "mps%d"};
    tap.interface.ifr_flags = IFF_TAP | IFF_NO_PI;
    if (tap.tap < 0 || ioctl(tap.tap, TUNSETIFF, &tap.interface) != 0 ||
        ioctl(any, SIOCGIFHWADDR, &tap.interface) != 0) {
        close(any);
        return failed(p, "cannot make a TAP device");
    }
    memcpy(tap.host.addr, tap.interface.ifr_hwaddr.sa_data, sizeof tap.host.addr);
    close(any);
    return true;
}

/* The host's packets to our ports go to the TAP. The table has the number of the device. */
static bool tap_route(struct mps_port *p) {
    char command[1024];
    const char *name = tap.interface.ifr_name;
    unsigned table = 1000 + if_nametoindex(name);
    snprintf(command, sizeof command,
             "ip link set %s up && "
             "ip neigh add " LOOPBACK " lladdr 02:00:00:00:00:01 dev %s nud permanent && "
             "ip route add " LOOPBACK " dev %s src " LOOPBACK " table %u && "
             "ip rule add pref 10 to " LOOPBACK " ipproto tcp dport %u lookup %u && "
             "ip rule add pref 10 to " LOOPBACK " ipproto udp dport %u lookup %u",
             name, name, name, table, tap.port.http.port, table, tap.port.udp.port, table);
    return system(command) == 0 || failed(p, "cannot lead the ports to the TAP device");
}

/* Below those that the host gives its clients, or their packets would be led here, too. */
static uint16_t port_or_any(uint16_t port) {
    return port ? port : (uint16_t)(ANY_PORT + mps_lwip_random() % ANY_PORTS);
}

bool mps_port_open(struct mps_port *p, const struct mps_port_options *options) {
    struct mps_lwip_board board = {
        .entropy = board_entropy, .now_us = board_now_us, .unix_ms = board_unix_ms};
    ip4_addr_t ip, mask, none = {0};
    *p = (struct mps_port){.options = *options};
    IP4_ADDR(&ip, 127, 0, 0, 1);
    IP4_ADDR(&mask, 255, 0, 0, 0);
    if (options->bind && strcmp(options->bind, LOOPBACK) != 0) {
        p->bind_invalid = true;
        return failed(p, "this build can only be bound to " LOOPBACK);
    }
    if (!mps_lwip_start(&tap.port, &board)) {
        return failed(p, tap.port.error);
    }
    lwip_init();
    if (!tap_open(p)) {
        return false;
    }
    netif_add(&tap.netif, &ip, &mask, &none, NULL, netif_begin, ethernet_input);
    netif_set_default(&tap.netif);
    netif_set_up(&tap.netif);
    if (!mps_lwip_open(&tap.port, port_or_any(options->http_port),
                       port_or_any(options->udp_port))) {
        return failed(p, tap.port.error);
    }
    p->http = tap.port.http;
    p->udp = tap.port.udp;
    return tap_route(p);
}

size_t mps_port_memory_needed(uint32_t connections) {
    return mps_lwip_memory_needed(connections);
}

bool mps_port_attach(struct mps_port *p, void *memory, size_t bytes, uint32_t connections) {
    (void)p;
    tap.memory = memory;
    tap.bytes = bytes;
    tap.connections = connections;
    return true;
}

bool mps_port_signals(struct mps_port *p) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    tap.signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return tap.signals >= 0 || failed(p, "cannot watch for signals");
}

static void signals_read(struct mps_port *p) {
    struct signalfd_siginfo info;
    while (read(tap.signals, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGHUP) {
            p->reload_soon = true;
        } else if (p->draining) {
            p->state = MPS_PORT_STOPPED;
        } else {
            p->draining = true;
            mps_drain(p->server, mps_port_now_us(), 0);
        }
    }
}

/* Until a frame comes, lwIP's timers or the server are due. */
static void wait_for_work(const struct mps_port *p, int timeout_ms) {
    struct pollfd fds[2] = {{.fd = tap.tap, .events = POLLIN},
                            {.fd = tap.signals, .events = POLLIN}};
    uint64_t due = p->wall_due, now = mps_port_now_us();
    uint64_t ms = due > now ? (due - now + 999) / 1000 : 0;
    u32_t lwip_ms = sys_timeouts_sleeptime();
    ms = lwip_ms < ms ? lwip_ms : ms;
    if (timeout_ms >= 0 && (uint64_t)timeout_ms < ms) {
        ms = (uint64_t)timeout_ms;
    }
    poll(fds, 2, ms > 1000 ? 1000 : (int)ms);
}

mps_port_state mps_port_step(struct mps_port *p, mps_server *server, int timeout_ms) {
    p->server = server;
    if (!tap.port.server &&
        !mps_lwip_attach(&tap.port, server, tap.memory, tap.bytes, tap.connections)) {
        failed(p, tap.port.error);
        return p->state = MPS_PORT_FAILED;
    }
    wait_for_work(p, timeout_ms);
    for (int i = 0; i < FRAMES_A_ROUND && tap_read(); i++) {
    }
    signals_read(p);
    sys_check_timeouts();
    if (p->reload_soon) {
        p->reload_soon = false;
        if (p->options.on_reload) {
            p->options.on_reload(p->options.user);
        }
    }
    p->wall_due = mps_lwip_step(&tap.port);
    if (p->state == MPS_PORT_RUNNING && mps_drained(server)) {
        p->state = MPS_PORT_DRAINED;
    }
    return p->state;
}

mps_port_state mps_port_run(struct mps_port *p, mps_server *server) {
    return rounds_run(p, server);
}

/* The TAP, its routes and neighbours go with the descriptor; the rules with the namespace. */
void mps_port_close(struct mps_port *p) {
    (void)p;
    mps_lwip_close(&tap.port);
    close(tap.tap);
    close(tap.signals);
}

void mps_port_address_text(const mps_address *address, char *text) {
    char ip[INET_ADDRSTRLEN] = "?";
    inet_ntop(AF_INET, address->ip + 12, ip, sizeof ip);
    snprintf(text, MPS_PORT_ADDRESS_BYTES, "%s:%u", ip, address->port);
}

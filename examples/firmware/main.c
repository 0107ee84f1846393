/* main.c: mpserver as the only program of a board: core, lwIP, driver.  SPDX: MIT-0

   Set up once, then one loop; all memory is there from the start (sizes.h). The UART gets the ready
   line that the dedicated server prints, and the log. Once a minute, and for any byte that somebody
   sends to the UART, it tells how much of lwIP's memory is in use. */
#include "../../platform/lwip.h"
#include "board.h"
#include "lan9118.h"
#include "sizes.h"

#include "lwip/init.h"
#include "lwip/priv/memp_priv.h"
#include "lwip/stats.h"
#include "lwip/sys.h"
#include "lwip/tcp.h"
#include "lwip/timeouts.h"
#include "netif/ethernet.h"

#include <string.h>

/* As in the user network of QEMU. */
#define IP "10.0.2.15"
#define MASK "255.255.255.0"
#define GATEWAY "10.0.2.2"
#define NETWORK "10.0.2.0/24" /* may read /metrics */
#define HTTP_PORT 8080
#define UDP_PORT 8081

#define LINE_BYTES 512
#define TELL_EVERY_US 60000000
#define PORT_BYTES ((CONNECTIONS + REFUSALS) * 32 + 3072) /* mps_lwip_attach says when it is less */

static struct {
    struct netif netif;
    struct mps_lwip port;
    mps_server *server;
    uint32_t log_lost;
    uint64_t tell_due;
} app;

static _Alignas(16) unsigned char port_block[PORT_BYTES];
__attribute__((section(BLOCK_SECTION))) static _Alignas(16) unsigned char core_block[CORE_BYTES];

/* == text ====================================================================================== */

struct text {
    char at[128];
    size_t bytes;
};

static void put(struct text *t, const char *more) {
    for (; *more && t->bytes < sizeof t->at; more++) {
        t->at[t->bytes++] = *more;
    }
}

static void put_number(struct text *t, uint32_t number) {
    char digits[11], *at = digits + sizeof digits - 1;
    *at = 0;
    do {
        *--at = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    put(t, at);
}

static void put_address(struct text *t, const mps_address *address) {
    for (int i = 12; i < 16; i++) {
        put_number(t, address->ip[i]);
        put(t, i < 15 ? "." : ":");
    }
    put_number(t, address->port);
}

/* == log ==========================================================================================
   The UART is slow and the queue in front of it is short: what does not fit is counted and told
   of later, as the dedicated server does it. */

static bool log_write(const mps_log_record *record) {
    char line[LINE_BYTES];
    size_t bytes = mps_log_text(record, line, sizeof line - 1);
    line[bytes++] = '\n';
    return board_say(line, bytes);
}

static mps_log_record record_of(mps_level level, const char *item, const char *text) {
    return (mps_log_record){
        .level = level, .item = item, .text = text, .uptime_us = board_now_us()};
}

static void log_hook(void *user, const mps_log_record *record) {
    (void)user;
    if (app.log_lost) {
        mps_log_record lost =
            record_of(MPS_LOG_WARN, "log_lost", "the UART was too slow; log lines are lost");
        lost.fields_count = 1;
        lost.fields[0] = (mps_log_field){.name = "lines", .number = (int64_t)app.log_lost};
        if (!log_write(&lost)) {
            app.log_lost++;
            return;
        }
        app.log_lost = 0;
    }
    if (!log_write(record)) {
        app.log_lost++;
    }
}

static void add_number(mps_log_record *record, const char *name, size_t number) {
    record->fields[record->fields_count++] =
        (mps_log_field){.name = name, .number = (int64_t)number};
}

/* == lwIP's memory ================================================================================
   One number each for what is in use now, was at most, there is, how often there was too little.
   At rest nothing is in use: who watches the first number sees a leak. */

static void add_usage(mps_log_record *record, struct text *t, const char *name,
                      const struct stats_mem *usage) {
    size_t start = t->bytes;
    put_number(t, usage->used);
    put(t, "/");
    put_number(t, usage->max);
    put(t, "/");
    put_number(t, usage->avail);
    put(t, "/");
    put_number(t, usage->err);
    record->fields[record->fields_count++] =
        (mps_log_field){.name = name, .text = t->at + start, .text_bytes = t->bytes - start};
}

static void usage_tell(void) {
    struct text t = {.bytes = 0};
    mps_log_record record = record_of(MPS_LOG_INFO, "lwip", "lwip");
    add_usage(&record, &t, "pbufs", lwip_stats.memp[MEMP_PBUF_POOL]);
    add_usage(&record, &t, "spans", lwip_stats.memp[MEMP_PBUF]);
    add_usage(&record, &t, "segments", lwip_stats.memp[MEMP_TCP_SEG]);
    add_usage(&record, &t, "pcbs", lwip_stats.memp[MEMP_TCP_PCB]);
    add_usage(&record, &t, "heap", &lwip_stats.mem);
    add_number(&record, "received", lwip_stats.link.recv);
    add_number(&record, "sent", lwip_stats.link.xmit);
    add_number(&record, "dropped",
               lwip_stats.link.drop + lwip_stats.link.memerr + lwip_stats.link.err);
    add_number(&record, "stack", board_stack_used());
    log_hook(NULL, &record);
}

static size_t lwip_bytes(void) {
    size_t bytes = MEM_SIZE;
    for (int i = 0; i < MEMP_MAX; i++) {
        bytes += (size_t)memp_pools[i]->num * memp_pools[i]->size;
    }
    return bytes;
}

static void memory_tell(const mps_config *config) {
    mps_log_record record = record_of(MPS_LOG_INFO, "memory", "memory of preset " PRESET_NAME);
    add_number(&record, "core", mps_memory_needed(config));
    add_number(&record, "port", mps_lwip_memory_needed(mps_connections_max(config)));
    add_number(&record, "lwip", lwip_bytes());
    log_hook(NULL, &record);
}

/* == life ====================================================================================== */

u32_t sys_now(void) {
    return (u32_t)(board_now_us() / 1000);
}

static uint64_t now_us(void *user) {
    (void)user;
    return board_now_us();
}

static void network_start(void) {
    struct mps_lwip_board board = {.entropy = board_entropy, .now_us = now_us};
    ip4_addr_t address, mask, gateway;
    if (!mps_lwip_start(&app.port, &board)) {
        board_stop(app.port.error);
    }
    lwip_init();
    if (!ip4addr_aton(IP, &address) || !ip4addr_aton(MASK, &mask) ||
        !ip4addr_aton(GATEWAY, &gateway)) {
        board_stop("IP, MASK and GATEWAY are to be numeric addresses");
    }
    if (!netif_add(&app.netif, &address, &mask, &gateway, NULL, lan9118_init, ethernet_input)) {
        board_stop("no LAN9118 answers at 0x40200000; this image is for an MPS2 with AN385");
    }
    netif_set_default(&app.netif);
    netif_set_up(&app.netif);
}

/* The entropy makes the key of all tokens too, so every start has its own. */
static mps_config config_of(const struct mps_lwip *port) {
    return (mps_config){.preset = PRESET,
                        .connections = CONNECTIONS,
                        .refusals = REFUSALS,
                        .guest_login = MPS_ON,
                        .metrics_allow = {NETWORK},
                        .http_port = port->http.port,
                        .udp_port = port->udp.port,
                        .hooks = {.log = log_hook}};
}

static void server_start(void) {
    uint8_t entropy[32];
    if (!mps_lwip_open(&app.port, HTTP_PORT, UDP_PORT)) {
        board_stop(app.port.error);
    }
    mps_config config = config_of(&app.port);
    mps_lwip_entropy(&app.port, entropy);
    mps_error error = mps_create(&app.server, &config, core_block, sizeof core_block, entropy);
    memset(entropy, 0, sizeof entropy);
    if (error != MPS_OK) {
        board_stop(error == MPS_E_MEMORY_SIZE ? "the core needs more memory; raise CORE_BYTES"
                                              : mps_error_text(error));
    }
    if (!mps_lwip_attach(&app.port, app.server, port_block, sizeof port_block,
                         mps_connections_max(&config))) {
        board_stop(app.port.error);
    }
    memory_tell(&config);
}

static void ready_tell(void) {
    struct text t = {.bytes = 0};
    put(&t, "mpserver " MPS_VERSION " ready http=");
    put_address(&t, &app.port.http);
    put(&t, " udp=");
    put_address(&t, &app.port.udp);
    put(&t, "\n");
    board_say(t.at, t.bytes);
}

static uint64_t earlier(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* When lwIP's own timers want to run. */
static uint64_t timers_due(void) {
    u32_t ms = sys_timeouts_sleeptime();
    return ms == SYS_TIMEOUTS_SLEEPTIME_INFINITE ? UINT64_MAX
                                                 : board_now_us() + (uint64_t)ms * 1000;
}

int main(void) {
    board_init();
    network_start();
    server_start();
    ready_tell();
    app.tell_due = TELL_EVERY_US;
    for (;;) {
        lan9118_receive(&app.netif);
        sys_check_timeouts();
        uint64_t due = mps_lwip_step(&app.port);
        if (board_asked() || board_now_us() >= app.tell_due) {
            app.tell_due = board_now_us() + TELL_EVERY_US;
            usage_tell();
        }
        due = earlier(due, earlier(timers_due(), app.tell_due));
        board_sleep(due, lan9118_watch);
    }
}

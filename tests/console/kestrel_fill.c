/* kestrel_fill.c: what template.h asks for, over Kestrel.  SPDX: MIT-0

   Written by the chapter of README.md alone. `user` is the numeric IPv4 address to bind to, or NULL
   for all. */
#include "../../platform/template.h"
#include "kestrel.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define WAITING_MAX 64

static KsStatus last;
static console_socket listening = CONSOLE_NONE;

/* From Kestrel's thread, which alone writes `written`, to the server's, which alone writes `read`.
   What does not fit is turned away. */
static struct waiting {
    KsHandle handle;
    uint32_t ip;
    uint16_t port;
} waiting[WAITING_MAX];
static atomic_uint waiting_written, waiting_read;

static void on_connection(void *context, KsHandle handle, uint32_t ip, uint16_t port) {
    unsigned at = atomic_load(&waiting_written);
    (void)context;
    if (at - atomic_load(&waiting_read) == WAITING_MAX) {
        ksDispose(handle);
        return;
    }
    waiting[at % WAITING_MAX] = (struct waiting){handle, ip, port};
    atomic_store(&waiting_written, at + 1);
}

/* What a call says, given what KS_TIMEOUT and KS_CLOSED mean to it. */
static console_result result_of(KsStatus status) {
    last = status == KS_OK || status == KS_TIMEOUT ? last : status;
    switch (status) {
    case KS_OK:
        return CONSOLE_DONE;
    case KS_TIMEOUT:
        return CONSOLE_AGAIN;
    case KS_CLOSED:
        return CONSOLE_ENDED;
    default:
        return CONSOLE_FAILED;
    }
}

/* Host order: the highest byte is the first. */
static mps_address address_in(uint32_t ip, uint16_t port) {
    uint8_t bytes[4] = {(uint8_t)(ip >> 24), (uint8_t)(ip >> 16), (uint8_t)(ip >> 8), (uint8_t)ip};
    return mps_console_in4(bytes, port);
}

static uint32_t ip_of(const char *text) {
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (text) {
        sscanf(text, "%u.%u.%u.%u", &a, &b, &c, &d);
    }
    return a << 24 | b << 16 | c << 8 | d;
}

/* 32 bits of milliseconds wrap; whole ones are counted as they come along. */
uint64_t console_now_us(void *user) {
    static uint32_t before;
    static uint64_t total_ms;
    uint32_t now = ksMilliseconds();
    (void)user;
    total_ms += total_ms ? now - before : 1;
    before = now;
    return total_ms * 1000;
}

bool console_unix_ms(void *user, int64_t *unix_ms) {
    (void)user;
    *unix_ms = (int64_t)time(NULL) * 1000;
    return true;
}

bool console_entropy(void *user, uint8_t out[32]) {
    (void)user;
    return ksRandom16(out) == KS_OK && ksRandom16(out + 16) == KS_OK;
}

int32_t console_error(void *user) {
    (void)user;
    return (int32_t)last;
}

console_result console_listen(void *user, uint16_t port, console_socket *out, mps_address *bound) {
    KsHandle handle;
    KsStatus status = ksServe(ip_of(user), port, on_connection, NULL, &handle);
    if (status == KS_OK) {
        *out = listening = (console_socket)handle;
        *bound = address_in(ip_of(user), ksPort(handle));
    }
    return result_of(status);
}

console_result console_udp_open(void *user, uint16_t port, console_socket *out,
                                mps_address *bound) {
    KsHandle handle;
    KsStatus status = ksDatagrams(ip_of(user), port, &handle);
    if (status == KS_OK) {
        *out = (console_socket)handle;
        *bound = address_in(ip_of(user), ksPort(handle));
    }
    return result_of(status);
}

console_result console_accept(void *user, console_socket listener, console_socket *out,
                              mps_address *peer, mps_address *local) {
    unsigned at = atomic_load(&waiting_read);
    (void)user, (void)listener, (void)local;
    if (at == atomic_load(&waiting_written)) {
        return CONSOLE_AGAIN;
    }
    struct waiting next = waiting[at % WAITING_MAX];
    atomic_store(&waiting_read, at + 1);
    *out = (console_socket)next.handle;
    *peer = address_in(next.ip, next.port);
    return CONSOLE_DONE;
}

console_result console_read(void *user, console_socket socket, void *bytes, size_t capacity,
                            size_t *count) {
    uint32_t received = 0;
    (void)user;
    KsStatus status = ksReceive((KsHandle)socket, bytes, (uint32_t)capacity, 0, &received);
    *count = received;
    return result_of(status);
}

/* All or nothing, so never more than Kestrel can take. */
console_result console_write(void *user, console_socket socket, const void *bytes,
                             size_t bytes_count, size_t *count) {
    (void)user;
    *count = bytes_count < KS_SEND_MAX ? bytes_count : KS_SEND_MAX;
    return result_of(ksSendAll((KsHandle)socket, bytes, (uint32_t)*count, 0));
}

void console_shutdown(void *user, console_socket socket) {
    (void)user, (void)socket; /* Kestrel has no such call */
}

/* Kestrel cannot reset. Connections that nobody has accepted go with their listener. */
void console_close(void *user, console_socket socket, bool reset) {
    (void)user, (void)reset;
    ksDispose((KsHandle)socket);
    unsigned at = atomic_load(&waiting_read);
    for (; socket == listening && at != atomic_load(&waiting_written); at++) {
        ksDispose(waiting[at % WAITING_MAX].handle);
        atomic_store(&waiting_read, at + 1);
    }
}

console_result console_udp_read(void *user, console_socket socket, void *bytes, size_t capacity,
                                size_t *count, mps_address *from, mps_address *to) {
    uint32_t received, ip;
    uint16_t port;
    (void)user, (void)to; /* Kestrel does not tell */
    KsStatus status =
        ksReceiveFrom((KsHandle)socket, bytes, (uint32_t)capacity, 0, &received, &ip, &port);
    if (status == KS_OK) {
        *count = received;
        *from = address_in(ip, port);
    }
    return result_of(status);
}

console_result console_udp_write(void *user, console_socket socket, const void *bytes,
                                 size_t bytes_count, const mps_address *to,
                                 const mps_address *from) {
    uint8_t ip[4];
    (void)user, (void)from;
    if (!mps_console_get_in4(to, ip)) {
        return CONSOLE_FAILED;
    }
    uint32_t number =
        (uint32_t)ip[0] << 24 | (uint32_t)ip[1] << 16 | (uint32_t)ip[2] << 8 | (uint32_t)ip[3];
    return result_of(ksSendTo((KsHandle)socket, bytes, (uint32_t)bytes_count, number, to->port));
}

/* nova_fill.c: what template.h asks for, over the sockets of Nova.  SPDX: MIT-0

   What a port of one's own looks like. `user` is the numeric address to bind to, or NULL for all;
   a game would have no use for that and ask for all. */
#include "../../platform/template.h"
#include "nova.h"

#include <string.h>

static NovaResult last; /* the last failure */

/* The results that every call knows. */
static console_result result_of(NovaResult code) {
    if (code >= NOVA_OK) {
        return CONSOLE_DONE;
    }
    if (code == NOVA_ERROR_WOULD_BLOCK) {
        return CONSOLE_AGAIN;
    }
    last = code;
    switch (code) {
    case NOVA_ERROR_NO_MORE_SOCKETS:
        return CONSOLE_FULL;
    case NOVA_ERROR_NETWORK_DOWN:
        return CONSOLE_LOST;
    default:
        return CONSOLE_FAILED;
    }
}

static mps_address address_in(const NovaAddress *from) {
    mps_address out = {.scope = from->zone};
    uint16_t port = (uint16_t)(from->port[0] << 8 | from->port[1]);
    if (from->family == 4) {
        return mps_console_in4(from->ip, port);
    }
    memcpy(out.ip, from->ip, 16);
    out.port = port;
    return out;
}

/* A socket of Nova that is bound to all addresses speaks IPv6; its IPv4 peers come mapped. */
static NovaAddress address_out(const mps_address *from) {
    NovaAddress out = {.family = 6, .zone = from->scope};
    out.port[0] = (uint8_t)(from->port >> 8);
    out.port[1] = (uint8_t)from->port;
    if (mps_console_get_in4(from, out.ip)) {
        out.family = 4;
    } else {
        memcpy(out.ip, from->ip, 16);
    }
    return out;
}

uint64_t console_now_us(void *user) {
    (void)user;
    return novaTicks() / 10;
}

bool console_unix_ms(void *user, int64_t *unix_ms) {
    uint64_t seconds;
    uint32_t nanoseconds;
    (void)user;
    if (!novaDate(&seconds, &nanoseconds)) {
        return false;
    }
    *unix_ms = (int64_t)(seconds * 1000 + nanoseconds / 1000000);
    return true;
}

bool console_entropy(void *user, uint8_t out[32]) {
    (void)user;
    return novaRandom(out, 32) == NOVA_OK;
}

int32_t console_error(void *user) {
    (void)user;
    return last;
}

/* novaTcpListen and novaUdpOpen. */
typedef NovaResult opener(const NovaAddress *where, NovaId *out);

static console_result opened(opener *open, const char *bind, uint16_t port, console_socket *out,
                             mps_address *bound) {
    NovaAddress where, local = {0};
    NovaId id;
    if (!novaAddressRead(bind, &where)) {
        return CONSOLE_FAILED;
    }
    where.port[0] = (uint8_t)(port >> 8);
    where.port[1] = (uint8_t)port;
    NovaResult code = open(&where, &id);
    if (code == NOVA_OK) {
        code = novaSocketAddress(id, &local);
        *out = id;
        *bound = address_in(&local);
    }
    return result_of(code);
}

console_result console_listen(void *user, uint16_t port, console_socket *out, mps_address *bound) {
    return opened(novaTcpListen, user, port, out, bound);
}

console_result console_udp_open(void *user, uint16_t port, console_socket *out,
                                mps_address *bound) {
    return opened(novaUdpOpen, user, port, out, bound);
}

console_result console_accept(void *user, console_socket listener, console_socket *out,
                              mps_address *peer, mps_address *local) {
    NovaAddress from, here;
    NovaId id;
    (void)user;
    NovaResult code = novaTcpAccept((NovaId)listener, &id, &from);
    if (code < NOVA_OK) {
        return result_of(code);
    }
    novaTcpSetNoDelay(id);
    *out = id;
    *peer = address_in(&from);
    if (novaSocketAddress(id, &here) == NOVA_OK) {
        *local = address_in(&here);
    }
    return CONSOLE_DONE;
}

console_result console_read(void *user, console_socket socket, void *bytes, size_t capacity,
                            size_t *count) {
    (void)user;
    NovaResult code = novaTcpReceive((NovaId)socket, bytes, (uint32_t)capacity);
    if (code == 0) {
        return CONSOLE_ENDED;
    }
    *count = code > 0 ? (size_t)code : 0;
    return result_of(code);
}

console_result console_write(void *user, console_socket socket, const void *bytes,
                             size_t bytes_count, size_t *count) {
    (void)user;
    NovaResult code = novaTcpSend((NovaId)socket, bytes, (uint32_t)bytes_count);
    *count = code > 0 ? (size_t)code : 0;
    return result_of(code);
}

void console_shutdown(void *user, console_socket socket) {
    (void)user;
    novaTcpEndSending((NovaId)socket);
}

void console_close(void *user, console_socket socket, bool reset) {
    (void)user;
    (reset ? novaSocketAbort : novaSocketClose)((NovaId)socket);
}

console_result console_udp_read(void *user, console_socket socket, void *bytes, size_t capacity,
                                size_t *count, mps_address *from, mps_address *to) {
    NovaAddress sender, here;
    (void)user;
    NovaResult code = novaUdpReceive((NovaId)socket, bytes, (uint32_t)capacity, &sender, &here);
    if (code >= NOVA_OK) {
        *count = (size_t)code;
        *from = address_in(&sender);
        uint16_t port = to->port;
        *to = address_in(&here); /* Nova tells the address, the port is the socket's */
        to->port = port;
    }
    return result_of(code);
}

console_result console_udp_write(void *user, console_socket socket, const void *bytes,
                                 size_t bytes_count, const mps_address *to,
                                 const mps_address *from) {
    NovaAddress there = address_out(to), here = address_out(from);
    (void)user;
    return result_of(novaUdpSend((NovaId)socket, bytes, (uint32_t)bytes_count, &there, &here));
}

/* sockets.h: bound sockets, their names, the core's addresses; part of posix.c and win32.c.
   SPDX: MIT-0

   The core knows one kind of address: IPv6, with IPv4 mapped into it (RFC 4291, 2.5.5.2). Plain
   BSD sockets; what differs between the systems is in posix_system.h and win32_system.h, one of
   which is included first. */
#ifndef MPSERVER_SOCKETS_H
#define MPSERVER_SOCKETS_H

#include "port.h"

#include <stdio.h>
#include <string.h>

union name {
    struct sockaddr any;
    struct sockaddr_in in4;
    struct sockaddr_in6 in6;
};

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static void address_from_in4(mps_address *out, const struct in_addr *ip) {
    memcpy(out->ip, mapped_prefix, sizeof mapped_prefix);
    memcpy(out->ip + 12, ip, 4);
}

static mps_address address_from(const union name *name) {
    mps_address out = {.port = 0};
    if (name->any.sa_family == AF_INET) {
        address_from_in4(&out, &name->in4.sin_addr);
        out.port = ntohs(name->in4.sin_port);
    } else {
        memcpy(out.ip, &name->in6.sin6_addr, 16);
        out.port = ntohs(name->in6.sin6_port);
        out.scope = name->in6.sin6_scope_id;
    }
    return out;
}

/* The other way, for a socket of IPv4 alone or of both; gives the bytes of the name. */
static socklen_t address_to(const mps_address *address, bool in4, union name *name) {
    memset(name, 0, sizeof *name);
    if (in4) {
        name->in4.sin_family = AF_INET;
        name->in4.sin_port = htons(address->port);
        memcpy(&name->in4.sin_addr, address->ip + sizeof mapped_prefix, 4);
        return sizeof name->in4;
    }
    name->in6.sin6_family = AF_INET6;
    name->in6.sin6_port = htons(address->port);
    name->in6.sin6_scope_id = address->scope;
    memcpy(&name->in6.sin6_addr, address->ip, 16);
    return sizeof name->in6;
}

static mps_address address_local(mps_port_socket fd) {
    union name name = {.in6 = {.sin6_family = AF_INET6}};
    socklen_t bytes = sizeof name;
    getsockname(fd, &name.any, &bytes);
    return address_from(&name);
}

static bool address_is_in4(const mps_address *address) {
    return memcmp(address->ip, mapped_prefix, sizeof mapped_prefix) == 0;
}

static bool address_is_any(const mps_address *address) {
    static const uint8_t zeros[16];
    size_t skip = address_is_in4(address) ? sizeof mapped_prefix : 0;
    return memcmp(address->ip + skip, zeros, sizeof zeros - skip) == 0;
}

static void address_text(const mps_address *address, char *text, size_t capacity) {
    bool in4 = address_is_in4(address);
    char ip[INET6_ADDRSTRLEN] = "?";
    inet_ntop(in4 ? AF_INET : AF_INET6, address->ip + (in4 ? 12 : 0), ip, sizeof ip);
    snprintf(text, capacity, in4 ? "%s:%u" : "[%s]:%u", ip, address->port);
}

/* Numeric text, or NULL for any address, into a socket name without port. `fe80::1%eth0` has its
   interface; names are not looked up, because that could take seconds. */
static bool address_parse(const char *text, union name *name) {
    char ip[INET6_ADDRSTRLEN];
    const char *percent = text ? strchr(text, '%') : NULL;
    size_t bytes = percent ? (size_t)(percent - text) : text ? strlen(text) : 0;
    memset(name, 0, sizeof *name);
    if (!text) {
        name->in6.sin6_family = AF_INET6;
        return true;
    }
    if (bytes >= sizeof ip) {
        return false;
    }
    memcpy(ip, text, bytes);
    ip[bytes] = 0;
    if (!percent && inet_pton(AF_INET, ip, &name->in4.sin_addr) == 1) {
        name->in4.sin_family = AF_INET;
        return true;
    }
    name->in6.sin6_family = AF_INET6;
    name->in6.sin6_scope_id = percent ? interface_index(percent + 1) : 0;
    return inet_pton(AF_INET6, ip, &name->in6.sin6_addr) == 1 &&
           (!percent || name->in6.sin6_scope_id);
}

#define SOCKET_BUFFER_BYTES (4 << 20) /* asked for; the system may give less */

/* Bound to one address there is no question which one was asked. Otherwise both packet infos: a
   dual-stack socket tells the address to answer IPv4 broadcasts from only by that of IPv4. Bursts
   of ticks and of a thousand players want a larger buffer than the usual. */
static void datagram_socket_prepare(mps_port_socket fd, bool in4, bool any) {
    if (any && !in4) {
        option_set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    }
#ifdef IP_PKTINFO
    if (any) {
        option_set(fd, IPPROTO_IP, IP_PKTINFO, 1);
    }
#endif
    option_set(fd, SOL_SOCKET, SO_RCVBUF, SOCKET_BUFFER_BYTES);
    option_set(fd, SOL_SOCKET, SO_SNDBUF, SOCKET_BUFFER_BYTES);
    datagram_options_set(fd, SOCKET_BUFFER_BYTES);
}

/* A bound socket, or SOCKET_NONE with system_error. */
static mps_port_socket socket_bound(int type, union name *name, uint16_t port) {
    bool in4 = name->any.sa_family == AF_INET;
    mps_port_socket fd = socket_make(name->any.sa_family, type);
    if (fd == SOCKET_NONE) {
        return SOCKET_NONE;
    }
    if (in4) {
        name->in4.sin_port = htons(port);
    } else {
        name->in6.sin6_port = htons(port);
        option_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    }
    if (type == SOCK_STREAM) {
        listener_options_set(fd);
    } else {
        mps_address bound = address_from(name);
        datagram_socket_prepare(fd, in4, address_is_any(&bound));
    }
    if (bind(fd, &name->any, in4 ? sizeof name->in4 : sizeof name->in6) != 0 ||
        (type == SOCK_STREAM && listen(fd, SOMAXCONN) != 0)) {
        int code = system_error();
        socket_close(fd);
        system_error_set(code);
        return SOCKET_NONE;
    }
    return fd;
}

#endif

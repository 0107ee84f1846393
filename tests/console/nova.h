/* nova.h: the network library of a console that does not exist, "Nova".  SPDX: MIT-0

   Shaped like those that do: sockets are small numbers from 0 on, results are one signed number,
   below 0 an error code of Nova's own, addresses and ports stand in network order, time is in
   ticks, and nothing is called as in BSD. Never waits. */
#ifndef NOVA_H
#define NOVA_H

#include <stdbool.h>
#include <stdint.h>

typedef int32_t NovaId;     /* a socket: 0 and up */
typedef int32_t NovaResult; /* 0 and up: done, or how many bytes; below: one of these */

#define NOVA_OK 0
#define NOVA_ERROR_WOULD_BLOCK ((NovaResult)-0x7f4e0023)
#define NOVA_ERROR_NO_MORE_SOCKETS ((NovaResult)-0x7f4e0018)
#define NOVA_ERROR_ADDRESS_IN_USE ((NovaResult)-0x7f4e0030)
#define NOVA_ERROR_CONNECTION_RESET ((NovaResult)-0x7f4e0036)
#define NOVA_ERROR_CONNECTION_ABORTED ((NovaResult)-0x7f4e0035)
#define NOVA_ERROR_NETWORK_DOWN ((NovaResult)-0x7f4e0032)
#define NOVA_ERROR_OTHER ((NovaResult)-0x7f4e00ff)

/* Everything in network order. */
typedef struct NovaAddress {
    uint8_t family; /* 4 or 6 */
    uint8_t ip[16]; /* of which IPv4 takes the first four */
    uint8_t port[2];
    uint32_t zone; /* of a link-local address */
} NovaAddress;

NovaResult novaTcpListen(const NovaAddress *where, NovaId *out);
NovaResult novaTcpAccept(NovaId listener, NovaId *out, NovaAddress *peer);
NovaResult novaTcpSetNoDelay(NovaId id);
NovaResult novaTcpReceive(NovaId id, void *bytes, uint32_t capacity); /* 0: the peer has closed */
NovaResult novaTcpSend(NovaId id, const void *bytes, uint32_t count);
NovaResult novaTcpEndSending(NovaId id);
NovaResult novaUdpOpen(const NovaAddress *where, NovaId *out);
NovaResult novaUdpReceive(NovaId id, void *bytes, uint32_t capacity, NovaAddress *from,
                          NovaAddress *to);
NovaResult novaUdpSend(NovaId id, const void *bytes, uint32_t count, const NovaAddress *to,
                       const NovaAddress *from);
NovaResult novaSocketAddress(NovaId id, NovaAddress *local);
NovaResult novaSocketClose(NovaId id);
NovaResult novaSocketAbort(NovaId id); /* closes with a reset */

/* Numeric text; false: it is not an address. NULL is any address, of both families. */
bool novaAddressRead(const char *text, NovaAddress *out);

uint64_t novaTicks(void); /* 10,000,000 a second, since power-on */
bool novaDate(uint64_t *seconds, uint32_t *nanoseconds);
NovaResult novaRandom(void *bytes, uint32_t count);

#endif

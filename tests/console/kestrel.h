/* kestrel.h: the network library of another system that does not exist, "Kestrel".  SPDX: MIT-0

   The other shape that such libraries have: handles are pointers, calls wait for up to a time-out,
   connections come by a callback on a thread of the library's own, addresses are IPv4 numbers in
   host order, a send takes all or nothing, nothing shuts down one way, and the clock is 32 bits of
   milliseconds, which wrap. */
#ifndef KESTREL_H
#define KESTREL_H

#include <stdint.h>

typedef struct KsSocket *KsHandle;
typedef enum KsStatus { KS_OK, KS_TIMEOUT, KS_CLOSED, KS_BROKEN, KS_BUSY_PORT, KS_LIMIT } KsStatus;

#define KS_SEND_MAX 4096 /* bytes that a send can take at the most */

/* On a thread of the library. The handle is the callee's from then on. */
typedef void KsOnConnection(void *context, KsHandle handle, uint32_t ip, uint16_t port);

KsStatus ksServe(uint32_t ip, uint16_t port, KsOnConnection *callback, void *context,
                 KsHandle *out);
KsStatus ksReceive(KsHandle handle, void *bytes, uint32_t capacity, uint32_t timeout_ms,
                   uint32_t *received);
KsStatus ksSendAll(KsHandle handle, const void *bytes, uint32_t count, uint32_t timeout_ms);
KsStatus ksDatagrams(uint32_t ip, uint16_t port, KsHandle *out);
KsStatus ksReceiveFrom(KsHandle handle, void *bytes, uint32_t capacity, uint32_t timeout_ms,
                       uint32_t *received, uint32_t *ip, uint16_t *port);
KsStatus ksSendTo(KsHandle handle, const void *bytes, uint32_t count, uint32_t ip, uint16_t port);
uint16_t ksPort(KsHandle handle);
void ksDispose(KsHandle handle);

uint32_t ksMilliseconds(void);
KsStatus ksRandom16(uint8_t out[16]);

#endif

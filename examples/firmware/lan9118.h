/* lan9118.h: SMSC LAN9118 Ethernet controller as a netif of lwIP.  SPDX: MIT-0

   Polled; its interrupt does nothing but end a sleep. One controller, on the MPS2's bus. Counts are
   in lwip_stats.link. */
#ifndef FIRMWARE_LAN9118_H
#define FIRMWARE_LAN9118_H

#include "lwip/netif.h"

#include <stdbool.h>

/* For netif_add. ERR_IF: no controller answers. */
err_t lan9118_init(struct netif *netif);

/* Hands received frames to the netif, a bounded number. */
void lan9118_receive(struct netif *netif);

/* True when a frame waits; otherwise its interrupt is on from here, until it has come once. */
bool lan9118_watch(void);

/* For the vector table. */
void lan9118_interrupt(void);

#endif

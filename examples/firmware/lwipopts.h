/* lwipopts.h: lwIP for this image.  SPDX: MIT-0

   A frame lies in up to three pbufs of the pool: short ones, most of them, take a third of a large
   one's memory. There are as many as all connections together can make wait, and some more. */
#ifndef FIRMWARE_LWIPOPTS_H
#define FIRMWARE_LWIPOPTS_H

#include "../../platform/lwip_opts.h"
#include "sizes.h"

#define LWIP_IPV4 1
#define LWIP_IPV6 0
#define LWIP_ARP 1
#define LWIP_ICMP 1
#define LWIP_DHCP 0
#define LWIP_DNS 0
#define IP_REASSEMBLY 0 /* the server sends nothing that would be cut, and takes nothing that was */
#define IP_FRAG 0
#define ARP_TABLE_SIZE NEIGHBOURS

#define MEM_ALIGNMENT 4
#define MEM_SIZE HEAP_BYTES
#define MEMP_NUM_TCP_PCB (CONNECTIONS + REFUSALS + CLOSING_PCBS)
#define MEMP_NUM_TCP_PCB_LISTEN 1
#define MEMP_NUM_UDP_PCB 1
#define MEMP_NUM_TCP_SEG SEGMENTS
#define MEMP_NUM_PBUF SEGMENTS /* output refers to the core's memory, one of these a span */

#define TCP_MSS 1460
#define TCP_WND (2 * TCP_MSS)
#define TCP_SND_BUF (8 * TCP_MSS)
#define TCP_SND_QUEUELEN 32
#define TCP_MSL 5000 /* ms; segments do not stray for longer in a LAN */

#define PBUF_POOL_BUFSIZE 512
#define PBUFS_OF_WINDOW 8 /* of what waits the port fills all but the first and the last */
#define PBUF_POOL_SIZE ((CONNECTIONS + REFUSALS) * PBUFS_OF_WINDOW + 32)

#define LWIP_STATS 1
#define LWIP_STATS_LARGE 1
#define MEM_STATS 1
#define MEMP_STATS 1
#define LINK_STATS 1

#endif

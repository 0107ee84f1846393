/* lwipopts.h: lwIP on a host, for the tests of platform/lwip.c.  SPDX: MIT-0

   Compiled with -DLWIP_TIGHT the pools are those of a small board, so that they run out. */
#ifndef MPSERVER_TESTS_LWIPOPTS_H
#define MPSERVER_TESTS_LWIPOPTS_H

#include "../../platform/lwip_opts.h"

#define LWIP_IPV6 0
#define LWIP_ICMP 1
#define LWIP_RAW 0
#define LWIP_DNS 0
#define MEM_ALIGNMENT 16
#define LWIP_HAVE_LOOPIF 0
#define LWIP_NETIF_LOOPBACK 0 /* what goes to the own address leaves by the netif, too */
#define LWIP_TIMERS 1

#define LWIP_STATS 1
#define MEM_STATS 1
#define MEMP_STATS 1

#define TCP_MSS 1460
#define TCP_MSL 10000 /* ms; nobody here has segments that wander for a minute */
#define TCP_LISTEN_BACKLOG 1
#define LWIP_WND_SCALE 0

#ifdef LWIP_TIGHT
#define MEM_SIZE (48 * 1024)
#define MEMP_NUM_TCP_PCB 64
#define MEMP_NUM_TCP_SEG 256
#define MEMP_NUM_PBUF 256
#define PBUF_POOL_SIZE 128
#define PBUF_POOL_BUFSIZE 512 /* so that a segment is a chain */
#define TCP_WND (4 * TCP_MSS)
#define TCP_SND_BUF (4 * TCP_MSS)
#else
#define MEM_SIZE (16 * 1024 * 1024)
#define MEMP_NUM_TCP_PCB 1400
#define MEMP_NUM_TCP_SEG 32768
#define MEMP_NUM_PBUF 32768
#define PBUF_POOL_SIZE 8192
#define TCP_WND (32 * TCP_MSS)
#define TCP_SND_BUF (32 * TCP_MSS)
#endif
#define MEMP_NUM_UDP_PCB 80
#define MEMP_NUM_SYS_TIMEOUT 8
#define TCP_SND_QUEUELEN (4 * TCP_SND_BUF / TCP_MSS)
#define TCP_DEFAULT_LISTEN_BACKLOG 255
#define LWIP_CHECKSUM_ON_COPY 0

#endif

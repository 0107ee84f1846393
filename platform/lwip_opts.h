/* lwip_opts.h: what lwip.c asks of lwIP's options; include it from your lwipopts.h.  SPDX: MIT-0

   lwIP's own sequence numbers count up from a constant, whatever LWIP_RAND says: anybody could
   guess those of another peer's connection. Here they are a keyed hash (RFC 6528).

   The core's bytes go out without being copied, and lwIP takes them for constant. They are, until
   they are acknowledged or the connection is aborted; only the queue of packets that wait for an
   address (ARP) may outlive that, so it copies. */
#ifndef MPSERVER_LWIP_OPTS_H
#define MPSERVER_LWIP_OPTS_H

#include <stdint.h>

uint32_t mps_lwip_isn(const void *local_ip, uint16_t local_port, const void *remote_ip,
                      uint16_t remote_port);
uint32_t mps_lwip_random(void);

#define LWIP_HOOK_TCP_ISN(local_ip, local_port, remote_ip, remote_port) \
    mps_lwip_isn(local_ip, local_port, remote_ip, remote_port)
#define LWIP_RAND() mps_lwip_random()
#define PBUF_NEEDS_COPY(p) ((p) != 0)

/* lwIP 2.1.3 keeps a segment that comes out of order without cutting it to the window, unless
   others stand before it (tcp_receive). A FIN just beyond a full window, or whatever a peer likes,
   then stops it by an assertion or makes the window wrap. Without that queue it is sent again. */
#define TCP_QUEUE_OOSEQ 0

#define NO_SYS 1
#define LWIP_SOCKET 0
#define LWIP_NETCONN 0
#define LWIP_RAW_API 1
#define SYS_LIGHTWEIGHT_PROT 0 /* one thread, and drivers that hand packets over in it */
#define LWIP_TCP 1
#define LWIP_UDP 1
#define LWIP_RANDOMIZE_INITIAL_LOCAL_PORTS 1

#endif

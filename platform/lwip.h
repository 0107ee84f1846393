/* lwip.h: mpserver on lwIP's raw API, for boards without an operating system.  SPDX: MIT-0

   NO_SYS 1, one thread, lwIP 2.1 or later. The board brings lwIP, a driver (struct netif), a clock
   and entropy; your lwipopts.h includes lwip_opts.h. Main loop:

       mps_lwip_start(&port, &board)                      asks the board for entropy
       lwip_init(), netif_add(...), netif_set_default(...), netif_set_up(...)
       netif_set_link_up(...), with DHCP: wait for the address
       mps_lwip_open(&port, http_port, udp_port)          binds
       config.http_port = port.http.port, config.udp_port = port.udp.port
       mps_lwip_entropy(&port, entropy)
       mps_create(&server, &config, memory, bytes, entropy)
       mps_lwip_attach(&port, server, port_memory, port_bytes, mps_connections_max(&config))
       for (;;) {
           hand received frames to netif->input
           sys_check_timeouts()
           due = mps_lwip_step(&port)                     everything to be sent goes out here
           sleep until the clock says `due`, for sys_timeouts_sleeptime() milliseconds at most, or
           until the driver's interrupt
       }

   What lwIP calls back only takes note or hands bytes to the core; sending and closing happen in
   mps_lwip_step, so no callback ever has to tell lwIP that its connection is gone.

   BACK-PRESSURE. Bytes that the core has no room for stay in lwIP's pbufs, and the window that
   the peer sees stays shut by as much, so one peer pins TCP_WND bytes at most. Output leaves
   without being copied: lwIP refers to the core's block until the peer has acknowledged it or
   the connection is aborted, and then the core writes there again. A driver that copies a frame
   in `linkoutput` need not care. One that lets a DMA read the pbufs has to be through with a
   frame before it returns to the main loop, or copy: a reference keeps the pbuf, not the core's
   bytes. The block must then be memory that the DMA can reach, with what the core wrote flushed
   from a cache.

   SIZES, in lwipopts.h. MEMP_NUM_TCP_PCB: `connections` + `refusals` of the configuration and
   some for those that are closing; when there is none left, those that are half open get a
   second, not lwIP's 20. TCP_SND_BUF, at least 2 * TCP_MSS, is how much of one connection's
   output is under way; TCP_SND_QUEUELEN, at least 8, in how many pieces; MEMP_NUM_TCP_SEG and
   MEMP_NUM_PBUF: a few of each for each connection that sends. TCP_WND and PBUF_POOL_SIZE: all
   connections may pin TCP_WND / PBUF_POOL_BUFSIZE pbufs each, and some are wanted to receive
   with. MEM_SIZE: headers, 100 bytes for each segment in flight, and datagrams. When one of
   these runs out, it costs time: that it failed is counted (mpserver_port_errors_total, once
   until something went well) and it is tried again. The board brings sys_now, in milliseconds
   of the same clock. examples/firmware/ has all of it for two sizes. */
#ifndef MPSERVER_LWIP_H
#define MPSERVER_LWIP_H

#include "../mpserver.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MPS_LWIP_ENTROPY_BYTES 64

/* What lwIP does not know of the board. `user` comes first in each call. */
struct mps_lwip_board {
    void *user;
    /* Fills `out` with `bytes` (MPS_LWIP_ENTROPY_BYTES, asked for once) of a hardware generator, or
       of a seed that was never used before. False: there is none, and mps_lwip_start refuses. */
    bool (*entropy)(void *user, uint8_t *out, size_t bytes);
    uint64_t (*now_us)(void *user); /* monotonic microseconds */
    int64_t (*unix_ms)(void *user); /* the date, 0 while it is not known; may be NULL */
};

/* To read: http, udp, error. The rest is the port's own. */
struct mps_lwip {
    mps_address http,
        udp;           /* of the default netif as it was at mps_lwip_open, with the real ports */
    const char *error; /* what failed and what to do, after a call that says so */

    struct mps_lwip_board board;
    mps_server *server;
    struct tcp_pcb *listener;
    struct udp_pcb *datagrams;
    uint8_t entropy[32]; /* until mps_lwip_entropy hands it out */
    uint64_t now, wall_due;
    uint64_t crowded_until; /* half-open connections have little time */
    uint64_t retry_due;     /* not 0: lwIP ran short, and is asked again then */
    uint32_t slots_count;
    uint32_t due_first, due_last; /* slots with something to do, index + 1; a queue */
    struct lwip_slot *slots;
    struct lwip_datagrams *messages;
    bool short_told; /* of memory, and not since it last went well */
};

/* Keys lwIP's random numbers and sequence numbers, so before lwip_init. False: see `error`. */
bool mps_lwip_start(struct mps_lwip *port, const struct mps_lwip_board *board);

/* Binds both ports (0: lwIP picks one); the netif must be up. False: see `error`; nothing is left
   open. */
bool mps_lwip_open(struct mps_lwip *port, uint16_t http_port, uint16_t udp_port);

/* 32 bytes for mps_create, once: the second call gives false. */
bool mps_lwip_entropy(struct mps_lwip *port, uint8_t out[32]);

/* The bytes that the port wants for `connections` = mps_connections_max(&config). */
size_t mps_lwip_memory_needed(uint32_t connections);

/* Takes the block (16-byte aligned, borrowed until mps_lwip_close) into use; begins to listen. */
bool mps_lwip_attach(struct mps_lwip *port, mps_server *server, void *memory, size_t bytes,
                     uint32_t connections);

/* Advances the server and sends everything that is to be sent. Gives when it wants to be called
   next at the latest, in microseconds of the board's clock: 0 at once, UINT64_MAX never. */
uint64_t mps_lwip_step(struct mps_lwip *port);

/* Aborts every connection and gives both ports back. */
void mps_lwip_close(struct mps_lwip *port);

#ifdef __cplusplus
}
#endif
#endif

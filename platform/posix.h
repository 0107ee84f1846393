/* posix.h: the port of mpserver to POSIX systems: sockets, clock, entropy, signals.  SPDX: MIT-0

   A program of its own:                          A game that steps the server once a frame:
       mps_posix_open(&posix, &options)               the same up to mps_posix_attach, then
       config.http_port = posix.http.port             mps_posix_step(&posix, server, 0)
       mps_posix_entropy(entropy)                     in every frame
       mps_create(&server, &config, ...)
       mps_posix_attach(&posix, memory, ...)
       mps_posix_signals(&posix)
       mps_posix_run(&posix, server)
       mps_posix_close(&posix)

   MEMORY. The port allocates nothing, ever: struct mps_posix is the caller's, and everything that
   grows with the number of connections lives in the block given to mps_posix_attach.

   THREADS. A struct mps_posix and its server belong to one thread at a time. Signals are the
   process's: at most one struct mps_posix may have called mps_posix_signals. */
#ifndef MPSERVER_POSIX_H
#define MPSERVER_POSIX_H

#include "../mpserver.h"

#ifdef __cplusplus
extern "C" {
#endif

struct mps_posix_options {
    const char *bind;             /* numeric address; NULL: all addresses, IPv4 and IPv6 */
    uint16_t http_port, udp_port; /* 0: the system picks one */
    void *user;
    void (*on_reload)(void *user); /* SIGHUP, or mps_posix_reload_soon; may be NULL */
};

typedef enum mps_posix_state {
    MPS_POSIX_RUNNING,
    MPS_POSIX_DRAINED, /* mps_drain has run its course */
    MPS_POSIX_STOPPED, /* a second SIGTERM or SIGINT, or mps_posix_stop_soon */
    MPS_POSIX_FAILED   /* see `error` */
} mps_posix_state;

/* To read: http, udp, error. The rest is the port's own. */
struct mps_posix {
    mps_address http, udp; /* as bound, with the real ports */
    char error[256];       /* what failed and what to do, after a call that says so */
    bool bind_invalid;     /* it was `bind` that is not an address, nothing of the system's */

    struct mps_posix_options options;
    mps_posix_state state;
    mps_server *server;  /* of the current step */
    uint64_t now;        /* of the current round */
    uint64_t wall_due;   /* when to tell the date again */
    uint64_t accept_due; /* not 0: accepting is paused until then */
    uint32_t calls;      /* of the core; one in 16 is timed */
    int listener, datagrams, backend, signal_pipe[2];
    uint64_t postponed;  /* the connection that the next round sends on first */
    uint8_t round;       /* counts, to send once on each connection */
    bool listener_any;   /* bound to no address in particular */
    bool output_left;    /* the round ended with connections still named */
    bool accept_failing; /* told already */
    bool draining;       /* by a signal: the next one stops */
    bool reload_soon, signals_set;
    bool datagrams_full, datagrams_watched; /* the socket takes no more; is watched until it does */
    bool datagrams_left;                    /* the round ended with some still to send */
    bool no_segments;                       /* the system cannot cut one send into datagrams */
    uint32_t datagrams_dropped;             /* by the kernel, as it said last */

    uint32_t slots_count;
    struct posix_slot *slots;
    struct posix_datagrams *messages;
    void *backend_memory;
    unsigned char *buffer;
};

/* Binds both sockets and listens, so that the real ports are known before mps_create. False: see
   `error`; nothing is left open. */
bool mps_posix_open(struct mps_posix *posix, const struct mps_posix_options *options);

/* The bytes that the port wants for `connections` = mps_connections_max(&config). */
size_t mps_posix_memory_needed(uint32_t connections);

/* Takes the block (16-byte aligned, borrowed until mps_posix_close) into use. */
bool mps_posix_attach(struct mps_posix *posix, void *memory, size_t bytes, uint32_t connections);

/* SIGTERM and SIGINT drain, the second one stops at once, SIGHUP reloads, SIGPIPE is ignored. Not
   for a guest in somebody else's process; mps_posix_close restores what was set before. */
bool mps_posix_signals(struct mps_posix *posix);

/* One round: waits up to `timeout_ms` (0: not at all, -1: as long as the server allows), then
   handles what is ready. */
mps_posix_state mps_posix_step(struct mps_posix *posix, mps_server *server, int timeout_ms);

/* Rounds until the server is drained or stopped, or waiting for events fails. */
mps_posix_state mps_posix_run(struct mps_posix *posix, mps_server *server);

/* For hooks: reload after the current call, as SIGHUP does / end after the current round. */
void mps_posix_reload_soon(struct mps_posix *posix);
void mps_posix_stop_soon(struct mps_posix *posix);

/* Closes every socket; after mps_posix_open, whatever it said. The server is not told: it is of no
   further use but to be inspected. */
void mps_posix_close(struct mps_posix *posix);

/* Monotonic microseconds / the date in Unix milliseconds / 32 bytes of the system's generator. */
uint64_t mps_posix_now_us(void);
int64_t mps_posix_unix_ms(void);
bool mps_posix_entropy(uint8_t out[32]);

/* `1.2.3.4:80` or `[::1]:80`, zero-terminated, into at least MPS_POSIX_ADDRESS_BYTES. */
#define MPS_POSIX_ADDRESS_BYTES 64
void mps_posix_address_text(const mps_address *address, char *text);

#ifdef __cplusplus
}
#endif
#endif

/* port.h: the ports of mpserver that have sockets: posix.c, win32.c.                  SPDX: MIT-0

   A program of its own:                          A game that steps the server once a frame:
       mps_port_open(&port, &options)               the same up to mps_port_attach, then
       config.http_port = port.http.port             mps_port_step(&port, server, 0)
       mps_port_entropy(entropy)                     in every frame
       mps_create(&server, &config, ...)
       mps_port_attach(&port, memory, ...)
       mps_port_signals(&port)
       mps_port_run(&port, server)
       mps_port_close(&port)

   One of the two files is built, whichever the system is; everything declared here is the same.

   MEMORY. The port allocates nothing, ever: struct mps_port is the caller's, and everything that
   grows with the number of connections lives in the block given to mps_port_attach.

   THREADS. A struct mps_port and its server belong to one thread at a time. Signals are the
   process's: at most one struct mps_port may have called mps_port_signals. */
#ifndef MPSERVER_PORT_H
#define MPSERVER_PORT_H

#include "../mpserver.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifdef _WIN32
typedef uintptr_t mps_port_socket; /* a SOCKET, without windows.h */
#else
typedef int mps_port_socket;
#endif

struct mps_port_options {
    const char *bind;             /* numeric address; NULL: all addresses, IPv4 and IPv6 */
    uint16_t http_port, udp_port; /* 0: the system picks one */
    void *user;
    void (*on_reload)(void *user); /* SIGHUP, or mps_port_reload_soon; may be NULL */
};

typedef enum mps_port_state {
    MPS_PORT_RUNNING,
    MPS_PORT_DRAINED, /* mps_drain has run its course */
    MPS_PORT_STOPPED, /* a second signal to end, or mps_port_stop_soon */
    MPS_PORT_FAILED   /* see `error` */
} mps_port_state;

/* To read: http, udp, error. The rest is the port's own. */
struct mps_port {
    mps_address http, udp; /* as bound, with the real ports */
    char error[320];       /* what failed and what to do, after a call that says so */
    bool bind_invalid;     /* it was `bind` that is not an address, nothing of the system's */

    struct mps_port_options options;
    mps_port_state state;
    mps_server *server;  /* of the current step */
    uint64_t now;        /* of the current round */
    uint64_t wall_due;   /* when to tell the date again */
    uint64_t accept_due; /* not 0: accepting is paused until then */
    uint32_t calls;      /* of the core; one in 16 is timed */
    mps_port_socket listener, datagrams;
    mps_port_socket signals[2]; /* what they ask for is read from the first */
    int backend;
    void (*receive)(void); /* a function of the system's that has to be asked for */
    uint64_t postponed;    /* the connection that the next round sends on first */
    uint8_t round;         /* counts, to send once on each connection */
    bool listener_any;     /* bound to no address in particular */
    bool output_left;      /* the round ended with connections still named */
    bool accept_failing;   /* told already */
    bool draining;         /* by a signal: the next one stops */
    bool reload_soon, signals_set;
    bool datagrams_full, datagrams_watched; /* the socket takes no more; is watched until it does */
    bool datagrams_left;                    /* the round ended with some still to send */
    bool no_segments;                       /* the system cannot cut one send into datagrams */
    uint32_t datagrams_dropped;             /* by the kernel, as it said last */

    uint32_t slots_count;
    struct port_slot *slots;
    struct port_datagrams *messages;
    void *backend_memory;
    unsigned char *buffer;
};

/* Binds both sockets and listens, so that the real ports are known before mps_create. False: see
   `error`; nothing is left open. */
bool mps_port_open(struct mps_port *port, const struct mps_port_options *options);

/* The bytes that the port wants for `connections` = mps_connections_max(&config). */
size_t mps_port_memory_needed(uint32_t connections);

/* Takes the block (16-byte aligned, borrowed until mps_port_close) into use. */
bool mps_port_attach(struct mps_port *port, void *memory, size_t bytes, uint32_t connections);

/* SIGTERM and SIGINT drain, the second one stops at once, SIGHUP reloads, SIGPIPE is ignored. On
   Windows Ctrl-C and Ctrl-Break drain, the second one stops; so do closing the console and shutting
   down the system, within the seconds that those give. Not for a guest in somebody else's process;
   mps_port_close restores what was set before. */
bool mps_port_signals(struct mps_port *port);

/* One round: waits up to `timeout_ms` (0: not at all, -1: as long as the server allows), then
   handles what is ready. */
mps_port_state mps_port_step(struct mps_port *port, mps_server *server, int timeout_ms);

/* Rounds until the server is drained or stopped, or waiting for events fails. */
mps_port_state mps_port_run(struct mps_port *port, mps_server *server);

/* For hooks: reload after the current call, as SIGHUP does / end after the current round. */
void mps_port_reload_soon(struct mps_port *port);
void mps_port_stop_soon(struct mps_port *port);

/* Closes every socket; after mps_port_open, whatever it said. The server is not told: it is of no
   further use but to be inspected. */
void mps_port_close(struct mps_port *port);

/* Monotonic microseconds / the date in Unix milliseconds / 32 bytes of the system's generator. */
uint64_t mps_port_now_us(void);
int64_t mps_port_unix_ms(void);
bool mps_port_entropy(uint8_t out[32]);

/* `1.2.3.4:80` or `[::1]:80`, zero-terminated, into at least MPS_PORT_ADDRESS_BYTES. */
#define MPS_PORT_ADDRESS_BYTES 64
void mps_port_address_text(const mps_address *address, char *text);

#ifdef __cplusplus
}
#endif
#endif

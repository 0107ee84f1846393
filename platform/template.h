/* template.h: a port for a console or an RTOS whose sockets are not BSD's.  SPDX: MIT-0

   You write one file: the functions under FILL THESE IN, over what your system calls them.
   template.c is the rest of the port, it needs no change, and nothing of libc but memcpy and
   memset. A chapter of README.md, "Port it to your console in an afternoon", goes through it.

       static struct mps_console net;

       bytes = mps_console_memory_needed(&config);
       if (!mps_console_start(&net, &options, &config, memory, bytes)) ... net.error says why
       mps_console_step(&net, 2000);         once a frame: it never waits, and takes some 2 ms
       mps_console_close(&net);

   MEMORY. Nothing is allocated, ever: struct mps_console (some 20 KiB) and the block are yours.

   THREADS. One struct mps_console, its server and its fill-in functions belong to one thread at a
   time. Nothing is static: two of them know nothing of each other. */
#ifndef MPSERVER_TEMPLATE_H
#define MPSERVER_TEMPLATE_H

#include "../mpserver.h"

#ifdef __cplusplus
extern "C" {
#endif

/* == FILL THESE IN ===============================================================================
   `user` is what mps_console_options says: your state, or NULL. No call may wait, and none may call
   back into the server. What else a system says than is listed for a call is CONSOLE_FAILED. */

/* A socket: an index, a descriptor, a pointer, as you like. */
typedef intptr_t console_socket;
#define CONSOLE_NONE ((console_socket)-1)

typedef enum console_result {
    CONSOLE_DONE,   /* it worked, and what the call gives is filled in */
    CONSOLE_AGAIN,  /* not now: nothing has come, or there is no room to send ("would block") */
    CONSOLE_ENDED,  /* the peer has sent FIN, and everything before it was read */
    CONSOLE_FAILED, /* this connection or this datagram is lost; others are not */
    CONSOLE_FULL,   /* the system has no socket or no memory left */
    CONSOLE_LOST    /* the listener or the datagram socket is of no use any more (network gone) */
} console_result;

/* Microseconds that never run backwards; they start anywhere, and may stand still or jump ahead
   while the system sleeps. Good to a millisecond or better. */
uint64_t console_now_us(void *user);

/* The date in milliseconds since 1970, UTC. False: not known yet, or not to be trusted. */
bool console_unix_ms(void *user, int64_t *unix_ms);

/* 32 bytes of the system's cryptographic generator. False: there is none, and the server does not
   start: with a clock or a counter in its place anybody could guess every token. */
bool console_entropy(void *user, uint8_t out[32]);

/* The system's own number of the last failure, for sentences and the log. */
int32_t console_error(void *user);

/* A listening TCP socket / a bound UDP socket on all addresses, non-blocking. `port` 0: any. Fills
   `bound` with the address (zeros: all of them) and the real port. DONE; all else means failed, and
   that nothing is left open. */
console_result console_listen(void *user, uint16_t port, console_socket *out, mps_address *bound);
console_result console_udp_open(void *user, uint16_t port, console_socket *out, mps_address *bound);

/* The next connection: non-blocking, Nagle's algorithm off (TCP_NODELAY). `local` holds the
   listener's address: put the one that the peer has reached there, if the system tells.
   DONE, AGAIN: nobody waits; FAILED: it was gone before it was accepted, the next one may be fine;
   FULL; LOST. */
console_result console_accept(void *user, console_socket listener, console_socket *out,
                              mps_address *peer, mps_address *local);

/* Up to `capacity` bytes; fewer are fine. DONE: `count` is at least 1; AGAIN; ENDED; FAILED. Most
   systems say "0 bytes" for ENDED and an error code for AGAIN: do not mix them up. */
console_result console_read(void *user, console_socket socket, void *bytes, size_t capacity,
                            size_t *count);

/* Copies up to `bytes_count` bytes for sending. DONE: `count` of them, 1 to all; AGAIN; FAILED. */
console_result console_write(void *user, console_socket socket, const void *bytes,
                             size_t bytes_count, size_t *count);

/* Sends FIN behind what was written; reading goes on. At most once for a socket. A system that has
   no such call does nothing here: the server closes when the peer does, or `linger_ms` later. */
void console_shutdown(void *user, console_socket socket);

/* Gives the socket back: exactly once for each one handed out, also when it has failed or its
   network is gone. `reset`: what is on its way shall be lost (SO_LINGER 0, "abort"): a cut answer
   must not look like a whole one. Must not wait for the peer. */
void console_close(void *user, console_socket socket, bool reset);

/* One datagram; what is longer than `capacity` may be cut. `to` holds the socket's address: put the
   one that the datagram reached there, if the system tells; a host with several must answer from
   that one. DONE, AGAIN; FAILED: news of an earlier datagram (ICMP), there may be more; LOST. */
console_result console_udp_read(void *user, console_socket socket, void *bytes, size_t capacity,
                                size_t *count, mps_address *from, mps_address *to);

/* Sends one datagram, whole or not at all, `from` the address that the peer knows. DONE; AGAIN: the
   socket is full, and the datagram is offered again; FAILED: it is given up; LOST. */
console_result console_udp_write(void *user, console_socket socket, const void *bytes,
                                 size_t bytes_count, const mps_address *to,
                                 const mps_address *from);

/* For these functions. The server knows IPv6, and IPv4 mapped into it: the four bytes as they stand
   in the packet, the port as a plain number. mps_console_in4 makes one; mps_console_get_in4 takes
   it apart, false: it is IPv6. */
mps_address mps_console_in4(const uint8_t ip[4], uint16_t port);
bool mps_console_get_in4(const mps_address *address, uint8_t ip[4]);

/* == the port ================================================================================== */

/* One read, one write or one datagram at a time goes through it. */
#ifndef MPS_CONSOLE_BUFFER_BYTES
#define MPS_CONSOLE_BUFFER_BYTES 16384
#endif
#define MPS_CONSOLE_DATAGRAMS 16 /* that the core makes at once */

struct mps_console_options {
    void *user;                   /* handed to the functions above */
    uint16_t http_port, udp_port; /* 0: the system picks one */
};

/* One for each connection that could be open. */
struct mps_console_slot {
    uint64_t conn; /* of the core */
    console_socket socket;
    uint8_t state;
    bool unsent; /* the socket was full: try again */
};

/* To read: the first five. The rest is the port's own. */
struct mps_console {
    mps_server *server;
    mps_address http, udp; /* as bound, with the real ports */
    const char *error;     /* what failed and what to do, after a call that says so, or NULL */
    int32_t error_code;    /* the system's number for it, or 0 */

    struct mps_console_options options;
    console_socket listener, datagrams;
    uint64_t now;        /* of the current step */
    uint64_t until;      /* when the time for the current work is over */
    uint64_t wall_due;   /* when to tell the date again */
    uint64_t accept_due; /* not 0: accepting is paused until then */
    uint64_t reopen_due; /* when to try to open lost ones again */
    bool busy;           /* the step ended with work left */
    uint32_t slots_count, open_count, next_slot;
    struct mps_console_slot *slots;
    uint32_t out_count, out_sent; /* datagrams of the core; those that the system has taken */
    mps_datagram out[MPS_CONSOLE_DATAGRAMS];
    unsigned char buffer[MPS_CONSOLE_BUFFER_BYTES];
};

/* The bytes of the block for mps_console_start; 0 when the configuration is not valid. */
size_t mps_console_memory_needed(const mps_config *config);

/* Opens the sockets and makes the server in `memory`: 16-byte aligned, borrowed until
   mps_console_close. The ports are those of `options`. False: see `error`; nothing is left open. */
bool mps_console_start(struct mps_console *p, const struct mps_console_options *options,
                       const mps_config *config, void *memory, size_t bytes);

/* The two halves of it, for a program that calls mps_create itself, in between: opens the sockets,
   so that the real ports are known; takes a server and slots for mps_connections_max(&config). */
bool mps_console_open(struct mps_console *p, const struct mps_console_options *options);
void mps_console_attach(struct mps_console *p, mps_server *server, struct mps_console_slot *slots,
                        uint32_t slots_count);

/* Handles what is there and never waits. When `budget_us` is over it stops between two connections
   and goes on there in the next step, so that nobody starves; some of each kind of work is always
   done. 0: no budget, everything that is there has one turn. */
void mps_console_step(struct mps_console *p, uint32_t budget_us);

/* When the next step is due if no socket gets ready before that (as console_now_us tells it): 0 for
   at once, UINT64_MAX for nothing to wait for. For a thread that can sleep; sockets have to be
   looked at all the same, and one with unsent bytes takes more at any time. */
uint64_t mps_console_deadline(const struct mps_console *p);

/* Closes every socket and tells the server: at the end, and when the system says that its network
   is gone or that it goes to sleep. A step after that opens the two sockets again, on the same
   ports, and tries once a second until it works. */
void mps_console_close(struct mps_console *p);

#ifdef __cplusplus
}
#endif
#endif

/* socket_events.h: how the system says that a socket is ready; part of posix.c and win32.c.
   SPDX: MIT-0

   Waiting is level-triggered. An event is a handle and a set of WANT_READ, WANT_WRITE and IS_BROKEN
   (reset, or closed both ways; reported unasked). A back end, which posix_events.h and win32.c
   choose, has the only functions that know how it is done:

       backend_bytes(slots)           memory that it wants
       backend_open                   before all others
       backend_add, backend_want      watch a socket; for something else
       backend_forget                 before a socket is closed
       backend_wait                   how many events there are; -1 when waiting failed
       backend_event(index)           one of them, until the next wait
       backend_close                  also of one that was never opened */
#ifndef MPSERVER_SOCKET_EVENTS_H
#define MPSERVER_SOCKET_EVENTS_H

#include "port.h"

#define EVENTS_MAX 256

enum { WANT_READ = 1, WANT_WRITE = 2, IS_BROKEN = 4 };

struct event {
    uint64_t id;
    uint32_t what;
};

/* Events of what is not a connection: the low half of a connection's handle is never 0. */
#define ID_LISTENER ((uint64_t)1 << 32)
#define ID_DATAGRAMS ((uint64_t)2 << 32)
#define ID_SIGNALS ((uint64_t)3 << 32)

/* What signals ask for. */
enum asked { ASKED_RELOAD = 1, ASKED_END, ASKED_END_SOON };

#endif

/* posix_events.h: how the system says that a socket is ready; part of posix.c.  SPDX: MIT-0

   The only functions that know about it, by the back end that is chosen here: epoll on Linux,
   kqueue where there is one, else poll; MPS_POSIX_POLL asks for poll. Waiting is level-triggered.
   An event is a handle and a set of WANT_READ, WANT_WRITE and IS_BROKEN (reset, or closed both
   ways; reported unasked). A back end has

       backend_bytes(slots)           memory that it wants
       backend_open                   before all others
       backend_add, backend_want      watch a socket; for something else
       backend_forget                 before a socket is closed
       backend_wait                   how many events there are; -1 when waiting failed
       backend_event(index)           one of them, until the next wait */
#ifndef MPSERVER_POSIX_EVENTS_H
#define MPSERVER_POSIX_EVENTS_H

#include "port.h"

#include <errno.h>

#define EVENTS_MAX 256

enum { WANT_READ = 1, WANT_WRITE = 2, IS_BROKEN = 4 };

struct event {
    uint64_t id;
    uint32_t what;
};

#if defined(MPS_POSIX_POLL)
#include "posix_poll.h"
#elif defined(MPS_POSIX_KQUEUE) || defined(__APPLE__) || defined(__FreeBSD__) || \
    defined(__NetBSD__) || defined(__OpenBSD__) || defined(__DragonFly__)
#include "posix_kqueue.h"
#elif defined(__linux__)
#include "posix_epoll.h"
#else
#include "posix_poll.h"
#endif

#endif

/* posix_events.h: which back end waits: epoll on Linux, kqueue where there is one, else poll;
   MPS_POSIX_POLL asks for poll; part of posix.c.  SPDX: MIT-0 */
#ifndef MPSERVER_POSIX_EVENTS_H
#define MPSERVER_POSIX_EVENTS_H

#include "socket_events.h"

#include <errno.h>

#if defined(MPS_POSIX_POLL)
#define MPS_POSIX_BACKEND_POLL
#elif defined(MPS_POSIX_KQUEUE) || defined(__APPLE__) || defined(__FreeBSD__) || \
    defined(__NetBSD__) || defined(__OpenBSD__) || defined(__DragonFly__)
#include "posix_kqueue.h"
#elif defined(__linux__)
#include "posix_epoll.h"
#else
#define MPS_POSIX_BACKEND_POLL
#endif

#ifdef MPS_POSIX_BACKEND_POLL
#include <poll.h>

#define POLL_HUP_IS_FIN 0 /* but that both sides have closed */

static int poll_call(struct pollfd *list, uint32_t count, int timeout_ms) {
    return poll(list, count, timeout_ms);
}

#include "socket_poll.h"
#else
static void backend_close(struct mps_port *p) {
    if (p->backend >= 0) {
        close(p->backend);
    }
    p->backend = -1;
}

#endif

#endif

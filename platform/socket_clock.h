/* socket_clock.h: how long calls into the core take; part of posix.c and win32.c.  SPDX: MIT-0 */
#ifndef MPSERVER_SOCKET_CLOCK_H
#define MPSERVER_SOCKET_CLOCK_H

#include "port.h"

#define TIMED_ONE_IN 16 /* core calls whose time is taken */

/* Two reads of the clock for one call in 16: some 3 ns a call, and the histogram fills as well. */
static uint64_t timed_begin(struct mps_port *p) {
    return p->calls++ % TIMED_ONE_IN ? 0 : clock_ns();
}

static void timed_end(struct mps_port *p, uint64_t begin) {
    if (begin) {
        mps_note_call_ns(p->server, clock_ns() - begin);
    }
}

#endif

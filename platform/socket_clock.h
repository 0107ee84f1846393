/* socket_clock.h: what calls take, and budgets; part of posix.c and win32.c.  SPDX: MIT-0 */
#ifndef MPSERVER_SOCKET_CLOCK_H
#define MPSERVER_SOCKET_CLOCK_H

#include "port.h"

#define TIMED_ONE_IN 16 /* core calls whose time is taken */

/* How far into a frame's budget each part of a round may go, in quarters. */
enum { BUDGET_READING = 2, BUDGET_WRITING = 3, BUDGET_DATAGRAMS = 4 };

/* Asked behind each piece of work, so that every part gets on by one whatever the budget. Without
   one the clock is not read. */
static bool budget_over(struct mps_port *p, unsigned quarters) {
    p->work++;
    return p->budget_us && clock_ns() / 1000 - p->began_us >= (uint64_t)p->budget_us * quarters / 4;
}

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

/* port_life.h: what of a port's life rests on mps_port_step alone, for every port that has the API
   of port.h.  SPDX: MIT-0

   mps_port_run is the port's own: some have to set the system up around the rounds. */
#ifndef MPSERVER_PORT_LIFE_H
#define MPSERVER_PORT_LIFE_H

#include "port.h"

static mps_port_state rounds_run(struct mps_port *p, mps_server *server) {
    while (p->state == MPS_PORT_RUNNING) {
        mps_port_step(p, server, -1);
    }
    return p->state;
}

void mps_port_reload_soon(struct mps_port *p) {
    p->reload_soon = true;
}

void mps_port_stop_soon(struct mps_port *p) {
    p->state = MPS_PORT_STOPPED;
}

#endif

/* port_life.h: what is the same in every port of the tests, behind mps_port_step.  SPDX: MIT-0 */
#ifndef MPSERVER_TESTS_PORT_LIFE_H
#define MPSERVER_TESTS_PORT_LIFE_H

#include "../platform/port.h"

mps_port_state mps_port_run(struct mps_port *p, mps_server *server) {
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

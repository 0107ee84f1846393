/* posix_epoll.h: the back end of Linux; see socket_events.h.  SPDX: MIT-0 */
#ifndef MPSERVER_POSIX_EPOLL_H
#define MPSERVER_POSIX_EPOLL_H

#include <sys/epoll.h>

static size_t backend_bytes(uint32_t slots) {
    (void)slots; /* a back end that hands over its whole list each time needs it */
    return EVENTS_MAX * sizeof(struct epoll_event);
}

static bool backend_open(struct mps_port *p) {
    p->backend = epoll_create1(EPOLL_CLOEXEC);
    return p->backend >= 0;
}

static bool backend_control(struct mps_port *p, int what, mps_port_socket fd, uint64_t id,
                            uint32_t want) {
    struct epoll_event e = {.data.u64 = id};
    e.events =
        (want & WANT_READ ? (uint32_t)EPOLLIN : 0) | (want & WANT_WRITE ? (uint32_t)EPOLLOUT : 0);
    return epoll_ctl(p->backend, what, fd, &e) == 0;
}

static bool backend_add(struct mps_port *p, mps_port_socket fd, uint64_t id, uint32_t want) {
    return backend_control(p, EPOLL_CTL_ADD, fd, id, want);
}

static bool backend_want(struct mps_port *p, mps_port_socket fd, uint64_t id, uint32_t want) {
    return backend_control(p, EPOLL_CTL_MOD, fd, id, want);
}

/* epoll forgets a socket by itself when it goes. */
static void backend_forget(struct mps_port *p, mps_port_socket fd, uint64_t id) {
    (void)p, (void)fd, (void)id;
}

static int backend_wait(struct mps_port *p, int timeout_ms) {
    int count = epoll_wait(p->backend, p->backend_memory, EVENTS_MAX, timeout_ms);
    return count < 0 && errno == EINTR ? 0 : count;
}

static struct event backend_event(const struct mps_port *p, int index) {
    const struct epoll_event *e = (const struct epoll_event *)p->backend_memory + index;
    struct event event = {e->data.u64, 0};
    event.what |= e->events & EPOLLIN ? WANT_READ : 0;
    event.what |= e->events & EPOLLOUT ? WANT_WRITE : 0;
    event.what |= e->events & (EPOLLERR | EPOLLHUP) ? IS_BROKEN : 0;
    return event;
}

#endif

/* posix_kqueue.h: the back end of the BSDs, macOS, and what is derived of them; see
   socket_events.h.  SPDX: MIT-0

   Reading and writing are filters of their own. A filter that is not wanted is disabled rather than
   deleted, so that changing one's mind is one call. */
#ifndef MPSERVER_POSIX_KQUEUE_H
#define MPSERVER_POSIX_KQUEUE_H

#include <sys/event.h>
#include <time.h>

_Static_assert(sizeof(void *) >= sizeof(uint64_t), "ids do not fit `udata`: use poll");

static size_t backend_bytes(uint32_t slots) {
    (void)slots;
    return EVENTS_MAX * sizeof(struct kevent);
}

static bool backend_open(struct mps_port *p) {
    p->backend = kqueue();
    return p->backend >= 0;
}

static bool backend_want(struct mps_port *p, mps_port_socket fd, uint64_t id, uint32_t want) {
    struct kevent changes[2];
    void *user = (void *)(uintptr_t)id;
    unsigned short read = want & WANT_READ ? EV_ENABLE : EV_DISABLE;
    unsigned short write = want & WANT_WRITE ? EV_ENABLE : EV_DISABLE;
    EV_SET(&changes[0], (uintptr_t)fd, EVFILT_READ, EV_ADD | read, 0, 0, user);
    EV_SET(&changes[1], (uintptr_t)fd, EVFILT_WRITE, EV_ADD | write, 0, 0, user);
    return kevent(p->backend, changes, 2, NULL, 0, NULL) == 0;
}

static bool backend_add(struct mps_port *p, mps_port_socket fd, uint64_t id, uint32_t want) {
    return backend_want(p, fd, id, want);
}

/* Filters go with their descriptor. */
static void backend_forget(struct mps_port *p, mps_port_socket fd, uint64_t id) {
    (void)p, (void)fd, (void)id;
}

static int backend_wait(struct mps_port *p, int timeout_ms) {
    struct timespec t = {timeout_ms / 1000, timeout_ms % 1000 * 1000000L};
    int count =
        kevent(p->backend, NULL, 0, p->backend_memory, EVENTS_MAX, timeout_ms < 0 ? NULL : &t);
    return count < 0 && errno == EINTR ? 0 : count;
}

/* EOF of the reading side is the peer's FIN, which reading finds by itself. */
static struct event backend_event(const struct mps_port *p, int index) {
    const struct kevent *e = (const struct kevent *)p->backend_memory + index;
    struct event event = {(uint64_t)(uintptr_t)e->udata, 0};
    event.what |= e->filter == EVFILT_READ ? WANT_READ : 0;
    event.what |= e->filter == EVFILT_WRITE ? WANT_WRITE : 0;
    event.what |= e->flags & EV_ERROR || (e->filter == EVFILT_WRITE && e->flags & EV_EOF) ||
                          (e->flags & EV_EOF && e->fflags)
                      ? IS_BROKEN
                      : 0;
    return event;
}

#endif

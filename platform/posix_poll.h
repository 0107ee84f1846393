/* posix_poll.h: the back end of every POSIX system; see posix_events.h.  SPDX: MIT-0

   poll has no memory, so the whole list is handed over at each wait: work for what is idle, too.
   The list is dense, as it must not be longer than the limit of open files; the last entry moves
   into the place of one that goes. */
#ifndef MPSERVER_POSIX_POLL_H
#define MPSERVER_POSIX_POLL_H

#include <poll.h>

#define POLL_OTHERS 4 /* ids whose low half is 0, by their high half */

struct backend_list {
    uint32_t count;
    uint32_t next;                  /* where the next wait begins to look: nobody is passed over */
    struct event ready[EVENTS_MAX]; /* what the last wait found */
};

/* Behind it in memory: an id for each entry, the entries, and for each slot where its entry is. */
static uint32_t backend_places(uint32_t slots) {
    return slots + POLL_OTHERS;
}

static size_t backend_bytes(uint32_t slots) {
    return sizeof(struct backend_list) +
           backend_places(slots) * (sizeof(uint64_t) + sizeof(struct pollfd) + sizeof(uint32_t));
}

static struct backend_list *backend_list(const struct mps_port *p) {
    return p->backend_memory;
}

static uint64_t *backend_ids(const struct mps_port *p) {
    return (uint64_t *)(void *)(backend_list(p) + 1);
}

static struct pollfd *backend_polled(const struct mps_port *p) {
    return (struct pollfd *)(void *)(backend_ids(p) + backend_places(p->slots_count));
}

static uint32_t *backend_at(const struct mps_port *p, uint64_t id) {
    uint32_t *at = (uint32_t *)(void *)(backend_polled(p) + backend_places(p->slots_count));
    uint32_t slot = (uint32_t)id;
    return at + (slot ? POLL_OTHERS + slot - 1 : (uint32_t)(id >> 32));
}

static bool backend_open(struct mps_port *p) {
    backend_list(p)->count = backend_list(p)->next = 0;
    return true;
}

static bool backend_want(struct mps_port *p, int fd, uint64_t id, uint32_t want) {
    struct pollfd *polled = &backend_polled(p)[*backend_at(p, id)];
    (void)fd;
    polled->events = (short)((want & WANT_READ ? POLLIN : 0) | (want & WANT_WRITE ? POLLOUT : 0));
    return true;
}

static bool backend_add(struct mps_port *p, int fd, uint64_t id, uint32_t want) {
    uint32_t at = backend_list(p)->count++;
    *backend_at(p, id) = at;
    backend_ids(p)[at] = id;
    backend_polled(p)[at] = (struct pollfd){.fd = fd};
    return backend_want(p, fd, id, want);
}

static void backend_forget(struct mps_port *p, int fd, uint64_t id) {
    uint32_t at = *backend_at(p, id), last = --backend_list(p)->count;
    (void)fd;
    backend_ids(p)[at] = backend_ids(p)[last];
    backend_polled(p)[at] = backend_polled(p)[last];
    *backend_at(p, backend_ids(p)[at]) = at;
}

static struct event backend_found(uint64_t id, const struct pollfd *polled) {
    struct event event = {id, 0};
    event.what |= polled->revents & POLLIN ? WANT_READ : 0;
    event.what |= polled->revents & POLLOUT ? WANT_WRITE : 0;
    event.what |= polled->revents & (POLLERR | POLLHUP | POLLNVAL) ? IS_BROKEN : 0;
    return event;
}

/* Up to EVENTS_MAX of those that are ready, beginning behind the last one of the wait before. */
static int backend_wait(struct mps_port *p, int timeout_ms) {
    struct backend_list *list = backend_list(p);
    int count = poll(backend_polled(p), list->count, timeout_ms), found = 0;
    uint32_t at = list->next;
    for (uint32_t i = 0; i < list->count && found < count && found < EVENTS_MAX; i++, at++) {
        at = at < list->count ? at : 0;
        if (backend_polled(p)[at].revents) {
            list->ready[found++] = backend_found(backend_ids(p)[at], &backend_polled(p)[at]);
        }
    }
    list->next = at;
    return count < 0 && errno != EINTR ? count : found;
}

/* Copied at the wait: the list changes while they are handled. */
static struct event backend_event(const struct mps_port *p, int index) {
    return backend_list(p)->ready[index];
}

#endif

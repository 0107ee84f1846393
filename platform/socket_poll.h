/* socket_poll.h: the back end of poll, which every system has; see socket_events.h.  SPDX: MIT-0

   poll has no memory, so the whole list is handed over at each wait: work for what is idle, too.
   The list is dense, as it must not be longer than the limit of open files; the last entry moves
   into the place of one that goes.

   Where a peer's FIN is a hang-up (Windows), it is reported unasked and for ever. A socket that
   hung up and is not to be read would keep every wait from waiting, so it is parked: it stands
   behind the polled part of the list, and while it has something to send, that is tried every
   PARKED_RETRY_MS. Reading is where a hang-up is told from a reset, and takes it back into the
   list.

   Whoever includes this has poll_call(list, count, timeout_ms) and POLL_HUP_IS_FIN. */
#ifndef MPSERVER_SOCKET_POLL_H
#define MPSERVER_SOCKET_POLL_H

#define POLL_OTHERS 4 /* ids whose low half is 0, by their high half */
#define PARKED_RETRY_MS 10

enum { IS_HUNG_UP = 8 }; /* beside what events say to others */

struct backend_list {
    uint32_t count; /* polled; behind them stand the parked */
    uint32_t parked;
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
    struct backend_list *list = backend_list(p);
    list->count = list->parked = list->next = 0;
    return true;
}

static void entry_put(struct mps_port *p, uint32_t at, uint64_t id, struct pollfd polled) {
    backend_ids(p)[at] = id;
    backend_polled(p)[at] = polled;
    *backend_at(p, id) = at;
}

static void entries_swap(struct mps_port *p, uint32_t a, uint32_t b) {
    uint64_t id = backend_ids(p)[a];
    struct pollfd polled = backend_polled(p)[a];
    entry_put(p, a, backend_ids(p)[b], backend_polled(p)[b]);
    entry_put(p, b, id, polled);
}

static void entry_park(struct mps_port *p, uint32_t at) {
    struct backend_list *list = backend_list(p);
    list->count--;
    list->parked++;
    entries_swap(p, at, list->count);
}

static void entry_resume(struct mps_port *p, uint32_t at) {
    struct backend_list *list = backend_list(p);
    entries_swap(p, at, list->count);
    list->count++;
    list->parked--;
}

static bool backend_want(struct mps_port *p, mps_port_socket fd, uint64_t id, uint32_t want) {
    uint32_t at = *backend_at(p, id);
    (void)fd;
    backend_polled(p)[at].events =
        (short)((want & WANT_READ ? POLLIN : 0) | (want & WANT_WRITE ? POLLOUT : 0));
    if (at >= backend_list(p)->count && want & WANT_READ) {
        entry_resume(p, at);
    }
    return true;
}

static bool backend_add(struct mps_port *p, mps_port_socket fd, uint64_t id, uint32_t want) {
    struct backend_list *list = backend_list(p);
    uint32_t at = list->count + list->parked++;
    entry_put(p, at, id, (struct pollfd){.fd = fd});
    entry_resume(p, at);
    return backend_want(p, fd, id, want);
}

static void backend_forget(struct mps_port *p, mps_port_socket fd, uint64_t id) {
    struct backend_list *list = backend_list(p);
    (void)fd;
    if (*backend_at(p, id) < list->count) {
        entry_park(p, *backend_at(p, id));
    }
    list->parked--;
    entries_swap(p, *backend_at(p, id), list->count + list->parked);
}

static struct event entry_found(uint64_t id, const struct pollfd *polled) {
    struct event event = {id, 0};
    int broken = POLLERR | POLLNVAL | (POLL_HUP_IS_FIN ? 0 : POLLHUP);
    bool hung_up = POLL_HUP_IS_FIN && polled->revents & POLLHUP;
    event.what |= polled->revents & POLLIN ? WANT_READ : 0;
    event.what |= polled->revents & POLLOUT ? WANT_WRITE : 0;
    event.what |= polled->revents & broken ? IS_BROKEN : 0;
    if (hung_up) {
        event.what |= polled->events & POLLIN ? WANT_READ : IS_HUNG_UP;
    }
    return event;
}

/* Parked ones that have something to send, behind what was found already. */
static int parked_find(struct mps_port *p, int found) {
    struct backend_list *list = backend_list(p);
    for (uint32_t i = 0; i < list->parked && found < EVENTS_MAX; i++) {
        uint32_t at = list->count + i;
        if (backend_polled(p)[at].events & POLLOUT) {
            list->ready[found++] = (struct event){backend_ids(p)[at], WANT_WRITE};
        }
    }
    return found;
}

/* Only now, as the list must not change while it is looked through. */
static void hung_up_park(struct mps_port *p, int found) {
    struct backend_list *list = backend_list(p);
    for (int i = 0; i < found; i++) {
        uint32_t at = *backend_at(p, list->ready[i].id);
        if (list->ready[i].what & IS_HUNG_UP && at < list->count) {
            entry_park(p, at);
        }
    }
}

/* Up to EVENTS_MAX of those that are ready, beginning behind the last one of the wait before. */
static int backend_wait(struct mps_port *p, int timeout_ms) {
    struct backend_list *list = backend_list(p);
    bool retry = parked_find(p, 0) > 0 && (timeout_ms < 0 || timeout_ms > PARKED_RETRY_MS);
    int count = poll_call(backend_polled(p), list->count, retry ? PARKED_RETRY_MS : timeout_ms);
    int found = 0;
    uint32_t at = list->next;
    for (uint32_t i = 0; i < list->count && found < count && found < EVENTS_MAX; i++, at++) {
        at = at < list->count ? at : 0;
        if (backend_polled(p)[at].revents) {
            list->ready[found++] = entry_found(backend_ids(p)[at], &backend_polled(p)[at]);
        }
    }
    list->next = at;
    if (count < 0 && !error_is_interruption(system_error())) {
        return count;
    }
    int polled = found;
    found = parked_find(p, polled);
    hung_up_park(p, polled);
    return found;
}

/* Copied at the wait: the list changes while they are handled. */
static struct event backend_event(const struct mps_port *p, int index) {
    return backend_list(p)->ready[index];
}

static void backend_close(struct mps_port *p) {
    (void)p;
}

#endif

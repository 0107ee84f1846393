/* kqueue over epoll, as far as platform/posix_kqueue.h uses it: level-triggered filters for reading
   and writing, one queue. As there, a filter that is disabled reports nothing, not even the end. */
#include "sys/event.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define FILES_MAX 65536
#define EVENTS_MAX 256

static struct watched {
    bool read, write;
    void *user;
} files[FILES_MAX];

int kqueue(void) {
    return epoll_create1(EPOLL_CLOEXEC);
}

static int change(int queue, const struct kevent *c) {
    struct watched *file = c->ident < FILES_MAX ? &files[c->ident] : NULL;
    if (!file) {
        errno = EBADF;
        return -1;
    }
    bool on = !(c->flags & (EV_DISABLE | EV_DELETE));
    if (c->filter == EVFILT_READ) {
        file->read = on;
    } else {
        file->write = on;
    }
    file->user = c->udata;
    struct epoll_event e = {.data.fd = (int)c->ident};
    e.events = (file->read ? EPOLLIN | EPOLLRDHUP : 0u) | (file->write ? (uint32_t)EPOLLOUT : 0u);
    int done = epoll_ctl(queue, e.events ? EPOLL_CTL_MOD : EPOLL_CTL_DEL, (int)c->ident, &e);
    if (done != 0 && errno == ENOENT && e.events) {
        done = epoll_ctl(queue, EPOLL_CTL_ADD, (int)c->ident, &e);
    }
    return done != 0 && errno == ENOENT ? 0 : done;
}

static void event(struct kevent *out, const struct epoll_event *e, short filter, bool ended) {
    int code = 0;
    socklen_t bytes = sizeof code;
    EV_SET(out, (uintptr_t)e->data.fd, filter, ended ? EV_EOF : 0, 0, 0, files[e->data.fd].user);
    if (ended && e->events & EPOLLERR) {
        getsockopt(e->data.fd, SOL_SOCKET, SO_ERROR, &code, &bytes);
        out->fflags = (unsigned)code;
    }
}

int kevent(int queue, const struct kevent *changes, int changes_count, struct kevent *events,
           int events_count, const struct timespec *timeout) {
    struct epoll_event ready[EVENTS_MAX / 2];
    int made = 0;
    for (int i = 0; i < changes_count; i++) {
        if (change(queue, &changes[i]) != 0) {
            return -1;
        }
    }
    if (!events_count) {
        return 0;
    }
    int wait = timeout ? (int)(timeout->tv_sec * 1000 + timeout->tv_nsec / 1000000) : -1;
    int most = events_count / 2 < EVENTS_MAX / 2 ? events_count / 2 : EVENTS_MAX / 2;
    int count = epoll_wait(queue, ready, most, wait);
    for (int i = 0; i < count; i++) {
        const struct watched *file = &files[ready[i].data.fd];
        uint32_t what = ready[i].events;
        bool broken = what & (EPOLLERR | EPOLLHUP);
        if (file->read && (broken || what & (EPOLLIN | EPOLLRDHUP))) {
            event(&events[made++], &ready[i], EVFILT_READ, broken || what & EPOLLRDHUP);
        }
        if (file->write && (broken || what & EPOLLOUT)) {
            event(&events[made++], &ready[i], EVFILT_WRITE, broken);
        }
    }
    return count < 0 ? -1 : made;
}

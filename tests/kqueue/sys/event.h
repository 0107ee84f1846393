/* The part of kqueue's interface that platform/posix_kqueue.h uses, as FreeBSD's kqueue(2) has it,
   so that the back end can be built and tested where there is no kqueue; see ../kqueue.c. */
#ifndef TESTS_KQUEUE_EVENT_H
#define TESTS_KQUEUE_EVENT_H

#include <stdint.h>
#include <time.h>

#define EVFILT_READ (-1)
#define EVFILT_WRITE (-2)
#define EV_ADD 0x0001
#define EV_DELETE 0x0002
#define EV_ENABLE 0x0004
#define EV_DISABLE 0x0008
#define EV_EOF 0x8000
#define EV_ERROR 0x4000

struct kevent {
    uintptr_t ident;
    short filter;
    unsigned short flags;
    unsigned int fflags;
    int64_t data;
    void *udata;
};

#define EV_SET(at, id, what, how, more, value, user)         \
    (*(at) = (struct kevent){.ident = (id),                  \
                             .filter = (what),               \
                             .flags = (unsigned short)(how), \
                             .fflags = (more),               \
                             .data = (value),                \
                             .udata = (user)})

int kqueue(void);
int kevent(int queue, const struct kevent *changes, int changes_count, struct kevent *events,
           int events_count, const struct timespec *timeout);

#endif

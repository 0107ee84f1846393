/* The limits that positions by UDP are measured against: the same updates moved between the same
   addresses with no protocol at all. An update is UPDATE_BYTES that begin with its sender's index;
   four neighbours are a group.
     relay      each update goes to each other member at once, one send each
     coalesce   each update is appended to what the other members are owed; each round ends with one
                datagram for each of them, all in one system call
   Both wait with epoll and read with recvmmsg. Where a member is follows from its latest update.
   Usage: udp-bare relay|coalesce   prints its port and runs until SIGTERM. */
#define _GNU_SOURCE
#include "measure.h"
#include "net.h"
#include <stdbool.h>
#include <string.h>

#define UPDATE_BYTES 32
#define GROUP 4
#define CLIENTS_MAX 4096
#define BATCH 256
#define OWED_BYTES 1184

struct member {
    struct sockaddr_in address; /* port 0: not seen yet */
    bool dirty;
    size_t owed_bytes;
    unsigned char owed[OWED_BYTES];
};

static struct member members[CLIENTS_MAX];
static uint32_t dirty[CLIENTS_MAX], dirty_count;
static int file;

/* All that is owed, in one call or as few as it takes. */
static void flush(void) {
    static struct mmsghdr messages[CLIENTS_MAX];
    static struct iovec vectors[CLIENTS_MAX];
    for (uint32_t i = 0; i < dirty_count; i++) {
        struct member *m = &members[dirty[i]];
        vectors[i] = (struct iovec){m->owed, m->owed_bytes};
        messages[i].msg_hdr = (struct msghdr){.msg_name = &m->address,
                                              .msg_namelen = sizeof m->address,
                                              .msg_iov = &vectors[i],
                                              .msg_iovlen = 1};
        m->dirty = false;
        m->owed_bytes = 0;
    }
    for (uint32_t at = 0; at < dirty_count;) {
        int count = sendmmsg(file, messages + at, dirty_count - at, 0);
        at += count > 0 ? (uint32_t)count : 1;
    }
    dirty_count = 0;
}

static void owe(uint32_t to, const unsigned char *update) {
    struct member *m = &members[to];
    if (m->owed_bytes + UPDATE_BYTES > sizeof m->owed) {
        flush();
    }
    memcpy(m->owed + m->owed_bytes, update, UPDATE_BYTES);
    m->owed_bytes += UPDATE_BYTES;
    if (!m->dirty) {
        m->dirty = true;
        dirty[dirty_count++] = to;
    }
}

static void update(const unsigned char *bytes, const struct sockaddr_in *from, bool coalesce) {
    uint32_t index;
    memcpy(&index, bytes, sizeof index);
    if (index >= CLIENTS_MAX) {
        return;
    }
    members[index].address = *from;
    uint32_t first = index / GROUP * GROUP;
    for (uint32_t i = first; i < first + GROUP; i++) {
        if (i == index || !members[i].address.sin_port) {
            continue;
        }
        if (coalesce) {
            owe(i, bytes);
        } else {
            sendto(file, bytes, UPDATE_BYTES, 0, (const struct sockaddr *)&members[i].address,
                   sizeof members[i].address);
        }
    }
}

int main(int argc, char **argv) {
    static unsigned char bytes[BATCH][2048];
    static struct mmsghdr messages[BATCH];
    static struct iovec vectors[BATCH];
    static struct sockaddr_in names[BATCH];
    struct epoll_event event = {.events = EPOLLIN};
    bool coalesce = argc > 1 && strcmp(argv[1], "coalesce") == 0;
    int poll = epoll_create1(0);
    file = datagrams_open();
    epoll_ctl(poll, EPOLL_CTL_ADD, file, &event);
    for (int i = 0; i < BATCH; i++) {
        vectors[i] = (struct iovec){bytes[i], sizeof bytes[i]};
        messages[i].msg_hdr =
            (struct msghdr){.msg_name = &names[i], .msg_iov = &vectors[i], .msg_iovlen = 1};
    }
    for (;;) {
        epoll_wait(poll, &event, 1, -1);
        for (int i = 0; i < BATCH; i++) {
            messages[i].msg_hdr.msg_namelen = sizeof names[i];
        }
        int count = recvmmsg(file, messages, BATCH, MSG_DONTWAIT, NULL);
        for (int i = 0; i < count; i++) {
            if (messages[i].msg_len == UPDATE_BYTES) {
                update(bytes[i], &names[i], coalesce);
            }
        }
        flush();
    }
}

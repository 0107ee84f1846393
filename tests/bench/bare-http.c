/* The limit that HTTP servers are measured against: the same bytes with no protocol at all. For
   each recv it counts the blank lines and answers each with the same fixed bytes, all in one send;
   one epoll_wait a round, no second recv to see that there is nothing more.
   Usage: bare-http ANSWER_BYTES   prints its port and runs until SIGTERM. */
#define _GNU_SOURCE
#include "net.h"
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#define INPUT_BYTES 16384
#define PIPELINED_MAX 512
#define ANSWER_BYTES_MAX 2048
#define FILES_MAX 4096

static char answers[PIPELINED_MAX * ANSWER_BYTES_MAX];
static unsigned char matched[FILES_MAX]; /* of the blank line, by descriptor */

/* One answer of exactly `bytes`, head included, as often as it may be pipelined. */
static void answers_make(size_t bytes) {
    char head[128];
    size_t body = bytes;
    for (int i = 0; i < 3; i++) { /* the length of the length settles */
        snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", body);
        body = bytes - strlen(head);
    }
    for (size_t i = 0; i < PIPELINED_MAX; i++) {
        memset(answers + i * bytes, 'x', bytes);
        memcpy(answers + i * bytes, head, strlen(head));
    }
}

static void accept_all(int poll, int listener) {
    for (int i = 0; i < EVENTS_MAX; i++) {
        int file = connection_accept(poll, listener, FILES_MAX);
        if (file < 0) {
            return;
        }
        matched[file] = 0;
    }
}

/* How many requests end in these bytes; a blank line may straddle two reads. */
static size_t requests_count(int file, const char *bytes, size_t count) {
    static const char blank[] = "\r\n\r\n";
    unsigned char state = matched[file];
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        if (state == 0) {
            const char *next = memchr(bytes + i, '\r', count - i);
            if (!next) {
                break;
            }
            i = (size_t)(next - bytes);
        }
        state = bytes[i] == blank[state] ? (unsigned char)(state + 1) : bytes[i] == '\r';
        if (state == 4) {
            found++;
            state = 0;
        }
    }
    matched[file] = state;
    return found;
}

static bool serve(int file, size_t answer_bytes) {
    char input[INPUT_BYTES];
    ssize_t got = recv(file, input, sizeof input, 0);
    if (got <= 0) {
        return false;
    }
    size_t due = requests_count(file, input, (size_t)got);
    if (due > PIPELINED_MAX) {
        return false;
    }
    size_t bytes = due * answer_bytes;
    return bytes == 0 || send(file, answers, bytes, MSG_NOSIGNAL) == (ssize_t)bytes;
}

int main(int argc, char **argv) {
    size_t answer_bytes = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
    if (answer_bytes < 64 || answer_bytes > ANSWER_BYTES_MAX) {
        fprintf(stderr, "usage: bare-http ANSWER_BYTES (64..%d)\n", ANSWER_BYTES_MAX);
        return 2;
    }
    answers_make(answer_bytes);
    int poll = epoll_create1(0), listener = listener_open();
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        struct epoll_event events[EVENTS_MAX];
        int count = epoll_wait(poll, events, EVENTS_MAX, -1);
        for (int i = 0; i < count; i++) {
            int file = events[i].data.fd;
            if (file == listener) {
                accept_all(poll, listener);
            } else if (!serve(file, answer_bytes)) {
                close(file);
            }
        }
    }
}

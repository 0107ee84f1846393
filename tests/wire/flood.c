/* flood.c: garbage for a UDP port, as fast as it goes or at a rate. Prints how many it sent.
   Usage: flood PORT MS [RATE]   to loopback; RATE in datagrams a second, 0 or none: no limit */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define BATCH 32

static uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* Of every kind that the first bytes tell apart, and what no first byte makes sense of. */
static size_t garbage(unsigned i, char *out) {
    static const char *const texts[] = {
        "{\"type\":\"join\",\"lobby_code\":\"TEST\",\"player_id\":1,\"udp_token\":\"00\"}",
        "{\"type\":\"position_update\",\"player_id\":1,\"position\":{\"x\":1,\"y\":1,\"z\":1},"
        "\"rotation\":{\"x\":0,\"y\":0,\"z\":0}}",
        "{\"type\":",
        "garbage of no kind",
    };
    size_t bytes = strlen(texts[i % 4]);
    memcpy(out, texts[i % 4], bytes);
    if (i % 8 == 7) { /* binary, with somebody's id and a wrong token */
        memset(out, (int)i, 40);
        out[0] = (char)0xB1;
        out[1] = 2;
        return 40;
    }
    return bytes;
}

int main(int argc, char **argv) {
    static char bytes[BATCH][256];
    struct mmsghdr messages[BATCH] = {0};
    struct iovec vectors[BATCH];
    struct sockaddr_in to = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (argc < 3 || fd < 0) {
        fprintf(stderr, "usage: flood PORT MS [RATE]\n");
        return 1;
    }
    to.sin_port = htons((uint16_t)atoi(argv[1]));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    uint64_t start = now_us(), end = start + strtoull(argv[2], NULL, 10) * 1000, sent = 0;
    uint64_t rate = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
    for (unsigned i = 0; i < BATCH; i++) {
        vectors[i] = (struct iovec){bytes[i], garbage(i, bytes[i])};
        messages[i].msg_hdr = (struct msghdr){
            .msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &vectors[i], .msg_iovlen = 1};
    }
    for (uint64_t now = start; now < end; now = now_us()) {
        if (rate && sent >= (now - start) * rate / 1000000) {
            struct timespec pause = {0, 200000};
            nanosleep(&pause, NULL);
            continue;
        }
        int count = sendmmsg(fd, messages, BATCH, 0);
        sent += count > 0 ? (uint64_t)count : 0;
    }
    printf("%llu\n", (unsigned long long)sent);
    return 0;
}

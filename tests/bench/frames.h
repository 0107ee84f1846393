/* What clients of the tests that speak WebSocket share: heads of frames (RFC 6455, 5.2). */
#ifndef MPSERVER_BENCH_FRAMES_H
#define MPSERVER_BENCH_FRAMES_H

#include <stdbool.h>
#include <stddef.h>

/* The length of a frame's header before `payload` bytes, without a mask. */
static inline size_t header_bytes(size_t payload) {
    return payload < 126 ? 2 : payload < 65536 ? 4 : 10;
}

/* At most 65,535 bytes of payload. */
static inline size_t header_put(unsigned char *at, unsigned char opcode, size_t payload,
                                bool masked) {
    at[0] = (unsigned char)(0x80 | opcode);
    at[1] = (unsigned char)((masked ? 0x80 : 0) | (payload < 126 ? payload : 126));
    if (payload >= 126) {
        at[2] = (unsigned char)(payload >> 8);
        at[3] = (unsigned char)payload;
    }
    return header_bytes(payload);
}

/* A frame from the server: its header's length, or 0 while that is incomplete. */
static inline size_t header_take(const unsigned char *p, size_t count, size_t *payload) {
    if (count < 2) {
        return 0;
    }
    size_t header = p[1] < 126 ? 2 : p[1] == 126 ? 4 : 10;
    if (count < header) {
        return 0;
    }
    *payload = header == 2 ? p[1] : 0;
    for (size_t i = 2; i < header; i++) {
        *payload = *payload << 8 | p[i];
    }
    return header;
}

#endif

/* A game that embeds the server, as small as can be: one block of memory, one request fed in, its
   answer drained and looked at. It is built from the unpacked tarball alone. */
#include "mpserver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t drain(mps_server *server, uint64_t now, char *answer, size_t capacity) {
    mps_conn conn;
    size_t bytes = 0;
    while (mps_next_output(server, &conn)) {
        mps_span spans[8];
        size_t count = mps_tcp_output(server, conn, spans, 8), taken = 0;
        for (size_t i = 0; i < count && bytes + spans[i].count < capacity; i++) {
            memcpy(answer + bytes, spans[i].bytes, spans[i].count);
            bytes += spans[i].count;
            taken += spans[i].count;
        }
        mps_tcp_taken(server, conn, taken);
        mps_tcp_sent(server, conn, now, taken);
    }
    answer[bytes] = 0;
    return bytes;
}

int main(void) {
    mps_config config = {.preset = MPS_PRESET_TINY, .dev = true};
    size_t bytes = mps_memory_needed(&config);
    void *memory = malloc(bytes);
    uint8_t entropy[32] = "not random, and fine for a test";
    mps_server *server = NULL;
    mps_error error = mps_create(&server, &config, memory, bytes, entropy);
    if (error != MPS_OK) {
        printf("mps_create: %s (%zu bytes)\n", mps_error_code(error), bytes);
        return 1;
    }
    mps_address peer = {.ip = {[10] = 0xff, 0xff, 127, 0, 0, 1}, .port = 50000};
    mps_address local = {.ip = {[10] = 0xff, 0xff, 127, 0, 0, 1}, .port = 8080};
    uint64_t now = 1000000;
    mps_conn conn = mps_tcp_open(server, now, &peer, &local);
    char request[] = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    char answer[4096];
    if (mps_tcp_room(server, conn) < strlen(request) ||
        mps_tcp_input(server, conn, now, request, strlen(request)) != MPS_OK) {
        printf("the request was not taken\n");
        return 1;
    }
    mps_advance(server, now);
    drain(server, now, answer, sizeof answer);
    bool good = strncmp(answer, "HTTP/1.1 200", 12) == 0 && strstr(answer, "\"status\":\"ok\"") &&
                mps_tcp_fate(server, conn) == MPS_FATE_FINISH;
    mps_tcp_closed(server, conn, now);
    good = good && mps_check(server);
    if (!good) {
        printf("unexpected: %s\n", answer);
    }
    free(memory);
    return !good;
}

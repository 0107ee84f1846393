/* rows.h: tells the rows that a server's sockets can be asked, a JSON object a line, so that
   conformance.test.mjs has the same cases: `unit --rows`. */
#ifndef CONFORMANCE_ROWS_H
#define CONFORMANCE_ROWS_H

#include "conformance.h"

static void rows_put(const char *table, const struct conformance *about, const char *bytes,
                     size_t count) {
    printf("{\"table\":\"%s\",\"where\":\"%s\",\"what\":\"%s\",\"bytes\":\"", table, about->where,
           about->what);
    for (size_t i = 0; i < count; i++) {
        printf("%02x", (u8)bytes[i]);
    }
    printf("\"");
}

/* Heads: what refuses them, or status 0. Targets may be longer for a server than for the table. */
static void rows_put_http(void) {
    for (size_t i = 0; i < COUNT_OF(http_rows); i++) {
        const struct http_row *row = &http_rows[i];
        const struct error_row *error = error_row(row->want);
        if (row->want != MPS_E_TARGET_TOO_LONG) {
            rows_put("http", &row->about, row->text, row->bytes);
            printf(",\"status\":%d,\"code\":\"%s\"}\n", row->want ? (int)error->http : 0,
                   error->code);
        }
    }
}

/* Streams that end the connection, at the limit that servers have. */
static void rows_put_ws(void) {
    for (size_t i = 0; i < COUNT_OF(ws_rows); i++) {
        const struct ws_row *row = &ws_rows[i];
        bool closes = row->ending != WS_ENDS_WHOLE && row->ending != WS_ENDS_HALF;
        if (closes && (row->max == 0 || row->max == 65536)) {
            struct ws_bytes stream = ws_text_read(row->stream, false);
            const struct error_row *error = error_row(row->ending < 0 ? row->ending : MPS_OK);
            rows_put("ws", &row->about, stream.at, stream.bytes);
            printf(",\"close\":%d,\"code\":\"%s\"}\n",
                   row->ending < 0 ? (int)error_close_code(error) : row->ending,
                   row->ending < 0 ? error->code : "");
            free(stream.at);
        }
    }
}

static int rows_put_all(void) {
    rows_put_http();
    rows_put_ws();
    return 0;
}

#endif

/* Section 42: WebSocket frames read in every cut, close codes, heads, the handshake's key. */

#include "conformance/rfc6455.h"

struct ws_bytes {
    char *at;
    size_t bytes, capacity;
};

static void ws_bytes_add(struct ws_bytes *b, const void *at, size_t bytes) {
    if (b->at == NULL || b->capacity - b->bytes < bytes) {
        b->capacity = (b->bytes + bytes) * 2 + 16;
        b->at = realloc(b->at, b->capacity);
    }
    memcpy(b->at + b->bytes, at, bytes);
    b->bytes += bytes;
}

static u32 ws_text_number(const char **at, int base) {
    char *end;
    u32 value = (u32)strtoul(*at, &end, base);
    *at = end;
    return value;
}

static void ws_text_piece(const char **at, struct ws_bytes *out) {
    const char *end;
    if (**at == '\'') {
        end = strchr(*at + 1, '\'');
        ws_bytes_add(out, *at + 1, (size_t)(end - *at - 1));
        *at = end + 1;
    } else if (**at == '<') {
        for (++*at; **at != '>'; *at += 2) {
            u8 byte = (u8)(hex_value((u8)(*at)[0]) << 4 | hex_value((u8)(*at)[1]));
            ws_bytes_add(out, &byte, 1);
        }
        ++*at;
    } else if (**at == '#') {
        ++*at;
        u32 code = ws_text_number(at, 10);
        u8 bytes[2] = {(u8)(code >> 8), (u8)code};
        ws_bytes_add(out, bytes, 2);
    } else {
        printf("a payload cannot be read: %s\n", *at);
        abort();
    }
}

/* How often the thing behind is meant, as in 3*'a'. */
static u32 ws_text_times(const char **at) {
    u32 times = 1;
    if (ascii_digit((u8) * *at)) {
        times = ws_text_number(at, 10);
        MPS_ASSERT(**at == '*');
        ++*at;
    }
    return times;
}

static struct ws_bytes ws_text_payload(const char **at) {
    struct ws_bytes out = {NULL, 0, 0};
    ws_bytes_add(&out, "", 0);
    while (**at && **at != ' ') {
        u32 times = ws_text_times(at);
        const char *piece = *at;
        for (u32 i = 0; i < times; i++) {
            *at = piece;
            ws_text_piece(at, &out);
        }
    }
    return out;
}

static u8 ws_text_opcode(const char **at) {
    static const struct {
        const char *name;
        u8 opcode;
    } names[] = {{"cont", WS_CONTINUATION}, {"text", WS_TEXT}, {"bin", WS_BINARY},
                 {"close", WS_CLOSE},       {"ping", WS_PING}, {"pong", WS_PONG}};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        size_t bytes = strlen(names[i].name);
        if (strncmp(*at, names[i].name, bytes) == 0) {
            *at += bytes;
            return names[i].opcode;
        }
    }
    MPS_ASSERT(strncmp(*at, "op", 2) == 0);
    *at += 3;
    return (u8)hex_value((u8)(*at)[-1]);
}

struct ws_frame_text {
    u8 opcode, fin, rsv, masked, mask[4];
    u32 bits, bytes_max;
    struct ws_bytes payload;
};

static struct ws_frame_text ws_text_frame(const char **at) {
    /* the mask of the examples of 5.7 */
    struct ws_frame_text f = {0, WS_FIN,     0,           WS_MASKED, {0x37, 0xfa, 0x21, 0x3d},
                              0, UINT32_MAX, {NULL, 0, 0}};
    f.opcode = ws_text_opcode(at);
    while (**at && **at != ' ' && **at != '=') {
        char kind = *(*at)++;
        if (kind == '+') {
            f.fin = 0;
        } else if (kind == '^') {
            f.rsv = (u8)(ws_text_number(at, 10) << 4);
        } else if (kind == '/' && **at == '-') {
            f.masked = 0;
            ++*at;
        } else if (kind == '/') {
            store_be32(f.mask, ws_text_number(at, 16));
        } else if (kind == ':') {
            f.bits = ws_text_number(at, 10);
        } else {
            MPS_ASSERT(kind == '%');
            f.bytes_max = ws_text_number(at, 10);
        }
    }
    *at += **at == '=';
    f.payload = ws_text_payload(at);
    return f;
}

/* Independent of ws_put_head: what is tested must not write its own input. */
static void ws_frame_put(const struct ws_frame_text *f, struct ws_bytes *out) {
    struct ws_bytes frame = {NULL, 0, 0};
    u64 length = f->payload.bytes;
    u32 bits = f->bits ? f->bits : length < 126 ? 0 : length < 65536 ? 16 : 64;
    u8 code = bits == 0 ? (u8)length : bits == 16 ? 126 : 127;
    u8 head[] = {(u8)(f->fin | f->rsv | f->opcode), (u8)(f->masked | code)};
    ws_bytes_add(&frame, head, sizeof head);
    for (u32 shift = bits; shift > 0; shift -= 8) {
        u8 byte = (u8)(length >> (shift - 8));
        ws_bytes_add(&frame, &byte, 1);
    }
    if (f->masked) {
        ws_bytes_add(&frame, f->mask, sizeof f->mask);
    }
    for (size_t i = 0; i < f->payload.bytes; i++) {
        u8 byte = (u8)(f->payload.at[i] ^ (f->masked ? f->mask[i % 4] : 0));
        ws_bytes_add(&frame, &byte, 1);
    }
    ws_bytes_add(out, frame.at, size_min(frame.bytes, f->bytes_max));
    free(frame.at);
}

/* An event as bytes that can be compared: its opcode, its length, its payload. */
static void ws_event_put(u8 opcode, const char *at, size_t bytes, struct ws_bytes *out) {
    u8 head[5] = {opcode};
    store_be32(head + 1, (u32)bytes);
    ws_bytes_add(out, head, sizeof head);
    ws_bytes_add(out, at, bytes);
}

/* The bytes of a stream, or of the events that are written in the same way. */
static struct ws_bytes ws_text_read(const char *text, bool events) {
    struct ws_bytes out = {NULL, 0, 0};
    ws_bytes_add(&out, "", 0);
    for (const char *at = text; *at; at += *at == ' ') {
        if (*at == '<') {
            ws_text_piece(&at, &out);
            continue;
        }
        u32 times = ws_text_times(&at);
        struct ws_frame_text f = ws_text_frame(&at);
        for (u32 i = 0; i < times; i++) {
            if (events) {
                ws_event_put(f.opcode, f.payload.at, f.payload.bytes, &out);
            } else {
                ws_frame_put(&f, &out);
            }
        }
        free(f.payload.at);
    }
    return out;
}

/* What reading a stream came to: its events, how it ended, and after how many bytes. */
struct ws_run {
    struct ws_reader reader;
    struct ws_bytes kept, events;
    u32 max;
    int ending;
    size_t given;
};

static int ws_run_event(struct ws_run *run, const struct ws_event *event) {
    u32 code;
    ws_event_put(event->opcode, event->payload.at, event->payload.bytes, &run->events);
    if (event->opcode != WS_CLOSE) {
        return 0;
    }
    mps_error error = ws_close_code(event->payload, &code);
    return error != MPS_OK ? error : (int)code;
}

/* Gives the next bytes, behind those kept, in memory that ends where they do. What is kept must be
   the message so far and at most 139 bytes: a control frame that is not complete, with some to
   spare. */
static void ws_run_give(struct ws_run *run, const char *more, size_t more_bytes) {
    size_t bytes = run->kept.bytes + more_bytes, used = 0;
    char *block = malloc(bytes ? bytes : 1), *at = block;
    int got = 1;
    memcpy(block, run->kept.at, run->kept.bytes);
    memcpy(block + run->kept.bytes, more, more_bytes);
    run->given += more_bytes;
    while (got == 1 && run->ending == 0) {
        struct ws_event event;
        got = ws_read(&run->reader, at, &bytes, &used, run->max, &event);
        CHECK(used <= bytes);
        run->ending = got == 1 ? ws_run_event(run, &event) : got;
        at += used;
        bytes -= used;
    }
    free(run->kept.at);
    run->kept = (struct ws_bytes){malloc(bytes ? bytes : 1), bytes, bytes};
    memcpy(run->kept.at, at, bytes);
    free(block);
    if (run->ending == 0) {
        CHECK(bytes <= run->reader.message_bytes + 139);
        CHECK(run->reader.message_bytes <= run->max);
        CHECK(!ws_reader_idle(&run->reader) || run->reader.message_bytes == 0);
    }
}

static struct ws_run ws_run_begin(u32 max) {
    struct ws_run run = {{0}, {NULL, 0, 0}, {NULL, 0, 0}, max ? max : 65536, 0, 0};
    ws_bytes_add(&run.kept, "", 0);
    ws_bytes_add(&run.events, "", 0);
    return run;
}

/* The stream is over: is it half of something? */
static void ws_run_end(struct ws_run *run) {
    if (run->ending == 0 && (!ws_reader_idle(&run->reader) || run->kept.bytes)) {
        run->ending = WS_ENDS_HALF;
    }
    free(run->kept.at);
    run->kept.at = NULL;
}

/* A first piece of `first` bytes, then pieces of `step`. A step of 1 is taken within 64 bytes of
   the beginning and 16 of the end, and in between too unless the stream is long. */
static struct ws_run ws_run_cut(struct ws_bytes stream, u32 max, size_t first, size_t step) {
    struct ws_run run = ws_run_begin(max);
    for (size_t piece = first; run.ending == 0; piece = step) {
        if (step == 1 && stream.bytes > 4096 && run.given >= 64 && run.given < stream.bytes - 16) {
            piece = size_min(4093, stream.bytes - 16 - run.given);
        }
        piece = size_min(piece, stream.bytes - run.given);
        ws_run_give(&run, stream.at + run.given, piece);
        if (run.given == stream.bytes) {
            break;
        }
    }
    ws_run_end(&run);
    return run;
}

static bool ws_run_is(struct ws_run *run, struct ws_bytes events, int ending) {
    bool same = run->ending == ending && run->events.bytes == events.bytes &&
                memcmp(run->events.at, events.at, events.bytes) == 0;
    free(run->events.at);
    return same;
}

/* Every outcome but the middle of something is settled by the last byte of the row's stream, not
   before and not by what follows. */
static void ws_row_check(const void *at) {
    const struct ws_row *row = at;
    struct ws_bytes stream = ws_text_read(row->stream, false);
    struct ws_bytes events = ws_text_read(row->events, true);
    int failed = checks_failed;
    for (size_t cut = 0; cut <= stream.bytes; cut++) {
        struct ws_run run = ws_run_cut(stream, row->max, cut, stream.bytes);
        CHECK_INT(run.ending, row->ending);
        CHECK(ws_run_is(&run, events, row->ending));
        CHECK_INT(run.given, stream.bytes);
        if (stream.bytes > 4096 && cut == 64) {
            cut = stream.bytes - 17;
        }
    }
    for (size_t step = 1; step <= 10; step += 3) {
        struct ws_run run = ws_run_cut(stream, row->max, step, step);
        CHECK_INT(run.ending, row->ending);
        CHECK_INT(run.given, stream.bytes);
        CHECK(ws_run_is(&run, events, row->ending));
    }
    if (row->ending != WS_ENDS_WHOLE && row->ending != WS_ENDS_HALF) {
        static const char junk[] = "\x81\xfe\xff\xff\x00\x00\x00\x00\xc0\xc0\xc0\xc0\xc0";
        ws_bytes_add(&stream, junk, sizeof junk);
        struct ws_run run = ws_run_cut(stream, row->max, stream.bytes, 1);
        CHECK(ws_run_is(&run, events, row->ending));
    }
    if (checks_failed > failed) {
        printf("  in %s\n", row->stream);
    }
    free(stream.at);
    free(events.at);
}

static void ws_table(void) {
    CONFORMANCE("rfc6455 frames", ws_rows, ws_row_check);
}

/* The streams of the table, each with bytes changed at random: whatever comes of it, it comes of
   it in any cut. */
static void ws_changed(void) {
    static const struct siphash_key key = {1, 2};
    u64 counter = 0;
    for (size_t i = 0; i < COUNT_OF(ws_rows); i++) {
        struct ws_bytes stream = ws_text_read(ws_rows[i].stream, false);
        for (u32 round = 0; round < 16 && stream.bytes && stream.bytes <= 4096; round++) {
            u64 random = siphash(&key, &counter, sizeof counter);
            stream.at[random % size_min(stream.bytes, 32)] ^= (char)(1 << (random >> 32 & 7));
            counter++;
            struct ws_run whole = ws_run_cut(stream, ws_rows[i].max, stream.bytes, 1);
            for (size_t step = 1; step <= 10; step += 3) {
                struct ws_run cut = ws_run_cut(stream, ws_rows[i].max, step, step);
                CHECK(cut.given <= whole.given);
                CHECK(ws_run_is(&cut, whole.events, whole.ending));
            }
            free(whole.events.at);
        }
        free(stream.at);
    }
}

/* A whole frame is decoded where it stands, and exactly its bytes are used. */
static void ws_in_place(void) {
    struct ws_bytes stream = ws_text_read("text='Hello' ping='p' text=126*'a' pong", false);
    static const struct {
        u8 opcode, head_bytes, payload_bytes;
    } wants[] = {{WS_TEXT, 6, 5}, {WS_PING, 6, 1}, {WS_TEXT, 8, 126}, {WS_PONG, 6, 0}};
    struct ws_reader r = {0};
    struct ws_event event;
    char *at = stream.at;
    size_t bytes = stream.bytes, used;
    for (size_t i = 0; i < COUNT_OF(wants); i++) {
        size_t before = bytes;
        CHECK_INT(ws_read(&r, at, &bytes, &used, 65536, &event), 1);
        CHECK_INT(bytes, before);
        CHECK_INT(event.opcode, wants[i].opcode);
        CHECK(event.payload.at == at + wants[i].head_bytes);
        CHECK_INT(event.payload.bytes, wants[i].payload_bytes);
        CHECK_INT(used, wants[i].head_bytes + wants[i].payload_bytes);
        CHECK(ws_reader_idle(&r));
        at += used;
        bytes -= used;
    }
    CHECK_INT(bytes, 0);
    CHECK_INT(ws_read(&r, at, &bytes, &used, 65536, &event), 0);
    CHECK_INT(used, 0);
    free(stream.at);
}

/* A step that leaves a message under way: the head before it is used, its bytes stay, gaps close
   when all is used up. */
static void ws_half_way(void) {
    struct ws_bytes stream = ws_text_read("text+='ab' ping='p' cont+='cd' <80>", false);
    struct ws_reader r = {0};
    struct ws_event event;
    char *at = stream.at;
    size_t bytes = stream.bytes, used;
    CHECK(ws_reader_idle(&r));
    CHECK_INT(ws_read(&r, at, &bytes, &used, 65536, &event), 1);
    CHECK_TEXT(event.payload.at, event.payload.bytes, "p");
    CHECK_INT(used, 6);
    CHECK(!ws_reader_idle(&r));
    at += used;
    bytes -= used;
    CHECK_INT(ws_read(&r, at, &bytes, &used, 65536, &event), 0);
    CHECK_INT(used, 0);
    CHECK_TEXT(at, bytes, "abcd\x80");
    CHECK(!ws_reader_idle(&r));
    free(stream.at);

    stream = ws_text_read("text='a' <81>", false);
    r = (struct ws_reader){0};
    bytes = stream.bytes;
    CHECK_INT(ws_read(&r, stream.at, &bytes, &used, 65536, &event), 1);
    bytes -= used;
    at = stream.at + used;
    CHECK_INT(ws_read(&r, at, &bytes, &used, 65536, &event), 0);
    CHECK_INT(used, 0);
    CHECK_INT(bytes, 1);
    CHECK(ws_reader_idle(&r)); /* that byte is the caller's matter */
    free(stream.at);
}

/* What the errors close a socket with. */
static void ws_errors(void) {
    static const struct {
        mps_error error;
        u16 http, ws;
        const char *code;
    } rows[] = {
        {MPS_E_WS_PROTOCOL, 400, 1002, "protocol_error"},
        {MPS_E_WS_BINARY, 400, 1003, "binary_unsupported"},
        {MPS_E_WS_UTF8, 400, 1007, "invalid_utf8"},
        {MPS_E_MESSAGE_TOO_LARGE, 413, 1009, "message_too_large"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const struct error_row *row = error_row(rows[i].error);
        CHECK_INT(row->http, rows[i].http);
        CHECK_INT(error_close_code(row), rows[i].ws);
        CHECK_TEXT(row->code, strlen(row->code), rows[i].code);
    }
}

static void ws_heads(void) {
    static const struct {
        enum ws_opcode opcode;
        size_t payload_bytes, bytes;
        u8 head[WS_HEAD_MAX];
    } rows[] = {
        {WS_TEXT, 0, 2, {0x81, 0}},
        {WS_TEXT, 1, 2, {0x81, 1}},
        {WS_TEXT, 125, 2, {0x81, 125}},
        {WS_TEXT, 126, 4, {0x81, 126, 0, 126}},
        {WS_TEXT, 65535, 4, {0x81, 126, 0xff, 0xff}},
        {WS_TEXT, 65536, 10, {0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0}},
        {WS_TEXT, 0x01020304, 10, {0x81, 127, 0, 0, 0, 0, 1, 2, 3, 4}},
        {WS_CLOSE, 2, 2, {0x88, 2}},
        {WS_PING, 0, 2, {0x89, 0}},
        {WS_PONG, 125, 2, {0x8a, 125}},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        u8 head[WS_HEAD_MAX + 1], want[WS_HEAD_MAX + 1];
        memset(head, 0xaa, sizeof head);
        memset(want, 0xaa, sizeof want); /* nothing behind is touched */
        memcpy(want, rows[i].head, rows[i].bytes);
        CHECK_INT(ws_put_head(head, rows[i].opcode, rows[i].payload_bytes), rows[i].bytes);
        CHECK(memcmp(head, want, sizeof head) == 0);
    }
}

static void ws_key_check(const void *at) {
    const struct ws_key_row *row = at;
    CHECK_INT(ws_key_valid(span_z(row->key)), row->valid);
}

static void ws_keys(void) {
    CONFORMANCE("rfc6455 keys", ws_key_rows, ws_key_check);
    CHECK(!ws_key_valid(span_of(NULL, 0)));
}

static void ws_accepts(void) {
    char out[WS_ACCEPT_BYTES + 1];
    out[WS_ACCEPT_BYTES] = '#';
    ws_accept(SPAN("dGhlIHNhbXBsZSBub25jZQ=="), out); /* 1.3 */
    CHECK_TEXT(out, sizeof out, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=#");
}

static const struct check_test ws_tests[] = {
    {"table", ws_table},       {"changed", ws_changed}, {"in_place", ws_in_place},
    {"half_way", ws_half_way}, {"errors", ws_errors},   {"heads", ws_heads},
    {"keys", ws_keys},         {"accepts", ws_accepts},
};

/* Section 42: WebSocket frames read in every cut, close codes, heads, the handshake's key.

   Rows are written in a small language. A stream is frames with blanks between:

       NAME[+][^RSV][/MASK][:BITS][%BYTES][=PAYLOAD]       or  <hex>, bytes as they are

       NAME   cont text bin close ping pong, or op3 to opf    +  FIN is not set; more follow
       ^RSV   the reserved bits, 1 to 7                       /MASK   8 hex digits, or - for none
       :BITS  the length takes 16 or 64, whatever it is       %BYTES  only that many of the frame

   PAYLOAD is pieces without blanks between: 'text', <hex>, #1000 (a close code). A number and * in
   front of a frame or a piece repeats it. Events are written the same way. */

enum {
    WS_ENDS_WHOLE = 0, /* nothing is left over */
    WS_ENDS_HALF = 1   /* a frame or a message is not complete; else: an error or a close code */
};

struct ws_row {
    const char *rfc, *stream, *events;
    int ending;
    u32 max; /* of a message; 0: 65536 */
};

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
static void ws_row_check(const struct ws_row *row) {
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
        printf("row %s: %s\n", row->rfc, row->stream);
    }
    free(stream.at);
    free(events.at);
}

#define WS_WHOLE(rfc, stream, events) \
    { (rfc), (stream), (events), WS_ENDS_WHOLE, 0 }
#define WS_SAME(rfc, stream) \
    { (rfc), (stream), (stream), WS_ENDS_WHOLE, 0 }
#define WS_HALF(rfc, stream, events) \
    { (rfc), (stream), (events), WS_ENDS_HALF, 0 }
#define WS_BAD(rfc, stream, events) \
    { (rfc), (stream), (events), MPS_E_WS_PROTOCOL, 0 }
#define WS_BAD_BINARY(rfc, stream, events) \
    { (rfc), (stream), (events), MPS_E_WS_BINARY, 0 }
#define WS_BAD_UTF8(rfc, stream, events) \
    { (rfc), (stream), (events), MPS_E_WS_UTF8, 0 }
#define WS_CLOSES(rfc, stream, ending) \
    { (rfc), (stream), (stream), (ending), 0 }
#define WS_MAX(max, stream, events) \
    { "10.4", (stream), (events), WS_ENDS_WHOLE, (max) }
#define WS_TOO_LARGE(max, stream, events) \
    { "10.4", (stream), (events), MPS_E_MESSAGE_TOO_LARGE, (max) }

static const struct ws_row ws_rows[] = {
    /* the RFC's own examples, as it prints them */
    WS_WHOLE("5.7", "<818537fa213d7f9f4d5158>", "text='Hello'"),
    WS_WHOLE("5.7", "<8a8537fa213d7f9f4d5158>", "pong='Hello'"),
    WS_BAD("5.7", "<8105>", ""),
    WS_BAD("5.7", "<0103>", ""),
    WS_BAD("5.7", "<8905>", ""),
    WS_BAD_BINARY("5.7", "<82>", ""),
    /* frames one by one */
    WS_SAME("5.2", ""),
    WS_SAME("5.2", "text"),
    WS_SAME("5.2", "text='a'"),
    WS_SAME("5.2", "text='ab'"),
    WS_SAME("5.2", "text='abc'"),
    WS_SAME("5.2", "text='abcd'"),
    WS_SAME("5.2", "text='abcde'"),
    WS_SAME("5.2", "text='abcdefgh'"),
    WS_SAME("5.2", "text='abcdefghi'"),
    WS_SAME("5.2", "text='abcdefghijklmno'"),
    WS_SAME("5.2", "text='abcdefghijklmnopq'"),
    WS_SAME("5.2", "text=<00>"),
    WS_SAME("5.2", "text=<007f0a0d>"),
    WS_SAME("5.2", "text='a' text='b'"),
    WS_SAME("5.2", "text text text"),
    WS_SAME("5.2", "100*text='x'"),
    WS_SAME("5.2", "text='one' text='two' text='three'"),
    WS_SAME("5.2", "text='{}' ping text='[]' pong='x'"),
    /* lengths */
    WS_SAME("5.2", "text=124*'a'"),
    WS_SAME("5.2", "text=125*'a'"),
    WS_SAME("5.2", "text=126*'a'"),
    WS_SAME("5.2", "text=127*'a'"),
    WS_SAME("5.2", "text=128*'a'"),
    WS_SAME("5.2", "text=255*'a'"),
    WS_SAME("5.2", "text=256*'a'"),
    WS_SAME("5.2", "text=300*'abc'"),
    WS_SAME("5.2", "text=126*'a' text=125*'b'"),
    WS_SAME("5.2", "text=65535*'a'"),
    WS_SAME("5.2", "text=65536*'a'"),
    WS_SAME("5.2", "text=65535*'a' text='b'"),
    WS_SAME("5.2", "text=65536*'a' ping='b'"),
    WS_MAX(70000, "text=65537*'a'", "text=65537*'a'"),
    WS_HALF("5.2", "text%9=4*'a'", ""),
    WS_HALF("5.2", "text%8=126*'a'", ""),
    WS_HALF("5.2", "text%133=126*'a'", ""),
    WS_HALF("5.2", "text%14=65536*'a'", ""),
    WS_HALF("5.2", "text%65549=65536*'a'", ""),
    /* heads cut short */
    WS_HALF("5.2", "<81>", ""),
    WS_HALF("5.2", "<01>", ""),
    WS_HALF("5.2", "<89>", ""),
    WS_HALF("5.2", "<8180>", ""),
    WS_HALF("5.2", "<8185>", ""),
    WS_HALF("5.2", "<81fe>", ""),
    WS_HALF("5.2", "<81fe00>", ""),
    WS_HALF("5.2", "<81fe007e>", ""),
    WS_HALF("5.2", "<81ff>", ""),
    WS_HALF("5.2", "<81ff00>", ""),
    WS_HALF("5.2", "<81ff7f>", ""),
    WS_HALF("5.2", "<81ff00000000000100>", ""),
    WS_HALF("5.2", "<81ff0000000000010000>", ""),
    WS_HALF("5.2", "<818037fa21>", ""),
    WS_HALF("5.2", "text='a' <81>", "text='a'"),
    /* lengths that a shorter form would hold */
    WS_BAD("5.2", "text:16%4", ""),
    WS_BAD("5.2", "text:16%4='a'", ""),
    WS_BAD("5.2", "text:16%4=125*'a'", ""),
    WS_BAD("5.2", "text:64%10", ""),
    WS_BAD("5.2", "text:64%10=125*'a'", ""),
    WS_BAD("5.2", "text:64%10=126*'a'", ""),
    WS_BAD("5.2", "text:64%10=65535*'a'", ""),
    WS_BAD("5.2", "text+='a' cont:16%4='b'", ""),
    WS_BAD("5.2", "text+='a' cont:64%10='b'", ""),
    /* the top bit of 64 */
    WS_BAD("5.2", "<81ff80>", ""),
    WS_BAD("5.2", "<81ffff>", ""),
    WS_BAD("5.2", "text+='a' <80ff80>", ""),
    /* reserved bits */
    WS_BAD("5.2", "text^4%1", ""),
    WS_BAD("5.2", "text^2%1", ""),
    WS_BAD("5.2", "text^1%1", ""),
    WS_BAD("5.2", "text^7%1", ""),
    WS_BAD("5.2", "text^3%1", ""),
    WS_BAD("5.2", "text+^4%1", ""),
    WS_BAD("5.2", "text+^2%1", ""),
    WS_BAD("5.2", "text+^1%1", ""),
    WS_BAD("5.2", "bin^4%1", ""),
    WS_BAD("5.2", "bin^2%1", ""),
    WS_BAD("5.2", "bin^1%1", ""),
    WS_BAD("5.2", "ping^4%1", ""),
    WS_BAD("5.2", "ping^2%1", ""),
    WS_BAD("5.2", "ping^1%1", ""),
    WS_BAD("5.2", "pong^4%1", ""),
    WS_BAD("5.2", "pong^2%1", ""),
    WS_BAD("5.2", "pong^1%1", ""),
    WS_BAD("5.2", "close^4%1", ""),
    WS_BAD("5.2", "close^2%1", ""),
    WS_BAD("5.2", "close^1%1", ""),
    WS_BAD("5.2", "text+='a' cont^4%1", ""),
    WS_BAD("5.2", "text+='a' cont^2%1", ""),
    WS_BAD("5.2", "text+='a' cont^1%1", ""),
    WS_BAD("5.2", "text='a' text^1%1", "text='a'"),
    /* reserved opcodes */
    WS_BAD("5.2", "op3%1", ""),
    WS_BAD("5.2", "op4%1", ""),
    WS_BAD("5.2", "op5%1", ""),
    WS_BAD("5.2", "op6%1", ""),
    WS_BAD("5.2", "op7%1", ""),
    WS_BAD("5.2", "opb%1", ""),
    WS_BAD("5.2", "opc%1", ""),
    WS_BAD("5.2", "opd%1", ""),
    WS_BAD("5.2", "ope%1", ""),
    WS_BAD("5.2", "opf%1", ""),
    WS_BAD("5.2", "op3+%1", ""),
    WS_BAD("5.2", "opf+%1", ""),
    WS_BAD("5.2", "text+='a' op3%1", ""),
    WS_BAD("5.2", "text+='a' opb%1", ""),
    WS_BAD("5.2", "text='a' ping='b' op7%1", "text='a' ping='b'"),
    /* masks */
    WS_BAD("5.1", "text/-%2", ""),
    WS_BAD("5.1", "text/-%2='a'", ""),
    WS_BAD("5.1", "text/-%2=126*'a'", ""),
    WS_BAD("5.1", "text/-%2=65536*'a'", ""),
    WS_BAD("5.1", "ping/-%2='a'", ""),
    WS_BAD("5.1", "pong/-%2", ""),
    WS_BAD("5.1", "close/-%2", ""),
    WS_BAD("5.1", "text+='a' cont/-%2='b'", ""),
    WS_BAD("5.1", "text='a' text/-%2='b'", "text='a'"),
    WS_SAME("5.3", "text/00000000='Hello'"),
    WS_SAME("5.3", "text/ffffffff='Hello'"),
    WS_SAME("5.3", "text/ff000000='abcdefghijklmnopqrstuvwxyz'"),
    WS_SAME("5.3", "text/000000ff='abcdefghijklmnopqrstuvwxyz'"),
    WS_SAME("5.3", "text/80808080='abcdefghijklmnopqrstuvwxyz'"),
    WS_SAME("5.3", "text/12345678=<f09f9880>'and then'<f09f9880>'some'"),
    WS_SAME("5.3", "text/00000000='a' text/ffffffff='b' ping/61616161='aaaa'"),
    WS_WHOLE("5.3", "text+/00000000='abc' cont+/12345678='defgh' cont/ffffffff='ij'",
             "text='abcdefghij'"),
    /* control frames */
    WS_SAME("5.5.2", "ping"),
    WS_SAME("5.5.2", "ping='a'"),
    WS_SAME("5.5.2", "ping=124*'a'"),
    WS_SAME("5.5.2", "ping=125*'a'"),
    WS_SAME("5.5.2", "ping=<00ff80fe>"),
    WS_SAME("5.5.3", "pong"),
    WS_SAME("5.5.3", "pong=125*'a'"),
    WS_SAME("5.5.3", "pong=125*<c0>"),
    WS_SAME("5.5", "300*ping"),
    WS_SAME("5.5", "50*ping=125*'x'"),
    WS_SAME("5.5", "ping='1' pong='2' ping='3' text='4' ping='5'"),
    WS_HALF("5.5", "ping%2=125*'a'", ""),
    WS_HALF("5.5", "ping%10='Hello'", ""),
    WS_HALF("5.5", "pong%130=125*'a'", ""),
    WS_HALF("5.5", "close%7=#1000", ""),
    WS_HALF("5.5", "text='a' ping%130=125*'a'", "text='a'"),
    WS_BAD("5.5", "ping%2=126*'a'", ""),
    WS_BAD("5.5", "pong%2=126*'a'", ""),
    WS_BAD("5.5", "close%2=126*'a'", ""),
    WS_BAD("5.5", "ping%2=65536*'a'", ""),
    WS_BAD("5.5", "ping:16%2='a'", ""),
    WS_BAD("5.5", "pong:64%2='a'", ""),
    WS_BAD("5.5", "text+='a' ping%2=126*'a'", ""),
    WS_BAD("5.5", "ping+%1='a'", ""),
    WS_BAD("5.5", "pong+%1='a'", ""),
    WS_BAD("5.5", "close+%1", ""),
    WS_BAD("5.5", "text+='a' ping+%1", ""),
    WS_BAD("5.5", "text+='a' ping='b' pong+%1", "ping='b'"),
    /* control frames between fragments */
    WS_WHOLE("5.4", "text+='Hel' ping='p' cont='lo'", "ping='p' text='Hello'"),
    WS_WHOLE("5.4", "text+='Hel' pong cont='lo'", "pong text='Hello'"),
    WS_WHOLE("5.4", "text+ ping cont", "ping text"),
    WS_WHOLE("5.4", "text+ ping='a' cont='b' text='c'", "ping='a' text='b' text='c'"),
    WS_WHOLE("5.4", "text+='a' 100*ping='x' cont='b'", "100*ping='x' text='ab'"),
    WS_WHOLE("5.4", "text+='a' ping=125*'x' pong=125*'y' cont='b'",
             "ping=125*'x' pong=125*'y' text='ab'"),
    WS_WHOLE("5.4", "text+='a' ping='1' cont+='b' ping='2' cont+='c' ping='3' cont='d' ping='4'",
             "ping='1' ping='2' ping='3' text='abcd' ping='4'"),
    WS_WHOLE("5.4", "text+='a' 100*ping=125*'x' cont='b'", "100*ping=125*'x' text='ab'"),
    WS_WHOLE("5.4", "text+=300*'a' ping=125*'x' cont+=300*'b' pong cont=300*'c'",
             "ping=125*'x' pong text=300*'a'300*'b'300*'c'"),
    WS_HALF("5.4", "text+='a' ping='p'", "ping='p'"),
    WS_HALF("5.4", "text+='a' ping='p' cont+='b'", "ping='p'"),
    WS_HALF("5.4", "text+='a' ping='p' ping%100=125*'b'", "ping='p'"),
    WS_HALF("5.4", "text+='a' ping='p' cont%5='b'", "ping='p'"),
    /* fragments */
    WS_WHOLE("5.7", "text+='Hel' cont='lo'", "text='Hello'"),
    WS_WHOLE("5.4", "text+ cont", "text"),
    WS_WHOLE("5.4", "text+ cont='a'", "text='a'"),
    WS_WHOLE("5.4", "text+='a' cont", "text='a'"),
    WS_WHOLE("5.4", "text+ cont+ cont", "text"),
    WS_WHOLE("5.4", "text+='a' cont+ cont='b'", "text='ab'"),
    WS_WHOLE("5.4", "text+ 100*cont+ cont='a'", "text='a'"),
    WS_WHOLE("5.4", "text+='a' 300*cont+='b' cont='c'", "text='a'300*'b''c'"),
    WS_WHOLE("5.4", "text+='abcdefghijk' cont+='lm' cont+='nopqrstuvw' cont='xyz'",
             "text='abcdefghijklmnopqrstuvwxyz'"),
    WS_WHOLE("5.4", "text+=100*'a' cont=200*'b'", "text=100*'a'200*'b'"),
    WS_WHOLE("5.4", "text+=40000*'a' cont=25536*'b'", "text=40000*'a'25536*'b'"),
    WS_WHOLE("5.4", "text+='a' cont='b' text+='c' cont='d'", "text='ab' text='cd'"),
    WS_WHOLE("5.4", "text='a' text+='b' cont='c' text='d'", "text='a' text='bc' text='d'"),
    WS_HALF("5.4", "text+", ""),
    WS_HALF("5.4", "text+='a'", ""),
    WS_HALF("5.4", "text+='a' cont+='b'", ""),
    WS_HALF("5.4", "text+='a' <80>", ""),
    WS_HALF("5.4", "text+='a' cont%8='bcd'", ""),
    WS_HALF("5.4", "text='a' text+='b'", "text='a'"),
    WS_BAD("5.4", "cont%1", ""),
    WS_BAD("5.4", "cont+%1", ""),
    WS_BAD("5.4", "text='a' cont%1", "text='a'"),
    WS_BAD("5.4", "ping cont%1", "ping"),
    WS_BAD("5.4", "text+='a' cont='b' cont%1", "text='ab'"),
    WS_BAD("5.4", "text+='a' text%1", ""),
    WS_BAD("5.4", "text+='a' text+%1", ""),
    WS_BAD("5.4", "text+ text%1", ""),
    WS_BAD("5.4", "text+='a' ping text%1", "ping"),
    WS_BAD("5.4", "text+='a' cont+='b' text%1", ""),
    WS_BAD("5.4", "text+='a' bin%1", ""),
    WS_BAD("5.4", "text+='a' bin+%1", ""),
    /* binary messages, refused before their mask or their length is known */
    WS_BAD_BINARY("5.6", "bin%1", ""),
    WS_BAD_BINARY("5.6", "bin+%1='a'", ""),
    WS_BAD_BINARY("5.6", "bin/-%1='a'", ""),
    WS_BAD_BINARY("5.6", "bin%1=65537*'a'", ""),
    WS_BAD_BINARY("5.6", "text='a' ping='b' bin%1='c'", "text='a' ping='b'"),
    /* UTF-8 */
    WS_SAME("8.1", "text=<7f>"),
    WS_SAME("8.1", "text=<c280>"),
    WS_SAME("8.1", "text=<dfbf>"),
    WS_SAME("8.1", "text=<e0a080>"),
    WS_SAME("8.1", "text=<e282ac>"),
    WS_SAME("8.1", "text=<ed9fbf>"),
    WS_SAME("8.1", "text=<ee8080>"),
    WS_SAME("8.1", "text=<efbbbf>'bom'"),
    WS_SAME("8.1", "text=<efbfbeefbfbf>"),
    WS_SAME("8.1", "text=<f0908080>"),
    WS_SAME("8.1", "text=<f09f9880>"),
    WS_SAME("8.1", "text=<f48fbfbf>"),
    WS_SAME("8.1", "text=<cebae1bdb9cf83cebcceb5>"),
    WS_SAME("8.1", "text=7*'a'<e282ac>8*'b'<f09f9880>9*'c'"),
    WS_SAME("8.1", "text=40*<e282ac>"),
    WS_SAME("8.1", "text=65533*'a'<e282ac>"),
    WS_WHOLE("5.6", "text+=<c2> cont=<a2>", "text=<c2a2>"),
    WS_WHOLE("5.6", "text+=<e2> cont=<82ac>", "text=<e282ac>"),
    WS_WHOLE("5.6", "text+=<e282> cont=<ac>", "text=<e282ac>"),
    WS_WHOLE("5.6", "text+=<e2> cont+=<82> cont=<ac>", "text=<e282ac>"),
    WS_WHOLE("5.6", "text+=<e0> cont+=<a0> cont=<80>", "text=<e0a080>"),
    WS_WHOLE("5.6", "text+=<ed> cont+=<9f> cont=<bf>", "text=<ed9fbf>"),
    WS_WHOLE("5.6", "text+=<f0> cont=<9f9880>", "text=<f09f9880>"),
    WS_WHOLE("5.6", "text+=<f09f> cont=<9880>", "text=<f09f9880>"),
    WS_WHOLE("5.6", "text+=<f09f98> cont=<80>", "text=<f09f9880>"),
    WS_WHOLE("5.6", "text+=<f0> cont+=<9f> cont+=<98> cont=<80>", "text=<f09f9880>"),
    WS_WHOLE("5.6", "text+=<f0> cont+=<90> cont+=<80> cont=<80>", "text=<f0908080>"),
    WS_WHOLE("5.6", "text+=<f4> cont+=<8f> cont+=<bf> cont=<bf>", "text=<f48fbfbf>"),
    WS_WHOLE("5.6", "text+='a'<c2> cont=<a2>'b'", "text='a'<c2a2>'b'"),
    WS_WHOLE("5.6", "text+=<f0> cont+ cont=<9f9880>", "text=<f09f9880>"),
    WS_WHOLE("5.6", "text+=<f0> ping=<9f> cont+=<9f98> pong cont=<80>",
             "ping=<9f> pong text=<f09f9880>"),
    /* what no further byte can make UTF-8 is known at once: the frame is not the last one */
    WS_BAD_UTF8("8.1", "text+=<80>", ""),
    WS_BAD_UTF8("8.1", "text+=<bf>", ""),
    WS_BAD_UTF8("8.1", "text+='a'<80>", ""),
    WS_BAD_UTF8("8.1", "text+='abcdefgh'<80>", ""),
    WS_BAD_UTF8("8.1", "text+=<c0>", ""),
    WS_BAD_UTF8("8.1", "text+=<c1>", ""),
    WS_BAD_UTF8("8.1", "text+=<f5>", ""),
    WS_BAD_UTF8("8.1", "text+=<f8>", ""),
    WS_BAD_UTF8("8.1", "text+=<fe>", ""),
    WS_BAD_UTF8("8.1", "text+=<ff>", ""),
    WS_BAD_UTF8("8.1", "text+=<c220>", ""),
    WS_BAD_UTF8("8.1", "text+=<c2c2>", ""),
    WS_BAD_UTF8("8.1", "text+=<c2a280>", ""),
    WS_BAD_UTF8("8.1", "text+=<e080>", ""),
    WS_BAD_UTF8("8.1", "text+=<e09f>", ""),
    WS_BAD_UTF8("8.1", "text+=<e220>", ""),
    WS_BAD_UTF8("8.1", "text+=<e28220>", ""),
    WS_BAD_UTF8("8.1", "text+=<e282c2>", ""),
    WS_BAD_UTF8("8.1", "text+=<eda0>", ""),
    WS_BAD_UTF8("8.1", "text+=<edbf>", ""),
    WS_BAD_UTF8("8.1", "text+=<f080>", ""),
    WS_BAD_UTF8("8.1", "text+=<f08f>", ""),
    WS_BAD_UTF8("8.1", "text+=<f09f20>", ""),
    WS_BAD_UTF8("8.1", "text+=<f09f9820>", ""),
    WS_BAD_UTF8("8.1", "text+=<f09f98c2>", ""),
    WS_BAD_UTF8("8.1", "text+=<f490>", ""),
    WS_BAD_UTF8("8.1", "text+=<f4bf>", ""),
    WS_BAD_UTF8("8.1", "text%7=<c0>'more'", ""),
    WS_BAD_UTF8("8.1", "text%8=<f490>'more'", ""),
    WS_BAD_UTF8("8.1", "text%10=<c2a2>'a'<80>'more'", ""),
    WS_BAD_UTF8("8.1", "text='a' ping text+=<80>", "text='a' ping"),
    WS_BAD_UTF8("5.6", "text+='a' cont+=<80>", ""),
    WS_BAD_UTF8("5.6", "text+=<c2> cont+='a'", ""),
    WS_BAD_UTF8("5.6", "text+=<c2a2> cont+=<a2>", ""),
    WS_BAD_UTF8("5.6", "text+=<e0> cont+=<9f>", ""),
    WS_BAD_UTF8("5.6", "text+=<e2> cont+=<82> cont+='a'", ""),
    WS_BAD_UTF8("5.6", "text+=<ed> cont+=<a0>", ""),
    WS_BAD_UTF8("5.6", "text+=<f0> cont+=<8f>", ""),
    WS_BAD_UTF8("5.6", "text+=<f4> cont+=<90>", ""),
    WS_BAD_UTF8("5.6", "text+=<f0> ping='p' cont+ cont+=<80>", "ping='p'"),
    /* a character that the message ends in */
    WS_HALF("5.6", "text+=<c2>", ""),
    WS_HALF("5.6", "text+=<f09f98>", ""),
    WS_BAD_UTF8("5.6", "text=<c2>", ""),
    WS_BAD_UTF8("5.6", "text=<e2>", ""),
    WS_BAD_UTF8("5.6", "text=<e282>", ""),
    WS_BAD_UTF8("5.6", "text=<f0>", ""),
    WS_BAD_UTF8("5.6", "text=<f09f>", ""),
    WS_BAD_UTF8("5.6", "text=<f09f98>", ""),
    WS_BAD_UTF8("5.6", "text=<f4>", ""),
    WS_BAD_UTF8("5.6", "text='abcdefgh'<c2>", ""),
    WS_BAD_UTF8("5.6", "text+=<c2> cont", ""),
    WS_BAD_UTF8("5.6", "text+=<c2> ping cont", "ping"),
    WS_BAD_UTF8("5.6", "text+='a' cont=<c2>", ""),
    WS_BAD_UTF8("5.6", "text+=<f0> cont+=<9f> cont=<98>", ""),
    WS_BAD_UTF8("5.6", "text='a' text=<c2>", "text='a'"),
    /* close frames */
    WS_CLOSES("5.5.1", "close", 1005),
    WS_CLOSES("5.5.1", "close=<03>", MPS_E_WS_PROTOCOL),
    WS_CLOSES("5.5.1", "close=#0", MPS_E_WS_PROTOCOL),
    WS_CLOSES("5.5.1", "close=#1", MPS_E_WS_PROTOCOL),
    WS_CLOSES("5.5.1", "close=#999", MPS_E_WS_PROTOCOL),
    WS_CLOSES("7.4.1", "close=#1000", 1000),
    WS_CLOSES("7.4.1", "close=#1001", 1001),
    WS_CLOSES("7.4.1", "close=#1002", 1002),
    WS_CLOSES("7.4.1", "close=#1003", 1003),
    WS_CLOSES("7.4.1", "close=#1004", MPS_E_WS_PROTOCOL),
    WS_CLOSES("7.4.1", "close=#1005", MPS_E_WS_PROTOCOL),
    WS_CLOSES("7.4.1", "close=#1006", MPS_E_WS_PROTOCOL),
    WS_CLOSES("7.4.1", "close=#1007", 1007),
    WS_CLOSES("7.4.1", "close=#1008", 1008),
    WS_CLOSES("7.4.1", "close=#1009", 1009),
    WS_CLOSES("7.4.1", "close=#1010", 1010),
    WS_CLOSES("7.4.1", "close=#1011", 1011),
    WS_CLOSES("11.7", "close=#1012", 1012),
    WS_CLOSES("11.7", "close=#1013", 1013),
    WS_CLOSES("11.7", "close=#1014", 1014),
    WS_CLOSES("7.4.1", "close=#1015", MPS_E_WS_PROTOCOL),
    WS_CLOSES("7.4.2", "close=#1016", MPS_E_WS_PROTOCOL),
    WS_CLOSES("7.4.2", "close=#1100", MPS_E_WS_PROTOCOL),
    WS_CLOSES("7.4.2", "close=#2000", MPS_E_WS_PROTOCOL),
    WS_CLOSES("7.4.2", "close=#2999", MPS_E_WS_PROTOCOL),
    WS_CLOSES("7.4.2", "close=#3000", 3000),
    WS_CLOSES("7.4.2", "close=#3999", 3999),
    WS_CLOSES("7.4.2", "close=#4000", 4000),
    WS_CLOSES("7.4.2", "close=#4999", 4999),
    WS_CLOSES("7.4.2", "close=#5000", MPS_E_WS_PROTOCOL),
    WS_CLOSES("7.4.2", "close=#65535", MPS_E_WS_PROTOCOL),
    WS_CLOSES("5.5.1", "close=#1000'bye'", 1000),
    WS_CLOSES("5.5.1", "close=#1000<e282ac>", 1000),
    WS_CLOSES("5.5.1", "close=<03e8>123*'a'", 1000),
    WS_CLOSES("5.5.1", "close=#4001'resumed_elsewhere'", 4001),
    WS_CLOSES("8.1", "close=#1000<80>", MPS_E_WS_UTF8),
    WS_CLOSES("8.1", "close=#1000'a'<c2>", MPS_E_WS_UTF8),
    WS_CLOSES("8.1", "close=#1000<eda080>", MPS_E_WS_UTF8),
    WS_CLOSES("8.1", "close=#1000<f4908080>", MPS_E_WS_UTF8),
    WS_CLOSES("8.1", "close=#999<80>", MPS_E_WS_PROTOCOL),
    WS_CLOSES("5.5.1", "text='a' ping='b' close=#1001", 1001),
    {"5.4", "text+='a' close=#1000", "close=#1000", 1000, 0},
    {"5.4", "text+=<c2> ping close", "ping close", 1005, 0},
    /* the limit of a message, known with the length */
    WS_MAX(1, "text='a'", "text='a'"),
    WS_TOO_LARGE(1, "text%2='ab'", ""),
    WS_MAX(10, "text=10*'a'", "text=10*'a'"),
    WS_TOO_LARGE(10, "text%2=11*'a'", ""),
    WS_TOO_LARGE(10, "text+%2=11*'a'", ""),
    WS_MAX(10, "text=10*'a' text=10*'b'", "text=10*'a' text=10*'b'"),
    WS_TOO_LARGE(10, "text=10*'a' text%2=11*'b'", "text=10*'a'"),
    WS_MAX(10, "text+=5*'a' cont=5*'b'", "text=5*'a'5*'b'"),
    WS_TOO_LARGE(10, "text+=5*'a' cont%2=6*'b'", ""),
    WS_MAX(10, "text+=10*'a' cont", "text=10*'a'"),
    WS_MAX(10, "text+=10*'a' 5*cont+ cont", "text=10*'a'"),
    WS_TOO_LARGE(10, "text+=10*'a' cont%2='b'", ""),
    WS_TOO_LARGE(10, "text+=4*'a' cont+=4*'b' cont+%2=4*'c'", ""),
    WS_TOO_LARGE(10, "text+=5*'a' ping='p' cont%2=6*'b'", "ping='p'"),
    WS_MAX(10, "ping=125*'a' text=10*'b'", "ping=125*'a' text=10*'b'"),
    WS_MAX(10, "text+=5*'a' ping=125*'p' cont=5*'b'", "ping=125*'p' text=5*'a'5*'b'"),
    WS_MAX(125, "text=125*'a'", "text=125*'a'"),
    WS_TOO_LARGE(125, "text%4=126*'a'", ""),
    WS_MAX(126, "text=126*'a'", "text=126*'a'"),
    WS_TOO_LARGE(126, "text+=126*'a' cont%4=126*'b'", ""),
    WS_MAX(4096, "text+=4000*'a' cont=96*'b'", "text=4000*'a'96*'b'"),
    WS_TOO_LARGE(4096, "text%4=4097*'a'", ""),
    WS_TOO_LARGE(65535, "text%10=65536*'a'", ""),
    WS_TOO_LARGE(65536, "text%10=65537*'a'", ""),
    WS_TOO_LARGE(65536, "text+=65536*'a' cont%2='b'", ""),
    WS_TOO_LARGE(65536, "<81ff0000000000010001>", ""),
    WS_TOO_LARGE(65536, "<81ff0000000100000000>", ""),
    WS_TOO_LARGE(65536, "<81ff7fffffffffffffff>", ""),
    WS_TOO_LARGE(65536, "text+='a' <80ff7fffffffffffffff>", ""),
    WS_TOO_LARGE(65536, "text+='a' <80ff0000000100000000>", ""),
    WS_TOO_LARGE(UINT32_MAX, "<81ff0000000100000000>", ""),
    WS_TOO_LARGE(UINT32_MAX, "text+='a' <80ff00000000ffffffff>", ""),
    {"10.4", "text+='a' <80ff00000000fffffffe37fa213d>", "", WS_ENDS_HALF, UINT32_MAX},
    /* what comes first in the stream is what is told */
    WS_BAD("5.2", "text^4/-%1=<80>", ""),
    WS_BAD("5.2", "text/-%2=11*<80>", ""),
    WS_BAD("5.2", "cont^4%1", ""),
    {"5.2", "text:16%4=11*'a'", "", MPS_E_WS_PROTOCOL, 10},
    {"5.2", "<81ff80>", "", MPS_E_WS_PROTOCOL, 10},
    {"5.1", "text/-%2=11*'a'", "", MPS_E_WS_PROTOCOL, 10},
    {"8.1", "text%7=<80>'bcdefghi'", "", MPS_E_WS_UTF8, 10},
    {"8.1", "text+=<c2> op3%1", "", MPS_E_WS_PROTOCOL, 10},
};

_Static_assert(COUNT_OF(ws_rows) >= 200, "the table of cases has to have 200 rows at least");

static void ws_table(void) {
    for (size_t i = 0; i < COUNT_OF(ws_rows); i++) {
        ws_row_check(&ws_rows[i]);
    }
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

static void ws_keys(void) {
    static const struct {
        const char *key;
        bool valid;
    } rows[] = {
        {"dGhlIHNhbXBsZSBub25jZQ==", true},
        {"AAAAAAAAAAAAAAAAAAAAAA==", true},
        {"/////////////////////w==", true},
        {"++++++++++++++++++++8w==", true},
        {"", false},
        {"dGhlIHNhbXBsZSBub25jZQ=", false},
        {"dGhlIHNhbXBsZSBub25jZQ", false},
        {"dGhlIHNhbXBsZSBub25jZQ===", false},
        {"dGhlIHNhbXBsZSBub25jZQ== ", false},
        {" dGhlIHNhbXBsZSBub25jZQ==", false},
        {"dGhlIHNhbXBsZSBub25jZR==", false}, /* bits left over */
        {"dGhlIHNhbXBsZSBub25jZWU=", false}, /* 17 bytes */
        {"dGhlIHNhbXBsZSBub25jZWVl", false}, /* 18 */
        {"dGhlIHNhbXBsZSBub25j", false},     /* 15 */
        {"dGhlIHNhbXBsZSBub2-jZQ==", false},
        {"dGhlIHNhbXBsZSBub2_jZQ==", false},
        {"dGhlIHNh XBsZSBub25jZQ==", false},
        {"dGhl=HNhbXBsZSBub25jZQ==", false},
        {"dGhlIHNhbXBsZSBub25jZQ==dGhlIHNhbXBsZSBub25jZQ==", false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        CHECK_INT(ws_key_valid(span_z(rows[i].key)), rows[i].valid);
    }
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

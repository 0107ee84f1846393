/* websocket: what a client sends behind the upgrade. The messages are the same however the bytes
   were cut; framed anew, whole or in fragments, with another mask, they are themselves; what the
   server frames has the length that its head tells; close codes survive. */

/* What a stream came to: opcode, four bytes of length and payload of each message. */
struct ws_log {
    struct text text;
    int result;
    bool idle;
};

/* Reads all there is; what is left stays in *kept. */
static int ws_read_all(struct ws_reader *r, char *bytes, size_t count, u32 message_max,
                       struct ws_log *log, struct span *kept) {
    struct ws_event event;
    size_t used;
    int got;
    do {
        size_t before = count;
        got = ws_read(r, bytes, &count, &used, message_max, &event);
        FUZZ_CHECK(count <= before && used <= count);
        if (got > 0) {
            u8 length[4];
            store_be32(length, (u32)event.payload.bytes);
            FUZZ_CHECK(event.opcode == WS_TEXT ? event.payload.bytes <= message_max
                                               : event.payload.bytes <= WS_CONTROL_BYTES_MAX);
            FUZZ_CHECK(event.opcode != WS_TEXT || utf8_valid(event.payload));
            text_char(&log->text, (char)event.opcode);
            text_add(&log->text, span_of((char *)length, sizeof length));
            text_add(&log->text, event.payload);
        }
        bytes += used;
        count -= used;
    } while (got > 0);
    *kept = span_of(bytes, count);
    return got;
}

/* Hands the stream over in pieces, what is kept each time at another address. */
static struct ws_log ws_in_pieces(const struct input *in, const char *raw, size_t total,
                                  u32 message_max, bool whole) {
    struct ws_log log = {exact_text(2 * total + 64), 0, false};
    struct ws_reader reader = {0};
    struct span kept = span_of(NULL, 0);
    char *bytes = NULL;
    size_t end = 0;
    for (u32 round = 0; log.result == 0 && end < total; round++) {
        size_t next = whole ? total : size_min(input_cut(in, end, round), total);
        struct text t = exact_text(kept.bytes + next - end);
        text_add(&t, kept);
        text_add(&t, span_of(raw + end, next - end));
        free(bytes);
        bytes = t.at;
        end = next;
        log.result = ws_read_all(&reader, bytes, t.bytes, message_max, &log, &kept);
    }
    log.idle = ws_reader_idle(&reader) && kept.bytes == 0;
    FUZZ_CHECK(!log.text.cut);
    free(bytes);
    return log;
}

/* A client's frame: the server's head with a mask. */
static void ws_put_masked(struct text *t, enum ws_opcode opcode, bool last, struct span payload,
                          u32 mask) {
    u8 head[WS_HEAD_MAX], key[WS_MASK_BYTES];
    size_t bytes = ws_put_head(head, opcode, payload.bytes);
    FUZZ_CHECK(ws_frame_bytes(head, bytes) == bytes + payload.bytes);
    FUZZ_CHECK(ws_frame_bytes(head, bytes - 1) == 0);
    head[0] = (u8)(last ? head[0] : head[0] & ~WS_FIN);
    head[1] |= WS_MASKED;
    store_be32(key, mask);
    text_add(t, span_of((char *)head, bytes));
    text_add(t, span_of((char *)key, sizeof key));
    for (size_t i = 0; i < payload.bytes; i++) {
        text_char(t, (char)((u8)payload.at[i] ^ key[i % WS_MASK_BYTES]));
    }
}

static void check_close(struct span payload) {
    u8 frame[WS_CLOSE_BYTES_MAX];
    u32 code, again;
    if (ws_close_code(payload, &code) == MPS_OK) {
        struct span reason =
            payload.bytes > 2 ? span_of(payload.at + 2, payload.bytes - 2) : SPAN("");
        reason = utf8_cut(reason, WS_REASON_BYTES_MAX / 4);
        size_t bytes = ws_put_close(frame, code, reason);
        FUZZ_CHECK(ws_frame_bytes(frame, bytes) == bytes);
        FUZZ_CHECK(ws_close_code(span_of((char *)frame + 2, bytes - 2), &again) == MPS_OK);
        FUZZ_CHECK(again == code);
    }
}

/* The messages of `log` as a stream again: every text in two fragments with a ping between. */
static struct text ws_stream(const struct input *in, const struct ws_log *log, bool fragments) {
    struct text t = exact_text(8 * log->text.bytes + 64);
    struct span rest = text_span(&log->text);
    for (u32 i = 0; rest.bytes; i++) {
        enum ws_opcode opcode = (enum ws_opcode)rest.at[0];
        struct span payload = span_of(rest.at + 5, load_be32((const u8 *)rest.at + 1));
        size_t cut = fragments && opcode == WS_TEXT ? input_pick(in, 10 + i, payload.bytes + 1) : 0;
        if (cut) {
            ws_put_masked(&t, WS_TEXT, false, span_of(payload.at, cut), (u32)in->hash);
            opcode = WS_CONTINUATION;
        }
        ws_put_masked(&t, opcode, true, span_of(payload.at + cut, payload.bytes - cut), i << 5);
        rest = span_of(payload.at + payload.bytes, rest.bytes - 5 - payload.bytes);
        if (opcode == WS_CLOSE) {
            check_close(payload);
        }
    }
    FUZZ_CHECK(!t.cut);
    return t;
}

static void check_framed_anew(const struct input *in, const struct ws_log *log, bool fragments) {
    struct text stream = ws_stream(in, log, fragments);
    struct ws_log again = ws_in_pieces(in, stream.at, stream.bytes, UINT16_MAX, true);
    FUZZ_CHECK(again.result == 0 && again.idle);
    FUZZ_CHECK(span_equal(text_span(&again.text), text_span(&log->text)));
    free(again.text.at);
    free(stream.at);
}

static void check_key(const struct input *in) {
    char accept[WS_ACCEPT_BYTES], *key = exact_copy(in->at, size_min(in->bytes, WS_KEY_BYTES));
    u8 nonce[WS_NONCE_BYTES], digest[SHA1_BYTES];
    struct span text = span_of(key, size_min(in->bytes, WS_KEY_BYTES));
    if (ws_key_valid(text)) {
        char spelled[WS_KEY_BYTES];
        FUZZ_CHECK(base64_read(text, nonce, sizeof nonce) == sizeof nonce);
        FUZZ_CHECK(base64_write(nonce, sizeof nonce, spelled) == WS_KEY_BYTES);
        FUZZ_CHECK(memcmp(spelled, key, WS_KEY_BYTES) == 0);
        ws_accept(text, accept);
        FUZZ_CHECK(base64_read(span_of(accept, sizeof accept), digest, SHA1_BYTES) == SHA1_BYTES);
    }
    free(key);
}

/* Does a frame break a rule that its head alone tells (RFC 6455, 5.2, 5.4, 5.5)? `within`: a
   message is under way. */
static bool frame_forbidden(const u8 *at, u64 length, u32 more, bool within) {
    u32 opcode = at[0] & 15;
    bool control = opcode > 7, last = at[0] > 127;
    if ((at[0] >> 4 & 7) != 0 || at[1] < 128 || (opcode > 2 && opcode < 8) || opcode > 10) {
        return true;
    }
    if (control ? !last || length > 125 : (opcode == 0) != within || opcode == 2) {
        return true;
    }
    return (more == 2 && length < 126) || (more == 8 && length < 65536);
}

/* A stream that was read to its end without a fault has no such frame. */
static void check_frames_allowed(const struct input *in) {
    bool within = false;
    size_t at = 0;
    while (in->bytes - at >= 2) {
        u32 code = in->at[at + 1] & 127, more = code < 126 ? 0 : code == 126 ? 2 : 8;
        u64 length = more ? 0 : code;
        if (in->bytes - at < 2 + more) {
            return;
        }
        for (u32 i = 0; i < more; i++) {
            length = length << 8 | in->at[at + 2 + i];
        }
        FUZZ_CHECK(!frame_forbidden(in->at + at, length, more, within));
        within = in->at[at] & 8 ? within : in->at[at] < 128;
        if (in->bytes - at < 2 + more + 4 || in->bytes - at - (2 + more + 4) < length) {
            return;
        }
        at += 2 + more + 4 + (size_t)length;
    }
}

/* The head of any length tells it, once it is whole. */
static void check_head_length(const struct input *in) {
    u8 head[WS_HEAD_MAX];
    size_t length = input_pick(in, 15, (size_t)1 << input_pick(in, 16, 33));
    size_t bytes = ws_put_head(head, WS_TEXT, length);
    FUZZ_CHECK(bytes == (length < 126 ? 2 : length < 65536 ? 4 : 10));
    FUZZ_CHECK(ws_frame_bytes(head, bytes) == bytes + length);
    FUZZ_CHECK(ws_frame_bytes(head, bytes - 1) == 0);
}

static void check_stream(const struct input *in, u32 message_max) {
    const char *raw = (const char *)in->at;
    struct ws_log a = ws_in_pieces(in, raw, in->bytes, message_max, true);
    struct ws_log b = ws_in_pieces(in, raw, in->bytes, message_max, false);
    FUZZ_CHECK(a.result == b.result && span_equal(text_span(&a.text), text_span(&b.text)));
    FUZZ_CHECK(a.result < 0 || a.idle == b.idle);
    if (a.result == 0) {
        check_frames_allowed(in);
    }
    check_framed_anew(in, &a, false);
    check_framed_anew(in, &a, true);
    free(a.text.at);
    free(b.text.at);
}

static void fuzz_websocket(const struct input *in) {
    check_stream(in, UINT16_MAX);
    check_stream(in, 20);
    check_key(in);
    check_head_length(in);
}

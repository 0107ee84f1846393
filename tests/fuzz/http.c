/* http: a request with its body. Head, chunks and queries come out the same however the bytes were
   cut; nothing behind the head matters to it; what is found lies within it; a field that nobody
   reads changes nothing; a body that is chunked anew decodes to itself; targets are safe to log. */

struct head_outcome {
    i64 result;
    struct http_head head;
    char *bytes; /* that the spans point into; owned */
};

/* Hands the head over in pieces, each time at another address. */
static struct head_outcome head_in_pieces(const struct input *in, const struct http_limits *limits,
                                          bool whole) {
    struct head_outcome o = {0};
    size_t scanned = 0, end = 0;
    for (u32 round = 0; o.result == 0 && end < in->bytes; round++) {
        end = whole ? in->bytes : size_min(input_cut(in, end, round), in->bytes);
        free(o.bytes);
        o.bytes = exact_copy(in->at, end);
        o.result = http_head_parse(o.bytes, end, &scanned, limits, &o.head);
        FUZZ_CHECK(o.result <= (i64)end && (o.result == 0 || scanned == 0));
    }
    return o;
}

#define HEAD_SPANS (5 + HTTP_FIELDS)

static void head_spans(const struct http_head *h, struct span spans[HEAD_SPANS]) {
    const struct span own[] = {h->target, h->path, h->query, h->host, h->forwarded_rest};
    memcpy(spans, own, sizeof own);
    memcpy(spans + COUNT_OF(own), h->fields, sizeof h->fields);
}

/* All that a head says, as bytes to compare; the spans are compared by what they hold. */
static void check_heads_equal(const struct http_head *a, const struct http_head *b) {
    struct span x[HEAD_SPANS], y[HEAD_SPANS];
    head_spans(a, x);
    head_spans(b, y);
    for (u32 i = 0; i < HEAD_SPANS; i++) {
        FUZZ_CHECK(!x[i].at == !y[i].at && span_equal(x[i], y[i]));
    }
    FUZZ_CHECK(a->method == b->method && a->minor == b->minor && a->chunked == b->chunked);
    FUZZ_CHECK(a->keep_alive == b->keep_alive && a->has_length == b->has_length);
    FUZZ_CHECK(a->expects_continue == b->expects_continue && a->subprotocol == b->subprotocol);
    FUZZ_CHECK(a->content_coded == b->content_coded && a->content_length == b->content_length);
    FUZZ_CHECK(a->connection_upgrade == b->connection_upgrade);
    FUZZ_CHECK(a->forwarded_more == b->forwarded_more);
}

static void check_head_within(const struct head_outcome *o) {
    struct span spans[HEAD_SPANS];
    size_t bytes = (size_t)o->result;
    FUZZ_CHECK(bytes >= 4 && memcmp(o->bytes + bytes - 4, "\r\n\r\n", 4) == 0);
    head_spans(&o->head, spans);
    for (u32 i = 0; i < HEAD_SPANS; i++) {
        bool inside = spans[i].at >= o->bytes && spans[i].at + spans[i].bytes <= o->bytes + bytes;
        bool literal = span_equal(spans[i], SPAN("/")) || span_equal(spans[i], SPAN("*"));
        FUZZ_CHECK(!spans[i].at || inside || literal);
        FUZZ_CHECK(!spans[i].at || !span_has(spans[i], '\n'));
    }
    for (size_t i = 0; i < bytes; i++) { /* a line ends in CR LF, and neither stands alone */
        u8 c = (u8)o->bytes[i];
        FUZZ_CHECK(c != '\r' || o->bytes[i + 1] == '\n');
        FUZZ_CHECK(c != '\n' || (i && o->bytes[i - 1] == '\r'));
        FUZZ_CHECK((c >= ' ' && c != 0x7f) || c == '\t' || c == '\r' || c == '\n');
    }
    FUZZ_CHECK(!(o->head.chunked && o->head.has_length));
}

/* The head without what stands behind it, and with a field more, says the same. */
static void check_head_alone(const struct head_outcome *o, const struct http_limits *limits) {
    static const char field[] = "X-Fuzz: more\r\n\r\n";
    struct http_head again;
    size_t bytes = (size_t)o->result, scanned = 0;
    char *alone = exact_copy(o->bytes, bytes);
    FUZZ_CHECK(http_head_parse(alone, bytes, &scanned, limits, &again) == o->result);
    check_heads_equal(&again, &o->head);
    free(alone);
    struct text more = exact_text(bytes + sizeof field - 3);
    struct http_limits wider = {limits->head_bytes_max + 64, limits->target_bytes_max};
    text_add(&more, span_of(o->bytes, bytes - 2));
    text_add(&more, span_of(field, sizeof field - 1));
    FUZZ_CHECK(http_head_parse(more.at, more.bytes, &scanned, &wider, &again) == (i64)more.bytes);
    check_heads_equal(&again, &o->head);
    free(more.at);
}

static u32 occurrences(struct span text, struct span part) {
    u32 found = 0;
    for (size_t i = 0; i + part.bytes <= text.bytes; i++) {
        found += memcmp(text.at + i, part.at, part.bytes) == 0;
    }
    return found;
}

static void check_target(struct span asked) {
    char line[HTTP_LOG_TARGET_BYTES_MAX];
    struct text t = text_on(line, sizeof line);
    struct span query, name, value;
    http_put_target(&t, asked);
    if (!asked.bytes) {
        return;
    }
    const char *end = asked.at + asked.bytes, *question = http_find(asked.at, end, '?');
    FUZZ_CHECK(!t.cut);
    for (size_t i = 0; i < t.bytes; i++) {
        FUZZ_CHECK(line[i] > ' ' && line[i] < 0x7f);
    }
    query = question < end ? http_between(question + 1, end) : span_of(NULL, 0);
    while (http_query_next(&query, &name, &value)) {
        /* Long enough to stand nowhere else by chance; what does is no secret. What the line has of
           its own is REDACTED and escapes. */
        bool plain = value.bytes >= 16 && !span_has(value, '=') && !span_has(value, '%');
        if (plain && span_equal(name, SPAN("token")) && occurrences(asked, value) == 1) {
            FUZZ_CHECK(occurrences(text_span(&t), value) == 0);
        }
    }
}

static void check_query(const struct input *in, struct span query) {
    static const char *const names[] = {"token", "limit", "a", ""};
    char out[64];
    bool found;
    const char *name = names[input_pick(in, 4, 4)];
    i64 bytes = http_query_find(query, name, out, sizeof out, &found);
    FUZZ_CHECK(bytes <= (i64)sizeof out && (found || bytes == 0));
    FUZZ_CHECK(bytes <= 0 || !span_has(span_of(out, (size_t)bytes), 0));
    i64 plain = http_percent_decode(query, input_pick(in, 5, 2), out, sizeof out);
    FUZZ_CHECK(plain <= (i64)sizeof out && plain <= (i64)query.bytes);
}

struct body_outcome {
    int result;
    size_t body_bytes, raw_at;
    char *bytes; /* owned */
};

static struct body_outcome chunks_in_pieces(const struct input *in, const char *raw, size_t count,
                                            size_t body_max, bool whole) {
    struct body_outcome o = {.bytes = exact_copy(NULL, 0)};
    struct http_chunks chunks = {0};
    size_t end = 0;
    for (u32 round = 0; o.result == 0 && end < count; round++) {
        size_t next = whole ? count : size_min(input_cut(in, end, round), count);
        struct text t = exact_text(next);
        text_add(&t, span_of(o.bytes, end));
        text_add(&t, span_of(raw + end, next - end));
        free(o.bytes);
        o.bytes = t.at;
        end = next;
        o.result = http_chunks_decode(&chunks, o.bytes, &o.body_bytes, &o.raw_at, end, body_max);
        FUZZ_CHECK(o.raw_at <= end && o.body_bytes <= o.raw_at && o.body_bytes <= body_max);
        FUZZ_CHECK(o.result != 0 || o.raw_at == end);
    }
    return o;
}

/* Any body, in chunks with an extension and a trailer, decodes to itself. */
static void check_chunked(const struct input *in, struct span body) {
    struct text t = exact_text(16 * body.bytes + 64);
    size_t overhead = 64; /* rather too much: of the trailer */
    for (size_t at = 0; at < body.bytes;) {
        size_t part = 1 + input_pick(in, 6 + (u32)at, size_min(body.bytes - at, 0xfff));
        u8 size[2] = {(u8)(part >> 8), (u8)part};
        text_hex(&t, size, 2);
        text_z(&t, part % 2 ? "\r\n" : ";x=\"y\"\r\n");
        text_add(&t, span_of(body.at + at, part));
        text_z(&t, "\r\n");
        at += part;
        overhead += part % 2 ? 0 : 6;
    }
    text_z(&t, input_pick(in, 8, 2) ? "0\r\n\r\n" : "0\r\nX-Sum: 1\r\n\r\n");
    FUZZ_CHECK(!t.cut);
    struct body_outcome o = chunks_in_pieces(in, t.at, t.bytes, body.bytes, true);
    bool too_many = o.result == MPS_E_HEAD_TOO_LARGE && overhead > HTTP_CHUNK_OVERHEAD_MAX;
    FUZZ_CHECK(too_many || (o.result == 1 && o.raw_at == t.bytes &&
                            span_equal(span_of(o.bytes, o.body_bytes), body)));
    free(o.bytes);
    free(t.at);
}

static void check_chunks(const struct input *in, const char *raw, size_t count, size_t body_max) {
    struct body_outcome a = chunks_in_pieces(in, raw, count, body_max, true);
    struct body_outcome b = chunks_in_pieces(in, raw, count, body_max, false);
    FUZZ_CHECK(a.result == b.result);
    FUZZ_CHECK(a.result < 0 ||
               (a.raw_at == b.raw_at &&
                span_equal(span_of(a.bytes, a.body_bytes), span_of(b.bytes, b.body_bytes))));
    free(a.bytes);
    free(b.bytes);
}

static void check_head(const struct input *in, u32 head_bytes_max, u32 target_bytes_max) {
    struct http_limits limits = {head_bytes_max, target_bytes_max};
    struct head_outcome a = head_in_pieces(in, &limits, true);
    struct head_outcome b = head_in_pieces(in, &limits, false);
    FUZZ_CHECK(a.result == b.result);
    if (a.result) {
        check_heads_equal(&a.head, &b.head);
        check_target(a.head.target);
    }
    if (a.result > 0) {
        size_t behind = (size_t)a.result;
        check_head_within(&a);
        check_head_alone(&a, &limits);
        check_query(in, a.head.query);
        check_chunks(in, a.bytes + behind, in->bytes - behind, 65536);
        check_chunks(in, a.bytes + behind, in->bytes - behind, 16);
    }
    free(a.bytes);
    free(b.bytes);
}

static void fuzz_http(const struct input *in) {
    char date[32];
    struct text t = text_on(date, sizeof date);
    check_head(in, 8192, 2048);
    check_head(in, 512, 64);
    check_chunks(in, (const char *)in->at, in->bytes, 65536);
    check_chunked(in, span_of((const char *)in->at, in->bytes));
    http_put_date(&t, (i64)(in->hash >> 24));
    FUZZ_CHECK(t.bytes == 29);
    FUZZ_CHECK(strlen(http_reason((u32)input_pick(in, 9, 600))) < 32);
}

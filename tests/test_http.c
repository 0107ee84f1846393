/* Section 40: request heads, chunked bodies, percent-encoding, queries, dates, logged targets. */

/* Limits of most rows. */
static const struct http_limits http_test_limits = {.head_bytes_max = 400, .target_bytes_max = 60};

#include "conformance/rfc9112.h"

static void http_span_told(struct text *t, const char *name, struct span s) {
    if (s.at) {
        text_char(t, ' ');
        text_z(t, name);
        text_char(t, '=');
        text_add(t, s);
    }
}

/* Everything a head says, on one line; what is absent or false is left out. */
static struct text http_head_told(const struct http_head *head, char *buffer, size_t capacity) {
    static const char *const names[HTTP_FIELDS] = {"auth", "id",      "fwd",    "sig",   "origin",
                                                   "none", "upgrade", "ws-key", "ws-ver"};
    struct text t = text_on(buffer, capacity);
    text_z(&t, http_method_names[head->method]);
    text_z(&t, head->minor ? " 1.1" : " 1.0");
    text_z(&t, head->keep_alive ? " keep" : "");
    text_z(&t, head->chunked ? " chunked" : "");
    text_z(&t, head->expects_continue ? " expects" : "");
    text_z(&t, head->content_coded ? " coded" : "");
    text_z(&t, head->connection_upgrade ? " upgrade" : "");
    text_z(&t, head->subprotocol ? " v1" : "");
    if (head->has_length) {
        text_z(&t, " length=");
        text_u64(&t, head->content_length);
    }
    http_span_told(&t, "target", head->target);
    http_span_told(&t, "path", head->path);
    http_span_told(&t, "query", head->query);
    http_span_told(&t, "host", head->host);
    for (u32 i = 0; i < HTTP_FIELDS; i++) {
        http_span_told(&t, names[i], head->fields[i]);
    }
    http_span_told(&t, "rest", head->forwarded_rest);
    text_z(&t, head->forwarded_more ? " more" : "");
    CHECK(!t.cut);
    return t;
}

/* Parses a copy that ends where its heap block ends, so that sanitizers see a read beyond it.
   `told` may be NULL. */
static i64 http_parse_copy(const char *bytes, size_t count, size_t *scanned,
                           const struct http_limits *limits, char *told, size_t capacity) {
    struct http_head head;
    char *copy = malloc(count ? count : 1);
    memcpy(copy, bytes, count);
    memset(&head, 0xaa, sizeof head);
    i64 result = http_head_parse(copy, count, scanned, limits, &head);
    if (told && result) {
        struct text t = http_head_told(&head, told, capacity - 1);
        told[t.bytes] = 0;
    }
    CHECK(result != 0 ? *scanned == 0 : *scanned <= count);
    free(copy);
    return result;
}

/* Feeds a text whose last byte settles the outcome: whole, cut in two at every byte, and in steps
   of every size. No prefix may have an outcome, and the head must say the same each time. */
static void http_feed(const char *text, size_t bytes, const struct http_limits *limits, i64 want) {
    char whole[1024] = "", told[1024] = "";
    size_t scanned = 0;
    int failed = checks_failed;
    CHECK_INT(http_parse_copy(text, bytes, &scanned, limits, whole, sizeof whole), want);
    for (size_t cut = 0; cut < bytes; cut++) {
        scanned = 0;
        CHECK_INT(http_parse_copy(text, cut, &scanned, limits, NULL, 0), 0);
        CHECK_INT(http_parse_copy(text, bytes, &scanned, limits, told, sizeof told), want);
        CHECK_TEXT(told, strlen(told), whole);
    }
    for (size_t step = 1; step < 20; step++) {
        scanned = 0;
        for (size_t count = step; count < bytes; count += step) {
            CHECK_INT(http_parse_copy(text, count, &scanned, limits, NULL, 0), 0);
        }
        CHECK_INT(http_parse_copy(text, bytes, &scanned, limits, told, sizeof told), want);
        CHECK_TEXT(told, strlen(told), whole);
    }
    if (checks_failed > failed) {
        printf("  in \"%.*s\"\n", (int)bytes, text);
    }
}

/* What follows a settled outcome must not change it. */
static void http_feed_followed(const struct http_row *row, i64 want) {
    static const char *const followers[] = {"\r\n\r\n", "\n", "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
                                            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    for (size_t i = 0; i < COUNT_OF(followers); i++) {
        char text[1024];
        size_t scanned = 0, more = strlen(followers[i]);
        memcpy(text, row->text, row->bytes);
        memcpy(text + row->bytes, followers[i], more);
        i64 got = http_parse_copy(text, row->bytes + more, &scanned, &http_test_limits, NULL, 0);
        CHECK_INT(got, want);
        if (got != want) {
            printf("  in \"%.*s\" + %zu\n", (int)row->bytes, row->text, i);
        }
    }
}

static void http_head_check(const void *at) {
    const struct http_row *row = at;
    i64 want = row->want == MPS_OK ? (i64)row->bytes : row->want;
    http_feed(row->text, row->bytes, &http_test_limits, want);
    http_feed_followed(row, want);
}

static void http_heads(void) {
    CONFORMANCE("rfc9112 heads", http_rows, http_head_check);
}

static void http_meaning_check(const void *at) {
    const struct http_meaning *row = at;
    char text[512], told[1024] = "";
    size_t scanned = 0;
    int bytes = snprintf(text, sizeof text, "%sHost: h\r\n\r\n", row->head);
    i64 got = http_parse_copy(text, (size_t)bytes, &scanned, &http_test_limits, told, sizeof told);
    CHECK_INT(got, row->told ? bytes : MPS_E_BAD_REQUEST);
    if (row->told) {
        CHECK_TEXT(told, strlen(told), row->told);
        http_feed(text, (size_t)bytes, &http_test_limits, bytes);
    }
}

static void http_heads_say(void) {
    CONFORMANCE("rfc9112 meanings", http_meanings, http_meaning_check);
}

/* After a fault the log finds what there was. */
static void http_heads_say_after_faults(void) {
    static const struct {
        const char *head, *told;
    } rows[] = {
        {"PUT /a?b HTTP/1.1\r\nA : b\r\n", "PUT 1.1 target=/a?b path=/a query=b"},
        {"PUT /a?b HTTP/2.0\r\n", "PUT 1.0 target=/a?b"},
        {"PUT /a HTTP/1.1\r\nOrigin: o\r\n\r\n", "PUT 1.1 keep target=/a path=/a origin=o"},
    };
    struct http_head head;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char told[256];
        size_t scanned = 0;
        CHECK(http_head_parse(rows[i].head, strlen(rows[i].head), &scanned, &http_test_limits,
                              &head) < 0);
        struct text t = http_head_told(&head, told, sizeof told);
        CHECK_TEXT(t.at, t.bytes, rows[i].told);
    }
}

/* Heads of exactly the limit pass, one byte more is too large, known with the limit's last byte. */
static void http_head_limits(void) {
    static const char head[] = "GET /12345 HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n";
    size_t bytes = sizeof head - 1;
    for (u32 limit = 1; limit < bytes; limit++) {
        struct http_limits limits = {.head_bytes_max = limit, .target_bytes_max = 6};
        http_feed(head, limit, &limits, MPS_E_HEAD_TOO_LARGE);
        size_t scanned = 0;
        CHECK_INT(http_parse_copy(head, bytes, &scanned, &limits, NULL, 0), MPS_E_HEAD_TOO_LARGE);
    }
    struct http_limits exact = {.head_bytes_max = (u32)bytes, .target_bytes_max = 6};
    http_feed(head, bytes, &exact, (i64)bytes);
    exact.target_bytes_max = 5; /* known with the sixth byte of the target */
    http_feed(head, 10, &exact, MPS_E_TARGET_TOO_LONG);
    /* Both at once: the target is named, as it can be shortened. */
    exact.head_bytes_max = 10;
    http_feed(head, 10, &exact, MPS_E_TARGET_TOO_LONG);
    exact.head_bytes_max = 9;
    http_feed(head, 9, &exact, MPS_E_HEAD_TOO_LARGE);
}

/* A pipelined request stays where it is. */
static void http_head_leaves_the_rest(void) {
    static const char text[] =
        "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n";
    struct http_head head;
    size_t scanned = 0;
    i64 first = http_head_parse(text, sizeof text - 1, &scanned, &http_test_limits, &head);
    CHECK_INT(first, 28);
    CHECK_TEXT(head.path.at, head.path.bytes, "/1");
    CHECK_INT(http_head_parse(text + first, sizeof text - 1 - (size_t)first, &scanned,
                              &http_test_limits, &head),
              28);
    CHECK_TEXT(head.path.at, head.path.bytes, "/2");
}

/* Random bytes that look like HTTP: whole and cut give the same, and nothing reads beyond. */
static void http_heads_random(void) {
    static const char *const parts[] = {
        "GET ",     "/",    "?",         " HTTP/1.1",         "\r\n", "\r", "\n",
        "Host:",    " h",   ":",         "Expect: ",          "a",    "\t", "#",
        "\r\n\r\n", "\x80", " HTTP/1.0", "Content-Length: 1", ","};
    u32 seed = 1;
    for (int round = 0; round < 4000; round++) {
        char text[256];
        size_t bytes = 0;
        if (round % 4) {
            bytes = (size_t)snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: h\r\n");
        }
        while (bytes < 120) {
            seed = seed * 1664525 + 1013904223;
            const char *part = parts[(seed >> 16) % COUNT_OF(parts)];
            memcpy(text + bytes, part, strlen(part));
            bytes += strlen(part);
        }
        struct http_limits limits = {.head_bytes_max = 100, .target_bytes_max = 20};
        char whole[512] = "", told[512] = "";
        size_t scanned = 0;
        i64 want = http_parse_copy(text, bytes, &scanned, &limits, whole, sizeof whole), got = 0;
        for (size_t count = 1; count <= bytes && got == 0; count++) {
            got = http_parse_copy(text, count, &scanned, &limits, told, sizeof told);
        }
        CHECK_INT(got, want);
        CHECK_TEXT(told, strlen(told), whole);
    }
}

/* Feeds a chunked body in pieces of `step` bytes into a buffer that is as large as it must be and
   gives the outcome; `first` is the size of the first piece. */
static int http_chunks_feed(const struct http_chunk_row *row, size_t first, size_t step,
                            size_t *given) {
    struct http_chunks c = {0};
    size_t raw_at = 0, raw_end = 0, body_bytes = 0;
    int result = 0;
    char *bytes = malloc(row->bytes + 1);
    *given = 0;
    for (size_t piece = first; result == 0 && *given <= row->bytes; piece = step) {
        piece = size_min(piece, row->bytes - *given);
        char *moved = malloc(raw_end + piece + 1); /* nothing may depend on where it stands */
        memcpy(moved, bytes, raw_end);
        free(bytes);
        bytes = moved;
        memcpy(bytes + raw_end, row->text + *given, piece);
        raw_end += piece;
        *given += piece;
        result = http_chunks_decode(&c, bytes, &body_bytes, &raw_at, raw_end, HTTP_TEST_BODY_MAX);
        if (result == 0) {
            CHECK_INT(raw_at, raw_end);
            raw_at = raw_end = body_bytes; /* what was used up may be overwritten */
        }
        if (*given == row->bytes) {
            break;
        }
    }
    if (result >= 0) {
        CHECK_TEXT(bytes, body_bytes, row->body);
        CHECK_INT(raw_at, result ? raw_end : body_bytes);
    }
    free(bytes);
    return result;
}

static void http_chunk_check(const void *at) {
    const struct http_chunk_row *row = at;
    int failed = checks_failed;
    size_t given;
    for (size_t cut = 0; cut <= row->bytes; cut++) {
        CHECK_INT(http_chunks_feed(row, cut, row->bytes, &given), row->want);
        CHECK_INT(given, row->bytes); /* not before its last byte */
    }
    for (size_t step = 1; step < 5; step++) {
        CHECK_INT(http_chunks_feed(row, step, step, &given), row->want);
        CHECK_INT(given, row->bytes);
    }
    if (checks_failed > failed) {
        printf("  in \"%.*s\"\n", (int)row->bytes, row->text);
    }
}

static void http_chunks_table(void) {
    CONFORMANCE("rfc9112 chunks", http_chunk_rows, http_chunk_check);
}

/* What stands in front of the raw bytes and what follows the body are left alone. */
static void http_chunks_in_place(void) {
    char bytes[] = "12345##3\r\nabc\r\n0\r\n\r\nGET /";
    struct http_chunks c = {0};
    size_t body_bytes = 5, raw_at = 7;
    CHECK_INT(http_chunks_decode(&c, bytes, &body_bytes, &raw_at, sizeof bytes - 1, 8), 1);
    CHECK_TEXT(bytes, body_bytes, "12345abc");
    CHECK_TEXT(bytes + raw_at, sizeof bytes - 1 - raw_at, "GET /");
    CHECK_INT(http_chunks_decode(&c, bytes, &body_bytes, &raw_at, sizeof bytes - 1, 8), 1);
    CHECK_TEXT(bytes + raw_at, sizeof bytes - 1 - raw_at, "GET /");
}

/* Extensions and trailers share one allowance, used up exactly and passed by one. */
static void http_chunks_overhead(void) {
    for (u32 over = 0; over < 2; over++) {
        char bytes[HTTP_CHUNK_OVERHEAD_MAX + 64];
        /* ";" and "T:", the CR of the trailer and the last CR count, too */
        size_t extension = 1000, trailer = HTTP_CHUNK_OVERHEAD_MAX - extension - 5 + over, at = 0;
        at += (size_t)sprintf(bytes + at, "1;");
        memset(bytes + at, 'e', extension);
        at += extension;
        at += (size_t)sprintf(bytes + at, "\r\nx\r\n0\r\nT:");
        memset(bytes + at, 't', trailer);
        at += trailer;
        at += (size_t)sprintf(bytes + at, "\r\n\r\n");
        struct http_chunks c = {0};
        size_t body_bytes = 0, raw_at = 0;
        CHECK_INT(http_chunks_decode(&c, bytes, &body_bytes, &raw_at, at, 1),
                  over ? MPS_E_HEAD_TOO_LARGE : 1);
        CHECK_INT(raw_at, over ? at - 2 : at);
    }
}

/* A body_max near 2^64 cannot make a size overflow. */
static void http_chunks_huge(void) {
    char bytes[] = "ffffffffffffffff\r\nx";
    struct http_chunks c = {0};
    size_t body_bytes = 0, raw_at = 0;
    CHECK_INT(http_chunks_decode(&c, bytes, &body_bytes, &raw_at, sizeof bytes - 1, SIZE_MAX), 0);
    CHECK_INT(body_bytes, 1);
    CHECK(c.left == UINT64_MAX - 1);
}

static void http_percent_table(void) {
    static const struct {
        struct span in;
        bool plus_is_space;
        i64 want;
        const char *out;
    } rows[] = {
        {{"", 0}, true, 0, ""},
        {{"abc", 3}, true, 3, "abc"},
        {{"%41%62%7A", 9}, true, 3, "Abz"},
        {{"%c3%A4", 6}, true, 2, "\xc3\xa4"},
        {{"%25%2541", 8}, true, 4, "%%41"},
        {{"a+b", 3}, true, 3, "a b"},
        {{"a+b", 3}, false, 3, "a+b"},
        {{"%2B", 3}, true, 1, "+"},
        {{"%20", 3}, false, 1, " "},
        {{"%2f%2F", 6}, false, 2, "//"},
        {{"%01%ff", 6}, false, 2, "\x01\xff"},
        {{"12345678", 8}, true, 8, "12345678"},
        {{"1234567%38", 10}, true, 8, "12345678"},
        {{"123456789", 9}, true, -1, NULL},
        {{"12345678%", 9}, true, -1, NULL},
        {{"%", 1}, true, -1, NULL},
        {{"%4", 2}, true, -1, NULL},
        {{"a%4g", 4}, true, -1, NULL},
        {{"%g4", 3}, true, -1, NULL},
        {{"%%41", 4}, true, -1, NULL},
        {{"% 41", 4}, true, -1, NULL},
        {{"%+1", 3}, true, -1, NULL},
        {{"%00", 3}, true, -1, NULL},
        {{"a%00b", 5}, false, -1, NULL},
        {{"a\0b", 3}, false, -1, NULL},
        {{"%411", 2}, true, -1, NULL}, /* the span ends within the escape */
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char out[9] = "########";
        i64 got = http_percent_decode(rows[i].in, rows[i].plus_is_space, out, 8);
        CHECK_INT(got, rows[i].want);
        CHECK_INT(out[8], 0);
        if (rows[i].out && got >= 0) {
            CHECK_TEXT(out, (size_t)got, rows[i].out);
        }
    }
}

/* The pairs of a query as "name=value|", with '!' where there is no '='. */
static void http_query_walk(void) {
    static const struct {
        const char *query, *want;
    } rows[] = {
        {"", ""},
        {"a=b", "a=b|"},
        {"a=b&c=d", "a=b|c=d|"},
        {"a", "a!|"},
        {"a=", "a=|"},
        {"=b", "=b|"},
        {"=", "=|"},
        {"a=b=c", "a=b=c|"},
        {"&&a=1&&&b&", "a=1|b!|"},
        {"&", ""},
        {"a?b=c;d", "a?b=c;d|"},
        {"%61=%62", "%61=%62|"},
        {"a=1&a=2", "a=1|a=2|"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char buffer[64];
        struct text t = text_on(buffer, sizeof buffer);
        struct span query = span_z(rows[i].query), name, value;
        while (http_query_next(&query, &name, &value)) {
            text_add(&t, name);
            text_char(&t, value.at ? '=' : '!');
            text_add(&t, value);
            text_char(&t, '|');
        }
        CHECK_TEXT(t.at, t.bytes, rows[i].want);
    }
    struct span none = {NULL, 0}, name, value;
    CHECK(!http_query_next(&none, &name, &value));
}

static void http_query_table(void) {
    static const struct {
        const char *query, *name;
        bool found;
        i64 want;
        const char *out;
    } rows[] = {
        {"limit=50", "limit", true, 2, "50"},
        {"a=1&limit=50", "limit", true, 2, "50"},
        {"limit=1&limit=2", "limit", true, 1, "1"},
        {"limit=&limit=2", "limit", true, 0, ""},
        {"limit&limit=2", "limit", true, 0, ""},
        {"limits=1&limi=2", "limit", false, 0, ""},
        {"LIMIT=1", "limit", false, 0, ""},
        {"%6Cimi%74=1", "limit", true, 1, "1"},
        {"a+b=1", "a b", true, 1, "1"},
        {"a=x+y%2B", "a", true, 4, "x y+"},
        {"%zz=1&a=2", "a", true, 1, "2"},
        {"a%=1&a=2", "a", true, 1, "2"},
        {"limit%00=1", "limit", false, 0, ""},
        {"a=%zz", "a", true, -1, NULL},
        {"a=%zz&a=1", "a", true, -1, NULL},
        {"a=12345678", "a", true, 8, "12345678"},
        {"a=123456789", "a", true, -1, NULL},
        {"", "a", false, 0, ""},
        {"=1", "", true, 1, "1"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char out[8];
        bool found = !rows[i].found;
        i64 got = http_query_find(span_z(rows[i].query), rows[i].name, out, sizeof out, &found);
        CHECK_INT(got, rows[i].want);
        CHECK_INT(found, rows[i].found);
        if (got > 0) {
            CHECK_TEXT(out, (size_t)got, rows[i].out);
        }
    }
}

static void http_dates(void) {
    static const struct {
        i64 unix_s;
        const char *want;
    } rows[] = {
        {0, "Thu, 01 Jan 1970 00:00:00 GMT"},
        {86399, "Thu, 01 Jan 1970 23:59:59 GMT"},
        {86400, "Fri, 02 Jan 1970 00:00:00 GMT"},
        {5097599, "Sat, 28 Feb 1970 23:59:59 GMT"},
        {5097600, "Sun, 01 Mar 1970 00:00:00 GMT"},
        {68169600, "Tue, 29 Feb 1972 00:00:00 GMT"},
        {94694399, "Sun, 31 Dec 1972 23:59:59 GMT"},
        {784111777, "Sun, 06 Nov 1994 08:49:37 GMT"},
        {946684799, "Fri, 31 Dec 1999 23:59:59 GMT"},
        {946684800, "Sat, 01 Jan 2000 00:00:00 GMT"},
        {951782400, "Tue, 29 Feb 2000 00:00:00 GMT"},
        {951868800, "Wed, 01 Mar 2000 00:00:00 GMT"},
        {1709210096, "Thu, 29 Feb 2024 12:34:56 GMT"},
        {2147483648, "Tue, 19 Jan 2038 03:14:08 GMT"},
        {4107542399, "Sun, 28 Feb 2100 23:59:59 GMT"},
        {4107542400, "Mon, 01 Mar 2100 00:00:00 GMT"},
        {4294967296, "Sun, 07 Feb 2106 06:28:16 GMT"},
        {13574563200, "Tue, 29 Feb 2400 00:00:00 GMT"},
        {253402300799, "Fri, 31 Dec 9999 23:59:59 GMT"},
        {253402300800, "Fri, 31 Dec 9999 23:59:59 GMT"},
        {INT64_MAX, "Fri, 31 Dec 9999 23:59:59 GMT"},
        {-1, "Thu, 01 Jan 1970 00:00:00 GMT"},
        {INT64_MIN, "Thu, 01 Jan 1970 00:00:00 GMT"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char buffer[32];
        struct text t = text_on(buffer, 29);
        http_put_date(&t, rows[i].unix_s);
        CHECK_TEXT(t.at, t.bytes, rows[i].want);
        CHECK(!t.cut);
    }
}

static void http_targets_logged(void) {
    static const struct {
        const char *target, *want;
    } rows[] = {
        {"", ""},
        {"/", "/"},
        {"*", "*"},
        {"/a/b?c=d&e", "/a/b?c=d&e"},
        {"/ws?token=secret", "/ws?token=REDACTED"},
        {"/ws?token=secret&a=1", "/ws?token=REDACTED&a=1"},
        {"/ws?a=1&token=s&token=t", "/ws?a=1&token=REDACTED&token=REDACTED"},
        {"/ws?%74oke%6E=secret", "/ws?%74oke%6E=REDACTED"},
        {"/ws?token=a=b", "/ws?token=REDACTED"},
        {"/ws?token=", "/ws?token=REDACTED"},
        {"/ws?token", "/ws?token"},
        {"/ws?tokens=1&xtoken=2", "/ws?tokens=REDACTED&xtoken=REDACTED"},
        {"/l?udp%5Ftoken=1&match_TICKET=2&tok=3",
         "/l?udp%5Ftoken=REDACTED&match_TICKET=REDACTED&tok=3"},
        {"/ws?&&token=s&", "/ws?&&token=REDACTED&"},
        {"/token=x", "/token=x"},
        {"/?", "/?"},
        {"/?&", "/?&"},
        {"http://h/ws?token=s", "http://h/ws?token=REDACTED"},
        {"/\xc3\xa4\n\x7f \"", "/%C3%A4%0A%7F%20\""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char buffer[256];
        struct text t = text_on(buffer, sizeof buffer);
        http_put_target(&t, span_z(rows[i].target));
        CHECK_TEXT(t.at, t.bytes, rows[i].want);
    }
    struct text none = text_on(NULL, 0);
    http_put_target(&none, span_of(NULL, 0));
    CHECK_INT(none.bytes, 0);
}

/* Cut at 200 bytes, between escapes, and nothing after the cut. */
static void http_targets_cut(void) {
    char target[300], buffer[256];
    for (u32 plain = 195; plain <= 201; plain++) {
        struct text t = text_on(buffer, sizeof buffer);
        memset(target, 'a', sizeof target);
        target[0] = '/';
        target[plain] = '\n';
        http_put_target(&t, span_of(target, sizeof target));
        CHECK_INT(t.bytes, plain <= 197 ? 200 : u32_min(plain, 200));
        CHECK(memchr(t.at, '\n', t.bytes) == NULL);
        CHECK_INT(memchr(t.at, '%', t.bytes) != NULL, plain <= 197);
    }
    struct text t = text_on(buffer, sizeof buffer);
    memset(target, 'a', sizeof target);
    memcpy(target + 190, "?token=secret", 13);
    http_put_target(&t, span_of(target, sizeof target));
    CHECK_TEXT(t.at + 190, t.bytes - 190, "?token=RED");
}

static void http_reasons(void) {
    CHECK(strcmp(http_reason(404), "Not Found") == 0);
    CHECK(strcmp(http_reason(101), "Switching Protocols") == 0);
    CHECK(strcmp(http_reason(413), "Content Too Large") == 0);
    CHECK(strcmp(http_reason(999), "") == 0);
    for (size_t i = 0; i < COUNT_OF(errors); i++) {
        CHECK(http_reason(errors[i].http)[0] != 0);
    }
    for (size_t i = 1; i < COUNT_OF(http_statuses); i++) {
        CHECK(http_statuses[i - 1].status < http_statuses[i].status);
    }
}

/* Every row stands under its own length, and both tables of classes hold what the RFCs list. */
static void http_tables_fit(void) {
    for (size_t length = 0; length < COUNT_OF(http_names); length++) {
        for (size_t i = 0; i < HTTP_NAMES_PER_LENGTH; i++) {
            CHECK(http_names[length][i].lower[0] == 0 ||
                  strlen(http_names[length][i].lower) == length);
        }
    }
    for (int c = 0; c < 256; c++) {
        bool alnum = ascii_digit((u8)c) || (ascii_lower((u8)c) >= 'a' && ascii_lower((u8)c) <= 'z');
        CHECK_INT((http_class[c] & HTTP_TOKEN) != 0,
                  alnum || (c && strchr("!#$%&'*+-.^_`|~", c) != NULL));
        CHECK_INT((http_class[c] & HTTP_HOST_NAME) != 0,
                  alnum || (c && strchr("-._~!$&'()*+,;=", c) != NULL));
    }
}

static const struct check_test http_tests[] = {
    {"heads", http_heads},
    {"heads_say", http_heads_say},
    {"heads_say_after_faults", http_heads_say_after_faults},
    {"head_limits", http_head_limits},
    {"head_leaves_the_rest", http_head_leaves_the_rest},
    {"heads_random", http_heads_random},
    {"chunks_table", http_chunks_table},
    {"chunks_in_place", http_chunks_in_place},
    {"chunks_overhead", http_chunks_overhead},
    {"chunks_huge", http_chunks_huge},
    {"percent_table", http_percent_table},
    {"query_walk", http_query_walk},
    {"query_table", http_query_table},
    {"dates", http_dates},
    {"targets_logged", http_targets_logged},
    {"targets_cut", http_targets_cut},
    {"reasons", http_reasons},
    {"tables_fit", http_tables_fit},
};

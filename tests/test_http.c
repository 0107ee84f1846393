/* Section 40: request heads, chunked bodies, percent-encoding, queries, dates, logged targets. */

/* Limits of most rows. */
static const struct http_limits http_test_limits = {.head_bytes_max = 400, .target_bytes_max = 60};

struct http_row {
    const char *text;
    size_t bytes;
    mps_error want; /* MPS_OK: the text is one whole head */
};

/* Each text ends with the very byte that settles the outcome. */
#define ROW(literal, want) \
    { (literal), sizeof(literal) - 1, (want) }
#define GOOD(literal) ROW(literal, MPS_OK)
#define BAD(literal) ROW(literal, MPS_E_BAD_REQUEST)
/* One request line that is judged at its end; one that a whole head makes good. */
#define LINE(line, want) ROW(line "\r\n", want)
#define LINE_GOOD(line) ROW(line "\r\nHost: h\r\n\r\n", MPS_OK)
/* One field line (judged at its LF); fields that the whole head judges, with Host and without. */
#define FIELD(line) ROW("GET / HTTP/1.1\r\nHost: h\r\n" line "\n", MPS_E_BAD_REQUEST)
#define FIELDS(lines, want) ROW("POST / HTTP/1.1\r\nHost: h\r\n" lines "\r\n\r\n", want)
#define HOSTS(lines, want) ROW("GET / HTTP/1.1\r\n" lines "\r\n", want)
#define OLD(lines, want) ROW("GET / HTTP/1.0\r\n" lines "\r\n", want)

#define TEN "0123456789"
#define THIRTY TEN TEN TEN

static const struct http_row http_rows[] = {
    /* methods */
    LINE_GOOD("GET / HTTP/1.1"),
    LINE_GOOD("HEAD / HTTP/1.1"),
    LINE_GOOD("POST / HTTP/1.1"),
    LINE_GOOD("PUT / HTTP/1.1"),
    LINE_GOOD("DELETE / HTTP/1.1"),
    LINE_GOOD("OPTIONS / HTTP/1.1"),
    LINE_GOOD("PATCH / HTTP/1.1"),
    LINE_GOOD("BREW / HTTP/1.1"),
    LINE_GOOD("get / HTTP/1.1"),
    LINE_GOOD("G / HTTP/1.1"),
    LINE_GOOD("!#$%&'*+-.^_`|~09azAZ / HTTP/1.1"),
    LINE_GOOD("ABCDEFGHIJKLMNOPQRSTUVWXYZ012345 / HTTP/1.1"),
    LINE("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456 / HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("G@T / HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("GET: / HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("G\xc3\x84T / HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("G\0T / HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE(" GET / HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("\tGET / HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("GET\t/ HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("GET", MPS_E_BAD_REQUEST),
    LINE("GET ", MPS_E_BAD_REQUEST),
    LINE("\x16\x03\x01\x02", MPS_E_BAD_REQUEST), /* a TLS greeting */
    /* empty lines before the request line */
    GOOD("\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"),
    BAD("\r\n\r\n"),
    BAD("\n"),
    BAD("\r\n\n"),
    BAD("\r\r\n"),
    BAD("\rGET / HTTP/1.1\r\n"),
    BAD("\r\nG@T / HTTP/1.1\r\n"),
    BAD("\r\nGET: / HTTP/1.1\r\n"), /* would do as a field */
    /* targets */
    LINE_GOOD("GET /a/b;c=d/%20?x=1&y={\"a\":[2]} HTTP/1.1"),
    LINE_GOOD("GET /? HTTP/1.1"),
    LINE_GOOD("GET // HTTP/1.1"),
    LINE_GOOD("GET /!$&'()*+,;=:@-._~|\\^`\"<> HTTP/1.1"),
    LINE_GOOD("GET /" THIRTY TEN TEN "012345678 HTTP/1.1"),
    LINE_GOOD("OPTIONS * HTTP/1.1"),
    LINE_GOOD("GET http://h HTTP/1.1"),
    LINE_GOOD("GET http://h/ HTTP/1.1"),
    LINE_GOOD("GET HTTPS://example.org:8080/a?b HTTP/1.1"),
    LINE_GOOD("GET http://[::1]:80?b HTTP/1.1"),
    LINE("GET * HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("OPTIONS ** HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("OPTIONS *?a HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("CONNECT h:80 HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("GET h HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("GET ?a HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("GET ftp://h/ HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("GET http:/h/ HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("GET http:// HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("GET http:///a HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("GET http://?a HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("GET http://:80/ HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("GET http://u@h/ HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("GET http://u:p@h/ HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("GET http://h:x/ HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("GET http://h\\a HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("GET /a#b HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("GET /a?b#c HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("GET /\xc3\xa4 HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("GET /aaaaaaaaaaaaaaaaaaaaaaa?b=\x80 HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("GET /\x7f HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("GET /a\tb HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("GET /a\0b HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("GET /a\rb HTTP/1.1", MPS_E_BAD_REQUEST),
    BAD("GET /a\n"),
    LINE("GET  / HTTP/1.1", MPS_E_BAD_REQUEST),
    /* target too long: known with its 61st byte, after which nothing else counts */
    ROW("GET /" THIRTY THIRTY, MPS_E_TARGET_TOO_LONG),
    ROW("GET ?" THIRTY THIRTY, MPS_E_TARGET_TOO_LONG),
    ROW("GET /" TEN "?" THIRTY TEN "012345678", MPS_E_TARGET_TOO_LONG),
    ROW("\r\nDELETE *" THIRTY THIRTY, MPS_E_TARGET_TOO_LONG),
    LINE("G@T /" THIRTY THIRTY " HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("GET /#" THIRTY THIRTY " HTTP/1.1", MPS_E_BAD_REQUEST),
    /* versions */
    OLD("", MPS_OK),
    LINE_GOOD("GET / HTTP/1.2"),
    LINE_GOOD("GET / HTTP/1.9"),
    LINE("GET / HTTP/2.0", MPS_E_HTTP_VERSION),
    LINE("GET / HTTP/0.9", MPS_E_HTTP_VERSION),
    LINE("GET / HTTP/3.1", MPS_E_HTTP_VERSION),
    LINE("PRI * HTTP/2.0", MPS_E_HTTP_VERSION),
    LINE("GET / HTTP/2", MPS_E_BAD_REQUEST),
    LINE("GET / HTTP/1.", MPS_E_BAD_REQUEST),
    LINE("GET / HTTP/1.10", MPS_E_BAD_REQUEST),
    LINE("GET / HTTP/11.1", MPS_E_BAD_REQUEST),
    LINE("GET / HTTP/1,1", MPS_E_BAD_REQUEST),
    LINE("GET / http/1.1", MPS_E_BAD_REQUEST),
    LINE("GET / HTTP/x.1", MPS_E_BAD_REQUEST),
    LINE("GET / HTTP/1.x", MPS_E_BAD_REQUEST),
    LINE("GET / HTTPS/1.1", MPS_E_BAD_REQUEST),
    LINE("GET / HTTP/1.1 ", MPS_E_BAD_REQUEST),
    LINE("GET /  HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("GET / a HTTP/1.1", MPS_E_BAD_REQUEST),
    LINE("GET / ", MPS_E_BAD_REQUEST),
    LINE("GET /", MPS_E_BAD_REQUEST),
    LINE("GET / HTTP/1.1\r", MPS_E_BAD_REQUEST),
    LINE("GET / HTTP/1.1\0", MPS_E_BAD_REQUEST),
    BAD("GET / HTTP/1.1\n"),
    BAD("GET / HTTP/1.1\rHost: h\r\n"),
    /* field syntax */
    FIELDS("A:", MPS_OK),
    FIELDS("A:b", MPS_OK),
    FIELDS("A: \t b \t ", MPS_OK),
    FIELDS("A:\t\t\t\t\t\t\t\t\t\t\t\t", MPS_OK),
    FIELDS("A: a\tb\tc and a longer one with\ttabs\t in it", MPS_OK),
    FIELDS("A: \x80\xff\xc3\xa4 bytes over 7f", MPS_OK),
    FIELDS("!#$%&'*+-.^_`|~09azAZ: every token byte", MPS_OK),
    FIELDS("A: \"quoted, : and ; = @ []{}\"", MPS_OK),
    FIELDS("A: 1\r\nB: 2\r\na: 3", MPS_OK),
    FIELD("A : b\r"),
    FIELD("A\t: b\r"),
    FIELD(" A: b\r"),
    FIELD(": b\r"),
    FIELD(":\r"),
    FIELD("A\r"),
    FIELD("no colon\r"),
    FIELD("A: b\r\n folded\r"),
    FIELD("A: b\r\n\tfolded\r"),
    FIELD("A: b"),
    FIELD("A:"),
    FIELD(""),
    FIELD("A: b\r\r"),
    FIELD("A: b\rC: d\r"),
    FIELD("A: \r b\r"),
    FIELD("\r\r"),
    FIELD("\rA: b\r"),
    FIELD("A: b\0\r"),
    FIELD("A: b\x01\r"),
    FIELD("A: a long enough value\x1f\r"),
    FIELD("A: a long enough value\x7f\r"),
    FIELD("A: tab\tand\x0b\r"),
    FIELD("A\0: b\r"),
    FIELD("A(: b\r"),
    FIELD("A/B: b\r"),
    FIELD("A\xc3\xa4: b\r"),
    FIELD("\"A\": b\r"),
    FIELD("A@b: c\r"),
    FIELD("{A}: c\r"),
    FIELD("GET / HTTP/1.1\r"),
    /* an obs-fold right behind the request line */
    BAD("GET / HTTP/1.1\r\n Host: h\r\n"),
    /* hosts */
    HOSTS("", MPS_E_BAD_HOST),
    HOSTS("Host:\r\n", MPS_OK),
    HOSTS("Host: \t \r\n", MPS_OK),
    HOSTS("hOST:example.org\r\n", MPS_OK),
    HOSTS("Host: example.org:8080\r\n", MPS_OK),
    HOSTS("Host: example.org:\r\n", MPS_OK),
    HOSTS("Host: h:65535\r\n", MPS_OK),
    HOSTS("Host: 127.0.0.1:1\r\n", MPS_OK),
    HOSTS("Host: [2001:db8::1]\r\n", MPS_OK),
    HOSTS("Host: [::ffff:127.0.0.1]:8080\r\n", MPS_OK),
    HOSTS("Host: a%41b\r\n", MPS_OK),
    HOSTS("Host: a_b-c.~!$&'()*+,;=\r\n", MPS_OK),
    HOSTS("Host: h\r\nHost: h\r\n", MPS_E_BAD_HOST),
    HOSTS("Host: h\r\nhost:\r\n", MPS_E_BAD_HOST),
    HOSTS("Host:\r\nHost:\r\n", MPS_E_BAD_HOST),
    HOSTS("Host: h:65536\r\n", MPS_E_BAD_HOST),
    HOSTS("Host: h:99999999999999999999\r\n", MPS_E_BAD_HOST),
    HOSTS("Host: h:8a\r\n", MPS_E_BAD_HOST),
    HOSTS("Host: h:80:80\r\n", MPS_E_BAD_HOST),
    HOSTS("Host: :80\r\n", MPS_E_BAD_HOST),
    HOSTS("Host: ::1\r\n", MPS_E_BAD_HOST),
    HOSTS("Host: [::1\r\n", MPS_E_BAD_HOST),
    HOSTS("Host: []\r\n", MPS_E_BAD_HOST),
    HOSTS("Host: [1]\r\n", MPS_E_BAD_HOST),
    HOSTS("Host: [::]\r\n", MPS_OK),
    HOSTS("Host: [::1]x\r\n", MPS_E_BAD_HOST),
    HOSTS("Host: [g::1]\r\n", MPS_E_BAD_HOST),
    HOSTS("Host: u@h\r\n", MPS_E_BAD_HOST),
    HOSTS("Host: u:p@h\r\n", MPS_E_BAD_HOST),
    HOSTS("Host: a b\r\n", MPS_E_BAD_HOST),
    HOSTS("Host: h, h\r\n", MPS_E_BAD_HOST),
    HOSTS("Host: h/a\r\n", MPS_E_BAD_HOST),
    HOSTS("Host: h?a\r\n", MPS_E_BAD_HOST),
    HOSTS("Host: h#a\r\n", MPS_E_BAD_HOST),
    HOSTS("Host: a%4\r\n", MPS_E_BAD_HOST),
    HOSTS("Host: a%4g\r\n", MPS_E_BAD_HOST),
    HOSTS("Host: \xc3\xa4\r\n", MPS_E_BAD_HOST),
    HOSTS("Host: a\\b\r\n", MPS_E_BAD_HOST),
    HOSTS("Host: <h>\r\n", MPS_E_BAD_HOST),
    OLD("Host: h\r\n", MPS_OK),
    OLD("Host: h\r\nHost: h\r\n", MPS_E_BAD_HOST),
    OLD("Host: u@h\r\n", MPS_E_BAD_HOST),
    ROW("GET http://a/ HTTP/1.1\r\n\r\n", MPS_E_BAD_HOST),
    ROW("GET http://a/ HTTP/1.1\r\nHost:\r\n\r\n", MPS_E_BAD_HOST),
    ROW("GET http://a/ HTTP/1.1\r\nHost: u@b\r\n\r\n", MPS_E_BAD_HOST),
    GOOD("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n"),
    GOOD("GET http://a/ HTTP/1.0\r\n\r\n"),
    /* lengths */
    FIELDS("Content-Length: 0", MPS_OK),
    FIELDS("content-length:\t5\t", MPS_OK),
    FIELDS("Content-Length: 0000000000000000000000005", MPS_OK),
    FIELDS("Content-Length: 18446744073709551615", MPS_OK),
    FIELDS("Content-Length: 18446744073709551616", MPS_E_BAD_FRAMING),
    FIELDS("Content-Length: 99999999999999999999", MPS_E_BAD_FRAMING),
    FIELDS("Content-Length: 184467440737095516150", MPS_E_BAD_FRAMING),
    FIELDS("Content-Length: +5", MPS_E_BAD_FRAMING),
    FIELDS("Content-Length: -5", MPS_E_BAD_FRAMING),
    FIELDS("Content-Length: 5,5", MPS_E_BAD_FRAMING),
    FIELDS("Content-Length: 5, 5", MPS_E_BAD_FRAMING),
    FIELDS("Content-Length: 0x5", MPS_E_BAD_FRAMING),
    FIELDS("Content-Length: 5 5", MPS_E_BAD_FRAMING),
    FIELDS("Content-Length: 5.0", MPS_E_BAD_FRAMING),
    FIELDS("Content-Length: 5;", MPS_E_BAD_FRAMING),
    FIELDS("Content-Length:", MPS_E_BAD_FRAMING),
    FIELDS("Content-Length: a", MPS_E_BAD_FRAMING),
    FIELDS("Content-Length: \xd9\xa5", MPS_E_BAD_FRAMING),
    FIELDS("Content-Length: 5\r\nContent-Length: 5", MPS_E_BAD_FRAMING),
    FIELDS("Content-Length: 5\r\nContent-Length: 6", MPS_E_BAD_FRAMING),
    FIELDS("Content-Length:\r\nContent-Length: 6", MPS_E_BAD_FRAMING),
    OLD("Content-Length: 5\r\n", MPS_OK),
    /* codings */
    FIELDS("Transfer-Encoding: chunked", MPS_OK),
    FIELDS("TRANSFER-ENCODING:CHUNKED", MPS_OK),
    FIELDS("Transfer-Encoding: gzip, chunked", MPS_E_TRANSFER_CODING),
    FIELDS("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", MPS_E_TRANSFER_CODING),
    FIELDS("Transfer-Encoding: identity, gzip , chunked", MPS_E_TRANSFER_CODING),
    FIELDS("Transfer-Encoding: chunked, chunked", MPS_E_BAD_FRAMING),
    FIELDS("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", MPS_E_BAD_FRAMING),
    FIELDS("Transfer-Encoding: chunked, gzip", MPS_E_BAD_FRAMING),
    FIELDS("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip", MPS_E_BAD_FRAMING),
    FIELDS("Transfer-Encoding: chunked\r\nTransfer-Encoding:", MPS_E_BAD_FRAMING),
    FIELDS("Transfer-Encoding: xchunked", MPS_E_BAD_FRAMING),
    FIELDS("Transfer-Encoding: chunkedx", MPS_E_BAD_FRAMING),
    FIELDS("Transfer-Encoding: gzip", MPS_E_BAD_FRAMING),
    FIELDS("Transfer-Encoding: identity", MPS_E_BAD_FRAMING),
    FIELDS("Transfer-Encoding:", MPS_E_BAD_FRAMING),
    FIELDS("Transfer-Encoding: ,chunked", MPS_E_BAD_FRAMING),
    FIELDS("Transfer-Encoding: chunked,", MPS_E_BAD_FRAMING),
    FIELDS("Transfer-Encoding: gzip,,chunked", MPS_E_BAD_FRAMING),
    FIELDS("Transfer-Encoding: gzip chunked", MPS_E_BAD_FRAMING),
    FIELDS("Transfer-Encoding: chunked;q=1", MPS_E_BAD_FRAMING),
    FIELDS("Transfer-Encoding: \"chunked\"", MPS_E_BAD_FRAMING),
    FIELDS("Transfer-Encoding: chunked\xa0", MPS_E_BAD_FRAMING),
    FIELDS("Transfer-Encoding: chunked\r\nContent-Length: 5", MPS_E_BAD_FRAMING),
    FIELDS("Content-Length: 5\r\nTransfer-Encoding: chunked", MPS_E_BAD_FRAMING),
    FIELDS("Content-Length: 5\r\nTransfer-Encoding: gzip, chunked", MPS_E_BAD_FRAMING),
    FIELD("Transfer-Encoding : chunked\r"),
    OLD("Transfer-Encoding: chunked\r\n", MPS_E_BAD_FRAMING),
    OLD("Transfer-Encoding: gzip, chunked\r\n", MPS_E_BAD_FRAMING),
    /* expectations */
    FIELDS("Expect: 100-continue", MPS_OK),
    FIELDS("Expect: 100-CONTINUE, 100-continue", MPS_OK),
    FIELDS("Expect:", MPS_OK),
    FIELDS("Expect: 200-ok", MPS_E_EXPECTATION),
    FIELDS("Expect: 100-continue, more", MPS_E_EXPECTATION),
    FIELDS("Expect: 100-continue\r\nExpect: more", MPS_E_EXPECTATION),
    FIELDS("Expect: 100-continue;a=b", MPS_E_EXPECTATION),
    OLD("Expect: more\r\n", MPS_OK),
    /* several faults: framing, host, coding, expectation */
    ROW("POST / HTTP/1.1\r\nExpect: x\r\nContent-Length: x\r\n\r\n", MPS_E_BAD_FRAMING),
    ROW("POST / HTTP/1.1\r\nExpect: x\r\nTransfer-Encoding: a, chunked\r\n\r\n", MPS_E_BAD_HOST),
    FIELDS("Expect: x\r\nTransfer-Encoding: a, chunked", MPS_E_TRANSFER_CODING),
    ROW("POST / HTTP/1.1\r\nContent-Length: x\r\nA : b\r\n", MPS_E_BAD_REQUEST),
};

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

static void http_heads(void) {
    CHECK(COUNT_OF(http_rows) >= 150);
    for (size_t i = 0; i < COUNT_OF(http_rows); i++) {
        i64 want = http_rows[i].want == MPS_OK ? (i64)http_rows[i].bytes : http_rows[i].want;
        http_feed(http_rows[i].text, http_rows[i].bytes, &http_test_limits, want);
        http_feed_followed(&http_rows[i], want);
    }
}

/* What a head says. Lines that all rows end with are left out: " Host: h" and the empty line. */
static const struct http_meaning {
    const char *head, *told;
} http_meanings[] = {
    {"GET /a/b?c=d&e HTTP/1.1\r\n", "GET 1.1 keep target=/a/b?c=d&e path=/a/b query=c=d&e host=h"},
    {"HEAD /? HTTP/1.1\r\n", "HEAD 1.1 keep target=/? path=/ query= host=h"},
    {"PUT /a??b HTTP/1.9\r\n", "PUT 1.1 keep target=/a??b path=/a query=?b host=h"},
    {"OPTIONS * HTTP/1.1\r\n", "OPTIONS 1.1 keep target=* path=* host=h"},
    {"PATCH //x HTTP/1.1\r\n", "PATCH 1.1 keep target=//x path=//x host=h"},
    {"get / HTTP/1.1\r\n", "OTHER 1.1 keep target=/ path=/ host=h"},
    {"GETS / HTTP/1.1\r\n", "OTHER 1.1 keep target=/ path=/ host=h"},
    {"DELETE /x HTTP/1.0\r\n", "DELETE 1.0 target=/x path=/x host=h"},
    {"GET http://a:81/b?c HTTP/1.1\r\n",
     "GET 1.1 keep target=http://a:81/b?c path=/b query=c host=a:81"},
    {"GET HTTP://a HTTP/1.1\r\n", "GET 1.1 keep target=HTTP://a path=/ host=a"},
    {"GET https://a?b/c HTTP/1.1\r\n", "GET 1.1 keep target=https://a?b/c path=/ query=b/c host=a"},
    {"OPTIONS http://a HTTP/1.1\r\n", "OPTIONS 1.1 keep target=http://a path=* host=a"},
    {"OPTIONS http://a/ HTTP/1.1\r\n", "OPTIONS 1.1 keep target=http://a/ path=/ host=a"},
    {"OPTIONS http://a? HTTP/1.1\r\n", "OPTIONS 1.1 keep target=http://a? path=/ query= host=a"},
    {"\r\nGET / HTTP/1.1\r\n", "GET 1.1 keep target=/ path=/ host=h"},
    /* Connection */
    {"GET / HTTP/1.1\r\nConnection: close\r\n", "GET 1.1 target=/ path=/ host=h"},
    {"GET / HTTP/1.1\r\nCONNECTION:CLOSE\r\n", "GET 1.1 target=/ path=/ host=h"},
    {"GET / HTTP/1.1\r\nConnection: closed\r\n", "GET 1.1 keep target=/ path=/ host=h"},
    {"GET / HTTP/1.1\r\nConnection: keep-alive, Upgrade\r\n",
     "GET 1.1 keep upgrade target=/ path=/ host=h"},
    {"GET / HTTP/1.1\r\nConnection: ,, upgrade ,\t,\"x\"\r\n",
     "GET 1.1 keep upgrade target=/ path=/ host=h"},
    {"GET / HTTP/1.1\r\nConnection: upgrade\r\nConnection: a, close\r\n",
     "GET 1.1 upgrade target=/ path=/ host=h"},
    {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n", "GET 1.0 keep target=/ path=/ host=h"},
    {"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n", "GET 1.0 target=/ path=/ host=h"},
    /* bodies */
    {"POST / HTTP/1.1\r\nContent-Length: 0\r\n", "POST 1.1 keep length=0 target=/ path=/ host=h"},
    {"POST / HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n",
     "POST 1.1 keep length=18446744073709551615 target=/ path=/ host=h"},
    {"POST / HTTP/1.1\r\nTransfer-Encoding:  Chunked \r\nExpect: 100-Continue\r\n",
     "POST 1.1 keep chunked expects target=/ path=/ host=h"},
    {"POST / HTTP/1.0\r\nContent-Length: 7\r\nExpect: 100-continue\r\n",
     "POST 1.0 length=7 target=/ path=/ host=h"},
    {"POST / HTTP/1.1\r\nContent-Encoding: gzip\r\n", "POST 1.1 keep coded target=/ path=/ host=h"},
    {"POST / HTTP/1.1\r\nContent-Encoding: identity, br\r\n",
     "POST 1.1 keep coded target=/ path=/ host=h"},
    {"POST / HTTP/1.1\r\nContent-Encoding: , Identity\r\nContent-Encoding:\r\n",
     "POST 1.1 keep target=/ path=/ host=h"},
    /* fields */
    {"GET / HTTP/1.1\r\nauthorization: Bearer a.b-c \r\nX-Request-ID:r\r\nX-SIGNATURE: 0f\r\n",
     "GET 1.1 keep target=/ path=/ host=h auth=Bearer a.b-c id=r sig=0f"},
    {"GET / HTTP/1.1\r\nOrigin: http://o\r\nIf-None-Match: \"a\", W/\"b\"\r\n",
     "GET 1.1 keep target=/ path=/ host=h origin=http://o none=\"a\", W/\"b\""},
    {"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: k==\r\n"
     "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mpserver.v1, x\r\n",
     "GET 1.1 keep upgrade v1 target=/ws path=/ws host=h upgrade=websocket ws-key=k== ws-ver=13"},
    {"GET /ws HTTP/1.1\r\nSec-WebSocket-Protocol: x\r\nSec-WebSocket-Protocol: y,mpserver.v1\r\n"
     "Sec-WebSocket-Key: a\r\nSec-WebSocket-Key: a\r\n",
     "GET 1.1 keep v1 target=/ws path=/ws host=h ws-key="},
    {"GET /ws HTTP/1.1\r\nSec-WebSocket-Protocol: MPserver.v1, mpserver.v12\r\n",
     "GET 1.1 keep target=/ws path=/ws host=h"},
    {"GET / HTTP/1.1\r\nOrigin:\r\nOrigin: second\r\nX-Request-Id: a\r\nX-Request-Id: b\r\n",
     "GET 1.1 keep target=/ path=/ host=h id=a origin="},
    {"GET / HTTP/1.1\r\nOrigi: a\r\nOriginn: b\r\nX-Request_Id: c\r\nHos: d\r\nA: e\r\n",
     "GET 1.1 keep target=/ path=/ host=h"},
    {"GET / HTTP/1.1\r\nX\rRequest-Id: a\r\n", NULL},
    {"GET / HTTP/1.1\r\nX-Forwarded-For: 1.1.1.1, 2.2.2.2\r\n",
     "GET 1.1 keep target=/ path=/ host=h fwd=1.1.1.1, 2.2.2.2"},
    {"GET / HTTP/1.1\r\nX-Forwarded-For: a, b\r\nx-forwarded-for: c\r\n",
     "GET 1.1 keep target=/ path=/ host=h fwd=c rest=a, b"},
    {"GET / HTTP/1.1\r\nX-Forwarded-For: a\r\nX-Forwarded-For:\r\nX-Forwarded-For: c\r\n",
     "GET 1.1 keep target=/ path=/ host=h fwd=c rest= more"},
};

static void http_heads_say(void) {
    for (size_t i = 0; i < COUNT_OF(http_meanings); i++) {
        char text[512], told[1024] = "";
        size_t scanned = 0;
        int bytes = snprintf(text, sizeof text, "%sHost: h\r\n\r\n", http_meanings[i].head);
        i64 got =
            http_parse_copy(text, (size_t)bytes, &scanned, &http_test_limits, told, sizeof told);
        CHECK_INT(got, http_meanings[i].told ? bytes : MPS_E_BAD_REQUEST);
        if (http_meanings[i].told) {
            CHECK_TEXT(told, strlen(told), http_meanings[i].told);
            http_feed(text, (size_t)bytes, &http_test_limits, bytes);
        }
    }
}

/* After a fault the log finds what there was. */
static void http_heads_say_after_faults(void) {
    static const struct http_meaning rows[] = {
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

struct http_chunk_row {
    const char *text;
    size_t bytes;
    int want;
    const char *body;
};

#define CHUNKS(literal, body) \
    { (literal), sizeof(literal) - 1, 1, (body) }
#define CHUNKS_MORE(literal, body) \
    { (literal), sizeof(literal) - 1, 0, (body) }
#define CHUNKS_BAD(literal) \
    { (literal), sizeof(literal) - 1, MPS_E_BAD_CHUNK, NULL }
#define CHUNKS_BIG(literal) \
    { (literal), sizeof(literal) - 1, MPS_E_BODY_TOO_LARGE, NULL }

#define HTTP_TEST_BODY_MAX 40

/* The last byte of a text settles its outcome; bodies have at most HTTP_TEST_BODY_MAX bytes. */
static const struct http_chunk_row http_chunk_rows[] = {
    CHUNKS("0\r\n\r\n", ""),
    CHUNKS("000\r\n\r\n", ""),
    CHUNKS("5\r\nhello\r\n0\r\n\r\n", "hello"),
    CHUNKS("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world"),
    CHUNKS("1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n", "abc"),
    CHUNKS("a\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
    CHUNKS("A\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
    CHUNKS("0a\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
    CHUNKS("0000000000000001\r\nx\r\n0000000000000000\r\n\r\n", "x"),
    CHUNKS("4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n"),
    CHUNKS("5\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n"),
    CHUNKS("28\r\n0123456789012345678901234567890123456789\r\n0\r\n\r\n",
           "0123456789012345678901234567890123456789"),
    CHUNKS("14\r\n01234567890123456789\r\n14\r\n01234567890123456789\r\n0\r\n\r\n",
           "0123456789012345678901234567890123456789"),
    /* extensions */
    CHUNKS("1;a\r\nx\r\n0\r\n\r\n", "x"),
    CHUNKS("1;a=b;c=\"d e\"\r\nx\r\n0;z\r\n\r\n", "x"),
    CHUNKS("1 ; a = b\r\nx\r\n0\t\t;z\r\n\r\n", "x"),
    CHUNKS("1;\r\nx\r\n0\r\n\r\n", "x"),
    CHUNKS("1;\x80\t;\r\nx\r\n0\r\n\r\n", "x"),
    /* trailers */
    CHUNKS("1\r\nx\r\n0\r\nA: b\r\n\r\n", "x"),
    CHUNKS("1\r\nx\r\n0\r\nA:\r\nB-c:\td \x80\r\n\r\n", "x"),
    CHUNKS("0\r\nContent-Length: 5\r\n\r\n", ""),
    /* not yet complete */
    CHUNKS_MORE("", ""),
    CHUNKS_MORE("5", ""),
    CHUNKS_MORE("5\r\n", ""),
    CHUNKS_MORE("5\r\nhel", "hel"),
    CHUNKS_MORE("5\r\nhello", "hello"),
    CHUNKS_MORE("5\r\nhello\r\n", "hello"),
    CHUNKS_MORE("1\r\nx\r\n0", "x"),
    CHUNKS_MORE("1\r\nx\r\n0\r\n\r", "x"),
    CHUNKS_MORE("1\r\nx\r\n0\r\nA: b\r\n", "x"),
    CHUNKS_MORE("28\r\n0123", "0123"),
    /* sizes */
    CHUNKS_BAD("\r"),
    CHUNKS_BAD("\n"),
    CHUNKS_BAD(" "),
    CHUNKS_BAD(";"),
    CHUNKS_BAD("g"),
    CHUNKS_BAD("+"),
    CHUNKS_BAD("-"),
    CHUNKS_BAD("0x"),
    CHUNKS_BAD("5\n"),
    CHUNKS_BAD("5\rh"),
    CHUNKS_BAD("5\r\r"),
    CHUNKS_BAD("5 \r"),
    CHUNKS_BAD("5 5"),
    CHUNKS_BAD("5,"),
    CHUNKS_BAD("5\0"),
    CHUNKS_BAD("00000000000000000"),
    CHUNKS_BAD("1;a\n"),
    CHUNKS_BAD("1;a\x01"),
    CHUNKS_BAD("1;a\x7f"),
    CHUNKS_BAD("1;a\rb"),
    /* data that does not end where its size says */
    CHUNKS_BAD("1\r\nxy"),
    CHUNKS_BAD("1\r\nx\n"),
    CHUNKS_BAD("1\r\nx\r\r"),
    CHUNKS_BAD("1\r\nx0"),
    CHUNKS_BAD("1\r\nx\r\n\r"),
    /* trailers */
    CHUNKS_BAD("0\r\n\n"),
    CHUNKS_BAD("0\r\n\rA"),
    CHUNKS_BAD("0\r\n "),
    CHUNKS_BAD("0\r\n:"),
    CHUNKS_BAD("0\r\nA "),
    CHUNKS_BAD("0\r\nA\r"),
    CHUNKS_BAD("0\r\nA: b\n"),
    CHUNKS_BAD("0\r\nA: \x01"),
    CHUNKS_BAD("0\r\nA: b\rC"),
    CHUNKS_BAD("0\r\nA: b\r\n "),
    /* too large: known with the digit that makes it so */
    CHUNKS_BIG("29"),
    CHUNKS_BIG("100"),
    CHUNKS_BIG("ff"),
    CHUNKS_BIG("029"),
    CHUNKS_BIG("1\r\nx\r\n28"),
    CHUNKS_BIG("14\r\n01234567890123456789\r\n15"),
    CHUNKS_BIG("14\r\n01234567890123456789\r\n14\r\n01234567890123456789\r\n1"),
};

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

static void http_chunks_table(void) {
    CHECK(COUNT_OF(http_chunk_rows) >= 50);
    for (size_t i = 0; i < COUNT_OF(http_chunk_rows); i++) {
        const struct http_chunk_row *row = &http_chunk_rows[i];
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

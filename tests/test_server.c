/* The whole server through its public calls, driven by a port without sockets and a virtual clock.
   A link is one connection as its peer sees it: everything the server ever sent, how it ended. */

#define LINK_OUT_MAX 400000

static const u8 server_test_entropy[32] = {1, 2, 3, 4, 5, 6, 7, 8, 9};

struct drive {
    mps_server *s;
    char *block; /* 16-aligned, inside `raw` */
    char *raw;
    size_t bytes;
    u64 now;
    bool move; /* the block goes to another address between any two calls */
};

struct link_test {
    struct drive *d;
    mps_conn conn;
    char *out; /* zero-terminated */
    size_t out_bytes;
    mps_fate fate;
    bool stalled; /* its peer does not read */
    bool closed;
};

static mps_address drive_address(const char *text) {
    mps_address a = {{0}, 0, 0};
    CHECK(address_parse(span_z(text), &a));
    return a;
}

static char *drive_align(char *raw) {
    return raw + (SERVER_ALIGN - (uintptr_t)raw % SERVER_ALIGN) % SERVER_ALIGN;
}

static void drive_start_filled(struct drive *d, const mps_config *config, int fill) {
    memset(d, 0, sizeof *d);
    d->bytes = mps_memory_needed(config);
    CHECK(d->bytes > 0);
    d->raw = malloc(d->bytes + SERVER_ALIGN);
    d->block = drive_align(d->raw);
    memset(d->block, fill, d->bytes);
    d->now = 1000000;
    CHECK_INT(mps_create(&d->s, config, d->block, d->bytes, server_test_entropy), MPS_OK);
}

static void drive_start(struct drive *d, const mps_config *config) {
    drive_start_filled(d, config, 0xAA);
}

static void drive_stop(struct drive *d) {
    CHECK(mps_check(d->s));
    free(d->raw);
}

/* Called before each call when the block is to wander. */
static mps_server *drive_server(struct drive *d) {
    if (d->move) {
        char *raw = malloc(d->bytes + SERVER_ALIGN), *block = drive_align(raw);
        memcpy(block, d->block, d->bytes);
        memset(d->block, 0x55, d->bytes);
        free(d->raw);
        d->raw = raw;
        d->block = block;
        d->s = (mps_server *)(void *)block;
    }
    return d->s;
}

static void link_open(struct drive *d, struct link_test *l, const char *peer) {
    mps_address from = drive_address(peer), to = drive_address("192.0.2.1");
    memset(l, 0, sizeof *l);
    l->d = d;
    l->out = calloc(1, LINK_OUT_MAX);
    l->conn = mps_tcp_open(drive_server(d), d->now, &from, &to);
    l->closed = l->conn.id == 0;
}

/* Takes what there is to send, as writev would. */
static void link_read(struct link_test *l) {
    mps_span spans[4];
    size_t count;
    while (!l->closed && (count = mps_tcp_output(drive_server(l->d), l->conn, spans, 4)) != 0) {
        size_t bytes = 0;
        for (size_t i = 0; i < count; i++) {
            CHECK(spans[i].count > 0 && l->out_bytes + spans[i].count < LINK_OUT_MAX);
            memcpy(l->out + l->out_bytes, spans[i].bytes, spans[i].count);
            l->out_bytes += spans[i].count;
            bytes += spans[i].count;
        }
        l->out[l->out_bytes] = 0;
        mps_tcp_taken(drive_server(l->d), l->conn, bytes);
        mps_tcp_sent(drive_server(l->d), l->conn, l->d->now, bytes);
    }
    if (!l->closed) {
        l->fate = mps_tcp_fate(drive_server(l->d), l->conn);
    }
    if (l->fate == MPS_FATE_ABORT && !l->closed) {
        mps_tcp_closed(drive_server(l->d), l->conn, l->d->now);
        l->closed = true;
    }
}

/* Left-over work, then output; until nothing is due at once. */
static void link_pump(struct link_test *l) {
    for (u32 i = 0; i < 10000; i++) {
        if (!l->stalled) {
            link_read(l);
        }
        if (mps_deadline(drive_server(l->d)) > l->d->now) {
            return;
        }
        mps_advance(drive_server(l->d), l->d->now);
    }
    CHECK(!"the server is busy for ever");
}

/* Sends as the kernel would: no more than there is room for. Gives what was not taken. */
static size_t link_send_bytes(struct link_test *l, const char *bytes, size_t count) {
    char copy[16384];
    while (count && !l->closed) {
        size_t room = mps_tcp_room(drive_server(l->d), l->conn);
        size_t part = size_min(size_min(room, count), sizeof copy);
        if (!part) {
            link_pump(l);
            if (l->closed || !mps_tcp_room(drive_server(l->d), l->conn)) {
                break;
            }
            continue;
        }
        memcpy(copy, bytes, part);
        CHECK_INT(mps_tcp_input(drive_server(l->d), l->conn, l->d->now, copy, part), MPS_OK);
        bytes += part;
        count -= part;
        if (!l->stalled) {
            link_read(l);
        }
    }
    link_pump(l);
    return count;
}

static size_t link_send(struct link_test *l, const char *text) {
    return link_send_bytes(l, text, strlen(text));
}

static void link_forget(struct link_test *l) {
    l->out_bytes = 0;
    l->out[0] = 0;
}

static void link_close(struct link_test *l) {
    if (!l->closed) {
        mps_tcp_closed(drive_server(l->d), l->conn, l->d->now);
        l->closed = true;
    }
    free(l->out);
    l->out = NULL;
}

/* Lets time pass as a port would: sleeping until each deadline. Peers in `links` read. */
static void drive_run(struct drive *d, u64 us, struct link_test *links, u32 count) {
    u64 end = d->now + us;
    for (u32 i = 0; i < 100000; i++) {
        for (u32 k = 0; k < count; k++) {
            if (!links[k].stalled && !links[k].closed) {
                link_read(&links[k]);
            }
        }
        u64 due = mps_deadline(drive_server(d));
        if (due > end) {
            d->now = end;
            return;
        }
        d->now = due > d->now ? due : d->now;
        mps_advance(drive_server(d), d->now);
    }
    CHECK(!"the server is busy for ever");
}

/* The one answer that `text` gets: its status, 0 for none. */
static int link_ask(struct link_test *l, const char *text) {
    link_forget(l);
    link_send(l, text);
    return l->out_bytes > 12 ? atoi(l->out + 9) : 0;
}

static u64 drive_count(const struct drive *d, enum counter counter) {
    return d->s->kit.metrics.counters[counter];
}

/* Bigger rates than any test needs, unless the test is about rates. */
static mps_config server_test_config(void) {
    mps_config c = {.preset = MPS_PRESET_TINY,
                    .connections_per_s = 1000000,
                    .requests_per_s = 1000000,
                    .log_level = MPS_LOG_OFF};
    return c;
}

#define END "\r\nHost: h\r\n\r\n"
#define BODY(n) "\r\nHost: h\r\nContent-Length: " #n "\r\n\r\n"

/* -- the same bytes whatever the cut -- */

/* Each group is one connection: what stands in it is pipelined. */
static const char *const script[] = {
    "GET /healthz HTTP/1.1" END "GET /readyz HTTP/1.1" END "HEAD /healthz HTTP/1.1" END
    "POST /lobbies HTTP/1.1" BODY(14) "{\"code\":\"ABC\"}"
    "POST /lobbies/abc/join HTTP/1.1" BODY(20) "{\"player_name\":\"Zo\"}"
    "GET /lobbies/ABC HTTP/1.1" END "GET /lobbies?limit=1&open=true HTTP/1.1" END
    "DELETE /lobbies/ABC HTTP/1.1" END "GET /nothing HTTP/1.1" END
    "OPTIONS /lobbies HTTP/1.1" END "OPTIONS * HTTP/1.1" END "PUT /lobbies HTTP/1.1" END
    "BREW / HTTP/1.1" END "GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /lost",
    "POST /lobbies HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    "5;x=\"y\"\r\n{\"cod\r\n0a\r\ne\":\"CHUNK\"\r\n1\r\n}\r\n0\r\nTrailer: 1\r\n\r\n"
    "POST /lobbies HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}"
    "POST /lobbies HTTP/1.1" BODY(3) "{x}"
    "POST /lobbies HTTP/1.1" BODY(14) "{\"code\":\"a/b\"}"
    "POST /lobbies HTTP/1.1" BODY(17) "{\"max_players\":9}"
    "POST /auth/guest HTTP/1.1" BODY(16) "{\"username\":\"G\"}"
    "POST /auth/refresh HTTP/1.1" END "GET /admin/log HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer x"
    "\r\n\r\nGET http://h/lobbies?cursor=x HTTP/1.1" END
    "\r\nGET /healthz HTTP/1.1\r\nHost: h\r\nX-Request-Id: mine\r\n\r\n",
    "GET /healthz HTTP/1.0\r\n\r\n",
    "GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /lobbies HTTP/1.0\r\n\r\n",
    "GET / HTTP/2.0" END,
    "GET / HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "GET / HTTP/1.1\nHost: h\n\n",
    "GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n",
    "POST /lobbies HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    "0\r\n\r\nGET /healthz HTTP/1.1" END,
    "POST /lobbies HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "POST /lobbies HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "POST /lobbies HTTP/1.1\r\nHost: h\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    "POST /lobbies HTTP/1.1" BODY(4097) "{",
    "POST /lobbies HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1001\r\n{",
    "POST /lobbies HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
    "POST /lobbies HTTP/1.1\r\nHost: h\r\nExpect: 200-ok\r\nContent-Length: 2\r\n\r\n{}",
    "POST /nothing HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
    "\x16\x03\x01\x02\x00\x01",
};

enum script_cut { CUT_NONE, CUT_BYTES, CUT_TWO };

/* Plays one group and appends what came back to `out`. */
static size_t script_play(struct drive *d, const char *text, enum script_cut how, size_t cut,
                          char *out, size_t capacity) {
    struct link_test l;
    size_t bytes = strlen(text);
    link_open(d, &l, "198.51.100.7");
    size_t first = how == CUT_NONE ? bytes : how == CUT_TWO ? cut : 1;
    for (size_t at = 0; at < bytes; at += first) {
        first = how == CUT_TWO && at ? bytes - at : size_min(first, bytes - at);
        link_send_bytes(&l, text + at, first);
    }
    if (!l.closed) {
        mps_tcp_eof(drive_server(d), l.conn, d->now);
    }
    link_pump(&l);
    CHECK(l.closed); /* whatever was said, FIN ends it */
    CHECK(l.out_bytes <= capacity);
    memcpy(out, l.out, l.out_bytes);
    bytes = l.out_bytes;
    link_close(&l);
    return bytes;
}

static size_t script_run(const mps_config *config, int fill, bool move, enum script_cut how,
                         size_t cut, u32 from, u32 to, char *out, size_t capacity) {
    struct drive d;
    size_t bytes = 0;
    drive_start_filled(&d, config, fill);
    d.move = move;
    mps_wall_clock(d.s, d.now, 1771070400000);
    for (u32 i = from; i < to; i++) {
        bytes += script_play(&d, script[i], how, cut, out + bytes, capacity - bytes);
        CHECK(mps_check(d.s));
    }
    drive_stop(&d);
    return bytes;
}

static char script_whole[100000], script_other[100000];

static void script_compare(size_t whole, size_t other, const char *what, size_t cut) {
    if (whole != other || memcmp(script_whole, script_other, whole) != 0) {
        size_t at = 0;
        checks_failed++;
        while (at < whole && at < other && script_whole[at] == script_other[at]) {
            at++;
        }
        at = at > 200 ? at - 200 : 0;
        printf("script, %s %zu: differs in\n%.*s\n--- not\n%.*s\n", what, cut,
               (int)size_min(600, other - size_min(at, other)), script_other + at,
               (int)size_min(600, whole - at), script_whole + at);
    }
}

static const u32 script_all = (u32)COUNT_OF(script);

static void server_script_ways(void) {
    mps_config c = server_test_config(), logged = c;
    logged.log_level = MPS_LOG_DEBUG;
    size_t n = sizeof script_whole;
    size_t whole = script_run(&c, 0xAA, false, CUT_NONE, 0, 0, script_all, script_whole, n);
    CHECK(whole > 5000);
    size_t other = script_run(&c, 0, false, CUT_NONE, 0, 0, script_all, script_other, n);
    script_compare(whole, other, "filled with zeroes", 0);
    other = script_run(&c, 0xAA, false, CUT_BYTES, 0, 0, script_all, script_other, n);
    script_compare(whole, other, "byte by byte", 0);
    other = script_run(&c, 0x33, true, CUT_BYTES, 0, 0, 2, script_other, n);
    CHECK(other < whole && memcmp(script_whole, script_other, other) == 0);
    other = script_run(&c, 0xAA, true, CUT_NONE, 0, 0, script_all, script_other, n);
    script_compare(whole, other, "moved", 0);
    other = script_run(&logged, 0xAA, false, CUT_NONE, 0, 0, script_all, script_other, n);
    script_compare(whole, other, "logged", 0);
}

static void server_script_cut(void) {
    mps_config c = server_test_config();
    for (u32 i = 0; i < script_all; i++) {
        size_t n = sizeof script_whole, bytes = strlen(script[i]);
        size_t whole = script_run(&c, 0xAA, false, CUT_NONE, 0, i, i + 1, script_whole, n);
        for (size_t cut = 1; cut < bytes; cut++) {
            size_t other = script_run(&c, 0xAA, false, CUT_TWO, cut, i, i + 1, script_other, n);
            script_compare(whole, other, script[i], cut);
        }
    }
}

/* What the script's first requests say, so that the comparisons above compare something. */
static void server_script_says(void) {
    static const int statuses[] = {200, 200, 200, 200, 200, 200, 200, 409, 404, 204, 204, 405, 501,
                                   200, 200, 100, 200, 400, 400, 400, 201, 401, 401, 400, 200};
    mps_config c = server_test_config();
    size_t bytes = script_run(&c, 0, false, CUT_NONE, 0, 0, 2, script_whole, sizeof script_whole);
    const char *at = script_whole;
    script_whole[bytes] = 0;
    for (size_t i = 0; i < COUNT_OF(statuses); i++) {
        at = strstr(at, "HTTP/1.1 ");
        CHECK_INT(at ? atoi(at + 9) : 0, statuses[i]);
        at = at ? at + 9 : script_whole;
    }
    CHECK(!strstr(at, "HTTP/1.1 "));
}

static const struct check_test server_tests[] = {
    {"script_says", server_script_says},
    {"script_ways", server_script_ways},
    {"script_cut", server_script_cut},
};

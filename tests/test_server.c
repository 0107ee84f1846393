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
    CHECK(false); /* busy for ever */
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
    CHECK(false); /* busy for ever */
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
                    .connections_per_address = 1000000,
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
    "POST /lobbies HTTP/1.1" BODY(
        14) "{\"code\":\"ABC\"}"
            "POST /lobbies/abc/join HTTP/1.1" BODY(
                20) "{\"player_name\":\"Zo\"}"
                    "GET /lobbies/ABC HTTP/1.1" END "GET /lobbies?limit=1&open=true HTTP/1.1" END
                    "DELETE /lobbies/ABC HTTP/1.1" END "GET /nothing HTTP/1.1" END
                    "OPTIONS /lobbies HTTP/1.1" END "OPTIONS * HTTP/1.1" END
                    "PUT /lobbies HTTP/1.1" END "BREW / HTTP/1.1" END
                    "GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /lost",
    "POST /lobbies HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    "5;x=\"y\"\r\n{\"cod\r\n0a\r\ne\":\"CHUNK\"\r\n1\r\n}\r\n0\r\nTrailer: 1\r\n\r\n"
    "POST /lobbies HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}"
    "POST /lobbies HTTP/1.1" BODY(
        3) "{x}"
           "POST /lobbies HTTP/1.1" BODY(
               14) "{\"code\":\"a/b\"}"
                   "POST /lobbies HTTP/1.1" BODY(
                       17) "{\"max_players\":9}"
                           "POST /auth/guest HTTP/1.1" BODY(
                               16) "{\"username\":\"G\"}"
                                   "POST /auth/refresh HTTP/1.1" END
                                   "GET /admin/log HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer x"
                                   "\r\n\r\nGET http://h/lobbies?cursor=x HTTP/1.1" END
                                   "\r\nGET /healthz HTTP/1.1\r\nHost: h\r\nX-Request-Id: "
                                   "mine\r\n\r\n",
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

/* -- full tables -- */

#define CHECK_HAS(l, needle) check_has((l), (needle), __LINE__)

static void check_has(const struct link_test *l, const char *needle, int line) {
    if (!strstr(l->out, needle)) {
        checks_failed++;
        printf("test_server.c:%d: no \"%s\" in\n%.1500s\n", line, needle, l->out);
    }
}

static int link_post(struct link_test *l, const char *target, const char *body) {
    char text[4096];
    snprintf(text, sizeof text, "POST %s HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n%s",
             target, strlen(body), body);
    return link_ask(l, text);
}

static int link_get(struct link_test *l, const char *target) {
    char text[1024];
    snprintf(text, sizeof text, "GET %s HTTP/1.1" END, target);
    return link_ask(l, text);
}

static void links_open(struct drive *d, struct link_test *links, u32 count, const char *peer) {
    for (u32 i = 0; i < count; i++) {
        link_open(d, &links[i], peer);
    }
}

/* Each from an address of its own, with shares of its own. */
static void links_open_apart(struct drive *d, struct link_test *links, u32 count) {
    char peer[32];
    for (u32 i = 0; i < count; i++) {
        snprintf(peer, sizeof peer, "198.51.100.%u", i + 1);
        link_open(d, &links[i], peer);
    }
}

static void links_close(struct link_test *links, u32 count) {
    for (u32 i = 0; i < count; i++) {
        link_close(&links[i]);
    }
}

static void server_full_connections(void) {
    mps_config c = server_test_config();
    struct drive d;
    struct link_test l[6];
    c.connections = 3;
    c.refusals = 2;
    CHECK_INT(mps_connections_max(&c), 5);
    drive_start(&d, &c);
    links_open(&d, l, 3, "198.51.100.1");
    CHECK_INT(drive_count(&d, COUNTER_CONNECTIONS_OPENED), 3);
    links_open(&d, l + 3, 3, "198.51.100.2");
    for (u32 i = 3; i < 5; i++) {
        link_pump(&l[i]);
        CHECK_HAS(&l[i], "HTTP/1.1 503 ");
        CHECK_HAS(&l[i], "\"error\":\"connections_full\"");
        CHECK_HAS(&l[i], "Retry-After: 1\r\n");
        CHECK_INT(l[i].fate, MPS_FATE_FINISH);
        CHECK_INT(link_get(&l[i], "/healthz"), 0); /* discarded */
        CHECK_INT((u32)l[i].conn.id, i + 1);
    }
    CHECK_INT(l[5].conn.id, 0);
    CHECK_INT(drive_count(&d, COUNTER_REFUSED_FULL), 2);
    CHECK_INT(drive_count(&d, COUNTER_REFUSED_SILENT), 1);
    CHECK_INT(drive_count(&d, COUNTER_FULL_CONNECTIONS), 3);
    CHECK_INT(link_get(&l[0], "/healthz"), 200);
    /* Those who were refused and are not gone yet take no place from those who are served. */
    link_close(&l[1]);
    link_open(&d, &l[1], "198.51.100.2");
    CHECK_INT(link_get(&l[1], "/healthz"), 200);
    links_close(l, 6);
    link_open(&d, &l[0], "198.51.100.2");
    CHECK_INT(link_get(&l[0], "/healthz"), 200);
    link_close(&l[0]);
    drive_stop(&d);
}

/* The next one from `peer` is served, or told that its address has its share. */
static bool share_allows(struct drive *d, struct link_test *l, const char *peer) {
    link_open(d, l, peer);
    int status = link_get(l, "/healthz");
    if (status == 200) {
        return true;
    }
    CHECK_INT(status, 429);
    CHECK_HAS(l, "\"error\":\"address_connections_full\"");
    CHECK_HAS(l, "Retry-After: 1\r\n");
    link_close(l);
    return false;
}

static void server_connections_share(void) {
    mps_config c = server_test_config();
    struct drive d;
    struct link_test l[20], more;
    c.connections = 20;
    c.connections_per_address = 3;
    c.trusted_proxies[0] = "192.0.2.0/24";
    drive_start(&d, &c);
    for (u32 i = 0; i < 3; i++) {
        char text[32];
        CHECK(share_allows(&d, &l[i], "198.51.100.1"));
        snprintf(text, sizeof text, "2001:db8::%u:1", i);
        CHECK(share_allows(&d, &l[3 + i], text));
    }
    CHECK(!share_allows(&d, &more, "198.51.100.1"));
    CHECK(!share_allows(&d, &more, "2001:db8::ffff:ffff:ffff:ffff"));
    CHECK_INT(drive_count(&d, COUNTER_REFUSED_SHARE), 2);
    CHECK_INT(drive_count(&d, COUNTER_REFUSED_RATE), 0);
    CHECK_INT(drive_count(&d, COUNTER_RATE_LIMITED), 0);
    CHECK(share_allows(&d, &l[6], "198.51.100.2"));
    CHECK(share_allows(&d, &l[7], "2001:db8:0:1::1"));
    for (u32 i = 8; i < 13; i++) {
        CHECK(share_allows(&d, &l[i], "192.0.2.7"));
    }
    link_close(&l[1]);
    CHECK(share_allows(&d, &l[1], "198.51.100.1"));
    CHECK(!share_allows(&d, &more, "198.51.100.1"));
    c.connections_per_address = 4;
    CHECK_INT(mps_reconfigure(d.s, &c), 0);
    CHECK(share_allows(&d, &l[13], "198.51.100.1"));
    CHECK(!share_allows(&d, &more, "198.51.100.1"));
    links_close(l, 14);
    CHECK(share_allows(&d, &l[0], "198.51.100.1"));
    link_close(&l[0]);
    drive_stop(&d);
}

/* With dev loopback is free of it, and nobody else. */
static void server_connections_share_dev(void) {
    mps_config c = server_test_config();
    struct drive d;
    struct link_test l[4], more;
    c.connections_per_address = 1;
    c.dev = true;
    drive_start(&d, &c);
    for (u32 i = 0; i < 3; i++) {
        CHECK(share_allows(&d, &l[i], "127.0.0.1"));
    }
    CHECK(share_allows(&d, &l[3], "198.51.100.1"));
    CHECK(!share_allows(&d, &more, "198.51.100.1"));
    links_close(l, 4);
    drive_stop(&d);
}

static void server_full_lobbies(void) {
    mps_config c = server_test_config();
    struct drive d;
    struct link_test l;
    c.lobbies = 2;
    c.players = 3;
    drive_start(&d, &c);
    link_open(&d, &l, "198.51.100.1");
    CHECK_INT(link_post(&l, "/lobbies", "{\"code\":\"A\",\"max_players\":2}"), 200);
    CHECK_INT(link_post(&l, "/lobbies", "{\"code\":\"B\"}"), 200);
    CHECK_INT(link_post(&l, "/lobbies", "{\"code\":\"a\"}"), 409);
    CHECK_HAS(&l, "lobby_exists");
    CHECK_INT(link_post(&l, "/lobbies", "{\"code\":\"C\"}"), 503);
    CHECK_HAS(&l, "lobbies_full");
    CHECK_INT(drive_count(&d, COUNTER_FULL_LOBBIES), 1);
    CHECK_INT(link_post(&l, "/lobbies/A/join", "{\"player_name\":\"1\"}"), 200);
    CHECK_INT(link_post(&l, "/lobbies/A/join", "{\"player_name\":\"2\"}"), 200);
    CHECK_INT(link_post(&l, "/lobbies/A/join", "{\"player_name\":\"3\"}"), 409);
    CHECK_HAS(&l, "lobby_full");
    CHECK_INT(link_post(&l, "/lobbies/B/join", "{\"player_name\":\"3\"}"), 200);
    CHECK_INT(link_post(&l, "/lobbies/B/join", "{\"player_name\":\"4\"}"), 503);
    CHECK_HAS(&l, "players_full");
    CHECK_INT(drive_count(&d, COUNTER_FULL_PLAYERS), 1);
    /* Silent players go, then empty lobbies; never early. */
    drive_run(&d, 15 * S_US - 1, &l, 1);
    CHECK_INT(drive_count(&d, COUNTER_PLAYERS_LEFT), 0);
    drive_run(&d, 1, &l, 1);
    CHECK_INT(drive_count(&d, COUNTER_PLAYERS_LEFT), 3);
    CHECK_INT(link_post(&l, "/lobbies/B/join", "{\"player_name\":\"5\"}"), 200);
    drive_run(&d, 60 * S_US - 1, &l, 1);
    CHECK_INT(d.s->lobbies.pool.used, 2);
    drive_run(&d, 1, &l, 1);
    CHECK(!mps_lobby_find(d.s, "A").id && mps_lobby_find(d.s, "B").id);
    drive_run(&d, 15 * S_US, &l, 1);
    CHECK_INT(d.s->lobbies.pool.used, 0);
    CHECK_INT(d.s->lobbies.players.used, 0);
    link_close(&l);
    drive_stop(&d);
}

/* A body that only a large buffer holds: its head and all but the last byte, behind `before`. What
   was not taken is of blanks. */
static size_t link_send_large_behind(struct link_test *l, const char *before) {
    char text[2200];
    int head =
        snprintf(text, sizeof text,
                 "%sPOST /lobbies HTTP/1.1\r\nHost: h\r\nContent-Length: 2000\r\n\r\n", before);
    memset(text + head, ' ', 2000);
    memcpy(text + head, "{}", 2);
    link_forget(l);
    l->stalled = false;
    return link_send_bytes(l, text, (size_t)head + 1999);
}

static size_t link_send_large(struct link_test *l) {
    return link_send_large_behind(l, "");
}

static u32 drive_named(struct drive *d, mps_conn conn) {
    mps_conn named;
    u32 times = 0;
    while (mps_next_output(d->s, &named)) {
        times += named.id == conn.id;
    }
    return times;
}

static void server_full_large_inputs(void) {
    mps_config c = server_test_config();
    c.input_hold_ms = 60000;
    struct drive d;
    struct link_test l[4];
    drive_start(&d, &c);
    links_open(&d, l, 1, "198.51.100.1");
    links_open(&d, l + 1, 1, "198.51.100.2");
    links_open(&d, l + 2, 2, "198.51.100.3");
    for (u32 i = 0; i < 4; i++) {
        link_send_large(&l[i]);
    }
    CHECK_INT(d.s->conns.large_used, 2);
    CHECK(mps_tcp_room(d.s, l[0].conn) > 0);
    CHECK_INT(mps_tcp_room(d.s, l[2].conn), 0);
    CHECK_INT(mps_tcp_room(d.s, l[3].conn), 0);
    CHECK_INT(drive_count(&d, COUNTER_FULL_LARGE_INPUTS), 2);
    drive_run(&d, 4 * S_US, l, 4);
    /* One becomes free: the longest-waiting hears of it and goes on. */
    drive_named(&d, l[2].conn);
    CHECK_INT(link_send_bytes(&l[0], " ", 1), 0);
    CHECK_HAS(&l[0], "HTTP/1.1 200 ");
    CHECK_INT(drive_named(&d, l[2].conn), 1);
    CHECK(mps_tcp_room(d.s, l[2].conn) > 0);
    CHECK_INT(link_send_bytes(&l[2], "  ", 1), 0);
    CHECK_INT(d.s->conns.large_used, 2);
    /* The other one is out of luck. */
    drive_run(&d, S_US - 1, l, 4);
    CHECK_INT(l[3].out_bytes, 0);
    drive_run(&d, 1, l, 4);
    CHECK_HAS(&l[3], "HTTP/1.1 503 ");
    CHECK_HAS(&l[3], "large_inputs_full");
    CHECK_INT(l[2].out_bytes, 0);
    links_close(l, 4);
    CHECK_INT(d.s->conns.large_used, 0);
    drive_stop(&d);
}

/* Who waits for memory is told when some came free that it could use, once: not with each piece of
   output that others are done with. */
static void server_starving_told_once(void) {
    mps_config c = server_test_config();
    c.large_inputs = 2;
    c.large_inputs_per_address = 1;
    c.chunks = 256;
    struct drive d;
    struct link_test l[3];
    drive_start(&d, &c);
    links_open(&d, l, 2, "198.51.100.1");
    links_open(&d, l + 2, 1, "127.0.0.1");
    link_send_large(&l[0]);
    link_send_large(&l[1]);
    CHECK_INT(d.s->conns.starving.count, 1);
    drive_named(&d, l[1].conn);
    CHECK_INT(link_get(&l[2], "/metrics"), 200);
    CHECK(d.s->conns.chunks_high > 1);
    link_close(&l[0]);
    CHECK_INT(drive_named(&d, l[1].conn), 1);
    CHECK_INT(link_get(&l[2], "/metrics"), 200);
    CHECK_INT(drive_named(&d, l[1].conn), 0);
    CHECK(mps_tcp_room(d.s, l[1].conn) > 0);
    links_close(l + 1, 2);
    drive_stop(&d);
}

#define HALF_HEAD_BYTES 400 /* with a zero behind: more than a connection's own bytes hold */

static void half_head(char head[HALF_HEAD_BYTES]) {
    memset(head, 'x', HALF_HEAD_BYTES - 1);
    memcpy(head, "GET /healthz HTTP/1.1\r\nHost: h\r\nX: ", 35);
    head[HALF_HEAD_BYTES - 1] = 0;
}

/* Halves of requests keep all memory for input: the oldest give way to those who wait, as many as
   it takes, and none that is young or complete. */
static void server_halves_give_way(void) {
    mps_config c = server_test_config();
    char head[HALF_HEAD_BYTES];
    struct drive d;
    struct link_test l[12];
    c.large_inputs_per_address = 1;
    c.large_inputs = 1;
    drive_start(&d, &c);
    links_open(&d, l, 12, "198.51.100.1");
    half_head(head);
    u32 kept = 0;
    while (kept < 11 && !link_send(&l[kept], head)) {
        kept++;
        drive_run(&d, 100000, l, 12);
    }
    CHECK(kept > 4 && kept < 11);
    u32 waits = kept;
    CHECK(link_send(&l[waits], "") == 0 && mps_tcp_room(d.s, l[waits].conn) == 0);
    CHECK_INT(mps_tcp_fate(d.s, l[0].conn), MPS_FATE_OPEN);
    drive_run(&d, 4 * S_US - kept * 100000 - 1000, l, 12);
    CHECK_INT(mps_tcp_fate(d.s, l[0].conn), MPS_FATE_OPEN);
    drive_run(&d, 1000, l, 12);
    CHECK_HAS(&l[0], "HTTP/1.1 503 Service Unavailable\r\n");
    CHECK_HAS(&l[0], "\"error\":\"large_inputs_full\"");
    CHECK_INT(mps_tcp_fate(d.s, l[1].conn), MPS_FATE_OPEN);
    CHECK(mps_tcp_room(d.s, l[waits].conn) > 0);
    link_send(&l[waits], "\r\n\r\n");
    CHECK_HAS(&l[waits], "HTTP/1.1 200 OK\r\n");
    CHECK_INT(drive_count(&d, COUNTER_CLOSED_NO_ROOM), 1);
    /* Nobody waits: the others keep what they have until their own time is up. */
    drive_run(&d, 4 * S_US, l, 12);
    CHECK_INT(mps_tcp_fate(d.s, l[1].conn), MPS_FATE_OPEN);
    links_close(l, 12);
    drive_stop(&d);
}

/* Whoever sends the end of one request with the half of the next, and never is without half a
   request, neither shields others nor keeps its memory: that is free at the end of a request. */
static void server_renewed_give_way(void) {
    mps_config c = server_test_config();
    struct drive d;
    struct link_test l[4];
    drive_start(&d, &c);
    links_open_apart(&d, l, 4);
    link_send_large(&l[0]);
    link_send_large(&l[1]);
    drive_run(&d, 2 * S_US, l, 4);
    CHECK_INT(link_send_large_behind(&l[0], " "), 0); /* nobody waits: it keeps its buffer */
    CHECK_HAS(&l[0], "HTTP/1.1 200 ");
    CHECK_INT(d.s->conns.large_used, 2);
    drive_run(&d, S_US, l, 4);
    link_send_large(&l[2]);
    drive_run(&d, S_US - KEEPING_LOOK_US, l, 4);
    CHECK_INT(mps_tcp_fate(d.s, l[1].conn), MPS_FATE_OPEN);
    CHECK_INT(mps_tcp_room(d.s, l[2].conn), 0);
    drive_run(&d, 2 * KEEPING_LOOK_US, l, 4);
    CHECK_HAS(&l[1], "\"error\":\"large_inputs_full\"");
    CHECK(mps_tcp_room(d.s, l[2].conn) > 0);
    /* Two of them ask for the buffer of the first one, which is done with a request only. */
    link_send_large(&l[3]);
    CHECK_INT(mps_tcp_room(d.s, l[3].conn), 0);
    CHECK(link_send_large_behind(&l[0], " ") > 0);
    CHECK_HAS(&l[0], "HTTP/1.1 200 ");
    CHECK(mps_tcp_room(d.s, l[3].conn) > 0);
    CHECK_INT(mps_tcp_room(d.s, l[0].conn), 0);
    CHECK_INT(mps_tcp_fate(d.s, l[0].conn), MPS_FATE_OPEN);
    CHECK(mps_check(d.s));
    links_close(l, 4);
    CHECK_INT(d.s->conns.large_used, 0);
    drive_stop(&d);
}

/* Sends so many requests at once that most of them wait for their peer to read the answers. */
static void link_pipeline(struct link_test *l) {
    char text[4000];
    struct text t = text_on(text, sizeof text);
    while (t.bytes < 3900) {
        text_add(&t, SPAN("GET /healthz HTTP/1.1" END));
    }
    l->stalled = true;
    link_send_bytes(l, text, t.bytes);
}

/* Whole requests whose answers nobody reads hold memory that others wait for no longer than halves
   do, from when their peer last read. */
static void server_unread_give_way(void) {
    mps_config c = server_test_config();
    struct drive d;
    struct link_test l[3];
    drive_start(&d, &c);
    links_open_apart(&d, l, 3);
    link_pipeline(&l[0]);
    link_pipeline(&l[1]);
    CHECK_INT(d.s->conns.large_used, 2);
    drive_run(&d, 5 * S_US, l, 3); /* nobody waits yet */
    link_read(&l[0]);
    link_read(&l[1]);
    drive_run(&d, S_US, l, 3);
    link_read(&l[1]);
    CHECK_INT(d.s->conns.large_used, 2);
    size_t left = link_send_large(&l[2]);
    CHECK_INT(mps_tcp_room(d.s, l[2].conn), 0);
    drive_run(&d, 3 * S_US - KEEPING_LOOK_US, l, 3);
    CHECK_INT(mps_tcp_fate(d.s, l[0].conn), MPS_FATE_OPEN);
    drive_run(&d, KEEPING_LOOK_US, l, 3);
    CHECK_INT(mps_tcp_fate(d.s, l[0].conn), MPS_FATE_ABORT);
    CHECK_INT(mps_tcp_fate(d.s, l[1].conn), MPS_FATE_OPEN);
    CHECK_INT(drive_count(&d, COUNTER_CLOSED_SLOW), 1);
    CHECK(mps_tcp_room(d.s, l[2].conn) > 0);
    for (left++; left; left--) {
        CHECK_INT(link_send(&l[2], " "), 0);
    }
    CHECK_HAS(&l[2], "HTTP/1.1 200 ");
    CHECK_INT(drive_count(&d, COUNTER_CLOSED_NO_ROOM), 0);
    links_close(l, 3);
    CHECK(mps_check(d.s));
    drive_stop(&d);
}

/* However much memory slow readers have taken, what does not fit a connection's own bytes can be
   said, until a quarter of all chunks holds input. */
static void server_input_beside_output(void) {
    mps_config c = server_test_config();
    char head[HALF_HEAD_BYTES];
    struct drive d;
    struct link_test l[16];
    c.chunks = 40;
    drive_start(&d, &c);
    links_open(&d, l, 2, "198.51.100.1");
    links_open(&d, l + 2, 14, "198.51.100.2");
    link_pipeline(&l[0]);
    link_pipeline(&l[1]);
    CHECK_INT(d.s->conns.large_used, 2);
    for (u32 i = 2; i < 5; i++) {
        l[i].stalled = true;
        while (mps_tcp_room(d.s, l[i].conn)) {
            link_send(&l[i], "GET /healthz HTTP/1.1" END);
        }
    }
    CHECK(d.s->conns.chunks_used > 10);
    half_head(head);
    for (u32 i = 5; i < 15; i++) {
        CHECK_INT(link_send(&l[i], head), 0);
        CHECK(mps_tcp_room(d.s, l[i].conn) > 0);
    }
    CHECK_INT(d.s->conns.chunks_input, 10);
    link_send(&l[15], head);
    CHECK_INT(mps_tcp_room(d.s, l[15].conn), 0);
    /* Whoever ends lets the next one go on. */
    drive_named(&d, l[15].conn);
    link_send(&l[5], "\r\n\r\n");
    CHECK_HAS(&l[5], "HTTP/1.1 200 ");
    CHECK_INT(drive_named(&d, l[15].conn), 1);
    CHECK(mps_tcp_room(d.s, l[15].conn) > 0);
    CHECK(mps_check(d.s));
    links_close(l, 16);
    drive_stop(&d);
}

/* Whoever has filled exactly what it has, with more to come, has the memory for that before others
   can take it. */
static void server_input_filled(void) {
    mps_config c = server_test_config();
    char head[HALF_HEAD_BYTES];
    struct drive d;
    struct link_test l[5];
    c.chunks = 9;
    c.message_bytes_max = 1024;
    drive_start(&d, &c);
    links_open_apart(&d, l, 5);
    half_head(head);
    CHECK_INT(link_send_bytes(&l[2], head, d.s->conns.input_bytes), 0);
    link_send_large(&l[0]);
    link_send_large(&l[1]);
    link_send(&l[3], head);
    link_send(&l[4], head);
    CHECK_INT(d.s->conns.large_used, 2);
    CHECK_INT(d.s->conns.chunks_input, 2);
    CHECK(mps_tcp_room(d.s, l[2].conn) > 0);
    CHECK_INT(link_send(&l[2], "\r\n\r\n"), 0);
    CHECK_HAS(&l[2], "HTTP/1.1 200 ");
    CHECK(mps_check(d.s));
    links_close(l, 5);
    drive_stop(&d);
}

/* An address with its share of large buffers waits, and another one behind it does not. */
static void server_large_share(void) {
    mps_config c = server_test_config();
    struct drive d;
    struct link_test l[5];
    mps_conn named;
    c.large_inputs = 3;
    drive_start(&d, &c);
    links_open(&d, l, 3, "198.51.100.1");
    links_open(&d, l + 3, 2, "198.51.100.2");
    for (u32 i = 0; i < 5; i++) {
        link_send_large(&l[i]);
    }
    CHECK_INT(d.s->conns.large_used, 3);
    CHECK_INT(mps_tcp_room(d.s, l[2].conn), 0); /* 0, 1 and 3 have buffers, 2 and 4 wait */
    CHECK_INT(mps_tcp_room(d.s, l[4].conn), 0);
    while (mps_next_output(d.s, &named)) {
    }
    CHECK_INT(link_send_bytes(&l[3], " ", 1), 0); /* serves nobody of the first address */
    CHECK_INT(mps_tcp_room(d.s, l[2].conn), 0);
    bool heard = false;
    while (mps_next_output(d.s, &named)) {
        heard |= named.id == l[4].conn.id;
    }
    CHECK(heard);
    /* Whoever is named and finds it taken again is named again. */
    CHECK_INT(link_send_bytes(&l[4], " ", 1), 0);
    CHECK_INT(link_send_bytes(&l[0], " ", 1), 0);
    heard = false;
    while (mps_next_output(d.s, &named)) {
        heard |= named.id == l[2].conn.id;
    }
    CHECK(heard && mps_tcp_room(d.s, l[2].conn) > 0);
    links_close(l, 5);
    drive_stop(&d);
}

/* Peers that ask and do not read hold chunks; the one that holds most goes, the asker is served. */
static void server_full_chunks(void) {
    mps_config c = server_test_config();
    c.chunks = 24;
    struct drive d;
    struct link_test l[16];
    drive_start(&d, &c);
    links_open(&d, l, 16, "198.51.100.1");
    for (u32 i = 0; i < 14; i++) {
        l[i].stalled = true;
        for (u32 k = 0; k < (i == 5 ? 4u : 3u); k++) {
            link_send(&l[i], "GET /healthz HTTP/1.1" END "GET /healthz HTTP/1.1" END);
        }
    }
    u32 before = d.s->conns.chunks_used;
    CHECK(before >= 20);
    CHECK_INT(link_get(&l[15], "/metrics"), 403);
    for (u32 k = 0; k < 8; k++) {
        CHECK_INT(link_get(&l[15], "/healthz"), 200);
    }
    l[14].stalled = true;
    while (drive_count(&d, COUNTER_CLOSED_SLOW) == 0 && mps_tcp_room(d.s, l[14].conn)) {
        link_send(&l[14], "GET /healthz HTTP/1.1" END);
    }
    CHECK(drive_count(&d, COUNTER_CLOSED_SLOW) > 0 || !mps_tcp_room(d.s, l[14].conn));
    CHECK(drive_count(&d, COUNTER_FULL_CHUNKS) > 0);
    u32 aborted = 0;
    for (u32 i = 0; i < 14; i++) {
        aborted += mps_tcp_fate(d.s, l[i].conn) == MPS_FATE_ABORT;
    }
    CHECK_INT(aborted, drive_count(&d, COUNTER_CLOSED_SLOW));
    CHECK(mps_tcp_fate(d.s, l[14].conn) == MPS_FATE_OPEN);
    CHECK(mps_check(d.s));
    links_close(l, 16);
    CHECK_INT(d.s->conns.chunks_used, 0);
    link_open(&d, &l[0], "198.51.100.1");
    CHECK_INT(link_get(&l[0], "/healthz"), 200);
    link_close(&l[0]);
    drive_stop(&d);
}

/* When nobody holds more than the one that asks, it is told so in what it owns itself. */
static void server_output_full(void) {
    mps_config c = server_test_config();
    struct drive d;
    struct link_test l[9], more;
    char head[512];
    c.chunks = 9;
    c.message_bytes_max = 1024;
    c.cors_origin = "https://a-long-origin.example.org:12345/of/sixty-four-characters";
    drive_start(&d, &c);
    links_open(&d, l, 9, "198.51.100.1");
    snprintf(head, sizeof head, "GET /nothing HTTP/1.1\r\nHost: h\r\nX: %0300u\r\n", 1u);
    link_send(&l[0], head); /* unfinished: kept in a lent chunk */
    CHECK_INT(d.s->conns.chunks_used, 1);
    for (u32 i = 1; i < 9; i++) {
        l[i].stalled = true;
        link_send(&l[i], "GET /nothing HTTP/1.1" END);
    }
    CHECK_INT(d.s->conns.chunks_used, 9);
    link_send(&l[0], "\r\n");
    CHECK_HAS(&l[0], "HTTP/1.1 503 Service Unavailable\r\n");
    CHECK_HAS(&l[0], "Access-Control-Allow-Origin: https://a-long-origin");
    CHECK_HAS(&l[0], "\"error\":\"output_full\"");
    CHECK_HAS(&l[0], "Retry-After: 1\r\n");
    CHECK_INT(l[0].fate, MPS_FATE_FINISH);
    CHECK_INT(drive_count(&d, COUNTER_FULL_CHUNKS), 1);
    CHECK_INT(drive_count(&d, COUNTER_CLOSED_SLOW), 0);
    /* Who holds less has the first of them closed instead. */
    link_close(&l[0]);
    link_open(&d, &l[0], "198.51.100.1");
    CHECK_INT(link_get(&l[0], "/nothing"), 404); /* with the chunk that came back */
    l[0].stalled = true;
    link_get(&l[0], "/nothing");
    CHECK_INT(d.s->conns.chunks_used, 9);
    link_open(&d, &more, "198.51.100.1");
    CHECK_INT(link_get(&more, "/nothing"), 404);
    CHECK_INT(drive_count(&d, COUNTER_CLOSED_SLOW), 1);
    CHECK_INT(mps_tcp_fate(d.s, l[1].conn), MPS_FATE_ABORT);
    link_close(&more);
    links_close(l, 9);
    drive_stop(&d);
}

/* Behind a proxy the client is who the proxy says; from others the field means nothing. */
static void server_proxies(void) {
    mps_config c = server_test_config();
    struct drive d;
    struct link_test l;
    c.trusted_proxies[0] = "10.0.0.0/8";
    c.metrics_allow[0] = "198.51.100.0/24";
    c.log_level = MPS_LOG_DEBUG;
    drive_start(&d, &c);
    static const struct {
        const char *peer, *fields;
        int status;
    } rows[] = {
        {"127.0.0.1", "", 200},
        {"198.51.100.5", "", 200},
        {"203.0.113.1", "", 403},
        {"203.0.113.1", "X-Forwarded-For: 127.0.0.1\r\n", 403},
        {"10.0.0.1", "X-Forwarded-For: 127.0.0.1\r\n", 200},
        {"10.0.0.1", "X-Forwarded-For: 127.0.0.1, 203.0.113.1\r\n", 403},
        {"10.0.0.1", "X-Forwarded-For: 198.51.100.5\r\nX-Forwarded-For: 10.2.2.2\r\n", 200},
        {"10.0.0.1", "X-Forwarded-For: 203.0.113.1\r\nX-Forwarded-For: 10.2.2.2\r\n", 403},
        {"10.0.0.1", "", 403},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char text[256];
        link_open(&d, &l, rows[i].peer);
        snprintf(text, sizeof text, "GET /api/status HTTP/1.1\r\nHost: h\r\n%s\r\n",
                 rows[i].fields);
        CHECK_INT(link_ask(&l, text), rows[i].status);
        link_close(&l);
    }
    drive_stop(&d);
}

/* -- back-pressure -- */

static void server_high_water(void) {
    mps_config c = server_test_config();
    struct drive d;
    struct link_test l;
    mps_conn named;
    u32 asked = 0;
    drive_start(&d, &c);
    link_open(&d, &l, "198.51.100.1");
    l.stalled = true;
    while (mps_tcp_room(d.s, l.conn) && asked < 100) {
        link_send(&l, "GET /healthz HTTP/1.1" END);
        asked++;
    }
    CHECK(asked > 4 && asked < 100);
    CHECK(d.s->conns.output_high < conn_at(&d.s->conns, 0)->out_bytes);
    CHECK(mps_deadline(d.s) > d.now && mps_deadline(d.s) <= d.now + 30 * S_US);
    while (mps_next_output(d.s, &named)) {
    }
    l.stalled = false;
    link_read(&l);
    CHECK(mps_next_output(d.s, &named) && named.id == l.conn.id);
    CHECK(mps_tcp_room(d.s, l.conn) > 0);
    u32 answers = 0;
    for (const char *at = l.out; (at = strstr(at, "HTTP/1.1 200")); at++) {
        answers++;
    }
    CHECK_INT(answers, asked);
    link_close(&l);
    drive_stop(&d);
}

/* A long list comes out whole, however slowly it is read, chunked or until the close. */
static void server_long_lists(void) {
    mps_config c = server_test_config();
    struct drive d;
    struct link_test l;
    char body[128], names[65];
    c.lobbies = 100;
    drive_start(&d, &c);
    link_open(&d, &l, "198.51.100.1");
    memset(names, 's', 64);
    names[64] = 0;
    for (u32 i = 0; i < 100; i++) {
        snprintf(body, sizeof body, "{\"code\":\"L%u\",\"scene\":\"%s\"}", i, names);
        CHECK_INT(link_post(&l, "/lobbies", body), 200);
    }
    CHECK_INT(link_get(&l, "/lobbies?limit=200"), 200);
    CHECK_HAS(&l, "Transfer-Encoding: chunked");
    CHECK_HAS(&l, "\"code\":\"L99\"");
    CHECK(l.out_bytes > 16000 && strcmp(l.out + l.out_bytes - 5, "0\r\n\r\n") == 0);
    CHECK_INT(link_get(&l, "/healthz"), 200);
    /* The same through the decoder of chunks. */
    link_get(&l, "/lobbies?limit=200");
    char *start = strstr(l.out, "\r\n\r\n") + 4;
    struct http_chunks chunks = {0};
    size_t whole = 0, raw = 0;
    CHECK_INT(http_chunks_decode(&chunks, start, &whole, &raw,
                                 l.out_bytes - (size_t)(start - l.out), 1000000),
              1);
    CHECK(start[0] == '[' && start[whole - 1] == ']');
    char *list = malloc(whole);
    memcpy(list, start, whole);
    link_forget(&l);
    link_send(&l, "GET /lobbies?limit=200 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    CHECK_HAS(&l, "Connection: close\r\n");
    CHECK(!strstr(l.out, "Transfer-Encoding") && !strstr(l.out, "Content-Length"));
    start = strstr(l.out, "\r\n\r\n") + 4;
    CHECK(l.out_bytes - (size_t)(start - l.out) == whole && memcmp(start, list, whole) == 0);
    CHECK_INT(l.fate, MPS_FATE_FINISH);
    free(list);
    link_close(&l);
    link_open(&d, &l, "198.51.100.1");
    link_ask(&l, "HEAD /lobbies?limit=200 HTTP/1.1" END "GET /readyz HTTP/1.1" END);
    CHECK_HAS(&l, "\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 15\r\n");
    link_close(&l);
    drive_stop(&d);
}

/* Every lobby that stays is listed once, whatever comes and goes between the pages. */
static void server_paging(void) {
    mps_config c = server_test_config();
    struct drive d;
    struct link_test l;
    char text[128];
    u32 seen[20] = {0}, cursor = 0, pages = 0;
    c.lobbies = 64;
    drive_start(&d, &c);
    link_open(&d, &l, "198.51.100.1");
    test_random_seed(9);
    for (u32 i = 0; i < 20; i++) {
        snprintf(text, sizeof text, "{\"code\":\"S%02u\"}", i);
        CHECK_INT(link_post(&l, "/lobbies", text), 200);
        snprintf(text, sizeof text, "{\"code\":\"T%02u\"}", i);
        CHECK_INT(link_post(&l, "/lobbies", text), 200);
    }
    for (;; pages++) {
        snprintf(text, sizeof text, "/lobbies?limit=3&cursor=%u", cursor);
        CHECK_INT(link_get(&l, text), 200);
        for (u32 i = 0; i < 20; i++) {
            snprintf(text, sizeof text, "\"S%02u\"", i);
            seen[i] += strstr(l.out, text) != NULL;
        }
        const char *next = strstr(l.out, "X-Next-Cursor: ");
        if (!next || pages == 100) {
            break;
        }
        cursor = (u32)atoi(next + 15);
        for (u32 i = 0; i < 3; i++) {
            u32 which = test_random(20);
            snprintf(text, sizeof text, "DELETE /lobbies/T%02u HTTP/1.1" END, which);
            link_ask(&l, text);
            snprintf(text, sizeof text, "{\"code\":\"T%02u\"}", test_random(20));
            link_post(&l, "/lobbies", text);
        }
    }
    CHECK(pages > 5 && pages < 100);
    for (u32 i = 0; i < 20; i++) {
        CHECK_INT(seen[i], 1);
    }
    link_close(&l);
    drive_stop(&d);
}

/* -- time-outs -- */

/* After `text`, nothing happens for `us` less one, and at its end what `wants` says is sent (NULL:
   nothing) and the connection's fate is as told. */
static void timeout_row(const char *text, bool stalled, u64 us, const char *wants, mps_fate fate) {
    mps_config c = server_test_config();
    struct drive d;
    struct link_test l;
    drive_start(&d, &c);
    link_open(&d, &l, "198.51.100.1");
    d.now += 5 * S_US; /* its patience does not depend on when it began */
    l.stalled = stalled;
    link_send(&l, text);
    link_forget(&l);
    drive_run(&d, us - 1, &l, 1);
    CHECK_INT(l.out_bytes, 0);
    CHECK_INT(mps_tcp_fate(d.s, l.conn), MPS_FATE_OPEN);
    CHECK(mps_deadline(d.s) == d.now + 1);
    drive_run(&d, 1, &l, 1);
    if (wants) {
        CHECK_HAS(&l, wants);
    } else {
        CHECK_INT(l.out_bytes, 0);
    }
    CHECK_INT(l.closed ? l.fate : mps_tcp_fate(d.s, l.conn), fate);
    if (fate == MPS_FATE_FINISH) {
        drive_run(&d, 2 * S_US - 1, &l, 1);
        CHECK_INT(mps_tcp_fate(d.s, l.conn), MPS_FATE_FINISH);
        drive_run(&d, 1, &l, 1);
        CHECK_INT(l.closed, true); /* lingering is over */
    }
    link_close(&l);
    CHECK(mps_deadline(d.s) == NEVER);
    drive_stop(&d);
}

static void server_timeouts(void) {
    timeout_row("GET", false, 10 * S_US, "request_timeout", MPS_FATE_FINISH);
    timeout_row("POST /lobbies HTTP/1.1" BODY(2) "{", false, 30 * S_US, "HTTP/1.1 408 ",
                MPS_FATE_FINISH);
    timeout_row("GET /healthz HTTP/1.1" END, false, 75 * S_US, NULL, MPS_FATE_FINISH);
    timeout_row("GET /healthz HTTP/1.1" END "G", false, 10 * S_US, "HTTP/1.1 408 ",
                MPS_FATE_FINISH);
    timeout_row("GET /healthz HTTP/1.1" END, true, 30 * S_US, NULL, MPS_FATE_ABORT);
    timeout_row("GET /healthz HTTP/1.1" END "G", true, 30 * S_US, NULL, MPS_FATE_ABORT);
    timeout_row("GET /healthz HTTP/1.1\r\n", false, 10 * S_US, "\r\n\r\n{\"status\":\"error\"",
                MPS_FATE_FINISH);
}

/* Trickling bytes do not extend the patience for a head. */
static void server_timeout_trickle(void) {
    mps_config c = server_test_config();
    struct drive d;
    struct link_test l;
    drive_start(&d, &c);
    link_open(&d, &l, "198.51.100.1");
    drive_run(&d, 9 * S_US, &l, 1);
    link_send(&l, "G");
    for (u32 i = 0; i < 9; i++) {
        drive_run(&d, S_US, &l, 1);
        link_send(&l, i ? "E" : "ET /");
    }
    CHECK_INT(l.out_bytes, 0);
    drive_run(&d, S_US, &l, 1);
    CHECK_HAS(&l, "HTTP/1.1 408 ");
    link_close(&l);
    /* A peer that says nothing at all gets as long, and no answer. */
    link_open(&d, &l, "198.51.100.1");
    drive_run(&d, 10 * S_US - 1, &l, 1);
    CHECK_INT(mps_tcp_fate(d.s, l.conn), MPS_FATE_OPEN);
    drive_run(&d, 1, &l, 1);
    CHECK_INT(l.fate, MPS_FATE_FINISH);
    CHECK_INT(l.out_bytes, 0);
    link_close(&l);
    drive_stop(&d);
}

/* A whole request that is put off, as others have just taken much memory, is not blamed on its
   peer, however long that was idle before. */
static void server_timeout_own_turn(void) {
    mps_config c = server_test_config();
    struct drive d;
    struct link_test l;
    drive_start(&d, &c);
    link_open(&d, &l, "198.51.100.1");
    CHECK_INT(link_get(&l, "/healthz"), 200);
    drive_run(&d, 20 * S_US, &l, 1); /* longer than for a head, shorter than for the next request */
    d.s->conns.chunks_round = d.s->conns.chunks_count;
    CHECK_INT(link_get(&l, "/healthz"), 200);
    CHECK_INT(mps_tcp_fate(d.s, l.conn), MPS_FATE_OPEN);
    link_close(&l);
    drive_stop(&d);
}

/* -- hooks -- */

struct game {
    mps_server *s;
    struct drive *d;
    mps_conn conn;
    mps_verdict verdict;
    u64 ticket;
    bool allow_lobby, allow_join, kick_others;
    bool late; /* what a hook is told may be over already: more happened than one call settles */
    u32 opened, closed, joined, left, nested, logs;
    char token[64];
};

/* Every call that a hook must not make is answered, and changes nothing. */
static void play_nested(struct game *g) {
    mps_address a = {{0}, 0, 0};
    char bytes[4] = "GET";
    mps_conn conn;
    CHECK_INT(mps_tcp_open(g->s, g->d->now, &a, &a).id, 0);
    mps_error error = mps_tcp_input(g->s, g->conn, g->d->now, bytes, 3);
    CHECK(error == MPS_E_NESTED || error == MPS_E_ARGUMENT || error == MPS_E_HANDLE);
    mps_tcp_eof(g->s, g->conn, g->d->now);
    mps_tcp_closed(g->s, g->conn, g->d->now);
    CHECK(!mps_next_output(g->s, &conn));
    mps_tcp_taken(g->s, g->conn, 1);
    mps_tcp_sent(g->s, g->conn, g->d->now, 1);
    CHECK_INT(mps_advance(g->s, g->d->now), 0);
    g->nested++;
}

static mps_verdict play_authenticate(void *user, const char *token, size_t bytes, u64 ticket,
                                     mps_identity *who) {
    struct game *g = user;
    snprintf(g->token, sizeof g->token, "%.*s", (int)bytes, token);
    g->ticket = ticket;
    play_nested(g);
    CHECK_INT(mps_auth_finish(g->s, g->d->now, ticket, NULL), MPS_E_HANDLE);
    if (g->verdict == MPS_YES) {
        snprintf(who->id, sizeof who->id, "admin-%s", g->token);
        who->role = MPS_ROLE_ADMIN;
    }
    return g->verdict;
}

static bool play_lobby_check(void *user, const char *code, const char *scene, u32 max_players) {
    struct game *g = user;
    CHECK(strlen(code) > 0 && strlen(scene) > 0 && max_players > 0);
    play_nested(g);
    return g->allow_lobby;
}

static bool play_join_check(void *user, mps_lobby lobby, const char *name) {
    struct game *g = user;
    mps_lobby_info info;
    CHECK_INT(mps_lobby_get(g->s, lobby, &info), MPS_OK);
    CHECK(name[0] != 0);
    play_nested(g);
    for (u32 id = 1; g->kick_others && id < 5; id++) {
        mps_lobby_kick(g->s, g->d->now, lobby, id);
    }
    return g->allow_join;
}

static void play_lobby_opened(void *user, mps_lobby lobby, const char *code) {
    struct game *g = user;
    CHECK(g->late || mps_lobby_find(g->s, code).id == lobby.id);
    play_nested(g);
    g->opened++;
}

static void play_lobby_closed(void *user, mps_lobby lobby, const char *code) {
    struct game *g = user;
    mps_lobby_info info;
    CHECK_INT(mps_lobby_get(g->s, lobby, &info), MPS_E_HANDLE);
    CHECK(mps_lobby_find(g->s, code).id != lobby.id); /* the code may be in use again */
    play_nested(g);
    g->closed++;
}

static void play_player_joined(void *user, mps_lobby lobby, u32 player_id, const char *name) {
    struct game *g = user;
    play_nested(g);
    g->joined++;
    if (strcmp(name, "kick me") == 0) {
        mps_error first = mps_lobby_kick(g->s, g->d->now, lobby, player_id);
        mps_error second = mps_lobby_kick(g->s, g->d->now, lobby, player_id);
        CHECK(g->late || (first == MPS_OK && second == MPS_E_PLAYER_NOT_FOUND));
    }
}

static void play_player_left(void *user, mps_lobby lobby, u32 player_id) {
    struct game *g = user;
    CHECK(lobby.id && player_id);
    play_nested(g);
    g->left++;
}

static void play_log(void *user, const mps_log_record *record) {
    struct game *g = user;
    CHECK(record->item != NULL);
    g->logs++;
}

static void play_start_filled(struct game *g, struct drive *d, mps_config *c, int fill) {
    memset(g, 0, sizeof *g);
    g->d = d;
    g->allow_lobby = g->allow_join = true;
    c->hooks = (mps_hooks){.user = g,
                           .authenticate = play_authenticate,
                           .lobby_check = play_lobby_check,
                           .join_check = play_join_check,
                           .lobby_opened = play_lobby_opened,
                           .lobby_closed = play_lobby_closed,
                           .player_joined = play_player_joined,
                           .player_left = play_player_left,
                           .log = play_log};
    c->log_level = MPS_LOG_DEBUG;
    drive_start_filled(d, c, fill);
    g->s = d->s;
}

static void play_start(struct game *g, struct drive *d, mps_config *c) {
    play_start_filled(g, d, c, 0xAA);
}

static void server_hooks(void) {
    mps_config c = server_test_config();
    struct drive d;
    struct game g;
    struct link_test l;
    play_start(&g, &d, &c);
    link_open(&d, &l, "198.51.100.1");
    g.conn = l.conn;
    g.allow_lobby = false;
    CHECK_INT(link_post(&l, "/lobbies", "{\"code\":\"A\"}"), 403);
    CHECK_HAS(&l, "refused_by_game");
    g.allow_lobby = true;
    CHECK_INT(link_post(&l, "/lobbies", "{\"code\":\"A\"}"), 200);
    CHECK_INT(g.opened, 1);
    g.allow_join = false;
    CHECK_INT(link_post(&l, "/lobbies/A/join", "{\"player_name\":\"x\"}"), 403);
    g.allow_join = true;
    CHECK_INT(link_post(&l, "/lobbies/A/join", "{\"player_name\":\"x\"}"), 200);
    CHECK_INT(link_post(&l, "/lobbies/A/join", "{\"player_name\":\"kick me\"}"), 200);
    CHECK_INT(g.joined, 2);
    CHECK_INT(g.left, 1);
    g.kick_others = true;
    CHECK_INT(link_post(&l, "/lobbies/A/join", "{\"player_name\":\"y\"}"), 200);
    CHECK_HAS(&l, "\"player_count\":1,");
    CHECK_INT(g.left, 2);
    g.verdict = MPS_NO;
    CHECK_INT(link_ask(&l, "DELETE /lobbies/A HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer t"
                           "\r\n\r\n"),
              401);
    g.verdict = MPS_YES;
    CHECK_INT(link_ask(&l, "DELETE /lobbies/A?force=1 HTTP/1.1\r\nHost: h\r\n"
                           "Authorization: bearer  ticket \r\n\r\n"),
              200);
    CHECK_TEXT(g.token, strlen(g.token), "ticket");
    CHECK_INT(g.closed, 1);
    CHECK_INT(g.left, 3);
    CHECK(g.nested > 10 && g.logs > 5);
    CHECK_INT(link_get(&l, "/healthz"), 200);
    link_close(&l);
    drive_stop(&d);
}

static const char later_get[] = "GET /admin/log HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer t\r\n"
                                "\r\nGET /healthz HTTP/1.1" END;
static const char later_post[] =
    "POST /admin/announce HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer t\r\n"
    "Transfer-Encoding: chunked\r\n\r\n7\r\n{\"text\"\r\n6\r\n:\"hi\"}\r\n0\r\n\r\n"
    "GET /healthz HTTP/1.1" END;

static void later_row(const char *text, bool yes, int status) {
    mps_config c = server_test_config();
    struct drive d;
    struct game g;
    struct link_test l;
    mps_identity admin = {.id = "boss", .role = MPS_ROLE_ADMIN};
    play_start(&g, &d, &c);
    link_open(&d, &l, "198.51.100.1");
    g.conn = l.conn;
    g.verdict = MPS_LATER;
    link_send(&l, text);
    CHECK_INT(l.out_bytes, 0);
    CHECK_INT(mps_tcp_room(d.s, l.conn), 0);
    CHECK_INT(mps_auth_finish(d.s, d.now, g.ticket + 1, &admin), MPS_E_HANDLE);
    CHECK_INT(mps_auth_finish(d.s, d.now, g.ticket + (1ULL << 32), &admin), MPS_E_HANDLE);
    CHECK_INT(mps_auth_finish(d.s, d.now, 0, &admin), MPS_E_HANDLE);
    CHECK_INT(mps_auth_finish(d.s, d.now, g.ticket, yes ? &admin : NULL), MPS_OK);
    CHECK_INT(mps_auth_finish(d.s, d.now, g.ticket, &admin), MPS_E_HANDLE);
    link_pump(&l);
    CHECK_INT(atoi(l.out + 9), status);
    CHECK_HAS(&l, "\"uptime_ms\""); /* the pipelined one */
    CHECK(mps_tcp_room(d.s, l.conn) > 0);
    link_close(&l);
    drive_stop(&d);
}

static void server_hook_later(void) {
    later_row(later_get, true, 200);
    later_row(later_get, false, 401);
    later_row(later_post, true, 202);
    later_row(later_post, false, 401);
}

static void server_hook_too_late(void) {
    mps_config c = server_test_config();
    struct drive d;
    struct game g;
    struct link_test l;
    mps_identity admin = {.id = "boss", .role = MPS_ROLE_ADMIN};
    play_start(&g, &d, &c);
    g.verdict = MPS_LATER;
    link_open(&d, &l, "198.51.100.1");
    link_send(&l, later_get);
    drive_run(&d, 10 * S_US - 1, &l, 1);
    CHECK_INT(l.out_bytes, 0);
    drive_run(&d, 1, &l, 1);
    CHECK_HAS(&l, "HTTP/1.1 503 ");
    CHECK_HAS(&l, "auth_timeout");
    CHECK_INT(mps_auth_finish(d.s, d.now, g.ticket, &admin), MPS_E_HANDLE);
    link_close(&l);
    link_open(&d, &l, "198.51.100.1");
    link_send(&l, later_get);
    link_close(&l);
    CHECK_INT(mps_auth_finish(d.s, d.now, g.ticket, &admin), MPS_E_HANDLE);
    /* FIN does not take the question back. */
    link_open(&d, &l, "198.51.100.1");
    link_send(&l, later_get);
    mps_tcp_eof(d.s, l.conn, d.now);
    CHECK_INT(mps_auth_finish(d.s, d.now, g.ticket, &admin), MPS_OK);
    link_pump(&l);
    CHECK_HAS(&l, "HTTP/1.1 200 ");
    CHECK(l.closed);
    link_close(&l);
    drive_stop(&d);
}

/* -- draining -- */

static void server_drain_in_peace(void) {
    mps_config c = server_test_config();
    struct drive d;
    struct game g;
    struct link_test l[7];
    play_start(&g, &d, &c);
    links_open(&d, l, 4, "198.51.100.1");
    CHECK_INT(link_get(&l[0], "/healthz"), 200); /* kept and idle, like the next */
    CHECK_INT(link_get(&l[1], "/healthz"), 200);
    link_send(&l[2], "POST /lobbies HTTP/1.1" BODY(2) "{");
    l[3].stalled = true; /* answered, not read yet */
    link_send(&l[3], "GET /healthz HTTP/1.1" END);
    mps_drain(d.s, d.now, 3000);
    CHECK_INT(mps_deadline(d.s), 0);
    drive_run(&d, 0, l, 4);
    CHECK_INT(l[0].fate, MPS_FATE_FINISH);
    CHECK_INT(l[1].fate, MPS_FATE_FINISH);
    CHECK_INT(mps_tcp_fate(d.s, l[2].conn), MPS_FATE_OPEN);
    CHECK_INT(mps_tcp_fate(d.s, l[3].conn), MPS_FATE_FINISH);
    l[3].stalled = false;
    link_read(&l[3]);
    CHECK_HAS(&l[3], "HTTP/1.1 200 ");
    links_open(&d, l + 4, 2, "198.51.100.1");
    CHECK_INT(link_get(&l[4], "/readyz"), 503);
    CHECK_HAS(&l[4], "draining");
    CHECK_HAS(&l[4], "Connection: close");
    link_send(&l[2], "}"); /* its new work comes too late */
    CHECK_HAS(&l[2], "HTTP/1.1 503 ");
    CHECK_INT(mps_tcp_fate(d.s, l[2].conn), MPS_FATE_FINISH);
    drive_run(&d, 3 * S_US - 1, l, 6);
    CHECK_INT(mps_tcp_fate(d.s, l[5].conn), MPS_FATE_OPEN);
    CHECK(!mps_drained(d.s));
    drive_run(&d, 1, l, 6);
    CHECK_INT(mps_tcp_fate(d.s, l[5].conn), MPS_FATE_FINISH);
    link_open(&d, &l[6], "198.51.100.1");
    CHECK(l[6].closed);
    drive_run(&d, 2 * S_US, l, 6);
    CHECK(mps_drained(d.s));
    CHECK(mps_deadline(d.s) == NEVER);
    links_close(l, 7);
    drive_stop(&d);
}

static void server_drain_at_once(void) {
    mps_config c = server_test_config();
    struct drive d;
    struct link_test l;
    drive_start(&d, &c);
    mps_drain(d.s, d.now, 0);
    CHECK(!mps_drained(d.s));
    mps_advance(d.s, d.now);
    CHECK(mps_drained(d.s));
    CHECK(mps_deadline(d.s) == NEVER);
    link_open(&d, &l, "198.51.100.1");
    CHECK(l.closed);
    link_close(&l);
    drive_stop(&d);
    /* A kept connection in a request when it begins is closed behind the answer, not at the end. */
    drive_start(&d, &c);
    link_open(&d, &l, "198.51.100.1");
    link_send(&l, "POST /lobbies/x/leave HTTP/1.1" BODY(2) "{");
    mps_drain(d.s, d.now, 0);
    drive_run(&d, 0, &l, 1);
    link_send(&l, "}");
    CHECK_HAS(&l, "HTTP/1.1 400 ");
    CHECK_INT(mps_tcp_fate(d.s, l.conn), MPS_FATE_FINISH);
    link_close(&l);
    mps_advance(d.s, d.now);
    CHECK(mps_drained(d.s));
    drive_stop(&d);
}

/* -- reconfiguring, the date -- */

static void server_reconfigure(void) {
    mps_config c = server_test_config(), to;
    struct drive d;
    struct link_test l;
    c.guest_login = MPS_OFF;
    drive_start(&d, &c);
    link_open(&d, &l, "198.51.100.1");
    CHECK_INT(link_post(&l, "/auth/guest", "{}"), 403);
    CHECK_INT(mps_reconfigure(d.s, &c), 0);
    to = c;
    to.guest_login = MPS_ON;
    to.head_timeout_ms = 1000;
    to.requests_per_s = 1;
    CHECK_INT(mps_reconfigure(d.s, &to), 0);
    drive_run(&d, S_US / 2, &l, 1);
    CHECK_INT(link_post(&l, "/auth/guest", "{}"), 201);
    CHECK_INT(link_post(&l, "/auth/guest", "{}"), 201);
    CHECK_INT(link_post(&l, "/auth/guest", "{}"), 429);
    CHECK_HAS(&l, "Retry-After: 1\r\n");
    link_close(&l);
    link_open(&d, &l, "198.51.100.1");
    drive_run(&d, S_US - 1, &l, 1);
    CHECK_INT(mps_tcp_fate(d.s, l.conn), MPS_FATE_OPEN);
    drive_run(&d, 1, &l, 1);
    CHECK_INT(mps_tcp_fate(d.s, l.conn), MPS_FATE_FINISH);
    link_close(&l);
    to.lobbies = 3;
    to.chunks = 30;
    to.linger_ms = 100;
    CHECK_INT(mps_reconfigure(d.s, &to), 2);
    CHECK_INT(d.s->lobbies.pool.capacity, 4);
    to.lobbies = 2000000;
    CHECK_INT(mps_reconfigure(d.s, &to), MPS_E_CONFIG);
    to = c;
    to.name = "other";
    to.cors_origin = "https://example.net";
    CHECK_INT(mps_reconfigure(d.s, &to), 2);
    drive_stop(&d);
}

static void server_wall_clock(void) {
    mps_config c = server_test_config();
    struct drive d;
    struct link_test l;
    char token[1024], ask[2048];
    c.jwt_secret = "a secret of at least thirty-two bytes";
    c.guest_login = MPS_ON;
    c.log_level = MPS_LOG_INFO;
    drive_start(&d, &c);
    link_open(&d, &l, "198.51.100.1");
    drive_run(&d, 5 * S_US, &l, 1);
    CHECK_INT(link_post(&l, "/auth/guest", "{\"username\":\"Z\"}"), 201);
    CHECK_HAS(&l, "Date: Thu, 01 Jan 1970 00:00:05 GMT\r\n");
    CHECK_HAS(&l, "\"expires_at\":\"1970-01-01T01:00:05.000Z\"");
    const char *at = strstr(l.out, "\"token\":\"") + 9;
    snprintf(token, sizeof token, "%.*s", (int)(strchr(at, '"') - at), at);
    snprintf(ask, sizeof ask,
             "POST /auth/refresh HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\n\r\n", token);
    CHECK_INT(link_ask(&l, ask), 200);
    /* The log has no date to give either. */
    CHECK_INT(link_post(&l, "/lobbies", "{}"), 200);
    CHECK(strstr(log_entry(&d.s->log, d.s->log.serial)->line, "{\"time\":null,\"uptime_us\":"));
    /* A token of somebody else needs the date. */
    mps_identity who = {.id = "u", .name = "U"};
    mps_token_claims claims = {&who, NULL, NULL, 1771070000, 3600};
    char foreign[1024], ask_foreign[2048];
    CHECK(mps_token_mint(&claims, c.jwt_secret, strlen(c.jwt_secret), foreign, sizeof foreign));
    snprintf(ask_foreign, sizeof ask_foreign,
             "POST /auth/refresh HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer %s\r\n\r\n", foreign);
    CHECK_INT(link_ask(&l, ask_foreign), 503);
    CHECK_HAS(&l, "clock_unset");
    mps_wall_clock(d.s, d.now, 1771070400000);
    CHECK_INT(link_ask(&l, ask_foreign), 200);
    CHECK_HAS(&l, "Date: Sat, 14 Feb 2026 12:00:00 GMT\r\n");
    CHECK_INT(link_post(&l, "/lobbies", "{}"), 200);
    CHECK(strstr(log_entry(&d.s->log, d.s->log.serial)->line, "{\"time\":\"2026-02-14T12:00:00"));
    CHECK_INT(link_ask(&l, ask), 200); /* the one from before is still good */
    CHECK_HAS(&l, "\"expires_at\":\"2026-02-14T13:00:00.000Z\"");
    mps_wall_clock(d.s, d.now, 1771070400000 - 3600000);
    CHECK_INT(link_get(&l, "/healthz"), 200);
    CHECK_HAS(&l, "Date: Sat, 14 Feb 2026 11:00:00 GMT\r\n");
    mps_wall_clock(d.s, d.now, 1771070400000 + 86400000);
    drive_run(&d, 1500000, &l, 1);
    CHECK_INT(link_get(&l, "/healthz"), 200);
    CHECK_HAS(&l, "Date: Sun, 15 Feb 2026 12:00:01 GMT\r\n");
    CHECK_INT(link_ask(&l, ask_foreign), 401);
    CHECK_HAS(&l, "token_expired");
    CHECK_INT(link_ask(&l, ask), 200); /* counts from the start, whatever the date does */
    link_close(&l);
    drive_stop(&d);
}

/* -- ends -- */

/* Brings a new connection into each state; `state` of 0: none left. */
static bool ends_bring(struct drive *d, struct link_test *l, u32 row) {
    static const enum conn_state states[] = {CONN_HEAD,   CONN_HEAD,   CONN_HEAD,
                                             CONN_BODY,   CONN_AUTH,   CONN_ANSWER,
                                             CONN_FINISH, CONN_LINGER, CONN_ABORT};
    if (row == COUNT_OF(states)) {
        return false;
    }
    link_open(d, l, "198.51.100.1");
    const char *text[] = {"",
                          "GET",
                          "GET /healthz HTTP/1.1" END,
                          "POST /lobbies HTTP/1.1" BODY(2) "{",
                          later_get,
                          "GET /lobbies HTTP/1.1" END,
                          "GET / HTTP/2.0" END,
                          "GET / HTTP/2.0" END,
                          ""};
    l->stalled = row == 5 || row == 6;
    link_send(l, text[row]);
    if (row == 8) {
        mps_tcp_eof(d->s, l->conn, d->now);
    }
    const struct conn *conn = pool_get(&d->s->conns.pool, l->conn.id);
    CHECK_INT(conn->state, states[row]);
    return true;
}

static void server_ends(void) {
    mps_config c = server_test_config();
    struct drive d;
    struct game g;
    struct link_test l;
    char body[128];
    c.lobbies = 50;
    play_start(&g, &d, &c);
    g.verdict = MPS_LATER;
    link_open(&d, &l, "198.51.100.1");
    for (u32 i = 0; i < 40; i++) {
        snprintf(body, sizeof body, "{\"scene\":\"%064u\"}", i);
        CHECK_INT(link_post(&l, "/lobbies", body), 200);
    }
    link_close(&l);
    for (u32 row = 0; ends_bring(&d, &l, row); row++) {
        mps_conn conn = l.conn;
        link_close(&l);
        char byte = 'x';
        mps_span span;
        CHECK_INT(mps_tcp_room(d.s, conn), 0);
        CHECK_INT(mps_tcp_input(d.s, conn, d.now, &byte, 1), MPS_E_HANDLE);
        CHECK_INT(mps_tcp_fate(d.s, conn), MPS_FATE_ABORT);
        CHECK_INT(mps_tcp_output(d.s, conn, &span, 1), 0);
        mps_tcp_eof(d.s, conn, d.now);
        mps_tcp_taken(d.s, conn, 1);
        mps_tcp_sent(d.s, conn, d.now, 1);
        mps_tcp_closed(d.s, conn, d.now);
        CHECK(!mps_next_output(d.s, &conn));
        CHECK_INT(d.s->conns.pool.used, 0);
        CHECK_INT(d.s->conns.chunks_used, 0);
        CHECK(mps_check(d.s));
    }
    /* FIN instead: what was asked whole is answered, then it is over. */
    for (u32 row = 0; ends_bring(&d, &l, row); row++) {
        mps_tcp_eof(d.s, l.conn, d.now);
        mps_tcp_eof(d.s, l.conn, d.now);
        if (row == 4) {
            CHECK_INT(mps_auth_finish(d.s, d.now, g.ticket, NULL), MPS_OK);
        }
        l.stalled = false;
        link_pump(&l);
        CHECK(l.closed);
        if (row == 5) {
            CHECK_INT(strcmp(l.out + l.out_bytes - 8, "]\r\n0\r\n\r\n"), 0);
        }
        CHECK_INT(l.out_bytes > 0, row == 2 || (row >= 4 && row <= 7));
        link_close(&l);
        CHECK_INT(d.s->conns.pool.used, 0);
    }
    drive_run(&d, 100 * S_US, &l, 0);
    CHECK(mps_deadline(d.s) == NEVER);
    CHECK_INT(mps_lobby_kick(d.s, d.now, (mps_lobby){1ULL << 32 | 1}, 1), MPS_E_HANDLE);
    mps_lobby_info info;
    CHECK_INT(mps_lobby_get(d.s, (mps_lobby){1ULL << 32 | 1}, &info), MPS_E_HANDLE);
    CHECK(!mps_lobby_next(d.s, (mps_lobby){0}).id);
    drive_stop(&d);
}

/* -- at random -- */

#define CHAOS_LINKS 24

static const char *const chaos_texts[] = {
    "GET /healthz HTTP/1.1" END,
    "GET /lobbies?limit=200 HTTP/1.1" END,
    "GET /metrics HTTP/1.1" END,
    "GET /admin/log HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer t\r\n\r\n",
    "DELETE /lobbies/A?force=true HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer t\r\n\r\n",
    "POST /lobbies HTTP/1.1" BODY(2) "{}",
    "POST /lobbies HTTP/1.1" BODY(12) "{\"code\":\"A\"}",
    "POST /lobbies/A/join HTTP/1.1" BODY(19) "{\"player_name\":\"x\"}",
    "POST /lobbies/a/join HTTP/1.1" BODY(25) "{\"player_name\":\"kick me\"}",
    "POST /lobbies HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "POST /lobbies HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
    "POST /auth/guest HTTP/1.1" BODY(2) "{}",
    "GET /lobbies HTTP/1.0\r\n\r\n",
    "GET / HTTP/1.1\r\n\r\n",
    "\r\nGET http://h/healthz HTTP/1.1" END,
};

struct chaos_link {
    struct link_test l;
    char pending[8192];
    size_t pending_bytes;
};

static void chaos_ask(struct chaos_link *c) {
    size_t room = sizeof c->pending - c->pending_bytes;
    const char *text = chaos_texts[test_random((u32)COUNT_OF(chaos_texts))];
    size_t bytes = strlen(text);
    if (test_random(20) == 0 && room > 4300) { /* a body that needs a large buffer */
        int head = snprintf(c->pending + c->pending_bytes, room,
                            "POST /lobbies HTTP/1.1\r\nHost: h\r\nContent-Length: 4000\r\n\r\n");
        c->pending_bytes += (size_t)head;
        memset(c->pending + c->pending_bytes, ' ', 4000);
        memcpy(c->pending + c->pending_bytes, "{}", 2);
        c->pending_bytes += 4000;
    } else if (bytes < room) {
        memcpy(c->pending + c->pending_bytes, text, bytes);
        if (test_random(200) == 0) {
            c->pending[c->pending_bytes + test_random((u32)bytes)] = (char)test_random(256);
        }
        c->pending_bytes += bytes;
    }
}

static void chaos_push(struct drive *d, struct chaos_link *c) {
    char copy[8192];
    size_t room = mps_tcp_room(d->s, c->l.conn);
    size_t part = size_min(room, c->pending_bytes);
    part = part && test_random(3) ? 1 + test_random((u32)part) : part;
    if (part) {
        memcpy(copy, c->pending, part);
        CHECK_INT(mps_tcp_input(d->s, c->l.conn, d->now, copy, part), MPS_OK);
        memmove(c->pending, c->pending + part, c->pending_bytes -= part);
    }
}

/* Takes some of the output, and tells of some of it. */
static void chaos_read(struct drive *d, struct chaos_link *c) {
    mps_span spans[3];
    size_t bytes = 0, count = mps_tcp_output(d->s, c->l.conn, spans, 3);
    for (size_t i = 0; i < count; i++) {
        bytes += spans[i].count;
    }
    bytes = bytes && test_random(3) == 0 ? 1 + test_random((u32)bytes) : bytes;
    mps_tcp_taken(d->s, c->l.conn, bytes);
    u32 taken = conn_at(&d->s->conns, (u32)c->l.conn.id - 1)->out_taken;
    mps_tcp_sent(d->s, c->l.conn, d->now, test_random(4) ? taken : test_random(taken + 1));
}

static void chaos_step(struct drive *d, struct chaos_link *c, struct game *g) {
    static const char *const peers[] = {"198.51.100.1", "198.51.100.2", "2001:db8::1", "127.0.0.1"};
    mps_identity admin = {.id = "boss", .role = MPS_ROLE_ADMIN};
    if (c->l.closed || !c->l.conn.id) {
        mps_address from = drive_address(peers[test_random(4)]), to = drive_address("192.0.2.1");
        c->l.conn = mps_tcp_open(d->s, d->now, &from, &to);
        c->l.closed = !c->l.conn.id;
        c->l.stalled = test_random(4) == 0;
        c->pending_bytes = 0;
        return;
    }
    u32 action = test_random(64);
    if (action == 0) {
        mps_tcp_eof(d->s, c->l.conn, d->now);
    } else if (action == 1 || mps_tcp_fate(d->s, c->l.conn) == MPS_FATE_ABORT ||
               (action < 9 && mps_tcp_fate(d->s, c->l.conn) == MPS_FATE_FINISH)) {
        mps_tcp_closed(d->s, c->l.conn, d->now);
        c->l.closed = true;
    } else if (action < 4) {
        g->verdict = (mps_verdict)test_random(3);
        mps_auth_finish(d->s, d->now, g->ticket, test_random(2) ? &admin : NULL);
    } else if (action < 20) {
        chaos_ask(c);
    } else if (action < 40 || c->l.stalled) {
        chaos_push(d, c);
    } else {
        chaos_read(d, c);
    }
}

/* Gives the hash of the state at the end. */
static u64 chaos_run(u64 seed, u32 steps, int fill) {
    static struct chaos_link links[CHAOS_LINKS];
    mps_config c = server_test_config();
    struct drive d;
    struct game g;
    c.connections = 16;
    c.connections_per_s = 20;
    c.requests_per_call = 3;
    c.settle_max = 16;
    c.chunks = 20;
    test_random_seed(seed);
    memset(links, 0, sizeof links);
    play_start_filled(&g, &d, &c, fill);
    g.late = true;
    for (u32 step = 0; step < steps; step++) {
        struct chaos_link *link = &links[test_random(CHAOS_LINKS)];
        g.conn = link->l.conn;
        g.kick_others = test_random(8) == 0;
        chaos_step(&d, link, &g);
        if (test_random(4) == 0) {
            d.now += test_random(200) == 0 ? 20 * S_US : test_random(20000);
            mps_advance(d.s, d.now);
        }
        if (test_random(300) == 0) {
            mps_wall_clock(d.s, d.now, 1771070400000 + test_random(1000000));
        }
        if (step % 64 == 0 && !mps_check(d.s)) {
            checks_failed++;
            printf("  seed %llu, step %u\n", (unsigned long long)seed, step);
            break;
        }
    }
    for (u32 i = 0; i < CHAOS_LINKS; i++) {
        if (links[i].l.conn.id && !links[i].l.closed) {
            mps_tcp_closed(d.s, links[i].l.conn, d.now);
        }
    }
    drive_run(&d, 200 * S_US, NULL, 0);
    CHECK(mps_deadline(d.s) == NEVER);
    CHECK_INT(d.s->conns.pool.used, 0);
    CHECK_INT(d.s->conns.chunks_used, 0);
    CHECK_INT(d.s->conns.large_used, 0);
    CHECK_INT(d.s->conns.dirty.count + d.s->conns.work.count + d.s->conns.starving.count, 0);
    CHECK_INT(d.s->lobbies.pool.used, 0);
    CHECK_INT(d.s->lobbies.players.used, 0);
    CHECK_INT(d.s->kit.outcomes.count, 0);
    CHECK_INT(g.opened, g.closed);
    CHECK_INT(g.joined, g.left);
    CHECK(g.joined > 2 && g.opened > 20); /* it was not idle */
    u64 hash = mps_state_hash(d.s);
    drive_stop(&d);
    return hash;
}

static void server_chaos(void) {
    for (u64 seed = 1; seed <= 12; seed++) {
        chaos_run(seed, 30000, 0xAA);
    }
}

/* What was in the block before is no part of the state, what happened is. */
static void server_state_hash(void) {
    u64 hash = chaos_run(3, 30000, 0);
    CHECK(hash == chaos_run(3, 30000, 0xAA));
    CHECK(hash != chaos_run(4, 30000, 0));
}

/* A saved block runs on elsewhere, with the hooks of that process; anything else is refused. */
static void server_resume(void) {
    mps_config c = server_test_config();
    mps_hooks hooks = {.user = &c};
    struct link_test l;
    struct drive d;
    mps_server *s;
    drive_start(&d, &c);
    link_open(&d, &l, "192.0.2.7");
    link_send(&l, "GET /heal");
    u64 hash = mps_state_hash(d.s);
    char *raw = calloc(1, d.bytes + SERVER_ALIGN), *block = drive_align(raw);
    CHECK_INT(mps_resume(&s, block, d.bytes, &hooks), MPS_E_ARGUMENT);
    memcpy(block, d.block, d.bytes);
    memset(d.block, 0x55, d.bytes);
    CHECK_INT(mps_resume(&s, block + 1, d.bytes - 1, &hooks), MPS_E_MEMORY_ALIGN);
    CHECK_INT(mps_resume(&s, block, d.bytes - 1, &hooks), MPS_E_MEMORY_SIZE);
    CHECK_INT(mps_resume(&s, block, 100, &hooks), MPS_E_ARGUMENT);
    CHECK(s == NULL);
    CHECK_INT(mps_resume(&s, block, d.bytes, &hooks), MPS_OK);
    CHECK(s->config.hooks.user == &c && mps_state_hash(s) == hash);
    free(d.raw);
    d.raw = raw;
    d.block = block;
    d.s = s;
    CHECK_INT(link_ask(&l, "thz HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    link_close(&l);
    d.s->config.lobbies++; /* as another build would lay it out */
    CHECK_INT(mps_resume(&s, block, d.bytes, &hooks), MPS_E_MEMORY_SIZE);
    d.s->config.lobbies--;
    drive_stop(&d);
}

static const struct check_test server_tests[] = {
    {"drain_in_peace", server_drain_in_peace},
    {"drain_at_once", server_drain_at_once},
    {"reconfigure", server_reconfigure},
    {"wall_clock", server_wall_clock},
    {"ends", server_ends},
    {"chaos", server_chaos},
    {"state_hash", server_state_hash},
    {"resume", server_resume},
    {"output_full", server_output_full},
    {"proxies", server_proxies},
    {"script_says", server_script_says},
    {"script_ways", server_script_ways},
    {"script_cut", server_script_cut},
    {"full_connections", server_full_connections},
    {"connections_share", server_connections_share},
    {"connections_share_dev", server_connections_share_dev},
    {"full_lobbies", server_full_lobbies},
    {"full_large_inputs", server_full_large_inputs},
    {"starving_told_once", server_starving_told_once},
    {"halves_give_way", server_halves_give_way},
    {"renewed_give_way", server_renewed_give_way},
    {"unread_give_way", server_unread_give_way},
    {"input_beside_output", server_input_beside_output},
    {"input_filled", server_input_filled},
    {"large_share", server_large_share},
    {"full_chunks", server_full_chunks},
    {"high_water", server_high_water},
    {"long_lists", server_long_lists},
    {"paging", server_paging},
    {"timeouts", server_timeouts},
    {"timeout_trickle", server_timeout_trickle},
    {"timeout_own_turn", server_timeout_own_turn},
    {"hooks", server_hooks},
    {"hook_later", server_hook_later},
    {"hook_too_late", server_hook_too_late},
};

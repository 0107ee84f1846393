/* Sections 80 and 90: configuration, from text to the layout of the block. */

static mps_error config_test_read(mps_config *c, const char *text, mps_fault *fault) {
    static char copies[2][8192]; /* string members point into them: good for the last two calls */
    static u32 turn;
    char *copy = copies[turn++ % 2];
    memcpy(copy, text, strlen(text) + 1);
    return mps_config_read(c, copy, strlen(copy), fault);
}

/* Every key, with a value that is not its default, is read and printed as it was. */
static void config_every_key(void) {
    for (u32 i = 0; i < COUNT_OF(config_keys); i++) {
        const struct config_row *row = &config_keys[i];
        char text[256], printed[16384];
        mps_config c = {0}, again = {0};
        mps_fault fault;
        const char *value = row->type == CONFIG_BOOL     ? "true"
                            : row->type == CONFIG_PRESET ? "\"large\""
                            : row->type == CONFIG_SWITCH ? "\"off\""
                            : row->type == CONFIG_LEVEL  ? "\"debug\""
                            : row->type == CONFIG_RANGES ? "[\"10.0.0.0/8\",\"::1\"]"
                            : row->type == CONFIG_STRING || row->type == CONFIG_SECRET
                                ? "\"text\\u0041\""
                                : NULL;
        char number[16];
        snprintf(number, sizeof number, "%u", row->defaults[0] ? row->defaults[0] + 1 : 77);
        snprintf(text, sizeof text, "{\"%s\": %s}", row->key, value ? value : number);
        CHECK_INT(config_test_read(&c, text, &fault), MPS_OK);
        if (row->type == CONFIG_STRING || row->type == CONFIG_SECRET) {
            CHECK_TEXT(*config_string(&c, row), strlen(*config_string(&c, row)), "textA");
        } else if (row->type == CONFIG_RANGES) {
            CHECK(!strcmp(config_string(&c, row)[0], "10.0.0.0/8") && !config_string(&c, row)[2]);
        } else {
            CHECK_INT(config_choice(&c, row), value ? (row->type == CONFIG_BOOL    ? 1
                                                       : row->type == CONFIG_LEVEL ? MPS_LOG_DEBUG
                                                                                   : 2)
                                                    : (u32)atoi(number));
        }
        size_t bytes = mps_config_print(&c, printed, sizeof printed);
        CHECK(bytes < sizeof printed);
        printed[bytes] = 0;
        CHECK((strstr(printed, "text") != NULL) == (row->type == CONFIG_STRING));
        CHECK_INT(config_test_read(&again, printed, &fault), MPS_OK);
        char second[16384];
        size_t second_bytes = mps_config_print(&again, second, sizeof second);
        CHECK(second_bytes == bytes && memcmp(printed, second, bytes) == 0);
        CHECK_INT(mps_config_print(&c, second, 10), bytes); /* what it takes, cut or not */
        CHECK(memcmp(printed, second, 10) == 0);
    }
}

static void config_faults(void) {
    static const struct {
        const char *text;
        mps_error want;
        u32 line, column;
        const char *key;
    } rows[] = {
        {"{}", MPS_OK, 0, 0, ""},
        {" {\"lobbies\" : 5 ,\n\"dev\":true}\n", MPS_OK, 0, 0, ""},
        {"", MPS_E_BAD_JSON, 1, 1, ""},
        {"[]", MPS_E_BAD_JSON, 1, 1, ""},
        {"{\n  \"lobbies\": 5,\n  }", MPS_E_BAD_JSON, 3, 3, ""},
        {"{\"lobbies\": 5}\nx", MPS_E_BAD_JSON, 2, 1, ""},
        {"{\"lobbie\": 5}", MPS_E_CONFIG, 1, 2, "lobbie"},
        {"{\n\t\"name\": \"a\\nb\",\n  \"nope\": 1}", MPS_E_CONFIG, 3, 3, "nope"},
        {"{\"lobbies\": 5,\n \"dev\": true,\n \"lobbies\": 6}", MPS_E_CONFIG, 3, 2, "lobbies"},
        {"{\"lobbies\": 5, \"lobb\\u0069es\": 6}", MPS_E_CONFIG, 1, 16, "lobbies"},
        {"{\"lobbies\": \"5\"}", MPS_E_CONFIG, 1, 2, "lobbies"},
        {"{\"lobbies\": 0}", MPS_E_CONFIG, 1, 2, "lobbies"},
        {"{\"lobbies\": 1000001}", MPS_E_CONFIG, 1, 2, "lobbies"},
        {"{\"lobbies\": 1.5}", MPS_E_CONFIG, 1, 2, "lobbies"},
        {"{\"lobbies\": -1}", MPS_E_CONFIG, 1, 2, "lobbies"},
        {"{\"lobbies\": null}", MPS_E_CONFIG, 1, 2, "lobbies"},
        {"{\"http_port\": 65536}", MPS_E_CONFIG, 1, 2, "http_port"},
        {"{\"dev\": 1}", MPS_E_CONFIG, 1, 2, "dev"},
        {"{\"preset\": \"huge\"}", MPS_E_CONFIG, 1, 2, "preset"},
        {"{\"guest_login\": 1}", MPS_E_CONFIG, 1, 2, "guest_login"},
        {"{\"guest_login\": true}", MPS_OK, 0, 0, ""},
        {"{\"log_level\": \"loud\"}", MPS_E_CONFIG, 1, 2, "log_level"},
        {"{\"name\": \"\"}", MPS_E_CONFIG, 1, 2, "name"},
        {"{\"name\": \"a\\u0000b\"}", MPS_E_CONFIG, 1, 2, "name"},
        {"{\"name\": 5}", MPS_E_CONFIG, 1, 2, "name"},
        {"{\"trusted_proxies\": \"::1\"}", MPS_E_CONFIG, 1, 2, "trusted_proxies"},
        {"{\"trusted_proxies\": [1]}", MPS_E_CONFIG, 1, 2, "trusted_proxies"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        mps_config c = {.chunks = 77}, before = c;
        mps_fault fault;
        int failed = checks_failed;
        CHECK_INT(config_test_read(&c, rows[i].text, &fault), rows[i].want);
        CHECK_INT(fault.error, rows[i].want);
        CHECK_INT(fault.line, rows[i].line);
        CHECK_INT(fault.column, rows[i].column);
        CHECK_TEXT(fault.key, strlen(fault.key), rows[i].key);
        CHECK((fault.text[0] != 0) == (rows[i].want != MPS_OK));
        CHECK(rows[i].want == MPS_OK || memcmp(&c, &before, sizeof c) == 0);
        CHECK_INT(c.chunks, 77);
        if (checks_failed > failed) {
            printf("  in %s\n", rows[i].text);
        }
    }
}

/* Values of a struct that no text went through, and how they fit together. */
static void config_fits(void) {
    static const struct {
        mps_config c;
        const char *key; /* NULL: fine */
    } rows[] = {
        {{.preset = MPS_PRESET_SMALL}, NULL},
        {{.preset = MPS_PRESET_TINY}, NULL},
        {{.preset = MPS_PRESET_LARGE}, NULL},
        {{.preset = (mps_preset)3}, "preset"},
        {{.guest_login = (mps_switch)3}, "guest_login"},
        {{.log_level = (mps_level)6}, "log_level"},
        {{.chunks = 3}, "chunks"},
        {{.lobby_players = 1024}, "output_bytes_max"},
        {{.lobby_players = 1024, .output_bytes_max = 400000}, NULL},
        {{.preset = MPS_PRESET_TINY, .chunks = 4}, "chunks"},
        {{.chunk_bytes = 512}, "output_bytes_max"},
        {{.head_bytes_max = 2000}, "target_bytes_max"},
        {{.input_bytes = 8192}, "input_bytes"},
        {{.chunk_bytes = 65536, .body_bytes_max = 256, .message_bytes_max = 1024}, "chunk_bytes"},
        {{.room_players_max = 1024}, "output_bytes_max"},
        {{.message_bytes_max = 200000}, "output_bytes_max"},
        {{.ping_after_ms = 1000, .silence_timeout_ms = 1000}, "silence_timeout_ms"},
        {{.name = "My LAN box"}, NULL},
        {{.name = "\xff"}, "name"},
        {{.cors_origin = "a\r\nb"}, "cors_origin"},
        {{.jwt_audience = "\""}, "jwt_audience"},
        {{.trusted_proxies = {"10.0.0.1/8"}}, "trusted_proxies"},
        {{.metrics_allow = {"::1", "x"}}, "metrics_allow"},
        {{.jwt_secret = ""}, "jwt_secret"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        mps_fault fault;
        mps_error error = mps_config_check(&rows[i].c, &fault);
        CHECK_INT(error, rows[i].key ? MPS_E_CONFIG : MPS_OK);
        CHECK_TEXT(fault.key, strlen(fault.key), rows[i].key ? rows[i].key : "");
        CHECK((mps_memory_needed(&rows[i].c) != 0) == !rows[i].key);
        CHECK((mps_connections_max(&rows[i].c) != 0) == !rows[i].key);
    }
}

static void config_memory(void) {
    static const u8 entropy[32] = {7};
    for (u32 preset = 0; preset < 3; preset++) {
        mps_config c = {.preset = (mps_preset)preset}, more;
        mps_memory_row row;
        size_t sum = 0, needed = mps_memory_needed(&c), idle = 0;
        mps_server *s;
        for (u32 i = 0; mps_memory_report(&c, i, &row); i++) {
            CHECK(row.bytes >= row.items * row.item_bytes);
            CHECK(row.bytes < row.items * row.item_bytes + SERVER_ALIGN);
            sum += row.bytes;
        }
        CHECK_INT(sum, needed);
        /* What one more connection costs, in whatever table. */
        more = c;
        more.connections = config_effective(&c).connections + 1000;
        idle = (mps_memory_needed(&more) - needed + 999) / 1000;
        CHECK(idle <= 1024);
        CHECK(preset != MPS_PRESET_TINY || needed <= 128 * 1024);
        char *raw = malloc(needed + 2 * SERVER_ALIGN);
        char *block = raw + (SERVER_ALIGN - (uintptr_t)raw % SERVER_ALIGN) % SERVER_ALIGN;
        CHECK_INT(mps_create(&s, &c, block, needed - 1, entropy), MPS_E_MEMORY_SIZE);
        CHECK(!s);
        CHECK_INT(mps_create(&s, &c, block + 8, needed, entropy), MPS_E_MEMORY_ALIGN);
        CHECK(!s);
        CHECK_INT(mps_create(&s, &c, NULL, needed, entropy), MPS_E_MEMORY_SIZE);
        CHECK_INT(mps_create(&s, NULL, block, needed, entropy), MPS_E_ARGUMENT);
        CHECK_INT(mps_create(&s, &c, block, needed, NULL), MPS_E_ARGUMENT);
        CHECK_INT(mps_create(&s, &c, block, needed, entropy), MPS_OK);
        CHECK(s && mps_check(s));
        free(raw);
    }
}

/* The most address ranges with the least scratch: what was checked can be created. */
static void config_ranges_least(void) {
    static const u8 entropy[32] = {7};
    mps_config c = {.preset = MPS_PRESET_TINY,
                    .lobby_players = 1,
                    .room_players_max = 1,
                    .message_bytes_max = 1024,
                    .output_bytes_max = 4096,
                    .chunk_bytes = 512};
    char texts[MPS_RANGES_MAX][16];
    mps_server *s;
    for (u32 i = 0; i < MPS_RANGES_MAX; i++) {
        snprintf(texts[i], sizeof texts[i], "10.%u.0.0/16", i);
        c.trusted_proxies[i] = c.metrics_allow[i] = texts[i];
    }
    c.chunks = LOAD_BYTES_MIN / 512 - 1;
    CHECK_INT(mps_config_check(&c, NULL), MPS_E_CONFIG);
    c.chunks++;
    CHECK_INT(mps_config_check(&c, NULL), MPS_OK);
    size_t needed = mps_memory_needed(&c);
    char *raw = malloc(needed + SERVER_ALIGN);
    char *block = raw + (SERVER_ALIGN - (uintptr_t)raw % SERVER_ALIGN) % SERVER_ALIGN;
    CHECK_INT(mps_create(&s, &c, block, needed, entropy), MPS_OK);
    if (s) {
        mps_address a = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 15, 1, 1}, 0, 0};
        CHECK_INT(s->trusted_proxies.count, MPS_RANGES_MAX);
        CHECK(ranges_have(&s->trusted_proxies, &a) && ranges_have(&s->metrics_allow, &a));
        a.ip[13] = 16;
        CHECK(!ranges_have(&s->trusted_proxies, &a));
    }
    free(raw);
}

/* The longest answers fit the smallest scratch: a histogram, all that one row can say. */
static void config_metrics_fit(void) {
    static const u8 entropy[32] = {7};
    mps_config c = {.preset = MPS_PRESET_TINY,
                    .lobby_players = 1,
                    .room_players_max = 1,
                    .message_bytes_max = 1024,
                    .output_bytes_max = 4096};
    size_t needed = mps_memory_needed(&c);
    char *raw = malloc(needed + SERVER_ALIGN);
    char *block = raw + (SERVER_ALIGN - (uintptr_t)raw % SERVER_ALIGN) % SERVER_ALIGN;
    char text[ANSWER_BYTES_MIN];
    mps_server *s;
    u32 rows = 0;
    bool more = true;
    CHECK_INT(mps_create(&s, &c, block, needed, entropy), MPS_OK);
    CHECK_INT(s->answer_bytes, ANSWER_BYTES_MIN);
    memset(&s->kit.metrics, 0xff, offsetof(struct metrics, requests));
    memset(metrics_requests(&s->kit.metrics, 0), 0xff,
           (ROUTE_NONE + 1) * METRIC_STATUSES * sizeof(u64));
    while (more) {
        struct text t = text_on(text, sizeof text);
        more = metrics_put_row(&t, s, rows++);
        CHECK(!t.cut);
    }
    CHECK(rows > 400);
    free(raw);
}

static void config_docs(void) {
    char line[512];
    static const u32 rows[] = {COUNT_OF(config_keys), COUNT_OF(routes), COUNT_OF(errors),
                               COUNT_OF(counters), COUNT_OF(messages)};
    for (u32 table = 0; table < COUNT_OF(rows); table++) {
        for (u32 i = 0; i < rows[table]; i++) {
            size_t bytes = mps_doc_row((mps_doc)table, i, line, sizeof line);
            CHECK(bytes > 3 && bytes < sizeof line);
            CHECK_INT(mps_doc_row((mps_doc)table, i, line, 3), 3);
        }
        CHECK_INT(mps_doc_row((mps_doc)table, rows[table], line, sizeof line), 0);
    }
    CHECK_INT(mps_doc_row((mps_doc)6, 0, line, sizeof line), 0);
}

static const struct check_test config_tests[] = {
    {"every_key", config_every_key},
    {"faults", config_faults},
    {"fits", config_fits},
    {"memory", config_memory},
    {"ranges_least", config_ranges_least},
    {"metrics_fit", config_metrics_fit},
    {"docs", config_docs},
};

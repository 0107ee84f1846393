/* Sections 12 and 36: error table, log records, their budget and ring, both forms of a line. */

struct log_test {
    struct log log;
    struct log_entry entries[3];
    struct metrics metrics;
    u32 heard;
};

static void log_test_heard(void *user, const mps_log_record *r) {
    struct log_test *t = user;
    CHECK(r->item && r->text);
    t->heard++;
}

static void log_test_start(struct log_test *t) {
    memset(t, 0, sizeof *t);
    t->log.level = MPS_LOG_INFO;
    t->log.hook = log_test_heard;
    t->log.user = t;
    t->log.entries_max = 3;
    near_set(&t->log.entries, t->entries);
}

static void log_errors(void) {
    CHECK_TEXT(mps_error_code(MPS_OK), strlen(mps_error_code(MPS_OK)), "ok");
    CHECK_TEXT(mps_error_code(MPS_E_LOBBY_FULL), 10, "lobby_full");
    for (size_t i = 0; i < COUNT_OF(errors); i++) {
        CHECK(mps_error_text(errors[i].error)[0] != 0);
        for (size_t k = 0; k < i; k++) {
            CHECK(errors[k].error != errors[i].error);
        }
    }
}

static void log_budget(void) {
    struct log_test t;
    mps_log_record r;
    log_test_start(&t);
    CHECK(!log_begin(&t.log, LOG_ITEM_REQUEST, 0, 0, &r, &t.metrics)); /* debug is not wanted */
    for (u32 i = 0; i < 50; i++) {
        bool let = log_begin(&t.log, LOG_ITEM_PORT_ERROR, 7 * S_US + i, 0, &r, &t.metrics);
        CHECK_INT(let, i < LOG_ITEM_PER_S);
        CHECK(!let || r.fields_count == 0);
        if (let) {
            log_emit(&t.log, &r);
        }
    }
    CHECK_INT(t.metrics.counters[COUNTER_LOG_SUPPRESSED], 30);
    CHECK_INT(t.heard, LOG_ITEM_PER_S);
    CHECK(log_begin(&t.log, LOG_ITEM_ANNOUNCED, 7 * S_US + 60, 0, &r, &t.metrics)); /* its own */
    CHECK(!log_begin(&t.log, LOG_ITEM_PORT_ERROR, 8 * S_US - 1, 0, &r, &t.metrics));
    CHECK(log_begin(&t.log, LOG_ITEM_PORT_ERROR, 8 * S_US, 0, &r, &t.metrics));
    CHECK_INT(r.fields_count, 1);
    CHECK_TEXT(r.fields[0].name, strlen(r.fields[0].name), "suppressed");
    CHECK_INT(r.fields[0].number, 31);
    CHECK(log_begin(&t.log, LOG_ITEM_PORT_ERROR, 8 * S_US, 0, &r, &t.metrics));
    CHECK_INT(r.fields_count, 0);
    /* Requests have no budget when somebody asks for them. */
    t.log.level = MPS_LOG_DEBUG;
    for (u32 i = 0; i < 100; i++) {
        CHECK(log_begin(&t.log, LOG_ITEM_REQUEST, 9 * S_US, 0, &r, &t.metrics));
    }
    t.log.level = MPS_LOG_OFF;
    CHECK(!log_begin(&t.log, LOG_ITEM_PORT_ERROR, 20 * S_US, 0, &r, &t.metrics));
}

static void log_lines(void) {
    static const struct {
        const char *value;
        size_t bytes;
        const char *text, *json;
    } rows[] = {
        {"plain", 5, "plain", "\"plain\""},
        {"", 0, "\"\"", "\"\""},
        {"a b", 3, "\"a b\"", "\"a b\""},
        {"a=b", 3, "\"a=b\"", "\"a=b\""},
        {"q\"\\", 3, "\"q\\\"\\\\\"", "\"q\\\"\\\\\""},
        {"a\nb", 3, "\"a\\u000ab\"", "\"a\\nb\""},
        {"\x7f\xc2\x9b"
         "1m",
         5, "\"\\u007f\\u009b1m\"",
         "\"\x7f\xc2\x9b"
         "1m\""},
        {"a\r\x1b[2J", 6, "\"a\\u000d\\u001b[2J\"", "\"a\\r\\u001b[2J\""},
        {"a\0b", 3, "\"a\\u0000b\"", "\"a\\u0000b\""},
        {"Zo\xc3\xab", 4, "Zo\xc3\xab", "\"Zo\xc3\xab\""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        mps_log_record r = {.level = MPS_LOG_WARN, .item = "it", .text = "happened"};
        char line[512], want[512];
        r.uptime_us = 1234567;
        log_text(&r, "v", span_of(rows[i].value, rows[i].bytes));
        log_number(&r, "n", -5);
        size_t bytes = mps_log_text(&r, line, sizeof line);
        snprintf(want, sizeof want, "up 1234ms WARN  happened v=%s n=-5", rows[i].text);
        CHECK_TEXT(line, bytes, want);
        r.unix_ms = 1771070400123;
        size_t whole = mps_log_json(&r, line, sizeof line);
        snprintf(want, sizeof want,
                 "{\"time\":\"2026-02-14T12:00:00.123Z\",\"uptime_us\":1234567,\"level\":\"warn\","
                 "\"item\":\"it\",\"text\":\"happened\",\"v\":%s,\"n\":-5}",
                 rows[i].json);
        CHECK_TEXT(line, whole, want);
        for (size_t cut = 0; cut < whole; cut++) {
            char small[512];
            memset(small, '#', sizeof small);
            CHECK_INT(mps_log_json(&r, small, cut), cut);
            CHECK(memcmp(small, line, cut) == 0 && small[cut] == '#');
            CHECK(mps_log_text(&r, small, cut) <= cut);
        }
    }
}

/* The ring keeps the last; a line too long for it is kept without its fields, as whole JSON. */
static void log_ring(void) {
    struct log_test t;
    mps_log_record r;
    char long_text[400];
    log_test_start(&t);
    memset(long_text, 'x', sizeof long_text);
    for (u32 i = 1; i <= 5; i++) {
        CHECK(log_begin(&t.log, LOG_ITEM_ANNOUNCED, i, 0, &r, &t.metrics));
        log_text(&r, "v", span_of(long_text, i == 4 ? sizeof long_text : 1));
        log_emit(&t.log, &r);
    }
    CHECK_INT(t.log.serial, 5);
    for (u64 serial = 3; serial <= 5; serial++) {
        struct log_entry *entry = log_entry(&t.log, serial);
        CHECK_INT(entry->serial, serial);
        CHECK_INT(entry->line[0], '{');
        CHECK_INT(entry->line[entry->bytes - 1], '}');
    }
    CHECK_TEXT(log_entry(&t.log, 4)->line, log_entry(&t.log, 4)->bytes,
               "{\"time\":null,\"uptime_us\":4,\"level\":\"info\",\"item\":\"announced\","
               "\"text\":\"announcement made\"}");
    CHECK_TEXT(log_entry(&t.log, 5)->line, log_entry(&t.log, 5)->bytes,
               "{\"time\":null,\"uptime_us\":5,\"level\":\"info\",\"item\":\"announced\","
               "\"text\":\"announcement made\",\"v\":\"x\"}");
}

static const struct check_test log_tests[] = {
    {"errors", log_errors},
    {"budget", log_budget},
    {"lines", log_lines},
    {"ring", log_ring},
};

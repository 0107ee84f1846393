/* Section 54: token buckets to the microsecond, eviction, whom to believe about an address. */

#define RATES_TEST_BUCKETS 8

struct rates_test {
    struct kit kit;
    struct rates rates;
    struct pool_slot slots[RATES_TEST_BUCKETS];
    struct bucket buckets[RATES_TEST_BUCKETS];
    struct index_slot index[2 * RATES_TEST_BUCKETS];
    struct heap_entry entries[RATES_TEST_BUCKETS];
    u32 order[RATES_TEST_BUCKETS];
};

static void rates_test_start(struct rates_test *t, u32 per_s) {
    memset(t, 0, sizeof *t);
    struct rates *r = &t->rates;
    t->kit.now = 5000000;
    pool_create(&r->pool, RATES_TEST_BUCKETS, sizeof(struct bucket), t->slots, t->buckets);
    index_create(&r->index, 2 * RATES_TEST_BUCKETS, t->index, (struct siphash_key){1, 2});
    heap_create(&r->fullest, RATES_TEST_BUCKETS, t->entries, t->order);
    for (u32 i = 0; i < RATE_CLASSES; i++) {
        r->paces[i] = pace_of(per_s);
    }
}

static mps_address rates_address(const char *text) {
    mps_address a = {{0}, 0, 0};
    CHECK(address_parse(span_z(text), &a));
    return a;
}

static u64 rates_spend(struct rates_test *t, enum rate_class class, const char *text) {
    mps_address a = rates_address(text);
    return rate_spend(&t->kit, &t->rates, class, &a);
}

static void rates_exact(void) {
    static const u32 rates[] = {1, 2, 7, 20, 50, 1000, 300000, 1000000, 0};
    for (u32 k = 0; rates[k]; k++) {
        struct rates_test t;
        u32 per_s = rates[k], burst = u32_min(2 * per_s, 5000);
        u64 cost = S_US / per_s;
        rates_test_start(&t, per_s);
        for (u32 i = 0; i < burst; i++) {
            CHECK_INT(rates_spend(&t, RATE_REQUESTS, "192.0.2.1"), 0);
        }
        if (burst < 2 * per_s) {
            continue;
        }
        /* Spent; refused events cost nothing. */
        CHECK_INT(rates_spend(&t, RATE_REQUESTS, "192.0.2.1"), cost);
        CHECK_INT(rates_spend(&t, RATE_REQUESTS, "192.0.2.1"), cost);
        CHECK_INT(rates_spend(&t, RATE_CONNECTIONS, "192.0.2.1"), 0);
        CHECK_INT(rates_spend(&t, RATE_REQUESTS, "192.0.2.2"), 0);
        t.kit.now += cost - 1;
        CHECK_INT(rates_spend(&t, RATE_REQUESTS, "192.0.2.1"), 1);
        t.kit.now += 1;
        CHECK_INT(rates_spend(&t, RATE_REQUESTS, "192.0.2.1"), 0);
        CHECK_INT(rates_spend(&t, RATE_REQUESTS, "192.0.2.1"), cost);
        /* Rested, it has its burst again and not one more. */
        t.kit.now += 100 * S_US;
        for (u32 i = 0; i < burst; i++) {
            CHECK_INT(rates_spend(&t, RATE_REQUESTS, "192.0.2.1"), 0);
        }
        CHECK_INT(rates_spend(&t, RATE_REQUESTS, "192.0.2.1"), cost);
    }
}

/* Against a bucket counted in the naive way, at random times. */
static void rates_model(void) {
    struct rates_test t;
    i64 tokens[3], cost = 100000, full = 20 * 100000;
    const char *addresses[] = {"192.0.2.1", "192.0.2.2", "2001:db8::1"};
    rates_test_start(&t, 10);
    test_random_seed(11);
    for (u32 i = 0; i < 3; i++) {
        tokens[i] = full;
    }
    for (u32 step = 0; step < 20000; step++) {
        u32 which = test_random(3), gap = test_random(80000);
        t.kit.now += gap;
        for (u32 i = 0; i < 3; i++) {
            tokens[i] = tokens[i] + gap > full ? full : tokens[i] + gap;
        }
        u64 want = tokens[which] >= cost ? 0 : (u64)(cost - tokens[which]);
        CHECK_INT(rates_spend(&t, RATE_DATAGRAMS, addresses[which]), want);
        tokens[which] -= want ? 0 : cost;
    }
}

static void rates_prefixes(void) {
    struct rates_test t;
    rates_test_start(&t, 1);
    static const struct {
        const char *address;
        bool allowed;
    } rows[] = {
        {"2001:db8:0:1::1", true},  {"2001:db8:0:1:ffff::2", true},
        {"2001:db8:0:1::3", false}, /* one /64, one bucket */
        {"2001:db8:0:2::1", true},  {"192.0.2.1", true},
        {"::ffff:192.0.2.1", true}, {"192.0.2.1", false},
        {"192.0.2.2", true},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        CHECK_INT(rates_spend(&t, RATE_REQUESTS, rows[i].address) == 0, rows[i].allowed);
    }
    CHECK_INT(t.rates.pool.used, 4);
}

/* The table full, the bucket that is nearest to full is forgotten. */
static void rates_eviction(void) {
    struct rates_test t;
    char text[32];
    rates_test_start(&t, 10);
    for (u32 i = 0; i < RATES_TEST_BUCKETS; i++) {
        snprintf(text, sizeof text, "192.0.2.%u", i);
        for (u32 k = 0; k <= (i == 3 ? 0 : 19u); k++) {
            CHECK_INT(rates_spend(&t, RATE_REQUESTS, text), 0);
        }
    }
    CHECK_INT(rates_spend(&t, RATE_REQUESTS, "192.0.2.99"), 0);
    CHECK_INT(t.kit.metrics.counters[COUNTER_FULL_BUCKETS], 1);
    CHECK_INT(t.rates.pool.used, RATES_TEST_BUCKETS);
    for (u32 i = 0; i < RATES_TEST_BUCKETS; i++) {
        snprintf(text, sizeof text, "192.0.2.%u", i);
        if (i != 3) {
            CHECK(rates_spend(&t, RATE_REQUESTS, text) > 0); /* these are remembered */
        }
    }
    /* The newest is the fullest now. */
    CHECK_INT(rates_spend(&t, RATE_REQUESTS, "192.0.2.3"), 0);
    CHECK_INT(t.kit.metrics.counters[COUNTER_FULL_BUCKETS], 2);
    /* What is full anyway is forgotten without loss. */
    t.kit.now += 10 * S_US;
    CHECK_INT(rates_spend(&t, RATE_REQUESTS, "192.0.2.100"), 0);
    CHECK_INT(t.kit.metrics.counters[COUNTER_FULL_BUCKETS], 2);
    CHECK(pool_check(&t.rates.pool) && heap_check(&t.rates.fullest));
}

static void rates_forwarded(void) {
    static const struct {
        const char *peer, *list, *want;
        bool more;
    } rows[] = {
        {"192.0.2.9", "198.51.100.1", "192.0.2.9", false}, /* no proxy: not believed */
        {"10.0.0.1", "", "10.0.0.1", true},
        {"10.0.0.1", "198.51.100.1", "198.51.100.1", true},
        {"10.0.0.1", "1.1.1.1, 198.51.100.1", "198.51.100.1", false},
        {"10.0.0.1", "198.51.100.1,10.9.9.9", "198.51.100.1", true},
        {"10.0.0.1", "198.51.100.1 ,\t10.9.9.9 , 2001:db8::5", "198.51.100.1", true},
        {"10.0.0.1", "10.0.0.2,10.0.0.3", "10.0.0.2", true}, /* proxies all the way */
        {"10.0.0.1", "198.51.100.1, unknown", "::", false},
        {"10.0.0.1", "198.51.100.1, unknown, 10.0.0.3", "::", false},
        {"10.0.0.1", "198.51.100.1,,10.0.0.3", "::", false},
        {"10.0.0.1", "2001:db8:1::1", "2001:db8:1::1", true},
        {"2001:db8::7", "198.51.100.1", "198.51.100.1", true},
        {"10.0.0.1", "010.0.0.5", "::", false},
        {"10.0.0.1", "fe80::1%eth0", "fe80::1", true},
    };
    struct {
        struct ranges ranges;
        struct address_range table[2];
    } trusted;
    trusted.ranges.count = 2;
    near_set(&trusted.ranges.at, trusted.table);
    CHECK(address_range_parse(SPAN("10.0.0.0/8"), &trusted.table[0]));
    CHECK(address_range_parse(SPAN("2001:db8::/48"), &trusted.table[1]));
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        mps_address client = rates_address(rows[i].peer), want = rates_address(rows[i].want);
        int failed = checks_failed;
        CHECK_INT(client_walk(&trusted.ranges, &client, span_z(rows[i].list)), rows[i].more);
        CHECK(address_same_ip(&client, &want));
        if (checks_failed > failed) {
            printf("  in %s from %s\n", rows[i].list, rows[i].peer);
        }
    }
}

static const struct check_test rates_tests[] = {
    {"exact", rates_exact},       {"model", rates_model},         {"prefixes", rates_prefixes},
    {"eviction", rates_eviction}, {"forwarded", rates_forwarded},
};

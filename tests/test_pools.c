/* Sections 20, 24, 26, 28, 30: the tables everything else stands on, each driven at random beside a
   model too simple to be wrong. */

/* xorshift64*: the tests' own numbers, the same in every run. */
static u64 test_random_state;

static u32 test_random(u32 below) {
    test_random_state ^= test_random_state >> 12;
    test_random_state ^= test_random_state << 25;
    test_random_state ^= test_random_state >> 27;
    return (u32)((test_random_state * 0x2545f4914f6cdd1d) >> 33) % below;
}

static void test_random_seed(u64 seed) {
    test_random_state = seed * 0x9e3779b97f4a7c15 + 1;
}

static void pools_layout(void) {
    struct layout l = {.wanted = 0};
    CHECK_INT(layout_take(&l, "a", 3, 5), 0);
    CHECK_INT(layout_take(&l, "b", 1, 16), 16);
    CHECK_INT(layout_take(&l, "none", 0, 9), 32);
    CHECK_INT(layout_take(&l, "c", 1, 1), 32);
    CHECK_INT(l.bytes, 48);
    CHECK_INT(l.rows, 4);
    CHECK_INT(l.row.items, 3);
    CHECK_INT(l.row.item_bytes, 5);
    CHECK_INT(l.row.bytes, 16);
    /* Too much for size_t saturates: no block can be that large. */
    layout_take(&l, "huge", SIZE_MAX / 2, 16);
    CHECK(l.bytes > SIZE_MAX / 2);
    CHECK(l.bytes % LAYOUT_ALIGN == 0);
    /* The distance is from where it is kept: what moves as a whole still finds its table. */
    struct near_test {
        char before[8];
        ptrdiff_t near[2];
        char behind[8];
    } one, two;
    near_set(&one.near[0], one.before);
    near_set(&one.near[1], one.behind + 5);
    two = one;
    CHECK(near_get(&two.near[0]) == two.before);
    CHECK(near_get(&two.near[1]) == two.behind + 5);
    CHECK(near_get(&one.near[1]) == one.behind + 5);
}

#define POOL_TEST_ITEMS 7

static void pools_table(void) {
    struct {
        struct pool pool;
        struct pool_slot slots[POOL_TEST_ITEMS];
        u64 items[POOL_TEST_ITEMS];
    } table;
    struct pool *p = &table.pool;
    memset(&table, 0xAA, sizeof table);
    pool_create(p, POOL_TEST_ITEMS, sizeof(u64), table.slots, table.items);
    u64 handles[POOL_TEST_ITEMS];
    for (u32 i = 0; i < POOL_TEST_ITEMS; i++) {
        handles[i] = pool_take(p);
        CHECK(handles[i] == (1ULL << 32 | (i + 1)));
        CHECK_INT(*(u64 *)pool_get(p, handles[i]), 0);
        CHECK(pool_check(p));
    }
    CHECK_INT(pool_take(p), 0);
    CHECK_INT(p->high, POOL_TEST_ITEMS);
    /* First freed, first used again; what was left in it is gone. */
    *(u64 *)pool_get(p, handles[3]) = 77;
    pool_give(p, handles[3]);
    pool_give(p, handles[0]);
    CHECK(pool_take(p) == (3ULL << 32 | 4));
    CHECK_INT(*(u64 *)pool_at(p, 3), 0);
    CHECK(pool_take(p) == (3ULL << 32 | 1));
    CHECK(!pool_get(p, handles[3]) && !pool_get(p, handles[0]));
    /* What never was a handle. */
    const u64 wrong[] = {0, 1, 8, 1ULL << 32, 1ULL << 32 | 8, 2ULL << 32 | 2, UINT64_MAX, 5};
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        CHECK(!pool_get(p, wrong[i]));
    }
    struct pool none;
    pool_create(&none, 0, 8, table.slots, table.items);
    CHECK_INT(pool_take(&none), 0);
    CHECK(pool_check(&none));
}

/* Every handle ever given, alive or not, resolves to its own record or to nothing. */
static void pools_random(void) {
    struct {
        struct pool pool;
        struct pool_slot slots[POOL_TEST_ITEMS];
        u64 items[POOL_TEST_ITEMS];
    } table;
    static u64 given[20000];
    static bool alive[20000];
    u32 count = 0, living = 0;
    struct pool *p = &table.pool;
    pool_create(p, POOL_TEST_ITEMS, sizeof(u64), table.slots, table.items);
    test_random_seed(1);
    for (u32 step = 0; step < 20000; step++) {
        if (test_random(2)) {
            u64 handle = pool_take(p);
            CHECK((handle != 0) == (living < POOL_TEST_ITEMS));
            if (handle) {
                *(u64 *)pool_get(p, handle) = count;
                alive[count] = true;
                given[count++] = handle;
                living++;
            }
        } else if (living) {
            u32 at = count - 1;
            for (u32 skip = test_random(living) + 1; skip; at -= skip != 0) {
                skip -= alive[at];
            }
            pool_give(p, given[at]);
            alive[at] = false;
            living--;
        }
        u32 probe = count ? test_random(count) : 0;
        const u64 *item = count ? pool_get(p, given[probe]) : NULL;
        CHECK(count == 0 || (item != NULL) == alive[probe]);
        CHECK(!item || *item == probe);
        CHECK_INT(p->used, living);
        CHECK(step % 64 || pool_check(p));
    }
    CHECK_INT(p->high, POOL_TEST_ITEMS);
}

/* -- index -- */

#define INDEX_TEST_ITEMS 32

static bool index_test_has(const struct index *x, u32 hash, u32 value) {
    struct index_probe probe;
    u32 limit = 0;
    for (u32 at = index_first(x, hash, &probe); at; at = index_next(x, &probe)) {
        if (at == value + 1) {
            return true;
        }
        if (++limit > INDEX_TEST_ITEMS) {
            return false;
        }
    }
    return false;
}

static void index_sizes(void) {
    static const u32 rows[][2] = {{0, 8}, {1, 8}, {4, 8}, {5, 16}, {8, 16}, {9, 32}, {4096, 8192}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        CHECK_INT(index_slots(rows[i][0]), rows[i][1]);
    }
}

/* Hashes chosen so that nearly all collide, also around the end of the table. */
static void index_random(void) {
    struct {
        struct index index;
        struct index_slot slots[2 * INDEX_TEST_ITEMS];
    } table;
    u32 hashes[INDEX_TEST_ITEMS] = {0};
    bool there[INDEX_TEST_ITEMS] = {false};
    struct index *x = &table.index;
    CHECK_INT(index_slots(INDEX_TEST_ITEMS), 2 * INDEX_TEST_ITEMS);
    memset(&table, 0xAA, sizeof table);
    index_create(x, 2 * INDEX_TEST_ITEMS, table.slots, (struct siphash_key){1, 2});
    test_random_seed(2);
    for (u32 step = 0; step < 60000; step++) {
        u32 value = test_random(INDEX_TEST_ITEMS);
        if (there[value]) {
            index_remove(x, hashes[value], value);
        } else {
            u32 spread = step % 3 == 0 ? 1 : step % 3 == 1 ? 4 : 64;
            hashes[value] = 62 + test_random(spread) + 64 * test_random(3);
            index_put(x, hashes[value], value);
        }
        there[value] = !there[value];
        u32 used = 0;
        for (u32 i = 0; i < INDEX_TEST_ITEMS; i++) {
            used += there[i];
            CHECK((step % 16 && i != value) || index_test_has(x, hashes[i], i) == there[i]);
        }
        CHECK_INT(x->used, used);
    }
}

/* -- queues, outcomes -- */

struct queue_item {
    u32 payload;
    struct link link;
};

#define QUEUE_TEST_ITEMS 5

static void queue_random(void) {
    struct {
        struct pool pool;
        struct pool_slot slots[QUEUE_TEST_ITEMS];
        struct queue_item items[QUEUE_TEST_ITEMS];
    } table;
    struct queue q = {.link_at = offsetof(struct queue_item, link)};
    u32 model[QUEUE_TEST_ITEMS], count = 0;
    pool_create(&table.pool, QUEUE_TEST_ITEMS, sizeof(struct queue_item), table.slots, table.items);
    test_random_seed(3);
    for (u32 step = 0; step < 20000; step++) {
        u32 index = test_random(QUEUE_TEST_ITEMS), at = 0;
        while (at < count && model[at] != index) {
            at++;
        }
        CHECK_INT(queue_has(&q, &table.pool, index), at < count);
        u32 action = test_random(3);
        if (action == 0) {
            queue_push_once(&q, &table.pool, index);
            if (at == count) {
                model[count++] = index;
            }
        } else if (action == 1 || at == count) {
            queue_remove(&q, &table.pool, index);
        } else {
            index = model[0];
            at = 0;
            CHECK_INT(queue_pop(&q, &table.pool), index + 1);
        }
        if (action != 0 && at < count) {
            memmove(model + at, model + at + 1, (--count - at) * sizeof model[0]);
        }
        CHECK_INT(q.count, count);
        u32 next = q.head;
        for (u32 i = 0; i < count; i++) {
            CHECK_INT(next, model[i] + 1);
            next = queue_link(&q, &table.pool, model[i])->next;
        }
        CHECK_INT(next, 0);
        CHECK_INT(q.tail, count ? model[count - 1] + 1 : 0);
    }
}

static void outcomes_random(void) {
    struct {
        struct outcomes o;
        struct outcome ring[3];
    } table;
    struct outcome out;
    u32 added = 0, taken = 0;
    table.o = (struct outcomes){.capacity = 3};
    near_set(&table.o.ring, table.ring);
    test_random_seed(4);
    for (u32 step = 0; step < 1000; step++) {
        CHECK_INT(outcomes_room(&table.o, 3 - (added - taken)), true);
        CHECK_INT(outcomes_room(&table.o, 4 - (added - taken)), false);
        if (test_random(2) && outcomes_room(&table.o, 1)) {
            outcomes_add(&table.o, OUTCOME_PLAYER_LEFT, added, added + 7);
            added++;
        } else if (outcomes_take(&table.o, &out)) {
            CHECK_INT(out.subject, taken);
            CHECK_INT(out.cause, taken + 7);
            taken++;
        } else {
            CHECK_INT(added, taken);
        }
    }
    CHECK(added > 300);
}

/* -- heap, timers -- */

#define HEAP_TEST_ITEMS 100

struct heap_test {
    struct timers timers;
    struct heap_entry entries[HEAP_TEST_ITEMS];
    u32 order[HEAP_TEST_ITEMS];
};

static void heap_test_create(struct heap_test *t) {
    memset(t, 0xAA, sizeof *t);
    heap_create(&t->timers.heap, HEAP_TEST_ITEMS, t->entries, t->order);
    const u32 bases[TIMER_KINDS + 1] = {0, 90, 95, 97, 98, 99, 100};
    memcpy(t->timers.base, bases, sizeof bases);
}

static void heap_kinds(void) {
    struct heap_test t;
    enum timer_kind kind;
    u32 index;
    heap_test_create(&t);
    CHECK(timer_next(&t.timers) == NEVER);
    timer_set(&t.timers, TIMER_SERVER, 0, 40);
    timer_set(&t.timers, TIMER_PLAYER, 1, 30);
    timer_set(&t.timers, TIMER_LOBBY, 0, 20);
    timer_set(&t.timers, TIMER_CONN, 89, 10);
    static const struct {
        enum timer_kind kind;
        u32 index;
    } want[] = {{TIMER_CONN, 89}, {TIMER_LOBBY, 0}, {TIMER_PLAYER, 1}, {TIMER_SERVER, 0}};
    for (u32 i = 0; i < COUNT_OF(want); i++) {
        CHECK_INT(timer_next(&t.timers), 10 * (i + 1));
        CHECK(!timer_take(&t.timers, 10 * (i + 1) - 1, &kind, &index));
        CHECK(timer_take(&t.timers, 10 * (i + 1), &kind, &index));
        CHECK_INT(kind, want[i].kind);
        CHECK_INT(index, want[i].index);
        CHECK(!timer_take(&t.timers, 10 * (i + 1), &kind, &index));
    }
    timer_set(&t.timers, TIMER_CONN, 1, 10);
    timer_clear(&t.timers, TIMER_CONN, 1);
    timer_clear(&t.timers, TIMER_CONN, 1);
    CHECK(!timer_take(&t.timers, NEVER, &kind, &index));
}

/* Put off again and again: one entry, taken once, at its last date. */
static void heap_put_off(void) {
    struct heap_test t;
    enum timer_kind kind;
    u32 index;
    heap_test_create(&t);
    for (u64 due = 10; due <= 1000; due++) {
        timer_set(&t.timers, TIMER_CONN, 5, due);
    }
    CHECK_INT(timer_next(&t.timers), 10); /* early is allowed, late is not */
    CHECK(!timer_take(&t.timers, 10, &kind, &index));
    CHECK_INT(timer_next(&t.timers), 1000);
    timer_set(&t.timers, TIMER_CONN, 5, 1500);
    timer_set(&t.timers, TIMER_CONN, 5, 700); /* and sooner again */
    CHECK_INT(timer_next(&t.timers), 700);
    CHECK(!timer_take(&t.timers, 699, &kind, &index));
    CHECK(timer_take(&t.timers, 700, &kind, &index));
    CHECK_INT(t.timers.heap.count, 0);
    /* More of them put off than one call lets sink: it says no and is asked again. */
    for (u32 i = 0; i < 90; i++) {
        timer_set(&t.timers, TIMER_CONN, i, 1 + i % 3);
        timer_set(&t.timers, TIMER_CONN, i, 1000);
    }
    u32 calls = 0;
    while (timer_next(&t.timers) < 1000 && calls < 10) {
        CHECK(!timer_take(&t.timers, 500, &kind, &index));
        CHECK(heap_check(&t.timers.heap));
        calls++;
    }
    CHECK_INT(calls, 2);
}

static void heap_random(void) {
    struct heap_test t;
    u64 due[HEAP_TEST_ITEMS], now = 0;
    enum timer_kind kind;
    u32 index, fired = 0;
    heap_test_create(&t);
    memset(due, 0, sizeof due); /* 0: not set */
    test_random_seed(5);
    for (u32 step = 0; step < 40000; step++) {
        u32 id = test_random(90);
        if (test_random(8) == 0) {
            timer_clear(&t.timers, TIMER_CONN, id);
            due[id] = 0;
        } else {
            due[id] = now + 1 + test_random(200);
            timer_set(&t.timers, TIMER_CONN, id, due[id]);
        }
        now += test_random(4) ? 0 : test_random(40);
        u64 first = NEVER;
        for (u32 calls = 0; timer_next(&t.timers) <= now && calls < 200; calls++) {
            if (timer_take(&t.timers, now, &kind, &index)) {
                CHECK(due[index] && due[index] <= now); /* never early, never twice */
                due[index] = 0;
                fired++;
            }
        }
        for (u32 i = 0; i < 90; i++) {
            first = due[i] && due[i] < first ? due[i] : first;
        }
        CHECK(first > now);                    /* none is forgotten */
        CHECK(timer_next(&t.timers) <= first); /* and the next is not late */
        CHECK(step % 64 || heap_check(&t.timers.heap));
    }
    CHECK(fired > 10000);
}

static const struct check_test pools_tests[] = {
    {"layout", pools_layout},      {"table", pools_table},         {"random", pools_random},
    {"index_sizes", index_sizes},  {"index_random", index_random}, {"queue_random", queue_random},
    {"outcomes", outcomes_random}, {"timer_kinds", heap_kinds},    {"timer_put_off", heap_put_off},
    {"timer_random", heap_random},
};

/* Section 64: lobbies and their players, without HTTP. */

#define LOBBIES_TEST_LOBBIES 4
#define LOBBIES_TEST_PLAYERS 6
#define LOBBIES_TEST_TIMERS (LOBBIES_TEST_LOBBIES + LOBBIES_TEST_PLAYERS + 2)

struct lobbies_test {
    struct kit kit;
    struct lobbies l;
    struct pool_slot lobby_slots[LOBBIES_TEST_LOBBIES], player_slots[LOBBIES_TEST_PLAYERS];
    struct lobby lobbies[LOBBIES_TEST_LOBBIES];
    struct player players[LOBBIES_TEST_PLAYERS];
    struct index_slot index[2 * LOBBIES_TEST_LOBBIES];
    struct heap_entry entries[LOBBIES_TEST_TIMERS];
    u32 order[LOBBIES_TEST_TIMERS];
    struct outcome ring[64];
    u32 gone[LOBBIES_TEST_LOBBIES * 16];
};

static void lobbies_test_start(struct lobbies_test *t) {
    static const u8 entropy[RANDOM_KEY_BYTES] = {3};
    const u32 bases[] = {0, 1, 1 + LOBBIES_TEST_LOBBIES, LOBBIES_TEST_TIMERS - 1,
                         LOBBIES_TEST_TIMERS};
    memset(t, 0, sizeof *t);
    pool_create(&t->l.pool, LOBBIES_TEST_LOBBIES, sizeof(struct lobby), t->lobby_slots, t->lobbies);
    pool_create(&t->l.players, LOBBIES_TEST_PLAYERS, sizeof(struct player), t->player_slots,
                t->players);
    index_create(&t->l.by_code, 2 * LOBBIES_TEST_LOBBIES, t->index, (struct siphash_key){1, 2});
    heap_create(&t->kit.timers.heap, LOBBIES_TEST_TIMERS, t->entries, t->order);
    memcpy(t->kit.timers.base, bases, sizeof bases);
    t->kit.outcomes.capacity = 64;
    near_set(&t->kit.outcomes.ring, t->ring);
    t->l.players_max = 8;
    near_set(&t->l.gone, t->gone);
    t->l.gone_max = 16;
    t->l.player_us = 10;
    t->l.empty_us = 100;
    random_seed(&t->kit.random, entropy);
    kit_tick(&t->kit, 1000);
}

static u64 lobbies_test_open(struct lobbies_test *t, const char *code, u32 max_players) {
    static const mps_address nobody;
    struct lobby_wish wish = {span_z(code), SPAN("world"), max_players, true, false};
    mps_error error = lobby_open_check(&t->kit, &t->l, &wish);
    return error ? 0 : lobby_open(&t->kit, &t->l, &wish, &nobody);
}

static struct player *lobbies_test_join(struct lobbies_test *t, u64 lobby) {
    static const mps_address nobody;
    mps_error error = lobby_join_check(&t->kit, &t->l, lobby_get(&t->l, lobby));
    return error ? NULL : lobby_join(&t->kit, &t->l, lobby, SPAN("n"), &nobody);
}

/* Gives back what section 87 would, and counts it. */
static u32 lobbies_test_settle(struct lobbies_test *t) {
    struct outcome o;
    u32 count = 0;
    for (; outcomes_take(&t->kit.outcomes, &o); count++) {
        if (o.kind == OUTCOME_PLAYER_LEFT) {
            pool_give(&t->l.players, o.subject);
        } else if (o.kind == OUTCOME_LOBBY_CLOSED) {
            pool_give(&t->l.pool, o.subject);
        }
    }
    CHECK(lobbies_check(&t->l));
    return count;
}

static void lobbies_codes(void) {
    static const struct {
        const char *code;
        bool valid;
    } rows[] = {
        {"A", true},
        {"aZ09_-", true},
        {"12345678901234567890123456789012", true},
        {"", false},
        {"123456789012345678901234567890123", false},
        {"a b", false},
        {"a/b", false},
        {"\xc3\xab", false},
        {"a.b", false},
        {"@", false},
        {"[", false},
        {"`", false},
        {"{", false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        CHECK_INT(lobby_code_valid(span_z(rows[i].code)), rows[i].valid);
    }
    CHECK(!lobby_code_valid(SPAN("a\0b")));
    struct lobbies_test t;
    lobbies_test_start(&t);
    u64 lobby = lobbies_test_open(&t, "MixEd_1", 2);
    CHECK(lobby && lobby_find(&t.l, SPAN("mixed_1")) == lobby);
    CHECK(lobby_find(&t.l, SPAN("MIXED_1")) == lobby && !lobby_find(&t.l, SPAN("MIXED-1")));
    CHECK(!lobby_find(&t.l, SPAN("mixed_11")) && !lobby_find(&t.l, SPAN("")));
    CHECK_TEXT(lobby_get(&t.l, lobby)->code, 7, "MixEd_1");
    CHECK_INT(lobbies_test_open(&t, "mIXeD_1", 2), 0);
    char code[LOBBY_CODE_MADE];
    for (u32 i = 0; i < 100; i++) {
        CHECK(lobby_make_code(&t.kit, &t.l, code));
        for (u32 k = 0; k < LOBBY_CODE_MADE; k++) {
            CHECK(strchr(lobby_code_letters, code[k]) && !strchr("ILO01", code[k]));
        }
    }
}

static void lobbies_life(void) {
    struct lobbies_test t;
    enum timer_kind kind;
    u32 index;
    lobbies_test_start(&t);
    u64 a = lobbies_test_open(&t, "a", 2), b = lobbies_test_open(&t, "b", 8);
    struct player *one = lobbies_test_join(&t, a), *two = lobbies_test_join(&t, a);
    CHECK_INT(one->id, 1);
    CHECK_INT(two->id, 2);
    CHECK(memcmp(one->token, two->token, UDP_TOKEN_BYTES) != 0);
    CHECK_INT(lobby_join_check(&t.kit, &t.l, lobby_get(&t.l, a)), MPS_E_LOBBY_FULL);
    CHECK(lobby_has_token(&t.l, lobby_get(&t.l, a), two->token));
    CHECK(!lobby_has_token(&t.l, lobby_get(&t.l, b), two->token));
    u32 at = player_find(&t.l, lobby_get(&t.l, a), 1);
    player_leave(&t.kit, &t.l, at - 1, LEAVE_ASKED);
    CHECK_INT(player_find(&t.l, lobby_get(&t.l, a), 1), 0);
    CHECK_INT(lobbies_test_join(&t, a)->id, 3); /* ids are not used again */
    CHECK_INT(lobbies_test_settle(&t), 6);
    /* No player is given the dummy's id. */
    lobby_get(&t.l, b)->next_player_id = DUMMY_PLAYER_ID;
    CHECK_INT(lobbies_test_join(&t, b)->id, DUMMY_PLAYER_ID + 1);
    for (u32 i = 0; i < 3; i++) {
        CHECK(lobbies_test_join(&t, b) != NULL);
    }
    CHECK_INT(lobby_join_check(&t.kit, &t.l, lobby_get(&t.l, b)), MPS_E_PLAYERS_FULL);
    /* Closing takes the players along, out of sight at once. */
    CHECK_INT(lobby_close_outcomes(lobby_get(&t.l, b)), 5);
    lobbies_test_settle(&t);
    lobby_close(&t.kit, &t.l, b);
    CHECK(!lobby_get(&t.l, b) && !lobby_find(&t.l, SPAN("b")));
    CHECK_INT(lobbies_test_settle(&t), 5);
    CHECK(!pool_get(&t.l.pool, b));
    CHECK_INT(t.l.players.used, 2);
    /* The two that are left have timers, their lobby has none while they stay. */
    u32 players = 0;
    while (timer_take(&t.kit.timers, 1010, &kind, &index)) {
        CHECK_INT(kind, TIMER_PLAYER);
        player_leave(&t.kit, &t.l, index, LEAVE_SILENT);
        players++;
    }
    CHECK_INT(players, 2);
    CHECK_INT(timer_next(&t.kit.timers), 1100);
    lobbies_test_settle(&t);
}

static void lobbies_random(void) {
    struct lobbies_test t;
    char code[2] = "a";
    u32 opened = 0;
    lobbies_test_start(&t);
    test_random_seed(12);
    for (u32 step = 0; step < 20000; step++) {
        code[0] = (char)((test_random(2) ? 'a' : 'A') + test_random(6));
        u64 lobby = lobby_find(&t.l, span_z(code));
        u32 action = test_random(4);
        if (!lobby) {
            bool room = t.l.pool.used < LOBBIES_TEST_LOBBIES;
            lobby = lobbies_test_open(&t, code, 1 + test_random(4));
            CHECK_INT(lobby != 0, room);
            opened += lobby != 0;
        } else if (action < 2) {
            bool room = lobby_get(&t.l, lobby)->players.count < lobby_get(&t.l, lobby)->max_players;
            room &= t.l.players.used < LOBBIES_TEST_PLAYERS;
            CHECK_INT(lobbies_test_join(&t, lobby) != NULL, room);
        } else if (action == 2 && lobby_get(&t.l, lobby)->players.count) {
            player_leave(&t.kit, &t.l, lobby_get(&t.l, lobby)->players.head - 1, LEAVE_ASKED);
        } else if (action == 3) {
            lobby_close(&t.kit, &t.l, lobby);
        }
        if (test_random(3) == 0 || !outcomes_room(&t.kit.outcomes, 10)) {
            lobbies_test_settle(&t);
        }
    }
    CHECK(opened > 1000);
    CHECK(heap_check(&t.kit.timers.heap));
}

static const struct check_test lobbies_tests[] = {
    {"codes", lobbies_codes},
    {"life", lobbies_life},
    {"random", lobbies_random},
};

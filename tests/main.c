/* The unit tests: one program that includes the core once, so that statics are in reach, then a
   file per section. A test that no table names is an unused static function, hence an error.
   Usage: unit [FILTER]   runs the tests whose "section.name" contains FILTER.
          unit --rows     tells rows of the tables of conformance; see conformance/rows.h. */
static void test_assert_failed(const char *what, int line);
#define MPS_ASSERT(x) ((x) ? (void)0 : test_assert_failed(#x, __LINE__))
#include "../mpserver.c"

#include "check.h"

static void test_assert_failed(const char *what, int line) {
    printf("mpserver.c:%d: assertion failed: %s\n", line, what);
    abort();
}

#include "test_base.c"
#include "test_crypto.c"
#include "test_addresses.c"
#include "test_http.c"
#include "test_ws.c"
#include "test_json.c"
#include "test_stun.c"
#include "test_datagrams.c"
#include "test_pools.c"
#include "test_log.c"
#include "test_auth.c"
#include "test_rates.c"
#include "test_lobbies.c"
#include "test_config.c"
#include "test_server.c"
#include "test_sockets.c"
#include "test_rooms.c"
#include "test_game.c"
#include "test_realtime.c"
#include "test_crowd.c"

#include "conformance/rows.h"

static const struct check_suite {
    const char *name;
    const struct check_test *tests;
    size_t count;
} suites[] = {
    {"base", base_tests, COUNT_OF(base_tests)},
    {"crypto", crypto_tests, COUNT_OF(crypto_tests)},
    {"addresses", addresses_tests, COUNT_OF(addresses_tests)},
    {"http", http_tests, COUNT_OF(http_tests)},
    {"ws", ws_tests, COUNT_OF(ws_tests)},
    {"json", json_tests, COUNT_OF(json_tests)},
    {"stun", stun_tests, COUNT_OF(stun_tests)},
    {"datagrams", datagrams_tests, COUNT_OF(datagrams_tests)},
    {"pools", pools_tests, COUNT_OF(pools_tests)},
    {"log", log_tests, COUNT_OF(log_tests)},
    {"auth", auth_tests, COUNT_OF(auth_tests)},
    {"rates", rates_tests, COUNT_OF(rates_tests)},
    {"lobbies", lobbies_tests, COUNT_OF(lobbies_tests)},
    {"config", config_tests, COUNT_OF(config_tests)},
    {"server", server_tests, COUNT_OF(server_tests)},
    {"sockets", sockets_tests, COUNT_OF(sockets_tests)},
    {"rooms", rooms_tests, COUNT_OF(rooms_tests)},
    {"game", game_tests, COUNT_OF(game_tests)},
    {"realtime", realtime_tests, COUNT_OF(realtime_tests)},
    {"crowd", crowd_tests, COUNT_OF(crowd_tests)},
};

int main(int argc, char **argv) {
    const char *filter = argc > 1 ? argv[1] : "";
    int passed = 0, failed = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (strcmp(filter, "--rows") == 0) {
        return rows_put_all();
    }
    for (size_t s = 0; s < COUNT_OF(suites); s++) {
        for (size_t t = 0; t < suites[s].count; t++) {
            char name[128];
            snprintf(name, sizeof name, "%s.%s", suites[s].name, suites[s].tests[t].name);
            if (!strstr(name, filter)) {
                continue;
            }
            checks_failed = 0;
            suites[s].tests[t].run();
            passed += checks_failed == 0;
            failed += checks_failed != 0;
            if (checks_failed) {
                printf("FAIL %s\n", name);
            }
        }
    }
    if (!passed && !failed) {
        printf("no test is named like `%s`\n", filter);
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed || !passed;
}

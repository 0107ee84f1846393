/* Section 52: tokens. */

static const char auth_test_secret[] = "an-independent-test-secret-of-32-bytes!";

#define AUTH_TEST_S ((i64)1700000000) /* the time on which the rows are judged */

static void auth_test_start(struct auth *a, const char *audience) {
    memset(a, 0, sizeof *a);
    hmac256_start(&a->key, auth_test_secret, sizeof auth_test_secret - 1);
    copy_z(a->issuer, sizeof a->issuer, SPAN("mpserver"));
    copy_z(a->audience, sizeof a->audience, span_z(audience));
    copy_z(a->boot, sizeof a->boot, SPAN("00112233445566aa"));
}

static mps_error auth_test_verify(const struct auth *a, i64 now_s, i64 uptime_s, bool known,
                                  struct span token, struct auth_claims *claims, bool *here) {
    struct auth_clock clock = {now_s, uptime_s, known};
    char work[AUTH_TOKEN_BYTES_MAX];
    return auth_verify(a, &clock, token, work, sizeof work, claims, here);
}

#include "conformance/rfc7519.h"

/* What this server asks of claims beyond the standard. */
static const struct auth_row auth_rows[] = {
    {{"claims", "good"},
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJtcHNlcnZlciIsInN1YiI6InUxIiwiZXh"
     "wIjoxNzAwMDAwMDEwfQ.urFP-cNJ2628yENds-fUf0erOuvR-KVvBAjliMFencY",
     MPS_OK,
     "u1",
     "u1",
     false,
     MPS_ROLE_PLAYER,
     true,
     1700000010},
    {{"claims", "number"},
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VySWQiOjcsInN1YiI6IngiLCJleHAiOjE3MDA"
     "wMDAwMTAsIm5hbWUiOiJTZXZlbiJ9.YqX31nRBBYg9lctAuQLJh2m-GJu0KSA9GJUMB8uLHiY",
     MPS_OK,
     "7",
     "Seven",
     true,
     MPS_ROLE_PLAYER,
     false,
     0},
    {{"claims", "string 7"},
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI3IiwiZXhwIjoxNzAwMDAwMDEwLCJ1c2V"
     "ybmFtZSI6IkEiLCJuYW1lIjoiQiJ9.5mUCTjYuJcyCRfLyeMp-iYCX--vtrnV9dJtoZpoDRh4",
     MPS_OK,
     "7",
     "A",
     false,
     MPS_ROLE_PLAYER,
     false,
     0},
    {{"claims", "negative id"},
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VySWQiOi01LCJleHAiOjE3MDAwMDAwMTB9.7n"
     "CO8pJCkwEQknK1Z0kyVkxWRkx9NUCHzthgtiiSdLs",
     MPS_OK,
     "-5",
     "-5",
     true,
     MPS_ROLE_PLAYER,
     false,
     0},
    {{"claims", "2^53 id"},
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VySWQiOjkwMDcxOTkyNTQ3NDA5OTIsImV4cCI"
     "6MTcwMDAwMDAxMH0.jze936thtvEBR_xb8x7y4AevlxcvcxYj6qmTJPsGGcA",
     MPS_OK,
     "9007199254740992",
     "9007199254740992",
     true,
     MPS_ROLE_PLAYER,
     false,
     0},
    {{"claims", "beyond 2^53"},
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VySWQiOjkwMDcxOTkyNTQ3NDA5OTQsImV4cCI"
     "6MTcwMDAwMDAxMH0.iIi4ZnmY-Axi3vHF5pSdxXFWOM4t46putGNbjET042w",
     MPS_E_TOKEN_INVALID,
     NULL,
     NULL,
     false,
     MPS_ROLE_PLAYER,
     false,
     0},
    {{"claims", "userId string"},
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VySWQiOiI3IiwiZXhwIjoxNzAwMDAwMDEwfQ."
     "ZrV8JItu6jM5BJffzH0x5v9IglIkBCU3siU_haX8c44",
     MPS_E_TOKEN_INVALID,
     NULL,
     NULL,
     false,
     MPS_ROLE_PLAYER,
     false,
     0},
    {{"claims", "userId fraction"},
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VySWQiOjcuNSwiZXhwIjoxNzAwMDAwMDEwfQ."
     "4E2H82HsaFof8PSTlpEPoB0RqmeryDaOXpdyJ-3X2cI",
     MPS_E_TOKEN_INVALID,
     NULL,
     NULL,
     false,
     MPS_ROLE_PLAYER,
     false,
     0},
    {{"claims", "sub empty"},
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIiLCJleHAiOjE3MDAwMDAwMTB9.mpdLwq"
     "aSDoq63iKxSBdmmUyhMG_6vnZZExdBRzbBd1o",
     MPS_E_TOKEN_INVALID,
     NULL,
     NULL,
     false,
     MPS_ROLE_PLAYER,
     false,
     0},
    {{"claims", "sub none"},
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE3MDAwMDAwMTB9.YeU-dIy62ITgf9F4Ni"
     "Lg000xYniuaIIKilXGY09AE3g",
     MPS_E_TOKEN_INVALID,
     NULL,
     NULL,
     false,
     MPS_ROLE_PLAYER,
     false,
     0},
    {{"claims", "sub 128"},
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWF"
     "hYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWF"
     "hYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYSIsImV4cCI6MTcwMDAwMDA"
     "xMH0.M0xqXUmqyJZop2HEtvirKtcDfatkH6LF2Sdi-PZeyA8",
     MPS_OK,
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
     false,
     MPS_ROLE_PLAYER,
     false,
     0},
    {{"claims", "sub 129"},
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWF"
     "hYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWF"
     "hYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWEiLCJleHAiOjE3MDAwMDA"
     "wMTB9.TvNZcDVK0mKObDRRTGS29sTYR8xQcWdD4I60lnhKN6s",
     MPS_E_TOKEN_INVALID,
     NULL,
     NULL,
     false,
     MPS_ROLE_PLAYER,
     false,
     0},
    {{"claims", "sub zero"},
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhXHUwMDAwYiIsImV4cCI6MTcwMDAwMDA"
     "xMH0.c5labo7nWudSMgk41rrSpIQ3qmfuBqSQz3DOLD6c57s",
     MPS_E_TOKEN_INVALID,
     NULL,
     NULL,
     false,
     MPS_ROLE_PLAYER,
     false,
     0},
    {{"claims", "sub control"},
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhXG5iIiwiZXhwIjoxNzAwMDAwMDEwfQ."
     "5YXXeKgQogdPeHLrG8eS6z7-9nyqf6-1eN8Sd6afLgQ",
     MPS_E_TOKEN_INVALID,
     NULL,
     NULL,
     false,
     MPS_ROLE_PLAYER,
     false,
     0},
    {{"claims", "roles"},
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwicm9sZSI6InNlcnZlciIsImV4cCI"
     "6MTcwMDAwMDAxMH0.YSEfgemK8XxCRevRrKmjMqQEBr165iv9f-SAIhu258E",
     MPS_OK,
     "a",
     "a",
     false,
     MPS_ROLE_SERVER,
     false,
     0},
    {{"claims", "role admin"},
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwicm9sZSI6ImFkbWluIiwiZXhwIjo"
     "xNzAwMDAwMDEwfQ.1o3zrfpJG2ysAEuDgTy2ZbYaRdhpzeTJIDZfDR7K0Ew",
     MPS_OK,
     "a",
     "a",
     false,
     MPS_ROLE_ADMIN,
     false,
     0},
    {{"claims", "role unknown"},
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwicm9sZSI6InJvb3QiLCJleHAiOjE"
     "3MDAwMDAwMTB9.87SoG7Nks2OATEh1pmzTwiOb_UA8_fu4PQVWqh4cF0Y",
     MPS_E_TOKEN_INVALID,
     NULL,
     NULL,
     false,
     MPS_ROLE_PLAYER,
     false,
     0},
    {{"claims", "role number"},
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwicm9sZSI6MiwiZXhwIjoxNzAwMDA"
     "wMDEwfQ.leRZaOtsBa9kQjq85s5YXBS0pz4j4OyIvk5s5shNSpM",
     MPS_E_TOKEN_INVALID,
     NULL,
     NULL,
     false,
     MPS_ROLE_PLAYER,
     false,
     0},
    {{"claims", "name cut"},
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwidXNlcm5hbWUiOiLwn5iA8J-YgPC"
     "fmIDwn5iA8J-YgPCfmIDwn5iA8J-YgPCfmIDwn5iA8J-YgPCfmIDwn5iA8J-YgPCfmIDwn5iA8J-YgPC"
     "fmIDwn5iA8J-YgPCfmIDwn5iA8J-YgPCfmIDwn5iA8J-YgPCfmIDwn5iA8J-YgPCfmIDwn5iA8J-YgPC"
     "fmIAiLCJleHAiOjE3MDAwMDAwMTB9.apaFwF34CBHVeESvt98-kjBniEe4wFkoO74PM1BFYzs",
     MPS_OK,
     "a",
     "\360\237\230\200\360\237\230\200\360\237\230\200\360\237\230\200\360\237\230\200\360\237\230"
     "\200\360\237\230\200\360\237\230\200\360\237\230\200\360\237\230\200\360\237\230\200\360\237"
     "\230\200\360\237\230\200\360\237\230\200\360\237\230\200\360\237\230\200\360\237\230\200\360"
     "\237\230\200\360\237\230\200\360\237\230\200\360\237\230\200\360\237\230\200\360\237\230\200"
     "\360\237\230\200\360\237\230\200\360\237\230\200\360\237\230\200\360\237\230\200\360\237\230"
     "\200\360\237\230\200\360\237\230\200\360\237\230\200",
     false,
     MPS_ROLE_PLAYER,
     false,
     0},
    {{"claims", "name empty"},
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwidXNlcm5hbWUiOiIiLCJleHAiOjE"
     "3MDAwMDAwMTB9.YMbXfS-lJZLUvGzGDrw1CBPnYDSa-XE1_RcOjOtZI-Q",
     MPS_OK,
     "a",
     "a",
     false,
     MPS_ROLE_PLAYER,
     false,
     0},
    {{"claims", "name control"},
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwidXNlcm5hbWUiOiJ4XHUwMDA3eSI"
     "sImV4cCI6MTcwMDAwMDAxMH0.wpv9oL5C8MsQcmX0-ZYmfSpDKmRjfiErvyRFXdX8wdk",
     MPS_OK,
     "a",
     "x\ay",
     false,
     MPS_ROLE_PLAYER,
     false,
     0},
    {{"claims", "username number"},
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwidXNlcm5hbWUiOjUsIm5hbWUiOiJ"
     "uIiwiZXhwIjoxNzAwMDAwMDEwfQ.426RRU4aC7E0FMXT3e2qkINtcFV-VZi6Okkl4_I8s50",
     MPS_OK,
     "a",
     "n",
     false,
     MPS_ROLE_PLAYER,
     false,
     0},
    {{"claims", "auth_time"},
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJtcHNlcnZlciIsInN1YiI6ImEiLCJleHA"
     "iOjE3MDAwMDAxMDAsImlhdCI6MTY5OTk5OTk5NSwiYXV0aF90aW1lIjoxNjk5OTk5OTUwfQ.42NF0xS9"
     "AU8oQNy-dlenRf84fUFm79lQ3E1jybcdQRY",
     MPS_OK,
     "a",
     "a",
     false,
     MPS_ROLE_PLAYER,
     true,
     1699999950},
    {{"claims", "boot of nobody"},
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJlbHNlIiwic3ViIjoiYSIsImV4cCI6MTc"
     "wMDAwMDEwMCwiYm9vdCI6IjAwMTEyMjMzNDQ1NTY2YWEifQ.J3-JY5yYVF4-7-182Rv7oWMbEP86Egt6"
     "rLxMniwu-kc",
     MPS_E_TOKEN_INVALID,
     NULL,
     NULL,
     false,
     MPS_ROLE_PLAYER,
     false,
     0},
    {{"claims", "boot of another run"},
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJtcHNlcnZlciIsInN1YiI6ImEiLCJleHA"
     "iOjE3MDAwMDAxMDAsImJvb3QiOiJmZmZmZmZmZmZmZmZmZmZmIn0.NggcFLRDyV6GotZvyE9uW39i_yt"
     "Km_ykY0iESUv5mVU",
     MPS_E_TOKEN_EXPIRED,
     NULL,
     NULL,
     false,
     MPS_ROLE_PLAYER,
     false,
     0},
    {{"claims", "boot number"},
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJtcHNlcnZlciIsInN1YiI6ImEiLCJleHA"
     "iOjE3MDAwMDAxMDAsImJvb3QiOjF9.ORAk1-AWGHDlf7bwIPMZNcaMUJCo-ZYthD3MCJfDWRc",
     MPS_E_TOKEN_EXPIRED,
     NULL,
     NULL,
     false,
     MPS_ROLE_PLAYER,
     false,
     0},
    {{"claims", "duplicate inside"},
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwiZXhwIjoxNzAwMDAwMDEwLCJ6Ijp"
     "7InkiOjEsInkiOjJ9fQ.gWhrDKedaJ5r4DsMd9QGw7XQ6P99ABwv0fxKErxn4EU",
     MPS_E_TOKEN_INVALID,
     NULL,
     NULL,
     false,
     MPS_ROLE_PLAYER,
     false,
     0},
};

static void auth_row_check(const void *at) {
    const struct auth_row *row = at;
    struct auth a;
    struct auth_claims claims;
    bool here;
    auth_test_start(&a, "");
    mps_error got = auth_test_verify(&a, AUTH_TEST_S, 5, true, span_z(row->token), &claims, &here);
    CHECK_INT(got, row->want);
    if (got == MPS_OK && row->want == MPS_OK) {
        CHECK(here);
        CHECK_TEXT(claims.who.id, strlen(claims.who.id), row->id);
        CHECK_TEXT(claims.who.name, strlen(claims.who.name), row->display);
        CHECK_INT(claims.who.id_is_number, row->number);
        CHECK_INT(claims.who.role, row->role);
        CHECK_INT(claims.ours, row->ours);
        CHECK(!row->auth_time || claims.auth_time == row->auth_time);
    }
}

static void auth_tokens(void) {
    CONFORMANCE("rfc7519 tokens", auth_jwt_rows, auth_row_check);
    CONFORMANCE("tokens of our own", auth_rows, auth_row_check);
}

/* Every single byte of a good token matters. */
static void auth_flips(void) {
    struct auth a;
    struct auth_claims claims;
    bool here;
    char token[512];
    size_t bytes = strlen(auth_rows[0].token);
    auth_test_start(&a, "");
    for (size_t i = 0; i < bytes; i++) {
        memcpy(token, auth_rows[0].token, bytes);
        token[i] = token[i] == 'A' ? 'B' : 'A';
        CHECK_INT(auth_test_verify(&a, AUTH_TEST_S, 5, true, span_of(token, bytes), &claims, &here),
                  MPS_E_TOKEN_INVALID);
        CHECK(!here);
        CHECK(auth_test_verify(&a, AUTH_TEST_S, 5, true, span_of(auth_rows[0].token, i), &claims,
                               &here) == MPS_E_TOKEN_INVALID);
    }
}

static void auth_audience_check(const void *at) {
    const struct audience_row *row = at;
    struct auth with, without;
    struct auth_claims claims;
    bool here;
    struct span token = span_z(row->token);
    auth_test_start(&with, "game");
    auth_test_start(&without, "");
    CHECK_INT(auth_test_verify(&with, AUTH_TEST_S, 5, true, token, &claims, &here),
              row->good ? MPS_OK : MPS_E_TOKEN_INVALID);
    CHECK(here);
    CHECK_INT(auth_test_verify(&without, AUTH_TEST_S, 5, true, token, &claims, &here), MPS_OK);
}

static void auth_audience(void) {
    CONFORMANCE("rfc7519 audiences", audience_rows, auth_audience_check);
}

static const char auth_golden_text[] =
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJtcHNlcnZlciIsImF1ZCI6ImdhbWUiLCJ"
    "zdWIiOiJpZFwiXFwxIiwidXNlcm5hbWUiOiJab8OrIiwicm9sZSI6ImFkbWluIiwiaWF0IjoxNzAwMDA"
    "wMDAwLCJhdXRoX3RpbWUiOjE3MDAwMDAwMDAsImV4cCI6MTcwMDAwMDA2MH0.MMrtGgKfHHAtcBW48Ob"
    "WPaxEqTyt5lI18deptHZR0PI";
static const char auth_golden_number[] =
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJ4IiwidXNlcklkIjo3LCJ1c2VybmFtZSI"
    "6Im4iLCJyb2xlIjoicGxheWVyIiwiaWF0IjoxNzAwMDAwMDAwLCJhdXRoX3RpbWUiOjE3MDAwMDAwMDA"
    "sImV4cCI6MTcwMDAwMDA2MH0.UWwyTPcNQk20cCWvyJ5PQB278DA165cLM5DAqKRO_s8";

static void auth_mints(void) {
    mps_identity text = {.id = "id\"\\1", .name = "Zo\xc3\xab", .role = MPS_ROLE_ADMIN};
    mps_identity number = {.id = "7", .name = "n", .id_is_number = true};
    mps_token_claims claims = {&text, NULL, "game", AUTH_TEST_S, 60};
    char token[2048];
    size_t bytes =
        mps_token_mint(&claims, auth_test_secret, sizeof auth_test_secret - 1, token, sizeof token);
    CHECK_TEXT(token, bytes, auth_golden_text);
    CHECK_INT(token[bytes], 0);
    CHECK_INT(mps_token_mint(&claims, auth_test_secret, sizeof auth_test_secret - 1, token, bytes),
              0);
    CHECK_INT(
        mps_token_mint(&claims, auth_test_secret, sizeof auth_test_secret - 1, token, bytes + 1),
        bytes);
    claims = (mps_token_claims){&number, "x", NULL, AUTH_TEST_S, 60};
    bytes =
        mps_token_mint(&claims, auth_test_secret, sizeof auth_test_secret - 1, token, sizeof token);
    CHECK_TEXT(token, bytes, auth_golden_number);
}

/* Who is minted a token is let in by it: what no server would take for a name becomes the id, and
   what it would take for no user is refused. */
static void auth_mints_names(void) {
    static const char *const bad[] = {"", "\xff", "Zo\xc3", "123456789 123456789 123456789 123"};
    mps_identity who = {.id = "id"};
    mps_token_claims claims = {&who, NULL, NULL, AUTH_TEST_S, 60};
    struct auth a;
    struct auth_claims got;
    bool here;
    char token[2048];
    auth_test_start(&a, "");
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        copy_z(who.name, sizeof who.name, span_z(bad[i]));
        size_t bytes = mps_token_mint(&claims, auth_test_secret, sizeof auth_test_secret - 1, token,
                                      sizeof token);
        CHECK_INT(auth_test_verify(&a, AUTH_TEST_S, 5, true, span_of(token, bytes), &got, &here),
                  MPS_OK);
        CHECK_TEXT(got.who.name, strlen(got.who.name), "id");
        CHECK_TEXT(who.name, strlen(who.name), bad[i]);
    }
    who.role = (mps_role)3;
    CHECK_INT(mps_token_mint(&claims, auth_test_secret, 32, token, sizeof token), 0);
    who = (mps_identity){.name = "no id"};
    CHECK_INT(mps_token_mint(&claims, auth_test_secret, 32, token, sizeof token), 0);
}

/* Whatever is accepted can be minted again: the longest texts there are. */
static void auth_longest(void) {
    struct auth a;
    struct auth_claims claims;
    bool here;
    mps_identity who = {.role = MPS_ROLE_SERVER};
    char token[2048], issuer[65], audience[129];
    memset(who.id, '"', MPS_ID_BYTES_MAX);
    for (u32 i = 0; i < MPS_NAME_BYTES_MAX; i += 4) {
        memcpy(who.name + i, "\xf0\x9f\x98\x80", 4);
    }
    memset(issuer, 'i', 64);
    memset(audience, 'a', 128);
    issuer[64] = audience[128] = 0;
    auth_test_start(&a, audience);
    copy_z(a.issuer, sizeof a.issuer, span_z(issuer));
    struct auth_grant grant = {&who,        issuer,           audience,   a.boot,
                               AUTH_TEST_S, AUTH_TEST_S + 60, AUTH_TEST_S};
    struct text t = text_on(token, sizeof token);
    CHECK(auth_mint(&t, &grant, &a.key));
    CHECK_INT(auth_test_verify(&a, AUTH_TEST_S, AUTH_TEST_S, false, text_span(&t), &claims, &here),
              MPS_OK);
    CHECK(claims.ours && memcmp(&claims.who, &who, sizeof who) == 0);
}

/* Tokens of a run that does not know the date yet, and what becomes of them. */
static void auth_boot_tokens(void) {
    struct auth a, other;
    struct auth_claims claims;
    bool here;
    char token[1024];
    mps_identity who = {.id = "u", .name = "U"};
    auth_test_start(&a, "");
    auth_test_start(&other, "");
    copy_z(other.boot, sizeof other.boot, SPAN("1111111111111111"));
    struct auth_grant grant = {&who, a.issuer, NULL, a.boot, 20, 120, 10};
    struct text t = text_on(token, sizeof token);
    CHECK(auth_mint(&t, &grant, &a.key));
    static const struct {
        i64 now_s, uptime_s;
        bool known;
        mps_error want;
        i64 auth_time;
    } rows[] = {
        {20, 20, false, MPS_OK, 10},
        {179, 179, false, MPS_OK, 10},
        {180, 180, false, MPS_E_TOKEN_EXPIRED, 10},
        {AUTH_TEST_S, 30, true, MPS_OK, AUTH_TEST_S - 20},
        {AUTH_TEST_S, 179, true, MPS_OK, AUTH_TEST_S - 169},
        {AUTH_TEST_S, 180, true, MPS_E_TOKEN_EXPIRED, AUTH_TEST_S - 170},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        CHECK_INT(auth_test_verify(&a, rows[i].now_s, rows[i].uptime_s, rows[i].known,
                                   text_span(&t), &claims, &here),
                  rows[i].want);
        CHECK_INT(claims.auth_time, rows[i].auth_time);
        CHECK(claims.ours && here);
        CHECK_INT(auth_test_verify(&other, rows[i].now_s, rows[i].uptime_s, rows[i].known,
                                   text_span(&t), &claims, &here),
                  MPS_E_TOKEN_EXPIRED);
    }
    /* All others need the date. */
    for (size_t i = 0; i < 3; i++) {
        CHECK_INT(auth_test_verify(&a, 20, 20, false, span_z(auth_rows[i].token), &claims, &here),
                  MPS_E_CLOCK_UNSET);
        CHECK(here);
    }
}

static const struct check_test auth_tests[] = {
    {"tokens", auth_tokens},           {"flips", auth_flips},
    {"audience", auth_audience},       {"mints", auth_mints},
    {"longest", auth_longest},         {"boot_tokens", auth_boot_tokens},
    {"mints_names", auth_mints_names},
};

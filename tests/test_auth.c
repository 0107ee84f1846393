/* Section 52: tokens. The rows were made with another implementation of HMAC and base64url. */

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

struct auth_row {
    const char *name, *token;
    mps_error want;
    const char *id, *display;
    bool number;
    mps_role role;
    bool ours;
    i64 auth_time; /* 0: not looked at */
};

static const struct auth_row auth_rows[] = {
    {"good",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJtcHNlcnZlciIsInN1YiI6InUxIiwiZXh"
     "wIjoxNzAwMDAwMDEwfQ.urFP-cNJ2628yENds-fUf0erOuvR-KVvBAjliMFencY",
     MPS_OK, "u1", "u1", false, MPS_ROLE_PLAYER, true, 1700000010},
    {"foreign",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJ1MSIsImV4cCI6MTcwMDAwMDAxMH0.wqr"
     "KJ8Meis8HRsdDqX8jP15F6LhO_feivTgp3b23tBU",
     MPS_OK, "u1", "u1", false, MPS_ROLE_PLAYER, false, 0},
    {"other issuer",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJlbHNlIiwic3ViIjoidTEiLCJleHAiOjE"
     "3MDAwMDAwMTB9._TeABDWwaEtCjyFATXESsDB-dm8Sez1rk_q_V1ne5Xw",
     MPS_OK, "u1", "u1", false, MPS_ROLE_PLAYER, false, 0},
    {"number",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VySWQiOjcsInN1YiI6IngiLCJleHAiOjE3MDA"
     "wMDAwMTAsIm5hbWUiOiJTZXZlbiJ9.YqX31nRBBYg9lctAuQLJh2m-GJu0KSA9GJUMB8uLHiY",
     MPS_OK, "7", "Seven", true, MPS_ROLE_PLAYER, false, 0},
    {"string 7",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiI3IiwiZXhwIjoxNzAwMDAwMDEwLCJ1c2V"
     "ybmFtZSI6IkEiLCJuYW1lIjoiQiJ9.5mUCTjYuJcyCRfLyeMp-iYCX--vtrnV9dJtoZpoDRh4",
     MPS_OK, "7", "A", false, MPS_ROLE_PLAYER, false, 0},
    {"negative id",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VySWQiOi01LCJleHAiOjE3MDAwMDAwMTB9.7n"
     "CO8pJCkwEQknK1Z0kyVkxWRkx9NUCHzthgtiiSdLs",
     MPS_OK, "-5", "-5", true, MPS_ROLE_PLAYER, false, 0},
    {"2^53 id",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VySWQiOjkwMDcxOTkyNTQ3NDA5OTIsImV4cCI"
     "6MTcwMDAwMDAxMH0.jze936thtvEBR_xb8x7y4AevlxcvcxYj6qmTJPsGGcA",
     MPS_OK, "9007199254740992", "9007199254740992", true, MPS_ROLE_PLAYER, false, 0},
    {"beyond 2^53",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VySWQiOjkwMDcxOTkyNTQ3NDA5OTQsImV4cCI"
     "6MTcwMDAwMDAxMH0.iIi4ZnmY-Axi3vHF5pSdxXFWOM4t46putGNbjET042w",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"userId string",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VySWQiOiI3IiwiZXhwIjoxNzAwMDAwMDEwfQ."
     "ZrV8JItu6jM5BJffzH0x5v9IglIkBCU3siU_haX8c44",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"userId fraction",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VySWQiOjcuNSwiZXhwIjoxNzAwMDAwMDEwfQ."
     "4E2H82HsaFof8PSTlpEPoB0RqmeryDaOXpdyJ-3X2cI",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"sub number",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOjcsImV4cCI6MTcwMDAwMDAxMH0.p8BSs4h"
     "-FmpUcImuVhx5al-JkovFccm0GNzD5rfhvDc",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"sub empty",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIiLCJleHAiOjE3MDAwMDAwMTB9.mpdLwq"
     "aSDoq63iKxSBdmmUyhMG_6vnZZExdBRzbBd1o",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"sub none",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE3MDAwMDAwMTB9.YeU-dIy62ITgf9F4Ni"
     "Lg000xYniuaIIKilXGY09AE3g",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"sub 128",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWF"
     "hYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWF"
     "hYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYSIsImV4cCI6MTcwMDAwMDA"
     "xMH0.M0xqXUmqyJZop2HEtvirKtcDfatkH6LF2Sdi-PZeyA8",
     MPS_OK,
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false, MPS_ROLE_PLAYER, false, 0},
    {"sub 129",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWF"
     "hYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWF"
     "hYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWEiLCJleHAiOjE3MDAwMDA"
     "wMTB9.TvNZcDVK0mKObDRRTGS29sTYR8xQcWdD4I60lnhKN6s",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"sub zero",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhXHUwMDAwYiIsImV4cCI6MTcwMDAwMDA"
     "xMH0.c5labo7nWudSMgk41rrSpIQ3qmfuBqSQz3DOLD6c57s",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"sub control",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhXG5iIiwiZXhwIjoxNzAwMDAwMDEwfQ."
     "5YXXeKgQogdPeHLrG8eS6z7-9nyqf6-1eN8Sd6afLgQ",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"roles",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwicm9sZSI6InNlcnZlciIsImV4cCI"
     "6MTcwMDAwMDAxMH0.YSEfgemK8XxCRevRrKmjMqQEBr165iv9f-SAIhu258E",
     MPS_OK, "a", "a", false, MPS_ROLE_SERVER, false, 0},
    {"role admin",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwicm9sZSI6ImFkbWluIiwiZXhwIjo"
     "xNzAwMDAwMDEwfQ.1o3zrfpJG2ysAEuDgTy2ZbYaRdhpzeTJIDZfDR7K0Ew",
     MPS_OK, "a", "a", false, MPS_ROLE_ADMIN, false, 0},
    {"role unknown",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwicm9sZSI6InJvb3QiLCJleHAiOjE"
     "3MDAwMDAwMTB9.87SoG7Nks2OATEh1pmzTwiOb_UA8_fu4PQVWqh4cF0Y",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"role number",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwicm9sZSI6MiwiZXhwIjoxNzAwMDA"
     "wMDEwfQ.leRZaOtsBa9kQjq85s5YXBS0pz4j4OyIvk5s5shNSpM",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"iss number",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOjEsInN1YiI6ImEiLCJleHAiOjE3MDAwMDA"
     "wMTB9.VrBSp5Jb__wzEUbJeOYdMfMw_W4rfZzkvCGJjNBUbhI",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"name cut",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwidXNlcm5hbWUiOiLwn5iA8J-YgPC"
     "fmIDwn5iA8J-YgPCfmIDwn5iA8J-YgPCfmIDwn5iA8J-YgPCfmIDwn5iA8J-YgPCfmIDwn5iA8J-YgPC"
     "fmIDwn5iA8J-YgPCfmIDwn5iA8J-YgPCfmIDwn5iA8J-YgPCfmIDwn5iA8J-YgPCfmIDwn5iA8J-YgPC"
     "fmIAiLCJleHAiOjE3MDAwMDAwMTB9.apaFwF34CBHVeESvt98-kjBniEe4wFkoO74PM1BFYzs",
     MPS_OK, "a",
     "\360\237\230\200\360\237\230\200\360\237\230\200\360\237\230\200\360\237\230\200\360\237\230"
     "\200\360\237\230\200\360\237\230\200\360\237\230\200\360\237\230\200\360\237\230\200\360\237"
     "\230\200\360\237\230\200\360\237\230\200\360\237\230\200\360\237\230\200\360\237\230\200\360"
     "\237\230\200\360\237\230\200\360\237\230\200\360\237\230\200\360\237\230\200\360\237\230\200"
     "\360\237\230\200\360\237\230\200\360\237\230\200\360\237\230\200\360\237\230\200\360\237\230"
     "\200\360\237\230\200\360\237\230\200\360\237\230\200",
     false, MPS_ROLE_PLAYER, false, 0},
    {"name empty",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwidXNlcm5hbWUiOiIiLCJleHAiOjE"
     "3MDAwMDAwMTB9.YMbXfS-lJZLUvGzGDrw1CBPnYDSa-XE1_RcOjOtZI-Q",
     MPS_OK, "a", "a", false, MPS_ROLE_PLAYER, false, 0},
    {"name control",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwidXNlcm5hbWUiOiJ4XHUwMDA3eSI"
     "sImV4cCI6MTcwMDAwMDAxMH0.wpv9oL5C8MsQcmX0-ZYmfSpDKmRjfiErvyRFXdX8wdk",
     MPS_OK, "a", "x\ay", false, MPS_ROLE_PLAYER, false, 0},
    {"username number",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwidXNlcm5hbWUiOjUsIm5hbWUiOiJ"
     "uIiwiZXhwIjoxNzAwMDAwMDEwfQ.426RRU4aC7E0FMXT3e2qkINtcFV-VZi6Okkl4_I8s50",
     MPS_OK, "a", "n", false, MPS_ROLE_PLAYER, false, 0},
    {"exp none",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIn0.9v0XPx2jBii5jHI4R3DcgkdgfeY"
     "9z6W_usj4YLDwPyo",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"exp string",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwiZXhwIjoiMTcwMDAwMDAxMCJ9._2"
     "_7KqF0w07FLI3sbGV__oHTCrqZTeF_pOwWP_Q7_kg",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"exp negative",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwiZXhwIjotMX0.Lu5mIhD7fRP0K5R"
     "XkaDDuxacpGB4K3A8cWu8xQnPtcI",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"exp huge",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwiZXhwIjoxZTE2fQ.Ahc7Qm75um5p"
     "4AA72jFmB9g7px-tX_6G0FdW4bufgPo",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"exp fraction",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwiZXhwIjoxNzAwMDAwMDAwLjV9.SG"
     "ost2nRFQX4XVgyvAsj_LJRYrhwcrRHUldcPiufLqs",
     MPS_OK, "a", "a", false, MPS_ROLE_PLAYER, false, 0},
    {"exp leeway",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwiZXhwIjoxNjk5OTk5OTQxfQ.aanh"
     "07vSI4JHyVvmyPWaKsgwN4tjj2d2zwRV-A01CwA",
     MPS_OK, "a", "a", false, MPS_ROLE_PLAYER, false, 0},
    {"exp past",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwiZXhwIjoxNjk5OTk5OTQwfQ.cFIf"
     "xt_6rmZuAQSy8ySeUD9FzlBoal92nEZjO_8zaYI",
     MPS_E_TOKEN_EXPIRED, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"nbf leeway",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwiZXhwIjoxNzAwMDAwMTAwLCJuYmY"
     "iOjE3MDAwMDAwNjB9.AAxGGTqEHSqiUB6_B0DcQPVXTDgqkPKVeGFPncAIDro",
     MPS_OK, "a", "a", false, MPS_ROLE_PLAYER, false, 0},
    {"nbf early",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwiZXhwIjoxNzAwMDAwMTAwLCJuYmY"
     "iOjE3MDAwMDAwNjF9.XYYPHGhwYrrd65JkUb4wnwT7GugtYqz6mQijRlG1PjU",
     MPS_E_TOKEN_EARLY, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"nbf string",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwiZXhwIjoxNzAwMDAwMTAwLCJuYmY"
     "iOiIxIn0.-RtINZ0PwXRHUjmDFpZNdhINGHY9mW1lTWPWqN_ngd0",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"auth_time",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJtcHNlcnZlciIsInN1YiI6ImEiLCJleHA"
     "iOjE3MDAwMDAxMDAsImlhdCI6MTY5OTk5OTk5NSwiYXV0aF90aW1lIjoxNjk5OTk5OTUwfQ.42NF0xS9"
     "AU8oQNy-dlenRf84fUFm79lQ3E1jybcdQRY",
     MPS_OK, "a", "a", false, MPS_ROLE_PLAYER, true, 1699999950},
    {"iat",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJtcHNlcnZlciIsInN1YiI6ImEiLCJleHA"
     "iOjE3MDAwMDAxMDAsImlhdCI6MTY5OTk5OTk5NX0._P-esda9_2rETdv40MlHZopA9mf5jhFIPptdGOO"
     "H4Ac",
     MPS_OK, "a", "a", false, MPS_ROLE_PLAYER, true, 1699999995},
    {"boot of nobody",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJlbHNlIiwic3ViIjoiYSIsImV4cCI6MTc"
     "wMDAwMDEwMCwiYm9vdCI6IjAwMTEyMjMzNDQ1NTY2YWEifQ.J3-JY5yYVF4-7-182Rv7oWMbEP86Egt6"
     "rLxMniwu-kc",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"boot of another run",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJtcHNlcnZlciIsInN1YiI6ImEiLCJleHA"
     "iOjE3MDAwMDAxMDAsImJvb3QiOiJmZmZmZmZmZmZmZmZmZmZmIn0.NggcFLRDyV6GotZvyE9uW39i_yt"
     "Km_ykY0iESUv5mVU",
     MPS_E_TOKEN_EXPIRED, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"boot number",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJtcHNlcnZlciIsInN1YiI6ImEiLCJleHA"
     "iOjE3MDAwMDAxMDAsImJvb3QiOjF9.ORAk1-AWGHDlf7bwIPMZNcaMUJCo-ZYthD3MCJfDWRc",
     MPS_E_TOKEN_EXPIRED, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"alg none",
     "eyJhbGciOiJub25lIn0.eyJpc3MiOiJtcHNlcnZlciIsInN1YiI6InUxIiwiZXhwIjoxNzAwMDAwMDEw"
     "fQ.",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"alg none signed",
     "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJpc3MiOiJtcHNlcnZlciIsInN1YiI6InUxIiwiZXhw"
     "IjoxNzAwMDAwMDEwfQ.kyXw5gDMs0amPbuF8Id-qvqsD85dJXlaGBzeF4A6n7I",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"alg HS512",
     "eyJhbGciOiJIUzUxMiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJtcHNlcnZlciIsInN1YiI6InUxIiwiZXh"
     "wIjoxNzAwMDAwMDEwfQ.3xaTrmFBL9Vs93QW9Mu-KuyccqlhoJbORdCl4DcpuM5bkW4JQnBTslyDHg1F"
     "DAcyd0DMskcKWSPUn3ltV3AUKA",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"alg HS512 cut",
     "eyJhbGciOiJIUzUxMiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJtcHNlcnZlciIsInN1YiI6InUxIiwiZXh"
     "wIjoxNzAwMDAwMDEwfQ._vMXDg5NjsWZfBmKJjJ56_JmZdRf8_j6nClS_Jo_Thk",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"alg RS256",
     "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJtcHNlcnZlciIsInN1YiI6InUxIiwiZXh"
     "wIjoxNzAwMDAwMDEwfQ.YBTq3rYarzRDYXi7PfF3besIH3xZXLzR7061ab9ndH49kSI-ir3Sdt3fsHba"
     "rK2fpMZP-ihP7rAw8NNWisqgDbbBXhUCIF9FIJYVXGpGtFsgRYx1rfzRkBqMzObqXtkTouqzn_yp2UMP"
     "1r4IxHV-w3EBmNdrTxABThELdh5Xj64",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"alg hs256",
     "eyJhbGciOiJoczI1NiJ9.eyJpc3MiOiJtcHNlcnZlciIsInN1YiI6InUxIiwiZXhwIjoxNzAwMDAwMDE"
     "wfQ.VMhEiOAPkXWHt74ct8raHPHHnn4FDp94djUG_L0q0-E",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"alg number",
     "eyJhbGciOjI1Nn0.eyJpc3MiOiJtcHNlcnZlciIsInN1YiI6InUxIiwiZXhwIjoxNzAwMDAwMDEwfQ.F"
     "ZW-jbfP6M9z9B0Qnn887MVLCiREs8tIRnVQWQfCuh8",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"alg absent",
     "eyJ0eXAiOiJKV1QifQ.eyJpc3MiOiJtcHNlcnZlciIsInN1YiI6InUxIiwiZXhwIjoxNzAwMDAwMDEwf"
     "Q.v-gNx3xwg5v1un6QE0oUWywQ8qKlQob0OwoRTYmo-KE",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"alg twice",
     "eyJhbGciOiJub25lIiwiYWxnIjoiSFMyNTYifQ.eyJpc3MiOiJtcHNlcnZlciIsInN1YiI6InUxIiwiZ"
     "XhwIjoxNzAwMDAwMDEwfQ.oUC1qJQlSsRwArSYumyxfjvZSadWShkcPuui1HNeLOE",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"alg escaped twice",
     "eyJcdTAwNjFsZyI6IkhTMjU2IiwiYWxnIjoiSFMyNTYifQ.eyJpc3MiOiJtcHNlcnZlciIsInN1YiI6I"
     "nUxIiwiZXhwIjoxNzAwMDAwMDEwfQ.UTuXxf_5vr7tef_Gyk40-PdX-tps0b6KgE64euJL6cw",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"header other members",
     "eyJraWQiOiIxIiwiYWxnIjoiSFMyNTYifQ.eyJpc3MiOiJtcHNlcnZlciIsInN1YiI6InUxIiwiZXhwI"
     "joxNzAwMDAwMDEwfQ.xDRocj1VQh99l05DDZctnGQwq4gJtSkDZZJuoYKtoK8",
     MPS_OK, "u1", "u1", false, MPS_ROLE_PLAYER, true, 1700000010},
    {"crit",
     "eyJhbGciOiJIUzI1NiIsImNyaXQiOlsiZXhwIl0sImV4cCI6MX0.eyJpc3MiOiJtcHNlcnZlciIsInN1"
     "YiI6InUxIiwiZXhwIjoxNzAwMDAwMDEwfQ.pc9YY9Yi46tdXLB4RG3artpBHbNMundFDBjjF4i2RBQ",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"crit empty",
     "eyJhbGciOiJIUzI1NiIsImNyaXQiOltdfQ.eyJpc3MiOiJtcHNlcnZlciIsInN1YiI6InUxIiwiZXhwI"
     "joxNzAwMDAwMDEwfQ.HOHVS9XDzplyo1cDho3SH3_TmL2qg7W3hfAFM0W9QyA",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"crit null",
     "eyJhbGciOiJIUzI1NiIsImNyaXQiOm51bGx9.eyJpc3MiOiJtcHNlcnZlciIsInN1YiI6InUxIiwiZXh"
     "wIjoxNzAwMDAwMDEwfQ.yamysHieGpWOVoj4rLqSEpkkoEySaJaalNTNThx0A-E",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"header array",
     "W10.eyJpc3MiOiJtcHNlcnZlciIsInN1YiI6InUxIiwiZXhwIjoxNzAwMDAwMDEwfQ.sBBU9_RrwF1im"
     "TWtcBOVJ03AdNMvotcuR8Sogq8SXY0",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"duplicate",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwiZXhwIjoxNzAwMDAwMDEwLCJleHA"
     "iOjE3MDAwMDAwMTF9.MYfQYxtTbY1j15JVWSMIGyhBTLEbcP9sfqi1bBJfOGY",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"duplicate unknown",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwiZXhwIjoxNzAwMDAwMDEwLCJ6Ijo"
     "xLCJ6IjoyfQ.zg7PK6KyZbTZOmR05faB2KktphzGMZTDcI02sL56MHU",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"duplicate inside",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwiZXhwIjoxNzAwMDAwMDEwLCJ6Ijp"
     "7InkiOjEsInkiOjJ9fQ.gWhrDKedaJ5r4DsMd9QGw7XQ6P99ABwv0fxKErxn4EU",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"payload array",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.WzFd.p-5HtOJYKrMyj967in67S-9FaHdIcbfuokVcJy"
     "YRnv0",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"payload none",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9..cVLo8EDh57-QB2rkOnEWX42e_bf9kwzMw6HRZWA5Up"
     "Y",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"trailing text",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwiZXhwIjoxNzAwMDAwMDEwfXg.Djx"
     "SvdUYeJ5J4I5D03awDMpKndDdTpP4fxVM_gAWDYU",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"other key",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJtcHNlcnZlciIsInN1YiI6InUxIiwiZXh"
     "wIjoxNzAwMDAwMDEwfQ.I0a17Zu518AgFLlcLzW5xdrNiKm4YZnsaVnCZeSnBFk",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"padding",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJtcHNlcnZlciIsInN1YiI6InUxIiwiZXh"
     "wIjoxNzAwMDAwMDEwfQ.urFP-cNJ2628yENds-fUf0erOuvR-KVvBAjliMFencY=",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"one byte less",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJtcHNlcnZlciIsInN1YiI6InUxIiwiZXh"
     "wIjoxNzAwMDAwMDEwfQ.urFP-cNJ2628yENds-fUf0erOuvR-KVvBAjliMFenc",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"no signature",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJtcHNlcnZlciIsInN1YiI6InUxIiwiZXh"
     "wIjoxNzAwMDAwMDEwfQ.",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"two parts",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJtcHNlcnZlciIsInN1YiI6InUxIiwiZXh"
     "wIjoxNzAwMDAwMDEwfQ",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"four parts",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJtcHNlcnZlciIsInN1YiI6InUxIiwiZXh"
     "wIjoxNzAwMDAwMDEwfQ.urFP-cNJ2628yENds-fUf0erOuvR-KVvBAjliMFencY.",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"stray bits",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJtcHNlcnZlciIsInN1YiI6InUxIiwiZXh"
     "wIjoxNzAwMDAwMDEwfQ.urFP-cNJ2628yENds-fUf0erOuvR-KVvBAjliMFencZ",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"plain base64 header",
     "+/+/.eyJpc3MiOiJtcHNlcnZlciIsInN1YiI6InUxIiwiZXhwIjoxNzAwMDAwMDEwfQ.OXzwIy34FUEq"
     "igcjr34ER-B-GBXXfJcmmZy1tKPPg-k",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"bad payload base64",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30*.S0HAxjC4LLKeUfAUmgRGzr_t6iF248e5cr3gfl"
     "iCpJ0",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"space in front",
     " eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJtcHNlcnZlciIsInN1YiI6InUxIiwiZX"
     "hwIjoxNzAwMDAwMDEwfQ.urFP-cNJ2628yENds-fUf0erOuvR-KVvBAjliMFencY",
     MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"empty", "", MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
    {"dots", "..", MPS_E_TOKEN_INVALID, NULL, NULL, false, MPS_ROLE_PLAYER, false, 0},
};

static void auth_tokens(void) {
    struct auth a;
    auth_test_start(&a, "");
    for (size_t i = 0; i < COUNT_OF(auth_rows); i++) {
        const struct auth_row *row = &auth_rows[i];
        struct auth_claims claims;
        bool here;
        int failed = checks_failed;
        mps_error got =
            auth_test_verify(&a, AUTH_TEST_S, 5, true, span_z(row->token), &claims, &here);
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
        if (checks_failed > failed) {
            printf("  in row \"%s\"\n", row->name);
        }
    }
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

struct audience_row {
    const char *name, *token;
    bool good;
};

static const struct audience_row audience_rows[] = {
    {"string",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwiZXhwIjoxNzAwMDAwMDEwLCJhdWQ"
     "iOiJnYW1lIn0.pUtk2e7M62V4pQsJzihzswpoAfIaD3qFS6ZitOFGDu0",
     true},
    {"other",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwiZXhwIjoxNzAwMDAwMDEwLCJhdWQ"
     "iOiJnYW1lcyJ9._VxmWvpCl7euRnebRDHhwp37kuNYoSJonGrxJu9COVA",
     false},
    {"array",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwiZXhwIjoxNzAwMDAwMDEwLCJhdWQ"
     "iOlsieCIsImdhbWUiXX0.HTTY6EUpU4b-z-UMVwexrxbZoFWtmMcQsmdTuo7ujvw",
     true},
    {"array without",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwiZXhwIjoxNzAwMDAwMDEwLCJhdWQ"
     "iOlsieCIsMSxudWxsXX0.mz8XM0hZ_UO7bQQPKohgSw_slgE-ym1a9QvuiPbhqMY",
     false},
    {"array empty",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwiZXhwIjoxNzAwMDAwMDEwLCJhdWQ"
     "iOltdfQ.NguYNfQQlWqRPfNJlcLLrgBC6Dc-6h9AhbjgTRSzmQw",
     false},
    {"absent",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwiZXhwIjoxNzAwMDAwMDEwfQ.nHoO"
     "N0RP_mEKr-HlnwArhtE3oipF0Hg-Y8Os6m1qwVw",
     false},
    {"number",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwiZXhwIjoxNzAwMDAwMDEwLCJhdWQ"
     "iOjV9.spqtmHYwqLPmXIh5zyv1uo3Eepu_Q8VxxNE4BkAiXHU",
     false},
    {"object",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwiZXhwIjoxNzAwMDAwMDEwLCJhdWQ"
     "iOnsiYSI6ImdhbWUifX0.HkrFZUP6hrAXPK6a922FR4XTxChSxtAepE7lK-gnMg8",
     false},
    {"escaped",
     "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhIiwiZXhwIjoxNzAwMDAwMDEwLCJhdWQ"
     "iOiJnYW1lIn0.pUtk2e7M62V4pQsJzihzswpoAfIaD3qFS6ZitOFGDu0",
     true},
};

static void auth_audience(void) {
    struct auth with, without;
    struct auth_claims claims;
    bool here;
    auth_test_start(&with, "game");
    auth_test_start(&without, "");
    for (size_t i = 0; i < COUNT_OF(audience_rows); i++) {
        struct span token = span_z(audience_rows[i].token);
        CHECK_INT(auth_test_verify(&with, AUTH_TEST_S, 5, true, token, &claims, &here),
                  audience_rows[i].good ? MPS_OK : MPS_E_TOKEN_INVALID);
        CHECK(here);
        CHECK_INT(auth_test_verify(&without, AUTH_TEST_S, 5, true, token, &claims, &here), MPS_OK);
    }
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
    {"tokens", auth_tokens}, {"flips", auth_flips},     {"audience", auth_audience},
    {"mints", auth_mints},   {"longest", auth_longest}, {"boot_tokens", auth_boot_tokens},
};

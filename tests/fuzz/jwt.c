/* jwt: a token, the claims of one, a header, a user's texts. What is minted verifies and says who
   it is for; with any byte changed it does not verify; who cannot sign gets no further than the
   signature. */

static const char jwt_secret[] = "the fuzzers' secret of 32 bytes.";
#define JWT_NOW_S INT64_C(1771070400)

/* `strict`: the issuer and the audience must be ours. */
static struct auth jwt_auth(bool strict) {
    struct auth a = {.issuer_required = strict};
    hmac256_start(&a.key, jwt_secret, sizeof jwt_secret - 1);
    copy_z(a.issuer, sizeof a.issuer, strict ? SPAN("fuzz") : SPAN("mpserver"));
    copy_z(a.audience, sizeof a.audience, strict ? SPAN("game") : SPAN(""));
    copy_z(a.boot, sizeof a.boot, SPAN("0123456789abcdef"));
    return a;
}

static mps_error jwt_verify(const struct auth *a, i64 now_s, struct span token,
                            struct auth_claims *claims, bool *signed_here) {
    char *work = malloc(AUTH_TOKEN_BYTES_MAX), *copy = exact_copy(token.at, token.bytes);
    struct auth_clock clock = {now_s, 1000, now_s != 0};
    mps_error error = auth_verify(a, &clock, span_of(copy, token.bytes), work, AUTH_TOKEN_BYTES_MAX,
                                  claims, signed_here);
    FUZZ_CHECK(error != MPS_OK || *signed_here);
    free(work);
    free(copy);
    return error;
}

static void jwt_put_part(struct text *t, struct span part) {
    char *digits = malloc(part.bytes / 3 * 4 + 4);
    text_add(t, span_of(digits, base64url_write((const u8 *)part.at, part.bytes, digits)));
    free(digits);
}

static struct text jwt_sign(struct span header, struct span payload) {
    struct text t = exact_text(2 * (header.bytes + payload.bytes) + 128);
    struct auth a = jwt_auth(false);
    u8 signature[32];
    jwt_put_part(&t, header);
    text_char(&t, '.');
    jwt_put_part(&t, payload);
    hmac256_add(&a.key, t.at, t.bytes);
    hmac256_finish(&a.key, signature);
    text_char(&t, '.');
    jwt_put_part(&t, span_of((char *)signature, sizeof signature));
    FUZZ_CHECK(!t.cut);
    return t;
}

/* `token` verifies; four others that differ from it in a byte do not, nor count as ours. */
static void check_forgeries(const struct input *in, const struct auth *a, i64 now_s,
                            struct span token) {
    struct auth_claims claims;
    bool signed_here;
    for (u32 i = 0; i < 4; i++) {
        char *forged = exact_copy(token.at, token.bytes);
        size_t at = input_pick(in, 20 + i, token.bytes);
        forged[at] = (char)((u8)forged[at] ^ (1 + input_pick(in, 30 + i, 255)));
        FUZZ_CHECK(jwt_verify(a, now_s, span_of(forged, token.bytes), &claims, &signed_here));
        FUZZ_CHECK(!signed_here);
        free(forged);
    }
    FUZZ_CHECK(jwt_verify(a, now_s, span_of(token.at, token.bytes - 1), &claims, &signed_here));
}

/* Mints for `who` as another issuer, whose tokens the strict one takes, for a minute. */
static void check_minted(const struct input *in, const mps_identity *who) {
    char token[2048];
    struct auth strict = jwt_auth(true), loose = jwt_auth(false);
    struct auth_claims claims;
    bool signed_here;
    mps_token_claims grant = {who, "fuzz", "game", JWT_NOW_S, 60};
    size_t bytes = mps_token_mint(&grant, jwt_secret, sizeof jwt_secret - 1, token, sizeof token);
    struct span minted = span_of(token, bytes);
    FUZZ_CHECK((bytes > 0) == id_valid(span_z(who->id)));
    if (!bytes) {
        return;
    }
    FUZZ_CHECK(token[bytes] == 0 && strlen(token) == bytes);
    FUZZ_CHECK(jwt_verify(&strict, JWT_NOW_S, minted, &claims, &signed_here) == MPS_OK);
    FUZZ_CHECK(claims.ours && claims.auth_time == JWT_NOW_S && claims.who.role == who->role);
    FUZZ_CHECK(span_equal(span_z(claims.who.id), span_z(who->id)));
    FUZZ_CHECK(claims.who.id_is_number == who->id_is_number);
    struct span name = span_z(who->name);
    name = name_valid(name, NAME_POINTS_MAX) ? name : span_z(who->id);
    name = utf8_cut(name, NAME_POINTS_MAX);
    FUZZ_CHECK(span_equal(span_z(claims.who.name), name));
    FUZZ_CHECK(jwt_verify(&loose, JWT_NOW_S, minted, &claims, &signed_here) == MPS_OK);
    FUZZ_CHECK(!claims.ours);
    FUZZ_CHECK(jwt_verify(&strict, JWT_NOW_S + 119, minted, &claims, &signed_here) == MPS_OK);
    FUZZ_CHECK(jwt_verify(&strict, JWT_NOW_S + 120, minted, &claims, &signed_here) ==
               MPS_E_TOKEN_EXPIRED);
    FUZZ_CHECK(jwt_verify(&strict, 0, minted, &claims, &signed_here) == MPS_E_CLOCK_UNSET);
    check_forgeries(in, &strict, JWT_NOW_S, minted);
    FUZZ_CHECK(mps_token_mint(&grant, jwt_secret, sizeof jwt_secret - 1, token, bytes) == 0);
    FUZZ_CHECK(mps_token_mint(&grant, jwt_secret, sizeof jwt_secret - 1, token, bytes + 1));
}

/* The bytes as claims that somebody with the key signed. */
static void check_claims(const struct input *in, bool strict, i64 now_s) {
    struct auth a = jwt_auth(strict);
    struct auth_claims claims;
    bool signed_here;
    struct text token = jwt_sign(SPAN(auth_header), span_of((const char *)in->at, in->bytes));
    mps_error error = jwt_verify(&a, now_s, text_span(&token), &claims, &signed_here);
    FUZZ_CHECK(signed_here == (token.bytes <= AUTH_TOKEN_BYTES_MAX));
    if (error == MPS_OK) {
        FUZZ_CHECK(id_valid(span_z(claims.who.id)) && claims.who.role <= MPS_ROLE_ADMIN);
        FUZZ_CHECK(name_valid(span_z(claims.who.name), NAME_POINTS_MAX));
        check_forgeries(in, &a, now_s, text_span(&token));
        check_minted(in, &claims.who);
    }
    free(token.at);
}

/* The bytes as a header; only one that names HS256 is looked at further. */
static void check_header(const struct input *in) {
    struct auth a = jwt_auth(false);
    struct auth_claims claims;
    struct span header = span_of((const char *)in->at, in->bytes);
    bool signed_here, spelled = false;
    struct text token = jwt_sign(header, SPAN("{\"sub\":\"a\",\"exp\":1771074000}"));
    mps_error error = jwt_verify(&a, JWT_NOW_S, text_span(&token), &claims, &signed_here);
    for (size_t i = 0; i + 5 <= header.bytes; i++) {
        spelled |= memcmp(header.at + i, "HS256", 5) == 0 || header.at[i] == '\\';
    }
    FUZZ_CHECK(error == (signed_here ? MPS_OK : MPS_E_TOKEN_INVALID) && (spelled || !signed_here));
    free(token.at);
}

/* The bytes as what a game says of a user: an id, a line end, a name. */
static void check_identity(const struct input *in) {
    mps_identity who = {.role = (mps_role)input_pick(in, 40, 3)};
    const char *at = (const char *)in->at, *end = at + in->bytes;
    const char *line = in->bytes ? http_find(at, end, '\n') : at;
    struct span id = http_between(at, line), name = http_between(line < end ? line + 1 : end, end);
    id.bytes = size_min(id.bytes, MPS_ID_BYTES_MAX);
    name.bytes = size_min(name.bytes, MPS_NAME_BYTES_MAX);
    if (copy_z(who.id, sizeof who.id, id) && copy_z(who.name, sizeof who.name, name)) {
        check_minted(in, &who);
        FUZZ_CHECK(identity_complete(&who) == id_valid(span_z(who.id)));
    }
}

static void fuzz_jwt(const struct input *in) {
    struct auth a = jwt_auth(false);
    struct auth_claims claims;
    bool signed_here;
    struct span token = span_of((const char *)in->at, in->bytes);
    if (jwt_verify(&a, JWT_NOW_S, token, &claims, &signed_here) == MPS_OK) {
        check_forgeries(in, &a, JWT_NOW_S, token);
    }
    if (in->bytes <= AUTH_TOKEN_BYTES_MAX) {
        check_claims(in, false, JWT_NOW_S);
        check_claims(in, true, JWT_NOW_S);
        check_claims(in, false, 0);
        check_header(in);
        check_identity(in);
    }
}

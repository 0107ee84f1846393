/* Section 10 and 12: text, spans, the error table. */

static void base_text_is_cut_not_overrun(void) {
    char buffer[5] = "####";
    struct text t = text_on(buffer, 4);
    text_u64(&t, 123);
    CHECK(!t.cut);
    text_i64(&t, -45);
    CHECK(t.cut);
    CHECK_TEXT(t.at, t.bytes, "123-");
    CHECK_INT(buffer[4], 0);
}

static void base_numbers(void) {
    char buffer[64];
    struct text t = text_on(buffer, sizeof buffer);
    text_i64(&t, INT64_MIN);
    text_char(&t, ' ');
    text_padded(&t, 7, 3);
    text_char(&t, ' ');
    text_padded(&t, 234, 3);
    text_char(&t, ' ');
    text_u64(&t, UINT64_MAX);
    CHECK_TEXT(t.at, t.bytes, "-9223372036854775808 007 234 18446744073709551615");
}

static void base_errors_are_unique(void) {
    for (size_t i = 0; i < COUNT_OF(errors); i++) {
        for (size_t j = 0; j < i; j++) {
            CHECK(errors[i].error != errors[j].error);
            /* One code may be told in several sentences, but never with two statuses. */
            CHECK(strcmp(errors[i].code, errors[j].code) != 0 || errors[i].http == errors[j].http);
        }
        CHECK(errors[i].text[strlen(errors[i].text) - 1] == '.');
    }
    CHECK(strcmp(mps_error_code(MPS_E_LOBBY_FULL), "lobby_full") == 0);
}

static const struct check_test base_tests[] = {
    {"text_is_cut_not_overrun", base_text_is_cut_not_overrun},
    {"numbers", base_numbers},
    {"errors_are_unique", base_errors_are_unique},
};

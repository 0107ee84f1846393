/* Section 32: UTF-8, the JSON reader and writer, numbers. Every text is copied into a heap block of
   its exact size first, so that the sanitizers see a read beyond its end. */

#include "conformance/rfc8259.h"

static char *json_copy(const char *text, size_t bytes) {
    char *copy = malloc(bytes ? bytes : 1);
    if (!copy) {
        abort();
    }
    memcpy(copy, text, bytes);
    return copy;
}

static void json_expect(const struct json_row *row, bool accepted, const struct json_fault *fault,
                        const char *how) {
    bool right = row->position == OK ? accepted : !accepted && fault->position == row->position;
    if (!right || (!accepted && fault->text[strlen(fault->text) - 1] != '.')) {
        checks_failed++;
        printf("%s %.*s: %s at %d\n", how, (int)row->bytes, row->text, fault->text,
               (int)fault->position);
    }
}

static void json_row_check(const void *at) {
    const struct json_row *row = at;
    struct json_fault fault = {0, "Accepted."};
    char *copy = json_copy(row->text, row->bytes);
    json_expect(row, json_check(copy, row->bytes, &fault), &fault, "check");
    CHECK(memcmp(copy, row->text, row->bytes) == 0);
    free(copy);
}

static void json_accepts_and_refuses(void) {
    CONFORMANCE("rfc8259 texts", json_rows, json_row_check);
}

/* The same rows by json_object: by themselves, and as a member of an object. */
static void json_object_accepts_and_refuses(void) {
    static const char *const keys[] = {"x"};
    for (size_t i = 0; i < COUNT_OF(json_rows); i++) {
        struct json_row row = json_rows[i];
        struct json_value value;
        struct json_fault fault = {0, "Accepted."};
        char *copy = json_copy(row.text, row.bytes);
        size_t space = (size_t)(json_skip_space((u8 *)copy, (u8 *)copy + row.bytes) - (u8 *)copy);
        row.position = space < row.bytes && copy[space] == '{' ? row.position : space;
        json_expect(&row, json_object(copy, row.bytes, keys, 1, &value, &fault), &fault, "object");
        CHECK_INT(value.type, JSON_ABSENT);
        free(copy);
    }
}

/* A valid text cut anywhere is refused at its end, unless the beginning is a value already. */
static void json_refuses_cut_texts(void) {
    for (size_t i = 0; i < COUNT_OF(json_rows); i++) {
        const struct json_row *row = &json_rows[i];
        size_t start = 0;
        while (start < row->bytes && json_is_space((u8)row->text[start])) {
            start++;
        }
        bool whole = start < row->bytes && strchr("-0123456789", row->text[start]);
        for (size_t cut = 0; cut < row->bytes && row->position == OK; cut++) {
            struct json_fault fault = {0, ""};
            char *copy = json_copy(row->text, cut);
            bool accepted = json_check(copy, cut, &fault);
            /* Behind the value only white space was cut; of a number a digit is left. */
            size_t end = row->bytes;
            while (end && json_is_space((u8)row->text[end - 1])) {
                end--;
            }
            bool complete = cut >= end || (whole && cut && ascii_digit((u8)row->text[cut - 1]));
            CHECK_INT(accepted, complete);
            CHECK(accepted || fault.position == cut || !utf8_valid(span_of(copy, cut)));
            CHECK(accepted || strcmp(fault.text, "The text ends too early.") == 0 ||
                  !utf8_valid(span_of(copy, cut)));
            free(copy);
        }
    }
}

static void json_object_notes_members(void) {
    static const char *const keys[] = {"code", "n", "list", "o", "none", "", "\xC3\xA9"};
    static const char text[] =
        " {\"code\":\"first\", \"deep\":{\"n\":1,\"none\":2}, \"n\" : -1.5e3 ,"
        "\"list\":[ 1, {\"none\":3}] ,\"o\":{ },\"\":null,\"\\u00e9\":true,"
        "\"\\u0063o\\u0064e\":\"last\",\"codes\":1,\"cod\":2} ";
    static const char *const want[] = {"\"last\"", "-1.5e3", "[ 1, {\"none\":3}]", "{ }", "",
                                       "null",     "true"};
    static const enum json_type types[] = {JSON_STRING, JSON_NUMBER, JSON_ARRAY, JSON_OBJECT,
                                           JSON_ABSENT, JSON_NULL,   JSON_TRUE};
    struct json_value values[COUNT_OF(keys)];
    struct json_fault fault;
    size_t bytes = sizeof text - 1;
    char *copy = json_copy(text, bytes);
    CHECK(json_object(copy, bytes, keys, COUNT_OF(keys), values, &fault));
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        CHECK_INT(values[i].type, types[i]);
        CHECK_TEXT(values[i].at ? values[i].at : "", values[i].bytes, want[i]);
    }
    CHECK(memcmp(copy, text, bytes) == 0);
    CHECK(json_object(copy, bytes, NULL, 0, NULL, &fault));
    CHECK(!json_object(copy, bytes - 2, keys, COUNT_OF(keys), values, &fault));
    CHECK_INT(fault.position, bytes - 2);
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        CHECK_INT(values[i].type, JSON_ABSENT);
    }
    CHECK(json_object(copy, 0, keys, 0, values, &fault) == false);
    CHECK_INT(fault.position, 0);
    free(copy);
}

/* Any checked text as a value; white space around it is not part of it. */
static struct json_value json_value_of(char *text, size_t bytes) {
    struct json_fault fault;
    CHECK(json_check(text, bytes, &fault));
    return (struct json_value){json_type_of((u8)text[0]), text, bytes};
}

static void json_walks(void) {
    char text[] =
        "[ 1,\"a]\\\"[\" , [ ] ,{\"k\" : [2,{}],\n\"\\\\\":null , \"e\":{}} ,true, -0.5e1 ]";
    static const char *const want[] = {
        "1", "\"a]\\\"[\"", "[ ]", "{\"k\" : [2,{}],\n\"\\\\\":null , \"e\":{}}", "true", "-0.5e1"};
    static const char *const members[][2] = {
        {"\"k\"", "[2,{}]"}, {"\"\\\\\"", "null"}, {"\"e\"", "{}"}};
    struct json_value key, value, object = {JSON_ABSENT, NULL, 0};
    struct json_walk w = json_walk_into(json_value_of(text, sizeof text - 1));
    size_t count = 0;
    for (; count < COUNT_OF(want) && json_walk_element(&w, &value); count++) {
        CHECK_TEXT(value.at, value.bytes, want[count]);
        CHECK_INT(value.type, json_type_of((u8)want[count][0]));
        object = value.type == JSON_OBJECT ? value : object;
    }
    CHECK_INT(count, COUNT_OF(want));
    CHECK(!json_walk_element(&w, &value));
    CHECK(!json_walk_element(&w, &value));
    w = json_walk_into(object);
    for (count = 0; count < COUNT_OF(members) && json_walk_member(&w, &key, &value); count++) {
        CHECK_INT(key.type, JSON_STRING);
        CHECK_TEXT(key.at, key.bytes, members[count][0]);
        CHECK_TEXT(value.at, value.bytes, members[count][1]);
    }
    CHECK_INT(count, COUNT_OF(members));
    CHECK(!json_walk_member(&w, &key, &value));
    char empty[] = "{ }";
    w = json_walk_into(json_value_of(empty, 3));
    CHECK(!json_walk_member(&w, &key, &value));
    char empty_array[] = "[]";
    w = json_walk_into(json_value_of(empty_array, 2));
    CHECK(!json_walk_element(&w, &value));
}

static void json_decodes_strings(void) {
    static const struct {
        const char *token, *want;
        size_t bytes;
    } rows[] = {
#define STRING(token, want) {token, want, sizeof(want) - 1}
        STRING("\"\"", ""),
        STRING("\"plain\"", "plain"),
        STRING("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t"),
        STRING("\"a\\u0000b\"", "a\0b"),
        STRING("\"\\u007f\\u0080\\u07ff\\u0800\\uffff\"",
               "\x7F\xC2\x80\xDF\xBF\xE0\xA0\x80\xEF\xBF\xBF"),
        STRING("\"\\ud7ff\\ue000\"", "\xED\x9F\xBF\xEE\x80\x80"),
        STRING("\"\\ud800\\udc00\\udbff\\udfff\"", "\xF0\x90\x80\x80\xF4\x8F\xBF\xBF"),
        STRING("\"\\uD83D\\uDE00\"", "\xF0\x9F\x98\x80"),
        STRING("\"x\\u00e9y\xC3\xA9z\\n\"", "x\xC3\xA9y\xC3\xA9z\n"),
        STRING("\"\\\\u0041\"", "\\u0041"),
        STRING("\"abcdefghijk\\tlmnopqrstuvw\"", "abcdefghijk\tlmnopqrstuvw"),
        STRING("\"\\u0041\\u0042\"", "AB"),
#undef STRING
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        size_t bytes = strlen(rows[i].token);
        char *copy = json_copy(rows[i].token, bytes);
        struct json_value value = json_value_of(copy, bytes);
        struct span s;
        CHECK(json_string(&value, &s));
        CHECK(span_equal(s, span_of(rows[i].want, rows[i].bytes)));
        CHECK(s.at == copy + 1);
        CHECK(strchr(rows[i].token, '\\') || memcmp(copy, rows[i].token, bytes) == 0);
        CHECK(!json_string(&value, &s));
        free(copy);
    }
    char number[] = "12";
    struct json_value value = json_value_of(number, 2);
    struct span s;
    CHECK(!json_string(&value, &s));
    CHECK_INT(value.type, JSON_NUMBER);
}

static void json_finds_duplicates(void) {
    static const struct {
        const char *text;
        u32 members_max;
        bool duplicates;
    } rows[] = {
        {"{}", 0, false},
        {"1", 0, false},
        {"\"{\\\"a\\\":1,\\\"a\\\":1}\"", 9, false},
        {"{\"a\":1}", 1, false},
        {"{\"a\":1}", 0, true},
        {"{\"a\":1,\"b\":2}", 2, false},
        {"{\"a\":1,\"b\":2}", 1, true},
        {"{\"a\":1,\"a\":1}", 9, true},
        {"{\"a\":1,\"\\u0061\":1}", 9, true},
        {"{\"\\ud83d\\ude00\":1,\"\xF0\x9F\x98\x80\":1}", 9, true},
        {"{\"/\":1,\"b\":2,\"\\/\":1}", 9, true},
        {"{\"a\":1,\"A\":1,\"aa\":1,\"\":1,\"a\\u0000\":1}", 9, false},
        {"{\"\":1,\"\":1}", 9, true},
        {"{\"a\":{\"a\":{\"a\":1}}}", 1, false},
        {"[{\"a\":1},{\"a\":1}]", 1, false},
        {"[1,[{\"b\":[{\"x\":1,\"y\":{},\"x\":1}]}]]", 9, true},
        {"{\"a\":\"b\",\"b\":\"a\",\"c\":\"\\\",\\\"a\\\":\"}", 9, false},
        {"{\"a\":[\"x\",\"x\"],\"x\":\"a\"}", 9, false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        size_t bytes = strlen(rows[i].text);
        char *copy = json_copy(rows[i].text, bytes);
        CHECK_INT(json_has_duplicates(json_value_of(copy, bytes), rows[i].members_max),
                  rows[i].duplicates);
        free(copy);
    }
}

/* Objects of many members, so that names are compared across batches. */
static void json_finds_duplicates_among_many(void) {
    static char buffer[32768];
    for (u32 count = JSON_BATCH - 1; count <= 5 * JSON_BATCH; count += 1 + count % 31) {
        for (u32 twin = 0; twin <= count; twin += 1 + twin / 3) {
            struct text t = text_on(buffer, sizeof buffer);
            json_put_open(&t, '{');
            for (u32 i = 0; i <= count; i++) {
                char name[16];
                snprintf(name, sizeof name, "k%u", i == count ? twin : i);
                json_put_key(&t, name);
                json_put_raw(&t, SPAN("[{\"k1\":1}]"));
            }
            json_put_close(&t, '}');
            struct json_value value = json_value_of(t.at, t.bytes);
            CHECK_INT(json_has_duplicates(value, count + 1), twin < count);
            CHECK(json_has_duplicates(value, count));
        }
    }
}

static void json_reads_integers(void) {
    const i64 min = INT64_MIN, max = INT64_MAX, safe = INT64_C(1) << 53;
    const struct {
        const char *text;
        i64 min, max;
        bool accepted;
        i64 want;
    } rows[] = {
        {"0", min, max, true, 0},
        {"-0", min, max, true, 0},
        {"-0.0e9", 0, 0, true, 0},
        {"0e999999999999999999999999", 0, 0, true, 0},
        {"0.000", 1, max, false, 0},
        {"7", 7, 7, true, 7},
        {"8", 7, 7, false, 0},
        {"-8", -7, 7, false, 0},
        {"5.0", 0, 9, true, 5},
        {"5e0", 0, 9, true, 5},
        {"50e-1", 0, 9, true, 5},
        {"0.5e1", 0, 9, true, 5},
        {"0.005E+3", 0, 9, true, 5},
        {"5000000000000000000000e-21", 0, 9, true, 5},
        {"1.200", min, max, false, 0},
        {"1.25e2", min, max, true, 125},
        {"1.25e1", min, max, false, 0},
        {"1e-1", min, max, false, 0},
        {"1e-999999999999999999999999", min, max, false, 0},
        {"1e999999999999999999999999", min, max, false, 0},
        {"-1e18", min, max, true, -INT64_C(1000000000000000000)},
        {"9e18", min, max, true, INT64_C(9000000000000000000)},
        {"1e19", min, max, false, 0},
        {"-1e19", min, max, false, 0},
        {"9007199254740991", -safe, safe, true, safe - 1},
        {"9007199254740992", -safe, safe, true, safe},
        {"9007199254740993", -safe, safe, false, 0},
        {"9007199254740993", min, max, true, safe + 1},
        {"-9007199254740992", -safe, safe, true, -safe},
        {"-9007199254740993", -safe, safe, false, 0},
        {"9223372036854775807", min, max, true, INT64_MAX},
        {"9223372036854775808", min, max, false, 0},
        {"-9223372036854775808", min, max, true, INT64_MIN},
        {"-9223372036854775808.000", min, max, true, INT64_MIN},
        {"-9.223372036854775808e18", min, max, true, INT64_MIN},
        {"-9223372036854775809", min, max, false, 0},
        {"18446744073709551616", min, max, false, 0},
        {"9999999999999999999", min, max, false, 0},
        {"99999999999999999999", min, max, false, 0},
        {"true", min, max, false, 0},
        {"\"1\"", min, max, false, 0},
        {"null", min, max, false, 0},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        i64 got = 77;
        char *copy = json_copy(rows[i].text, strlen(rows[i].text));
        struct json_value value = json_value_of(copy, strlen(rows[i].text));
        CHECK_INT(json_i64(value, rows[i].min, rows[i].max, &got), rows[i].accepted);
        CHECK_INT(got, rows[i].accepted ? rows[i].want : 77);
        free(copy);
    }
}

static u64 json_bits_of(double v) {
    u64 bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static double json_from_bits(u64 bits) {
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* The bits read, UINT64_MAX when the number was refused. */
static u64 json_read_bits(char *text, size_t bytes) {
    double v = 0;
    return json_f64(json_value_of(text, bytes), &v) ? json_bits_of(v) : UINT64_MAX;
}

static void json_reads_doubles(void) {
    static const struct {
        const char *text;
        u64 bits;
    } rows[] = {
        {"0", 0},
        {"-0", UINT64_C(0x8000000000000000)},
        {"0e400", 0},
        {"-0.0e-400", UINT64_C(0x8000000000000000)},
        {"1", UINT64_C(0x3FF0000000000000)},
        {"-1.5", UINT64_C(0xBFF8000000000000)},
        {"0.1", UINT64_C(0x3FB999999999999A)},
        {"0.3", UINT64_C(0x3FD3333333333333)},
        {"0.30000000000000004", UINT64_C(0x3FD3333333333334)},
        {"1e22", UINT64_C(0x4480F0CF064DD592)},
        {"1e23", UINT64_C(0x44B52D02C7E14AF6)},
        {"9007199254740991", UINT64_C(0x433FFFFFFFFFFFFF)},
        {"9007199254740992", UINT64_C(0x4340000000000000)},
        {"9007199254740993", UINT64_C(0x4340000000000000)}, /* ties go to even */
        {"9007199254740993.0000000000000000000000001", UINT64_C(0x4340000000000001)},
        {"9007199254740994", UINT64_C(0x4340000000000001)},
        {"9007199254740995", UINT64_C(0x4340000000000002)},
        {"5e-324", 1},
        {"4.9406564584124654e-324", 1},
        {"2.4703282292062327e-324", 0}, /* just below half the smallest subnormal */
        {"2.4703282292062328e-324", 1},
        {"7.4109846876186981e-324", 1},
        {"7.4109846876186982e-324", 2},
        {"1e-323", 2},
        {"1e-324", 0},
        {"1e-325", 0},
        {"1e-400", 0},
        {"-1e-400", UINT64_C(0x8000000000000000)},
        {"1e-999999999999999999999999", 0},
        {"2.2250738585072009e-308", UINT64_C(0x000FFFFFFFFFFFFF)},
        {"2.2250738585072011e-308", UINT64_C(0x000FFFFFFFFFFFFF)},
        {"2.2250738585072012e-308", UINT64_C(0x0010000000000000)},
        {"2.2250738585072014e-308", UINT64_C(0x0010000000000000)},
        {"1.7976931348623157e308", UINT64_C(0x7FEFFFFFFFFFFFFF)},
        {"1.7976931348623158e308", UINT64_C(0x7FEFFFFFFFFFFFFF)},
        {"1.7976931348623159e308", UINT64_MAX},
        {"1.8e308", UINT64_MAX},
        {"1e309", UINT64_MAX},
        {"-1e310", UINT64_MAX},
        {"1e999999999999999999999999", UINT64_MAX},
        {"123456789012345678901234567890", UINT64_C(0x45F8EE90FF6C373E)},
        {"true", UINT64_MAX},
        {"\"1\"", UINT64_MAX},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char *copy = json_copy(rows[i].text, strlen(rows[i].text));
        u64 got = json_read_bits(copy, strlen(rows[i].text));
        if (got != rows[i].bits) {
            checks_failed++;
            printf("%s is %016llx, not %016llx\n", rows[i].text, (unsigned long long)got,
                   (unsigned long long)rows[i].bits);
        }
        free(copy);
    }
}

/* Zeros and digits that fill 64 KiB change nothing, or exactly what they should. */
static void json_reads_long_numbers(void) {
    static char text[65536];
    memset(text, '0', sizeof text);
    text[1] = '.';
    memcpy(text + 60002, "1e60001", 7); /* 0.000...1 with 60,000 zeros behind the point */
    CHECK(json_read_bits(text, 60009) == json_bits_of(1.0));
    i64 one = 0;
    CHECK(json_i64(json_value_of(text, 60009), 0, 9, &one) && one == 1);
    memset(text, '0', sizeof text);
    text[0] = '1';
    memcpy(text + 60001, "e-60000", 7);
    CHECK(json_read_bits(text, 60008) == json_bits_of(1.0));
    memset(text, '0', sizeof text);
    memcpy(text, "9007199254740993.", 17);
    CHECK(json_read_bits(text, sizeof text) == UINT64_C(0x4340000000000000));
    text[sizeof text - 1] = '1'; /* the 65,518th digit breaks the tie */
    CHECK(json_read_bits(text, sizeof text) == UINT64_C(0x4340000000000001));
    memset(text, '9', sizeof text);
    CHECK(json_read_bits(text, sizeof text) == UINT64_MAX);
    text[1] = '.';
    CHECK(json_read_bits(text, sizeof text) == json_bits_of(10.0));
}

/* The midpoint between a double and the next, in full, and a hair below and above it. */
static void json_reads_midpoints(void) {
    static const u64 patterns[] = {0,
                                   1,
                                   2,
                                   UINT64_C(0xFFFFFFFFFFFFE),
                                   UINT64_C(0xFFFFFFFFFFFFF),
                                   UINT64_C(0x10000000000000),
                                   UINT64_C(0x3FF0000000000000),
                                   UINT64_C(0x3FEFFFFFFFFFFFFF),
                                   UINT64_C(0x0010000000000001),
                                   UINT64_C(0x7FEFFFFFFFFFFFFE),
                                   UINT64_C(0x1234567890ABCDEF)};
    for (size_t i = 0; i < COUNT_OF(patterns); i++) {
        static char text[1600];
        long double low = (long double)json_from_bits(patterns[i]);
        long double high = (long double)json_from_bits(patterns[i] + 1);
        if (sizeof(long double) == sizeof(double)) {
            return; /* the midpoint cannot be printed */
        }
        int bytes = snprintf(text, sizeof text, "%.1150Lf", (low + high) / 2);
        u64 even = patterns[i] + (patterns[i] & 1);
        CHECK(json_read_bits(text, (size_t)bytes) == even);
        text[bytes] = '1';
        CHECK(json_read_bits(text, (size_t)bytes + 1) == patterns[i] + 1);
        int last = bytes - 1; /* the midpoint less one in its last place that is not 0 */
        while (text[last] == '0' || text[last] == '.') {
            last--;
        }
        text[last]--;
        CHECK(json_read_bits(text, (size_t)bytes) == patterns[i]);
    }
}

static void json_put_is(double v, const char *want) {
    char buffer[32];
    struct text t = text_on(buffer, sizeof buffer);
    json_put_f64(&t, v);
    CHECK_TEXT(t.at, t.bytes, want);
}

static void json_writes_doubles(void) {
    static const struct {
        double v;
        const char *want;
    } rows[] = {
        {0.0, "0"},
        {-0.0, "0"},
        {1.0, "1"},
        {-1.0, "-1"},
        {10.0, "10"},
        {1.5, "1.5"},
        {-12.375, "-12.375"},
        {0.1, "0.1"},
        {0.1 + 0.2, "0.30000000000000004"},
        {100.25, "100.25"},
        {1e5, "100000"},
        {123456789.0, "123456789"},
        {0.001, "0.001"},
        {1e-5, "0.00001"},
        {1e-6, "0.000001"},
        {1.25e-6, "0.00000125"},
        {1e-7, "1e-7"},
        {1.25e-7, "1.25e-7"},
        {-1.5e-10, "-1.5e-10"},
        {1e15, "1000000000000000"},
        {1e20, "100000000000000000000"},
        {123456789012345680000.0, "123456789012345680000"},
        {1e21, "1e+21"},
        {1.5e21, "1.5e+21"},
        {1e22, "1e+22"},
        {1e23, "1e+23"},
        {1.0000000000000001e23, "1.0000000000000001e+23"},
        {1e100, "1e+100"},
        {9007199254740991.0, "9007199254740991"},
        {9007199254740992.0, "9007199254740992"},
        {9007199254740994.0, "9007199254740994"},
        {9223372036854775808.0, "9223372036854776000"},
        {18446744073709551616.0, "18446744073709552000"},
        {5e-324, "5e-324"},
        {1e-323, "1e-323"},
        {1.5e-323, "1.5e-323"},
        {2.2250738585072011e-308, "2.225073858507201e-308"},
        {2.2250738585072014e-308, "2.2250738585072014e-308"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {-1.7976931348623157e308, "-1.7976931348623157e+308"},
        {4.35, "4.35"},
        {0.000035, "0.000035"},
        {3.141592653589793, "3.141592653589793"},
        {333333333.33333329, "333333333.3333333"},
        {4.5035996273704960e15, "4503599627370496"},
        {1.7800590868057611e-307, "1.7800590868057611e-307"},
        {5.684341886080802e-14, "5.684341886080802e-14"},
        {2e-3, "0.002"},
        {4.4501477170144023e-308, "4.4501477170144023e-308"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        json_put_is(rows[i].v, rows[i].want);
    }
}

/* SplitMix64: the same numbers on every machine. */
static u64 json_random(u64 *state) {
    u64 z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

/* The digits of the text written, without zeros at either end; how many there are. */
static int json_count_digits(const char *text, size_t bytes, char digits[40], int *point) {
    int count = 0, zeros = 0, exponent = 0;
    bool fraction = false;
    for (size_t i = 0; i < bytes && text[i] != 'e'; i++) {
        fraction |= text[i] == '.';
        if (ascii_digit((u8)text[i])) {
            exponent += !fraction && (count || text[i] != '0');
            exponent -= fraction && !count && text[i] == '0';
            if (count || text[i] != '0') {
                digits[count++] = text[i];
            }
        }
    }
    while (count > 1 && digits[count - 1] == '0') {
        count--;
        zeros++;
    }
    const char *e = memchr(text, 'e', bytes);
    digits[count] = 0;
    *point = exponent + (e ? atoi(e + 1) : 0);
    return count;
}

/* One pattern: libc reads what is written as the same double and so do we; both one digit fewer,
   rounded down and up, read as another one; of the texts of that length it is the nearest. */
static bool json_round_trips(u64 bits) {
    char text[40] = {0}, digits[40], other[64], nearest[64];
    double v = json_from_bits(bits);
    struct text t = text_on(text, sizeof text - 1);
    int point;
    json_put_f64(&t, v);
    if (t.cut || json_read_bits(t.at, t.bytes) != bits ||
        json_bits_of(strtod(text, NULL)) != bits) {
        return false;
    }
    int count = json_count_digits(t.at, t.bytes, digits, &point);
    if (count > 1) {
        unsigned long long shorter = strtoull(digits, NULL, 10) / 10;
        for (unsigned step = 0; step < 2; step++) {
            snprintf(other, sizeof other, "%llue%d", shorter + step, point - count + 1);
            if (json_bits_of(strtod(other, NULL)) == (bits & ~F64_SIGN)) {
                return false;
            }
        }
    }
    /* When the correctly rounded text of that length reads back, it must be the one written. */
    snprintf(nearest, sizeof nearest, "%.*e", count - 1, v);
    snprintf(other, sizeof other, "%s%.1s%s%se", bits & F64_SIGN ? "-" : "", digits,
             count > 1 ? "." : "", digits + 1);
    return json_bits_of(strtod(nearest, NULL)) != bits ||
           strncmp(nearest, other, strlen(other)) == 0;
}

static void json_doubles_round_trip(void) {
    u64 state = 1;
    int wrong = 0;
    for (u32 i = 0; i < 200000; i++) {
        u64 bits = json_random(&state);
        switch (i % 4) {
        case 1: /* of the size that games use */
            bits = (bits & ~((u64)F64_EXPONENT_MASK << 52)) | (u64)(1003 + bits % 41) << 52;
            break;
        case 2: /* subnormal */
            bits = (bits & F64_SIGN) | (bits >> 12 >> i / 4 % 52);
            break;
        default:
            break;
        }
        bits = (bits & ~F64_SIGN) < F64_INFINITY && (bits << 1) ? bits : 1;
        if (!json_round_trips(bits) && wrong++ < 5) {
            printf("%016llx %.17g\n", (unsigned long long)bits, json_from_bits(bits));
        }
    }
    for (u64 exponent = 0; exponent < F64_EXPONENT_MASK; exponent++) { /* powers of two, edges */
        u64 power = exponent << 52;
        wrong += (power && !json_round_trips(power)) || !json_round_trips(power + 1) ||
                 !json_round_trips(power | (F64_FRACTION_ONE - 1));
    }
    CHECK_INT(wrong, 0);
}

/* Decimals: those with few digits take the short way, those of 17 and more the long one. */
static void json_reads_as_libc_does(void) {
    u64 state = 2;
    int wrong = 0;
    for (u32 i = 0; i < 200000; i++) {
        char text[128];
        u64 a = json_random(&state), b = json_random(&state);
        int exponent = (int)(b % 700) - 350, bytes;
        switch (i % 5) {
        case 0:
            bytes = snprintf(text, sizeof text, "%.17g", json_from_bits(a));
            break;
        case 1:
            bytes = snprintf(text, sizeof text, "%llu.%llue%d", (unsigned long long)(a >> a % 64),
                             (unsigned long long)(b >> b % 64), exponent);
            break;
        case 2:
            bytes = snprintf(text, sizeof text, "-%lld.%03llu", (long long)(a % 100000),
                             (unsigned long long)(b % 1000));
            break;
        case 3:
            bytes = snprintf(text, sizeof text, "%llue%d", (unsigned long long)(a % 1000000000),
                             exponent / 12);
            break;
        default:
            bytes = snprintf(text, sizeof text, "0.%020llu%020llu%020lluE%d", (unsigned long long)a,
                             (unsigned long long)b, (unsigned long long)a, exponent);
            break;
        }
        if (strchr(text, 'n')) { /* nan, inf */
            continue;
        }
        u64 want = json_bits_of(strtod(text, NULL));
        want = (want & ~F64_SIGN) == F64_INFINITY ? UINT64_MAX : want;
        if (json_read_bits(text, (size_t)bytes) != want && wrong++ < 5) {
            printf("%s\n", text);
        }
    }
    CHECK_INT(wrong, 0);
}

static void json_writes(void) {
    char buffer[512];
    struct text t = text_on(buffer, sizeof buffer);
    json_put_open(&t, '{');
    json_put_key(&t, "a");
    json_put_open(&t, '[');
    json_put_i64(&t, -1);
    json_put_u64(&t, UINT64_MAX);
    json_put_open(&t, '[');
    json_put_close(&t, ']');
    json_put_open(&t, '{');
    json_put_close(&t, '}');
    json_put_null(&t);
    json_put_close(&t, ']');
    json_put_key(&t, "b");
    json_put_bool(&t, true);
    json_put_key(&t, "c,");
    json_put_bool(&t, false);
    json_put_key(&t, "d");
    json_put_string(&t, SPAN("{[:,"));
    json_put_key(&t, "e");
    json_put_raw(&t, SPAN("{\"x\": 1}"));
    json_put_key(&t, "f");
    json_put_f64(&t, -2.5);
    json_put_key(&t, "");
    json_put_string(&t, span_of(NULL, 0));
    json_put_close(&t, '}');
    CHECK_TEXT(t.at, t.bytes,
               "{\"a\":[-1,18446744073709551615,[],{},null],\"b\":true,\"c,\":false,"
               "\"d\":\"{[:,\",\"e\":{\"x\": 1},\"f\":-2.5,\"\":\"\"}");
    CHECK(!t.cut);
    json_value_of(t.at, t.bytes);
}

/* What is written as a string reads back, and only what must be is escaped. */
static void json_writes_strings(void) {
    char buffer[1024], all[160];
    struct text t = text_on(buffer, sizeof buffer);
    json_put_string(&t, span_of("\0\1\b\t\n\v\f\r\x1F \"\\/\x7F\xC3\xA9\xF0\x9F\x98\x80z", 21));
    CHECK_TEXT(t.at, t.bytes,
               "\"\\u0000\\u0001\\b\\t\\n\\u000b\\f\\r\\u001f \\\"\\\\/\x7F\xC3\xA9"
               "\xF0\x9F\x98\x80z\"");
    for (u32 i = 0; i < 128; i++) {
        all[i] = (char)i;
    }
    memcpy(all + 128, "\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC", 9);
    t = text_on(buffer, sizeof buffer);
    json_put_string(&t, span_of(all, 137));
    struct json_value value = json_value_of(t.at, t.bytes);
    struct span s;
    CHECK(json_string(&value, &s));
    CHECK(span_equal(s, span_of(all, 137)));
}

/* Special bytes at every place of a word, on every alignment. */
static void json_scans_by_words(void) {
    for (size_t offset = 0; offset < 9; offset++) {
        for (size_t length = 1; length < 26; length++) {
            for (int c = 0; c < 256; c++) {
                u8 text[40];
                memset(text, 'a', sizeof text);
                text[offset + length - 1] = (u8)c;
                const u8 *got = json_skip_plain(text + offset, text + offset + length);
                bool plain = c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
                CHECK(got == text + offset + length - !plain);
            }
        }
    }
}

static void json_utf8(void) {
    static const struct {
        const char *text;
        bool valid;
        size_t points, cut; /* cut: bytes of the first two code points */
    } rows[] = {
        {"", true, 0, 0},
        {"a", true, 1, 1},
        {"abc", true, 3, 2},
        {"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", true, 3, 5},
        {"a\xF0\x9F\x98\x80", true, 2, 5},
        {"\xF0\x9F\x98\x80\xF4\x8F\xBF\xBFx", true, 3, 8},
        {"abcdefghijklmnopq\xC2\x80", true, 18, 2},
        {"abcdefghijklmnopq\xC2", false, 0, 0},
        {"abcdefgh\x80", false, 0, 0},
        {"\xC0\xAF", false, 0, 0},
        {"\xC1\xBF", false, 0, 0},
        {"\xE0\x9F\xBF", false, 0, 0},
        {"\xED\xA0\x80", false, 0, 0},
        {"\xF0\x8F\xBF\xBF", false, 0, 0},
        {"\xF4\x90\x80\x80", false, 0, 0},
        {"\xF8\x88\x80\x80\x80", false, 0, 0},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char *copy = json_copy(rows[i].text, strlen(rows[i].text));
        struct span s = span_of(copy, strlen(rows[i].text));
        CHECK_INT(utf8_valid(s), rows[i].valid);
        if (rows[i].valid) {
            CHECK_INT(utf8_points(s), rows[i].points);
            CHECK_INT(utf8_cut(s, 2).bytes, rows[i].cut);
            CHECK_INT(utf8_cut(s, 0).bytes, 0);
            CHECK_INT(utf8_cut(s, rows[i].points).bytes, s.bytes);
            CHECK_INT(utf8_cut(s, SIZE_MAX).bytes, s.bytes);
        }
        free(copy);
    }
    CHECK(utf8_valid(span_of(NULL, 0)));
}

/* Every code point, encoded, is valid, and every surrogate is not. */
static void json_utf8_code_points(void) {
    int wrong = 0;
    for (u32 point = 0; point <= 0x110000; point++) {
        u8 bytes[UTF8_BYTES_MAX];
        u32 count = utf8_encode(point, bytes);
        bool want = point < 0x110000 && (point < 0xD800 || point > 0xDFFF);
        wrong += utf8_valid(span_of((char *)bytes, count)) != want;
        wrong += count > 1 && utf8_valid(span_of((char *)bytes, count - 1));
    }
    CHECK_INT(wrong, 0);
}

#undef OK
#undef ROW
#undef NEST4
#undef NEST8
#undef NEST31
#undef NEST32

static const struct check_test json_tests[] = {
    {"accepts_and_refuses", json_accepts_and_refuses},
    {"object_accepts_and_refuses", json_object_accepts_and_refuses},
    {"refuses_cut_texts", json_refuses_cut_texts},
    {"object_notes_members", json_object_notes_members},
    {"walks", json_walks},
    {"decodes_strings", json_decodes_strings},
    {"finds_duplicates", json_finds_duplicates},
    {"finds_duplicates_among_many", json_finds_duplicates_among_many},
    {"reads_integers", json_reads_integers},
    {"reads_doubles", json_reads_doubles},
    {"reads_long_numbers", json_reads_long_numbers},
    {"reads_midpoints", json_reads_midpoints},
    {"writes_doubles", json_writes_doubles},
    {"doubles_round_trip", json_doubles_round_trip},
    {"reads_as_libc_does", json_reads_as_libc_does},
    {"writes", json_writes},
    {"writes_strings", json_writes_strings},
    {"scans_by_words", json_scans_by_words},
    {"utf8", json_utf8},
    {"utf8_code_points", json_utf8_code_points},
};

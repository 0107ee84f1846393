/* json: a JSON text. What parses is written and parsed again to the same; a text that is cut ends
   too early or is whole, and a fault stays where it is; numbers mean what strtod says; members
   that are noted are those that a walk finds; twins are those that a comparison of all with all
   finds. */

#define TWINS_MAX 256 /* more members are not compared */

/* Whether the bytes are UTF-8, by decoding them: the arithmetic of RFC 3629, not its table. */
static bool utf8_by_value(const u8 *at, size_t bytes, size_t *points) {
    static const u32 least[5] = {0, 0, 0x80, 0x800, 0x10000};
    *points = 0;
    for (size_t i = 0; i < bytes; ++*points) {
        u32 count = at[i] < 0x80 ? 1 : at[i] >> 5 == 6 ? 2 : at[i] >> 4 == 14 ? 3 : 4;
        u32 point = count == 1 ? at[i] : at[i] & (0xFFu >> (count + 1));
        if ((count == 4 && at[i] >> 3 != 30) || bytes - i < count) {
            return false;
        }
        for (u32 k = 1; k < count; k++) {
            point = point << 6 | (at[i + k] & 0x3F);
            if (at[i + k] >> 6 != 2) {
                return false;
            }
        }
        if (point < least[count] || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF)) {
            return false;
        }
        i += count;
    }
    return true;
}

static void check_utf8(const struct input *in) {
    u8 *copy = exact_copy(in->at, in->bytes);
    struct span text = span_of((char *)copy, in->bytes);
    size_t points;
    bool valid = utf8_by_value(copy, in->bytes, &points);
    FUZZ_CHECK(utf8_valid(text) == valid);
    if (valid) {
        FUZZ_CHECK(utf8_points(text) == points);
        size_t part = input_pick(in, 1, points + 1);
        struct span cut = utf8_cut(text, part);
        FUZZ_CHECK(utf8_valid(cut) && utf8_points(cut) == part);
    }
    free(copy);
}

/* json_check of the first `count` bytes. */
static bool json_prefix_ok(const struct input *in, size_t count, size_t *position) {
    char *copy = exact_copy(in->at, count);
    struct json_fault fault = {0, ""};
    bool ok = json_check(copy, count, &fault);
    *position = fault.position;
    FUZZ_CHECK(ok || (fault.position <= count && fault.text[0]));
    free(copy);
    return ok;
}

/* Faults stand with the first byte that cannot be, or with the character or the escape that it
   belongs to; what merely ends is told at its end. */
static void check_json_cut(const struct input *in, bool whole_ok, size_t fault) {
    size_t position, cut = input_pick(in, 2, in->bytes + 1);
    bool ok = json_prefix_ok(in, cut, &position);
    if (whole_ok || cut <= fault) {
        bool halved = position < cut && cut - position <= 3 && in->at[position] >= 0x80;
        FUZZ_CHECK(ok || position == cut || halved);
    } else {
        FUZZ_CHECK(!ok && (position == fault || position == cut));
    }
    if (!whole_ok) {
        ok = json_prefix_ok(in, fault, &position);
        FUZZ_CHECK(ok || position == fault);
    }
}

static void check_f32(double number) {
    char text[64];
    struct text t = text_on(text, sizeof text - 1);
    float single = (float)number;
    if (number > POSITION_MAX || number < -POSITION_MAX) {
        return;
    }
    json_put_f32(&t, single);
    text[t.bytes] = 0;
    FUZZ_CHECK(!t.cut && strtof(text, NULL) == single);
}

/* A number token against the C library, which rounds correctly. */
static void check_number(struct json_value v) {
    struct text copy = exact_text(v.bytes + 1);
    double ours;
    i64 whole;
    text_add(&copy, span_of(v.at, v.bytes));
    text_char(&copy, 0);
    char *text = copy.at;
    double theirs = strtod(text, NULL);
    FUZZ_CHECK(json_f64(v, &ours) == (isfinite(theirs) != 0));
    if (isfinite(theirs)) {
        FUZZ_CHECK(memcmp(&ours, &theirs, sizeof ours) == 0);
        check_f32(ours);
    }
    if (json_i64(v, INT64_MIN, INT64_MAX, &whole)) {
        FUZZ_CHECK((double)whole == theirs);
        FUZZ_CHECK(json_i64(v, whole, whole, &whole));
        FUZZ_CHECK(whole == INT64_MAX || !json_i64(v, whole + 1, INT64_MAX, &whole));
    }
    free(text);
}

static void rewrite_scalar(struct text *t, struct json_value v) {
    struct span s;
    double d;
    if (v.type == JSON_NUMBER && json_f64(v, &d)) {
        check_number(v);
        json_put_f64(t, d);
    } else if (json_string(&v, &s)) {
        FUZZ_CHECK(utf8_valid(s));
        json_put_string(t, s);
    } else if (v.type == JSON_TRUE || v.type == JSON_FALSE) {
        json_put_bool(t, v.type == JSON_TRUE);
    } else if (v.type == JSON_NULL) {
        json_put_null(t);
    } else { /* a number beyond all doubles */
        check_number(v);
        json_put_raw(t, span_of(v.at, v.bytes));
    }
}

/* Writes a checked value anew: without white space, strings and numbers in the writer's form. */
static void rewrite(struct text *t, struct json_value value) {
    struct json_walk walks[JSON_DEPTH_MAX];
    bool objects[JSON_DEPTH_MAX];
    u32 depth = 0;
    for (bool more = true; more;) {
        if (value.type == JSON_ARRAY || value.type == JSON_OBJECT) {
            objects[depth] = value.type == JSON_OBJECT;
            json_put_open(t, objects[depth] ? '{' : '[');
            walks[depth++] = json_walk_into(value);
        } else {
            rewrite_scalar(t, value);
        }
        for (more = false; depth && !more;) {
            struct json_value key = {JSON_ABSENT, NULL, 0};
            struct json_walk *w = &walks[depth - 1];
            more = objects[depth - 1] ? json_walk_member(w, &key, &value)
                                      : json_walk_element(w, &value);
            if (key.type != JSON_ABSENT) {
                rewrite_scalar(t, key);
                text_char(t, ':');
            } else if (!more) {
                json_put_close(t, objects[--depth] ? '}' : ']');
            }
        }
    }
}

/* Does the object that begins behind `at` have twins or too many members? In a text that the
   writer made, equal names are equal bytes. */
static bool object_repeats(char *at, char *end, u32 members_max, bool *known) {
    struct json_walk w = {at, end};
    struct json_value keys[TWINS_MAX], value;
    u32 count = 0;
    bool twins = false;
    while (count < TWINS_MAX && json_walk_member(&w, &keys[count], &value)) {
        for (u32 i = 0; i < count; i++) {
            twins |= span_equal(span_of(keys[i].at, keys[i].bytes),
                                span_of(keys[count].at, keys[count].bytes));
        }
        count++;
    }
    *known &= count < TWINS_MAX;
    return twins || count > members_max;
}

static void check_twins(char *at, size_t bytes, u32 members_max) {
    bool found = false, known = true, quoted = false;
    for (size_t i = 0; i < bytes; i++) {
        if (quoted && at[i] == '\\') {
            i++;
        } else if (at[i] == '"') {
            quoted = !quoted;
        } else if (!quoted && at[i] == '{') {
            found |= object_repeats(at + i + 1, at + bytes, members_max, &known);
        }
    }
    struct json_value value = {json_type_of((u8)at[0]), at, bytes};
    FUZZ_CHECK(!known || json_has_duplicates(value, members_max) == found);
}

/* The last member of a name is the one that json_object notes; those of an object in it are noted
   in order. */
static void check_members(const struct input *in) {
    static const char *const keys[] = {"type", "data", "a", ""};
    struct json_value values[4], key, value, last[4] = {{0}};
    struct json_inner inner = {.of = &values[1]};
    struct json_fault fault;
    char *copy = exact_copy(in->at, in->bytes);
    if (json_object_in(copy, in->bytes, keys, 4, values, &inner, &fault)) {
        const u8 *open = json_skip_space((u8 *)copy, (u8 *)copy + in->bytes);
        size_t before = (size_t)(open - (u8 *)copy);
        struct json_walk w =
            json_walk_into((struct json_value){JSON_OBJECT, copy + before, in->bytes - before});
        while (json_walk_member(&w, &key, &value)) {
            for (u32 i = 0; i < 4; i++) {
                last[i] = json_is(&key, keys[i]) ? value : last[i];
            }
        }
        for (u32 i = 0; i < 4; i++) {
            FUZZ_CHECK(values[i].type == last[i].type && values[i].at == last[i].at &&
                       values[i].bytes == last[i].bytes);
        }
        u32 count = 0;
        if (values[1].type == JSON_OBJECT) {
            for (w = json_walk_into(values[1]); json_walk_member(&w, &key, &value); count++) {
                FUZZ_CHECK(count >= JSON_INNER_MAX ||
                           (inner.keys[count].at == key.at && inner.values[count].at == value.at &&
                            inner.values[count].bytes == value.bytes));
            }
            FUZZ_CHECK(inner.count == u32_min(count, JSON_INNER_MAX + 1));
        }
    }
    free(copy);
}

static void check_rewritten(const struct input *in) {
    char *copy = exact_copy(in->at, in->bytes);
    const u8 *open = json_skip_space((u8 *)copy, (u8 *)copy + in->bytes);
    char *start = copy + (open - (u8 *)copy);
    struct json_value value = {json_type_of(*open), start, in->bytes - (size_t)(start - copy)};
    if (value.type != JSON_ARRAY && value.type != JSON_OBJECT) {
        struct json_walk w = {start, copy + in->bytes};
        json_walk_value(&w, &value);
    }
    struct text once = exact_text(6 * in->bytes + 64), twice = exact_text(once.capacity);
    struct json_fault fault;
    rewrite(&once, value);
    FUZZ_CHECK(!once.cut && json_check(once.at, once.bytes, &fault));
    check_twins(once.at, once.bytes, UINT32_MAX);
    check_twins(once.at, once.bytes, 1 + (u32)input_pick(in, 3, 6));
    char *spent = exact_copy(once.at, once.bytes); /* strings are decoded in place */
    rewrite(&twice, (struct json_value){json_type_of((u8)spent[0]), spent, once.bytes});
    FUZZ_CHECK(!twice.cut && span_equal(text_span(&once), text_span(&twice)));
    free(spent);
    free(once.at);
    free(twice.at);
    free(copy);
}

static void fuzz_json(const struct input *in) {
    struct json_value none[1];
    struct json_fault fault;
    size_t position;
    const char *const keys[] = {"x"};
    check_utf8(in);
    bool ok = json_prefix_ok(in, in->bytes, &position);
    check_json_cut(in, ok, position);
    char *copy = exact_copy(in->at, in->bytes);
    const u8 *first = json_skip_space((u8 *)copy, (u8 *)copy + in->bytes);
    bool object = ok && *first == '{';
    FUZZ_CHECK(json_object(copy, in->bytes, keys, 1, none, &fault) == object);
    free(copy);
    if (ok) {
        check_members(in);
        check_rewritten(in);
    }
}

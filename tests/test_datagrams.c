/* Sections 38 and 46: numbers, and datagrams as JSON and as binary, read and written. */

/* Reads a copy of exactly its size, so that a sanitizer sees what reads behind the end. */
static bool datagram_read(const void *at, size_t bytes, struct packet *p, u8 **copy) {
    *copy = malloc(bytes + !bytes);
    if (bytes) {
        memcpy(*copy, at, bytes);
    }
    return packet_read(*copy, bytes, p);
}

#define AT "\"position\":{\"x\":1,\"y\":-2.5,\"z\":3e2},\"rotation\":{\"x\":0,\"y\":0.1,\"z\":-0}"
#define TOKEN_TEXT "000102030405060708090a0b0c0d0e0f"

static const struct {
    const char *text;
    int type; /* -1: none */
} datagram_rows[] = {
    {"{\"type\":\"join\",\"lobby_code\":\"A\",\"player_id\":1}", PACKET_JOIN},
    {"{\"type\":\"join\",\"lobby_code\":\"A\",\"player_id\":1.0,\"udp_token\":null}", PACKET_JOIN},
    {"{\"type\":\"join\",\"lobby_code\":\"A\",\"player_id\":4294967295,\"batch\":true}",
     PACKET_JOIN},
    {"{\"type\":\"join\",\"lobby_code\":\"A\",\"player_id\":1,\"udp_token\":\"" TOKEN_TEXT "\"}",
     PACKET_JOIN},
    {"{\"type\":\"join\",\"lobby_code\":\"A\",\"player_id\":0}", -1},
    {"{\"type\":\"join\",\"lobby_code\":\"A\",\"player_id\":-1}", -1},
    {"{\"type\":\"join\",\"lobby_code\":\"A\",\"player_id\":4294967296}", -1},
    {"{\"type\":\"join\",\"lobby_code\":\"A\",\"player_id\":1.5}", -1},
    {"{\"type\":\"join\",\"lobby_code\":\"A\",\"player_id\":\"1\"}", -1},
    {"{\"type\":\"join\",\"lobby_code\":7,\"player_id\":1}", -1},
    {"{\"type\":\"join\",\"player_id\":1}", -1},
    {"{\"type\":\"position_update\",\"player_id\":1," AT "}", PACKET_STATE},
    {"{\"rotation\":{\"z\":0,\"y\":0,\"x\":0,\"w\":[]},\"type\":\"position_update\","
     "\"player_id\":1,\"position\":{\"x\":1,\"x\":2,\"y\":0,\"z\":0}}",
     PACKET_STATE},
    {"{\"type\":\"position_update\",\"player_id\":1,\"position\":{\"x\":1,\"y\":0},\"rotation\":"
     "{\"x\":0,\"y\":0,\"z\":0}}",
     -1},
    {"{\"type\":\"position_update\",\"player_id\":1,\"position\":{\"x\":1e999,\"y\":0,\"z\":0},"
     "\"rotation\":{\"x\":0,\"y\":0,\"z\":0}}",
     -1},
    {"{\"type\":\"position_update\",\"player_id\":1,\"position\":{\"x\":1e39,\"y\":0,\"z\":0},"
     "\"rotation\":{\"x\":0,\"y\":0,\"z\":0}}",
     -1},
    {"{\"type\":\"position_update\",\"player_id\":1,\"position\":{\"x\":-3.4028234663852886e38,"
     "\"y\":0,\"z\":0},\"rotation\":{\"x\":0,\"y\":0,\"z\":0}}",
     PACKET_STATE}, /* the largest float */
    {"{\"type\":\"position_update\",\"player_id\":1,\"position\":{\"x\":3.4028236e38,\"y\":0,"
     "\"z\":0},\"rotation\":{\"x\":0,\"y\":0,\"z\":0}}",
     -1},
    {"{\"type\":\"position_update\",\"player_id\":1,\"position\":[1,2,3],\"rotation\":[0,0,0]}",
     -1},
    {"{\"type\":\"position_update\",\"player_id\":1,\"position\":{\"x\":\"1\",\"y\":0,\"z\":0},"
     "\"rotation\":{\"x\":0,\"y\":0,\"z\":0}}",
     -1},
    {"{\"type\":\"position_update\"," AT "}", -1},
    {"{\"type\":\"weapon_switch\",\"lobby_code\":\"A\",\"player_id\":1,\"weapon_id\":3}",
     PACKET_WEAPON},
    {"{\"type\":\"weapon_switch\",\"lobby_code\":\"A\",\"player_id\":1,\"weapon_id\":\"b\\u00e9\"}",
     PACKET_WEAPON},
    {"{\"type\":\"weapon_switch\",\"lobby_code\":\"A\",\"player_id\":1,\"weapon_id\":\""
     "1234567890123456789012345678901234567890123456789012345678901234\"}",
     PACKET_WEAPON},
    {"{\"type\":\"weapon_switch\",\"lobby_code\":\"A\",\"player_id\":1,\"weapon_id\":\""
     "12345678901234567890123456789012345678901234567890123456789012345\"}",
     -1},
    {"{\"type\":\"weapon_switch\",\"lobby_code\":\"A\",\"player_id\":1,\"weapon_id\":{}}", -1},
    {"{\"type\":\"weapon_switch\",\"lobby_code\":\"A\",\"player_id\":1}", -1},
    {"{\"type\":\"leave\",\"lobby_code\":\"A\",\"player_id\":1}", PACKET_LEAVE},
    {"{\"type\":\"leave\",\"player_id\":1}", -1},
    {"{\"type\":\"ping\",\"t\":12}", PACKET_PING},
    {"{\"type\":\"ping\",\"t\":\"a\",\"cookie\":\"0011223344556677\"}", PACKET_PING},
    {"{\"type\":\"ping\",\"t\":1,\"cookie\":\"zz\"}", PACKET_PING},
    {"{\"type\":\"ping\"}", -1},
    {"{\"type\":\"ping\",\"t\":[]}", -1},
    {"{\"type\":\"discover\",\"nonce\":1,\"pad\":\"xxxx\"}", PACKET_DISCOVER},
    {"{\"type\":\"discover\"}", -1},
    {"{\"type\":\"other\",\"player_id\":1}", -1},
    {"{\"type\":\"join\\u0000\",\"lobby_code\":\"A\",\"player_id\":1}", -1},
    {"{}", -1},
    {"{", -1},
    {"{\"type\":\"ping\",\"t\":1}x", -1},
};

/* Each row whole; cut at every byte it is none. */
static void datagrams_json(void) {
    for (size_t i = 0; i < COUNT_OF(datagram_rows); i++) {
        struct packet p;
        u8 *copy;
        size_t bytes = strlen(datagram_rows[i].text);
        bool good = datagram_read(datagram_rows[i].text, bytes, &p, &copy);
        free(copy);
        CHECK_INT(good ? (int)p.type : -1, datagram_rows[i].type);
        if (good != (datagram_rows[i].type >= 0)) {
            printf("  %s\n", datagram_rows[i].text);
        }
        for (size_t cut = 1; cut < bytes && good; cut++) {
            CHECK(!datagram_read(datagram_rows[i].text, cut, &p, &copy));
            free(copy);
        }
    }
}

static void datagrams_json_values(void) {
    static const char join[] = "{\"udp_token\":\"" TOKEN_TEXT "\",\"batch\":true,"
                               "\"player_id\":3,\"lobby_code\":\"C\\u0041-1\",\"type\":\"join\"}";
    static const char state[] = "{\"type\":\"position_update\",\"player_id\":9," AT "}";
    static const char ping[] = "{\"type\":\"ping\",\"t\":1.50,\"cookie\":\"00ff00ff00ff00fe\"}";
    struct packet p;
    u8 *copy;
    CHECK(datagram_read(join, sizeof join - 1, &p, &copy));
    CHECK(p.batch && !p.binary && p.token_bytes == UDP_TOKEN_BYTES && p.token[15] == 15);
    CHECK_INT(p.player_id, 3);
    CHECK_TEXT(p.code.at, p.code.bytes, "CA-1");
    free(copy);
    CHECK(datagram_read(state, sizeof state - 1, &p, &copy));
    CHECK(p.pose.position[0] == 1 && p.pose.position[1] == -2.5 && p.pose.position[2] == 300);
    CHECK(p.pose.rotation[1] == 0.1 && !p.pose.flags);
    CHECK_TEXT(p.pose.texts[0].at, p.pose.texts[0].bytes, "{\"x\":1,\"y\":-2.5,\"z\":3e2}");
    free(copy);
    CHECK(datagram_read(ping, sizeof ping - 1, &p, &copy));
    CHECK_TEXT(p.echo.at, p.echo.bytes, "1.50");
    CHECK(p.has_cookie && p.cookie[1] == 0xff && p.cookie[7] == 0xfe);
    free(copy);
}

/* head: type, seq 0x0102, player 0x03040506, a token of 11 22 .. 88 */
#define BINARY(type) "\xb1" type "\x02\x01\x06\x05\x04\x03\x11\x22\x33\x44\x55\x66\x77\x88"
#define STATE_BODY(x)                                                       \
    "\x00\x00\x00\x00" x "\x00\x00\x80\xbf\x00\x00\x20\x41" /* x, -1, 10 */ \
    "\xff\x7f\x01\x80\x00\x40\xef\xbe"                      /* pi, -pi, half of pi, flags */

static const struct {
    const char *bytes;
    size_t count;
    int type;
} binary_rows[] = {
#define ROW(literal, type) \
    { literal, sizeof(literal) - 1, type }
    ROW(BINARY("\x01") "\x04"
                       "CAVE",
        PACKET_JOIN),
    ROW(BINARY("\x01") "\x00", PACKET_JOIN), /* no lobby has that code */
    ROW(BINARY("\x01") "\x05"
                       "CAVE",
        -1),
    ROW(BINARY("\x01") "\x03"
                       "CAVE",
        -1),
    ROW(BINARY("\x01"), -1),
    ROW(BINARY("\x02") STATE_BODY("\x00\x00\x80\x3f"), PACKET_STATE),
    ROW(BINARY("\x02") STATE_BODY("\xff\xff\x7f\x7f"), PACKET_STATE), /* the largest float */
    ROW(BINARY("\x02") STATE_BODY("\x00\x00\x80\x7f"), -1),           /* infinity */
    ROW(BINARY("\x02") STATE_BODY("\x00\x00\x80\xff"), -1),
    ROW(BINARY("\x02") STATE_BODY("\x00\x00\xc0\x7f"), -1), /* NaN */
    ROW(BINARY("\x02") STATE_BODY("\x01\x00\x80\xff"), -1),
    ROW(BINARY("\x02") STATE_BODY("\x00\x00\x80\x3f") "x", -1),
    ROW(BINARY("\x03"), PACKET_LEAVE),
    ROW(BINARY("\x03") "x", -1),
    ROW(BINARY("\x04") "\x01\x00\x00\x80"
                       "cookie!!",
        PACKET_PING),
    ROW(BINARY("\x04") "\x01\x00\x00\x80"
                       "cookie!!!",
        -1),
    ROW(BINARY("\x00"), -1),
    ROW(BINARY("\x05"), -1),
    ROW(BINARY("\x81"), -1),
    ROW(BINARY("\xff"), -1),
#undef ROW
};

static void datagrams_binary(void) {
    for (size_t i = 0; i < COUNT_OF(binary_rows); i++) {
        struct packet p;
        u8 *copy;
        bool good = datagram_read(binary_rows[i].bytes, binary_rows[i].count, &p, &copy);
        free(copy);
        CHECK_INT(good ? (int)p.type : -1, binary_rows[i].type);
        if (good) {
            CHECK_INT(p.seq, 0x0102);
            CHECK_INT(p.player_id, 0x03040506);
            CHECK(p.binary && p.token_bytes == 8 && p.token[0] == 0x11 && p.token[7] == 0x88);
        }
        for (size_t cut = 1; cut < binary_rows[i].count && good; cut++) {
            bool left = datagram_read(binary_rows[i].bytes, cut, &p, &copy);
            CHECK(!left || cut == BINARY_HEAD_BYTES); /* a leave has nothing behind its head */
            free(copy);
        }
    }
}

/* A state becomes the pose that it says, and the pose the entry and the text that it should. */
static void datagrams_state(void) {
    static const char state[] = BINARY("\x02") STATE_BODY("\xcd\xcc\xcc\x3d"); /* x: 0.1f */
    static const char entry[] = "\x07\x00\x00\x00\xcd\xcc\xcc\x3d\x00\x00\x80\xbf\x00\x00\x20\x41"
                                "\xff\x7f\x01\x80\x00\x40\xef\xbe\xe8\x03";
    struct packet p;
    u8 *copy;
    char out[512];
    struct text t = text_on(out, sizeof out);
    CHECK(datagram_read(state, sizeof state - 1, &p, &copy));
    free(copy);
    CHECK(p.pose.position[0] == (double)0.1f && p.pose.position[1] == -1);
    CHECK_INT(p.pose.flags, 0xbeef);
    struct stance at = stance_of(&p.pose);
    binary_put_entry(&t, 7, &at, 1000);
    CHECK_INT(t.bytes, BINARY_ENTRY_BYTES);
    CHECK(memcmp(out, entry, sizeof entry - 1) == 0);
    t = text_on(out, sizeof out);
    packet_put_pose(&t, "position_update", 7, &at);
    CHECK_TEXT(out, t.bytes,
               "{\"type\":\"position_update\",\"player_id\":7,\"position\":{\"x\":0.1,\"y\":-1,"
               "\"z\":10},\"rotation\":{\"x\":3.1415927,\"y\":-3.1415927,\"z\":1.5708443}}");
    t = text_on(out, sizeof out);
    binary_put_entry(&t, 7, &at, 70000);
    CHECK_INT(load_le((const u8 *)out + 24, 2), 0xFFFF);
}

/* Units survive the way to an angle and back; angles of any turn come down to one. */
static void datagrams_angles(void) {
    for (i32 units = -32768; units <= 32767; units++) {
        u32 back = angle_units(angle_of_units(units));
        i32 got = back < 0x8000 ? (i32)back : (i32)back - 0x10000;
        /* half a turn is the same either way round */
        CHECK(got == units || (units <= -ANGLE_UNITS && got >= ANGLE_UNITS - 1) ||
              (units == ANGLE_UNITS && got <= -ANGLE_UNITS + 1));
        float single = (float)angle_of_units(units);
        u32 from_single = angle_units((double)single);
        CHECK(from_single == back || units >= ANGLE_UNITS || units <= -ANGLE_UNITS);
    }
    for (i32 turn = -50; turn <= 50; turn++) {
        CHECK_INT(angle_units(0.5 + turn * 2 * REAL_PI), angle_units(0.5));
    }
    CHECK_INT(angle_units(1e300), 0);
    CHECK_INT(angle_units(-3.4e38), 0);
}

static void datagrams_text(void) {
    static const u8 cookie[COOKIE_BYTES] = {1, 2, 3, 4, 5, 6, 7, 0xff};
    const struct stance at = {.position = {0.5f, 1, -2}};
    char out[1024];
    struct text t = text_on(out, sizeof out);
    packet_put_welcome(&t, 12, 20, cookie);
    packet_put_joined(&t, 3, SPAN("A\"b"));
    packet_put_left(&t, 4);
    packet_put_weapon(&t, 5, SPAN("\"x\""));
    packet_put_dummy(&t, &at);
    packet_put_member(&t, 6, SPAN("n"), &at, SPAN(""));
    packet_put_sync_tail(&t, 7, 1, 2);
    packet_put_pong(&t, SPAN("\"t\""), -5);
    packet_put_error(&t, "lobby_not_found");
    CHECK_TEXT(
        out, t.bytes,
        "{\"type\":\"welcome\",\"message\":\"Welcome\",\"player_id\":12,\"tick_hz\":20,"
        "\"cookie\":\"01020304050607ff\"}"
        "{\"type\":\"player_joined\",\"player\":{\"id\":3,\"name\":\"A\\\"b\"}}"
        "{\"type\":\"player_left\",\"player_id\":4}"
        "{\"type\":\"weapon_switched\",\"player_id\":5,\"weapon_id\":\"x\"}"
        "{\"type\":\"server_dummy_update\",\"position\":{\"x\":0.5,\"y\":1,\"z\":-2}}"
        ",{\"id\":6,\"name\":\"n\",\"position\":{\"x\":0.5,\"y\":1,\"z\":-2},\"rotation\":{\"x\":0,"
        "\"y\":0,\"z\":0},\"weapon_id\":null}"
        "],\"sync\":7,\"part\":1,\"parts\":2}"
        "{\"type\":\"pong\",\"t\":\"t\",\"server_time\":-5}"
        "{\"type\":\"error\",\"error\":\"lobby_not_found\"}");
}

/* The longest there can be keep to the bytes that ticks reserve for them. */
static void datagrams_longest(void) {
    struct stance at = {.text_bytes = {VECTOR_TEXT_MAX, VECTOR_TEXT_MAX}};
    char name[MPS_NAME_BYTES_MAX + 1], weapon[WEAPON_BYTES_MAX], out[1024];
    struct text t = text_on(out, sizeof out);
    memset(at.texts, 'x', sizeof at.texts);
    memset(name, 0, sizeof name);
    memset(name, 1, NAME_POINTS_MAX); /* six bytes each, escaped */
    memset(weapon, '7', sizeof weapon);
    packet_put_member(&t, UINT32_MAX, span_z(name), &at, span_of(weapon, sizeof weapon));
    CHECK(t.bytes <= TICK_MEMBER_MAX && t.bytes > TICK_MEMBER_MAX - 64);
    t = text_on(out, sizeof out);
    packet_put_pose(&t, "position_correction", UINT32_MAX, &at);
    CHECK(t.bytes <= TICK_UPDATE_MAX && t.bytes > TICK_UPDATE_MAX - 16);
    t = text_on(out, sizeof out);
    packet_put_sync_tail(&t, UINT32_MAX, 1024, 1024);
    CHECK(t.bytes <= SYNC_TAIL_MAX);
    t = text_on(out, sizeof out);
    packet_put_welcome(&t, UINT32_MAX, 1000, (const u8 *)"12345678");
    CHECK(t.bytes <= TICK_HEAD_BYTES);
}

/* Floats: as few digits as read back as the same float; beyond the quick range, as doubles. */
static void datagrams_floats(void) {
    static const struct {
        float v;
        const char *text;
    } rows[] = {
        {0, "0"},
        {-0.0f, "0"},
        {1, "1"},
        {0.1f, "0.1"},
        {-12.345f, "-12.345"},
        {16777216, "16777216"},
        {3.4e-5f, "0.000034"},
        {1e-7f, "1e-7"},
        {123456.789f, "123456.79"},
        {1e30f, "1.00000002e+30"},
        {-1e-38f, "-9.99999935e-39"},
        {3e18f, "2999999880000000000"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char out[64];
        struct text t = text_on(out, sizeof out);
        json_put_f32(&t, rows[i].v);
        CHECK_TEXT(out, t.bytes, rows[i].text);
    }
    u64 seed = 12345;
    for (u32 i = 0; i < 200000; i++) {
        char out[64];
        struct text t = text_on(out, sizeof out - 1);
        float v, back;
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        u32 bits = (u32)(seed >> 32);
        memcpy(&v, &bits, sizeof v);
        if ((bits & 0x7F800000) == 0x7F800000) {
            continue;
        }
        json_put_f32(&t, v);
        out[t.bytes] = 0;
        back = strtof(out, NULL);
        CHECK(back == v);
    }
}

static void datagrams_mathematics(void) {
    CHECK(real_sqrt(0) == 0 && real_sqrt(1) == 1 && real_sqrt(4) == 2 && real_sqrt(1e300) == 1e150);
    for (u32 i = 1; i < 100000; i++) {
        double v = (double)i * i * 0.37, root = real_sqrt(v), off = root * root / v - 1;
        CHECK(off < 1e-15 && off > -1e-15);
    }
    CHECK(real_sqrt(1e-301) == 0 && real_sqrt(1e-299) > 0);
    static const struct {
        double angle, sine;
    } rows[] = {
        {0, 0},
        {REAL_PI / 6, 0.5},
        {REAL_PI / 2, 1},
        {REAL_PI, 0},
        {-REAL_PI / 2, -1},
        {1, 0.8414709848078965},
        {-10, 0.5440211108893698},
        {1000, 0.8268795405320025},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        double off = real_sin(rows[i].angle) - rows[i].sine;
        CHECK(off < 1e-11 && off > -1e-11);
    }
    double off = real_cos(1) - 0.5403023058681398;
    CHECK(off < 1e-11 && off > -1e-11);
}

static void datagrams_seq(void) {
    CHECK(seq_newer(1, 0) && seq_newer(0, 65535) && seq_newer(0x7fff, 0) && seq_newer(5, 65530));
    CHECK(!seq_newer(0, 0) && !seq_newer(0, 1) && !seq_newer(0x8000, 0) && !seq_newer(65530, 5));
}

static const struct check_test datagrams_tests[] = {
    {"json", datagrams_json},     {"json_values", datagrams_json_values},
    {"binary", datagrams_binary}, {"state", datagrams_state},
    {"angles", datagrams_angles}, {"text", datagrams_text},
    {"floats", datagrams_floats}, {"mathematics", datagrams_mathematics},
    {"seq", datagrams_seq},       {"longest", datagrams_longest},
};

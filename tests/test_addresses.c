/* Section 34: addresses, ranges, dates. */

static const struct {
    const char *text;
    const char *ip, *whole; /* written again: address alone, with port */
    u32 scope;
} addresses_accepted[] = {
    {"1.2.3.4", "1.2.3.4", "1.2.3.4:0", 0},
    {"0.0.0.0", "0.0.0.0", "0.0.0.0:0", 0},
    {"255.255.255.255", "255.255.255.255", "255.255.255.255:0", 0},
    {"10.20.100.200:0", "10.20.100.200", "10.20.100.200:0", 0},
    {"1.2.3.4:80", "1.2.3.4", "1.2.3.4:80", 0},
    {"1.2.3.4:65535", "1.2.3.4", "1.2.3.4:65535", 0},
    {"::", "::", "[::]:0", 0},
    {"::1", "::1", "[::1]:0", 0},
    {"[::]", "::", "[::]:0", 0},
    {"[::1]", "::1", "[::1]:0", 0},
    {"[::1]:80", "::1", "[::1]:80", 0},
    {"[::1]:0", "::1", "[::1]:0", 0},
    {"[::]:65535", "::", "[::]:65535", 0},
    {"1::", "1::", "[1::]:0", 0},
    {"[1::]:1", "1::", "[1::]:1", 0},
    {"::ffff:1.2.3.4", "1.2.3.4", "1.2.3.4:0", 0},
    {"[::ffff:1.2.3.4]:80", "1.2.3.4", "1.2.3.4:80", 0},
    {"::FFFF:102:304", "1.2.3.4", "1.2.3.4:0", 0},
    {"0:0:0:0:0:ffff:1.2.3.4", "1.2.3.4", "1.2.3.4:0", 0},
    {"0:0:0:0:0:ffff:127.0.0.1", "127.0.0.1", "127.0.0.1:0", 0},
    {"::1.2.3.4", "::102:304", "[::102:304]:0", 0},
    {"64:ff9b::192.0.2.33", "64:ff9b::c000:221", "[64:ff9b::c000:221]:0", 0},
    {"1:2:3:4:5:6:7.8.9.10", "1:2:3:4:5:6:708:90a", "[1:2:3:4:5:6:708:90a]:0", 0},
    {"::2:3:4:5:6:7.8.9.10", "0:2:3:4:5:6:708:90a", "[0:2:3:4:5:6:708:90a]:0", 0},
    {"fe80::1%3", "fe80::1", "[fe80::1]:0", 3},
    {"[fe80::1%3]", "fe80::1", "[fe80::1]:0", 3},
    {"[fe80::1%4294967295]:80", "fe80::1", "[fe80::1]:80", 4294967295u},
    {"febf::%12", "febf::", "[febf::]:0", 12},
    {"fe80::1", "fe80::1", "[fe80::1]:0", 0},
    {"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8", "[1:2:3:4:5:6:7:8]:0", 0},
    {"0001:0002:0003:0004:0005:0006:0007:0008", "1:2:3:4:5:6:7:8", "[1:2:3:4:5:6:7:8]:0", 0},
    {"::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8", "[0:2:3:4:5:6:7:8]:0", 0},
    {"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0", "[1:2:3:4:5:6:7:0]:0", 0},
    {"1:2:3::5:6:7:8", "1:2:3:0:5:6:7:8", "[1:2:3:0:5:6:7:8]:0", 0},
    {"1::8", "1::8", "[1::8]:0", 0},
    {"10:200:3000:4:50:600:7000:8", "10:200:3000:4:50:600:7000:8",
     "[10:200:3000:4:50:600:7000:8]:0", 0},
    {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
     "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:0", 0},
    /* RFC 5952, 1, 2 and 4. */
    {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1", "[2001:db8::1:0:0:1]:0", 0},
    {"2001:0db8:0:0:1:0:0:1", "2001:db8::1:0:0:1", "[2001:db8::1:0:0:1]:0", 0},
    {"2001:db8::1:0:0:1", "2001:db8::1:0:0:1", "[2001:db8::1:0:0:1]:0", 0},
    {"2001:db8::0:1:0:0:1", "2001:db8::1:0:0:1", "[2001:db8::1:0:0:1]:0", 0},
    {"2001:0db8::1:0:0:1", "2001:db8::1:0:0:1", "[2001:db8::1:0:0:1]:0", 0},
    {"2001:db8:0:0:1::1", "2001:db8::1:0:0:1", "[2001:db8::1:0:0:1]:0", 0},
    {"2001:DB8:0:0:1::1", "2001:db8::1:0:0:1", "[2001:db8::1:0:0:1]:0", 0},
    {"2001:db8:aaaa:bbbb:cccc:dddd:eeee:0001", "2001:db8:aaaa:bbbb:cccc:dddd:eeee:1",
     "[2001:db8:aaaa:bbbb:cccc:dddd:eeee:1]:0", 0},
    {"2001:db8:aaaa:bbbb:cccc:dddd::1", "2001:db8:aaaa:bbbb:cccc:dddd:0:1",
     "[2001:db8:aaaa:bbbb:cccc:dddd:0:1]:0", 0},
    {"2001:db8:0:0:0:0:2:1", "2001:db8::2:1", "[2001:db8::2:1]:0", 0},
    {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1", "[2001:db8:0:1:1:1:1:1]:0", 0},
    {"2001:db8::1:1:1:1:1", "2001:db8:0:1:1:1:1:1", "[2001:db8:0:1:1:1:1:1]:0", 0},
    {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1", "[2001:0:0:1::1]:0", 0},
    {"2001:db8:0:0:1:0:0:0", "2001:db8:0:0:1::", "[2001:db8:0:0:1::]:0", 0},
    {"0:0:1:0:0:1:0:0", "::1:0:0:1:0:0", "[::1:0:0:1:0:0]:0", 0},
    {"0:0:0:1:0:0:0:1", "::1:0:0:0:1", "[::1:0:0:0:1]:0", 0},
    {"[2001:db8::1]:80", "2001:db8::1", "[2001:db8::1]:80", 0},
};

static void addresses_accept_and_format(void) {
    for (size_t i = 0; i < COUNT_OF(addresses_accepted); i++) {
        mps_address a, again;
        char buffer[ADDRESS_TEXT_MAX];
        struct text t = text_on(buffer, sizeof buffer);
        memset(&a, 0xaa, sizeof a);
        if (!address_parse(span_z(addresses_accepted[i].text), &a)) {
            printf("refused \"%s\"\n", addresses_accepted[i].text);
            CHECK(false);
            continue;
        }
        CHECK_INT(a.scope, addresses_accepted[i].scope);
        address_put_ip(&t, &a);
        CHECK_TEXT(t.at, t.bytes, addresses_accepted[i].ip);
        t = text_on(buffer, sizeof buffer);
        address_put(&t, &a);
        CHECK(!t.cut);
        CHECK_TEXT(t.at, t.bytes, addresses_accepted[i].whole);
        CHECK(address_parse(text_span(&t), &again)); /* what is written is read as the same */
        again.scope = a.scope;
        CHECK(memcmp(&a, &again, sizeof a) == 0);
    }
}

static const char *const addresses_refused[] = {"1::2:3:4:5:6:7:1.2.3.4",
                                                "::1:2:3:4:5:6:7:1.2.3.4",
                                                "",
                                                " ",
                                                "a",
                                                "localhost",
                                                "1",
                                                "1.",
                                                "1.2",
                                                "1.2.3",
                                                "1.2.3.",
                                                "1.2.3.4.",
                                                "1.2.3.4.5",
                                                ".1.2.3.4",
                                                "1..2.3",
                                                "256.1.1.1",
                                                "1.1.1.256",
                                                "1.2.3.999",
                                                "1.2.3.4294967297",
                                                "1.2.3.18446744073709551617",
                                                "01.2.3.4",
                                                "1.2.3.04",
                                                "1.2.3.00",
                                                "0x1.2.3.4",
                                                "1.2.3.0x4",
                                                "-1.2.3.4",
                                                "+1.2.3.4",
                                                "1.2.3.4 ",
                                                " 1.2.3.4",
                                                "1.2.3.4\n",
                                                "1.2.3.4/32",
                                                "1.2.3.4%1",
                                                "1.2.3.4:",
                                                "1.2.3.4:65536",
                                                "1.2.3.4:080",
                                                "1.2.3.4:00",
                                                "1.2.3.4:-1",
                                                "1.2.3.4:+1",
                                                "1.2.3.4:80 ",
                                                "1.2.3.4:http",
                                                "1.2.3.4:80:80",
                                                "1.2.3.4:99999999999",
                                                "[1.2.3.4]",
                                                "[1.2.3.4]:80",
                                                "1.2.3.4]",
                                                ":",
                                                ":::",
                                                "::::",
                                                ":1",
                                                "1:",
                                                ":1:2:3:4:5:6:7:8",
                                                "1:2:3:4:5:6:7",
                                                "1:2:3:4:5:6:7:",
                                                "1:2:3:4:5:6:7:8:",
                                                "1:2:3:4:5:6:7:8:9",
                                                "1:2:3:4:5:6:7:8::",
                                                "1:2:3:4::5:6:7:8",
                                                "::1:2:3:4:5:6:7:8",
                                                "1::2::3",
                                                "1:::2",
                                                "::1::",
                                                "12345::",
                                                "::00001",
                                                "::g",
                                                "::1g",
                                                "g::",
                                                "::1 ",
                                                " ::1",
                                                "::-1",
                                                "::1/128",
                                                "::ffff:1.2.3",
                                                "::ffff:1.2.3.4.5",
                                                "::ffff:1.2.3.04",
                                                "::ffff:1.2.3.256",
                                                "::ffff:a.2.3.4",
                                                "::1.2.3.4:80",
                                                "::1.2.3.4:5",
                                                "1.2.3.4::",
                                                "::1.2.3.4::",
                                                "1:2:3:4:5:6:7:1.2.3.4",
                                                "1:2:3:4:5:6:7:8:1.2.3.4",
                                                "1:2:3:4:5:1.2.3.4",
                                                "::1:2:3:4:5:6:1.2.3.4",
                                                "[",
                                                "[]",
                                                "]",
                                                "[::1",
                                                "::1]",
                                                "[::1]]",
                                                "[[::1]]",
                                                "[::1]:",
                                                "[::1]:65536",
                                                "[::1]:080",
                                                "[::1]80",
                                                "[::1]:80]",
                                                "[::1] :80",
                                                "[::1]:8 0",
                                                "fe80::1%",
                                                "fe80::1%0",
                                                "fe80::1%eth0",
                                                "fe80::1%03",
                                                "fe80::1%4294967296",
                                                "fe80::1%-1",
                                                "fe80::1%3%4",
                                                "fe80::1%3:80",
                                                "[fe80::1%]",
                                                "[fe80::1]%3",
                                                "[fe80::1%3",
                                                "fec0::1%3",
                                                "2001:db8::1%3",
                                                "::1%1",
                                                "::ffff:1.2.3.4%1",
                                                "%1",
                                                "::%"};

static void addresses_refuse(void) {
    mps_address a, untouched;
    memset(&a, 0xaa, sizeof a);
    memset(&untouched, 0xaa, sizeof untouched);
    for (size_t i = 0; i < COUNT_OF(addresses_refused); i++) {
        if (address_parse(span_z(addresses_refused[i]), &a)) {
            printf("accepted \"%s\"\n", addresses_refused[i]);
            CHECK(false);
        }
    }
    CHECK(!address_parse(span_of(NULL, 0), &a));
    CHECK(!address_parse(span_of("1.2.3.4\0", 8), &a));
    CHECK(!address_parse(span_of("::\0001", 4), &a));
    CHECK(memcmp(&a, &untouched, sizeof a) == 0);
}

/* Every beginning of a valid text, in a block of exactly its size, so that sanitizers see reads
   behind the end. */
static void addresses_read_no_further(void) {
    static const char *const texts[] = {"255.255.255.255:65535", "[fe80:1:2:3:4:5:6:7%429]:65535",
                                        "1:2:3:4:5:6:127.0.0.1", "1::2:3", "::"};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        for (size_t bytes = 1; bytes <= strlen(texts[i]); bytes++) {
            mps_address a;
            struct address_range r;
            char *exact = malloc(bytes);
            CHECK(exact != NULL);
            if (!exact) {
                return;
            }
            memcpy(exact, texts[i], bytes);
            bool parsed = address_parse(span_of(exact, bytes), &a);
            CHECK(parsed || bytes < strlen(texts[i]));
            address_range_parse(span_of(exact, bytes), &r);
            free(exact);
        }
    }
}

static mps_address addresses_of(const char *text) {
    mps_address a;
    memset(&a, 0, sizeof a);
    CHECK(address_parse(span_z(text), &a));
    return a;
}

static void addresses_bytes(void) {
    static const u8 mapped[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4};
    static const u8 full[16] = {0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xab, 0xcd, 0xef};
    mps_address a = addresses_of("1.2.3.4:258");
    CHECK(memcmp(a.ip, mapped, sizeof mapped) == 0);
    CHECK_INT(a.port, 258);
    a = addresses_of("2001:db8::ab:cdef");
    CHECK(memcmp(a.ip, full, sizeof full) == 0);
}

static void addresses_are_cut_not_overrun(void) {
    mps_address a = addresses_of("[2001:db8::1]:80");
    char buffer[8] = "#######";
    struct text t = text_on(buffer, 5);
    address_put(&t, &a);
    CHECK(t.cut);
    CHECK_TEXT(t.at, t.bytes, "[2001");
    CHECK_INT(buffer[5], '#');
}

static const struct {
    const char *text;
    bool v4, loopback;
} addresses_kinds[] = {
    {"127.0.0.1", true, true},
    {"127.255.255.255", true, true},
    {"126.255.255.255", true, false},
    {"128.0.0.1", true, false},
    {"::ffff:127.0.0.1", true, true},
    {"::1", false, true},
    {"::", false, false},
    {"::2", false, false},
    {"1::1", false, false},
    {"0.0.0.1", true, false},
    {"::127.0.0.1", false, false},
    {"::fffe:127.0.0.1", false, false},
    {"1::ffff:1.2.3.4", false, false},
    {"fe80::1", false, false},
};

static void addresses_know_their_kind(void) {
    for (size_t i = 0; i < COUNT_OF(addresses_kinds); i++) {
        mps_address a = addresses_of(addresses_kinds[i].text);
        CHECK_INT(address_is_v4(&a), addresses_kinds[i].v4);
        CHECK_INT(address_is_loopback(&a), addresses_kinds[i].loopback);
    }
}

static void addresses_same_ip_whatever_the_port(void) {
    mps_address a = addresses_of("1.2.3.4:1"), b = addresses_of("[::ffff:102:304]:2");
    CHECK(address_same_ip(&a, &b));
    b = addresses_of("1.2.3.5:1");
    CHECK(!address_same_ip(&a, &b));
    a = addresses_of("fe80::1%1");
    b = addresses_of("fe80::1%2");
    CHECK(!address_same_ip(&a, &b));
    b = addresses_of("[fe80::1%1]:9");
    CHECK(address_same_ip(&a, &b));
}

static void addresses_prefix_of(const char *text, const char *want) {
    mps_address a = addresses_of(text), cut;
    char buffer[ADDRESS_TEXT_MAX];
    struct text t = text_on(buffer, sizeof buffer);
    memset(&cut, 0, sizeof cut);
    address_prefix(&a, cut.ip);
    address_put_ip(&t, &cut);
    CHECK_TEXT(t.at, t.bytes, want);
}

static void addresses_prefixes(void) {
    addresses_prefix_of("1.2.3.4:80", "1.2.3.4");
    addresses_prefix_of("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::");
    addresses_prefix_of("2001:db8:1:ffff:ffff:ffff:ffff:ffff", "2001:db8:1:ffff::");
    addresses_prefix_of("::1", "::");
}

static const struct {
    const char *range, *address;
    bool in;
} addresses_ranges[] = {
    {"10.0.0.0/8", "10.0.0.0", true},
    {"10.0.0.0/8", "10.255.255.255", true},
    {"10.0.0.0/8", "::ffff:10.1.2.3", true},
    {"10.0.0.0/8", "11.0.0.0", false},
    {"10.0.0.0/8", "9.255.255.255", false},
    {"10.0.0.0/8", "::10.1.2.3", false},
    {"10.0.0.0/8", "a00::", false},
    {"172.16.0.0/12", "172.31.255.255", true},
    {"172.16.0.0/12", "172.32.0.0", false},
    {"172.16.0.0/12", "172.15.255.255", false},
    {"192.168.1.128/25", "192.168.1.128", true},
    {"192.168.1.128/25", "192.168.1.127", false},
    {"192.168.1.4/31", "192.168.1.5", true},
    {"192.168.1.4/31", "192.168.1.6", false},
    {"1.2.3.4", "1.2.3.4:80", true},
    {"1.2.3.4", "1.2.3.5", false},
    {"1.2.3.4/32", "1.2.3.4", true},
    {"1.2.3.4/32", "1.2.3.6", false},
    {"0.0.0.0/0", "0.0.0.0", true},
    {"0.0.0.0/0", "255.255.255.255", true},
    {"0.0.0.0/0", "::", false},
    {"0.0.0.0/0", "2001:db8::1", false},
    {"128.0.0.0/1", "128.0.0.0", true},
    {"128.0.0.0/1", "127.255.255.255", false},
    {"::/0", "::", true},
    {"::/0", "2001:db8::1", true},
    {"::/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true},
    {"::/0", "1.2.3.4", false},
    {"::/1", "1.2.3.4", false},
    {"::/80", "1.2.3.4", false},
    {"::/80", "::1", true},
    {"::/95", "::1", true},
    {"::ffff:0:0/96", "1.2.3.4", true},
    {"::ffff:0.0.0.0/96", "::1", false},
    {"::ffff:10.0.0.0/104", "10.2.3.4", true},
    {"::ffff:10.0.0.0/104", "11.2.3.4", false},
    {"2001:db8::/32", "2001:db8:ffff::1", true},
    {"2001:db8::/32", "2001:db9::", false},
    {"2001:db8:8000::/33", "2001:db8:8000::1", true},
    {"2001:db8:8000::/33", "2001:db8:7fff::1", false},
    {"fe80::/10", "febf::1%2", true},
    {"fe80::/10", "fec0::1", false},
    {"fc00::/7", "fdff::", true},
    {"::1", "[::1]:80", true},
    {"::1/128", "::1", true},
    {"::1/128", "::", false},
    {"::", "::", true},
    {"::", "::1", false},
};

static void addresses_in_ranges(void) {
    for (size_t i = 0; i < COUNT_OF(addresses_ranges); i++) {
        struct address_range r = {{0}, 0};
        mps_address a = addresses_of(addresses_ranges[i].address);
        CHECK(address_range_parse(span_z(addresses_ranges[i].range), &r));
        if (address_in_range(&r, &a) != addresses_ranges[i].in) {
            printf("%s in %s\n", addresses_ranges[i].address, addresses_ranges[i].range);
            CHECK(false);
        }
    }
}

static void addresses_range_bits(void) {
    struct address_range r = {{0}, 0};
    CHECK(address_range_parse(SPAN("10.0.0.0/8"), &r));
    CHECK_INT(r.bits, 96 + 8);
    CHECK(address_range_parse(SPAN("1.2.3.4"), &r));
    CHECK_INT(r.bits, 128);
    CHECK(address_range_parse(SPAN("0.0.0.0/0"), &r));
    CHECK_INT(r.bits, 96);
    CHECK(address_range_parse(SPAN("::/0"), &r));
    CHECK_INT(r.bits, 0);
    CHECK(address_range_parse(SPAN("2001:db8::1"), &r));
    CHECK_INT(r.bits, 128);
}

static void addresses_refuse_ranges(void) {
    static const char *const texts[] = {"",
                                        "/",
                                        "/8",
                                        "10.0.0.1/8",
                                        "10.0.0.0/",
                                        "10.0.0.0/33",
                                        "10.0.0.0/08",
                                        "10.0.0.0/-1",
                                        "10.0.0.0/8 ",
                                        " 10.0.0.0/8",
                                        "10.0.0.0/8/8",
                                        "10.0.0.0:80",
                                        "10.0.0.0:80/8",
                                        "10/8",
                                        "10.0.0/8",
                                        "10.0.0.0/255.0.0.0",
                                        "0.0.0.1/0",
                                        "1.2.3.4/31x",
                                        "1.2.3.5/31",
                                        "::/129",
                                        "::1/127",
                                        "::1/0",
                                        "::/",
                                        "::/00",
                                        "[::]/0",
                                        "[::1]",
                                        "fe80::1%3",
                                        "fe80::%3/64",
                                        "2001:db8::1/64",
                                        "2001:db8:4000::/33",
                                        "::ffff:10.0.0.1/104",
                                        "::ffff:0:0/95",
                                        "10.0.0.0/99999999999999999999",
                                        "10.0.0.0\\8",
                                        "*",
                                        "any"};
    struct address_range r = {{9}, 9};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        if (address_range_parse(span_z(texts[i]), &r)) {
            printf("accepted \"%s\"\n", texts[i]);
            CHECK(false);
        }
    }
    CHECK(r.ip[0] == 9 && r.bits == 9);
}

static const struct {
    i64 unix_ms;
    const char *iso;
    u32 weekday; /* 0 is Sunday */
} addresses_dates[] = {
    {0, "1970-01-01T00:00:00.000Z", 4},
    {1, "1970-01-01T00:00:00.001Z", 4},
    {86399999, "1970-01-01T23:59:59.999Z", 4},
    {86400000, "1970-01-02T00:00:00.000Z", 5},
    {31535999999, "1970-12-31T23:59:59.999Z", 4},
    {31536000000, "1971-01-01T00:00:00.000Z", 5},
    {68169599999, "1972-02-28T23:59:59.999Z", 1},
    {68169600000, "1972-02-29T00:00:00.000Z", 2},
    {68256000000, "1972-03-01T00:00:00.000Z", 3},
    {946684799999, "1999-12-31T23:59:59.999Z", 5},
    {946684800000, "2000-01-01T00:00:00.000Z", 6},
    {951739200000, "2000-02-28T12:00:00.000Z", 1},
    {951782400000, "2000-02-29T00:00:00.000Z", 2},
    {951868799999, "2000-02-29T23:59:59.999Z", 2},
    {951868800000, "2000-03-01T00:00:00.000Z", 3},
    {978220800000, "2000-12-31T00:00:00.000Z", 0},
    {983404799999, "2001-02-28T23:59:59.999Z", 3},
    {983404800000, "2001-03-01T00:00:00.000Z", 4},
    {1078012800000, "2004-02-29T00:00:00.000Z", 0},
    {1735689599000, "2024-12-31T23:59:59.000Z", 2},
    {1771070400000, "2026-02-14T12:00:00.000Z", 6},
    {2147483648007, "2038-01-19T03:14:08.007Z", 2},
    {4107456000000, "2100-02-28T00:00:00.000Z", 0},
    {4107542399999, "2100-02-28T23:59:59.999Z", 0},
    {4107542400000, "2100-03-01T00:00:00.000Z", 1},
    {4133894400000, "2100-12-31T00:00:00.000Z", 5},
    {4133980800000, "2101-01-01T00:00:00.000Z", 6},
    {7263216000000, "2200-03-01T00:00:00.000Z", 6},
    {10418803200000, "2300-02-28T00:00:00.000Z", 3},
    {10418889600000, "2300-03-01T00:00:00.000Z", 4},
    {13574476800000, "2400-02-28T00:00:00.000Z", 1},
    {13574563200000, "2400-02-29T00:00:00.000Z", 2},
    {13574649600000, "2400-03-01T00:00:00.000Z", 3},
    {64065686400000, "4000-02-29T00:00:00.000Z", 2},
    {253375776000000, "9999-02-28T00:00:00.000Z", 0},
    {253402214400000, "9999-12-31T00:00:00.000Z", 5},
    {253402300799999, "9999-12-31T23:59:59.999Z", 5},
    {-1, "1970-01-01T00:00:00.000Z", 4},
    {-62135596800000, "1970-01-01T00:00:00.000Z", 4},
    {INT64_MIN, "1970-01-01T00:00:00.000Z", 4},
    {253402300800000, "9999-12-31T23:59:59.999Z", 5},
    {INT64_MAX, "9999-12-31T23:59:59.999Z", 5},
};

static void addresses_write_dates(void) {
    for (size_t i = 0; i < COUNT_OF(addresses_dates); i++) {
        char buffer[DATE_TEXT_BYTES];
        struct text t = text_on(buffer, sizeof buffer);
        date_put_iso(&t, addresses_dates[i].unix_ms);
        CHECK(!t.cut);
        CHECK_TEXT(t.at, t.bytes, addresses_dates[i].iso);
        CHECK_INT(date_split(addresses_dates[i].unix_ms / 1000).weekday,
                  addresses_dates[i].weekday);
    }
    CHECK_INT(date_split(INT64_MIN).year, 1970);
    CHECK_INT(date_split(INT64_MAX).year, 9999);
}

static bool addresses_leap(i32 year) {
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* Day by day from 1970 to 9999 with a calendar that only counts. */
static void addresses_count_every_day(void) {
    static const u32 lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    struct date want = {1970, 1, 1, 0, 0, 0, 4};
    i64 day = 0;
    for (; want.year <= 9999; day++) {
        struct date got = date_split(day * 86400 + 86399);
        if (got.year != want.year || got.month != want.month || got.day != want.day ||
            got.weekday != want.weekday || got.hour != 23 || got.minute != 59 || got.second != 59) {
            printf("day %lld: %d-%u-%u\n", (long long)day, got.year, got.month, got.day);
            CHECK(false);
            return;
        }
        bool leap_day = want.month == 2 && addresses_leap(want.year);
        want.weekday = (want.weekday + 1) % 7;
        if (want.day++ == lengths[want.month - 1] + (leap_day ? 1 : 0)) {
            want.day = 1;
            want.year += want.month == 12 ? 1 : 0;
            want.month = want.month % 12 + 1;
        }
    }
    CHECK_INT(day, 2932897);
}

static const struct check_test addresses_tests[] = {
    {"accept_and_format", addresses_accept_and_format},
    {"refuse", addresses_refuse},
    {"read_no_further", addresses_read_no_further},
    {"bytes", addresses_bytes},
    {"are_cut_not_overrun", addresses_are_cut_not_overrun},
    {"know_their_kind", addresses_know_their_kind},
    {"same_ip_whatever_the_port", addresses_same_ip_whatever_the_port},
    {"prefixes", addresses_prefixes},
    {"in_ranges", addresses_in_ranges},
    {"range_bits", addresses_range_bits},
    {"refuse_ranges", addresses_refuse_ranges},
    {"write_dates", addresses_write_dates},
    {"count_every_day", addresses_count_every_day},
};

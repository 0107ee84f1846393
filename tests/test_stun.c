/* Section 44: STUN. The sample messages of RFC 5769 and what is made of their parts. */

#define STUN_ID "b7e7a701bc34d686fa87dfae"
#define STUN_SOFTWARE "8022000b7465737420766563746f7220"
#define STUN_MAPPED_V4 "002000080001a147e112a643"
#define STUN_MAPPED_V6 "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"

/* RFC 5769, sections 2.1 to 2.4: a message, the type it has, the password it is signed with. */
static const struct stun_vector {
    const char *hex;
    u32 type;
    const char *password;
} stun_vectors[] = {
    {"00010058"
     "2112a442" STUN_ID "80220010"
     "5354554e207465737420636c69656e74"
     "00240004"
     "6e0001ff"
     "80290008"
     "932ff9b151263b36"
     "00060009"
     "6576746a3a68367659202020"
     "00080014"
     "9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
     "80280004"
     "e57a3bcf",
     STUN_BINDING_REQUEST, "VOkJxbRl1RmTxUk/WvJxBt"},
    {"0101003c"
     "2112a442" STUN_ID STUN_SOFTWARE STUN_MAPPED_V4 "00080014"
     "2b91f599fd9e90c38c7489f92af9ba53f06be7d7"
     "80280004"
     "c07d4c96",
     STUN_BINDING_SUCCESS, "VOkJxbRl1RmTxUk/WvJxBt"},
    {"01010048"
     "2112a442" STUN_ID STUN_SOFTWARE STUN_MAPPED_V6 "00080014"
     "a382954e4be67bf11784c97c8292c275bfe3ed41"
     "80280004"
     "c8fb0b4c",
     STUN_BINDING_SUCCESS, "VOkJxbRl1RmTxUk/WvJxBt"},
    {"00010060"
     "2112a442"
     "78ad3433c6ad72c029da412e"
     "00060012"
     "e3839ee38388e383aae38383e382afe382b90000"
     "0015001c"
     "662f2f3439396b393534643"
     "64f4c33346f4c394653547679363473"
     "4100140"
     "00b6578616d706c652e6f726700"
     "00080014"
     "f67024656dd64a3e02b8e0712e85c9a28ca89666",
     STUN_BINDING_REQUEST, NULL},
};

static size_t stun_hex(const char *hex, u8 *out) {
    size_t bytes = strlen(hex) / 2;
    CHECK(hex_read(span_z(hex), out, bytes));
    return bytes;
}

/* HMAC-SHA1 (RFC 2104) of short keys; the server itself checks no signatures of STUN. */
static void stun_hmac(const char *key, const u8 *text, size_t bytes, u8 out[SHA1_BYTES]) {
    u8 inner[64 + 256], outer[64 + SHA1_BYTES];
    memset(inner, 0x36, 64);
    memset(outer, 0x5c, 64);
    for (size_t i = 0; i < strlen(key); i++) {
        inner[i] ^= (u8)key[i];
        outer[i] ^= (u8)key[i];
    }
    memcpy(inner + 64, text, bytes);
    sha1(inner, 64 + bytes, outer + 64);
    sha1(outer, sizeof outer, out);
}

static void stun_samples(void) {
    for (size_t i = 0; i < COUNT_OF(stun_vectors); i++) {
        u8 message[256], signature[SHA1_BYTES];
        struct stun_message m;
        size_t bytes = stun_hex(stun_vectors[i].hex, message);
        CHECK(stun_read(message, bytes, &m));
        CHECK_INT(m.type, stun_vectors[i].type);
        CHECK_INT(m.unknown_count, 0);
        CHECK(m.id == message + 8);
        if (stun_vectors[i].password) { /* MESSAGE-INTEGRITY, 32 bytes from the end */
            size_t signed_bytes = bytes - 8 - 24;
            message[3] = (u8)(signed_bytes + 24 - STUN_HEAD_BYTES);
            stun_hmac(stun_vectors[i].password, message, signed_bytes, signature);
            CHECK(memcmp(signature, message + signed_bytes + 4, SHA1_BYTES) == 0);
        }
    }
}

/* Every cut and, under a FINGERPRINT, every changed bit is refused. */
static void stun_damage(void) {
    for (size_t i = 0; i < COUNT_OF(stun_vectors); i++) {
        u8 message[256];
        struct stun_message m;
        size_t bytes = stun_hex(stun_vectors[i].hex, message);
        /* With its head changed an attribute may hide the FINGERPRINT, or be another one. */
        bool heads[256] = {false};
        for (size_t at = STUN_HEAD_BYTES; at < bytes; at += 4 + ((message[at + 3] + 3u) & ~3u)) {
            heads[at] = heads[at + 1] = heads[at + 2] = heads[at + 3] = true;
        }
        for (size_t cut = 0; cut < bytes; cut++) {
            u8 *exact = malloc(cut + 1); /* so that a sanitizer sees a read behind the end */
            memcpy(exact, message, cut);
            CHECK(!stun_read(exact, cut, &m));
            free(exact);
        }
        for (size_t bit = 0; bit < bytes * 8 && i < 3; bit++) {
            message[bit / 8] ^= (u8)(1 << bit % 8);
            CHECK(!stun_read(message, bytes, &m) || heads[bit / 8]);
            message[bit / 8] ^= (u8)(1 << bit % 8);
        }
        CHECK(stun_read(message, bytes, &m));
    }
}

static void stun_lengths(void) {
    static const struct {
        const char *hex;
        bool good;
    } rows[] = {
        {"000100002112a442" STUN_ID, true},                     /* no attributes */
        {"000100042112a442" STUN_ID, false},                    /* more than there is */
        {"000100002112a442" STUN_ID "80220000", false},         /* less */
        {"000100042112a442" STUN_ID "80220000", true},          /* an empty one */
        {"000100042112a442" STUN_ID "80220001", false},         /* its value is missing */
        {"000100082112a442" STUN_ID "8022000161000000", true},  /* padded */
        {"0001000c2112a442" STUN_ID "8028000400000000", false}, /* length beyond */
        {"000100082112a442" STUN_ID "8028000400000000", false}, /* a wrong FINGERPRINT */
        {"000100082112a443" STUN_ID "8022000161000000", false}, /* no cookie */
        {"400100002112a442" STUN_ID, false},                    /* no zero bits */
        {"000100062112a442" STUN_ID "800200010000", false},     /* no multiple of 4 */
        {"000100082112a442" STUN_ID "8022ffff61000000", false}, /* far beyond */
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        u8 message[256];
        struct stun_message m;
        size_t bytes = stun_hex(rows[i].hex, message);
        CHECK_INT(stun_read(message, bytes, &m), rows[i].good);
    }
}

/* A success holds the attribute of the samples, byte for byte, and is 40 or 52 bytes long. */
static void stun_success(void) {
    static const struct {
        const char *ip, *mapped, *head;
    } rows[] = {
        {"192.0.2.1", STUN_MAPPED_V4, "010100142112a442" STUN_ID},
        {"2001:db8:1234:5678:11:2233:4455:6677", STUN_MAPPED_V6, "010100202112a442" STUN_ID},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char out[STUN_ANSWER_BYTES_MAX];
        u8 id[STUN_ID_BYTES], want[64];
        struct text t = text_on(out, sizeof out);
        struct stun_message m;
        mps_address a;
        CHECK(address_parse(span_z(rows[i].ip), &a));
        a.port = 32853;
        stun_hex(STUN_ID, id);
        stun_put_success(&t, id, &a);
        size_t head = stun_hex(rows[i].head, want);
        size_t mapped = stun_hex(rows[i].mapped, want + head);
        CHECK_INT(t.bytes, head + mapped + 8);
        CHECK(memcmp(out, want, head + mapped) == 0);
        CHECK(stun_read((const u8 *)out, t.bytes, &m));
        CHECK_INT(m.type, STUN_BINDING_SUCCESS);
    }
}

/* 420 names what was not understood (RFC 8489, 6.3.1.1), up to four. */
static void stun_unknown(void) {
    static const struct {
        const char *attributes, *answer;
        u32 count;
    } rows[] = {
        {"7fff0000",
         "0009000400000414"
         "000a0002"
         "7fff0000",
         1},
        {"7fff0000"
         "00030004"
         "00000000",
         "0009000400000414"
         "000a0004"
         "7fff0003",
         2},
        {"8fff0000"
         "00240000",
         "", 0},
        {"7ff10000"
         "7ff20000"
         "7ff30000"
         "7ff40000"
         "7ff50000",
         "0009000400000414"
         "000a0008"
         "7ff17ff27ff37ff4",
         4},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        u8 message[128], want[64];
        char out[STUN_ANSWER_BYTES_MAX];
        struct text t = text_on(out, sizeof out);
        struct stun_message m;
        size_t bytes = stun_hex("000100002112a442" STUN_ID, message);
        size_t more = stun_hex(rows[i].attributes, message + bytes);
        message[3] = (u8)more;
        CHECK(stun_read(message, bytes + more, &m));
        CHECK_INT(m.unknown_count, rows[i].count);
        if (m.unknown_count) {
            stun_put_unknown(&t, &m);
            size_t wanted = stun_hex(rows[i].answer, want);
            CHECK_INT(t.bytes, STUN_HEAD_BYTES + wanted + 8);
            CHECK(memcmp(out + STUN_HEAD_BYTES, want, wanted) == 0);
            CHECK(stun_read((const u8 *)out, t.bytes, &m));
            CHECK_INT(m.type, STUN_BINDING_ERROR);
        }
    }
}

static void stun_crc(void) {
    CHECK_INT(crc32((const u8 *)"123456789", 9), 0xCBF43926);
    CHECK_INT(crc32(NULL, 0), 0);
}

static const struct check_test stun_tests[] = {
    {"samples", stun_samples}, {"damage", stun_damage},   {"lengths", stun_lengths},
    {"success", stun_success}, {"unknown", stun_unknown}, {"crc", stun_crc},
};

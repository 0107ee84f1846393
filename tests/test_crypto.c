/* Sections 14 and 16: the generator and SipHash, hashes, HMAC, base64. Expected values are those of
   the standards named beside them, or were computed with openssl and Python's hashlib. */

static void crypto_check_hex(const u8 *got, size_t bytes, const char *want) {
    char hex[2 * 96 + 1];
    struct text t = text_on(hex, sizeof hex);
    text_hex(&t, got, bytes);
    CHECK(!t.cut);
    CHECK_TEXT(t.at, t.bytes, want);
}

static size_t crypto_from_hex(const char *hex, u8 *out) {
    size_t count = strlen(hex) / 2;
    for (size_t i = 0; i < count; i++) {
        out[i] = (u8)(hex_value((u8)hex[2 * i]) << 4 | hex_value((u8)hex[2 * i + 1]));
    }
    return count;
}

static void crypto_sha256_of(const void *bytes, size_t count, u8 out[SHA256_BYTES]) {
    struct sha256 h;
    sha256_start(&h);
    sha256_add(&h, bytes, count);
    sha256_finish(&h, out);
}

/* The vectors of the reference implementation: key 00..0f, message 00..(n - 1) for n below 64. */
static const u64 crypto_siphash_vectors[64] = {
    0x726fdb47dd0e0e31, 0x74f839c593dc67fd, 0x0d6c8009d9a94f5a, 0x85676696d7fb7e2d,
    0xcf2794e0277187b7, 0x18765564cd99a68d, 0xcbc9466e58fee3ce, 0xab0200f58b01d137,
    0x93f5f5799a932462, 0x9e0082df0ba9e4b0, 0x7a5dbbc594ddb9f3, 0xf4b32f46226bada7,
    0x751e8fbc860ee5fb, 0x14ea5627c0843d90, 0xf723ca908e7af2ee, 0xa129ca6149be45e5,
    0x3f2acc7f57c29bdb, 0x699ae9f52cbe4794, 0x4bc1b3f0968dd39c, 0xbb6dc91da77961bd,
    0xbed65cf21aa2ee98, 0xd0f2cbb02e3b67c7, 0x93536795e3a33e88, 0xa80c038ccd5ccec8,
    0xb8ad50c6f649af94, 0xbce192de8a85b8ea, 0x17d835b85bbb15f3, 0x2f2e6163076bcfad,
    0xde4daaaca71dc9a5, 0xa6a2506687956571, 0xad87a3535c49ef28, 0x32d892fad841c342,
    0x7127512f72f27cce, 0xa7f32346f95978e3, 0x12e0b01abb051238, 0x15e034d40fa197ae,
    0x314dffbe0815a3b4, 0x027990f029623981, 0xcadcd4e59ef40c4d, 0x9abfd8766a33735c,
    0x0e3ea96b5304a7d0, 0xad0c42d6fc585992, 0x187306c89bc215a9, 0xd4a60abcf3792b95,
    0xf935451de4f21df2, 0xa9538f0419755787, 0xdb9acddff56ca510, 0xd06c98cd5c0975eb,
    0xe612a3cb9ecba951, 0xc766e62cfcadaf96, 0xee64435a9752fe72, 0xa192d576b245165a,
    0x0a8787bf8ecb74b2, 0x81b3e73d20b49b6f, 0x7fa8220ba3b2ecea, 0x245731c13ca42499,
    0xb78dbfaf3a8d83bd, 0xea1ad565322a1a0b, 0x60e61c23a3795013, 0x6606d7e446282b93,
    0x6ca4ecb15c5f91e1, 0x9f626da15c9625f3, 0xe51b38608ef25f57, 0x958a324ceb064572,
};

static void crypto_siphash(void) {
    struct siphash_key key = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
    u8 message[65];
    for (size_t i = 0; i < 64; i++) {
        message[i + 1] = (u8)i; /* unaligned on purpose */
    }
    for (size_t i = 0; i < 64; i++) {
        CHECK(siphash(&key, message + 1, i) == crypto_siphash_vectors[i]);
    }
    CHECK(siphash(&key, NULL, 0) == crypto_siphash_vectors[0]);
    key.k1 ^= 1;
    CHECK(siphash(&key, message + 1, 15) != crypto_siphash_vectors[15]);
}

/* RFC 8439, 2.3.2. */
static void crypto_chacha20_block(void) {
    u32 input[CHACHA20_WORDS] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574, 0x03020100,
                                 0x07060504, 0x0b0a0908, 0x0f0e0d0c, 0x13121110, 0x17161514,
                                 0x1b1a1918, 0x1f1e1d1c, 1,          0x09000000, 0x4a000000};
    u8 block[CHACHA20_BLOCK_BYTES];
    chacha20_block(input, block);
    crypto_check_hex(block, sizeof block,
                     "10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"
                     "d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e");
}

static void crypto_random_seeded(struct random_state *r, u8 first) {
    u8 entropy[32];
    for (u32 i = 0; i < sizeof entropy; i++) {
        entropy[i] = (u8)(first + i);
    }
    random_seed(r, entropy);
}

/* Bytes 32..255 of the zero-nonce keystream, bytes 0..31 being the next key, and so on. */
static void crypto_random_stream(void) {
    struct random_state r;
    u8 out[600], hash[SHA256_BYTES];
    crypto_random_seeded(&r, 0);
    crypto_check_hex(r.key, sizeof r.key,
                     "39fd2b7dd9c5196a8dbd0377b8dc4a498a35d86fbcde6accb2cc7d4cd8ea2492");
    random_bytes(&r, out, 600);
    crypto_check_hex(out, 96,
                     "2b23cce7a26023ab3f0eef693ac87f64258235eab1f7a32dc22762a0485b410c"
                     "18b84231ade6a6d113615c61af434e27f8b1f3f5e1ad5b5cecf8fc122a35755c"
                     "7208086dd1ee3c5d9d815824640e003c9ba0f65ede5d59ce0d2a4a7f31955acd");
    crypto_check_hex(out + 192, 96,
                     "4df2f9bd5613d4b4ed952fd858cd1b984acbf8ff1fd1a7c806d81ca8e4ae3b2c"
                     "2d41a59c90e41a8e7a4dccaa1c46069983b1a333ce25719ec3437768ab57fa42"
                     "ba3d01218930e55e8ac959c0b44772f7057621c309f50535496828ea3b8cba1b");
    crypto_sha256_of(out, sizeof out, hash);
    crypto_check_hex(hash, sizeof hash,
                     "f7817727936a12d92ca44c73bf0a1d148666f0209e859e2cea4e0aa831204c46");
}

static void crypto_random_pieces_make_the_same_stream(void) {
    for (size_t piece = 1; piece <= 300; piece++) {
        struct random_state r;
        u8 whole[600], pieces[600];
        crypto_random_seeded(&r, 7);
        random_bytes(&r, whole, sizeof whole);
        crypto_random_seeded(&r, 7);
        for (size_t at = 0; at < sizeof pieces; at += piece) {
            random_bytes(&r, pieces + at, size_min(piece, sizeof pieces - at));
        }
        CHECK(memcmp(whole, pieces, sizeof whole) == 0);
    }
}

static void crypto_random_wipes_what_it_gave(void) {
    struct random_state r, other;
    u8 out[64], entropy[32], key[32];
    memset(entropy, 0x5a, sizeof entropy);
    random_seed(&r, entropy);
    CHECK(memcmp(r.key, entropy, sizeof entropy) != 0); /* not even the first key is kept */
    memcpy(key, r.key, sizeof key);
    random_bytes(&r, out, 50);
    CHECK_INT(r.used, 50);
    for (u32 i = 0; i < 50; i++) {
        CHECK_INT(r.pool[i], 0);
    }
    random_bytes(&r, out, sizeof out);
    while (r.used < RANDOM_POOL_BYTES) {
        random_bytes(&r, out, 1);
    }
    for (u32 i = 0; i < RANDOM_POOL_BYTES; i++) {
        CHECK_INT(r.pool[i], 0);
    }
    CHECK(memcmp(r.key, key, sizeof key) == 0);
    random_bytes(&r, out, 1);
    CHECK(memcmp(r.key, key, sizeof key) != 0); /* each refill replaces the key */
    CHECK_INT(r.used, 1);
    random_bytes(&r, out, 0);
    CHECK_INT(r.used, 1);
    crypto_random_seeded(&r, 0);
    crypto_random_seeded(&other, 1);
    CHECK(memcmp(&r, &other, sizeof r) != 0);
    CHECK(memcmp(r.pool, other.pool, sizeof r.pool) != 0);
}

static void crypto_random_below(void) {
    static const u32 of_six[] = {3, 5, 1, 2, 4, 5, 2, 0, 5, 1, 5, 5};
    static const u32 of_half[] = {576725930u, 838312748u, 1109877407u,
                                  770090704u}; /* about half the draws are refused */
    static const u32 bounds[] = {1, 2, 3, 255, 256, 65537, 0x7fffffff, 0x80000000, UINT32_MAX};
    struct random_state r;
    crypto_random_seeded(&r, 0);
    for (size_t i = 0; i < COUNT_OF(of_six); i++) {
        CHECK_INT(random_below(&r, 6), of_six[i]);
    }
    crypto_random_seeded(&r, 0);
    for (size_t i = 0; i < COUNT_OF(of_half); i++) {
        CHECK_INT(random_below(&r, 0x80000001), of_half[i]);
    }
    for (size_t i = 0; i < COUNT_OF(bounds); i++) {
        for (int n = 0; n < 500; n++) {
            CHECK(random_below(&r, bounds[i]) < bounds[i]);
        }
    }
}

/* 60,000 draws of ten: each about 6,000, five standard deviations being 367. */
static void crypto_random_is_even(void) {
    struct random_state r;
    u32 counts[10] = {0};
    crypto_random_seeded(&r, 99);
    for (int n = 0; n < 60000; n++) {
        counts[random_below(&r, 10)]++;
    }
    for (size_t i = 0; i < COUNT_OF(counts); i++) {
        CHECK(counts[i] > 6000 - 367 && counts[i] < 6000 + 367);
    }
}

static void crypto_random_uuid(void) {
    struct random_state r;
    char first[37], next[38];
    crypto_random_seeded(&r, 0);
    random_uuid(&r, first);
    CHECK_TEXT(first, strlen(first), "2b23cce7-a260-43ab-bf0e-ef693ac87f64");
    for (int n = 0; n < 1000; n++) {
        next[37] = '#';
        random_uuid(&r, next);
        CHECK_INT(next[36], 0);
        CHECK_INT(next[37], '#');
        CHECK(next[8] == '-' && next[13] == '-' && next[18] == '-' && next[23] == '-');
        CHECK_INT(next[14], '4');
        CHECK(strchr("89ab", next[19]) != NULL);
        CHECK(strspn(next, "0123456789abcdef-") == 36);
        CHECK(strcmp(first, next) != 0);
    }
}

#include "conformance/fips180.h"

static void crypto_fill(u8 *message, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        message[i] = (u8)(7 * i + bytes);
    }
}

static void crypto_check_hashes(const void *message, size_t bytes, const char *want_sha1,
                                const char *want_sha256) {
    u8 hash[SHA256_BYTES];
    sha1(message, bytes, hash);
    crypto_check_hex(hash, SHA1_BYTES, want_sha1);
    crypto_sha256_of(message, bytes, hash);
    crypto_check_hex(hash, SHA256_BYTES, want_sha256);
}

static void crypto_hash_check(const void *at) {
    const struct crypto_hash_row *row = at;
    u8 message[6400];
    size_t bytes = row->bytes;
    if (row->text) {
        bytes = strlen(row->text);
        memcpy(message, row->text, bytes);
    } else if (row->hex) {
        bytes = crypto_from_hex(row->hex, message);
    } else {
        crypto_fill(message, bytes);
    }
    crypto_check_hashes(message, bytes, row->sha1, row->sha256);
}

static void crypto_hashes(void) {
    CONFORMANCE("fips180", crypto_hash_rows, crypto_hash_check);
    crypto_check_hashes(NULL, 0, crypto_hash_rows[0].sha1, crypto_hash_rows[0].sha256);
}

/* One message is the hashes i to i + 2, one behind the other. */
static void crypto_monte_check(const void *at) {
    const struct crypto_monte_row *row = at;
    static u8 hashes[1003][SHA256_BYTES];
    u8 message[3 * SHA256_BYTES], seed[SHA256_BYTES];
    size_t bytes = crypto_from_hex(row->seed, seed);
    for (u32 round = 0; round < 100; round++) {
        for (u32 i = 0; i < 3; i++) {
            memcpy(hashes[i], seed, bytes);
        }
        for (u32 i = 3; i < COUNT_OF(hashes); i++) {
            for (u32 part = 0; part < 3; part++) {
                memcpy(message + part * bytes, hashes[i - 3 + part], bytes);
            }
            (row->sha256 ? crypto_sha256_of : sha1)(message, 3 * bytes, hashes[i]);
        }
        memcpy(seed, hashes[COUNT_OF(hashes) - 1], bytes);
        if (round < 2 || round == 99) {
            crypto_check_hex(seed, bytes, row->rounds[u32_min(round, 2)]);
        }
    }
}

static void crypto_monte(void) {
    CONFORMANCE("shavs monte carlo", crypto_monte_rows, crypto_monte_check);
}

/* The SHA-1 of all hashes of lengths 0..300, one behind the other. */
static void crypto_hashes_of_every_length(void) {
    static u8 all[301 * SHA256_BYTES];
    u8 message[300] = {0}, hash[SHA1_BYTES];
    for (size_t i = 0; i <= sizeof message; i++) {
        crypto_fill(message, i);
        sha1(message, i, all + i * SHA1_BYTES);
    }
    sha1(all, (size_t)301 * SHA1_BYTES, hash);
    crypto_check_hex(hash, sizeof hash, "e570432b09ac39935ad256f819b381ba3900dbbd");
    for (size_t i = 0; i <= sizeof message; i++) {
        crypto_fill(message, i);
        crypto_sha256_of(message, i, all + i * SHA256_BYTES);
    }
    sha1(all, (size_t)301 * SHA256_BYTES, hash);
    crypto_check_hex(hash, sizeof hash, "fedd3745537ecef2ab1d9565d7a9184437c2def7");
}

static void crypto_million_a(void) {
    size_t bytes = 1000000;
    char *message = malloc(bytes);
    CHECK(message != NULL);
    if (message) {
        memset(message, 'a', bytes);
        crypto_check_hashes(message, bytes, "34aa973cd4c4daa4f61eeb2bdbad27316534016f",
                            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    }
    free(message);
}

static void crypto_pieces_make_the_same_hash(void) {
    u8 message[331], want[SHA256_BYTES], got[SHA256_BYTES];
    crypto_fill(message, sizeof message);
    crypto_sha256_of(message, sizeof message, want);
    for (size_t piece = 1; piece <= sizeof message; piece++) {
        struct sha256 h;
        sha256_start(&h);
        for (size_t at = 0; at < sizeof message; at += piece) {
            sha256_add(&h, message + at, size_min(piece, sizeof message - at));
            sha256_add(&h, NULL, 0);
        }
        sha256_finish(&h, got);
        CHECK(memcmp(want, got, sizeof want) == 0);
    }
    for (size_t cut = 0; cut <= sizeof message; cut++) {
        struct sha256 h;
        sha256_start(&h);
        sha256_add(&h, message, cut);
        sha256_add(&h, message + cut, sizeof message - cut);
        sha256_finish(&h, got);
        CHECK(memcmp(want, got, sizeof want) == 0);
    }
}

static void crypto_finish_wipes(void) {
    struct sha256 h, zero;
    struct hmac256 m;
    u8 out[SHA256_BYTES];
    memset(&zero, 0, sizeof zero);
    sha256_start(&h);
    sha256_add(&h, "secret", 6);
    sha256_finish(&h, out);
    CHECK(memcmp(&h, &zero, sizeof h) == 0);
    hmac256_start(&m, "secret", 6);
    hmac256_finish(&m, out);
    CHECK(memcmp(&m.inner, &zero, sizeof zero) == 0);
    CHECK(memcmp(&m.outer, &zero, sizeof zero) == 0);
    crypto_wipe(out + 1, 30);
    CHECK(out[0] != 0 && out[31] != 0);
    CHECK(memcmp(out + 1, &zero, 30) == 0);
}

static void crypto_hmac_check(const void *at) {
    const struct crypto_hmac_row *row = at;
    u8 key[160], message[160], code[SHA256_BYTES];
    size_t key_bytes = crypto_from_hex(row->key, key);
    size_t bytes = crypto_from_hex(row->message, message);
    struct hmac256 prepared, h;
    hmac256_start(&prepared, key, key_bytes);
    for (size_t piece = 1; piece < 8; piece++) { /* one prepared, many copies */
        h = prepared;
        for (size_t done = 0; done < bytes; done += piece) {
            hmac256_add(&h, message + done, size_min(piece, bytes - done));
        }
        hmac256_finish(&h, code);
        crypto_check_hex(code, sizeof code, row->code);
    }
}

static void crypto_hmac(void) {
    CONFORMANCE("rfc4231", crypto_hmac_rows, crypto_hmac_check);
}

/* RFC 7515, A.1. */
static void crypto_jws_example(void) {
    static const char key_text[] =
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    static const char signed_text[] =
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJ"
        "leHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp"
        "0cnVlfQ";
    u8 key[64], code[SHA256_BYTES];
    char signature[44];
    struct hmac256 h;
    CHECK_INT(base64url_read(SPAN(key_text), key, sizeof key), 64);
    hmac256_start(&h, key, sizeof key);
    hmac256_add(&h, signed_text, strlen(signed_text));
    hmac256_finish(&h, code);
    CHECK_TEXT(signature, base64url_write(code, sizeof code, signature),
               "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
}

/* RFC 6455, 1.3: what SHA-1 is here for. */
static void crypto_websocket_accept(void) {
    static const char text[] = "dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    u8 hash[SHA1_BYTES];
    char accept[28];
    sha1(text, sizeof text - 1, hash);
    CHECK_TEXT(accept, base64_write(hash, sizeof hash, accept), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

static void crypto_equal_compares(void) {
    u8 a[33], b[33];
    memset(a, 7, sizeof a);
    memset(b, 7, sizeof b);
    CHECK(crypto_equal(a, b, sizeof a));
    CHECK(crypto_equal(a, b, 0));
    for (size_t i = 0; i < sizeof a; i++) {
        for (u32 bit = 1; bit < 256; bit <<= 1) {
            b[i] = (u8)(7 ^ bit);
            CHECK(!crypto_equal(a, b, sizeof a));
            CHECK(crypto_equal(a, b, i));
        }
        b[i] = 7;
    }
}

static void crypto_base64_check(const void *at) {
    const struct crypto_base64_row *row = at;
    size_t count = strlen(row->bytes);
    struct span standard = span_z(row->standard), url = span_z(row->url);
    char text[16];
    u8 back[8];
    CHECK_TEXT(text, base64_write((const u8 *)row->bytes, count, text), row->standard);
    CHECK_TEXT(text, base64url_write((const u8 *)row->bytes, count, text), row->url);
    CHECK_INT(base64_read(standard, back, count), count);
    CHECK_TEXT((char *)back, count, row->bytes);
    CHECK_INT(base64url_read(url, back, count), count);
    CHECK_TEXT((char *)back, count, row->bytes);
    if (count) { /* one byte of room too few */
        CHECK_INT(base64_read(standard, back, count - 1), -1);
        CHECK_INT(base64url_read(url, back, count - 1), -1);
    }
}

static void crypto_base64(void) {
    CONFORMANCE("rfc4648", crypto_base64_rows, crypto_base64_check);
}

static void crypto_base64_round_trips(void) {
    struct random_state r;
    crypto_random_seeded(&r, 3);
    for (size_t count = 0; count < 100; count++) {
        u8 bytes[100], back[100];
        char text[136];
        random_bytes(&r, bytes, count);
        size_t written = base64_write(bytes, count, text);
        CHECK_INT(written, 4 * ((count + 2) / 3));
        CHECK_INT(base64_read(span_of(text, written), back, count), count);
        CHECK(memcmp(bytes, back, count) == 0);
        written = base64url_write(bytes, count, text);
        CHECK_INT(written, (4 * count + 2) / 3);
        CHECK_INT(base64url_read(span_of(text, written), back, count), count);
        CHECK(memcmp(bytes, back, count) == 0);
    }
}

static void crypto_refused_check(const void *at) {
    const struct crypto_refused_row *row = at;
    u8 out[64];
    CHECK_INT((row->url ? base64url_read : base64_read)(span_z(row->text), out, sizeof out), -1);
}

static void crypto_base64_refuses(void) {
    u8 out[64];
    CONFORMANCE("rfc4648 refused", crypto_refused_rows, crypto_refused_check);
    CHECK_INT(base64url_read(span_of("Zm\0v", 4), out, sizeof out), -1);
    CHECK_INT(base64url_read(span_of(NULL, 0), out, 0), 0);
    CHECK_INT(base64_read(span_of(NULL, 0), NULL, 0), 0);
}

static const struct check_test crypto_tests[] = {
    {"siphash", crypto_siphash},
    {"chacha20_block", crypto_chacha20_block},
    {"random_stream", crypto_random_stream},
    {"random_pieces_make_the_same_stream", crypto_random_pieces_make_the_same_stream},
    {"random_wipes_what_it_gave", crypto_random_wipes_what_it_gave},
    {"random_below", crypto_random_below},
    {"random_is_even", crypto_random_is_even},
    {"random_uuid", crypto_random_uuid},
    {"hashes", crypto_hashes},
    {"monte", crypto_monte},
    {"hashes_of_every_length", crypto_hashes_of_every_length},
    {"million_a", crypto_million_a},
    {"pieces_make_the_same_hash", crypto_pieces_make_the_same_hash},
    {"finish_wipes", crypto_finish_wipes},
    {"hmac", crypto_hmac},
    {"jws_example", crypto_jws_example},
    {"websocket_accept", crypto_websocket_accept},
    {"equal_compares", crypto_equal_compares},
    {"base64", crypto_base64},
    {"base64_round_trips", crypto_base64_round_trips},
    {"base64_refuses", crypto_base64_refuses},
};

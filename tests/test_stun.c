/* Section 44: STUN. */

#include "conformance/rfc5769.h"

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

static void stun_sample_check(const void *at) {
    const struct stun_vector *row = at;
    u8 message[256], signature[SHA1_BYTES];
    struct stun_message m;
    size_t bytes = stun_hex(row->hex, message);
    CHECK(stun_read(message, bytes, &m));
    CHECK_INT(m.type, row->type);
    CHECK_INT(m.unknown_count, 0);
    CHECK(m.id == message + 8);
    if (row->password) { /* MESSAGE-INTEGRITY, 32 bytes from the end */
        size_t signed_bytes = bytes - 8 - 24;
        message[3] = (u8)(signed_bytes + 24 - STUN_HEAD_BYTES);
        stun_hmac(row->password, message, signed_bytes, signature);
        CHECK(memcmp(signature, message + signed_bytes + 4, SHA1_BYTES) == 0);
    }
}

static void stun_samples(void) {
    CONFORMANCE("rfc5769", stun_vectors, stun_sample_check);
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

static void stun_length_check(const void *at) {
    const struct stun_length_row *row = at;
    u8 message[256];
    struct stun_message m;
    size_t bytes = stun_hex(row->hex, message);
    CHECK_INT(stun_read(message, bytes, &m), row->good);
}

static void stun_lengths(void) {
    CONFORMANCE("rfc8489 messages", stun_length_rows, stun_length_check);
}

static void stun_success_check(const void *at) {
    const struct stun_success_row *row = at;
    char out[STUN_ANSWER_BYTES_MAX];
    u8 id[STUN_ID_BYTES], want[64];
    struct text t = text_on(out, sizeof out);
    struct stun_message m;
    mps_address a;
    CHECK(address_parse(span_z(row->ip), &a));
    a.port = 32853;
    stun_hex(STUN_ID, id);
    stun_put_success(&t, id, &a);
    size_t head = stun_hex(row->head, want);
    size_t mapped = stun_hex(row->mapped, want + head);
    CHECK_INT(t.bytes, head + mapped + 8); /* 40 or 52 */
    CHECK(memcmp(out, want, head + mapped) == 0);
    CHECK(stun_read((const u8 *)out, t.bytes, &m));
    CHECK_INT(m.type, STUN_BINDING_SUCCESS);
}

static void stun_success(void) {
    CONFORMANCE("rfc8489 successes", stun_success_rows, stun_success_check);
}

/* 420 names what was not understood (RFC 8489, 6.3.1.1), up to four. */
static void stun_unknown_check(const void *at) {
    const struct stun_unknown_row *row = at;
    u8 message[128], want[64];
    char out[STUN_ANSWER_BYTES_MAX];
    struct text t = text_on(out, sizeof out);
    struct stun_message m;
    size_t bytes = stun_hex("000100002112a442" STUN_ID, message);
    size_t more = stun_hex(row->attributes, message + bytes);
    message[3] = (u8)more;
    CHECK(stun_read(message, bytes + more, &m));
    CHECK_INT(m.unknown_count, row->count);
    if (m.unknown_count) {
        stun_put_unknown(&t, &m);
        size_t wanted = stun_hex(row->answer, want);
        CHECK_INT(t.bytes, STUN_HEAD_BYTES + wanted + 8);
        CHECK(memcmp(out + STUN_HEAD_BYTES, want, wanted) == 0);
        CHECK(stun_read((const u8 *)out, t.bytes, &m));
        CHECK_INT(m.type, STUN_BINDING_ERROR);
    }
}

static void stun_unknown(void) {
    CONFORMANCE("rfc8489 unknown", stun_unknown_rows, stun_unknown_check);
}

static void stun_crc(void) {
    CHECK_INT(crc32((const u8 *)"123456789", 9), 0xCBF43926);
    CHECK_INT(crc32(NULL, 0), 0);
}

static const struct check_test stun_tests[] = {
    {"samples", stun_samples}, {"damage", stun_damage},   {"lengths", stun_lengths},
    {"success", stun_success}, {"unknown", stun_unknown}, {"crc", stun_crc},
};

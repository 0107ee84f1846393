/* mpserver.c: the server as a pure state machine. No I/O, no clock, no heap.  SPDX: MIT-0

   CONTENTS. Lower layers first: a section calls only what stands above it, so there is not one
   forward declaration, and struct mps_server is completed only in section 80: nothing below can
   reach across. Find a section by its banner, e.g. "== 40 http".

     10 base          assertions, integers, spans, bounded text
     12 errors, log   the error table's columns, log records and their two formats
     14 random        SipHash-2-4, the server's generator
     16 crypto        SHA-1, SHA-256, HMAC, base64, constant-time comparison
     18 metrics       counters and histograms by name
     20 arena         the layout of the block: one function sizes it and carves it
     22 stb_ds        loading only: arrays and maps in scratch, frozen afterwards
     24 pools         records, handles with generations, FIFO free lists
     26 index         fixed hash index, SipHash keyed
     28 queues        lists through records, outcomes
     30 timers        one heap of deadlines; also orders the rate buckets
     32 json          UTF-8, JSON reader and writer, numbers
     34 addresses     text of IPv4 and IPv6, ranges, dates
     40 http          HTTP/1.1 parser and writer, pure
     50 connections   states, byte rings, lent chunks, large inputs, back-pressure
     52 auth          identities, JWT HS256
     54 rate limits   token buckets by address, trusted proxies
     64 lobbies       lobbies, their players, codes
     80 server        struct mps_server, configuration table, layout, checks
     84 http handlers routes[], answers, producers
     87 settle        outcomes become hooks and log lines
     88 advance       timers[], slices of left-over work
     90 api           thin mps_* wrappers */

#include "mpserver.h"

#include <string.h>

/* == 10 base ====================================================================================
   What every section uses: integers by their width, assertions, spans (borrowed bytes) and text (a
   bounded writer). Owns no state and knows nothing about the server. */

#ifndef MPS_ASSERT
#if defined(__GNUC__)
#define MPS_ASSERT(x) ((x) ? (void)0 : __builtin_trap())
#else
static void assert_failed(void) {
    for (;;) {
        *(volatile int *)0 = 0;
    }
}
#define MPS_ASSERT(x) ((x) ? (void)0 : assert_failed())
#endif
#endif

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t i32;
typedef int64_t i64;

#define MS_US ((u64)1000) /* microseconds in a millisecond */
#define S_US ((u64)1000000)
#define NEVER UINT64_MAX

static u32 u32_min(u32 a, u32 b) {
    return a < b ? a : b;
}

static u32 u32_max(u32 a, u32 b) {
    return a > b ? a : b;
}

static size_t size_min(size_t a, size_t b) {
    return a < b ? a : b;
}

/* a + b, or the end of time. */
static u64 time_after(u64 a, u64 b) {
    return a > NEVER - b ? NEVER : a + b;
}

static u32 load_be32(const u8 *at) {
    return (u32)at[0] << 24 | (u32)at[1] << 16 | (u32)at[2] << 8 | at[3];
}

static void store_be32(u8 *at, u32 value) {
    at[0] = (u8)(value >> 24);
    at[1] = (u8)(value >> 16);
    at[2] = (u8)(value >> 8);
    at[3] = (u8)value;
}

static u64 load_le64(const u8 *at) {
    u64 value = 0;
    for (int i = 7; i >= 0; i--) {
        value = value << 8 | at[i];
    }
    return value;
}

/* Borrowed bytes. `at` may be NULL when there are none. */
struct span {
    const char *at;
    size_t bytes;
};

#define SPAN(literal) ((struct span){(literal), sizeof(literal) - 1})

static struct span span_of(const char *at, size_t bytes) {
    return (struct span){at, bytes};
}

static struct span span_z(const char *zero_terminated) {
    return span_of(zero_terminated, zero_terminated ? strlen(zero_terminated) : 0);
}

static bool span_equal(struct span a, struct span b) {
    return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.at, b.at, a.bytes) == 0);
}

static u8 ascii_lower(u8 c) {
    return c >= 'A' && c <= 'Z' ? (u8)(c + 32) : c;
}

static bool ascii_digit(u8 c) {
    return c >= '0' && c <= '9';
}

/* Letters of either case are equal; other bytes must match. */
static bool span_equal_fold(struct span a, struct span b) {
    if (a.bytes != b.bytes) {
        return false;
    }
    for (size_t i = 0; i < a.bytes; i++) {
        if (ascii_lower((u8)a.at[i]) != ascii_lower((u8)b.at[i])) {
            return false;
        }
    }
    return true;
}

/* A bounded writer. What does not fit is left out and `cut` says so; nothing overruns. */
struct text {
    char *at;
    size_t bytes, capacity;
    bool cut;
};

static struct text text_on(char *at, size_t capacity) {
    return (struct text){at, 0, capacity, false};
}

static void text_add(struct text *t, struct span s) {
    size_t room = t->capacity - t->bytes;
    size_t count = size_min(s.bytes, room);
    MPS_ASSERT(t->bytes <= t->capacity);
    if (count) {
        memcpy(t->at + t->bytes, s.at, count);
    }
    t->bytes += count;
    t->cut |= count < s.bytes;
}

#define TEXT_LITERAL(t, literal) text_add((t), SPAN(literal))

static void text_z(struct text *t, const char *zero_terminated) {
    text_add(t, span_z(zero_terminated));
}

static void text_char(struct text *t, char c) {
    text_add(t, span_of(&c, 1));
}

#define U64_DIGITS_MAX 20

static void text_u64(struct text *t, u64 value) {
    char digits[U64_DIGITS_MAX];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    text_add(t, span_of(digits + at, sizeof digits - at));
}

static void text_i64(struct text *t, i64 value) {
    if (value < 0) {
        text_char(t, '-');
    }
    text_u64(t, value < 0 ? (u64)0 - (u64)value : (u64)value);
}

/* Decimal with leading zeros up to `digits`. */
static void text_padded(struct text *t, u64 value, u32 digits) {
    u64 bound = 10;
    for (u32 i = 1; i < digits; i++, bound *= 10) {
        if (value < bound) {
            text_char(t, '0');
        }
    }
    text_u64(t, value);
}

static const char hex_digits[] = "0123456789abcdef";

static void text_hex(struct text *t, const u8 *bytes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        text_char(t, hex_digits[bytes[i] >> 4]);
        text_char(t, hex_digits[bytes[i] & 15]);
    }
}

/* The value of a hexadecimal digit, -1 for anything else. */
static int hex_value(u8 c) {
    if (ascii_digit(c)) {
        return c - '0';
    }
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static struct span text_span(const struct text *t) {
    return span_of(t->at, t->bytes);
}

/* == 12 errors, log ==============================================================================
   The columns of MPS_ERRORS as a table, looked up by value. */

struct error_row {
    mps_error error;
    u16 http, ws;
    const char *code, *text;
};

static const struct error_row errors[] = {
    {MPS_OK, 200, 0, "ok", "Done."},
#define ERROR_ROW(name, value, code, http, ws, text) {MPS_E_##name, http, ws, code, text},
    MPS_ERRORS(ERROR_ROW)
#undef ERROR_ROW
};

static const struct error_row *error_row(mps_error error) {
    for (size_t i = 0; i < COUNT_OF(errors); i++) {
        if (errors[i].error == error) {
            return &errors[i];
        }
    }
    MPS_ASSERT(!"an error that is not in MPS_ERRORS");
    return &errors[0];
}

/* == 14 random ===================================================================================
   Two things that must not be guessed: the keyed hash of the indexes, and the server's generator.
   SipHash-2-4 (Aumasson, Bernstein 2012) keeps crafted names from piling up in one bucket; it is
   no message authentication here. The generator is the ChaCha20 keystream (RFC 8439) with fast
   key erasure: every refill first replaces its own key, and bytes handed out are wiped, so a
   copy of the memory tells nothing about tokens and codes given earlier. All of it comes from
   the 32 bytes of entropy at creation, in an order fixed by the calls alone: the same seed
   replays to the same bytes on any endianness. A saved block therefore must not be resumed
   twice. The state belongs to whoever declares it; nothing here has state of its own. */

/* Zeroes in a way that is not optimised away. Stands here, above its section 16, because the
   generator wipes as well. */
static void crypto_wipe(void *at, size_t count) {
    volatile u8 *bytes = at;
    for (size_t i = 0; i < count; i++) {
        bytes[i] = 0;
    }
}

struct siphash_key {
    u64 k0, k1; /* the 16 key bytes as two little-endian numbers */
};

/* `bits` is a constant, neither 0 nor 64. */
static u64 siphash_rotate(u64 value, u32 bits) {
    return value << bits | value >> (64 - bits);
}

static void siphash_rounds(u64 v[4], u32 rounds) {
    for (u32 i = 0; i < rounds; i++) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = siphash_rotate(v[1], 13) ^ v[0];
        v[3] = siphash_rotate(v[3], 16) ^ v[2];
        v[0] = siphash_rotate(v[0], 32) + v[3];
        v[2] += v[1];
        v[3] = siphash_rotate(v[3], 21) ^ v[0];
        v[1] = siphash_rotate(v[1], 17) ^ v[2];
        v[2] = siphash_rotate(v[2], 32);
    }
}

static void siphash_word(u64 v[4], u64 word) {
    v[3] ^= word;
    siphash_rounds(v, 2);
    v[0] ^= word;
}

static u64 siphash(const struct siphash_key *key, const void *bytes, size_t count) {
    /* The constants spell "somepseudorandomlygeneratedbytes". */
    u64 v[4] = {key->k0 ^ 0x736f6d6570736575, key->k1 ^ 0x646f72616e646f6d,
                key->k0 ^ 0x6c7967656e657261, key->k1 ^ 0x7465646279746573};
    const u8 *at = bytes;
    size_t whole = count - count % 8;
    u64 last = (u64)count << 56; /* the length mod 256 above up to 7 bytes that are left over */
    MPS_ASSERT(bytes || count == 0);
    for (size_t i = 0; i < whole; i += 8) {
        siphash_word(v, load_le64(at + i));
    }
    for (size_t i = whole; i < count; i++) {
        last |= (u64)at[i] << (8 * (i - whole));
    }
    siphash_word(v, last);
    v[2] ^= 0xff;
    siphash_rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

#define CHACHA20_WORDS 16
#define CHACHA20_BLOCK_BYTES 64
#define CHACHA20_DOUBLE_ROUNDS 10

static u32 chacha20_rotate(u32 value, u32 bits) {
    return value << bits | value >> (32 - bits);
}

static void chacha20_quarter(u32 x[CHACHA20_WORDS], u32 a, u32 b, u32 c, u32 d) {
    x[a] += x[b];
    x[d] = chacha20_rotate(x[d] ^ x[a], 16);
    x[c] += x[d];
    x[b] = chacha20_rotate(x[b] ^ x[c], 12);
    x[a] += x[b];
    x[d] = chacha20_rotate(x[d] ^ x[a], 8);
    x[c] += x[d];
    x[b] = chacha20_rotate(x[b] ^ x[c], 7);
}

/* One block of keystream (RFC 8439, 2.3). The 16 words of input:

       0  1  2  3   "expand 32-byte k"
       4 .. 11      key, little-endian
       12           block counter
       13 .. 15     nonce */
static void chacha20_block(const u32 input[CHACHA20_WORDS], u8 out[CHACHA20_BLOCK_BYTES]) {
    u32 x[CHACHA20_WORDS];
    memcpy(x, input, sizeof x);
    for (u32 round = 0; round < CHACHA20_DOUBLE_ROUNDS; round++) {
        for (u32 i = 0; i < 4; i++) { /* the columns */
            chacha20_quarter(x, i, 4 + i, 8 + i, 12 + i);
        }
        for (u32 i = 0; i < 4; i++) { /* the diagonals */
            chacha20_quarter(x, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4);
        }
    }
    for (u32 i = 0; i < CHACHA20_WORDS; i++) {
        x[i] += input[i];
    }
    for (u32 i = 0; i < CHACHA20_BLOCK_BYTES; i++) {
        out[i] = (u8)(x[i / 4] >> (8 * (i % 4)));
    }
    crypto_wipe(x, sizeof x);
}

#define RANDOM_KEY_BYTES 32
#define RANDOM_REFILL_BLOCKS 4
#define RANDOM_POOL_BYTES (RANDOM_REFILL_BLOCKS * CHACHA20_BLOCK_BYTES - RANDOM_KEY_BYTES)
#define RANDOM_TRIES_MAX 64

struct random_state {
    u8 key[RANDOM_KEY_BYTES];
    u8 pool[RANDOM_POOL_BYTES]; /* `used` zeroes, then bytes nobody has seen yet */
    u32 used;
};

/* Blocks 0..3 under the present key and an all-zero nonce (no key is used twice):

       | key for the next refill, 32 | pool, 32 + 3 * 64 | */
static void random_refill(struct random_state *r) {
    u32 input[CHACHA20_WORDS] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    u8 block[CHACHA20_BLOCK_BYTES];
    for (u32 i = 0; i < RANDOM_KEY_BYTES / 8; i++) {
        u64 pair = load_le64(r->key + (size_t)8 * i);
        input[4 + 2 * i] = (u32)pair;
        input[5 + 2 * i] = (u32)(pair >> 32);
    }
    chacha20_block(input, block);
    memcpy(r->key, block, sizeof r->key);
    memcpy(r->pool, block + sizeof r->key, sizeof block - sizeof r->key);
    for (u32 i = 1; i < RANDOM_REFILL_BLOCKS; i++) {
        input[12] = i;
        chacha20_block(input, r->pool + (size_t)i * sizeof block - sizeof r->key);
    }
    r->used = 0;
    crypto_wipe(input, sizeof input);
    crypto_wipe(block, sizeof block);
}

/* Copies `entropy`, and refills at once so that not even the first key is kept. */
static void random_seed(struct random_state *r, const u8 entropy[RANDOM_KEY_BYTES]) {
    memcpy(r->key, entropy, sizeof r->key);
    random_refill(r);
}

/* Any count: as many refills as it takes. Each byte is given once and wiped. */
static void random_bytes(struct random_state *r, void *out, size_t count) {
    u8 *to = out;
    MPS_ASSERT(r->used <= RANDOM_POOL_BYTES);
    while (count) {
        if (r->used == RANDOM_POOL_BYTES) {
            random_refill(r);
        }
        size_t part = size_min(count, RANDOM_POOL_BYTES - r->used);
        memcpy(to, r->pool + r->used, part);
        crypto_wipe(r->pool + r->used, part);
        r->used += (u32)part;
        to += part;
        count -= part;
    }
}

/* A number below `bound` (>= 1), all equally likely: of the 2^32 draws the lowest 2^32 mod bound
   are drawn again. A draw is thrown away at less than even odds, so running out of tries, which
   would only cost evenness, happens less than once in 2^64 calls. */
static u32 random_below(struct random_state *r, u32 bound) {
    u32 value = 0;
    MPS_ASSERT(bound >= 1);
    u32 surplus = (0 - bound) % bound;
    for (u32 i = 0; i < RANDOM_TRIES_MAX; i++) {
        u8 drawn[4];
        random_bytes(r, drawn, sizeof drawn);
        value = load_be32(drawn);
        if (value >= surplus) {
            break;
        }
    }
    return value % bound;
}

#define UUID_BYTES 16

/* A version 4 UUID (RFC 9562, 5.4) as text of 36 characters and a zero:

       xxxxxxxx-xxxx-Mxxx-Nxxx-xxxxxxxxxxxx   M: version, 4   N: variant, 8 9 a or b */
static void random_uuid(struct random_state *r, char out[37]) {
    u8 uuid[UUID_BYTES];
    struct text t = text_on(out, 36);
    random_bytes(r, uuid, sizeof uuid);
    uuid[6] = (u8)((uuid[6] & 0x0f) | 0x40);
    uuid[8] = (u8)((uuid[8] & 0x3f) | 0x80);
    for (u32 i = 0; i < UUID_BYTES; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            text_char(&t, '-');
        }
        text_hex(&t, uuid + i, 1);
    }
    MPS_ASSERT(t.bytes == 36 && !t.cut);
    out[36] = 0;
    crypto_wipe(uuid, sizeof uuid);
}

/* == 16 crypto ===================================================================================
   SHA-1 for the WebSocket handshake and nothing else (RFC 6455 asks for it; it is broken as a
   signature), SHA-256 and HMAC-SHA256 (FIPS 180-4, RFC 2104) for tokens and signed requests,
   base64, and comparison that takes the same time wherever two secrets differ. Portable C
   without hardware instructions, small rather than unrolled, since it runs on microcontrollers
   too. Nothing branches on a secret or uses one as an index; base64 does, but what it spells is
   on the wire. Hashing cannot fail and allocates nothing; a state belongs to its caller, may be
   copied while it runs, and is wiped by finish. Readers of base64 take wire data and are strict:
   one text for each value. */

#define SHA_BLOCK_BYTES 64
#define SHA_WORDS 16 /* of the message schedule, which rolls in place */

/* Rotations by constants below 32, never by 0: compilers make one instruction of it. */
static u32 sha_rotate_right(u32 value, u32 bits) {
    return value >> bits | value << (32 - bits);
}

/* Both hashes read their block as 16 big-endian words. */
static void sha_load_block(const u8 *block, u32 w[SHA_WORDS]) {
    for (u32 i = 0; i < SHA_WORDS; i++) {
        w[i] = load_be32(block + (size_t)4 * i);
    }
}

/* Puts the end of a message behind its `left` bytes in `tail` and gives the bytes of one or two
   whole blocks (FIPS 180-4, 5.1.1):

       | left bytes | 80 | zeroes until 8 bytes are left | message bits, u64 big-endian | */
static size_t sha_pad(u8 tail[2 * SHA_BLOCK_BYTES], size_t left, u64 message_bytes) {
    size_t end = left < SHA_BLOCK_BYTES - 8 ? SHA_BLOCK_BYTES : 2 * SHA_BLOCK_BYTES;
    u64 bits = message_bytes * 8;
    MPS_ASSERT(left < SHA_BLOCK_BYTES);
    memset(tail + left, 0, end - left);
    tail[left] = 0x80;
    store_be32(tail + end - 8, (u32)(bits >> 32));
    store_be32(tail + end - 4, (u32)bits);
    return end;
}

#define SHA1_BYTES 20
#define SHA1_STATE_WORDS 5
#define SHA1_ROUNDS 80

struct sha1 {
    u32 state[SHA1_STATE_WORDS];
};

/* FIPS 180-4, 4.1.1 and 4.2.1: the function and the constant of one round. */
static u32 sha1_mix(u32 round, u32 b, u32 c, u32 d) {
    switch (round / 20) {
    case 0:
        return ((b & c) | (~b & d)) + 0x5a827999;
    case 1:
        return (b ^ c ^ d) + 0x6ed9eba1;
    case 2:
        return ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc;
    default:
        return (b ^ c ^ d) + 0xca62c1d6;
    }
}

/* One block (FIPS 180-4, 6.1.2). Words 16..79 of the schedule are made as they are needed, each
   over the one 16 before it: 64 bytes of stack instead of 320. */
static void sha1_block(struct sha1 *h, const u8 *block) {
    u32 w[SHA_WORDS];
    u32 a = h->state[0], b = h->state[1], c = h->state[2], d = h->state[3], e = h->state[4];
    sha_load_block(block, w);
    for (u32 i = 0; i < SHA1_ROUNDS; i++) {
        if (i >= SHA_WORDS) {
            u32 next = w[(i + 13) & 15] ^ w[(i + 8) & 15] ^ w[(i + 2) & 15] ^ w[i & 15];
            w[i & 15] = sha_rotate_right(next, 31);
        }
        u32 first = sha_rotate_right(a, 27) + sha1_mix(i, b, c, d) + e + w[i & 15];
        e = d;
        d = c;
        c = sha_rotate_right(b, 2);
        b = a;
        a = first;
    }
    h->state[0] += a;
    h->state[1] += b;
    h->state[2] += c;
    h->state[3] += d;
    h->state[4] += e;
}

/* One shot is enough: what the handshake hashes is a key and a constant, 60 bytes. */
static void sha1(const void *bytes, size_t count, u8 out[SHA1_BYTES]) {
    struct sha1 h = {{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0}};
    u8 tail[2 * SHA_BLOCK_BYTES];
    const u8 *at = bytes;
    size_t left = count % SHA_BLOCK_BYTES, whole = count - left;
    MPS_ASSERT(bytes || count == 0);
    for (size_t i = 0; i < whole; i += SHA_BLOCK_BYTES) {
        sha1_block(&h, at + i);
    }
    if (left) {
        memcpy(tail, at + whole, left);
    }
    size_t end = sha_pad(tail, left, count);
    for (size_t i = 0; i < end; i += SHA_BLOCK_BYTES) {
        sha1_block(&h, tail + i);
    }
    for (u32 i = 0; i < SHA1_STATE_WORDS; i++) {
        store_be32(out + (size_t)4 * i, h.state[i]);
    }
}

#define SHA256_BYTES 32
#define SHA256_STATE_WORDS 8
#define SHA256_ROUNDS 64

/* A hash under way, copied by assignment. */
struct sha256 {
    u32 state[SHA256_STATE_WORDS];
    u64 bytes;                 /* of the message so far */
    u8 block[SHA_BLOCK_BYTES]; /* its last bytes % 64, waiting for a whole block */
};

/* One for each round (FIPS 180-4, 4.2.2). */
static const u32 sha256_constants[SHA256_ROUNDS] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

/* The schedule's next 16 words over the last 16 (FIPS 180-4, 6.2.2, step 1). */
static void sha256_schedule(u32 w[SHA_WORDS]) {
    for (u32 i = 0; i < SHA_WORDS; i++) {
        u32 early = w[(i + 1) & 15], late = w[(i + 14) & 15];
        u32 s0 = sha_rotate_right(early, 7) ^ sha_rotate_right(early, 18) ^ early >> 3;
        u32 s1 = sha_rotate_right(late, 17) ^ sha_rotate_right(late, 19) ^ late >> 10;
        w[i] += s0 + w[(i + 9) & 15] + s1;
    }
}

/* Sixteen rounds (FIPS 180-4, 6.2.2, step 3) with working variables a..h in s[0..7]. */
static void sha256_rounds(u32 s[SHA256_STATE_WORDS], const u32 w[SHA_WORDS], const u32 *k) {
    u32 a = s[0], b = s[1], c = s[2], d = s[3], e = s[4], f = s[5], g = s[6], h = s[7];
    for (u32 i = 0; i < SHA_WORDS; i++) {
        u32 s1 = sha_rotate_right(e, 6) ^ sha_rotate_right(e, 11) ^ sha_rotate_right(e, 25);
        u32 s0 = sha_rotate_right(a, 2) ^ sha_rotate_right(a, 13) ^ sha_rotate_right(a, 22);
        /* Ch picks f or g by e, Maj is the majority of a, b, c; both with one operation less
           than the standard writes them with. */
        u32 t1 = h + s1 + (g ^ (e & (f ^ g))) + k[i] + w[i];
        u32 t2 = s0 + ((a & b) | (c & (a | b)));
        h = g;
        g = f;
        f = e;
        e = d + t1;
        d = c;
        c = b;
        b = a;
        a = t1 + t2;
    }
    s[0] = a;
    s[1] = b;
    s[2] = c;
    s[3] = d;
    s[4] = e;
    s[5] = f;
    s[6] = g;
    s[7] = h;
}

/* The schedule is extended 16 words at a time, so that the rounds need no test for it. */
static void sha256_block(struct sha256 *h, const u8 *block) {
    u32 w[SHA_WORDS], s[SHA256_STATE_WORDS];
    sha_load_block(block, w);
    memcpy(s, h->state, sizeof s);
    for (u32 i = 0; i < SHA256_ROUNDS; i += SHA_WORDS) {
        if (i) {
            sha256_schedule(w);
        }
        sha256_rounds(s, w, sha256_constants + i);
    }
    for (u32 i = 0; i < SHA256_STATE_WORDS; i++) {
        h->state[i] += s[i];
    }
}

static void sha256_start(struct sha256 *h) {
    static const u32 start[SHA256_STATE_WORDS] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                                  0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memset(h, 0, sizeof *h);
    memcpy(h->state, start, sizeof start);
}

/* The message in pieces of any size; nothing is borrowed beyond the call. */
static void sha256_add(struct sha256 *h, const void *bytes, size_t count) {
    const u8 *at = bytes;
    size_t held = (size_t)(h->bytes % SHA_BLOCK_BYTES);
    MPS_ASSERT(bytes || count == 0);
    h->bytes += count;
    if (held + count < SHA_BLOCK_BYTES) {
        if (count) {
            memcpy(h->block + held, at, count);
        }
        return;
    }
    if (held) { /* fill up what waits, then take whole blocks where they lie */
        size_t part = SHA_BLOCK_BYTES - held;
        memcpy(h->block + held, at, part);
        sha256_block(h, h->block);
        at += part;
        count -= part;
    }
    for (; count >= SHA_BLOCK_BYTES; at += SHA_BLOCK_BYTES, count -= SHA_BLOCK_BYTES) {
        sha256_block(h, at);
    }
    if (count) {
        memcpy(h->block, at, count);
    }
}

/* Writes the hash and wipes the state. */
static void sha256_finish(struct sha256 *h, u8 out[SHA256_BYTES]) {
    u8 tail[2 * SHA_BLOCK_BYTES];
    size_t held = (size_t)(h->bytes % SHA_BLOCK_BYTES);
    memcpy(tail, h->block, held);
    size_t end = sha_pad(tail, held, h->bytes);
    for (size_t i = 0; i < end; i += SHA_BLOCK_BYTES) {
        sha256_block(h, tail + i);
    }
    for (u32 i = 0; i < SHA256_STATE_WORDS; i++) {
        store_be32(out + (size_t)4 * i, h->state[i]);
    }
    crypto_wipe(tail, sizeof tail);
    crypto_wipe(h, sizeof *h);
}

/* HMAC-SHA256 (RFC 2104): H(key ^ opad, H(key ^ ipad, message)). Both hashes have swallowed their
   block of key when it is started, so a copy of a started one saves two of the blocks and holds no
   key, only what the key became. */
struct hmac256 {
    struct sha256 inner, outer;
};

/* Takes keys of any length. `key` is not kept. */
static void hmac256_start(struct hmac256 *h, const void *key, size_t key_bytes) {
    u8 block[SHA_BLOCK_BYTES] = {0};
    MPS_ASSERT(key || key_bytes == 0);
    if (key_bytes > sizeof block) { /* long keys are hashed first */
        sha256_start(&h->inner);
        sha256_add(&h->inner, key, key_bytes);
        sha256_finish(&h->inner, block);
    } else if (key_bytes) {
        memcpy(block, key, key_bytes);
    }
    for (u32 i = 0; i < sizeof block; i++) {
        block[i] ^= 0x36; /* ipad */
    }
    sha256_start(&h->inner);
    sha256_add(&h->inner, block, sizeof block);
    for (u32 i = 0; i < sizeof block; i++) {
        block[i] ^= 0x36 ^ 0x5c; /* off with it, on with opad */
    }
    sha256_start(&h->outer);
    sha256_add(&h->outer, block, sizeof block);
    crypto_wipe(block, sizeof block);
}

static void hmac256_add(struct hmac256 *h, const void *bytes, size_t count) {
    sha256_add(&h->inner, bytes, count);
}

/* Writes the code and wipes the state: to go on with a prepared one, finish a copy. */
static void hmac256_finish(struct hmac256 *h, u8 out[SHA256_BYTES]) {
    u8 hash[SHA256_BYTES];
    sha256_finish(&h->inner, hash);
    sha256_add(&h->outer, hash, sizeof hash);
    sha256_finish(&h->outer, out);
    crypto_wipe(hash, sizeof hash);
}

/* Takes the same time wherever the bytes differ; the count is no secret. Reads are volatile, or a
   compiler might see that the first difference settles it. */
static bool crypto_equal(const void *a, const void *b, size_t count) {
    const volatile u8 *x = a, *y = b;
    u32 difference = 0;
    for (size_t i = 0; i < count; i++) {
        difference |= (u32)(x[i] ^ y[i]);
    }
    return difference == 0;
}

/* Base64 (RFC 4648): three bytes are four characters of six bits, most significant first. One and
   two bytes at the end are two and three characters, the bits they do not fill being zero, and "="
   up to four with padding. Standard and url differ in the last two characters only. */
struct base64_kind {
    char c62, c63;
    bool padded;
};

static const struct base64_kind base64_standard = {'+', '/', true}; /* section 4 */
static const struct base64_kind base64_url = {'-', '_', false};     /* section 5 */

static char base64_digit(const struct base64_kind *kind, u32 value) {
    if (value < 26) {
        return (char)('A' + value);
    }
    if (value < 52) {
        return (char)('a' + (value - 26));
    }
    if (value < 62) {
        return (char)('0' + (value - 52));
    }
    return value == 62 ? kind->c62 : kind->c63;
}

/* The value of a digit, -1 for anything else. */
static int base64_value(const struct base64_kind *kind, char c) {
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (ascii_digit((u8)c)) {
        return c - '0' + 52;
    }
    if (c == kind->c62) {
        return 62;
    }
    return c == kind->c63 ? 63 : -1;
}

static size_t base64_encode(const struct base64_kind *kind, const u8 *bytes, size_t count,
                            char *out) {
    size_t written = 0;
    for (size_t i = 0; i < count; i += 3) {
        size_t group = size_min(count - i, 3);
        u32 bits = (u32)bytes[i] << 16;
        bits |= group > 1 ? (u32)bytes[i + 1] << 8 : 0;
        bits |= group > 2 ? (u32)bytes[i + 2] : 0;
        for (u32 j = 0; j < 4; j++) {
            if (j <= group) {
                out[written++] = base64_digit(kind, bits >> (18 - 6 * j) & 63);
            } else if (kind->padded) {
                out[written++] = '=';
            }
        }
    }
    return written;
}

/* Leftover bits must be zero and there is no white space, so that a token cannot be spelled in two
   ways: a blocked or remembered one does not come back in disguise. What was written before a fault
   was found stays in `out`. */
static i64 base64_decode(const struct base64_kind *kind, struct span digits, u8 *out,
                         size_t capacity) {
    size_t left = digits.bytes % 4, written = 0;
    u32 bits = 0, held = 0;
    /* A single character left over holds six bits, not a byte. */
    if (left == 1 || digits.bytes / 4 * 3 + (left ? left - 1 : 0) > capacity) {
        return -1;
    }
    for (size_t i = 0; i < digits.bytes; i++) {
        int value = base64_value(kind, digits.at[i]);
        if (value < 0) {
            return -1;
        }
        bits = bits << 6 | (u32)value;
        held += 6;
        if (held >= 8) {
            held -= 8;
            out[written++] = (u8)(bits >> held);
            bits &= ((u32)1 << held) - 1;
        }
    }
    return bits ? -1 : (i64)written;
}

/* With padding. `out` has room for 4 * ((count + 2) / 3) characters; gives how many there are. */
static size_t base64_write(const u8 *bytes, size_t count, char *out) {
    return base64_encode(&base64_standard, bytes, count, out);
}

/* Without padding; otherwise the same. */
static size_t base64url_write(const u8 *bytes, size_t count, char *out) {
    return base64_encode(&base64_url, bytes, count, out);
}

/* Gives the bytes written, or -1: a foreign character, padding, bits left over, lack of room. */
static i64 base64url_read(struct span text, u8 *out, size_t capacity) {
    return base64_decode(&base64_url, text, out, capacity);
}

/* The same with padding, which must be there. */
static i64 base64_read(struct span text, u8 *out, size_t capacity) {
    if (text.bytes % 4) {
        return -1;
    }
    for (u32 i = 0; i < 2 && text.bytes && text.at[text.bytes - 1] == '='; i++) {
        text.bytes--;
    }
    return base64_decode(&base64_standard, text, out, capacity);
}

/* == 18 metrics =================================================================================*/

/* == 32 json ====================================================================================*/

/* == 34 addresses ================================================================================
   Text of dates and of IPv4 and IPv6 addresses, and ranges of addresses. Pure functions: no state,
   no names looked up, no clock. One form in memory, IPv6 with IPv4 mapped into it (RFC 4291,
   2.5.5.2), so comparing and hashing need not care; one form of text out (RFC 5952). Reading is
   strict, since allow-lists and X-Forwarded-For hang on it: what another program might read as a
   different address (octal, leading zeros, short IPv4, text behind) is refused. Interfaces have no
   names here: scopes are numbers. */

#define DATE_S_MAX ((i64)253402300799) /* 9999-12-31T23:59:59 */
#define DATE_DAY_S 86400
/* Years are counted from March, so that the leap day is the last day of its year, and from a
   multiple of 400, where the calendar starts over. */
#define DATE_DAYS_TO_1970 135080 /* since 1600-03-01 */
#define DATE_DAYS_400_YEARS 146097
#define DATE_DAYS_100_YEARS 36524
#define DATE_DAYS_4_YEARS 1461

struct date {
    i32 year;
    u32 month, day; /* from 1 */
    u32 hour, minute, second;
    u32 weekday; /* 0 is Sunday */
};

/* Unix seconds as a date in UTC; what lies outside 1970..9999 counts as the nearest end. */
static struct date date_split(i64 unix_s) {
    static const u16 days_before[] = {0, 31, 61, 92, 122, 153, 184, 214, 245, 275, 306, 337};
    i64 clamped = unix_s < 0 ? 0 : unix_s > DATE_S_MAX ? DATE_S_MAX : unix_s;
    u32 days = (u32)(clamped / DATE_DAY_S), clock = (u32)(clamped % DATE_DAY_S);
    u32 rest = days + DATE_DAYS_TO_1970, month = COUNT_OF(days_before) - 1;
    struct date d = {0};
    u32 year = 1600 + rest / DATE_DAYS_400_YEARS * 400;
    rest %= DATE_DAYS_400_YEARS;
    u32 centuries = u32_min(rest / DATE_DAYS_100_YEARS, 3); /* the fourth is a day longer */
    rest -= centuries * DATE_DAYS_100_YEARS;
    year += centuries * 100 + rest / DATE_DAYS_4_YEARS * 4;
    rest %= DATE_DAYS_4_YEARS;
    u32 years = u32_min(rest / 365, 3); /* so is the leap year */
    rest -= years * 365;
    while (rest < days_before[month]) {
        month--;
    }
    d.year = (i32)(year + years + (month >= 10 ? 1 : 0));
    d.month = month >= 10 ? month - 9 : month + 3;
    d.day = rest - days_before[month] + 1;
    d.hour = clock / 3600;
    d.minute = clock / 60 % 60;
    d.second = clock % 60;
    d.weekday = (days + 4) % 7; /* 1970-01-01 was a Thursday */
    return d;
}

#define DATE_TEXT_BYTES 24

/* 2026-02-14T12:00:00.000Z (RFC 3339). */
static void date_put_iso(struct text *t, i64 unix_ms) {
    i64 ms_max = DATE_S_MAX * 1000 + 999;
    i64 ms = unix_ms < 0 ? 0 : unix_ms > ms_max ? ms_max : unix_ms;
    struct date d = date_split(ms / 1000);
    const u32 parts[] = {(u32)d.year, d.month, d.day, d.hour, d.minute, d.second};
    static const char behind[] = "--T::.";
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        text_padded(t, parts[i], i ? 2 : 4);
        text_char(t, behind[i]);
    }
    text_padded(t, (u64)(ms % 1000), 3);
    text_char(t, 'Z');
}

#define ADDRESS_BYTES 16
#define ADDRESS_BITS 128
#define ADDRESS_V4_BITS 96 /* in front of a mapped IPv4 address */
#define ADDRESS_GROUPS 8
#define ADDRESS_TEXT_MAX 56

static const u8 address_v4_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

/* ::ffff:a.b.c.d, however it was written; an IPv4 peer on a dual-stack socket looks the same. */
static bool address_is_v4(const mps_address *a) {
    return memcmp(a->ip, address_v4_prefix, sizeof address_v4_prefix) == 0;
}

/* 127.0.0.0/8 (RFC 1122, 3.2.1.3) or ::1 (RFC 4291, 2.5.3). */
static bool address_is_loopback(const mps_address *a) {
    static const u8 loopback[ADDRESS_BYTES] = {[15] = 1};
    if (address_is_v4(a)) {
        return a->ip[12] == 127;
    }
    return memcmp(a->ip, loopback, sizeof loopback) == 0;
}

/* The same host, as far as an address tells: equal link-local addresses on two interfaces are two
   hosts. */
static bool address_same_ip(const mps_address *a, const mps_address *b) {
    return memcmp(a->ip, b->ip, sizeof a->ip) == 0 && a->scope == b->scope;
}

/* Zeroes all but the first `bits` bits. */
static void address_cut(u8 ip[ADDRESS_BYTES], u32 bits) {
    MPS_ASSERT(bits <= ADDRESS_BITS);
    for (u32 i = 0; i < ADDRESS_BYTES; i++) {
        u32 kept = bits > 8 * i ? u32_min(bits - 8 * i, 8) : 0;
        ip[i] = (u8)(ip[i] & (0xff00u >> kept));
    }
}

/* What rate limits go by: IPv4 whole, IPv6 cut to the /64 that one subscriber has all of. */
static void address_prefix(const mps_address *a, u8 out[ADDRESS_BYTES]) {
    memcpy(out, a->ip, ADDRESS_BYTES);
    address_cut(out, address_is_v4(a) ? ADDRESS_BITS : 64);
}

/* The readers below take what they know off the front of `rest`; whoever calls them judges what is
   behind it. */
static bool address_take(struct span *rest, char c) {
    if (rest->bytes == 0 || rest->at[0] != c) {
        return false;
    }
    rest->at++;
    rest->bytes--;
    return true;
}

/* A decimal number up to `max` without leading zeros, which some programs take for octal. Stops at
   the first digit too many, so it cannot wrap however long the text is. */
static bool address_read_number(struct span *rest, u32 max, u32 *out) {
    u64 value = 0;
    size_t digits = 0;
    bool zero_first = rest->bytes && rest->at[0] == '0';
    for (; digits < rest->bytes && ascii_digit((u8)rest->at[digits]); digits++) {
        value = value * 10 + (u64)(rest->at[digits] - '0');
        if (value > max) {
            return false;
        }
    }
    if (digits == 0 || (zero_first && digits > 1)) {
        return false;
    }
    *rest = span_of(rest->at + digits, rest->bytes - digits);
    *out = (u32)value;
    return true;
}

/* Four numbers, three dots; leaves what follows the fourth number alone. */
static bool address_read_v4(struct span *rest, u8 out[4]) {
    for (u32 i = 0; i < 4; i++) {
        u32 value = 0;
        if ((i && !address_take(rest, '.')) || !address_read_number(rest, 255, &value)) {
            return false;
        }
        out[i] = (u8)value;
    }
    return true;
}

/* One group of one to four hexadecimal digits, or IPv4 where `room` allows its four bytes. Gives
   the bytes it stands for: 2, 4, or 0 when there is neither. */
static u32 address_read_group(struct span *rest, u8 *out, u32 room) {
    u32 value = 0, digits = 0;
    for (; digits < 4 && digits < rest->bytes && hex_value((u8)rest->at[digits]) >= 0; digits++) {
        value = value << 4 | (u32)hex_value((u8)rest->at[digits]);
    }
    if (digits && digits < rest->bytes && rest->at[digits] == '.') {
        return room >= 4 && address_read_v4(rest, out) ? 4 : 0;
    }
    if (digits == 0) {
        return 0;
    }
    *rest = span_of(rest->at + digits, rest->bytes - digits);
    out[0] = (u8)(value >> 8);
    out[1] = (u8)value;
    return 2;
}

/* RFC 4291, 2.2: eight groups, of which "::" once replaces one or more that are zero, and IPv4 the
   last two. Groups are gathered from the front; at the end those behind the "::" are moved back:

       2001:db8::1:2    | 2001 0db8 | 0001 0002 |                     |    as read
                        ^0          ^gap        ^bytes                ^16
                        | 2001 0db8 | 0000 0000 0000 0000 | 0001 0002 |    as moved */
static bool address_read_v6(struct span *rest, u8 ip[ADDRESS_BYTES]) {
    u32 bytes = 0, gap = 0;
    bool gapped = false, more = true;
    if (address_take(rest, ':')) {
        if (!address_take(rest, ':')) {
            return false;
        }
        gapped = true;
        more = rest->bytes && hex_value((u8)rest->at[0]) >= 0;
    }
    while (more && bytes < ADDRESS_BYTES) {
        u32 got = address_read_group(rest, ip + bytes, ADDRESS_BYTES - bytes);
        bytes += got;
        more = got == 2 && address_take(rest, ':');
        if (got == 0) {
            return false;
        }
        if (more && address_take(rest, ':')) {
            if (gapped) {
                return false;
            }
            gapped = true;
            gap = bytes;
            more = rest->bytes && hex_value((u8)rest->at[0]) >= 0;
        }
    }
    if (more || gapped == (bytes == ADDRESS_BYTES)) { /* too many groups, or too few */
        return false;
    }
    memmove(ip + ADDRESS_BYTES - (bytes - gap), ip + gap, bytes - gap);
    memset(ip + gap, 0, ADDRESS_BYTES - bytes);
    return true;
}

/* Either kind, without scope and port; `v4` says that it was written with dots alone. */
static bool address_read_ip(struct span *rest, u8 ip[ADDRESS_BYTES], bool *v4) {
    struct span start = *rest;
    *v4 = address_read_v4(rest, ip + sizeof address_v4_prefix);
    if (*v4) {
        memcpy(ip, address_v4_prefix, sizeof address_v4_prefix);
        return true;
    }
    *rest = start;
    return address_read_v6(rest, ip);
}

/* "%3" behind a link-local address (RFC 4007, 11), if there is one. */
static bool address_read_scope(struct span *rest, mps_address *a) {
    if (!address_take(rest, '%')) {
        return true;
    }
    bool link_local = a->ip[0] == 0xfe && (a->ip[1] & 0xc0) == 0x80;
    return link_local && address_read_number(rest, UINT32_MAX, &a->scope) && a->scope > 0;
}

/* "1.2.3.4", "1.2.3.4:80", "::1", "fe80::1%3", "[::1]", "[::1]:80". An absent port is 0. `out`
   changes only on success. */
static bool address_parse(struct span text, mps_address *out) {
    mps_address a;
    u32 port = 0;
    bool v4 = false;
    memset(&a, 0, sizeof a); /* padding too: addresses may be hashed and compared as bytes */
    bool bracketed = address_take(&text, '[');
    if (!address_read_ip(&text, a.ip, &v4) || (bracketed && v4)) {
        return false;
    }
    if (!v4 && !address_read_scope(&text, &a)) {
        return false;
    }
    if (bracketed && !address_take(&text, ']')) {
        return false;
    }
    if ((bracketed || v4) && address_take(&text, ':') &&
        !address_read_number(&text, UINT16_MAX, &port)) {
        return false;
    }
    if (text.bytes) {
        return false;
    }
    a.port = (u16)port;
    memcpy(out, &a, sizeof a);
    return true;
}

/* One of the eight 16-bit groups that IPv6 is written in. */
static u32 address_group(const mps_address *a, u32 group) {
    return (u32)a->ip[2 * group] << 8 | a->ip[2 * group + 1];
}

/* The first of the longest runs of zero groups, for "::"; `groups` is 0 if none is worth it. */
struct address_run {
    u32 at, groups;
};

static struct address_run address_zero_run(const mps_address *a) {
    struct address_run best = {0, 1}, run = {0, 0}; /* a single zero group is written as "0" */
    for (u32 i = 0; i < ADDRESS_GROUPS; i++) {
        if (address_group(a, i)) {
            run.groups = 0;
            continue;
        }
        run.at = run.groups ? run.at : i;
        run.groups++;
        if (run.groups > best.groups) {
            best = run;
        }
    }
    best.groups = best.groups > 1 ? best.groups : 0;
    return best;
}

static void address_put_group(struct text *t, u32 value) {
    for (u32 shift = 16; shift > 0; shift -= 4) {
        u32 rest = value >> (shift - 4);
        if (rest || shift == 4) { /* no leading zeros, but "0" */
            text_char(t, hex_digits[rest & 15]);
        }
    }
}

/* Lower case, no leading zeros, "::" for the run (RFC 5952, 4); groups on either side of it need no
   colon of their own. */
static void address_put_v6(struct text *t, const mps_address *a) {
    struct address_run run = address_zero_run(a);
    for (u32 i = 0; i < ADDRESS_GROUPS; i++) {
        if (run.groups && i == run.at) {
            TEXT_LITERAL(t, "::");
            i += run.groups - 1;
            continue;
        }
        if (i && !(run.groups && i == run.at + run.groups)) {
            text_char(t, ':');
        }
        address_put_group(t, address_group(a, i));
    }
}

/* RFC 5952; mapped IPv4 as a dotted quad. Neither scope nor port. */
static void address_put_ip(struct text *t, const mps_address *a) {
    if (!address_is_v4(a)) {
        address_put_v6(t, a);
        return;
    }
    for (u32 i = 12; i < ADDRESS_BYTES; i++) {
        if (i > 12) {
            text_char(t, '.');
        }
        text_u64(t, a->ip[i]);
    }
}

/* With port: 1.2.3.4:80, [2001:db8::1]:80 (RFC 5952, 6). */
static void address_put(struct text *t, const mps_address *a) {
    bool brackets = !address_is_v4(a);
    if (brackets) {
        text_char(t, '[');
    }
    address_put_ip(t, a);
    if (brackets) {
        text_char(t, ']');
    }
    text_char(t, ':');
    text_u64(t, a->port);
}

/* `bits` count in the mapped form: 10.0.0.0/8 is 96 + 8. */
struct address_range {
    u8 ip[ADDRESS_BYTES]; /* zero behind `bits` */
    u8 bits;
};

/* "10.0.0.0/8", "2001:db8::/32", or one address. Host bits must be zero: 10.0.0.1/8 says one thing
   and means another. `out` changes only on success. */
static bool address_range_parse(struct span text, struct address_range *out) {
    struct address_range r = {{0}, 0};
    u8 cut[ADDRESS_BYTES];
    bool v4 = false;
    if (!address_read_ip(&text, r.ip, &v4)) {
        return false;
    }
    u32 front = v4 ? ADDRESS_V4_BITS : 0, bits = ADDRESS_BITS - front;
    if (address_take(&text, '/') && !address_read_number(&text, ADDRESS_BITS - front, &bits)) {
        return false;
    }
    r.bits = (u8)(front + bits);
    memcpy(cut, r.ip, sizeof cut);
    address_cut(cut, r.bits);
    if (text.bytes || memcmp(cut, r.ip, sizeof cut) != 0) {
        return false;
    }
    *out = r;
    return true;
}

/* A range shorter than the mapping is one of IPv6 proper: ::/0 does not mean IPv4. */
static bool address_in_range(const struct address_range *r, const mps_address *a) {
    u8 ip[ADDRESS_BYTES];
    if (address_is_v4(a) && r->bits < ADDRESS_V4_BITS) {
        return false;
    }
    memcpy(ip, a->ip, sizeof ip);
    address_cut(ip, r->bits);
    return memcmp(ip, r->ip, sizeof ip) == 0;
}

/* == 40 http ====================================================================================*/

/* == 90 api =====================================================================================*/

const char *mps_error_code(mps_error error) {
    return error_row(error)->code;
}

const char *mps_error_text(mps_error error) {
    return error_row(error)->text;
}

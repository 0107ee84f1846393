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

/* == 32 json ====================================================================================
   UTF-8 (RFC 3629), JSON texts (RFC 8259) and the decimal form of doubles.

   The reader never builds a tree. json_check and json_object prove in one pass that the whole text
   is well-formed; afterwards values are raw tokens of that text, and json_walk_* steps through
   them without checking anything again. So only a json_value that came out of json_object or a
   walk may be handed to the functions below; a text that did not pass must not be looked at.
   json_string decodes in place: it spends its token, so containers around it are walked, and
   json_has_duplicates is asked, before that.

   Owns no state, keeps no pointer, never recurses: open containers are bits in a word. Every pass
   is linear in the text. Doubles are converted exactly, with integers of bounded size on the stack
   (three of them at most, 360 bytes each). */

#include <float.h>

#define UTF8_BYTES_MAX 4

#define WORD_BYTES sizeof(u64)
#define WORD_ONES UINT64_C(0x0101010101010101)
#define WORD_TOPS UINT64_C(0x8080808080808080)

/* A word of the text in whatever byte order: it is only asked whether some byte is special. */
static u64 word_load(const u8 *at) {
    u64 word;
    memcpy(&word, at, sizeof word);
    return word;
}

/* Behind the bytes below 0x80 that `at` begins with. */
static const u8 *utf8_skip_ascii(const u8 *at, const u8 *end) {
    while ((size_t)(end - at) >= WORD_BYTES && !(word_load(at) & WORD_TOPS)) {
        at += WORD_BYTES;
    }
    while (at < end && *at < 0x80) {
        at++;
    }
    return at;
}

/* The length of the sequence at `at` (at < end), 0 when it is malformed or cut short.

       first   second  further    keeps out        RFC 3629, section 4
       00-7F
       C2-DF   80-BF              C0, C1: overlong
       E0      A0-BF   80-BF      overlong
       ED      80-9F   80-BF      surrogates
       E1-EF   80-BF   80-BF
       F0      90-BF   2 x 80-BF  overlong
       F4      80-8F   2 x 80-BF  above U+10FFFF
       F1-F3   80-BF   2 x 80-BF                                                            */
static u32 utf8_sequence(const u8 *at, const u8 *end) {
    u8 first = at[0], low = 0x80, high = 0xBF;
    if (first < 0x80) {
        return 1;
    }
    if (first < 0xC2 || first > 0xF4) {
        return 0;
    }
    u32 bytes = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    if ((size_t)(end - at) < bytes) {
        return 0;
    }
    low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : low;
    high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : high;
    if (at[1] < low || at[1] > high) {
        return 0;
    }
    for (u32 i = 2; i < bytes; i++) {
        if ((at[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    return bytes;
}

/* No overlong forms, no surrogates, nothing above U+10FFFF. */
static bool utf8_valid(struct span s) {
    const u8 *at = (const u8 *)s.at;
    const u8 *end = s.bytes ? at + s.bytes : at;
    while ((at = utf8_skip_ascii(at, end)) < end) {
        u32 bytes = utf8_sequence(at, end);
        if (bytes == 0) {
            return false;
        }
        at += bytes;
    }
    return true;
}

/* The first `points` code points of valid UTF-8. */
static struct span utf8_cut(struct span s, size_t points) {
    for (size_t i = 0; i < s.bytes; i++) {
        bool starts = ((u8)s.at[i] & 0xC0) != 0x80;
        if (starts && points-- == 0) {
            return span_of(s.at, i);
        }
    }
    return s;
}

/* Code points of valid UTF-8: the bytes that do not continue another one. */
static size_t utf8_points(struct span s) {
    size_t points = 0;
    for (size_t i = 0; i < s.bytes; i++) {
        points += ((u8)s.at[i] & 0xC0) != 0x80;
    }
    return points;
}

/* A code point as 1 to 4 bytes, the lowest six bits last:

       U+0000-U+007F      0xxxxxxx
       U+0080-U+07FF      110xxxxx 10xxxxxx
       U+0800-U+FFFF      1110xxxx 10xxxxxx 10xxxxxx
       U+10000-U+10FFFF   11110xxx 10xxxxxx 10xxxxxx 10xxxxxx                     */
static u32 utf8_encode(u32 point, u8 out[UTF8_BYTES_MAX]) {
    u32 bytes = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (u32 i = bytes - 1; i > 0; i--, point >>= 6) {
        out[i] = (u8)(0x80 | (point & 0x3F));
    }
    /* 0xF00 >> 2, 3, 4 has as many ones at the top of its low byte: C0, E0, F0. */
    out[0] = (u8)(bytes == 1 ? point : (0xF00u >> bytes & 0xF0) | point);
    return bytes;
}

#define JSON_DEPTH_MAX 32 /* as many as json_reader.objects has bits */

enum json_type {
    JSON_ABSENT,
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
};

/* One value: the raw token as it stands in the text, strings with their quotes. Borrowed. */
struct json_value {
    enum json_type type;
    char *at;
    size_t bytes;
};

/* The first byte with which the text can no longer become JSON; the text's length when it merely
   ends too early. Lone surrogates are reported at their escape, UTF-8 at the character's start. */
struct json_fault {
    size_t position;
    const char *text;
};

/* A place in a checked container. The end may lie behind the closing bracket; the walk stops at
   the bracket, so a container can be walked before anyone has measured it. */
struct json_walk {
    char *at, *end;
};

/* What json_check and json_object have in hand. `keys` to `wanted_at` serve json_object alone:
   `wanted` is the entry of `values` that the member being read goes to, NULL when nobody asked, and
   `wanted_at` where its value begins. `fault_*` are set by json_fail and hold the first fault,
   because every caller gives up at once. */
struct json_reader {
    const u8 *at, *end;
    char *text;
    u32 depth, objects; /* a bit per open container, innermost lowest: 1 for an object */
    const char *const *keys;
    u32 keys_count;
    struct json_value *values, *wanted;
    const u8 *wanted_at, *fault_at;
    const char *fault_text;
};

/* -- Tokens. Each reader stands on the first byte of its token and steps behind it. */

/* Always false, so that a reader can return it. A fault at the end is always the same one: the
   text was cut. */
static bool json_fail(struct json_reader *r, const u8 *at, const char *text) {
    r->fault_at = at;
    r->fault_text = at == r->end ? "The text ends too early." : text;
    return false;
}

/* The byte to be read, -1 at the end. */
static int json_peek(const struct json_reader *r) {
    return r->at < r->end ? *r->at : -1;
}

/* ws = *( %x20 / %x09 / %x0A / %x0D ), RFC 8259, section 2; no other space of Unicode. */
static bool json_is_space(u8 c) {
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static const u8 *json_skip_space(const u8 *at, const u8 *end) {
    while (at < end && json_is_space(*at)) {
        at++;
    }
    return at;
}

/* Behind the bytes that stand for themselves in a string: at a quote, a backslash, a control
   character, the first byte of a longer character, or the end. "x - 1 with the top bit newly set"
   finds zero bytes; it may also mark bytes above a true hit, but never one without a hit. */
static const u8 *json_skip_plain(const u8 *at, const u8 *end) {
    for (; end - at >= (ptrdiff_t)WORD_BYTES; at += WORD_BYTES) {
        u64 word = word_load(at);
        u64 quote = word ^ WORD_ONES * '"', backslash = word ^ WORD_ONES * '\\';
        u64 found = word | ((word - WORD_ONES * 0x20) & ~word);
        found |= ((quote - WORD_ONES) & ~quote) | ((backslash - WORD_ONES) & ~backslash);
        if (found & WORD_TOPS) {
            break;
        }
    }
    while (at < end && *at >= 0x20 && *at < 0x80 && *at != '"' && *at != '\\') {
        at++;
    }
    return at;
}

/* What may stand behind a backslash, and the byte it means. */
static const char json_escapes[][2] = {{'"', '"'},  {'\\', '\\'}, {'/', '/'},  {'b', '\b'},
                                       {'f', '\f'}, {'n', '\n'},  {'r', '\r'}, {'t', '\t'}};

/* 0 when `letter` makes no escape. */
static u8 json_escape_byte(u8 letter) {
    for (size_t i = 0; i < COUNT_OF(json_escapes); i++) {
        if ((u8)json_escapes[i][0] == letter) {
            return (u8)json_escapes[i][1];
        }
    }
    return 0;
}

/* Four digits of either case, no sign, no less. */
static bool json_read_hex(struct json_reader *r, u32 *unit) {
    *unit = 0;
    for (u32 i = 0; i < 4; i++, r->at++) {
        int digit = json_peek(r) < 0 ? -1 : hex_value(*r->at);
        if (digit < 0) {
            return json_fail(r, r->at, "\\u takes four hexadecimal digits.");
        }
        *unit = *unit << 4 | (u32)digit;
    }
    return true;
}

/* UTF-16 halves of one character: D800-DBFF is followed by DC00-DFFF. */
static bool json_unit_is_high(u32 unit) {
    return (unit & 0xFC00) == 0xD800;
}

static bool json_unit_is_low(u32 unit) {
    return (unit & 0xFC00) == 0xDC00;
}

/* The rest of an escape \uXXXX. Characters above U+FFFF are two, a high and a low surrogate
   (RFC 8259, section 7); one without the other stands for nothing. */
static bool json_read_unicode(struct json_reader *r, const u8 *backslash) {
    static const char alone[] = "A surrogate escape stands alone.";
    u32 unit;
    if (!json_read_hex(r, &unit)) {
        return false;
    }
    if (!json_unit_is_high(unit)) {
        return !json_unit_is_low(unit) || json_fail(r, backslash, alone);
    }
    for (u32 i = 0; i < 2; i++, r->at++) {
        if (json_peek(r) != "\\u"[i]) {
            return json_fail(r, r->at < r->end ? backslash : r->end, alone);
        }
    }
    return json_read_hex(r, &unit) && (json_unit_is_low(unit) || json_fail(r, backslash, alone));
}

/* escape = "\" ( %x22 / "\" / "/" / "b" / "f" / "n" / "r" / "t" / "u" 4HEXDIG ) */
static bool json_read_escape(struct json_reader *r) {
    const u8 *backslash = r->at++;
    int letter = json_peek(r);
    if (letter == 'u') {
        r->at++;
        return json_read_unicode(r, backslash);
    }
    if (letter < 0 || !json_escape_byte((u8)letter)) {
        return json_fail(r, r->at, "There is no such escape in a string.");
    }
    r->at++;
    return true;
}

/* string = quote *char quote, RFC 8259, section 7. Most bytes are passed over eight at a time; the
   loop turns once for each that needs a look. */
static bool json_read_string(struct json_reader *r) {
    r->at++;
    while ((r->at = json_skip_plain(r->at, r->end)) < r->end) {
        if (*r->at == '"') {
            r->at++;
            return true;
        }
        if (*r->at == '\\') {
            if (!json_read_escape(r)) {
                return false;
            }
            continue;
        }
        if (*r->at < 0x20) {
            return json_fail(r, r->at, "Control characters in strings must be escaped.");
        }
        u32 bytes = utf8_sequence(r->at, r->end);
        if (bytes == 0) {
            return json_fail(r, r->at, "The text is not valid UTF-8.");
        }
        r->at += bytes;
    }
    return json_fail(r, r->end, NULL);
}

/* 1*DIGIT */
static bool json_read_digits(struct json_reader *r) {
    const u8 *start = r->at;
    while (r->at < r->end && ascii_digit(*r->at)) {
        r->at++;
    }
    return r->at > start || json_fail(r, r->at, "A digit is missing here.");
}

/* number = [ "-" ] ( "0" / digit1-9 *DIGIT ) [ "." 1*DIGIT ] [ "e" [ "-" / "+" ] 1*DIGIT ] */
static bool json_read_number(struct json_reader *r) {
    r->at += *r->at == '-';
    if (json_peek(r) == '0') {
        r->at++;
        if (r->at < r->end && ascii_digit(*r->at)) {
            return json_fail(r, r->at, "Numbers have no leading zeros.");
        }
    } else if (!json_read_digits(r)) {
        return false;
    }
    if (json_peek(r) == '.') {
        r->at++;
        if (!json_read_digits(r)) {
            return false;
        }
    }
    if (json_peek(r) == 'e' || json_peek(r) == 'E') {
        r->at++;
        r->at += json_peek(r) == '+' || json_peek(r) == '-';
        return json_read_digits(r);
    }
    return true;
}

/* The fault is the first byte that differs. What may follow is the caller's affair: "truex" fails
   for the x, where a comma, a bracket or the end was due. */
static bool json_read_literal(struct json_reader *r, const char *literal) {
    for (; *literal; literal++, r->at++) {
        if (json_peek(r) != *literal) {
            return json_fail(r, r->at, "The literals are true, false and null.");
        }
    }
    return true;
}

/* A value's first byte tells all about its type. JSON_ABSENT: no value begins like this. */
static enum json_type json_type_of(u8 first) {
    switch (first) {
    case '{':
        return JSON_OBJECT;
    case '[':
        return JSON_ARRAY;
    case '"':
        return JSON_STRING;
    case 't':
        return JSON_TRUE;
    case 'f':
        return JSON_FALSE;
    case 'n':
        return JSON_NULL;
    default:
        return first == '-' || ascii_digit(first) ? JSON_NUMBER : JSON_ABSENT;
    }
}

static bool json_read_scalar(struct json_reader *r) {
    int first = json_peek(r);
    switch (first < 0 ? JSON_ABSENT : json_type_of((u8)first)) {
    case JSON_STRING:
        return json_read_string(r);
    case JSON_NUMBER:
        return json_read_number(r);
    case JSON_TRUE:
        return json_read_literal(r, "true");
    case JSON_FALSE:
        return json_read_literal(r, "false");
    case JSON_NULL:
        return json_read_literal(r, "null");
    default:
        return json_fail(r, r->at, "A value is missing here.");
    }
}

/* -- Decoded strings. The bytes that a checked string stands for, one after the other. */

struct json_bytes {
    const u8 *at, *end;
    u8 held[UTF8_BYTES_MAX]; /* the escape just decoded */
    u32 held_at, held_count;
};

/* Checked digits. */
static u32 json_hex4(const u8 *at) {
    u32 unit = 0;
    for (u32 i = 0; i < 4; i++) {
        unit = unit << 4 | (u32)hex_value(at[i]);
    }
    return unit;
}

/* Steps over a checked escape; returns how many bytes it means. */
static u32 json_unescape(const u8 **at, u8 out[UTF8_BYTES_MAX]) {
    const u8 *escape = *at;
    if (escape[1] != 'u') {
        *at += 2;
        out[0] = json_escape_byte(escape[1]);
        return 1;
    }
    u32 point = json_hex4(escape + 2);
    *at += 6;
    if (json_unit_is_high(point)) {
        point = 0x10000 + ((point & 0x3FF) << 10) + (json_hex4(escape + 8) & 0x3FF);
        *at += 6;
    }
    return utf8_encode(point, out);
}

/* Over a string token, quotes included. */
static struct json_bytes json_bytes_of(const char *token, size_t bytes) {
    MPS_ASSERT(bytes >= 2);
    return (struct json_bytes){(const u8 *)token + 1, (const u8 *)token + bytes - 1, {0}, 0, 0};
}

/* The next byte, -1 at the end. */
static int json_byte(struct json_bytes *b) {
    if (b->held_at < b->held_count) {
        return b->held[b->held_at++];
    }
    if (b->at == b->end) {
        return -1;
    }
    if (*b->at != '\\') {
        return *b->at++;
    }
    b->held_count = json_unescape(&b->at, b->held);
    b->held_at = 1;
    return b->held[0];
}

/* Whether the string means `name`, which is plain bytes and zero-terminated. A decoded U+0000 is a
   byte like any other and never taken for the end of `name`. */
static bool json_bytes_spell(struct json_bytes b, const char *name) {
    for (; *name; name++) {
        if (json_byte(&b) != (u8)*name) {
            return false;
        }
    }
    return json_byte(&b) < 0;
}

/* Both run until they differ or end together, at -1. */
static bool json_bytes_equal(struct json_bytes a, struct json_bytes b) {
    int byte;
    do {
        byte = json_byte(&a);
        if (byte != json_byte(&b)) {
            return false;
        }
    } while (byte >= 0);
    return true;
}

/* -- The checker.

       value  = object / array / string / number / true / false / null
       object = "{" [ name ":" value *( "," name ":" value ) ] "}"
       array  = "[" [ value *( "," value ) ] "]"              RFC 8259, sections 3 to 5

   The grammar has two states between tokens: a value is due, or one has just ended. Whether the
   container around is an object or an array is all the stack has to know, one bit for each. */

/* Reads `"name":` and, at the top, remembers who asked for it. */
static bool json_read_name(struct json_reader *r) {
    r->at = json_skip_space(r->at, r->end);
    const u8 *start = r->at;
    if (json_peek(r) != '"') {
        return json_fail(r, r->at, "A member's name is missing here.");
    }
    if (!json_read_string(r)) {
        return false;
    }
    struct json_bytes name = json_bytes_of((const char *)start, (size_t)(r->at - start));
    for (u32 i = 0; i < r->keys_count && r->depth == 1; i++) {
        if (json_bytes_spell(name, r->keys[i])) {
            r->wanted = &r->values[i];
            break;
        }
    }
    r->at = json_skip_space(r->at, r->end);
    if (json_peek(r) != ':') {
        return json_fail(r, r->at, "A colon is missing here.");
    }
    r->at++;
    return true;
}

/* Opens a container and tells whether a value follows, rather than its closing bracket. */
static bool json_read_open(struct json_reader *r, bool *value_due) {
    bool object = *r->at == '{';
    if (r->depth == JSON_DEPTH_MAX) {
        return json_fail(r, r->at, "Values are nested too deeply; the limit is 32.");
    }
    r->at++;
    r->depth++;
    r->objects = r->objects << 1 | object;
    r->at = json_skip_space(r->at, r->end);
    *value_due = json_peek(r) != (object ? '}' : ']');
    return !*value_due || !object || json_read_name(r);
}

/* Behind a value in a container: a comma, after which another one is due, or the bracket. */
static bool json_read_next(struct json_reader *r, bool *value_due) {
    bool object = r->objects & 1;
    if (json_peek(r) == ',') {
        r->at++;
        *value_due = true;
        return !object || json_read_name(r);
    }
    if (json_peek(r) != (object ? '}' : ']')) {
        return json_fail(r, r->at, "A comma or the closing bracket is missing here.");
    }
    r->at++;
    r->depth--;
    r->objects >>= 1;
    return true;
}

/* The value that was asked for has just ended at r->at. Of two members with one name the later
   overwrites the earlier. */
static void json_note_wanted(struct json_reader *r) {
    size_t bytes = (size_t)(r->at - r->wanted_at);
    char *at = r->text + (r->wanted_at - (const u8 *)r->text);
    *r->wanted = (struct json_value){json_type_of(*r->wanted_at), at, bytes};
    r->wanted = NULL;
}

/* The whole text. Each round takes at least one byte or fails. */
static bool json_read_text(struct json_reader *r) {
    bool value_due = true;
    while (value_due || r->depth) {
        r->at = json_skip_space(r->at, r->end);
        int first = json_peek(r);
        /* Only members of the outermost object are noted, and their values begin at depth 1. */
        r->wanted_at = value_due && r->depth == 1 ? r->at : r->wanted_at;
        if (!value_due) {
            if (!json_read_next(r, &value_due)) {
                return false;
            }
        } else if (first == '{' || first == '[') {
            if (!json_read_open(r, &value_due)) {
                return false;
            }
        } else {
            if (!json_read_scalar(r)) {
                return false;
            }
            value_due = false;
        }
        if (!value_due && r->depth == 1 && r->wanted) {
            json_note_wanted(r);
        }
    }
    r->at = json_skip_space(r->at, r->end);
    return r->at == r->end || json_fail(r, r->at, "Something stands behind the value.");
}

/* Tells whether the whole text is one value, white space around it allowed. Changes nothing. */
static bool json_check(const char *text, size_t bytes, struct json_fault *fault) {
    struct json_reader r = {.at = (const u8 *)text};
    r.end = bytes ? r.at + bytes : r.at;
    if (!json_read_text(&r)) {
        *fault = (struct json_fault){(size_t)(r.fault_at - (const u8 *)text), r.fault_text};
        return false;
    }
    return true;
}

/* Checks that the whole text is one object and notes its members named in keys[]: the last of a
   name wins, the others are JSON_ABSENT, as all are when the text is refused. */
static bool json_object(char *text, size_t bytes, const char *const *keys, u32 keys_count,
                        struct json_value *values, struct json_fault *fault) {
    struct json_reader r = {.at = (const u8 *)text, .text = text, .keys = keys};
    r.end = bytes ? r.at + bytes : r.at;
    r.at = json_skip_space(r.at, r.end);
    r.keys_count = keys_count;
    r.values = values;
    for (u32 i = 0; i < keys_count; i++) {
        values[i] = (struct json_value){JSON_ABSENT, NULL, 0};
    }
    if (json_peek(&r) == '{' ? json_read_text(&r)
                             : json_fail(&r, r.at, "The text must be one JSON object.")) {
        return true;
    }
    for (u32 i = 0; i < keys_count; i++) {
        values[i] = (struct json_value){JSON_ABSENT, NULL, 0};
    }
    *fault = (struct json_fault){(size_t)(r.fault_at - (const u8 *)text), r.fault_text};
    return false;
}

/* -- Walking a checked text. */

/* Behind a checked string; `at` is its opening quote. */
static const u8 *json_skip_string(const u8 *at, const u8 *end) {
    for (at++; (at = json_skip_plain(at, end)) < end && *at != '"'; at++) {
        at += *at == '\\';
    }
    MPS_ASSERT(at < end);
    return at + 1;
}

/* Behind a checked value. Strings are passed over whole, so brackets only need counting. */
static const u8 *json_skip_value(const u8 *at, const u8 *end) {
    enum json_type type = json_type_of(*at);
    u32 depth = 0;
    if (type != JSON_STRING && type != JSON_ARRAY && type != JSON_OBJECT) {
        while (at < end && *at != ',' && *at != '}' && *at != ']' && !json_is_space(*at)) {
            at++;
        }
        return at;
    }
    do {
        u8 c = *at;
        at = c == '"' ? json_skip_string(at, end) : at + 1;
        depth += c == '{' || c == '[';
        depth -= c == '}' || c == ']';
    } while (depth && at < end);
    return at;
}

static void json_walk_space(struct json_walk *w) {
    w->at += json_skip_space((const u8 *)w->at, (const u8 *)w->end) - (const u8 *)w->at;
}

/* The value at w->at, behind white space, and w stepped behind it. */
static void json_walk_value(struct json_walk *w, struct json_value *value) {
    const u8 *end = (const u8 *)w->end;
    json_walk_space(w);
    MPS_ASSERT(w->at < w->end);
    size_t bytes = (size_t)(json_skip_value((const u8 *)w->at, end) - (const u8 *)w->at);
    *value = (struct json_value){json_type_of((u8)*w->at), w->at, bytes};
    w->at += bytes;
}

/* Steps over a comma or colon and the white space before it. */
static void json_walk_over(struct json_walk *w, char mark) {
    json_walk_space(w);
    w->at += w->at < w->end && *w->at == mark;
}

/* A walk from the first member or element on. */
static struct json_walk json_walk_into(struct json_value container) {
    MPS_ASSERT(container.type == JSON_OBJECT || container.type == JSON_ARRAY);
    return (struct json_walk){container.at + 1, container.at + container.bytes};
}

/* The next element of an array; false behind the last. */
static bool json_walk_element(struct json_walk *w, struct json_value *value) {
    json_walk_over(w, ','); /* none before the first */
    json_walk_space(w);
    if (w->at >= w->end || *w->at == ']' || *w->at == '}') {
        return false;
    }
    json_walk_value(w, value);
    return true;
}

/* The next member of an object; false behind the last. */
static bool json_walk_member(struct json_walk *w, struct json_value *key,
                             struct json_value *value) {
    if (!json_walk_element(w, key)) {
        return false;
    }
    json_walk_over(w, ':');
    json_walk_value(w, value);
    return true;
}

/* Decodes a checked string in place: escapes become bytes, and a string without any is not
   touched. Afterwards the value is used up. */
static bool json_string(struct json_value *value, struct span *out) {
    if (value->type != JSON_STRING) {
        return false;
    }
    char *start = value->at + 1;
    u8 *to = (u8 *)start;
    const u8 *from = to, *end = (const u8 *)value->at + value->bytes - 1;
    while (from < end) {
        const u8 *run = from;
        while ((from = json_skip_plain(from, end)) < end && *from != '\\') {
            from++;
        }
        /* Before the first escape nothing has moved, nor need it. */
        if (to != run) {
            memmove(to, run, (size_t)(from - run));
        }
        to += from - run;
        if (from < end) {
            u8 bytes[UTF8_BYTES_MAX];
            u32 count = json_unescape(&from, bytes);
            memcpy(to, bytes, count);
            to += count;
        }
    }
    *out = span_of(start, (size_t)((char *)to - start));
    value->type = JSON_ABSENT;
    return true;
}

/* -- Duplicate names. Names are held a batch at a time, as hash and place; each batch costs one
   walk through the rest of its object. So neither many members nor long values make the work grow
   with the square of the text. */

#define JSON_BATCH 64

struct json_name {
    const char *at;
    size_t bytes;
    u32 hash; /* FNV-1a of the decoded name; equal ones only lead to a comparison */
};

struct json_names {
    struct json_name names[JSON_BATCH];
    u32 count;
};

/* FNV-1a is no secret, so a client can make names whose hashes are equal. It gains 64 comparisons a
   name and batch, which end at the first byte that differs. */
static struct json_name json_name_of(struct json_value key) {
    struct json_bytes b = json_bytes_of(key.at, key.bytes);
    struct json_name name = {key.at, key.bytes, 2166136261u};
    for (int byte = json_byte(&b); byte >= 0; byte = json_byte(&b)) {
        name.hash = (name.hash ^ (u32)byte) * 16777619u;
    }
    return name;
}

static bool json_names_have(const struct json_names *held, const struct json_name *name) {
    for (u32 i = 0; i < held->count; i++) {
        const struct json_name *other = &held->names[i];
        if (other->hash == name->hash && json_bytes_equal(json_bytes_of(other->at, other->bytes),
                                                          json_bytes_of(name->at, name->bytes))) {
            return true;
        }
    }
    return false;
}

/* One object by itself, `start` standing behind its bracket. The first 64 names are held and all
   names after them compared with these; then the next 64, until none are left. The first walk sees
   all members and counts them, so that too many are refused before the work is done. */
static bool json_members_repeat(struct json_walk start, u32 members_max) {
    struct json_names held;
    struct json_value key, value;
    u32 members = 0;
    bool counted = false;
    do {
        struct json_walk w = start;
        held.count = 0;
        while (json_walk_member(&w, &key, &value)) {
            struct json_name name = json_name_of(key);
            if (json_names_have(&held, &name) || (!counted && ++members > members_max)) {
                return true;
            }
            if (held.count < JSON_BATCH) {
                held.names[held.count++] = name;
                start = w; /* the next batch begins behind the last name held */
            }
        }
        counted = true;
    } while (held.count == JSON_BATCH);
    return false;
}

/* Tells whether an object in the checked value, at any depth, has two members of the same decoded
   name or more than `members_max` of them. */
static bool json_has_duplicates(struct json_value value, u32 members_max) {
    const u8 *at = (const u8 *)value.at, *end = at + value.bytes;
    while (at < end) {
        if (*at == '"') {
            at = json_skip_string(at, end);
            continue;
        }
        /* Each opening brace outside of a string begins an object, nested ones included. */
        size_t offset = (size_t)(at - (const u8 *)value.at);
        struct json_walk inside = {value.at + offset + 1, value.at + value.bytes};
        if (*at == '{' && json_members_repeat(inside, members_max)) {
            return true;
        }
        at++;
    }
    return false;
}

/* -- Numbers: from text. */

/* A number token as digits x 10^exponent. `at` is the first digit that is not 0; behind the last
   one that is not 0 nothing counts, so the integer 500 has one digit. Zero has none. The digits
   may have a point among them. */
struct json_decimal {
    const char *at;
    size_t digits;
    i64 exponent;
    bool negative;
};

/* Far beyond what the digits of any token can make up for, far below what an i64 holds. */
#define JSON_EXPONENT_MAX INT64_C(1000000000000000)

/* The exponent part, `at` behind the letter e. */
static i64 json_exponent(const char *at, const char *end) {
    bool negative = *at == '-';
    i64 exponent = 0;
    for (at += *at == '-' || *at == '+'; at < end && exponent < JSON_EXPONENT_MAX; at++) {
        exponent = exponent * 10 + (*at - '0');
    }
    return negative ? -exponent : exponent;
}

/* One pass over the token. Each digit behind the point lowers the exponent by one, each zero behind
   the last digit that counts raises it, and the exponent part is added: 0.0500e4 is 5 x 10^2. */
static struct json_decimal json_decimal_of(struct json_value value) {
    const char *at = value.at, *end = value.at + value.bytes;
    struct json_decimal d = {NULL, 0, 0, *at == '-'};
    size_t seen = 0; /* digits since the first that is not 0 */
    bool fraction = false;
    for (at += d.negative; at < end && *at != 'e' && *at != 'E'; at++) {
        if (*at == '.') {
            fraction = true;
            continue;
        }
        d.exponent -= fraction;
        seen += d.at || *at != '0';
        if (*at != '0') {
            d.at = d.at ? d.at : at;
            d.digits = seen;
        }
    }
    d.exponent += (i64)(seen - d.digits);
    d.exponent += at < end ? json_exponent(at + 1, end) : 0;
    return d;
}

/* The next digit, the point passed over. */
static u32 json_digit(const char **at) {
    *at += **at == '.';
    return (u32)(*(*at)++ - '0');
}

#define U64_POW10_MAX 19 /* 10^19 fits u64, and so does every number of 19 digits */

/* Exact integers only, also those written 5.0, 5e0 or 50e-1; false for anything else and outside
   of [min, max]. */
static bool json_i64(struct json_value value, i64 min, i64 max, i64 *out) {
    if (value.type != JSON_NUMBER) {
        return false;
    }
    struct json_decimal d = json_decimal_of(value);
    u64 size = 0;
    if (d.digits) {
        /* The last digit is not 0, so below 10^0 it is part of a fraction. */
        if (d.exponent < 0 || d.digits > U64_POW10_MAX ||
            d.exponent > U64_POW10_MAX - (i64)d.digits) {
            return false;
        }
        for (size_t i = 0; i < d.digits; i++) {
            size = size * 10 + json_digit(&d.at);
        }
        for (i64 i = 0; i < d.exponent; i++) {
            size *= 10;
        }
    }
    if (size > (u64)INT64_MAX + d.negative) {
        return false;
    }
    /* -1 - (size - 1) reaches INT64_MIN without passing through what no i64 holds. */
    i64 number = d.negative && size ? -1 - (i64)(size - 1) : (i64)size;
    if (number < min || number > max) {
        return false;
    }
    *out = number;
    return true;
}

/* Natural numbers of up to BIG_WORDS words, lowest first; words from `count` up are not set. The
   largest one is 800 digits and a sticky one, or 5^1125, and a bit: 2,663 bits. */
#define BIG_WORDS 88
#define BIG_DIGITS 800

struct big {
    u32 count;
    u32 words[BIG_WORDS];
};

static void big_set(struct big *b, u64 value) {
    b->words[0] = (u32)value;
    b->words[1] = (u32)(value >> 32);
    b->count = b->words[1] ? 2 : b->words[0] ? 1 : 0;
}

static u32 big_word(const struct big *b, u32 i) {
    return i < b->count ? b->words[i] : 0;
}

/* b = b x factor + carry. The product of two words and a word more still fits two words. */
static void big_times_plus(struct big *b, u32 factor, u32 carry) {
    for (u32 i = 0; i < b->count; i++) {
        u64 product = (u64)b->words[i] * factor + carry;
        b->words[i] = (u32)product;
        carry = (u32)(product >> 32);
    }
    if (carry) {
        MPS_ASSERT(b->count < BIG_WORDS);
        b->words[b->count++] = carry;
    }
}

#define BIG_POW5 13 /* the largest power of five in a word */

static void big_times_pow5(struct big *b, u32 power) {
    for (; power >= BIG_POW5; power -= BIG_POW5) {
        big_times_plus(b, 1220703125, 0);
    }
    for (; power; power--) {
        big_times_plus(b, 5, 0);
    }
}

static u32 u64_bits(u64 value) {
    u32 bits = 0;
    for (; value; value >>= 1) {
        bits++;
    }
    return bits;
}

static u32 big_bits(const struct big *b) {
    return b->count ? (b->count - 1) * 32 + u64_bits(b->words[b->count - 1]) : 0;
}

static void big_shift_left(struct big *b, u32 bits) {
    u32 words = bits / 32, rest = bits % 32;
    MPS_ASSERT(b->count + words <= BIG_WORDS);
    if (words && b->count) {
        memmove(b->words + words, b->words, b->count * sizeof b->words[0]);
        memset(b->words, 0, words * sizeof b->words[0]);
        b->count += words;
    }
    if (rest) {
        big_times_plus(b, (u32)1 << rest, 0);
    }
}

/* The sign of a + times x b - c, `times` being 0, 1 or 2, without storing the sum: a pass from the
   lowest word up, the sum's carry and the difference's borrow apart. With times 0 it compares. */
static int big_order(const struct big *a, const struct big *b, u32 times, const struct big *c) {
    u64 carry = 0, borrow = 0;
    u32 count = u32_max(c->count, u32_max(a->count, times ? b->count : 0)), any = 0;
    for (u32 i = 0; i < count; i++) {
        carry += (u64)big_word(b, i) * times + big_word(a, i);
        u64 difference = (u64)(u32)carry - big_word(c, i) - borrow;
        any |= (u32)difference;
        borrow = difference >> 63;
        carry >>= 32;
    }
    return carry < borrow ? -1 : carry > borrow || any;
}

/* a -= b, b being no larger. */
static void big_subtract(struct big *a, const struct big *b) {
    u64 borrow = 0;
    for (u32 i = 0; i < a->count; i++) {
        u64 difference = (u64)a->words[i] - big_word(b, i) - borrow;
        a->words[i] = (u32)difference;
        borrow = difference >> 63;
    }
    MPS_ASSERT(borrow == 0);
    while (a->count && a->words[a->count - 1] == 0) {
        a->count--;
    }
}

/* binary64 (IEEE 754):

        63   62       52   51                         0
       +----+-----------+------------------------------+
       |sign| exponent  |           fraction           |
       +----+-----------+------------------------------+
       exponent 1 to 2046: 1.fraction x 2^(exponent - 1023); 0: 0.fraction x 2^-1022;
       2047: infinity, or not a number */
#define F64_FRACTION_BITS 52
#define F64_FRACTION_ONE (UINT64_C(1) << F64_FRACTION_BITS)
#define F64_EXPONENT_BIAS 1023
#define F64_EXPONENT_MASK 2047
#define F64_SIGN (UINT64_C(1) << 63)
#define F64_INFINITY ((u64)F64_EXPONENT_MASK << F64_FRACTION_BITS)

/* n = digits x 5^e or, for e below 0, n / d = digits / 5^-e; what lacks is 2^e. Digits that decide
   nothing but a tie are summed up in one. */
static void json_decimal_big(struct json_decimal *d, struct big *n, struct big *divisor) {
    size_t digits = size_min(d->digits, BIG_DIGITS);
    const char *at = d->at;
    big_set(n, 0);
    big_set(divisor, 1);
    for (size_t i = 0; i < digits; i++) {
        big_times_plus(n, 10, json_digit(&at));
    }
    if (digits < d->digits) {
        big_times_plus(n, 10, 1);
        d->exponent += (i64)(d->digits - digits - 1);
    }
    if (d->exponent >= 0) {
        big_times_pow5(n, (u32)d->exponent);
    } else {
        big_times_pow5(divisor, (u32)-d->exponent);
    }
}

/* The bits of the double nearest to the decimal, sign apart; infinity when there is none.

   Binary long division. n and divisor are brought to the same length and then to 1 <= n / divisor
   < 2; each round takes one bit of the fraction, highest first, and doubles what remains. At the
   end the remainder is counted in half units of the last bit: more than one rounds up, exactly one
   is a tie and goes to even. A subnormal number simply has fewer rounds, down to none. */
static u64 json_decimal_bits(struct json_decimal d) {
    struct big n, divisor;
    i64 point = (i64)d.digits + d.exponent; /* 10^(point - 1) <= d < 10^point */
    /* Above the largest double by any rounding, or below half of the smallest. This also bounds all
       sizes below, however long the token and whatever its exponent. */
    if (point > 309 || point < -323) {
        return point > 0 ? F64_INFINITY : 0;
    }
    json_decimal_big(&d, &n, &divisor);
    i32 scale = (i32)big_bits(&n) - (i32)big_bits(&divisor);
    big_shift_left(scale > 0 ? &divisor : &n, (u32)(scale > 0 ? scale : -scale));
    i32 exponent = scale + (i32)d.exponent; /* d = n / divisor x 2^exponent */
    if (big_order(&n, &n, 0, &divisor) < 0) {
        big_shift_left(&n, 1);
        exponent--;
    }
    if (exponent > F64_EXPONENT_BIAS) {
        return F64_INFINITY;
    }
    i32 below = 1 - F64_EXPONENT_BIAS - exponent; /* bits that a subnormal number is short of */
    i32 bits = F64_FRACTION_BITS + 1 - (below > 0 ? below : 0);
    u64 fraction = 0;
    if (bits < 0) {
        return 0;
    }
    for (i32 i = 0; i < bits; i++) {
        fraction <<= 1;
        if (big_order(&n, &n, 0, &divisor) >= 0) {
            big_subtract(&n, &divisor);
            fraction |= 1;
        }
        big_shift_left(&n, 1);
    }
    int half = big_order(&n, &n, 0, &divisor);
    fraction += half > 0 || (half == 0 && (fraction & 1));
    /* A carry out of the fraction makes the next exponent, as it should. */
    return below > 0 ? fraction
                     : ((u64)(exponent + F64_EXPONENT_BIAS - 1) << F64_FRACTION_BITS) + fraction;
}

/* The powers of ten that a double holds exactly, and the digits that it certainly does. */
static const double json_pow10[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                    1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
#define JSON_POW10_MAX 22
#define JSON_DIGITS_EXACT 15

/* One operation on two exact doubles is rounded once, hence correctly, as long as the compiler
   does not calculate in a wider type. */
#define JSON_F64_STRICT (FLT_EVAL_METHOD == 0)

static bool json_decimal_is_short(const struct json_decimal *d) {
    return JSON_F64_STRICT && d->digits <= JSON_DIGITS_EXACT && d->exponent <= JSON_POW10_MAX &&
           d->exponent >= -JSON_POW10_MAX;
}

static double json_decimal_short(struct json_decimal d) {
    u64 digits = 0;
    for (size_t i = 0; i < d.digits; i++) {
        digits = digits * 10 + json_digit(&d.at);
    }
    double power = json_pow10[d.exponent < 0 ? -d.exponent : d.exponent];
    double size = (double)digits;
    size = d.exponent < 0 ? size / power : size * power;
    return d.negative ? -size : size;
}

/* The nearest double, ties to even; false when the value is no number or overflows to infinity. */
static bool json_f64(struct json_value value, double *out) {
    if (value.type != JSON_NUMBER) {
        return false;
    }
    struct json_decimal d = json_decimal_of(value);
    if (d.digits && json_decimal_is_short(&d)) {
        *out = json_decimal_short(d);
        return true;
    }
    u64 bits = d.digits ? json_decimal_bits(d) : 0;
    if (bits == F64_INFINITY) {
        return false;
    }
    bits |= d.negative ? F64_SIGN : 0;
    memcpy(out, &bits, sizeof bits);
    return true;
}

/* -- Numbers: to text. 0.d1d2d3... x 10^point, without zeros at either end. */

#define F64_DIGITS_MAX 17

struct json_digits {
    char at[F64_DIGITS_MAX];
    u32 count;
    i32 point;
};

/* floor(log10(2^n)) for |n| <= 1650; 78913 / 2^18 is log10(2) from below, near enough. */
static i32 log10_pow2(i32 n) {
    return n >= 0 ? (i32)((u32)n * 78913 >> 18) : -(i32)((u32)-n * 78913 >> 18) - 1;
}

/* The value to be written as rest / unit, in tenths of the place of the next digit; `low` is half
   the gap to the double below and high x low half the gap to the one above, in the same scale.
   All between, when `closed` the ends too, reads back as the value. */
struct json_dragon {
    struct big rest, unit, low;
    u32 high;
    bool closed;
};

static void dragon_next_place(struct json_dragon *g) {
    big_times_plus(&g->rest, 10, 0);
    big_times_plus(&g->low, 10, 0);
}

/* For value = fraction x 2^exponent. All is counted in quarters of 2^exponent, since below a power
   of two the gap is half as wide (`narrow`). Powers of ten go in as powers of five, the twos are
   put where they need no division. Returns the decimal point's place. */
static i32 dragon_start(struct json_dragon *g, u64 fraction, i32 exponent, bool narrow) {
    i32 point = log10_pow2((i32)u64_bits(fraction) - 1 + exponent) + 1;
    i32 twos = exponent - 2 - point;
    big_set(&g->rest, fraction * 4);
    big_set(&g->low, narrow ? 1 : 2);
    big_set(&g->unit, 1);
    g->high = narrow ? 2 : 1;
    g->closed = !(fraction & 1);
    if (point >= 0) {
        big_times_pow5(&g->unit, (u32)point);
    } else {
        big_times_pow5(&g->rest, (u32)-point);
        big_times_pow5(&g->low, (u32)-point);
    }
    if (twos >= 0) {
        big_shift_left(&g->rest, (u32)twos);
        big_shift_left(&g->low, (u32)twos);
    } else {
        big_shift_left(&g->unit, (u32)-twos);
    }
    /* The estimate may be one too low; then 10^point itself already reads back as the value. */
    if (big_order(&g->rest, &g->low, g->high, &g->unit) + g->closed > 0) {
        return point + 1;
    }
    dragon_next_place(g);
    return point;
}

/* Digits until what is left unwritten, or a last digit one higher, is within the gap: the shortest
   text; the nearer of the two when both are (Steele and White, 1990). */
static void dragon_digits(struct json_dragon *g, struct json_digits *digits) {
    bool below = false, above = false;
    u32 digit = 0;
    while (digits->count < F64_DIGITS_MAX && !below && !above) {
        if (digits->count) {
            dragon_next_place(g);
        }
        for (digit = 0; digit < 9 && big_order(&g->rest, &g->rest, 0, &g->unit) >= 0; digit++) {
            big_subtract(&g->rest, &g->unit);
        }
        below = big_order(&g->rest, &g->rest, 0, &g->low) - g->closed < 0;
        above = big_order(&g->rest, &g->low, g->high, &g->unit) + g->closed > 0;
        digits->at[digits->count++] = (char)('0' + digit);
    }
    MPS_ASSERT(below || above);
    int half = big_order(&g->rest, &g->rest, 1, &g->unit);
    if (above && (!below || half > 0 || (half == 0 && (digit & 1)))) {
        MPS_ASSERT(digit < 9);
        digits->at[digits->count - 1]++;
    }
}

/* Takes the double apart; `bits` without the sign and not zero. Below the smallest normal number
   and at it the gaps are even, so only powers of two above it are `narrow`. */
static void json_digits_exact(u64 bits, struct json_digits *digits) {
    struct json_dragon g;
    u64 fraction = bits & (F64_FRACTION_ONE - 1);
    i32 exponent = (i32)(bits >> F64_FRACTION_BITS);
    bool narrow = fraction == 0 && exponent > 1;
    fraction |= exponent ? F64_FRACTION_ONE : 0;
    exponent += exponent == 0;
    exponent -= F64_EXPONENT_BIAS + F64_FRACTION_BITS;
    digits->count = 0;
    digits->point = dragon_start(&g, fraction, exponent, narrow);
    dragon_digits(&g, digits);
}

/* The quick way, and why it is right. Most numbers in a game have few decimals. Of the integers n
   with n / 10^places == v, the first below 10^15 is the shortest text: 15 digits are never two
   texts of one double, and the product is off by less than 0.3, so none is missed. */
static bool json_digits_short(double v, struct json_digits *digits) {
    for (u32 places = 0; JSON_F64_STRICT && places <= JSON_POW10_MAX; places++) {
        double scaled = v * json_pow10[places];
        if (!(scaled < json_pow10[JSON_DIGITS_EXACT])) {
            return false;
        }
        u64 n = (u64)(scaled + 0.5);
        if ((double)n / json_pow10[places] == v) {
            struct text t = text_on(digits->at, sizeof digits->at);
            text_u64(&t, n);
            digits->point = (i32)t.bytes - (i32)places;
            while (digits->at[t.bytes - 1] == '0') {
                t.bytes--;
            }
            digits->count = (u32)t.bytes;
            return true;
        }
    }
    return false;
}

/* None when `count` is negative. */
static void json_zeros(struct text *t, i32 count) {
    for (i32 i = 0; i < count; i++) {
        text_char(t, '0');
    }
}

/* The format of ECMAScript's Number::toString, by the place of the point:

       count <= point <= 21    digits, then zeros up to the point     12000
       0 < point <= 21         digits with the point among them       12.5
       -6 < point <= 0         0. and -point zeros before them        0.00125
       otherwise               one digit, point, the rest, exponent   1.25e-7, 1e+21       */
static void json_put_digits(struct text *t, const struct json_digits *digits) {
    i32 count = (i32)digits->count, point = digits->point;
    bool scientific = point > 21 || point <= -6;
    i32 whole = scientific ? 1 : point > 0 ? point : 0; /* digits before the point */
    size_t head = (size_t)(whole < count ? whole : count);
    text_add(t, span_of(digits->at, head));
    json_zeros(t, whole - count);
    if (whole == 0) {
        text_char(t, '0');
    }
    if (count > whole) {
        text_char(t, '.');
        json_zeros(t, scientific ? 0 : -point);
        text_add(t, span_of(digits->at + head, digits->count - head));
    }
    if (scientific) {
        text_z(t, point > 0 ? "e+" : "e-");
        text_u64(t, (u64)(point > 0 ? point - 1 : 1 - point));
    }
}

/* -- Writer. Commas come by themselves: the text's last byte tells whether one is due. No value
   ends in one of those four bytes, since strings end in a quote. That brackets match and names
   alternate with values is left to the callers. What does not fit is cut as in any struct text. */

static void json_comma(struct text *t) {
    char last = t->bytes ? t->at[t->bytes - 1] : ',';
    if (last != '{' && last != '[' && last != ':' && last != ',') {
        text_char(t, ',');
    }
}

static void json_put_open(struct text *t, char bracket) {
    MPS_ASSERT(bracket == '{' || bracket == '[');
    json_comma(t);
    text_char(t, bracket);
}

static void json_put_close(struct text *t, char bracket) {
    MPS_ASSERT(bracket == '}' || bracket == ']');
    text_char(t, bracket);
}

/* A quote, a backslash or a control character. */
static void json_put_escape(struct text *t, u8 c) {
    text_char(t, '\\');
    for (size_t i = 0; i < COUNT_OF(json_escapes); i++) {
        if ((u8)json_escapes[i][1] == c) {
            text_char(t, json_escapes[i][0]);
            return;
        }
    }
    TEXT_LITERAL(t, "u00");
    text_hex(t, &c, 1);
}

/* Quoted; escaped is only what must be. The bytes are valid UTF-8. */
static void json_put_string(struct text *t, struct span s) {
    const u8 *at = (const u8 *)s.at;
    const u8 *end = s.bytes ? at + s.bytes : at;
    json_comma(t);
    text_char(t, '"');
    while (at < end) {
        const u8 *run = at;
        while ((at = json_skip_plain(at, end)) < end && *at >= 0x80) {
            at++;
        }
        text_add(t, span_of((const char *)run, (size_t)(at - run)));
        if (at < end) {
            json_put_escape(t, *at++);
        }
    }
    text_char(t, '"');
}

/* "name": with the comma before it. */
static void json_put_key(struct text *t, const char *name) {
    json_put_string(t, span_z(name));
    text_char(t, ':');
}

static void json_put_i64(struct text *t, i64 v) {
    json_comma(t);
    text_i64(t, v);
}

static void json_put_u64(struct text *t, u64 v) {
    json_comma(t);
    text_u64(t, v);
}

static void json_put_bool(struct text *t, bool v) {
    json_comma(t);
    text_z(t, v ? "true" : "false");
}

static void json_put_null(struct text *t) {
    json_comma(t);
    TEXT_LITERAL(t, "null");
}

/* A value as it came in. */
static void json_put_raw(struct text *t, struct span s) {
    json_comma(t);
    text_add(t, s);
}

/* The shortest text that reads back as the same double; -0 is written 0, as ECMAScript does.
   JSON has no infinities and no NaN: `v` is finite. */
static void json_put_f64(struct text *t, double v) {
    struct json_digits digits;
    u64 bits;
    memcpy(&bits, &v, sizeof bits);
    MPS_ASSERT((bits & ~F64_SIGN) < F64_INFINITY);
    json_comma(t);
    if (v == 0) {
        text_char(t, '0');
        return;
    }
    if (bits & F64_SIGN) {
        text_char(t, '-');
    }
    if (!json_digits_short(v < 0 ? -v : v, &digits)) {
        json_digits_exact(bits & ~F64_SIGN, &digits);
    }
    json_put_digits(t, &digits);
}

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

/* == 40 http ====================================================================================
   HTTP/1.1 and 1.0 requests (RFC 9110, RFC 9112): the request head, chunked bodies,
   percent-encoding and queries; for answers the reason phrases, the date, and a target that is safe
   to log. Pure functions: they own no state, keep no pointer, and know neither connections nor the
   server. What they find are spans into the caller's bytes, good while those stay where they are.

   Whatever two parties could read differently is refused rather than repaired (RFC 9112, 11.2:
   request smuggling): a bare LF or CR, folded lines, blanks before a colon, more than one way to
   tell where a body ends. A refusal never depends on how the bytes were cut into reads. The request
   line and the fields are judged from left to right, each line once its LF is there; what takes
   several lines to judge is judged with the empty line, in the order framing, host, coding,
   expectation. Only "too long" comes earlier, with the first byte that is too many. */

enum http_method {
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_DELETE,
    HTTP_OPTIONS,
    HTTP_PATCH,
    HTTP_METHODS /* how many, and: well-formed but none of these */
};

static const char *const http_method_names[] = {
    [HTTP_GET] = "GET",     [HTTP_HEAD] = "HEAD",     [HTTP_POST] = "POST",
    [HTTP_PUT] = "PUT",     [HTTP_DELETE] = "DELETE", [HTTP_OPTIONS] = "OPTIONS",
    [HTTP_PATCH] = "PATCH", [HTTP_METHODS] = "OTHER",
};

/* Fields that somebody reads; of all others only the syntax is checked. */
enum http_field {
    HTTP_AUTHORIZATION,
    HTTP_X_REQUEST_ID,
    HTTP_X_FORWARDED_FOR,
    HTTP_X_SIGNATURE,
    HTTP_ORIGIN,
    HTTP_IF_NONE_MATCH,
    HTTP_UPGRADE,
    HTTP_SEC_WEBSOCKET_KEY,
    HTTP_SEC_WEBSOCKET_VERSION,
    HTTP_SEC_WEBSOCKET_PROTOCOL,
    HTTP_FIELDS
};

struct http_limits {
    u32 head_bytes_max, target_bytes_max;
};

/* What a head says, as views into it (a path that an absolute form leaves out is a literal). After
   a fault it holds what stood before the fault, for the log: method and target at least, when the
   request line got that far; .at of what is missing is NULL. */
struct http_head {
    enum http_method method;
    u8 minor;        /* HTTP/1.minor; 1 for later minors too (RFC 9110, 2.5) */
    bool keep_alive; /* 1.1 unless "close"; 1.0 only with "keep-alive" */
    bool chunked, has_length, expects_continue;
    bool content_coded; /* Content-Encoding other than identity */
    bool connection_upgrade;
    bool forwarded_more; /* there are X-Forwarded-For fields left of forwarded_rest, left out */
    u64 content_length;
    struct span target; /* as sent, for the log; when too long, its allowed beginning */
    struct span path,
        query;        /* absolute form reduced to them; query without '?', .at NULL if none */
    struct span host; /* of an absolute form its authority (RFC 9112, 3.2.2) */

    /* .at is NULL for a field that is absent. A repeated field counts the first time, except
       X-Forwarded-For: there the last one is here and the one before it in `forwarded_rest`. All of
       them form one list (RFC 9110, 5.3) that is believed from its right end leftwards, so a reader
       walks fields[HTTP_X_FORWARDED_FOR] and then `forwarded_rest`, right to left. When both are
       used up and `forwarded_more` is set, the client is unknown. */
    struct span fields[HTTP_FIELDS];
    struct span forwarded_rest;
};

#define HTTP_METHOD_BYTES_MAX 32

/* Classes of bytes: T may stand in a token (RFC 9110, 5.6.2), H in a host name (RFC 3986, 3.2.2,
   without '%', which takes two digits along). */
#define T 1
#define H 2
#define B 3 /* both */
static const u8 http_class[256] = {
    /* 00 */ 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    /* 10 */ 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    /* 20 */ 0, B, 0, T, B, T, B, B, H, H, B, B, H, B, B, 0,
    /* 30 */ B, B, B, B, B, B, B, B, B, B, 0, H, 0, H, 0, 0,
    /* 40 */ 0, B, B, B, B, B, B, B, B, B, B, B, B, B, B, B,
    /* 50 */ B, B, B, B, B, B, B, B, B, B, B, 0, 0, 0, T, B,
    /* 60 */ T, B, B, B, B, B, B, B, B, B, B, B, B, B, B, B,
    /* 70 */ B, B, B, B, B, B, B, B, B, B, B, 0, T, 0, B, 0,
};
enum { HTTP_TOKEN = T, HTTP_HOST_NAME = H };
#undef T
#undef H
#undef B

/* Eight bytes at a time. A mark is the top bit of a byte; only the lowest mark of a word is exact,
   as borrows run upwards from it, and only the lowest is ever used. */
#define HTTP_EACH(byte) (UINT64_MAX / 255 * (u64)(byte))

static inline u64 http_word(const char *at) {
    const u8 *b = (const u8 *)at;
    return (u64)b[0] | (u64)b[1] << 8 | (u64)b[2] << 16 | (u64)b[3] << 24 | (u64)b[4] << 32 |
           (u64)b[5] << 40 | (u64)b[6] << 48 | (u64)b[7] << 56;
}

/* Marks bytes below `bound`, which is at most 0x80. */
static inline u64 http_marks_below(u64 word, u8 bound) {
    return (word - HTTP_EACH(bound)) & ~word & HTTP_EACH(0x80);
}

static inline u64 http_marks_of(u64 word, char c) {
    return http_marks_below(word ^ HTTP_EACH((u8)c), 1);
}

/* Which byte the lowest mark is in. */
static inline size_t http_marked(u64 marks) {
#ifdef __GNUC__
    return (size_t)__builtin_ctzll(marks) / 8;
#else
    size_t at = 0;
    for (; !(marks & 0x80); marks >>= 8) {
        at++;
    }
    return at;
#endif
}

/* The first `c` at or behind `at`, else `end`. */
static const char *http_find(const char *at, const char *end, char c) {
    for (; end - at >= 8; at += 8) {
        u64 marks = http_marks_of(http_word(at), c);
        if (marks) {
            return at + http_marked(marks);
        }
    }
    while (at < end && *at != c) {
        at++;
    }
    return at;
}

/* The first byte of [at, end) that is no visible ASCII or is `stop` or '#', else `end`. */
static inline const char *http_target_run(const char *at, const char *end, char stop) {
    for (; end - at >= 8; at += 8) {
        u64 word = http_word(at);
        u64 marks = http_marks_below(word, 0x21) | http_marks_of(word, 0x7f) |
                    (word & HTTP_EACH(0x80)) | http_marks_of(word, '#') | http_marks_of(word, stop);
        if (marks) {
            return at + http_marked(marks);
        }
    }
    while (at<end && * at> 0x20 && *at < 0x7f && *at != '#' && *at != stop) {
        at++;
    }
    return at;
}

/* The first control character of [at, end) other than a tab, else `end`. A field value may hold
   everything else, bytes over 0x7f included (RFC 9110, 5.5). */
static inline const char *http_value_run(const char *at, const char *end) {
    while (end - at >= 8) {
        u64 word = http_word(at);
        u64 marks = http_marks_below(word, 0x20) | http_marks_of(word, 0x7f);
        if (!marks) {
            at += 8;
            continue;
        }
        at += http_marked(marks);
        if (*at != '\t') {
            return at;
        }
        at++;
    }
    while (at < end && ((u8)*at >= 0x20 || *at == '\t') && *at != 0x7f) {
        at++;
    }
    return at;
}

static inline const char *http_class_run(const char *at, const char *end, u8 class) {
    while (at < end && http_class[(u8)*at] & class) {
        at++;
    }
    return at;
}

static bool http_blank(char c) {
    return c == ' ' || c == '\t';
}

static struct span http_between(const char *at, const char *end) {
    return span_of(at, (size_t)(end - at));
}

/* Without blanks at either end. */
static struct span http_trimmed(const char *at, const char *end) {
    while (at < end && http_blank(*at)) {
        at++;
    }
    while (end > at && http_blank(end[-1])) {
        end--;
    }
    return http_between(at, end);
}

/* Takes the next element off a comma-separated list; it may be empty. False at the end. */
static bool http_list_next(struct span *list, struct span *element) {
    if (!list->at) {
        return false;
    }
    const char *end = list->at + list->bytes, *comma = http_find(list->at, end, ',');
    *element = http_trimmed(list->at, comma);
    *list = comma < end ? http_between(comma + 1, end) : span_of(NULL, 0);
    return true;
}

/* host [ ":" port ], where host is a name, IPv4, or IPv6 in brackets (RFC 9110, 7.2). */
static bool http_host_valid(struct span host) {
    const char *at = host.at, *end = host.at + host.bytes, *name = at;
    u32 port = 0;
    if (at < end && *at == '[') {
        for (at++; at < end && (hex_value((u8)*at) >= 0 || *at == ':' || *at == '.');) {
            at++;
        }
        if (at - name < 3 || at == end || *at++ != ']') {
            return false;
        }
    }
    while (at < end && *name != '[' && *at != ':') {
        bool escaped =
            *at == '%' && end - at >= 3 && hex_value((u8)at[1]) >= 0 && hex_value((u8)at[2]) >= 0;
        if (!escaped && !(http_class[(u8)*at] & HTTP_HOST_NAME)) {
            return false;
        }
        at += escaped ? 3 : 1;
    }
    if (at == name || (at < end && *at++ != ':')) {
        return false;
    }
    for (; at < end && ascii_digit((u8)*at) && port <= UINT16_MAX; at++) {
        port = port * 10 + (u32)(*at - '0');
    }
    return at == end && port <= UINT16_MAX;
}

/* Transfer-Encoding so far. Where `chunked` is not the last coding, or is there twice, nobody can
   tell where the body ends (RFC 9112, 6.3). */
enum http_coding {
    HTTP_CODING_NONE,
    HTTP_CODING_CHUNKED,
    HTTP_CODING_OTHER,
    HTTP_CODING_OTHER_CHUNKED,
    HTTP_CODING_BAD
};

struct http_parser {
    const char *bytes, *end;
    const struct http_limits *limits;
    struct http_head *head;
    struct span authority; /* of an absolute form; .at NULL if none */
    struct span length;    /* the first Content-Length as sent */
    u32 hosts, lengths;    /* how many of these fields there are */
    enum http_coding coding;
    bool close, keep_alive, expects_other;
};

/* Something at `at` is wrong with its line: a fault once the line's end is there. */
static i64 http_fault(const struct http_parser *p, const char *at) {
    return http_find(at, p->end, '\n') < p->end ? MPS_E_BAD_REQUEST : 0;
}

/* One empty line may stand before the request line (RFC 9112, 2.2). */
static const char *http_first_line(const struct http_parser *p) {
    bool empty = p->end - p->bytes >= 2 && p->bytes[0] == '\r' && p->bytes[1] == '\n';
    return p->bytes + (empty ? 2 : 0);
}

/* The end of the method that starts at `at`; NULL when it is too long. */
static const char *http_method_end(const struct http_parser *p, const char *at) {
    bool whole = p->end - at <= HTTP_METHOD_BYTES_MAX;
    const char *end =
        http_class_run(at, whole ? p->end : at + HTTP_METHOD_BYTES_MAX + 1, HTTP_TOKEN);
    return end - at <= HTTP_METHOD_BYTES_MAX ? end : NULL;
}

static enum http_method http_method_of(struct span name) {
    u32 method = 0;
    while (method < HTTP_METHODS && !span_equal(name, span_z(http_method_names[method]))) {
        method++;
    }
    return (enum http_method)method;
}

/* "http://" authority path: splits a target in absolute form, whose query is already cut off. */
static mps_error http_absolute_form(struct http_parser *p, struct span target) {
    static const struct span schemes[] = {{"http://", 7}, {"https://", 8}};
    struct http_head *head = p->head;
    for (size_t i = 0; i < COUNT_OF(schemes); i++) {
        size_t bytes = schemes[i].bytes;
        if (target.bytes <= bytes || !span_equal_fold(span_of(target.at, bytes), schemes[i])) {
            continue;
        }
        const char *at = target.at + bytes, *end = target.at + target.bytes;
        const char *path = http_find(at, end, '/');
        p->authority = http_between(at, path);
        head->path = path < end ? http_between(path, end) : SPAN("/");
        if (path == end && head->method == HTTP_OPTIONS && !head->query.at) {
            head->path = SPAN("*"); /* RFC 9112, 3.2.4 */
        }
        return http_host_valid(p->authority) ? MPS_OK : MPS_E_BAD_REQUEST;
    }
    return MPS_E_BAD_REQUEST;
}

/* Origin form "/path?query", asterisk form "*", absolute form; never authority form (CONNECT). */
static mps_error http_target(struct http_parser *p, const char *question) {
    struct http_head *head = p->head;
    struct span target = head->target;
    const char *end = target.at + target.bytes;
    struct span path = http_between(target.at, question);
    head->query = question < end ? http_between(question + 1, end) : span_of(NULL, 0);
    if (*target.at == '/') {
        head->path = path;
        return MPS_OK;
    }
    if (span_equal(target, SPAN("*"))) {
        head->path = path;
        return head->method == HTTP_OPTIONS ? MPS_OK : MPS_E_BAD_REQUEST;
    }
    return http_absolute_form(p, path);
}

/* "HTTP/1.1" CRLF at `at`: gives what stands behind it, 0 for more, or an error. */
static i64 http_version(struct http_parser *p, const char *at) {
    if (p->end - at < 10 || memcmp(at, "HTTP/", 5) != 0 || !ascii_digit((u8)at[5]) ||
        at[6] != '.' || !ascii_digit((u8)at[7]) || at[8] != '\r' || at[9] != '\n') {
        return http_fault(p, at);
    }
    p->head->minor = at[7] != '0';
    return at[5] == '1' ? at + 10 - p->bytes : MPS_E_HTTP_VERSION;
}

/* request-line = method SP request-target SP HTTP-version CRLF (RFC 9112, 3): gives where the first
   field starts, 0 for more, or an error. */
static i64 http_request_line(struct http_parser *p) {
    const char *at = http_first_line(p), *end = http_method_end(p, at);
    size_t target_max = p->limits->target_bytes_max;
    if (!end || end == at || end == p->end || *end != ' ') {
        return http_fault(p, end ? end : at);
    }
    p->head->method = http_method_of(http_between(at, end));
    at = end + 1;
    /* One byte more than allowed is enough to know. */
    const char *stop = (size_t)(p->end - at) > target_max ? at + target_max + 1 : p->end;
    const char *question = http_target_run(at, stop, '?');
    end = question < stop && *question == '?' ? http_target_run(question, stop, '#') : question;
    p->head->target = span_of(at, size_min((size_t)(end - at), target_max));
    if ((size_t)(end - at) > target_max) {
        return MPS_E_TARGET_TOO_LONG;
    }
    if (end == at || end == p->end || *end != ' ') {
        return http_fault(p, end);
    }
    i64 next = http_version(p, end + 1);
    mps_error error = next > 0 ? http_target(p, question) : MPS_OK;
    return error != MPS_OK ? error : next;
}

/* Fields that say how to read the request, beside those of http_field. */
enum {
    HTTP_OWN_HOST = HTTP_FIELDS,
    HTTP_OWN_CONNECTION,
    HTTP_OWN_LENGTH,
    HTTP_OWN_CODING,
    HTTP_OWN_EXPECT,
    HTTP_OWN_CONTENT_CODING,
    HTTP_OWN_NONE
};

#define HTTP_NAME_BYTES_MAX 22
#define HTTP_NAMES_PER_LENGTH 2

/* By length, then by first letter: most names are told apart without comparing them. */
static const struct http_name {
    char lower[HTTP_NAME_BYTES_MAX + 1];
    u8 field;
} http_names[HTTP_NAME_BYTES_MAX + 1][HTTP_NAMES_PER_LENGTH] = {
    [4] = {{"host", HTTP_OWN_HOST}},
    [6] = {{"origin", HTTP_ORIGIN}, {"expect", HTTP_OWN_EXPECT}},
    [7] = {{"upgrade", HTTP_UPGRADE}},
    [10] = {{"connection", HTTP_OWN_CONNECTION}},
    [11] = {{"x-signature", HTTP_X_SIGNATURE}},
    [12] = {{"x-request-id", HTTP_X_REQUEST_ID}},
    [13] = {{"authorization", HTTP_AUTHORIZATION}, {"if-none-match", HTTP_IF_NONE_MATCH}},
    [14] = {{"content-length", HTTP_OWN_LENGTH}},
    [15] = {{"x-forwarded-for", HTTP_X_FORWARDED_FOR}},
    [16] = {{"content-encoding", HTTP_OWN_CONTENT_CODING}},
    [17] = {{"transfer-encoding", HTTP_OWN_CODING}, {"sec-websocket-key", HTTP_SEC_WEBSOCKET_KEY}},
    [21] = {{"sec-websocket-version", HTTP_SEC_WEBSOCKET_VERSION}},
    [22] = {{"sec-websocket-protocol", HTTP_SEC_WEBSOCKET_PROTOCOL}},
};

/* Which field a token names, HTTP_OWN_NONE if none of ours. Setting bit 5 folds the case: of all
   token bytes only letters turn into letters by it, and '-' has it set. */
static u8 http_field_of(struct span name) {
    if (name.bytes > HTTP_NAME_BYTES_MAX) {
        return HTTP_OWN_NONE;
    }
    for (size_t i = 0; i < HTTP_NAMES_PER_LENGTH; i++) {
        const struct http_name *row = &http_names[name.bytes][i];
        size_t same = 0;
        while (same < name.bytes && (name.at[same] | 0x20) == row->lower[same]) {
            same++;
        }
        if (same == name.bytes) {
            return row->field;
        }
    }
    return HTTP_OWN_NONE;
}

static void http_take_connection(struct http_parser *p, struct span list) {
    struct span option;
    while (http_list_next(&list, &option)) {
        p->close |= span_equal_fold(option, SPAN("close"));
        p->keep_alive |= span_equal_fold(option, SPAN("keep-alive"));
        p->head->connection_upgrade |= span_equal_fold(option, SPAN("upgrade"));
    }
}

static void http_take_coding(struct http_parser *p, struct span list) {
    struct span coding;
    while (http_list_next(&list, &coding)) {
        const char *end = coding.at + coding.bytes;
        bool none = p->coding == HTTP_CODING_NONE, other = p->coding == HTTP_CODING_OTHER;
        bool token = coding.bytes && http_class_run(coding.at, end, HTTP_TOKEN) == end;
        if (!token || (!none && !other)) {
            p->coding = HTTP_CODING_BAD;
        } else if (!span_equal_fold(coding, SPAN("chunked"))) {
            p->coding = HTTP_CODING_OTHER;
        } else {
            p->coding = other ? HTTP_CODING_OTHER_CHUNKED : HTTP_CODING_CHUNKED;
        }
    }
}

static void http_take_expect(struct http_parser *p, struct span list) {
    struct span expectation;
    while (http_list_next(&list, &expectation)) {
        bool proceed = span_equal_fold(expectation, SPAN("100-continue"));
        p->head->expects_continue |= proceed;
        p->expects_other |= !proceed && expectation.bytes;
    }
}

static void http_take_content_coding(struct http_parser *p, struct span list) {
    struct span coding;
    while (http_list_next(&list, &coding)) {
        p->head->content_coded |= coding.bytes && !span_equal_fold(coding, SPAN("identity"));
    }
}

static void http_take_forwarded(struct http_head *head, struct span value) {
    struct span *last = &head->fields[HTTP_X_FORWARDED_FOR];
    head->forwarded_more = head->forwarded_rest.at != NULL;
    head->forwarded_rest = *last;
    *last = value;
}

static void http_take_field(struct http_parser *p, u8 field, struct span value) {
    switch (field) {
    case HTTP_OWN_NONE:
        return;
    case HTTP_OWN_HOST:
        p->head->host = p->hosts++ ? p->head->host : value;
        return;
    case HTTP_OWN_CONNECTION:
        http_take_connection(p, value);
        return;
    case HTTP_OWN_LENGTH:
        p->length = p->lengths++ ? p->length : value;
        return;
    case HTTP_OWN_CODING:
        http_take_coding(p, value);
        return;
    case HTTP_OWN_EXPECT:
        http_take_expect(p, value);
        return;
    case HTTP_OWN_CONTENT_CODING:
        http_take_content_coding(p, value);
        return;
    case HTTP_X_FORWARDED_FOR:
        http_take_forwarded(p->head, value);
        return;
    default:
        MPS_ASSERT(field < HTTP_FIELDS);
        if (!p->head->fields[field].at) {
            p->head->fields[field] = value;
        }
    }
}

/* field-line = field-name ":" OWS field-value OWS CRLF (RFC 9112, 5): gives where the next line
   starts, 0 for more, or an error. A line that starts with a blank (obs-fold) has no name. */
static i64 http_field_line(struct http_parser *p, const char *at) {
    const char *colon = http_class_run(at, p->end, HTTP_TOKEN);
    if (colon == at || colon == p->end || *colon != ':') {
        return http_fault(p, colon);
    }
    const char *value = colon + 1, *end = http_value_run(value, p->end);
    if (p->end - end < 2 || end[0] != '\r' || end[1] != '\n') {
        return http_fault(p, end);
    }
    u8 field = http_field_of(http_between(at, colon));
    if (field != HTTP_OWN_NONE) {
        http_take_field(p, field, http_trimmed(value, end));
    }
    return end + 2 - p->bytes;
}

/* Reads lines from `from` on, where a line starts (0: the request line): gives the bytes up to and
   with the empty line, 0 for more, or an error. */
static i64 http_lines(struct http_parser *p, size_t from) {
    i64 at = from ? (i64)from : http_request_line(p);
    while (at > 0) {
        const char *line = p->bytes + at;
        if (p->end - line >= 2 && line[0] == '\r' && line[1] == '\n') {
            return at + 2;
        }
        at = http_field_line(p, line);
    }
    return at;
}

/* 1*DIGIT that fits; no sign, no blank, no list (RFC 9112, 6.3). */
static bool http_length(struct span s, u64 *value) {
    u64 sum = 0;
    for (size_t i = 0; i < s.bytes; i++) {
        u64 digit = (u64)((u8)s.at[i] - '0');
        if (!ascii_digit((u8)s.at[i]) || sum > (UINT64_MAX - digit) / 10) {
            return false;
        }
        sum = sum * 10 + digit;
    }
    *value = sum;
    return s.bytes > 0;
}

/* Where the body ends must be said once, in one way (RFC 9112, 6.1 and 6.3). */
static bool http_framing_valid(struct http_parser *p) {
    struct http_head *head = p->head;
    bool coded = p->coding != HTTP_CODING_NONE;
    head->has_length = p->lengths == 1 && http_length(p->length, &head->content_length);
    head->chunked = p->coding == HTTP_CODING_CHUNKED;
    if (p->lengths && (!head->has_length || coded)) {
        return false;
    }
    return !coded || (head->minor > 0 && (head->chunked || p->coding == HTTP_CODING_OTHER_CHUNKED));
}

/* One Host, in HTTP/1.0 perhaps none. It is empty only where the target URI has no authority. */
static bool http_host_settled(struct http_parser *p) {
    struct http_head *head = p->head;
    if (p->hosts > 1 || (p->hosts == 0 && head->minor > 0)) {
        return false;
    }
    if (p->hosts && (head->host.bytes ? !http_host_valid(head->host) : p->authority.at != NULL)) {
        return false;
    }
    head->host = p->authority.at ? p->authority : head->host;
    return true;
}

/* What only the whole head can tell. */
static mps_error http_finish(struct http_parser *p) {
    struct http_head *head = p->head;
    bool old = head->minor == 0;
    head->keep_alive = !p->close && (!old || p->keep_alive);
    head->expects_continue &= !old;
    if (!http_framing_valid(p)) {
        return MPS_E_BAD_FRAMING;
    }
    if (!http_host_settled(p)) {
        return MPS_E_BAD_HOST;
    }
    if (p->coding == HTTP_CODING_OTHER_CHUNKED) {
        return MPS_E_TRANSFER_CODING;
    }
    return p->expects_other && !old ? MPS_E_EXPECTATION : MPS_OK;
}

/* Where to go on when `scanned` bytes were looked at before: at the start of the line that they end
   in, if its end is there by now, or at 0 when the target just grew too long. Else gives `end`:
   nothing to judge has come. Thus each byte is looked at a few times, however the head is cut. */
static size_t http_resume(const struct http_parser *p, size_t scanned) {
    size_t end = (size_t)(p->end - p->bytes);
    const char *first = http_first_line(p);
    const char *line = p->bytes + scanned;
    if (scanned == 0) {
        return 0;
    }
    if (http_find(line, p->end, '\n') == p->end) {
        const char *method = http_method_end(p, first);
        size_t too_long =
            method ? (size_t)(method - p->bytes) + 1 + p->limits->target_bytes_max : 0;
        return scanned <= too_long && too_long < end ? 0 : end;
    }
    while (line > first && line[-1] != '\n') {
        line--;
    }
    return line > first ? (size_t)(line - p->bytes) : 0;
}

/* Parses a request head. `scanned` (0 at first) keeps how far it has looked between calls that see
   the same head grow. > 0: bytes of the head with its empty line; 0: need more; < 0: mps_error, one
   of BAD_REQUEST, BAD_FRAMING, BAD_HOST, HTTP_VERSION, TRANSFER_CODING, EXPECTATION,
   TARGET_TOO_LONG, HEAD_TOO_LARGE. `head` counts only with an outcome, and `scanned` is then 0
   again. */
static i64 http_head_parse(const char *bytes, size_t count, size_t *scanned,
                           const struct http_limits *limits, struct http_head *head) {
    size_t end = size_min(count, limits->head_bytes_max);
    struct http_parser p = {.bytes = bytes, .end = bytes + end, .limits = limits, .head = head};
    MPS_ASSERT(*scanned <= end);
    memset(head, 0, sizeof *head);
    if (count == 0) {
        return 0;
    }
    size_t from = http_resume(&p, *scanned);
    i64 result = from < end ? http_lines(&p, from) : 0;
    bool too_large = result == 0 && end == limits->head_bytes_max;
    if (from > 0 && (result != 0 || too_large)) {
        /* Those lines alone were enough to know; now the head is filled from its beginning. */
        p = (struct http_parser){.bytes = bytes, .end = p.end, .limits = limits, .head = head};
        memset(head, 0, sizeof *head);
        result = http_lines(&p, 0);
    }
    result = too_large ? MPS_E_HEAD_TOO_LARGE : result;
    mps_error error = result > 0 ? http_finish(&p) : MPS_OK;
    *scanned = result ? 0 : end;
    return error != MPS_OK ? error : result;
}

/* Chunked bodies (RFC 9112, 7.1), decoded in place:

     "5;ext=1" CRLF "hello" CRLF  ...  "0" CRLF  *( trailer CRLF )  CRLF

     bytes: [ body so far | used up | raw, not yet looked at ]
            0             body_bytes  raw_at               raw_end

   Extensions and trailers mean nothing here; they are checked, counted and dropped. */
enum {
    HTTP_CHUNK_SIZE,
    HTTP_CHUNK_BLANK, /* between size and ';' */
    HTTP_CHUNK_EXTENSION,
    HTTP_CHUNK_SIZE_LF,
    HTTP_CHUNK_DATA,
    HTTP_CHUNK_DATA_CR,
    HTTP_CHUNK_DATA_LF,
    HTTP_CHUNK_TRAILER_NAME, /* or the CR that ends the body */
    HTTP_CHUNK_TRAILER_VALUE,
    HTTP_CHUNK_TRAILER_LF,
    HTTP_CHUNK_END_LF,
    HTTP_CHUNK_DONE
};

struct http_chunks {
    u8 state;       /* all zero is the beginning */
    u32 line_bytes; /* of the size or of the trailer's name, so far */
    u64 left;       /* of the chunk */
    u32 overhead;   /* bytes of extensions and trailers in the whole body */
};

#define HTTP_CHUNK_DIGITS_MAX 16
#define HTTP_CHUNK_OVERHEAD_MAX 4096

static bool http_control(u8 c) {
    return (c < 0x20 && c != '\t') || c == 0x7f;
}

/* A byte of the line with a chunk's size; `room` is what the body may still grow by. */
static mps_error http_chunk_size_byte(struct http_chunks *c, u8 byte, u64 room) {
    int digit = hex_value(byte);
    if (c->state == HTTP_CHUNK_SIZE && digit >= 0) {
        if (++c->line_bytes > HTTP_CHUNK_DIGITS_MAX) {
            return MPS_E_BAD_CHUNK;
        }
        c->left = c->left << 4 | (u64)digit;
        return c->left > room ? MPS_E_BODY_TOO_LARGE : MPS_OK;
    }
    if (c->line_bytes == 0) {
        return MPS_E_BAD_CHUNK;
    }
    if (byte == '\r' && c->state != HTTP_CHUNK_BLANK) {
        c->state = HTTP_CHUNK_SIZE_LF;
        return MPS_OK;
    }
    c->overhead++;
    if (c->state == HTTP_CHUNK_EXTENSION) {
        return http_control(byte) ? MPS_E_BAD_CHUNK : MPS_OK;
    }
    c->state = byte == ';' ? HTTP_CHUNK_EXTENSION : HTTP_CHUNK_BLANK;
    return byte == ';' || http_blank((char)byte) ? MPS_OK : MPS_E_BAD_CHUNK;
}

static mps_error http_chunk_trailer_byte(struct http_chunks *c, u8 byte) {
    c->overhead++;
    if (c->state == HTTP_CHUNK_TRAILER_VALUE) {
        c->state = byte == '\r' ? HTTP_CHUNK_TRAILER_LF : c->state;
        return http_control(byte) && byte != '\r' ? MPS_E_BAD_CHUNK : MPS_OK;
    }
    if (http_class[byte] & HTTP_TOKEN) {
        c->line_bytes++;
        return MPS_OK;
    }
    if (byte == '\r' && c->line_bytes == 0) {
        c->state = HTTP_CHUNK_END_LF;
        return MPS_OK;
    }
    c->state = HTTP_CHUNK_TRAILER_VALUE;
    return byte == ':' && c->line_bytes ? MPS_OK : MPS_E_BAD_CHUNK;
}

/* A byte that must be `want`, and what comes behind it. */
static mps_error http_chunk_fixed_byte(struct http_chunks *c, u8 byte, char want, u8 next) {
    c->line_bytes = 0;
    c->state = next;
    return byte == (u8)want ? MPS_OK : MPS_E_BAD_CHUNK;
}

static mps_error http_chunk_byte(struct http_chunks *c, u8 byte, u64 room) {
    switch (c->state) {
    case HTTP_CHUNK_SIZE:
    case HTTP_CHUNK_BLANK:
    case HTTP_CHUNK_EXTENSION:
        return http_chunk_size_byte(c, byte, room);
    case HTTP_CHUNK_SIZE_LF:
        return http_chunk_fixed_byte(c, byte, '\n',
                                     c->left ? HTTP_CHUNK_DATA : HTTP_CHUNK_TRAILER_NAME);
    case HTTP_CHUNK_DATA_CR:
        return http_chunk_fixed_byte(c, byte, '\r', HTTP_CHUNK_DATA_LF);
    case HTTP_CHUNK_DATA_LF:
        return http_chunk_fixed_byte(c, byte, '\n', HTTP_CHUNK_SIZE);
    case HTTP_CHUNK_TRAILER_NAME:
    case HTTP_CHUNK_TRAILER_VALUE:
        return http_chunk_trailer_byte(c, byte);
    case HTTP_CHUNK_TRAILER_LF:
        return http_chunk_fixed_byte(c, byte, '\n', HTTP_CHUNK_TRAILER_NAME);
    default:
        MPS_ASSERT(c->state == HTTP_CHUNK_END_LF);
        return http_chunk_fixed_byte(c, byte, '\n', HTTP_CHUNK_DONE);
    }
}

/* Decodes what there is: bytes[0..*body_bytes) is then the body so far, and *raw_at stands behind
   what was used. 1: the body and its trailers are complete; 0: need more; < 0: MPS_E_BAD_CHUNK;
   MPS_E_BODY_TOO_LARGE as soon as a size leads past `body_max`; MPS_E_HEAD_TOO_LARGE for extensions
   and trailers of more than HTTP_CHUNK_OVERHEAD_MAX bytes. After an error, do not go on. */
static int http_chunks_decode(struct http_chunks *c, char *bytes, size_t *body_bytes,
                              size_t *raw_at, size_t raw_end, size_t body_max) {
    MPS_ASSERT(*body_bytes <= *raw_at && *raw_at <= raw_end && *body_bytes <= body_max);
    while (*raw_at < raw_end && c->state != HTTP_CHUNK_DONE) {
        if (c->state == HTTP_CHUNK_DATA) {
            size_t here = raw_end - *raw_at;
            size_t count = c->left < here ? (size_t)c->left : here;
            memmove(bytes + *body_bytes, bytes + *raw_at, count);
            *body_bytes += count;
            *raw_at += count;
            c->left -= count;
            c->state = c->left ? HTTP_CHUNK_DATA : HTTP_CHUNK_DATA_CR;
            continue;
        }
        mps_error error = http_chunk_byte(c, (u8)bytes[*raw_at], body_max - *body_bytes);
        if (error != MPS_OK) {
            return error;
        }
        if (c->overhead > HTTP_CHUNK_OVERHEAD_MAX) {
            return MPS_E_HEAD_TOO_LARGE;
        }
        ++*raw_at;
    }
    return c->state == HTTP_CHUNK_DONE;
}

/* Takes one byte off percent-encoded text (RFC 3986, 2.1): its value, or -1 if it is malformed or a
   NUL, which would end a C string early further on. */
static int http_percent_next(struct span *s, bool plus_is_space) {
    u8 c = (u8)s->at[0];
    size_t used = 1;
    int value = c == '+' && plus_is_space ? ' ' : c;
    if (c == '%') {
        int high = s->bytes >= 3 ? hex_value((u8)s->at[1]) : -1;
        int low = s->bytes >= 3 ? hex_value((u8)s->at[2]) : -1;
        value = high < 0 || low < 0 ? -1 : high << 4 | low;
        used = value < 0 ? 1 : 3;
    }
    *s = span_of(s->at + used, s->bytes - used);
    return value == 0 ? -1 : value;
}

/* Percent-decoding into `out`: bytes, or -1 for a malformed '%', a NUL, or a text too long. */
static i64 http_percent_decode(struct span s, bool plus_is_space, char *out, size_t capacity) {
    size_t bytes = 0;
    while (s.bytes) {
        int c = http_percent_next(&s, plus_is_space);
        if (c < 0 || bytes == capacity) {
            return -1;
        }
        out[bytes++] = (char)c;
    }
    return (i64)bytes;
}

/* Whether a name of a query is `name` once it is decoded. */
static bool http_query_named(struct span raw, const char *name) {
    while (raw.bytes && *name) {
        if (http_percent_next(&raw, true) != (u8)*name++) {
            return false;
        }
    }
    return raw.bytes == 0 && *name == 0;
}

/* Takes the next name=value pair off a raw query, undecoded; false at the end. Empty pairs are
   passed over; without '=' the value is empty and its .at NULL. */
static bool http_query_next(struct span *query, struct span *name, struct span *value) {
    while (query->bytes) {
        const char *at = query->at, *end = at + query->bytes;
        const char *pair_end = http_find(at, end, '&'), *equals = http_find(at, pair_end, '=');
        *query = pair_end < end ? http_between(pair_end + 1, end) : span_of(NULL, 0);
        *name = http_between(at, equals);
        *value = equals < pair_end ? http_between(equals + 1, pair_end) : span_of(NULL, 0);
        if (pair_end > at) {
            return true;
        }
    }
    return false;
}

/* The decoded value of a parameter, the first of its name: bytes; -1 if it is malformed or too
   long; 0 with `found` false if there is none. */
static i64 http_query_find(struct span query, const char *name, char *out, size_t capacity,
                           bool *found) {
    struct span raw, value;
    *found = false;
    while (http_query_next(&query, &raw, &value)) {
        if (http_query_named(raw, name)) {
            *found = true;
            return http_percent_decode(value, true, out, capacity);
        }
    }
    return 0;
}

static const struct http_status {
    u16 status;
    const char *reason;
} http_statuses[] = {
    {100, "Continue"},
    {101, "Switching Protocols"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {206, "Partial Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {422, "Unprocessable Content"},
    {426, "Upgrade Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {503, "Service Unavailable"},
    {505, "HTTP Version Not Supported"},
};

/* The reason phrase; empty, which is legal (RFC 9112, 4), for a status that is not listed. */
static const char *http_reason(u32 status) {
    for (size_t i = 0; i < COUNT_OF(http_statuses); i++) {
        if (http_statuses[i].status == status) {
            return http_statuses[i].reason;
        }
    }
    return "";
}

#define HTTP_DAY_S 86400
#define HTTP_DATE_S_MAX ((i64)253402300799) /* the last second of 9999 */

/* The date of a day counted from 1970-01-01. Years are taken to begin in March, so that the leap
   day is the last of its year, and are counted from March of the year 0. */
static void http_civil_date(u32 day, u32 *year, u32 *month, u32 *day_of_month) {
    static const u16 month_starts[] = {0, 31, 61, 92, 122, 153, 184, 214, 245, 275, 306, 337};
    u32 rest = day + 719468; /* days from 0000-03-01 to 1970-01-01 */
    u32 cycles = rest / 146097;
    rest %= 146097; /* in 400 years; the last century and the last year are the ones a day longer */
    u32 centuries = u32_min(rest / 36524, 3);
    rest -= centuries * 36524;
    u32 fours = rest / 1461;
    rest %= 1461;
    u32 ones = u32_min(rest / 365, 3);
    rest -= ones * 365;
    u32 index = 11;
    while (month_starts[index] > rest) {
        index--;
    }
    *year = cycles * 400 + centuries * 100 + fours * 4 + ones + (index >= 10);
    *month = index < 10 ? index + 3 : index - 9;
    *day_of_month = rest - month_starts[index] + 1;
}

/* "Sun, 06 Nov 1994 08:49:37 GMT" (IMF-fixdate, RFC 9110, 5.6.7). Times outside the years 1970 to
   9999 are taken as the nearest that the format can say. */
static void http_put_date(struct text *t, i64 unix_s) {
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    u64 s = unix_s < 0 ? 0 : (u64)(unix_s > HTTP_DATE_S_MAX ? HTTP_DATE_S_MAX : unix_s);
    u32 day = (u32)(s / HTTP_DAY_S), second = (u32)(s % HTTP_DAY_S), year, month, day_of_month;
    http_civil_date(day, &year, &month, &day_of_month);
    text_add(t, span_of(days + (day + 4) % 7 * 3, 3)); /* 1970-01-01 was a Thursday */
    TEXT_LITERAL(t, ", ");
    text_padded(t, day_of_month, 2);
    text_char(t, ' ');
    text_add(t, span_of(months + (month - 1) * 3, 3));
    text_char(t, ' ');
    text_padded(t, year, 4);
    text_char(t, ' ');
    text_padded(t, second / 3600, 2);
    text_char(t, ':');
    text_padded(t, second / 60 % 60, 2);
    text_char(t, ':');
    text_padded(t, second % 60, 2);
    TEXT_LITERAL(t, " GMT");
}

#define HTTP_LOG_TARGET_BYTES_MAX 200

/* Adds bytes with all that is not visible ASCII as %XX, never half of one. */
static void http_put_visible(struct text *t, struct span s) {
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s.bytes && !t->cut; i++) {
        u8 c = (u8)s.at[i];
        char escape[] = {'%', digits[c >> 4], digits[c & 15]};
        bool plain = c > 0x20 && c < 0x7f;
        if (!plain && t->capacity - t->bytes < sizeof escape) {
            t->cut = true;
        } else {
            text_add(t, plain ? span_of(s.at + i, 1) : span_of(escape, sizeof escape));
        }
    }
}

/* A target for the log: values of `token` are left out, since they sign somebody in, however their
   name is encoded; unsafe bytes are percent-encoded; at most HTTP_LOG_TARGET_BYTES_MAX bytes. */
static void http_put_target(struct text *t, struct span target) {
    char buffer[HTTP_LOG_TARGET_BYTES_MAX];
    if (target.bytes == 0) {
        return;
    }
    struct text line = text_on(buffer, sizeof buffer);
    const char *end = target.at + target.bytes, *at = http_find(target.at, end, '?');
    http_put_visible(&line, http_between(target.at, at));
    while (at < end && !line.cut) {
        const char *pair = at + 1, *pair_end = http_find(pair, end, '&');
        const char *equals = http_find(pair, pair_end, '=');
        bool secret = equals < pair_end && http_query_named(http_between(pair, equals), "token");
        http_put_visible(&line, http_between(at, secret ? equals + 1 : pair_end));
        if (secret) {
            TEXT_LITERAL(&line, "REDACTED");
        }
        at = pair_end;
    }
    text_add(t, text_span(&line));
}

/* == 90 api =====================================================================================*/

const char *mps_error_code(mps_error error) {
    return error_row(error)->code;
}

const char *mps_error_text(mps_error error) {
    return error_row(error)->text;
}

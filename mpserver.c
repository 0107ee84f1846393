/* mpserver.c: the server as a pure state machine. No I/O, no clock, no heap.  SPDX: MIT-0

   CONTENTS. Lower layers first: a section calls only what stands above it, so there is not one
   forward declaration, and struct mps_server is completed only in section 80: nothing below can
   reach across. Find a section by its banner, e.g. "== 40 http".

     08 switches      what a build leaves out
     10 base          assertions, integers, spans, bounded text
     12 errors, log   the error table's columns, log items
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
     36 log           records as text and JSON, the ring of recent lines
     38 mathematics   square root, sine
     40 http          HTTP/1.1 parser and writer, pure
     42 websocket     frames of RFC 6455: reader and heads, pure
     44 stun          Binding requests and their answers, pure
     46 datagrams     positions as JSON and as binary v1: reader and writers, pure
     50 connections   states, byte rings, lent chunks, large inputs, back-pressure
     52 auth          identities, JWT HS256
     54 rate limits   token buckets by address and by player, trusted proxies
     60 presence      users, sockets, the ring of announcements
     62 rooms         relay rooms, seats, bans, fan-out, newest states
     64 lobbies       lobbies, their players, codes
     65 real time     players' addresses and positions, what a tick tells whom
     80 server        struct mps_server, configuration table, layout, checks
     81 answers       the request being answered, heads, errors, reading bodies and queries
     82 websocket h.  what the messages do, messages[], frames in and out
     83 rooms o. http what the routes of rooms do, the upgrade, what rooms need of the server
     84 http handlers what the other routes do, routes[], producers of long answers
     85 requests      from bytes to handlers: limits, tokens, bodies, time-outs
     86 datagram h.   what the datagrams do, packets[], answers at once
     87 settle        outcomes become hooks and log lines
     88 advance       timers[], slices of left-over work
     89 making        the layout of the block, what its tables begin with
     90 api           thin mps_* wrappers
     91 rooms' api    the same for relay rooms
     92 texts         the tables as lines for --help-* */

#include "mpserver.h"

#include <string.h>

/* == 08 switches =================================================================================
   What a build leaves out; mpserver.h tells what that means for those outside. A subsystem is left
   out by whole sections. What others call of it is a handful of functions; where it is left out,
   ones that do nothing stand in for them, right behind its section. Rows of lists that are macros
   stand in the macros below. Whatever a switch touches is found by its name. */

#ifdef MPS_NO_ROOMS
#define WITH_ROOMS(...)
#else
#define WITH_ROOMS(...) __VA_ARGS__
#endif

#ifdef MPS_NO_UDP
#define WITH_UDP(...)
#else
#define WITH_UDP(...) __VA_ARGS__
#endif

/* A text that only explains. */
#ifdef MPS_NO_DOCS
#define DOC(text) ""
#else
#define DOC(text) text
#endif

/* == 10 base ====================================================================================
   What every section uses: integers by their width, assertions, spans (borrowed bytes) and text (a
   bounded writer). Owns no state and knows nothing about the server. */

/* Assertions stay on in release: a state that cannot be ends the process where it is found, before
   it becomes a wrong answer. A build that wants to be told first defines MPS_ASSERT itself. */
#ifndef MPS_ASSERT
#if defined(__GNUC__)
#define MPS_ASSERT(x) ((x) ? (void)0 : __builtin_trap())
#else
static void assert_failed(void) {
    /* Volatile, and without an end, so that no compiler may leave the store out or return. */
    for (;;) {
        *(volatile int *)0 = 0;
    }
}
#define MPS_ASSERT(x) ((x) ? (void)0 : assert_failed())
#endif
#endif

/* For what is called from so many places that copies of it would make up a good part of a build for
   size. Where speed counts, the compiler decides. */
#if defined(__GNUC__) && defined(__OPTIMIZE_SIZE__)
#define MPS_OUTLINE __attribute__((noinline))
#else
#define MPS_OUTLINE
#endif

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* For what is finished and tested, and whose first user is a later section. */
#if defined(__GNUC__)
#define MPS_UNUSED __attribute__((unused))
#else
#define MPS_UNUSED
#endif

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t i32;
typedef int64_t i64;

#define MS_US ((u64)1000) /* microseconds in a millisecond */
#define S_US ((u64)1000000)
/* As a deadline: nothing is due. Times are microseconds on the scale of the port's `now`. */
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
MPS_OUTLINE static u64 time_after(u64 a, u64 b) {
    return a > NEVER - b ? NEVER : a + b;
}

/* Byte by byte, because the core knows neither the order of the machine's bytes nor whether they
   are aligned. Compilers make one load of it. */
static u32 load_be16(const u8 *at) {
    return (u32)at[0] << 8 | at[1];
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

/* Eight bytes at a time, the first of them lowest. A mark is the top bit of a byte; only the lowest
   mark of a word is exact, since a borrow may run on from it into the bytes above. */
#define WORD_BYTES 8
#define WORD_EACH(byte) ((u64)(byte)*UINT64_C(0x0101010101010101))

/* Spelled byte by byte, which is one load where the machine has that order. */
static inline u64 word_load(const void *at) {
    const u8 *b = at;
    return (u64)b[0] | (u64)b[1] << 8 | (u64)b[2] << 16 | (u64)b[3] << 24 | (u64)b[4] << 32 |
           (u64)b[5] << 40 | (u64)b[6] << 48 | (u64)b[7] << 56;
}

/* Marks bytes below `bound`, which is at most 0x80. */
static inline u64 word_marks_below(u64 word, u8 bound) {
    return (word - WORD_EACH(bound)) & ~word & WORD_EACH(0x80);
}

static inline u64 word_marks_of(u64 word, char c) {
    return word_marks_below(word ^ WORD_EACH((u8)c), 1);
}

/* Which byte the lowest mark is in. */
static inline size_t word_marked(u64 marks) {
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

/* Borrowed bytes. `at` may be NULL when there are none. */
struct span {
    const char *at;
    size_t bytes;
};

/* Of a string literal alone: of a pointer, sizeof would give the size of the pointer. */
#define SPAN(literal) ((struct span){(literal), sizeof(literal) - 1})

static struct span span_of(const char *at, size_t bytes) {
    return (struct span){at, bytes};
}

/* NULL is empty, as options that were not given are. */
static struct span span_z(const char *zero_terminated) {
    return span_of(zero_terminated, zero_terminated ? strlen(zero_terminated) : 0);
}

/* Without bytes memcmp is not asked: `at` may be NULL, which it must not be given. */
static bool span_equal(struct span a, struct span b) {
    return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.at, b.at, a.bytes) == 0);
}

/* ASCII alone: what a name of the protocol is must not depend on a locale. */
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

/* Where something is, as its distance from the place that remembers it. */
static void near_set(ptrdiff_t *near, const void *at) {
    *near = (const char *)at - (const char *)near;
}

static void *near_get(const ptrdiff_t *near) {
    return (char *)(uintptr_t)near + *near;
}

/* A bounded writer. What does not fit is left out and `cut` says so; nothing overruns. Writers
   therefore check nothing as they go; whoever sent them looks at `cut` once, at the end. `at` is
   borrowed, `bytes` never passes `capacity`, and no zero is put behind the text. */
struct text {
    char *at;
    size_t bytes, capacity;
    bool cut;
};

static struct text text_on(char *at, size_t capacity) {
    return (struct text){at, 0, capacity, false};
}

/* The rare half of text_add. What still fits is written, so that a line of the log which is too
   long keeps its beginning. */
static void text_add_cut(struct text *t, struct span s) {
    size_t room = t->capacity - t->bytes;
    MPS_ASSERT(t->bytes <= t->capacity);
    if (room) {
        memcpy(t->at + t->bytes, s.at, room);
    }
    t->bytes += room;
    t->cut = true;
}

/* Inline, so that a literal is stored in words instead of being handed to memcpy: answers are put
   together of some fifty of them. */
static inline void text_add(struct text *t, struct span s) {
    if (s.bytes > t->capacity - t->bytes) {
        text_add_cut(t, s);
    } else if (s.bytes) {
        memcpy(t->at + t->bytes, s.at, s.bytes);
        t->bytes += s.bytes;
    }
}

#define TEXT_LITERAL(t, literal) text_add((t), SPAN(literal))

static void text_z(struct text *t, const char *zero_terminated) {
    text_add(t, span_z(zero_terminated));
}

static inline void text_char(struct text *t, char c) {
    text_add(t, span_of(&c, 1));
}

/* The digits of 2^64 - 1. */
#define U64_DIGITS_MAX 20

static void text_u64(struct text *t, u64 value) {
    char digits[U64_DIGITS_MAX];
    size_t at = sizeof digits;
    if (value < 10) {
        text_char(t, (char)('0' + value));
        return;
    }
    for (; value > UINT32_MAX; value /= 10) {
        digits[--at] = (char)('0' + value % 10);
    }
    u32 rest = (u32)value; /* dividing 32 bits is several times as fast */
    do {
        digits[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    text_add(t, span_of(digits + at, sizeof digits - at));
}

/* Negated as an unsigned number: the least i64 has no positive counterpart. */
static void text_i64(struct text *t, i64 value) {
    if (value < 0) {
        text_char(t, '-');
    }
    text_u64(t, value < 0 ? (u64)0 - (u64)value : (u64)value);
}

/* The last `digits` decimal digits, leading zeros and all. For the parts of dates and the fractions
   of seconds, which have a fixed width. */
static void text_padded(struct text *t, u32 value, u32 digits) {
    char text[U64_DIGITS_MAX];
    MPS_ASSERT(digits <= sizeof text);
    for (u32 i = digits; i > 0; i--, value /= 10) {
        text[i - 1] = (char)('0' + value % 10);
    }
    text_add(t, span_of(text, digits));
}

static const char hex_digits[] = "0123456789abcdef";

/* Lower case, the form in which tokens and ids are handed out; hex_value takes either. */
static void text_hex(struct text *t, const u8 *bytes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        char pair[2] = {hex_digits[bytes[i] >> 4], hex_digits[bytes[i] & 15]};
        text_add(t, span_of(pair, sizeof pair));
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

/* Exactly `bytes` bytes of two digits each; otherwise false, and `out` counts for nothing. */
static bool hex_read(struct span hex, u8 *out, size_t bytes) {
    for (size_t i = 0; i < bytes && hex.bytes == 2 * bytes; i++) {
        int high = hex_value((u8)hex.at[2 * i]), low = hex_value((u8)hex.at[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        out[i] = (u8)(high << 4 | low);
    }
    return hex.bytes == 2 * bytes;
}

static struct span text_span(const struct text *t) {
    return span_of(t->at, t->bytes);
}

static bool span_has(struct span s, char c) {
    for (size_t i = 0; i < s.bytes; i++) {
        if (s.at[i] == c) {
            return true;
        }
    }
    return false;
}

/* Without blanks and tabs at its ends. OWS, RFC 9110, 5.6.3: no other kind of space counts. */
static struct span span_trim(struct span s) {
    while (s.bytes && (s.at[0] == ' ' || s.at[0] == '\t')) { /* NOLINT: bytes are somewhere */
        s = span_of(s.at + 1, s.bytes - 1);
    }
    while (s.bytes && (s.at[s.bytes - 1] == ' ' || s.at[s.bytes - 1] == '\t')) {
        s.bytes--;
    }
    return s;
}

/* == 12 errors, log ==============================================================================
   The columns of MPS_ERRORS as a table, looked up by value. */

/* `code` is what clients compare and therefore never changes; `text` is for people. `ws` is a close
   code of RFC 6455, 7.4; 0 leaves a socket open. */
struct error_row {
    const char *code, *text;
    int error : 16;             /* mps_error */
    unsigned http : 10, ws : 6; /* ws: above 1000 */
};

#ifdef MPS_NO_ERROR_TEXTS
#define ERROR_TEXT(code, text) code
#else
#define ERROR_TEXT(code, text) text
#endif

static const struct error_row errors[] = {{"ok", ERROR_TEXT("ok", "Done."), MPS_OK, 200, 0},
#define ERROR_ROW(name, value, code, http, ws, text) \
    {code, ERROR_TEXT(code, text), value, http, (ws) % 1000},
                                          MPS_ERRORS(ERROR_ROW)
#undef ERROR_ROW
};

/* Row by row: answers that went well do not come here. A value that is not found is the mistake of
   whoever asks. */
static const struct error_row *error_row(mps_error error) {
    for (size_t i = 0; i < COUNT_OF(errors); i++) {
        if (errors[i].error == error) {
            return &errors[i];
        }
    }
    MPS_ASSERT(error == MPS_OK); /* an error that is not in MPS_ERRORS */
    return &errors[0];
}

/* What the server reports, one row each: level, stable name, what happened and, where a limit was
   met, which key raises it. At most LOG_ITEM_PER_S of an item are let through in a second, so that
   strangers cannot flood the log; the next line of the item tells how many were held back. */
/* clang-format off */
#define LOG_ITEMS(X)                                                                              \
    X(REQUEST, DEBUG, "request", "request answered")                                              \
    X(REQUEST_FAILED, WARN, "request_failed", "request could not be served")                      \
    X(LOBBY_OPENED, INFO, "lobby_opened", "lobby opened")                                         \
    X(LOBBY_CLOSED, INFO, "lobby_closed", "lobby closed")                                         \
    X(PLAYER_JOINED, INFO, "player_joined", "player joined a lobby")                              \
    X(PLAYER_LEFT, INFO, "player_left", "player left a lobby")                                    \
    X(CONNECTION_REFUSED, WARN, "connection_refused",                                             \
      "connection refused; if this is normal load raise `connections`, `connections_per_address` " \
      "or `connections_per_s`")                                                                   \
    X(SLOW_READER, WARN, "slow_reader",                                                           \
      "connection closed, its peer does not read; raise `chunks` if memory ran short")            \
    WITH_ROOMS(                                                                                   \
        X(ROOM_OPENED, INFO, "room_opened", "room opened")                                        \
        X(ROOM_CLOSED, INFO, "room_closed", "room closed")                                        \
        X(PEER_JOINED, DEBUG, "peer_joined", "peer joined a room")                                \
        X(PEER_LEFT, DEBUG, "peer_left", "peer left a room"))                                     \
    X(ANNOUNCED, INFO, "announced", "announcement made")                                          \
    X(RELOAD_ASKED, INFO, "reload_asked", "an admin asked for a reload")                          \
    X(RECORD_ASKED, INFO, "record_asked", "an admin asked for a recording")                       \
    X(CONFIG_CHANGED, INFO, "config_changed", "configuration value changed")                      \
    X(CONFIG_WAITS, WARN, "config_waits", "configuration value waits for a restart")              \
    X(CLOCK_SET, INFO, "clock_set", "the date is known")                                          \
    X(CLOCK_STEPPED, WARN, "clock_stepped", "the date made a step")                               \
    X(PORT_ERROR, WARN, "port_error", "the platform reports an error")                            \
    WITH_UDP(                                                                                     \
        X(UDP_TOKEN_WRONG, WARN, "invalid_udp_token", "a join by UDP with a wrong token"))        \
    X(DATAGRAMS_LOST, WARN, "datagrams_lost",                                                     \
      "datagrams came faster than they were read; the kernel dropped some")                       \
    X(DRAIN_BEGUN, INFO, "drain_begun", "shutting down: new work is refused")                     \
    X(DRAINED, INFO, "drained", "shut down")
/* clang-format on */

enum log_item {
#define LOG_ITEM_ENUM(name, level, key, text) LOG_ITEM_##name,
    LOG_ITEMS(LOG_ITEM_ENUM)
#undef LOG_ITEM_ENUM
        LOG_ITEM_COUNT
};

/* `name` is what machines look for and stays as it is, `text` may be reworded. */
struct log_item_row {
    mps_level level;
    const char *name, *text;
};

static const struct log_item_row log_items[] = {
#define LOG_ITEM_ROW(name, level, key, text) {MPS_LOG_##level, key, text},
    LOG_ITEMS(LOG_ITEM_ROW)
#undef LOG_ITEM_ROW
};

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
#define UUID_TEXT 36

/* A version 4 UUID (RFC 9562, 5.4) as text of 36 characters and a zero:

       xxxxxxxx-xxxx-Mxxx-Nxxx-xxxxxxxxxxxx   M: version, 4   N: variant, 8 9 a or b */
static void random_uuid(struct random_state *r, char out[UUID_TEXT + 1]) {
    u8 uuid[UUID_BYTES];
    struct text t = text_on(out, UUID_TEXT);
    random_bytes(r, uuid, sizeof uuid);
    uuid[6] = (u8)((uuid[6] & 0x0f) | 0x40);
    uuid[8] = (u8)((uuid[8] & 0x3f) | 0x80);
    for (u32 i = 0; i < UUID_BYTES; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            text_char(&t, '-');
        }
        text_hex(&t, uuid + i, 1);
    }
    MPS_ASSERT(t.bytes == UUID_TEXT && !t.cut);
    out[UUID_TEXT] = 0;
    crypto_wipe(uuid, sizeof uuid);
}

/* == 16 crypto ===================================================================================
   SHA-256 and HMAC-SHA256 (FIPS 180-4, RFC 2104) for tokens and signed requests, what SHA-1 of
   section 42 shares with them, base64, and comparison that takes the same time wherever two
   secrets differ. Portable C without hardware instructions, small rather than unrolled, since it
   runs on microcontrollers too. Nothing branches on a secret or uses one as an index; base64 does,
   but what it spells is on the wire. Hashing cannot fail and allocates nothing; a state belongs to
   its caller, may be copied while it runs, and is wiped by finish. Readers of base64 take wire data
   and are strict: one text for each value. */

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

static const struct base64_kind base64_url = {'-', '_', false}; /* section 5 */

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

/* Without padding; otherwise the same. */
static size_t base64url_write(const u8 *bytes, size_t count, char *out) {
    return base64_encode(&base64_url, bytes, count, out);
}

/* Gives the bytes written, or -1: a foreign character, padding, bits left over, lack of room. */
static i64 base64url_read(struct span text, u8 *out, size_t capacity) {
    return base64_decode(&base64_url, text, out, capacity);
}

/* What a lobby player proves itself with: made at random, handed out in hexadecimal digits. */
#define UDP_TOKEN_BYTES 16
#define UDP_TOKEN_TEXT (2 * UDP_TOKEN_BYTES)

/* == 18 metrics ==================================================================================
   Counters by name, and histograms of durations. Any section may count; only section 84 prints.
   Everything is a plain integer in struct metrics, so a state hash covers it. */

/* Name, metric, labels, help. Labels stand here as they are written, quotes and all; no value needs
   escaping (text format 0.0.4). A counter starts at 0 with the server and only grows: what reads it
   computes rates from that. */
/* clang-format off */
#define COUNTERS(X)                                                                               \
    X(CONNECTIONS_OPENED, "connections_opened_total", "", "Connections accepted.")                \
    X(REFUSED_FULL, "connections_refused_total", "reason=\"connections_full\"",                   \
      "Connections turned away at the door.")                                                     \
    X(REFUSED_RATE, "connections_refused_total", "reason=\"rate_limited\"", "")                   \
    X(REFUSED_SHARE, "connections_refused_total", "reason=\"address_connections_full\"", "")      \
    X(REFUSED_SILENT, "connections_refused_total", "reason=\"refusals_full\"", "")                \
    X(CLOSED_SLOW, "connections_closed_total", "reason=\"slow_reader\"",                          \
      "Connections closed by the server before their time.")                                      \
    X(CLOSED_TIMEOUT, "connections_closed_total", "reason=\"timeout\"", "")                       \
    X(CLOSED_IDLE, "connections_closed_total", "reason=\"idle\"", "")                             \
    X(CLOSED_NO_ROOM, "connections_closed_total", "reason=\"no_memory\"", "")                     \
    X(BYTES_IN, "received_bytes_total", "", "Bytes read from connections.")                       \
    X(BYTES_OUT, "sent_bytes_total", "", "Bytes written to connections.")                         \
    X(RATE_LIMITED, "rate_limited_total", "", "Requests answered with 429.")                      \
    X(FULL_LOBBIES, "table_full_total", "table=\"lobbies\"",                                      \
      "Requests refused because a table was full: allocation failures.")                          \
    X(FULL_PLAYERS, "table_full_total", "table=\"players\"", "")                                  \
    X(FULL_LARGE_INPUTS, "table_full_total", "table=\"large_inputs\"", "")                        \
    X(FULL_CHUNKS, "table_full_total", "table=\"chunks\"", "")                                    \
    X(FULL_CONNECTIONS, "table_full_total", "table=\"connections\"", "")                          \
    X(FULL_BUCKETS, "table_full_total", "table=\"buckets\"", "")                                  \
    WITH_ROOMS(                                                                                   \
        X(FULL_USERS, "table_full_total", "table=\"users\"", "")                                  \
        X(FULL_ROOMS, "table_full_total", "table=\"rooms\"", "")                                  \
        X(FULL_SEATS, "table_full_total", "table=\"seats\"", "")                                  \
        X(FULL_BANS, "table_full_total", "table=\"bans\"", ""))                                   \
    WITH_UDP(                                                                                     \
        X(FULL_REPLIES, "table_full_total", "table=\"datagram_replies\"", ""))                    \
    WITH_ROOMS(                                                                                   \
        X(SOCKETS_OPENED, "sockets_opened_total", "", "WebSockets opened.")                       \
        X(SOCKETS_CLOSED, "sockets_closed_total", "", "WebSockets over, whoever ended them.")     \
        X(STATES_HELD, "states_held_back_total", "",                                              \
          "States not sent to a member that was behind; newer ones took their place.")            \
        X(ROOMS_OPENED, "rooms_opened_total", "", "Relay rooms made.")                            \
        X(ROOMS_CLOSED, "rooms_closed_total", "", "Relay rooms gone, whatever the reason.")       \
        X(PEERS_JOINED, "peers_joined_total", "", "Seats taken in rooms.")                        \
        X(PEERS_LEFT, "peers_left_total", "", "Seats in rooms ended, whatever the reason."))      \
    X(LOBBIES_OPENED, "lobbies_opened_total", "", "Lobbies made.")                                \
    X(PLAYERS_JOINED, "players_joined_total", "", "Lobby joins.")                                 \
    X(PLAYERS_LEFT, "players_left_total", "", "Lobby players gone, whatever the reason.")         \
    X(DATAGRAMS, "datagrams_total", "", "Datagrams received.")                                    \
    WITH_UDP(                                                                                     \
        X(DATAGRAMS_OUT, "datagrams_sent_total", "", "Datagrams made to be sent."))               \
    X(DATAGRAM_BYTES, "datagram_bytes_total", "way=\"in\"", "Bytes of datagrams.")                \
    WITH_UDP(                                                                                     \
        X(DATAGRAM_BYTES_OUT, "datagram_bytes_total", "way=\"out\"", ""))                         \
    X(DROPS_UNKNOWN, "drops_total", "reason=\"unknown\"", "Datagrams dropped.")                   \
    WITH_UDP(                                                                                     \
        X(DROPS_MALFORMED, "drops_total", "reason=\"malformed\"", "")                             \
        X(DROPS_OVERSIZE, "drops_total", "reason=\"oversize\"", "")                               \
        X(DROPS_STRANGER, "drops_total", "reason=\"not_joined\"", "")                             \
        X(DROPS_RATE, "drops_total", "reason=\"rate_limited\"", "")                               \
        X(DROPS_TOKEN, "drops_total", "reason=\"invalid_udp_token\"", "")                         \
        X(DROPS_FOREIGN, "drops_total", "reason=\"foreign_player\"", "")                          \
        X(DROPS_REFUSED, "drops_total", "reason=\"refused\"", "")                                 \
        X(DROPS_STALE, "drops_total", "reason=\"stale\"", ""))                                    \
    X(DROPS_KERNEL, "drops_total", "reason=\"kernel\"", "")                                       \
    WITH_UDP(                                                                                     \
        X(POSITIONS, "positions_total", "", "Positions taken over.")                              \
        X(CORRECTIONS, "position_corrections_total", "", "Positions refused.")                    \
        X(WITHHELD, "datagrams_withheld_total", "",                                               \
          "Datagrams not sent to an address that is not proved.")                                 \
        X(STUN_ANSWERS, "stun_answers_total", "", "STUN requests answered."))                     \
    X(LOG_SUPPRESSED, "log_suppressed_total", "", "Log lines held back by their rate limit.")     \
    X(PORT_ERRORS, "port_errors_total", "", "Errors that the platform reported.")
/* clang-format on */

enum counter {
#define COUNTER_ENUM(name, metric, labels, help) COUNTER_##name,
    COUNTERS(COUNTER_ENUM)
#undef COUNTER_ENUM
        COUNTER_COUNT
};

/* Rows of one metric stand together, and the first of them carries the help: the text format wants
   the lines of a metric in one group. */
struct counter_row {
    const char *metric, *labels, *help;
};

static const struct counter_row counters[] = {
#define COUNTER_ROW(name, metric, labels, help) {metric, labels, DOC(help)},
    COUNTERS(COUNTER_ROW)
#undef COUNTER_ROW
};

/* From a microsecond, a call into the core, to ten seconds, an answer to a slow reader: both
   histograms share the bounds. Numbers and texts belong together row by row; the texts are there
   because the core writes no floating point. */
#define HISTOGRAM_BUCKETS 14

static const u64 histogram_bounds_ns[HISTOGRAM_BUCKETS] = {
    1000,    2500,    5000,     10000,    25000,     50000,      100000,
    1000000, 5000000, 10000000, 50000000, 250000000, 1000000000, 10000000000,
};
static const char *const histogram_bounds_text[HISTOGRAM_BUCKETS] = {
    "0.000001", "0.0000025", "0.000005", "0.00001", "0.000025", "0.00005", "0.0001",
    "0.001",    "0.005",     "0.01",     "0.05",    "0.25",     "1",       "10",
};

/* One event touches one bucket; the sums that `le` wants are made when it is printed. */
struct histogram {
    u64 buckets[HISTOGRAM_BUCKETS + 1]; /* not cumulated; the last is +Inf */
    u64 sum_ns;
};

/* `count` events that took `ns` each. A bound belongs to its own bucket: `le` is "less or
   equal". */
static void histogram_add(struct histogram *h, u64 ns, u32 count) {
    u32 i = 0;
    while (i < HISTOGRAM_BUCKETS && ns > histogram_bounds_ns[i]) {
        i++;
    }
    h->buckets[i] += count;
    h->sum_ns += ns * count;
}

/* Statuses that answers carry; what is not listed counts in the last row. A fixed list makes the
   table's size known, and no stranger can add rows to it. */
static const u16 metric_statuses[] = {101, 200, 201, 202, 204, 304, 400, 401, 403,
                                      404, 405, 408, 409, 411, 413, 414, 415, 417,
                                      422, 426, 429, 431, 500, 501, 503, 505};

#define METRIC_STATUSES ((u32)COUNT_OF(metric_statuses))
/* Section 84 checks that its routes fit, with one row more for what matched none. */
#define METRIC_ROUTES_MAX 32
/* Types of messages, each way; sections 60 and 82 check that theirs fit. */
#define METRIC_MESSAGES_MAX 32

/* `request`: from a request's first byte until its answer was sent. `call`: single calls into the
   core, as the port tells of them. */
struct metrics {
    u64 counters[COUNTER_COUNT];
    struct histogram request, call;
#ifndef MPS_NO_ROOMS
    u64 messages_in[METRIC_MESSAGES_MAX], messages_out[METRIC_MESSAGES_MAX];
#endif
    ptrdiff_t requests; /* distance to METRIC_STATUSES counters for each route, section 20 */
};

MPS_OUTLINE static void metrics_count(struct metrics *m, enum counter counter) {
    m->counters[counter]++;
}

/* `route` is an index into routes[], or the one behind the last. */
static u64 *metrics_requests(const struct metrics *m, u32 route) {
    MPS_ASSERT(route < METRIC_ROUTES_MAX);
    return (u64 *)near_get(&m->requests) + route * METRIC_STATUSES;
}

static void metrics_request(struct metrics *m, u32 route, u32 status) {
    u32 i = 0;
    while (i + 1 < METRIC_STATUSES && metric_statuses[i] != status) {
        i++;
    }
    metrics_requests(m, route)[i]++;
}

/* == 20 arena ====================================================================================
   The layout of the block. The same functions place every table, once to size the block, once more
   to carve it, and again whenever its state is hashed, so these cannot disagree. What a table needs
   to find its items is a distance, counted from where it is kept: the block may move. */

#define LAYOUT_ALIGN 16

enum layout_use { LAYOUT_SIZES, LAYOUT_MAKE, LAYOUT_HASH };

struct layout {
    enum layout_use use;
    char *block;        /* NULL for sizes */
    u64 hash;           /* of the tables so far */
    size_t bytes;       /* placed so far */
    u32 rows, wanted;   /* the same; the row that is asked for */
    mps_memory_row row; /* that one, once it is placed */
};

/* Gives the offset of `items` items in the block. Sizes are checked against overflow by the ranges
   of the configuration: 2^20 items of 2^26 bytes fit a 64-bit size_t; a 32-bit one saturates. */
static size_t layout_take(struct layout *l, const char *table, size_t items, size_t item_bytes) {
    size_t at = l->bytes;
    size_t room = SIZE_MAX - LAYOUT_ALIGN - at;
    MPS_ASSERT(item_bytes > 0);
    size_t bytes = items > room / item_bytes ? room : items * item_bytes;
    bytes = (bytes + LAYOUT_ALIGN - 1) / LAYOUT_ALIGN * LAYOUT_ALIGN;
    if (l->rows++ == l->wanted) {
        l->row = (mps_memory_row){table, items, item_bytes, bytes};
    }
    l->bytes = at + bytes;
    return at;
}

/* Each hash is the key of the next: the order counts. */
static u64 hash_on(u64 hash, const void *bytes, size_t count) {
    struct siphash_key key = {hash, 0};
    return siphash(&key, bytes, count);
}

/* Takes in `bytes` of the block, without what only fills up to the next table. */
static void layout_hash(struct layout *l, size_t at, size_t bytes) {
    l->hash = hash_on(l->hash, l->block + at, bytes);
}

/* Places a table that is remembered at `near`, counted from the start of the block. Its bytes are
   what they were, so they are no part of the state. */
static void layout_near(struct layout *l, size_t near, const char *table, size_t items,
                        size_t item_bytes) {
    size_t at = layout_take(l, table, items, item_bytes);
    if (l->use == LAYOUT_MAKE) {
        near_set((ptrdiff_t *)(void *)(l->block + near), l->block + at);
    }
}

/* The same for what is read before it is written: the block comes with any bytes in it. */
static void layout_zeroed(struct layout *l, size_t near, const char *table, size_t items,
                          size_t item_bytes) {
    size_t before = l->bytes;
    layout_near(l, near, table, items, item_bytes);
    if (l->use == LAYOUT_MAKE) {
        memset(l->block + before, 0, l->bytes - before);
    } else if (l->use == LAYOUT_HASH) {
        layout_hash(l, before, l->bytes - before);
    }
}

/* == 22 stb_ds ===================================================================================
   Arrays and maps for loading, and only for that: while mps_create runs they live in a scratch
   arena, the result is frozen into flat tables, and no stb_ds pointer survives the call. stb_ds
   crashes when memory runs out, so whoever puts an element asks load_room first. */

struct load_arena {
    char *at;
    size_t used, capacity;
};

/* Set for the length of one loading call; the reason why two threads must not create at once. */
static struct load_arena *load_arena;

#define LOAD_HEADER 16 /* keeps what stb_ds gets aligned, and remembers its size */

static void *load_realloc(void *old, size_t bytes) {
    struct load_arena *a = load_arena;
    size_t need = LOAD_HEADER + (bytes + LOAD_HEADER - 1) / LOAD_HEADER * LOAD_HEADER;
    size_t old_bytes = 0;
    MPS_ASSERT(a && need <= a->capacity - a->used); /* load_room was asked */
    char *fresh = a->at + a->used + LOAD_HEADER;
    a->used += need;
    memcpy(fresh - LOAD_HEADER, &bytes, sizeof bytes);
    if (old) {
        memcpy(&old_bytes, (char *)old - LOAD_HEADER, sizeof old_bytes);
        memcpy(fresh, old, size_min(old_bytes, bytes));
    }
    return fresh;
}

static void load_free(void *old) {
    (void)old; /* the arena goes as a whole */
}

/* Room for one more element of an array and a map that hold `count` elements of `bytes` each:
   growing copies both, at twice the size, with stb_ds's own bookkeeping beside them. */
static bool load_room(size_t count, size_t bytes) {
    size_t elements = 4 * (count + 8);
    size_t need = elements * (2 * bytes + 2 * sizeof(size_t) + 2 * sizeof(ptrdiff_t)) + 1024;
    return load_arena->capacity - load_arena->used >= need;
}

#define STBDS_REALLOC(context, old, bytes) load_realloc((old), (bytes))
#define STBDS_FREE(context, old) load_free(old)
#define STB_DS_IMPLEMENTATION
#define STBDS_NO_SHORT_NAMES

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#pragma GCC diagnostic ignored "-Wimplicit-fallthrough"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wunused-function"
#define typeof __typeof__ /* a keyword only from C23 on */
#endif
/* What is declared static first stays so (C11, 6.2.2): a game with an stb_ds of its own links, and
   what nobody here calls takes no room. */
typedef struct stbds_string_arena stbds_string_arena;
static void stbds_rand_seed(size_t seed);
static size_t stbds_hash_bytes(void *p, size_t len, size_t seed);
static size_t stbds_hash_string(char *str, size_t seed);
static char *stbds_stralloc(stbds_string_arena *a, char *str);
static void stbds_strreset(stbds_string_arena *a);
static void *stbds_arrgrowf(void *a, size_t elemsize, size_t addlen, size_t min_cap);
static void stbds_arrfreef(void *a);
static void stbds_hmfree_func(void *p, size_t elemsize);
static void *stbds_hmget_key(void *a, size_t elemsize, void *key, size_t keysize, int mode);
static void *stbds_hmget_key_ts(void *a, size_t elemsize, void *key, size_t keysize,
                                ptrdiff_t *temp, int mode);
static void *stbds_hmput_default(void *a, size_t elemsize);
static void *stbds_hmput_key(void *a, size_t elemsize, void *key, size_t keysize, int mode);
static void *stbds_hmdel_key(void *a, size_t elemsize, void *key, size_t keysize, size_t keyoffset,
                             int mode);
static void *stbds_shmode_func(size_t elemsize, int mode);
#include <stb/stb_ds.h>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

/* == 24 pools ====================================================================================
   Fixed tables of records. A record is named by a handle: generation << 32 | index + 1, where an
   odd generation (31 bits above the lowest) is alive. The free list is FIFO, so a slot rests as
   long as possible before it is used again. A stale handle gives NULL, for ever. */

struct pool_slot {
    u32 generation; /* odd: alive; a step up at every take and give */
    u32 next;       /* index + 1 of the next free slot */
};

struct pool {
    u32 capacity, item_bytes; /* fixed at the start: a pool never grows */
    u32 used, high;           /* now, and the most there ever were */
    u32 free_head, free_tail; /* index + 1; 0: the pool is full */
    ptrdiff_t slots, items;   /* distances from the pool, section 20 */
};

/* Slots stand apart from the items, so that a walk over generations does not load whole records. */
static struct pool_slot *pool_slot(const struct pool *p, u32 index) {
    MPS_ASSERT(index < p->capacity);
    return (struct pool_slot *)near_get(&p->slots) + index;
}

/* The record in a slot, alive or not. */
static void *pool_at(const struct pool *p, u32 index) {
    MPS_ASSERT(index < p->capacity);
    return (char *)near_get(&p->items) + (size_t)index * p->item_bytes;
}

/* The block comes with any bytes in it, so both tables are written in full. The list starts in the
   order of the slots: the same calls give the same handles. */
static void pool_create(struct pool *p, u32 capacity, u32 item_bytes, void *slots, void *items) {
    *p = (struct pool){.capacity = capacity, .item_bytes = item_bytes};
    near_set(&p->slots, slots);
    near_set(&p->items, items);
    memset(items, 0, (size_t)capacity * item_bytes);
    for (u32 i = 0; i < capacity; i++) {
        *pool_slot(p, i) = (struct pool_slot){0, i + 1 < capacity ? i + 2 : 0};
    }
    p->free_head = capacity ? 1 : 0;
    p->free_tail = capacity;
}

static bool pool_alive(const struct pool *p, u32 index) {
    return pool_slot(p, index)->generation & 1;
}

/* The living records, and the order in which the others will be taken. */
static u64 pool_hash(const struct pool *p, u64 hash) {
    hash = hash_on(hash, near_get(&p->slots), (size_t)p->capacity * sizeof(struct pool_slot));
    for (u32 i = 0; i < p->capacity; i++) {
        if (pool_alive(p, i)) {
            hash = hash_on(hash, pool_at(p, i), p->item_bytes);
        }
    }
    return hash;
}

/* Places a pool that stands at `pool` of the block: its records, and the slots behind them. */
static void layout_pool(struct layout *l, size_t pool, const char *table, u32 count,
                        u32 item_bytes) {
    size_t at = layout_take(l, table, count, item_bytes + sizeof(struct pool_slot));
    if (l->use == LAYOUT_SIZES) {
        return;
    }
    struct pool *p = (struct pool *)(void *)(l->block + pool);
    if (l->use == LAYOUT_MAKE) {
        char *items = l->block + at;
        pool_create(p, count, item_bytes, items + (size_t)count * item_bytes, items);
    } else {
        l->hash = pool_hash(p, l->hash);
    }
}

/* Records do not carry their index; it follows from where they stand. */
static u32 pool_index(const struct pool *p, const void *record) {
    size_t distance = (size_t)((const char *)record - (const char *)near_get(&p->items));
    return (u32)(distance / p->item_bytes);
}

/* The handle of a living record, 0 for a free slot. */
static u64 pool_handle(const struct pool *p, u32 index) {
    return pool_alive(p, index) ? (u64)pool_slot(p, index)->generation << 32 | (index + 1) : 0;
}

/* For handles that come from this server; what a caller gave goes through pool_get. */
static u32 handle_index(u64 handle) {
    MPS_ASSERT((u32)handle != 0);
    return (u32)handle - 1;
}

/* NULL for 0, for numbers that were never handles, and for records that were given back: a caller
   may keep a handle as long as it likes. */
static void *pool_get(const struct pool *p, u64 handle) {
    u32 index = (u32)handle - 1;
    if ((u32)handle == 0 || index >= p->capacity || pool_handle(p, index) != handle) {
        return NULL;
    }
    return pool_at(p, index);
}

/* A zeroed record's handle, 0 when the pool is full. Zeroed means, among other things, a member of
   no queue. */
static u64 pool_take(struct pool *p) {
    if (!p->free_head) {
        return 0;
    }
    u32 index = p->free_head - 1;
    struct pool_slot *slot = pool_slot(p, index);
    MPS_ASSERT(!(slot->generation & 1));
    p->free_head = slot->next; /* from the front: the slot that rested longest */
    p->free_tail = p->free_head ? p->free_tail : 0;
    slot->generation++;
    slot->next = 0;
    p->used++;
    p->high = u32_max(p->high, p->used);
    memset(pool_at(p, index), 0, p->item_bytes);
    return pool_handle(p, index);
}

/* The record must be out of every queue, index and heap before: those know slots, not handles, and
   would take the next owner for this one. Its bytes stay until the slot is taken again. */
static void pool_give(struct pool *p, u64 handle) {
    u32 index = handle_index(handle);
    MPS_ASSERT(pool_get(p, handle));
    pool_slot(p, index)->generation++;
    if (p->free_tail) {
        pool_slot(p, p->free_tail - 1)->next = index + 1;
    } else {
        p->free_head = index + 1;
    }
    p->free_tail = index + 1;
    p->used--;
}

/* The free list and the living records make up the whole pool. */
static bool pool_check(const struct pool *p) {
    u32 alive = 0, free = 0, last = 0;
    for (u32 i = 0; i < p->capacity; i++) {
        alive += pool_alive(p, i);
    }
    for (u32 at = p->free_head; at && free <= p->capacity; at = pool_slot(p, at - 1)->next) {
        free++;
        last = at;
        if (pool_alive(p, at - 1)) {
            return false;
        }
    }
    return alive == p->used && alive + free == p->capacity && last == p->free_tail;
}

/* == 26 index ====================================================================================
   From a name to a record: open addressing over a table of at least twice the records, SipHash
   keyed per server so that nobody can choose colliding names, backward-shift deletion so that it
   never needs rebuilding. It stores hashes and values only; whoever looks something up compares
   the names, as index_first and index_next offer the candidates. */

struct index_slot {
    u32 hash, value; /* value + 1; 0 is empty */
};

struct index {
    u32 mask, used;         /* slots - 1; entries */
    struct siphash_key key; /* never leaves the server */
    ptrdiff_t slots;        /* distance from the index, section 20 */
};

/* Where a search stands. It is void once anything was put or removed. */
struct index_probe {
    u32 hash, at; /* `at` runs on; index_slot wraps it */
};

/* How many slots serve `items`: a power of two, at least twice as many. The bound only keeps the
   doubling from overflowing; the ranges of the configuration end before it. */
static u32 index_slots(u32 items) {
    u32 slots = 8;
    while (slots < items * 2 && slots < 1u << 30) {
        slots *= 2;
    }
    return slots;
}

static struct index_slot *index_slot(const struct index *x, u32 at) {
    return (struct index_slot *)near_get(&x->slots) + (at & x->mask);
}

/* `slots` is what index_slots gave; `at` has room for as many. */
static void index_create(struct index *x, u32 slots, void *at, struct siphash_key key) {
    *x = (struct index){.mask = slots - 1, .key = key};
    near_set(&x->slots, at);
    memset(at, 0, slots * sizeof(struct index_slot));
}

/* Places the index of `items` records that stands at `index` of the block. It has no key yet. */
static void layout_index(struct layout *l, size_t index, const char *table, u32 items) {
    u32 slots = index_slots(items);
    size_t at = layout_take(l, table, slots, sizeof(struct index_slot));
    if (l->use == LAYOUT_MAKE) {
        index_create((struct index *)(void *)(l->block + index), slots, l->block + at,
                     (struct siphash_key){0, 0});
    } else if (l->use == LAYOUT_HASH) {
        layout_hash(l, at, slots * sizeof(struct index_slot));
    }
}

/* Callers keep the hash with their record: index_remove needs it when the name may be gone. */
static u32 index_hash(const struct index *x, const void *name, size_t bytes) {
    return (u32)siphash(&x->key, name, bytes);
}

/* The hash by which lists and searches compare names without touching them; never 0, which is left
   to mean none, or any. */
static u64 index_name(const struct index *x, struct span name) {
    return siphash(&x->key, name.at, name.bytes) | 1;
}

/* The next candidate: value + 1, or 0. Ends at an empty slot, of which half are. */
static u32 index_next(const struct index *x, struct index_probe *probe) {
    for (;;) {
        struct index_slot *slot = index_slot(x, probe->at++);
        if (!slot->value || slot->hash == probe->hash) {
            return slot->value;
        }
    }
}

static u32 index_first(const struct index *x, u32 hash, struct index_probe *probe) {
    *probe = (struct index_probe){hash, hash};
    return index_next(x, probe);
}

/* Does not look for an equal name: the caller has searched, and a second entry would shadow
   neither. The assertion keeps half of the slots empty, without which searches would not end. */
static void index_put(struct index *x, u32 hash, u32 value) {
    u32 at = hash;
    MPS_ASSERT(x->used <= x->mask / 2);
    while (index_slot(x, at)->value) {
        at++;
    }
    *index_slot(x, at) = (struct index_slot){hash, value + 1};
    x->used++;
}

/* The entry must be there. Entries behind it move up instead of leaving a mark: marks would pile up
   over months and make every search longer. */
static void index_remove(struct index *x, u32 hash, u32 value) {
    u32 at = hash;
    while (index_slot(x, at)->value != value + 1) {
        MPS_ASSERT(index_slot(x, at)->value);
        at++;
    }
    for (u32 next = at + 1; index_slot(x, next)->value; next++) {
        /* An entry may move back to the hole unless the hole lies before its home. */
        if (((next - index_slot(x, next)->hash) & x->mask) >= ((next - at) & x->mask)) {
            *index_slot(x, at) = *index_slot(x, next);
            at = next;
        }
    }
    *index_slot(x, at) = (struct index_slot){0, 0};
    x->used--;
}

/* == 28 queues, outcomes =========================================================================
   Lists that run through the records of a pool by index, and the list of outcomes: what lower
   sections want told to the game, the log or other connections. They only append; section 87 tells
   it before the call returns. */

/* A record has one link for each queue that it may be in at the same time. */
struct link {
    u32 next, prev; /* index + 1; 0 is none */
};

/* Not bound to a pool: every call on a queue names the same one. */
struct queue {
    u32 head, tail, count; /* head and tail: index + 1 */
    u32 link_at;           /* where in a record its struct link is */
};

static struct link *queue_link(const struct queue *q, const struct pool *p, u32 index) {
    return (struct link *)((char *)pool_at(p, index) + q->link_at);
}

/* The first of a queue has nothing before it, so the head tells it from a record outside. */
static bool queue_has(const struct queue *q, const struct pool *p, u32 index) {
    return q->head == index + 1 || queue_link(q, p, index)->prev != 0;
}

/* At the end. The record must not be in the queue; queue_push_once is for those who do not know. */
static void queue_push(struct queue *q, const struct pool *p, u32 index) {
    MPS_ASSERT(!queue_has(q, p, index));
    *queue_link(q, p, index) = (struct link){0, q->tail};
    if (q->tail) {
        queue_link(q, p, q->tail - 1)->next = index + 1;
    } else {
        q->head = index + 1;
    }
    q->tail = index + 1;
    q->count++;
}

/* From anywhere, in constant time; a record that is not in the queue is left alone, so that
   cleaning up need not know where a record stood. */
static void queue_remove(struct queue *q, const struct pool *p, u32 index) {
    if (!queue_has(q, p, index)) {
        return;
    }
    struct link *link = queue_link(q, p, index);
    if (link->prev) {
        queue_link(q, p, link->prev - 1)->next = link->next;
    } else {
        q->head = link->next;
    }
    if (link->next) {
        queue_link(q, p, link->next - 1)->prev = link->prev;
    } else {
        q->tail = link->prev;
    }
    *link = (struct link){0, 0};
    q->count--;
}

/* Takes the first out: index + 1, or 0. */
static u32 queue_pop(struct queue *q, const struct pool *p) {
    u32 first = q->head;
    if (first) {
        queue_remove(q, p, first - 1);
    }
    return first;
}

static void queue_push_once(struct queue *q, const struct pool *p, u32 index) {
    if (!queue_has(q, p, index)) {
        queue_push(q, p, index);
    }
}

enum outcome_kind {
    OUTCOME_LOBBY_OPENED,
    OUTCOME_LOBBY_CLOSED,
    OUTCOME_PLAYER_JOINED,
    OUTCOME_PLAYER_LEFT,
    OUTCOME_ROOM_OPENED,
    OUTCOME_ROOM_CLOSED,
    OUTCOME_PEER_JOINED,
    OUTCOME_PEER_LEFT,
    OUTCOME_SLOW_READER
};

/* A handle, not a pointer: the record may be gone or used again before the outcome is told. */
struct outcome {
    enum outcome_kind kind; /* tells which pool the subject is of */
    u32 cause;              /* of what has one; of PEER_ the peer id */
    u64 subject;            /* handle of the lobby, player, room or connection */
};

/* A ring, told in the order in which things happened. It has room for whatever one step may make,
   or the step is not begun. */
struct outcomes {
    u32 capacity, head, count;
    ptrdiff_t ring; /* distance from here, section 20 */
};

static struct outcome *outcome_at(const struct outcomes *o, u32 at) {
    return (struct outcome *)near_get(&o->ring) + at % o->capacity;
}

/* Whoever makes outcomes in numbers asks for room first. */
static bool outcomes_room(const struct outcomes *o, u32 count) {
    return o->capacity - o->count >= count;
}

/* Never fails: an outcome that was dropped would leave its record behind for ever. */
static void outcomes_add(struct outcomes *o, enum outcome_kind kind, u64 subject, u32 cause) {
    MPS_ASSERT(outcomes_room(o, 1));
    *outcome_at(o, o->head + o->count) = (struct outcome){kind, cause, subject};
    o->count++;
}

static bool outcomes_take(struct outcomes *o, struct outcome *out) {
    if (!o->count) {
        return false;
    }
    *out = *outcome_at(o, o->head);
    o->head = (o->head + 1) % o->capacity;
    o->count--;
    return true;
}

/* == 30 timers ===================================================================================
   One binary heap of deadlines, indexed, so that a deadline can be moved. A deadline that is put
   off (an idle connection heard from again) only notes its new date: it sinks when it comes up,
   once, instead of at every message. The rate limits use the same heap to find their fullest
   bucket. Timers are data: a kind, and the index of a record. */

struct heap_entry {
    u64 key;  /* what the heap is ordered by */
    u64 want; /* what it should be; never less than key */
    u32 at;   /* position + 1; 0: not in the heap */
};

/* Entries are found by id, and `order` holds ids by position: an entry keeps its place in memory
   while it moves through the heap. */
struct heap {
    u32 capacity, count;      /* ids there may be; ids in the heap */
    ptrdiff_t entries, order; /* distances from here, section 20 */
};

static void heap_create(struct heap *h, u32 capacity, void *entries, void *order) {
    *h = (struct heap){.capacity = capacity};
    near_set(&h->entries, entries);
    near_set(&h->order, order);
    memset(entries, 0, capacity * sizeof(struct heap_entry));
    memset(order, 0, capacity * sizeof(u32));
}

/* Places the heap that stands at `heap` of the block: its entries, and their order behind them. */
static void layout_heap(struct layout *l, size_t heap, const char *table, u32 count) {
    size_t at = layout_take(l, table, count, sizeof(struct heap_entry) + sizeof(u32));
    if (l->use == LAYOUT_MAKE) {
        char *entries = l->block + at;
        heap_create((struct heap *)(void *)(l->block + heap), count, entries,
                    entries + count * sizeof(struct heap_entry));
    } else if (l->use == LAYOUT_HASH) {
        layout_hash(l, at, count * (sizeof(struct heap_entry) + sizeof(u32)));
    }
}

static struct heap_entry *heap_entry(const struct heap *h, u32 id) {
    MPS_ASSERT(id < h->capacity);
    return (struct heap_entry *)near_get(&h->entries) + id;
}

static u32 *heap_order(const struct heap *h) {
    return near_get(&h->order);
}

static u64 heap_key_at(const struct heap *h, u32 at) {
    return heap_entry(h, heap_order(h)[at])->key;
}

/* The only writer of positions, so `order` and `at` cannot disagree. */
static void heap_place(struct heap *h, u32 at, u32 id) {
    heap_order(h)[at] = id;
    heap_entry(h, id)->at = at + 1;
}

/* `at` is a hole on the way up: ids move into it until `id` may stand there. */
static void heap_rise(struct heap *h, u32 at, u32 id) {
    u64 key = heap_entry(h, id)->key;
    while (at > 0 && heap_key_at(h, (at - 1) / 2) > key) {
        heap_place(h, at, heap_order(h)[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_place(h, at, id);
}

static void heap_sink(struct heap *h, u32 at, u32 id) {
    u64 key = heap_entry(h, id)->key;
    for (u32 child = 2 * at + 1; child < h->count; child = 2 * at + 1) {
        if (child + 1 < h->count && heap_key_at(h, child + 1) < heap_key_at(h, child)) {
            child++;
        }
        if (heap_key_at(h, child) >= key) {
            break;
        }
        heap_place(h, at, heap_order(h)[child]);
        at = child;
    }
    heap_place(h, at, id);
}

/* The last entry fills the gap. It may come from another branch: up or down. */
static void heap_remove(struct heap *h, u32 id) {
    struct heap_entry *entry = heap_entry(h, id);
    if (!entry->at) {
        return;
    }
    u32 at = entry->at - 1;
    u32 last = heap_order(h)[--h->count];
    entry->at = 0;
    if (last != id) {
        heap_rise(h, at, last);
        heap_sink(h, heap_entry(h, last)->at - 1, last);
    }
}

/* Puts an id in or moves it. Earlier keys take effect at once, later ones when the entry comes up:
   so `key` is never later than `want`, and nothing is ever missed. */
static void heap_set(struct heap *h, u32 id, u64 key) {
    struct heap_entry *entry = heap_entry(h, id);
    entry->want = key;
    if (entry->at && key >= entry->key) {
        return; /* put off: it sinks when it comes up */
    }
    entry->key = key;
    heap_rise(h, entry->at ? entry->at - 1 : h->count++, id);
}

#define HEAP_PUT_OFF_MAX 64 /* entries that one call lets sink */

/* The first entry, after letting those sink that were put off. Past HEAP_PUT_OFF_MAX of them the
   answer is early, never late: `settled` says which. False when the heap is empty. */
static bool heap_first(struct heap *h, u32 *id, u64 *key, bool *settled) {
    *settled = true;
    for (u32 i = 0; h->count; i++) {
        *id = heap_order(h)[0];
        struct heap_entry *entry = heap_entry(h, *id);
        *key = entry->key;
        *settled = entry->want == entry->key;
        if (*settled || i == HEAP_PUT_OFF_MAX) {
            return true;
        }
        entry->key = entry->want;
        heap_sink(h, 0, *id);
    }
    return false;
}

static bool heap_check(const struct heap *h) {
    for (u32 at = 0; at < h->count; at++) {
        struct heap_entry *entry = heap_entry(h, heap_order(h)[at]);
        if (entry->at != at + 1 || entry->want < entry->key ||
            (at && heap_key_at(h, (at - 1) / 2) > entry->key)) {
            return false;
        }
    }
    return true;
}

/* TIMER_SERVER has one per enum server_timer; the others one per record of their pool. */
enum timer_kind {
    TIMER_CONN,
    TIMER_LOBBY,
    TIMER_PLAYER,
    TIMER_ROOM,
    TIMER_SEAT,
    TIMER_SERVER,
    TIMER_KINDS
};

/* One id for every record that can have a deadline: setting a timer never lacks room. */
struct timers {
    struct heap heap;
    u32 base[TIMER_KINDS + 1]; /* the ids of a kind start here */
};

/* Replaces the deadline that the record had. `due` is on the clock of kit.now, in microseconds. */
static void timer_set(struct timers *t, enum timer_kind kind, u32 index, u64 due) {
    MPS_ASSERT(t->base[kind] + index < t->base[kind + 1]);
    heap_set(&t->heap, t->base[kind] + index, due);
}

/* Whoever gives a record back has cleared its timer: it would ring for the slot's next owner. */
static void timer_clear(struct timers *t, enum timer_kind kind, u32 index) {
    MPS_ASSERT(t->base[kind] + index < t->base[kind + 1]);
    heap_remove(&t->heap, t->base[kind] + index);
}

/* Takes a timer out that is due at `now`; false when there is none, or none that is sure. The first
   look at the heap's top is for the usual case, in which nothing is due and nothing needs to be
   sorted. */
static bool timer_take(struct timers *t, u64 now, enum timer_kind *kind, u32 *index) {
    u32 id;
    u64 due;
    bool settled;
    if (!t->heap.count || heap_key_at(&t->heap, 0) > now ||
        !heap_first(&t->heap, &id, &due, &settled) || !settled || due > now) {
        return false;
    }
    heap_remove(&t->heap, id);
    u32 k = 0;
    while (id >= t->base[k + 1]) {
        k++;
    }
    *kind = (enum timer_kind)k;
    *index = id - t->base[k];
    return true;
}

/* When the next one may be due: never late. */
static u64 timer_next(const struct timers *t) {
    return t->heap.count ? heap_key_at(&t->heap, 0) : NEVER;
}

#define WORK_GLANCES 16 /* entries of a list or table that are merely compared: one unit of work */

/* What every stateful section above here is given: the time, and whom to tell. */
struct kit {
    u64 now;      /* microseconds on the port's steady clock, which may start anywhere */
    u64 born;     /* `now` at the first call */
    i64 wall_ms;  /* Unix ms at `wall_now`; meaningless until wall_known */
    u64 wall_now; /* `now` when wall_ms was told */
    bool started, wall_known; /* a first call was made; the port told the date */
    u32 work;                 /* done in this call, in frames queued and records looked at */
    struct outcomes outcomes;
    struct timers timers;
    struct random_state random;
    struct metrics metrics;
};

static u64 kit_uptime_ms(const struct kit *k) {
    return (k->now - k->born) / MS_US;
}

/* Unix milliseconds; until the date is known, milliseconds since the start. */
static i64 kit_unix_ms(const struct kit *k) {
    if (k->wall_known) {
        return k->wall_ms + (i64)((k->now - k->wall_now) / MS_US);
    }
    return (i64)kit_uptime_ms(k);
}

/* Time only goes forward: a `now` from the past is the latest one seen. Dates are
   subtracted from `now` without a sign: a step back would make the difference enormous. */
static void kit_tick(struct kit *k, u64 now) {
    if (!k->started) {
        k->started = true;
        k->born = k->now = k->wall_now = now;
    }
    k->now = now > k->now ? now : k->now;
}

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

/* Behind the bytes below 0x80 that `at` begins with. */
static const u8 *utf8_skip_ascii(const u8 *at, const u8 *end) {
    while (end - at >= WORD_BYTES && !(word_load(at) & WORD_EACH(0x80))) {
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

/* Behind the whole sequences that `at` begins with. */
static const u8 *utf8_skip(const u8 *at, const u8 *end) {
    u32 bytes = 1;
    while ((at = utf8_skip_ascii(at, end)) < end && (bytes = utf8_sequence(at, end)) > 0) {
        at += bytes;
    }
    return at;
}

/* No overlong forms, no surrogates, nothing above U+10FFFF. */
static bool utf8_valid(struct span s) {
    const u8 *at = (const u8 *)s.at;
    const u8 *end = s.bytes ? at + s.bytes : at;
    return utf8_skip(at, end) == end;
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

#define JSON_INNER_MAX 8

/* The members of the object that is the value `of` of json_object's values, noted on the way. More
   than JSON_INNER_MAX are not: `count` is one more then, and the object has to be walked. */
struct json_inner {
    const struct json_value *of;
    u32 count;
    struct json_value keys[JSON_INNER_MAX], values[JSON_INNER_MAX];
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
    struct json_inner *inner; /* NULL: nobody asked for those */
    bool inner_due;           /* a name was noted, and its value is being read from `inner_at` on */
    const u8 *inner_at;
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

static inline const u8 *json_skip_space(const u8 *at, const u8 *end) {
    while (at < end && json_is_space(*at)) {
        at++;
    }
    return at;
}

/* Behind the bytes that stand for themselves in a string: at a quote, a backslash, a control
   character, the first byte of a longer character, or the end. */
static inline const u8 *json_skip_plain(const u8 *at, const u8 *end) {
    for (; end - at >= WORD_BYTES; at += WORD_BYTES) {
        u64 word = word_load(at);
        u64 marks = word_marks_below(word, 0x20) | word_marks_of(word, '"') |
                    word_marks_of(word, '\\') | (word & WORD_EACH(0x80));
        if (marks) {
            return at + word_marked(marks);
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
static bool json_read_string_on(struct json_reader *r) {
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
        do { /* longer characters come in runs */
            u32 bytes = utf8_sequence(r->at, r->end);
            if (bytes == 0) {
                return json_fail(r, r->at, "The text is not valid UTF-8.");
            }
            r->at += bytes;
        } while (r->at < r->end && *r->at >= 0x80);
    }
    return json_fail(r, r->end, NULL);
}

/* A byte xored with '0' is below 10 for digits alone; adding the rest up to 0x80 marks the
   others. */
static const u8 *json_skip_digits(const u8 *at, const u8 *end) {
    for (; end - at >= WORD_BYTES; at += WORD_BYTES) {
        u64 word = word_load(at) ^ WORD_EACH('0');
        u64 others = (((word & WORD_EACH(0x7F)) + WORD_EACH(0x80 - 10)) | word) & WORD_EACH(0x80);
        if (others) {
            return at + word_marked(others);
        }
    }
    while (at < end && ascii_digit(*at)) {
        at++;
    }
    return at;
}

/* Most strings are plain from quote to quote. */
static inline bool json_read_string(struct json_reader *r) {
    r->at = json_skip_plain(r->at + 1, r->end);
    if (r->at < r->end && *r->at == '"') {
        r->at++;
        return true;
    }
    return json_read_string_on(r);
}

/* 1*DIGIT */
static bool json_read_digits(struct json_reader *r) {
    const u8 *start = r->at;
    r->at = json_skip_digits(r->at, r->end);
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

/* The same of a token. Names are hardly ever escaped, so bytes are compared until they differ. */
static bool json_spells_on(const char *token, size_t bytes, const char *name) {
    const char *end = token + bytes - 1;
    for (const char *at = token + 1; at < end; at++, name++) {
        if (*at != *name) {
            return *at == '\\' &&
                   json_bytes_spell(json_bytes_of(at - 1, (size_t)(end - at) + 2), name);
        }
    }
    return !*name;
}

/* Most names differ in their first byte. */
static inline bool json_spells(const char *token, size_t bytes, const char *name) {
    bool may = token[1] == name[0] || token[1] == '\\' || !name[0];
    return may && json_spells_on(token, bytes, name);
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

/* Is this the level of the object whose members are noted, too? */
static bool json_in_inner(const struct json_reader *r) {
    return r->depth == 2 && r->inner && r->wanted == r->inner->of;
}

/* One more than there is room for says that there are too many. */
static void json_note_name(struct json_reader *r, const u8 *start, size_t bytes) {
    struct json_inner *inner = r->inner;
    r->inner_due = true;
    if (inner->count < JSON_INNER_MAX) {
        char *at = r->text + (start - (const u8 *)r->text);
        inner->keys[inner->count] = (struct json_value){JSON_STRING, at, bytes};
    }
}

/* Reads `"name":` and, where members are noted, remembers who asked for it. */
static inline bool json_read_name(struct json_reader *r) {
    r->at = json_skip_space(r->at, r->end);
    const u8 *start = r->at;
    if (json_peek(r) != '"') {
        return json_fail(r, r->at, "A member's name is missing here.");
    }
    if (!json_read_string(r)) {
        return false;
    }
    size_t bytes = (size_t)(r->at - start);
    if (r->depth == 1) {
        for (u32 i = 0; i < r->keys_count && !r->wanted; i++) {
            r->wanted = json_spells((const char *)start, bytes, r->keys[i]) ? &r->values[i] : NULL;
        }
    } else if (json_in_inner(r)) {
        json_note_name(r, start, bytes);
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
    if (json_in_inner(r)) {
        r->inner->count = 0; /* NOLINT: there is one, json_in_inner has looked */
    }
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

static void json_note_inner(struct json_reader *r) {
    struct json_inner *inner = r->inner;
    r->inner_due = false;
    if (inner->count < JSON_INNER_MAX) {
        size_t bytes = (size_t)(r->at - r->inner_at);
        char *at = r->text + (r->inner_at - (const u8 *)r->text);
        inner->values[inner->count] = (struct json_value){json_type_of(*r->inner_at), at, bytes};
    }
    inner->count = u32_min(inner->count + 1, JSON_INNER_MAX + 1);
}

/* The whole text. Each round takes at least one byte or fails. */
static bool json_read_text(struct json_reader *r) {
    bool value_due = true;
    while (value_due || r->depth) {
        r->at = json_skip_space(r->at, r->end);
        int first = json_peek(r);
        /* Noted are members of the outermost object, whose values begin at depth 1, and those of
           one object in it. */
        r->wanted_at = value_due && r->depth == 1 ? r->at : r->wanted_at;
        r->inner_at = value_due && r->depth == 2 ? r->at : r->inner_at;
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
        } else if (!value_due && r->depth == 2 && r->inner_due) {
            json_note_inner(r);
        }
    }
    r->at = json_skip_space(r->at, r->end);
    return r->at == r->end || json_fail(r, r->at, "Something stands behind the value.");
}

/* Checks that the whole text is one object and notes its members named in keys[]: the last of a
   name wins, the others are JSON_ABSENT, as all are when the text is refused. `inner` may be
   NULL. */
static bool json_object_in(char *text, size_t bytes, const char *const *keys, u32 keys_count,
                           struct json_value *values, struct json_inner *inner,
                           struct json_fault *fault) {
    struct json_reader r = {.at = (const u8 *)text, .text = text, .keys = keys, .inner = inner};
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

static bool json_object(char *text, size_t bytes, const char *const *keys, u32 keys_count,
                        struct json_value *values, struct json_fault *fault) {
    return json_object_in(text, bytes, keys, keys_count, values, NULL, fault);
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

/* Whether a value is this string. */
static bool json_is(const struct json_value *value, const char *name) {
    return value->type == JSON_STRING && json_spells(value->at, value->bytes, name);
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
    i64 digit = *value.at - '0';
    if (value.bytes == 1 && digit >= min && digit <= max) { /* the usual case */
        *out = digit;
        return true;
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

/* Notes the digits of n / 10^places, n > 0, without zeros at their end. */
static void json_digits_of(u64 n, i32 places, struct json_digits *digits) {
    struct text t = text_on(digits->at, sizeof digits->at);
    text_u64(&t, n);
    digits->point = (i32)t.bytes - places;
    while (digits->at[t.bytes - 1] == '0') {
        t.bytes--;
    }
    digits->count = (u32)t.bytes;
}

/* The quick way, and why it is right. Most numbers in a game have few decimals. Of the integers n
   with n / 10^places == v, the first below 10^15 is the shortest text: 15 digits are never two
   texts of one double, and the product is off by less than 0.3, so none is missed. For `single` it
   is enough that the text reads back as the same float, which takes fewer decimals. */
static bool json_digits_short(double v, bool single, struct json_digits *digits) {
    for (i32 places = 0; JSON_F64_STRICT && places <= JSON_POW10_MAX; places++) {
        double scaled = v * json_pow10[places];
        if (!(scaled < json_pow10[JSON_DIGITS_EXACT])) {
            return false;
        }
        u64 n = (u64)(scaled + 0.5);
        double back = (double)n / json_pow10[places];
        if (n && (back == v || (single && (float)back == (float)v))) {
            json_digits_of(n, places, digits);
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

static inline void json_comma(struct text *t) {
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

/* Behind the bytes that go out as they are. Longer characters come in runs, in names above all, so
   words are tried again only behind them. */
static const u8 *json_skip_unescaped(const u8 *at, const u8 *end) {
    while ((at = json_skip_plain(at, end)) < end && *at >= 0x80) {
        do {
            at++;
        } while (at < end && *at >= 0x80);
    }
    return at;
}

/* Quoted; escaped is only what must be. The bytes are valid UTF-8. */
static void json_put_string(struct text *t, struct span s) {
    const u8 *at = (const u8 *)s.at;
    const u8 *end = s.bytes ? at + s.bytes : at;
    json_comma(t);
    text_char(t, '"');
    while (at < end) {
        const u8 *run = at;
        at = json_skip_unescaped(at, end);
        text_add(t, span_of((const char *)run, (size_t)(at - run)));
        if (at < end) {
            json_put_escape(t, *at++);
        }
    }
    text_char(t, '"');
}

/* A string that ends in a zero. */
static void json_put_z(struct text *t, const char *zero_terminated) {
    json_put_string(t, span_z(zero_terminated));
}

/* "name": with the comma before it. The name needs no escape. */
static void json_put_key(struct text *t, const char *name) {
    json_comma(t);
    text_char(t, '"');
    text_z(t, name);
    TEXT_LITERAL(t, "\":");
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

/* A member of an object, name and value. */
static void json_member_string(struct text *t, const char *name, struct span s) {
    json_put_key(t, name);
    json_put_string(t, s);
}

static void json_member_z(struct text *t, const char *name, const char *zero_terminated) {
    json_put_key(t, name);
    json_put_z(t, zero_terminated);
}

static void json_member_u64(struct text *t, const char *name, u64 v) {
    json_put_key(t, name);
    json_put_u64(t, v);
}

static void json_member_bool(struct text *t, const char *name, bool v) {
    json_put_key(t, name);
    json_put_bool(t, v);
}

/* Sign and zero, which is written 0 whatever its sign, as ECMAScript does. JSON has no infinities
   and no NaN: `v` is finite. False: there is nothing more to write. */
static bool json_put_sign(struct text *t, double v) {
    u64 bits;
    memcpy(&bits, &v, sizeof bits);
    MPS_ASSERT((bits & ~F64_SIGN) < F64_INFINITY);
    json_comma(t);
    if (v <= 0) {
        text_char(t, v < 0 ? '-' : '0');
    }
    return v != 0;
}

/* The shortest text that reads back as the same double. */
MPS_UNUSED static void json_put_f64(struct text *t, double v) {
    struct json_digits digits;
    u64 bits;
    if (!json_put_sign(t, v)) {
        return;
    }
    memcpy(&bits, &v, sizeof bits);
    if (!json_digits_short(v < 0 ? -v : v, false, &digits)) {
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
    text_padded(t, (u32)(ms % 1000), 3);
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

/* Have they the same prefix? */
static bool address_shares(const mps_address *a, const mps_address *b) {
    bool v4 = address_is_v4(a);
    return v4 == address_is_v4(b) && memcmp(a->ip, b->ip, v4 ? ADDRESS_BYTES : 8) == 0;
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
    return load_be16(a->ip + 2 * (size_t)group);
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

/* == 36 log ======================================================================================
   Log records: built on the stack by whoever has something to say, handed to the game's hook, and
   kept as JSON lines in a ring for GET /admin/log. Only sections 81 and above write log lines;
   lower ones add outcomes. */

/* What one line may have as JSON; log_emit says what becomes of a longer one. */
#define LOG_LINE_BYTES 304
#define LOG_ITEM_PER_S 20 /* lines of one item in a second; LOG_ITEMS says why */

/* A slot of the ring. Readers compare `serial` with the one they look for: another means that the
   line was overwritten meanwhile. */
struct log_entry {
    u64 serial; /* from 1 */
    u32 bytes;  /* of `line`, which is not terminated */
    char line[LOG_LINE_BYTES];
};

struct log {
    mps_level level; /* the least that is recorded; may change while running */
    void (*hook)(void *user, const mps_log_record *record);
    void *user;
    u64 serial;      /* of the newest entry */
    u64 window;      /* the second that the budgets below are for */
    u32 entries_max; /* slots of the ring */
    u32 budget_used[LOG_ITEM_COUNT], suppressed[LOG_ITEM_COUNT];
    ptrdiff_t entries; /* distance from here, section 20 */
};

/* By mps_level. The first row is MPS_LOG_DEFAULT, which means info. */
static const char *const log_level_names[] = {"info", "debug", "info", "warn", "error", "off"};

/* Asked first where making the fields of a record costs something. */
static bool log_wants(const struct log *log, enum log_item item) {
    return log_items[item].level >= log->level;
}

/* Starts a record; false when nobody wants it, or its item has spent its budget. Requests have
   none: whoever asks for debug lines gets all of them. */
static bool log_begin(struct log *log, enum log_item item, u64 uptime_us, i64 unix_ms,
                      mps_log_record *r, struct metrics *metrics) {
    if (!log_wants(log, item)) {
        return false;
    }
    if (log->window != uptime_us / S_US) {
        log->window = uptime_us / S_US;
        memset(log->budget_used, 0, sizeof log->budget_used);
    }
    if (log_items[item].level > MPS_LOG_DEBUG && ++log->budget_used[item] > LOG_ITEM_PER_S) {
        log->suppressed[item]++;
        metrics_count(metrics, COUNTER_LOG_SUPPRESSED);
        return false;
    }
    memset(r, 0, sizeof *r);
    r->level = log_items[item].level;
    r->item = log_items[item].name;
    r->text = log_items[item].text;
    r->uptime_us = uptime_us;
    r->unix_ms = unix_ms;
    if (log->suppressed[item]) {
        r->fields[r->fields_count++] =
            (mps_log_field){.name = "suppressed", .number = log->suppressed[item]};
        log->suppressed[item] = 0;
    }
    return true;
}

/* Borrowed until log_emit has returned. Missing bytes become an empty text, since `text` NULL is
   how a number is told from a text. */
static void log_text(mps_log_record *r, const char *name, struct span s) {
    MPS_ASSERT(r->fields_count < MPS_LOG_FIELDS_MAX);
    r->fields[r->fields_count++] =
        (mps_log_field){.name = name, .text = s.at ? s.at : "", .text_bytes = s.bytes};
}

static void log_z(mps_log_record *record, const char *name, const char *zero_terminated) {
    log_text(record, name, span_z(zero_terminated));
}

static void log_number(mps_log_record *r, const char *name, i64 number) {
    MPS_ASSERT(r->fields_count < MPS_LOG_FIELDS_MAX);
    r->fields[r->fields_count++] = (mps_log_field){.name = name, .number = number};
}

/* What a terminal obeys or a reader is fooled by: control characters of ASCII and Latin-1, line and
   paragraph separators, and those that turn the direction of text. Gives its code point and its
   bytes, or 0 for anything else; LOG_UNSAFE is added so that a zero byte is told from it. */
#define LOG_UNSAFE 0x10000u
static u32 log_unsafe(struct span s, size_t at, size_t *bytes) {
    const u8 *c = (const u8 *)s.at + at;
    size_t left = s.bytes - at;
    *bytes = 1;
    if (*c < ' ' || *c == 0x7F) {
        return LOG_UNSAFE + *c;
    }
    if (left >= 2 && *c == 0xC2 && c[1] >= 0x80 && c[1] < 0xA0) {
        *bytes = 2;
        return LOG_UNSAFE + c[1];
    }
    if (left >= 3 && *c == 0xE2) {
        u32 point = 0x2000 | (c[1] & 0x3Fu) << 6 | (c[2] & 0x3Fu);
        bool unsafe = (point >= 0x2028 && point <= 0x202E) || (point >= 0x2066 && point <= 0x2069);
        *bytes = 3;
        return unsafe ? LOG_UNSAFE + point : 0;
    }
    return 0;
}

/* A value as people read it: bare when it is plain, else in quotes, with what could be mistaken
   written as in JSON. */
static void log_put_value(struct text *t, const mps_log_field *field) {
    struct span s = span_of(field->text, field->text_bytes);
    size_t bytes = 1;
    if (!field->text) {
        text_i64(t, field->number);
        return;
    }
    bool plain = s.bytes > 0;
    for (size_t i = 0; i < s.bytes; i++) {
        u8 c = (u8)s.at[i];
        plain &= c > ' ' && c != '"' && c != '\\' && c != '=' && !log_unsafe(s, i, &bytes);
    }
    text_z(t, plain ? "" : "\"");
    for (size_t i = 0; i < s.bytes; i += bytes) {
        u32 point = log_unsafe(s, i, &bytes);
        if (point) {
            u8 hex[2] = {(u8)(point >> 8), (u8)point};
            TEXT_LITERAL(t, "\\u");
            text_hex(t, hex, sizeof hex);
        } else {
            bytes = 1;
            text_z(t, s.at[i] == '"' || s.at[i] == '\\' ? "\\" : "");
            text_char(t, s.at[i]);
        }
    }
    text_z(t, plain ? "" : "\"");
}

/* One object without a line end. The ring and mps_log_json share it, so that a line reads the same
   wherever it is found. */
static void log_put_json(struct text *t, const mps_log_record *r) {
    json_put_open(t, '{');
    json_put_key(t, "time");
    if (r->unix_ms) {
        char date[DATE_TEXT_BYTES];
        struct text d = text_on(date, sizeof date);
        date_put_iso(&d, r->unix_ms);
        json_put_string(t, text_span(&d));
    } else {
        json_put_null(t);
    }
    json_member_u64(t, "uptime_us", r->uptime_us);
    json_member_z(t, "level", log_level_names[r->level]);
    json_member_z(t, "item", r->item);
    json_member_z(t, "text", r->text);
    for (u32 i = 0; i < r->fields_count; i++) {
        const mps_log_field *field = &r->fields[i];
        json_put_z(t, field->name); /* it may be of somebody else's making */
        text_char(t, ':');
        if (field->text) {
            json_put_string(t, span_of(field->text, field->text_bytes));
        } else {
            json_put_i64(t, field->number);
        }
    }
    json_put_close(t, '}');
}

static struct log_entry *log_entry(const struct log *log, u64 serial) {
    return (struct log_entry *)near_get(&log->entries) + serial % log->entries_max;
}

/* A line that would be cut is kept without its fields: cut JSON is no JSON. */
static void log_emit(struct log *log, mps_log_record *r) {
    struct log_entry *entry = log_entry(log, ++log->serial);
    struct text t = text_on(entry->line, sizeof entry->line);
    log_put_json(&t, r);
    if (t.cut) {
        mps_log_record bare = *r;
        bare.fields_count = 0;
        t = text_on(entry->line, sizeof entry->line);
        log_put_json(&t, &bare);
    }
    entry->serial = log->serial;
    entry->bytes = (u32)t.bytes;
    if (log->hook) {
        log->hook(log->user, r);
    }
}

#ifndef MPS_NO_UDP
/* == 38 mathematics ===============================================================================
   The two functions of <math.h> that the game needs, from the four operations alone, so that every
   machine gets the same bits. */

#define REAL_PI 3.14159265358979323846

/* Of a finite number that is not negative, within two units of the last place; below 1e-300 it is
   0. Newton's method from a guess that halves the exponent; each round doubles the digits that are
   right. */
static double real_sqrt(double v) {
    u64 bits;
    double root;
    if (!(v > 1e-300)) {
        return 0;
    }
    memcpy(&bits, &v, sizeof bits);
    bits = (bits >> 1) + ((u64)F64_EXPONENT_BIAS << (F64_FRACTION_BITS - 1));
    memcpy(&root, &bits, sizeof root);
    for (u32 i = 0; i < 6; i++) {
        root = 0.5 * (root + v / root);
    }
    return root;
}

/* Within 1e-11 for angles of up to some thousand turns, which is all that is asked. The series of
   Taylor, folded to a quarter turn, where nine terms do. */
static double real_sin(double angle) {
    double turns = angle / (2 * REAL_PI);
    double x = angle - 2 * REAL_PI * (double)(i64)(turns < 0 ? turns - 0.5 : turns + 0.5);
    x = x > REAL_PI / 2 ? REAL_PI - x : x < -REAL_PI / 2 ? -REAL_PI - x : x;
    double term = x, sum = x;
    for (u32 n = 2; n <= 18; n += 2) {
        term *= -x * x / (double)(n * (n + 1));
        sum += term;
    }
    return sum;
}

static double real_cos(double angle) {
    return real_sin(angle + REAL_PI / 2);
}
#endif

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
    bool content_coded;                   /* Content-Encoding other than identity */
    bool connection_upgrade, subprotocol; /* HTTP_SUBPROTOCOL is offered */
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
#define HTTP_SUBPROTOCOL "mpserver.v1" /* of WebSocket; the only one there is */

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

/* The first `c` at or behind `at`, else `end`. */
static const char *http_find(const char *at, const char *end, char c) {
    for (; end - at >= 8; at += 8) {
        u64 marks = word_marks_of(word_load(at), c);
        if (marks) {
            return at + word_marked(marks);
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
        u64 word = word_load(at);
        u64 marks = word_marks_below(word, 0x21) | word_marks_of(word, 0x7f) |
                    (word & WORD_EACH(0x80)) | word_marks_of(word, '#') | word_marks_of(word, stop);
        if (marks) {
            return at + word_marked(marks);
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
        u64 word = word_load(at);
        u64 marks = word_marks_below(word, 0x20) | word_marks_of(word, 0x7f);
        if (!marks) {
            at += 8;
            continue;
        }
        at += word_marked(marks);
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
    bool doubled; /* who it is from is said twice: a proxy might believe the other one */
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
    HTTP_OWN_PROTOCOL,
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
    [22] = {{"sec-websocket-protocol", HTTP_OWN_PROTOCOL}},
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

/* Several fields form one list (RFC 6455, 11.3.4); names are compared as they are. */
static void http_take_protocol(struct http_head *head, struct span list) {
    struct span protocol;
    while (http_list_next(&list, &protocol)) {
        head->subprotocol |= span_equal(protocol, SPAN(HTTP_SUBPROTOCOL));
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
    case HTTP_OWN_PROTOCOL:
        http_take_protocol(p->head, value);
        return;
    case HTTP_X_FORWARDED_FOR:
        http_take_forwarded(p->head, value);
        return;
    default:
        MPS_ASSERT(field < HTTP_FIELDS);
        if (!p->head->fields[field].at) {
            p->head->fields[field] = value;
        } else {
            p->doubled |= field == HTTP_AUTHORIZATION || field == HTTP_X_SIGNATURE;
            if (field == HTTP_SEC_WEBSOCKET_KEY) {
                p->head->fields[field].bytes = 0; /* twice is no key (RFC 6455, 11.3.1) */
            }
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
    if (p->doubled) {
        return MPS_E_BAD_REQUEST;
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

/* "Sun, 06 Nov 1994 08:49:37 GMT" (IMF-fixdate, RFC 9110, 5.6.7). Times outside the years 1970 to
   9999 are taken as the nearest that the format can say. */
static void http_put_date(struct text *t, i64 unix_s) {
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct date d = date_split(unix_s);
    text_add(t, span_of(days + d.weekday * 3, 3));
    TEXT_LITERAL(t, ", ");
    text_padded(t, d.day, 2);
    text_char(t, ' ');
    text_add(t, span_of(months + (d.month - 1) * 3, 3));
    text_char(t, ' ');
    text_padded(t, (u32)d.year, 4);
    text_char(t, ' ');
    text_padded(t, d.hour, 2);
    text_char(t, ':');
    text_padded(t, d.minute, 2);
    text_char(t, ':');
    text_padded(t, d.second, 2);
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

/* Does the decoded name contain the word, in either case? */
static bool http_name_has(struct span raw, const char *word) {
    size_t bytes = strlen(word);
    for (; raw.bytes; http_percent_next(&raw, true)) {
        struct span at = raw;
        size_t i = 0;
        while (i < bytes && at.bytes &&
               ascii_lower((u8)http_percent_next(&at, true)) == (u8)word[i]) {
            i++;
        }
        if (i == bytes) {
            return true;
        }
    }
    return false;
}

/* A target for the log: values of tokens and tickets of every kind are left out, since they stand
   for somebody, however their name is encoded; unsafe bytes are percent-encoded; at most
   HTTP_LOG_TARGET_BYTES_MAX bytes. */
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
        struct span name = http_between(pair, equals);
        bool secret =
            equals < pair_end && (http_name_has(name, "token") || http_name_has(name, "ticket"));
        http_put_visible(&line, http_between(at, secret ? equals + 1 : pair_end));
        if (secret) {
            TEXT_LITERAL(&line, "REDACTED");
        }
        at = pair_end;
    }
    text_add(t, text_span(&line));
}

#ifndef MPS_NO_ROOMS
/* == 42 websocket ================================================================================
   WebSocket frames of version 13 (RFC 6455): a reader of what a client sends, the heads of what the
   server sends, close codes, and the answer to a client's key. Pure functions: they own no state,
   keep no pointer, and know neither connections nor what messages say. No extensions, so the
   reserved bits are zero; no binary messages.

   The reader decodes in place and gives whole messages: text is unmasked, put together and proven
   to be UTF-8, all as it arrives, so that what has to wait for more needs no second look. Faults
   are found in the order of the stream's bytes, each with the byte that shows it: the outcome never
   depends on how the bytes were cut into reads. */

enum ws_opcode {
    WS_CONTINUATION = 0,
    WS_TEXT = 1,
    WS_BINARY = 2,
    WS_CLOSE = 8,
    WS_PING = 9,
    WS_PONG = 10
};

/* A frame (RFC 6455, 5.2). The mask is always there from a client, and never from a server:

         byte 0             byte 1
       | FIN RSV opcode | MASK length | 0, 2 or 8 bytes of length | 4 bytes of mask | payload |
          1   3    4       1     7      as `length` is < 126, 126, 127; big-endian            */
enum {
    WS_FIN = 0x80,
    WS_RSV = 0x70,
    WS_OPCODE = 0x0f,
    WS_CONTROL = 0x08, /* of an opcode */
    WS_MASKED = 0x80,
    WS_LENGTH = 0x7f,
    WS_LENGTH_16 = 126,
    WS_LENGTH_64 = 127
};

#define WS_CONTROL_BYTES_MAX 125 /* 5.5 */
#define WS_MASK_BYTES 4

enum {
    WS_IDLE,      /* no message is under way */
    WS_BETWEEN,   /* one is, and its next fragment is awaited */
    WS_FRAME,     /* within a fragment that others follow */
    WS_FRAME_LAST /* within the frame that ends the message */
};

/* At a place where utf8_skip stopped before the end: can the bytes up to there become a sequence
   when more follow? They are completed with what is valid behind their first byte, whatever that
   is, and looked at as a whole. */
static bool utf8_unfinished(const u8 *at, const u8 *end) {
    u8 whole[UTF8_BYTES_MAX] = {at[0], 0x80, 0x80, 0x80};
    size_t bytes = size_min((size_t)(end - at), sizeof whole);
    if (at[0] == 0xE0 || at[0] == 0xF0) {
        whole[1] = 0xBF; /* a second byte of 80 would be overlong */
    }
    memcpy(whole, at, bytes);
    return utf8_sequence(whole, whole + sizeof whole) > bytes;
}

/* -- SHA-1, which the handshake asks for (RFC 6455, 4.2.2); it is broken as a signature -- */

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

static const struct base64_kind base64_standard = {'+', '/', true}; /* RFC 4648, section 4 */

/* With padding. `out` has room for 4 * ((count + 2) / 3) characters; gives how many there are. */
static size_t base64_write(const u8 *bytes, size_t count, char *out) {
    return base64_encode(&base64_standard, bytes, count, out);
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

/* Between two calls. All zero: nothing begun.

     at: [ message so far, decoded | used up | raw, not yet looked at ]
         0                     message_bytes raw_at               bytes                    */
struct ws_reader {
    u32 message_bytes;
    u32 checked_bytes; /* of them, that are whole characters of UTF-8 */
    u32 raw_at;
    u32 frame_bytes;        /* of the fragment's payload, still to come */
    u8 mask[WS_MASK_BYTES]; /* of the fragment, turned to its next byte */
    u8 state;
};

_Static_assert(sizeof(struct ws_reader) <= 32, "every connection holds one");

/* What one step found; borrowed from the input, valid until the next step. */
struct ws_event {
    u8 opcode; /* WS_TEXT: a whole message. WS_CLOSE, WS_PING, WS_PONG: the whole frame */
    struct span payload;
};

struct ws_head {
    u8 opcode;
    bool last; /* FIN */
    u32 head_bytes, payload_bytes;
};

/* Everything that a frame's first byte can be wrong in: 5.2, 5.4, 5.5. Binary messages are refused
   here, before a byte of them is kept. */
static mps_error ws_first_byte_check(u8 state, u8 byte) {
    u8 opcode = byte & WS_OPCODE;
    if (byte & WS_RSV) {
        return MPS_E_WS_PROTOCOL;
    }
    if (opcode & WS_CONTROL) {
        return opcode <= WS_PONG && byte & WS_FIN ? MPS_OK : MPS_E_WS_PROTOCOL;
    }
    if (opcode > WS_BINARY || (opcode == WS_CONTINUATION) != (state == WS_BETWEEN)) {
        return MPS_E_WS_PROTOCOL;
    }
    return opcode == WS_BINARY ? MPS_E_WS_BINARY : MPS_OK;
}

/* The length in the head at `at`, once all its bytes are there, and whether the frame may have it:
   1, 0 or < 0 as ws_read. The shortest form is a must (5.2), and the top bit of 64 is known to be
   wrong with the first of their bytes. */
static int ws_length(const u8 *at, size_t bytes, struct ws_head *head, u64 *length) {
    u8 code = at[1] & WS_LENGTH;
    u32 more = code < WS_LENGTH_16 ? 0 : code == WS_LENGTH_16 ? 2 : 8;
    u64 least = code < WS_LENGTH_16 ? 0 : code == WS_LENGTH_16 ? WS_LENGTH_16 : 0x10000;
    if (!(at[1] & WS_MASKED) || (head->opcode & WS_CONTROL && code > WS_CONTROL_BYTES_MAX)) {
        return MPS_E_WS_PROTOCOL;
    }
    if (code == WS_LENGTH_64 && bytes > 2 && at[2] & 0x80) {
        return MPS_E_WS_PROTOCOL;
    }
    if (bytes < 2 + more) {
        return 0;
    }
    *length = more ? 0 : code;
    for (u32 i = 0; i < more; i++) {
        *length = *length << 8 | at[2 + i];
    }
    head->head_bytes = 2 + more + WS_MASK_BYTES;
    return *length < least ? MPS_E_WS_PROTOCOL : 1;
}

/* Reads a head: 1 when it is complete, 0 or < 0 as ws_read. A message that is too long is known
   with the length; control frames are no part of it. */
static int ws_head_read(const struct ws_reader *r, const u8 *at, size_t bytes, u32 message_max,
                        struct ws_head *head) {
    u64 length = 0;
    mps_error error = bytes ? ws_first_byte_check(r->state, at[0]) : MPS_OK;
    if (error != MPS_OK || bytes < 2) {
        return error;
    }
    head->opcode = at[0] & WS_OPCODE;
    head->last = (at[0] & WS_FIN) != 0;
    int got = ws_length(at, bytes, head, &length);
    if (got <= 0) {
        return got;
    }
    /* Subtracted from the limit: the sum of a 64-bit length and another number might overflow. */
    if (!(head->opcode & WS_CONTROL) &&
        (length > message_max || r->message_bytes > message_max - length)) {
        return MPS_E_MESSAGE_TOO_LARGE;
    }
    head->payload_bytes = (u32)length;
    return bytes >= head->head_bytes;
}

/* Byte i is xored with byte i % 4 of the mask (5.3). A word takes the mask twice, in the order in
   which its bytes stand in memory, whatever that order means to the machine. */
static void ws_unmask(u8 *at, size_t bytes, const u8 mask[WS_MASK_BYTES]) {
    u8 twice[WORD_BYTES];
    u64 key, word;
    size_t i = 0;
    memcpy(twice, mask, WS_MASK_BYTES);
    memcpy(twice + WS_MASK_BYTES, mask, WS_MASK_BYTES);
    memcpy(&key, twice, WORD_BYTES);
    for (; bytes - i >= WORD_BYTES; i += WORD_BYTES) {
        memcpy(&word, at + i, WORD_BYTES);
        word ^= key;
        memcpy(at + i, &word, WORD_BYTES);
    }
    for (; i < bytes; i++) {
        at[i] = (u8)(at[i] ^ mask[i % WS_MASK_BYTES]);
    }
}

/* A control frame waits until it is complete: it is short, and its payload is not spread. */
static int ws_control(struct ws_reader *r, const struct ws_head *head, u8 *at, size_t bytes,
                      size_t *used, struct ws_event *event) {
    u32 frame_bytes = head->head_bytes + head->payload_bytes;
    u8 *payload = at + head->head_bytes;
    if (bytes < frame_bytes) {
        return 0;
    }
    ws_unmask(payload, head->payload_bytes, payload - WS_MASK_BYTES);
    *event = (struct ws_event){head->opcode, span_of((char *)payload, head->payload_bytes)};
    if (r->state == WS_IDLE) {
        *used += frame_bytes;
    } else {
        r->raw_at += frame_bytes; /* behind the message, which stays */
    }
    return 1;
}

/* A data frame's head at `at` is read. In front of a message nothing needs to stay: its payload
   becomes the beginning of what the caller keeps, and so need not be moved. */
static void ws_fragment_begin(struct ws_reader *r, const struct ws_head *head, const u8 *at,
                              size_t *used) {
    memcpy(r->mask, at + head->head_bytes - WS_MASK_BYTES, WS_MASK_BYTES);
    r->frame_bytes = head->payload_bytes;
    if (r->state == WS_IDLE) {
        *used += head->head_bytes;
    } else {
        r->raw_at += head->head_bytes;
    }
    r->state = head->last ? WS_FRAME_LAST : WS_FRAME;
}

/* Decodes what is there of a fragment onto the end of the message at `at`: 1 when the fragment is
   complete, 0 or < 0 as ws_read. Of the bytes checked before, at most three are looked at again:
   those of a character that was not complete. */
static int ws_fragment(struct ws_reader *r, u8 *at, size_t bytes) {
    u32 count = (u32)size_min(r->frame_bytes, bytes - r->raw_at);
    u8 *raw = at + r->raw_at, *end = at + r->message_bytes + count;
    u8 mask[WS_MASK_BYTES];
    ws_unmask(raw, count, r->mask);
    if (r->raw_at != r->message_bytes) {
        memmove(at + r->message_bytes, raw, count);
    }
    memcpy(mask, r->mask, sizeof mask);
    for (u32 i = 0; i < WS_MASK_BYTES; i++) {
        r->mask[i] = mask[(count + i) % WS_MASK_BYTES];
    }
    r->raw_at += count;
    r->frame_bytes -= count;
    r->message_bytes += count;
    const u8 *checked = utf8_skip(at + r->checked_bytes, end);
    r->checked_bytes = (u32)(checked - at);
    if (checked < end && !utf8_unfinished(checked, end)) {
        return MPS_E_WS_UTF8;
    }
    if (r->frame_bytes) {
        return 0;
    }
    return checked < end && r->state == WS_FRAME_LAST ? MPS_E_WS_UTF8 : 1;
}

#define WS_NEXT 2

/* One frame or what is there of it, as ws_read; WS_NEXT when it was a fragment, complete, and the
   message goes on in the next frame. */
static int ws_frame(struct ws_reader *r, u8 *at, size_t bytes, size_t *used, u32 message_max,
                    struct ws_event *event) {
    if (r->state == WS_IDLE || r->state == WS_BETWEEN) {
        struct ws_head head;
        u8 *raw = at + *used + r->raw_at;
        size_t raw_bytes = bytes - *used - r->raw_at;
        int got = ws_head_read(r, raw, raw_bytes, message_max, &head);
        if (got <= 0) {
            return got;
        }
        if (head.opcode & WS_CONTROL) {
            return ws_control(r, &head, raw, raw_bytes, used, event);
        }
        ws_fragment_begin(r, &head, raw, used);
    }
    int got = ws_fragment(r, at + *used, bytes - *used);
    if (got <= 0) {
        return got;
    }
    if (r->state == WS_FRAME) {
        r->state = WS_BETWEEN;
        return WS_NEXT;
    }
    *event = (struct ws_event){WS_TEXT, span_of((char *)at + *used, r->message_bytes)};
    *used += r->raw_at;
    *r = (struct ws_reader){0};
    return 1;
}

/* Reads on in the bytes at `at` (not NULL): first the part of a message that earlier steps decoded,
   then raw frames. Decodes in place.

   1: `event` is filled. 0: all is used up and more is needed. < 0: MPS_E_WS_PROTOCOL,
   MPS_E_WS_BINARY, MPS_E_WS_UTF8, or MPS_E_MESSAGE_TOO_LARGE as soon as a length leads past
   `message_max`; after an error, do not go on.

   The next step takes at + *used and *bytes - *used. After 0 those bytes, with new ones behind
   them, may stand at another address; *bytes shrinks then to the message so far and one head or
   control frame that is not complete. A whole frame in the input is not moved. */
static int ws_read(struct ws_reader *r, char *at, size_t *bytes, size_t *used, u32 message_max,
                   struct ws_event *event) {
    int got = WS_NEXT;
    MPS_ASSERT(at && (u32)*bytes == *bytes); /* offsets of the reader have 32 bits */
    MPS_ASSERT(r->message_bytes <= r->raw_at && r->raw_at <= *bytes);
    *used = 0;
    while (got == WS_NEXT) { /* at most once for each head in the bytes */
        got = ws_frame(r, (u8 *)at, *bytes, used, message_max, event);
    }
    if (got == 0 && r->raw_at != r->message_bytes) {
        char *message = at + *used;
        size_t raw_bytes = *bytes - *used - r->raw_at;
        memmove(message + r->message_bytes, message + r->raw_at, raw_bytes);
        r->raw_at = r->message_bytes;
        *bytes = *used + r->message_bytes + raw_bytes;
    }
    return got;
}

/* Is no frame and no message half read? Bytes of a head that is not complete lie with the caller
   and are its own to ask. */
static bool ws_reader_idle(const struct ws_reader *r) {
    return r->state == WS_IDLE;
}

#define WS_CODE_NONE 1005 /* stands for a close frame without a code; never on the wire */

/* The codes that may be on the wire (7.4, and IANA's register for 1012 to 1014). */
static bool ws_code_valid(u32 code) {
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
           (code >= 3000 && code <= 4999);
}

/* The code of a close frame (5.5.1): two bytes, big-endian, then a reason in UTF-8. `code` is
   filled with MPS_OK only; otherwise the answer is the error's own code. */
static mps_error ws_close_code(struct span payload, u32 *code) {
    const u8 *at = (const u8 *)payload.at;
    if (payload.bytes == 0) {
        *code = WS_CODE_NONE;
        return MPS_OK;
    }
    if (payload.bytes < 2 || !ws_code_valid(load_be16(at))) {
        return MPS_E_WS_PROTOCOL;
    }
    if (!utf8_valid(span_of(payload.at + 2, payload.bytes - 2))) {
        return MPS_E_WS_UTF8;
    }
    *code = load_be16(at);
    return MPS_OK;
}

#define WS_HEAD_MAX 10 /* of a server's frame, which has no mask */

/* Writes the head of a server's frame, which is never a fragment, and gives its bytes. */
static size_t ws_put_head(u8 *head, enum ws_opcode opcode, size_t payload_bytes) {
    u64 length = payload_bytes;
    MPS_ASSERT(!(opcode & WS_CONTROL) || length <= WS_CONTROL_BYTES_MAX);
    head[0] = (u8)(WS_FIN | opcode);
    if (length < WS_LENGTH_16) {
        head[1] = (u8)length;
        return 2;
    }
    if (length < 0x10000) {
        head[1] = WS_LENGTH_16;
        head[2] = (u8)(length >> 8);
        head[3] = (u8)length;
        return 4;
    }
    head[1] = WS_LENGTH_64;
    store_be32(head + 2, (u32)(length >> 32));
    store_be32(head + 6, (u32)length);
    return WS_HEAD_MAX;
}

#define WS_REASON_BYTES_MAX 32 /* of ours */
#define WS_CLOSE_BYTES_MAX (2 + 2 + WS_REASON_BYTES_MAX)

/* Writes a whole close frame; WS_CODE_NONE leaves it empty. */
static size_t ws_put_close(u8 *frame, u32 code, struct span reason) {
    size_t bytes = code == WS_CODE_NONE ? 0 : 2 + reason.bytes;
    MPS_ASSERT(reason.bytes <= WS_REASON_BYTES_MAX);
    size_t head = ws_put_head(frame, WS_CLOSE, bytes);
    if (bytes) {
        frame[head] = (u8)(code >> 8);
        frame[head + 1] = (u8)code;
        memcpy(frame + head + 2, reason.at, reason.bytes); /* NOLINT: it is a text, maybe empty */
    }
    return head + bytes;
}

/* The bytes of a server's frame, head and payload; 0 when its head is not whole in `bytes`. */
static u64 ws_frame_bytes(const u8 *at, size_t bytes) {
    u8 code = bytes > 1 ? at[1] : WS_LENGTH_64;
    u32 more = code < WS_LENGTH_16 ? 0 : code == WS_LENGTH_16 ? 2 : 8;
    u64 length = more ? 0 : code;
    if (bytes < 2 + more) {
        return 0;
    }
    for (u32 i = 0; i < more; i++) {
        length = length << 8 | at[2 + i];
    }
    return 2 + more + length;
}

#define WS_NONCE_BYTES 16
#define WS_KEY_BYTES 24    /* the nonce in base64 */
#define WS_ACCEPT_BYTES 28 /* a SHA-1 in base64 */

/* Is it a Sec-WebSocket-Key: the base64 of 16 bytes (4.1)? */
static bool ws_key_valid(struct span key) {
    u8 nonce[WS_NONCE_BYTES];
    return base64_read(key, nonce, sizeof nonce) == WS_NONCE_BYTES;
}

/* The Sec-WebSocket-Accept that answers a valid key (4.2.2): base64 of the SHA-1 of the key, as it
   is spelled, and the protocol's GUID. */
static void ws_accept(struct span key, char out[WS_ACCEPT_BYTES]) {
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char buffer[WS_KEY_BYTES + sizeof guid - 1];
    u8 digest[SHA1_BYTES];
    struct text t = text_on(buffer, sizeof buffer);
    text_add(&t, key);
    text_z(&t, guid);
    MPS_ASSERT(!t.cut);
    sha1(t.at, t.bytes, digest);
    size_t written = base64_write(digest, sizeof digest, out);
    MPS_ASSERT(written == WS_ACCEPT_BYTES);
}
#endif

#ifndef MPS_NO_UDP
/* == 44 stun ======================================================================================
   STUN, RFC 8489: reads Binding requests and writes their answers, so that peers who want to reach
   each other learn under which address they are seen. Pure. No authentication: who asks is told his
   own address and nothing else (9: a server may do without). Integers are big-endian.

        0                   1                   2                   3
       |0 0| type, 14 bits             | length of what follows        |   section 5
       | magic cookie, 0x2112A442                                      |
       | transaction id, 12 bytes                                      |
       | attributes: type, length, value padded to 4 bytes             |   section 14 */

#define STUN_HEAD_BYTES 20
#define STUN_ID_BYTES 12
#define STUN_ATTRIBUTE_HEAD 4
#define STUN_COOKIE 0x2112A442u
#define STUN_FINGERPRINT_XOR 0x5354554Eu
#define STUN_ANSWER_BYTES_MAX 52 /* of a success: IPv6 and FINGERPRINT */
#define STUN_UNKNOWN_MAX 4       /* attributes that one error names */

enum { STUN_BINDING_REQUEST = 0x0001, STUN_BINDING_SUCCESS = 0x0101, STUN_BINDING_ERROR = 0x0111 };
enum {
    STUN_ERROR_CODE = 0x0009,
    STUN_UNKNOWN_ATTRIBUTES = 0x000A,
    STUN_XOR_MAPPED_ADDRESS = 0x0020,
    STUN_OPTIONAL = 0x8000, /* from here on an attribute may be ignored */
    STUN_FINGERPRINT = 0x8028
};

/* A checked message. Borrowed from its bytes. */
struct stun_message {
    u32 type;
    const u8 *id;                  /* of the transaction */
    u16 unknown[STUN_UNKNOWN_MAX]; /* attributes that must be understood and are not */
    u32 unknown_count;
};

/* Two bits of zero and the cookie tell STUN from everything else at the port (section 5). */
static bool stun_looks_like(const u8 *at, size_t bytes) {
    return bytes >= 8 && !(at[0] & 0xC0) && load_be32(at + 4) == STUN_COOKIE;
}

/* CRC-32 of ITU-T V.42, four bits a step: 64 bytes of table for a few messages a second. */
static u32 crc32(const u8 *at, size_t bytes) {
    static const u32 table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac,
                                  0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
                                  0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                  0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    u32 crc = 0xFFFFFFFF;
    for (size_t i = 0; i < bytes; i++) {
        crc ^= at[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

/* What a server has to understand to answer: credentials, of which it needs none, and what ICE adds
   to its checks (RFC 8445, 7.1), so that these get their answer, too. */
static bool stun_understood(u32 attribute) {
    static const u16 known[] = {
        0x0006 /* USERNAME */,
        0x0008 /* MESSAGE-INTEGRITY */,
        0x0014 /* REALM */,
        0x0015 /* NONCE */,
        0x001C /* ..-SHA256 */,
        0x001E /* USERHASH */,
        0x001D /* PASSWORD-ALGORITHM */,
        0x0024 /* PRIORITY */,
        0x0025 /* USE-CANDIDATE */,
    };
    bool found = attribute >= STUN_OPTIONAL;
    for (size_t i = 0; i < COUNT_OF(known); i++) {
        found |= attribute == known[i];
    }
    return found;
}

/* A message as it must be: the lengths agree, and a FINGERPRINT, when there is one, stands last and
   is right (14.7). */
static bool stun_read(const u8 *at, size_t bytes, struct stun_message *m) {
    if (bytes < STUN_HEAD_BYTES || !stun_looks_like(at, bytes) || bytes % 4 ||
        load_be16(at + 2) != bytes - STUN_HEAD_BYTES) {
        return false;
    }
    *m = (struct stun_message){.type = load_be16(at), .id = at + 8};
    size_t place = STUN_HEAD_BYTES;
    while (place < bytes) {
        u32 type = load_be16(at + place), length = load_be16(at + place + 2);
        size_t next = place + STUN_ATTRIBUTE_HEAD + ((length + 3u) & ~3u);
        if (next > bytes) {
            return false;
        }
        if (type == STUN_FINGERPRINT) {
            u32 print = crc32(at, place) ^ STUN_FINGERPRINT_XOR;
            return length == 4 && next == bytes &&
                   load_be32(at + place + STUN_ATTRIBUTE_HEAD) == print;
        }
        if (m->type == STUN_BINDING_REQUEST && !stun_understood(type) &&
            m->unknown_count < STUN_UNKNOWN_MAX) {
            m->unknown[m->unknown_count++] = (u16)type;
        }
        place = next;
    }
    return true;
}

static void stun_put_be(struct text *t, u32 value, u32 bytes) {
    u8 at[4];
    store_be32(at, value);
    text_add(t, span_of((const char *)at + 4 - bytes, bytes));
}

/* The length is filled in by stun_put_end. */
static void stun_put_head(struct text *t, u32 type, const u8 *id) {
    stun_put_be(t, type, 2);
    stun_put_be(t, 0, 2);
    stun_put_be(t, STUN_COOKIE, 4);
    text_add(t, span_of((const char *)id, STUN_ID_BYTES));
}

/* The length covers the FINGERPRINT before that is computed (14.7). */
static void stun_put_end(struct text *t) {
    u32 length = (u32)t->bytes - STUN_HEAD_BYTES + 8;
    t->at[2] = (char)(length >> 8);
    t->at[3] = (char)length;
    u32 print = crc32((const u8 *)t->at, t->bytes) ^ STUN_FINGERPRINT_XOR;
    stun_put_be(t, (u32)STUN_FINGERPRINT << 16 | 4, 4);
    stun_put_be(t, print, 4);
    MPS_ASSERT(!t->cut);
}

/* XOR-MAPPED-ADDRESS (14.2): the port and the address, hidden from routers that rewrite whatever
   looks like an address by XOR with the cookie and the id. IPv4 takes the family of IPv4, although
   a dual-stack socket knows it as a mapped address. */
static void stun_put_mapped(struct text *t, const u8 *id, const mps_address *a) {
    u8 mask[ADDRESS_BYTES];
    u32 bytes = address_is_v4(a) ? 4 : ADDRESS_BYTES;
    store_be32(mask, STUN_COOKIE);
    memcpy(mask + 4, id, STUN_ID_BYTES);
    stun_put_be(t, STUN_XOR_MAPPED_ADDRESS << 16 | (4 + bytes), 4);
    stun_put_be(t, bytes == 4 ? 1 : 2, 2);
    stun_put_be(t, a->port ^ STUN_COOKIE >> 16, 2);
    for (u32 i = 0; i < bytes; i++) {
        text_char(t, (char)(a->ip[ADDRESS_BYTES - bytes + i] ^ mask[i]));
    }
}

static void stun_put_success(struct text *t, const u8 *id, const mps_address *from) {
    stun_put_head(t, STUN_BINDING_SUCCESS, id);
    stun_put_mapped(t, id, from);
    stun_put_end(t);
}

/* 420, with the attributes that were not understood (6.3.1.1). The reason phrase is empty: the
   answer must not be longer than what asked for it. */
static void stun_put_unknown(struct text *t, const struct stun_message *m) {
    stun_put_head(t, STUN_BINDING_ERROR, m->id);
    stun_put_be(t, STUN_ERROR_CODE << 16 | 4, 4);
    stun_put_be(t, 4 << 8 | 20, 4);
    stun_put_be(t, STUN_UNKNOWN_ATTRIBUTES << 16 | 2 * m->unknown_count, 4);
    for (u32 i = 0; i < m->unknown_count; i++) {
        stun_put_be(t, m->unknown[i], 2);
    }
    if (m->unknown_count % 2) {
        stun_put_be(t, 0, 2); /* padding */
    }
    stun_put_end(t);
}
#endif

#ifndef MPS_NO_UDP
/* == 46 datagrams =================================================================================
   What players say by UDP, as JSON and as binary v1: one reader that makes the same packet of both,
   and the writers of both. Pure. Who may say it, and what it changes, is asked elsewhere.

   Binary v1, little-endian. From a client:
       | 0xB1 | type | seq, 2 | player id, 4 | token, 8 |  JOIN: n, code   STATE: 24 bytes
                                                           LEAVE: nothing  PING: t, 4; cookie, 8
   From the server:
       | 0xB1 | type | seq, 2 | server ms, 4 |             then by type, see the writers below
   A state, and with id in front and age behind an entry of a snapshot:
       | x, y, z, float32 each | rx, ry, rz, int16 each: angle / pi * 32767 | flags, 2 | */

#define DATAGRAM_BYTES_MAX 1200 /* with the heads of IPv6 and UDP below 1280 (RFC 8200, 5) */
#define BINARY_MAGIC 0xB1
#define BINARY_HEAD_BYTES 16 /* of a client's */
#define BINARY_STATE_BYTES 24
#define BINARY_PING_BYTES 12
#define BINARY_ENTRY_BYTES 26
#define BINARY_SNAPSHOT_HEAD 9 /* with the count */
#define BINARY_ENTRIES_MAX ((DATAGRAM_BYTES_MAX - BINARY_SNAPSHOT_HEAD) / BINARY_ENTRY_BYTES)
#define BINARY_TOKEN_BYTES 8 /* of UDP_TOKEN_BYTES */
#define COOKIE_BYTES 8
#define WEAPON_BYTES_MAX 66                /* of a weapon_id as JSON: 64 and quotes */
#define ECHO_BYTES_MAX 66                  /* of what is only sent back: t, nonce */
#define POSITION_MAX 3.4028234663852886e38 /* what a float holds */
#define ANGLE_UNITS 32767                  /* int16 units of half a turn */

enum packet_type {
    PACKET_JOIN,
    PACKET_STATE,
    PACKET_LEAVE,
    PACKET_PING,
    PACKET_WEAPON,
    PACKET_DISCOVER,
    PACKET_TYPES
};

/* The server's, in binary. */
enum {
    BINARY_WELCOME = 129,
    BINARY_SNAPSHOT,
    BINARY_JOINED,
    BINARY_LEFT,
    BINARY_CORRECTION,
    BINARY_PONG,
    BINARY_ERROR = 255
};

/* How both forms name a packet; `binary` 0: it has none. */
struct packet_name {
    const char *json;
    u8 binary;
};

static const struct packet_name packet_names[PACKET_TYPES] = {
    [PACKET_JOIN] = {"join", 1},
    [PACKET_STATE] = {"position_update", 2},
    [PACKET_LEAVE] = {"leave", 3},
    [PACKET_PING] = {"ping", 4},
    [PACKET_WEAPON] = {"weapon_switch", 0},
    [PACKET_DISCOVER] = {"discover", 0},
};

#define VECTOR_TEXT_MAX 88 /* {"x","y","z"} with numbers of 24 bytes, the longest of a double */

/* Where somebody is, as x, y, z, and where he looks, in radians. All finite. */
struct pose {
    double position[3], rotation[3];
    struct span texts[2]; /* of both as JSON, when they came so and say nothing else; borrowed */
    u16 flags;            /* the game's own, of binary clients */
};

/* A pose that is kept: for binary clients as floats, for JSON clients as it was written, so that
   nothing is printed that could be copied. Without text the floats are. */
struct stance {
    float position[3], rotation[3];
    u16 flags;
    u8 text_bytes[2];
    char texts[2][VECTOR_TEXT_MAX];
};

/* Borrowed from the datagram. Only what the type has is set. */
struct packet {
    enum packet_type type;
    bool binary, batch, has_cookie;
    u16 seq; /* of the sender, binary only */
    u32 player_id;
    u32 token_bytes; /* 0: none; BINARY_TOKEN_BYTES or UDP_TOKEN_BYTES */
    u8 token[UDP_TOKEN_BYTES];
    u8 cookie[COOKIE_BYTES];
    u32 t_ms;           /* of a binary ping */
    struct span code;   /* of the lobby; empty: none was given */
    struct span echo;   /* t or nonce as JSON */
    struct span weapon; /* as JSON */
    struct pose pose;
};

/* A number as `bytes` bytes, the lowest first; what is above them is cut off. */
static void text_le(struct text *t, u64 value, u32 bytes) {
    char at[8];
    MPS_ASSERT(bytes <= sizeof at);
    for (u32 i = 0; i < bytes; i++, value >>= 8) {
        at[i] = (char)(u8)value;
    }
    text_add(t, span_of(at, bytes));
}

/* Any unsigned number of `bytes` bytes, the lowest first, as binary datagrams have them. */
static u64 load_le(const u8 *at, u32 bytes) {
    u64 value = 0;
    while (bytes) {
        value = value << 8 | at[--bytes];
    }
    return value;
}

/* -- writing numbers -- */

/* A float beyond that range: its first 9 digits, which no two floats share, rounded at the tenth. A
   few factors of ten are off by less than that. */
static void json_digits_single(double v, struct json_digits *digits) {
    i32 places = 0;
    for (; v < 1e8; places += 8) {
        v *= 1e8;
    }
    for (; v >= 1e16; places -= 8) {
        v /= 1e8;
    }
    for (; v >= 1e9; places--) {
        v /= 10;
    }
    json_digits_of((u64)(v + 0.5), places, digits);
}

/* A text that reads back as the same float, of few digits, and quickly whatever it is: who plays
   chooses the numbers. */
static void json_put_f32(struct text *t, float v) {
    struct json_digits digits;
    double size = v < 0 ? -(double)v : (double)v;
    if (!json_put_sign(t, v)) {
        return;
    }
    if (!json_digits_short(size, true, &digits)) {
        json_digits_single(size, &digits);
    }
    json_put_digits(t, &digits);
}

/* -- reading JSON -- */

enum {
    KEY_TYPE,
    KEY_PLAYER_ID,
    KEY_POSITION,
    KEY_ROTATION,
    KEY_LOBBY_CODE,
    KEY_UDP_TOKEN,
    KEY_BATCH,
    KEY_WEAPON_ID,
    KEY_T,
    KEY_COOKIE,
    KEY_NONCE,
    KEYS
};
static const char *const packet_keys[KEYS] = {"type",       "player_id", "position", "rotation",
                                              "lobby_code", "udp_token", "batch",    "weapon_id",
                                              "t",          "cookie",    "nonce"};

/* {"x","y","z"}, all three of them. `text` is what may be handed on as it stands. */
static bool packet_read_vector(struct json_value object, double out[3], struct span *text) {
    struct json_value key, value;
    u32 seen = 0, members = 0;
    if (object.type != JSON_OBJECT) {
        return false;
    }
    struct json_walk walk = json_walk_into(object);
    for (; json_walk_member(&walk, &key, &value); members++) {
        for (u32 i = 0; i < 3; i++) {
            const char name[2] = {(char)('x' + i), 0};
            double number;
            if (!json_is(&key, name)) {
                continue;
            }
            if (!json_f64(value, &number) || number > POSITION_MAX || number < -POSITION_MAX) {
                return false;
            }
            out[i] = number;
            seen |= 1u << i;
        }
    }
    bool plain = members == 3 && object.bytes <= VECTOR_TEXT_MAX;
    *text = plain ? span_of(object.at, object.bytes) : span_of(NULL, 0);
    return seen == 7;
}

/* A scalar that is kept or sent back as it was written. */
static bool packet_read_raw(const struct json_value *v, u32 bytes_max, struct span *out) {
    *out = span_of(v->at, v->bytes);
    return (v->type == JSON_STRING || v->type == JSON_NUMBER) && v->bytes <= bytes_max;
}

/* A token that is no token is one that fits nobody. */
static void packet_read_token(struct json_value *v, struct packet *p) {
    struct span hex;
    if (v->type == JSON_ABSENT || v->type == JSON_NULL) {
        return;
    }
    p->token_bytes = UDP_TOKEN_BYTES;
    if (!json_string(v, &hex) || !hex_read(hex, p->token, UDP_TOKEN_BYTES)) {
        memset(p->token, 0, sizeof p->token);
    }
}

/* The members beside player_id that the type wants. */
static bool packet_read_members(struct json_value v[KEYS], struct packet *p) {
    struct span hex;
    switch (p->type) {
    case PACKET_JOIN:
        packet_read_token(&v[KEY_UDP_TOKEN], p);
        p->batch = v[KEY_BATCH].type == JSON_TRUE;
        return json_string(&v[KEY_LOBBY_CODE], &p->code);
    case PACKET_STATE:
        return packet_read_vector(v[KEY_POSITION], p->pose.position, &p->pose.texts[0]) &&
               packet_read_vector(v[KEY_ROTATION], p->pose.rotation, &p->pose.texts[1]);
    case PACKET_WEAPON:
        return json_string(&v[KEY_LOBBY_CODE], &p->code) &&
               packet_read_raw(&v[KEY_WEAPON_ID], WEAPON_BYTES_MAX, &p->weapon);
    case PACKET_LEAVE:
        return json_string(&v[KEY_LOBBY_CODE], &p->code);
    case PACKET_PING:
        p->has_cookie = json_string(&v[KEY_COOKIE], &hex) && hex_read(hex, p->cookie, COOKIE_BYTES);
        return packet_read_raw(&v[KEY_T], ECHO_BYTES_MAX, &p->echo);
    case PACKET_DISCOVER:
    case PACKET_TYPES:
        return packet_read_raw(&v[KEY_NONCE], ECHO_BYTES_MAX, &p->echo);
    }
    return false;
}

/* Decodes strings in place. A ping and a discover need no player_id; who sends it tells whose a
   ping is. */
static bool packet_read_json(char *at, size_t bytes, struct packet *p) {
    struct json_value v[KEYS];
    struct json_fault fault;
    i64 id;
    if (!json_object(at, bytes, packet_keys, KEYS, v, &fault)) {
        return false;
    }
    u32 type = 0;
    while (type < PACKET_TYPES && !json_is(&v[KEY_TYPE], packet_names[type].json)) {
        type++;
    }
    p->type = (enum packet_type)type;
    if (type == PACKET_TYPES) {
        return false;
    }
    if (type != PACKET_PING && type != PACKET_DISCOVER) {
        if (!json_i64(v[KEY_PLAYER_ID], 1, UINT32_MAX, &id)) {
            return false;
        }
        p->player_id = (u32)id;
    }
    return packet_read_members(v, p);
}

/* -- reading binary -- */

/* float32 as a number; false when it is infinite or none. */
static bool packet_read_float(const u8 *at, double *out) {
    u32 bits = (u32)load_le(at, 4);
    float value;
    if ((bits & 0x7F800000) == 0x7F800000) {
        return false;
    }
    memcpy(&value, &bits, sizeof value);
    *out = (double)value;
    return true;
}

static double angle_of_units(i32 units) {
    return units * (REAL_PI / ANGLE_UNITS);
}

/* client_ms comes first, and nothing here depends on it: when a state was so is judged by when it
   came. */
static bool packet_read_pose(const u8 *at, struct pose *pose) {
    for (u32 i = 0; i < 3; i++) {
        u32 units = (u32)load_le(at + 16 + 2 * (size_t)i, 2);
        if (!packet_read_float(at + 4 + 4 * (size_t)i, &pose->position[i])) {
            return false;
        }
        pose->rotation[i] = angle_of_units(units < 0x8000 ? (i32)units : (i32)units - 0x10000);
    }
    pose->flags = (u16)load_le(at + 22, 2);
    return true;
}

/* The bodies; each type has one length. */
static bool packet_read_body(const u8 *body, size_t bytes, struct packet *p) {
    switch (p->type) {
    case PACKET_JOIN:
        p->code = span_of((const char *)body + 1, bytes ? body[0] : 0);
        return bytes && bytes == 1 + (size_t)body[0];
    case PACKET_STATE:
        return bytes == BINARY_STATE_BYTES && packet_read_pose(body, &p->pose);
    case PACKET_LEAVE:
        return bytes == 0;
    case PACKET_PING:
        if (bytes != BINARY_PING_BYTES) {
            return false;
        }
        p->t_ms = (u32)load_le(body, 4);
        p->has_cookie = true;
        memcpy(p->cookie, body + 4, COOKIE_BYTES);
        return true;
    default:
        return false;
    }
}

static bool packet_read_binary(const u8 *at, size_t bytes, struct packet *p) {
    u32 type = 0;
    if (bytes < BINARY_HEAD_BYTES) {
        return false;
    }
    while (type < PACKET_TYPES &&
           (!packet_names[type].binary || packet_names[type].binary != at[1])) {
        type++;
    }
    p->type = (enum packet_type)type;
    p->binary = true;
    p->seq = (u16)load_le(at + 2, 2);
    p->player_id = (u32)load_le(at + 4, 4);
    p->token_bytes = load_le(at + 8, 8) ? BINARY_TOKEN_BYTES : 0;
    memcpy(p->token, at + 8, BINARY_TOKEN_BYTES);
    return packet_read_body(at + BINARY_HEAD_BYTES, bytes - BINARY_HEAD_BYTES, p);
}

/* `at` may be changed. False: it is no packet of a client. */
static bool packet_read(u8 *at, size_t bytes, struct packet *p) {
    memset(p, 0, sizeof *p);
    return at[0] == BINARY_MAGIC ? packet_read_binary(at, bytes, p)
                                 : packet_read_json((char *)at, bytes, p);
}

/* -- writing JSON -- */

static struct stance stance_of(const struct pose *pose) {
    struct stance out = {.flags = pose->flags};
    for (u32 i = 0; i < 3; i++) {
        out.position[i] = (float)pose->position[i];
        out.rotation[i] = (float)pose->rotation[i];
    }
    for (u32 i = 0; i < 2; i++) {
        if (pose->texts[i].bytes) {
            out.text_bytes[i] = (u8)pose->texts[i].bytes;
            memcpy(out.texts[i], pose->texts[i].at, pose->texts[i].bytes);
        }
    }
    return out;
}

static void stance_put(struct text *t, const float v[3], struct span text) {
    if (text.bytes) {
        text_add(t, text);
        return;
    }
    TEXT_LITERAL(t, "{\"x\":");
    json_put_f32(t, v[0]);
    TEXT_LITERAL(t, ",\"y\":");
    json_put_f32(t, v[1]);
    TEXT_LITERAL(t, ",\"z\":");
    json_put_f32(t, v[2]);
    text_char(t, '}');
}

static void packet_put_position(struct text *t, const struct stance *at) {
    TEXT_LITERAL(t, ",\"position\":");
    stance_put(t, at->position, span_of(at->texts[0], at->text_bytes[0]));
}

static void packet_put_where(struct text *t, const struct stance *at) {
    packet_put_position(t, at);
    TEXT_LITERAL(t, ",\"rotation\":");
    stance_put(t, at->rotation, span_of(at->texts[1], at->text_bytes[1]));
}

/* position_update to the others, position_correction to the owner. */
static void packet_put_pose(struct text *t, const char *type, u32 id, const struct stance *at) {
    TEXT_LITERAL(t, "{\"type\":\"");
    text_z(t, type);
    TEXT_LITERAL(t, "\",\"player_id\":");
    text_u64(t, id);
    packet_put_where(t, at);
    text_char(t, '}');
}

static void packet_put_welcome(struct text *t, u32 id, u32 tick_hz, const u8 cookie[COOKIE_BYTES]) {
    TEXT_LITERAL(t, "{\"type\":\"welcome\",\"message\":\"Welcome\",\"player_id\":");
    text_u64(t, id);
    TEXT_LITERAL(t, ",\"tick_hz\":");
    text_u64(t, tick_hz);
    TEXT_LITERAL(t, ",\"cookie\":\"");
    text_hex(t, cookie, COOKIE_BYTES);
    TEXT_LITERAL(t, "\"}");
}

static void packet_put_joined(struct text *t, u32 id, struct span name) {
    TEXT_LITERAL(t, "{\"type\":\"player_joined\",\"player\":{\"id\":");
    text_u64(t, id);
    TEXT_LITERAL(t, ",\"name\":");
    json_put_string(t, name);
    TEXT_LITERAL(t, "}}");
}

static void packet_put_left(struct text *t, u32 id) {
    TEXT_LITERAL(t, "{\"type\":\"player_left\",\"player_id\":");
    text_u64(t, id);
    text_char(t, '}');
}

static void packet_put_weapon(struct text *t, u32 id, struct span weapon) {
    TEXT_LITERAL(t, "{\"type\":\"weapon_switched\",\"player_id\":");
    text_u64(t, id);
    TEXT_LITERAL(t, ",\"weapon_id\":");
    text_add(t, weapon);
    text_char(t, '}');
}

static void packet_put_dummy(struct text *t, const struct stance *at) {
    TEXT_LITERAL(t, "{\"type\":\"server_dummy_update\"");
    packet_put_position(t, at);
    text_char(t, '}');
}

/* One of the players of a state_sync. The comma that goes before it is written, too: who sends it
   first leaves it out. */
static void packet_put_member(struct text *t, u32 id, struct span name, const struct stance *at,
                              struct span weapon) {
    TEXT_LITERAL(t, ",{\"id\":");
    text_u64(t, id);
    TEXT_LITERAL(t, ",\"name\":");
    json_put_string(t, name);
    packet_put_where(t, at);
    TEXT_LITERAL(t, ",\"weapon_id\":");
    text_add(t, weapon.bytes ? weapon : SPAN("null"));
    text_char(t, '}');
}

/* What stands around the players; parts count from 1. */
static const char sync_head[] = "{\"type\":\"state_sync\",\"players\":[";
#define SYNC_TAIL_MAX 56

static void packet_put_sync_tail(struct text *t, u32 sync, u32 part, u32 parts) {
    TEXT_LITERAL(t, "],\"sync\":");
    text_u64(t, sync);
    TEXT_LITERAL(t, ",\"part\":");
    text_u64(t, part);
    TEXT_LITERAL(t, ",\"parts\":");
    text_u64(t, parts);
    text_char(t, '}');
}

static void packet_put_pong(struct text *t, struct span echo, i64 server_time) {
    TEXT_LITERAL(t, "{\"type\":\"pong\",\"t\":");
    text_add(t, echo);
    TEXT_LITERAL(t, ",\"server_time\":");
    text_i64(t, server_time);
    text_char(t, '}');
}

static void packet_put_error(struct text *t, const char *code) {
    TEXT_LITERAL(t, "{\"type\":\"error\",\"error\":\"");
    text_z(t, code);
    TEXT_LITERAL(t, "\"}");
}

/* -- writing binary -- */

static void binary_put_head(struct text *t, u32 type, u32 seq, u32 server_ms) {
    text_le(t, BINARY_MAGIC, 1);
    text_le(t, type, 1);
    text_le(t, seq, 2);
    text_le(t, server_ms, 4);
}

/* int16 units of an angle of any number of turns. Past 10^9 nothing tells where in a turn it
   is. */
static u32 angle_units(double angle) {
    double turns = angle / (2 * REAL_PI);
    if (!(turns < 1e9 && turns > -1e9)) {
        return 0;
    }
    if (turns > 0.5 + 1e-6 || turns < -0.5 - 1e-6) { /* half a turn as a float is a little more */
        turns -= (double)(i64)(turns < 0 ? turns - 0.5 : turns + 0.5);
    }
    double units = turns * (2 * ANGLE_UNITS);
    return (u32)(i32)(units < 0 ? units - 0.5 : units + 0.5) & 0xFFFF;
}

static void binary_put_welcome(struct text *t, u32 id, u32 tick_hz, const u8 cookie[COOKIE_BYTES]) {
    text_le(t, id, 4);
    text_le(t, u32_min(tick_hz, 255), 1);
    text_add(t, span_of((const char *)cookie, COOKIE_BYTES));
}

static void binary_put_entry(struct text *t, u32 id, const struct stance *at, u64 age_ms) {
    text_le(t, id, 4);
    for (u32 i = 0; i < 3; i++) {
        u32 bits;
        memcpy(&bits, &at->position[i], sizeof bits);
        text_le(t, bits, 4);
    }
    for (u32 i = 0; i < 3; i++) {
        text_le(t, angle_units(at->rotation[i]), 2);
    }
    text_le(t, at->flags, 2);
    text_le(t, age_ms < 0xFFFF ? age_ms : 0xFFFF, 2);
}
#endif

/* == 50 connections ==============================================================================
   TCP connections without their sockets: a state, unfinished input, unsent output. It knows bytes
   and memory, and nothing of what they say, except for the few marks of the request in progress
   that it keeps for section 85.

   Output is a chain of chunks. A connection owns its first chunk, further ones are lent from a pool
   up to output_bytes_max; when the pool is short, the connection that holds most is closed, never
   the one that asks. Input is parsed where the port has it; what is unfinished moves to the
   connection's own bytes, then to a lent chunk, then to one of the few large buffers. */

enum conn_state {
    CONN_FREE,
    CONN_HEAD,        /* waits for a request head, or is idle */
    CONN_BODY,        /* has the head, waits for the body */
    CONN_AUTH,        /* the game thinks about a token */
    CONN_ANSWER,      /* a producer writes a long answer */
    CONN_SOCKET,      /* upgraded: WebSocket frames both ways, and no HTTP ever after */
    CONN_SOCKET_AUTH, /* the same, while the game thinks about the token of its handshake */
    CONN_FINISH,      /* sends the rest, takes no more requests; discards input */
    CONN_LINGER,      /* all is sent; discards input until FIN or linger_ms (RFC 9112, 9.6) */
    CONN_ABORT,       /* dead, until the port says that the socket is gone */
    CONN_STATES
};

#define CONN_TO(state) (1u << CONN_##state)

/* Which states may follow which; conn_set_state asserts it. There is no way back from CONN_FINISH:
   an answer that said `Connection: close` was the last (RFC 9112, 9.6). Only the port ends
   CONN_ABORT, by giving the record back. */
static const u16 conn_moves[CONN_STATES] = {
    [CONN_FREE] = CONN_TO(HEAD),
    [CONN_HEAD] = CONN_TO(BODY) | CONN_TO(AUTH) | CONN_TO(ANSWER) | CONN_TO(SOCKET) |
                  CONN_TO(FINISH) | CONN_TO(ABORT),
    [CONN_BODY] =
        CONN_TO(HEAD) | CONN_TO(AUTH) | CONN_TO(ANSWER) | CONN_TO(FINISH) | CONN_TO(ABORT),
    [CONN_AUTH] =
        CONN_TO(HEAD) | CONN_TO(ANSWER) | CONN_TO(SOCKET) | CONN_TO(FINISH) | CONN_TO(ABORT),
    [CONN_ANSWER] = CONN_TO(HEAD) | CONN_TO(FINISH) | CONN_TO(ABORT),
    [CONN_SOCKET] = CONN_TO(SOCKET_AUTH) | CONN_TO(FINISH) | CONN_TO(ABORT),
    [CONN_SOCKET_AUTH] = CONN_TO(SOCKET) | CONN_TO(FINISH) | CONN_TO(ABORT),
    [CONN_FINISH] = CONN_TO(LINGER) | CONN_TO(ABORT),
    [CONN_LINGER] = CONN_TO(ABORT),
    [CONN_ABORT] = 0,
};

/* Where unfinished input is kept. */
enum input_tier { INPUT_NONE, INPUT_OWN, INPUT_CHUNK, INPUT_LARGE };

/* A long answer in the making; section 84 knows the kinds. */
struct producer {
    u64 cursor, end, filter;
    u8 kind;
    bool open, begun;
    u32 count; /* units written */
};

/* The request in progress: marks into the unfinished input, kept while it arrives in pieces. */
struct request_marks {
    size_t scanned;    /* of the head, while it is incomplete */
    u32 head_bytes;    /* 0: no complete head yet */
    size_t body_bytes; /* decoded so far, or the whole Content-Length */
    size_t raw_at;     /* chunked: what is not decoded yet starts here */
    struct http_chunks chunks;
    u64 started; /* when its first byte came; 0: it has not */
    u8 minor;    /* HTTP/1.minor of a long answer */
};

#ifndef MPS_NO_ROOMS
/* What a socket sends is limited in classes; section 60 knows what they cost. */
enum pace_class { PACE_STATES, PACE_CHATS, PACE_MESSAGES, PACE_CLASSES };
struct paces {
    u64 full_at[PACE_CLASSES]; /* as in struct bucket */
};

/* A socket: marks that sections 60 to 82 keep here, where an idle one costs least. They take the
   place of the marks of requests, which an upgraded connection never needs again. */
struct socket {
    u32 user;     /* index + 1; 0: anonymous */
    u32 seat;     /* index + 1; 0: in no room */
    bool listens; /* it shook hands: announcements are for it */
    bool late;    /* it has announcements to pick up when its output has drained */
    bool behind;  /* states were held back; its seat knows since when */
    bool pinged;  /* since it was last heard */
    u8 refusals;  /* in a row, by rate */
    struct ws_reader reader;
    u64 refused_at;
    u64 heard;          /* announcements up to this position of the ring */
    u64 own;            /* behind its user's user_online, where that is not for it; else 0 */
    u64 begun;          /* when the first byte of an unfinished message came; 0: there is none */
    struct paces paces; /* of an anonymous one; users have theirs */
    struct link of_user, listening, ended;
};
#else
struct socket {
    u8 none; /* no connection is ever upgraded */
};
#endif

/* One connection. What a fan-out touches stands together at the front. Times are microseconds on
   the clock of kit.now, counts of bytes are exact. */
struct conn {
    u8 state;        /* enum conn_state; written by conn_set_state alone */
    u8 tier;         /* enum input_tier */
    bool keep_alive; /* of the request in progress */
    bool ended;      /* the peer sent FIN */
    bool starved;    /* waits for input memory since `starved_at` */
    bool ready;      /* the input kept may hold whole requests: process it before reading on */
    bool served;     /* at least one request was answered */
    bool upgraded;   /* to a socket: tells which of the marks below are meant */
    bool refused;    /* beyond `connections` or its rate: it is told so and nothing else */
    u32 held;        /* lent chunks, of output and input */
    u32 tier_index;  /* of the lent chunk or the large buffer */
    u32 in_bytes;    /* unfinished input that is kept */
    u32 out_head, out_tail;   /* chunk + 1 */
    u32 out_start;            /* bytes of the first chunk that are sent */
    u32 out_bytes, out_taken; /* not sent yet; of these, in the port's hands */
    struct link dirty, work;
    u32 kept;  /* when it took the lent memory for its input, by input_clock */
    u64 since; /* when the present phase began: idle, head, body, auth, linger; of a socket its last
                  byte */
    u64 progress_at; /* when output was last added to none, or sent */
    union {          /* `upgraded` tells which */
        struct {
            struct producer producer;
            struct request_marks request;
        };
        struct socket socket;
    };
    struct link starving, holding, keeping;
    u64 auth_ticket; /* 0: none; else the request that the game thinks about */
    u64 starved_at;
    u64 asked_at;            /* when the oldest request began whose answer is not sent */
    u32 answers;             /* how many such there are */
    mps_address peer, local; /* who called, and at which address of ours */
};

/* The list entry of a chunk; its bytes stand in another table, under the same id. */
struct chunk {
    u32 next;  /* chunk + 1 */
    u32 used;  /* bytes written, sent ones among them */
    u32 frame; /* where the first frame that begins in it begins, + 1; 0: none does */
};

/* The owner is kept for input_large_allowed, which counts by address. */
struct large {
    u32 owner; /* connection + 1 */
};

#define CONN_HELD_MAX \
    128 /* lent chunks of one connection: output_bytes_max / chunk_bytes and some */

/* All connections and all memory that they share. Whatever is lent belongs to exactly one
   connection; conns_check adds it up. */
struct conns {
    struct pool pool;
    u32 live, live_high, live_max; /* served; the pool has `refusals` more for the others */
    u32 live_per_address, shares_mask;
    struct siphash_key shares_key;
    ptrdiff_t shares; /* distance to counters of those served, two for each address */
    u32 input_bytes, output_bytes, chunk_bytes, large_bytes, output_bytes_max;
    u32 output_high, output_low; /* above high no request is taken; from low on it goes on */
    u32 output_states; /* above it a socket is behind: it gets no states before it has drained */
    u32 chunks_count, large_count, large_per_address;
    u32 chunk_free, chunks_used, chunks_high; /* chunk_free: chunk + 1, LIFO: recent is in cache */
    u32 chunks_input;                         /* of those used, how many hold input */
    u32 chunks_round;                         /* lent since the port was last told to drain */
    u32 large_used, large_high;
    u32 waking; /* of those who wait for input memory, how many are to be looked at: it came free */
    ptrdiff_t own_input, own_output, chunk_info, chunk_data, large_info, large_data;
    struct queue dirty, work, starving; /* to be drained; has input or a producer; lacks memory */
    u64 starving_since;                 /* somebody has lacked it all the time */
    struct queue keeping;               /* has input in lent memory: looked at in turn */
    u64 keeping_next;   /* they are not looked at before: those that stay would be, without end */
    struct queue ended; /* sockets that are over, and whose user and seat have not heard of it */
    u32 held_max;       /* no list above this one has members */
    u64 head_us, body_us, idle_us, send_us, linger_us, buffer_wait_us, auth_us;
    u64 input_hold_us;                   /* then it gives way to those who wait for memory */
    u64 ping_us, silence_us, message_us; /* of sockets */
    bool closing; /* the server shuts down: what is unsent has linger_us left */
    struct queue holders[CONN_HELD_MAX + 1]; /* by lent chunks held; [0] is not used */
};

static struct conn *conn_at(const struct conns *c, u32 index) {
    return pool_at(&c->pool, index);
}

static u32 conn_index(const struct conns *c, const struct conn *conn) {
    return pool_index(&c->pool, conn);
}

static void conn_set_state(struct conn *conn, enum conn_state state) {
    MPS_ASSERT(conn->state == state || (conn_moves[conn->state] & 1u << state));
    conn->state = (u8)state;
}

/* Something for the port to look at. Marking is idempotent, so whoever changes output, room or fate
   may mark without asking. */
static void conn_mark(struct conns *c, const struct conn *conn) {
    queue_push_once(&c->dirty, &c->pool, conn_index(c, conn));
}

/* -- chunks: ids below the pool's capacity are the connections' own, the others are lent -- */

static struct chunk *chunk_info(const struct conns *c, u32 id) {
    return (struct chunk *)near_get(&c->chunk_info) + id;
}

static bool chunk_is_lent(const struct conns *c, u32 id) {
    return id >= c->pool.capacity;
}

static u32 chunk_capacity(const struct conns *c, u32 id) {
    return chunk_is_lent(c, id) ? c->chunk_bytes : c->output_bytes;
}

static char *chunk_data(const struct conns *c, u32 id) {
    if (chunk_is_lent(c, id)) {
        return (char *)near_get(&c->chunk_data) + (size_t)(id - c->pool.capacity) * c->chunk_bytes;
    }
    return (char *)near_get(&c->own_output) + (size_t)id * c->output_bytes;
}

/* Of those that can be lent. */
static u32 chunks_free(const struct conns *c) {
    return c->chunks_count - c->chunks_used;
}

/* A quarter at most, whatever output takes: many slow heads must not eat them all, nor many slow
   readers keep everybody else from saying more than fits the connection's own bytes. */
static bool input_chunk_allowed(const struct conns *c) {
    return c->chunks_input < c->chunks_count / 4 && chunks_free(c);
}

/* Input memory came free: if chunks can be had again, those who wait for one are looked at. */
static void input_chunk_freed(struct conns *c, bool could) {
    if (!could && input_chunk_allowed(c)) {
        c->waking = c->starving.count;
    }
}

/* Keeps the connection in the list of those who hold as much. That makes the one that holds most
   known at once when memory is short. Among equals the one that came to its number first stands in
   front. */
static void conn_hold(struct conns *c, struct conn *conn, u32 held) {
    u32 index = conn_index(c, conn);
    MPS_ASSERT(held <= CONN_HELD_MAX);
    if (conn->held) {
        queue_remove(&c->holders[conn->held], &c->pool, index);
    }
    conn->held = held;
    if (held) {
        queue_push(&c->holders[held], &c->pool, index);
        c->held_max = u32_max(c->held_max, held);
    }
    while (c->held_max && !c->holders[c->held_max].count) {
        c->held_max--;
    }
}

/* Must not fail: the caller has seen that a chunk is free. What it hands over is counted against
   the connection until chunk_return. */
static u32 chunk_lend(struct conns *c, struct conn *conn) {
    MPS_ASSERT(c->chunk_free && conn->held < CONN_HELD_MAX);
    u32 id = c->chunk_free - 1;
    c->chunk_free = chunk_info(c, id)->next;
    *chunk_info(c, id) = (struct chunk){0, 0, 0};
    c->chunks_used++;
    c->chunks_round++;
    c->chunks_high = u32_max(c->chunks_high, c->chunks_used);
    conn_hold(c, conn, conn->held + 1);
    return id;
}

/* For any chunk of a chain; the connection's own ones have nowhere to go back to. A lent one may be
   what somebody waits for with input. */
static void chunk_return(struct conns *c, struct conn *conn, u32 id) {
    if (!chunk_is_lent(c, id)) {
        return;
    }
    bool could = input_chunk_allowed(c);
    *chunk_info(c, id) = (struct chunk){c->chunk_free, 0, 0};
    c->chunk_free = id + 1;
    c->chunks_used--;
    conn_hold(c, conn, conn->held - 1);
    input_chunk_freed(c, could);
}

/* -- shares of addresses -- */

/* How many connections an address has is counted twice, under two halves of a hash, among those of
   the few that meet it there; the smaller one is at least the truth and hardly ever more (a
   count-min sketch). An index of addresses would cost ten times as much. */
struct share {
    u32 *first, *second;
};

static u32 shares_slots(u32 conns) {
    return index_slots(conns / 2);
}

static struct share conns_share(const struct conns *c, const mps_address *peer) {
    u8 prefix[ADDRESS_BYTES];
    u32 *counts = near_get(&c->shares);
    address_prefix(peer, prefix);
    u64 hash = siphash(&c->shares_key, prefix, sizeof prefix);
    return (struct share){counts + ((u32)hash & c->shares_mask),
                          counts + c->shares_mask + 1 + ((u32)(hash >> 32) & c->shares_mask)};
}

static bool conns_share_full(const struct conns *c, const mps_address *peer) {
    struct share share = conns_share(c, peer);
    return u32_min(*share.first, *share.second) >= c->live_per_address;
}

/* From here on, or until here, it is one of those served. */
static void conn_serve(struct conns *c, const struct conn *conn) {
    struct share share = conns_share(c, &conn->peer);
    ++*share.first;
    ++*share.second;
    c->live++;
    c->live_high = u32_max(c->live_high, c->live);
}

static void conn_unserve(struct conns *c, const struct conn *conn) {
    struct share share = conns_share(c, &conn->peer);
    MPS_ASSERT(*share.first && *share.second && c->live);
    --*share.first;
    --*share.second;
    c->live--;
}

static bool conns_shares_check(const struct conns *c) {
    const u32 *counts = near_get(&c->shares);
    u64 first = 0, second = 0;
    for (u32 i = 0; i <= c->shares_mask; i++) {
        first += counts[i];
        second += counts[c->shares_mask + 1 + i];
    }
    return first == c->live && second == c->live;
}

/* -- output -- */

/* Also what the port took and has not reported as sent: only for a connection that is dead. */
static void output_drop(struct conns *c, struct conn *conn) {
    for (u32 at = conn->out_head; at;) {
        u32 next = chunk_info(c, at - 1)->next;
        chunk_return(c, conn, at - 1);
        at = next;
    }
    conn->out_head = conn->out_tail = conn->out_start = 0;
    conn->out_bytes = conn->out_taken = 0;
}

/* How many chunks must be lent for `bytes` more. Counts on the own chunk being filled first; the
   shortcut in output_start needs no more than that. */
static u32 output_lack(const struct conns *c, const struct conn *conn, size_t bytes) {
    size_t room = c->output_bytes;
    if (conn->out_tail) {
        room = chunk_capacity(c, conn->out_tail - 1) - chunk_info(c, conn->out_tail - 1)->used;
    }
    return bytes <= room ? 0 : (u32)((bytes - room + c->chunk_bytes - 1) / c->chunk_bytes);
}

/* What the cap on a connection's unsent output still allows; says nothing about free chunks. */
static u32 conn_output_free(const struct conns *c, const struct conn *conn) {
    return conn->out_bytes < c->output_bytes_max ? c->output_bytes_max - conn->out_bytes : 0;
}

/* The first chunk of a chain is the connection's own. What is longer goes to a lent one whole, if
   one is free: one piece is cheaper to send than two. */
static void output_start(struct conns *c, struct conn *conn, size_t bytes) {
    u32 id = conn_index(c, conn);
    if (bytes > c->output_bytes && bytes <= c->chunk_bytes && c->chunk_free) {
        id = chunk_lend(c, conn);
    }
    *chunk_info(c, id) = (struct chunk){0, 0, 0};
    conn->out_head = conn->out_tail = id + 1;
}

/* Would one lent chunk hold all that the own one has, and `bytes` more? Nothing of it may be in
   the port's hands. One piece is sent with a cheaper call than two are. */
static bool output_moves(const struct conns *c, const struct conn *conn, size_t bytes) {
    return conn->out_head == conn->out_tail && !chunk_is_lent(c, conn->out_head - 1) &&
           !conn->out_start && !conn->out_taken && conn->out_bytes + bytes <= c->chunk_bytes;
}

/* The own chunk rests until the chain is gone, as it does once it is sent. */
static void output_move(struct conns *c, struct conn *conn) {
    u32 own = conn->out_head - 1, lent = chunk_lend(c, conn);
    *chunk_info(c, lent) = *chunk_info(c, own);
    memcpy(chunk_data(c, lent), chunk_data(c, own), conn->out_bytes);
    conn->out_head = conn->out_tail = lent + 1;
}

/* Appends; room was made by conns_output_reserve of the same call. `frame`: the bytes begin a
   frame, behind which the chain may be cut later. */
static void output_add(struct conns *c, struct conn *conn, struct span s, bool frame) {
    while (s.bytes) {
        if (!conn->out_tail) {
            output_start(c, conn, s.bytes);
        }
        struct chunk *tail = chunk_info(c, conn->out_tail - 1);
        u32 room = chunk_capacity(c, conn->out_tail - 1) - tail->used;
        if (room < s.bytes && output_moves(c, conn, s.bytes)) {
            output_move(c, conn);
            continue;
        }
        if (!room) {
            tail->next = chunk_lend(c, conn) + 1;
            conn->out_tail = tail->next;
            continue;
        }
        size_t count = size_min(room, s.bytes);
        tail->frame = frame && !tail->frame ? tail->used + 1 : tail->frame;
        frame = false;
        memcpy(chunk_data(c, conn->out_tail - 1) + tail->used, s.at, count);
        tail->used += (u32)count;
        conn->out_bytes += (u32)count;
        s = span_of(s.at + count, s.bytes - count);
    }
    conn_mark(c, conn);
}

/* Up to `max` spans of what is not taken yet. Lent chunks do not move and are only added to;
   the own one may move as long as nothing of it is taken. So spans whose bytes were taken stay good
   until those are sent. */
static size_t output_spans(const struct conns *c, const struct conn *conn, mps_span *spans,
                           size_t max) {
    size_t count = 0;
    u32 skip = conn->out_start + conn->out_taken;
    for (u32 at = conn->out_head; at && count < max; at = chunk_info(c, at - 1)->next) {
        u32 used = chunk_info(c, at - 1)->used;
        if (skip < used) {
            spans[count++] = (mps_span){chunk_data(c, at - 1) + skip, used - skip};
            skip = 0;
        } else {
            skip -= used;
        }
    }
    return count;
}

/* The port hands bytes back in the order in which it took them. The own chunk rests, once sent,
   until the whole chain is gone: a chain is only ever extended by lent ones. */
static void output_sent(struct conns *c, struct conn *conn, u32 count) {
    MPS_ASSERT(count <= conn->out_taken);
    conn->out_taken -= count;
    conn->out_bytes -= count;
    conn->out_start += count;
    while (conn->out_head && conn->out_start >= chunk_info(c, conn->out_head - 1)->used) {
        u32 done = conn->out_head - 1;
        conn->out_start -= chunk_info(c, done)->used;
        conn->out_head = chunk_info(c, done)->next;
        chunk_return(c, conn, done);
    }
    if (!conn->out_head) {
        conn->out_tail = 0;
        conn->out_start = 0;
    }
}

/* -- input -- */

static struct large *large_info(const struct conns *c, u32 index) {
    return (struct large *)near_get(&c->large_info) + index;
}

/* Where the input kept stands, or, with none kept, where the first of it will. */
static char *input_data(const struct conns *c, const struct conn *conn) {
    switch ((enum input_tier)conn->tier) {
    case INPUT_CHUNK:
        return chunk_data(c, conn->tier_index);
    case INPUT_LARGE:
        return (char *)near_get(&c->large_data) + (size_t)conn->tier_index * c->large_bytes;
    case INPUT_NONE:
    case INPUT_OWN:
        break;
    }
    return (char *)near_get(&c->own_input) + (size_t)conn_index(c, conn) * c->input_bytes;
}

/* Each tier has at least the bytes of the one below: config_check_fit sees to it. */
static u32 input_tier_bytes(const struct conns *c, enum input_tier tier) {
    const u32 bytes[] = {0, c->input_bytes, c->chunk_bytes, c->large_bytes};
    return bytes[tier];
}

/* May this connection take a large buffer now? One is free, and its address has not its share. */
static bool input_large_allowed(const struct conns *c, const struct conn *conn) {
    u32 mine = 0;
    if (c->large_used == c->large_count) {
        return false;
    }
    if (!c->large_used) {
        return true;
    }
    for (u32 i = 0; i < c->large_count; i++) {
        u32 owner = large_info(c, i)->owner;
        mine += owner && address_shares(&conn->peer, &conn_at(c, owner - 1)->peer);
    }
    return mine < c->large_per_address;
}

static void input_chunk_return(struct conns *c, struct conn *conn, u32 id) {
    bool could = input_chunk_allowed(c);
    chunk_return(c, conn, id);
    c->chunks_input--;
    input_chunk_freed(c, could);
}

/* The best tier that the connection could move to now. */
static enum input_tier input_tier_reach(const struct conns *c, const struct conn *conn) {
    if (conn->tier == INPUT_LARGE || input_large_allowed(c, conn)) {
        return INPUT_LARGE;
    }
    if (conn->tier == INPUT_CHUNK || input_chunk_allowed(c)) {
        return INPUT_CHUNK;
    }
    return INPUT_OWN;
}

/* Gives back whatever held the input. Those who wait for memory are not woken from here but at the
   end of the call, when all that came free is known. */
static void input_release(struct conns *c, struct conn *conn) {
    enum input_tier tier = (enum input_tier)conn->tier;
    u32 index = conn->tier_index;
    conn->tier = INPUT_NONE;
    conn->tier_index = 0;
    conn->in_bytes = 0;
    queue_remove(&c->keeping, &c->pool, conn_index(c, conn));
    if (tier == INPUT_CHUNK) {
        input_chunk_return(c, conn, index);
    } else if (tier == INPUT_LARGE) {
        large_info(c, index)->owner = 0;
        c->large_used--;
        c->waking = c->starving.count;
    }
}

/* The search ends: input_large_allowed has seen that a buffer is free. */
static u32 large_take(struct conns *c, const struct conn *conn) {
    u32 index = 0;
    while (large_info(c, index)->owner) {
        index++;
    }
    large_info(c, index)->owner = conn_index(c, conn) + 1;
    c->large_used++;
    c->large_high = u32_max(c->large_high, c->large_used);
    return index;
}

/* Steps of 1,024 us, which come round in 50 days: nothing is kept for so long. */
static u32 input_clock(const struct kit *k) {
    return (u32)(k->now >> 10);
}

/* Makes the input kept hold `bytes` in all: moves it up as many tiers as that needs. False when the
   memory is not there. `bytes` may be what stands elsewhere: nothing is lost on failure. */
static bool input_grow(const struct kit *k, struct conns *c, struct conn *conn, size_t bytes) {
    enum input_tier tier = conn->tier ? (enum input_tier)conn->tier : INPUT_OWN;
    enum input_tier reach = input_tier_reach(c, conn);
    if (tier == INPUT_OWN && bytes > c->input_bytes) {
        tier = bytes <= c->chunk_bytes && input_chunk_allowed(c) ? INPUT_CHUNK : INPUT_LARGE;
    } else if (tier == INPUT_CHUNK && bytes > c->chunk_bytes) {
        tier = INPUT_LARGE;
    }
    if (tier > reach || bytes > input_tier_bytes(c, tier)) {
        return false;
    }
    if (tier == (enum input_tier)conn->tier || (tier == INPUT_OWN && !conn->in_bytes)) {
        conn->tier = (u8)tier;
        return true;
    }
    const char *from = input_data(c, conn);
    u32 old_index = conn->tier_index, kept = conn->in_bytes;
    bool was_chunk = conn->tier == INPUT_CHUNK;
    conn->tier_index = tier == INPUT_LARGE ? large_take(c, conn) : chunk_lend(c, conn);
    conn->tier = (u8)tier;
    conn->kept = input_clock(k);
    c->chunks_input += tier == INPUT_CHUNK;
    queue_push_once(&c->keeping, &c->pool, conn_index(c, conn));
    if (kept) {
        memcpy(input_data(c, conn), from, kept);
    }
    if (was_chunk) {
        input_chunk_return(c, conn, old_index);
    }
    return true;
}

/* -- sockets: what an upgraded connection has beside the others -- */

/* It speaks frames and may still be sent some. */
static bool conn_is_socket(const struct conn *conn) {
    return conn->state == CONN_SOCKET || conn->state == CONN_SOCKET_AUTH;
}

#ifndef MPS_NO_ROOMS
/* A socket that does not read keeps its place, as long as nothing is lost; one that does not speak
   is pinged and then given up, and so is a message that does not come to its end. */
static u64 socket_deadline(const struct conns *c, const struct conn *conn) {
    const struct socket *socket = &conn->socket;
    u64 due = time_after(conn->since, socket->pinged ? c->silence_us : c->ping_us);
    u64 message = socket->begun ? time_after(socket->begun, c->message_us) : NEVER;
    return due < message ? due : message;
}

/* Does it wait for its output to drain, with something to be told? */
static bool socket_owed(const struct conn *conn) {
    return conn->socket.late || conn->socket.behind;
}

/* When the first byte of an unfinished message came; 0: there is none. */
static u64 socket_began(const struct conn *conn) {
    return conn->socket.begun;
}

/* A socket whose connection ends, for whatever reason, is in a list until its user and its seat
   have been told: whoever closes need not know them. */
static void socket_leave(struct conns *c, const struct conn *conn) {
    queue_push(&c->ended, &c->pool, conn_index(c, conn));
}

/* How much of a chunk's bytes, from its first on, stays when all frames that begin at `from` or
   later are cut off; UINT32_MAX when no such frame is seen to begin in it. A head that lies across
   two chunks is not read: a later frame will do. */
static u32 chunk_cut_at(const struct conns *c, u32 id, u32 from) {
    const struct chunk *chunk = chunk_info(c, id);
    const u8 *data = (const u8 *)chunk_data(c, id);
    u64 at = (u64)chunk->frame - 1;
    while (chunk->frame && at < chunk->used && at < from) {
        u64 bytes = ws_frame_bytes(data + at, chunk->used - (u32)at);
        if (!bytes) {
            return UINT32_MAX;
        }
        at += bytes;
    }
    return chunk->frame && at >= from && at <= chunk->used ? (u32)at : UINT32_MAX;
}

/* Drops what is unsent behind the frame that is being sent: a frame that was begun has to end.
   Frees the chunks that are no longer needed. */
static void output_cut(struct conns *c, struct conn *conn) {
    u32 from = conn->out_start + conn->out_taken, kept = 0;
    for (u32 at = conn->out_head; at; at = chunk_info(c, at - 1)->next) {
        struct chunk *chunk = chunk_info(c, at - 1);
        u32 used = chunk_cut_at(c, at - 1, from);
        if (used == UINT32_MAX) {
            kept += chunk->used;
            from -= u32_min(from, chunk->used);
            continue;
        }
        for (u32 rest = chunk->next; rest;) {
            u32 next = chunk_info(c, rest - 1)->next;
            chunk_return(c, conn, rest - 1);
            rest = next;
        }
        chunk->next = 0;
        chunk->used = used;
        conn->out_tail = at;
        conn->out_bytes = kept + used - conn->out_start;
        return;
    }
}
#else
static u64 socket_deadline(const struct conns *c, const struct conn *conn) {
    (void)c, (void)conn;
    return NEVER;
}

static bool socket_owed(const struct conn *conn) {
    (void)conn;
    return false;
}

static u64 socket_began(const struct conn *conn) {
    (void)conn;
    return 0;
}

static void socket_leave(struct conns *c, const struct conn *conn) {
    (void)c, (void)conn;
}
#endif

/* -- life -- */

/* When the connection's patience ends, by what it waits for. */
static u64 conn_deadline(const struct conns *c, const struct conn *conn) {
    switch ((enum conn_state)conn->state) {
    case CONN_LINGER:
        return time_after(conn->since, c->linger_us);
    case CONN_FREE:
    case CONN_ABORT:
    case CONN_STATES:
        return NEVER;
    default:
        break;
    }
    if (conn->starved) {
        return time_after(conn->starved_at, c->buffer_wait_us);
    }
    if (conn->state == CONN_SOCKET) {
        return socket_deadline(c, conn);
    }
    if (conn->state == CONN_SOCKET_AUTH) {
        return time_after(conn->since, c->auth_us);
    }
    if (c->closing && conn->state == CONN_FINISH) {
        return time_after(conn->since, c->linger_us);
    }
    if (conn->out_bytes || conn->state == CONN_ANSWER || conn->state == CONN_FINISH) {
        return time_after(conn->progress_at, c->send_us);
    }
    if (conn->state == CONN_AUTH) {
        return time_after(conn->since, c->auth_us);
    }
    if (conn->state == CONN_BODY) {
        return time_after(conn->since, c->body_us);
    }
    if (conn->ready) {
        return NEVER; /* what it sent is whole: it is the server's turn */
    }
    bool idle = !conn->in_bytes && conn->served;
    return time_after(conn->since, idle ? c->idle_us : c->head_us);
}

/* A timer that rings too early does no harm: section 88 asks for the deadline again. */
static void conn_wait(struct kit *k, const struct conns *c, const struct conn *conn) {
    u64 due = conn_deadline(c, conn);
    if (due != NEVER) {
        timer_set(&k->timers, TIMER_CONN, conn_index(c, conn), due);
    }
}

/* A new phase begins now. */
static void conn_enter(struct kit *k, struct conns *c, struct conn *conn, enum conn_state state) {
    conn_set_state(conn, state);
    conn->since = k->now;
    conn_wait(k, c, conn);
}

/* It waits no longer: it has its memory, or nothing that needs any. */
static void conn_unstarve(struct conns *c, struct conn *conn) {
    queue_remove(&c->starving, &c->pool, conn_index(c, conn));
    conn->starved = false;
}

/* Nothing of it is of use any more; the port closes the socket. What it held is free for others at
   once, but its record is not: the port still has the handle and gives it back when the socket is
   closed. */
static void conn_abort(struct kit *k, struct conns *c, struct conn *conn) {
    u32 index = conn_index(c, conn);
    if (conn_is_socket(conn)) {
        socket_leave(c, conn);
    }
    conn_set_state(conn, CONN_ABORT);
    conn->auth_ticket = 0;
    conn->ready = false;
    output_drop(c, conn);
    conn_unstarve(c, conn);
    input_release(c, conn);
    queue_remove(&c->work, &c->pool, index);
    timer_clear(&k->timers, TIMER_CONN, index);
    conn_mark(c, conn);
}

/* Everything is sent: linger for the peer's FIN, or be done when it came. */
static void conn_sent_all(struct kit *k, struct conns *c, struct conn *conn) {
    if (conn->ended) {
        conn_abort(k, c, conn);
    } else {
        conn_enter(k, c, conn, CONN_LINGER);
        conn_mark(c, conn);
    }
}

/* No more requests: send what there is, then close in peace. */
static void conn_finish(struct kit *k, struct conns *c, struct conn *conn) {
    conn->ready = false;
    conn->auth_ticket = 0;
    conn_unstarve(c, conn);
    input_release(c, conn);
    if (conn_is_socket(conn)) {
        socket_leave(c, conn);
    }
    conn_enter(k, c, conn, CONN_FINISH);
    conn_mark(c, conn);
    if (!conn->out_bytes) {
        conn_sent_all(k, c, conn);
    }
}

/* FINISH tells the port to send a FIN behind the last byte and to keep reading: closing a socket
   with input unread makes TCP reset it, which can cost the peer the answer (RFC 9112, 9.6). */
static mps_fate conn_fate(const struct conn *conn) {
    if (conn->state == CONN_ABORT) {
        return MPS_FATE_ABORT;
    }
    return conn->state >= CONN_FINISH ? MPS_FATE_FINISH : MPS_FATE_OPEN;
}

/* Offered to the port for input that nobody will look at: no memory stands behind it. */
#define CONN_DISCARD_BYTES 65536

/* In these states input is of use as it comes. */
static bool conn_reads(const struct conn *conn) {
    return conn->state == CONN_HEAD || conn->state == CONN_BODY || conn->state == CONN_SOCKET;
}

/* How many bytes the port may bring now; 0 is back pressure: they stay in the kernel and the peer's
   window closes. Never more than could be kept if none of them could be used. While others wait for
   memory, who has some reads in small steps: at the end of its message what came of the next one
   fits its own bytes, and the memory is free. */
static size_t conn_room(const struct conns *c, const struct conn *conn) {
    if (conn->state == CONN_FINISH || conn->state == CONN_LINGER) {
        return CONN_DISCARD_BYTES;
    }
    if (!conn_reads(conn) || conn->ready || conn->ended || conn->out_bytes > c->output_high) {
        return 0;
    }
    size_t room = input_tier_bytes(c, input_tier_reach(c, conn)) - conn->in_bytes;
    bool wanted = c->starving.count && conn->tier > INPUT_OWN;
    return wanted ? size_min(room, c->input_bytes) : room;
}

/* Has it work that could go on now, its output being low enough? The distance between high and low
   water keeps it from waking for every few bytes that drain. */
static void conn_want_work(struct conns *c, struct conn *conn) {
    bool wants = conn->state == CONN_ANSWER || (conn->ready && conn_reads(conn)) ||
                 (conn->state == CONN_SOCKET && socket_owed(conn));
    if (wants && conn->out_bytes <= c->output_low) {
        queue_push_once(&c->work, &c->pool, conn_index(c, conn));
    }
}

/* Was it kept from going on by what others did in this call, and not by its own output? Then it
   does not wait for that to drain: its peer may be one who writes without reading. */
static void conn_go_on(struct conns *c, struct conn *conn) {
    if (conn->ready && conn_reads(conn) && conn->out_bytes <= c->output_high) {
        queue_push_once(&c->work, &c->pool, conn_index(c, conn));
    }
}

/* Does it wait for more than the memory holds that it has? */
static bool conn_is_full(const struct conns *c, const struct conn *conn) {
    return conn_reads(conn) && !conn->ready && conn->in_bytes &&
           conn->in_bytes >= input_tier_bytes(c, (enum input_tier)conn->tier);
}

/* A connection that waits for the rest of a request and cannot be given memory for it. Whoever has
   filled what it has takes more now: what is free now may be gone when the rest comes, and nobody
   would tell. Its patience runs from the first time it was short, so `starved_at` stays while it
   waits. */
static void conn_check_starved(struct kit *k, struct conns *c, struct conn *conn) {
    bool full = conn_is_full(c, conn) && !input_grow(k, c, conn, (size_t)conn->in_bytes + 1);
    if (!full) {
        if (conn->starved) {
            conn_unstarve(c, conn);
        }
        return;
    }
    if (!conn->starved) {
        conn->starved = true;
        conn->starved_at = k->now;
        metrics_count(&k->metrics, COUNTER_FULL_LARGE_INPUTS);
    }
    c->starving_since = c->starving.count ? c->starving_since : k->now;
    queue_push_once(&c->starving, &c->pool, conn_index(c, conn));
}

/* The rest of its request or message has not come. */
static bool conn_keeps_half(const struct conn *conn) {
    return conn_reads(conn) && !conn->ready && !conn->starved;
}

/* Has it kept lent memory as long as others who wait for some must bear? Half an input is judged by
   its own age, time that it waited itself included, or a crowd of halves would hold each place for
   that long in turn. Whole requests that wait for their peer to read are judged by the time in
   which it has not read, or in which others have waited. Who waits for the game, or for memory
   itself, is not at fault. */
static bool conn_keeps_too_long(const struct kit *k, const struct conns *c,
                                const struct conn *conn) {
    if (conn_keeps_half(conn)) {
        u64 began = conn->upgraded ? socket_began(conn) : conn->request.started;
        return time_after(began, c->input_hold_us) <= k->now;
    }
    u64 waited = conn->progress_at < c->starving_since ? conn->progress_at : c->starving_since;
    return conn->out_bytes > c->output_low && time_after(waited, c->input_hold_us) <= k->now &&
           input_clock(k) - conn->kept >= c->input_hold_us >> 10;
}

/* When those who keep input are to be looked at: NEVER when nobody waits for their memory. */
static u64 conns_give_way_at(const struct conns *c) {
    return c->starving.count && c->keeping.count ? c->keeping_next : NEVER;
}

#define CONN_WAKE_MAX 64 /* waiting connections looked at when input memory came free */

/* Gives those who wait for input memory what has come free: who reads first may be somebody else,
   each time. Going round, so that many of one address that has had its share cannot hide the
   others. */
static void conns_wake_starving(struct kit *k, struct conns *c) {
    c->waking = u32_min(c->waking, c->starving.count);
    u32 left = u32_min(c->waking, CONN_WAKE_MAX);
    for (c->waking -= left; left; left--) {
        u32 index = queue_pop(&c->starving, &c->pool) - 1;
        struct conn *conn = conn_at(c, index);
        if (input_grow(k, c, conn, (size_t)conn->in_bytes + 1)) {
            conn_unstarve(c, conn);
            conn_wait(k, c, conn);
            conn_mark(c, conn);
        } else {
            queue_push(&c->starving, &c->pool, index);
        }
    }
}

#define CONN_EVICTIONS_MAX 8 /* per answer */

/* It ends because of memory. When many end at once the line in the log is left out: one frame for a
   large room can close all its members, and the room's own outcomes must find place behind that. */
static void conn_note_slow(struct kit *k, const struct conns *c, const struct conn *conn) {
    metrics_count(&k->metrics, COUNTER_CLOSED_SLOW);
    if (outcomes_room(&k->outcomes, k->outcomes.capacity / 2)) {
        u64 handle = pool_handle(&c->pool, conn_index(c, conn));
        outcomes_add(&k->outcomes, OUTCOME_SLOW_READER, handle, 0);
    }
}

#ifndef MPS_NO_ROOMS
/* A socket's peer is who stands behind the proxy, and it counts as one of theirs. */
static void conn_become(struct conns *c, struct conn *conn, const mps_address *peer) {
    conn_unserve(c, conn);
    conn->peer = *peer;
    conn_serve(c, conn);
}

/* Closes a socket from this side (RFC 6455, 7.1.2): what was queued goes out, then the close frame,
   then FIN. There is room for the frame beyond any cap. Where memory is out, what was queued is cut
   behind the frame that is being sent; when not even that helps, FIN has to do. */
static void conn_close_socket(struct kit *k, struct conns *c, struct conn *conn, u32 code,
                              struct span reason) {
    u8 close[WS_CLOSE_BYTES_MAX];
    size_t bytes = ws_put_close(close, code, reason);
    MPS_ASSERT(conn_is_socket(conn));
    if (output_lack(c, conn, bytes) > chunks_free(c)) {
        output_cut(c, conn);
    }
    if (output_lack(c, conn, bytes) <= chunks_free(c)) {
        output_add(c, conn, span_of((const char *)close, bytes), true);
    }
    conn->progress_at = k->now; /* a socket may have been without progress for long */
    conn_finish(k, c, conn);
}

#define OUTPUT_REST_MAX 512

/* Moves what is left into the connection's own bytes, if it fits them with a close frame behind it,
   and gives all that is lent back. */
static void output_shrink(struct conns *c, struct conn *conn) {
    char rest[OUTPUT_REST_MAX];
    mps_span spans[2];
    struct text t = text_on(rest, sizeof rest);
    if (conn->out_taken || conn->out_bytes + WS_CLOSE_BYTES_MAX > c->output_bytes) {
        return;
    }
    size_t count = output_spans(c, conn, spans, COUNT_OF(spans));
    for (size_t i = 0; i < count; i++) {
        text_add(&t, span_of(spans[i].bytes, spans[i].count));
    }
    if (!t.cut && t.bytes == conn->out_bytes) {
        output_drop(c, conn);
        output_add(c, conn, text_span(&t), false);
    }
}

/* A socket that holds too much memory is told why (RFC 6455, 7.4.1: 1013), behind the frame that is
   being sent. */
static void socket_evict(struct kit *k, struct conns *c, struct conn *conn) {
    output_cut(c, conn);
    output_shrink(c, conn);
    conn_close_socket(k, c, conn, 1013, SPAN("slow_reader"));
}

/* The server shuts down. */
static void socket_drain(struct kit *k, struct conns *c, struct conn *conn) {
    conn_close_socket(k, c, conn, 1001, SPAN("draining"));
}
#else
static void socket_evict(struct kit *k, struct conns *c, struct conn *conn) {
    (void)k, (void)c, (void)conn;
}

static void socket_drain(struct kit *k, struct conns *c, struct conn *conn) {
    (void)k, (void)c, (void)conn;
}
#endif

/* Takes the memory away from the one that holds most; an answer cannot be cut short in peace. */
static void conn_evict(struct kit *k, struct conns *c, struct conn *conn) {
    u32 held = conn->held;
    conn_note_slow(k, c, conn);
    if (conn_is_socket(conn)) {
        socket_evict(k, c, conn);
    }
    if (conn->held >= held) { /* nothing came of it */
        conn_abort(k, c, conn);
    }
}

/* Makes room for an answer of `bytes`: MPS_E_OUTPUT_FULL when it would pass the connection's cap or
   memory is short and nobody holds more than the one that asks. Whoever is told MPS_OK adds at most
   `bytes` before anything else takes chunks. Evictions are bounded so that one answer cannot clear
   the table. */
static mps_error conns_output_reserve(struct kit *k, struct conns *c, struct conn *conn,
                                      size_t bytes) {
    u32 lack = output_lack(c, conn, bytes);
    if (bytes > conn_output_free(c, conn) || conn->held + lack > CONN_HELD_MAX) {
        return MPS_E_OUTPUT_FULL;
    }
    for (u32 i = 0; chunks_free(c) < lack; i++) {
        metrics_count(&k->metrics, COUNTER_FULL_CHUNKS);
        u32 first = c->holders[c->held_max].head;
        if (i == CONN_EVICTIONS_MAX || c->held_max <= conn->held || !first) {
            return MPS_E_OUTPUT_FULL;
        }
        conn_evict(k, c, conn_at(c, first - 1));
    }
    return MPS_OK;
}

/* Adds an answer or a part of one, reserved before. The peer's time to read starts when there is
   something to read, not with every piece. */
static void conn_output(struct kit *k, struct conns *c, struct conn *conn, struct span s) {
    if (!conn->out_bytes) {
        conn->progress_at = k->now;
    }
    output_add(c, conn, s, false);
}

/* Bytes to parse: the port's own, or those kept with the new ones behind them. Either is decoded in
   place, so the port lends its buffer for writing. */
struct input_view {
    char *at;
    size_t bytes;
    bool kept;
};

/* Spares the copy in the usual case, in which nothing is kept and whole requests arrive. False when
   there is no memory for old and new together; then nothing has changed. */
static bool conn_input_begin(const struct kit *k, struct conns *c, struct conn *conn, char *bytes,
                             size_t count, struct input_view *view) {
    *view = (struct input_view){bytes, count, false};
    if (!conn->in_bytes) {
        return true;
    }
    if (!input_grow(k, c, conn, conn->in_bytes + count)) {
        return false;
    }
    if (count) {
        memcpy(input_data(c, conn) + conn->in_bytes, bytes, count);
    }
    conn->in_bytes += (u32)count;
    *view = (struct input_view){input_data(c, conn), conn->in_bytes, true};
    return true;
}

/* Keeps what was not consumed; false when there is no memory for it. `view` is what
   conn_input_begin gave, possibly shortened at its end since. Input that is used up, or so short
   that the connection's own bytes hold it and more, gives lent memory back at once. */
static bool conn_input_end(const struct kit *k, struct conns *c, struct conn *conn,
                           struct input_view view, size_t consumed) {
    size_t rest = view.bytes - consumed;
    MPS_ASSERT(consumed <= view.bytes);
    if (rest < c->input_bytes) {
        input_release(c, conn);
        conn->tier = rest ? INPUT_OWN : INPUT_NONE;
    } else if (!view.kept && !input_grow(k, c, conn, rest)) {
        return false;
    }
    char *to = input_data(c, conn);
    if (rest && to != view.at + consumed) {
        memmove(to, view.at + consumed, rest); /* of what was just given back, too */
    }
    conn->in_bytes = (u32)rest;
    return true;
}

/* What must hold between two calls: every chunk is free or held, every chain adds up to the bytes
   it owes, every large buffer has one owner, and who has no room waits in the line for it. */
static bool conns_check(const struct conns *c) {
    u32 lent = 0, held = 0, inputs = 0, larges = 0, live = 0;
    for (u32 at = c->chunk_free; at && lent <= c->chunks_count; at = chunk_info(c, at - 1)->next) {
        lent++;
    }
    for (u32 i = 0; i < c->pool.capacity; i++) {
        const struct conn *conn = conn_at(c, i);
        if (!pool_alive(&c->pool, i)) {
            continue;
        }
        u32 bytes = 0;
        for (u32 at = conn->out_head; at; at = chunk_info(c, at - 1)->next) {
            bytes += chunk_info(c, at - 1)->used;
        }
        held += conn->held;
        live += !conn->refused;
        inputs += conn->tier == INPUT_CHUNK;
        larges += conn->tier == INPUT_LARGE;
        if (bytes != conn->out_bytes + conn->out_start || conn->out_taken > conn->out_bytes ||
            (conn_is_full(c, conn) && !conn->starved)) {
            return false;
        }
    }
    return pool_check(&c->pool) && lent + held == c->chunks_count && held == c->chunks_used &&
           inputs == c->chunks_input && larges == c->large_used && live == c->live &&
           live <= c->live_max && conns_shares_check(c);
}

/* == 52 auth =====================================================================================
   Who a token speaks for: JWT (RFC 7519) signed with HS256 (RFC 7515, 7518 3.2) and nothing else.
   Reads and mints; holds the prepared key. Knows no connection and no request.

   Tokens minted before the date is known carry `boot`, a mark of this run, and count their times in
   seconds since the start: they work, and they end with the run. */

/* Seconds by which the issuer's clock may differ from ours, either way (RFC 7519, 4.1.4, 4.1.5). */
#define AUTH_LEEWAY_S 60
#define AUTH_TOKEN_BYTES_MAX 4096
#define AUTH_MEMBERS_MAX 64 /* of any object in a token */
#define AUTH_BOOT_BYTES 16  /* as hexadecimal digits */

struct auth {
    struct hmac256 key; /* prepared with the secret */
    char issuer[65], audience[129];
    bool issuer_required; /* one was configured: tokens of others are refused */
    char boot[AUTH_BOOT_BYTES + 1];
};

/* What a verified token says beyond the identity. */
struct auth_claims {
    mps_identity who;
    bool ours;     /* issued here */
    i64 auth_time; /* when this identity first signed in: minting anew does not move it */
};

/* The time on which tokens are judged, in Unix seconds or seconds since the start. */
struct auth_clock {
    i64 now_s, uptime_s;
    bool known; /* false: now_s counts from the start, too */
};

/* What every minted token begins with; what is read may say it in any JSON. */
static const char auth_header[] = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";

/* By mps_role. A token without a role speaks for a player. */
static const char *const role_names[] = {"player", "server", "admin"};

static bool role_parse(struct span text, mps_role *role) {
    for (u32 i = 0; i < COUNT_OF(role_names); i++) {
        if (span_equal(text, span_z(role_names[i]))) {
            *role = (mps_role)i;
            return true;
        }
    }
    return false;
}

/* Copies with a zero behind; false when it does not fit or has a zero inside. */
static bool copy_z(char *out, size_t capacity, struct span s) {
    if (s.bytes >= capacity || span_has(s, 0)) {
        return false;
    }
    if (s.bytes) {
        memcpy(out, s.at, s.bytes);
    }
    out[s.bytes] = 0;
    return true;
}

#define NAME_POINTS_MAX 32

/* Some text of at most `points` code points. Zero bytes end a C string and are refused; what else
   people put into names is theirs: JSON and the log escape it. */
static bool name_valid(struct span s, size_t points) {
    return s.bytes > 0 && !span_has(s, 0) && utf8_valid(s) && utf8_points(s) <= points;
}

/* An id is UTF-8 without control characters: each would take six bytes when it is minted again. */
static bool id_valid(struct span s) {
    for (size_t i = 0; i < s.bytes; i++) {
        if ((u8)s.at[i] < ' ') {
            return false;
        }
    }
    return s.bytes > 0 && utf8_valid(s);
}

/* Claims in the order of auth_members[], which json_object looks them up by. Others are ignored
   (RFC 7519, 4). */
enum auth_member {
    AUTH_USER_ID,
    AUTH_SUB,
    AUTH_USERNAME,
    AUTH_NAME,
    AUTH_ROLE,
    AUTH_ISS,
    AUTH_AUD,
    AUTH_EXP,
    AUTH_NBF,
    AUTH_AUTH_TIME,
    AUTH_IAT,
    AUTH_BOOT,
    AUTH_MEMBERS
};
static const char *const auth_members[] = {"userId", "sub",       "username", "name",
                                           "role",   "iss",       "aud",      "exp",
                                           "nbf",    "auth_time", "iat",      "boot"};

/* The header must say HS256 and nothing critical; a member twice is refused. A token does not
   choose how it is checked: alg "none" or a public key's would let anybody sign. An extension
   marked critical must be understood (RFC 7515, 4.1.11), and none is. Twins are looked for before
   json_string changes the text. */
static bool auth_header_ok(char *json, size_t bytes) {
    static const char *const keys[] = {"alg", "crit"};
    struct json_value v[2];
    struct json_fault fault;
    struct span alg;
    if (!json_object(json, bytes, keys, 2, v, &fault) ||
        json_has_duplicates((struct json_value){JSON_OBJECT, json, bytes}, AUTH_MEMBERS_MAX)) {
        return false;
    }
    return v[1].type == JSON_ABSENT && json_string(&v[0], &alg) && span_equal(alg, SPAN("HS256"));
}

/* userId (a number) or sub (a string); the JSON type is part of who it is. Numbers end at 2^53:
   beyond it, what other JSON readers make of two ids may be the same. */
static bool auth_read_id(struct json_value *v, mps_identity *who) {
    struct span text;
    i64 number;
    if (v[AUTH_USER_ID].type != JSON_ABSENT) {
        if (!json_i64(v[AUTH_USER_ID], -(1LL << 53), 1LL << 53, &number)) {
            return false;
        }
        struct text t = text_on(who->id, MPS_ID_BYTES_MAX);
        text_i64(&t, number);
        who->id[t.bytes] = 0;
        who->id_is_number = true;
        return true;
    }
    return json_string(&v[AUTH_SUB], &text) && id_valid(text) &&
           copy_z(who->id, sizeof who->id, text);
}

/* A display name is what people see: too long a one is cut, a bad one replaced by the id. */
static void auth_read_name(struct json_value *v, mps_identity *who) {
    struct span name = {0};
    if (!json_string(&v[AUTH_USERNAME], &name) || !name_valid(name, SIZE_MAX)) {
        json_string(&v[AUTH_NAME], &name);
    }
    if (!name_valid(name, SIZE_MAX)) {
        name = span_z(who->id);
    }
    copy_z(who->name, sizeof who->name, utf8_cut(name, NAME_POINTS_MAX));
}

/* `aud` is a string or an array of them (RFC 7519, 4.1.3). Without an audience of its own the
   server takes tokens for any. */
static bool auth_audience_ok(const struct auth *a, struct json_value *v) {
    struct span aud, wanted = span_z(a->audience);
    struct json_value element;
    if (!wanted.bytes) {
        return true;
    }
    if (v->type == JSON_ARRAY) {
        struct json_walk w = json_walk_into(*v);
        while (json_walk_element(&w, &element)) {
            if (json_string(&element, &aud) && span_equal(aud, wanted)) {
                return true;
            }
        }
        return false;
    }
    return json_string(v, &aud) && span_equal(aud, wanted);
}

/* NumericDate may have a fraction (RFC 7519, 2). The bound keeps the sums below far from overflow,
   and is millions of years away. */
static bool auth_read_date(struct json_value v, i64 *out) {
    double d;
    if (!json_f64(v, &d) || d < 0 || d > 1e15) {
        return false;
    }
    *out = (i64)d;
    return true;
}

/* RFC 7519, 4.1.4 and 4.1.5; but `exp` is required, as a token without an end could never be got
   rid of. A token of an earlier run is expired, not invalid: its owner signed in and need only do
   so again. Sets auth_time, from `iat` if need be. */
static mps_error auth_times_ok(const struct auth *a, const struct auth_clock *clock,
                               struct json_value *v, struct auth_claims *claims) {
    i64 exp, nbf, now = clock->now_s;
    struct span boot;
    bool counts_from_start = v[AUTH_BOOT].type != JSON_ABSENT;
    if (!auth_read_date(v[AUTH_EXP], &exp)) {
        return MPS_E_TOKEN_INVALID;
    }
    if (counts_from_start) {
        if (!claims->ours || !json_string(&v[AUTH_BOOT], &boot) ||
            !span_equal(boot, span_z(a->boot))) {
            return claims->ours ? MPS_E_TOKEN_EXPIRED : MPS_E_TOKEN_INVALID;
        }
        now = clock->uptime_s;
    } else if (!clock->known) {
        return MPS_E_CLOCK_UNSET;
    }
    if (v[AUTH_NBF].type != JSON_ABSENT) {
        if (!auth_read_date(v[AUTH_NBF], &nbf)) {
            return MPS_E_TOKEN_INVALID;
        }
        if (nbf > now + AUTH_LEEWAY_S) {
            return MPS_E_TOKEN_EARLY;
        }
    }
    if (!auth_read_date(v[AUTH_AUTH_TIME], &claims->auth_time) &&
        !auth_read_date(v[AUTH_IAT], &claims->auth_time)) {
        claims->auth_time = exp;
    }
    /* Who asks on the other scale later is told on that scale. */
    claims->auth_time += counts_from_start ? clock->now_s - clock->uptime_s : 0;
    return exp + AUTH_LEEWAY_S <= now ? MPS_E_TOKEN_EXPIRED : MPS_OK;
}

/* The signature has been checked. `json` is changed by decoding; `claims` was zeroed, and what it
   is given is copied. `ours` goes by the issuer's name: others may share the secret. */
static mps_error auth_read_claims(const struct auth *a, const struct auth_clock *clock, char *json,
                                  size_t bytes, struct auth_claims *claims) {
    struct json_value v[AUTH_MEMBERS];
    struct json_fault fault;
    struct span text;
    if (!json_object(json, bytes, auth_members, AUTH_MEMBERS, v, &fault) ||
        json_has_duplicates((struct json_value){JSON_OBJECT, json, bytes}, AUTH_MEMBERS_MAX)) {
        return MPS_E_TOKEN_INVALID;
    }
    bool issued = v[AUTH_ISS].type != JSON_ABSENT;
    if (issued && !json_string(&v[AUTH_ISS], &text)) {
        return MPS_E_TOKEN_INVALID;
    }
    claims->ours = issued && span_equal(text, span_z(a->issuer));
    if (a->issuer_required && !claims->ours) {
        return MPS_E_TOKEN_INVALID;
    }
    if (!auth_read_id(v, &claims->who) || !auth_audience_ok(a, &v[AUTH_AUD])) {
        return MPS_E_TOKEN_INVALID;
    }
    if (v[AUTH_ROLE].type != JSON_ABSENT &&
        (!json_string(&v[AUTH_ROLE], &text) || !role_parse(text, &claims->who.role))) {
        return MPS_E_TOKEN_INVALID;
    }
    auth_read_name(v, &claims->who);
    return auth_times_ok(a, clock, v, claims);
}

/* What a game said of who it is: terminated texts, an id, and a name. The hook that filled it in is
   the game's own code, but its texts go into answers and tokens. */
static bool identity_complete(mps_identity *who) {
    who->id[MPS_ID_BYTES_MAX] = 0;
    who->name[MPS_NAME_BYTES_MAX] = 0;
    struct span name = span_z(who->name), id = span_z(who->id);
    if (!name_valid(name, NAME_POINTS_MAX)) {
        copy_z(who->name, sizeof who->name, utf8_cut(id, NAME_POINTS_MAX));
    }
    return id_valid(id) && (u32)who->role < COUNT_OF(role_names);
}

/* Checks a compact JWS and reads its claims. `work` is scratch for the decoded parts. Sets
   `signed_here` when the signature is ours, whatever else is wrong: such a token is never shown to
   the game. The HMAC runs over the bytes as they came (RFC 7515, 5.2), before any of the payload is
   decoded: nobody without the key gets as far as its JSON. It is compared in constant time. */
static mps_error auth_verify(const struct auth *a, const struct auth_clock *clock,
                             struct span token, char *work, size_t work_bytes,
                             struct auth_claims *claims, bool *signed_here) {
    size_t dots[2] = {0, 0};
    u32 found = 0;
    u8 given[32], ours[32];
    *signed_here = false;
    memset(claims, 0, sizeof *claims);
    for (size_t i = 0; i < token.bytes; i++) {
        if (token.at[i] == '.' && found++ < 2) {
            dots[found - 1] = i;
        }
    }
    if (found != 2 || token.bytes > AUTH_TOKEN_BYTES_MAX) {
        return MPS_E_TOKEN_INVALID;
    }
    /* RFC 7515, 7.1: header.payload.signature, and nothing behind it. */
    struct span header = span_of(token.at, dots[0]);
    struct span payload = span_of(token.at + dots[0] + 1, dots[1] - dots[0] - 1);
    struct span signature = span_of(token.at + dots[1] + 1, token.bytes - dots[1] - 1);
    i64 bytes = base64url_read(header, (u8 *)work, work_bytes);
    if (bytes < 0 || !auth_header_ok(work, (size_t)bytes) ||
        base64url_read(signature, given, sizeof given) != sizeof given) {
        return MPS_E_TOKEN_INVALID;
    }
    /* The key is prepared once; each token works on a copy of its state. */
    struct hmac256 h = a->key;
    hmac256_add(&h, token.at, dots[1]);
    hmac256_finish(&h, ours);
    if (!crypto_equal(given, ours, sizeof ours)) {
        return MPS_E_TOKEN_INVALID;
    }
    *signed_here = true;
    bytes = base64url_read(payload, (u8 *)work, work_bytes);
    return bytes < 0 ? MPS_E_TOKEN_INVALID
                     : auth_read_claims(a, clock, work, (size_t)bytes, claims);
}

/* The claims of a new token. `boot` NULL: the times are Unix seconds. */
struct auth_grant {
    const mps_identity *who;
    const char *issuer, *audience, *boot;
    i64 now_s, exp_s, auth_time_s;
};

/* In the form that auth_read_claims takes. An id that was a number stays one: "7" and 7 are two
   people. */
static void auth_put_claims(struct text *t, const struct auth_grant *g) {
    json_put_open(t, '{');
    json_member_z(t, "iss", g->issuer);
    if (g->audience && g->audience[0]) {
        json_member_z(t, "aud", g->audience);
    }
    json_put_key(t, g->who->id_is_number ? "userId" : "sub");
    if (g->who->id_is_number) {
        json_put_raw(t, span_z(g->who->id));
    } else {
        json_put_z(t, g->who->id);
    }
    json_member_z(t, "username", g->who->name);
    json_member_z(t, "role", role_names[g->who->role]);
    json_put_key(t, "iat");
    json_put_i64(t, g->now_s);
    json_put_key(t, "auth_time");
    json_put_i64(t, g->auth_time_s);
    json_put_key(t, "exp");
    json_put_i64(t, g->exp_s);
    if (g->boot) {
        json_member_z(t, "boot", g->boot);
    }
    json_put_close(t, '}');
}

/* Fits the longest texts that a server has, escaped; a tool's own issuer may be too long for it. */
#define AUTH_CLAIMS_BYTES_MAX 1024

/* Writes header.payload.signature; false when it does not fit. RFC 7515, 7.1: base64url without
   padding (RFC 4648, 5). `t` may already hold other text. */
static bool auth_mint(struct text *t, const struct auth_grant *g, const struct hmac256 *key) {
    char claims[AUTH_CLAIMS_BYTES_MAX], encoded[AUTH_CLAIMS_BYTES_MAX * 4 / 3 + 4];
    u8 signature[32];
    size_t start = t->bytes;
    struct text c = text_on(claims, sizeof claims);
    auth_put_claims(&c, g);
    text_add(t, span_of(encoded,
                        base64url_write((const u8 *)auth_header, sizeof auth_header - 1, encoded)));
    text_char(t, '.');
    text_add(t, span_of(encoded, base64url_write((const u8 *)claims, c.bytes, encoded)));
    struct hmac256 h = *key;
    hmac256_add(&h, t->at + start, t->bytes - start);
    hmac256_finish(&h, signature);
    text_char(t, '.');
    text_add(t, span_of(encoded, base64url_write(signature, sizeof signature, encoded)));
    return !t->cut && !c.cut;
}

/* == 54 rate limits ==============================================================================
   Token buckets by address, in a table of fixed size, and whom to believe about an address. A
   bucket is one number: the time at which it is full again (the virtual schedule of GCRA, ITU-T
   I.371), so refilling costs nothing. When the table is full the bucket that is nearest to full is
   forgotten: nobody loses less. */

/* What is limited. Each class has buckets of its own. */
enum rate_class { RATE_CONNECTIONS, RATE_REQUESTS, RATE_DATAGRAMS, RATE_STUN, RATE_CLASSES };

/* Bytes only, hence without padding: hashed and compared as a whole. */
struct bucket_key {
    u8 class; /* enum rate_class */
    u8 prefix[16];
};

/* `full_at` is in microseconds, as kit.now. An unknown address counts as a full bucket, so a bucket
   that is full again may be forgotten. */
struct bucket {
    struct bucket_key key;
    u32 hash; /* of the key, for index_remove */
    u64 full_at;
};

/* How fast a bucket may be spent from. */
struct pace {
    u64 cost_us;  /* of one event */
    u64 burst_us; /* how far full_at may lie ahead */
};

/* A bucket has the same index in the pool and in the heap. */
struct rates {
    struct pool pool;
    struct index index;
    struct heap fullest; /* by full_at */
    struct pace paces[RATE_CLASSES];
};

/* Up to two seconds' worth may come at once. A cost of 0 would be no limit. */
static struct pace pace_of(u32 per_s) {
    u64 cost_us = u32_max((u32)S_US / per_s, 1);
    return (struct pace){cost_us, 2 * cost_us * per_s};
}

/* The index knows hashes only: the key decides. */
static struct bucket *bucket_find(const struct rates *r, const struct bucket_key *key, u32 hash) {
    struct index_probe probe;
    for (u32 at = index_first(&r->index, hash, &probe); at; at = index_next(&r->index, &probe)) {
        struct bucket *b = pool_at(&r->pool, at - 1);
        if (memcmp(&b->key, key, sizeof *key) == 0) {
            return b;
        }
    }
    return NULL;
}

static void bucket_forget(struct rates *r, u32 index) {
    struct bucket *b = pool_at(&r->pool, index);
    heap_remove(&r->fullest, index);
    index_remove(&r->index, b->hash, index);
    pool_give(&r->pool, pool_handle(&r->pool, index));
}

/* The search for a key has failed. Whether heap_first is `settled` does not matter: a bucket that
   is nearly the fullest will do, and a flood of new addresses must not pay for sorting. The new one
   is put into the heap by its first event, which it can always pay. */
static struct bucket *bucket_make(struct kit *k, struct rates *r, const struct bucket_key *key,
                                  u32 hash) {
    u32 id;
    u64 full_at;
    bool settled;
    if (r->pool.used == r->pool.capacity && heap_first(&r->fullest, &id, &full_at, &settled)) {
        if (full_at > k->now) {
            metrics_count(&k->metrics, COUNTER_FULL_BUCKETS); /* it still meant something */
        }
        bucket_forget(r, id);
    }
    u64 handle = pool_take(&r->pool);
    MPS_ASSERT(handle);
    struct bucket *b = pool_get(&r->pool, handle);
    b->key = *key;
    b->hash = hash;
    index_put(&r->index, hash, handle_index(handle));
    return b;
}

/* Spends one event of the bucket that is full again at `full_at`; 0 when there was one to spend,
   else the microseconds until there is, and nothing is spent. */
static u64 bucket_spend(u64 *full_at, u64 now, const struct pace *pace) {
    u64 next = (*full_at > now ? *full_at : now) + pace->cost_us;
    if (next - now > pace->burst_us) {
        return next - now - pace->burst_us;
    }
    *full_at = next;
    return 0;
}

/* Spends one event; 0 when there was one to spend, else the microseconds until there is. Who is
   refused pays nothing: the wait that was promised stays true however often one asks. */
static u64 rate_spend(struct kit *k, struct rates *r, enum rate_class class,
                      const mps_address *from) {
    struct bucket_key key = {.class = (u8) class};
    address_prefix(from, key.prefix);
    u32 hash = index_hash(&r->index, &key, sizeof key);
    struct bucket *b = bucket_find(r, &key, hash);
    if (!b) {
        b = bucket_make(k, r, &key, hash);
    }
    u64 wait_us = bucket_spend(&b->full_at, k->now, &r->paces[class]);
    if (!wait_us) {
        heap_set(&r->fullest, pool_index(&r->pool, b), b->full_at);
    }
    return wait_us;
}

/* -- ranges: what trusted_proxies and metrics_allow were frozen into -- */

/* Frozen at the start; a changed list waits for a restart. */
struct ranges {
    u32 count;
    ptrdiff_t at; /* distance to struct address_range, section 20 */
};

/* Is the list another than the one that was loaded? As sets: order and repetition mean nothing to a
   list of ranges. */
static bool ranges_differ(const struct ranges *r, const char *const *texts) {
    const struct address_range *loaded = near_get(&r->at);
    struct address_range range;
    bool seen[MPS_RANGES_MAX] = {false};
    u32 distinct = 0;
    for (u32 i = 0; i < MPS_RANGES_MAX && texts[i]; i++) {
        u32 at = 0;
        bool good = address_range_parse(span_z(texts[i]), &range);
        while (good && at < r->count && memcmp(&loaded[at], &range, sizeof range) != 0) {
            at++;
        }
        if (!good || at == r->count) {
            return true;
        }
        distinct += !seen[at];
        seen[at] = true;
    }
    return distinct != r->count;
}

/* At most MPS_RANGES_MAX to look at, so a plain walk. */
static bool ranges_have(const struct ranges *r, const mps_address *a) {
    const struct address_range *range = near_get(&r->at);
    for (u32 i = 0; i < r->count; i++) {
        if (address_in_range(&range[i], a)) {
            return true;
        }
    }
    return false;
}

/* `list` is an stb_ds array; ranges have no padding and compare as bytes. */
static bool ranges_repeat(const struct address_range *list, const struct address_range *range) {
    for (ptrdiff_t i = 0; i < stbds_arrlen(list); i++) {
        if (memcmp(&list[i], range, sizeof *range) == 0) {
            return true;
        }
    }
    return false;
}

/* Builds a list without repetitions in the scratch arena and freezes it. `table` has room for
   MPS_RANGES_MAX. The texts were checked with the configuration, yet are checked again, as they are
   the caller's memory. */
static mps_error ranges_load(struct ranges *r, const char *const *texts, void *table) {
    struct address_range *list = NULL, range;
    for (u32 i = 0; i < MPS_RANGES_MAX && texts[i]; i++) {
        if (!load_room(i, sizeof range)) {
            return MPS_E_LOAD_FULL;
        }
        if (!address_range_parse(span_z(texts[i]), &range)) {
            return MPS_E_CONFIG;
        }
        if (!ranges_repeat(list, &range)) {
            stbds_arrput(list, range);
        }
    }
    r->count = (u32)stbds_arrlen(list);
    near_set(&r->at, table);
    if (r->count) {
        memcpy(table, list, r->count * sizeof *list);
    }
    return MPS_OK;
}

/* Walks one X-Forwarded-For value from the right while `client` is a trusted proxy: the result is
   the right-most entry that is not one. From anyone else the field says nothing. True when the
   value was used up and the one before it counts. An entry that is no address makes the client
   nobody (::), who has no privilege of the proxy's; a zone id says nothing here and is left out. */
static bool client_walk(const struct ranges *trusted, mps_address *client, struct span list) {
    mps_address entry;
    size_t end = list.bytes;
    while (end && ranges_have(trusted, client)) {
        size_t start = end, zone = 0;
        while (start && list.at[start - 1] != ',') {
            start--;
        }
        struct span text = span_trim(span_of(list.at + start, end - start));
        while (zone < text.bytes && text.at[zone] != '%') {
            zone++;
        }
        if (!address_parse(span_of(text.at, zone), &entry)) {
            *client = (mps_address){{0}, 0, 0};
            return false;
        }
        *client = entry;
        end = start ? start - 1 : 0;
    }
    return !end;
}

#ifndef MPS_NO_ROOMS
/* == 60 presence =================================================================================
   Who is here: users, found by id, and the sockets through which they are here. A user's record
   lives as long as a socket, a seat or a room refers to it. What is meant for every socket is
   framed once into a ring of announcements; each socket has a position in it and picks up what it
   has not heard, some sockets at a time, so that one announcement to ten thousand costs no call
   much. What the announcements say is written in section 82. */

/* What the server says on a socket, by type; metrics count each. GAME stands for the types that the
   embedding game sends. */
#define EVENTS(X)                               \
    X(HANDSHAKE_ACCEPTED, "handshake_accepted") \
    X(PONG, "pong")                             \
    X(USER_ONLINE, "user_online")               \
    X(USER_OFFLINE, "user_offline")             \
    X(ROOMS_CHANGED, "rooms_changed")           \
    X(ROOM_CREATED, "room_created")             \
    X(ROOM_JOINED, "room_joined")               \
    X(PEER_JOINED, "peer_joined")               \
    X(PEER_LEFT, "peer_left")                   \
    X(HOST_CHANGED, "host_changed")             \
    X(KICKED, "kicked")                         \
    X(CHAT, "chat")                             \
    X(PLAYER_STATE, "player_state")             \
    X(PLAYER_SNAPSHOT, "player_snapshot")       \
    X(RPC_CALL, "rpc_call")                     \
    X(NOTIFICATION, "notification")             \
    X(GAME, "game")                             \
    X(ERROR, "error")

enum event {
#define EVENT_ENUM(name, type) EVENT_##name,
    EVENTS(EVENT_ENUM)
#undef EVENT_ENUM
        EVENT_COUNT
};

/* What each begins with, in one piece. */
#define EVENT_BEFORE "{\"type\":\""
#define EVENT_BEHIND "\",\"data\":{"

static const struct span event_heads[] = {
#define EVENT_HEAD(name, type) \
    {EVENT_BEFORE type EVENT_BEHIND, sizeof(EVENT_BEFORE type EVENT_BEHIND) - 1},
    EVENTS(EVENT_HEAD)
#undef EVENT_HEAD
};

static struct span event_type(enum event event) {
    struct span head = event_heads[event];
    size_t around = sizeof(EVENT_BEFORE EVENT_BEHIND) - 1;
    return span_of(head.at + sizeof(EVENT_BEFORE) - 1, head.bytes - around);
}
_Static_assert(EVENT_COUNT <= METRIC_MESSAGES_MAX, "raise METRIC_MESSAGES_MAX");

/* For whom an announcement is. */
enum audience { HEAR_ALL, HEAR_USERS, HEAR_NOBODY };

/* Stands in front of each frame in the ring, which keeps both aligned to it. An entry never wraps:
   HEAR_NOBODY fills the end of the ring when the next one does not fit there. */
struct news_entry {
    u32 bytes; /* of the frame behind it */
    u16 audience, event;
};

/* Positions only grow; the place of one is its remainder by `capacity`. What lies before `tail` is
   overwritten: a socket that has not heard it has lost it. */
struct news {
    u32 capacity; /* a multiple of sizeof(struct news_entry) */
    u64 head, tail;
    ptrdiff_t ring; /* distance from here, section 20 */
};

struct user {
    char id[MPS_ID_BYTES_MAX + 1], name[MPS_NAME_BYTES_MAX + 1];
    bool id_is_number;
    u64 mark;           /* keyed hash of the id: what bans go by */
    struct queue seats; /* held in rooms */
    u64 room; /* the one that it made, while it has a seat in it or may still confirm it */
    struct queue sockets; /* of connections; with none the user is offline */
    struct paces paces;   /* shared by its sockets */
};

struct presence {
    struct pool users;
    struct index by_id;
    struct queue listeners; /* of connections: who was visited longest ago stands first */
    u32 sweep;              /* listeners that have not been visited since the last announcement */
    u32 sockets;
    bool is_public;   /* anonymous sockets hear of users, too */
    bool renamed;     /* somebody who has a room or a seat: lists of rooms may name them */
    u32 seat_link_at; /* where section 62 keeps the links of a user's seats */
    struct pace paces[PACE_CLASSES];
    struct news news;
};

/* -- frames -- */

/* The usual case: there is output already, and its last chunk has room for the frame. */
static bool conn_frame_fits(struct conns *c, struct conn *conn, struct span frame) {
    u32 id = conn->out_tail - 1;
    struct chunk *tail = chunk_info(c, id);
    if (frame.bytes > chunk_capacity(c, id) - tail->used ||
        frame.bytes > conn_output_free(c, conn)) {
        return false;
    }
    memcpy(chunk_data(c, id) + tail->used, frame.at, frame.bytes);
    tail->frame = tail->frame ? tail->frame : tail->used + 1;
    tail->used += (u32)frame.bytes;
    conn->out_bytes += (u32)frame.bytes;
    conn_mark(c, conn);
    return true;
}

/* Queues a frame for a socket. What cannot be queued would be lost, and a socket that loses an
   event is closed instead: false. */
static bool conn_frame(struct kit *k, struct conns *c, struct conn *conn, struct span frame) {
    if (conn->out_bytes && conn_frame_fits(c, conn, frame)) {
        return true;
    }
    if (conns_output_reserve(k, c, conn, frame.bytes)) {
        conn_note_slow(k, c, conn);
        conn_close_socket(k, c, conn, 1013, SPAN("slow_reader"));
        return false;
    }
    if (!conn->out_bytes) {
        conn->progress_at = k->now;
    }
    output_add(c, conn, frame, true);
    return true;
}

/* -- announcements -- */

static struct news_entry *news_entry(const struct news *n, u64 at) {
    return (struct news_entry *)(void *)((char *)near_get(&n->ring) + at % n->capacity);
}

/* From one entry to the next. */
static u32 news_step(u32 bytes) {
    u32 align = sizeof(struct news_entry);
    return align + (bytes + align - 1) / align * align;
}

/* Takes `bytes` at the head, over the oldest entries when it must. */
static struct news_entry *news_take(struct news *n, u32 bytes) {
    u32 step = news_step(bytes);
    while (n->head + step - n->tail > n->capacity) {
        n->tail += news_step(news_entry(n, n->tail)->bytes);
    }
    struct news_entry *entry = news_entry(n, n->head);
    entry->bytes = bytes;
    n->head += step;
    return entry;
}

/* An announcement of ANNOUNCE_POINTS_MAX code points, with its envelope and its entry's head. */
#define NEWS_BYTES_MAX 3200
#define ANNOUNCE_BYTES_MIN 8192
_Static_assert(2 * NEWS_BYTES_MAX <= ANNOUNCE_BYTES_MIN,
               "the ring has room for two of the longest");

/* To be picked up by every socket that it is for; those of the moment are the ones that wait. The
   ring has room for two of the longest: announce_bytes has no smaller value. */
static void presence_announce(struct presence *p, enum audience audience, enum event event,
                              struct span frame) {
    struct news *n = &p->news;
    u32 rest = n->capacity - (u32)(n->head % n->capacity);
    MPS_ASSERT(2 * news_step((u32)frame.bytes) <= n->capacity);
    if (news_step((u32)frame.bytes) > rest) {
        news_take(n, rest - (u32)sizeof(struct news_entry))->audience = HEAR_NOBODY;
    }
    struct news_entry *entry = news_take(n, (u32)frame.bytes);
    entry->audience = (u16)audience;
    entry->event = (u16)event;
    memcpy(entry + 1, frame.at, frame.bytes);
    p->sweep = p->listeners.count;
}

/* What the socket has not heard, as far as its output has room; what is left waits until that has
   drained. Whoever comes too late has lost something, and is closed instead. */
static void socket_hear(struct kit *k, struct conns *c, const struct presence *p,
                        struct conn *conn) {
    struct socket *socket = &conn->socket;
    const struct news *n = &p->news;
    enum audience most = socket->user || p->is_public ? HEAR_USERS : HEAR_ALL;
    if (socket->heard < n->tail) {
        conn_note_slow(k, c, conn);
        conn_close_socket(k, c, conn, 1013, SPAN("slow_reader"));
        return;
    }
    while (socket->heard < n->head && conn->out_bytes <= c->output_high) {
        const struct news_entry *entry = news_entry(n, socket->heard);
        struct span frame = span_of((const char *)(entry + 1), entry->bytes);
        u64 next = socket->heard + news_step(entry->bytes);
        k->work++;
        if (entry->audience <= most && next != socket->own) {
            if (!conn_frame(k, c, conn, frame)) {
                return;
            }
            k->metrics.messages_out[entry->event]++;
        }
        socket->heard = next;
    }
    socket->late = socket->heard < n->head;
}

/* From now on, and nothing of what was said before. */
static void socket_listen(const struct conns *c, struct presence *p, struct conn *conn) {
    if (!conn->socket.listens) {
        conn->socket.listens = true;
        conn->socket.heard = p->news.head;
        queue_push(&p->listeners, &c->pool, conn_index(c, conn));
    }
}

/* Visits those who wait, until the work of this call reaches `work`. */
static void presence_sweep(struct kit *k, struct conns *c, struct presence *p, u32 work) {
    for (; p->sweep && k->work < work; k->work++, p->sweep--) {
        u32 index = queue_pop(&p->listeners, &c->pool) - 1;
        queue_push(&p->listeners, &c->pool, index);
        if (conn_is_socket(conn_at(c, index))) {
            socket_hear(k, c, p, conn_at(c, index));
        }
    }
}

/* -- users -- */

static struct user *user_at(const struct presence *p, u32 index) {
    return pool_at(&p->users, index);
}

/* A number and a string of the same digits are two users. */
static u64 user_mark(const struct presence *p, const mps_identity *who) {
    char key[1 + MPS_ID_BYTES_MAX];
    size_t bytes = strlen(who->id);
    key[0] = who->id_is_number ? '#' : '"';
    memcpy(key + 1, who->id, bytes);
    return siphash(&p->by_id.key, key, 1 + bytes);
}

/* Index + 1, or 0. */
static u32 user_find(const struct presence *p, const mps_identity *who, u64 mark) {
    struct index_probe probe;
    u32 at = index_first(&p->by_id, (u32)mark, &probe);
    while (at && (user_at(p, at - 1)->id_is_number != who->id_is_number ||
                  strcmp(user_at(p, at - 1)->id, who->id) != 0)) {
        at = index_next(&p->by_id, &probe);
    }
    return at;
}

/* The record of a user, made when there is none: index + 1; 0: the table is full. The name is the
   one that was said last. Whoever gets one refers to it from something or gives it to
   user_release. */
static u32 user_take(struct kit *k, struct presence *p, const mps_identity *who) {
    u64 mark = user_mark(p, who);
    u32 at = user_find(p, who, mark);
    if (!at) {
        u64 handle = pool_take(&p->users);
        if (!handle) {
            metrics_count(&k->metrics, COUNTER_FULL_USERS);
            return 0;
        }
        at = handle_index(handle) + 1;
        struct user *user = user_at(p, at - 1);
        copy_z(user->id, sizeof user->id, span_z(who->id));
        user->id_is_number = who->id_is_number;
        user->mark = mark;
        user->sockets.link_at = offsetof(struct conn, socket.of_user);
        user->seats.link_at = p->seat_link_at;
        index_put(&p->by_id, (u32)mark, at - 1);
    }
    struct user *user = user_at(p, at - 1);
    p->renamed |= (user->room || user->seats.count) && strcmp(user->name, who->name) != 0;
    copy_z(user->name, sizeof user->name, span_z(who->name));
    return at;
}

/* Forgets a user to whom nothing refers any more. */
static void user_release(struct presence *p, u32 index) {
    const struct user *user = user_at(p, index);
    if (!user->sockets.count && !user->seats.count && !user->room) {
        index_remove(&p->by_id, (u32)user->mark, index);
        pool_give(&p->users, pool_handle(&p->users, index));
    }
}

/* True when the user comes online by this. */
static bool socket_sign_in(const struct conns *c, struct presence *p, struct conn *conn, u32 user) {
    struct queue *sockets = &user_at(p, user - 1)->sockets;
    MPS_ASSERT(!conn->socket.user);
    conn->socket.user = user;
    queue_push(sockets, &c->pool, conn_index(c, conn));
    return sockets->count == 1;
}

/* The socket is over: out of every list. True when its user goes offline by this; the record is
   still there then, and is released by the caller when that was told. */
static bool socket_sign_out(const struct conns *c, struct presence *p, struct conn *conn) {
    u32 index = conn_index(c, conn), user = conn->socket.user;
    queue_remove(&p->listeners, &c->pool, index);
    p->sweep = u32_min(p->sweep, p->listeners.count);
    p->sockets--;
    conn->socket.user = 0;
    if (!user) {
        return false;
    }
    queue_remove(&user_at(p, user - 1)->sockets, &c->pool, index);
    return !user_at(p, user - 1)->sockets.count;
}

/* What must hold between two calls: every user is found by its id and has a reason to be there. */
static bool presence_check(const struct presence *p) {
    u32 users = 0;
    for (u32 i = 0; i < p->users.capacity; i++) {
        const struct user *user = user_at(p, i);
        struct index_probe probe;
        if (!pool_alive(&p->users, i)) {
            continue;
        }
        u32 at = index_first(&p->by_id, (u32)user->mark, &probe);
        while (at && at != i + 1) {
            at = index_next(&p->by_id, &probe);
        }
        users++;
        if (!at || (!user->sockets.count && !user->seats.count && !user->room)) {
            return false;
        }
    }
    return users == p->by_id.used && pool_check(&p->users) && p->sweep <= p->listeners.count &&
           p->listeners.count <= p->sockets && p->news.head - p->news.tail <= p->news.capacity;
}
#endif

#ifndef MPS_NO_ROOMS
/* == 62 rooms ====================================================================================
   Relay rooms: who sits where, who is host, who is barred, and the fan-out of a frame to all
   members. A seat outlives its socket for a while, so that a player whose connection dropped comes
   back as the same peer. What members are told, and in which words, stands in section 82.

   Frames of events go to every member or close it. States (where somebody is now) are different:
   only the newest counts. A member whose output does not drain is "behind": it gets no states, and
   what it misses is kept in the sender's slots, one for each kind, newer over older. When it has
   drained it is given the slots that it missed. So states cost a slow reader a bounded amount of
   memory, and nobody else anything. */

#define ROOM_ID_BYTES UUID_TEXT
#define ROOM_MODE_MAX 64 /* bytes of gamemode, map and version */
#define RESUME_TOKEN_BYTES 16
#define RESUME_TOKEN_TEXT (2 * RESUME_TOKEN_BYTES)

/* Lives from room_open until section 87 has told that it closed; while `closing` it is in no index
   and has no members. */
struct room {
    char id[ROOM_ID_BYTES + 1];
    char gamemode[ROOM_MODE_MAX + 1], map[ROOM_MODE_MAX + 1], version[ROOM_MODE_MAX + 1];
    char created[DATE_TEXT_BYTES];
    i64 created_ms;
    bool is_public, closing;
    bool confirmed; /* somebody has entered; until then it waits for its maker alone */
    u32 max_players, next_peer, hash;
    u32 maker;          /* user + 1, while the room counts as that user's; else 0 */
    u32 host;           /* seat + 1; 0 until it is confirmed */
    u32 behind;         /* members to whom states are owed */
    u64 serial;         /* of the newest state that was kept in a slot */
    struct queue seats; /* in the order of joining, which is also that of peer ids */
    struct queue bans;
};

/* player_state and player_snapshot. */
enum slot_kind { SLOT_STATE, SLOT_SNAPSHOT, SLOT_KINDS };
static const enum event slot_events[SLOT_KINDS] = {EVENT_PLAYER_STATE, EVENT_PLAYER_SNAPSHOT};

struct seat {
    u32 room, user; /* indexes */
    u32 conn;       /* index + 1; 0: its socket dropped, and the seat is kept for a while */
    u32 peer;       /* within the room; never given to another there */
    struct link place;
    u32 owed_next; /* while behind: the seat + 1 whose slots are looked at next; 0: none is left */
    u64 owed_from; /* while behind: slots with this serial or a later one were missed */
    u64 owed_pass; /* the room's serial when this walk over the slots began */
    bool owed_walks; /* such a walk is under way */
    bool barred;     /* a ban of its address ends it as soon as its turn comes */
    u8 token[RESUME_TOKEN_BYTES];
    char name[MPS_NAME_BYTES_MAX + 1];
    u64 slot_serial[SLOT_KINDS]; /* 0: empty */
    u32 slot_bytes[SLOT_KINDS];
    u32 hash;    /* of room and peer, for index_remove */
    u8 from[16]; /* the prefix of the address that its socket has, or had: bans go by it */
    struct link of_user;
};

/* One user or one address (its prefix, as in rate limits) barred from one room. */
struct ban {
    u64 user; /* mark; 0: the address counts */
    u8 prefix[16];
    struct link place;
};

/* What lists and searches look at, beside each other, so that looking at all rooms touches little
   memory. Names are compared by keyed hash, never 0. */
struct room_card {
    u64 gamemode, map, version; /* gamemode 0: not public, or no room; version 0: none named */
    u32 members, left; /* seats taken, seats free; no seat is free before it is confirmed */
};

struct rooms {
    struct pool pool, seats, bans;
    struct index by_id;
    struct index by_peer; /* seats, by room and peer id */
    u32 players_max, room_bans_max, slot_bytes;
    u64 seat_us, unconfirmed_us;
    bool list_changed;      /* since rooms_changed was announced */
    u64 quiet_until;        /* when it may be announced again */
    ptrdiff_t cards, slots; /* distances from here, section 20 */
};

/* What the caller wants of a new room. */
struct room_wish {
    struct span gamemode, map, version;
    u32 max_players;
    bool is_public;
};

static struct room *room_at(const struct rooms *r, u32 index) {
    return pool_at(&r->pool, index);
}

static struct seat *seat_at(const struct rooms *r, u32 index) {
    return pool_at(&r->seats, index);
}

static u32 room_index(const struct rooms *r, const struct room *room) {
    return pool_index(&r->pool, room);
}

static u32 seat_index(const struct rooms *r, const struct seat *seat) {
    return pool_index(&r->seats, seat);
}

static struct room_card *room_card(const struct rooms *r, u32 index) {
    return (struct room_card *)near_get(&r->cards) + index;
}

/* Slots stand apart from the seats: a fan-out walks seats, and hardly ever needs a slot. */
static char *seat_slot(const struct rooms *r, u32 seat, enum slot_kind kind) {
    return (char *)near_get(&r->slots) + ((size_t)seat * SLOT_KINDS + kind) * r->slot_bytes;
}

/* A room that is closing is gone for everybody but section 87. */
static struct room *room_get(const struct rooms *r, u64 handle) {
    struct room *room = pool_get(&r->pool, handle);
    return room && !room->closing ? room : NULL;
}

/* By the id as text, which is all that anybody outside knows of a room; NULL when there is none. */
static struct room *room_find(const struct rooms *r, struct span id) {
    struct index_probe probe;
    u32 hash = index_hash(&r->by_id, id.at, id.bytes);
    for (u32 at = index_first(&r->by_id, hash, &probe); at; at = index_next(&r->by_id, &probe)) {
        if (span_equal(id, span_z(room_at(r, at - 1)->id))) {
            return room_at(r, at - 1);
        }
    }
    return NULL;
}

static u64 room_name_hash(const struct rooms *r, struct span name) {
    return index_name(&r->by_id, name);
}

/* Puts a public room on the list, or takes it off. */
static void room_list(struct rooms *r, const struct room *room) {
    struct room_card card = {0};
    struct span version = span_z(room->version);
    if (room->is_public && !room->closing) {
        card.gamemode = room_name_hash(r, span_z(room->gamemode));
        card.map = room_name_hash(r, span_z(room->map));
        card.version = version.bytes ? room_name_hash(r, version) : 0;
    }
    *room_card(r, room_index(r, room)) = card;
    r->list_changed |= room->is_public;
}

/* After every change of who is in a room. Rooms that are not public change no list. */
static void room_changed(struct rooms *r, const struct room *room) {
    struct room_card *card = room_card(r, room_index(r, room));
    if (card->gamemode) {
        card->members = room->seats.count;
        card->left = room->confirmed ? room->max_players - room->seats.count : 0;
        r->list_changed = true;
    }
}

static void room_set_created(struct room *room, i64 unix_ms) {
    struct text t = text_on(room->created, sizeof room->created);
    room->created_ms = unix_ms;
    date_put_iso(&t, unix_ms);
}

/* Asking counts: a full table is a thing that operators look for. */
static bool rooms_full(struct kit *k, const struct rooms *r) {
    if (r->pool.used < r->pool.capacity) {
        return false;
    }
    metrics_count(&k->metrics, COUNTER_FULL_ROOMS);
    return true;
}

/* rooms_full has said no in the same call. The texts are copied; `maker` is a user's index + 1, and
   the room counts as that user's, if it has none yet. Nobody is in it, and it waits for
   unconfirmed_us for somebody to come. */
static struct room *room_open(struct kit *k, struct rooms *r, struct presence *p,
                              const struct room_wish *wish, u32 maker) {
    u64 handle = pool_take(&r->pool);
    struct room *room = pool_get(&r->pool, handle);
    MPS_ASSERT(room);
    random_uuid(&k->random, room->id);
    copy_z(room->gamemode, sizeof room->gamemode, wish->gamemode);
    copy_z(room->map, sizeof room->map, wish->map);
    copy_z(room->version, sizeof room->version, wish->version);
    room->is_public = wish->is_public;
    room->max_players = wish->max_players;
    room->next_peer = 1;
    if (!user_at(p, maker - 1)->room) {
        room->maker = maker;
        user_at(p, maker - 1)->room = handle;
    }
    room->seats.link_at = offsetof(struct seat, place);
    room->bans.link_at = offsetof(struct ban, place);
    room_set_created(room, kit_unix_ms(k));
    room->hash = index_hash(&r->by_id, room->id, ROOM_ID_BYTES);
    index_put(&r->by_id, room->hash, handle_index(handle));
    timer_set(&k->timers, TIMER_ROOM, handle_index(handle), time_after(k->now, r->unconfirmed_us));
    metrics_count(&k->metrics, COUNTER_ROOMS_OPENED);
    outcomes_add(&k->outcomes, OUTCOME_ROOM_OPENED, handle, 0);
    room_list(r, room);
    return room;
}

/* The room is its maker's no longer. */
static void room_disown(struct presence *p, struct room *room) {
    u32 maker = room->maker;
    room->maker = 0;
    if (maker) {
        user_at(p, maker - 1)->room = 0;
        user_release(p, maker - 1);
    }
}

/* -- members -- */

/* The member's connection while it can be sent to, else NULL. */
static struct conn *seat_conn(const struct conns *c, const struct seat *seat) {
    struct conn *conn = seat->conn ? conn_at(c, seat->conn - 1) : NULL;
    return conn && conn_is_socket(conn) ? conn : NULL;
}

/* No text, hence no siphash: ids are given out here, and nobody chooses them. */
static u32 peer_hash(u32 room, u32 peer) {
    u64 mixed = ((u64)room << 32 | peer) * 0x9E3779B97F4A7C15u;
    return (u32)(mixed >> 32);
}

/* The member with this peer id. */
static struct seat *room_peer(const struct rooms *r, const struct room *room, u32 peer) {
    struct index_probe probe;
    u32 index = room_index(r, room);
    u32 at = index_first(&r->by_peer, peer_hash(index, peer), &probe);
    while (at && (seat_at(r, at - 1)->room != index || seat_at(r, at - 1)->peer != peer)) {
        at = index_next(&r->by_peer, &probe);
    }
    return at ? seat_at(r, at - 1) : NULL;
}

/* The seat of a user in this room, if it has one. A user has a seat for each socket at most. */
static struct seat *room_seat_of(const struct rooms *r, const struct room *room,
                                 const struct user *user) {
    u32 at = user->seats.head;
    while (at && room_at(r, seat_at(r, at - 1)->room) != room) {
        at = seat_at(r, at - 1)->of_user.next;
    }
    return at ? seat_at(r, at - 1) : NULL;
}

/* It is owed nothing any more, because it has all or is gone. */
static void seat_settled(const struct rooms *r, const struct seat *seat, struct conn *conn) {
    if (conn->socket.behind) {
        conn->socket.behind = false;
        room_at(r, seat->room)->behind--;
    }
}

/* Gives the seat to a socket, with a new token: the one before it has been used up. */
static void seat_attach(struct kit *k, const struct rooms *r, const struct conns *c,
                        struct seat *seat, struct conn *conn) {
    MPS_ASSERT(!seat->conn && !conn->socket.seat);
    seat->conn = conn_index(c, conn) + 1;
    conn->socket.seat = seat_index(r, seat) + 1;
    seat->barred = false;
    address_prefix(&conn->peer, seat->from);
    random_bytes(&k->random, seat->token, sizeof seat->token);
    timer_clear(&k->timers, TIMER_SEAT, seat_index(r, seat));
}

/* The socket leaves the seat, which stays. */
static void seat_detach(const struct rooms *r, struct seat *seat, struct conn *conn) {
    seat_settled(r, seat, conn);
    conn->socket.seat = 0;
    seat->conn = 0;
    seat->owed_walks = false;
}

/* Its socket dropped: the seat is kept for seat_us. */
static void seat_drop(struct kit *k, const struct rooms *r, struct seat *seat, struct conn *conn) {
    seat_detach(r, seat, conn);
    timer_set(&k->timers, TIMER_SEAT, seat_index(r, seat), time_after(k->now, r->seat_us));
}

/* Could one more sit down? */
static mps_error room_seat_check(struct kit *k, const struct rooms *r, const struct room *room) {
    if (room->seats.count >= room->max_players) {
        return MPS_E_ROOM_FULL;
    }
    if (r->seats.used == r->seats.capacity) {
        metrics_count(&k->metrics, COUNTER_FULL_SEATS);
        return MPS_E_SEATS_FULL;
    }
    return MPS_OK;
}

/* room_seat_check has agreed in the same call. The first to sit down confirms the room and is its
   host. */
static struct seat *room_seat(struct kit *k, struct rooms *r, struct presence *p,
                              const struct conns *c, struct room *room, struct conn *conn,
                              struct span name) {
    u64 handle = pool_take(&r->seats);
    struct seat *seat = pool_get(&r->seats, handle);
    MPS_ASSERT(seat && conn->socket.user);
    seat->room = room_index(r, room);
    seat->user = conn->socket.user - 1;
    seat->peer = room->next_peer++;
    seat->hash = peer_hash(seat->room, seat->peer);
    copy_z(seat->name, sizeof seat->name, name);
    index_put(&r->by_peer, seat->hash, handle_index(handle));
    queue_push(&room->seats, &r->seats, handle_index(handle));
    queue_push(&user_at(p, seat->user)->seats, &r->seats, handle_index(handle));
    if (!room->confirmed) {
        room->confirmed = true;
        room->host = handle_index(handle) + 1;
        timer_clear(&k->timers, TIMER_ROOM, seat->room);
    }
    seat_attach(k, r, c, seat, conn);
    metrics_count(&k->metrics, COUNTER_PEERS_JOINED);
    u64 subject = pool_handle(&r->pool, seat->room);
    outcomes_add(&k->outcomes, OUTCOME_PEER_JOINED, subject, seat->peer);
    room_changed(r, room);
    return seat;
}

/* The longest-present member: of those whose sockets are open, if there is one. Index + 1. */
static u32 room_successor(const struct rooms *r, const struct conns *c, const struct room *room) {
    u32 at = room->seats.head;
    while (at && !seat_conn(c, seat_at(r, at - 1))) {
        at = seat_at(r, at - 1)->place.next;
    }
    return at ? at : room->seats.head;
}

/* Members that are just being given what they missed go on behind the seat that ends. */
static void room_skip_owed(const struct rooms *r, const struct room *room, u32 ending) {
    for (u32 at = room->behind ? room->seats.head : 0; at; at = seat_at(r, at - 1)->place.next) {
        struct seat *seat = seat_at(r, at - 1);
        if (seat->owed_walks && seat->owed_next == ending + 1) {
            seat->owed_next = seat_at(r, ending)->place.next;
        }
    }
}

/* Ends a seat for good. True when the host is another one by this; with the last seat there is no
   host. Who was there, and that the room is empty now, is the caller's to tell. */
static bool seat_end(struct kit *k, struct rooms *r, struct presence *p, const struct conns *c,
                     struct seat *seat) {
    u32 index = seat_index(r, seat), user = seat->user;
    struct room *room = room_at(r, seat->room);
    bool was_host = room->host == index + 1;
    if (!room->closing) {
        room_skip_owed(r, room, index);
    }
    if (seat->conn) {
        seat_detach(r, seat, conn_at(c, seat->conn - 1));
    }
    timer_clear(&k->timers, TIMER_SEAT, index);
    index_remove(&r->by_peer, seat->hash, index);
    queue_remove(&room->seats, &r->seats, index);
    queue_remove(&user_at(p, user)->seats, &r->seats, index);
    metrics_count(&k->metrics, COUNTER_PEERS_LEFT);
    u64 subject = pool_handle(&r->pool, seat->room);
    if (!room->closing) {
        outcomes_add(&k->outcomes, OUTCOME_PEER_LEFT, subject, seat->peer);
    }
    pool_give(&r->seats, pool_handle(&r->seats, index));
    if (room->maker == user + 1) {
        room_disown(p, room);
    } else {
        user_release(p, user);
    }
    if (was_host && !room->closing) {
        room->host = room_successor(r, c, room);
    }
    room_changed(r, room);
    return was_host && room->host;
}

/* Every seat ends, and the room is out of sight at once; its record goes when section 87 has told
   the game. */
static void room_close(struct kit *k, struct rooms *r, struct presence *p, const struct conns *c,
                       struct room *room) {
    u32 index = room_index(r, room);
    room->closing = true;
    room_list(r, room);
    for (u32 left = room->seats.count; left; left--) {
        seat_end(k, r, p, c, seat_at(r, room->seats.head - 1));
    }
    for (u32 left = room->bans.count; left; left--) {
        u32 ban = queue_pop(&room->bans, &r->bans) - 1;
        pool_give(&r->bans, pool_handle(&r->bans, ban));
    }
    room_disown(p, room);
    index_remove(&r->by_id, room->hash, index);
    timer_clear(&k->timers, TIMER_ROOM, index);
    metrics_count(&k->metrics, COUNTER_ROOMS_CLOSED);
    outcomes_add(&k->outcomes, OUTCOME_ROOM_CLOSED, pool_handle(&r->pool, index), 0);
}

/* -- bans -- */

/* One room may have all bans there are: what is looked at counts as work, or many requests that
   came at once would take long. */
static bool room_bars(struct kit *k, const struct rooms *r, const struct room *room, u64 user,
                      const mps_address *from) {
    u8 prefix[16];
    if (!room->bans.count) {
        return false;
    }
    k->work += room->bans.count / WORK_GLANCES;
    address_prefix(from, prefix);
    for (u32 at = room->bans.head; at;) {
        const struct ban *ban = pool_at(&r->bans, at - 1);
        if (ban->user ? ban->user == user : memcmp(ban->prefix, prefix, sizeof prefix) == 0) {
            return true;
        }
        at = ban->place.next;
    }
    return false;
}

/* `user` 0: the address. Barring twice is no change. False when the table, or the room's part of
   it, is full. */
static bool room_bar(struct kit *k, struct rooms *r, struct room *room, u64 user,
                     const mps_address *from) {
    struct ban wanted = {.user = user};
    if (!user) {
        address_prefix(from, wanted.prefix);
    }
    k->work += room->bans.count / WORK_GLANCES;
    for (u32 at = room->bans.head; at;) {
        const struct ban *ban = pool_at(&r->bans, at - 1);
        if (ban->user == user && memcmp(ban->prefix, wanted.prefix, sizeof ban->prefix) == 0) {
            return true;
        }
        at = ban->place.next;
    }
    u64 handle = room->bans.count < r->room_bans_max ? pool_take(&r->bans) : 0;
    struct ban *ban = pool_get(&r->bans, handle);
    if (!ban) {
        metrics_count(&k->metrics, COUNTER_FULL_BANS);
        return false;
    }
    *ban = wanted;
    queue_push(&room->bans, &r->bans, handle_index(handle));
    return true;
}

/* -- fan-out -- */

/* An event for one member: delivered, or its socket is closed. Who dropped misses it. */
static void seat_send(struct kit *k, struct conns *c, const struct seat *seat, enum event event,
                      struct span frame) {
    struct conn *conn = seat_conn(c, seat);
    k->work++;
    if (conn && conn_frame(k, c, conn, frame)) {
        k->metrics.messages_out[event]++;
    }
}

/* An event for all members but `except`, which may be NULL. */
static void room_send(struct kit *k, struct conns *c, const struct rooms *r,
                      const struct room *room, const struct seat *except, enum event event,
                      struct span frame) {
    for (u32 at = room->seats.head; at; at = seat_at(r, at - 1)->place.next) {
        if (seat_at(r, at - 1) != except) {
            seat_send(k, c, seat_at(r, at - 1), event, frame);
        }
    }
}

/* Is a state of so many bytes to be sent now? Not behind what has not drained, and not for the last
   chunks, which are for events. A connection with nothing to send would never come back here. */
static bool state_fits(const struct conns *c, const struct conn *conn, size_t bytes) {
    return !conn->out_bytes ||
           (conn->out_bytes <= c->output_states && output_lack(c, conn, bytes) <= chunks_free(c));
}

/* Is this member to be passed over with a state? One that was not so before is owed from this state
   on, which will have the next serial. */
static bool seat_falls_behind(const struct conns *c, struct room *room, struct seat *seat,
                              struct conn *conn, size_t bytes) {
    if (!conn->socket.behind && !state_fits(c, conn, bytes)) {
        conn->socket.behind = true;
        room->behind++;
        seat->owed_from = room->serial + 1;
        seat->owed_walks = false;
    }
    return conn->socket.behind;
}

/* A state of `sender` for all others. Those that are behind get the sender's newest one later. One
   too long for a slot is sent as an event; what the slot has is older then, and void. */
static void room_send_state(struct kit *k, struct conns *c, const struct rooms *r,
                            struct seat *sender, enum slot_kind kind, struct span frame) {
    struct room *room = room_at(r, sender->room);
    enum event event = slot_events[kind];
    u32 passed = 0;
    if (frame.bytes > r->slot_bytes) {
        sender->slot_serial[kind] = 0;
        room_send(k, c, r, room, sender, event, frame);
        return;
    }
    for (u32 at = room->seats.head; at; at = seat_at(r, at - 1)->place.next) {
        struct seat *seat = seat_at(r, at - 1);
        struct conn *conn = seat == sender ? NULL : seat_conn(c, seat);
        k->work++;
        if (conn && seat_falls_behind(c, room, seat, conn, frame.bytes)) {
            passed++;
        } else if (conn && conn_frame(k, c, conn, frame)) {
            k->metrics.messages_out[event]++;
        }
    }
    if (passed) {
        k->metrics.counters[COUNTER_STATES_HELD] += passed;
        sender->slot_serial[kind] = ++room->serial;
        sender->slot_bytes[kind] = (u32)frame.bytes;
        memcpy(seat_slot(r, seat_index(r, sender), kind), frame.at, frame.bytes);
    }
}

/* The slots of one member, those that `seat` missed. False when its socket was closed over it. */
static bool seat_catch_up_with(struct kit *k, struct conns *c, const struct rooms *r,
                               const struct seat *seat, u32 other, struct conn *conn) {
    const struct seat *sender = seat_at(r, other);
    for (u32 kind = 0; kind < SLOT_KINDS; kind++) {
        if (sender == seat || sender->slot_serial[kind] < seat->owed_from) {
            continue;
        }
        struct span frame =
            span_of(seat_slot(r, other, (enum slot_kind)kind), sender->slot_bytes[kind]);
        if (!conn_frame(k, c, conn, frame)) {
            return false;
        }
        k->metrics.messages_out[slot_events[kind]]++;
    }
    return true;
}

#define CATCH_UP_MAX 64 /* members whose slots are looked at in one go */

/* Gives a member whose output has drained what it was passed over with: a walk over all members'
   slots, a part at a time. What is stored while it walks is for a next walk, until one meets
   nothing new: then it is behind no longer. True: there is more to do at once; else it is done, or
   goes on when more has drained. */
static bool seat_catch_up(struct kit *k, struct conns *c, const struct rooms *r, struct seat *seat,
                          struct conn *conn) {
    const struct room *room = room_at(r, seat->room);
    if (!seat->owed_walks) {
        seat->owed_walks = true;
        seat->owed_next = room->seats.head;
        seat->owed_pass = room->serial;
    }
    for (u32 i = 0; i < CATCH_UP_MAX && seat->owed_next; i++, k->work++) {
        if (!state_fits(c, conn, SLOT_KINDS * (size_t)r->slot_bytes) ||
            !seat_catch_up_with(k, c, r, seat, seat->owed_next - 1, conn)) {
            return false;
        }
        seat->owed_next = seat_at(r, seat->owed_next - 1)->place.next;
    }
    if (seat->owed_next) {
        return true;
    }
    seat->owed_walks = false;
    if (room->serial == seat->owed_pass) {
        seat_settled(r, seat, conn);
        return false;
    }
    seat->owed_from = seat->owed_pass + 1;
    return true;
}

/* What must hold between two calls: every seat has one room, every socket one seat, every room one
   host among its members. */
static bool room_check(const struct rooms *r, const struct room *room) {
    u32 members = 0;
    bool hosted = !room->seats.count;
    for (u32 at = room->seats.head; at; at = seat_at(r, at - 1)->place.next) {
        const struct seat *seat = seat_at(r, at - 1);
        members++;
        hosted |= room->host == at;
        if (room_at(r, seat->room) != room || room_peer(r, room, seat->peer) != seat) {
            return false;
        }
    }
    return hosted && members == room->seats.count && members <= room->max_players &&
           (room->closing || room_find(r, span_z(room->id)) == room);
}

static bool rooms_check(const struct rooms *r) {
    u32 seats = 0, bans = 0, indexed = 0;
    for (u32 i = 0; i < r->pool.capacity; i++) {
        const struct room *room = room_at(r, i);
        if (!pool_alive(&r->pool, i)) {
            continue;
        }
        seats += room->seats.count;
        bans += room->bans.count;
        indexed += !room->closing;
        if (!room_check(r, room)) {
            return false;
        }
    }
    return seats == r->seats.used && seats == r->by_peer.used && bans == r->bans.used &&
           indexed == r->by_id.used && pool_check(&r->pool) && pool_check(&r->seats) &&
           pool_check(&r->bans);
}
#endif

/* == 64 lobbies ==================================================================================
   Lobbies, found by code, and the players in them. Pure bookkeeping: who may do what is asked
   here, how it is asked and answered over HTTP stands in section 84. A lobby or player that goes
   is taken out of sight at once and its record kept until section 87 has told the game. */

#define LOBBY_CODE_MAX 32  /* bytes, without the zero */
#define LOBBY_CODE_MADE 6  /* letters of a code that is made here */
#define LOBBY_SCENE_MAX 64 /* bytes */
#define LOBBY_MADE_TRIES 16
#define DUMMY_PLAYER_ID 999 /* of the TEST lobby; no player gets it */

/* No look-alikes: without I, L, O, 0 and 1. */
static const char lobby_code_letters[] = "ABCDEFGHJKMNPQRSTUVWXYZ23456789";

/* Lives from lobby_open until section 87 has told that it closed. While `closing` it is in no index
   and has no players, but its code can still be told. */
struct lobby {
    char code[LOBBY_CODE_MAX + 1];
    char scene[LOBBY_SCENE_MAX + 1];
    bool is_public, permanent, closing;
    u32 max_players, next_player_id, hash; /* `hash` is the code's, for index_remove */
    u64 scene_hash;                        /* lobby_scene_hash; for listings */
    i64 created_ms;
    char created[DATE_TEXT_BYTES]; /* the same as text: it is asked for more often than made */
    mps_address creator;           /* who may delete it, by IP */
    struct queue players;          /* in the order of joining, hence of ids */
    bool has_dummy;                /* of section 65, as all below */
#ifndef MPS_NO_UDP
    bool stirred;              /* there is something to tell at the next tick */
    u32 bound;                 /* players with an address */
    u32 sync;                  /* number of the latest state_sync */
    u64 ticked_at, sync_at;    /* the latest tick; when all is told again */
    u32 gone_count, gone_told; /* who ever left; of these told, not counting again */
    u32 gone_again[2];         /* of these before the latest sync, and before the one before it */
    struct link due;           /* in `due` of struct lobbies */
#endif
};

/* How a player wants to be spoken to; as it joined by UDP last. */
enum player_speech { SPEECH_NONE, SPEECH_JSON, SPEECH_BATCH, SPEECH_BINARY };

/* What the next tick has to tell: of a player to the others, or to the player itself. */
enum {
    NEWS_JOINED = 1,
    NEWS_POSE = 2,
    NEWS_WEAPON = 4,
    NEWS_CORRECTION = 8, /* to itself */
    NEWS_SYNC = 16       /* to itself: everything */
};

/* Lives from lobby_join until section 87 has told that it left. Its lobby's record lives longer. */
struct player {
    u64 lobby; /* handle */
    u32 id;    /* within the lobby; not given to another while it is open */
    bool leaving;
    u8 token[UDP_TOKEN_BYTES]; /* proof of being this player; secret */
    char name[MPS_NAME_BYTES_MAX + 1];
    mps_address joined_from;
    struct link seat; /* in the lobby's `players` */
#ifndef MPS_NO_UDP
    /* Of section 65. */
    u8 speech; /* enum player_speech; SPEECH_NONE: no address, and all below means nothing */
    u8 news;   /* NEWS_* */
    u8 weapon_bytes;
    bool proved;                /* the address is truly its own, so it may be sent anything */
    bool welcomed;              /* it was sent a welcome to this address */
    bool acted;                 /* it has spoken as a member since: its welcome came */
    bool seq_known;             /* seq_in says something */
    bool posed;                 /* it has said where it is, at posed_at */
    u16 seq_in, seq_out;        /* of its newest state; of the latest datagram to it */
    u32 credit;                 /* bytes that an unproved address may still be sent */
    u32 address_hash;           /* for index_remove */
    u32 mark;                   /* its place in the tick being sent */
    mps_address address, local; /* where it is; where it reached us */
    u64 joined_at, bound_at, posed_at; /* on the clock of kit.now, as all below */
    u64 paid_at;                       /* up to here its way was long enough for its speed */
    u64 paced;                         /* its datagrams, as in struct bucket */
    struct stance stance;              /* authoritative */
    char weapon[WEAPON_BYTES_MAX];     /* as JSON */
#endif
};

struct lobbies {
    struct pool pool, players;
    struct index by_code;
    u32 players_max;         /* the most max_players may say */
    u64 player_us, empty_us; /* patience with a silent player, with an empty lobby */
#ifndef MPS_NO_UDP
    struct index by_address;
    struct siphash_key cookie_key;
    struct queue due; /* lobbies whose tick has come */
    ptrdiff_t gone;   /* distance to a ring of ids for each lobby, section 20 */
    u32 gone_max;     /* ids in a ring: the latest to leave */
    u32 tick_hz;
    u64 tick_us;
    u32 speed_max;    /* units a second; MPS_UNLIMITED: any */
    struct pace pace; /* of a player's datagrams */
#endif
};

/* Why a player went; the text goes into the log. */
enum leave_cause { LEAVE_ASKED, LEAVE_SILENT, LEAVE_KICKED, LEAVE_LOBBY_CLOSED };
static const char *const leave_causes[] = {"left", "silent", "kicked", "lobby_closed"};

/* What the caller wants of a new lobby. */
struct lobby_wish {
    struct span code, scene; /* no code: one is made */
    u32 max_players;
    bool is_public, permanent;
};

/* A lobby that is closing is gone for everybody but section 87, which uses pool_get. */
static struct lobby *lobby_get(const struct lobbies *l, u64 handle) {
    struct lobby *lobby = pool_get(&l->pool, handle);
    return lobby && !lobby->closing ? lobby : NULL;
}

/* Letters that need no escaping in paths, JSON or logs. */
static bool lobby_code_valid(struct span code) {
    for (size_t i = 0; i < code.bytes; i++) {
        u8 c = ascii_lower((u8)code.at[i]);
        if (!ascii_digit(c) && !(c >= 'a' && c <= 'z') && c != '_' && c != '-') {
            return false;
        }
    }
    return code.bytes >= 1 && code.bytes <= LOBBY_CODE_MAX;
}

/* Codes match without regard to case. `code` has at most LOBBY_CODE_MAX bytes. */
static u32 lobby_hash(const struct lobbies *l, struct span code) {
    char folded[LOBBY_CODE_MAX];
    for (size_t i = 0; i < code.bytes; i++) {
        folded[i] = (char)ascii_lower((u8)code.at[i]);
    }
    return index_hash(&l->by_code, folded, code.bytes);
}

/* For listings by scene: hashes are compared, never 0. 0 is left to mean any scene. */
static u64 lobby_scene_hash(const struct lobbies *l, struct span scene) {
    return index_name(&l->by_code, scene);
}

/* `code` may be anything that stood in a path; what is too long for a code names no lobby. */
static u64 lobby_find(const struct lobbies *l, struct span code) {
    struct index_probe probe;
    if (code.bytes > LOBBY_CODE_MAX) {
        return 0;
    }
    u32 hash = lobby_hash(l, code);
    for (u32 at = index_first(&l->by_code, hash, &probe); at;
         at = index_next(&l->by_code, &probe)) {
        struct lobby *lobby = pool_at(&l->pool, at - 1);
        if (span_equal_fold(code, span_z(lobby->code))) {
            return pool_handle(&l->pool, at - 1);
        }
    }
    return 0;
}

/* Makes a code that no lobby has; false when luck runs out, 31^6 codes against a few thousand. */
static bool lobby_make_code(struct kit *k, const struct lobbies *l, char *code) {
    for (u32 try = 0; try < LOBBY_MADE_TRIES; try++) {
        for (u32 i = 0; i < LOBBY_CODE_MADE; i++) {
            code[i] = lobby_code_letters[random_below(&k->random, sizeof lobby_code_letters - 1)];
        }
        if (!lobby_find(l, span_of(code, LOBBY_CODE_MADE))) {
            return true;
        }
    }
    return false;
}

/* Could this lobby be opened? Decides only. The wish itself was checked for range and form. */
static mps_error lobby_open_check(struct kit *k, const struct lobbies *l,
                                  const struct lobby_wish *wish) {
    if (wish->code.bytes && lobby_find(l, wish->code)) {
        return MPS_E_LOBBY_EXISTS;
    }
    if (l->pool.used == l->pool.capacity) {
        metrics_count(&k->metrics, COUNTER_FULL_LOBBIES);
        return MPS_E_LOBBIES_FULL;
    }
    return MPS_OK;
}

/* Again when the date becomes known: until then lobbies are dated from the start of the server. */
static void lobby_set_created(struct lobby *lobby, i64 unix_ms) {
    struct text t = text_on(lobby->created, sizeof lobby->created);
    lobby->created_ms = unix_ms;
    date_put_iso(&t, unix_ms);
}

/* lobby_open_check has agreed in the same call, and the wish has a code. The strings are copied. An
   empty lobby does not stay: its first player has empty_us to come. */
static u64 lobby_open(struct kit *k, struct lobbies *l, const struct lobby_wish *wish,
                      const mps_address *creator) {
    u64 handle = pool_take(&l->pool);
    struct lobby *lobby = pool_get(&l->pool, handle);
    MPS_ASSERT(lobby);
    copy_z(lobby->code, sizeof lobby->code, wish->code);
    copy_z(lobby->scene, sizeof lobby->scene, wish->scene);
    lobby->is_public = wish->is_public;
    lobby->permanent = wish->permanent;
    lobby->max_players = wish->max_players;
    lobby->next_player_id = 1;
    lobby_set_created(lobby, kit_unix_ms(k));
    lobby->creator = *creator;
    lobby->players.link_at = offsetof(struct player, seat);
    lobby->hash = lobby_hash(l, wish->code);
    lobby->scene_hash = lobby_scene_hash(l, wish->scene);
    index_put(&l->by_code, lobby->hash, handle_index(handle));
    if (!lobby->permanent) {
        timer_set(&k->timers, TIMER_LOBBY, handle_index(handle), time_after(k->now, l->empty_us));
    }
    metrics_count(&k->metrics, COUNTER_LOBBIES_OPENED);
    outcomes_add(&k->outcomes, OUTCOME_LOBBY_OPENED, handle, 0);
    return handle;
}

/* -- what the ticks of section 65 have to know of it -- */

static struct player *player_get(const struct lobbies *l, u64 handle) {
    return pool_get(&l->players, handle);
}

static struct player *player_at(const struct lobbies *l, u32 index) {
    return pool_at(&l->players, index);
}

#ifndef MPS_NO_UDP
#define TICK_STEPS_OF_PERIOD 8

/* A period after the latest, and a little later, so that ticks of many lobbies come together: each
   time that the port wakes up and sends costs more than all that is done then. */
static u64 lobby_tick_at(const struct lobbies *l, const struct lobby *lobby) {
    u64 step = l->tick_us / TICK_STEPS_OF_PERIOD, due = time_after(lobby->ticked_at, l->tick_us);
    return due + (step - due % step) % step;
}

/* Something is to be told: a tick comes, at once or when it is time. Without anybody to tell it to
   there is nothing to do. */
static void lobby_stir(struct kit *k, struct lobbies *l, u64 handle, struct lobby *lobby) {
    if (!lobby->stirred && lobby->bound && !lobby->closing) {
        lobby->stirred = true;
        timer_set(&k->timers, TIMER_LOBBY, handle_index(handle), lobby_tick_at(l, lobby));
    }
}

/* Nobody is there any more: the timer may mean something else. */
static void lobby_end_ticks(struct kit *k, struct lobbies *l, u64 handle, struct lobby *lobby) {
    lobby->stirred = false;
    queue_remove(&l->due, &l->pool, handle_index(handle));
    timer_clear(&k->timers, TIMER_LOBBY, handle_index(handle));
}

/* The same host and port. */
static bool address_equal(const mps_address *a, const mps_address *b) {
    return a->port == b->port && address_same_ip(a, b);
}

/* An address belongs to one player: index + 1, or 0. */
static u32 player_by_address(const struct lobbies *l, const mps_address *from, u32 hash) {
    struct index_probe probe;
    u32 at = index_first(&l->by_address, hash, &probe);
    while (at && !address_equal(&player_at(l, at - 1)->address, from)) {
        at = index_next(&l->by_address, &probe);
    }
    return at;
}

/* Twice as many are kept as a lobby can have players: those of the last few seconds, which may have
   to be told again. */
static u32 *lobby_gone(const struct lobbies *l, u64 handle, u32 at) {
    u32 *rings = near_get(&l->gone);
    return rings + (size_t)handle_index(handle) * l->gone_max + at % l->gone_max;
}

/* It keeps its seat and is told nothing more until it joins by UDP again. */
static void player_unbind(struct lobbies *l, u32 index) {
    struct player *player = player_at(l, index);
    struct lobby *lobby = pool_get(&l->pool, player->lobby);
    if (player->speech != SPEECH_NONE) {
        MPS_ASSERT(lobby && lobby->bound);
        index_remove(&l->by_address, player->address_hash, index);
        player->speech = SPEECH_NONE;
        lobby->bound--;
    }
}

/* A player has joined, and the others are to hear of it. */
static void player_came(struct kit *k, struct lobbies *l, u32 index) {
    struct player *player = player_at(l, index);
    player->news = NEWS_JOINED;
    player->joined_at = k->now;
    lobby_stir(k, l, player->lobby, lobby_get(l, player->lobby));
}

/* One is out of the lobby, which may be closing, hence pool_get. */
static void player_gone(struct kit *k, struct lobbies *l, u32 index) {
    const struct player *player = player_at(l, index);
    struct lobby *lobby = pool_get(&l->pool, player->lobby);
    MPS_ASSERT(lobby);
    player_unbind(l, index);
    *lobby_gone(l, player->lobby, lobby->gone_count++) = player->id;
    lobby_stir(k, l, player->lobby, lobby);
    if (!lobby->players.count) {
        lobby_end_ticks(k, l, player->lobby, lobby);
    }
}

/* The time for a tick: the port has it put together when it can send. */
static void lobby_tick(struct lobbies *l, u32 index) {
    queue_push_once(&l->due, &l->pool, index);
}

/* Every address that is bound is found, and counted in its lobby. */
static bool lobbies_check_bound(const struct lobbies *l) {
    u32 bound = 0, addresses = 0;
    for (u32 i = 0; i < l->pool.capacity; i++) {
        const struct lobby *lobby = pool_at(&l->pool, i);
        bound += pool_alive(&l->pool, i) ? lobby->bound : 0;
    }
    for (u32 i = 0; i < l->players.capacity; i++) {
        const struct player *player = player_at(l, i);
        if (pool_alive(&l->players, i) && player->speech != SPEECH_NONE) {
            addresses++;
            if (player->leaving ||
                player_by_address(l, &player->address, player->address_hash) != i + 1) {
                return false;
            }
        }
    }
    return bound == addresses && addresses == l->by_address.used;
}
#else
static void player_came(struct kit *k, struct lobbies *l, u32 index) {
    (void)k, (void)l, (void)index;
}

static void player_gone(struct kit *k, struct lobbies *l, u32 index) {
    (void)k, (void)l, (void)index;
}

static void lobby_tick(struct lobbies *l, u32 index) {
    (void)l, (void)index;
}

static bool lobbies_check_bound(const struct lobbies *l) {
    (void)l;
    return true;
}
#endif

/* -- players -- */

/* The member with this id: index + 1, or 0. A walk: a lobby has at most lobby_players members. */
static u32 player_find(const struct lobbies *l, const struct lobby *lobby, u32 id) {
    u32 at = lobby->players.head;
    while (at && player_at(l, at - 1)->id != id) {
        at = player_at(l, at - 1)->seat.next;
    }
    return at;
}

/* Has one of the members this token? Compared in constant time each. All are looked at, so the time
   taken does not tell which one was close. */
static bool lobby_has_token(const struct lobbies *l, const struct lobby *lobby, const u8 *token) {
    bool found = false;
    for (u32 at = lobby->players.head; at; at = player_at(l, at - 1)->seat.next) {
        found |= crypto_equal(player_at(l, at - 1)->token, token, UDP_TOKEN_BYTES);
    }
    return found;
}

/* Could one more join? Decides only, so that the game can still be asked before lobby_join. */
static mps_error lobby_join_check(struct kit *k, const struct lobbies *l,
                                  const struct lobby *lobby) {
    if (lobby->players.count >= lobby->max_players) {
        return MPS_E_LOBBY_FULL;
    }
    if (l->players.used == l->players.capacity) {
        metrics_count(&k->metrics, COUNTER_FULL_PLAYERS);
        return MPS_E_PLAYERS_FULL;
    }
    return MPS_OK;
}

/* lobby_join_check has agreed in the same call, and the name was checked. A lobby with players does
   not expire; its timer is that of its ticks. The player is borrowed for the call. */
static struct player *lobby_join(struct kit *k, struct lobbies *l, u64 handle, struct span name,
                                 const mps_address *from) {
    struct lobby *lobby = lobby_get(l, handle);
    u64 player_handle = pool_take(&l->players);
    struct player *player = player_get(l, player_handle);
    MPS_ASSERT(lobby && player);
    lobby->next_player_id += lobby->next_player_id == DUMMY_PLAYER_ID;
    player->lobby = handle;
    player->id = lobby->next_player_id++;
    copy_z(player->name, sizeof player->name, name);
    random_bytes(&k->random, player->token, sizeof player->token);
    player->joined_from = *from;
    if (!lobby->players.count) {
        timer_clear(&k->timers, TIMER_LOBBY, handle_index(handle));
    }
    queue_push(&lobby->players, &l->players, handle_index(player_handle));
    player_came(k, l, handle_index(player_handle));
    timer_set(&k->timers, TIMER_PLAYER, handle_index(player_handle),
              time_after(k->now, l->player_us));
    metrics_count(&k->metrics, COUNTER_PLAYERS_JOINED);
    outcomes_add(&k->outcomes, OUTCOME_PLAYER_JOINED, player_handle, 0);
    return player;
}

/* Out of the lobby; the record goes when the game has been told. Its lobby may be closing, hence
   pool_get. The last one to go starts the empty lobby's time anew. */
static void player_leave(struct kit *k, struct lobbies *l, u32 index, enum leave_cause cause) {
    struct player *player = player_at(l, index);
    struct lobby *lobby = pool_get(&l->pool, player->lobby);
    MPS_ASSERT(lobby && !player->leaving);
    player->leaving = true;
    queue_remove(&lobby->players, &l->players, index);
    timer_clear(&k->timers, TIMER_PLAYER, index);
    player_gone(k, l, index);
    if (!lobby->players.count && !lobby->permanent && !lobby->closing) {
        timer_set(&k->timers, TIMER_LOBBY, handle_index(player->lobby),
                  time_after(k->now, l->empty_us));
    }
    metrics_count(&k->metrics, COUNTER_PLAYERS_LEFT);
    outcomes_add(&k->outcomes, OUTCOME_PLAYER_LEFT, pool_handle(&l->players, index), cause);
}

/* How many outcomes closing this lobby makes. */
static u32 lobby_close_outcomes(const struct lobby *lobby) {
    return lobby->players.count + 1;
}

/* The players leave first, so that the game hears of each while the lobby's record is still there.
   The caller has seen to room for lobby_close_outcomes. */
static void lobby_close(struct kit *k, struct lobbies *l, u64 handle) {
    struct lobby *lobby = lobby_get(l, handle);
    MPS_ASSERT(lobby && outcomes_room(&k->outcomes, lobby_close_outcomes(lobby)));
    lobby->closing = true;
    for (u32 left = lobby->players.count; left; left--) {
        player_leave(k, l, lobby->players.head - 1, LEAVE_LOBBY_CLOSED);
    }
    index_remove(&l->by_code, lobby->hash, handle_index(handle));
    timer_clear(&k->timers, TIMER_LOBBY, handle_index(handle));
    outcomes_add(&k->outcomes, OUTCOME_LOBBY_CLOSED, handle, 0);
}

/* What must hold between two calls: every player who has not left sits in one lobby, every lobby
   that is not closing is found by its code. */
static bool lobbies_check(const struct lobbies *l) {
    u32 seats = 0, indexed = 0, seated = 0;
    for (u32 i = 0; i < l->pool.capacity; i++) {
        const struct lobby *lobby = pool_at(&l->pool, i);
        if (pool_alive(&l->pool, i)) {
            seats += lobby->players.count;
            indexed += !lobby->closing;
            if (lobby->players.count > lobby->max_players ||
                (!lobby->closing &&
                 lobby_find(l, span_z(lobby->code)) != pool_handle(&l->pool, i))) {
                return false;
            }
        }
    }
    for (u32 i = 0; i < l->players.capacity; i++) {
        seated += pool_alive(&l->players, i) && !player_at(l, i)->leaving;
    }
    return seats == seated && indexed == l->by_code.used && lobbies_check_bound(l) &&
           pool_check(&l->pool) && pool_check(&l->players);
}

#ifndef MPS_NO_UDP
/* == 65 real time =================================================================================
   Players by UDP: the address that each is bound to and whether it is truly the player's, where
   everybody is, and ticks. A tick tells each player of a lobby the newest state of the others. It
   is put together when the port asks for output, so a port that cannot send gets newer states
   later, never a queue of old ones. What is for many is written once into an arena; a datagram is a
   list of spans of it. Pure bookkeeping and bytes: section 86 decides who may say what. */

#define SYNC_US S_US                /* from one telling of everything to the next */
#define MOVE_SLACK_US (100 * MS_US) /* datagrams may come closer together than they were sent */
#define JOINED_AGAIN_US (2 * SYNC_US + S_US / 2) /* names are told at two syncs more, at least */
#define CREDIT_MAX 65536
#define SEQ_NEAR 256 /* by so much, and for so long, a network may mix up the datagrams of one */
#define SEQ_NEAR_US S_US
#define TICK_MEMBER_MAX 512 /* bytes of one player of a state_sync, at most */
#define TICK_UPDATE_MAX 256 /* the same of a position_update or a position_correction */
#define TICK_HEAD_BYTES 144 /* of a datagram, what it has for itself: a name of 128 and its head */
#define TICK_NOBODY UINT32_MAX

/* Something of the player's, or for it, is to be told at the next tick. */
static void player_news(struct kit *k, struct lobbies *l, u32 index, u8 news) {
    struct player *player = player_at(l, index);
    player->news |= news;
    lobby_stir(k, l, player->lobby, pool_get(&l->pool, player->lobby));
}

/* -- addresses -- */

static u32 address_index_hash(const struct lobbies *l, const mps_address *a) {
    u8 bytes[ADDRESS_BYTES + 6];
    memcpy(bytes, a->ip, ADDRESS_BYTES);
    bytes[ADDRESS_BYTES] = (u8)(a->port >> 8);
    bytes[ADDRESS_BYTES + 1] = (u8)a->port;
    store_be32(bytes + ADDRESS_BYTES + 2, a->scope);
    return index_hash(&l->by_address, bytes, sizeof bytes);
}

static u32 player_at_address(const struct lobbies *l, const mps_address *from) {
    return l->by_address.used ? player_by_address(l, from, address_index_hash(l, from)) : 0;
}

/* Who sends it back from an address receives there. It follows from the player and the address, so
   none is kept. */
static void player_cookie(const struct lobbies *l, u64 handle, const mps_address *a,
                          u8 out[COOKIE_BYTES]) {
    u8 bytes[ADDRESS_BYTES + 14];
    struct text t = text_on((char *)bytes, sizeof bytes);
    text_add(&t, span_of((const char *)a->ip, ADDRESS_BYTES));
    text_le(&t, a->port, 2);
    text_le(&t, a->scope, 4);
    text_le(&t, handle, 8);
    struct text o = text_on((char *)out, COOKIE_BYTES);
    text_le(&o, siphash(&l->cookie_key, bytes, t.bytes), COOKIE_BYTES);
}

/* To a player at its address. A binary one has its head already. */
static void player_put_welcome(const struct lobbies *l, u32 index, struct text *t) {
    const struct player *player = player_at(l, index);
    u8 cookie[COOKIE_BYTES];
    player_cookie(l, pool_handle(&l->players, index), &player->address, cookie);
    if (player->speech == SPEECH_BINARY) {
        binary_put_welcome(t, player->id, l->tick_hz, cookie);
    } else {
        packet_put_welcome(t, player->id, l->tick_hz, cookie);
    }
}

/* The player is at this address from now on. An address is proved at once when the HTTP join came
   from its IP; otherwise it starts without credit. Who was there before must have been asked. */
static void player_bind(struct kit *k, struct lobbies *l, u32 index, const mps_address *from,
                        const mps_address *to, enum player_speech speech) {
    struct player *player = player_at(l, index);
    struct lobby *lobby = lobby_get(l, player->lobby);
    MPS_ASSERT(lobby && !player->leaving && speech != SPEECH_NONE);
    if (player->speech == SPEECH_NONE || !address_equal(&player->address, from)) {
        player_unbind(l, index);
        player->address = *from;
        player->address_hash = address_index_hash(l, from);
        player->proved = address_same_ip(from, &player->joined_from);
        player->credit = 0;
        player->welcomed = false;
        index_put(&l->by_address, player->address_hash, index);
        if (!lobby->bound++) { /* what went before is no news to the first one */
            lobby->gone_told = lobby->gone_again[0] = lobby->gone_again[1] = lobby->gone_count;
            lobby->sync_at = time_after(k->now, SYNC_US);
        }
    }
    player->local = *to;
    player->speech = (u8)speech;
    player->bound_at = k->now;
    player->acted = false;
    player_news(k, l, index, NEWS_SYNC);
}

/* What came from an unproved address may go back to it, byte for byte. */
static void player_credit(struct player *player, size_t bytes) {
    player->credit = u32_min(player->credit + (u32)bytes, CREDIT_MAX);
}

/* True: send it, it is accounted for. */
static bool player_may_get(struct kit *k, struct player *player, size_t bytes) {
    if (!player->proved && player->credit < bytes) {
        metrics_count(&k->metrics, COUNTER_WITHHELD);
        return false;
    }
    player->credit -= player->proved ? 0 : (u32)bytes;
    return true;
}

/* -- states -- */

/* Sequence numbers wrap: the newer one is less than half a round ahead. */
static bool seq_newer(u16 a, u16 b) {
    u16 ahead = (u16)(a - b);
    return ahead && ahead < 0x8000;
}

/* A join may come late, or twice: with a number near that of the newest state, and soon behind it,
   it is one of the same count, and what is older than that state stays so. Otherwise the client has
   begun to count anew. */
static bool seq_goes_on(const struct kit *k, const struct player *player, u16 seq) {
    u16 ahead = (u16)(seq - player->seq_in + SEQ_NEAR);
    return player->seq_known && ahead <= 2 * SEQ_NEAR && k->now - player->posed_at < SEQ_NEAR_US;
}

/* As kept, so that who stands still has not moved. */
static double stance_distance(const struct stance *at, const struct pose *pose) {
    double sum = 0;
    for (u32 i = 0; i < 3; i++) {
        double d = (double)(float)pose->position[i] - at->position[i];
        sum += d * d;
    }
    return sum <= POSITION_MAX ? real_sqrt(sum) : POSITION_MAX;
}

/* From when on the way to here has not been travelled yet, when it was travelled at full speed. A
   datagram may be late and the next one not, which makes a step look faster than it was. */
static u64 player_paid_at(const struct player *player) {
    u64 from = player->posed_at > MOVE_SLACK_US ? player->posed_at - MOVE_SLACK_US : 0;
    return player->paid_at > from ? player->paid_at : from;
}

/* Can it be there by now? The first position is taken as it is. Decides only. */
static bool player_may_move(const struct kit *k, const struct lobbies *l,
                            const struct player *player, const struct pose *pose) {
    if (!player->posed || l->speed_max == MPS_UNLIMITED) {
        return true;
    }
    double reach = (double)(k->now - player_paid_at(player)) / S_US * l->speed_max;
    return stance_distance(&player->stance, pose) <= reach;
}

/* player_may_move has agreed in the same call. */
static void player_move(struct kit *k, struct lobbies *l, u32 index, const struct pose *pose) {
    struct player *player = player_at(l, index);
    if (player->posed && l->speed_max != MPS_UNLIMITED) {
        double way = stance_distance(&player->stance, pose) / l->speed_max;
        u64 paid_at = player_paid_at(player) + (u64)(way * S_US);
        player->paid_at = paid_at < k->now ? paid_at : k->now; /* however it was rounded */
    }
    player->stance = stance_of(pose);
    player->posed = true;
    player->posed_at = k->now;
    player_news(k, l, index, NEWS_POSE);
}

/* -- ticks -- */

/* A text in the arena. 0 bytes: none. */
struct tick_text {
    u32 at, bytes;
};

/* A player as the tick found it. Those who moved come first, then those who stand somewhere, then
   those who have not said where: an order in which every list that is sent is a first part. */
struct tick_mark {
    u64 player; /* handle: it may leave while the tick is being sent */
    u32 id;
    u8 news;
    struct tick_text update, joined, weapon, correction, member;
};

/* One tick at a time is being sent, the one of `lobby`, and where it stands. */
struct ticks {
    u32 players_max, arena_bytes, heads_max;
    ptrdiff_t marks, arena, heads; /* distances from here, section 20 */
    u32 used, heads_used;          /* of the arena; of the heads in this call */
    u64 lobby;                     /* handle; 0: none is being sent */
    bool sync_due, resumed;
    u32 dummy;                     /* 1 with a dummy, which is the first of the entries */
    u32 count, moved, posed;       /* marks; of these the first ones */
    u32 joined, weapons;           /* marks with such a text or news */
    u32 entries;                   /* where they are in the arena */
    bool has_entries, has_members; /* these were written, so they can be sent */
    u32 sync, gone_from, gone_again, gone_to;
    u32 server_ms;
    struct tick_text dummy_text;
    /* the cursor: whose turn it is, at which step, how far in it */
    u32 receiver, receiver_id, step, at, part, parts;
};

static struct tick_mark *tick_mark(const struct ticks *t, u32 at) {
    MPS_ASSERT(at < t->players_max);
    return (struct tick_mark *)near_get(&t->marks) + at;
}

static char *tick_arena(const struct ticks *t) {
    return near_get(&t->arena);
}

/* Bytes that a tick of so many players can take at most. */
static u32 tick_bytes(u32 players) {
    return players * (TICK_MEMBER_MAX + TICK_UPDATE_MAX + BINARY_ENTRY_BYTES) + TICK_UPDATE_MAX;
}

/* Notes what was written since `start`; what did not fit is taken back, and told a tick later. */
static bool tick_keep(struct text *x, size_t start, struct tick_text *out) {
    if (x->cut) {
        x->bytes = start;
        x->cut = false;
        return false;
    }
    *out = (struct tick_text){(u32)start, (u32)(x->bytes - start)};
    return true;
}

/* Those of the lobby in the order that struct tick_mark tells. News are taken over here. */
static void tick_mark_all(struct lobbies *l, struct ticks *t, const struct lobby *lobby) {
    t->count = t->moved = t->posed = t->joined = t->weapons = 0;
    for (u32 rank = 0; rank < 3; rank++) {
        for (u32 at = lobby->players.head; at; at = player_at(l, at - 1)->seat.next) {
            struct player *player = player_at(l, at - 1);
            u32 own = player->news & NEWS_POSE ? 0 : player->posed ? 1 : 2;
            if (own == rank) {
                player->mark = t->count;
                *tick_mark(t, t->count++) =
                    (struct tick_mark){.player = pool_handle(&l->players, at - 1),
                                       .id = player->id,
                                       .news = player->news};
                t->joined += (player->news & NEWS_JOINED) != 0;
                t->weapons += (player->news & NEWS_WEAPON) != 0;
            }
        }
        t->moved = rank == 0 ? t->count : t->moved;
        t->posed = rank <= 1 ? t->count : t->posed;
    }
    for (u32 i = 0; i < t->count; i++) {
        player_get(l, tick_mark(t, i)->player)->news = 0;
    }
}

/* The dummy circles the origin; where it is follows from the time alone. */
static struct stance tick_dummy(const struct kit *k) {
    double angle = 0.5 * (double)(k->now - k->born) / S_US;
    struct pose pose = {.position = {3 * real_cos(angle), 1, 3 * real_sin(angle)}};
    return stance_of(&pose);
}

/* For binary clients: fixed entries, one after the other. */
static void tick_write_entries(const struct kit *k, const struct lobbies *l, struct ticks *t,
                               struct text *x) {
    t->entries = (u32)x->bytes;
    t->has_entries = true;
    if (t->dummy) {
        struct stance at = tick_dummy(k);
        binary_put_entry(x, DUMMY_PLAYER_ID, &at, 0);
    }
    for (u32 i = 0; i < t->posed; i++) {
        const struct player *player = player_get(l, tick_mark(t, i)->player);
        binary_put_entry(x, player->id, &player->stance, (k->now - player->posed_at) / MS_US);
    }
    MPS_ASSERT(!x->cut);
}

/* For JSON clients that are told everything. One part has to hold one player at least. */
static void tick_write_members(const struct lobbies *l, struct ticks *t, struct text *x) {
    t->has_members = true;
    for (u32 i = 0; i < t->count; i++) {
        struct tick_mark *m = tick_mark(t, i);
        const struct player *player = player_get(l, m->player);
        size_t start = x->bytes;
        packet_put_member(x, player->id, span_z(player->name), &player->stance,
                          span_of(player->weapon, player->weapon_bytes));
        bool kept = tick_keep(x, start, &m->member);
        MPS_ASSERT(kept && m->member.bytes <= TICK_MEMBER_MAX);
    }
}

/* For JSON clients: what is new of one player. Gives the news that found no room. */
static u8 tick_write_news(const struct player *player, struct tick_mark *m, bool updates,
                          struct text *x) {
    u8 left = 0;
    size_t start = x->bytes;
    if (updates && m->news & NEWS_POSE) {
        packet_put_pose(x, "position_update", m->id, &player->stance);
        left |= tick_keep(x, start, &m->update) ? 0 : NEWS_POSE;
        start = x->bytes;
    }
    if (m->news & NEWS_JOINED) {
        packet_put_joined(x, m->id, span_z(player->name));
        left |= tick_keep(x, start, &m->joined) ? 0 : NEWS_JOINED;
        start = x->bytes;
    }
    if (m->news & NEWS_WEAPON) {
        packet_put_weapon(x, m->id, span_of(player->weapon, player->weapon_bytes));
        left |= tick_keep(x, start, &m->weapon) ? 0 : NEWS_WEAPON;
        start = x->bytes;
    }
    if (m->news & NEWS_CORRECTION) {
        packet_put_pose(x, "position_correction", m->id, &player->stance);
        left |= tick_keep(x, start, &m->correction) ? 0 : NEWS_CORRECTION;
    }
    return left;
}

/* Writes once what the receivers of this tick want. */
static void tick_write(struct kit *k, struct lobbies *l, struct ticks *t, struct lobby *lobby) {
    struct text x = text_on(tick_arena(t), t->arena_bytes);
    u32 speakers[SPEECH_BINARY + 1] = {0};
    bool wanted = t->sync_due;
    x.bytes = t->used;
    for (u32 i = 0; i < t->count; i++) {
        const struct tick_mark *m = tick_mark(t, i);
        const struct player *player = player_get(l, m->player);
        speakers[player->speech]++;
        wanted |= (m->news & NEWS_SYNC) || (player->speech == SPEECH_BATCH && t->moved);
    }
    bool json = speakers[SPEECH_JSON] || speakers[SPEECH_BATCH];
    t->has_entries = t->has_members = false;
    if (speakers[SPEECH_BINARY]) {
        tick_write_entries(k, l, t, &x);
    }
    if (json && wanted) {
        lobby->sync++;
        tick_write_members(l, t, &x);
    }
    t->dummy_text.bytes = 0;
    if (json && t->dummy) {
        struct stance at = tick_dummy(k);
        size_t start = x.bytes;
        packet_put_dummy(&x, &at);
        tick_keep(&x, start, &t->dummy_text);
    }
    for (u32 i = 0; json && i < t->count; i++) {
        struct player *player = player_get(l, tick_mark(t, i)->player);
        u8 left = tick_write_news(player, tick_mark(t, i), speakers[SPEECH_JSON] != 0, &x);
        if (left) {
            player->news |= left;
            lobby_stir(k, l, t->lobby, lobby);
        }
    }
    t->sync = lobby->sync;
    t->used = (u32)x.bytes;
}

/* Begins the tick of a lobby and sets its next one. The date of a tick is when it was due, or late
   wake-ups would add up to a slower rate. */
static void tick_begin(struct kit *k, struct lobbies *l, struct ticks *t, u64 handle) {
    struct lobby *lobby = lobby_get(l, handle);
    u64 due = lobby_tick_at(l, lobby);
    lobby->ticked_at = due <= k->now && k->now - due < l->tick_us ? due : k->now;
    lobby->stirred = false;
    if (!lobby->bound) {
        return;
    }
    t->lobby = handle;
    t->server_ms = (u32)kit_uptime_ms(k);
    t->sync_due =
        time_after(k->now, l->tick_us) > lobby->sync_at; /* or it comes between two ticks */
    t->dummy = lobby->has_dummy;
    t->gone_from = lobby->gone_told;
    t->gone_again = lobby->gone_again[1];
    t->gone_to = lobby->gone_told = lobby->gone_count;
    t->receiver = lobby->players.head;
    t->step = t->at = 0;
    t->resumed = false;
    tick_mark_all(l, t, lobby);
    tick_write(k, l, t, lobby);
    if (t->sync_due) {
        lobby->gone_again[1] = lobby->gone_again[0];
        lobby->gone_again[0] = lobby->gone_count;
        u64 next = time_after(lobby->sync_at, SYNC_US);
        lobby->sync_at = next > k->now ? next : time_after(k->now, SYNC_US);
    }
    if (t->dummy) {
        lobby_stir(k, l, handle, lobby);
    } else if (!lobby->stirred) {
        u64 tick_at = lobby_tick_at(l, lobby);
        timer_set(&k->timers, TIMER_LOBBY, handle_index(handle),
                  lobby->sync_at > tick_at ? lobby->sync_at : tick_at);
    }
}

/* -- what a tick tells one player -- */

/* One player's turn: each step makes its datagrams one by one, and false when it has no more. */
struct tick_turn {
    const struct kit *k;
    const struct lobbies *l;
    struct ticks *t;
    struct player *to;
    u64 handle;
    u32 own; /* its mark, or TICK_NOBODY */
    mps_datagram *out;
};

static void datagram_add(mps_datagram *d, const void *bytes, size_t count) {
    if (count) {
        MPS_ASSERT(d->spans_count < MPS_DATAGRAM_SPANS);
        d->spans[d->spans_count++] = (mps_span){bytes, count};
        d->bytes += count;
    }
}

static bool tick_add_text(struct tick_turn *turn, struct tick_text text) {
    datagram_add(turn->out, tick_arena(turn->t) + text.at, text.bytes);
    return text.bytes != 0;
}

/* Bytes for one datagram alone. */
static struct text tick_head(const struct ticks *t) {
    MPS_ASSERT(t->heads_used < t->heads_max);
    char *heads = near_get(&t->heads);
    return text_on(heads + (size_t)t->heads_used * TICK_HEAD_BYTES, TICK_HEAD_BYTES);
}

static struct text tick_binary_head(struct tick_turn *turn, u32 type) {
    struct text x = tick_head(turn->t);
    binary_put_head(&x, type, ++turn->to->seq_out, turn->t->server_ms);
    return x;
}

/* The datagram begins with these bytes. */
static bool tick_add_head(struct tick_turn *turn, const struct text *x) {
    MPS_ASSERT(!x->cut);
    datagram_add(turn->out, x->at, x->bytes);
    return true;
}

static bool turn_is_binary(const struct tick_turn *turn) {
    return turn->to->speech == SPEECH_BINARY;
}

/* Everything is told when its time has come, to who has just joined, and to who wants one batch
   instead of many updates when somebody else has moved. */
static bool turn_gets_all(const struct tick_turn *turn) {
    const struct ticks *t = turn->t;
    bool asked = turn->own != TICK_NOBODY && tick_mark(t, turn->own)->news & NEWS_SYNC;
    u32 others = t->moved - (turn->own < t->moved);
    return t->sync_due || asked || (turn->to->speech == SPEECH_BATCH && others);
}

/* A welcome that is lost would keep a client waiting that does nothing before it, and one without
   its cookie could never prove its address. Those who have just joined got theirs at once. */
static bool tell_welcome(struct tick_turn *turn) {
    bool fresh = turn->own == TICK_NOBODY || tick_mark(turn->t, turn->own)->news & NEWS_SYNC;
    bool came = turn->to->acted && turn->to->proved;
    if (turn->t->at++ || !turn->t->sync_due || came || fresh) {
        return false;
    }
    struct text x =
        turn_is_binary(turn) ? tick_binary_head(turn, BINARY_WELCOME) : tick_head(turn->t);
    player_put_welcome(turn->l, handle_index(turn->handle), &x);
    return tick_add_head(turn, &x);
}

/* To a binary client names are told again at each sync while one of the two is new, as it has no
   state_sync to learn them from; of the others one at each sync, in turn. */
static bool joined_again(const struct tick_turn *turn, const struct player *about, u32 at) {
    const struct ticks *t = turn->t;
    u64 since = turn->to->bound_at > about->joined_at ? turn->to->bound_at : about->joined_at;
    return turn_is_binary(turn) && turn_gets_all(turn) &&
           (turn->k->now - since < JOINED_AGAIN_US || at == t->server_ms / 1000 % t->count);
}

static bool tell_joined(struct tick_turn *turn) {
    struct ticks *t = turn->t;
    while ((t->joined || turn_is_binary(turn)) && t->at < t->count) {
        u32 at = t->at++;
        const struct tick_mark *m = tick_mark(t, at);
        const struct player *about = player_get(turn->l, m->player);
        if (at == turn->own || !about) {
            continue;
        }
        if (!turn_is_binary(turn)) {
            if (tick_add_text(turn, m->joined)) {
                return true;
            }
        } else if (m->news & NEWS_JOINED || joined_again(turn, about, at)) {
            struct text x = tick_binary_head(turn, BINARY_JOINED);
            struct span name = span_z(about->name);
            text_le(&x, m->id, 4);
            text_le(&x, name.bytes, 1);
            text_add(&x, name);
            return tick_add_head(turn, &x);
        }
    }
    return false;
}

/* To a binary client again at the next two syncs; a state_sync tells JSON clients who is there. */
static bool tell_left(struct tick_turn *turn) {
    struct ticks *t = turn->t;
    const struct lobby *lobby = lobby_get(turn->l, t->lobby);
    bool again = turn_is_binary(turn) && t->sync_due;
    u32 from = again ? t->gone_again : t->gone_from;
    u32 kept = turn->l->gone_max, all = lobby->gone_count, oldest = all > kept ? all - kept : 0;
    from = from > oldest ? from : oldest;
    if (from + t->at >= t->gone_to) {
        return false;
    }
    u32 id = *lobby_gone(turn->l, t->lobby, from + t->at++);
    struct text x = tick_head(t);
    if (turn_is_binary(turn)) {
        x = tick_binary_head(turn, BINARY_LEFT);
        text_le(&x, id, 4);
    } else {
        packet_put_left(&x, id);
    }
    return tick_add_head(turn, &x);
}

static bool tell_weapons(struct tick_turn *turn) {
    struct ticks *t = turn->t;
    while (t->weapons && !turn_is_binary(turn) && t->at < t->count) {
        u32 at = t->at++;
        if (at != turn->own && tick_add_text(turn, tick_mark(t, at)->weapon)) {
            return true;
        }
    }
    return false;
}

static bool tell_correction(struct tick_turn *turn) {
    const struct tick_mark *m = turn->own == TICK_NOBODY ? NULL : tick_mark(turn->t, turn->own);
    if (turn->t->at++ || !m || !(m->news & NEWS_CORRECTION)) {
        return false;
    }
    if (!turn_is_binary(turn)) {
        return tick_add_text(turn, m->correction);
    }
    struct text x = tick_binary_head(turn, BINARY_CORRECTION);
    binary_put_entry(&x, m->id, &turn->to->stance, (turn->k->now - turn->to->posed_at) / MS_US);
    return tick_add_head(turn, &x);
}

static bool tell_dummy(struct tick_turn *turn) {
    return !turn->t->at++ && !turn_is_binary(turn) && tick_add_text(turn, turn->t->dummy_text);
}

/* One for each who moved, to those who did not ask for a batch. */
static bool tell_updates(struct tick_turn *turn) {
    struct ticks *t = turn->t;
    while (turn->to->speech == SPEECH_JSON && t->at < t->moved) {
        u32 at = t->at++;
        if (at != turn->own && tick_add_text(turn, tick_mark(t, at)->update)) {
            return true;
        }
    }
    return false;
}

/* As many entries as fit. `own` is left out of the middle: entries behind it move up by one. */
static bool tell_snapshot(struct tick_turn *turn) {
    struct ticks *t = turn->t;
    u32 listed = t->dummy + (turn_gets_all(turn) ? t->posed : t->moved);
    u32 own = turn->own == TICK_NOBODY ? listed : u32_min(turn->own + t->dummy, listed);
    u32 others = listed - (own < listed), from = t->at * BINARY_ENTRIES_MAX;
    if (!turn_is_binary(turn) || !t->has_entries || from >= others) {
        return false;
    }
    u32 count = u32_min(others - from, BINARY_ENTRIES_MAX);
    u32 before = from < own ? u32_min(count, own - from) : 0;
    const char *entries = tick_arena(t) + t->entries;
    struct text x = tick_binary_head(turn, BINARY_SNAPSHOT);
    text_le(&x, count, 1);
    tick_add_head(turn, &x);
    datagram_add(turn->out, entries + (size_t)from * BINARY_ENTRY_BYTES,
                 (size_t)before * BINARY_ENTRY_BYTES);
    datagram_add(turn->out, entries + (size_t)(from + before + 1) * BINARY_ENTRY_BYTES,
                 (size_t)(count - before) * BINARY_ENTRY_BYTES);
    t->at++;
    return true;
}

/* From mark `from` on, how far one part reaches. */
static u32 sync_cut(const struct ticks *t, u32 own, u32 from) {
    size_t bytes = sizeof sync_head - 1 + SYNC_TAIL_MAX;
    while (from < t->count) {
        bytes += from == own ? 0 : tick_mark(t, from)->member.bytes;
        if (bytes > DATAGRAM_BYTES_MAX) {
            break;
        }
        from++;
    }
    return from;
}

/* Members stand one behind the other in the arena, each with a comma before it, so a part is one
   span, or two when the receiver's own is in between. Alone, one is told that nobody is there. */
static bool tell_sync(struct tick_turn *turn) {
    struct ticks *t = turn->t;
    if (turn_is_binary(turn) || !t->has_members || !turn_gets_all(turn) ||
        (t->at && t->at >= t->count)) {
        return false;
    }
    if (!t->at) {
        t->part = t->parts = 0;
        for (u32 at = 0; at < t->count || !t->parts; t->parts++) {
            at = sync_cut(t, turn->own, at);
        }
    }
    u32 from = t->at, to = sync_cut(t, turn->own, from);
    u32 middle = turn->own >= from && turn->own < to ? turn->own : to;
    const u32 ends[2][2] = {{from, middle}, {middle + 1, to}};
    struct text x = tick_head(t);
    packet_put_sync_tail(&x, t->sync, ++t->part, t->parts);
    datagram_add(turn->out, sync_head, sizeof sync_head - 1);
    for (u32 i = 0; i < 2; i++) {
        if (ends[i][0] < ends[i][1]) {
            struct tick_text first = tick_mark(t, ends[i][0])->member;
            struct tick_text last = tick_mark(t, ends[i][1] - 1)->member;
            u32 comma = turn->out->spans_count == 1; /* the first goes without */
            datagram_add(turn->out, tick_arena(t) + first.at + comma,
                         last.at + last.bytes - first.at - comma);
        }
    }
    t->at = t->part == t->parts ? u32_max(t->count, 1) : to;
    return tick_add_head(turn, &x);
}

/* In this order: who is there, then where. */
static bool (*const tick_steps[])(struct tick_turn *turn) = {
    tell_welcome, tell_joined,  tell_left,     tell_weapons, tell_correction,
    tell_dummy,   tell_updates, tell_snapshot, tell_sync,
};

/* Whose turn it is: index + 1, or 0 when all had theirs. Between two calls players may have gone;
   ids only grow along the list. */
static u32 tick_receiver(const struct lobbies *l, struct ticks *t) {
    const struct lobby *lobby = lobby_get(l, t->lobby);
    if (!lobby) {
        return 0;
    }
    if (t->resumed) {
        u32 at = lobby->players.head;
        while (at && player_at(l, at - 1)->id < t->receiver_id) {
            at = player_at(l, at - 1)->seat.next;
        }
        if (at && player_at(l, at - 1)->id != t->receiver_id) {
            t->step = t->at = 0;
        }
        t->receiver = at;
        t->resumed = false;
    }
    while (t->receiver && player_at(l, t->receiver - 1)->speech == SPEECH_NONE) {
        t->receiver = player_at(l, t->receiver - 1)->seat.next;
        t->step = t->at = 0;
    }
    return t->receiver;
}

/* The next datagram of the tick; false when it is over. */
static bool tick_next(struct kit *k, struct lobbies *l, struct ticks *t, mps_datagram *out) {
    for (u32 at = tick_receiver(l, t); at; at = tick_receiver(l, t)) {
        struct player *to = player_at(l, at - 1);
        struct tick_turn turn = {k, l, t, to, pool_handle(&l->players, at - 1), TICK_NOBODY, out};
        if (to->mark < t->count && tick_mark(t, to->mark)->player == turn.handle) {
            turn.own = to->mark;
        }
        t->receiver_id = to->id;
        /* The little that an unproved address may be sent is for the welcome first. */
        u32 steps = to->proved || to->welcomed ? (u32)COUNT_OF(tick_steps) : 1;
        while (t->step < steps) {
            out->bytes = out->spans_count = 0;
            if (!tick_steps[t->step](&turn)) {
                t->step++;
                t->at = 0;
            } else if (player_may_get(k, to, out->bytes)) {
                to->welcomed |= t->step == 0;
                out->to = to->address;
                out->from = to->local;
                t->heads_used++;
                return true;
            }
        }
        t->receiver = to->seat.next;
        t->step = t->at = 0;
    }
    return false;
}

/* Up to `max` datagrams of the ticks that have come. Several ticks share the arena; it is used anew
   when the port has sent what is in it. */
static size_t ticks_output(struct kit *k, struct lobbies *l, struct ticks *t, mps_datagram *out,
                           size_t max) {
    size_t count = 0;
    t->heads_used = 0;
    t->resumed = true;
    while (count < size_min(max, t->heads_max)) {
        if (!t->lobby) {
            t->used = count ? t->used : 0;
            u32 at = l->due.head;
            const struct lobby *next = at ? pool_at(&l->pool, at - 1) : NULL;
            if (!next || t->arena_bytes - t->used < tick_bytes(next->players.count)) {
                break;
            }
            queue_remove(&l->due, &l->pool, at - 1);
            tick_begin(k, l, t, pool_handle(&l->pool, at - 1));
        } else if (tick_next(k, l, t, &out[count])) {
            count++;
        } else {
            t->lobby = 0;
        }
    }
    return count;
}

/* -- answers at once: welcome, pong and what else is not for a tick -- */

/* Each a struct reply and its bytes. They start over when all are sent, which is every round. */
struct replies {
    u32 capacity, start, end;
    ptrdiff_t bytes; /* distance from here, section 20 */
};

struct reply {
    mps_address to, from;
    u32 bytes;
};

static u32 reply_room(u32 bytes) {
    return (u32)(sizeof(struct reply) + ((bytes + 7u) & ~7u));
}

/* Copied. Without room it is dropped, as the network might have done. */
static void replies_add(struct kit *k, struct replies *r, const mps_address *to,
                        const mps_address *from, struct span bytes) {
    char *at = (char *)near_get(&r->bytes) + r->end;
    struct reply head = {*to, *from, (u32)bytes.bytes};
    if (reply_room(head.bytes) > r->capacity - r->end) {
        metrics_count(&k->metrics, COUNTER_FULL_REPLIES);
        return;
    }
    memcpy(at, &head, sizeof head);
    memcpy(at + sizeof head, bytes.at, bytes.bytes);
    r->end += reply_room(head.bytes);
}

static size_t replies_output(struct replies *r, mps_datagram *out, size_t max) {
    size_t count = 0;
    for (; count < max && r->start < r->end; count++) {
        const char *at = (const char *)near_get(&r->bytes) + r->start;
        struct reply head;
        memcpy(&head, at, sizeof head);
        out[count] = (mps_datagram){.to = head.to, .from = head.from};
        datagram_add(&out[count], at + sizeof head, head.bytes);
        r->start += reply_room(head.bytes);
    }
    if (!count) {
        r->start = r->end = 0; /* the port has sent them all */
    }
    return count;
}
#endif

/* == 80 server ===================================================================================
   struct mps_server, complete only from here on, so that nothing above can reach across. The table
   of configuration keys, which reads, checks, prints and documents them; the layout of the
   block. */

/* The server's own deadlines, beside those of its records. */
enum server_timer { SERVER_TIMER_DRAIN, SERVER_TIMER_ROOMS, SERVER_TIMERS };

#define SERVER_MAGIC 0x6D70736572766572u /* "mpserver" */
/* The layout rounds every table to as much: with the block aligned, all of them are. */
#define SERVER_ALIGN 16
#define PUBLIC_HOST_MAX 255 /* a name of the DNS is no longer (RFC 1035, 2.3.4) */
#define CORS_ORIGIN_MAX 64  /* with it the shortest 503 fits output_bytes */
#define SERVER_NAME_MAX 64
#define ANSWER_HEAD_MAX 1024 /* kept free in front of the answer scratch */

/* GRACE: new work is refused, idle connections go. CLOSING: so do the others. */
enum drain_state { DRAIN_NO, DRAIN_GRACE, DRAIN_CLOSING, DRAIN_DONE };

/* Stands at the start of the block and owns all of it. Tables are found by distance, never by
   pointer, so that the block may be copied elsewhere and run on. */
struct mps_server {
    u64 magic; /* set when all is made: a block whose making failed is no server */
    struct kit kit;
    struct log log;
    struct auth auth;
    struct rates rates;
    struct ranges trusted_proxies, metrics_allow; /* halves of one table */
    struct lobbies lobbies;
#ifndef MPS_NO_ROOMS
    struct presence presence;
    struct rooms rooms;
#endif
#ifndef MPS_NO_UDP
    struct ticks ticks;
    struct replies replies;
#endif
    mps_config config; /* effective; its strings are the copies below */
    char name[SERVER_NAME_MAX + 1], public_host[PUBLIC_HOST_MAX + 1];
    char cors_origin[CORS_ORIGIN_MAX + 1];
    bool guest_login, has_secret, in_call; /* in_call: a hook must not come back in */
    enum drain_state drain;                /* only goes up */
    u32 drain_sweep;                       /* connections below this index have been told */
    u64 drain_due;                         /* the end of the grace period */
    size_t memory_bytes;
    char request_mark[8]; /* with the serial it makes up the ids of requests that bring none */
    u32 request_serial;   /* of the newest id made; wraps */
    u64 auth_serial;      /* the upper half of a ticket: an old one fits no later request */
    i64 lines_s;          /* the second that `lines` is for */
    char lines[256];
    u32 lines_bytes;
    u32 answer_bytes, work_bytes; /* of the two below */
    ptrdiff_t answer, work;       /* scratch: a body in the making; decoded input */
    ptrdiff_t ranges;             /* of both lists of addresses */
    struct conns conns;           /* the longest stands last: what is near is cheap to name */
};

/* Where a member of the server is, counted from the start of the block. */
#define SERVER_AT(member) offsetof(struct mps_server, member)

/* -- configuration keys -- */

/* What a value is in mps_config and in a file. Numbers and names come first: mps_reconfigure goes
   by that order when it logs a value. */
enum config_type {
    CONFIG_U32,  /* 0: the preset's number */
    CONFIG_MOST, /* the same, but a file's 0 is no limit: MPS_UNLIMITED */
    CONFIG_U16,  /* a port; 0 is 0 */
    CONFIG_BOOL,
    CONFIG_SWITCH, /* auto, on, off */
    CONFIG_LEVEL,
    CONFIG_PRESET,
    CONFIG_STRING, /* NULL: none, or a default */
    CONFIG_SECRET, /* any bytes; never printed, not kept */
    CONFIG_RANGES  /* up to MPS_RANGES_MAX strings */
};

enum config_unit { UNIT_NONE, UNIT_B, UNIT_MS, UNIT_S, UNIT_PER_S, UNIT_HZ, UNIT_SPEED };

/* One key: how to read, check and print it. A key that is not here does not exist. */
struct config_row {
    const char *key;
    unsigned at : 16;  /* offset in mps_config */
    unsigned type : 4; /* enum config_type */
    unsigned live : 1; /* mps_reconfigure takes it over */
    unsigned unit : 3; /* enum config_unit */
    u32 defaults[3];   /* by mps_preset: small, tiny, large */
    u32 min, max;      /* of a string: bytes */
    const char *doc;
};

/* clang-format off */
#define CONFIG_PRESETS(key, type, live, small, tiny, large, min, max, unit, doc)                   \
    {#key, offsetof(mps_config, key), type, live, UNIT_##unit, {small, tiny, large}, min, max,     \
     DOC(doc)}
#define CONFIG_NUMBER(key, live, small, tiny, large, min, max, unit, doc)                          \
    CONFIG_PRESETS(key, CONFIG_U32, live, small, tiny, large, min, max, unit, doc)
#define CONFIG_LIMIT(key, live, small, tiny, large, min, max, unit, doc)                           \
    CONFIG_PRESETS(key, CONFIG_MOST, live, small, tiny, large, min, max, unit, doc)
#define CONFIG_OTHER(key, type, live, min, max, doc)                                               \
    CONFIG_PRESETS(key, type, live, 0, 0, 0, min, max, NONE, doc)
/* clang-format on */
#define FIXED false
#define LIVE true

/* A lobby player is heard by UDP; where that is left out, none is ever heard of again, and the
   seat lasts longer. */
#ifdef MPS_NO_UDP
#define PLAYER_TIMEOUT_MS 3600000
#else
#define PLAYER_TIMEOUT_MS 15000
#endif

/* The keys of relay rooms and their sockets. */
#define CONFIG_ROOMS(NUMBER, LIMIT, OTHER)                                                      \
    OTHER(presence_public, CONFIG_BOOL, FIXED, 0, 1,                                            \
          "user_online and user_offline go to anonymous sockets, too"),                         \
        NUMBER(users, FIXED, 1000, 16, 10000, 1, 1000000, NONE,                                 \
               "users with a socket, a seat or a room of their own"),                           \
        NUMBER(rooms, FIXED, 256, 4, 4096, 1, 100000, NONE, "relay rooms at once"),             \
        NUMBER(room_players_max, FIXED, 64, 8, 1024, 1, 4096, NONE,                             \
               "the most maxPlayers may say"),                                                  \
        NUMBER(seats, FIXED, 1024, 16, 12000, 1, 1000000, NONE, "members over all rooms"),      \
        NUMBER(bans, FIXED, 1024, 32, 8192, 1, 1000000, NONE,                                   \
               "users and addresses barred, over all rooms"),                                   \
        NUMBER(room_bans_max, FIXED, 64, 16, 256, 1, 1000000, NONE, "of these in one room"),    \
        NUMBER(message_bytes_max, FIXED, 65536, 4096, 65536, 1024, 16777216, B,                 \
               "WebSocket message"),                                                            \
        NUMBER(fanout_bytes_max, LIVE, 4194304, 16384, 3145728, 4096, 1073741824, B,            \
               "of one relayed message, times the members of its room"),                        \
        NUMBER(slot_bytes, FIXED, 512, 256, 512, 128, 4096, B,                                  \
               "newest state of a member, two each; longer ones count as events"),              \
        NUMBER(announce_bytes, FIXED, 262144, 8192, 2097152, ANNOUNCE_BYTES_MIN, 1073741824, B, \
               "announcements kept for sockets that have not heard them"),                      \
        NUMBER(ping_after_ms, LIVE, 30000, 30000, 30000, 10, 3600000, MS,                       \
               "of silence until a socket is pinged"),                                          \
        NUMBER(silence_timeout_ms, LIVE, 75000, 75000, 75000, 10, 86400000, MS,                 \
               "of silence until a socket is closed; more than ping_after_ms"),                 \
        NUMBER(message_timeout_ms, LIVE, 30000, 30000, 30000, 10, 3600000, MS,                  \
               "for a WebSocket message, from its first byte"),                                 \
        NUMBER(seat_timeout_ms, LIVE, 30000, 30000, 30000, 10, 86400000, MS,                    \
               "that a seat is kept when its socket drops"),                                    \
        NUMBER(room_timeout_ms, LIVE, 60000, 60000, 60000, 10, 86400000, MS,                    \
               "that a new room waits for its maker"),                                          \
        NUMBER(states_per_s, LIVE, 60, 60, 60, 1, 1000000, PER_S,                               \
               "player_state and player_snapshot of one player"),                               \
        NUMBER(chats_per_s, LIVE, 2, 2, 2, 1, 1000000, PER_S, "chat of one player"),            \
        NUMBER(messages_per_s, LIVE, 20, 20, 20, 1, 1000000, PER_S,                             \
               "other messages of one player"),                                                 \
        NUMBER(refusals_max, LIVE, 20, 20, 20, 1, 255, NONE,                                    \
               "messages refused by rate in a row, then a socket is closed")

/* The keys of UDP. */
#define CONFIG_UDP(NUMBER, LIMIT, OTHER)                                                           \
    NUMBER(datagram_batch, FIXED, 64, 8, 64, 1, 1024, NONE,                                        \
           "datagrams handed to the port at once"),                                                \
        NUMBER(datagram_reply_bytes, FIXED, 65536, 1024, 262144, 1024, 16777216, B,                \
               "answers to datagrams that wait to be sent"),                                       \
        NUMBER(tick_hz, LIVE, 20, 20, 20, 1, 1000, HZ, "updates a second, of each lobby"),         \
        LIMIT(player_speed_max, LIVE, 100, 100, 100, 0, 1000000000, SPEED,                         \
              "of a lobby player; 0: any"),                                                        \
        OTHER(udp_same_ip_join, CONFIG_SWITCH, LIVE, 0, 2,                                         \
              "a first UDP join without token from the IP of the HTTP join; auto (with dev), on, " \
              "off"),                                                                              \
        OTHER(lan_discovery, CONFIG_SWITCH, LIVE, 0, 2,                                            \
              "answers discover from the local network; auto (on), on, off"),                      \
        NUMBER(datagrams_per_s, LIVE, 50, 50, 50, 1, 1000000, PER_S,                               \
               "datagrams of one address before a join"),                                          \
        NUMBER(stun_per_s, LIVE, 10, 10, 10, 1, 1000000, PER_S,                                    \
               "STUN requests of one address; as many at once"),                                   \
        NUMBER(player_datagrams_per_s, LIVE, 60, 60, 60, 1, 1000000, PER_S,                        \
               "datagrams of one player")

/* The largest values keep sizes and sums from overflow, see layout_take. Rows are checked and
   printed in this order. */
static const struct config_row config_keys[] = {
    CONFIG_OTHER(preset, CONFIG_PRESET, FIXED, 0, 2, "defaults of the limits: tiny, small, large"),
    CONFIG_OTHER(dev, CONFIG_BOOL, FIXED, 0, 1,
                 "guest login, TEST lobby, no rate limits on loopback, open metrics"),
    CONFIG_NUMBER(connections, FIXED, 1000, 16, 10000, 1, 1000000, NONE,
                  "connections served at once"),
    CONFIG_NUMBER(connections_per_address, LIVE, 250, 12, 2500, 1, 1000000, NONE,
                  "of these from one address (IPv6: /64) that is no trusted proxy"),
    CONFIG_NUMBER(refusals, FIXED, 16, 4, 64, 1, 1000, NONE,
                  "further connections that are told 503 or 429"),
    CONFIG_NUMBER(lobbies, FIXED, 256, 4, 4096, 1, 1000000, NONE, "lobbies at once"),
    CONFIG_NUMBER(lobby_players, FIXED, 64, 8, 64, 1, 1024, NONE, "the most max_players may say"),
    CONFIG_NUMBER(players, FIXED, 1024, 8, 16384, 1, 1000000, NONE, "players over all lobbies"),
    CONFIG_NUMBER(buckets, FIXED, 4096, 64, 32768, 8, 1000000, NONE, "rate-limit buckets"),
    CONFIG_NUMBER(log_entries, FIXED, 256, 8, 1024, 1, 100000, NONE,
                  "lines kept for GET /admin/log"),
    CONFIG_NUMBER(input_bytes, FIXED, 192, 192, 192, 64, 65536, B,
                  "unfinished input that each connection owns"),
    CONFIG_NUMBER(output_bytes, FIXED, 448, 384, 448, 384, 65536, B,
                  "output that each connection owns"),
    CONFIG_NUMBER(chunks, FIXED, 1024, 18, 8192, 4, 1000000, NONE,
                  "chunks lent to connections that need more"),
    CONFIG_NUMBER(chunk_bytes, FIXED, 4096, 1024, 4096, 512, 65536, B, "size of a lent chunk"),
    CONFIG_NUMBER(output_bytes_max, FIXED, 131072, 8192, 327680, 4096, 16777216, B,
                  "unsent output of one connection; above a quarter of it no input is read"),
    CONFIG_NUMBER(large_inputs, FIXED, 8, 2, 64, 1, 10000, NONE, "buffers for large requests"),
    CONFIG_NUMBER(large_inputs_per_address, FIXED, 2, 2, 2, 1, 10000, NONE,
                  "large buffers that one address may hold"),
    CONFIG_NUMBER(head_bytes_max, FIXED, 8192, 2048, 8192, 512, 65536, B, "request head"),
    CONFIG_NUMBER(target_bytes_max, FIXED, 2048, 1024, 2048, 64, 32768, B, "request target"),
    CONFIG_NUMBER(body_bytes_max, FIXED, 65536, 4096, 65536, 256, 16777216, B, "request body"),
    CONFIG_NUMBER(requests_per_call, FIXED, 64, 16, 64, 1, 10000, NONE,
                  "pipelined requests answered before others have their turn"),
    CONFIG_NUMBER(settle_max, FIXED, 256, 48, 256, 16, 100000, NONE,
                  "outcomes, timers and waiting connections handled per call"),
    CONFIG_NUMBER(head_timeout_ms, LIVE, 10000, 10000, 10000, 10, 3600000, MS,
                  "for a request head, from its first byte"),
    CONFIG_NUMBER(body_timeout_ms, LIVE, 30000, 30000, 30000, 10, 3600000, MS,
                  "for a request body"),
    CONFIG_NUMBER(idle_timeout_ms, LIVE, 75000, 75000, 75000, 10, 86400000, MS,
                  "for the next request of a kept connection"),
    CONFIG_NUMBER(send_timeout_ms, LIVE, 30000, 30000, 30000, 10, 3600000, MS,
                  "without the peer reading anything"),
    CONFIG_NUMBER(linger_ms, LIVE, 2000, 2000, 2000, 10, 60000, MS,
                  "for the peer's FIN after the last answer"),
    CONFIG_NUMBER(buffer_wait_ms, LIVE, 5000, 5000, 5000, 10, 60000, MS,
                  "for a large buffer to come free"),
    CONFIG_NUMBER(input_hold_ms, LIVE, 4000, 4000, 4000, 10, 60000, MS,
                  "that input not yet of use keeps lent memory while others wait"),
    CONFIG_NUMBER(auth_timeout_ms, LIVE, 10000, 10000, 10000, 10, 60000, MS,
                  "for the game to answer an authenticate hook"),
    CONFIG_NUMBER(player_timeout_ms, LIVE, PLAYER_TIMEOUT_MS, PLAYER_TIMEOUT_MS, PLAYER_TIMEOUT_MS,
                  10, 3600000, MS, "a lobby player without a datagram"),
    CONFIG_NUMBER(lobby_timeout_ms, LIVE, 60000, 60000, 60000, 10, 86400000, MS,
                  "a lobby without players"),
    CONFIG_NUMBER(drain_grace_ms, LIVE, 5000, 5000, 5000, 10, 3600000, MS,
                  "between the announcement to shut down and the end"),
    CONFIG_NUMBER(connections_per_s, LIVE, 20, 20, 20, 1, 1000000, PER_S,
                  "new connections of one address"),
    CONFIG_NUMBER(requests_per_s, LIVE, 50, 50, 50, 1, 1000000, PER_S, "requests of one address"),
    CONFIG_OTHER(guest_login, CONFIG_SWITCH, LIVE, 0, 2,
                 "auto (on with dev, or without jwt_secret), on, off"),
    CONFIG_OTHER(jwt_secret, CONFIG_SECRET, FIXED, 1, 1024, "key of the tokens (HS256)"),
    CONFIG_OTHER(jwt_issuer, CONFIG_STRING, FIXED, 1, 64, "iss of tokens; default mpserver"),
    CONFIG_OTHER(jwt_audience, CONFIG_STRING, FIXED, 1, 128,
                 "aud that tokens must name; none: any"),
    CONFIG_NUMBER(token_ttl_s, LIVE, 3600, 3600, 3600, 10, 31536000, S, "life of a minted token"),
    CONFIG_NUMBER(refresh_ttl_s, LIVE, 86400, 86400, 86400, 10, 31536000, S,
                  "how long after the first sign-in a token can be refreshed"),
    CONFIG_OTHER(name, CONFIG_STRING, FIXED, 1, SERVER_NAME_MAX, "name of this server"),
    CONFIG_OTHER(public_host, CONFIG_STRING, FIXED, 1, PUBLIC_HOST_MAX,
                 "server_ip of lobbies; none: the address that the caller reached"),
    CONFIG_OTHER(http_port, CONFIG_U16, FIXED, 0, 65535, "TCP port of HTTP"),
    CONFIG_OTHER(udp_port, CONFIG_U16, FIXED, 0, 65535, "UDP port, as told to clients"),
    CONFIG_OTHER(cors_origin, CONFIG_STRING, FIXED, 1, CORS_ORIGIN_MAX,
                 "Access-Control-Allow-Origin; default *"),
    CONFIG_OTHER(trusted_proxies, CONFIG_RANGES, FIXED, 0, MPS_RANGES_MAX,
                 "addresses or CIDRs whose X-Forwarded-For is believed"),
    CONFIG_OTHER(metrics_allow, CONFIG_RANGES, FIXED, 0, MPS_RANGES_MAX,
                 "addresses or CIDRs that may read /metrics and /api/status"),
#ifndef MPS_NO_ROOMS
    CONFIG_ROOMS(CONFIG_NUMBER, CONFIG_LIMIT, CONFIG_OTHER),
#endif
#ifndef MPS_NO_UDP
    CONFIG_UDP(CONFIG_NUMBER, CONFIG_LIMIT, CONFIG_OTHER),
#endif
    CONFIG_OTHER(log_level, CONFIG_LEVEL, LIVE, 0, 5, "debug, info, warn, error, off"),
};

/* Keys of what is left out, and the switch that did it: a file that has one is told so. Ends with
   an empty row. */
struct config_left_out {
    const char *key, *fault;
};

#define CONFIG_NO_ROOMS(key, ...) \
    { #key, "is unknown: this build leaves rooms out (MPS_NO_ROOMS)" }
#define CONFIG_NO_UDP(key, ...) \
    { #key, "is unknown: this build leaves UDP out (MPS_NO_UDP)" }

static const struct config_left_out config_left_out[] = {
#ifdef MPS_NO_ROOMS
    CONFIG_ROOMS(CONFIG_NO_ROOMS, CONFIG_NO_ROOMS, CONFIG_NO_ROOMS),
#endif
#ifdef MPS_NO_UDP
    CONFIG_UDP(CONFIG_NO_UDP, CONFIG_NO_UDP, CONFIG_NO_UDP),
#endif
    {NULL, NULL},
};

/* By mps_preset and mps_switch: a name's place is its value. */
static const char *const preset_names[] = {"small", "tiny", "large"};
static const char *const switch_names[] = {"auto", "on", "off"};

/* Casts const away, as readers and writers share it: who was given a const configuration only
   reads. */
static u32 *config_u32(const mps_config *c, const struct config_row *row) {
    return (u32 *)((char *)(uintptr_t)c + row->at);
}

static bool *config_bool(const mps_config *c, const struct config_row *row) {
    return (bool *)((char *)(uintptr_t)c + row->at);
}

static mps_switch *config_switch(const mps_config *c, const struct config_row *row) {
    return (mps_switch *)((char *)(uintptr_t)c + row->at);
}

/* The same for a string, or for the first entry of a list. */
static const char **config_string(const mps_config *c, const struct config_row *row) {
    return (const char **)((char *)(uintptr_t)c + row->at);
}

/* Enums of the configuration as numbers, whatever the compiler makes of their size. Only for rows
   that hold a number or a name. */
static u32 config_choice(const mps_config *c, const struct config_row *row) {
    switch (row->type) {
    case CONFIG_PRESET:
        return (u32)c->preset;
    case CONFIG_SWITCH:
        return (u32)*config_switch(c, row);
    case CONFIG_LEVEL:
        return (u32)c->log_level;
    case CONFIG_BOOL:
        return *config_bool(c, row);
    case CONFIG_U16:
        return row->at == offsetof(mps_config, http_port) ? c->http_port : c->udp_port;
    case CONFIG_MOST: /* as a file has it */
        return *config_u32(c, row) == MPS_UNLIMITED ? 0 : *config_u32(c, row);
    default:
        return *config_u32(c, row);
    }
}

/* The inverse of config_choice. `value` is within the row's range. */
static void config_choose(mps_config *c, const struct config_row *row, u32 value) {
    switch (row->type) {
    case CONFIG_PRESET:
        c->preset = (mps_preset)value;
        break;
    case CONFIG_SWITCH:
        *config_switch(c, row) = (mps_switch)value;
        break;
    case CONFIG_MOST:
        *config_u32(c, row) = value ? value : MPS_UNLIMITED;
        break;
    case CONFIG_LEVEL:
        c->log_level = (mps_level)value;
        break;
    case CONFIG_BOOL:
        *config_bool(c, row) = value != 0;
        break;
    case CONFIG_U16:
        *(row->at == offsetof(mps_config, http_port) ? &c->http_port : &c->udp_port) = (u16)value;
        break;
    default:
        *config_u32(c, row) = value;
        break;
    }
}

/* Fills `fault` with "KEY: TEXT A TEXT B". `then` NULL: no numbers. `fault` may be NULL. Gives
   MPS_E_CONFIG, so that callers can return it; the key may come from a file and is cut to what
   fits. */
static mps_error config_fault(mps_fault *fault, const char *key, const char *what, u64 a,
                              const char *then, u64 b) {
    if (fault) {
        struct text t = text_on(fault->text, sizeof fault->text - 1);
        text_z(&t, what);
        if (then) {
            text_u64(&t, a);
            text_z(&t, then);
            text_u64(&t, b);
        }
        fault->text[t.bytes] = 0;
        t = text_on(fault->key, sizeof fault->key - 1);
        text_z(&t, key);
        fault->key[t.bytes] = 0;
        fault->error = MPS_E_CONFIG;
    }
    return MPS_E_CONFIG;
}

/* The names by value, and how many there are. */
static u32 config_names(const struct config_row *row, const char *const **names) {
    *names = row->type == CONFIG_PRESET   ? preset_names
             : row->type == CONFIG_SWITCH ? switch_names
                                          : log_level_names;
    return row->type == CONFIG_LEVEL ? (u32)COUNT_OF(log_level_names) : 3;
}

/* "must be one of auto, on, off": built from the names themselves, so that a new one is told
   without a change here. */
static mps_error config_fault_names(mps_fault *fault, const struct config_row *row) {
    char text[96];
    const char *const *names;
    struct text t = text_on(text, sizeof text - 1);
    u32 count = config_names(row, &names);
    TEXT_LITERAL(&t, "must be one of ");
    for (u32 i = row->type == CONFIG_LEVEL; i < count; i++) { /* the first level is a default */
        text_z(&t, names[i]);
        text_z(&t, i + 1 < count ? ", " : "");
    }
    text[t.bytes] = 0;
    return config_fault(fault, row->key, text, 0, NULL, 0);
}

/* Reads a name of a closed list; a switch may also be true or false. "info" stands twice among the
   levels; the later one is explicit. */
static mps_error config_read_name(mps_config *c, const struct config_row *row,
                                  struct json_value *value, mps_fault *fault) {
    const char *const *names;
    u32 count = config_names(row, &names), found = count;
    for (u32 i = 0; i < count; i++) {
        found = json_is(value, names[i]) ? i : found;
    }
    if (row->type == CONFIG_SWITCH && value->type == JSON_TRUE) {
        found = MPS_ON;
    } else if (row->type == CONFIG_SWITCH && value->type == JSON_FALSE) {
        found = MPS_OFF;
    }
    if (found == count) {
        return config_fault_names(fault, row);
    }
    config_choose(c, row, found);
    return MPS_OK;
}

/* Takes a string of the text in place: zero-terminated over its closing quote. So it is borrowed
   from the text, which has to outlive the configuration. */
static mps_error config_take_string(struct json_value *value, u32 min, u32 max, const char *key,
                                    const char **out, size_t *bytes, mps_fault *fault) {
    struct span text;
    if (!json_string(value, &text) || text.bytes < min || text.bytes > max || span_has(text, 0)) {
        return config_fault(fault, key, "must be a string, its bytes from ", min, " to ", max);
    }
    ((char *)(uintptr_t)text.at)[text.bytes] = 0;
    *out = text.at;
    *bytes = text.bytes;
    return MPS_OK;
}

/* Checks only; ranges_load reads the same text again when the server is made. */
static mps_error config_check_range(const struct config_row *row, const char *text,
                                    mps_fault *fault) {
    struct address_range range;
    return address_range_parse(span_z(text), &range)
               ? MPS_OK
               : config_fault(fault, row->key,
                              "holds what is no address or CIDR (host bits must be zero)", 0, NULL,
                              0);
}

/* The whole list is replaced; behind the last entry it is NULL, which is where readers stop. */
static mps_error config_read_ranges(mps_config *c, const struct config_row *row,
                                    struct json_value *value, mps_fault *fault) {
    const char **list = config_string(c, row);
    struct json_value element;
    size_t bytes;
    u32 count = 0;
    if (value->type != JSON_ARRAY) {
        return config_fault(fault, row->key, "must be an array of addresses or CIDRs", 0, NULL, 0);
    }
    struct json_walk walk = json_walk_into(*value);
    while (json_walk_element(&walk, &element)) {
        if (count == MPS_RANGES_MAX) {
            return config_fault(fault, row->key, "has too many entries: from ", 0, " to ",
                                MPS_RANGES_MAX);
        }
        if (config_take_string(&element, 1, 64, row->key, &list[count], &bytes, fault) ||
            config_check_range(row, list[count++], fault)) {
            return MPS_E_CONFIG;
        }
    }
    while (count < MPS_RANGES_MAX) {
        list[count++] = NULL;
    }
    return MPS_OK;
}

/* A string that goes into headers, JSON and logs as it is: printable ASCII without quotes. A line
   end in one of them would begin a header of its own (RFC 9112, 11.1). */
static bool config_string_plain(struct span s) {
    for (size_t i = 0; i < s.bytes; i++) {
        if ((u8)s.at[i] <= ' ' || (u8)s.at[i] >= 0x7F || s.at[i] == '"' || s.at[i] == '\\') {
            return false;
        }
    }
    return true;
}

/* For strings of a file and of the caller's code alike. A server's name is for people and always
   escaped; the secret may be any bytes. */
static mps_error config_check_string(const struct config_row *row, struct span s,
                                     mps_fault *fault) {
    bool name = row->at == offsetof(mps_config, name);
    if (s.bytes < row->min || s.bytes > row->max) {
        return config_fault(fault, row->key, "must be a string, its bytes from ", row->min, " to ",
                            row->max);
    }
    if (name && !name_valid(s, SERVER_NAME_MAX)) {
        return config_fault(fault, row->key, "must be UTF-8 text", 0, NULL, 0);
    }
    if (!name && row->type != CONFIG_SECRET && !config_string_plain(s)) {
        return config_fault(fault, row->key, "must be printable ASCII, no spaces or quotes", 0,
                            NULL, 0);
    }
    return MPS_OK;
}

/* Judges one value by its row alone; whether values fit together is config_check_fit's to say. */
static mps_error config_read_value(mps_config *c, const struct config_row *row,
                                   struct json_value *value, mps_fault *fault) {
    i64 number;
    size_t bytes;
    switch (row->type) {
    case CONFIG_PRESET:
    case CONFIG_SWITCH:
    case CONFIG_LEVEL:
        return config_read_name(c, row, value, fault);
    case CONFIG_BOOL:
        if (value->type != JSON_TRUE && value->type != JSON_FALSE) {
            return config_fault(fault, row->key, "must be true or false", 0, NULL, 0);
        }
        config_choose(c, row, value->type == JSON_TRUE);
        return MPS_OK;
    case CONFIG_STRING:
        if (config_take_string(value, row->min, row->max, row->key, config_string(c, row), &bytes,
                               fault)) {
            return MPS_E_CONFIG;
        }
        return config_check_string(row, span_z(*config_string(c, row)), fault);
    case CONFIG_SECRET:
        return config_take_string(value, row->min, row->max, row->key, &c->jwt_secret,
                                  &c->jwt_secret_bytes, fault);
    case CONFIG_RANGES:
        return config_read_ranges(c, row, value, fault);
    case CONFIG_U16:
    case CONFIG_U32:
    case CONFIG_MOST:
        break;
    }
    if (!json_i64(*value, row->min, row->max, &number)) {
        return config_fault(fault, row->key, "must be a whole number from ", row->min, " to ",
                            row->max);
    }
    config_choose(c, row, (u32)number);
    return MPS_OK;
}

/* Moves a place in the text on to `position`, before anything up to there is changed: a decoded
   string may hold line ends that the file does not. Each byte is looked at once in all, since
   places only go forward. */
static void fault_advance(mps_fault *place, const char *json, size_t position) {
    for (; place->position < position; place->position++) {
        bool line_end = json[place->position] == '\n';
        place->column = line_end ? 1 : place->column + 1;
        place->line += line_end;
    }
}

/* Tens of keys, at the start and at a reload: a walk will do. */
static const struct config_row *config_find(struct span key) {
    for (u32 i = 0; i < COUNT_OF(config_keys); i++) {
        if (span_equal(key, span_z(config_keys[i].key))) {
            return &config_keys[i];
        }
    }
    return NULL;
}

/* An unknown key is an error: it is most likely misspelt, and its owner believes that it works. */
static mps_error config_read_member(mps_config *c, bool *seen, struct json_value *key,
                                    struct json_value *value, mps_fault *fault) {
    char name[64];
    struct span text;
    json_string(key, &text);
    copy_z(name, sizeof name, span_of(text.at, size_min(text.bytes, sizeof name - 1)));
    const struct config_row *row = config_find(text);
    for (u32 i = 0; config_left_out[i].key; i++) {
        if (span_equal(text, span_z(config_left_out[i].key))) {
            return config_fault(fault, name, config_left_out[i].fault, 0, NULL, 0);
        }
    }
    if (!row) {
        return config_fault(fault, name, "is no configuration key; --help-config lists them", 0,
                            NULL, 0);
    }
    if (seen[row - config_keys]) {
        return config_fault(fault, name, "stands here a second time", 0, NULL, 0);
    }
    seen[row - config_keys] = true;
    return config_read_value(c, row, value, fault);
}

/* Changes `c` even when it fails: the caller works on a copy. A fault names the place of its key.
   The whole text is checked first, so the walk below meets no bad JSON. */
static mps_error config_read(mps_config *c, char *json, size_t bytes, mps_fault *fault) {
    struct json_fault at;
    struct json_value key, value, none;
    bool seen[COUNT_OF(config_keys)] = {false};
    /* `place` walks on with the text; `fault` is a copy of where it stood. */
    mps_fault place = {.line = 1, .column = 1};
    /* Only to check the text: what it holds is walked below, which keeps the places. */
    const char *const no_keys[] = {""};
    if (!json_object(json, bytes, no_keys, 1, &none, &at)) {
        fault_advance(&place, json, at.position);
        *fault = place;
        config_fault(fault, "", at.text, 0, NULL, 0);
        return fault->error = MPS_E_BAD_JSON;
    }
    size_t open = 0;
    while (json[open] != '{') { /* only white space stands in front of it */
        open++;
    }
    struct json_walk walk =
        json_walk_into((struct json_value){JSON_OBJECT, json + open, bytes - open});
    while (json_walk_member(&walk, &key, &value)) {
        fault_advance(&place, json, (size_t)(key.at - json));
        *fault = place;
        fault_advance(&place, json, (size_t)(value.at - json) + value.bytes);
        mps_error error = config_read_member(c, seen, &key, &value, fault);
        if (error) {
            return error;
        }
    }
    return MPS_OK;
}

/* Fills in the defaults of the preset. Limits that are 0 get the preset's number; ports keep their
   0. Strings stay the caller's. A preset that is none is left for config_check to report. */
static mps_config config_effective(const mps_config *given) {
    mps_config c = *given;
    u32 preset = (u32)given->preset <= MPS_PRESET_LARGE ? (u32)given->preset : 0;
    for (u32 i = 0; i < COUNT_OF(config_keys); i++) {
        enum config_type type = config_keys[i].type;
        if ((type == CONFIG_U32 || type == CONFIG_MOST) && !*config_u32(&c, &config_keys[i])) {
            *config_u32(&c, &config_keys[i]) = config_keys[i].defaults[preset];
        }
    }
    if (c.log_level == MPS_LOG_DEFAULT) {
        c.log_level = MPS_LOG_INFO;
    }
    c.jwt_issuer = c.jwt_issuer ? c.jwt_issuer : "mpserver";
    c.cors_origin = c.cors_origin ? c.cors_origin : "*";
    c.name = c.name ? c.name : "mpserver";
    if (c.jwt_secret && !c.jwt_secret_bytes) {
        c.jwt_secret_bytes = strlen(c.jwt_secret);
    }
    return c;
}

/* The longest text of one lobby. A code point of a name takes six bytes at most: \u0001. */
#define LOBBY_TEXT_FIXED 1024
#define LOBBY_TEXT_PLAYER (6 * NAME_POINTS_MAX + 40)
/* The longest other answers: a token of the longest claims with its id and name, a histogram. */
#define ANSWER_BYTES_MIN 2304

#ifndef MPS_NO_ROOMS
/* The same of a room with its members, and what stands around the values of a relayed message. */
#define ROOM_TEXT_FIXED 1024
#define ROOM_TEXT_MEMBER (6 * NAME_POINTS_MAX + 48)
#define EVENT_TEXT_FIXED 1024

static u32 config_event_bytes(const mps_config *c) {
    u32 room = ROOM_TEXT_FIXED + c->room_players_max * ROOM_TEXT_MEMBER;
    return u32_max(room, EVENT_TEXT_FIXED + c->message_bytes_max);
}

/* The longest message that comes in. */
static u32 config_message_bytes(const mps_config *c) {
    return c->message_bytes_max;
}

static u32 config_rooms(const mps_config *c) {
    return c->rooms;
}

static u32 config_seats(const mps_config *c) {
    return c->seats;
}

/* Between a ping and the end there has to be time. */
static mps_error config_check_sockets(const mps_config *c, mps_fault *fault) {
    return c->silence_timeout_ms > c->ping_after_ms
               ? MPS_OK
               : config_fault(fault, "silence_timeout_ms", "must be more than ping_after_ms: from ",
                              (u64)c->ping_after_ms + 1, " to ", 86400000);
}
#else
static u32 config_event_bytes(const mps_config *c) {
    (void)c;
    return 0;
}

static u32 config_message_bytes(const mps_config *c) {
    (void)c;
    return 0;
}

static u32 config_rooms(const mps_config *c) {
    (void)c;
    return 0;
}

static u32 config_seats(const mps_config *c) {
    (void)c;
    return 0;
}

static mps_error config_check_sockets(const mps_config *c, mps_fault *fault) {
    (void)c, (void)fault;
    return MPS_OK;
}
#endif

/* What the answer scratch holds: no answer, no unit of a long one and no message is longer. */
static u32 config_answer_bytes(const mps_config *c) {
    u32 lobby = LOBBY_TEXT_FIXED + c->lobby_players * LOBBY_TEXT_PLAYER;
    return u32_max(u32_max(lobby, config_event_bytes(c)), ANSWER_BYTES_MIN);
}

/* A request or a message that is allowed has to fit in one piece: the largest tier is the last. The
   rest is for a chunk line in the making, or for a frame between the parts of a message. */
static u32 config_large_bytes(const mps_config *c) {
    return u32_max(c->head_bytes_max + c->body_bytes_max, config_message_bytes(c)) + 512;
}

#define LOAD_BYTES_MIN 16384 /* of chunks, to load the longest lists in */

/* How the values fit together. What passes here, the sections below rely on without asking again.
   Sums that may pass 32 bits are taken in 64. */
static mps_error config_check_fit(const mps_config *c, mps_fault *fault) {
    u32 answer = config_answer_bytes(c) + ANSWER_HEAD_MAX;
    /* An answer is reserved whole, so one that passes the cap could never be sent. */
    if (c->output_bytes_max < answer) {
        return config_fault(fault, "output_bytes_max", "must be at least ", answer,
                            " to hold the longest message, the largest room, and a lobby of "
                            "lobby_players = ",
                            c->lobby_players);
    }
    /* With less, one answer that is not read would take the place of every other. */
    if ((u64)c->chunks * c->chunk_bytes < 2 * (u64)answer) {
        return config_fault(fault, "chunks", "times chunk_bytes must be at least ", 2 * (u64)answer,
                            ", two of the longest answers, with chunk_bytes = ", c->chunk_bytes);
    }
    /* The lists are built where the chunks will be, see server_load. */
    if ((c->trusted_proxies[0] || c->metrics_allow[0]) &&
        (u64)c->chunks * c->chunk_bytes < LOAD_BYTES_MIN) {
        return config_fault(fault, "chunks", "times chunk_bytes must be at least ", LOAD_BYTES_MIN,
                            " to load ranges, with chunk_bytes = ", c->chunk_bytes);
    }
    /* Four more: for the rest of the division, for a first chunk that is partly sent, for a close
       frame, and for input. */
    if (c->output_bytes_max / c->chunk_bytes + 4 > CONN_HELD_MAX) {
        return config_fault(fault, "output_bytes_max", "must be at most ",
                            (u64)(CONN_HELD_MAX - 4) * c->chunk_bytes,
                            " with chunk_bytes = ", c->chunk_bytes);
    }
    /* Method, version and line ends stand in the head, too. */
    if (c->target_bytes_max + 32 > c->head_bytes_max) {
        return config_fault(fault, "target_bytes_max", "must leave room in the head: at most ",
                            c->head_bytes_max - 32, " with head_bytes_max = ", c->head_bytes_max);
    }
    /* Each tier of input has to hold what the one below it held, see input_grow. */
    if (c->chunk_bytes > config_large_bytes(c)) {
        return config_fault(fault, "chunk_bytes", "must be at most ", config_large_bytes(c),
                            ", a large input of body_bytes_max = ", c->body_bytes_max);
    }
    if (c->input_bytes > c->chunk_bytes) {
        return config_fault(fault, "input_bytes", "must be at most chunk_bytes: from ", 64, " to ",
                            c->chunk_bytes);
    }
    return config_check_sockets(c, fault);
}

/* The same rules as for a file, for those who fill in mps_config in code. */
static mps_error config_check_row(const mps_config *c, const struct config_row *row,
                                  mps_fault *fault) {
    if (row->type == CONFIG_STRING || row->type == CONFIG_SECRET) {
        struct span s = span_z(*config_string(c, row));
        s.bytes = row->type == CONFIG_SECRET ? c->jwt_secret_bytes : s.bytes;
        return s.at ? config_check_string(row, s, fault) : MPS_OK;
    }
    if (row->type == CONFIG_RANGES) {
        const char **list = config_string(c, row);
        for (u32 i = 0; i < MPS_RANGES_MAX && list[i]; i++) {
            if (config_check_range(row, list[i], fault)) {
                return MPS_E_CONFIG;
            }
        }
        return MPS_OK;
    }
    u64 value = config_choice(c, row);
    if (value < row->min || value > row->max) {
        return config_fault(fault, row->key, "must be a whole number from ", row->min, " to ",
                            row->max);
    }
    return MPS_OK;
}

/* `effective` comes from config_effective: a 0 that stands for a default would be out of range. */
static mps_error config_check(const mps_config *effective, mps_fault *fault) {
    for (u32 i = 0; i < COUNT_OF(config_keys); i++) {
        if (config_check_row(effective, &config_keys[i], fault)) {
            return MPS_E_CONFIG;
        }
    }
    return config_check_fit(effective, fault);
}

/* As config_read takes it. The secret is never printed; a string that is not set is left out. */
static void config_put_row(struct text *t, const mps_config *c, const struct config_row *row) {
    const char *const *names;
    const char **list = config_string(c, row);
    switch (row->type) {
    case CONFIG_SECRET:
        return;
    case CONFIG_STRING:
        if (!*list) {
            return;
        }
        json_put_key(t, row->key);
        json_put_z(t, *list);
        return;
    case CONFIG_RANGES:
        json_put_key(t, row->key);
        json_put_open(t, '[');
        for (u32 i = 0; i < MPS_RANGES_MAX && list[i]; i++) {
            json_put_z(t, list[i]);
        }
        json_put_close(t, ']');
        return;
    case CONFIG_BOOL:
        json_put_key(t, row->key);
        json_put_bool(t, config_choice(c, row));
        return;
    case CONFIG_PRESET:
    case CONFIG_SWITCH:
    case CONFIG_LEVEL:
        config_names(row, &names);
        json_put_key(t, row->key);
        json_put_z(t, names[config_choice(c, row)]);
        return;
    case CONFIG_U32:
    case CONFIG_MOST:
    case CONFIG_U16:
        json_member_u64(t, row->key, config_choice(c, row));
        return;
    }
}

/* -- layout -- */

/* Places in the table: those served, and those that are only told why not. */
static u32 config_conns(const mps_config *c) {
    return c->connections + c->refusals;
}

/* One for every record that can have a deadline. */
static u32 config_timers(const mps_config *c) {
    return config_conns(c) + c->lobbies + c->players + config_rooms(c) + config_seats(c) +
           SERVER_TIMERS;
}

/* Requests are taken only while a whole lobby's worth of outcomes has room. */
static u32 config_outcomes(const mps_config *c) {
    return 2 * c->settle_max + c->lobby_players + 16;
}

/* The longest that is decoded whole: a part of a token, or a path. */
static u32 config_work_bytes(const mps_config *c) {
    return u32_max(AUTH_TOKEN_BYTES_MAX, c->target_bytes_max);
}

/* A key for each index: what one of them shows by its order says nothing about another. */
static struct siphash_key server_key(struct mps_server *s) {
    struct siphash_key key;
    u8 bytes[16];
    random_bytes(&s->kit.random, bytes, sizeof bytes);
    key.k0 = load_le64(bytes);
    key.k1 = load_le64(bytes + 8);
    return key;
}

/* One scratch for all: an answer in it is sent, that is copied, before the next one is begun. */
static void *server_answer(const struct mps_server *s) {
    return near_get(&s->answer);
}

/* == 81 answers ==================================================================================
   What handlers are made with: the request that is being answered, the answer's head and body, the
   one form of every error, and readers of bodies and queries that know which field was at fault. A
   body is written into the server's scratch and leaves with its head in one piece. Answers decide
   nothing about the game. */

#define ROUTE_PARAM_MAX UUID_TEXT /* a room's id, the longest that names anything in a path */
_Static_assert(LOBBY_CODE_MAX <= ROUTE_PARAM_MAX, "a code is too long for a path");

/* A request that is complete, while it is being answered. Everything in it is borrowed. It lives on
   the stack for one call. A request that has to wait for the game is not kept: it is made anew from
   its bytes, which are. */
struct request {
    struct mps_server *s;
    struct conn *conn;
    const struct http_head *head;
    const struct route *route; /* NULL: none matched */
    u32 route_index;
    char *body;
    size_t body_bytes;
    mps_address client; /* behind trusted proxies */
    bool has_claims;
    bool waits;               /* the game answers for its token later */
    bool resumed;             /* it has answered: yes, when has_claims */
    struct span param;        /* {code} or {id} of the path, decoded, in param_text */
    const char *produce_type; /* set by a handler that leaves its answer to a producer */
    /* What helps to understand a refusal; NULL and 0 are left out. */
    const char *error_field, *error_allow, *error_detail, *error_room;
    bool has_position;
    size_t error_position, error_limit;
    u32 retry_s;
    /* Up to here zeroed for every request. */
    char id[65];
    char extra[64]; /* a header line of the answer, its line end in front */
    char param_text[ROUTE_PARAM_MAX];
    char allow[64];            /* the methods of the path, when error_allow points here */
    struct auth_claims claims; /* valid when has_claims */
};

/* OPEN: no token is looked at. USER: any valid one. ADMIN: one with that role. OPTIONAL: checked
   when there is one, for what it may add. METRICS: dev, loopback, metrics_allow, or an admin.
   SOCKET: like OPTIONAL, and the token may stand in the query, as browsers can send no field. */
enum route_auth {
    ROUTE_OPEN,
    ROUTE_USER,
    ROUTE_ADMIN,
    ROUTE_OPTIONAL,
    ROUTE_METRICS,
    ROUTE_SOCKET
};
/* JSON: an HTTP/1.0 request must tell its length; the handler reads one object. */
enum route_body { BODY_IGNORED, BODY_JSON };

struct route {
    const char *path; /* as documented and counted */
    u8 before_bytes;  /* in front of {code}, which is one segment; without one: all of it */
    u8 after;         /* where the path goes on behind it; 0: there is none */
    enum http_method method;
    enum route_auth auth;
    enum route_body body;
    bool new_work; /* refused while draining */
    mps_error (*handler)(struct request *r);
    const char *doc;
};

/* There is one scratch for the whole server: a body must have been sent before the next is
   begun. */
static struct text answer_text(struct request *r) {
    return text_on(server_answer(r->s), r->s->answer_bytes);
}

/* The lines that every answer has, made once a second. The name of X-Request-Id comes last, so that
   the id itself is written right behind. Date: RFC 9110, 6.6.1. Without Expose-Headers a browser
   hides those fields from scripts. */
static struct span answer_lines(struct mps_server *s) {
    i64 now_s = kit_unix_ms(&s->kit) / 1000;
    if (s->lines_s != now_s || !s->lines_bytes) {
        struct text t = text_on(s->lines, sizeof s->lines);
        TEXT_LITERAL(&t, "\r\nDate: ");
        http_put_date(&t, now_s);
        TEXT_LITERAL(&t, "\r\nAccess-Control-Allow-Origin: ");
        text_z(&t, s->cors_origin);
        TEXT_LITERAL(&t, "\r\nAccess-Control-Expose-Headers: X-Next-Cursor, X-Request-Id, "
                         "Retry-After, ETag\r\nX-Request-Id: ");
        MPS_ASSERT(!t.cut);
        s->lines_s = now_s;
        s->lines_bytes = (u32)t.bytes;
    }
    return span_of(s->lines, s->lines_bytes);
}

static void answer_put_status(struct text *t, u32 status) {
    if (status == 200) { /* the usual case, in one piece */
        TEXT_LITERAL(t, "HTTP/1.1 200 OK");
        return;
    }
    TEXT_LITERAL(t, "HTTP/1.1 ");
    text_u64(t, status);
    text_char(t, ' ');
    text_z(t, http_reason(status));
}

/* No body has such a length; they say how the head announces it. */
#define BODY_CHUNKED SIZE_MAX           /* a producer writes it, RFC 9112, 7.1 */
#define BODY_UNTIL_CLOSE (SIZE_MAX - 1) /* the same for HTTP/1.0 */
#define BODY_NONE (SIZE_MAX - 2)        /* 204 */

/* What an answer's head says. `extra` holds whole lines, each with its line end in front. */
struct answer {
    u32 status;
    size_t body_bytes;
    const char *type;
    struct span extra;
};

/* A 204 says no length (RFC 9110, 8.6); the answer to a HEAD says that of the GET. HTTP/1.1 keeps a
   connection unless told otherwise, HTTP/1.0 the other way round (RFC 9112, 9.3). */
static void answer_put_head(struct request *r, struct text *t, const struct answer *a) {
    answer_put_status(t, a->status);
    if (a->body_bytes == BODY_CHUNKED) {
        TEXT_LITERAL(t, "\r\nTransfer-Encoding: chunked");
    } else if (a->body_bytes < BODY_NONE) {
        TEXT_LITERAL(t, "\r\nContent-Length: ");
        text_u64(t, a->body_bytes);
    }
    if (a->body_bytes != BODY_NONE) {
        TEXT_LITERAL(t, "\r\nContent-Type: ");
        text_z(t, a->type);
    }
    text_add(t, answer_lines(r->s));
    text_z(t, r->id);
    text_add(t, a->extra);
    if (!r->conn->keep_alive) {
        TEXT_LITERAL(t, "\r\nConnection: close");
    } else if (r->head && r->head->minor == 0) {
        TEXT_LITERAL(t, "\r\nConnection: keep-alive");
    }
    TEXT_LITERAL(t, "\r\n\r\n");
}

/* True: the record is to be filled in and given to log_emit in the same call. */
static bool server_log_begin(struct mps_server *s, enum log_item item, mps_log_record *record) {
    u64 uptime_us = s->kit.now - s->kit.born;
    i64 unix_ms = s->kit.wall_known ? kit_unix_ms(&s->kit) : 0;
    return log_begin(&s->log, item, uptime_us, unix_ms, record, &s->kit.metrics);
}

/* A line about a connection: whose it is, and why unless `reason` is NULL. */
static void server_log_peer(struct mps_server *s, enum log_item item, const mps_address *peer,
                            const char *reason) {
    char text[ADDRESS_TEXT_MAX];
    struct text t = text_on(text, sizeof text);
    mps_log_record record;
    if (!server_log_begin(s, item, &record)) {
        return;
    }
    address_put(&t, peer);
    log_text(&record, "peer", text_span(&t));
    if (reason) {
        log_z(&record, "reason", reason);
    }
    log_emit(&s->log, &record);
}

/* Counts and logs what was answered. Called once for every answer, whether or not there was a
   complete request. `bytes` are those of the body. A request of which nothing came, as at a
   time-out, began now. */
static void answer_note(struct request *r, u32 status, size_t bytes) {
    struct kit *k = &r->s->kit;
    mps_log_record record;
    u64 began = r->conn->request.started ? r->conn->request.started : k->now;
    metrics_request(&k->metrics, r->route_index, status);
    if (!r->conn->answers++) {
        r->conn->asked_at = began;
    }
    /* 501 and 505 are the client's doing, and while draining 503 is the plan. */
    bool failed = status == 500 || (status == 503 && r->s->drain == DRAIN_NO);
    enum log_item item = failed ? LOG_ITEM_REQUEST_FAILED : LOG_ITEM_REQUEST;
    /* Asked before the texts are made: at the usual level nobody wants this line. */
    if (!server_log_begin(r->s, item, &record)) {
        return;
    }
    char client[ADDRESS_TEXT_MAX], target[256];
    struct text c = text_on(client, sizeof client), t = text_on(target, sizeof target);
    address_put_ip(&c, &r->client);
    if (r->head) {
        http_put_target(&t, r->head->target);
        log_z(&record, "method", http_method_names[r->head->method]);
        log_text(&record, "target", text_span(&t));
    }
    log_number(&record, "status", status);
    log_number(&record, "bytes", (i64)bytes);
    log_number(&record, "us", (i64)(k->now - began));
    log_text(&record, "client", text_span(&c));
    log_z(&record, "request_id", r->id);
    log_emit(&r->s->log, &record);
}

/* status, error and message are always there; the others only when they say something. */
static void answer_put_error(const struct request *r, struct text *t, const struct error_row *row) {
    json_put_open(t, '{');
    json_member_z(t, "status", "error");
    json_member_z(t, "error", row->code);
    json_member_z(t, "message", row->text);
    if (r->error_field) {
        json_member_z(t, "field", r->error_field);
    }
    if (r->error_detail) {
        json_member_z(t, "detail", r->error_detail);
    }
    if (r->error_room) {
        json_member_z(t, "existing_room_id", r->error_room);
    }
    if (r->has_position) {
        json_member_u64(t, "position", r->error_position);
    }
    if (r->error_limit) {
        json_member_u64(t, "limit", r->error_limit);
    }
    json_put_close(t, '}');
}

/* There is no memory for the answer: a short one fits what the connection owns, if that is free.
   Put together here and not by answer_error, which would need the room that is missing. When even
   this does not fit whole, the connection is dropped: half an answer could pass for one. */
static void answer_output_full(struct request *r) {
    char text[512];
    struct text t = text_on(text, size_min(sizeof text, r->s->conns.output_bytes));
    const struct error_row *row = error_row(MPS_E_OUTPUT_FULL);
    struct text body = answer_text(r);
    r->error_field = r->error_detail = r->error_room = NULL; /* of an error not said */
    r->has_position = false;
    r->error_limit = 0;
    answer_put_error(r, &body, row);
    answer_put_status(&t, row->http);
    TEXT_LITERAL(&t, "\r\nConnection: close\r\nRetry-After: 1\r\nContent-Type: application/json"
                     "\r\nAccess-Control-Allow-Origin: ");
    text_z(&t, r->s->cors_origin);
    TEXT_LITERAL(&t, "\r\nContent-Length: ");
    text_u64(&t, body.bytes);
    TEXT_LITERAL(&t, "\r\n\r\n");
    if (!r->head || r->head->method != HTTP_HEAD) {
        text_add(&t, text_span(&body));
    }
    r->conn->keep_alive = false;
    if (r->conn->out_bytes || t.cut) {
        metrics_count(&r->s->kit.metrics, COUNTER_CLOSED_NO_ROOM);
        answer_note(r, row->http, 0);
        conn_abort(&r->s->kit, &r->s->conns, r->conn);
        return;
    }
    conn_output(&r->s->kit, &r->s->conns, r->conn, text_span(&t));
    answer_note(r, row->http, body.bytes);
}

/* Sends a whole answer, or the head of one that a producer writes. False when there was no memory
   for it and the client was told, or dropped. Whole or nothing: the room is made before a byte is
   added. `body` stands in the scratch, and nowhere else, because the head is put in front of it
   there. */
static bool answer_send(struct request *r, const struct answer *a, struct span body) {
    char head[ANSWER_HEAD_MAX];
    struct text t = text_on(head, sizeof head);
    bool bodyless = r->head && r->head->method == HTTP_HEAD;
    answer_put_head(r, &t, a);
    MPS_ASSERT(!t.cut);
    size_t bytes = bodyless ? 0 : body.bytes;
    if (r->conn->state == CONN_ABORT) {
        return false; /* what its handler sent to others took its memory, and it is over */
    }
    if (conns_output_reserve(&r->s->kit, &r->s->conns, r->conn, t.bytes + bytes)) {
        answer_output_full(r);
        return false;
    }
    /* The scratch has room in front of its bodies: head and body go out in one piece. */
    char *whole = (char *)server_answer(r->s) - t.bytes;
    memcpy(whole, head, t.bytes);
    MPS_ASSERT(!bytes || body.at == server_answer(r->s));
    conn_output(&r->s->kit, &r->s->conns, r->conn, span_of(whole, t.bytes + bytes));
    answer_note(r, a->status, bytes);
    return true;
}

/* The scratch was sized for the longest of these bodies, so a cut one is a mistake in
   config_answer_bytes and no matter of the request. */
static mps_error answer_json(struct request *r, u32 status, const struct text *body) {
    struct answer a = {status, body->bytes, "application/json", SPAN("")};
    MPS_ASSERT(!body->cut);
    answer_send(r, &a, text_span(body));
    return MPS_OK;
}

/* {"status":"ok"} and nothing else. */
static mps_error answer_ok(struct request *r, u32 status) {
    struct text t = answer_text(r);
    TEXT_LITERAL(&t, "{\"status\":\"ok\"}");
    return answer_json(r, status, &t);
}

/* Retry-After in seconds, never 0 (RFC 9110, 10.2.3); a 405 must name what is allowed (RFC 9110,
   15.5.6), a 426 what is wanted. */
static void answer_error(struct request *r, mps_error error) {
    const struct error_row *row = error_row(error);
    char extra[128];
    struct text e = text_on(extra, sizeof extra), body = answer_text(r);
    answer_put_error(r, &body, row);
    if (row->http == 503 || row->http == 429) {
        TEXT_LITERAL(&e, "\r\nRetry-After: ");
        text_u64(&e, r->retry_s ? r->retry_s : 1);
    } else if (row->http == 401) {
        TEXT_LITERAL(&e, "\r\nWWW-Authenticate: Bearer"); /* RFC 9110, 11.6.1 */
    } else if (row->http == 405) {
        TEXT_LITERAL(&e, "\r\nAllow: ");
        text_z(&e, r->error_allow);
    } else if (row->http == 426) { /* RFC 9110, 15.5.22; RFC 6455, 4.4 */
        TEXT_LITERAL(&e, "\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13");
    }
    struct answer a = {row->http, body.bytes, "application/json", text_span(&e)};
    answer_send(r, &a, text_span(&body));
}

/* `field` is kept until the answer is written: a literal, or what lives as long as `r`. */
static mps_error fail_field(struct request *r, mps_error error, const char *field) {
    r->error_field = field;
    return error;
}

/* The members of an id keep the JSON type that the user's token gave it. */
static void put_user_id(struct text *t, const char *id, bool is_number) {
    if (is_number) {
        json_put_raw(t, span_z(id));
    } else {
        json_put_z(t, id);
    }
}

/* -- who and how much -- */

/* The token of a request or a handshake. Sets `waits` when the game answers later. A token that the
   server's own key signed is judged here alone; any other is the game's matter, when it has the
   hook. The ticket is serial << 32 | index + 1, so that a late answer does not meet another request
   of the same connection. */
static mps_error token_verify(struct mps_server *s, struct conn *conn, struct span token,
                              struct auth_claims *claims, bool *waits) {
    bool signed_here;
    i64 uptime_s = (i64)((s->kit.now - s->kit.born) / S_US);
    struct auth_clock clock = {kit_unix_ms(&s->kit) / 1000, uptime_s, s->kit.wall_known};
    mps_error error = auth_verify(&s->auth, &clock, token, near_get(&s->work), s->work_bytes,
                                  claims, &signed_here);
    if (signed_here || !s->config.hooks.authenticate) {
        return error;
    }
    u64 ticket = ++s->auth_serial << 32 | (conn_index(&s->conns, conn) + 1);
    memset(claims, 0, sizeof *claims);
    switch (s->config.hooks.authenticate(s->config.hooks.user, token.at, token.bytes, ticket,
                                         &claims->who)) {
    case MPS_YES:
        return identity_complete(&claims->who) ? MPS_OK : MPS_E_TOKEN_INVALID;
    case MPS_LATER:
        conn->auth_ticket = ticket;
        *waits = true;
        return MPS_OK;
    case MPS_NO:
        break;
    }
    return MPS_E_TOKEN_INVALID;
}

/* Room for what one request, message or timer may make: closing a full lobby makes most, and a 100
   Continue may have closed slow readers before. */
static bool server_outcomes_room(const struct mps_server *s) {
    return outcomes_room(&s->kit.outcomes, s->lobbies.players_max + CONN_EVICTIONS_MAX + 4);
}

/* Output above high water stops input, so that a peer which does not read cannot make the server
   keep more and more answers. When one round has taken a good part of all memory for output, that
   goes out first: it may be that everybody reads, and nobody need be closed for it. Outcomes count
   as well: they are told only when the call ends. */
static bool server_may_go_on(const struct mps_server *s, const struct conn *conn) {
    const struct conns *c = &s->conns;
    bool goes_out_first = c->chunks_round > c->chunks_count / 4;
    return conn->out_bytes <= c->output_high && !goes_out_first && server_outcomes_room(s);
}

/* Loopback is free of limits with dev. */
static bool address_exempt(const struct mps_server *s, const mps_address *from) {
    return s->config.dev && address_is_loopback(from);
}

/* Has the address as many connections as it may? Behind a trusted proxy there are many clients, who
   are told apart once they are known. */
static bool address_share_full(const struct mps_server *s, const mps_address *from) {
    return !address_exempt(s, from) && !ranges_have(&s->trusted_proxies, from) &&
           conns_share_full(&s->conns, from);
}

/* Spends one event of the address; seconds to wait, or 0 when there was one to spend. Rounded up:
   who comes back after Retry-After must find a token in the bucket. */
static u32 address_limit(struct mps_server *s, enum rate_class class, const mps_address *from) {
    if (address_exempt(s, from)) {
        return 0;
    }
    return (u32)((rate_spend(&s->kit, &s->rates, class, from) + S_US - 1) / S_US);
}

/* -- reading what came -- */

/* The values point into the body, which json_string decodes in place: a string can be read once.
   `position` counts bytes of the body from 0. */
static mps_error body_read(struct request *r, const char *const *keys, u32 count,
                           struct json_value *values) {
    struct json_fault fault;
    if (json_object(r->body, r->body_bytes, keys, count, values, &fault)) {
        return MPS_OK;
    }
    r->has_position = true;
    r->error_position = fault.position;
    r->error_detail = fault.text;
    return MPS_E_BAD_JSON;
}

/* An optional member may be absent or null. */
static bool value_given(const struct json_value *v) {
    return v->type != JSON_ABSENT && v->type != JSON_NULL;
}

/* A name that people see: 1..32 code points. `out` is a part of the body: whoever keeps it copies
   it. */
static mps_error body_name(struct request *r, struct json_value *v, const char *field,
                           struct span *out) {
    bool good = json_string(v, out) && out->bytes <= MPS_NAME_BYTES_MAX &&
                name_valid(*out, NAME_POINTS_MAX);
    return good ? MPS_OK : fail_field(r, MPS_E_INVALID_FIELD, field);
}

static mps_error body_u32(struct request *r, struct json_value *v, const char *field, u32 min,
                          u32 max, u32 *out) {
    i64 number;
    if (!json_i64(*v, min, max, &number)) {
        return fail_field(r, MPS_E_INVALID_FIELD, field);
    }
    *out = (u32)number;
    return MPS_OK;
}

static mps_error body_bool(struct request *r, struct json_value *v, const char *field, bool *out) {
    if (v->type != JSON_TRUE && v->type != JSON_FALSE) {
        return fail_field(r, MPS_E_INVALID_FIELD, field);
    }
    *out = v->type == JSON_TRUE;
    return MPS_OK;
}

/* A query parameter as text into `out`; absent is no error and 0 bytes. */
static mps_error query_text(struct request *r, const char *name, char *out, size_t capacity,
                            struct span *value, bool *found) {
    i64 bytes = http_query_find(r->head->query, name, out, capacity, found);
    *value = span_of(out, *found && bytes > 0 ? (size_t)bytes : 0);
    return bytes < 0 ? fail_field(r, MPS_E_BAD_QUERY, name) : MPS_OK;
}

/* Digits alone, no sign and no blanks; the bound is looked at before multiplying, since a number
   that wrapped would be taken for a small one. */
static mps_error query_u64(struct request *r, const char *name, u64 absent, u64 *out) {
    char text[U64_DIGITS_MAX];
    struct span value;
    bool found;
    mps_error error = query_text(r, name, text, sizeof text, &value, &found);
    *out = absent;
    if (error || !found) {
        return error;
    }
    *out = 0;
    for (size_t i = 0; i < value.bytes; i++) {
        u32 digit = (u32)(u8)value.at[i] - '0';
        if (digit > 9 || *out > (UINT64_MAX - digit) / 10) {
            return fail_field(r, MPS_E_BAD_QUERY, name);
        }
        *out = *out * 10 + digit;
    }
    return value.bytes ? MPS_OK : fail_field(r, MPS_E_BAD_QUERY, name);
}

/* true, 1, or the bare name; false or 0. Anything else is an error and not false: a misspelt filter
   must not list everything. */
static mps_error query_bool(struct request *r, const char *name, bool *out) {
    char text[8];
    struct span value;
    bool found;
    mps_error error = query_text(r, name, text, sizeof text, &value, &found);
    bool yes = span_equal(value, SPAN("true")) || span_equal(value, SPAN("1")) || !value.bytes;
    bool no = span_equal(value, SPAN("false")) || span_equal(value, SPAN("0"));
    *out = found && yes;
    return error ? error : found && !yes && !no ? fail_field(r, MPS_E_BAD_QUERY, name) : MPS_OK;
}

/* -- metrics -- */

/* Once for each metric and before its lines, as text format 0.0.4 has it. Help texts come from the
   tables above and hold no backslash or line end, which would need escaping. */
static void metrics_put_head(struct text *t, const char *metric, const char *type,
                             const char *help) {
    if (help[0]) { /* else the build has no texts */
        TEXT_LITERAL(t, "# HELP mpserver_");
        text_z(t, metric);
        text_char(t, ' ');
        text_z(t, help);
        text_char(t, '\n');
    }
    TEXT_LITERAL(t, "# TYPE mpserver_");
    text_z(t, metric);
    text_char(t, ' ');
    text_z(t, type);
    text_char(t, '\n');
}

/* -- lists: long answers of the records of a table, a page at a time -- */

/* NOTHING is 0: a connection whose producer was cleared has no long answer. */
enum producer_kind {
    PRODUCE_NOTHING,
    PRODUCE_METRICS,
    PRODUCE_LOG,
    PRODUCE_LOBBIES, /* from here on lists, see struct list_row */
    PRODUCE_ROOMS,
    PRODUCE_USERS,
    PRODUCERS
};

/* What a listing asks for; names are compared by their keyed hash. `name` 0 takes every one: no
   name has that hash. */
struct list_filter {
    u64 name;
    bool open;
};

struct list_row {
    u16 pool;         /* of the records, as SERVER_AT */
    const char *open; /* what the text begins with */
    bool (*has)(const struct mps_server *s, u32 index, const struct list_filter *f);
    void (*put)(struct text *t, const struct mps_server *s, const struct conn *conn, u32 index);
    void (*end)(struct text *t, const struct mps_server *s, u32 count); /* behind the last entry */
};

static u32 list_capacity(const struct mps_server *s, const struct list_row *row) {
    return ((const struct pool *)(const void *)((const char *)s + row->pool))->capacity;
}

/* Entries of a page, and the most that may be asked for. */
#define LIST_LIMIT_DEFAULT 50
#define LIST_LIMIT_MAX 200

/* Pages go by table slot: what is there all the while is listed exactly once, whatever comes and
   goes. The cursor is the slot to go on from. The end is found before the first entry is written,
   because X-Next-Cursor stands in the head. What comes or goes while the page is written makes it
   longer or shorter than `limit`, and no other page. */
static mps_error list_answer(struct request *r, enum producer_kind kind, const struct list_row *row,
                             struct list_filter filter) {
    u64 limit, cursor, end;
    u32 capacity = list_capacity(r->s, row);
    mps_error error = query_u64(r, "limit", LIST_LIMIT_DEFAULT, &limit);
    error = error ? error : query_u64(r, "cursor", 0, &cursor);
    error = error || limit ? error : fail_field(r, MPS_E_BAD_QUERY, "limit");
    if (error) {
        return error;
    }
    /* More than the most is no error: a client that wants all gets what there is, page by page. */
    limit = limit > LIST_LIMIT_MAX ? LIST_LIMIT_MAX : limit;
    for (end = cursor; end < capacity; end++) {
        /* The first one past the page is where the next page begins. */
        if (row->has(r->s, (u32)end, &filter) && !limit--) {
            struct text t = text_on(r->extra, sizeof r->extra - 1);
            TEXT_LITERAL(&t, "\r\nX-Next-Cursor: ");
            text_u64(&t, end);
            r->extra[t.bytes] = 0;
            break;
        }
    }
    r->s->kit.work += (u32)(end - cursor) / WORK_GLANCES;
    r->conn->producer = (struct producer){
        .kind = (u8)kind, .cursor = cursor, .end = end, .filter = filter.name, .open = filter.open};
    r->produce_type = "application/json";
    return MPS_OK;
}

#ifndef MPS_NO_ROOMS
/* == 82 websocket handlers =======================================================================
   What messages do. The row of messages[] says what is checked before its handler runs; handlers
   hold only the work, and give an error or have answered. A message is one text frame,
   {"type","data"}; values that are relayed stay raw tokens, and leave as they came.

   Every frame is put together in the answer scratch and copied from there to whoever gets it. So a
   handler has read all it needs of its message when it sends: memory that ends up short may take
   even the sender's input away. */

/* A message that is being handled. Everything in it is borrowed, and lives for one call. */
#define MESSAGE_KEYS_MAX 5
struct message {
    struct mps_server *s;
    struct conn *conn;
    struct user *user;       /* NULL: anonymous */
    struct seat *seat;       /* NULL: in no room */
    struct room *room;       /* that of the seat */
    const char *error_field; /* what helps to understand a refusal; NULL: nothing */
    bool has_position;
    size_t error_position;
    struct json_value v[MESSAGE_KEYS_MAX]; /* by the keys of its row; not set before message_read */
};

/* NO_SEAT: a user who is in no room through this socket. */
enum message_needs { NEEDS_NOTHING, NEEDS_NO_SEAT, NEEDS_SEAT, NEEDS_HOST };

struct message_row {
    const char *type;
    enum message_needs needs;
    enum pace_class pace;
    bool new_work;                      /* refused while draining */
    const char *keys[MESSAGE_KEYS_MAX]; /* as many as there are */
    mps_error (*handler)(struct message *m);
    const char *doc;
};

/* -- frames -- */

/* {"type":"...","data":{ and then the members. */
static struct text event_begin(struct mps_server *s, enum event event) {
    struct text t = text_on(server_answer(s), s->answer_bytes);
    text_add(&t, event_heads[event]);
    return t;
}

/* The frame of a text, its head in front: the scratch has room there. */
static struct span frame_end(const struct mps_server *s, const struct text *t) {
    u8 head[WS_HEAD_MAX];
    MPS_ASSERT(!t->cut && t->at == server_answer(s));
    size_t bytes = ws_put_head(head, WS_TEXT, t->bytes);
    memcpy(t->at - bytes, head, bytes);
    return span_of(t->at - bytes, bytes + t->bytes);
}

/* Closes what event_begin has opened; the span is good until the next answer or event is begun. */
static struct span event_end(struct mps_server *s, struct text *t) {
    TEXT_LITERAL(t, "}}");
    return frame_end(s, t);
}

/* To one socket; it may be closed by this. */
static void socket_send(struct mps_server *s, struct conn *conn, enum event event, struct text *t) {
    if (conn_is_socket(conn) && conn_frame(&s->kit, &s->conns, conn, event_end(s, t))) {
        s->kit.metrics.messages_out[event]++;
    }
}

/* What the server itself says in a room: short, and never refused. */
static void room_tell(struct mps_server *s, const struct room *room, const struct seat *except,
                      enum event event, struct text *t) {
    room_send(&s->kit, &s->conns, &s->rooms, room, except, event, event_end(s, t));
}

/* What a member says costs its bytes once for each that hears it, all in one call: so many members
   may have no more. */
static bool fanout_fits(const struct mps_server *s, const struct room *room, struct span frame) {
    return (u64)frame.bytes * room->seats.count <= s->config.fanout_bytes_max;
}

/* What a member says, to all others. */
static mps_error room_relay(struct message *m, enum event event, struct text *t) {
    struct mps_server *s = m->s;
    struct span frame = event_end(s, t);
    if (!fanout_fits(s, m->room, frame)) {
        return MPS_E_FANOUT_TOO_LARGE;
    }
    room_send(&s->kit, &s->conns, &s->rooms, m->room, m->seat, event, frame);
    return MPS_OK;
}

/* The same for a state, which a member that is behind gets later, if it is the newest then. */
static mps_error room_relay_state(struct message *m, enum slot_kind kind, struct text *t) {
    struct mps_server *s = m->s;
    struct span frame = event_end(s, t);
    if (!fanout_fits(s, m->room, frame)) {
        return MPS_E_FANOUT_TOO_LARGE;
    }
    room_send_state(&s->kit, &s->conns, &s->rooms, m->seat, kind, frame);
    return MPS_OK;
}

/* "user_id" and "username", as every list and event has them. */
static void put_user(struct text *t, const struct user *user) {
    json_put_key(t, "user_id");
    put_user_id(t, user->id, user->id_is_number);
    json_member_z(t, "username", user->name);
}

/* Who speaks. Member by member, since the values need not be cleared. */
static void message_begin(struct message *m, struct mps_server *s, struct conn *conn) {
    const struct socket *socket = &conn->socket;
    m->s = s;
    m->conn = conn;
    m->user = socket->user ? user_at(&s->presence, socket->user - 1) : NULL;
    m->seat = socket->seat ? seat_at(&s->rooms, socket->seat - 1) : NULL;
    m->room = m->seat ? room_at(&s->rooms, m->seat->room) : NULL;
    m->error_field = NULL;
    m->has_position = false;
    m->error_position = 0;
}

/* A refusal, which leaves the socket open. */
static void message_refuse(struct message *m, mps_error error) {
    const struct error_row *row = error_row(error);
    struct text t = event_begin(m->s, EVENT_ERROR);
    json_member_z(&t, "reason", row->code);
    json_member_z(&t, "message", row->text);
    if (m->error_field) {
        json_member_z(&t, "field", m->error_field);
    }
    if (m->has_position) {
        json_member_u64(&t, "position", m->error_position);
    }
    socket_send(m->s, m->conn, EVENT_ERROR, &t);
}

/* `field` is kept until the refusal is written: a literal. */
static mps_error message_fault(struct message *m, mps_error error, const char *field) {
    m->error_field = field;
    return error;
}

/* The same where no message is at hand. */
static void socket_refuse(struct mps_server *s, struct conn *conn, mps_error error) {
    struct message m;
    message_begin(&m, s, conn);
    message_refuse(&m, error);
}

/* 0: the socket stays open. */
static u32 error_close_code(const struct error_row *row) {
    return row->ws ? 1000u + row->ws : 0;
}

/* Closes a socket with the error's close code. */
static void socket_fail(struct mps_server *s, struct conn *conn, mps_error error) {
    const struct error_row *row = error_row(error);
    if (conn_is_socket(conn)) {
        conn_close_socket(&s->kit, &s->conns, conn, error_close_code(row), span_z(row->code));
    }
}

/* -- announcements -- */

/* For signed-in sockets, or for all: the audience is judged when it is picked up. */
static void announce_user(struct mps_server *s, enum event event, const struct user *user) {
    struct text t = event_begin(s, event);
    put_user(&t, user);
    presence_announce(&s->presence, HEAR_USERS, event, event_end(s, &t));
}

/* To everybody; gives how many sockets will hear it. */
static u32 announce_text(struct mps_server *s, struct span said) {
    struct text t = event_begin(s, EVENT_NOTIFICATION);
    json_member_string(&t, "text", said);
    presence_announce(&s->presence, HEAR_ALL, EVENT_NOTIFICATION, event_end(s, &t));
    return s->presence.listeners.count;
}

#define ROOMS_CHANGED_US ((u64)100000) /* at most so often, and always after the last change */

/* Says that the public list reads differently, now or when its time has come. */
static void rooms_announce(struct mps_server *s) {
    struct rooms *r = &s->rooms;
    r->list_changed |= s->presence.renamed;
    s->presence.renamed = false;
    if (!r->list_changed) {
        return;
    }
    if (s->kit.now < r->quiet_until) {
        timer_set(&s->kit.timers, TIMER_SERVER, SERVER_TIMER_ROOMS, r->quiet_until);
        return;
    }
    struct text t = event_begin(s, EVENT_ROOMS_CHANGED);
    presence_announce(&s->presence, HEAR_ALL, EVENT_ROOMS_CHANGED, event_end(s, &t));
    r->list_changed = false;
    r->quiet_until = time_after(s->kit.now, ROOMS_CHANGED_US);
}

/* -- users and sockets -- */

/* The socket speaks for `who` from now on. It may say so again, but not for another. */
static mps_error socket_identify(struct mps_server *s, struct conn *conn, const mps_identity *who) {
    struct presence *p = &s->presence;
    u32 user = user_take(&s->kit, p, who);
    if (!user) {
        return MPS_E_USERS_FULL;
    }
    if (conn->socket.user && conn->socket.user != user) {
        user_release(p, user - 1);
        return MPS_E_INVALID_HANDSHAKE;
    }
    if (!conn->socket.user && socket_sign_in(&s->conns, p, conn, user)) {
        announce_user(s, EVENT_USER_ONLINE, user_at(p, user - 1));
        conn->socket.own = p->news.head; /* it may listen already, anonymous until now */
    }
    return MPS_OK;
}

/* The upgrade is answered: frames from here on. `who` NULL: anonymous, so far; else there is room
   for it. */
static void socket_open(struct mps_server *s, struct conn *conn, const mps_identity *who) {
    struct presence *p = &s->presence;
    conn->upgraded = true;
    memset(&conn->socket, 0, sizeof conn->socket);
    conn_enter(&s->kit, &s->conns, conn, CONN_SOCKET);
    p->sockets++;
    metrics_count(&s->kit.metrics, COUNTER_SOCKETS_OPENED);
    if (who) {
        mps_error error = socket_identify(s, conn, who);
        MPS_ASSERT(!error);
        (void)error;
    }
}

/* The connection has ended, or is about to. Its seat is kept for a while, its user is perhaps still
   here through another socket. */
static void socket_over(struct mps_server *s, struct conn *conn) {
    struct presence *p = &s->presence;
    u32 user = conn->socket.user, seat = conn->socket.seat;
    if (seat) {
        seat_drop(&s->kit, &s->rooms, seat_at(&s->rooms, seat - 1), conn);
    }
    if (socket_sign_out(&s->conns, p, conn)) {
        announce_user(s, EVENT_USER_OFFLINE, user_at(p, user - 1));
    }
    if (user) {
        user_release(p, user - 1);
    }
    metrics_count(&s->kit.metrics, COUNTER_SOCKETS_CLOSED);
}

/* -- rooms -- */

/* Said when the seat is gone: who left hears nothing of it. */
static void tell_peer_left(struct mps_server *s, const struct room *room, u32 peer) {
    struct text t = event_begin(s, EVENT_PEER_LEFT);
    json_member_u64(&t, "peerId", peer);
    room_tell(s, room, NULL, EVENT_PEER_LEFT, &t);
}

/* To all, the new host among them: it learns so that it is one. */
static void tell_host_changed(struct mps_server *s, const struct room *room) {
    const struct seat *host = seat_at(&s->rooms, room->host - 1);
    struct text t = event_begin(s, EVENT_HOST_CHANGED);
    json_member_u64(&t, "newHostPeerId", host->peer);
    json_member_z(&t, "newHostName", host->name);
    room_tell(s, room, NULL, EVENT_HOST_CHANGED, &t);
}

/* Ends a seat and tells the others; the room goes with its last seat. */
static void room_part(struct mps_server *s, struct seat *seat) {
    struct room *room = room_at(&s->rooms, seat->room);
    u32 peer = seat->peer;
    bool moved = seat_end(&s->kit, &s->rooms, &s->presence, &s->conns, seat);
    if (!room->seats.count) {
        room_close(&s->kit, &s->rooms, &s->presence, &s->conns, room);
        return;
    }
    tell_peer_left(s, room, peer);
    if (moved) {
        tell_host_changed(s, room);
    }
}

/* Why somebody is out of a room without having left it. */
static struct text kicked_begin(struct mps_server *s, const char *reason) {
    struct text t = event_begin(s, EVENT_KICKED);
    json_member_z(&t, "reason", reason);
    return t;
}

/* The victim hears why while it still has the seat; its socket stays open. */
static void room_remove(struct mps_server *s, struct seat *seat, const char *reason) {
    struct text t = kicked_begin(s, reason);
    seat_send(&s->kit, &s->conns, seat, EVENT_KICKED, event_end(s, &t));
    room_part(s, seat);
}

/* Closes a room from outside; everybody in it hears why. */
static void room_dissolve(struct mps_server *s, struct room *room) {
    struct text t = kicked_begin(s, "room_closed");
    room_tell(s, room, NULL, EVENT_KICKED, &t);
    room_close(&s->kit, &s->rooms, &s->presence, &s->conns, room);
}

/* A full room has the longest message there is; the scratch was sized for it. */
static void send_room_joined(struct message *m, const struct seat *seat) {
    const struct rooms *r = &m->s->rooms;
    const struct room *room = room_at(r, seat->room);
    char token[RESUME_TOKEN_TEXT];
    struct text hex = text_on(token, sizeof token);
    struct text t = event_begin(m->s, EVENT_ROOM_JOINED);
    text_hex(&hex, seat->token, sizeof seat->token);
    json_member_z(&t, "roomId", room->id);
    json_member_u64(&t, "peerId", seat->peer);
    TEXT_LITERAL(&t, ",\"members\":[");
    for (u32 at = room->seats.head; at; at = seat_at(r, at - 1)->place.next) {
        const struct seat *member = seat_at(r, at - 1);
        json_put_open(&t, '{');
        TEXT_LITERAL(&t, "\"peerId\":");
        text_u64(&t, member->peer);
        TEXT_LITERAL(&t, ",\"name\":");
        json_put_z(&t, member->name);
        json_member_bool(&t, "isHost", room->host == at);
        json_put_close(&t, '}');
        m->s->kit.work++;
    }
    json_put_close(&t, ']');
    json_member_z(&t, "gamemode", room->gamemode);
    json_member_z(&t, "mapName", room->map);
    json_member_string(&t, "resumeToken", text_span(&hex));
    socket_send(m->s, m->conn, EVENT_ROOM_JOINED, &t);
}

/* Sits down; room_seat_check has agreed. The newcomer hears first who is there, the others of
   it. */
static void room_enter(struct message *m, struct room *room, struct span name) {
    struct mps_server *s = m->s;
    char kept[MPS_NAME_BYTES_MAX + 1];
    copy_z(kept, sizeof kept, name); /* it stands in the message, and what follows may take that */
    struct seat *seat =
        room_seat(&s->kit, &s->rooms, &s->presence, &s->conns, room, m->conn, span_z(kept));
    send_room_joined(m, seat);
    struct text t = event_begin(s, EVENT_PEER_JOINED);
    json_member_u64(&t, "peerId", seat->peer);
    json_member_z(&t, "name", kept);
    room_tell(s, room, seat, EVENT_PEER_JOINED, &t);
}

/* Takes a seat back, from a socket that dropped or from one that is still open. Nobody else hears
   of it. */
static mps_error room_resume(struct message *m, struct seat *seat) {
    struct mps_server *s = m->s;
    struct conn *old = seat->conn ? conn_at(&s->conns, seat->conn - 1) : NULL;
    if (old) {
        seat_detach(&s->rooms, seat, old);
        if (conn_is_socket(old)) {
            conn_close_socket(&s->kit, &s->conns, old, 4001, SPAN("resumed_elsewhere"));
        }
    }
    seat_attach(&s->kit, &s->rooms, &s->conns, seat, m->conn);
    send_room_joined(m, seat);
    return MPS_OK;
}

/* -- the game's word -- */

/* The hook wants texts that end in a zero, so it gets copies. */
static bool game_room_check(const struct mps_server *s, const char *user_id,
                            const struct room_wish *wish) {
    const mps_hooks *hooks = &s->config.hooks;
    char gamemode[ROOM_MODE_MAX + 1], map[ROOM_MODE_MAX + 1];
    if (!hooks->room_check) {
        return true;
    }
    copy_z(gamemode, sizeof gamemode, wish->gamemode);
    copy_z(map, sizeof map, wish->map);
    return hooks->room_check(hooks->user, user_id, gamemode, map, wish->max_players);
}

/* Asked last, when nothing else stands against the seat. */
static bool game_peer_check(const struct mps_server *s, const struct room *room,
                            const char *user_id, struct span name) {
    const mps_hooks *hooks = &s->config.hooks;
    char text[MPS_NAME_BYTES_MAX + 1];
    u64 handle = pool_handle(&s->rooms.pool, room_index(&s->rooms, room));
    if (!hooks->peer_check) {
        return true;
    }
    copy_z(text, sizeof text, name);
    return hooks->peer_check(hooks->user, (mps_room){handle}, user_id, text);
}

/* A type of the game's own: lower-case letters, digits and _, so that it needs no escape. */
static bool game_type_valid(struct span type) {
    for (size_t i = 0; i < type.bytes; i++) {
        u8 c = (u8)type.at[i];
        if (!ascii_digit(c) && !(c >= 'a' && c <= 'z') && c != '_') {
            return false;
        }
    }
    return type.bytes >= 1 && type.bytes <= ROOM_MODE_MAX;
}

/* Offers a member's message of an unknown type to the game. The hook may send, kick, and so end the
   member's seat: nothing of `m` is used after it. */
static mps_error game_message(struct message *m, struct json_value *type, struct json_value data) {
    const mps_hooks *hooks = &m->s->config.hooks;
    struct span name;
    char text[ROOM_MODE_MAX + 1];
    if (!hooks->room_message || !m->seat || !json_string(type, &name) || !game_type_valid(name)) {
        return MPS_E_UNKNOWN_TYPE;
    }
    copy_z(text, sizeof text, name);
    mps_room room = {pool_handle(&m->s->rooms.pool, m->seat->room)};
    struct span raw = data.type == JSON_ABSENT ? SPAN("null") : span_of(data.at, data.bytes);
    return hooks->room_message(hooks->user, room, m->seat->peer, text, raw.at, raw.bytes)
               ? MPS_OK
               : MPS_E_UNKNOWN_TYPE;
}

/* -- reading messages -- */

#define ROOM_PLAYERS_DEFAULT 8 /* less where room_players_max is smaller */

/* A string of at most `most` bytes, and at least one when it is required. */
static bool value_text(struct json_value *v, size_t least, size_t most, struct span *out) {
    *out = SPAN("");
    if (v->type == JSON_ABSENT || v->type == JSON_NULL) {
        return least == 0;
    }
    return json_string(v, out) && out->bytes >= least && out->bytes <= most && !span_has(*out, 0);
}

/* What players are called: 1 to 32 code points. */
static bool value_name(struct json_value *v, struct span *out) {
    return json_string(v, out) && out->bytes <= MPS_NAME_BYTES_MAX &&
           name_valid(*out, NAME_POINTS_MAX);
}

/* "peerId":N, "from":N and the like. */
static void put_peer(struct text *t, struct span key, const struct seat *seat) {
    text_add(t, key);
    text_u64(t, seat->peer);
}

/* A key and the raw token that came for it; null when none did. */
static void put_value(struct text *t, struct span key, const struct json_value *v) {
    text_add(t, key);
    text_add(t, v->type == JSON_ABSENT ? SPAN("null") : span_of(v->at, v->bytes));
}

/* -- handlers: presence -- */

/* Beside the ping of RFC 6455, for clients that cannot send one, as browsers. */
static mps_error message_ping(struct message *m) {
    struct text t = event_begin(m->s, EVENT_PONG);
    json_put_key(&t, "ts");
    json_put_i64(&t, kit_unix_ms(&m->s->kit));
    socket_send(m->s, m->conn, EVENT_PONG, &t);
    return MPS_OK;
}

/* Whose socket it is has been settled; from now on announcements are for it. `name` is what an
   anonymous one calls itself. */
static void socket_accept(struct mps_server *s, struct conn *conn, struct span name) {
    const struct user *user =
        conn->socket.user ? user_at(&s->presence, conn->socket.user - 1) : NULL;
    struct text t = event_begin(s, EVENT_HANDSHAKE_ACCEPTED);
    json_member_u64(&t, "peer_id", 0);
    if (user) {
        put_user(&t, user);
    } else {
        json_put_key(&t, "user_id");
        json_put_null(&t);
        json_member_string(&t, "username", name);
    }
    socket_listen(&s->conns, &s->presence, conn);
    socket_send(s, conn, EVENT_HANDSHAKE_ACCEPTED, &t);
}

/* The game has answered for the token of a handshake; an identity without an id is a no. */
static void socket_granted(struct mps_server *s, struct conn *conn, const mps_identity *who) {
    conn_enter(&s->kit, &s->conns, conn, CONN_SOCKET);
    mps_error error = who->id[0] ? socket_identify(s, conn, who) : MPS_E_TOKEN_INVALID;
    if (error) {
        socket_refuse(s, conn, error);
    } else {
        socket_accept(s, conn, SPAN(""));
    }
}

/* {version, name, token?} */
static mps_error message_handshake(struct message *m) {
    struct mps_server *s = m->s;
    struct auth_claims claims;
    struct span version, name, token;
    bool waits = false;
    if (!value_text(&m->v[0], 1, ROOM_MODE_MAX, &version)) {
        return message_fault(m, MPS_E_INVALID_HANDSHAKE, "version");
    }
    if (!value_name(&m->v[1], &name)) {
        return message_fault(m, MPS_E_INVALID_HANDSHAKE, "name");
    }
    if (!value_text(&m->v[2], 0, AUTH_TOKEN_BYTES_MAX, &token)) {
        return message_fault(m, MPS_E_INVALID_HANDSHAKE, "token");
    }
    mps_error error = token.bytes ? token_verify(s, m->conn, token, &claims, &waits) : MPS_OK;
    if (!error && waits) {
        conn_enter(&s->kit, &s->conns, m->conn, CONN_SOCKET_AUTH);
        return MPS_OK;
    }
    if (!error && token.bytes) {
        error = socket_identify(s, m->conn, &claims.who);
    }
    if (!error) {
        socket_accept(s, m->conn, name);
    }
    return error;
}

/* -- handlers: rooms -- */

/* {}: the maker enters the room that it made over HTTP. */
static mps_error message_create_room(struct message *m) {
    struct mps_server *s = m->s;
    struct room *room = room_get(&s->rooms, m->user->room);
    if (!room || room->confirmed) {
        return MPS_E_NO_ROOM_FOUND;
    }
    mps_error error = room_seat_check(&s->kit, &s->rooms, room);
    if (!error && !game_peer_check(s, room, m->user->id, span_z(m->user->name))) {
        error = MPS_E_REFUSED;
    }
    if (error) {
        return error;
    }
    const struct seat *seat = room_seat(&s->kit, &s->rooms, &s->presence, &s->conns, room, m->conn,
                                        span_z(m->user->name));
    struct text t = event_begin(s, EVENT_ROOM_CREATED);
    json_member_z(&t, "roomId", room->id);
    json_member_u64(&t, "peerId", seat->peer);
    json_member_z(&t, "gamemode", room->gamemode);
    json_member_z(&t, "mapName", room->map);
    socket_send(s, m->conn, EVENT_ROOM_CREATED, &t);
    return MPS_OK;
}

/* Two versions that are both named and differ do not go together. */
static bool version_fits(struct span version, const struct room *room) {
    return !version.bytes || !room->version[0] || span_equal(version, span_z(room->version));
}

/* By the resumeToken of the user's seat in this room; compared in constant time. */
static mps_error room_resume_by(struct message *m, struct seat *mine, struct span hex) {
    u8 token[RESUME_TOKEN_BYTES];
    if (!mine || !hex_read(hex, token, sizeof token) ||
        !crypto_equal(mine->token, token, sizeof token)) {
        return MPS_E_RESUME_INVALID;
    }
    return room_resume(m, mine);
}

/* {roomId, version, name, resumeToken?}. A user who lost the token, too, still is the same user:
   the seat that its dropped socket left is taken back by joining again. */
static mps_error message_join_room(struct message *m) {
    struct mps_server *s = m->s;
    struct span id, version, name, token;
    if (!value_text(&m->v[0], 1, ROOM_ID_BYTES, &id)) {
        return message_fault(m, MPS_E_INVALID_JOIN_ROOM, "roomId");
    }
    if (!value_text(&m->v[1], 0, ROOM_MODE_MAX, &version)) {
        return message_fault(m, MPS_E_INVALID_JOIN_ROOM, "version");
    }
    if (!value_name(&m->v[2], &name)) {
        return message_fault(m, MPS_E_INVALID_JOIN_ROOM, "name");
    }
    if (!value_text(&m->v[3], 0, SIZE_MAX, &token)) {
        return message_fault(m, MPS_E_INVALID_JOIN_ROOM, "resumeToken");
    }
    struct room *room = room_find(&s->rooms, id);
    if (!room || (!room->confirmed && room->maker != m->conn->socket.user)) {
        return room ? MPS_E_ROOM_UNCONFIRMED : MPS_E_ROOM_NOT_FOUND;
    }
    struct seat *mine = room_seat_of(&s->rooms, room, m->user);
    bool host = mine && room->host == seat_index(&s->rooms, mine) + 1;
    if (!host && room_bars(&s->kit, &s->rooms, room, m->user->mark, &m->conn->peer)) {
        return MPS_E_BANNED; /* a host that barred its own address is still host */
    }
    if (!version_fits(version, room)) {
        return MPS_E_VERSION_MISMATCH;
    }
    if (token.bytes) {
        return room_resume_by(m, mine, token);
    }
    if (mine) {
        return seat_conn(&s->conns, mine) ? MPS_E_ALREADY_IN_ROOM : room_resume(m, mine);
    }
    mps_error error =
        s->drain == DRAIN_NO ? room_seat_check(&s->kit, &s->rooms, room) : MPS_E_DRAINING;
    if (!error && !game_peer_check(s, room, m->user->id, name)) {
        error = MPS_E_REFUSED;
    }
    if (!error) {
        room_enter(m, room, name);
    }
    return error;
}

/* The open public room that fits and has most members; NULL when there is none. A bar or a seat of
   one's own is looked for only in rooms that would be better than the best so far. */
static struct room *room_quick_find(struct message *m, const struct room_wish *wish) {
    struct rooms *r = &m->s->rooms;
    u64 gamemode = room_name_hash(r, wish->gamemode), map = room_name_hash(r, wish->map);
    u64 version = wish->version.bytes ? room_name_hash(r, wish->version) : 0;
    struct room *best = NULL;
    u32 most = 0;
    m->s->kit.work += r->pool.capacity / (4 * WORK_GLANCES); /* cards are read in one sweep */
    for (u32 i = 0; i < r->pool.capacity; i++) {
        const struct room_card *card = room_card(r, i);
        if (card->gamemode != gamemode || !card->left || card->members <= most ||
            (wish->map.bytes && card->map != map) ||
            (version && card->version && card->version != version)) {
            continue;
        }
        struct room *room = room_at(r, i);
        if (!room_bars(&m->s->kit, r, room, m->user->mark, &m->conn->peer) &&
            !room_seat_of(r, room, m->user)) {
            best = room;
            most = card->members;
        }
    }
    return best;
}

/* The wish of {gamemode, mapName?, maxPlayers?=8, version, name}. */
static mps_error quick_read(struct message *m, struct room_wish *wish, struct span *name) {
    i64 players = u32_min(ROOM_PLAYERS_DEFAULT, m->s->rooms.players_max);
    *wish = (struct room_wish){.is_public = true};
    if (!value_text(&m->v[0], 1, ROOM_MODE_MAX, &wish->gamemode)) {
        return message_fault(m, MPS_E_INVALID_JOIN_ROOM, "gamemode");
    }
    if (!value_text(&m->v[1], 0, ROOM_MODE_MAX, &wish->map)) {
        return message_fault(m, MPS_E_INVALID_JOIN_ROOM, "mapName");
    }
    if (value_given(&m->v[2]) && !json_i64(m->v[2], 1, m->s->rooms.players_max, &players)) {
        return message_fault(m, MPS_E_INVALID_JOIN_ROOM, "maxPlayers");
    }
    if (!value_text(&m->v[3], 0, ROOM_MODE_MAX, &wish->version)) {
        return message_fault(m, MPS_E_INVALID_JOIN_ROOM, "version");
    }
    wish->max_players = (u32)players;
    return value_name(&m->v[4], name) ? MPS_OK : message_fault(m, MPS_E_INVALID_JOIN_ROOM, "name");
}

/* A new room counts as the user's own, unless one that it made over HTTP still does. */
static mps_error message_quick_join(struct message *m) {
    struct mps_server *s = m->s;
    struct rooms *r = &s->rooms;
    struct room_wish wish;
    struct span name;
    mps_error error = quick_read(m, &wish, &name);
    if (error) {
        return error;
    }
    struct room *room = room_quick_find(m, &wish);
    if (!room && rooms_full(&s->kit, r)) {
        return MPS_E_ROOMS_FULL;
    }
    if (r->seats.used == r->seats.capacity) {
        metrics_count(&s->kit.metrics, COUNTER_FULL_SEATS);
        return MPS_E_SEATS_FULL;
    }
    if (room ? !game_peer_check(s, room, m->user->id, name)
             : !game_room_check(s, m->user->id, &wish)) {
        return MPS_E_REFUSED;
    }
    if (!room) {
        room = room_open(&s->kit, r, &s->presence, &wish, m->conn->socket.user);
    }
    room_enter(m, room, name);
    return MPS_OK;
}

/* The leaver gets no answer; what it hears next is of its next room. */
static mps_error message_leave_room(struct message *m) {
    room_part(m->s, m->seat);
    return MPS_OK;
}

/* {peerId}: the seat of another member. */
static mps_error message_victim(struct message *m, struct json_value v, struct seat **victim) {
    i64 peer;
    if (!json_i64(v, 0, UINT32_MAX, &peer)) {
        return message_fault(m, MPS_E_INVALID_FIELD, "peerId");
    }
    *victim = room_peer(&m->s->rooms, m->room, (u32)peer);
    return *victim && *victim != m->seat ? MPS_OK : MPS_E_INVALID_TARGET;
}

/* Out of the room, but not for ever: that is what a ban is. */
static mps_error message_kick(struct message *m) {
    struct seat *victim;
    mps_error error = message_victim(m, m->v[0], &victim);
    if (!error) {
        room_remove(m->s, victim, "host_kick");
    }
    return error;
}

/* Whoever is there from this address goes, a few at a time: their timers are due at once, and what
   they are told then is said by the ban. The host itself stays. */
static mps_error ban_address(struct message *m) {
    struct mps_server *s = m->s;
    struct rooms *r = &s->rooms;
    struct span text;
    mps_address address;
    u8 prefix[16];
    if (!value_text(&m->v[1], 1, ADDRESS_TEXT_MAX, &text) || !address_parse(text, &address)) {
        return message_fault(m, MPS_E_INVALID_FIELD, "ip");
    }
    if (!room_bar(&s->kit, r, m->room, 0, &address)) {
        return MPS_E_BANS_FULL;
    }
    address_prefix(&address, prefix);
    for (u32 at = m->room->seats.head; at; at = seat_at(r, at - 1)->place.next) {
        struct seat *seat = seat_at(r, at - 1);
        s->kit.work++;
        if (seat != m->seat && memcmp(prefix, seat->from, sizeof prefix) == 0) {
            seat->barred = true;
            timer_set(&s->kit.timers, TIMER_SEAT, at - 1, s->kit.now);
        }
    }
    return MPS_OK;
}

/* {peerId} bars the user, {ip} the address. */
static mps_error message_ban(struct message *m) {
    struct mps_server *s = m->s;
    struct seat *victim;
    if (!value_given(&m->v[0]) && value_given(&m->v[1])) {
        return ban_address(m);
    }
    mps_error error = message_victim(m, m->v[0], &victim);
    if (error) {
        return error;
    }
    if (!room_bar(&s->kit, &s->rooms, m->room, user_at(&s->presence, victim->user)->mark,
                  &m->conn->peer)) {
        return MPS_E_BANS_FULL;
    }
    room_remove(s, victim, "host_ban");
    return MPS_OK;
}

/* -- handlers: relay -- */

#define CHAT_POINTS_MAX 500

/* As many code points as are allowed; hardly ever need they be counted. */
static bool chat_is_short(const struct json_value *v) {
    struct json_bytes b = json_bytes_of(v->at, v->bytes);
    u32 points = 0;
    if (v->bytes <= CHAT_POINTS_MAX) {
        return true;
    }
    for (int byte = json_byte(&b); byte >= 0 && points <= CHAT_POINTS_MAX; byte = json_byte(&b)) {
        points += (byte & 0xC0) != 0x80;
    }
    return points <= CHAT_POINTS_MAX;
}

/* A text that is not too long goes on as it came, escapes and all. */
static mps_error message_chat(struct message *m) {
    struct span raw = span_of(m->v[0].at, m->v[0].bytes), text;
    struct text t = event_begin(m->s, EVENT_CHAT);
    if (m->v[0].type != JSON_STRING) {
        return message_fault(m, MPS_E_INVALID_FIELD, "text");
    }
    put_peer(&t, SPAN("\"from\":"), m->seat);
    json_member_z(&t, "fromName", m->seat->name);
    json_put_key(&t, "text");
    if (chat_is_short(&m->v[0])) {
        text_add(&t, raw);
    } else {
        json_string(&m->v[0], &text);
        json_put_string(&t, utf8_cut(text, CHAT_POINTS_MAX));
    }
    return room_relay(m, EVENT_CHAT, &t);
}

/* What the numbers mean is the game's business: they are checked as JSON and nothing else. */
static mps_error message_player_state(struct message *m) {
    struct text t = event_begin(m->s, EVENT_PLAYER_STATE);
    put_peer(&t, SPAN("\"peerId\":"), m->seat);
    put_value(&t, SPAN(",\"position\":"), &m->v[0]);
    put_value(&t, SPAN(",\"rotation\":"), &m->v[1]);
    put_value(&t, SPAN(",\"velocity\":"), &m->v[2]);
    return room_relay_state(m, SLOT_STATE, &t);
}

/* Has a slot of its own beside that of player_state. */
static mps_error message_player_snapshot(struct message *m) {
    struct text t = event_begin(m->s, EVENT_PLAYER_SNAPSHOT);
    put_peer(&t, SPAN("\"from\":"), m->seat);
    put_value(&t, SPAN(",\"payload\":"), &m->v[0]);
    return room_relay_state(m, SLOT_SNAPSHOT, &t);
}

/* Is the raw token a string of 1 to ROOM_MODE_MAX bytes? It is looked at decoded only when it is
   longer than that as it stands. */
static bool value_is_method(const struct json_value *v) {
    if (v->type != JSON_STRING || v->bytes <= 2) {
        return false;
    }
    size_t bytes = v->bytes - 2;
    if (bytes > ROOM_MODE_MAX) {
        struct json_bytes b = json_bytes_of(v->at, v->bytes);
        for (bytes = 0; bytes <= ROOM_MODE_MAX && json_byte(&b) >= 0;) {
            bytes++;
        }
    }
    return bytes <= ROOM_MODE_MAX;
}

/* {targetPeer, method, args}. */
static mps_error message_rpc_call(struct message *m) {
    struct mps_server *s = m->s;
    i64 peer = 0;
    if (value_given(&m->v[0]) && !json_i64(m->v[0], 0, UINT32_MAX, &peer)) {
        return message_fault(m, MPS_E_INVALID_FIELD, "targetPeer");
    }
    if (!value_is_method(&m->v[1])) {
        return message_fault(m, MPS_E_INVALID_FIELD, "method");
    }
    const struct seat *target = peer == m->seat->peer ? m->seat
                                : peer                ? room_peer(&s->rooms, m->room, (u32)peer)
                                                      : NULL;
    if (peer && !target) {
        return MPS_E_INVALID_TARGET;
    }
    struct text t = event_begin(s, EVENT_RPC_CALL);
    put_peer(&t, SPAN("\"fromPeer\":"), m->seat);
    put_value(&t, SPAN(",\"method\":"), &m->v[1]);
    put_value(&t, SPAN(",\"args\":"), &m->v[2]);
    if (!target) {
        return room_relay(m, EVENT_RPC_CALL, &t);
    }
    seat_send(&s->kit, &s->conns, target, EVENT_RPC_CALL, event_end(s, &t));
    return MPS_OK;
}

/* -- messages -- */

/* Those that come most often stand first. */
static const struct message_row messages[] = {
    {"player_state",
     NEEDS_SEAT,
     PACE_STATES,
     false,
     {"position", "rotation", "velocity"},
     message_player_state,
     DOC("{position, rotation, velocity}: to the other members; the newest counts")},
    {"player_snapshot",
     NEEDS_SEAT,
     PACE_STATES,
     false,
     {"payload"},
     message_player_snapshot,
     DOC("{payload}: the same")},
    {"rpc_call",
     NEEDS_SEAT,
     PACE_MESSAGES,
     false,
     {"targetPeer", "method", "args"},
     message_rpc_call,
     DOC("{targetPeer, method, args}: to the others (0) or one peer")},
    {"chat", NEEDS_SEAT, PACE_CHATS, false, {"text"}, message_chat, DOC("{text}: to the others")},
    {"ping", NEEDS_NOTHING, PACE_MESSAGES, false, {NULL}, message_ping, DOC("{}: pong")},
    {"handshake",
     NEEDS_NOTHING,
     PACE_MESSAGES,
     false,
     {"version", "name", "token"},
     message_handshake,
     DOC("{version, name, token?}: who speaks")},
    {"create_room",
     NEEDS_NO_SEAT,
     PACE_MESSAGES,
     true,
     {NULL},
     message_create_room,
     DOC("{}: enter the room made by POST /api/rooms")},
    {"join_room",
     NEEDS_NO_SEAT,
     PACE_MESSAGES,
     false,
     {"roomId", "version", "name", "resumeToken"},
     message_join_room,
     DOC("{roomId, version, name, resumeToken?}: take a seat, or take it back")},
    {"quick_join",
     NEEDS_NO_SEAT,
     PACE_MESSAGES,
     true,
     {"gamemode", "mapName", "maxPlayers", "version", "name"},
     message_quick_join,
     DOC("{gamemode, mapName?, maxPlayers?, version, name}: any room that fits")},
    {"leave_room",
     NEEDS_SEAT,
     PACE_MESSAGES,
     false,
     {NULL},
     message_leave_room,
     DOC("{}: give the seat up")},
    {"kick",
     NEEDS_HOST,
     PACE_MESSAGES,
     false,
     {"peerId"},
     message_kick,
     DOC("{peerId}: remove a member")},
    {"ban",
     NEEDS_HOST,
     PACE_MESSAGES,
     false,
     {"peerId", "ip"},
     message_ban,
     DOC("{peerId} or {ip}: remove and keep out")},
};

#define MESSAGE_NONE ((u32)COUNT_OF(messages))
_Static_assert(COUNT_OF(messages) < METRIC_MESSAGES_MAX, "raise METRIC_MESSAGES_MAX");

/* MESSAGE_NONE for a type that there is not. */
static u32 message_find(const struct json_value *type) {
    u32 i = 0;
    while (i < MESSAGE_NONE && !json_is(type, messages[i].type)) {
        i++;
    }
    return i;
}

/* Spends what the message costs. Users pay from what all their sockets share. */
static bool message_paid(struct message *m, u32 row) {
    struct mps_server *s = m->s;
    struct socket *socket = &m->conn->socket;
    struct paces *paces = m->user ? &m->user->paces : &socket->paces;
    enum pace_class class = row == MESSAGE_NONE ? PACE_MESSAGES : messages[row].pace;
    if ((s->config.dev && address_is_loopback(&m->conn->peer)) ||
        !bucket_spend(&paces->full_at[class], s->kit.now, &s->presence.paces[class])) {
        return true;
    }
    bool goes_on = socket->refusals && s->kit.now - socket->refused_at <= S_US;
    socket->refusals = (u8)(goes_on ? u32_min(socket->refusals + 1u, 255) : 1);
    socket->refused_at = s->kit.now;
    metrics_count(&s->kit.metrics, COUNTER_RATE_LIMITED);
    return false;
}

/* What the row asks of the sender. */
static mps_error message_admit(const struct message *m, const struct message_row *row) {
    if (row->needs != NEEDS_NOTHING && !m->user) {
        return MPS_E_AUTH_REQUIRED;
    }
    if (row->needs >= NEEDS_SEAT && !m->seat) {
        return MPS_E_NOT_IN_ROOM;
    }
    if (row->needs == NEEDS_HOST && m->room->host != m->conn->socket.seat) {
        return MPS_E_NOT_HOST;
    }
    if (row->needs == NEEDS_NO_SEAT && m->seat) {
        return MPS_E_ALREADY_IN_ROOM;
    }
    return row->new_work && m->s->drain != DRAIN_NO ? MPS_E_DRAINING : MPS_OK;
}

static void json_member(const struct json_value *key, struct json_value value,
                        const char *const *keys, u32 keys_count, struct json_value *values) {
    for (u32 i = 0; i < keys_count; i++) {
        if (json_is(key, keys[i])) {
            values[i] = value;
            return;
        }
    }
}

/* The members of a checked object that keys[] names, as json_object notes them of a text; from what
   was noted on the way, if all of them were. */
static void json_members(struct json_value object, const struct json_inner *inner,
                         const char *const *keys, u32 keys_count, struct json_value *values) {
    struct json_value key, value;
    for (u32 i = 0; i < keys_count; i++) {
        values[i] = (struct json_value){JSON_ABSENT, NULL, 0};
    }
    if (inner->count <= JSON_INNER_MAX) {
        for (u32 i = 0; i < inner->count; i++) {
            json_member(&inner->keys[i], inner->values[i], keys, keys_count, values);
        }
        return;
    }
    struct json_walk walk = json_walk_into(object);
    while (json_walk_member(&walk, &key, &value)) {
        json_member(&key, value, keys, keys_count, values);
    }
}

/* The members that the row wants, of `data`; that may be left out when it is empty. */
static mps_error message_read(struct message *m, const struct message_row *row,
                              struct json_value data, const struct json_inner *inner,
                              const char *text) {
    u32 count = 0;
    while (count < MESSAGE_KEYS_MAX && row->keys[count]) {
        count++;
    }
    if (data.type == JSON_OBJECT) {
        json_members(data, inner, row->keys, count, m->v);
        return MPS_OK;
    }
    memset(m->v, 0, sizeof m->v);
    if (data.type == JSON_ABSENT || data.type == JSON_NULL) {
        return MPS_OK;
    }
    m->has_position = true;
    m->error_position = (size_t)(data.at - text);
    return MPS_E_BAD_JSON;
}

/* Finds the row and lets its handler work. */
static mps_error message_run(struct message *m, struct span text, u32 *row) {
    static const char *const keys[] = {"type", "data"};
    struct json_value v[2];
    struct json_fault fault;
    struct json_inner inner; /* entries are written before they are counted */
    inner.of = &v[1];
    inner.count = 0;
    *row = MESSAGE_NONE;
    if (!json_object_in((char *)(uintptr_t)text.at, text.bytes, keys, 2, v, &inner, &fault)) {
        m->has_position = true;
        m->error_position = fault.position;
        return message_paid(m, *row) ? MPS_E_BAD_JSON : MPS_E_RATE_LIMITED;
    }
    *row = message_find(&v[0]);
    if (!message_paid(m, *row)) {
        return MPS_E_RATE_LIMITED;
    }
    if (*row == MESSAGE_NONE) {
        return game_message(m, &v[0], v[1]);
    }
    mps_error error = message_admit(m, &messages[*row]);
    error = error ? error : message_read(m, &messages[*row], v[1], &inner, text.at);
    return error ? error : messages[*row].handler(m);
}

/* One message of a socket. */
static void socket_message(struct mps_server *s, struct conn *conn, struct span text) {
    struct message m;
    u32 row;
    message_begin(&m, s, conn);
    mps_error error = message_run(&m, text, &row);
    s->kit.metrics.messages_in[row]++;
    if (!error) {
        return;
    }
    m.has_position &= error == MPS_E_BAD_JSON;
    message_refuse(&m, error);
    if (error == MPS_E_RATE_LIMITED && conn->socket.refusals > s->config.refusals_max) {
        socket_fail(s, conn, error);
    }
}

/* -- frames in -- */

/* A ping is answered with its own payload (RFC 6455, 5.5.3). */
static void socket_pong(struct mps_server *s, struct conn *conn, struct span payload) {
    u8 frame[WS_HEAD_MAX + WS_CONTROL_BYTES_MAX];
    size_t head = ws_put_head(frame, WS_PONG, payload.bytes);
    if (payload.bytes) {
        memcpy(frame + head, payload.at, payload.bytes);
    }
    conn_frame(&s->kit, &s->conns, conn, span_of((const char *)frame, head + payload.bytes));
}

/* The other side closes: its code goes back to it, and nothing more is read (RFC 6455, 5.5.1). */
static void socket_closing(struct mps_server *s, struct conn *conn, struct span payload) {
    u32 code;
    mps_error error = ws_close_code(payload, &code);
    if (error) {
        socket_fail(s, conn, error);
    } else {
        conn_close_socket(&s->kit, &s->conns, conn, code, SPAN(""));
    }
}

/* Binary messages never come here: their first byte was an error. */
static void socket_event(struct mps_server *s, struct conn *conn, const struct ws_event *event) {
    switch ((enum ws_opcode)event->opcode) {
    case WS_TEXT:
        socket_message(s, conn, event->payload);
        break;
    case WS_PING:
        socket_pong(s, conn, event->payload);
        break;
    case WS_CLOSE:
        socket_closing(s, conn, event->payload);
        break;
    default:
        break; /* a pong has been heard, which is all it is for */
    }
}

/* Reads frames from `at` of the view on, as many as this call may do; gives how far it came.
   What is left whole makes the connection `ready`: it is read on before more comes in. */
static size_t socket_read(struct mps_server *s, struct conn *conn, struct input_view *view,
                          size_t at) {
    struct socket *socket = &conn->socket;
    u32 work = s->kit.work + s->config.settle_max;
    int step = 1;
    conn->ready = false;
    while (step > 0 && conn->state == CONN_SOCKET && at < view->bytes) {
        struct ws_event event = {0};
        size_t bytes = view->bytes - at, used = 0;
        if (s->kit.work >= work || !server_may_go_on(s, conn)) {
            conn->ready = true;
            break;
        }
        step = ws_read(&socket->reader, view->at + at, &bytes, &used, s->config.message_bytes_max,
                       &event);
        view->bytes = at + bytes;
        at += used;
        s->kit.work++;
        if (step > 0) {
            /* What comes next is new; a control frame within a message does not put it off. */
            socket->begun = ws_reader_idle(&socket->reader) ? 0 : socket->begun;
            socket_event(s, conn, &event);
        }
    }
    if (step == MPS_E_MESSAGE_TOO_LARGE) {
        socket_refuse(s, conn, (mps_error)step);
    }
    if (step < 0) {
        socket_fail(s, conn, (mps_error)step);
    }
    conn->ready |= conn->state == CONN_SOCKET_AUTH && at < view->bytes;
    if (conn->state == CONN_SOCKET) {
        /* What is held back here may be whole: its sender need not hurry. */
        bool half = !conn->ready && (at < view->bytes || !ws_reader_idle(&socket->reader));
        bool begins = half && !socket->begun;
        socket->begun = !half ? 0 : begins ? s->kit.now : socket->begun;
        if (begins) {
            conn_wait(&s->kit, &s->conns, conn);
        }
    }
    return at;
}

/* Something came in: whoever is heard is not silent. A ping that was out is answered by
   anything. */
static void socket_heard(struct mps_server *s, struct conn *conn) {
    conn->since = s->kit.now;
    if (conn->socket.pinged) {
        conn->socket.pinged = false;
        conn_wait(&s->kit, &s->conns, conn);
    }
}

/* What waited for output to drain: announcements, then states. Puts itself back while there is more
   to do at once. */
static void socket_drained(struct mps_server *s, struct conn *conn) {
    struct kit *k = &s->kit;
    if (conn->socket.late) {
        socket_hear(k, &s->conns, &s->presence, conn);
    }
    if (conn_is_socket(conn) && conn->socket.behind &&
        seat_catch_up(k, &s->conns, &s->rooms, seat_at(&s->rooms, conn->socket.seat - 1), conn)) {
        queue_push_once(&s->conns.work, &s->conns.pool, conn_index(&s->conns, conn));
    }
}

/* There is no memory for what it sends. */
static void socket_starve(struct mps_server *s, struct conn *conn) {
    socket_refuse(s, conn, MPS_E_INPUTS_FULL);
    socket_fail(s, conn, MPS_E_INPUTS_FULL);
}

/* Patience is at its end: with memory, with the game, with a message, or with silence. */
static void socket_timed_out(struct mps_server *s, struct conn *conn) {
    struct kit *k = &s->kit;
    struct socket *socket = &conn->socket;
    if (conn->starved) {
        metrics_count(&k->metrics, COUNTER_CLOSED_NO_ROOM);
        socket_starve(s, conn);
    } else if (conn->state == CONN_SOCKET_AUTH) {
        conn->auth_ticket = 0;
        conn_enter(k, &s->conns, conn, CONN_SOCKET);
        socket_refuse(s, conn, MPS_E_AUTH_TIMEOUT);
        conn_want_work(&s->conns, conn);
        if (conn->ended && !conn->ready && conn_is_socket(conn)) {
            conn_finish(k, &s->conns, conn); /* the peer said all there was to say */
        }
    } else if (socket->begun && time_after(socket->begun, s->conns.message_us) <= k->now) {
        metrics_count(&k->metrics, COUNTER_CLOSED_TIMEOUT);
        socket_refuse(s, conn, MPS_E_MESSAGE_TIMEOUT);
        socket_fail(s, conn, MPS_E_MESSAGE_TIMEOUT);
    } else if (socket->pinged) {
        metrics_count(&k->metrics, COUNTER_CLOSED_IDLE);
        conn_close_socket(k, &s->conns, conn, 1001, SPAN("silent"));
    } else {
        u8 ping[WS_HEAD_MAX];
        struct span frame = span_of((const char *)ping, ws_put_head(ping, WS_PING, 0));
        socket->pinged = true;
        if (conn_frame(k, &s->conns, conn, frame)) {
            conn_wait(k, &s->conns, conn);
        }
    }
}
#endif

#ifndef MPS_NO_ROOMS
/* == 83 rooms over http ==========================================================================
   Rooms and presence beside their messages: what the routes do, the upgrade of a connection, and
   what the server has to do for them as a whole: to lay out, make, settle, advance. */

/* -- rooms as text -- */
/* -- rooms as text -- */

/* A room as lists and answers have it. The date and the id need no escaping. */
static void room_put(struct text *t, const struct mps_server *s, const struct room *room) {
    const struct rooms *r = &s->rooms;
    u32 host = room->host ? seat_at(r, room->host - 1)->user + 1 : room->maker;
    json_put_open(t, '{');
    json_member_z(t, "id", room->id);
    json_member_z(t, "host_username", host ? user_at(&s->presence, host - 1)->name : "");
    json_member_z(t, "gamemode", room->gamemode);
    json_member_z(t, "map_name", room->map);
    json_member_u64(t, "current_players", room->seats.count);
    json_member_u64(t, "max_players", room->max_players);
    json_member_string(t, "created_at", span_of(room->created, sizeof room->created));
    json_member_bool(t, "is_full", room->seats.count >= room->max_players);
    json_member_bool(t, "is_public", room->is_public);
    json_put_close(t, '}');
}

static void put_capacity(struct text *t, const struct rooms *r) {
    json_put_key(t, "server_capacity");
    json_put_open(t, '{');
    json_member_u64(t, "current_rooms", r->by_id.used); /* without what closed in this call */
    json_member_u64(t, "max_rooms", r->pool.capacity);
    json_member_bool(t, "can_create_room", r->pool.used < r->pool.capacity);
    json_put_close(t, '}');
}

/* A room that is not public can be had by its id alone and is in no list. */
static bool room_listed(const struct mps_server *s, u32 index, const struct list_filter *f) {
    u64 gamemode = room_card(&s->rooms, index)->gamemode;
    return gamemode && (!f->name || gamemode == f->name);
}

static void room_put_listed(struct text *t, const struct mps_server *s, const struct conn *conn,
                            u32 index) {
    (void)conn;
    room_put(t, s, room_at(&s->rooms, index));
}

static void room_put_end(struct text *t, const struct mps_server *s, u32 count) {
    text_char(t, ']');
    json_member_u64(t, "count", count);
    put_capacity(t, &s->rooms);
    text_char(t, '}');
}

static const struct list_row room_list_row = {SERVER_AT(rooms.pool), "{\"rooms\":[", room_listed,
                                              room_put_listed, room_put_end};

/* Online, and not merely known. */
static bool user_listed(const struct mps_server *s, u32 index, const struct list_filter *f) {
    (void)f;
    return pool_alive(&s->presence.users, index) && user_at(&s->presence, index)->sockets.count > 0;
}

static void user_put_listed(struct text *t, const struct mps_server *s, const struct conn *conn,
                            u32 index) {
    (void)conn;
    json_put_open(t, '{');
    put_user(t, user_at(&s->presence, index));
    json_put_close(t, '}');
}

static void user_put_end(struct text *t, const struct mps_server *s, u32 count) {
    (void)s;
    text_char(t, ']');
    json_member_u64(t, "count", count);
    text_char(t, '}');
}

static const struct list_row user_list_row = {SERVER_AT(presence.users), "{\"users\":[",
                                              user_listed, user_put_listed, user_put_end};

/* -- handlers: rooms -- */

static mps_error room_read_wish(struct request *r, struct room_wish *wish) {
    static const char *const keys[] = {"gamemode", "mapName", "maxPlayers", "isPublic", "version"};
    struct json_value v[5];
    u32 most = r->s->rooms.players_max;
    *wish =
        (struct room_wish){.is_public = true, .max_players = u32_min(ROOM_PLAYERS_DEFAULT, most)};
    mps_error error = body_read(r, keys, 5, v);
    if (!error && !value_text(&v[0], 1, ROOM_MODE_MAX, &wish->gamemode)) {
        error = fail_field(r, MPS_E_INVALID_FIELD, "gamemode");
    }
    if (!error && !value_text(&v[1], 0, ROOM_MODE_MAX, &wish->map)) {
        error = fail_field(r, MPS_E_INVALID_FIELD, "mapName");
    }
    if (!error && value_given(&v[2])) {
        error = body_u32(r, &v[2], "maxPlayers", 1, most, &wish->max_players);
        r->error_limit = error ? most : 0;
    }
    if (!error && value_given(&v[3])) {
        error = body_bool(r, &v[3], "isPublic", &wish->is_public);
    }
    if (!error && !value_text(&v[4], 0, ROOM_MODE_MAX, &wish->version)) {
        error = fail_field(r, MPS_E_INVALID_FIELD, "version");
    }
    return error;
}

/* The user need have no socket yet: its record is there from here on because of the room. */
static mps_error handle_room_create(struct request *r) {
    struct mps_server *s = r->s;
    struct room_wish wish;
    mps_error error = room_read_wish(r, &wish);
    u32 user = error ? 0 : user_take(&s->kit, &s->presence, &r->claims.who);
    if (!user) {
        return error ? error : MPS_E_USERS_FULL;
    }
    const struct room *own = room_get(&s->rooms, user_at(&s->presence, user - 1)->room);
    if (own) {
        r->error_room = own->id;
        return MPS_E_ROOM_EXISTS;
    }
    error = rooms_full(&s->kit, &s->rooms)                ? MPS_E_ROOMS_FULL
            : game_room_check(s, r->claims.who.id, &wish) ? MPS_OK
                                                          : MPS_E_REFUSED;
    if (error) {
        user_release(&s->presence, user - 1);
        return error;
    }
    const struct room *room = room_open(&s->kit, &s->rooms, &s->presence, &wish, user);
    struct text t = answer_text(r);
    TEXT_LITERAL(&t, "{\"success\":true,\"room\":");
    room_put(&t, s, room);
    put_capacity(&t, &s->rooms);
    text_char(&t, '}');
    return answer_json(r, 201, &t);
}

/* A relay room is of no dungeon, so that a search for one finds none of them. */
static mps_error handle_room_list(struct request *r) {
    char gamemode[ROOM_MODE_MAX], dungeon[ROOM_MODE_MAX];
    struct span wanted, dungeon_id;
    bool found, of_dungeon;
    struct list_filter filter = {0};
    mps_error error = query_text(r, "gamemode", gamemode, sizeof gamemode, &wanted, &found);
    error = error ? error
                  : query_text(r, "dungeon_id", dungeon, sizeof dungeon, &dungeon_id, &of_dungeon);
    if (error) {
        return error;
    }
    filter.name = found ? room_name_hash(&r->s->rooms, wanted) : 0;
    error = list_answer(r, PRODUCE_ROOMS, &room_list_row, filter);
    if (!error && of_dungeon) {
        r->conn->producer.end = 0;
        r->extra[0] = 0;
    }
    return error;
}

static mps_error handle_room_get(struct request *r) {
    const struct room *room = room_find(&r->s->rooms, r->param);
    if (!room) {
        return MPS_E_ROOM_NOT_FOUND;
    }
    struct text t = answer_text(r);
    room_put(&t, r->s, room);
    return answer_json(r, 200, &t);
}

/* By its host; while nobody has entered it, by its maker; always by an admin. */
static mps_error handle_room_delete(struct request *r) {
    struct mps_server *s = r->s;
    const mps_identity *who = &r->claims.who;
    struct room *room = room_find(&s->rooms, r->param);
    if (!room) {
        return MPS_E_ROOM_NOT_FOUND;
    }
    u32 user = user_find(&s->presence, who, user_mark(&s->presence, who));
    u32 host = room->host ? seat_at(&s->rooms, room->host - 1)->user + 1 : room->maker;
    if (who->role != MPS_ROLE_ADMIN && (!user || user != host)) {
        return MPS_E_NOT_HOST;
    }
    room_dissolve(s, room);
    struct text t = answer_text(r);
    TEXT_LITERAL(&t, "{\"success\":true}");
    return answer_json(r, 200, &t);
}

static mps_error handle_presence(struct request *r) {
    return list_answer(r, PRODUCE_USERS, &user_list_row, (struct list_filter){0});
}

/* -- handlers: the socket -- */

static bool list_names(struct span list, struct span name) {
    struct span element;
    while (http_list_next(&list, &element)) {
        if (span_equal_fold(element, name)) {
            return true;
        }
    }
    return false;
}

/* RFC 6455, 4.2.1: is this the opening handshake of version 13? */
static mps_error upgrade_check(const struct request *r) {
    const struct http_head *head = r->head;
    if (!head->connection_upgrade || !list_names(head->fields[HTTP_UPGRADE], SPAN("websocket"))) {
        return r->route->path[1] ? MPS_E_UPGRADE_REQUIRED : MPS_E_NOT_FOUND;
    }
    if (!span_equal(head->fields[HTTP_SEC_WEBSOCKET_VERSION], SPAN("13"))) {
        return MPS_E_WS_VERSION;
    }
    bool good = head->method == HTTP_GET && head->minor > 0 && !r->body_bytes && !head->chunked &&
                ws_key_valid(head->fields[HTTP_SEC_WEBSOCKET_KEY]);
    return good ? MPS_OK : MPS_E_BAD_UPGRADE;
}

/* 101 and what it must say (RFC 6455, 4.2.2). Extensions that were offered are declined by saying
   nothing; the one subprotocol is named when it was offered. */
static void upgrade_put(const struct request *r, struct text *t) {
    char accept[WS_ACCEPT_BYTES];
    ws_accept(r->head->fields[HTTP_SEC_WEBSOCKET_KEY], accept);
    answer_put_status(t, 101);
    TEXT_LITERAL(t, "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ");
    text_add(t, span_of(accept, sizeof accept));
    if (r->head->subprotocol) {
        TEXT_LITERAL(t, "\r\nSec-WebSocket-Protocol: " HTTP_SUBPROTOCOL);
    }
    TEXT_LITERAL(t, "\r\nX-Request-Id: ");
    text_z(t, r->id);
    TEXT_LITERAL(t, "\r\n\r\n");
}

/* The connection speaks frames from here on. Behind a trusted proxy its peer is the client: limits
   and bans go by that. */
static mps_error handle_socket(struct request *r) {
    struct mps_server *s = r->s;
    char head[384];
    struct text t = text_on(head, sizeof head);
    mps_error error = upgrade_check(r);
    if (error) {
        return error;
    }
    if (!address_shares(&r->client, &r->conn->peer) && address_share_full(s, &r->client)) {
        return MPS_E_CONNECTIONS_SHARE;
    }
    u32 user = r->has_claims ? user_take(&s->kit, &s->presence, &r->claims.who) : 0;
    if (r->has_claims && !user) {
        return MPS_E_USERS_FULL;
    }
    upgrade_put(r, &t);
    MPS_ASSERT(!t.cut);
    if (conns_output_reserve(&s->kit, &s->conns, r->conn, t.bytes)) {
        if (user) {
            user_release(&s->presence, user - 1);
        }
        return MPS_E_OUTPUT_FULL;
    }
    conn_output(&s->kit, &s->conns, r->conn, text_span(&t));
    answer_note(r, 101, 0);
    conn_become(&s->conns, r->conn, &r->client);
    socket_open(s, r->conn, r->has_claims ? &r->claims.who : NULL);
    return MPS_OK;
}

/* -- metrics -- */

/* What came in by type, then what went out. A type that there is not is "other": what a stranger
   invents must not become a series. */
static u32 metrics_message_rows(void) {
    return MESSAGE_NONE + 1 + EVENT_COUNT;
}

static void metrics_put_messages(struct text *t, const struct metrics *m, u32 i) {
    bool in = i <= MESSAGE_NONE;
    u32 event = in ? 0 : i - MESSAGE_NONE - 1;
    if (i == 0) {
        metrics_put_head(t, "websocket_messages_total", "counter",
                         DOC("Messages by type and way."));
    }
    TEXT_LITERAL(t, "mpserver_websocket_messages_total{type=\"");
    text_add(t, !in                ? event_type((enum event)event)
                : i < MESSAGE_NONE ? span_z(messages[i].type)
                                   : SPAN("other"));
    text_z(t, in ? "\",direction=\"in\"} " : "\",direction=\"out\"} ");
    text_u64(t, in ? m->messages_in[i] : m->messages_out[event]);
    text_char(t, '\n');
}

/* -- what the game and the log are told -- */

/* A closed room keeps its record until here, as a lobby does. */
static void settle_room(struct mps_server *s, const struct outcome *o) {
    const mps_hooks *hooks = &s->config.hooks;
    const struct room *room = pool_get(&s->rooms.pool, o->subject);
    bool opened = o->kind == OUTCOME_ROOM_OPENED;
    mps_log_record record;
    MPS_ASSERT(room);
    if (server_log_begin(s, opened ? LOG_ITEM_ROOM_OPENED : LOG_ITEM_ROOM_CLOSED, &record)) {
        log_z(&record, "room_id", room->id);
        log_z(&record, "gamemode", room->gamemode);
        log_number(&record, "max_players", room->max_players);
        log_emit(&s->log, &record);
    }
    if (opened && hooks->room_opened) {
        hooks->room_opened(hooks->user, (mps_room){o->subject}, room->id, room->gamemode);
    } else if (!opened && hooks->room_closed) {
        hooks->room_closed(hooks->user, (mps_room){o->subject}, room->id);
    }
    if (!opened) {
        pool_give(&s->rooms.pool, o->subject);
    }
}

/* Who was the last to leave is told before the room closes, so the record is there. */
static void settle_peer(struct mps_server *s, const struct outcome *o) {
    const mps_hooks *hooks = &s->config.hooks;
    const struct room *room = pool_get(&s->rooms.pool, o->subject);
    bool joined = o->kind == OUTCOME_PEER_JOINED;
    mps_log_record record;
    MPS_ASSERT(room);
    if (server_log_begin(s, joined ? LOG_ITEM_PEER_JOINED : LOG_ITEM_PEER_LEFT, &record)) {
        log_z(&record, "room_id", room->id);
        log_number(&record, "peer_id", o->cause);
        log_emit(&s->log, &record);
    }
    if (joined && hooks->peer_joined) {
        hooks->peer_joined(hooks->user, (mps_room){o->subject}, o->cause);
    } else if (!joined && hooks->peer_left) {
        hooks->peer_left(hooks->user, (mps_room){o->subject}, o->cause);
    }
}

static void rooms_settle(struct mps_server *s, const struct outcome *o) {
    if (o->kind == OUTCOME_ROOM_OPENED || o->kind == OUTCOME_ROOM_CLOSED) {
        settle_room(s, o);
    } else {
        settle_peer(s, o);
    }
}

/* Sockets that are over leave their seats and users, at most as many as outcomes; then everybody
   hears that the list of rooms has changed. */
static void sockets_settle(struct mps_server *s) {
    for (u32 i = 0; i < s->config.settle_max && s->conns.ended.count; i++) {
        socket_over(s, conn_at(&s->conns, queue_pop(&s->conns.ended, &s->conns.pool) - 1));
    }
    rooms_announce(s);
}

/* -- what time does -- */

/* A room has this timer only while nobody has entered it. */
static void timer_room(struct mps_server *s, u32 index) {
    room_dissolve(s, room_at(&s->rooms, index));
}

/* Its socket did not come back; or its address was barred. */
static void timer_seat(struct mps_server *s, u32 index) {
    struct seat *seat = seat_at(&s->rooms, index);
    if (seat->barred) {
        room_remove(s, seat, "host_ban");
    } else {
        room_part(s, seat);
    }
}

/* Announcements are picked up by some sockets a call. */
static void sockets_advance(struct mps_server *s) {
    presence_sweep(&s->kit, &s->conns, &s->presence, s->kit.work + s->config.settle_max);
}

static bool sockets_wait(const struct mps_server *s) {
    return s->conns.ended.count || s->presence.sweep;
}

/* The date became known: what was dated before was off by `shift_ms`. */
static void rooms_date(struct mps_server *s, i64 shift_ms) {
    for (u32 i = 0; i < s->rooms.pool.capacity; i++) {
        if (pool_alive(&s->rooms.pool, i)) {
            struct room *room = room_at(&s->rooms, i);
            room_set_created(room, room->created_ms + shift_ms);
        }
    }
}

/* -- making -- */

/* Whole entries of the ring of announcements. */
static u32 config_news_bytes(const mps_config *c) {
    return c->announce_bytes / sizeof(struct news_entry) * sizeof(struct news_entry);
}

static void rooms_layout(struct layout *l, const mps_config *c) {
    layout_pool(l, SERVER_AT(presence.users), "users", c->users, sizeof(struct user));
    layout_index(l, SERVER_AT(presence.by_id), "user index", c->users);
    layout_pool(l, SERVER_AT(rooms.pool), "rooms", c->rooms, sizeof(struct room));
    layout_index(l, SERVER_AT(rooms.by_id), "room index", c->rooms);
    layout_zeroed(l, SERVER_AT(rooms.cards), "room cards", c->rooms, sizeof(struct room_card));
    layout_pool(l, SERVER_AT(rooms.seats), "seats", c->seats, sizeof(struct seat));
    layout_index(l, SERVER_AT(rooms.by_peer), "seat index", c->seats);
    layout_zeroed(l, SERVER_AT(rooms.slots), "states of seats", c->seats,
                  (size_t)SLOT_KINDS * c->slot_bytes);
    layout_pool(l, SERVER_AT(rooms.bans), "bans", c->bans, sizeof(struct ban));
    layout_zeroed(l, SERVER_AT(presence.news.ring), "announcements", 1, config_news_bytes(c));
}

static void rooms_create(struct mps_server *s) {
    const mps_config *c = &s->config;
    struct presence *p = &s->presence;
    struct rooms *r = &s->rooms;
    p->by_id.key = server_key(s);
    p->listeners.link_at = offsetof(struct conn, socket.listening);
    s->conns.ended.link_at = offsetof(struct conn, socket.ended);
    p->is_public = c->presence_public;
    p->seat_link_at = offsetof(struct seat, of_user);
    p->news.capacity = config_news_bytes(c);
    r->by_id.key = server_key(s);
    r->by_peer.key = server_key(s);
    r->players_max = c->room_players_max;
    r->room_bans_max = c->room_bans_max;
    r->slot_bytes = c->slot_bytes;
}

static void rooms_apply(struct mps_server *s) {
    const mps_config *c = &s->config;
    s->conns.ping_us = c->ping_after_ms * MS_US;
    s->conns.silence_us = c->silence_timeout_ms * MS_US;
    s->conns.message_us = c->message_timeout_ms * MS_US;
    s->rooms.seat_us = c->seat_timeout_ms * MS_US;
    s->rooms.unconfirmed_us = c->room_timeout_ms * MS_US;
    s->presence.paces[PACE_STATES] = pace_of(c->states_per_s);
    s->presence.paces[PACE_CHATS] = pace_of(c->chats_per_s);
    s->presence.paces[PACE_MESSAGES] = pace_of(c->messages_per_s);
}

static bool sockets_check(const struct mps_server *s) {
    return presence_check(&s->presence) && rooms_check(&s->rooms);
}
#else
/* Without rooms no connection is ever upgraded: there is no socket to do anything to. */
static void socket_starve(struct mps_server *s, struct conn *conn) {
    (void)s, (void)conn;
}

static void socket_heard(struct mps_server *s, struct conn *conn) {
    (void)s, (void)conn;
}

static void socket_drained(struct mps_server *s, struct conn *conn) {
    (void)s, (void)conn;
}

static void socket_timed_out(struct mps_server *s, struct conn *conn) {
    (void)s, (void)conn;
}

static void socket_over(struct mps_server *s, struct conn *conn) {
    (void)s, (void)conn;
}

static void socket_granted(struct mps_server *s, struct conn *conn, const mps_identity *who) {
    (void)s, (void)conn, (void)who;
}

static size_t socket_read(struct mps_server *s, struct conn *conn, struct input_view *view,
                          size_t at) {
    (void)s, (void)conn, (void)view;
    return at;
}

static void sockets_settle(struct mps_server *s) {
    (void)s;
}

static void sockets_advance(struct mps_server *s) {
    (void)s;
}

static bool sockets_wait(const struct mps_server *s) {
    (void)s;
    return false;
}

static bool sockets_check(const struct mps_server *s) {
    (void)s;
    return true;
}

/* Nobody hears it. */
static u32 announce_text(struct mps_server *s, struct span said) {
    (void)s, (void)said;
    return 0;
}

static u32 metrics_message_rows(void) {
    return 0;
}

static void metrics_put_messages(struct text *t, const struct metrics *m, u32 i) {
    (void)t, (void)m, (void)i;
}

static void rooms_settle(struct mps_server *s, const struct outcome *o) {
    (void)s, (void)o;
}

static void rooms_date(struct mps_server *s, i64 shift_ms) {
    (void)s, (void)shift_ms;
}

static void rooms_layout(struct layout *l, const mps_config *c) {
    (void)l, (void)c;
}

static void rooms_create(struct mps_server *s) {
    (void)s;
}

static void rooms_apply(struct mps_server *s) {
    (void)s;
}
#endif

/* == 84 http handlers ============================================================================
   What the routes do. The row of routes[] says what is checked before its handler runs; handlers
   hold only the work, and give an error or have answered. Those whose answer may be longer than the
   scratch leave it to a producer, which writes on whenever the output has drained. */

/* -- lobbies as text -- */

/* In the order in which they joined. Names are the only text of players that needs escaping. */
static void lobby_put_players(struct text *t, const struct lobbies *l, const struct lobby *lobby) {
    TEXT_LITERAL(t, ",\"players\":[");
    for (u32 at = lobby->players.head; at; at = player_at(l, at - 1)->seat.next) {
        const struct player *player = player_at(l, at - 1);
        json_put_open(t, '{');
        TEXT_LITERAL(t, "\"id\":");
        text_u64(t, player->id);
        TEXT_LITERAL(t, ",\"name\":");
        json_put_z(t, player->name);
        text_char(t, '}');
    }
    text_char(t, ']');
}

/* LobbyInfo, as the contract's section 3 has it. `reached` is the address the caller used. This
   is what clients ask for most, so its keys are written with their commas. The code and the date
   go out as they are: their letters were checked, or made here, and none needs escaping (RFC
   8259, 7). */
static void lobby_put(struct text *t, const struct mps_server *s, const struct lobby *lobby,
                      const mps_address *reached) {
    TEXT_LITERAL(t, "{\"code\":\"");
    text_z(t, lobby->code);
    TEXT_LITERAL(t, "\",\"player_count\":");
    text_u64(t, lobby->players.count);
    TEXT_LITERAL(t, ",\"max_players\":");
    text_u64(t, lobby->max_players);
    lobby_put_players(t, &s->lobbies, lobby);
    TEXT_LITERAL(t, ",\"server_ip\":\"");
    /* Behind NAT the address that was reached may be one that others cannot reach. */
    if (s->public_host[0]) {
        text_z(t, s->public_host);
    } else {
        address_put_ip(t, reached);
    }
    TEXT_LITERAL(t, "\",\"udp_port\":");
    text_u64(t, s->config.udp_port);
    TEXT_LITERAL(t, ",\"scene\":");
    json_put_z(t, lobby->scene);
    TEXT_LITERAL(t, ",\"created_at\":\"");
    text_add(t, span_of(lobby->created, sizeof lobby->created));
    TEXT_LITERAL(t, "\"}");
}

/* One that is not public can be had by its code alone and is in no list. */
static bool lobby_listed(const struct mps_server *s, u32 index, const struct list_filter *f) {
    const struct lobby *lobby = pool_at(&s->lobbies.pool, index);
    return pool_alive(&s->lobbies.pool, index) && !lobby->closing && lobby->is_public &&
           (!f->name || lobby->scene_hash == f->name) &&
           (!f->open || lobby->players.count < lobby->max_players);
}

static void lobby_put_listed(struct text *t, const struct mps_server *s, const struct conn *conn,
                             u32 index) {
    lobby_put(t, s, pool_at(&s->lobbies.pool, index), &conn->local);
}

/* A bare array, as shipped clients know it. */
static void lobby_put_end(struct text *t, const struct mps_server *s, u32 count) {
    (void)s, (void)count;
    text_char(t, ']');
}

static const struct list_row lobby_list = {SERVER_AT(lobbies.pool), "[", lobby_listed,
                                           lobby_put_listed, lobby_put_end};

/* -- what /metrics and /api/status tell -- */

/* What /metrics and /api/status tell of a table: where its numbers stand in the server. `high`
   never falls, which tells an operator how much of a limit was ever needed; `limit` is fixed for
   the life of the server. */
enum table_column { TABLE_USED, TABLE_HIGH, TABLE_LIMIT, TABLE_COLUMNS };
static const char *const table_columns[] = {"used", "high", "limit"};
struct table_row {
    const char *name;
    u16 at[TABLE_COLUMNS];
};

#define TABLE(name, used, high, limit)                         \
    {                                                          \
        name, {                                                \
            SERVER_AT(used), SERVER_AT(high), SERVER_AT(limit) \
        }                                                      \
    }
#define TABLE_POOL(name, pool) TABLE(name, pool.used, pool.high, pool.capacity)

static const struct table_row tables[] = {
    TABLE("connections", conns.live, conns.live_high, conns.live_max),
    TABLE("large_inputs", conns.large_used, conns.large_high, conns.large_count),
    TABLE("chunks", conns.chunks_used, conns.chunks_high, conns.chunks_count),
    TABLE_POOL("lobbies", lobbies.pool),
    TABLE_POOL("players", lobbies.players),
    TABLE_POOL("buckets", rates.pool),
#ifndef MPS_NO_ROOMS
    TABLE_POOL("users", presence.users),
    TABLE_POOL("rooms", rooms.pool),
    TABLE_POOL("seats", rooms.seats),
    TABLE_POOL("bans", rooms.bans),
#endif
};
_Static_assert(sizeof(struct mps_server) <= UINT16_MAX, "its members are named by 16 bits");

#define TABLE_ROWS ((u32)COUNT_OF(tables))

static u32 server_u32(const struct mps_server *s, size_t at) {
    return *(const u32 *)(const void *)((const char *)s + at);
}

/* A gauge goes up and down and has no labels here. `at` names the member that it shows. */
struct gauge_row {
    const char *metric, *help;
    u16 at;
};

static const struct gauge_row gauges[] = {
    {"connections", DOC("Connections open now."), SERVER_AT(conns.live)},
#ifndef MPS_NO_ROOMS
    {"sockets", DOC("WebSockets open now."), SERVER_AT(presence.sockets)},
    {"rooms", DOC("Relay rooms open now."), SERVER_AT(rooms.pool.used)},
    {"room_members", DOC("Seats taken in relay rooms now."), SERVER_AT(rooms.seats.used)},
#endif
    {"lobbies", DOC("Lobbies open now."), SERVER_AT(lobbies.pool.used)},
    {"players", DOC("Players in lobbies now."), SERVER_AT(lobbies.players.used)},
    {"uptime_seconds", DOC("Seconds since the start."), SERVER_AT(kit.born)},
    {"memory_bytes", DOC("Size of the one memory block."), SERVER_AT(memory_bytes)},
    {"draining", DOC("1 while the server shuts down."), SERVER_AT(drain)},
};

/* Whole numbers all, as is everything but the durations. */
static u64 gauge_value(const struct mps_server *s, size_t at) {
    switch (at) {
    case SERVER_AT(kit.born):
        return (s->kit.now - s->kit.born) / S_US;
    case SERVER_AT(memory_bytes):
        return s->memory_bytes;
    case SERVER_AT(drain):
        return s->drain != DRAIN_NO;
    default:
        return server_u32(s, at);
    }
}

/* -- handlers: operations -- */

/* Alive, also while draining: whoever restarts what is not alive must not cut a drain short. */
static mps_error handle_health(struct request *r) {
    struct text t = answer_text(r);
    json_put_open(&t, '{');
    json_member_z(&t, "status", "ok");
    json_member_z(&t, "version", MPS_VERSION);
    json_member_u64(&t, "uptime_ms", kit_uptime_ms(&r->s->kit));
    json_put_close(&t, '}');
    return answer_json(r, 200, &t);
}

/* A load balancer asks this one, and sends its players elsewhere from the first 503 on. */
static mps_error handle_ready(struct request *r) {
    return r->s->drain == DRAIN_NO ? answer_ok(r, 200) : MPS_E_DRAINING;
}

/* Longer than the scratch, so a producer writes it. The type names the text format's version. */
static mps_error handle_metrics(struct request *r) {
    r->conn->producer = (struct producer){.kind = PRODUCE_METRICS};
    r->produce_type = "text/plain; version=0.0.4; charset=utf-8";
    return MPS_OK;
}

/* Bounded, as the tables are: it fits the least scratch there can be. */
static mps_error handle_status(struct request *r) {
    const struct mps_server *s = r->s;
    struct text t = answer_text(r);
    json_put_open(&t, '{');
    json_member_z(&t, "status", "ok");
    json_member_z(&t, "name", s->name);
    json_member_z(&t, "version", MPS_VERSION);
    json_member_u64(&t, "uptime_ms", kit_uptime_ms(&s->kit));
    json_member_bool(&t, "draining", s->drain != DRAIN_NO);
    json_member_u64(&t, "memory_bytes", s->memory_bytes);
    json_put_key(&t, "tables");
    json_put_open(&t, '{');
    for (u32 i = 0; i < TABLE_ROWS; i++) {
        json_put_key(&t, tables[i].name);
        json_put_open(&t, '{');
        for (u32 column = 0; column < TABLE_COLUMNS; column++) {
            json_member_u64(&t, table_columns[column], server_u32(s, tables[i].at[column]));
        }
        json_put_close(&t, '}');
    }
    json_put_close(&t, '}');
    json_put_close(&t, '}');
    return answer_json(r, 200, &t);
}

/* -- handlers: admin -- */

/* No request on this connection that a drain should wait for; what is unsent goes out anyway. One
   that has not asked anything yet may be a probe about to ask /readyz. FIN takes such a connection
   away without anybody losing an answer. */
static bool drain_idle(const struct conn *conn) {
    return conn->state == CONN_HEAD && conn->served && !conn->in_bytes && !conn->ready;
}

/* Sets the state and the timer only; section 88 visits the connections, some at a time. */
static void server_drain(struct mps_server *s, u32 grace_ms) {
    mps_log_record record;
    grace_ms = grace_ms ? grace_ms : s->config.drain_grace_ms;
    u64 due = time_after(s->kit.now, grace_ms * MS_US);
    if (s->drain > DRAIN_GRACE || (s->drain == DRAIN_GRACE && due >= s->drain_due)) {
        return; /* asked again: only sooner counts */
    }
    s->drain = DRAIN_GRACE;
    s->drain_due = due;
    s->drain_sweep = 0;
    timer_set(&s->kit.timers, TIMER_SERVER, SERVER_TIMER_DRAIN, due);
    announce_text(s, SPAN("The server is shutting down."));
    if (server_log_begin(s, LOG_ITEM_DRAIN_BEGUN, &record)) {
        log_number(&record, "grace_ms", grace_ms);
        log_emit(&s->log, &record);
    }
}

/* grace_ms has the most that drain_grace_ms has: an hour. 202, because the drain has only begun. */
static mps_error handle_drain(struct request *r) {
    static const char *const keys[] = {"grace_ms"};
    struct json_value v[1];
    u32 grace_ms = 0;
    mps_error error = body_read(r, keys, 1, v);
    if (!error && value_given(&v[0])) {
        error = body_u32(r, &v[0], "grace_ms", 1, 3600000, &grace_ms);
    }
    if (error) {
        return error;
    }
    server_drain(r->s, grace_ms);
    return answer_ok(r, 202);
}

/* Code points: a few lines on a screen. Escaped, they fit NEWS_BYTES_MAX. */
#define ANNOUNCE_POINTS_MAX 500

/* Tells every socket that has shaken hands, and says how many those are. */
static mps_error handle_announce(struct request *r) {
    static const char *const keys[] = {"text"};
    struct json_value v[1];
    struct span said;
    mps_log_record record;
    mps_error error = body_read(r, keys, 1, v);
    if (error) {
        return error;
    }
    if (!json_string(&v[0], &said) || !name_valid(said, ANNOUNCE_POINTS_MAX)) {
        return fail_field(r, MPS_E_INVALID_FIELD, "text");
    }
    if (server_log_begin(r->s, LOG_ITEM_ANNOUNCED, &record)) {
        log_text(&record, "said", said);
        log_z(&record, "by", r->claims.who.id);
        log_emit(&r->s->log, &record);
    }
    u32 sockets = announce_text(r->s, said);
    struct text t = answer_text(r);
    TEXT_LITERAL(&t, "{\"status\":\"ok\",\"sockets\":");
    text_u64(&t, sockets);
    text_char(&t, '}');
    return answer_json(r, 202, &t);
}

/* Reload and record are the host's business: a hook does them, or nobody. The hook runs inside a
   call into the core, where a port's calls are refused: it notes the wish and acts later, hence
   202. The line in the log comes first, so that it is there whatever the hook does. */
static mps_error admin_ask(struct request *r, void (*hook)(void *), mps_error unavailable,
                           enum log_item item) {
    mps_log_record record;
    mps_error error = body_read(r, NULL, 0, NULL);
    if (error || !hook) {
        return error ? error : unavailable;
    }
    if (server_log_begin(r->s, item, &record)) {
        log_z(&record, "by", r->claims.who.id);
        log_emit(&r->s->log, &record);
    }
    hook(r->s->config.hooks.user);
    return answer_ok(r, 202);
}

static mps_error handle_reload(struct request *r) {
    return admin_ask(r, r->s->config.hooks.reload, MPS_E_RELOAD_UNAVAILABLE, LOG_ITEM_RELOAD_ASKED);
}

static mps_error handle_record(struct request *r) {
    return admin_ask(r, r->s->config.hooks.record, MPS_E_RECORD_UNAVAILABLE, LOG_ITEM_RECORD_ASKED);
}

/* Lines newer than `since`; what the ring has lost is skipped. `next` asks for what comes then.
   Both ends are fixed here: lines that are logged meanwhile, this request's among them, are for the
   next time, and the answer has an end. */
static mps_error handle_log(struct request *r) {
    u64 since;
    const struct log *log = &r->s->log;
    mps_error error = query_u64(r, "since", 0, &since);
    if (error) {
        return error;
    }
    u64 oldest = log->serial > log->entries_max ? log->serial - log->entries_max : 0;
    r->conn->producer = (struct producer){
        .kind = PRODUCE_LOG, .cursor = since > oldest ? since : oldest, .end = log->serial};
    r->produce_type = "application/json";
    return MPS_OK;
}

/* -- handlers: sign-in -- */

/* Mints a token for `who` and answers with it. The token is made in the scratch for input, since
   the body that quotes it is in the other; that scratch holds the longest token there is. While the
   date is unknown the token carries the mark of this run, because its times mean nothing to
   another. An id that came as a number leaves as one. */
static mps_error answer_token(struct request *r, u32 status, const mps_identity *who,
                              i64 auth_time) {
    struct mps_server *s = r->s;
    struct kit *k = &s->kit;
    i64 unix_s = kit_unix_ms(k) / 1000, ttl = s->config.token_ttl_s;
    char date[DATE_TEXT_BYTES];
    struct text token = text_on(near_get(&s->work), s->work_bytes), t = answer_text(r);
    struct text d = text_on(date, sizeof date);
    struct auth_grant grant = {
        who,    s->auth.issuer, s->auth.audience, k->wall_known ? NULL : s->auth.boot,
        unix_s, unix_s + ttl,   auth_time};
    bool minted = auth_mint(&token, &grant, &s->auth.key);
    /* Names and ids are bounded, and so is the token made of them. */
    MPS_ASSERT(minted);
    (void)minted;
    date_put_iso(&d, (unix_s + ttl) * 1000);
    json_put_open(&t, '{');
    json_member_string(&t, "token", text_span(&token));
    json_put_key(&t, "user_id");
    put_user_id(&t, who->id, who->id_is_number);
    json_member_z(&t, "username", who->name);
    json_member_string(&t, "expires_at", text_span(&d));
    json_put_close(&t, '}');
    return answer_json(r, status, &t);
}

/* The id is random and new each time; the name is decoration and need not be unique. */
static mps_error handle_guest(struct request *r) {
    static const char *const keys[] = {"username"};
    struct json_value v[1];
    struct span name = SPAN("Guest");
    mps_identity who = {.role = MPS_ROLE_PLAYER};
    /* Before the body: where guests are not wanted its form is of no interest. */
    if (!r->s->guest_login) {
        return MPS_E_GUEST_DISABLED;
    }
    mps_error error = body_read(r, keys, 1, v);
    if (!error && value_given(&v[0])) {
        error = body_name(r, &v[0], "username", &name);
    }
    if (error) {
        return error;
    }
    random_uuid(&r->s->kit.random, who.id);
    copy_z(who.name, sizeof who.name, name);
    return answer_token(r, 201, &who, kit_unix_ms(&r->s->kit) / 1000);
}

/* Only for tokens made here for players: what the operator minted for servers and admins ends when
   it says. The moment of signing in is handed on, so that a chain of refreshes has an end. */
static mps_error handle_refresh(struct request *r) {
    i64 now_s = kit_unix_ms(&r->s->kit) / 1000;
    if (r->claims.who.role != MPS_ROLE_PLAYER || !r->claims.ours) {
        return MPS_E_NOT_REFRESHABLE;
    }
    /* Counted from the sign-in and not from the last refresh. */
    if (now_s - r->claims.auth_time > r->s->config.refresh_ttl_s) {
        return MPS_E_REFRESH_EXPIRED;
    }
    return answer_token(r, 200, &r->claims.who, r->claims.auth_time);
}

/* -- handlers: lobbies -- */

/* The address the caller reached tells others on its network where to connect. */
static mps_error answer_lobby(struct request *r, u64 handle) {
    struct text t = answer_text(r);
    lobby_put(&t, r->s, lobby_get(&r->s->lobbies, handle), &r->conn->local);
    return answer_json(r, 200, &t);
}

/* The lobby of the path. 0: there is none, or it is closing. */
static u64 request_lobby(const struct request *r) {
    return lobby_find(&r->s->lobbies, r->param);
}

/* When the wish says nothing; less where lobby_players is smaller. */
#define LOBBY_PLAYERS_DEFAULT 4

/* Range and form only; whether there is room is asked afterwards. `error_limit` is set for the one
   fault that it explains. */
static mps_error lobby_read_wish(struct request *r, struct lobby_wish *wish) {
    static const char *const keys[] = {"code", "scene", "max_players", "is_public"};
    struct json_value v[4];
    u32 most = r->s->lobbies.players_max;
    *wish = (struct lobby_wish){.scene = SPAN("world"),
                                .is_public = true,
                                .max_players = u32_min(LOBBY_PLAYERS_DEFAULT, most)};
    mps_error error = body_read(r, keys, 4, v);
    if (!error && value_given(&v[0]) &&
        (!json_string(&v[0], &wish->code) || !lobby_code_valid(wish->code))) {
        error = fail_field(r, MPS_E_INVALID_FIELD, "code");
    }
    if (!error && value_given(&v[1]) &&
        (!json_string(&v[1], &wish->scene) || wish->scene.bytes > LOBBY_SCENE_MAX ||
         !name_valid(wish->scene, LOBBY_SCENE_MAX))) {
        error = fail_field(r, MPS_E_INVALID_FIELD, "scene");
    }
    if (!error && value_given(&v[2])) {
        r->error_limit = most;
        error = body_u32(r, &v[2], "max_players", 1, most, &wish->max_players);
        r->error_limit = error ? most : 0;
    }
    if (!error && value_given(&v[3])) {
        error = body_bool(r, &v[3], "is_public", &wish->is_public);
    }
    return error;
}

/* Asks the game; a hook that is not there agrees. The hook wants text that ends in a zero, so it
   gets copies. */
static bool game_lobby_check(struct mps_server *s, const struct lobby_wish *wish) {
    char code[LOBBY_CODE_MAX + 1], scene[LOBBY_SCENE_MAX + 1];
    if (!s->config.hooks.lobby_check) {
        return true;
    }
    copy_z(code, sizeof code, wish->code);
    copy_z(scene, sizeof scene, wish->scene);
    return s->config.hooks.lobby_check(s->config.hooks.user, code, scene, wish->max_players);
}

/* The game is asked last, when nothing else can fail any more: after its yes the lobby is opened,
   and it hears of no lobby that then is not. */
static mps_error handle_lobby_create(struct request *r) {
    struct mps_server *s = r->s;
    struct lobby_wish wish;
    char made[LOBBY_CODE_MADE];
    mps_error error = lobby_read_wish(r, &wish);
    if (!error) {
        error = lobby_open_check(&s->kit, &s->lobbies, &wish);
    }
    if (error) {
        return error;
    }
    /* Made after the check, so that a full table does not cost random numbers. */
    if (!wish.code.bytes) {
        if (!lobby_make_code(&s->kit, &s->lobbies, made)) {
            return MPS_E_LOBBIES_FULL;
        }
        wish.code = span_of(made, sizeof made);
    }
    if (!game_lobby_check(s, &wish)) {
        return MPS_E_REFUSED;
    }
    return answer_lobby(r, lobby_open(&s->kit, &s->lobbies, &wish, &r->client));
}

static mps_error handle_lobby_list(struct request *r) {
    char scene[LOBBY_SCENE_MAX];
    struct span wanted;
    bool found;
    struct list_filter filter = {0};
    mps_error error = query_text(r, "scene", scene, sizeof scene, &wanted, &found);
    error = error ? error : query_bool(r, "open", &filter.open);
    filter.name = found && !error ? lobby_scene_hash(&r->s->lobbies, wanted) : 0;
    return error ? error : list_answer(r, PRODUCE_LOBBIES, &lobby_list, filter);
}

/* By its code anyone may look at a lobby, also at one that is not public. */
static mps_error handle_lobby_get(struct request *r) {
    u64 handle = request_lobby(r);
    return handle ? answer_lobby(r, handle) : MPS_E_LOBBY_NOT_FOUND;
}

/* The one answer that shows a player's token: it is proof of who joined from then on. */
static mps_error answer_joined(struct request *r, u64 handle, const struct player *player) {
    struct text t = answer_text(r);
    char token[UDP_TOKEN_TEXT];
    struct text hex = text_on(token, sizeof token);
    text_hex(&hex, player->token, sizeof player->token);
    json_put_open(&t, '{');
    json_put_key(&t, "lobby");
    lobby_put(&t, r->s, lobby_get(&r->s->lobbies, handle), &r->conn->local);
    json_member_u64(&t, "player_id", player->id);
    json_member_string(&t, "udp_token", text_span(&hex));
    json_put_close(&t, '}');
    return answer_json(r, 200, &t);
}

/* As with a new lobby, the game has the last word and what it allows is done. */
static mps_error handle_lobby_join(struct request *r) {
    static const char *const keys[] = {"player_name"};
    struct mps_server *s = r->s;
    struct json_value v[1];
    struct span name;
    char name_text[MPS_NAME_BYTES_MAX + 1];
    u64 handle = request_lobby(r);
    mps_error error = body_read(r, keys, 1, v);
    if (!error) {
        error = body_name(r, &v[0], "player_name", &name);
    }
    if (!error) {
        error = handle ? lobby_join_check(&s->kit, &s->lobbies, lobby_get(&s->lobbies, handle))
                       : MPS_E_LOBBY_NOT_FOUND;
    }
    if (error) {
        return error;
    }
    /* The hook wants a zero behind the name; in the body there is none. */
    copy_z(name_text, sizeof name_text, name);
    if (s->config.hooks.join_check &&
        !s->config.hooks.join_check(s->config.hooks.user, (mps_lobby){handle}, name_text)) {
        return MPS_E_REFUSED;
    }
    return answer_joined(r, handle, lobby_join(&s->kit, &s->lobbies, handle, name, &r->client));
}

/* Ids are public, so the token must be the player's own; it is compared in constant time, or its
   bytes could be guessed one after the other. */
static mps_error handle_lobby_leave(struct request *r) {
    static const char *const keys[] = {"player_id", "udp_token"};
    struct lobbies *l = &r->s->lobbies;
    struct json_value v[2];
    struct span hex;
    u8 token[UDP_TOKEN_BYTES];
    u32 id;
    u64 handle = request_lobby(r);
    mps_error error = body_read(r, keys, 2, v);
    error = error ? error : body_u32(r, &v[0], "player_id", 1, UINT32_MAX, &id);
    if (!error && (!json_string(&v[1], &hex) || !hex_read(hex, token, sizeof token))) {
        error = fail_field(r, MPS_E_INVALID_FIELD, "udp_token");
    }
    if (error) {
        return error;
    }
    if (!handle) {
        return MPS_E_LOBBY_NOT_FOUND;
    }
    u32 at = player_find(l, lobby_get(l, handle), id);
    if (!at) {
        return MPS_E_PLAYER_NOT_FOUND;
    }
    if (!crypto_equal(player_at(l, at - 1)->token, token, sizeof token)) {
        return MPS_E_UDP_TOKEN_WRONG;
    }
    player_leave(&r->s->kit, l, at - 1, LEAVE_ASKED);
    return answer_ok(r, 200);
}

/* The token of a member, from the body or from the query; none is no error. Both, because the body
   of a DELETE has no defined meaning and some clients and proxies do not pass it on (RFC 9110,
   9.3.5). */
static mps_error lobby_read_member(struct request *r, char *hex, size_t capacity,
                                   struct span *token) {
    static const char *const keys[] = {"udp_token"};
    struct json_value v[1];
    bool found;
    if (!r->body_bytes) {
        return query_text(r, "udp_token", hex, capacity, token, &found);
    }
    mps_error error = body_read(r, keys, 1, v);
    if (!error && value_given(&v[0]) && !json_string(&v[0], token)) {
        error = fail_field(r, MPS_E_INVALID_FIELD, "udp_token");
    }
    return error;
}

/* Its creator (by address), a member (by udp_token) or an admin. The creator's address is that
   behind trusted proxies: without them all who come through one proxy would pass for the
   creator. */
static bool lobby_may_delete(const struct request *r, const struct lobby *lobby, bool admin,
                             struct span token_hex) {
    u8 token[UDP_TOKEN_BYTES];
    return admin || address_same_ip(&lobby->creator, &r->client) ||
           (hex_read(token_hex, token, sizeof token) &&
            lobby_has_token(&r->s->lobbies, lobby, token));
}

/* A lobby with people in it goes only when an admin insists: neither its creator nor a member may
   take it from under the others. */
static mps_error handle_lobby_delete(struct request *r) {
    struct lobbies *l = &r->s->lobbies;
    u64 handle = request_lobby(r);
    char hex[UDP_TOKEN_TEXT];
    struct span token = {NULL, 0};
    bool admin = r->has_claims && r->claims.who.role == MPS_ROLE_ADMIN, force;
    mps_error error = query_bool(r, "force", &force);
    error = error ? error : lobby_read_member(r, hex, sizeof hex, &token);
    if (error) {
        return error;
    }
    if (!handle) {
        return MPS_E_LOBBY_NOT_FOUND;
    }
    /* From here on the order says what a caller learns: TEST stays, then whose it is, then who is
       in it. */
    const struct lobby *lobby = lobby_get(l, handle);
    if (lobby->permanent) {
        return MPS_E_LOBBY_PERMANENT;
    }
    if (!lobby_may_delete(r, lobby, admin, token)) {
        return MPS_E_LOBBY_NOT_YOURS;
    }
    if (lobby->players.count && !(force && admin)) {
        return MPS_E_LOBBY_NOT_EMPTY;
    }
    lobby_close(&r->s->kit, l, handle);
    return answer_ok(r, 200);
}

/* -- routes -- */

/* Each fills three members of a row: the path as documented, how long it is in front of the code,
   and where it goes on behind it; 0: it has none. */
#define PATH(path) path, sizeof(path) - 1, 0
#define PATH_WITH(before, param, after) \
    before param after, sizeof(before) - 1, sizeof(before param) - 1

#define ROUTE(method, path, auth, body, new_work, handler, doc) \
    { path, HTTP_##method, ROUTE_##auth, BODY_##body, new_work, handler, DOC(doc) }

/* The row of a path and method is unique, so their order decides nothing. Leaving and closing are
   not new work: they are what lets a drain come to its end. */
static const struct route routes[] = {
    ROUTE(GET, PATH("/healthz"), OPEN, IGNORED, false, handle_health,
          "alive: status, version, uptime_ms"),
    ROUTE(GET, PATH("/readyz"), OPEN, IGNORED, false, handle_ready, "200, or 503 while draining"),
    ROUTE(GET, PATH("/metrics"), METRICS, IGNORED, false, handle_metrics,
          "Prometheus text format 0.0.4"),
    ROUTE(GET, PATH("/api/status"), METRICS, IGNORED, false, handle_status,
          "tables and load at a glance"),
    ROUTE(POST, PATH("/admin/drain"), ADMIN, JSON, false, handle_drain,
          "{grace_ms?}: shut down in peace"),
    ROUTE(POST, PATH("/admin/announce"), ADMIN, JSON, false, handle_announce,
          "{text}: tell every socket"),
    ROUTE(POST, PATH("/admin/reload"), ADMIN, JSON, false, handle_reload, "{}: what SIGHUP does"),
    ROUTE(POST, PATH("/admin/record"), ADMIN, JSON, false, handle_record,
          "{}: write the flight recorder"),
    ROUTE(GET, PATH("/admin/log"), ADMIN, IGNORED, false, handle_log, "?since=: recent log lines"),
    ROUTE(POST, PATH("/auth/guest"), OPEN, JSON, true, handle_guest,
          "{username?}: a token for a guest"),
    ROUTE(POST, PATH("/auth/refresh"), USER, IGNORED, true, handle_refresh,
          "a new token for the same player"),
    ROUTE(POST, PATH("/lobbies"), OPEN, JSON, true, handle_lobby_create,
          "{code?, scene?, max_players?, is_public?}: open a lobby"),
    ROUTE(GET, PATH("/lobbies"), OPEN, IGNORED, false, handle_lobby_list,
          "?scene= ?open=true ?limit= ?cursor=: public lobbies"),
    ROUTE(GET, PATH_WITH("/lobbies/", "{code}", ""), OPEN, IGNORED, false, handle_lobby_get,
          "one lobby"),
    ROUTE(POST, PATH_WITH("/lobbies/", "{code}", "/join"), OPEN, JSON, true, handle_lobby_join,
          "{player_name}: take a seat"),
    ROUTE(POST, PATH_WITH("/lobbies/", "{code}", "/leave"), OPEN, JSON, false, handle_lobby_leave,
          "{player_id, udp_token}: give it up"),
#ifndef MPS_NO_ROOMS
    ROUTE(GET, PATH("/"), SOCKET, IGNORED, true, handle_socket,
          "Upgrade: websocket, ?token=: a socket"),
    ROUTE(GET, PATH("/ws"), SOCKET, IGNORED, true, handle_socket,
          "Upgrade: websocket, ?token=: a socket"),
    ROUTE(GET, PATH("/api/presence"), USER, IGNORED, false, handle_presence,
          "?limit= ?cursor=: who is online"),
    ROUTE(POST, PATH("/api/rooms"), USER, JSON, true, handle_room_create,
          "{gamemode, mapName?, maxPlayers?, isPublic?, version?}: make a room"),
    ROUTE(GET, PATH("/api/rooms"), OPEN, IGNORED, false, handle_room_list,
          "?gamemode= ?dungeon_id= ?limit= ?cursor=: public rooms"),
    ROUTE(GET, PATH_WITH("/api/rooms/", "{id}", ""), OPEN, IGNORED, false, handle_room_get,
          "one room"),
    ROUTE(DELETE, PATH_WITH("/api/rooms/", "{id}", ""), USER, IGNORED, false, handle_room_delete,
          "close a room, by its host"),
#endif
    ROUTE(DELETE, PATH_WITH("/lobbies/", "{code}", ""), OPTIONAL, IGNORED, false,
          handle_lobby_delete, "{udp_token}? or ?udp_token=, ?force=true: close a lobby"),
};

/* What matches no row is counted behind the last. */
#define ROUTE_NONE ((u32)COUNT_OF(routes))
_Static_assert(COUNT_OF(routes) < METRIC_ROUTES_MAX, "raise METRIC_ROUTES_MAX");

/* -- producers: long answers, one unit at a time, whole or not at all, as far as scratch and output
   have room. They keep a cursor and no pointer: what they list may change meanwhile. -- */

/* A sample without a time: it is of now. */
static void metrics_put_line(struct text *t, const char *metric, const char *labels, u64 value) {
    TEXT_LITERAL(t, "mpserver_");
    text_z(t, metric);
    if (labels[0]) {
        text_char(t, '{');
        text_z(t, labels);
        text_char(t, '}');
    }
    text_char(t, ' ');
    text_u64(t, value);
    text_char(t, '\n');
}

/* Rows of one metric stand together, under one head. */
static void metrics_put_counter(struct text *t, const struct metrics *m, u32 i) {
    if (!i || strcmp(counters[i].metric, counters[i - 1].metric) != 0) {
        metrics_put_head(t, counters[i].metric, "counter", counters[i].help);
    }
    metrics_put_line(t, counters[i].metric, counters[i].labels, m->counters[i]);
}

/* The columns of a table, one metric each. */
static const char *const table_metrics[] = {"table_used", "table_high", "table_limit"};
static const char *const table_helps[] = {
    DOC("Records in use."), DOC("The most records ever in use."), DOC("Records there are.")};

/* Column by column, because all lines of a metric must stand together. */
static void metrics_put_table(struct text *t, const struct mps_server *s, u32 column, u32 i) {
    char labels[64];
    struct text l = text_on(labels, sizeof labels - 1);
    if (i == 0) {
        metrics_put_head(t, table_metrics[column], "gauge", table_helps[column]);
    }
    TEXT_LITERAL(&l, "table=\"");
    text_z(&l, tables[i].name);
    text_char(&l, '"');
    labels[l.bytes] = 0;
    metrics_put_line(t, table_metrics[column], labels, server_u32(s, tables[i].at[column]));
}

/* A duration in seconds, exact to the nanosecond. */
static void metrics_put_seconds(struct text *t, u64 ns) {
    text_u64(t, ns / 1000000000);
    text_char(t, '.');
    text_padded(t, (u32)(ns % 1000000000), 9);
}

/* Buckets are summed up on the way, and +Inf equals the count, as the format wants. */
static void metrics_put_histogram(struct text *t, const char *metric, const char *help,
                                  const struct histogram *h) {
    u64 sum = 0;
    metrics_put_head(t, metric, "histogram", help);
    for (u32 i = 0; i <= HISTOGRAM_BUCKETS; i++) {
        sum += h->buckets[i];
        TEXT_LITERAL(t, "mpserver_");
        text_z(t, metric);
        TEXT_LITERAL(t, "_bucket{le=\"");
        text_z(t, i < HISTOGRAM_BUCKETS ? histogram_bounds_text[i] : "+Inf");
        TEXT_LITERAL(t, "\"} ");
        text_u64(t, sum);
        text_char(t, '\n');
    }
    TEXT_LITERAL(t, "mpserver_");
    text_z(t, metric);
    TEXT_LITERAL(t, "_sum ");
    metrics_put_seconds(t, h->sum_ns);
    TEXT_LITERAL(t, "\nmpserver_");
    text_z(t, metric);
    TEXT_LITERAL(t, "_count ");
    text_u64(t, sum);
    text_char(t, '\n');
}

/* Left out while it is 0: most routes never give most statuses. What matched no route has one label
   for all: a path chosen by a stranger must not become a series. */
static void metrics_put_requests(struct text *t, const struct metrics *m, u32 route, u32 status) {
    if (!metrics_requests(m, route)[status]) {
        return;
    }
    TEXT_LITERAL(t, "mpserver_requests_total{route=\"");
    text_z(t, route < ROUTE_NONE ? routes[route].path : "other");
    TEXT_LITERAL(t, "\",method=\"");
    text_z(t, route < ROUTE_NONE ? http_method_names[routes[route].method] : "OTHER");
    TEXT_LITERAL(t, "\",status=\"");
    text_u64(t, metric_statuses[status]);
    TEXT_LITERAL(t, "\"} ");
    text_u64(t, metrics_requests(m, route)[status]);
    text_char(t, '\n');
}

/* Row by row: counters, gauges, tables, messages, requests, histograms. False behind the last.
   `row` is the producer's whole memory of where it is, so each part takes its rows off and
   leaves the rest to the next. Rows that print nothing count too. */
static bool metrics_put_row(struct text *t, const struct mps_server *s, u64 row) {
    const struct metrics *m = &s->kit.metrics;
    u32 i = (u32)row;
    if (i < COUNTER_COUNT) {
        metrics_put_counter(t, m, i);
        return true;
    }
    i -= COUNTER_COUNT;
    if (i < COUNT_OF(gauges)) {
        metrics_put_head(t, gauges[i].metric, "gauge", gauges[i].help);
        metrics_put_line(t, gauges[i].metric, "", gauge_value(s, gauges[i].at));
        return true;
    }
    i -= (u32)COUNT_OF(gauges);
    if (i < TABLE_COLUMNS * TABLE_ROWS) {
        metrics_put_table(t, s, i / TABLE_ROWS, i % TABLE_ROWS);
        return true;
    }
    i -= TABLE_COLUMNS * TABLE_ROWS;
    if (i < metrics_message_rows()) {
        metrics_put_messages(t, m, i);
        return true;
    }
    i -= metrics_message_rows();
    if (i < (ROUTE_NONE + 1) * METRIC_STATUSES) {
        /* Here and not at the first line: which line that is depends on what was asked. */
        if (i == 0) {
            metrics_put_head(t, "requests_total", "counter", DOC("Requests answered."));
        }
        metrics_put_requests(t, m, i / METRIC_STATUSES, i % METRIC_STATUSES);
        return true;
    }
    i -= (ROUTE_NONE + 1) * METRIC_STATUSES;
    if (i == 0) {
        metrics_put_histogram(t, "request_seconds",
                              DOC("From a request's first byte until its answer was sent."),
                              &m->request);
    } else if (i == 1) {
        metrics_put_histogram(t, "core_call_seconds", DOC("Single calls into the core, sampled."),
                              &m->call);
    }
    return i < 2;
}

/* Where a list's row stands. */
static const struct list_row *const list_rows[PRODUCERS] = {
#ifndef MPS_NO_ROOMS
    [PRODUCE_ROOMS] = &room_list_row,
    [PRODUCE_USERS] = &user_list_row,
#endif
    [PRODUCE_LOBBIES] = &lobby_list,
};

/* A unit adds to the text and moves the producer on; false when nothing is left to add. The filter
   is asked again here: what was counted may be gone, or another have its slot. `count` tells
   whether a comma is due. */
static bool produce_list(struct mps_server *s, const struct conn *conn, struct producer *p,
                         struct text *t) {
    const struct list_row *row = list_rows[p->kind];
    struct list_filter filter = {p->filter, p->open};
    if (!p->begun) {
        text_z(t, row->open);
    }
    p->begun = true;
    /* At most the table's size of steps, and only those up to the next entry that is wanted. */
    while (p->cursor < p->end && !row->has(s, (u32)p->cursor, &filter)) {
        p->cursor++;
    }
    if (p->cursor >= p->end) {
        row->end(t, s, p->count);
        return false;
    }
    if (p->count++) {
        text_char(t, ',');
    }
    row->put(t, s, conn, (u32)p->cursor++);
    return true;
}

/* `next` is the end that was fixed at the start, also when lines in between were lost. */
static bool produce_log(const struct log *log, struct producer *p, struct text *t) {
    if (!p->begun) {
        TEXT_LITERAL(t, "{\"entries\":[");
    }
    /* The ring may have gone round since the last unit. */
    while (p->cursor < p->end && log_entry(log, p->cursor + 1)->serial != p->cursor + 1) {
        p->cursor++;
    }
    if (p->cursor >= p->end) {
        TEXT_LITERAL(t, "],\"next\":");
        text_u64(t, p->end);
        text_char(t, '}');
        return false;
    }
    if (p->begun) {
        text_char(t, ',');
    }
    p->begun = true;
    /* Lines are kept as JSON and go out as they are. */
    const struct log_entry *entry = log_entry(log, ++p->cursor);
    text_add(t, span_of(entry->line, entry->bytes));
    return true;
}

/* A unit is what must not be cut: a lobby, a group of lines of a metric, a line of the log. */
static bool produce_unit(struct mps_server *s, const struct conn *conn, struct producer *p,
                         struct text *t) {
    switch ((enum producer_kind)p->kind) {
    case PRODUCE_LOBBIES:
    case PRODUCE_ROOMS:
    case PRODUCE_USERS:
        return produce_list(s, conn, p, t);
    case PRODUCE_METRICS:
        return metrics_put_row(t, s, p->cursor++);
    case PRODUCE_LOG:
        return produce_log(&s->log, p, t);
    case PRODUCE_NOTHING:
    case PRODUCERS:
        break;
    }
    return false;
}

/* Adds whole units while they fit; true when that was the last. A first unit always fits: the
   scratch was sized for the longest. What was cut is taken back, cursor and text, and is made again
   when there is more room. That there is always something to show for a call keeps an empty chunk
   from ending the body. */
static bool produce(struct mps_server *s, const struct conn *conn, struct producer *p,
                    struct text *t) {
    for (;;) {
        /* A copy suffices to go back, since a producer holds numbers only. */
        struct producer before = *p;
        size_t mark = t->bytes;
        bool more = produce_unit(s, conn, p, t);
        if (t->cut) {
            MPS_ASSERT(mark > 0);
            *p = before;
            t->bytes = mark;
            t->cut = false;
            return false;
        }
        if (!more) {
            return true;
        }
    }
}

#define CHUNK_FRAME_BYTES 24 /* size line, its end, the chunk's end and the last chunk */

/* Sends what was produced as one HTTP chunk, or bare to an HTTP/1.0 client; `last` ends the body.
   RFC 9112, 7.1; eight digits of size whatever the length, zeros in front are allowed. What is not
   the last is never empty: a chunk of no bytes would end the body. */
static bool produce_send(struct mps_server *s, struct conn *conn, struct span body, bool chunked,
                         bool last) {
    char size[12];
    struct text t = text_on(size, sizeof size);
    if (conns_output_reserve(&s->kit, &s->conns, conn, body.bytes + CHUNK_FRAME_BYTES)) {
        metrics_count(&s->kit.metrics, COUNTER_CLOSED_NO_ROOM);
        conn_abort(&s->kit, &s->conns, conn); /* half an answer cannot be taken back */
        return false;
    }
    if (chunked && body.bytes) {
        u8 count[4];
        store_be32(count, (u32)body.bytes);
        text_hex(&t, count, sizeof count);
        TEXT_LITERAL(&t, "\r\n");
        conn_output(&s->kit, &s->conns, conn, text_span(&t));
    }
    conn_output(&s->kit, &s->conns, conn, body);
    if (chunked) {
        conn_output(&s->kit, &s->conns, conn,
                    !last        ? SPAN("\r\n")
                    : body.bytes ? SPAN("\r\n0\r\n\r\n")
                                 : SPAN("0\r\n\r\n"));
    }
    return true;
}

/* == 85 requests =================================================================================
   From a connection's bytes to a handler and back: reads heads and bodies as they come, finds the
   route, asks the rate limits, the drain and the token, runs the handler, and goes on with the next
   request or closes in peace. The result does not depend on how the input is cut. */

/* The request is answered: on to the next, or close in peace. The marks and the producer belong to
   one request and go with it. Out of memory may have dropped the connection while it was answered;
   then there is no next. */
static void request_end(struct mps_server *s, struct conn *conn) {
    if (conn->state == CONN_ABORT) {
        return;
    }
    conn->request = (struct request_marks){0};
    conn->producer = (struct producer){0};
    conn->served = true;
    if (conn->keep_alive) {
        conn_enter(&s->kit, &s->conns, conn, CONN_HEAD);
    } else {
        conn_finish(&s->kit, &s->conns, conn);
    }
}

/* The handler left its answer to a producer. What fits the scratch goes out with its length, the
   rest is written as the peer reads. An answer that turns out to fit has a length and no chunks:
   most do. HTTP/1.0 knows no chunks, so there the end of the connection ends the body (RFC 9112,
   6.3), and a HEAD is over after its head. */
static void answer_produce(struct request *r) {
    struct conn *conn = r->conn;
    struct text t = answer_text(r);
    bool last = produce(r->s, conn, &conn->producer, &t), chunked = r->head->minor > 0;
    struct answer a = {200, t.bytes, r->produce_type, span_z(r->extra)};
    if (last) {
        answer_send(r, &a, text_span(&t));
        return;
    }
    a.body_bytes = chunked ? BODY_CHUNKED : BODY_UNTIL_CLOSE;
    conn->keep_alive = conn->keep_alive && chunked;
    if (!answer_send(r, &a, SPAN("")) || r->head->method == HTTP_HEAD) {
        return;
    }
    conn->request.minor = r->head->minor;
    if (produce_send(r->s, conn, text_span(&t), chunked, false)) {
        conn_enter(&r->s->kit, &r->s->conns, conn, CONN_ANSWER);
    }
}

/* Goes on with a long answer. Called when the output is low, so a first unit always has room. */
static void answer_continue(struct mps_server *s, struct conn *conn) {
    struct text t =
        text_on(server_answer(s), size_min(s->answer_bytes, conn_output_free(&s->conns, conn)));
    bool last = produce(s, conn, &conn->producer, &t);
    if (produce_send(s, conn, text_span(&t), conn->request.minor > 0, last)) {
        conn_wait(&s->kit, &s->conns, conn);
        if (last) {
            request_end(s, conn);
        }
    }
}

/* A request as far as it is known; `head` NULL when there is none worth the name. */
static void request_make(struct request *r, struct mps_server *s, struct conn *conn,
                         const struct http_head *head) {
    memset(r, 0, offsetof(struct request, id));
    r->s = s;
    r->conn = conn;
    r->head = head;
    r->route_index = ROUTE_NONE;
    r->client = conn->peer;
    r->extra[0] = 0;
    /* The field's lines are walked from the last to the first, as proxies append. */
    if (head && client_walk(&s->trusted_proxies, &r->client, head->fields[HTTP_X_FORWARDED_FOR]) &&
        client_walk(&s->trusted_proxies, &r->client, head->forwarded_rest) &&
        head->forwarded_more) {
        r->client = (mps_address){{0}, 0, 0}; /* hidden behind more fields than are looked at */
    }
    /* An id from outside is echoed in a head and in the log: letters that mean nothing in either,
       and a bounded number of them; anything else is replaced. */
    struct span id = head ? head->fields[HTTP_X_REQUEST_ID] : SPAN("");
    bool good = id.bytes >= 1 && id.bytes <= 64;
    for (size_t i = 0; good && i < id.bytes; i++) {
        u8 c = (u8)id.at[i];
        good = ascii_digit(c) || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') || c == '.' ||
               c == '_' || c == '-';
    }
    if (good) {
        copy_z(r->id, sizeof r->id, id);
        return;
    }
    u8 serial[4];
    store_be32(serial, ++s->request_serial);
    struct text t = text_on(r->id, sizeof r->id - 1);
    text_add(&t, span_of(s->request_mark, sizeof s->request_mark));
    text_hex(&t, serial, sizeof serial);
    r->id[t.bytes] = 0;
}

/* Answers what cannot be taken further; the rest of its connection's input is discarded. Where the
   next request would begin is not known after this, so none is looked for. */
static void request_refuse(struct request *r, mps_error error) {
    r->conn->keep_alive = false;
    answer_error(r, error);
    request_end(r->s, r->conn);
}

/* Does the path match? {code} takes one segment; one that no code can be is kept empty. An empty
   code finds no lobby, like one that nobody has. */
static bool route_match(const struct route *route, struct span path, struct request *r) {
    struct span after = span_z(route->after ? route->path + route->after : NULL);
    size_t fixed = route->before_bytes + after.bytes;
    if (path.bytes < fixed || memcmp(path.at, route->path, route->before_bytes) != 0) {
        return false;
    }
    struct span code = span_of(path.at + route->before_bytes, path.bytes - fixed);
    if (!after.at) {
        return !code.bytes;
    }
    if (!span_equal(span_of(code.at + code.bytes, after.bytes), after) || span_has(code, '/')) {
        return false;
    }
    code.bytes = code.bytes <= sizeof r->param_text ? code.bytes : 0;
    memcpy(r->param_text, code.at, code.bytes);
    r->param = span_of(r->param_text, code.bytes);
    return true;
}

/* HEAD is GET without the body (RFC 9110, 9.3.2). */
static bool route_serves(const struct route *route, enum http_method method) {
    return route->method == method || (method == HTTP_HEAD && route->method == HTTP_GET);
}

/* The methods that a path takes, for Allow; false when there is nothing at it. "*" asks about the
   server as a whole (RFC 9110, 9.3.7). The list fits whatever path it is for: none has more than a
   few methods. */
static bool route_allow(struct request *r, struct span path) {
    struct text t = text_on(r->allow, sizeof r->allow - 1);
    bool everything = span_equal(path, SPAN("*")), found = everything;
    for (u32 i = 0; i < COUNT_OF(routes); i++) {
        if (everything || !route_match(&routes[i], path, r)) {
            continue;
        }
        found = true;
        text_z(&t, http_method_names[routes[i].method]);
        text_z(&t, routes[i].method == HTTP_GET ? ", HEAD, " : ", ");
    }
    text_z(&t, everything ? "GET, HEAD, POST, PUT, DELETE, OPTIONS" : "OPTIONS");
    r->allow[t.bytes] = 0;
    r->error_allow = r->allow;
    return found;
}

/* Finds the row; else 404, 405 with what the path takes, or 501. OPTIONS finds no row and is
   answered by its Allow list. Decoded into scratch and not in place, because the head is parsed
   again when the body is complete. The first letter decides most rows without a comparison. */
static mps_error route_find(struct request *r) {
    struct span path = r->head->path;
    if (span_has(path, '%')) {
        char *decoded = near_get(&r->s->work);
        i64 bytes = http_percent_decode(path, false, decoded, r->s->work_bytes);
        if (bytes < 0) {
            return MPS_E_BAD_REQUEST;
        }
        path = span_of(decoded, (size_t)bytes);
    }
    for (u32 i = 0; i < COUNT_OF(routes); i++) {
        bool may = routes[i].path[1] == (path.bytes > 1 ? path.at[1] : 0);
        if (may && route_serves(&routes[i], r->head->method) && route_match(&routes[i], path, r)) {
            r->route = &routes[i];
            r->route_index = i;
            return MPS_OK;
        }
    }
    if (r->head->method == HTTP_METHODS) {
        return MPS_E_METHOD_UNKNOWN;
    }
    if (!route_allow(r, path)) {
        return MPS_E_NOT_FOUND;
    }
    return r->head->method == HTTP_OPTIONS ? MPS_OK : MPS_E_METHOD_NOT_ALLOWED;
}

/* CORS preflight, and OPTIONS in general. What scripts of other origins may send, for a day:
   otherwise browsers would ask before every request. No token is wanted here, since browsers send
   none along. */
static void answer_options(struct request *r) {
    char extra[320];
    struct text e = text_on(extra, sizeof extra);
    TEXT_LITERAL(&e, "\r\nAllow: ");
    text_z(&e, r->error_allow);
    TEXT_LITERAL(&e, "\r\nAccess-Control-Allow-Methods: ");
    text_z(&e, r->error_allow);
    TEXT_LITERAL(&e, "\r\nAccess-Control-Allow-Headers: Authorization, Content-Type, X-Signature, "
                     "X-Request-Id, If-None-Match\r\nAccess-Control-Max-Age: 86400");
    struct answer a = {204, BODY_NONE, "", text_span(&e)};
    answer_send(r, &a, SPAN(""));
}

/* The token of a request: from its field, or, where a browser cannot send one, from the query.
   It is decoded into the scratch for answers, since reading a token takes the other. */
static mps_error request_token(struct request *r, struct span *token) {
    struct span field = r->head->fields[HTTP_AUTHORIZATION];
    struct span scheme = span_of(field.at, size_min(field.bytes, 7));
    bool found = false;
    mps_error error = MPS_OK;
    if (!field.at && r->route->auth == ROUTE_SOCKET) {
        error = query_text(r, "token", server_answer(r->s), r->s->answer_bytes, token, &found);
    } else if (span_equal_fold(scheme, SPAN("Bearer "))) {
        *token = span_trim(span_of(field.at + 7, field.bytes - 7));
        found = true;
    }
    return error || found ? error : MPS_E_AUTH_REQUIRED;
}

/* Sets `waits` when the game answers later. */
static mps_error request_authenticate(struct request *r) {
    struct span token = {0};
    if (r->resumed) {
        return r->has_claims ? MPS_OK : MPS_E_TOKEN_INVALID;
    }
    mps_error error = request_token(r, &token);
    if (!error) {
        error = token_verify(r->s, r->conn, token, &r->claims, &r->waits);
        r->has_claims = !error && !r->waits;
    }
    return error;
}

static bool query_has(const struct request *r, const char *name) {
    char none;
    bool found;
    http_query_find(r->head->query, name, &none, 0, &found);
    return found;
}

/* What the row of the route asks of the caller. A METRICS route says 403 also to a valid token that
   is not an admin's: it is the address that was wrong, too. */
static mps_error request_authorize(struct request *r) {
    enum route_auth auth = r->route->auth;
    bool optional = auth == ROUTE_OPTIONAL || auth == ROUTE_SOCKET;
    bool offered = r->head->fields[HTTP_AUTHORIZATION].at != NULL ||
                   (auth == ROUTE_SOCKET && query_has(r, "token"));
    if (auth == ROUTE_OPEN || (optional && !offered)) {
        return MPS_OK;
    }
    if (auth == ROUTE_METRICS && (r->s->config.dev || address_is_loopback(&r->client) ||
                                  ranges_have(&r->s->metrics_allow, &r->client))) {
        return MPS_OK;
    }
    if (auth == ROUTE_METRICS && !offered) {
        return MPS_E_METRICS_FORBIDDEN;
    }
    mps_error error = request_authenticate(r);
    if (error || r->waits || auth == ROUTE_USER || optional) {
        return error;
    }
    return r->claims.who.role == MPS_ROLE_ADMIN ? MPS_OK
           : auth == ROUTE_METRICS              ? MPS_E_METRICS_FORBIDDEN
                                                : MPS_E_FORBIDDEN;
}

static mps_error request_limit(struct request *r) {
    r->retry_s = address_limit(r->s, RATE_REQUESTS, &r->client);
    if (!r->retry_s) {
        return MPS_OK;
    }
    metrics_count(&r->s->kit.metrics, COUNTER_RATE_LIMITED);
    return MPS_E_RATE_LIMITED;
}

/* A complete request: checks what its row says, then lets the handler work. False when the game has
   to be waited for. The limit is spent for every complete request, also for one that finds no
   route, or guessing paths would be free. The drain is asked before the token, so that the game is
   not asked for nothing. Called again with `resumed` when the game has spoken; then `waits` stays
   false. */
static bool request_dispatch(struct request *r) {
    mps_error error = route_find(r);
    bool preflight = !error && !r->route;
    if (!error && r->route && r->route->body == BODY_JSON && r->head->minor == 0 &&
        !r->head->has_length) {
        r->conn->keep_alive = false; /* what follows may be the body: it has no end but the FIN */
        error = MPS_E_LENGTH_REQUIRED;
    }
    if (!r->resumed) { /* it was counted before the game was asked */
        mps_error limited = request_limit(r);
        error = limited ? limited : error;
    }
    if (!error && r->route && r->route->new_work && r->s->drain != DRAIN_NO) {
        error = MPS_E_DRAINING;
    }
    if (!error && r->route) {
        error = request_authorize(r);
    }
    if (r->waits) {
        return false;
    }
    if (!error && preflight) {
        answer_options(r);
    } else if (!error) {
        error = r->route->handler(r);
    }
    if (error) {
        answer_error(r, error);
    } else if (!r->conn->upgraded && r->conn->producer.kind) {
        answer_produce(r);
    }
    if (r->conn->state != CONN_ANSWER && !r->conn->upgraded) {
        request_end(r->s, r->conn);
    }
    return true;
}

/* -- from bytes to requests: enum step says how far one got -- */

enum step {
    STEP_MORE, /* the request is not complete */
    STEP_DONE, /* answered; its bytes are used */
    STEP_STOP  /* nothing further is read from this connection now */
};

/* The head is complete: what can be judged now is, so that no body is read in vain. Only the cheap
   and certain: the limit is spent and the token read when the body is there. 100 Continue goes out
   when nothing stands against it (RFC 9110, 10.1.1); without room for it the client sends on anyway
   after a while. */
static mps_error request_admit(struct request *r) {
    const struct http_head *head = r->head;
    struct request_marks *marks = &r->conn->request;
    if (head->content_coded) {
        return MPS_E_CONTENT_CODING;
    }
    mps_error error = route_find(r);
    if (error) {
        return error;
    }
    if (head->content_length > r->s->config.body_bytes_max) {
        r->error_limit = r->s->config.body_bytes_max;
        return MPS_E_BODY_TOO_LARGE;
    }
    marks->body_bytes = head->chunked ? 0 : (size_t)head->content_length;
    if (head->expects_continue && head->minor > 0 &&
        !conns_output_reserve(&r->s->kit, &r->s->conns, r->conn, 32)) {
        conn_output(&r->s->kit, &r->s->conns, r->conn, SPAN("HTTP/1.1 100 Continue\r\n\r\n"));
    }
    return MPS_OK;
}

/* Reads on in a head; > 0 when it is complete, 0 for more, < 0 when it was refused. `started` and
   `since` are set with the first byte and not moved by later ones: a head that trickles in has no
   more time than another. */
static i64 request_head(struct mps_server *s, struct conn *conn, const char *at, size_t bytes,
                        struct http_head *head) {
    struct request r;
    struct http_limits limits = {s->config.head_bytes_max, s->config.target_bytes_max};
    if (!conn->request.started) {
        conn->request.started = s->kit.now;
        conn->since = s->kit.now;
    }
    /* No method begins like this: TLS or other noise, no need to wait for a line of it. A CR is
       none: one empty line may stand before a request (RFC 9112, 2.2). */
    bool noise = at[0] != '\r' && http_class_run(at, at + 1, HTTP_TOKEN) == at;
    i64 head_bytes = noise ? MPS_E_BAD_REQUEST
                           : http_head_parse(at, bytes, &conn->request.scanned, &limits, head);
    if (!head_bytes) {
        return 0;
    }
    conn->keep_alive = head_bytes > 0 && head->keep_alive && s->drain == DRAIN_NO;
    if (head_bytes < 0) {
        request_make(&r, s, conn, NULL);
        request_refuse(&r, (mps_error)head_bytes);
        return -1;
    }
    if (head->chunked || head->content_length > 0) {
        request_make(&r, s, conn, head);
        mps_error error = request_admit(&r);
        if (error) {
            request_refuse(&r, error);
            return -1;
        }
    }
    conn->request.head_bytes = (u32)head_bytes;
    return head_bytes;
}

/* Reads on in a body: > 0 when it is complete (1), 0 for more, < 0 when it was refused. Decoded
   chunks close up: what is kept is never more than head and body and a line in the making. `*bytes`
   shrinks by what closing up saves. */
static int request_body(struct mps_server *s, struct conn *conn, const struct http_head *head,
                        char *at, size_t *bytes) {
    struct request r;
    struct request_marks *m = &conn->request;
    if (!head->chunked) {
        m->raw_at = m->body_bytes;
        return *bytes - m->head_bytes >= m->body_bytes;
    }
    char *body = at + m->head_bytes;
    size_t end = *bytes - m->head_bytes;
    int state = http_chunks_decode(&m->chunks, body, &m->body_bytes, &m->raw_at, end,
                                   s->config.body_bytes_max);
    if (state < 0) {
        request_make(&r, s, conn, head);
        r.error_limit = state == MPS_E_BODY_TOO_LARGE ? s->config.body_bytes_max : 0;
        request_refuse(&r, (mps_error)state);
        return -1;
    }
    if (state == 0) {
        memmove(body + m->body_bytes, body + m->raw_at, end - m->raw_at);
        *bytes -= m->raw_at - m->body_bytes;
        m->raw_at = m->body_bytes;
    }
    return state;
}

/* One request from `at`. `bytes` may shrink: decoding a chunked body closes the gaps. A head that
   is complete but was kept is parsed again rather than stored: it gives the same result, and a
   connection needs no room for it. `granted` is the game's answer to a request that waited, else
   NULL; `used` counts with STEP_DONE only. */
static enum step request_step(struct mps_server *s, struct conn *conn, char *at, size_t *bytes,
                              size_t *used, const mps_identity *granted) {
    struct http_head head;
    struct request r;
    struct http_limits limits = {s->config.head_bytes_max, s->config.target_bytes_max};
    if (!conn->request.head_bytes) {
        i64 head_bytes = request_head(s, conn, at, *bytes, &head);
        if (head_bytes <= 0) {
            return head_bytes ? STEP_STOP : STEP_MORE;
        }
    } else {
        size_t scanned = 0;
        i64 again = http_head_parse(at, conn->request.head_bytes, &scanned, &limits, &head);
        MPS_ASSERT(again == (i64)conn->request.head_bytes);
        (void)again;
    }
    int body = request_body(s, conn, &head, at, bytes);
    if (body <= 0) {
        if (!body && conn->state == CONN_HEAD) {
            conn_enter(&s->kit, &s->conns, conn, CONN_BODY);
        }
        return body ? STEP_STOP : STEP_MORE;
    }
    request_make(&r, s, conn, &head);
    r.body = at + conn->request.head_bytes;
    r.body_bytes = conn->request.body_bytes;
    *used = conn->request.head_bytes + conn->request.raw_at;
    if (granted) {
        r.resumed = true;
        r.claims = (struct auth_claims){.who = *granted};
        r.has_claims = granted->id[0] != 0; /* else the game said no */
    }
    if (!request_dispatch(&r)) {
        conn_enter(&s->kit, &s->conns, conn, CONN_AUTH);
        *used = 0;
        return STEP_STOP;
    }
    return STEP_DONE;
}

/* Answers the requests in `view`, at most requests_per_call and while there is work left to this
   call, and gives how far it came.
   `granted` is for the first of them. A verdict of the game is carried out whatever the output:
   it comes only once. `ready` says that whole requests may be among the rest, and then nobody
   reads on before they are answered. */
static size_t requests_answer(struct mps_server *s, struct conn *conn, struct input_view *view,
                              const mps_identity *granted) {
    size_t at = 0, used;
    u32 work = s->kit.work + s->config.settle_max;
    bool more = true;
    conn->ready = false;
    for (u32 i = 0; at < view->bytes && more; i++) {
        bool enough = i == s->config.requests_per_call || s->kit.work >= work;
        if (enough || (!granted && !server_may_go_on(s, conn))) {
            conn->ready = true;
            break;
        }
        size_t bytes = view->bytes - at;
        enum step step = request_step(s, conn, view->at + at, &bytes, &used, granted);
        view->bytes = at + bytes;
        at += step == STEP_DONE ? used : 0;
        granted = NULL;
        more = step == STEP_DONE && conn->state == CONN_HEAD;
        conn->ready = step == STEP_DONE && conn->state == CONN_ANSWER && at < view->bytes;
    }
    return at;
}

/* Whether the connection has yet to say something before it may end: its peer has said all. */
static bool conn_owes(const struct conn *conn) {
    return conn->state == CONN_AUTH || conn->state == CONN_ANSWER ||
           conn->state == CONN_SOCKET_AUTH || conn->ready;
}

/* Requests, then the frames behind one that was an upgrade; keeps what is left of the view. */
static void conn_run(struct mps_server *s, struct conn *conn, struct input_view view,
                     const mps_identity *granted) {
    bool starved = conn->starved; /* its time is that of who waits for memory */
    size_t at = conn->upgraded ? 0 : requests_answer(s, conn, &view, granted);
    if (conn->state == CONN_SOCKET) {
        at = socket_read(s, conn, &view, at);
    }
    if (conn->state >= CONN_FINISH) {
        return; /* what is left is discarded */
    }
    if (!conn_input_end(&s->kit, &s->conns, conn, view, at)) {
        metrics_count(&s->kit.metrics, COUNTER_CLOSED_NO_ROOM);
        conn_abort(&s->kit, &s->conns, conn);
        return;
    }
    conn_check_starved(&s->kit, &s->conns, conn);
    conn_want_work(&s->conns, conn);
    conn_go_on(&s->conns, conn);
    if (!conn->upgraded || starved || conn->starved) {
        /* Other sockets put their time off when it comes up. */
        conn_wait(&s->kit, &s->conns, conn);
    }
    if (conn->ended && !conn_owes(conn)) {
        conn_finish(&s->kit, &s->conns, conn);
    }
}

/* Work that waited for output to drain, or for its turn. `conn` was taken out of the queue; what is
   still not done puts it back in. */
static void conn_work(struct mps_server *s, struct conn *conn) {
    struct input_view view;
    if (conn->state == CONN_ANSWER) {
        answer_continue(s, conn);
        if (conn->state == CONN_ANSWER || conn->state >= CONN_FINISH) {
            conn_want_work(&s->conns, conn);
            return;
        }
    }
    if (conn->state == CONN_SOCKET) {
        socket_drained(s, conn);
        if (!conn->ready || conn->state != CONN_SOCKET) {
            return;
        }
    }
    conn_input_begin(&s->kit, &s->conns, conn, NULL, 0, &view);
    conn_run(s, conn, view, NULL);
    conn_mark(&s->conns, conn); /* room may have come back */
}

/* `bytes` are the port's and may be changed; what is unfinished is copied before the return. */
static void conn_input(struct mps_server *s, struct conn *conn, char *bytes, size_t count) {
    struct input_view view;
    s->kit.metrics.counters[COUNTER_BYTES_IN] += count;
    if (conn->state >= CONN_FINISH) {
        return; /* discarded, RFC 9112, 9.6 */
    }
    if (!conn_input_begin(&s->kit, &s->conns, conn, bytes, count, &view)) {
        metrics_count(&s->kit.metrics, COUNTER_CLOSED_NO_ROOM);
        conn_abort(&s->kit, &s->conns, conn);
        return;
    }
    if (conn->upgraded) {
        socket_heard(s, conn);
    }
    conn_run(s, conn, view, NULL);
}

/* The peer has said all: answer what is complete, then close. Half of a request will never be whole
   and is not answered. */
static void conn_eof(struct mps_server *s, struct conn *conn) {
    conn->ended = true;
    switch ((enum conn_state)conn->state) {
    case CONN_HEAD:
    case CONN_BODY:
    case CONN_SOCKET:
        if (!conn->ready) {
            conn_finish(&s->kit, &s->conns, conn);
        }
        break;
    /* All is sent and the peer has nothing to add: no need to wait on. */
    case CONN_LINGER:
        conn_abort(&s->kit, &s->conns, conn);
        break;
    default:
        break; /* an answer is under way */
    }
}

/* Patience is at its end; what is said depends on what was waited for. Silence between requests is
   no fault and is closed without a word; a peer that does not read could not be told. Only who is
   in the middle of a request is: 408, or 503 when the memory or the game was at fault. */
static void conn_timed_out(struct mps_server *s, struct conn *conn) {
    struct request r;
    struct kit *k = &s->kit;
    bool stuck = conn->out_bytes || conn->state == CONN_ANSWER || conn->state == CONN_FINISH;
    bool idle = conn->state == CONN_HEAD && !conn->in_bytes;
    if (conn->state == CONN_LINGER) {
        conn_abort(k, &s->conns, conn);
        return;
    }
    if (conn_is_socket(conn)) {
        socket_timed_out(s, conn);
        return;
    }
    if (stuck && !conn->starved) {
        conn_note_slow(k, &s->conns, conn);
        conn_abort(k, &s->conns, conn);
        return;
    }
    metrics_count(&k->metrics, idle            ? COUNTER_CLOSED_IDLE
                               : conn->starved ? COUNTER_CLOSED_NO_ROOM
                                               : COUNTER_CLOSED_TIMEOUT);
    if (idle) {
        conn_finish(k, &s->conns, conn);
        return;
    }
    request_make(&r, s, conn, NULL);
    request_refuse(&r, conn->starved              ? MPS_E_INPUTS_FULL
                       : conn->state == CONN_AUTH ? MPS_E_AUTH_TIMEOUT
                                                  : MPS_E_REQUEST_TIMEOUT);
}

/* Others wait for the memory that its input has kept for long: it is closed, and told so where its
   peer reads. */
static void conn_give_way(struct mps_server *s, struct conn *conn) {
    struct request r;
    if (!conn_keeps_half(conn)) {
        conn_evict(&s->kit, &s->conns, conn);
        return;
    }
    metrics_count(&s->kit.metrics, COUNTER_CLOSED_NO_ROOM);
    if (conn->upgraded) {
        socket_starve(s, conn);
        return;
    }
    request_make(&r, s, conn, NULL);
    request_refuse(&r, MPS_E_INPUTS_FULL);
}

/* Tells a connection that it cannot be served, and the operator that this happens. It holds one of
   the places for refusals until its socket is gone. */
static void conn_refuse(struct mps_server *s, struct conn *conn, mps_error error, u32 retry_s) {
    struct request r;
    bool limited = error == MPS_E_RATE_LIMITED;
    metrics_count(&s->kit.metrics, limited                           ? COUNTER_REFUSED_RATE
                                   : error == MPS_E_CONNECTIONS_FULL ? COUNTER_REFUSED_FULL
                                                                     : COUNTER_REFUSED_SHARE);
    s->kit.metrics.counters[COUNTER_RATE_LIMITED] += limited;
    server_log_peer(s, LOG_ITEM_CONNECTION_REFUSED, &conn->peer, error_row(error)->code);
    request_make(&r, s, conn, NULL);
    r.retry_s = retry_s;
    request_refuse(&r, error);
}

/* May the peer have one more connection? The rate is spent also when the table is full: who hammers
   at the door pays for it. */
static mps_error conn_admit(struct mps_server *s, const mps_address *peer, u32 *retry_s) {
    const struct conns *c = &s->conns;
    *retry_s = address_limit(s, RATE_CONNECTIONS, peer);
    if (c->live == c->live_max) {
        metrics_count(&s->kit.metrics, COUNTER_FULL_CONNECTIONS);
        return MPS_E_CONNECTIONS_FULL;
    }
    return address_share_full(s, peer) ? MPS_E_CONNECTIONS_SHARE
           : *retry_s                  ? MPS_E_RATE_LIMITED
                                       : MPS_OK;
}

/* A new connection: served, told that it cannot be, or 0. With 0 the port closes the socket, and
   nothing is kept of it. */
static u64 conn_open(struct mps_server *s, const mps_address *peer, const mps_address *local) {
    struct kit *k = &s->kit;
    struct conns *c = &s->conns;
    u32 retry_s;
    mps_error error = conn_admit(s, peer, &retry_s);
    /* Those who are refused keep to their own places. */
    bool no_place = error && c->pool.used - c->live == c->pool.capacity - c->live_max;
    u64 handle = s->drain >= DRAIN_CLOSING || no_place ? 0 : pool_take(&c->pool);
    if (!handle) {
        metrics_count(&k->metrics, COUNTER_REFUSED_SILENT);
        return 0;
    }
    struct conn *conn = pool_get(&c->pool, handle);
    conn->peer = *peer;
    conn->local = *local;
    conn_enter(k, c, conn, CONN_HEAD);
    conn->refused = error != MPS_OK;
    if (!error) {
        conn_serve(c, conn);
        metrics_count(&k->metrics, COUNTER_CONNECTIONS_OPENED);
        return handle;
    }
    conn_refuse(s, conn, error, retry_s);
    return handle;
}

/* The port says this last, after which the handle is stale. Aborting first gives back chunks and
   buffers and takes the connection out of every queue but the one of the port. */
static void conn_close(struct mps_server *s, struct conn *conn) {
    u64 handle = pool_handle(&s->conns.pool, conn_index(&s->conns, conn));
    if (conn->state != CONN_ABORT) {
        conn_abort(&s->kit, &s->conns, conn);
    }
    queue_remove(&s->conns.dirty, &s->conns.pool, handle_index(handle));
    if (conn->upgraded && queue_has(&s->conns.ended, &s->conns.pool, handle_index(handle))) {
        queue_remove(&s->conns.ended, &s->conns.pool, handle_index(handle));
        socket_over(s, conn);
    }
    if (!conn->refused) {
        conn_unserve(&s->conns, conn);
    }
    pool_give(&s->conns.pool, handle);
}

#ifndef MPS_NO_UDP
/* == 86 datagram handlers =========================================================================
   What a datagram does: who may send it, what it changes, what is answered at once. The row of
   packets[] says who may; handlers hold only the work. Garbage is told apart by its first byte and
   costs a counter. Nothing here answers an address with more bytes than it sent until the address
   is proved, but for STUN. */

/* A datagram while it is handled. Borrowed for the call. */
struct arrival {
    struct mps_server *s;
    const mps_address *from, *to;
    size_t count; /* its bytes */
    u32 player;   /* whose address `from` is: index + 1, or 0 */
    struct packet p;
};

/* Where a datagram ends that has no effect. */
static void arrival_drop(const struct arrival *a, enum counter reason) {
    metrics_count(&a->s->kit.metrics, reason);
}

/* To a stranger no more than came, to a player what its address is good for. False: nothing. */
static bool arrival_answer(const struct arrival *a, const struct text *t) {
    struct kit *k = &a->s->kit;
    MPS_ASSERT(!t->cut);
    if (a->player) {
        if (!player_may_get(k, player_at(&a->s->lobbies, a->player - 1), t->bytes)) {
            return false;
        }
    } else if (t->bytes > a->count) {
        metrics_count(&k->metrics, COUNTER_WITHHELD);
        return false;
    }
    replies_add(k, &a->s->replies, a->from, a->to, text_span(t));
    return true;
}

static void arrival_binary_head(const struct arrival *a, struct text *t, u32 type) {
    struct player *player = a->player ? player_at(&a->s->lobbies, a->player - 1) : NULL;
    u32 server_ms = (u32)kit_uptime_ms(&a->s->kit);
    binary_put_head(t, type, player ? ++player->seq_out : 0, server_ms);
}

/* It is still there. */
static void arrival_note(const struct arrival *a) {
    struct kit *k = &a->s->kit;
    timer_set(&k->timers, TIMER_PLAYER, a->player - 1, time_after(k->now, a->s->lobbies.player_us));
}

/* -- joining -- */

/* Why a join is refused, in a byte. */
static const struct refusal {
    mps_error error;
    u8 code;
} refusals[] = {
    {MPS_E_LOBBY_NOT_FOUND, 1},
    {MPS_E_PLAYER_NOT_FOUND, 2},
    {MPS_E_UDP_TOKEN_WRONG, 3},
    {MPS_E_ADDRESS_TAKEN, 4},
};

static void arrival_refuse(const struct arrival *a, mps_error error) {
    char bytes[96];
    struct text t = text_on(bytes, sizeof bytes);
    u32 code = 0;
    for (u32 i = 0; i < COUNT_OF(refusals); i++) {
        code = refusals[i].error == error ? refusals[i].code : code;
    }
    if (a->p.binary) {
        arrival_binary_head(a, &t, BINARY_ERROR);
        text_le(&t, code, 1);
    } else {
        packet_put_error(&t, error_row(error)->code);
    }
    arrival_answer(a, &t);
    if (error != MPS_E_UDP_TOKEN_WRONG) {
        arrival_drop(a, COUNTER_DROPS_REFUSED);
        return;
    }
    arrival_drop(a, COUNTER_DROPS_TOKEN);
    server_log_peer(a->s, LOG_ITEM_UDP_TOKEN_WRONG, a->from, NULL);
}

static bool packet_has_token(const struct packet *p, const struct player *player) {
    return p->token_bytes && crypto_equal(p->token, player->token, p->token_bytes);
}

/* Proof of being the player: its token; none where it is bound already; or, for clients that were
   made without tokens, the IP from which it joined, as long as nobody has been bound. */
static bool join_proved(const struct arrival *a, u32 index) {
    const mps_config *c = &a->s->config;
    const struct player *player = player_at(&a->s->lobbies, index);
    if (a->p.token_bytes) {
        return packet_has_token(&a->p, player);
    }
    bool same_ip = c->udp_same_ip_join == MPS_ON || (c->udp_same_ip_join == MPS_AUTO && c->dev);
    return a->player == index + 1 || (same_ip && player->speech == SPEECH_NONE &&
                                      address_same_ip(a->from, &player->joined_from));
}

/* May the player of the datagram be at its address? Decides only. A spoofed join must not take an
   address from whoever is there, so it has to be that player's by its IP. */
static mps_error join_check(const struct arrival *a, u32 *index) {
    const struct lobbies *l = &a->s->lobbies;
    u64 handle = lobby_find(l, a->p.code);
    u32 at = handle ? player_find(l, lobby_get(l, handle), a->p.player_id) : 0;
    if (!at) {
        return handle ? MPS_E_PLAYER_NOT_FOUND : MPS_E_LOBBY_NOT_FOUND;
    }
    *index = at - 1;
    if (!join_proved(a, *index)) {
        return MPS_E_UDP_TOKEN_WRONG;
    }
    bool own_ip = address_same_ip(a->from, &player_at(l, *index)->joined_from);
    return !a->player || a->player == at || own_ip ? MPS_OK : MPS_E_ADDRESS_TAKEN;
}

static void packet_join(struct arrival *a) {
    struct mps_server *s = a->s;
    struct lobbies *l = &s->lobbies;
    char bytes[TICK_HEAD_BYTES];
    struct text t = text_on(bytes, sizeof bytes);
    u32 index;
    mps_error error = join_check(a, &index);
    if (error) {
        arrival_refuse(a, error);
        return;
    }
    if (a->player && a->player != index + 1) {
        player_unbind(l, a->player - 1); /* it keeps its seat, until its time is over */
    }
    bool again = a->player == index + 1;
    enum player_speech speech = a->p.binary  ? SPEECH_BINARY
                                : a->p.batch ? SPEECH_BATCH
                                             : SPEECH_JSON;
    struct player *player = player_at(l, index);
    bool goes_on = again && a->p.binary && seq_goes_on(&s->kit, player, a->p.seq);
    player_bind(&s->kit, l, index, a->from, a->to, speech);
    a->player = index + 1;
    player->seq_known = goes_on;
    player_credit(player, again ? 0 : a->count);
    arrival_note(a);
    if (a->p.binary) {
        arrival_binary_head(a, &t, BINARY_WELCOME);
    }
    player_put_welcome(l, index, &t);
    player->welcomed |= arrival_answer(a, &t);
}

/* -- of players -- */

/* The game may have a say beside the speed. */
static bool position_allowed(struct arrival *a, const struct player *player) {
    struct mps_server *s = a->s;
    const mps_hooks *hooks = &s->config.hooks;
    return player_may_move(&s->kit, &s->lobbies, player, &a->p.pose) &&
           (!hooks->position_check ||
            hooks->position_check(hooks->user, (mps_lobby){player->lobby}, player->id,
                                  a->p.pose.position, a->p.pose.rotation));
}

/* A number that was refused counts as seen, or it could be tried again and again. */
static void packet_state(struct arrival *a) {
    struct mps_server *s = a->s;
    struct player *player = player_at(&s->lobbies, a->player - 1);
    player->acted = true;
    if (a->p.binary && player->seq_known && !seq_newer(a->p.seq, player->seq_in)) {
        arrival_drop(a, COUNTER_DROPS_STALE);
        return;
    }
    player->seq_in = a->p.binary ? a->p.seq : player->seq_in;
    player->seq_known |= a->p.binary;
    if (position_allowed(a, player)) {
        player_move(&s->kit, &s->lobbies, a->player - 1, &a->p.pose);
        metrics_count(&s->kit.metrics, COUNTER_POSITIONS);
        return;
    }
    metrics_count(&s->kit.metrics, COUNTER_CORRECTIONS);
    if (player->posed) {
        player_news(&s->kit, &s->lobbies, a->player - 1, NEWS_CORRECTION);
    }
}

/* A packet that names a lobby means the player's own. */
static bool arrival_in_own_lobby(const struct arrival *a) {
    const struct lobbies *l = &a->s->lobbies;
    const struct player *player = player_at(l, a->player - 1);
    return span_equal_fold(a->p.code, span_z(lobby_get(l, player->lobby)->code));
}

static void packet_weapon(struct arrival *a) {
    struct player *player = player_at(&a->s->lobbies, a->player - 1);
    if (!arrival_in_own_lobby(a)) {
        arrival_drop(a, COUNTER_DROPS_FOREIGN);
        return;
    }
    MPS_ASSERT(a->p.weapon.bytes <= sizeof player->weapon);
    memcpy(player->weapon, a->p.weapon.at, a->p.weapon.bytes);
    player->weapon_bytes = (u8)a->p.weapon.bytes;
    player_news(&a->s->kit, &a->s->lobbies, a->player - 1, NEWS_WEAPON);
}

static void packet_leave(struct arrival *a) {
    if (!a->p.binary && !arrival_in_own_lobby(a)) {
        arrival_drop(a, COUNTER_DROPS_FOREIGN);
        return;
    }
    player_leave(&a->s->kit, &a->s->lobbies, a->player - 1, LEAVE_ASKED);
}

/* The cookie of a welcome proves the address that it was sent to. */
static void packet_ping(struct arrival *a) {
    struct mps_server *s = a->s;
    struct player *player = player_at(&s->lobbies, a->player - 1);
    char bytes[64 + ECHO_BYTES_MAX];
    struct text t = text_on(bytes, sizeof bytes);
    u8 cookie[COOKIE_BYTES];
    u64 handle = pool_handle(&s->lobbies.players, a->player - 1);
    player_cookie(&s->lobbies, handle, a->from, cookie);
    if (a->p.has_cookie && crypto_equal(cookie, a->p.cookie, COOKIE_BYTES)) {
        player->proved = player->acted = true;
    }
    if (a->p.binary) {
        arrival_binary_head(a, &t, BINARY_PONG);
        text_le(&t, a->p.t_ms, 4);
        text_le(&t, kit_uptime_ms(&s->kit), 4);
    } else {
        packet_put_pong(&t, a->p.echo, kit_unix_ms(&s->kit));
    }
    arrival_answer(a, &t);
}

/* -- of anybody -- */

/* Addresses of which nobody on the internet can ask. RFC 1918; RFC 4193, fc00::/7; link-local:
   RFC 3927, RFC 4291, 2.5.6. */
static bool address_is_local(const mps_address *a) {
    const u8 *v4 = a->ip + sizeof address_v4_prefix;
    if (address_is_loopback(a)) {
        return true;
    }
    if (address_is_v4(a)) {
        return v4[0] == 10 || (v4[0] == 172 && (v4[1] & 0xF0) == 16) ||
               (v4[0] == 192 && v4[1] == 168) || (v4[0] == 169 && v4[1] == 254);
    }
    return (a->ip[0] & 0xFE) == 0xFC || (a->ip[0] == 0xFE && (a->ip[1] & 0xC0) == 0x80);
}

/* Answered when the question was as long: who asks by broadcast in somebody else's name gains
   nothing. */
static void packet_discover(struct arrival *a) {
    struct mps_server *s = a->s;
    const mps_config *c = &s->config;
    char bytes[DATAGRAM_BYTES_MAX];
    struct text t = text_on(bytes, sizeof bytes);
    if (c->lan_discovery == MPS_OFF || !address_is_local(a->from)) {
        arrival_drop(a, COUNTER_DROPS_REFUSED);
        return;
    }
    json_put_open(&t, '{');
    json_member_z(&t, "type", "here");
    json_put_key(&t, "nonce");
    json_put_raw(&t, a->p.echo);
    json_member_z(&t, "name", s->name);
    json_member_z(&t, "version", MPS_VERSION);
    json_member_u64(&t, "http_port", c->http_port);
    json_member_u64(&t, "udp_port", c->udp_port);
    json_member_u64(&t, "lobbies", s->lobbies.pool.used);
    json_member_u64(&t, "players", s->lobbies.players.used);
    json_member_u64(&t, "max_players", c->players);
    json_put_close(&t, '}');
    if (t.bytes > a->count) {
        arrival_drop(a, COUNTER_DROPS_REFUSED);
        return;
    }
    arrival_answer(a, &t);
}

/* Whoever asks, joined or not. A success may be longer than the request, and is therefore rare; an
   error is not. */
static void datagram_stun(struct arrival *a, const u8 *bytes) {
    struct mps_server *s = a->s;
    struct stun_message m;
    char answer[STUN_ANSWER_BYTES_MAX];
    struct text t = text_on(answer, sizeof answer);
    if (!stun_read(bytes, a->count, &m) || m.type != STUN_BINDING_REQUEST) {
        arrival_drop(a, COUNTER_DROPS_MALFORMED);
        return;
    }
    if (address_limit(s, RATE_STUN, a->from)) {
        arrival_drop(a, COUNTER_DROPS_RATE);
        return;
    }
    if (m.unknown_count) {
        stun_put_unknown(&t, &m);
        if (!arrival_answer(a, &t)) {
            return;
        }
    } else {
        stun_put_success(&t, m.id, a->from);
        replies_add(&s->kit, &s->replies, a->from, a->to, text_span(&t));
    }
    metrics_count(&s->kit.metrics, COUNTER_STUN_ANSWERS);
}

/* -- the table -- */

struct packet_row {
    bool anybody; /* also from an address at which nobody is */
    void (*handler)(struct arrival *a);
    const char *doc;
};

static const struct packet_row packets[] = {
    [PACKET_JOIN] =
        {true, packet_join,
         DOC("{lobby_code, player_id, udp_token?, batch?}: bind this address; welcome")},
    [PACKET_STATE] = {false, packet_state, DOC("{player_id, position, rotation}: where one is")},
    [PACKET_LEAVE] = {false, packet_leave, DOC("{lobby_code, player_id}: give the seat up")},
    [PACKET_PING] = {false, packet_ping, DOC("{t, cookie?}: pong; the cookie proves the address")},
    [PACKET_WEAPON] = {false, packet_weapon,
                       DOC("{lobby_code, player_id, weapon_id}: weapon_switched to the others")},
    [PACKET_DISCOVER] = {true, packet_discover, DOC("{nonce, pad}: here, on the local network")},
};
_Static_assert(COUNT_OF(packets) == PACKET_TYPES, "a row for each type");

/* Does it come from who it says? A ping as JSON says nothing. */
static bool arrival_is_own(const struct arrival *a) {
    const struct player *player = player_at(&a->s->lobbies, a->player - 1);
    const struct packet *p = &a->p;
    if (p->player_id != player->id && (p->player_id || p->binary)) {
        arrival_drop(a, COUNTER_DROPS_FOREIGN);
        return false;
    }
    if (p->binary && !packet_has_token(p, player)) {
        arrival_drop(a, COUNTER_DROPS_TOKEN);
        return false;
    }
    return true;
}

/* Players pay from what stands with them, others from what stands with their address. */
static bool arrival_paid(struct arrival *a) {
    struct mps_server *s = a->s;
    if (!a->player) {
        return !address_limit(s, RATE_DATAGRAMS, a->from);
    }
    return (s->config.dev && address_is_loopback(a->from)) ||
           !bucket_spend(&player_at(&s->lobbies, a->player - 1)->paced, s->kit.now,
                         &s->lobbies.pace);
}

static void datagram_packet(struct arrival *a, u8 *bytes) {
    struct mps_server *s = a->s;
    a->player = player_at_address(&s->lobbies, a->from);
    if (!arrival_paid(a)) {
        arrival_drop(a, COUNTER_DROPS_RATE);
        return;
    }
    if (a->player) {
        player_credit(player_at(&s->lobbies, a->player - 1), a->count);
    }
    if (!packet_read(bytes, a->count, &a->p)) {
        arrival_drop(a, COUNTER_DROPS_MALFORMED);
        return;
    }
    const struct packet_row *row = &packets[a->p.type];
    if (!row->anybody) {
        if (!a->player) {
            arrival_drop(a, COUNTER_DROPS_STRANGER);
            return;
        }
        if (!arrival_is_own(a)) {
            return;
        }
        arrival_note(a);
    }
    row->handler(a);
}

/* Section 4 of the contract: the first bytes tell what it is. Each datagram is counted, and each
   that ends here as one kind of drop. */
static void datagram_input(struct arrival *a, u8 *bytes) {
    struct metrics *m = &a->s->kit.metrics;
    metrics_count(m, COUNTER_DATAGRAMS);
    m->counters[COUNTER_DATAGRAM_BYTES] += a->count;
    if (a->count > DATAGRAM_BYTES_MAX) {
        arrival_drop(a, COUNTER_DROPS_OVERSIZE);
    } else if (!a->from->port) { /* it wants no answer, and could get none (RFC 768) */
        arrival_drop(a, COUNTER_DROPS_MALFORMED);
    } else if (stun_looks_like(bytes, a->count)) {
        datagram_stun(a, bytes);
    } else if (a->count && (bytes[0] == '{' || bytes[0] == BINARY_MAGIC)) {
        datagram_packet(a, bytes);
    } else {
        arrival_drop(a, COUNTER_DROPS_UNKNOWN);
    }
}

/* -- the port's calls -- */

static void datagram_arrives(struct mps_server *s, const mps_address *from, const mps_address *to,
                             void *bytes, size_t count) {
    struct arrival a = {.s = s, .from = from, .to = to, .count = count};
    datagram_input(&a, bytes);
}

/* Answers come first: a welcome goes before the first state_sync. */
static size_t datagrams_output(struct mps_server *s, mps_datagram *out, size_t max) {
    size_t count = replies_output(&s->replies, out, max);
    count += ticks_output(&s->kit, &s->lobbies, &s->ticks, out + count, max - count);
    u64 bytes = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += out[i].bytes;
    }
    s->kit.metrics.counters[COUNTER_DATAGRAMS_OUT] += count;
    s->kit.metrics.counters[COUNTER_DATAGRAM_BYTES_OUT] += bytes;
    return count;
}

/* -- making -- */

/* Leavers that each lobby remembers. */
static u32 config_gone(const mps_config *c) {
    return 2 * c->lobby_players;
}

static void udp_layout(struct layout *l, const mps_config *c) {
    layout_index(l, SERVER_AT(lobbies.by_address), "address index", c->players);
    layout_zeroed(l, SERVER_AT(lobbies.gone), "lobby leavers", c->lobbies,
                  config_gone(c) * sizeof(u32));
    layout_zeroed(l, SERVER_AT(ticks.marks), "tick marks", c->lobby_players,
                  sizeof(struct tick_mark));
    layout_zeroed(l, SERVER_AT(ticks.arena), "tick arena", 1, tick_bytes(c->lobby_players));
    layout_zeroed(l, SERVER_AT(ticks.heads), "datagram heads", c->datagram_batch, TICK_HEAD_BYTES);
    layout_zeroed(l, SERVER_AT(replies.bytes), "datagram replies", 1, c->datagram_reply_bytes);
}

static void udp_create(struct mps_server *s) {
    const mps_config *c = &s->config;
    struct lobbies *l = &s->lobbies;
    struct ticks *t = &s->ticks;
    l->by_address.key = server_key(s);
    l->cookie_key = server_key(s);
    l->due.link_at = offsetof(struct lobby, due);
    l->gone_max = config_gone(c);
    t->players_max = c->lobby_players;
    t->arena_bytes = tick_bytes(c->lobby_players);
    t->heads_max = c->datagram_batch;
    s->replies.capacity = c->datagram_reply_bytes;
}

static void udp_apply(struct mps_server *s) {
    const mps_config *c = &s->config;
    s->lobbies.tick_hz = c->tick_hz;
    s->lobbies.tick_us = S_US / c->tick_hz / TICK_STEPS_OF_PERIOD * TICK_STEPS_OF_PERIOD;
    s->lobbies.speed_max = c->player_speed_max;
    s->lobbies.pace = pace_of(c->player_datagrams_per_s);
    s->rates.paces[RATE_DATAGRAMS] = pace_of(c->datagrams_per_s);
    s->rates.paces[RATE_STUN] = pace_of(c->stun_per_s);
    /* Its answers may be longer than what asks for them, so there is no burst. */
    s->rates.paces[RATE_STUN].burst_us /= 2;
}
#else
/* Counted, and dropped as what nobody here understands. */
static void datagram_arrives(struct mps_server *s, const mps_address *from, const mps_address *to,
                             void *bytes, size_t count) {
    (void)from, (void)to, (void)bytes;
    metrics_count(&s->kit.metrics, COUNTER_DATAGRAMS);
    s->kit.metrics.counters[COUNTER_DATAGRAM_BYTES] += count;
    metrics_count(&s->kit.metrics, COUNTER_DROPS_UNKNOWN);
}

static size_t datagrams_output(struct mps_server *s, mps_datagram *out, size_t max) {
    (void)s, (void)out, (void)max;
    return 0;
}

static void udp_layout(struct layout *l, const mps_config *c) {
    (void)l, (void)c;
}

static void udp_create(struct mps_server *s) {
    (void)s;
}

static void udp_apply(struct mps_server *s) {
    (void)s;
}
#endif

/* == 87 settle ===================================================================================
   Tells the game and the log what happened, before the call that made it happen returns. Hooks run
   only here and in the handlers above; what they do may add outcomes, which are settled too, at
   most settle_max in one call. Records kept for the telling are given back here. */

/* The record is there for sure: a closed lobby's is given back here and nowhere else. Hooks get its
   text, so that happens after them. */
static void settle_lobby(struct mps_server *s, const struct outcome *o) {
    const mps_hooks *hooks = &s->config.hooks;
    const struct lobby *lobby = pool_get(&s->lobbies.pool, o->subject);
    /* Opened and closed share their telling; only the closed one gives its record back. */
    bool opened = o->kind == OUTCOME_LOBBY_OPENED;
    mps_log_record record;
    MPS_ASSERT(lobby);
    if (server_log_begin(s, opened ? LOG_ITEM_LOBBY_OPENED : LOG_ITEM_LOBBY_CLOSED, &record)) {
        log_z(&record, "code", lobby->code);
        if (opened) {
            log_z(&record, "scene", lobby->scene);
            log_number(&record, "max_players", lobby->max_players);
        }
        log_emit(&s->log, &record);
    }
    if (opened && hooks->lobby_opened) {
        hooks->lobby_opened(hooks->user, (mps_lobby){o->subject}, lobby->code);
    } else if (!opened && hooks->lobby_closed) {
        hooks->lobby_closed(hooks->user, (mps_lobby){o->subject}, lobby->code);
    }
    /* Only now may the slot be used again; the handle is stale from here on. */
    if (!opened) {
        pool_give(&s->lobbies.pool, o->subject);
    }
}

/* A player who left keeps the record, and its lobby too: closing adds the lobby's own outcome
   behind those of its players, and they are told in order. */
static void settle_player(struct mps_server *s, const struct outcome *o) {
    const mps_hooks *hooks = &s->config.hooks;
    const struct player *player = player_get(&s->lobbies, o->subject);
    bool joined = o->kind == OUTCOME_PLAYER_JOINED;
    mps_log_record record;
    MPS_ASSERT(player);
    /* pool_get and not lobby_get: the lobby may be closing. */
    const struct lobby *lobby = pool_get(&s->lobbies.pool, player->lobby);
    MPS_ASSERT(lobby);
    if (server_log_begin(s, joined ? LOG_ITEM_PLAYER_JOINED : LOG_ITEM_PLAYER_LEFT, &record)) {
        log_z(&record, "code", lobby->code);
        log_number(&record, "player_id", player->id);
        log_z(&record, "name", player->name);
        if (!joined) {
            log_z(&record, "cause", leave_causes[o->cause]);
        }
        log_emit(&s->log, &record);
    }
    if (joined && hooks->player_joined) {
        hooks->player_joined(hooks->user, (mps_lobby){player->lobby}, player->id, player->name);
    } else if (!joined && hooks->player_left) {
        hooks->player_left(hooks->user, (mps_lobby){player->lobby}, player->id);
    }
    if (!joined) {
        pool_give(&s->lobbies.players, o->subject);
    }
}

/* The socket may be closed and its slot given away by now: then there is nobody to name. */
static void settle_slow_reader(struct mps_server *s, const struct outcome *o) {
    const struct conn *conn = pool_get(&s->conns.pool, o->subject);
    if (conn) {
        server_log_peer(s, LOG_ITEM_SLOW_READER, &conn->peer, NULL);
    }
}

/* Counted by rounds and not by what was there at first, since hooks add to it: one that does so
   without end must not hold the server. What is left makes the deadline 0. */
static void settle(struct mps_server *s) {
    struct outcome o;
    for (u32 i = 0; i < s->config.settle_max && outcomes_take(&s->kit.outcomes, &o); i++) {
        switch (o.kind) {
        case OUTCOME_LOBBY_OPENED:
        case OUTCOME_LOBBY_CLOSED:
            settle_lobby(s, &o);
            break;
        case OUTCOME_PLAYER_JOINED:
        case OUTCOME_PLAYER_LEFT:
            settle_player(s, &o);
            break;
        case OUTCOME_SLOW_READER:
            settle_slow_reader(s, &o);
            break;
        default:
            rooms_settle(s, &o);
            break;
        }
    }
    sockets_settle(s);
}

/* == 88 advance ==================================================================================
   What time does: due timers and work that was left over, in slices of settle_max. */

static void timer_conn(struct mps_server *s, u32 index) {
    struct conn *conn = conn_at(&s->conns, index);
    /* The connection may have been put off without its timer being touched. Moving a timer at every
       byte would cost more than looking again when it rings. */
    if (conn_deadline(&s->conns, conn) > s->kit.now) {
        conn_wait(&s->kit, &s->conns, conn);
    } else {
        conn_timed_out(s, conn);
    }
}

/* With players it is the time for a tick, which the port has put together when it can send; without
   any it is the lobby's end. */
static void timer_lobby(struct mps_server *s, u32 index) {
    struct lobbies *l = &s->lobbies;
    const struct lobby *lobby = pool_at(&l->pool, index);
    if (lobby->players.count) {
        lobby_tick(l, index);
    } else {
        lobby_close(&s->kit, l, pool_handle(&l->pool, index));
    }
}

/* Runs from the join on, player_timeout_ms. */
static void timer_player(struct mps_server *s, u32 index) {
    player_leave(&s->kit, &s->lobbies, index, LEAVE_SILENT);
}

/* The time to say again that rooms have changed, which is said at the end of every call; or the end
   of the grace period. Then the walk over the connections begins anew, since the first one spared
   those that were busy. */
static void timer_server(struct mps_server *s, u32 index) {
    if (index == SERVER_TIMER_ROOMS) {
        return;
    }
    MPS_ASSERT(index == SERVER_TIMER_DRAIN && s->drain == DRAIN_GRACE);
    s->drain = DRAIN_CLOSING;
    s->conns.closing = true;
    s->drain_sweep = 0;
}

/* Timers are data, a kind and an index; which code a kind runs stands here alone. */
static void (*const timers[TIMER_KINDS])(struct mps_server *s, u32 index) = {
#ifndef MPS_NO_ROOMS
    [TIMER_ROOM] = timer_room,     [TIMER_SEAT] = timer_seat,
#endif
    [TIMER_CONN] = timer_conn,     [TIMER_LOBBY] = timer_lobby,
    [TIMER_PLAYER] = timer_player, [TIMER_SERVER] = timer_server,
};

/* Room for the outcomes is asked before a timer is taken out: one that was taken and could not be
   carried out would be lost. */
static void advance_timers(struct mps_server *s) {
    enum timer_kind kind;
    u32 index, work = s->kit.work + s->config.settle_max;
    for (; s->kit.work < work; s->kit.work++) {
        if (!server_outcomes_room(s) || !timer_take(&s->kit.timers, s->kit.now, &kind, &index)) {
            return;
        }
        timers[kind](s, index);
    }
}

/* As many as waited at the start: who is put back waits for the next call, with all others before
   it. */
static void advance_work(struct mps_server *s) {
    u32 left = s->conns.work.count, work = s->kit.work + s->config.settle_max;
    for (; left && s->kit.work < work; left--, s->kit.work++) {
        u32 first = queue_pop(&s->conns.work, &s->conns.pool);
        if (first && server_may_go_on(s, conn_at(&s->conns, first - 1))) {
            conn_work(s, conn_at(&s->conns, first - 1));
        } else if (first) {
            conn_want_work(&s->conns, conn_at(&s->conns, first - 1));
            conn_go_on(&s->conns, conn_at(&s->conns, first - 1));
        }
    }
}

#define KEEPING_LOOK_US ((u64)50000)
#define KEEPING_LOOK_SOON_US ((u64)5000) /* there may be more who keep too long */
#define KEEPING_LOOK_MAX 256

/* Many halves of requests must not keep everybody else out, nor whole ones of those who do not read
   the answers. No more of them are closed than others wait for what they hold. */
static void advance_keeping(struct mps_server *s) {
    struct conns *c = &s->conns;
    if (conns_give_way_at(c) > s->kit.now) {
        return;
    }
    u32 most = u32_min(c->starving.count, CONN_EVICTIONS_MAX), closed = 0;
    for (u32 i = u32_min(c->keeping.count, KEEPING_LOOK_MAX); i && closed < most; i--) {
        u32 index = queue_pop(&c->keeping, &c->pool) - 1;
        struct conn *conn = conn_at(c, index);
        queue_push(&c->keeping, &c->pool, index);
        if (conn_keeps_too_long(&s->kit, c, conn) && server_outcomes_room(s)) {
            conn_give_way(s, conn);
            closed++;
        }
    }
    c->keeping_next = time_after(s->kit.now, closed ? KEEPING_LOOK_SOON_US : KEEPING_LOOK_US);
}

/* The walk goes by slot and continues where the last call ended. */
static bool drain_sweeping(const struct mps_server *s) {
    return (s->drain == DRAIN_GRACE || s->drain == DRAIN_CLOSING) &&
           s->drain_sweep < s->conns.pool.capacity;
}

/* Nobody is left to wait for: no connection and, within the grace period, no lobby player. Those
   count although they hold no connection: their game may still run. */
static bool drain_over(const struct mps_server *s) {
    bool nobody = !s->conns.pool.used && (s->drain == DRAIN_CLOSING || !s->lobbies.players.used);
    return (s->drain == DRAIN_GRACE || s->drain == DRAIN_CLOSING) && nobody && !drain_sweeping(s);
}

/* Idle connections go at once, the others when the grace period is over. */
static void advance_drain(struct mps_server *s) {
    struct conns *c = &s->conns;
    for (u32 i = 0; i < s->config.settle_max && drain_sweeping(s); i++) {
        u32 index = s->drain_sweep++;
        struct conn *conn = conn_at(c, index);
        bool last_call = s->drain == DRAIN_CLOSING;
        if (!pool_alive(&c->pool, index) || conn->state > CONN_FINISH) {
            continue;
        }
        conn->keep_alive = false; /* the answer under way is the last */
        if (last_call && conn_is_socket(conn)) {
            socket_drain(&s->kit, c, conn);
        } else if (last_call || (conn->state < CONN_FINISH && drain_idle(conn))) {
            conn_finish(&s->kit, c, conn);
        }
    }
    if (drain_over(s)) {
        mps_log_record record;
        s->drain = DRAIN_DONE;
        timer_clear(&s->kit.timers, TIMER_SERVER, SERVER_TIMER_DRAIN);
        if (server_log_begin(s, LOG_ITEM_DRAINED, &record)) {
            log_emit(&s->log, &record);
        }
    }
}

/* 0 whenever something is left that needs no event to go on, or the port would sleep on it. */
static u64 server_deadline(const struct mps_server *s) {
    bool now = s->kit.outcomes.count || s->conns.work.count || sockets_wait(s) ||
               drain_sweeping(s) || drain_over(s);
    u64 timer = timer_next(&s->kit.timers), keeping = conns_give_way_at(&s->conns);
    return now ? 0 : timer < keeping ? timer : keeping;
}

/* == 89 making ===================================================================================
   From a configuration to a server: the layout of the block, and what every table begins with. The
   subsystems of sections 82 to 86 lay out and make their own. */

/* Sizes and places every table, and makes them when there is a block. Whoever adds a table adds it
   here and nowhere else; mps_memory_report shows the rows to the operator. */
static void server_layout(struct layout *l, const mps_config *c) {
    u32 conns = config_conns(c);
    layout_take(l, "server", 1, sizeof(struct mps_server));
    layout_pool(l, SERVER_AT(conns.pool), "connections", conns, sizeof(struct conn));
    layout_zeroed(l, SERVER_AT(conns.shares), "connection shares", 2 * shares_slots(conns),
                  sizeof(u32));
    layout_near(l, SERVER_AT(conns.own_input), "connection input", conns, c->input_bytes);
    layout_near(l, SERVER_AT(conns.own_output), "connection output", conns, c->output_bytes);
    layout_zeroed(l, SERVER_AT(conns.chunk_info), "chunk list", conns + c->chunks,
                  sizeof(struct chunk));
    layout_near(l, SERVER_AT(conns.chunk_data), "chunks", c->chunks, c->chunk_bytes);
    layout_zeroed(l, SERVER_AT(conns.large_info), "large input list", c->large_inputs,
                  sizeof(struct large));
    layout_near(l, SERVER_AT(conns.large_data), "large inputs", c->large_inputs,
                config_large_bytes(c));
    rooms_layout(l, c);
    layout_pool(l, SERVER_AT(lobbies.pool), "lobbies", c->lobbies, sizeof(struct lobby));
    layout_index(l, SERVER_AT(lobbies.by_code), "lobby index", c->lobbies);
    layout_pool(l, SERVER_AT(lobbies.players), "players", c->players, sizeof(struct player));
    udp_layout(l, c);
    layout_pool(l, SERVER_AT(rates.pool), "buckets", c->buckets, sizeof(struct bucket));
    layout_index(l, SERVER_AT(rates.index), "bucket index", c->buckets);
    layout_heap(l, SERVER_AT(rates.fullest), "bucket heap", c->buckets);
    layout_heap(l, SERVER_AT(kit.timers.heap), "timers", config_timers(c));
    layout_zeroed(l, SERVER_AT(kit.metrics.requests), "request counters", ROUTE_NONE + 1,
                  METRIC_STATUSES * sizeof(u64));
    layout_zeroed(l, SERVER_AT(kit.outcomes.ring), "outcomes", config_outcomes(c),
                  sizeof(struct outcome));
    layout_zeroed(l, SERVER_AT(log.entries), "log", c->log_entries, sizeof(struct log_entry));
    layout_zeroed(l, SERVER_AT(ranges), "address ranges", 2 * MPS_RANGES_MAX,
                  sizeof(struct address_range));
    layout_near(l, SERVER_AT(answer), "answer scratch", 1,
                ANSWER_HEAD_MAX + config_answer_bytes(c));
    layout_near(l, SERVER_AT(work), "input scratch", 1, config_work_bytes(c));
}

/* Enough for what a fast member is sent in one round, whatever the cap: with more, every member
   that stalls would hold that much. */
#define OUTPUT_STATES_MAX 16384

static void server_create_conns(struct mps_server *s) {
    const mps_config *c = &s->config;
    struct conns *conns = &s->conns;
    u32 count = config_conns(c);
    conns->live_max = c->connections;
    conns->shares_mask = shares_slots(count) - 1;
    conns->input_bytes = c->input_bytes;
    conns->output_bytes = c->output_bytes;
    conns->chunk_bytes = c->chunk_bytes;
    conns->large_bytes = config_large_bytes(c);
    conns->output_bytes_max = c->output_bytes_max;
    /* Up to high water there is room for the longest answer. */
    conns->output_high = u32_min(c->output_bytes_max / 4,
                                 c->output_bytes_max - config_answer_bytes(c) - ANSWER_HEAD_MAX);
    conns->output_states = u32_min(conns->output_high, OUTPUT_STATES_MAX);
    conns->output_low = u32_min(conns->output_high / 2, conns->output_states);
    conns->chunks_count = c->chunks;
    conns->large_count = c->large_inputs;
    conns->large_per_address = c->large_inputs_per_address;
    /* From the last to the first, as the list is LIFO: the first chunk is lent first. */
    for (u32 i = c->chunks; i > 0; i--) {
        chunk_info(conns, count + i - 1)->next = conns->chunk_free;
        conns->chunk_free = count + i;
    }
    conns->dirty.link_at = offsetof(struct conn, dirty);
    conns->work.link_at = offsetof(struct conn, work);
    conns->starving.link_at = offsetof(struct conn, starving);
    conns->keeping.link_at = offsetof(struct conn, keeping);
    for (u32 i = 0; i <= CONN_HELD_MAX; i++) {
        conns->holders[i].link_at = offsetof(struct conn, holding);
    }
}

/* A run of ids for each kind; the connections' start at 0, which base[TIMER_CONN] is already. */
static void server_create_timers(struct mps_server *s) {
    const mps_config *c = &s->config;
    struct timers *t = &s->kit.timers;
    const u32 counts[TIMER_KINDS] = {config_conns(c), c->lobbies,      c->players,
                                     config_rooms(c), config_seats(c), SERVER_TIMERS};
    for (u32 kind = 0; kind < TIMER_KINDS; kind++) {
        t->base[kind + 1] = t->base[kind] + counts[kind];
    }
    MPS_ASSERT(t->base[TIMER_KINDS] == config_timers(c));
}

/* The rest of the tables. */
static void server_create_tables(struct mps_server *s) {
    const mps_config *c = &s->config;
    s->lobbies.by_code.key = server_key(s);
    s->lobbies.players_max = c->lobby_players;
    s->rates.index.key = server_key(s);
    s->kit.outcomes.capacity = config_outcomes(c);
    s->log.entries_max = c->log_entries;
    s->answer += ANSWER_HEAD_MAX;
    s->answer_bytes = config_answer_bytes(c);
    s->work_bytes = config_work_bytes(c);
    s->conns.shares_key = server_key(s);
}

/* What may change while running. Deadlines that are set already stay; a connection's is reckoned
   anew when it comes up. */
static void server_apply_live(struct mps_server *s) {
    const mps_config *c = &s->config;
    s->conns.head_us = c->head_timeout_ms * MS_US;
    s->conns.body_us = c->body_timeout_ms * MS_US;
    s->conns.idle_us = c->idle_timeout_ms * MS_US;
    s->conns.send_us = c->send_timeout_ms * MS_US;
    s->conns.live_per_address = c->connections_per_address;
    s->conns.linger_us = c->linger_ms * MS_US;
    s->conns.buffer_wait_us = c->buffer_wait_ms * MS_US;
    s->conns.input_hold_us = c->input_hold_ms * MS_US;
    s->conns.auth_us = c->auth_timeout_ms * MS_US;
    s->lobbies.player_us = c->player_timeout_ms * MS_US;
    s->lobbies.empty_us = c->lobby_timeout_ms * MS_US;
    s->rates.paces[RATE_CONNECTIONS] = pace_of(c->connections_per_s);
    s->rates.paces[RATE_REQUESTS] = pace_of(c->requests_per_s);
    rooms_apply(s);
    udp_apply(s);
    s->log.level = c->log_level;
}

/* Guest login without being asked for: with dev, or when nobody gave a secret. Asked anew whenever
   the configuration changes. */
static bool config_guest_login(const mps_config *c, bool has_secret) {
    return c->guest_login == MPS_ON || (c->guest_login == MPS_AUTO && (c->dev || !has_secret));
}

/* `given` still has the caller's strings, so this comes before server_copy_strings. Without a
   secret the key is random: tokens are good for this run, and nobody else can make any. */
static void server_create_auth(struct mps_server *s, const mps_config *given) {
    u8 made[32], boot[AUTH_BOOT_BYTES / 2], mark[sizeof s->request_mark / 2];
    const void *secret = given->jwt_secret;
    size_t bytes = given->jwt_secret_bytes;
    random_bytes(&s->kit.random, made, sizeof made);
    hmac256_start(&s->auth.key, secret ? secret : made, secret ? bytes : sizeof made);
    crypto_wipe(made, sizeof made);
    random_bytes(&s->kit.random, boot, sizeof boot);
    struct text t = text_on(s->auth.boot, AUTH_BOOT_BYTES);
    text_hex(&t, boot, sizeof boot);
    copy_z(s->auth.issuer, sizeof s->auth.issuer, span_z(given->jwt_issuer));
    copy_z(s->auth.audience, sizeof s->auth.audience, span_z(given->jwt_audience));
    s->has_secret = secret != NULL;
    s->guest_login = config_guest_login(given, s->has_secret);
    random_bytes(&s->kit.random, mark, sizeof mark);
    t = text_on(s->request_mark, sizeof s->request_mark);
    text_hex(&t, mark, sizeof mark);
}

/* The strings are copied; what the caller handed over may go. The pointers are cleared, so that
   nothing can follow them later; the lists were frozen before. */
static void server_copy_strings(struct mps_server *s) {
    copy_z(s->name, sizeof s->name, span_z(s->config.name));
    copy_z(s->public_host, sizeof s->public_host, span_z(s->config.public_host));
    copy_z(s->cors_origin, sizeof s->cors_origin, span_z(s->config.cors_origin));
    for (u32 i = 0; i < COUNT_OF(config_keys); i++) {
        if (config_keys[i].type == CONFIG_STRING || config_keys[i].type == CONFIG_SECRET) {
            *config_string(&s->config, &config_keys[i]) = NULL;
        }
    }
    memset(s->config.trusted_proxies, 0, sizeof s->config.trusted_proxies);
    memset(s->config.metrics_allow, 0, sizeof s->config.metrics_allow);
}

/* Loads what was given as lists. The chunks are not in use yet and serve as scratch. */
static mps_error server_load(struct mps_server *s, const mps_config *c) {
    struct load_arena arena = {near_get(&s->conns.chunk_data), 0,
                               (size_t)c->chunks * c->chunk_bytes};
    struct address_range *ranges = near_get(&s->ranges);
    load_arena = &arena;
    mps_error error = ranges_load(&s->trusted_proxies, c->trusted_proxies, ranges);
    if (!error) {
        error = ranges_load(&s->metrics_allow, c->metrics_allow, ranges + MPS_RANGES_MAX);
    }
    /* Whatever loading came to: no pointer into the arena outlives this call. */
    load_arena = NULL;
    return error;
}

/* For tests and for a port that suspects damage. Walks every table, so not for every call. */
static bool server_check(const struct mps_server *s) {
    return s->magic == SERVER_MAGIC && conns_check(&s->conns) && sockets_check(s) &&
           lobbies_check(&s->lobbies) && pool_check(&s->rates.pool) &&
           heap_check(&s->rates.fullest) && heap_check(&s->kit.timers.heap) &&
           s->kit.outcomes.count <= s->kit.outcomes.capacity;
}

/* Everything but the hooks, which are addresses of one process, the configuration, which says how
   the server was made, and the bytes of tables without a beginning (rings, chunks, scratch): they
   show in what is sent. */
static u64 server_hash(const struct mps_server *s) {
    const char *at = (const char *)s;
    size_t log_hook = SERVER_AT(log.hook), log_rest = SERVER_AT(log.serial);
    size_t config = SERVER_AT(config), rest = SERVER_AT(name);
    struct layout layout = {.use = LAYOUT_HASH, .block = (char *)(uintptr_t)s};
    u64 hash = hash_on(0, at, log_hook);
    hash = hash_on(hash, at + log_rest, config - log_rest);
    layout.hash = hash_on(hash, at + rest, sizeof *s - rest);
    server_layout(&layout, &s->config);
    return layout.hash;
}

/* == 90 api ======================================================================================
   Thin wrappers: tell the recorder of the call, look the handle up, keep hooks from coming back in,
   settle before returning. */

/* Calls that hooks make are not told: whoever replays the call around them has the same hooks. */
static void call_tell(const mps_server *s, const mps_call *call) {
    if (s->config.hooks.call && !s->in_call) {
        s->config.hooks.call(s->config.hooks.user, call);
    }
}

/* A call of numbers alone. */
MPS_OUTLINE static void call_tell_numbers(const mps_server *s, mps_call_kind kind, u64 now, u64 id,
                                          i64 number) {
    if (s->config.hooks.call) {
        call_tell(s, &(mps_call){.kind = kind, .now = now, .id = id, .number = number});
    }
}

/* Begins a call that a hook must not make; false when one does. Also takes over the time. A server
   that mps_create did not finish has no magic. */
static bool call_begin(mps_server *s, u64 now) {
    MPS_ASSERT(s && s->magic == SERVER_MAGIC);
    /* A hook stands in the middle of a change: a second call would meet tables half done. */
    if (s->in_call) {
        return false;
    }
    s->in_call = true;
    s->kit.work = 0;
    kit_tick(&s->kit, now);
    return true;
}

/* Hooks run in settle, so in_call falls only after it. Memory that came free is offered to those
   who wait for it, whatever freed it. */
static void call_end(mps_server *s) {
    settle(s);
    conns_wake_starving(&s->kit, &s->conns);
    s->in_call = false;
}

const char *mps_error_code(mps_error error) {
    return error_row(error)->code;
}

const char *mps_error_text(mps_error error) {
    return error_row(error)->text;
}

/* Meant for a log hook: it touches nothing of the server. Without the date a line counts from the
   start, so that lines can still be put in order. */
size_t mps_log_text(const mps_log_record *r, char *line, size_t capacity) {
    static const char *const levels[] = {"INFO ", "DEBUG", "INFO ", "WARN ", "ERROR", "OFF  "};
    struct text t = text_on(line, capacity);
    if (r->unix_ms) {
        date_put_iso(&t, r->unix_ms);
    } else {
        TEXT_LITERAL(&t, "up ");
        text_u64(&t, r->uptime_us / MS_US);
        TEXT_LITERAL(&t, "ms");
    }
    text_char(&t, ' ');
    text_z(&t, levels[r->level]);
    text_char(&t, ' ');
    text_z(&t, r->text);
    for (u32 i = 0; i < r->fields_count; i++) {
        text_char(&t, ' ');
        text_z(&t, r->fields[i].name);
        text_char(&t, '=');
        log_put_value(&t, &r->fields[i]);
    }
    return t.bytes;
}

size_t mps_log_json(const mps_log_record *record, char *line, size_t capacity) {
    struct text t = text_on(line, capacity);
    log_put_json(&t, record);
    return t.bytes;
}

/* Reads into a copy: a text with a fault changes nothing. */
mps_error mps_config_read(mps_config *config, char *json, size_t bytes, mps_fault *fault) {
    mps_fault ignored;
    fault = fault ? fault : &ignored;
    memset(fault, 0, sizeof *fault);
    mps_config changed = *config;
    mps_error error = config_read(&changed, json, bytes, fault);
    if (!error) {
        *config = changed;
        memset(fault, 0, sizeof *fault);
    }
    return error;
}

/* A copy is filled with defaults and judged; `config` stays as it is. */
mps_error mps_config_check(const mps_config *config, mps_fault *fault) {
    mps_config effective = config_effective(config);
    if (fault) {
        memset(fault, 0, sizeof *fault);
    }
    return config_check(&effective, fault);
}

#define CONFIG_LINE_MAX (MPS_RANGES_MAX * 68 + 64) /* the longest is a full list of ranges */

size_t mps_config_print(const mps_config *config, char *json, size_t capacity) {
    mps_config effective = config_effective(config);
    struct text t = text_on(json, capacity);
    size_t bytes = 0;
    for (u32 i = 0; i < COUNT_OF(config_keys); i++) {
        /* Each row is made whole first, because the length is told also of what does not fit. */
        char line[CONFIG_LINE_MAX];
        struct text l = text_on(line, sizeof line);
        config_put_row(&l, &effective, &config_keys[i]);
        MPS_ASSERT(!l.cut);
        if (l.bytes) {
            text_z(&t, bytes ? ",\n" : "{\n");
            text_add(&t, text_span(&l));
            bytes += 2 + l.bytes;
        }
    }
    text_z(&t, "\n}");
    return bytes + 2;
}

/* Those that are only refused count too: the port needs a socket for each. */
uint32_t mps_connections_max(const mps_config *config) {
    mps_config effective = config_effective(config);
    return config_check(&effective, NULL) ? 0 : config_conns(&effective);
}

/* By the function that mps_create lays the block out with, so the two cannot disagree. */
size_t mps_memory_needed(const mps_config *config) {
    struct layout layout = {0};
    mps_config effective = config_effective(config);
    if (config_check(&effective, NULL)) {
        return 0;
    }
    server_layout(&layout, &effective);
    return layout.bytes;
}

/* Laid out anew for every row: it is asked for once, by people, and keeps no state. */
bool mps_memory_report(const mps_config *config, uint32_t row, mps_memory_row *out) {
    struct layout layout = {.wanted = row};
    mps_config effective = config_effective(config);
    if (config_check(&effective, NULL)) {
        return false;
    }
    server_layout(&layout, &effective);
    if (row >= layout.rows) {
        return false;
    }
    *out = layout.row;
    return true;
}

/* Made by nobody; that it is permanent is asked before who made it, so no caller closes it. */
static void server_open_test_lobby(mps_server *s) {
    struct lobby_wish wish = {.code = SPAN("TEST"),
                              .scene = SPAN("world"),
                              .is_public = true,
                              .permanent = true,
                              .max_players = s->lobbies.players_max};
    mps_address nobody = {{0}, 0, 0};
    u64 handle = lobby_open(&s->kit, &s->lobbies, &wish, &nobody);
    lobby_get(&s->lobbies, handle)->has_dummy = true;
}

/* Nothing of the block is written before every argument was judged. The order counts: the generator
   is seeded first, as keys are drawn from it; the lists are loaded while the chunks are free to be
   scratch; strings are copied after all that read them; the magic when all of it stands. */
mps_error mps_create(mps_server **server, const mps_config *config, void *memory, size_t bytes,
                     const uint8_t entropy[32]) {
    struct layout layout = {0};
    if (!server || !config || !entropy) {
        return MPS_E_ARGUMENT;
    }
    *server = NULL;
    mps_config effective = config_effective(config);
    if (config_check(&effective, NULL)) {
        return MPS_E_CONFIG;
    }
    server_layout(&layout, &effective);
    if (!memory || bytes < layout.bytes) {
        return MPS_E_MEMORY_SIZE;
    }
    if ((uintptr_t)memory % SERVER_ALIGN) {
        return MPS_E_MEMORY_ALIGN;
    }
    mps_server *s = memory;
    memset(s, 0, sizeof *s);
    s->config = effective;
    s->memory_bytes = layout.bytes;
    layout = (struct layout){.use = LAYOUT_MAKE, .block = memory};
    server_layout(&layout, &effective);
    random_seed(&s->kit.random, entropy);
    mps_error error = server_load(s, &effective);
    if (error) {
        return error;
    }
    server_create_conns(s);
    server_create_tables(s);
    rooms_create(s);
    udp_create(s);
    server_create_timers(s);
    server_create_auth(s, &effective);
    /* Asked of what the caller gave: the effective configuration always has an issuer. */
    s->auth.issuer_required = config->jwt_issuer != NULL;
    server_copy_strings(s);
    server_apply_live(s);
    s->log.hook = effective.hooks.log;
    s->log.user = effective.hooks.user;
    s->magic = SERVER_MAGIC;
    if (effective.dev) {
        server_open_test_lobby(s);
    }
    *server = s;
    return MPS_OK;
}

/* The server's copy of a string of its configuration. The configuration's own members were emptied
   when they were copied. */
static const char *server_string(const mps_server *s, const struct config_row *row) {
    switch (row->at) {
    case offsetof(mps_config, name):
        return s->name;
    case offsetof(mps_config, public_host):
        return s->public_host;
    case offsetof(mps_config, cors_origin):
        return s->cors_origin;
    case offsetof(mps_config, jwt_issuer):
        return s->auth.issuer;
    default:
        MPS_ASSERT(row->at == offsetof(mps_config, jwt_audience));
        return s->auth.audience;
    }
}

/* The secret itself is not kept: do both keys sign the same? Secrets are compared by what they
   sign, of no bytes, and in constant time. */
static bool server_secret_differs(const mps_server *s, const mps_config *wanted) {
    u8 ours[SHA256_BYTES], theirs[SHA256_BYTES];
    struct hmac256 key, kept = s->auth.key;
    if (!wanted->jwt_secret || !s->has_secret) {
        return (wanted->jwt_secret != NULL) != s->has_secret;
    }
    hmac256_start(&key, wanted->jwt_secret, wanted->jwt_secret_bytes);
    /* Finished on copies: the server's key goes on signing. */
    hmac256_finish(&key, theirs);
    hmac256_finish(&kept, ours);
    return !crypto_equal(ours, theirs, sizeof ours);
}

/* Each type is kept in another form than it was given in, hence the cases. */
static bool server_config_differs(const mps_server *s, const mps_config *wanted,
                                  const struct config_row *row) {
    if (row->type == CONFIG_SECRET) {
        return server_secret_differs(s, wanted);
    }
    if (row->type == CONFIG_RANGES) {
        bool trusted = row->at == offsetof(mps_config, trusted_proxies);
        return ranges_differ(trusted ? &s->trusted_proxies : &s->metrics_allow,
                             config_string(wanted, row));
    }
    if (row->type == CONFIG_STRING) {
        return !span_equal(span_z(*config_string(wanted, row)), span_z(server_string(s, row)));
    }
    return config_choice(wanted, row) != config_choice(&s->config, row);
}

/* Judged as a whole first: a reload takes over all its live keys or none. Values of strings, ranges
   and the secret are not logged. */
int mps_reconfigure(mps_server *s, const mps_config *config) {
    mps_config wanted = config_effective(config);
    mps_log_record record;
    int waiting = 0;
    if (config_check(&wanted, NULL)) {
        return MPS_E_CONFIG;
    }
    call_tell(s, &(mps_call){.kind = MPS_CALL_RECONFIGURE, .config = config});
    for (u32 i = 0; i < COUNT_OF(config_keys); i++) {
        const struct config_row *row = &config_keys[i];
        if (!server_config_differs(s, &wanted, row)) {
            continue;
        }
        /* What waits is not taken over, so the next reload names it again. */
        waiting += !row->live;
        if (row->live) {
            config_choose(&s->config, row, config_choice(&wanted, row));
        }
        if (server_log_begin(s, row->live ? LOG_ITEM_CONFIG_CHANGED : LOG_ITEM_CONFIG_WAITS,
                             &record)) {
            log_z(&record, "key", row->key);
            if (row->type < CONFIG_STRING) {
                log_number(&record, "value", config_choice(&wanted, row));
            }
            log_emit(&s->log, &record);
        }
    }
    server_apply_live(s);
    /* Follows from other keys and from there being a secret, so it is worked out anew. */
    s->guest_login = config_guest_login(&s->config, s->has_secret);
    return waiting;
}

#define CLOCK_STEP_MS 2000 /* from here on a change of the date is worth a line */

/* The date becomes known, once: what was dated from 1970 until now gets its real date. `shift_ms`
   is what the date was off by until now. */
static void clock_set(mps_server *s, i64 shift_ms) {
    mps_log_record record;
    for (u32 i = 0; i < s->lobbies.pool.capacity; i++) {
        if (pool_alive(&s->lobbies.pool, i)) {
            struct lobby *lobby = pool_at(&s->lobbies.pool, i);
            lobby_set_created(lobby, lobby->created_ms + shift_ms);
        }
    }
    rooms_date(s, shift_ms);
    if (server_log_begin(s, LOG_ITEM_CLOCK_SET, &record)) {
        log_emit(&s->log, &record);
    }
}

/* The core carries the date forward itself in between, so the port says it rarely. The lines of
   answers are made anew, since the second they were made in may come again. */
void mps_wall_clock(mps_server *s, uint64_t now, int64_t unix_ms) {
    mps_log_record record;
    call_tell_numbers(s, MPS_CALL_WALL_CLOCK, now, 0, unix_ms);
    kit_tick(&s->kit, now);
    bool known = s->kit.wall_known;
    i64 step = unix_ms - kit_unix_ms(&s->kit);
    s->kit.wall_known = true;
    s->kit.wall_ms = unix_ms;
    s->kit.wall_now = s->kit.now;
    s->lines_bytes = 0;
    if (!known) {
        clock_set(s, step);
    } else if ((step >= CLOCK_STEP_MS || step <= -CLOCK_STEP_MS) &&
               server_log_begin(s, LOG_ITEM_CLOCK_STEPPED, &record)) {
        log_number(&record, "step_ms", step);
        log_emit(&s->log, &record);
    }
}

/* What waited to be told comes first: timers and requests need the room that it takes. */
uint64_t mps_advance(mps_server *s, uint64_t now) {
    call_tell_numbers(s, MPS_CALL_ADVANCE, now, 0, 0);
    if (!call_begin(s, now)) {
        return 0;
    }
    settle(s);
    advance_timers(s);
    advance_work(s);
    sockets_advance(s);
    advance_keeping(s);
    advance_drain(s);
    call_end(s);
    s->conns.chunks_round = 0; /* the port drains now */
    return server_deadline(s);
}

uint64_t mps_deadline(const mps_server *s) {
    return server_deadline(s);
}

/* A hook may call it: only state and timer are set, and no hook but the log's is run. */
void mps_drain(mps_server *s, uint64_t now, uint32_t grace_ms) {
    call_tell_numbers(s, MPS_CALL_DRAIN, now, 0, grace_ms);
    kit_tick(&s->kit, now);
    server_drain(s, grace_ms);
}

bool mps_drained(const mps_server *s) {
    return s->drain == DRAIN_DONE;
}

/* Changes a histogram and nothing else. */
void mps_note_call_ns(mps_server *s, uint64_t ns) {
    call_tell_numbers(s, MPS_CALL_NOTE_CALL_NS, 0, 0, (i64)ns);
    histogram_add(&s->kit.metrics.call, ns, 1);
}

/* `what` is borrowed until the return. The log limits how often it is said, the counter counts
   all. */
void mps_note_port_error(mps_server *s, const char *what, int code) {
    mps_log_record record;
    call_tell(s, &(mps_call){.kind = MPS_CALL_NOTE_PORT_ERROR, .text = what, .number = code});
    metrics_count(&s->kit.metrics, COUNTER_PORT_ERRORS);
    if (server_log_begin(s, LOG_ITEM_PORT_ERROR, &record)) {
        log_z(&record, "what", what);
        log_number(&record, "code", code);
        log_emit(&s->log, &record);
    }
}

/* A hook cannot open one; the port closes the socket when it gets 0. */
mps_conn mps_tcp_open(mps_server *s, uint64_t now, const mps_address *peer,
                      const mps_address *local) {
    call_tell(s, &(mps_call){.kind = MPS_CALL_TCP_OPEN, .now = now, .from = peer, .to = local});
    if (!call_begin(s, now)) {
        return (mps_conn){0};
    }
    mps_conn conn = {conn_open(s, peer, local)};
    call_end(s);
    return conn;
}

/* A handle that is stale has no room, so a port that asks first reads nothing for it. */
size_t mps_tcp_room(const mps_server *s, mps_conn handle) {
    const struct conn *conn = pool_get(&s->conns.pool, handle.id);
    return conn ? conn_room(&s->conns, conn) : 0;
}

/* More than mps_tcp_room said is the port's mistake, and refused whole: taking a part would leave
   it to guess which. */
mps_error mps_tcp_input(mps_server *s, mps_conn handle, uint64_t now, void *bytes, size_t count) {
    struct conn *conn = pool_get(&s->conns.pool, handle.id);
    if (!conn) {
        return MPS_E_HANDLE;
    }
    if (!bytes || count > conn_room(&s->conns, conn)) {
        return MPS_E_ARGUMENT;
    }
    call_tell(s, &(mps_call){.kind = MPS_CALL_TCP_INPUT,
                             .now = now,
                             .id = handle.id,
                             .bytes = bytes,
                             .count = count});
    if (!call_begin(s, now)) {
        return MPS_E_NESTED;
    }
    if (count) {
        conn_input(s, conn, bytes, count);
    }
    call_end(s);
    return MPS_OK;
}

/* A second FIN, as a port may report it, is nothing new. */
void mps_tcp_eof(mps_server *s, mps_conn handle, uint64_t now) {
    call_tell_numbers(s, MPS_CALL_TCP_EOF, now, handle.id, 0);
    struct conn *conn = pool_get(&s->conns.pool, handle.id);
    if (conn && !conn->ended && call_begin(s, now)) {
        conn_eof(s, conn);
        call_end(s);
    }
}

/* A stale handle is no error: who closes twice has closed. */
void mps_tcp_closed(mps_server *s, mps_conn handle, uint64_t now) {
    call_tell_numbers(s, MPS_CALL_TCP_CLOSED, now, handle.id, 0);
    struct conn *conn = pool_get(&s->conns.pool, handle.id);
    if (conn && call_begin(s, now)) {
        conn_close(s, conn);
        call_end(s);
    }
}

/* First in, first out, which is what makes the port fair. Not from a hook: the port alone
   drains. */
bool mps_next_output(mps_server *s, mps_conn *handle) {
    if (s->in_call || !s->conns.dirty.count) {
        *handle = (mps_conn){0};
        return false;
    }
    call_tell_numbers(s, MPS_CALL_NEXT_OUTPUT, 0, 0, 0);
    u32 first = queue_pop(&s->conns.dirty, &s->conns.pool);
    *handle = (mps_conn){pool_handle(&s->conns.pool, first - 1)};
    return true;
}

/* Of a stale handle too: ABORT, so that a port that lost count closes the socket. */
mps_fate mps_tcp_fate(const mps_server *s, mps_conn handle) {
    const struct conn *conn = pool_get(&s->conns.pool, handle.id);
    return conn ? conn_fate(conn) : MPS_FATE_ABORT;
}

size_t mps_tcp_output(const mps_server *s, mps_conn handle, mps_span *spans, size_t max) {
    const struct conn *conn = pool_get(&s->conns.pool, handle.id);
    return conn ? output_spans(&s->conns, conn, spans, max) : 0;
}

/* Taken and sent are two steps, so that a port may hand memory to the kernel and free it when that
   is done: until then nothing moves these bytes. */
void mps_tcp_taken(mps_server *s, mps_conn handle, size_t count) {
    call_tell_numbers(s, MPS_CALL_TCP_TAKEN, 0, handle.id, (i64)count);
    struct conn *conn = pool_get(&s->conns.pool, handle.id);
    if (conn && !s->in_call) {
        /* No more than there is: a port that counts wrongly must not lead past the end. */
        conn->out_taken += (u32)size_min(count, conn->out_bytes - conn->out_taken);
    }
}

/* No hook is run here, so the call may be made for each write. The request histogram counts an
   answer when the last byte of all is sent; they share the time of the oldest. */
void mps_tcp_sent(mps_server *s, mps_conn handle, uint64_t now, size_t count) {
    call_tell_numbers(s, MPS_CALL_TCP_SENT, now, handle.id, (i64)count);
    struct conn *conn = pool_get(&s->conns.pool, handle.id);
    if (!conn || !count || s->in_call) {
        return;
    }
    bool was_full = conn->out_bytes > s->conns.output_high;
    kit_tick(&s->kit, now);
    count = size_min(count, conn->out_taken);
    s->kit.metrics.counters[COUNTER_BYTES_OUT] += count;
    output_sent(&s->conns, conn, (u32)count);
    conn->progress_at = s->kit.now;
    conn_want_work(&s->conns, conn);
    /* A long answer in the making is not sent when the output runs dry for a moment. */
    if (!conn->out_bytes && conn->answers && conn->state != CONN_ANSWER) {
        histogram_add(&s->kit.metrics.request, (s->kit.now - conn->asked_at) * 1000, conn->answers);
        conn->answers = 0;
    }
    if (!conn->out_bytes) {
        conn->since = conn->state == CONN_HEAD && !conn->in_bytes ? s->kit.now : conn->since;
        if (conn->state == CONN_FINISH) {
            conn_sent_all(&s->kit, &s->conns, conn);
        }
    }
    if (conn->state != CONN_ABORT && conn->state != CONN_SOCKET) {
        conn_wait(&s->kit, &s->conns, conn);
    }
    /* Input was held back for this output; the port must be told that there is room again. */
    if (was_full && conn->out_bytes <= s->conns.output_high) {
        conn_mark(&s->conns, conn);
    }
    conns_wake_starving(&s->kit, &s->conns);
}

/* A hook runs in the middle of a change, so what it brings here is left out. */
void mps_udp_input(mps_server *s, uint64_t now, const mps_address *from, const mps_address *to,
                   void *bytes, size_t count) {
    call_tell(s, &(mps_call){.kind = MPS_CALL_UDP_INPUT,
                             .now = now,
                             .from = from,
                             .to = to,
                             .bytes = bytes,
                             .count = count});
    if (call_begin(s, now)) {
        datagram_arrives(s, from, to, bytes, count);
        call_end(s);
    }
}

size_t mps_udp_output(mps_server *s, uint64_t now, mps_datagram *out, size_t max) {
    if (s->in_call) {
        return 0;
    }
    kit_tick(&s->kit, now);
    size_t count = datagrams_output(s, out, max);
    call_tell(s, &(mps_call){.kind = MPS_CALL_UDP_OUTPUT,
                             .now = now,
                             .number = (i64)max,
                             .datagrams = out,
                             .count = count});
    return count;
}

void mps_note_udp_drops(mps_server *s, uint64_t count) {
    mps_log_record record;
    call_tell_numbers(s, MPS_CALL_NOTE_UDP_DROPS, 0, 0, (i64)count);
    s->kit.metrics.counters[COUNTER_DROPS_KERNEL] += count;
    if (count && server_log_begin(s, LOG_ITEM_DATAGRAMS_LOST, &record)) {
        log_number(&record, "count", (i64)count);
        log_emit(&s->log, &record);
    }
}

/* The ticket must be the one that the connection waits for: after a time-out or a close it is not,
   and the answer is too late. `who` is copied, because one that is not complete counts as refused
   and its id is emptied. */
mps_error mps_auth_finish(mps_server *s, uint64_t now, uint64_t ticket, const mps_identity *who) {
    struct input_view view;
    mps_identity copy;
    u32 index = (u32)ticket - 1;
    struct conn *conn = index < s->conns.pool.capacity ? conn_at(&s->conns, index) : NULL;
    if (!conn || !pool_alive(&s->conns.pool, index) || !ticket || conn->auth_ticket != ticket) {
        return MPS_E_HANDLE;
    }
    call_tell(s, &(mps_call){.kind = MPS_CALL_AUTH_FINISH, .now = now, .id = ticket, .who = who});
    if (!call_begin(s, now)) {
        return MPS_E_NESTED;
    }
    /* The verdict cannot wait, so what is left to be told is told first. */
    for (u32 i = 0; i <= s->kit.outcomes.capacity && !server_outcomes_room(s); i++) {
        settle(s);
    }
    conn->auth_ticket = 0;
    memset(&copy, 0, sizeof copy);
    if (who) {
        copy = *who;
        copy.id[0] = identity_complete(&copy) ? copy.id[0] : 0; /* an empty id: refused */
    }
    if (conn->state == CONN_SOCKET_AUTH) {
        socket_granted(s, conn, &copy);
    }
    /* The request itself, which was kept whole while the game thought; or what came since. */
    conn_input_begin(&s->kit, &s->conns, conn, NULL, 0, &view);
    conn_run(s, conn, view, &copy);
    conn_mark(&s->conns, conn);
    call_end(s);
    return MPS_OK;
}

/* Needs no server: tools mint with the secret alone. Room for the zero is kept back. */
uint64_t mps_keyed_hash(const uint8_t key[16], const void *bytes, size_t count) {
    struct siphash_key words = {load_le64(key), load_le64(key + 8)};
    return siphash(&words, bytes, count);
}

size_t mps_token_mint(const mps_token_claims *claims, const void *secret, size_t secret_bytes,
                      char *token, size_t capacity) {
    struct hmac256 key;
    struct text t = text_on(token, capacity ? capacity - 1 : 0);
    mps_identity who = *claims->who;
    struct auth_grant grant = {&who,
                               claims->issuer ? claims->issuer : "mpserver",
                               claims->audience,
                               NULL,
                               claims->unix_s,
                               claims->unix_s + claims->ttl_s,
                               claims->unix_s};
    if (!identity_complete(&who)) {
        return 0; /* no server would take it */
    }
    hmac256_start(&key, secret, secret_bytes);
    if (!auth_mint(&t, &grant, &key)) {
        return 0;
    }
    token[t.bytes] = 0;
    return t.bytes;
}

/* The low half of a handle is index + 1, which is where the search goes on, even when that lobby
   was closed meanwhile. */
mps_lobby mps_lobby_next(const mps_server *s, mps_lobby after) {
    for (u32 i = (u32)after.id; i < s->lobbies.pool.capacity; i++) {
        u64 handle = pool_handle(&s->lobbies.pool, i);
        if (handle && lobby_get(&s->lobbies, handle)) {
            return (mps_lobby){handle};
        }
    }
    return (mps_lobby){0};
}

/* Without regard to case, as over HTTP. */
mps_lobby mps_lobby_find(const mps_server *s, const char *code) {
    return (mps_lobby){lobby_find(&s->lobbies, span_z(code))};
}

/* The strings are the record's own: borrowed, not copied. */
mps_error mps_lobby_get(const mps_server *s, mps_lobby handle, mps_lobby_info *info) {
    const struct lobby *lobby = lobby_get(&s->lobbies, handle.id);
    if (!lobby) {
        return MPS_E_HANDLE;
    }
    *info = (mps_lobby_info){lobby->code,        lobby->scene,     lobby->players.count,
                             lobby->max_players, lobby->is_public, lobby->created_ms};
    return MPS_OK;
}

/* Ends what the game asked for: inside a hook the call that it stands in settles, else this
   does. */
static void game_call_end(mps_server *s) {
    if (!s->in_call) {
        s->in_call = true;
        call_end(s);
    }
}

/* A hook may make this call: what it adds is settled by the call it stands in. Otherwise it settles
   itself. */
mps_error mps_lobby_kick(mps_server *s, uint64_t now, mps_lobby handle, uint32_t player_id) {
    const struct lobby *lobby = lobby_get(&s->lobbies, handle.id);
    u32 at = lobby ? player_find(&s->lobbies, lobby, player_id) : 0;
    if (!at) {
        return lobby ? MPS_E_PLAYER_NOT_FOUND : MPS_E_HANDLE;
    }
    if (!server_outcomes_room(s)) {
        return MPS_E_OUTPUT_FULL; /* a hook that kicks leaves room for the request it stands in */
    }
    call_tell_numbers(s, MPS_CALL_LOBBY_KICK, now, handle.id, player_id);
    kit_tick(&s->kit, now);
    player_leave(&s->kit, &s->lobbies, at - 1, LEAVE_KICKED);
    game_call_end(s);
    return MPS_OK;
}

/* A layout made anew from what the block says of itself must come to the size it says: a block of
   another build, or no block at all, does not. */
mps_error mps_resume(mps_server **server, void *memory, size_t bytes, const mps_hooks *hooks) {
    struct layout layout = {.use = LAYOUT_SIZES};
    mps_server *s = memory;
    *server = NULL;
    if (!memory || (uintptr_t)memory % SERVER_ALIGN) {
        return MPS_E_MEMORY_ALIGN;
    }
    if (bytes < sizeof *s || s->magic != SERVER_MAGIC || s->in_call) {
        return MPS_E_ARGUMENT;
    }
    server_layout(&layout, &s->config);
    if (layout.bytes != s->memory_bytes || bytes < layout.bytes) {
        return MPS_E_MEMORY_SIZE;
    }
    s->config.hooks = *hooks;
    s->log.hook = hooks->log;
    s->log.user = hooks->user;
    *server = s;
    return MPS_OK;
}

bool mps_check(const mps_server *s) {
    return s && server_check(s);
}

uint64_t mps_state_hash(const mps_server *s) {
    return server_hash(s);
}

#ifndef MPS_NO_ROOMS
/* == 91 rooms: the game's calls ==================================================================
   What the embedding game asks of relay rooms. */

/* As with lobbies: the search goes on behind the slot of `after`. */
mps_room mps_room_next(const mps_server *s, mps_room after) {
    for (u32 i = (u32)after.id; i < s->rooms.pool.capacity; i++) {
        u64 handle = pool_handle(&s->rooms.pool, i);
        if (handle && room_get(&s->rooms, handle)) {
            return (mps_room){handle};
        }
    }
    return (mps_room){0};
}

mps_room mps_room_find(const mps_server *s, const char *id) {
    const struct room *room = room_find(&s->rooms, span_z(id));
    return (mps_room){room ? pool_handle(&s->rooms.pool, room_index(&s->rooms, room)) : 0};
}

mps_error mps_room_get(const mps_server *s, mps_room handle, mps_room_info *info) {
    const struct room *room = room_get(&s->rooms, handle.id);
    if (!room) {
        return MPS_E_HANDLE;
    }
    u32 host = room->host ? seat_at(&s->rooms, room->host - 1)->peer : 0;
    *info = (mps_room_info){room->id,          room->gamemode, room->map,       room->seats.count,
                            room->max_players, host,           room->is_public, room->created_ms};
    return MPS_OK;
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

/* A frame of the game's own, in the scratch. */
static mps_error game_frame(mps_server *s, const char *type, const char *data, size_t bytes,
                            struct span *frame) {
    struct json_fault fault;
    struct text t = text_on(server_answer(s), s->answer_bytes);
    if (!type || !data || !game_type_valid(span_z(type))) {
        return MPS_E_ARGUMENT;
    }
    if (bytes > s->config.message_bytes_max) {
        return MPS_E_MESSAGE_TOO_LARGE;
    }
    if (!json_check(data, bytes, &fault)) {
        return MPS_E_BAD_JSON;
    }
    TEXT_LITERAL(&t, "{\"type\":\"");
    text_z(&t, type);
    TEXT_LITERAL(&t, "\",\"data\":");
    text_add(&t, span_of(data, bytes));
    text_char(&t, '}');
    *frame = frame_end(s, &t);
    return MPS_OK;
}

mps_error mps_room_send(mps_server *s, uint64_t now, mps_room handle, uint32_t peer_id,
                        const char *type, const char *data, size_t bytes) {
    const struct room *room = room_get(&s->rooms, handle.id);
    const struct seat *seat = room && peer_id ? room_peer(&s->rooms, room, peer_id) : NULL;
    struct span frame;
    if (!room || (peer_id && !seat)) {
        return room ? MPS_E_INVALID_TARGET : MPS_E_HANDLE;
    }
    mps_error error = game_frame(s, type, data, bytes, &frame);
    if (!error && !seat && !fanout_fits(s, room, frame)) {
        error = MPS_E_FANOUT_TOO_LARGE;
    }
    if (error) {
        return error;
    }
    call_tell(s, &(mps_call){.kind = MPS_CALL_ROOM_SEND,
                             .now = now,
                             .id = handle.id,
                             .number = peer_id,
                             .text = type,
                             .bytes = data,
                             .count = bytes});
    kit_tick(&s->kit, now);
    if (seat) {
        seat_send(&s->kit, &s->conns, seat, EVENT_GAME, frame);
    } else {
        room_send(&s->kit, &s->conns, &s->rooms, room, NULL, EVENT_GAME, frame);
    }
    game_call_end(s);
    return MPS_OK;
}

mps_error mps_user_send(mps_server *s, uint64_t now, const mps_identity *to, const char *type,
                        const char *data, size_t bytes) {
    struct span frame;
    u32 user = user_find(&s->presence, to, user_mark(&s->presence, to));
    const struct queue *sockets = user ? &user_at(&s->presence, user - 1)->sockets : NULL;
    if (!sockets || !sockets->count) {
        return MPS_E_INVALID_TARGET;
    }
    mps_error error = game_frame(s, type, data, bytes, &frame);
    if (error) {
        return error;
    }
    call_tell(s, &(mps_call){.kind = MPS_CALL_USER_SEND,
                             .now = now,
                             .who = to,
                             .text = type,
                             .bytes = data,
                             .count = bytes});
    kit_tick(&s->kit, now);
    for (u32 at = sockets->head; at; at = conn_at(&s->conns, at - 1)->socket.of_user.next) {
        struct conn *conn = conn_at(&s->conns, at - 1);
        if (conn->socket.listens && conn_is_socket(conn) &&
            conn_frame(&s->kit, &s->conns, conn, frame)) {
            s->kit.metrics.messages_out[EVENT_GAME]++;
        }
    }
    game_call_end(s);
    return MPS_OK;
}

mps_error mps_room_kick(mps_server *s, uint64_t now, mps_room handle, uint32_t peer_id) {
    const struct room *room = room_get(&s->rooms, handle.id);
    struct seat *seat = room ? room_peer(&s->rooms, room, peer_id) : NULL;
    if (!seat) {
        return room ? MPS_E_INVALID_TARGET : MPS_E_HANDLE;
    }
    if (!server_outcomes_room(s)) {
        return MPS_E_OUTPUT_FULL; /* as for mps_lobby_kick */
    }
    call_tell_numbers(s, MPS_CALL_ROOM_KICK, now, handle.id, peer_id);
    kit_tick(&s->kit, now);
    room_remove(s, seat, "host_kick");
    game_call_end(s);
    return MPS_OK;
}
#else
/* There are no rooms, and nobody is online. */
mps_room mps_room_next(const mps_server *s, mps_room after) {
    (void)s, (void)after;
    return (mps_room){0};
}

mps_room mps_room_find(const mps_server *s, const char *id) {
    (void)s, (void)id;
    return (mps_room){0};
}

mps_error mps_room_get(const mps_server *s, mps_room room, mps_room_info *info) {
    (void)s, (void)room, (void)info;
    return MPS_E_HANDLE;
}

mps_error mps_room_send(mps_server *s, uint64_t now, mps_room room, uint32_t peer_id,
                        const char *type, const char *data, size_t bytes) {
    (void)s, (void)now, (void)room, (void)peer_id, (void)type, (void)data, (void)bytes;
    return MPS_E_HANDLE;
}

mps_error mps_user_send(mps_server *s, uint64_t now, const mps_identity *to, const char *type,
                        const char *data, size_t bytes) {
    (void)s, (void)now, (void)to, (void)type, (void)data, (void)bytes;
    return MPS_E_INVALID_TARGET;
}

mps_error mps_room_kick(mps_server *s, uint64_t now, mps_room room, uint32_t peer_id) {
    (void)s, (void)now, (void)room, (void)peer_id;
    return MPS_E_HANDLE;
}
#endif

/* == 92 texts ====================================================================================
   The tables that the server runs on as lines for --help-*. */

#ifndef MPS_NO_DOCS
/* Limits show the default of each preset, since the preset is chosen with them in view. */
static void doc_config(struct text *t, const struct config_row *row) {
    static const char *const units[] = {"", "B, ", "ms, ", "s, ", "/s, ", "Hz, ", "units/s, "};
    const char *const *names;
    text_z(t, row->key);
    text_char(t, ' ');
    if (row->type == CONFIG_U32 || row->type == CONFIG_MOST) {
        TEXT_LITERAL(t, "= ");
        text_u64(t, row->defaults[MPS_PRESET_SMALL]);
        TEXT_LITERAL(t, " (tiny ");
        text_u64(t, row->defaults[MPS_PRESET_TINY]);
        TEXT_LITERAL(t, ", large ");
        text_u64(t, row->defaults[MPS_PRESET_LARGE]);
        TEXT_LITERAL(t, ") ");
        text_z(t, units[row->unit]);
        text_u64(t, row->min);
        TEXT_LITERAL(t, "..");
        text_u64(t, row->max);
    } else if (row->type == CONFIG_PRESET || row->type == CONFIG_SWITCH ||
               row->type == CONFIG_LEVEL) {
        config_names(row, &names);
        TEXT_LITERAL(t, "= ");
        text_z(t, names[0]);
    } else {
        text_z(t, row->type == CONFIG_BOOL     ? "= false"
                  : row->type == CONFIG_U16    ? "number"
                  : row->type == CONFIG_RANGES ? "array of strings"
                                               : "string");
    }
    text_z(t, row->live ? "; live: " : ": ");
    text_z(t, row->doc);
}

/* In the order of enum route_auth. */
static void doc_route(struct text *t, const struct route *route) {
    static const char *const auths[] = {"open",
                                        "Bearer",
                                        "admin",
                                        "Bearer optional",
                                        "loopback, metrics_allow or admin",
                                        "Bearer or ?token= optional"};
    text_z(t, http_method_names[route->method]);
    text_char(t, ' ');
    text_z(t, route->path);
    TEXT_LITERAL(t, " (");
    text_z(t, auths[route->auth]);
    TEXT_LITERAL(t, "): ");
    text_z(t, route->doc);
}

#ifndef MPS_NO_ROOMS
/* In the order of enum message_needs. */
static void doc_message(struct text *t, u32 i) {
    const struct message_row *row = &messages[i];
    static const char *const needs[] = {"anybody", "signed in, in no room", "in a room", "host"};
    TEXT_LITERAL(t, "message ");
    text_z(t, row->type);
    TEXT_LITERAL(t, " (");
    text_z(t, needs[row->needs]);
    TEXT_LITERAL(t, "): ");
    text_z(t, row->doc);
}
#else
#define MESSAGE_NONE 0

static void doc_message(struct text *t, u32 i) {
    (void)t, (void)i;
}
#endif

#ifndef MPS_NO_UDP
/* Both names of it, where it has two. */
static void doc_packet(struct text *t, u32 type) {
    TEXT_LITERAL(t, "datagram ");
    text_z(t, packet_names[type].json);
    if (packet_names[type].binary) {
        TEXT_LITERAL(t, ", binary ");
        text_u64(t, packet_names[type].binary);
    }
    text_z(t, packets[type].anybody ? " (anybody): " : " (joined): ");
    text_z(t, packets[type].doc);
}
#else
#define PACKET_TYPES 0

static void doc_packet(struct text *t, u32 type) {
    (void)t, (void)type;
}
#endif

static void doc_error(struct text *t, const struct error_row *row) {
    text_u64(t, row->http);
    text_char(t, ' ');
    text_z(t, row->code);
    TEXT_LITERAL(t, ": ");
    text_z(t, row->text);
}

/* The name as /metrics prints it, labels and all. */
static void doc_counter(struct text *t, const struct counter_row *row) {
    TEXT_LITERAL(t, "mpserver_");
    text_z(t, row->metric);
    if (row->labels[0]) {
        text_char(t, '{');
        text_z(t, row->labels);
        text_char(t, '}');
    }
    text_z(t, row->help[0] ? ": " : "");
    text_z(t, row->help);
}

/* The same rows that the server runs on, so the help cannot say something else. */
size_t mps_doc_row(mps_doc table, uint32_t row, char *line, size_t capacity) {
    const size_t rows[] = {COUNT_OF(config_keys), COUNT_OF(routes), COUNT_OF(errors),
                           COUNT_OF(counters),    MESSAGE_NONE,     PACKET_TYPES};
    struct text t = text_on(line, capacity);
    if ((u32)table >= COUNT_OF(rows) || row >= rows[table]) {
        return 0;
    }
    switch (table) {
    case MPS_DOC_CONFIG:
        doc_config(&t, &config_keys[row]);
        break;
    case MPS_DOC_ROUTES:
        doc_route(&t, &routes[row]);
        break;
    case MPS_DOC_ERRORS:
        doc_error(&t, &errors[row]);
        break;
    case MPS_DOC_METRICS:
        doc_counter(&t, &counters[row]);
        break;
    case MPS_DOC_MESSAGES:
        doc_message(&t, row);
        break;
    case MPS_DOC_DATAGRAMS:
        doc_packet(&t, row);
        break;
    }
    return t.bytes;
}
#else
size_t mps_doc_row(mps_doc table, uint32_t row, char *line, size_t capacity) {
    (void)table, (void)row, (void)line, (void)capacity;
    return 0;
}
#endif

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

/* == 14 random ==================================================================================*/

/* == 16 crypto ==================================================================================*/

/* == 18 metrics =================================================================================*/

/* == 32 json ====================================================================================*/

/* == 34 addresses ===============================================================================*/

/* == 40 http ====================================================================================*/

/* == 90 api =====================================================================================*/

const char *mps_error_code(mps_error error) {
    return error_row(error)->code;
}

const char *mps_error_text(mps_error error) {
    return error_row(error)->text;
}

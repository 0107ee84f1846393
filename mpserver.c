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

/* == 34 addresses ===============================================================================*/

/* == 40 http ====================================================================================*/

/* == 90 api =====================================================================================*/

const char *mps_error_code(mps_error error) {
    return error_row(error)->code;
}

const char *mps_error_text(mps_error error) {
    return error_row(error)->text;
}

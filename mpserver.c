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

/* == wire ========================================================================================
   Bytes as a client writes and reads them, from the RFCs and the contract alone: nothing here calls
   the core, or both would be wrong together. What the server sends must be legal to the letter. */

/* -- json -- */

/* Is the text one JSON value (RFC 8259), not nested deeper than `JSON_DEPTH`? A stack of brackets
   instead of recursion. `want` says what may come next. */
#define JSON_DEPTH 32
enum { WANT_VALUE = 1, WANT_KEY = 2, WANT_COLON = 4, WANT_COMMA = 8, WANT_END = 16 };

static size_t wire_string_end(const char *text, size_t bytes, size_t at) {
    for (at++; at < bytes && text[at] != '"'; at++) {
        if ((u8)text[at] < ' ') {
            return 0;
        }
        at += text[at] == '\\';
    }
    return at < bytes ? at + 1 : 0;
}

static size_t wire_word_end(const char *text, size_t bytes, size_t at) {
    size_t start = at;
    while (at < bytes && (isalnum((u8)text[at]) || strchr("+-.", text[at]))) {
        at++;
    }
    bool word = (at - start == 4 && !strncmp(text + start, "true", 4)) ||
                (at - start == 5 && !strncmp(text + start, "false", 5)) ||
                (at - start == 4 && !strncmp(text + start, "null", 4));
    char copy[64] = {0}, *end = copy;
    if (!word && at > start && at - start < sizeof copy) {
        memcpy(copy, text + start, at - start);
        strtod(copy, &end);
        word = !*end && (isdigit((u8)copy[0]) || copy[0] == '-');
    }
    return word ? at : 0;
}

static bool wire_json_valid(const char *text, size_t bytes) {
    char stack[JSON_DEPTH];
    u32 depth = 0, want = WANT_VALUE;
    for (size_t at = 0; at < bytes;) {
        char c = text[at];
        bool key = c == '"' && want & WANT_KEY;
        if (strchr(" \t\r\n", c)) {
            at++;
        } else if ((c == '{' || c == '[') && want & WANT_VALUE && depth < JSON_DEPTH) {
            stack[depth++] = c == '{' ? '}' : ']';
            want = c == '{' ? WANT_KEY | WANT_END : WANT_VALUE | WANT_END;
            at++;
        } else if ((c == '}' || c == ']') && want & WANT_END && depth && stack[depth - 1] == c) {
            want = --depth ? WANT_COMMA | WANT_END : 0;
            at++;
        } else if (c == ',' && want & WANT_COMMA) {
            want = stack[depth - 1] == '}' ? WANT_KEY : WANT_VALUE;
            at++;
        } else if (c == ':' && want & WANT_COLON) {
            want = WANT_VALUE;
            at++;
        } else if (key || want & WANT_VALUE) {
            at = c == '"' ? wire_string_end(text, bytes, at) : wire_word_end(text, bytes, at);
            want = key ? WANT_COLON : depth ? WANT_COMMA | WANT_END : 0;
            if (!at) {
                return false;
            }
        } else {
            return false;
        }
    }
    return want == 0;
}

/* Behind the first `"key":` of the text, at whatever depth; NULL without one. The texts that are
   looked at have each key once, or the first one counts. */
static const char *wire_find(const char *text, const char *key) {
    char quoted[48];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *at = strstr(text, quoted);
    return at ? at + strlen(quoted) : NULL;
}

static bool wire_number(const char *text, const char *key, i64 *out) {
    const char *at = text ? wire_find(text, key) : NULL;
    char *end;
    if (!at) {
        return false;
    }
    *out = strtoll(at, &end, 10);
    return end != at;
}

/* A string without escapes; false when it is another value or too long. */
static bool wire_text(const char *text, const char *key, char *out, size_t capacity) {
    const char *at = text ? wire_find(text, key) : NULL;
    size_t bytes = at && *at == '"' ? strcspn(at + 1, "\"") : capacity;
    if (bytes >= capacity) {
        return false;
    }
    memcpy(out, at + 1, bytes);
    out[bytes] = 0;
    return true;
}

static u32 wire_count(const char *text, const char *what) {
    u32 count = 0;
    for (const char *at = strstr(text, what); at; at = strstr(at + 1, what)) {
        count++;
    }
    return count;
}

/* RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. */
static bool wire_utf8(const u8 *at, size_t bytes) {
    for (size_t i = 0; i < bytes;) {
        u32 c = at[i], more = c < 0x80 ? 0 : c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : 1;
        u32 point = more == 0 ? c : c & (0x3Fu >> more);
        if ((c & 0xC0) == 0x80 || c > 0xF4 || i + more >= bytes) {
            return false;
        }
        for (u32 k = 1; k <= more; k++) {
            if ((at[i + k] & 0xC0) != 0x80) {
                return false;
            }
            point = point << 6 | (at[i + k] & 0x3Fu);
        }
        static const u32 least[] = {0, 0x80, 0x800, 0x10000};
        if (point < least[more] || point > 0x10FFFF || (point >= 0xD800 && point < 0xE000)) {
            return false;
        }
        i += more + 1;
    }
    return true;
}

/* -- http -- */

/* One response, as far as it has come. `bytes` 0: not whole yet. */
struct response {
    u32 status;
    size_t bytes;
    bool close, chunked, has_length;
    char id[72], *body;
    size_t body_bytes;
};

/* The value of a field of the head, copied; "" when it is not there. */
static void response_field(const char *head, const char *name, char *out, size_t capacity) {
    const char *at = strstr(head, name);
    size_t bytes = at ? strcspn(at + strlen(name), "\r") : 0;
    bytes = bytes < capacity - 1 ? bytes : capacity - 1;
    memcpy(out, at ? at + strlen(name) : "", bytes);
    out[bytes] = 0;
}

/* Chunks (RFC 9112, 7.1) are joined in place; 0: more has to come. */
static size_t response_chunks(char *at, size_t bytes, size_t *body_bytes) {
    size_t from = 0, to = 0;
    for (;;) {
        const char *line = memchr(at + from, '\n', bytes - from);
        if (!line) {
            return 0;
        }
        char *end;
        size_t count = strtoul(at + from, &end, 16), start = (size_t)(line + 1 - at);
        HOLDS(end == line - 1 && *end == '\r', "a chunk's size is no number");
        if (start + count + 2 > bytes) {
            return 0;
        }
        HOLDS(!memcmp(at + start + count, "\r\n", 2), "a chunk has no end");
        if (!count) {
            *body_bytes = to;
            return start + 2;
        }
        memmove(at + to, at + start, count);
        to += count;
        from = start + count + 2;
    }
}

/* RFC 9112, 4 to 7. `head_id`: the id of the request that waits when that is a HEAD, else NULL; its
   answer has no body, and another one, to nobody, does. The text is changed only when the response
   is whole, so that a part can be read again when more has come. */
static struct response response_read(char *text, size_t bytes, const char *head_id) {
    struct response r = {0};
    char value[96], end = 0;
    char *head_end = bytes ? memmem(text, bytes, "\r\n\r\n", 4) : NULL;
    if (!head_end) {
        HOLDS(bytes < 4096, "a head without end");
        return r;
    }
    size_t head = (size_t)(head_end - text) + 4;
    end = text[head - 2];
    text[head - 2] = 0;
    HOLDS(!strncmp(text, "HTTP/1.1 ", 9), "no HTTP/1.1: %.20s", text);
    r.status = (u32)strtoul(text + 9, NULL, 10);
    HOLDS(r.status >= 100 && r.status < 600, "status %u", r.status);
    response_field(text, "\r\nX-Request-Id: ", r.id, sizeof r.id);
    response_field(text, "\r\nConnection: ", value, sizeof value);
    r.close = !strcmp(value, "close");
    r.chunked = strstr(text, "\r\nTransfer-Encoding: chunked\r\n") != NULL;
    response_field(text, "\r\nContent-Length: ", value, sizeof value);
    r.has_length = value[0] != 0;
    text[head - 2] = end;
    HOLDS(!(r.chunked && r.has_length), "a length and chunks");
    bool head_only = head_id && !strcmp(r.id, head_id);
    bool none = head_only || r.status < 200 || r.status == 204 || r.status == 304;
    HOLDS(r.chunked || r.has_length || none, "a body without end, status %u", r.status);
    size_t body = none || r.chunked ? 0 : strtoul(value, NULL, 10);
    if (r.chunked && !head_only) {
        char *copy = malloc(bytes - head + 1);
        memcpy(copy, text + head, bytes - head);
        size_t taken = response_chunks(copy, bytes - head, &r.body_bytes);
        r.body = copy;
        r.bytes = taken ? head + taken : 0;
    } else if (head + body <= bytes) {
        r.body = malloc(body + 1);
        memcpy(r.body, text + head, body);
        r.body_bytes = body;
        r.bytes = head + body;
    }
    if (r.bytes) {
        r.body[r.body_bytes] = 0;
    } else {
        free(r.body);
        r.body = NULL;
    }
    return r;
}

/* -- frames: RFC 6455, 5.2 -- */

enum { FRAME_TEXT = 1, FRAME_CLOSE = 8, FRAME_PING = 9, FRAME_PONG = 10 };

/* A client's frame: masked, whole or a fragment. */
static size_t frame_write(u8 *out, u32 opcode, bool last, const char *text, size_t bytes,
                          u32 mask) {
    size_t at = 0;
    u8 key[4] = {(u8)mask, (u8)(mask >> 8), (u8)(mask >> 16), (u8)(mask >> 24)};
    out[at++] = (u8)(opcode | (last ? 0x80 : 0));
    if (bytes < 126) {
        out[at++] = (u8)(0x80 | bytes);
    } else {
        out[at++] = 0x80 | 126;
        out[at++] = (u8)(bytes >> 8);
        out[at++] = (u8)bytes;
    }
    memcpy(out + at, key, 4);
    at += 4;
    for (size_t i = 0; i < bytes; i++) {
        out[at++] = (u8)((u8)text[i] ^ key[i & 3]);
    }
    return at;
}

struct frame {
    u32 opcode;
    char *payload;
    size_t payload_bytes, bytes; /* of the whole frame; 0: not whole yet */
};

/* What a server may send: unmasked, no reserved bits, known opcodes, control frames short and
   whole, lengths in the shortest form. This one never fragments. */
static struct frame frame_read(char *text, size_t bytes) {
    struct frame f = {0};
    const u8 *at = (const u8 *)text;
    if (bytes < 2) {
        return f;
    }
    size_t head = 2, count = at[1] & 0x7Fu;
    f.opcode = at[0] & 0x0Fu;
    HOLDS(!(at[0] & 0x70), "reserved bits are set: %02x", at[0]);
    HOLDS(!(at[1] & 0x80), "a masked frame from the server");
    HOLDS(at[0] & 0x80, "a fragment from the server");
    HOLDS(f.opcode == FRAME_TEXT || (f.opcode >= FRAME_CLOSE && f.opcode <= FRAME_PONG),
          "opcode %u", f.opcode);
    HOLDS(f.opcode < FRAME_CLOSE || count < 126, "a control frame of %zu bytes", count);
    if (count >= 126) {
        size_t more = count == 126 ? 2 : 8, long_count = 0;
        if (bytes < head + more) {
            return f;
        }
        for (size_t i = 0; i < more; i++) {
            long_count = long_count << 8 | at[head + i];
        }
        HOLDS(long_count >= (count == 126 ? 126u : 65536u), "a length longer than it need be");
        count = long_count;
        head += more;
    }
    if (head + count <= bytes) {
        f.payload = text + head;
        f.payload_bytes = count;
        f.bytes = head + count;
    }
    return f;
}

/* datagrams: one datagram, JSON, binary or STUN. What is read is written again by a client of ours
   and read to the same; what the server says about it has the shape that its readers expect; STUN
   answers carry the address, and none that is damaged is believed. */

/* Of two angles, whole turns apart being none. */
static double angle_apart(double a, double b) {
    double apart = a - b;
    return fabs(apart - 2 * REAL_PI * floor(apart / (2 * REAL_PI) + 0.5));
}

/* In binary half a turn has two spellings. */
static void check_equal_pose(const struct pose *a, const struct pose *b, bool binary) {
    for (u32 i = 0; i < 3; i++) {
        FUZZ_CHECK(isfinite(a->position[i]) && isfinite(a->rotation[i]));
        FUZZ_CHECK(a->position[i] == b->position[i]);
        FUZZ_CHECK(a->rotation[i] == b->rotation[i] ||
                   (binary && angle_apart(a->rotation[i], b->rotation[i]) < 1e-6));
    }
}

static void check_equal_packets(const struct packet *a, const struct packet *b) {
    FUZZ_CHECK(a->type == b->type && a->binary == b->binary && a->batch == b->batch);
    FUZZ_CHECK(a->has_cookie == b->has_cookie && a->seq == b->seq && a->t_ms == b->t_ms);
    FUZZ_CHECK(a->player_id == b->player_id && a->token_bytes == b->token_bytes);
    FUZZ_CHECK(memcmp(a->token, b->token, sizeof a->token) == 0);
    FUZZ_CHECK(!a->has_cookie || memcmp(a->cookie, b->cookie, COOKIE_BYTES) == 0);
    FUZZ_CHECK(span_equal(a->code, b->code) && span_equal(a->echo, b->echo));
    FUZZ_CHECK(span_equal(a->weapon, b->weapon));
    FUZZ_CHECK(a->pose.flags == b->pose.flags);
    check_equal_pose(&a->pose, &b->pose, a->binary);
}

static void client_put_vector(struct text *t, const char *name, const double v[3]) {
    static const char *const axes[] = {"x", "y", "z"};
    json_put_key(t, name);
    json_put_open(t, '{');
    for (u32 i = 0; i < 3; i++) {
        json_put_key(t, axes[i]);
        json_put_f64(t, v[i]);
    }
    json_put_close(t, '}');
}

static void client_put_json(struct text *t, const struct packet *p) {
    char hex[UDP_TOKEN_TEXT];
    struct text h = text_on(hex, sizeof hex);
    json_put_open(t, '{');
    json_member_z(t, "type", packet_names[p->type].json);
    if (p->player_id) {
        json_member_u64(t, "player_id", p->player_id);
    }
    if (p->token_bytes) {
        text_hex(&h, p->token, UDP_TOKEN_BYTES);
        json_member_string(t, "udp_token", text_span(&h));
    }
    json_member_bool(t, "batch", p->batch);
    json_member_string(t, "lobby_code", p->code);
    if (p->type == PACKET_STATE) {
        client_put_vector(t, "position", p->pose.position);
        client_put_vector(t, "rotation", p->pose.rotation);
    }
    if (p->weapon.bytes) {
        json_put_key(t, "weapon_id");
        json_put_raw(t, p->weapon);
    }
    if (p->echo.bytes) {
        json_put_key(t, p->type == PACKET_PING ? "t" : "nonce");
        json_put_raw(t, p->echo);
    }
    if (p->has_cookie) {
        h = text_on(hex, sizeof hex);
        text_hex(&h, p->cookie, COOKIE_BYTES);
        json_member_string(t, "cookie", text_span(&h));
    }
    json_put_close(t, '}');
}

static void client_put_binary(struct text *t, const struct packet *p) {
    text_le(t, BINARY_MAGIC, 1);
    text_le(t, packet_names[p->type].binary, 1);
    text_le(t, p->seq, 2);
    text_le(t, p->player_id, 4);
    text_add(t, span_of((const char *)p->token, BINARY_TOKEN_BYTES));
    if (p->type == PACKET_JOIN) {
        text_le(t, p->code.bytes, 1);
        text_add(t, p->code);
    } else if (p->type == PACKET_STATE) {
        struct stance at = stance_of(&p->pose);
        char entry[BINARY_ENTRY_BYTES];
        struct text e = text_on(entry, sizeof entry);
        binary_put_entry(&e, 0, &at, 0);
        FUZZ_CHECK(!e.cut && e.bytes == BINARY_ENTRY_BYTES);
        text_add(t, span_of(entry, BINARY_STATE_BYTES)); /* id 0 stands for client_ms, age is cut */
    } else if (p->type == PACKET_PING) {
        text_le(t, p->t_ms, 4);
        text_add(t, span_of((const char *)p->cookie, COOKIE_BYTES));
    }
}

static void check_read_again(const struct packet *p, size_t bytes) {
    struct text t = exact_text(8 * bytes + 512);
    struct packet again;
    if (p->binary) {
        client_put_binary(&t, p);
        FUZZ_CHECK(t.bytes == bytes);
    } else {
        client_put_json(&t, p);
    }
    u8 *copy = exact_copy(t.at, t.bytes);
    FUZZ_CHECK(!t.cut && packet_read(copy, t.bytes, &again));
    check_equal_packets(p, &again);
    free(copy);
    free(t.at);
}

static void check_said(struct text *t) {
    struct json_fault fault;
    FUZZ_CHECK(!t->cut && json_check(t->at, t->bytes, &fault));
    t->bytes = 0;
}

/* Everything that the server says of a player, as JSON. */
static void check_said_json(const struct packet *p, const struct stance *at, struct span name) {
    char text[4096];
    struct text t = text_on(text, sizeof text);
    packet_put_pose(&t, "position_update", p->player_id, at);
    check_said(&t);
    packet_put_welcome(&t, p->player_id, p->seq, p->cookie);
    check_said(&t);
    packet_put_joined(&t, p->player_id, name);
    check_said(&t);
    packet_put_left(&t, p->player_id);
    check_said(&t);
    packet_put_weapon(&t, p->player_id, p->weapon.bytes ? p->weapon : SPAN("null"));
    check_said(&t);
    packet_put_dummy(&t, at);
    check_said(&t);
    packet_put_pong(&t, p->echo.bytes ? p->echo : SPAN("0"), (i64)p->t_ms);
    check_said(&t);
    packet_put_error(&t, "lobby_full");
    check_said(&t);
    TEXT_LITERAL(&t, sync_head);
    size_t head = t.bytes;
    packet_put_member(&t, p->player_id, name, at, p->weapon);
    memmove(text + head, text + head + 1, t.bytes - head - 1); /* the first has no comma */
    t.bytes--;
    packet_put_member(&t, p->player_id, name, at, p->weapon);
    packet_put_sync_tail(&t, p->t_ms, 1, 1);
    check_said(&t);
}

/* A snapshot's entry reads back as the floats, the angle within a unit of int16. */
static void check_said_binary(const struct packet *p, const struct stance *at) {
    char bytes[64];
    struct text t = text_on(bytes, sizeof bytes);
    struct pose back;
    binary_put_head(&t, BINARY_CORRECTION, p->seq, p->t_ms);
    binary_put_entry(&t, p->player_id, at, p->t_ms);
    FUZZ_CHECK(!t.cut && t.bytes == 8 + BINARY_ENTRY_BYTES);
    FUZZ_CHECK(load_le((u8 *)bytes + 8, 4) == p->player_id);
    FUZZ_CHECK(packet_read_pose((u8 *)bytes + 8, &back) && back.flags == at->flags);
    for (u32 i = 0; i < 3; i++) {
        double rotation = (double)at->rotation[i];
        FUZZ_CHECK((float)back.position[i] == at->position[i]);
        FUZZ_CHECK(fabs(rotation) > 1e6 ||
                   angle_apart(rotation, back.rotation[i]) <= 2 * REAL_PI / ANGLE_UNITS);
    }
    t.bytes = 0;
    binary_put_head(&t, BINARY_WELCOME, p->seq, p->t_ms);
    binary_put_welcome(&t, p->player_id, p->seq, p->cookie);
    FUZZ_CHECK(t.bytes == 21);
}

static void check_mathematics(const struct pose *pose) {
    for (u32 i = 0; i < 3; i++) {
        double size = fabs(pose->position[i]), root = real_sqrt(size), angle = pose->rotation[i];
        FUZZ_CHECK(fabs(root - sqrt(size)) <= 1e-15 * root || size <= 1e-300);
        if (fabs(angle) < 1000) {
            FUZZ_CHECK(fabs(real_sin(angle) - sin(angle)) < 1e-10);
            FUZZ_CHECK(fabs(real_cos(angle) - cos(angle)) < 1e-10);
        }
    }
}

/* Without its last byte it is no packet: nothing may stand behind one either. */
static void check_cut(const struct input *in) {
    struct packet p;
    size_t bytes = in->bytes - 1;
    u8 *copy = exact_copy(in->at, bytes);
    FUZZ_CHECK(json_is_space(in->at[bytes]) || bytes == 0 || !packet_read(copy, bytes, &p));
    free(copy);
}

static void check_packet(const struct input *in, u8 *bytes, size_t count) {
    struct packet p;
    char fallback[] = "somebody \"else\"\n";
    if (!packet_read(bytes, count, &p)) {
        return;
    }
    struct span name = p.code.bytes && utf8_valid(p.code) ? utf8_cut(p.code, 32) : span_z(fallback);
    struct stance at = stance_of(&p.pose);
    check_cut(in);
    check_read_again(&p, count);
    check_said_json(&p, &at, name);
    check_said_binary(&p, &at);
    check_mathematics(&p.pose);
    if (input_pick(in, 11, 2)) { /* as a binary client has it */
        at.text_bytes[0] = at.text_bytes[1] = 0;
        check_said_json(&p, &at, name);
    }
}

static mps_address stun_source(const struct input *in) {
    mps_address a = {{0}, (u16)in->hash, 0};
    memcpy(a.ip, &in->hash, 8);
    memcpy(a.ip + 8, &in->hash, 8);
    if (in->hash & 1) {
        memcpy(a.ip, address_v4_prefix, sizeof address_v4_prefix);
    }
    return a;
}

/* The address, unmasked as a client does it (RFC 8489, 14.2). */
static void check_mapped(const u8 *answer, const u8 *id, const mps_address *from) {
    u32 bytes = address_is_v4(from) ? 4 : 16;
    const u8 *value = answer + STUN_HEAD_BYTES + STUN_ATTRIBUTE_HEAD;
    u8 mask[16];
    store_be32(mask, STUN_COOKIE);
    memcpy(mask + 4, id, STUN_ID_BYTES);
    FUZZ_CHECK(value[1] == (bytes == 4 ? 1 : 2));
    FUZZ_CHECK((load_be16(value + 2) ^ STUN_COOKIE >> 16) == from->port);
    for (u32 i = 0; i < bytes; i++) {
        FUZZ_CHECK((value[4 + i] ^ mask[i]) == from->ip[16 - bytes + i]);
    }
}

static void check_stun(const struct input *in, u8 *bytes, size_t count) {
    struct stun_message m, answer;
    char out[STUN_ANSWER_BYTES_MAX];
    struct text t = text_on(out, sizeof out);
    mps_address from = stun_source(in);
    if (!stun_read(bytes, count, &m)) {
        return;
    }
    FUZZ_CHECK(stun_looks_like(bytes, count) && count % 4 == 0);
    FUZZ_CHECK(m.unknown_count <= STUN_UNKNOWN_MAX);
    stun_put_success(&t, m.id, &from);
    FUZZ_CHECK(!t.cut && stun_read((u8 *)out, t.bytes, &answer));
    FUZZ_CHECK(answer.type == STUN_BINDING_SUCCESS && !memcmp(answer.id, m.id, STUN_ID_BYTES));
    check_mapped((u8 *)out, m.id, &from);
    size_t bit = 8 * 8 + input_pick(in, 12, 8 * 12); /* of the id: the FINGERPRINT covers it */
    out[bit / 8] = (char)(out[bit / 8] ^ 1 << bit % 8);
    FUZZ_CHECK(!stun_read((u8 *)out, t.bytes, &answer));
    if (m.unknown_count) {
        t.bytes = 0;
        stun_put_unknown(&t, &m);
        FUZZ_CHECK(!t.cut && stun_read((u8 *)out, t.bytes, &answer));
        FUZZ_CHECK(answer.type == STUN_BINDING_ERROR && t.bytes <= count + 28);
    }
}

static void fuzz_datagrams(const struct input *in) {
    u8 *bytes = exact_copy(in->at, in->bytes);
    if (in->bytes == 0 || in->bytes > DATAGRAM_BYTES_MAX) {
        /* As the server does: neither is read. */
    } else if (stun_looks_like(bytes, in->bytes)) {
        check_stun(in, bytes, in->bytes);
    } else if (bytes[0] == '{' || bytes[0] == BINARY_MAGIC) {
        check_packet(in, bytes, in->bytes);
    }
    free(bytes);
}

/* == hear ========================================================================================
   What a client makes of the bytes that its connection brings: responses, one for each request and
   in order, then, after an upgrade, frames. Whatever is not legal ends the run. */

enum ask_kind {
    ASK_HEALTH,
    ASK_READY,
    ASK_STATUS,
    ASK_LOBBIES,
    ASK_LOBBY_MAKE,
    ASK_LOBBY_GET,
    ASK_LOBBY_JOIN,
    ASK_LOBBY_LEAVE,
    ASK_LOBBY_DELETE,
    ASK_GUEST,
    ASK_ROOMS,
    ASK_ROOM_MAKE,
    ASK_ROOM_GET,
    ASK_ROOM_DELETE,
    ASK_PRESENCE,
    ASK_OPTIONS,
    ASK_NOWHERE,
    ASK_WRONG_METHOD,
    ASK_TOO_LONG,
    ASK_BAD,
    ASK_UPGRADE,
    ASK_ANNOUNCE,
    ASK_KINDS
};

/* What may be answered, beside 429 and 503. */
static const u32 ask_statuses[ASK_KINDS][6] = {
    [ASK_HEALTH] = {200},
    [ASK_READY] = {200},
    [ASK_STATUS] = {200, 403},
    [ASK_LOBBIES] = {200},
    [ASK_LOBBY_MAKE] = {200, 403, 409},
    [ASK_LOBBY_GET] = {200, 404},
    [ASK_LOBBY_JOIN] = {200, 403, 404, 409},
    [ASK_LOBBY_LEAVE] = {200, 403, 404},
    [ASK_LOBBY_DELETE] = {200, 403, 404, 409},
    [ASK_GUEST] = {201, 403},
    [ASK_ROOMS] = {200},
    [ASK_ROOM_MAKE] = {201, 400, 403, 409},
    [ASK_ROOM_GET] = {200, 404},
    [ASK_ROOM_DELETE] = {200, 403, 404},
    [ASK_PRESENCE] = {200},
    [ASK_OPTIONS] = {204},
    [ASK_NOWHERE] = {404},
    [ASK_WRONG_METHOD] = {405},
    [ASK_TOO_LONG] = {413},
    [ASK_BAD] = {400, 414, 431, 501, 505},
    [ASK_UPGRADE] = {101},
    [ASK_ANNOUNCE] = {202},
};

static bool ask_may_have(const struct ask *a, u32 status) {
    for (u32 i = 0; i < 6; i++) {
        if (ask_statuses[a->kind][i] == status) {
            return true;
        }
    }
    return status == 429 || status == 503;
}

/* -- responses -- */

static void udp_joined(const struct line *l, const struct ask *a, const char *body);

/* {"code":..,"player_count":N,"max_players":M,"players":[..]}: it must agree with itself. */
static void hear_lobby(const char *body) {
    i64 count = -1, most = -1;
    HOLDS(wire_number(body, "player_count", &count) && wire_number(body, "max_players", &most),
          "a lobby without numbers: %.80s", body);
    HOLDS(count <= most, "%lld players in a lobby for %lld", (long long)count, (long long)most);
    HOLDS(wire_count(body, "{\"id\":") == count, "player_count is %lld: %s", (long long)count,
          body);
}

static void hear_body(struct line *l, const struct ask *a, const struct response *r) {
    char id[40];
    i64 now, most;
    if (!r->body_bytes) {
        return;
    }
    HOLDS(wire_json_valid(r->body, r->body_bytes), "no JSON: %s", r->body);
    HOLDS(wire_utf8((const u8 *)r->body, r->body_bytes), "no UTF-8: %s", r->body);
    if (r->status >= 400) {
        HOLDS(!strncmp(r->body, "{\"status\":\"error\",\"error\":\"", 27), "no error body: %s",
              r->body);
        HOLDS(!strstr(r->body, "\"refused_by_game\"") || w.vetoes, "the game has not refused");
        HOLDS(!strstr(r->body, "\"draining\"") || w.draining, "it is not draining");
    } else if (a->kind == ASK_LOBBY_JOIN) {
        hear_lobby(r->body);
        udp_joined(l, a, r->body);
    } else if (a->kind == ASK_LOBBY_MAKE || a->kind == ASK_LOBBY_GET) {
        hear_lobby(r->body);
    } else if (a->kind == ASK_ROOM_MAKE && wire_text(r->body, "id", id, sizeof id)) {
        model_room(id);
    } else if (a->kind == ASK_ROOM_GET) {
        HOLDS(wire_number(r->body, "current_players", &now) &&
                  wire_number(r->body, "max_players", &most) && now <= most,
              "a room is over its limit: %s", r->body);
    }
}

/* The server gives up on a request that is not there, or on the connection: said once, and last. */
static void hear_unasked(struct line *l, const struct response *r) {
    const struct ask *a = l->asks_count ? &l->asks[l->asks_first] : NULL;
    bool whole = a && a->end <= l->delivered;
    bool at_the_door = !l->responses && (r->status == 503 || r->status == 429);
    HOLDS(r->close || l->stray, "an answer to nobody leaves the connection open: %u", r->status);
    HOLDS(at_the_door || l->slow || l->stray || (l->trickles && r->status == 408) || !whole ||
              a->kind == ASK_BAD || a->kind == ASK_TOO_LONG,
          "request %u was answered under another id: %u %s, %llu of %llu bytes", a ? a->serial : 0,
          r->status, r->body ? r->body : "", (unsigned long long)l->delivered,
          (unsigned long long)(a ? a->end : 0));
    HOLDS(r->status >= 400, "status %u to nobody", r->status);
}

static void hear_upgraded(struct line *l, const struct ask *a) {
    l->upgraded = true;
    l->room = NO_ROOM;
    l->user = a->user % USERS_MAX;
    l->signed_in = a->user < USERS_MAX;
    model_signed_in(l);
    model_mark(l);
}

/* One response; gives its bytes, 0 while it is not whole. */
static size_t hear_response(struct line *l) {
    struct ask *a = l->asks_count ? &l->asks[l->asks_first] : NULL;
    char id[24];
    snprintf(id, sizeof id, "q%u", a ? a->serial : 0);
    struct response r = response_read(l->in, l->in_count, a && a->head_only ? id : NULL);
    if (!r.bytes) {
        return 0;
    }
    if (r.status == 100) {
        free(r.body);
        return r.bytes;
    }
    if (a && !strcmp(r.id, id)) {
        HOLDS(a->end <= l->delivered || r.close, "request %u was answered before it was sent",
              a->serial);
        HOLDS(ask_may_have(a, r.status) || (r.close && r.status >= 400 && a->end > l->delivered) ||
                  l->stray,
              "request %u (kind %u) was answered with %u %s", a->serial, a->kind, r.status,
              r.body ? r.body : "");
        hear_body(l, a, &r);
        if (r.status == 101) {
            HOLDS(a->upgrade, "upgraded without asking");
            hear_upgraded(l, a);
        }
        l->asks_first = (l->asks_first + 1) % ASKS_MAX;
        l->asks_count--;
    } else {
        hear_unasked(l, &r);
    }
    l->responses++;
    l->refused |= r.close;
    free(r.body);
    return r.bytes;
}

/* -- frames -- */

static void hear_text(struct line *l, char *text) {
    char type[24], word[24];
    i64 from = 0, number = 0;
    HOLDS(wire_text(text, "type", type, sizeof type), "a message without type: %s", text);
    if (!strcmp(type, "error")) {
        model_error(l, text);
    } else if (!strcmp(type, "handshake_accepted")) {
        const struct said *m = model_head(l, type);
        HOLDS(m->kind == SAID_HANDSHAKE, "a handshake is accepted that was not made");
        l->shook = true;
        l->got |= GOT_SHOOK;
        if (m->token && !l->signed_in) {
            l->signed_in = true;
            model_signed_in(l);
        }
    } else if (!strcmp(type, "pong")) {
        HOLDS(model_head(l, type)->kind == SAID_PING, "a pong without a ping");
        l->got |= GOT_PONG;
    } else if (!strcmp(type, "room_created")) {
        model_room_created(l, text);
    } else if (!strcmp(type, "room_joined")) {
        model_room_joined(l, text);
    } else if (!strcmp(type, "peer_joined") && wire_number(text, "peerId", &from)) {
        model_peer_joined(l, (u32)from);
    } else if (!strcmp(type, "peer_left") && wire_number(text, "peerId", &from)) {
        model_peer_left(l, (u32)from);
    } else if (!strcmp(type, "host_changed") && wire_number(text, "newHostPeerId", &from)) {
        model_host_changed(l, (u32)from);
    } else if (!strcmp(type, "kicked")) {
        model_kicked(l, text);
    } else if (!strcmp(type, "chat") && wire_number(text, "from", &from) &&
               wire_text(text, "text", word, 0) == false) {
        const char *said = wire_find(text, "text");
        HOLDS(said && sscanf(said, "\"%lld", (long long *)&number) == 1, "a chat of another: %s",
              text);
        const struct said *m = (u32)number < w.said.count ? said_at((u32)number) : NULL;
        size_t letters = strcspn(said + 1, "\"");
        HOLDS(m && letters == (m->longs < 500 ? m->longs : 500), "a chat of %zu letters", letters);
        model_heard(l, (u32)from, (u32)number);
    } else if (!strcmp(type, "rpc_call") && wire_number(text, "fromPeer", &from) &&
               wire_number(text, "args", &number)) {
        model_heard(l, (u32)from, (u32)number);
    } else if (!strcmp(type, "player_state") && wire_number(text, "peerId", &from) &&
               wire_number(text, "position", &number)) {
        model_state(l, (u32)from, SAID_STATE, (u32)number);
    } else if (!strcmp(type, "player_snapshot") && wire_number(text, "from", &from) &&
               wire_number(text, "payload", &number)) {
        model_state(l, (u32)from, SAID_SNAPSHOT, (u32)number);
    } else if (!strcmp(type, "told") && wire_number(text, "n", &number)) {
        HOLDS((u32)number > l->max_told, "the game's word %lld came after %u", (long long)number,
              l->max_told);
        l->max_told = (u32)number;
    } else {
        bool heard = !strcmp(type, "user_online") || !strcmp(type, "user_offline");
        bool all = !strcmp(type, "rooms_changed") || !strcmp(type, "notification");
        HOLDS(heard || all, "an unknown message: %s", text);
        HOLDS(l->shook, "%s before a handshake", type);
        HOLDS(all || l->signed_in || w.config.presence_public, "%s to who is not signed in", type);
    }
}

/* What may have led to a close, by its code (RFC 6455, 7.4.1, and the contract). */
static void hear_close(struct line *l, const struct frame *f) {
    u32 code = f->payload_bytes >= 2 ? (u32)((u8)f->payload[0] << 8 | (u8)f->payload[1]) : 1005;
    u64 silent = w.now - l->heard_at;
    bool tight = !w.roomy || l->slow;
    HOLDS(f->payload_bytes != 1, "a close of one byte");
    HOLDS(f->payload_bytes < 2 || wire_utf8((const u8 *)f->payload + 2, f->payload_bytes - 2),
          "a close reason that is no UTF-8");
    l->close_code = code;
    switch (code) {
    case 1001:
        HOLDS(w.draining || silent >= w.config.silence_timeout_ms * 1000ull || l->slow,
              "1001 after %llu us of silence", (unsigned long long)silent);
        break;
    case 1013:
        HOLDS(tight, "1013 to who reads, and memory is not short");
        HOLDS(strcmp(l->last_reason, "message_timeout") != 0, "1013 for a message without end");
        break;
    case 4001:
        break;
    case 1002:
    case 1003:
    case 1007:
    case 1009:
        HOLDS(l->stray, "%u to who did nothing wrong", code);
        break;
    case 1008:
        HOLDS(!strcmp(l->last_reason, "rate_limited") || !strcmp(l->last_reason, "message_timeout"),
              "1008 behind the error `%s`", l->last_reason);
        break;
    default:
        HOLDS(l->said_close && (code == 1000 || code == 1005), "close code %u", code);
    }
}

/* One frame; gives its bytes, 0 while it is not whole. */
static size_t hear_frame(struct line *l) {
    struct frame f = frame_read(l->in, l->in_count);
    if (!f.bytes) {
        return 0;
    }
    HOLDS(!l->close_code, "a frame behind the close frame");
    if (f.opcode == FRAME_TEXT) {
        HOLDS(wire_utf8((const u8 *)f.payload, f.payload_bytes), "a text that is no UTF-8");
        HOLDS(wire_json_valid(f.payload, f.payload_bytes), "no JSON: %.*s", (int)f.payload_bytes,
              f.payload);
        char *text = malloc(f.payload_bytes + 1);
        memcpy(text, f.payload, f.payload_bytes);
        text[f.payload_bytes] = 0;
        hear_text(l, text);
        free(text);
    } else if (f.opcode == FRAME_PONG) {
        u32 number = 0;
        HOLDS(f.payload_bytes == 4, "a pong of %zu bytes", f.payload_bytes);
        memcpy(&number, f.payload, 4);
        model_pong(l, number);
    } else if (f.opcode == FRAME_PING) {
        u64 silent = w.now - l->heard_at;
        HOLDS(silent >= w.config.ping_after_ms * 1000ull || l->slow,
              "pinged after %llu us of silence", (unsigned long long)silent);
        HOLDS(l->pinged_at <= l->heard_at || l->slow, "pinged twice");
        l->pinged_at = w.now;
        l->pings_owed++;
    } else {
        hear_close(l, &f);
    }
    return f.bytes;
}

/* More bytes for this client. */
static void hear(struct line *l, const void *bytes, size_t count) {
    if (l->in_count + count + 1 > l->in_capacity) {
        l->in_capacity = 2 * (l->in_count + count + 1);
        l->in = realloc(l->in, l->in_capacity);
        HOLDS(l->in, "the simulator is out of memory");
    }
    memcpy(l->in + l->in_count, bytes, count);
    l->in_count += count;
    l->in[l->in_count] = 0;
    world_hash(bytes, count);
    world_show("hears", (u32)(l - lines), bytes, count);
    for (size_t used = 1; used && l->in_count;) {
        HOLDS(!l->refused, "bytes behind the last response: %.300s", l->in);
        used = l->upgraded ? hear_frame(l) : hear_response(l);
        memmove(l->in, l->in + used, l->in_count - used);
        l->in_count -= used;
        l->in[l->in_count] = 0;
    }
}

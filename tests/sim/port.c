/* == port ========================================================================================
   The virtual network between clients and server: it makes the calls that a platform makes, as
   mpserver.h tells, and does to the bytes what networks do. Clients hear what the server sends at
   once when the port takes it; a reader that stalls is one from which nothing is taken. */

#define SLOTS_MAX 128
#define STATES_BACK 60 /* messages back from the latest that are looked through each time */
static u32 line_of_slot[SLOTS_MAX]; /* line + 1 */
static bool line_named[LINES_MAX];  /* the server says that there is something to do */

static bool fault(u32 rate) {
    return !w.calm && rate && dice_hits(&w.net, rate);
}

static void line_write(struct line *l, const void *bytes, size_t count) {
    if (l->out_count + count > l->out_capacity) {
        l->out_capacity = 2 * (l->out_count + count);
        l->out = realloc(l->out, l->out_capacity);
        HOLDS(l->out, "the simulator is out of memory");
    }
    memcpy(l->out + l->out_count, bytes, count);
    l->out_count += count;
    l->written += count;
}

static void line_free(struct line *l) {
    free(l->out);
    free(l->in);
    *l = (struct line){0};
}

/* A free place for a connection; NULL: there are enough. */
static struct line *line_open(u32 owner, const mps_address *peer) {
    mps_address local = world_address(9, 8080);
    for (u32 i = 0; i < LINES_MAX; i++) {
        struct line *l = &lines[i];
        if (l->open) {
            continue;
        }
        mps_conn conn = mps_tcp_open(w.server, w.now, peer, &local);
        if (!conn.id) {
            HOLDS(!w.roomy || w.draining || w.config.connections_per_s < 1000,
                  "not even a refusal, with %u connections open", w.server->conns.live);
            return NULL;
        }
        line_free(l);
        u32 slot = (u32)conn.id - 1;
        HOLDS(slot < mps_connections_max(&w.config) && slot < SLOTS_MAX && !line_of_slot[slot],
              "a connection in the place of another");
        line_of_slot[slot] = i + 1;
        l->open = true;
        l->conn = conn;
        l->from = *peer;
        l->owner = owner;
        l->room = NO_ROOM;
        l->take_most = l->sent_most = SIZE_MAX;
        l->opened_at = l->heard_at = l->read_at = w.now;
        return l;
    }
    return NULL;
}

/* The socket is gone; the handle must mean nothing from here on. */
static void line_close(struct line *l) {
    mps_tcp_closed(w.server, l->conn, w.now);
    HOLDS(mps_tcp_room(w.server, l->conn) == 0 &&
              mps_tcp_fate(w.server, l->conn) == MPS_FATE_ABORT &&
              mps_tcp_input(w.server, l->conn, w.now, l, 0) == MPS_E_HANDLE,
          "the handle of a closed connection still means something");
    line_of_slot[(u32)l->conn.id - 1] = 0;
    model_line_over(l);
    l->open = false;
}

/* Nobody but the server itself, or a client that broke the rules, ends a connection in this way. */
static void line_aborted(struct line *l) {
    bool excused = l->slow || l->stray || l->over || l->said_eof || w.draining;
    HOLDS(excused || !w.roomy || l->refused, "a connection was aborted without a reason");
    line_close(l);
}

/* -- towards the server -- */

/* As the cuts have it: what has arrived may be read in any number of pieces, as far as there is
   room. Each is handed over in memory of its own, so that a sanitizer sees who reads beyond it. */
static size_t line_read(struct line *l) {
    size_t done = 0;
    bool whole = !dice_hits(&w.cuts, w.calm ? 0 : w.faults.cut);
    u32 most = dice_from(&w.cuts, 1, 40);
    while (done < l->arrived && l->open) {
        size_t room = mps_tcp_room(w.server, l->conn);
        size_t count = l->arrived - done < room ? l->arrived - done : room;
        count = !whole && count > most ? dice_from(&w.cuts, 1, most) : count;
        if (!count) {
            break;
        }
        char *piece = malloc(count);
        memcpy(piece, l->out + done, count);
        l->heard_at = w.now;
        l->delivered += count;
        mps_error error = mps_tcp_input(w.server, l->conn, w.now, piece, count);
        free(piece);
        HOLDS(error == MPS_OK, "input of %zu bytes in room for %zu: %s", count, room,
              mps_error_code(error));
        done += count;
    }
    if (done) {
        memmove(l->out, l->out + done, l->out_count - done);
        l->out_count -= done;
        l->arrived -= done;
    }
    return done;
}

static void line_deliver(struct line *l) {
    if (fault(w.faults.slow_sender)) {
        l->slow_until = w.now + dice_from(&w.net, 1, 4000) * 1000ull;
    }
    if (w.calm || w.now >= l->slow_until) {
        l->arrived = l->out_count;
    } else if (l->arrived + 1 < l->out_count && dice_hits(&w.net, 200)) {
        l->arrived++;
    }
    line_read(l);
    l->trickles |= l->out_count > 0;
    if (l->wants_eof && !l->out_count && !l->said_eof) {
        l->said_eof = true;
        mps_tcp_eof(w.server, l->conn, w.now);
    }
}

/* -- from the server -- */

/* What the network does to this reader, drawn once a round: in how many goes the server comes to
   rest must not change what is drawn. */
static void line_draw(struct line *l) {
    l->take_most = fault(w.faults.crumbs) ? dice_from(&w.net, 1, 100) : SIZE_MAX;
    l->sent_most = fault(w.faults.late_sent) ? dice_below(&w.net, 200) : SIZE_MAX;
    l->take_most = w.now < l->stalled_until && !w.calm ? 0 : l->take_most;
    if (fault(w.faults.stall)) {
        l->stalled_until = w.now + dice_from(&w.net, 1, 6000) * 1000ull;
        l->take_most = dice_below(&w.net, 400); /* mostly it stops within a message */
    }
}

/* Memory that was taken is needed until it is sent, which may be later. */
static void line_sent(struct line *l) {
    size_t count = l->unsent < l->sent_most ? l->unsent : l->sent_most;
    if (count) {
        mps_tcp_sent(w.server, l->conn, w.now, count);
        l->unsent -= count;
        l->sent_most -= count;
        l->read_at = w.now;
    }
    l->slow |= l->unsent > 0;
}

static void line_take(struct line *l) {
    mps_span spans[8];
    size_t count = mps_tcp_output(w.server, l->conn, spans, COUNT_OF(spans)), taken = 0;
    for (size_t i = 0; i < count; i++) {
        size_t left = l->take_most - taken;
        size_t part = spans[i].count < left ? spans[i].count : left;
        l->slow |= part < spans[i].count; /* before it hears what it was too slow for */
        hear(l, spans[i].bytes, part);
        taken += part;
    }
    l->pressed |= count == COUNT_OF(spans) || taken * 8 > w.config.output_bytes_max || !w.roomy;
    l->take_most -= taken;
    mps_tcp_taken(w.server, l->conn, taken);
    l->unsent += taken;
}

/* All is said, and the client has it: whole responses, whole frames, and to each request one. */
static void line_ended(struct line *l) {
    const struct ask *a = l->asks_count ? &l->asks[l->asks_first] : NULL;
    HOLDS(!l->in_count, "the last bytes are no whole message: %.60s", l->in);
    HOLDS(l->upgraded || l->refused || l->stray || w.draining || !a || a->end > l->delivered,
          "request %u has no answer, and the connection ends", a ? a->serial : 0);
    HOLDS(!l->upgraded || l->close_code || !w.roomy || l->said_eof,
          "a socket ends without a close frame");
    model_line_over(l);
    l->ended_at = w.now;
    l->closes_at = w.now + dice_below(&w.net, 2 * w.config.linger_ms) * 1000ull;
}

/* From here on the server does not listen to it; what it hears may be older than that. */
static void line_note_fate(struct line *l) {
    if (!l->finished_at && mps_tcp_fate(w.server, l->conn) != MPS_FATE_OPEN) {
        l->finished_at = w.now;
    }
}

static void line_drain(struct line *l) {
    mps_span span;
    line_note_fate(l);
    line_take(l);
    if (l->unsent) {
        line_sent(l);
    }
    mps_fate fate = mps_tcp_fate(w.server, l->conn);
    if (fate == MPS_FATE_ABORT) {
        line_aborted(l);
        return;
    }
    line_note_fate(l);
    bool left = mps_tcp_output(w.server, l->conn, &span, 1) || l->unsent;
    line_named[l - lines] = left;
    if (fate == MPS_FATE_FINISH && !left && !l->over) {
        line_ended(l);
    }
}

/* Does it still have to be looked at, without being named? */
static void port_drain(void) {
    mps_conn conn;
    while (mps_next_output(w.server, &conn)) {
        u32 slot = (u32)conn.id - 1;
        HOLDS(slot < SLOTS_MAX && line_of_slot[slot] &&
                  lines[line_of_slot[slot] - 1].conn.id == conn.id,
              "a connection is named that is not open");
        line_named[line_of_slot[slot] - 1] = true;
    }
    for (u32 i = 0; i < LINES_MAX; i++) {
        if (lines[i].open && line_named[i]) {
            line_named[i] = false;
            line_drain(&lines[i]);
        }
    }
}

/* The client's side of an end. */
static void line_client_end(struct line *l) {
    if (l->over && w.now >= l->closes_at && l->finished_at) {
        mps_tcp_eof(w.server, l->conn, w.now);
        line_close(l);
    } else if (l->wants_reset || fault(w.faults.reset)) {
        line_close(l);
    } else if (!l->said_eof && fault(w.faults.half_close)) {
        l->wants_eof = true;
    }
}

static void port_deliver(void) {
    for (u32 i = 0, first = dice_below(&w.net, LINES_MAX); i < LINES_MAX; i++) {
        struct line *l = &lines[(first + i) % LINES_MAX];
        w.now += w.cuttable; /* of timers due at the same time any may ring first */
        if (l->open) {
            line_client_end(l);
        }
        if (l->open) {
            line_draw(l);
            line_deliver(l);
        }
    }
}

/* What had no room and has some by now: a port reads on as soon as there is. */
static bool port_read_on(void) {
    bool read = false;
    for (u32 i = 0; i < LINES_MAX; i++) {
        read |= lines[i].open && lines[i].arrived && line_read(&lines[i]);
    }
    return read;
}

/* -- what must be so when nothing is due -- */

/* When nothing of a socket has come for so long, it was pinged; then, closed. */
static void check_silence(const struct line *l) {
    u64 since = l->heard_at, ping = w.config.ping_after_ms * 1000ull;
    if (l->finished_at || l->slow || l->written != l->delivered || l->pings_owed > 1) {
        return;
    }
    HOLDS(w.now - since <= ping || l->pinged_at >= since, "no ping after %llu us of silence",
          (unsigned long long)(w.now - since));
    HOLDS(w.now - since <= w.config.silence_timeout_ms * 1000ull,
          "still open after %llu us of silence", (unsigned long long)(w.now - since));
}

/* The longest that a connection may be kept which does nothing at all. */
static void check_idle(const struct line *l) {
    const mps_config *c = &w.config;
    u64 most = c->idle_timeout_ms + c->head_timeout_ms + c->body_timeout_ms + c->buffer_wait_ms +
               c->linger_ms;
    u64 last = l->heard_at > l->read_at ? l->heard_at : l->read_at;
    HOLDS(l->unsent || line_named[l - lines] || w.now - last <= most * 1000ull,
          "a connection is kept after %llu us of nothing", (unsigned long long)(w.now - last));
}

static void check_lines(void) {
    mps_span span;
    for (u32 i = 0; i < LINES_MAX; i++) {
        struct line *l = &lines[i];
        if (!l->open) {
            continue;
        }
        mps_fate fate = mps_tcp_fate(w.server, l->conn);
        HOLDS(fate != MPS_FATE_ABORT || line_named[i], "a connection is dead and nobody is told");
        HOLDS(line_named[i] || !mps_tcp_output(w.server, l->conn, &span, 1),
              "there is output and nobody is told");
        line_note_fate(l);
        if (l->finished_at && l->upgraded && l->room != NO_ROOM) {
            struct stay *s = stay_at(l->stay);
            s->lost_at = s->lost_at ? s->lost_at : l->finished_at;
        }
        HOLDS(!l->over || w.now <= l->ended_at + w.config.linger_ms * 1000ull || line_named[i],
              "a connection lingers");
        if (l->upgraded) {
            check_silence(l);
        } else if (!l->over) {
            check_idle(l);
        }
    }
}

/* Whoever has read all there was has the newest state of everybody. */
static void check_states(void) {
    for (u32 i = w.tick % 4; i < LINES_MAX; i += 4) {
        const struct line *l = &lines[i];
        if (l->open && l->upgraded && l->room != NO_ROOM && !l->finished_at && !line_named[i] &&
            !l->unsent) {
            verdict_states(stay_at(l->stay), STATES_BACK);
        }
    }
}

/* No table beyond its limit, now or ever. */
static void check_tables(void) {
    for (u32 i = 0; i < TABLE_ROWS; i++) {
        u32 used = server_u32(w.server, tables[i].at[TABLE_USED]);
        u32 high = server_u32(w.server, tables[i].at[TABLE_HIGH]);
        HOLDS(used <= high && high <= server_u32(w.server, tables[i].at[TABLE_LIMIT]),
              "table %s: %u used, high water %u", tables[i].name, used, high);
    }
}

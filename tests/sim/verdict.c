/* == verdict =====================================================================================
   Who must have heard what, of all that was said: each message against each member's stay, the
   newest states, and whether all agree on who is there. Judged when a run has come to its end;
   states also while it goes on. */

static bool said_is_event(const struct said *m) {
    return m->kind == SAID_CHAT || m->kind == SAID_RPC;
}

/* Was it for this member? 2: surely, 1: perhaps, 0: no. */
static u32 said_for(const struct said *m, const struct stay *s) {
    if (m->room == NO_ROOM && m->fared == FARED_UNKNOWN) {
        return 1;
    }
    if (m->room != s->room || m->fared == FARED_REFUSED) {
        return 0;
    }
    if (m->kind == SAID_RPC && m->target) {
        bool there = m->target == m->peer || view_has(&m->certain, m->target);
        return m->target != s->peer ? 0 : there && m->fared == FARED_WELL ? 2 : 1;
    }
    if (m->peer == s->peer) {
        return 0;
    }
    return view_has(&m->certain, s->peer)    ? (m->fared == FARED_WELL ? 2 : 1)
           : view_has(&m->possible, s->peer) ? 1
                                             : 0;
}

/* One member's stay against all that one sender said: a run without gap or repetition, from the
   join on unless the seat was taken back, to the end unless the stream was cut. */
static void verdict_pair(const struct stay *s, u32 from) {
    const struct heard *heard = s->heard.items;
    u32 at = 0;
    bool begun = false, missed = false;
    u32 missing = 0;
    for (u32 number = 0; number < w.said.count; number++) {
        const struct said *m = said_at(number);
        if (!said_is_event(m) || (m->room != NO_ROOM && m->peer != from)) {
            continue;
        }
        while (at < s->heard.count && heard[at].from != from) {
            at++;
        }
        u32 due = said_for(m, s);
        if (at < s->heard.count && heard[at].number == number) {
            HOLDS(due, "peer %u heard message %u of peer %u, which was not for it", s->peer, number,
                  from);
            HOLDS(!missed, "peer %u heard message %u of peer %u, but not %u before it", s->peer,
                  number, from, missing);
            at++;
            begun = true;
        } else if (due == 2) {
            missed = begun || s->fresh;
            missing = missed ? number : missing;
            HOLDS(!missed || !(s->clean || !s->over), "peer %u did not hear message %u of peer %u",
                  s->peer, number, from);
        }
    }
    while (at < s->heard.count && heard[at].from != from) {
        at++;
    }
    HOLDS(at == s->heard.count, "peer %u heard message %u of peer %u twice or out of order",
          s->peer, at < s->heard.count ? heard[at].number : 0, from);
}

/* Everybody who ever spoke to this room, against each who was in it. */
static void verdict_messages(void) {
    for (u32 i = 0; i < w.stays.count; i++) {
        const struct stay *s = stay_at(i);
        struct view senders = {0};
        for (u32 k = 0; k < w.stays.count; k++) {
            if (stay_at(k)->room == s->room) {
                if (!view_has(&senders, stay_at(k)->peer)) {
                    verdict_pair(s, stay_at(k)->peer);
                }
                view_add(&senders, stay_at(k)->peer);
            }
        }
    }
}

/* Who is still there has the newest state of all others who are. */
static void verdict_states(const struct stay *s, u32 back) {
    const struct heard *known = s->states.items;
    u32 senders[VIEW_MAX][2] = {{0}}, count = 0;
    for (u32 i = w.said.count; i > 0 && back > 0 && count < VIEW_MAX; i--, back--) {
        const struct said *m = said_at(i - 1);
        bool state = m->kind == SAID_STATE || m->kind == SAID_SNAPSHOT;
        if (!state || m->room != s->room || m->fared != FARED_WELL ||
            !view_has(&m->certain, s->peer) || m->at <= s->began ||
            !view_has(&lines[s->line].view, m->peer)) {
            continue;
        }
        u32 at = 0, k = 0;
        while (k < count && (senders[k][0] != m->peer || senders[k][1] != m->kind)) {
            k++;
        }
        if (k < count) {
            continue; /* there is a newer one */
        }
        senders[count][0] = m->peer;
        senders[count++][1] = m->kind;
        while (at < s->states.count && (known[at].from != m->peer || known[at].kind != m->kind)) {
            at++;
        }
        HOLDS(at < s->states.count && known[at].number >= i - 1,
              "peer %u never had %s %u of peer %u, the newest", s->peer, said_names[m->kind], i - 1,
              m->peer);
    }
}

/* All who are in one room know the same members and the same host. */
static void verdict_views(void) {
    for (u32 i = 0; i < LINES_MAX; i++) {
        const struct line *a = &lines[i];
        if (!a->open || a->over || !a->upgraded || a->room == NO_ROOM) {
            continue;
        }
        HOLDS(a->host && view_has(&a->view, a->host), "a room ends up without a host");
        verdict_states(stay_at(a->stay), UINT32_MAX);
        for (u32 k = i + 1; k < LINES_MAX; k++) {
            const struct line *b = &lines[k];
            if (b->open && !b->over && b->upgraded && b->room == a->room) {
                HOLDS(a->host == b->host, "peer %u thinks that %u is host, peer %u that %u is",
                      a->peer, a->host, b->peer, b->host);
                HOLDS(a->view.count == b->view.count &&
                          !memcmp(a->view.peers, b->view.peers,
                                  a->view.count * sizeof a->view.peers[0]),
                      "peers %u and %u know other members", a->peer, b->peer);
            }
        }
    }
}

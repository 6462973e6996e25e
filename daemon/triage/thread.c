/* Thread decisions: every candidate is scored, then the best is taken. What a score was made of is kept with the decision. */
#include "daemon/triage/thread.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/triage/subject.h"

static const struct {
    const char *name;
    int points;
} evidence[TE_COUNT] = {
    [TE_TOKEN_ADDRESS] = {"token-in-address", 100}, [TE_TOKEN_ID] = {"token-in-message-id", 95}, [TE_IN_REPLY_TO] = {"in-reply-to", 80},
    [TE_REFERENCES] = {"references", 70},           [TE_OWN_ID] = {"same-message-id", 80},       [TE_REFERENCE_NUMBER] = {"reference-number", 70},
};

struct score {
    const struct thread_candidate *c;
    const char *against; /* NULL: may be joined */
    bool stranger, too_low;
    int drift;           /* of the subject, percent; -1 unknown */
    int64_t age_us;
    int minus_drift, minus_age, minus_done, total;
};

const char *thread_evidence_name(enum thread_evidence e)
{
    return (unsigned)e < TE_COUNT ? evidence[e].name : "unknown";
}

void thread_candidate_clear(struct thread_candidate *c)
{
    strlist_free(&c->participants);
    strlist_free(&c->subjects);
    strlist_free(&c->desks);
}

/* A sender that is not proven and a reference number, which is overheard as easily, are both things that anybody can write. */
static bool takes_part(const struct thread_message *m, const struct thread_candidate *c)
{
    if (m->unproven && c->evidence == TE_REFERENCE_NUMBER)
        return false;
    return m->staff || (m->sender && strlist_has(&c->participants, m->sender));
}

/* Who shows a token has had our mail. A bounce or automatic reply comes from a machine whose address proves nothing, and it changes
 * nothing: the id it answers is enough. */
static bool may_join(const struct thread_message *m, const struct thread_candidate *c)
{
    bool automatic = m->record->cls == MC_BOUNCE || m->record->cls == MC_AUTO_REPLY;
    return takes_part(m, c) || c->evidence <= TE_TOKEN_ID || (automatic && (c->evidence == TE_IN_REPLY_TO || c->evidence == TE_REFERENCES));
}

/* A client that names a complaint of other desks, and its customer, would be told what it may not see. */
static bool is_elsewhere(const struct thread_message *m, const struct thread_candidate *c)
{
    if (!m->desks || !m->desks->n)
        return false;
    for (size_t i = 0; i < c->desks.n; i++)
        if (strlist_has(m->desks, c->desks.v[i]))
            return false;
    return true;
}

/* The least of the distances to what was said there; 0 where the subject names the complaint, whatever else it says. */
static int drift_of(const struct thread_message *m, const struct thread_candidate *c)
{
    struct subject_words own, other;
    int least = -1;
    subject_read(m->record->subject, &own);
    for (size_t i = 0; i < c->subjects.n; i++) {
        subject_read(c->subjects.v[i], &other);
        int d = subject_drift(&own, &other);
        if (d >= 0 && (least < 0 || d < least))
            least = d;
    }
    return c->named ? 0 : least;
}

/* Nothing is lost within the fresh time, so that the mails of a thread stay together in whatever order they arrive; then more and more. */
static void take_off(const struct thread_weights *w, struct score *s)
{
    int64_t over = s->age_us - w->fresh_us, span = w->max_age_us - w->fresh_us;
    if (over <= 0)
        return;
    s->minus_drift = s->drift > 0 ? w->drift * s->drift / 100 : 0;
    s->minus_age = span > 0 && over < span ? (int)((double)w->age * (double)over / (double)span) : w->age;
    s->minus_done = s->c->done ? w->done : 0;
    s->total -= s->minus_drift + s->minus_age + s->minus_done;
    s->too_low = s->total < w->join_at;
}

static void judge(const struct thread_message *m, const struct thread_candidate *c, const struct thread_weights *w, struct score *s)
{
    bool matters = m->record->cls == MC_PERSON && !m->staff;
    *s = (struct score){.c = c, .total = evidence[c->evidence].points, .stranger = !takes_part(m, c)};
    s->age_us = m->at_us > c->last_us ? m->at_us - c->last_us : 0;
    s->drift = drift_of(m, c);
    if (matters)
        take_off(w, s);
    if (!may_join(m, c))
        s->against = "sender takes no part in it";
    else if (is_elsewhere(m, c))
        s->against = "of desks that the client has nothing to do with";
    else if (c->closed && matters && m->at_us - c->closed_at_us > w->reopen_window_us)
        s->against = "closed too long ago";
    else if (s->too_low)
        s->against = "another matter";
}

/* Those that may be joined first, then by points, then by evidence. */
static int by_rank(const void *a, const void *b)
{
    const struct score *x = a, *y = b;
    if (!x->against != !y->against)
        return x->against ? 1 : -1;
    if (x->total != y->total)
        return y->total - x->total;
    return (int)x->c->evidence - (int)y->c->evidence;
}

static void add_points(json_t *points, const char *name, int minus)
{
    if (minus)
        json_object_set_new(points, name, json_integer(-minus));
}

static json_t *reason(const struct score *s, const char *verdict)
{
    json_t *points = json_pack("{s:i}", "evidence", evidence[s->c->evidence].points);
    add_points(points, "drift", s->minus_drift);
    add_points(points, "age", s->minus_age);
    add_points(points, "done", s->minus_done);
    json_t *o = json_pack("{s:s, s:s, s:s, s:i, s:o}", "evidence", evidence[s->c->evidence].name, "ref", s->c->ref, "verdict", verdict, "score",
                          s->total, "points", points);
    if (s->drift >= 0)
        json_object_set_new(o, "drift", json_integer(s->drift));
    json_object_set_new(o, "age", json_integer(s->age_us / CD_SEC(1)));
    if (s->stranger)
        json_object_set_new(o, "sender", json_string("unknown"));
    return o;
}

void thread_decide(const struct thread_message *m, const struct thread_candidate *c, size_t n, const struct thread_weights *w,
                   struct thread_decision *ret)
{
    struct score *s = cd_alloc((n + 1) * sizeof *s);
    *ret = (struct thread_decision){.action = THREAD_NEW, .reasons = json_array()};
    for (size_t i = 0; i < n; i++)
        judge(m, &c[i], w, &s[i]);
    if (n > 1)
        qsort(s, n, sizeof *s, by_rank);
    for (size_t i = 0; i < n; i++)
        json_array_append_new(ret->reasons, reason(&s[i], s[i].against ? s[i].against : i ? "another fits better" : "joined"));
    if (n) {
        ret->action = s[0].against ? THREAD_LINK : THREAD_JOIN;
        ret->candidate = s[0].c;
        ret->stranger = !s[0].against && s[0].stranger;
        for (size_t i = 1; i < n && ret->action == THREAD_JOIN && ret->nsame < THREAD_MAX_SAME; i++)
            if (!s[i].against && s[i].c->evidence != TE_REFERENCE_NUMBER && m->record->cls == MC_PERSON)
                ret->same[ret->nsame++] = s[i].c;
        ret->new_matter = s[0].against && s[0].too_low && may_join(m, s[0].c);
    }
    free(s);
}

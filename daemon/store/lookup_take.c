/* What the statements of lookup.c found, and for which request. A result has a row for each thing that was found, in any order; several
 * requests may have asked for it. */
#include <stdio.h>
#include <string.h>

#include "daemon/core/clock.h"
#include "daemon/core/metrics.h"
#include "daemon/store/lookup_round.h"

void lookup_clear(struct lookup_request *q)
{
    strlist_free(&q->customer_flags);
    free(q->customer_language);
    q->customer_language = NULL;
    free(q->address_state);
    free(q->address_status);
    q->address_state = q->address_status = NULL;
    q->answers = 0;
    q->answers_since = 0;
    free(q->told.purpose);
    free(q->told.recipient);
    free(q->told.team);
    q->told = (struct lookup_notification){0};
    for (size_t i = 0; i < q->ncandidates; i++)
        thread_candidate_clear(&q->candidates[i]);
    q->ncandidates = 0;
    q->customer_found = q->receipt_found = q->in_thread = q->threads_asked = false;
    memset(q->key_known, 0, sizeof q->key_known);
}

static void add_strings(struct strlist *l, const json_t *a)
{
    json_t *s;
    size_t i;
    json_array_foreach(a, i, s)
        if (json_is_string(s))
            strlist_add(l, json_string_value(s));
}

static json_t *read_json(const char *text)
{
    return text ? json_loads(text, 0, NULL) : NULL;
}

static void take_receipts(struct lookup_round *r, const PGresult *res)
{
    for (int row = 0; row < PQntuples(res); row++) {
        uint8_t key[LEDGER_KEY_SIZE];
        struct uuid id;
        if (hex_decode(PQgetvalue(res, row, 0), key, sizeof key) < 0 || pg_uuid(res, row, 1, &id) < 0)
            continue;
        for (size_t i = 0; i < r->n; i++) {
            struct lookup_request *q = r->q[i];
            if (memcmp(q->ukey, key, sizeof key) != 0)
                continue;
            q->receipt_found = true;
            q->receipt_id = id;
            q->receipt_pending = str_eq(pg_text(res, row, 2), "t");
        }
    }
}

static void take_answered(struct lookup_request *q, const PGresult *res, int row, int column)
{
    q->answers = pg_i64(res, row, column, 0);
    q->answered_ago_us = clock_service_us() - pg_i64(res, row, column + 1, 0);
}

static void take_customers(struct lookup_round *r, const PGresult *res)
{
    for (int row = 0; row < PQntuples(res); row++)
        for (size_t i = 0; i < r->n; i++) {
            struct lookup_request *q = r->q[i];
            if (q->customer_found || !str_eq(q->handle, PQgetvalue(res, row, 0)) || pg_uuid(res, row, 1, &q->customer_id) < 0)
                continue;
            q->customer_found = true;
            json_t *flags = read_json(pg_text(res, row, 2));
            add_strings(&q->customer_flags, flags);
            json_decref(flags);
            q->customer_language = cd_strdup(pg_text(res, row, 3));
            q->address_state = cd_strdup(pg_text(res, row, 4));
            q->address_status = cd_strdup(pg_text(res, row, 5));
            if (!q->answer_to)
                take_answered(q, res, row, 6);
        }
}

static void take_answers(struct lookup_round *r, const PGresult *res)
{
    for (int row = 0; row < PQntuples(res); row++)
        for (size_t i = 0; i < r->n; i++)
            if (str_eq(r->q[i]->answer_to, PQgetvalue(res, row, 0)))
                take_answered(r->q[i], res, row, 1);
}

/* The weakest evidence, when there is room for no more. */
static struct thread_candidate *weakest(struct lookup_request *q, enum thread_evidence e)
{
    struct thread_candidate *w = NULL;
    for (size_t i = 0; i < q->ncandidates; i++)
        if (q->candidates[i].evidence > e && (!w || q->candidates[i].evidence > w->evidence))
            w = &q->candidates[i];
    return w;
}

static void fill_candidate(struct thread_candidate *c, enum thread_evidence e, const PGresult *res, int row)
{
    const char *status = pg_text(res, row, 3);
    json_t *state = read_json(pg_text(res, row, 5));
    c->evidence = e;
    snprintf(c->ref, sizeof c->ref, "%s", pg_text(res, row, 2));
    c->closed = str_eq(status, "closed");
    c->done = c->closed || str_eq(status, "resolved");
    c->closed_at_us = pg_i64(res, row, 4, 0);
    c->last_us = json_integer_value(json_object_get(state, "last"));
    add_strings(&c->participants, json_object_get(state, "who"));
    add_strings(&c->subjects, json_object_get(state, "subjects"));
    json_decref(state);
    json_t *desks = read_json(pg_text(res, row, 6));
    add_strings(&c->desks, desks);
    json_decref(desks);
}

/* NULL: there is no room for it among stronger ones. */
static struct thread_candidate *add_candidate(struct lookup_request *q, enum thread_evidence e, const PGresult *res, int row)
{
    struct uuid id;
    struct thread_candidate *c = NULL;
    if (pg_uuid(res, row, 1, &id) < 0)
        return NULL;
    for (size_t i = 0; i < q->ncandidates; i++)
        if (uuid_equal(&q->candidates[i].complaint_id, &id)) {
            q->candidates[i].evidence = CD_MIN(q->candidates[i].evidence, e); /* the order of the enum is that of strength */
            return &q->candidates[i];
        }
    if (q->ncandidates < LOOKUP_MAX_CANDIDATES) {
        c = &q->candidates[q->ncandidates++];
    } else {
        metrics_inc(M_THREAD_CANDIDATES);
        if (!(c = weakest(q, e)))
            return NULL;
        thread_candidate_clear(c);
    }
    *c = (struct thread_candidate){.complaint_id = id};
    fill_candidate(c, e, res, row);
    return c;
}

struct asked {
    uint8_t key[LEDGER_KEY_SIZE]; /* first, for the comparison */
    struct lookup_request *q;
    size_t at;
};

static int by_key(const void *a, const void *b)
{
    return memcmp(a, b, LEDGER_KEY_SIZE);
}

static struct asked *asked_keys(const struct lookup_round *r, size_t *ret_n)
{
    size_t n = 0, total = 0;
    for (size_t i = 0; i < r->n; i++)
        total += r->q[i]->nkeys;
    struct asked *v = cd_alloc((total + 1) * sizeof *v);
    for (size_t i = 0; i < r->n; i++)
        for (size_t k = 0; k < r->q[i]->nkeys; k++, n++) {
            memcpy(v[n].key, r->q[i]->keys[k], LEDGER_KEY_SIZE);
            v[n].q = r->q[i];
            v[n].at = k;
        }
    qsort(v, n, sizeof *v, by_key);
    *ret_n = n;
    return v;
}

typedef void (*key_found)(const struct asked *a, const PGresult *res, int row);

static void tell_askers(const struct asked *v, size_t n, const uint8_t key[LEDGER_KEY_SIZE], key_found found, const PGresult *res, int row)
{
    const struct asked *one = bsearch(key, v, n, sizeof *v, by_key);
    if (!one)
        return;
    while (one > v && by_key(one - 1, key) == 0)
        one--;
    for (; one < v + n && by_key(one, key) == 0; one++)
        found(one, res, row);
}

/* The first column of each row: keys in hex, one behind the other. */
static void take_by_key(const struct lookup_round *r, const PGresult *res, key_found found)
{
    char hex[2 * LEDGER_KEY_SIZE + 1];
    uint8_t key[LEDGER_KEY_SIZE];
    size_t n, len = sizeof hex - 1;
    if (PQntuples(res) == 0)
        return;
    struct asked *v = asked_keys(r, &n);
    for (int row = 0; row < PQntuples(res); row++) {
        const char *p = PQgetvalue(res, row, 0);
        for (size_t left = strlen(p) / len; left > 0; left--, p += len) {
            memcpy(hex, p, len);
            hex[len] = '\0';
            if (hex_decode(hex, key, sizeof key) == 0)
                tell_askers(v, n, key, found, res, row);
        }
    }
    free(v);
}

static void key_is_known(const struct asked *a, const PGresult *res CD_UNUSED, int row CD_UNUSED)
{
    a->q->key_known[a->at] = a->q->in_thread = true;
}

static void key_has_complaint(const struct asked *a, const PGresult *res, int row)
{
    add_candidate(a->q, a->q->key_evidence[a->at], res, row);
}

static void take_keys(struct lookup_round *r, const PGresult *res)
{
    take_by_key(r, res, key_is_known);
}

static void take_threads(struct lookup_round *r, const PGresult *res)
{
    take_by_key(r, res, key_has_complaint);
}

static void take_refs(struct lookup_round *r, const PGresult *res)
{
    for (int row = 0; row < PQntuples(res); row++)
        for (size_t i = 0; i < r->n; i++)
            for (size_t k = 0; k < r->q[i]->nrefs; k++) {
                const struct lookup_ref *ref = &r->q[i]->refs[k];
                struct thread_candidate *c = str_eq(ref->ref, PQgetvalue(res, row, 0)) ? add_candidate(r->q[i], ref->evidence, res, row) : NULL;
                if (c && ref->in_subject)
                    c->named = true;
            }
}

static void take_ids(struct lookup_round *r, const PGresult *res)
{
    for (int row = 0; row < PQntuples(res); row++) {
        struct uuid id;
        if (pg_uuid(res, row, 0, &id) < 0)
            continue;
        for (size_t i = 0; i < r->n; i++)
            for (size_t k = 0; k < r->q[i]->nids; k++)
                if (uuid_equal(&r->q[i]->ids[k], &id))
                    add_candidate(r->q[i], TE_IN_REPLY_TO, res, row);
    }
}

static void take_notification(struct lookup_request *q, const PGresult *res, int row)
{
    struct lookup_notification *t = &q->told;
    const char *ref = pg_text(res, row, 3);
    if (t->found || pg_uuid(res, row, 1, &t->id) < 0 || pg_uuid(res, row, 2, &t->complaint_id) < 0)
        return;
    t->found = true;
    snprintf(t->ref, sizeof t->ref, "%s", ref ? ref : "");
    t->purpose = cd_strdup(pg_text(res, row, 4));
    t->recipient = cd_strdup(pg_text(res, row, 5));
    t->team = cd_strdup(pg_text(res, row, 6));
}

static void take_told(struct lookup_round *r, const PGresult *res)
{
    for (int row = 0; row < PQntuples(res); row++) {
        struct uuid id;
        for (size_t i = 0; pg_uuid(res, row, 0, &id) == 0 && i < r->n; i++)
            if (r->q[i]->told_id && uuid_equal(r->q[i]->told_id, &id))
                take_notification(r->q[i], res, row);
    }
}

static void take_told_keys(struct lookup_round *r, const PGresult *res)
{
    for (int row = 0; row < PQntuples(res); row++)
        for (size_t i = 0; i < r->n; i++)
            if (str_eq(r->q[i]->told_key, PQgetvalue(res, row, 0)))
                take_notification(r->q[i], res, row);
}

void lookup_round_take(struct lookup_round *r)
{
    static void (*const take[ASKED_COUNT])(struct lookup_round *, const PGresult *) = {
        [ASKED_RECEIPTS] = take_receipts, [ASKED_CUSTOMERS] = take_customers, [ASKED_KEYS] = take_keys,
        [ASKED_REFS] = take_refs,         [ASKED_IDS] = take_ids,             [ASKED_THREADS] = take_threads,
        [ASKED_TOLD] = take_told,         [ASKED_TOLD_KEYS] = take_told_keys, [ASKED_ANSWERS] = take_answers,
    };
    for (size_t i = 0; i < ASKED_COUNT; i++)
        if (r->at[i] >= 0)
            take[i](r, r->unit.result[r->at[i]]);
}

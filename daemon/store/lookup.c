/* The look-up stage: requests wait until the connection has room, then all of them share a few statements. Two units may be open, so
 * that the database works on one while the front decides the other. */
#include "daemon/store/lookup.h"

#include <stdio.h>
#include <string.h>

#include "daemon/core/clock.h"
#include "daemon/core/metrics.h"
#include "daemon/store/pg.h"

#define MAX_REQUESTS 200
#define WAIT_LIMIT_US CD_SEC(1)

TAILQ_HEAD(request_list, lookup_request);

enum asked_for { ASKED_RECEIPTS, ASKED_CUSTOMERS, ASKED_KEYS, ASKED_REFS, ASKED_IDS, ASKED_THREADS, ASKED_TOLD, ASKED_TOLD_KEYS, ASKED_ANSWERS, ASKED_COUNT };

struct round {
    struct pg_unit unit;
    struct lookup *l;
    struct lookup_request *q[MAX_REQUESTS];
    int64_t since_us;
    size_t n;
    int at[ASKED_COUNT]; /* places of the results, -1: not asked */
};

struct lookup {
    struct pg *pg;
    struct request_list waiting;
    struct event *timer;
    int64_t oldest_us;
};

static const struct pg_stmt sql_receipts = {
    "receipts", "select encode(ukey, 'hex'), id, outcome = 'pending' from complaintd.receipts where ukey = any($1::bytea[])"};

#define ANSWER_COLUMNS "(a.answers * 1000)::bigint, (extract(epoch from a.answered_at) * 1000000)::bigint"

static const struct pg_stmt sql_customers = {
    "customers", "select h.handle, c.id, to_json(case when v.customer_id is null then c.flags else c.flags || 'vulnerable'::text end), c.language,"
                 "  a.state, a.status, " ANSWER_COLUMNS
                 " from complaintd.customer_handles h join complaintd.customers c on c.id = h.customer_id"
                 " left join complaintd.vulnerable_customers v on v.customer_id = c.id"
                 " left join complaintd.addresses a on a.address = h.handle where h.handle = any($1::text[])"};

#define CANDIDATE_COLUMNS "c.id, c.ref, c.status, (extract(epoch from c.closed_at) * 1000000)::bigint, complaintd.thread_state(c)"

/* Most mails begin a thread: whether a key is known is asked for all of them, whose complaint it is only for those that have one. */
static const struct pg_stmt sql_keys = {"keys", "select encode(key, 'hex') from complaintd.thread_keys where key = any($1::bytea[])"};

/* A row a complaint with all the keys that lead to it: who takes part in one may be long to say. What was merged into another leads there. */
static const struct pg_stmt sql_threads = {
    "threads", "select f.keys, " CANDIDATE_COLUMNS " from (select coalesce(o.merged_into, o.id) as id, string_agg(encode(k.key, 'hex'), '') as keys"
               "   from complaintd.thread_keys k join complaintd.complaint o on o.id = k.complaint_id"
               "   where k.key = any($1::bytea[]) group by 1) f"
               " join complaintd.complaint c on c.id = f.id"};

static const struct pg_stmt sql_refs = {
    "refs", "select f.given, " CANDIDATE_COLUMNS " from (select ref as given, coalesce(merged_into, id) as id from complaintd.complaint"
            "   where ref = any($1::text[])"
            "  union all select ref, complaint_id from complaintd.ref_aliases where ref = any($1::text[])) f"
            " join complaintd.complaint c on c.id = f.id"};

static const struct pg_stmt sql_ids = {"ids", "select f.id, " CANDIDATE_COLUMNS " from complaintd.complaint f"
                                              " join complaintd.complaint c on c.id = coalesce(f.merged_into, f.id) where f.id = any($1::uuid[])"};

/* What automatic mails speak of; by the id in a token, or by a key of ours, which says whose complaint it is. */
#define TOLD_COLUMNS "n.id, c.id, c.ref, n.purpose, n.recipient, c.team"
#define TOLD_COMPLAINT " join complaintd.complaint o on o.id = n.complaint_id join complaintd.complaint c on c.id = coalesce(o.merged_into, o.id)"

static const struct pg_stmt sql_told = {
    "told", "select n.id, " TOLD_COLUMNS " from complaintd.notifications n" TOLD_COMPLAINT " where n.id = any($1::uuid[])"};

static const struct pg_stmt sql_told_keys = {
    "told_keys", "select k.key, " TOLD_COLUMNS " from unnest($1::text[]) as k(key) join complaintd.notifications n"
                 " on n.complaint_id = split_part(k.key, '.', 2)::uuid and n.idempotency_key = k.key" TOLD_COMPLAINT};

static const struct pg_stmt sql_answers = {
    "answers", "select a.address, " ANSWER_COLUMNS " from complaintd.addresses a where a.address = any($1::text[])"};

static const struct pg_stmt *const statements[] = {&sql_receipts, &sql_customers, &sql_keys, &sql_refs, &sql_ids, &sql_threads, &sql_told,
                                                   &sql_told_keys, &sql_answers, NULL}; /* by asked_for */

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

static void take_receipts(struct round *r, const PGresult *res)
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

static void take_customers(struct round *r, const PGresult *res)
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

static void take_answers(struct round *r, const PGresult *res)
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

static struct asked *asked_keys(const struct round *r, size_t *ret_n)
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
static void take_by_key(const struct round *r, const PGresult *res, key_found found)
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

static void take_keys(struct round *r, const PGresult *res)
{
    take_by_key(r, res, key_is_known);
}

static void take_threads(struct round *r, const PGresult *res)
{
    take_by_key(r, res, key_has_complaint);
}

static void take_refs(struct round *r, const PGresult *res)
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

static void take_ids(struct round *r, const PGresult *res)
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

static void take_told(struct round *r, const PGresult *res)
{
    for (int row = 0; row < PQntuples(res); row++) {
        struct uuid id;
        for (size_t i = 0; pg_uuid(res, row, 0, &id) == 0 && i < r->n; i++)
            if (r->q[i]->told_id && uuid_equal(r->q[i]->told_id, &id))
                take_notification(r->q[i], res, row);
    }
}

static void take_told_keys(struct round *r, const PGresult *res)
{
    for (int row = 0; row < PQntuples(res); row++)
        for (size_t i = 0; i < r->n; i++)
            if (str_eq(r->q[i]->told_key, PQgetvalue(res, row, 0)))
                take_notification(r->q[i], res, row);
}

static void kick(struct lookup *l);

static void on_unit(struct pg_unit *u, enum pg_status s)
{
    struct round *r = (struct round *)u;
    struct lookup *l = r->l;
    static void (*const take[])(struct round *, const PGresult *) = {take_receipts, take_customers, take_keys, take_refs, take_ids, take_threads,
                                                               take_told, take_told_keys, take_answers};
    for (size_t i = 0; s == PG_OK && i < ASKED_COUNT; i++)
        if (r->at[i] >= 0)
            take[i](r, u->result[r->at[i]]);
    for (size_t i = 0; i < r->n; i++) {
        struct lookup_request *q = r->q[i];
        if (s == PG_OK && q->in_thread && !q->threads_asked) {
            q->threads_asked = true;
            TAILQ_INSERT_HEAD(&l->waiting, q, entry);
        } else {
            q->done(q, s == PG_OK);
        }
    }
    free(r);
    kick(l);
}

static void send_round(struct lookup *l, struct round *r)
{
    static const enum pg_oid types[ASKED_COUNT] = {PG_BYTEA, PG_TEXT, PG_BYTEA, PG_TEXT, PG_UUID, PG_BYTEA, PG_UUID, PG_TEXT, PG_TEXT};
    struct pg_params p[ASKED_COUNT];
    int steps = 0;
    for (size_t i = 0; i < ASKED_COUNT; i++) {
        pg_params_init(&p[i], CD_MIB(1));
        pg_array_begin(&p[i], types[i]);
    }
    for (size_t i = 0; i < r->n; i++) {
        const struct lookup_request *q = r->q[i];
        if (q->threads_asked) { /* the second time */
            for (size_t j = 0; j < q->nkeys; j++)
                pg_el_bytes(&p[ASKED_THREADS], q->keys[j], LEDGER_KEY_SIZE);
            continue;
        }
        pg_el_bytes(&p[ASKED_RECEIPTS], q->ukey, LEDGER_KEY_SIZE);
        if (q->handle)
            pg_el_text(&p[ASKED_CUSTOMERS], q->handle);
        for (size_t j = 0; j < q->nkeys; j++)
            pg_el_bytes(&p[ASKED_KEYS], q->keys[j], LEDGER_KEY_SIZE);
        for (size_t j = 0; j < q->nrefs; j++)
            pg_el_text(&p[ASKED_REFS], q->refs[j].ref);
        for (size_t j = 0; j < q->nids; j++)
            pg_el_uuid(&p[ASKED_IDS], &q->ids[j]);
        if (q->told_id)
            pg_el_uuid(&p[ASKED_TOLD], q->told_id);
        if (q->told_key)
            pg_el_text(&p[ASKED_TOLD_KEYS], q->told_key);
        if (q->answer_to)
            pg_el_text(&p[ASKED_ANSWERS], q->answer_to);
    }
    pg_begin(l->pg, &r->unit, on_unit);
    for (size_t i = 0; i < ASKED_COUNT; i++) {
        bool any = p[i].array_count > 0;
        pg_array_end(&p[i]);
        r->at[i] = any ? steps++ : -1;
        if (any)
            pg_step(l->pg, statements[i], &p[i]);
        pg_params_free(&p[i]);
    }
    pg_send(l->pg);
}

static void arm(struct lookup *l, int64_t us)
{
    struct timeval tv = {us / 1000000, us % 1000000};
    if (us == 0 || !evtimer_pending(l->timer, NULL)) /* a guard that is far off must not hold up what could go now */
        event_add(l->timer, &tv);
}

static void kick(struct lookup *l)
{
    struct lookup_request *q;
    while (!TAILQ_EMPTY(&l->waiting) && pg_can_send(l->pg)) {
        struct round *r = cd_alloc(sizeof *r);
        r->l = l;
        while (r->n < MAX_REQUESTS && (q = TAILQ_FIRST(&l->waiting))) {
            TAILQ_REMOVE(&l->waiting, q, entry);
            r->q[r->n++] = q;
        }
        send_round(l, r);
    }
    l->oldest_us = TAILQ_EMPTY(&l->waiting) ? 0 : clock_mono_us();
    if (l->oldest_us)
        arm(l, CD_MSEC(50));
}

/* Also the guard while the database is away: what waited too long is given back as failed. */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct lookup *l = arg;
    struct lookup_request *q;
    (void)fd;
    (void)what;
    if (!pg_usable(l->pg) && l->oldest_us && clock_mono_us() - l->oldest_us > WAIT_LIMIT_US) {
        while ((q = TAILQ_FIRST(&l->waiting))) {
            TAILQ_REMOVE(&l->waiting, q, entry);
            q->done(q, false);
        }
        l->oldest_us = 0;
        return;
    }
    if (pg_can_send(l->pg))
        kick(l);
    if (!TAILQ_EMPTY(&l->waiting))
        arm(l, CD_MSEC(50));
}

static void on_ready(void *arg)
{
    kick(arg);
}

struct lookup *lookup_new(struct event_base *base, const struct config *c)
{
    struct lookup *l = cd_alloc(sizeof *l);
    TAILQ_INIT(&l->waiting);
    l->timer = evtimer_new(base, on_timer, l);
    cd_assert(l->timer);
    l->pg = pg_new(base, &(struct pg_options){
                             .name = "lookup",
                             .dsn = c->database_dsn,
                             .statements = statements,
                             .max_in_flight = 2,
                             .answer_limit_us = CD_SEC(10),
                             .reconnect_max_us = c->database_reconnect_max_us,
                             .ready = on_ready,
                             .arg = l,
                         });
    return l;
}

void lookup_free(struct lookup **pl)
{
    struct lookup *l = *pl;
    struct lookup_request *q;
    if (!l)
        return;
    *pl = NULL;
    pg_free(&l->pg);
    while ((q = TAILQ_FIRST(&l->waiting))) {
        TAILQ_REMOVE(&l->waiting, q, entry);
        q->done(q, false);
    }
    event_free(l->timer);
    free(l);
}

void lookup_put(struct lookup *l, struct lookup_request *q)
{
    if (!l->oldest_us)
        l->oldest_us = clock_mono_us();
    TAILQ_INSERT_TAIL(&l->waiting, q, entry);
    arm(l, 0);
}

/* The look-up stage: requests wait until the connection has room, then all of them share a few statements. Two units may be open, so
 * that the database works on one while the front decides the other. */
#include "daemon/store/lookup.h"

#include <stdio.h>
#include <string.h>

#include "daemon/core/clock.h"
#include "daemon/store/lookup_round.h"

#define WAIT_LIMIT_US CD_SEC(1)

TAILQ_HEAD(request_list, lookup_request);

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

#define CANDIDATE_COLUMNS "c.id, c.ref, c.status, (extract(epoch from c.closed_at) * 1000000)::bigint, complaintd.thread_state(c), to_json(c.desks)"

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

static void kick(struct lookup *l);

static void on_unit(struct pg_unit *u, enum pg_status s)
{
    struct lookup_round *r = (struct lookup_round *)u;
    struct lookup *l = r->l;
    if (s == PG_OK)
        lookup_round_take(r);
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

static void send_round(struct lookup *l, struct lookup_round *r)
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
        struct lookup_round *r = cd_alloc(sizeof *r);
        r->l = l;
        while (r->n < LOOKUP_ROUND_MAX && (q = TAILQ_FIRST(&l->waiting))) {
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

bool lookup_usable(const struct lookup *l)
{
    return pg_usable(l->pg);
}

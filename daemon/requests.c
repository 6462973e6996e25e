/* What changes something waits for the `work` connection, what only reads goes to others (reads.h). So that a session sees what it did,
 * its reads wait for its changes before them, and its changes for its reads; other sessions wait for neither. REREAD has two statements and a
 * worker between them: one at a time, the others wait in a queue of their own, for each holds a message that may be large. */
#include "daemon/requests.h"

#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

#include "daemon/cases/commands.h"
#include "daemon/clock_verb.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/reads.h"
#include "daemon/reread.h"
#include "daemon/store/pg.h"

#define MAX_OPEN 1000
#define MAX_REREADS 20
#define PARAMS_OF_A_MESSAGE CD_MIB(192) /* the largest text three times, escaped */
#define LOOK_US CD_SEC(1) /* while somebody waits, for a connection that went away meanwhile */

struct pending_request {
    TAILQ_ENTRY(pending_request) entry; /* of `waiting` */
    TAILQ_ENTRY(pending_request) open;
    struct pg_unit unit;
    struct read_job job;
    struct requests *owner;
    struct request rq; /* verb, args and actor are ours */
    struct case_query query;
    char *desks; /* the only ones it may have to do with, as an array; NULL: all */
    bool prepared, local;
    bool rereads;          /* one of q->nrereads */
    struct reread *reread; /* from its first statement on */
    size_t after; /* earlier ones of its session that have to be answered first */
    struct reply early; /* for requests answered without the database */
};
TAILQ_HEAD(request_list, pending_request);

struct requests {
    struct event_base *base;
    const struct config *cfg;
    struct requests_hooks h;
    struct pg *pg;
    struct reads *reads;
    struct request_list waiting; /* for the next turn, or for `pg` */
    struct request_list rereads; /* for the one before */
    size_t nrereads;
    struct pending_request *rereading;
    struct request_list all;     /* without an answer yet, in the order of their arrival */
    struct event *timer;
    size_t nopen;
    bool closing;
    struct clock_verb *clock;
};

/* Until the end of the transaction; api_scope() in schema/0003_complaints.sql reads it. */
static const struct pg_stmt sql_scope = {"scope", "select set_config('complaintd.desks', $1, true)"};

static const struct pg_stmt *const statements[] = {&sql_scope, &clock_verb_show, &clock_verb_look, &clock_verb_set, NULL};
static const struct pg_stmt *const read_statements[] = {&sql_scope, NULL};

static void arm(struct requests *q, int64_t us)
{
    struct timeval tv = {us / CD_SEC(1), us % CD_SEC(1)};
    event_add(q->timer, &tv);
}

/* ---- the order within a session ---- */

static bool only_reads(const struct pending_request *p)
{
    return p->prepared && p->query.lane != CASE_CHANGES;
}

static bool looks_through_many(const struct pending_request *p)
{
    return p->prepared && p->query.lane == CASE_READS_MANY;
}

/* Of one session, one changing something and one reading; or both looking through many, so that no session has more than one connection or
 * place in the queue for that. What needs no database has no part in it. */
static bool in_turn(const struct pending_request *a, const struct pending_request *b)
{
    return a->rq.session && a->rq.session == b->rq.session && (a->prepared || a->local) && (b->prepared || b->local) &&
           (only_reads(a) != only_reads(b) || (looks_through_many(a) && looks_through_many(b)));
}

static void wait_for_turn(struct requests *q, struct pending_request *p)
{
    TAILQ_INSERT_TAIL(p->rereads && !p->reread ? &q->rereads : &q->waiting, p, entry);
    arm(q, 0);
}

static void enter(struct requests *q, struct pending_request *p)
{
    struct pending_request *o;
    TAILQ_FOREACH(o, &q->all, open)
        p->after += in_turn(o, p);
    TAILQ_INSERT_TAIL(&q->all, p, open);
    metrics_set(M_REQUESTS_OPEN, (int64_t)++q->nopen);
    if (!p->after)
        wait_for_turn(q, p);
}

static void leave(struct requests *q, struct pending_request *p)
{
    struct pending_request *o;
    for (o = TAILQ_NEXT(p, open); o; o = TAILQ_NEXT(o, open))
        if (in_turn(p, o) && --o->after == 0)
            wait_for_turn(q, o);
    TAILQ_REMOVE(&q->all, p, open);
    metrics_set(M_REQUESTS_OPEN, (int64_t)--q->nopen);
}

static void leave_rereads(struct requests *q, struct pending_request *p)
{
    q->nrereads--;
    if (q->rereading == p)
        q->rereading = NULL;
    arm(q, 0); /* the next one */
}

static void free_request(struct pending_request *p)
{
    leave(p->owner, p);
    if (p->rereads)
        leave_rereads(p->owner, p);
    reread_free(&p->reread);
    case_query_free(&p->query);
    free(p->desks);
    json_decref(p->rq.args);
    free((char *)p->rq.verb);
    free((char *)p->rq.actor);
    free(p);
}

static void reply_and_free(struct pending_request *p, struct reply *r)
{
    p->owner->h.reply(p->owner->h.arg, p->rq.slot, r);
    reply_free(r);
    free_request(p);
}

static void fail(struct pending_request *p, const char *code, const char *message, bool retry)
{
    struct reply r = {0};
    reply_set_error(&r, code, message, NULL, retry);
    reply_and_free(p, &r);
}

/* ---- statements of daemon/cases ---- */

static void log_failed(const struct pending_request *p, enum pg_status s)
{
    const struct pg_unit *u = &p->unit;
    if (only_reads(p) && str_eq(u->sqlstate, CASE_ENDED)) {
        metrics_inc(M_READS_TIMEOUT);
        log_event(LOG_L_WARN, EV_REQUESTS_TOO_LONG, "verb=%s client=%s", p->rq.verb, log_text(p->rq.actor));
    } else if (s != PG_LOST && u->sqlstate[0] && strncmp(u->sqlstate, "CD", 2) != 0)
        log_event(LOG_L_ERROR, EV_REQUESTS_FAILED, "verb=%s sqlstate=%s error=%s", p->rq.verb, u->sqlstate, log_text(u->error));
}

static void on_case(struct pg_unit *u, enum pg_status s)
{
    struct pending_request *p = (struct pending_request *)((char *)u - offsetof(struct pending_request, unit));
    struct requests *q = p->owner;
    struct reply r = {0};
    const PGresult *result = u->result[p->desks ? 1 : 0];
    int n = s == PG_OK ? PQntuples(result) : 0;
    const char **rows = cd_alloc((size_t)(n + 1) * sizeof *rows);
    for (int i = 0; i < n; i++)
        rows[i] = pg_text(result, i, 0) ? pg_text(result, i, 0) : "null";
    bool failed = s != PG_OK;
    if (failed)
        log_failed(p, s);
    cases_finish(&p->rq, rows, (size_t)n, failed ? u->sqlstate : NULL, u->error, &r);
    free(rows);
    if (r.ok && !p->desks && strcmp(p->rq.verb, "STATS") == 0) /* what only this process knows stands beside what the database says */
        json_object_set_new(r.body, "process", q->h.stats(q->h.arg));
    if (p->reread && r.ok)
        reread_tell(p->rq.actor, r.body);
    if (p->query.write && !failed)
        q->h.kick(q->h.arg);
    reply_and_free(p, &r);
}

static void send_query(struct pending_request *p, const struct case_query *query, struct pg *pg, pg_unit_done done)
{
    struct pg_params params;
    struct pg_stmt stmt = {"", query->sql};
    pg_params_init(&params, p->rereads ? PARAMS_OF_A_MESSAGE : CD_MIB(4));
    pg_begin(pg, &p->unit, done);
    if (p->desks) {
        pg_param_text(&params, p->desks);
        pg_step(pg, &sql_scope, &params);
        pg_params_reset(&params);
    }
    for (int i = 0; i < query->nparams; i++)
        pg_param_text(&params, query->params[i]);
    pg_step(pg, &stmt, &params);
    pg_send(pg);
    pg_params_free(&params);
}

static void send_case(struct pending_request *p, struct pg *pg)
{
    send_query(p, &p->query, pg, on_case);
}

static struct pending_request *of_job(struct read_job *j)
{
    return (struct pending_request *)((char *)j - offsetof(struct pending_request, job));
}

static void send_read(struct read_job *j, struct pg *pg)
{
    send_case(of_job(j), pg);
}

static void fail_read(struct read_job *j)
{
    struct pending_request *p = of_job(j);
    fail(p, "busy", p->owner->closing ? "the daemon is stopping" : "the database is not reachable", true);
}

static void put_read(struct pending_request *p)
{
    p->job = (struct read_job){.many = looks_through_many(p), .send = send_read, .fail = fail_read};
    if (reads_put(p->owner->reads, &p->job) < 0)
        fail(p, "busy", "too many requests wait to read: try again", true);
}

/* ---- REREAD ---- */

/* The workers have read it: its second statement takes its turn like any other. */
static void on_read(void *arg, const struct record *rec, const struct envelope *e)
{
    struct pending_request *p = arg;
    if (!rec) {
        metrics_inc(M_REREADS_BUSY);
        fail(p, "busy", "no worker could read it now: try again later", true);
        return;
    }
    reread_fill(p->owner->cfg, p->reread, rec, e, &p->query);
    wait_for_turn(p->owner, p);
}

static void on_found(struct pg_unit *u, enum pg_status s)
{
    struct pending_request *p = (struct pending_request *)((char *)u - offsetof(struct pending_request, unit));
    struct requests *q = p->owner;
    struct envelope *e = NULL;
    struct reply r = {0};
    if (s != PG_OK) {
        log_failed(p, s);
        cases_finish(&p->rq, NULL, 0, u->sqlstate, u->error, &r);
        reply_and_free(p, &r);
        return;
    }
    p->reread = reread_new(u->result[p->desks ? 1 : 0], &e);
    if (!p->reread) {
        fail(p, "internal", "the database's answer could not be read", false);
    } else if (q->h.read(q->h.arg, e, on_read, p) < 0) {
        envelope_free(&e);
        metrics_inc(M_REREADS_BUSY);
        fail(p, "busy", "what comes in needs the room: try again later", true);
    }
}

static void send_find(struct pending_request *p, struct pg *pg)
{
    const struct case_query find = {.sql = reread_find_sql, .nparams = 2,
                                    .params = {p->query.params[REREAD_REF], p->query.params[REREAD_MESSAGE]}};
    send_query(p, &find, pg, on_found);
}

static void next_reread(struct requests *q)
{
    struct pending_request *p = q->rereading ? NULL : TAILQ_FIRST(&q->rereads);
    if (!p)
        return;
    TAILQ_REMOVE(&q->rereads, p, entry);
    TAILQ_INSERT_TAIL(&q->waiting, p, entry);
    q->rereading = p;
}

static void take_reread(struct requests *q, struct pending_request *p)
{
    if (q->nrereads >= MAX_REREADS) {
        metrics_inc(M_REREADS_BUSY);
        p->prepared = false;
        reply_set_error(&p->early, "busy", "too many messages wait to be read again", NULL, true);
        return;
    }
    p->rereads = true;
    q->nrereads++;
}

/* ---- CONFIG ---- */

static void add_value(void *arg, const struct config_value *v)
{
    json_array_append_new(arg, json_pack("{s:s, s:s, s:s, s:b, s:b}", "option", v->path, "value", v->value, "default", v->def, "reloads",
                                         (int)v->reloads, "secret", (int)v->secret));
}

static void show_config(const struct requests *q, const struct pending_request *p, struct reply *ret)
{
    if (p->rq.role < ROLE_ADMIN) {
        reply_set_error(ret, "forbidden", "this verb needs another role", NULL, false);
        return;
    }
    if (json_object_size(p->rq.args) > 0) {
        reply_set_error(ret, "bad-argument", "CONFIG takes no fields", json_object_iter_key(json_object_iter(p->rq.args)), false);
        return;
    }
    *ret = (struct reply){.ok = true, .rows = json_array()};
    config_show(q->cfg, add_value, ret->rows);
    ret->body = json_pack("{s:i, s:s, s:s}", "rows", (int)json_array_size(ret->rows), "instance", q->cfg->instance, "hash", q->cfg->hash);
}

/* ---- the queue ---- */

/* Goes on with what waits, in the order of arrival; only what needs `pg` stays where that has no room. */
static void kick(struct requests *q)
{
    struct pending_request *p, *next;
    bool away = !pg_usable(q->pg); /* nobody waits for long for an answer that cannot come */
    if (away)
        TAILQ_CONCAT(&q->waiting, &q->rereads, entry);
    else
        next_reread(q);
    for (p = TAILQ_FIRST(&q->waiting); p; p = next) {
        bool reads = only_reads(p), changes = p->local || (p->prepared && !reads);
        next = TAILQ_NEXT(p, entry);
        if (changes && !away && !pg_can_send(q->pg))
            continue;
        TAILQ_REMOVE(&q->waiting, p, entry);
        if (reads)
            put_read(p);
        else if (!changes)
            reply_and_free(p, &p->early);
        else if (away)
            fail(p, "busy", "the database is not reachable", true);
        else if (p->local)
            clock_verb_send(q->clock, p, p->rq.args);
        else if (p->rereads && !p->reread)
            send_find(p, q->pg);
        else
            send_case(p, q->pg);
    }
    if (!TAILQ_EMPTY(&q->waiting) && !event_pending(q->timer, EV_TIMEOUT, NULL))
        arm(q, LOOK_US);
}

static void answer_clock(void *token, struct reply *r)
{
    reply_and_free(token, r);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    kick(arg);
}

static void on_ready(void *arg)
{
    kick(arg);
}

/* A line each; NULL: all of them. */
static char *desks_text(const struct strlist *desks)
{
    struct buf b;
    if (!desks || desks->n == 0)
        return NULL;
    buf_init(&b, CD_MIB(1));
    for (size_t i = 0; i < desks->n; i++)
        buf_printf(&b, "%s%s", i ? "\n" : "", desks->v[i]);
    cd_assert(!b.failed); /* names are short, and there are at most 1000 */
    return buf_steal(&b);
}

/* What has no desk: for who may have to do with all of them. */
static bool concerns_all(const char *verb)
{
    static const char *const verbs[] = {"CLOCK", "QUEUE", "PENDING", "CONFIG"};
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (strcmp(verb, verbs[i]) == 0)
            return true;
    return false;
}

void requests_put(struct requests *q, const struct request *rq)
{
    struct pending_request *p = cd_alloc(sizeof *p);
    p->owner = q;
    p->rq = *rq;
    p->rq.verb = cd_strdup(rq->verb);
    p->rq.actor = cd_strdup(rq->actor);
    p->desks = desks_text(rq->desks);
    p->rq.desks = NULL; /* borrowed */
    p->rq.args = rq->args ? json_deep_copy(rq->args) : json_object();
    p->local = strcmp(rq->verb, "CLOCK") == 0;
    if (q->nopen >= MAX_OPEN || q->closing) {
        p->local = false;
        metrics_add(M_REQUESTS_BUSY, !q->closing);
        reply_set_error(&p->early, "busy", "too many requests are open", NULL, true);
    } else if (p->local && rq->role < ROLE_AGENT) {
        p->local = false;
        reply_set_error(&p->early, "forbidden", "this verb needs another role", NULL, false);
    } else if (p->desks && concerns_all(rq->verb)) {
        p->local = false;
        reply_set_error(&p->early, "forbidden", "the verb concerns all desks, and this client has only some", NULL, false);
    } else if (strcmp(rq->verb, "CONFIG") == 0) {
        show_config(q, p, &p->early);
    } else if (!p->local) {
        p->prepared = cases_prepare(q->cfg, &p->rq, &p->query, &p->early) == 0;
        if (p->prepared && strcmp(p->rq.verb, "REREAD") == 0)
            take_reread(q, p);
    }
    enter(q, p);
}

struct requests *requests_new(struct event_base *base, const struct config *c, const struct requests_hooks *h)
{
    struct requests *q = cd_alloc(sizeof *q);
    q->base = base;
    q->cfg = c;
    q->h = *h;
    TAILQ_INIT(&q->waiting);
    TAILQ_INIT(&q->rereads);
    TAILQ_INIT(&q->all);
    q->timer = evtimer_new(base, on_timer, q);
    cd_assert(q->timer);
    q->pg = pg_new(base, &(struct pg_options){
                             .name = "work",
                             .dsn = c->database_dsn,
                             .statements = statements,
                             .max_in_flight = 16,
                             .reconnect_max_us = c->database_reconnect_max_us,
                             .ready = on_ready,
                             .arg = q,
                         });
    q->reads = reads_new(base, c, read_statements);
    q->clock = clock_verb_new(base, c, q->pg, &(struct clock_verb_hooks){.answer = answer_clock, .kick = h->kick, .quiet = h->quiet, .arg = h->arg});
    return q;
}

void requests_free(struct requests **pq)
{
    struct requests *q = *pq;
    struct pending_request *p;
    if (!q)
        return;
    *pq = NULL;
    q->closing = true;
    pg_free(&q->pg);
    clock_verb_free(&q->clock);
    reads_free(&q->reads); /* whose answers let what waited behind them go on to `waiting` */
    TAILQ_CONCAT(&q->waiting, &q->rereads, entry);
    while ((p = TAILQ_FIRST(&q->waiting))) {
        TAILQ_REMOVE(&q->waiting, p, entry);
        fail(p, "busy", "the daemon is stopping", true);
    }
    event_free(q->timer);
    free(q);
}

struct pg *requests_pg(struct requests *q)
{
    return q->pg;
}

bool requests_idle(const struct requests *q)
{
    return q->nopen == 0;
}

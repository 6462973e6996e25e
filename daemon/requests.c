/* Requests wait in one queue for the `work` connection. REREAD has two statements and a worker between them: one at a time, the others wait
 * in a queue of their own, for each holds a message that may be large. CLOCK advance is a small state machine of its own: it moves the database's
 * offset from due time to due time and lets everything that became due finish before it goes on. */
#include "daemon/requests.h"

#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

#include "daemon/cases/commands.h"
#include "daemon/core/clock.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/reread.h"
#include "daemon/store/pg.h"

#define MAX_OPEN 1000
#define MAX_REREADS 20
#define PARAMS_OF_A_MESSAGE CD_MIB(192) /* the largest text three times, escaped */
#define CLOCK_POLL_US CD_MSEC(20)

struct pending_request {
    TAILQ_ENTRY(pending_request) entry;
    struct pg_unit unit;
    struct requests *owner;
    struct request rq; /* verb, args and actor are ours */
    struct case_query query;
    char *desks; /* the only ones it may have to do with, as an array; NULL: all */
    bool prepared, local;
    bool rereads;          /* one of q->nrereads */
    struct reread *reread; /* from its first statement on */
    struct reply early; /* for requests answered without the database */
};
TAILQ_HEAD(request_list, pending_request);

struct requests {
    struct event_base *base;
    const struct config *cfg;
    struct requests_hooks h;
    struct pg *pg;
    struct request_list waiting;
    struct event *timer;
    size_t nopen;
    bool closing;
    /* REREAD */
    struct request_list rereads; /* wait until the one before is done */
    size_t nrereads;
    struct pending_request *rereading;
    /* CLOCK advance */
    struct pending_request *advancing;
    struct pg_unit clock_unit;
    struct event *clock_timer;
    int64_t target_us, hop_us;
    int quiet_rounds;
};

static const struct pg_stmt sql_clock_show = {
    "clock", "select (extract(epoch from complaintd.now()) * 1000000)::bigint, sandbox from complaintd.clock"};
/* How much is due or under way, and the next due time after now. While sending is paused notifications count for nothing. */
static const struct pg_stmt sql_clock_look = {
    "clock_look",
    "select (select count(*) from complaintd.timers where next_at <= complaintd.now())"
    "  + (select count(*) from complaintd.complaint where state_until <= complaintd.now())"
    "  + (select count(*) from complaintd.notifications where not $1::boolean and (state = 'sending'"
    "     or (state in ('pending', 'unknown') and next_attempt_at <= complaintd.now()))) + (select count(*) from complaintd.pending),"
    " (extract(epoch from complaintd.now()) * 1000000)::bigint,"
    " (extract(epoch from least((select min(next_at) from complaintd.timers where next_at > complaintd.now()),"
    "   (select min(state_until) from complaintd.complaint where state_until > complaintd.now()),"
    "   (select min(next_attempt_at) from complaintd.notifications where not $1::boolean"
    "     and state in ('pending', 'unknown') and next_attempt_at > complaintd.now()))) * 1000000)::bigint"};
static const struct pg_stmt sql_clock_set = {
    "clock_set", "update complaintd.clock set clock_offset = make_interval(secs => ($1::bigint / 1000000.0) - extract(epoch from clock_timestamp())::float8)"
                 " where sandbox and clock_timestamp() + clock_offset < to_timestamp($1::bigint / 1000000.0)"};

/* Until the end of the transaction; api_scope() in schema/0009_line.sql reads it. */
static const struct pg_stmt sql_scope = {"scope", "select set_config('complaintd.desks', $1, true)"};

static const struct pg_stmt *const statements[] = {&sql_scope, &sql_clock_show, &sql_clock_look, &sql_clock_set, NULL};

static void look_soon(struct requests *q)
{
    static const struct timeval now = {0, 0};
    event_add(q->timer, &now);
}

static void free_request(struct pending_request *p)
{
    p->owner->nopen--;
    if (p->rereads) {
        p->owner->nrereads--;
        if (p->owner->rereading == p)
            p->owner->rereading = NULL;
        look_soon(p->owner); /* the next one */
    }
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
    if (s != PG_LOST && u->sqlstate[0] && strncmp(u->sqlstate, "CD", 2) != 0)
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

static void send_query(struct requests *q, struct pending_request *p, const struct case_query *query, pg_unit_done done)
{
    struct pg_params params;
    struct pg_stmt stmt = {"", query->sql};
    pg_params_init(&params, p->rereads ? PARAMS_OF_A_MESSAGE : CD_MIB(4));
    pg_begin(q->pg, &p->unit, done);
    if (p->desks) {
        pg_param_text(&params, p->desks);
        pg_step(q->pg, &sql_scope, &params);
        pg_params_reset(&params);
    }
    for (int i = 0; i < query->nparams; i++)
        pg_param_text(&params, query->params[i]);
    pg_step(q->pg, &stmt, &params);
    pg_send(q->pg);
    pg_params_free(&params);
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
    TAILQ_INSERT_TAIL(&p->owner->waiting, p, entry);
    look_soon(p->owner);
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

static void send_find(struct requests *q, struct pending_request *p)
{
    const struct case_query find = {.sql = reread_find_sql, .nparams = 2,
                                    .params = {p->query.params[REREAD_REF], p->query.params[REREAD_MESSAGE]}};
    send_query(q, p, &find, on_found);
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

static void put_reread(struct requests *q, struct pending_request *p)
{
    if (q->nrereads < MAX_REREADS) {
        p->rereads = true;
        q->nrereads++;
        TAILQ_INSERT_TAIL(&q->rereads, p, entry);
        return;
    }
    metrics_inc(M_REREADS_BUSY);
    p->prepared = false;
    reply_set_error(&p->early, "busy", "too many messages wait to be read again", NULL, true);
    TAILQ_INSERT_TAIL(&q->waiting, p, entry);
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

/* ---- CLOCK ---- */

static void clock_ok(struct pending_request *p, int64_t now_us, bool sandbox)
{
    char text[CLOCK_TEXT_SIZE];
    clock_format_s(now_us, text);
    struct reply r = {.ok = true, .body = json_pack("{s:s, s:b}", "now", text, "sandbox", (int)sandbox)};
    reply_and_free(p, &r);
}

static void clock_ended(struct requests *q)
{
    q->advancing = NULL;
    event_del(q->clock_timer);
}

static void clock_poll(struct requests *q, int64_t us)
{
    struct timeval tv = {0, us};
    event_add(q->clock_timer, &tv);
}

static void on_clock_set(struct pg_unit *u, enum pg_status s)
{
    struct requests *q = (struct requests *)((char *)u - offsetof(struct requests, clock_unit));
    if (!q->advancing)
        return;
    if (s != PG_OK) {
        fail(q->advancing, "busy", "the database did not answer", true);
        clock_ended(q);
        return;
    }
    if (strcmp(PQcmdTuples(u->result[0]), "1") == 0)
        clock_set_service_offset_us(q->hop_us - clock_real_us());
    q->quiet_rounds = 0;
    q->h.kick(q->h.arg);
    clock_poll(q, CLOCK_POLL_US);
}

static void clock_set(struct requests *q, int64_t to_us)
{
    struct pg_params p;
    q->hop_us = to_us;
    pg_params_init(&p, CD_KIB(1));
    pg_param_int(&p, to_us);
    pg_begin(q->pg, &q->clock_unit, on_clock_set);
    pg_step(q->pg, &sql_clock_set, &p);
    pg_send(q->pg);
    pg_params_free(&p);
}

/* Quiet twice in a row: what a step fired may be claimed only by the next poll. */
static void on_clock_look(struct pg_unit *u, enum pg_status s)
{
    struct requests *q = (struct requests *)((char *)u - offsetof(struct requests, clock_unit));
    if (!q->advancing)
        return;
    if (s != PG_OK) {
        fail(q->advancing, "busy", "the database did not answer", true);
        clock_ended(q);
        return;
    }
    int64_t open = pg_i64(u->result[0], 0, 0, 0), now = pg_i64(u->result[0], 0, 1, 0), next = pg_i64(u->result[0], 0, 2, 0);
    if (open || !q->h.quiet(q->h.arg)) {
        q->quiet_rounds = 0;
        q->h.kick(q->h.arg);
        clock_poll(q, CLOCK_POLL_US);
    } else if (++q->quiet_rounds < 2) {
        clock_poll(q, CLOCK_POLL_US);
    } else if (now >= q->target_us) {
        struct pending_request *p = q->advancing;
        clock_set_service_offset_us(now - clock_real_us());
        clock_ended(q);
        clock_ok(p, now, true);
    } else if (pg_can_send(q->pg)) {
        clock_set(q, next && next < q->target_us ? next + 1000 : q->target_us);
    } else {
        clock_poll(q, CLOCK_POLL_US);
    }
}

static void on_clock_timer(evutil_socket_t fd, short what, void *arg)
{
    struct requests *q = arg;
    (void)fd;
    (void)what;
    if (!q->advancing)
        return;
    if (!pg_can_send(q->pg)) {
        clock_poll(q, CLOCK_POLL_US);
        return;
    }
    struct pg_params params;
    pg_params_init(&params, CD_KIB(1));
    pg_param_text(&params, q->cfg->notify_paused ? "true" : "false");
    pg_begin(q->pg, &q->clock_unit, on_clock_look);
    pg_step(q->pg, &sql_clock_look, &params);
    pg_send(q->pg);
    pg_params_free(&params);
}

static void on_clock_show(struct pg_unit *u, enum pg_status s)
{
    struct pending_request *p = (struct pending_request *)((char *)u - offsetof(struct pending_request, unit));
    struct requests *q = p->owner;
    if (s != PG_OK) {
        fail(p, "busy", "the database did not answer", true);
        return;
    }
    int64_t now = pg_i64(u->result[0], 0, 0, 0);
    bool sandbox = str_eq(pg_text(u->result[0], 0, 1), "t");
    const json_t *by = json_object_get(p->rq.args, "advance");
    if (!by) {
        clock_ok(p, now, sandbox);
        return;
    }
    int64_t us;
    if (!sandbox)
        fail(p, "not-sandbox", "the clock moves only in a database that is marked as a sandbox", false);
    else if (!json_is_string(by) || str_parse_duration(json_string_value(by), &us) < 0 || us <= 0)
        fail(p, "bad-argument", "\"advance\" takes a duration such as \"3d\" or \"90min\"", false);
    else if (q->advancing)
        fail(p, "busy", "the clock is being advanced already", true);
    else {
        q->advancing = p;
        q->target_us = now + us;
        q->quiet_rounds = 0;
        clock_poll(q, 1);
    }
}

/* ---- the queue ---- */

static void send_clock_show(struct requests *q, struct pending_request *p)
{
    pg_begin(q->pg, &p->unit, on_clock_show);
    pg_step(q->pg, &sql_clock_show, NULL);
    pg_send(q->pg);
}

static bool needs_database(const struct pending_request *p)
{
    return p->prepared || p->local;
}

static void kick(struct requests *q)
{
    struct pending_request *p;
    next_reread(q);
    while ((p = TAILQ_FIRST(&q->waiting))) {
        if (needs_database(p) && !pg_can_send(q->pg))
            break;
        TAILQ_REMOVE(&q->waiting, p, entry);
        if (p->local)
            send_clock_show(q, p);
        else if (p->rereads && !p->reread)
            send_find(q, p);
        else if (p->prepared)
            send_query(q, p, &p->query, on_case);
        else
            reply_and_free(p, &p->early);
    }
    if (p && !pg_usable(q->pg)) { /* away: nobody waits for long for an answer that cannot come */
        TAILQ_CONCAT(&q->waiting, &q->rereads, entry);
        while ((p = TAILQ_FIRST(&q->waiting))) {
            TAILQ_REMOVE(&q->waiting, p, entry);
            fail(p, "busy", "the database is not reachable", true);
        }
    }
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
    q->nopen++;
    p->local = strcmp(rq->verb, "CLOCK") == 0;
    if (q->nopen > MAX_OPEN || q->closing) {
        p->local = false;
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
    }
    if (p->prepared && strcmp(p->rq.verb, "REREAD") == 0)
        put_reread(q, p);
    else
        TAILQ_INSERT_TAIL(&q->waiting, p, entry);
    look_soon(q);
}

struct requests *requests_new(struct event_base *base, const struct config *c, const struct requests_hooks *h)
{
    struct requests *q = cd_alloc(sizeof *q);
    q->base = base;
    q->cfg = c;
    q->h = *h;
    TAILQ_INIT(&q->waiting);
    TAILQ_INIT(&q->rereads);
    q->timer = evtimer_new(base, on_timer, q);
    q->clock_timer = evtimer_new(base, on_clock_timer, q);
    cd_assert(q->timer && q->clock_timer);
    q->pg = pg_new(base, &(struct pg_options){
                             .name = "work",
                             .dsn = c->database_dsn,
                             .statements = statements,
                             .max_in_flight = 16,
                             .reconnect_max_us = c->database_reconnect_max_us,
                             .ready = on_ready,
                             .arg = q,
                         });
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
    if (q->advancing) {
        fail(q->advancing, "busy", "the daemon is stopping", true);
        q->advancing = NULL;
    }
    pg_free(&q->pg);
    TAILQ_CONCAT(&q->waiting, &q->rereads, entry);
    while ((p = TAILQ_FIRST(&q->waiting))) {
        TAILQ_REMOVE(&q->waiting, p, entry);
        fail(p, "busy", "the daemon is stopping", true);
    }
    event_free(q->timer);
    event_free(q->clock_timer);
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

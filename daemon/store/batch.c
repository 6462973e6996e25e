/* The batch writer. Items wait in one queue; when the intake connection has no unit open, a run of them goes out as one transaction.
 * What the ledger knew already is asked for in a second unit. A batch that fails is replayed as it was (inserts are idempotent), a
 * batch with a poisoned row is halved until that row stands alone. Items belong to the caller throughout. */
#include "daemon/store/batch.h"

#include <stdio.h>
#include <string.h>

#include "daemon/core/clock.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/store/batch_sql.h"
#include "daemon/store/run.h"

#define MAX_ATTEMPTS 8

TAILQ_HEAD(item_list, store_item);

struct batch {
    const struct config *cfg;
    struct pg *pg;
    struct item_list waiting;
    size_t nwaiting;
    struct run_list retry; /* runs to be sent again, before anything new */
    struct event *timer;   /* waits out the budget, and pauses between replays */
    bool in_flight;
    int64_t sent_us;       /* when the run in flight was sent */
    int64_t pause_until_us;
};

static void kick(struct batch *b);

static size_t item_bytes(const struct store_item *it)
{
    size_t n = it->env->raw.len + 1500;
    return it->rec && it->rec->text ? n + strlen(it->rec->text) : n;
}

static struct run *next_run(struct batch *b)
{
    struct run *r = TAILQ_FIRST(&b->retry);
    if (r) {
        TAILQ_REMOVE(&b->retry, r, entry);
        return r;
    }
    struct store_item *first = TAILQ_FIRST(&b->waiting), *it;
    if (!first)
        return NULL;
    r = cd_alloc(sizeof *r);
    r->batch = b;
    r->pending = first->pending;
    size_t bytes = 0, max = CD_MIN(b->cfg->database_batch_rows, (uint64_t)RUN_MAX);
    while ((it = TAILQ_FIRST(&b->waiting)) && it->pending == r->pending && r->n < max &&
           (r->n == 0 || bytes + item_bytes(it) <= b->cfg->database_batch_bytes)) {
        bytes += item_bytes(it);
        TAILQ_REMOVE(&b->waiting, it, entry);
        b->nwaiting--;
        r->items[r->n++] = it;
    }
    return r;
}

/* Every item exactly once. */
static void answer(struct run *r, size_t i, enum store_verdict v)
{
    struct store_item *it = r->items[i];
    r->items[i] = NULL;
    if (it)
        it->done(it, v);
}

static void answer_all(struct run *r, enum store_verdict v)
{
    for (size_t i = 0; i < r->n; i++)
        answer(r, i, v);
}

/* ---- answers ---- */

static struct store_item **find_id(struct run *r, const struct uuid *id)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->items[i] && uuid_equal(&r->items[i]->env->id, id))
            return &r->items[i];
    return NULL;
}

/* Answers what the first statement stored; the rest were duplicates. */
static size_t answer_stored(struct run *r, const PGresult *res)
{
    const char *ids = pg_text(res, 0, 0);
    size_t left = r->n;
    while (ids && strlen(ids) >= UUID_TEXT_SIZE - 1) {
        char one[UUID_TEXT_SIZE];
        struct uuid id;
        memcpy(one, ids, UUID_TEXT_SIZE - 1);
        one[UUID_TEXT_SIZE - 1] = '\0';
        struct store_item **slot = uuid_parse(one, &id) == 0 ? find_id(r, &id) : NULL;
        if (slot) {
            (*slot)->duplicate = false;
            metrics_inc(M_STORE_ROWS);
            answer(r, (size_t)(slot - r->items), STORE_DONE);
            left--;
        }
        ids += UUID_TEXT_SIZE - 1;
        ids += *ids == ',';
    }
    return left;
}

static void free_run(struct run *r)
{
    free(r);
}

static void finished(struct batch *b)
{
    b->in_flight = false;
    kick(b);
}

static void take_duplicate(struct store_item *it, const PGresult *res, int row)
{
    struct uuid id;
    char digest[2 * SHA256_SIZE + 1];
    const char *s;
    hex_encode(it->env->digest, SHA256_SIZE, digest);
    bool ours = pg_uuid(res, row, 1, &id) == 0 && uuid_equal(&id, &it->env->id);
    it->duplicate = !ours; /* the same id: a replay of our own commit whose answer was lost */
    if (!ours && (s = pg_text(res, row, 3)) && strcmp(s, digest) != 0)
        it->outcome = OUT_COUNT; /* same key, other content: the caller says so */
    else if ((s = pg_text(res, row, 2)))
        it->outcome = ours ? (enum outcome)outcome_from_name(s) : OUT_DUPLICATE;
    snprintf(it->ref, sizeof it->ref, "%s", (s = pg_text(res, row, 4)) ? s : "");
    snprintf(it->dup_category, sizeof it->dup_category, "%s", (s = pg_text(res, row, 5)) ? s : "");
    snprintf(it->dup_priority, sizeof it->dup_priority, "%s", (s = pg_text(res, row, 6)) ? s : "");
    snprintf(it->dup_team, sizeof it->dup_team, "%s", (s = pg_text(res, row, 7)) ? s : "");
    it->dup_due_us = pg_i64(res, row, 8, 0);
}

static void on_duplicates(struct pg_unit *u, enum pg_status s)
{
    struct run *r = (struct run *)((char *)u - offsetof(struct run, duplicates));
    struct batch *b = r->batch;
    const PGresult *res = s == PG_OK ? u->result[0] : NULL;
    for (size_t i = 0; i < r->n; i++) {
        struct store_item *it = r->items[i];
        char hex[2 * LEDGER_KEY_SIZE + 1];
        bool found = false;
        if (!it)
            continue;
        hex_encode(it->ukey, LEDGER_KEY_SIZE, hex);
        for (int row = 0; res && row < PQntuples(res) && !found; row++)
            if (strcmp(PQgetvalue(res, row, 0), hex) == 0) {
                take_duplicate(it, res, row);
                found = true;
            }
        answer(r, i, found ? STORE_DONE : STORE_RETRY);
    }
    free_run(r);
    finished(b);
}

static bool ask_duplicates(struct run *r)
{
    struct batch *b = r->batch;
    struct pg_params p;
    if (!pg_can_send(b->pg))
        return false;
    pg_params_init(&p, CD_MIB(1));
    pg_array_begin(&p, PG_BYTEA);
    for (size_t i = 0; i < r->n; i++)
        for (size_t d = 0; r->items[i] && d < r->items[i]->env->desks.n; d++)
            pg_el_bytes(&p, r->items[i]->ukey, LEDGER_KEY_SIZE);
    pg_array_end(&p);
    pg_array_begin(&p, PG_TEXT);
    for (size_t i = 0; i < r->n; i++)
        for (size_t d = 0; r->items[i] && d < r->items[i]->env->desks.n; d++)
            pg_el_text(&p, r->items[i]->env->desks.v[d]);
    pg_array_end(&p);
    pg_begin(b->pg, &r->duplicates, on_duplicates);
    pg_step(b->pg, &batch_sql_duplicates, &p);
    pg_send(b->pg);
    pg_params_free(&p);
    return true;
}

static void learn_time(const PGresult *res)
{
    int64_t now = pg_i64(res, 0, 1, 0);
    if (now)
        clock_set_service_offset_us(now - clock_real_us());
}

static void run_done(struct run *r, const PGresult *res)
{
    struct batch *b = r->batch;
    learn_time(res);
    metrics_inc(M_STORE_BATCHES);
    metrics_observe(H_STORE_COMMIT, clock_mono_us() - b->sent_us);
    metrics_observe(H_STORE_BATCH, (int64_t)r->n);
    if (answer_stored(r, res) == 0) {
        free_run(r);
        finished(b);
        return;
    }
    if (!ask_duplicates(r)) {
        answer_all(r, STORE_RETRY);
        free_run(r);
        finished(b);
    }
}

/* Halves the run, so that a row that cannot be stored as it is ends up alone and fails alone. */
static void split(struct run *r)
{
    struct batch *b = r->batch;
    struct run *second = cd_alloc(sizeof *second);
    size_t half = r->n / 2;
    second->batch = b;
    second->pending = r->pending;
    second->n = r->n - half;
    memcpy(second->items, r->items + half, second->n * sizeof *r->items);
    r->n = half;
    TAILQ_INSERT_HEAD(&b->retry, second, entry);
    TAILQ_INSERT_HEAD(&b->retry, r, entry);
}

static void replay(struct run *r, int64_t pause_us)
{
    struct batch *b = r->batch;
    int64_t now = clock_mono_us();
    bool over = false;
    metrics_inc(M_STORE_RETRIES);
    for (size_t i = 0; i < r->n; i++)
        over |= ++r->items[i]->attempts > MAX_ATTEMPTS || now - r->items[i]->queued_mono_us > b->cfg->database_commit_budget_us;
    if (over) {
        answer_all(r, STORE_RETRY);
        free_run(r);
        return;
    }
    TAILQ_INSERT_HEAD(&b->retry, r, entry);
    b->pause_until_us = now + pause_us;
}

static void run_failed(struct run *r, enum pg_status s)
{
    struct batch *b = r->batch;
    const struct pg_unit *u = &r->unit;
    log_event(LOG_L_WARN, EV_STORE_BATCH_FAILED, "rows=%zu sqlstate=%s error=%s", r->n, u->sqlstate[0] ? u->sqlstate : "-", log_text(u->error));
    if ((s == PG_RACE || s == PG_POISON) && r->n > 1) {
        split(r);
    } else if (s == PG_RACE) {
        answer_all(r, STORE_AGAIN);
        free_run(r);
    } else if (s == PG_POISON) {
        metrics_inc(M_STORE_POISON);
        answer_all(r, STORE_POISON);
        free_run(r);
    } else if (s == PG_NOT_DURABLE) {
        answer_all(r, STORE_RETRY);
        free_run(r);
    } else {
        replay(r, s == PG_TEMPORARY ? CD_MSEC(50) : 0);
    }
    finished(b);
}

static void on_unit(struct pg_unit *u, enum pg_status s)
{
    struct run *r = (struct run *)((char *)u - offsetof(struct run, unit));
    if (s == PG_OK)
        run_done(r, u->result[0]);
    else
        run_failed(r, s);
}

static void send_run(struct batch *b, struct run *r)
{
    b->in_flight = true;
    b->sent_us = clock_mono_us();
    pg_begin(b->pg, &r->unit, on_unit);
    run_write(r, b->pg);
    pg_send(b->pg);
}

static void arm(struct batch *b, int64_t us)
{
    struct timeval tv = {us / 1000000, us % 1000000};
    if (us == 0 || !evtimer_pending(b->timer, NULL)) /* a guard that is far off must not hold up what could go now */
        event_add(b->timer, &tv);
}

static void kick(struct batch *b)
{
    int64_t now = clock_mono_us();
    metrics_set(M_STORE_UP, batch_usable(b));
    if (b->in_flight) {
        if (b->nwaiting)
            arm(b, CD_MSEC(100)); /* so that those who wait behind a batch that hangs are told in time */
        return;
    }
    if (!pg_can_send(b->pg) || now < b->pause_until_us) {
        if (b->nwaiting || !TAILQ_EMPTY(&b->retry))
            arm(b, CD_MSEC(20));
        return;
    }
    struct run *r = next_run(b);
    if (r)
        send_run(b, r);
}

/* While the database is away: what waited longer than the budget is answered "try again". */
static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct batch *b = arg;
    int64_t limit = clock_mono_us() - b->cfg->database_commit_budget_us;
    struct store_item *it;
    struct run *r;
    (void)fd;
    (void)what;
    if (!batch_usable(b)) {
        while ((it = TAILQ_FIRST(&b->waiting)) && it->queued_mono_us < limit) {
            TAILQ_REMOVE(&b->waiting, it, entry);
            b->nwaiting--;
            it->done(it, STORE_RETRY);
        }
        while ((r = TAILQ_FIRST(&b->retry)) && r->n && r->items[0]->queued_mono_us < limit) {
            TAILQ_REMOVE(&b->retry, r, entry);
            answer_all(r, STORE_RETRY);
            free_run(r);
        }
    }
    kick(b);
}

static void on_ready(void *arg)
{
    kick(arg);
}

struct batch *batch_new(struct event_base *base, const struct config *c)
{
    static const struct pg_stmt *statements[9];
    struct batch *b = cd_alloc(sizeof *b);
    const struct pg_stmt *all[] = {batch_sql_store(), &batch_sql_attach, &batch_sql_attachments, &batch_sql_told, &batch_sql_links, &batch_sql_unpend,
                                   &batch_sql_pending, &batch_sql_duplicates, NULL};
    memcpy(statements, all, sizeof all);
    b->cfg = c;
    TAILQ_INIT(&b->waiting);
    TAILQ_INIT(&b->retry);
    b->timer = evtimer_new(base, on_timer, b);
    cd_assert(b->timer);
    b->pg = pg_new(base, &(struct pg_options){
                             .name = "intake",
                             .dsn = c->database_dsn,
                             /* a plan made while the tables are empty must not stay a sequential scan */
                             .setup = "set enable_seqscan = off; set plan_cache_mode = force_generic_plan",
                             .statements = statements,
                             .max_in_flight = 2,
                             .answer_limit_us = CD_SEC(10),
                             .reconnect_max_us = c->database_reconnect_max_us,
                             .ready = on_ready,
                             .arg = b,
                         });
    return b;
}

void batch_free(struct batch **pb)
{
    struct batch *b = *pb;
    struct store_item *it;
    struct run *r;
    if (!b)
        return;
    *pb = NULL;
    b->pause_until_us = INT64_MAX; /* nothing is sent any more */
    pg_free(&b->pg);
    while ((r = TAILQ_FIRST(&b->retry))) {
        TAILQ_REMOVE(&b->retry, r, entry);
        answer_all(r, STORE_RETRY);
        free_run(r);
    }
    while ((it = TAILQ_FIRST(&b->waiting))) {
        TAILQ_REMOVE(&b->waiting, it, entry);
        it->done(it, STORE_RETRY);
    }
    event_free(b->timer);
    free(b);
}

void batch_put(struct batch *b, struct store_item *it)
{
    it->queued_mono_us = clock_mono_us();
    TAILQ_INSERT_TAIL(&b->waiting, it, entry);
    b->nwaiting++;
    arm(b, b->in_flight ? CD_MSEC(100) : 0); /* from the loop, and after everything else that this pass brings */
}

/* A database that takes longer than the budget for a batch is as good as away: nothing more is let in that would wait for it. */
bool batch_usable(const struct batch *b)
{
    return pg_usable(b->pg) && !(b->in_flight && clock_mono_us() - b->sent_us > b->cfg->database_commit_budget_us);
}

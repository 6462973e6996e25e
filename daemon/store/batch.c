/* The batch writer. Items wait in one queue; a run of them goes out as one transaction as soon as the intake connection has room for it. Two
 * may be on their way, so that the database has the next one at hand when it has committed; the second may have been decided on what
 * the first one writes (a thread, a customer), so every run checks what it needs by itself: it fails if the first did, and is decided anew.
 * A run that fails for a key that is there already is decided anew as a whole, one whose connection went is sent again as it was (its
 * keys tell whether it had been committed), one with a poisoned row is halved until that row stands alone. Items belong to the caller
 * throughout. */
#include "daemon/store/batch.h"

#include <stdio.h>
#include <string.h>

#include "daemon/core/clock.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/store/batch_sql.h"
#include "daemon/store/run.h"

#define MAX_ATTEMPTS 8
#define MAX_IN_FLIGHT 2
#define TIME_EVERY_US CD_MSEC(200) /* how often the database's clock is asked */

TAILQ_HEAD(item_list, store_item);

struct batch {
    const struct config *cfg;
    struct pg *pg;
    struct item_list waiting;
    size_t nwaiting;
    struct run_list retry; /* runs to be sent again, before anything new */
    struct event *timer;   /* waits out the budget, and pauses between replays */
    struct answers *answers; /* given, and not yet counted in the database */
    struct event *count; /* for when no run comes that could take them along */
    struct run_list in_flight; /* oldest first */
    size_t nin_flight;
    int64_t time_asked_us;
    int64_t pause_until_us;
};

static void kick(struct batch *b);

static size_t item_bytes(const struct store_item *it)
{
    size_t n = it->env->raw.len + 1500;
    const char *texts[] = {it->rec ? it->rec->text : NULL, it->rec ? it->rec->text_new : NULL, it->rec ? it->rec->text_quoted : NULL};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        n += texts[i] ? strlen(texts[i]) : 0;
    return n;
}

static struct run *new_run(struct batch *b, enum run_kind kind)
{
    struct run *r = cd_alloc(sizeof *r);
    r->batch = b;
    r->cfg = b->cfg;
    r->kind = kind;
    return r;
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
    r = new_run(b, run_kind_of(first));
    size_t bytes = 0, max = first->alone ? 1 : CD_MIN(b->cfg->database_batch_rows, (uint64_t)RUN_MAX);
    while ((it = TAILQ_FIRST(&b->waiting)) && run_kind_of(it) == r->kind && r->n < max && (r->n == 0 || !it->alone) &&
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

static void end(struct run *r, enum store_verdict v)
{
    answer_all(r, v);
    free(r);
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

/* Another desk's copy of what waits for triage: until there is a complaint, the desk cannot be added to it. */
static bool too_early(const struct store_item *it, const PGresult *res, int row)
{
    const char *desk = pg_text(res, row, 9);
    bool other = false;
    for (size_t i = 0; i < it->env->desks.n; i++)
        other |= !str_eq(it->env->desks.v[i], desk);
    return other && it->duplicate && it->outcome == OUT_DUPLICATE && str_eq(pg_text(res, row, 2), outcome_name(OUT_PENDING));
}

/* What the look-up saw in the ledger is there still, unless somebody took it out by hand. */
static void answer_known(struct run *r, const PGresult *res)
{
    for (size_t i = 0; i < r->n; i++) {
        struct store_item *it = r->items[i];
        char hex[2 * LEDGER_KEY_SIZE + 1];
        bool found = false;
        hex_encode(it->ukey, LEDGER_KEY_SIZE, hex);
        for (int row = 0; row < PQntuples(res); row++)
            if (strcmp(PQgetvalue(res, row, 0), hex) == 0) {
                take_duplicate(it, res, row);
                found = !too_early(it, res, row);
                break;
            }
        answer(r, i, found ? STORE_DONE : STORE_RETRY);
    }
    free(r);
}

static void count_answers(struct run *r)
{
    answers_taken_free(&r->answers);
    for (size_t i = 0; r->kind == RUN_STORE && i < r->n; i++)
        if (r->items[i]->answered)
            answers_count(r->batch->answers, r->items[i]->answered);
}

static void run_done(struct run *r)
{
    int64_t now = r->asks_time ? pg_i64(r->unit.result[r->unit.got - 1], 0, 0, 0) : 0;
    if (now)
        clock_set_service_offset_us(now - clock_real_us());
    count_answers(r);
    if (r->kind == RUN_KNOWN) {
        answer_known(r, r->unit.result[0]);
        return;
    }
    metrics_add(M_STORE_BATCHES, r->n > 0);
    metrics_add(M_STORE_ROWS, r->n);
    metrics_observe(H_STORE_COMMIT, clock_mono_us() - r->sent_us);
    if (r->n)
        metrics_observe(H_STORE_BATCH, (int64_t)r->n);
    end(r, STORE_DONE);
}

/* Halves the run, so that a row that cannot be stored as it is ends up alone and fails alone. */
static void split(struct run *r)
{
    struct batch *b = r->batch;
    struct run *second = new_run(b, r->kind);
    size_t half = r->n / 2;
    second->sent_us = r->sent_us;
    second->n = r->n - half;
    memcpy(second->items, r->items + half, second->n * sizeof *r->items);
    r->n = half;
    TAILQ_INSERT_HEAD(&b->retry, second, entry);
    TAILQ_INSERT_HEAD(&b->retry, r, entry);
}

/* In the order in which they were sent: the second of two that come back may build on the first. */
static void put_back(struct batch *b, struct run *r)
{
    struct run *later = TAILQ_FIRST(&b->retry);
    while (later && later->sent_us <= r->sent_us)
        later = TAILQ_NEXT(later, entry);
    if (later)
        TAILQ_INSERT_BEFORE(later, r, entry);
    else
        TAILQ_INSERT_TAIL(&b->retry, r, entry);
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
        end(r, STORE_RETRY);
        return;
    }
    put_back(b, r);
    b->pause_until_us = now + pause_us;
}

static void run_failed(struct run *r, enum pg_status s)
{
    const struct pg_unit *u = &r->unit;
    answers_put_back(r->batch->answers, &r->answers);
    log_event(LOG_L_WARN, EV_STORE_BATCH_FAILED, "rows=%zu sqlstate=%s error=%s", r->n, u->sqlstate[0] ? u->sqlstate : "-", log_text(u->error));
    if (!r->n) { /* it had nothing but counts, which come again */
        free(r);
    } else if (s == PG_RACE) { /* whose key it was is not said: the next look-up shows it */
        metrics_inc(M_STORE_RACES);
        end(r, STORE_AGAIN);
    } else if (s == PG_POISON && r->n > 1) {
        split(r);
    } else if (s == PG_POISON) {
        metrics_inc(M_STORE_POISON);
        end(r, STORE_POISON);
    } else if (s == PG_NOT_DURABLE) {
        end(r, STORE_RETRY);
    } else {
        replay(r, s == PG_TEMPORARY ? CD_MSEC(50) : 0);
    }
}

static void on_unit(struct pg_unit *u, enum pg_status s)
{
    struct run *r = (struct run *)((char *)u - offsetof(struct run, unit));
    struct batch *b = r->batch;
    TAILQ_REMOVE(&b->in_flight, r, entry);
    b->nin_flight--;
    if (s == PG_OK)
        run_done(r);
    else
        run_failed(r, s);
    kick(b);
}

static void send_run(struct batch *b, struct run *r)
{
    r->sent_us = clock_mono_us();
    if (!r->answers)
        r->answers = answers_take(b->answers, r->sent_us);
    r->asks_time = r->sent_us - b->time_asked_us >= TIME_EVERY_US;
    if (r->asks_time)
        b->time_asked_us = r->sent_us;
    TAILQ_INSERT_TAIL(&b->in_flight, r, entry);
    b->nin_flight++;
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

/* A second run goes out beside the first once it is worth its fixed costs: about half as many wait as are on their way. */
static bool may_send(const struct batch *b)
{
    const struct run *first = TAILQ_FIRST(&b->in_flight);
    return !first || !TAILQ_EMPTY(&b->retry) || b->nwaiting * 2 >= first->n;
}

static void kick(struct batch *b)
{
    int64_t now = clock_mono_us();
    struct run *r;
    metrics_set(M_STORE_UP, batch_usable(b));
    while (pg_can_send(b->pg) && now >= b->pause_until_us && may_send(b) && (r = next_run(b)))
        send_run(b, r);
    if (b->nin_flight && b->nwaiting)
        arm(b, CD_MSEC(100)); /* so that those who wait behind a batch that hangs are told in time */
    else if (b->nwaiting || !TAILQ_EMPTY(&b->retry))
        arm(b, CD_MSEC(20));
}

static void on_count(evutil_socket_t fd CD_UNUSED, short what CD_UNUSED, void *arg)
{
    struct batch *b = arg;
    struct answers_taken *t;
    if (b->nin_flight || b->nwaiting || !TAILQ_EMPTY(&b->retry) || !pg_can_send(b->pg) || !(t = answers_take(b->answers, clock_mono_us())))
        return;
    struct run *r = new_run(b, RUN_STORE);
    r->answers = t;
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
            end(r, STORE_RETRY);
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
    struct batch *b = cd_alloc(sizeof *b);
    b->cfg = c;
    TAILQ_INIT(&b->waiting);
    TAILQ_INIT(&b->retry);
    TAILQ_INIT(&b->in_flight);
    b->answers = answers_new();
    b->timer = evtimer_new(base, on_timer, b);
    cd_assert(b->timer);
    b->count = event_new(base, -1, EV_PERSIST, on_count, b);
    const struct timeval later = {ANSWERS_LATER_US / CD_SEC(1), 0};
    cd_assert(b->count && event_add(b->count, &later) == 0);
    b->pg = pg_new(base, &(struct pg_options){
                             .name = "intake",
                             .dsn = c->database_dsn,
                             .statements = batch_sql_all(),
                             .max_in_flight = MAX_IN_FLIGHT,
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
        end(r, STORE_RETRY);
    }
    while ((it = TAILQ_FIRST(&b->waiting))) {
        TAILQ_REMOVE(&b->waiting, it, entry);
        it->done(it, STORE_RETRY);
    }
    event_free(b->timer);
    event_free(b->count);
    answers_free(&b->answers);
    free(b);
}

void batch_put(struct batch *b, struct store_item *it)
{
    it->queued_mono_us = clock_mono_us();
    TAILQ_INSERT_TAIL(&b->waiting, it, entry);
    b->nwaiting++;
    arm(b, b->nin_flight == MAX_IN_FLIGHT ? CD_MSEC(100) : 0); /* from the loop, and after everything else that this pass brings */
}

uint64_t batch_answers_kept(const struct batch *b, const char *address)
{
    return answers_kept(b->answers, address);
}

/* A database that takes longer than the budget for a batch is as good as away: nothing more is let in that would wait for it. */
bool batch_usable(const struct batch *b)
{
    const struct run *oldest = TAILQ_FIRST(&b->in_flight);
    return pg_usable(b->pg) && !(oldest && clock_mono_us() - oldest->sent_us > b->cfg->database_commit_budget_us);
}

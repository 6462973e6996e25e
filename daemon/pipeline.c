/* The pipeline. A job is owned by the list of all jobs from submit to finish; stages hold it by number (worker), by its embedded
 * request (look-up) or its embedded item (store). Every job is answered exactly once, in finish(). */
#include "daemon/pipeline.h"

#include <stdio.h>
#include <string.h>

#include "daemon/core/clock.h"
#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/crews.h"
#include "daemon/intake/gate.h"
#include "daemon/pipeline_scan.h"
#include "daemon/store/batch.h"

#define SWEEP_US CD_MSEC(100)
#define MAX_ROUNDS 8
#define TURN_WAIT_US CD_SEC(30) /* a large envelope that had no turn by then is stored as pending */

TAILQ_HEAD(job_list, job);

struct pipeline {
    const struct config *cfg;
    struct crews *crews;
    struct lookup *lookup;
    struct batch *batch;
    struct scanner *scanner;
    struct job_list jobs;
    size_t njobs;
    struct event *sweep;
    bool closing;
};

static void enter(struct pipeline *p, struct job *j);

/* ---- the end of a job ---- */

static void free_job(struct pipeline *p, struct job *j)
{
    TAILQ_REMOVE(&p->jobs, j, entry);
    p->njobs--;
    gate_leave(j->charged_bytes);
    job_undecide(j);
    job_scan_free(j);
    if (j->ledger) {
        if (j->ledger->owner == j)
            j->ledger->owner = NULL;
        inflight_release(j->ledger);
    }
    lookup_clear(&j->look);
    record_free(&j->rec);
    envelope_free(&j->env);
    free(j->handle);
    free(j->answer_to);
    free(j->told_key);
    free(j->sender);
    free(j);
}

/* The jobs that waited for this one's key. The same content for the same desks has the same answer; whatever differs asks the ledger
 * itself: it may be another desk's copy, or the content that the ledger holds while this job's was refused. */
static void answer_waiters(struct pipeline *p, struct job *j, enum ack_verdict v)
{
    struct waiters waiters = TAILQ_HEAD_INITIALIZER(waiters);
    struct job *w;
    TAILQ_CONCAT(&waiters, &j->waiters, waiter);
    if (j->ledger && j->ledger->owner == j)
        j->ledger->owner = NULL;
    while ((w = TAILQ_FIRST(&waiters))) {
        TAILQ_REMOVE(&waiters, w, waiter);
        bool same = job_same_content(w, j);
        if (v == ACK_STORED && !same && !p->closing) {
            enter(p, w);
            continue;
        }
        job_copy_answer(w, j);
        job_answer(w, v == ACK_STORED && !same ? ACK_RETRY_LATER : v);
        free_job(p, w);
    }
}

static void finish(struct pipeline *p, struct job *j, enum ack_verdict v)
{
    if (j->read_done) {
        j->read_done(j->read_arg, v == ACK_STORED ? j->rec : NULL, j->env);
        free_job(p, j);
        return;
    }
    job_answer(j, v);
    answer_waiters(p, j, v);
    free_job(p, j);
}

/* ---- stages ---- */

static struct pipeline *the_pipeline; /* one front, one pipeline: callbacks of embedded parts find it here */

static void decide_again(struct pipeline *p, struct job *j);

/* The rules changed since the worker matched it: the record says nothing about the new ones. */
static bool matched_by_old_rules(const struct pipeline *p, const struct job *j)
{
    return j->rec && !(j->rec->flags & REC_DEGRADED) && j->rules_generation != crews_generation(p->crews);
}

static void triage_again(struct pipeline *p, struct job *j)
{
    record_free(&j->rec);
    crews_give(p->crews, j);
}

static void on_stored(struct store_item *it, enum store_verdict v)
{
    struct job *j = (struct job *)((char *)it - offsetof(struct job, item));
    struct pipeline *p = the_pipeline;
    char id[UUID_TEXT_SIZE];
    switch (v) {
    case STORE_DONE:
        finish(p, j, ACK_STORED);
        break;
    case STORE_AGAIN:
        decide_again(p, j);
        break;
    case STORE_POISON:
        if (!j->item.pending && !(j->rec && (j->rec->flags & REC_DEGRADED))) {
            job_undecide(j);
            record_free(&j->rec);
            j->rec = record_degraded(j->env, "the database refused the decoded form");
            metrics_inc(M_DEGRADED);
            decide_again(p, j);
            break;
        }
        uuid_format(&j->env->id, id);
        log_event(LOG_L_ERROR, EV_INTAKE_UNSTORABLE, "id=%s channel=%s size=%zu", id, channel_name(j->env->channel), j->env->raw.len);
        finish(p, j, ACK_RETRY_LATER);
        break;
    case STORE_RETRY:
        finish(p, j, ACK_RETRY_LATER);
        break;
    }
}

static void store_pending(struct pipeline *p, struct job *j, const char *reason);

/* Accepted before: by this very job, when the answer to its commit was lost, or as a copy. What waits to be triaged is for this job to do. */
static bool known(const struct job *j)
{
    const struct lookup_request *q = &j->look;
    return q->receipt_found && !(j->env->from_pending && q->receipt_pending && uuid_equal(&q->receipt_id, &j->env->id));
}

static void ask_answer_given(struct pipeline *p, struct job *j)
{
    j->item = (struct store_item){.env = j->env, .rec = j->rec, .known = true, .done = on_stored};
    memcpy(j->item.ukey, j->ukey, sizeof j->item.ukey);
    j->stage = JOB_STORE;
    batch_put(p->batch, &j->item);
}

static void on_looked_up(struct lookup_request *q, bool ok)
{
    struct job *j = (struct job *)((char *)q - offsetof(struct job, look));
    struct pipeline *p = the_pipeline;
    if (!ok) {
        finish(p, j, ACK_RETRY_LATER);
        return;
    }
    if (known(j)) {
        ask_answer_given(p, j);
        return;
    }
    if (!j->rec) {
        store_pending(p, j, j->item.pending_reason);
        return;
    }
    if (matched_by_old_rules(p, j)) {
        triage_again(p, j);
        return;
    }
    q->answers_since = batch_answers_kept(p->batch, j->answer_to ? j->answer_to : j->handle);
    job_decide(p->cfg, j);
    j->stage = JOB_STORE;
    j->item.done = on_stored;
    batch_put(p->batch, &j->item);
}

static void look_up(struct pipeline *p, struct job *j)
{
    j->stage = JOB_LOOKUP;
    job_ask(j);
    j->look.done = on_looked_up;
    lookup_put(p->lookup, &j->look);
}

static void decide_again(struct pipeline *p, struct job *j)
{
    job_undecide(j);
    if (p->closing || ++j->rounds > MAX_ROUNDS) {
        finish(p, j, ACK_RETRY_LATER);
        return;
    }
    if (j->rec)
        job_prepare(j);
    look_up(p, j);
}

static void on_scanned(struct job *j)
{
    look_up(the_pipeline, j);
}

static void triaged(struct pipeline *p, struct job *j)
{
    char id[UUID_TEXT_SIZE];
    if (j->read_done) { /* the message is stored already */
        finish(p, j, ACK_STORED);
        return;
    }
    if (j->rec->flags & REC_DEGRADED) {
        metrics_inc(M_DEGRADED);
        uuid_format(&j->env->id, id);
        log_event(LOG_L_WARN, EV_INTAKE_DEGRADED, "id=%s channel=%s reason=%s", id, channel_name(j->env->channel),
                  log_text(j->rec->degraded_reason));
    }
    job_prepare(j);
    if (!job_scan_begin(p->scanner, p->cfg, j, on_scanned))
        look_up(p, j);
}

static void take_record(struct pipeline *p, struct job *j, enum worker_outcome o, const uint8_t *data, size_t n)
{
    const char *why = o == WORKER_DIED ? "the decoder died of it" : o == WORKER_TIMEOUT ? "decoding took too long" : NULL;
    if (!why && (record_read(data, n, &j->rec) < 0 || !record_fits(j->rec, j->env)))
        why = "the decoder's answer is malformed";
    if (why) {
        record_free(&j->rec);
        j->rec = record_degraded(j->env, why);
    }
    triaged(p, j);
}

static void on_worker(void *arg, struct job *j, enum worker_outcome o, const uint8_t *data, size_t n)
{
    if (o == WORKER_CLOSED)
        finish(arg, j, ACK_RETRY_LATER);
    else
        take_record(arg, j, o, data, n);
}

static void store_pending(struct pipeline *p, struct job *j, const char *reason)
{
    struct store_item *it = &j->item;
    memset(it, 0, sizeof *it);
    it->env = j->env;
    it->pending = true;
    it->pending_reason = reason;
    it->outcome = OUT_PENDING;
    it->alone = j->rounds > 0;
    memcpy(it->ukey, j->ukey, sizeof it->ukey);
    it->done = on_stored;
    j->stage = JOB_STORE;
    batch_put(p->batch, it);
}

/* Jobs that no worker answered within the budget are stored raw, and triaged later. A pending envelope that is late again simply
 * stays pending. */
static void give_up_triage(struct pipeline *p, struct job *j)
{
    crews_forget(p->crews, j);
    if (j->env->from_pending)
        finish(p, j, ACK_RETRY_LATER);
    else
        store_pending(p, j, crews_alive(p->crews) ? "not triaged in time" : "no triage worker");
}

static void on_sweep(evutil_socket_t fd CD_UNUSED, short what CD_UNUSED, void *arg)
{
    struct pipeline *p = arg;
    struct job *j, *next;
    int64_t now = clock_mono_us();
    crews_watch(p->crews, now);
    for (j = TAILQ_FIRST(&p->jobs); j && now - j->since_mono_us > p->cfg->triage_budget_us; j = next) {
        int64_t limit = j->env->from_pending ? p->cfg->triage_deadline_us : p->cfg->triage_budget_us;
        bool late = (j->stage == JOB_WORKER && now - j->worker_since_us > limit) ||
                    (j->stage == JOB_TURN && now - j->since_mono_us > TURN_WAIT_US);
        bool ends = late && j->env->from_pending;
        next = TAILQ_NEXT(j, entry);
        if (late)
            give_up_triage(p, j);
        if (ends) /* its waiters ended with it, `next` may be one of them */
            next = TAILQ_FIRST(&p->jobs);
    }
}

/* ---- outside ---- */

static struct gate_limits limits_of(const struct config *c)
{
    return (struct gate_limits){.max_items = c->intake_max_items,
                                .max_bytes = c->intake_max_bytes,
                                .tight_on = (unsigned)c->intake_tight_at,
                                .tight_off = (unsigned)c->intake_tight_until,
                                .shed_on = (unsigned)c->intake_shed_at,
                                .shed_off = (unsigned)c->intake_shed_until,
                                .large_bytes = c->intake_large_bytes};
}

int pipeline_new(struct event_base *base, const struct config *c, int worker_config_fd, struct pipeline **ret)
{
    struct pipeline *p = cd_alloc(sizeof *p);
    struct gate_limits limits = limits_of(c);
    struct timeval tv = {0, SWEEP_US};
    the_pipeline = p;
    p->cfg = c;
    TAILQ_INIT(&p->jobs);
    gate_init(&limits);
    if (crews_new(base, c, worker_config_fd, &(struct crews_hooks){.answer = on_worker, .arg = p}, &p->crews) < 0) {
        free(p);
        return CD_EIO;
    }
    p->scanner = scanner_new(base, c);
    cd_assert(p->scanner);
    p->lookup = lookup_new(base, c);
    p->batch = batch_new(base, c);
    p->sweep = event_new(base, -1, EV_PERSIST, on_sweep, p);
    cd_assert(p->sweep && event_add(p->sweep, &tv) == 0);
    *ret = p;
    return 0;
}

/* What no worker took, what waits for its turn, or for a checker: nobody else would answer it. */
static void finish_untaken(struct pipeline *p)
{
    struct job *j = TAILQ_FIRST(&p->jobs);
    while (j) {
        if (j->stage != JOB_WORKER && j->stage != JOB_TURN && j->stage != JOB_SCAN) {
            j = TAILQ_NEXT(j, entry);
            continue;
        }
        crews_forget(p->crews, j);
        finish(p, j, ACK_RETRY_LATER);
        j = TAILQ_FIRST(&p->jobs); /* its waiters ended with it */
    }
}

void pipeline_free(struct pipeline **pp)
{
    struct pipeline *p = *pp;
    if (!p)
        return;
    *pp = NULL;
    p->closing = true;
    event_free(p->sweep);
    crews_close(p->crews);
    finish_untaken(p);
    scanner_free(&p->scanner);
    lookup_free(&p->lookup);
    batch_free(&p->batch);
    cd_assert(TAILQ_EMPTY(&p->jobs));
    crews_free(&p->crews);
    free(p);
    the_pipeline = NULL;
}

/* The same key is on its way already: wait for it instead of racing with it. */
static bool wait_for_twin(struct job *j)
{
    if (!j->ledger)
        j->ledger = inflight_use(IF_LEDGER, j->ukey);
    if (!j->ledger->owner) {
        j->ledger->owner = j;
        return false;
    }
    struct job *first = j->ledger->owner;
    j->stage = JOB_WAITING;
    TAILQ_INSERT_TAIL(&first->waiters, j, waiter);
    return true;
}

/* The first stage; never answers from inside. */
static void enter(struct pipeline *p, struct job *j)
{
    if (wait_for_twin(j))
        return;
    if (j->env->worker_deaths >= 2) {
        j->rec = record_degraded(j->env, "the decoder failed on it repeatedly");
        triaged(p, j);
        return;
    }
    crews_give(p->crews, j);
}

static struct job *new_job(struct pipeline *p, struct envelope *e, size_t bytes)
{
    struct job *j = cd_alloc(sizeof *j);
    TAILQ_INIT(&j->waiters);
    j->env = e;
    j->since_mono_us = clock_mono_us();
    j->charged_bytes = bytes;
    gate_enter(bytes);
    TAILQ_INSERT_TAIL(&p->jobs, j, entry);
    p->njobs++;
    return j;
}

int pipeline_submit(struct pipeline *p, struct envelope *e)
{
    size_t bytes = envelope_bytes(e);
    if (p->closing || !gate_fits(bytes) || (!batch_usable(p->batch) && !e->from_pending))
        return CD_EAGAIN;
    struct job *j = new_job(p, e, bytes);
    keys_ledger(e, j->ukey);
    enter(p, j);
    return 0;
}

int pipeline_read(struct pipeline *p, struct envelope *e, pipeline_read_done done, void *arg)
{
    size_t bytes = envelope_bytes(e);
    if (p->closing || gate_mode() != GATE_NORMAL || !gate_fits(bytes))
        return CD_EAGAIN;
    e->from_pending = true; /* nobody's complaint is late for it: the worker has its whole deadline */
    e->worker_deaths = 0;
    struct job *j = new_job(p, e, bytes);
    j->read_done = done;
    j->read_arg = arg;
    crews_give(p->crews, j);
    return 0;
}

bool pipeline_ready(struct pipeline *p, size_t bytes)
{
    return !p->closing && batch_usable(p->batch) && lookup_usable(p->lookup) && gate_admits(bytes);
}

bool pipeline_has_worker(const struct pipeline *p)
{
    return crews_alive(p->crews) > 0;
}

bool pipeline_idle(const struct pipeline *p)
{
    return p->njobs == 0;
}

struct scanner *pipeline_scanner(struct pipeline *p)
{
    return p->scanner;
}

size_t pipeline_in_flight(const struct pipeline *p)
{
    return p->njobs;
}

int64_t pipeline_oldest_us(const struct pipeline *p)
{
    return TAILQ_EMPTY(&p->jobs) ? INT64_MAX : TAILQ_FIRST(&p->jobs)->since_mono_us;
}

int pipeline_start_workers(struct pipeline *p, const struct config *c, int worker_config_fd)
{
    return crews_start(p->crews, c, worker_config_fd);
}

bool pipeline_workers_started(const struct pipeline *p)
{
    return crews_started(p->crews);
}

void pipeline_drop_workers(struct pipeline *p)
{
    crews_drop(p->crews);
}

void pipeline_reloaded(struct pipeline *p)
{
    struct gate_limits limits = limits_of(p->cfg);
    gate_set_limits(&limits);
    scanner_reloaded(p->scanner);
    crews_change(p->crews);
}

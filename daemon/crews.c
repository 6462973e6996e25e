/* Jobs in the worker stage are known by number: a ring has a place for each that may be under way, and the answer of a worker whose job is
 * gone meanwhile finds its place empty, or with another number. */
#include "daemon/crews.h"

#include <sys/uio.h>
#include <unistd.h>

#include "daemon/core/clock.h"
#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/core/wire.h"
#include "daemon/intake/gate.h"
#include "daemon/turns.h"

#define NO_WORKER_ALARM_US CD_SEC(5)

struct crew {
    struct crews *crews;
    struct worker_pool *pool;
    int config_fd; /* every worker that is started reads it */
};

struct crews {
    struct event_base *base;
    struct crews_hooks h;
    struct crew *crew;    /* gets the jobs */
    struct crew *next;    /* starting, for a reload; NULL: none */
    struct crew *leaving; /* has jobs of before the last reload; NULL: none */
    unsigned generation;  /* of `crew` */
    uint64_t next_number;
    struct turns turns;     /* of large jobs */
    struct job **by_number; /* indexed by number modulo ring_size */
    size_t ring_size;
    int64_t no_worker_since_us;
    bool alarmed, closing;
};

/* Where the bytes of a large mail are copied, and why: (1) from the socket into the envelope, where dots and line ends are put right;
 * (2) here, into the memfd that the worker reads, because the worker may not see the front's memory: one at a time by the turns;
 * (3) in the worker, out of the memfd and into its own envelope; (4) into the parameters of the batch and (5) from there into
 * libpq's buffer, whose interface wants an array in one piece and keeps the buffer at its largest size: one at a time, because a
 * large mail fills a batch. The envelope itself stays until the commit, for the batch may have to be sent again. */
static int give_to_worker(struct crews *c, struct job *j)
{
    struct buf head;
    buf_init(&head, CD_MIB(1));
    wire_u8(&head, 0);
    envelope_write_head(j->env, &head);
    const struct iovec parts[] = {{head.data, head.len}, {j->env->raw.data, j->env->raw.len}};
    int r = head.failed ? CD_ENOMEM : worker_pool_sendv(c->crew->pool, j->number, parts, ARRAY_LEN(parts));
    buf_free(&head);
    return r;
}

static bool start_worker(struct crews *c, struct job *j)
{
    j->stage = JOB_WORKER;
    j->worker_since_us = clock_mono_us();
    return give_to_worker(c, j) == 0; /* else every queue is full, or no memory for a frame: the sweep stores it as pending */
}

static void start_large(struct crews *c)
{
    struct job *j;
    while (!c->closing && (j = turns_next(&c->turns)))
        if (!start_worker(c, j))
            turns_done(&c->turns, j->number);
}

static void worker_is_free_of(struct crews *c, uint64_t number)
{
    turns_done(&c->turns, number);
    start_large(c);
}

static void on_worker(void *arg, uint64_t number, enum worker_outcome o, const uint8_t *data, size_t n)
{
    struct crew *crew = arg;
    struct crews *c = crew->crews;
    struct job **slot = &c->by_number[number % c->ring_size], *j = *slot;
    if (!j || j->number != number) { /* stored as pending meanwhile */
        worker_is_free_of(c, number);
        return;
    }
    if (o == WORKER_DIED && ++j->env->worker_deaths < 2 && !c->closing && give_to_worker(c, j) == 0)
        return; /* once may be bad luck; what was in a worker when it died twice skips the decoder */
    if (o == WORKER_DONE && crew != c->crew && !c->closing) {
        if (give_to_worker(c, j) < 0) /* the sweep stores it as pending */
            worker_is_free_of(c, number);
        return;
    }
    *slot = NULL;
    worker_is_free_of(c, number);
    j->rules_generation = c->generation;
    c->h.answer(c->h.arg, j, o, data, n);
}

/* A number whose place in the ring is free: a job that is slow in its worker must not be overwritten. */
static bool take_number(struct crews *c, struct job *j)
{
    for (size_t i = 0; i < c->ring_size; i++) {
        uint64_t number = ++c->next_number;
        if (!c->by_number[number % c->ring_size]) {
            j->number = number;
            c->by_number[number % c->ring_size] = j;
            return true;
        }
    }
    return false;
}

void crews_give(struct crews *c, struct job *j)
{
    if (!take_number(c, j)) { /* no room: the sweep stores it as pending */
        metrics_inc(M_WORKER_QUEUE_FULL);
        j->stage = JOB_WORKER;
        j->worker_since_us = clock_mono_us();
        return;
    }
    j->stage = JOB_TURN;
    if (!gate_large(j->env->raw.len))
        (void)start_worker(c, j);
    else if (turns_take(&c->turns, j) && !start_worker(c, j))
        turns_done(&c->turns, j->number);
}

void crews_forget(struct crews *c, struct job *j)
{
    if (j->number && c->by_number[j->number % c->ring_size] == j)
        c->by_number[j->number % c->ring_size] = NULL;
    if (j->stage == JOB_TURN)
        turns_forget(&c->turns, j);
}

/* ---- workers ---- */

static void crew_free(struct crew **pc)
{
    struct crew *crew = *pc;
    if (!crew)
        return;
    worker_pool_free(&crew->pool);
    close(crew->config_fd);
    free(crew);
    *pc = NULL;
}

static unsigned core_count(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 && n < 256 ? (unsigned)n : 1;
}

/* Takes the descriptor; NULL (logged) when no worker could be started. */
static struct crew *crew_new(struct crews *c, const struct config *cfg, int config_fd)
{
    static const char *const argv[] = {"complaintd", "--worker=triage", NULL};
    struct crew *crew = cd_alloc(sizeof *crew);
    crew->crews = c;
    crew->config_fd = config_fd;
    int r = worker_pool_new(c->base, &(struct worker_pool_options){
                                         .name = "triage",
                                         .argv = argv,
                                         .workers = cfg->triage_workers ? (unsigned)cfg->triage_workers : core_count(),
                                         .in_flight = (unsigned)cfg->triage_in_flight,
                                         .max_queued = (unsigned)cfg->triage_queue,
                                         .job_seconds = H_WORKER_TRIAGE,
                                         .deadline_us = cfg->triage_deadline_us,
                                         .config_fd = config_fd,
                                         .answer = on_worker,
                                         .arg = crew,
                                     }, &crew->pool);
    if (r == 0)
        return crew;
    close(config_fd);
    free(crew);
    return NULL;
}

int crews_new(struct event_base *base, const struct config *cfg, int config_fd, const struct crews_hooks *h, struct crews **ret)
{
    struct crews *c = cd_alloc(sizeof *c);
    c->base = base;
    c->h = *h;
    c->ring_size = cfg->intake_max_items + 1;
    c->by_number = cd_alloc(c->ring_size * sizeof *c->by_number);
    turns_init(&c->turns, cfg->triage_large_in_flight);
    c->crew = crew_new(c, cfg, config_fd);
    if (!c->crew) {
        free(c->by_number);
        free(c);
        return CD_EIO;
    }
    *ret = c;
    return 0;
}

void crews_close(struct crews *c)
{
    c->closing = true;
    crew_free(&c->next);
    crew_free(&c->leaving);
    crew_free(&c->crew);
}

void crews_free(struct crews **pc)
{
    struct crews *c = *pc;
    if (!c)
        return;
    cd_assert(c->closing);
    *pc = NULL;
    free(c->by_number);
    free(c);
}

unsigned crews_alive(const struct crews *c)
{
    return worker_pool_alive(c->crew->pool);
}

unsigned crews_generation(const struct crews *c)
{
    return c->generation;
}

void crews_watch(struct crews *c, int64_t now_us)
{
    if (worker_pool_alive(c->crew->pool)) {
        if (c->alarmed)
            log_event(LOG_L_NOTICE, EV_TRIAGE_WORKERS_BACK, "workers=%u", worker_pool_alive(c->crew->pool));
        c->no_worker_since_us = 0;
        c->alarmed = false;
    } else if (!c->no_worker_since_us) {
        c->no_worker_since_us = now_us;
    } else if (!c->alarmed && now_us - c->no_worker_since_us > NO_WORKER_ALARM_US) {
        c->alarmed = true;
        log_event(LOG_L_ERROR, EV_TRIAGE_NO_WORKER, "seconds=%lld advice=%s", (long long)(NO_WORKER_ALARM_US / 1000000),
                  log_quote("complaints are stored as pending; look above for why the workers die"));
    }
    if (c->leaving && worker_pool_pending(c->leaving->pool) == 0)
        crew_free(&c->leaving);
}

/* ---- reload ---- */

int crews_start(struct crews *c, const struct config *next, int config_fd)
{
    cd_assert(!c->next);
    c->next = crew_new(c, next, config_fd);
    return c->next ? 0 : CD_EIO;
}

bool crews_started(const struct crews *c)
{
    return c->next && !c->leaving && worker_pool_alive(c->next->pool) > 0;
}

void crews_drop(struct crews *c)
{
    crew_free(&c->next);
}

void crews_change(struct crews *c)
{
    if (!c->next)
        return;
    cd_assert(!c->leaving);
    c->leaving = c->crew;
    c->crew = c->next;
    c->next = NULL;
    c->generation++;
}

/* The pool: a bounded queue in front of some processes. It owns all jobs from worker_pool_send() to their
 * final answer. A full queue is counted in M_WORKER_QUEUE_FULL and refused; the death of a process costs the
 * job that it worked on an answer and the others nothing. All callbacks run from the loop, none from inside a
 * call of the caller except worker_pool_free(). */
#include "daemon/worker/pool.h"

#include "daemon/core/clock.h"
#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"

#include <time.h>

/* Descriptors are scarcer than memory: with more large jobs waiting than this, the rest wait in memory. */
#define MAX_MEMFDS 256
#define CLOSE_WAIT CD_SEC(1)

void pool_answer(struct worker_pool *p, uint64_t job, enum worker_outcome o, const uint8_t *data, size_t n)
{
    p->depth++;
    p->o.answer(p->o.arg, job, o, data, n);
    p->depth--;
}

void pool_finish_job(struct worker_pool *p, struct worker_job *j)
{
    if (j->memfd >= 0)
        p->nmemfds--;
    p->npending--;
    worker_job_free(j);
}

void pool_requeue(struct worker_pool *p, struct worker_jobs *jobs)
{
    struct worker_job *j;

    /* From the last to the first, each in front: they keep their order and overtake what came later. */
    while ((j = TAILQ_LAST(jobs, worker_jobs)) != NULL) {
        TAILQ_REMOVE(jobs, j, link);
        TAILQ_INSERT_HEAD(&p->queue, j, link);
        p->nqueued++;
        metrics_inc(M_WORKER_REQUEUED);
    }
}

/* The live process with the fewest jobs, NULL when all are full. */
static struct process *find_process(struct worker_pool *p)
{
    struct process *best = NULL;

    for (unsigned i = 0; i < p->o.workers; i++) {
        struct process *w = &p->processes[i];

        if (w->state == PROCESS_READY && w->njobs < p->o.in_flight && (!best || w->njobs < best->njobs))
            best = w;
    }
    return best;
}

void pool_feed(struct worker_pool *p)
{
    struct worker_job *j;
    struct process *w;
    bool given = false;

    while ((j = TAILQ_FIRST(&p->queue)) != NULL && (w = find_process(p)) != NULL) {
        TAILQ_REMOVE(&p->queue, j, link);
        p->nqueued--;
        process_give(w, j);
        given = true;
    }
    /* Sent in one go when the loop has handled what it has at hand: several jobs a system call. */
    if (given)
        event_active(p->flush, EV_TIMEOUT, 0);
}

static void on_flush(evutil_socket_t fd, short what, void *arg)
{
    struct worker_pool *p = arg;

    (void)fd;
    (void)what;
    for (unsigned i = 0; i < p->o.workers; i++)
        process_send(&p->processes[i]);
}

static const char *const *copy_argv(const char *const *argv)
{
    size_t n = 0;

    while (argv[n])
        n++;
    char **copy = cd_alloc((n + 1) * sizeof(*copy));
    for (size_t i = 0; i < n; i++)
        copy[i] = cd_strdup(argv[i]);
    return (const char *const *)copy;
}

static void free_argv(const char *const *argv)
{
    for (size_t i = 0; argv[i]; i++)
        free((char *)(uintptr_t)argv[i]);
    free((void *)(uintptr_t)argv);
}

int worker_pool_new(struct event_base *base, const struct worker_pool_options *o, struct worker_pool **ret)
{
    cd_assert(o->workers > 0 && o->in_flight > 0 && o->answer);
    struct worker_pool *p = cd_alloc(sizeof(*p));
    int r = CD_EIO;

    p->base = base;
    p->o = *o;
    p->o.name = NULL; /* kept in the processes' names */
    p->o.exe = cd_strdup(o->exe);
    p->o.argv = copy_argv(o->argv);
    TAILQ_INIT(&p->queue);
    p->processes = cd_alloc(o->workers * sizeof(*p->processes));
    for (unsigned i = 0; i < o->workers; i++) {
        struct process *w = &p->processes[i];

        w->pool = p;
        w->fd = -1;
        w->state = PROCESS_DOWN;
        w->name = cd_asprintf("%s/%u", o->name, i);
        TAILQ_INIT(&w->jobs);
        buf_init(&w->in, FRAME_MAX + FRAME_HEADER_SIZE + FRAME_READ);
    }
    p->flush = event_new(base, -1, 0, on_flush, p);
    if (!p->flush)
        goto fail;
    for (unsigned i = 0; i < o->workers; i++)
        if ((r = process_start(&p->processes[i])) < 0)
            goto fail;
    *ret = p;
    return 0;
fail:
    worker_pool_free(&p);
    return r;
}

int worker_pool_send(struct worker_pool *p, uint64_t job, const void *data, size_t n)
{
    struct iovec part = {(void *)(uintptr_t)data, n};

    return worker_pool_sendv(p, job, &part, 1);
}

int worker_pool_sendv(struct worker_pool *p, uint64_t job, const struct iovec *parts, size_t nparts)
{
    size_t n = worker_parts_size(parts, nparts);

    if (p->closing)
        return CD_EAGAIN;
    if (n > FRAME_MAX || (p->nqueued >= p->o.max_queued && !find_process(p))) {
        metrics_inc(M_WORKER_QUEUE_FULL);
        return CD_ELIMIT;
    }
    struct worker_job *j = worker_job_new(job, parts, nparts, n > FRAME_INLINE && p->nmemfds < MAX_MEMFDS);
    if (!j)
        return CD_ENOMEM;
    if (j->memfd >= 0)
        p->nmemfds++;
    TAILQ_INSERT_TAIL(&p->queue, j, link);
    p->nqueued++;
    p->npending++;
    pool_feed(p);
    return 0;
}

unsigned worker_pool_alive(const struct worker_pool *p)
{
    unsigned n = 0;

    for (unsigned i = 0; i < p->o.workers; i++)
        n += p->processes[i].state == PROCESS_READY;
    return n;
}

size_t worker_pool_pending(const struct worker_pool *p)
{
    return p->npending;
}

/* Waits for the end of the processes, whose sockets are closed. Up to a second, for the daemon is on its way
 * out. */
static void wait_all(struct worker_pool *p)
{
    const struct timespec pause = {.tv_nsec = 2000000};
    int64_t until = clock_mono_us() + CLOSE_WAIT;

    for (;;) {
        bool all = true;

        for (unsigned i = 0; i < p->o.workers; i++)
            all &= process_reap(&p->processes[i]);
        if (all || clock_mono_us() >= until)
            return;
        nanosleep(&pause, NULL);
    }
}

static void close_jobs(struct worker_pool *p, struct worker_jobs *jobs)
{
    struct worker_job *j;

    while ((j = TAILQ_FIRST(jobs)) != NULL) {
        uint64_t id = j->id;

        TAILQ_REMOVE(jobs, j, link);
        pool_finish_job(p, j);
        pool_answer(p, id, WORKER_CLOSED, NULL, 0);
    }
}

void worker_pool_free(struct worker_pool **pp)
{
    struct worker_pool *p = *pp;

    if (!p)
        return;
    cd_assert(p->depth == 0); /* a callback must not free its caller */
    *pp = NULL;
    p->closing = true;
    if (p->flush)
        event_free(p->flush);
    for (unsigned i = 0; i < p->o.workers; i++)
        process_close(&p->processes[i]);
    wait_all(p);
    for (unsigned i = 0; i < p->o.workers; i++) {
        close_jobs(p, &p->processes[i].jobs);
        process_free(&p->processes[i]);
    }
    close_jobs(p, &p->queue);
    cd_assert(p->npending == 0);
    free(p->processes);
    free((char *)(uintptr_t)p->o.exe);
    free_argv(p->o.argv);
    free(p);
}

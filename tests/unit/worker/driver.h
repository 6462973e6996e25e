#pragma once
/* For the tests of the worker pool: the test program executes itself as the worker, which does what each
 * job's text says. */
#include "daemon/core/clock.h"
#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/worker/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- front ---- */

#define MAX_ANSWERS 8192

struct answer {
    uint64_t job;
    enum worker_outcome outcome;
    char *data;
    size_t n;
};

struct front {
    struct event_base *base;
    struct event *tick;
    struct worker_pool *pool;
    struct answer answers[MAX_ANSWERS];
    size_t nanswers;
    size_t nfinal;
    uint64_t resend; /* a job to send from inside the next answer; 0: none */
    int sending;     /* > 0 inside worker_pool_send */
};

static int front_send(struct front *f, uint64_t job, const void *data, size_t n)
{
    f->sending++;
    /* in three pieces, as the front does with a head and the raw bytes; one of them empty */
    volatile size_t third = n / 3; /* one test names a size that it does not have; the compiler need not know */
    const struct iovec parts[] = {{(void *)(uintptr_t)data, third}, {NULL, 0}, {(uint8_t *)(uintptr_t)data + third, n - third}};
    int r = worker_pool_sendv(f->pool, job, parts, ARRAY_LEN(parts));
    f->sending--;
    return r;
}

static void front_answer(void *arg, uint64_t job, enum worker_outcome o, const uint8_t *data, size_t n)
{
    struct front *f = arg;

    assert_int_equal(f->sending, 0); /* never from inside */
    assert_true(f->nanswers < MAX_ANSWERS);
    struct answer *a = &f->answers[f->nanswers++];
    *a = (struct answer){.job = job, .outcome = o, .n = n, .data = malloc(n + 1)};
    assert_non_null(a->data);
    if (n)
        memcpy(a->data, data, n);
    a->data[n] = '\0';
    f->nfinal += o != WORKER_PART;
    if (f->resend) {
        uint64_t again = f->resend;

        f->resend = 0;
        assert_int_equal(front_send(f, again, "echo again", 10), 0);
    }
}

static void front_on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

/* Options for `workers` copies of this program in the given mode. */
static struct worker_pool_options front_options(struct front *f, const char *const *argv, unsigned workers)
{
    return (struct worker_pool_options){.name = "test",
                                        .exe = "/proc/self/exe",
                                        .argv = argv,
                                        .workers = workers,
                                        .in_flight = 4,
                                        .max_queued = 10000,
                                        .config_fd = -1,
                                        .answer = front_answer,
                                        .arg = f};
}

static struct front *front_new(void)
{
    struct front *f = cd_alloc(sizeof(*f));
    const struct timeval ten_ms = {.tv_usec = 10000};

    f->base = event_base_new();
    f->tick = event_new(f->base, -1, EV_PERSIST, front_on_tick, f);
    event_add(f->tick, &ten_ms);
    return f;
}

static void front_free(struct front *f)
{
    worker_pool_free(&f->pool);
    event_free(f->tick);
    event_base_free(f->base);
    for (size_t i = 0; i < f->nanswers; i++)
        free(f->answers[i].data);
    free(f);
}

/* Runs the loop for that long, or until there are `final` final answers or `alive` workers (-1: not asked).
 */
static void front_run(struct front *f, int64_t for_us, long final, int alive)
{
    int64_t until = clock_mono_us() + for_us;

    while (clock_mono_us() < until) {
        if (final >= 0 && f->nfinal >= (size_t) final)
            return;
        if (alive >= 0 && worker_pool_alive(f->pool) == (unsigned)alive)
            return;
        event_base_loop(f->base, EVLOOP_ONCE);
    }
}

/* The one final answer of a job. */
static const struct answer *front_final(const struct front *f, uint64_t job)
{
    const struct answer *found = NULL;

    for (size_t i = 0; i < f->nanswers; i++) {
        if (f->answers[i].job != job || f->answers[i].outcome == WORKER_PART)
            continue;
        if (found)
            fail_msg("job %llu has two final answers", (unsigned long long)job);
        found = &f->answers[i];
    }
    if (!found)
        fail_msg("job %llu has no answer", (unsigned long long)job);
    return found;
}

static void front_say(struct front *f, uint64_t job, const char *text)
{
    assert_int_equal(front_send(f, job, text, strlen(text)), 0);
}

static CD_UNUSED void front_expect(const struct front *f, uint64_t job, enum worker_outcome o)
{
    const struct answer *a = front_final(f, job);

    if (a->outcome != o)
        fail_msg("job %llu: outcome %d, expected %d", (unsigned long long)job, (int)a->outcome, (int)o);
}

/* ---- both ---- */

static CD_UNUSED void sleep_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    while (nanosleep(&t, &t) < 0 && errno == EINTR)
        ;
}

/* true when the process has ended, whether or not anyone has asked for its status. */
static CD_UNUSED bool is_gone(pid_t pid)
{
    char path[64], state = 0;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return true;
    if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
        state = 'Z';
    fclose(file);
    return state == 'Z' || state == 'X';
}

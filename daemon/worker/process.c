/* One worker process of a pool: its answers, its end and its restart (jobs leave by process_send.c). Any
 * fault of the process (end of the socket, nonsense, deadline) ends in process_fail(), which gives its jobs
 * back to the pool, kills, and starts the way to a new process: reap, wait for the back-off, start. Never
 * frees itself inside a callback. */
#include "daemon/worker/pool.h"

#include "daemon/core/clock.h"
#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/worker/start.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define BACKOFF_MIN CD_MSEC(50)
#define BACKOFF_MAX CD_SEC(5)
/* For one that had loaded everything: a job ended it, and others must not wait long because someone sends
 * such jobs. */
#define BACKOFF_MAX_READY CD_MSEC(500)
#define BACKOFF_RESET CD_SEC(10)
#define START_LIMIT CD_SEC(60) /* for loading its configuration */
#define REAP_FIRST CD_MSEC(1)
#define REAP_MAX CD_MSEC(100)
#define READS_A_TURN 8 /* then the loop's other events have their turn */

static void process_fail(struct process *p, const char *reason, enum worker_outcome o);

void process_arm(struct process *p, int64_t after_us)
{
    struct timeval tv;

    after_us = CD_MAX(after_us, 0);
    tv.tv_sec = (time_t)(after_us / CD_SEC(1));
    tv.tv_usec = (suseconds_t)(after_us % CD_SEC(1));
    evtimer_add(p->timer, &tv);
}

/* ---- answers ---- */

/* The job of that id, if it has been sent in full. */
static struct worker_job *find_sent(struct process *p, uint64_t id)
{
    struct worker_job *j;

    for (j = TAILQ_FIRST(&p->jobs); j && j != p->sending; j = TAILQ_NEXT(j, link))
        if (j->id == id)
            return j;
    return NULL;
}

static bool take_frame(struct process *p, const struct frame_header *h, const uint8_t *data)
{
    if (p->state == PROCESS_STARTING) {
        if (h->flags != FRAME_READY || h->length > 0)
            return false;
        p->state = PROCESS_READY;
        evtimer_del(p->timer);
        log_event(LOG_L_DEBUG, EV_WORKER_READY, "worker=%s pid=%d", p->name, (int)p->pid);
        return true;
    }
    struct worker_job *j = find_sent(p, h->job);
    if (!j || (h->flags & ~FRAME_MORE))
        return false;
    if (h->flags & FRAME_MORE) {
        if (p->pool->o.deadline_a_part && j == TAILQ_FIRST(&p->jobs))
            p->clock_since_us = clock_mono_us();
        pool_answer(p->pool, h->job, WORKER_PART, data, h->length);
        return true;
    }
    if (j == TAILQ_FIRST(&p->jobs)) {
        int64_t now = clock_mono_us();
        metrics_observe(p->pool->o.job_seconds, now - p->head_since_us);
        p->head_since_us = p->clock_since_us = now;
    }
    TAILQ_REMOVE(&p->jobs, j, link);
    p->njobs--;
    p->useful = true;
    pool_finish_job(p->pool, j);
    pool_answer(p->pool, h->job, WORKER_DONE, data, h->length);
    return true;
}

/* Handles the whole frames that are there; false on nonsense. */
static bool take_frames(struct process *p)
{
    size_t at = 0;
    bool good = true;

    while (good && p->in.len - at >= FRAME_HEADER_SIZE) {
        struct frame_header h;

        frame_header_read(p->in.data + at, &h);
        if (h.length > FRAME_MAX) {
            good = false;
            break;
        }
        if (p->in.len - at - FRAME_HEADER_SIZE < h.length)
            break;
        good = take_frame(p, &h, p->in.data + at + FRAME_HEADER_SIZE);
        at += FRAME_HEADER_SIZE + h.length;
    }
    buf_consume(&p->in, at);
    if (p->in.len == 0 && p->in.size > 4 * FRAME_READ)
        buf_free(&p->in); /* one large answer must not hold its memory for ever */
    return good;
}

enum read_result { READ_AGAIN, READ_EMPTY, READ_END, READ_NONSENSE };

static enum read_result read_some(struct process *p)
{
    if (buf_reserve(&p->in, FRAME_READ) < 0)
        return READ_NONSENSE;
    ssize_t n = recv(p->fd, p->in.data + p->in.len, FRAME_READ, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return READ_EMPTY;
    if (n < 0 && errno == EINTR)
        return READ_AGAIN;
    if (n <= 0)
        return READ_END;
    p->in.len += (size_t)n;
    p->in.data[p->in.len] = '\0';
    if (!take_frames(p))
        return READ_NONSENSE;
    return (size_t)n < FRAME_READ ? READ_EMPTY : READ_AGAIN;
}

/* false when that was the end of the process. */
static bool read_answers(struct process *p)
{
    enum read_result r = READ_AGAIN;

    for (int i = 0; i < READS_A_TURN && r == READ_AGAIN; i++)
        r = read_some(p);
    if (r == READ_END || r == READ_NONSENSE) {
        if (r == READ_NONSENSE)
            metrics_inc(M_WORKER_PROTOCOL);
        process_fail(p, r == READ_END ? "ended" : "protocol", WORKER_DIED);
        return false;
    }
    return true;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct process *p = arg;

    (void)fd;
    (void)what;
    if (read_answers(p))
        pool_feed(p->pool);
}

/* ---- end and restart ---- */

static void close_socket(struct process *p)
{
    if (p->readable)
        event_free(p->readable);
    if (p->writable)
        event_free(p->writable);
    p->readable = p->writable = NULL;
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    p->sending = NULL;
    p->sent = 0;
    buf_free(&p->in);
}

/* How long to wait before the next start. A process that finished jobs or lived for long was no failed start.
 */
static void back_off(struct process *p, bool ready, int64_t lived_us)
{
    if (p->useful || lived_us >= BACKOFF_RESET)
        p->backoff_us = 0;
    p->backoff_us = p->backoff_us ? p->backoff_us * 2 : BACKOFF_MIN;
    p->backoff_us = CD_MIN(p->backoff_us, ready ? BACKOFF_MAX_READY : BACKOFF_MAX);
}

/* Ends the process and gives its jobs back: the one it worked on is answered, the others wait again. */
static void process_fail(struct process *p, const char *reason, enum worker_outcome o)
{
    struct worker_job *head = TAILQ_FIRST(&p->jobs);
    int64_t lived = clock_mono_us() - p->started_us;

    log_event(LOG_L_WARN, EV_WORKER_LOST, "worker=%s pid=%d reason=%s jobs=%u lived_ms=%lld", p->name,
              (int)p->pid, reason, p->njobs, (long long)(lived / 1000));
    close_socket(p);
    /* At the end of its socket it is about to be gone, or still there without one: no use any more. A process
     * that ends by a signal keeps that signal as its cause. */
    kill(p->pid, SIGKILL);
    bool ready = p->state == PROCESS_READY;
    p->state = PROCESS_DYING;
    p->timed_out = o == WORKER_TIMEOUT;
    back_off(p, ready, lived);
    p->reap_wait_us = REAP_FIRST;
    process_arm(p, 0);
    if (head) {
        metrics_observe(p->pool->o.job_seconds, clock_mono_us() - p->head_since_us);
        TAILQ_REMOVE(&p->jobs, head, link);
        pool_requeue(p->pool, &p->jobs);
        p->njobs = 0;
        uint64_t id = head->id;
        pool_finish_job(p->pool, head);
        pool_answer(p->pool, id, o, NULL, 0);
    }
    pool_feed(p->pool);
}

static void count_death(const struct process *p, int status)
{
    int sig = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;

    metrics_inc(M_WORKER_DEATHS);
    if (p->timed_out) {
        metrics_inc(M_WORKER_TIMEOUTS);
    } else if (sig == SIGSYS) {
        metrics_inc(M_WORKER_SECCOMP);
        /* An attack, or a call that the filter's list lacks: a person must look. */
        log_event(LOG_L_ERROR, EV_WORKER_FILTERED, "worker=%s pid=%d alarm=seccomp", p->name, (int)p->pid);
    } else if (sig == SIGXCPU) {
        metrics_inc(M_WORKER_CPU);
    } else if (sig != 0 && sig != SIGKILL) {
        metrics_inc(M_WORKER_CRASHES);
    }
    log_event(LOG_L_WARN, EV_WORKER_DIED, "worker=%s pid=%d signal=%d status=%d restart_ms=%lld", p->name,
              (int)p->pid, sig, code, (long long)(p->backoff_us / 1000));
}

bool process_reap(struct process *p)
{
    int status;
    pid_t r;

    if (p->state == PROCESS_DOWN)
        return true;
    do
        r = waitpid(p->pid, &status, WNOHANG);
    while (r < 0 && errno == EINTR);
    if (r == 0)
        return false;
    if (r > 0 && !p->pool->closing)
        count_death(p, status);
    p->state = PROCESS_DOWN;
    return true;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct process *p = arg;
    int64_t left;

    (void)fd;
    (void)what;
    switch (p->state) {
    case PROCESS_STARTING:
        process_fail(p, "start-limit", WORKER_DIED);
        return;
    case PROCESS_READY:
        /* Answers that are here already must not be lost to a loop that was late. */
        if (TAILQ_EMPTY(&p->jobs) || !read_answers(p))
            return;
        pool_feed(p->pool);
        if (TAILQ_EMPTY(&p->jobs))
            return;
        left = p->clock_since_us + p->pool->o.deadline_us - clock_mono_us();
        if (left <= 0)
            process_fail(p, "deadline", WORKER_TIMEOUT);
        else
            process_arm(p, left);
        return;
    case PROCESS_DYING:
        if (process_reap(p)) {
            process_arm(p, p->backoff_us);
        } else {
            process_arm(p, p->reap_wait_us);
            p->reap_wait_us = CD_MIN(p->reap_wait_us * 2, REAP_MAX);
        }
        return;
    case PROCESS_DOWN:
        if (process_start(p) < 0) {
            p->backoff_us = CD_MIN(p->backoff_us * 2, BACKOFF_MAX);
            process_arm(p, p->backoff_us);
        }
        return;
    }
}

int process_start(struct process *p)
{
    const struct worker_pool_options *o = &p->pool->o;
    struct worker_start s = {.exe = o->exe, .argv = o->argv, .name = p->name, .config_fd = o->config_fd};

    if (!p->timer)
        p->timer = evtimer_new(p->pool->base, on_timer, p);
    if (!p->timer || worker_start(&s, &p->pid, &p->fd) < 0) {
        log_event(LOG_L_ERROR, EV_WORKER_START, "worker=%s error=%s", p->name, log_quote(strerror(errno)));
        return CD_EIO;
    }
    p->readable = event_new(p->pool->base, p->fd, EV_READ | EV_PERSIST, on_readable, p);
    p->writable = event_new(p->pool->base, p->fd, EV_WRITE, process_on_writable, p);
    cd_assert(p->readable && p->writable); /* small allocations: see cd_alloc */
    p->state = PROCESS_STARTING;
    p->started_us = clock_mono_us();
    p->send_blocked = p->useful = p->timed_out = false;
    metrics_inc(M_WORKER_STARTS);
    event_add(p->readable, NULL);
    process_arm(p, CD_MAX(START_LIMIT, o->deadline_us));
    return 0;
}

void process_close(struct process *p)
{
    close_socket(p);
    if (p->timer)
        event_free(p->timer);
    p->timer = NULL;
}

void process_free(struct process *p)
{
    if (!process_reap(p)) {
        kill(p->pid, SIGKILL);
        while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    buf_free(&p->in);
    free(p->name);
}

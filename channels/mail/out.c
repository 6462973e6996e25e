/* The front's half of outgoing mail: builds messages, gathers what waits into jobs for the mail workers and
 * reports every message's outcome once, as it arrives. Owns messages from mail_out_send() to their outcome.
 * What a worker's death leaves open counts by how far it got: "unknown" once the text went to the relay's
 * connection, otherwise "again later". */
#include "channels/mail/mail.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "channels/mail/out_message.h"
#include "channels/mail/out_wire.h"
#include "channels/send_later.h"
#include "daemon/core/clock.h"
#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/worker/worker.h"

#define WAITING_MAX 1000
#define WAITING_MAX_BYTES CD_MIB(32)
#define JOB_MAX_BYTES CD_MIB(4)
static const struct timeval tidy_pause = {.tv_sec = 1};

struct out_item {
    TAILQ_ENTRY(out_item) link;
    struct uuid id;
    char *from, *rcpt;
    struct buf text;
    bool begun;
};
TAILQ_HEAD(out_items, out_item);

/* A job that a worker has: places are emptied as outcomes arrive. */
struct out_batch {
    TAILQ_ENTRY(out_batch) link;
    uint64_t job;
    struct out_item *items[OUT_BATCH_MAX];
    size_t n;
};
TAILQ_HEAD(out_batches, out_batch);

/* The workers of one configuration. */
struct out_crew {
    TAILQ_ENTRY(out_crew) link;
    struct worker_pool *pool;
    int config_fd;
};

struct mail_out {
    const struct channel_host *host;
    struct out_crew *crew;          /* gets the jobs */
    TAILQ_HEAD(, out_crew) leaving; /* have jobs of before a reload */
    struct event *flush, *tidy;
    struct buf relay;               /* what `crew` was told, its password in it */
    struct out_items waiting;
    size_t nwaiting, bytes;
    struct out_batches batches;
    size_t nbatches;
    uint64_t next_job;
};

static void item_free(struct out_item *it)
{
    free(it->from);
    free(it->rcpt);
    buf_free(&it->text);
    free(it);
}

/* Takes the item; the front may call mail_out_send() from inside. */
static void item_report(struct mail_out *o, struct out_item *it, enum send_outcome outcome,
                        const char *detail)
{
    struct uuid id = it->id;
    struct send_result r;

    send_result_set(&r, outcome, "%s", detail);
    item_free(it);
    o->host->send_done(o->host->front, &id, &r);
}

/* ---- jobs to workers ---- */

static struct out_batch *batch_gather(struct mail_out *o, struct buf *frame)
{
    struct out_batch *b = cd_alloc(sizeof *b);
    struct out_item *it;
    size_t bytes = 0;

    while (b->n < OUT_BATCH_MAX && (it = TAILQ_FIRST(&o->waiting)) &&
           (!b->n || bytes + it->text.len < JOB_MAX_BYTES)) {
        TAILQ_REMOVE(&o->waiting, it, link);
        o->nwaiting--;
        o->bytes -= it->text.len;
        bytes += it->text.len;
        b->items[b->n++] = it;
    }
    job_begin(frame, (uint32_t)b->n);
    for (size_t i = 0; i < b->n; i++)
        job_add(frame, b->items[i]->from, b->items[i]->rcpt, b->items[i]->text.data, b->items[i]->text.len);
    return b;
}

static void batch_give_back(struct mail_out *o, struct out_batch *b)
{
    for (size_t i = b->n; i-- > 0;) {
        TAILQ_INSERT_HEAD(&o->waiting, b->items[i], link);
        o->nwaiting++;
        o->bytes += b->items[i]->text.len;
    }
    free(b);
}

/* One job a worker: what arrives meanwhile makes the next session longer instead of the queue. */
static void on_flush(evutil_socket_t fd, short what, void *arg)
{
    struct mail_out *o = arg;
    const struct timeval again = {.tv_sec = 1};

    (void)fd;
    (void)what;
    while (!TAILQ_EMPTY(&o->waiting) && o->nbatches < o->host->cfg->mail_workers) {
        struct buf frame;
        buf_init(&frame, JOB_MAX_BYTES + OUT_MESSAGE_MAX + CD_KIB(64));
        struct out_batch *b = batch_gather(o, &frame);
        b->job = o->next_job++;
        int r = frame.failed ? CD_ENOMEM : worker_pool_send(o->crew->pool, b->job, frame.data, frame.len);
        buf_free(&frame);
        if (r < 0) {
            batch_give_back(o, b);
            event_add(o->flush, &again);
            return;
        }
        TAILQ_INSERT_TAIL(&o->batches, b, link);
        o->nbatches++;
    }
}

/* ---- answers of workers ---- */

static struct out_batch *batch_find(struct mail_out *o, uint64_t job)
{
    struct out_batch *b;

    TAILQ_FOREACH(b, &o->batches, link)
    if (b->job == job)
        return b;
    return NULL;
}

static void batch_part(struct mail_out *o, struct out_batch *b, const uint8_t *data, size_t n)
{
    struct part p;

    if (part_read(data, n, &p) < 0 || p.index >= b->n || !b->items[p.index]) {
        log_event(LOG_L_WARN, EV_MAIL_WORKER_ANSWER, "error=malformed");
        return;
    }
    if (p.kind == PART_BEGUN) {
        b->items[p.index]->begun = true;
    } else {
        struct out_item *it = b->items[p.index];
        b->items[p.index] = NULL;
        item_report(o, it, p.outcome, p.detail);
    }
    free(p.detail);
}

/* What is left without an outcome when the job ends. A worker says "begun" before the text leaves it, and the
 * pool hands over all it said before it tells of its end; but not when we close the pool ourselves. */
static void batch_end(struct mail_out *o, struct out_batch *b, enum worker_outcome why)
{
    const char *text = why == WORKER_TIMEOUT ? "mail worker killed at its deadline"
                       : why == WORKER_DIED  ? "mail worker died"
                       : why == WORKER_DONE  ? "mail worker gave no outcome"
                                             : "stopped before the relay answered";

    TAILQ_REMOVE(&o->batches, b, link);
    o->nbatches--;
    for (size_t i = 0; i < b->n; i++) {
        bool unknown = b->items[i] && (b->items[i]->begun || why == WORKER_CLOSED);
        if (b->items[i])
            item_report(o, b->items[i], unknown ? SEND_UNKNOWN : SEND_RETRY, text);
    }
    free(b);
    if (!TAILQ_EMPTY(&o->waiting))
        event_active(o->flush, 0, 0);
}

static void on_answer(void *arg, uint64_t job, enum worker_outcome outcome, const uint8_t *data, size_t n)
{
    struct mail_out *o = arg;
    struct out_batch *b = batch_find(o, job);

    if (!b)
        return;
    if (outcome == WORKER_PART)
        batch_part(o, b, data, n);
    else
        batch_end(o, b, outcome);
}

/* ---- the channel's side ---- */

/* The worker's part of the configuration, the relay's password in it: in memory only, never in arguments or
 * environment. */
static int config_memfd(const struct buf *relay)
{
    int fd = memfd_create("mail-config", MFD_CLOEXEC);

    if (fd >= 0 && (relay->failed || write(fd, relay->data, relay->len) != (ssize_t)relay->len)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static void relay_forget(struct buf *relay)
{
    if (relay->data)
        explicit_bzero(relay->data, relay->len);
    buf_free(relay);
}

static void crew_free(struct out_crew *c)
{
    worker_pool_free(&c->pool);
    if (c->config_fd >= 0)
        close(c->config_fd);
    free(c);
}

static struct out_crew *crew_new(struct mail_out *o, const struct buf *relay)
{
    static const char *const argv[] = {"complaintd", "--worker=mail", NULL};
    const struct config *cfg = o->host->cfg;
    struct out_crew *c = cd_alloc(sizeof *c);
    unsigned workers = (unsigned)cfg->mail_workers;

    c->config_fd = config_memfd(relay);
    struct worker_pool_options options = {
        .name = "mail",
        .argv = argv,
        .workers = workers,
        .in_flight = 1,
        .max_queued = workers,
        .job_seconds = H_WORKER_MAIL,
        .deadline_us = cfg->mail_send_timeout_us,
        .config_fd = c->config_fd,
        .answer = on_answer,
        .arg = o,
    };
    if (c->config_fd >= 0 && worker_pool_new(o->host->base, &options, &c->pool) == 0)
        return c;
    log_event(LOG_L_ERROR, EV_MAIL_WORKERS_FAILED, "hint=%s",
              log_quote("the mail workers could not be started; see the lines above"));
    crew_free(c);
    return NULL;
}

static void on_tidy(evutil_socket_t fd, short what, void *arg)
{
    struct mail_out *o = arg;
    struct out_crew *c, *next;

    (void)fd;
    (void)what;
    for (c = TAILQ_FIRST(&o->leaving); c; c = next) {
        next = TAILQ_NEXT(c, link);
        if (worker_pool_pending(c->pool))
            continue;
        TAILQ_REMOVE(&o->leaving, c, link);
        crew_free(c);
    }
    if (!TAILQ_EMPTY(&o->leaving))
        event_add(o->tidy, &tidy_pause);
}

static bool relay_name_known(const struct config *cfg)
{
    if (!strchr(cfg->mail_relay_host, ':')) /* libesmtp ends the name at the first colon */
        return true;
    log_event(LOG_L_ERROR, EV_MAIL_RELAY_ADDRESS, "host=%s hint=%s", log_quote(cfg->mail_relay_host),
              log_quote("mail.relay.host cannot be a numeric IPv6 address: write a name"));
    return false;
}

void mail_out_reloaded(struct mail_out *o)
{
    struct buf relay;
    struct out_crew *c = NULL;

    buf_init(&relay, CD_KIB(64));
    relay_write(o->host->cfg, &relay);
    bool same = relay.len == o->relay.len && memcmp(relay.data, o->relay.data, relay.len) == 0;
    if (!same && relay_name_known(o->host->cfg))
        c = crew_new(o, &relay);
    if (!c) {
        relay_forget(&relay);
        return;
    }
    relay_forget(&o->relay);
    o->relay = relay;
    TAILQ_INSERT_TAIL(&o->leaving, o->crew, link);
    o->crew = c;
    event_add(o->tidy, &tidy_pause);
}

int mail_out_start(const struct channel_host *host, struct mail_out **ret)
{
    if (!relay_name_known(host->cfg))
        return CD_ECONFIG;
    struct mail_out *o = cd_alloc(sizeof *o);

    o->host = host;
    TAILQ_INIT(&o->waiting);
    TAILQ_INIT(&o->batches);
    o->flush = event_new(host->base, -1, 0, on_flush, o);
    o->tidy = event_new(host->base, -1, 0, on_tidy, o);
    TAILQ_INIT(&o->leaving);
    buf_init(&o->relay, CD_KIB(64));
    relay_write(host->cfg, &o->relay);
    cd_assert(o->flush && o->tidy);
    o->crew = crew_new(o, &o->relay);
    if (!o->crew) {
        mail_out_stop(&o);
        return CD_EIO;
    }
    *ret = o;
    return 0;
}

int mail_out_send(struct mail_out *o, const struct outgoing *m)
{
    if (o->nwaiting >= WAITING_MAX || o->bytes >= WAITING_MAX_BYTES) {
        metrics_inc(M_MAIL_OUT_BUSY);
        return CD_EAGAIN;
    }
    struct out_item *it = cd_alloc(sizeof *it);
    buf_init(&it->text, OUT_MESSAGE_MAX);
    int r = mail_message_build(o->host->cfg, m, clock_service_us(), &it->text);
    if (r < 0) {
        send_later(o->host, &m->id, SEND_REJECTED,
                   r == CD_EINVAL ? "not a mail address" : "message too large");
        item_free(it);
        return 0;
    }
    it->id = m->id;
    /* What answers nothing automatic must not be answered either: the null reverse-path (RFC 3834
     * section 3.3), or one that is read by nobody but the reader of bounces. */
    it->from = cd_strdup(m->envelope_from               ? m->envelope_from
                         : m->automatic                 ? ""
                         : m->from && m->from[0] ? m->from
                                                        : o->host->cfg->mail_from);
    it->rcpt = cd_strdup(m->recipient);
    TAILQ_INSERT_TAIL(&o->waiting, it, link);
    o->nwaiting++;
    o->bytes += it->text.len;
    event_active(o->flush, 0, 0);
    return 0;
}

bool mail_out_idle(const struct mail_out *o)
{
    return TAILQ_EMPTY(&o->waiting) && TAILQ_EMPTY(&o->batches);
}

void mail_out_stop(struct mail_out **po)
{
    struct mail_out *o = *po;
    struct out_item *it;

    if (!o)
        return;
    *po = NULL;
    struct out_crew *c;
    while ((c = TAILQ_FIRST(&o->leaving))) {
        TAILQ_REMOVE(&o->leaving, c, link);
        crew_free(c); /* ends its batches through on_answer() */
    }
    if (o->crew)
        crew_free(o->crew);
    while ((it = TAILQ_FIRST(&o->waiting))) {
        TAILQ_REMOVE(&o->waiting, it, link);
        item_report(o, it, SEND_RETRY, "stopped before it was sent");
    }
    event_free(o->flush);
    event_free(o->tidy);
    relay_forget(&o->relay);
    free(o);
}

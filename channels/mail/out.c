/* The front's half of outgoing mail: builds messages, gathers what waits into jobs for the mail workers and
 * reports every message's outcome once, as it arrives. Owns messages from mail_out_send() to their outcome.
 * What a relay said nothing about goes to the next one before it has an outcome. What a worker's death leaves
 * open counts by how far it got: "unknown" once the text went to the relay's connection, otherwise "again
 * later". */
#include "channels/mail/mail.h"

#include <string.h>

#include "channels/mail/out_crew.h"
#include "channels/mail/out_message.h"
#include "channels/mail/out_wire.h"
#include "channels/send_later.h"
#include "daemon/core/clock.h"
#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"

#define WAITING_MAX 1000
#define WAITING_MAX_BYTES CD_MIB(32)
#define JOB_MAX_BYTES CD_MIB(4)
static const struct timeval tidy_pause = {.tv_sec = 1};

struct out_item {
    TAILQ_ENTRY(out_item) link;
    struct uuid id;
    char *from, *rcpt;
    struct buf text;
    unsigned tried, unable; /* relays that did not take it, and those of them that cannot; bits by number */
    bool begun;
    bool alone; /* a worker died with it and others: whose fault it was will be seen */
};
TAILQ_HEAD(out_items, out_item);

/* A job that a worker has: places are emptied as outcomes arrive. */
struct out_batch {
    TAILQ_ENTRY(out_batch) link;
    uint64_t job;
    struct out_crew *crew;
    size_t relay;
    bool probe, relay_told;
    unsigned answered; /* messages that the relay said something about */
    struct out_item *items[OUT_BATCH_MAX];
    size_t n;
};
TAILQ_HEAD(out_batches, out_batch);

struct mail_out {
    const struct channel_host *host;
    struct out_crew *crew;    /* gets the jobs */
    struct out_crews leaving; /* have jobs of before a reload */
    struct event *flush, *tidy;
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
static void item_report(struct mail_out *o, struct out_item *it, enum send_outcome outcome, int64_t retry_after_us,
                        const char *detail)
{
    struct uuid id = it->id;
    struct send_result r;

    send_result_set(&r, outcome, "%s", detail);
    r.retry_after_us = retry_after_us;
    item_free(it);
    o->host->send_done(o->host->front, &id, &r);
}

static void item_wait(struct mail_out *o, struct out_item *it, bool first)
{
    if (first)
        TAILQ_INSERT_HEAD(&o->waiting, it, link);
    else
        TAILQ_INSERT_TAIL(&o->waiting, it, link);
    o->nwaiting++;
    o->bytes += it->text.len;
}

static void item_take(struct mail_out *o, struct out_item *it)
{
    TAILQ_REMOVE(&o->waiting, it, link);
    o->nwaiting--;
    o->bytes -= it->text.len;
}

/* ---- jobs to workers ---- */

/* Takes those, from `it` on, whose first usable relay is this one. */
static struct out_batch *batch_gather(struct mail_out *o, struct out_item *it, size_t relay, bool probe, struct buf *frame)
{
    struct out_batch *b = cd_alloc(sizeof *b);
    size_t bytes = 0, most = CD_MIN((size_t)o->host->cfg->mail_relay_batch, (size_t)OUT_BATCH_MAX);
    int64_t now = clock_mono_us();
    struct out_item *next;

    *b = (struct out_batch){.job = o->next_job++, .crew = o->crew, .relay = relay, .probe = probe};
    if (probe || it->alone)
        most = 1;
    for (; it && b->n < most && (!b->n || bytes + it->text.len < JOB_MAX_BYTES); it = next) {
        size_t its;
        next = TAILQ_NEXT(it, link);
        if ((b->n && it->alone) || relays_choose(&o->crew->relays, it->tried, now, &its) > RELAY_PROBE || its != relay)
            continue;
        item_take(o, it);
        bytes += it->text.len;
        b->items[b->n++] = it;
    }
    job_begin(frame, relay, (uint32_t)b->n);
    for (size_t i = 0; i < b->n; i++)
        job_add(frame, b->items[i]->from, b->items[i]->rcpt, b->items[i]->text.data, b->items[i]->text.len);
    return b;
}

/* CD_* when no worker takes it: the messages wait again, as before. */
static int batch_start(struct mail_out *o, struct out_item *first, size_t relay, bool probe)
{
    struct buf frame;

    buf_init(&frame, JOB_MAX_BYTES + OUT_MESSAGE_MAX + CD_KIB(64));
    struct out_batch *b = batch_gather(o, first, relay, probe, &frame);
    int r = frame.failed ? CD_ENOMEM : worker_pool_send(o->crew->pool, b->job, frame.data, frame.len);
    buf_free(&frame);
    if (r < 0) {
        for (size_t i = b->n; i-- > 0;)
            item_wait(o, b->items[i], true);
        free(b);
        return r;
    }
    if (probe)
        relays_probe(&o->crew->relays, relay);
    TAILQ_INSERT_TAIL(&o->batches, b, link);
    o->nbatches++;
    return 0;
}

/* The first message that can be given to a relay now. Those that no relay is left for are reported. */
static struct out_item *find_next(struct mail_out *o, size_t *ret_relay, bool *ret_probe)
{
    int64_t now = clock_mono_us();
    struct out_item *it, *next;

    for (it = TAILQ_FIRST(&o->waiting); it; it = next) {
        enum relay_choice c = relays_choose(&o->crew->relays, it->tried, now, ret_relay);
        next = TAILQ_NEXT(it, link);
        *ret_probe = c == RELAY_PROBE;
        if (c == RELAY_TAKE || c == RELAY_PROBE)
            return it;
        if (c == RELAY_WAIT)
            continue;
        item_take(o, it);
        item_report(o, it, SEND_RETRY, relays_pause_us(&o->crew->relays, now), "no relay can be reached");
        next = TAILQ_FIRST(&o->waiting); /* the report may have changed the list */
    }
    return NULL;
}

/* One job a worker: what arrives meanwhile makes the next session longer instead of the queue. */
static void on_flush(evutil_socket_t fd, short what, void *arg)
{
    struct mail_out *o = arg;
    const struct timeval again = {.tv_sec = 1};
    struct out_item *it;
    size_t relay;
    bool probe;

    (void)fd;
    (void)what;
    while (o->nbatches < o->host->cfg->mail_workers && (it = find_next(o, &relay, &probe)))
        if (batch_start(o, it, relay, probe) < 0) {
            event_add(o->flush, &again);
            return;
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

/* A message that this relay did not take, for no fault of its own: to the next one. A dialogue that broke off
 * after others had their answers may be had again with the same one: each takes some of them. */
static void item_elsewhere(struct mail_out *o, const struct out_batch *b, struct out_item *it, bool unable, const char *detail)
{
    size_t relay;

    if (unable || !b->answered)
        it->tried |= 1u << b->relay;
    it->unable |= unable ? 1u << b->relay : 0;
    if (b->crew != o->crew)
        it->tried = it->unable = 0; /* others since a reload */
    if (relays_choose(&o->crew->relays, it->tried, clock_mono_us(), &relay) == RELAY_NONE) {
        bool never = it->unable == (1u << o->crew->relays.n) - 1;
        item_report(o, it, never ? SEND_REJECTED : SEND_RETRY, 0, detail);
        return;
    }
    metrics_inc(M_MAIL_OUT_ELSEWHERE);
    item_wait(o, it, true);
    event_active(o->flush, 0, 0);
}

/* What a session says about its relay, once. */
static void batch_relay(struct mail_out *o, struct out_batch *b, enum part_kind said, const char *why)
{
    struct relays *r = &b->crew->relays;
    const struct config *cfg = o->host->cfg;
    int64_t now = clock_mono_us();

    if (b->relay_told || b->crew != o->crew)
        return;
    b->relay_told = true;
    if (said == PART_REACHED)
        relays_reached(r, b->relay);
    else if (said == PART_UNREACHED)
        relays_unreached(r, cfg, b->relay, why, now);
    else
        relays_turned_away(r, cfg, b->relay, now);
    event_active(o->flush, 0, 0); /* others may have waited for it */
}

static void batch_part(struct mail_out *o, struct out_batch *b, const uint8_t *data, size_t n)
{
    struct part p;
    bool good = part_read(data, n, &p) == 0;

    if (good && p.kind >= PART_REACHED) {
        batch_relay(o, b, p.kind, p.detail);
        free(p.detail);
        return;
    }
    struct out_item *it = good && p.index < b->n ? b->items[p.index] : NULL;
    if (!it) {
        log_event(LOG_L_WARN, EV_MAIL_WORKER_ANSWER, "error=malformed");
        if (good)
            free(p.detail);
        return;
    }
    if (p.kind == PART_BEGUN) {
        it->begun = true;
    } else {
        b->items[p.index] = NULL;
        if (p.kind == PART_ELSEWHERE && !it->begun) {
            item_elsewhere(o, b, it, p.outcome == SEND_REJECTED, p.detail);
        } else {
            b->answered++;
            if (p.kind == PART_OUTCOME && p.outcome == SEND_SENT && b->crew == o->crew)
                metrics_relay_add(b->relay, MR_MAILS);
            item_report(o, it, p.kind == PART_ELSEWHERE ? SEND_UNKNOWN : p.outcome, 0, p.detail);
        }
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
    if (why == WORKER_TIMEOUT) /* connecting, or looking up its name, took too long */
        batch_relay(o, b, PART_UNREACHED, text);
    if (!b->relay_told && b->crew == o->crew)
        relays_undecided(&b->crew->relays, o->host->cfg, b->relay, clock_mono_us());
    for (size_t i = 0; i < b->n; i++) {
        struct out_item *it = b->items[i];
        if (it && why == WORKER_TIMEOUT && !it->begun) {
            item_elsewhere(o, b, it, false, text);
        } else if (it && why == WORKER_DIED && !it->begun && b->n > 1) {
            it->alone = true;
            item_wait(o, it, false);
        } else if (it) {
            item_report(o, it, it->begun || why == WORKER_CLOSED ? SEND_UNKNOWN : SEND_RETRY, 0, text);
        }
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
        out_crew_free(c);
    }
    if (!TAILQ_EMPTY(&o->leaving))
        event_add(o->tidy, &tidy_pause);
}

void mail_out_reloaded(struct mail_out *o)
{
    struct out_crew *c = out_crew_fits(o->crew, o->host->cfg) ? NULL : out_crew_new(o->host, on_answer, o);
    struct out_item *it;

    if (!c)
        return;
    TAILQ_INSERT_TAIL(&o->leaving, o->crew, link);
    o->crew = c;
    relays_init(&c->relays, o->host->cfg);
    TAILQ_FOREACH(it, &o->waiting, link)
    it->tried = it->unable = 0;
    event_add(o->tidy, &tidy_pause);
    event_active(o->flush, 0, 0);
}

int mail_out_start(const struct channel_host *host, struct mail_out **ret)
{
    struct mail_out *o = cd_alloc(sizeof *o);

    o->host = host;
    TAILQ_INIT(&o->waiting);
    TAILQ_INIT(&o->batches);
    TAILQ_INIT(&o->leaving);
    o->flush = event_new(host->base, -1, 0, on_flush, o);
    o->tidy = event_new(host->base, -1, 0, on_tidy, o);
    cd_assert(o->flush && o->tidy);
    o->crew = out_crew_new(host, on_answer, o);
    if (!o->crew) {
        mail_out_stop(&o);
        return CD_ECONFIG;
    }
    relays_init(&o->crew->relays, host->cfg);
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
    it->rcpt = mail_address_on_wire(m->recipient);
    int r = it->rcpt ? mail_message_build(o->host->cfg, m, clock_service_us(), &it->text) : CD_EINVAL;
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
    item_wait(o, it, false);
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
    struct out_crew *c;

    if (!o)
        return;
    *po = NULL;
    while ((c = TAILQ_FIRST(&o->leaving))) {
        TAILQ_REMOVE(&o->leaving, c, link);
        out_crew_free(c); /* ends its batches through on_answer() */
    }
    if (o->crew)
        out_crew_free(o->crew);
    while ((it = TAILQ_FIRST(&o->waiting))) {
        item_take(o, it);
        item_report(o, it, SEND_RETRY, 0, "stopped before it was sent");
    }
    event_free(o->flush);
    event_free(o->tidy);
    free(o);
}

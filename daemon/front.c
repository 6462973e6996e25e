/* Wiring. The front owns everything it makes here and frees it in an order in which nobody is called after its end: first what
 * answers (pipeline, requests), then the channels, last the outbox, which still takes their outcomes. */
#include "daemon/front.h"

#include <errno.h>
#include <libpq-fe.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "channels/channel.h"
#include "channels/web/web.h"
#include "daemon/assign.h"
#include "daemon/core/clock.h"
#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/descriptors.h"
#include "daemon/escalation/scheduler.h"
#include "daemon/escalation/waiting.h"
#include "daemon/feed.h"
#include "daemon/intake/gate.h"
#include "daemon/net/tls.h"
#include "daemon/notify/outbox.h"
#include "daemon/pending.h"
#include "daemon/pipeline.h"
#include "daemon/reload.h"
#include "daemon/requests.h"
#include "daemon/rescan.h"
#include "daemon/search.h"
#include "daemon/signing.h"
#include "daemon/store/migrate.h"
#include "daemon/store/closing.h"
#include "daemon/store/partitions.h"
#include "daemon/triage_worker.h"

#define EXIT_TEMPORARY 75
#define EXIT_CONFIG 78
#define DATABASE_WAIT_S 30
#define DRAIN_LIMIT_US CD_SEC(20)
#define TICK_US CD_MSEC(100)
#define LARGE_BLOCK (2 << 20) /* bytes */

/* Started in this order: web last of those that take in, because the others give it their routes. */
static const struct channel *const channels[] = {&channel_mail, &channel_sms, &channel_line, &channel_web};

struct front {
    struct config *cfg;
    const char *path;
    struct reload *reload;
    struct event_base *base;
    struct channel_host host;
    void *state[ARRAY_LEN(channels)];
    struct pipeline *pipeline;
    struct pending_reader *pending;
    struct rescan *rescan;
    struct search *search;
    struct scheduler *scheduler;
    struct assign *assign;
    struct waiting *waiting;
    struct outbox *outbox;
    struct requests *requests;
    struct feed *feed;
    struct tls *tls;
    struct partitions *partitions;
    struct closing *closing;
    struct event *signals[3], *tick;
    int64_t next_tick_us, drain_until_us, next_watchdog_us, watchdog_us;
    bool sandbox, draining;
};

/* ---- what channels get ---- */

static int host_submit(void *arg, struct envelope *e)
{
    return pipeline_submit(((struct front *)arg)->pipeline, e);
}

static bool host_ready(void *arg, size_t bytes)
{
    struct front *f = arg;
    return !f->draining && pipeline_ready(f->pipeline, bytes);
}

static enum gate_mode host_gate(void *arg)
{
    (void)arg;
    return gate_mode();
}

static void host_request(void *arg, const struct request *rq)
{
    requests_put(((struct front *)arg)->requests, rq);
}

static void host_feed_add(void *arg, struct feed_reader *r)
{
    feed_add(((struct front *)arg)->feed, r);
}

static void host_feed_resume(void *arg, struct feed_reader *r)
{
    feed_resume(((struct front *)arg)->feed, r);
}

static void host_feed_remove(void *arg, struct feed_reader *r)
{
    feed_remove(((struct front *)arg)->feed, r);
}

static void host_send_done(void *arg, const struct uuid *id, const struct send_result *r)
{
    outbox_send_done(((struct front *)arg)->outbox, id, r);
}

static int host_fetch(void *arg, const struct http_fetch *x, http_fetch_done done, void *done_arg)
{
    (void)arg;
    return web_fetch(x, done, done_arg);
}

static void host_http_answer(void *arg, struct ack token, int status, const char *content_type, const void *body, size_t n)
{
    (void)arg;
    web_answer(token, status, content_type, body, n);
}

/* ---- what requests get ---- */

static void on_reply(void *arg, struct ack slot, const struct reply *r)
{
    struct front *f = arg;
    for (size_t i = 0; i < ARRAY_LEN(channels); i++)
        if (channels[i]->id == (enum channel_id)slot.channel && channels[i]->on_reply && f->state[i])
            channels[i]->on_reply(f->state[i], slot, r);
}

static void kick(void *arg)
{
    struct front *f = arg;
    scheduler_kick(f->scheduler);
    assign_kick(f->assign);
    waiting_kick(f->waiting);
    outbox_kick(f->outbox);
}

static bool quiet(void *arg)
{
    struct front *f = arg;
    return scheduler_idle(f->scheduler) && assign_idle(f->assign) && waiting_idle(f->waiting) && outbox_idle(f->outbox) &&
           pipeline_idle(f->pipeline);
}

static json_t *stats(void *arg)
{
    struct front *f = arg;
    return json_pack("{s:s, s:s, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "server", "complaintd", "version", CD_VERSION, "in_flight",
                     (int)pipeline_in_flight(f->pipeline), "smtp_connections", (json_int_t)metrics_get(M_SMTP_OPEN), "line_connections",
                     (json_int_t)metrics_get(M_LINE_OPEN), "batches", (json_int_t)metrics_get(M_STORE_BATCHES), "rows",
                     (json_int_t)metrics_get(M_STORE_ROWS), "worker_deaths", (json_int_t)metrics_get(M_WORKER_DEATHS), "degraded",
                     (json_int_t)metrics_get(M_DEGRADED), "gate", gate_mode_name(gate_mode()));
}

static int read_again(void *arg, struct envelope *e, pipeline_read_done done, void *done_arg)
{
    return pipeline_read(((struct front *)arg)->pipeline, e, done, done_arg);
}

static void on_told(void *arg)
{
    outbox_kick(((struct front *)arg)->outbox);
}

/* ---- database at start ---- */

/* Migrates, and learns whether this is a sandbox, what time it is there, and the key for tokens. Blocking: the loop does not run yet. */
static int open_database(struct front *f)
{
    struct buf text;
    int r = CD_EAGAIN;
    buf_init(&text, CD_KIB(64));
    for (int i = 0; i < DATABASE_WAIT_S && r == CD_EAGAIN; i++) {
        if (i > 0)
            sleep(1);
        buf_reset(&text);
        r = migrate_run(f->cfg->database_dsn, &text);
        if (r == CD_EAGAIN && i == 0)
            log_event(LOG_L_WARN, EV_START_WAITING_FOR_DATABASE, "seconds=%d error=%s", DATABASE_WAIT_S, log_quote(buf_str(&text)));
    }
    for (char *line = (char *)text.data; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        char *first CD_CLEANUP_FREE = cd_strndup(line, strcspn(line, "\n"));
        log_event(r ? LOG_L_ERROR : LOG_L_NOTICE, EV_START_MIGRATE, "text=%s", log_text(first));
    }
    buf_free(&text);
    if (r < 0)
        return r;
    PGconn *db = PQconnectdb(f->cfg->database_dsn);
    PGresult *res = PQexec(db, "select c.sandbox, (extract(epoch from complaintd.now()) * 1000000)::bigint, encode(s.secret, 'hex')"
                               " from complaintd.clock c, complaintd.secrets s where s.name = 'token'");
    uint8_t secret[SHA256_SIZE];
    bool ok = PQresultStatus(res) == PGRES_TUPLES_OK && PQntuples(res) == 1 &&
              hex_decode(PQgetvalue(res, 0, 2), secret, sizeof secret) == 0;
    if (ok) {
        signing_set_database_key(secret);
        signing_apply(f->cfg);
        f->sandbox = PQgetvalue(res, 0, 0)[0] == 't';
        clock_set_service_offset_us(strtoll(PQgetvalue(res, 0, 1), NULL, 10) - clock_real_us());
    }
    PQclear(res);
    PQfinish(db);
    return ok ? 0 : CD_EAGAIN;
}

/* ---- life ---- */

static void begin_drain(struct front *f)
{
    if (f->draining)
        return;
    f->draining = true;
    f->drain_until_us = clock_mono_us() + DRAIN_LIMIT_US;
    log_event(LOG_L_NOTICE, EV_FRONT_DRAINING, "in_flight=%zu", pipeline_in_flight(f->pipeline));
    reload_stop(f->reload);
    sd_notify(0, "STOPPING=1\nSTATUS=finishing what is in progress");
    pending_free(&f->pending); /* they can wait for the next start */
    rescan_free(&f->rescan);
    assign_free(&f->assign);
    search_free(&f->search);
    outbox_drain(f->outbox);
    for (size_t i = 0; i < ARRAY_LEN(channels); i++)
        if (f->state[i])
            channels[i]->drain(f->state[i]);
}

static void on_signal(evutil_socket_t sig, short what, void *arg)
{
    struct front *f = arg;
    (void)what;
    if (sig == SIGHUP) {
        if (!f->draining) {
            tls_reload(f->tls);
            reload_ask(f->reload);
        }
        return;
    }
    if (f->draining) /* asked twice: now */
        event_base_loopbreak(f->base);
    begin_drain(f);
}

static void on_reloaded(void *arg)
{
    struct front *f = arg;
    log_set_level((enum log_level)f->cfg->log_level);
    log_set_pii(f->cfg->log_pii);
    signing_apply(f->cfg);
    for (size_t i = 0; i < ARRAY_LEN(channels); i++)
        if (f->state[i] && channels[i]->reloaded)
            channels[i]->reloaded(f->state[i]);
}

static bool all_idle(struct front *f)
{
    if (!pipeline_idle(f->pipeline) || !requests_idle(f->requests) || !outbox_idle(f->outbox))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(channels); i++)
        if (f->state[i] && channels[i]->idle && !channels[i]->idle(f->state[i]))
            return false;
    return true;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct front *f = arg;
    int64_t now = clock_mono_us();
    (void)fd;
    (void)what;
    if (f->next_tick_us)
        metrics_observe(H_LOOP_LAG, now - f->next_tick_us);
    f->next_tick_us = now + TICK_US;
    log_tick();
    if (f->watchdog_us && now >= f->next_watchdog_us) {
        f->next_watchdog_us = now + f->watchdog_us / 2;
        sd_notify(0, "WATCHDOG=1");
    }
    if (f->draining && (all_idle(f) || now > f->drain_until_us))
        event_base_loopbreak(f->base);
}

static int start_channels(struct front *f)
{
    for (size_t i = 0; i < ARRAY_LEN(channels); i++) {
        int r = channels[i]->start(&f->host, &f->state[i]);
        if (r < 0) {
            log_event(LOG_L_ERROR, EV_FRONT_CHANNEL_FAILED, "channel=%s error=%s", channels[i]->name, log_quote(cd_strerror(r)));
            return r;
        }
        if (channels[i]->http_prefix)
            web_add_route(channels[i]->http_prefix, channels[i]->http, f->state[i]);
        if (channels[i]->send)
            outbox_route(f->outbox, channels[i]->transport, (struct outbox_route){channels[i], f->state[i]});
    }
    return 0;
}

static void start_events(struct front *f)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    struct timeval tv = {0, TICK_US};
    uint64_t usec;
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        f->signals[i] = evsignal_new(f->base, numbers[i], on_signal, f);
        cd_assert(f->signals[i] && event_add(f->signals[i], NULL) == 0);
    }
    f->tick = event_new(f->base, -1, EV_PERSIST, on_tick, f);
    cd_assert(f->tick && event_add(f->tick, &tv) == 0);
    if (sd_watchdog_enabled(0, &usec) > 0)
        f->watchdog_us = (int64_t)usec;
}

static int start(struct front *f)
{
    int fd = triage_config_fd(f->cfg);
    if (fd < 0)
        return EXIT_CONFIG;
    f->tls = tls_new(f->base, f->cfg);
    f->host = (struct channel_host){.base = f->base, .cfg = f->cfg, .tls = f->tls, .front = f, .submit = host_submit, .ready = host_ready, .gate = host_gate,
                                    .request = host_request, .feed_add = host_feed_add, .feed_resume = host_feed_resume,
                                    .feed_remove = host_feed_remove, .send_done = host_send_done, .fetch = host_fetch,
                                    .http_answer = host_http_answer};
    int r = pipeline_new(f->base, f->cfg, fd, &f->pipeline); /* fd stays open: workers that are started again read it too */
    if (r < 0)
        return EXIT_TEMPORARY;
    f->partitions = partitions_new(f->base, f->cfg);
    f->closing = closing_new(f->base, f->cfg);
    f->pending = pending_new(f->base, f->cfg, f->pipeline);
    f->rescan = rescan_new(f->base, f->cfg, pipeline_scanner(f->pipeline));
    f->search = search_new(f->base, f->cfg);
    f->outbox = outbox_new(f->base, f->cfg, f->sandbox);
    f->scheduler = scheduler_new(f->base, f->cfg, on_told, f);
    f->assign = assign_new(f->base, f->cfg, on_told, f);
    f->requests = requests_new(f->base, f->cfg,
                               &(struct requests_hooks){.reply = on_reply, .kick = kick, .quiet = quiet, .stats = stats, .read = read_again, .arg = f});
    f->feed = feed_new(f->base, f->cfg);
    f->waiting = waiting_new(f->base, f->cfg, requests_pg(f->requests), on_told, f);
    f->reload = reload_new(f->base, &(struct reload_options){.path = f->path, .live = f->cfg, .pipeline = f->pipeline,
                                                             .done = on_reloaded, .arg = f});
    start_events(f);
    return start_channels(f) < 0 ? EXIT_TEMPORARY : 0;
}

static void stop(struct front *f)
{
    partitions_free(&f->partitions);
    closing_free(&f->closing);
    if (f->reload)
        reload_stop(f->reload);
    pending_free(&f->pending);
    rescan_free(&f->rescan);
    search_free(&f->search);
    pipeline_free(&f->pipeline);
    reload_free(&f->reload);
    requests_free(&f->requests);
    waiting_free(&f->waiting);
    scheduler_free(&f->scheduler);
    assign_free(&f->assign);
    for (size_t i = ARRAY_LEN(channels); i-- > 0;)
        if (f->state[i])
            channels[i]->stop(&f->state[i]);
    outbox_free(&f->outbox);
    feed_free(&f->feed); /* after the channels, whose readers it holds */
    tls_free(&f->tls);
    for (size_t i = 0; i < ARRAY_LEN(f->signals); i++)
        if (f->signals[i])
            event_free(f->signals[i]);
    if (f->tick)
        event_free(f->tick);
    event_base_free(f->base);
}

/* A buffer of a large mail grows in place (mremap) and goes back to the kernel when it is freed. By itself malloc would move its
 * threshold up to the largest block ever freed, after which such buffers are copied to grow and leave holes in the heap. Those of
 * usual batches stay in the heap, and the heap is not trimmed after each of them. */
static void settle_malloc(void)
{
    mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK);
    mallopt(M_TRIM_THRESHOLD, 2 * LARGE_BLOCK);
}

static void name_metrics(void)
{
    static const char *channel_names[CH_COUNT], *outcome_names[OUT_COUNT];
    for (int i = 0; i < CH_COUNT; i++)
        channel_names[i] = channel_name((enum channel_id)i);
    for (int i = 0; i < OUT_COUNT; i++)
        outcome_names[i] = outcome_name((enum outcome)i);
    metrics_name_intake(channel_names, CH_COUNT, outcome_names, OUT_COUNT);
}

int front_run(struct config *c, const char *path)
{
    static struct front f;
    f.cfg = c;
    f.path = path;
    descriptors_raise();
    signal(SIGPIPE, SIG_IGN);
    settle_malloc();
    log_open();
    log_set_level((enum log_level)c->log_level);
    log_set_pii(c->log_pii);
    descriptors_share(c);
    name_metrics();
    metrics_name_instance(c->instance);
    int r = open_database(&f);
    if (r < 0) {
        log_close();
        return r == CD_ECONFLICT ? EXIT_CONFIG : EXIT_TEMPORARY;
    }
    f.base = event_base_new();
    cd_assert(f.base);
    int status = start(&f);
    if (status == 0) {
        log_event(LOG_L_NOTICE, EV_FRONT_READY, "version=%s instance=%s config=%s sandbox=%s", CD_VERSION, log_quote(c->instance), c->hash,
                  f.sandbox ? "yes" : "no");
        sd_notify(0, "READY=1\nSTATUS=taking complaints in");
        event_base_dispatch(f.base);
    }
    stop(&f);
    log_event(LOG_L_NOTICE, EV_FRONT_ENDED, "status=%d", status);
    log_close();
    return status;
}

/* A reload: read and check the file; when the triage workers' part of it changed, compile it in a child and start workers for it
 * beside the others; once one of them is ready, exchange the values and hand over. Each step is a callback of the loop. Whatever
 * fails is logged, counted, and leaves everything as it was. */
#include "daemon/reload.h"

#include <stdio.h>
#include <string.h>
#include <sys/queue.h>
#include <systemd/sd-daemon.h>

#include "daemon/core/clock.h"
#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/descriptors.h"
#include "daemon/triage_worker.h"

#define STEP_US CD_MSEC(20)
#define TIDY_US CD_SEC(1)
#define COMPILE_LIMIT_US CD_SEC(120)
#define START_LIMIT_US CD_SEC(60)
#define FAULTS_LOGGED 20
#define OLD_MAX 32 /* then a reload waits until envelopes under way have ended */

/* A tree with values that are no longer in use. */
struct old_config {
    TAILQ_ENTRY(old_config) link;
    struct config *c;
    int64_t since_us;
};

enum reload_step { RELOAD_IDLE, RELOAD_COMPILING, RELOAD_STARTING, RELOAD_STOPPED };

struct reload {
    struct reload_options o;
    struct event *asked_ev, *step_ev, *tidy_ev;
    enum reload_step step;
    bool again;
    struct config *fresh; /* between reading and taking over */
    int fd;               /* what is compiled */
    pid_t pid;            /* who compiles */
    int64_t began_us, step_since_us;
    unsigned generation;
    TAILQ_HEAD(, old_config) old;
    size_t nold;
};

static void arm(struct event *ev, int64_t us)
{
    struct timeval tv = {us / CD_SEC(1), us % CD_SEC(1)};
    event_add(ev, &tv);
}

/* ---- what the manager and the operator are told ---- */

static void tell_begin(void)
{
    /* MONOTONIC_USEC belongs into the same datagram: newer managers wait for it (systemd.service, Type=notify-reload). */
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld\nSTATUS=reading the configuration", (long long)clock_mono_us());
}

static void log_faults(const struct faults *f)
{
    for (size_t i = 0; i < f->n && i < FAULTS_LOGGED; i++)
        log_event(LOG_L_ERROR, EV_FRONT_RELOAD_FAULT, "file=%s line=%d column=%d text=%s", log_quote(f->v[i].file), f->v[i].line,
                  f->v[i].column, log_quote(f->v[i].text));
}

static void ended(struct reload *r)
{
    r->step = RELOAD_IDLE;
    if (!r->again)
        return;
    r->again = false;
    event_active(r->asked_ev, EV_TIMEOUT, 0);
}

static void failed(struct reload *r, size_t nfaults, const char *why)
{
    metrics_inc(M_RELOAD_FAILED);
    log_event(LOG_L_ERROR, EV_FRONT_RELOAD_FAILED, "generation=%u config=%s faults=%zu error=%s", r->generation, r->o.live->hash, nfaults,
              log_quote(why));
    sd_notifyf(0, "READY=1\nSTATUS=taking complaints in; the configuration file has faults, the one before it is in use");
    config_free(&r->fresh);
    ended(r);
}

/* ---- taking over ---- */

static void names_join(const struct strlist *l, char *text, size_t size)
{
    size_t n = 0;
    text[0] = '\0';
    for (size_t i = 0; i < l->n && n < size - 1; i++)
        n += (size_t)snprintf(text + n, size - n, "%s%s", i ? "," : "", l->v[i]);
}

static void keep_old(struct reload *r, struct config *c)
{
    struct old_config *old = cd_alloc(sizeof *old);
    old->c = c;
    old->since_us = clock_mono_us();
    TAILQ_INSERT_TAIL(&r->old, old, link);
    metrics_set(M_CONFIG_OLD, (int64_t)++r->nold);
    arm(r->tidy_ev, TIDY_US);
}

static void take_over(struct reload *r)
{
    struct strlist changed = {0}, restart = {0};
    char changed_text[400], restart_text[400];
    config_take(r->o.live, r->fresh, &changed, &restart);
    keep_old(r, r->fresh);
    r->fresh = NULL;
    metrics_set(M_CONFIG_GENERATION, ++r->generation);
    metrics_inc(M_RELOAD_OK);
    pipeline_reloaded(r->o.pipeline);
    r->o.done(r->o.arg);
    names_join(&changed, changed_text, sizeof changed_text);
    names_join(&restart, restart_text, sizeof restart_text);
    log_event(LOG_L_NOTICE, EV_FRONT_RELOAD, "generation=%u config=%s changed=%s restart=%s milliseconds=%lld", r->generation,
              r->o.live->hash, changed.n ? changed_text : "-", restart.n ? restart_text : "-",
              (long long)((clock_mono_us() - r->began_us) / 1000));
    strlist_free(&changed);
    strlist_free(&restart);
    sd_notifyf(0, "READY=1\nSTATUS=taking complaints in");
    ended(r);
}

static void tidy(struct reload *r, int64_t oldest_us)
{
    struct old_config *old;
    while ((old = TAILQ_FIRST(&r->old)) && old->since_us < oldest_us) {
        TAILQ_REMOVE(&r->old, old, link);
        config_free(&old->c);
        free(old);
        metrics_set(M_CONFIG_OLD, (int64_t)--r->nold);
    }
}

static void on_tidy(evutil_socket_t fd, short what, void *arg)
{
    struct reload *r = arg;
    (void)fd;
    (void)what;
    tidy(r, pipeline_oldest_us(r->o.pipeline));
    if (r->nold)
        arm(r->tidy_ev, TIDY_US);
}

/* ---- steps ---- */

static void next_step(struct reload *r, enum reload_step step)
{
    r->step = step;
    r->step_since_us = clock_mono_us();
    arm(r->step_ev, STEP_US);
}

static void compiling(struct reload *r)
{
    int result = triage_config_end(r->fd, r->pid);
    if (result == CD_EAGAIN && clock_mono_us() - r->step_since_us < COMPILE_LIMIT_US) {
        arm(r->step_ev, STEP_US);
        return;
    }
    if (result == CD_EAGAIN)
        triage_config_abandon(r->fd, r->pid);
    if (result < 0)
        failed(r, 0, result == CD_EAGAIN ? "the rules take too long to compile" : "the rules cannot be compiled");
    else if (pipeline_start_workers(r->o.pipeline, r->fresh, r->fd) < 0)
        failed(r, 0, "no worker could be started");
    else
        next_step(r, RELOAD_STARTING);
}

static void starting(struct reload *r)
{
    if (pipeline_workers_started(r->o.pipeline)) {
        take_over(r);
    } else if (clock_mono_us() - r->step_since_us < START_LIMIT_US) {
        arm(r->step_ev, STEP_US);
    } else {
        pipeline_drop_workers(r->o.pipeline);
        failed(r, 0, "the new workers do not start");
    }
}

static void on_step(evutil_socket_t fd, short what, void *arg)
{
    struct reload *r = arg;
    (void)fd;
    (void)what;
    if (r->step == RELOAD_COMPILING)
        compiling(r);
    else if (r->step == RELOAD_STARTING)
        starting(r);
}

static void begin(struct reload *r)
{
    struct faults faults = {0};
    r->began_us = clock_mono_us();
    tell_begin();
    r->fresh = config_load(r->o.path, &faults);
    size_t nfaults = faults.n + faults.dropped;
    log_faults(&faults);
    faults_free(&faults);
    if (!r->fresh) {
        failed(r, nfaults, "the file has faults");
        return;
    }
    descriptors_share(r->fresh);
    if (triage_config_same(r->o.live, r->fresh)) {
        take_over(r);
        return;
    }
    r->fd = triage_config_begin(r->fresh, &r->pid);
    if (r->fd < 0)
        failed(r, 0, "the rules cannot be compiled now");
    else
        next_step(r, RELOAD_COMPILING);
}

static void on_asked(evutil_socket_t fd, short what, void *arg)
{
    struct reload *r = arg;
    (void)fd;
    (void)what;
    if (r->step == RELOAD_COMPILING || r->step == RELOAD_STARTING)
        r->again = true;
    else if (r->step == RELOAD_IDLE && r->nold >= OLD_MAX)
        arm(r->asked_ev, TIDY_US);
    else if (r->step == RELOAD_IDLE)
        begin(r);
}

/* ---- outside ---- */

struct reload *reload_new(struct event_base *base, const struct reload_options *o)
{
    struct reload *r = cd_alloc(sizeof *r);
    r->o = *o;
    r->generation = 1;
    TAILQ_INIT(&r->old);
    r->asked_ev = event_new(base, -1, 0, on_asked, r);
    r->step_ev = event_new(base, -1, 0, on_step, r);
    r->tidy_ev = event_new(base, -1, 0, on_tidy, r);
    cd_assert(r->asked_ev && r->step_ev && r->tidy_ev);
    metrics_set(M_CONFIG_GENERATION, r->generation);
    return r;
}

void reload_ask(struct reload *r)
{
    event_active(r->asked_ev, EV_TIMEOUT, 0);
}

void reload_stop(struct reload *r)
{
    if (r->step == RELOAD_COMPILING)
        triage_config_abandon(r->fd, r->pid);
    if (r->step == RELOAD_STARTING)
        pipeline_drop_workers(r->o.pipeline);
    config_free(&r->fresh);
    r->step = RELOAD_STOPPED;
}

void reload_free(struct reload **pr)
{
    struct reload *r = *pr;
    if (!r)
        return;
    *pr = NULL;
    tidy(r, INT64_MAX);
    event_free(r->asked_ev);
    event_free(r->step_ev);
    event_free(r->tidy_ev);
    free(r);
}

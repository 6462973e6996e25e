/* The scanner: asks the configured checkers about one mail, both at a time, each within its own budget. It has its own HTTP client, so that
 * checks and messages that go out do not wait for each other. So many mails are asked about at a time; others wait, no longer than a
 * budget. Scans belong to the scanner from scanner_ask() until `done`; mail and result are the caller's. */
#include "daemon/scan/scan.h"

#include <string.h>

#include "daemon/core/clock.h"
#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/scan/checkers.h"

TAILQ_HEAD(scan_list, scan);

struct scan {
    TAILQ_ENTRY(scan) entry;
    struct scanner *s;
    const struct scan_mail *mail;
    struct scan_result *r;
    scan_done done;
    void *arg;
    bool wanted[CHECKERS]; /* to be asked */
    bool open[CHECKERS];   /* asked, and no answer yet */
    bool starting;         /* inside launch(): `done` has to wait */
    bool waiting;
    struct event *timer;   /* while it waits */
    struct clamd *clamd;
    int64_t since_us;
};

struct scanner {
    struct event_base *base;
    const struct config *cfg;
    struct web_client *web;
    struct breaker breaker[CHECKERS];
    struct scan_list active, waiting;
    size_t nactive;
    bool pumping; /* inside next_waiting() */
};

static const char *const names[CHECKERS] = {[CHECK_RSPAMD] = "rspamd", [CHECK_CLAMD] = "clamd"};
static const enum metric pause_metric[CHECKERS] = {[CHECK_RSPAMD] = M_SCAN_PAUSED_RSPAMD, [CHECK_CLAMD] = M_SCAN_PAUSED_CLAMD};

static bool configured(const struct config *c, enum scan_checker k)
{
    return k == CHECK_RSPAMD ? c->scan_rspamd_url[0] != '\0' : c->nscan_clamd > 0;
}

static uint64_t max_bytes(const struct config *c, enum scan_checker k)
{
    return k == CHECK_RSPAMD ? c->scan_rspamd_max_bytes : c->scan_clamd_max_bytes;
}

/* ---- what came of asking ---- */

static void count(enum scan_checker k, enum scan_outcome o)
{
    static const enum metric m[CHECKERS][ASK_OUTCOMES] = {
        [CHECK_RSPAMD] = {[ASK_ANSWERED] = M_SCAN_RSPAMD_ANSWERED, [ASK_TOO_LARGE] = M_SCAN_RSPAMD_TOO_LARGE, [ASK_SKIPPED] = M_SCAN_RSPAMD_SKIPPED,
                          [ASK_BUSY] = M_SCAN_RSPAMD_BUSY, [ASK_PAUSED] = M_SCAN_RSPAMD_PAUSED, [ASK_DOWN] = M_SCAN_RSPAMD_DOWN,
                          [ASK_SLOW] = M_SCAN_RSPAMD_SLOW, [ASK_ODD] = M_SCAN_RSPAMD_ODD},
        [CHECK_CLAMD] = {[ASK_ANSWERED] = M_SCAN_CLAMD_ANSWERED, [ASK_TOO_LARGE] = M_SCAN_CLAMD_TOO_LARGE, [ASK_SKIPPED] = M_SCAN_CLAMD_ODD,
                         [ASK_BUSY] = M_SCAN_CLAMD_BUSY, [ASK_PAUSED] = M_SCAN_CLAMD_PAUSED, [ASK_DOWN] = M_SCAN_CLAMD_DOWN,
                         [ASK_SLOW] = M_SCAN_CLAMD_SLOW, [ASK_ODD] = M_SCAN_CLAMD_ODD},
    };
    if (o != ASK_OFF)
        metrics_inc(m[k][o]);
}

static void tell_breaker(struct scanner *s, enum scan_checker k, const struct scan_answer *a)
{
    bool failed = a->outcome == ASK_DOWN || a->outcome == ASK_SLOW || a->outcome == ASK_ODD;
    int change = breaker_told(&s->breaker[k], !failed, clock_mono_us());
    metrics_set(pause_metric[k], s->breaker[k].open);
    if (change > 0)
        log_event(LOG_L_WARN, EV_SCAN_PAUSED, "checker=%s failures=%u outcome=%s error=%s", names[k], s->breaker[k].failures,
                  scan_outcome_name(a->outcome), log_quote(a->text));
    else if (change < 0)
        log_event(LOG_L_NOTICE, EV_SCAN_BACK, "checker=%s", names[k]);
}

static void next_waiting(struct scanner *s);

static void scan_free(struct scan *x)
{
    struct scanner *s = x->s;
    if (x->waiting) {
        TAILQ_REMOVE(&s->waiting, x, entry);
    } else {
        TAILQ_REMOVE(&s->active, x, entry);
        s->nactive--;
    }
    if (x->timer)
        event_free(x->timer);
    clamd_cancel(&x->clamd);
    free(x);
}

static bool is_open(const struct scan *x)
{
    return x->open[CHECK_RSPAMD] || x->open[CHECK_CLAMD];
}

static void complete(struct scan_result *r)
{
    static const enum metric m[SCAN_VERDICTS] = {
        [SCAN_CLEAN] = M_SCAN_CLEAN, [SCAN_UNSCANNED] = M_SCAN_UNSCANNED, [SCAN_SUSPECT] = M_SCAN_SUSPECT, [SCAN_QUARANTINED] = M_SCAN_QUARANTINED};
    for (enum scan_checker k = 0; k < CHECKERS; k++)
        count(k, r->answer[k].outcome);
    scan_result_settle(r);
    if (r->verdict != SCAN_OFF)
        metrics_inc(m[r->verdict]);
}

static void finish_if_done(struct scan *x)
{
    struct scanner *s = x->s;
    if (x->starting || is_open(x))
        return;
    scan_done done = x->done;
    void *arg = x->arg;
    metrics_observe(H_SCAN, clock_mono_us() - x->since_us);
    complete(x->r);
    scan_free(x);
    done(arg);
    next_waiting(s);
}

static void answered(struct scan *x, enum scan_checker k, const struct scan_answer *a)
{
    x->open[k] = false;
    tell_breaker(x->s, k, a);
    if (a->outcome >= ASK_DOWN)
        log_event(LOG_L_WARN, EV_SCAN_FAILED, "id=%s checker=%s outcome=%s error=%s", x->mail->id, names[k], scan_outcome_name(a->outcome),
                  log_quote(a->text));
    finish_if_done(x);
}

static void on_rspamd(void *arg, const struct http_fetch_result *f)
{
    struct scan *x = arg;
    rspamd_read(f, x->r);
    answered(x, CHECK_RSPAMD, &x->r->answer[CHECK_RSPAMD]);
}

static void on_clamd(void *arg, const struct scan_answer *a)
{
    struct scan *x = arg;
    x->clamd = NULL;
    x->r->answer[CHECK_CLAMD] = *a;
    answered(x, CHECK_CLAMD, a);
}

/* ---- asking ---- */

static void set_outcome(struct scan_answer *a, enum scan_outcome o)
{
    scan_answer_set(a, o, SCAN_OFF, NULL, 0);
}

static void ask_rspamd(struct scan *x)
{
    struct scan_answer *a = &x->r->answer[CHECK_RSPAMD];
    int r = rspamd_ask(x->s->web, x->s->cfg, x->mail, on_rspamd, x);
    x->open[CHECK_RSPAMD] = r == 0;
    if (r == 0)
        return;
    if (r == CD_EAGAIN) {
        set_outcome(a, ASK_BUSY);
        breaker_untake(&x->s->breaker[CHECK_RSPAMD]);
        return;
    }
    scan_answer_set(a, ASK_DOWN, SCAN_OFF, "scan.rspamd.url cannot be used", 30);
    answered(x, CHECK_RSPAMD, a);
}

static void ask_clamd(struct scan *x)
{
    const struct config *c = x->s->cfg;
    struct scan_answer *a = &x->r->answer[CHECK_CLAMD];
    int r = clamd_ask(x->s->base, &c->scan_clamd[0], x->mail->text, x->mail->n, c->scan_clamd_timeout_us, on_clamd, x, &x->clamd, a);
    x->open[CHECK_CLAMD] = r == 0;
    if (r < 0)
        answered(x, CHECK_CLAMD, a);
}

/* Options may have changed while it waited. */
static bool may_ask(struct scan *x, enum scan_checker k)
{
    struct scan_answer *a = &x->r->answer[k];
    if (!x->wanted[k])
        return false;
    if (!configured(x->s->cfg, k))
        set_outcome(a, ASK_OFF);
    else if (!breaker_take(&x->s->breaker[k], clock_mono_us()))
        set_outcome(a, ASK_PAUSED);
    else
        return true;
    return false;
}

static void launch(struct scan *x)
{
    x->starting = true;
    if (may_ask(x, CHECK_RSPAMD))
        ask_rspamd(x);
    if (may_ask(x, CHECK_CLAMD))
        ask_clamd(x);
    x->starting = false;
}

static void set_waiting(struct scanner *s, struct scan *x, bool waiting)
{
    x->waiting = waiting;
    if (waiting)
        TAILQ_INSERT_TAIL(&s->waiting, x, entry);
    else
        TAILQ_INSERT_TAIL(&s->active, x, entry);
    s->nactive += !waiting;
    metrics_add(M_SCAN_WAITING, waiting);
}

static void next_waiting(struct scanner *s)
{
    struct scan *x;
    if (s->pumping)
        return;
    s->pumping = true;
    while (s->nactive < s->cfg->scan_in_flight && (x = TAILQ_FIRST(&s->waiting))) {
        TAILQ_REMOVE(&s->waiting, x, entry);
        metrics_add(M_SCAN_WAITING, -1);
        event_del(x->timer);
        set_waiting(s, x, false);
        launch(x);
        finish_if_done(x);
    }
    s->pumping = false;
}

static void on_waited(evutil_socket_t fd CD_UNUSED, short what CD_UNUSED, void *arg)
{
    struct scan *x = arg;
    for (enum scan_checker k = 0; k < CHECKERS; k++)
        if (x->wanted[k])
            set_outcome(&x->r->answer[k], ASK_BUSY);
    metrics_add(M_SCAN_WAITING, -1);
    finish_if_done(x);
}

static void wait_for_turn(struct scanner *s, struct scan *x)
{
    int64_t us = CD_MAX(s->cfg->scan_rspamd_timeout_us, s->cfg->scan_clamd_timeout_us);
    struct timeval tv = {us / CD_SEC(1), us % CD_SEC(1)};
    x->timer = event_new(s->base, -1, 0, on_waited, x);
    cd_assert(x->timer && event_add(x->timer, &tv) == 0);
    set_waiting(s, x, true);
}

bool scanner_ask(struct scanner *s, const struct scan_mail *m, struct scan_result *r, scan_done done, void *arg, struct scan **ret)
{
    bool wanted[CHECKERS] = {false}, any = false;
    int64_t now = clock_mono_us();
    for (enum scan_checker k = 0; k < CHECKERS; k++) {
        set_outcome(&r->answer[k], ASK_OFF);
        if (!configured(s->cfg, k))
            continue;
        if (m->n > max_bytes(s->cfg, k))
            set_outcome(&r->answer[k], ASK_TOO_LARGE);
        else if (!breaker_due(&s->breaker[k], now))
            set_outcome(&r->answer[k], ASK_PAUSED);
        else
            any = wanted[k] = true;
    }
    if (!any) {
        complete(r);
        return false;
    }
    struct scan *x = cd_alloc(sizeof *x);
    *x = (struct scan){.s = s, .mail = m, .r = r, .done = done, .arg = arg, .since_us = now};
    memcpy(x->wanted, wanted, sizeof wanted);
    if (s->nactive >= s->cfg->scan_in_flight) {
        wait_for_turn(s, x);
    } else {
        set_waiting(s, x, false);
        launch(x);
        if (!is_open(x)) { /* nobody could even be reached */
            complete(r);
            scan_free(x);
            return false;
        }
    }
    *ret = x;
    return true;
}

void scan_cancel(struct scan **px)
{
    struct scan *x = *px;
    if (!x)
        return;
    *px = NULL;
    if (x->waiting)
        metrics_add(M_SCAN_WAITING, -1);
    for (enum scan_checker k = 0; k < CHECKERS; k++)
        if (x->open[k])
            breaker_untake(&x->s->breaker[k]);
    web_client_cancel(x->s->web, x);
    scan_free(x);
}

/* ---- life ---- */

struct scanner *scanner_new(struct event_base *base, const struct config *c)
{
    struct scanner *s = cd_alloc(sizeof *s);
    s->base = base;
    s->cfg = c;
    TAILQ_INIT(&s->active);
    TAILQ_INIT(&s->waiting);
    if (web_client_start(base, WEB_CLIENT_MAX, &s->web) < 0) { /* logged */
        free(s);
        return NULL;
    }
    return s;
}

void scanner_free(struct scanner **ps)
{
    struct scanner *s = *ps;
    if (!s)
        return;
    *ps = NULL;
    cd_assert(TAILQ_EMPTY(&s->active) && TAILQ_EMPTY(&s->waiting));
    web_client_stop(&s->web);
    free(s);
}

bool scanner_on(const struct scanner *s)
{
    return configured(s->cfg, CHECK_RSPAMD) || configured(s->cfg, CHECK_CLAMD);
}

bool scanner_free_now(const struct scanner *s)
{
    int64_t now = clock_mono_us();
    for (enum scan_checker k = 0; k < CHECKERS; k++)
        if (configured(s->cfg, k) && !breaker_due(&s->breaker[k], now))
            return false;
    return s->nactive < s->cfg->scan_in_flight && TAILQ_EMPTY(&s->waiting);
}

void scanner_reloaded(struct scanner *s)
{
    for (enum scan_checker k = 0; k < CHECKERS; k++) {
        s->breaker[k] = (struct breaker){0};
        metrics_set(pause_metric[k], 0);
    }
    next_waiting(s);
}

/* The breaker of storms; see storm.h and breaker_poll() in schema/. Which instance raises the alarm is decided by the database: the one whose
 * question found it untold. An instance that ends between that and its log line takes the line with it; the gauge of all others shows
 * the storm. */
#include "daemon/notify/storm.h"

#include <stdio.h>

#include "daemon/core/log.h"
#include "daemon/core/metrics.h"

const struct pg_stmt storm_stmt = {
    "storm", "select is_open, news, held, since from complaintd.breaker_poll($1::integer, make_interval(secs => $2::double precision))"};

void storm_ask(const struct config *c, struct pg *pg)
{
    struct pg_params p;
    char secs[32];
    snprintf(secs, sizeof secs, "%.3f", (double)c->loops_storm_window_us / 1e6);
    pg_params_init(&p, CD_KIB(1));
    pg_param_int(&p, (int64_t)c->loops_storm_mails);
    pg_param_text(&p, secs);
    pg_step(pg, &storm_stmt, &p);
    pg_params_free(&p);
}

void storm_take(const struct config *c, const PGresult *res)
{
    const char *news = pg_text(res, 0, 1), *since = pg_text(res, 0, 3);
    metrics_set(M_STORM_OPEN, str_eq(pg_text(res, 0, 0), "t"));
    metrics_add(M_STORM_HELD, (uint64_t)pg_i64(res, 0, 2, 0));
    if (str_eq(news, "opened")) {
        metrics_inc(M_STORMS);
        log_event(LOG_L_ERROR, EV_LOOPS_STORM, "since=%s limit=%llu window_s=%lld", log_quote(since ? since : "-"),
                  (unsigned long long)c->loops_storm_mails, (long long)(c->loops_storm_window_us / CD_SEC(1)));
    } else if (str_eq(news, "closed")) {
        log_event(LOG_L_NOTICE, EV_LOOPS_STORM_OVER, "since=%s", log_quote(since ? since : "-"));
    }
}

/* The pump of complaintd.close_day(). Every instance asks; the database sees to it that one closes a day. It is done in pieces, and after each
 * it rests nine times as long as that took, so that a database from before this begins with a tenth of one backend. What fails is asked
 * again; nothing else waits for it. */
#include "daemon/store/closing.h"

#include "daemon/core/clock.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/store/pg.h"

#define FIRST_US CD_SEC(5)
#define EVERY_US CD_HOUR(1)
#define AGAIN_US CD_MIN_US(1) /* after a failure */
#define AT_ONCE 20000         /* events: about a second */
#define SHARE 9

struct closing {
    struct event_base *base;
    const struct config *cfg;
    struct event *timer;
    struct pg *pg; /* NULL between looks */
    struct pg_unit unit;
    bool asked, done;
    int64_t sent_us, next_us;
};

static const struct pg_stmt sql_close = {"close_day", "select day, complaints, n, hash, more from complaintd.close_day($1::integer)"};
static const struct pg_stmt *const statements[] = {&sql_close, NULL};

static void arm(struct closing *c, int64_t us)
{
    struct timeval tv = {us / CD_SEC(1), us % CD_SEC(1)};
    event_add(c->timer, &tv);
}

static void on_closed(struct pg_unit *u, enum pg_status s)
{
    struct closing *c = (struct closing *)((char *)u - offsetof(struct closing, unit));
    if (s == PG_LOST) {
        c->asked = false; /* asked again when the connection is back */
        return;
    }
    const PGresult *r = u->result[0];
    const char *day = s == PG_OK ? pg_text(r, 0, 0) : NULL;
    if (s != PG_OK) {
        metrics_inc(M_STORE_CLOSING_FAILURES);
        log_event(LOG_L_WARN, EV_STORE_CLOSING_FAILED, "sqlstate=%s error=%s", u->sqlstate, log_text(u->error));
    }
    if (day) {
        metrics_inc(M_STORE_CLOSINGS);
        log_event(LOG_L_NOTICE, EV_STORE_DAY_CLOSED, "day=%s closing=%lld complaints=%lld hash=%s", day, (long long)pg_i64(r, 0, 2, 0),
                  (long long)pg_i64(r, 0, 1, 0), pg_text(r, 0, 3));
    }
    bool more = day && str_eq(pg_text(r, 0, 4), "t");
    c->next_us = s != PG_OK ? AGAIN_US : more ? SHARE * (clock_mono_us() - c->sent_us) : EVERY_US;
    c->done = true;
    arm(c, 0); /* the connection cannot be closed in its own callback */
}

static void on_ready(void *arg)
{
    struct closing *c = arg;
    struct pg_params p;
    if (c->asked)
        return;
    c->asked = true;
    c->sent_us = clock_mono_us();
    pg_params_init(&p, CD_KIB(1));
    pg_param_int(&p, AT_ONCE);
    pg_begin(c->pg, &c->unit, on_closed);
    pg_step(c->pg, &sql_close, &p);
    pg_send(c->pg);
    pg_params_free(&p);
}

static void on_timer(evutil_socket_t fd CD_UNUSED, short what CD_UNUSED, void *arg)
{
    struct closing *c = arg;
    if (c->done) {
        pg_free(&c->pg);
        c->done = false;
        arm(c, c->next_us);
        return;
    }
    c->asked = false;
    c->pg = pg_new(c->base, &(struct pg_options){
                                .name = "closing",
                                .dsn = c->cfg->database_dsn,
                                .statements = statements,
                                .max_in_flight = 1,
                                .reconnect_max_us = c->cfg->database_reconnect_max_us,
                                .ready = on_ready,
                                .arg = c,
                            });
}

struct closing *closing_new(struct event_base *base, const struct config *cfg)
{
    struct closing *c = cd_alloc(sizeof *c);
    c->base = base;
    c->cfg = cfg;
    c->timer = evtimer_new(base, on_timer, c);
    cd_assert(c->timer);
    arm(c, FIRST_US);
    return c;
}

void closing_free(struct closing **pc)
{
    struct closing *c = *pc;
    if (!c)
        return;
    *pc = NULL;
    c->asked = true;
    pg_free(&c->pg);
    event_free(c->timer);
    free(c);
}

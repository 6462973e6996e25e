/* The keeper of partitions. Every instance asks; the database sees to it that one makes them. Nothing that fails here holds up
 * intake: without a partition of its month a row goes to the default partition, from where a later call moves it. */
#include "daemon/store/partitions.h"

#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/store/pg.h"

#define EVERY_US CD_HOUR(1)
#define AGAIN_US CD_MIN_US(1) /* after a failure, or when a lock could not be had */

struct partitions {
    struct event_base *base;
    const struct config *cfg;
    struct event *timer;
    struct pg *pg; /* NULL between looks */
    struct pg_unit unit;
    bool asked;
};

static const struct pg_stmt sql_make = {"make", "select made, left_over, missing from complaintd.make_partitions(2)"};
static const struct pg_stmt *const statements[] = {&sql_make, NULL};

static void arm(struct partitions *p, int64_t us)
{
    struct timeval tv = {us / 1000000, us % 1000000};
    event_add(p->timer, &tv);
}

static void on_made(struct pg_unit *u, enum pg_status s)
{
    struct partitions *p = (struct partitions *)((char *)u - offsetof(struct partitions, unit));
    if (s == PG_LOST) {
        p->asked = false; /* asked again when the connection is back */
        return;
    }
    int64_t made = pg_i64(u->result[0], 0, 0, 0), left_over = pg_i64(u->result[0], 0, 1, 0), missing = pg_i64(u->result[0], 0, 2, 0);
    if (s != PG_OK)
        log_event(LOG_L_ERROR, EV_STORE_PARTITIONS_FAILED, "sqlstate=%s error=%s", u->sqlstate, log_text(u->error));
    if (made)
        log_event(LOG_L_NOTICE, EV_STORE_PARTITIONS_MADE, "made=%lld", (long long)made);
    if (s == PG_OK && missing)
        log_event(LOG_L_ERROR, EV_STORE_PARTITIONS_FAILED, "missing=%lld", (long long)missing);
    if (left_over)
        log_event(LOG_L_ERROR, EV_STORE_PARTITION_DEFAULT, "rows=%lld", (long long)left_over);
    if (s == PG_OK)
        metrics_set(M_STORE_LEFT_OVER, left_over);
    metrics_set(M_STORE_PARTITIONS_MISSING, s == PG_OK ? missing : 1);
    arm(p, 0); /* the connection cannot be closed in its own callback */
}

static void on_ready(void *arg)
{
    struct partitions *p = arg;
    if (p->asked)
        return;
    p->asked = true;
    pg_begin(p->pg, &p->unit, on_made);
    pg_step(p->pg, &sql_make, NULL);
    pg_send(p->pg);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct partitions *p = arg;
    (void)fd;
    (void)what;
    if (p->pg) {
        pg_free(&p->pg);
        arm(p, metrics_get(M_STORE_PARTITIONS_MISSING) ? AGAIN_US : EVERY_US);
        return;
    }
    p->asked = false;
    p->pg = pg_new(p->base, &(struct pg_options){
                                .name = "partitions",
                                .dsn = p->cfg->database_dsn,
                                .statements = statements,
                                .max_in_flight = 1,
                                .reconnect_max_us = p->cfg->database_reconnect_max_us,
                                .ready = on_ready,
                                .arg = p,
                            });
}

struct partitions *partitions_new(struct event_base *base, const struct config *c)
{
    struct partitions *p = cd_alloc(sizeof *p);
    p->base = base;
    p->cfg = c;
    p->timer = evtimer_new(base, on_timer, p);
    cd_assert(p->timer);
    arm(p, 0);
    return p;
}

void partitions_free(struct partitions **pp)
{
    struct partitions *p = *pp;
    if (!p)
        return;
    *pp = NULL;
    p->asked = true;
    pg_free(&p->pg);
    event_free(p->timer);
    free(p);
}

/* Two queues, in the order of arrival, for the two kinds of connections that reads.h tells of. Where all connections of one kind are away,
 * those of the other stand in; when none is left, whoever waits is told so after a second. A statement that was lost with its connection is
 * not repeated here: it may have been what the backend died of, and who asked can ask again. */
#include "daemon/reads.h"

#include <stdio.h>

#include "daemon/core/clock.h"
#include "daemon/core/err.h"
#include "daemon/core/metrics.h"

#define ONE_IN_FLIGHT 16            /* as many of the short ones go together */
#define ANSWER_GRACE_US CD_SEC(10)  /* the database ends statements by itself; a connection that does not answer so much later is dead */
#define LOOK_US CD_MSEC(100)        /* while somebody waits, for connections that went away meanwhile */
#define PATIENCE_US CD_SEC(1)       /* for one to come (back): at the start, or when the database was restarted */

TAILQ_HEAD(read_queue, read_job);
enum kind { ONE, MANY, KINDS };

struct reads {
    const struct config *cfg;
    char setup[120]; /* of each connection */
    struct pg **pg;  /* the first is for single complaints */
    size_t npg;
    struct read_queue waiting[KINDS];
    size_t nwaiting[KINDS];
    struct event *timer;
};

static void look_in(struct reads *r, int64_t us)
{
    struct timeval tv = {us / CD_SEC(1), us % CD_SEC(1)};
    event_add(r->timer, &tv);
}

static void count(struct reads *r, enum kind k, int by)
{
    r->nwaiting[k] = (size_t)((long)r->nwaiting[k] + by);
    metrics_set(M_READS_WAITING, (int64_t)(r->nwaiting[ONE] + r->nwaiting[MANY]));
}

static struct read_job *take(struct reads *r, enum kind k)
{
    struct read_job *j = TAILQ_FIRST(&r->waiting[k]);
    TAILQ_REMOVE(&r->waiting[k], j, entry);
    count(r, k, -1);
    return j;
}

/* Connections from..to: one that has room, else NULL. */
static struct pg *with_room(const struct reads *r, size_t from, size_t to, bool *usable)
{
    for (size_t i = from; i < to; i++) {
        *usable |= pg_usable(r->pg[i]);
        if (pg_can_send(r->pg[i]))
            return r->pg[i];
    }
    return NULL;
}

static struct pg *choose(const struct reads *r, enum kind k, bool *usable)
{
    size_t begin[KINDS] = {0, 1}, end[KINDS] = {1, r->npg};
    enum kind other = k == ONE ? MANY : ONE;
    *usable = false;
    struct pg *pg = with_room(r, begin[k], end[k], usable);
    return pg || *usable ? pg : with_room(r, begin[other], end[other], usable);
}

static void work_off(struct reads *r, enum kind k)
{
    while (r->nwaiting[k] > 0) {
        bool usable;
        struct pg *pg = choose(r, k, &usable);
        if (!pg && (usable || clock_mono_us() - TAILQ_FIRST(&r->waiting[k])->since_us < PATIENCE_US))
            break;
        struct read_job *j = take(r, k);
        if (pg)
            j->send(j, pg);
        else
            j->fail(j);
    }
}

static void on_timer(evutil_socket_t fd CD_UNUSED, short what CD_UNUSED, void *arg)
{
    struct reads *r = arg;
    work_off(r, ONE);
    work_off(r, MANY);
    if (r->nwaiting[ONE] + r->nwaiting[MANY] > 0)
        look_in(r, LOOK_US);
}

static void on_ready(void *arg)
{
    on_timer(-1, 0, arg);
}

int reads_put(struct reads *r, struct read_job *j)
{
    enum kind k = j->many ? MANY : ONE;
    bool usable;
    struct pg *pg = r->nwaiting[k] ? NULL : choose(r, k, &usable);
    if (pg) {
        j->send(j, pg);
        return 0;
    }
    if (r->nwaiting[k] >= r->cfg->database_read_queue) {
        metrics_inc(M_READS_BUSY);
        return CD_ELIMIT;
    }
    j->since_us = clock_mono_us();
    TAILQ_INSERT_TAIL(&r->waiting[k], j, entry);
    count(r, k, 1);
    look_in(r, 0);
    return 0;
}

struct reads *reads_new(struct event_base *base, const struct config *c, const struct pg_stmt *const *statements)
{
    struct reads *r = cd_alloc(sizeof *r);
    r->cfg = c;
    TAILQ_INIT(&r->waiting[ONE]);
    TAILQ_INIT(&r->waiting[MANY]);
    r->timer = evtimer_new(base, on_timer, r);
    cd_assert(r->timer);
    snprintf(r->setup, sizeof r->setup, "set default_transaction_read_only = on; set statement_timeout = '%lldms'",
             (long long)(c->database_read_timeout_us / 1000));
    r->npg = 1 + (size_t)c->database_read_connections;
    r->pg = cd_alloc(r->npg * sizeof *r->pg);
    for (size_t i = 0; i < r->npg; i++)
        r->pg[i] = pg_new(base, &(struct pg_options){
                                    .name = i ? "read" : "read-one",
                                    .dsn = c->database_dsn,
                                    .setup = r->setup,
                                    .statements = statements,
                                    .max_in_flight = i ? 1 : ONE_IN_FLIGHT,
                                    .reconnect_max_us = c->database_reconnect_max_us,
                                    .answer_limit_us = c->database_read_timeout_us + ANSWER_GRACE_US,
                                    .ready = on_ready,
                                    .arg = r,
                                });
    return r;
}

void reads_free(struct reads **pr)
{
    struct reads *r = *pr;
    if (!r)
        return;
    *pr = NULL;
    for (size_t i = 0; i < r->npg; i++)
        pg_free(&r->pg[i]);
    for (enum kind k = ONE; k < KINDS; k++)
        while (r->nwaiting[k] > 0) {
            struct read_job *j = take(r, k);
            j->fail(j);
        }
    event_free(r->timer);
    free(r->pg);
    free(r);
}

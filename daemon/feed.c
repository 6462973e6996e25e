/* See feed.h. One page is asked for at a time (complaintd.feed in schema/0013_chains.sql): from the place of a reader that is behind, in
 * turn, or, when the poll is due, from the hindmost of those that were not. Whoever stands at or after the place a page begins with takes of
 * it what is ahead of itself; a page that is not full reaches the horizon, and so have then all who took it. Readers belong to those who
 * added them. A database that is away costs time only: the next page begins where the last one ended. */
#include "daemon/feed.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/clock.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/store/pg.h"

#define PAGE_ROWS 500
#define AGAIN_US CD_SEC(1) /* after a failure */
#define LINGER_US CD_SEC(5) /* the connection stays open for whoever comes back */

static const struct pg_stmt sql_page = {"page", "select xid, id, kind, desks, line, horizon, newest from complaintd.feed($1::xid8, $2::uuid, $3::integer)"};
static const struct pg_stmt *const statements[] = {&sql_page, NULL};
enum { COL_XID, COL_ID, COL_KIND, COL_DESKS, COL_LINE, COL_HORIZON, COL_NEWEST };

struct feed {
    struct event_base *base;
    const struct config *cfg;
    struct pg *pg; /* NULL while there are no readers */
    struct pg_unit unit;
    struct event *timer; /* the next poll, or the end of the connection */
    TAILQ_HEAD(, feed_reader) readers;
    struct feed_place from; /* of the page under way */
    bool asking, fair;      /* fair: the last page was for one that is behind, so the poll comes first */
    int64_t poll_at_us;
    uint64_t horizon;       /* the last one, and since when it has stood while others began */
    int64_t horizon_since_us;
    bool told;
};

static int place_compare(const struct feed_place *a, const struct feed_place *b)
{
    if (a->xid != b->xid)
        return a->xid < b->xid ? -1 : 1;
    return memcmp(a->id.b, b->id.b, sizeof a->id.b);
}

static void arm(struct feed *f, int64_t us)
{
    struct timeval tv = {us / CD_SEC(1), us % CD_SEC(1)};
    event_add(f->timer, &tv);
}

/* ---- a page ---- */

/* A transaction's number; 0: there is none. */
static uint64_t number(const PGresult *res, int column)
{
    uint64_t n = 0;
    const char *text = PQntuples(res) > 0 ? pg_text(res, 0, column) : NULL;
    return text && str_parse_u64(text, UINT64_MAX, &n) == 0 ? n : 0;
}

/* False: the row cannot be read, which is a fault of ours or of the schema. */
static bool read_row(const PGresult *res, int row, struct feed_event *ret)
{
    const char *xid = pg_text(res, row, COL_XID);
    *ret = (struct feed_event){.kind = pg_text(res, row, COL_KIND), .desks = pg_text(res, row, COL_DESKS), .row = pg_text(res, row, COL_LINE)};
    if (!xid || !ret->kind || !ret->row || str_parse_u64(xid, UINT64_MAX, &ret->at.xid) < 0 || pg_uuid(res, row, COL_ID, &ret->at.id) < 0)
        return false;
    ret->nrow = strlen(ret->row);
    return true;
}

/* Everything before the transaction `xid`. */
static struct feed_place before(uint64_t xid)
{
    struct feed_place p = {.xid = xid - 1};
    memset(p.id.b, 0xff, sizeof p.id.b);
    return p;
}

static void give_page(struct feed_reader *r, const PGresult *res, int n, uint64_t horizon, uint64_t newest)
{
    struct feed_event e;

    r->until = r->until ? r->until : newest;
    if (r->from_now) {
        r->from_now = false;
        r->at = before(horizon);
    }
    if (r->at.xid >= horizon) {
        r->paused = true;
        r->refused(r, "this database has not come so far: the cursor is from another one, or from before it was restored");
        return;
    }
    for (int i = 0; i < n; i++) {
        if (!read_row(res, i, &e) || place_compare(&e.at, &r->at) <= 0)
            continue;
        if (!r->give(r, &e)) {
            r->paused = r->behind = true;
            return;
        }
        r->at = e.at;
    }
    r->behind = n == PAGE_ROWS;
    if (r->behind)
        return;
    r->at = before(horizon);
    if (horizon >= r->until)
        r->caught_up(r);
}

/* A transaction that stays open holds everybody back: no fault of ours, but somebody should know. */
static void watch_horizon(struct feed *f, uint64_t horizon, uint64_t newest)
{
    int64_t now = clock_mono_us();
    if (horizon != f->horizon || horizon == newest) {
        f->horizon = horizon;
        f->horizon_since_us = now;
        f->told = false;
    }
    int64_t stood = now - f->horizon_since_us;
    metrics_set(M_FEED_HELD_BACK, stood / CD_SEC(1));
    if (f->told || stood < f->cfg->line_subscribe_heartbeat_us)
        return;
    f->told = true;
    log_event(LOG_L_WARN, EV_FEED_HELD_BACK, "transaction=%" PRIu64, horizon);
}

static void on_page(struct pg_unit *u, enum pg_status s)
{
    struct feed *f = (struct feed *)((char *)u - offsetof(struct feed, unit));
    struct feed_reader *r;

    f->asking = false;
    if (s == PG_LOST) { /* asked again when the connection is back, if there is anybody then */
        arm(f, AGAIN_US);
        return;
    }
    const PGresult *res = u->result[0];
    uint64_t horizon = s == PG_OK ? number(res, COL_HORIZON) : 0, newest = s == PG_OK ? number(res, COL_NEWEST) : 0;
    if (!horizon || !newest) {
        log_event(LOG_L_ERROR, EV_FEED_FAILED, "sqlstate=%s error=%s", u->sqlstate, log_text(u->error));
        f->poll_at_us = clock_mono_us() + AGAIN_US;
        arm(f, AGAIN_US);
        return;
    }
    int n = pg_text(res, 0, COL_XID) ? PQntuples(res) : 0; /* one row of nulls: none */
    watch_horizon(f, horizon, newest);
    metrics_inc(M_FEED_LOOKS);
    metrics_add(M_FEED_EVENTS, n);
    TAILQ_FOREACH(r, &f->readers, link)
    {
        if (!r->paused && r->known && (r->from_now || place_compare(&f->from, &r->at) <= 0))
            give_page(r, res, n, horizon, newest);
    }
    arm(f, 0);
}

/* ---- whose turn it is ---- */

static struct feed_reader *choose_behind(struct feed *f)
{
    struct feed_reader *r;
    TAILQ_FOREACH(r, &f->readers, link)
    {
        if (r->paused || !r->behind)
            continue;
        TAILQ_REMOVE(&f->readers, r, link); /* the others first, next time */
        TAILQ_INSERT_TAIL(&f->readers, r, link);
        return r;
    }
    return NULL;
}

static struct feed_reader *choose_hindmost(struct feed *f)
{
    struct feed_reader *r, *found = NULL;
    TAILQ_FOREACH(r, &f->readers, link)
    {
        if (!r->paused && !r->behind && (!found || place_compare(&r->at, &found->at) < 0))
            found = r;
    }
    return found;
}

static void ask(struct feed *f, const struct feed_reader *r)
{
    struct feed_reader *all;
    struct pg_params p;
    char xid[24];

    f->from = r->from_now ? before(UINT64_MAX) : r->at;
    snprintf(xid, sizeof xid, "%" PRIu64, f->from.xid);
    f->asking = true;
    TAILQ_FOREACH(all, &f->readers, link)
    {
        all->known = true; /* who comes while the page is under way may know of later ones, from another instance */
    }
    pg_params_init(&p, CD_KIB(1));
    pg_param_text(&p, xid);
    pg_param_uuid(&p, &f->from.id);
    pg_param_int(&p, PAGE_ROWS);
    pg_begin(f->pg, &f->unit, on_page);
    pg_step(f->pg, &sql_page, &p);
    pg_send(f->pg);
    pg_params_free(&p);
}

static void look(struct feed *f)
{
    if (f->asking || !f->pg || !pg_can_send(f->pg) || TAILQ_EMPTY(&f->readers))
        return;
    int64_t now = clock_mono_us();
    bool due = now >= f->poll_at_us;
    struct feed_reader *r = due && f->fair ? NULL : choose_behind(f);
    f->fair = r != NULL;
    if (!r && due) {
        r = choose_hindmost(f);
        f->poll_at_us = now + f->cfg->line_subscribe_poll_us;
        if (!r)
            r = choose_behind(f);
    }
    if (r)
        ask(f, r);
    else
        arm(f, CD_MAX(f->poll_at_us - now, 0));
}

/* ---- life ---- */

static void on_timer(evutil_socket_t fd CD_UNUSED, short what CD_UNUSED, void *arg)
{
    struct feed *f = arg;
    if (!TAILQ_EMPTY(&f->readers) || f->asking) {
        look(f);
        return;
    }
    pg_free(&f->pg);
    f->horizon = 0;
    metrics_set(M_FEED_HELD_BACK, 0);
}

static void on_ready(void *arg)
{
    look(arg);
}

static void open_connection(struct feed *f)
{
    if (f->pg)
        return;
    f->pg = pg_new(f->base, &(struct pg_options){
                                .name = "feed",
                                .dsn = f->cfg->database_dsn,
                                .statements = statements,
                                .max_in_flight = 1,
                                .reconnect_max_us = f->cfg->database_reconnect_max_us,
                                .ready = on_ready,
                                .arg = f,
                            });
}

void feed_add(struct feed *f, struct feed_reader *r)
{
    r->behind = true;
    TAILQ_INSERT_TAIL(&f->readers, r, link);
    open_connection(f);
    arm(f, 0);
}

void feed_resume(struct feed *f, struct feed_reader *r)
{
    if (!r->paused)
        return;
    r->paused = false;
    r->behind = true;
    arm(f, 0);
}

void feed_remove(struct feed *f, struct feed_reader *r)
{
    TAILQ_REMOVE(&f->readers, r, link);
    if (TAILQ_EMPTY(&f->readers))
        arm(f, LINGER_US);
}

struct feed *feed_new(struct event_base *base, const struct config *c)
{
    struct feed *f = cd_alloc(sizeof *f);
    f->base = base;
    f->cfg = c;
    TAILQ_INIT(&f->readers);
    f->timer = evtimer_new(base, on_timer, f);
    cd_assert(f->timer);
    return f;
}

void feed_free(struct feed **pf)
{
    struct feed *f = *pf;
    if (!f)
        return;
    cd_assert(TAILQ_EMPTY(&f->readers));
    *pf = NULL;
    pg_free(&f->pg);
    event_free(f->timer);
    free(f);
}

/* The pump of complaintd.search. It takes turns: what was stored since its last look, and the walk, which goes through all messages once and
 * then keeps a little behind the newest, for those that were committed late or by an instance that died (complaintd.search_fill). After each
 * statement it rests, by what else there is to do: a fiftieth of a backend is its share while many mails come in, a tenth once it is ten
 * minutes behind, and a quarter when few come; and it stands still while the intake is under pressure. Nothing that fails here loses anything: the next look finds the same messages. */
#include "daemon/search.h"

#include "daemon/core/clock.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/intake/gate.h"
#include "daemon/store/pg.h"

#define AT_ONCE 100 /* messages of a statement: some 30 ms */
/* Times what a statement took. */
#define REST_BUSY 49
#define REST_BEHIND 9
#define REST_QUIET 3
#define BUSY_RATE 100 /* rows that the intake of this process stores in a second */
#define BEHIND_US CD_MIN_US(10)
#define FIRST_US CD_SEC(3) /* after the keeper of partitions, who has to lock what is read here */
#define LOOK_US CD_SEC(1)
#define REST_MAX_US CD_SEC(5)
#define WALK_US CD_MIN_US(1) /* once the walk has caught up */
#define AGAIN_US CD_SEC(10)  /* after a failure */

struct search {
    const struct config *cfg;
    struct pg *pg;
    struct event *timer;
    struct pg_unit unit;
    bool busy, walking, started; /* walking: the statement under way is one of the walk */
    struct uuid seen;            /* the newest message that was written; nil: none yet */
    int64_t sent_us, walk_at_us;
    int64_t rows, rows_at_us; /* what the intake had stored when it was last looked at */
};

static const struct pg_stmt sql_rewind = {"search_rewind", "select complaintd.search_rewind()"};
static const struct pg_stmt sql_walk = {"search_walk", "select filled, seen from complaintd.search_fill($1::integer, null)"};
/* A batch is committed within seconds after its messages came; what took longer is the walk's. Until there is a newest one it counts from the
 * first look. */
static const struct pg_stmt sql_fresh = {
    "search_fresh", "select f.filled, coalesce(f.seen, $2::uuid, complaintd.uuid_at(statement_timestamp()))"
                    " from complaintd.search_fill($1::integer, complaintd.uuid_at("
                    "coalesce(complaintd.uuid_time($2::uuid), statement_timestamp()) - interval '10 s')) f"};
static const struct pg_stmt *const statements[] = {&sql_rewind, &sql_walk, &sql_fresh, NULL};

static void arm(struct search *s, int64_t us)
{
    struct timeval tv = {us / CD_SEC(1), us % CD_SEC(1)};
    event_add(s->timer, &tv);
}

static int64_t behind_us(const struct search *s)
{
    return uuid_is_nil(&s->seen) ? 0 : clock_real_us() - uuid_time_us(&s->seen);
}

static int64_t rest(struct search *s, int64_t now)
{
    int64_t rows = metrics_get(M_STORE_ROWS), took = now - s->sent_us;
    bool busy = rows - s->rows > (now - s->rows_at_us) * BUSY_RATE / CD_SEC(1);
    s->rows = rows;
    s->rows_at_us = now;
    return CD_MIN(took * (!busy ? REST_QUIET : behind_us(s) > BEHIND_US ? REST_BEHIND : REST_BUSY), REST_MAX_US);
}

static void on_filled(struct pg_unit *u, enum pg_status status)
{
    struct search *s = (struct search *)((char *)u - offsetof(struct search, unit));
    int64_t now = clock_mono_us();
    s->busy = false;
    if (status != PG_OK) {
        metrics_inc(M_SEARCH_FAILURES);
        if (status != PG_LOST)
            log_event(LOG_L_WARN, EV_SEARCH_FAILED, "sqlstate=%s error=%s", u->sqlstate[0] ? u->sqlstate : "-", log_text(u->error));
        arm(s, AGAIN_US);
        return;
    }
    const PGresult *r = u->result[u->nsteps - 1];
    int64_t filled = pg_i64(r, 0, 0, 0);
    struct uuid seen;
    s->started = true;
    metrics_add(M_SEARCH_MESSAGES, filled);
    if (!s->walking && pg_uuid(r, 0, 1, &seen) == 0)
        s->seen = seen;
    if (s->walking)
        s->walk_at_us = filled < AT_ONCE ? now + WALK_US : now;
    int64_t us = rest(s, now);
    arm(s, filled == AT_ONCE || s->walk_at_us <= now ? us : CD_MAX(us, LOOK_US));
}

static void look(struct search *s)
{
    struct pg_params p;
    s->busy = true;
    s->sent_us = clock_mono_us();
    s->walking = !s->walking && s->sent_us >= s->walk_at_us;
    pg_begin(s->pg, &s->unit, on_filled);
    if (!s->started)
        pg_step(s->pg, &sql_rewind, NULL);
    pg_params_init(&p, CD_KIB(1));
    pg_param_int(&p, AT_ONCE);
    if (!s->walking && uuid_is_nil(&s->seen))
        pg_param_text(&p, NULL);
    else if (!s->walking)
        pg_param_uuid(&p, &s->seen);
    pg_step(s->pg, s->walking ? &sql_walk : &sql_fresh, &p);
    pg_send(s->pg);
    pg_params_free(&p);
}

static void on_timer(evutil_socket_t fd CD_UNUSED, short what CD_UNUSED, void *arg)
{
    struct search *s = arg;
    if (s->busy)
        return;
    if (gate_mode() == GATE_NORMAL && pg_can_send(s->pg))
        look(s);
    else
        arm(s, LOOK_US);
}

static void on_ready(void *arg CD_UNUSED)
{
    /* the timer looks */
}

struct search *search_new(struct event_base *base, const struct config *c)
{
    struct search *s = cd_alloc(sizeof *s);
    s->cfg = c;
    s->timer = event_new(base, -1, 0, on_timer, s);
    cd_assert(s->timer);
    s->pg = pg_new(base, &(struct pg_options){
                             .name = "search",
                             .dsn = c->database_dsn,
                             .statements = statements,
                             .max_in_flight = 1,
                             .reconnect_max_us = c->database_reconnect_max_us,
                             .ready = on_ready,
                             .arg = s,
                         });
    arm(s, FIRST_US);
    return s;
}

void search_free(struct search **ps)
{
    struct search *s = *ps;
    if (!s)
        return;
    *ps = NULL;
    pg_free(&s->pg); /* its callback arms the timer */
    event_free(s->timer);
    free(s);
}

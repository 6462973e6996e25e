/* The reader of pending envelopes. A claimed row is tried again after CLAIM_LIFE unless the pipeline stored it, which removes the row in
 * the same transaction; so a crash loses nothing and two instances do not double anything (the receipt changes only once). */
#include "daemon/pending.h"

#include <string.h>

#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/intake/gate.h"
#include "daemon/store/pg.h"

#define POLL_US CD_SEC(1)
#define MAX_TRIES 3                 /* with a worker; then without one: degraded, but seen by people */
#define WAIT_FOR_WORKERS "15 min" /* while there is no worker at all, envelopes wait that long before they are degraded */

struct pending_reader {
    const struct config *cfg;
    struct pipeline *pipeline;
    struct pg *pg;
    struct event *timer;
    struct pg_unit unit;
    bool claiming;
};

/* Those that have waited longest for their turn, up to 20 or 1 MB: an envelope takes twice its size on its way here, and one always
 * fits. Those left out stay as they were. Time is that of the statement, which an index can be asked for (clock_timestamp() cannot). */
static const struct pg_stmt sql_claim = {
    "claim", "with due as materialized (select id, next_attempt_at, octet_length(envelope) as bytes from complaintd.pending"
             "   where next_attempt_at <= statement_timestamp()"
             "   and ($1::boolean or recorded_at < statement_timestamp() - interval '" WAIT_FOR_WORKERS "') order by next_attempt_at limit 20"
             "   for update skip locked),"
             " sized as (select id, row_number() over w as place, sum(bytes) over w as total from due"
             "   window w as (order by next_attempt_at, id))"
             " update complaintd.pending p set next_attempt_at = clock_timestamp() + interval '15 s', attempts = attempts + 1"
             " where id = any(array(select id from sized where place = 1 or total <= 1048576)) returning attempts, envelope"};
static const struct pg_stmt *const statements[] = {&sql_claim, NULL};

static void take(struct pending_reader *r, const PGresult *res, int row)
{
    size_t n;
    unsigned char *frame = PQunescapeBytea((const unsigned char *)PQgetvalue(res, row, 1), &n);
    struct envelope *e = NULL;
    if (!frame || envelope_read(frame, n, &e) < 0) {
        log_event(LOG_L_ERROR, EV_PENDING_UNREADABLE, "bytes=%zu advice=%s", n, log_quote("the raw bytes stay in complaintd.pending"));
        PQfreemem(frame);
        return;
    }
    PQfreemem(frame);
    e->from_pending = true;
    if (pg_i64(res, row, 0, 1) > MAX_TRIES || !pipeline_has_worker(r->pipeline))
        e->worker_deaths = 2;
    if (pipeline_submit(r->pipeline, e) < 0)
        envelope_free(&e);
}

static void on_claimed(struct pg_unit *u, enum pg_status s)
{
    struct pending_reader *r = (struct pending_reader *)((char *)u - offsetof(struct pending_reader, unit));
    r->claiming = false;
    for (int i = 0; s == PG_OK && i < PQntuples(u->result[0]); i++)
        take(r, u->result[0], i);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct pending_reader *r = arg;
    (void)fd;
    (void)what;
    if (r->claiming || !pg_can_send(r->pg))
        return;
    if (gate_mode() != GATE_NORMAL)
        return; /* whoever waits outside comes first, and what is stored can wait */
    struct pg_params p;
    pg_params_init(&p, CD_KIB(1));
    pg_param_text(&p, pipeline_has_worker(r->pipeline) ? "true" : "false");
    r->claiming = true;
    pg_begin(r->pg, &r->unit, on_claimed);
    pg_step(r->pg, &sql_claim, &p);
    pg_send(r->pg);
    pg_params_free(&p);
}

static void on_ready(void *arg)
{
    (void)arg; /* the timer looks */
}

struct pending_reader *pending_new(struct event_base *base, const struct config *c, struct pipeline *p)
{
    struct pending_reader *r = cd_alloc(sizeof *r);
    struct timeval tv = {POLL_US / 1000000, 0};
    r->cfg = c;
    r->pipeline = p;
    r->timer = event_new(base, -1, EV_PERSIST, on_timer, r);
    cd_assert(r->timer && event_add(r->timer, &tv) == 0);
    r->pg = pg_new(base, &(struct pg_options){
                             .name = "pending",
                             .dsn = c->database_dsn,
                             .statements = statements,
                             .max_in_flight = 1,
                             .reconnect_max_us = c->database_reconnect_max_us,
                             .ready = on_ready,
                             .arg = r,
                         });
    return r;
}

void pending_free(struct pending_reader **pr)
{
    struct pending_reader *r = *pr;
    if (!r)
        return;
    *pr = NULL;
    pg_free(&r->pg);
    event_free(r->timer);
    free(r);
}

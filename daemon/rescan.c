/* The pump of unscanned messages. A row is claimed by setting its next time, so a crash loses nothing and two instances rarely check the
 * same one twice; that only one verdict is written is seen to by complaintd.rescanned(). It asks no more than a few at a time, only while
 * the intake leaves the checkers room and none is left alone as failing: then the claim would only use up its attempts. */
#include "daemon/rescan.h"

#include <jansson.h>
#include <string.h>

#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/intake/gate.h"
#include "daemon/store/item.h"
#include "daemon/store/pg.h"

#define POLL_US CD_SEC(1)
#define AT_ONCE 4
#define MAX_ATTEMPTS 10 /* then it stays unscanned */

struct rescan_one {
    struct rescan *r;
    bool used, scanned, again; /* scanned: waits for its verdict to be written */
    struct buf raw;
    struct strlist recipients;
    struct uuid id;
    int64_t attempts;
    struct scan_mail mail;
    struct scan_result result;
    struct scan *open;
};

struct rescan {
    const struct config *cfg;
    struct scanner *scanner;
    struct event_base *base;
    struct pg *pg; /* NULL until a checker is configured */
    struct event *timer;
    struct pg_unit unit;
    bool busy;   /* the unit */
    bool taking; /* inside on_claimed() */
    bool closing;
    struct rescan_one one[AT_ONCE];
    struct rescan_one *writing[AT_ONCE];
    size_t nwriting;
};

static const struct pg_stmt sql_claim = {"rescan_claim",
                                         "select message_id, attempts, to_json(recipients), raw from"
                                         " complaintd.rescan_claim($1::bigint * interval '1 microsecond', $2::integer)"};
static const struct pg_stmt sql_record = {"rescanned", "select complaintd.rescanned($1, $2, $3, $4::boolean, $5)"};
static const struct pg_stmt sql_left = {
    "rescan_left", "select count(*) from (select from complaintd.scans where next_attempt_at is not null limit 10000) s"};
static const struct pg_stmt *const statements[] = {&sql_claim, &sql_record, &sql_left, NULL};

static void one_free(struct rescan_one *o)
{
    scan_cancel(&o->open);
    scan_mail_free(&o->mail);
    strlist_free(&o->recipients);
    buf_free(&o->raw);
    memset(o, 0, sizeof *o);
}

static size_t count_used(const struct rescan *r, bool (*is)(const struct rescan_one *o))
{
    size_t n = 0;
    for (size_t i = 0; i < AT_ONCE; i++)
        n += r->one[i].used && is(&r->one[i]);
    return n;
}

static bool is_any(const struct rescan_one *o CD_UNUSED)
{
    return true;
}

static bool is_open(const struct rescan_one *o)
{
    return !o->scanned;
}

static void go_on(struct rescan *r, bool counting);

/* ---- the verdict ---- */

static void tell(const struct rescan_one *o)
{
    char id[UUID_TEXT_SIZE];
    uuid_format(&o->id, id);
    if (o->again) {
        metrics_inc(M_SCAN_RESCANS_AGAIN);
    } else if (o->result.verdict == SCAN_UNSCANNED) {
        metrics_inc(M_SCAN_RESCANS_GIVEN_UP);
        log_event(LOG_L_WARN, EV_SCAN_GIVEN_UP, "id=%s attempts=%lld rspamd=%s clamd=%s", id, (long long)o->attempts,
                  scan_outcome_name(o->result.answer[CHECK_RSPAMD].outcome), scan_outcome_name(o->result.answer[CHECK_CLAMD].outcome));
    } else {
        metrics_inc(M_SCAN_RESCANS);
        log_event(LOG_L_NOTICE, EV_SCAN_RESCANNED, "id=%s verdict=%s attempts=%lld", id, scan_verdict_name(o->result.verdict),
                  (long long)o->attempts);
    }
}

static void on_recorded(struct pg_unit *u, enum pg_status s)
{
    struct rescan *r = (struct rescan *)((char *)u - offsetof(struct rescan, unit));
    r->busy = false;
    if (s != PG_OK)
        log_event(LOG_L_WARN, EV_SCAN_RESCAN_FAILED, "sqlstate=%s error=%s", u->sqlstate[0] ? u->sqlstate : "-", log_quote(u->error));
    for (size_t i = 0; i < r->nwriting; i++) {
        struct rescan_one *o = r->writing[i];
        if (s == PG_OK)
            tell(o);
        if (s == PG_OK || s == PG_POISON) /* otherwise the next poll writes it again */
            one_free(o);
    }
    r->nwriting = 0;
    if (s == PG_OK)
        go_on(r, false);
}

static void record(struct rescan *r)
{
    struct pg_params p;
    for (size_t i = 0; i < AT_ONCE; i++)
        if (r->one[i].scanned)
            r->writing[r->nwriting++] = &r->one[i];
    r->busy = true;
    pg_begin(r->pg, &r->unit, on_recorded);
    for (size_t i = 0; i < r->nwriting; i++) {
        const struct rescan_one *o = r->writing[i];
        char *detail CD_CLEANUP_FREE = scan_result_json(&o->result);
        pg_params_init(&p, CD_KIB(64));
        pg_param_uuid(&p, &o->id);
        pg_param_text(&p, scan_verdict_name(o->result.verdict));
        pg_param_text(&p, detail);
        pg_param_text(&p, o->again ? "true" : "false");
        pg_param_text(&p, scan_result_silence(&o->result));
        pg_step(r->pg, &sql_record, &p);
        pg_params_free(&p);
    }
    pg_send(r->pg);
}

static void scanned(void *arg)
{
    struct rescan_one *o = arg;
    struct rescan *r = o->r;
    o->open = NULL;
    if (o->result.verdict == SCAN_OFF) { /* the checkers were switched off meanwhile: it keeps its next time */
        one_free(o);
    } else {
        o->again = o->result.again && o->attempts < MAX_ATTEMPTS;
        o->scanned = true;
    }
    go_on(r, false);
}

/* ---- claiming ---- */

static void take_recipients(struct strlist *l, const char *json)
{
    json_t *a = json ? json_loads(json, 0, NULL) : NULL, *s;
    size_t i;
    json_array_foreach(a, i, s)
        if (json_is_string(s))
            strlist_add(l, json_string_value(s));
    json_decref(a);
}

static void take(struct rescan *r, const PGresult *res, int row)
{
    struct rescan_one *o = &r->one[row];
    size_t n = 0;
    const char *hex = pg_text(res, row, 3);
    unsigned char *raw = hex ? PQunescapeBytea((const unsigned char *)hex, &n) : NULL;
    if (pg_uuid(res, row, 0, &o->id) < 0) {
        PQfreemem(raw);
        return;
    }
    o->used = true;
    o->r = r;
    o->attempts = pg_i64(res, row, 1, 1);
    take_recipients(&o->recipients, pg_text(res, row, 2));
    buf_init(&o->raw, n + 1);
    bool whole = raw && buf_append(&o->raw, raw, n) == 0 && scan_mail_read(&o->raw, &o->id, &o->recipients, &o->mail);
    PQfreemem(raw);
    if (!whole) { /* its bytes were taken away by now: nothing to check */
        o->result.verdict = SCAN_UNSCANNED;
        o->scanned = true;
        return;
    }
    if (!scanner_ask(r->scanner, &o->mail, &o->result, scanned, o, &o->open))
        scanned(o);
}

static void on_claimed(struct pg_unit *u, enum pg_status s)
{
    struct rescan *r = (struct rescan *)((char *)u - offsetof(struct rescan, unit));
    r->busy = false;
    if (s != PG_OK) {
        if (s != PG_LOST)
            log_event(LOG_L_WARN, EV_SCAN_RESCAN_FAILED, "sqlstate=%s error=%s", u->sqlstate[0] ? u->sqlstate : "-", log_quote(u->error));
        return;
    }
    if (u->result[1])
        metrics_set(M_SCAN_RESCAN_LEFT, pg_i64(u->result[1], 0, 0, 0));
    r->taking = true;
    for (int i = 0; i < PQntuples(u->result[0]) && i < AT_ONCE; i++)
        take(r, u->result[0], i);
    r->taking = false;
    if (count_used(r, is_any))
        go_on(r, false);
}

static void claim(struct rescan *r, bool counting)
{
    struct pg_params p;
    pg_params_init(&p, CD_KIB(1));
    pg_param_int(&p, r->cfg->scan_rescan_us);
    pg_param_int(&p, AT_ONCE);
    r->busy = true;
    pg_begin(r->pg, &r->unit, on_claimed);
    pg_step(r->pg, &sql_claim, &p);
    if (counting)
        pg_step(r->pg, &sql_left, NULL);
    pg_send(r->pg);
    pg_params_free(&p);
}

/* Writes what is known once all that was claimed has been asked about, then claims more; whoever finds nothing leaves it to the timer. */
static void go_on(struct rescan *r, bool counting)
{
    if (r->busy || r->taking || r->closing || !pg_can_send(r->pg))
        return;
    if (count_used(r, is_any)) {
        if (!count_used(r, is_open))
            record(r);
        return;
    }
    if (scanner_on(r->scanner) && scanner_free_now(r->scanner) && gate_mode() == GATE_NORMAL)
        claim(r, counting);
}

static void on_ready(void *arg CD_UNUSED)
{
    /* the timer looks */
}

static void on_timer(evutil_socket_t fd CD_UNUSED, short what CD_UNUSED, void *arg)
{
    struct rescan *r = arg;
    if (!r->pg && scanner_on(r->scanner))
        r->pg = pg_new(r->base, &(struct pg_options){
                                    .name = "rescan",
                                    .dsn = r->cfg->database_dsn,
                                    .statements = statements,
                                    .max_in_flight = 1,
                                    .reconnect_max_us = r->cfg->database_reconnect_max_us,
                                    .ready = on_ready,
                                    .arg = r,
                                });
    else if (r->pg)
        go_on(r, true);
}

/* ---- life ---- */

struct rescan *rescan_new(struct event_base *base, const struct config *c, struct scanner *s)
{
    struct rescan *r = cd_alloc(sizeof *r);
    struct timeval tv = {POLL_US / CD_SEC(1), POLL_US % CD_SEC(1)};
    r->base = base;
    r->cfg = c;
    r->scanner = s;
    r->timer = event_new(base, -1, EV_PERSIST, on_timer, r);
    cd_assert(r->timer && event_add(r->timer, &tv) == 0);
    return r;
}

void rescan_free(struct rescan **pr)
{
    struct rescan *r = *pr;
    if (!r)
        return;
    *pr = NULL;
    r->closing = true;
    pg_free(&r->pg);
    event_free(r->timer);
    for (size_t i = 0; i < AT_ONCE; i++)
        one_free(&r->one[i]);
    free(r);
}

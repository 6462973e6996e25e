/* The pump. Three things happen on its connection, each a unit of its own: giving back leases of a dead predecessor (once), claiming, and
 * recording outcomes. A row in `flights` is claimed and has no recorded outcome yet; its number is the limit on claims. */
#include "daemon/notify/outbox.h"

#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

#include "daemon/core/clock.h"
#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/intake/token.h"
#include "daemon/notify/render.h"
#include "daemon/notify/retry.h"
#include "daemon/notify/storm.h"
#include "daemon/store/pg.h"

#define NAME_US CD_SEC(20)          /* after the start: leases of a dead predecessor of the same name are asked for */
#define RELEASE_EARLY_US CD_MSEC(200)
#define RELEASE_EVERY_US CD_SEC(20) /* looks for leases that ran out, renewals of ours */
#define GAUGES_EVERY_US CD_SEC(10)

struct flight {
    TAILQ_ENTRY(flight) entry;
    struct uuid id;
    enum notify_class class;
    enum transport transport;
    unsigned attempts;
    /* the outcome, once there is one */
    const char *state; /* of notifications.state; NULL while under way */
    char error[256];
    int64_t again_us;  /* 0: never */
    bool recording;
};
TAILQ_HEAD(flight_list, flight);

struct outbox {
    const struct config *cfg;
    struct pg *pg;
    struct outbox_route routes[TR_COUNT];
    struct event *timer;
    struct pg_unit claim, record, release, gauges;
    int64_t next_gauges_us;
    bool reading_gauges;
    struct flight_list flights;
    size_t nflights;
    bool sandbox, claiming, recording, releasing, released, draining, more;
    bool one_by_one, name_told; /* a record unit failed: find the outcome that fails alone */
    int64_t born_us, next_release_us;
    char holder[160];    /* leased_by: instance and a word of this process */
};

static const struct pg_stmt sql_claim = {
    "claim",
    "with due as materialized (select id from complaintd.notifications where state in ('pending', 'unknown')"
    "   and next_attempt_at <= complaintd.now() order by next_attempt_at limit $1::integer for update skip locked)"
    " update complaintd.notifications n set state = 'sending', attempts = n.attempts + 1, leased_by = $2,"
    "   lease_until = clock_timestamp() + make_interval(secs => $3::double precision),"
    "   signed_with = case when n.attempts = 0 then $4 else n.signed_with end"
    " from due, complaintd.complaint c left join complaintd.messages m on m.id = c.id left join complaintd.timers t on t.complaint_id = c.id"
    " where n.id = due.id and c.id = n.complaint_id"
    " returning n.id, n.purpose, n.class, n.level, n.transport, n.recipient, n.language, n.payload, n.attempts, n.idempotency_key,"
    "   n.not_after <= complaintd.now(), c.ref, c.desk, c.customer_name, c.category, c.priority, c.team, c.status,"
    "   (extract(epoch from c.received_at) * 1000000)::bigint, (extract(epoch from t.first_response_due) * 1000000)::bigint,"
    "   m.subject, case when n.purpose <> 'acknowledgement' and complaintd.scan_of(c) = 'quarantined'"
    "     then '(quarantined: not shown outside the system)' else left(m.body, 400) end, m.message_id, c.id,"
    "   (extract(epoch from t.acknowledge_due) * 1000000)::bigint,"
    "   (extract(epoch from t.resolve_due) * 1000000)::bigint, n.signed_with, m.in_reply_to"};

static const struct pg_stmt sql_record = {
    "record", "select complaintd.notification_outcome(u.id, $5, u.attempt, u.state, u.error, make_interval(secs => u.again / 1000000.0))"
              " from unnest($1::uuid[], $2::text[], $3::text[], $4::text[]::bigint[], $6::integer[]) as u(id, state, error, again, attempt)"
              " order by u.id"};

/* Leases of others end with their time; ours are renewed as long as we live, for what is in `flights`. A row that is ours and not there
 * was claimed by a unit whose answer got lost with the connection: it is freed as well, or nobody would ever send it. Those of a dead predecessor of the same name are free at
 * once when the lock of the name can be had, which its end gives up; that is asked only in the first polls, so that a second process
 * which was given the same name by mistake takes nothing from a living one. What is freed may have been sent: 'unknown', again under
 * the same key. */
static const struct pg_stmt sql_release = {
    "release",
    "with mine as materialized (select $3::boolean and pg_try_advisory_lock(77, hashtext($1)) as yes),"
    " u as (update complaintd.notifications set state = 'unknown', lease_until = null, next_attempt_at = complaintd.now()"
    "   where state = 'sending' and case when leased_by = $2 then not id = any($5::uuid[])"
    "     else lease_until < clock_timestamp() or ((select yes from mine) and starts_with(leased_by, $1 || '/')) end returning 1),"
    " renewed as (update complaintd.notifications set lease_until = clock_timestamp() + make_interval(secs => $4::double precision)"
    "   where state = 'sending' and leased_by = $2 and id = any($5::uuid[]))"
    " select (select yes from mine), (select count(*) from u)"};

/* For the gauges. Each part walks an index and stops after 10000 rows, so that a long queue costs no more than a short one. */
static const struct pg_stmt sql_gauges = {
    "gauges",
    "select (select count(*) from (select from complaintd.notifications where state in ('pending', 'unknown')"
    "   and next_attempt_at <= complaintd.now() limit 10000) d),"
    " (select (extract(epoch from complaintd.now() - next_attempt_at) * 1000000)::bigint from complaintd.notifications"
    "   where state in ('pending', 'unknown') and next_attempt_at <= complaintd.now() order by next_attempt_at limit 1),"
    " (select count(*) from (select from complaintd.pending limit 10000) p),"
    " (select count(*) from (select from complaintd.complaint where assignee is null and status in ('new', 'open', 'waiting') limit 10000) c),"
    " (select count(*) from (select from complaintd.vulnerable_customers where review_on <= complaintd.today() limit 10000) v)"};

static const struct pg_stmt *const statements[] = {&sql_claim, &sql_record, &sql_release, &sql_gauges, &storm_stmt, NULL};

static void arm(struct outbox *o, int64_t us)
{
    struct timeval tv = {us / 1000000, us % 1000000};
    event_add(o->timer, &tv);
}

/* ---- outcomes ---- */

static void land(struct outbox *o, struct flight *f, const char *state, const char *error, int64_t again_us)
{
    f->state = state;
    f->again_us = again_us;
    snprintf(f->error, sizeof f->error, "%s", error ? error : "");
    f->error[utf8_cut(f->error, strlen(f->error))] = '\0';
    arm(o, 0);
}

static void count(const char *state)
{
    static const struct {
        const char *state;
        enum metric m;
    } by[] = {{"sent", M_NOTIFY_SENT}, {"pending", M_NOTIFY_TEMP}, {"unknown", M_NOTIFY_UNKNOWN}, {"failed", M_NOTIFY_REJECTED},
              {"dead", M_NOTIFY_DEAD}, {"expired", M_NOTIFY_EXPIRED}};
    for (size_t i = 0; i < ARRAY_LEN(by); i++)
        if (strcmp(by[i].state, state) == 0)
            metrics_inc(by[i].m);
}

/* What a text message may not do: arrive again and again because its provider never answers. One repeat, then a person looks. */
static bool may_repeat_unknown(const struct flight *f)
{
    return f->transport != TR_SMS || f->attempts < 2;
}

void outbox_send_done(struct outbox *o, const struct uuid *id, const struct send_result *r)
{
    struct flight *f;
    char text[UUID_TEXT_SIZE];
    TAILQ_FOREACH(f, &o->flights, entry)
        if (uuid_equal(&f->id, id))
            break;
    if (!f || f->state)
        return;
    int64_t again = retry_pause_us(o->cfg, f->class, f->attempts, r->retry_after_us, (uint32_t)f->id.b[15] << 8 | f->id.b[14]);
    const char *state = r->outcome == SEND_SENT ? "sent" : r->outcome == SEND_REJECTED ? "failed" : again ? "pending" : "dead";
    if (r->outcome == SEND_UNKNOWN && again)
        state = may_repeat_unknown(f) ? "unknown" : "dead";
    if (strcmp(state, "pending") != 0 && strcmp(state, "unknown") != 0)
        again = 0;
    uuid_format(id, text);
    bool bad = strcmp(state, "failed") == 0 || strcmp(state, "dead") == 0;
    bool sent = strcmp(state, "sent") == 0;
    log_event(bad ? LOG_L_ERROR : sent ? LOG_L_INFO : LOG_L_WARN, bad ? EV_NOTIFY_FAILED : sent ? EV_NOTIFY_SENT : EV_NOTIFY_AGAIN,
              "notification=%s transport=%s state=%s attempts=%u detail=%s", text, transport_name(f->transport), state, f->attempts,
              log_text(r->detail));
    count(state);
    land(o, f, state, r->outcome == SEND_SENT ? NULL : r->detail, again);
}

static void kick(struct outbox *o);

static void on_recorded(struct pg_unit *u, enum pg_status s)
{
    struct outbox *o = (struct outbox *)((char *)u - offsetof(struct outbox, record));
    struct flight *f, *next;
    size_t n = 0;
    bool again = s == PG_TEMPORARY || s == PG_LOST;
    o->recording = false;
    TAILQ_FOREACH(f, &o->flights, entry)
        n += f->recording;
    if (s != PG_OK)
        log_event(LOG_L_WARN, EV_NOTIFY_RECORD_FAILED, "rows=%zu sqlstate=%s error=%s", n, u->sqlstate, log_text(u->error));
    o->one_by_one = s != PG_OK && !again && n > 1;
    for (f = TAILQ_FIRST(&o->flights); f; f = next) {
        next = TAILQ_NEXT(f, entry);
        if (!f->recording)
            continue;
        f->recording = false;
        if (again || o->one_by_one)
            continue; /* with the next unit */
        TAILQ_REMOVE(&o->flights, f, entry);
        o->nflights--;
        free(f);
    }
    kick(o);
}

static void add_outcomes(struct outbox *o, struct pg_params *p)
{
    struct flight *f;
    char again[24];
#define OUTCOMES(type, add)                                                                                                                \
    pg_array_begin(p, type);                                                                                                               \
    TAILQ_FOREACH(f, &o->flights, entry) if (f->recording) add;                                                                            \
    pg_array_end(p);
    OUTCOMES(PG_UUID, pg_el_uuid(p, &f->id))
    OUTCOMES(PG_TEXT, pg_el_text(p, f->state))
    OUTCOMES(PG_TEXT, pg_el_text(p, f->error[0] ? f->error : NULL))
    OUTCOMES(PG_TEXT, (snprintf(again, sizeof again, "%lld", (long long)f->again_us), pg_el_text(p, f->again_us ? again : NULL)))
    pg_param_text(p, o->holder);
    OUTCOMES(PG_INT4, pg_el_int4(p, (int32_t)f->attempts))
#undef OUTCOMES
}

static void send_record(struct outbox *o)
{
    struct pg_params p;
    struct flight *f;
    size_t n = 0;
    TAILQ_FOREACH(f, &o->flights, entry)
        n += f->recording = f->state != NULL && !(o->one_by_one && n);
    if (!n)
        return;
    pg_params_init(&p, CD_MIB(4));
    add_outcomes(o, &p);
    o->recording = true;
    pg_begin(o->pg, &o->record, on_recorded);
    pg_step(o->pg, &sql_record, &p);
    pg_send(o->pg);
    pg_params_free(&p);
}

/* ---- claiming ---- */

static void dispatch(struct outbox *o, const PGresult *res, int row)
{
    struct flight *f = cd_alloc(sizeof *f);
    struct rendered x;
    const char *why;
    int class = notify_class_from_name(pg_text(res, row, CC_CLASS));
    f->class = class < 0 ? NC_OPERATIONAL : (enum notify_class)class;
    f->attempts = (unsigned)pg_i64(res, row, CC_ATTEMPTS, 1);
    TAILQ_INSERT_TAIL(&o->flights, f, entry);
    o->nflights++;
    int r = render_row(o->cfg, o->sandbox, res, row, &x, &why);
    f->id = x.out.id;
    f->transport = x.out.transport;
    const struct outbox_route *route = &o->routes[f->transport];
    if (r < 0) {
        log_event(LOG_L_ERROR, EV_NOTIFY_CANNOT_RENDER, "notification=%s error=%s", pg_text(res, row, CC_ID), log_quote(why));
        land(o, f, "failed", why, 0);
        count("failed");
    } else if (str_eq(pg_text(res, row, CC_EXPIRED), "t")) {
        log_event(LOG_L_ERROR, EV_NOTIFY_EXPIRED, "notification=%s purpose=%s", pg_text(res, row, CC_ID), pg_text(res, row, CC_PURPOSE));
        land(o, f, "expired", "not sent in time", 0);
        count("expired");
    } else if (!route->channel || !route->channel->send) {
        land(o, f, "failed", "no channel carries this transport", 0);
        count("failed");
    } else {
        r = route->channel->send(route->state, &x.out);
        if (r < 0) {
            struct send_result busy = {.outcome = r == CD_EAGAIN ? SEND_RETRY : SEND_REJECTED};
            snprintf(busy.detail, sizeof busy.detail, "%s", r == CD_EAGAIN ? "the channel is busy" : cd_strerror(r));
            outbox_send_done(o, &f->id, &busy);
        }
    }
    rendered_free(&x);
}

static void on_claimed(struct pg_unit *u, enum pg_status s)
{
    struct outbox *o = (struct outbox *)((char *)u - offsetof(struct outbox, claim));
    o->claiming = false;
    if (s != PG_OK) {
        if (s != PG_LOST)
            log_event(LOG_L_WARN, EV_NOTIFY_CLAIM_FAILED, "sqlstate=%s error=%s", u->sqlstate, log_text(u->error));
        return;
    }
    int n = PQntuples(u->result[0]);
    for (int i = 0; i < n; i++)
        dispatch(o, u->result[0], i);
    o->more = n > 0; /* there may be more than one claim's worth */
    if (n)
        arm(o, 0);
}

static void send_claim(struct outbox *o)
{
    struct pg_params p;
    char secs[24];
    const char key[] = {token_key_current(), '\0'};
    size_t room = o->cfg->notify_batch > o->nflights ? o->cfg->notify_batch - o->nflights : 0;
    if (!room)
        return;
    pg_params_init(&p, CD_KIB(4));
    snprintf(secs, sizeof secs, "%.3f", (double)o->cfg->notify_lease_us / 1e6);
    pg_param_int(&p, (int64_t)room);
    pg_param_text(&p, o->holder);
    pg_param_text(&p, secs);
    pg_param_text(&p, key[0] ? key : NULL);
    o->claiming = true;
    o->more = false;
    pg_begin(o->pg, &o->claim, on_claimed);
    pg_step(o->pg, &sql_claim, &p);
    pg_send(o->pg);
    pg_params_free(&p);
}

/* ---- leases ---- */

static void on_released(struct pg_unit *u, enum pg_status s)
{
    struct outbox *o = (struct outbox *)((char *)u - offsetof(struct outbox, release));
    o->releasing = false;
    if (s == PG_OK && pg_i64(u->result[0], 0, 1, 0) > 0)
        log_event(LOG_L_NOTICE, EV_NOTIFY_LEASES_RELEASED, "rows=%lld", (long long)pg_i64(u->result[0], 0, 1, 0));
    if (s == PG_OK && str_eq(pg_text(u->result[0], 0, 0), "t"))
        o->released = true;
    else if (s == PG_OK && !o->released && !o->name_told && clock_mono_us() - o->born_us > NAME_US) {
        o->name_told = true;
        log_event(LOG_L_ERROR, EV_NOTIFY_NAME_TAKEN, "instance=%s advice=%s", o->cfg->instance,
                  log_quote("another process runs under this name: give each its own `instance`"));
    }
}

static void send_release(struct outbox *o)
{
    struct pg_params p;
    struct flight *f;
    char secs[24];
    pg_params_init(&p, CD_MIB(4));
    snprintf(secs, sizeof secs, "%.3f", (double)o->cfg->notify_lease_us / 1e6);
    pg_param_text(&p, o->cfg->instance);
    pg_param_text(&p, o->holder);
    pg_param_text(&p, o->released || clock_mono_us() - o->born_us > NAME_US ? "false" : "true");
    pg_param_text(&p, secs);
    pg_array_begin(&p, PG_UUID);
    TAILQ_FOREACH(f, &o->flights, entry)
        pg_el_uuid(&p, &f->id);
    pg_array_end(&p);
    o->releasing = true;
    pg_begin(o->pg, &o->release, on_released);
    pg_step(o->pg, &sql_release, &p);
    pg_send(o->pg);
    pg_params_free(&p);
}

/* ---- gauges ---- */

static void on_gauges(struct pg_unit *u, enum pg_status s)
{
    struct outbox *o = (struct outbox *)((char *)u - offsetof(struct outbox, gauges));
    o->reading_gauges = false;
    if (s != PG_OK)
        return; /* they keep their values; that the database is away has a gauge of its own */
    metrics_set(M_OUTBOX_DUE, pg_i64(u->result[0], 0, 0, 0));
    metrics_set(M_OUTBOX_OLDEST_US, pg_i64(u->result[0], 0, 1, 0));
    metrics_set(M_PENDING, pg_i64(u->result[0], 0, 2, 0));
    metrics_set(M_UNASSIGNED, pg_i64(u->result[0], 0, 3, 0));
    metrics_set(M_REVIEWS_DUE, pg_i64(u->result[0], 0, 4, 0));
    storm_take(o->cfg, u->result[1]);
}

static void send_gauges(struct outbox *o)
{
    o->reading_gauges = true;
    o->next_gauges_us = clock_mono_us() + GAUGES_EVERY_US;
    pg_begin(o->pg, &o->gauges, on_gauges);
    pg_step(o->pg, &sql_gauges, NULL);
    storm_ask(o->cfg, o->pg);
    pg_send(o->pg);
}

static void kick(struct outbox *o)
{
    if (!o->recording && pg_can_send(o->pg))
        send_record(o);
    int64_t now = clock_mono_us();
    if (now >= o->next_release_us && !o->releasing && !o->claiming && pg_can_send(o->pg)) {
        bool early = !o->released && now - o->born_us < NAME_US;
        o->next_release_us = now + (early ? RELEASE_EARLY_US : CD_MIN(RELEASE_EVERY_US, o->cfg->notify_lease_us / 3));
        send_release(o);
    }
    if (!o->claiming && !o->draining && !o->cfg->notify_paused && pg_can_send(o->pg))
        send_claim(o);
    if (!o->reading_gauges && clock_mono_us() >= o->next_gauges_us && pg_can_send(o->pg))
        send_gauges(o);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct outbox *o = arg;
    (void)fd;
    (void)what;
    kick(o);
    if (!evtimer_pending(o->timer, NULL))
        arm(o, o->more ? CD_MSEC(1) : o->cfg->notify_poll_us);
}

static void on_ready(void *arg)
{
    struct outbox *o = arg;
    if (!evtimer_pending(o->timer, NULL))
        arm(o, 0);
}

struct outbox *outbox_new(struct event_base *base, const struct config *c, bool sandbox)
{
    struct outbox *o = cd_alloc(sizeof *o);
    o->cfg = c;
    o->sandbox = sandbox;
    o->born_us = clock_mono_us();
    struct uuid u = uuid_new();
    char word[UUID_TEXT_SIZE];
    uuid_format(&u, word);
    snprintf(o->holder, sizeof o->holder, "%.100s/%s", c->instance, word);
    TAILQ_INIT(&o->flights);
    o->timer = evtimer_new(base, on_timer, o);
    cd_assert(o->timer);
    o->pg = pg_new(base, &(struct pg_options){
                             .name = "outbox",
                             .dsn = c->database_dsn,
                             .statements = statements,
                             .max_in_flight = 4,
                             .reconnect_max_us = c->database_reconnect_max_us,
                             .ready = on_ready,
                             .arg = o,
                         });
    arm(o, c->notify_poll_us);
    return o;
}

void outbox_free(struct outbox **po)
{
    struct outbox *o = *po;
    struct flight *f;
    if (!o)
        return;
    *po = NULL;
    o->draining = true;
    pg_free(&o->pg);
    event_free(o->timer);
    while ((f = TAILQ_FIRST(&o->flights))) {
        TAILQ_REMOVE(&o->flights, f, entry);
        free(f);
    }
    free(o);
}

void outbox_route(struct outbox *o, enum transport t, struct outbox_route r)
{
    o->routes[t] = r;
}

void outbox_kick(struct outbox *o)
{
    arm(o, 0);
}

void outbox_drain(struct outbox *o)
{
    o->draining = true;
}

bool outbox_idle(const struct outbox *o)
{
    return o->nflights == 0 && !o->claiming;
}

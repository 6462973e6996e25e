/* The scheduler has a connection of its own, because its transaction spans two units: claim (rows stay locked, SKIP LOCKED for the
 * others), then writing and COMMIT. If we die in between the database rolls back and the steps are due as before. */
#include "daemon/escalation/scheduler.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/clock.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/escalation/tell.h"
#include "daemon/store/pg.h"

#define CLAIM_ROWS 50
#define BAD_MAX 100
#define BAD_LIFE_US CD_HOUR(1)

enum phase { IDLE, CLAIMING, WRITING };

struct scheduler {
    const struct config *cfg;
    struct pg *pg;
    struct event *timer;
    struct pg_unit unit;
    enum phase phase;
    bool closing, wrote, more;
    /* After a write that failed, complaints are claimed singly until the one at fault is known; it is left alone for an hour. */
    bool singly;
    struct uuid claimed, bad[BAD_MAX];
    size_t nbad, good;
    int64_t bad_until_us;
    void (*fired)(void *arg);
    void *arg;
};

static const struct pg_stmt sql_begin = {"begin", "begin"};
static const struct pg_stmt sql_commit = {"commit", "commit"};
static const struct pg_stmt sql_rollback = {"rollback", "rollback"};
/* Both rows are locked here, so that later writers of the same complaint wait instead of deadlocking with us. */
static const struct pg_stmt sql_claim = {
    "claim",
    "select t.complaint_id, c.ref, c.team, t.policy, t.cycle, (select json_agg(json_build_array(s.n, s.level, s.repeat,"
    "   (extract(epoch from s.due_at) * 1000000)::bigint) order by s.level desc, s.n desc) from complaintd.timer_steps(t) as s"
    "  where s.due_at <= complaintd.now() and s.fired_at is null and s.stopped_at is null), to_json(c.about)"
    " from complaintd.timers t join complaintd.complaint c on c.id = t.complaint_id"
    " where t.next_at <= complaintd.now() and t.complaint_id <> all($2::uuid[]) order by t.next_at limit $1::integer"
    " for update of t, c skip locked"};
static const struct pg_stmt sql_fire = {
    "fire", "select complaintd.fire_steps(u.complaint, u.positions::integer[], u.level, u.data::jsonb, u.notifications::jsonb)"
            " from unnest($1::uuid[], $2::text[], $3::integer[], $4::text[], $5::text[])"
            "   as u(complaint, positions, level, data, notifications) order by u.complaint"};

static const struct pg_stmt *const statements[] = {&sql_begin, &sql_commit, &sql_rollback, &sql_claim, &sql_fire, NULL};

static void arm(struct scheduler *s, int64_t us)
{
    struct timeval tv = {us / 1000000, us % 1000000};
    event_add(s->timer, &tv);
}

static void ended(struct scheduler *s)
{
    s->phase = IDLE;
    if (!s->closing)
        arm(s, s->more ? CD_MSEC(1) : s->cfg->notify_poll_us);
}

/* A write failed for what it holds: find out for which complaint, and let the others be told meanwhile. */
static void suspect(struct scheduler *s)
{
    char id[UUID_TEXT_SIZE];
    s->good = 0;
    if (!s->singly) {
        s->singly = true;
        return;
    }
    uuid_format(&s->claimed, id);
    log_event(LOG_L_ERROR, EV_ESCALATION_STUCK, "complaint=%s advice=%s", id, log_quote("its steps cannot be written; tried again in an hour"));
    if (s->nbad < BAD_MAX)
        s->bad[s->nbad++] = s->claimed;
    s->bad_until_us = clock_mono_us() + BAD_LIFE_US;
}

static void on_written(struct pg_unit *u, enum pg_status st)
{
    struct scheduler *s = (struct scheduler *)((char *)u - offsetof(struct scheduler, unit));
    if (st != PG_OK)
        log_event(LOG_L_WARN, EV_ESCALATION_WRITE_FAILED, "sqlstate=%s error=%s", u->sqlstate, log_text(u->error));
    if (st == PG_OK && s->singly && ++s->good > CLAIM_ROWS)
        s->singly = false;
    if (s->wrote && (st == PG_POISON || st == PG_RACE))
        suspect(s);
    ended(s);
    if (st == PG_OK && s->wrote)
        s->fired(s->arg);
}

/* What one complaint's due steps write. They come highest level first: of several that tell the same person only that one is sent. */
struct firing {
    struct buf positions;
    int level;
    json_t *data;
    struct store_notes notes;
};

static void read_about(const char *json, struct strlist *ret)
{
    json_t *list = json ? json_loads(json, 0, NULL) : NULL, *v;
    size_t i;
    json_array_foreach(list, i, v)
        if (json_is_string(v))
            strlist_add(ret, json_string_value(v));
    json_decref(list);
}

static void fire_row(struct scheduler *s, const PGresult *res, int row, struct firing *f)
{
    json_t *due = json_loads(pg_text(res, row, 5) ? pg_text(res, row, 5) : "[]", 0, NULL), *step, *steps = json_array();
    struct strlist about = {0};
    size_t i;
    *f = (struct firing){0};
    read_about(pg_text(res, row, 6), &about);
    buf_init(&f->positions, CD_KIB(4));
    buf_append_char(&f->positions, '{');
    json_array_foreach(due, i, step)
    {
        struct tell_input in = {
            .complaint_id = pg_text(res, row, 0),
            .team = pg_text(res, row, 2),
            .policy = pg_text(res, row, 3),
            .about = &about,
            .cycle = (int)pg_i64(res, row, 4, 0),
            .level = (int)json_integer_value(json_array_get(step, 1)),
            .repeat = (int)json_integer_value(json_array_get(step, 2)),
            .due_us = json_integer_value(json_array_get(step, 3)),
        };
        const char *name;
        size_t told = tell_step(s->cfg, &in, &f->notes, &name);
        buf_printf(&f->positions, "%s%d", i ? "," : "", (int)json_integer_value(json_array_get(step, 0)));
        f->level = CD_MAX(f->level, in.level);
        metrics_inc(M_ESCALATION_FIRED);
        if (!told)
            metrics_inc(M_ESCALATION_NOBODY);
        log_event(told ? LOG_L_NOTICE : LOG_L_ERROR, told ? EV_ESCALATION_FIRED : EV_ESCALATION_NOBODY,
                  "ref=%s policy=%s level=%d repeat=%d step=%s told=%zu", pg_text(res, row, 1), log_quote(in.policy), in.level,
                  in.repeat, name[0] ? log_quote(name) : "-", told);
        json_array_append_new(steps, json_pack("{s:i, s:i, s:s, s:i}", "level", in.level, "repeat", in.repeat, "step", name, "told", (int)told));
    }
    buf_append_char(&f->positions, '}');
    f->data = json_pack("{s:o}", "steps", steps);
    json_decref(due);
    strlist_free(&about);
}

/* As complaintd.fire_steps takes them. */
static json_t *notes_json(const struct store_notes *l)
{
    json_t *out = json_array();
    for (size_t i = 0; i < l->n; i++) {
        const struct store_note *n = &l->v[i];
        char id[UUID_TEXT_SIZE], life[32];
        uuid_format(&n->id, id);
        snprintf(life, sizeof life, "%lld s", (long long)(n->life_us / CD_SEC(1)));
        json_array_append_new(out, json_pack("{s:s, s:s, s:s, s:i, s:s, s:s, s:s, s:o, s:s, s:s}", "id", id, "purpose", n->purpose, "class", n->class,
                                             "level", n->level, "transport", n->transport, "recipient", n->recipient, "language", n->language,
                                             "payload", json_loads(n->payload, 0, NULL), "life", life, "idempotency_key", n->key));
    }
    return out;
}

static void add_json(struct pg_params *p, json_t *v)
{
    char *text = json_dumps(v, JSON_COMPACT);
    pg_el_text(p, text ? text : "null");
    free(text);
}

static void write_rows(struct scheduler *s, const PGresult *res)
{
    int n = PQntuples(res);
    struct pg_params p;
    struct firing *f = cd_alloc((size_t)(n + 1) * sizeof *f);
    for (int i = 0; i < n; i++)
        fire_row(s, res, i, &f[i]);
    pg_params_init(&p, CD_MIB(4));
    pg_array_begin(&p, PG_UUID);
    for (int i = 0; i < n; i++) {
        struct uuid u;
        if (pg_uuid(res, i, 0, &u) == 0)
            pg_el_uuid(&p, &u);
    }
    pg_array_end(&p);
    pg_array_begin(&p, PG_TEXT);
    for (int i = 0; i < n; i++)
        pg_el_text(&p, buf_str(&f[i].positions));
    pg_array_end(&p);
    pg_array_begin(&p, PG_INT4);
    for (int i = 0; i < n; i++)
        pg_el_int4(&p, f[i].level);
    pg_array_end(&p);
    pg_array_begin(&p, PG_TEXT);
    for (int i = 0; i < n; i++)
        add_json(&p, f[i].data);
    pg_array_end(&p);
    pg_array_begin(&p, PG_TEXT);
    for (int i = 0; i < n; i++) {
        json_t *notes = notes_json(&f[i].notes);
        add_json(&p, notes);
        json_decref(notes);
    }
    pg_array_end(&p);
    pg_begin(s->pg, &s->unit, on_written);
    pg_step(s->pg, &sql_fire, &p);
    pg_step(s->pg, &sql_commit, NULL);
    pg_send(s->pg);
    pg_params_free(&p);
    for (int i = 0; i < n; i++) {
        buf_free(&f[i].positions);
        json_decref(f[i].data);
        store_notes_free(&f[i].notes);
    }
    free(f);
}

static void on_claimed(struct pg_unit *u, enum pg_status st)
{
    struct scheduler *s = (struct scheduler *)((char *)u - offsetof(struct scheduler, unit));
    PGresult *res = u->result[1];
    s->wrote = st == PG_OK && PQntuples(res) > 0;
    s->more = s->wrote;
    if (st == PG_LOST || s->closing || !pg_can_send(s->pg)) {
        ended(s);
        return;
    }
    s->phase = WRITING;
    if (s->wrote && pg_uuid(res, 0, 0, &s->claimed) < 0)
        s->claimed = (struct uuid){{0}};
    if (s->wrote) {
        write_rows(s, res); /* the connection keeps the results of a unit until its callback returns, also when the unit is used again */
        return;
    }
    if (st != PG_OK)
        log_event(LOG_L_WARN, EV_ESCALATION_CLAIM_FAILED, "sqlstate=%s error=%s", u->sqlstate, log_text(u->error));
    pg_begin(s->pg, &s->unit, on_written);
    pg_step(s->pg, &sql_rollback, NULL);
    pg_send(s->pg);
}

static void claim(struct scheduler *s)
{
    if (s->phase != IDLE || !pg_can_send(s->pg))
        return;
    struct pg_params p;
    if (s->nbad && clock_mono_us() > s->bad_until_us)
        s->nbad = 0;
    pg_params_init(&p, CD_KIB(16));
    pg_param_int(&p, s->singly ? 1 : CLAIM_ROWS);
    pg_array_begin(&p, PG_UUID);
    for (size_t i = 0; i < s->nbad; i++)
        pg_el_uuid(&p, &s->bad[i]);
    pg_array_end(&p);
    s->phase = CLAIMING;
    pg_begin(s->pg, &s->unit, on_claimed);
    pg_step(s->pg, &sql_begin, NULL);
    pg_step(s->pg, &sql_claim, &p);
    pg_send(s->pg);
    pg_params_free(&p);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct scheduler *s = arg;
    (void)fd;
    (void)what;
    claim(s);
    if (!evtimer_pending(s->timer, NULL))
        arm(s, s->cfg->notify_poll_us);
}

static void on_ready(void *arg)
{
    struct scheduler *s = arg;
    if (s->phase == IDLE && !evtimer_pending(s->timer, NULL))
        arm(s, 0);
}

struct scheduler *scheduler_new(struct event_base *base, const struct config *c, void (*fired)(void *arg), void *arg)
{
    struct scheduler *s = cd_alloc(sizeof *s);
    s->cfg = c;
    s->fired = fired;
    s->arg = arg;
    s->timer = evtimer_new(base, on_timer, s);
    cd_assert(s->timer);
    s->pg = pg_new(base, &(struct pg_options){
                             .name = "escalation",
                             .dsn = c->database_dsn,
                             .statements = statements,
                             .max_in_flight = 1,
                             .reconnect_max_us = c->database_reconnect_max_us,
                             .ready = on_ready,
                             .arg = s,
                         });
    arm(s, c->notify_poll_us);
    return s;
}

void scheduler_free(struct scheduler **ps)
{
    struct scheduler *s = *ps;
    if (!s)
        return;
    *ps = NULL;
    s->closing = true;
    pg_free(&s->pg);
    event_free(s->timer);
    free(s);
}

void scheduler_kick(struct scheduler *s)
{
    if (s->phase == IDLE)
        arm(s, 0);
}

bool scheduler_idle(const struct scheduler *s)
{
    return s->phase == IDLE;
}

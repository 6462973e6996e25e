/* Two units on a connection that it shares: what is due, with whom to tell; then complaintd.case_over() for each. When a write fails for what
 * it holds, complaints are taken singly, and the one at fault is stepped over for an hour. Nothing is owned beyond the struct itself. */
#include "daemon/escalation/waiting.h"

#include <jansson.h>
#include <string.h>

#include "daemon/cases/lifecycle.h"
#include "daemon/core/clock.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/store/pg.h"

#define DUE_ROWS 50
#define TOLD_LIFE_S 86400
#define STEP_OVER_US CD_HOUR(1)

struct waiting {
    const struct config *cfg;
    struct pg *pg;
    struct event *timer;
    struct pg_unit unit;
    bool busy, singly;
    int64_t over, over_until_us; /* so many at the front of the queue are left alone */
    void (*fired)(void *arg);
    void *arg;
};

static const struct pg_stmt sql_due = {
    "", "select c.id, c.ref, c.team from complaintd.complaint c where c.state_until <= complaintd.now() order by c.state_until, c.id"
        " limit $1::integer offset $2::integer"};
static const struct pg_stmt sql_over = {
    "", "select u.id, complaintd.case_over(u.id, $3::text[], $4::text[], u.tell::jsonb) from unnest($1::uuid[], $2::text[]) as u(id, tell)"
        " order by u.id"};

static void arm(struct waiting *w, int64_t us)
{
    struct timeval tv = {us / 1000000, us % 1000000};
    event_add(w->timer, &tv);
}

static void ended(struct waiting *w, bool more)
{
    w->busy = false;
    arm(w, more ? CD_MSEC(1) : w->cfg->notify_poll_us);
}

/* "{waiting" and ",resolved", from "{waiting}" and "{resolved}". */
static void add_rows(struct buf *out, const char *array, bool first)
{
    buf_printf(out, "%s%.*s", first ? "{" : ",", (int)(strlen(array) - 2), array + 1);
}

/* The rows of both actions, one after the other: they have no state in common. */
static void both_arrays(struct buf *from, struct buf *to)
{
    static const enum case_action actions[] = {ACTION_WAIT_OVER, ACTION_AGED};
    buf_init(from, CD_KIB(1));
    buf_init(to, CD_KIB(1));
    for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
        char f[LIFECYCLE_ARRAY_SIZE], t[LIFECYCLE_ARRAY_SIZE];
        lifecycle_arrays(actions[i], f, t);
        add_rows(from, f, i == 0);
        add_rows(to, t, i == 0);
    }
    buf_append_char(from, '}');
    buf_append_char(to, '}');
}

/* Every way to the team, as case_over() takes them. */
static char *tell_json(const struct config *c, const char *team)
{
    static const char *const transports[] = {"mail", "sms", "webhook"};
    const struct contact *who = config_contact(c, team);
    const char *to[] = {who ? who->mail : "", who ? who->sms : "", who ? who->webhook : ""};
    json_t *list = json_array();
    for (size_t t = 0; t < ARRAY_LEN(to); t++)
        if (to[t] && to[t][0])
            json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:i}", "transport", transports[t], "recipient", to[t], "language",
                                                  c->default_language, "life", TOLD_LIFE_S));
    char *text = json_dumps(list, JSON_COMPACT);
    json_decref(list);
    return text ? text : cd_strdup("[]");
}

static void on_over(struct pg_unit *u, enum pg_status st)
{
    struct waiting *w = (struct waiting *)((char *)u - offsetof(struct waiting, unit));
    const PGresult *res = u->result[0];
    bool poison = st == PG_POISON || st == PG_RACE;
    if (st != PG_OK)
        log_event(LOG_L_WARN, EV_CASES_OVER_FAILED, "sqlstate=%s error=%s", u->sqlstate, log_text(u->error));
    if (poison && w->singly && w->over++ == 0)
        w->over_until_us = clock_mono_us() + STEP_OVER_US;
    w->singly |= poison;
    for (int i = 0; st == PG_OK && i < PQntuples(res); i++) {
        const char *to = pg_text(res, i, 1);
        if (!to)
            continue;
        metrics_inc(str_eq(to, case_status_name(CASE_CLOSED)) ? M_CASES_AGED : M_CASES_WAITS_ENDED);
        log_event(LOG_L_INFO, EV_CASES_OVER, "complaint=%s to=%s", pg_text(res, i, 0), log_quote(to));
    }
    ended(w, st == PG_OK || poison);
    if (st == PG_OK)
        w->fired(w->arg);
}

static void write_over(struct waiting *w, const PGresult *res)
{
    struct buf from, to;
    int n = PQntuples(res);
    struct pg_params p;
    pg_params_init(&p, CD_MIB(1));
    pg_array_begin(&p, PG_UUID);
    for (int i = 0; i < n; i++) {
        struct uuid id = {{0}};
        (void)!pg_uuid(res, i, 0, &id);
        pg_el_uuid(&p, &id);
    }
    pg_array_end(&p);
    pg_array_begin(&p, PG_TEXT);
    for (int i = 0; i < n; i++) {
        char *tell = tell_json(w->cfg, pg_text(res, i, 2));
        pg_el_text(&p, tell);
        free(tell);
    }
    pg_array_end(&p);
    both_arrays(&from, &to);
    pg_param_text(&p, buf_str(&from));
    pg_param_text(&p, buf_str(&to));
    pg_begin(w->pg, &w->unit, on_over);
    pg_step(w->pg, &sql_over, &p);
    pg_send(w->pg);
    pg_params_free(&p);
    buf_free(&from);
    buf_free(&to);
}

static void on_due(struct pg_unit *u, enum pg_status st)
{
    struct waiting *w = (struct waiting *)((char *)u - offsetof(struct waiting, unit));
    if (st == PG_OK && PQntuples(u->result[0]) > 0 && pg_can_send(w->pg)) {
        write_over(w, u->result[0]);
        return;
    }
    if (st == PG_OK && PQntuples(u->result[0]) == 0)
        w->singly = false;
    ended(w, false);
}

static void look(struct waiting *w)
{
    if (w->busy || !pg_can_send(w->pg))
        return;
    struct pg_params p;
    if (w->over && clock_mono_us() > w->over_until_us)
        w->over = 0;
    w->busy = true;
    pg_params_init(&p, CD_KIB(1));
    pg_param_int(&p, w->singly ? 1 : DUE_ROWS);
    pg_param_int(&p, w->over);
    pg_begin(w->pg, &w->unit, on_due);
    pg_step(w->pg, &sql_due, &p);
    pg_send(w->pg);
    pg_params_free(&p);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct waiting *w = arg;
    (void)fd;
    (void)what;
    look(w);
    if (!w->busy)
        arm(w, w->cfg->notify_poll_us);
}

struct waiting *waiting_new(struct event_base *base, const struct config *c, struct pg *pg, void (*fired)(void *arg), void *arg)
{
    struct waiting *w = cd_alloc(sizeof *w);
    w->cfg = c;
    w->pg = pg;
    w->fired = fired;
    w->arg = arg;
    w->timer = evtimer_new(base, on_timer, w);
    cd_assert(w->timer);
    arm(w, c->notify_poll_us);
    return w;
}

void waiting_free(struct waiting **pw)
{
    struct waiting *w = *pw;
    if (!w)
        return;
    *pw = NULL;
    event_free(w->timer);
    free(w);
}

void waiting_kick(struct waiting *w)
{
    if (!w->busy)
        arm(w, 0);
}

bool waiting_idle(const struct waiting *w)
{
    return !w->busy;
}

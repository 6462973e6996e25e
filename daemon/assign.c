/* The pump of assignment. Everything is decided and written by one statement, complaintd.assign_open(): it counts and gives under one lock, so
 * that two instances never give one complaint twice nor somebody more than they can have. Nothing is kept here: a statement that failed, or
 * whose answer was lost, is asked again at the next turn. While no team wants it there is no connection.
 *
 * After a turn that gave something the next follows at once; otherwise after POLL, or after nine times what the turn took, so that a long
 * queue that nobody can have costs a tenth of one core at most. */
#include "daemon/assign.h"

#include <jansson.h>
#include <string.h>

#include "daemon/core/clock.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/store/pg.h"

#define POLL_US CD_SEC(1)
#define MOST 50 /* complaints in one transaction */
#define SHARE 9

struct assign {
    const struct config *cfg;
    struct event_base *base;
    struct pg *pg; /* NULL until a team wants it */
    struct event *timer;
    struct pg_unit unit;
    bool busy, again, closing;
    int64_t since_us;
    void (*given)(void *arg);
    void *arg;
};

static const struct pg_stmt sql_assign = {"assign", "select ref, team, who, was, told from complaintd.assign_open($1::jsonb, $2, $3::integer)"};
static const struct pg_stmt *const statements[] = {&sql_assign, NULL};

static void arm(struct assign *a, int64_t us)
{
    struct timeval tv = {us / 1000000, us % 1000000};
    event_add(a->timer, &tv);
}

static json_t *list(const struct strlist *l)
{
    json_t *out = json_array();
    for (size_t i = 0; i < l->n; i++)
        json_array_append_new(out, json_string(l->v[i]));
    return out;
}

static json_t *teams_of(const struct config *c, const char *who)
{
    json_t *out = json_array();
    for (size_t t = 0; t < c->nteams; t++)
        if (config_team_has(&c->teams[t], who))
            json_array_append_new(out, json_string(c->teams[t].name));
    return out;
}

/* The members of all teams that want it, as the statement takes them; NULL: there are none. */
static char *members_json(const struct config *c)
{
    json_t *out = json_array();
    for (size_t t = 0; t < c->nteams; t++) {
        const struct cfg_team *team = &c->teams[t];
        for (size_t i = 0; i < team->nmembers && team->assign != ASSIGN_NONE; i++) {
            const struct cfg_member *m = &team->members[i];
            json_array_append_new(out, json_pack("{s:i, s:s, s:s, s:s, s:I, s:o, s:o, s:o, s:s, s:s}", "place", (int)json_array_size(out), "team",
                                                 team->name, "assign", assign_name(team->assign), "who", m->name, "capacity",
                                                 (json_int_t)m->capacity, "skills", list(&m->skills), "regions", list(&m->regions), "teams",
                                                 teams_of(c, m->name), "mail", m->contact.mail, "sms", m->contact.sms));
        }
    }
    char *text = json_array_size(out) ? json_dumps(out, JSON_COMPACT) : NULL;
    json_decref(out);
    return text;
}

static void tell(const PGresult *res, int row)
{
    const char *was = pg_text(res, row, 3);
    metrics_inc(was ? M_ASSIGN_REASSIGNED : M_ASSIGN_ASSIGNED);
    log_event(LOG_L_NOTICE, EV_ASSIGN_GIVEN, "ref=%s team=%s to=%s from=%s told=%lld", pg_text(res, row, 0), log_quote(pg_text(res, row, 1)),
              log_quote(pg_text(res, row, 2)), was ? log_quote(was) : "-", (long long)pg_i64(res, row, 4, 0));
}

static void on_assigned(struct pg_unit *u, enum pg_status s)
{
    struct assign *a = (struct assign *)((char *)u - offsetof(struct assign, unit));
    int n = s == PG_OK ? PQntuples(u->result[0]) : 0;
    int64_t took = clock_mono_us() - a->since_us;
    a->busy = false;
    if (s != PG_OK && s != PG_LOST)
        log_event(LOG_L_WARN, EV_ASSIGN_FAILED, "sqlstate=%s error=%s", u->sqlstate[0] ? u->sqlstate : "-", log_text(u->error));
    for (int i = 0; i < n; i++)
        tell(u->result[0], i);
    if (a->closing)
        return;
    arm(a, n || a->again ? CD_MSEC(1) : CD_MAX(POLL_US, SHARE * took));
    if (n)
        a->given(a->arg);
}

static void ask(struct assign *a, const char *members)
{
    struct pg_params p;
    pg_params_init(&p, CD_MIB(64));
    pg_param_text(&p, members);
    pg_param_text(&p, a->cfg->default_language);
    pg_param_int(&p, MOST);
    a->busy = true;
    a->again = false;
    a->since_us = clock_mono_us();
    pg_begin(a->pg, &a->unit, on_assigned);
    pg_step(a->pg, &sql_assign, &p);
    pg_send(a->pg);
    pg_params_free(&p);
}

static void on_ready(void *arg CD_UNUSED)
{
    /* the timer looks */
}

static void on_timer(evutil_socket_t fd CD_UNUSED, short what CD_UNUSED, void *arg)
{
    struct assign *a = arg;
    char *members CD_CLEANUP_FREE = a->busy ? NULL : members_json(a->cfg);
    if (members && !a->pg)
        a->pg = pg_new(a->base, &(struct pg_options){
                                    .name = "assignment",
                                    .dsn = a->cfg->database_dsn,
                                    .statements = statements,
                                    .max_in_flight = 1,
                                    .reconnect_max_us = a->cfg->database_reconnect_max_us,
                                    .ready = on_ready,
                                    .arg = a,
                                });
    if (members && pg_can_send(a->pg))
        ask(a, members);
    if (!a->busy)
        arm(a, members && !pg_usable(a->pg) ? POLL_US / 10 : POLL_US);
}

struct assign *assign_new(struct event_base *base, const struct config *c, void (*given)(void *arg), void *arg)
{
    struct assign *a = cd_alloc(sizeof *a);
    a->cfg = c;
    a->base = base;
    a->given = given;
    a->arg = arg;
    a->timer = evtimer_new(base, on_timer, a);
    cd_assert(a->timer);
    arm(a, POLL_US / 10);
    return a;
}

void assign_free(struct assign **pa)
{
    struct assign *a = *pa;
    if (!a)
        return;
    *pa = NULL;
    a->closing = true;
    pg_free(&a->pg);
    event_free(a->timer);
    free(a);
}

void assign_kick(struct assign *a)
{
    if (!a)
        return;
    a->again = true;
    if (!a->busy)
        arm(a, 0);
}

bool assign_idle(const struct assign *a)
{
    return !a || !a->busy;
}

/* CLOCK advance is a small state machine: it moves the database's offset from due time to due time and lets everything that became due
 * finish before it goes on. One at a time; its token stays the asker's, who has the answer when all is done or the database fails. */
#include "daemon/clock_verb.h"

#include <string.h>

#include "daemon/cases/commands.h"
#include "daemon/core/clock.h"
#include "daemon/core/str.h"

#define CLOCK_POLL_US CD_MSEC(20)

struct clock_verb {
    const struct config *cfg;
    struct pg *pg;
    struct clock_verb_hooks h;
    struct event *timer;
    struct pg_unit unit;
    void *advancing; /* the token of who asked for it; NULL: nobody */
    int64_t target_us, hop_us;
    int quiet_rounds;
};

/* Somebody asks what time it is, or wants it moved: this is looked at first. */
struct ask {
    struct pg_unit unit;
    struct clock_verb *verb;
    void *token;
    const json_t *args;
};

const struct pg_stmt clock_verb_show = {
    "clock", "select (extract(epoch from complaintd.now()) * 1000000)::bigint, sandbox from complaintd.clock"};
/* How much is due or under way, and the next due time after now. While sending is paused notifications count for nothing. */
const struct pg_stmt clock_verb_look = {
    "clock_look",
    "select (select count(*) from complaintd.timers where next_at <= complaintd.now())"
    "  + (select count(*) from complaintd.complaint where state_until <= complaintd.now())"
    "  + (select count(*) from complaintd.notifications where not $1::boolean and (state = 'sending'"
    "     or (state in ('pending', 'unknown') and next_attempt_at <= complaintd.now()))) + (select count(*) from complaintd.pending),"
    " (extract(epoch from complaintd.now()) * 1000000)::bigint,"
    " (extract(epoch from least((select min(next_at) from complaintd.timers where next_at > complaintd.now()),"
    "   (select min(state_until) from complaintd.complaint where state_until > complaintd.now()),"
    "   (select min(next_attempt_at) from complaintd.notifications where not $1::boolean"
    "     and state in ('pending', 'unknown') and next_attempt_at > complaintd.now()))) * 1000000)::bigint"};
const struct pg_stmt clock_verb_set = {
    "clock_set", "update complaintd.clock set clock_offset = make_interval(secs => ($1::bigint / 1000000.0) - extract(epoch from clock_timestamp())::float8)"
                 " where sandbox and clock_timestamp() + clock_offset < to_timestamp($1::bigint / 1000000.0)"};

static void refuse(struct clock_verb *v, void *token, const char *code, const char *message, bool retry)
{
    struct reply r = {0};
    reply_set_error(&r, code, message, NULL, retry);
    v->h.answer(token, &r);
}

static void tell(struct clock_verb *v, void *token, int64_t now_us, bool sandbox)
{
    char text[CLOCK_TEXT_SIZE];
    clock_format_s(now_us, text);
    struct reply r = {.ok = true, .body = json_pack("{s:s, s:b}", "now", text, "sandbox", (int)sandbox)};
    v->h.answer(token, &r);
}

/* The advance is over; gives the token of who waits for it. */
static void *end(struct clock_verb *v)
{
    void *token = v->advancing;
    v->advancing = NULL;
    event_del(v->timer);
    return token;
}

static void poll_in(struct clock_verb *v, int64_t us)
{
    struct timeval tv = {0, us};
    event_add(v->timer, &tv);
}

static void on_set(struct pg_unit *u, enum pg_status s)
{
    struct clock_verb *v = (struct clock_verb *)((char *)u - offsetof(struct clock_verb, unit));
    if (s != PG_OK) {
        refuse(v, end(v), "busy", "the database did not answer", true);
        return;
    }
    if (strcmp(PQcmdTuples(u->result[0]), "1") == 0)
        clock_set_service_offset_us(v->hop_us - clock_real_us());
    v->quiet_rounds = 0;
    v->h.kick(v->h.arg);
    poll_in(v, CLOCK_POLL_US);
}

static void set(struct clock_verb *v, int64_t to_us)
{
    struct pg_params p;
    v->hop_us = to_us;
    pg_params_init(&p, CD_KIB(1));
    pg_param_int(&p, to_us);
    pg_begin(v->pg, &v->unit, on_set);
    pg_step(v->pg, &clock_verb_set, &p);
    pg_send(v->pg);
    pg_params_free(&p);
}

/* Quiet twice in a row: what a step fired may be claimed only by the next poll. */
static void on_look(struct pg_unit *u, enum pg_status s)
{
    struct clock_verb *v = (struct clock_verb *)((char *)u - offsetof(struct clock_verb, unit));
    if (s != PG_OK) {
        refuse(v, end(v), "busy", "the database did not answer", true);
        return;
    }
    int64_t open = pg_i64(u->result[0], 0, 0, 0), now = pg_i64(u->result[0], 0, 1, 0), next = pg_i64(u->result[0], 0, 2, 0);
    if (open || !v->h.quiet(v->h.arg)) {
        v->quiet_rounds = 0;
        v->h.kick(v->h.arg);
        poll_in(v, CLOCK_POLL_US);
    } else if (++v->quiet_rounds < 2) {
        poll_in(v, CLOCK_POLL_US);
    } else if (now >= v->target_us) {
        clock_set_service_offset_us(now - clock_real_us());
        tell(v, end(v), now, true);
    } else if (pg_can_send(v->pg)) {
        set(v, next && next < v->target_us ? next + 1000 : v->target_us);
    } else {
        poll_in(v, CLOCK_POLL_US);
    }
}

static void on_timer(evutil_socket_t fd CD_UNUSED, short what CD_UNUSED, void *arg)
{
    struct clock_verb *v = arg;
    struct pg_params p;
    if (!pg_can_send(v->pg)) {
        poll_in(v, CLOCK_POLL_US);
        return;
    }
    pg_params_init(&p, CD_KIB(1));
    pg_param_text(&p, v->cfg->notify_paused ? "true" : "false");
    pg_begin(v->pg, &v->unit, on_look);
    pg_step(v->pg, &clock_verb_look, &p);
    pg_send(v->pg);
    pg_params_free(&p);
}

static void on_shown(struct pg_unit *u, enum pg_status s)
{
    struct ask *a = (struct ask *)((char *)u - offsetof(struct ask, unit));
    struct clock_verb *v = a->verb;
    void *token = a->token;
    const json_t *by = json_object_get(a->args, "advance");
    int64_t now = s == PG_OK ? pg_i64(u->result[0], 0, 0, 0) : 0, us;
    bool sandbox = s == PG_OK && str_eq(pg_text(u->result[0], 0, 1), "t");
    free(a);
    if (s != PG_OK)
        refuse(v, token, "busy", "the database did not answer", true);
    else if (!by)
        tell(v, token, now, sandbox);
    else if (!sandbox)
        refuse(v, token, "not-sandbox", "the clock moves only in a database that is marked as a sandbox", false);
    else if (!json_is_string(by) || str_parse_duration(json_string_value(by), &us) < 0 || us <= 0)
        refuse(v, token, "bad-argument", "\"advance\" takes a duration such as \"3d\" or \"90min\"", false);
    else if (v->advancing)
        refuse(v, token, "busy", "the clock is being advanced already", true);
    else {
        v->advancing = token;
        v->target_us = now + us;
        v->quiet_rounds = 0;
        poll_in(v, 1);
    }
}

void clock_verb_send(struct clock_verb *v, void *token, const json_t *args)
{
    struct ask *a = cd_alloc(sizeof *a);
    *a = (struct ask){.verb = v, .token = token, .args = args};
    pg_begin(v->pg, &a->unit, on_shown);
    pg_step(v->pg, &clock_verb_show, NULL);
    pg_send(v->pg);
}

struct clock_verb *clock_verb_new(struct event_base *base, const struct config *c, struct pg *pg, const struct clock_verb_hooks *h)
{
    struct clock_verb *v = cd_alloc(sizeof *v);
    v->cfg = c;
    v->pg = pg;
    v->h = *h;
    v->timer = evtimer_new(base, on_timer, v);
    cd_assert(v->timer);
    return v;
}

void clock_verb_free(struct clock_verb **pv)
{
    struct clock_verb *v = *pv;
    if (!v)
        return;
    *pv = NULL;
    if (v->advancing)
        refuse(v, end(v), "busy", "the daemon is stopping", true);
    event_free(v->timer);
    free(v);
}

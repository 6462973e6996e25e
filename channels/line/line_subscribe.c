/* See line_subscribe.h. A subscription is a reader of the front's feed and an open slot of its session. Rows go straight to the
 * session's output, as many as the peer reads: when it falls behind the reader is paused, and the feed reads on from its place later. So
 * a subscriber costs its struct and at most LINE_MAX_UNSENT of rows, however slow it is. Owned by its session. */
#include "channels/line/line_subscribe.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/clock.h"
#include "daemon/core/metrics.h"

#define MAX_KINDS 50
#define MAX_KIND 64 /* bytes of a kind's name */

struct line_subscription {
    struct feed_reader reader;
    struct line_session *session;
    struct line_slot *slot;
    struct strlist kinds; /* none: all */
    char *desk;           /* NULL: all that the client may see */
    bool follow;          /* goes on when everything there is was given */
    uint64_t rows;
    int64_t heard_us;     /* when the peer was last sent something */
    bool complete;        /* to be ended in the session's next turn */
    const char *refused;
};

#define OF(r) ((struct line_subscription *)((char *)(r)-offsetof(struct line_subscription, reader)))
#define CURSOR_SIZE (20 + 1 + UUID_TEXT_SIZE)

static void cursor_text(const struct line_subscription *u, char out[CURSOR_SIZE])
{
    char id[UUID_TEXT_SIZE];
    uuid_format(&u->reader.at.id, id);
    snprintf(out, CURSOR_SIZE, "%" PRIu64 ":%s", u->reader.at.xid, id);
}

/* ---- what the feed gives ---- */

static bool has_line(const char *lines, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = lines; p && *p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL)
        if (strncmp(p, word, n) == 0 && (p[n] == '\n' || !p[n]))
            return true;
    return false;
}

static bool wanted(const struct line_subscription *u, const struct feed_event *e)
{
    const struct strlist *scope = &u->session->desks;
    bool inside = scope->n == 0;

    for (size_t i = 0; i < scope->n && !inside; i++)
        inside = has_line(e->desks, scope->v[i]);
    return inside && (!u->desk || has_line(e->desks, u->desk)) && (u->kinds.n == 0 || strlist_has(&u->kinds, e->kind));
}

/* Its turn to be answered, and the peer reads. */
static bool has_room(const struct line_subscription *u)
{
    const struct line_session *s = u->session;
    return TAILQ_FIRST(&s->queue) == u->slot && !s->closing && !u->complete && evbuffer_get_length(s->conn.out) <= LINE_MAX_UNSENT;
}

/* From the moment there is something to read, the peer's time to read it counts. */
static void put_row(struct line_subscription *u, const char *row, size_t n)
{
    struct line_session *s = u->session;
    if (evbuffer_get_length(s->conn.out) == 0)
        line_session_touch(s);
    evbuffer_add(s->conn.out, "ROW ", 4);
    evbuffer_add(s->conn.out, row, n);
    evbuffer_add(s->conn.out, "\n", 1);
    line_conn_written(&s->conn);
    u->heard_us = clock_mono_us();
}

/* "C-XXXX-XXXX-XXXX" as a whole JSON string. */
static bool is_ref(const char *s)
{
    static const char shape[] = "\"C-xxxx-xxxx-xxxx\"";
    for (size_t i = 0; i < sizeof shape - 1; i++)
        if (shape[i] == 'x' ? !strchr("0123456789ABCDEFGHJKMNPQRSTVWXYZ", s[i]) || !s[i] : s[i] != shape[i])
            return false;
    return true;
}

/* To a client with desks `data` names no complaint but the event's own: null stands there, for nobody knows here whose the other is. SHOW
 * and EXPLAIN tell those that it may see. The row has "ref" once before its data, and no other text in it holds an unescaped quote. */
static void put_row_of_desk(struct line_subscription *u, const struct feed_event *e)
{
    const char *own = strstr(e->row, ",\"ref\":\"C-"), *data = strstr(e->row, ",\"data\":"), *from = e->row;
    struct buf b;
    buf_init(&b, e->nrow + 1);
    for (const char *p = data; p && (p = strstr(p, "\"C-"));) {
        if (!is_ref(p) || (own && strncmp(p, own + strlen(",\"ref\":"), REF_TEXT_SIZE + 1) == 0)) {
            p++;
            continue;
        }
        buf_append(&b, from, (size_t)(p - from));
        buf_append_str(&b, "null");
        p += REF_TEXT_SIZE + 1; /* with both quotes, which take the place of the NUL */
        from = p;
    }
    buf_append_str(&b, from);
    put_row(u, buf_str(&b), b.len);
    buf_free(&b);
}

static bool give(struct feed_reader *r, const struct feed_event *e)
{
    struct line_subscription *u = OF(r);

    if (!wanted(u, e))
        return true;
    if (!has_room(u)) {
        metrics_inc(M_LINE_SUBSCRIBE_PAUSED);
        return false;
    }
    if (u->session->desks.n)
        put_row_of_desk(u, e);
    else
        put_row(u, e->row, e->nrow);
    u->rows++;
    metrics_inc(M_LINE_SUBSCRIBE_ROWS);
    return true;
}

static void caught_up(struct feed_reader *r)
{
    struct line_subscription *u = OF(r);
    if (u->follow || u->complete)
        return;
    u->complete = true;
    line_session_wake(u->session);
}

static void refused(struct feed_reader *r, const char *why)
{
    struct line_subscription *u = OF(r);
    u->complete = true;
    u->refused = why;
    line_session_wake(u->session);
}

/* ---- life ---- */

static void subscription_free(struct line_session *s)
{
    struct line_subscription *u = s->subscription;
    s->subscription = NULL;
    s->server->host->feed_remove(s->server->host->front, &u->reader);
    s->server->nsubscriptions--;
    metrics_set(M_LINE_SUBSCRIPTIONS, (int64_t)s->server->nsubscriptions);
    strlist_free(&u->kinds);
    free(u->desk);
    free(u);
}

void line_subscription_gone(struct line_session *s)
{
    if (s->subscription)
        subscription_free(s);
}

void line_subscription_end(struct line_session *s)
{
    struct line_subscription *u = s->subscription;
    char cursor[CURSOR_SIZE];

    if (!u)
        return;
    if (u->refused) {
        line_answer_err(u->slot, "bad-argument", u->refused, "after", false);
    } else {
        cursor_text(u, cursor);
        json_t *body = json_pack("{s:I}", "rows", (json_int_t)u->rows);
        if (!u->reader.from_now) /* it had not begun yet: there is no place to go on from */
            json_object_set_new(body, "cursor", json_string(cursor));
        line_answer_ok(u->slot, body);
    }
    subscription_free(s);
}

void line_subscription_finish(struct line_session *s)
{
    struct line_subscription *u = s->subscription;
    if (!u || !u->follow)
        return;
    u->follow = false;
    u->reader.until = 0;
}

void line_subscription_turn(struct line_session *s)
{
    struct line_subscription *u = s->subscription;

    if (!u)
        return;
    if (u->complete || s->closing)
        line_subscription_end(s);
    else if (u->reader.paused && has_room(u) && evbuffer_get_length(s->conn.out) <= LINE_MAX_UNSENT / 2)
        s->server->host->feed_resume(s->server->host->front, &u->reader);
}

void line_subscriptions_tick(struct line_server *srv)
{
    int64_t now = clock_mono_us(), limit = srv->host->cfg->line_subscribe_heartbeat_us;
    struct line_session *s, *next;
    char cursor[CURSOR_SIZE], row[CURSOR_SIZE + 20];

    if (!srv->nsubscriptions)
        return;
    for (s = TAILQ_FIRST(&srv->sessions); s; s = next) {
        struct line_subscription *u = s->subscription;
        next = TAILQ_NEXT(s, link); /* who is sent something goes to the end of the list */
        if (!u || now - u->heard_us < limit || u->reader.paused || u->reader.from_now || !has_room(u))
            continue;
        cursor_text(u, cursor);
        int n = snprintf(row, sizeof row, "{\"cursor\":\"%s\"}", cursor);
        put_row(u, row, (size_t)n);
    }
}

/* ---- the verb ---- */

/* "0", or what a row had as its cursor. */
static int read_cursor(const char *text, struct feed_place *ret)
{
    const char *colon = strchr(text, ':');
    char *xid CD_CLEANUP_FREE = cd_strndup(text, colon ? (size_t)(colon - text) : strlen(text));

    *ret = (struct feed_place){0};
    if (str_parse_u64(xid, INT64_MAX, &ret->xid) < 0)
        return -1;
    if (!colon)
        return ret->xid == 0 ? 0 : -1;
    return uuid_parse(colon + 1, &ret->id) < 0 ? -1 : 0;
}

static const char *read_kinds(const json_t *kinds, struct strlist *ret)
{
    size_t i;
    json_t *one;

    if (!json_is_array(kinds) || json_array_size(kinds) == 0 || json_array_size(kinds) > MAX_KINDS)
        return "not a list of 1 to 50 kinds of events";
    json_array_foreach(kinds, i, one) {
        const char *name = json_string_value(one);
        if (!name || !*name || strlen(name) > MAX_KIND || name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-")])
            return "not a list of kinds of events, such as [\"received\",\"resolved\"]";
        strlist_add(ret, name);
    }
    return NULL;
}

static bool may_see(const struct line_session *s, const char *desk)
{
    return s->desks.n == 0 || strlist_has(&s->desks, desk);
}

/* What is wrong with a field, its name in *ret_field; NULL: nothing. */
static const char *read_args(const struct line_session *s, const json_t *args, struct line_subscription *u, const char **ret_field)
{
    const json_t *after = json_object_get(args, "after"), *kinds = json_object_get(args, "kinds"), *desk = json_object_get(args, "desk"),
                 *follow = json_object_get(args, "follow");
    const char *wrong = NULL;

    *ret_field = "after";
    u->reader.from_now = !after;
    if (after && (!json_is_string(after) || read_cursor(json_string_value(after), &u->reader.at) < 0))
        return "not a cursor: give back what a ROW had as its \"cursor\", or \"0\" for everything there is";
    *ret_field = "follow";
    if (follow && !json_is_boolean(follow))
        return "not true or false";
    u->follow = !json_is_false(follow);
    *ret_field = "kinds";
    if (kinds && (wrong = read_kinds(kinds, &u->kinds)))
        return wrong;
    *ret_field = "desk";
    if (desk && !json_is_string(desk))
        return "not a string";
    u->desk = desk ? cd_strdup(json_string_value(desk)) : NULL;
    return u->desk && (!config_desk(s->server->host->cfg, u->desk) || !may_see(s, u->desk)) ? "no such desk for this client" : NULL;
}

enum verb_result line_verb_subscribe(struct line_session *s, struct line_slot *slot, const struct line_request *rq)
{
    static const char *const known[] = {"after", "kinds", "desk", "follow", NULL};
    struct line_server *srv = s->server;
    const char *field;
    char name[64];

    if (line_unknown_field(rq->args, known, name))
        return line_bad_argument(slot, name, "unknown field: SUBSCRIBE takes after, kinds, desk and follow");
    if (srv->nsubscriptions >= srv->host->cfg->line_max_subscriptions) {
        metrics_inc(M_LINE_SUBSCRIBE_REFUSED);
        line_answer_err(slot, "busy", "too many subscriptions", NULL, true);
        return VERB_DONE;
    }
    struct line_subscription *u = cd_alloc(sizeof *u);
    const char *wrong = read_args(s, rq->args, u, &field);
    if (wrong) {
        strlist_free(&u->kinds);
        free(u->desk);
        free(u);
        return line_bad_argument(slot, field, wrong);
    }
    u->session = s;
    u->slot = slot;
    u->heard_us = clock_mono_us();
    u->reader.give = give;
    u->reader.caught_up = caught_up;
    u->reader.refused = refused;
    slot->open = true;
    s->subscription = u;
    srv->nsubscriptions++;
    metrics_set(M_LINE_SUBSCRIPTIONS, (int64_t)srv->nsubscriptions);
    srv->host->feed_add(srv->host->front, &u->reader);
    return VERB_WAITING;
}

/* See line_rate.h. A bucket is one moment (GCRA): each request moves it by 1/rate, and it may be at most burst/rate ahead of now. The
 * buckets of clients live as long as the channel; there are as many as names in the configuration, ever. Sessions that wait stand in one
 * list, looked at every few milliseconds while it is not empty. */
#include "channels/line/line_rate.h"

#include <event2/event.h>
#include <string.h>

#include "channels/line/line_session.h"
#include "daemon/core/clock.h"
#include "daemon/core/metrics.h"
#include "daemon/core/str.h"

#define LOOK_US CD_MSEC(5)

struct client_rate {
    char *client;
    struct line_rate rate;
};

struct line_rates {
    struct line_server *server;
    struct client_rate **v; /* sessions point into them */
    size_t n;
    struct line_session_list waiting;
    struct event *look;
};

static int64_t interval_us(const struct config *c)
{
    return c->line_rate ? CD_MAX(CD_SEC(1) / (int64_t)c->line_rate, 1) : 0;
}

static bool has_room(const struct line_session *s)
{
    const struct config *c = s->server->host->cfg;
    return !c->line_rate || s->rate->full_us - clock_mono_us() <= interval_us(c) * ((int64_t)c->line_burst - 1);
}

static void wait_for_room(struct line_session *s)
{
    const struct timeval look = {0, LOOK_US};
    struct line_rates *r = s->server->rates;
    s->throttled = true;
    TAILQ_INSERT_TAIL(&r->waiting, s, throttled_link);
    if (!event_pending(r->look, EV_TIMEOUT, NULL))
        event_add(r->look, &look);
}

/* Whoever still finds no room goes to the end again. */
static void on_look(evutil_socket_t fd CD_UNUSED, short what CD_UNUSED, void *arg)
{
    struct line_rates *r = arg;
    struct line_session_list all;
    struct line_session *s;

    TAILQ_INIT(&all);
    TAILQ_CONCAT(&all, &r->waiting, throttled_link);
    while ((s = TAILQ_FIRST(&all))) {
        TAILQ_REMOVE(&all, s, throttled_link);
        s->throttled = false;
        if (has_room(s))
            line_session_wake(s);
        else
            wait_for_room(s);
    }
}

void line_rate_take(struct line_session *s)
{
    const struct config *c = s->server->host->cfg;
    int64_t now = clock_mono_us();
    if (c->line_rate)
        s->rate->full_us = CD_MAX(s->rate->full_us, now) + interval_us(c);
}

bool line_rate_room(struct line_session *s)
{
    if (s->throttled)
        return false;
    if (has_room(s))
        return true;
    metrics_inc(M_LINE_THROTTLED);
    wait_for_room(s);
    return false;
}

void line_rate_join(struct line_session *s, const char *client)
{
    struct line_rates *r = s->server->rates;

    s->rate = &s->own_rate;
    if (!client)
        return;
    for (size_t i = 0; i < r->n && s->rate == &s->own_rate; i++)
        if (str_eq(r->v[i]->client, client))
            s->rate = &r->v[i]->rate;
    if (s->rate != &s->own_rate)
        return;
    r->v = cd_realloc(r->v, (r->n + 1) * sizeof *r->v);
    r->v[r->n] = cd_alloc(sizeof **r->v);
    r->v[r->n]->client = cd_strdup(client);
    s->rate = &r->v[r->n++]->rate;
}

void line_rate_leave(struct line_session *s)
{
    if (s->throttled)
        TAILQ_REMOVE(&s->server->rates->waiting, s, throttled_link);
    s->throttled = false;
}

struct line_rates *line_rates_new(struct line_server *srv)
{
    struct line_rates *r = cd_alloc(sizeof *r);
    r->server = srv;
    TAILQ_INIT(&r->waiting);
    r->look = evtimer_new(srv->host->base, on_look, r);
    cd_assert(r->look);
    return r;
}

void line_rates_free(struct line_rates **pr)
{
    struct line_rates *r = *pr;
    if (!r)
        return;
    for (size_t i = 0; i < r->n; i++) {
        free(r->v[i]->client);
        free(r->v[i]);
    }
    free(r->v);
    event_free(r->look);
    free(r);
    *pr = NULL;
}

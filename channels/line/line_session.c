/* Sessions: bytes in, lines to the dispatcher, answers out in request order. A session is freed only from its own connection's
 * callbacks, in a turn of its own, or by drain and stop, never from inside a handler. */
#include "channels/line/line_session.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "channels/line/line_subscribe.h"
#include "channels/line/line_verbs.h"
#include "daemon/core/clock.h"
#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"

#define MAX_SLOTS (1u << 20)
#define TICK_US CD_MSEC(250)

/* ---- sessions ---- */

/* The list is in the order of these times. */
void line_session_touch(struct line_session *s)
{
    s->since_us = clock_mono_us();
    s->sent = s->conn.sent;
    TAILQ_REMOVE(&s->server->sessions, s, link);
    TAILQ_INSERT_TAIL(&s->server->sessions, s, link);
}

void line_session_wake(struct line_session *s)
{
    if (s->woken)
        return;
    s->woken = true;
    TAILQ_INSERT_TAIL(&s->server->woken, s, woken_link);
    event_active(s->server->wake, EV_TIMEOUT, 0);
}

/* A peer of a unix socket is who the kernel says, all the time. */
void line_session_forget(struct line_session *s)
{
    line_splitter_free(&s->split);
    line_splitter_init(&s->split, s->server->host->cfg->line_max_line_bytes);
    line_principal_set(s, NULL);
}

static void session_free(struct line_session *s)
{
    struct line_slot *slot;
    line_subscription_gone(s);
    while ((slot = TAILQ_FIRST(&s->queue)))
        line_slot_free(slot);
    log_event(LOG_L_DEBUG, EV_LINE_CLOSED, "peer=%s client=%s reason=%s", log_quote(s->peer),
              s->client ? log_quote(s->client) : "-", s->reason ? s->reason : "end");
    TAILQ_REMOVE(&s->server->sessions, s, link);
    if (s->woken)
        TAILQ_REMOVE(&s->server->woken, s, woken_link);
    line_tls_gone(s);
    line_rate_leave(s);
    s->server->nsessions--;
    metrics_set(M_LINE_OPEN, (int64_t)s->server->nsessions);
    line_splitter_free(&s->split);
    line_conn_free(&s->conn);
    line_principal_set(s, NULL);
    free(s);
}

void line_session_end(struct line_session *s, const char *reason)
{
    s->reason = reason;
    session_free(s);
}

bool line_session_full(const struct line_session *s)
{
    return s->nqueue >= s->server->host->cfg->line_max_in_flight || s->nreads >= LINE_MAX_READS || evbuffer_get_length(s->conn.out) > LINE_MAX_UNSENT;
}

static void take_line(struct line_session *s, const char *p, size_t n)
{
    line_subscription_end(s); /* the next request ends it, and is answered after it */
    struct line_slot *slot = line_slot_new(s);
    struct line_request rq;
    struct line_error err;

    line_session_touch(s);
    line_rate_take(s);
    if (line_parse(p, n, &rq, &err) < 0) {
        line_answer_err(slot, err.code, err.message, NULL, false);
        return;
    }
    enum verb_result r = line_dispatch(s, slot, &rq);
    cd_assert(slot->done == (r == VERB_DONE) && (slot->done || slot->waiting || slot->open));
    line_request_done(&rq);
}

/* Takes lines until the input is empty or the session may hold no more. */
static void take_lines(struct line_session *s)
{
    struct evbuffer *in = s->conn.in;
    size_t n;
    while (!s->closing && !s->starttls && (n = evbuffer_get_contiguous_space(in)) > 0) {
        line_session_flush(s);
        if (line_session_full(s) || !line_rate_room(s))
            break;
        const char *line = NULL;
        size_t used = 0, nline = 0;
        switch (line_split(&s->split, (const char *)evbuffer_pullup(in, (ev_ssize_t)n), n, &used, &line,
                           &nline)) {
        case LINE_READY:
            take_line(s, line, nline);
            break;
        case LINE_TOO_LONG:
            line_subscription_end(s);
            line_rate_take(s);
            line_answer_err(line_slot_new(s), "line-too-long", "the line is over the limit: its rest is skipped",
                            NULL, false);
            break;
        case LINE_NEED_MORE:
            break;
        }
        evbuffer_drain(in, used);
    }
}

/* Works off what can be worked off and decides what the session listens for. May free it; returns false then. */
static bool session_turn(struct line_session *s)
{
    if (s->conn.shaking) {
        bool over = s->closing || s->eof;
        if (over)
            session_free(s);
        return !over;
    }
    take_lines(s);
    if (s->eof && evbuffer_get_length(s->conn.in) == 0)
        line_subscription_finish(s);
    line_subscription_turn(s);
    line_session_flush(s);
    if (s->starttls && TAILQ_FIRST(&s->queue) == TAILQ_LAST(&s->queue, line_slot_list)) {
        line_tls_begin(s);
        if (s->conn.shaking)
            return true;
    }
    size_t unsent = evbuffer_get_length(s->conn.out);
    bool no_more_lines = s->closing || (s->eof && evbuffer_get_length(s->conn.in) == 0);
    if (no_more_lines && TAILQ_EMPTY(&s->queue) && unsent == 0) {
        session_free(s);
        return false;
    }
    line_conn_read(&s->conn, !s->closing && !s->eof && !s->starttls && !s->throttled && !line_session_full(s));
    return true;
}

static void on_input(void *arg)
{
    session_turn(arg);
}

static void on_drained(void *arg)
{
    session_turn(arg); /* there is room again, or the session ends */
}

static void on_secured(void *arg)
{
    struct line_session *s = arg;
    line_tls_secured(s);
    session_turn(s);
}

static void on_ended(void *arg, const char *error)
{
    struct line_session *s = arg;

    if (s->conn.shaking) {
        metrics_inc(M_LINE_TLS_FAILED);
        log_event(LOG_L_INFO, EV_LINE_TLS_FAILED, "peer=%s error=%s", log_quote(s->peer), log_quote(error ? error : "the peer is gone"));
        line_session_end(s, "handshake");
    } else if (error) {
        line_session_end(s, "error");
    } else {
        s->eof = true;
        s->reason = "eof";
        session_turn(s);
    }
}

static const struct line_conn_events conn_events = {
    .input = on_input, .drained = on_drained, .secured = on_secured, .ended = on_ended};

static void on_wake(evutil_socket_t fd CD_UNUSED, short what CD_UNUSED, void *arg)
{
    struct line_server *srv = arg;
    struct line_session_list all;
    struct line_session *s;

    TAILQ_INIT(&all);
    TAILQ_CONCAT(&all, &srv->woken, woken_link); /* who is woken meanwhile waits for the next turn */
    while ((s = TAILQ_FIRST(&all))) {
        TAILQ_REMOVE(&all, s, woken_link);
        s->woken = false;
        session_turn(s);
    }
}

/* ---- deadlines ---- */

/* Its time is up: it completed nothing, whatever bytes came. One that we owe an answer, or keep waiting, waits for us, and one that
 * reads its answers at a fair speed has as much time again. May free it. */
static void overdue(struct line_session *s, int64_t limit_us)
{
    size_t unsent = evbuffer_get_length(s->conn.out);
    uint64_t fair = (uint64_t)(limit_us / CD_SEC(1)) * LINE_MIN_RATE, sent = s->conn.sent - s->sent;
    bool owed = !TAILQ_EMPTY(&s->queue) && (!s->subscription || unsent == 0);

    if (s->conn.shaking || owed || s->throttled || (sent > 0 && sent >= fair)) {
        line_session_touch(s); /* a handshake has a limit of its own */
        return;
    }
    metrics_inc(M_LINE_TIMEOUT);
    if (unsent || s->closing) {
        line_session_end(s, "slow-reader");
        return;
    }
    line_answer_err(line_slot_new(s), "idle-timeout", "no request was completed for too long: closing", NULL, true);
    s->closing = true;
    s->reason = "idle";
    line_session_touch(s);
    session_turn(s);
}

static void on_tick(evutil_socket_t fd CD_UNUSED, short what CD_UNUSED, void *arg)
{
    struct line_server *srv = arg;
    const struct config *c = srv->host->cfg;
    bool tight = srv->host->gate(srv->host->front) != GATE_NORMAL;
    int64_t limit_us = tight ? CD_MIN(c->line_idle_timeout_us, c->intake_tight_timeout_us) : c->line_idle_timeout_us;
    int64_t now = clock_mono_us();
    struct line_session *s;

    line_tls_overdue(srv);
    line_subscriptions_tick(srv);
    while ((s = TAILQ_FIRST(&srv->sessions)) && now - s->since_us >= limit_us)
        overdue(s, limit_us);
}

/* ---- opening and closing ---- */

int line_server_init(struct line_server *s, const struct channel_host *host)
{
    const struct timeval tick = {.tv_usec = TICK_US};
    const struct config *c = host->cfg;
    uint64_t max = c->line_max_connections * c->line_max_in_flight;

    memset(s, 0, sizeof *s);
    s->host = host;
    TAILQ_INIT(&s->sessions);
    TAILQ_INIT(&s->woken);
    TAILQ_INIT(&s->shaking);
    s->rates = line_rates_new(s);
    s->slots = slots_new((uint32_t)CD_MAX(1, CD_MIN(max, MAX_SLOTS)));
    s->wake = event_new(host->base, -1, 0, on_wake, s);
    s->tick = event_new(host->base, -1, EV_PERSIST, on_tick, s);
    if (s->slots && s->wake && s->tick && event_add(s->tick, &tick) == 0)
        return 0;
    line_server_done(s);
    return CD_ENOMEM;
}

/* In the clear there is a word for it. */
static void refuse(int fd, bool tls, const char *why)
{
    struct buf b;
    buf_init(&b, 512);
    json_t *body = line_error_body("busy", why, NULL, true);
    line_put_err(&b, body);
    json_decref(body);
    metrics_inc(M_LINE_REFUSED);
    if (!tls)
        (void)!send(fd, b.data, b.len, MSG_DONTWAIT | MSG_NOSIGNAL);
    buf_free(&b);
    close(fd);
}

int line_session_open(struct line_server *srv, int fd, const struct line_peer *peer)
{
    const struct config *c = srv->host->cfg;

    if (srv->draining || srv->nsessions >= c->line_max_connections) {
        refuse(fd, peer->tls, srv->draining ? "shutting down" : "too many connections");
        return CD_ELIMIT;
    }
    struct line_session *s = cd_alloc(sizeof *s);
    if (line_conn_init(&s->conn, srv->host->base, fd, &conn_events, s) < 0) {
        refuse(fd, peer->tls, "out of memory");
        free(s);
        return CD_ENOMEM;
    }
    int one = 1;
    if (peer->uid < 0)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    s->server = srv;
    s->id = ++srv->last_id;
    s->unix_socket = peer->uid >= 0;
    s->local = peer->local || s->unix_socket;
    TAILQ_INIT(&s->queue);
    line_splitter_init(&s->split, c->line_max_line_bytes);
    (void)snprintf(s->peer, sizeof s->peer, "%s", peer->text);
    line_principal_of_peer(s, peer->uid);
    TAILQ_INSERT_TAIL(&srv->sessions, s, link);
    srv->nsessions++;
    metrics_inc(M_LINE_CONNECTIONS);
    metrics_set(M_LINE_OPEN, (int64_t)srv->nsessions);
    s->since_us = clock_mono_us();
    if (peer->tls)
        line_tls_expect(s);
    else
        line_conn_read(&s->conn, true);
    return 0;
}

void line_server_reloaded(struct line_server *srv)
{
    struct line_session *s;
    TAILQ_FOREACH(s, &srv->sessions, link)
    {
        if (!s->by_token || s->closing)
            continue;
        if (!line_principal_refresh(s)) {
            line_subscription_end(s);
            s->closing = true;
            s->reason = "revoked";
        } else if (!line_may_follow(s)) {
            line_subscription_end(s);
        } else {
            continue;
        }
        line_session_wake(s);
    }
}

void line_server_drain(struct line_server *srv)
{
    srv->draining = true;
    struct line_session *s, *next;
    for (s = TAILQ_FIRST(&srv->sessions); s; s = next) {
        next = TAILQ_NEXT(s, link);
        s->since_us = clock_mono_us(); /* of all, so their order stays */
        line_subscription_end(s);
        s->closing = true;
        s->reason = "drain";
        session_turn(s);
    }
}

void line_server_done(struct line_server *srv)
{
    struct line_session *s;
    while ((s = TAILQ_FIRST(&srv->sessions))) {
        s->reason = "stop";
        session_free(s);
    }
    line_rates_free(&srv->rates);
    slots_free(&srv->slots);
    if (srv->wake)
        event_free(srv->wake);
    if (srv->tick)
        event_free(srv->tick);
    srv->wake = srv->tick = NULL;
}

/* Sessions: bytes in, lines to the dispatcher, answers out in request order. A session is freed only from its
 * own bufferevent's callbacks, or by drain and stop, never from inside a handler. Outcomes find their slot by
 * {slot, generation}, so that one for a session that has gone is a counted no-op. */
#include "channels/line/line_session.h"

#include <event2/buffer.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "channels/line/line_verbs.h"
#include "daemon/core/clock.h"
#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"

#define MAX_SLOTS (1u << 20)
#define TICK_US CD_MSEC(250)

/* ---- slots ---- */

static struct line_slot *slot_new(struct line_session *s)
{
    struct line_slot *slot = cd_alloc(sizeof *slot);
    slot->session = s;
    buf_init(&slot->text, LINE_MAX_ANSWER);
    TAILQ_INSERT_TAIL(&s->queue, slot, link);
    s->nqueue++;
    return slot;
}

static void slot_free(struct line_slot *slot)
{
    struct line_session *s = slot->session;
    if (slot->waiting)
        slots_release(s->server->slots, slot->ack);
    TAILQ_REMOVE(&s->queue, slot, link);
    s->nqueue--;
    buf_free(&slot->text);
    free(slot);
}

int line_slot_wait(struct line_slot *slot)
{
    int r = slots_take(slot->session->server->slots, slot, &slot->ack);
    if (r < 0)
        return r;
    slot->ack.channel = CH_LINE;
    slot->waiting = true;
    return 0;
}

void line_slot_cancel(struct line_slot *slot)
{
    slots_release(slot->session->server->slots, slot->ack);
    slot->waiting = false;
}

static void slot_done(struct line_slot *slot)
{
    if (slot->text.failed) {
        buf_reset(&slot->text);
        json_t *body =
            line_error_body("too-large", "the answer is over the limit: ask for less", NULL, false);
        line_put_err(&slot->text, body);
        json_decref(body);
    }
    slot->done = true;
}

void line_answer_ok(struct line_slot *slot, json_t *body)
{
    line_put_ok(&slot->text, body);
    json_decref(body);
    slot_done(slot);
}

void line_answer_err(struct line_slot *slot, const char *code, const char *message, const char *field,
                     bool retry)
{
    json_t *body = line_error_body(code, message, field, retry);
    metrics_inc(M_LINE_ERRORS);
    line_put_err(&slot->text, body);
    json_decref(body);
    slot_done(slot);
}

/* ---- sessions ---- */

/* Something was completed, so its time begins anew; the list is in the order of these times. */
static void touch(struct line_session *s)
{
    s->since_us = clock_mono_us();
    s->unsent = evbuffer_get_length(bufferevent_get_output(s->bev));
    TAILQ_REMOVE(&s->server->sessions, s, link);
    TAILQ_INSERT_TAIL(&s->server->sessions, s, link);
}

static void session_free(struct line_session *s)
{
    struct line_slot *slot;
    while ((slot = TAILQ_FIRST(&s->queue)))
        slot_free(slot);
    log_event(LOG_L_DEBUG, EV_LINE_CLOSED, "peer=%s client=%s reason=%s", log_quote(s->peer),
              s->client ? log_quote(s->client) : "-", s->reason ? s->reason : "end");
    TAILQ_REMOVE(&s->server->sessions, s, link);
    if (s->woken)
        TAILQ_REMOVE(&s->server->woken, s, woken_link);
    s->server->nsessions--;
    metrics_set(M_LINE_OPEN, (int64_t)s->server->nsessions);
    line_splitter_free(&s->split);
    bufferevent_free(s->bev);
    free(s->client);
    free(s->desk);
    free(s);
}

static void flush(struct line_session *s)
{
    struct evbuffer *out = bufferevent_get_output(s->bev);
    struct line_slot *slot;
    while ((slot = TAILQ_FIRST(&s->queue)) && slot->done) {
        if (evbuffer_add(out, slot->text.data, slot->text.len) != 0) {
            s->closing = true;
            s->reason = "memory";
        }
        slot_free(slot);
    }
}

static bool full(const struct line_session *s)
{
    return s->nqueue >= s->server->host->cfg->line_max_in_flight ||
           evbuffer_get_length(bufferevent_get_output(s->bev)) > LINE_MAX_UNSENT;
}

static void take_line(struct line_session *s, const char *p, size_t n)
{
    struct line_slot *slot = slot_new(s);
    struct line_request rq;
    struct line_error err;

    touch(s);
    if (line_parse(p, n, &rq, &err) < 0) {
        line_answer_err(slot, err.code, err.message, NULL, false);
        return;
    }
    enum verb_result r = line_dispatch(s, slot, &rq);
    cd_assert(slot->done == (r == VERB_DONE) && (slot->done || slot->waiting));
    line_request_done(&rq);
}

/* Takes lines until the input is empty or the session may hold no more. */
static void take_lines(struct line_session *s)
{
    struct evbuffer *in = bufferevent_get_input(s->bev);
    size_t n;
    while (!s->closing && (n = evbuffer_get_contiguous_space(in)) > 0) {
        flush(s);
        if (full(s))
            break;
        const char *line = NULL;
        size_t used = 0, nline = 0;
        switch (line_split(&s->split, (const char *)evbuffer_pullup(in, (ev_ssize_t)n), n, &used, &line,
                           &nline)) {
        case LINE_READY:
            take_line(s, line, nline);
            break;
        case LINE_TOO_LONG:
            line_answer_err(slot_new(s), "line-too-long", "the line is over the limit: its rest is skipped",
                            NULL, false);
            break;
        case LINE_NEED_MORE:
            break;
        }
        evbuffer_drain(in, used);
    }
}

/* Works off what can be worked off and decides what the session listens for. May free it; returns false then.
 */
static bool session_turn(struct line_session *s)
{
    take_lines(s);
    flush(s);
    size_t unsent = evbuffer_get_length(bufferevent_get_output(s->bev));
    bool no_more_lines = s->closing || (s->eof && evbuffer_get_length(bufferevent_get_input(s->bev)) == 0);
    if (no_more_lines && TAILQ_EMPTY(&s->queue) && unsent == 0) {
        session_free(s);
        return false;
    }
    if (s->closing || s->eof || full(s))
        bufferevent_disable(s->bev, EV_READ);
    else
        bufferevent_enable(s->bev, EV_READ);
    return true;
}

static void on_read(struct bufferevent *bev CD_UNUSED, void *arg)
{
    session_turn(arg);
}

static void on_write(struct bufferevent *bev CD_UNUSED, void *arg)
{
    session_turn(arg); /* the output is empty: there is room again, or the session ends */
}

static void on_event(struct bufferevent *bev CD_UNUSED, short what, void *arg)
{
    struct line_session *s = arg;

    if (!(what & BEV_EVENT_EOF)) {
        s->reason = "error";
        session_free(s);
        return;
    }
    s->eof = true;
    s->reason = "eof";
    session_turn(s);
}

/* An outcome has arrived. Only answers leave now: session_turn may submit further requests, which the ack
 * interface forbids inside a call from the store, so that waits for the loop. */
static void after_outcome(struct line_session *s)
{
    flush(s);
    touch(s);
    if (s->woken)
        return;
    s->woken = true;
    TAILQ_INSERT_TAIL(&s->server->woken, s, woken_link);
    event_active(s->server->wake, EV_TIMEOUT, 0);
}

void line_on_ack(void *server, struct ack a, const struct ack_result *r)
{
    struct line_server *srv = server;
    struct line_slot *slot = slots_get(srv->slots, a);
    if (!slot || !slot->submit)
        return;
    line_slot_cancel(slot);
    line_answer_submit(slot, r);
    after_outcome(slot->session);
}

void line_on_reply(struct line_server *srv, struct ack a, const struct reply *r)
{
    struct line_slot *slot = slots_get(srv->slots, a);
    size_t i;
    json_t *row;

    if (!slot || slot->submit)
        return;
    line_slot_cancel(slot);
    json_array_foreach(r->rows, i, row)
        line_put_row(&slot->text, row);
    if (r->ok) {
        line_put_ok(&slot->text, r->body);
    } else {
        metrics_inc(M_LINE_ERRORS);
        line_put_err(&slot->text, r->body);
    }
    slot_done(slot);
    after_outcome(slot->session);
}

static void on_wake(evutil_socket_t fd CD_UNUSED, short what CD_UNUSED, void *arg)
{
    struct line_server *srv = arg;
    struct line_session *s;
    while ((s = TAILQ_FIRST(&srv->woken))) {
        TAILQ_REMOVE(&srv->woken, s, woken_link);
        s->woken = false;
        session_turn(s);
    }
}

/* ---- deadlines ---- */

/* Its time is up: it completed nothing, whatever bytes came. One that we owe an answer waits for us, and one that reads its answers
 * at a fair speed has as much time again. May free it. */
static void overdue(struct line_session *s, int64_t limit_us)
{
    size_t unsent = evbuffer_get_length(bufferevent_get_output(s->bev));
    size_t fair = (size_t)(limit_us / CD_SEC(1)) * LINE_MIN_RATE;

    if (!TAILQ_EMPTY(&s->queue) || (s->unsent > unsent && s->unsent - unsent >= fair)) {
        touch(s);
        return;
    }
    metrics_inc(M_LINE_TIMEOUT);
    if (unsent || s->closing) {
        s->reason = "slow-reader";
        session_free(s);
        return;
    }
    line_answer_err(slot_new(s), "idle-timeout", "no request was completed for too long: closing", NULL, true);
    s->closing = true;
    s->reason = "idle";
    touch(s);
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
    s->slots = slots_new((uint32_t)CD_MAX(1, CD_MIN(max, MAX_SLOTS)));
    s->wake = event_new(host->base, -1, 0, on_wake, s);
    s->tick = event_new(host->base, -1, EV_PERSIST, on_tick, s);
    if (s->slots && s->wake && s->tick && event_add(s->tick, &tick) == 0)
        return 0;
    line_server_done(s);
    return CD_ENOMEM;
}

static void refuse(int fd, const char *why)
{
    struct buf b;
    buf_init(&b, 512);
    json_t *body = line_error_body("busy", why, NULL, true);
    line_put_err(&b, body);
    json_decref(body);
    metrics_inc(M_LINE_REFUSED);
    (void)!send(fd, b.data, b.len, MSG_DONTWAIT | MSG_NOSIGNAL);
    buf_free(&b);
    close(fd);
}

static void set_principal(struct line_session *s, long uid)
{
    if (uid < 0 || (uid != 0 && uid != (long)geteuid()))
        return;
    s->role = ROLE_ADMIN;
    s->client = cd_asprintf("@uid%ld", uid); /* no client of the configuration can have this name */
}

int line_session_open(struct line_server *srv, int fd, const char *peer, long uid)
{
    const struct config *c = srv->host->cfg;

    if (srv->draining || srv->nsessions >= c->line_max_connections) {
        refuse(fd, srv->draining ? "shutting down" : "too many connections");
        return CD_ELIMIT;
    }
    struct bufferevent *bev = bufferevent_socket_new(srv->host->base, fd, BEV_OPT_CLOSE_ON_FREE);
    if (!bev) {
        refuse(fd, "out of memory");
        return CD_ENOMEM;
    }
    int one = 1;
    if (uid < 0)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct line_session *s = cd_alloc(sizeof *s);
    s->server = srv;
    s->bev = bev;
    TAILQ_INIT(&s->queue);
    line_splitter_init(&s->split, c->line_max_line_bytes);
    (void)snprintf(s->peer, sizeof s->peer, "%s", peer);
    set_principal(s, uid);
    TAILQ_INSERT_TAIL(&srv->sessions, s, link);
    srv->nsessions++;
    metrics_inc(M_LINE_CONNECTIONS);
    metrics_set(M_LINE_OPEN, (int64_t)srv->nsessions);
    bufferevent_setcb(bev, on_read, on_write, on_event, s);
    bufferevent_setwatermark(bev, EV_READ, 0, CD_KIB(64));
    s->since_us = clock_mono_us();
    bufferevent_enable(bev, EV_READ | EV_WRITE);
    return 0;
}

void line_server_drain(struct line_server *srv)
{
    srv->draining = true;
    struct line_session *s, *next;
    for (s = TAILQ_FIRST(&srv->sessions); s; s = next) {
        next = TAILQ_NEXT(s, link);
        s->since_us = clock_mono_us(); /* of all, so their order stays */
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
    slots_free(&srv->slots);
    if (srv->wake)
        event_free(srv->wake);
    if (srv->tick)
        event_free(srv->tick);
    srv->wake = srv->tick = NULL;
}

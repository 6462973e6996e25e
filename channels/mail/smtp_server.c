/* The server: what its sessions share, the tick that ends those whose deadline passed, and the end of
 * everything. Owns the sessions, listeners and events. Start-up faults are logged with what to do and
 * returned; later nothing here can fail. */
#include "channels/mail/smtp.h"

#include "daemon/core/clock.h"
#include "daemon/core/err.h"
#include "daemon/core/log.h"

void smtp_deadline_set(struct smtp_session *s, enum smtp_deadline kind)
{
    struct smtp_server *srv = s->srv;
    TAILQ_REMOVE(&srv->timed[s->deadline], s, timed);
    s->deadline = kind;
    s->since_us = clock_mono_us();
    TAILQ_INSERT_TAIL(&srv->timed[kind], s, timed);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct smtp_server *srv = arg;
    (void)fd;
    (void)what;
    int64_t now = clock_mono_us();
    smtp_stress_update(srv); /* the gate may have changed */
    smtp_answers_expire(srv, now);
    smtp_doors_expire(srv, now);
    smtp_expire(srv, now);
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
    struct smtp_server *srv = arg;
    struct smtp_session *s;
    (void)fd;
    (void)what;
    while ((s = TAILQ_FIRST(&srv->resume))) {
        TAILQ_REMOVE(&srv->resume, s, resume);
        s->resuming = false;
        smtp_session_resume(s);
    }
}

static void sweep(struct smtp_server *srv)
{
    struct smtp_session *s;
    while ((s = TAILQ_FIRST(&srv->dead))) {
        TAILQ_REMOVE(&srv->dead, s, all);
        smtp_session_free(s);
    }
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    sweep(arg);
}

static void make_texts(struct smtp_server *srv)
{
    const struct config *cfg = srv->cfg;
    free(srv->greeting);
    free(srv->lmtp_greeting);
    srv->greeting = cd_asprintf("220 %s ESMTP complaintd\r\n", cfg->hostname);
    srv->lmtp_greeting = cd_asprintf("220 %s LMTP complaintd\r\n", cfg->hostname);
}

static int start_tick(struct smtp_server *srv)
{
    int64_t us = smtp_tick_us(srv);
    struct timeval tv = {.tv_sec = us / CD_SEC(1), .tv_usec = us % CD_SEC(1)};
    return event_add(srv->tick, &tv) < 0 ? CD_EIO : 0;
}

static int start_events(struct smtp_server *srv)
{
    struct event_base *base = srv->host->base;
    srv->tick = event_new(base, -1, EV_PERSIST, on_tick, srv);
    srv->resume_ev = event_new(base, -1, 0, on_resume, srv);
    srv->sweep_ev = event_new(base, -1, 0, on_sweep, srv);
    if (!srv->tick || !srv->resume_ev || !srv->sweep_ev)
        return CD_ENOMEM;
    return start_tick(srv);
}

int smtp_server_new(const struct channel_host *host, struct smtp_server **ret)
{
    struct smtp_server *srv = cd_alloc(sizeof *srv);
    srv->host = host;
    srv->cfg = host->cfg;
    TAILQ_INIT(&srv->sessions);
    TAILQ_INIT(&srv->dead);
    TAILQ_INIT(&srv->resume);
    for (unsigned k = 0; k < DEADLINE_COUNT; k++)
        TAILQ_INIT(&srv->timed[k]);
    TAILQ_INIT(&srv->waiting);
    TAILQ_INIT(&srv->doors);
    buf_init(&srv->replies, SMTP_REPLIES_CAP);
    srv->slots = slots_new(SMTP_MAX_SLOTS);
    smtp_peers_new(srv);
    make_texts(srv);
    int r = start_events(srv);
    if (!r)
        r = smtp_listen_open(srv);
    if (r < 0) {
        log_event(LOG_L_ERROR, EV_SMTP_START_FAILED, "error=%s", log_quote(cd_strerror(r)));
        smtp_server_free(&srv);
        return r;
    }
    ack_register(CH_MAIL, smtp_on_ack, srv);
    *ret = srv;
    return 0;
}

void smtp_server_reloaded(struct smtp_server *srv)
{
    make_texts(srv);
    (void)start_tick(srv); /* else it ticks as before */
    smtp_stress_update(srv);
}

void smtp_server_drain(struct smtp_server *srv)
{
    srv->draining = true;
    smtp_listen_close(srv);
    struct smtp_session *s = TAILQ_FIRST(&srv->sessions), *next;
    for (; s; s = next) {
        next = TAILQ_NEXT(s, all);
        smtp_session_settle(s);
    }
}

bool smtp_server_idle(const struct smtp_server *srv)
{
    return srv->nsessions == 0;
}

void smtp_server_free(struct smtp_server **psrv)
{
    struct smtp_server *srv = *psrv;
    if (!srv)
        return;
    ack_register(CH_MAIL, NULL, NULL);
    smtp_listen_close(srv);
    struct smtp_session *s;
    while ((s = TAILQ_FIRST(&srv->sessions)))
        smtp_close(s);
    sweep(srv);
    if (srv->tick)
        event_free(srv->tick);
    if (srv->resume_ev)
        event_free(srv->resume_ev);
    if (srv->sweep_ev)
        event_free(srv->sweep_ev);
    slots_free(&srv->slots);
    smtp_peers_free(srv);
    buf_free(&srv->replies);
    free(srv->greeting);
    free(srv->lmtp_greeting);
    free(srv);
    *psrv = NULL;
}

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

static void expire(struct smtp_server *srv, enum smtp_deadline kind, int64_t now)
{
    struct smtp_session *s;
    while ((s = TAILQ_FIRST(&srv->timed[kind])) && now - s->since_us >= srv->duration_us[kind])
        smtp_session_expired(s); /* closes it, which takes it off the list */
}

/* What has come of a message buys its sender time, so that an honest one on a slow line is not cut off in the middle. */
static int64_t bought_us(const struct smtp_session *s)
{
    return s->deadline == DEADLINE_DATA ? (int64_t)(s->dots.bytes * (uint64_t)CD_SEC(1) / SMTP_TIGHT_RATE) : 0;
}

/* The same under the short deadlines of a gate that is not normal. */
static void expire_tight(struct smtp_server *srv, enum smtp_deadline kind, int64_t now)
{
    struct smtp_session *s = TAILQ_FIRST(&srv->timed[kind]), *next;
    int64_t limit = srv->cfg->intake_tight_timeout_us;
    for (; s && now - s->since_us >= limit; s = next) {
        next = TAILQ_NEXT(s, timed);
        if (now - s->since_us >= limit + bought_us(s))
            smtp_session_expired(s);
    }
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct smtp_server *srv = arg;
    int64_t now = clock_mono_us();
    (void)fd;
    (void)what;
    smtp_answers_expire(srv, now);
    smtp_doors_expire(srv, now);
    expire(srv, DEADLINE_COMMAND, now);
    expire(srv, DEADLINE_DATA, now);
    expire(srv, DEADLINE_HANDSHAKE, now);
    if (srv->host->gate(srv->host->front) == GATE_NORMAL)
        return;
    expire_tight(srv, DEADLINE_COMMAND, now);
    expire_tight(srv, DEADLINE_DATA, now);
    expire_tight(srv, DEADLINE_HANDSHAKE, now);
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
    srv->greeting = cd_asprintf("220 %s ESMTP complaintd\r\n", cfg->hostname);
    srv->lmtp_greeting = cd_asprintf("220 %s LMTP complaintd\r\n", cfg->hostname);
}

static int start_events(struct smtp_server *srv)
{
    struct event_base *base = srv->host->base;
    srv->tick = event_new(base, -1, EV_PERSIST, on_tick, srv);
    srv->resume_ev = event_new(base, -1, 0, on_resume, srv);
    srv->sweep_ev = event_new(base, -1, 0, on_sweep, srv);
    if (!srv->tick || !srv->resume_ev || !srv->sweep_ev)
        return CD_ENOMEM;
    /* a quarter of the shortest deadline, so that none is overrun by much, and no oftener than needed */
    int64_t us = CD_MIN(srv->duration_us[DEADLINE_COMMAND], srv->duration_us[DEADLINE_DATA]);
    us = CD_MIN(us, srv->duration_us[DEADLINE_HANDSHAKE]);
    us = CD_MIN(CD_MIN(us, srv->cfg->mail_proxy_timeout_us), srv->cfg->intake_tight_timeout_us) / 4;
    us = CD_MAX(CD_MSEC(10), CD_MIN(CD_SEC(1), us));
    struct timeval tv = {.tv_sec = us / CD_SEC(1), .tv_usec = us % CD_SEC(1)};
    return event_add(srv->tick, &tv) < 0 ? CD_EIO : 0;
}

int smtp_server_new(const struct channel_host *host, struct smtp_server **ret)
{
    struct smtp_server *srv = cd_alloc(sizeof *srv);
    srv->host = host;
    srv->cfg = host->cfg;
    srv->duration_us[DEADLINE_COMMAND] = srv->cfg->mail_command_timeout_us;
    srv->duration_us[DEADLINE_HANDSHAKE] = srv->cfg->mail_tls_handshake_timeout_us;
    srv->duration_us[DEADLINE_DATA] = srv->duration_us[DEADLINE_OUTCOME] = srv->cfg->mail_data_timeout_us;
    TAILQ_INIT(&srv->sessions);
    TAILQ_INIT(&srv->dead);
    TAILQ_INIT(&srv->resume);
    for (unsigned k = 0; k < DEADLINE_COUNT; k++)
        TAILQ_INIT(&srv->timed[k]);
    TAILQ_INIT(&srv->waiting);
    TAILQ_INIT(&srv->doors);
    buf_init(&srv->replies, SMTP_REPLY_CAP + 2 * srv->cfg->mail_max_recipients * SMTP_ANSWER_BYTES);
    srv->slots = slots_new((uint32_t)CD_MIN(srv->cfg->mail_max_connections * srv->cfg->mail_max_pipelined, UINT32_MAX / 2));
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

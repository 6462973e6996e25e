/* Deadlines of sessions, and stress: when most connections are in use, or the intake is not normal, deadlines are short and errors
 * few, and idle sessions make room, so that those who bring mail still get in. It is entered and left by itself, with a distance between
 * the two. Owns nothing. */
#include "channels/mail/smtp.h"

#include "daemon/core/clock.h"
#include "daemon/core/log.h"

#define RATE_GRACE_US CD_MIN_US(1) /* of mail.min_rate, without stress */
#define IDLE_MIN_US CD_SEC(1)      /* who has been idle for less is not sent away for another */
#define IDLE_LOOKED_AT 64          /* of the sessions that have waited longest */

static bool tight(const struct smtp_server *srv)
{
    return srv->host->gate(srv->host->front) != GATE_NORMAL;
}

static bool should_stress(const struct smtp_server *srv)
{
    uint64_t percent = srv->stress ? srv->cfg->mail_stress_until : srv->cfg->mail_stress_at;
    if (tight(srv))
        return true;
    return srv->cfg->mail_stress_at && (srv->nsessions + srv->ndoors) * 100 >= srv->cfg->mail_max_connections * percent;
}

void smtp_stress_update(struct smtp_server *srv)
{
    bool stress = should_stress(srv);
    if (stress == srv->stress)
        return;
    srv->stress = stress;
    metrics_set(M_SMTP_STRESS, stress);
    if (stress)
        metrics_inc(M_SMTP_STRESS_TIMES);
    log_event(stress ? LOG_L_WARN : LOG_L_NOTICE, EV_SMTP_STRESS, "mode=%s connections=%zu max_connections=%llu gate=%s",
              stress ? "stress" : "normal", srv->nsessions, (unsigned long long)srv->cfg->mail_max_connections,
              gate_mode_name(srv->host->gate(srv->host->front)));
}

/* Of a command or a handshake. */
static int64_t shortened(const struct smtp_server *srv, int64_t us)
{
    if (srv->stress && !tight(srv))
        us = CD_MIN(us, srv->cfg->mail_stress_timeout_us);
    return tight(srv) ? CD_MIN(us, srv->cfg->intake_tight_timeout_us) : us;
}

static void expire(struct smtp_server *srv, enum smtp_deadline kind, int64_t limit, int64_t now)
{
    struct smtp_session *s;
    while ((s = TAILQ_FIRST(&srv->timed[kind])) && now - s->since_us >= limit)
        smtp_session_expired(s); /* closes it, which takes it off the list */
}

/* What has come of a message buys its sender time, so that an honest one on a slow line is not cut off in the middle. */
static bool data_too_slow(const struct smtp_session *s, int64_t elapsed)
{
    const struct config *cfg = s->srv->cfg;
    int64_t grace = s->srv->stress ? cfg->mail_stress_timeout_us : RATE_GRACE_US;
    int64_t bought = (int64_t)(s->dots.bytes * (uint64_t)CD_SEC(1) / SMTP_TIGHT_RATE);
    if (tight(s->srv) && elapsed >= cfg->intake_tight_timeout_us + bought)
        return true;
    if (!cfg->mail_min_rate || elapsed <= grace || s->dots.bytes >= cfg->mail_min_rate * (uint64_t)(elapsed - grace) / (uint64_t)CD_SEC(1))
        return false;
    metrics_inc(M_SMTP_LIMIT_RATE);
    return true;
}

static void expire_slow(struct smtp_server *srv, int64_t now)
{
    struct smtp_session *s = TAILQ_FIRST(&srv->timed[DEADLINE_DATA]), *next;
    for (; s; s = next) {
        next = TAILQ_NEXT(s, timed);
        if (data_too_slow(s, now - s->since_us))
            smtp_session_expired(s);
    }
}

void smtp_expire(struct smtp_server *srv, int64_t now)
{
    expire(srv, DEADLINE_COMMAND, shortened(srv, srv->cfg->mail_command_timeout_us), now);
    expire(srv, DEADLINE_HANDSHAKE, shortened(srv, srv->cfg->mail_tls_handshake_timeout_us), now);
    expire(srv, DEADLINE_DATA, srv->cfg->mail_data_timeout_us, now);
    expire_slow(srv, now);
}

/* A quarter of the shortest deadline, so that none is overrun by much, and no oftener than needed. */
int64_t smtp_tick_us(const struct smtp_server *srv)
{
    const struct config *cfg = srv->cfg;
    int64_t us = CD_MIN(cfg->mail_command_timeout_us, CD_MIN(cfg->mail_data_timeout_us, cfg->mail_tls_handshake_timeout_us));
    us = CD_MIN(us, cfg->mail_proxy_timeout_us);
    us = CD_MIN(us, CD_MIN(cfg->intake_tight_timeout_us, cfg->mail_stress_timeout_us)) / 4;
    return CD_MAX(CD_MSEC(10), CD_MIN(CD_SEC(1), us));
}

bool smtp_make_room(struct smtp_server *srv)
{
    int64_t now = clock_mono_us();
    struct smtp_session *s = TAILQ_FIRST(&srv->timed[DEADLINE_COMMAND]);
    for (unsigned i = 0; s && i < IDLE_LOOKED_AT && now - s->since_us >= IDLE_MIN_US; i++, s = TAILQ_NEXT(s, timed)) {
        if (s->trusted || s->ending || (s->state != SMTP_START && s->state != SMTP_READY))
            continue;
        metrics_inc(M_SMTP_EVICTED);
        smtp_reply_end(s, "421 4.3.2 Idle while others wait, please connect again", "evicted");
        smtp_flush(s);
        smtp_close(s);
        return true;
    }
    s = TAILQ_FIRST(&srv->timed[DEADLINE_HANDSHAKE]);
    if (!s || s->trusted || now - s->since_us < IDLE_MIN_US)
        return false;
    metrics_inc(M_SMTP_EVICTED);
    smtp_tls_failed(s, "idle while others wait");
    return true;
}

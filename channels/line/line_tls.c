/* TLS below a session: from the first byte, or by STARTTLS. Nothing that was said in the clear counts in the session that follows, and
 * nothing may have been sent behind STARTTLS before we answered it: who could write into the connection would have his words taken for
 * the client's. Handshakes have a deadline of their own. */
#include "channels/line/line_session.h"
#include "daemon/core/clock.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"

void line_tls_expect(struct line_session *s)
{
    s->shaking_us = clock_mono_us();
    TAILQ_INSERT_TAIL(&s->server->shaking, s, shaking_link);
    line_conn_secure(&s->conn, s->server->host->tls);
}

void line_tls_gone(struct line_session *s)
{
    if (s->conn.shaking)
        TAILQ_REMOVE(&s->server->shaking, s, shaking_link);
}

void line_tls_secured(struct line_session *s)
{
    TAILQ_REMOVE(&s->server->shaking, s, shaking_link);
    s->starttls = false;
    line_session_forget(s);
    metrics_inc(M_LINE_TLS_SESSIONS);
}

void line_tls_begin(struct line_session *s)
{
    struct line_slot *slot = TAILQ_FIRST(&s->queue);

    if (line_conn_something_behind(&s->conn) || s->split.pending.len) {
        metrics_inc(M_LINE_TLS_INJECTIONS);
        log_event(LOG_L_WARN, EV_LINE_STARTTLS_INJECTION, "peer=%s bytes=%zu", log_quote(s->peer), evbuffer_get_length(s->conn.in));
        evbuffer_drain(s->conn.in, evbuffer_get_length(s->conn.in));
        line_answer_err(slot, "tls-injection", "nothing may follow STARTTLS before its answer", NULL, false);
        s->starttls = false;
        s->closing = true;
        s->reason = "starttls-injection";
        line_session_flush(s);
        return;
    }
    line_answer_ok(slot, json_object());
    line_session_flush(s);
    line_tls_expect(s); /* the answer leaves in the clear, then the handshake begins */
}

void line_tls_overdue(struct line_server *srv)
{
    int64_t limit_us = srv->host->cfg->line_tls_handshake_timeout_us, now = clock_mono_us();
    struct line_session *s;

    while ((s = TAILQ_FIRST(&srv->shaking)) && now - s->shaking_us >= limit_us) {
        metrics_inc(M_LINE_TLS_TIMEOUT);
        log_event(LOG_L_INFO, EV_LINE_TLS_FAILED, "peer=%s error=timeout", log_quote(s->peer));
        line_session_end(s, "handshake-timeout");
    }
}

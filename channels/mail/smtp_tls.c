/* TLS below a session: STARTTLS (RFC 3207) and TLS from the first byte. A plain session pays a test of a NULL pointer for each read
 * and write; a handshake that has sent nothing yet has no TLS object. The session owns its struct tls_conn and gives it back in
 * smtp_close(). What a peer sends wrong ends its session, nothing more. */
#include "channels/mail/smtp.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/net/tls_conn.h"

ssize_t smtp_recv(struct smtp_session *s, void *p, size_t n)
{
    return s->tls ? tls_conn_recv(s->tls, p, n) : recv(s->fd, p, n, 0);
}

ssize_t smtp_send(struct smtp_session *s, const void *p, size_t n)
{
    if (s->shaking) { /* there is nobody yet who could read a reply */
        errno = EIO;
        return -1;
    }
    return s->tls ? tls_conn_send(s->tls, p, n) : send(s->fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void smtp_tls_more(struct smtp_session *s)
{
    if (!s->tls || s->shaking || s->paused || s->eof || s->state == SMTP_CLOSED)
        return;
    if (tls_conn_wants_write(s->tls))
        event_add(&s->write_ev, NULL);
    else if (tls_conn_pending(s->tls))
        event_active(&s->read_ev, EV_READ, 1);
}

void smtp_tls_failed(struct smtp_session *s, const char *why)
{
    log_event(LOG_L_INFO, EV_SMTP_TLS_FAILED, "peer=%s error=%s", s->peer_text, log_quote(why));
    smtp_close(s);
}

static void handshake_failed(struct smtp_session *s, const char *why)
{
    metrics_inc(M_SMTP_TLS_FAILED);
    smtp_tls_failed(s, why);
}

/* We say nothing after the last flight of the handshake (tickets are off), so a peer with Nagle's algorithm would hold its EHLO back
 * for the 40 ms that the kernel delays the acknowledgement. */
static void acknowledge_now(const struct smtp_session *s)
{
    const int on = 1;
    (void)setsockopt(s->fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
}

/* RFC 3207 4.2: nothing that was said in the clear is known any more. */
static void secured(struct smtp_session *s)
{
    bool implicit = !s->starttls;
    s->shaking = s->starttls = false;
    smtp_message_drop(s);
    s->helo[0] = '\0';
    s->esmtp = s->utf8 = s->skip_line = false;
    s->declared = 0;
    s->state = SMTP_START;
    s->progress = true;
    metrics_inc(M_SMTP_TLS_SESSIONS);
    if (implicit)
        smtp_greet(s);
    else
        acknowledge_now(s);
    smtp_session_settle(s);
    smtp_tls_more(s);
}

static void handshake(struct smtp_session *s)
{
    if (!s->tls)
        s->tls = tls_conn_new(s->srv->host->tls, s->fd);
    if (!s->tls) {
        handshake_failed(s, "no certificate, or no memory");
        return;
    }
    switch (tls_conn_handshake(s->tls)) {
    case TLS_STEP_DONE:
        secured(s);
        break;
    case TLS_STEP_READ:
        break;
    case TLS_STEP_WRITE:
        event_add(&s->write_ev, NULL);
        break;
    default:
        handshake_failed(s, tls_conn_error(s->tls));
    }
}

bool smtp_tls_readable(struct smtp_session *s)
{
    if (!s->shaking)
        return false;
    handshake(s);
    return true;
}

bool smtp_tls_writable(struct smtp_session *s)
{
    if (!s->shaking && !(s->tls && s->out.len == 0))
        return false;
    event_del(&s->write_ev);
    if (s->shaking)
        handshake(s);
    else if (!s->paused && !s->eof) /* it was reading that had to write */
        event_active(&s->read_ev, EV_READ, 1);
    return true;
}

bool smtp_tls_offered(const struct smtp_session *s)
{
    return !s->tls && tls_context(s->srv->host->tls);
}

void smtp_tls_command(struct smtp_session *s)
{
    if (!s->srv->cfg->ncertificates)
        smtp_reply(s, "502 5.5.1 Command not implemented");
    else if (s->tls)
        smtp_reply(s, "503 5.5.1 TLS is active already");
    else if (s->state == SMTP_START)
        smtp_reply(s, "503 5.5.1 Say EHLO first");
    else if (!tls_context(s->srv->host->tls))
        smtp_reply(s, "454 4.7.0 TLS not available now");
    else
        s->starttls = true;
}

/* What the peer has sent behind the line: in our buffer, or on its way to it. */
static bool something_behind(struct smtp_session *s)
{
    char c;
    return s->in.len || recv(s->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

void smtp_tls_begin(struct smtp_session *s)
{
    if (s->shaking || s->ending || s->state == SMTP_CLOSED)
        return;
    if (something_behind(s)) {
        metrics_inc(M_SMTP_TLS_INJECTIONS);
        log_event(LOG_L_WARN, EV_SMTP_STARTTLS_INJECTION, "peer=%s bytes=%zu", s->peer_text, s->in.len);
        buf_free(&s->in);
        smtp_reply_end(s, "554 5.5.0 Nothing may follow STARTTLS", "starttls-injection");
        return;
    }
    smtp_reply_raw(s, "220 2.0.0 Ready to start TLS\r\n");
    smtp_flush(s);
    if (s->state == SMTP_CLOSED)
        return;
    if (s->out.len) /* a peer that does not read is not going to shake hands either */
        handshake_failed(s, "the peer does not read");
    else
        smtp_tls_expect(s);
}

void smtp_tls_expect(struct smtp_session *s)
{
    s->shaking = true;
    s->progress = false;
    smtp_deadline_set(s, DEADLINE_HANDSHAKE);
}

char *smtp_tls_text(const struct smtp_session *s)
{
    char text[96];
    if (!s->tls)
        return NULL;
    tls_conn_describe(s->tls, text, sizeof text);
    return cd_strdup(text);
}

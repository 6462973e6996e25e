/* Replies: gathered in the server's scratch buffer while a session runs and written with one call when it has
 * nothing more to do, as RFC 2920 wishes. What the socket does not take moves to the session, which then
 * handles no further command until it is gone, so that a peer that never reads costs at most SMTP_REPLY_CAP.
 */
#include "channels/mail/smtp.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"

/* Behind a mail that has no answer yet a reply waits for it. */
void smtp_reply_raw(struct smtp_session *s, const char *text)
{
    struct smtp_pending *last = TAILQ_LAST(&s->pending, smtp_pendings);
    struct buf *r = last ? &last->held : &s->srv->replies;
    if (s->state == SMTP_CLOSED || s->ending)
        return;
    buf_append_str(r, text);
    cd_assert(!r->failed); /* flushed or stopped far below its cap, and no reply is long */
    if (last)
        s->held_bytes += strlen(text);
    else if (r->len >= SMTP_REPLY_FLUSH_BYTES)
        smtp_flush(s);
}

void smtp_reply_times(struct smtp_session *s, const char *line, unsigned times)
{
    if (s->state == SMTP_CLOSED || s->ending)
        return;
    for (unsigned i = 0; i < times && s->state != SMTP_CLOSED; i++) {
        smtp_reply_raw(s, line);
        smtp_reply_raw(s, "\r\n");
    }
    if (line[0] != '4' && line[0] != '5')
        return;
    smtp_told_refusal(s, line);
    if (line[0] == '4')
        metrics_inc(M_SMTP_TEMPFAIL);
    else
        smtp_count_error(s);
}

void smtp_reply(struct smtp_session *s, const char *line)
{
    smtp_reply_times(s, line, 1);
}

void smtp_replyf(struct smtp_session *s, const char *fmt, ...)
{
    char line[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    smtp_reply(s, line);
}

void smtp_reply_end(struct smtp_session *s, const char *line, const char *why)
{
    if (s->state == SMTP_CLOSED || s->ending)
        return;
    smtp_told_refusal(s, line);
    smtp_reply_raw(s, line);
    smtp_reply_raw(s, "\r\n");
    s->ending = s->cut = true;
    smtp_release(s);
    log_event(LOG_L_INFO, EV_SMTP_ENDED, "peer=%s state=%s why=%s mails=%u errors=%u junk=%u unknown_recipients=%u", s->peer_text,
              smtp_state_name(s->state), why, s->mails, s->errors, s->junk, s->unknown_recipients);
}

static void keep(struct smtp_session *s, const uint8_t *p, size_t n)
{
    if (!n)
        return;
    if (buf_append(&s->out, p, n) < 0) {
        smtp_close(s);
        return;
    }
    if (!s->held)
        event_add(&s->write_ev, NULL);
}

static ssize_t send_some(struct smtp_session *s, const uint8_t *p, size_t n)
{
    ssize_t sent = smtp_send(s, p, n);
    if (sent >= 0)
        return sent;
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
        return 0;
    return CD_EIO;
}

void smtp_flush(struct smtp_session *s)
{
    struct buf *r = &s->srv->replies;
    if (r->len && s->state != SMTP_CLOSED) {
        ssize_t sent = s->out.len || s->held ? 0 : send_some(s, r->data, r->len);
        if (sent < 0)
            smtp_close(s);
        else
            keep(s, r->data + sent, r->len - (size_t)sent);
    }
    buf_reset(r);
}

void smtp_flush_out(struct smtp_session *s)
{
    ssize_t sent = send_some(s, s->out.data, s->out.len);
    if (sent < 0) {
        smtp_close(s);
        return;
    }
    buf_consume(&s->out, (size_t)sent);
    if (s->out.len == 0) {
        buf_free(&s->out);
        event_del(&s->write_ev);
    }
}

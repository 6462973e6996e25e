/* DATA: the gate before it, the trace fields, the content and its end. The message is written once, straight into the envelope
 * that leaves with it. What is handed over is answered in smtp_answer.c, what is refused here. */
#include "channels/mail/smtp.h"

#include <stdio.h>
#include <string.h>

#include "daemon/core/clock.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/intake/keys.h"

#define FIRST_BYTES CD_KIB(4)          /* room made for a message that declared no size */
#define DECLARED_MAX_BYTES CD_KIB(256) /* believed of a declared size before anything has come */

/* Counts the bytes of this session's message anew: at the server and at the gate. */
static void count_bytes(struct smtp_session *s, size_t now)
{
    struct smtp_server *srv = s->srv;
    if (now > s->reading_bytes)
        gate_read(now - s->reading_bytes);
    else if (now < s->reading_bytes)
        gate_unread(s->reading_bytes - now);
    srv->reading_bytes += now - s->reading_bytes;
    if (s->peer)
        smtp_peer_read(s->peer, s->reading_bytes, now);
    s->reading_bytes = now;
}

void smtp_message_drop(struct smtp_session *s)
{
    if (!s->env)
        return;
    if (s->told.refused)
        smtp_log_refused(s, s->env->sender);
    count_bytes(s, 0);
    envelope_free(&s->env);
}

bool smtp_too_large_now(const struct smtp_session *s, uint64_t bytes)
{
    const struct channel_host *host = s->srv->host;
    if (host->gate(host->front) == GATE_NORMAL || bytes < s->srv->cfg->intake_large_bytes)
        return false;
    metrics_inc(M_SMTP_LIMIT_LARGE);
    return true;
}

void smtp_reply_busy(struct smtp_session *s, const char *line)
{
    metrics_inc(M_INTAKE_BUSY_MAIL);
    smtp_reply(s, line);
    smtp_count_busy(s);
}

/* RFC 5321 4.4. The id is the one that the 250 carries: what operators search for. */
static int write_trace(struct smtp_session *s)
{
    struct envelope *e = s->env;
    char date[CLOCK_TEXT_SIZE], id[UUID_TEXT_SIZE];
    size_t want = s->declared ? CD_MIN(s->declared, DECLARED_MAX_BYTES) : FIRST_BYTES;
    e->id = uuid_new();
    uuid_format(&e->id, id);
    clock_format_mail(clock_service_us(), date);
    buf_reset(&e->raw);
    int r = buf_reserve(&e->raw, CD_MIN(want, s->srv->cfg->mail_max_message_bytes) + SMTP_TRACE_BYTES);
    if (r < 0)
        return r;
    const char *family = strchr(s->peer_text, ':') ? "IPv6:" : "";
    bool local = strcmp(s->peer_text, SMTP_PEER_UNIX) == 0;
    e->tls = smtp_tls_text(s);
    snprintf(s->told.tls, sizeof s->told.tls, "%s", e->tls ? e->tls : "");
    r = local ? buf_printf(&e->raw, "Return-Path: <%s>\r\nReceived: from %s (local)\r\n", e->sender, s->helo)
              : buf_printf(&e->raw, "Return-Path: <%s>\r\nReceived: from %s ([%s%s])\r\n", e->sender, s->helo, family, s->peer_text);
    if (!r && e->tls)
        r = buf_printf(&e->raw, "\t(using %s)\r\n", e->tls);
    if (!r)
        r = buf_printf(&e->raw, "\tby %s with %s id %s;\r\n\t%s\r\n", s->srv->cfg->hostname, smtp_protocol(s, s->utf8), id, date);
    s->trace_bytes = e->raw.len;
    return r;
}

void smtp_data_begin(struct smtp_session *s)
{
    const struct channel_host *host = s->srv->host;
    const struct config *cfg = s->srv->cfg;
    enum gate_mode mode = host->gate(host->front);
    if (mode == GATE_SHED) {
        metrics_inc(M_SMTP_LIMIT_SHED);
        smtp_reply_busy(s, "451 4.3.1 Too busy, try again later");
        return;
    }
    if (!host->ready(host->front, (size_t)CD_MIN(s->declared, cfg->mail_max_message_bytes))) {
        smtp_reply_busy(s, "452 4.3.1 Too busy to take this message, try again later");
        return;
    }
    if (write_trace(s) < 0) {
        smtp_reply_busy(s, "452 4.3.1 No memory for this message, try again later");
        return;
    }
    smtp_dots_init(&s->dots, cfg->mail_max_message_bytes,
                   (cfg->mail_reject_bare_lf ? DOTS_BARE_LF : 0) | (cfg->mail_reject_bare_cr ? DOTS_BARE_CR : 0) |
                       (cfg->mail_reject_nul ? DOTS_NUL : 0));
    s->small_only = mode != GATE_NORMAL;
    s->content = (struct smtp_content){0};
    s->content_fault = SMTP_CONTENT_FINE;
    s->state = SMTP_DATA;
    smtp_reply_raw(s, "354 End data with <CR><LF>.<CR><LF>\r\n");
}

/* The reply that refuses what was read, or NULL. */
static const char *refusal(struct smtp_session *s)
{
    const struct smtp_dots *d = &s->dots;
    if (d->nul && (d->refuse & DOTS_NUL))
        return "550 5.6.0 Message contains NUL";
    if (d->bare_cr && (d->refuse & DOTS_BARE_CR))
        return "550 5.5.2 Message contains a bare CR";
    if (d->bare_lf && (d->refuse & DOTS_BARE_LF))
        return "550 5.5.2 Message contains a bare LF";
    if (d->over) {
        metrics_inc(M_SMTP_LIMIT_SIZE);
        return "552 5.3.4 Message too large";
    }
    if (d->no_memory)
        return "452 4.3.1 Too busy for a message of this size, try again later";
    return smtp_content_refusal(s);
}

static void hand_over(struct smtp_session *s)
{
    struct envelope *e = s->env;
    e->received_at_us = clock_service_us();
    e->notes = (s->dots.bare_lf ? NOTE_BARE_LF : 0) | (s->dots.bare_cr ? NOTE_BARE_CR : 0) | (s->dots.nul ? NOTE_NUL : 0);
    keys_of_mail(e->raw.data + s->trace_bytes, e->raw.len - s->trace_bytes, &e->key, e->digest);
    gate_hand_over(s->reading_bytes); /* the front counts them from now on */
    s->srv->reading_bytes -= s->reading_bytes;
    if (s->peer)
        smtp_peer_read(s->peer, s->reading_bytes, 0);
    s->reading_bytes = 0;
    if (smtp_hand_over(s) == 0)
        return;
    gate_unread(0);
    metrics_inc(M_INTAKE_BUSY_MAIL);
    smtp_reply_times(s, "451 4.3.0 Cannot keep this message safely now, try again later", smtp_answer_lines(s, &s->told));
    smtp_message_drop(s);
    smtp_count_busy(s);
}

static void data_end(struct smtp_session *s)
{
    const char *no = refusal(s);
    s->progress = true;
    s->state = SMTP_READY;
    s->told.bytes = s->dots.bytes;
    if (s->dots.bare_lf)
        metrics_inc(M_SMTP_BARE_LF);
    if (!no) {
        hand_over(s);
        return;
    }
    if (no[0] == '4')
        metrics_inc(M_INTAKE_BUSY_MAIL);
    smtp_reply_times(s, no, smtp_answer_lines(s, &s->told));
    smtp_message_drop(s);
    if (no[0] == '4')
        smtp_count_busy(s);
}

/* Keeps the bytes being read, over all sessions, and those in flight under the intake's budget. A message that goes over it is
 * thrown away at once and refused at its end. */
static void account(struct smtp_session *s)
{
    if (smtp_dots_faulty(&s->dots))
        buf_free(&s->env->raw);
    count_bytes(s, s->env->raw.len);
    if (smtp_dots_faulty(&s->dots))
        return;
    if (s->small_only && s->env->raw.len >= s->srv->cfg->intake_large_bytes)
        metrics_inc(M_SMTP_LIMIT_LARGE);
    else if (!gate_within())
        metrics_inc(M_SMTP_LIMIT_MEMORY);
    else if (s->peer && !smtp_peer_within(s->srv, s->peer))
        metrics_inc(M_SMTP_LIMIT_SHARE);
    else
        return;
    s->dots.no_memory = true;
    account(s);
}

size_t smtp_data_feed(struct smtp_session *s, const uint8_t *p, size_t n)
{
    size_t used;
    bool end = smtp_dots_feed(&s->dots, p, n, &s->env->raw, &used);
    smtp_content_check(s);
    account(s);
    if (end)
        data_end(s);
    return used;
}

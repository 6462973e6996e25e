/* What a session may do: whose turn it is to talk, errors, commands that lead nowhere, recipients who do not exist, the shape of a
 * message. A delay holds the session: what is to be said and what was sent stay where they are until a timer of its own lets go;
 * nothing else waits for it. None of this holds for trusted clients, the shape of messages excepted. */
#include "channels/mail/smtp.h"

#include "daemon/core/log.h"

/* ---- delays ---- */

static void on_hold_over(evutil_socket_t fd, short what, void *arg)
{
    struct smtp_session *s = arg;
    (void)fd;
    (void)what;
    s->ungreeted = false;
    smtp_release(s);
    smtp_flush_out(s);
    if (s->state == SMTP_CLOSED)
        return;
    if (s->out.len)
        event_add(&s->write_ev, NULL);
    else
        smtp_session_resume(s);
}

static void hold(struct smtp_session *s, int64_t us)
{
    struct timeval tv = {us / CD_SEC(1), us % CD_SEC(1)};
    if (us <= 0 || s->held || s->ending || s->state == SMTP_CLOSED)
        return;
    s->hold_ev = event_new(s->srv->host->base, -1, 0, on_hold_over, s);
    if (!s->hold_ev || event_add(s->hold_ev, &tv) < 0) {
        smtp_release(s);
        return;
    }
    s->held = true;
    event_del(&s->write_ev);
}

void smtp_release(struct smtp_session *s)
{
    s->held = false;
    if (s->hold_ev)
        event_free(s->hold_ev);
    s->hold_ev = NULL;
    if (s->out.len && s->state != SMTP_CLOSED)
        event_add(&s->write_ev, NULL);
}

/* ---- whose turn it is ---- */

void smtp_cut_off(struct smtp_session *s, enum metric counter, const char *why)
{
    metrics_inc(counter);
    if (s->ungreeted)
        buf_free(&s->out); /* the greeting is not given any more */
    smtp_reply_end(s, "554 5.5.0 It was not your turn to talk", why);
}

static bool exempt(const struct smtp_session *s)
{
    return s->trusted || !s->srv->cfg->mail_reject_early;
}

void smtp_greet(struct smtp_session *s)
{
    char byte;
    if (!exempt(s) && recv(s->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0) {
        smtp_cut_off(s, M_SMTP_EARLY, "early-talker");
        return;
    }
    if (!exempt(s)) {
        hold(s, s->srv->cfg->mail_greeting_delay_us);
        s->ungreeted = s->held;
    }
    smtp_reply_raw(s, s->lmtp ? s->srv->lmtp_greeting : s->srv->greeting);
}

void smtp_check_turn(struct smtp_session *s)
{
    if (s->starttls) /* what stands behind it is never looked at, whoever sent it (smtp_tls_begin()) */
        return;
    if (s->group_over && !exempt(s) && !s->ending && s->state != SMTP_CLOSED)
        smtp_cut_off(s, M_SMTP_EARLY_PIPELINING, "pipelining");
}

/* ---- errors and junk ---- */

static uint64_t max_errors(const struct smtp_session *s)
{
    const struct config *cfg = s->srv->cfg;
    return s->srv->stress ? CD_MIN(cfg->mail_max_errors, cfg->mail_stress_max_errors) : cfg->mail_max_errors;
}

static uint64_t max_junk(const struct smtp_session *s)
{
    const struct config *cfg = s->srv->cfg;
    return s->srv->stress ? CD_MIN(cfg->mail_max_junk_commands, cfg->mail_stress_max_junk_commands) : cfg->mail_max_junk_commands;
}

bool smtp_junk_allowed(struct smtp_session *s)
{
    if (++s->junk <= max_junk(s) || s->trusted)
        return true;
    metrics_inc(M_SMTP_LIMIT_JUNK);
    smtp_reply_end(s, "421 4.7.0 Too many commands without mail", "junk");
    return false;
}

static void delay(struct smtp_session *s, unsigned times)
{
    if (s->trusted || times == 0 || s->held)
        return;
    hold(s, s->srv->cfg->mail_error_delay_us * times);
    if (s->held)
        metrics_inc(M_SMTP_DELAYED);
}

void smtp_count_error(struct smtp_session *s)
{
    metrics_inc(M_SMTP_REJECTED);
    s->errors++;
    if (s->trusted)
        return;
    if (s->errors >= max_errors(s)) {
        metrics_inc(M_SMTP_ERRORS_LIMIT);
        smtp_reply_end(s, "421 4.7.0 Too many errors", "errors");
        return;
    }
    delay(s, s->errors > s->srv->cfg->mail_errors_before_delay);
}

/* Room may come while it asks again, but it does not ask for ever. */
void smtp_count_busy(struct smtp_session *s)
{
    if (++s->busy <= s->srv->cfg->mail_max_junk_commands || s->trusted)
        return;
    metrics_inc(M_SMTP_LIMIT_JUNK);
    smtp_reply_end(s, "421 4.3.2 Too busy, please come again later", "busy");
}

void smtp_unknown_recipient(struct smtp_session *s, const char *line)
{
    const struct config *cfg = s->srv->cfg;
    unsigned n = ++s->unknown_recipients; /* mail that was taken does not make them forgotten */
    if (!s->trusted && n > cfg->mail_max_unknown_recipients) {
        metrics_inc(M_SMTP_LIMIT_UNKNOWN);
        smtp_reply_end(s, "421 4.7.0 Too many unknown recipients", "unknown-recipients");
        return;
    }
    if (n > cfg->mail_errors_before_delay)
        delay(s, n - (unsigned)cfg->mail_errors_before_delay);
    smtp_reply(s, line);
}

/* ---- the shape of a message ---- */

void smtp_content_check(struct smtp_session *s)
{
    const struct config *cfg = s->srv->cfg;
    const struct smtp_content_limits l = {.header_bytes = cfg->mail_max_header_bytes,
                                          .line_bytes = cfg->mail_max_line_bytes,
                                          .header_fields = cfg->mail_max_header_fields,
                                          .hops = cfg->mail_max_hops};
    static const enum metric counters[] = {[SMTP_CONTENT_HEADER] = M_SMTP_LIMIT_HEADER,
                                           [SMTP_CONTENT_FIELDS] = M_SMTP_LIMIT_FIELDS,
                                           [SMTP_CONTENT_HOPS] = M_SMTP_LIMIT_HOPS,
                                           [SMTP_CONTENT_LINE] = M_SMTP_LIMIT_LINE};
    if (smtp_dots_faulty(&s->dots))
        return;
    s->content_fault = smtp_content_feed(&s->content, &l, s->env->raw.data + s->trace_bytes, s->env->raw.len - s->trace_bytes);
    if (s->content_fault == SMTP_CONTENT_FINE)
        return;
    s->dots.misshapen = true;
    metrics_inc(counters[s->content_fault]);
}

const char *smtp_content_refusal(const struct smtp_session *s)
{
    static const char *const replies[] = {
        [SMTP_CONTENT_FINE] = NULL,
        [SMTP_CONTENT_HEADER] = "552 5.3.4 Message header too large",
        [SMTP_CONTENT_FIELDS] = "552 5.3.4 Too many fields in the message header",
        [SMTP_CONTENT_HOPS] = "554 5.4.6 Too many Received fields, this mail goes in circles",
        [SMTP_CONTENT_LINE] = "552 5.3.4 A line of the message is too long",
    };
    return replies[s->content_fault];
}

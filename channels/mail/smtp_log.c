/* One line of the log for each transaction, with all that operators search for: who, from whom, to which desks, how large, how long,
 * and what was answered. Accepted, not stored, unanswered and refused ones are four events with the same fields. Owns nothing. */
#include "channels/mail/smtp.h"

#include <stdio.h>

#include "daemon/core/clock.h"
#include "daemon/core/log.h"

void smtp_told_begin(struct smtp_session *s)
{
    s->told = (struct smtp_told){.begun_us = clock_mono_us()};
}

void smtp_told_refusal(struct smtp_session *s, const char *line)
{
    if (!s->env)
        return;
    s->told.refused++;
    snprintf(s->told.reply, sizeof s->told.reply, "%s", line);
}

/* Greeting and desks are words without blanks and quotes by their making (set_helo(), OPT_NAME); `reply` is fit for the log. */
static void write_line(enum log_level level, enum log_event_id event, const struct smtp_session *s, const struct smtp_told *t,
                       const char *id, const char *reply, const char *outcome)
{
    log_event(level, event, "id=%s peer=%s helo=%s proto=%s tls=%s from=%s nrcpt=%u refused=%u desks=%s size=%zu ms=%lld reply=%s outcome=%s", id,
              s->peer_text, s->helo[0] ? s->helo : "-", smtp_protocol(s, t->utf8), t->tls[0] ? log_quote(t->tls) : "-", t->from[0] ? t->from : "-", t->nrcpt, t->refused,
              t->desks[0] ? t->desks : "-", t->bytes, (long long)((clock_mono_us() - t->begun_us) / 1000), reply,
              outcome);
}

void smtp_log_refused(struct smtp_session *s, const char *from)
{
    snprintf(s->told.from, sizeof s->told.from, "%s", from && from[0] ? log_addr(from) : from ? "<>" : "-");
    write_line(LOG_L_INFO, EV_SMTP_REFUSED, s, &s->told, "-", log_quote(s->told.reply), "refused");
}

void smtp_log_answered(const struct smtp_pending *p, const char *line)
{
    bool stored = p->verdict == ACK_STORED && line[0] == '2';
    char id[UUID_TEXT_SIZE], code[4] = {line[0], line[1], line[2]};
    uuid_format(&p->id, id);
    write_line(stored ? LOG_L_INFO : LOG_L_NOTICE, stored ? EV_SMTP_ACCEPTED : EV_SMTP_NOT_STORED, p->session, &p->told, id,
               stored ? code : log_quote(line),
               stored ? outcome_name(p->outcome) : p->reason[0] ? p->reason : "late");
}

/* What became of it stands in intake.accepted, by the id. */
void smtp_log_unanswered(const struct smtp_pending *p)
{
    char id[UUID_TEXT_SIZE];
    uuid_format(&p->id, id);
    write_line(LOG_L_NOTICE, EV_SMTP_UNANSWERED, p->session, &p->told, id, "-", "unanswered");
}

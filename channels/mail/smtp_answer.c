/* Answers to mails, in the order of the mails. After the final dot a session goes on with the next commands (RFC 2920 lets MAIL
 * follow at once), while the mail's outcome is on its way: each has a slot, and what the session says meanwhile is held behind the
 * answer that comes first. No 250 for a mail is given anywhere but here, for ACK_STORED. A session has mail.max_pipelined slots; the
 * first is part of it, so that one mail at a time allocates nothing. Slots belong to their session; an ack for one that was given
 * back is stale, counted and ignored. A mail whose outcome does not come in time is answered 451 and ends the session. */
#include "channels/mail/smtp.h"

#include <stdio.h>
#include <string.h>

#include "daemon/core/clock.h"
#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"

#define OUTCOME_US CD_MIN_US(10) /* as long as a client waits (RFC 5321 4.5.3.2.6) */

bool smtp_answers_full(const struct smtp_session *s)
{
    const struct config *cfg = s->srv->cfg;
    return s->npending >= cfg->mail_max_pipelined || s->held_bytes >= SMTP_HELD_BYTES || (s->lmtp && s->nanswers > cfg->mail_max_recipients);
}

unsigned smtp_answer_lines(const struct smtp_session *s, const struct smtp_told *t)
{
    return s->lmtp ? t->nrcpt : 1;
}

/* ---- slots ---- */

static struct smtp_pending *slot_new(struct smtp_session *s)
{
    struct smtp_pending *p = &s->first;
    if (p->used)
        p = cd_alloc(sizeof *p);
    p->used = p->waiting = true;
    p->session = s;
    p->reason[0] = '\0';
    buf_init(&p->held, s->srv->replies.cap);
    return p;
}

static void slot_free(struct smtp_pending *p)
{
    buf_free(&p->held);
    p->used = false;
    if (p != &p->session->first)
        free(p);
}

/* Its outcome is known, or nobody cares any more. */
static void slot_done(struct smtp_pending *p)
{
    struct smtp_server *srv = p->session->srv;
    if (!p->waiting)
        return;
    p->waiting = false;
    slots_release(srv->slots, p->ack);
    TAILQ_REMOVE(&srv->waiting, p, late);
}

static void leave_queue(struct smtp_pending *p)
{
    struct smtp_session *s = p->session;
    TAILQ_REMOVE(&s->pending, p, queue);
    s->npending--;
    s->nanswers -= smtp_answer_lines(s, &p->told);
    s->held_bytes -= p->held.len;
}

static void tell_desks(const struct envelope *e, char *out, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < e->desks.n && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, "%s%s", i ? "," : "", e->desks.v[i]);
}

int smtp_hand_over(struct smtp_session *s)
{
    struct smtp_server *srv = s->srv;
    struct smtp_pending *p = slot_new(s);
    int r = slots_take(srv->slots, p, &p->ack);
    if (r < 0) {
        slot_free(p);
        return r;
    }
    p->ack.channel = CH_MAIL;
    p->id = s->env->id;
    snprintf(s->told.from, sizeof s->told.from, "%s", s->env->sender[0] ? log_addr(s->env->sender) : "<>");
    tell_desks(s->env, s->told.desks, sizeof s->told.desks);
    p->told = s->told;
    s->env->ack = p->ack;
    r = srv->host->submit(srv->host->front, s->env);
    if (r < 0) { /* still ours */
        slots_release(srv->slots, p->ack);
        slot_free(p);
        return r;
    }
    s->env = NULL;
    p->since_us = clock_mono_us();
    TAILQ_INSERT_TAIL(&srv->waiting, p, late);
    TAILQ_INSERT_TAIL(&s->pending, p, queue);
    s->npending++;
    s->nanswers += smtp_answer_lines(s, &p->told);
    return 0;
}

void smtp_answers_drop(struct smtp_session *s)
{
    struct smtp_pending *p;
    while ((p = TAILQ_FIRST(&s->pending))) {
        smtp_log_unanswered(p);
        slot_done(p);
        leave_queue(p);
        slot_free(p);
    }
}

/* ---- answers ---- */

static void answer_text(struct smtp_pending *p, char line[SMTP_ANSWER_BYTES])
{
    char id[UUID_TEXT_SIZE];
    switch (p->verdict) {
    case ACK_STORED:
        uuid_format(&p->id, id);
        snprintf(line, SMTP_ANSWER_BYTES, "250 2.0.0 Ok: id %s", id);
        break;
    case ACK_REJECTED:
        snprintf(line, SMTP_ANSWER_BYTES, "554 5.6.0 Message not taken: %s", p->reason[0] ? p->reason : "refused");
        break;
    default:
        snprintf(line, SMTP_ANSWER_BYTES, "451 4.3.0 Not stored, try again later");
        break;
    }
}

/* Straight to the socket's buffer, not behind what waits: it is the first of all. */
static void say_first(struct smtp_session *s, const void *text, size_t n)
{
    struct buf *r = &s->srv->replies;
    buf_append(r, text, n);
    cd_assert(!r->failed);
}

static void count_answer(struct smtp_session *s, enum ack_verdict v)
{
    if (v == ACK_STORED) {
        metrics_inc(M_SMTP_MESSAGES);
        s->mails++;
        s->errors = s->junk = s->busy = 0; /* it has shown that it brings mail */
    } else if (v == ACK_REJECTED) {
        smtp_count_error(s);
    } else {
        metrics_inc(M_INTAKE_BUSY_MAIL);
        metrics_inc(M_SMTP_TEMPFAIL);
    }
}

/* Gives the answer of the first in the queue and what was said after it. */
static void answer(struct smtp_pending *p, const char *line)
{
    struct smtp_session *s = p->session;
    leave_queue(p);
    for (unsigned i = smtp_answer_lines(s, &p->told); i > 0; i--) {
        say_first(s, line, strlen(line));
        say_first(s, "\r\n", 2);
    }
    if (p->held.len)
        say_first(s, p->held.data, p->held.len);
    smtp_log_answered(p, line);
    slot_free(p);
    s->full = false;
    if (s->srv->replies.len >= SMTP_REPLY_FLUSH_BYTES)
        smtp_flush(s);
}

static void answer_known(struct smtp_session *s)
{
    struct smtp_pending *p;
    while ((p = TAILQ_FIRST(&s->pending)) && !p->waiting) {
        char line[SMTP_ANSWER_BYTES];
        enum ack_verdict v = p->verdict;
        answer_text(p, line);
        answer(p, line);
        count_answer(s, v);
    }
}

/* The last mail of a session has its answer: end here, where a connection that is kept for later is found closed and opened anew, rather
 * than refuse the next mail, which a relay would defer. */
static void end_after_the_last(struct smtp_session *s)
{
    uint64_t max = s->srv->cfg->mail_max_mails_per_session;
    if (!max || s->trusted || s->mails < max || s->npending || s->state != SMTP_READY || s->in.len)
        return;
    metrics_inc(M_SMTP_LIMIT_MAILS);
    smtp_reply_end(s, "421 4.7.0 Enough mail for one session, please connect again", "mails");
}

void smtp_on_ack(void *server, struct ack a, const struct ack_result *r)
{
    struct smtp_server *srv = server;
    struct smtp_pending *p = slots_get(srv->slots, a);
    if (!p)
        return;
    struct smtp_session *s = p->session;
    cd_assert(p->waiting && srv->replies.len == 0);
    slot_done(p);
    p->verdict = r->verdict;
    p->outcome = r->outcome;
    snprintf(p->reason, sizeof p->reason, "%s", r->reason ? r->reason : "");
    answer_known(s);
    end_after_the_last(s);
    if (s->state != SMTP_DATA || !s->npending) /* a text's time begins with 354, not anew with each answer before it */
        s->progress = true;
    smtp_session_resume_later(s);
    smtp_session_settle(s);
}

/* Should its outcome come yet and be good, the key finds the double. */
static void too_late(struct smtp_pending *p)
{
    struct smtp_session *s = p->session;
    cd_assert(p == TAILQ_FIRST(&s->pending)); /* those before it were handed over earlier, so their time was up earlier */
    metrics_inc(M_SMTP_TIMEOUT);
    slot_done(p);
    answer(p, "451 4.3.0 Not stored in time, try again later");
    count_answer(s, ACK_RETRY_LATER);
    answer_known(s);
    log_event(LOG_L_INFO, EV_SMTP_ENDED, "peer=%s state=%s why=outcome-timeout", s->peer_text, smtp_state_name(s->state));
    s->cut = true;
    smtp_flush(s);
    smtp_close(s);
}

void smtp_answers_expire(struct smtp_server *srv, int64_t now)
{
    struct smtp_pending *p;
    while ((p = TAILQ_FIRST(&srv->waiting)) && now - p->since_us >= CD_MIN(srv->cfg->mail_data_timeout_us, OUTCOME_US))
        too_late(p);
}

/* What comes back by itself: which notification it speaks of, what that means for it, and when nothing automatic is answered. Traced by
 * what only the mail's recipient and the systems on the way can know: the signed envelope sender first, then the report. A token with a
 * wrong signature counts for nothing, and so does an address alone: everybody can write either into a mail. No I/O. */
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "daemon/core/clock.h"
#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/escalation/tell.h"
#include "daemon/intake/token.h"
#include "daemon/job.h"

#define MAX_KEY 200

static bool is_automatic(const struct record *r)
{
    return r->cls == MC_BOUNCE || r->cls == MC_AUTO_REPLY;
}

static bool take_token(struct job *j, const char *text)
{
    struct token t;
    if (!text || token_find(text, &t) < 0 || t.kind != TOKEN_NOTIFICATION)
        return false;
    j->told_id = t.id;
    return true;
}

/* The end of the idempotency key in a Message-ID, behind which a complaint's token may stand; NULL when that is a forged one. */
static const char *key_end(const char *message_id, const char *at)
{
    const char *last = memrchr(message_id, '.', (size_t)(at - message_id));
    struct token t;
    int r = last ? token_read(last + 1, (size_t)(at - last) - 1, &t) : CD_EINVAL;
    return r == 0 ? last : r == CD_EPERM ? NULL : at;
}

/* Our Message-IDs are made of the idempotency key: WORD.COMPLAINT[.…][.TOKEN]@host. */
static bool take_key(struct job *j, const char *message_id)
{
    char text[UUID_TEXT_SIZE];
    struct uuid id;
    const char *dot = message_id ? strchr(message_id, '.') : NULL, *at = message_id ? strchr(message_id, '@') : NULL;
    at = dot && at ? key_end(message_id, at) : NULL;
    if (!dot || !at || at - message_id > MAX_KEY || at - dot < UUID_TEXT_SIZE)
        return false;
    for (const char *p = message_id; p < dot; p++)
        if (*p < 'a' || *p > 'z')
            return false;
    snprintf(text, sizeof text, "%s", dot + 1);
    if (uuid_parse(text, &id) < 0 || (dot[UUID_TEXT_SIZE] != '.' && dot + UUID_TEXT_SIZE != at))
        return false;
    j->told_key = cd_strndup(message_id, (size_t)(at - message_id));
    return true;
}

/* People answer to Reply-To and From; what is sent to the reverse-path of one of our mails was sent by a machine, whatever it looks like
 * (RFC 3834, section 4). It stays with its complaint, where people see it, and starts nothing. Nobody's machine sends to a desk beside it:
 * who wrote to one is taken at his word, and only gets no automatic answer. */
static void judge_by_path(const struct envelope *e, struct record *r)
{
    struct token t;
    if (r->cls != MC_PERSON)
        return;
    r->flags |= REC_NO_AUTO_ANSWER;
    for (size_t i = 0; i < e->recipients.n; i++)
        if (token_find(e->recipients.v[i], &t) < 0 || t.kind != TOKEN_NOTIFICATION) {
            r->no_answer_reason = r->no_answer_reason ? r->no_answer_reason : cd_strdup("sent to a reverse-path of ours as well");
            return;
        }
    r->cls = MC_AUTO_REPLY;
    record_add_signal(r, "signed-path");
}

void job_trace(struct job *j)
{
    struct record *r = j->rec;
    j->told_id = (struct uuid){0};
    free(j->told_key);
    j->told_key = NULL;
    for (size_t i = 0; j->env->channel == CH_MAIL && i < j->env->recipients.n; i++)
        if (take_token(j, j->env->recipients.v[i])) {
            judge_by_path(j->env, r);
            return;
        }
    if (!is_automatic(r))
        return;
    const char *named[] = {r->bounced_id, r->bounced_sender, r->in_reply_to};
    for (size_t i = 0; i < ARRAY_LEN(named); i++)
        if (take_token(j, named[i]))
            return;
    if (take_key(j, r->bounced_id) || take_key(j, r->in_reply_to))
        return;
    for (size_t i = r->references.n; i-- > 0;)
        if (take_token(j, r->references.v[i]) || take_key(j, r->references.v[i]))
            return;
}

/* The part of the report that speaks of the address that we wrote to; the first where none does, as with a mail that was passed on. */
static const struct bounce *report_of(const struct record *r, const char *recipient)
{
    for (size_t i = 0; i < r->nbounces; i++)
        if (recipient && str_ieq(r->bounces[i].recipient, recipient))
            return &r->bounces[i];
    return r->nbounces ? &r->bounces[0] : NULL;
}

/* Nobody is there, and nobody will be tomorrow. */
static bool is_hard(const struct bounce *b)
{
    static const char *const reasons[] = {"user-unknown", "host-unknown", "suspended", "moved"};
    for (size_t i = 0; b->status && b->status[0] == '5' && i < ARRAY_LEN(reasons); i++)
        if (str_eq(b->reason, reasons[i]))
            return true;
    return false;
}

/* What the customer is told; mails to our own people are not: their ladder goes on by itself. */
static bool is_to_customer(const char *purpose)
{
    static const char *const ours[] = {"escalation", "undeliverable", "assigned", "waiting"};
    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        if (str_eq(purpose, ours[i]))
            return false;
    return true;
}

static void tell_nobody(const struct lookup_notification *t)
{
    metrics_inc(M_ESCALATION_NOBODY);
    log_event(LOG_L_ERROR, EV_ESCALATION_NOBODY, "ref=%s team=%s step=undeliverable told=0", t->ref, log_quote(t->team));
}

static void fill_bounce(const struct config *c, struct job *j)
{
    const struct lookup_notification *t = &j->look.told;
    struct store_item *it = &j->item;
    const struct bounce *b = report_of(j->rec, t->recipient);
    static const struct bounce unread = {.status = (char *)"5.0.0", .action = (char *)"failed", .reason = (char *)"other"};
    if (!b)
        b = &unread; /* a bounce in a language that nobody taught us */
    if (b->action && !str_eq(b->action, "failed") && !str_eq(b->action, "delayed"))
        return; /* delivered, relayed, expanded: nothing to do */
    if (uuid_is_nil(&j->told_id) && !is_to_customer(t->purpose))
        return; /* the customer can work out what our people's mails are called: only their reverse-paths prove a report of them */
    CD_CLEANUP_FREE char *error = cd_asprintf("%s %s", b->status ? b->status : "5.0.0", b->diagnostic ? b->diagnostic : b->reason ? b->reason : "");
    it->bounce_of = t->id;
    json_t *o = json_pack("{s:b, s:b, s:s, s:s, s:s}", "final", !str_eq(b->action, "delayed"), "hard", (int)is_hard(b), "status",
                          b->status ? b->status : "5.0.0", "reason", b->reason ? b->reason : "other", "error", error);
    it->bounce = o ? json_dumps(o, JSON_COMPACT) : cd_strdup("{}");
    json_decref(o);
    it->task_delay_us = c->loops_task_delay_us;
    if (!is_to_customer(t->purpose) || !t->team || !t->recipient)
        return;
    if (tell_undeliverable(c, &t->complaint_id, t->team, t->recipient, error, &it->tasks) == 0) /* the team is gone from the configuration */
        tell_nobody(t);
}

bool job_take_report(const struct config *c, struct job *j, json_t **ret_reasons)
{
    const struct lookup_notification *t = &j->look.told;
    struct store_item *it = &j->item;
    it->automatic = is_automatic(j->rec);
    if (!it->automatic || !t->found)
        return false;
    it->outcome = j->rec->cls == MC_BOUNCE ? OUT_BOUNCE : OUT_AUTO_REPLY;
    it->complaint_id = t->complaint_id;
    snprintf(it->ref, sizeof it->ref, "%s", t->ref);
    *ret_reasons = json_pack("[{s:s, s:s, s:s}]", "evidence", "notification", "ref", t->ref, "verdict", "joined");
    if (j->rec->cls == MC_BOUNCE)
        fill_bounce(c, j);
    return true;
}

/* In thousandths: what the look-up saw, emptied since, and what came on top. */
static bool is_over_budget(const struct config *c, const struct lookup_request *q)
{
    int64_t budget = (int64_t)c->loops_answers_per_address * 1000, ago = CD_MIN(q->answered_ago_us, CD_HOUR(24));
    int64_t left = q->answers - (int64_t)((double)budget * (double)ago / (double)CD_HOUR(24));
    return CD_MAX(left, 0) + (int64_t)q->answers_since * 1000 + 1000 > budget;
}

bool job_came_back(const struct job *j)
{
    return str_eq(j->look.address_state, "hard") && j->env->channel != CH_MAIL;
}

const char *job_withheld(const struct config *c, const struct job *j, bool by_sms)
{
    const struct lookup_request *q = &j->look;
    if (!by_sms && job_came_back(j)) {
        metrics_inc(M_WITHHELD_ADDRESS);
        return "mail to the address came back, nobody is there";
    }
    if (j->rec->hops >= c->loops_max_hops) {
        metrics_inc(M_WITHHELD_HOPS);
        return "it went to and fro between automatic systems too often";
    }
    if ((q->customer_found || q->answer_to) && is_over_budget(c, q)) {
        metrics_inc(M_WITHHELD_BUDGET);
        return "the address had its automatic answers for today";
    }
    return NULL;
}

const char *job_count_answer(const struct config *c, struct job *j, struct store_note *n, const char *mail)
{
    const char *reason = n->reason;
    if (j->rec->hops)
        n->payload = cd_asprintf("{\"hops\":%u}", j->rec->hops); /* render.c counts on from here */
    if (!reason && (j->look.customer_found || j->answer_to)) /* who is new has all of the budget, and costs no row */
        j->item.answered = cd_strdup(j->answer_to ? j->answer_to : j->handle);
    if (reason && str_eq(n->transport, "mail") && job_came_back(j)) {
        CD_CLEANUP_FREE char *error = cd_asprintf("%s, known from an earlier mail", j->look.address_status ? j->look.address_status : "5.0.0");
        tell_undeliverable(c, &j->env->id, j->item.team, mail, error, &j->item.notes);
    }
    return reason;
}

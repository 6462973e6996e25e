/* What a finished job's sender is told, logged and counted. No ownership changes hands. */
#include <stdio.h>
#include <string.h>

#include "daemon/core/clock.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/job.h"

static const char *or_dash(const char *s)
{
    return s && *s ? log_quote(s) : "-";
}

static const char *sender_text(const struct envelope *e)
{
    if (e->channel == CH_MAIL && e->sender && !e->sender[0])
        return "<>";
    return e->sender ? log_addr(e->sender) : "-";
}

/* " notes=bare_lf,nul", "" without any. */
static const char *notes_text(const struct envelope *e)
{
    static const char *const texts[] = {"", " notes=bare_lf", " notes=bare_cr", " notes=bare_lf,bare_cr", " notes=nul", " notes=bare_lf,nul",
                                        " notes=bare_cr,nul", " notes=bare_lf,bare_cr,nul"};
    return texts[e->notes & (NOTE_BARE_LF | NOTE_BARE_CR | NOTE_NUL)];
}

/* " class=bounce by=delivery-status": what has no complaint has no event that says so. "" for a person's. */
static const char *class_text(const struct job *j)
{
    static char text[80];
    if (!j->rec || j->rec->cls == MC_PERSON)
        return "";
    snprintf(text, sizeof text, " class=%s by=%s", message_class_name(j->rec->cls), j->rec->signals.n ? log_text(j->rec->signals.v[0]) : "-");
    return text;
}

/* The one line of an accepted message: whatever an operator is asked about, from the id or reference that the sender quotes on.
 * What was accepted as pending gets a second one, of another event, when it is triaged. */
static void log_accepted(const struct job *j, const struct ack_result *r)
{
    const struct envelope *e = j->env;
    char id[UUID_TEXT_SIZE];
    uuid_format(&e->id, id);
    log_event(LOG_L_INFO, e->from_pending ? EV_INTAKE_TRIAGED : EV_INTAKE_ACCEPTED,
              "id=%s ref=%s channel=%s outcome=%s peer=%s from=%s to=%s recipients=%zu size=%zu category=%s priority=%s team=%s ms=%lld%s%s%s%s",
              id, r->ref[0] ? r->ref : "-", channel_name(e->channel), outcome_name(r->outcome), or_dash(e->client), sender_text(e),
              e->recipients.n ? log_addr(e->recipients.v[0]) : "-", e->recipients.n, e->raw.len, or_dash(r->category),
              r->priority ? r->priority : "-", or_dash(r->team), (long long)((clock_mono_us() - j->since_mono_us) / 1000),
              e->tls ? " tls=" : "", e->tls ? e->tls : "", notes_text(e), class_text(j));
}

/* What came back, once it is stored. */
static void tell_bounce(const struct job *j)
{
    const struct lookup_notification *t = &j->look.told;
    const struct bounce *b = j->rec && j->rec->nbounces ? &j->rec->bounces[0] : NULL;
    char id[UUID_TEXT_SIZE];
    if (!j->rec || j->rec->cls != MC_BOUNCE || j->item.known || j->item.duplicate || j->item.pending)
        return;
    metrics_inc(t->found ? M_BOUNCES_TRACED : M_BOUNCES_UNTRACED);
    if (j->rec->nbounces == RECORD_MAX_BOUNCES)
        metrics_inc(M_BOUNCES_CUT);
    if (!t->found)
        return;
    uuid_format(&t->id, id);
    log_event(LOG_L_WARN, EV_NOTIFY_BOUNCED, "notification=%s ref=%s purpose=%s status=%s action=%s reason=%s", id, t->ref, or_dash(t->purpose),
              b && b->status ? b->status : "-", b && b->action ? b->action : "-", b && b->reason ? b->reason : "-");
}

static void fill_result(const struct job *j, enum ack_verdict v, struct ack_result *r)
{
    const struct store_item *it = &j->item;
    *r = (struct ack_result){.verdict = v, .outcome = it->outcome, .envelope_id = j->env->id};
    if (v == ACK_RETRY_LATER)
        r->reason = "busy";
    if (v != ACK_STORED)
        return;
    snprintf(r->ref, sizeof r->ref, "%s", it->ref);
    if (it->duplicate)
        r->outcome = OUT_DUPLICATE;
    if (it->duplicate || it->known) {
        r->category = it->dup_category[0] ? it->dup_category : NULL;
        r->priority = it->dup_priority[0] ? it->dup_priority : NULL;
        r->team = it->dup_team[0] ? it->dup_team : NULL;
        r->due_at_us = it->dup_due_us;
    } else if (it->is_new) {
        r->category = it->category;
        r->priority = it->priority;
        r->team = it->team;
        r->due_at_us = it->due_us[TARGET_FIRST_RESPONSE];
    }
}

/* Line and web answer a key that came with other content as a fault of the client; other channels cannot get there. */
static bool key_reused(const struct job *j)
{
    return j->item.duplicate && j->item.outcome == OUT_COUNT;
}

static void count_thread(const struct job *j)
{
    if (j->item.duplicate || j->item.known || j->item.pending)
        return;
    if (j->false_token[TE_TOKEN_ADDRESS] || j->false_token[TE_TOKEN_ID])
        metrics_inc(M_THREAD_TOKENS_FALSE);
    if (j->tokens_skipped)
        metrics_inc(M_THREAD_TOKENS_SKIPPED);
    if (j->by_stranger)
        metrics_inc(M_THREAD_STRANGERS);
    if (j->new_matter)
        metrics_inc(M_THREAD_NEW_MATTERS);
}

void job_answer(struct job *j, enum ack_verdict v)
{
    struct ack_result r;
    fill_result(j, v, &r);
    if (v == ACK_STORED && key_reused(j)) {
        r.verdict = ACK_REJECTED;
        r.reason = "key-reused";
    }
    if (r.verdict == ACK_STORED) {
        if (!j->env->from_pending) { /* counted when it was accepted */
            metrics_intake(j->env->channel, r.outcome);
            metrics_observe(H_ACCEPT_MAIL + j->env->channel, clock_mono_us() - j->since_mono_us);
        }
        count_thread(j);
        log_accepted(j, &r);
        tell_bounce(j);
    }
    if (!j->env->from_pending)
        ack_resolve(j->env->ack, &r);
}

/* Every desk of `a` is one of `b`'s. */
static bool same_desks(const struct job *a, const struct job *b)
{
    for (size_t i = 0; i < a->env->desks.n; i++)
        if (!strlist_has(&b->env->desks, a->env->desks.v[i]))
            return false;
    return true;
}

bool job_same_content(const struct job *a, const struct job *b)
{
    return memcmp(a->env->digest, b->env->digest, SHA256_SIZE) == 0 && same_desks(a, b);
}

void job_copy_answer(struct job *to, const struct job *from)
{
    const struct store_item *f = &from->item;
    bool ledger = f->duplicate || f->known;
    to->item.duplicate = true;
    to->item.outcome = key_reused(from) ? OUT_COUNT : OUT_DUPLICATE;
    snprintf(to->item.ref, sizeof to->item.ref, "%s", f->ref);
    snprintf(to->item.dup_category, sizeof to->item.dup_category, "%s", ledger ? f->dup_category : f->category ? f->category : "");
    snprintf(to->item.dup_priority, sizeof to->item.dup_priority, "%s", ledger ? f->dup_priority : f->priority ? f->priority : "");
    snprintf(to->item.dup_team, sizeof to->item.dup_team, "%s", ledger ? f->dup_team : f->team ? f->team : "");
    to->item.dup_due_us = ledger ? f->dup_due_us : f->due_us[TARGET_FIRST_RESPONSE];
}

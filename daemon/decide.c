/* From facts, hits and look-up to everything that will be written: thread, rules, clocks, acknowledgement. No I/O. */
#include <stdio.h>
#include <string.h>

#include "channels/mail/decode_magic.h"
#include "daemon/core/clock.h"
#include "daemon/core/json_text.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/escalation/plan.h"
#include "daemon/escalation/tell.h"
#include "daemon/intake/handle.h"
#include "daemon/pipeline_scan.h"

/* One that came back this often is stored in a transaction of its own, so that others' races are no longer its own. */
#define ALONE_ROUNDS 2

static void use(struct job *j, struct inflight_entry *e)
{
    cd_assert(j->nused < ARRAY_LEN(j->used));
    j->used[j->nused++] = e;
}

/* Mail of our own teams, their members and contacts is no customer's: it may join whatever it refers to, changes no state, and gets no acknowledgement. */
static bool is_staff(const struct config *c, const char *sender)
{
    for (size_t i = 0; sender && i < c->nteams; i++) {
        if (str_ieq(c->teams[i].contact.mail, sender))
            return true;
        for (size_t k = 0; k < c->teams[i].nmembers; k++)
            if (str_ieq(c->teams[i].members[k].contact.mail, sender))
                return true;
    }
    for (size_t i = 0; sender && i < c->ncontacts; i++)
        if (str_ieq(c->contacts[i].contact.mail, sender))
            return true;
    return false;
}

static enum outcome outcome_of(const struct record *r, bool joined)
{
    switch (r->cls) {
    case MC_AUTO_REPLY:
        return OUT_AUTO_REPLY;
    case MC_BOUNCE:
        return OUT_BOUNCE;
    case MC_BULK:
        return OUT_BULK;
    case MC_OWN:
        return OUT_OWN;
    default:
        return joined ? OUT_FOLLOW_UP : OUT_NEW;
    }
}

static char *literal(const struct strlist *l)
{
    struct buf b;
    buf_init(&b, CD_MIB(1));
    buf_append_char(&b, '{');
    for (size_t i = 0; i < l->n; i++)
        array_literal_add(&b, l->v[i]);
    buf_append_char(&b, '}');
    return buf_steal(&b);
}

static void fill_thread(const struct config *c, struct job *j, json_t **ret_reasons)
{
    struct job_thread t;
    struct store_item *it = &j->item;
    j->by_stranger = j->new_matter = false;
    if (job_take_report(c, j, ret_reasons))
        return;
    job_thread_decide(c, j, &t);
    it->outcome = outcome_of(j->rec, t.decision.action == THREAD_JOIN);
    it->is_new = it->outcome == OUT_NEW;
    if (t.decision.action == THREAD_JOIN)
        it->complaint_id = t.decision.candidate->complaint_id;
    else if (it->is_new)
        it->complaint_id = j->env->id;
    if (t.decision.action == THREAD_JOIN)
        snprintf(it->ref, sizeof it->ref, "%s", t.decision.candidate->ref);
    else if (it->is_new)
        ref_new(it->ref);
    if (t.decision.action == THREAD_LINK && it->is_new)
        it->links[it->nlinks++] = (struct store_link){t.decision.candidate->complaint_id, job_thread_link(&t)};
    for (size_t i = 0; i < t.decision.nsame && it->nlinks < STORE_MAX_LINKS; i++)
        it->links[it->nlinks++] = (struct store_link){t.decision.same[i]->complaint_id, "same-thread"};
    j->by_stranger = t.decision.stranger;
    j->new_matter = t.decision.new_matter && it->is_new;
    *ret_reasons = json_incref(t.decision.reasons);
    job_thread_free(&t);
}

/* The job that opens the complaint which this one joins, while it is on its way. What it claims is there as soon as the complaint is,
 * and without the complaint this job's transaction fails: to claim it again would only make the second of the two collide. */
static const struct job *opener_of(const struct job *j)
{
    for (size_t i = 0; i < j->nkeys && !j->item.is_new; i++) {
        const struct inflight_entry *e = inflight_find(IF_THREAD, j->keys[i]);
        const struct job *o = e ? e->owner : NULL;
        if (o && o->item.is_new && uuid_equal(&o->item.complaint_id, &j->item.complaint_id))
            return o;
    }
    return NULL;
}

/* Claims the thread keys that nobody has yet for this item's complaint; the opener's are its own to claim (opener_of). */
static void claim_keys(struct job *j)
{
    struct store_item *it = &j->item;
    if (uuid_is_nil(&it->complaint_id) || j->rounds > JOB_CLAIM_ROUNDS)
        return;
    for (size_t i = 0; i < j->nkeys; i++) {
        struct inflight_entry *e = inflight_find(IF_THREAD, j->keys[i]);
        const struct job *owner = e ? e->owner : NULL;
        bool taken = owner && (!uuid_equal(&e->id, &it->complaint_id) || owner->item.is_new);
        if (taken || j->look.key_known[i])
            continue;
        e = inflight_use(IF_THREAD, j->keys[i]);
        use(j, e);
        if (!e->owner) {
            e->owner = j;
            e->id = it->complaint_id;
        }
        memcpy(it->keys[it->nkeys++], j->keys[i], LEDGER_KEY_SIZE);
    }
}

/* The worker's word for it is not enough: what is stored as JSON is read as JSON. */
static const char *json_of(const char *text)
{
    json_t *o = text ? json_loads(text, 0, NULL) : NULL;
    bool right = json_is_object(o);
    json_decref(o);
    return right ? text : NULL;
}

static void fill_customer(struct job *j)
{
    struct store_item *it = &j->item;
    if (!j->handle || uuid_is_nil(&it->complaint_id) || j->rec->cls != MC_PERSON)
        return;
    it->handle = cd_strdup(j->handle);
    if (j->look.customer_found) {
        it->customer_id = j->look.customer_id;
        it->reached = j->look.address_state && j->env->channel == CH_MAIL && !j->sender_unproven;
        return;
    }
    const struct job *opener = opener_of(j);
    if (opener && str_eq(opener->item.handle, j->handle)) {
        it->customer_id = opener->item.customer_id;
        return;
    }
    uint8_t key[LEDGER_KEY_SIZE];
    keys_thread(j->handle, key); /* any digest of the text serves */
    struct inflight_entry *e = inflight_use(IF_HANDLE, key);
    use(j, e);
    if (uuid_is_nil(&e->id))
        e->id = uuid_new();
    it->customer_id = e->id;
    it->handle_is_new = true;
}

/* Steps that are due at receipt are fired by intake itself: their people learn at once, and the database does not have to take the complaint
 * up a second time for them. */
static void tell_at_receipt(const struct config *c, struct job *j, const struct cfg_policy *policy, const struct plan *p)
{
    struct store_item *it = &j->item;
    int64_t received_us = j->env->received_at_us;
    char id[UUID_TEXT_SIZE];
    const char *step;
    uuid_format(&it->complaint_id, id);
    while ((size_t)it->steps_fired < p->nsteps && p->steps[it->steps_fired].due_us == received_us)
        it->steps_fired++;
    for (int i = it->steps_fired; i-- > 0;) { /* the highest level first, as the scheduler does */
        struct tell_input in = {.complaint_id = id, .policy = policy->name, .team = it->team, .about = &j->decision.about, .level = p->steps[i].level,
                                .repeat = (int)p->steps[i].n, .due_us = received_us};
        it->told_level = CD_MAX(it->told_level, in.level);
        metrics_inc(M_ESCALATION_FIRED);
        if (tell_step(c, &in, &it->notes, &step) == 0) {
            metrics_inc(M_ESCALATION_NOBODY);
            log_event(LOG_L_ERROR, EV_ESCALATION_NOBODY, "ref=%s policy=%s level=%d repeat=%d step=%s told=0", it->ref, policy->name, in.level,
                      in.repeat, step[0] ? step : "-");
        }
    }
}

static void fill_plan(const struct config *c, struct job *j, const struct cfg_policy *policy)
{
    struct store_item *it = &j->item;
    int64_t received_us = j->env->received_at_us;
    struct plan p;
    struct buf steps;
    plan_make(c, policy, j->decision.priority, received_us, &p);
    for (int k = 0; k < TARGET_COUNT; k++)
        it->due_us[k] = p.due_us[k];
    tell_at_receipt(c, j, policy, &p);
    it->next_at_us = (size_t)it->steps_fired < p.nsteps ? p.steps[it->steps_fired].due_us : 0;
    buf_init(&steps, CD_KIB(16));
    buf_append_char(&steps, '{');
    for (size_t i = 0; i < p.nsteps; i++) {
        const int64_t step[] = {(p.steps[i].due_us - received_us) / CD_SEC(1), p.steps[i].level, p.steps[i].n, p.steps[i].stops_on};
        for (size_t k = 0; k < ARRAY_LEN(step); k++) {
            buf_append_str(&steps, k ? "," : i ? ",{" : "{");
            buf_append_int(&steps, step[k]);
        }
        buf_append_char(&steps, '}');
    }
    buf_append_char(&steps, '}');
    it->steps = buf_steal(&steps);
    it->policy_version = cd_asprintf("%s@%s", policy->name, policy->version);
    it->calendar = policy->calendar;
}

static const char *no_acknowledgement(const struct config *c, const struct job *j, bool by_sms, bool unreachable)
{
    const struct record *r = j->rec;
    if (j->staff)
        return "the sender is one of our own teams";
    if (r->flags & REC_NO_AUTO_ANSWER)
        return r->no_answer_reason ? r->no_answer_reason : "automatic answers are not wanted";
    if (by_sms && c->nsms_providers == 0)
        return "no SMS provider is configured";
    if (!by_sms && unreachable)
        return "the address is none that mail can be sent to";
    return job_scan_silence(j);
}

/* Every person's complaint is acknowledged once; where it is not, the row says why (RFC 3834 and what follows from it). Returns that, or
 * NULL for one that will be sent. */
static const char *fill_acknowledgement(const struct config *c, struct job *j)
{
    const struct record *r = j->rec;
    const char *mail = j->env->channel == CH_MAIL && r->reply_to ? r->reply_to : r->email;
    bool unreachable = mail && !mail_address_valid(mail, strlen(mail), true);
    bool by_sms = j->env->channel == CH_SMS || !mail || ((unreachable || job_came_back(j)) && r->phone && c->nsms_providers);
    const char *to = by_sms ? r->phone : mail;
    char id[UUID_TEXT_SIZE];
    if (!to)
        return "no address to answer to";
    struct store_note *n = store_notes_add(&j->item.notes);
    uuid_format(&j->env->id, id);
    n->purpose = "acknowledgement";
    n->class = "statutory";
    n->transport = by_sms ? "sms" : "mail";
    n->recipient = cd_strdup(to);
    n->language = j->item.language;
    n->reason = no_acknowledgement(c, j, by_sms, unreachable);
    if (!n->reason)
        n->reason = job_withheld(c, j, by_sms);
    n->life_us = c->notify_statutory_life_us;
    n->key = cd_asprintf("ack.%s", id);
    return job_count_answer(c, j, n, mail);
}

char *job_attachments_json(const struct record *r, const struct envelope *e)
{
    if (!r->nattachments)
        return NULL;
    char id[UUID_TEXT_SIZE], hex[2 * SHA256_SIZE + 1];
    uuid_format(&e->id, id);
    json_t *list = json_array();
    for (size_t i = 0; i < r->nattachments; i++) {
        const struct attachment *a = &r->attachments[i];
        if (a->offset > e->raw.len || a->length > e->raw.len - a->offset)
            continue; /* a place outside the message: the worker is not believed */
        hex_encode(a->sha256, SHA256_SIZE, hex);
        json_array_append_new(list, json_pack("{s:s, s:i, s:s, s:s, s:s, s:I, s:I, s:I, s:s, s:b, s:s, s:s*, s:s*, s:s*}", "message", id, "n", (int)i + 1, "filename",
                                              a->filename, "type", a->content_type, "encoding", a->encoding, "at", (json_int_t)a->offset,
                                              "length", (json_int_t)a->length, "size", (json_int_t)a->size_bytes, "sha256", hex, "inline",
                                              (int)a->is_inline, "kind", attachment_kind_name(a->kind), "magic", a->magic_type, "cid",
                                              a->content_id, "member", a->inner));
        if (magic_differs(a->content_type, a->magic_type))
            metrics_inc(M_ATTACHMENT_DIFFERS);
        if (e->channel == CH_MAIL && !a->magic_type && a->size_bytes > 0 && a->kind != AT_MESSAGE)
            metrics_inc(M_ATTACHMENT_UNSEEN);
    }
    char *text = json_dumps(list, JSON_COMPACT);
    json_decref(list);
    return text;
}

static void put_degraded(struct buf *out, const struct record *r)
{
    if (r->flags & REC_DEGRADED)
        json_text_member(out, "degraded", r->degraded_reason ? r->degraded_reason : "yes");
}

/* Why a message has its class. */
static void put_signals(struct buf *out, const struct record *r)
{
    if (!r->signals.n)
        return;
    json_text_name(out, "signals");
    json_text_open(out, '[');
    for (size_t i = 0; i < r->signals.n; i++)
        json_text_string(out, r->signals.v[i]);
    buf_append_char(out, ']');
}

static void put_thread(struct buf *out, const json_t *thread)
{
    json_text_name(out, "thread");
    if (json_array_size(thread)) {
        char *text CD_CLEANUP_FREE = json_dumps(thread, JSON_COMPACT);
        buf_append_str(out, text);
    } else {
        buf_append_str(out, "[]");
    }
}

/* The rules' reasons, with those of thread and acknowledgement behind them in the same object. */
static char *decision_text(const struct job *j, const json_t *thread, const char *ack)
{
    const char *reasons = j->decision.reasons;
    struct buf b;
    size_t n = strlen(reasons) - 1; /* without the brace that closes it */
    buf_init(&b, n + CD_MIB(1));
    cd_assert(buf_reserve(&b, n + 100) == 0);
    buf_append(&b, reasons, n);
    put_thread(&b, thread);
    json_text_member(&b, "acknowledgement", ack);
    put_signals(&b, j->rec);
    put_degraded(&b, j->rec);
    if (j->item.scan_detail) {
        json_text_name(&b, "scan");
        buf_append_str(&b, j->item.scan_detail);
    }
    buf_append_char(&b, '}');
    return buf_steal(&b);
}

static void fill_texts(struct job *j, const json_t *thread, const char *no_ack)
{
    struct store_item *it = &j->item;
    char hex[2 * SHA256_SIZE + 1];
    hex_encode(j->env->digest, SHA256_SIZE, hex);
    struct buf e;
    buf_init(&e, CD_MIB(1));
    cd_assert(buf_reserve(&e, 400) == 0); /* usual ones are made in place */
    buf_append_char(&e, '{');
    json_text_member(&e, "channel", channel_name(j->env->channel));
    json_text_member(&e, "class", message_class_name(j->rec->cls));
    json_text_member(&e, "digest", hex);
    json_text_member(&e, "desk", it->desk);
    if (it->is_new) {
        json_text_member(&e, "category", it->category);
        json_text_member(&e, "priority", it->priority);
        json_text_member(&e, "team", it->team);
        json_text_member(&e, "policy", it->policy_version);
        json_text_name(&e, "level");
        json_text_int(&e, it->told_level);
        it->decision = decision_text(j, thread, no_ack ? no_ack : "pending");
    } else { /* why it belongs there is kept with it, and what a complaint of its own would be answered (SPLIT) */
        put_thread(&e, thread);
        if (no_ack)
            json_text_member(&e, "no_answer", no_ack);
    }
    put_signals(&e, j->rec);
    put_degraded(&e, j->rec);
    buf_append_char(&e, '}');
    it->event = buf_steal(&e);
}

void job_decide(const struct config *c, struct job *j)
{
    struct store_item *it = &j->item;
    const struct record *r = j->rec;
    const struct cfg_desk *desk = config_desk(c, j->env->desks.v[0]);
    const char *no_ack = NULL;
    json_t *thread;
    memset(it, 0, sizeof *it);
    it->env = j->env;
    it->rec = j->rec;
    memcpy(it->ukey, j->ukey, sizeof it->ukey);
    it->alone = j->rounds >= ALONE_ROUNDS;
    job_scan_decide(c, j);
    it->desk = j->env->desks.v[0];
    it->channel = r->said_channel ? r->said_channel : j->env->channel == CH_MAIL ? "mail" : channel_name(j->env->channel);
    it->language = r->language && strcmp(r->language, "und") != 0 ? r->language
                   : j->look.customer_language                    ? j->look.customer_language
                   : desk && desk->languages.n                    ? desk->languages.v[0]
                                                                  : c->default_language;
    it->degraded = (r->flags & REC_DEGRADED) != 0;
    it->representative = json_of(r->representative);
    j->staff = !j->sender_unproven && is_staff(c, j->sender);
    it->actor = j->staff ? "staff" : "intake";
    fill_thread(c, j, &thread);
    fill_customer(j);
    struct rule_input in = {.record = r, .desk = it->desk, .channel = it->channel, .sender = j->sender, .customer_flags = &j->look.customer_flags};
    rules_decide(c, &in, &j->decision);
    j->decided = true;
    it->category = j->decision.category;
    it->priority = priority_name(j->decision.priority);
    it->team = j->decision.team;
    it->region = j->decision.region;
    it->skills = j->decision.skills.n ? literal(&j->decision.skills) : NULL;
    it->about = j->decision.about.n ? literal(&j->decision.about) : NULL;
    it->tags = literal(&j->decision.tags);
    it->desks = literal(&j->env->desks);
    it->recipients = literal(&j->env->recipients);
    if (it->is_new) {
        const struct cfg_policy *p = desk ? config_policy(c, desk->policy) : NULL;
        fill_plan(c, j, p ? p : config_policy(c, c->default_policy));
        if ((no_ack = fill_acknowledgement(c, j))) /* nothing is owed that could be late */
            it->due_us[TARGET_ACKNOWLEDGE] = 0;
        if (strcmp(it->category, "unclassified") == 0)
            metrics_inc(M_UNCLASSIFIED);
        if (j->decision.conflict) {
            metrics_inc(M_ASSIGN_CONFLICTS);
            log_event(LOG_L_ERROR, EV_ASSIGN_CONFLICT, "ref=%s team=%s", it->ref, log_quote(it->team));
        }
    }
    if (r->flags & REC_TRUNCATED_MATCH)
        metrics_inc(M_MATCH_TRUNCATED);
    if (!it->is_new)
        no_ack = no_acknowledgement(c, j, j->env->channel == CH_SMS, false);
    it->event_kind = it->outcome == OUT_FOLLOW_UP && !j->staff ? "message-received" : "message-attached";
    it->attachments = job_attachments_json(r, j->env);
    fill_texts(j, thread, no_ack);
    json_decref(thread);
    claim_keys(j);
}

void job_undecide(struct job *j)
{
    while (j->nused) {
        struct inflight_entry *e = j->used[--j->nused];
        if (e->owner == j)
            e->owner = NULL;
        inflight_release(e);
    }
    if (j->decided)
        decision_free(&j->decision);
    j->decided = false;
    store_item_clear(&j->item);
}

/* From facts, hits and look-up to everything that will be written: thread, rules, clocks, acknowledgement. No I/O. */
#include <stdio.h>
#include <string.h>

#include "daemon/core/clock.h"
#include "daemon/core/json_text.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/escalation/plan.h"
#include "daemon/escalation/tell.h"
#include "daemon/intake/handle.h"
#include "daemon/job.h"

/* A message whose keys were lost to others this often is stored without claiming any: rather unthreaded than late. */
#define MAX_CLAIM_ROUNDS 4
/* One that came back this often is stored in a transaction of its own, so that others' races are no longer its own. */
#define ALONE_ROUNDS 2

_Static_assert(LOOKUP_MAX_KEYS == JOB_MAX_KEYS, "one flag for every key");

static void add_key(struct job *j, const char *message_id, enum thread_evidence e)
{
    if (!message_id || !*message_id || j->nkeys == JOB_MAX_KEYS)
        return;
    uint8_t key[LEDGER_KEY_SIZE];
    keys_thread(message_id, key);
    for (size_t i = 0; i < j->nkeys; i++)
        if (memcmp(j->keys[i], key, sizeof key) == 0)
            return;
    memcpy(j->keys[j->nkeys], key, sizeof key);
    j->key_evidence[j->nkeys++] = e;
}

/* Our own Message-IDs name their complaint ("ack.<id>@host"), so answers to them need no row of their own in thread_keys. The name
 * proves nothing: who answers must take part in the complaint, as with any other evidence. */
static void add_own_id(struct job *j, const char *message_id)
{
    char text[UUID_TEXT_SIZE];
    struct uuid id;
    if (!message_id || !str_starts(message_id, "ack.") || strlen(message_id) < 4 + UUID_TEXT_SIZE || message_id[3 + UUID_TEXT_SIZE] != '@' ||
        j->nown_ids == JOB_MAX_OWN_IDS)
        return;
    snprintf(text, sizeof text, "%s", message_id + 4);
    if (uuid_parse(text, &id) < 0)
        return;
    for (size_t i = 0; i < j->nown_ids; i++)
        if (uuid_equal(&j->own_ids[i], &id))
            return;
    j->own_ids[j->nown_ids++] = id;
}

void job_prepare(struct job *j)
{
    const struct record *r = j->rec;
    const char *who = r->email ? r->email : r->phone;
    free(j->handle);
    j->handle = NULL;
    if (r->email)
        j->handle = cd_asprintf("mail:%s", r->email);
    else if (r->phone)
        j->handle = cd_asprintf("tel:%s", r->phone);
    else if (r->external_id)
        j->handle = cd_asprintf("ext:%s:%s", j->env->client ? j->env->client : "", r->external_id);
    free(j->sender);
    j->sender = cd_strdup(who);
    j->nown_ids = 0;
    add_own_id(j, r->in_reply_to);
    for (size_t i = r->references.n; i-- > 0;)
        add_own_id(j, r->references.v[i]);
    j->nkeys = 0;
    add_key(j, r->in_reply_to, TE_IN_REPLY_TO);
    for (size_t i = r->references.n; i-- > 0;) /* the nearest ancestor stands last */
        add_key(j, r->references.v[i], TE_REFERENCES);
    add_key(j, r->message_id, TE_OWN_ID);
}

static void use(struct job *j, struct inflight_entry *e)
{
    cd_assert(j->nused < ARRAY_LEN(j->used));
    j->used[j->nused++] = e;
}

/* Candidates that are on their way and so not yet in the database. */
static size_t candidates(struct job *j, struct thread_candidate *out, size_t max)
{
    size_t n = 0;
    /* what keeps failing may hang on a message that will never be stored: then only the database counts */
    for (size_t i = 0; i < j->nkeys && n < max && j->rounds <= MAX_CLAIM_ROUNDS; i++) {
        struct inflight_entry *e = inflight_find(IF_THREAD, j->keys[i]);
        const struct job *o = e ? e->owner : NULL;
        if (!o || o == j || uuid_is_nil(&e->id))
            continue;
        out[n] = (struct thread_candidate){.evidence = j->key_evidence[i], .complaint_id = e->id};
        snprintf(out[n].ref, sizeof out[n].ref, "%s", o->item.ref);
        if (o->sender)
            strlist_add(&out[n].participants, o->sender);
        n++;
    }
    for (size_t i = 0; i < j->look.ncandidates && n < max; i++) {
        out[n] = j->look.candidates[i];
        out[n++].participants = (struct strlist){0};
        for (size_t k = 0; k < j->look.candidates[i].participants.n; k++)
            strlist_add(&out[n - 1].participants, j->look.candidates[i].participants.v[k]);
    }
    return n;
}

/* Mail of our own teams and contacts is no customer's: it may join whatever it refers to, changes no state, and gets no acknowledgement. */
static bool is_staff(const struct config *c, const char *sender)
{
    for (size_t i = 0; sender && i < c->nteams; i++)
        if (str_ieq(c->teams[i].contact.mail, sender))
            return true;
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
    struct thread_candidate cand[LOOKUP_MAX_CANDIDATES * 2];
    struct thread_decision d;
    struct store_item *it = &j->item;
    size_t n = candidates(j, cand, ARRAY_LEN(cand));
    for (size_t i = 0; i < n && j->staff; i++)
        strlist_add(&cand[i].participants, j->sender);
    thread_decide(j->rec, j->sender, cand, n, clock_service_us(), c->reopen_window_us, &d);
    it->outcome = outcome_of(j->rec, d.action == THREAD_JOIN);
    it->is_new = it->outcome == OUT_NEW;
    if (d.action == THREAD_JOIN)
        it->complaint_id = d.candidate->complaint_id;
    else if (it->is_new)
        it->complaint_id = j->env->id;
    if (d.action == THREAD_JOIN)
        snprintf(it->ref, sizeof it->ref, "%s", d.candidate->ref);
    else if (it->is_new)
        ref_new(it->ref);
    if (d.action == THREAD_LINK && it->is_new)
        it->links[it->nlinks++] = (struct store_link){
            d.candidate->complaint_id, d.candidate->evidence == TE_OWN_ID ? "same-message-id" : "possibly-related"};
    *ret_reasons = d.reasons;
    for (size_t i = 0; i < n; i++)
        strlist_free(&cand[i].participants);
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
    if (uuid_is_nil(&it->complaint_id) || j->rounds > MAX_CLAIM_ROUNDS)
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

static void fill_customer(struct job *j)
{
    struct store_item *it = &j->item;
    if (!j->handle || uuid_is_nil(&it->complaint_id) || j->rec->cls != MC_PERSON)
        return;
    it->handle = cd_strdup(j->handle);
    if (j->look.customer_found) {
        it->customer_id = j->look.customer_id;
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
static void tell_at_receipt(const struct config *c, struct store_item *it, const struct cfg_policy *policy, const struct plan *p,
                            int64_t received_us)
{
    char id[UUID_TEXT_SIZE];
    const char *step;
    uuid_format(&it->complaint_id, id);
    while ((size_t)it->steps_fired < p->nsteps && p->steps[it->steps_fired].due_us == received_us)
        it->steps_fired++;
    for (int i = it->steps_fired; i-- > 0;) { /* the highest level first, as the scheduler does */
        struct tell_input in = {.complaint_id = id, .policy = policy->name, .team = it->team, .level = p->steps[i].level,
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

static void fill_plan(const struct config *c, struct store_item *it, const struct cfg_policy *policy, enum priority prio, int64_t received_us)
{
    struct plan p;
    struct buf steps;
    plan_make(c, policy, prio, received_us, &p);
    for (int k = 0; k < TARGET_COUNT; k++)
        it->due_us[k] = p.due_us[k];
    tell_at_receipt(c, it, policy, &p, received_us);
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
    return NULL;
}

/* Every person's complaint is acknowledged once; where it is not, the row says why (RFC 3834 and what follows from it). Returns that, or
 * NULL for one that will be sent. */
static const char *fill_acknowledgement(const struct config *c, struct job *j)
{
    const struct record *r = j->rec;
    const char *mail = j->env->channel == CH_MAIL && r->reply_to ? r->reply_to : r->email;
    bool unreachable = mail && !mail_address_valid(mail, strlen(mail), true);
    bool by_sms = j->env->channel == CH_SMS || !mail || (unreachable && r->phone && c->nsms_providers);
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
    n->life_us = c->notify_statutory_life_us;
    n->key = cd_asprintf("ack.%s", id);
    return n->reason;
}

static char *attachments_json(const struct job *j)
{
    const struct record *r = j->rec;
    if (!r->nattachments)
        return NULL;
    char id[UUID_TEXT_SIZE], hex[2 * SHA256_SIZE + 1];
    uuid_format(&j->env->id, id);
    json_t *list = json_array();
    for (size_t i = 0; i < r->nattachments; i++) {
        const struct attachment *a = &r->attachments[i];
        if (a->offset > j->env->raw.len || a->length > j->env->raw.len - a->offset)
            continue; /* a place outside the message: the worker is not believed */
        hex_encode(a->sha256, SHA256_SIZE, hex);
        json_array_append_new(list, json_pack("{s:s, s:i, s:s, s:s, s:s, s:I, s:I, s:I, s:s, s:b}", "message", id, "n", (int)i + 1, "filename",
                                              a->filename, "type", a->content_type, "encoding", a->encoding, "at", (json_int_t)a->offset,
                                              "length", (json_int_t)a->length, "size", (json_int_t)a->size_bytes, "sha256", hex, "inline",
                                              (int)a->is_inline));
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

/* The rules' reasons, with those of thread and acknowledgement behind them in the same object. */
static char *decision_text(const struct job *j, const json_t *thread, const char *ack)
{
    const char *reasons = j->decision.reasons;
    struct buf b;
    size_t n = strlen(reasons) - 1; /* without the brace that closes it */
    buf_init(&b, n + CD_MIB(1));
    cd_assert(buf_reserve(&b, n + 100) == 0);
    buf_append(&b, reasons, n);
    json_text_name(&b, "thread");
    if (json_array_size(thread)) {
        char *text CD_CLEANUP_FREE = json_dumps(thread, JSON_COMPACT);
        buf_append_str(&b, text);
    } else {
        buf_append_str(&b, "[]");
    }
    json_text_member(&b, "acknowledgement", ack);
    put_degraded(&b, j->rec);
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
    }
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
    it->desk = j->env->desks.v[0];
    it->channel = r->said_channel ? r->said_channel : j->env->channel == CH_MAIL ? "mail" : channel_name(j->env->channel);
    it->language = r->language && strcmp(r->language, "und") != 0 ? r->language
                   : j->look.customer_language                    ? j->look.customer_language
                   : desk && desk->languages.n                    ? desk->languages.v[0]
                                                                  : c->default_language;
    it->degraded = (r->flags & REC_DEGRADED) != 0;
    j->staff = is_staff(c, j->sender);
    it->actor = j->staff ? "staff" : "intake";
    fill_thread(c, j, &thread);
    fill_customer(j);
    struct rule_input in = {.record = r, .desk = it->desk, .channel = it->channel, .sender = j->sender, .customer_flags = &j->look.customer_flags};
    rules_decide(c, &in, &j->decision);
    j->decided = true;
    it->category = j->decision.category;
    it->priority = priority_name(j->decision.priority);
    it->team = j->decision.team;
    it->tags = literal(&j->decision.tags);
    it->desks = literal(&j->env->desks);
    it->recipients = literal(&j->env->recipients);
    if (it->is_new) {
        const struct cfg_policy *p = desk ? config_policy(c, desk->policy) : NULL;
        fill_plan(c, it, p ? p : config_policy(c, c->default_policy), j->decision.priority, j->env->received_at_us);
        if ((no_ack = fill_acknowledgement(c, j))) /* nothing is owed that could be late */
            it->due_us[TARGET_ACKNOWLEDGE] = 0;
        if (strcmp(it->category, "unclassified") == 0)
            metrics_inc(M_UNCLASSIFIED);
    }
    if (r->flags & REC_TRUNCATED_MATCH)
        metrics_inc(M_MATCH_TRUNCATED);
    it->event_kind = it->outcome == OUT_FOLLOW_UP && !j->staff ? "message-received" : "message-attached";
    it->attachments = attachments_json(j);
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

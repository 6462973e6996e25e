/* What a message refers to, and the decision that follows from it. job_prepare() reads the record and the envelope: thread keys, tokens,
 * references, Message-IDs of ours; job_thread_decide() puts together what the database and the mails on their way say of them. No I/O. */
#include <stdio.h>
#include <string.h>

#include "daemon/core/err.h"
#include "daemon/intake/token.h"
#include "daemon/job.h"

#define MAX_FALSE 4 /* tokens: each costs a signature to find out */

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

/* Our own Message-IDs name their complaint ("ack.<id>.…@host", "case.<id>@host"), so answers to them need no row of their own in
 * thread_keys. The name proves nothing: who answers must take part in the complaint, as with any other evidence. */
static void add_own_id(struct job *j, const char *message_id)
{
    char text[UUID_TEXT_SIZE];
    struct uuid id;
    const char *name = !message_id ? NULL : str_starts(message_id, "ack.") ? message_id + 4 : str_starts(message_id, "case.") ? message_id + 5 : NULL;
    if (!name || strlen(name) < UUID_TEXT_SIZE || !strchr(".@", name[UUID_TEXT_SIZE - 1]) || j->nown_ids == JOB_MAX_OWN_IDS)
        return;
    snprintf(text, sizeof text, "%.36s", name);
    if (uuid_parse(text, &id) < 0)
        return;
    for (size_t i = 0; i < j->nown_ids; i++)
        if (uuid_equal(&j->own_ids[i], &id))
            return;
    j->own_ids[j->nown_ids++] = id;
}

/* ---- tokens ---- */

struct token_search {
    struct job *j;
    unsigned found, wrong;
};

static void add_token(struct token_search *s, const char *text, enum thread_evidence e)
{
    struct token t;
    struct job *j = s->j;
    if (s->found == JOB_MAX_TOKENS || s->wrong == MAX_FALSE) {
        j->tokens_skipped |= text != NULL;
        return;
    }
    int r = token_find(text, &t);
    if (r == CD_EPERM) {
        s->wrong++;
        j->false_token[e] = true;
    }
    if (r < 0 || t.kind != TOKEN_COMPLAINT)
        return;
    for (size_t i = 0; i < j->nrefs; i++)
        if (str_eq(j->refs[i].ref, t.ref))
            return;
    struct lookup_ref *ref = &j->refs[j->nrefs++];
    *ref = (struct lookup_ref){.evidence = e};
    memcpy(ref->ref, t.ref, sizeof ref->ref);
    s->found++;
}

static void find_tokens(struct job *j)
{
    struct token_search s = {.j = j};
    const struct record *r = j->rec;
    for (size_t i = 0; j->env->channel == CH_MAIL && i < j->env->recipients.n; i++)
        add_token(&s, j->env->recipients.v[i], TE_TOKEN_ADDRESS);
    add_token(&s, r->in_reply_to, TE_TOKEN_ID);
    for (size_t i = r->references.n; i-- > 0;)
        add_token(&s, r->references.v[i], TE_TOKEN_ID);
}

/* ---- what it refers to ---- */

static void find_references(struct job *j)
{
    const struct record *r = j->rec;
    char named[RECORD_MAX_REFS][REF_TEXT_SIZE];
    size_t n = r->subject ? ref_find(r->subject, strlen(r->subject), named, RECORD_MAX_REFS) : 0;
    j->nrefs = 0;
    j->tokens_skipped = false;
    memset(j->false_token, 0, sizeof j->false_token);
    find_tokens(j);
    for (size_t i = 0; i < r->nrefs; i++) {
        struct lookup_ref *ref = &j->refs[j->nrefs++];
        *ref = (struct lookup_ref){.evidence = TE_REFERENCE_NUMBER};
        memcpy(ref->ref, r->refs[i], sizeof ref->ref);
        for (size_t k = 0; k < n; k++)
            ref->in_subject |= str_eq(named[k], ref->ref);
    }
}

char *job_handle_of(const struct record *r, const struct envelope *e)
{
    if (r->email)
        return cd_asprintf("mail:%s", r->email);
    if (r->phone)
        return cd_asprintf("tel:%s", r->phone);
    return r->external_id ? cd_asprintf("ext:%s:%s", e->client ? e->client : "", r->external_id) : NULL;
}

static char *answer_to(const struct job *j)
{
    const struct record *r = j->rec;
    if (j->env->channel != CH_MAIL || !r->reply_to || str_ieq(r->reply_to, r->email))
        return NULL;
    char *handle = cd_asprintf("mail:%s", r->reply_to);
    str_lower(handle);
    return handle;
}

void job_prepare(struct job *j)
{
    const struct record *r = j->rec;
    free(j->handle);
    j->handle = job_handle_of(r, j->env);
    free(j->answer_to);
    j->answer_to = answer_to(j);
    free(j->sender);
    j->sender = cd_strdup(r->email ? r->email : r->phone);
    j->nown_ids = 0;
    add_own_id(j, r->in_reply_to);
    for (size_t i = r->references.n; i-- > 0;)
        add_own_id(j, r->references.v[i]);
    j->nkeys = 0;
    add_key(j, r->in_reply_to, TE_IN_REPLY_TO);
    for (size_t i = r->references.n; i-- > 0;) /* the nearest ancestor stands last */
        add_key(j, r->references.v[i], TE_REFERENCES);
    add_key(j, r->message_id, TE_OWN_ID);
    find_references(j);
    job_trace(j);
}

/* ---- the decision ---- */

static void add_all(struct strlist *to, const struct strlist *from)
{
    for (size_t i = 0; i < from->n; i++)
        if (!strlist_has(to, from->v[i]))
            strlist_add(to, from->v[i]);
}

/* The place of a complaint among the candidates; NULL when there is none left. */
static struct thread_candidate *place_of(struct job_thread *t, const struct uuid *id, const char *ref, enum thread_evidence e)
{
    for (size_t i = 0; i < t->n; i++)
        if (uuid_equal(&t->candidates[i].complaint_id, id)) {
            t->candidates[i].evidence = CD_MIN(t->candidates[i].evidence, e);
            return &t->candidates[i];
        }
    if (t->n == ARRAY_LEN(t->candidates))
        return NULL;
    struct thread_candidate *c = &t->candidates[t->n++];
    *c = (struct thread_candidate){.evidence = e, .complaint_id = *id};
    snprintf(c->ref, sizeof c->ref, "%s", ref);
    return c;
}

static void add_known(struct job_thread *t, const struct thread_candidate *from)
{
    struct thread_candidate *c = place_of(t, &from->complaint_id, from->ref, from->evidence);
    if (!c)
        return;
    c->named = from->named;
    c->done = from->done;
    c->closed = from->closed;
    c->closed_at_us = from->closed_at_us;
    c->last_us = from->last_us;
    add_all(&c->participants, &from->participants);
    add_all(&c->subjects, &from->subjects);
    add_all(&c->desks, &from->desks);
}

/* A message on its way, and so not yet in the database: something is being said in that complaint now. */
static void add_in_flight(struct job_thread *t, const struct job *o, const struct uuid *id, enum thread_evidence e)
{
    struct thread_candidate *c = place_of(t, id, o->item.ref, e);
    if (!c)
        return;
    c->last_us = CD_MAX(c->last_us, o->env->received_at_us);
    add_all(&c->desks, &o->env->desks);
    if (o->sender && !strlist_has(&c->participants, o->sender))
        strlist_add(&c->participants, o->sender);
    if (o->rec && o->rec->subject && !strlist_has(&c->subjects, o->rec->subject))
        strlist_add(&c->subjects, o->rec->subject);
}

static void find_candidates(struct job *j, struct job_thread *t)
{
    for (size_t i = 0; i < j->look.ncandidates; i++)
        add_known(t, &j->look.candidates[i]);
    /* what keeps failing may hang on a message that will never be stored: then only the database counts */
    for (size_t i = 0; i < j->nkeys && j->rounds <= JOB_CLAIM_ROUNDS; i++) {
        struct inflight_entry *e = inflight_find(IF_THREAD, j->keys[i]);
        const struct job *o = e ? e->owner : NULL;
        if (o && o != j && !uuid_is_nil(&e->id))
            add_in_flight(t, o, &e->id, j->key_evidence[i]);
    }
}

static void tell_false_tokens(const struct job *j, json_t *reasons)
{
    for (size_t e = 0; e < ARRAY_LEN(j->false_token); e++)
        if (j->false_token[e])
            json_array_append_new(reasons, json_pack("{s:s, s:s}", "evidence", thread_evidence_name((enum thread_evidence)e), "verdict",
                                                     "no key of ours signed it"));
}

/* Of line and HTTP. */
static const struct strlist *desks_of_client(const struct config *c, const struct envelope *e)
{
    for (size_t i = 0; e->channel != CH_MAIL && e->channel != CH_SMS && i < c->nclients; i++)
        if (str_eq(c->clients[i].name, e->client))
            return &c->clients[i].desks;
    return NULL;
}

void job_thread_decide(const struct config *c, struct job *j, struct job_thread *ret)
{
    const struct thread_weights w = {.fresh_us = c->threads_fresh_us,
                                     .max_age_us = c->threads_max_age_us,
                                     .reopen_window_us = c->reopen_window_us,
                                     .drift = (int)c->threads_drift,
                                     .age = (int)c->threads_age,
                                     .done = (int)c->threads_done,
                                     .join_at = (int)c->threads_join_at};
    const struct thread_message m = {.record = j->rec, .sender = j->sender, .staff = j->staff, .unproven = j->sender_unproven,
                                    .desks = desks_of_client(c, j->env),
                                    .at_us = j->env->received_at_us};
    ret->n = 0;
    find_candidates(j, ret);
    thread_decide(&m, ret->candidates, ret->n, &w, &ret->decision);
    tell_false_tokens(j, ret->decision.reasons);
}

const char *job_thread_link(const struct job_thread *t)
{
    return t->decision.new_matter                           ? "new-matter"
           : t->decision.candidate->evidence == TE_OWN_ID ? "same-message-id"
                                                            : "possibly-related";
}

void job_thread_free(struct job_thread *t)
{
    json_decref(t->decision.reasons);
    for (size_t i = 0; i < t->n; i++)
        thread_candidate_clear(&t->candidates[i]);
    t->n = 0;
}

void job_ask(struct job *j)
{
    struct lookup_request *q = &j->look;
    bool known = j->rec != NULL; /* else it is to be stored as pending: nothing is known of it but its key */
    lookup_clear(q);
    q->ukey = j->ukey;
    q->handle = known ? j->handle : NULL;
    q->answer_to = known ? j->answer_to : NULL;
    q->keys = (const uint8_t(*)[LEDGER_KEY_SIZE])j->keys;
    q->key_evidence = j->key_evidence;
    q->nkeys = known ? j->nkeys : 0;
    q->refs = j->refs;
    q->nrefs = known ? j->nrefs : 0;
    q->ids = j->own_ids;
    q->nids = known ? j->nown_ids : 0;
    q->told_id = known && !uuid_is_nil(&j->told_id) ? &j->told_id : NULL;
    q->told_key = known ? j->told_key : NULL;
}

/* A stored message that is read again: from its row to the envelope that it came in, as far as a decoder wants to know, and from the record to
 * JSON for complaintd.api_reread(). Nothing here waits or fails but for a row that is none; strings are copies. */
#include "daemon/reread.h"

#include <string.h>

#include "daemon/cases/life.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/intake/handle.h"
#include "daemon/job.h"
#include "daemon/scan/scan.h"
#include "daemon/store/pg.h"

const char reread_find_sql[] = "select about, raw from complaintd.api_reread_find($1, $2::uuid)";

struct reread {
    char *desk, *channel; /* channel: as the complaint has it, which rules may ask for */
    struct strlist flags; /* of the customer */
};

static char *copy(const json_t *o, const char *name)
{
    return cd_strdup(json_string_value(json_object_get(o, name)));
}

static void add_words(struct strlist *l, const json_t *list)
{
    size_t i;
    json_t *s;
    json_array_foreach(list, i, s)
        if (json_is_string(s))
            strlist_add(l, json_string_value(s));
}

/* ---- the envelope ---- */

/* A mail has its reverse-path in the field that we wrote in front of it. */
static char *sender_of(const struct envelope *e, const json_t *about)
{
    struct scan_mail m;
    char *from = NULL;
    if (e->channel == CH_MAIL && scan_mail_read(&e->raw, &e->id, &e->recipients, &m)) {
        from = cd_strdup(m.from);
        scan_mail_free(&m);
    }
    if (!from)
        from = copy(about, "sender");
    return from ? from : cd_strdup("");
}

/* The keys of line and HTTP begin with the client's name. */
static char *client_of(const struct envelope *e)
{
    const char *colon = e->channel == CH_MAIL || !e->key ? NULL : strchr(e->key, ':');
    return colon ? cd_strndup(e->key, (size_t)(colon - e->key)) : NULL;
}

static struct envelope *make_envelope(const json_t *about, const PGresult *found)
{
    const char *id = json_string_value(json_object_get(about, "message"));
    int channel = channel_from_name(json_string_value(json_object_get(about, "channel")));
    const char *hex = pg_text(found, 0, 1);
    size_t n = 0;
    unsigned char *raw = hex ? PQunescapeBytea((const unsigned char *)hex, &n) : NULL;
    struct envelope *e = raw && channel >= 0 ? envelope_new((enum channel_id)channel, n + 1) : NULL;
    if (e && (!id || uuid_parse(id, &e->id) < 0 || buf_append(&e->raw, raw, n) < 0))
        envelope_free(&e);
    PQfreemem(raw);
    if (!e)
        return NULL;
    e->received_at_us = json_integer_value(json_object_get(about, "received_us"));
    e->key = copy(about, "key");
    if (!e->key)
        e->key = cd_strdup("none");
    e->client = client_of(e);
    add_words(&e->recipients, json_object_get(about, "recipients"));
    strlist_take(&e->desks, copy(about, "desk"));
    e->sender = sender_of(e, about);
    return e;
}

struct reread *reread_new(const PGresult *found, struct envelope **ret)
{
    const char *text = pg_text(found, 0, 0);
    json_t *about = text ? json_loads(text, 0, NULL) : NULL;
    struct envelope *e = json_string_value(json_object_get(about, "desk")) ? make_envelope(about, found) : NULL;
    struct reread *r = NULL;
    if (e) {
        r = cd_alloc(sizeof *r);
        r->desk = copy(about, "desk");
        r->channel = copy(about, "said_channel");
        add_words(&r->flags, json_object_get(about, "flags"));
        *ret = e;
    }
    json_decref(about);
    return r;
}

void reread_free(struct reread **pr)
{
    struct reread *r = *pr;
    if (!r)
        return;
    *pr = NULL;
    free(r->desk);
    free(r->channel);
    strlist_free(&r->flags);
    free(r);
}

/* ---- the reading ---- */

static void put(json_t *o, const char *name, const char *value)
{
    json_object_set_new(o, name, value ? json_string(value) : json_null());
}

static json_t *words_of(const struct strlist *l)
{
    json_t *list = json_array();
    for (size_t i = 0; i < l->n; i++)
        json_array_append_new(list, json_string(l->v[i]));
    return list;
}

/* What the rules make of it now; a team only where there is one that it is not about. */
static json_t *rules_of(const struct config *c, const struct reread *r, const struct record *rec, const struct envelope *e, char **ret_targets)
{
    const char *channel = rec->said_channel ? rec->said_channel : r->channel ? r->channel : channel_name(e->channel);
    struct rule_input in = {.record = rec, .desk = r->desk, .channel = channel, .sender = rec->email ? rec->email : rec->phone,
                            .customer_flags = &r->flags};
    struct decision d = {0};
    json_t *o = json_object();
    rules_decide(c, &in, &d);
    put(o, "category", d.category);
    put(o, "priority", priority_name(d.priority));
    put(o, "team", d.conflict ? NULL : d.team);
    put(o, "region", d.region);
    json_object_set_new(o, "tags", words_of(&d.tags));
    json_object_set_new(o, "skills", words_of(&d.skills));
    json_object_set_new(o, "about", words_of(&d.about));
    json_object_set_new(o, "reasons", json_loads(d.reasons, 0, NULL));
    *ret_targets = life_targets(c, d.priority);
    decision_free(&d);
    return o;
}

static void put_texts(json_t *o, const struct record *rec)
{
    put(o, "class", message_class_name(rec->cls));
    put(o, "subject", rec->subject);
    put(o, "body", rec->text);
    put(o, "text_new", rec->text_new);
    put(o, "text_quoted", rec->text_quoted);
    put(o, "message_id", rec->message_id);
    put(o, "in_reply_to", rec->in_reply_to);
    put(o, "charset_note", rec->charset_note);
    put(o, "security", rec->security);
    json_object_set_new(o, "sent_us", json_integer(rec->sent_at_us));
}

static void put_sender(json_t *o, const struct record *rec, const struct envelope *e)
{
    char *handle CD_CLEANUP_FREE = job_handle_of(rec, e);
    struct uuid customer = uuid_new();
    char id[UUID_TEXT_SIZE];
    json_t *representative = rec->representative ? json_loads(rec->representative, 0, NULL) : NULL;
    uuid_format(&customer, id);
    put(o, "sender", rec->email ? rec->email : rec->phone ? rec->phone : e->sender);
    put(o, "name", rec->name);
    put(o, "email", rec->email);
    put(o, "phone", rec->phone);
    put(o, "handle", handle);
    put(o, "customer", id); /* of a new one, should the handle be nobody's */
    put(o, "language", rec->language && strcmp(rec->language, "und") != 0 ? rec->language : NULL);
    put(o, "remedy_sought", rec->remedy_sought);
    put(o, "representative", json_is_object(representative) ? rec->representative : NULL);
    json_decref(representative);
}

/* What came by line or HTTP holds its customer's address within: while nobody could read it, no acknowledgement could go anywhere. */
static void put_acknowledgement(const struct config *c, json_t *o, const struct record *rec, const struct envelope *e)
{
    bool mail = rec->email && mail_address_valid(rec->email, strlen(rec->email), true);
    const char *to = mail ? rec->email : c->nsms_providers ? rec->phone : NULL;
    if ((e->channel == CH_LINE || e->channel == CH_WEB) && to)
        json_object_set_new(o, "acknowledgement", json_pack("{s:s, s:s, s:I}", "transport", mail ? "mail" : "sms", "to", to, "life",
                                                            (json_int_t)(c->notify_statutory_life_us / CD_SEC(1))));
}

void reread_fill(const struct config *c, const struct reread *r, const struct record *rec, const struct envelope *e, struct case_query *q)
{
    json_t *o = json_object();
    char id[UUID_TEXT_SIZE], *targets = NULL;
    bool whole = !(rec->flags & REC_DEGRADED);
    if (whole) {
        char *attachments CD_CLEANUP_FREE = job_attachments_json(rec, e);
        put_texts(o, rec);
        put_sender(o, rec, e);
        put_acknowledgement(c, o, rec, e);
        json_object_set_new(o, "attachments", attachments ? json_loads(attachments, 0, NULL) : json_array());
        json_object_set_new(o, "rules", rules_of(c, r, rec, e, &targets));
    } else {
        put(o, "degraded", rec->degraded_reason ? rec->degraded_reason : "yes");
    }
    uuid_format(&e->id, id);
    free(q->params[REREAD_MESSAGE]);
    q->params[REREAD_MESSAGE] = cd_strdup(id);
    q->params[REREAD_READING] = json_dumps(o, JSON_COMPACT);
    q->params[REREAD_TARGETS] = targets;
    json_decref(o);
}

void reread_tell(const char *actor, const json_t *body)
{
    const char *ref = json_string_value(json_object_get(body, "ref")), *id = json_string_value(json_object_get(body, "message"));
    const char *reason = json_string_value(json_object_get(body, "degraded"));
    bool whole = json_is_true(json_object_get(body, "changed"));
    metrics_inc(whole ? M_REREADS_WHOLE : M_REREADS_DEGRADED);
    log_event(LOG_L_NOTICE, EV_INTAKE_REREAD, "id=%s ref=%s result=%s by=%s reason=%s", id ? id : "-", ref ? ref : "-",
              whole ? "whole" : "degraded", log_text(actor), reason ? log_text(reason) : "-");
}

/* SUBMIT: checks every field of the object before anything is kept, makes the envelope, and turns the outcome
 * into the answer. The raw bytes are the JSON text as received; the digest is taken over a canonical form of
 * it, so that a repeat whose fields come in another order is still the same. The envelope belongs to the host
 * once host->submit returned 0. */
#include <stdio.h>
#include <string.h>

#include "channels/line/line_verbs.h"
#include "daemon/core/clock.h"
#include "daemon/core/err.h"
#include "daemon/core/metrics.h"
#include "daemon/intake/handle.h"
#include "daemon/intake/keys.h"

struct submit_check {
    const struct config *cfg;
    const struct cfg_desk *desk;
    char *phone; /* E.164, owned; only when the number was given without its country */
    char field[64], message[160];
};

static int bad(struct submit_check *k, const char *group, const char *field, const char *message)
{
    snprintf(k->field, sizeof k->field, "%s%.*s", group,
             (int)utf8_cut(field, CD_MIN(strlen(field), (size_t)48)), field);
    snprintf(k->message, sizeof k->message, "%s", message);
    return CD_EINVAL;
}

/* ---- what a field may hold: NULL, or what is wrong ---- */

static const char *check_line(struct submit_check *k CD_UNUSED, const char *v)
{
    for (const char *p = v; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return "control characters are not allowed here";
    return NULL;
}

static const char *check_text(struct submit_check *k CD_UNUSED, const char *v)
{
    return v[strspn(v, " \t\r\n")] ? NULL : "empty: say what the complaint is";
}

static const char *check_remedy(struct submit_check *k CD_UNUSED, const char *v)
{
    return v[strspn(v, " \t\r\n")] ? NULL : "empty: say what the complainant wants, or leave it out";
}

static const char *check_key(struct submit_check *k, const char *v)
{
    return *v ? check_line(k, v) : "empty: give every complaint its own key";
}

static const char *check_channel(struct submit_check *k CD_UNUSED, const char *v)
{
    size_t n = strspn(v, "abcdefghijklmnopqrstuvwxyz-");
    return n > 0 && !v[n] ? NULL : "not a channel: lower-case letters and dashes, such as phone or counter";
}

static const char *check_desk(struct submit_check *k, const char *v)
{
    return config_desk(k->cfg, v) ? NULL : "no such desk in the configuration";
}

static const char *check_category(struct submit_check *k, const char *v)
{
    return config_category(k->cfg, v) ? NULL : "no such category in the configuration";
}

static const char *check_priority(struct submit_check *k CD_UNUSED, const char *v)
{
    return priority_from_name(v) >= 0 ? NULL : "not a priority: critical, high, normal or low";
}

static const char *check_language(struct submit_check *k CD_UNUSED, const char *v)
{
    size_t n = strspn(v, "abcdefghijklmnopqrstuvwxyz");
    if ((n == 2 || n == 3) && (!v[n] || v[n] == '-') &&
        !v[n + strspn(v + n, "-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")])
        return NULL;
    return "not a language tag: such as en, zh or zh-TW";
}

static const char *check_email(struct submit_check *k CD_UNUSED, const char *v)
{
    return mail_address_valid(v, strlen(v), true) ? NULL : "not a mail address";
}

/* Of who complains for somebody: nothing completes the number. */
static const char *check_whole_phone(struct submit_check *k CD_UNUSED, const char *v)
{
    char *international CD_CLEANUP_FREE = phone_normalize(v, NULL);
    return international ? NULL : "not a phone number: write it with + and the country's code";
}

static const char *check_phone(struct submit_check *k, const char *v)
{
    char *international CD_CLEANUP_FREE = phone_normalize(v, NULL);
    if (international)
        return NULL;
    const char *country = k->desk->phone_country;
    k->phone = phone_normalize(v, country && *country ? country : NULL);
    return k->phone ? NULL : "not a phone number: write it with + and the country's code";
}

struct submit_field {
    const char *name;
    size_t max; /* characters */
    bool required;
    const char *(*check)(struct submit_check *k, const char *v);
};

/* The desk stands first: the check of a number asks for the desk's country. */
static const struct submit_field fields[] = {
    {"desk", 64, false, check_desk},         {"key", 200, true, check_key},
    {"channel", 32, false, check_channel},   {"subject", 1000, false, check_line},
    {"text", SIZE_MAX, true, check_text},    {"category", 64, false, check_category},
    {"priority", 16, false, check_priority}, {"language", 35, false, check_language},
    {"remedy_sought", 2000, false, check_remedy},
};
static const struct submit_field customer_fields[] = {
    {"name", 200, false, check_line},
    {"email", 320, false, check_email},
    {"phone", 40, false, check_phone},
    {"external_id", 200, false, check_line},
};

/* Who complains for the customer, in what relation to them, and with what authority. */
static const struct submit_field representative_fields[] = {
    {"name", 200, true, check_line},         {"email", 320, false, check_email},    {"phone", 40, false, check_whole_phone},
    {"relation", 200, false, check_line},    {"authority", 200, false, check_line},
};

static const char *string_field(const json_t *o, const char *name)
{
    return json_string_value(json_object_get(o, name));
}

static const struct submit_field *find_field(const struct submit_field *v, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(v[i].name, name) == 0)
            return &v[i];
    return NULL;
}

static int check_known(struct submit_check *k, const char *group, const json_t *o,
                       const struct submit_field *v, size_t n)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)o, name, value)
        if (!find_field(v, n, name) && (*group || (strcmp(name, "customer") != 0 && strcmp(name, "representative") != 0)))
            return bad(k, group, name, "unknown field");
    return 0;
}

static int check_fields(struct submit_check *k, const char *group, const json_t *o,
                        const struct submit_field *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_object_get(o, v[i].name);
        const char *text = json_string_value(value);
        if (!value) {
            if (v[i].required)
                return bad(k, group, v[i].name, "missing");
            continue;
        }
        if (!text)
            return bad(k, group, v[i].name, "not a string");
        if (v[i].max != SIZE_MAX && line_utf8_length(text) > v[i].max)
            return bad(k, group, v[i].name, "too long");
        const char *wrong = v[i].check(k, text);
        if (wrong)
            return bad(k, group, v[i].name, wrong);
    }
    return 0;
}

static const struct cfg_desk *choose_desk(const struct config *c, const json_t *args, const char *preferred)
{
    const char *name = string_field(args, "desk");
    const struct cfg_desk *d = config_desk(c, name ? name : preferred ? preferred : "");
    return d || !c->ndesks ? d : &c->desks[0];
}

static int check_group(struct submit_check *k, const json_t *args, const char *name, const char *group, const struct submit_field *v,
                       size_t n)
{
    const json_t *o = json_object_get(args, name);
    if (!o)
        return 0;
    if (!json_is_object(o))
        return bad(k, "", name, "not an object");
    int r = check_known(k, group, o, v, n);
    return r < 0 ? r : check_fields(k, group, o, v, n);
}

static int check_submit(struct submit_check *k, const json_t *args)
{
    int r = check_known(k, "", args, fields, ARRAY_LEN(fields));
    if (r == 0)
        r = check_fields(k, "", args, fields, ARRAY_LEN(fields));
    if (r == 0)
        r = check_group(k, args, "customer", "customer.", customer_fields, ARRAY_LEN(customer_fields));
    if (r == 0)
        r = check_group(k, args, "representative", "representative.", representative_fields, ARRAY_LEN(representative_fields));
    return r;
}

/* ---- the envelope ---- */

static struct envelope *make_envelope(struct line_session *s, const struct line_request *rq,
                                      struct submit_check *k)
{
    char *canonical CD_CLEANUP_FREE = json_dumps(rq->args, JSON_SORT_KEYS | JSON_COMPACT);
    struct envelope *e = canonical ? envelope_new(CH_LINE, rq->njson) : NULL;
    if (!e)
        return NULL;
    if (buf_append(&e->raw, rq->json, rq->njson) < 0) {
        envelope_free(&e);
        return NULL;
    }
    keys_of_text(canonical, strlen(canonical), e->digest);
    e->received_at_us = clock_service_us();
    free(e->client);
    e->client = cd_strdup(s->client);
    free(e->key);
    e->key = cd_asprintf("%s:%s", s->client, string_field(rq->args, "key"));
    /* The worker that decodes has no configuration: a number without its country is completed here. */
    free(e->sender);
    e->sender = k->phone;
    k->phone = NULL;
    strlist_add(&e->desks, k->desk->name);
    return e;
}

static enum verb_result busy(struct line_slot *slot)
{
    metrics_inc(M_INTAKE_BUSY_LINE);
    line_answer_err(slot, "busy", "no durable place for it now: send it again with the same key", NULL, true);
    return VERB_DONE;
}

enum verb_result line_verb_submit(struct line_session *s, struct line_slot *slot,
                                  const struct line_request *rq)
{
    const struct channel_host *h = s->server->host;
    struct submit_check k = {.cfg = h->cfg, .desk = choose_desk(h->cfg, rq->args, s->desk)};

    if (!k.desk) { /* who may come without being named in the configuration finds a daemon without desks as well */
        line_answer_err(slot, "bad-argument", "there is no desk in the configuration", "desk", false);
        return VERB_DONE;
    }
    if (check_submit(&k, rq->args) < 0) {
        line_answer_err(slot, "bad-argument", k.message, k.field, false);
        free(k.phone);
        return VERB_DONE;
    }
    struct envelope *e = h->ready(h->front, rq->njson) ? make_envelope(s, rq, &k) : NULL;
    free(k.phone);
    if (!e || line_slot_wait(slot) < 0) {
        envelope_free(&e);
        return busy(slot);
    }
    e->ack = slot->ack;
    slot->submit = true;
    if (h->submit(h->front, e) == 0)
        return VERB_WAITING;
    line_slot_cancel(slot);
    envelope_free(&e);
    return busy(slot);
}

/* ---- the answer ---- */

static void set_known(json_t *o, const char *name, const char *value)
{
    if (value && *value)
        json_object_set_new(o, name, json_string(value));
}

static json_t *accepted(const struct ack_result *r)
{
    bool later = r->outcome == OUT_PENDING || r->outcome == OUT_SPOOLED;
    json_t *o = json_object();
    set_known(o, "ref", r->ref);
    json_object_set_new(o, "outcome", json_string(later ? "accepted" : outcome_name(r->outcome)));
    if (later) {
        char id[UUID_TEXT_SIZE];
        uuid_format(&r->envelope_id, id);
        json_object_set_new(o, "id", json_string(id));
    }
    if (r->outcome == OUT_SPOOLED)
        json_object_set_new(o, "spooled", json_true());
    set_known(o, "category", r->category);
    set_known(o, "priority", r->priority);
    set_known(o, "team", r->team);
    if (r->due_at_us) {
        char due[CLOCK_TEXT_SIZE];
        clock_format_s(r->due_at_us, due);
        json_object_set_new(o, "due", json_string(due));
    }
    return o;
}

void line_answer_submit(struct line_slot *slot, const struct ack_result *r)
{
    const char *reason = r->reason;
    switch (r->verdict) {
    case ACK_STORED:
        line_answer_ok(slot, accepted(r));
        return;
    case ACK_RETRY_LATER:
        metrics_inc(M_INTAKE_BUSY_LINE);
        line_answer_err(slot, "busy", "no durable place for it now: send it again with the same key", NULL,
                        true);
        return;
    case ACK_REJECTED:
        if (str_eq(reason, "key-reused"))
            line_answer_err(slot, reason, "this key was used for another content", "key", false);
        else
            line_answer_err(slot, reason ? reason : "rejected", "the complaint cannot be taken", NULL, false);
        return;
    }
}

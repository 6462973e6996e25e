/* What SUBMIT of the line protocol and POST /v1/complaints have in common: what the fields of a complaint may hold, and what its sender
 * is told. Every field is checked before anything is kept. The check owns the number that it completed until the caller takes it; a
 * fault is a field and a sentence for people. */
#include "channels/submit.h"

#include <stdio.h>
#include <string.h>

#include "daemon/core/clock.h"
#include "daemon/core/err.h"
#include "daemon/intake/handle.h"

/* ---- fields ---- */

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
    if (!config_desk(k->cfg, v))
        return "no such desk in the configuration";
    return k->scope->n == 0 || strlist_has(k->scope, v) ? NULL : "not one of this client's desks";
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

/* The desk stands first: the check of a number asks for the desk's country. */
const struct submit_field submit_fields[] = {
    {"desk", 64, 0, check_desk, NULL, "A desk of the configuration; otherwise the client's, otherwise the first."},
    {"key", 200, SUBMIT_REQUIRED | SUBMIT_LINE, check_key, NULL, "One for each complaint; the same again is the same complaint."},
    {"channel", 32, 0, check_channel, "^[a-z-]+$", "How it reached the client: phone, counter, web, kiosk, …"},
    {"subject", 1000, 0, check_line, NULL, "One line."},
    {"text", SIZE_MAX, SUBMIT_REQUIRED, check_text, NULL, "The complaint in the customer's words."},
    {"category", 64, 0, check_category, NULL, "A category of the configuration; it stands over that of the rules."},
    {"priority", 16, 0, check_priority, "^(critical|high|normal|low)$", "Rules can only raise it."},
    {"language", 35, 0, check_language, "^[a-z]{2,3}(-[-0-9A-Za-z]*)?$", "Such as en, zh or zh-TW; otherwise it is guessed."},
    {"remedy_sought", 2000, 0, check_remedy, NULL, "What the complainant wants, in their words."},
};
const size_t submit_field_count = ARRAY_LEN(submit_fields);
const struct submit_field submit_customer_fields[] = {
    {"name", 200, 0, check_line, NULL, "Who complains."},
    {"email", 320, 0, check_email, NULL, "Where the acknowledgement goes."},
    {"phone", 40, 0, check_phone, NULL, "With + and the country's code; without it takes the country of the desk."},
    {"external_id", 200, 0, check_line, NULL, "The number by which the client's own systems know the customer."},
};
const size_t submit_customer_field_count = ARRAY_LEN(submit_customer_fields);
const struct submit_field submit_representative_fields[] = {
    {"name", 200, SUBMIT_REQUIRED, check_line, NULL, "Who complains for the customer."},
    {"email", 320, 0, check_email, NULL, "Where replies go when there is no address of the customer."},
    {"phone", 40, 0, check_whole_phone, NULL, "With + and the country's code."},
    {"relation", 200, 0, check_line, NULL, "What they are to the customer."},
    {"authority", 200, 0, check_line, NULL, "What entitles them to it."},
};
const size_t submit_representative_field_count = ARRAY_LEN(submit_representative_fields);

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
    json_object_foreach((json_t *)o, name, value) {
        const struct submit_field *f = find_field(v, n, name);
        if ((!f || (k->keyless && f->flags & SUBMIT_LINE)) &&
            (*group || (strcmp(name, "customer") != 0 && strcmp(name, "representative") != 0)))
            return bad(k, group, name, "unknown field");
    }
    return 0;
}

static int check_fields(struct submit_check *k, const char *group, const json_t *o,
                        const struct submit_field *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_object_get(o, v[i].name);
        const char *text = json_string_value(value);
        if (!value) {
            if (v[i].flags & SUBMIT_REQUIRED && !(k->keyless && v[i].flags & SUBMIT_LINE))
                return bad(k, group, v[i].name, "missing");
            continue;
        }
        if (!text)
            return bad(k, group, v[i].name, "not a string");
        if (v[i].max != SIZE_MAX && utf8_length(text) > v[i].max)
            return bad(k, group, v[i].name, "too long");
        const char *wrong = v[i].check(k, text);
        if (wrong)
            return bad(k, group, v[i].name, wrong);
    }
    return 0;
}

const struct cfg_desk *submit_desk(const struct config *c, const json_t *args, const char *preferred)
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

int submit_check(struct submit_check *k, const json_t *args)
{
    int r = check_known(k, "", args, submit_fields, submit_field_count);
    if (r == 0)
        r = check_fields(k, "", args, submit_fields, submit_field_count);
    if (r == 0)
        r = check_group(k, args, "customer", "customer.", submit_customer_fields, submit_customer_field_count);
    if (r == 0)
        r = check_group(k, args, "representative", "representative.", submit_representative_fields, submit_representative_field_count);
    return r;
}

/* ---- the answer ---- */

static void set_known(json_t *o, const char *name, const char *value)
{
    if (value && *value)
        json_object_set_new(o, name, json_string(value));
}

json_t *submit_answer(const struct ack_result *r)
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

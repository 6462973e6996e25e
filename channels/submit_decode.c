/* The decoder of a submitted complaint: the JSON object to a record. Runs in the triage worker on bytes that the front has checked, and
 * checks them again, since a spool or a pending row may have handed them over. Allocates what it puts into the record; CD_EINVAL when
 * the object is not one. */
#include <string.h>

#include "channels/submit.h"
#include "daemon/core/err.h"
#include "daemon/intake/handle.h"
#include "daemon/intake/language.h"

/* The table of pending envelopes may hold what an older version took in: fields are copied when they are
 * strings. */
static char *copy_field(const json_t *o, const char *name)
{
    const char *s = json_string_value(json_object_get(o, name));
    return s && *s ? cd_strdup(s) : NULL;
}

static void replace(char **field, char *value)
{
    if (!value)
        return;
    free(*field);
    *field = value;
}

static void decode_customer(const struct envelope *e, const json_t *customer, struct record *r)
{
    char *email CD_CLEANUP_FREE = copy_field(customer, "email");
    char *phone CD_CLEANUP_FREE = copy_field(customer, "phone");

    replace(&r->name, copy_field(customer, "name"));
    replace(&r->external_id, copy_field(customer, "external_id"));
    if (email)
        replace(&r->email, mail_address_normalize(email));
    if (phone) /* the session completes numbers that come without their country, and says so in `sender` */
        replace(&r->phone, phone_normalize(e->sender && *e->sender ? e->sender : phone, NULL));
}

/* Its fields as one line of JSON, addresses normalized. */
static void decode_representative(const json_t *given, struct record *r)
{
    static const char *const names[] = {"name", "email", "phone", "relation", "authority"};
    json_t *o = json_object();
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char *v = copy_field(given, names[i]), *normal = NULL;
        if (v && strcmp(names[i], "email") == 0)
            normal = mail_address_normalize(v);
        else if (v && strcmp(names[i], "phone") == 0)
            normal = phone_normalize(v, NULL);
        if (v)
            json_object_set_new(o, names[i], json_string(normal ? normal : v));
        free(normal);
        free(v);
    }
    if (json_object_size(o) > 0)
        replace(&r->representative, json_dumps(o, JSON_COMPACT));
    json_decref(o);
}

static void find_refs(struct record *r)
{
    r->nrefs = ref_find(r->subject, strlen(r->subject), r->refs, RECORD_MAX_REFS);
    char more[RECORD_MAX_REFS][REF_TEXT_SIZE];
    size_t n = ref_find(r->text, strlen(r->text), more, RECORD_MAX_REFS);
    for (size_t i = 0; i < n && r->nrefs < RECORD_MAX_REFS; i++) {
        size_t j = 0;
        while (j < r->nrefs && strcmp(r->refs[j], more[i]) != 0)
            j++;
        if (j == r->nrefs)
            memcpy(r->refs[r->nrefs++], more[i], REF_TEXT_SIZE);
    }
}

int submit_decode(const struct envelope *e, const void *json, size_t n, struct record *r)
{
    json_error_t je;
    /* The library would read its hash seed from a file, which a worker cannot open. Random bits that no
     * client knows do. */
    size_t seed;
    memcpy(&seed, e->id.b + sizeof e->id.b - sizeof seed, sizeof seed);
    json_object_seed(seed);
    json_t *o = json_loadb(json, n, JSON_REJECT_DUPLICATES, &je);
    const char *text = json_string_value(json_object_get(o, "text"));
    if (!text) {
        json_decref(o);
        return CD_EINVAL;
    }
    r->cls = MC_PERSON;
    replace(&r->text, cd_strdup(text));
    char *subject = copy_field(o, "subject");
    replace(&r->subject, subject ? subject : cd_strdup(""));
    replace(&r->said_channel, copy_field(o, "channel"));
    replace(&r->category, copy_field(o, "category"));
    replace(&r->priority, copy_field(o, "priority"));
    char *language = copy_field(o, "language");
    replace(&r->language, language ? language : cd_strdup(language_guess("", text)));
    decode_customer(e, json_object_get(o, "customer"), r);
    replace(&r->remedy_sought, copy_field(o, "remedy_sought"));
    decode_representative(json_object_get(o, "representative"), r);
    json_decref(o);
    find_refs(r);
    return 0;
}

/* The arguments of the life cycle's verbs that are more than words, and what they need of the configuration. Values come from a request whose
 * names were checked; parameters are copies, owned by the query. Faults are sentences for the caller. */
#include "daemon/cases/life.h"

#include <stdio.h>
#include <string.h>

#include "daemon/core/clock.h"
#include "daemon/core/ref.h"
#include "daemon/core/uuid.h"
#include "daemon/intake/token.h"

#define LONGEST_WAIT_US (366 * CD_HOUR(24))

static const char *check_text(const char *s)
{
    size_t n = 0;
    for (const char *p = s; *p; p++)
        n += ((unsigned char)*p & 0xC0) != 0x80;
    return n > CASE_MAX_TEXT ? "too long" : !s[strspn(s, " \t\r\n")] ? "empty" : NULL;
}

const char *life_read_said(const struct config *c CD_UNUSED, const json_t *v, char **ret)
{
    const char *s = json_string_value(v), *wrong = s ? check_text(s) : "not a string";
    if (!wrong)
        *ret = cd_strdup(s);
    return wrong;
}

const char *life_read_for(const struct config *c CD_UNUSED, const json_t *v, char **ret)
{
    const char *s = json_string_value(v);
    int64_t us;
    if (!s || str_parse_duration(s, &us) < 0 || us <= 0 || us > LONGEST_WAIT_US)
        return "not a duration such as 3d or 12h, or longer than a year";
    *ret = cd_asprintf("%lld.%06lld", (long long)(us / 1000000), (long long)(us % 1000000));
    return NULL;
}

const char *life_time(const json_t *v, const char *wrong, char **ret)
{
    const char *s = json_string_value(v);
    char text[CLOCK_TEXT_SIZE];
    int64_t us;
    if (!s || clock_parse(s, &us) < 0)
        return wrong;
    clock_format(us, text);
    *ret = cd_strdup(text);
    return NULL;
}

const char *life_read_until(const struct config *c CD_UNUSED, const json_t *v, char **ret)
{
    return life_time(v, "not a time such as 2026-12-24T12:00:00Z", ret);
}

static const struct strlist *codes_of(const struct config *c, const char *name)
{
    return str_eq(name, "cause") ? &c->causes : &c->remedies;
}

bool life_listed(const struct config *c, const char *name)
{
    return codes_of(c, name)->n > 0;
}

/* Names the codes, as far as there is room: who is asked for one has nowhere else to look. */
const char *life_names_fault(const char *says, const struct strlist *names)
{
    static char text[600];
    snprintf(text, sizeof text, "%s", says);
    for (size_t i = 0; i < names->n; i++) {
        size_t n = strlen(text);
        if (n + strlen(names->v[i]) + 8 > sizeof text) {
            snprintf(text + n, sizeof text - n, ", …");
            break;
        }
        snprintf(text + n, sizeof text - n, "%s %s", i ? "," : "", names->v[i]);
    }
    return text;
}

const char *life_codes_fault(const struct config *c, const char *name)
{
    char says[100];
    snprintf(says, sizeof says, "not a code for the %s: write one of", name);
    return life_names_fault(says, codes_of(c, name));
}

/* One of a list of codes; free text, as much as a person writes, where there is no list. */
static const char *read_code(const struct config *c, const char *name, const json_t *v, char **ret)
{
    const char *s = json_string_value(v);
    if (!s)
        return "not a string";
    if (life_listed(c, name) && !strlist_has(codes_of(c, name), s))
        return life_codes_fault(c, name);
    const char *wrong = *s ? check_text(s) : "empty: leave it out where there is none";
    if (!wrong)
        *ret = cd_strdup(s);
    return wrong;
}

const char *life_read_cause(const struct config *c, const json_t *v, char **ret)
{
    return read_code(c, "cause", v, ret);
}

const char *life_read_remedy(const struct config *c, const json_t *v, char **ret)
{
    return read_code(c, "remedy", v, ret);
}

static void add(struct case_query *q, char *owned)
{
    cd_assert(q->nparams < CASE_MAX_PARAMS);
    q->params[q->nparams++] = owned;
}

static char *seconds(int64_t us)
{
    return cd_asprintf("%lld", (long long)(us / CD_SEC(1)));
}

/* The message's id, the Message-ID that it has as a mail, and how long it is tried. The Message-ID holds the complaint's token, so that an
 * answer finds back from any address. */
void life_add_reply(const struct config *c, const struct request *rq, struct case_query *q)
{
    const struct uuid id = uuid_new();
    char text[UUID_TEXT_SIZE], token[TOKEN_TEXT_SIZE], ref[REF_TEXT_SIZE] = "";
    const char *given = json_string_value(json_object_get(rq->args, "ref"));
    if (given)
        (void)!ref_parse(given, strlen(given), ref);
    token_complaint(ref, '\0', token);
    uuid_format(&id, text);
    add(q, cd_strdup(text));
    add(q, cd_asprintf("reply.%s%s%s@%s", text, token[0] ? "." : "", token, c->hostname ? c->hostname : "localhost"));
    add(q, seconds(c->notify_statutory_life_us));
}

/* The team of the new category, and what each policy promises at the new priority. */
void life_add_reclassify(const struct config *c, const struct request *rq, struct case_query *q)
{
    const char *category = json_string_value(json_object_get(rq->args, "category"));
    const char *word = json_string_value(json_object_get(rq->args, "priority"));
    const struct cfg_category *cat = category ? config_category(c, category) : NULL;
    add(q, cat && cat->team && *cat->team ? cd_strdup(cat->team) : NULL);
    add(q, life_targets(c, word ? priority_from_name(word) : -1));
}

char *life_targets(const struct config *c, int priority)
{
    json_t *targets = json_object();
    for (size_t i = 0; priority >= 0 && i < c->npolicies; i++) {
        const int64_t *us = c->policies[i].target_us[priority];
        json_t *row = json_array();
        for (size_t t = 0; t < TARGET_COUNT; t++)
            json_array_append_new(row, us[t] > 0 ? json_integer(us[t] / CD_SEC(1)) : json_null());
        json_object_set_new(targets, c->policies[i].name, row);
    }
    char *text = json_dumps(targets, JSON_COMPACT);
    json_decref(targets);
    return text;
}

/* Whether cause and remedy are codes, and when it is closed by itself. */
void life_add_resolve(const struct config *c, const struct request *rq CD_UNUSED, struct case_query *q)
{
    add(q, cd_strdup(c->causes.n ? "true" : "false"));
    add(q, cd_strdup(c->remedies.n ? "true" : "false"));
    add(q, c->cases_close_after_us > 0 ? seconds(c->cases_close_after_us) : NULL);
}

void life_add_reopen(const struct config *c, const struct request *rq CD_UNUSED, struct case_query *q)
{
    add(q, seconds(c->reopen_window_us));
}

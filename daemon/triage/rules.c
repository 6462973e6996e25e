/* The decision: every rule that holds adds to it, in the order of the files. The first category given stays,
 * the highest priority wins, the first team given stays, tags and flags are united. What the sender's own
 * client said comes on top: a category that exists replaces the rules', a priority can only raise. The
 * reasons name each rule that held, the words that made it hold and what it gave, so that a reader can follow
 * the decision without the program.
 *
 * Strings in the decision belong to the configuration; lists and reasons to the decision. Nothing here fails.
 */
#include "daemon/triage/rules.h"

#include <string.h>

#include "daemon/triage/conditions.h"
#include "daemon/triage/match.h"

#define REASONS_MAX_RULES 64 /* rules told one by one; the number of the others is told */
#define REASONS_MAX_WORDS 16 /* for each */

static const char *const unclassified = "unclassified";

struct making {
    const struct config *c;
    const struct rule_input *in;
    struct decision *d;
    json_t *rules; /* of the reasons */
    size_t more;   /* rules not told */
    const struct cfg_rule *category_by, *team_by, *priority_by;
};

/* ---- reasons ---- */

static json_t *text_json(const char *s)
{
    json_t *j = json_string(s);
    return j ? j : json_string(""); /* no UTF-8 */
}

static json_t *list_json(const struct strlist *l)
{
    json_t *a = json_array();
    for (size_t i = 0; i < l->n; i++)
        json_array_append_new(a, text_json(l->v[i]));
    return a;
}

static bool array_has(const json_t *a, const char *s)
{
    size_t i;
    json_t *v;
    json_array_foreach(a, i, v) {
        if (strcmp(json_string_value(v), s) == 0)
            return true;
    }
    return false;
}

static json_t *words_json(const struct making *m, const struct cfg_rule *rule, uint32_t pattern)
{
    json_t *words = json_array();
    for (size_t g = 0; g < rule->nall; g++) {
        for (size_t i = 0; i < rule->all[g].n; i++, pattern++) {
            const struct hit *h = hit_find(m->in->record, pattern, rule->all[g].v[i].field);
            if (h && h->word && json_array_size(words) < REASONS_MAX_WORDS && !array_has(words, h->word))
                json_array_append_new(words, text_json(h->word));
        }
    }
    return words;
}

static json_t *gave_json(const struct cfg_rule *rule)
{
    json_t *gave = json_object();
    if (*rule->category)
        json_object_set_new(gave, "category", text_json(rule->category));
    if (rule->priority >= 0)
        json_object_set_new(gave, "priority", json_string(priority_name((enum priority)rule->priority)));
    if (*rule->team)
        json_object_set_new(gave, "team", text_json(rule->team));
    if (rule->tags.n > 0)
        json_object_set_new(gave, "tags", list_json(&rule->tags));
    if (rule->flags.n > 0)
        json_object_set_new(gave, "flags", list_json(&rule->flags));
    return gave;
}

static void tell_rule(struct making *m, const struct cfg_rule *rule, uint32_t first_pattern)
{
    if (json_array_size(m->rules) >= REASONS_MAX_RULES) {
        m->more++;
        return;
    }
    json_t *j = json_object();
    json_object_set_new(j, "id", text_json(rule->id));
    json_object_set_new(j, "words", words_json(m, rule, first_pattern));
    json_object_set_new(j, "gave", gave_json(rule));
    json_array_append_new(m->rules, j);
}

/* "rule:ID", or the given word. */
static json_t *from_json(const struct cfg_rule *by, const char *otherwise)
{
    if (!by)
        return json_string(otherwise);
    CD_CLEANUP_FREE char *s = cd_asprintf("rule:%s", by->id);
    return text_json(s);
}

/* ---- effects ---- */

static void unite(struct strlist *to, const struct strlist *from)
{
    for (size_t i = 0; i < from->n; i++)
        if (!strlist_has(to, from->v[i]))
            strlist_add(to, from->v[i]);
}

static void apply_rule(struct making *m, const struct cfg_rule *rule)
{
    if (*rule->category && !m->category_by)
        m->category_by = rule;
    if (*rule->team && !m->team_by)
        m->team_by = rule;
    if (rule->priority >= 0 && (!m->priority_by || rule->priority < m->priority_by->priority))
        m->priority_by = rule;
    unite(&m->d->tags, &rule->tags);
    unite(&m->d->flags, &rule->flags);
}

static void apply_rules(struct making *m)
{
    const struct cfg_rules *rules = &m->c->rules;
    uint32_t pattern = 0;
    for (size_t i = 0; i < rules->n; pattern += rule_pattern_count(&rules->v[i]), i++) {
        if (!rule_holds(&rules->v[i], m->in, pattern))
            continue;
        apply_rule(m, &rules->v[i]);
        tell_rule(m, &rules->v[i], pattern);
    }
}

static void decide_category(struct making *m, json_t *reasons)
{
    const char *said = m->in->record->category;
    const struct cfg_category *known = said ? config_category(m->c, said) : NULL;
    if (known) {
        m->d->category = known->name;
        json_object_set_new(reasons, "category_from", json_string("said"));
        return;
    }
    m->d->category = m->category_by ? m->category_by->category : unclassified;
    json_object_set_new(reasons, "category_from", from_json(m->category_by, "none"));
}

static void decide_priority(struct making *m, json_t *reasons)
{
    const char *said = m->in->record->priority;
    int p = m->priority_by ? m->priority_by->priority : PRIO_NORMAL;
    int said_p = said ? priority_from_name(said) : -1;
    if (said_p >= 0 && said_p < p) {
        p = said_p;
        json_object_set_new(reasons, "priority_from", json_string("said"));
    } else {
        json_object_set_new(reasons, "priority_from", from_json(m->priority_by, "default"));
    }
    m->d->priority = (enum priority)p;
}

static void decide_team(struct making *m, json_t *reasons)
{
    const struct cfg_category *category = config_category(m->c, m->d->category);
    const struct cfg_desk *desk = m->in->desk ? config_desk(m->c, m->in->desk) : NULL;
    const char *from = NULL;
    if (m->team_by) {
        m->d->team = m->team_by->team;
    } else if (category && *category->team) {
        m->d->team = category->team;
        from = "category";
    } else if (desk && *desk->default_team) {
        m->d->team = desk->default_team;
        from = "desk";
    } else {
        m->d->team = m->c->fallback_team;
        from = "fallback";
    }
    json_object_set_new(reasons, "team_from", from_json(m->team_by, from));
}

void rules_decide(const struct config *c, const struct rule_input *in, struct decision *ret)
{
    *ret = (struct decision){0};
    struct making m = {.c = c, .in = in, .d = ret, .rules = json_array()};
    ret->reasons = json_object();
    json_object_set_new(ret->reasons, "rules", m.rules);
    apply_rules(&m);
    if (m.more > 0)
        json_object_set_new(ret->reasons, "rules_not_listed", json_integer((json_int_t)m.more));
    decide_category(&m, ret->reasons);
    decide_priority(&m, ret->reasons);
    decide_team(&m, ret->reasons);
    json_object_set_new(ret->reasons, "rules_version", text_json(c->rules.version));
}

void decision_free(struct decision *d)
{
    strlist_free(&d->tags);
    strlist_free(&d->flags);
    json_decref(d->reasons);
    *d = (struct decision){0};
}

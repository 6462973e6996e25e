/* The decision: every rule that holds adds to it, in the order of the files. The first category given stays,
 * the highest priority wins, the first team given that it is not about stays, tags, flags, skills and whom it is about are united. What the sender's own
 * client said comes on top: a category that exists replaces the rules', a priority can only raise. The
 * reasons name each rule that held, the words that made it hold and what it gave, so that a reader can follow
 * the decision without the program.
 *
 * Strings in the decision belong to the configuration; lists and reasons to the decision. Nothing here fails.
 */
#include "daemon/triage/rules.h"

#include <string.h>

#include "daemon/core/json_text.h"
#include "daemon/triage/conditions.h"
#include "daemon/triage/match.h"

#define REASONS_MAX_RULES 64 /* rules told one by one; the number of the others is told */
#define REASONS_MAX_WORDS 16 /* for each */
#define REASONS_CAP CD_MIB(64)
#define TEAM_RULES 64 /* that are looked at for a team which it is not about */

static const char *const unclassified = "unclassified";

struct making {
    const struct config *c;
    const struct rule_input *in;
    struct decision *d;
    struct buf *reasons;
    size_t told, more; /* rules told one by one, and the others */
    const struct cfg_rule *category_by, *priority_by, *region_by;
    const struct cfg_rule *team_by[TEAM_RULES]; /* those that gave a team, in order */
    size_t nteam_by;
};

/* ---- reasons ---- */

static void put_list(struct buf *out, const char *name, const struct strlist *l)
{
    json_text_name(out, name);
    json_text_open(out, '[');
    for (size_t i = 0; i < l->n; i++)
        json_text_string(out, l->v[i]);
    buf_append_char(out, ']');
}

/* The hit whose word is told for a phrase: in the subject rather than in the text, the first one of it. */
static const struct hit *hit_of(const struct hit *const *hits, size_t n, uint32_t pattern, enum rule_field field)
{
    const struct hit *in_text = NULL;
    for (size_t i = 0; i < n; i++) {
        if (hits[i]->pattern != pattern || !hit_fits(hits[i], field))
            continue;
        if (hits[i]->field == MF_SUBJECT)
            return hits[i];
        if (!in_text)
            in_text = hits[i];
    }
    return in_text;
}

static bool told_already(const char *const *words, size_t n, const char *word)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(words[i], word) == 0)
            return true;
    return false;
}

/* In the order of the phrases, each word once. */
static void put_words(struct making *m, const struct cfg_rule *rule, uint32_t first)
{
    const struct record *r = m->in->record;
    const struct hit *hits[RECORD_MAX_HITS];
    const char *words[REASONS_MAX_WORDS];
    uint32_t pattern = first, n = rule_pattern_count(rule);
    size_t nhits = 0, nwords = 0;
    for (size_t i = 0; i < r->nhits && nhits < ARRAY_LEN(hits); i++)
        if (r->hits[i].pattern >= first && r->hits[i].pattern - first < n && r->hits[i].word)
            hits[nhits++] = &r->hits[i];
    json_text_name(m->reasons, "words");
    json_text_open(m->reasons, '[');
    for (size_t g = 0; g < rule->nall; g++) {
        for (size_t i = 0; i < rule->all[g].n && nwords < REASONS_MAX_WORDS; i++) {
            const struct hit *h = hit_of(hits, nhits, pattern + (uint32_t)i, rule->all[g].v[i].field);
            if (!h || told_already(words, nwords, h->word))
                continue;
            words[nwords++] = h->word;
            json_text_string(m->reasons, h->word);
        }
        pattern += (uint32_t)rule->all[g].n;
    }
    buf_append_char(m->reasons, ']');
}

static void put_effects(struct buf *out, const struct cfg_rule *rule)
{
    json_text_name(out, "gave");
    json_text_open(out, '{');
    if (*rule->category)
        json_text_member(out, "category", rule->category);
    if (rule->priority >= 0)
        json_text_member(out, "priority", priority_name((enum priority)rule->priority));
    if (*rule->team)
        json_text_member(out, "team", rule->team);
    if (*rule->region)
        json_text_member(out, "region", rule->region);
    if (rule->skills.n > 0)
        put_list(out, "skills", &rule->skills);
    if (rule->about.n > 0)
        put_list(out, "about", &rule->about);
    if (rule->tags.n > 0)
        put_list(out, "tags", &rule->tags);
    if (rule->flags.n > 0)
        put_list(out, "flags", &rule->flags);
    buf_append_char(out, '}');
}

static void tell_rule(struct making *m, const struct cfg_rule *rule, uint32_t first_pattern)
{
    if (m->told == REASONS_MAX_RULES) {
        m->more++;
        return;
    }
    m->told++;
    json_text_open(m->reasons, '{');
    json_text_member(m->reasons, "id", rule->id);
    put_words(m, rule, first_pattern);
    put_effects(m->reasons, rule);
    buf_append_char(m->reasons, '}');
}

/* "rule:ID", or the given word. */
static void put_from(struct making *m, const char *name, const struct cfg_rule *by, const char *otherwise)
{
    CD_CLEANUP_FREE char *s = by ? cd_asprintf("rule:%s", by->id) : NULL;
    json_text_member(m->reasons, name, by ? s : otherwise);
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
    if (*rule->team && m->nteam_by < TEAM_RULES)
        m->team_by[m->nteam_by++] = rule;
    if (*rule->region && !m->region_by)
        m->region_by = rule;
    if (rule->priority >= 0 && (!m->priority_by || rule->priority < m->priority_by->priority))
        m->priority_by = rule;
    unite(&m->d->tags, &rule->tags);
    unite(&m->d->flags, &rule->flags);
    unite(&m->d->skills, &rule->skills);
    unite(&m->d->about, &rule->about);
}

static int by_number(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Patterns are numbered in the order of the rules: with the hits in that order, too, most rules are known at a glance not to hold,
 * because they want words and none of theirs occurs. */
static void apply_rules(struct making *m)
{
    const struct cfg_rules *rules = &m->c->rules;
    const struct record *r = m->in->record;
    uint32_t hits[RECORD_MAX_HITS], pattern = 0, n;
    size_t nhits = CD_MIN(r->nhits, (size_t)RECORD_MAX_HITS), next = 0;
    for (size_t i = 0; i < nhits; i++)
        hits[i] = r->hits[i].pattern;
    qsort(hits, nhits, sizeof hits[0], by_number);
    for (size_t i = 0; i < rules->n; pattern += n, i++) {
        n = rule_pattern_count(&rules->v[i]);
        while (next < nhits && hits[next] < pattern)
            next++;
        bool any = next < nhits && hits[next] - pattern < n;
        if ((rules->v[i].nall > 0 && !any) || !rule_holds(&rules->v[i], m->in, pattern))
            continue;
        apply_rule(m, &rules->v[i]);
        tell_rule(m, &rules->v[i], pattern);
    }
}

static void decide_category(struct making *m)
{
    const char *said = m->in->record->category;
    const struct cfg_category *known = said ? config_category(m->c, said) : NULL;
    if (known) {
        m->d->category = known->name;
        json_text_member(m->reasons, "category_from", "said");
        return;
    }
    m->d->category = m->category_by ? m->category_by->category : unclassified;
    put_from(m, "category_from", m->category_by, "none");
}

static void decide_priority(struct making *m)
{
    const char *said = m->in->record->priority;
    int p = m->priority_by ? m->priority_by->priority : PRIO_NORMAL;
    int said_p = said ? priority_from_name(said) : -1;
    if (said_p >= 0 && said_p < p) {
        p = said_p;
        json_text_member(m->reasons, "priority_from", "said");
    } else {
        put_from(m, "priority_from", m->priority_by, "default");
    }
    m->d->priority = (enum priority)p;
}

/* Whether a team may have it; it never goes to whom it is about. */
static bool may_have(const struct making *m, const char *team)
{
    return team && *team && !strlist_has(&m->d->about, team);
}

/* It is about every team that it would go to. */
static const char *another_team(struct making *m)
{
    if (may_have(m, m->c->conflict_team))
        return m->c->conflict_team;
    for (size_t i = 0; i < m->c->nteams; i++)
        if (may_have(m, m->c->teams[i].name))
            return m->c->teams[i].name;
    m->d->conflict = true;
    return m->c->fallback_team;
}

static void decide_team(struct making *m)
{
    const struct cfg_category *category = config_category(m->c, m->d->category);
    const struct cfg_desk *desk = m->in->desk ? config_desk(m->c, m->in->desk) : NULL;
    for (size_t i = 0; i < m->nteam_by; i++)
        if (may_have(m, m->team_by[i]->team)) {
            m->d->team = m->team_by[i]->team;
            put_from(m, "team_from", m->team_by[i], NULL);
            return;
        }
    const char *from;
    if (category && may_have(m, category->team)) {
        m->d->team = category->team;
        from = "category";
    } else if (desk && may_have(m, desk->default_team)) {
        m->d->team = desk->default_team;
        from = "desk";
    } else if (may_have(m, m->c->fallback_team) || !m->d->about.n) {
        m->d->team = m->c->fallback_team;
        from = "fallback";
    } else {
        m->d->team = another_team(m);
        from = m->d->conflict ? "nobody-else" : "conflict";
    }
    put_from(m, "team_from", NULL, from);
}

/* Who may get it: said only where the rules said something. */
static void decide_people(struct making *m)
{
    if (m->region_by) {
        m->d->region = m->region_by->region;
        put_from(m, "region_from", m->region_by, NULL);
    }
    if (m->d->skills.n)
        put_list(m->reasons, "skills", &m->d->skills);
    if (m->d->about.n)
        put_list(m->reasons, "about", &m->d->about);
}

void rules_decide(const struct config *c, const struct rule_input *in, struct decision *ret)
{
    struct buf reasons;
    buf_init(&reasons, REASONS_CAP);
    *ret = (struct decision){0};
    struct making m = {.c = c, .in = in, .d = ret, .reasons = &reasons};
    buf_append_str(&reasons, "{\"rules\":[");
    apply_rules(&m);
    buf_append_char(&reasons, ']');
    if (m.more > 0) {
        json_text_name(&reasons, "rules_not_listed");
        json_text_int(&reasons, (int64_t)m.more);
    }
    decide_category(&m);
    decide_priority(&m);
    decide_team(&m);
    decide_people(&m);
    json_text_member(&reasons, "rules_version", c->rules.version);
    buf_append_char(&reasons, '}');
    cd_assert(!reasons.failed); /* bounded by what a configuration file may hold */
    ret->reasons = buf_steal(&reasons);
}

void decision_free(struct decision *d)
{
    strlist_free(&d->tags);
    strlist_free(&d->flags);
    strlist_free(&d->skills);
    strlist_free(&d->about);
    free(d->reasons);
    *d = (struct decision){0};
}

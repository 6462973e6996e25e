/* The conditions of a rule. What a worker says about hits is taken as data: a pattern that does not exist, or
 * a hit in a field that its phrase does not look at, counts for nothing. */
#include "daemon/triage/conditions.h"

#include <string.h>

#include "daemon/triage/match.h"

bool hit_fits(const struct hit *h, enum rule_field field)
{
    return (h->field == MF_SUBJECT && field != RF_TEXT) || (h->field == MF_TEXT && field != RF_SUBJECT);
}

uint32_t rule_pattern_count(const struct cfg_rule *rule)
{
    size_t n = rule->none.n;
    for (size_t g = 0; g < rule->nall; g++)
        n += rule->all[g].n;
    return (uint32_t)n;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

bool glob_matches(const char *glob, const char *s)
{
    const char *star = NULL,
               *resume = NULL; /* after the last star seen, and how much of s it has swallowed */
    while (*s) {
        if (*glob == '*') {
            star = ++glob;
            resume = s;
        } else if (*glob == '?') {
            glob++;
            do /* one character, not one byte */
                s++;
            while (((unsigned char)*s & 0xc0) == 0x80);
        } else if (*glob && lower(*glob) == lower(*s)) {
            glob++;
            s++;
        } else if (star) {
            glob = star;
            s = ++resume;
        } else {
            return false;
        }
    }
    while (*glob == '*')
        glob++;
    return *glob == '\0';
}

static bool any_glob(const struct strlist *globs, const char *s)
{
    for (size_t i = 0; i < globs->n; i++)
        if (s && glob_matches(globs->v[i], s))
            return true;
    return false;
}

/* "zh" in a rule also means "zh-TW". */
static bool has_language(const struct strlist *l, const char *language)
{
    for (size_t i = 0; language && i < l->n; i++) {
        size_t n = strlen(l->v[i]);
        if (str_istarts(language, l->v[i]) && (language[n] == '\0' || language[n] == '-'))
            return true;
    }
    return false;
}

static bool has_any(const struct strlist *wanted, const struct strlist *have)
{
    for (size_t i = 0; have && i < have->n; i++)
        if (strlist_has(wanted, have->v[i]))
            return true;
    return false;
}

static bool group_holds(const struct cfg_condition_group *g, const struct record *r, uint32_t first)
{
    for (size_t i = 0; i < r->nhits; i++) {
        const struct hit *h = &r->hits[i];
        if (h->pattern >= first && h->pattern - first < g->n && hit_fits(h, g->v[h->pattern - first].field))
            return true;
    }
    return false;
}

/* The conditions that need no text. A client of the line protocol may have said by which way a person came
 * ("phone"). */
static bool facts_hold(const struct cfg_rule *rule, const struct rule_input *in)
{
    const struct record *r = in->record;
    if (rule->senders.n > 0 && !any_glob(&rule->senders, in->sender))
        return false;
    if (rule->desks.n > 0 && !(in->desk && strlist_has(&rule->desks, in->desk)))
        return false;
    if (rule->channels.n > 0 && !(in->channel && strlist_has(&rule->channels, in->channel)) &&
        !(r->said_channel && strlist_has(&rule->channels, r->said_channel)))
        return false;
    if (rule->languages.n > 0 && !has_language(&rule->languages, r->language))
        return false;
    if (rule->customer_flags.n > 0 && !has_any(&rule->customer_flags, in->customer_flags))
        return false;
    return rule->attachments < 0 || (rule->attachments > 0) == (r->nattachments > 0);
}

bool rule_holds(const struct cfg_rule *rule, const struct rule_input *in, uint32_t first)
{
    if (!facts_hold(rule, in))
        return false;
    for (size_t g = 0; g < rule->nall; first += (uint32_t)rule->all[g].n, g++)
        if (!group_holds(&rule->all[g], in->record, first))
            return false;
    return !group_holds(&rule->none, in->record, first);
}

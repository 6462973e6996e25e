#pragma once
/* Rules built by hand for the triage tests. Texts given are literals or copied; everything is freed by
 * fixture_free(). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "config/config.h"
#include "daemon/triage/match.h"

#define MAX_RULES 8
#define MAX_GROUPS 4

struct fixture {
    struct config c;
    struct cfg_rule rules[MAX_RULES];
    struct cfg_condition_group groups[MAX_RULES][MAX_GROUPS];
    struct faults faults;
    struct buf compiled;
    struct matcher *m;
};

static inline void fixture_init(struct fixture *x)
{
    *x = (struct fixture){.c = {.fallback_team = (char *)"general", .triage_match_bytes = CD_KIB(32)},
                          .faults = {.max = 100}};
    x->c.rules.v = x->rules;
    memcpy(x->c.rules.version, "0123456789abcdef", 17);
    buf_init(&x->compiled, CD_MIB(16));
}

static inline struct cfg_rule *add_rule(struct fixture *x, const char *id)
{
    struct cfg_rule *r = &x->rules[x->c.rules.n];
    *r = (struct cfg_rule){.id = (char *)id,
                           .all = x->groups[x->c.rules.n],
                           .attachments = -1,
                           .category = (char *)"",
                           .priority = -1,
                           .team = (char *)"",
                           .region = (char *)""};
    assert_true(x->c.rules.n++ < MAX_RULES);
    return r;
}

static inline void add_phrase(struct cfg_condition_group *g, enum rule_field field, bool regex,
                              const char *text)
{
    g->v = cd_realloc(g->v, (g->n + 1) * sizeof(*g->v));
    g->v[g->n] = (struct cfg_phrase){
        .text = (char *)text, .field = field, .regex = regex, .mark = {"rules.yaml", (int)g->n + 1, 7}};
    g->n++;
}

/* A further group that must hold; phrases end with NULL. */
static inline struct cfg_condition_group *add_group(struct cfg_rule *r, enum rule_field field, ...)
{
    va_list ap;
    const char *s;
    assert_true(r->nall < MAX_GROUPS);
    struct cfg_condition_group *g = &r->all[r->nall++];
    va_start(ap, field);
    while ((s = va_arg(ap, const char *)))
        add_phrase(g, field, false, s);
    va_end(ap);
    return g;
}

static inline int fixture_compile(struct fixture *x)
{
    int rc = match_compile(&x->c.rules, &x->compiled, &x->faults);
    return rc < 0 ? rc : matcher_new(x->compiled.data, x->compiled.len, &x->m);
}

static inline void fixture_free(struct fixture *x)
{
    for (size_t i = 0; i < x->c.rules.n; i++) {
        struct cfg_rule *r = &x->rules[i];
        for (size_t g = 0; g < r->nall; g++)
            free(r->all[g].v);
        free(r->none.v);
        strlist_free(&r->tags);
        strlist_free(&r->flags);
        strlist_free(&r->skills);
        strlist_free(&r->about);
        strlist_free(&r->senders);
        strlist_free(&r->desks);
        strlist_free(&r->channels);
        strlist_free(&r->languages);
        strlist_free(&r->customer_flags);
    }
    matcher_free(&x->m);
    buf_free(&x->compiled);
    faults_free(&x->faults);
}

static inline struct record *record_of(const char *subject, const char *text)
{
    struct record *r = record_new();
    free(r->subject);
    free(r->text);
    r->subject = cd_strdup(subject);
    r->text = cd_strdup(text);
    return r;
}

static inline const struct hit *find_hit(const struct record *r, uint32_t pattern, enum match_field field)
{
    for (size_t i = 0; i < r->nhits; i++)
        if (r->hits[i].pattern == pattern && r->hits[i].field == field)
            return &r->hits[i];
    return NULL;
}

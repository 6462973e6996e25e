/* The tests that rule files carry: each is a small message with what must become of it. Used by `--check`,
 * never while serving. */
#include "daemon/triage/rules.h"

#include <jansson.h>
#include <string.h>

#include "daemon/triage/match.h"

static void set_text(char **field, const char *s)
{
    free(*field);
    *field = cd_strdup(s ? s : "");
}

/* Names of the rules that held, for the fault: "a, b" or "no rule". */
static void rule_names(const struct decision *d, struct buf *out)
{
    size_t i;
    json_t *rule, *reasons = json_loads(d->reasons, 0, NULL);
    json_array_foreach(json_object_get(reasons, "rules"), i, rule)
        buf_printf(out, "%s%s", i ? ", " : "", json_string_value(json_object_get(rule, "id")));
    json_decref(reasons);
    if (out->len == 0)
        buf_append_str(out, "no rule");
}

static void expect(const struct cfg_rule_test *t, const char *what, const char *wanted, const char *got,
                   const char *held, struct faults *f)
{
    if (*wanted && strcmp(wanted, got) != 0)
        faults_add(f, t->mark, "test fails: %s is %s, expected %s (held: %s): correct the rules or the test",
                   what, got, wanted, held);
}

static void check_decision(const struct cfg_rule_test *t, const struct decision *d, struct faults *f)
{
    struct buf held;
    buf_init(&held, CD_KIB(4));
    rule_names(d, &held);
    expect(t, "category", t->category, d->category, buf_str(&held), f);
    expect(t, "priority", t->priority, priority_name(d->priority), buf_str(&held), f);
    expect(t, "team", t->team, d->team, buf_str(&held), f);
    expect(t, "region", t->region, d->region ? d->region : "", buf_str(&held), f);
    for (size_t i = 0; i < t->about.n; i++)
        if (!strlist_has(&d->about, t->about.v[i]))
            faults_add(f, t->mark, "test fails: it is not about %s (held: %s): correct the rules or the test", t->about.v[i], buf_str(&held));
    for (size_t i = 0; i < t->tags.n; i++)
        if (!strlist_has(&d->tags, t->tags.v[i]))
            faults_add(f, t->mark, "test fails: tag %s is missing (held: %s): correct the rules or the test",
                       t->tags.v[i], buf_str(&held));
    buf_free(&held);
}

size_t rules_run_tests(const struct config *c, struct matcher *m, struct faults *f)
{
    for (size_t i = 0; i < c->rules.ntests; i++) {
        const struct cfg_rule_test *t = &c->rules.tests[i];
        struct record *r = record_new();
        struct decision d;
        set_text(&r->subject, t->subject);
        set_text(&r->text, t->text);
        matcher_run(m, r, c->triage_match_bytes);
        const struct rule_input in = {.record = r,
                                      .desk = *t->desk ? t->desk : (c->ndesks ? c->desks[0].name : NULL),
                                      .channel = *t->channel ? t->channel : channel_name(CH_MAIL),
                                      .sender = *t->sender ? t->sender : NULL};
        rules_decide(c, &in, &d);
        check_decision(t, &d, f);
        decision_free(&d);
        record_free(&r);
    }
    return c->rules.ntests;
}

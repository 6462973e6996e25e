/* Decisions: what each rule adds, who wins, what a client's own words count for, and the reasons given. */
#include "tests/unit/triage/fixture.h"

#include <jansson.h>

#include "daemon/triage/conditions.h"
#include "daemon/triage/rules.h"

static struct cfg_category categories[] = {
    {.name = (char *)"billing", .team = (char *)"billing-team"},
    {.name = (char *)"safety", .team = (char *)"safety-team"},
    {.name = (char *)"other", .team = (char *)""},
};
static struct cfg_desk desks[] = {
    {.name = (char *)"care", .default_team = (char *)"care-team"},
    {.name = (char *)"shop", .default_team = (char *)""},
};

static void setup(struct fixture *x)
{
    fixture_init(x);
    x->c.categories = categories;
    x->c.ncategories = ARRAY_LEN(categories);
    x->c.desks = desks;
    x->c.ndesks = ARRAY_LEN(desks);
}

static struct cfg_rule *rule(struct fixture *x, const char *id, const char *phrase, const char *category,
                             int priority)
{
    struct cfg_rule *r = add_rule(x, id);
    if (phrase)
        add_group(r, RF_ANY, phrase, NULL);
    r->category = (char *)category;
    r->priority = priority;
    return r;
}

/* Matches and decides. */
static struct decision decide(struct fixture *x, const char *subject, const char *text, const char *desk)
{
    struct decision d;
    struct record *r = record_of(subject, text);
    if (!x->m)
        assert_int_equal(fixture_compile(x), 0);
    matcher_run(x->m, r, CD_KIB(32));
    struct rule_input in = {.record = r, .desk = desk, .channel = "mail", .sender = "a@example.com"};
    rules_decide(&x->c, &in, &d);
    record_free(&r);
    return d;
}

/* The reasons as a tree; it lives until the next call. */
static const json_t *reasons(const struct decision *d)
{
    static json_t *last;
    json_decref(last);
    last = d ? json_loads(d->reasons, JSON_REJECT_DUPLICATES, NULL) : NULL;
    assert_true(last || !d);
    return last;
}

static const char *reason(const struct decision *d, const char *key)
{
    return json_string_value(json_object_get(reasons(d), key));
}

static const json_t *told(const struct decision *d, size_t i)
{
    return json_array_get(json_object_get(reasons(d), "rules"), i);
}

static void test_first_and_highest(void **state CD_UNUSED)
{
    struct fixture x;
    setup(&x);
    struct cfg_rule *r = rule(&x, "bill", "bill", "billing", PRIO_LOW);
    strlist_add(&r->tags, "money");
    r = rule(&x, "fire", "fire", "safety", PRIO_CRITICAL);
    strlist_add(&r->tags, "money");
    strlist_add(&r->tags, "fire");
    strlist_add(&r->flags, "call");
    rule(&x, "unheard", "thunder", "other", PRIO_HIGH);
    struct decision d = decide(&x, "My BILL", "The bill is on fire", "care");
    assert_string_equal(d.category, "billing");
    assert_int_equal(d.priority, PRIO_CRITICAL);
    assert_string_equal(d.team, "billing-team");
    assert_int_equal(d.tags.n, 2);
    assert_true(strlist_has(&d.tags, "fire") && strlist_has(&d.flags, "call"));
    assert_string_equal(reason(&d, "category_from"), "rule:bill");
    assert_string_equal(reason(&d, "priority_from"), "rule:fire");
    assert_string_equal(reason(&d, "team_from"), "category");
    assert_string_equal(reason(&d, "rules_version"), "0123456789abcdef");
    assert_int_equal(json_array_size(json_object_get(reasons(&d), "rules")), 2);
    assert_string_equal(json_string_value(json_object_get(told(&d, 1), "id")), "fire");
    const json_t *words = json_object_get(told(&d, 0), "words");
    assert_int_equal(json_array_size(words), 1);
    assert_string_equal(json_string_value(json_array_get(words, 0)), "bill");
    const json_t *gave = json_object_get(told(&d, 1), "gave");
    assert_string_equal(json_string_value(json_object_get(gave, "category")), "safety");
    assert_string_equal(json_string_value(json_object_get(gave, "priority")), "critical");
    assert_int_equal(json_array_size(json_object_get(gave, "tags")), 2);
    decision_free(&d);
    fixture_free(&x);
}

/* Where it goes when rules, category, desk and fallback name whom it is about. */
static void test_never_to_whom_it_is_about(void **state CD_UNUSED)
{
    static char billing[] = "billing-team", care[] = "care-team", general[] = "general", other[] = "other-team", ann[] = "ann";
    static struct cfg_member members[] = {{.name = ann}};
    static struct cfg_team teams[] = {{.name = billing, .members = members, .nmembers = 1}, {.name = care}, {.name = general}, {.name = other}};
    struct fixture x;
    setup(&x);
    x.c.teams = teams;
    x.c.nteams = ARRAY_LEN(teams);
    rule(&x, "first", "bill", "billing", -1)->team = billing;
    rule(&x, "second", "parcel", NULL, -1)->team = care;
    x.rules[1].category = (char *)"";
    struct {
        const char *phrase, *about[3];
    } said[] = {{"ann", {"ann"}}, {"wrath", {"billing-team"}}, {"rage", {"billing-team", "care-team"}}, {"fury", {"general"}}};
    for (size_t i = 0; i < ARRAY_LEN(said); i++) {
        struct cfg_rule *r = rule(&x, said[i].phrase, said[i].phrase, "", -1);
        for (size_t k = 0; said[i].about[k]; k++)
            strlist_add(&r->about, said[i].about[k]);
    }
    static const struct {
        const char *text, *team, *from;
        size_t about;
    } cases[] = {{"bill", "billing-team", "rule:first", 0},
                 {"bill ann", "billing-team", "rule:first", 1}, /* a person is no team */
                 {"bill parcel wrath", "care-team", "rule:second", 1},
                 {"bill wrath", "care-team", "desk", 1},
                 {"bill rage", "general", "fallback", 2},
                 {"bill rage fury", "other-team", "conflict", 3}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct decision d = decide(&x, "", cases[i].text, "care");
        assert_string_equal(d.team, cases[i].team);
        assert_string_equal(reason(&d, "team_from"), cases[i].from);
        assert_int_equal(d.about.n, cases[i].about);
        assert_int_equal(json_array_size(json_object_get(reasons(&d), "about")), cases[i].about);
        assert_false(d.conflict);
        decision_free(&d);
    }
    x.c.conflict_team = other;
    x.c.nteams = 3;
    struct decision d = decide(&x, "", "bill rage fury", "care");
    assert_string_equal(d.team, "other-team");
    decision_free(&d);
    x.c.conflict_team = care; /* which it is about, too: somebody must have it */
    d = decide(&x, "", "bill rage fury", "care");
    assert_string_equal(d.team, "general");
    assert_true(d.conflict);
    assert_string_equal(reason(&d, "team_from"), "nobody-else");
    decision_free(&d);
    reasons(NULL);
    fixture_free(&x);
}

static void test_region_and_skills(void **state CD_UNUSED)
{
    struct fixture x;
    setup(&x);
    struct cfg_rule *r = rule(&x, "north", "north", "", -1);
    r->region = (char *)"north";
    strlist_add(&r->skills, "fr");
    r = rule(&x, "south", "south", "", -1);
    r->region = (char *)"south";
    strlist_add(&r->skills, "fr");
    strlist_add(&r->skills, "tr");
    struct decision d = decide(&x, "", "from south to north", "care");
    assert_string_equal(d.region, "north"); /* the first rule */
    assert_int_equal(d.skills.n, 2);        /* each once */
    assert_string_equal(reason(&d, "region_from"), "rule:north");
    const json_t *gave = json_object_get(told(&d, 1), "gave");
    assert_string_equal(json_string_value(json_object_get(gave, "region")), "south");
    assert_int_equal(json_array_size(json_object_get(gave, "skills")), 2);
    decision_free(&d);
    d = decide(&x, "", "nothing", "care");
    assert_null(d.region);
    assert_int_equal(d.skills.n + d.about.n, 0);
    assert_null(json_object_get(reasons(&d), "region_from"));
    assert_null(json_object_get(reasons(&d), "about"));
    decision_free(&d);
    reasons(NULL);
    fixture_free(&x);
}

static void test_nothing_holds(void **state CD_UNUSED)
{
    struct fixture x;
    setup(&x);
    rule(&x, "bill", "bill", "billing", PRIO_HIGH);
    struct decision d = decide(&x, "", "hello", "care");
    assert_string_equal(d.category, "unclassified");
    assert_int_equal(d.priority, PRIO_NORMAL);
    assert_string_equal(d.team, "care-team");
    assert_string_equal(reason(&d, "team_from"), "desk");
    assert_string_equal(reason(&d, "category_from"), "none");
    assert_string_equal(reason(&d, "priority_from"), "default");
    decision_free(&d);
    d = decide(&x, "", "hello", "shop");
    assert_string_equal(d.team, "general");
    assert_string_equal(reason(&d, "team_from"), "fallback");
    decision_free(&d);
    d = decide(&x, "", "hello", NULL);
    assert_string_equal(d.team, "general");
    decision_free(&d);
    fixture_free(&x);
}

static void test_team_order(void **state CD_UNUSED)
{
    struct fixture x;
    setup(&x);
    rule(&x, "one", "bill", "billing", -1);
    rule(&x, "two", "bill", "", -1)->team = (char *)"vip-team";
    rule(&x, "three", "bill", "", -1)->team = (char *)"late-team";
    rule(&x, "four", "park", "other", -1);
    struct decision d = decide(&x, "", "bill", "care");
    assert_string_equal(d.team, "vip-team");
    assert_string_equal(reason(&d, "team_from"), "rule:two");
    decision_free(&d);
    d = decide(&x, "", "park", "care"); /* a category without a team */
    assert_string_equal(d.team, "care-team");
    decision_free(&d);
    fixture_free(&x);
}

static void test_groups_and_unless(void **state CD_UNUSED)
{
    struct fixture x;
    setup(&x);
    struct cfg_rule *r = rule(&x, "staff", "clerk", "billing", -1);
    add_group(r, RF_ANY, "rude", "angry", NULL);
    add_phrase(&r->none, RF_ANY, false, "not rude");
    rule(&x, "after", "clerk", "other", -1); /* its numbers follow the `unless` phrases */
    struct decision d = decide(&x, "clerk", "so angry", "care");
    assert_string_equal(d.category, "billing");
    decision_free(&d);
    d = decide(&x, "clerk", "was not rude", "care");
    assert_string_equal(d.category, "other");
    decision_free(&d);
    d = decide(&x, "", "rude", "care");
    assert_string_equal(d.category, "unclassified");
    decision_free(&d);
    fixture_free(&x);
}

static bool holds(const struct cfg_rule *r, const struct rule_input *in)
{
    return rule_holds(r, in, 0);
}

static void test_facts(void **state CD_UNUSED)
{
    struct fixture x;
    struct strlist vip = {0};
    setup(&x);
    struct record *rec = record_of("", "");
    struct rule_input in = {.record = rec, .desk = "care", .channel = "line", .sender = "Bob@Shop.example"};
    struct cfg_rule *r = add_rule(&x, "sender");
    strlist_add(&r->senders, "*@other.example");
    assert_false(holds(r, &in));
    strlist_add(&r->senders, "b?b@*.EXAMPLE");
    assert_true(holds(r, &in));
    r = add_rule(&x, "desk");
    strlist_add(&r->desks, "shop");
    assert_false(holds(r, &in));
    r = add_rule(&x, "channel");
    strlist_add(&r->channels, "phone");
    assert_false(holds(r, &in));
    rec->said_channel = cd_strdup("phone");
    assert_true(holds(r, &in));
    r = add_rule(&x, "language");
    strlist_add(&r->languages, "zh");
    assert_false(holds(r, &in));
    free(rec->language);
    rec->language = cd_strdup("zh-TW");
    assert_true(holds(r, &in));
    free(rec->language);
    rec->language = cd_strdup("zha");
    assert_false(holds(r, &in));
    r = add_rule(&x, "flag");
    strlist_add(&r->customer_flags, "vip");
    assert_false(holds(r, &in));
    strlist_add(&vip, "vip");
    in.customer_flags = &vip;
    assert_true(holds(r, &in));
    r = add_rule(&x, "photo");
    r->attachments = 1;
    assert_false(holds(r, &in));
    r->attachments = 0;
    assert_true(holds(r, &in));
    assert_non_null(record_add_attachment(rec));
    assert_false(holds(r, &in));
    strlist_free(&vip);
    record_free(&rec);
    fixture_free(&x);
}

static void test_globs(void **state CD_UNUSED)
{
    assert_true(glob_matches("*", ""));
    assert_true(glob_matches("*@*.example", "a@b.c.example"));
    assert_false(glob_matches("*@shop.example", "a@shop.example.org"));
    assert_true(glob_matches("+8613*", "+8613800138000"));
    assert_true(glob_matches("a?c", "a质c"));
    assert_false(glob_matches("a?c", "ac"));
    assert_false(glob_matches("", "a"));
    assert_true(glob_matches("a[b", "A[B"));
    assert_false(
        glob_matches("*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}

static void test_said(void **state CD_UNUSED)
{
    struct fixture x;
    struct decision d;
    setup(&x);
    rule(&x, "bill", NULL, "billing", PRIO_HIGH);
    struct record *r = record_of("", "");
    struct rule_input in = {.record = r, .desk = "care", .channel = "line"};
    r->category = cd_strdup("safety");
    r->priority = cd_strdup("low"); /* only raises */
    rules_decide(&x.c, &in, &d);
    assert_string_equal(d.category, "safety");
    assert_string_equal(d.team, "safety-team");
    assert_int_equal(d.priority, PRIO_HIGH);
    assert_string_equal(reason(&d, "category_from"), "said");
    decision_free(&d);
    free(r->category);
    free(r->priority);
    r->category = cd_strdup("made-up");
    r->priority = cd_strdup("critical");
    rules_decide(&x.c, &in, &d);
    assert_string_equal(d.category, "billing");
    assert_int_equal(d.priority, PRIO_CRITICAL);
    assert_string_equal(reason(&d, "priority_from"), "said");
    decision_free(&d);
    record_free(&r);
    fixture_free(&x);
}

/* A worker may send anything: numbers out of range, fields that the phrase does not look at. */
static void test_hostile_hits(void **state CD_UNUSED)
{
    struct fixture x;
    struct decision d;
    setup(&x);
    struct cfg_rule *r = add_rule(&x, "subject-only");
    add_group(r, RF_SUBJECT, "bill", NULL);
    r->category = (char *)"billing";
    struct record *rec = record_of("", "");
    record_add_hit(rec, 4000000000u, MF_TEXT, "x", 1);
    record_add_hit(rec, 0, MF_TEXT, "bill", 4);
    record_add_hit(rec, 0, 200, "bill", 4);
    struct rule_input in = {.record = rec, .channel = "mail"};
    rules_decide(&x.c, &in, &d);
    assert_string_equal(d.category, "unclassified");
    decision_free(&d);
    record_add_hit(rec, 0, MF_SUBJECT, "bi\xff", 3); /* not UTF-8 */
    rules_decide(&x.c, &in, &d);
    assert_string_equal(d.category, "billing");
    assert_non_null(reasons(&d));
    decision_free(&d);
    record_free(&rec);
    fixture_free(&x);
}

static void test_same_twice(void **state CD_UNUSED)
{
    struct fixture x;
    setup(&x);
    rule(&x, "bill", "bill", "billing", PRIO_HIGH);
    rule(&x, "all", NULL, "", -1);
    struct decision a = decide(&x, "bill", "bill", "care"), b = decide(&x, "bill", "bill", "care");
    assert_string_equal(a.reasons, b.reasons);
    assert_string_equal(a.team, b.team);
    decision_free(&a);
    decision_free(&b);
    fixture_free(&x);
}

static void test_rule_file_tests(void **state CD_UNUSED)
{
    struct fixture x;
    struct cfg_rule_test t[2] = {0};
    setup(&x);
    rule(&x, "bill", "bill", "billing", PRIO_HIGH);
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        t[i] = (struct cfg_rule_test){.subject = (char *)"",
                                      .text = (char *)"the bill",
                                      .sender = (char *)"",
                                      .desk = (char *)"",
                                      .channel = (char *)"",
                                      .category = (char *)"billing",
                                      .priority = (char *)"high",
                                      .team = (char *)"billing-team",
                                      .region = (char *)"",
                                      .mark = {"rules.yaml", 40 + (int)i, 5}};
    t[1].text = (char *)"the hill";
    strlist_add(&t[1].tags, "money");
    x.c.rules.tests = t;
    x.c.rules.ntests = ARRAY_LEN(t);
    assert_int_equal(fixture_compile(&x), 0);
    assert_int_equal(rules_run_tests(&x.c, x.m, &x.faults), 2);
    assert_int_equal(x.faults.n, 4); /* category, priority, team, tag of the second */
    assert_int_equal(x.faults.v[0].line, 41);
    assert_non_null(strstr(x.faults.v[0].text, "unclassified"));
    assert_non_null(strstr(x.faults.v[0].text, "no rule"));
    strlist_free(&t[1].tags);
    fixture_free(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_and_highest),
        cmocka_unit_test(test_never_to_whom_it_is_about),
        cmocka_unit_test(test_region_and_skills),
        cmocka_unit_test(test_nothing_holds),
        cmocka_unit_test(test_team_order),
        cmocka_unit_test(test_groups_and_unless),
        cmocka_unit_test(test_facts),
        cmocka_unit_test(test_globs),
        cmocka_unit_test(test_said),
        cmocka_unit_test(test_hostile_hits),
        cmocka_unit_test(test_same_twice),
        cmocka_unit_test(test_rule_file_tests),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    reasons(NULL);
    return failed;
}

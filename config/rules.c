/* Rules and their test cases: options, phrase lists, what must hold within one rule. Phrases are kept as
 * written, each with its place; whether a regular expression compiles is found out where it is compiled
 * (daemon/triage). */
#include "config/load.h"

#include <string.h>

#define PHRASES_MAX 5000 /* of one list */
#define PHRASE_BYTES 500
#define GROUPS_MAX 50 /* of one rule */

static const struct choice priorities[] = {
    {"critical", PRIO_CRITICAL}, {"high", PRIO_HIGH}, {"normal", PRIO_NORMAL}, {"low", PRIO_LOW}, {0}};

static void phrase_add(struct loader *l, const struct option *o, struct yn n, struct cfg_condition_group *g,
                       enum rule_field field, bool regex)
{
    const char *s = yn_is_null(n) ? NULL : yn_text(n);
    const char *what = NULL;
    if (!s)
        what = yn_is_null(n)                      ? "empty"
               : n.node->type == YAML_SCALAR_NODE ? "cut by a NUL character"
                                                  : yn_kind(n);
    else if (strspn(s, " \t\r\n") == strlen(s))
        what = "empty";
    else if (strlen(s) > PHRASE_BYTES)
        what = "longer than 500 bytes";
    else if (option_check(OPT_STRING, s))
        what = "broken by a control character or a line end";
    if (what) {
        faults_add(l->f, yn_mark(n), "a phrase of %s is %s: write words that a text may hold, or remove it",
                   o->path, what);
        return;
    }
    g->v[g->n++] = (struct cfg_phrase){cd_strdup(s), field, regex, yn_mark(n)};
}

/* Fills a group from a list of phrases. */
static void phrases_add(struct loader *l, const struct option *o, struct yn n, struct cfg_condition_group *g,
                        enum rule_field field, bool regex)
{
    size_t count = yn_items(n);
    if (n.node->type != YAML_SEQUENCE_NODE || count == 0 || count > PHRASES_MAX) {
        const char *what = n.node->type != YAML_SEQUENCE_NODE ? yn_kind(n)
                           : count                            ? "too long"
                                                              : "an empty list";
        faults_add(l->f, yn_mark(n), "%s is %s: write a list of 1 to %d phrases, such as [\"caught fire\"]",
                   o->path, what, PHRASES_MAX);
        return;
    }
    g->v = cd_realloc(g->v, (g->n + count) * sizeof *g->v);
    for (size_t i = 0; i < count; i++)
        phrase_add(l, o, yn_item(n, i), g, field, regex);
}

static void group_add(struct loader *l, const struct option *o, struct yn n, struct cfg_rule *r,
                      enum rule_field field, bool regex)
{
    if (r->nall >= GROUPS_MAX) {
        faults_add(l->f, yn_mark(n), "a rule has more than %d lists of phrases: write two rules", GROUPS_MAX);
        return;
    }
    struct cfg_condition_group g = {0};
    phrases_add(l, o, n, &g, field, regex);
    r->all = cd_realloc(r->all, (r->nall + 1) * sizeof *r->all);
    r->all[r->nall++] = g;
}

#define ARG_REGEX RF_COUNT
static void parse_phrases(struct loader *l, const struct option *o, struct yn n, void *base)
{
    bool regex = o->arg == ARG_REGEX;
    group_add(l, o, n, base, regex ? RF_ANY : (enum rule_field)o->arg, regex);
}

static void parse_all(struct loader *l, const struct option *o, struct yn n, void *base)
{
    if (n.node->type != YAML_SEQUENCE_NODE || yn_items(n) == 0) {
        faults_add(l->f, yn_mark(n),
                   "%s is %s: write a list of lists of phrases, such as [[\"refund\"], [\"late\", "
                   "\"never came\"]]",
                   o->path, n.node->type == YAML_SEQUENCE_NODE ? "an empty list" : yn_kind(n));
        return;
    }
    for (size_t i = 0; i < yn_items(n); i++)
        group_add(l, o, yn_item(n, i), base, RF_ANY, false);
}

static void parse_unless(struct loader *l, const struct option *o, struct yn n, void *base)
{
    phrases_add(l, o, n, &((struct cfg_rule *)base)->none, RF_ANY, false);
}

#define AT(f) FIELD(struct cfg_rule, f)
/* clang-format off */
static const struct option rule_options[] = {
    {"id", OPT_NAME, AT(id), .flags = OPT_REQUIRED, .doc = "Name in decisions and explanations."},
    {"when.any", OPT_CUSTOM, .parse = parse_phrases, .arg = RF_ANY,
     .doc = "One of these phrases is in subject or text."},
    {"when.text", OPT_CUSTOM, .parse = parse_phrases, .arg = RF_TEXT,
     .doc = "One of these phrases is in the text."},
    {"when.subject", OPT_CUSTOM, .parse = parse_phrases, .arg = RF_SUBJECT,
     .doc = "One of these phrases is in the subject."},
    {"when.regex", OPT_CUSTOM, .parse = parse_phrases, .arg = ARG_REGEX,
     .doc = "One of these regular expressions matches subject or text."},
    {"when.all", OPT_CUSTOM, .parse = parse_all,
     .doc = "Lists of phrases: of each list one is in subject or text."},
    {"when.sender", OPT_STRINGS, AT(senders),
     .doc = "Patterns for the sender's address or number, such as \"*@shop.example\"."},
    {"when.desk", OPT_NAMES, AT(desks), .refers = REF_DESK, .doc = "Desks."},
    {"when.channel", OPT_NAMES, AT(channels),
     .doc = "Channels: mail, sms, line, web, or what a client calls its own."},
    {"when.language", OPT_LANGUAGES, AT(languages), .doc = "Languages of the text."},
    {"when.customer_flag", OPT_NAMES, AT(customer_flags), .doc = "Flags of the customer."},
    {"when.attachments", OPT_TRISTATE, AT(attachments), .doc = "true: has some; false: has none."},
    {"unless", OPT_CUSTOM, .parse = parse_unless, .doc = "None of these phrases is in subject or text."},
    {"then.category", OPT_NAME, AT(category), .refers = REF_CATEGORY,
     .doc = "Category; the first rule that gives one wins."},
    {"then.priority", OPT_CHOICE, AT(priority), .choices = priorities, .doc = "Priority; the highest wins."},
    {"then.team", OPT_NAME, AT(team), .refers = REF_TEAM, .doc = "Team; the first rule that gives one wins."},
    {"then.region", OPT_NAME, AT(region), .doc = "Region; the first rule that gives one wins."},
    {"then.skills", OPT_NAMES, AT(skills), .doc = "Skills that who gets it must have."},
    {"then.about", OPT_NAMES, AT(about), .refers = REF_MEMBER,
     .doc = "Teams, members and contacts that it is about: it never goes to them, nor to members of such a team, and no step tells them of it."},
    {"then.tags", OPT_NAMES, AT(tags), .doc = "Tags that are added."},
    {"then.flags", OPT_NAMES, AT(flags), .doc = "Flags that are added."},
    {0},
};
#undef AT

#define AT(f) FIELD(struct cfg_rule_test, f)
static const struct option test_options[] = {
    {"subject", OPT_STRING, AT(subject), .doc = "Subject of the test's message."},
    {"text", OPT_TEXT, AT(text), .doc = "Its text."},
    {"sender", OPT_STRING, AT(sender), .doc = "Its sender."},
    {"desk", OPT_NAME, AT(desk), .refers = REF_DESK,
     .doc = "Desk it came to; the first desk when not given."},
    {"channel", OPT_NAME, AT(channel), .def = "mail", .doc = "Channel it came by."},
    {"expect.category", OPT_NAME, AT(category), .refers = REF_EXPECTED_CATEGORY,
     .doc = "Category that must result."},
    {"expect.priority", OPT_CHOICE_TEXT, AT(priority), .choices = priorities,
     .doc = "Priority that must result."},
    {"expect.team", OPT_NAME, AT(team), .refers = REF_TEAM, .doc = "Team that must result."},
    {"expect.region", OPT_NAME, AT(region), .doc = "Region that must result."},
    {"expect.about", OPT_NAMES, AT(about), .refers = REF_MEMBER, .doc = "Teams, members and contacts that must be among whom it is about."},
    {"expect.tags", OPT_NAMES, AT(tags), .doc = "Tags that must be among the result's."},
    {0},
};
#undef AT
/* clang-format on */

static void rule_begin(void *item)
{
    ((struct cfg_rule *)item)->priority = -1;
}

static bool has_key(struct yn n, const char *key)
{
    for (size_t i = 0; i < yn_pairs(n); i++)
        if (str_eq(yn_text(yn_key(n, i)), key) && yn_pairs(yn_value(n, i)) > 0)
            return true;
    return false;
}

static void rule_end(struct loader *l, void *item, struct yn node)
{
    const struct cfg_rule *r = item;
    if (!has_key(node, "when"))
        faults_add(l->f, r->mark,
                   "rule '%s' has no condition and would hold always: write when: {any: [\"…\"]}",
                   show(r->id));
    if (!has_key(node, "then"))
        faults_add(l->f, r->mark, "rule '%s' has no effect: write then: {category: …}", show(r->id));
}

static void group_free(struct cfg_condition_group *g)
{
    for (size_t i = 0; i < g->n; i++)
        free(g->v[i].text);
    free(g->v);
}

static void rule_free(void *item)
{
    struct cfg_rule *r = item;
    for (size_t i = 0; i < r->nall; i++)
        group_free(&r->all[i]);
    free(r->all);
    group_free(&r->none);
}

static void test_end(struct loader *l, void *item, struct yn node)
{
    const struct cfg_rule_test *t = item;
    if (!has_key(node, "expect"))
        faults_add(l->f, t->mark, "this test expects nothing: write expect: {category: …}");
    if (!*t->subject && !*t->text)
        faults_add(l->f, t->mark, "this test has no message: write text: \"…\"");
}

const struct section section_rules = {
    .noun = "rule",
    .options = rule_options,
    .item_size = sizeof(struct cfg_rule),
    .mark_offset = offsetof(struct cfg_rule, mark),
    .name_offset = offsetof(struct cfg_rule, id),
    .max = CONFIG_RULES,
    .begin = rule_begin,
    .end = rule_end,
    .free = rule_free,
};

const struct section section_rule_tests = {
    .noun = "test",
    .options = test_options,
    .item_size = sizeof(struct cfg_rule_test),
    .mark_offset = offsetof(struct cfg_rule_test, mark),
    .name_offset = NO_OFFSET,
    .max = CONFIG_RULES,
    .end = test_end,
};

const struct option rules_file_options[] = {
    {"rules", OPT_ITEMS, ARRAY(struct config, rules.v, rules.n), .items = &section_rules,
     .doc = "The list of rules, looked at in this order."},
    {"tests", OPT_ITEMS, ARRAY(struct config, rules.tests, rules.ntests), .items = &section_rule_tests,
     .doc = "Messages and what the rules of all files must make of them."},
    {0},
};

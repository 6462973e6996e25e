/* From requests to statements and from results to replies: arguments, roles, errors of the database. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/cases/commands.h"
#include "daemon/cases/life.h"
#include "daemon/core/err.h"
#include "daemon/core/ref.h"

static char billing[] = "billing";
static char ann[] = "ann", wei[] = "wei", address[] = "ann@staff.example", nothing[] = "", en[] = "en";
static struct cfg_member members[] = {{.name = ann, .contact = {address, nothing, nothing}}, {.name = wei, .contact = {nothing, nothing, nothing}}};
static struct cfg_team teams[] = {{.name = billing, .members = members, .nmembers = 2}};
static struct cfg_category categories[] = {{.name = billing}};
static struct cfg_policy policies[] = {{.name = billing, .target_us = {[PRIO_HIGH] = {CD_HOUR(1), CD_HOUR(4), CD_HOUR(48)}}}};
static char host[] = "complaints.example";
static const struct config cfg = {
    .hostname = host, .policies = policies, .npolicies = 1, .reopen_window_us = CD_HOUR(24),
    .teams = teams, .nteams = 1, .categories = categories, .ncategories = 1, .default_language = en, .notify_statutory_life_us = CD_HOUR(1)};
#define MESSAGE "0198f3a2-1111-7222-8333-444455556666"
static char ref[REF_TEXT_SIZE];

static int make_ref(void **state CD_UNUSED)
{
    ref_new(ref);
    return 0;
}

/* `args` may hold %s for a valid reference. */
static int prepare(const char *verb, enum role role, const char *args, struct case_query *q,
                   struct reply *err)
{
    char text[50000];
    snprintf(text, sizeof text, args, ref); /* every format stands in this file */
    json_t *o = json_loads(text, 0, NULL);
    assert_non_null(o);
    const struct request rq = {.verb = verb, .args = o, .role = role, .actor = "wei", .via = "line"};
    int r = cases_prepare(&cfg, &rq, q, err);
    json_decref(o);
    return r;
}

static void refused(const char *verb, enum role role, const char *args, int code, const char *word,
                    const char *field)
{
    struct case_query q = {0};
    struct reply err;
    assert_int_equal(prepare(verb, role, args, &q, &err), code);
    assert_false(err.ok);
    assert_string_equal(json_string_value(json_object_get(err.body, "code")), word);
    assert_true(json_is_false(json_object_get(err.body, "retry")));
    if (field)
        assert_string_equal(json_string_value(json_object_get(err.body, "field")), field);
    reply_free(&err);
}

static void faults_of_the_caller(void **state CD_UNUSED)
{
    refused("NOD", ROLE_ADMIN, "{}", CD_ENOTFOUND, "unknown-verb", NULL);
    refused("ACK", ROLE_INTAKE, "{\"ref\":\"%s\"}", CD_EPERM, "forbidden", NULL);
    refused("LIST", ROLE_NONE, "{}", CD_EPERM, "forbidden", NULL);
    refused("SHOW", ROLE_AGENT, "{}", CD_EINVAL, "bad-argument", "ref");
    refused("SHOW", ROLE_AGENT, "{\"ref\":7}", CD_EINVAL, "bad-argument", "ref");
    refused("SHOW", ROLE_AGENT, "{\"ref\":\"C-1234\"}", CD_EINVAL, "not-found", "ref");
    refused("SHOW", ROLE_AGENT, "{\"ref\":\"%s\",\"x\":1}", CD_EINVAL, "bad-argument", "x");
    refused("ATTACHMENT", ROLE_INTAKE, "{\"ref\":\"%s\"}", CD_EPERM, "forbidden", NULL);
    refused("ATTACHMENT", ROLE_AGENT, "{\"ref\":\"%s\",\"n\":-1}", CD_EINVAL, "bad-argument", "n");
    refused("ATTACHMENT", ROLE_AGENT, "{\"ref\":\"%s\",\"n\":\"1\"}", CD_EINVAL, "bad-argument", "n");
    refused("ATTACHMENT", ROLE_AGENT, "{\"ref\":\"%s\",\"n\":1,\"length\":131073}", CD_EINVAL, "bad-argument", "length");
    refused("ATTACHMENT", ROLE_AGENT, "{\"ref\":\"%s\",\"n\":1,\"offset\":-1}", CD_EINVAL, "bad-argument", "offset");
    refused("ATTACHMENT", ROLE_AGENT, "{\"ref\":\"%s\",\"n\":1,\"message\":\"me\"}", CD_EINVAL, "bad-argument", "message");
    refused("LIST", ROLE_AGENT, "{\"status\":\"old\"}", CD_EINVAL, "bad-argument", "status");
    refused("LIST", ROLE_AGENT, "{\"priority\":\"urgent\"}", CD_EINVAL, "bad-argument", "priority");
    refused("LIST", ROLE_AGENT, "{\"overdue\":\"yes\"}", CD_EINVAL, "bad-argument", "overdue");
    refused("LIST", ROLE_AGENT, "{\"limit\":0}", CD_EINVAL, "bad-argument", "limit");
    refused("LIST", ROLE_AGENT, "{\"limit\":501}", CD_EINVAL, "bad-argument", "limit");
    refused("LIST", ROLE_AGENT, "{\"after\":\"x\"}", CD_EINVAL, "bad-argument", "after");
    refused("LIST", ROLE_AGENT, "{\"search\":7}", CD_EINVAL, "bad-argument", "search");
    refused("LIST", ROLE_AGENT, "{\"search\":\"\"}", CD_EINVAL, "bad-argument", "search");
    refused("QUEUE", ROLE_AGENT, "{}", CD_EPERM, "forbidden", NULL);
    refused("QUEUE", ROLE_ADMIN, "{\"drop\":\"" MESSAGE "\"}", CD_EINVAL, "bad-argument", "reason");
    refused("QUEUE", ROLE_ADMIN, "{\"drop\":\"" MESSAGE "\",\"reason\":\"\"}", CD_EINVAL, "bad-argument", "reason");
    refused("QUEUE", ROLE_ADMIN, "{\"retry\":\"" MESSAGE "\",\"reason\":\"x\"}", CD_EINVAL, "bad-argument", "reason");
    refused("QUEUE", ROLE_ADMIN, "{\"retry\":\"me\"}", CD_EINVAL, "bad-argument", "retry");
    refused("QUEUE", ROLE_ADMIN, "{\"state\":\"sent\"}", CD_EINVAL, "bad-argument", "state");
    refused("PENDING", ROLE_AGENT, "{}", CD_EPERM, "forbidden", NULL);
    refused("PENDING", ROLE_ADMIN, "{\"retry\":\"x\"}", CD_EINVAL, "bad-argument", "retry");
    refused("LIST", ROLE_AGENT, "{\"team\":\"\"}", CD_EINVAL, "bad-argument", "team");
    refused("ASSIGN", ROLE_AGENT, "{\"ref\":\"%s\"}", CD_EINVAL, "bad-argument", "assignee");
    refused("ASSIGN", ROLE_AGENT, "{\"ref\":\"%s\",\"team\":\"nobody\"}", CD_EINVAL, "bad-argument", "team");
    refused("ASSIGN", ROLE_AGENT, "{\"ref\":\"%s\",\"assignee\":\"a\\nb\"}", CD_EINVAL, "bad-argument",
            "assignee");
    refused("RESOLVE", ROLE_AGENT, "{\"ref\":\"%s\"}", CD_EINVAL, "bad-argument", "outcome");
    refused("RESOLVE", ROLE_AGENT, "{\"ref\":\"%s\",\"outcome\":\"fine\"}", CD_EINVAL, "bad-argument",
            "outcome");
    refused("MERGE", ROLE_INTAKE, "{\"ref\":\"%s\",\"into\":\"C-0000-0000-0012\"}", CD_EPERM, "forbidden", NULL);
    refused("MERGE", ROLE_AGENT, "{\"ref\":\"%s\"}", CD_EINVAL, "bad-argument", "into");
    refused("MERGE", ROLE_AGENT, "{\"ref\":\"%s\",\"into\":\"C-0000-0000-0013\"}", CD_EINVAL, "not-found", "into");
    refused("SPLIT", ROLE_AGENT, "{\"ref\":\"%s\"}", CD_EINVAL, "bad-argument", "message");
    refused("SPLIT", ROLE_AGENT, "{\"ref\":\"%s\",\"message\":\"7\"}", CD_EINVAL, "bad-argument", "message");
    refused("SPLIT", ROLE_AGENT, "{\"ref\":\"%s\",\"message\":\"" MESSAGE "\",\"category\":\"x\"}", CD_EINVAL, "bad-argument", "category");
    refused("SPLIT", ROLE_AGENT, "{\"ref\":\"%s\",\"message\":\"" MESSAGE "\",\"later\":1}", CD_EINVAL, "bad-argument", "later");
    char text[40000] = "{\"ref\":\"%s\",\"outcome\":\"upheld\",\"cause\":\"";
    size_t n = strlen(text);
    memset(text + n, 'x', 20001);
    strcpy(text + n + 20001, "\"}");
    refused("RESOLVE", ROLE_AGENT, text, CD_EINVAL, "bad-argument", "cause");
}

static void expect_params(const struct case_query *q, int n, const char *const *want)
{
    assert_int_equal(q->nparams, n);
    for (int i = 0; i < n; i++) {
        if (!want[i])
            assert_null(q->params[i]);
        else
            assert_string_equal(q->params[i], want[i]);
    }
    char place[16]; /* the statement uses exactly these parameters */
    snprintf(place, sizeof place, "$%d", n);
    assert_true(n == 0 || strstr(q->sql, place));
    snprintf(place, sizeof place, "$%d", n + 1);
    assert_null(strstr(q->sql, place));
}
#define PARAMS(q, ...)                                                                                       \
    expect_params(q, (int)ARRAY_LEN(((const char *const[]){__VA_ARGS__})), (const char *const[]){__VA_ARGS__})

static void mending_statements(void **state CD_UNUSED)
{
    struct case_query q;
    struct reply err;
    char made[REF_TEXT_SIZE];

    assert_int_equal(prepare("MERGE", ROLE_AGENT, "{\"ref\":\"%s\",\"into\":\"c000000000012\"}", &q, &err), 0);
    PARAMS(&q, "line", NULL, ref, "C-0000-0000-0012", "wei", "{new,open,waiting,resolved,closed}",
           "{closed,closed,closed,closed,closed}", "{\"ann\":[\"billing\"],\"wei\":[\"billing\"]}");
    assert_true(q.write);
    case_query_free(&q);
    assert_int_equal(prepare("SPLIT", ROLE_AGENT, "{\"ref\":\"%s\",\"message\":\"" MESSAGE "\",\"later\":true}", &q, &err), 0);
    assert_int_equal(q.nparams, 11);
    assert_int_equal(ref_parse(q.params[9], strlen(q.params[9]), made), 0); /* a new one each time */
    assert_string_not_equal(made, ref);
    PARAMS(&q, "line", NULL, ref, MESSAGE, "true", NULL, NULL, "wei", "{new,open,waiting,resolved,closed}", made, "3600");
    assert_true(q.write);
    case_query_free(&q);
    assert_int_equal(prepare("REREAD", ROLE_AGENT, "{\"ref\":\"%s\"}", &q, &err), 0); /* the last two come from the reading */
    PARAMS(&q, "line", NULL, ref, NULL, "wei", "{new,open,waiting,resolved,closed}", "{new,open,waiting,resolved,closed}", NULL, NULL);
    assert_true(q.write);
    case_query_free(&q);
}

static void people_faults(void **state CD_UNUSED)
{
    refused("ABSENT", ROLE_INTAKE, "{}", CD_EPERM, "forbidden", NULL);
    refused("ABSENT", ROLE_AGENT, "{\"who\":\"nobody\"}", CD_EINVAL, "bad-argument", "who");
    refused("ABSENT", ROLE_AGENT, "{\"from\":\"monday\"}", CD_EINVAL, "bad-argument", "from");
    refused("ABSENT", ROLE_AGENT, "{\"until\":5}", CD_EINVAL, "bad-argument", "until");
    refused("CUSTOMER", ROLE_INTAKE, "{\"ref\":\"%s\"}", CD_EPERM, "forbidden", NULL);
    refused("CUSTOMER", ROLE_AGENT, "{}", CD_EINVAL, "bad-argument", "ref");
    static const char *const handles[] = {"nobody", "+86", "mail:", "mail:a b@x", "tel:0139", "ext:", "ext:shop", "ext:shop:", "a@b@", ""};
    for (size_t i = 0; i < ARRAY_LEN(handles); i++) {
        char args[100];
        snprintf(args, sizeof args, "{\"handle\":\"%s\"}", handles[i]);
        refused("CUSTOMER", ROLE_AGENT, args, CD_EINVAL, "bad-argument", "handle");
    }
    static const char *const wrong[][2] = {{"flag", "\"flag\":\"V\""}, {"flag", "\"flag\":\"\""}, {"flag", "\"driver\":\"health\""},
                                           {"driver", "\"flag\":\"vulnerable\",\"driver\":\"age\""},
                                           {"review", "\"flag\":\"vulnerable\",\"review\":\"2027-13-01\""},
                                           {"review", "\"flag\":\"vulnerable\",\"review\":\"2027-02-30\""},
                                           {"review", "\"flag\":\"vulnerable\",\"review\":\"soon\""},
                                           {"clear", "\"flag\":\"vip\",\"clear\":1"}};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        char args[100];
        snprintf(args, sizeof args, "{\"ref\":\"%%s\",%s}", wrong[i][1]);
        refused("FLAG", ROLE_AGENT, args, CD_EINVAL, "bad-argument", wrong[i][0]);
    }
}

static void people_statements(void **state CD_UNUSED)
{
    struct case_query q;
    struct reply err;
    assert_int_equal(prepare("ABSENT", ROLE_AGENT, "{\"until\":\"2026-12-24T08:00:00+08:00\"}", &q, &err), 0);
    PARAMS(&q, "wei", NULL, "2026-12-24T00:00:00.000000Z", NULL, "wei", "false");
    assert_true(q.write);
    case_query_free(&q);
    assert_int_equal(prepare("PRESENT", ROLE_ADMIN, "{\"who\":\"ann\"}", &q, &err), 0);
    PARAMS(&q, "ann", "wei", "true");
    case_query_free(&q);
    static const char *const forms[][2] = {{"Wei.Li@Shop.Example", "mail:wei.li@shop.example"},
                                           {"mail:WEI@shop.example", "mail:wei@shop.example"},
                                           {"+86 139 0000 0001", "tel:+8613900000001"},
                                           {"tel:0086-13900000001", "tel:+8613900000001"},
                                           {"ext:shop:4711@x", "ext:shop:4711@x"}};
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        char args[100];
        snprintf(args, sizeof args, "{\"handle\":\"%s\"}", forms[i][0]);
        assert_int_equal(prepare("CUSTOMER", ROLE_AGENT, args, &q, &err), 0);
        PARAMS(&q, NULL, forms[i][1], NULL, "wei", "false"); /* an agent sees what is restricted only by its client's option */
        case_query_free(&q);
    }
    assert_int_equal(prepare("FLAG", ROLE_AGENT, "{\"ref\":\"%s\",\"flag\":\"vip\",\"clear\":true}", &q, &err), 0);
    PARAMS(&q, ref, NULL, "vip", "true", NULL, NULL, NULL, "wei", "false");
    case_query_free(&q);
}

static void life_faults(void **state CD_UNUSED)
{
    static const char *const verbs[] = {"NOTE", "REPLY", "RECLASSIFY", "WAIT", "REOPEN", "CLOSE", "VERIFY"};
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        refused(verbs[i], ROLE_INTAKE, "{\"ref\":\"%s\"}", CD_EPERM, "forbidden", NULL);
    for (size_t i = 0; i + 1 < ARRAY_LEN(verbs); i++)
        refused(verbs[i], ROLE_AGENT, "{}", CD_EINVAL, "bad-argument", "ref");
    refused("NOTE", ROLE_AGENT, "{\"ref\":\"%s\"}", CD_EINVAL, "bad-argument", "text");
    refused("NOTE", ROLE_AGENT, "{\"ref\":\"%s\",\"text\":\" \\n\"}", CD_EINVAL, "bad-argument", "text");
    refused("REPLY", ROLE_AGENT, "{\"ref\":\"%s\",\"text\":1}", CD_EINVAL, "bad-argument", "text");
    refused("RECLASSIFY", ROLE_AGENT, "{\"ref\":\"%s\"}", CD_EINVAL, "bad-argument", "category");
    refused("RECLASSIFY", ROLE_AGENT, "{\"ref\":\"%s\",\"priority\":\"urgent\"}", CD_EINVAL, "bad-argument", "priority");
    refused("RECLASSIFY", ROLE_AGENT, "{\"ref\":\"%s\",\"team\":\"nobody\"}", CD_EINVAL, "bad-argument", "team");
    refused("WAIT", ROLE_AGENT, "{\"ref\":\"%s\"}", CD_EINVAL, "bad-argument", "for");
    refused("WAIT", ROLE_AGENT, "{\"ref\":\"%s\",\"for\":\"3d\",\"until\":\"2030-01-01T00:00:00Z\"}", CD_EINVAL, "bad-argument", "until");
    refused("RESOLVE", ROLE_AGENT, "{\"ref\":\"%s\",\"outcome\":\"upheld\",\"cause\":\"\"}", CD_EINVAL, "bad-argument", "cause");
    refused("WAIT", ROLE_AGENT, "{\"ref\":\"%s\",\"for\":\"soon\"}", CD_EINVAL, "bad-argument", "for");
    refused("WAIT", ROLE_AGENT, "{\"ref\":\"%s\",\"for\":\"0s\"}", CD_EINVAL, "bad-argument", "for");
    refused("WAIT", ROLE_AGENT, "{\"ref\":\"%s\",\"for\":\"367d\"}", CD_EINVAL, "bad-argument", "for");
    refused("WAIT", ROLE_AGENT, "{\"ref\":\"%s\",\"until\":\"tomorrow\"}", CD_EINVAL, "bad-argument", "until");
    refused("CLOSE", ROLE_AGENT, "{\"ref\":\"%s\",\"if_seq\":\"7\"}", CD_EINVAL, "bad-argument", "if_seq");
    refused("CLOSE", ROLE_AGENT, "{\"ref\":\"%s\",\"if_seq\":0}", CD_EINVAL, "bad-argument", "if_seq");
    refused("SHOW", ROLE_AGENT, "{\"ref\":\"%s\",\"if_seq\":1}", CD_EINVAL, "bad-argument", "if_seq");
    refused("VERIFY", ROLE_AGENT, "{\"limit\":0}", CD_EINVAL, "bad-argument", "limit");
}

static void life_statements(void **state CD_UNUSED)
{
    struct case_query q;
    struct reply err;
    struct uuid id;
    assert_int_equal(prepare("NOTE", ROLE_AGENT, "{\"ref\":\"%s\",\"text\":\"seen\",\"if_seq\":7}", &q, &err), 0);
    PARAMS(&q, "line", "7", ref, "seen", "wei", "{new,open,waiting,resolved,closed}", "{new,open,waiting,resolved,closed}", "0");
    case_query_free(&q);
    assert_int_equal(prepare("REPLY", ROLE_AGENT, "{\"ref\":\"%s\",\"text\":\"seen\"}", &q, &err), 0);
    assert_int_equal(q.nparams, 11);
    assert_int_equal(uuid_parse(q.params[8], &id), 0);
    char name[80]; /* without keys there is no token in it */
    snprintf(name, sizeof name, "reply.%s@complaints.example", q.params[8]);
    PARAMS(&q, "line", NULL, ref, "seen", "wei", "{new,open,waiting,resolved}", "{open,open,waiting,resolved}", "4", q.params[8], name, "3600");
    case_query_free(&q);
    assert_int_equal(prepare("RECLASSIFY", ROLE_AGENT, "{\"ref\":\"%s\",\"priority\":\"high\"}", &q, &err), 0);
    PARAMS(&q, "line", NULL, ref, NULL, "high", NULL, "wei", "{new,open,waiting,resolved}", "{new,open,waiting,resolved}", "0", NULL,
           "{\"billing\":[3600,14400,172800]}");
    case_query_free(&q);
    assert_int_equal(prepare("WAIT", ROLE_AGENT, "{\"ref\":\"%s\",\"for\":\"2d\"}", &q, &err), 0);
    PARAMS(&q, "line", NULL, ref, "172800.000000", NULL, NULL, "wei", "{new,open,waiting}", "{waiting,waiting,waiting}", "0");
    case_query_free(&q);
    assert_int_equal(prepare("WAIT", ROLE_AGENT, "{\"ref\":\"%s\",\"until\":\"2026-12-24T12:00:00Z\"}", &q, &err), 0);
    PARAMS(&q, "line", NULL, ref, NULL, "2026-12-24T12:00:00.000000Z", NULL, "wei", "{new,open,waiting}", "{waiting,waiting,waiting}", "0");
    case_query_free(&q);
    assert_int_equal(prepare("REOPEN", ROLE_AGENT, "{\"ref\":\"%s\"}", &q, &err), 0);
    PARAMS(&q, "line", NULL, ref, NULL, "wei", "{waiting,resolved,closed}", "{open,open,open}", "0", "86400");
    case_query_free(&q);
    assert_int_equal(prepare("CLOSE", ROLE_AGENT, "{\"ref\":\"%s\"}", &q, &err), 0);
    PARAMS(&q, "line", NULL, ref, "wei", "{resolved}", "{closed}", "15");
    assert_true(q.write);
    case_query_free(&q);
    assert_int_equal(prepare("VERIFY", ROLE_AGENT, "{\"limit\":9}", &q, &err), 0);
    PARAMS(&q, NULL, NULL, "9");
    assert_false(q.write);
    case_query_free(&q);
}

/* Codes that the configuration lists are required, and nothing else is taken; and what is resolved gets its end. */
static void resolving_with_codes(void **state CD_UNUSED)
{
    struct config c = cfg;
    struct case_query q;
    struct reply err;
    static const struct {
        const char *args, *field;
    } wrong[] = {{"{}", "ref"}, {"{\"cause\":\"mistake\"}", "remedy"}, {"{\"remedy\":\"refund\"}", "cause"},
                 {"{\"cause\":\"the moon\",\"remedy\":\"refund\"}", "cause"}, {"{\"cause\":\"mistake\",\"remedy\":\"\"}", "remedy"}};
    c.causes = c.remedies = (struct strlist){0};
    strlist_add(&c.causes, "mistake");
    strlist_add(&c.remedies, "refund");
    c.cases_close_after_us = CD_HOUR(2);
    for (size_t i = 0; i <= ARRAY_LEN(wrong); i++) {
        json_t *o = json_loads(i < ARRAY_LEN(wrong) ? wrong[i].args : "{\"cause\":\"mistake\",\"remedy\":\"refund\"}", 0, NULL);
        json_object_set_new(o, "outcome", json_string("upheld"));
        if (i)
            json_object_set_new(o, "ref", json_string(ref));
        const struct request rq = {.verb = "RESOLVE", .args = o, .role = ROLE_AGENT, .actor = "wei", .via = "web"};
        int r = cases_prepare(&c, &rq, &q, &err);
        if (i < ARRAY_LEN(wrong)) {
            assert_int_equal(r, CD_EINVAL);
            assert_string_equal(json_string_value(json_object_get(err.body, "field")), wrong[i].field);
            if (i) /* says what can be written */
                assert_non_null(strstr(json_string_value(json_object_get(err.body, "message")), i == 1 || i == 4 ? "one of refund" : "one of mistake"));
            reply_free(&err);
        } else {
            assert_int_equal(r, 0);
            PARAMS(&q, "web", NULL, ref, "upheld", "mistake", "refund", NULL, "wei", "{new,open,waiting}", "{resolved,resolved,resolved}", "8",
                   "true", "true", "7200");
            case_query_free(&q);
        }
        json_decref(o);
    }
    for (int i = 0; i < 100; i++)
        strlist_add(&c.causes, "another-cause-of-complaints");
    const char *many = life_codes_fault(&c, "cause");
    assert_true(strlen(many) < 600 && utf8_valid(many, strlen(many)) && strstr(many, "complaints, …"));
    strlist_free(&c.causes);
    strlist_free(&c.remedies);
}

static void statements(void **state CD_UNUSED)
{
    struct case_query q;
    struct reply err;
    char typed[REF_TEXT_SIZE + 2];

    assert_int_equal(prepare("SHOW", ROLE_INTAKE, "{\"ref\":\"%s\"}", &q, &err), 0);
    PARAMS(&q, ref, "false");
    assert_false(q.write);
    case_query_free(&q);
    assert_int_equal(prepare("SHOW", ROLE_AGENT, "{\"ref\":\"  %s \"}", &q, &err), 0);
    PARAMS(&q, ref, "true");
    case_query_free(&q);
    snprintf(typed, sizeof typed, "%s", ref);
    str_lower(typed);
    json_t *args = json_pack("{s:s}", "ref", typed);
    const struct request rq = {.verb = "ACK", .args = args, .role = ROLE_AGENT, .actor = "wei", .via = "unix"};
    assert_int_equal(cases_prepare(&cfg, &rq, &q, &err), 0);
    PARAMS(&q, "unix", NULL, ref, "wei", "{new,open,waiting}", "{open,open,waiting}", "1");
    assert_true(q.write);
    case_query_free(&q);
    json_decref(args);
    assert_int_equal(prepare("ASSIGN", ROLE_AGENT, "{\"ref\":\"%s\",\"team\":\"billing\"}", &q, &err), 0);
    PARAMS(&q, "line", NULL, ref, NULL, "billing", "wei", "{new,open,waiting}", "{open,open,waiting}", "2", NULL);
    case_query_free(&q);
    assert_int_equal(prepare("ASSIGN", ROLE_AGENT, "{\"ref\":\"%s\",\"assignee\":\"ann\"}", &q, &err), 0);
    PARAMS(&q, "line", NULL, ref, "ann", NULL, "wei", "{new,open,waiting}", "{open,open,waiting}", "2",
           "{\"who\":\"ann\",\"teams\":[\"billing\"],\"mail\":\"ann@staff.example\",\"sms\":\"\",\"language\":\"en\"}");
    case_query_free(&q);
    assert_int_equal(prepare("RESOLVE", ROLE_ADMIN,
                             "{\"ref\":\"%s\",\"outcome\":\"upheld\",\"remedy\":\"\\u9000\"}", &q, &err),
                     0);
    PARAMS(&q, "line", NULL, ref, "upheld", NULL, "\xe9\x80\x80", NULL, "wei", "{new,open,waiting}",
           "{resolved,resolved,resolved}", "8", "false", "false", NULL);
    case_query_free(&q);
    assert_int_equal(
        prepare("LIST", ROLE_AGENT,
                "{\"overdue\":true,\"limit\":2,\"after\":\"0192A000-0000-7000-8000-000000000001\"}", &q,
                &err),
        0);
    PARAMS(&q, NULL, NULL, NULL, NULL, NULL, NULL, NULL, "true", NULL, NULL, "2",
           "0192a000-0000-7000-8000-000000000001", NULL, NULL);
    case_query_free(&q);
    assert_int_equal(prepare("LIST", ROLE_AGENT, "{\"scan\":\"quarantined\"}", &q, &err), 0);
    PARAMS(&q, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, "quarantined", NULL, NULL, NULL, NULL);
    case_query_free(&q);
    assert_int_equal(prepare("QUEUE", ROLE_ADMIN, "{\"drop\":\"" MESSAGE "\",\"reason\":\"told by phone\"}", &q, &err), 0);
    PARAMS(&q, NULL, MESSAGE, "told by phone", NULL, NULL, NULL, "wei");
    assert_true(q.write);
    case_query_free(&q);
    assert_int_equal(prepare("PENDING", ROLE_ADMIN, "{\"all\":true}", &q, &err), 0);
    PARAMS(&q, NULL, "true", NULL, NULL);
    case_query_free(&q);
    refused("LIST", ROLE_AGENT, "{\"scan\":\"dirty\"}", CD_EINVAL, "bad-argument", "scan");
    refused("LIST", ROLE_AGENT, "{\"scan\":1}", CD_EINVAL, "bad-argument", "scan");
    assert_int_equal(prepare("STATS", ROLE_AGENT, "{}", &q, &err), 0);
    PARAMS(&q, "false");
    assert_false(q.write);
    case_query_free(&q);
}

static void finish(const char *verb, const char *args, const char *const *rows, size_t n,
                   const char *want_body, const char *want_rows)
{
    json_t *o = json_loads(args, 0, NULL);
    const struct request rq = {.verb = verb, .args = o};
    struct reply r;
    cases_finish(&rq, rows, n, NULL, NULL, &r);
    assert_true(r.ok);
    char *body = json_dumps(r.body, JSON_COMPACT), *got = r.rows ? json_dumps(r.rows, JSON_COMPACT) : NULL;
    assert_string_equal(body, want_body);
    if (want_rows)
        assert_string_equal(got, want_rows);
    else
        assert_null(got);
    free(body);
    free(got);
    reply_free(&r);
    json_decref(o);
}

static void replies(void **state CD_UNUSED)
{
    static const char *const rows[] = {"{\"id\":\"a\"}", "{\"id\":\"b\"}"};
    finish("LIST", "{\"limit\":2}", rows, 2, "{\"rows\":2,\"next\":\"b\"}",
           "[{\"id\":\"a\"},{\"id\":\"b\"}]");
    finish("LIST", "{}", rows, 2, "{\"rows\":2}", "[{\"id\":\"a\"},{\"id\":\"b\"}]");
    finish("LIST", "{}", NULL, 0, "{\"rows\":0}", "[]");
    finish("SHOW", "{}", rows, 1, "{\"id\":\"a\"}", NULL);
}

static void failed(const char *sqlstate, const char *code, bool retry, const char *message)
{
    json_t *o = json_object();
    const struct request rq = {.verb = "ACK", .args = o};
    struct reply r;
    cases_finish(&rq, NULL, 0, sqlstate, "said by the database", &r);
    assert_false(r.ok);
    assert_null(r.rows);
    assert_string_equal(json_string_value(json_object_get(r.body, "code")), code);
    assert_int_equal(json_is_true(json_object_get(r.body, "retry")), retry);
    if (message)
        assert_string_equal(json_string_value(json_object_get(r.body, "message")), message);
    else
        assert_null(strstr(json_string_value(json_object_get(r.body, "message")), "said by"));
    reply_free(&r);
    json_decref(o);
}

static void errors_of_the_database(void **state CD_UNUSED)
{
    failed("CD404", "not-found", false, "said by the database");
    failed("CD409", "conflict", false, "said by the database");
    failed("CD400", "bad-argument", false, "said by the database");
    failed("40P01", "busy", true, NULL);
    failed("55P03", "busy", true, NULL);
    failed("", "busy", true, NULL);
    failed("08006", "busy", true, NULL);
    failed("57P01", "busy", true, NULL);
    failed("25006", "busy", true, NULL);
    failed("42P01", "internal", false, NULL);
}

/* What the database had to end: who can ask for less is told how, others may try again. */
static void ended_by_the_database(void **state CD_UNUSED)
{
    static const char *const verbs[][2] = {{"LIST", "rarer words"}, {"VERIFY", "ref"}, {"QUEUE", "state"}, {"STATS", NULL}, {"SHOW", NULL}};
    json_t *o = json_object();
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        const struct request rq = {.verb = verbs[i][0], .args = o};
        struct reply r;
        cases_finish(&rq, NULL, 0, CASE_ENDED, "said by the database", &r);
        const char *message = json_string_value(json_object_get(r.body, "message"));
        assert_false(r.ok);
        assert_string_equal(json_string_value(json_object_get(r.body, "code")), verbs[i][1] ? "too-much" : "busy");
        assert_true(json_is_true(json_object_get(r.body, "retry")) == !verbs[i][1]);
        if (verbs[i][1])
            assert_non_null(strstr(message, verbs[i][1]));
        assert_null(strstr(message, "said by"));
        reply_free(&r);
    }
    json_decref(o);
}

/* Which connection a request goes to. */
static void lanes(void **state CD_UNUSED)
{
    static const struct {
        const char *verb, *args;
        enum case_lane lane;
    } rows[] = {
        {"SHOW", "{\"ref\":\"%s\"}", CASE_READS_ONE},
        {"EXPLAIN", "{\"ref\":\"%s\"}", CASE_READS_ONE},
        {"ATTACHMENT", "{\"ref\":\"%s\"}", CASE_READS_ONE},
        {"LIST", "{}", CASE_READS_MANY},
        {"VERIFY", "{}", CASE_READS_MANY},
        {"STATS", "{}", CASE_READS_MANY},
        {"ABSENCES", "{}", CASE_READS_MANY},
        {"QUEUE", "{}", CASE_READS_MANY},
        {"QUEUE", "{\"retry\":\"" MESSAGE "\"}", CASE_CHANGES},
        {"QUEUE", "{\"drop\":\"" MESSAGE "\",\"reason\":\"late\"}", CASE_CHANGES},
        {"PENDING", "{}", CASE_READS_MANY},
        {"PENDING", "{\"all\":false}", CASE_READS_MANY},
        {"PENDING", "{\"all\":true}", CASE_CHANGES},
        {"PENDING", "{\"retry\":\"" MESSAGE "\"}", CASE_CHANGES},
        {"CUSTOMER", "{\"ref\":\"%s\"}", CASE_CHANGES}, /* who has seen it is kept */
        {"CUSTOMERS", "{}", CASE_CHANGES},
        {"ACK", "{\"ref\":\"%s\"}", CASE_CHANGES},
        {"NOTE", "{\"ref\":\"%s\",\"text\":\"a\"}", CASE_CHANGES},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct case_query q;
        struct reply err;
        assert_int_equal(prepare(rows[i].verb, ROLE_ADMIN, rows[i].args, &q, &err), 0);
        assert_int_equal(q.lane, rows[i].lane);
        case_query_free(&q);
    }
}

static void answers_that_cannot_be_read(void **state CD_UNUSED)
{
    static const char *const broken[] = {"{\"a\":"}, *const null[] = {NULL}, *const list[] = {"[1]"};
    const char *const *cases[] = {broken, null, list};
    json_t *o = json_object();
    const struct request rq = {.verb = "SHOW", .args = o};
    struct reply r;
    for (size_t i = 0; i <= ARRAY_LEN(cases); i++) {
        cases_finish(&rq, i < ARRAY_LEN(cases) ? cases[i] : NULL, i < ARRAY_LEN(cases), NULL, NULL, &r);
        assert_false(r.ok);
        assert_string_equal(json_string_value(json_object_get(r.body, "code")), "internal");
        reply_free(&r);
    }
    json_decref(o);
}

/* What LIST is asked to search for: a reference however it is written, or words. */
static void references_among_the_words(void **state CD_UNUSED)
{
    static const char *const words[] = {"disconnected", "refund", "C-1234", "\xe8\xb4\xa6\xe5\x8d\x95", "0138001380", "c- d"};
    struct case_query q;
    struct reply err;
    char sloppy[REF_TEXT_SIZE], args[100];
    size_t n = 0;
    for (const char *p = ref; *p; p++)
        if (*p != '-')
            sloppy[n++] = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
    sloppy[n] = '\0';
    assert_int_equal(prepare("LIST", ROLE_AGENT, "{\"search\":\"%s\"}", &q, &err), 0);
    assert_string_equal(q.params[12], ref);
    case_query_free(&q);
    snprintf(args, sizeof args, "{\"search\":\"%s\"}", sloppy);
    if (strpbrk(sloppy, "0123456789")) { /* nearly always */
        assert_int_equal(prepare("LIST", ROLE_AGENT, args, &q, &err), 0);
        assert_string_equal(q.params[12], ref);
        case_query_free(&q);
    }
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        snprintf(args, sizeof args, "{\"search\":\"%s\"}", words[i]);
        assert_int_equal(prepare("LIST", ROLE_AGENT, args, &q, &err), 0);
        assert_string_equal(q.params[12], words[i]);
        case_query_free(&q);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(faults_of_the_caller),
        cmocka_unit_test(people_faults), cmocka_unit_test(people_statements), cmocka_unit_test(statements), cmocka_unit_test(mending_statements),
        cmocka_unit_test(life_faults), cmocka_unit_test(life_statements), cmocka_unit_test(resolving_with_codes),
        cmocka_unit_test(replies),
        cmocka_unit_test(errors_of_the_database),
        cmocka_unit_test(ended_by_the_database), cmocka_unit_test(lanes),
        cmocka_unit_test(answers_that_cannot_be_read),
        cmocka_unit_test(references_among_the_words),
    };
    return cmocka_run_group_tests(tests, make_ref, NULL);
}

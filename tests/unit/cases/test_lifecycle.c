/* Every state with every action against a matrix written out by hand, so that neither can be forgotten. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/cases/lifecycle.h"
#include "daemon/core/err.h"

/* Written out by hand: where each action leads from new, open, waiting, resolved, closed. n o w r c, or - for refused; and the least role. */
static const struct {
    enum case_action action;
    enum cfg_role role;
    const char *name, *to;
} matrix[] = {
    {ACTION_ACK, CFG_ROLE_AGENT, "ACK", "oow--"},
    {ACTION_ASSIGN, CFG_ROLE_AGENT, "ASSIGN", "oow--"},
    {ACTION_NOTE, CFG_ROLE_AGENT, "NOTE", "nowrc"},
    {ACTION_REPLY, CFG_ROLE_AGENT, "REPLY", "oowr-"},
    {ACTION_RECLASSIFY, CFG_ROLE_AGENT, "RECLASSIFY", "nowr-"},
    {ACTION_WAIT, CFG_ROLE_AGENT, "WAIT", "www--"},
    {ACTION_RESOLVE, CFG_ROLE_AGENT, "RESOLVE", "rrr--"},
    {ACTION_REOPEN, CFG_ROLE_AGENT, "REOPEN", "--ooo"},
    {ACTION_CLOSE, CFG_ROLE_AGENT, "CLOSE", "---c-"},
    {ACTION_MERGE, CFG_ROLE_AGENT, "MERGE", "ccccc"},
    {ACTION_SPLIT, CFG_ROLE_AGENT, "SPLIT", "nowrc"},
    {ACTION_REREAD, CFG_ROLE_AGENT, "REREAD", "nowrc"},
    {ACTION_MESSAGE, 0, "the customer writes", "noooo"},
    {ACTION_WAIT_OVER, 0, "the wait is over", "--o--"},
    {ACTION_AGED, 0, "cases.close_after is over", "---c-"},
};

static void the_whole_matrix(void **state CD_UNUSED)
{
    assert_int_equal(ARRAY_LEN(matrix), ACTION_COUNT);
    for (size_t i = 0; i < ARRAY_LEN(matrix); i++) {
        assert_int_equal(matrix[i].action, i);
        assert_string_equal(case_action_name(matrix[i].action), matrix[i].name);
        assert_int_equal(lifecycle_role(matrix[i].action), matrix[i].role);
        for (int s = 0; s < CASE_STATUS_COUNT; s++) {
            int next = lifecycle_next((enum case_status)s, matrix[i].action);
            assert_true(next == CD_ECONFLICT || (next >= 0 && next < CASE_STATUS_COUNT));
            assert_int_equal(next < 0 ? '-' : case_status_name((enum case_status)next)[0], matrix[i].to[s]);
        }
    }
}

/* Two actions that the database gets in one array each have no state in common (daemon/escalation/waiting.c). */
static void what_ends_by_itself_is_unambiguous(void **state CD_UNUSED)
{
    for (int s = 0; s < CASE_STATUS_COUNT; s++)
        assert_true(lifecycle_next((enum case_status)s, ACTION_WAIT_OVER) < 0 || lifecycle_next((enum case_status)s, ACTION_AGED) < 0);
}

static void the_table_for_people(void **state CD_UNUSED)
{
    struct buf b;
    buf_init(&b, CD_KIB(16));
    lifecycle_describe(true, &b);
    assert_non_null(strstr(buf_str(&b), "| REPLY | agent | open | open | waiting | resolved | - | reply | text; an address or number of the customer |\n"));
    assert_non_null(strstr(buf_str(&b), "| CLOSE | agent | - | - | - | closed | - | all |  |\n"));
    assert_non_null(strstr(buf_str(&b), "| the wait is over | nobody asks | - | - | open | - | - |  | the team is told |\n"));
    buf_free(&b);
    buf_init(&b, CD_KIB(16));
    lifecycle_describe(false, &b);
    size_t lines = 0;
    for (const char *p = buf_str(&b); *p; p++)
        lines += *p == '\n';
    assert_int_equal(lines, 1 + ACTION_COUNT);
    buf_free(&b);
}

static void arrays_for_the_database(void **state CD_UNUSED)
{
    char from[LIFECYCLE_ARRAY_SIZE], to[LIFECYCLE_ARRAY_SIZE];
    lifecycle_arrays(ACTION_ACK, from, to);
    assert_string_equal(from, "{new,open,waiting}");
    assert_string_equal(to, "{open,open,waiting}");
    lifecycle_arrays(ACTION_RESOLVE, from, to);
    assert_string_equal(to, "{resolved,resolved,resolved}");
    lifecycle_arrays(ACTION_MERGE, from, to);
    assert_string_equal(from, "{new,open,waiting,resolved,closed}");
    assert_string_equal(to, "{closed,closed,closed,closed,closed}");
}

static void names_and_bits(void **state CD_UNUSED)
{
    for (int s = 0; s < CASE_STATUS_COUNT; s++)
        assert_int_equal(case_status_from_name(case_status_name((enum case_status)s)), s);
    assert_int_equal(case_status_from_name("New"), -1);
    assert_int_equal(case_status_from_name(NULL), -1);
    assert_int_equal(lifecycle_stops(ACTION_ACK), STOP_ACK);
    assert_int_equal(lifecycle_stops(ACTION_ASSIGN), STOP_ASSIGN);
    assert_int_equal(lifecycle_stops(ACTION_RESOLVE), STOP_RESOLVE);
    assert_int_equal(lifecycle_stops(ACTION_MERGE), STOP_ACK | STOP_ASSIGN | STOP_REPLY | STOP_RESOLVE);
    assert_int_equal(lifecycle_stops(ACTION_SPLIT), 0);
    assert_true(case_outcome_known("not-a-complaint"));
    assert_false(case_outcome_known("unknown"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_whole_matrix),
        cmocka_unit_test(what_ends_by_itself_is_unambiguous),
        cmocka_unit_test(the_table_for_people),
        cmocka_unit_test(arrays_for_the_database),
        cmocka_unit_test(names_and_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

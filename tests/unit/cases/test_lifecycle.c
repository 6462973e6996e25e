/* Every state with every action against a written-out matrix, so that neither can be forgotten. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "config/config.h"
#include "daemon/cases/lifecycle.h"
#include "daemon/core/err.h"

static const char matrix[] =
    "new ACK open\nnew ASSIGN open\nnew RESOLVE resolved\nnew MERGE closed\nnew SPLIT new\n"
    "open ACK open\nopen ASSIGN open\nopen RESOLVE resolved\nopen MERGE closed\nopen SPLIT open\n"
    "waiting ACK waiting\nwaiting ASSIGN waiting\nwaiting RESOLVE resolved\nwaiting MERGE closed\nwaiting SPLIT waiting\n"
    "resolved ACK -\nresolved ASSIGN -\nresolved RESOLVE -\nresolved MERGE closed\nresolved SPLIT resolved\n"
    "closed ACK -\nclosed ASSIGN -\nclosed RESOLVE -\nclosed MERGE closed\nclosed SPLIT closed\n";

static void the_whole_matrix(void **state CD_UNUSED)
{
    char text[2000] = "";
    for (int s = 0; s < CASE_STATUS_COUNT; s++)
        for (int a = 0; a < ACTION_COUNT; a++) {
            int next = lifecycle_next((enum case_status)s, (enum case_action)a);
            size_t n = strlen(text);
            assert_true(next == CD_ECONFLICT || (next >= 0 && next < CASE_STATUS_COUNT));
            snprintf(text + n, sizeof text - n, "%s %s %s\n", case_status_name((enum case_status)s),
                     case_action_name((enum case_action)a),
                     next < 0 ? "-" : case_status_name((enum case_status)next));
        }
    assert_string_equal(text, matrix);
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
        cmocka_unit_test(arrays_for_the_database),
        cmocka_unit_test(names_and_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

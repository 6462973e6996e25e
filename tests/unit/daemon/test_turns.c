/* Turns of large jobs: so many at a time, the others in order, and none that is forgotten keeps its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "daemon/core/metrics.h"
#include "daemon/turns.h"

static void one_at_a_time_in_order(void **state)
{
    struct turns t;
    static struct job j[4] = {{.number = 10}, {.number = 11}, {.number = 12}, {.number = 13}};
    (void)state;
    turns_init(&t, 1);
    assert_true(turns_take(&t, &j[0]));
    for (int i = 1; i < 4; i++)
        assert_false(turns_take(&t, &j[i]));
    assert_int_equal(metrics_get(M_INTAKE_LARGE), 3);
    assert_null(turns_next(&t)); /* the worker is still at the first */
    turns_done(&t, 99);          /* a small one */
    assert_null(turns_next(&t));
    turns_done(&t, 10);
    assert_ptr_equal(turns_next(&t), &j[1]);
    assert_null(turns_next(&t));
    turns_forget(&t, &j[2]); /* waited for too long */
    turns_done(&t, 11);
    turns_done(&t, 11); /* twice is harmless */
    assert_ptr_equal(turns_next(&t), &j[3]);
    turns_done(&t, 13);
    assert_null(turns_next(&t));
    assert_int_equal(metrics_get(M_INTAKE_LARGE), 0);
    assert_true(turns_take(&t, &j[0]));
}

static void several_at_a_time(void **state)
{
    struct turns t;
    static struct job j[5] = {{.number = 1}, {.number = 2}, {.number = 3}, {.number = 4}, {.number = 5}}, late = {.number = 6};
    (void)state;
    turns_init(&t, 3);
    for (int i = 0; i < 5; i++)
        assert_int_equal(turns_take(&t, &j[i]), i < 3);
    turns_done(&t, 2);
    assert_false(turns_take(&t, &late)); /* whoever comes now does not overtake those who wait */
    assert_ptr_equal(turns_next(&t), &j[3]);
    assert_null(turns_next(&t));
    turns_done(&t, 1);
    turns_done(&t, 3);
    assert_ptr_equal(turns_next(&t), &j[4]);
    assert_ptr_equal(turns_next(&t), &late);
    assert_null(turns_next(&t));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_at_a_time_in_order), cmocka_unit_test(several_at_a_time)};
    return cmocka_run_group_tests_name("turns", tests, NULL, NULL);
}

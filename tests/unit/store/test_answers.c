/* Counts of answers on their way to the database: added up by address, taken in order and in parts, put back, and bounded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/core/metrics.h"
#include "daemon/store/answers.h"

#define NOW CD_SEC(1000)

static void fill(struct answers *a, size_t n)
{
    char address[64];
    for (size_t i = 0; i < n; i++) {
        snprintf(address, sizeof address, "mail:%05zu@x.example", i * 7919 % n); /* n is not a multiple of that prime */
        answers_count(a, address);
    }
}

static void adds_up_and_waits(void **state CD_UNUSED)
{
    struct answers *a = answers_new();
    assert_null(answers_take(a, NOW));
    for (int i = 0; i < 3; i++)
        answers_count(a, "mail:b@x.example");
    answers_count(a, "mail:a@x.example");
    assert_int_equal(answers_kept(a, "mail:b@x.example"), 3);
    assert_int_equal(answers_kept(a, "mail:c@x.example"), 0);
    assert_int_equal(answers_kept(a, NULL), 0);
    struct answers_taken *t = answers_take(a, NOW);
    assert_int_equal(t->n, 2);
    assert_string_equal(t->v[0].address, "mail:a@x.example");
    assert_int_equal(t->v[1].n, 3);
    assert_int_equal(answers_kept(a, "mail:b@x.example"), 0);
    answers_count(a, "mail:b@x.example");
    answers_put_back(a, &t); /* the transaction failed */
    assert_null(t);
    assert_int_equal(answers_kept(a, "mail:b@x.example"), 4);
    assert_null(answers_take(a, NOW + ANSWERS_LATER_US - 1));
    t = answers_take(a, NOW + ANSWERS_LATER_US);
    assert_int_equal(t->v[1].n, 4);
    answers_taken_free(&t);
    assert_int_equal(answers_addresses(a), 0);
    answers_free(&a);
}

static void takes_parts_in_order(void **state CD_UNUSED)
{
    struct answers *a = answers_new();
    char last[64] = "";
    size_t n = 0;
    int64_t now = NOW;
    answers_count(a, "mail:first");
    struct answers_taken *t = answers_take(a, now);
    answers_taken_free(&t);
    fill(a, 2 * ANSWERS_AT_ONCE - 1);
    assert_null(answers_take(a, ++now)); /* not yet so many that they cannot wait */
    answers_count(a, "mail:99999@x.example");
    for (int parts = 0; parts < 2; parts++) {
        t = answers_take(a, ++now);
        assert_non_null(t);
        for (size_t i = 0; i < t->n; i++) {
            assert_true(strcmp(t->v[i].address, last) > 0);
            snprintf(last, sizeof last, "%s", t->v[i].address);
        }
        n += t->n;
        answers_taken_free(&t);
        answers_count(a, "mail:00000@x.example"); /* comes too late for this time, and must not hold up those behind */
    }
    assert_int_equal(n, 2 * ANSWERS_AT_ONCE);
    assert_null(answers_take(a, ++now));
    t = answers_take(a, now + ANSWERS_LATER_US);
    assert_int_equal(t->n, 1);
    assert_int_equal(t->v[0].n, 2);
    answers_taken_free(&t);
    answers_free(&a);
}

static void is_bounded(void **state CD_UNUSED)
{
    struct answers *a = answers_new();
    int64_t uncounted = metrics_get(M_ANSWERS_UNCOUNTED);
    fill(a, ANSWERS_MAX);
    assert_int_equal(metrics_get(M_ANSWERS_UNCOUNTED), uncounted);
    answers_count(a, "mail:z@x.example");
    answers_count(a, "mail:00001@x.example"); /* there is a place for it */
    assert_int_equal(answers_addresses(a), ANSWERS_MAX);
    assert_int_equal(answers_kept(a, "mail:z@x.example"), 0);
    assert_int_equal(answers_kept(a, "mail:00001@x.example"), 2);
    assert_int_equal(metrics_get(M_ANSWERS_UNCOUNTED), uncounted + 1);
    answers_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(adds_up_and_waits), cmocka_unit_test(takes_parts_in_order), cmocka_unit_test(is_bounded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The retry schedule and templates. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/notify/retry.h"
#include "daemon/notify/template.h"

static const struct config cfg = {.notify_retry_base_us = CD_SEC(30), .notify_retry_max_us = CD_HOUR(1), .notify_max_attempts = 5};

static void pauses_double_up_to_the_limit(void **state)
{
    (void)state;
    int64_t base = CD_SEC(30);
    for (unsigned attempts = 1; attempts < 40; attempts++) {
        for (uint32_t seed = 0; seed < 100; seed++) {
            int64_t p = retry_pause_us(&cfg, NC_STATUTORY, attempts, 0, seed);
            assert_in_range(p, base / 100 * 80, base / 100 * 120);
        }
        base = CD_MIN(base * 2, CD_HOUR(1));
    }
}

static void attempts_end_by_class(void **state)
{
    (void)state;
    assert_true(retry_pause_us(&cfg, NC_OPERATIONAL, 4, 0, 0) > 0);
    assert_int_equal(retry_pause_us(&cfg, NC_OPERATIONAL, 5, 0, 0), 0);
    assert_true(retry_pause_us(&cfg, NC_COURTESY, 2, 0, 0) > 0);
    assert_int_equal(retry_pause_us(&cfg, NC_COURTESY, 3, 0, 0), 0);
    assert_true(retry_pause_us(&cfg, NC_STATUTORY, 100000, 0, 0) > 0);
    assert_int_equal(notify_class_from_name("courtesy"), NC_COURTESY);
    assert_int_equal(notify_class_from_name("urgent"), -1);
}

static void retry_after_is_heard_within_reason(void **state)
{
    (void)state;
    assert_int_equal(retry_pause_us(&cfg, NC_STATUTORY, 1, CD_MIN_US(20), 7), CD_MIN_US(20));
    assert_int_equal(retry_pause_us(&cfg, NC_STATUTORY, 1, CD_HOUR(100), 7), CD_HOUR(1));
}

static void values_are_cleaned_for_their_place(void **state)
{
    const struct template_var vars[] = {{"ref", "C-1"}, {"subject", "a\r\nBcc: x@evil.example"}, {"name", NULL}};
    struct buf b;
    (void)state;
    buf_init(&b, 200);
    assert_int_equal(template_render("[{{ref}}] {{ subject }}{{name}}{{unknown}}.", true, vars, 3, &b), 0);
    assert_string_equal(buf_str(&b), "[C-1] a  Bcc: x@evil.example.");
    buf_reset(&b);
    assert_int_equal(template_render("{{subject}} {{ref", false, vars, 3, &b), 0);
    assert_string_equal(buf_str(&b), "a\nBcc: x@evil.example {{ref");
    buf_free(&b);
    buf_init(&b, 4);
    assert_true(template_render("[{{subject}}]", false, vars, 3, &b) < 0); /* the cap */
    buf_free(&b);
    assert_true(config_template_name_known("due_date", 8));
    assert_false(config_template_name_known("due", 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pauses_double_up_to_the_limit),
        cmocka_unit_test(attempts_end_by_class),
        cmocka_unit_test(retry_after_is_heard_within_reason),
        cmocka_unit_test(values_are_cleaned_for_their_place),
    };
    return cmocka_run_group_tests_name("notify", tests, NULL, NULL);
}

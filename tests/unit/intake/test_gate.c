/* The gate: budgets by count and bytes, and its modes with hysteresis. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/intake/gate.h"

static const struct gate_limits modes = {
    .max_items = 100, .max_bytes = 1000, .tight_on = 70, .tight_off = 50, .shed_on = 95, .shed_off = 80, .large_bytes = 100};

static void items(size_t n)
{
    static size_t now;
    if (n == SIZE_MAX) { /* begin anew */
        now = 0;
        return;
    }
    for (; now < n; now++)
        gate_enter(0);
    for (; now > n; now--)
        gate_leave(0);
}

static int set_up(void **state)
{
    (void)state;
    log_set_level(LOG_L_ERROR);
    gate_init(&modes);
    items(SIZE_MAX);
    return 0;
}

static void budgets(void **state)
{
    (void)state;
    gate_init(&(struct gate_limits){.max_items = 2, .max_bytes = 100, .large_bytes = SIZE_MAX});
    assert_true(gate_admits(100) && gate_fits(100));
    assert_false(gate_admits(101) || gate_fits(101));
    assert_false(gate_admits(SIZE_MAX) || gate_fits(SIZE_MAX));
    gate_enter(60);
    assert_true(gate_admits(40) && gate_fits(40));
    assert_false(gate_admits(41) || gate_fits(41));
    assert_int_equal(metrics_get(M_INTAKE_QUEUED), 1);
    assert_int_equal(metrics_get(M_INTAKE_QUEUED_BYTES), 60);
    gate_enter(1);
    assert_false(gate_admits(1) || gate_fits(1)); /* no item left */
    gate_enter(100);                              /* what was let in meanwhile may go over */
    assert_false(gate_admits(0) || gate_fits(0) || gate_within());
    assert_int_equal(gate_mode(), GATE_NORMAL); /* no modes were asked for */
    gate_leave(100);
    gate_leave(1);
    gate_leave(60);
    assert_true(gate_admits(100));
    assert_int_equal(metrics_get(M_INTAKE_QUEUED_BYTES), 0);
}

static void reading_counts(void **state)
{
    (void)state;
    gate_init(&(struct gate_limits){.max_items = 2, .max_bytes = 100, .large_bytes = SIZE_MAX});
    gate_read(70);
    assert_int_equal(metrics_get(M_INTAKE_READING_BYTES), 70);
    assert_true(gate_admits(30));
    assert_false(gate_admits(31)); /* not begun yet: there is no room for it */
    gate_enter(30);
    assert_true(gate_within());
    assert_true(gate_fits(70)); /* read already: its bytes are there, in whatever way they are counted */
    gate_read(1);
    assert_false(gate_within());
    gate_unread(71);
    assert_true(gate_within());
    gate_leave(30);
}

/* Up and down through every threshold: what a mode is depends on where the gate came from. */
static void hysteresis(void **state)
{
    (void)state;
    static const struct {
        size_t items;
        enum gate_mode mode;
    } way[] = {{0, GATE_NORMAL},  {69, GATE_NORMAL}, {70, GATE_TIGHT}, {69, GATE_TIGHT}, {50, GATE_TIGHT}, {49, GATE_NORMAL},
               {69, GATE_NORMAL}, {94, GATE_TIGHT},  {95, GATE_SHED},  {94, GATE_SHED},  {80, GATE_SHED},  {79, GATE_TIGHT},
               {94, GATE_TIGHT},  {95, GATE_SHED},   {49, GATE_NORMAL}, {100, GATE_SHED}, {0, GATE_NORMAL}};
    for (size_t i = 0; i < sizeof way / sizeof *way; i++) {
        items(way[i].items);
        if (gate_mode() != way[i].mode)
            fail_msg("step %zu: %zu items, %s", i, way[i].items, gate_mode_name(gate_mode()));
        assert_int_equal(metrics_get(M_GATE_MODE), way[i].mode);
    }
}

static void each_change_is_counted_once(void **state)
{
    (void)state;
    int64_t normal = metrics_get(M_GATE_TO_NORMAL), tight = metrics_get(M_GATE_TO_TIGHT), shed = metrics_get(M_GATE_TO_SHED);
    for (int i = 0; i < 100; i++) { /* to and fro at a threshold */
        items(70);
        items(69);
    }
    items(0);
    assert_int_equal(metrics_get(M_GATE_TO_TIGHT), tight + 1);
    assert_int_equal(metrics_get(M_GATE_TO_NORMAL), normal + 1);
    items(100);
    for (int i = 0; i < 100; i++) {
        items(95);
        items(80);
    }
    assert_int_equal(metrics_get(M_GATE_TO_TIGHT), tight + 2); /* on its way through */
    assert_int_equal(metrics_get(M_GATE_TO_SHED), shed + 1);
    items(0);
}

static void the_fuller_of_the_two_decides(void **state)
{
    (void)state;
    gate_read(700);
    assert_int_equal(gate_mode(), GATE_TIGHT);
    gate_unread(300);
    assert_int_equal(gate_mode(), GATE_NORMAL);
    items(95);
    assert_int_equal(gate_mode(), GATE_SHED);
    items(0);
    gate_read(550);
    assert_int_equal(gate_mode(), GATE_SHED); /* 95 % of bytes now */
    gate_unread(950);
    assert_int_equal(gate_mode(), GATE_NORMAL);
}

/* From being read to being in flight: the same bytes all the time, so no change of mode in between. */
static void handing_over_changes_nothing(void **state)
{
    (void)state;
    gate_read(750);
    int64_t normal = metrics_get(M_GATE_TO_NORMAL), tight = metrics_get(M_GATE_TO_TIGHT);
    gate_hand_over(750);
    gate_enter(750);
    assert_int_equal(gate_mode(), GATE_TIGHT);
    gate_leave(750);
    assert_int_equal(metrics_get(M_GATE_TO_NORMAL), normal + 1);
    gate_read(750);
    gate_hand_over(750);
    gate_unread(0); /* it was not taken */
    assert_int_equal(gate_mode(), GATE_NORMAL);
    assert_int_equal(metrics_get(M_GATE_TO_TIGHT), tight + 1);
    assert_int_equal(metrics_get(M_INTAKE_READING_BYTES), 0);
}

static void who_is_admitted(void **state)
{
    (void)state;
    assert_true(gate_admits(100));
    items(70);
    assert_true(gate_admits(99));
    assert_false(gate_admits(100)); /* large */
    assert_true(gate_fits(100));    /* was read before */
    items(95);
    assert_false(gate_admits(0));
    assert_true(gate_fits(1000));
    items(79);
    assert_true(gate_admits(0));
    items(0);
    assert_true(gate_admits(100));
}

/* A budget as large as a size can be must not wrap anything round. */
static void large_numbers(void **state)
{
    (void)state;
    struct gate_limits l = modes;
    l.max_items = l.max_bytes = SIZE_MAX;
    gate_init(&l);
    gate_read(SIZE_MAX / 2);
    assert_int_equal(gate_mode(), GATE_NORMAL);
    gate_enter(SIZE_MAX / 2);
    assert_int_equal(gate_mode(), GATE_SHED);
    gate_enter(SIZE_MAX / 4);
    assert_int_equal(gate_mode(), GATE_SHED);
    gate_leave(SIZE_MAX / 4);
    gate_leave(SIZE_MAX / 2);
    gate_unread(SIZE_MAX / 2);
    assert_int_equal(gate_mode(), GATE_NORMAL);
}

/* A reload: what is in stays counted, and is measured by the new limits. */
static void limits_change_under_way(void **state)
{
    (void)state;
    struct gate_limits l = modes;
    gate_init(&l);
    gate_enter(490);
    assert_int_equal(gate_mode(), GATE_NORMAL);
    l.max_bytes /= 2;
    gate_set_limits(&l);
    assert_int_equal(gate_mode(), GATE_SHED);
    assert_false(gate_fits(11));
    gate_set_limits(&modes);
    assert_int_equal(gate_mode(), GATE_NORMAL);
    gate_leave(490);
    assert_int_equal(metrics_get(M_INTAKE_QUEUED_BYTES), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(budgets, set_up),
        cmocka_unit_test_setup(reading_counts, set_up),
        cmocka_unit_test_setup(hysteresis, set_up),
        cmocka_unit_test_setup(each_change_is_counted_once, set_up),
        cmocka_unit_test_setup(the_fuller_of_the_two_decides, set_up),
        cmocka_unit_test_setup(handing_over_changes_nothing, set_up),
        cmocka_unit_test_setup(who_is_admitted, set_up),
        cmocka_unit_test_setup(large_numbers, set_up),
        cmocka_unit_test_setup(limits_change_under_way, set_up),
    };
    return cmocka_run_group_tests_name("gate", tests, NULL, NULL);
}

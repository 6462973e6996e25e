/* Plans and whom a step tells. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/escalation/plan.h"
#include "daemon/escalation/tell.h"

#define T0 CD_SEC(1800000000)

static struct cfg_tell tells[] = {{.contact = (char *)"team", .by = 1 | 4}, {.contact = (char *)"boss", .by = 2}};
static struct cfg_step steps[] = {
    {.level = 1, .anchor = ANCHOR_FIRST_RESPONSE, .offset_us = -CD_MIN_US(15), .priorities = 0xf, .stops_on = STOP_ACK, .tell = tells, .ntell = 2},
    {.level = 2, .anchor = ANCHOR_RECEIPT, .offset_us = CD_HOUR(1), .priorities = 1 << PRIO_CRITICAL, .stops_on = STOP_RESOLVE, .repeat_times = 2,
     .repeat_every_us = CD_MIN_US(10), .tell = tells, .ntell = 1},
    {.level = 3, .anchor = ANCHOR_RESOLVE, .offset_us = 0, .priorities = 0xf},
};

static struct cfg_policy make_policy(void)
{
    struct cfg_policy p = {.name = (char *)"p", .calendar = (char *)"always", .version = "v", .steps = steps, .nsteps = ARRAY_LEN(steps)};
    for (int i = 0; i < PRIO_COUNT; i++) {
        p.target_us[i][TARGET_ACKNOWLEDGE] = CD_MIN_US(5);
        p.target_us[i][TARGET_FIRST_RESPONSE] = i == PRIO_CRITICAL ? CD_MIN_US(10) : CD_HOUR(4);
    }
    return p;
}

static void due_times_and_order(void **state)
{
    struct cfg_policy policy = make_policy();
    struct plan p;
    (void)state;
    plan_make(NULL, &policy, PRIO_NORMAL, T0, &p);
    assert_true(p.due_us[TARGET_ACKNOWLEDGE] == T0 + CD_MIN_US(5));
    assert_true(p.due_us[TARGET_FIRST_RESPONSE] == T0 + CD_HOUR(4));
    assert_true(p.due_us[TARGET_RESOLVE] == 0); /* no target: no deadline, and no step that hangs on it */
    assert_int_equal(p.nsteps, 1);
    assert_true(p.steps[0].due_us == T0 + CD_HOUR(4) - CD_MIN_US(15));
    plan_make(NULL, &policy, PRIO_CRITICAL, T0, &p);
    assert_int_equal(p.nsteps, 4);
    assert_true(p.steps[0].due_us == T0); /* never before receipt */
    for (size_t i = 1; i < p.nsteps; i++) {
        assert_int_equal(p.steps[i].level, 2);
        assert_int_equal(p.steps[i].n, i - 1);
        assert_true(p.steps[i].due_us == T0 + CD_HOUR(1) + (int64_t)(i - 1) * CD_MIN_US(10));
    }
}

static void repeats_are_bounded(void **state)
{
    struct cfg_policy policy = make_policy();
    struct cfg_step many = {.level = 1, .anchor = ANCHOR_RECEIPT, .priorities = 0xf, .repeat_times = 1000, .repeat_every_us = CD_SEC(1)};
    struct plan p;
    (void)state;
    policy.steps = &many;
    policy.nsteps = 1;
    plan_make(NULL, &policy, PRIO_LOW, T0, &p);
    assert_int_equal(p.nsteps, PLAN_MAX_STEPS);
}

static void who_is_told(void **state)
{
    struct cfg_policy policy = make_policy();
    struct cfg_team team = {.name = (char *)"billing", .contact = {.mail = (char *)"b@x.example", .sms = (char *)"", .webhook = (char *)"chat"}};
    struct cfg_contact boss = {.name = (char *)"boss", .contact = {.mail = (char *)"boss@x.example", .sms = (char *)"+441234567890", .webhook = (char *)""}};
    struct config c = {.policies = &policy, .npolicies = 1, .teams = &team, .nteams = 1, .contacts = &boss, .ncontacts = 1,
                       .default_language = (char *)"en"};
    struct tell_input in = {.complaint_id = "01", .policy = "p@v", .team = "billing", .level = 1, .due_us = T0};
    struct store_notes out = {0};
    const char *step;
    (void)state;
    assert_int_equal(tell_step(&c, &in, &out, &step), 3);
    assert_string_equal(step, "first-response");
    static const char *const want[][2] = {{"mail", "b@x.example"}, {"webhook", "chat"}, {"sms", "+441234567890"}};
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(out.v[i].transport, want[i][0]);
        assert_string_equal(out.v[i].recipient, want[i][1]);
    }
    in.level = 9; /* a level that the policy no longer has */
    assert_int_equal(tell_step(&c, &in, &out, &step), 0);
    in.level = 1;
    in.policy = "gone@v";
    assert_int_equal(tell_step(&c, &in, &out, &step), 0);
    store_notes_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(due_times_and_order),
        cmocka_unit_test(repeats_are_bounded),
        cmocka_unit_test(who_is_told),
    };
    return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}

/* Thread decisions: a table of what is known of a complaint and its message against the score and what follows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/triage/thread.h"

#define DAY CD_HOUR(24)
#define NOW (10000 * DAY)

/* As the options' defaults. */
static const struct thread_weights weights = {
    .fresh_us = 7 * DAY, .max_age_us = 180 * DAY, .reopen_window_us = 30 * DAY, .drift = 40, .age = 30, .done = 20, .join_at = 40};

static char same[] = "Re: Broken kettle", other[] = "Rude driver";
static const struct record person = {.cls = MC_PERSON, .subject = same}, drifted = {.cls = MC_PERSON, .subject = other},
                           bounce = {.cls = MC_BOUNCE, .subject = other};

static struct thread_candidate candidate(enum thread_evidence e, const char *ref, const char *participant, int64_t age_days)
{
    struct thread_candidate c = {.evidence = e, .last_us = NOW - age_days * DAY};
    snprintf(c.ref, sizeof c.ref, "%s", ref);
    if (participant)
        strlist_add(&c.participants, participant);
    strlist_add(&c.subjects, "Broken kettle");
    return c;
}

static struct thread_decision decide_as(const struct thread_message *m, struct thread_candidate *c, size_t n)
{
    struct thread_decision d;
    thread_decide(m, c, n, &weights, &d);
    assert_int_equal(json_array_size(d.reasons), n);
    for (size_t i = 0; i < n; i++)
        thread_candidate_clear(&c[i]);
    return d;
}

static struct thread_decision decide(const struct record *r, const char *sender, struct thread_candidate *c, size_t n)
{
    const struct thread_message m = {.record = r, .sender = sender, .at_us = NOW};
    struct thread_decision d = decide_as(&m, c, n);
    json_decref(d.reasons);
    return d;
}

static enum thread_action action(const struct record *r, const char *sender, struct thread_candidate c)
{
    return decide(r, sender, &c, 1).action;
}

static void nothing_points_anywhere(void **state)
{
    (void)state;
    assert_int_equal(decide(&person, "a@x.example", NULL, 0).action, THREAD_NEW);
}

static void scores(void **state)
{
    (void)state;
    static const struct {
        enum thread_evidence e;
        bool drifted, done, named;
        int age_days, score;
        bool joins;
    } cases[] = {
        /* the mails of a thread that are near each other stay together, whatever they say */
        {TE_IN_REPLY_TO, true, false, false, 0, 80, true},
        {TE_REFERENCES, true, true, false, 7, 70, true},
        {TE_REFERENCE_NUMBER, true, false, false, 6, 70, true},
        /* the same matter joins as long as it is open */
        {TE_IN_REPLY_TO, false, false, false, 8, 80, true},
        {TE_IN_REPLY_TO, false, false, false, 100, 64, true},
        {TE_REFERENCES, false, false, false, 5000, 40, true},
        {TE_IN_REPLY_TO, false, true, false, 30, 57, true},
        {TE_IN_REPLY_TO, false, true, false, 5000, 30, false},
        /* another one does not */
        {TE_IN_REPLY_TO, true, false, false, 8, 40, true},
        {TE_IN_REPLY_TO, true, false, false, 30, 37, false},
        {TE_REFERENCES, true, false, false, 8, 30, false},
        {TE_IN_REPLY_TO, true, true, false, 8, 20, false},
        {TE_OWN_ID, true, false, false, 30, 37, false},
        {TE_REFERENCE_NUMBER, true, false, false, 30, 27, false},
        /* unless the subject names the complaint */
        {TE_REFERENCE_NUMBER, true, false, true, 30, 67, true},
        {TE_IN_REPLY_TO, true, true, true, 30, 57, true},
        /* a token bears more */
        {TE_TOKEN_ADDRESS, true, false, false, 100, 44, true},
        {TE_TOKEN_ADDRESS, true, false, false, 180, 30, false},
        {TE_TOKEN_ADDRESS, true, true, false, 30, 37, false},
        {TE_TOKEN_ID, true, false, false, 30, 52, true},
        {TE_TOKEN_ID, false, true, false, 5000, 45, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct thread_candidate c = candidate(cases[i].e, "C-1", "a@x.example", cases[i].age_days);
        const struct thread_message m = {.record = cases[i].drifted ? &drifted : &person, .sender = "a@x.example", .at_us = NOW};
        c.done = cases[i].done;
        c.named = cases[i].named;
        struct thread_decision d = decide_as(&m, &c, 1);
        const json_t *why = json_array_get(d.reasons, 0);
        int score = (int)json_integer_value(json_object_get(why, "score")), sum = 0;
        const char *name;
        json_t *v;
        json_object_foreach(json_object_get(why, "points"), name, v)
            sum += (int)json_integer_value(v);
        if (score != cases[i].score || (d.action == THREAD_JOIN) != cases[i].joins || sum != score)
            fail_msg("case %zu: score %d, not %d (%s)", i, score, cases[i].score, json_string_value(json_object_get(why, "verdict")));
        assert_int_equal(d.new_matter, !cases[i].joins);
        json_decref(d.reasons);
    }
}

static void the_best_score_wins(void **state)
{
    (void)state;
    struct thread_candidate c[] = {candidate(TE_REFERENCE_NUMBER, "C-2", "a@x.example", 0), candidate(TE_IN_REPLY_TO, "C-1", "a@x.example", 0)};
    struct thread_decision d = decide(&person, "a@x.example", c, 2);
    assert_int_equal(d.action, THREAD_JOIN);
    assert_string_equal(d.candidate->ref, "C-1");
    /* a weaker evidence of what is fresh beats a stronger one of what is old and another matter */
    struct thread_candidate e[] = {candidate(TE_TOKEN_ADDRESS, "C-1", "a@x.example", 180), candidate(TE_REFERENCES, "C-2", "a@x.example", 1)};
    d = decide(&drifted, "a@x.example", e, 2);
    assert_int_equal(d.action, THREAD_JOIN);
    assert_string_equal(d.candidate->ref, "C-2");
    /* of equal ones the stronger evidence */
    struct thread_candidate f[] = {candidate(TE_OWN_ID, "C-1", "a@x.example", 0), candidate(TE_IN_REPLY_TO, "C-2", "a@x.example", 0)};
    d = decide(&person, "a@x.example", f, 2);
    assert_string_equal(d.candidate->ref, "C-2");
}

static void a_stranger_joins_nothing_without_a_token(void **state)
{
    (void)state;
    assert_int_equal(action(&person, "evil@y.example", candidate(TE_REFERENCE_NUMBER, "C-1", "a@x.example", 0)), THREAD_LINK);
    assert_int_equal(action(&person, NULL, candidate(TE_IN_REPLY_TO, "C-1", "a@x.example", 0)), THREAD_LINK);
    for (int e = 0; e < TE_COUNT; e++) {
        struct thread_candidate c = candidate((enum thread_evidence)e, "C-1", "a@x.example", 0);
        struct thread_decision d = decide(&person, "b@y.example", &c, 1);
        assert_int_equal(d.action, e <= TE_TOKEN_ID ? THREAD_JOIN : THREAD_LINK);
        assert_int_equal(d.stranger, e <= TE_TOKEN_ID);
        assert_false(d.new_matter);
        assert_string_not_equal(thread_evidence_name((enum thread_evidence)e), "unknown");
    }
    /* but a weaker evidence that fits is followed */
    struct thread_candidate e[] = {candidate(TE_IN_REPLY_TO, "C-1", "a@x.example", 0), candidate(TE_REFERENCE_NUMBER, "C-2", "b@x.example", 0)};
    struct thread_decision d = decide(&person, "b@x.example", e, 2);
    assert_int_equal(d.action, THREAD_JOIN);
    assert_string_equal(d.candidate->ref, "C-2");
    assert_false(d.stranger);
}

/* Where somebody looked who it is and it is not proven, a name and a number that were overheard are not enough; knowing a mail of the thread is. */
static void an_unproven_sender_joins_nothing_by_a_reference_number(void **state)
{
    (void)state;
    for (int e = 0; e < TE_COUNT; e++) {
        struct thread_candidate c = candidate((enum thread_evidence)e, "C-1", "a@x.example", 0);
        const struct thread_message m = {.record = &person, .sender = "a@x.example", .unproven = true, .at_us = NOW};
        struct thread_decision d = decide_as(&m, &c, 1);
        assert_int_equal(d.action, e < TE_REFERENCE_NUMBER ? THREAD_JOIN : THREAD_LINK);
        json_decref(d.reasons);
    }
}

static void a_client_joins_nothing_of_other_desks(void **state)
{
    static const enum thread_evidence all[] = {TE_TOKEN_ADDRESS, TE_IN_REPLY_TO, TE_REFERENCE_NUMBER};
    struct strlist mine = {0}, none = {0};
    (void)state;
    strlist_add(&mine, "care");
    for (size_t i = 0; i < 3 * ARRAY_LEN(all); i++) {
        struct thread_message m = {.record = &person, .sender = "a@x.example", .desks = i % 3 == 2 ? &none : &mine, .at_us = NOW};
        struct thread_candidate c = candidate(all[i / 3], "C-1", "a@x.example", 0);
        strlist_add(&c.desks, "shop");
        if (i % 3 == 1)
            strlist_add(&c.desks, "care");
        struct thread_decision d = decide_as(&m, &c, 1);
        assert_int_equal(d.action, i % 3 == 0 ? THREAD_LINK : THREAD_JOIN);
        json_decref(d.reasons);
    }
    strlist_free(&mine);
}

static void closed_ones_reopen_within_the_window(void **state)
{
    (void)state;
    for (int days = 29; days <= 31; days += 2) {
        struct thread_candidate c = candidate(TE_TOKEN_ADDRESS, "C-1", "a@x.example", days);
        c.closed = c.done = true;
        c.closed_at_us = c.last_us;
        struct thread_decision d = decide(&person, "a@x.example", &c, 1);
        assert_int_equal(d.action, days < 30 ? THREAD_JOIN : THREAD_LINK);
        assert_false(d.new_matter);
    }
}

/* They begin nothing and change nothing: what they answer is enough. */
static void machines_and_our_own_people_join_what_they_answer(void **state)
{
    (void)state;
    assert_int_equal(action(&bounce, "mailer-daemon@y.example", candidate(TE_IN_REPLY_TO, "C-1", "a@x.example", 1000)), THREAD_JOIN);
    assert_int_equal(action(&bounce, "mailer-daemon@y.example", candidate(TE_TOKEN_ID, "C-1", "a@x.example", 1000)), THREAD_JOIN);
    assert_int_equal(action(&bounce, "mailer-daemon@y.example", candidate(TE_REFERENCE_NUMBER, "C-1", "a@x.example", 0)), THREAD_LINK);
    struct thread_candidate c = candidate(TE_REFERENCE_NUMBER, "C-1", "a@x.example", 1000);
    c.closed = c.done = true;
    const struct thread_message m = {.record = &drifted, .sender = "wei@staff.example", .staff = true, .at_us = NOW};
    struct thread_decision d = decide_as(&m, &c, 1);
    assert_int_equal(d.action, THREAD_JOIN);
    assert_false(d.stranger);
    json_decref(d.reasons);
}

/* The clocks of instances differ, and what waited as pending is older than what came after it. */
static void what_was_said_later_costs_nothing(void **state)
{
    (void)state;
    assert_int_equal(action(&drifted, "a@x.example", candidate(TE_IN_REPLY_TO, "C-1", "a@x.example", -400)), THREAD_JOIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_points_anywhere),
        cmocka_unit_test(scores),
        cmocka_unit_test(the_best_score_wins),
        cmocka_unit_test(a_stranger_joins_nothing_without_a_token),
        cmocka_unit_test(an_unproven_sender_joins_nothing_by_a_reference_number),
        cmocka_unit_test(a_client_joins_nothing_of_other_desks), cmocka_unit_test(closed_ones_reopen_within_the_window),
        cmocka_unit_test(machines_and_our_own_people_join_what_they_answer),
        cmocka_unit_test(what_was_said_later_costs_nothing),
    };
    return cmocka_run_group_tests_name("thread", tests, NULL, NULL);
}

/* Thread decisions: evidence in order, participants only, reopening window, automatic messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/triage/thread.h"

#define NOW CD_HOUR(100000)
#define WINDOW CD_HOUR(24 * 30)

static struct thread_candidate candidate(enum thread_evidence e, const char *ref, const char *participant)
{
    struct thread_candidate c = {.evidence = e};
    snprintf(c.ref, sizeof c.ref, "%s", ref);
    if (participant)
        strlist_add(&c.participants, participant);
    return c;
}

static enum thread_action decide(const struct record *r, const char *sender, struct thread_candidate *c, size_t n, char ref[REF_TEXT_SIZE])
{
    struct thread_decision d;
    thread_decide(r, sender, c, n, NOW, WINDOW, &d);
    snprintf(ref, REF_TEXT_SIZE, "%s", d.candidate ? d.candidate->ref : "");
    if (n)
        assert_true(json_array_size(d.reasons) > 0);
    json_decref(d.reasons);
    for (size_t i = 0; i < n; i++)
        strlist_free(&c[i].participants);
    return d.action;
}

static const struct record person = {.cls = MC_PERSON}, bounce = {.cls = MC_BOUNCE};

static void nothing_points_anywhere(void **state)
{
    char ref[REF_TEXT_SIZE];
    (void)state;
    assert_int_equal(decide(&person, "a@x.example", NULL, 0, ref), THREAD_NEW);
}

static void stronger_evidence_wins(void **state)
{
    char ref[REF_TEXT_SIZE];
    (void)state;
    struct thread_candidate c[] = {candidate(TE_REFERENCE_NUMBER, "C-2", "a@x.example"), candidate(TE_IN_REPLY_TO, "C-1", "a@x.example")};
    assert_int_equal(decide(&person, "a@x.example", c, 2, ref), THREAD_JOIN);
    assert_string_equal(ref, "C-1");
}

static void a_stranger_joins_nothing(void **state)
{
    char ref[REF_TEXT_SIZE];
    (void)state;
    struct thread_candidate c[] = {candidate(TE_REFERENCE_NUMBER, "C-1", "a@x.example")};
    assert_int_equal(decide(&person, "evil@y.example", c, 1, ref), THREAD_LINK);
    struct thread_candidate d[] = {candidate(TE_IN_REPLY_TO, "C-1", "a@x.example")};
    assert_int_equal(decide(&person, NULL, d, 1, ref), THREAD_LINK);
    /* but a weaker evidence that fits is followed */
    struct thread_candidate e[] = {candidate(TE_IN_REPLY_TO, "C-1", "a@x.example"), candidate(TE_REFERENCE_NUMBER, "C-2", "b@x.example")};
    assert_int_equal(decide(&person, "b@x.example", e, 2, ref), THREAD_JOIN);
    assert_string_equal(ref, "C-2");
}

static void closed_ones_reopen_within_the_window(void **state)
{
    char ref[REF_TEXT_SIZE];
    (void)state;
    struct thread_candidate c[] = {candidate(TE_REFERENCES, "C-1", "a@x.example")};
    c[0].closed = true;
    c[0].closed_at_us = NOW - WINDOW + 1;
    assert_int_equal(decide(&person, "a@x.example", c, 1, ref), THREAD_JOIN);
    struct thread_candidate d[] = {candidate(TE_REFERENCES, "C-1", "a@x.example")};
    d[0].closed = true;
    d[0].closed_at_us = NOW - WINDOW - 1;
    assert_int_equal(decide(&person, "a@x.example", d, 1, ref), THREAD_LINK);
}

static void machines_join_what_they_answer(void **state)
{
    char ref[REF_TEXT_SIZE];
    (void)state;
    struct thread_candidate c[] = {candidate(TE_IN_REPLY_TO, "C-1", "a@x.example")};
    assert_int_equal(decide(&bounce, "mailer-daemon@y.example", c, 1, ref), THREAD_JOIN);
    struct thread_candidate d[] = {candidate(TE_REFERENCE_NUMBER, "C-1", "a@x.example")};
    assert_int_equal(decide(&bounce, "mailer-daemon@y.example", d, 1, ref), THREAD_LINK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_points_anywhere), cmocka_unit_test(stronger_evidence_wins), cmocka_unit_test(a_stranger_joins_nothing),
        cmocka_unit_test(closed_ones_reopen_within_the_window), cmocka_unit_test(machines_join_what_they_answer),
    };
    return cmocka_run_group_tests_name("thread", tests, NULL, NULL);
}

/* SUBSCRIBE on a session with a fake feed: what is given to whom and when, back-pressure, how it ends. */
#include "tests/unit/line/line_fixture.h"

#define SUBSCRIBE "SUBSCRIBE {\"after\":\"0\"}\n"

static bool event_of(size_t reader, uint64_t xid, const char *kind, const char *in_desks)
{
    char row[200];
    struct feed_reader *r = T.readers[reader];
    const struct feed_event e = {.at = {.xid = xid}, .kind = kind, .desks = in_desks, .row = row,
                                 .nrow = (size_t)snprintf(row, sizeof row, "{\"cursor\": \"%d:x\", \"kind\": \"%s\"}", (int)xid, kind)};
    bool taken = r->give(r, &e);
    if (taken)
        r->at = e.at;
    else
        r->paused = true;
    return taken;
}

static int subscribed(const char *request)
{
    int fd = client_open(-1);
    say(fd, AUTH_AGENT);
    assert_non_null(strstr(heard(fd), "OK"));
    say(fd, request);
    assert_string_equal(heard(fd), "");
    return fd;
}

static void rows_leave_at_once_and_the_next_request_ends_it(void **state CD_UNUSED)
{
    int fd = subscribed(SUBSCRIBE);
    assert_int_equal(T.nreaders, 1);
    assert_false(T.readers[0]->from_now);
    assert_true(event_of(0, 7, "received", "care"));
    assert_string_equal(heard(fd), "ROW {\"cursor\": \"7:x\", \"kind\": \"received\"}\n");
    say(fd, "PING\nQUIT\n");
    assert_string_equal(heard(fd), "OK {\"rows\":1,\"cursor\":\"7:00000000-0000-0000-0000-000000000000\"}\nOK {}\nOK {}\n!");
    assert_int_equal(T.nreaders, 0);
    assert_int_equal(T.server.nsubscriptions, 0);
    close(fd);
}

static void rows_wait_for_the_answers_before_them(void **state CD_UNUSED)
{
    int fd = client_open(-1);
    expect(fd, AUTH_AGENT, "OK {\"client\":\"wei\",\"role\":\"agent\"}\n");
    say(fd, "SHOW {\"ref\":\"X\"}\n" SUBSCRIBE);
    assert_false(event_of(0, 7, "received", "care"));
    assert_string_equal(heard(fd), "");
    struct reply r = {.ok = true, .body = json_object()};
    line_on_reply(&T.server, T.requests[0].slot, &r);
    json_decref(r.body);
    assert_string_equal(heard(fd), "OK {}\n");
    assert_int_equal(T.nresumed, 1);
    assert_true(event_of(0, 7, "received", "care"));
    assert_non_null(strstr(heard(fd), "7:x"));
    close(fd);
    turn();
    T.readers[0]->caught_up(T.readers[0]); /* the end of its input is not yet the end of what it wants */
    turn();
    assert_int_equal(T.nreaders, 0);
}

static void kinds_and_desks(void **state CD_UNUSED)
{
    int fd = subscribed("SUBSCRIBE {\"kinds\":[\"acked\",\"resolved\"],\"desk\":\"shop\"}\n");
    assert_true(T.readers[0]->from_now);
    assert_true(event_of(0, 1, "received", "shop"));
    assert_true(event_of(0, 2, "acked", "care"));
    assert_true(event_of(0, 3, "acked", "shopping\ncare"));
    assert_true(event_of(0, 4, "acked", NULL)); /* of a complaint that is not there */
    assert_string_equal(heard(fd), "");
    assert_true(event_of(0, 5, "acked", "care\nshop"));
    assert_non_null(strstr(heard(fd), "5:x"));
    close(fd);
}

static void who_does_not_read_is_paused(void **state CD_UNUSED)
{
    int64_t paused = metrics_get(M_LINE_SUBSCRIBE_PAUSED);
    int fd = subscribed(SUBSCRIBE);
    uint64_t n = 0;
    while (n < 100000 && event_of(0, n + 1, "received", "care")) {
        n++;
        turn();
    }
    assert_true(n > 1000 && n < 100000);
    assert_true(evbuffer_get_length(TAILQ_FIRST(&T.server.sessions)->conn.out) < LINE_MAX_UNSENT + 1000);
    assert_int_equal(metrics_get(M_LINE_SUBSCRIBE_PAUSED), paused + 1);
    assert_int_equal(T.nresumed, 0);
    const char *rows = heard(fd);
    char last[64];
    snprintf(last, sizeof last, "\"%d:x\"", (int)n);
    assert_non_null(strstr(rows, last));
    assert_int_equal(T.nresumed, 1); /* and it is given the next one again */
    assert_true(event_of(0, n + 1, "received", "care"));
    close(fd);
}

static void one_that_does_not_follow_ends(void **state CD_UNUSED)
{
    int fd = subscribed("SUBSCRIBE {\"after\":\"0\",\"follow\":false}\n"), other = subscribed(SUBSCRIBE);
    T.readers[0]->caught_up(T.readers[0]);
    T.readers[1]->caught_up(T.readers[1]);
    assert_string_equal(heard(fd), "OK {\"rows\":0,\"cursor\":\"0:00000000-0000-0000-0000-000000000000\"}\n");
    assert_string_equal(heard(other), "");
    assert_int_equal(T.nreaders, 1);
    shutdown(other, SHUT_WR); /* what is there now is still given */
    turn();
    assert_int_equal(T.nreaders, 1);
    assert_true(event_of(0, 3, "received", "care"));
    T.readers[0]->caught_up(T.readers[0]);
    assert_string_equal(heard(other), "ROW {\"cursor\": \"3:x\", \"kind\": \"received\"}\n"
                                      "OK {\"rows\":1,\"cursor\":\"3:00000000-0000-0000-0000-000000000000\"}\n!");
    close(fd);
    close(other);
}

static void limits_faults_and_the_drain(void **state CD_UNUSED)
{
    int64_t refused = metrics_get(M_LINE_SUBSCRIBE_REFUSED);
    int one = subscribed(SUBSCRIBE), two = subscribed(SUBSCRIBE), three = client_open(-1);
    say(three, AUTH_AGENT);
    heard(three);
    expect_code(three, SUBSCRIBE, "busy", NULL);
    assert_int_equal(metrics_get(M_LINE_SUBSCRIBE_REFUSED), refused + 1);
    T.readers[0]->paused = true;
    T.readers[0]->refused(T.readers[0], "from another database");
    assert_non_null(strstr(heard(one), "\"field\":\"after\""));
    expect_code(three, "SUBSCRIBE {\"after\":\"1\"}\n", "bad-argument", "after");
    expect_code(three, "SUBSCRIBE {\"after\":\"18446744073709551615:00000000-0000-0000-0000-000000000000\"}\n", "bad-argument", "after");
    expect_code(three, "SUBSCRIBE {\"kinds\":[\"a b\"]}\n", "bad-argument", "kinds");
    expect_code(three, "SUBSCRIBE {\"desk\":\"nowhere\"}\n", "bad-argument", "desk");
    expect_code(three, "SUBSCRIBE {\"desk\":7}\n", "bad-argument", "desk");
    expect_code(three, "SUBSCRIBE {\"follow\":\"no\"}\n", "bad-argument", "follow");
    expect_code(three, "SUBSCRIBE {\"x\":1}\n", "bad-argument", "x");
    assert_int_equal(T.nreaders, 1);
    line_server_drain(&T.server);
    assert_non_null(strstr(heard(two), "OK {\"rows\":0,"));
    turn();
    assert_int_equal(T.server.nsessions, 0);
    close(one);
    close(two);
    close(three);
}

static void run_ms(int64_t ms)
{
    struct timeval wait = {0, ms * 1000};
    event_base_loopexit(T.base, &wait);
    event_base_dispatch(T.base);
}

static void a_heartbeat_after_silence_and_no_idle_timeout(void **state CD_UNUSED)
{
    T.cfg.line_subscribe_heartbeat_us = CD_MSEC(300);
    T.cfg.line_idle_timeout_us = CD_MSEC(400);
    int fd = subscribed(SUBSCRIBE);
    run_ms(900);
    const char *text = heard(fd);
    assert_true(str_starts(text, "ROW {\"cursor\":\"0:00000000-0000-0000-0000-000000000000\"}\n"));
    assert_null(strstr(text, "ERR"));
    assert_int_equal(T.server.nsessions, 1);
    close(fd);
}

/* A subscriber with rows that it does not read is ended like any other slow reader. */
static void one_that_never_reads_is_ended(void **state CD_UNUSED)
{
    int fd = subscribed(SUBSCRIBE);
    for (uint64_t n = 1; event_of(0, n, "received", "care"); n++)
        turn();
    int64_t before = metrics_get(M_LINE_TIMEOUT);
    T.cfg.line_idle_timeout_us = CD_MSEC(1200);
    for (int i = 0; i < 60 && T.server.nsessions; i++)
        run_ms(100);
    assert_int_equal(T.server.nsessions, 0);
    assert_int_equal(T.nreaders, 0);
    assert_int_equal(metrics_get(M_LINE_TIMEOUT), before + 1);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T_(rows_leave_at_once_and_the_next_request_ends_it),
        T_(rows_wait_for_the_answers_before_them),
        T_(kinds_and_desks),
        T_(who_does_not_read_is_paused),
        T_(one_that_does_not_follow_ends),
        T_(limits_faults_and_the_drain),
        T_(a_heartbeat_after_silence_and_no_idle_timeout),
        T_(one_that_never_reads_is_ended),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

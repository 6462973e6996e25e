/* Which outcome each answer of a relay becomes, and what becomes of a worker's death. */
#include "tests/unit/mail_out/fixture.h"

/* ---- tests ---- */

/* One session, one outcome each; a refusal costs its neighbours nothing. */
static void statuses_of_a_batch(void **state)
{
    (void)state;
    start("plain");
    send_to("ok1@x.example");
    send_to("unknown@x.example");
    send_to("greylisted@x.example");
    send_to("spam@x.example");
    send_to("full@x.example");
    assert_int_equal(try_send("ok2@x.example", true), 0);
    send_to("not an address");
    assert_int_equal(t.reported, 0);
    assert_false(mail_out_idle(t.out));
    run(CD_SEC(20));
    assert_int_equal(t.reported, 7);
    for (int i = 0; i < 200 && !mail_out_idle(t.out);
         i++) { /* the end of the job comes behind its outcomes */
        usleep(5000);
        event_base_loop(t.base, EVLOOP_NONBLOCK);
    }
    assert_true(mail_out_idle(t.out));
    expect(0, SEND_SENT, "250 2.0.0 kept");
    expect(1, SEND_REJECTED, "RCPT: 550");
    expect(2, SEND_RETRY, "RCPT: 451");
    expect(3, SEND_REJECTED, "DATA: 554");
    expect(4, SEND_RETRY, "DATA: 452");
    expect(5, SEND_SENT, "250");
    expect(6, SEND_REJECTED, "address");
    CD_CLEANUP_FREE char *first = sink_mail(1), *second = sink_mail(2), *third = sink_mail(3);
    assert_non_null(strstr(first, "\"from\": \"complaints@example.com\", \"to\": [\"ok1@x.example\"]"));
    assert_non_null(strstr(first, "\"helo\": \"complaints.example.com\""));
    assert_non_null(strstr(first, "\r\nMessage-ID: <key-0@complaints.example.com>\r\n"));
    assert_non_null(strstr(first, "\r\nSubject: =?UTF-8?B?5bey5Y+X55CG?=\r\n"));
    assert_non_null(strstr(first, "\r\n\r\nDear Ann,\r\n=2E\r\nQUIT\r\n"));
    /* the null reverse-path */
    assert_non_null(strstr(second, "\"from\": \"<>\", \"to\": [\"ok2@x.example\"]"));
    assert_non_null(strstr(second, "\r\nAuto-Submitted: auto-replied\r\n"));
    assert_string_equal(third, "");
}

/* What the relay had in hand when the connection broke may have arrived; what came behind it goes in another
 * session. */
static void lost_after_the_dot(void **state)
{
    (void)state;
    start("plain");
    send_to("ok@x.example");
    send_to("dropafterdot@x.example");
    send_to("behind@x.example");
    run(CD_SEC(20));
    expect(0, SEND_SENT, "250");
    expect(1, SEND_UNKNOWN, "");
    expect(2, SEND_SENT, "250");
}

static void lost_at_rcpt(void **state)
{
    (void)state;
    start("plain");
    send_to("dropatrcpt@x.example");
    run(CD_SEC(20));
    expect(0, SEND_RETRY, "");
}

static void relay_away(void **state)
{
    (void)state;
    start("away");
    send_to("ok@x.example");
    run(CD_SEC(20));
    expect(0, SEND_RETRY, "421");
    sink_stop();
    send_to("ok@x.example"); /* refused by the system now */
    run(CD_SEC(20));
    expect(1, SEND_RETRY, "");
}

/* A relay that says nothing ends by our own timeouts, not by the death of the worker. */
static void mute_relay(void **state)
{
    int64_t start_us = clock_mono_us(), deaths = metrics_get(M_WORKER_DEATHS);

    (void)state;
    t.cfg.mail_send_timeout_us = CD_SEC(4);
    start("mute");
    send_to("ok@x.example");
    run(CD_SEC(20));
    expect(0, SEND_RETRY, "");
    assert_true(clock_mono_us() - start_us < CD_SEC(10));
    assert_int_equal(metrics_get(M_WORKER_DEATHS), deaths);
}

/* The deadline of the job kills the worker: unknown is only what was under way. */
static void killed_at_the_deadline(void **state)
{
    (void)state;
    t.cfg.mail_send_timeout_us = CD_MSEC(900); /* below libesmtp's least timeout */
    start("plain");
    send_to("slow@x.example");
    send_to("behind@x.example");
    run(CD_SEC(20));
    expect(0, SEND_UNKNOWN, "deadline");
    expect(1, SEND_RETRY, "deadline");
    t.resend = false;
    send_to("ok@x.example"); /* a new worker takes over */
    run(CD_SEC(20));
    assert_true(t.known[2]);
}

static void authentication(void **state)
{
    (void)state;
    t.cfg.mail_relay_user = (char *)"u";
    t.cfg.mail_relay_password = (char *)"p";
    start("auth");
    send_to("ok@x.example");
    run(CD_SEC(20));
    expect(0, SEND_SENT, "250");
    mail_out_stop(&t.out);
    t.cfg.mail_relay_password = (char *)"wrong";
    assert_int_equal(mail_out_start(&t.host, &t.out), 0);
    send_to("ok@x.example");
    run(CD_SEC(20));
    expect(1, SEND_RETRY, ""); /* ours to mend: no message is lost for a wrong password */
}

static void sender_refused(void **state)
{
    (void)state;
    t.cfg.mail_from = (char *)"badsender@example.com";
    start("plain");
    send_to("ok@x.example");
    run(CD_SEC(20));
    expect(0, SEND_REJECTED, "MAIL: 550");
}

static void more_than_a_batch(void **state)
{
    (void)state;
    start("plain");
    t.resend = true;
    for (int i = 0; i < 45; i++)
        send_to("ok@x.example");
    run(CD_SEC(30));
    assert_int_equal(t.reported, 46);
    for (unsigned i = 0; i < 46; i++)
        expect(i, SEND_SENT, "250");
}

static void worker_killed(void **state)
{
    (void)state;
    start("plain");
    send_to("slow@x.example");
    send_to("behind@x.example");
    send_to("behind@x.example");
    run(CD_MSEC(1500));
    assert_int_equal(t.reported, 0);
    /* the only child but the sink is the worker */
    CD_CLEANUP_FREE char *path = cd_asprintf("/proc/self/task/%d/children", getpid());
    FILE *f = fopen(path, "r");
    int pid;
    assert_non_null(f);
    while (fscanf(f, "%d", &pid) == 1)
        if (pid != t.sink)
            kill(pid, SIGKILL);
    fclose(f);
    run(CD_SEC(10));
    expect(0, SEND_UNKNOWN, "died");
    expect(1, SEND_SENT, "250"); /* it may have been its neighbour's fault */
    expect(2, SEND_SENT, "250");
    send_to("ok@x.example");
    run(CD_SEC(20));
    expect(3, SEND_SENT, "250");
}

static void queue_limit(void **state)
{
    int r = 0;
    int64_t before = metrics_get(M_MAIL_OUT_BUSY);
    struct outgoing m = {
        .id = {.b = {1}}, .recipient = "ok@x.example", .subject = "s", .text = "t", .idempotency_key = "k"};

    (void)state;
    t.cfg.mail_relay_port = 1; /* nobody there; the loop does not run anyway */
    assert_int_equal(mail_out_start(&t.host, &t.out), 0);
    unsigned taken = 0;
    while (taken < 5000 && (r = mail_out_send(t.out, &m)) == 0)
        taken++;
    assert_int_equal(r, CD_EAGAIN);
    assert_int_equal(taken, 1000);
    assert_int_equal(metrics_get(M_MAIL_OUT_BUSY), before + 1);
    /* stopping reports each of them */
    t.host.send_done = NULL;
}

static unsigned stopped;

static void count_stopped(void *front, const struct uuid *id, const struct send_result *r)
{
    (void)front;
    (void)id;
    assert_int_equal(r->outcome, SEND_RETRY);
    stopped++;
}

static void stop_reports_all(void **state)
{
    queue_limit(state);
    t.host.send_done = count_stopped;
    mail_out_stop(&t.out);
    assert_int_equal(stopped, 1000);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
        T(statuses_of_a_batch),
        T(lost_after_the_dot),
        T(lost_at_rcpt),
        T(relay_away),
        T(mute_relay),
        T(killed_at_the_deadline),
        T(authentication),
        T(sender_refused),
        T(more_than_a_batch),
        T(worker_killed),
        T(stop_reports_all),
    };
    if (argc > 1 && str_eq(argv[1], "--worker=mail"))
        return mail_worker_main();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

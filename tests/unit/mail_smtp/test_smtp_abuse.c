/* Clients that ask too much: every limit on what a session may do is reached, delays hold one session and nothing else, stress is
 * entered and left. */
#include "tests/unit/mail_smtp/smtp_fixture.h"

#define GREETING "220 mx.example.com ESMTP complaintd\r\n"

/* ---- errors, delays, harvesting ---- */

static void refusals_are_delayed(void **state)
{
    (void)state;
    cfg.mail_errors_before_delay = 2;
    cfg.mail_error_delay_us = CD_MSEC(60);
    start();
    int64_t before = metrics_get(M_SMTP_DELAYED);
    int fd = greeted(false), other = greeted(false), trusted = greeted(true);
    expect_start(fd, "WHAT\r\n", "500");
    expect_start(fd, "WHAT\r\n", "500");
    expect(fd, "WHAT\r\nNOOP\r\n", ""); /* neither the refusal nor what was sent behind it */
    assert_int_equal(metrics_get(M_SMTP_DELAYED), before + 1);
    expect_start(other, "NOOP\r\n", "250"); /* nobody else waits */
    run_ms(80);
    assert_string_equal(hear(fd), "500 5.5.1 Command not recognized\r\n250 2.0.0 Ok\r\n");
    for (int i = 0; i < 8; i++)
        expect_start(trusted, "WHAT\r\n", "500");
    expect(fd, "WHAT\r\n", "");
    close(fd); /* who leaves meanwhile is gone at once */
    turn();
    assert_int_equal(srv->nsessions, 2);
    close(other);
    close(trusted);
}

static void test_28_harvesting_gets_slower_and_ends(void **state)
{
    (void)state;
    cfg.mail_errors_before_delay = 1;
    cfg.mail_error_delay_us = CD_MSEC(10);
    cfg.mail_max_unknown_recipients = 4;
    cfg.mail_max_errors = 100;
    start();
    int64_t before = metrics_get(M_SMTP_LIMIT_UNKNOWN);
    int fd = greeted(false);
    expect_start(fd, "MAIL FROM:<c@x.example>\r\n", "250");
    /* ten thousand guesses in one go: as many are looked at as the limit says */
    int64_t began = clock_mono_us();
    for (int i = 0; i < 10000 && send(fd, "RCPT TO:<a@example.com>\r\n", 25, MSG_DONTWAIT | MSG_NOSIGNAL) == 25; i++)
        ;
    while (srv->nsessions && clock_mono_us() - began < CD_SEC(10))
        run_ms(1);
    assert_int_equal(srv->nsessions, 0);
    assert_true(clock_mono_us() - began >= CD_MSEC(10 + 20 + 30));
    hear(fd);
    unsigned refused = 0;
    for (const char *p = heard; (p = strstr(p, "550 5.1.1")); p++)
        refused++;
    assert_int_equal(refused, 4);
    assert_non_null(strstr(heard, "421 4.7.0 Too many unknown recipients\r\n"));
    assert_int_equal(metrics_get(M_SMTP_LIMIT_UNKNOWN), before + 1);
    close(fd);
}

/* A mail in between makes errors forgotten, guesses not. */
static void guesses_are_counted_over_mails(void **state)
{
    (void)state;
    cfg.mail_max_unknown_recipients = 1;
    start();
    int fd = greeted(false);
    expect_start(fd, "MAIL FROM:<c@x.example>\r\nRCPT TO:<a@example.com>\r\nRCPT TO:<care@example.com>\r\nDATA\r\n", "250");
    say(fd, MESSAGE ".\r\n");
    resolve(0, ACK_STORED);
    assert_int_equal(last_session()->errors, 0);
    hear(fd);
    expect_start(fd, "MAIL FROM:<c@x.example>\r\n", "250");
    expect_start(fd, "RCPT TO:<b@example.com>\r\n", "421 4.7.0 Too many unknown recipients");
    assert_true(closed(fd));
    close(fd);
}

/* ---- what is refused for now ---- */

static void recipients_come_to_an_end(void **state)
{
    (void)state;
    start();
    static char rcpts[28 * 1100];
    int64_t before = metrics_get(M_SMTP_LIMIT_JUNK);
    int fd = greeted(false);
    expect_start(fd, "MAIL FROM:<c@x.example>\r\n", "250");
    for (unsigned i = 0; i < 3; i++)
        expect_start(fd, "RCPT TO:<care@example.com>\r\n", "250 2.1.5");
    expect_start(fd, "RCPT TO:<care@example.com>\r\n", "452 4.5.3"); /* one said twice counts twice */
    for (unsigned i = 0; i < 1100; i++)
        memcpy(rcpts + 28 * i, "RCPT TO:<care@example.com>\r\n", 28);
    say_bytes(fd, rcpts, 28 * 1000); /* a long list is read to its end */
    assert_true(str_starts(hear(fd), "452 4.5.3 ") && !strstr(heard, "421 "));
    say_bytes(fd, rcpts, 28 * 100);
    assert_non_null(strstr(hear(fd), "\r\n421 4.3.2 "));
    assert_true(closed(fd));
    assert_int_equal(metrics_get(M_SMTP_LIMIT_JUNK), before + 1);
    close(fd);
}

static void asking_again_comes_to_an_end(void **state)
{
    (void)state;
    start();
    front.not_ready = true;
    int fd = session_in(SMTP_RCPT), trusted = greeted(true);
    for (unsigned i = 0; i < cfg.mail_max_junk_commands; i++)
        expect_start(fd, "DATA\r\n", "452 4.3.1");
    say(fd, "DATA\r\n");
    assert_non_null(strstr(hear(fd), "\r\n421 4.3.2 "));
    assert_true(closed(fd));
    say(trusted, TO_RCPT);
    hear(trusted);
    for (unsigned i = 0; i < 30; i++)
        expect_start(trusted, "DATA\r\n", "452 4.3.1");
    close(fd);
    close(trusted);
}

/* What one address can keep of the memory that all share. */
static void one_address_has_its_share(void **state)
{
    (void)state;
    static char text[90000];
    struct in6_addr one = {.s6_addr = {0x20, 1, 0xd, 0xb8}}, two = {.s6_addr = {0x20, 2}};
    cfg.intake_max_bytes = 800000;
    cfg.mail_max_reading_share = 25;
    cfg.mail_max_line_bytes = 100000;
    cfg.mail_max_header_bytes = 100000;
    cfg.intake_large_bytes = CD_MIB(1);
    start();
    int64_t before = metrics_get(M_SMTP_LIMIT_SHARE);
    int fd[4];
    memset(text, 'x', sizeof text);
    for (int i = 0; i < 4; i++) {
        struct smtp_client client = {.text = "2001:db8::1", .peer = smtp_peer_enter(srv, i < 3 ? &one : &two)};
        fd[i] = session_of(SOCK_STREAM, &client);
        go_to(fd[i], SMTP_DATA, "EHLO c\r\n");
        say_bytes(fd[i], text, sizeof text);
        assert_int_equal(metrics_get(M_SMTP_LIMIT_SHARE), before + (i >= 2));
        assert_int_equal(last_session()->env->raw.len > sizeof text, i != 2);
    }
    expect_start(fd[2], "\r\n.\r\n", "452 4.3.1");
    say(fd[0], "\r\n.\r\n"); /* what is handed over does not count any more */
    assert_int_equal(front.n, 1);
    say(fd[2], TO_RCPT "DATA\r\n");
    say_bytes(fd[2], text, sizeof text);
    say(fd[2], "\r\n.\r\n");
    assert_int_equal(front.n, 2);
    assert_int_equal(metrics_get(M_SMTP_LIMIT_SHARE), before + 1);
    for (int i = 0; i < 4; i++)
        close(fd[i]);
}

/* ---- whose turn it is ---- */

static void test_28_talks_before_the_greeting(void **state)
{
    (void)state;
    cfg.mail_reject_early = true;
    start();
    int64_t before = metrics_get(M_SMTP_EARLY);
    for (int trusted = 0; trusted <= 1; trusted++) {
        int fd[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
        assert_int_equal(send(fd[1], "EHLO x\r\n", 8, 0), 8);
        smtp_session_new(srv, fd[0], &(struct smtp_client){.text = "192.0.2.7", .trusted = trusted});
        bool gone;
        assert_true(str_starts(hear_close(fd[1], &gone), trusted ? GREETING "250-" : "554 5.5.0 ") && gone == !trusted);
        close(fd[1]);
    }
    assert_int_equal(metrics_get(M_SMTP_EARLY), before + 1);
}

static void greeting_delay(void **state)
{
    (void)state;
    cfg.mail_reject_early = true;
    cfg.mail_greeting_delay_us = CD_MSEC(60);
    start();
    int patient = session(false), hasty = session(false), trusted = session(true);
    assert_string_equal(hear(trusted), GREETING);
    assert_string_equal(hear(patient), "");
    bool gone;
    say(hasty, "EHLO x\r\n");
    assert_true(str_starts(hear_close(hasty, &gone), "554 5.5.0 ") && gone);
    run_ms(80);
    assert_string_equal(hear(patient), GREETING);
    expect_start(patient, "EHLO x\r\n", "250-");
    close(patient);
    close(hasty);
    close(trusted);
}

static void test_28_does_not_wait_for_the_answer(void **state)
{
    (void)state;
    static const char *const early[] = {
        "EHLO x\r\nMAIL FROM:<c@x.example>\r\n",
        "HELO x\r\nMAIL FROM:<c@x.example>\r\n",
        "RSET\r\nNOOP\r\n", /* before EHLO nobody has been told that he may */
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    };
    static const char *const late[] = {
        "NOOP\r\nNOOP\r\n", "VRFY a\r\nVRFY b\r\n", TO_RCPT "DATA\r\nSubject: x\r\n\r\nx\r\n.\r\n", "DATA\r\nx",
    };
    cfg.mail_reject_early = true;
    start();
    int64_t before = metrics_get(M_SMTP_EARLY_PIPELINING);
    bool gone;
    for (size_t i = 0; i < ARRAY_LEN(early) + ARRAY_LEN(late); i++) {
        bool second = i >= ARRAY_LEN(early);
        int fd = second ? greeted(false) : session(false);
        say(fd, second ? late[i - ARRAY_LEN(early)] : early[i]);
        hear_close(fd, &gone);
        if (!strstr(heard, "554 5.5.0 ") || !gone)
            fail_msg("case %zu: %s", i, heard);
        close(fd);
    }
    assert_int_equal(metrics_get(M_SMTP_EARLY_PIPELINING), before + ARRAY_LEN(early) + ARRAY_LEN(late));
    assert_int_equal(front.n, 0);
    /* what RFC 2920 allows */
    int fd = greeted(false);
    say(fd, TO_RCPT "RCPT TO:<shop@example.com>\r\nDATA\r\n");
    assert_non_null(strstr(hear(fd), "\r\n354 "));
    say(fd, MESSAGE ".\r\nRSET\r\n" TO_RCPT "DATA\r\n"); /* the next group behind a text */
    resolve(0, ACK_STORED);
    assert_non_null(strstr(hear(fd), "\r\n354 "));
    close(fd);
    turn();
    /* trusted clients, and where it is accepted */
    fd = greeted(true);
    expect(fd, "NOOP\r\nNOOP\r\n", "250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n");
    close(fd);
    cfg.mail_reject_early = false;
    fd = greeted(false);
    expect(fd, "NOOP\r\nNOOP\r\n", "250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n");
    close(fd);
}

/* ---- the shape of a message ---- */

static void refused_text(const char *line, size_t times, const char *answer, enum metric counter)
{
    int64_t before = metrics_get(counter);
    int fd = greeted(false);
    expect_start(fd, TO_RCPT "DATA\r\n", "250");
    for (size_t i = 0; i < times; i++)
        say(fd, line);
    if (last_session()->env->raw.len)
        fail_msg("%s: kept to its end", answer);
    expect_start(fd, "\r\n\r\nx\r\n.\r\n", answer);
    assert_int_equal(metrics_get(counter), before + 1);
    assert_int_equal(front.n, 0);
    expect_start(fd, TO_RCPT "DATA\r\n", "250 2.1.0"); /* the session goes on */
    close(fd);
    turn();
}

static void test_23_header_and_lines(void **state)
{
    (void)state;
    static char junk[1001];
    cfg.mail_max_message_bytes = CD_MIB(4);
    cfg.intake_large_bytes = CD_MIB(8);
    start();
    memset(junk, 'x', sizeof junk - 1);
    refused_text(junk, 51, "552 5.3.4 Message header too large", M_SMTP_LIMIT_HEADER); /* a line without end */
    refused_text("X-Field: of some length\r\n\tand more of it, more of it, more of it, more of it, more of it\r\n", 600,
                 "552 5.3.4 ", M_SMTP_LIMIT_FIELDS);
    cfg.mail_max_header_fields = 1000000;
    refused_text("X: y\r\n", 12000, "552 5.3.4 Message header too large", M_SMTP_LIMIT_HEADER);
    refused_text("Received: a\r\n", 51, "554 5.4.6 ", M_SMTP_LIMIT_HOPS);
    int64_t before = metrics_get(M_SMTP_LIMIT_LINE);
    int fd = greeted(false);
    for (size_t times = 79; times <= 81; times++) { /* 80000 bytes are allowed, the CR with them */
        expect_start(fd, TO_RCPT "DATA\r\n", "250");
        say(fd, "Subject: x\r\n\r\n");
        for (size_t i = 0; i < times; i++)
            say_bytes(fd, junk, 1000);
        say(fd, "\r\nshort\r\n.\r\n");
        if (times == 79)
            resolve(0, ACK_STORED);
        assert_true(str_starts(hear(fd), times == 79 ? "250 2.0.0" : "552 5.3.4 A line"));
    }
    assert_int_equal(metrics_get(M_SMTP_LIMIT_LINE), before + 2);
    assert_non_null(strstr(buf_str(&front.got[0]->raw), "x\r\nshort\r\n")); /* in one piece */
    close(fd);
}

static void a_text_without_header(void **state)
{
    (void)state;
    cfg.mail_max_header_fields = 3;
    start();
    int fd = greeted(false);
    expect_start(fd, TO_RCPT "DATA\r\n", "250");
    say(fd, "Dear all\r\na: b\r\nc: d\r\ne: f\r\ng: h\r\n.\r\n");
    assert_int_equal(front.n, 1);
    close(fd);
}

/* ---- time ---- */

static void test_21_one_byte_now_and_then(void **state)
{
    (void)state;
    cfg.mail_command_timeout_us = CD_MSEC(120);
    start();
    int fd = greeted(false);
    for (int i = 0; i < 8 && srv->nsessions; i++) {
        (void)!send(fd, "N", 1, MSG_NOSIGNAL);
        run_ms(25);
    }
    assert_int_equal(srv->nsessions, 0);
    assert_true(str_starts(hear(fd), "421 4.4.2 "));
    close(fd);
}

static void test_21_a_text_that_trickles(void **state)
{
    (void)state;
    cfg.mail_min_rate = 500;
    cfg.mail_data_timeout_us = CD_HOUR(1);
    start();
    int64_t before = metrics_get(M_SMTP_LIMIT_RATE);
    int slow = session_in(SMTP_DATA);
    struct smtp_session *s = last_session();
    int honest = session_in(SMTP_DATA);
    struct smtp_session *h = last_session();
    static char text[20000];
    memset(text, 'x', sizeof text);
    say_bytes(slow, text, 19000);
    say_bytes(honest, text, 20000);
    int64_t since = clock_mono_us() - CD_SEC(60 + 39); /* 500 B/s over 39 s are 19500 */
    s->since_us = h->since_us = since;
    run_ms(1100);
    assert_true(str_starts(hear(slow), "421 4.4.2 "));
    assert_int_equal(metrics_get(M_SMTP_LIMIT_RATE), before + 1);
    assert_int_equal(srv->nsessions, 1);
    h->since_us = clock_mono_us() - CD_HOUR(1); /* and the absolute deadline */
    h->dots.bytes = CD_MIB(10);
    run_ms(1100);
    assert_int_equal(srv->nsessions, 0);
    assert_int_equal(metrics_get(M_SMTP_LIMIT_RATE), before + 1);
    close(slow);
    close(honest);
}

/* ---- stress ---- */

static void stress_comes_and_goes(void **state)
{
    (void)state;
    cfg.mail_max_connections = 10;
    cfg.mail_stress_at = 80;
    cfg.mail_stress_until = 60;
    cfg.mail_stress_timeout_us = CD_MSEC(150);
    cfg.mail_stress_max_errors = 1;
    cfg.mail_stress_max_junk_commands = 1;
    start();
    int fd[8];
    int64_t before = metrics_get(M_SMTP_STRESS_TIMES);
    for (int i = 0; i < 7; i++)
        fd[i] = greeted(false);
    run_ms(200);
    assert_int_equal(srv->nsessions, 7);
    assert_false(srv->stress);
    fd[7] = greeted(false);
    assert_true(srv->stress);
    assert_int_equal(metrics_get(M_SMTP_STRESS), 1);
    assert_int_equal(metrics_get(M_SMTP_STRESS_TIMES), before + 1);
    say(fd[7], "WHAT\r\n");
    assert_non_null(strstr(hear(fd[7]), "421 4.7.0 Too many errors"));
    assert_true(srv->stress); /* seven are left: not under six */
    run_ms(200);              /* those who have done nothing for longer than stress bears */
    assert_int_equal(srv->nsessions, 0);
    assert_true(str_starts(hear(fd[0]), "421 4.4.2 "));
    assert_false(srv->stress);
    assert_int_equal(metrics_get(M_SMTP_STRESS), 0);
    for (int i = 0; i < 8; i++)
        close(fd[i]);
    /* a gate that is not normal is stress as well */
    int last = greeted(false);
    front.mode = GATE_TIGHT;
    run_ms(60);
    assert_true(srv->stress);
    expect_start(last, "NOOP\r\n", "250");
    expect_start(last, "NOOP\r\n", "421 4.7.0 Too many commands without mail");
    front.mode = GATE_NORMAL;
    run_ms(60);
    assert_false(srv->stress);
    close(last);
}

/* 0 is never, not at once. */
static void stress_that_does_not_go(void **state)
{
    (void)state;
    cfg.mail_max_connections = 10;
    cfg.mail_stress_at = 20;
    cfg.mail_stress_until = 0;
    start();
    int64_t before = metrics_get(M_SMTP_STRESS_TIMES);
    int fd[4];
    for (int i = 0; i < 4; i++)
        fd[i] = greeted(false);
    assert_true(srv->stress);
    assert_int_equal(metrics_get(M_SMTP_STRESS_TIMES), before + 1);
    for (int i = 0; i < 4; i++)
        close(fd[i]);
}

static void the_idle_make_room(void **state)
{
    (void)state;
    cfg.mail_max_connections = 3;
    start();
    int busy = session_in(SMTP_RCPT), idle = greeted(false), fresh = greeted(false);
    struct smtp_session *s = TAILQ_FIRST(&srv->sessions);
    assert_false(smtp_make_room(srv)); /* nobody has been idle for long */
    s->since_us -= CD_SEC(5);
    TAILQ_NEXT(s, all)->since_us -= CD_SEC(2);
    int64_t before = metrics_get(M_SMTP_EVICTED);
    assert_true(smtp_make_room(srv));
    turn();
    assert_true(str_starts(hear(idle), "421 4.3.2 "));
    assert_int_equal(metrics_get(M_SMTP_EVICTED), before + 1);
    expect_start(busy, "NOOP\r\n", "250");
    expect_start(fresh, "NOOP\r\n", "250");
    assert_false(smtp_make_room(srv));
    close(busy);
    close(idle);
    close(fresh);
}

static void test_22_networks_of_ipv6(void **state)
{
    (void)state;
    cfg.mail_max_connections_per_address = 1;
    start();
    struct in6_addr a, b, c;
    assert_int_equal(inet_pton(AF_INET6, "2001:db8:1:2::1", &a), 1);
    assert_int_equal(inet_pton(AF_INET6, "2001:db8:1:2:ffff::9", &b), 1);
    assert_int_equal(inet_pton(AF_INET6, "2001:db8:1:3::1", &c), 1);
    struct smtp_peer *pa = smtp_peer_enter(srv, &a);
    assert_non_null(pa);
    assert_null(smtp_peer_enter(srv, &b)); /* the same /64 */
    struct smtp_peer *pc = smtp_peer_enter(srv, &c);
    assert_non_null(pc);
    smtp_peer_leave(srv, pa);
    smtp_peer_leave(srv, pc);
    cfg.mail_ipv6_prefix = 63;
    pa = smtp_peer_enter(srv, &a);
    assert_null(smtp_peer_enter(srv, &c));
    smtp_peer_leave(srv, pa);
    cfg.mail_ipv6_prefix = 128;
    pa = smtp_peer_enter(srv, &a);
    struct smtp_peer *pb = smtp_peer_enter(srv, &b);
    assert_true(pa && pb);
    smtp_peer_leave(srv, pa);
    smtp_peer_leave(srv, pb);
}

static void a_reload_is_followed(void **state)
{
    (void)state;
    start();
    int fd = greeted(false);
    cfg.mail_max_message_bytes = 77777;
    cfg.mail_command_timeout_us = CD_MSEC(100);
    smtp_server_reloaded(srv);
    say(fd, "EHLO x\r\n");
    assert_non_null(strstr(hear(fd), "SIZE 77777\r\n"));
    run_ms(180);
    assert_true(str_starts(hear(fd), "421 4.4.2 "));
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(refusals_are_delayed),
        T(test_28_harvesting_gets_slower_and_ends),
        T(guesses_are_counted_over_mails),
        T(recipients_come_to_an_end),
        T(asking_again_comes_to_an_end),
        T(one_address_has_its_share),
        T(stress_that_does_not_go),
        T(test_28_talks_before_the_greeting),
        T(greeting_delay),
        T(test_28_does_not_wait_for_the_answer),
        T(test_23_header_and_lines),
        T(a_text_without_header),
        T(test_21_one_byte_now_and_then),
        T(test_21_a_text_that_trickles),
        T(stress_comes_and_goes),
        T(the_idle_make_room),
        T(test_22_networks_of_ipv6),
        T(a_reload_is_followed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

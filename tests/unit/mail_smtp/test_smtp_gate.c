/* What the gate's modes do to SMTP: who is turned away, when, with which reply, and what goes on as before. */
#include "tests/unit/mail_smtp/smtp_fixture.h"

static char text[60000];

static void fill_text(void)
{
    memset(text, 'x', sizeof text);
    for (size_t i = 72; i < sizeof text; i += 72)
        memcpy(text + i, "\r\n", 2);
}

static void shed_turns_away_at_connect_and_before_data(void **state)
{
    static struct listen_addr any = {.text = (char *)"127.0.0.1:0", .host = (char *)"127.0.0.1"};
    (void)state;
    cfg.mail_listen = &any;
    cfg.nmail_listen = 1;
    start();
    int64_t hits = metrics_get(M_SMTP_LIMIT_SHED), busy = metrics_get(M_INTAKE_BUSY_MAIL);
    int fd = greeted(true), data = session_in(SMTP_DATA), wait = in_wait();
    front.mode = GATE_SHED;
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(smtp_listen_port(srv, 0)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(late, (struct sockaddr *)&a, sizeof a), 0);
    run_ms(30);
    assert_string_equal(hear(late), "421 4.3.2 Too busy, try again later\r\n");
    assert_true(closed(late));
    expect(fd, TO_RCPT "DATA\r\n", "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n451 4.3.1 Too busy, try again later\r\n");
    assert_int_equal(metrics_get(M_SMTP_LIMIT_SHED), hits + 2);
    assert_int_equal(metrics_get(M_INTAKE_BUSY_MAIL), busy + 1);
    /* what was begun before is finished */
    say(data, MESSAGE ".\r\n");
    assert_int_equal(front.n, 2);
    resolve(0, ACK_STORED);
    resolve(1, ACK_STORED);
    assert_true(str_starts(hear(wait), "250 2.0.0 ") && str_starts(hear(data), "250 2.0.0 "));
    /* and it comes back by itself, on the same session */
    front.mode = GATE_TIGHT;
    expect_start(fd, "DATA\r\n", "354 ");
    say(fd, MESSAGE ".\r\n");
    resolve(2, ACK_STORED);
    assert_true(str_starts(hear(fd), "250 2.0.0 "));
    close(fd);
    close(data);
    close(wait);
    close(late);
}

static void tight_refuses_large_and_takes_small(void **state)
{
    (void)state;
    start();
    fill_text();
    front.mode = GATE_TIGHT;
    int64_t hits = metrics_get(M_SMTP_LIMIT_LARGE);
    int fd = greeted(false);
    expect_start(fd, "MAIL FROM:<c@x.example> SIZE=50000\r\n", "452 4.3.1 "); /* said early */
    expect_start(fd, "MAIL FROM:<c@x.example> SIZE=49999\r\n", "250 2.1.0");
    say(fd, "RCPT TO:<care@example.com>\r\nDATA\r\n" MESSAGE ".\r\n");
    hear(fd);
    resolve(0, ACK_STORED);
    assert_true(str_starts(hear(fd), "250 2.0.0 "));
    /* without SIZE, or with a wrong one: thrown away when it turns out large, refused at its end */
    expect_start(fd, TO_RCPT "DATA\r\n", "250");
    say_bytes(fd, text, sizeof text);
    assert_int_equal(srv->reading_bytes, 0);
    assert_int_equal(last_session()->env->raw.len, 0);
    expect_start(fd, "\r\n.\r\n", "452 4.3.1 ");
    assert_int_equal(metrics_get(M_SMTP_LIMIT_LARGE), hits + 2);
    /* one that was begun before it became tight is finished */
    front.mode = GATE_NORMAL;
    expect_start(fd, TO_RCPT "DATA\r\n", "250");
    front.mode = GATE_TIGHT;
    say_bytes(fd, text, sizeof text);
    say(fd, "\r\n.\r\n");
    assert_int_equal(front.n, 2);
    resolve(1, ACK_STORED);
    assert_true(str_starts(hear(fd), "250 2.0.0 "));
    assert_int_equal(metrics_get(M_INTAKE_READING_BYTES), 0);
    close(fd);
}

static void deadlines_are_short_while_it_is_not_normal(void **state)
{
    (void)state;
    cfg.intake_tight_timeout_us = CD_MSEC(100);
    start();
    fill_text();
    int idle = greeted(true), data = session_in(SMTP_DATA), wait = in_wait();
    int paid = session_in(SMTP_DATA);
    say_bytes(paid, text, sizeof text); /* 60 kB buy most of a second */
    run_ms(200);
    assert_int_equal(srv->nsessions, 4);
    front.mode = GATE_TIGHT;
    run_ms(120);
    assert_true(str_starts(hear(idle), "421 4.4.2 ") && closed(idle)); /* a trusted one as well */
    assert_true(str_starts(hear(data), "421 4.4.2 ") && closed(data));
    assert_int_equal(srv->nsessions, 2);
    say(paid, "\r\n.\r\n");
    assert_int_equal(front.n, 2);
    resolve(1, ACK_STORED);
    assert_true(str_starts(hear(paid), "250 2.0.0 "));
    resolve(0, ACK_STORED); /* waited for us, for as long as it takes */
    assert_true(str_starts(hear(wait), "250 2.0.0 "));
    close(idle);
    close(data);
    close(wait);
    close(paid);
}

/* What sessions read counts at the gate until it is handed over, and is given back when a session ends. */
static void reading_is_counted_at_the_gate(void **state)
{
    (void)state;
    start();
    fill_text();
    int fd = session_in(SMTP_DATA), gone = session_in(SMTP_DATA);
    say_bytes(fd, text, 30000);
    say_bytes(gone, text, 20000);
    assert_true(metrics_get(M_INTAKE_READING_BYTES) > 50000);
    close(gone);
    turn();
    assert_true(metrics_get(M_INTAKE_READING_BYTES) < 40000);
    say(fd, "\r\n.\r\n");
    assert_int_equal(front.n, 1);
    assert_int_equal(metrics_get(M_INTAKE_READING_BYTES), 0);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(shed_turns_away_at_connect_and_before_data),
        T(tight_refuses_large_and_takes_small),
        T(deadlines_are_short_while_it_is_not_normal),
        T(reading_is_counted_at_the_gate),
    };
    return cmocka_run_group_tests_name("smtp_gate", tests, NULL, NULL);
}

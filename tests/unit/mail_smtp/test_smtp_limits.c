/* Every limit of the SMTP server reached, its deadlines, draining, and its listeners. */
#include "tests/unit/mail_smtp/smtp_fixture.h"

/* ---- limits ---- */

static void test_23_message_over_the_limit(void **state)
{
    (void)state;
    start();
    int64_t before = metrics_get(M_SMTP_LIMIT_SIZE);
    int fd = greeted(false);
    static char text[70000];
    memset(text, 'x', sizeof text);
    for (size_t i = 72; i < sizeof text; i += 72)
        memcpy(text + i, "\r\n", 2);
    expect_start(fd, TO_RCPT "DATA\r\n", "250");
    say_bytes(fd, text, sizeof text);
    say_bytes(fd, text, sizeof text);
    assert_true(last_session()->env->raw.len == 0); /* thrown away, not kept to its end */
    assert_int_equal(srv->reading_bytes, 0);
    expect_start(fd, "\r\n.\r\n", "552 5.3.4 ");
    assert_int_equal(metrics_get(M_SMTP_LIMIT_SIZE), before + 1);
    assert_int_equal(front.n, 0);
    /* the session goes on */
    expect_start(fd, TO_RCPT "DATA\r\n", "250 2.1.0");
    say_bytes(fd, text, sizeof text);
    say(fd, "\r\n.\r\n");
    assert_int_equal(front.n, 1);
    resolve(0, ACK_STORED);
    assert_true(str_starts(hear(fd), "250 2.0.0"));
    close(fd);
}

static void bad_content(void **state)
{
    (void)state;
    start();
    cfg.mail_reject_nul = cfg.mail_reject_bare_cr = true;
    int fd = greeted(false);
    expect_start(fd, TO_RCPT "DATA\r\n", "250");
    say_bytes(fd, "a\0b\r\n.\r\n", 8);
    assert_true(str_starts(hear(fd), "550 5.6.0 "));
    expect_start(fd, TO_RCPT "DATA\r\n", "250");
    expect_start(fd, "a\rb\r\n.\r\n", "550 5.5.2 ");
    cfg.mail_reject_nul = cfg.mail_reject_bare_cr = false;
    int64_t before = metrics_get(M_SMTP_BARE_LF);
    expect_start(fd, TO_RCPT "DATA\r\n", "250");
    say(fd, "Subject: x\n\na\n.\nMAIL FROM:<evil@x.example>\r\n.\r\n");
    assert_int_equal(front.n, 1);
    assert_int_equal(metrics_get(M_SMTP_BARE_LF), before + 1);
    const char *raw = buf_str(&front.got[0]->raw);
    assert_non_null(strstr(raw, "\r\nSubject: x\r\n\r\na\r\n.\r\nMAIL FROM:<evil@x.example>\r\n"));
    resolve(0, ACK_STORED);
    assert_true(str_starts(hear(fd), "250"));
    cfg.mail_reject_bare_lf = true;
    expect_start(fd, TO_RCPT "DATA\r\n", "250");
    expect_start(fd, "a\nb\r\n.\r\n", "550 5.5.2 ");
    expect_start(fd, "NOOP\n", "500 5.5.2 ");
    expect_start(fd, TO_RCPT "DATA\r\n", "250");
    say_bytes(fd, "old\rmac\0\r\n.\r\n", 13); /* kept as far as it goes, by default */
    assert_int_equal(front.n, 2);
    raw = buf_str(&front.got[1]->raw);
    assert_memory_equal(strstr(raw, "old\r\n"), "old\r\nmac\0\r\n", 11);
    resolve(1, ACK_STORED);
    assert_true(str_starts(hear(fd), "250"));
    close(fd);
}

static void mail_in_circles(void **state)
{
    (void)state;
    start();
    int fd = greeted(false);
    for (int hops = 50; hops <= 51; hops++) {
        expect_start(fd, TO_RCPT "DATA\r\n", "250");
        for (int i = 0; i < hops; i++)
            say(fd, "Received: from here\r\n\tby there\r\n");
        say(fd, "\r\nReceived: in the body\r\n.\r\n");
        if (hops == 50)
            resolve(0, ACK_STORED);
        assert_true(str_starts(hear(fd), hops == 50 ? "250 2.0.0" : "554 5.4.6 "));
    }
    close(fd);
}

static void reading_memory(void **state)
{
    (void)state;
    cfg.intake_max_bytes = 20000;
    start();
    static char text[15000];
    memset(text, 'x', sizeof text);
    int a = greeted(false), b = greeted(false);
    say(a, TO_RCPT "DATA\r\n");
    say(b, TO_RCPT "DATA\r\n");
    hear(a);
    hear(b);
    say_bytes(a, text, sizeof text);
    say_bytes(b, text, sizeof text);
    assert_int_equal(metrics_get(M_SMTP_LIMIT_MEMORY), 1);
    say(a, "\r\n.\r\n");
    expect_start(b, "\r\n.\r\n", "452 4.3.1 ");
    assert_int_equal(front.n, 1);
    assert_int_equal(srv->reading_bytes, 0);
    close(a);
    close(b);
}

static void errors_limit(void **state)
{
    (void)state;
    start();
    int64_t before = metrics_get(M_SMTP_ERRORS_LIMIT);
    int fd = greeted(false), trusted = greeted(true);
    for (unsigned i = 1; i < cfg.mail_max_errors; i++)
        expect_start(fd, "WHAT\r\n", "500 5.5.1");
    say(fd, "WHAT\r\nNOOP\r\n");
    hear(fd);
    assert_non_null(strstr(heard, "\r\n421 4.7.0 Too many errors\r\n"));
    assert_null(strstr(heard, "250 "));
    assert_true(closed(fd));
    assert_int_equal(metrics_get(M_SMTP_ERRORS_LIMIT), before + 1);
    for (unsigned i = 0; i < 30; i++)
        expect_start(trusted, "WHAT\r\n", "500 5.5.1");
    close(fd);
    close(trusted);
}

static void test_28_junk_limit(void **state)
{
    (void)state;
    start();
    int64_t before = metrics_get(M_SMTP_LIMIT_JUNK);
    int fd = greeted(false), trusted = greeted(true);
    for (unsigned i = 0; i < cfg.mail_max_junk_commands; i++)
        expect_start(fd, i % 2 ? "NOOP\r\n" : "RSET\r\n", "250 2.0.0");
    expect_start(fd, "NOOP\r\n", "421 4.7.0 ");
    assert_true(closed(fd));
    assert_int_equal(metrics_get(M_SMTP_LIMIT_JUNK), before + 1);
    for (unsigned i = 0; i < 30; i++)
        expect_start(trusted, "RSET\r\n", "250 2.0.0");
    close(fd);
    close(trusted);
}

static void test_23_command_line_limit(void **state)
{
    (void)state;
    start();
    int64_t before = metrics_get(M_SMTP_LIMIT_COMMAND);
    char line[3000];
    int fd = greeted(false);
    memset(line, 'x', sizeof line);
    memcpy(line, "NOOP ", 5);
    memcpy(line + 510, "\r\n", 2);
    say_bytes(fd, line, 512);
    assert_true(str_starts(hear(fd), "250 2.0.0"));
    memcpy(line + 510, "xx\r\n", 4);
    say_bytes(fd, line, 514);
    assert_string_equal(hear(fd), "500 5.5.2 Line too long\r\n");
    memset(line + 5, 'x', sizeof line - 5);
    say_bytes(fd, line, sizeof line);
    say_bytes(fd, line, sizeof line);
    assert_string_equal(hear(fd), "");
    assert_int_equal(last_session()->in.len, 0);
    expect(fd, "\r\nNOOP\r\n", "500 5.5.2 Line too long\r\n250 2.0.0 Ok\r\n");
    assert_int_equal(metrics_get(M_SMTP_LIMIT_COMMAND), before + 2);
    close(fd);
}

static void mails_per_session(void **state)
{
    (void)state;
    cfg.mail_max_mails_per_session = 1;
    start();
    int fd = in_wait();
    resolve(0, ACK_STORED);
    const char *said = hear(fd); /* the end comes with the last answer, so that nobody's next mail is refused */
    assert_true(str_starts(said, "250 2.0.0") && strstr(said, "\r\n421 4.7.0 "));
    assert_true(closed(fd));
    assert_int_equal(metrics_get(M_SMTP_LIMIT_MAILS), 1);
    close(fd);
    int trusted = greeted(true);
    say(trusted, TO_RCPT "DATA\r\n");
    hear(trusted);
    say(trusted, "x\r\n.\r\n");
    hear(trusted);
    resolve(1, ACK_STORED);
    assert_true(str_starts(hear(trusted), "250 2.0.0"));
    expect_start(trusted, "MAIL FROM:<c@x.example>\r\n", "250 ");
    close(trusted);
}

static void test_21_deadlines(void **state)
{
    (void)state;
    cfg.mail_command_timeout_us = CD_MSEC(80);
    cfg.mail_data_timeout_us = CD_MSEC(240);
    start();
    int64_t before = metrics_get(M_SMTP_TIMEOUT), stale = metrics_get(M_ACK_STALE);
    int idle = session(false), slow = session(false), data = greeted(false);
    say(data, TO_RCPT "DATA\r\n");
    hear(data);
    int wait = in_wait();
    for (int i = 0; i < 8; i++) { /* a byte now and then does not help */
        if (send(slow, "N", 1, MSG_NOSIGNAL) != 1)
            break;
        run_ms(20);
    }
    hear(slow);
    assert_non_null(strstr(heard, "421 4.4.2 "));
    hear(idle);
    assert_non_null(strstr(heard, "421 4.4.2 "));
    assert_true(closed(idle) && closed(slow));
    for (int i = 0; i < 15; i++) {
        if (send(data, "x\r\n", 3, MSG_NOSIGNAL) != 3)
            break;
        run_ms(20);
    }
    run_ms(150); /* the one that waits began a little later */
    assert_true(str_starts(hear(data), "421 4.4.2 "));
    assert_true(str_starts(hear(wait), "451 4.3.0 "));
    assert_true(closed(data) && closed(wait));
    assert_int_equal(metrics_get(M_SMTP_TIMEOUT), before + 4);
    resolve(0, ACK_STORED);
    assert_int_equal(metrics_get(M_ACK_STALE), stale + 1);
    assert_int_equal(srv->nsessions, 0);
    close(idle);
    close(slow);
    close(data);
    close(wait);
}

/* ---- draining ---- */

static void drain(void **state)
{
    (void)state;
    start();
    int idle = greeted(false), rcpt = session_in(SMTP_RCPT), data = session_in(SMTP_DATA),
        wait = in_wait();
    smtp_server_drain(srv);
    assert_true(str_starts(hear(idle), "421 4.3.2 ") && closed(idle));
    assert_true(str_starts(hear(rcpt), "421 4.3.2 ") && closed(rcpt));
    assert_false(smtp_server_idle(srv));
    say(data, MESSAGE ".\r\nNOOP\r\n");
    assert_string_equal(hear(data), "");
    assert_string_equal(hear(wait), "");
    assert_int_equal(front.n, 2);
    resolve(0, ACK_STORED);
    resolve(1, ACK_STORED);
    hear(wait);
    assert_true(str_starts(heard, "250 2.0.0 ") && strstr(heard, "\r\n421 4.3.2 ") && closed(wait));
    hear(data);
    assert_true(str_starts(heard, "250 2.0.0 ") && strstr(heard, "\r\n421 4.3.2 ") && closed(data));
    assert_true(smtp_server_idle(srv));
    close(idle);
    close(rcpt);
    close(data);
    close(wait);
}

/* ---- listening ---- */

static struct listen_addr listen_any = {.text = (char *)"127.0.0.1:0", .host = (char *)"127.0.0.1"};

static int connect_to(uint16_t port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static const char *hear_within(int fd, int ms)
{
    ssize_t n;
    for (; (n = recv(fd, heard, sizeof heard - 1, MSG_DONTWAIT)) < 0 && ms > 0; ms -= 5)
        run_ms(5);
    heard[n > 0 ? n : 0] = '\0';
    return heard;
}

static void test_22_connection_limits(void **state)
{
    (void)state;
    struct network trusted = {.addr = {[10] = 0xff, [11] = 0xff, [12] = 127}, .bits = 104};
    int fd[8];
    cfg.mail_listen = &listen_any;
    cfg.nmail_listen = 1;
    cfg.mail_max_connections = 5;
    cfg.mail_max_connections_per_address = 2;
    start();
    uint16_t port = smtp_listen_port(srv, 0);
    assert_true(port != 0);
    int64_t before = metrics_get(M_SMTP_REFUSED);
    for (int i = 0; i < 3; i++) {
        fd[i] = connect_to(port);
        hear_within(fd[i], 1000);
        assert_true(str_starts(heard, i < 2 ? "220 " : "421 4.7.0 "));
    }
    int on = 0;
    socklen_t len = sizeof on;
    assert_int_equal(getsockopt(last_session()->fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, &len), 0);
    assert_true(on);
    close(fd[0]); /* one goes, another may come */
    run_ms(10);
    fd[0] = connect_to(port);
    assert_true(str_starts(hear_within(fd[0], 1000), "220 "));
    cfg.trusted_clients = &trusted;
    cfg.ntrusted_clients = 1;
    for (int i = 3; i < 7; i++) {
        fd[i] = connect_to(port);
        hear_within(fd[i], 1000);
        assert_true(str_starts(heard, i < 6 ? "220 " : "421 4.7.0 "));
    }
    assert_int_equal(metrics_get(M_SMTP_REFUSED), before + 2);
    for (int i = 0; i < 7; i++)
        close(fd[i]);
}

static void test_14_out_of_descriptors(void **state)
{
    struct rlimit old, low;
    (void)state;
    cfg.mail_listen = &listen_any;
    cfg.nmail_listen = 1;
    start();
    log_set_level(LOG_L_ERROR - 1);
    int fd = connect_to(smtp_listen_port(srv, 0));
    int next = fcntl(fd, F_DUPFD, 0);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    low = old;
    low.rlim_cur = (rlim_t)next;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    run_ms(100);
    assert_int_equal(metrics_get(M_SMTP_ACCEPT_PAUSES), 1); /* waits, does not spin */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_true(str_starts(hear_within(fd, 1000), "220 "));
    close(fd);
}

static void bad_listener(void **state)
{
    (void)state;
    struct listen_addr bad = {.text = (char *)"nowhere"};
    cfg.mail_listen = &bad;
    cfg.nmail_listen = 1;
    log_set_level(LOG_L_ERROR - 1);
    assert_int_equal(smtp_server_new(&host, &srv), CD_ECONFIG);
    assert_null(srv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_23_message_over_the_limit),
        T(bad_content),
        T(mail_in_circles),
        T(reading_memory),
        T(errors_limit),
        T(test_28_junk_limit),
        T(test_23_command_line_limit),
        T(mails_per_session),
        T(test_21_deadlines),
        T(drain),
        T(test_22_connection_limits),
        T(test_14_out_of_descriptors),
        T(bad_listener),
    };
    return cmocka_run_group_tests_name("smtp_limits", tests, NULL, NULL);
}

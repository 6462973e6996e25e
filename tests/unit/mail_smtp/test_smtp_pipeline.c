/* Mails that follow each other without waiting: answers in the order of the mails whatever the order of the outcomes, the bound, and
 * every way in which such a session can end. */
#include "tests/unit/mail_smtp/smtp_fixture.h"

#define MAIL(n) TO_RCPT "DATA\r\nSubject: " #n "\r\n\r\ntext\r\n.\r\n"

/* The codes of the answers in `text`, a blank between two. */
static const char *codes(const char *text)
{
    static char out[4096];
    size_t n = 0;
    for (const char *p = text; *p && n + 5 < sizeof out; p += strcspn(p, "\n") + 1)
        if (p[3] != '-')
            n += (size_t)snprintf(out + n, sizeof out - n, "%s%.3s", n ? " " : "", p);
    out[n] = '\0';
    return out;
}

static bool has_id(const char *line, const struct envelope *e)
{
    char id[UUID_TEXT_SIZE];
    uuid_format(&e->id, id);
    const char *at = strstr(line, id);
    return at && at < strchr(line, '\n');
}

static void answers_keep_the_order_of_the_mails(void **state)
{
    (void)state;
    start();
    int fd = greeted(false);
    say(fd, MAIL(1));
    assert_ptr_equal(TAILQ_FIRST(&last_session()->pending), &last_session()->first); /* the usual case allocates nothing */
    say(fd, MAIL(2) MAIL(3));
    assert_string_equal(codes(hear(fd)), "250 250 354");
    assert_int_equal(front.n, 3);
    resolve(2, ACK_STORED);
    resolve(1, ACK_RETRY_LATER);
    assert_string_equal(hear(fd), "");
    resolve(0, ACK_STORED);
    assert_string_equal(codes(hear(fd)), "250 250 250 354 451 250 250 354 250");
    assert_true(has_id(heard, front.got[0]));
    assert_true(has_id(strrchr(heard, '3'), front.got[2]) || strstr(heard, "451 4.3.0"));
    assert_int_equal(last_session()->npending, 0);
    assert_int_equal(last_session()->held_bytes, 0);
    expect_start(fd, "QUIT\r\n", "221");
    assert_true(closed(fd));
    close(fd);
}

static void refusals_stand_in_their_place(void **state)
{
    (void)state;
    cfg.mail_max_pipelined = 10;
    start();
    int fd = greeted(false);
    static char big[120000];
    memset(big, 'x', sizeof big);
    for (size_t i = 72; i < sizeof big; i += 72)
        memcpy(big + i, "\r\n", 2);
    say(fd, MAIL(1) "MAIL FROM:<c@x.example> SIZE=999999\r\nRSET\r\n" TO_RCPT "RCPT TO:<nobody@example.com>\r\nDATA\r\n");
    say_bytes(fd, big, sizeof big);
    say(fd, "\r\n.\r\n" MAIL(2));
    assert_string_equal(codes(hear(fd)), "250 250 354");
    assert_int_equal(front.n, 2);
    resolve(1, ACK_STORED);
    assert_string_equal(hear(fd), "");
    resolve(0, ACK_REJECTED);
    assert_string_equal(codes(hear(fd)), "554 552 250 250 250 550 354 552 250 250 354 250");
    assert_true(has_id(strstr(heard, "250 2.0.0 Ok: id"), front.got[1]));
    close(fd);
}

static void reading_stops_at_the_bound(void **state)
{
    (void)state;
    cfg.mail_max_pipelined = 3;
    start();
    int64_t before = metrics_get(M_SMTP_LIMIT_PIPELINED);
    int fd = greeted(false);
    say(fd, MAIL(1) MAIL(2));
    assert_int_equal(metrics_get(M_SMTP_LIMIT_PIPELINED), before);
    say(fd, MAIL(3) MAIL(4) MAIL(5));
    assert_int_equal(front.n, 3);
    assert_int_equal(metrics_get(M_SMTP_LIMIT_PIPELINED), before + 1);
    say(fd, "NOOP\r\n");
    assert_int_equal(metrics_get(M_SMTP_LIMIT_PIPELINED), before + 1);
    hear(fd);
    resolve(0, ACK_STORED);
    turn();
    assert_int_equal(front.n, 4);
    for (size_t i = 1; i < front.n; i++)
        resolve(i, ACK_STORED), turn();
    assert_int_equal(front.n, 5);
    assert_string_equal(codes(hear(fd)), "250 250 250 354 250 250 250 354 250 250 250 354 250 250 250 354 250 250");
    close(fd);
}

static void held_replies_are_bounded(void **state)
{
    (void)state;
    start();
    int fd = greeted(true);
    say(fd, MAIL(1));
    hear(fd);
    enum { sent = 2000 };
    static char noops[6 * sent];
    for (size_t i = 0; i < sent; i++)
        memcpy(noops + 6 * i, "NOOP\r\n", 6);
    say_bytes(fd, noops, sizeof noops);
    assert_true(last_session()->held_bytes >= SMTP_HELD_BYTES && last_session()->held_bytes < SMTP_HELD_BYTES + 512);
    resolve(0, ACK_STORED);
    size_t replies = 0;
    for (int i = 0; i < 100 && replies < sent + 1; i++)
        for (const char *p = hear(fd); (p = strchr(p, '\n')); p++)
            replies++;
    assert_int_equal(replies, sent + 1);
    close(fd);
}

static void quit_waits_for_the_answers(void **state)
{
    (void)state;
    start();
    int fd = greeted(false);
    say(fd, MAIL(1) MAIL(2) "RSET\r\nQUIT\r\nMAIL FROM:<late@x.example>\r\n");
    hear(fd);
    assert_int_equal(front.n, 2);
    resolve(1, ACK_STORED);
    assert_false(closed(fd));
    resolve(0, ACK_STORED);
    assert_string_equal(codes(hear(fd)), "250 250 250 354 250 250 221");
    assert_true(closed(fd));
    assert_int_equal(srv->nsessions, 0);
    close(fd);
}

static void half_closed_without_quit_is_answered(void **state)
{
    (void)state;
    start();
    int fd = greeted(false);
    say(fd, MAIL(1) MAIL(2) "MAIL FROM:<half");
    shutdown(fd, SHUT_WR);
    turn();
    hear(fd);
    resolve(0, ACK_STORED);
    resolve(1, ACK_STORED);
    assert_string_equal(codes(hear(fd)), "250 250 250 354 250");
    assert_true(closed(fd));
    close(fd);
}

static void a_vanished_peer_leaves_nothing(void **state)
{
    (void)state;
    start();
    int64_t stale = metrics_get(M_ACK_STALE);
    int fd = greeted(false);
    say(fd, MAIL(1) MAIL(2) MAIL(3));
    hear(fd);
    close(fd);
    turn();
    assert_int_equal(front.n, 3);
    resolve(0, ACK_STORED); /* this answer cannot be written: the session ends with it */
    turn();
    assert_int_equal(srv->nsessions, 0);
    assert_null(TAILQ_FIRST(&srv->waiting));
    resolve(1, ACK_STORED);
    resolve(2, ACK_STORED);
    assert_int_equal(metrics_get(M_ACK_STALE), stale + 2);
    assert_int_equal(metrics_get(M_SMTP_OPEN), 0);
}

static void draining_answers_all(void **state)
{
    (void)state;
    start();
    int fd = greeted(false);
    say(fd, MAIL(1) MAIL(2) TO_RCPT);
    hear(fd);
    smtp_server_drain(srv);
    say(fd, "DATA\r\n");
    resolve(1, ACK_STORED);
    assert_false(smtp_server_idle(srv));
    resolve(0, ACK_STORED);
    assert_string_equal(codes(hear(fd)), "250 250 250 354 250 250 250 421");
    assert_true(closed(fd) && smtp_server_idle(srv));
    assert_int_equal(srv->reading_bytes, 0);
    close(fd);
}

/* Its sender is slow with the second mail: it is told so, but behind the answer to the first. */
static void a_timeout_is_told_behind_the_answers(void **state)
{
    (void)state;
    cfg.mail_data_timeout_us = CD_MSEC(150);
    start();
    int64_t before = metrics_get(M_SMTP_TIMEOUT);
    int fd = greeted(false);
    say(fd, MAIL(1));
    run_ms(60);
    say(fd, TO_RCPT "DATA\r\nhalf a mail\r\n");
    hear(fd);
    for (int i = 0; i < 400 && metrics_get(M_SMTP_TIMEOUT) == before; i++)
        run_ms(5);
    assert_string_equal(codes(hear(fd)), "451 250 250 354"); /* the first one's outcome was late earlier still */
    assert_true(closed(fd));
    assert_int_equal(srv->nsessions, 0);
    close(fd);
    cfg.mail_command_timeout_us = cfg.mail_data_timeout_us;
    fd = greeted(false);
    say(fd, MAIL(1) TO_RCPT "DATA\r\nhalf a mail\r\n");
    hear(fd);
    struct smtp_session *s = last_session();
    smtp_session_expired(s);
    assert_string_equal(hear(fd), "");
    assert_int_equal(srv->reading_bytes, 0);
    resolve(1, ACK_STORED);
    assert_string_equal(codes(hear(fd)), "250 250 250 354 421");
    assert_true(closed(fd));
    close(fd);
}

static void errors_end_the_session_behind_the_answers(void **state)
{
    (void)state;
    cfg.mail_max_errors = 2;
    start();
    int fd = greeted(false);
    say(fd, MAIL(1) "WHAT\r\nWHAT\r\nNOOP\r\n");
    hear(fd);
    resolve(0, ACK_STORED);
    assert_string_equal(codes(hear(fd)), "250 500 500 421");
    assert_true(closed(fd));
    close(fd);
}

/* Its 354 waits behind the answers: until then its sender can do nothing, and no time is counted against it. */
static void the_time_of_a_text_begins_with_354(void **state)
{
    (void)state;
    cfg.mail_min_rate = 500;
    start();
    int64_t before = metrics_get(M_SMTP_TIMEOUT);
    int fd = greeted(false);
    say(fd, MAIL(1) MAIL(2) TO_RCPT "DATA\r\n");
    assert_string_equal(codes(hear(fd)), "250 250 354");
    front.mode = GATE_TIGHT;
    smtp_expire(srv, clock_mono_us() + CD_HOUR(1));
    assert_int_equal(metrics_get(M_SMTP_TIMEOUT), before);
    int64_t now = clock_mono_us();
    resolve(0, ACK_STORED);
    assert_int_not_equal(last_session()->deadline, DEADLINE_DATA);
    resolve(1, ACK_STORED);
    assert_string_equal(codes(hear(fd)), "250 250 250 354 250 250 250 354");
    assert_int_equal(last_session()->deadline, DEADLINE_DATA);
    assert_true(last_session()->since_us >= now);
    smtp_expire(srv, clock_mono_us() + CD_SEC(11));
    assert_int_equal(metrics_get(M_SMTP_TIMEOUT), before + 1);
    assert_true(str_starts(hear(fd), "421 4.4.2 ") && closed(fd));
    close(fd);
}

/* The room for input is the session's own, whatever a reload makes of mail.max_command meanwhile. */
static void input_survives_other_limits(void **state)
{
    (void)state;
    static char noops[6 * 30000];
    static const size_t commands[][2] = {{512, CD_KIB(64)}, {CD_KIB(64), 512}, {2048, 512}};
    for (size_t i = 0; i < sizeof noops; i += 6)
        memcpy(noops + i, "NOOP\r\n", 6);
    start();
    for (size_t round = 0; round < ARRAY_LEN(commands); round++) {
        cfg.mail_max_pipelined = 1;
        cfg.mail_max_command_bytes = commands[round][0];
        int fd = greeted(true);
        say(fd, MAIL(1));
        hear(fd);
        size_t first = SMTP_READ_BYTES + 512, sent = 0, replies = 0;
        say_bytes(fd, noops, first);
        turn();
        assert_int_equal(last_session()->in.len, first);
        cfg.mail_max_command_bytes = commands[round][1];
        for (ssize_t n; sent < 6 * 20000 && (n = send(fd, noops + (first + sent) % 6, 6 * 100, MSG_NOSIGNAL)) > 0; sent += (size_t)n)
            turn();
        resolve(front.n - 1, ACK_STORED);
        for (int i = 0; i < 3000 && replies < (first + sent) / 6 + 1; i++)
            for (const char *p = hear(fd); (p = strchr(p, '\n')); p++)
                replies++;
        assert_int_equal(replies, (first + sent) / 6 + 1);
        assert_int_equal(last_session()->errors, 0);
        close(fd);
        turn();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(answers_keep_the_order_of_the_mails),
        T(refusals_stand_in_their_place),
        T(reading_stops_at_the_bound),
        T(held_replies_are_bounded),
        T(quit_waits_for_the_answers),
        T(half_closed_without_quit_is_answered),
        T(a_vanished_peer_leaves_nothing),
        T(draining_answers_all),
        T(a_timeout_is_told_behind_the_answers),
        T(errors_end_the_session_behind_the_answers),
        T(the_time_of_a_text_begins_with_354),
        T(input_survives_other_limits),
    };
    return cmocka_run_group_tests_name("smtp_pipeline", tests, NULL, NULL);
}

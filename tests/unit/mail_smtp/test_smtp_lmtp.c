/* LMTP: one answer for each accepted recipient, one envelope, its own greeting and trace; and unix sockets with their modes. */
#include "tests/unit/mail_smtp/smtp_fixture.h"

#include <sys/stat.h>
#include <sys/un.h>

static int greeted_lmtp(void)
{
    int fd = lmtp_session();
    assert_string_equal(hear(fd), "220 mx.example.com LMTP complaintd\r\n");
    expect(fd, "LHLO mail.example\r\n",
           "250-mx.example.com\r\n250-PIPELINING\r\n250-SIZE 100000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-LIMITS RCPTMAX=3\r\n"
           "250 ENHANCEDSTATUSCODES\r\n");
    return fd;
}

/* How many answers `text` holds, all of them equal; 0 when they are not. */
static size_t equal_answers(const char *text)
{
    size_t n = 0, len = strcspn(text, "\n") + 1;
    for (const char *p = text; *p; p += len, n++)
        if (strncmp(p, text, len) != 0)
            return 0;
    return n;
}

static void one_answer_for_each_recipient(void **state)
{
    (void)state;
    start();
    int fd = greeted_lmtp();
    expect(fd, TO_RCPT "RCPT TO:<nobody@example.com>\r\nRCPT TO:<care@example.com>\r\nRCPT TO:<shop@example.com>\r\n",
           "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n550 5.1.1 No such mailbox here\r\n250 2.1.5 Ok\r\n250 2.1.5 Ok\r\n");
    expect_start(fd, "RCPT TO:<care@example.com>\r\n", "452 4.5.3 "); /* RCPT commands are counted: each is answered */
    expect_start(fd, "DATA\r\n", "354");
    say(fd, MESSAGE ".\r\n");
    assert_string_equal(hear(fd), "");
    assert_int_equal(front.n, 1);
    assert_int_equal(front.got[0]->recipients.n, 2);
    assert_int_equal(front.got[0]->desks.n, 2);
    assert_non_null(strstr(buf_str(&front.got[0]->raw), "\tby mx.example.com with LMTP id "));
    resolve(0, ACK_STORED);
    assert_int_equal(equal_answers(hear(fd)), 3);
    assert_true(str_starts(heard, "250 2.0.0 Ok: id "));
    close(fd);
}

static void refusals_are_for_each_recipient(void **state)
{
    (void)state;
    cfg.mail_reject_nul = true;
    start();
    int fd = greeted_lmtp();
    say(fd, TO_RCPT "RCPT TO:<shop@example.com>\r\nDATA\r\n");
    hear(fd);
    say_bytes(fd, "a\0b\r\n.\r\n", 8);
    assert_int_equal(equal_answers(hear(fd)), 2);
    assert_true(str_starts(heard, "550 5.6.0 "));
    front.submit_result = CD_EAGAIN;
    say(fd, TO_RCPT "RCPT TO:<shop@example.com>\r\nDATA\r\n");
    hear(fd);
    say(fd, MESSAGE ".\r\n");
    assert_int_equal(equal_answers(hear(fd)), 2);
    assert_true(str_starts(heard, "451 4.3.0 "));
    front.submit_result = 0;
    say(fd, TO_RCPT "RCPT TO:<shop@example.com>\r\nDATA\r\n");
    hear(fd);
    say(fd, MESSAGE ".\r\n");
    resolve(0, ACK_RETRY_LATER);
    assert_int_equal(equal_answers(hear(fd)), 2);
    expect_start(fd, "MAIL FROM:<c@x.example>\r\nDATA\r\n", "250"); /* RFC 2033 4.2: no recipient, no DATA */
    assert_non_null(strstr(heard, "\r\n503 "));
    close(fd);
}

static void each_protocol_refuses_the_other(void **state)
{
    (void)state;
    start();
    int lmtp = lmtp_session(), smtp = session(false);
    hear(lmtp);
    hear(smtp);
    expect_start(lmtp, "EHLO c\r\n", "500 5.5.1 This is LMTP");
    expect_start(lmtp, "HELO c\r\n", "500 5.5.1 This is LMTP");
    expect_start(smtp, "LHLO c\r\n", "500 5.5.1 This is SMTP");
    expect_start(lmtp, "MAIL FROM:<c@x.example>\r\n", "503 ");
    close(lmtp);
    close(smtp);
}

/* As many answers as options allow go out also to a peer that reads slowly. */
static void many_recipients_pipelined(void **state)
{
    (void)state;
    cfg.mail_max_recipients = 2000;
    cfg.mail_max_pipelined = 10;
    start();
    int fd = lmtp_session();
    say(fd, "LHLO mail.example\r\n");
    hear(fd);
    for (int mail = 0; mail < 2; mail++) {
        say(fd, "MAIL FROM:<c@x.example>\r\n");
        for (int i = 0; i < 2000; i++) {
            say(fd, "RCPT TO:<care@example.com>\r\n");
            if (mail == 0)
                hear(fd);
            else if (i % 100 == 0)
                turn();
        }
        say(fd, "DATA\r\n" MESSAGE ".\r\n");
        if (mail == 0)
            hear(fd);
    }
    for (size_t done = 0, replies = 0, loops = 0; loops < 20000 && replies < 2000 + 2002 + 2000; loops++) {
        for (; done < front.n; done++)
            resolve(done, ACK_STORED);
        for (const char *p = hear(fd); (p = strchr(p, '\n')); p++)
            replies++;
    }
    assert_int_equal(front.n, 2);
    assert_int_equal(last_session()->npending, 0);
    close(fd);
}

static void unix_sockets_and_their_modes(void **state)
{
    (void)state;
    char path[] = "/tmp/cd-lmtp-XXXXXX", sock[64];
    struct stat st;
    assert_non_null(mkdtemp(path));
    snprintf(sock, sizeof sock, "%s/lmtp", path);
    struct listen_addr a = {.text = sock, .path = sock};
    cfg.mail_lmtp_listen = &a;
    cfg.nmail_lmtp_listen = 1;
    cfg.mail_lmtp_access = 0660;
    start();
    assert_int_equal(stat(sock, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0660);
    struct smtp_server *first = srv, *second = NULL;
    log_set_level(LOG_L_ERROR - 1);
    assert_int_equal(smtp_server_new(&host, &second), CD_EIO); /* in use */
    srv = first;
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    memcpy(sun.sun_path, sock, strlen(sock) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof sun), 0);
    run_ms(20);
    assert_true(str_starts(hear(fd), "220 mx.example.com LMTP"));
    assert_true(last_session()->trusted);
    expect_start(fd, "LHLO mail.example\r\n" TO_RCPT "DATA\r\n", "250-");
    say(fd, MESSAGE ".\r\n");
    assert_true(str_starts(buf_str(&front.got[0]->raw), "Return-Path: <c@x.example>\r\nReceived: from mail.example (local)\r\n"));
    resolve(0, ACK_STORED);
    hear(fd);
    close(fd);
    turn();
    stop();
    assert_int_equal(stat(sock, &st), -1); /* taken away at the end */
    /* one that a killed process left behind */
    int left = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(left, (struct sockaddr *)&sun, sizeof sun), 0);
    close(left);
    start();
    assert_int_equal(srv->nlisteners, 1);
    stop();
    cfg.mail_lmtp_group = (char *)"no-such-group";
    assert_int_equal(smtp_server_new(&host, &srv), CD_EIO);
    rmdir(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(one_answer_for_each_recipient), T(refusals_are_for_each_recipient), T(each_protocol_refuses_the_other),
        T(many_recipients_pipelined),     T(unix_sockets_and_their_modes),
    };
    return cmocka_run_group_tests_name("smtp_lmtp", tests, NULL, NULL);
}

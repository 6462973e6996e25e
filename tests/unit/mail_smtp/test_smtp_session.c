/* The SMTP dialogue: no 250 before the acknowledgement, pipelining cut anywhere, every state and every verb.
 */
#include "tests/unit/mail_smtp/smtp_fixture.h"

#include "daemon/intake/keys.h"

/* ---- the dialogue ---- */

static void ehlo_offers(void **state)
{
    (void)state;
    start();
    int fd = session(false);
    hear(fd);
    expect(fd, "EHLO client.example\r\n",
           "250-mx.example.com\r\n250-PIPELINING\r\n250-SIZE 100000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n"
           "250-LIMITS RCPTMAX=3\r\n250 ENHANCEDSTATUSCODES\r\n");
    expect(fd, "HELO client.example\r\n", "250 mx.example.com\r\n");
    close(fd);
}

static void no_250_before_the_ack(void **state)
{
    (void)state;
    start();
    int fd = in_wait();
    assert_string_equal(hear(fd), "");
    assert_int_equal(front.n, 1);
    struct envelope *e = front.got[0];
    char id[UUID_TEXT_SIZE], want[200];
    uuid_format(&e->id, id);
    run_ms(30);
    assert_string_equal(hear(fd), "");
    resolve(0, ACK_STORED);
    snprintf(want, sizeof want, "250 2.0.0 Ok: id %s\r\n", id);
    assert_string_equal(hear(fd), want);

    assert_string_equal(e->sender, "c@x.example");
    assert_string_equal(e->client, "192.0.2.7");
    assert_int_equal(e->recipients.n, 1);
    assert_string_equal(e->recipients.v[0], "care@example.com");
    assert_int_equal(e->desks.n, 1);
    assert_string_equal(e->desks.v[0], "care");
    assert_int_equal(e->channel, CH_MAIL);
    assert_true(e->received_at_us > 0);
    const char *raw = buf_str(&e->raw);
    assert_true(
        str_starts(raw, "Return-Path: <c@x.example>\r\nReceived: from client.example ([192.0.2.7])\r\n"));
    snprintf(want, sizeof want, "\tby mx.example.com with ESMTP id %s;\r\n\t", id);
    assert_non_null(strstr(raw, want));
    assert_string_equal(raw + e->raw.len - strlen(MESSAGE), MESSAGE);
    /* key and digest know nothing of our trace fields */
    char *key = NULL;
    uint8_t digest[SHA256_SIZE];
    keys_of_mail(MESSAGE, strlen(MESSAGE), &key, digest);
    assert_string_equal(e->key, key);
    assert_memory_equal(e->digest, digest, sizeof digest);
    free(key);

    expect_start(fd, "QUIT\r\n", "221 2.0.0");
    assert_true(closed(fd));
    assert_int_equal(srv->nsessions, 0);
    close(fd);
}

static void refusals_of_the_front(void **state)
{
    (void)state;
    start();
    int fd = in_wait();
    resolve(0, ACK_RETRY_LATER);
    assert_true(str_starts(hear(fd), "451 4.3.0 "));
    expect_start(fd, TO_RCPT "DATA\r\n", "250 2.1.0");
    say(fd, MESSAGE ".\r\n");
    resolve(1, ACK_REJECTED);
    assert_true(str_starts(hear(fd), "554 5.6.0 "));
    /* submit says no: the envelope is ours to free */
    front.submit_result = CD_EAGAIN;
    expect_start(fd, TO_RCPT "DATA\r\n", "250 2.1.0");
    expect_start(fd, MESSAGE ".\r\n", "451 4.3.0 ");
    front.submit_result = 0;
    /* the gate is asked before 354, with the declared size */
    front.not_ready = true;
    expect(fd, "MAIL FROM:<> SIZE=777\r\nRCPT TO:<care@example.com>\r\n", "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n");
    expect_start(fd, "DATA\r\n", "452 4.3.1 ");
    assert_int_equal(front.asked_bytes, 777);
    front.not_ready = false;
    expect_start(fd, "DATA\r\n", "354 ");
    say(fd, MESSAGE ".\r\n");
    assert_int_equal(front.n, 3);
    assert_string_equal(front.got[2]->sender, "");
    resolve(2, ACK_STORED);
    assert_true(str_starts(hear(fd), "250 2.0.0"));
    close(fd);
}

static void dead_sessions_make_stale_acks(void **state)
{
    (void)state;
    start();
    int64_t before = metrics_get(M_ACK_STALE);
    int fd = in_wait();
    smtp_close(last_session());
    close(fd);
    turn();
    assert_int_equal(srv->nsessions, 0);
    resolve(0, ACK_STORED);
    assert_int_equal(metrics_get(M_ACK_STALE), before + 1);
    /* the slot's next holder is not reached by the old answer */
    fd = in_wait();
    assert_int_equal(front.n, 2);
    assert_int_equal(front.got[0]->ack.slot, front.got[1]->ack.slot);
    resolve(0, ACK_STORED);
    assert_string_equal(hear(fd), "");
    assert_int_equal(metrics_get(M_ACK_STALE), before + 2);
    resolve(1, ACK_STORED);
    assert_true(str_starts(hear(fd), "250 2.0.0"));
    close(fd);
}

static void recipients(void **state)
{
    (void)state;
    cfg.mail_max_recipients = 4; /* one said twice counts twice */
    start();
    int fd = greeted(false);
    expect(fd, "MAIL FROM:<c@x.example> BODY=8BITMIME SIZE=10\r\n", "250 2.1.0 Ok\r\n");
    expect_start(fd, "RCPT TO:<nobody@example.com>\r\n", "550 5.1.1 ");
    expect_start(fd, "RCPT TO:<care@other.example>\r\n", "550 5.7.1 ");
    expect_start(fd, "RCPT TO:<nobody@shop.example>\r\n", "550 5.1.1 ");
    expect_start(fd, "RCPT TO:<nobody@MX.example.com>\r\n", "550 5.1.1 ");
    expect_start(fd, "DATA\r\n", "503 5.5.1 ");
    expect_start(fd, "RCPT TO:<CARE+order7@Example.com>\r\n", "250 2.1.5");
    expect_start(fd, "RCPT TO:<CARE+order7@Example.com>\r\n", "250 2.1.5");
    expect_start(fd, "RCPT TO:<\"shop\"@example.com>\r\n", "250 2.1.5");
    expect_start(fd, "RCPT TO:<@relay.example:laden@shop.example>\r\n", "250 2.1.5");
    expect_start(fd, "RCPT TO:<care@example.com>\r\n", "452 4.5.3 ");
    assert_int_equal(metrics_get(M_SMTP_LIMIT_RECIPIENTS), 1);
    expect_start(fd, "DATA\r\n", "354");
    say(fd, MESSAGE ".\r\n");
    struct envelope *e = front.got[0];
    assert_int_equal(e->recipients.n, 3);
    assert_string_equal(e->recipients.v[1], "shop@example.com");
    assert_int_equal(e->desks.n, 2);
    assert_string_equal(e->desks.v[0], "care");
    assert_string_equal(e->desks.v[1], "shop");
    resolve(0, ACK_STORED);
    assert_true(str_starts(hear(fd), "250 2.0.0"));
    assert_int_equal(strcspn(heard, "\n") + 1, strlen(heard)); /* one answer, for all of them */
    expect(fd, "MAIL FROM:<c@x.example>\r\nRCPT TO:<Postmaster>\r\n", "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n");
    close(fd);
}

static void replies_to_faults(void **state)
{
    (void)state;
    start();
    int fd = greeted(true);
    expect_start(fd, "MAIL\r\n", "501 5.5.4");
    expect_start(fd, "MAIL FROM:c@x.example\r\n", "501 5.5.4");
    expect_start(fd, "MAIL FROM:<c>\r\n", "501 5.1.7");
    expect_start(fd, "MAIL FROM:<\xc3\xa4@x.example>\r\n", "553 5.6.7");
    expect_start(fd, "MAIL FROM:<c@x.example> BODY=BINARYMIME\r\n", "501 5.5.4");
    expect_start(fd, "MAIL FROM:<c@x.example> RET=FULL\r\n", "555 5.5.4");
    expect_start(fd, "MAIL FROM:<c@x.example> SIZE=100001\r\n", "552 5.3.4");
    expect_start(fd, "QUIT now\r\n", "501 5.5.4");
    expect_start(fd, "EHLO\r\n", "501 5.5.4");
    expect_start(fd, "\r\n", "500 5.5.1");
    expect_start(fd, "MAILX FROM:<c@x.example>\r\n", "500 5.5.1");
    expect_start(fd, "MAI FROM:<c@x.example>\r\n", "500 5.5.1");
    say_bytes(fd, "NO\0OP\r\n", 7);
    assert_true(str_starts(hear(fd), "500 5.5.2"));
    expect_start(fd, "NO\rOP\r\n", "500 5.5.2");
    expect_start(fd, "VRFY care\r\n", "252 2.");
    expect_start(fd, "EXPN care\r\n", "502 5.5.1");
    expect_start(fd, "NOOP\n", "250 2.0.0");
    expect_start(fd, "MAIL FROM:<\xc3\xa4@x.example> SMTPUTF8\r\n", "250 2.1.0");
    expect_start(fd, "RCPT TO:<care>\r\n", "501 5.1.3");
    expect_start(fd, "RCPT TO:<care@example.com> NOTIFY=NEVER\r\n", "555 5.5.4");
    expect_start(fd, "RCPT TO:<care@example.com>\r\n", "250 2.1.5");
    expect_start(fd, "DATA\r\n", "354");
    say(fd, MESSAGE ".\r\n");
    assert_non_null(strstr(buf_str(&front.got[0]->raw), " with UTF8SMTP id "));
    close(fd);
}

/* ---- pipelining, splitting, waiting ---- */

static const char dialogue[] = "EHLO client.example\r\n" TO_RCPT "DATA\r\n" MESSAGE "..dot\r\n.\r\n" TO_RCPT
                               "DATA\r\nsecond\r\n.\r\nNOOP\r\nQUIT\r\n";

/* Resolves what waits until nothing does; gathers the replies without the ids. */
static void finish_dialogue(int fd, size_t *resolved, struct buf *replies)
{
    do {
        for (; *resolved < front.n; ++*resolved)
            resolve(*resolved, ACK_STORED);
        for (const char *p = hear(fd); *p;) {
            size_t n = strcspn(p, "\n") + 1;
            const char *cut = memmem(p, n, " id ", 4);
            buf_append(replies, p, cut ? (size_t)(cut - p) : n);
            p += n;
        }
    } while (*resolved < front.n);
}

static void any_split_gives_the_same(void **state)
{
    (void)state;
    cfg.mail_max_connections = 1000;
    start();
    struct buf whole;
    buf_init(&whole, 4096);
    for (size_t cut = 0; cut <= sizeof dialogue; cut++) {
        struct buf replies;
        size_t resolved = 0;
        buf_init(&replies, 4096);
        int fd = session(false);
        if (cut == 0) {
            say(fd, dialogue);
        } else if (cut == sizeof dialogue) { /* byte by byte */
            for (size_t i = 0; i < sizeof dialogue - 1; i++)
                say_bytes(fd, dialogue + i, 1);
        } else {
            say_bytes(fd, dialogue, cut);
            finish_dialogue(fd, &resolved, &replies);
            if (cut < sizeof dialogue - 1)
                say_bytes(fd, dialogue + cut, sizeof dialogue - 1 - cut);
        }
        finish_dialogue(fd, &resolved, &replies);
        assert_true(closed(fd));
        close(fd);
        assert_int_equal(front.n, 2);
        size_t n = front.got[0]->raw.len;
        assert_string_equal(buf_str(&front.got[0]->raw) + n - strlen(MESSAGE ".dot\r\n"), MESSAGE ".dot\r\n");
        n = front.got[1]->raw.len;
        assert_string_equal(buf_str(&front.got[1]->raw) + n - 10, "\r\nsecond\r\n");
        envelope_free(&front.got[0]);
        envelope_free(&front.got[1]);
        front.n = 0;
        if (cut == 0)
            buf_append(&whole, replies.data, replies.len);
        assert_string_equal(buf_str(&replies), buf_str(&whole));
        buf_free(&replies);
    }
    assert_non_null(strstr(buf_str(&whole), "221 2.0.0 Bye"));
    assert_int_equal(srv->nsessions, 0);
    assert_int_equal(srv->reading_bytes, 0);
    buf_free(&whole);
}

static void one_write_for_a_group(void **state)
{
    (void)state;
    start();
    int fd = session_of(SOCK_SEQPACKET, &(struct smtp_client){.text = "192.0.2.7"});
    assert_true(recv(fd, heard, sizeof heard, 0) > 0);
    say(fd, "EHLO c\r\n");
    assert_true(recv(fd, heard, sizeof heard, 0) > 0);
    say(fd, TO_RCPT "RCPT TO:<shop@example.com>\r\nDATA\r\n");
    ssize_t n = recv(fd, heard, sizeof heard, 0);
    assert_true(n > 0);
    heard[n] = '\0';
    assert_string_equal(
        heard, "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n250 2.1.5 Ok\r\n354 End data with <CR><LF>.<CR><LF>\r\n");
    close(fd);
}

static void input_waits_behind_a_message_up_to_a_cap(void **state)
{
    (void)state;
    cfg.mail_max_pipelined = 1;
    start();
    int fd = greeted(true);
    say(fd, TO_RCPT "DATA\r\n");
    hear(fd);
    say(fd, MESSAGE ".\r\n");
    struct smtp_session *s = last_session();
    size_t sent = 0;
    for (ssize_t n = 6; n > 0; turn())
        sent += (n = send(fd, "NOOP\r\n", 6, MSG_NOSIGNAL)) > 0 ? 1 : 0;
    for (int i = 0; i < 50; i++)
        turn();
    assert_true(s->paused);
    assert_true(s->in.len <= SMTP_READ_BYTES + cfg.mail_max_command_bytes);
    assert_true(sent * 6 > s->in.len);
    assert_string_equal(hear(fd), "");
    resolve(0, ACK_STORED);
    size_t replies = 0;
    for (int i = 0; i < 100; i++)
        for (const char *p = hear(fd); (p = strchr(p, '\n')); p++)
            replies++;
    assert_int_equal(replies, sent + 1);
    assert_false(s->paused);
    close(fd);
}

static void a_peer_that_never_reads_costs_little(void **state)
{
    (void)state;
    start();
    int fd = greeted(true);
    struct smtp_session *s = last_session();
    size_t sent = 0;
    for (int quiet = 0; quiet < 50; turn())
        if (send(fd, "NOOP\r\n", 6, MSG_NOSIGNAL) == 6)
            sent++, quiet = 0;
        else
            quiet++;
    assert_true(s->out.len > 0 && s->out.len <= SMTP_REPLY_CAP);
    assert_true(s->in.len <= SMTP_READ_BYTES + cfg.mail_max_command_bytes);
    size_t replies = 0;
    for (int i = 0; i < 1000 && replies < sent; i++)
        for (const char *p = hear(fd); (p = strchr(p, '\n')); p++)
            replies++;
    assert_int_equal(replies, sent);
    close(fd);
}

static void half_closed_after_quit_is_served(void **state)
{
    (void)state;
    start();
    int fd = session(false);
    say(fd, "HELO c\r\n" TO_RCPT "DATA\r\n" MESSAGE ".\r\nQUIT\r\n");
    shutdown(fd, SHUT_WR);
    turn();
    assert_int_equal(front.n, 1);
    resolve(0, ACK_STORED);
    hear(fd);
    assert_non_null(strstr(heard, "250 2.0.0 Ok: id "));
    assert_non_null(strstr(heard, "221 2.0.0"));
    assert_non_null(strstr(buf_str(&front.got[0]->raw), " with SMTP id "));
    assert_true(closed(fd));
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(ehlo_offers),
        T(no_250_before_the_ack),
        T(refusals_of_the_front),
        T(dead_sessions_make_stale_acks),
        T(recipients),
        T(replies_to_faults),
        T(any_split_gives_the_same),
        T(one_write_for_a_group),
        T(input_waits_behind_a_message_up_to_a_cap),
        T(a_peer_that_never_reads_costs_little),
        T(half_closed_after_quit_is_served),
    };
    return cmocka_run_group_tests_name("smtp_session", tests, NULL, NULL);
}

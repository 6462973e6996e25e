/* The SMTP session inside TLS, byte for byte: records of any size, input that waits, a peer that does not read. */
#include "tests/unit/mail_smtp/smtp_tls_fixture.h"

/* Handshake and session byte by byte, both ways. */
static void a_byte_at_a_time(void **state)
{
    (void)state;
    start();
    int fd = session_tls(), pump[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pump), 0);
    SSL *ssl = SSL_new(client_ctx);
    SSL_set_fd(ssl, pump[0]);
    SSL_set_connect_state(ssl);
    static const char text[] = "EHLO client.example\r\n" TO_RCPT "DATA\r\n" MESSAGE ".\r\n";
    bool said = false;
    size_t n = 0, one;
    char c;
    for (int i = 0; i < 200000 && front.n == 0; i++) {
        if (!SSL_is_init_finished(ssl))
            SSL_do_handshake(ssl);
        else if (!said)
            said = SSL_write(ssl, text, sizeof text - 1) > 0;
        else if (SSL_read_ex(ssl, heard + n, sizeof heard - 1 - n, &one) == 1)
            n += one;
        ERR_clear_error();
        if (recv(pump[1], &c, 1, 0) == 1)
            assert_int_equal(send(fd, &c, 1, MSG_NOSIGNAL), 1);
        if (recv(fd, &c, 1, 0) == 1)
            assert_int_equal(send(pump[1], &c, 1, MSG_NOSIGNAL), 1);
        event_base_loop(base, EVLOOP_NONBLOCK);
    }
    assert_int_equal(front.n, 1);
    assert_string_equal(buf_str(&front.got[0]->raw) + front.got[0]->raw.len - strlen(MESSAGE), MESSAGE);
    SSL_free(ssl);
    close(pump[0]);
    close(pump[1]);
    close(fd);
}

/* What OpenSSL has read and we have not is not forgotten while a message waits and the input is at its cap. */
static void records_wait_behind_a_message(void **state)
{
    (void)state;
    cfg.mail_max_junk_commands = 100000;
    start();
    struct peer p = starttls();
    peer_expect(&p, "EHLO c\r\n", "250-");
    peer_expect(&p, TO_RCPT "DATA\r\n", "250");
    peer_say(&p, MESSAGE ".\r\n");
    assert_int_equal(front.n, 1);
    static char noops[16000]; /* one record */
    for (size_t i = 0; i + 6 <= sizeof noops - 1; i += 6)
        memcpy(noops + i, "NOOP\r\n", 6);
    noops[(sizeof noops - 1) / 6 * 6] = '\0';
    size_t said = 0, answers = 0;
    for (int i = 0; i < 100 && SSL_write(p.ssl, noops, (int)strlen(noops)) > 0; i++) {
        said += strlen(noops) / 6;
        turn();
    }
    ERR_clear_error();
    assert_true(said > 10000);
    resolve(0, ACK_STORED);
    for (int i = 0; i < 2000 && answers < said + 1; i++) {
        const char *got = peer_hear(&p);
        for (const char *at = got; (at = strstr(at, "\r\n")); at += 2)
            answers++;
    }
    assert_int_equal(answers, said + 1);
    peer_close(&p);
    assert_int_equal(srv->nsessions, 0);
}

/* A large mail, and answers that the peer does not read for a while. */
static void large_and_slow(void **state)
{
    (void)state;
    cfg.mail_max_message_bytes = 4000000;
    cfg.mail_max_junk_commands = 1000000;
    start();
    struct peer p = starttls();
    peer_expect(&p, "EHLO c\r\n", "250-");
    peer_expect(&p, TO_RCPT "DATA\r\n", "250");
    static char line[16001];
    memset(line, 'y', sizeof line - 1);
    for (size_t i = 78; i + 2 < sizeof line; i += 80)
        memcpy(line + i, "\r\n", 2);
    SSL_set_mode(p.ssl, SSL_MODE_ENABLE_PARTIAL_WRITE);
    size_t sent = 0;
    while (sent < 2000000) {
        int r = SSL_write(p.ssl, line, sizeof line - 1);
        ERR_clear_error();
        sent += r > 0 ? (size_t)r : 0;
        turn();
    }
    peer_say(&p, "\r\n.\r\n");
    assert_int_equal(front.n, 1);
    assert_true(front.got[0]->raw.len > sent);
    resolve(0, ACK_STORED);
    assert_true(str_starts(peer_hear(&p), "250 2.0.0"));
    int small = 4096;
    setsockopt(last_session()->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    static char vrfys[16000];
    for (size_t i = 0; i + 8 <= sizeof vrfys - 1; i += 8)
        memcpy(vrfys + i, "VRFY a\r\n", 8);
    size_t said = strlen(vrfys) / 8, answers = 0;
    SSL_write(p.ssl, vrfys, (int)strlen(vrfys));
    turn();
    assert_true(last_session()->out.len > 0);
    for (int i = 0; i < 2000 && answers < said; i++)
        for (const char *at = peer_hear(&p); (at = strstr(at, "252 2.5.0 ")); at++)
            answers++;
    assert_int_equal(answers, said);
    peer_close(&p);
}

/* A peer that renews its keys all the time gets its turn, not the loop. */
static void key_updates(void **state)
{
    (void)state;
    cfg.mail_max_junk_commands = 1000;
    start();
    struct peer p = starttls();
    peer_expect(&p, "EHLO c\r\n", "250-");
    for (int i = 0; i < 50; i++) {
        assert_int_equal(SSL_key_update(p.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        peer_expect(&p, "VRFY a\r\n", "252");
    }
    peer_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TLS_TEST(a_byte_at_a_time),
        TLS_TEST(records_wait_behind_a_message),
        TLS_TEST(large_and_slow),
        TLS_TEST(key_updates),
    };
    return cmocka_run_group_tests_name("smtp_tls_bytes", tests, NULL, NULL);
}

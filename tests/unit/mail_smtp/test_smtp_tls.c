/* The SMTP session and TLS: STARTTLS and TLS from the first byte, what is forgotten, what is refused, and what is no TLS at all. */
#include "tests/unit/mail_smtp/smtp_tls_fixture.h"

#define OFFERED                                                                                                                    \
    "250-mx.example.com\r\n250-PIPELINING\r\n250-SIZE 100000\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n"                                   \
    "250-LIMITS RCPTMAX=3\r\n250-STARTTLS\r\n250 ENHANCEDSTATUSCODES\r\n"

/* ---- the dialogue ---- */

static void starttls_and_a_mail(void **state)
{
    (void)state;
    start();
    int fd = session(false);
    hear(fd);
    expect(fd, "EHLO plain.example\r\n", OFFERED);
    expect(fd, TO_RCPT, "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n");
    int64_t before = metrics_get(M_SMTP_TLS_SESSIONS);
    expect(fd, "starttls\r\n", GO);
    struct peer p = secure(fd);
    assert_int_equal(metrics_get(M_SMTP_TLS_SESSIONS), before + 1);
    /* nothing of before is known: RFC 3207 4.2 */
    struct smtp_session *s = last_session();
    assert_int_equal(s->state, SMTP_START);
    assert_string_equal(s->helo, "");
    assert_null(s->env);
    assert_string_equal(peer_hear(&p), ""); /* no second greeting */
    peer_expect(&p, "MAIL FROM:<c@x.example>\r\n", "503 5.5.1");
    peer_expect(&p, "DATA\r\n", "503 5.5.1");
    peer_say(&p, "EHLO client.example\r\n");
    assert_null(strstr(peer_hear(&p), "STARTTLS"));
    peer_expect(&p, "STARTTLS\r\n", "503 5.5.1");
    peer_expect(&p, TO_RCPT "DATA\r\n", "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354");
    peer_say(&p, MESSAGE ".\r\n");
    assert_int_equal(front.n, 1);
    struct envelope *e = front.got[0];
    const char *raw = buf_str(&e->raw), *with = strstr(raw, "\tby mx.example.com with ESMTPS id ");
    assert_non_null(e->tls);
    assert_true(str_starts(e->tls, "TLSv1.3/TLS_"));
    assert_true(str_starts(raw, "Return-Path: <c@x.example>\r\nReceived: from client.example ([192.0.2.7])\r\n\t(using TLSv1.3/TLS_"));
    assert_non_null(with);
    assert_string_equal(raw + e->raw.len - strlen(MESSAGE), MESSAGE);
    resolve(0, ACK_STORED);
    assert_true(str_starts(peer_hear(&p), "250 2.0.0 Ok: id "));
    peer_expect(&p, "MAIL FROM:<\xc3\xa9@x.example> SMTPUTF8\r\nRCPT TO:<care@example.com>\r\nDATA\r\n", "250 2.1.0");
    peer_say(&p, MESSAGE ".\r\n");
    assert_non_null(strstr(buf_str(&front.got[1]->raw), "with UTF8SMTPS id "));
    resolve(1, ACK_STORED);
    peer_expect(&p, "QUIT\r\n", "250");
    assert_non_null(strstr(heard, "221 2.0.0"));
    assert_int_equal(SSL_get_shutdown(p.ssl) & SSL_RECEIVED_SHUTDOWN, SSL_RECEIVED_SHUTDOWN); /* close_notify */
    assert_int_equal(srv->nsessions, 0);
    peer_close(&p);
}

/* The answer that is owed is given in the clear, and before the handshake begins. */
static void starttls_waits_for_pipelined_mails(void **state)
{
    (void)state;
    start();
    int fd = greeted(false);
    say(fd, TO_RCPT "DATA\r\n");
    hear(fd);
    say(fd, MESSAGE ".\r\nSTARTTLS\r\n");
    assert_string_equal(hear(fd), "");
    assert_false(last_session()->shaking);
    resolve(0, ACK_STORED);
    assert_true(str_starts(hear(fd), "250 2.0.0 Ok: id ") && strstr(heard, "\r\n" GO));
    struct peer p = secure(fd);
    peer_expect(&p, "EHLO c\r\n", "250-mx.example.com");
    peer_close(&p);
    fd = greeted(false);
    say(fd, TO_RCPT "DATA\r\n");
    hear(fd);
    say(fd, MESSAGE ".\r\nSTARTTLS\r\nMAIL FROM:<evil@x.example>\r\n");
    resolve(1, ACK_STORED);
    assert_true(str_starts(hear(fd), "250 2.0.0 Ok: id ") && strstr(heard, "\r\n554 5.5.0 "));
    assert_true(closed(fd));
    close(fd);
}

/* A refusal that is delayed is not a peer that does not read. */
static void starttls_waits_for_a_delay(void **state)
{
    (void)state;
    cfg.mail_errors_before_delay = 0;
    cfg.mail_error_delay_us = CD_MSEC(60);
    start();
    int fd = greeted(false);
    say(fd, TO_RCPT "DATA\r\n");
    hear(fd);
    say(fd, MESSAGE ".\r\nSTARTTLS\r\n");
    resolve(0, ACK_REJECTED);
    assert_string_equal(hear(fd), "");
    run_ms(100);
    assert_true(str_starts(hear(fd), "554 5.6.0 ") && strstr(heard, "\r\n" GO));
    struct peer p = secure(fd);
    peer_expect(&p, "EHLO c\r\n", "250-mx.example.com");
    peer_close(&p);
}

static void from_the_first_byte(void **state)
{
    (void)state;
    start();
    int fd = session_tls();
    assert_string_equal(hear(fd), ""); /* nothing in the clear */
    assert_null(last_session()->tls);  /* and no TLS object before the first byte */
    struct peer p = secure(fd);
    assert_string_equal(peer_hear(&p), "220 mx.example.com ESMTP complaintd\r\n");
    peer_say(&p, "EHLO client.example\r\n");
    assert_null(strstr(peer_hear(&p), "STARTTLS"));
    peer_expect(&p, "STARTTLS\r\n", "503 5.5.1");
    /* HELO: RFC 3848 has no word for it inside TLS; the comment says it */
    peer_expect(&p, "HELO client.example\r\n", "250");
    peer_expect(&p, TO_RCPT "DATA\r\n", "250");
    peer_say(&p, MESSAGE ".\r\n");
    assert_non_null(strstr(buf_str(&front.got[0]->raw), "with SMTP id "));
    assert_non_null(strstr(buf_str(&front.got[0]->raw), "\t(using TLSv1."));
    resolve(0, ACK_STORED);
    assert_true(str_starts(peer_hear(&p), "250 2.0.0"));
    peer_close(&p);
    assert_int_equal(srv->nsessions, 0);
}

static void when_it_is_not_there(void **state)
{
    (void)state;
    start();
    int fd = session(false);
    hear(fd);
    expect_start(fd, "STARTTLS\r\n", "503 5.5.1"); /* EHLO first */
    expect_start(fd, "EHLO c\r\n", "250-");
    expect_start(fd, "STARTTLS now\r\n", "501 5.5.4");
    /* configured, but no file could be read */
    host.tls = NULL;
    expect_start(fd, "STARTTLS\r\n", "454 4.7.0");
    say(fd, "EHLO c\r\n");
    assert_null(strstr(hear(fd), "STARTTLS"));
    /* not configured */
    cfg.ncertificates = 0;
    expect_start(fd, "STARTTLS\r\n", "502 5.5.1");
    close(fd);
}

static void required(void **state)
{
    (void)state;
    cfg.mail_require_tls = true;
    start();
    int fd = greeted(false);
    expect_start(fd, "MAIL FROM:<c@x.example>\r\n", "530 5.7.0");
    expect_start(fd, "NOOP\r\n", "250");
    expect(fd, "STARTTLS\r\n", GO);
    struct peer p = secure(fd);
    peer_expect(&p, "EHLO c\r\n", "250-");
    peer_expect(&p, "MAIL FROM:<c@x.example>\r\n", "250 2.1.0");
    peer_close(&p);
}

static void old_versions_are_refused(void **state)
{
    (void)state;
    start();
    int64_t before = metrics_get(M_SMTP_TLS_FAILED);
    SSL_CTX_set_security_level(client_ctx, 0);
    SSL_CTX_set_min_proto_version(client_ctx, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(client_ctx, TLS1_1_VERSION);
    int fd = session_tls();
    SSL *ssl = SSL_new(client_ctx);
    SSL_set_fd(ssl, fd);
    assert_true(SSL_connect(ssl) <= 0);
    turn();
    assert_true(SSL_connect(ssl) <= 0);
    ERR_clear_error();
    assert_int_equal(metrics_get(M_SMTP_TLS_FAILED), before + 1);
    assert_int_equal(srv->nsessions, 0);
    SSL_free(ssl);
    close(fd);
    SSL_CTX_set_max_proto_version(client_ctx, TLS1_2_VERSION);
    struct peer p = starttls();
    assert_int_equal(SSL_version(p.ssl), TLS1_2_VERSION);
    /* no renegotiation, no tickets */
    assert_int_equal(SSL_renegotiate(p.ssl), 1);
    assert_true(SSL_do_handshake(p.ssl) <= 0);
    turn();
    assert_true(SSL_do_handshake(p.ssl) <= 0);
    ERR_clear_error();
    assert_false(SSL_SESSION_has_ticket(SSL_get_session(p.ssl)));
    peer_close(&p);
}

/* One small packet of the client would cost us a hundred times what it costs the client (CVE-2002-20001). */
static void costly_key_exchange_is_refused(void **state)
{
    (void)state;
    static const struct {
        int version;
        const char *groups, *ciphers;
    } cases[] = {
        {TLS1_3_VERSION, "ffdhe8192", "HIGH"},
        {TLS1_3_VERSION, "ffdhe2048", "HIGH"},
        {TLS1_2_VERSION, "X25519", "kDHE"},
    };
    struct made m = cert_make("RSA", "mx.example.com", NULL, -DAY_S, DAY_S);
    pem_put("a.pem", &m.cert, 1, m.key, NULL);
    made_free(&m);
    tls_reload(certs);
    start();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t before = metrics_get(M_SMTP_TLS_FAILED);
        SSL_CTX_set_min_proto_version(client_ctx, cases[i].version);
        SSL_CTX_set_max_proto_version(client_ctx, cases[i].version);
        assert_int_equal(SSL_CTX_set1_groups_list(client_ctx, cases[i].groups), 1);
        assert_int_equal(SSL_CTX_set_cipher_list(client_ctx, cases[i].ciphers), 1);
        int fd = session_tls();
        SSL *ssl = SSL_new(client_ctx);
        SSL_set_fd(ssl, fd);
        for (int k = 0; k < 5; k++) {
            assert_true(SSL_connect(ssl) <= 0);
            turn();
        }
        ERR_clear_error();
        assert_int_equal(metrics_get(M_SMTP_TLS_FAILED), before + 1);
        assert_int_equal(srv->nsessions, 0);
        SSL_free(ssl);
        close(fd);
    }
    SSL_CTX_set_min_proto_version(client_ctx, TLS1_2_VERSION);
    SSL_CTX_set_max_proto_version(client_ctx, 0);
    static const char *const curves[] = {"X25519", "P-256", "P-384", "P-521", "X448"};
    for (size_t i = 0; i < ARRAY_LEN(curves); i++) {
        assert_int_equal(SSL_CTX_set1_groups_list(client_ctx, curves[i]), 1);
        struct peer p = starttls();
        peer_expect(&p, "EHLO c\r\n", "250-");
        peer_close(&p);
    }
}

/* ---- what is not TLS ---- */

static void plain_text_where_tls_is_due(void **state)
{
    (void)state;
    start();
    static const char *const texts[] = {"EHLO client.example\r\n", "GET / HTTP/1.0\r\n\r\n", "\x80\x2e\x01\x03\x01", "\x16\x03\x01\xff\xff\x01"};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        int64_t before = metrics_get(M_SMTP_TLS_FAILED);
        int fd = session_tls();
        say(fd, texts[i]);
        if (i == 2) /* the greeting of SSL 2 is read to its end */
            say(fd, "0123456789012345678901234567890123456789012345678901234567890123456789");
        assert_true(closed(fd));
        assert_int_equal(metrics_get(M_SMTP_TLS_FAILED), before + 1);
        close(fd);
    }
    /* a peer that goes */
    int64_t before = metrics_get(M_SMTP_TLS_FAILED);
    int fd = session_tls();
    close(fd);
    turn();
    assert_int_equal(metrics_get(M_SMTP_TLS_FAILED), before + 1);
    assert_int_equal(srv->nsessions, 0);
}

/* Reliability test 27: whatever stands behind STARTTLS, cut anywhere, nothing of it is carried out. */
static void test_27_injection(void **state)
{
    (void)state;
    cfg.mail_max_errors = 1000;
    start();
    static const char *const behind[] = {
        "\n", " ", "x", "\r\n", "NOOP\r\n", "EHLO evil.example\r\n" TO_RCPT "DATA\r\n" MESSAGE ".\r\n", "RSET\r\nEHLO evil.example\r\n",
        "QUIT\r\n", "STARTTLS\r\n", "\x16\x03\x01", "a000 LOGIN\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(behind); i++) {
        CD_CLEANUP_FREE char *all = cd_asprintf("EHLO c.example\r\nSTARTTLS\r\n%s", behind[i]);
        size_t n = strlen(all), line = n - strlen(behind[i]);
        for (size_t at = 0; at <= n; at++) {
            int64_t injections = metrics_get(M_SMTP_TLS_INJECTIONS), failed = metrics_get(M_SMTP_TLS_FAILED);
            int fd = session(false);
            say_bytes(fd, all, at);
            const char *so_far = hear(fd);
            bool granted = strstr(so_far, GO) != NULL;
            assert_int_equal(granted, at == line);
            if (granted) { /* it was in time, so it is taken for a handshake */
                say_bytes(fd, all + at, n - at);
                shutdown(fd, SHUT_WR);
                assert_true(closed(fd));
                assert_null(strstr(heard, "250"));
                assert_int_equal(metrics_get(M_SMTP_TLS_FAILED), failed + 1);
            } else {
                CD_CLEANUP_FREE char *first = cd_strdup(so_far);
                if (send(fd, all + at, n - at, MSG_NOSIGNAL) < 0)
                    assert_true(at > line);
                assert_true(closed(fd));
                CD_CLEANUP_FREE char *whole = cd_asprintf("%s%s", first, heard);
                const char *no = strstr(whole, "554 5.5.0 ");
                assert_non_null(no);
                assert_string_equal(strstr(no, "\r\n"), "\r\n"); /* the last word */
                assert_null(strstr(whole, GO));
                assert_int_equal(metrics_get(M_SMTP_TLS_INJECTIONS), injections + 1);
            }
            assert_int_equal(front.n, 0);
            assert_int_equal(srv->nsessions, 0);
            close(fd);
        }
    }
}

static void test_21_handshake_deadline(void **state)
{
    (void)state;
    cfg.mail_tls_handshake_timeout_us = CD_MSEC(150);
    start();
    int64_t timeouts = metrics_get(M_SMTP_TLS_TIMEOUT), all = metrics_get(M_SMTP_TIMEOUT);
    int silent = session_tls(), slow = session_tls(), asked = greeted(false);
    expect(asked, "STARTTLS\r\n", GO);
    struct peer fine = starttls();
    /* a byte now and then does not help: it is absolute */
    static const char hello[] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    int64_t end = clock_mono_us() + CD_SEC(20);
    for (size_t i = 0; srv->nsessions > 1 && clock_mono_us() < end; i++) {
        ssize_t r = send(slow, hello + i % (sizeof hello - 1), i < sizeof hello - 1, MSG_NOSIGNAL);
        (void)r;
        run_ms(20);
    }
    assert_int_equal(srv->nsessions, 1);
    assert_int_equal(metrics_get(M_SMTP_TLS_TIMEOUT), timeouts + 3);
    assert_int_equal(metrics_get(M_SMTP_TIMEOUT), all + 3);
    assert_true(closed(silent) && closed(slow) && closed(asked));
    peer_expect(&fine, "NOOP\r\n", "250"); /* not its deadline any more */
    close(silent);
    close(slow);
    close(asked);
    peer_close(&fine);
}

static void draining_ends_handshakes(void **state)
{
    (void)state;
    start();
    int fd = session_tls(), asked = greeted(false);
    expect(asked, "STARTTLS\r\n", GO);
    struct peer p = starttls();
    smtp_server_drain(srv);
    assert_string_equal(hear(fd), "");
    assert_string_equal(hear(asked), "");
    assert_true(str_starts(peer_hear(&p), "421 4.3.2"));
    assert_true(smtp_server_idle(srv));
    close(fd);
    close(asked);
    peer_close(&p);
}

/* The context changes under a live session. */
static void a_new_context(void **state)
{
    (void)state;
    start();
    int waiting = session_tls();
    struct peer old = starttls();
    X509 *first = SSL_get1_peer_certificate(old.ssl);
    struct made m = cert_make("EC", "second", NULL, -DAY_S, DAY_S);
    pem_put("a.pem", &m.cert, 1, m.key, NULL);
    tls_reload(certs);
    struct peer new = secure(waiting); /* connected before, shakes hands after */
    X509 *second = SSL_get1_peer_certificate(new.ssl);
    assert_int_equal(X509_cmp(second, m.cert), 0);
    assert_int_not_equal(X509_cmp(first, second), 0);
    peer_expect(&old, "NOOP\r\n", "250");
    peer_hear(&new);
    peer_expect(&new, "NOOP\r\n", "250");
    X509_free(first);
    X509_free(second);
    made_free(&m);
    peer_close(&old);
    peer_close(&new);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TLS_TEST(starttls_and_a_mail),
        TLS_TEST(starttls_waits_for_pipelined_mails),
        TLS_TEST(starttls_waits_for_a_delay),
        TLS_TEST(from_the_first_byte),
        TLS_TEST(when_it_is_not_there),
        TLS_TEST(required),
        TLS_TEST(old_versions_are_refused),
        TLS_TEST(costly_key_exchange_is_refused),
        TLS_TEST(plain_text_where_tls_is_due),
        TLS_TEST(test_27_injection),
        TLS_TEST(test_21_handshake_deadline),
        TLS_TEST(draining_ends_handshakes),
        TLS_TEST(a_new_context),
    };
    return cmocka_run_group_tests_name("smtp_tls", tests, NULL, NULL);
}

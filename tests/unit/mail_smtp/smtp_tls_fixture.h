#pragma once
/* The SMTP fixture with a certificate, and clients that speak TLS over the socket pair. For one test program each. */
#include "tests/unit/mail_smtp/smtp_fixture.h"

#include <openssl/err.h>
#include <signal.h>

#include "daemon/net/tls.h"
#include "tests/unit/net/make_cert.h"

static struct tls *certs;
static struct cfg_certificate pair;
static SSL_CTX *client_ctx;

CD_UNUSED static int setup_tls(void **state)
{
    int r = setup(state);
    signal(SIGPIPE, SIG_IGN);
    certs_begin();
    struct made m = cert_make("EC", "mx.example.com", NULL, -DAY_S, DAY_S);
    pem_put("a.pem", &m.cert, 1, m.key, NULL);
    made_free(&m);
    pair = (struct cfg_certificate){.certificate = cert_path("a.pem"), .key = (char *)""};
    cfg.certificates = &pair;
    cfg.ncertificates = 1;
    cfg.tls_min_version = TLS1_2_VERSION;
    cfg.tls_poll_us = CD_SEC(60);
    certs = tls_new(base, &cfg);
    host.tls = certs;
    client_ctx = SSL_CTX_new(TLS_client_method());
    return r;
}

CD_UNUSED static int teardown_tls(void **state)
{
    stop();
    tls_free(&certs);
    SSL_CTX_free(client_ctx);
    free(pair.certificate);
    certs_end();
    return teardown(state);
}

/* ---- a client ---- */

struct peer {
    int fd;
    SSL *ssl;
};

CD_UNUSED static int session_tls(void)
{
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
    smtp_session_new(srv, fd[0], &(struct smtp_client){.text = "192.0.2.7", .tls = true});
    return fd[1];
}

CD_UNUSED static struct peer secure(int fd)
{
    struct peer p = {fd, SSL_new(client_ctx)};
    SSL_set_fd(p.ssl, fd);
    SSL_set_connect_state(p.ssl);
    for (int i = 0; i < 50 && SSL_do_handshake(p.ssl) != 1; i++)
        turn();
    assert_true(SSL_is_init_finished(p.ssl));
    turn();
    return p;
}

CD_UNUSED static void peer_say(struct peer *p, const char *text)
{
    assert_int_equal(SSL_write(p->ssl, text, (int)strlen(text)), (int)strlen(text));
    turn();
}

CD_UNUSED static const char *peer_hear(struct peer *p)
{
    size_t n = 0, one;
    for (int i = 0; i < 4; i++) {
        while (SSL_read_ex(p->ssl, heard + n, sizeof heard - 1 - n, &one) == 1)
            n += one;
        turn();
    }
    ERR_clear_error();
    heard[n] = '\0';
    return heard;
}

CD_UNUSED static void peer_expect(struct peer *p, const char *text, const char *answer)
{
    peer_say(p, text);
    if (strncmp(peer_hear(p), answer, strlen(answer)) != 0)
        fail_msg("said %s, wanted %s, heard %s", text, answer, heard);
}

CD_UNUSED static void peer_close(struct peer *p)
{
    SSL_free(p->ssl);
    close(p->fd);
    turn();
}

#define GO "220 2.0.0 Ready to start TLS\r\n"

CD_UNUSED static struct peer starttls(void)
{
    int fd = greeted(false);
    expect(fd, "STARTTLS\r\n", GO);
    return secure(fd);
}

#define TLS_TEST(f) cmocka_unit_test_setup_teardown(f, setup_tls, teardown_tls)

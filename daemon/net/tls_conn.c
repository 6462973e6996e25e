/* See tls_conn.h. OpenSSL's error queue is one for the thread: it is empty before each call, and emptied after each that failed. */
#include "daemon/net/tls_conn.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>

struct tls_conn {
    SSL *ssl;
    bool established;
    bool ended;  /* the peer sends nothing more */
    bool broken; /* not one call more */
    bool read_wants_write;
    const char *error;
};

struct tls_conn *tls_conn_new(const struct tls *t, int fd)
{
    SSL_CTX *ctx = tls_context(t);
    SSL *ssl = ctx ? SSL_new(ctx) : NULL;
    if (!ssl || !SSL_set_fd(ssl, fd)) {
        SSL_free(ssl);
        ERR_clear_error();
        return NULL;
    }
    SSL_set_accept_state(ssl);
    struct tls_conn *c = cd_alloc(sizeof *c);
    c->ssl = ssl;
    return c;
}

/* After a call that did not succeed: 0 the end, -1 with errno. */
static int failure(struct tls_conn *c, int ret, bool reading)
{
    int e = SSL_get_error(c->ssl, ret);
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    ERR_clear_error();
    if (reading)
        c->read_wants_write = e == SSL_ERROR_WANT_WRITE;
    if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE) {
        errno = EAGAIN;
        return -1;
    }
    if (e == SSL_ERROR_ZERO_RETURN) {
        c->ended = true;
        c->error = "the peer closed";
        return 0;
    }
    c->broken = true;
    c->error = reason ? reason : "the peer is gone";
    errno = EIO;
    return -1;
}

enum tls_step tls_conn_handshake(struct tls_conn *c)
{
    ERR_clear_error();
    int r = SSL_do_handshake(c->ssl);
    if (r == 1) {
        c->established = true;
        return TLS_STEP_DONE;
    }
    if (failure(c, r, true) == 0 || errno != EAGAIN)
        return TLS_STEP_FAILED;
    return c->read_wants_write ? TLS_STEP_WRITE : TLS_STEP_READ;
}

const char *tls_conn_error(const struct tls_conn *c)
{
    return c->error ? c->error : "";
}

ssize_t tls_conn_recv(struct tls_conn *c, void *p, size_t n)
{
    size_t got = 0, one;
    while (got < n && !c->ended && !c->broken) {
        ERR_clear_error();
        int r = SSL_read_ex(c->ssl, (char *)p + got, n - got, &one); /* a record at most */
        if (r != 1) {
            int f = failure(c, r, true);
            return got ? (ssize_t)got : f; /* what ended or broke shows at the next call */
        }
        got += one;
    }
    if (got || c->ended)
        return (ssize_t)got;
    errno = EIO;
    return -1;
}

ssize_t tls_conn_send(struct tls_conn *c, const void *p, size_t n)
{
    size_t sent = 0, one;
    if (!c->established || c->broken) {
        errno = EIO;
        return -1;
    }
    while (sent < n) {
        ERR_clear_error();
        int r = SSL_write_ex(c->ssl, (const char *)p + sent, n - sent, &one);
        if (r != 1) {
            if (failure(c, r, false) == 0) {
                errno = EIO;
                return -1;
            }
            return sent && errno == EAGAIN ? (ssize_t)sent : -1;
        }
        sent += one;
    }
    return (ssize_t)sent;
}

bool tls_conn_wants_write(const struct tls_conn *c)
{
    return c->read_wants_write;
}

bool tls_conn_pending(const struct tls_conn *c)
{
    return c->ended || c->broken || SSL_pending(c->ssl) > 0;
}

void tls_conn_describe(const struct tls_conn *c, char *text, size_t size)
{
    snprintf(text, size, "%s/%s", SSL_get_version(c->ssl), SSL_get_cipher_name(c->ssl));
}

void tls_conn_free(struct tls_conn **pc)
{
    struct tls_conn *c = *pc;
    if (!c)
        return;
    ERR_clear_error();
    if (c->established && !c->broken)
        SSL_shutdown(c->ssl); /* one record, if the socket takes it; nobody waits for the answer */
    ERR_clear_error();
    SSL_free(c->ssl);
    free(c);
    *pc = NULL;
}

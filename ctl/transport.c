/* See transport.h. The server's certificate is always checked, name and signer: there is no way around it, as the token goes through
 * here. Owns the socket and the TLS state; faults are told on standard error, once. */
#include "ctl/transport.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

struct transport {
    int fd;
    SSL_CTX *ctx;
    SSL *ssl; /* NULL: in the clear */
};

static void complain(const struct address *a, const char *why)
{
    if (a->path) {
        fprintf(stderr, "complaintctl: cannot connect to %s: %s\n", a->path, why);
        fprintf(stderr, "  is complaintd running, and does its line.listen name this socket? (--socket PATH, "
                        "--config FILE)\n");
    } else {
        fprintf(stderr, "complaintctl: cannot connect to %s port %s: %s\n", a->host, a->port, why);
    }
}

/* ---- the socket ---- */

static int connect_fd(int family, const struct sockaddr *sa, socklen_t len, int timeout_s)
{
    const struct timeval wait = {timeout_s, 0};
    int on = 1, fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    if (family != AF_UNIX)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, sa, len) == 0)
        return fd;
    int e = errno;
    close(fd);
    errno = e;
    return -1;
}

static int connect_unix(const struct address *a, int timeout_s)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    if (strlen(a->path) >= sizeof sun.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(sun.sun_path, a->path, strlen(a->path) + 1);
    return connect_fd(AF_UNIX, (const struct sockaddr *)&sun, sizeof sun, timeout_s);
}

static int connect_tcp(const struct address *a, int timeout_s, const char **why)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *all = NULL;
    int fd = -1, r = getaddrinfo(a->host, a->port, &hints, &all);
    if (r != 0) {
        *why = gai_strerror(r);
        return -1;
    }
    for (struct addrinfo *one = all; one && fd < 0; one = one->ai_next)
        fd = connect_fd(one->ai_family, one->ai_addr, one->ai_addrlen, timeout_s);
    freeaddrinfo(all);
    return fd;
}

/* ---- TLS ---- */

static bool is_address(const char *host)
{
    uint8_t b[16];
    return inet_pton(AF_INET, host, b) == 1 || inet_pton(AF_INET6, host, b) == 1;
}

static bool tls_setup(struct transport *t, const struct address *a)
{
    const char *name = a->tls_name ? a->tls_name : a->host;
    t->ctx = SSL_CTX_new(TLS_client_method());
    if (!t->ctx || !SSL_CTX_set_min_proto_version(t->ctx, TLS1_2_VERSION))
        return false;
    SSL_CTX_set_verify(t->ctx, SSL_VERIFY_PEER, NULL);
    if (a->ca_file ? !SSL_CTX_load_verify_file(t->ctx, a->ca_file) : !SSL_CTX_set_default_verify_paths(t->ctx))
        return false;
    t->ssl = SSL_new(t->ctx);
    if (!t->ssl || !SSL_set_fd(t->ssl, t->fd))
        return false;
    X509_VERIFY_PARAM *p = SSL_get0_param(t->ssl);
    if (is_address(name))
        return X509_VERIFY_PARAM_set1_ip_asc(p, name) == 1;
    return SSL_set_tlsext_host_name(t->ssl, name) == 1 && X509_VERIFY_PARAM_set1_host(p, name, 0) == 1;
}

bool transport_secure(struct transport *t, const struct address *a)
{
    ERR_clear_error();
    if (tls_setup(t, a) && SSL_connect(t->ssl) == 1)
        return true;
    long verdict = t->ssl ? SSL_get_verify_result(t->ssl) : X509_V_OK;
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    complain(a, verdict != X509_V_OK ? X509_verify_cert_error_string(verdict) : reason ? reason : "no TLS came about");
    ERR_clear_error();
    return false;
}

/* ---- bytes ---- */

bool transport_send(struct transport *t, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t r;
        if (t->ssl) {
            ERR_clear_error();
            r = SSL_write(t->ssl, p, (int)CD_MIN(n, CD_MIB(1)));
        } else {
            r = send(t->fd, p, n, MSG_NOSIGNAL);
            if (r < 0 && errno == EINTR)
                continue;
        }
        if (r <= 0)
            return false;
        p += r;
        n -= (size_t)r;
    }
    return true;
}

ssize_t transport_recv(struct transport *t, void *p, size_t n)
{
    ssize_t r;
    if (t->ssl) {
        ERR_clear_error();
        return SSL_read(t->ssl, p, (int)CD_MIN(n, CD_MIB(1)));
    }
    do
        r = recv(t->fd, p, n, 0);
    while (r < 0 && errno == EINTR);
    return r;
}

/* ---- life ---- */

struct transport *transport_open(const struct address *a, int timeout_s)
{
    const char *why = NULL;
    int fd = a->path ? connect_unix(a, timeout_s) : connect_tcp(a, timeout_s, &why);
    if (fd < 0) {
        complain(a, why ? why : strerror(errno));
        return NULL;
    }
    struct transport *t = cd_alloc(sizeof *t);
    t->fd = fd;
    if (a->tls == ADDRESS_TLS && !transport_secure(t, a))
        transport_close(&t);
    return t;
}

void transport_close(struct transport **pt)
{
    struct transport *t = *pt;
    if (!t)
        return;
    if (t->ssl && SSL_is_init_finished(t->ssl))
        (void)SSL_shutdown(t->ssl);
    ERR_clear_error();
    SSL_free(t->ssl);
    SSL_CTX_free(t->ctx);
    close(t->fd);
    free(t);
    *pt = NULL;
}

/* TLS towards the relay. libesmtp sends no server name and checks the name that DNS made of ours, so both are
 * done here, inside the handshake. TLS 1.3 stays off: its session tickets make libesmtp wait for an answer to
 * what it has not sent yet. A context of our own each session, because the library frees its own one too
 * early. The caller frees the context. */
#include "channels/mail/esmtp_tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/socket.h>

static bool is_address(const char *host)
{
    uint8_t a[16];

    return inet_pton(AF_INET, host, a) == 1 || inet_pton(AF_INET6, host, a) == 1;
}

static void on_info(const SSL *ssl, int where, int ret)
{
    (void)ret;
    if (!(where & SSL_CB_HANDSHAKE_START))
        return;
    const struct esmtp_tls *tls = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    if (*tls->injected) /* not one command more to somebody who speaks between us and the relay */
        shutdown(SSL_get_fd(ssl), SHUT_RDWR);
    if (!is_address(tls->relay->host))
        SSL_set_tlsext_host_name((SSL *)(uintptr_t)ssl,
                                 tls->relay->host); /* allowed here: nothing is sent yet */
}

SSL_CTX *esmtp_tls_context(struct esmtp_tls *tls, char *error, size_t size)
{
    const struct relay *r = tls->relay;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

    if (!ctx)
        goto fail;
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    if (r->ca_file[0] ? !SSL_CTX_load_verify_file(ctx, r->ca_file) : !SSL_CTX_set_default_verify_paths(ctx))
        goto fail;
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(ctx);
    if (is_address(r->host) ? !X509_VERIFY_PARAM_set1_ip_asc(param, r->host)
                            : !X509_VERIFY_PARAM_set1_host(param, r->host, 0))
        goto fail;
    SSL_CTX_set_app_data(ctx, tls);
    SSL_CTX_set_info_callback(ctx, on_info);
    return ctx;
fail:
    snprintf(error, size, "TLS cannot be set up: %s", ERR_reason_error_string(ERR_peek_last_error()));
    ERR_clear_error();
    SSL_CTX_free(ctx);
    return NULL;
}

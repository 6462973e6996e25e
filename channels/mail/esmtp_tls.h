#pragma once
/* Private to channels/mail, in the mail worker: the TLS context for one libesmtp session. */
#include <openssl/ssl.h>

#include "channels/mail/out_wire.h"

/* Seen by the handshake; must outlive the context. */
struct esmtp_tls {
    const struct relay *relay;
    const bool *injected; /* set: the handshake cuts the connection */
};
/* A new context: certificate and host name verified, server name sent, TLS 1.2. NULL: `error` says why. Free
 * it with SSL_CTX_free() after the session. */
SSL_CTX *esmtp_tls_context(struct esmtp_tls *tls, char *error, size_t size);

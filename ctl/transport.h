#pragma once
/* How complaintctl reaches the daemon: a unix socket, or TCP in the clear or in TLS. Blocking. */
#include <sys/types.h>

#include "daemon/core/base.h"

enum address_tls { ADDRESS_CLEAR, ADDRESS_TLS, ADDRESS_STARTTLS };
struct address {
    const char *path;       /* unix socket; NULL: TCP */
    const char *host, *port;
    enum address_tls tls;
    const char *ca_file;    /* who may have signed the server's certificate; NULL: whom this system trusts */
    const char *tls_name;   /* that the certificate must carry; NULL: the host */
};

struct transport;
/* NULL with the reason on standard error. `timeout_s`: how long nothing may come or go. With ADDRESS_STARTTLS it is in the clear until
 * transport_secure(). */
struct transport *transport_open(const struct address *a, int timeout_s);
/* The handshake. False with the reason on standard error: the server is not who it should be, or speaks no TLS. */
bool transport_secure(struct transport *t, const struct address *a);
bool transport_send(struct transport *t, const char *p, size_t n);
ssize_t transport_recv(struct transport *t, void *p, size_t n); /* 0 at the end, -1 on a fault or when the time is over */
void transport_close(struct transport **t);

#pragma once
/* The certificates of the configuration as one context for TLS servers, kept fresh: files are read again when they change and on
 * request. A new context is built whole beside the old one and takes its place by one pointer; sessions keep the one they began with.
 * What cannot be used (a key that is not the certificate's, a file cut off, expired) leaves the old one where it is, with a log line,
 * a counter and the certificate's gauge. One thread, one loop. */
#include <event2/event.h>
#include <openssl/ssl.h>

#include "config/config.h"

struct tls;

/* Reads the certificates of `c` and watches their files from `base`. Never NULL: with nothing to show yet it goes on looking. */
struct tls *tls_new(struct event_base *base, const struct config *c);
/* All files again, now (SIGHUP). NULL is ignored. */
void tls_reload(struct tls *t);
/* The current context, borrowed: SSL_new() takes a reference of its own. NULL: there is none. `t` may be NULL. */
SSL_CTX *tls_context(const struct tls *t);
void tls_free(struct tls **t);

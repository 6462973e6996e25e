#pragma once
/* TLS on top of a connected, non-blocking socket, server side. The socket stays its owner's; events too: this only reads and writes
 * when told to. Errors of the peer are return values. The process ignores SIGPIPE. */
#include <sys/types.h>

#include "daemon/net/tls.h"

struct tls_conn;

/* NULL when there is no certificate to show, or no memory. */
struct tls_conn *tls_conn_new(const struct tls *t, int fd) CD_MUSTUSE;
enum tls_step { TLS_STEP_DONE, TLS_STEP_READ /* when the socket can be read */, TLS_STEP_WRITE, TLS_STEP_FAILED };
enum tls_step tls_conn_handshake(struct tls_conn *c) CD_MUSTUSE;
/* Why the handshake failed; static or the library's. */
const char *tls_conn_error(const struct tls_conn *c);
/* As recv(2) and send(2) on a non-blocking socket: bytes, 0 at the end, -1 with errno (EAGAIN, EIO). What send did not take must be
 * sent again before anything else. After EAGAIN of recv, tls_conn_wants_write() says that it waits for the socket to be writable. */
ssize_t tls_conn_recv(struct tls_conn *c, void *p, size_t n) CD_MUSTUSE;
ssize_t tls_conn_send(struct tls_conn *c, const void *p, size_t n) CD_MUSTUSE;
bool tls_conn_wants_write(const struct tls_conn *c);
/* recv would give something although the socket may not become readable. */
bool tls_conn_pending(const struct tls_conn *c);
/* "TLSv1.3/TLS_AES_256_GCM_SHA384" */
void tls_conn_describe(const struct tls_conn *c, char *text, size_t size);
/* Says goodbye (close_notify) when it still can, and frees. */
void tls_conn_free(struct tls_conn **c);

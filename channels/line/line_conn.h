#pragma once
/* The bytes of one connection, in the clear or in TLS: an input and an output buffer, and the events that fill and empty them. Inside
 * channels/line only. */
#include <event2/buffer.h>
#include <event2/event.h>

#include "daemon/core/base.h"
#include "daemon/net/tls_conn.h"

#define LINE_INPUT_BYTES CD_KIB(64) /* not yet taken, before the socket is left unread */

struct line_conn_events {
    void (*input)(void *arg);         /* there is more in `in` */
    void (*drained)(void *arg);       /* `out` has become empty */
    void (*secured)(void *arg);       /* the handshake is done */
    void (*ended)(void *arg, const char *error); /* NULL: the peer has sent its last byte; otherwise nothing more goes either way */
};

struct line_conn {
    int fd;
    struct evbuffer *in, *out;
    struct event *read_ev, *write_ev;
    const struct tls *certificates;
    struct tls_conn *tls;
    bool shaking; /* a handshake is under way: no byte of ours or theirs counts */
    bool reading, eof;
    uint64_t sent; /* bytes that the socket has taken */
    const struct line_conn_events *on;
    void *arg;
};

/* Takes the socket. The callbacks may free what holds the connection; each is the last thing that happens to it. */
int line_conn_init(struct line_conn *c, struct event_base *base, int fd, const struct line_conn_events *on, void *arg) CD_MUSTUSE;
void line_conn_free(struct line_conn *c);
void line_conn_read(struct line_conn *c, bool on);
/* Something was added to `out`. It leaves in the next turn of the loop, together with what else is added until then. */
void line_conn_written(struct line_conn *c);
/* TLS, once `out` is empty: whatever has been read in the clear is for the caller to have looked at. */
void line_conn_secure(struct line_conn *c, const struct tls *certificates);
/* Bytes that the peer has sent and nobody has read, in our buffer or the kernel's. */
bool line_conn_something_behind(const struct line_conn *c);

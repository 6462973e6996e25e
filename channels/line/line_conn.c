/* See line_conn.h. One read and one write an event, so that no peer keeps the loop; in TLS what the library holds back is asked for
 * again in the next turn. Owns socket, buffers, events and the TLS state. What a peer does wrong ends its connection, nothing more. */
#include "channels/line/line_conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/core/err.h"

static void ended(struct line_conn *c, const char *error)
{
    event_del(c->read_ev);
    if (error)
        event_del(c->write_ev);
    c->eof = true;
    c->on->ended(c->arg, error);
}

/* ---- TLS ---- */

/* We say nothing after the handshake's last flight, so a peer with Nagle's algorithm would hold its first line back for as long as the
 * kernel delays the acknowledgement. */
static void acknowledge_now(const struct line_conn *c)
{
    const int on = 1;
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
}

/* The library may hold bytes that the socket will not announce. */
static void read_more(struct line_conn *c)
{
    if (!c->tls || c->shaking || !c->reading || c->eof)
        return;
    if (tls_conn_wants_write(c->tls))
        event_add(c->write_ev, NULL);
    else if (tls_conn_pending(c->tls))
        event_active(c->read_ev, EV_READ, 1);
}

static void handshake(struct line_conn *c)
{
    if (!c->tls)
        c->tls = tls_conn_new(c->certificates, c->fd);
    if (!c->tls) {
        ended(c, "no certificate, or no memory");
        return;
    }
    switch (tls_conn_handshake(c->tls)) {
    case TLS_STEP_DONE:
        c->shaking = false;
        acknowledge_now(c);
        event_active(c->read_ev, EV_READ, 1); /* what came along with the last flight; in a turn of its own, as `secured` may free us */
        c->on->secured(c->arg);
        return;
    case TLS_STEP_READ:
        return;
    case TLS_STEP_WRITE:
        event_add(c->write_ev, NULL);
        return;
    default:
        ended(c, tls_conn_error(c->tls));
    }
}

void line_conn_secure(struct line_conn *c, const struct tls *certificates)
{
    c->certificates = certificates;
    c->shaking = true;
    if (evbuffer_get_length(c->out) == 0)
        event_add(c->read_ev, NULL);
}

bool line_conn_something_behind(const struct line_conn *c)
{
    char byte;
    return evbuffer_get_length(c->in) > 0 || recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* ---- bytes ---- */

static void on_readable(evutil_socket_t fd CD_UNUSED, short what CD_UNUSED, void *arg)
{
    struct line_conn *c = arg;
    struct evbuffer_iovec v;
    size_t have = evbuffer_get_length(c->in);

    if (c->shaking) {
        if (evbuffer_get_length(c->out) > 0) /* the last word in the clear has not left yet */
            event_del(c->read_ev);
        else
            handshake(c);
        return;
    }
    if (!c->reading || c->eof || have >= LINE_INPUT_BYTES)
        return;
    if (evbuffer_reserve_space(c->in, (ev_ssize_t)CD_MIN(LINE_INPUT_BYTES - have, CD_KIB(16)), &v, 1) < 1) {
        ended(c, "memory");
        return;
    }
    ssize_t n = c->tls ? tls_conn_recv(c->tls, v.iov_base, v.iov_len) : recv(c->fd, v.iov_base, v.iov_len, 0);
    int e = errno;
    v.iov_len = n > 0 ? (size_t)n : 0;
    evbuffer_commit_space(c->in, &v, 1);
    if (n > 0)
        c->on->input(c->arg); /* reading goes on, or not, by line_conn_read() */
    else if (n == 0)
        ended(c, NULL);
    else if (e == EAGAIN || e == EINTR)
        read_more(c);
    else
        ended(c, c->tls ? tls_conn_error(c->tls) : strerror(e));
}

/* 0: the socket takes no more. */
static ssize_t write_some(struct line_conn *c)
{
    struct evbuffer_iovec v;
    ssize_t n;
    if (!c->tls) {
        n = evbuffer_write(c->out, c->fd);
    } else if (evbuffer_peek(c->out, -1, NULL, &v, 1) < 1) {
        n = 0;
    } else {
        n = tls_conn_send(c->tls, v.iov_base, v.iov_len);
        if (n > 0)
            evbuffer_drain(c->out, (size_t)n);
    }
    c->sent += n > 0 ? (uint64_t)n : 0;
    return n;
}

static void on_writable(evutil_socket_t fd CD_UNUSED, short what CD_UNUSED, void *arg)
{
    struct line_conn *c = arg;

    if (c->shaking && evbuffer_get_length(c->out) == 0) {
        handshake(c);
        return;
    }
    if (evbuffer_get_length(c->out) == 0) {
        if (c->tls && c->reading && !c->eof) /* it was reading that had to write */
            event_active(c->read_ev, EV_READ, 1);
        return;
    }
    if (write_some(c) < 0 && errno != EAGAIN && errno != EINTR) {
        ended(c, "write");
        return;
    }
    if (evbuffer_get_length(c->out) > 0)
        event_add(c->write_ev, NULL);
    else if (c->shaking)
        event_add(c->read_ev, NULL);
    else
        c->on->drained(c->arg);
}

void line_conn_read(struct line_conn *c, bool on)
{
    c->reading = on && !c->eof;
    if (c->shaking || c->eof)
        return;
    if (!on) {
        event_del(c->read_ev);
        return;
    }
    event_add(c->read_ev, NULL);
    read_more(c);
}

void line_conn_written(struct line_conn *c)
{
    if (evbuffer_get_length(c->out) > 0)
        event_add(c->write_ev, NULL);
}

/* ---- life ---- */

int line_conn_init(struct line_conn *c, struct event_base *base, int fd, const struct line_conn_events *on, void *arg)
{
    *c = (struct line_conn){.fd = fd, .on = on, .arg = arg};
    c->in = evbuffer_new();
    c->out = evbuffer_new();
    c->read_ev = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, c);
    c->write_ev = event_new(base, fd, EV_WRITE, on_writable, c);
    if (c->in && c->out && c->read_ev && c->write_ev)
        return 0;
    c->fd = -1; /* stays the caller's */
    line_conn_free(c);
    return CD_ENOMEM;
}

void line_conn_free(struct line_conn *c)
{
    if (c->read_ev)
        event_free(c->read_ev);
    if (c->write_ev)
        event_free(c->write_ev);
    if (c->in)
        evbuffer_free(c->in);
    if (c->out)
        evbuffer_free(c->out);
    tls_conn_free(&c->tls);
    if (c->fd >= 0)
        close(c->fd);
    *c = (struct line_conn){.fd = -1};
}

/* Sockets of the generator, straight on send() and recv(): it shares the cores with what it measures, so it
 * must not spend more system calls a message than it has to. Failures reach the owner through on_close, once.
 */
#include "tests/bench/sock.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void sock_close(struct sock *s)
{
    if (s->fd < 0)
        return;
    event_free(s->read);
    event_free(s->write);
    close(s->fd);
    s->fd = -1;
    s->nin = 0;
    s->generation++;
    buf_reset(&s->out);
}

static void failed(struct sock *s, const char *why)
{
    sock_close(s);
    s->on_close(s, why);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct sock *s = arg;
    (void)what;
    ssize_t n = send(fd, s->out.data, s->out.len, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR && errno != ENOTCONN) {
        failed(s, strerror(errno));
        return;
    }
    if (n > 0)
        buf_consume(&s->out, (size_t)n);
    if (s->out.len)
        event_add(s->write, NULL);
}

void sock_send(struct sock *s, const void *p, size_t n)
{
    ssize_t sent = 0;
    if (s->fd < 0)
        return;
    if (!s->out.len) {
        sent = send(s->fd, p, n, MSG_NOSIGNAL);
        if (sent == (ssize_t)n)
            return;
        sent = CD_MAX(sent, 0); /* whatever is wrong shows again when it becomes readable or writable */
    }
    buf_append(&s->out, (const char *)p + sent, n - (size_t)sent);
    event_add(s->write, NULL);
}

/* Hands out the complete lines; false when a callback closed the socket. */
static bool lines(struct sock *s)
{
    unsigned generation = s->generation;
    size_t at = 0;
    char *end;
    while ((end = memchr(s->in + at, '\n', s->nin - at))) {
        size_t n = (size_t)(end - s->in) - at;
        size_t cut = n && s->in[at + n - 1] == '\r' ? n - 1 : n;
        s->in[at + cut] = '\0';
        s->on_line(s, s->in + at, cut);
        if (s->generation != generation)
            return false;
        at += n + 1;
    }
    if (at == 0 && s->nin == sizeof s->in)
        at = s->nin - 1; /* nobody here needs the end of a long line */
    memmove(s->in, s->in + at, s->nin - at);
    s->nin -= at;
    return true;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct sock *s = arg;
    (void)what;
    ssize_t n = recv(fd, s->in + s->nin, sizeof s->in - s->nin, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        failed(s, n == 0 ? "connection closed" : strerror(errno));
        return;
    }
    s->nin += (size_t)n;
    if (lines(s) && s->on_pause)
        s->on_pause(s);
}

int sock_open(struct sock *s, const struct sockaddr_in *peer)
{
    int one = 1;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0)
        return -1;
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(s->fd, (const struct sockaddr *)peer, sizeof *peer) < 0 && errno != EINPROGRESS) {
        close(s->fd);
        s->fd = -1;
        return -1;
    }
    if (!s->out.cap)
        buf_init(&s->out, CD_MIB(64));
    s->read = event_new(s->base, s->fd, EV_READ | EV_PERSIST, on_readable, s);
    s->write = event_new(s->base, s->fd, EV_WRITE, on_writable, s);
    event_add(s->read, NULL);
    return 0;
}

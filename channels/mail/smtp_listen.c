/* Listening sockets and admission. Accepts until there is nothing left or its turn is over; out of
 * descriptors or memory it leaves the backlog alone for a moment instead of spinning. Owns the sockets. A
 * listener that cannot be opened stops the start, with a log line that says what to do. */
#include "channels/mail/smtp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/net/tls.h"

#define BACKLOG 4096       /* the kernel cuts it to net.core.somaxconn */
#define ACCEPTS_A_TURN 128 /* then the loop serves those who are in */
#define PAUSE_US CD_MSEC(200)

/* `line` NULL: the peer expects TLS, not words. */
static void refuse(int fd, const char *peer, const char *line, const char *why)
{
    ssize_t r = line ? send(fd, line, strlen(line), MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
    (void)r; /* a courtesy */
    close(fd);
    metrics_inc(M_SMTP_REFUSED);
    log_event(LOG_L_WARN, EV_SMTP_CONNECTION_REFUSED, "peer=%s limit=%s", peer, why);
}

/* IPv4 addresses are mapped into IPv6; the text is in the family that people know. */
static void peer_of(const struct sockaddr_storage *ss, struct in6_addr *addr, char text[INET6_ADDRSTRLEN])
{
    memset(addr, 0, sizeof *addr);
    if (ss->ss_family == AF_INET) {
        addr->s6_addr[10] = addr->s6_addr[11] = 0xff;
        memcpy(addr->s6_addr + 12, &((const struct sockaddr_in *)ss)->sin_addr, 4);
    } else {
        *addr = ((const struct sockaddr_in6 *)ss)->sin6_addr;
    }
    if (IN6_IS_ADDR_V4MAPPED(addr))
        inet_ntop(AF_INET, addr->s6_addr + 12, text, INET6_ADDRSTRLEN);
    else
        inet_ntop(AF_INET6, addr, text, INET6_ADDRSTRLEN);
}

static void admit(struct smtp_listener *l, int fd, const struct sockaddr_storage *ss)
{
    struct smtp_server *srv = l->srv;
    struct in6_addr addr;
    char text[INET6_ADDRSTRLEN];
    struct smtp_peer *peer = NULL;
    peer_of(ss, &addr, text);
    if (srv->nsessions >= srv->cfg->mail_max_connections) {
        refuse(fd, text, l->tls ? NULL : "421 4.7.0 Too many connections, try again later\r\n", "max_connections");
        return;
    }
    if (srv->host->gate(srv->host->front) == GATE_SHED) {
        metrics_inc(M_SMTP_LIMIT_SHED);
        refuse(fd, text, l->tls ? NULL : "421 4.3.2 Too busy, try again later\r\n", "gate");
        return;
    }
    if (l->tls && !tls_context(srv->host->tls)) {
        refuse(fd, text, NULL, "no_certificate");
        return;
    }
    bool trusted = config_trusted(srv->cfg, text);
    if (!trusted && !(peer = smtp_peer_enter(srv, &addr))) {
        refuse(fd, text, l->tls ? NULL : "421 4.7.0 Too many connections from your address\r\n",
               "max_connections_per_address");
        return;
    }
    smtp_session_new(srv, fd, text, peer, trusted, l->tls);
}

static void listeners_on(struct smtp_server *srv, bool on)
{
    for (size_t i = 0; i < srv->nlisteners; i++)
        if (on)
            event_add(&srv->listeners[i].ev, NULL);
        else
            event_del(&srv->listeners[i].ev);
}

static void on_accept_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    listeners_on(arg, true);
}

static void pause_accepting(struct smtp_server *srv, int error)
{
    struct timeval tv = {.tv_usec = PAUSE_US};
    listeners_on(srv, false);
    event_add(srv->accept_again, &tv);
    metrics_inc(M_SMTP_ACCEPT_PAUSES);
    log_event(LOG_L_ERROR, EV_SMTP_ACCEPT_PAUSED,
              "error=%s open=%zu hint=\"raise LimitNOFILE or lower mail.max_connections\"", log_quote(strerror(error)),
              srv->nsessions);
}

static void on_accept(evutil_socket_t lfd, short what, void *arg)
{
    struct smtp_listener *l = arg;
    (void)what;
    for (unsigned i = 0; i < ACCEPTS_A_TURN; i++) {
        struct sockaddr_storage ss;
        socklen_t len = sizeof ss;
        int fd = accept4(lfd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            admit(l, fd, &ss);
            continue;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            pause_accepting(l->srv, errno);
            return;
        }
        /* anything else concerns that one connection, which is gone (accept(2)) */
    }
}

static int address_of(const struct listen_addr *a, struct sockaddr_storage *ss, socklen_t *ret_len)
{
    struct sockaddr_in *in4 = (struct sockaddr_in *)ss;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;
    memset(ss, 0, sizeof *ss);
    if (!a->host)
        return CD_ECONFIG;
    if (inet_pton(AF_INET, a->host, &in4->sin_addr) == 1) {
        in4->sin_family = AF_INET;
        in4->sin_port = htons(a->port);
        *ret_len = sizeof *in4;
        return 0;
    }
    if (inet_pton(AF_INET6, a->host, &in6->sin6_addr) == 1) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(a->port);
        *ret_len = sizeof *in6;
        return 0;
    }
    return CD_ECONFIG;
}

/* A bound, listening socket, or CD_EIO with errno. */
static int open_socket(const struct sockaddr_storage *ss, socklen_t len, uint16_t port)
{
    int on = 1;
    int fd = socket(ss->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return CD_EIO;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (port) /* further instances share it */
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* accepted sockets inherit it */
    if (ss->ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(fd, (const struct sockaddr *)ss, len) < 0 || listen(fd, BACKLOG) < 0) {
        int error = errno;
        close(fd);
        errno = error;
        return CD_EIO;
    }
    return fd;
}

static int open_one(struct smtp_server *srv, const struct listen_addr *a, bool tls)
{
    struct sockaddr_storage ss;
    socklen_t len = 0;
    if (srv->nlisteners == SMTP_MAX_LISTENERS) {
        log_event(LOG_L_ERROR, EV_SMTP_LISTEN_FAILED, "hint=\"mail.listen and mail.listen_tls take at most %d addresses\"",
                  SMTP_MAX_LISTENERS);
        return CD_ELIMIT;
    }
    if (address_of(a, &ss, &len) < 0) {
        log_event(LOG_L_ERROR, EV_SMTP_LISTEN_FAILED,
                  "address=%s hint=\"write a numeric address and a port: 127.0.0.1:25\"", log_quote(a->text));
        return CD_ECONFIG;
    }
    int fd = open_socket(&ss, len, a->port);
    if (fd < 0) {
        log_event(LOG_L_ERROR, EV_SMTP_LISTEN_FAILED, "address=%s error=%s hint=\"%s\"", log_quote(a->text),
                  log_quote(strerror(errno)),
                  errno == EACCES ? "ports under 1024 need CAP_NET_BIND_SERVICE"
                                  : "change mail.listen or free the address");
        return CD_EIO;
    }
    struct smtp_listener *l = &srv->listeners[srv->nlisteners++];
    *l = (struct smtp_listener){.srv = srv, .fd = fd, .tls = tls};
    event_assign(&l->ev, srv->host->base, fd, EV_READ | EV_PERSIST, on_accept, l);
    event_add(&l->ev, NULL);
    log_event(LOG_L_NOTICE, EV_SMTP_LISTENING, "address=%s port=%u tls=%s", log_quote(a->text),
              smtp_listen_port(srv, srv->nlisteners - 1), tls ? "yes" : "no");
    return 0;
}

int smtp_listen_open(struct smtp_server *srv)
{
    srv->accept_again = event_new(srv->host->base, -1, 0, on_accept_again, srv);
    if (!srv->accept_again)
        return CD_ENOMEM;
    int r = 0;
    for (size_t i = 0; i < srv->cfg->nmail_listen && !r; i++)
        r = open_one(srv, &srv->cfg->mail_listen[i], false);
    for (size_t i = 0; i < srv->cfg->nmail_listen_tls && !r; i++)
        r = open_one(srv, &srv->cfg->mail_listen_tls[i], true);
    return r;
}

void smtp_listen_close(struct smtp_server *srv)
{
    listeners_on(srv, false);
    for (size_t i = 0; i < srv->nlisteners; i++)
        close(srv->listeners[i].fd);
    srv->nlisteners = 0;
    if (srv->accept_again)
        event_free(srv->accept_again);
    srv->accept_again = NULL;
}

uint16_t smtp_listen_port(const struct smtp_server *srv, size_t i)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof ss;
    if (i >= srv->nlisteners || getsockname(srv->listeners[i].fd, (struct sockaddr *)&ss, &len) < 0)
        return 0;
    return ntohs(ss.ss_family == AF_INET ? ((struct sockaddr_in *)&ss)->sin_port
                                         : ((struct sockaddr_in6 *)&ss)->sin6_port);
}

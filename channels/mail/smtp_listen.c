/* Listening sockets and admission. Accepts until there is nothing left or its turn is over; out of
 * descriptors or memory it leaves the backlog alone for a moment instead of spinning. Owns the sockets. A
 * listener that cannot be opened stops the start, with a log line that says what to do. */
#include "channels/mail/smtp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/net/tls.h"

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

/* IPv4 addresses are mapped into IPv6. */
static void address_of(const struct sockaddr_storage *ss, struct in6_addr *addr)
{
    memset(addr, 0, sizeof *addr);
    if (ss->ss_family == AF_INET) {
        addr->s6_addr[10] = addr->s6_addr[11] = 0xff;
        memcpy(addr->s6_addr + 12, &((const struct sockaddr_in *)ss)->sin_addr, 4);
    } else {
        *addr = ((const struct sockaddr_in6 *)ss)->sin6_addr;
    }
}

void smtp_address_text(const struct in6_addr *addr, char text[INET6_ADDRSTRLEN])
{
    if (IN6_IS_ADDR_V4MAPPED(addr))
        inet_ntop(AF_INET, addr->s6_addr + 12, text, INET6_ADDRSTRLEN);
    else
        inet_ntop(AF_INET6, addr, text, INET6_ADDRSTRLEN);
}

/* Whoever may open the socket file is trusted: its folder and mode say who that is. */
static void admit_local(struct smtp_listener *l, int fd)
{
    smtp_session_new(l->srv, fd, &(struct smtp_client){.text = SMTP_PEER_UNIX, .trusted = true, .lmtp = l->lmtp});
}

void smtp_admit(struct smtp_listener *l, int fd, const struct in6_addr *addr)
{
    struct smtp_server *srv = l->srv;
    struct smtp_client client = {.lmtp = l->lmtp, .tls = l->tls};
    smtp_address_text(addr, client.text);
    client.trusted = config_trusted(srv->cfg, client.text);
    if (!client.trusted && !(client.peer = smtp_peer_enter(srv, addr))) {
        metrics_inc(M_SMTP_LIMIT_ADDRESS);
        refuse(fd, client.text, l->tls ? NULL : "421 4.7.0 Too many connections from your address\r\n",
               "max_connections_per_address");
        return;
    }
    smtp_session_new(srv, fd, &client);
}

static void on_connection(struct smtp_listener *l, int fd, const struct sockaddr_storage *ss)
{
    struct smtp_server *srv = l->srv;
    struct in6_addr addr = {0};
    char text[INET6_ADDRSTRLEN] = SMTP_PEER_UNIX;
    if (!l->unix_path) {
        address_of(ss, &addr);
        smtp_address_text(&addr, text);
    }
    if (srv->nsessions + srv->ndoors >= srv->cfg->mail_max_connections && !smtp_make_room(srv)) {
        metrics_inc(M_SMTP_LIMIT_CONNECTIONS);
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
    if (l->unix_path)
        admit_local(l, fd);
    else if (!l->lmtp && config_in_networks(srv->cfg->mail_proxy_from, srv->cfg->nmail_proxy_from, text))
        smtp_door_new(l, fd, &addr);
    else
        smtp_admit(l, fd, &addr);
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
            on_connection(l, fd, &ss);
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

enum listen_kind { LISTEN_SMTP, LISTEN_TLS, LISTEN_LMTP };

static int open_one(struct smtp_server *srv, const struct listen_addr *a, enum listen_kind kind)
{
    static const char *const options[] = {"mail.listen", "mail.listen_tls", "mail.lmtp_listen"};
    const char *hint = "";
    if (srv->nlisteners == SMTP_MAX_LISTENERS) {
        log_event(LOG_L_ERROR, EV_SMTP_LISTEN_FAILED, "hint=\"the addresses of mail are too many: at most %d\"",
                  SMTP_MAX_LISTENERS);
        return CD_ELIMIT;
    }
    int fd = smtp_socket_open(a, srv->cfg, &hint);
    if (fd < 0) {
        log_event(LOG_L_ERROR, EV_SMTP_LISTEN_FAILED, "address=%s option=%s error=%s hint=\"%s\"", log_quote(a->text), options[kind],
                  log_quote(strerror(errno)), hint);
        return fd;
    }
    struct smtp_listener *l = &srv->listeners[srv->nlisteners++];
    *l = (struct smtp_listener){.srv = srv, .fd = fd, .tls = kind == LISTEN_TLS, .lmtp = kind == LISTEN_LMTP,
                                .unix_path = a->path ? cd_strdup(a->path) : NULL};
    event_assign(&l->ev, srv->host->base, fd, EV_READ | EV_PERSIST, on_accept, l);
    event_add(&l->ev, NULL);
    log_event(LOG_L_NOTICE, EV_SMTP_LISTENING, "address=%s port=%u protocol=%s tls=%s", log_quote(a->text),
              smtp_listen_port(srv, srv->nlisteners - 1), l->lmtp ? "lmtp" : "smtp", l->tls ? "yes" : "no");
    return 0;
}

int smtp_listen_open(struct smtp_server *srv)
{
    const struct config *cfg = srv->cfg;
    int r = 0;
    srv->accept_again = event_new(srv->host->base, -1, 0, on_accept_again, srv);
    if (!srv->accept_again)
        return CD_ENOMEM;
    for (size_t i = 0; i < cfg->nmail_listen && r == 0; i++)
        r = open_one(srv, &cfg->mail_listen[i], LISTEN_SMTP);
    for (size_t i = 0; i < cfg->nmail_listen_tls && r == 0; i++)
        r = open_one(srv, &cfg->mail_listen_tls[i], LISTEN_TLS);
    for (size_t i = 0; i < cfg->nmail_lmtp_listen && r == 0; i++)
        r = open_one(srv, &cfg->mail_lmtp_listen[i], LISTEN_LMTP);
    return r;
}

void smtp_listen_close(struct smtp_server *srv)
{
    listeners_on(srv, false);
    smtp_doors_close(srv);
    for (size_t i = 0; i < srv->nlisteners; i++) {
        struct smtp_listener *l = &srv->listeners[i];
        if (l->unix_path) /* first: what stands there after the close may be another's */
            (void)unlink(l->unix_path);
        close(l->fd);
        free(l->unix_path);
    }
    srv->nlisteners = 0;
    if (srv->accept_again)
        event_free(srv->accept_again);
    srv->accept_again = NULL;
}

uint16_t smtp_listen_port(const struct smtp_server *srv, size_t i)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof ss;
    if (i >= srv->nlisteners || srv->listeners[i].unix_path || getsockname(srv->listeners[i].fd, (struct sockaddr *)&ss, &len) < 0)
        return 0;
    return ntohs(ss.ss_family == AF_INET ? ((struct sockaddr_in *)&ss)->sin_port
                                         : ((struct sockaddr_in6 *)&ss)->sin6_port);
}

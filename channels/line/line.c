/* The line channel: listeners on TCP and unix sockets, and the channel interface over the sessions. A unix
 * socket knows its peer from the kernel (SO_PEERCRED). When descriptors run out, a listener rests for half a
 * second instead of spinning. */
#include <errno.h>
#include <event2/listener.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "channels/line/line_session.h"
#include "channels/line/line_verbs.h"
#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"

#define BACKLOG 128
#define REST_US CD_MSEC(500)

struct listener {
    struct line_state *state;
    bool tls; /* from the first byte */
    struct evconnlistener *ev;
    struct event *wake; /* after a rest */
    char *unix_path;    /* to be removed at the end */
};

struct line_state {
    struct line_server server;
    struct listener *listeners;
    size_t nlisteners;
};

static bool is_loopback(const struct sockaddr *sa)
{
    if (sa->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)sa)->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    return sa->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr);
}

static void on_accept(struct evconnlistener *ev CD_UNUSED, evutil_socket_t fd, struct sockaddr *sa, int len,
                      void *arg)
{
    struct listener *l = arg;
    char text[NI_MAXHOST] = "?";
    struct line_peer peer = {.text = text, .uid = -1, .tls = l->tls};

    if (l->unix_path) {
        struct ucred cred;
        socklen_t n = sizeof cred;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) < 0) {
            close(fd);
            return;
        }
        peer.uid = (long)cred.uid;
        snprintf(text, sizeof text, "unix:uid=%ld:pid=%ld", peer.uid, (long)cred.pid);
    } else {
        (void)getnameinfo(sa, (socklen_t)len, text, sizeof text, NULL, 0, NI_NUMERICHOST);
        peer.local = is_loopback(sa);
    }
    (void)line_session_open(&l->state->server, fd, &peer);
}

static void on_wake(evutil_socket_t fd CD_UNUSED, short what CD_UNUSED, void *arg)
{
    struct listener *l = arg;
    if (!l->state->server.draining)
        evconnlistener_enable(l->ev);
}

static void on_accept_error(struct evconnlistener *ev, void *arg)
{
    struct listener *l = arg;
    int e = errno;
    const struct timeval rest = {0, REST_US};

    metrics_inc(M_LINE_REFUSED);
    log_event(LOG_L_ERROR, EV_LINE_ACCEPT_FAILED, "error=%s remedy=%s", log_quote(strerror(e)),
              log_quote("raise LimitNOFILE or lower line.max_connections"));
    evconnlistener_disable(ev);
    event_add(l->wake, &rest);
}

/* ---- opening ---- */

static int listen_fd(int family, const struct sockaddr *sa, socklen_t len, const char **what)
{
    int one = 1, fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    *what = "socket";
    if (fd < 0)
        return -1;
    if (family != AF_UNIX) { /* several instances may serve one port */
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
        if (family == AF_INET6)
            (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    }
    *what = "bind";
    if (bind(fd, sa, len) == 0) {
        *what = "listen";
        if (listen(fd, BACKLOG) == 0)
            return fd;
    }
    int e = errno;
    close(fd);
    errno = e;
    return -1;
}

static int open_tcp(const struct listen_addr *a, const char **what)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *ai = NULL;
    char port[8];

    snprintf(port, sizeof port, "%u", (unsigned)a->port);
    *what = "address";
    if (getaddrinfo(a->host, port, &hints, &ai) != 0) {
        errno = EINVAL;
        return -1;
    }
    int fd = listen_fd(ai->ai_family, ai->ai_addr, ai->ai_addrlen, what);
    freeaddrinfo(ai);
    return fd;
}

/* A socket file that nobody listens on is left over from a process that was killed; one that answers is in
 * use. */
static bool remove_stale(const struct sockaddr_un *sun)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    int r = connect(fd, (const struct sockaddr *)sun, sizeof *sun);
    int e = errno;
    close(fd);
    if (r == 0 || e == EAGAIN) {
        errno = EADDRINUSE;
        return false;
    }
    struct stat st;
    if (e == ECONNREFUSED && stat(sun->sun_path, &st) == 0 && S_ISSOCK(st.st_mode))
        return unlink(sun->sun_path) == 0;
    errno = e == ENOENT ? 0 : e;
    return e == ENOENT;
}

static int open_unix(const struct listen_addr *a, const char **what)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};

    *what = "path";
    if (strlen(a->path) >= sizeof sun.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(sun.sun_path, a->path, strlen(a->path) + 1);
    if (!remove_stale(&sun))
        return -1;
    mode_t old =
        umask(0117); /* owner and group may connect; what they may do, their user id or a token says */
    int fd = listen_fd(AF_UNIX, (const struct sockaddr *)&sun, sizeof sun, what);
    umask(old);
    return fd;
}

static int open_listener(struct line_state *st, const struct listen_addr *a, bool tls)
{
    struct listener *l = &st->listeners[st->nlisteners++];
    const char *what = "";
    l->state = st;
    l->tls = tls;
    int fd = a->path ? open_unix(a, &what) : open_tcp(a, &what);
    if (fd < 0) {
        log_event(LOG_L_ERROR, EV_LINE_LISTEN_FAILED, "address=%s step=%s error=%s remedy=%s",
                  log_quote(a->text), what, log_quote(strerror(errno)),
                  log_quote(tls ? "free the address or change line.listen_tls" : "free the address or change line.listen"));
        return CD_EIO;
    }
    l->unix_path = a->path ? cd_strdup(a->path) : NULL;
    l->ev = evconnlistener_new(st->server.host->base, on_accept, l,
                               LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
    l->wake = evtimer_new(st->server.host->base, on_wake, l);
    if (!l->ev || !l->wake) {
        if (!l->ev)
            close(fd);
        return CD_ENOMEM;
    }
    evconnlistener_set_error_cb(l->ev, on_accept_error);
    log_event(LOG_L_NOTICE, EV_LINE_LISTENING, "address=%s tls=%s", log_quote(a->text), tls ? "yes" : "no");
    return 0;
}

static void close_listeners(struct line_state *st)
{
    for (size_t i = 0; i < st->nlisteners; i++) {
        struct listener *l = &st->listeners[i];
        if (l->ev)
            evconnlistener_free(l->ev);
        if (l->wake)
            event_free(l->wake);
        if (l->unix_path)
            (void)unlink(l->unix_path);
        free(l->unix_path);
    }
    free(st->listeners);
    st->listeners = NULL;
    st->nlisteners = 0;
}

/* ---- the channel ---- */

static void line_stop(void **state)
{
    struct line_state *st = *state;
    *state = NULL;
    if (!st)
        return;
    ack_register(CH_LINE, NULL, NULL);
    close_listeners(st);
    line_server_done(&st->server);
    free(st);
}

static int line_start(const struct channel_host *host, void **ret_state)
{
    const struct config *c = host->cfg;
    struct line_state *st = cd_alloc(sizeof *st);
    int r = line_server_init(&st->server, host);

    if (r < 0) {
        free(st);
        return r;
    }
    ack_register(CH_LINE, line_on_ack, &st->server);
    st->listeners = cd_alloc((c->nline_listen + c->nline_listen_tls + 1) * sizeof *st->listeners);
    for (size_t i = 0; i < c->nline_listen && r == 0; i++)
        r = open_listener(st, &c->line_listen[i], false);
    for (size_t i = 0; i < c->nline_listen_tls && r == 0; i++)
        r = open_listener(st, &c->line_listen_tls[i], true);
    if (r < 0) {
        void *state = st;
        line_stop(&state);
        return r;
    }
    *ret_state = st;
    return 0;
}

static void line_drain(void *state)
{
    struct line_state *st = state;
    close_listeners(st);
    line_server_drain(&st->server);
}

static bool line_idle(void *state)
{
    const struct line_state *st = state;
    return st->server.nsessions == 0;
}

static void line_reloaded(void *state)
{
    struct line_state *st = state;
    line_server_reloaded(&st->server);
}

static void line_reply(void *state, struct ack slot, const struct reply *r)
{
    struct line_state *st = state;
    line_on_reply(&st->server, slot, r);
}

const struct channel channel_line = {
    .name = "line",
    .id = CH_LINE,
    .start = line_start,
    .drain = line_drain,
    .idle = line_idle,
    .stop = line_stop,
    .reloaded = line_reloaded,
    .decode = line_decode,
    .on_reply = line_reply,
};

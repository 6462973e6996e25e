/* Connections from a listed proxy (mail.proxy_from) before their PROXY header is whole: nothing is said and nobody is let in until
 * it tells who the client is; then the client is admitted as if it had connected itself. Exactly the header is read, what follows it
 * stays in the socket. The server owns the connections that wait; one whose header is wrong, late (mail.proxy_timeout, absolute) or
 * never ends is closed and counted. */
#include "channels/mail/smtp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "channels/mail/proxy.h"
#include "daemon/core/clock.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"

struct smtp_door {
    struct smtp_listener *listener;
    int fd;
    struct event ev;
    int64_t since_us;
    struct in6_addr proxy; /* who connected */
    size_t n;
    uint8_t data[PROXY_MAX_BYTES];
    TAILQ_ENTRY(smtp_door) all;
};

/* The descriptor stays open. */
static void door_free(struct smtp_door *d)
{
    struct smtp_server *srv = d->listener->srv;
    event_del(&d->ev);
    TAILQ_REMOVE(&srv->doors, d, all);
    srv->ndoors--;
    free(d);
}

static void door_close(struct smtp_door *d, const char *why)
{
    char text[INET6_ADDRSTRLEN];
    smtp_address_text(&d->proxy, text);
    metrics_inc(M_SMTP_PROXY_REFUSED);
    log_event(LOG_L_WARN, EV_SMTP_PROXY_REFUSED, "peer=%s why=%s bytes=%zu", text, why, d->n);
    close(d->fd);
    door_free(d);
}

static void door_open(struct smtp_door *d, const struct proxy_header *h)
{
    struct smtp_listener *l = d->listener;
    struct in6_addr client = h->conveyed ? h->source : d->proxy;
    int fd = d->fd;
    door_free(d);
    smtp_admit(l, fd, &client);
}

/* Looks before it takes: bytes behind the header are not the proxy's. */
static void on_header(evutil_socket_t fd, short what, void *arg)
{
    struct smtp_door *d = arg;
    struct proxy_header h;
    (void)what;
    ssize_t n = recv(fd, d->data + d->n, sizeof d->data - d->n, MSG_PEEK);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        door_close(d, "closed");
        return;
    }
    enum proxy_result r = proxy_parse(d->data, d->n + (size_t)n, &h);
    size_t take = r == PROXY_OK ? h.length - d->n : (size_t)n;
    if (r == PROXY_BAD || recv(fd, d->data + d->n, take, 0) != (ssize_t)take) {
        door_close(d, "malformed");
        return;
    }
    d->n += take;
    if (r == PROXY_OK)
        door_open(d, &h);
}

void smtp_door_new(struct smtp_listener *l, int fd, const struct in6_addr *proxy)
{
    struct smtp_server *srv = l->srv;
    struct smtp_door *d = cd_alloc(sizeof *d);
    d->listener = l;
    d->fd = fd;
    d->proxy = *proxy;
    d->since_us = clock_mono_us();
    TAILQ_INSERT_TAIL(&srv->doors, d, all);
    srv->ndoors++;
    event_assign(&d->ev, srv->host->base, fd, EV_READ | EV_PERSIST, on_header, d);
    event_add(&d->ev, NULL);
}

void smtp_doors_expire(struct smtp_server *srv, int64_t now)
{
    struct smtp_door *d;
    while ((d = TAILQ_FIRST(&srv->doors)) && now - d->since_us >= srv->cfg->mail_proxy_timeout_us)
        door_close(d, "timeout");
}

void smtp_doors_close(struct smtp_server *srv)
{
    struct smtp_door *d;
    while ((d = TAILQ_FIRST(&srv->doors))) {
        close(d->fd);
        door_free(d);
    }
}

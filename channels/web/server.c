/* The HTTP server: listeners, the checks that evhttp leaves out, exchanges and their answers. An exchange
 * lives from its request to its answer or the end of its connection; only a token {slot, generation} leaves
 * this file, so an answer that comes too late finds nothing. Bad peers cost themselves a 400; only failing to
 * listen is an error. */
#include "channels/web/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <string.h>

#include "channels/web/conns.h"
#include "daemon/core/clock.h"
#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"

#define LISTENERS_MAX 16
#define RETRY_AFTER_S "5"
#define BODY_SLACK                                                                                           \
    CD_KIB(64) /* over max_body we answer 413 ourselves, over this as well evhttp does before reading it */
#define ACCEPT_PAUSE_US 200000

struct exchange {
    struct http_exchange pub; /* first: header() casts back */
    struct web_server *server;
    struct evhttp_request *req;
};

struct web_server {
    LIST_ENTRY(web_server) link;
    struct web_server_options o;
    struct evhttp *http;
    struct conns *conns;
    struct slots *slots;
    struct evconnlistener *listeners[LISTENERS_MAX];
    size_t nlisteners;
    struct event *resume;
    bool full, paused, draining;
    unsigned pending; /* exchanges without an answer */
};

static LIST_HEAD(, web_server) servers = LIST_HEAD_INITIALIZER(servers);

/* ---- exchanges ---- */

static const char *exchange_header(const struct http_exchange *x, const char *name)
{
    const struct exchange *e = (const struct exchange *)x;

    return evhttp_find_header(evhttp_request_get_input_headers(e->req), name);
}

static void exchange_free(struct exchange *x)
{
    slots_release(x->server->slots, x->pub.token);
    x->server->pending--;
    free((char *)(uintptr_t)x->pub.path);
    free((char *)(uintptr_t)x->pub.peer);
    free(x);
}

/* The connection ended before the answer. evhttp has then let go of the request, which becomes ours to free,
 * unless the whole server is being taken down. */
static void on_close(struct evhttp_connection *evcon, void *arg)
{
    struct exchange *x = arg;

    conns_remove(x->server->conns, evhttp_connection_get_bufferevent(evcon));
    if (!evhttp_request_get_connection(x->req))
        evhttp_request_free(x->req);
    exchange_free(x);
}

static void on_closed_after_answer(struct evhttp_connection *evcon, void *arg)
{
    struct web_server *s = arg;

    conns_remove(s->conns, evhttp_connection_get_bufferevent(evcon));
}

static void reply(struct evhttp_request *req, int status, const char *content_type, const void *body,
                  size_t n)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(req);
    struct evbuffer *out = evbuffer_new();

    cd_assert(out);
    evhttp_add_header(headers, "Connection", "close");
    if (content_type)
        evhttp_add_header(headers, "Content-Type", content_type);
    evhttp_add_header(headers, "Cache-Control", "no-store");
    if (status == 503) /* "busy" passes in seconds; a sender that knows waits, and does not hammer */
        evhttp_add_header(headers, "Retry-After", RETRY_AFTER_S);
    evbuffer_add(out, body, n);
    evhttp_send_reply(req, status, NULL, out);
    evbuffer_free(out);
    metrics_inc(M_HTTP_REQUESTS);
}

void web_server_answer(struct slots *slots, struct ack token, int status, const char *content_type,
                       const void *body, size_t n)
{
    struct exchange *x = slots_get(slots, token);

    if (!x)
        return;
    struct evhttp_request *req = x->req;
    struct evhttp_connection *evcon = evhttp_request_get_connection(req);
    if (evcon)
        evhttp_connection_set_closecb(evcon, on_closed_after_answer, x->server);
    exchange_free(x);
    reply(req, status, content_type, body, n);
}

void web_server_problem(struct slots *slots, struct ack token, int status, const char *code,
                        const char *message)
{
    CD_CLEANUP_FREE char *body = cd_asprintf("{\"code\":\"%s\",\"message\":\"%s\",\"retry\":%s}\n", code,
                                             message, status == 503 || status == 429 ? "true" : "false");

    web_server_answer(slots, token, status, "application/json", body, strlen(body));
}

/* ---- requests ---- */

static const char *method_name(struct evhttp_request *req)
{
    switch (evhttp_request_get_command(req)) {
    case EVHTTP_REQ_GET:
        return "GET";
    case EVHTTP_REQ_POST:
        return "POST";
    case EVHTTP_REQ_HEAD:
        return "HEAD";
    case EVHTTP_REQ_PUT:
        return "PUT";
    case EVHTTP_REQ_DELETE:
        return "DELETE";
    case EVHTTP_REQ_PATCH:
        return "PATCH";
    default:
        return "OTHER";
    }
}

struct framing {
    unsigned lengths, encodings, hosts;
    bool bad;
    uint64_t length;
};

static void read_framing(struct evhttp_request *req, struct framing *f)
{
    struct evkeyval *h;

    *f = (struct framing){0};
    TAILQ_FOREACH(h, evhttp_request_get_input_headers(req), next)
    {
        if (str_ieq(h->key, "Content-Length")) {
            f->lengths++;
            if (str_parse_u64(h->value, INT64_MAX, &f->length) < 0)
                f->bad = true;
        } else if (str_ieq(h->key, "Transfer-Encoding")) {
            f->encodings++;
        } else if (str_ieq(h->key, "Host")) {
            f->hosts++;
        }
    }
}

struct problem {
    int status; /* 0: none */
    const char *code, *message;
};

/* What is wrong with the framing. `fault` is of the raw head. */
static struct problem check_request(const struct web_server *s, struct evhttp_request *req, const char *fault)
{
    size_t nbody = evbuffer_get_length(evhttp_request_get_input_buffer(req));
    const char *uri = evhttp_request_get_uri(req);
    bool with_body = str_eq(method_name(req), "POST") || str_eq(method_name(req), "PUT") ||
                     str_eq(method_name(req), "PATCH");
    struct framing f;

    if (fault)
        return (struct problem){400, "bad-request", fault};
    read_framing(req, &f);
    if (f.lengths > 1 || f.bad || (f.lengths && f.encodings) || f.hosts > 1 || (uri && uri[0] != '/'))
        return (struct problem){400, "bad-request", "framing"};
    if (f.encodings || (with_body && !f.lengths))
        return (struct problem){411, "length-required", "a body needs Content-Length"};
    if (f.length > s->o.max_body || nbody > s->o.max_body)
        return (struct problem){413, "too-large", "the body is over the limit"};
    if (!uri || nbody != f.length)
        return (struct problem){400, "bad-request", "framing"};
    return (struct problem){0};
}

static struct exchange *exchange_new(struct web_server *s, struct evhttp_request *req)
{
    struct exchange *x = cd_alloc(sizeof *x);
    struct evbuffer *body = evhttp_request_get_input_buffer(req);
    const char *uri = evhttp_request_get_uri(req);
    char *peer = NULL;
    ev_uint16_t port = 0;

    if (slots_take(s->slots, x, &x->pub.token) < 0) {
        free(x);
        return NULL;
    }
    evhttp_connection_get_peer(evhttp_request_get_connection(req), &peer, &port);
    x->pub.token.channel = CH_WEB;
    x->server = s;
    x->req = req;
    x->pub.method = method_name(req);
    x->pub.uri = uri ? uri : "";
    x->pub.path = cd_strndup(x->pub.uri, strcspn(x->pub.uri, "?"));
    x->pub.peer = cd_strdup(peer ? peer : "");
    x->pub.nbody = evbuffer_get_length(body);
    x->pub.body = x->pub.nbody ? evbuffer_pullup(body, -1) : (const void *)"";
    x->pub.header = exchange_header;
    s->pending++;
    return x;
}

static void on_request(struct evhttp_request *req, void *arg)
{
    static const char busy[] =
        "{\"code\":\"busy\",\"message\":\"too many requests at once\",\"retry\":true}\n";
    struct web_server *s = arg;
    struct evhttp_connection *evcon = evhttp_request_get_connection(req);
    const char *fault = conns_request(s->conns, evhttp_connection_get_bufferevent(evcon));
    struct exchange *x = exchange_new(s, req);

    if (!x) {
        metrics_inc(M_HTTP_REFUSED);
        evhttp_connection_set_closecb(evcon, on_closed_after_answer, s);
        reply(req, 503, "application/json", busy, sizeof busy - 1);
        return;
    }
    evhttp_connection_set_closecb(evcon, on_close, x);
    struct problem p = check_request(s, req, fault);
    if (p.status) {
        metrics_inc(M_HTTP_BAD);
        log_event(LOG_L_INFO, EV_HTTP_BAD_REQUEST, "status=%d why=%s peer=%s", p.status, log_quote(p.message),
                  log_quote(x->pub.peer));
        web_server_problem(s->slots, x->pub.token, p.status, p.code, p.message);
        return;
    }
    s->o.handler(s->o.arg, &x->pub); /* may answer and so free x */
}

/* ---- listeners ---- */

static void set_listening(struct web_server *s)
{
    bool on = !s->full && !s->paused && !s->draining;

    for (size_t i = 0; i < s->nlisteners; i++)
        if (on)
            evconnlistener_enable(s->listeners[i]);
        else
            evconnlistener_disable(s->listeners[i]);
}

static void on_full(void *arg, bool full)
{
    struct web_server *s = arg;

    s->full = full;
    set_listening(s);
    if (!full)
        return;
    metrics_inc(M_HTTP_REFUSED);
    log_event(LOG_L_WARN, EV_HTTP_FULL, "listener=%s max_connections=%u", s->o.name, s->o.max_connections);
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
    struct web_server *s = arg;

    (void)fd;
    (void)what;
    s->paused = false;
    set_listening(s);
}

/* No descriptor left: to try again at once would only turn the loop round. The argument is evhttp's, so the
 * server is looked up by its listener. */
static void on_accept_error(struct evconnlistener *lev, void *arg)
{
    const struct timeval pause = {.tv_usec = ACCEPT_PAUSE_US};
    int e = errno;
    struct web_server *s;

    (void)arg;
    LIST_FOREACH(s, &servers, link)
    for (size_t i = 0; i < s->nlisteners; i++)
        if (s->listeners[i] == lev && !s->paused) {
            log_event(LOG_L_WARN, EV_HTTP_ACCEPT_FAILED, "listener=%s error=%s", s->o.name,
                      log_quote(strerror(e)));
            s->paused = true;
            set_listening(s);
            event_add(s->resume, &pause);
        }
}

static struct bufferevent *on_connection(struct event_base *base, void *arg)
{
    struct web_server *s = arg;
    struct bufferevent *bev = bufferevent_socket_new(base, -1, 0);

    cd_assert(bev);
    conns_add(s->conns, bev, s->o.hurry && s->o.hurry(s->o.arg) ? s->o.hurry_us : INT64_MAX);
    return bev;
}

static int listen_on(struct web_server *s, struct event_base *base, const struct listen_addr *a)
{
    const unsigned flags =
        LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE | LEV_OPT_REUSEABLE_PORT;
    struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_port = htons(a->port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(a->port)};
    const struct sockaddr *sa = (const struct sockaddr *)&in4;
    int size = sizeof in4;

    if (!a->host || inet_pton(AF_INET, a->host, &in4.sin_addr) != 1) {
        if (!a->host || inet_pton(AF_INET6, a->host, &in6.sin6_addr) != 1) {
            log_event(LOG_L_ERROR, EV_HTTP_LISTEN_FAILED, "listener=%s address=%s hint=%s", s->o.name,
                      log_quote(a->text), log_quote("write ADDRESS:PORT with a numeric address"));
            return CD_EIO;
        }
        sa = (const struct sockaddr *)&in6;
        size = sizeof in6;
    }
    struct evconnlistener *lev = evconnlistener_new_bind(
        base, NULL, NULL, flags | (size == sizeof in6 ? LEV_OPT_BIND_IPV6ONLY : 0), 512, sa, size);
    if (!lev || !evhttp_bind_listener(s->http, lev)) {
        log_event(LOG_L_ERROR, EV_HTTP_LISTEN_FAILED, "listener=%s address=%s error=%s hint=%s", s->o.name,
                  log_quote(a->text), log_quote(strerror(errno)),
                  log_quote("is another program on this port?"));
        if (lev)
            evconnlistener_free(lev);
        return CD_EIO;
    }
    evconnlistener_set_error_cb(lev, on_accept_error);
    s->listeners[s->nlisteners++] = lev; /* evhttp owns it now */
    return 0;
}

static int set_up(struct web_server *s, struct event_base *base)
{
    const struct timeval timeout = {.tv_sec = s->o.timeout_us / 1000000,
                                    .tv_usec = s->o.timeout_us % 1000000};

    s->http = evhttp_new(base);
    s->resume = event_new(base, -1, 0, on_resume, s);
    if (!s->http || !s->resume)
        return CD_EIO;
    evhttp_set_max_headers_size(s->http, (ev_ssize_t)s->o.max_header); /* conns.c sees it first and says 431 */
    evhttp_set_max_body_size(s->http, (ev_ssize_t)(s->o.max_body + BODY_SLACK));
    evhttp_set_timeout_tv(s->http, &timeout);
    evhttp_set_default_content_type(s->http, NULL);
    evhttp_set_allowed_methods(s->http, EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_HEAD | EVHTTP_REQ_PUT |
                                            EVHTTP_REQ_DELETE | EVHTTP_REQ_OPTIONS | EVHTTP_REQ_TRACE |
                                            EVHTTP_REQ_PATCH);
    evhttp_set_gencb(s->http, on_request, s);
    evhttp_set_bevcb(s->http, on_connection, s);
    for (size_t i = 0; i < s->o.nlisten; i++)
        if (i == LISTENERS_MAX || listen_on(s, base, &s->o.listen[i]) < 0)
            return CD_EIO;
    return 0;
}

int web_server_start(struct event_base *base, const struct web_server_options *o, struct web_server **ret)
{
    struct web_server *s = cd_alloc(sizeof *s);

    s->o = *o;
    s->slots = o->slots;
    s->conns = conns_new(base, o->max_connections, o->max_header, o->timeout_us, on_full, s);
    LIST_INSERT_HEAD(&servers, s, link);
    if (set_up(s, base) < 0) {
        web_server_stop(&s);
        return CD_EIO;
    }
    *ret = s;
    return 0;
}

uint16_t web_server_port(const struct web_server *s, size_t i)
{
    struct sockaddr_in6 sa = {0};
    socklen_t n = sizeof sa;

    if (i >= s->nlisteners ||
        getsockname(evconnlistener_get_fd(s->listeners[i]), (struct sockaddr *)&sa, &n) < 0)
        return 0;
    return ntohs(sa.sin6_port); /* in the same place for both families */
}

void web_server_drain(struct web_server *s)
{
    s->draining = true;
    set_listening(s);
}

bool web_server_idle(const struct web_server *s)
{
    return s->pending == 0;
}

void web_server_stop(struct web_server **ps)
{
    struct web_server *s = *ps;

    if (!s)
        return;
    *ps = NULL;
    s->draining = true;
    s->nlisteners = 0; /* evhttp frees them first, then its connections, which end through on_close() */
    LIST_REMOVE(s, link);
    if (s->http)
        evhttp_free(s->http);
    conns_free(&s->conns);
    if (s->resume)
        event_free(s->resume);
    free(s);
}

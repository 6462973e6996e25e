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
#include "channels/web/refusal.h"
#include "daemon/core/clock.h"
#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"

#define LISTENERS_MAX 16
#define BODY_SLACK                                                                                           \
    CD_KIB(64) /* on_head() says 413 first */
#define ACCEPT_PAUSE_US 200000

struct exchange {
    struct http_exchange pub; /* first: header() casts back */
    struct web_server *server;
    struct evhttp_request *req;
    void *ticket;
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
    if (x->ticket)
        x->server->o.leave(x->server->o.arg, x->ticket);
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
                  size_t n, const char *location)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(req);
    struct evbuffer *out = evbuffer_new();
    const char *uri = evhttp_request_get_uri(req), *value;
    CD_CLEANUP_FREE char *path = uri ? cd_strndup(uri, strcspn(uri, "?")) : cd_strdup("");
    const char *name = refusal_header(status, path, &value);

    cd_assert(out);
    evhttp_add_header(headers, "Connection", "close");
    if (content_type)
        evhttp_add_header(headers, "Content-Type", content_type);
    evhttp_add_header(headers, "Cache-Control", "no-store");
    if (name)
        evhttp_add_header(headers, name, value);
    if (location)
        evhttp_add_header(headers, "Location", location);
    evbuffer_add(out, body, n);
    evhttp_send_reply(req, status, NULL, out);
    evbuffer_free(out);
    metrics_inc(M_HTTP_REQUESTS);
}

void web_server_answer_at(struct slots *slots, struct ack token, int status, const char *content_type, const void *body, size_t n,
                          const char *location)
{
    struct exchange *x = slots_get(slots, token);

    if (!x)
        return;
    struct evhttp_request *req = x->req;
    struct evhttp_connection *evcon = evhttp_request_get_connection(req);
    if (evcon)
        evhttp_connection_set_closecb(evcon, on_closed_after_answer, x->server);
    exchange_free(x);
    reply(req, status, content_type, body, n, location);
}

void web_server_answer(struct slots *slots, struct ack token, int status, const char *content_type,
                       const void *body, size_t n)
{
    web_server_answer_at(slots, token, status, content_type, body, n, NULL);
}

void web_server_problem(struct slots *slots, struct ack token, enum api_problem p, const char *detail, const char *field)
{
    CD_CLEANUP_FREE char *body = api_problem_text(p, detail, field);

    web_server_answer(slots, token, api_problems[p].status, API_PROBLEM_TYPE, body, strlen(body));
}

void *web_server_ticket(const struct http_exchange *x)
{
    return ((const struct exchange *)x)->ticket;
}

void web_server_drop_body(const struct http_exchange *x)
{
    struct exchange *e = (struct exchange *)(uintptr_t)x;
    struct evbuffer *body = evhttp_request_get_input_buffer(e->req);

    evbuffer_drain(body, evbuffer_get_length(body));
    e->pub.body = NULL;
    e->pub.nbody = 0;
}

/* ---- heads ---- */

static void peer_of(int fd, char out[INET6_ADDRSTRLEN])
{
    struct sockaddr_storage sa;
    socklen_t n = sizeof sa;

    out[0] = '\0';
    if (getpeername(fd, (struct sockaddr *)&sa, &n) < 0)
        return;
    if (sa.ss_family == AF_INET)
        inet_ntop(AF_INET, &((struct sockaddr_in *)&sa)->sin_addr, out, INET6_ADDRSTRLEN);
    else if (sa.ss_family == AF_INET6)
        inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&sa)->sin6_addr, out, INET6_ADDRSTRLEN);
}

static bool is_framing(enum api_problem p)
{
    for (size_t i = 0; api_common[i]; i++)
        if (api_common[i] == p)
            return true;
    return false;
}

static void count_bad(int status, const char *why, const char *peer)
{
    metrics_inc(M_HTTP_BAD);
    log_event(LOG_L_INFO, EV_HTTP_BAD_REQUEST, "status=%d why=%s peer=%s", status, log_quote(why), log_quote(peer));
}

static void on_head(void *arg, int fd, const void *p, size_t n, const void *rest, size_t nrest, const char *fault,
                    struct conns_verdict *ret)
{
    struct web_server *s = arg;
    struct web_head h = {0};
    struct web_admission a = {.max_body = s->o.max_body};
    struct web_verdict v = {.problem = !n ? API_HEAD_TOO_LARGE : fault ? API_BAD_REQUEST : API_OK, .detail = n ? fault : "the header is over the limit"};
    char peer[INET6_ADDRSTRLEN];

    peer_of(fd, peer);
    if (!v.problem)
        v = web_head_read(p, n, &h);
    if (v.problem == API_LENGTH_REQUIRED && h.chunked && !web_head_chunk_sound(rest, nrest))
        v = (struct web_verdict){.problem = API_BAD_REQUEST, .detail = "chunk"};
    if (!v.problem && s->o.admit)
        v = s->o.admit(s->o.arg, peer, &h, &a);
    if (!v.problem && h.length > a.max_body)
        v = (struct web_verdict){.problem = API_TOO_LARGE, .detail = "the body is over the limit"};
    if (v.problem) {
        if (a.ticket)
            s->o.leave(s->o.arg, a.ticket);
        if (is_framing(v.problem))
            count_bad(api_problems[v.problem].status, v.detail, peer);
        metrics_inc(M_HTTP_REQUESTS);
        ret->refusal = refusal_text(&v, &h);
    } else {
        *ret = (struct conns_verdict){.length = h.length, .timeout_us = a.timeout_us, .ticket = a.ticket};
    }
    web_head_free(&h);
}

static void on_end(void *arg, void *ticket)
{
    struct web_server *s = arg;

    s->o.leave(s->o.arg, ticket);
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

static struct exchange *exchange_new(struct web_server *s, struct evhttp_request *req, void *ticket)
{
    struct exchange *x = cd_alloc(sizeof *x);
    struct evbuffer *body = evhttp_request_get_input_buffer(req);
    const char *uri = evhttp_request_get_uri(req);
    char *peer = NULL;
    ev_uint16_t port = 0;

    if (slots_take(s->slots, x, &x->pub.token) < 0) {
        if (ticket)
            s->o.leave(s->o.arg, ticket);
        free(x);
        return NULL;
    }
    x->ticket = ticket;
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

/* on_head() has seen to the framing; here evhttp must have understood the same. */
static void on_request(struct evhttp_request *req, void *arg)
{
    struct web_server *s = arg;
    struct evhttp_connection *evcon = evhttp_request_get_connection(req);
    uint64_t length;
    void *ticket;
    const char *fault = conns_request(s->conns, evhttp_connection_get_bufferevent(evcon), &length, &ticket);
    struct exchange *x = exchange_new(s, req, ticket);

    if (!x) {
        CD_CLEANUP_FREE char *busy = api_problem_text(API_BUSY, "too many requests at once", NULL);
        metrics_inc(M_HTTP_REFUSED);
        evhttp_connection_set_closecb(evcon, on_closed_after_answer, s);
        reply(req, 503, API_PROBLEM_TYPE, busy, strlen(busy), NULL);
        return;
    }
    evhttp_connection_set_closecb(evcon, on_close, x);
    bool with_body = str_eq(x->pub.method, "POST") || str_eq(x->pub.method, "PUT") || str_eq(x->pub.method, "PATCH");
    if (!fault && (x->pub.uri[0] != '/' || (with_body ? length : 0) != x->pub.nbody))
        fault = "framing";
    if (fault) {
        count_bad(400, fault, x->pub.peer);
        web_server_problem(s->slots, x->pub.token, API_BAD_REQUEST, fault, NULL);
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
    evhttp_set_max_body_size(s->http, (ev_ssize_t)(CD_MAX(s->o.max_body, s->o.max_any_body) + BODY_SLACK));
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
    s->conns = conns_new(&(struct conns_options){.base = base,
                                                 .max = o->max_connections,
                                                 .max_head = o->max_header,
                                                 .timeout_us = o->timeout_us,
                                                 .on_full = on_full,
                                                 .on_head = on_head,
                                                 .on_end = on_end,
                                                 .arg = s});
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

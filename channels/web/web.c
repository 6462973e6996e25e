/* The web channel: health, readiness and metrics, and the routes that other channels registered. One per
 * process, because server and client serve all channels; the state is freed by stop. An unknown path costs a
 * 404, an unsound request its sender a 400. */
#include "channels/web/web.h"

#include <string.h>

#include "channels/web/intake.h"
#include "channels/web/web_private.h"
#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"

#define ROUTES_MAX 16
#define METRICS_MAX CD_MIB(1)
#define METRICS_CONNECTIONS 32
#define METRICS_BODY 1024
#define JSON "application/json"

static struct {
    const char *prefix;
    http_handler fn;
    void *arg;
} routes[ROUTES_MAX];
static size_t nroutes;
static struct web *web; /* between start and stop */

void web_add_route(const char *prefix, http_handler fn, void *arg)
{
    cd_assert(nroutes < ROUTES_MAX && prefix && fn);
    routes[nroutes].prefix = prefix;
    routes[nroutes].fn = fn;
    routes[nroutes++].arg = arg;
}

void web_answer(struct ack token, int status, const char *content_type, const void *body, size_t n)
{
    if (web)
        web_server_answer(web->slots, token, status, content_type, body, n);
    else
        metrics_inc(M_ACK_STALE);
}

int web_fetch(const struct http_fetch *f, http_fetch_done done, void *arg)
{
    return web ? web_client_fetch(web->client, f, done, arg) : CD_EAGAIN;
}

static void answer_text(struct web *w, const struct http_exchange *x, int status, const char *type,
                        const char *body)
{
    web_server_answer(w->slots, x->token, status, type, body, strlen(body));
}

static bool is_read(const struct http_exchange *x)
{
    return str_eq(x->method, "GET") || str_eq(x->method, "HEAD");
}

static bool refused_method(struct web *w, const struct http_exchange *x)
{
    if (is_read(x))
        return false;
    web_server_problem(w->slots, x->token, API_METHOD, "only GET here", NULL);
    return true;
}

static void on_http(void *arg, const struct http_exchange *x)
{
    struct web *w = arg;

    if (str_eq(x->path, "/healthz")) {
        if (!refused_method(w, x))
            answer_text(w, x, 200, JSON, "{\"ok\":true}\n");
    } else if (str_eq(x->path, "/readyz")) {
        if (refused_method(w, x))
            return;
        if (w->host->ready(w->host->front, 0))
            answer_text(w, x, 200, JSON, "{\"ready\":true}\n");
        else
            answer_text(w, x, 503, JSON, "{\"ready\":false}\n");
    } else if (intake_owns(x->path)) {
        intake_on_http(w->intake, x);
    } else {
        for (size_t i = 0; i < nroutes; i++)
            if (str_starts(x->path, routes[i].prefix)) {
                routes[i].fn(routes[i].arg, x);
                return;
            }
        web_server_problem(w->slots, x->token, API_NOT_FOUND, "no such path", NULL);
    }
}

static void on_metrics(void *arg, const struct http_exchange *x)
{
    struct web *w = arg;
    struct buf b;

    if (!str_eq(x->path, "/metrics")) {
        web_server_problem(w->slots, x->token, API_NOT_FOUND, "only /metrics here", NULL);
        return;
    }
    if (refused_method(w, x))
        return;
    buf_init(&b, METRICS_MAX);
    metrics_render(&b);
    web_server_answer(w->slots, x->token, 200, "text/plain; version=0.0.4", b.data, b.len);
    buf_free(&b);
}

static struct web_verdict admit(void *arg, const char *peer, const struct web_head *h, struct web_admission *a)
{
    const struct web *w = arg;

    return intake_owns(h->path) ? intake_admit(w->intake, peer, h, a) : (struct web_verdict){0};
}

static void leave(void *arg, void *ticket)
{
    const struct web *w = arg;

    intake_leave(w->intake, ticket);
}

static bool is_tight(void *arg)
{
    const struct web *w = arg;

    return w->host->gate(w->host->front) != GATE_NORMAL;
}

static void web_stop(void **state)
{
    struct web *w = *state;

    if (!w)
        return;
    *state = NULL;
    ack_register(CH_WEB, NULL, NULL);
    web_client_stop(&w->client);
    web_server_stop(&w->http);
    web_server_stop(&w->metrics);
    intake_free(&w->intake);
    slots_free(&w->slots);
    web = NULL;
    nroutes = 0;
    free(w);
}

static int web_start(const struct channel_host *host, void **ret_state)
{
    const struct config *cfg = host->cfg;
    struct web *w = cd_alloc(sizeof *w);
    void *state = w;

    cd_assert(!web);
    w->host = host;
    w->slots = slots_new((uint32_t)cfg->http_max_connections + METRICS_CONNECTIONS);
    struct web_server_options o = {
        .name = "http",
        .listen = cfg->http_listen,
        .nlisten = cfg->nhttp_listen,
        .max_body = cfg->http_max_body_bytes,
        .max_any_body = cfg->web_max_body_bytes,
        .max_header = cfg->http_max_header_bytes,
        .max_connections = (unsigned)cfg->http_max_connections,
        .timeout_us = cfg->http_request_timeout_us,
        .hurry = is_tight,
        .hurry_us = cfg->intake_tight_timeout_us,
        .slots = w->slots,
        .admit = admit,
        .leave = leave,
        .handler = on_http,
        .arg = w,
    };
    w->intake = intake_new(host, w->slots);
    ack_register(CH_WEB, intake_on_ack, w->intake);
    int r = web_client_start(host->base, WEB_CLIENT_MAX, &w->client);
    if (r == 0 && o.nlisten)
        r = web_server_start(host->base, &o, &w->http);
    o.name = "metrics";
    o.listen = cfg->metrics_listen;
    o.nlisten = cfg->nmetrics_listen;
    o.max_body = o.max_any_body = METRICS_BODY;
    o.max_connections = METRICS_CONNECTIONS;
    o.hurry = NULL; /* to be seen above all when it is tight */
    o.admit = NULL;
    o.handler = on_metrics;
    if (r == 0 && o.nlisten)
        r = web_server_start(host->base, &o, &w->metrics);
    web = w;
    if (r < 0)
        web_stop(&state);
    else
        *ret_state = w;
    return r;
}

/* The metrics stay readable while the rest drains. */
static void web_drain(void *state)
{
    struct web *w = state;

    if (w->http)
        web_server_drain(w->http);
}

static bool web_idle(void *state)
{
    const struct web *w = state;

    return (!w->http || web_server_idle(w->http)) && web_client_idle(w->client);
}

static void web_reply(void *state, struct ack slot, const struct reply *r)
{
    struct web *w = state;

    intake_on_reply(w->intake, slot, r);
}

const struct channel channel_web = {
    .name = "web",
    .id = CH_WEB,
    .start = web_start,
    .drain = web_drain,
    .idle = web_idle,
    .stop = web_stop,
    .decode = web_decode,
    .on_reply = web_reply,
    .send = webhook_send,
    .transport = TR_WEBHOOK,
};

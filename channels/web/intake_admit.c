/* The first look at a complaint by HTTP, at its head: who sends it, under what key, of what kind and size, and whether there is room.
 * What is let in gets a ticket, which keeps its place in the budget from then on to its answer: the bytes that it said it would send
 * count as being read from the first. So nobody without a token, and nobody over a limit, has a byte of his body read. */
#include <string.h>

#include "channels/web/form.h"
#include "channels/web/intake_impl.h"
#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"

static struct web_verdict no(enum api_problem p, const char *detail, const char *field)
{
    return (struct web_verdict){.problem = p, .detail = detail, .field = field};
}

static const struct cfg_client *client_of(const struct config *c, const char *authorization)
{
    if (!authorization || !str_istarts(authorization, "Bearer "))
        return NULL;
    const char *token = authorization + 7 + strspn(authorization + 7, " ");
    const struct cfg_client *client = config_client_by_token(c, token);
    return client && (enum role)client->role >= ROLE_INTAKE ? client : NULL;
}

/* The draft of the header field has a quoted string, most clients send it bare: "k" and k are one key. */
static char *key_of(const char *value)
{
    size_t n = value ? strlen(value) : 0;

    if (n >= 2 && value[0] == '"' && value[n - 1] == '"') {
        value++;
        n -= 2;
    }
    return n > 0 && n <= API_MAX_KEY && !memchr(value, '"', n) ? cd_strndup(value, n) : NULL;
}

static bool is_utf8(const char *content_type)
{
    CD_CLEANUP_FREE char *charset = web_head_parameter(content_type, "charset");

    return !charset || str_ieq(charset, "utf-8");
}

/* What kind of body, under what key, how large; the ticket gets what is to be known later. */
static struct web_verdict check_submit(const struct intake *i, const struct web_head *h, struct ticket *t)
{
    const struct config *c = i->host->cfg;
    bool form = web_head_type_is(h->content_type, API_FORM);

    if (!form && (!web_head_type_is(h->content_type, API_JSON) || !is_utf8(h->content_type)))
        return no(API_MEDIA_TYPE, "send application/json in UTF-8, or multipart/form-data", NULL);
    if (form && (!(t->boundary = web_head_parameter(h->content_type, "boundary")) || !form_boundary_valid(t->boundary)))
        return no(API_BAD_FORM, "Content-Type has no boundary of 1 to 70 of the characters that RFC 2046 allows", NULL);
    if (!(t->key = key_of(h->key)))
        return no(API_KEY_MISSING, "send Idempotency-Key, 1 to 200 printable ASCII characters, another one for each complaint", NULL);
    if (h->length > (form ? c->web_max_body_bytes : c->web_max_json_bytes)) {
        metrics_inc(form ? M_WEB_LIMIT_BODY : M_WEB_LIMIT_JSON);
        return no(API_TOO_LARGE, form ? "the body is over web.max_body" : "the body is over web.max_json", NULL);
    }
    return no(API_OK, NULL, NULL);
}

static struct load *load_of(struct intake *i, const char *client)
{
    struct load *l;

    LIST_FOREACH(l, &i->loads, link)
        if (str_eq(l->client, client))
            return l;
    l = cd_alloc(sizeof *l);
    l->client = cd_strdup(client);
    LIST_INSERT_HEAD(&i->loads, l, link);
    return l;
}

/* One body a client may always send, or a small limit would shut out a large one for ever. */
static bool over_share(const struct config *c, const struct load *l, uint64_t length)
{
    bool requests = l->requests >= c->web_max_client_requests;
    bool bytes = l->bytes > 0 && length > 0 && l->bytes + length > c->web_max_client_bytes;

    if (requests || bytes) {
        metrics_inc(requests ? M_WEB_LIMIT_CLIENT_REQUESTS : M_WEB_LIMIT_CLIENT_BYTES);
        log_event(LOG_L_WARN, EV_WEB_CLIENT_LIMIT, "client=%s limit=%s", log_quote(l->client), requests ? "requests" : "bytes");
    }
    return requests || bytes;
}

static void load_drop(struct load *l)
{
    if (l->requests)
        return;
    LIST_REMOVE(l, link);
    free(l->client);
    free(l);
}

static struct web_verdict take_in(const struct intake *i, const struct cfg_client *client, struct load *l, const struct web_head *h,
                                  struct ticket *t, struct web_admission *a)
{
    const struct channel_host *host = i->host;

    t->load = l;
    t->load->requests++;
    t->desk = client->desk && *client->desk ? cd_strdup(client->desk) : NULL;
    for (size_t k = 0; k < client->desks.n; k++)
        strlist_add(&t->desks, client->desks.v[k]);
    if (!t->key)
        return no(API_OK, NULL, NULL);
    t->bytes = h->length;
    t->load->bytes += t->bytes;
    gate_read(t->bytes);
    a->max_body = h->length;
    a->timeout_us = host->gate(host->front) == GATE_NORMAL ? host->cfg->web_body_timeout_us : host->cfg->intake_tight_timeout_us;
    return no(API_OK, NULL, NULL);
}

static void ticket_free(struct ticket *t)
{
    struct load *l = t->load;

    if (l) {
        l->requests--;
        l->bytes -= t->bytes;
        if (t->bytes)
            gate_unread(t->bytes);
        load_drop(l);
    }
    free(t->desk);
    strlist_free(&t->desks);
    free(t->key);
    free(t->boundary);
    free(t);
}

void intake_leave(struct intake *i CD_UNUSED, void *ticket)
{
    ticket_free(ticket);
}

static struct web_verdict judge(struct intake *i, const char *peer, const struct web_head *h, struct ticket *t, struct web_admission *a)
{
    const struct channel_host *host = i->host;
    bool submit = str_eq(h->path, API_COMPLAINTS);
    const struct cfg_client *client = client_of(host->cfg, h->authorization);

    if (!client) {
        metrics_inc(M_WEB_AUTH_FAILURES);
        log_event(LOG_L_WARN, EV_WEB_AUTH_FAILED, "peer=%s token=%s", log_quote(peer), h->authorization ? "unknown" : "none");
        return no(API_UNAUTHORIZED, "send Authorization: Bearer and the token of a client in the configuration", NULL);
    }
    if (submit ? h->method != WEB_POST : h->method != WEB_GET && h->method != WEB_HEAD)
        return no(API_METHOD, submit ? "POST a complaint here" : "GET a complaint here", NULL);
    if (submit) {
        struct web_verdict v = check_submit(i, h, t);
        if (v.problem)
            return v;
    }
    struct load *l = load_of(i, client->name);
    struct web_verdict v = {0};
    if (over_share(host->cfg, l, submit ? h->length : 0)) {
        v = no(API_TOO_MANY, "wait for the answers to what is under way", NULL);
    } else if (submit && !host->ready(host->front, (size_t)h->length)) {
        metrics_inc(M_INTAKE_BUSY_WEB);
        v = no(API_BUSY, "no durable place for it now: send it again with the same key", NULL);
    }
    if (!v.problem)
        return take_in(i, client, l, h, t, a);
    load_drop(l);
    return v;
}

struct web_verdict intake_admit(struct intake *i, const char *peer, const struct web_head *h, struct web_admission *a)
{
    struct ticket *t = cd_alloc(sizeof *t);
    struct web_verdict v = judge(i, peer, h, t, a);

    if (!v.problem) {
        a->ticket = t;
        return v;
    }
    if (v.problem != API_UNAUTHORIZED && v.problem != API_TOO_MANY && v.problem != API_BUSY && v.problem != API_TOO_LARGE)
        metrics_inc(M_WEB_REFUSED);
    ticket_free(t);
    return v;
}

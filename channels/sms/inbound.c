/* Messages that a provider hands us: POST /sms/twilio/<name>. The signature is checked before anything is
 * believed or kept; what holds becomes an envelope, and the provider's request is answered only when the
 * envelope is durable. "Accepted" is 200, and whatever may pass is 503, because providers give up on 4xx. A
 * waiting webhook is owned by its slot. */
#include <ctype.h>
#include <string.h>

#include "channels/sms/form.h"
#include "channels/sms/sms_private.h"
#include "channels/sms/twilio.h"
#include "daemon/core/clock.h"
#include "daemon/core/err.h"
#include "daemon/core/log.h"
#include "daemon/core/metrics.h"
#include "daemon/intake/keys.h"

#define PREFIX "/sms/twilio/"
#define JSON "application/json"

struct waiting {
    struct ack http; /* the exchange to answer */
};

static void answer(struct sms *s, struct ack token, int status, const char *type, const char *body)
{
    s->host->http_answer(s->host->front, token, status, type, body, strlen(body));
}

static void problem(struct sms *s, struct ack token, int status, const char *code, const char *message)
{
    CD_CLEANUP_FREE char *body = cd_asprintf("{\"code\":\"%s\",\"message\":\"%s\",\"retry\":%s}\n", code,
                                             message, status == 503 ? "true" : "false");
    answer(s, token, status, JSON, body);
}

static void busy(struct sms *s, struct ack token)
{
    metrics_inc(M_SMS_TEMPFAIL);
    metrics_inc(M_INTAKE_BUSY_SMS);
    problem(s, token, 503, "busy", "try again");
}

static const struct cfg_sms_provider *find_provider(const struct config *cfg, const char *path)
{
    const char *name = str_starts(path, PREFIX) ? path + strlen(PREFIX) : "";

    for (size_t i = 0; i < cfg->nsms_providers; i++)
        if (str_eq(cfg->sms_providers[i].provider, "twilio") && str_eq(cfg->sms_providers[i].name, name))
            return &cfg->sms_providers[i];
    return NULL;
}

/* The URL as the provider called it, which a proxy in front of us may have changed: base from the
 * configuration. */
static bool signature_holds(const struct cfg_sms_provider *p, const struct http_exchange *x,
                            const struct form *f)
{
    const char *signature = x->header(x, "X-Twilio-Signature");
    size_t base = strlen(p->public_url);

    while (base > 0 && p->public_url[base - 1] == '/')
        base--;
    CD_CLEANUP_FREE char *url = cd_asprintf("%.*s%s", (int)base, p->public_url, x->uri);
    return signature && twilio_verify(p->auth_token, p->auth_token_old, url, f, signature);
}

/* ---- envelopes ---- */

static bool sid_ok(const char *s)
{
    size_t n = s ? strlen(s) : 0;

    if (n == 0 || n > 64)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)s[i]))
            return false;
    return true;
}

static void digest_of(const struct form *f, const char *from, const char *to, uint8_t out[SHA256_SIZE])
{
    const struct form_pair *body = form_find(f, "Body");
    size_t nbody = body ? body->nvalue : 0;
    struct buf b;

    buf_init(&b, strlen(from) + strlen(to) + nbody + 2);
    buf_append(&b, from, strlen(from) + 1);
    buf_append(&b, to, strlen(to) + 1);
    buf_append(&b, body ? body->value : "", nbody);
    keys_of_text(b.data, b.len, out);
    buf_free(&b);
}

static struct envelope *envelope_of(const struct cfg_sms_provider *p, const struct http_exchange *x,
                                    const struct form *f, const char *sid, const char *from)
{
    const char *to = form_one(f, "To");
    struct envelope *e = envelope_new(CH_SMS, x->nbody);

    e->received_at_us = clock_service_us();
    e->client = cd_strdup(p->name);
    e->sender = utf8_clean(from, strlen(from), NULL);
    if (to)
        strlist_take(&e->recipients, utf8_clean(to, strlen(to), NULL));
    strlist_add(&e->desks, p->desk);
    e->key = cd_asprintf("twilio:%s", sid);
    digest_of(f, from, to ? to : "", e->digest);
    buf_append(&e->raw, x->body, x->nbody);
    return e;
}

static void submit(struct sms *s, const struct http_exchange *x, struct envelope *e)
{
    struct waiting *w = cd_alloc(sizeof *w);
    struct ack a, http = x->token;

    w->http = http;
    if (slots_take(s->slots, w, &a) < 0) {
        envelope_free(&e);
        free(w);
        busy(s, http);
        return;
    }
    a.channel = CH_SMS;
    e->ack = a;
    s->waiting++;
    if (s->host->submit(s->host->front, e) == 0)
        return;
    s->waiting--;
    slots_release(s->slots, a);
    free(w);
    envelope_free(&e);
    busy(s, http);
}

void sms_on_ack(void *state, struct ack a, const struct ack_result *r)
{
    struct sms *s = state;
    struct waiting *w = slots_get(s->slots, a);

    if (!w)
        return;
    struct ack http = w->http;
    slots_release(s->slots, a);
    free(w);
    s->waiting--;
    switch (r->verdict) {
    case ACK_STORED:
        answer(s, http, 200, "text/xml", "<Response/>");
        break;
    case ACK_RETRY_LATER:
        busy(s, http);
        break;
    case ACK_REJECTED:
        problem(s, http, 422, "rejected", "not taken");
        break;
    }
}

/* ---- requests ---- */

static void on_verified(struct sms *s, const struct cfg_sms_provider *p, const struct http_exchange *x,
                        const struct form *f)
{
    const char *sid = form_one(f, "MessageSid"), *from = form_one(f, "From"),
               *status = form_one(f, "SmsStatus");

    if (form_find(f, "MessageStatus") && !str_eq(status, "received")) {
        answer(s, x->token, 204, NULL, ""); /* a delivery receipt */
        return;
    }
    if (!sid_ok(sid) || !from || !from[0]) {
        problem(s, x->token, 400, "missing", "MessageSid and From are required, once each");
        return;
    }
    if (!s->host->ready(s->host->front, x->nbody)) {
        busy(s, x->token);
        return;
    }
    submit(s, x, envelope_of(p, x, f, sid, from));
}

void sms_on_http(void *state, const struct http_exchange *x)
{
    struct sms *s = state;
    const struct cfg_sms_provider *p = find_provider(s->host->cfg, x->path);
    const char *type = x->header(x, "Content-Type");
    struct form *f = NULL;

    if (!p) {
        problem(s, x->token, 404, "not-found", "no such provider");
        return;
    }
    if (!str_eq(x->method, "POST")) {
        problem(s, x->token, 405, "method", "only POST here");
        return;
    }
    if (!type || !str_istarts(type, "application/x-www-form-urlencoded")) {
        problem(s, x->token, 415, "media-type", "only application/x-www-form-urlencoded here");
        return;
    }
    int r = form_parse(x->body, x->nbody, &f);
    if (r < 0 || !signature_holds(p, x, f)) {
        metrics_inc(M_SMS_UNSIGNED);
        log_event(LOG_L_NOTICE, EV_SMS_UNSIGNED, "provider=%s peer=%s form=%s", p->name, log_quote(x->peer),
                  r < 0 ? "bad" : "ok");
        problem(s, x->token, 403, "signature", "the signature does not hold");
    } else {
        on_verified(s, p, x, f);
    }
    form_free(&f);
}

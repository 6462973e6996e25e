/* Sending by Twilio's API. It knows no idempotency key, so a lost answer is "unknown" and the caller decides.
 * A send under way belongs to its fetch and keeps the outbox alive: the channel may have stopped when the
 * answer comes. */
#include <ctype.h>
#include <string.h>

#include "channels/send_later.h"
#include "channels/sms/form.h"
#include "channels/sms/sms_private.h"
#include "daemon/core/err.h"

#define SEND_TIMEOUT CD_SEC(30)
#define SMS_TEXT_MAX CD_KIB(64)

struct sms_outbox {
    const struct channel_host *host;
    unsigned pending;
    bool closed;
};

struct sms_sending {
    struct sms_outbox *outbox;
    struct uuid id;
};

struct sms_outbox *sms_outbox_new(const struct channel_host *host)
{
    struct sms_outbox *o = cd_alloc(sizeof *o);

    o->host = host;
    return o;
}

bool sms_outbox_idle(const struct sms_outbox *o)
{
    return o->pending == 0;
}

void sms_outbox_close(struct sms_outbox **po)
{
    struct sms_outbox *o = *po;

    *po = NULL;
    if (!o)
        return;
    o->closed = true;
    if (!o->pending)
        free(o);
}

/* ---- answers ---- */

/* "21211 The 'To' number … is not valid" from an error, the sid from a success; the body is the provider's
 * word, not trusted. */
static char *detail_of(const struct http_fetch_result *r)
{
    json_t *j = json_loadb(r->body, r->nbody, 0, NULL);
    const char *sid = json_string_value(json_object_get(j, "sid"));
    const char *message = json_string_value(json_object_get(j, "message"));
    json_int_t code = json_integer_value(json_object_get(j, "code"));
    char *text;

    if (message)
        text = cd_asprintf("%d %lld %.150s", r->status, (long long)code, message);
    else
        text = cd_asprintf("%d %.64s", r->status, sid ? sid : "");
    json_decref(j);
    return text;
}

static void judge(const struct http_fetch_result *r, struct send_result *ret)
{
    CD_CLEANUP_FREE char *detail = detail_of(r);
    int s = r->status;

    if (r->outcome == FETCH_NOT_SENT)
        send_result_set(ret, SEND_RETRY, "not sent: %s", r->error);
    else if (r->outcome == FETCH_UNKNOWN)
        send_result_set(ret, SEND_UNKNOWN, "no answer: %s", r->error);
    else if (s == 200 || s == 201)
        send_result_set(ret, SEND_SENT, "%s", detail);
    else if (s == 401 || s == 408 || s == 425 || s == 429 ||
             s >= 500) /* 401: our credentials, to be mended here */
        send_result_set(ret, SEND_RETRY, "%s", detail);
    else
        send_result_set(ret, SEND_REJECTED, "%s", detail);
    ret->retry_after_us = r->retry_after_us;
}

static void on_done(void *arg, const struct http_fetch_result *r)
{
    struct sms_sending *g = arg;
    struct sms_outbox *o = g->outbox;
    struct send_result result;

    judge(r, &result);
    o->host->send_done(o->host->front, &g->id, &result);
    free(g);
    if (--o->pending == 0 && o->closed)
        free(o);
}

/* ---- requests ---- */

/* The provider of the message's desk, else the first. */
static const struct cfg_sms_provider *find_provider(const struct config *cfg, const char *desk)
{
    for (size_t i = 0; desk && i < cfg->nsms_providers; i++)
        if (str_eq(cfg->sms_providers[i].desk, desk))
            return &cfg->sms_providers[i];
    return cfg->nsms_providers ? &cfg->sms_providers[0] : NULL;
}

static bool is_number(const char *s)
{
    size_t n = strspn(s, "+0123456789");

    return n > 2 && n <= 16 && s[n] == '\0';
}

static void build_form(struct buf *b, const struct cfg_sms_provider *p, const struct outgoing *o)
{
    CD_CLEANUP_FREE char *text = cd_asprintf("%s%s", o->sandbox ? "[sandbox] " : "", o->text ? o->text : "");

    form_append(b, "To", o->recipient);
    form_append(b, str_starts(p->from, "MG") ? "MessagingServiceSid" : "From", p->from);
    form_append(b, "Body", text);
}

static int fetch(struct sms *s, const struct cfg_sms_provider *p, const struct buf *form,
                 const struct uuid *id)
{
    size_t base = strlen(p->api_url);

    while (base > 0 && p->api_url[base - 1] == '/')
        base--;
    CD_CLEANUP_FREE char *url =
        cd_asprintf("%.*s/2010-04-01/Accounts/%s/Messages.json", (int)base, p->api_url, p->account_sid);
    struct http_fetch f = {
        .url = url,
        .content_type = "application/x-www-form-urlencoded",
        .username = p->account_sid,
        .password = p->auth_token,
        .body = form->data,
        .nbody = form->len,
        .timeout_us = SEND_TIMEOUT,
    };
    struct sms_sending *g = cd_alloc(sizeof *g);
    g->outbox = s->outbox;
    g->id = *id;
    s->outbox->pending++;
    int r = s->host->fetch(s->host->front, &f, on_done, g);
    if (r < 0) {
        s->outbox->pending--;
        free(g);
    }
    return r;
}

int sms_send(void *state, const struct outgoing *o)
{
    struct sms *s = state;
    const struct cfg_sms_provider *p = find_provider(s->host->cfg, o->desk);
    struct buf form;
    int r = 0;

    if (!p || !is_number(o->recipient)) {
        send_later(s->host, &o->id, SEND_REJECTED,
                   p ? "not a telephone number" : "no SMS provider in the configuration");
        return 0;
    }
    buf_init(&form, SMS_TEXT_MAX);
    build_form(&form, p, o);
    if (form.failed)
        r = CD_EINVAL;
    else
        r = fetch(s, p, &form, &o->id);
    buf_free(&form);
    if (r < 0 && r != CD_EAGAIN) {
        send_later(s->host, &o->id, SEND_REJECTED, "text too long, or the provider's api_url is not https");
        return 0;
    }
    return r;
}

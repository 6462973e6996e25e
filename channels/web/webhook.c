/* Notifications to webhooks: a POST of JSON, signed with the secret of the webhook's configuration. An answer
 * that is lost makes the outcome "unknown"; the receiver knows a second try by its Idempotency-Key. A pending
 * send belongs to the fetch. */
#include <stdio.h>
#include <string.h>

#include "channels/send_later.h"
#include "channels/web/web_private.h"
#include "daemon/core/clock.h"
#include "daemon/core/crypto.h"
#include "daemon/core/err.h"

#define WEBHOOK_TIMEOUT CD_SEC(20)

struct webhook_send {
    const struct channel_host *host;
    struct uuid id;
};

static void judge(const struct http_fetch_result *r, struct send_result *ret)
{
    int s = r->status;

    if (r->outcome == FETCH_NOT_SENT)
        send_result_set(ret, SEND_RETRY, "not sent: %s", r->error);
    else if (r->outcome == FETCH_UNKNOWN)
        send_result_set(ret, SEND_UNKNOWN, "no answer: %s", r->error);
    else if (s >= 200 && s < 300)
        send_result_set(ret, SEND_SENT, "%d", s);
    else if (s == 408 || s == 425 || s == 429 || s >= 500)
        send_result_set(ret, SEND_RETRY, "%d %.150s", s, r->body);
    else
        send_result_set(ret, SEND_REJECTED, "%d %.150s", s, r->body);
    ret->retry_after_us = r->retry_after_us;
}

static void on_done(void *arg, const struct http_fetch_result *r)
{
    struct webhook_send *w = arg;
    struct send_result result;

    judge(r, &result);
    w->host->send_done(w->host->front, &w->id, &result);
    free(w);
}

/* The signature is over "timestamp.body": who replays an old body must replay its time as well. */
static void sign(struct strlist *headers, const struct cfg_webhook *hook, const char *body)
{
    char stamp[32], hex[65];
    uint8_t mac[32];

    snprintf(stamp, sizeof stamp, "%lld", (long long)(clock_real_us() / 1000000));
    CD_CLEANUP_FREE char *text = cd_asprintf("%s.%s", stamp, body);
    hmac_sha256(hook->secret, strlen(hook->secret), text, strlen(text), mac);
    hex_encode(mac, sizeof mac, hex);
    strlist_take(headers, cd_asprintf("X-Complaintd-Timestamp: %s", stamp));
    if (hook->secret[0])
        strlist_take(headers, cd_asprintf("X-Complaintd-Signature: v1=%s", hex));
}

int webhook_send(void *state, const struct outgoing *o)
{
    struct web *web = state;
    const struct cfg_webhook *hook = config_webhook(web->host->cfg, o->recipient);
    struct strlist headers = {0};
    char id[UUID_TEXT_SIZE];

    if (!hook) {
        send_later(web->host, &o->id, SEND_REJECTED, "no webhook of this name in the configuration");
        return 0;
    }
    uuid_format(&o->id, id);
    strlist_take(&headers, cd_asprintf("Idempotency-Key: %s", o->idempotency_key));
    strlist_take(&headers, cd_asprintf("X-Complaintd-Event-Id: %s", id));
    if (o->sandbox)
        strlist_add(&headers, "X-Complaintd-Sandbox: yes");
    const char *body = o->json ? o->json : "{}";
    sign(&headers, hook, body);
    struct http_fetch f = {
        .url = hook->url,
        .content_type = "application/json",
        .headers = headers,
        .body = body,
        .nbody = strlen(body),
        .timeout_us = WEBHOOK_TIMEOUT,
    };
    struct webhook_send *w = cd_alloc(sizeof *w);
    w->host = web->host;
    w->id = o->id;
    int r = web_client_fetch(web->client, &f, on_done, w);
    strlist_free(&headers);
    if (r < 0)
        free(w);
    if (r < 0 && r != CD_EAGAIN) {
        send_later(web->host, &o->id, SEND_REJECTED,
                   "the webhook's URL is not https, or the key has a line break");
        return 0;
    }
    return r;
}

#pragma once
/* Private to channels/sms: the state of the channel, shared by the ways in and out. */
#include "channels/channel.h"

#define SMS_WAITING_MAX 4096 /* webhooks that wait for their commit */

struct sms {
    const struct channel_host *host;
    struct slots *slots; /* of webhooks that wait */
    unsigned waiting;
    struct sms_outbox *outbox; /* outlives the channel while sends are under way */
};

/* ---- inbound.c ---- */
void sms_on_http(void *state, const struct http_exchange *x);
void sms_on_ack(void *state, struct ack a, const struct ack_result *r);

/* ---- decode.c: in the triage worker ---- */
int sms_decode(const struct envelope *e, struct record *r) CD_MUSTUSE;

/* ---- outbound.c ---- */
struct sms_outbox *sms_outbox_new(const struct channel_host *host);
bool sms_outbox_idle(const struct sms_outbox *o);
void sms_outbox_close(struct sms_outbox **o);
int sms_send(void *state, const struct outgoing *o);

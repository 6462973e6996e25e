/* The SMS channel: webhooks of providers come in through the web channel's server, sends go out through its
 * client. The state lives from start to stop. */
#include "channels/sms/sms_private.h"

static int sms_start(const struct channel_host *host, void **ret_state)
{
    struct sms *s = cd_alloc(sizeof *s);

    s->host = host;
    s->slots = slots_new(SMS_WAITING_MAX);
    s->outbox = sms_outbox_new(host);
    ack_register(CH_SMS, sms_on_ack, s);
    *ret_state = s;
    return 0;
}

/* Nothing to stop taking in: the web channel's listeners do that. */
static void sms_drain(void *state)
{
    (void)state;
}

static bool sms_idle(void *state)
{
    const struct sms *s = state;

    return s->waiting == 0 && sms_outbox_idle(s->outbox);
}

static void sms_stop(void **state)
{
    struct sms *s = *state;

    if (!s)
        return;
    *state = NULL;
    ack_register(CH_SMS, NULL, NULL);
    sms_outbox_close(&s->outbox);
    slots_free(&s->slots);
    free(s);
}

const struct channel channel_sms = {
    .name = "sms",
    .id = CH_SMS,
    .start = sms_start,
    .drain = sms_drain,
    .idle = sms_idle,
    .stop = sms_stop,
    .decode = sms_decode,
    .send = sms_send,
    .transport = TR_SMS,
    .http_prefix = "/sms/",
    .http = sms_on_http,
};

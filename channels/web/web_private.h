#pragma once
/* Private to channels/web: the state of the channel, shared by web.c and webhook.c. */
#include "channels/web/client.h"
#include "channels/web/server.h"

struct web {
    const struct channel_host *host;
    struct slots *slots;
    struct web_server *http, *metrics; /* NULL when not configured */
    struct web_client *client;
    struct intake *intake;
};

/* channel.send: transport TR_WEBHOOK. */
int webhook_send(void *state, const struct outgoing *o);

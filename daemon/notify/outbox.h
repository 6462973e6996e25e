#pragma once
/* The outbox pump: claims due rows, renders them, gives them to their channel, records each outcome as it arrives. The claim is
 * committed before anything leaves; a crash in between leaves a lease, after which the row is sent again under the same key. */
#include <event2/event.h>

#include "channels/channel.h"
#include "config/config.h"

struct outbox;
struct outbox_route { /* who sends what */
    const struct channel *channel;
    void *state;
};
struct outbox *outbox_new(struct event_base *base, const struct config *c, bool sandbox);
void outbox_free(struct outbox **o);
void outbox_route(struct outbox *o, enum transport t, struct outbox_route r);
void outbox_kick(struct outbox *o); /* something is due now */
void outbox_drain(struct outbox *o); /* claims no more */
bool outbox_idle(const struct outbox *o); /* nothing claimed is without an outcome */
/* For channel_host.send_done. */
void outbox_send_done(struct outbox *o, const struct uuid *id, const struct send_result *r);

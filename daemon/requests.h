#pragma once
/* Requests of the line protocol and of complaintctl: runs what daemon/cases prepares, and the verbs that concern the daemon itself. */
#include <event2/event.h>

#include "channels/channel.h"
#include "daemon/pipeline.h"

struct requests;
typedef void (*requests_reply)(void *arg, struct ack slot, const struct reply *r);
struct requests_hooks {
    requests_reply reply;
    void (*kick)(void *arg);       /* due times moved: scheduler and outbox look now */
    bool (*quiet)(void *arg);      /* nothing is being claimed, written or sent by this process */
    json_t *(*stats)(void *arg);   /* the object of STATS */
    int (*read)(void *arg, struct envelope *e, pipeline_read_done done, void *done_arg); /* pipeline_read() */
    void *arg;
};
struct requests *requests_new(struct event_base *base, const struct config *c, const struct requests_hooks *h);
void requests_free(struct requests **r); /* open requests are answered with "busy" */
/* Exactly one reply follows, never from inside. */
void requests_put(struct requests *r, const struct request *rq);
/* The connection that requests run on, for others whose statements are few. */
struct pg *requests_pg(struct requests *r);
bool requests_idle(const struct requests *r);

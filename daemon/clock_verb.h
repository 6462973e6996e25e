#pragma once
/* The verb CLOCK: what time the database says it is, and, in one that is marked as a sandbox, moving that on. */
#include <event2/event.h>

#include "channels/channel.h"
#include "daemon/store/pg.h"

struct clock_verb_hooks {
    void (*answer)(void *token, struct reply *r); /* never from inside clock_verb_send(); frees `r` */
    void (*kick)(void *arg);                      /* due times moved: scheduler and outbox look now */
    bool (*quiet)(void *arg);                     /* nothing is being claimed, written or sent by this process */
    void *arg;                                    /* of kick and quiet */
};
/* What has to be among the statements of its connection. */
extern const struct pg_stmt clock_verb_show, clock_verb_look, clock_verb_set;

struct clock_verb;
struct clock_verb *clock_verb_new(struct event_base *base, const struct config *c, struct pg *pg, const struct clock_verb_hooks *h);
void clock_verb_free(struct clock_verb **v); /* after its connection; what is still open is answered with "busy" */
/* One answer follows for `token`. Only when the connection has room; `args` is borrowed until then. */
void clock_verb_send(struct clock_verb *v, void *token, const json_t *args);

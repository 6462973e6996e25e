#pragma once
/* Reading the configuration again while everything runs. Who owns what: the tree in use stays at its address for ever and its
 * reloadable values are exchanged (config_take()); the tree that then holds the old values is kept until every envelope that was under
 * way at that moment has ended, because jobs may refer to names in it. Everybody else uses the configuration within one callback, or
 * copies. */
#include <event2/event.h>

#include "config/config.h"
#include "daemon/pipeline.h"

struct reload_options {
    const char *path;           /* of the configuration file; borrowed */
    struct config *live;        /* borrowed, changed */
    struct pipeline *pipeline;  /* borrowed; its workers are replaced when their part of the configuration changed */
    void (*done)(void *arg);    /* live has changed */
    void *arg;
};
struct reload;
struct reload *reload_new(struct event_base *base, const struct reload_options *o);
/* Soon, and once for however many that ask meanwhile. A file with faults is logged and counted, and changes nothing. */
void reload_ask(struct reload *r);
void reload_stop(struct reload *r);  /* gives up what is under way; nothing is read again */
void reload_free(struct reload **r); /* after the pipeline, whose jobs may refer to old values */

#pragma once
/* States that end by themselves: a wait whose time is over, what was resolved and is to be closed. Looks every notify.poll; the database
 * checks again under its lock, so that several instances, and people who act meanwhile, change each complaint once. */
#include <event2/event.h>

#include "config/config.h"

struct pg;
struct waiting;
/* `pg` is borrowed and must be freed before waiting_free(). `fired` is called after complaints changed. */
struct waiting *waiting_new(struct event_base *base, const struct config *c, struct pg *pg, void (*fired)(void *arg), void *arg);
void waiting_free(struct waiting **w);
void waiting_kick(struct waiting *w);
bool waiting_idle(const struct waiting *w);

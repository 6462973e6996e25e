#pragma once
/* Fires due steps: claims them, works out whom they tell, writes notifications, in one transaction that holds the rows locked. A restart
 * loses no step and a second instance doubles none, because a step counts as fired only with its notifications. */
#include <event2/event.h>

#include "config/config.h"

struct scheduler;
/* `fired` is called after a transaction that wrote notifications. */
struct scheduler *scheduler_new(struct event_base *base, const struct config *c, void (*fired)(void *arg), void *arg);
void scheduler_free(struct scheduler **s);
void scheduler_kick(struct scheduler *s); /* look now, not at the next poll */
bool scheduler_idle(const struct scheduler *s);

#pragma once
/* Assignment: gives the complaints of teams that want it (teams[].assign) to their members, oldest first, again and again, so that whoever
 * comes back or has room again gets what waits, and what absent members left goes to others. */
#include <event2/event.h>

#include "config/config.h"

struct assign;
/* `given` is called after complaints were given to people: they are to be told. */
struct assign *assign_new(struct event_base *base, const struct config *c, void (*given)(void *arg), void *arg);
void assign_free(struct assign **a);
void assign_kick(struct assign *a); /* somebody changed something: look now */
bool assign_idle(const struct assign *a);

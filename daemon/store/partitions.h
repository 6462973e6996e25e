#pragma once
/* Partitions of messages and events, made before they are needed (make_partitions in schema): at start and once an hour,
 * on a connection that is open only for that. What stands in a default partition is an alarm: event, gauge. */
#include <event2/event.h>

#include "config/config.h"

struct partitions;
/* `c` is borrowed. The first look is made from the loop, as soon as the database answers. */
struct partitions *partitions_new(struct event_base *base, const struct config *c);
void partitions_free(struct partitions **p);

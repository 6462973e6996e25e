#pragma once
/* The daily row that chains the last events of all complaints which changed (complaintd.close_day in schema/0013_chains.sql): asked for at start
 * and once an hour, on a connection that is open only for that. What was closed is a line in the log, for the journal to keep. */
#include <event2/event.h>

#include "config/config.h"

struct closing;
/* `c` is borrowed. */
struct closing *closing_new(struct event_base *base, const struct config *c);
void closing_free(struct closing **c);

#pragma once
/* Envelopes that were accepted before they were triaged: read back from complaintd.pending and sent through the same pipeline. */
#include <event2/event.h>

#include "config/config.h"
#include "daemon/pipeline.h"

struct pending_reader;
struct pending_reader *pending_new(struct event_base *base, const struct config *c, struct pipeline *p);
void pending_free(struct pending_reader **r);

#pragma once
/* Writes the words of stored messages into complaintd.search, where LIST looks for them: after the commit, in the background, at a pace that
 * leaves the database to the intake. */
#include <event2/event.h>

#include "config/config.h"

struct search;
struct search *search_new(struct event_base *base, const struct config *c);
void search_free(struct search **s); /* what is under way is done again by the next start */

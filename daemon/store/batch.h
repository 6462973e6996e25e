#pragma once
/* The batch writer: group commit of whatever waits as soon as the intake connection is idle (design 5.2). */
#include <event2/event.h>

#include "config/config.h"
#include "daemon/store/item.h"

struct batch;
struct batch *batch_new(struct event_base *base, const struct config *c);
void batch_free(struct batch **b); /* what waits is answered with STORE_RETRY */
/* `it->done` is called once, never from inside. The item stays the caller's; it must live until then. */
void batch_put(struct batch *b, struct store_item *it);
/* Automatic answers to `address` that the database does not know of yet (daemon/store/answers.h). */
uint64_t batch_answers_kept(const struct batch *b, const char *address);
bool batch_usable(const struct batch *b);

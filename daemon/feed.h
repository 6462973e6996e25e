#pragma once
/* The feed of events: gives every event of the database to each of its readers (struct feed_reader in channels/channel.h), once, in
 * the order of the transactions that wrote them, and only what no transaction that still runs could put something in front of. The
 * readers share one connection, which is open while there are any, and one poll. Nothing is kept in memory but the page that was just
 * read: a reader that is paused is given it again from the database. */
#include <event2/event.h>

#include "channels/channel.h"

struct feed;
struct feed *feed_new(struct event_base *base, const struct config *c);
void feed_free(struct feed **f); /* its readers have left */
void feed_add(struct feed *f, struct feed_reader *r);
void feed_resume(struct feed *f, struct feed_reader *r);
void feed_remove(struct feed *f, struct feed_reader *r);

#pragma once
/* Private to channels/web: the connections of one server, which evhttp does not let us count or end. An entry
 * never points at anything of evhttp's that it follows: it knows a connection by its descriptor and the inode
 * of its socket. */
#include <event2/bufferevent.h>
#include <event2/event.h>

#include "channels/web/fence.h"

struct conns;
/* `on_full` is told when the cap is reached (true) and when there is room again (false). A head of more than `max_head` bytes ends its
 * connection with 431. */
struct conns *conns_new(struct event_base *base, unsigned max, size_t max_head, int64_t timeout_us,
                        void (*on_full)(void *arg, bool full), void *arg);
void conns_free(struct conns **c);
/* A connection was accepted and will be served by `bev`, whose descriptor is set before the loop goes on. Its deadline is the
 * earlier of the server's and `most_us`. */
void conns_add(struct conns *c, struct bufferevent *bev, int64_t most_us);
/* The request of `bev` has arrived: no deadline any more. The fault in its head, or NULL. */
const char *conns_request(struct conns *c, struct bufferevent *bev);
/* The connection of `bev` ends. */
void conns_remove(struct conns *c, struct bufferevent *bev);
unsigned conns_count(const struct conns *c);

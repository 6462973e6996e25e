#pragma once
/* Private to channels/web: the connections of one server, which evhttp does not let us count or end. An entry
 * never points at anything of evhttp's that it follows: it knows a connection by its descriptor and the inode
 * of its socket. */
#include <event2/bufferevent.h>
#include <event2/event.h>

#include "channels/web/fence.h"

struct conns;

/* What the owner says of a head, before any byte of the body is read. */
struct conns_verdict {
    char *refusal; /* a whole answer, owned: it is sent, the connection ends, nothing of the request goes any further; NULL: go on */
    uint64_t length; /* of the body */
    int64_t timeout_us; /* from now on to the last byte; 0: as it was */
    void *ticket; /* kept for the owner until conns_request(), or `on_end` */
};

struct conns_options {
    struct event_base *base;
    unsigned max;
    size_t max_head;
    int64_t timeout_us;
    /* The cap is reached (true), and there is room again (false). */
    void (*on_full)(void *arg, bool full);
    /* A head is there: `n` bytes with the empty line, what the fence found in it or NULL. A head over max_head is n = 0. `rest`: what
     * came with its end. */
    void (*on_head)(void *arg, int fd, const void *p, size_t n, const void *rest, size_t nrest, const char *fault, struct conns_verdict *ret);
    /* A connection with a ticket ended before its request was whole. */
    void (*on_end)(void *arg, void *ticket);
    void *arg;
};
struct conns *conns_new(const struct conns_options *o);
void conns_free(struct conns **c);
/* A connection was accepted and will be served by `bev`, whose descriptor is set before the loop goes on. Its deadline is the
 * earlier of the server's and `most_us`. */
void conns_add(struct conns *c, struct bufferevent *bev, int64_t most_us);
/* The request of `bev` has arrived: no deadline any more, and the ticket is the caller's. NULL, or what is wrong. */
const char *conns_request(struct conns *c, struct bufferevent *bev, uint64_t *ret_length, void **ret_ticket);
/* The connection of `bev` ends. */
void conns_remove(struct conns *c, struct bufferevent *bev);
unsigned conns_count(const struct conns *c);

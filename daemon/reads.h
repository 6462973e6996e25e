#pragma once
/* Connections for requests that only read, so that who looks through many complaints keeps nobody waiting who works on one: one connection
 * for what reads a single complaint, database.read_connections others, a statement at a time on each, for what looks through many. Their
 * transactions are read only and end after database.read_timeout. What waits for a place is bounded. */
#include <event2/event.h>
#include <sys/queue.h>

#include "config/config.h"
#include "daemon/store/pg.h"

/* Embed it. From reads_put() on it is the queue's until `send` or `fail` is called, exactly once; `send` at once where there is room, `fail`
 * never from inside reads_put(). */
struct read_job {
    TAILQ_ENTRY(read_job) entry;
    bool many;                                       /* looks through many */
    void (*send)(struct read_job *j, struct pg *pg); /* begins and sends one unit */
    void (*fail)(struct read_job *j);                /* no connection is usable */
    int64_t since_us;                                /* private */
};

struct reads;
/* `statements` as in struct pg_options; static. */
struct reads *reads_new(struct event_base *base, const struct config *c, const struct pg_stmt *const *statements);
void reads_free(struct reads **r); /* units under way end with PG_LOST, what waits with `fail` */
/* CD_ELIMIT: as many as may be of its kind wait already (database.read_queue); counted. */
int reads_put(struct reads *r, struct read_job *j) CD_MUSTUSE;

#pragma once
/* Private to channels/mail: the mail workers of one configuration, with the relays they know. */
#include <sys/queue.h>

#include "channels/mail/out_relays.h"
#include "daemon/worker/worker.h"

struct out_crew {
    TAILQ_ENTRY(out_crew) link;
    struct worker_pool *pool;
    struct buf config; /* what its workers were told, passwords in it */
    int config_fd;
    struct relays relays;
};
TAILQ_HEAD(out_crews, out_crew);

/* Workers for the configuration as it is; logs why not and returns NULL when they cannot be started. */
CD_MUSTUSE struct out_crew *out_crew_new(const struct channel_host *host, worker_answer answer, void *arg);
/* Whether its workers were told the same. */
bool out_crew_fits(const struct out_crew *c, const struct config *cfg);
void out_crew_free(struct out_crew *c); /* answers its open jobs from inside */

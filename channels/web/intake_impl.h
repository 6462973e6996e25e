#pragma once
/* Private to intake*.c: the state of the intake, and the ticket of a request that was let in. */
#include <sys/queue.h>

#include "channels/web/intake.h"

struct load { /* of one client, while it has tickets */
    LIST_ENTRY(load) link;
    char *client;
    uint64_t requests, bytes;
};

struct intake {
    const struct channel_host *host;
    struct slots *slots;
    LIST_HEAD(, load) loads;
};

struct ticket {
    struct load *load;
    char *desk;      /* the client's, or NULL */
    struct strlist desks; /* the only ones it has to do with; none: all */
    char *key;       /* NULL: not a submit */
    char *boundary;  /* NULL: JSON */
    uint64_t bytes;  /* counted as being read */
};

#pragma once
/* A blocking client of the line protocol over a unix socket: one request, its answer. */
#include <jansson.h>

#include "daemon/core/buf.h"

enum exit_code { EXIT_DONE = 0, EXIT_REFUSED = 1, EXIT_USAGE = 2, EXIT_NO_DAEMON = 3, EXIT_AGAIN = 75 };

struct client;
/* NULL with the reason on standard error (EXIT_NO_DAEMON). `timeout_s`: how long an answer may take. */
struct client *client_open(const char *path, int timeout_s);
void client_close(struct client **c);

struct answer {
    bool ok;
    json_t *rows; /* array, never NULL */
    json_t *body;
    bool full; /* --full was said: to be printed with what is folded otherwise */
};
/* Sends "VERB {…}" and reads up to its OK or ERR. EXIT_DONE also for ERR; EXIT_AGAIN when no whole answer
 * came. */
int client_call(struct client *c, const char *verb, const json_t *args, struct answer *ret);
void answer_free(struct answer *a);

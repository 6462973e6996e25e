#pragma once
/* A blocking client of the line protocol: one request, its answer. */
#include <jansson.h>

#include "ctl/transport.h"
#include "daemon/core/buf.h"

enum exit_code { EXIT_DONE = 0, EXIT_REFUSED = 1, EXIT_USAGE = 2, EXIT_NO_DAEMON = 3, EXIT_AGAIN = 75 };

struct client;
/* Connects, and says STARTTLS where the address wants it. NULL with the reason on standard error (EXIT_NO_DAEMON). `timeout_s`: how long
 * an answer may take. */
struct client *client_open(const struct address *a, int timeout_s);
void client_close(struct client **c);

struct answer {
    bool ok;
    json_t *rows; /* array, never NULL */
    json_t *body;
    bool full; /* --full was said: to be printed with what is folded otherwise */
    const char *asked; /* the reference that was asked for, where another one answered; borrowed */
};
/* Sends "VERB {…}" and reads up to its OK or ERR. EXIT_DONE also for ERR; EXIT_AGAIN when no whole answer
 * came. */
int client_call(struct client *c, const char *verb, const json_t *args, struct answer *ret);
/* The same, but each row goes to `on_row` as it comes (borrowed); false from it ends the call with EXIT_REFUSED. */
typedef bool (*client_row)(void *arg, const json_t *row);
int client_stream(struct client *c, const char *verb, const json_t *args, client_row on_row, void *arg, struct answer *ret);
void answer_free(struct answer *a);

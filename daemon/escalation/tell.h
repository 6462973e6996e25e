#pragma once
/* Whom a step tells: pure, from policy and contacts to rows of the outbox. */
#include "config/config.h"
#include "daemon/store/item.h"

struct tell_input {
    const char *complaint_id, *policy; /* "standard@1a2b…" */
    const char *team, *language;
    const struct strlist *about; /* whom it is about: they are not told; NULL: nobody */
    int level, repeat, cycle;
    int64_t due_us;
};
/* Appends to `out` what does not stand there yet for the same recipient; returns how many ways there are to tell someone. `*ret_step`: name
 * of the deadline that the step belongs to. Level and policy that no longer exist, and a step for none but whom it is
 * about, tell nobody (0). */
size_t tell_step(const struct config *c, const struct tell_input *in, struct store_notes *out, const char **ret_step);

/* A mail to a customer came back, or could not be sent: what the complaint's team is told, one row for each of its ways. `error`: status and
 * the other system's words. Returns how many. */
size_t tell_undeliverable(const struct config *c, const struct uuid *complaint_id, const char *team, const char *address, const char *error,
                          struct store_notes *out);

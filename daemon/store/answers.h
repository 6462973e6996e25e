#pragma once
/* Automatic answers that were given but are not yet counted in the database (schema: addresses), by address. Each would be a row's update in
 * the transaction that gives it, for which others that answer the same address wait; so they are kept for some seconds, and travel many at
 * a time. What is lost with the process is lost to the day's budget of those addresses alone. Memory is bounded. */
#include "daemon/core/base.h"

#define ANSWERS_MAX 10000        /* addresses kept; what does not fit is not counted (metric) */
#define ANSWERS_AT_ONCE 1000     /* addresses that travel together */
#define ANSWERS_LATER_US CD_SEC(5)

struct answers;
struct answers *answers_new(void);
void answers_free(struct answers **a);

/* One more was given to `address` (which is copied). */
void answers_count(struct answers *a, const char *address);
/* How many of it are kept: neither written down nor on their way. */
uint64_t answers_kept(const struct answers *a, const char *address);
size_t answers_addresses(const struct answers *a);

/* Some of them, in the order of their addresses, so that two that write do not wait for each other in a ring. */
struct answer_count {
    char *address; /* owned */
    uint64_t n;
};
struct answers_taken {
    size_t n;
    struct answer_count v[ANSWERS_AT_ONCE];
};
/* Those that are due at `now_us` (monotonic), no longer kept; NULL: none are. The caller's. */
struct answers_taken *answers_take(struct answers *a, int64_t now_us);
void answers_taken_free(struct answers_taken **t);
/* They did not arrive: kept again. Frees them. */
void answers_put_back(struct answers *a, struct answers_taken **t);

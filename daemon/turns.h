#pragma once
/* Turns of large jobs at the workers: a few at a time, the others wait in the order in which they came. Private to the front. */
#include "daemon/job.h"

#define TURNS_MAX 64 /* bound of triage.large_in_flight */
struct turns {
    size_t max, n;
    uint64_t taken[TURNS_MAX]; /* numbers of the jobs that workers have, until the worker is done even when the job is not any more */
    TAILQ_HEAD(, job) waiting;
    size_t nwaiting;
};
void turns_init(struct turns *t, size_t max);
/* true: the job has its turn. false: it waits; turns_next() gives it back. */
bool turns_take(struct turns *t, struct job *j);
void turns_done(struct turns *t, uint64_t number); /* a worker is done with it; nothing for a number that has no turn */
struct job *turns_next(struct turns *t);           /* the next one, which now has its turn; NULL: none waits or none is free */
void turns_forget(struct turns *t, struct job *j); /* it waits no longer */

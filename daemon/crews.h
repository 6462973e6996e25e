#pragma once
/* The triage workers, and the jobs that are with them. A crew is the workers of one configuration: at a reload the next one starts beside
 * the one that works, and takes its jobs over; what the old rules matched is given to those that have the new ones. A job that no worker
 * answers is the owner's to give up. Private to the front. */
#include <event2/event.h>

#include "config/config.h"
#include "daemon/job.h"
#include "daemon/worker/worker.h"

struct crews;
struct crews_hooks {
    /* A worker is done with the job (matched by the rules of j->rules_generation), died of it twice, was too long at it, or, with
     * WORKER_CLOSED, will not come to it. Bytes are the worker's and valid within the call. */
    void (*answer)(void *arg, struct job *j, enum worker_outcome o, const uint8_t *data, size_t n);
    void *arg;
};
/* `config_fd`: what every worker reads first (daemon/triage_worker.h); taken over. CD_EIO (logged): none could be started. */
int crews_new(struct event_base *base, const struct config *c, int config_fd, const struct crews_hooks *h, struct crews **ret) CD_MUSTUSE;
void crews_close(struct crews *c); /* ends the workers: what they have is answered with WORKER_CLOSED */
void crews_free(struct crews **c); /* closed before */

/* In its turn, if it is a large one. What finds no room stays in stage JOB_WORKER without a worker. */
void crews_give(struct crews *c, struct job *j);
/* Whatever a worker still answers is not for it any more. */
void crews_forget(struct crews *c, struct job *j);
unsigned crews_alive(const struct crews *c); /* workers that could take a job now */
unsigned crews_generation(const struct crews *c); /* of the rules that a new answer is matched by */
/* To be called now and then: raises the alarm when there has been no worker for long, lets go of a crew that has no job left. */
void crews_watch(struct crews *c, int64_t now_us);

/* ---- reload ---- */
int crews_start(struct crews *c, const struct config *next, int config_fd) CD_MUSTUSE; /* takes the descriptor; 0 or CD_EIO */
bool crews_started(const struct crews *c); /* crews_change() may be called */
void crews_drop(struct crews *c);          /* what crews_start() started is not wanted any more; nothing when there is none */
void crews_change(struct crews *c);        /* to those that were started, if any */

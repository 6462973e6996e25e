#pragma once
/* The way of an envelope through the front: gate, worker, look-up, decision, batch, acknowledgement. */
#include <event2/event.h>

#include "config/config.h"
#include "daemon/intake/envelope.h"

struct pipeline;
/* worker_config_fd: a memfd for the triage workers (daemon/triage_worker.h), taken over. */
int pipeline_new(struct event_base *base, const struct config *c, int worker_config_fd, struct pipeline **ret) CD_MUSTUSE;
void pipeline_free(struct pipeline **p); /* what is under way is answered with "try again" */
/* Takes ownership when it returns 0; one ack_resolve() follows, later. CD_EAGAIN: no room or no durable place now. */
int pipeline_submit(struct pipeline *p, struct envelope *e) CD_MUSTUSE;
/* One envelope of about `bytes`, not read yet, could be taken now. */
bool pipeline_ready(struct pipeline *p, size_t bytes);
bool pipeline_has_worker(const struct pipeline *p); /* a triage worker could take a job now */
bool pipeline_idle(const struct pipeline *p);
size_t pipeline_in_flight(const struct pipeline *p);

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
/* The record that the workers make of an envelope now; NULL: none did, try again. Both are the pipeline's. Never from inside. */
struct record;
typedef void (*pipeline_read_done)(void *arg, const struct record *rec, const struct envelope *e);
/* Has an envelope read whose message is stored already: nothing is stored, acknowledged or counted as taken in. Takes ownership when it
 * returns 0; `done` follows once. CD_EAGAIN: what comes in needs the room. */
int pipeline_read(struct pipeline *p, struct envelope *e, pipeline_read_done done, void *arg) CD_MUSTUSE;
/* One envelope of about `bytes`, not read yet, could be taken now. */
bool pipeline_ready(struct pipeline *p, size_t bytes);
bool pipeline_has_worker(const struct pipeline *p); /* a triage worker could take a job now */
/* When the oldest envelope under way came in, monotonic; INT64_MAX without any. */
int64_t pipeline_oldest_us(const struct pipeline *p);
/* ---- reload: workers for a configuration that is not in use yet, started beside the others ---- */
int pipeline_start_workers(struct pipeline *p, const struct config *c, int worker_config_fd) CD_MUSTUSE; /* takes the descriptor; 0 or CD_EIO */
bool pipeline_workers_started(const struct pipeline *p); /* pipeline_reloaded() may be called */
void pipeline_drop_workers(struct pipeline *p);          /* they are not wanted any more; nothing when there are none */
/* The configuration has changed: takes the limits of the gate over, and hands over to the workers that were started, if any. */
void pipeline_reloaded(struct pipeline *p);

struct scanner;
struct scanner *pipeline_scanner(struct pipeline *p); /* for daemon/rescan.h; the pipeline's own */
bool pipeline_idle(const struct pipeline *p);
size_t pipeline_in_flight(const struct pipeline *p);

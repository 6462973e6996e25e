#pragma once
/* Inside of the front's half: pool.c keeps the queue and shares out, process*.c serve one process, job.c
 * holds a job. */
#include "daemon/worker/frame.h"
#include "daemon/worker/worker.h"

#include <sys/queue.h>
#include <sys/types.h>

/* ---- jobs ---- */

struct worker_job {
    TAILQ_ENTRY(worker_job) link;
    uint64_t id;
    int memfd; /* -1: the bytes are in `data` */
    size_t n;
    uint8_t header[FRAME_HEADER_SIZE];
    uint8_t data[];
};
TAILQ_HEAD(worker_jobs, worker_job);

/* Copies the parts; `want_memfd` for large ones (on failure they stay in memory and travel in the stream).
 * NULL: no memory. */
struct worker_job *worker_job_new(uint64_t id, const struct iovec *parts, size_t nparts, bool want_memfd);
size_t worker_parts_size(const struct iovec *parts, size_t nparts);
void worker_job_free(struct worker_job *j);

/* ---- processes ---- */

enum process_state {
    PROCESS_STARTING, /* started, not ready */
    PROCESS_READY,
    PROCESS_DYING, /* socket closed, not yet reaped */
    PROCESS_DOWN,  /* waits for its restart */
};

struct process {
    struct worker_pool *pool;
    char *name; /* "triage/0" */
    enum process_state state;
    pid_t pid;
    int fd;
    struct event *readable, *writable; /* on fd; NULL while there is none */
    struct event *timer;               /* by state: start limit, job deadline, reaping, restart */
    struct worker_jobs jobs;           /* given to it, first = the one it works on */
    unsigned njobs;
    struct worker_job *sending; /* first of `jobs` that has not left in full; NULL: none */
    size_t sent;                /* bytes of its frame that have left */
    bool send_blocked;
    struct buf in;
    int64_t started_us, head_since_us, clock_since_us; /* monotonic; the last: what the deadline counts from */
    int64_t backoff_us, reap_wait_us;
    bool useful; /* has finished a job */
    bool timed_out;
};

struct worker_pool {
    struct event_base *base;
    struct worker_pool_options o; /* `exe` and `argv` are copies */
    struct process *processes;    /* o.workers of them */
    struct worker_jobs queue;
    unsigned nqueued;
    size_t npending;     /* queued and given */
    unsigned nmemfds;    /* open ones */
    struct event *flush; /* activated when something waits to be sent */
    unsigned depth;      /* > 0 inside an answer callback */
    bool closing;
};

int process_start(struct process *p) CD_MUSTUSE;       /* 0 or CD_EIO; logged */
void process_arm(struct process *p, int64_t after_us); /* its timer */
void process_give(struct process *p, struct worker_job *j);
void process_send(struct process *p); /* sends what the socket takes */
void process_on_writable(evutil_socket_t fd, short what, void *arg);
void process_close(struct process *p); /* closes the socket, at whose end the process ends; jobs stay */
void process_free(struct process *p);  /* kills and reaps what is left; its jobs must be gone */
bool process_reap(struct process *p);  /* true when it is no more */

/* Callbacks of processes into the pool. */
void pool_answer(struct worker_pool *p, uint64_t job, enum worker_outcome o, const uint8_t *data, size_t n);
void pool_finish_job(struct worker_pool *p, struct worker_job *j); /* frees it */
void pool_requeue(struct worker_pool *p, struct worker_jobs *jobs);
void pool_feed(struct worker_pool *p); /* gives waiting jobs to processes with room */

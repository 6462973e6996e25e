#pragma once
/* The one mechanism for worker processes: start (same binary), feed over a socketpair, limit in flight, deadline, kill, restart
 * with back-off. Frames are length-prefixed; a job of over 64 kB travels as a memfd. The front side runs on the loop and never blocks. */
#include <event2/event.h>
#include <sys/uio.h>

#include "daemon/core/buf.h"
#include "daemon/core/metrics.h"

enum worker_outcome {
    WORKER_PART,    /* one of several answers of a job; more follow */
    WORKER_DONE,    /* the last (or only) answer */
    WORKER_DIED,    /* the process ended while this job was the one it worked on */
    WORKER_TIMEOUT, /* killed at the job's deadline */
    WORKER_CLOSED,  /* the pool was closed before the job was given to a worker */
};
typedef void (*worker_answer)(void *arg, uint64_t job, enum worker_outcome o, const uint8_t *data, size_t n);

struct worker_pool_options {
    const char *name;          /* "triage", "mail": for logs; workers are triage/0, triage/1 … */
    const char *exe;           /* path of the binary to execute; NULL: /proc/self/exe */
    const char *const *argv;   /* NULL-terminated, argv[0] included, for example {"complaintd", "--worker=triage", NULL} */
    unsigned workers;          /* processes */
    unsigned in_flight;        /* jobs handed to one process at a time; further ones wait in the queue */
    unsigned max_queued;       /* jobs waiting for a process; beyond, worker_pool_send gives CD_ELIMIT */
    enum histogram job_seconds; /* H_NONE: not measured */
    int64_t deadline_us;       /* from the moment a job is the first of its process; then SIGKILL */
    bool deadline_a_part;      /* …, or from its last partial answer: for jobs of several things, each with its time */
    int config_fd;             /* inherited by each process as descriptor 4; -1: none. Rewound by the reader. */
    worker_answer answer;
    void *arg;
};

struct worker_pool;
/* Starts the processes. 0 or CD_EIO (logged). */
int worker_pool_new(struct event_base *base, const struct worker_pool_options *o, struct worker_pool **ret) CD_MUSTUSE;
/* Queues a job; `data` is copied (to a memfd when large). Answers come through `answer`, never from inside this call.
 * A job that waited behind another when its process died is given to the next process without an answer in between. */
int worker_pool_send(struct worker_pool *p, uint64_t job, const void *data, size_t n) CD_MUSTUSE;
/* The same, from several pieces: they are copied once, to where the worker reads them, and not put together before. */
int worker_pool_sendv(struct worker_pool *p, uint64_t job, const struct iovec *parts, size_t nparts) CD_MUSTUSE;
unsigned worker_pool_alive(const struct worker_pool *p); /* processes that could take a job now */
size_t worker_pool_pending(const struct worker_pool *p); /* jobs without a final answer */
/* Closes the sockets (workers end at EOF), kills after a second, answers every open job with WORKER_CLOSED; frees. */
void worker_pool_free(struct worker_pool **p);
/* A sealed memfd with these bytes, for `config_fd` (close it when the pool is gone); -1 with errno. */
int worker_memfd(const char *name, const void *data, size_t n) CD_MUSTUSE;

/* ---- in the worker process ---- */

#define WORKER_SOCKET_FD 3
#define WORKER_CONFIG_FD 4
struct worker_child;
typedef void (*worker_handler)(void *arg, struct worker_child *c, uint64_t job, const uint8_t *data, size_t n);
/* Reads jobs from descriptor 3 until EOF and calls the handler, which answers with worker_child_answer(): any number of
 * `more`, then one final (one is sent empty for a handler that gave none). Returns the exit status, which under the filter
 * is best given to _exit(). Uses read, write and memory calls only. The pool hands out jobs once this has begun. */
int worker_child_run(worker_handler fn, void *arg);
int worker_child_answer(struct worker_child *c, uint64_t job, bool more, const void *data, size_t n);
/* Appends what descriptor 4 holds, whatever its offset (processes of a pool share it). 0, CD_ENOMEM, CD_EIO. */
int worker_child_config(struct buf *out) CD_MUSTUSE;
/* "triage/0", for log_set_process(); "worker" when not started by a pool. */
const char *worker_child_name(void);

/* Limits and the system call filter; call after everything is loaded, before the first job. */
struct worker_limits {
    uint64_t memory_bytes; /* RLIMIT_AS; a resident-size watch instead when built with AddressSanitizer */
    unsigned cpu_seconds;  /* RLIMIT_CPU for the process is cumulative: this is per job, enforced by a CPU timer */
    bool filter_log_only;  /* seccomp in log mode (sanitizer builds) */
};
int worker_lock_in(const struct worker_limits *l) CD_MUSTUSE;
/* true in builds with AddressSanitizer, for filter_log_only. */
bool worker_sanitized(void);
/* To be called by the handler around each job when worker_limits.cpu_seconds is used; nothing before worker_lock_in(). */
void worker_job_begin(void);
void worker_job_end(void);

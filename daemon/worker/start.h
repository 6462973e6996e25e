#pragma once
/* Starting one worker process: nothing of the front reaches it but standard error, its socket and its
 * configuration. */
#include "daemon/core/base.h"

#include <sys/types.h>

struct worker_start {
    const char *exe; /* NULL: $CD_COMPLAINTD, else /proc/self/exe */
    const char *const *argv;
    const char *name; /* "triage/0", given to it as $CD_WORKER */
    int config_fd;    /* -1: none */
};
/* 0 with the process and the front's end of its socket (non-blocking, close-on-exec), or CD_EIO with errno.
 */
int worker_start(const struct worker_start *s, pid_t *ret_pid, int *ret_fd) CD_MUSTUSE;

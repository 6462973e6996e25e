#pragma once
/* The triage worker process: decodes envelopes and matches patterns. Owns nothing, reaches nothing (design 2). */
#include <sys/types.h>

#include "config/config.h"

/* Everything a worker needs, in a memfd: compiled patterns and limits. Compiles in a child process, because compiling
 * takes seconds for large rule sets and its memory should not stay in the front. A descriptor, or CD_* (logged). */
int triage_config_fd(const struct config *c) CD_MUSTUSE;
/* The same without waiting: begin gives the descriptor and the child; end is asked until it is not CD_EAGAIN: 0, or CD_ECONFIG
 * (logged), when the descriptor is closed. */
int triage_config_begin(const struct config *c, pid_t *ret_pid) CD_MUSTUSE;
int triage_config_end(int fd, pid_t pid) CD_MUSTUSE;
void triage_config_abandon(int fd, pid_t pid); /* instead of end */
/* Workers for one serve for the other. */
bool triage_config_same(const struct config *a, const struct config *b);
/* main() of `complaintd --worker=triage`. */
int triage_worker_main(void);

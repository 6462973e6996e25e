#pragma once
/* The triage worker process: decodes envelopes and matches patterns. Owns nothing, reaches nothing (design 2). */
#include "config/config.h"

/* Everything a worker needs, in a sealed memfd: compiled patterns and limits. Compiles in a child process, because compiling
 * takes seconds for large rule sets and its memory should not stay in the front. A descriptor, or CD_* (logged). */
int triage_config_fd(const struct config *c) CD_MUSTUSE;
/* main() of `complaintd --worker=triage`. */
int triage_worker_main(void);

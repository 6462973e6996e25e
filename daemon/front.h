#pragma once
/* The front process: wires channels, pipeline, scheduler, outbox and requests to one event loop and runs it until it is told to end. */
#include "config/config.h"

/* Runs the daemon with the configuration that was read from `path` (a reload reads it again and changes `c`); returns its exit status (0 after a clean end, 75 when something that may come back is missing, 78 for a
 * configuration that cannot work). */
int front_run(struct config *c, const char *path);

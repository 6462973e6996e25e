#pragma once
/* Checks messages again that were stored as unscanned, once the checkers are there (daemon/scan). */
#include "config/config.h"
#include "daemon/scan/scan.h"

struct rescan;
struct rescan *rescan_new(struct event_base *base, const struct config *c, struct scanner *s);
void rescan_free(struct rescan **r); /* before the scanner; what is under way is checked again after its pause */

#pragma once
/* When to try again: a pure function of class, attempts and limits. */
#include "config/config.h"

enum notify_class { NC_STATUTORY, NC_OPERATIONAL, NC_COURTESY };
int notify_class_from_name(const char *s); /* -1 */

/* The pause after the `attempts`th attempt failed: base, doubled each time, at most max, spread by ±20 % with `seed` so that rows that
 * failed together do not come back together. Never less than `asked_us` (Retry-After), which counts up to max. 0 when this was the last
 * attempt: operational and courtesy have a number of attempts, statutory rows go on until their not_after. */
int64_t retry_pause_us(const struct config *c, enum notify_class k, unsigned attempts, int64_t asked_us, uint32_t seed);

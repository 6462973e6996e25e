#pragma once
/* An outcome that is known at once, but must not be reported from inside send(). */
#include "channels/channel.h"

/* host->send_done(id, outcome, detail) from the loop. `host` must outlive the loop's next turn. */
void send_later(const struct channel_host *host, const struct uuid *id, enum send_outcome outcome,
                const char *detail);
/* Fills `r`; the detail is cut at a character and cleaned of control characters. */
void send_result_set(struct send_result *r, enum send_outcome outcome, const char *fmt, ...) CD_PRINTF(3, 4);

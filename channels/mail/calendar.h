#pragma once
/* iCalendar (RFC 5545) to a few readable lines: what it is, of what, when, where, from whom, and who answers how. */
#include "channels/mail/charset.h"
#include "daemon/core/buf.h"

/* Appends to `out` (bounded by its cap); nothing when there is no calendar entry in it. `charset`: as declared, or NULL.
 * Never fails. */
void calendar_to_text(const void *p, size_t n, const char *charset, struct buf *out, struct charset_note *note);

#pragma once
/* Mail decoding in the triage worker: an RFC 5322 message becomes a record. Nothing here opens a file or a
 * socket after mail_decode_prepare(), and nothing a sender writes ends the process on purpose: what cannot be
 * decoded in full is taken as far as it goes and flagged REC_DEGRADED. */
#include "daemon/intake/envelope.h"
#include "daemon/intake/record.h"

/* Loads all that GMime, iconv, GLib and libxml2 would otherwise load on first use. Call once, before the
 * worker shuts itself in; further calls do nothing. 0, or CD_EIO when no character set converter can be
 * opened. */
int mail_decode_prepare(void) CD_MUSTUSE;

/* Fills the record from e->raw. 0; CD_EINVAL when there is no message in it (the record is then unchanged).
 */
int mail_decode(const struct envelope *e, struct record *r) CD_MUSTUSE;

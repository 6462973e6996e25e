#pragma once
/* What a person wrote, apart from what mail programs put around it: quoted history, headers of forwarded mails, signatures. */
#include "daemon/core/buf.h"

/* Deals the lines of `text` (UTF-8, LF) out to two empty buffers, each line to one of them and in order, so that together they
 * hold all of it; white space at their ends goes. Returns false, with both empty, when there is nothing to separate: all of the
 * text is new. Both buffers need a cap of n + n / 2 + 2. Time grows with n alone.
 *
 * - Quoted lines, the attribution above them, signatures at the end of what somebody wrote: not new. Text between quotes is.
 * - The headers of an earlier mail, "-----Original Message-----", an attribution over text without quote marks: not new, and
 *   nothing below is, if something new stands above; else only they themselves are not, and the forwarded text counts as new, with
 *   what it forwards in turn.
 * - When nothing new would be left: an answer that says nothing has an empty new text, anything else is kept whole. */
bool reply_split(const char *text, size_t n, struct buf *ret_new, struct buf *ret_quoted);

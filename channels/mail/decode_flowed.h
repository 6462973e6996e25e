#pragma once
/* Lines that a mail program broke for the wire (RFC 3676, format=flowed), put together again. Pure. */
#include "daemon/core/base.h"

/* `s` is a text with line ends of any kind; the result has LF, quotes as "> " for each level, and is to be freed. */
CD_MUSTUSE char *flowed_to_text(const char *s, size_t n, bool delsp, size_t *ret_n);

#pragma once
/* A scan over the raw header section of a mail, without MIME: fields as they stand, line ends LF or CRLF, any
 * bytes in values. Pure and linear; views point into the raw bytes. */
#include "daemon/core/buf.h"

struct headers_field {
    const char *name, *value; /* the value as received, folds and line end included */
    size_t nname, nvalue;
};

struct headers_scan {
    const char *p, *end;
    bool separated; /* the empty line between header and body was found */
};
void headers_scan_init(struct headers_scan *s, const void *raw, size_t n);
/* false at the end of the header section; `p` is then the first byte of the body. A line that is neither a
 * field nor the continuation of one ends the section without being eaten: what follows is body. */
bool headers_next(struct headers_scan *s, struct headers_field *ret);
bool headers_is(const struct headers_field *f, const char *name); /* case ignored */
/* The value on one line (folds undone) and without white space at its ends, appended to `out`. */
void headers_value(const struct headers_field *f, struct buf *out);
/* The first field of that name, as headers_value() gives it: at most `max` bytes, valid UTF-8, no control
 * characters. NULL when there is none or it does not meet that. Free it. */
CD_MUSTUSE char *headers_text(const void *raw, size_t n, const char *name, size_t max);

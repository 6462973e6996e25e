#pragma once
/* Private to channels/web: multipart/form-data (RFC 7578) as places in its bytes. Strict where two readers could differ: it begins with
 * its first delimiter, every delimiter is followed by CRLF or by "--", after the last one nothing stands but one CRLF. Pure and
 * linear; parts are views. The front looks for delimiters and for the part with the complaint; what the heads of other parts say is
 * read in the worker. */
#include "daemon/core/buf.h"

#define FORM_MAX_BOUNDARY 70
#define FORM_MAX_HEAD CD_KIB(4) /* of one part */

struct form {
    const char *p, *end, *next; /* next: behind a delimiter, NULL at the end */
    char delimiter[FORM_MAX_BOUNDARY + 5]; /* CRLF "--" boundary */
    size_t ndelimiter;
    const char *fault; /* static; NULL: none so far */
};
struct form_part {
    const char *head, *body; /* the head with the CRLF of its last line, without the empty one */
    size_t nhead, nbody;
};
/* RFC 2046 5.1.1: 1 to 70 of its characters, no space at the end. */
bool form_boundary_valid(const char *s);
/* false, and fault: it does not begin as a form does. `boundary` is a valid one. */
bool form_init(struct form *f, const void *p, size_t n, const char *boundary);
/* The next part; false at the end or at a fault. */
bool form_next(struct form *f, struct form_part *ret);

/* What a part's head says. Strings are valid UTF-8, owned; NULL when absent. */
struct form_head {
    char *name, *filename, *type, *encoding; /* type as "image/png", lower case; encoding: Content-Transfer-Encoding */
};
/* CD_EINVAL: not a head of form-data. */
int form_head_read(const struct form_part *part, struct form_head *ret) CD_MUSTUSE;
void form_head_free(struct form_head *h);

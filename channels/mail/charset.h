#pragma once
/* Text in any character set becomes valid UTF-8. What the sender declares is tried first; when that is
 * unknown or does not fit, a ladder of guesses follows: UTF-8, GB18030, Big5, windows-1252. All converters
 * are opened by charset_prepare() and kept open: a worker that has shut itself in can load no further ones.
 */
#include "daemon/core/base.h"

struct charset_note {
    char used[32]; /* name of the set that was used, "UTF-8", "GB18030" … */
    bool unknown;  /* a set was declared for which there is no converter */
    bool misfit;   /* the declared set did not fit the bytes, another was guessed; not set when that is valid
                      UTF-8 */
    unsigned lost; /* characters that became U+FFFD */
};

/* Opens every converter that the C library lists, else those of a fixed list. Returns how many are open. */
unsigned charset_prepare(void);
/* Whether there is a converter for a name as it stands in mails. */
bool charset_known(const char *name);
/* `declared` may be NULL. The result is valid UTF-8 without NUL or other control characters than tab and line
 * ends, never NULL; free it. *ret_n (may be NULL) is its length, at most four times `n` and some: the caller
 * bounds `n`. */
CD_MUSTUSE char *charset_to_utf8(const char *declared, const void *p, size_t n, size_t *ret_n,
                                 struct charset_note *note);

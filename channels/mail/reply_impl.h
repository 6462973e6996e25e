#pragma once
/* Private to reply*.c: what a line is to the splitter. Lines are looked at in folded form: lower case, white space and the
 * punctuation of East Asia made plain, emphasis and direction marks left out. Nothing here fails or allocates. */
#include "channels/mail/reply.h"

#define REPLY_FOLD_MAX 512 /* a longer line is nobody's mark; a folded one is shorter than its line */
#define REPLY_BACK 5       /* lines that an attribution may take */

struct reply_line {
    const char *s;
    size_t n; /* without its LF */
};

/* What reply_attribution() found out about a line; kept, as it looks at most lines more than once. */
struct reply_seen {
    struct reply_line line;
    bool known; /* else nothing below is set */
    bool blank, verb, address, time, dated, starter, begins, short_verb, before, address_below, quoted;
};

/* Returns the length; 0 for a blank line and for one that is too long. */
size_t reply_fold(struct reply_line l, char out[REPLY_FOLD_MAX]);

/* ---- reply_words.c: the phrases, in all languages; each takes a folded line or a part of one ---- */

enum reply_header { RH_NONE, RH_FROM, RH_DATE, RH_TO, RH_SUBJECT, RH_OTHER };

bool reply_has_verb(const char *f);                      /* "wrote", "schrieb", "写道" somewhere in it */
bool reply_is_starter(const char *f);                    /* begins as attributions do: "on ", "am ", "在" */
enum reply_header reply_header_kind(const char *name, size_t n); /* what stands in front of a colon */
bool reply_is_separator_phrase(const char *f, size_t n, bool *ret_forward); /* "original message" */
bool reply_is_forward_line(const char *f);               /* "begin forwarded message:" */
bool reply_is_device_phrase(const char *f, size_t n);    /* "sent from my iphone" */

/* ---- reply_marks.c ---- */

bool reply_is_quote(struct reply_line l);
bool reply_is_rule(struct reply_line l); /* nothing but dashes, underscores, stars, … */
bool reply_is_signature_mark(struct reply_line l); /* "-- " */
bool reply_is_device_line(struct reply_line l);
/* back[0] is a line that may end an attribution, the others stand above it, nearest first, `nback` <= REPLY_BACK. Returns how many
 * of them are the attribution, 0 for none. *ret_strong: it has an address or a time, so that it need not stand above a quote. */
size_t reply_attribution(struct reply_seen *back, size_t nback, bool *ret_strong);
/* "-----Original Message-----" and its kin. */
bool reply_is_separator(struct reply_line l, bool *ret_forward);
/* The headers of a mail: true when a block begins at `p`, with where it ends. `loose`: behind a separator, anything that is a
 * header is one. */
bool reply_header_block(const char *p, const char *end, bool loose, const char **ret_end);
/* The line at `p`; *ret_next is the next one's beginning, `end` after the last. */
struct reply_line reply_line_at(const char *p, const char *end, const char **ret_next);

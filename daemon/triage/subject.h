#pragma once
/* How far one subject is from another: what mail programs put in front of a subject is taken off, the rest is folded and cut into words
 * (pairs of characters where a script has no spaces). Pure; cost and memory are bounded whatever the subject. */
#include "daemon/core/base.h"

#define SUBJECT_MAX_BYTES 1000 /* read of a subject */
#define SUBJECT_MAX_WORDS 64   /* kept of it */

struct subject_words {
    uint32_t v[SUBJECT_MAX_WORDS]; /* digests, each once */
    size_t n;
};
/* NULL has none. */
void subject_read(const char *subject, struct subject_words *ret);
/* 0: all words of the shorter one stand in the other; 100: none does; -1: one of them says nothing. */
int subject_drift(const struct subject_words *a, const struct subject_words *b);
/* Past "Re: ", "AW: Fwd[2]: ", "[list] ", "回复：" and the like in a folded subject. */
const char *subject_strip(const char *folded);

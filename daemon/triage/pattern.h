#pragma once
/* Inside triage only: a phrase of the rules made ready for the compiler, the serialized form, and the tests
 * of characters that folding, compiling and matching share. */
#include "daemon/triage/match.h"

#define PATTERN_MAX_BYTES 1000 /* as written, and again after folding */
#define MATCH_MAX_PATTERNS 100000
#define MATCH_WORD_BYTES 64 /* of the matched words kept for the reasons */

/* Of the serialized form. */
#define MATCH_MAGIC 0x504d4443u /* "CDMP" */
#define MATCH_VERSION 1

enum pattern_flag {
    PAT_REGEX = 1 << 0,
    PAT_EDGE_LEFT = 1 << 1,  /* no letter or digit may stand right before the match */
    PAT_EDGE_RIGHT = 1 << 2, /* nor right after it */
    PAT_STEM = 1 << 3,       /* "refund*": the rest of the word belongs to the match */
    PAT_UTF8 = 1 << 4,       /* regular expression whose characters are not all ASCII */
    PAT_FLAGS_ALL = (1 << 5) - 1,
};

struct pattern {
    char *text; /* folded; what is compiled; owned */
    size_t len;
    uint8_t flags, field; /* field: enum rule_field */
};

/* 0, or CD_EINVAL with a static sentence "what is wrong: what to write instead" in *ret_why. */
int pattern_make(const struct cfg_phrase *ph, struct pattern *ret, const char **ret_why) CD_MUSTUSE;
void pattern_done(struct pattern *p);

bool char_is_space(uint32_t c);
/* Letters, digits, and the marks that belong to them. */
bool char_is_word(uint32_t c);
/* Scripts written without spaces between words (Han, Kana, Bopomofo) or where particles are attached
 * (Hangul). */
bool char_is_cjk(uint32_t c);
/* True when a word may end between the two neighbours. */
bool char_is_edge(uint32_t left, uint32_t right);

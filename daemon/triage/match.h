#pragma once
/* Pattern matching: all literals and regular expressions of the rules in two vectorscan databases, compiled once and serialized.
 * Text and patterns are folded by match_fold (ASCII fast path, else NFKC and case folding), compiled as bytes; word edges are
 * checked in the callback, except beside CJK characters. A literal stands for whole words, one that ends in `*` for all words
 * that begin so; what regular expressions may hold: pattern.c. */
#include "config/config.h"
#include "daemon/intake/record.h"

enum match_field { MF_SUBJECT, MF_TEXT };

/* Patterns are numbered in the order of config->rules: rule by rule, its groups in order, then its `none` group.
 * match_pattern_count and match_first_pattern give the numbering. */
uint32_t match_pattern_count(const struct cfg_rules *r);

/* Compiles and serializes. On a bad pattern: one fault for each bad one, and CD_ECONFIG. Seconds for thousands of regular
 * expressions: call it before the loop runs or in another process. */
int match_compile(const struct cfg_rules *r, struct buf *out, struct faults *f) CD_MUSTUSE;

struct matcher;
/* From the serialized form; CD_EINVAL when it is not one of this version and CPU. */
int matcher_new(const void *p, size_t n, struct matcher **ret) CD_MUSTUSE;
void matcher_free(struct matcher **m);
/* Adds the hits in subject and text to the record, each pattern once a field. Of a text that was separated, what is new is matched and
 * what is quoted is not. At most match_bytes of the text are looked at. */
void matcher_run(struct matcher *m, struct record *r, size_t match_bytes);
/* The folded form, UTF-8, free it. */
CD_MUSTUSE char *match_fold(const char *s, size_t n, size_t *ret_n);

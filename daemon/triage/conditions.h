#pragma once
/* Inside triage only: whether one rule holds for a message. Pure, no allocation. */
#include "daemon/triage/rules.h"

/* The hits by pattern: a view over the record's hits, indexed once for all rules. */
struct hit_index {
    const struct hit **v[2]; /* by enum match_field, then pattern; NULL where it did not occur */
    uint32_t n;
};
void hit_index_init(struct hit_index *x, uint32_t npatterns, const struct record *r);
void hit_index_done(struct hit_index *x);
/* The phrase's hit in a field it looks at, the subject first; NULL when there is none. */
const struct hit *hit_index_find(const struct hit_index *x, uint32_t pattern, enum rule_field field);

/* `first` is the number of the rule's first pattern. */
bool rule_holds(const struct cfg_rule *rule, const struct rule_input *in, const struct hit_index *x,
                uint32_t first);
uint32_t rule_pattern_count(const struct cfg_rule *rule);
/* `*` any characters, `?` one; ASCII case does not matter. Linear in memory, |glob| x |s| in time at worst.
 */
bool glob_matches(const char *glob, const char *s);

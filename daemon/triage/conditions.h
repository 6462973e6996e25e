#pragma once
/* Inside triage only: whether one rule holds for a message. Pure, no allocation. */
#include "daemon/triage/rules.h"

/* Whether a hit lies in a field that the phrase looks at. */
bool hit_fits(const struct hit *h, enum rule_field field);

/* `first` is the number of the rule's first pattern. */
bool rule_holds(const struct cfg_rule *rule, const struct rule_input *in, uint32_t first);
uint32_t rule_pattern_count(const struct cfg_rule *rule);
/* `*` any characters, `?` one; ASCII case does not matter. Linear in memory, |glob| x |s| in time at worst.
 */
bool glob_matches(const char *glob, const char *s);

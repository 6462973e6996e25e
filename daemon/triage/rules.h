#pragma once
/* Rules over facts, hits and look-up: category (first wins), priority (highest wins), team, tags, flags; each with its reasons.
 * Pure: the same input gives the same decision. Runs in the front. */
#include "config/config.h"
#include "daemon/intake/record.h"

struct rule_input {
    const struct record *record;
    const char *desk, *channel, *sender; /* sender: address or number, may be NULL */
    const struct strlist *customer_flags; /* may be NULL */
};

struct decision {
    const char *category; /* "unclassified" when no rule gave one; owned by the configuration or static */
    enum priority priority;
    const char *team; /* from the rules, else the category, else the desk, else fallback_team */
    struct strlist tags, flags;
    char *reasons; /* JSON: {"rules":[{"id","words":[…],"gave":{…}}],"team_from":"…","rules_version":"…"} */
};
void rules_decide(const struct config *c, const struct rule_input *in, struct decision *ret);
void decision_free(struct decision *d);
/* Runs every test of the rule files with the given matcher; a fault for each that fails. Returns how many ran. */
struct matcher;
size_t rules_run_tests(const struct config *c, struct matcher *m, struct faults *f);

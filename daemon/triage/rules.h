#pragma once
/* Rules over facts, hits and look-up: category (first wins), priority (highest wins), team, region, skills, whom it is about, tags, flags;
 * each with its reasons.
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
    /* From the rules, else the category, else the desk, else fallback_team; of these the first that it is not about. When it is about all of
     * them conflict_team, else any other. */
    const char *team;
    bool conflict;      /* it is about every team there is: `team` is one of them all the same, for somebody must see it */
    const char *region; /* NULL: none */
    struct strlist tags, flags, skills, about;
    char *reasons; /* JSON: {"rules":[{"id","words":[…],"gave":{…}}],"team_from":"…","rules_version":"…"} */
};
void rules_decide(const struct config *c, const struct rule_input *in, struct decision *ret);
void decision_free(struct decision *d);
/* Runs every test of the rule files with the given matcher; a fault for each that fails. Returns how many ran. */
struct matcher;
size_t rules_run_tests(const struct config *c, struct matcher *m, struct faults *f);

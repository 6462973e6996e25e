#pragma once
/* Which clocks a complaint gets and when its ladder's steps are due: pure functions of policy, priority and time of receipt. */
#include "config/config.h"

#define PLAN_MAX_STEPS 48
struct plan {
    int64_t due_us[TARGET_COUNT]; /* service targets; 0 = none */
    size_t nsteps;                /* sorted by due time */
    struct plan_step {
        int64_t due_us;
        int level;
        unsigned n; /* 0 first time, 1 first repeat … */
        unsigned stops_on;
    } steps[PLAN_MAX_STEPS];
};
void plan_make(const struct config *c, const struct cfg_policy *p, enum priority prio, int64_t received_us, struct plan *ret);

/* The plan of a complaint. All calendars count every hour for now, so a target is receipt plus its length; a step is its anchor plus
 * its offset, never before receipt. Steps over PLAN_MAX_STEPS would be lost silently, so the loader bounds ladders (config/). */
#include "daemon/escalation/plan.h"

static int64_t anchor_us(const struct plan *p, enum step_anchor a, int64_t received_us)
{
    switch (a) {
    case ANCHOR_RECEIPT:
        return received_us;
    case ANCHOR_ACKNOWLEDGE:
        return p->due_us[TARGET_ACKNOWLEDGE];
    case ANCHOR_FIRST_RESPONSE:
        return p->due_us[TARGET_FIRST_RESPONSE];
    case ANCHOR_RESOLVE:
        return p->due_us[TARGET_RESOLVE];
    }
    return 0;
}

/* Whole seconds after receipt, as they are stored. */
static int64_t due_us(int64_t us, int64_t received_us)
{
    int64_t after = CD_MAX(us - received_us, 0);
    return received_us + after / CD_SEC(1) * CD_SEC(1);
}

static int by_due(const void *a, const void *b)
{
    const struct plan_step *x = a, *y = b;
    if (x->due_us != y->due_us)
        return x->due_us < y->due_us ? -1 : 1;
    return x->level != y->level ? x->level - y->level : (int)x->n - (int)y->n;
}

void plan_make(const struct config *c, const struct cfg_policy *p, enum priority prio, int64_t received_us, struct plan *ret)
{
    (void)c;
    *ret = (struct plan){0};
    for (int k = 0; k < TARGET_COUNT; k++)
        if (p->target_us[prio][k] > 0)
            ret->due_us[k] = received_us + p->target_us[prio][k];
    for (size_t i = 0; i < p->nsteps; i++) {
        const struct cfg_step *s = &p->steps[i];
        int64_t anchor = anchor_us(ret, s->anchor, received_us);
        if (!(s->priorities & (1u << prio)) || !anchor)
            continue;
        for (unsigned n = 0; n <= s->repeat_times && ret->nsteps < PLAN_MAX_STEPS; n++)
            ret->steps[ret->nsteps++] = (struct plan_step){
                .due_us = due_us(anchor + s->offset_us + (int64_t)n * s->repeat_every_us, received_us),
                .level = s->level,
                .n = n,
                .stops_on = s->stops_on,
            };
    }
    qsort(ret->steps, ret->nsteps, sizeof ret->steps[0], by_due);
}

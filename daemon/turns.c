/* A short array of what is taken and a list of what waits. Jobs are borrowed: the pipeline owns them. */
#include "daemon/turns.h"

#include "daemon/core/metrics.h"

void turns_init(struct turns *t, size_t max)
{
    cd_assert(max > 0 && max <= TURNS_MAX);
    *t = (struct turns){.max = max};
    TAILQ_INIT(&t->waiting);
}

static void set_waiting(struct turns *t, size_t n)
{
    t->nwaiting = n;
    metrics_set(M_INTAKE_LARGE, (int64_t)n);
}

bool turns_take(struct turns *t, struct job *j)
{
    if (t->n < t->max && !t->nwaiting) {
        t->taken[t->n++] = j->number;
        return true;
    }
    TAILQ_INSERT_TAIL(&t->waiting, j, turn);
    set_waiting(t, t->nwaiting + 1);
    return false;
}

void turns_done(struct turns *t, uint64_t number)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->taken[i] == number) {
            t->taken[i] = t->taken[--t->n];
            return;
        }
}

void turns_forget(struct turns *t, struct job *j)
{
    TAILQ_REMOVE(&t->waiting, j, turn);
    set_waiting(t, t->nwaiting - 1);
}

struct job *turns_next(struct turns *t)
{
    struct job *j = t->n < t->max ? TAILQ_FIRST(&t->waiting) : NULL;
    if (!j)
        return NULL;
    turns_forget(t, j);
    t->taken[t->n++] = j->number;
    return j;
}

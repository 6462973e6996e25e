/* The way back to the peer: a resolver a channel, and the slot tables in which channels keep their sessions.
 * The table of resolvers is the process's; a slot table belongs to its channel, its pointers are borrowed. An
 * answer to a slot that was released, or to a channel that is not there, is counted in M_ACK_STALE and
 * otherwise ignored. */
#include "daemon/intake/ack.h"

#include "daemon/core/err.h"
#include "daemon/core/metrics.h"

#define SLOT_NONE UINT32_MAX

static struct {
    ack_fn fn;
    void *arg;
} resolvers[CH_COUNT];

void ack_register(enum channel_id channel, ack_fn fn, void *arg)
{
    cd_assert((unsigned)channel < CH_COUNT);
    resolvers[channel].fn = fn;
    resolvers[channel].arg = arg;
}

void ack_resolve(struct ack a, const struct ack_result *r)
{
    if (a.channel >= CH_COUNT || !resolvers[a.channel].fn) {
        metrics_inc(M_ACK_STALE);
        return;
    }
    if (r->verdict == ACK_STORED)
        metrics_accepted(a.channel);
    resolvers[a.channel].fn(resolvers[a.channel].arg, a, r);
}

struct slot {
    void *ptr; /* NULL: free */
    uint32_t
        gen; /* of the present or, when free, of the next holder; never 0, so that a zeroed ack is stale */
    uint32_t next; /* in the free list */
};

struct slots {
    struct slot *v;
    uint32_t size; /* entries allocated, grown by doubling up to max */
    uint32_t max;
    uint32_t free_first;
};

struct slots *slots_new(uint32_t max)
{
    struct slots *s = cd_alloc(sizeof(*s));

    s->max = max;
    s->free_first = SLOT_NONE;
    return s;
}

void slots_free(struct slots **s)
{
    if (!*s)
        return;
    free((*s)->v);
    free(*s);
    *s = NULL;
}

static bool slots_grow(struct slots *s)
{
    if (s->size >= s->max)
        return false;
    uint32_t size = s->size ? s->size : 16;
    size = size > s->max / 2 ? s->max : CD_MIN(s->max, s->size ? size * 2 : size);
    s->v = cd_realloc(s->v, size * sizeof(*s->v));
    for (uint32_t i = size; i-- > s->size;) {
        s->v[i] = (struct slot){.gen = 1, .next = s->free_first};
        s->free_first = i;
    }
    s->size = size;
    return true;
}

int slots_take(struct slots *s, void *ptr, struct ack *ret)
{
    cd_assert(ptr);
    if (s->free_first == SLOT_NONE && !slots_grow(s))
        return CD_ELIMIT;
    uint32_t i = s->free_first;
    s->free_first = s->v[i].next;
    s->v[i].ptr = ptr;
    ret->slot = i;
    ret->gen = s->v[i].gen;
    return 0;
}

static struct slot *slot_of(struct slots *s, struct ack a)
{
    if (a.slot >= s->size || !s->v[a.slot].ptr || s->v[a.slot].gen != a.gen)
        return NULL;
    return &s->v[a.slot];
}

void *slots_get(struct slots *s, struct ack a)
{
    struct slot *slot = slot_of(s, a);

    if (!slot) {
        metrics_inc(M_ACK_STALE);
        return NULL;
    }
    return slot->ptr;
}

void slots_release(struct slots *s, struct ack a)
{
    struct slot *slot = slot_of(s, a);

    if (!slot)
        return;
    slot->ptr = NULL;
    if (++slot->gen == 0)
        slot->gen = 1;
    slot->next = s->free_first;
    s->free_first = a.slot;
}

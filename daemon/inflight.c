/* A balanced tree of the C library (tsearch) keyed by kind and digest; entries are counted and freed with their last user. */
#include "daemon/inflight.h"

#include <search.h>
#include <string.h>

static void *root;

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, 1 + LEDGER_KEY_SIZE); /* the key stands first in the entry */
}

static void make_key(uint8_t out[1 + LEDGER_KEY_SIZE], enum inflight_kind kind, const uint8_t key[LEDGER_KEY_SIZE])
{
    out[0] = (uint8_t)kind;
    memcpy(out + 1, key, LEDGER_KEY_SIZE);
}

struct inflight_entry *inflight_find(enum inflight_kind kind, const uint8_t key[LEDGER_KEY_SIZE])
{
    uint8_t k[1 + LEDGER_KEY_SIZE];
    make_key(k, kind, key);
    void *found = tfind(k, &root, compare);
    return found ? *(struct inflight_entry **)found : NULL;
}

struct inflight_entry *inflight_use(enum inflight_kind kind, const uint8_t key[LEDGER_KEY_SIZE])
{
    struct inflight_entry *e = inflight_find(kind, key);
    if (!e) {
        e = cd_alloc(sizeof *e);
        make_key(e->key, kind, key);
        cd_assert(tsearch(e, &root, compare));
    }
    e->users++;
    return e;
}

void inflight_release(struct inflight_entry *e)
{
    cd_assert(e->users > 0);
    if (--e->users)
        return;
    tdelete(e, &root, compare);
    free(e);
}

/* Leaves a checker alone that fails again and again, so that a dead one does not cost every mail its budget; one mail at a time finds
 * out whether it is back, after pauses that double. Owns nothing, fails on nothing. */
#include "daemon/scan/checkers.h"

bool breaker_due(const struct breaker *b, int64_t now_us)
{
    return !b->open || (!b->probing && now_us >= b->until_us);
}

bool breaker_take(struct breaker *b, int64_t now_us)
{
    if (!breaker_due(b, now_us))
        return false;
    b->probing = b->open;
    return true;
}

int breaker_told(struct breaker *b, bool ok, int64_t now_us)
{
    bool was_open = b->open;
    if (ok) {
        *b = (struct breaker){0};
        return was_open ? -1 : 0;
    }
    b->failures++;
    if (!was_open && b->failures < BREAKER_FAILURES)
        return 0;
    if (was_open && !b->probing)
        return 0; /* asked before it opened: says nothing new */
    b->open = true;
    b->probing = false;
    b->pause_us = b->pause_us ? CD_MIN(b->pause_us * 2, BREAKER_PAUSE_MAX) : BREAKER_PAUSE_MIN;
    b->until_us = now_us + b->pause_us;
    return was_open ? 0 : 1;
}

void breaker_untake(struct breaker *b)
{
    b->probing = false;
}

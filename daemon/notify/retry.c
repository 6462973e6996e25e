/* The retry schedule. */
#include "daemon/notify/retry.h"

#define COURTESY_ATTEMPTS 3

int notify_class_from_name(const char *s)
{
    static const char *const names[] = {"statutory", "operational", "courtesy"};
    for (int i = 0; i < (int)ARRAY_LEN(names); i++)
        if (str_eq(s, names[i]))
            return i;
    return -1;
}

int64_t retry_pause_us(const struct config *c, enum notify_class k, unsigned attempts, int64_t asked_us, uint32_t seed)
{
    uint64_t most = k == NC_COURTESY ? COURTESY_ATTEMPTS : k == NC_OPERATIONAL ? c->notify_max_attempts : UINT64_MAX;
    if (attempts >= most)
        return 0;
    int64_t pause = c->notify_retry_base_us;
    for (unsigned i = 1; i < attempts && pause < c->notify_retry_max_us; i++)
        pause *= 2;
    pause = CD_MIN(pause, c->notify_retry_max_us);
    pause += pause / 100 * ((int64_t)(seed % 41) - 20);
    return CD_MAX(CD_MAX(pause, CD_MIN(asked_us, c->notify_retry_max_us)), 1);
}

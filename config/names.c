/* Words for enums of the configuration. Static storage. */
#include "config/config.h"

#include <string.h>

static const char *const priorities[PRIO_COUNT] = {"critical", "high", "normal", "low"};
static const char *const targets[TARGET_COUNT] = {"acknowledge", "first-response", "resolve"};

const char *priority_name(enum priority p)
{
    return (unsigned)p < PRIO_COUNT ? priorities[p] : "unknown";
}

int priority_from_name(const char *s)
{
    for (int i = 0; s && i < PRIO_COUNT; i++)
        if (strcmp(priorities[i], s) == 0)
            return i;
    return -1;
}

const char *assign_name(enum assign_how how)
{
    static const char *const names[] = {"none", "round-robin", "load"};
    return (unsigned)how < ARRAY_LEN(names) ? names[how] : "unknown";
}

const char *target_name(enum target_kind k)
{
    return (unsigned)k < TARGET_COUNT ? targets[k] : "unknown";
}

/* The life-cycle table. Pure functions over static data; nothing allocates or fails but lifecycle_next(). */
#include "daemon/cases/lifecycle.h"

#include <stdio.h>
#include <string.h>

#include "config/config.h"
#include "daemon/core/err.h"

static const char *const status_names[] = {"new", "open", "waiting", "resolved", "closed"};
static const char *const outcome_names[] = {"upheld",    "partly-upheld",   "rejected",
                                            "withdrawn", "not-a-complaint", "duplicate"};

#define NO (-1)
/* Taking a complaint (ACK) or giving it to somebody (ASSIGN) opens it; a complaint that waits for the
 * customer goes on waiting. What is resolved or closed is first reopened. */
static const struct {
    const char *name;
    unsigned stops;
    signed char next[CASE_STATUS_COUNT];
} table[ACTION_COUNT] = {
    /*                                             new            open           waiting        resolved
       closed */
    [ACTION_ACK] = {"ACK", STOP_ACK, {CASE_OPEN, CASE_OPEN, CASE_WAITING, NO, NO}},
    [ACTION_ASSIGN] = {"ASSIGN", STOP_ASSIGN, {CASE_OPEN, CASE_OPEN, CASE_WAITING, NO, NO}},
    [ACTION_RESOLVE] = {"RESOLVE", STOP_RESOLVE, {CASE_RESOLVED, CASE_RESOLVED, CASE_RESOLVED, NO, NO}},
    /* Possible always: they mend where messages are, not what was done about them. */
    [ACTION_MERGE] = {"MERGE",
                      STOP_ACK | STOP_ASSIGN | STOP_REPLY | STOP_RESOLVE,
                      {CASE_CLOSED, CASE_CLOSED, CASE_CLOSED, CASE_CLOSED, CASE_CLOSED}},
    [ACTION_SPLIT] = {"SPLIT", 0, {CASE_NEW, CASE_OPEN, CASE_WAITING, CASE_RESOLVED, CASE_CLOSED}},
};

const char *case_status_name(enum case_status s)
{
    return status_names[s];
}

int case_status_from_name(const char *s)
{
    for (size_t i = 0; i < ARRAY_LEN(status_names); i++)
        if (str_eq(s, status_names[i]))
            return (int)i;
    return -1;
}

const char *case_action_name(enum case_action a)
{
    return table[a].name;
}

int lifecycle_next(enum case_status from, enum case_action a)
{
    return table[a].next[from] == NO ? CD_ECONFLICT : table[a].next[from];
}

unsigned lifecycle_stops(enum case_action a)
{
    return table[a].stops;
}

static void add(char out[LIFECYCLE_ARRAY_SIZE], const char *name)
{
    size_t n = strlen(out);
    snprintf(out + n, LIFECYCLE_ARRAY_SIZE - n, "%s%s", n ? "," : "{", name);
}

static void end(char out[LIFECYCLE_ARRAY_SIZE])
{
    size_t n = strlen(out);
    snprintf(out + n, LIFECYCLE_ARRAY_SIZE - n, "}");
}

void lifecycle_arrays(enum case_action a, char from[LIFECYCLE_ARRAY_SIZE], char to[LIFECYCLE_ARRAY_SIZE])
{
    from[0] = to[0] = '\0';
    for (size_t s = 0; s < CASE_STATUS_COUNT; s++) {
        if (table[a].next[s] == NO)
            continue;
        add(from, status_names[s]);
        add(to, status_names[table[a].next[s]]);
    }
    end(from);
    end(to);
}

bool case_outcome_known(const char *s)
{
    for (size_t i = 0; i < ARRAY_LEN(outcome_names); i++)
        if (str_eq(s, outcome_names[i]))
            return true;
    return false;
}

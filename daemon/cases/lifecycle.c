/* The life-cycle table. Pure functions over static data; nothing allocates or fails but lifecycle_next(). */
#include "daemon/cases/lifecycle.h"

#include <stdio.h>
#include <string.h>

#include "daemon/core/err.h"

static const char *const status_names[] = {"new", "open", "waiting", "resolved", "closed"};
static const char *const outcome_names[] = {"upheld",    "partly-upheld",   "rejected",
                                            "withdrawn", "not-a-complaint", "duplicate"};

#define NO (-1)
#define ANY_STEP (STOP_ACK | STOP_ASSIGN | STOP_REPLY | STOP_RESOLVE)
/* Taking a complaint (ACK), giving it to somebody (ASSIGN) or answering it (REPLY) opens it; a complaint that waits for the
 * customer goes on waiting. What is resolved or closed is first reopened. */
static const struct {
    const char *name;
    enum cfg_role role;
    unsigned stops;
    signed char next[CASE_STATUS_COUNT];
    const char *needs; /* for people who read the table */
} table[ACTION_COUNT] = {
    /* clang-format off */
    /*                                                             new            open           waiting        resolved       closed */
    [ACTION_ACK] = {"ACK", CFG_ROLE_AGENT, STOP_ACK,              {CASE_OPEN,     CASE_OPEN,     CASE_WAITING,  NO,            NO},
                    ""},
    [ACTION_ASSIGN] = {"ASSIGN", CFG_ROLE_AGENT, STOP_ASSIGN,     {CASE_OPEN,     CASE_OPEN,     CASE_WAITING,  NO,            NO},
                       "assignee or team"},
    [ACTION_NOTE] = {"NOTE", CFG_ROLE_AGENT, 0,                   {CASE_NEW,      CASE_OPEN,     CASE_WAITING,  CASE_RESOLVED, CASE_CLOSED},
                     "text"},
    [ACTION_REPLY] = {"REPLY", CFG_ROLE_AGENT, STOP_REPLY,        {CASE_OPEN,     CASE_OPEN,     CASE_WAITING,  CASE_RESOLVED, NO},
                      "text; an address or number of the customer"},
    [ACTION_RECLASSIFY] = {"RECLASSIFY", CFG_ROLE_AGENT, 0,       {CASE_NEW,      CASE_OPEN,     CASE_WAITING,  CASE_RESOLVED, NO},
                           "category, priority or team"},
    [ACTION_WAIT] = {"WAIT", CFG_ROLE_AGENT, 0,                   {CASE_WAITING,  CASE_WAITING,  CASE_WAITING,  NO,            NO},
                     "for or until, within a year"},
    [ACTION_RESOLVE] = {"RESOLVE", CFG_ROLE_AGENT, STOP_RESOLVE,  {CASE_RESOLVED, CASE_RESOLVED, CASE_RESOLVED, NO,            NO},
                        "outcome; cause and remedy where the configuration lists codes"},
    [ACTION_REOPEN] = {"REOPEN", CFG_ROLE_AGENT, 0,               {NO,            NO,            CASE_OPEN,     CASE_OPEN,     CASE_OPEN},
                       "triage.reopen_window not over"},
    [ACTION_CLOSE] = {"CLOSE", CFG_ROLE_AGENT, ANY_STEP,          {NO,            NO,            NO,            CASE_CLOSED,   NO},
                      ""},
    /* Possible always: they mend where messages are, not what was done about them. */
    [ACTION_MERGE] = {"MERGE", CFG_ROLE_AGENT, ANY_STEP,          {CASE_CLOSED,   CASE_CLOSED,   CASE_CLOSED,   CASE_CLOSED,   CASE_CLOSED},
                      "another complaint"},
    [ACTION_SPLIT] = {"SPLIT", CFG_ROLE_AGENT, 0,                 {CASE_NEW,      CASE_OPEN,     CASE_WAITING,  CASE_RESOLVED, CASE_CLOSED},
                      "a message that did not open it"},
    [ACTION_REREAD] = {"REREAD", CFG_ROLE_AGENT, 0,               {CASE_NEW,      CASE_OPEN,     CASE_WAITING,  CASE_RESOLVED, CASE_CLOSED},
                       "a message that was not decoded in full"},
    [ACTION_MESSAGE] = {"the customer writes", 0, 0,              {CASE_NEW,      CASE_OPEN,     CASE_OPEN,     CASE_OPEN,     CASE_OPEN},
                        "triage.reopen_window not over, else a new, linked one"},
    [ACTION_WAIT_OVER] = {"the wait is over", 0, 0,               {NO,            NO,            CASE_OPEN,     NO,            NO},
                          "the team is told"},
    [ACTION_AGED] = {"cases.close_after is over", 0, ANY_STEP,    {NO,            NO,            NO,            CASE_CLOSED,   NO},
                     ""},
    /* clang-format on */
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

enum cfg_role lifecycle_role(enum case_action a)
{
    return table[a].role;
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

static const struct {
    unsigned bit;
    const char *name;
} stops[] = {{STOP_ACK, "ack"}, {STOP_ASSIGN, "assignment"}, {STOP_REPLY, "reply"}, {STOP_RESOLVE, "resolution"}};

static void describe_stops(enum case_action a, struct buf *out)
{
    const char *comma = "";
    if ((table[a].stops & ANY_STEP) == ANY_STEP) {
        buf_append_str(out, "all");
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(stops); i++)
        if (table[a].stops & stops[i].bit) {
            buf_printf(out, "%s%s", comma, stops[i].name);
            comma = ", ";
        }
}

static const char *role_name(enum cfg_role r)
{
    return r == CFG_ROLE_ADMIN ? "admin" : r == CFG_ROLE_AGENT ? "agent" : r == CFG_ROLE_INTAKE ? "intake" : "nobody asks";
}

void lifecycle_describe(bool markdown, struct buf *out)
{
    buf_append_str(out, markdown ? "| action | who may |" : "");
    if (!markdown)
        buf_printf(out, "%-26s %-12s", "action", "who may");
    for (size_t s = 0; s < CASE_STATUS_COUNT; s++)
        buf_printf(out, markdown ? " `%s` |" : " %-9s", status_names[s]);
    buf_append_str(out, markdown ? " ends steps that end with | needs |\n|---|---|---|---|---|---|---|---|---|\n" : "\n");
    for (size_t a = 0; a < ACTION_COUNT; a++) {
        const char *role = role_name(table[a].role);
        buf_printf(out, markdown ? "| %s | %s |" : "%-26s %-12s", table[a].name, role);
        for (size_t s = 0; s < CASE_STATUS_COUNT; s++) {
            const char *to = table[a].next[s] == NO ? "-" : status_names[table[a].next[s]];
            buf_printf(out, markdown ? " %s |" : " %-9s", to);
        }
        buf_append_str(out, markdown ? " " : table[a].stops ? " ends steps: " : " ");
        describe_stops((enum case_action)a, out);
        if (markdown)
            buf_printf(out, " | %s |\n", table[a].needs);
        else
            buf_printf(out, "%s%s\n", table[a].stops && *table[a].needs ? "; needs: " : *table[a].needs ? "needs: " : "", table[a].needs);
    }
}

bool case_outcome_known(const char *s)
{
    for (size_t i = 0; i < ARRAY_LEN(outcome_names); i++)
        if (str_eq(s, outcome_names[i]))
            return true;
    return false;
}

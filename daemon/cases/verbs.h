#pragma once
/* The table of verbs, for commands.c alone: role, statement, and what each argument may hold. Static; readers give copies. */
#include "daemon/cases/commands.h"
#include "daemon/cases/lifecycle.h"

/* What an argument may hold: fills *ret (owned) or says what is wrong. */
typedef const char *(*arg_reader)(const struct config *c, const json_t *v, char **ret);

struct case_arg {
    const char *name;
    arg_reader read;
    enum { OPTIONAL, REQUIRED, REQUIRED_IF_LISTED } required; /* the last: where the configuration lists codes for it */
};

#define MAX_ARGS 14
struct case_command {
    const char *verb;
    enum role role; /* ROLE_NONE: the life-cycle table says it */
    enum { /* parameters after the arguments */
        TAIL_NONE,
        TAIL_FULL,
        TAIL_MAY, /* whether who asks may see what is restricted */
        TAIL_SELF, /* who asks, and whether for others, too; the first argument is "who", without it the client itself */
        TAIL_SEES, /* who asks, and whether they may see what is restricted */
        TAIL_ACTOR, /* who asks */
        TAIL_ACTION,
        TAIL_ASSIGN, /* and what the configuration says of $4, the assignee */
        TAIL_MERGE,
        TAIL_SPLIT,
        TAIL_REREAD /* and two places for the reading (daemon/reread.h) */
    } tail;
    enum case_action action; /* from TAIL_ACTION on */
    const char *sql;
    const char *one_of[3]; /* at least one of them must be given */
    struct case_arg args[MAX_ARGS];
};

const struct case_command *case_command_find(const char *verb); /* NULL: none of this table */
bool case_command_changes(const struct case_command *cmd); /* a complaint, by an action of the life cycle */
enum case_lane case_command_lane(const struct case_command *cmd); /* as long as it is not asked for a change (QUEUE, PENDING) */

/* Readers that commands.c knows by name. */
const char *case_read_ref(const struct config *c, const json_t *v, char **ret);
const char *case_read_n(const struct config *c, const json_t *v, char **ret);

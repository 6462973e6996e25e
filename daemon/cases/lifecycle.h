#pragma once
/* The life of a complaint: one table of state and action. Pure. The database applies what it says in one
 * statement, so that two people who act at once cannot both find the old state. */
#include "daemon/core/base.h"

enum case_status { CASE_NEW, CASE_OPEN, CASE_WAITING, CASE_RESOLVED, CASE_CLOSED, CASE_STATUS_COUNT };
const char *case_status_name(enum case_status s); /* as in complaints.status */
int case_status_from_name(const char *s);         /* -1 */

/* What a person does to a complaint; later actions are further rows of the table. */
enum case_action { ACTION_ACK, ACTION_ASSIGN, ACTION_RESOLVE, ACTION_MERGE, ACTION_SPLIT, ACTION_COUNT };
const char *case_action_name(enum case_action a); /* the verb: "ACK" */

/* The state after the action, or CD_ECONFLICT where it is not allowed. */
int lifecycle_next(enum case_status from, enum case_action a) CD_MUSTUSE;
/* Which steps of a ladder the action ends: bits of enum stop_on. */
unsigned lifecycle_stops(enum case_action a);

/* The action's row for the database: two arrays of equal length, "{new,open}" and "{open,open}": from where
 * it is allowed, and to where it leads from there. */
#define LIFECYCLE_ARRAY_SIZE 64
void lifecycle_arrays(enum case_action a, char from[LIFECYCLE_ARRAY_SIZE], char to[LIFECYCLE_ARRAY_SIZE]);

bool case_outcome_known(const char *s); /* "upheld", "partly-upheld", … */

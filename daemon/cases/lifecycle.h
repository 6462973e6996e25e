#pragma once
/* The life of a complaint: one table of state and action, with who may and what it needs. Pure. The database applies what it
 * says in one statement, so that two people who act at once cannot both find the old state. */
#include "config/config.h"
#include "daemon/core/buf.h"

enum case_status { CASE_NEW, CASE_OPEN, CASE_WAITING, CASE_RESOLVED, CASE_CLOSED, CASE_STATUS_COUNT };
const char *case_status_name(enum case_status s); /* as in complaints.status */
int case_status_from_name(const char *s);         /* -1 */

/* What is done to a complaint: by people, with the verb of that name; and, from ACTION_MESSAGE on, without a request. */
enum case_action {
    ACTION_ACK,
    ACTION_ASSIGN,
    ACTION_NOTE,
    ACTION_REPLY,
    ACTION_RECLASSIFY,
    ACTION_WAIT,
    ACTION_RESOLVE,
    ACTION_REOPEN,
    ACTION_CLOSE,
    ACTION_MERGE,
    ACTION_SPLIT,
    ACTION_REREAD,
    ACTION_MESSAGE,   /* the customer writes: complaintd.attach_message() */
    ACTION_WAIT_OVER, /* the time of a wait is over */
    ACTION_AGED,      /* cases.close_after is over */
    ACTION_COUNT
};
const char *case_action_name(enum case_action a); /* the verb: "ACK" */

/* The least role that may; 0: no request does this. */
enum cfg_role lifecycle_role(enum case_action a);
/* The state after the action, or CD_ECONFLICT where it is not allowed. */
int lifecycle_next(enum case_status from, enum case_action a) CD_MUSTUSE;
/* Which steps of a ladder the action ends: bits of enum stop_on. */
unsigned lifecycle_stops(enum case_action a);

/* The action's row for the database: two arrays of equal length, "{new,open}" and "{open,open}": from where
 * it is allowed, and to where it leads from there. */
#define LIFECYCLE_ARRAY_SIZE 64
void lifecycle_arrays(enum case_action a, char from[LIFECYCLE_ARRAY_SIZE], char to[LIFECYCLE_ARRAY_SIZE]);
/* The table for people, from the same rows. */
void lifecycle_describe(bool markdown, struct buf *out);

bool case_outcome_known(const char *s); /* "upheld", "partly-upheld", … */

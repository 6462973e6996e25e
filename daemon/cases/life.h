#pragma once
/* What the verbs of the life cycle take beyond words: readers of their arguments, and the parameters that the configuration gives. For
 * commands.c and verbs.c alone. */
#include "daemon/cases/commands.h"

/* As arg_reader of verbs.h: NULL with *ret owned, or what is wrong. */
const char *life_read_said(const struct config *c, const json_t *v, char **ret);  /* a text that a person wrote */
const char *life_read_for(const struct config *c, const json_t *v, char **ret);   /* "3d": seconds */
const char *life_read_until(const struct config *c, const json_t *v, char **ret); /* RFC 3339 */
const char *life_read_cause(const struct config *c, const json_t *v, char **ret); /* one of `causes`, any text when there are none */
const char *life_read_remedy(const struct config *c, const json_t *v, char **ret);
/* A time as the database reads it, for readers; `wrong` where it is none. */
const char *life_time(const json_t *v, const char *wrong, char **ret);
/* `says`, and the names behind it, as many as fit; valid until the next call of this or of life_codes_fault(). */
const char *life_names_fault(const char *says, const struct strlist *names);
/* Says which codes there are; valid as long. */
const char *life_codes_fault(const struct config *c, const char *name);
bool life_listed(const struct config *c, const char *name); /* "cause", "remedy": the configuration lists codes for it */

/* What each policy promises at a priority, below 0 none: {"POLICY":[seconds to acknowledgement, first response, resolution]}; owned. */
char *life_targets(const struct config *c, int priority);
/* Appends the last parameters of the verb. */
void life_add_reply(const struct config *c, const struct request *rq, struct case_query *q);
void life_add_reclassify(const struct config *c, const struct request *rq, struct case_query *q);
void life_add_resolve(const struct config *c, const struct request *rq, struct case_query *q);
void life_add_reopen(const struct config *c, const struct request *rq, struct case_query *q);

#define CASE_MAX_TEXT 20000 /* characters of a text that a person wrote */

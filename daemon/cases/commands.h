#pragma once
/* The verbs that read or change complaints: from a request to one SQL statement, and from its result to the
 * reply. One table holds verb, role, arguments and SQL (functions of schema/). Pure but for
 * memory: whoever holds a connection to the database runs the statement. */
#include "channels/channel.h"

#define CASE_MAX_PARAMS 16
#define CASE_ENDED "57014" /* SQLSTATE of a statement that took too long */

/* A statement with text parameters (NULL is SQL's null); they are owned. Every row of the result is one JSON
 * value as text, in column 0. */
enum case_lane {
    CASE_CHANGES,
    CASE_READS_ONE,  /* finds what it reads by a key */
    CASE_READS_MANY, /* may look through everything */
};
struct case_query {
    const char *sql; /* static */
    int nparams;
    char *params[CASE_MAX_PARAMS];
    bool write;
    enum case_lane lane;
};

/* Checks role and arguments. 0; or CD_ENOTFOUND (not a verb of this table), CD_EPERM, CD_EINVAL with `err`
 * filled. */
int cases_prepare(const struct config *c, const struct request *rq, struct case_query *ret,
                  struct reply *err) CD_MUSTUSE;
void case_query_free(struct case_query *q);

/* The reply of a statement that has run. `sqlstate` NULL: it worked, `rows` are its rows. Otherwise "" or a
 * class 08 means that the connection was lost; `message` is the database's, passed on only for errors that
 * the API functions raise. */
void cases_finish(const struct request *rq, const char *const *rows, size_t nrows, const char *sqlstate,
                  const char *message, struct reply *ret);

void reply_free(struct reply *r);
/* Makes an ERR of the reply; `field` may be NULL. */
void reply_set_error(struct reply *r, const char *code, const char *message, const char *field, bool retry);

#pragma once
/* REREAD between its two statements: what the first found becomes an envelope, and the record that a worker makes of it the last parameters
 * of the second. docs/adr/0014-reread.md. */
#include <libpq-fe.h>

#include "config/config.h"
#include "daemon/cases/commands.h"
#include "daemon/intake/envelope.h"
#include "daemon/intake/record.h"

/* The first statement: $1 the reference, $2 the message or null. */
extern const char reread_find_sql[];
#define REREAD_REF 2     /* their places among the parameters of the second, as cases_prepare() made them */
#define REREAD_MESSAGE 3
#define REREAD_READING 7 /* and those that it left for this */
#define REREAD_TARGETS 8

struct reread;
/* Of the first statement's row; NULL when it is none. The envelope is the caller's. */
struct reread *reread_new(const PGresult *found, struct envelope **ret) CD_MUSTUSE;
void reread_free(struct reread **r);
/* Completes the second statement. */
void reread_fill(const struct config *c, const struct reread *r, const struct record *rec, const struct envelope *e, struct case_query *q);
/* Logs and counts what became of it; `body` is the OK's. */
void reread_tell(const char *actor, const json_t *body);

#pragma once
/* The breaker of storms, as the outbox sees it: asks the database for its state, raises the one alarm, keeps tasks back. The counting is
 * done by who stores the mails (store/run.c); the state is in the database, so that it is the same for all instances. */
#include "config/config.h"
#include "daemon/store/pg.h"

extern const struct pg_stmt storm_stmt;
/* Adds the question to the unit that was begun on `pg`. */
void storm_ask(const struct config *c, struct pg *pg);
/* Takes its answer: gauge, counters, log. */
void storm_take(const struct config *c, const PGresult *res);

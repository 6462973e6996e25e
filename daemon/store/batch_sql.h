#pragma once
/* The statements of the intake connection that are no plain inserts (those: tables.h). */
#include "daemon/store/pg.h"

extern const struct pg_stmt batch_sql_settle;      /* receipts that were pending get their outcome, their envelopes go */
extern const struct pg_stmt batch_sql_attach;      /* messages of complaints that exist */
extern const struct pg_stmt batch_sql_attachments; /* places of attachments, as one JSON array */
extern const struct pg_stmt batch_sql_links;
extern const struct pg_stmt batch_sql_known;       /* what the ledger knows of keys, adding desks */
extern const struct pg_stmt batch_sql_time;        /* the database's service time in microseconds */
extern const struct pg_stmt batch_sql_bounces;     /* reports about notifications, with what follows from them */
extern const struct pg_stmt batch_sql_automatic;   /* how many automatic mails the batch has, for the breaker */
extern const struct pg_stmt batch_sql_answered;    /* automatic answers, for the budget of an address */
extern const struct pg_stmt batch_sql_reached;     /* addresses that wrote, and so are no longer marked */

/* All that the connection prepares, those of tables.h too; NULL-terminated. */
const struct pg_stmt *const *batch_sql_all(void);

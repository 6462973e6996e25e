#pragma once
/* The statements of the intake connection. */
#include "daemon/store/pg.h"

/* The batch statement, built once from the column table. Parameters: the columns, then key, complaint and message of the thread
 * keys. Returns the ids stored now, separated by commas, and the database's service time in microseconds. */
const struct pg_stmt *batch_sql_store(void);
extern const struct pg_stmt batch_sql_attach;      /* messages of complaints that exist */
extern const struct pg_stmt batch_sql_attachments; /* places of attachments, as one JSON array */
extern const struct pg_stmt batch_sql_told; /* what the steps that are due at receipt tell */
extern const struct pg_stmt batch_sql_links;
extern const struct pg_stmt batch_sql_unpend;      /* removes envelopes that are triaged now */
extern const struct pg_stmt batch_sql_pending;     /* raw and receipt only */
extern const struct pg_stmt batch_sql_duplicates;  /* what the ledger knows of keys, adding desks */

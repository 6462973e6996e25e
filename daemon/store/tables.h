#pragma once
/* What a batch inserts, table by table. Each table has two prepared statements made from one list of columns: for one row (`values`)
 * and for many (`unnest` of arrays); the first costs the database half as much where only one mail waits. */
#include "daemon/store/item.h"
#include "daemon/store/pg.h"

/* In the order in which a transaction writes them: whatever two instances may both want first, each sorted by its key, so that they wait
 * for each other instead of deadlocking. */
enum table {
    TABLE_RECEIPTS,
    TABLE_PENDING,
    TABLE_HANDLES,
    TABLE_CUSTOMERS,
    TABLE_KEYS,
    TABLE_COMPLAINT,
    TABLE_MESSAGE,
    TABLE_SCANS,
    TABLE_EVENT,
    TABLE_TIMERS,
    TABLE_NOTIFICATIONS,
    TABLE_COUNT
};

/* One row: an item, and which of its thread keys or notifications it is. */
struct table_row {
    const struct store_item *it;
    size_t k;
};

/* So many rows go as single ones. */
#define TABLE_FEW 2
/* Adds the insert of the rows, n > 0, to the unit that was begun on `pg`. Borrows everything until it returns. */
void table_insert(struct pg *pg, enum table t, const struct table_row *rows, size_t n, struct pg_params *p);
/* The statements, 2 * TABLE_COUNT of them, to be prepared; made once, for the life of the process. */
#define TABLE_STATEMENTS (2 * TABLE_COUNT)
const struct pg_stmt *table_statement(size_t i);

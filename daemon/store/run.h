#pragma once
/* Items that travel together as one transaction, and their statements. Private to the batch writer. */
#include "daemon/store/item.h"
#include "daemon/store/pg.h"

#define RUN_MAX 1000
struct batch;
struct run {
    TAILQ_ENTRY(run) entry;
    struct pg_unit unit, duplicates;
    struct batch *batch;
    struct store_item *items[RUN_MAX];
    size_t n;
    bool pending;
};
TAILQ_HEAD(run_list, run);

/* Adds the statements of the run to the unit that was begun on `pg`. The first one's result says what was stored. */
void run_write(const struct run *r, struct pg *pg);

#pragma once
/* Items that travel together as one transaction, and their statements. Private to the batch writer. */
#include "daemon/store/answers.h"
#include "daemon/store/item.h"
#include "daemon/store/pg.h"

#define RUN_MAX 1000
enum run_kind {
    RUN_STORE,   /* decided: everything that it writes */
    RUN_PENDING, /* raw and receipt only */
    RUN_KNOWN,   /* the ledger has it: ask for the answer that was given */
};
enum run_kind run_kind_of(const struct store_item *it);

struct batch;
struct run {
    TAILQ_ENTRY(run) entry;
    struct pg_unit unit;
    struct batch *batch;
    const struct config *cfg; /* borrowed */
    struct store_item *items[RUN_MAX];
    size_t n;
    enum run_kind kind;
    struct answers_taken *answers; /* what earlier ones gave; owned; NULL: none */
    bool asks_time; /* the last result is the database's service time */
    int64_t sent_us;
};
TAILQ_HEAD(run_list, run);

/* Adds the statements of the run to the unit that was begun on `pg`. */
void run_write(const struct run *r, struct pg *pg);

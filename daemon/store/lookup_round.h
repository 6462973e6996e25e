#pragma once
/* Look-ups that were asked for together, and what came back. Private to the look-up stage. */
#include "daemon/store/lookup.h"
#include "daemon/store/pg.h"

#define LOOKUP_ROUND_MAX 200

enum asked_for { ASKED_RECEIPTS, ASKED_CUSTOMERS, ASKED_KEYS, ASKED_REFS, ASKED_IDS, ASKED_THREADS, ASKED_TOLD, ASKED_TOLD_KEYS, ASKED_ANSWERS, ASKED_COUNT };

struct lookup_round {
    struct pg_unit unit;
    struct lookup *l;
    struct lookup_request *q[LOOKUP_ROUND_MAX];
    size_t n;
    int at[ASKED_COUNT]; /* places of the results, -1: not asked */
};

/* Gives each request what belongs to it. The columns are those of the statements in lookup.c. */
void lookup_round_take(struct lookup_round *r);

#pragma once
/* The parameters of the batch statement, column by column. */
#include "daemon/store/item.h"
#include "daemon/store/pg.h"

/* "unnest($1::bytea[], …) as i(ukey, …)" */
void columns_unnest(struct buf *out);
size_t columns_count(void);
void columns_encode(struct pg_params *p, const struct store_item *const *items, size_t n);

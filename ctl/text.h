#pragma once
/* Text for terminals: display width (wide characters count two), tables aligned by it, colour only where a
 * person reads. What complainants wrote is cleaned on its way out, so that no control sequence in it reaches
 * the terminal. */
#include <jansson.h>

#include "daemon/core/buf.h"

enum colour { C_PLAIN, C_BOLD, C_DIM, C_RED, C_YELLOW, C_GREEN };

/* Colour when standard output is a terminal that wants it (NO_COLOR, TERM=dumb); tables as wide as the terminal. */
void text_init(void);
void text_colour(bool on); /* for tests */
size_t text_columns(void);     /* how wide the screen is; 0 where standard output is none */
void text_screen(size_t columns); /* for tests */

/* Columns that the UTF-8 text takes. */
size_t text_width(const char *s);
/* Copies to `out` without control characters, cut to `max` columns (an ellipsis takes the last one); 0: not
 * cut. */
void text_clean(const char *s, size_t max, struct buf *out);
/* As text_clean, but line feeds stay and each line is indented. */
void text_clean_block(const char *s, size_t indent, struct buf *out);
/* The strings of a list with `between` between them, as they are; "?" for what is none. */
void text_join(const json_t *list, const char *between, struct buf *out);
/* Copies JSON with what a terminal would obey written as \uXXXX, which every reader of JSON takes for the same. */
void text_json(const char *json, struct buf *out);
void text_put(struct buf *out, enum colour c, const char *s); /* cleaned, coloured */

/* time.c. "2026-11-23T02:00:00.123+00:00" as "2026-11-23 10:00:00+08" in the zone of the reader, "…Z" where that is UTC; `out` or `s`. */
#define TIME_TEXT_SIZE 40
const char *time_text(const char *s, char out[TIME_TEXT_SIZE]);
const char *time_minute(const char *s, char out[TIME_TEXT_SIZE]); /* the same without the seconds */
/* What somebody in that zone means by "2026-12-24", "2026-12-24 12:00" or "…:00" (or with a T), as the daemon takes it:
 * "2026-12-24T04:00:00Z". `s` itself where it is anything else. */
const char *time_given(const char *s, char out[TIME_TEXT_SIZE]);
void time_utc(bool on); /* in UTC whatever the zone is */

struct table;
#define TABLE_MAX_COLUMNS 10
/* Headers end with NULL; `max` gives the widest a column may be, 0 for any. */
struct table *table_new(const char *const *headers, const size_t *max);
void table_add(struct table *t, enum colour c,
               const char *s); /* the next cell; NULL is empty; rows fill from the left */
/* On a screen that is too narrow for all, this column (not the last) is left out; what is named first goes first. */
void table_spare(struct table *t, size_t column);
/* On a screen the last column is cut to what fits. */
void table_print(struct table **t, const char *indent, struct buf *out); /* and frees it */

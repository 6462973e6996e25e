#pragma once
/* HTML to readable text: paragraphs, line breaks, lists, tables with tabs between cells, quotes with "> ",
 * the addresses of links, the alternative texts of images. Scripts, styles, the head and what is not
 * displayed are left out. */
#include "daemon/core/buf.h"

/* Appends to `out` (bounded by its cap; *ret_cut says whether the cap was reached; it is not an error).
 * `html` is valid UTF-8 whatever its own declarations say. Never fails otherwise: what libxml2 can't make
 * sense of is text. */
void html_to_text(const char *html, size_t n, struct buf *out, bool *ret_cut);
/* Loads what libxml2 needs; before the worker shuts itself in. */
void html_prepare(void);
/* The character set of <meta charset=…> or <meta http-equiv content=…> in the first bytes: "" when there is
 * none. */
void html_meta_charset(const void *html, size_t n, char out[64]);

#pragma once
/* Layout of running text: collapses white space, keeps lines, paragraphs, cells and quote marks apart.
 * Private to html.c. */
#include "daemon/core/buf.h"

struct html_text {
    struct buf *out;     /* borrowed */
    unsigned pre, quote; /* levels now open */
    unsigned newlines;   /* to be written before the next character */
    bool space, cell, started;
    bool in_row, cell_begins, cell_written; /* a row is open; of the cell at hand nothing, or something, is written */
    size_t cell_from;                       /* length of the output where its text begins */
    char mark[64]; /* of a list item, written before its first character */
    bool cut;      /* the cap of `out` was reached; everything further is dropped */
};
void html_text_init(struct html_text *t, struct buf *out);
void html_text_add(struct html_text *t, const char *s, size_t n); /* UTF-8; may be cut inside a character */
void html_text_str(struct html_text *t, const char *s);
void html_text_newlines(struct html_text *t, unsigned n); /* at least so many line ends before what follows */
void html_text_break(struct html_text *t);                /* one more line end */
void html_text_row(struct html_text *t, bool open);      /* a row begins or ends */
/* What follows is another cell of the row: behind a tab, when the one before it is short and of one line. Paragraphs that only
 * wrap what is in a cell do not break the row. */
void html_text_cell(struct html_text *t);
void html_text_mark(struct html_text *t, size_t indent,
                    const char *mark); /* "- " before what follows; "": none */

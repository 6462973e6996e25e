/* The writer behind html.c; see html_text.h. Separators are remembered and written only before the next
 * visible character, so that empty elements, of which mails are full, leave no trace. */
#include "channels/mail/html_text.h"

#include <stdio.h>
#include <string.h>

#define MAX_QUOTE 10
#define MAX_CELL 120 /* bytes of a cell behind which the next one may stand in the same line */

void html_text_init(struct html_text *t, struct buf *out)
{
    *t = (struct html_text){.out = out};
}

static void put(struct html_text *t, const char *s, size_t n)
{
    if (!t->cut && buf_append(t->out, s, n) < 0)
        t->cut = true;
}

static void begin_line(struct html_text *t)
{
    for (unsigned i = 0; i < t->quote && i < MAX_QUOTE; i++)
        put(t, "> ", 2);
}

/* Writes what separates the next character from the last. */
static void separate(struct html_text *t)
{
    if (!t->started) {
        t->started = true;
        begin_line(t);
    } else if (t->newlines) {
        for (unsigned i = 0; i < t->newlines; i++) {
            put(t, "\n", 1);
            if (i + 1 < t->newlines && t->quote)
                put(t, ">", 1);
        }
        begin_line(t);
    } else if (t->cell || t->space) {
        put(t, t->cell ? "\t" : " ", 1);
    }
    t->newlines = 0;
    t->space = t->cell = false;
    if (t->cell_begins) {
        t->cell_begins = false;
        t->cell_written = true;
        t->cell_from = t->out->len;
    }
    if (t->mark[0]) {
        put(t, t->mark, strlen(t->mark));
        t->mark[0] = '\0';
    }
}

/* The white space and the invisible characters at the front: their length, 0 when there is none. *ret_space:
 * it is a space. */
static size_t blank_length(const char *s, size_t n, bool *ret_space)
{
    const unsigned char *p = (const unsigned char *)s;
    *ret_space = true;
    if (p[0] == ' ' || (p[0] >= '\t' && p[0] <= '\r'))
        return 1;
    if (n >= 2 && p[0] == 0xc2 && p[1] == 0xa0) /* no-break space */
        return 2;
    *ret_space = false;
    if (n >= 2 && p[0] == 0xc2 && p[1] == 0xad) /* soft hyphen */
        return 2;
    if (n >= 2 && p[0] == 0xcd && p[1] == 0x8f) /* combining grapheme joiner, filler of previews */
        return 2;
    if (n >= 3 && p[0] == 0xe2 && p[1] == 0x80 && p[2] == 0x8b) /* zero width space */
        return 3;
    if (n >= 3 && p[0] == 0xef && p[1] == 0xbb && p[2] == 0xbf) /* zero width no-break space */
        return 3;
    return 0;
}

static void add_pre(struct html_text *t, const char *s, size_t n)
{
    while (n > 0) {
        const char *nl = memchr(s, '\n', n);
        size_t line = nl ? (size_t)(nl - s) : n;
        size_t keep = line > 0 && s[line - 1] == '\r' ? line - 1 : line;
        if (keep > 0) {
            separate(t);
            put(t, s, keep);
        }
        if (!nl)
            return;
        html_text_break(t);
        s = nl + 1;
        n -= line + 1;
    }
}

void html_text_add(struct html_text *t, const char *s, size_t n)
{
    if (t->pre) {
        add_pre(t, s, n);
        return;
    }
    while (n > 0 && !t->cut) {
        bool space;
        size_t skip = blank_length(s, n, &space);
        if (skip) {
            t->space |= space;
            s += skip;
            n -= skip;
            continue;
        }
        size_t word = 1;
        while (word < n && (unsigned char)s[word] > ' ' && (unsigned char)s[word] < 0xc2)
            word++;
        while (word < n && (unsigned char)s[word] > ' ' && !blank_length(s + word, n - word, &space))
            word++;
        separate(t);
        put(t, s, word);
        s += word;
        n -= word;
    }
}

void html_text_str(struct html_text *t, const char *s)
{
    html_text_add(t, s, strlen(s));
}

void html_text_newlines(struct html_text *t, unsigned n)
{
    if (t->cell_begins)
        return; /* the paragraph that a cell begins with */
    if (t->newlines < n)
        t->newlines = n;
    t->space = t->cell = false;
}

void html_text_break(struct html_text *t)
{
    if (t->newlines < 3)
        t->newlines++;
    t->space = t->cell = false;
}

/* Whether what was written of the cell fits in front of the next one. */
static bool short_cell(const struct html_text *t)
{
    const struct buf *b = t->out;
    size_t from = CD_MIN(t->cell_from, b->len);
    return b->len - from <= MAX_CELL && !memchr(buf_str(b) + from, '\n', b->len - from);
}

void html_text_row(struct html_text *t, bool open)
{
    if (!open && t->cell_written && short_cell(t))
        t->newlines = 0; /* the paragraph that its last cell ends with */
    t->in_row = open;
    t->cell_begins = t->cell_written = false;
}

void html_text_cell(struct html_text *t)
{
    if (t->cell_written && short_cell(t)) {
        t->newlines = 0;
        t->cell = true;
    } else if (!t->newlines && t->started) {
        t->cell = true;
    }
    t->cell_begins = t->in_row;
    t->cell_written = false;
}

void html_text_mark(struct html_text *t, size_t indent, const char *mark)
{
    snprintf(t->mark, sizeof t->mark, "%*s%s", *mark ? (int)CD_MIN(indent, sizeof t->mark / 2) : 0, "", mark);
}

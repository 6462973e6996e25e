/* Display width, cleaning, tables. Output is collected in a struct buf of the caller; tables own copies of
 * their cells. */
#include "ctl/text.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "daemon/core/str.h"

static bool colours;
static size_t columns; /* of the screen; 0: nobody's screen */

void text_colour(bool on)
{
    colours = on;
}

void text_screen(size_t n)
{
    columns = n;
}

size_t text_columns(void)
{
    return columns;
}

void text_init(void)
{
    struct winsize w = {.ws_col = 0};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0)
        columns = w.ws_col;
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    colours = isatty(STDOUT_FILENO) && !(no && *no) && !str_eq(term, "dumb");
}

/* ---- characters ---- */

struct range {
    uint32_t from, to;
};
/* East Asian wide and full-width blocks (Unicode TR 11), and the pictographs that terminals draw wide. */
static const struct range wide[] = {
    {0x1100, 0x115F},   {0x2E80, 0x303E},   {0x3041, 0x33FF},   {0x3400, 0x4DBF},   {0x4E00, 0x9FFF},
    {0xA000, 0xA4CF},   {0xA960, 0xA97F},   {0xAC00, 0xD7A3},   {0xF900, 0xFAFF},   {0xFE30, 0xFE6F},
    {0xFF00, 0xFF60},   {0xFFE0, 0xFFE6},   {0x1F300, 0x1F64F}, {0x1F680, 0x1F6FF}, {0x1F900, 0x1F9FF},
    {0x20000, 0x2FFFD}, {0x30000, 0x3FFFD},
};
/* Combining marks and joiners. */
static const struct range zero[] = {
    {0x0300, 0x036F}, {0x200B, 0x200D}, {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F},
};
/* Controls, and marks that change the direction of what follows. */
static const struct range unsafe[] = {
    {0x00, 0x1F}, {0x7F, 0x9F}, {0x061C, 0x061C}, {0x200E, 0x200F}, {0x2028, 0x202E}, {0x2066, 0x2069}, {0xFEFF, 0xFEFF},
};

static bool within(const struct range *v, size_t n, uint32_t c)
{
    for (size_t i = 0; i < n; i++)
        if (c >= v[i].from && c <= v[i].to)
            return true;
    return false;
}

/* Decodes one character and returns its length; a byte that begins none is U+FFFD of length 1. */
static size_t decode(const unsigned char *s, uint32_t *ret)
{
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xC2 ? 0 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : s[0] < 0xF5 ? 4 : 0;
    uint32_t c = n == 1 ? s[0] : n ? s[0] & (0x7Fu >> n) : 0;
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xC0) != 0x80) {
            n = 0;
            break;
        }
        c = c << 6 | (s[i] & 0x3Fu);
    }
    *ret = n ? c : 0xFFFD;
    return n ? n : 1;
}

static size_t char_width(uint32_t c)
{
    return within(zero, ARRAY_LEN(zero), c) ? 0 : within(wide, ARRAY_LEN(wide), c) ? 2 : 1;
}

size_t text_width(const char *s)
{
    size_t width = 0;
    while (*s) {
        uint32_t c;
        s += decode((const unsigned char *)s, &c);
        width += char_width(c);
    }
    return width;
}

static void put_char(struct buf *out, const char *s, size_t n, uint32_t c)
{
    if (c == 0xFFFD || within(unsafe, ARRAY_LEN(unsafe), c))
        buf_append_str(out, c == '\n' || c == '\t' || c == '\r' ? " " : "\xEF\xBF\xBD");
    else
        buf_append(out, s, n);
}

void text_clean(const char *s, size_t max, struct buf *out)
{
    bool cut = max > 0 && text_width(s) > max;
    size_t room = cut ? max - 1 : SIZE_MAX, used = 0;
    while (*s) {
        uint32_t c;
        size_t n = decode((const unsigned char *)s, &c);
        used += char_width(c);
        if (used > room)
            break;
        put_char(out, s, n, c);
        s += n;
    }
    if (cut)
        buf_append_str(out, "\xE2\x80\xA6");
}

void text_clean_block(const char *s, size_t indent, struct buf *out)
{
    bool fresh = true;
    while (*s) {
        uint32_t c;
        size_t n = decode((const unsigned char *)s, &c);
        for (size_t i = 0; fresh && c != '\n' && i < indent; i++)
            buf_append_char(out, ' ');
        fresh = c == '\n';
        if (c == '\n')
            buf_append_char(out, '\n');
        else if (c != '\r')
            put_char(out, s, n, c);
        s += n;
    }
    if (!fresh)
        buf_append_char(out, '\n');
}

/* The library writes the other controls so by itself. */
void text_json(const char *json, struct buf *out)
{
    while (*json) {
        uint32_t c;
        size_t n = decode((const unsigned char *)json, &c);
        if (c >= 0x7F && within(unsafe, ARRAY_LEN(unsafe), c))
            buf_printf(out, "\\u%04x", c);
        else
            buf_append(out, json, n);
        json += n;
    }
}

/* ---- colour ---- */

static const char *const codes[] = {"", "\033[1m", "\033[2m", "\033[31m", "\033[33m", "\033[32m"};

static void begin(struct buf *out, enum colour c)
{
    if (colours && c != C_PLAIN)
        buf_append_str(out, codes[c]);
}

static void end(struct buf *out, enum colour c)
{
    if (colours && c != C_PLAIN)
        buf_append_str(out, "\033[0m");
}

void text_put(struct buf *out, enum colour c, const char *s)
{
    begin(out, c);
    text_clean(s, 0, out);
    end(out, c);
}

/* ---- tables ---- */

#define TABLE_LAST 24  /* a screen that has not so much for the last column spares others */
#define TABLE_LEAST 8  /* less than this is not worth cutting to */

struct cell {
    char *text;
    size_t width;
    enum colour colour;
};
struct table {
    size_t columns, max[TABLE_MAX_COLUMNS], widest[TABLE_MAX_COLUMNS];
    size_t spare[TABLE_MAX_COLUMNS], nspare;
    bool hidden[TABLE_MAX_COLUMNS];
    struct cell *cells;
    size_t n, room;
};

void table_add(struct table *t, enum colour c, const char *s)
{
    struct buf text;
    size_t column = t->n % t->columns;

    if (t->n == t->room) {
        t->room = t->room ? t->room * 2 : 64;
        t->cells = cd_realloc(t->cells, t->room * sizeof *t->cells);
    }
    buf_init(&text, CD_MIB(1));
    text_clean(s ? s : "", t->max[column], &text);
    struct cell *cell = &t->cells[t->n++];
    *cell =
        (struct cell){.text = cd_strdup(buf_str(&text)), .width = text_width(buf_str(&text)), .colour = c};
    buf_free(&text);
    t->widest[column] = CD_MAX(t->widest[column], cell->width);
}

struct table *table_new(const char *const *headers, const size_t *max)
{
    struct table *t = cd_alloc(sizeof *t);
    while (headers[t->columns] && t->columns < TABLE_MAX_COLUMNS)
        t->columns++;
    for (size_t i = 0; i < t->columns; i++)
        t->max[i] = max ? max[i] : 0;
    for (size_t i = 0; i < t->columns; i++)
        table_add(t, C_BOLD, headers[i]);
    return t;
}

void table_spare(struct table *t, size_t column)
{
    t->spare[t->nspare++] = column;
}

/* Columns that all but the last take of a line. */
static size_t table_width(const struct table *t)
{
    size_t sum = 0;
    for (size_t i = 0; i + 1 < t->columns; i++)
        sum += t->hidden[i] ? 0 : t->widest[i] + 2;
    return sum;
}

static bool table_empty(const struct table *t, size_t column)
{
    for (size_t i = t->columns + column; i < t->n; i += t->columns)
        if (t->cells[i].width)
            return false;
    return true;
}

/* Makes a line one of the screen: empty columns that can be spared go first, then others, then the last one is cut. */
static void table_fit(struct table *t, size_t indent)
{
    size_t last = t->columns - 1, want = table_empty(t, last) ? 0 : CD_MIN(t->widest[last], (size_t)TABLE_LAST);
    for (int empty = 1; empty >= 0; empty--)
        for (size_t i = 0; i < t->nspare && indent + table_width(t) + want > columns; i++)
            if (!empty || table_empty(t, t->spare[i]))
                t->hidden[t->spare[i]] = true;
    size_t used = indent + table_width(t), room = used < columns ? columns - used : 0;
    t->hidden[last] = want == 0 && room < t->widest[last];
    t->max[last] = room >= TABLE_LEAST ? room : 0; /* 0: the screen has to break the lines */
}

void table_print(struct table **tp, const char *indent, struct buf *out)
{
    struct table *t = *tp;
    bool fit = columns > 0;
    if (fit)
        table_fit(t, strlen(indent));
    for (size_t i = 0; i < t->n; i++) {
        const struct cell *c = &t->cells[i];
        size_t column = i % t->columns, last = t->columns - 1;
        if (column == 0)
            buf_append_str(out, indent);
        if (!t->hidden[column]) {
            begin(out, c->colour);
            text_clean(c->text, fit && column == last ? t->max[last] : 0, out);
            end(out, c->colour);
        }
        if (column == last)
            buf_append_char(out, '\n');
        else
            for (size_t k = c->width; k < t->widest[column] + 2 && !t->hidden[column]; k++)
                buf_append_char(out, ' ');
        free(c->text);
    }
    free(t->cells);
    free(t);
    *tp = NULL;
}

void text_join(const json_t *list, const char *between, struct buf *out)
{
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v)
        buf_printf(out, "%s%s", i ? between : "", json_is_string(v) ? json_string_value(v) : "?");
}

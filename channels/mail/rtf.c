/* A reader of RTF that keeps the text only. One pass, a stack of bounded depth: what is nested deeper is read with the
 * settings of the deepest level. */
#include "channels/mail/rtf.h"

#include <stdio.h>
#include <string.h>

#include "channels/mail/charset.h"
#include "daemon/core/str.h"

#define MAX_LEVELS 64
#define MAX_WORD 32

struct level {
    bool skip;        /* a destination that is not shown */
    unsigned uc;      /* bytes that stand behind \u for readers that know no Unicode */
};

struct rtf {
    const uint8_t *p, *end;
    struct buf *out;
    struct buf bytes; /* of the code page, not yet converted */
    char charset[24];
    struct level levels[MAX_LEVELS];
    unsigned depth;   /* may exceed MAX_LEVELS */
    unsigned skip_chars;
    uint32_t high;    /* the first half of a surrogate pair */
    bool group_begins;
};

static struct level *now(struct rtf *r)
{
    return &r->levels[CD_MIN(r->depth, MAX_LEVELS - 1u)];
}

static void flush(struct rtf *r)
{
    struct charset_note note;
    size_t n;
    if (r->bytes.len == 0)
        return;
    char *s = charset_to_utf8(r->charset, r->bytes.data, r->bytes.len, &n, &note);
    buf_append(r->out, s, n);
    free(s);
    buf_reset(&r->bytes);
}

static void put_byte(struct rtf *r, uint8_t c)
{
    if (r->skip_chars > 0)
        r->skip_chars--;
    else if (!now(r)->skip)
        buf_append_char(&r->bytes, (char)c);
}

static void put_text(struct rtf *r, const char *s)
{
    if (now(r)->skip)
        return;
    flush(r);
    buf_append_str(r->out, s);
}

static void put_unicode(struct rtf *r, int32_t value)
{
    uint32_t c = (uint32_t)value & 0xffff;
    char s[5] = "";
    r->skip_chars = now(r)->uc;
    if (c >= 0xd800 && c < 0xdc00) {
        r->high = c;
        return;
    }
    if (c >= 0xdc00 && c < 0xe000)
        c = r->high ? 0x10000 + ((r->high - 0xd800) << 10) + (c - 0xdc00) : 0xfffd;
    r->high = 0;
    if (c < 0x80) {
        s[0] = (char)(c < ' ' ? ' ' : c);
    } else if (c < 0x800) {
        s[0] = (char)(0xc0 | c >> 6);
        s[1] = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        s[0] = (char)(0xe0 | c >> 12);
        s[1] = (char)(0x80 | (c >> 6 & 0x3f));
        s[2] = (char)(0x80 | (c & 0x3f));
    } else {
        s[0] = (char)(0xf0 | c >> 18);
        s[1] = (char)(0x80 | (c >> 12 & 0x3f));
        s[2] = (char)(0x80 | (c >> 6 & 0x3f));
        s[3] = (char)(0x80 | (c & 0x3f));
    }
    put_text(r, s);
}

static bool is_hidden_destination(const char *word)
{
    static const char *const words[] = {"fonttbl", "colortbl", "stylesheet", "info",    "pict",    "object",  "header", "footer",
                                        "headerl", "headerr",  "footerl",    "footerr", "generator", "themedata", "datastore", "listtable",
                                        "listoverridetable", "rsidtbl", "xmlnstbl", "latentstyles", "fldinst", "bkmkstart", "bkmkend"};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strcmp(words[i], word) == 0)
            return true;
    return false;
}

static void control_word(struct rtf *r, const char *word, bool has_number, int32_t number, bool first)
{
    static const struct {
        const char *word, *text;
    } texts[] = {{"par", "\n"},      {"line", "\n"},       {"sect", "\n"},     {"page", "\n"},       {"row", "\n"},         {"cell", "\t"},
                 {"tab", "\t"},      {"emdash", "\u2014"}, {"endash", "\u2013"}, {"bullet", "\u2022"}, {"lquote", "\u2018"}, {"rquote", "\u2019"},
                 {"ldblquote", "\u201c"}, {"rdblquote", "\u201d"}};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (strcmp(texts[i].word, word) == 0) {
            put_text(r, texts[i].text);
            return;
        }
    if (first && is_hidden_destination(word))
        now(r)->skip = true;
    else if (strcmp(word, "u") == 0 && has_number)
        put_unicode(r, number);
    else if (strcmp(word, "uc") == 0 && has_number && number >= 0 && number < 100)
        now(r)->uc = (unsigned)number;
    else if (strcmp(word, "ansicpg") == 0 && number > 0 && number < 65536) {
        flush(r);
        snprintf(r->charset, sizeof r->charset, number == 65001 ? "utf-8" : "cp%d", (int)number);
    } else if (strcmp(word, "bin") == 0 && has_number && number > 0) {
        r->p += CD_MIN((size_t)number, (size_t)(r->end - r->p));
    }
}

static int hex(uint8_t c)
{
    c |= 0x20;
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A word and its number, with the space that ends it. */
static void read_word(struct rtf *r, bool first)
{
    char word[MAX_WORD + 1];
    size_t n = 0;
    int64_t number = 0;
    bool has = false, minus = false;
    while (r->p < r->end && ((*r->p | 0x20) >= 'a' && (*r->p | 0x20) <= 'z')) {
        if (n < MAX_WORD)
            word[n++] = (char)*r->p;
        r->p++;
    }
    word[n] = '\0';
    if (r->p < r->end && *r->p == '-') {
        minus = true;
        r->p++;
    }
    for (; r->p < r->end && *r->p >= '0' && *r->p <= '9'; r->p++) {
        has = true;
        number = CD_MIN(number * 10 + (*r->p - '0'), (int64_t)INT32_MAX);
    }
    if (r->p < r->end && *r->p == ' ')
        r->p++;
    control_word(r, word, has, (int32_t)(minus ? -number : number), first);
}

/* Behind a backslash. */
static void read_control(struct rtf *r)
{
    bool first = r->group_begins;
    r->group_begins = false;
    if (r->p == r->end)
        return;
    uint8_t c = *r->p;
    if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') {
        read_word(r, first);
        return;
    }
    r->p++;
    if (c == '\'' && r->end - r->p >= 2) {
        int hi = hex(r->p[0]), lo = hex(r->p[1]);
        r->p += 2;
        if (hi >= 0 && lo >= 0)
            put_byte(r, (uint8_t)(hi << 4 | lo));
    } else if (c == '*') {
        now(r)->skip = true; /* a destination that old readers are to ignore: no text is in those */
    } else if (c == '\r' || c == '\n') {
        put_text(r, "\n");
    } else if (c == '~') {
        put_text(r, " ");
    } else if (c == '{' || c == '}' || c == '\\') {
        put_byte(r, c);
    }
}

void rtf_to_text(const void *p, size_t n, const char *charset, struct buf *out)
{
    struct rtf r = {.p = p, .end = (const uint8_t *)p + n, .out = out};
    buf_init(&r.bytes, n + 16);
    snprintf(r.charset, sizeof r.charset, "%s", charset);
    r.levels[0].uc = 1;
    while (r.p < r.end && !out->failed) {
        uint8_t c = *r.p++;
        if (c == '{') {
            struct level inherited = *now(&r);
            r.depth++;
            *now(&r) = inherited;
            r.group_begins = true;
            continue;
        }
        if (c == '}') {
            r.depth -= r.depth > 0;
            r.skip_chars = 0;
        } else if (c == '\\') {
            read_control(&r);
            continue;
        } else if (c != '\r' && c != '\n') {
            put_byte(&r, c);
        }
        r.group_begins = false;
    }
    flush(&r);
    buf_free(&r.bytes);
}

/* The table of open converters and the names that lead to them. Names in mails are often those of old
 * products or of a smaller set than the one used ("gb2312" for GBK, "iso-8859-1" for windows-1252): those are
 * read as the larger set. The table grows up to MAX_CONVERTERS; a sender can add only names for which the C
 * library has a converter already loaded. */
#include "channels/mail/charset_names.h"

#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "channels/mail/charset.h"
#include "daemon/core/buf.h"
#include "daemon/core/str.h"

#define MAX_CONVERTERS 1024

struct converter {
    char *name;
    iconv_t cd;
    bool ascii_based;
};
static struct converter *converters; /* sorted by name, case ignored */
static size_t nconverters;

/* ---- the table ---- */

static bool find(const char *name, size_t *ret_at)
{
    size_t lo = 0, hi = nconverters;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = strcasecmp(converters[mid].name, name);
        if (c == 0) {
            *ret_at = mid;
            return true;
        }
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    *ret_at = lo;
    return false;
}

/* Runs printable ASCII, an escape sequence and the shifts of UTF-7 and HZ through it; this also makes the C
 * library load what the converter needs. */
static bool probe_ascii(iconv_t cd)
{
    char text[160], result[320];
    size_t n = 0;
    for (char c = ' '; c < 127; c++)
        text[n++] = c;
    n += (size_t)snprintf(text + n, sizeof text - n, "+AGE-\033$B0!\033(B~{VP~}");
    char *in = text, *out = result;
    size_t left = n, room = sizeof result;
    iconv(cd, NULL, NULL, NULL, NULL);
    size_t r = iconv(cd, &in, &left, &out, &room);
    size_t flushed = iconv(cd, NULL, NULL, &out, &room);
    return r != (size_t)-1 && flushed != (size_t)-1 && (size_t)(out - result) == n &&
           memcmp(text, result, n) == 0;
}

static struct converter *open_converter(const char *name)
{
    size_t at;
    if (find(name, &at))
        return &converters[at];
    if (nconverters == MAX_CONVERTERS || strlen(name) > 60 || strchr(name, '/'))
        return NULL;
    iconv_t cd = iconv_open("UTF-8", name);
    if (cd == (iconv_t)-1)
        return NULL;
    if (!converters)
        converters = cd_alloc(MAX_CONVERTERS * sizeof *converters);
    memmove(converters + at + 1, converters + at, (nconverters - at) * sizeof *converters);
    converters[at] = (struct converter){.name = cd_strdup(name), .cd = cd, .ascii_based = probe_ascii(cd)};
    nconverters++;
    return &converters[at];
}

iconv_t charset_converter(const char *name)
{
    struct converter *c = open_converter(name);
    return c ? c->cd : (iconv_t)-1;
}

bool charset_is_ascii_based(const char *name)
{
    struct converter *c = open_converter(name);
    return c && c->ascii_based;
}

/* ---- what there is to open ---- */

static const char *const always[] = {
    "UTF-8",       "US-ASCII",      "UTF-16",        "UTF-16LE",    "UTF-16BE",    "UTF-32",
    "UTF-7",       "UCS-2",         "UCS-4",         "GB18030",     "GBK",         "GB2312",
    "CP936",       "BIG5",          "BIG5-HKSCS",    "CP950",       "EUC-TW",      "ISO-2022-CN",
    "ISO-2022-JP", "ISO-2022-JP-2", "ISO-2022-JP-3", "SHIFT_JIS",   "CP932",       "EUC-JP",
    "EUC-JP-MS",   "EUC-KR",        "UHC",           "ISO-2022-KR", "JOHAB",       "KOI8-R",
    "KOI8-U",      "CP1250",        "CP1251",        "CP1252",      "CP1253",      "CP1254",
    "CP1255",      "CP1256",        "CP1257",        "CP1258",      "CP874",       "ISO-8859-1",
    "ISO-8859-2",  "ISO-8859-3",    "ISO-8859-4",    "ISO-8859-5",  "ISO-8859-6",  "ISO-8859-7",
    "ISO-8859-8",  "ISO-8859-9",    "ISO-8859-10",   "ISO-8859-11", "ISO-8859-13", "ISO-8859-14",
    "ISO-8859-15", "ISO-8859-16",   "TIS-620",       "TCVN",        "MACINTOSH",   "CP437",
    "CP850",       "CP852",         "CP866"};

/* The name in a line "module NAME// INTERNAL FILE COST" of the C library's own list; NULL in every other. */
static const char *listed_name(char *line)
{
    static const char word[] = "module", internal[] = "INTERNAL";
    if (!str_starts(line, word))
        return NULL;
    char *name = line + sizeof word - 1;
    name += strspn(name, " \t");
    char *end = name + strcspn(name, "/ \t\n"), *to = end;
    if (end == name || !str_starts(to, "//"))
        return NULL;
    to += 2;
    to += strspn(to, " \t");
    if (!str_starts(to, internal) || !strchr(" \t\n", to[sizeof internal - 1]))
        return NULL;
    *end = '\0';
    return name;
}

static void open_listed(const char *path)
{
    char line[512];
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) {
        const char *name = listed_name(line);
        if (name)
            open_converter(name);
    }
    if (f)
        fclose(f);
}

unsigned charset_prepare(void)
{
    static const char *const patterns[] = {"/usr/lib/*/gconv/gconv-modules",
                                           "/usr/lib/*/gconv/gconv-modules.d/*.conf",
                                           "/usr/lib/gconv/gconv-modules", "/usr/lib64/gconv/gconv-modules",
                                           "/usr/lib64/gconv/gconv-modules.d/*.conf"};
    for (size_t i = 0; i < ARRAY_LEN(always); i++)
        open_converter(always[i]);
    for (size_t i = 0; i < ARRAY_LEN(patterns); i++) {
        glob_t g = {0};
        if (glob(patterns[i], 0, NULL, &g) == 0)
            for (size_t j = 0; j < g.gl_pathc; j++)
                open_listed(g.gl_pathv[j]);
        globfree(&g);
    }
    return (unsigned)nconverters;
}

/* ---- names ---- */

static const struct alias {
    const char *name; /* lower case, '_' written as '-' */
    const char *v[3];
} aliases[] = {
    {"gb2312", {"GB18030", "CP936"}},
    {"gbk", {"GB18030", "CP936"}},
    {"gb18030", {"GB18030", "CP936"}},
    {"x-gbk", {"GB18030", "CP936"}},
    {"cp936", {"GB18030", "CP936"}},
    {"ms936", {"GB18030", "CP936"}},
    {"windows-936", {"GB18030", "CP936"}},
    {"gb-2312-80", {"GB18030"}},
    {"gb2312-80", {"GB18030"}},
    {"euc-cn", {"GB18030"}},
    {"x-gb18030", {"GB18030"}},
    {"chinese", {"GB18030"}},
    {"gb-2312", {"GB18030"}},
    {"csgb2312", {"GB18030"}},
    {"big5", {"CP950", "BIG5-HKSCS", "BIG5"}},
    {"x-x-big5", {"CP950", "BIG5-HKSCS"}},
    {"cn-big5", {"CP950", "BIG5-HKSCS"}},
    {"x-big5", {"CP950", "BIG5-HKSCS"}},
    {"big-5", {"CP950", "BIG5-HKSCS"}},
    {"windows-950", {"CP950"}},
    {"shift-jis", {"CP932", "SHIFT_JISX0213"}},
    {"x-sjis", {"CP932"}},
    {"sjis", {"CP932"}},
    {"ms-kanji", {"CP932"}},
    {"windows-31j", {"CP932"}},
    {"euc-jp", {"EUC-JP", "EUC-JP-MS"}},
    {"x-euc-jp", {"EUC-JP", "EUC-JP-MS"}},
    {"iso-2022-jp", {"ISO-2022-JP", "ISO-2022-JP-2", "ISO-2022-JP-3"}},
    {"csiso2022jp", {"ISO-2022-JP", "ISO-2022-JP-2", "ISO-2022-JP-3"}},
    {"euc-kr", {"UHC"}},
    {"ks-c-5601-1987", {"UHC"}},
    {"ks-c-5601-1989", {"UHC"}},
    {"ks-c-5601", {"UHC"}},
    {"ksc5601", {"UHC"}},
    {"korean", {"UHC"}},
    {"cp949", {"UHC"}},
    {"windows-949", {"UHC"}},
    {"iso-8859-1", {"CP1252", "ISO-8859-1"}},
    {"iso8859-1", {"CP1252", "ISO-8859-1"}},
    {"latin1", {"CP1252", "ISO-8859-1"}},
    {"latin-1", {"CP1252", "ISO-8859-1"}},
    {"windows-1252", {"CP1252", "ISO-8859-1"}},
    {"cp-1252", {"CP1252"}},
    {"iso-8859-8-i", {"ISO-8859-8"}},
    {"iso-8859-8-e", {"ISO-8859-8"}},
    {"iso-8859-6-i", {"ISO-8859-6"}},
    {"iso-8859-11", {"CP874"}},
    {"tis-620", {"CP874"}},
    {"koi8", {"KOI8-R"}},
    {"koi8r", {"KOI8-R"}},
    {"koi8-r", {"KOI8-R"}},
    {"x-mac-cyrillic", {"MAC-CYRILLIC"}},
    {"utf8", {"UTF-8"}},
    {"utf-8", {"UTF-8"}},
    {"utf8mb4", {"UTF-8"}},
    {"unicode-1-1-utf-8", {"UTF-8"}},
    {"unicode-1-1-utf-7", {"UTF-7"}},
    {"x-unicode-1-1-utf-7", {"UTF-7"}},
    {"x-mac-roman", {"MACINTOSH"}},
    {"x-macroman", {"MACINTOSH"}},
};

/* Names that say no more than "some text". ASCII is among them: what goes beyond it is not what was declared.
 */
static const char *const empty_names[] = {
    "",     "us-ascii", "ascii",          "ansi-x3.4-1968", "unknown", "unknown-8bit", "x-unknown",
    "none", "default",  "x-user-defined", "iso-8859",       "8bit",    "binary",       "7bit"};

void charset_names_of(const char *declared, struct charset_names *ret)
{
    char name[64];
    size_t n = 0;
    *ret = (struct charset_names){0};
    if (!declared)
        return;
    declared += strspn(declared, " \t\r\n\"'=");
    /* Bytes that no name holds go: the C library leaves them out as well, but they would stay in the note,
     * and a note that is not UTF-8 makes the front refuse the whole record. */
    for (; *declared && !strchr(" \t\r\n\"';,", *declared) && n < sizeof name - 1; declared++)
        if (*declared > ' ' && *declared < 0x7f)
            name[n++] = *declared == '_' ? '-' : *declared;
    name[n] = '\0';
    memcpy(ret->own, name, n + 1);
    str_lower(name);
    char *star = strchr(name, '*'); /* RFC 2231: language in an encoded word */
    if (star) {
        ret->own[star - name] = '\0';
        *star = '\0';
    }
    for (size_t i = 0; i < ARRAY_LEN(empty_names); i++)
        if (strcmp(name, empty_names[i]) == 0)
            return;
    ret->declared = true;
    ret->hz = strcmp(name, "hz-gb-2312") == 0 || strcmp(name, "hz") == 0;
    for (size_t i = 0; i < ARRAY_LEN(aliases); i++) {
        if (strcmp(aliases[i].name, name) != 0)
            continue;
        for (size_t k = 0; k < 3 && aliases[i].v[k]; k++)
            if (charset_converter(aliases[i].v[k]) != (iconv_t)-1)
                ret->v[ret->n++] = aliases[i].v[k];
        return;
    }
    for (int underscores = 0; underscores < 2 && !ret->n; underscores++) {
        if (charset_converter(ret->own) != (iconv_t)-1)
            ret->v[ret->n++] = ret->own;
        else
            for (char *p = ret->own; *p; p++)
                *p = *p == '-' ? '_' : *p;
    }
}

bool charset_known(const char *name)
{
    struct charset_names names;
    charset_names_of(name, &names);
    return names.n > 0 || names.hz || !names.declared;
}

/* ---- HZ ---- */

/* "~{" and "~}" switch between ASCII and GB 2312 with the high bits off, "~~" is a tilde, "~" before a line
 * end joins lines. */
char *charset_from_hz(const char *p, size_t n, size_t *ret_n)
{
    struct buf gb;
    bool wide = false;
    struct charset_note note;
    buf_init(&gb, n + 1);
    for (size_t i = 0; i < n && !gb.failed; i++) {
        if (p[i] == '~' && i + 1 < n && p[i + 1] == (wide ? '}' : '{')) {
            wide = !wide;
            i++;
        } else if (!wide && p[i] == '~' && i + 1 < n && (p[i + 1] == '~' || p[i + 1] == '\n')) {
            i++;
            if (p[i] == '~')
                buf_append_char(&gb, '~');
        } else if (wide && p[i] == '\n') {
            wide = false; /* a shift ends with its line */
            buf_append_char(&gb, '\n');
        } else {
            buf_append_char(&gb, (char)(wide && p[i] > 32 ? p[i] | 0x80 : p[i]));
        }
    }
    char *s = gb.failed ? NULL : charset_to_utf8("gb18030", buf_str(&gb), gb.len, ret_n, &note);
    buf_free(&gb);
    if (s && (note.lost || note.misfit)) {
        free(s);
        s = NULL;
    }
    return s;
}

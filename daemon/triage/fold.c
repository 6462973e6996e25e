/* Folding: the one form in which texts and patterns are compared.
 *
 * NFKC and case folding, so that full-width forms, ligatures, "ß" and capitals do not matter; typographic
 * apostrophes, quotes and dashes become the ASCII ones; characters of no width go; a run of white space
 * becomes one space, and a single line break between two Han or Kana characters goes altogether, since such a
 * line is broken anywhere. No space stands at either end.
 *
 * GLib does the Unicode part, at some 55 ns a byte; ASCII, Han and the full-width forms of ASCII, of which
 * real texts are made, do not need it. GLib sorts a run of combining marks in quadratic time, so it gets
 * short pieces only. Bytes that are not UTF-8 become U+FFFD; nothing here fails. */
#include "daemon/triage/match.h"

#include <glib.h>
#include <string.h>

#include "daemon/triage/pattern.h"

#define PIECE_SOFT 256  /* bytes after which a piece for GLib ends before the next character that is no mark \
                         */
#define PIECE_HARD 1024 /* and here in any case */
#define GROWTH_MAX 20   /* NFKC makes at most 18 code points of one */

struct folder {
    struct buf out;
    bool space;        /* white space was seen since the last character */
    unsigned newlines; /* in it */
    uint32_t last;     /* the last character put out, 0 at the start */
};

bool char_is_space(uint32_t c)
{
    return c <= 0x20 || c == 0x7f || c == 0x85 || c == 0xa0 || (c > 0x7f && g_unichar_isspace(c));
}

bool char_is_word(uint32_t c)
{
    if (c < 0x80)
        return g_ascii_isalnum((char)c);
    return g_unichar_isalnum(c) || g_unichar_ismark(c);
}

static bool is_han(uint32_t c)
{
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf);
}

static bool is_han_or_kana(uint32_t c)
{
    return is_han(c) || (c >= 0x3040 && c <= 0x312f) || (c >= 0x31f0 && c <= 0x31ff) ||
           (c >= 0x20000 && c <= 0x3fffd) || c == 0x3005 || c == 0x3007;
}

bool char_is_cjk(uint32_t c)
{
    return is_han_or_kana(c) || (c >= 0x1100 && c <= 0x11ff) || (c >= 0xac00 && c <= 0xd7ff) ||
           (c >= 0xf900 && c <= 0xfaff);
}

bool char_is_edge(uint32_t left, uint32_t right)
{
    return !char_is_word(left) || !char_is_word(right) || char_is_cjk(left) || char_is_cjk(right);
}

/* Characters that say nothing about the words: soft hyphen, zero-width space, joiners, direction marks, BOM,
 * and the selectors that choose between the looks of one character. */
static bool is_invisible(uint32_t c)
{
    return c == 0xad || (c >= 0x200b && c <= 0x200f) || (c >= 0x202a && c <= 0x202e) ||
           (c >= 0x2060 && c <= 0x2064) || (c >= 0xfe00 && c <= 0xfe0f) || c == 0xfeff;
}

static uint32_t plain(uint32_t c)
{
    switch (c) {
    case 0x2018:
    case 0x2019:
    case 0x201b:
    case 0x2bc:
        return '\'';
    case 0x201c:
    case 0x201d:
    case 0x201f:
        return '"';
    case 0x2010 ... 0x2015:
    case 0x2212:
        return '-';
    default:
        return c;
    }
}

static void put(struct folder *f, uint32_t c)
{
    char u[6];
    if (char_is_space(c)) {
        f->space = true;
        f->newlines += c == '\n';
        return;
    }
    if (f->space && f->last && !(f->newlines == 1 && is_han_or_kana(f->last) && is_han_or_kana(c)))
        buf_append_char(&f->out, ' ');
    f->space = false;
    f->newlines = 0;
    f->last = c;
    if (c < 0x80)
        buf_append_char(&f->out, (char)c);
    else
        buf_append(&f->out, u, (size_t)g_unichar_to_utf8(c, u));
}

/* One character of s, its length in *ret_n; U+FFFD and 1 for a bad byte. */
static uint32_t decode(const char *s, size_t n, size_t *ret_n)
{
    gunichar c = g_utf8_get_char_validated(s, (gssize)n);
    if (c > 0x10ffff) {
        *ret_n = 1;
        return 0xfffd;
    }
    *ret_n = (size_t)g_utf8_skip[(unsigned char)*s];
    return c;
}

/* The characters that need no table: 0 when c is not one of them. */
static uint32_t fold_simple(uint32_t c)
{
    if (c < 0x80)
        return c >= 'A' && c <= 'Z' ? c + 32 : (c ? c : ' ');
    if (is_han(c) || c == 0x3001 || c == 0x3002)
        return c;
    if (c >= 0xff01 && c <= 0xff5e) {
        c -= 0xff01 - '!';
        return c >= 'A' && c <= 'Z' ? c + 32 : c;
    }
    c = plain(c);
    return c < 0x80 ? c : 0;
}

static void fold_piece(struct folder *f, const char *s, size_t n)
{
    /* Validated by the caller; bad bytes end a piece. */
    g_autofree char *normal = g_utf8_normalize(s, (gssize)n, G_NORMALIZE_NFKC);
    if (!normal)
        return;
    g_autofree char *folded = g_utf8_casefold(normal, -1);
    for (const char *p = folded; *p; p = g_utf8_next_char(p)) {
        uint32_t c = plain(g_utf8_get_char(p));
        if (!is_invisible(c))
            put(f, c);
    }
}

/* Length of the piece for GLib that begins at s. */
static size_t piece_length(const char *s, size_t n)
{
    size_t used = 0, len;
    while (used < n) {
        uint32_t c = decode(s + used, n - used, &len);
        bool mark = g_unichar_ismark(c);
        /* What needs no table ends the piece; with a mark after it, it begins the next one. */
        if (used && (c == 0xfffd || (fold_simple(c) && !mark)))
            break;
        if (used >= PIECE_HARD || (used >= PIECE_SOFT && !mark))
            break;
        used += len;
    }
    return used;
}

/* The ASCII characters at the front, but for the last one before other bytes: a mark may follow it. Returns how many these were. The
 * same as put() of each of them; most texts are nothing else. */
static size_t fold_ascii(struct folder *f, const char *s, size_t n)
{
    size_t k = 0;
    while (k < n && (unsigned char)s[k] < 0x80)
        k++;
    if (k < n && k > 0)
        k--;
    if (k == 0 || buf_reserve(&f->out, 2 * k) < 0)
        return 0;
    char *w = (char *)f->out.data + f->out.len;
    for (size_t i = 0; i < k; i++) {
        char c = s[i];
        if (char_is_space((unsigned char)c)) {
            f->space = true;
            f->newlines += c == '\n';
            continue;
        }
        if (f->space && f->last)
            *w++ = ' ';
        f->space = false;
        f->newlines = 0;
        f->last = (unsigned char)c;
        *w++ = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
    }
    *w = '\0';
    f->out.len = (size_t)(w - (char *)f->out.data);
    return k;
}

static void fold_all(struct folder *f, const char *s, size_t n)
{
    size_t i = 0, len, next_len;
    while (i < n) {
        i += fold_ascii(f, s + i, n - i);
        if (i == n)
            break;
        uint32_t c = (unsigned char)s[i] < 0x80 ? (len = 1, (unsigned char)s[i]) : decode(s + i, n - i, &len);
        bool alone = true;
        if (i + len < n && (unsigned char)s[i + len] >= 0xcc) /* the first mark is U+0300, CC 80 */
            alone = !g_unichar_ismark(decode(s + i + len, n - i - len, &next_len));
        uint32_t simple = fold_simple(c);
        if (is_invisible(c)) {
            i += len;
        } else if (c == 0xfffd || (simple && (alone || c <= 0x20))) {
            put(f, c == 0xfffd ? c : simple);
            i += len;
        } else {
            size_t piece = piece_length(s + i, n - i);
            fold_piece(f, s + i, piece);
            i += piece;
        }
    }
}

char *match_fold(const char *s, size_t n, size_t *ret_n)
{
    struct folder f = {0};
    buf_init(&f.out, n * GROWTH_MAX + 16);
    fold_all(&f, s, n);
    size_t len = f.out.len;
    char *out = buf_steal(&f.out);
    buf_free(&f.out);
    if (ret_n)
        *ret_n = len;
    return out ? out : cd_strdup("");
}

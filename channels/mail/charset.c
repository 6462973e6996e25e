/* The ladder from declared character set to readable text; see charset.h. The converters live for the whole
 * process. A converter is never trusted to have eaten everything: each conversion is checked byte by byte,
 * and what does not fit is counted, so that a text is never lost without a note. */
#include "channels/mail/charset.h"

#include <errno.h>
#include <iconv.h>
#include <stdio.h>
#include <string.h>

#include "channels/mail/charset_names.h"
#include "daemon/core/buf.h"
#include "daemon/core/err.h"
#include "daemon/core/str.h"

#define REPLACEMENT "\xef\xbf\xbd"

/* ---- one conversion ---- */

struct conversion {
    struct buf out;
    size_t converted; /* characters outside ASCII that fitted, roughly: high bytes eaten */
    unsigned lost;
};

static bool grow(struct buf *b)
{
    size_t want = CD_MIN(b->cap - b->len, CD_MAX(b->len, (size_t)256));
    return want >= 16 && buf_reserve(b, want) == 0;
}

/* Feeds all bytes; those that do not fit become U+FFFD when `lossy`, else end it. 0, CD_EINVAL (did not fit),
 * CD_ENOMEM. */
static int convert(iconv_t cd, const char *p, size_t n, bool lossy, struct conversion *c)
{
    char *in = (char *)(uintptr_t)p;
    size_t left = n;
    iconv(cd, NULL, NULL, NULL, NULL);
    if (n == 0)
        return 0;
    if (buf_reserve(&c->out, CD_MIN(n + n / 2 + 16, c->out.cap)) < 0)
        return CD_ENOMEM;
    for (bool flush = false;;) {
        char *out = (char *)c->out.data + c->out.len;
        size_t room = c->out.size - c->out.len - 1;
        size_t r = flush ? iconv(cd, NULL, NULL, &out, &room) : iconv(cd, &in, &left, &out, &room);
        c->out.len = (size_t)(out - (char *)c->out.data);
        if (r != (size_t)-1) {
            if (flush)
                return 0;
            flush = true;
            continue;
        }
        if (errno == E2BIG) {
            if (!grow(&c->out))
                return CD_ENOMEM;
            continue;
        }
        if (!lossy)
            return CD_EINVAL;
        if (left == 0) { /* a shift state that can't be ended */
            iconv(cd, NULL, NULL, NULL, NULL);
            return 0;
        }
        if (buf_append_str(&c->out, REPLACEMENT) < 0)
            return CD_ENOMEM;
        c->lost++;
        in++;
        left--;
    }
}

static size_t count_high(const uint8_t *p, size_t n)
{
    size_t high = 0;
    for (size_t i = 0; i < n; i++)
        high += p[i] >> 7;
    return high;
}

/* Control characters other than tab and line ends, C1 controls and byte order marks are no text. In place. */
static size_t drop_controls(char *s, size_t n)
{
    uint8_t *p = (uint8_t *)s;
    size_t w = 0;
    for (size_t i = 0; i < n; i++) {
        if ((p[i] < 32 && p[i] != '\t' && p[i] != '\n' && p[i] != '\r') || p[i] == 127)
            continue;
        if (p[i] == 0xc2 && i + 1 < n && p[i + 1] < 0xa0) {
            i++;
            continue;
        }
        if (p[i] == 0xef && i + 2 < n && p[i + 1] == 0xbb && p[i + 2] == 0xbf) {
            i += 2;
            continue;
        }
        p[w++] = p[i];
    }
    p[w] = '\0';
    return w;
}

static char *finish(char *s, size_t n, size_t *ret_n)
{
    n = drop_controls(s, n);
    if (!utf8_valid(s, n)) { /* a converter that gives surrogates or worse */
        char *clean = utf8_clean(s, n, NULL);
        free(s);
        s = clean;
        n = strlen(s);
    }
    if (ret_n)
        *ret_n = n;
    return s;
}

/* ---- the rungs ---- */

/* Chinese text in GB18030 has its two-byte characters mostly in the rows of common Hanzi; Latin text misread
 * as such has not. */
static bool looks_gb(const uint8_t *p, size_t n)
{
    size_t pairs = 0, both_high = 0, common = 0, marks = 0;
    for (size_t i = 0; i + 1 < n; i++) {
        if (p[i] < 0x80)
            continue;
        pairs++;
        both_high += p[i + 1] >= 0xa1;
        common += p[i] >= 0xb0 && p[i] <= 0xd7 && p[i + 1] >= 0xa1;
        marks += p[i] == 0xa1 || p[i] == 0xa3;
        i++;
    }
    return pairs > 0 && both_high * 10 >= pairs * 9 && (common + marks) * 10 >= pairs * 7 &&
           common * 2 >= pairs;
}

static bool looks_big5(const uint8_t *p, size_t n)
{
    size_t pairs = 0, common = 0, low_trail = 0;
    for (size_t i = 0; i + 1 < n; i++) {
        if (p[i] < 0x80)
            continue;
        pairs++;
        common += p[i] >= 0xa1 && p[i] <= 0xc6;
        low_trail += p[i + 1] < 0xa1;
        i++;
    }
    return pairs > 1 && common * 10 >= pairs * 9 && low_trail * 10 >= pairs;
}

static char *strict(const char *name, const char *p, size_t n, size_t *ret_n)
{
    struct conversion c = {0};
    iconv_t cd = charset_converter(name);
    if (cd == (iconv_t)-1)
        return NULL;
    buf_init(&c.out, n * 4 + 64);
    if (convert(cd, p, n, false, &c) < 0) {
        buf_free(&c.out);
        return NULL;
    }
    size_t len = c.out.len;
    char *s = buf_steal(&c.out);
    return finish(s ? s : cd_strdup(""), len, ret_n);
}

static char *lossy(const char *name, const char *p, size_t n, size_t *ret_n, unsigned *ret_lost)
{
    struct conversion c = {0};
    iconv_t cd = charset_converter(name);
    if (cd == (iconv_t)-1)
        return NULL;
    buf_init(&c.out, n * 4 + 64);
    if (convert(cd, p, n, true, &c) < 0) {
        buf_free(&c.out);
        return NULL;
    }
    size_t len = c.out.len;
    char *s = buf_steal(&c.out);
    *ret_lost = c.lost;
    return finish(s ? s : cd_strdup(""), len, ret_n);
}

static void note_used(struct charset_note *note, const char *name)
{
    snprintf(note->used, sizeof note->used, "%s", name);
}

/* The declared set: without a fault, or with so few that it still is the best reading. */
static char *try_declared(const struct charset_names *names, const char *p, size_t n, size_t *ret_n,
                          bool with_losses, struct charset_note *note)
{
    for (size_t i = 0; !with_losses && i < names->n; i++) {
        char *s = strict(names->v[i], p, n, ret_n);
        if (s) {
            note_used(note, names->v[i]);
            return s;
        }
    }
    if (!with_losses)
        return NULL;
    unsigned lost = 0;
    char *s = lossy(names->v[0], p, n, ret_n, &lost);
    bool ascii_based = charset_is_ascii_based(names->v[0]);
    size_t high = ascii_based ? count_high((const uint8_t *)p, n) : n / 2;
    if (s && lost <= 1 + high / 20) {
        note_used(note, names->v[0]);
        note->lost = lost;
        return s;
    }
    free(s);
    return NULL;
}

static char *guess(const char *p, size_t n, size_t *ret_n, struct charset_note *note)
{
    const uint8_t *u = (const uint8_t *)p;
    char *s = NULL;
    unsigned lost = 0;
    if (looks_gb(u, n) && (s = strict("GB18030", p, n, ret_n)) != NULL)
        note_used(note, "GB18030");
    else if (looks_big5(u, n) && (s = strict("CP950", p, n, ret_n)) != NULL)
        note_used(note, "Big5");
    if (s)
        return s;
    s = lossy("UTF-8", p, n, ret_n, &lost);
    if (s && lost <= count_high(u, n) / 20) {
        note_used(note, "UTF-8");
        note->lost = lost;
        return s;
    }
    free(s);
    lost = 0;
    s = lossy("CP1252", p, n, ret_n, &lost);
    note_used(note, "windows-1252");
    note->lost = lost;
    return s;
}

/* No converter at all: what can be kept is kept. */
static char *plain_copy(const char *p, size_t n, size_t *ret_n)
{
    char *s = utf8_clean(p, n, NULL);
    return finish(s, strlen(s), ret_n);
}

static char *copy(const char *p, size_t n, size_t *ret_n)
{
    char *s = cd_alloc(n + 1);
    if (n)
        memcpy(s, p, n);
    return finish(s, n, ret_n);
}

char *charset_to_utf8(const char *declared, const void *bytes, size_t n, size_t *ret_n,
                      struct charset_note *note)
{
    const char *p = bytes;
    char *s = NULL;
    struct charset_names names;
    *note = (struct charset_note){0};
    charset_names_of(declared, &names);
    note->unknown = names.n == 0 && names.declared && !names.hz;
    if (names.hz && (s = charset_from_hz(p, n, ret_n)) != NULL) {
        note_used(note, "HZ");
        return s;
    }
    bool high = count_high(bytes, n) > 0;
    if (!high && (names.n == 0 || charset_is_ascii_based(names.v[0]))) {
        note_used(note, "US-ASCII");
        return copy(p, n, ret_n);
    }
    bool utf8 = high && utf8_valid(p, n), says_utf8 = names.n && str_eq(names.v[0], "UTF-8");
    /* Any bytes fit windows-1252, but no text in it is valid UTF-8 by chance: those mails are labelled
     * wrongly. */
    bool says_latin = names.n && str_eq(names.v[0], "CP1252");
    if (names.n && !says_utf8 && !(utf8 && says_latin) &&
        (s = try_declared(&names, p, n, ret_n, false, note)) != NULL)
        return s;
    if (names.n && str_starts(names.v[0], "ISO-2022-JP") && (s = charset_from_jis(p, n, ret_n)) != NULL) {
        note_used(note, "CP50221");
        return s;
    }
    if (utf8) {
        note_used(note, "UTF-8");
        return copy(p, n, ret_n);
    }
    if (names.n && (s = try_declared(&names, p, n, ret_n, true, note)) != NULL)
        return s;
    note->misfit = names.n > 0;
    s = guess(p, n, ret_n, note);
    return s ? s : plain_copy(p, n, ret_n);
}

/* The content of a leaf as text: character set, flowed lines, armour of OpenPGP, HTML. Nothing fails: what cannot be
 * read is taken as far as it goes, and flagged. */
#include <string.h>

#include "channels/mail/decode_flowed.h"
#include "channels/mail/decode_impl.h"
#include "channels/mail/html.h"

/* Bytes of one part that are read as text: more than its share of RECORD_MAX_TEXT, so that a cut is seen and
 * flagged. */
#define MAX_TEXT_BYTES (RECORD_MAX_TEXT + 1)
#define MAX_NOTE 250

/* ---- character sets ---- */

static void degrade(struct record *r, const struct charset_note *n)
{
    if (n->unknown)
        decode_degrade(r, "unknown character set, read as %s", n->used);
    else if (n->misfit)
        decode_degrade(r, "text is not in the character set declared, read as %s", n->used);
    if (n->lost)
        decode_degrade(r, "%u characters were not readable in %s", n->lost, n->used);
}

/* Whether two names differ in more than case and dashes. */
static bool same_name(const char *a, const char *b)
{
    for (;; a++, b++) {
        a += strspn(a, "-_ ");
        b += strspn(b, "-_ ");
        if (g_ascii_tolower(*a) != g_ascii_tolower(*b))
            return false;
        if (!*a)
            return true;
    }
}

void decode_note_charset(struct record *r, const char *declared, const struct charset_note *n, bool body)
{
    char name[41] = "", lost[40] = "";
    bool said = declared && *declared;
    if (body)
        degrade(r, n);
    if (!n->unknown && !n->lost && (str_eq(n->used, "US-ASCII") || (said && same_name(declared, n->used))))
        return;
    for (size_t i = 0; said && declared[i] && i < sizeof name - 1; i++)
        name[i] = declared[i] > ' ' && declared[i] < 127 && declared[i] != ';' ? declared[i] : '?';
    if (n->lost)
        snprintf(lost, sizeof lost, ", %u replaced", n->lost);
    char *text = cd_asprintf("%s read as %s (%s%s)", said ? name : "undeclared", n->used,
                             !said || n->unknown || n->misfit ? "detected" : "declared", lost);
    char *old = r->charset_note;
    if (!old)
        r->charset_note = cd_strdup(text);
    else if (!strstr(old, text) && strlen(old) + strlen(text) + 2 <= MAX_NOTE)
        r->charset_note = cd_asprintf("%s; %s", old, text);
    if (r->charset_note != old)
        free(old);
    free(text);
}

/* ---- text ---- */

/* What a body without a declaration is tried as: the set that its sender used in the Subject. */
static const char *undeclared(const struct decoding *d, const uint8_t *p, size_t n)
{
    return d->word_hint[0] && !utf8_valid((const char *)p, n) && charset_known(d->word_hint) ? d->word_hint : NULL;
}

/* CRLF and lone CR become LF, white space at line ends and empty lines at both ends go. In place; returns the
 * new length. */
static size_t tidy(char *s, size_t n)
{
    size_t w = 0, i = 0;
    while (i < n && (s[i] == '\n' || s[i] == '\r'))
        i++;
    for (; i < n; i++) {
        if (s[i] == '\r' || s[i] == '\n') {
            if (s[i] == '\r' && i + 1 < n && s[i + 1] == '\n')
                i++;
            while (w > 0 && (s[w - 1] == ' ' || s[w - 1] == '\t') &&
                   !(w >= 3 && s[w - 2] == '-' && s[w - 3] == '-'))
                w--;
            s[w++] = '\n';
        } else {
            s[w++] = s[i];
        }
    }
    while (w > 0 && (s[w - 1] == '\n' || s[w - 1] == ' ' || s[w - 1] == '\t'))
        w--;
    s[w] = '\0';
    return w;
}

void decode_add_plain(struct decoding *d, const char *charset, enum decode_flow flow, const uint8_t *p, size_t n,
                      struct part_text *t)
{
    struct charset_note note;
    size_t len;
    char *s = charset_to_utf8(charset && *charset ? charset : undeclared(d, p, n), p, n, &len, &note);
    decode_note_charset(d->r, charset, &note, true);
    if (flow != FLOW_NONE) {
        char *flowed = flowed_to_text(s, len, flow == FLOW_DELSP, &len);
        free(s);
        s = flowed;
    }
    len = decode_take_armor(d, s, len);
    len = tidy(s, len);
    part_text_add(d, t, s, len);
    free(s);
}

void decode_add_html(struct decoding *d, const char *charset, const uint8_t *p, size_t n, struct part_text *t)
{
    struct charset_note note;
    struct buf out;
    char meta[64];
    size_t len;
    bool cut;
    if (!charset || !*charset) {
        html_meta_charset(p, n, meta);
        charset = meta;
    }
    char *s = charset_to_utf8(charset && *charset ? charset : undeclared(d, p, n), p, n, &len, &note);
    decode_note_charset(d->r, charset, &note, true);
    buf_init(&out, RECORD_MAX_TEXT);
    html_to_text(s, len, &out, &cut);
    free(s);
    if (cut)
        decode_degrade(d->r, "text over %zu bytes, cut", (size_t)RECORD_MAX_TEXT);
    if (out.len)
        part_text_add(d, t, buf_str(&out), out.len);
    buf_free(&out);
}

void leaf_text(struct decoding *d, const struct leaf *l, struct part_text *t)
{
    struct buf rest;
    uint8_t *own;
    size_t n;
    bool cut, html = str_eq(l->type, "text/html") || str_eq(l->type, "application/xhtml+xml");
    const uint8_t *p = leaf_bytes(d, l, MAX_TEXT_BYTES, &n, &own, &cut);
    size_t before = t->text.len;
    buf_init(&rest, n + 1);
    if (cut)
        decode_degrade(d->r, "text over %zu bytes, cut", (size_t)RECORD_MAX_TEXT);
    if (html)
        decode_add_html(d, l->charset, p, n, t);
    else if (!own && decode_uu_files(d, l, p, n, &rest))
        decode_add_plain(d, l->charset, l->flow, (const uint8_t *)buf_str(&rest), rest.len, t);
    else
        decode_add_plain(d, l->charset, l->flow, p, n, t);
    if (t->text.len > before) {
        t->html |= html;
        t->plain |= !html;
    }
    buf_free(&rest);
    free(own);
}

/* A line that is nothing but base64 tells nobody anything. */
static bool is_base64_line(const uint8_t *p, size_t n)
{
    while (n > 0 && (p[n - 1] == '\r' || p[n - 1] == '\n' || p[n - 1] == '='))
        n--;
    if (n < 56)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!g_ascii_isalnum(p[i]) && p[i] != '+' && p[i] != '/')
            return false;
    return true;
}

void decode_raw_text(struct decoding *d, const uint8_t *p, size_t n, struct part_text *t)
{
    struct buf kept;
    buf_init(&kept, RECORD_MAX_TEXT);
    while (n > 0 && !kept.failed) {
        const uint8_t *nl = memchr(p, '\n', n);
        size_t len = nl ? (size_t)(nl - p) + 1 : n;
        if (len > RECORD_MAX_TEXT - kept.len)
            break;
        if (!is_base64_line(p, len))
            buf_append(&kept, p, len);
        p += len;
        n -= len;
    }
    if (n > 0) {
        buf_append(&kept, p, CD_MIN(n, RECORD_MAX_TEXT - kept.len));
        decode_degrade(d->r, "text over %zu bytes, cut", (size_t)RECORD_MAX_TEXT);
    }
    decode_add_plain(d, NULL, FLOW_NONE, (const uint8_t *)buf_str(&kept), kept.len, t);
    buf_free(&kept);
}

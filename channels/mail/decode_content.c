/* The content of a leaf as bytes, as an attachment or as text. It is decoded from the raw bytes with GMime's
 * decoders, so that the places recorded are those decoded. Nothing fails: what does not decode is taken as
 * far as it goes, and flagged. */
#include <string.h>

#include "channels/mail/decode_impl.h"
#include "channels/mail/html.h"

#define CHUNK CD_KIB(32)
/* No decoder gives more bytes than it got, except for the few that it holds back between two steps. */
#define DECODE_SLACK 64
/* Bytes of one part that are read as text: more than its share of RECORD_MAX_TEXT, so that a cut is seen and
 * flagged. */
#define MAX_TEXT_BYTES (RECORD_MAX_TEXT + 1)

/* ---- bytes ---- */

static const char *encoding_name(GMimeContentEncoding enc)
{
    switch (enc) {
    case GMIME_CONTENT_ENCODING_8BIT:
        return "8bit";
    case GMIME_CONTENT_ENCODING_BINARY:
        return "binary";
    case GMIME_CONTENT_ENCODING_BASE64:
        return "base64";
    case GMIME_CONTENT_ENCODING_QUOTEDPRINTABLE:
        return "quoted-printable";
    case GMIME_CONTENT_ENCODING_UUENCODE:
        return "x-uuencode";
    default:
        return "7bit";
    }
}

static bool is_encoded(const struct leaf *l)
{
    return l->encoding == GMIME_CONTENT_ENCODING_BASE64 ||
           l->encoding == GMIME_CONTENT_ENCODING_QUOTEDPRINTABLE ||
           l->encoding == GMIME_CONTENT_ENCODING_UUENCODE;
}

const uint8_t *leaf_bytes(struct decoding *d, const struct leaf *l, size_t max, size_t *ret_n,
                          uint8_t **ret_own, bool *ret_cut)
{
    const uint8_t *in = d->raw + l->offset;
    *ret_own = NULL;
    if (!is_encoded(l)) {
        *ret_cut = l->length > max;
        *ret_n = CD_MIN(l->length, max);
        return in;
    }
    GMimeEncoding state;
    size_t done = 0, n = 0;
    g_mime_encoding_init_decode(&state, l->encoding);
    char *out = cd_realloc(NULL, CD_MIN(l->length, max + CHUNK) + DECODE_SLACK);
    while (done < l->length && n <= max) {
        size_t step = CD_MIN(CHUNK, l->length - done);
        n += g_mime_encoding_step(&state, (const char *)in + done, step, out + n);
        done += step;
    }
    if (done == l->length)
        n += g_mime_encoding_flush(&state, "", 0, out + n);
    *ret_cut = n > max || done < l->length;
    *ret_n = CD_MIN(n, max);
    *ret_own = (uint8_t *)out;
    return *ret_own;
}

static void digest(struct decoding *d, const struct leaf *l, struct attachment *a)
{
    const char *in = (const char *)d->raw + l->offset;
    if (!is_encoded(l)) {
        a->size_bytes = l->length;
        sha256(in, l->length, a->sha256);
        return;
    }
    GMimeEncoding state;
    struct sha256_ctx *sha = sha256_new();
    char *out = cd_realloc(NULL, CD_MIN(l->length, CHUNK) + DECODE_SLACK);
    g_mime_encoding_init_decode(&state, l->encoding);
    for (size_t done = 0; done < l->length;) {
        size_t step = CD_MIN(CHUNK, l->length - done);
        size_t n = g_mime_encoding_step(&state, in + done, step, out);
        sha256_add(sha, out, n);
        a->size_bytes += n;
        done += step;
    }
    size_t n = g_mime_encoding_flush(&state, "", 0, out);
    sha256_add(sha, out, n);
    a->size_bytes += n;
    sha256_end(&sha, a->sha256);
    free(out);
}

void leaf_attach(struct decoding *d, const struct leaf *l)
{
    if (!d->places)
        return;
    struct attachment *a = record_add_attachment(d->r);
    if (!a) {
        decode_degrade(d->r, "more than %d attachments", RECORD_MAX_ATTACHMENTS);
        return;
    }
    free(a->filename);
    a->filename = cd_strdup(l->filename);
    a->content_type = cd_strdup(l->type);
    a->encoding = cd_strdup(encoding_name(l->encoding));
    a->offset = l->offset;
    a->length = l->length;
    a->is_inline = l->is_inline;
    digest(d, l, a);
}

/* ---- text ---- */

static void note_charset(struct record *r, const struct charset_note *n)
{
    if (n->unknown)
        decode_degrade(r, "unknown character set, read as %s", n->used);
    else if (n->misfit)
        decode_degrade(r, "text is not in the character set declared, read as %s", n->used);
    if (n->lost)
        decode_degrade(r, "%u characters were not readable in %s", n->lost, n->used);
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

static void add_plain(struct decoding *d, const char *charset, const uint8_t *p, size_t n,
                      struct part_text *t)
{
    struct charset_note note;
    size_t len;
    char *s = charset_to_utf8(charset, p, n, &len, &note);
    note_charset(d->r, &note);
    len = tidy(s, len);
    part_text_add(d, t, s, len);
    free(s);
}

static void add_html(struct decoding *d, const char *charset, const uint8_t *p, size_t n, struct part_text *t)
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
    char *s = charset_to_utf8(charset, p, n, &len, &note);
    note_charset(d->r, &note);
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
    uint8_t *own;
    size_t n;
    bool cut, html = str_eq(l->type, "text/html") || str_eq(l->type, "application/xhtml+xml");
    const uint8_t *p = leaf_bytes(d, l, MAX_TEXT_BYTES, &n, &own, &cut);
    size_t before = t->text.len;
    if (cut)
        decode_degrade(d->r, "text over %zu bytes, cut", (size_t)RECORD_MAX_TEXT);
    if (html)
        add_html(d, l->charset, p, n, t);
    else
        add_plain(d, l->charset, p, n, t);
    if (t->text.len > before) {
        t->html |= html;
        t->plain |= !html;
    }
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
    add_plain(d, NULL, (const uint8_t *)buf_str(&kept), kept.len, t);
    buf_free(&kept);
}

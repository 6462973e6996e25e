/* One leaf of the MIME tree: where its body stands in the raw message, what it is called, and its content as bytes, text or
 * attachment. Contents are decoded from the raw bytes with GMime's decoders, so that the places recorded are those decoded. */
#include <stdio.h>
#include <string.h>

#include "channels/mail/decode_impl.h"
#include "channels/mail/html.h"

#define CHUNK CD_KIB(32)
#define MAX_FILENAME 255
#define MAX_TYPE 127
/* Bytes of one part that are read as text: more than its share of RECORD_MAX_TEXT, so that a cut is seen and flagged. */
#define MAX_TEXT_BYTES (RECORD_MAX_TEXT + 1)

/* ---- name and type ---- */

/* No path, no control characters, no marks that turn the direction of writing; "." and ".." become "". In place. */
static void make_safe(char *s)
{
    size_t end = strlen(s);
    while (end > 0 && (s[end - 1] == '/' || s[end - 1] == '\\'))
        end--;
    s[end] = '\0';
    while (end > 0 && s[end - 1] != '/' && s[end - 1] != '\\')
        end--;
    memmove(s, s + end, strlen(s + end) + 1);
    uint8_t *w = (uint8_t *)s;
    for (const uint8_t *p = w; *p;) {
        bool bidi = p[0] == 0xe2 && ((p[1] == 0x80 && ((p[2] >= 0xaa && p[2] <= 0xae) || p[2] == 0x8e || p[2] == 0x8f || p[2] == 0xa8 || p[2] == 0xa9))
            || (p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9));
        if (bidi) {
            p += 3;
        } else if (p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0) {
            p += 2;
        } else {
            if (*p >= 32 && *p != 127 && *p != '/' && *p != '\\')
                *w++ = *p;
            p++;
        }
    }
    *w = '\0';
    if (strspn(s, ". ") == strlen(s))
        *s = '\0';
    size_t n = strlen(s);
    if (n > MAX_FILENAME) { /* the ending says what it is: keep it */
        const char *dot = strrchr(s, '.');
        size_t ending = dot ? strlen(dot) : 0;
        if (ending > 16)
            ending = 0;
        size_t keep = utf8_cut(s, MAX_FILENAME - ending);
        memmove(s + keep, s + n - ending, ending + 1);
    }
}

/* A parameter of a header whose value has raw 8-bit or words of odd character sets: parsed again from clean UTF-8. */
static char *parameter_again(struct decoding *d, GMimeObject *o, const char *header, const char *name)
{
    const char *raw = decode_header(o, header);
    char *utf8 = raw ? decode_header_utf8(d->r, raw) : NULL, *value = NULL;
    if (!utf8)
        return NULL;
    if (str_ieq(header, "Content-Type")) {
        GMimeContentType *ct = g_mime_content_type_parse(NULL, utf8);
        value = ct ? cd_strdup(g_mime_content_type_get_parameter(ct, name)) : NULL;
        if (ct)
            g_object_unref(ct);
    } else {
        GMimeContentDisposition *cd = g_mime_content_disposition_parse(NULL, utf8);
        value = cd ? cd_strdup(g_mime_content_disposition_get_parameter(cd, name)) : NULL;
        if (cd)
            g_object_unref(cd);
    }
    free(utf8);
    return value;
}

static char *filename_of(struct decoding *d, GMimeObject *o)
{
    char *again = parameter_again(d, o, "Content-Disposition", "filename");
    if (!again)
        again = parameter_again(d, o, "Content-Type", "name");
    const char *name = again ? again : g_mime_part_get_filename(GMIME_PART(o));
    char *clean = name ? utf8_clean(name, strlen(name), NULL) : cd_strdup("");
    free(again);
    if (strstr(clean, "=?")) { /* words inside quotes, which GMime leaves as they are */
        char *text = decode_header_text(d->r, clean, CD_KIB(8));
        free(clean);
        clean = text;
    }
    make_safe(clean);
    return clean;
}

static char *type_of(GMimeObject *o)
{
    const char *raw = decode_header(o, "Content-Type");
    if (raw && !memchr(raw, '/', strcspn(raw, ";")))
        return cd_strdup("text/plain"); /* RFC 2045 5.2: what is no type at all is text */
    GMimeContentType *ct = g_mime_object_get_content_type(o);
    const char *type = ct ? g_mime_content_type_get_media_type(ct) : NULL, *sub = ct ? g_mime_content_type_get_media_subtype(ct) : NULL;
    char *s = type && sub && strlen(type) + strlen(sub) < MAX_TYPE ? cd_asprintf("%s/%s", type, sub) : cd_strdup("application/octet-stream");
    for (char *p = s; *p; p++)
        if (*p <= ' ' || *p >= 127)
            *p = '_';
    str_lower(s);
    return s;
}

/* GMime knows the exact names only; mails also say "base64;" or "8-bit". */
static GMimeContentEncoding encoding_of(GMimeObject *o)
{
    GMimeContentEncoding enc = g_mime_part_get_content_encoding(GMIME_PART(o));
    const char *raw = enc == GMIME_CONTENT_ENCODING_DEFAULT ? decode_header(o, "Content-Transfer-Encoding") : NULL;
    if (!raw)
        return enc;
    raw += strspn(raw, " \t\r\n\"");
    if (str_istarts(raw, "base64"))
        return GMIME_CONTENT_ENCODING_BASE64;
    if (str_istarts(raw, "quoted"))
        return GMIME_CONTENT_ENCODING_QUOTEDPRINTABLE;
    return str_istarts(raw, "8") ? GMIME_CONTENT_ENCODING_8BIT : enc;
}

static const char *encoding_name(GMimeContentEncoding enc)
{
    switch (enc) {
    case GMIME_CONTENT_ENCODING_8BIT: return "8bit";
    case GMIME_CONTENT_ENCODING_BINARY: return "binary";
    case GMIME_CONTENT_ENCODING_BASE64: return "base64";
    case GMIME_CONTENT_ENCODING_QUOTEDPRINTABLE: return "quoted-printable";
    case GMIME_CONTENT_ENCODING_UUENCODE: return "x-uuencode";
    default: return "7bit";
    }
}

void leaf_init(struct decoding *d, GMimeObject *part, struct leaf *l)
{
    GMimeDataWrapper *content = g_mime_part_get_content(GMIME_PART(part));
    GMimeContentDisposition *cd = g_mime_object_get_content_disposition(part);
    const char *disposition = cd ? g_mime_content_disposition_get_disposition(cd) : NULL;
    *l = (struct leaf){.part = part, .charset = g_mime_object_get_content_type_parameter(part, "charset")};
    l->type = type_of(part);
    l->filename = filename_of(d, part);
    l->encoding = encoding_of(part);
    l->attached = disposition && str_ieq(disposition, "attachment");
    l->is_inline = disposition ? str_ieq(disposition, "inline") : g_mime_part_get_content_id(GMIME_PART(part)) != NULL;
    if (content) {
        GMimeStream *s = g_mime_data_wrapper_get_stream(content);
        size_t from = mail_view_to_raw(d->view, (size_t)s->bound_start);
        size_t end = s->bound_end < 0 ? d->view->cut : mail_view_to_raw(d->view, (size_t)s->bound_end);
        l->offset = CD_MIN(from, d->nraw);
        l->length = end > l->offset ? CD_MIN(end, d->nraw) - l->offset : 0;
    }
}

void leaf_free(struct leaf *l)
{
    free(l->type);
    free(l->filename);
    *l = (struct leaf){0};
}

/* ---- content ---- */

static bool is_encoded(const struct leaf *l)
{
    return l->encoding == GMIME_CONTENT_ENCODING_BASE64 || l->encoding == GMIME_CONTENT_ENCODING_QUOTEDPRINTABLE
        || l->encoding == GMIME_CONTENT_ENCODING_UUENCODE;
}

const uint8_t *leaf_bytes(struct decoding *d, const struct leaf *l, size_t max, size_t *ret_n, uint8_t **ret_own, bool *ret_cut)
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
    size_t size = CD_MIN(l->length, max) + 2 * CHUNK;
    char *out = cd_alloc(size);
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
    char *out = cd_alloc(CHUNK + 64);
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

/* CRLF and lone CR become LF, white space at line ends and empty lines at both ends go. In place; returns the new length. */
static size_t tidy(char *s, size_t n)
{
    size_t w = 0, i = 0;
    while (i < n && (s[i] == '\n' || s[i] == '\r'))
        i++;
    for (; i < n; i++) {
        if (s[i] == '\r' || s[i] == '\n') {
            if (s[i] == '\r' && i + 1 < n && s[i + 1] == '\n')
                i++;
            while (w > 0 && (s[w - 1] == ' ' || s[w - 1] == '\t') && !(w >= 3 && s[w - 2] == '-' && s[w - 3] == '-'))
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

static void add_plain(struct decoding *d, const char *charset, const uint8_t *p, size_t n, struct part_text *t)
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

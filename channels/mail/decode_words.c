/* Header values as text: RFC 2047 encoded words and unlabelled 8-bit bytes. GMime could do it, but passes the
 * bytes of a character set for which it has no converter through without a word, and splits characters that a
 * sender divided between two words; here all goes down the same ladder as bodies do. */
#include "channels/mail/decode_impl.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "daemon/core/str.h"

struct word {
    const char *charset, *data, *end; /* end: behind "?=" */
    size_t ncharset, ndata;
    char encoding; /* 'b' or 'q' */
};

/* Reads "=?charset?Q?data?=" at s. Blanks inside the data, which RFC 2047 forbids, occur and are taken. */
static bool read_word(const char *s, struct word *ret)
{
    if (s[0] != '=' || s[1] != '?')
        return false;
    ret->charset = s + 2;
    ret->ncharset = strcspn(ret->charset, "? \t\r\n");
    const char *p = ret->charset + ret->ncharset;
    if (ret->ncharset == 0 || ret->ncharset > 60 || p[0] != '?' || !p[1] || p[2] != '?')
        return false;
    ret->encoding = (char)(p[1] | 0x20);
    if (ret->encoding != 'b' && ret->encoding != 'q')
        return false;
    ret->data = p + 3;
    const char *end = strstr(ret->data, "?=");
    if (!end)
        return false;
    ret->ndata = (size_t)(end - ret->data);
    ret->end = end + 2;
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void append_word_bytes(const struct word *w, struct buf *out)
{
    if (w->encoding == 'b') {
        int state = 0;
        guint32 save = 0;
        if (buf_reserve(out, w->ndata + 8) < 0)
            return;
        out->len += g_mime_encoding_base64_decode_step((const unsigned char *)w->data, w->ndata,
                                                       out->data + out->len, &state, &save);
        out->data[out->len] = '\0';
        return;
    }
    for (size_t i = 0; i < w->ndata; i++) {
        char c = w->data[i];
        int hi = -1, lo = -1;
        if (c == '=' && i + 2 < w->ndata && (hi = hex_digit(w->data[i + 1])) >= 0)
            lo = hex_digit(w->data[i + 2]);
        if (lo >= 0) {
            buf_append_char(out, (char)(hi << 4 | lo));
            i += 2;
        } else if (c != '\r' && c != '\n') {
            buf_append_char(out, c == '_' ? ' ' : c);
        }
    }
}

/* Blanks between two encoded words do not count. */
static const char *behind_blanks(const char *s)
{
    return s + strspn(s, " \t\r\n");
}

/* Decodes the run of words of one character set that begins with `w`: joined before conversion. Returns what
 * follows. */
static const char *decode_run(struct record *r, struct word *w, char **ret_text)
{
    struct buf bytes;
    struct charset_note note;
    char charset[64];
    const char *end;
    struct word next;
    buf_init(&bytes, CD_KIB(256));
    memcpy(charset, w->charset, w->ncharset);
    charset[w->ncharset] = '\0';
    append_word_bytes(w, &bytes);
    for (end = w->end; read_word(behind_blanks(end), &next); end = next.end) {
        if (next.ncharset != w->ncharset || strncasecmp(next.charset, w->charset, w->ncharset) != 0)
            break;
        append_word_bytes(&next, &bytes);
    }
    *ret_text = charset_to_utf8(charset, buf_str(&bytes), bytes.len, NULL, &note);
    if (note.unknown)
        decode_degrade(r, "unknown character set in a header, read as %s", note.used);
    else if (note.lost || note.misfit)
        decode_degrade(r, "characters of a header were not readable");
    decode_note_charset(r, charset, &note, false);
    buf_free(&bytes);
    return read_word(behind_blanks(end), &next) ? behind_blanks(end) : end;
}

/* The next encoded word at or after s, or NULL. */
static const char *next_word(const char *s, struct word *ret)
{
    for (; (s = strstr(s, "=?")) != NULL; s += 2)
        if (read_word(s, ret))
            return s;
    return NULL;
}

void decode_word_charset(const char *raw, char out[41])
{
    struct word w;
    out[0] = '\0';
    if (raw && next_word(raw, &w) && w.ncharset < 41)
        snprintf(out, 41, "%.*s", (int)w.ncharset, w.charset);
}

static bool is_ascii(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] >= 0x80)
            return false;
    return true;
}

/* The character set of what nobody labelled. Bytes that are UTF-8 are that; escape sequences say what they are; else it is that of the
 * body, if it declares one. */
static const char *set_of_plain(const char *hint, const char *s, size_t n)
{
    if (memmem(s, n, "\033$", 2))
        return "iso-2022-jp";
    if (is_ascii(s, n))
        return hint && str_istarts(hint, "utf-7") ? hint : NULL;
    return utf8_valid(s, n) ? NULL : hint;
}

/* What stands between words, where mails have raw 8-bit bytes as well. */
static void append_plain(struct record *r, const char *hint, struct buf *out, const char *s, size_t n)
{
    struct charset_note note;
    size_t len;
    const char *set = set_of_plain(hint, s, n);
    if (!set && is_ascii(s, n)) {
        buf_append(out, s, n);
        return;
    }
    char *text = charset_to_utf8(set, s, n, &len, &note);
    decode_note_charset(r, NULL, &note, false);
    buf_append(out, text, len);
    free(text);
}

void decode_squeeze(char *s)
{
    char *w = s;
    bool blank = false;
    for (const char *p = s; *p; p++) {
        if ((unsigned char)*p <= ' ' || *p == 127) {
            blank = true;
            continue;
        }
        if (blank && w > s)
            *w++ = ' ';
        blank = false;
        *w++ = *p;
    }
    *w = '\0';
}

/* The whole value, each run of words given to `word`. */
static void decode_value(struct record *r, const char *hint, const char *raw, void (*word)(struct buf *out, const char *text),
                         struct buf *out)
{
    for (const char *p = raw; *p;) {
        struct word w;
        const char *at = next_word(p, &w);
        append_plain(r, hint, out, p, at ? (size_t)(at - p) : strlen(p));
        if (!at)
            break;
        char *text = NULL;
        p = decode_run(r, &w, &text);
        word(out, text);
        free(text);
    }
}

static void as_text(struct buf *out, const char *text)
{
    buf_append_str(out, text);
}

static void as_word(struct buf *out, const char *text)
{
    char *b64 = base64_encode(text, strlen(text));
    buf_printf(out, "=?utf-8?B?%s?=", b64);
    free(b64);
}

static char *header_text(struct record *r, const char *hint, const char *raw, size_t max)
{
    struct buf out;
    buf_init(&out, CD_MIB(1));
    decode_value(r, hint, raw, as_text, &out);
    char *s = buf_steal(&out);
    if (!s)
        return cd_strdup("");
    decode_squeeze(s);
    size_t n = strlen(s);
    if (n > max)
        s[utf8_cut(s, max)] = '\0';
    return s;
}

char *decode_header_text(struct record *r, const char *raw, size_t max)
{
    return header_text(r, NULL, raw, max);
}

char *decode_header_text_of(struct decoding *d, const char *raw, size_t max)
{
    return header_text(d->r, d->hint, raw, max);
}

static char *header_utf8(struct record *r, const char *hint, const char *raw)
{
    struct buf out;
    struct word w;
    size_t n = strlen(raw);
    bool needed = (!is_ascii(raw, n) && !utf8_valid(raw, n)) || set_of_plain(hint, raw, n);
    for (const char *p = raw; !needed && (p = next_word(p, &w)) != NULL; p = w.end)
        needed = !(w.ncharset == 5 && strncasecmp(w.charset, "utf-8", 5) == 0);
    if (!needed)
        return NULL;
    buf_init(&out, CD_MIB(1));
    decode_value(r, hint, raw, as_word, &out);
    return buf_steal(&out);
}

char *decode_header_utf8(struct record *r, const char *raw)
{
    return header_utf8(r, NULL, raw);
}

char *decode_header_utf8_of(struct decoding *d, const char *raw)
{
    return header_utf8(d->r, d->hint, raw);
}

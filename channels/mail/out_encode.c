/* Encodings of outgoing mail: folded header fields with RFC 2047 words, quoted-printable and base64 bodies.
 * Everything goes to the caller's capped buffer, whose `failed` tells of a cap reached. */
#include "channels/mail/out_message.h"

#include <string.h>

#include "daemon/core/crypto.h"

#define LINE_MAX_CHARS 76
/* 42 bytes are 56 base64 characters: with "=?UTF-8?B?" and "?=" 68, which leaves room for a name of nine on a
 * line of 78. */
#define WORD_BYTES 42
#define WORD_MAX_CHARS 60 /* a longer word of plain text would make a line that cannot be folded */

/* Valid UTF-8 without control characters: nothing that starts a new line or a new field is left. */
static char *clean_text(const char *text)
{
    char *s = utf8_clean(text, strlen(text), NULL);

    for (char *p = s; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = ' ';
    return s;
}

static bool plain(const char *s)
{
    size_t word = 0;

    for (const char *p = s; *p; p++) {
        word = *p == ' ' ? 0 : word + 1;
        if ((unsigned char)*p > 0x7e || word > WORD_MAX_CHARS || (p[0] == '=' && p[1] == '?'))
            return false;
    }
    return true;
}

/* Appends words, folding before one that would pass the margin. Returns the column reached. */
static size_t fold_plain(struct buf *b, size_t column, const char *s)
{
    while (*s) {
        size_t spaces = strspn(s, " "), word = strcspn(s + spaces, " ");
        if (!word)
            break; /* white space at the end says nothing */
        if (column + 1 + word > LINE_MAX_CHARS && column > 1) {
            buf_append_str(b, "\r\n ");
            column = 1;
        } else {
            buf_append_char(b, ' ');
            column++;
        }
        buf_append(b, s + spaces, word);
        column += word;
        s += spaces + word;
    }
    return column;
}

static void fold_encoded(struct buf *b, const char *s)
{
    size_t left = strlen(s);
    bool first = true;

    while (left) {
        size_t n = left > WORD_BYTES ? utf8_cut(s, WORD_BYTES) : left;
        CD_CLEANUP_FREE char *word = base64_encode(s, n);
        buf_printf(b, "%s=?UTF-8?B?%s?=", first ? " " : "\r\n ", word);
        first = false;
        s += n;
        left -= n;
    }
}

void mail_encode_field(struct buf *b, const char *name, const char *text)
{
    CD_CLEANUP_FREE char *s = clean_text(text);

    buf_printf(b, "%s:", name);
    if (plain(s))
        fold_plain(b, strlen(name) + 1, s);
    else
        fold_encoded(b, s);
    buf_append_str(b, "\r\n");
}

static void append_quoted(struct buf *b, const char *s)
{
    buf_append_str(b, " \"");
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            buf_append_char(b, '\\');
        buf_append_char(b, *s);
    }
    buf_append_char(b, '"');
}

void mail_encode_mailbox(struct buf *b, const char *name, const char *display, const char *address)
{
    CD_CLEANUP_FREE char *s = clean_text(display ? display : "");

    buf_printf(b, "%s:", name);
    if (!s[0]) {
        buf_printf(b, " %s\r\n", address);
        return;
    }
    bool quoted = plain(s) && strlen(s) <= WORD_MAX_CHARS;
    if (quoted)
        append_quoted(b, s);
    else
        fold_encoded(b, s);
    bool fits = quoted && strlen(name) + strlen(s) + strlen(address) + 7 <= LINE_MAX_CHARS;
    buf_printf(b, "%s<%s>\r\n", fits ? " " : "\r\n ", address);
}

/* ---- bodies ---- */

static bool base64_is_shorter(const char *text, size_t n)
{
    size_t high = 0;

    for (size_t i = 0; i < n; i++)
        high += (unsigned char)text[i] > 0x7e;
    return high > n / 6; /* 3 characters a byte against 4/3 for every byte */
}

static void body_base64(struct buf *b, const char *text)
{
    struct buf lines;

    buf_init(&lines, b->cap);
    for (const char *p = text; *p; p++) { /* text/plain is encoded with CRLF inside (RFC 2045 6.8) */
        if (*p == '\n' && (p == text || p[-1] != '\r'))
            buf_append_char(&lines, '\r');
        buf_append_char(&lines, *p);
    }
    b->failed |= lines.failed;
    for (size_t i = 0; i < lines.len; i += 57) {
        CD_CLEANUP_FREE char *line = base64_encode(lines.data + i, CD_MIN((size_t)57, lines.len - i));
        buf_append_str(b, line);
        buf_append_str(b, "\r\n");
    }
    buf_free(&lines);
}

/* "From " and "." at the start of a line are encoded: mailbox files and careless relays change them. */
static bool qp_needs_escape(const char *p, size_t column)
{
    unsigned char c = (unsigned char)*p;

    if (c == '=' || c > 0x7e || (c < ' ' && c != '\t'))
        return true;
    if ((c == ' ' || c == '\t') && (p[1] == '\n' || p[1] == '\0' || (p[1] == '\r' && p[2] == '\n')))
        return true;
    return column == 0 && (c == '.' || strncmp(p, "From ", 5) == 0);
}

static void body_quoted_printable(struct buf *b, const char *text)
{
    size_t column = 0;

    for (const char *p = text; *p; p++) {
        if (p[0] == '\r' && p[1] == '\n')
            continue;
        if (*p == '\n') {
            buf_append_str(b, "\r\n");
            column = 0;
            continue;
        }
        bool escape = qp_needs_escape(p, column);
        if (column + (escape ? 3 : 1) > LINE_MAX_CHARS - 1) {
            buf_append_str(b, "=\r\n");
            column = 0;
            escape = qp_needs_escape(p, column);
        }
        if (escape)
            buf_printf(b, "=%02X", (unsigned char)*p);
        else
            buf_append_char(b, *p);
        column += escape ? 3 : 1;
    }
    if (column)
        buf_append_str(b, "\r\n");
}

void mail_encode_body(struct buf *b, const char *text)
{
    bool base64 = base64_is_shorter(text, strlen(text));

    buf_printf(b, "Content-Transfer-Encoding: %s\r\n\r\n", base64 ? "base64" : "quoted-printable");
    if (base64)
        body_base64(b, text);
    else
        body_quoted_printable(b, text);
}

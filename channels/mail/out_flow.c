/* Text for format=flowed (RFC 3676, DelSp=no). A line of the text is a paragraph: a long one is broken behind a
 * space, which stays at the end of the line and tells readers who know the format to put it together again;
 * the others see lines of ordinary length. Where there is no space, as in Chinese, nothing is broken: a space
 * put there would be seen, and the transfer encoding bears lines of any length. Everything goes to the
 * caller's capped buffer, whose `failed` tells of a cap reached. */
#include "channels/mail/out_message.h"

#include <string.h>

/* Up to here a line is left as it is (RFC 5322 2.1.1) … */
#define LINE_COLUMNS 78
/* … and longer ones are broken here: with "=20" for the last space there is room in quoted-printable. */
#define FLOW_COLUMNS 72

/* Columns of the character at p on a screen; *n gets its bytes. Wide are, roughly, the East Asian ones. */
static size_t columns(const unsigned char *p, size_t *n)
{
    *n = *p < 0x80 ? 1 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;
    if (*n < 3)
        return 1;
    if (*n == 4)
        return 2;
    unsigned c = (p[0] & 0xfu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
    return (c >= 0x1100 && c <= 0x115f) || (c >= 0x2e80 && c <= 0xd7ff) || (c >= 0xf900 && c <= 0xfaff) ||
                   (c >= 0xfe30 && c <= 0xfe6f) || (c >= 0xff00 && c <= 0xff60)
               ? 2
               : 1;
}

static bool needs_stuffing(const char *s)
{
    return *s == ' ' || *s == '>' || strncmp(s, "From ", 5) == 0;
}

#define is_signature_mark(s, n) ((n) == 3 && memcmp((s), "-- ", 3) == 0)

static size_t width(const char *s, size_t n)
{
    size_t total = 0, bytes;

    for (size_t i = 0; i < n; i += bytes)
        total += columns((const unsigned char *)s + i, &bytes);
    return total;
}

/* How many of the n bytes go on a line that begins at `column`: up to and with the last space that fits, else
 * to the first one; all of them when there is none. */
static size_t line_length(const char *s, size_t n, size_t column)
{
    size_t fits = 0, bytes, indent = strspn(s, " ");

    for (size_t i = 0; i < n; i += bytes) {
        column += columns((const unsigned char *)s + i, &bytes);
        if (column > FLOW_COLUMNS && fits)
            return fits;
        if (i > indent && s[i] == ' ' && i + 1 < n && s[i + 1] != ' ' && !is_signature_mark(s, i + 1))
            fits = i + 1;
    }
    return fits && column > FLOW_COLUMNS ? fits : n;
}

static void flow_line(struct buf *b, const char *s, size_t n)
{
    if (is_signature_mark(s, n)) {
        buf_append_str(b, "-- \n");
        return;
    }
    while (n > 0 && s[n - 1] == ' ') /* it would join this line with the next one */
        n--;
    do {
        bool stuffed = n && needs_stuffing(s);
        size_t take = width(s, n) + stuffed <= LINE_COLUMNS ? n : line_length(s, n, stuffed);
        if (stuffed)
            buf_append_char(b, ' ');
        buf_append(b, s, take);
        buf_append_char(b, '\n');
        s += take;
        n -= take;
    } while (n > 0);
}

void mail_flow_text(struct buf *b, const char *text)
{
    while (*text) {
        size_t n = strcspn(text, "\n");
        flow_line(b, text, n && text[n - 1] == '\r' ? n - 1 : n);
        text += n + (text[n] == '\n');
    }
}

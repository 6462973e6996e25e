/* The shape of a message while it is read: header bytes and fields, Received fields, length of lines. One scan for line ends over what
 * smtp_dots_feed() has just written, so its lines end in CR LF. Pure: owns nothing, fails never. */
#include <string.h>
#include <strings.h>

#include "channels/mail/smtp_parse.h"

/* "Name:", perhaps with blanks in front of the colon. What is no field ends the header, as it does for the decoder: some programs send
 * a text and nothing else. */
static bool is_field(const char *line, size_t n)
{
    size_t i = 0;
    while (i < n && line[i] > ' ' && line[i] < 0x7f && line[i] != ':')
        i++;
    size_t name = i;
    while (i < n && (line[i] == ' ' || line[i] == '\t'))
        i++;
    return name > 0 && i < n && line[i] == ':';
}

static enum smtp_content_fault header_line(struct smtp_content *c, const struct smtp_content_limits *l, const char *line, size_t n)
{
    if (n > 1 && (*line == ' ' || *line == '\t'))
        return SMTP_CONTENT_FINE;
    if (!is_field(line, n)) {
        c->in_body = true;
        return SMTP_CONTENT_FINE;
    }
    if (n > 9 && (*line == 'R' || *line == 'r') && strncasecmp(line, "Received:", 9) == 0 && ++c->hops > l->hops)
        return SMTP_CONTENT_HOPS;
    return ++c->fields > l->header_fields ? SMTP_CONTENT_FIELDS : SMTP_CONTENT_FINE;
}

enum smtp_content_fault smtp_content_feed(struct smtp_content *c, const struct smtp_content_limits *l, const uint8_t *p, size_t n)
{
    const char *text = (const char *)p;
    while (c->at < n) {
        const uint8_t *lf = memchr(p + c->at, '\n', n - c->at);
        size_t end = lf ? (size_t)(lf - p) : n;
        if (end - c->line > l->line_bytes)
            return SMTP_CONTENT_LINE;
        if (!c->in_body && end > l->header_bytes)
            return SMTP_CONTENT_HEADER;
        c->at = lf ? end + 1 : n;
        if (!lf)
            break;
        enum smtp_content_fault f = c->in_body ? SMTP_CONTENT_FINE : header_line(c, l, text + c->line, end - c->line);
        c->line = c->at;
        if (f)
            return f;
    }
    return SMTP_CONTENT_FINE;
}

/* RFC 9112 by the letter for the head of a request: lines end with CRLF, names are tokens with the colon
 * right behind, no folded lines, no NUL or other control bytes, a bounded number of fields. Each leniency
 * refused here has let a proxy and a server disagree about where a request ends. */
#include "channels/web/fence.h"

#include <ctype.h>
#include <string.h>

static void fault(struct fence *f, const char *what)
{
    if (!f->fault)
        f->fault = what;
}

/* RFC 9110 5.6.2 */
static bool is_token(uint8_t c)
{
    return isalnum(c) || (c && c < 0x80 && strchr("!#$%&'*+-.^_`|~", c));
}

static void end_of_line(struct fence *f)
{
    switch (f->state) {
    case FENCE_REQUEST_LINE:
        if (f->spaces != 2)
            fault(f, "request line");
        f->state = FENCE_LINE_START;
        break;
    case FENCE_LINE_START:
        f->state = FENCE_DONE;
        break;
    case FENCE_NAME:
        fault(f, "field without a colon");
        f->state = FENCE_LINE_START;
        break;
    case FENCE_VALUE:
        f->state = FENCE_LINE_START;
        break;
    case FENCE_DONE:
        break;
    }
}

static void line_start(struct fence *f, uint8_t c)
{
    if (c == ' ' || c == '\t')
        fault(f, "folded field");
    else if (!is_token(c))
        fault(f, "field name");
    if (++f->headers > FENCE_MAX_HEADERS)
        fault(f, "too many fields");
    f->state = FENCE_NAME;
}

static void byte(struct fence *f, uint8_t c)
{
    switch (f->state) {
    case FENCE_REQUEST_LINE:
        if (c == ' ')
            f->spaces++;
        else if (c < '!' || c > '~')
            fault(f, "request line");
        break;
    case FENCE_LINE_START:
        line_start(f, c);
        break;
    case FENCE_NAME:
        if (c == ':')
            f->state = FENCE_VALUE;
        else if (!is_token(c))
            fault(f, "field name");
        break;
    case FENCE_VALUE:
        if ((c < ' ' && c != '\t') || c == 0x7f)
            fault(f, "control byte in a field");
        break;
    case FENCE_DONE:
        break;
    }
}

void fence_feed(struct fence *f, const void *p, size_t n)
{
    const uint8_t *s = p;

    for (size_t i = 0; i < n && f->state != FENCE_DONE; i++) {
        uint8_t c = s[i];
        f->bytes++;
        if (c == '\n') {
            if (!f->cr)
                fault(f, "bare LF");
            f->cr = false;
            end_of_line(f);
            continue;
        }
        if (f->cr)
            fault(f, "bare CR");
        f->cr = c == '\r';
        if (c == '\r')
            continue;
        byte(f, c);
    }
}

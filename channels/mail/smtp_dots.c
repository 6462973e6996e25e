/* The dot stream of DATA: finds the one true end, takes transparency dots away, turns bare LF into CR LF, and
 * notes what should not be there (bare CR becomes CR LF as well, NUL is kept, unless refused). Works in runs found with memchr, so that the usual chunk costs two scans and
 * one copy. Owns nothing. */
#include <string.h>

#include "channels/mail/smtp_parse.h"

void smtp_dots_init(struct smtp_dots *d, size_t limit, unsigned refuse)
{
    /* the CR LF of the DATA line counts as the one before the first line */
    *d = (struct smtp_dots){.state = DOTS_LINE_START, .limit = limit, .refuse = refuse};
}

bool smtp_dots_faulty(const struct smtp_dots *d)
{
    unsigned found = (d->bare_lf ? DOTS_BARE_LF : 0) | (d->bare_cr ? DOTS_BARE_CR : 0) | (d->nul ? DOTS_NUL : 0);
    return d->over || d->no_memory || d->misshapen || (found & d->refuse);
}

static void emit(struct smtp_dots *d, struct buf *out, const void *p, size_t n)
{
    if (!n)
        return;
    d->bytes += n;
    d->over = d->over || d->bytes > d->limit;
    d->nul = d->nul || memchr(p, '\0', n);
    if (!smtp_dots_faulty(d) && buf_append(out, p, n) < 0)
        d->no_memory = true;
}

/* Scans whole lines from p, which stands inside a line or at the start of one that has no dot. Emits all it
 * passes, except a final CR whose meaning the next byte decides. Returns where it stopped. */
static const uint8_t *scan_lines(struct smtp_dots *d, const uint8_t *p, const uint8_t *end, struct buf *out)
{
    const uint8_t *run = p;
    while (p < end) {
        const uint8_t *lf = memchr(p, '\n', (size_t)(end - p));
        const uint8_t *stop = lf ? lf : end;
        bool cr = stop > p && stop[-1] == '\r';
        const uint8_t *bare = memchr(p, '\r', (size_t)(stop - p) - cr);
        if (bare) {
            d->bare_cr = true;
            emit(d, out, run, (size_t)(bare - run));
            emit(d, out, "\r\n", 2);
            p = run = bare + 1;
            d->state = DOTS_IN_LINE;
            continue;
        }
        if (!lf) {
            emit(d, out, run, (size_t)(end - run) - cr);
            d->state = cr ? DOTS_CR : DOTS_IN_LINE;
            return end;
        }
        p = lf + 1;
        if (!cr) {
            d->bare_lf = true;
            emit(d, out, run, (size_t)(lf - run));
            emit(d, out, "\r\n", 2);
            run = p;
            d->state = DOTS_IN_LINE;
        } else if (p == end || *p == '.') {
            d->state = DOTS_LINE_START;
            break;
        }
    }
    emit(d, out, run, (size_t)(p - run));
    return p;
}

bool smtp_dots_feed(struct smtp_dots *d, const uint8_t *p, size_t n, struct buf *out, size_t *ret_used)
{
    const uint8_t *start = p, *end = p + n;
    while (p < end) {
        switch (d->state) {
        case DOTS_LINE_START:
            if (*p == '.') {
                d->state = DOTS_DOT;
                p++;
            } else {
                p = scan_lines(d, p, end, out);
            }
            break;
        case DOTS_IN_LINE:
            p = scan_lines(d, p, end, out);
            break;
        case DOTS_DOT: /* withheld: the end, or the dot that the sender doubled */
            d->state = *p == '\r' ? DOTS_DOT_CR : DOTS_IN_LINE;
            p += *p == '\r';
            break;
        case DOTS_DOT_CR:
            if (*p == '\n') {
                *ret_used = (size_t)(p + 1 - start);
                return true;
            }
            d->state = DOTS_CR;
            break;
        case DOTS_CR: /* one CR withheld */
            if (*p == '\n') {
                emit(d, out, "\r\n", 2);
                d->state = DOTS_LINE_START;
                p++;
            } else {
                d->bare_cr = true;
                emit(d, out, "\r\n", 2);
                d->state = DOTS_IN_LINE;
            }
            break;
        }
    }
    *ret_used = n;
    return false;
}

/* The raw header scan: shared by the ledger's keys and by records of mail that no worker could decode. It
 * allocates only what headers_text() returns, and fails on nothing: odd input ends the header section. */
#include "daemon/intake/headers.h"

#include "daemon/core/str.h"

#include <string.h>
#include <strings.h>

void headers_scan_init(struct headers_scan *s, const void *raw, size_t n)
{
    s->p = n ? raw : ""; /* nothing may well be NULL, which has no end */
    s->end = s->p + n;
    s->separated = false;
}

/* One past the line's LF, or the end. */
static const char *line_end(const char *p, const char *end)
{
    const char *lf = memchr(p, '\n', (size_t)(end - p));

    return lf ? lf + 1 : end;
}

static bool is_wsp(char c)
{
    return c == ' ' || c == '\t';
}

/* The separator line "From sender date" of mailbox files, which some senders leave in front: given out as a
 * From field, for a text that merely begins so must not be lost to the digest. */
static bool mbox_line(const char *p, const char *end, struct headers_field *ret)
{
    p += p < end && *p == '>';
    if (end - p < 5 || memcmp(p, "From ", 5) != 0)
        return false;
    ret->name = p;
    ret->nname = 4;
    ret->value = p + 5;
    for (p += 5; p < end && is_wsp(*p); p++)
        ;
    if (p < end && *p == ':')
        return false; /* "From : …", the obsolete form of the field */
    ret->nvalue = (size_t)(line_end(ret->value, end) - ret->value);
    return true;
}

bool headers_next(struct headers_scan *s, struct headers_field *ret)
{
    const char *p = s->p, *colon;

    if (mbox_line(p, s->end, ret)) {
        s->p = ret->value + ret->nvalue;
        return true;
    }
    if (p < s->end && (*p == '\n' || (*p == '\r' && p + 1 < s->end && p[1] == '\n'))) {
        s->p = line_end(p, s->end);
        s->separated = true;
        return false;
    }
    for (colon = p; colon<s->end && * colon> ' ' && *colon < 0x7f && *colon != ':'; colon++)
        ;
    ret->name = p;
    ret->nname = (size_t)(colon - p);
    while (colon < s->end && is_wsp(*colon))
        colon++;
    if (ret->nname == 0 || colon >= s->end || *colon != ':')
        return false;
    ret->value = colon + 1;
    do
        p = line_end(p, s->end);
    while (p < s->end && is_wsp(*p));
    ret->nvalue = (size_t)(p - ret->value);
    s->p = p;
    return true;
}

bool headers_is(const struct headers_field *f, const char *name)
{
    return f->nname == strlen(name) && strncasecmp(f->name, name, f->nname) == 0;
}

void headers_value(const struct headers_field *f, struct buf *out)
{
    const char *p = f->value, *end = p + f->nvalue;

    while (p < end && (is_wsp(*p) || *p == '\r' || *p == '\n'))
        p++;
    while (end > p && (is_wsp(end[-1]) || end[-1] == '\r' || end[-1] == '\n'))
        end--;
    while (p < end) {
        const char *next = line_end(p, end), *stop = next;

        if (stop > p && stop[-1] == '\n')
            stop -= stop - p > 1 && stop[-2] == '\r' ? 2 : 1;
        buf_append(out, p, (size_t)(stop - p));
        p = next;
    }
}

char *headers_text(const void *raw, size_t n, const char *name, size_t max)
{
    struct headers_scan s;
    struct headers_field f;
    struct buf value;
    char *text = NULL;

    buf_init(&value, max + 1);
    headers_scan_init(&s, raw, n);
    while (headers_next(&s, &f)) {
        if (!headers_is(&f, name))
            continue;
        headers_value(&f, &value);
        for (size_t i = 0; i < value.len && !value.failed; i++) {
            if (value.data[i] == '\t')
                value.data[i] = ' ';
            if (value.data[i] < ' ' || value.data[i] == 0x7f)
                value.failed = true;
        }
        if (!value.failed && value.len <= max && utf8_valid(buf_str(&value), value.len))
            text = cd_strndup(buf_str(&value), value.len);
        break;
    }
    buf_free(&value);
    return text;
}

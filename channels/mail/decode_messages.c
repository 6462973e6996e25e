/* Mails within the mail: as parts of it, or as content that was encoded as a whole. Their text goes behind that of the
 * mail, under a line that says whose it is. */
#include <string.h>

#include "channels/mail/decode_impl.h"
#include "daemon/core/err.h"

void decode_forwarded(struct decoding *d, GMimeMessage *m, struct part_text *t)
{
    struct part_text inner;
    struct buf head;
    const char *raw = decode_header(GMIME_OBJECT(m), "Subject"), *outer = d->hint;
    d->hint = decode_charset_hint(m);
    char *subject = raw ? decode_header_text_of(d, raw, CD_KIB(32)) : cd_strdup("");
    char *from = decode_header_people(d, m, "From");
    d->hint = outer;
    buf_init(&head, CD_KIB(64));
    part_text_init(&inner);
    buf_append_str(&head, "---------- Forwarded message ----------");
    if (*from)
        buf_printf(&head, "\nFrom: %s", from);
    if (*subject)
        buf_printf(&head, "\nSubject: %s", subject);
    if (g_mime_message_get_mime_part(m))
        decode_parts(d, g_mime_message_get_mime_part(m), &inner);
    if (inner.text.len || *subject || *from) {
        part_text_add(d, t, buf_str(&head), head.len);
        part_text_take(d, t, &inner);
    }
    buf_free(&head);
    buf_free(&inner.text);
    free(subject);
    free(from);
}

/* ---- as part of the message ---- */

/* The start of the line in front of the one that begins at `at`. */
static size_t line_before(const uint8_t *p, size_t at)
{
    size_t i = at - 1; /* its line end */
    while (i > 0 && p[i - 1] != '\n')
        i--;
    return i;
}

static bool is_blank_line(const uint8_t *p, size_t n)
{
    return n == 0 || p[0] == '\n' || (p[0] == '\r' && (n == 1 || p[1] == '\n'));
}

/* Where the message stands in the raw bytes: from behind the empty line in front of its first field to the boundary of
 * what it is in. The library knows the first field only, and the view may have left out others in front of it. */
static bool place_of(const struct decoding *d, GMimeMessage *m, size_t *ret_at, size_t *ret_n)
{
    GMimeHeaderList *list = g_mime_object_get_header_list(GMIME_OBJECT(m));
    GMimeHeader *first = g_mime_header_list_get_count(list) > 0 ? g_mime_header_list_get_header_at(list, 0) : NULL;
    gint64 offset = first ? g_mime_header_get_offset(first) : -1;
    size_t limit = CD_MIN(d->view->cut, d->nraw);
    if (offset < 0)
        return false;
    size_t at = mail_view_to_raw(d->view, (size_t)offset), end = limit;
    if (at >= limit || (at > 0 && d->raw[at - 1] != '\n'))
        return false;
    while (at > 0) {
        size_t before = line_before(d->raw, at);
        if (is_blank_line(d->raw + before, limit - before))
            break;
        at = before;
    }
    if (d->boundary && *d->boundary) {
        char *line = cd_asprintf("\n--%s", d->boundary);
        const uint8_t *found = memmem(d->raw + at, limit - at, line, strlen(line));
        free(line);
        if (found) {
            end = (size_t)(found - d->raw);
            end -= end > at && d->raw[end - 1] == '\r';
        }
    }
    *ret_at = at;
    *ret_n = end - at;
    return true;
}

void decode_message_part(struct decoding *d, GMimeMessagePart *o, struct part_text *t)
{
    GMimeMessage *m = g_mime_message_part_get_message(o);
    size_t at, n;
    if (!m)
        return;
    bool outermost = !d->in_message; /* one inside another is in the other's bytes: no digest over them again */
    if (d->places && outermost && place_of(d, m, &at, &n)) {
        char *name = decode_filename(d, GMIME_OBJECT(o));
        decode_attach_message(d, name, "message/rfc822", at, n);
        free(name);
    }
    const char *outer = d->boundary;
    d->boundary = NULL;
    d->in_message = true;
    decode_forwarded(d, m, t);
    d->in_message = !outermost;
    d->boundary = outer;
}

/* ---- encoded as a whole ---- */

void decode_encoded_message(struct decoding *d, const uint8_t *p, size_t n, bool cut, bool entity, struct part_text *t)
{
    struct mail_view view;
    if (d->reparsed++ >= DECODE_MAX_REPARSED) {
        decode_degrade(d->r, "more than %d encoded messages inside", DECODE_MAX_REPARSED);
        return;
    }
    if (mail_view_init(&view, p, n) == 0) {
        struct decoding inner = {.e = d->e,
                                 .r = d->r,
                                 .view = &view,
                                 .raw = p,
                                 .nraw = n,
                                 .depth = d->depth,
                                 .looked_at = d->looked_at,
                                 .reparsed = d->reparsed};
        buf_init(&inner.later, RECORD_MAX_TEXT);
        GMimeMessage *m = decode_parse(&view);
        if (m && !entity)
            decode_forwarded(&inner, m, t);
        else if (m && g_mime_message_get_mime_part(m))
            decode_parts(&inner, g_mime_message_get_mime_part(m), t);
        if (m)
            g_object_unref(m);
        d->reparsed = inner.reparsed;
        if (view.flags || cut)
            decode_degrade(d->r, "a message inside is over budget");
        buf_free(&inner.later);
        mail_view_free(&view);
    }
}

/* The walk over the MIME tree: which leaves are text and which attachments, which branch of
 * multipart/alternative is read, and the text of forwarded messages. The scan has bounded the number of
 * parts, and with it the depth of this recursion. */
#include <string.h>

#include "channels/mail/decode_impl.h"
#include "channels/mail/html.h"
#include "daemon/core/err.h"

/* A plain text of fewer bytes than this beside a much longer HTML part is a stub ("your reader can't show
 * this"). */
#define STUB_BYTES 160

void part_text_init(struct part_text *t)
{
    *t = (struct part_text){0};
    buf_init(&t->text, RECORD_MAX_TEXT);
}

bool part_text_blank(const struct part_text *t)
{
    for (size_t i = 0; i < t->text.len; i++)
        if (t->text.data[i] > ' ')
            return false;
    return true;
}

void part_text_add(struct decoding *d, struct part_text *t, const char *s, size_t n)
{
    if (n == 0)
        return;
    size_t room = RECORD_MAX_TEXT - t->text.len;
    if (t->text.len > 0 && room >= 2) {
        buf_append_str(&t->text, "\n\n");
        room -= 2;
    }
    if (n > room) {
        n = utf8_cut(s, room);
        decode_degrade(d->r, "text over %zu bytes, cut", (size_t)RECORD_MAX_TEXT);
    }
    buf_append(&t->text, s, n);
}

static void take_over(struct decoding *d, struct part_text *t, struct part_text *from)
{
    part_text_add(d, t, buf_str(&from->text), from->text.len);
    t->plain |= from->plain;
    t->html |= from->html;
}

/* ---- messages inside the message ---- */

static void add_forwarded(struct decoding *d, GMimeMessage *m, struct part_text *t)
{
    struct part_text inner;
    struct buf head;
    const char *raw = decode_header(GMIME_OBJECT(m), "Subject");
    char *subject = raw ? decode_header_text(d->r, raw, CD_KIB(32)) : cd_strdup("");
    char *from = decode_header_people(d, m, "From");
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
        take_over(d, t, &inner);
    }
    buf_free(&head);
    buf_free(&inner.text);
    free(subject);
    free(from);
}

/* A message whose bytes were encoded as a whole, against RFC 2046 but usual: parsed on its own. What is
 * attached in there has no place in the raw message; the whole part counts as the attachment. */
static void add_encoded_message(struct decoding *d, const struct leaf *l, struct part_text *t)
{
    struct mail_view view;
    uint8_t *own;
    size_t n;
    bool cut;
    if (d->reparsed++ >= DECODE_MAX_REPARSED) {
        decode_degrade(d->r, "more than %d encoded messages inside", DECODE_MAX_REPARSED);
        return;
    }
    const uint8_t *p = leaf_bytes(d, l, RECORD_MAX_TEXT, &n, &own, &cut);
    if (mail_view_init(&view, p, n) == 0) {
        struct decoding inner = {.e = d->e,
                                 .r = d->r,
                                 .view = &view,
                                 .raw = p,
                                 .nraw = n,
                                 .depth = d->depth,
                                 .reparsed = d->reparsed};
        GMimeMessage *m = decode_parse(&view);
        if (m) {
            add_forwarded(&inner, m, t);
            g_object_unref(m);
        }
        d->reparsed = inner.reparsed;
        if (view.flags || cut)
            decode_degrade(d->r, "a message inside is over budget");
        mail_view_free(&view);
    }
    free(own);
}

/* ---- leaves ---- */

static bool is_text_type(const char *type)
{
    static const char *const files[] = {
        "text/calendar", "text/csv", "text/vcard",      "text/x-vcard",    "text/directory",     "text/rtf",
        "text/xml",      "text/css", "text/javascript", "text/x-amp-html", "text/rfc822-headers"};
    if (str_eq(type, "application/xhtml+xml"))
        return true;
    if (!str_starts(type, "text/"))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        if (strcmp(type, files[i]) == 0)
            return false;
    return true;
}

static bool is_message_type(const char *type)
{
    return str_eq(type, "message/rfc822") || str_eq(type, "message/global") || str_eq(type, "message/news");
}

/* An empty text/plain with a name, as some clients add, is still a file; a text that has a name but is to be
 * shown is both. */
static void add_leaf(struct decoding *d, GMimeObject *o, struct part_text *t)
{
    struct leaf l;
    leaf_init(d, o, &l);
    bool text = is_text_type(l.type);
    if (!text || l.attached || l.filename[0])
        leaf_attach(d, &l);
    if (text && !l.attached)
        leaf_text(d, &l, t);
    else if (is_message_type(l.type))
        add_encoded_message(d, &l, t);
    leaf_free(&l);
}

/* ---- alternatives ---- */

/* Finds the attachments of a branch that is not read. */
static void skip_branch(struct decoding *d, GMimeObject *o)
{
    if (GMIME_IS_MULTIPART(o)) {
        for (int i = 0; i < g_mime_multipart_get_count(GMIME_MULTIPART(o)); i++)
            skip_branch(d, g_mime_multipart_get_part(GMIME_MULTIPART(o), i));
    } else if (GMIME_IS_PART(o)) {
        struct leaf l;
        leaf_init(d, o, &l);
        if (!is_text_type(l.type) || l.attached || l.filename[0])
            leaf_attach(d, &l);
        leaf_free(&l);
    }
}

static bool is_plain_leaf(GMimeObject *o)
{
    GMimeContentType *ct = g_mime_object_get_content_type(o);
    return GMIME_IS_PART(o) && ct && g_mime_content_type_is_type(ct, "text", "plain");
}

static bool holds_message(GMimeObject *o)
{
    if (GMIME_IS_MESSAGE_PART(o))
        return true;
    for (int i = 0; GMIME_IS_MULTIPART(o) && i < g_mime_multipart_get_count(GMIME_MULTIPART(o)); i++)
        if (holds_message(g_mime_multipart_get_part(GMIME_MULTIPART(o), i)))
            return true;
    return false;
}

/* The plain text when there is a real one; else the last branch that has any text, the richest by RFC
 * 2046 5.1.4. */
static void add_alternatives(struct decoding *d, GMimeMultipart *mp, struct part_text *t)
{
    struct part_text plain, best;
    int n = g_mime_multipart_get_count(mp);
    part_text_init(&plain);
    part_text_init(&best);
    for (int i = 0; i < n; i++)
        if (is_plain_leaf(g_mime_multipart_get_part(mp, i)))
            decode_parts(d, g_mime_multipart_get_part(mp, i), &plain);
    for (int i = 0; i < n; i++) {
        GMimeObject *o = g_mime_multipart_get_part(mp, i);
        if (is_plain_leaf(o))
            continue;
        if (plain.text.len >= STUB_BYTES && !holds_message(o)) {
            skip_branch(d, o);
            continue;
        }
        struct part_text branch;
        part_text_init(&branch);
        decode_parts(d, o, &branch);
        if (!part_text_blank(&branch)) {
            buf_free(&best.text);
            best = branch;
        } else {
            buf_free(&branch.text);
        }
    }
    bool stub = part_text_blank(&plain) ||
                (plain.text.len < STUB_BYTES && best.text.len > plain.text.len * 4 + 2 * STUB_BYTES);
    take_over(d, t, stub && best.text.len ? &best : &plain);
    buf_free(&plain.text);
    buf_free(&best.text);
}

static void add_multipart(struct decoding *d, GMimeMultipart *mp, struct part_text *t)
{
    GMimeContentType *ct = g_mime_object_get_content_type(GMIME_OBJECT(mp));
    int n = g_mime_multipart_get_count(mp);
    if (n == 0) {
        /* no boundary, or never met: all there is stands in front of the first part */
        const char *prologue = g_mime_multipart_get_prologue(mp);
        if (prologue)
            decode_raw_text(d, (const uint8_t *)prologue, strlen(prologue), t);
    } else if (ct && g_mime_content_type_is_type(ct, "multipart", "alternative")) {
        add_alternatives(d, mp, t);
    } else {
        for (int i = 0; i < n; i++)
            decode_parts(d, g_mime_multipart_get_part(mp, i), t);
    }
}

void decode_parts(struct decoding *d, GMimeObject *o, struct part_text *t)
{
    if (++d->depth > DECODE_MAX_DEPTH)
        decode_degrade(d->r, "nested deeper than %d levels", DECODE_MAX_DEPTH);
    if (GMIME_IS_MULTIPART(o)) {
        add_multipart(d, GMIME_MULTIPART(o), t);
    } else if (GMIME_IS_MESSAGE_PART(o)) {
        GMimeMessage *m = g_mime_message_part_get_message(GMIME_MESSAGE_PART(o));
        if (m)
            add_forwarded(d, m, t);
    } else if (GMIME_IS_PART(o)) {
        add_leaf(d, o, t);
    }
    d->depth--;
}

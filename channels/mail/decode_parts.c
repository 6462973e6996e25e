/* The walk over the MIME tree: which leaves are text and which attachments, which branch of
 * multipart/alternative is read. The scan has bounded the number of parts, and with it the depth of this
 * recursion. */
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

void part_text_take(struct decoding *d, struct part_text *t, struct part_text *from)
{
    part_text_add(d, t, buf_str(&from->text), from->text.len);
    t->plain |= from->plain;
    t->html |= from->html;
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

/* What is attached also where the branch it stands in is not read. */
static void attach(struct decoding *d, const struct leaf *l)
{
    bool text = is_text_type(l->type);
    if (d->nhtml < DECODE_MAX_HTML && str_eq(l->type, "text/html") && d->places)
        d->html[d->nhtml++] = l->part;
    if (text && !l->attached && !l->filename[0])
        return;
    struct attachment *a = leaf_attach(d, l);
    if (a && a->kind == AT_CONTAINER)
        decode_tnef(d, l);
    else if (a && a->kind == AT_CALENDAR)
        decode_calendar(d, l);
}

/* An empty text/plain with a name, as some clients add, is still a file; a text that has a name but is to be
 * shown is both. */
static void add_leaf(struct decoding *d, GMimeObject *o, struct part_text *t)
{
    struct leaf l;
    leaf_init(d, o, &l);
    attach(d, &l);
    if (is_text_type(l.type) && !l.attached) {
        leaf_text(d, &l, t);
    } else if (is_message_type(l.type)) {
        uint8_t *own;
        size_t n;
        bool cut;
        const uint8_t *p = leaf_bytes(d, &l, RECORD_MAX_TEXT, &n, &own, &cut);
        decode_encoded_message(d, p, n, cut, false, t);
        free(own);
    } else if (secure_is_pkcs7(l.type)) {
        secure_pkcs7(d, &l, t);
    }
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
        attach(d, &l);
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
    part_text_take(d, t, stub && best.text.len ? &best : &plain);
    buf_free(&plain.text);
    buf_free(&best.text);
}

static void add_multipart(struct decoding *d, GMimeMultipart *mp, struct part_text *t)
{
    GMimeContentType *ct = g_mime_object_get_content_type(GMIME_OBJECT(mp));
    int n = g_mime_multipart_get_count(mp);
    const char *outer = d->boundary;
    bool was_encrypted = d->encrypted;
    d->boundary = g_mime_multipart_get_boundary(mp);
    if (ct)
        secure_multipart(d, ct);
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
    d->boundary = outer;
    d->encrypted = was_encrypted;
}

void decode_parts(struct decoding *d, GMimeObject *o, struct part_text *t)
{
    if (++d->depth > DECODE_MAX_DEPTH)
        decode_degrade(d->r, "nested deeper than %d levels", DECODE_MAX_DEPTH);
    if (GMIME_IS_MULTIPART(o)) {
        add_multipart(d, GMIME_MULTIPART(o), t);
    } else if (GMIME_IS_MESSAGE_PART(o)) {
        decode_message_part(d, GMIME_MESSAGE_PART(o), t);
    } else if (GMIME_IS_PART(o)) {
        add_leaf(d, o, t);
    }
    d->depth--;
}

/* mail_decode(): scan, parse, headers, parts, and what to do when little or nothing came of it. The record
 * owns all results; the envelope's bytes are only borrowed. Fails only on an empty message. */
#include "channels/mail/decode.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "channels/mail/decode_impl.h"
#include "channels/mail/decode_log.h"
#include "daemon/core/err.h"
#include "daemon/intake/language.h"
#include "daemon/intake/handle.h"

#define MAX_REASON 250

void decode_degrade(struct record *r, const char *fmt, ...)
{
    char text[160];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    text[utf8_cut(text, strlen(text))] = '\0';
    r->flags |= REC_DEGRADED;
    const char *old = r->degraded_reason;
    if (old && (strstr(old, text) || strlen(old) + 2 + strlen(text) > MAX_REASON))
        return;
    char *both = old ? cd_asprintf("%s; %s", old, text) : cd_strdup(text);
    free(r->degraded_reason);
    r->degraded_reason = both;
}

GMimeMessage *decode_parse(const struct mail_view *v)
{
    if (v->len == 0)
        return NULL;
    /* The byte array borrows the bytes: neither it nor the stream, which may live as long as the message,
     * frees them. */
    GByteArray *bytes = g_byte_array_new_take((guint8 *)(uintptr_t)v->data, v->len);
    GMimeStream *stream = g_mime_stream_mem_new_with_byte_array(bytes);
    g_mime_stream_mem_set_owner(GMIME_STREAM_MEM(stream), FALSE);
    GMimeParser *parser = g_mime_parser_new_with_stream(stream);
    g_mime_parser_set_persist_stream(parser, TRUE);
    GMimeMessage *m = g_mime_parser_construct_message(parser, NULL);
    g_object_unref(parser);
    g_object_unref(stream);
    g_byte_array_free(bytes, FALSE);
    return m;
}

static void set_text(struct record *r, struct part_text *t)
{
    char *s = buf_steal(&t->text);
    free(r->text);
    r->text = s ? s : cd_strdup("");
    if (t->html && !t->plain)
        r->flags |= REC_HTML_ONLY;
}

/* Text parts that a sender marked as files are the text when there is no other. */
static void text_from_files(struct decoding *d, GMimeObject *o, struct part_text *t, int depth)
{
    if (GMIME_IS_MULTIPART(o) && depth < DECODE_MAX_DEPTH) {
        for (int i = 0; i < g_mime_multipart_get_count(GMIME_MULTIPART(o)); i++)
            text_from_files(d, g_mime_multipart_get_part(GMIME_MULTIPART(o), i), t, depth + 1);
    } else if (GMIME_IS_PART(o)) {
        struct leaf l;
        leaf_init(d, o, &l);
        if (str_eq(l.type, "text/plain") || str_eq(l.type, "text/html"))
            leaf_text(d, &l, t);
        leaf_free(&l);
    }
}

/* No readable text so far: what winmail.dat and calendars hold, what stands beside the parts, and at last the raw body
 * itself. */
static void rescue_text(struct decoding *d, GMimeMessage *m, struct part_text *t)
{
    GMimeObject *o = m ? g_mime_message_get_mime_part(m) : NULL;
    part_text_add(d, t, buf_str(&d->later), d->later.len);
    if (o && part_text_blank(t))
        text_from_files(d, o, t, 0);
    if (part_text_blank(t) && o && GMIME_IS_MULTIPART(o)) {
        const char *beside[] = {g_mime_multipart_get_prologue(GMIME_MULTIPART(o)),
                                g_mime_multipart_get_epilogue(GMIME_MULTIPART(o))};
        for (size_t i = 0; i < ARRAY_LEN(beside); i++)
            if (beside[i] && !str_istarts(beside[i], "This is a multi"))
                decode_raw_text(d, (const uint8_t *)beside[i], strlen(beside[i]), t);
    }
    size_t body = CD_MIN(d->view->body, d->nraw);
    if (!part_text_blank(t) || d->r->nattachments > 0 || body == d->nraw)
        return;
    decode_raw_text(d, d->raw + body, d->nraw - body, t);
    if (!part_text_blank(t))
        decode_degrade(d->r, "no readable part found, text taken from the raw message");
}

static void find_refs(struct record *r)
{
    char more[RECORD_MAX_REFS][REF_TEXT_SIZE];
    r->nrefs = ref_find(r->subject, strlen(r->subject), r->refs, RECORD_MAX_REFS);
    size_t n = ref_find(r->text, strlen(r->text), more, RECORD_MAX_REFS);
    for (size_t i = 0; i < n && r->nrefs < RECORD_MAX_REFS; i++) {
        bool seen = false;
        for (size_t j = 0; j < r->nrefs; j++)
            seen |= strcmp(r->refs[j], more[i]) == 0;
        if (!seen)
            memcpy(r->refs[r->nrefs++], more[i], REF_TEXT_SIZE);
    }
}

static void decode_all(struct decoding *d, GMimeMessage *m)
{
    struct part_text t;
    unsigned flags = d->view->flags;
    part_text_init(&t);
    buf_init(&d->later, RECORD_MAX_TEXT);
    decode_auth(d->r, d->e->raw.data, d->e->raw.len);
    if (m) {
        d->hint = decode_charset_hint(m);
        decode_word_charset(decode_header(GMIME_OBJECT(m), "Subject"), d->word_hint);
        decode_headers(d, m);
        if (g_mime_message_get_mime_part(m))
            decode_parts(d, g_mime_message_get_mime_part(m), &t);
        decode_find_inline(d);
    } else {
        decode_degrade(d->r, "not a mail message");
        free(d->r->email);
        d->r->email = mail_address_normalize(d->e->sender);
    }
    if (flags & VIEW_HEADERS)
        decode_degrade(d->r, "header over budget or broken, read in part");
    if (flags & VIEW_PARAMS)
        decode_degrade(d->r, "more than %d parameters", SCAN_MAX_PARAMS);
    if (flags & VIEW_PARTS) {
        decode_degrade(d->r, "more than %d parts", SCAN_MAX_PARTS);
        decode_raw_text(d, d->raw + d->view->cut, d->nraw - d->view->cut, &t);
    }
    if (part_text_blank(&t))
        rescue_text(d, m, &t);
    set_text(d->r, &t);
    buf_free(&t.text);
    buf_free(&d->later);
    if (m)
        decode_class(d, m); /* reads the text as well */
}

int mail_decode(const struct envelope *e, struct record *r)
{
    struct mail_view view;
    struct decoding d = {
        .e = e, .r = r, .view = &view, .raw = e->raw.data, .nraw = e->raw.len, .places = true};
    if (e->raw.len == 0)
        return CD_EINVAL;
    unsigned complaints = decode_log_count();
    int res = mail_view_init(&view, e->raw.data, e->raw.len);
    if (res < 0)
        return res;
    GMimeMessage *m = decode_parse(&view);
    decode_all(&d, m);
    if (m)
        g_object_unref(m);
    mail_view_free(&view);
    if (decode_log_count() != complaints)
        decode_degrade(r, "the MIME library found a fault in itself");
    find_refs(r); /* of all the text: what is quoted may say what it answers */
    decode_reply(r);
    free(r->language);
    r->language = cd_strdup(language_guess(r->subject, r->text_new && *r->text_new ? r->text_new : r->text));
    return 0;
}

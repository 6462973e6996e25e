/* What attachments are to a reader, and calendars as text. */
#include <string.h>
#include <strings.h>

#include "channels/mail/calendar.h"
#include "channels/mail/decode_impl.h"

#define MAX_HTML_BYTES CD_MIB(2) /* of a part in which pictures are looked for */
#define MAX_REFERENCES 500         /* to pictures in one part */
#define MAX_CALENDAR CD_KIB(512)

static bool is_picture(const char *type)
{
    return type && (str_starts(type, "image/") || str_starts(type, "video/") || str_starts(type, "audio/"));
}

const char *decode_type_by_name(const char *name)
{
    const char *dot = strrchr(name, '.');
    static const char *const types[][2] = {{".pdf", "application/pdf"}, {".jpg", "image/jpeg"},     {".jpeg", "image/jpeg"}, {".png", "image/png"},
                                           {".gif", "image/gif"},       {".txt", "text/plain"},     {".doc", "application/msword"}, {".zip", "application/zip"},
                                           {".htm", "text/html"},       {".html", "text/html"},     {".xls", "application/vnd.ms-excel"}};
    for (size_t i = 0; dot && i < ARRAY_LEN(types); i++)
        if (strcasecmp(dot, types[i][0]) == 0)
            return types[i][1];
    return "application/octet-stream";
}

enum attachment_kind decode_kind_of(struct decoding *d, const struct leaf *l, const char *magic)
{
    if (decode_is_tnef(l))
        return AT_CONTAINER;
    if (str_eq(l->type, "text/calendar") || str_eq(l->type, "application/ics"))
        return AT_CALENDAR;
    if (secure_is_signature(l->type))
        return AT_SIGNATURE;
    if (d->encrypted || secure_is_pkcs7(l->type) || str_eq(l->type, "application/pgp-encrypted"))
        return AT_ENCRYPTED; /* secure_pkcs7() looks closer */
    if (str_eq(l->type, "message/rfc822") || str_eq(l->type, "message/global") || str_eq(l->type, "message/news"))
        return AT_MESSAGE;
    return l->is_inline && is_picture(is_picture(l->type) ? l->type : magic) ? AT_INLINE : AT_FILE;
}

/* ---- pictures in the text ---- */

/* The attachment that "cid:" refers to is inline. Ids come percent-encoded too: those are no match, and a file more. */
static void refer(struct record *r, const char *id)
{
    size_t n = strcspn(id, "\"' \t\r\n>)");
    for (size_t i = 0; i < r->nattachments; i++) {
        struct attachment *a = &r->attachments[i];
        if (a->content_id && a->kind == AT_FILE && strlen(a->content_id) == n && strncasecmp(a->content_id, id, n) == 0)
            a->kind = AT_INLINE;
    }
}

static void find_in(struct decoding *d, GMimeObject *o)
{
    struct leaf l;
    uint8_t *own;
    size_t n;
    bool cut;
    leaf_init(d, o, &l);
    const uint8_t *p = leaf_bytes(d, &l, MAX_HTML_BYTES, &n, &own, &cut);
    char *html = cd_strndup((const char *)p, n), *at = html;
    for (unsigned i = 0; i < MAX_REFERENCES && (at = strcasestr(at, "cid:")) != NULL; i++) {
        at += 4;
        refer(d->r, at);
    }
    free(html);
    free(own);
    leaf_free(&l);
}

void decode_find_inline(struct decoding *d)
{
    bool open = false;
    for (size_t i = 0; i < d->r->nattachments; i++)
        open |= d->r->attachments[i].content_id && d->r->attachments[i].kind == AT_FILE;
    for (unsigned i = 0; open && i < d->nhtml; i++)
        find_in(d, d->html[i]);
}

/* ---- calendars ---- */

void decode_calendar(struct decoding *d, const struct leaf *l)
{
    struct charset_note note;
    uint8_t *own;
    size_t n, before = d->later.len;
    bool cut;
    const uint8_t *p = leaf_bytes(d, l, MAX_CALENDAR, &n, &own, &cut);
    if (before > 0)
        buf_append_char(&d->later, '\n');
    size_t from = d->later.len;
    if (cut)
        decode_degrade(d->r, "calendar over %zu bytes, cut", (size_t)MAX_CALENDAR);
    calendar_to_text(p, n, l->charset, &d->later, &note);
    if (d->later.len == from && before < from)
        d->later.data[d->later.len = before] = '\0';
    free(own);
}

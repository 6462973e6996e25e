/* One leaf of the MIME tree: its type, its name made safe, its encoding, and where its body stands in the raw
 * message. */
#include <string.h>

#include "channels/mail/decode_impl.h"
#include "daemon/intake/filename.h"

#define MAX_TYPE 127

/* ---- name and type ---- */

/* A parameter of a header whose value has raw 8-bit or words of odd character sets: parsed again from clean
 * UTF-8. */
static char *parameter_again(struct decoding *d, GMimeObject *o, const char *header, const char *name)
{
    const char *raw = decode_header(o, header);
    char *utf8 = raw ? decode_header_utf8_of(d, raw) : NULL, *value = NULL;
    if (!utf8)
        return NULL;
    if (str_ieq(header, "Content-Type")) {
        GMimeContentType *ct = g_mime_content_type_parse(NULL, utf8);
        value = ct ? cd_strdup(g_mime_content_type_get_parameter(ct, name)) : NULL;
        if (ct)
            g_object_unref(ct);
    } else {
        GMimeContentDisposition *cd = g_mime_content_disposition_parse(NULL, utf8);
        value = cd ? cd_strdup(g_mime_content_disposition_get_parameter(cd, name)) : NULL;
        if (cd)
            g_object_unref(cd);
    }
    free(utf8);
    return value;
}

char *decode_safe_name(struct decoding *d, const char *name)
{
    char *clean = utf8_clean(name, strlen(name), NULL);
    if (strstr(clean, "=?")) { /* words inside quotes, which GMime leaves as they are */
        char *text = decode_header_text(d->r, clean, CD_KIB(8));
        free(clean);
        clean = text;
    }
    filename_make_safe(clean);
    return clean;
}

/* "C:\TEMP\photo.png" as old programs wrote it: the backslashes that should be doubled, or else protect the next character, are gone
 * when the library has read it. What stands behind the last one; NULL when the field has no such name. Free it. */
static char *dos_name(GMimeObject *o, const char *field, const char *parameter)
{
    const char *raw = decode_header(o, field), *at = raw ? strcasestr(raw, parameter) : NULL;
    if (!at)
        return NULL;
    at += strlen(parameter);
    if (at[0] != '=' || at[1] != '"' || !g_ascii_isalpha(at[2]) || at[3] != ':' || at[4] != '\\')
        return NULL;
    at += 2;
    size_t n = strcspn(at, "\"\r\n");
    return at[n] == '"' ? cd_strndup(at, n) : NULL;
}

static const char *given_name(GMimeObject *o)
{
    if (GMIME_IS_PART(o))
        return g_mime_part_get_filename(GMIME_PART(o));
    const char *name = g_mime_object_get_content_disposition_parameter(o, "filename");
    return name ? name : g_mime_object_get_content_type_parameter(o, "name");
}

char *decode_filename(struct decoding *d, GMimeObject *o)
{
    char *again = parameter_again(d, o, "Content-Disposition", "filename");
    if (!again)
        again = parameter_again(d, o, "Content-Type", "name");
    if (!again)
        again = dos_name(o, "Content-Disposition", "filename");
    if (!again && !g_mime_object_get_content_disposition_parameter(o, "filename"))
        again = dos_name(o, "Content-Type", "name");
    const char *name = again ? again : given_name(o);
    char *clean = decode_safe_name(d, name ? name : "");
    free(again);
    return clean;
}

static char *type_of(GMimeObject *o)
{
    const char *raw = decode_header(o, "Content-Type");
    if (raw && !memchr(raw, '/', strcspn(raw, ";")))
        return cd_strdup("text/plain"); /* RFC 2045 5.2: what is no type at all is text */
    GMimeContentType *ct = g_mime_object_get_content_type(o);
    const char *type = ct ? g_mime_content_type_get_media_type(ct) : NULL,
               *sub = ct ? g_mime_content_type_get_media_subtype(ct) : NULL;
    char *s = type && sub && strlen(type) + strlen(sub) < MAX_TYPE ? cd_asprintf("%s/%s", type, sub)
                                                                   : cd_strdup("application/octet-stream");
    for (char *p = s; *p; p++)
        if (*p <= ' ' || *p >= 127)
            *p = '_';
    str_lower(s);
    return s;
}

/* GMime knows the exact names only; mails also say "base64;" or "8-bit". */
static GMimeContentEncoding encoding_of(GMimeObject *o)
{
    GMimeContentEncoding enc = g_mime_part_get_content_encoding(GMIME_PART(o));
    const char *raw =
        enc == GMIME_CONTENT_ENCODING_DEFAULT ? decode_header(o, "Content-Transfer-Encoding") : NULL;
    if (!raw)
        return enc;
    raw += strspn(raw, " \t\r\n\"");
    if (str_istarts(raw, "base64"))
        return GMIME_CONTENT_ENCODING_BASE64;
    if (str_istarts(raw, "quoted"))
        return GMIME_CONTENT_ENCODING_QUOTEDPRINTABLE;
    return str_istarts(raw, "8") ? GMIME_CONTENT_ENCODING_8BIT : enc;
}

/* Printable ASCII of bounded length; anything else names nothing. */
static char *content_id_of(const char *id)
{
    size_t n = id ? strlen(id) : 0;
    if (n == 0 || n > DECODE_MAX_ID)
        return NULL;
    for (size_t i = 0; i < n; i++)
        if (id[i] <= ' ' || id[i] >= 127)
            return NULL;
    return cd_strdup(id);
}

void leaf_init(struct decoding *d, GMimeObject *part, struct leaf *l)
{
    GMimeDataWrapper *content = g_mime_part_get_content(GMIME_PART(part));
    GMimeContentDisposition *cd = g_mime_object_get_content_disposition(part);
    const char *disposition = cd ? g_mime_content_disposition_get_disposition(cd) : NULL;
    *l = (struct leaf){.part = part, .charset = g_mime_object_get_content_type_parameter(part, "charset")};
    l->type = type_of(part);
    l->filename = decode_filename(d, part);
    l->encoding = encoding_of(part);
    l->attached = disposition && str_ieq(disposition, "attachment");
    l->is_inline =
        disposition ? str_ieq(disposition, "inline") : g_mime_part_get_content_id(GMIME_PART(part)) != NULL;
    l->content_id = content_id_of(g_mime_part_get_content_id(GMIME_PART(part)));
    if (str_ieq(g_mime_object_get_content_type_parameter(part, "format"), "flowed"))
        l->flow = str_ieq(g_mime_object_get_content_type_parameter(part, "delsp"), "yes") ? FLOW_DELSP : FLOW_KEEP;
    if (content) {
        GMimeStream *s = g_mime_data_wrapper_get_stream(content);
        size_t from = mail_view_to_raw(d->view, (size_t)s->bound_start);
        size_t end = s->bound_end < 0 ? d->view->cut : mail_view_to_raw(d->view, (size_t)s->bound_end);
        l->offset = CD_MIN(from, d->nraw);
        l->length = end > l->offset ? CD_MIN(end, d->nraw) - l->offset : 0;
    }
}

void leaf_free(struct leaf *l)
{
    free(l->type);
    free(l->filename);
    free(l->content_id);
    *l = (struct leaf){0};
}

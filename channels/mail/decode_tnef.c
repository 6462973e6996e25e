/* winmail.dat: its members become attachments of the mail behind the container itself, its text stands in where the
 * mail has no other. */
#include "channels/mail/decode_impl.h"
#include "channels/mail/html.h"
#include "channels/mail/rtf.h"
#include "channels/mail/tnef.h"

#define DECODE_MAX_TNEF CD_MIB(40) /* bytes of a container that are looked into */

bool decode_is_tnef(const struct leaf *l)
{
    return str_eq(l->type, "application/ms-tnef") || str_eq(l->type, "application/vnd.ms-tnef") ||
           (str_ieq(l->filename, "winmail.dat") && str_eq(l->type, "application/octet-stream"));
}

/* The sender's word where it looks like a type, else by the name. */
static const char *member_type(const struct tnef_member *m, const char *name)
{
    const char *slash = m->type ? strchr(m->type, '/') : NULL;
    if (!slash || slash == m->type || strlen(m->type) > 100)
        return decode_type_by_name(name);
    for (const char *p = m->type; *p; p++)
        if (*p <= ' ' || *p >= 127 || *p == ';')
            return decode_type_by_name(name);
    return m->type;
}

static void attach_member(struct decoding *d, const struct leaf *l, const struct tnef_member *m, unsigned number)
{
    char *name = decode_safe_name(d, m->name ? m->name : "");
    char *type = cd_strdup(member_type(m, name));
    str_lower(type);
    struct attachment *a = decode_attach_member(d, l, number, name, type, m->data ? m->data : (const uint8_t *)"", m->n);
    if (a && m->content_id && strlen(m->content_id) <= DECODE_MAX_ID) {
        a->content_id = cd_strdup(m->content_id);
        decode_squeeze(a->content_id);
    }
    free(type);
    free(name);
}

static void later_text(struct decoding *d, const struct tnef *t)
{
    struct part_text text;
    part_text_init(&text);
    if (t->form == TNEF_PLAIN) {
        decode_add_plain(d, t->charset, FLOW_NONE, t->text, t->ntext, &text);
    } else if (t->form == TNEF_HTML) {
        decode_add_html(d, t->charset, t->text, t->ntext, &text);
    } else if (t->form == TNEF_RTF) {
        struct buf out;
        buf_init(&out, RECORD_MAX_TEXT);
        rtf_to_text(t->text, t->ntext, t->charset, &out);
        decode_add_plain(d, "utf-8", FLOW_NONE, (const uint8_t *)buf_str(&out), out.len, &text);
        buf_free(&out);
    }
    if (text.text.len && d->later.len)
        buf_append_str(&d->later, "\n\n");
    buf_append(&d->later, buf_str(&text.text), text.text.len);
    buf_free(&text.text);
}

void decode_tnef(struct decoding *d, const struct leaf *l)
{
    uint8_t *own;
    size_t n;
    bool cut;
    const uint8_t *p = leaf_bytes(d, l, DECODE_MAX_TNEF, &n, &own, &cut);
    struct tnef *t = cut ? NULL : tnef_open(p, n);
    free(own);
    if (!t) {
        decode_degrade(d->r, cut ? "winmail.dat is too large" : "winmail.dat could not be read");
        return;
    }
    for (size_t i = 0; i < t->nmembers; i++)
        attach_member(d, l, &t->members[i], (unsigned)i + 1);
    later_text(d, t);
    if (t->damaged)
        decode_degrade(d->r, "winmail.dat is damaged, read in part");
    if (t->over_budget)
        decode_degrade(d->r, "winmail.dat is over budget, read in part");
    tnef_close(&t);
}

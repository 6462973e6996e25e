/* The decoder of the web channel, in the worker: a JSON object, or a form with one and with files. The raw bytes of a form begin with
 * its Content-Type field and an empty line, so that they can be read by themselves. A part that cannot be read is still an attachment,
 * and the record says so. Fails with CD_EINVAL when there is no complaint in it. */
#include <string.h>

#include "channels/submit.h"
#include "channels/web/form.h"
#include "channels/web/head.h"
#include "channels/web/intake.h"
#include "daemon/core/err.h"
#include "daemon/core/str.h"
#include "daemon/intake/filename.h"

static void degrade(struct record *r, const char *reason)
{
    r->flags |= REC_DEGRADED;
    if (!r->degraded_reason)
        r->degraded_reason = cd_strdup(reason);
}

static bool is_plain(const char *encoding)
{
    return !encoding || str_eq(encoding, "binary") || str_eq(encoding, "8bit") || str_eq(encoding, "7bit");
}

/* RFC 7578 4.7: a part is its bytes; whoever encodes them nevertheless gets them kept as they came. */
static void attach(const struct envelope *e, const struct form_part *part, struct form_head *h, struct record *r)
{
    struct attachment *a = record_add_attachment(r);

    if (!a) {
        degrade(r, "more files than can be listed");
        return;
    }
    const char *name = h->filename && *h->filename ? h->filename : h->name ? h->name : "";
    free(a->filename);
    a->filename = cd_strdup(name);
    filename_make_safe(a->filename);
    a->content_type = cd_strdup(h->type ? h->type : "application/octet-stream");
    a->encoding = cd_strdup("binary");
    a->offset = (uint64_t)((const uint8_t *)part->body - e->raw.data);
    a->length = a->size_bytes = part->nbody;
    sha256(part->body, part->nbody, a->sha256);
    if (!is_plain(h->encoding))
        degrade(r, "a file with a transfer encoding, kept as it was sent");
}

static int decode_form(const struct envelope *e, const char *body, size_t n, const char *boundary, struct record *r)
{
    struct form f;
    struct form_part part;
    int found = CD_EINVAL;

    if (!form_init(&f, body, n, boundary))
        return CD_EINVAL;
    while (form_next(&f, &part)) {
        struct form_head h;
        if (form_head_read(&part, &h) < 0)
            degrade(r, "a part of the form whose head cannot be read");
        if (found < 0 && str_eq(h.name, API_FORM_PART))
            found = submit_decode(e, part.body, part.nbody, r);
        else
            attach(e, &part, &h, r);
        form_head_free(&h);
    }
    if (f.fault)
        degrade(r, "the form is broken");
    return found;
}

int web_decode(const struct envelope *e, struct record *r)
{
    const char *raw = (const char *)e->raw.data;
    size_t n = strlen(INTAKE_FORM_FIELD);

    if (e->raw.len < n || memcmp(raw, INTAKE_FORM_FIELD, n) != 0)
        return submit_decode(e, e->raw.data, e->raw.len, r);
    const char *end = memmem(raw, e->raw.len, "\r\n\r\n", 4);
    if (!end)
        return CD_EINVAL;
    CD_CLEANUP_FREE char *field = cd_strndup(raw + n, (size_t)(end - raw) - n);
    CD_CLEANUP_FREE char *boundary = web_head_parameter(field, "boundary");
    if (!boundary || !form_boundary_valid(boundary))
        return CD_EINVAL;
    return decode_form(e, end + 4, e->raw.len - (size_t)(end + 4 - raw), boundary, r);
}

/* The decoder of the web channel, in the worker: a JSON object, or a form with one and with files. The raw bytes are the body as it
 * came; that of a form says its boundary in its first line (form.h). A part that cannot be read is still an attachment, and the record
 * says so. Fails with CD_EINVAL when there is no complaint in it. */
#include <string.h>

#include "channels/submit.h"
#include "channels/web/form.h"
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

static int decode_form(const struct envelope *e, const char *boundary, struct record *r)
{
    struct form f;
    struct form_part part;
    int found = CD_EINVAL;

    if (!form_init(&f, e->raw.data, e->raw.len, boundary))
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

    if (e->raw.len < 2 || memcmp(raw, "--", 2) != 0) /* which no JSON begins with */
        return submit_decode(e, e->raw.data, e->raw.len, r);
    const char *end = memmem(raw, CD_MIN(e->raw.len, (size_t)FORM_MAX_BOUNDARY + 4), "\r\n", 2);
    if (!end)
        return CD_EINVAL;
    CD_CLEANUP_FREE char *boundary = cd_strndup(raw + 2, (size_t)(end - raw) - 2);
    return form_boundary_valid(boundary) ? decode_form(e, boundary, r) : CD_EINVAL;
}

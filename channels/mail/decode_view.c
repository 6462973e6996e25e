/* The view of a raw message that is given to the MIME library, and the way back from its places to the raw
 * ones; see decode_scan.h. The view owns its copies; the raw bytes are borrowed. Editing goes forward only.
 */
#include "channels/mail/decode_scan.h"

#include <string.h>

#include "daemon/core/err.h"

#define VIEW_AT_ONCE CD_KIB(64) /* the copy of a small mail is made in one piece */

static void add_segment(struct mail_view *v, size_t view, size_t raw)
{
    if ((v->nsegments & (v->nsegments - 1)) == 0)
        v->segments = cd_realloc(v->segments, (v->nsegments ? v->nsegments * 2 : 1) * sizeof *v->segments);
    v->segments[v->nsegments++] = (struct view_segment){.view = view, .raw = raw};
}

/* Copies what stands between the last edit and `at`. */
static void copy_up_to(struct mail_view *v, size_t at)
{
    if (!v->is_edited && v->len <= VIEW_AT_ONCE)
        (void)!buf_reserve(&v->edited, v->len); /* seen at the end by its `failed` */
    v->is_edited = true;
    if (at > v->done) {
        add_segment(v, v->edited.len, v->done);
        buf_append(&v->edited, v->base + v->done, at - v->done);
        v->done = at;
    }
}

void mail_view_leave_out(struct mail_view *v, size_t from, size_t to)
{
    copy_up_to(v, from);
    v->done = CD_MAX(v->done, to);
}

void mail_view_insert(struct mail_view *v, size_t at, const char *text)
{
    copy_up_to(v, at);
    add_segment(v, v->edited.len, at);
    buf_append_str(&v->edited, text);
}

size_t mail_view_to_raw(const struct mail_view *v, size_t offset)
{
    if (!v->nsegments)
        return offset;
    size_t lo = 0, hi = v->nsegments;
    while (hi - lo > 1) {
        size_t mid = (lo + hi) / 2;
        if (v->segments[mid].view <= offset)
            lo = mid;
        else
            hi = mid;
    }
    size_t at = v->segments[lo].raw + (offset - CD_MIN(offset, v->segments[lo].view));
    return CD_MIN(at, v->cut);
}

/* Mails of old systems end their lines with CR alone, and NUL would end a header value: both are mended in a
 * copy of the same length, so that places stay what they are. */
static int mend_bytes(struct mail_view *v, const uint8_t *raw, size_t n)
{
    bool nul = memchr(raw, 0, n) != NULL;
    size_t lf = 0, cr = 0;
    for (const uint8_t *p = raw; lf < 40 && (p = memchr(p, '\n', n - (size_t)(p - raw))) != NULL; p++)
        lf++;
    if (lf < 40)
        for (size_t i = 0; i + 1 < n; i++)
            cr += raw[i] == '\r' && raw[i + 1] != '\n';
    bool bare_cr = cr > 2 && cr > lf;
    if (!nul && !bare_cr)
        return 0;
    if (buf_append(&v->same, raw, n) < 0)
        return CD_ENOMEM;
    uint8_t *p = v->same.data;
    for (size_t i = 0; i < n; i++) {
        if (p[i] == 0)
            p[i] = ' ';
        else if (bare_cr && p[i] == '\r' && (i + 1 == n || p[i + 1] != '\n'))
            p[i] = '\n';
    }
    v->data = p;
    return 0;
}

int mail_view_init(struct mail_view *v, const void *raw, size_t n)
{
    *v = (struct mail_view){.data = raw, .len = n, .cut = n};
    buf_init(&v->same, n + 1);
    buf_init(&v->edited, n + CD_MIB(1));
    if (mend_bytes(v, raw, n) < 0) {
        mail_view_free(v);
        return CD_ENOMEM;
    }
    v->base = v->data;
    mail_scan(v);
    if (v->is_edited) {
        copy_up_to(v, n);
        if (v->edited.failed) {
            mail_view_free(v);
            return CD_ENOMEM;
        }
        v->data = (const uint8_t *)buf_str(&v->edited);
        v->len = v->edited.len;
    }
    return 0;
}

void mail_view_free(struct mail_view *v)
{
    buf_free(&v->same);
    buf_free(&v->edited);
    free(v->segments);
    *v = (struct mail_view){0};
}

/* Undoing transfer encodings with GMime's decoders, in steps of bounded size, but for uuencode, of which the library decodes the
 * line "begin" too; members of winmail.dat by tnef.c. Holds nothing between calls. */
#include "channels/mail/content.h"

#include <gmime/gmime.h>
#include <string.h>

#include "channels/mail/tnef.h"
#include "daemon/core/buf.h"
#include "daemon/core/err.h"
#include "daemon/core/str.h"

#define CHUNK CD_KIB(32)
/* No decoder gives more bytes than it got, except for the few that it holds back between two steps. */
#define DECODE_SLACK 64

static GMimeContentEncoding encoding_of(const char *name)
{
    if (str_eq(name, "base64"))
        return GMIME_CONTENT_ENCODING_BASE64;
    if (str_eq(name, "quoted-printable"))
        return GMIME_CONTENT_ENCODING_QUOTEDPRINTABLE;
    return str_eq(name, "x-uuencode") ? GMIME_CONTENT_ENCODING_UUENCODE : GMIME_CONTENT_ENCODING_DEFAULT;
}

bool content_is_encoded(const char *encoding)
{
    return encoding_of(encoding) != GMIME_CONTENT_ENCODING_DEFAULT;
}

/* ---- uuencode ---- */

#define UU_MAX 45 /* bytes of a line */

static const uint8_t *next_line(const uint8_t *p, const uint8_t *end)
{
    const uint8_t *nl = memchr(p, '\n', (size_t)(end - p));
    return nl ? nl + 1 : end;
}

static unsigned sextet(const uint8_t *p, const uint8_t *end)
{
    return p < end && *p > ' ' && *p <= '`' ? (*p - 32u) & 63 : 0; /* spaces at the end of a line get lost: they are zeros */
}

/* A line of data; 0 at the end. One that is less than half as long as it says has only what is there, so that nothing grows out of
 * proportion. */
static size_t uu_line(const uint8_t *p, const uint8_t *end, uint8_t out[UU_MAX + 3])
{
    size_t n = CD_MIN((size_t)sextet(p, end), (size_t)UU_MAX), have = (size_t)(end - p) / 4 * 3;
    p++;
    if (have < n / 2)
        n = have;
    for (size_t at = 0; at < n; at += 3, p += 4) {
        unsigned v = sextet(p, end) << 18 | sextet(p + 1, end) << 12 | sextet(p + 2, end) << 6 | sextet(p + 3, end);
        out[at] = (uint8_t)(v >> 16);
        out[at + 1] = (uint8_t)(v >> 8);
        out[at + 2] = (uint8_t)v;
    }
    return n;
}

static void uu_decode(const uint8_t *p, size_t n, content_sink sink, void *arg)
{
    const uint8_t *end = p + n;
    uint8_t out[UU_MAX + 3];
    while (p < end && (end - p < 6 || memcmp(p, "begin ", 6) != 0))
        p = next_line(p, end);
    for (p = next_line(p, end); p < end; p = next_line(p, end)) {
        size_t got = uu_line(p, next_line(p, end), out);
        if (got == 0)
            return;
        sink(arg, out, got);
    }
}

/* ---- all of them ---- */

void content_decode(const char *encoding, const void *p, size_t n, content_sink sink, void *arg)
{
    GMimeEncoding state;
    char out[CHUNK + DECODE_SLACK];
    size_t got;

    if (!content_is_encoded(encoding)) {
        sink(arg, p, n);
        return;
    }
    if (encoding_of(encoding) == GMIME_CONTENT_ENCODING_UUENCODE) {
        uu_decode(p, n, sink, arg);
        return;
    }
    g_mime_encoding_init_decode(&state, encoding_of(encoding));
    for (size_t done = 0; done < n; done += CHUNK) {
        got = g_mime_encoding_step(&state, (const char *)p + done, CD_MIN(CHUNK, n - done), out);
        if (got > 0)
            sink(arg, out, got);
    }
    got = g_mime_encoding_flush(&state, "", 0, out);
    if (got > 0)
        sink(arg, out, got);
}

static void collect(void *arg, const void *p, size_t n)
{
    buf_append(arg, p, n); /* over its cap it fails, which content_bytes() looks at */
}

static const uint8_t *uu_bytes(const void *p, size_t n, size_t max, size_t *ret_n, uint8_t **ret_own, bool *ret_cut)
{
    struct buf out;
    buf_init(&out, CD_MIN(max, 2 * n) + UU_MAX);
    uu_decode(p, n, collect, &out);
    *ret_cut = out.failed || out.len > max;
    *ret_n = CD_MIN(out.len, max);
    *ret_own = (uint8_t *)buf_steal(&out);
    if (!*ret_own)
        *ret_own = cd_alloc(1);
    return *ret_own;
}

const uint8_t *content_bytes(const char *encoding, const void *p, size_t n, size_t max, size_t *ret_n, uint8_t **ret_own,
                             bool *ret_cut)
{
    GMimeEncoding state;
    size_t done = 0, got = 0;

    *ret_own = NULL;
    if (!content_is_encoded(encoding)) {
        *ret_cut = n > max;
        *ret_n = CD_MIN(n, max);
        return p;
    }
    if (encoding_of(encoding) == GMIME_CONTENT_ENCODING_UUENCODE)
        return uu_bytes(p, n, max, ret_n, ret_own, ret_cut);
    g_mime_encoding_init_decode(&state, encoding_of(encoding));
    char *out = cd_realloc(NULL, CD_MIN(n, max + CHUNK) + DECODE_SLACK);
    while (done < n && got <= max) {
        size_t step = CD_MIN(CHUNK, n - done);

        got += g_mime_encoding_step(&state, (const char *)p + done, step, out + got);
        done += step;
    }
    if (done == n)
        got += g_mime_encoding_flush(&state, "", 0, out + got);
    *ret_cut = got > max || done < n;
    *ret_n = CD_MIN(got, max);
    *ret_own = (uint8_t *)out;
    return *ret_own;
}

/* "tnef:3": the third member. */
static int tnef_member_bytes(const char *encoding, const char *number, const void *p, size_t n, content_sink sink, void *arg)
{
    uint64_t want;
    uint8_t *own;
    size_t len;
    bool cut;
    int r = CD_ENOTFOUND;

    if (str_parse_u64(number, TNEF_MAX_MEMBERS, &want) < 0 || want == 0)
        return CD_ENOTFOUND;
    const uint8_t *bytes = content_bytes(encoding, p, n, 2 * n, &len, &own, &cut);
    struct tnef *t = tnef_open(bytes, len);
    if (t && want <= t->nmembers) {
        sink(arg, t->members[want - 1].data, t->members[want - 1].n);
        r = 0;
    }
    tnef_close(&t);
    free(own);
    return r;
}

int content_member(const char *encoding, const char *inner, const void *p, size_t n, content_sink sink, void *arg)
{
    if (inner && str_starts(inner, "tnef:"))
        return tnef_member_bytes(encoding, inner + strlen("tnef:"), p, n, sink, arg);
    if (inner)
        return CD_ENOTFOUND;
    content_decode(encoding, p, n, sink, arg);
    return 0;
}

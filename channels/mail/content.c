/* Undoing transfer encodings with GMime's decoders, in steps of bounded size; members of winmail.dat by tnef.c. Holds
 * nothing between calls. */
#include "channels/mail/content.h"

#include <gmime/gmime.h>
#include <string.h>

#include "channels/mail/tnef.h"
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

void content_decode(const char *encoding, const void *p, size_t n, content_sink sink, void *arg)
{
    GMimeEncoding state;
    char out[CHUNK + DECODE_SLACK];
    size_t got;

    if (!content_is_encoded(encoding)) {
        sink(arg, p, n);
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
    const uint8_t *bytes = content_bytes(encoding, p, n, n, &len, &own, &cut);
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

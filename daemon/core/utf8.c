/* UTF-8 validation after RFC 3629: no overlong forms, no surrogates, nothing over U+10FFFF. */
#include "daemon/core/str.h"

#include <string.h>

#include "daemon/core/buf.h"

/* The length of the valid character at p, 0 when it is not one. */
static size_t char_length(const uint8_t *p, size_t n)
{
    uint8_t c = p[0];
    if (c < 0x80)
        return 1;
    size_t len = c >= 0xc2 && c <= 0xdf ? 2 : (c & 0xf0) == 0xe0 ? 3 : c >= 0xf0 && c <= 0xf4 ? 4 : 0;
    if (!len || n < len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f) || (c == 0xf0 && p[1] < 0x90) || (c == 0xf4 && p[1] > 0x8f))
        return 0;
    return len;
}

bool utf8_valid(const char *s, size_t n)
{
    const uint8_t *p = (const uint8_t *)s, *end = p + n;
    while (p < end) {
        uint64_t eight;
        if (end - p >= 8 && (memcpy(&eight, p, 8), (eight & 0x8080808080808080u) == 0)) {
            p += 8;
            continue;
        }
        size_t len = char_length(p, (size_t)(end - p));
        if (!len)
            return false;
        p += len;
    }
    return true;
}

char *utf8_clean(const char *s, size_t n, bool *ret_changed)
{
    struct buf out;
    bool changed = false;
    buf_init(&out, n * 3 + 1);
    if (buf_reserve(&out, n) < 0 || (utf8_valid(s, n) && !memchr(s, 0, n))) {
        buf_free(&out);
        if (ret_changed)
            *ret_changed = false;
        return cd_strndup(s, n);
    }
    for (size_t i = 0; i < n;) {
        size_t len = s[i] ? char_length((const uint8_t *)s + i, n - i) : 0;
        if (len) {
            buf_append(&out, s + i, len);
            i += len;
        } else {
            buf_append_str(&out, "\xef\xbf\xbd");
            changed = true;
            i++;
        }
    }
    if (ret_changed)
        *ret_changed = changed;
    char *text = buf_steal(&out);
    return text ? text : cd_strdup("");
}

size_t utf8_cut(const char *s, size_t n)
{
    size_t i = n;
    while (i > 0 && n - i < 4 && ((uint8_t)s[i - 1] & 0xc0) == 0x80)
        i--;
    if (i == 0)
        return n;
    uint8_t lead = (uint8_t)s[i - 1];
    size_t want = lead < 0x80 ? 1 : lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
    return n - (i - 1) >= want ? n : i - 1;
}

size_t utf8_length(const char *s)
{
    size_t n = 0;

    for (; *s; s++)
        n += ((unsigned char)*s & 0xC0) != 0x80;
    return n;
}

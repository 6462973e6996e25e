/* Strings are copied in runs between the characters that need an escape. RFC 8259 section 7. Nothing here fails but the buffer. */
#include "daemon/core/json_text.h"

#include <string.h>

#include "daemon/core/str.h"

static void separate(struct buf *b)
{
    if (b->len && !strchr("{[:", b->data[b->len - 1]))
        buf_append_char(b, ',');
}

static void escape(struct buf *b, unsigned char c)
{
    static const char hex[] = "0123456789abcdef", plain[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    char code[] = "\\u0000";
    const char *at = strchr(plain, c);
    if (at) {
        code[1] = letters[at - plain];
        buf_append(b, code, 2);
        return;
    }
    code[4] = hex[c >> 4];
    code[5] = hex[c & 15];
    buf_append(b, code, 6);
}

void json_text_string(struct buf *b, const char *s)
{
    size_t n = s ? strlen(s) : 0, from = 0;
    separate(b);
    buf_append_char(b, '"');
    if (!utf8_valid(s ? s : "", n))
        n = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c >= ' ' && c != '"' && c != '\\')
            continue;
        buf_append(b, s + from, i - from);
        escape(b, c);
        from = i + 1;
    }
    if (n > from)
        buf_append(b, s + from, n - from);
    buf_append_char(b, '"');
}

void json_text_int(struct buf *b, int64_t v)
{
    separate(b);
    buf_append_int(b, v);
}

void json_text_name(struct buf *b, const char *name)
{
    separate(b);
    buf_append_char(b, '"');
    buf_append_str(b, name);
    buf_append(b, "\":", 2);
}

void json_text_member(struct buf *b, const char *name, const char *value)
{
    json_text_name(b, name);
    json_text_string(b, value);
}

void json_text_open(struct buf *b, char bracket)
{
    separate(b);
    buf_append_char(b, bracket);
}

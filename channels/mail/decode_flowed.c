/* format=flowed: a line that ends in a space goes on in the next one of the same quote level; a space in front was put
 * there to protect what follows. The signature's "-- " ends a paragraph and is none that goes on. */
#include "channels/mail/decode_flowed.h"

#include <string.h>

#include "daemon/core/buf.h"

struct flow {
    struct buf out;
    size_t depth; /* quotes of the paragraph at hand */
    bool open;    /* its last line goes on */
    bool begun;
};

static void begin_line(struct flow *f, size_t depth)
{
    if (f->begun)
        buf_append_char(&f->out, '\n');
    f->begun = true;
    f->depth = depth;
    for (size_t i = 0; i < depth; i++)
        buf_append_char(&f->out, '>');
}

static void take_line(struct flow *f, const char *s, size_t n, bool delsp)
{
    size_t depth = 0;
    while (depth < n && s[depth] == '>')
        depth++;
    s += depth;
    n -= depth;
    if (n > 0 && s[0] == ' ') {
        s++;
        n--;
    }
    bool signature = n == 3 && memcmp(s, "-- ", 3) == 0;
    bool goes_on = n > 0 && s[n - 1] == ' ' && !signature;
    if (!f->open || depth != f->depth || signature) {
        begin_line(f, depth);
        if (depth > 0 && n > 0)
            buf_append_char(&f->out, ' ');
    }
    buf_append(&f->out, s, n - (goes_on && delsp));
    f->open = goes_on;
}

char *flowed_to_text(const char *s, size_t n, bool delsp, size_t *ret_n)
{
    struct flow f = {.open = false};
    buf_init(&f.out, 2 * n + 16); /* a quoted line may get a space */
    while (n > 0) {
        const char *nl = memchr(s, '\n', n);
        size_t whole = nl ? (size_t)(nl - s) + 1 : n, line = whole - (nl != NULL);
        if (line > 0 && s[line - 1] == '\r')
            line--;
        take_line(&f, s, line, delsp);
        s += whole;
        n -= whole;
    }
    *ret_n = f.out.len;
    char *text = buf_steal(&f.out);
    return text ? text : cd_strdup("");
}

/* Placeholders. What a value may do is decided by the place it goes to, not by who wrote it: a subject stays one line. */
#include "daemon/notify/template.h"

#include <string.h>

#include "daemon/core/err.h"

static void add_value(struct buf *out, const char *v, bool one_line)
{
    for (; v && *v; v++) {
        unsigned char ch = (unsigned char)*v;
        if (one_line && (ch < ' ' || ch == 0x7f))
            buf_append_char(out, ' ');
        else if (ch != '\r')
            buf_append_char(out, (char)ch);
    }
}

int template_render(const char *text, bool one_line, const struct template_var *vars, size_t nvars, struct buf *out)
{
    while (*text) {
        const char *open = strstr(text, "{{"), *close = open ? strstr(open, "}}") : NULL;
        if (!close) {
            buf_append_str(out, text);
            break;
        }
        buf_append(out, text, (size_t)(open - text));
        const char *name = open + 2 + strspn(open + 2, " ");
        size_t n = strcspn(name, " }");
        for (size_t i = 0; i < nvars; i++)
            if (strlen(vars[i].name) == n && memcmp(vars[i].name, name, n) == 0)
                add_value(out, vars[i].value, one_line);
        text = close + 2;
    }
    return out->failed ? CD_ENOMEM : 0;
}

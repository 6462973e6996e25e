/* Rows of SUBSCRIBE, one a line: for people, or as the daemon sent them. A row without a kind is only the daemon's sign of life. */
#include <string.h>

#include "ctl/commands.h"
#include "ctl/text.h"

static void column(const json_t *row, const char *name, struct buf *out)
{
    const char *v = json_string_value(json_object_get(row, name));
    char t[TIME_TEXT_SIZE];
    text_clean(!v ? "-" : strcmp(name, "at") == 0 ? time_text(v, t) : v, 0, out);
}

void print_event(const json_t *row, bool json, struct buf *out)
{
    static const char *const names[] = {"at", "ref", "kind", "actor", "cursor"};
    if (json) {
        char *text = json_dumps(row, JSON_COMPACT);
        buf_printf(out, "%s\n", text ? text : "{}");
        free(text);
        return;
    }
    if (!json_object_get(row, "kind"))
        return;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (i)
            buf_append_str(out, "  ");
        column(row, names[i], out);
    }
    buf_append_char(out, '\n');
}

void print_nothing(const struct answer *a, struct buf *out)
{
    (void)a;
    (void)out;
}

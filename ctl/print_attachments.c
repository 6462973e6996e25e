/* Attachments for people: name, type as declared, and what the bytes are where that is something else. */
#include <stdio.h>
#include <string.h>

#include "channels/mail/decode_magic.h"
#include "ctl/commands.h"
#include "ctl/text.h"

static const char *text_at(const json_t *o, const char *name)
{
    return json_string_value(json_object_get(o, name));
}

void print_attachment_type(const json_t *a, struct buf *out)
{
    const char *type = text_at(a, "content_type"), *magic = text_at(a, "magic_type"), *kind = text_at(a, "kind");
    text_clean(type ? type : "", 0, out);
    if (magic_differs(type, magic)) {
        buf_append_str(out, " (its bytes are ");
        text_put(out, C_YELLOW, magic);
        buf_append_str(out, ")");
    }
    if (kind && strcmp(kind, "file") != 0) {
        buf_append_str(out, ", ");
        text_clean(kind, 0, out);
    }
}

void print_attachments(const struct answer *a, struct buf *out)
{
    static const char *const headers[] = {"N", "NAME", "TYPE", "BYTES", "SHA-256", "MESSAGE", NULL};
    static const size_t max[] = {0, 50, 60, 0, 16, 0};
    size_t i;
    json_t *row;
    if (json_array_size(a->rows) == 0) {
        buf_append_str(out, "no attachments\n");
        return;
    }
    struct table *t = table_new(headers, max);
    json_array_foreach(a->rows, i, row) {
        char n[16], size[32];
        struct buf type;
        buf_init(&type, CD_KIB(4));
        print_attachment_type(row, &type);
        snprintf(n, sizeof n, "%d", (int)json_integer_value(json_object_get(row, "n")));
        snprintf(size, sizeof size, "%lld", (long long)json_integer_value(json_object_get(row, "size_bytes")));
        table_add(t, C_PLAIN, n);
        table_add(t, C_PLAIN, text_at(row, "filename"));
        table_add(t, magic_differs(text_at(row, "content_type"), text_at(row, "magic_type")) ? C_YELLOW : C_PLAIN, buf_str(&type));
        table_add(t, C_PLAIN, size);
        table_add(t, C_DIM, text_at(row, "sha256"));
        table_add(t, C_DIM, text_at(row, "message"));
        buf_free(&type);
    }
    table_print(&t, "", out);
}

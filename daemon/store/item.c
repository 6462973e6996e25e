/* Freeing and the text form of array elements. */
#include "daemon/store/item.h"

#include <string.h>

void store_item_clear(struct store_item *it)
{
    char **owned[] = {&it->policy_version, &it->tags, &it->desks, &it->decision, &it->event, &it->handle, &it->steps, &it->told, &it->recipients, &it->attachments};
    for (size_t i = 0; i < ARRAY_LEN(owned); i++) {
        free(*owned[i]);
        *owned[i] = NULL;
    }
}

void array_literal_add(struct buf *b, const char *s)
{
    if (b->len > 1)
        buf_append_char(b, ',');
    buf_append_char(b, '"');
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            buf_append_char(b, '\\');
        buf_append_char(b, *s);
    }
    buf_append_char(b, '"');
}

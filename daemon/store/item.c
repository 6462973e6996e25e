/* Freeing and the text form of array elements. */
#include "daemon/store/item.h"

#include <string.h>

void store_item_clear(struct store_item *it)
{
    char **owned[] = {&it->policy_version, &it->tags, &it->desks, &it->decision, &it->event, &it->handle, &it->steps, &it->recipients, &it->attachments,
                      &it->bounce, &it->answered, &it->scan_detail, &it->skills, &it->about};
    for (size_t i = 0; i < ARRAY_LEN(owned); i++) {
        free(*owned[i]);
        *owned[i] = NULL;
    }
    store_notes_free(&it->notes);
    store_notes_free(&it->tasks);
}

struct store_note *store_notes_add(struct store_notes *l)
{
    l->v = cd_realloc(l->v, (l->n + 1) * sizeof *l->v);
    struct store_note *n = &l->v[l->n++];
    *n = (struct store_note){.id = uuid_new()};
    return n;
}

void store_notes_free(struct store_notes *l)
{
    for (size_t i = 0; i < l->n; i++) {
        free(l->v[i].recipient);
        free(l->v[i].payload);
        free(l->v[i].key);
    }
    free(l->v);
    *l = (struct store_notes){0};
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

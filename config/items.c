/* Lists of named things (desks, teams, rules, steps …): one array in the configuration, grown once for each
 * list. */
#include "config/load.h"

#include <string.h>

static void item_load(struct loader *l, const struct section *s, struct yn n, char *item)
{
    struct mark *seen = cd_alloc((options_count(s->options) + 1) * sizeof *seen);
    size_t before = l->f->n + l->f->dropped;
    options_default(s->options, item);
    if (s->begin)
        s->begin(item);
    if (s->mark_offset != NO_OFFSET)
        *(struct mark *)(item + s->mark_offset) = yn_mark(n);
    map_load(l, n, s->options, item, seen, s->noun);
    if (s->end)
        s->end(l, item, n);
    bool nameless = s->name_offset != NO_OFFSET && !**(char **)(item + s->name_offset);
    if (nameless && l->f->n + l->f->dropped > before)
        l->incomplete[s->kind] = true;
    free(seen);
}

void items_load(struct loader *l, const struct option *o, struct yn n, void *base)
{
    const struct section *s = o->items;
    char **array = (char **)((char *)base + o->offset);
    size_t *count = (size_t *)((char *)base + o->count_offset), more = yn_items(n);
    if (more == 0)
        return;
    if (more > s->max || *count > s->max - more) {
        faults_add(l->f, yn_mark(n), "more than %zu entries in %s: write fewer", s->max, o->path);
        l->incomplete[s->kind] = true;
        return;
    }
    *array = cd_realloc(*array, (*count + more) * s->item_size);
    memset(*array + *count * s->item_size, 0, more * s->item_size);
    for (size_t i = 0; i < more; i++) {
        struct yn item = yn_item(n, i);
        if (item.node->type == YAML_MAPPING_NODE) {
            item_load(l, s, item, *array + (*count)++ * s->item_size);
            continue;
        }
        l->incomplete[s->kind] = true;
        faults_add(l->f, yn_mark(item), "an entry of %s is %s: write the keys of a %s", o->path,
                   yn_is_null(item) ? "empty" : yn_kind(item), s->noun);
    }
}

/* Options that are lists: names, addresses, words that become bits, listeners, networks. Each element keeps
 * its own place for faults and references; a bad element is left out and the rest goes on. */
#include "config/load.h"

#include <stdio.h>
#include <string.h>

#define LIST_MAX 1000

/* The text of one element, or NULL with a fault added. */
static const char *element_text(struct loader *l, const struct option *o, struct yn n)
{
    const char *s = yn_is_null(n) ? NULL : yn_text(n);
    const char *advice = NULL;
    if (!s)
        advice = "write one value here, or remove the entry";
    else if (!*s)
        advice = "write something between the quotes, or remove the entry";
    if (advice) {
        faults_add(l->f, yn_mark(n), "an entry of %s is %s: %s", o->path,
                   s || yn_is_null(n)                 ? "empty"
                   : n.node->type == YAML_SCALAR_NODE ? "cut by a NUL character"
                                                      : yn_kind(n),
                   advice);
        return NULL;
    }
    /* every address of a domain is written "*@example.com", which is an address too, or shorter */
    const char *checked = o->type == OPT_MAILS && s[0] == '@' ? s + 1 : s;
    advice = option_check(checked == s ? option_element(o->type) : OPT_HOST, checked);
    if (advice)
        faults_add(l->f, yn_mark(n), "'%s' in %s is not %s: %s", show(s), o->path,
                   option_type_word(option_element(o->type)), advice);
    return advice ? NULL : s;
}

static void add_string(struct loader *l, const struct option *o, struct yn n, const char *s, void *base)
{
    struct strlist *list = (struct strlist *)((char *)base + o->offset);
    CD_CLEANUP_FREE char *copy = o->type == OPT_MAILS && s[0] == '@' ? cd_asprintf("*%s", s) : cd_strdup(s);
    if (o->type == OPT_MAILS)
        str_lower(copy);
    if (strlist_has(list, copy)) {
        faults_add(l->f, yn_mark(n), "'%s' is in %s twice: remove one", show(s), o->path);
        return;
    }
    strlist_add(list, copy);
    if (o->refers)
        ref_add(l, o->refers, list->v[list->n - 1], yn_mark(n));
}

static void add_bit(struct loader *l, const struct option *o, struct yn n, const char *s, void *base)
{
    struct buf why;
    unsigned bits = 0;
    char *p = (char *)base + o->offset;
    const struct option word = {
        .path = o->path, .type = OPT_CHOICE, .offset = 0, .size = sizeof bits, .choices = o->choices};
    buf_init(&why, CD_KIB(4));
    if (!option_set_text(&word, s, &bits, &why))
        faults_add(l->f, yn_mark(n), "%s", buf_str(&why));
    buf_free(&why);
    if (o->size == 1) {
        *(uint8_t *)p = (uint8_t)(*(uint8_t *)p | bits);
        return;
    }
    unsigned old;
    cd_assert(o->size == sizeof old);
    memcpy(&old, p, sizeof old);
    old |= bits;
    memcpy(p, &old, sizeof old);
}

static void *array_grow(const struct option *o, void *base, size_t item)
{
    char **array = (char **)((char *)base + o->offset);
    size_t *n = (size_t *)((char *)base + o->count_offset);
    *array = cd_realloc(*array, (*n + 1) * item);
    memset(*array + *n * item, 0, item);
    return *array + (*n)++ * item;
}

static void add_listen(struct loader *l, const struct option *o, struct yn n, const char *s, void *base)
{
    struct listen_addr a = {.mark = yn_mark(n)};
    const char *advice = listen_parse(s, o->flags & OPT_UNIX, &a);
    if (advice) {
        faults_add(l->f, a.mark, "'%s' in %s can't be listened on: %s", show(s), o->path, advice);
        return;
    }
    a.text = cd_strdup(s);
    *(struct listen_addr *)array_grow(o, base, sizeof a) = a;
}

static void add_network(struct loader *l, const struct option *o, struct yn n, const char *s, void *base)
{
    struct network w;
    const char *advice = network_parse(s, &w);
    if (advice)
        faults_add(l->f, yn_mark(n), "'%s' in %s is not a network: %s", show(s), o->path, advice);
    else
        *(struct network *)array_grow(o, base, sizeof w) = w;
}

void option_set_list(struct loader *l, const struct option *o, struct yn n, void *base)
{
    size_t count = yn_items(n);
    if (count > LIST_MAX) {
        faults_add(l->f, yn_mark(n), "%s has %zu entries: write at most %d", o->path, count, LIST_MAX);
        return;
    }
    if (o->type == OPT_BITS)
        memset((char *)base + o->offset, 0, o->size); /* what is written replaces the default */
    if (o->type == OPT_BITS && count == 0)
        faults_add(l->f, yn_mark(n), "%s is an empty list: write at least one word, or leave the key out",
                   o->path);
    for (size_t i = 0; i < count; i++) {
        struct yn item = yn_item(n, i);
        const char *s = element_text(l, o, item);
        if (!s)
            continue;
        if (o->type == OPT_BITS)
            add_bit(l, o, item, s, base);
        else if (o->type == OPT_LISTEN)
            add_listen(l, o, item, s, base);
        else if (o->type == OPT_NETWORKS)
            add_network(l, o, item, s, base);
        else
            add_string(l, o, item, s, base);
    }
}

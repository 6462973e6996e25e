/* Reads a mapping by a table of options: finds the row of each key, refuses unknown and repeated keys, and
 * says what is missing. Groups of keys ("mail:") are the parts of a row's path before its dots. */
#include "config/load.h"

#include <stdio.h>
#include <string.h>

#define PATH_SIZE 96
static const char *const secret_suffix[] = {"", "_file", "_credential"};

struct map_read {
    struct loader *l;
    const struct option *table;
    void *base;
    struct mark *seen;
    const char *noun;
};

/* The row of a full path; for secrets also X_file and X_credential, told apart by *ret_how. */
static const struct option *option_find(const struct option *table, const char *path, int *ret_how)
{
    for (const struct option *o = table; o->path; o++) {
        size_t n = strlen(o->path);
        if (strncmp(o->path, path, n) != 0)
            continue;
        for (int how = 0; how < (o->type == OPT_SECRET ? 3 : 1); how++)
            if (str_eq(path + n, secret_suffix[how])) {
                *ret_how = how;
                return o;
            }
    }
    return NULL;
}

static bool is_group(const struct option *table, const char *path)
{
    size_t n = strlen(path);
    for (const struct option *o = table; o->path; o++)
        if (strncmp(o->path, path, n) == 0 && o->path[n] == '.')
            return true;
    return false;
}

/* The keys that may stand below a prefix: for advice only. */
static void known_keys(const struct option *table, const char *prefix, struct strlist *ret)
{
    size_t n = strlen(prefix);
    for (const struct option *o = table; o->path; o++) {
        if (strncmp(o->path, prefix, n) != 0)
            continue;
        CD_CLEANUP_FREE char *word = cd_strndup(o->path + n, strcspn(o->path + n, "."));
        bool leaf = !strchr(o->path + n, '.');
        for (int how = 0; how < (leaf && o->type == OPT_SECRET ? 3 : 1); how++) {
            char key[PATH_SIZE];
            snprintf(key, sizeof key, "%s%s", word, secret_suffix[how]);
            if (!strlist_has(ret, key))
                strlist_add(ret, key);
        }
    }
}

static void unknown_key(struct map_read *r, const char *prefix, struct yn key)
{
    if (faults_full(r->l->f)) {
        faults_add(r->l->f, yn_mark(key), "unknown key");
        return;
    }
    struct strlist known = {0};
    struct buf list;
    const char *word = yn_text(key);
    known_keys(r->table, prefix, &known);
    const char *near = suggest(word, (const char *const *)known.v, known.n);
    buf_init(&list, CD_KIB(4));
    for (size_t i = 0; i < known.n && !near; i++)
        buf_printf(&list, "%s%s", i == 0 ? "" : i + 1 < known.n ? ", " : " or ", known.v[i]);
    CD_CLEANUP_FREE char *place =
        *prefix ? cd_strndup(prefix, strlen(prefix) - 1) : cd_asprintf("this %s", r->noun);
    faults_add(r->l->f, yn_mark(key), "unknown key '%s' in %s: write %s%s", show(word), place,
               near ? near : buf_str(&list), near ? "" : ", or remove it");
    buf_free(&list);
    strlist_free(&known);
}

static bool repeated(struct map_read *r, struct yn map, size_t i)
{
    const char *word = yn_text(yn_key(map, i));
    for (size_t k = 0; k < i; k++) {
        struct yn other = yn_key(map, k);
        if (!str_eq(yn_text(other), word))
            continue;
        faults_add(r->l->f, yn_mark(yn_key(map, i)),
                   "'%s' is written twice, first in line %d: keep one of them", show(word),
                   yn_mark(other).line);
        return true;
    }
    return false;
}

static void set_secret(struct map_read *r, const struct option *o, struct mark *seen, int how, struct yn key,
                       struct yn value)
{
    const char *text = yn_text(value);
    struct mark m = yn_mark(value);
    if (!text) {
        faults_add(r->l->f, m, "%s%s is %s: write %s", o->path, secret_suffix[how], yn_kind(value),
                   how == 0   ? "the secret"
                   : how == 1 ? "the path of a file"
                              : "the name of a credential");
        *seen = m;
        return;
    }
    if (!*text)
        return; /* the same as leaving it out */
    if (seen->line) {
        faults_add(r->l->f, yn_mark(key), "'%s' is given in two ways: keep one of %s, %s_file, %s_credential",
                   o->path, o->path, o->path, o->path);
        return;
    }
    *seen = m;
    char **p = (char **)((char *)r->base + o->offset), *secret = secret_load(r->l, how, text, m);
    if (!secret)
        return;
    free(*p);
    *p = secret;
}

static void read_group(struct map_read *r, struct yn map, const char *prefix);

static void read_pair(struct map_read *r, struct yn map, size_t i, const char *prefix)
{
    struct yn key = yn_key(map, i), value = yn_value(map, i);
    const char *word = yn_text(key);
    char path[PATH_SIZE], deeper[PATH_SIZE];
    int how = 0;
    if (!word || !*word) {
        faults_add(r->l->f, yn_mark(key), "a key is %s: write a word and a colon",
                   word ? "empty" : yn_kind(key));
        return;
    }
    if (repeated(r, map, i))
        return;
    bool fits = snprintf(path, sizeof path, "%s%s", prefix, word) < PATH_SIZE - 1 && !strchr(word, '.');
    snprintf(deeper, sizeof deeper, "%.*s.", PATH_SIZE - 2, path);
    const struct option *o = fits ? option_find(r->table, path, &how) : NULL;
    bool group = fits && !o && is_group(r->table, path);
    if (!o && !group) {
        unknown_key(r, prefix, key);
        return;
    }
    struct mark *seen = o ? &r->seen[o - r->table] : NULL;
    if (yn_is_null(value)) {
        faults_add(r->l->f, yn_mark(key), "'%s' has no value: write %s, or remove the key", path,
                   group ? "keys below it" : option_type_word(o->type));
        if (seen)
            *seen = yn_mark(key);
    } else if (group) {
        if (value.node->type == YAML_MAPPING_NODE)
            read_group(r, value, deeper);
        else
            faults_add(r->l->f, yn_mark(value), "'%s' is %s: write keys below it", path, yn_kind(value));
    } else if (o->type == OPT_SECRET) {
        set_secret(r, o, seen, how, key, value);
    } else {
        *seen = yn_mark(value);
        option_set_node(r->l, o, value, r->base);
    }
}

static void read_group(struct map_read *r, struct yn map, const char *prefix)
{
    size_t n = yn_pairs(map);
    if (n > CONFIG_KEYS) {
        faults_add(r->l->f, yn_mark(map), "%zu keys in one group: write at most %d", n, CONFIG_KEYS);
        n = CONFIG_KEYS;
    }
    for (size_t i = 0; i < n; i++)
        read_pair(r, map, i, prefix);
}

static const char *example_of(const struct option *o)
{
    if (o->def && *o->def && !str_eq(o->def, "[]"))
        return o->def;
    return o->choices && o->type != OPT_BITS ? o->choices[0].name : option_type_example(o->type);
}

static void missing(struct map_read *r, const struct option *o, struct yn map)
{
    if (o->type == OPT_SECRET)
        faults_add(r->l->f, yn_mark(map), "this %s has no %s: write `%s_file: PATH` or `%s_credential: NAME`",
                   r->noun, o->path, o->path, o->path);
    else if (strchr(o->path, '.'))
        faults_add(r->l->f, yn_mark(map), "this %s has no %s: write it as %s, such as %s", r->noun, o->path,
                   option_type_word(o->type), example_of(o));
    else
        faults_add(r->l->f, yn_mark(map), "this %s has no %s: write `%s:` and %s, such as %s", r->noun,
                   o->path, o->path, option_type_word(o->type), example_of(o));
}

void map_load(struct loader *l, struct yn map, const struct option *table, void *base, struct mark *seen,
              const char *noun)
{
    struct map_read r = {l, table, base, seen, noun};
    read_group(&r, map, "");
    for (const struct option *o = table; o->path; o++)
        if ((o->flags & OPT_REQUIRED) && !seen[o - table].line)
            missing(&r, o, map);
}

void option_set_node(struct loader *l, const struct option *o, struct yn n, void *base)
{
    bool list = option_element(o->type) != OPT_TYPES || o->type == OPT_ITEMS;
    if (o->type == OPT_CUSTOM) {
        o->parse(l, o, n, base);
        return;
    }
    if (list ? n.node->type != YAML_SEQUENCE_NODE : n.node->type != YAML_SCALAR_NODE) {
        faults_add(l->f, yn_mark(n), "%s is %s: write %s, such as %s", o->path, yn_kind(n),
                   option_type_word(o->type), example_of(o));
        if (o->type == OPT_ITEMS)
            l->incomplete[o->items->kind] = true;
        return;
    }
    if (o->type == OPT_ITEMS) {
        items_load(l, o, n, base);
        return;
    }
    if (list) {
        option_set_list(l, o, n, base);
        return;
    }
    const char *text = yn_text(n);
    struct buf why;
    if (!text) {
        faults_add(l->f, yn_mark(n), "%s holds a NUL character: write it without", o->path);
        return;
    }
    buf_init(&why, CD_KIB(4));
    char **field = (char **)((char *)base + o->offset);
    if (!option_set_text(o, text, base, &why)) {
        faults_add(l->f, yn_mark(n), "%s", buf_str(&why));
    } else if (o->type == OPT_PATH && *text) {
        char *full = path_resolve(l, text);
        free(*field);
        *field = full;
    } else if (o->refers && *text) {
        ref_add(l, o->refers, *field, yn_mark(n));
    }
    buf_free(&why);
}

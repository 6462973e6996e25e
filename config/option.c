/* Option rows: how a written value becomes a field. Strings are owned by the configuration and freed by the
 * same rows. A default that its own row refuses is a bug and panics; a value from a file gives a sentence
 * instead. */
#include "config/load.h"

#include <stdio.h>
#include <string.h>

static const struct type_info {
    const char *word, *example;
    enum opt_type element; /* of lists of texts */
} types[OPT_TYPES] = {
    [OPT_STRING] = {"a text", "\"some words\"", OPT_TYPES},
    [OPT_TEXT] = {"a text", "\"some words\"", OPT_TYPES},
    [OPT_NAME] = {"a name", "billing", OPT_TYPES},
    [OPT_MAIL] = {"a mail address", "care@example.com", OPT_TYPES},
    [OPT_PHONE] = {"a phone number", "\"+8613800138000\"", OPT_TYPES},
    [OPT_URL] = {"a URL", "https://hooks.example.com/c", OPT_TYPES},
    [OPT_BASE_URL] = {"a URL without a path", "https://complaints.example.com", OPT_TYPES},
    [OPT_PATH] = {"a path", "/etc/complaintd/file", OPT_TYPES},
    [OPT_HOST] = {"a host name", "mail.example.com", OPT_TYPES},
    [OPT_LANGUAGE] = {"a language", "en", OPT_TYPES},
    [OPT_ZONE] = {"a time zone", "Asia/Shanghai", OPT_TYPES},
    [OPT_COUNTRY] = {"a calling code", "\"86\"", OPT_TYPES},
    [OPT_SECRET] = {"a secret", "\"…\"", OPT_TYPES},
    [OPT_BOOL] = {"true or false", "true", OPT_TYPES},
    [OPT_TRISTATE] = {"true or false", "true", OPT_TYPES},
    [OPT_COUNT] = {"a whole number", "100", OPT_TYPES},
    [OPT_SIZE] = {"a size", "25MB", OPT_TYPES},
    [OPT_DURATION] = {"a duration", "90s", OPT_TYPES},
    [OPT_SECONDS] = {"a duration of whole seconds", "5s", OPT_TYPES},
    [OPT_CHOICE] = {"one of a few words", "one of them", OPT_TYPES},
    [OPT_CHOICE_TEXT] = {"one of a few words", "one of them", OPT_TYPES},
    [OPT_BITS] = {"a list of words", "[word, word]", OPT_CHOICE},
    [OPT_NAMES] = {"a list of names", "[billing, safety]", OPT_NAME},
    [OPT_STRINGS] = {"a list of texts", "[\"one\", \"two\"]", OPT_STRING},
    [OPT_MAILS] = {"a list of mail addresses", "[care@example.com]", OPT_MAIL},
    [OPT_LANGUAGES] = {"a list of languages", "[en, zh]", OPT_LANGUAGE},
    [OPT_LISTEN] = {"a list of addresses", "[\"127.0.0.1:2525\"]", OPT_STRING},
    [OPT_NETWORKS] = {"a list of networks", "[127.0.0.0/8, \"::1\"]", OPT_STRING},
    [OPT_ITEMS] = {"a list of groups of keys", "a line `- name: NAME` for each", OPT_TYPES},
    [OPT_CUSTOM] = {"a list", "[\"one\", \"two\"]", OPT_TYPES},
};

const char *option_type_word(enum opt_type t)
{
    return types[t].word;
}

const char *option_type_example(enum opt_type t)
{
    return types[t].example;
}

enum opt_type option_element(enum opt_type list)
{
    return types[list].element;
}

size_t options_count(const struct option *table)
{
    size_t n = 0;
    while (table[n].path)
        n++;
    return n;
}

static void store_number(const struct option *o, void *base, int64_t v)
{
    char *p = (char *)base + o->offset;
    uint8_t u8 = (uint8_t)v;
    uint32_t u32 = (uint32_t)v;
    switch (o->size) {
    case 1:
        memcpy(p, &u8, 1);
        break;
    case 4:
        memcpy(p, &u32, 4);
        break;
    default:
        cd_assert(o->size == 8);
        memcpy(p, &v, 8);
    }
}

static void store_text(const struct option *o, void *base, const char *text)
{
    char **p = (char **)((char *)base + o->offset);
    char *copy = cd_strdup(text);
    free(*p);
    *p = copy;
}

static int parse_count(const char *s, int64_t *ret)
{
    uint64_t v;
    if (s[0] == '0' && s[1]) /* other readers of YAML take it as octal */
        return -1;
    int r = str_parse_u64(s, INT64_MAX, &v);
    if (r == 0)
        *ret = (int64_t)v;
    return r;
}

/* 0 when `s` is a number of the option's type. */
static int parse_number(enum opt_type t, const char *s, int64_t *ret)
{
    uint64_t size;
    int r;
    switch (t) {
    case OPT_COUNT:
        return parse_count(s, ret);
    case OPT_SIZE:
        r = str_parse_size(s, &size);
        if (r == 0)
            *ret = (int64_t)size;
        return r;
    case OPT_SECONDS:
        r = str_parse_duration(s, ret);
        if (r == 0 && *ret % CD_SEC(1))
            return -1;
        *ret /= CD_SEC(1);
        return r;
    default:
        return str_parse_duration(s, ret);
    }
}

static void choices_list(const struct choice *c, struct buf *out)
{
    for (size_t i = 0; c[i].name; i++)
        buf_printf(out, "%s%s", i == 0 ? "" : c[i + 1].name ? ", " : " or ", c[i].name);
}

static const struct choice *choice_find(const struct choice *c, const char *text)
{
    for (; c->name; c++)
        if (str_eq(c->name, text))
            return c;
    return NULL;
}

static bool set_number(const struct option *o, const char *text, void *base, struct buf *why)
{
    int64_t v, lo = INT64_MIN, hi = INT64_MAX;
    int r = parse_number(o->type, text, &v);
    if (r < 0) {
        buf_printf(why, "%s is '%s', not %s: write for example %s", o->path, show(text), types[o->type].word,
                   o->def && *o->def ? o->def : types[o->type].example);
        return false;
    }
    cd_assert(!o->min || parse_number(o->type, o->min, &lo) == 0);
    cd_assert(!o->max || parse_number(o->type, o->max, &hi) == 0);
    if (v >= lo && v <= hi) {
        store_number(o, base, v);
        return true;
    }
    buf_printf(why, "%s is %s, which is too %s: write ", o->path, show(text), v < lo ? "small" : "big");
    if (o->min && o->max)
        buf_printf(why, "%s to %s", o->min, o->max);
    else
        buf_printf(why, "at %s %s", o->min ? "least" : "most", o->min ? o->min : o->max);
    return false;
}

static bool set_choice(const struct option *o, const char *text, void *base, struct buf *why)
{
    const struct choice *c = choice_find(o->choices, text);
    if (!c) {
        buf_printf(why, "%s can't be '%s': write ", o->path, show(text));
        choices_list(o->choices, why);
        return false;
    }
    if (o->type == OPT_CHOICE_TEXT)
        store_text(o, base, c->name);
    else
        store_number(o, base, c->value);
    return true;
}

static bool set_bool(const struct option *o, const char *text, void *base, struct buf *why)
{
    bool yes = str_eq(text, "true");
    if (!yes && !str_eq(text, "false")) {
        buf_printf(why, "%s is '%s': write true or false", o->path, show(text));
        return false;
    }
    store_number(o, base, yes);
    return true;
}

bool option_set_text(const struct option *o, const char *text, void *base, struct buf *why)
{
    switch (o->type) {
    case OPT_COUNT:
    case OPT_SIZE:
    case OPT_DURATION:
    case OPT_SECONDS:
        return set_number(o, text, base, why);
    case OPT_CHOICE:
    case OPT_CHOICE_TEXT:
        return set_choice(o, text, base, why);
    case OPT_BOOL:
    case OPT_TRISTATE:
        return set_bool(o, text, base, why);
    default:
        break;
    }
    const char *advice = NULL;
    if (*text)
        advice = option_check(o->type, text);
    else if ((o->flags & OPT_REQUIRED) || (o->def && *o->def))
        advice = types[o->type].example;
    if (advice && !*text)
        buf_printf(why, "%s is empty: write %s, such as %s", o->path, types[o->type].word, advice);
    else if (advice)
        buf_printf(why, "%s is '%s', not %s: %s", o->path, show(text), types[o->type].word, advice);
    else
        store_text(o, base, text);
    return !advice;
}

/* Which types hold one number or one string; lists begin as zero. */
static bool is_text(enum opt_type t)
{
    return t <= OPT_SECRET || t == OPT_CHOICE_TEXT;
}

void options_default(const struct option *table, void *base)
{
    for (const struct option *o = table; o->path; o++) {
        if (o->type == OPT_TRISTATE)
            store_number(o, base, -1);
        if (is_text(o->type))
            store_text(o, base, "");
        if (!o->def || !*o->def || option_element(o->type) != OPT_TYPES)
            continue;
        struct buf why;
        buf_init(&why, CD_KIB(4));
        cd_assert(option_set_text(o, o->def, base, &why));
        buf_free(&why);
    }
}

static void items_free(const struct option *o, void *base)
{
    char **array = (char **)((char *)base + o->offset);
    size_t *n = (size_t *)((char *)base + o->count_offset);
    for (size_t i = 0; i < *n; i++) {
        char *item = *array + i * o->items->item_size;
        options_free(o->items->options, item);
        if (o->items->free)
            o->items->free(item);
    }
    free(*array);
    *array = NULL;
    *n = 0;
}

static void listen_free(struct listen_addr *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(v[i].text);
        free(v[i].host);
        free(v[i].path);
    }
    free(v);
}

void options_free(const struct option *table, void *base)
{
    for (const struct option *o = table; o->path; o++) {
        char *p = (char *)base + o->offset;
        if (is_text(o->type))
            free(*(char **)p);
        else if (o->type == OPT_ITEMS)
            items_free(o, base);
        else if (o->type == OPT_LISTEN)
            listen_free(*(struct listen_addr **)p, *(size_t *)((char *)base + o->count_offset));
        else if (o->type == OPT_NETWORKS)
            free(*(struct network **)p);
        else if (o->type >= OPT_NAMES && o->type <= OPT_LANGUAGES)
            strlist_free((struct strlist *)p);
    }
}

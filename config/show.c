/* The values in use, by the option rows: what `complaintctl config show` prints. A secret is never given, only whether there is one; nor is the
 * digest of a token, which every client has, though its file may hold the token itself. Values
 * whose text stands in files of their own (rules, policies, calendars, templates) are left out. Texts are borrowed by the visitor for one
 * call. */
#include "config/load.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define AT(type, base, offset) ((const type *)(const void *)((const char *)(base) + (offset)))

struct walk {
    config_visit visit;
    void *arg;
};

static int64_t number_of(const struct option *o, const void *base)
{
    switch (o->size) {
    case 1:
        return *AT(uint8_t, base, o->offset);
    case 4:
        return *AT(int32_t, base, o->offset);
    default:
        return *AT(int64_t, base, o->offset);
    }
}

static void put_size(int64_t v, struct buf *out)
{
    static const struct {
        const char *word;
        int64_t bytes;
    } units[] = {{"GB", 1 << 30}, {"MB", 1 << 20}, {"kB", 1 << 10}};
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (v >= units[i].bytes && v % units[i].bytes == 0) {
            buf_printf(out, "%lld%s", (long long)(v / units[i].bytes), units[i].word);
            return;
        }
    buf_printf(out, "%lld", (long long)v);
}

static void put_duration(int64_t us, struct buf *out)
{
    char text[32];
    if (us % CD_SEC(1)) {
        buf_printf(out, "%lldms", (long long)(us / 1000));
        return;
    }
    str_format_duration(us, text);
    buf_append_str(out, text);
}

static void put_words(const struct option *o, int64_t v, struct buf *out)
{
    const char *between = "";
    for (const struct choice *c = o->choices; c->name; c++) {
        if (o->type == OPT_BITS ? !(v & c->value) : v != c->value)
            continue;
        buf_printf(out, "%s%s", between, c->name);
        between = ", ";
    }
}

static void put_networks(const struct network *v, size_t n, struct buf *out)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    for (size_t i = 0; i < n; i++) {
        char text[INET6_ADDRSTRLEN] = "";
        bool four = memcmp(v[i].addr, mapped, sizeof mapped) == 0 && v[i].bits >= 96;
        inet_ntop(four ? AF_INET : AF_INET6, four ? v[i].addr + 12 : v[i].addr, text, sizeof text);
        buf_printf(out, "%s%s/%d", i ? ", " : "", text, four ? v[i].bits - 96 : v[i].bits);
    }
}

static void put_list(const struct strlist *l, struct buf *out)
{
    for (size_t i = 0; i < l->n; i++)
        buf_printf(out, "%s%s", i ? ", " : "", l->v[i]);
}

static void put_listen(const struct listen_addr *v, size_t n, struct buf *out)
{
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%s%s", i ? ", " : "", v[i].text);
}

static bool is_hidden(const struct option *o)
{
    return o->type == OPT_SECRET || (o->flags & OPT_HIDDEN);
}

static void put_value(const struct option *o, const void *base, struct buf *out)
{
    switch (o->type) {
    case OPT_BOOL:
    case OPT_TRISTATE:
        if (number_of(o, base) >= 0)
            buf_append_str(out, number_of(o, base) ? "true" : "false");
        break;
    case OPT_COUNT:
        buf_printf(out, "%lld", (long long)number_of(o, base));
        break;
    case OPT_SIZE:
        put_size(number_of(o, base), out);
        break;
    case OPT_DURATION:
    case OPT_SECONDS:
        put_duration(number_of(o, base) * (o->type == OPT_SECONDS ? CD_SEC(1) : 1), out);
        break;
    case OPT_CHOICE:
    case OPT_BITS:
        put_words(o, number_of(o, base), out);
        break;
    case OPT_NAMES:
    case OPT_STRINGS:
    case OPT_MAILS:
    case OPT_LANGUAGES:
        put_list(AT(struct strlist, base, o->offset), out);
        break;
    case OPT_LISTEN:
        put_listen(*AT(struct listen_addr *, base, o->offset), *AT(size_t, base, o->count_offset), out);
        break;
    case OPT_NETWORKS:
        put_networks(*AT(struct network *, base, o->offset), *AT(size_t, base, o->count_offset), out);
        break;
    default: /* texts */
        buf_append_str(out, is_hidden(o) && **AT(char *, base, o->offset) ? "(secret)" : *AT(char *, base, o->offset));
    }
}

static void walk_table(const struct walk *w, const struct option *table, const void *base, const char *prefix, bool reloads);

/* Entries that have a name go by it, the others by their number from 1 on. */
static void walk_items(const struct walk *w, const struct option *o, const void *base, const char *prefix, bool reloads)
{
    const char *items = *AT(char *, base, o->offset);
    size_t n = *AT(size_t, base, o->count_offset);
    for (size_t i = 0; i < n; i++) {
        const char *item = items + i * o->items->item_size;
        const char *name = o->items->name_offset != NO_OFFSET ? *AT(char *, item, o->items->name_offset) : NULL;
        CD_CLEANUP_FREE char *deeper = name ? cd_asprintf("%s%s[%s].", prefix, o->path, name)
                                            : cd_asprintf("%s%s[%zu].", prefix, o->path, i + 1);
        walk_table(w, o->items->options, item, deeper, reloads);
    }
}

static void walk_table(const struct walk *w, const struct option *table, const void *base, const char *prefix, bool reloads)
{
    for (const struct option *o = table; o->path; o++) {
        bool follows = reloads || (o->flags & OPT_RELOAD);
        if (o->type == OPT_ITEMS)
            walk_items(w, o, base, prefix, follows);
        if (o->type == OPT_ITEMS || o->type == OPT_CUSTOM)
            continue;
        struct buf value;
        CD_CLEANUP_FREE char *path = cd_asprintf("%s%s", prefix, o->path);
        buf_init(&value, CD_MIB(1));
        put_value(o, base, &value);
        w->visit(w->arg, &(struct config_value){.path = path,
                                                .value = buf_str(&value),
                                                .def = is_hidden(o) || !o->def ? "" : o->def,
                                                .reloads = follows,
                                                .secret = is_hidden(o)});
        buf_free(&value);
    }
}

void config_show(const struct config *c, config_visit visit, void *arg)
{
    walk_table(&(struct walk){visit, arg}, root_options, c, "", false);
}

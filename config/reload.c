/* config_take: what a reload changes in the running configuration, by the option rows. The running tree stays where it is, so that
 * everybody's pointer to it holds; the values of reloadable options are exchanged with those of the fresh tree, which leaves with the
 * old ones and is freed by the caller once nobody can hold a string or list of them. Nothing here fails. */
#include "config/load.h"

#include <string.h>

#define AS(type, base, offset) ((const type *)(const void *)((const char *)(base) + (offset)))

/* ---- the same value? ---- */

static bool same_list(const struct strlist *a, const struct strlist *b)
{
    bool same = a->n == b->n;
    for (size_t i = 0; same && i < a->n; i++)
        same = str_eq(a->v[i], b->v[i]);
    return same;
}

static bool same_row(const struct option *o, const void *a, const void *b);

static bool same_items(const struct option *o, const void *a, const void *b)
{
    const char *va = *AS(char *, a, o->offset), *vb = *AS(char *, b, o->offset);
    size_t n = *AS(size_t, a, o->count_offset);
    if (n != *AS(size_t, b, o->count_offset))
        return false;
    for (size_t i = 0; i < n; i++)
        for (const struct option *row = o->items->options; row->path; row++)
            if (!same_row(row, va + i * o->items->item_size, vb + i * o->items->item_size))
                return false;
    return true;
}

static bool same_listen(const struct option *o, const void *a, const void *b)
{
    const struct listen_addr *va = *AS(struct listen_addr *, a, o->offset), *vb = *AS(struct listen_addr *, b, o->offset);
    size_t n = *AS(size_t, a, o->count_offset);
    bool same = n == *AS(size_t, b, o->count_offset);
    for (size_t i = 0; same && i < n; i++)
        same = str_eq(va[i].text, vb[i].text);
    return same;
}

static bool same_networks(const struct option *o, const void *a, const void *b)
{
    const struct network *va = *AS(struct network *, a, o->offset), *vb = *AS(struct network *, b, o->offset);
    size_t n = *AS(size_t, a, o->count_offset);
    bool same = n == *AS(size_t, b, o->count_offset);
    for (size_t i = 0; same && i < n; i++)
        same = va[i].bits == vb[i].bits && memcmp(va[i].addr, vb[i].addr, sizeof va[i].addr) == 0;
    return same;
}

static bool is_text(const struct option *o)
{
    return o->type <= OPT_SECRET || o->type == OPT_CHOICE_TEXT;
}

/* Rows that are parsed by a function of their own are told apart by same_files(). */
static bool same_row(const struct option *o, const void *a, const void *b)
{
    if (o->type == OPT_CUSTOM)
        return true;
    if (is_text(o))
        return str_eq(*AS(char *, a, o->offset), *AS(char *, b, o->offset));
    if (o->type == OPT_ITEMS)
        return same_items(o, a, b);
    if (o->type == OPT_LISTEN)
        return same_listen(o, a, b);
    if (o->type == OPT_NETWORKS)
        return same_networks(o, a, b);
    if (option_element(o->type) != OPT_TYPES && o->type != OPT_BITS)
        return same_list(AS(struct strlist, a, o->offset), AS(struct strlist, b, o->offset));
    return memcmp(AS(char, a, o->offset), AS(char, b, o->offset), o->size) == 0;
}

static bool same_policies(const struct config *a, const struct config *b)
{
    bool same = a->npolicies == b->npolicies;
    for (size_t i = 0; same && i < a->npolicies; i++)
        same = str_eq(a->policies[i].name, b->policies[i].name) && str_eq(a->policies[i].version, b->policies[i].version);
    return same;
}

static bool same_templates(const struct config *a, const struct config *b)
{
    bool same = a->ntemplates == b->ntemplates;
    for (size_t i = 0; same && i < a->ntemplates; i++) {
        const struct cfg_template *x = &a->templates[i], *y = &b->templates[i];
        same = str_eq(x->purpose, y->purpose) && str_eq(x->transport, y->transport) && str_eq(x->language, y->language) &&
               str_eq(x->desk, y->desk) && str_eq(x->subject, y->subject) && str_eq(x->text, y->text);
    }
    return same;
}

/* Options whose values stand in files of their own. */
static bool same_files(const struct option *o, const struct config *a, const struct config *b)
{
    if (o->parse == templates_dir_parse)
        return same_templates(a, b);
    if (o->parse != patterns_parse)
        return true;
    if (o->arg == REF_POLICY)
        return same_policies(a, b);
    if (o->arg == REF_CALENDAR)
        return same_row(&calendars_file_options[0], a, b);
    return str_eq(a->rules.version, b->rules.version);
}

static bool same(const struct option *o, const struct config *a, const struct config *b)
{
    return o->type == OPT_CUSTOM ? same_files(o, a, b) : same_row(o, a, b);
}

/* ---- exchange ---- */

static void exchange(void *a, void *b, size_t n)
{
    uint8_t *x = a, *y = b;
    for (size_t i = 0; i < n; i++) {
        uint8_t t = x[i];
        x[i] = y[i];
        y[i] = t;
    }
}

static bool is_array(const struct option *o)
{
    return o->type == OPT_ITEMS || o->type == OPT_LISTEN || o->type == OPT_NETWORKS;
}

static void exchange_row(const struct option *o, struct config *a, struct config *b)
{
    size_t n = is_array(o) ? sizeof(void *) : o->size;
    if (o->type == OPT_CUSTOM)
        return;
    exchange((char *)a + o->offset, (char *)b + o->offset, n);
    if (is_array(o))
        exchange((char *)a + o->count_offset, (char *)b + o->count_offset, sizeof(size_t));
}

#define EXCHANGE(field) exchange(&live->field, &fresh->field, sizeof live->field)

static void exchange_files(struct config *live, struct config *fresh)
{
    EXCHANGE(calendars);
    EXCHANGE(ncalendars);
    EXCHANGE(policies);
    EXCHANGE(npolicies);
    EXCHANGE(rules);
    EXCHANGE(templates);
    EXCHANGE(ntemplates);
    EXCHANGE(files);
    EXCHANGE(hash);
}

/* Listeners and certificates stay, while the file names that their places point to leave with the old values. */
static void forget_marks(struct config *c)
{
    struct listen_addr *all[] = {c->mail_listen, c->mail_listen_tls, c->mail_lmtp_listen, c->http_listen, c->metrics_listen, c->line_listen, c->line_listen_tls};
    const size_t n[] = {c->nmail_listen, c->nmail_listen_tls, c->nmail_lmtp_listen, c->nhttp_listen, c->nmetrics_listen, c->nline_listen, c->nline_listen_tls};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        for (size_t k = 0; k < n[i]; k++)
            all[i][k].mark = (struct mark){0};
    for (size_t i = 0; i < c->ncertificates; i++)
        c->certificates[i].mark = (struct mark){0};
}

void config_take(struct config *live, struct config *fresh, struct strlist *ret_changed, struct strlist *ret_restart)
{
    for (const struct option *o = root_options; o->path; o++) {
        if (!same(o, live, fresh))
            strlist_add(o->flags & OPT_RELOAD ? ret_changed : ret_restart, o->path);
        if (o->flags & OPT_RELOAD)
            exchange_row(o, live, fresh);
    }
    exchange_files(live, fresh);
    forget_marks(live);
}

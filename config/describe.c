/* Prints the option tables: what --describe-config shows, and what the manual is made of. */
#include "config/load.h"

#include <string.h>

static void describe_choices(const struct choice *c, struct buf *out)
{
    buf_append_str(out, ": ");
    for (size_t i = 0; c[i].name; i++)
        buf_printf(out, "%s%s", i ? "|" : "", c[i].name);
}

static const char *type_word(const struct option *o)
{
    const char *w = option_type_word(o->type);
    if (o->parse == patterns_parse)
        return "list of files";
    if (o->parse == templates_dir_parse)
        return "folder";
    if (o->type == OPT_CUSTOM)
        return "list of phrases";
    if (o->choices)
        return o->type == OPT_BITS ? "list of words" : "word";
    return str_starts(w, "a ") ? w + 2 : w;
}

static void describe_row(const struct option *o, const char *prefix, struct buf *out)
{
    buf_printf(out, "%s%s\n    %s", prefix, o->path, type_word(o));
    if (o->choices)
        describe_choices(o->choices, out);
    if (o->type == OPT_COUNT && o->unit)
        buf_printf(out, ", %s", o->unit);
    if (o->flags & OPT_REQUIRED)
        buf_append_str(out, "; required");
    else if (o->def && *o->def)
        buf_printf(out, "; default %s", o->def);
    if (o->min && o->max)
        buf_printf(out, "; %s to %s", o->min, o->max);
    if (o->type == OPT_SECRET)
        buf_append_str(out, "; secret, also as _file or _credential");
    if (o->flags & OPT_RELOAD)
        buf_append_str(out, "; reloadable");
    buf_printf(out, "\n    %s\n", o->doc);
}

static void describe_table(const struct option *table, const char *prefix, struct buf *out)
{
    for (const struct option *o = table; o->path; o++) {
        describe_row(o, prefix, out);
        if (o->type != OPT_ITEMS)
            continue;
        CD_CLEANUP_FREE char *deeper = cd_asprintf("%s%s[].", prefix, o->path);
        describe_table(o->items->options, deeper, out);
    }
}

void config_describe(struct buf *out)
{
    buf_append_str(out, "# The configuration file\n");
    describe_table(root_options, "", out);
    buf_append_str(out, "\n# Files that `rules` names\n");
    describe_table(rules_file_options, "", out);
    buf_append_str(out, "\n# Files that `policies` names\n");
    describe_table(policies_file_options, "", out);
    buf_append_str(out, "\n# Files that `calendars` names\n");
    describe_table(calendars_file_options, "", out);
    buf_append_str(out, "\n# Placeholders of templates\n");
    for (size_t i = 0; config_template_names[i]; i++)
        buf_printf(out, "{{%s}}\n", config_template_names[i]);
}

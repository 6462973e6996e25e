/* Prints the option tables, as text for a terminal and as markdown for docs/configuration.md: one walk, two ways to
 * write a row. Keeps nothing; what does not fit the buffer shows as buf.failed. */
#include "config/load.h"

#include <string.h>

static const char change_note[] =
    "The file is read when the daemon starts and again on SIGHUP (`systemctl reload complaintd`): then every option marked reloadable\n"
    "takes effect at once and without dropping a session, the others at the next start; the log says which. A file with a fault\n"
    "changes nothing: its faults are logged and the configuration in use stays.\n";
static const char secret_note[] =
    "A secret NAME may also be written as NAME_file (a path) or NAME_credential (systemd's LoadCredential=).\n";

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

static void put_type(const struct option *o, const char *between, struct buf *out)
{
    buf_append_str(out, type_word(o));
    for (size_t i = 0; o->choices && o->choices[i].name; i++)
        buf_printf(out, "%s%s", i ? between : ": ", o->choices[i].name);
    if (o->unit)
        buf_printf(out, ", %s", o->unit);
}

static void put_marks(const struct option *o, struct buf *out)
{
    if (o->flags & OPT_RELOAD)
        buf_append_str(out, "; reloadable");
    if (o->flags & OPT_INTERNAL)
        buf_append_str(out, "; for tests and measurements");
}

/* ---- text ---- */

static void text_row(const struct option *o, const char *prefix, struct buf *out)
{
    buf_printf(out, "%s%s\n    ", prefix, o->path);
    put_type(o, "|", out);
    if (o->flags & OPT_REQUIRED)
        buf_append_str(out, "; required");
    else if (o->def && *o->def)
        buf_printf(out, "; default %s", o->def);
    if (o->min && o->max)
        buf_printf(out, "; %s to %s", o->min, o->max);
    put_marks(o, out);
    buf_printf(out, "\n    %s\n", o->doc);
}

static void text_table(const struct option *table, const char *prefix, struct buf *out)
{
    for (const struct option *o = table; o->path; o++) {
        text_row(o, prefix, out);
        if (o->type != OPT_ITEMS)
            continue;
        CD_CLEANUP_FREE char *deeper = cd_asprintf("%s%s[].", prefix, o->path);
        text_table(o->items->options, deeper, out);
    }
}

/* ---- markdown ---- */

static void md_text(const char *s, struct buf *out)
{
    for (; *s; s++)
        buf_printf(out, strchr("*<|", *s) ? "\\%c" : "%c", *s);
}

static void md_head(struct buf *out)
{
    buf_append_str(out, "| key | value | default | meaning |\n|---|---|---|---|\n");
}

static void md_row(const struct option *o, const char *prefix, struct buf *out)
{
    buf_printf(out, "| `%s%s` | ", prefix, o->path);
    put_type(o, ", ", out);
    if (o->min && o->max)
        buf_printf(out, "; %s to %s", o->min, o->max);
    put_marks(o, out);
    if (o->flags & OPT_REQUIRED)
        buf_append_str(out, " | required | ");
    else if (o->def && *o->def)
        buf_printf(out, " | `%s` | ", o->def);
    else
        buf_append_str(out, " | | ");
    md_text(o->doc, out);
    buf_append_str(out, " |\n");
}

static size_t group_length(const char *path)
{
    const char *dot = strchr(path, '.');
    return dot ? (size_t)(dot - path) : 0;
}

/* The lists of a table: each has a part of its own, with the keys of one entry. */
static void md_lists(const struct option *table, const char *prefix, struct buf *out)
{
    for (const struct option *o = table; o->path; o++) {
        if (o->type != OPT_ITEMS)
            continue;
        CD_CLEANUP_FREE char *deeper = cd_asprintf("%s%s[].", prefix, o->path);
        buf_printf(out, "\n### `%s%s`: a list, each entry a %s\n\n", prefix, o->path, o->items->noun);
        md_text(o->doc, out);
        buf_printf(out, " At most %zu.\n\n", o->items->max);
        md_head(out);
        for (const struct option *i = o->items->options; i->path; i++)
            md_row(i, deeper, out);
        md_lists(o->items->options, deeper, out);
    }
}

static void md_root(struct buf *out)
{
    size_t group = 0;
    buf_append_str(out, "\n## The configuration file\n\n### Top level\n\n");
    md_head(out);
    for (const struct option *o = root_options; o->path; o++)
        if (!group_length(o->path))
            md_row(o, "", out);
    const char *before = "";
    for (const struct option *o = root_options; o->path; o++) {
        size_t n = group_length(o->path);
        if (!n)
            continue;
        if (n != group || strncmp(before, o->path, n) != 0) {
            buf_printf(out, "\n### `%.*s`\n\n", (int)n, o->path);
            md_head(out);
        }
        md_row(o, "", out);
        before = o->path;
        group = n;
    }
    md_lists(root_options, "", out);
}

/* ---- both ---- */

static const struct part {
    const char *title;
    const struct option *table;
} parts[] = {{"Files that `rules` names", rules_file_options},
             {"Files that `policies` names", policies_file_options},
             {"Files that `calendars` names", calendars_file_options}};

static void describe_text(struct buf *out)
{
    buf_printf(out, "# The configuration file\n%s%s", change_note, secret_note);
    text_table(root_options, "", out);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        buf_printf(out, "\n# %s\n", parts[i].title);
        text_table(parts[i].table, "", out);
    }
    buf_append_str(out, "\n# Placeholders of templates\n");
    for (size_t i = 0; config_template_names[i]; i++)
        buf_printf(out, "{{%s}}\n", config_template_names[i]);
}

static void describe_markdown(struct buf *out)
{
    buf_printf(out,
               "# Configuration reference\n\n<!-- Made by `complaintd --describe-config=markdown` from the option tables in "
               "config/*.c; do not edit: `cmake --build build/release --target reference` makes it anew. -->\n\n%s%s"
               "Sizes: 512, 64kB, 25MB, 1GB (powers of 1024). Durations: 250ms, 90s, 5min, 2h, 30d.\n"
               "`complaintd --check --config FILE` finds every fault, with its place and what to write instead.\n",
               change_note, secret_note);
    md_root(out);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        buf_printf(out, "\n## %s\n", parts[i].title);
        md_lists(parts[i].table, "", out);
    }
    buf_append_str(out, "\n## Placeholders of templates\n\n");
    for (size_t i = 0; config_template_names[i]; i++)
        buf_printf(out, "%s`{{%s}}`", i ? " " : "", config_template_names[i]);
    buf_append_str(out, "\n");
}

void config_describe(enum describe_form form, struct buf *out)
{
    if (form == DESCRIBE_MARKDOWN)
        describe_markdown(out);
    else
        describe_text(out);
}

/* Customers and absences for people. What customers and colleagues wrote is cleaned on its way out. */
#include <stdio.h>
#include <string.h>

#include "ctl/commands.h"
#include "ctl/text.h"

static const char *say_text(const json_t *o, const char *name)
{
    return json_string_value(json_object_get(o, name));
}

static const char *say_minute(const json_t *o, const char *name, char out[TIME_TEXT_SIZE])
{
    return time_minute(say_text(o, name), out);
}

static void say_line(struct buf *out, const char *name, enum colour c, const char *value)
{
    if (!value || !*value)
        return;
    buf_printf(out, "%-10s ", name);
    text_put(out, c, value);
    buf_append_char(out, '\n');
}

static void say_list(struct buf *out, const char *name, enum colour c, const json_t *list)
{
    struct buf text;
    size_t i;
    json_t *v;
    buf_init(&text, CD_KIB(64));
    json_array_foreach(list, i, v)
        buf_printf(&text, "%s%s", i ? ", " : "", json_is_string(v) ? json_string_value(v) : "?");
    say_line(out, name, c, buf_str(&text));
    buf_free(&text);
}

static void print_vulnerable(const json_t *v, struct buf *out)
{
    char t[TIME_TEXT_SIZE];
    size_t i;
    json_t *read;
    if (!v)
        return;
    buf_append_char(out, '\n');
    text_put(out, C_BOLD, "vulnerable (who reads this is written down)");
    buf_append_char(out, '\n');
    say_line(out, "driver", C_PLAIN, say_text(v, "driver"));
    say_line(out, "review", json_is_true(json_object_get(v, "review_due")) ? C_RED : C_PLAIN, say_text(v, "review"));
    say_line(out, "note", C_PLAIN, say_text(v, "note"));
    say_line(out, "set by", C_PLAIN, say_text(v, "by"));
    json_array_foreach(json_object_get(v, "reads"), i, read) {
        buf_printf(out, "%-10s %s ", i ? "" : "read", say_minute(read, "at", t));
        text_put(out, C_PLAIN, say_text(read, "who"));
        buf_append_char(out, '\n');
    }
}

static void print_history(const json_t *rows, struct buf *out)
{
    static const char *const headers[] = {"REF", "RECEIVED", "STATUS", "OUTCOME", "PRIORITY", "CATEGORY", "TEAM", "WHO", NULL};
    static const size_t max[] = {0, 0, 0, 0, 0, 20, 16, 16};
    struct table *t = table_new(headers, max);
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        char when[TIME_TEXT_SIZE];
        table_add(t, C_PLAIN, say_text(row, "ref"));
        table_add(t, C_PLAIN, say_minute(row, "received_at", when));
        table_add(t, C_PLAIN, say_text(row, "status"));
        table_add(t, C_PLAIN, say_text(row, "outcome"));
        table_add(t, C_PLAIN, say_text(row, "priority"));
        table_add(t, C_PLAIN, say_text(row, "category"));
        table_add(t, C_PLAIN, say_text(row, "team"));
        table_add(t, C_PLAIN, say_text(row, "assignee"));
    }
    table_print(&t, "", out);
}

void print_customer(const struct answer *a, struct buf *out)
{
    const json_t *c = a->body, *rows = json_object_get(c, "complaints");
    char t[TIME_TEXT_SIZE];
    size_t i;
    json_t *entry;
    say_line(out, "name", C_BOLD, say_text(c, "name"));
    say_list(out, "known as", C_PLAIN, json_object_get(c, "handles"));
    say_line(out, "language", C_PLAIN, say_text(c, "language"));
    say_list(out, "flags", C_YELLOW, json_object_get(c, "flags"));
    say_line(out, "since", C_PLAIN, say_minute(c, "since", t));
    print_vulnerable(json_object_get(c, "vulnerable"), out);
    if (json_array_size(json_object_get(c, "log")) > 0)
        buf_append_char(out, '\n');
    json_array_foreach(json_object_get(c, "log"), i, entry) {
        buf_printf(out, "%-10s %s ", i ? "" : "log", say_minute(entry, "at", t));
        text_put(out, C_PLAIN, say_text(entry, "actor"));
        buf_append_char(out, ' ');
        text_put(out, C_PLAIN, say_text(entry, "action"));
        buf_append_char(out, ' ');
        text_put(out, C_PLAIN, say_text(entry, "flag"));
        buf_append_char(out, '\n');
    }
    buf_printf(out, "\n%d of %d complaints\n", (int)json_array_size(rows), (int)json_integer_value(json_object_get(c, "total")));
    print_history(rows, out);
}

/* The strings of a list in one cell. */
static void put_words(struct table *t, enum colour c, const json_t *list)
{
    struct buf text;
    buf_init(&text, CD_KIB(64));
    text_join(list, " ", &text);
    table_add(t, c, buf_str(&text));
    buf_free(&text);
}

void print_customers(const struct answer *a, struct buf *out)
{
    static const char *const headers[] = {"NAME", "KNOWN AS", "FLAGS", "SINCE", "DRIVER", "REVIEW", NULL};
    static const size_t max[] = {30, 60, 30, 0, 0, 0};
    size_t i;
    json_t *row;
    if (json_array_size(a->rows) == 0) {
        buf_append_str(out, "no customers\n");
        return;
    }
    struct table *t = table_new(headers, max);
    json_array_foreach(a->rows, i, row) {
        const json_t *v = json_object_get(row, "vulnerable");
        char since[TIME_TEXT_SIZE];
        table_add(t, C_PLAIN, say_text(row, "name"));
        put_words(t, C_PLAIN, json_object_get(row, "handles"));
        put_words(t, C_YELLOW, json_object_get(row, "flags"));
        table_add(t, C_PLAIN, say_minute(row, "since", since));
        table_add(t, C_PLAIN, say_text(v, "driver"));
        table_add(t, json_is_true(json_object_get(v, "review_due")) ? C_RED : C_PLAIN, say_text(v, "review"));
    }
    table_print(&t, "", out);
    if (say_text(a->body, "next")) {
        buf_append_str(out, "more: --after ");
        text_put(out, C_PLAIN, say_text(a->body, "next"));
        buf_append_char(out, '\n');
    }
}

void print_absences(const struct answer *a, struct buf *out)
{
    static const char *const headers[] = {"WHO", "FROM", "UNTIL", "AWAY", "REASSIGN", "HAS", NULL};
    static const size_t max[] = {30, 0, 0, 0, 0, 0};
    const json_t *rows = json_object_get(a->body, "absences");
    size_t i;
    json_t *row;
    if (!rows)
        rows = a->rows;
    if (json_array_size(rows) == 0) {
        buf_append_str(out, "no absences\n");
        return;
    }
    struct table *t = table_new(headers, max);
    json_array_foreach(rows, i, row) {
        char from[TIME_TEXT_SIZE], until[TIME_TEXT_SIZE], has[16];
        snprintf(has, sizeof has, "%d", (int)json_integer_value(json_object_get(row, "open")));
        table_add(t, C_PLAIN, say_text(row, "who"));
        table_add(t, C_PLAIN, say_minute(row, "from", from));
        table_add(t, C_PLAIN, say_text(row, "until") ? say_minute(row, "until", until) : "until present");
        table_add(t, C_PLAIN, json_is_true(json_object_get(row, "now")) ? "now" : "later");
        table_add(t, C_PLAIN, json_is_true(json_object_get(row, "reassign")) ? "yes" : "no");
        table_add(t, C_PLAIN, has);
    }
    table_print(&t, "", out);
}

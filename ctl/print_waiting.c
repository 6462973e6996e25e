/* What waits to go out, what waits to be read, and the options in use, as tables. */
#include <stdio.h>
#include <string.h>

#include "ctl/commands.h"
#include "ctl/text.h"

static const char *str_of(const json_t *o, const char *name)
{
    const char *s = json_string_value(json_object_get(o, name));
    return s ? s : "";
}

static void add_number(struct table *t, const json_t *o, const char *name)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)json_integer_value(json_object_get(o, name)));
    table_add(t, C_PLAIN, text);
}

static void add_time(struct table *t, const json_t *o, const char *name)
{
    char text[TIME_TEXT_SIZE];
    table_add(t, C_PLAIN, time_text(str_of(o, name), text));
}

static void print_more(const struct answer *a, struct buf *out)
{
    if (!*str_of(a->body, "next"))
        return;
    buf_append_str(out, "more: --after ");
    text_put(out, C_PLAIN, str_of(a->body, "next"));
    buf_append_char(out, '\n');
}

/* A list answers with rows, a change with an object of a few fields. */
static bool is_list(const struct answer *a, const char *none, struct buf *out)
{
    if (!json_object_get(a->body, "rows")) {
        print_fields(a, out);
        return false;
    }
    if (json_array_size(a->rows) == 0)
        buf_printf(out, "%s\n", none);
    return json_array_size(a->rows) > 0;
}

void print_queue(const struct answer *a, struct buf *out)
{
    static const char *const headers[] = {"ID", "REF", "PURPOSE", "BY", "TO", "STATE", "TRIES", "NEXT", "LAST ERROR", NULL};
    static const size_t max[] = {0, 0, 0, 0, 32, 0, 0, 0, 48};
    static const char *const bad[] = {"failed", "dead", "expired"};
    static const size_t spare[] = {6, 3, 7, 2}; /* tries, by, next, purpose */
    size_t i;
    json_t *row;

    if (!is_list(a, "nothing waits to go out", out))
        return;
    struct table *t = table_new(headers, max);
    for (i = 0; i < ARRAY_LEN(spare); i++)
        table_spare(t, spare[i]);
    json_array_foreach(a->rows, i, row) {
        enum colour c = C_PLAIN;
        for (size_t k = 0; k < ARRAY_LEN(bad); k++)
            if (strcmp(str_of(row, "state"), bad[k]) == 0)
                c = C_RED;
        table_add(t, C_DIM, str_of(row, "id"));
        table_add(t, C_PLAIN, str_of(row, "ref"));
        table_add(t, C_PLAIN, str_of(row, "purpose"));
        table_add(t, C_PLAIN, str_of(row, "transport"));
        table_add(t, C_PLAIN, str_of(row, "recipient"));
        table_add(t, c, str_of(row, "state"));
        add_number(t, row, "attempts");
        add_time(t, row, "next_attempt_at");
        table_add(t, C_PLAIN, str_of(row, "last_error"));
    }
    table_print(&t, "", out);
    print_more(a, out);
}

void print_pending(const struct answer *a, struct buf *out)
{
    static const char *const headers[] = {"ID", "RECEIVED", "BYTES", "TRIES", "NEXT", "WHY", NULL};
    size_t i;
    json_t *row;

    if (!is_list(a, "nothing waits to be read", out))
        return;
    struct table *t = table_new(headers, NULL);
    json_array_foreach(a->rows, i, row) {
        table_add(t, C_DIM, str_of(row, "id"));
        add_time(t, row, "received_at");
        add_number(t, row, "bytes");
        add_number(t, row, "attempts");
        add_time(t, row, "next_attempt_at");
        table_add(t, C_PLAIN, str_of(row, "reason"));
    }
    table_print(&t, "", out);
    print_more(a, out);
}

void print_config(const struct answer *a, struct buf *out)
{
    static const char *const headers[] = {"OPTION", "RELOAD", "DEFAULT", "VALUE", NULL};
    static const size_t max[] = {0, 0, 40, 60};
    size_t i;
    json_t *row;

    struct table *t = table_new(headers, max);
    table_spare(t, 2); /* default */
    json_array_foreach(a->rows, i, row) {
        bool own = strcmp(str_of(row, "value"), str_of(row, "default")) != 0;
        table_add(t, C_PLAIN, str_of(row, "option"));
        table_add(t, C_PLAIN, json_is_true(json_object_get(row, "reloads")) ? "yes" : "");
        table_add(t, C_DIM, str_of(row, "default"));
        table_add(t, own ? C_BOLD : C_PLAIN, str_of(row, "value"));
    }
    table_print(&t, "", out);
    buf_printf(out, "instance %s, configuration %s; RELOAD: systemctl reload takes it over, the others need a restart\n",
               str_of(a->body, "instance"), str_of(a->body, "hash"));
}

/* Why messages are where they are: what each complaint that was thought of scored, for the first message and for those that followed. */
#include <stdio.h>
#include <string.h>

#include "ctl/commands.h"
#include "ctl/text.h"

static const char *text_of(const json_t *o, const char *name)
{
    return json_string_value(json_object_get(o, name));
}

/* "80 -12 age -40 drift" */
static void made_of(const json_t *points, struct buf *out)
{
    const char *name;
    json_t *v;
    buf_printf(out, "%d", (int)json_integer_value(json_object_get(points, "evidence")));
    json_object_foreach((json_t *)points, name, v)
        if (strcmp(name, "evidence") != 0)
            buf_printf(out, " %d %s", (int)json_integer_value(v), name);
}

static void add_candidate(struct table *t, const json_t *c)
{
    struct buf points;
    char score[24] = "", age[32] = "", drift[24] = "";
    buf_init(&points, CD_KIB(4));
    if (json_object_get(c, "score")) {
        snprintf(score, sizeof score, "%d", (int)json_integer_value(json_object_get(c, "score")));
        made_of(json_object_get(c, "points"), &points);
    }
    if (json_object_get(c, "drift"))
        snprintf(drift, sizeof drift, "%d %%", (int)json_integer_value(json_object_get(c, "drift")));
    if (json_object_get(c, "age"))
        snprintf(age, sizeof age, "%lld d", (long long)(json_integer_value(json_object_get(c, "age")) / 86400));
    table_add(t, C_PLAIN, text_of(c, "ref"));
    table_add(t, C_PLAIN, text_of(c, "evidence"));
    table_add(t, C_PLAIN, score);
    table_add(t, C_PLAIN, buf_str(&points));
    table_add(t, C_PLAIN, drift);
    table_add(t, C_PLAIN, age);
    table_add(t, C_PLAIN, text_of(c, "verdict"));
    table_add(t, C_PLAIN, text_of(c, "sender"));
    buf_free(&points);
}

static void print_candidates(const json_t *list, struct buf *out)
{
    static const char *const headers[] = {"COMPLAINT", "BY", "SCORE", "MADE OF", "DRIFT", "AGE", "VERDICT", "SENDER", NULL};
    static const size_t max[] = {20, 24, 0, 40, 0, 0, 40, 12};
    size_t i;
    json_t *c;
    struct table *t = table_new(headers, max);
    json_array_foreach(list, i, c)
        add_candidate(t, c);
    table_print(&t, "  ", out);
}

static void title_line(struct buf *out, const char *text)
{
    buf_append_char(out, '\n');
    text_put(out, C_BOLD, text);
    buf_append_char(out, '\n');
}

void print_threads(const json_t *first, const json_t *messages, struct buf *out)
{
    size_t i;
    json_t *m;
    if (json_array_size(first)) {
        title_line(out, "thread of the first message");
        print_candidates(first, out);
    }
    json_array_foreach(messages, i, m) {
        char title[160], at[TIME_TEXT_SIZE];
        if (!json_array_size(json_object_get(m, "thread")))
            continue;
        snprintf(title, sizeof title, "message %.36s of %s", text_of(m, "message") ? text_of(m, "message") : "", time_text(text_of(m, "at"), at));
        title_line(out, title);
        print_candidates(json_object_get(m, "thread"), out);
    }
}

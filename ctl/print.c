/* Answers for people: lists as tables, one complaint as a page. Everything that came from outside passes
 * text_clean. Missing fields print as nothing, so that an older or newer daemon is still readable. */
#include <stdio.h>
#include <string.h>

#include "ctl/commands.h"
#include "ctl/text.h"
#include "daemon/core/str.h"

static const char *str(const json_t *o, const char *name)
{
    return json_string_value(json_object_get(o, name));
}

static int integer(const json_t *o, const char *name)
{
    return (int)json_integer_value(json_object_get(o, name));
}

static const char *minute(const json_t *o, const char *name, char out[TIME_TEXT_SIZE])
{
    return time_minute(str(o, name), out);
}

static const char *when(const json_t *o, const char *name, char out[TIME_TEXT_SIZE])
{
    return time_text(str(o, name), out);
}

static enum colour priority_colour(const char *p)
{
    return !p ? C_PLAIN : strcmp(p, "critical") == 0 ? C_RED : strcmp(p, "high") == 0 ? C_YELLOW : C_PLAIN;
}

static void heading(struct buf *out, const char *text)
{
    buf_append_char(out, '\n');
    text_put(out, C_BOLD, text);
    buf_append_char(out, '\n');
}

static void field(struct buf *out, const char *name, const char *value)
{
    if (!value || !*value)
        return;
    buf_printf(out, "%-16s ", name);
    text_put(out, C_PLAIN, value);
    buf_append_char(out, '\n');
}

static void field_time(struct buf *out, const char *name, const json_t *o, const char *key)
{
    char t[TIME_TEXT_SIZE];
    field(out, name, when(o, key, t));
}

/* The strings of an array as "a, b". */
static void field_list(struct buf *out, const char *name, const json_t *list)
{
    struct buf text;
    buf_init(&text, CD_KIB(64));
    text_join(list, ", ", &text);
    field(out, name, buf_str(&text));
    buf_free(&text);
}

/* A value of any kind as one line. */
static void field_any(struct buf *out, const char *name, const json_t *v)
{
    char *text CD_CLEANUP_FREE = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
    if (json_is_string(v))
        field(out, name, json_string_value(v));
    else if (text && !json_is_null(v))
        field(out, name, text);
}

/* ---- list ---- */

void print_list(const struct answer *a, struct buf *out)
{
    static const char *const headers[] = {"REF", "PRIORITY", "STATUS", "CATEGORY", "TEAM",
                                          "WHO", "DUE",      "LEVEL",  "SUBJECT",  NULL};
    static const size_t max[] = {0, 0, 0, 20, 16, 16, 0, 0, 60};
    static const size_t spare[] = {7, 4, 5, 3, 1}; /* level, team, who, category, priority */
    size_t i;
    json_t *row;

    if (json_array_size(a->rows) == 0) {
        buf_append_str(out, "no complaints\n");
        return;
    }
    struct table *t = table_new(headers, max);
    for (i = 0; i < ARRAY_LEN(spare); i++)
        table_spare(t, spare[i]);
    json_array_foreach(a->rows, i, row) {
        const char *subject = str(row, "subject");
        bool overdue = json_is_true(json_object_get(row, "overdue"));
        char due[TIME_TEXT_SIZE], level[16];
        snprintf(level, sizeof level, "%d", integer(row, "escalation_level"));
        table_add(t, C_PLAIN, str(row, "ref"));
        table_add(t, priority_colour(str(row, "priority")), str(row, "priority"));
        table_add(t, C_PLAIN, str(row, "status"));
        table_add(t, C_PLAIN, str(row, "category"));
        table_add(t, C_PLAIN, str(row, "team"));
        table_add(t, C_PLAIN, str(row, "assignee"));
        table_add(t, overdue ? C_RED : C_PLAIN, minute(row, "due", due));
        table_add(t, C_PLAIN, level);
        table_add(t, C_PLAIN, subject && *subject ? subject : str(row, "text"));
    }
    table_print(&t, "", out);
    if (str(a->body, "next")) {
        buf_append_str(out, "more: --after ");
        text_put(out, C_PLAIN, str(a->body, "next"));
        buf_append_char(out, '\n');
    }
}

/* ---- parts of a complaint ---- */

/* What the sender wrote; what is quoted is folded into a line unless all is wanted. */
static void print_text(const json_t *m, bool full, struct buf *out)
{
    const char *text = full ? NULL : str(m, "text_new");
    int quoted = text ? integer(m, "quoted_lines") : 0;
    char line[100];
    if (!text)
        text = str(m, "body") ? str(m, "body") : "";
    if (*text)
        text_clean_block(text, 2, out);
    if (quoted > 0) {
        snprintf(line, sizeof line, "  \xe2\x80\xa6 %d quoted line%s, --full shows %s", quoted, quoted == 1 ? "" : "s",
                 quoted == 1 ? "it" : "them");
        text_put(out, C_DIM, line);
        buf_append_char(out, '\n');
    }
}

static void print_messages(const json_t *list, bool full, struct buf *out)
{
    static const char *const notes[][2] = {{"charset_note", "character set"}, {"security", "security"}};
    size_t i, k;
    json_t *m, *a;
    json_array_foreach(list, i, m) {
        bool sent = str(m, "direction") && strcmp(str(m, "direction"), "out") == 0;
        char t[TIME_TEXT_SIZE], line[400];
        snprintf(line, sizeof line, "%s %s, %s", sent ? "message sent by" : "message from",
                 str(m, "sender") ? str(m, "sender") : sent ? "us" : "the customer",
                 when(m, "received_at", t));
        heading(out, line);
        if (str(m, "id")) { /* for split */
            buf_append_str(out, "  ");
            text_put(out, C_DIM, str(m, "id"));
            buf_append_char(out, '\n');
        }
        if (str(m, "subject") && *str(m, "subject")) {
            buf_append_str(out, "  ");
            text_put(out, C_BOLD, str(m, "subject"));
            buf_append_str(out, "\n\n");
        }
        print_text(m, full, out);
        for (size_t n = 0; n < ARRAY_LEN(notes); n++) {
            if (!str(m, notes[n][0]))
                continue;
            buf_printf(out, "  %s: ", notes[n][1]);
            text_clean(str(m, notes[n][0]), 0, out);
            buf_append_char(out, '\n');
        }
        json_array_foreach(json_object_get(m, "attachments"), k, a) {
            snprintf(line, sizeof line, "  attachment %d: %s, ", integer(a, "n"), str(a, "filename") ? str(a, "filename") : "");
            text_clean(line, 0, out);
            print_attachment_type(a, out);
            buf_printf(out, ", %lld bytes\n", (long long)json_integer_value(json_object_get(a, "size_bytes")));
        }
    }
}

static void print_notes(const json_t *list, struct buf *out)
{
    size_t i;
    json_t *n;
    json_array_foreach(list, i, n) {
        char t[TIME_TEXT_SIZE], line[300];
        snprintf(line, sizeof line, "note of %s, %s", str(n, "actor") ? str(n, "actor") : "?",
                 when(n, "at", t));
        heading(out, line);
        text_clean_block(str(n, "body") ? str(n, "body") : "", 2, out);
    }
}

static void print_links(const json_t *list, struct buf *out)
{
    size_t i;
    json_t *l;
    json_array_foreach(list, i, l) {
        char line[100];
        snprintf(line, sizeof line, "%s (%s)", str(l, "ref") ? str(l, "ref") : "?",
                 str(l, "kind") ? str(l, "kind") : "?");
        field(out, "linked", line);
    }
}

/* ---- show, explain, stats ---- */

static void print_representative(const json_t *r, struct buf *out)
{
    static const char *const names[] = {"name", "relation", "authority", "email", "phone"};
    struct buf line;
    buf_init(&line, CD_KIB(8));
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str(r, names[i]))
            buf_printf(&line, "%s%s", line.len ? ", " : "", str(r, names[i]));
    field(out, "through", buf_str(&line));
    buf_free(&line);
}

static void print_head(const json_t *c, struct buf *out)
{
    static const char *const names[] = {
        "outcome",  "category",      "priority",       "team",           "assignee", "desk",  "channel",
        "language", "customer_name", "customer_email", "customer_phone", "policy",   "cause", "remedy"};
    char line[100];
    snprintf(line, sizeof line, "%s  %s", str(c, "ref") ? str(c, "ref") : "?",
             str(c, "status") ? str(c, "status") : "");
    text_put(out, C_BOLD, line);
    buf_append_char(out, '\n');
    field(out, "subject", str(c, "subject"));
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        field(out, names[i], str(c, names[i]));
    field(out, "wants", str(c, "remedy_sought"));
    print_representative(json_object_get(c, "representative"), out);
    field_list(out, "tags", json_object_get(c, "tags"));
    if (json_is_true(json_object_get(c, "degraded")))
        field(out, "degraded", "not all of it could be decoded in full: attachment REF 0 gives the original");
    field(out, "scan", str(c, "scan"));
    field_time(out, "received", c, "received_at");
    field_time(out, "acknowledged", c, "acknowledged_at");
    field_time(out, "taken", c, "acked_at");
    field(out, "taken by", str(c, "acked_by"));
    field_time(out, "answered", c, "responded_at");
    field_time(out, "waits until", c, "waiting_until");
    field_time(out, "resolved", c, "resolved_at");
    field_time(out, "closed", c, "closed_at");
    field_time(out, json_is_true(json_object_get(c, "overdue")) ? "overdue since" : "next due", c, "due");
}

void print_show(const struct answer *a, struct buf *out)
{
    const json_t *c = a->body;
    print_head(c, out);
    if (a->asked) {
        char line[80];
        snprintf(line, sizeof line, "%s, which was merged into this one", a->asked);
        field(out, "asked for", line);
    }
    print_links(json_object_get(c, "links"), out);
    print_messages(json_object_get(c, "messages"), a->full, out);
    print_notes(json_object_get(c, "notes"), out);
    print_deadlines(json_object_get(c, "deadlines"), out);
    print_steps(json_object_get(c, "steps"), a->full, out);
    print_notifications(json_object_get(c, "notifications"), a->full, out);
    print_events(json_object_get(c, "events"), a->full, out);
}

static void print_rules(const json_t *rules, struct buf *out)
{
    static const char *const headers[] = {"RULE", "BECAUSE OF", "GAVE", NULL};
    static const size_t max[] = {40, 60, 80};
    size_t i, k;
    json_t *r, *w;

    heading(out, "rules that held");
    if (json_array_size(rules) == 0) {
        buf_append_str(out, "  none\n");
        return;
    }
    struct table *t = table_new(headers, max);
    json_array_foreach(rules, i, r) {
        struct buf words;
        char *gave CD_CLEANUP_FREE = json_dumps(json_object_get(r, "gave"), JSON_COMPACT);
        buf_init(&words, CD_KIB(64));
        json_array_foreach(json_object_get(r, "words"), k, w)
            buf_printf(&words, "%s\"%s\"", k ? " " : "", json_is_string(w) ? json_string_value(w) : "?");
        table_add(t, C_PLAIN, str(r, "id"));
        table_add(t, C_PLAIN, buf_str(&words));
        table_add(t, C_PLAIN, gave);
        buf_free(&words);
    }
    table_print(&t, "  ", out);
}

static void print_decision(const json_t *decision, struct buf *out)
{
    const char *name;
    json_t *v;
    print_rules(json_object_get(decision, "rules"), out);
    heading(out, "decision");
    json_object_foreach((json_t *)decision, name, v)
        if (strcmp(name, "rules") != 0 && strcmp(name, "thread") != 0 &&
            (json_is_string(v) || json_object_size(v) > 0 || json_array_size(v) > 0))
            field_any(out, name, v);
}

void print_explain(const struct answer *a, struct buf *out)
{
    const json_t *c = a->body, *ack = json_object_get(c, "acknowledgement");
    print_head(c, out);
    print_links(json_object_get(c, "links"), out);
    print_decision(json_object_get(c, "decision"), out);
    print_threads(json_object_get(json_object_get(c, "decision"), "thread"), json_object_get(c, "messages"), out);
    if (json_is_object(ack)) {
        heading(out, "acknowledgement");
        field(out, "state", str(ack, "state"));
        field(out, "by", str(ack, "transport"));
        field(out, "to", str(ack, "recipient"));
        field_time(out, "sent", ack, "sent_at");
        field(out, "why", str(ack, "last_error"));
    }
    print_deadlines(json_object_get(c, "deadlines"), out);
    print_steps(json_object_get(c, "steps"), a->full, out);
}

void print_fields(const struct answer *a, struct buf *out)
{
    static const char *const first[] = {"ref", "status"}; /* what it is about, and how that stands now */
    const char *name;
    json_t *v;
    for (size_t i = 0; i < ARRAY_LEN(first); i++)
        field(out, first[i], str(a->body, first[i]));
    json_object_foreach(a->body, name, v) {
        char t[TIME_TEXT_SIZE];
        if (json_is_string(v) && (str_eq(name, first[0]) || str_eq(name, first[1])))
            continue;
        if (json_is_string(v))
            field(out, name, when(a->body, name, t));
        else
            field_any(out, name, v);
    }
}

/* STATS: single values first, then each group of them under its name. */
static void print_group(const json_t *o, const char *title, unsigned depth, struct buf *out)
{
    const char *name;
    json_t *v;

    if (title)
        heading(out, title);
    json_object_foreach((json_t *)o, name, v) {
        char t[TIME_TEXT_SIZE];
        if (json_is_object(v))
            continue;
        if (title)
            buf_append_str(out, "  ");
        if (json_is_string(v))
            field(out, name, when(o, name, t));
        else
            field_any(out, name, v);
    }
    json_object_foreach((json_t *)o, name, v) {
        char sub[200];
        if (!json_is_object(v) || json_object_size(v) == 0 || depth == 0)
            continue;
        snprintf(sub, sizeof sub, "%s%s%s", title ? title : "", title ? ", " : "", name);
        print_group(v, sub, depth - 1, out);
    }
}

void print_stats(const struct answer *a, struct buf *out)
{
    print_group(a->body, NULL, 4, out);
}

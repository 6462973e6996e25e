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
    size_t i;
    json_t *v;

    buf_init(&text, CD_KIB(64));
    json_array_foreach(list, i, v)
        buf_printf(&text, "%s%s", i ? ", " : "", json_is_string(v) ? json_string_value(v) : "?");
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

static const char *deadline_state(const json_t *d, const char **ret_time, enum colour *ret_colour)
{
    static const struct {
        const char *key, *word;
        enum colour colour;
    } states[] = {
        {"cancelled_at", "cancelled", C_DIM}, {"breached_at", "missed", C_RED}, {"met_at", "met", C_GREEN}};
    for (size_t i = 0; i < ARRAY_LEN(states); i++) {
        if (!str(d, states[i].key))
            continue;
        *ret_time = str(d, "met_at") ? "met_at" : states[i].key;
        *ret_colour = states[i].colour;
        return str(d, "met_at") && states[i].colour == C_RED ? "met late" : states[i].word;
    }
    *ret_time = "";
    *ret_colour = C_PLAIN;
    return "running";
}

static void print_deadlines(const json_t *list, struct buf *out)
{
    static const char *const headers[] = {"DEADLINE", "FAMILY", "DUE", "STATE", "AT", "HOW", NULL};
    size_t i;
    json_t *d;

    if (json_array_size(list) == 0)
        return;
    heading(out, "deadlines");
    struct table *t = table_new(headers, NULL);
    table_spare(t, 1); /* family */
    json_array_foreach(list, i, d) {
        const json_t *how = json_object_get(d, "explanation");
        const char *time;
        enum colour c;
        const char *state = deadline_state(d, &time, &c);
        char due[TIME_TEXT_SIZE], at[TIME_TEXT_SIZE], text[200];
        snprintf(text, sizeof text, "%s from %s, calendar %s, policy %s",
                 str(how, "target") ? str(how, "target") : "?", str(how, "anchor") ? str(how, "anchor") : "?",
                 str(d, "calendar") ? str(d, "calendar") : "?", str(d, "policy") ? str(d, "policy") : "?");
        table_add(t, C_PLAIN, str(d, "kind"));
        table_add(t, C_PLAIN, str(d, "family"));
        table_add(t, C_PLAIN, when(d, "due_at", due));
        table_add(t, c, state);
        table_add(t, C_PLAIN, when(d, time, at));
        table_add(t, C_DIM, text);
    }
    table_print(&t, "  ", out);
}

/* "  … 7 more, --full shows them" */
static void folded(struct buf *out, size_t n, const char *what)
{
    char line[120];
    if (!n)
        return;
    snprintf(line, sizeof line, "  \xe2\x80\xa6 %zu more%s, --full shows %s", n, what, n == 1 ? "it" : "them");
    text_put(out, C_DIM, line);
    buf_append_char(out, '\n');
}

static const char *step_state(const json_t *s)
{
    return str(s, "fired_at") ? "fired" : str(s, "stopped_at") ? "stopped" : "waiting";
}

static bool steps_alike(const json_t *a, const json_t *b)
{
    return integer(a, "level") == integer(b, "level") && str_eq(step_state(a), step_state(b));
}

/* A repeat between two of its like, which only says that the ladder went on, or will. */
static bool step_between(const json_t *list, size_t i)
{
    const json_t *s = json_array_get(list, i);
    return i > 0 && i + 1 < json_array_size(list) && steps_alike(s, json_array_get(list, i - 1)) && steps_alike(s, json_array_get(list, i + 1));
}

static void print_steps(const json_t *list, bool full, struct buf *out)
{
    static const char *const headers[] = {"LEVEL", "REPEAT", "DUE", "STATE", "AT", "BY", NULL};
    size_t i, hidden = 0;
    json_t *s;

    if (json_array_size(list) == 0)
        return;
    heading(out, "escalation steps");
    struct table *t = table_new(headers, NULL);
    json_array_foreach(list, i, s) {
        bool fired = str(s, "fired_at");
        char due[TIME_TEXT_SIZE], at[TIME_TEXT_SIZE], level[16], repeat[16];
        if (!full && step_between(list, i)) {
            hidden++;
            continue;
        }
        snprintf(level, sizeof level, "%d", integer(s, "level"));
        snprintf(repeat, sizeof repeat, "%d", integer(s, "repeat"));
        table_add(t, C_PLAIN, level);
        table_add(t, C_PLAIN, repeat);
        table_add(t, C_PLAIN, when(s, "due_at", due));
        table_add(t, fired ? C_RED : C_PLAIN, step_state(s));
        table_add(t, C_PLAIN, when(s, fired ? "fired_at" : "stopped_at", at));
        table_add(t, C_PLAIN, str(s, "stop_reason"));
    }
    table_print(&t, "  ", out);
    folded(out, hidden, " repeats between these");
}

static enum colour state_colour(const char *s)
{
    static const char *const bad[] = {"failed", "dead", "expired", "unknown"};
    for (size_t i = 0; s && i < ARRAY_LEN(bad); i++)
        if (strcmp(s, bad[i]) == 0)
            return C_RED;
    return s && (strcmp(s, "sent") == 0 || strcmp(s, "delivered") == 0) ? C_GREEN : C_PLAIN;
}

#define STAFF_TOLD 4

static bool staff_was_told(const char *purpose, const char *state)
{
    return str_eq(purpose, "escalation") && str_eq(state, "sent");
}

/* Of what reached the staff only the last few matter to most readers. */
static size_t notifications_folded(const json_t *list)
{
    size_t i, n = 0;
    json_t *v;
    json_array_foreach(list, i, v)
        n += staff_was_told(str(v, "purpose"), str(v, "state"));
    return n > STAFF_TOLD ? n - STAFF_TOLD : 0;
}

static void print_notifications(const json_t *list, bool full, struct buf *out)
{
    static const char *const headers[] = {"NOTIFICATION", "LEVEL", "BY",         "TO", "STATE",
                                          "TRIES",        "SENT",  "LAST ERROR", NULL};
    static const size_t max[] = {0, 0, 0, 40, 0, 0, 0, 60};
    size_t i, hidden = full ? 0 : notifications_folded(list), left = hidden;
    json_t *n;

    if (json_array_size(list) == 0)
        return;
    heading(out, "notifications");
    struct table *t = table_new(headers, max);
    table_spare(t, 5); /* tries */
    json_array_foreach(list, i, n) {
        char sent[TIME_TEXT_SIZE], level[16] = "", tries[16];
        if (left && staff_was_told(str(n, "purpose"), str(n, "state"))) {
            left--;
            continue;
        }
        if (json_is_integer(json_object_get(n, "level")))
            snprintf(level, sizeof level, "%d", integer(n, "level"));
        snprintf(tries, sizeof tries, "%d", integer(n, "attempts"));
        table_add(t, C_PLAIN, str(n, "purpose"));
        table_add(t, C_PLAIN, level);
        table_add(t, C_PLAIN, str(n, "transport"));
        table_add(t, C_PLAIN, str(n, "recipient"));
        table_add(t, state_colour(str(n, "state")), str(n, "state"));
        table_add(t, C_PLAIN, tries);
        table_add(t, C_PLAIN, when(n, "sent_at", sent));
        table_add(t, C_PLAIN, str(n, "last_error"));
    }
    table_print(&t, "  ", out);
    folded(out, hidden, ", earlier ones to the staff");
}

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

/* What a step of the ladder leaves behind; the steps are shown by themselves. */
static bool event_of_ladder(const json_t *e)
{
    return str_eq(str(e, "kind"), "escalated") || (str_eq(str(e, "kind"), "notification-sent") && str_eq(str(json_object_get(e, "data"), "purpose"), "escalation"));
}

static void print_events(const json_t *list, bool full, struct buf *out)
{
    static const char *const headers[] = {"EVENT", "AT", "BY", "WHAT", "DATA", NULL};
    static const size_t max[] = {0, 0, 24, 0, 90};
    struct table *t = NULL;
    size_t i, hidden = 0;
    json_t *e;

    if (json_array_size(list) == 0)
        return;
    heading(out, "events");
    json_array_foreach(list, i, e) {
        char at[TIME_TEXT_SIZE], seq[16];
        if (!full && event_of_ladder(e)) {
            hidden++;
            continue;
        }
        char *data CD_CLEANUP_FREE = json_dumps(json_object_get(e, "data"), JSON_COMPACT);
        snprintf(seq, sizeof seq, "%d", integer(e, "seq"));
        if (!t)
            t = table_new(headers, max);
        table_add(t, C_PLAIN, seq);
        table_add(t, C_PLAIN, when(e, "at", at));
        table_add(t, C_PLAIN, str(e, "actor"));
        table_add(t, C_PLAIN, str(e, "kind"));
        table_add(t, C_DIM, data);
    }
    if (t)
        table_print(&t, "  ", out);
    folded(out, hidden, " of the ladder");
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
        field(out, "degraded", "could not be decoded in full: look at the original");
    field(out, "scan", str(c, "scan"));
    field_time(out, "received", c, "received_at");
    field_time(out, "acknowledged", c, "acknowledged_at");
    field_time(out, "taken", c, "acked_at");
    field(out, "taken by", str(c, "acked_by"));
    field_time(out, "answered", c, "responded_at");
    field_time(out, "waits until", c, "waiting_until");
    field_time(out, "resolved", c, "resolved_at");
    field_time(out, "closed", c, "closed_at");
    field_time(out, "next due", c, "due");
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
    const char *name;
    json_t *v;
    json_object_foreach(a->body, name, v) {
        char t[TIME_TEXT_SIZE];
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

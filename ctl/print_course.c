/* The course of a complaint for people: deadlines, steps of the ladder, notifications, events. What only says that the ladder went on is
 * folded unless all is wanted. Everything passes text_clean; missing fields print as nothing. */
#include <stdio.h>
#include <string.h>

#include "ctl/commands.h"
#include "ctl/text.h"
#include "daemon/core/str.h"

static const char *said(const json_t *o, const char *name)
{
    return json_string_value(json_object_get(o, name));
}

static int number(const json_t *o, const char *name)
{
    return (int)json_integer_value(json_object_get(o, name));
}

static const char *moment(const json_t *o, const char *name, char out[TIME_TEXT_SIZE])
{
    return time_text(said(o, name), out);
}

static void part(struct buf *out, const char *text)
{
    buf_append_char(out, '\n');
    text_put(out, C_BOLD, text);
    buf_append_char(out, '\n');
}

static const char *deadline_state(const json_t *d, const char **ret_time, enum colour *ret_colour)
{
    static const struct {
        const char *key, *word;
        enum colour colour;
    } states[] = {
        {"cancelled_at", "cancelled", C_DIM}, {"breached_at", "missed", C_RED}, {"met_at", "met", C_GREEN}};
    for (size_t i = 0; i < ARRAY_LEN(states); i++) {
        if (!said(d, states[i].key))
            continue;
        *ret_time = said(d, "met_at") ? "met_at" : states[i].key;
        *ret_colour = states[i].colour;
        return said(d, "met_at") && states[i].colour == C_RED ? "met late" : states[i].word;
    }
    *ret_time = "";
    *ret_colour = C_PLAIN;
    return "running";
}

void print_deadlines(const json_t *list, struct buf *out)
{
    static const char *const headers[] = {"DEADLINE", "FAMILY", "DUE", "STATE", "AT", "HOW", NULL};
    size_t i;
    json_t *d;

    if (json_array_size(list) == 0)
        return;
    part(out, "deadlines");
    struct table *t = table_new(headers, NULL);
    table_spare(t, 1); /* family */
    json_array_foreach(list, i, d) {
        const json_t *how = json_object_get(d, "explanation");
        const char *time;
        enum colour c;
        const char *state = deadline_state(d, &time, &c);
        char due[TIME_TEXT_SIZE], at[TIME_TEXT_SIZE], text[200];
        snprintf(text, sizeof text, "%s from %s, calendar %s, policy %s",
                 said(how, "target") ? said(how, "target") : "?", said(how, "anchor") ? said(how, "anchor") : "?",
                 said(d, "calendar") ? said(d, "calendar") : "?", said(d, "policy") ? said(d, "policy") : "?");
        table_add(t, C_PLAIN, said(d, "kind"));
        table_add(t, C_PLAIN, said(d, "family"));
        table_add(t, C_PLAIN, moment(d, "due_at", due));
        table_add(t, c, state);
        table_add(t, C_PLAIN, moment(d, time, at));
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
    return said(s, "fired_at") ? "fired" : said(s, "stopped_at") ? "stopped" : "waiting";
}

static bool steps_alike(const json_t *a, const json_t *b)
{
    return number(a, "level") == number(b, "level") && str_eq(step_state(a), step_state(b));
}

/* A repeat between two of its like, which only says that the ladder went on, or will. */
static bool step_between(const json_t *list, size_t i)
{
    const json_t *s = json_array_get(list, i);
    return i > 0 && i + 1 < json_array_size(list) && steps_alike(s, json_array_get(list, i - 1)) && steps_alike(s, json_array_get(list, i + 1));
}

void print_steps(const json_t *list, bool full, struct buf *out)
{
    static const char *const headers[] = {"LEVEL", "REPEAT", "DUE", "STATE", "AT", "BY", NULL};
    size_t i, hidden = 0;
    json_t *s;

    if (json_array_size(list) == 0)
        return;
    part(out, "escalation steps");
    struct table *t = table_new(headers, NULL);
    json_array_foreach(list, i, s) {
        bool fired = said(s, "fired_at");
        char due[TIME_TEXT_SIZE], at[TIME_TEXT_SIZE], level[16], repeat[16];
        if (!full && step_between(list, i)) {
            hidden++;
            continue;
        }
        snprintf(level, sizeof level, "%d", number(s, "level"));
        snprintf(repeat, sizeof repeat, "%d", number(s, "repeat"));
        table_add(t, C_PLAIN, level);
        table_add(t, C_PLAIN, repeat);
        table_add(t, C_PLAIN, moment(s, "due_at", due));
        table_add(t, fired ? C_RED : C_PLAIN, step_state(s));
        table_add(t, C_PLAIN, moment(s, fired ? "fired_at" : "stopped_at", at));
        table_add(t, C_PLAIN, said(s, "stop_reason"));
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
        n += staff_was_told(said(v, "purpose"), said(v, "state"));
    return n > STAFF_TOLD ? n - STAFF_TOLD : 0;
}

void print_notifications(const json_t *list, bool full, struct buf *out)
{
    static const char *const headers[] = {"NOTIFICATION", "LEVEL", "BY",         "TO", "STATE",
                                          "TRIES",        "SENT",  "LAST ERROR", NULL};
    static const size_t max[] = {0, 0, 0, 40, 0, 0, 0, 60};
    size_t i, hidden = full ? 0 : notifications_folded(list), left = hidden;
    json_t *n;

    if (json_array_size(list) == 0)
        return;
    part(out, "notifications");
    struct table *t = table_new(headers, max);
    table_spare(t, 5); /* tries */
    json_array_foreach(list, i, n) {
        char sent[TIME_TEXT_SIZE], level[16] = "", tries[16];
        if (left && staff_was_told(said(n, "purpose"), said(n, "state"))) {
            left--;
            continue;
        }
        if (json_is_integer(json_object_get(n, "level")))
            snprintf(level, sizeof level, "%d", number(n, "level"));
        snprintf(tries, sizeof tries, "%d", number(n, "attempts"));
        table_add(t, C_PLAIN, said(n, "purpose"));
        table_add(t, C_PLAIN, level);
        table_add(t, C_PLAIN, said(n, "transport"));
        table_add(t, C_PLAIN, said(n, "recipient"));
        table_add(t, state_colour(said(n, "state")), said(n, "state"));
        table_add(t, C_PLAIN, tries);
        table_add(t, C_PLAIN, moment(n, "sent_at", sent));
        table_add(t, C_PLAIN, said(n, "last_error"));
    }
    table_print(&t, "  ", out);
    folded(out, hidden, ", earlier ones to the staff");
}

/* What a step of the ladder leaves behind; the steps are shown by themselves. */
static bool event_of_ladder(const json_t *e)
{
    return str_eq(said(e, "kind"), "escalated") || (str_eq(said(e, "kind"), "notification-sent") && str_eq(said(json_object_get(e, "data"), "purpose"), "escalation"));
}

void print_events(const json_t *list, bool full, struct buf *out)
{
    static const char *const headers[] = {"EVENT", "AT", "BY", "WHAT", "DATA", NULL};
    static const size_t max[] = {0, 0, 24, 0, 90};
    struct table *t = NULL;
    size_t i, hidden = 0;
    json_t *e;

    if (json_array_size(list) == 0)
        return;
    part(out, "events");
    json_array_foreach(list, i, e) {
        char at[TIME_TEXT_SIZE], seq[16];
        if (!full && event_of_ladder(e)) {
            hidden++;
            continue;
        }
        char *data CD_CLEANUP_FREE = json_dumps(json_object_get(e, "data"), JSON_COMPACT);
        snprintf(seq, sizeof seq, "%d", number(e, "seq"));
        if (!t)
            t = table_new(headers, max);
        table_add(t, C_PLAIN, seq);
        table_add(t, C_PLAIN, moment(e, "at", at));
        table_add(t, C_PLAIN, said(e, "actor"));
        table_add(t, C_PLAIN, said(e, "kind"));
        table_add(t, C_DIM, data);
    }
    if (t)
        table_print(&t, "  ", out);
    folded(out, hidden, " of the ladder");
}

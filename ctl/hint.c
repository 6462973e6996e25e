/* What may help somebody whose command failed: the word that was meant, what an option takes, the states in which a change is
 * possible. Standard error, behind what went wrong. Nothing is owned here. */
#include <stdio.h>
#include <string.h>

#include "ctl/commands.h"
#include "ctl/text.h"
#include "daemon/cases/lifecycle.h"
#include "daemon/core/str.h"

#define LONGEST_WORD 24
#define MOST_SLIPS 2

/* How many letters to put in, take out, change or swap with their neighbour make one of the other; words up to LONGEST_WORD. */
static size_t slips(const char *a, size_t na, const char *b)
{
    size_t nb = strlen(b), row[3][LONGEST_WORD + 1];
    for (size_t k = 0; k <= nb; k++)
        row[0][k] = k;
    for (size_t i = 1; i <= na; i++) {
        size_t *now = row[i % 3], *before = row[(i + 2) % 3], *earlier = row[(i + 1) % 3];
        now[0] = i;
        for (size_t k = 1; k <= nb; k++) {
            now[k] = CD_MIN(CD_MIN(before[k] + 1, now[k - 1] + 1), before[k - 1] + (a[i - 1] != b[k - 1]));
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1])
                now[k] = CD_MIN(now[k], earlier[k - 2] + 1);
        }
    }
    return row[na % 3][nb];
}

void nearest_begin(struct nearest *n, const char *word, size_t len)
{
    *n = (struct nearest){.word = word, .len = len, .slips = MOST_SLIPS + 1};
}

void nearest_try(struct nearest *n, const char *name)
{
    if (n->len > LONGEST_WORD || n->len < 2 || strlen(name) > LONGEST_WORD)
        return;
    size_t s = strncmp(name, n->word, n->len) == 0 ? 1 : slips(n->word, n->len, name); /* the beginning of a name means it */
    if (s < n->slips && s < n->len) {
        n->slips = s;
        n->name = name;
    }
}

/* The states in which the verb is possible, from the table that the daemon goes by. */
static bool possible_states(const char *verb, char from[LIFECYCLE_ARRAY_SIZE])
{
    char to[LIFECYCLE_ARRAY_SIZE];
    for (int a = 0; verb && a < ACTION_MESSAGE; a++)
        if (str_eq(case_action_name((enum case_action)a), verb)) {
            lifecycle_arrays((enum case_action)a, from, to);
            return true;
        }
    return false;
}

static void hint_state(const struct ctl_command *c, const char *message)
{
    char from[LIFECYCLE_ARRAY_SIZE];
    const char *is = strstr(message, " is ");
    const char *status = is ? strstr(is + 4, " is ") : NULL; /* "CLOSE is not possible: C-… is open" */
    if (!status || case_status_from_name(status + 4) < 0 || !possible_states(c->verb, from))
        return;
    fprintf(stderr, "  %s is for complaints that are:", c->name);
    const char *comma = " ";
    for (char *at = from + 1, *one; (one = strsep(&at, ",}")) && *one; comma = ", ")
        fprintf(stderr, "%s%s", comma, one);
    fputc('\n', stderr);
}

static void hint_option(const struct ctl_command *c, const char *field)
{
    for (size_t i = 0; i < ARRAY_LEN(c->options) && c->options[i].name; i++) {
        const struct ctl_option *o = &c->options[i];
        char name[32];
        ctl_option_field(o, name);
        if (str_eq(name, field))
            fprintf(stderr, "  --%s %s: %s\n", o->name, o->value ? o->value : "", o->help);
    }
}

void ctl_hint(const struct ctl_command *c, const struct answer *a)
{
    const char *code = json_string_value(json_object_get(a->body, "code"));
    const char *message = json_string_value(json_object_get(a->body, "message"));
    const char *field = json_string_value(json_object_get(a->body, "field"));
    if (str_eq(code, "not-found") && field && (str_eq(field, "ref") || str_eq(field, "into")))
        fprintf(stderr, "  complaintctl list --search finds a complaint by a piece of its reference, or by words\n");
    else if (str_eq(code, "conflict") && message)
        hint_state(c, message);
    else if (str_eq(code, "bad-argument")) {
        if (field && message && (str_starts(message, "missing") || str_starts(message, "not a time")))
            hint_option(c, field);
        ctl_usage(c);
    }
}

/* One filter and the names that open complaints have for it. */
static void hint_name(const char *given, const char *what, const json_t *counts)
{
    struct nearest near;
    const char *name, *comma = " ";
    json_t *n;
    if (!given || json_object_get(counts, given) || json_object_size(counts) == 0)
        return;
    nearest_begin(&near, given, strlen(given));
    struct buf names;
    buf_init(&names, CD_KIB(64));
    json_object_foreach((json_t *)counts, name, n) {
        nearest_try(&near, name);
        buf_append_str(&names, comma);
        text_clean(name, 60, &names);
        comma = ", ";
    }
    fprintf(stderr, "  no open complaint has the %s %s;", what, given);
    if (near.name)
        fprintf(stderr, " is %s meant?\n", near.name);
    else
        fprintf(stderr, " there are:%s\n", buf_str(&names));
    buf_free(&names);
}

void ctl_hint_empty(const json_t *args, const json_t *stats)
{
    const json_t *open = json_object_get(stats, "open");
    hint_name(json_string_value(json_object_get(args, "category")), "category", json_object_get(open, "by_category"));
    hint_name(json_string_value(json_object_get(args, "team")), "team", json_object_get(open, "by_team"));
}

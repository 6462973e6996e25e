/* One pass over the unfolded lines of the first VEVENT, VTODO or VJOURNAL, and METHOD around it. Lines and values are
 * bounded; parameters are read as far as they matter. Pure. */
#include "channels/mail/calendar.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "daemon/core/str.h"

#define MAX_LINE CD_KIB(4)
#define MAX_ATTENDEES 20 /* shown; the rest is counted */
#define MAX_LINES 20000

struct line {
    char *name, *params, *value; /* in the buffer of the line */
};

struct calendar {
    char *method;
    bool inside, done; /* of the first entry */
    unsigned nested;   /* VALARM and the like inside it */
    unsigned attendees, more;
    struct buf entry; /* lines, written when METHOD is known */
};

/* ---- lines ---- */

/* Lines are folded between bytes, in the middle of characters too: unfolded before the character set is looked at. */
static void unfold(const uint8_t *p, size_t n, struct buf *out)
{
    while (n > 0) {
        const uint8_t *nl = memchr(p, '\n', n);
        size_t whole = nl ? (size_t)(nl - p) + 1 : n, line = whole - (nl != NULL);
        bool folded = nl && whole < n && (p[whole] == ' ' || p[whole] == '\t');
        if (line > 0 && p[line - 1] == '\r')
            line--;
        buf_append(out, p, line);
        if (folded)
            whole++;
        else
            buf_append_char(out, '\n');
        p += whole;
        n -= whole;
    }
}

/* NAME;PARAM=…;PARAM="a:b":VALUE, cut apart in place. */
static bool split_line(char *s, struct line *l)
{
    size_t name = strcspn(s, ";:");
    bool quoted = false;
    char *p = s + name;
    if (name == 0 || !*p)
        return false;
    l->params = p + (*p == ';');
    for (; *p && (quoted || *p != ':'); p++)
        quoted ^= *p == '"';
    if (!*p)
        return false;
    *p = '\0';
    if (l->params == p + 1)
        l->params = p; /* none */
    l->value = p + 1;
    s[name] = '\0';
    l->name = s;
    return true;
}

/* The value of a parameter without quotes, copied; NULL when absent. */
static char *param(const struct line *l, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = l->params; *p;) {
        bool here = strncasecmp(p, name, n) == 0 && p[n] == '=', quoted = false;
        const char *from = p + n + 1, *q = p;
        for (; *q && (quoted || *q != ';'); q++)
            quoted ^= *q == '"';
        if (here) {
            size_t len = (size_t)(q - from);
            if (len >= 2 && from[0] == '"' && from[len - 1] == '"')
                return cd_strndup(from + 1, len - 2);
            return cd_strndup(from, len);
        }
        p = *q ? q + 1 : q;
    }
    return NULL;
}

/* "\n", "\," and "\;" of TEXT values, in place. */
static char *plain(char *s)
{
    char *w = s;
    for (const char *p = s; *p; p++) {
        if (*p == '\\' && p[1]) {
            p++;
            *w++ = *p == 'n' || *p == 'N' ? '\n' : *p;
        } else {
            *w++ = *p;
        }
    }
    *w = '\0';
    return s;
}

/* ---- values ---- */

static bool digits(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (s[i] < '0' || s[i] > '9')
            return false;
    return true;
}

static void put_time(struct calendar *c, const char *what, const struct line *l)
{
    const char *v = l->value;
    size_t n = strlen(v);
    char *zone = param(l, "TZID");
    if (n >= 15 && digits(v, 8) && v[8] == 'T' && digits(v + 9, 6))
        buf_printf(&c->entry, "%s: %.4s-%.2s-%.2s %.2s:%.2s%s%s\n", what, v, v + 4, v + 6, v + 9, v + 11, v[15] == 'Z' ? " UTC" : zone ? " " : "",
                   v[15] != 'Z' && zone ? zone : "");
    else if (n >= 8 && digits(v, 8))
        buf_printf(&c->entry, "%s: %.4s-%.2s-%.2s\n", what, v, v + 4, v + 6);
    else
        buf_printf(&c->entry, "%s: %s\n", what, v);
    free(zone);
}

static void put_person(struct calendar *c, const char *what, const struct line *l)
{
    static const struct {
        const char *word, *text;
    } answers[] = {{"ACCEPTED", "accepted"}, {"DECLINED", "declined"}, {"TENTATIVE", "tentative"}, {"DELEGATED", "delegated"}, {"NEEDS-ACTION", "no answer yet"}};
    char *name = param(l, "CN"), *state = param(l, "PARTSTAT");
    const char *address = str_istarts(l->value, "mailto:") ? l->value + 7 : l->value, *answer = NULL;
    for (size_t i = 0; state && i < ARRAY_LEN(answers); i++)
        if (str_ieq(state, answers[i].word))
            answer = answers[i].text;
    buf_printf(&c->entry, "%s: ", what);
    if (name && *name && !str_ieq(name, address))
        buf_printf(&c->entry, "%s <%s>", name, address);
    else
        buf_append_str(&c->entry, address);
    if (answer)
        buf_printf(&c->entry, " (%s)", answer);
    buf_append_char(&c->entry, '\n');
    free(name);
    free(state);
}

static void put_entry_line(struct calendar *c, struct line *l)
{
    static const struct {
        const char *name, *label;
        enum { TEXT, TIME, PERSON, ATTENDEE } form;
    } lines[] = {{"SUMMARY", "Summary", TEXT},     {"DTSTART", "Start", TIME},      {"DTEND", "End", TIME},     {"DUE", "Due", TIME},       {"DURATION", "Duration", TEXT},
                 {"RRULE", "Repeats", TEXT},      {"LOCATION", "Location", TEXT},  {"STATUS", "Status", TEXT}, {"ORGANIZER", "Organizer", PERSON}, {"ATTENDEE", "Attendee", ATTENDEE},
                 {"COMMENT", "Comment", TEXT},    {"DESCRIPTION", "Description", TEXT}};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        if (strcasecmp(l->name, lines[i].name) != 0 || !*l->value)
            continue;
        if (lines[i].form == TIME)
            put_time(c, lines[i].label, l);
        else if (lines[i].form == TEXT)
            buf_printf(&c->entry, "%s: %s\n", lines[i].label, plain(l->value));
        else if (lines[i].form == PERSON || c->attendees++ < MAX_ATTENDEES)
            put_person(c, lines[i].label, l);
        else
            c->more++;
    }
}

static bool is_entry(const char *name)
{
    return str_ieq(name, "VEVENT") || str_ieq(name, "VTODO") || str_ieq(name, "VJOURNAL");
}

static void take_line(struct calendar *c, struct line *l)
{
    if (str_ieq(l->name, "METHOD") && !c->inside && !c->method) {
        c->method = cd_strdup(l->value);
    } else if (str_ieq(l->name, "BEGIN")) {
        if (c->inside)
            c->nested++;
        else
            c->inside = !c->done && is_entry(l->value);
    } else if (str_ieq(l->name, "END")) {
        if (c->nested > 0)
            c->nested--;
        else if (c->inside)
            c->inside = false, c->done = true;
    } else if (c->inside && c->nested == 0) {
        put_entry_line(c, l);
    }
}

static const char *method_text(const char *method)
{
    static const struct {
        const char *word, *text;
    } texts[] = {{"REQUEST", "Invitation"}, {"REPLY", "Answer to an invitation"}, {"CANCEL", "Cancellation"}, {"COUNTER", "Another time is proposed"},
                 {"DECLINECOUNTER", "The other time is declined"}, {"REFRESH", "An update is asked for"}, {"ADD", "A further date"}};
    for (size_t i = 0; method && i < ARRAY_LEN(texts); i++)
        if (str_ieq(method, texts[i].word))
            return texts[i].text;
    return "Calendar entry";
}

void calendar_to_text(const void *p, size_t n, const char *charset, struct buf *out, struct charset_note *note)
{
    struct calendar c = {.attendees = 0};
    struct buf lines;
    struct line l;
    size_t len;
    char *save = NULL;
    buf_init(&lines, n + n / 2 + 16);
    buf_init(&c.entry, CD_KIB(64));
    unfold(p, n, &lines);
    char *text = charset_to_utf8(charset && *charset ? charset : "utf-8", buf_str(&lines), lines.len, &len, note);
    buf_free(&lines);
    char *s = strtok_r(text, "\n", &save);
    for (unsigned i = 0; s && i < MAX_LINES; i++, s = strtok_r(NULL, "\n", &save)) {
        s[utf8_cut(s, CD_MIN(strlen(s), MAX_LINE))] = '\0';
        if (split_line(s, &l))
            take_line(&c, &l);
    }
    free(text);
    if (c.entry.len > 0) {
        buf_printf(out, "%s\n", method_text(c.method));
        buf_append(out, c.entry.data, c.entry.len);
        if (c.more)
            buf_printf(out, "… and %u more\n", c.more);
    }
    buf_free(&c.entry);
    free(c.method);
}

/* complaintctl export: page after page of LIST, written as it comes, so that memory stays that of one page however many complaints there are.
 * Newest first; what arrives meanwhile is newer than where the export stands, so nothing comes twice and nothing is left out. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl/commands.h"
#include "ctl/text.h"
#include "daemon/core/str.h"

#define TIMEOUT_S 120
#define PAGE 200

static const char *const columns[] = {
    "ref",         "status",          "outcome",      "priority",    "category",         "team",           "assignee",     "desk",     "channel",
    "subject",     "customer_name",   "customer_email", "customer_phone", "language",    "region",         "tags",         "policy",   "received_at",
    "due",         "overdue",         "escalation_level", "degraded", "scan",            "acknowledged_at", "responded_at", "acked_at", "acked_by",
    "resolved_at", "closed_at",       "cause",        "remedy",      "text",
};

/* What a spreadsheet would take for a formula gets an apostrophe in front, the full-width forms of its signs as well; a phone number
 * stays one. */
static bool is_formula(const char *s)
{
    static const char *const wide[] = {"\xef\xbc\x9d", "\xef\xbc\x8b", "\xef\xbc\x8d", "\xef\xbc\xa0"}; /* = + - @ */
    for (size_t i = 0; i < ARRAY_LEN(wide); i++)
        if (str_starts(s, wide[i]))
            return true;
    return *s && strchr("=+-@\t\r\n", *s) && !(*s == '+' && s[1] && s[1 + strspn(s + 1, "0123456789")] == '\0');
}

void export_csv_cell(const char *s, struct buf *out)
{
    bool quote = is_formula(s) || strpbrk(s, "\",\r\n") || *s == ' ';
    if (!quote) {
        buf_append_str(out, s);
        return;
    }
    buf_append_char(out, '"');
    if (is_formula(s))
        buf_append_char(out, '\'');
    for (; *s; s++) {
        if (*s == '"')
            buf_append_char(out, '"');
        buf_append_char(out, *s);
    }
    buf_append_char(out, '"');
}

static void csv_value(const json_t *v, struct buf *out)
{
    struct buf text;
    size_t i;
    json_t *e;
    buf_init(&text, CD_MIB(1));
    if (json_is_string(v))
        buf_append_str(&text, json_string_value(v));
    else if (json_is_boolean(v))
        buf_append_str(&text, json_is_true(v) ? "true" : "false");
    else if (json_is_integer(v))
        buf_printf(&text, "%lld", (long long)json_integer_value(v));
    json_array_foreach((json_t *)v, i, e)
        buf_printf(&text, "%s%s", i ? " " : "", json_is_string(e) ? json_string_value(e) : "");
    export_csv_cell(buf_str(&text), out);
    buf_free(&text);
}

void export_csv_head(struct buf *out)
{
    for (size_t i = 0; i < ARRAY_LEN(columns); i++)
        buf_printf(out, "%s%s", i ? "," : "", columns[i]);
    buf_append_str(out, "\r\n");
}

void export_csv_row(const json_t *row, struct buf *out)
{
    for (size_t i = 0; i < ARRAY_LEN(columns); i++) {
        if (i)
            buf_append_char(out, ',');
        csv_value(json_object_get(row, columns[i]), out);
    }
    buf_append_str(out, "\r\n");
}

static void json_row(const json_t *row, struct buf *out)
{
    char *text CD_CLEANUP_FREE = json_dumps(row, JSON_COMPACT);
    text_json(text ? text : "{}", out);
    buf_append_char(out, '\n');
}

/* ---- pages ---- */

struct export {
    FILE *to;
    bool csv;
    json_int_t left; /* rows that may still be written; -1: all */
    json_int_t written;
};

#define HAD_ENOUGH (-1) /* to the caller of complaintctl it is EXIT_REFUSED, without a word */

static int cannot_write(void)
{
    if (errno == EPIPE) /* who reads through a pipe may have had enough */
        return HAD_ENOUGH;
    fprintf(stderr, "complaintctl: cannot write: %s\n", strerror(errno));
    return EXIT_REFUSED;
}

static int write_page(struct export *x, const struct answer *a)
{
    struct buf out;
    size_t i;
    json_t *row;
    buf_init(&out, CD_MIB(256));
    json_array_foreach(a->rows, i, row) {
        if (x->csv)
            export_csv_row(row, &out);
        else
            json_row(row, &out);
    }
    bool done = !out.failed && fwrite(buf_str(&out), 1, out.len, x->to) == out.len && fflush(x->to) == 0;
    buf_free(&out);
    x->written += (json_int_t)json_array_size(a->rows);
    return done ? EXIT_DONE : cannot_write();
}

static int pages(struct client *c, struct export *x, json_t *args)
{
    int r = EXIT_DONE;
    json_object_set_new(args, "detail", json_true());
    for (bool more = x->left != 0; more && r == EXIT_DONE;) {
        struct answer a;
        json_int_t page = x->left < 0 ? PAGE : CD_MIN(x->left, (json_int_t)PAGE);
        json_object_set_new(args, "limit", json_integer(page));
        r = client_call(c, "LIST", args, &a);
        if (r == EXIT_DONE && !a.ok)
            r = ctl_refused(&a);
        json_t *next = r == EXIT_DONE ? json_object_get(a.body, "next") : NULL;
        if (r == EXIT_DONE)
            r = write_page(x, &a);
        if (x->left > 0)
            x->left -= CD_MIN(x->left, (json_int_t)json_array_size(a.rows));
        more = next && x->left != 0;
        if (r == EXIT_DONE && next)
            json_object_set(args, "after", next);
        answer_free(&a);
    }
    return r;
}

/* ---- the command ---- */

static FILE *open_output(const char *path)
{
    if (!path)
        return stdout;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
    if (!f)
        fprintf(stderr, "complaintctl: %s: %s\n", path, errno == EEXIST ? "is there already, and is not overwritten" : strerror(errno));
    return f;
}

static int begin(struct export *x, bool bom)
{
    struct buf head;
    buf_init(&head, CD_KIB(16));
    if (bom)
        buf_append_str(&head, "\xEF\xBB\xBF");
    if (x->csv)
        export_csv_head(&head);
    bool done = fwrite(buf_str(&head), 1, head.len, x->to) == head.len;
    buf_free(&head);
    return done ? EXIT_DONE : cannot_write();
}

int run_export(const struct ctl_globals *g, json_t *args)
{
    const char *format = json_string_value(json_object_get(args, "format"));
    char *file CD_CLEANUP_FREE = cd_strdup(json_string_value(json_object_get(args, "output")));
    bool bom = json_object_get(args, "bom") != NULL;
    struct export x = {.csv = str_eq(format, "csv"), .left = json_object_get(args, "limit") ? json_integer_value(json_object_get(args, "limit")) : -1};
    struct client *c = NULL;

    if ((format && !x.csv && !str_eq(format, "ndjson")) || (bom && !x.csv)) {
        fprintf(stderr, "complaintctl: --format is ndjson or csv, and --bom goes with csv\n");
        return EXIT_USAGE;
    }
    json_object_del(args, "format");
    json_object_del(args, "output");
    json_object_del(args, "bom");
    int r = ctl_connect(g, TIMEOUT_S, &c);
    if (r != EXIT_DONE)
        return r;
    x.to = open_output(file);
    r = x.to ? begin(&x, bom) : EXIT_REFUSED;
    if (r == EXIT_DONE)
        r = pages(c, &x, args);
    client_close(&c);
    const char *after = json_string_value(json_object_get(args, "after"));
    if (r != EXIT_DONE && r != HAD_ENOUGH && x.to)
        fprintf(stderr, "complaintctl: %lld complaint%s written%s%s\n", (long long)x.written, x.written == 1 ? " was" : "s were", after ? "; the rest: --after " : "", after ? after : "");
    if (x.to && x.to != stdout && fclose(x.to) != 0 && r == EXIT_DONE)
        r = cannot_write();
    if (x.to && file && r != EXIT_DONE && r != HAD_ENOUGH && x.written == 0)
        unlink(file); /* nothing but a header, which would be in the way of the next try */
    return r == HAD_ENOUGH ? EXIT_REFUSED : r;
}

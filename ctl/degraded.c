/* complaintctl degraded: lists what could not be decoded in full, and has it read again: one complaint, or a page of the list, one after the
 * other. What stays degraded is told and is no failure; a daemon that has no room now ends it with EXIT_AGAIN, and --after goes on. */
#include <stdio.h>
#include <string.h>

#include "ctl/commands.h"
#include "ctl/text.h"

#define TIMEOUT_S 900 /* triage.deadline is 10 minutes at most */
#define PAGE 100

static const char *str_of(const json_t *o, const char *name)
{
    const char *s = json_string_value(json_object_get(o, name));
    return s ? s : "";
}

static long long number_of(const json_t *o, const char *name)
{
    return (long long)json_integer_value(json_object_get(o, name));
}

static void put_classes(const json_t *o, struct buf *out)
{
    static const char *const names[] = {"category", "priority", "team"};
    const char *comma = " ";
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (*str_of(o, names[i])) {
            buf_printf(out, "%s%s ", comma, names[i]);
            text_put(out, C_PLAIN, str_of(o, names[i]));
            comma = ", ";
        }
    buf_append_char(out, '\n');
}

static void print_one(const json_t *body, struct buf *out)
{
    text_put(out, C_BOLD, str_of(body, "ref"));
    if (!json_is_true(json_object_get(body, "changed"))) {
        buf_append_str(out, ": not in full: ");
        text_put(out, C_YELLOW, str_of(body, "degraded"));
        buf_append_char(out, '\n');
        return;
    }
    long long n = number_of(body, "attachments");
    buf_printf(out, ": read in full, %lld characters, %lld attachment%s;", number_of(body, "text_length"), n, n == 1 ? "" : "s");
    put_classes(body, out);
    const json_t *say = json_object_get(body, "rules_say");
    if (say) {
        buf_append_str(out, "  the rules would say now (complaintctl reclassify):");
        put_classes(say, out);
    }
    if (number_of(body, "left") > 0)
        buf_printf(out, "  messages of it that are not in full yet: %lld\n", number_of(body, "left"));
}

static void print_reread(const struct answer *a, struct buf *out)
{
    print_one(a->body, out);
}

struct all {
    const struct ctl_globals *g;
    json_t *rows;
    int read, degraded;
    const char *last; /* the cursor of the last complaint that is done with */
};

/* One complaint, with all messages of it that become whole. What somebody else did meanwhile, or is gone, is passed over. */
static int reread_of(struct all *all, struct client *c, const char *ref)
{
    bool again = true;
    int r = EXIT_DONE;
    while (again && r == EXIT_DONE) {
        struct answer a;
        json_t *args = json_pack("{s:s}", "ref", ref);
        r = client_call(c, "REREAD", args, &a);
        json_decref(args);
        if (r != EXIT_DONE)
            return r;
        bool changed = json_is_true(json_object_get(a.body, "changed"));
        const char *code = str_of(a.body, "code");
        if (a.ok) {
            all->read += changed;
            all->degraded += !changed;
            json_array_append(all->rows, a.body);
        } else if (strcmp(code, "conflict") != 0 && strcmp(code, "not-found") != 0) {
            r = ctl_refused(&a);
        }
        if (a.ok && !all->g->json) {
            struct buf out;
            buf_init(&out, CD_KIB(64));
            print_one(a.body, &out);
            fwrite(buf_str(&out), 1, out.len, stdout);
            buf_free(&out);
        }
        again = a.ok && changed && number_of(a.body, "left") > 0;
        answer_free(&a);
    }
    return r;
}

static void tell(const struct all *all, const char *next, bool ended_early)
{
    if (all->g->json) {
        json_t *o = json_pack("{s:O, s:i, s:i, s:s*}", "rows", all->rows, "read", all->read, "degraded", all->degraded, "next", next);
        char *text = json_dumps(o, JSON_COMPACT);
        printf("%s\n", text ? text : "{}");
        free(text);
        json_decref(o);
        return;
    }
    printf("%d read in full, %d not\n", all->read, all->degraded);
    if (all->degraded)
        printf("explain says why; attachment REF 0 gives the original\n");
    if (next)
        printf("more: --all --after %s\n", next);
    else if (ended_early)
        printf("ended early, before any was done\n");
}

static int reread_all(const struct ctl_globals *g, json_t *args)
{
    struct client *c = NULL;
    struct answer list = {.ok = false};
    struct all all = {.g = g, .rows = json_array()};
    size_t i;
    json_t *row;
    json_object_del(args, "all");
    if (!json_object_get(args, "limit"))
        json_object_set_new(args, "limit", json_integer(PAGE));
    int r = ctl_connect(g, TIMEOUT_S, &c);
    if (r == EXIT_DONE)
        r = client_call(c, "LIST", args, &list);
    bool listed = r == EXIT_DONE && list.ok;
    if (r == EXIT_DONE && !list.ok)
        r = ctl_refused(&list);
    json_array_foreach(listed ? list.rows : NULL, i, row) {
        r = reread_of(&all, c, str_of(row, "ref"));
        if (r != EXIT_DONE)
            break;
        all.last = str_of(row, "id");
    }
    if (listed) {
        const char *next = r == EXIT_DONE ? json_string_value(json_object_get(list.body, "next")) : all.last;
        tell(&all, next, r != EXIT_DONE);
    }
    client_close(&c);
    answer_free(&list);
    json_decref(all.rows);
    return fflush(stdout) == 0 ? r : EXIT_REFUSED;
}

int run_degraded(const struct ctl_globals *g, json_t *args)
{
    static const struct ctl_command list = {.verb = "LIST", .timeout_s = 60, .print = print_list};
    static const struct ctl_command one = {.verb = "REREAD", .timeout_s = TIMEOUT_S, .print = print_reread};
    if (json_object_get(args, "all"))
        return reread_all(g, args);
    return ctl_request(g, json_object_get(args, "degraded") ? &list : &one, args);
}

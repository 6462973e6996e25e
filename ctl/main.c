/* complaintctl: asks the daemon over its control socket, or TCP, prints the answer for people or as JSON. Exit codes:
 * client.h. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl/commands.h"
#include "ctl/text.h"
#include "daemon/core/ref.h"

#define OUTPUT_CAP CD_MIB(256)

void print_json(const struct answer *a, struct buf *out)
{
    json_t *whole = json_incref(a->body);
    if (json_array_size(a->rows) > 0 || json_object_get(a->body, "rows")) {
        json_decref(whole);
        whole = json_copy(a->body);
        json_object_set(whole, "rows", a->rows);
    }
    char *text = json_dumps(whole, isatty(STDOUT_FILENO) ? JSON_INDENT(2) : JSON_COMPACT);
    text_json(text ? text : "{}", out);
    buf_append_char(out, '\n');
    free(text);
    json_decref(whole);
}

/* Rows that are shown as they come. Somebody who reads them through a pipe may have had enough. */
static bool show_row(void *arg, const json_t *row)
{
    const struct ctl_globals *g = arg;
    struct buf out;
    buf_init(&out, OUTPUT_CAP);
    print_event(row, g->json, &out);
    bool ok = fwrite(buf_str(&out), 1, out.len, stdout) == out.len && fflush(stdout) == 0;
    buf_free(&out);
    return ok;
}

/* The reference in the request, as it is printed, when the answer is about another complaint: it was merged. */
static const char *other_ref(const json_t *args, const struct answer *a, char asked[REF_TEXT_SIZE])
{
    const char *said = json_string_value(json_object_get(args, "ref")), *got = json_string_value(json_object_get(a->body, "ref"));
    return said && got && ref_parse(said, strlen(said), asked) == 0 && strcmp(asked, got) != 0 ? asked : NULL;
}

/* An empty list reassures; it must not when the name of the team has a slip in it: what to compare it with. */
static void ask_names(struct client *c, const json_t *args, struct answer *stats)
{
    json_t *none = json_object();
    if ((json_object_get(args, "team") || json_object_get(args, "category")) && client_call(c, "STATS", none, stats) != EXIT_DONE)
        *stats = (struct answer){.ok = false};
    json_decref(none);
}

int ctl_request(const struct ctl_globals *g, const struct ctl_command *cmd, json_t *args)
{
    struct client *c = NULL;
    struct answer a = {.ok = false}, names = {.ok = false};
    char asked[REF_TEXT_SIZE];
    bool full = json_object_get(args, "full") != NULL; /* how it is printed; the daemon sends all of it */
    json_object_del(args, "full");
    if (cmd->print == print_list && !g->json) /* SMS and calls have no subject: the table shows what they say */
        json_object_set_new(args, "detail", json_true());
    int r = ctl_connect(g, cmd->timeout_s, &c);
    if (r == EXIT_DONE)
        r = cmd->stream ? client_stream(c, cmd->verb, args, show_row, (void *)(uintptr_t)g, &a) : client_call(c, cmd->verb, args, &a);
    if (r == EXIT_DONE && a.ok && !g->json && cmd->print == print_list && json_array_size(a.rows) == 0)
        ask_names(c, args, &names);
    client_close(&c);
    if (r != EXIT_DONE)
        return r;
    a.full = full;
    a.asked = other_ref(args, &a, asked);
    struct buf out;
    buf_init(&out, OUTPUT_CAP);
    if (g->json && cmd->stream)
        print_event(a.body, true, &out);
    else if (g->json)
        print_json(&a, &out);
    else if (a.ok)
        cmd->print(&a, &out);
    fwrite(buf_str(&out), 1, out.len, stdout);
    buf_free(&out);
    bool written = fflush(stdout) == 0;
    if (names.ok)
        ctl_hint_empty(args, names.body);
    if (!a.ok) {
        r = ctl_refused(&a);
        ctl_hint(cmd, &a);
    }
    answer_free(&names);
    answer_free(&a);
    return written ? r : EXIT_REFUSED;
}

static int help(const struct ctl_command *cmd, json_t *args)
{
    const char *name = json_string_value(json_object_get(args, "command"));
    const struct ctl_command *about = cmd && strcmp(cmd->name, "help") != 0 ? cmd : NULL;
    struct buf out;

    if (name)
        about = ctl_find(name);
    if (name && !about) {
        ctl_unknown_command(name);
        return EXIT_USAGE;
    }
    buf_init(&out, CD_KIB(64));
    ctl_help(about, &out);
    fputs(buf_str(&out), stdout);
    buf_free(&out);
    return EXIT_DONE;
}

int main(int argc, char **argv)
{
    struct ctl_globals g = {0};
    const struct ctl_command *cmd = NULL;
    json_t *args = json_object();

    text_init();
    signal(SIGPIPE, SIG_IGN); /* TLS writes know no MSG_NOSIGNAL */
    int r = ctl_parse(argc - 1, argv + 1, &g, &cmd, args);
    if (r == EXIT_DONE && g.version)
        puts("complaintctl " CD_VERSION);
    else if (r == EXIT_DONE && (g.help || (!cmd->run && !cmd->verb)))
        r = help(cmd, args);
    else if (r == EXIT_DONE)
        r = cmd->run ? cmd->run(&g, args) : ctl_request(&g, cmd, args);
    json_decref(args);
    return r;
}

/* complaintctl: asks the daemon over its control socket, or TCP, prints the answer for people or as JSON. Exit codes:
 * client.h. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"
#include "ctl/commands.h"
#include "ctl/text.h"

#define DEFAULT_SOCKET "/run/complaintd/control.sock"
#define DEFAULT_PORT "7070"
#define OUTPUT_CAP CD_MIB(256)

/* The path to connect to (free it); NULL when the configuration has a fault or no unix socket (told). */
static char *socket_path(const struct ctl_globals *g)
{
    if (g->socket)
        return cd_strdup(g->socket);
    if (!g->config)
        return cd_strdup(DEFAULT_SOCKET);
    struct config *c = ctl_config(g);
    char *path = NULL;
    for (size_t i = 0; c && i < c->nline_listen && !path; i++)
        path = cd_strdup(c->line_listen[i].path);
    if (c && !path)
        fprintf(stderr, "complaintctl: %s: line.listen has no unix: socket\n", g->config);
    config_free(&c);
    return path;
}

static void print_json(const struct answer *a, struct buf *out)
{
    json_t *whole = json_incref(a->body);
    if (json_array_size(a->rows) > 0 || json_object_get(a->body, "rows")) {
        json_decref(whole);
        whole = json_copy(a->body);
        json_object_set(whole, "rows", a->rows);
    }
    char *text = json_dumps(whole, isatty(STDOUT_FILENO) ? JSON_INDENT(2) : JSON_COMPACT);
    buf_printf(out, "%s\n", text ? text : "{}");
    free(text);
    json_decref(whole);
}

static int refused(const struct answer *a)
{
    const char *code = json_string_value(json_object_get(a->body, "code"));
    const char *message = json_string_value(json_object_get(a->body, "message"));
    const char *field = json_string_value(json_object_get(a->body, "field"));
    struct buf text;

    buf_init(&text, CD_KIB(64));
    text_clean(message ? message : "no reason given", 0, &text);
    if (field) {
        buf_append_str(&text, " (");
        text_clean(field, 0, &text);
        buf_append_str(&text, ")");
    }
    fprintf(stderr, "complaintctl: %s: %s\n", code ? code : "refused", buf_str(&text));
    buf_free(&text);
    return json_is_true(json_object_get(a->body, "retry")) ? EXIT_AGAIN : EXIT_REFUSED;
}

/* AUTH with the first line of the file. */
static int authenticate(struct client *c, const char *path)
{
    char token[512] = "";
    FILE *f = fopen(path, "re");
    if (!f || !fgets(token, sizeof token, f)) {
        fprintf(stderr, "complaintctl: cannot read a token from %s\n", path);
        if (f)
            fclose(f);
        return EXIT_USAGE;
    }
    fclose(f);
    token[strcspn(token, "\r\n")] = '\0';
    json_t *args = json_pack("{s:s}", "token", token);
    struct answer a;
    int r = client_call(c, "AUTH", args, &a);
    if (r == EXIT_DONE && !a.ok)
        r = refused(&a);
    json_decref(args);
    answer_free(&a);
    return r;
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

static int request(const struct ctl_globals *g, const struct ctl_command *cmd, json_t *args)
{
    char *path CD_CLEANUP_FREE = g->host ? NULL : socket_path(g);
    if (!path && !g->host)
        return EXIT_USAGE;
    struct address to = {.path = path, .host = g->host, .port = g->port ? g->port : DEFAULT_PORT, .ca_file = g->ca_file,
                         .tls_name = g->tls_name,
                         .tls = g->tls        ? ADDRESS_TLS
                                : g->starttls ? ADDRESS_STARTTLS
                                              : ADDRESS_CLEAR};
    struct client *c = client_open(&to, cmd->timeout_s);
    if (!c)
        return EXIT_NO_DAEMON;
    struct answer a = {.ok = false};
    int r = g->token_file ? authenticate(c, g->token_file) : EXIT_DONE;
    if (r == EXIT_DONE)
        r = cmd->stream ? client_stream(c, cmd->verb, args, show_row, (void *)(uintptr_t)g, &a) : client_call(c, cmd->verb, args, &a);
    client_close(&c);
    if (r != EXIT_DONE)
        return r;
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
    if (!a.ok)
        r = refused(&a);
    answer_free(&a);
    return fflush(stdout) == 0 ? r : EXIT_REFUSED;
}

static int help(const struct ctl_command *cmd, json_t *args)
{
    const char *name = json_string_value(json_object_get(args, "command"));
    const struct ctl_command *about = cmd && strcmp(cmd->name, "help") != 0 ? cmd : NULL;
    struct buf out;

    if (name)
        about = ctl_find(name);
    if (name && !about) {
        fprintf(stderr, "complaintctl: unknown command: %s\n", name);
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
        r = cmd->run ? cmd->run(&g, args) : request(&g, cmd, args);
    json_decref(args);
    return r;
}

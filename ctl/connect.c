/* From the global options to a session with the daemon, and what is said when it refuses. */
#include <stdio.h>
#include <string.h>

#include "config/config.h"
#include "ctl/commands.h"
#include "ctl/text.h"

#define DEFAULT_PORT "7070"
#define DEFAULT_SOCKET "/run/complaintd/control.sock"

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

int ctl_refused(const struct answer *a)
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
        r = ctl_refused(&a);
    json_decref(args);
    answer_free(&a);
    return r;
}

int ctl_connect(const struct ctl_globals *g, int timeout_s, struct client **ret)
{
    char *path CD_CLEANUP_FREE = g->host ? NULL : socket_path(g);
    if (!path && !g->host)
        return EXIT_USAGE;
    const struct address to = {.path = path, .host = g->host, .port = g->port ? g->port : DEFAULT_PORT, .ca_file = g->ca_file,
                               .tls_name = g->tls_name,
                               .tls = g->tls        ? ADDRESS_TLS
                                      : g->starttls ? ADDRESS_STARTTLS
                                                    : ADDRESS_CLEAR};
    struct client *c = client_open(&to, timeout_s);
    if (!c)
        return EXIT_NO_DAEMON;
    int r = g->token_file ? authenticate(c, g->token_file) : EXIT_DONE;
    if (r == EXIT_DONE)
        *ret = c;
    else
        client_close(&c);
    return r;
}

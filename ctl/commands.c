/* The parser of the command line, and the help; the table of commands is in table.c. Words are borrowed from argv; the
 * request's object belongs to the caller. A fault in the command line is told on standard error with the
 * usage of its command. */
#include "ctl/commands.h"

#include <stdio.h>
#include <string.h>

#include "ctl/text.h"
#include "daemon/core/err.h"
#include "daemon/core/str.h"

#define MAX_GIVEN CD_MIB(1) /* bytes of a text on standard input */

const struct ctl_command *ctl_find(const char *name)
{
    for (size_t i = 0; i < ctl_command_count; i++)
        if (str_eq(ctl_commands[i].name, name))
            return &ctl_commands[i];
    return NULL;
}

/* ---- the command line ---- */

struct parse {
    struct ctl_globals *g;
    const struct ctl_command *command;
    unsigned npositional;
    json_t *args;
    char **argv;
    int argc, at;
};

void ctl_usage(const struct ctl_command *c)
{
    if (c)
        fprintf(stderr, "usage: complaintctl %s%s%s%s   (complaintctl help %s)\n", c->name, *c->usage ? " " : "", c->usage,
                c->options[0].name ? " [--…]" : "", c->name);
    else
        fprintf(stderr, "usage: complaintctl [OPTIONS] COMMAND   (complaintctl help)\n");
}

static int wrong(const struct parse *p, const char *what, const char *word)
{
    fprintf(stderr, "complaintctl: %s: %s\n", what, word);
    ctl_usage(p->command);
    return EXIT_USAGE;
}

/* Words of other programs. */
static const struct {
    const char *word, *here;
} elsewhere[] = {{"search", "list --search WORDS"}, {"find", "list --search WORDS"}, {"answer", "reply"}, {"respond", "reply"},
                 {"comment", "note"},               {"take", "ack"},                 {"steal", "ack"},    {"view", "show"},
                 {"ls", "list"},                    {"outbox", "queue"}};

void ctl_unknown_command(const char *word)
{
    struct nearest near;
    nearest_begin(&near, word, strlen(word));
    for (size_t i = 0; i < ctl_command_count; i++)
        nearest_try(&near, ctl_commands[i].name);
    fprintf(stderr, "complaintctl: unknown command: %s\n", word);
    for (size_t i = 0; i < ARRAY_LEN(elsewhere); i++)
        if (str_eq(elsewhere[i].word, word)) {
            fprintf(stderr, "  here that is %s\n", elsewhere[i].here);
            return;
        }
    if (near.name)
        fprintf(stderr, "  is %s meant?\n", near.name);
}

static int unknown_option(const struct parse *p, const char *word, size_t len)
{
    struct nearest near;
    nearest_begin(&near, word + 2, len);
    for (size_t i = 0; p->command && i < ARRAY_LEN(p->command->options) && p->command->options[i].name; i++)
        nearest_try(&near, p->command->options[i].name);
    for (size_t i = 0; i < ctl_global_option_count; i++)
        nearest_try(&near, ctl_global_options[i].name);
    fprintf(stderr, "complaintctl: unknown option: %s\n", word);
    if (near.name)
        fprintf(stderr, "  is --%s meant?\n", near.name);
    ctl_usage(p->command);
    return EXIT_USAGE;
}

static const struct ctl_option *find_option(const struct ctl_option *v, size_t n, const char *name,
                                            size_t len)
{
    for (size_t i = 0; i < n && v[i].name; i++) {
        size_t k = 0; /* as the field is spelled is right, too: "if_seq" */
        while (k < len && (v[i].name[k] == name[k] || (v[i].name[k] == '-' && name[k] == '_')))
            k++;
        if (k == len && !v[i].name[k])
            return &v[i];
    }
    return NULL;
}

static void set_global(struct ctl_globals *g, const char *name, const char *value)
{
    if (str_eq(name, "socket"))
        g->socket = value;
    else if (str_eq(name, "config"))
        g->config = value;
    else if (str_eq(name, "token-file"))
        g->token_file = value;
    else if (str_eq(name, "host"))
        g->host = value;
    else if (str_eq(name, "port"))
        g->port = value;
    else if (str_eq(name, "ca-file"))
        g->ca_file = value;
    else if (str_eq(name, "tls-name"))
        g->tls_name = value;
    else if (str_eq(name, "tls"))
        g->tls = true;
    else if (str_eq(name, "starttls"))
        g->starttls = true;
    else if (str_eq(name, "json"))
        g->json = true;
    else if (str_eq(name, "utc"))
        g->utc = true;
    else if (str_eq(name, "help"))
        g->help = true;
    else
        g->version = true;
}

void ctl_option_field(const struct ctl_option *o, char out[32])
{
    snprintf(out, 32, "%s", o->name);
    for (char *p = out; *p; p++)
        *p = *p == '-' ? '_' : *p;
}

static int set_option(struct parse *p, const struct ctl_option *o, const char *value)
{
    char field[32];
    uint64_t n;
    ctl_option_field(o, field);
    if (o->kind != OPTION_FLAG && json_object_get(p->args, field))
        return wrong(p, "is given twice", o->name);
    if (o->kind == OPTION_FLAG) {
        json_object_set_new(p->args, field, json_true());
    } else if (o->kind == OPTION_NUMBER) {
        if (str_parse_u64(value, INT32_MAX, &n) < 0)
            return wrong(p, "not a number", value);
        json_object_set_new(p->args, field, json_integer((json_int_t)n));
    } else {
        json_t *text = json_string(value);
        if (!text)
            return wrong(p, "not valid UTF-8: the value of", o->name);
        json_object_set_new(p->args, field, text);
    }
    return EXIT_DONE;
}

/* "--name value" or "--name=value" */
static int take_option(struct parse *p, char *word)
{
    const char *name = word + 2, *eq = strchr(name, '='), *value = eq ? eq + 1 : NULL;
    size_t len = eq ? (size_t)(eq - name) : strlen(name);
    const struct ctl_option *o =
        p->command ? find_option(p->command->options, ARRAY_LEN(p->command->options), name, len) : NULL;
    bool global = !o;

    if (!o)
        o = find_option(ctl_global_options, ctl_global_option_count, name, len);
    if (!o)
        return unknown_option(p, word, len);
    if (o->kind == OPTION_FLAG && value)
        return wrong(p, "takes no value", word);
    if (o->kind != OPTION_FLAG && !value) {
        if (p->at == p->argc)
            return wrong(p, "needs a value", word);
        value = p->argv[p->at++];
    }
    if (!global)
        return set_option(p, o, value);
    set_global(p->g, o->name, value);
    return EXIT_DONE;
}

/* "-" is what comes on standard input, up to what the daemon takes; NULL: told. */
static json_t *text_given(const struct parse *p, const char *word)
{
    char *text = cd_alloc(MAX_GIVEN + 1);
    size_t n = str_eq(word, "-") ? fread(text, 1, MAX_GIVEN + 1, stdin) : 0;
    json_t *s = NULL;
    if (n > MAX_GIVEN) {
        wrong(p, "too long", "standard input");
    } else if (str_eq(word, "-")) {
        while (n && (text[n - 1] == '\n' || text[n - 1] == '\r'))
            n--;
        s = json_stringn(text, n);
        if (!s)
            wrong(p, "not valid UTF-8", "standard input");
    } else if (!(s = json_string(word))) {
        wrong(p, "not valid UTF-8", "an argument");
    }
    free(text);
    return s;
}

static int one_word_too_many(const struct parse *p, const char *word)
{
    int r = wrong(p, "one word too many", word);
    if (str_eq(p->command->positional[p->npositional - 1], "text"))
        fprintf(stderr, "  a text of several words stands in quotes, or comes on standard input: complaintctl %s REF -\n", p->command->name);
    return r;
}

static int take_word(struct parse *p, char *word)
{
    if (!p->command) {
        p->command = ctl_find(word);
        if (p->command)
            return EXIT_DONE;
        ctl_unknown_command(word);
        ctl_usage(NULL);
        return EXIT_USAGE;
    }
    if (p->npositional == ARRAY_LEN(p->command->positional) || !p->command->positional[p->npositional])
        return p->npositional ? one_word_too_many(p, word) : wrong(p, "one word too many", word);
    const char *name = p->command->positional[p->npositional++], *mark = strchr(name, '#');
    if (mark) {
        char field[32];
        uint64_t n;
        if (str_parse_u64(word, INT32_MAX, &n) < 0)
            return wrong(p, "not a number", word);
        snprintf(field, sizeof field, "%.*s", (int)(mark - name), name);
        json_object_set_new(p->args, field, json_integer((json_int_t)n));
        return EXIT_DONE;
    }
    json_t *text = str_eq(name, "text") ? text_given(p, word) : json_string(word);
    if (!text)
        return str_eq(name, "text") ? EXIT_USAGE : wrong(p, "not valid UTF-8", "an argument");
    if (str_eq(name, "ref|handle"))
        name = str_istarts(word, "C-") && !strchr(word, '@') ? "ref" : "handle";
    json_object_set_new(p->args, name, text);
    return EXIT_DONE;
}

/* What goes by TCP has a host; what is checked in a certificate needs TLS. */
static int check_globals(const struct parse *p)
{
    const struct ctl_globals *g = p->g;
    const char *needs_host = g->tls ? "--tls" : g->starttls ? "--starttls" : g->port ? "--port" : NULL;
    const char *needs_tls = g->ca_file ? "--ca-file" : g->tls_name ? "--tls-name" : NULL;
    if (needs_host && !g->host)
        return wrong(p, "needs --host", needs_host);
    if (g->host && g->socket)
        return wrong(p, "one of the two", "--host and --socket");
    if (g->tls && g->starttls)
        return wrong(p, "one of the two", "--tls and --starttls");
    return needs_tls && !g->tls && !g->starttls ? wrong(p, "needs --tls or --starttls", needs_tls) : EXIT_DONE;
}

/* After all words: --utc may stand behind the time. */
static void times_to_utc(const struct ctl_command *c, bool utc, json_t *args)
{
    time_utc(utc);
    for (size_t i = 0; i < ARRAY_LEN(c->options) && c->options[i].name; i++) {
        const char *given = json_string_value(json_object_get(args, c->options[i].name));
        char text[TIME_TEXT_SIZE];
        if (given && c->options[i].kind == OPTION_TIME && time_given(given, text) == text)
            json_object_set_new(args, c->options[i].name, json_string(text));
    }
}

int ctl_parse(int argc, char **argv, struct ctl_globals *g, const struct ctl_command **ret_command,
              json_t *args)
{
    struct parse p = {.g = g, .args = args, .argv = argv, .argc = argc};
    bool only_words = false;
    int r = EXIT_DONE;

    char output[] = "--output";
    while (p.at < argc && r == EXIT_DONE) {
        char *word = argv[p.at++];
        if (!only_words && str_eq(word, "-o"))
            word = output;
        if (!only_words && str_eq(word, "--"))
            only_words = true;
        else if (!only_words && str_eq(word, "-h"))
            g->help = true;
        else if (!only_words && str_starts(word, "--"))
            r = take_option(&p, word);
        else
            r = take_word(&p, word);
    }
    *ret_command = p.command;
    if (r != EXIT_DONE || g->help || g->version)
        return r;
    if (!p.command)
        return wrong(&p, "missing", "a command");
    if (p.npositional < p.command->required)
        return wrong(&p, "missing", p.command->usage);
    r = check_globals(&p);
    if (r != EXIT_DONE)
        return r;
    times_to_utc(p.command, g->utc, args);
    const char *why = p.command->fix ? p.command->fix(args) : NULL;
    return why ? wrong(&p, p.command->name, why) : EXIT_DONE;
}

/* ---- help ---- */

/* `left` and beside it the text, which goes on below itself where the screen ends. */
static void help_row(const char *left, size_t column, const char *text, struct buf *out)
{
    size_t at = 2 + text_width(left), screen = text_columns() > column + 30 ? text_columns() : SIZE_MAX;
    buf_printf(out, "  %s", left);
    if (at >= column) {
        buf_append_char(out, '\n');
        at = 0;
    }
    buf_printf(out, "%*s", (int)(column - at), "");
    at = column;
    for (const char *word = text; *word;) {
        size_t n = strcspn(word, " ");
        char *copy CD_CLEANUP_FREE = cd_strndup(word, n);
        size_t width = text_width(copy);
        if (at > column && at + 1 + width > screen) {
            buf_printf(out, "\n%*s", (int)column, "");
            at = column;
        }
        buf_printf(out, "%s%s", at > column ? " " : "", copy);
        at += (at > column) + width;
        word += n;
        word += *word == ' ';
    }
    buf_append_char(out, '\n');
}

static void help_options(const struct ctl_option *v, size_t n, struct buf *out)
{
    for (size_t i = 0; i < n && v[i].name; i++) {
        char left[64];
        snprintf(left, sizeof left, "--%s%s%s", v[i].name, v[i].value ? " " : "",
                 v[i].value ? v[i].value : "");
        help_row(left, 23, v[i].help, out);
    }
}

void ctl_help(const struct ctl_command *c, struct buf *out)
{
    if (c) {
        buf_printf(out, "usage: complaintctl [OPTIONS] %s%s%s%s\n\n%s\n", c->name, *c->usage ? " " : "",
                   c->usage, c->options[0].name ? " [--…]" : "", c->help);
        if (c->options[0].name)
            buf_append_str(out, "\n");
        help_options(c->options, ARRAY_LEN(c->options), out);
        buf_append_str(out, "\nOPTIONS, such as --json: complaintctl help\n");
        return;
    }
    buf_append_str(out,
                   "usage: complaintctl [--socket PATH | --config FILE | --host HOST …] [--json] COMMAND …\n\n"
                   "commands (complaintctl help COMMAND tells the options of one):\n");
    for (size_t i = 0; i < ctl_command_count; i++) {
        char left[80];
        snprintf(left, sizeof left, "%s %s", ctl_commands[i].name, ctl_commands[i].usage);
        help_row(left, 35, ctl_commands[i].help, out);
    }
    buf_append_str(out, "\noptions:\n");
    help_options(ctl_global_options, ctl_global_option_count, out);
    buf_append_str(
        out,
        "\nexit status: 0 done, 1 refused or not found, 2 wrong usage or configuration, 3 cannot connect,\n"
        "             75 not possible now (or no answer came): try again\n");
}

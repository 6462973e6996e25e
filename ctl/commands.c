/* The table of commands, the parser of the command line, and the help. Words are borrowed from argv; the
 * request's object belongs to the caller. A fault in the command line is told on standard error with the
 * usage of its command. */
#include "ctl/commands.h"

#include <stdio.h>
#include <string.h>

#include "ctl/text.h"
#include "daemon/core/err.h"
#include "daemon/core/str.h"

/* Of every command that changes a complaint. */
#define IF_SEQ {"if-seq", OPTION_NUMBER, "N", "only if the last event is still the Nth (see show)"}

/* clang-format off */
#define LIST_FILTERS \
    {"search", OPTION_TEXT, "WORDS", "all these words, in one message or its sender's name, address or number; or a reference, or a piece of it"}, \
    {"status", OPTION_TEXT, "STATUS", "new, open, waiting, resolved or closed"}, \
    {"category", OPTION_TEXT, "NAME", "only this category"}, \
    {"priority", OPTION_TEXT, "PRIORITY", "critical, high, normal or low"}, \
    {"team", OPTION_TEXT, "TEAM", "only what this team owns"}, \
    {"assignee", OPTION_TEXT, "WHO", "only what this person has"}, \
    {"channel", OPTION_TEXT, "CHANNEL", "mail, sms, phone, counter, \xe2\x80\xa6"}, \
    {"desk", OPTION_TEXT, "DESK", "only this desk"}, \
    {"overdue", OPTION_FLAG, NULL, "only what has missed a deadline"}, \
    {"degraded", OPTION_FLAG, NULL, "only what could not be decoded in full"}, \
    {"scan", OPTION_TEXT, "VERDICT", "clean, unscanned, suspect or quarantined"}

const struct ctl_command ctl_commands[] = {
    {.name = "list", .help = "complaints, newest first", .verb = "LIST", .usage = "", .timeout_s = 60,
     .print = print_list,
     .options = {LIST_FILTERS,
                 {"limit", OPTION_NUMBER, "N", "at most N, 1 to 500 (50)"},
                 {"after", OPTION_TEXT, "CURSOR", "the next page: the cursor that the page before gave"}}},
    {.name = "show", .help = "one complaint: messages, notes, deadlines, steps, events", .verb = "SHOW",
     .positional = {"ref"}, .usage = "REF", .required = 1, .timeout_s = 60, .print = print_show,
     .options = {{"full", OPTION_FLAG, NULL, "all of it: what messages quote, each repeat of a step, all that went to the staff"}}},
    {.name = "attachment", .help = "the attachments of a complaint, or the bytes of one", .run = run_attachment,
     .positional = {"ref", "n#"}, .usage = "REF [N]", .required = 1, .timeout_s = 60,
     .options = {{"message", OPTION_TEXT, "ID", "of this message, where several have an attachment N"},
                 {"output", OPTION_TEXT, "FILE", "into FILE, which must not be there, or a folder (also -o); else to standard output"}}},
    {.name = "explain", .help = "why it was classified, routed, timed and answered so", .verb = "EXPLAIN",
     .positional = {"ref"}, .usage = "REF", .required = 1, .timeout_s = 60, .print = print_explain,
     .options = {{"full", OPTION_FLAG, NULL, "with each repeat of a step"}}},
    {.name = "ack", .help = "take a complaint: ends the escalation steps that an ACK ends", .verb = "ACK",
     .positional = {"ref"}, .usage = "REF", .required = 1, .timeout_s = 60, .print = print_fields, .options = {IF_SEQ}},
    {.name = "assign", .help = "give a complaint to a person, a team, or both", .verb = "ASSIGN",
     .positional = {"ref", "assignee"}, .usage = "REF [WHO]", .required = 1, .timeout_s = 60,
     .print = print_fields,
     .options = {{"team", OPTION_TEXT, "TEAM", "the team that owns it from now on"}, IF_SEQ}},
    {.name = "note", .help = "write something down for colleagues", .verb = "NOTE", .positional = {"ref", "text"},
     .usage = "REF TEXT", .required = 2, .timeout_s = 60, .print = print_fields, .options = {IF_SEQ}},
    {.name = "reply", .help = "write to the customer, by the channel they came by", .verb = "REPLY", .positional = {"ref", "text"},
     .usage = "REF TEXT", .required = 2, .timeout_s = 60, .print = print_fields, .options = {IF_SEQ}},
    {.name = "reclassify", .help = "another category, priority or team", .verb = "RECLASSIFY", .positional = {"ref"},
     .usage = "REF", .required = 1, .timeout_s = 60, .print = print_fields,
     .options = {{"category", OPTION_TEXT, "NAME", "its team owns it then, unless --team names one"},
                 {"priority", OPTION_TEXT, "PRIORITY", "critical, high, normal or low; its targets move along"},
                 {"team", OPTION_TEXT, "TEAM", "the team that owns it from now on"},
                 IF_SEQ}},
    {.name = "wait", .help = "wait for the customer or somebody else, until a time", .verb = "WAIT", .positional = {"ref"},
     .usage = "REF --for|--until TIME", .required = 1, .timeout_s = 60, .print = print_fields,
     .options = {{"for", OPTION_TEXT, "TIME", "so long: 3d, 12h"},
                 {"until", OPTION_TIME, "WHEN", "until then: 2026-12-24 or '2026-12-24 12:00', in your zone"},
                 {"note", OPTION_TEXT, "TEXT", "what is waited for"},
                 IF_SEQ}},
    {.name = "resolve", .help = "done with: the outcome, what was behind it, what was done about it", .verb = "RESOLVE", .positional = {"ref"},
     .usage = "REF --outcome OUTCOME", .required = 1, .timeout_s = 60, .print = print_fields,
     .options = {{"outcome", OPTION_TEXT, "OUTCOME",
                  "upheld, partly-upheld, rejected, withdrawn, not-a-complaint or duplicate"},
                 {"cause", OPTION_TEXT, "TEXT", "what was behind it: a code of the configuration (causes), where it lists any"},
                 {"remedy", OPTION_TEXT, "TEXT", "what was done about it: a code of the configuration (remedies), where it lists any"},
                 {"note", OPTION_TEXT, "TEXT", "for colleagues"},
                 IF_SEQ}},
    {.name = "reopen", .help = "take up again what waits, is resolved or closed", .verb = "REOPEN", .positional = {"ref"},
     .usage = "REF", .required = 1, .timeout_s = 60, .print = print_fields,
     .options = {{"note", OPTION_TEXT, "TEXT", "why"}, IF_SEQ}},
    {.name = "close", .help = "close what is resolved", .verb = "CLOSE", .positional = {"ref"},
     .usage = "REF", .required = 1, .timeout_s = 60, .print = print_fields, .options = {IF_SEQ}},
    {.name = "merge", .help = "make a complaint part of another, which answers to its reference from then on",
     .verb = "MERGE", .positional = {"ref", "into"}, .usage = "REF INTO", .required = 2, .timeout_s = 60,
     .print = print_fields},
    {.name = "split", .help = "make a message (its id, see show) a complaint of its own; undoes a merge, too",
     .verb = "SPLIT", .positional = {"ref", "message"}, .usage = "REF MESSAGE", .required = 2, .timeout_s = 60,
     .print = print_fields,
     .options = {{"later", OPTION_FLAG, NULL, "with all messages that came after it"},
                 {"category", OPTION_TEXT, "NAME", "of the new complaint; otherwise that of the old one"},
                 {"team", OPTION_TEXT, "TEAM", "that owns it; otherwise that of the old one"}}},
    {.name = "verify", .help = "walk the chain of events of a complaint, or of all, and name the first broken link", .run = run_verify,
     .positional = {"ref"}, .usage = "[REF]", .timeout_s = 600},
    {.name = "absent", .help = "you, or WHO, are away: nothing new is given to them", .verb = "ABSENT", .positional = {"who"},
     .usage = "[WHO]", .timeout_s = 60, .print = print_absences,
     .options = {{"from", OPTION_TIME, "WHEN", "from then on: 2026-12-24 or '2026-12-24 12:00', in your zone; otherwise from now"},
                 {"until", OPTION_TIME, "WHEN", "until then, the same way; otherwise until present"},
                 {"reassign", OPTION_FLAG, NULL, "what they have goes to others of their teams"}}},
    {.name = "present", .help = "you, or WHO, are back", .verb = "PRESENT", .positional = {"who"}, .usage = "[WHO]", .timeout_s = 60,
     .print = print_absences},
    {.name = "absences", .help = "who is away, or will be", .verb = "ABSENCES", .positional = {"who"}, .usage = "[WHO]", .timeout_s = 60,
     .print = print_absences},
    {.name = "customer", .help = "a customer with handles, flags and complaints, newest first", .verb = "CUSTOMER",
     .positional = {"ref|handle"}, .usage = "REF|HANDLE", .required = 1, .timeout_s = 60, .print = print_customer,
     .options = {{"limit", OPTION_NUMBER, "N", "at most N complaints, 1 to 500 (50)"}}},
    {.name = "customers", .help = "customers, newest first", .verb = "CUSTOMERS", .usage = "", .timeout_s = 60, .print = print_customers,
     .options = {{"flag", OPTION_TEXT, "FLAG", "only those with this flag"},
                 {"review-due", OPTION_FLAG, NULL, "only those whose flag vulnerable is to be reviewed"},
                 {"limit", OPTION_NUMBER, "N", "at most N, 1 to 500 (50)"},
                 {"after", OPTION_TEXT, "CURSOR", "the next page: the cursor that the page before gave"}}},
    {.name = "flag", .help = "set or clear a flag of a customer: vip, vulnerable, or one that your rules use", .verb = "FLAG",
     .positional = {"ref|handle", "flag"}, .usage = "REF|HANDLE FLAG", .required = 2, .timeout_s = 60, .print = print_fields,
     .options = {{"clear", OPTION_FLAG, NULL, "take it away"},
                 {"driver", OPTION_TEXT, "DRIVER", "of vulnerable: health, life-event, resilience or capability"},
                 {"review", OPTION_TEXT, "DATE", "of vulnerable: when it is looked at again, such as 2027-01-31"},
                 {"note", OPTION_TEXT, "TEXT", "of vulnerable: what helps; only those who may see the flag read it"}}},
    {.name = "stats", .help = "what is open, overdue and waiting to go out", .verb = "STATS", .usage = "",
     .timeout_s = 60, .print = print_stats},
    {.name = "subscribe", .help = "events as they happen, until interrupted", .verb = "SUBSCRIBE", .usage = "", .timeout_s = 4000,
     .stream = true, .fix = fix_subscribe, .print = print_nothing,
     .options = {{"after", OPTION_TEXT, "CURSOR", "go on after this cursor; 0: from the first event (from now)"},
                 {"kinds", OPTION_TEXT, "KIND,…", "only these kinds: received, acked, assigned, resolved, …"},
                 {"desk", OPTION_TEXT, "DESK", "only this desk"},
                 {"once", OPTION_FLAG, NULL, "end when everything there is was shown"}}},
    {.name = "top", .help = "the same as a live picture, every two seconds; q quits", .run = run_top, .usage = "",
     .options = {{"once", OPTION_FLAG, NULL, "one picture, then end"}}},
    {.name = "export", .help = "all complaints, or those that pass the filters, as NDJSON or CSV", .run = run_export, .usage = "",
     .options = {LIST_FILTERS,
                 {"format", OPTION_TEXT, "FORMAT", "ndjson (an object a line) or csv"},
                 {"bom", OPTION_FLAG, NULL, "csv begins with a byte order mark, for spreadsheets"},
                 {"output", OPTION_TEXT, "FILE", "into FILE, which must not be there (also -o); else to standard output"},
                 {"limit", OPTION_NUMBER, "N", "at most N"},
                 {"after", OPTION_TEXT, "CURSOR", "go on where an export ended early"}}},
    {.name = "degraded", .help = "what could not be decoded in full, newest first; 'degraded reread' reads it again",
     .positional = {"action", "ref"}, .usage = "[list | reread REF | reread --all]", .actions = "list reread", .fix = fix_degraded,
     .run = run_degraded,
     .options = {{"message", OPTION_TEXT, "ID", "reread: this message of it; otherwise the oldest that is not in full"},
                 {"all", OPTION_FLAG, NULL, "reread: those of the list, one after the other (100 when no limit is given)"},
                 {"status", OPTION_TEXT, "STATUS", "new, open, waiting, resolved or closed"},
                 {"limit", OPTION_NUMBER, "N", "at most N, 1 to 500 (50)"},
                 {"after", OPTION_TEXT, "CURSOR", "the next page: the cursor that the page before gave"}}},
    {.name = "pending", .help = "what is stored but not yet read; 'pending retry --all' has it read now", .verb = "PENDING",
     .positional = {"action", "id"}, .usage = "[list | retry ID | retry --all]", .timeout_s = 60, .actions = "list retry", .fix = fix_pending,
     .print = print_pending,
     .options = {{"all", OPTION_FLAG, NULL, "retry: all of it"},
                 {"limit", OPTION_NUMBER, "N", "at most N, 1 to 500 (50)"},
                 {"after", OPTION_TEXT, "CURSOR", "the next page: the cursor that the page before gave"}}},
    {.name = "queue", .help = "what is to go out: list it, send one now, or never", .verb = "QUEUE",
     .positional = {"action", "id"}, .usage = "[list | retry ID | drop ID --reason TEXT]", .timeout_s = 60, .actions = "list retry drop",
     .fix = fix_queue, .print = print_queue,
     .options = {{"reason", OPTION_TEXT, "TEXT", "drop: why"},
                 {"state", OPTION_TEXT, "STATE", "pending, unknown, sending, failed, dead or expired"},
                 {"limit", OPTION_NUMBER, "N", "at most N, 1 to 500 (50)"},
                 {"after", OPTION_TEXT, "CURSOR", "the next page: the cursor that the page before gave"}}},
    {.name = "config", .help = "the options that the daemon runs with; secrets are not shown", .verb = "CONFIG", .positional = {"action"},
     .usage = "[show]", .timeout_s = 60, .actions = "show", .fix = fix_config, .print = print_config},
    {.name = "clock", .help = "service time; 'clock advance 3d' moves it (sandbox only)", .verb = "CLOCK",
     .positional = {"action", "advance"}, .usage = "[show | advance DURATION]", .timeout_s = 1800,
     .actions = "show advance", .fix = fix_clock, .print = print_fields},
    {.name = "token", .help = "a new token for a client, and the hash of it for the configuration", .run = run_token, .usage = ""},
    {.name = "migrate", .help = "bring the database's schema up to date (needs --config)", .run = run_migrate,
     .usage = "", .options = {{"plan", OPTION_FLAG, NULL, "only say what would be done"}}},
    {.name = "completion", .help = "a script that completes commands in a shell", .run = run_completion, .positional = {"shell"},
     .usage = "bash|zsh|fish", .required = 1, .actions = "bash zsh fish"},
    {.name = "help", .help = "this text, or that of one command", .positional = {"command"},
     .usage = "[COMMAND]"},
};
/* clang-format on */
const size_t ctl_command_count = ARRAY_LEN(ctl_commands);

const struct ctl_option ctl_global_options[] = {
    {"socket", OPTION_TEXT, "PATH", "the daemon's control socket (/run/complaintd/control.sock)"},
    {"config", OPTION_TEXT, "FILE", "take the socket and the database from this configuration"},
    {"host", OPTION_TEXT, "HOST", "connect to this host by TCP instead of the socket"},
    {"port", OPTION_TEXT, "PORT", "its port (7070)"},
    {"tls", OPTION_FLAG, NULL, "TLS from the first byte (line.listen_tls)"},
    {"starttls", OPTION_FLAG, NULL, "TLS by STARTTLS (line.listen)"},
    {"ca-file", OPTION_TEXT, "FILE", "who may have signed the server's certificate (whom this system trusts)"},
    {"tls-name", OPTION_TEXT, "NAME", "the name that its certificate must carry (HOST)"},
    {"token-file", OPTION_TEXT, "FILE",
     "say AUTH with the token in FILE (users other than root and the daemon's)"},
    {"json", OPTION_FLAG, NULL, "the daemon's answer as JSON; of a list: an object with \"rows\""},
    {"utc", OPTION_FLAG, NULL, "times in UTC instead of the zone of this terminal (TZ)"},
    {"help", OPTION_FLAG, NULL, "this text"},
    {"version", OPTION_FLAG, NULL, "the version"},
};
const size_t ctl_global_option_count = ARRAY_LEN(ctl_global_options);

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

void ctl_unknown_command(const char *word)
{
    struct nearest near;
    nearest_begin(&near, word, strlen(word));
    for (size_t i = 0; i < ctl_command_count; i++)
        nearest_try(&near, ctl_commands[i].name);
    fprintf(stderr, "complaintctl: unknown command: %s\n", word);
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
        o = find_option(ctl_global_options, ARRAY_LEN(ctl_global_options), name, len);
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
        return wrong(p, "one word too many", word);
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
    json_t *text = json_string(word);
    if (!text)
        return wrong(p, "not valid UTF-8", "an argument");
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
    help_options(ctl_global_options, ARRAY_LEN(ctl_global_options), out);
    buf_append_str(
        out,
        "\nexit status: 0 done, 1 refused or not found, 2 wrong usage or configuration, 3 cannot connect,\n"
        "             75 not possible now (or no answer came): try again\n");
}

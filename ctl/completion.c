/* complaintctl completion bash|zsh|fish: scripts for the shells, made from the table of commands. They complete commands, actions, options,
 * and the values of options that have a few; where a file is wanted the shell completes files. */
#include <stdio.h>
#include <string.h>

#include "ctl/commands.h"
#include "daemon/core/str.h"

/* Options of any command that take one of a few words. */
static const struct {
    const char *option, *words;
} choices[] = {
    {"status", "new open waiting resolved closed"},
    {"priority", "critical high normal low"},
    {"channel", "mail sms web phone counter"},
    {"scan", "clean unscanned suspect quarantined"},
    {"outcome", "upheld partly-upheld rejected withdrawn not-a-complaint duplicate"},
    {"format", "ndjson csv"},
    {"state", "pending unknown sending failed dead expired"},
};

static const char *choices_of(const struct ctl_option *o)
{
    for (size_t i = 0; i < ARRAY_LEN(choices); i++)
        if (str_eq(choices[i].option, o->name))
            return choices[i].words;
    return NULL;
}

static bool is_file(const struct ctl_option *o)
{
    return o->value && (str_eq(o->value, "FILE") || str_eq(o->value, "PATH"));
}

static size_t options_of(const struct ctl_command *c, const struct ctl_option **ret)
{
    size_t n = 0;
    *ret = c ? c->options : ctl_global_options;
    size_t max = c ? ARRAY_LEN(c->options) : ctl_global_option_count;
    while (n < max && (*ret)[n].name)
        n++;
    return n;
}

/* ---- bash ---- */

static void bash_options(const struct ctl_command *c, struct buf *out)
{
    const struct ctl_option *o;
    size_t n = options_of(c, &o);
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%s--%s", i ? " " : "", o[i].name);
}

/* The case of the word before: an option that takes a value. */
static void bash_values(const struct ctl_command *c, struct buf *out)
{
    const struct ctl_option *o;
    size_t n = options_of(c, &o);
    const char *name = c ? c->name : "*";
    for (size_t i = 0; i < n; i++) {
        if (o[i].kind == OPTION_FLAG)
            continue;
        buf_printf(out, "    %s,--%s) ", name, o[i].name);
        if (choices_of(&o[i]))
            buf_printf(out, "COMPREPLY=($(compgen -W '%s' -- \"$cur\")); ", choices_of(&o[i]));
        else if (is_file(&o[i]))
            buf_append_str(out, "compopt -o filenames; COMPREPLY=($(compgen -f -- \"$cur\")); ");
        buf_append_str(out, "return ;;\n");
    }
}

static void bash(struct buf *out)
{
    buf_append_str(out, "# bash completion for complaintctl; made by: complaintctl completion bash\n"
                        "_complaintctl() {\n"
                        "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} cmd= i w\n"
                        "    COMPREPLY=()\n"
                        "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
                        "        w=${COMP_WORDS[i]}\n"
                        "        case $w in\n");
    const struct ctl_option *o;
    size_t n = options_of(NULL, &o);
    buf_append_str(out, "        ");
    for (size_t i = 0, k = 0; i < n; i++)
        if (o[i].kind != OPTION_FLAG)
            buf_printf(out, "%s--%s", k++ ? "|" : "", o[i].name);
    buf_append_str(out, ") ((i++)) ;;\n"
                        "        -*) ;;\n"
                        "        *) cmd=$w; break ;;\n"
                        "        esac\n"
                        "    done\n"
                        "    case $cmd,$prev in\n");
    for (size_t i = 0; i < ctl_command_count; i++)
        bash_values(&ctl_commands[i], out);
    bash_values(NULL, out);
    buf_append_str(out, "    esac\n"
                        "    case $cmd in\n"
                        "    '') COMPREPLY=($(compgen -W '");
    for (size_t i = 0; i < ctl_command_count; i++)
        buf_printf(out, "%s ", ctl_commands[i].name);
    bash_options(NULL, out);
    buf_append_str(out, "' -- \"$cur\")) ;;\n");
    for (size_t i = 0; i < ctl_command_count; i++) {
        const struct ctl_command *c = &ctl_commands[i];
        buf_printf(out, "    %s) COMPREPLY=($(compgen -W '%s%s", c->name, c->actions ? c->actions : "", c->actions ? " " : "");
        bash_options(c, out);
        buf_append_str(out, "' -- \"$cur\")) ;;\n");
    }
    buf_append_str(out, "    esac\n"
                        "}\n"
                        "complete -F _complaintctl complaintctl\n");
}

/* ---- zsh ---- */

/* Inside single quotes of _arguments: quotes, brackets and colons are its own. */
static void zsh_text(const char *s, struct buf *out)
{
    for (; *s; s++) {
        if (*s == '\'')
            buf_append_str(out, "'\\''");
        else
            buf_printf(out, strchr("[]:\\", *s) ? "\\%c" : "%c", *s);
    }
}

static void zsh_options(const struct ctl_command *c, struct buf *out)
{
    const struct ctl_option *o;
    size_t n = options_of(c, &o);
    for (size_t i = 0; i < n; i++) {
        buf_printf(out, " \\\n            '--%s[", o[i].name);
        zsh_text(o[i].help, out);
        buf_append_char(out, ']');
        if (o[i].kind != OPTION_FLAG) {
            buf_printf(out, ":%s:", o[i].value);
            if (choices_of(&o[i]))
                buf_printf(out, "(%s)", choices_of(&o[i]));
            else if (is_file(&o[i]))
                buf_append_str(out, "_files");
        }
        buf_append_char(out, '\'');
    }
}

static void zsh(struct buf *out)
{
    buf_append_str(out, "#compdef complaintctl\n"
                        "# made by: complaintctl completion zsh\n"
                        "_complaintctl() {\n"
                        "    local context state line\n"
                        "    local -a commands\n"
                        "    commands=(\n");
    for (size_t i = 0; i < ctl_command_count; i++) {
        buf_printf(out, "        '%s:", ctl_commands[i].name);
        zsh_text(ctl_commands[i].help, out);
        buf_append_str(out, "'\n");
    }
    buf_append_str(out, "    )\n"
                        "    _arguments -C");
    zsh_options(NULL, out);
    buf_append_str(out, " \\\n            '1:command:->command' '*::argument:->argument'\n"
                        "    case $state in\n"
                        "    command) _describe command commands ;;\n"
                        "    argument)\n"
                        "        case $line[1] in\n");
    for (size_t i = 0; i < ctl_command_count; i++) {
        const struct ctl_command *c = &ctl_commands[i];
        buf_printf(out, "        %s) _arguments", c->name);
        zsh_options(c, out);
        if (c->actions)
            buf_printf(out, " \\\n            '1:action:(%s)'", c->actions);
        buf_append_str(out, " \\\n            '*:argument: ' ;;\n");
    }
    buf_append_str(out, "        esac ;;\n"
                        "    esac\n"
                        "}\n"
                        "_complaintctl \"$@\"\n");
}

/* ---- fish ---- */

static void fish_text(const char *s, struct buf *out)
{
    for (; *s; s++)
        buf_printf(out, strchr("'\\", *s) ? "\\%c" : "%c", *s);
}

static void fish_options(const struct ctl_command *c, struct buf *out)
{
    const struct ctl_option *o;
    size_t n = options_of(c, &o);
    for (size_t i = 0; i < n; i++) {
        buf_append_str(out, "complete -c complaintctl");
        if (c)
            buf_printf(out, " -n '__fish_seen_subcommand_from %s'", c->name);
        buf_printf(out, " -l %s", o[i].name);
        if (choices_of(&o[i]))
            buf_printf(out, " -x -a '%s'", choices_of(&o[i]));
        else if (o[i].kind != OPTION_FLAG)
            buf_append_str(out, is_file(&o[i]) ? " -r -F" : " -x");
        buf_append_str(out, " -d '");
        fish_text(o[i].help, out);
        buf_append_str(out, "'\n");
    }
}

static void fish(struct buf *out)
{
    buf_append_str(out, "# fish completion for complaintctl; made by: complaintctl completion fish\n"
                        "complete -c complaintctl -f\n");
    for (size_t i = 0; i < ctl_command_count; i++) {
        buf_printf(out, "complete -c complaintctl -n __fish_use_subcommand -a %s -d '", ctl_commands[i].name);
        fish_text(ctl_commands[i].help, out);
        buf_append_str(out, "'\n");
    }
    fish_options(NULL, out);
    for (size_t i = 0; i < ctl_command_count; i++) {
        const struct ctl_command *c = &ctl_commands[i];
        if (c->actions)
            buf_printf(out, "complete -c complaintctl -n '__fish_seen_subcommand_from %s' -a '%s'\n", c->name, c->actions);
        fish_options(c, out);
    }
}

bool completion_script(const char *shell, struct buf *out)
{
    static const struct {
        const char *name;
        void (*put)(struct buf *out);
    } shells[] = {{"bash", bash}, {"zsh", zsh}, {"fish", fish}};
    for (size_t i = 0; i < ARRAY_LEN(shells); i++)
        if (str_eq(shells[i].name, shell)) {
            shells[i].put(out);
            return true;
        }
    return false;
}

int run_completion(const struct ctl_globals *g CD_UNUSED, json_t *args)
{
    const char *shell = json_string_value(json_object_get(args, "shell"));
    struct buf out;
    buf_init(&out, CD_MIB(1));
    bool known = completion_script(shell, &out);
    if (known)
        fputs(buf_str(&out), stdout);
    else
        fprintf(stderr, "complaintctl: there is a completion for bash, zsh and fish\n");
    buf_free(&out);
    return !known ? EXIT_USAGE : fflush(stdout) == 0 ? EXIT_DONE : EXIT_REFUSED;
}

/* config_load: the file itself, then what it names, then completion and checks. Whatever goes wrong is a
 * fault; the tree is handed out only when there is none. */
#include "config/load.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

char *path_resolve(const struct loader *l, const char *path)
{
    if (path[0] == '/' || !*l->dir)
        return cd_strdup(path);
    return cd_asprintf("%s/%s", l->dir, path);
}

static size_t root_row(const char *path)
{
    size_t i = 0;
    while (root_options[i].path && !str_eq(root_options[i].path, path))
        i++;
    cd_assert(root_options[i].path);
    return i;
}

bool root_given(const struct loader *l, const char *path)
{
    return l->root_marks[root_row(path)].line > 0;
}

struct mark root_mark(const struct loader *l, const char *path)
{
    return root_given(l, path) ? l->root_marks[root_row(path)] : l->file_mark;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Adds what one pattern finds, each file once. */
static void pattern_add(struct loader *l, const struct option *o, struct yn n, const char *pattern,
                        struct strlist *ret)
{
    CD_CLEANUP_FREE char *full = path_resolve(l, pattern);
    glob_t g = {0};
    int r = glob(full, GLOB_NOSORT, NULL, &g);
    if (r != 0 || g.gl_pathc == 0) {
        faults_add(l->f, yn_mark(n),
                   "'%s' in %s finds no file: write the path of a file, relative to this one, or remove it",
                   show(pattern), o->path);
        l->incomplete[o->arg] = true;
        globfree(&g);
        return;
    }
    qsort(g.gl_pathv, g.gl_pathc, sizeof *g.gl_pathv, by_name);
    for (size_t i = 0; i < g.gl_pathc && ret->n < CONFIG_FILES; i++)
        if (!strlist_has(ret, g.gl_pathv[i]))
            strlist_add(ret, g.gl_pathv[i]);
    if (ret->n >= CONFIG_FILES)
        faults_add(l->f, yn_mark(n), "%s names %d files or more: write fewer, longer files", o->path,
                   CONFIG_FILES);
    globfree(&g);
}

void patterns_parse(struct loader *l, const struct option *o, struct yn n, void *base)
{
    (void)base;
    struct strlist *ret = o->arg == REF_POLICY     ? &l->policy_files
                          : o->arg == REF_CALENDAR ? &l->calendar_files
                                                   : &l->rule_files;
    if (n.node->type != YAML_SEQUENCE_NODE) {
        faults_add(l->f, yn_mark(n), "%s is %s: write a list of files, such as [%s/*.yaml]", o->path,
                   yn_kind(n), o->path);
        l->incomplete[o->arg] = true;
        return;
    }
    for (size_t i = 0; i < yn_items(n) && i < CONFIG_FILES; i++) {
        struct yn item = yn_item(n, i);
        const char *pattern = yn_text(item);
        if (pattern && *pattern && !yn_is_null(item)) {
            pattern_add(l, o, item, pattern, ret);
            continue;
        }
        faults_add(l->f, yn_mark(item), "an entry of %s is %s: write a path, such as %s/*.yaml", o->path,
                   pattern ? "empty" : yn_kind(item), o->path);
        l->incomplete[o->arg] = true;
    }
}

static void files_load(struct loader *l, const char *key, const struct strlist *files,
                       const struct option *table, enum ref_kind kind, struct sha256_ctx *also)
{
    struct mark seen[4];
    cd_assert(options_count(table) <= ARRAY_LEN(seen));
    for (size_t i = 0; i < files->n; i++) {
        memset(seen, 0, sizeof seen);
        file_load(l, files->v[i], root_mark(l, key), table, l->c, seen, kind, also);
    }
}

static void copy_if_empty(char **field, const char *value)
{
    if (**field)
        return;
    free(*field);
    *field = cd_strdup(value);
}

/* A default listener; its mark is the file. */
static void listen_default(struct loader *l, struct listen_addr **v, size_t *n, const char *text)
{
    *v = cd_alloc(sizeof **v);
    cd_assert(!listen_parse(text, true, *v));
    (*v)->text = cd_strdup(text);
    (*v)->mark = l->file_mark;
    *n = 1;
}

void config_complete(struct loader *l)
{
    struct config *c = l->c;
    char host[256] = "";
    if (!*c->hostname && gethostname(host, sizeof host - 1) == 0)
        copy_if_empty(&c->hostname, option_check(OPT_HOST, host) ? "" : host);
    copy_if_empty(&c->hostname, "localhost");
    if (!root_given(l, "metrics.listen"))
        listen_default(l, &c->metrics_listen, &c->nmetrics_listen, "127.0.0.1:9464");
    if (!root_given(l, "line.listen"))
        listen_default(l, &c->line_listen, &c->nline_listen, "unix:/run/complaintd/control.sock");
    for (size_t i = 0; i < c->ndesks; i++) {
        struct cfg_desk *d = &c->desks[i];
        if (!*d->policy)
            ref_add(l, REF_POLICY, c->default_policy,
                    root_given(l, "default_policy") ? root_mark(l, "default_policy") : d->mark);
        copy_if_empty(&d->brand, *c->mail_from_name ? c->mail_from_name : d->name);
        copy_if_empty(&d->default_team, c->fallback_team);
        copy_if_empty(&d->policy, c->default_policy);
        if (d->languages.n == 0)
            strlist_add(&d->languages, c->default_language);
    }
    if (c->ndesks)
        ref_add(l, REF_TEAM, c->fallback_team,
                root_given(l, "triage.fallback_team") ? root_mark(l, "triage.fallback_team")
                                                      : root_mark(l, "desks"));
    for (size_t i = 0; i < c->nclients && c->ndesks; i++)
        copy_if_empty(&c->clients[i].desk, c->clients[i].desks.n ? c->clients[i].desks.v[0] : c->desks[0].name);
    for (size_t i = 0; i < c->nsms_providers && c->ndesks; i++)
        copy_if_empty(&c->sms_providers[i].desk, c->desks[0].name);
}

static void load_all(struct loader *l, const char *path)
{
    struct config *c = l->c;
    file_load(l, path, (struct mark){0}, root_options, c, l->root_marks, REF_MAIN_FILE, NULL);
    if (l->incomplete[REF_MAIN_FILE])
        return; /* everything else would only be missing */
    files_load(l, "calendars", &l->calendar_files, calendars_file_options, REF_CALENDAR, NULL);
    files_load(l, "policies", &l->policy_files, policies_file_options, REF_POLICY, NULL);
    files_load(l, "rules", &l->rule_files, rules_file_options, REF_NONE, l->rules_hash);
    templates_load(l);
    config_complete(l);
    check_names(l);
    check_desks(l);
    check_references(l);
    check_policies(l);
    check_general(l);
    check_templates(l);
}

static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return cd_strdup("");
    return cd_strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

static void digests_end(struct loader *l)
{
    uint8_t digest[SHA256_SIZE];
    sha256_end(&l->hash, digest);
    hex_encode(digest, 8, l->c->hash);
    sha256_end(&l->rules_hash, digest);
    hex_encode(digest, 8, l->c->rules.version);
}

/* Default listeners have the mark of the file, whose name must live as long as they do. */
static void marks_rename(struct listen_addr *v, size_t n, const char *old, const struct config *c)
{
    for (size_t i = 0; i < n; i++)
        if (v[i].mark.file == old)
            v[i].mark.file = c->files.v[0];
}

struct config *config_load(const char *path, struct faults *f)
{
    struct config *c = cd_alloc(sizeof *c);
    struct loader l = {.c = c, .f = f, .dir = folder_of(path)};
    size_t before = f->n + f->dropped;
    l.hash = sha256_new();
    l.rules_hash = sha256_new();
    options_default(root_options, c);
    CD_CLEANUP_FREE char *name = cd_strdup(path);
    l.file_mark = (struct mark){name, 1, 1};
    load_all(&l, path);
    digests_end(&l);
    faults_sort(f, &c->files);
    bool ok = f->n + f->dropped == before;
    marks_rename(c->line_listen, c->nline_listen, name, c);
    marks_rename(c->metrics_listen, c->nmetrics_listen, name, c);
    free(l.dir);
    free(l.refs);
    free(l.templates_dir);
    strlist_free(&l.rule_files);
    strlist_free(&l.policy_files);
    strlist_free(&l.calendar_files);
    if (!ok)
        config_free(&c);
    return c;
}

void config_free(struct config **c)
{
    if (!c || !*c)
        return;
    options_free(root_options, *c);
    options_free(calendars_file_options, *c);
    options_free(policies_file_options, *c);
    options_free(rules_file_options, *c);
    for (size_t i = 0; i < (*c)->ntemplates; i++) {
        struct cfg_template *t = &(*c)->templates[i];
        free(t->purpose);
        free(t->transport);
        free(t->language);
        free(t->desk);
        free(t->subject);
        free(t->text);
    }
    free((*c)->templates);
    strlist_free(&(*c)->files);
    free(*c);
    *c = NULL;
}

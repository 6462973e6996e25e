/* Templates: a folder of PURPOSE.TRANSPORT.LANGUAGE.txt. A mail begins with "Subject: …" and an empty line.
 * Every placeholder is known when the file is loaded. The lists of purposes and placeholders stand here and
 * nowhere else. */
#include "config/load.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define TEMPLATE_BYTES CD_KIB(64)
#define TEMPLATES_MAX 1000
#define SUBJECT_BYTES 200

const char *const config_template_names[] = {
    "ref",  "name",     "brand",   "subject", "due_date", "category", "priority", "team", "level",
    "desk", "received", "excerpt", "status",  "deadline", "customer", "hostname", "address", "error", "text", NULL,
};
static const char *const purposes[] = {"acknowledgement", "escalation", "undeliverable", "assigned", "reply", "waiting", NULL};
static const char *const transports[] = {"mail", "sms", NULL};

bool config_template_name_known(const char *name, size_t n)
{
    for (size_t i = 0; config_template_names[i]; i++)
        if (strlen(config_template_names[i]) == n && memcmp(config_template_names[i], name, n) == 0)
            return true;
    return false;
}

static bool word_in(const char *const *words, const char *w)
{
    for (; *words; words++)
        if (str_eq(*words, w))
            return true;
    return false;
}

struct reading {
    struct loader *l;
    const char *path; /* owned by config.files */
    const char *text; /* the whole file, LF only */
};

static struct mark mark_at(const struct reading *r, const char *p)
{
    struct mark m = {r->path, 1, 1};
    for (const char *q = r->text; q < p; q++) {
        bool end = *q == '\n';
        m.line += end;
        m.column = end ? 1 : m.column + (((unsigned char)*q & 0xc0) != 0x80);
    }
    return m;
}

static void check_placeholders(const struct reading *r)
{
    for (const char *p = strstr(r->text, "{{"); p; p = strstr(p + 2, "{{")) {
        const char *end = strstr(p, "}}"), *line = strchr(p, '\n');
        if (!end || (line && line < end)) {
            faults_add(r->l->f, mark_at(r, p), "'{{' is not closed in this line: write {{name}}");
            continue;
        }
        CD_CLEANUP_FREE char *name = cd_strndup(p + 2, (size_t)(end - p - 2));
        if (config_template_name_known(name, strlen(name)))
            continue;
        char *trimmed = name + strspn(name, " \t");
        trimmed[strcspn(trimmed, " \t")] = '\0';
        const char *near = suggest(trimmed, config_template_names, ARRAY_LEN(config_template_names));
        faults_add(r->l->f, mark_at(r, p), "unknown placeholder '{{%.*s}}': write {{%s}}%s",
                   (int)CD_MIN(end - p - 2, 40), p + 2, near ? near : "ref",
                   near ? "" : ", or another that --describe-config lists");
    }
}

/* "purpose.transport.language.txt" or "purpose.transport.language.desk.txt"; false with a fault when it is not. */
static bool name_split(const struct reading *r, const char *name, struct cfg_template *t)
{
    char *part[4] = {0};
    const char *p = name, *fault = NULL;
    size_t n = 0;
    for (; n < ARRAY_LEN(part) && strchr(p, '.'); n++) {
        part[n] = cd_strndup(p, strcspn(p, "."));
        p = strchr(p, '.') + 1;
    }
    struct mark m = {r->path, 1, 1};
    if (n < 3 || !str_eq(p, "txt"))
        fault = "the name is not that of a template: write PURPOSE.TRANSPORT.LANGUAGE.txt, such as "
                "acknowledgement.mail.en.txt, or with a desk's name before .txt";
    else if (!word_in(purposes, part[0]))
        fault = "the name begins with an unknown purpose: write acknowledgement, reply, escalation, waiting, undeliverable or assigned";
    else if (!word_in(transports, part[1]))
        fault = "the name has an unknown transport: write mail or sms";
    else if (!*part[2] || option_check(OPT_LANGUAGE, part[2]))
        fault = "the name has no right language: write en, zh or zh-TW";
    if (fault) {
        faults_add(r->l->f, m, "%s", fault);
        for (size_t i = 0; i < ARRAY_LEN(part); i++)
            free(part[i]);
        return false;
    }
    t->purpose = part[0];
    t->transport = part[1];
    t->language = part[2];
    t->desk = part[3];
    return true;
}

/* Sets subject and text. */
static void content_split(const struct reading *r, struct cfg_template *t)
{
    const char *body = r->text;
    t->subject = cd_strdup("");
    if (str_eq(t->transport, "mail")) {
        size_t n = strcspn(body, "\n");
        const char *subject = body + 8;
        bool ok = str_starts(body, "Subject:") && body[n] == '\n' && (body[n + 1] == '\n' || !body[n + 1]);
        if (!ok) {
            faults_add(r->l->f, mark_at(r, body),
                       "a mail template begins otherwise: write `Subject: …` and an empty line");
        } else {
            subject += strspn(subject, " \t");
            free(t->subject);
            t->subject = cd_strndup(subject, (size_t)(body + n > subject ? body + n - subject : 0));
            if (!*t->subject || strlen(t->subject) > SUBJECT_BYTES)
                faults_add(r->l->f, mark_at(r, body), "the subject is %s: write 1 to %d bytes",
                           *t->subject ? "too long" : "empty", SUBJECT_BYTES);
            body += n + (body[n + 1] ? 2 : 1);
        }
    }
    body += strspn(body, "\n");
    size_t n = strlen(body);
    while (n && body[n - 1] == '\n')
        n--;
    bool mail = str_eq(t->transport, "mail") && n;
    t->text = cd_asprintf("%.*s%s", (int)n, body, mail ? "\n" : "");
    if (!n)
        faults_add(r->l->f, mark_at(r, body), "the template has no text: write some");
    else if (!strstr(r->text, "{{ref}}"))
        faults_add(r->l->f, (struct mark){r->path, 1, 1},
                   "the reference is never told: write {{ref}} somewhere");
}

/* Makes CRLF to LF in place; false when there is a control character. */
static bool text_clean(struct reading *r, char *p)
{
    char *to = p;
    for (const char *q = p; *q; q++)
        if (*q != '\r' || q[1] != '\n')
            *to++ = *q;
    *to = '\0';
    for (const char *q = p; *q; q++)
        if (((unsigned char)*q < 0x20 && *q != '\n' && *q != '\t') || *q == 0x7f) {
            faults_add(r->l->f, mark_at(r, q), "a control character: remove it");
            return false;
        }
    return true;
}

static void template_load(struct loader *l, const char *name)
{
    CD_CLEANUP_FREE char *path = cd_asprintf("%s/%s", l->templates_dir, name);
    strlist_add(&l->c->files, path);
    struct reading r = {.l = l, .path = l->c->files.v[l->c->files.n - 1]};
    struct cfg_template t = {.mark = {r.path, 1, 1}};
    size_t n = 0;
    const char *why = NULL;
    if (!name_split(&r, name, &t))
        return;
    CD_CLEANUP_FREE char *p = file_read(path, TEMPLATE_BYTES, &n, &why);
    if (p && strlen(p) == n && utf8_valid(p, n)) {
        loader_digest_text(l->hash, p, n);
        r.text = n >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0 ? memmove(p, p + 3, n - 2) : p;
        if (text_clean(&r, p)) {
            check_placeholders(&r);
            content_split(&r, &t);
            l->c->templates = cd_realloc(l->c->templates, (l->c->ntemplates + 1) * sizeof t);
            l->c->templates[l->c->ntemplates++] = t;
            return;
        }
    } else {
        faults_add(l->f, (struct mark){r.path, 1, 1},
                   "the template can't be read (%s): make it a text of at most %zu kB in UTF-8",
                   p ? "not UTF-8" : why, TEMPLATE_BYTES >> 10);
    }
    l->incomplete[REF_TEMPLATE] = true;
    free(t.purpose);
    free(t.transport);
    free(t.language);
    free(t.desk);
}

static int wanted(const struct dirent *d)
{
    size_t n = strlen(d->d_name);
    return d->d_name[0] != '.' && n > 4 && str_eq(d->d_name + n - 4, ".txt");
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

void templates_dir_parse(struct loader *l, const struct option *o, struct yn n, void *base)
{
    const char *s = yn_text(n);
    (void)base;
    if (!s || !*s || option_check(OPT_PATH, s))
        faults_add(l->f, yn_mark(n), "%s is %s: write the path of a folder, such as templates", o->path,
                   s && *s ? "no path"
                   : s     ? "empty"
                           : yn_kind(n));
    else
        l->templates_dir = path_resolve(l, s);
}

void templates_load(struct loader *l)
{
    struct dirent **names;
    if (!l->templates_dir)
        return;
    int n = scandir(l->templates_dir, &names, wanted, by_bytes);
    if (n < 0) {
        faults_add(l->f, root_mark(l, "templates"),
                   "folder %s can't be read (%s): name the folder that holds the templates", l->templates_dir,
                   strerror(errno));
        l->incomplete[REF_TEMPLATE] = true;
        return;
    }
    for (int i = 0; i < n; i++) {
        if (i < TEMPLATES_MAX)
            template_load(l, names[i]->d_name);
        free(names[i]);
    }
    free(names);
    if (n > TEMPLATES_MAX)
        faults_add(l->f, root_mark(l, "templates"), "%d templates in %s: keep at most %d", n,
                   l->templates_dir, TEMPLATES_MAX);
}

void check_templates(struct loader *l)
{
    const struct config *c = l->c;
    if (!c->ndesks || l->incomplete[REF_TEMPLATE])
        return;
    for (size_t i = 0; i < c->ntemplates; i++)
        if (c->templates[i].desk && !l->incomplete[REF_DESK] && !config_desk(c, c->templates[i].desk))
            faults_add(l->f, c->templates[i].mark, "there is no desk %s: write the name of one, or leave it out of the file's name",
                       c->templates[i].desk);
    for (size_t p = 0; purposes[p]; p++)
        for (size_t t = 0; transports[t]; t++) {
            bool found = false;
            for (size_t i = 0; i < c->ntemplates && !found; i++)
                found = !c->templates[i].desk && str_eq(c->templates[i].purpose, purposes[p]) &&
                        str_eq(c->templates[i].transport, transports[t]) &&
                        str_ieq(c->templates[i].language, c->default_language);
            if (!found)
                faults_add(l->f, root_mark(l, "templates"),
                           "there is no template for %s by %s in the default language: %s%s.%s.%s.txt",
                           purposes[p], transports[t],
                           l->templates_dir ? "write the file "
                                            : "write `templates: FOLDER` and there the file ",
                           purposes[p], transports[t], c->default_language);
        }
}

/* The check: files, options and cross references (config/), then patterns are compiled and the rules' own tests run. */
#include "daemon/check.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <string.h>

#include "config/config.h"
#include "daemon/triage/match.h"
#include "daemon/triage/rules.h"

#define EXIT_CONFIG 78

static size_t check_rules(const struct config *c, struct faults *f)
{
    struct buf patterns;
    struct matcher *m = NULL;
    size_t ran = 0;
    buf_init(&patterns, CD_MIB(256));
    if (match_compile(&c->rules, &patterns, f) == 0 && matcher_new(patterns.data, patterns.len, &m) == 0)
        ran = rules_run_tests(c, m, f);
    matcher_free(&m);
    buf_free(&patterns);
    return ran;
}

/* libpq's own parser knows every keyword; a connection is not tried. */
static void check_dsn(const struct config *c, const char *path, struct faults *f)
{
    char *why = NULL;
    PQconninfoOption *o = PQconninfoParse(c->database_dsn, &why);
    if (!o)
        faults_add(f, (struct mark){.file = path}, "database.dsn: %.*s: write it as in \"host=/run/postgresql dbname=complaintd\"",
                   (int)strcspn(why ? why : "malformed", "\n"), why ? why : "malformed");
    PQconninfoFree(o);
    PQfreemem(why);
}

int check_config(const char *path)
{
    struct faults f = {0};
    struct config *c = config_load(path, &f);
    size_t ran = c ? check_rules(c, &f) : 0;
    if (c)
        check_dsn(c, path, &f);
    if (f.n) {
        struct buf out;
        buf_init(&out, CD_MIB(4));
        faults_print(&f, &out);
        fputs(buf_str(&out), stdout);
        printf("%zu fault%s in %s: nothing was started\n", f.n + f.dropped, f.n + f.dropped == 1 ? "" : "s", path);
        buf_free(&out);
    } else {
        printf("%s is sound: desks %zu, teams %zu, policies %zu, rules %zu, rule tests passed %zu\n", path, c->ndesks, c->nteams, c->npolicies,
               c->rules.n, ran);
        const struct cfg_desk *d = config_postmaster_desk(c);
        if (d && config_takes_mail(c))
            printf("mail to postmaster and abuse goes to desk %s%s\n", d->name, *c->mail_postmaster_desk ? "" : ", the first: mail.postmaster_desk names another");
    }
    int status = f.n ? EXIT_CONFIG : 0;
    faults_free(&f);
    config_free(&c);
    return status;
}

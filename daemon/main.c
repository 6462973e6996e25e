/* complaintd: options, and which of its processes this one is. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "channels/mail/mail.h"
#include "channels/web/api.h"
#include "config/config.h"
#include "daemon/cases/lifecycle.h"
#include "daemon/check.h"
#include "daemon/core/events.h"
#include "daemon/front.h"
#include "daemon/triage_worker.h"

#define EXIT_USAGE 64
#define EXIT_CONFIG 78
#define DEFAULT_CONFIG "/etc/complaintd/complaintd.yaml"

static const char usage[] = "usage: complaintd [--config FILE]            run (default FILE: " DEFAULT_CONFIG ")\n"
                            "       complaintd --check [--config FILE]    check the configuration and its rule tests; exit 0 or 78\n"
                            "       complaintd --describe-config[=markdown]   print every option with type, default and bounds\n"
                            "       complaintd --describe-events          print every log event (=catalog: for the journal)\n"
                            "       complaintd --describe-http            print the HTTP interface (OpenAPI)\n"
                            "       complaintd --describe-lifecycle[=markdown]   print which action is possible in which state, by whom\n"
                            "       complaintd --version\n"
                            "Send it mail, SMS webhooks or lines; see it with complaintctl, its log and /metrics.\n";

static int run(const char *path)
{
    struct faults f = {0};
    struct config *c = config_load(path, &f);
    if (!c) {
        struct buf out;
        buf_init(&out, CD_MIB(4));
        faults_print(&f, &out);
        fputs(buf_str(&out), stderr);
        fprintf(stderr, "complaintd: %zu fault%s in the configuration, not started\n", f.n + f.dropped, f.n + f.dropped == 1 ? "" : "s");
        buf_free(&out);
        faults_free(&f);
        return EXIT_CONFIG;
    }
    faults_free(&f);
    int status = front_run(c, path);
    config_free(&c);
    return status;
}

static int run_worker(const char *kind)
{
    if (strcmp(kind, "triage") == 0)
        return triage_worker_main();
    if (strcmp(kind, "mail") == 0)
        return mail_worker_main();
    fputs(usage, stderr);
    return EXIT_USAGE;
}

static int describe(const char *form)
{
    bool markdown = form && strcmp(form, "markdown") == 0;
    struct buf b;
    if (form && !markdown && strcmp(form, "text") != 0) {
        fputs(usage, stderr);
        return EXIT_USAGE;
    }
    buf_init(&b, CD_MIB(1));
    config_describe(markdown ? DESCRIBE_MARKDOWN : DESCRIBE_TEXT, &b);
    fputs(buf_str(&b), stdout);
    buf_free(&b);
    return 0;
}

static int describe_events(const char *form)
{
    if (form && strcmp(form, "catalog") != 0) {
        fprintf(stderr, "complaintd: --describe-events=%s is not known: leave the form out, or write catalog\n", form);
        return EXIT_USAGE;
    }
    struct buf b;
    buf_init(&b, CD_MIB(1));
    (form ? events_catalog : events_describe)(&b);
    fputs(buf_str(&b), stdout);
    buf_free(&b);
    return 0;
}

static int describe_http(void)
{
    struct buf b;
    buf_init(&b, CD_MIB(1));
    api_describe(&b);
    fputs(buf_str(&b), stdout);
    buf_free(&b);
    return 0;
}

static int describe_lifecycle(const char *form)
{
    if (form && strcmp(form, "markdown") != 0) {
        fprintf(stderr, "complaintd: --describe-lifecycle=%s is not known: leave the form out, or write markdown\n", form);
        return EXIT_USAGE;
    }
    struct buf b;
    buf_init(&b, CD_KIB(64));
    lifecycle_describe(form != NULL, &b);
    fputs(buf_str(&b), stdout);
    buf_free(&b);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'}, {"check", no_argument, NULL, 'k'},
                                            {"describe-config", optional_argument, NULL, 'd'},
                                            {"describe-events", optional_argument, NULL, 'e'}, {"describe-http", no_argument, NULL, 't'},
                                            {"describe-lifecycle", optional_argument, NULL, 'l'}, {"worker", required_argument, NULL, 'w'},
                                            {"version", no_argument, NULL, 'v'}, {"help", no_argument, NULL, 'h'}, {0}};
    const char *path = DEFAULT_CONFIG;
    bool check = false;
    int o;
    while ((o = getopt_long(argc, argv, "c:", options, NULL)) != -1) {
        switch (o) {
        case 'c':
            path = optarg;
            break;
        case 'k':
            check = true;
            break;
        case 'd':
            return describe(optarg);
        case 'e':
            return describe_events(optarg);
        case 't':
            return describe_http();
        case 'l':
            return describe_lifecycle(optarg);
        case 'w':
            return run_worker(optarg);
        case 'v':
            puts("complaintd " CD_VERSION);
            return 0;
        case 'h':
            fputs(usage, stdout);
            return 0;
        default:
            fputs(usage, stderr);
            return EXIT_USAGE;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "complaintd: unexpected argument %s\n%s", argv[optind], usage);
        return EXIT_USAGE;
    }
    return check ? check_config(path) : run(path);
}

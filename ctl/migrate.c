/* complaintctl migrate: the database of the configuration is brought up to date, without the daemon. */
#include <stdio.h>
#include <unistd.h>

#include "config/config.h"
#include "ctl/commands.h"
#include "daemon/core/err.h"
#include "daemon/store/migrate.h"

#define DEFAULT_CONFIG "/etc/complaintd/complaintd.yaml"

struct config *ctl_config(const struct ctl_globals *g)
{
    struct faults faults = {.max = 100};
    struct config *c = config_load(g->config ? g->config : DEFAULT_CONFIG, &faults);
    if (!c) {
        struct buf out;
        buf_init(&out, CD_MIB(1));
        faults_print(&faults, &out);
        fputs(buf_str(&out), stderr);
        buf_free(&out);
    }
    faults_free(&faults);
    return c;
}

int run_migrate(const struct ctl_globals *g, json_t *args)
{
    struct config *c = ctl_config(g);
    struct buf log;

    if (!c)
        return EXIT_USAGE;
    buf_init(&log, CD_MIB(1));
    bool plan = json_is_true(json_object_get(args, "plan"));
    int r = plan ? migrate_run_plan(c->database_dsn, true, &log) : migrate_run(c->database_dsn, &log);
    config_free(&c);
    fputs(buf_str(&log), r < 0 ? stderr : stdout);
    if (r >= 0 && log.len == 0)
        puts("the schema is up to date");
    buf_free(&log);
    return r >= 0 ? EXIT_DONE : r == CD_EAGAIN ? EXIT_NO_DAEMON : EXIT_REFUSED;
}

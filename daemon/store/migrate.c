/* Migrations: complaintd.migrations remembers number, name and a digest of the text of each that was applied. */
#include "daemon/store/migrate.h"

#include <libpq-fe.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/crypto.h"
#include "daemon/core/err.h"
#include "daemon/core/str.h"
#include "schema/schema.h"

#define LOCK_KEY "4849371652" /* any number that nothing else on the server uses */

static bool run(PGconn *db, const char *sql, struct buf *log)
{
    PGresult *r = PQexec(db, sql);
    ExecStatusType s = PQresultStatus(r);
    bool ok = s == PGRES_COMMAND_OK || s == PGRES_TUPLES_OK;
    if (!ok)
        buf_printf(log, "%s", PQresultErrorMessage(r));
    PQclear(r);
    return ok;
}

static void digest_of(const struct schema_migration *m, char out[17])
{
    uint8_t d[SHA256_SIZE];
    sha256(m->sql, strlen(m->sql), d);
    hex_encode(d, 8, out);
}

/* Compares what the database has with what we have; *ret_applied is the newest applied number. */
static int compare(PGconn *db, bool may_create, int *ret_applied, struct buf *log)
{
    *ret_applied = 0;
    if (may_create && !run(db, "create schema if not exists complaintd; create table if not exists complaintd.migrations "
                               "(version integer primary key, name text not null, digest text not null, "
                               "applied_at timestamptz not null default now())", log))
        return CD_EIO;
    PGresult *r = PQexec(db, "select version, name, digest from complaintd.migrations order by version");
    int result = 0;
    if (PQresultStatus(r) != PGRES_TUPLES_OK) { /* nothing there yet: everything is to be done */
        PQclear(r);
        return may_create ? CD_EIO : 0;
    }
    for (int i = 0; i < PQntuples(r) && result == 0; i++) {
        uint64_t number;
        int version = str_parse_u64(PQgetvalue(r, i, 0), INT_MAX, &number) == 0 ? (int)number : 0; /* an integer column */
        char digest[17] = "";
        if (version > (int)schema_migration_count) {
            buf_printf(log, "the database has migration %d (%s), this program knows only %u: install the newer complaintd, or restore the "
                            "database from before its upgrade\n", version, PQgetvalue(r, i, 1), schema_migration_count);
            result = CD_ECONFLICT;
            break;
        }
        digest_of(&schema_migrations[version - 1], digest);
        if (strcmp(digest, PQgetvalue(r, i, 2)) != 0) {
            buf_printf(log, "migration %d (%s) in the database is not the one of this program (%s against %s): this database was made by "
                            "another build; use that build, or a new database\n",
                       version, PQgetvalue(r, i, 1), PQgetvalue(r, i, 2), digest);
            result = CD_ECONFLICT;
        }
        *ret_applied = version;
    }
    PQclear(r);
    return result;
}

static int apply(PGconn *db, const struct schema_migration *m, struct buf *log)
{
    char digest[17], note[512];
    digest_of(m, digest);
    snprintf(note, sizeof note, "insert into complaintd.migrations (version, name, digest) values (%d, '%s', '%s')", m->version, m->name,
             digest);
    if (!run(db, "begin", log) || !run(db, m->sql, log) || !run(db, note, log) || !run(db, "commit", log)) {
        struct buf ignored;
        buf_init(&ignored, CD_KIB(4));
        run(db, "rollback", &ignored);
        buf_free(&ignored);
        buf_printf(log, "migration %s failed, nothing of it was kept\n", m->name);
        return CD_EIO;
    }
    buf_printf(log, "applied %s\n", m->name);
    return 0;
}

static void quiet(void *arg, const PGresult *r)
{
    (void)arg;
    (void)r;
}

int migrate_run_plan(const char *dsn, bool plan_only, struct buf *log)
{
    static const char *const keys[] = {"dbname", "application_name", "connect_timeout", NULL};
    const char *values[] = {dsn, "complaintd-migrate", "5", NULL};
    PGconn *db = PQconnectdbParams(keys, values, 1);
    int applied, r = CD_EIO;
    if (PQstatus(db) != CONNECTION_OK) {
        buf_printf(log, "cannot connect to the database: %s", PQerrorMessage(db));
        PQfinish(db);
        return CD_EAGAIN;
    }
    PQsetNoticeReceiver(db, quiet, NULL);
    if (plan_only || run(db, "select pg_advisory_lock(" LOCK_KEY ")", log))
        r = compare(db, !plan_only, &applied, log);
    for (unsigned i = 0; r == 0 && i < schema_migration_count; i++) {
        if (schema_migrations[i].version <= applied)
            continue;
        if (plan_only)
            buf_printf(log, "would apply %s\n", schema_migrations[i].name);
        else
            r = apply(db, &schema_migrations[i], log);
    }
    PQfinish(db); /* gives the lock back */
    return r;
}

int migrate_run(const char *dsn, struct buf *log)
{
    return migrate_run_plan(dsn, false, log);
}

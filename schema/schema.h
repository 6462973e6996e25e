#pragma once
/* The numbered forward migrations, embedded at build time from schema/0*.sql by tools/embed_sql. */
struct schema_migration {
    int version;
    const char *name, *sql;
};
extern const struct schema_migration schema_migrations[];
extern const unsigned schema_migration_count;

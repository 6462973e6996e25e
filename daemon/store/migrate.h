#pragma once
/* Forward migrations, embedded in the binary. Blocking: for start-up and complaintctl only, never on the loop. */
#include "daemon/core/buf.h"

/* Applies what is missing, each migration in a transaction of its own, all under one advisory lock. Writes a line per migration
 * to `log`, and on failure what to do. 0, CD_EAGAIN (cannot connect), CD_ECONFLICT (the database is newer than this program, or an applied
 * migration differs), CD_EIO (a migration failed; nothing of it is kept). With plan_only nothing is changed. */
int migrate_run_plan(const char *dsn, bool plan_only, struct buf *log) CD_MUSTUSE;
int migrate_run(const char *dsn, struct buf *log) CD_MUSTUSE;

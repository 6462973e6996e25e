#pragma once
/* GLib prints "CRITICAL" and goes on; in the worker those are counted instead. */
void decode_log_install(void);
unsigned decode_log_count(void); /* criticals and warnings so far */

#pragma once
/* Log lines as logfmt on standard error, one line an event:
 *   2026-11-22T10:00:00.123Z info smtp.accepted id=… size=1432 peer=127.0.0.1
 * With the prefixes <3>…<7> for the journal when JOURNAL_STREAM is set. Values are written by LOGV so that quoting is right.
 * Bodies and secrets never go to the log; addresses and numbers only through str_mask unless log.pii is on. */
#include "daemon/core/base.h"

enum log_level { LOG_L_ERROR = 3, LOG_L_WARN = 4, LOG_L_NOTICE = 5, LOG_L_INFO = 6, LOG_L_DEBUG = 7 };

void log_set_level(enum log_level level);
void log_set_pii(bool full); /* log.pii */
bool log_pii(void);
void log_set_process(const char *name); /* "front", "triage/0": field proc= when set */

/* fmt gives the fields: log_event(LOG_L_INFO, "smtp.accepted", "id=%s size=%zu", …). A field whose value may hold spaces,
 * quotes or control bytes is passed as two arguments, "%s" with the result of log_quote(). */
void log_event(enum log_level level, const char *event, const char *fmt, ...) CD_PRINTF(3, 4);
/* Quotes as logfmt needs it; one of eight rotating static buffers of 512 bytes, longer values are cut. */
const char *log_quote(const char *s);
/* A masked address unless log.pii is on; rotating buffers as above. */
const char *log_addr(const char *s);

#pragma once
/* The log: one line an event, each event a row of events.def.
 *
 * Where standard error is the journal, a line goes there as fields: MESSAGE_ID of the event, PRIORITY, COMPLAINTD_EVENT, and
 * one field for each key of the line. Everywhere else it is logfmt on standard error:
 *   2026-11-22T10:00:00.123Z info smtp.listening address=127.0.0.1:25 port=25
 *
 * No line is ever waited for: what the reader does not take waits in memory, bounded; what does not fit is dropped and counted
 * (M_LOG_DROPPED, event log.dropped). Lines of one event over its class's rate (events.h) are counted (M_LOG_SUPPRESSED) and
 * summed up every 10 s as a line of the same event with suppressed=N. Bodies and secrets never go to the log; addresses and
 * numbers only through log_addr() and log_text(). One thread a process logs. errno is left as it was. */
#include "daemon/core/base.h"
#include "daemon/core/events.h"

enum log_level { LOG_L_ERROR = 3, LOG_L_WARN = 4, LOG_L_NOTICE = 5, LOG_L_INFO = 6, LOG_L_DEBUG = 7 };

/* Finds out where the log goes. A process that shuts itself in calls it before; without it the first line does it. */
void log_open(void);
/* Summaries that are due and lines that wait; to be called a few times a second by a process with a loop. */
void log_tick(void);
/* All summaries and waiting lines; blocks for at most a second. */
void log_close(void);

void log_set_level(enum log_level level);
void log_set_pii(bool full); /* log.pii */
bool log_pii(void);
void log_set_process(const char *name); /* "front", "triage/0": field proc= when set */

/* fmt gives the fields: log_event(LOG_L_INFO, EV_SMTP_LISTENING, "address=%s port=%u", …). A value that may hold spaces, quotes
 * or control bytes is given by log_quote(), log_addr() or log_text(). */
void log_event(enum log_level level, enum log_event_id event, const char *fmt, ...) CD_PRINTF(3, 4);

/* The three give one of eight rotating static buffers of 512 bytes; longer values are cut. NULL and "" give "". */
const char *log_quote(const char *s); /* as logfmt needs it */
const char *log_addr(const char *s);  /* an address or number, masked unless log.pii is on */
const char *log_text(const char *s);  /* text from outside: the addresses and numbers in it are masked unless log.pii is on */

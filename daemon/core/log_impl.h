#pragma once
/* What the files of the log share, and its tests. */
#include <sys/types.h>

#include "daemon/core/log.h"

/* PIPE_BUF: a line is written whole or not at all, so that lines of several processes do not mix. */
#define LOG_LINE_SIZE 4096
#define LOG_DATAGRAM_SIZE (3 * LOG_LINE_SIZE)
#define LOG_WAITING_MAX CD_KIB(512) /* lines that wait for a slow reader */
#define LOG_SUMMARY_US CD_SEC(10)

/* ---- log.c ---- */

/* Writes the summaries of what was suppressed up to now. */
void log_summarize(void);
void log_forget_rates(void); /* for tests */

/* ---- log_journal.c ---- */

struct log_record {
    enum log_level level;
    const struct event_info *event;
    const char *process; /* "" when there is none */
    const char *fields;  /* logfmt, without control bytes */
};
/* The record as a datagram of the journal's native protocol; its length, at most LOG_DATAGRAM_SIZE. */
size_t log_journal_format(const struct log_record *r, char out[LOG_DATAGRAM_SIZE]);

/* ---- log_sink.c ---- */

void log_sink_open(void);
/* The journal's socket is at `path`, whatever standard error is: for tests. CD_EIO when there is no such socket. */
int log_sink_open_journal(const char *path) CD_MUSTUSE;
void log_sink_open_fd(int fd); /* lines go to fd, which stays the caller's: for tests */
bool log_sink_is_journal(void);
bool log_sink_stderr_is_journal(void);
/* Takes one line or datagram. Never blocks. */
void log_sink_put(const void *data, size_t n);
void log_sink_drain(void);
void log_sink_drain_for(int64_t us); /* waits for the reader */
size_t log_sink_waiting(void); /* bytes */
/* Lines dropped since the last call, once there is room again to tell it; else 0. */
uint64_t log_sink_take_dropped(void);

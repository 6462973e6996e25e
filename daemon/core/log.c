/* From event to line: level, rate, text. Everything is static: one thread a process logs, and nothing is allocated but what
 * waits in log_sink.c. A line that does not fit is cut at a character, its last quote closed. */
#include "daemon/core/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/clock.h"
#include "daemon/core/log_impl.h"
#include "daemon/core/metrics.h"
#include "daemon/core/str.h"

static enum log_level max_level = LOG_L_INFO;
static char process[32];

/* Of each event: when its allowance is used up to (the later, the less is left), and what was suppressed. */
static struct rate {
    int64_t used_until_us;
    unsigned suppressed;
    enum log_level level; /* of the last that was */
} rates[EV_COUNT];
static int64_t next_summary_us; /* 0: nothing is suppressed */

static const struct {
    int64_t every_us;
    unsigned at_once;
} limits[] = {
    [EVENT_ORDINARY] = {CD_MSEC(50), 200},
    [EVENT_STORM] = {CD_SEC(10), 3},
    [EVENT_SECURITY] = {CD_MSEC(50), 200},
    [EVENT_LOSS] = {0, 0},
};

void log_set_level(enum log_level level)
{
    max_level = level;
}

void log_set_process(const char *name)
{
    snprintf(process, sizeof process, "%s", name);
}

/* ---- text ---- */

/* One event, one line, valid UTF-8, whatever a caller passed. */
static void make_clean(char *s, size_t n)
{
    bool valid = utf8_valid(s, n);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c < ' ' || c == 0x7f)
            s[i] = ' ';
        else if (c >= 0x80 && !valid)
            s[i] = '?';
    }
}

/* Whether `s` ends inside a quoted value. */
static bool quote_is_open(const char *s)
{
    bool open = false;
    for (; *s; s++)
        if (*s == '\\' && open && s[1])
            s++;
        else if (*s == '"')
            open = !open;
    return open;
}

static void format_fields(char *out, size_t size, const char *fmt, va_list ap)
{
    int k = vsnprintf(out, size - 1, fmt, ap);
    size_t n = strlen(out);
    if (k >= (int)size - 1) {
        n = utf8_cut(out, n - 1);
        out[n] = '\0';
        if (n && out[n - 1] == '\\')
            out[--n] = '\0';
        if (quote_is_open(out)) {
            out[n++] = '"';
            out[n] = '\0';
        }
    }
    make_clean(out, n);
}

static void write_line(const struct log_record *r)
{
    static const char *const names[] = {"", "", "", "error", "warn", "notice", "info", "debug"};
    char line[LOG_LINE_SIZE], when[CLOCK_TEXT_SIZE], prefix[8] = "";
    if (log_sink_stderr_is_journal()) /* its socket could not be used: the level goes as sd-daemon(3) says */
        snprintf(prefix, sizeof prefix, "<%d>", (int)r->level);
    clock_format(clock_real_us(), when);
    when[23] = 'Z'; /* milliseconds do */
    when[24] = '\0';
    const char *const parts[] = {prefix,         when, " ", names[r->level], " ", r->event->name, r->process[0] ? " proc=" : "",
                                 r->process, " ", r->fields};
    size_t len = 0;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        size_t n = CD_MIN(strlen(parts[i]), sizeof line - 1 - len);
        memcpy(line + len, parts[i], n);
        len += n;
    }
    line[len++] = '\n';
    log_sink_put(line, len);
}

static void write_fields(enum log_level level, enum log_event_id event, const char *fields)
{
    static char datagram[LOG_DATAGRAM_SIZE];
    struct log_record r = {level, event_info(event), process, fields};
    if (log_sink_is_journal())
        log_sink_put(datagram, log_journal_format(&r, datagram));
    else
        write_line(&r);
}

/* ---- rate ---- */

/* A full allowance is `at_once` lines; each costs every_us, which time gives back. */
static bool allowed(enum log_level level, enum log_event_id event, int64_t now)
{
    if ((unsigned)event >= EV_COUNT || event_info(event)->class == EVENT_LOSS)
        return true;
    struct rate *r = &rates[event];
    int64_t every = limits[event_info(event)->class].every_us, most = every * limits[event_info(event)->class].at_once;
    int64_t used = CD_MAX(r->used_until_us, now) + every;
    if (used - now <= most) {
        r->used_until_us = used;
        return true;
    }
    metrics_inc(M_LOG_SUPPRESSED);
    r->suppressed++;
    r->level = level;
    if (!next_summary_us)
        next_summary_us = now + LOG_SUMMARY_US;
    return false;
}

void log_summarize(void)
{
    char fields[48];
    next_summary_us = 0;
    for (size_t i = 0; i < EV_COUNT; i++) {
        if (!rates[i].suppressed)
            continue;
        snprintf(fields, sizeof fields, "suppressed=%u", rates[i].suppressed);
        rates[i].suppressed = 0;
        write_fields(rates[i].level, (enum log_event_id)i, fields);
    }
}

void log_forget_rates(void)
{
    memset(rates, 0, sizeof rates);
    next_summary_us = 0;
}

static void look_after(int64_t now)
{
    char fields[48];
    uint64_t dropped = log_sink_take_dropped();
    if (next_summary_us && now >= next_summary_us)
        log_summarize();
    if (!dropped)
        return;
    snprintf(fields, sizeof fields, "lines=%llu", (unsigned long long)dropped);
    write_fields(LOG_L_ERROR, EV_LOG_DROPPED, fields);
}

/* ---- outside ---- */

void log_event(enum log_level level, enum log_event_id event, const char *fmt, ...)
{
    char fields[LOG_LINE_SIZE - 160]; /* leaves room for time, level and name */
    int error = errno;
    if (level > max_level)
        return;
    int64_t now = clock_mono_us();
    if (allowed(level, event, now)) {
        va_list ap;
        va_start(ap, fmt);
        format_fields(fields, sizeof fields, fmt, ap);
        va_end(ap);
        write_fields(level, event, fields);
    }
    look_after(now);
    errno = error;
}

void log_open(void)
{
    log_sink_open();
}

void log_tick(void)
{
    log_sink_drain();
    look_after(clock_mono_us());
}

void log_close(void)
{
    log_summarize();
    log_sink_drain_for(CD_SEC(1));
    look_after(clock_mono_us());
}

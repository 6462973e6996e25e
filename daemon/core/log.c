/* logfmt on standard error; one write() a line, so that lines of several processes do not mix. Written without waiting: when the
 * reader is slower than we are the line is dropped, never the loop held up. */
#include "daemon/core/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/core/clock.h"
#include "daemon/core/str.h"

static enum log_level max_level = LOG_L_INFO;
static bool full_pii;
static char process[32];
static const char *const level_name[] = {"", "", "", "error", "warn", "notice", "info", "debug"};

void log_set_level(enum log_level level)
{
    max_level = level;
}

void log_set_pii(bool full)
{
    full_pii = full;
}

bool log_pii(void)
{
    return full_pii;
}

void log_set_process(const char *name)
{
    snprintf(process, sizeof process, "%s", name);
}

void log_event(enum log_level level, const char *event, const char *fmt, ...)
{
    char line[4096], when[CLOCK_TEXT_SIZE];
    static int under_journal = -1;
    if (level > max_level)
        return;
    if (under_journal < 0)
        under_journal = getenv("JOURNAL_STREAM") != NULL;
    clock_format(clock_real_us(), when);
    size_t n = 0, size = sizeof line - 1;
    if (under_journal)
        n = (size_t)snprintf(line, size, "<%d>", level);
    n += (size_t)snprintf(line + n, size - n, "%.23sZ %s %s%s%s ", when, level_name[level], event, process[0] ? " proc=" : "", process);
    va_list ap;
    va_start(ap, fmt);
    int k = vsnprintf(line + n, size - n, fmt, ap);
    va_end(ap);
    n = CD_MIN(n + (size_t)CD_MAX(k, 0), size - 1);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)line[i] < ' ') /* one event, one line, whatever a caller passed */
            line[i] = ' ';
    line[n++] = '\n';
    ssize_t w = write(STDERR_FILENO, line, n);
    (void)w;
}

static char *rotating(void)
{
    static char v[8][512];
    static unsigned next;
    return v[next++ % 8];
}

const char *log_quote(const char *s)
{
    char *out = rotating();
    size_t n = 0;
    if (!s)
        s = "";
    bool plain = *s != '\0';
    for (const char *p = s; *p && plain; p++)
        plain = (unsigned char)*p > ' ' && *p != '"' && *p != '=' && *p != 0x7f;
    if (plain && strlen(s) < 500) {
        snprintf(out, 512, "%s", s);
        return out;
    }
    out[n++] = '"';
    for (; *s && n < 500; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            out[n++] = '\\';
        out[n++] = c < ' ' || c == 0x7f ? ' ' : (char)c;
    }
    n = 1 + utf8_cut(out + 1, n - 1);
    out[n++] = '"';
    out[n] = '\0';
    return out;
}

const char *log_addr(const char *s)
{
    if (full_pii)
        return log_quote(s);
    char masked[320];
    str_mask(s, masked, sizeof masked);
    return log_quote(masked);
}

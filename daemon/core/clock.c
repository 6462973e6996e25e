/* Clocks and the text forms of times. No locale, no time zone files: the calendar arithmetic is proleptic Gregorian in UTC. */
#include "daemon/core/clock.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "daemon/core/err.h"

static int64_t service_offset_us;

static int64_t read_clock(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t clock_real_us(void)
{
    return read_clock(CLOCK_REALTIME);
}

int64_t clock_mono_us(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

int64_t clock_service_us(void)
{
    return clock_real_us() + service_offset_us;
}

void clock_set_service_offset_us(int64_t offset_us)
{
    service_offset_us = offset_us;
}

static void split(int64_t us, struct tm *tm, int *ret_us)
{
    int64_t s = us / 1000000, f = us % 1000000;
    if (f < 0) {
        f += 1000000;
        s--;
    }
    time_t t = (time_t)s;
    gmtime_r(&t, tm);
    *ret_us = (int)f;
}

/* Thousands of log lines and mails share a second: its text is kept. */
static void format_with(int64_t us, bool fraction, char out[CLOCK_TEXT_SIZE])
{
    static char last[CLOCK_TEXT_SIZE];
    static size_t nlast;
    static int64_t last_s;
    int64_t s = us / 1000000 - (us % 1000000 < 0), f = us - s * 1000000;
    if (!nlast || s != last_s) {
        struct tm tm;
        int ignored;
        split(us, &tm, &ignored);
        nlast = strftime(last, sizeof last, "%Y-%m-%dT%H:%M:%S", &tm);
        last_s = s;
    }
    size_t n = nlast;
    memcpy(out, last, n);
    if (fraction) {
        out[n++] = '.';
        for (int64_t unit = 100000; unit; unit /= 10)
            out[n++] = (char)('0' + f / unit % 10);
    }
    out[n++] = 'Z';
    out[n] = '\0';
}

void clock_format(int64_t us, char out[CLOCK_TEXT_SIZE])
{
    format_with(us, true, out);
}

void clock_format_s(int64_t us, char out[CLOCK_TEXT_SIZE])
{
    format_with(us, false, out);
}

static void format_mail(int64_t us, char out[CLOCK_TEXT_SIZE])
{
    static const char day[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char month[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct tm tm;
    int f;
    split(us, &tm, &f);
    snprintf(out, CLOCK_TEXT_SIZE, "%s, %02d %s %04d %02d:%02d:%02d +0000", day[tm.tm_wday], tm.tm_mday,
             month[tm.tm_mon], (tm.tm_year + 1900) % 10000, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

void clock_format_mail(int64_t us, char out[CLOCK_TEXT_SIZE])
{
    static char last[CLOCK_TEXT_SIZE];
    static int64_t last_s = -1;
    int64_t s = us / 1000000 - (us % 1000000 < 0);
    if (s != last_s || !last[0])
        format_mail(us, last);
    last_s = s;
    memcpy(out, last, sizeof last);
}

static bool digits(const char **s, int n, int *ret)
{
    int v = 0;
    for (int i = 0; i < n; i++, (*s)++) {
        if (!isdigit((unsigned char)**s))
            return false;
        v = v * 10 + (**s - '0');
    }
    *ret = v;
    return true;
}

static bool read_zone(const char **s, int *ret_seconds)
{
    *ret_seconds = 0;
    if (**s == 'Z' || **s == 'z') {
        (*s)++;
        return true;
    }
    int sign = **s == '+' ? 1 : **s == '-' ? -1 : 0, h = 0, m = 0;
    if (!sign)
        return false;
    (*s)++;
    if (!digits(s, 2, &h))
        return false;
    if (**s == ':')
        (*s)++;
    if (isdigit((unsigned char)**s) && !digits(s, 2, &m))
        return false;
    if (h > 23 || m > 59)
        return false;
    *ret_seconds = sign * (h * 3600 + m * 60);
    return true;
}

int clock_parse(const char *s, int64_t *ret_us)
{
    struct tm tm = {0};
    int y, mo, zone, fraction = 0;
    if (!digits(&s, 4, &y) || *s++ != '-' || !digits(&s, 2, &mo) || *s++ != '-' || !digits(&s, 2, &tm.tm_mday))
        return CD_EINVAL;
    if ((*s != 'T' && *s != 't' && *s != ' ') || !digits((s++, &s), 2, &tm.tm_hour) || *s++ != ':' ||
        !digits(&s, 2, &tm.tm_min) || *s++ != ':' || !digits(&s, 2, &tm.tm_sec))
        return CD_EINVAL;
    if (*s == '.') {
        int unit = 100000;
        for (s++; isdigit((unsigned char)*s); s++, unit /= 10)
            fraction += (*s - '0') * unit;
    }
    if (!read_zone(&s, &zone) || *s || y < 1970 || mo < 1 || mo > 12 || tm.tm_mday < 1 || tm.tm_mday > 31 ||
        tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60)
        return CD_EINVAL;
    tm.tm_year = y - 1900;
    tm.tm_mon = mo - 1;
    *ret_us = ((int64_t)timegm(&tm) - zone) * 1000000 + fraction;
    return 0;
}

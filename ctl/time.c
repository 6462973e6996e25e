/* Times as people read and write them: the daemon's are in UTC, theirs in their zone (TZ, /etc/localtime). What is no such time stays
 * text. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ctl/text.h"

static bool in_utc;

void time_utc(bool on)
{
    in_utc = on;
}

/* With `form` where the zone is UTC: a Z behind it; elsewhere the offset. */
static const char *as_text(const char *s, const char *form, char out[TIME_TEXT_SIZE])
{
    struct tm tm = {0};
    char with_zone[40];
    size_t n = s ? strlen(s) : 0;
    if (n < 20 || s[10] != 'T')
        return s ? s : "";
    bool utc = s[n - 1] == 'Z' || (n >= 25 && strcmp(s + n - 6, "+00:00") == 0);
    if (!utc || !strptime(s, "%Y-%m-%dT%H:%M:%S", &tm)) { /* of an unknown server: as it is, but shorter */
        snprintf(out, TIME_TEXT_SIZE, "%.10s %.8s", s, s + 11);
        return out;
    }
    time_t at = timegm(&tm);
    if (in_utc)
        gmtime_r(&at, &tm);
    else
        localtime_r(&at, &tm);
    snprintf(with_zone, sizeof with_zone, "%s%s", form, tm.tm_gmtoff ? "%z" : "Z");
    size_t len = strftime(out, TIME_TEXT_SIZE, with_zone, &tm);
    if (tm.tm_gmtoff && len > 2 && strcmp(out + len - 2, "00") == 0) /* +0800 as +08 */
        out[len - 2] = '\0';
    return out;
}

const char *time_text(const char *s, char out[TIME_TEXT_SIZE])
{
    return as_text(s, "%Y-%m-%d %H:%M:%S", out);
}

const char *time_minute(const char *s, char out[TIME_TEXT_SIZE])
{
    return as_text(s, "%Y-%m-%d %H:%M", out);
}

const char *time_given(const char *s, char out[TIME_TEXT_SIZE])
{
    static const char *const forms[] = {"%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"};
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        struct tm tm = {.tm_isdst = -1};
        const char *end = strptime(s, forms[i], &tm);
        if (!end || *end)
            continue;
        struct tm asked = tm;
        time_t at = in_utc ? timegm(&tm) : mktime(&tm);
        if (tm.tm_mday != asked.tm_mday) /* the 31st of a month of 30 */
            return s;
        gmtime_r(&at, &tm);
        return strftime(out, TIME_TEXT_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm) ? out : s;
    }
    return s;
}

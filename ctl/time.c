/* Times as people read them: what the daemon gives in UTC, in the zone of whoever looks (TZ, /etc/localtime). What is no such time stays
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

const char *time_text(const char *s, char out[TIME_TEXT_SIZE])
{
    struct tm tm = {0};
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
    size_t len = strftime(out, TIME_TEXT_SIZE, tm.tm_gmtoff ? "%Y-%m-%d %H:%M:%S%z" : "%Y-%m-%d %H:%M:%SZ", &tm);
    if (tm.tm_gmtoff && len > 2 && strcmp(out + len - 2, "00") == 0) /* +0800 as +08 */
        out[len - 2] = '\0';
    return out;
}
